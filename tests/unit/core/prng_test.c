/* SPDX-License-Identifier: Apache-2.0
 *
 * prng_test.c - the reference sequence, bounds and rough evenness.
 */
#include "core/prng.h"

#include "tests/test.h"

TEST(prng_follows_the_reference_sequence)
{
    /* state 1, 2, 3, 4: the first outputs of prng.di.unimi.it/xoshiro256starstar.c */
    struct prng prng = { { 1, 2, 3, 4 } };
    static const uint64_t expected[] = { 11520, 0, 1509978240, 1215971899390074240 };
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        CHECK_U64(prng_next(&prng), expected[i]);
    }
}

TEST(prng_repeats_for_a_seed_and_differs_between_seeds)
{
    struct prng a, b, c;
    prng_init(&a, 0);
    prng_init(&b, 0);
    prng_init(&c, 1);
    /* splitmix64 of seed 0 */
    CHECK_U64(a.s[0], 0xe220a8397b1dcdaf);
    uint64_t equal_count = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t v = prng_next(&a);
        CHECK_U64(v, prng_next(&b));
        equal_count += v == prng_next(&c);
    }
    CHECK_U64(equal_count, 0);
}

TEST(prng_below_stays_below_and_is_even)
{
    struct prng prng;
    prng_init(&prng, 42);
    uint32_t count[7] = { 0 };
    for (int i = 0; i < 70000; i++) {
        uint64_t v = prng_below(&prng, 7);
        CHECK(v < 7);
        count[v]++;
    }
    for (int i = 0; i < 7; i++) {
        CHECK(count[i] > 9500 && count[i] < 10500, "%d: %u", i, count[i]);
    }
    CHECK_U64(prng_below(&prng, 1), 0);
    for (int i = 0; i < 20; i++) { /* half of all values are thrown away */
        CHECK(prng_below(&prng, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
    }
}

TEST(prng_chance_keeps_its_share)
{
    struct prng prng;
    prng_init(&prng, 43);
    int hits = 0;
    for (int i = 0; i < 10000; i++) {
        CHECK(!prng_chance(&prng, 0));
        CHECK(prng_chance(&prng, 1000000));
        hits += prng_chance(&prng, 250000);
    }
    CHECK(hits > 2300 && hits < 2700, "%d", hits);
}
