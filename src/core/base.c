/* SPDX-License-Identifier: Apache-2.0
 *
 * base.c - error names, assertions and the one gate to the heap.
 *
 * Tests make the n-th allocation fail through mem_fail_at; unused, that costs one relaxed load.
 */
#include "core/base.h"

#include <stdarg.h>
#include <stdatomic.h>

static const char *const err_names[] = {
    [OK] = "ok",
    [E_NOMEM] = "nomem",
    [E_AGAIN] = "again",
    [E_EOF] = "eof",
    [E_FULL] = "full",
    [E_TOO_BIG] = "too_big",
    [E_SYNTAX] = "syntax",
    [E_NOT_FOUND] = "not_found",
    [E_EXISTS] = "exists",
    [E_BUSY] = "busy",
    [E_DENIED] = "denied",
    [E_IO] = "io",
    [E_NO_SPACE] = "no_space",
    [E_CORRUPT] = "corrupt",
    [E_UNSUPPORTED] = "unsupported",
    [E_TIMEOUT] = "timeout",
    [E_CLOSED] = "closed",
    [E_REFUSED] = "refused",
    [E_USAGE] = "usage",
};
static_assert(COUNT_OF(err_names) == ERR_COUNT, "every error has a name");

const char *err_name(enum err err)
{
    ASSERT((unsigned)err < ERR_COUNT);
    return err_names[err];
}

void why_set(struct why *why, const char *format, ...)
{
    if (!why) {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
}

void assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: this must hold and does not: %s\n", file, line, condition);
    abort();
}

static _Atomic uint64_t calls_to_failure; /* 0 = never */

static bool mem_is_refused(void)
{
    uint64_t left = atomic_load_explicit(&calls_to_failure, memory_order_relaxed);
    while (left != 0) {
        if (atomic_compare_exchange_weak(&calls_to_failure, &left, left - 1)) {
            return left == 1;
        }
    }
    return false;
}

void mem_fail_at(uint64_t nth_call)
{
    atomic_store(&calls_to_failure, nth_call);
}

void *mem_new(size_t size_bytes)
{
    return mem_is_refused() ? NULL : calloc(1, size_bytes ? size_bytes : 1);
}

void *mem_grow(void *ptr, size_t size_bytes)
{
    return mem_is_refused() ? NULL : realloc(ptr, size_bytes ? size_bytes : 1);
}

void mem_free(void *ptr)
{
    free(ptr);
}
