/* SPDX-License-Identifier: Apache-2.0
 *
 * numset_test.c - random churn against a plain array, growth, the limit, and the end of memory.
 */
#include "core/numset.h"

#include "core/prng.h"
#include "tests/test.h"

enum { ENTRY_COUNT = 5000 };

struct table {
    uint64_t key[ENTRY_COUNT];
    bool is_in[ENTRY_COUNT];
    uint32_t count;
};

static uint64_t table_key(const void *ctx, uint32_t number)
{
    const struct table *table = ctx;
    CHECK(number < ENTRY_COUNT && table->is_in[number], "number %u is not in", number);
    return table->key[number];
}

static void check_against(
        const struct numset *set, const struct table *table, const struct numset_keys *keys)
{
    uint32_t walked = 0, number;
    CHECK_U64(set->count, table->count);
    for (uint32_t at = 0; numset_walk(set, &at, &number); walked++) {
        CHECK(table->is_in[number]);
    }
    CHECK_U64(walked, table->count);
    for (uint32_t i = 0; i < ENTRY_COUNT; i++) {
        number = ENTRY_COUNT;
        bool is_found = numset_find(set, keys, table->key[i], &number);
        CHECK(is_found == table->is_in[i] && number == (is_found ? i : ENTRY_COUNT), "entry %u", i);
    }
}

TEST(a_numset_agrees_with_a_plain_array_through_random_churn)
{
    static struct table table;
    struct numset_keys keys = { table_key, &table };
    struct numset set = { 0 };
    struct prng prng;
    prng_init(&prng, 5);
    for (uint32_t i = 0; i < ENTRY_COUNT; i++) {
        table.key[i] = (uint64_t)(i / 3 + 1) << 16 | i % 3; /* as message ids are */
    }
    for (uint32_t step = 0; step < 60000; step++) {
        uint32_t i = (uint32_t)prng_below(&prng, ENTRY_COUNT), number;
        bool is_growing = step / 10000 % 2 == 0;
        if (is_growing && !table.is_in[i]) {
            REQUIRE_OK(numset_reserve(&set, &keys, 1));
            numset_put(&set, table.key[i], i);
            table.is_in[i] = true;
            table.count++;
        } else if (!is_growing) {
            bool is_found = numset_del(&set, &keys, table.key[i], &number);
            CHECK(is_found == table.is_in[i] && (!is_found || number == i));
            table.count -= is_found;
            table.is_in[i] = false;
        }
        if (step % 1000 == 0) {
            check_against(&set, &table, &keys);
        }
    }
    check_against(&set, &table, &keys);
    numset_done(&set);
    CHECK(!numset_find(&set, &keys, table.key[0], &(uint32_t){ 0 }));
}

static uint64_t plain_key(const void *ctx, uint32_t number)
{
    (void)ctx;
    return (uint64_t)(number + 1) << 16;
}

TEST(a_numset_takes_at_most_six_and_a_quarter_bytes_an_entry)
{
    struct numset_keys keys = { plain_key, NULL };
    struct numset set = { 0 };
    for (uint32_t i = 0; i < 200000; i++) {
        REQUIRE_OK(numset_reserve(&set, &keys, 1));
        numset_put(&set, plain_key(NULL, i), i);
        CHECK(i < 1000 || set.cap * sizeof *set.slot * 4 <= 26ull * (i + 1), "%u for %u", set.cap,
                i + 1);
    }
    numset_done(&set);
}

TEST(a_numset_that_gets_no_memory_stays_as_it_was_and_has_a_limit)
{
    struct numset_keys keys = { plain_key, NULL };
    struct numset set = { 0 };
    uint32_t number = 7;
    REQUIRE_OK(numset_reserve(&set, &keys, 1));
    numset_put(&set, plain_key(NULL, 0), 0);
    mem_fail_at(1);
    CHECK(numset_reserve(&set, &keys, 1000) == E_NOMEM);
    mem_fail_at(0);
    CHECK(numset_find(&set, &keys, plain_key(NULL, 0), &number) && number == 0);
    CHECK(numset_reserve(&set, &keys, NUMSET_COUNT_MAX) == E_NOMEM);
    CHECK(!numset_del(&set, &keys, plain_key(NULL, 1), &number));
    numset_done(&set);
}
