/* SPDX-License-Identifier: Apache-2.0
 *
 * base.h - the vocabulary of every file: byte strings, errors, assertions, times, ids.
 *
 * Knows nothing of mail, of the system or of memory. A `struct str` is a view: it owns nothing,
 * and whoever hands one out says until when it holds. All-zero is a valid empty value of every
 * struct declared here.
 */
#ifndef OUTPOST_CORE_BASE_H
#define OUTPOST_CORE_BASE_H

#include <assert.h> /* static_assert; ASSERT below, not assert, is for conditions */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* What went wrong, as far as the caller's next step depends on it. */
enum err {
    OK = 0,
    E_NOMEM,       /* memory refused: answer 4xx, drop this one thing, go on */
    E_AGAIN,       /* nothing to do now: wait for readiness */
    E_EOF,         /* the other side has finished */
    E_FULL,        /* a named limit is reached: back-pressure */
    E_TOO_BIG,     /* larger than a named limit: refuse for good */
    E_SYNTAX,      /* input breaks its grammar; struct why says where */
    E_NOT_FOUND,   /* asked for something that is not there */
    E_EXISTS,      /* would replace something that is there */
    E_BUSY,        /* somebody else holds it */
    E_DENIED,      /* not permitted */
    E_IO,          /* the system failed the call; struct why has its words */
    E_NO_SPACE,    /* disk or reserve full */
    E_CORRUPT,     /* damage that no crash explains */
    E_UNSUPPORTED, /* a version, algorithm or option that is not ours */
    E_TIMEOUT,     /* a deadline passed */
    E_CLOSED,      /* the owner is stopping or stopped */
    E_REFUSED,     /* a peer said no: connection refused, unreachable, handshake failed */
    E_USAGE,       /* the caller asked for something that makes no sense */
    ERR_COUNT
};

/* The enumerator's name in lower case ("no_space"), for logs and tests. */
const char *err_name(enum err err);

/* Human detail beside an error, bounded; optional wherever it is taken (NULL is fine). */
enum { WHY_BYTES_MAX = 400 };
struct why {
    char text[WHY_BYTES_MAX];
};
void why_set(struct why *why, const char *format, ...) PRINTF_LIKE(2, 3);

/* A bug, never bad input: on in production, writes one line to standard error and aborts. */
#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            assert_failed(#condition, __FILE__, __LINE__);                                         \
        }                                                                                          \
    } while (0)
_Noreturn void assert_failed(const char *condition, const char *file, int line);

/* A view of bytes. Not NUL-terminated; may hold any byte. */
struct str {
    const char *ptr;
    size_t len;
};
#define STR(literal) ((struct str){ "" literal, sizeof(literal) - 1 })
#define STR_INIT(literal)                                                                          \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }                                    /* in static tables */
#define STR_ARG(s) (int)(s).len, (s).ptr /* for "%.*s" */
static inline struct str str_of(const char *ptr, size_t len)
{
    return (struct str){ ptr, len };
}
static inline struct str str_from_c(const char *nul_terminated)
{
    return (struct str){ nul_terminated, nul_terminated ? strlen(nul_terminated) : 0 };
}

/* Two clocks that must not be mixed up. mono never steps and counts suspended time; wall is UTC
 * since 1970 and may jump. Arithmetic on both is in milliseconds; 0 means "never" for a deadline.
 */
struct mono {
    int64_t ms;
};
struct wall {
    int64_t ms;
};

/* The public name of a message: 26 characters of Crockford base 32 (see core/ulid.h). */
struct ulid {
    uint8_t byte[16];
};

/* a + b into *ret_sum; false (and *ret_sum untouched) where it would overflow. */
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *ret_sum)
{
    uint64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) {
        return false;
    }
    *ret_sum = sum;
    return true;
}

/* Heap for all rooms: own code allocates through these only, so that tests can fail the n-th call.
 * mem_new zeroes. mem_free takes NULL. */
MUST_USE void *mem_new(size_t size_bytes);
MUST_USE void *mem_grow(void *ptr, size_t size_bytes); /* as realloc; ptr stays valid on NULL */
void mem_free(void *ptr);
void mem_fail_at(uint64_t nth_call); /* tests: the n-th allocation from now fails; 0 = never */

#include "core/banned.h"

#endif
