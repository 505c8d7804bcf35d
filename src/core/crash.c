/* SPDX-License-Identifier: Apache-2.0
 *
 * crash.c - dying at a named place, in test builds only.
 */
#include "core/crash.h"

#include "core/str.h"

#ifdef OUTPOST_CRASH_POINTS

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { CRASH_COUNT_MAX = 1 << 30 };

/* What the environment wishes for the whole process, read once. */
static struct crash_wish {
    struct str name;
    atomic_llong left;
} wish;

static void read_wish(void)
{
    const char *text = getenv("OUTPOST_CRASH");
    struct str rest = str_from_c(text ? text : ""), name;
    uint64_t count = 1;
    if (str_cut(&rest, ':', &name) && rest.len > 0 &&
            str_to_u64(rest, CRASH_COUNT_MAX, &count) != OK) {
        count = 1;
    }
    wish.name = name;
    atomic_store(&wish.left, (long long)count);
}

void crash_point(const char *name)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_wish);
    if (wish.name.len > 0 && str_eq(wish.name, str_from_c(name)) &&
            atomic_fetch_sub(&wish.left, 1) == 1) {
        raise(SIGKILL);
    }
}

#endif
