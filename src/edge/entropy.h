/* SPDX-License-Identifier: Apache-2.0
 *
 * entropy.h - unpredictable bytes: ids, salts, secrets. In the simulation they come from the seed.
 */
#ifndef OUTPOST_EDGE_ENTROPY_H
#define OUTPOST_EDGE_ENTROPY_H

#include "core/base.h"

struct entropy {
    void (*fill)(struct entropy *entropy, void *dst, size_t len_bytes); /* any thread */
};
static inline void entropy_fill(struct entropy *entropy, void *dst, size_t len_bytes)
{
    entropy->fill(entropy, dst, len_bytes);
}
uint64_t entropy_u64(struct entropy *entropy);
struct entropy *entropy_real(void); /* getrandom(2); static, any thread */

#endif
