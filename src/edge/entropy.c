/* SPDX-License-Identifier: Apache-2.0
 *
 * entropy.c - the kernel's random bytes. There is no weaker fallback: without them we stop.
 */
#include "edge/entropy.h"

#include <errno.h>
#include <sys/random.h>

enum { POOL_BYTES = 512, POOL_ASK_BYTES_MAX = 32 };

static void kernel_fill(void *dst, size_t len_bytes)
{
    char *at = dst;
    while (len_bytes > 0) {
        ssize_t got = getrandom(at, len_bytes, 0);
        ASSERT(got > 0 || (got < 0 && errno == EINTR));
        if (got > 0) {
            at += got;
            len_bytes -= (size_t)got;
        }
    }
}

/* Small asks (an id for each message) are served from a pool of the thread, one system call for
 * many; what was handed out is wiped. A process never forks while it has such threads. */
static void real_fill(struct entropy *entropy, void *dst, size_t len_bytes)
{
    static _Thread_local char pool[POOL_BYTES];
    static _Thread_local size_t left;
    (void)entropy;
    if (len_bytes > POOL_ASK_BYTES_MAX) {
        kernel_fill(dst, len_bytes);
        return;
    }
    if (left < len_bytes) {
        kernel_fill(pool, sizeof pool);
        left = sizeof pool;
    }
    left -= len_bytes;
    memcpy(dst, pool + left, len_bytes);
    memset(pool + left, 0, len_bytes);
}

uint64_t entropy_u64(struct entropy *entropy)
{
    uint64_t value;
    entropy_fill(entropy, &value, sizeof value);
    return value;
}

struct entropy *entropy_real(void)
{
    static struct entropy real = { real_fill };
    return &real;
}
