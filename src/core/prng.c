/* SPDX-License-Identifier: Apache-2.0
 *
 * prng.c - xoshiro256** 1.0 (Blackman, Vigna), seeded through splitmix64 as its authors advise.
 */
#include "core/prng.h"

static uint64_t splitmix_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

void prng_init(struct prng *prng, uint64_t seed)
{
    for (size_t i = 0; i < COUNT_OF(prng->s); i++) {
        prng->s[i] = splitmix_next(&seed);
    }
}

static uint64_t rotate_left(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

uint64_t prng_next(struct prng *prng)
{
    uint64_t *s = prng->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *prng, uint64_t bound)
{
    ASSERT(bound > 0);
    uint64_t uneven = (0 - bound) % bound; /* 2^64 mod bound: this many values would be too many */
    uint64_t value;
    do {
        value = prng_next(prng);
    } while (value < uneven);
    return value % bound;
}

bool prng_chance(struct prng *prng, uint32_t per_million)
{
    return prng_below(prng, 1000000) < per_million;
}
