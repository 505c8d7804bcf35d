/* SPDX-License-Identifier: Apache-2.0
 *
 * prng.h - xoshiro256** for jitter, shuffles and simulation; never for secrets (edge/random).
 */
#ifndef OUTPOST_CORE_PRNG_H
#define OUTPOST_CORE_PRNG_H

#include "core/base.h"

struct prng {
    uint64_t s[4];
};
void prng_init(struct prng *prng, uint64_t seed);
uint64_t prng_next(struct prng *prng);
uint64_t prng_below(struct prng *prng, uint64_t bound); /* 0 .. bound-1; bound ≥ 1 */
bool prng_chance(struct prng *prng, uint32_t per_million);

#endif
