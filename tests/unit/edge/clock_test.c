/* SPDX-License-Identifier: Apache-2.0
 *
 * clock_test.c - clocks and random bytes: that they are there and move.
 */
#include "edge/clock.h"

#include "edge/entropy.h"
#include "tests/test.h"

TEST(the_steady_clock_does_not_go_back)
{
    struct mono last = clock_mono(clock_real());
    CHECK(last.ms > 0);
    for (int i = 0; i < 1000; i++) {
        struct mono now = clock_mono(clock_real());
        CHECK(now.ms >= last.ms);
        last = now;
    }
}

TEST(the_wall_clock_is_past_2020)
{
    CHECK(clock_wall(clock_real()).ms > INT64_C(1577836800000));
}

TEST(random_bytes_fill_all_of_the_buffer)
{
    uint8_t sum[300] = { 0 }, fresh[300];
    for (int round = 0; round < 8; round++) { /* a byte that stays 0 in all: 1 in 2^64 each */
        entropy_fill(entropy_real(), fresh, sizeof fresh);
        for (size_t i = 0; i < sizeof sum; i++) {
            sum[i] |= fresh[i];
        }
    }
    for (size_t i = 0; i < sizeof sum; i++) {
        CHECK(sum[i] != 0, "byte %zu was never set", i);
    }
    CHECK(entropy_u64(entropy_real()) != entropy_u64(entropy_real()));
}
