/* SPDX-License-Identifier: Apache-2.0
 *
 * entropy.c - the kernel's random bytes. There is no weaker fallback: without them we stop.
 */
#include "edge/entropy.h"

#include <errno.h>
#include <sys/random.h>

static void real_fill(struct entropy *entropy, void *dst, size_t len_bytes)
{
    (void)entropy;
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
