/* SPDX-License-Identifier: Apache-2.0
 *
 * map_test.c - random churn against a plain array, equal keys, walks that delete.
 */
#include "core/map.h"

#include "core/prng.h"
#include "tests/test.h"

enum { KEY_COUNT = 300 };

struct model {
    bool is_there[KEY_COUNT];
    uint64_t value[KEY_COUNT];
    uint32_t count;
};

static void check_against(const struct map *map, const struct model *model)
{
    CHECK_U64(map_count(map), model->count);
    uint32_t walked = 0;
    uint64_t key, value;
    for (uint32_t at = 0; map_walk(map, &at, &key, &value); walked++) {
        CHECK(key < KEY_COUNT && model->is_there[key] && model->value[key] == value);
    }
    CHECK_U64(walked, model->count);
    for (key = 0; key < KEY_COUNT; key++) {
        value = 0;
        CHECK(map_get(map, key, &value) == model->is_there[key], "key %d", (int)key);
        CHECK(!model->is_there[key] || value == model->value[key], "key %d", (int)key);
    }
}

TEST(map_agrees_with_a_plain_array_through_random_churn)
{
    struct map map = { 0 };
    struct model model = { 0 };
    struct prng prng;
    prng_init(&prng, 11);
    for (int step = 0; step < 30000; step++) {
        uint64_t key = prng_below(&prng, KEY_COUNT), value = prng_next(&prng);
        bool is_growing = step / 5000 % 2 == 0;
        if (prng_chance(&prng, is_growing ? 700000 : 300000)) {
            REQUIRE_OK(map_set(&map, key, value));
            model.count += !model.is_there[key];
            model.is_there[key] = true;
            model.value[key] = value;
        } else {
            CHECK(map_del(&map, key) == model.is_there[key]);
            model.count -= model.is_there[key];
            model.is_there[key] = false;
        }
        if (step % 500 == 0) {
            check_against(&map, &model);
        }
    }
    check_against(&map, &model);
    CHECK(map.cap <= 1024, "dead slots must not make it grow: %u", map.cap);
    map_done(&map);
}

TEST(map_all_zero_is_empty)
{
    struct map map = { 0 };
    uint64_t key, value = 5;
    uint32_t at = 0;
    CHECK(!map_get(&map, 1, &value) && value == 5);
    CHECK(!map_del(&map, 1) && !map_del_value(&map, 1, 1));
    CHECK(!map_walk(&map, &at, &key, &value));
    CHECK(!map_walk_key(&map, 1, &at, &value));
    map_done(&map);
}

TEST(map_add_keeps_equal_keys_and_walks_them_all)
{
    struct map map = { 0 };
    for (uint64_t i = 0; i < 100; i++) {
        REQUIRE_OK(map_add(&map, i & 1, i));
    }
    CHECK_U64(map_count(&map), 100);
    uint64_t value, seen = 0;
    for (uint32_t at = 0; map_walk_key(&map, 1, &at, &value);) {
        CHECK_U64(value & 1, 1);
        seen += value;
    }
    CHECK_U64(seen, 2500);
    CHECK(map_del_value(&map, 1, 51));
    CHECK(!map_del_value(&map, 1, 51));
    CHECK(!map_del_value(&map, 1, 50));
    CHECK_U64(map_count(&map), 99);
    map_done(&map);
}

TEST(map_may_lose_pairs_while_it_is_walked)
{
    struct map map = { 0 };
    for (uint64_t i = 0; i < 1000; i++) {
        REQUIRE_OK(map_set(&map, i, i));
    }
    uint64_t key, value;
    uint32_t walked = 0;
    for (uint32_t at = 0; map_walk(&map, &at, &key, &value); walked++) {
        CHECK(map_del(&map, key));
    }
    CHECK_U64(walked, 1000);
    CHECK_U64(map_count(&map), 0);
    for (uint64_t i = 0; i < 50; i++) {
        REQUIRE_OK(map_add(&map, 7, i));
    }
    walked = 0;
    for (uint32_t at = 0; map_walk_key(&map, 7, &at, &value); walked++) {
        CHECK(map_del_value(&map, 7, value));
    }
    CHECK_U64(walked, 50);
    map_done(&map);
}

TEST(map_without_memory_stays_as_it_was)
{
    struct map map = { 0 };
    mem_fail_at(1);
    CHECK_ERR(map_set(&map, 1, 1), E_NOMEM);
    CHECK_U64(map_count(&map), 0);
    uint32_t refused = 0;
    for (uint64_t i = 0; i < 200; i++) {
        mem_fail_at(1);
        enum err err = map_set(&map, i, i);
        if (err != OK) {
            CHECK_ERR(err, E_NOMEM);
            refused++;
            mem_fail_at(0);
            REQUIRE_OK(map_set(&map, i, i));
        }
        uint64_t value;
        CHECK(map_get(&map, i, &value) && value == i);
    }
    mem_fail_at(0);
    CHECK(refused > 2);
    CHECK_U64(map_count(&map), 200);
    map_done(&map);
}
