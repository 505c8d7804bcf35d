/* SPDX-License-Identifier: Apache-2.0
 *
 * heap_test.c - the order against a plain array, and the position kept in every item.
 */
#include "core/heap.h"

#include "core/prng.h"
#include "tests/test.h"

enum { ITEM_COUNT = 60 };

static void check_heap(const struct heap *heap)
{
    for (uint32_t pos = 1; pos <= heap->count; pos++) {
        CHECK_U64(heap->item[pos]->pos, pos);
        CHECK(pos == 1 || heap->item[pos / 2]->key <= heap->item[pos]->key, "pos %u", pos);
    }
}

static int64_t least_key(const struct heap_item *item, uint32_t *ret_count)
{
    int64_t least = INT64_MAX;
    *ret_count = 0;
    for (int i = 0; i < ITEM_COUNT; i++) {
        if (item[i].pos) {
            ++*ret_count;
            least = item[i].key < least ? item[i].key : least;
        }
    }
    return least;
}

TEST(heap_first_is_always_the_least_of_a_random_churn)
{
    struct heap heap = { 0 };
    struct heap_item item[ITEM_COUNT] = { 0 };
    struct prng prng;
    prng_init(&prng, 7);
    for (int step = 0; step < 5000; step++) {
        struct heap_item *one = &item[prng_below(&prng, ITEM_COUNT)];
        int64_t key = (int64_t)prng_below(&prng, 100) - 50;
        if (one->pos == 0) {
            REQUIRE_OK(heap_add(&heap, one, key));
        } else if (prng_chance(&prng, 500000)) {
            heap_move(&heap, one, key);
        } else {
            heap_del(&heap, one);
            CHECK_U64(one->pos, 0);
        }
        check_heap(&heap);
        uint32_t count;
        int64_t least = least_key(item, &count);
        CHECK_U64(heap.count, count);
        struct heap_item *first = heap_first(&heap);
        CHECK((first == NULL) == (count == 0));
        CHECK(first == NULL || first->key == least);
    }
    heap_done(&heap);
}

TEST(heap_gives_keys_in_order)
{
    struct heap heap = { 0 };
    struct heap_item item[ITEM_COUNT] = { 0 };
    for (int i = 0; i < ITEM_COUNT; i++) {
        int64_t key = i * 37 % ITEM_COUNT; /* a permutation: 37 and 60 share no factor */
        REQUIRE_OK(heap_add(&heap, &item[i], key));
    }
    for (int i = 0; i < ITEM_COUNT; i++) {
        struct heap_item *first = heap_first(&heap);
        CHECK(first != NULL && first->key == i);
        heap_del(&heap, first);
    }
    CHECK(heap_first(&heap) == NULL);
    heap_done(&heap);
}

TEST(heap_del_of_an_item_outside_does_nothing)
{
    struct heap heap = { 0 };
    struct heap_item item = { 0 };
    heap_del(&heap, &item);
    CHECK_U64(heap.count, 0);
    heap_done(&heap);
}

TEST(heap_without_memory_refuses_the_item_and_keeps_the_rest)
{
    struct heap heap = { 0 };
    struct heap_item item[ITEM_COUNT] = { 0 };
    uint32_t refused = 0;
    for (uint32_t i = 0; i < ITEM_COUNT; i++) {
        mem_fail_at(1);
        enum err err = heap_add(&heap, &item[i], i);
        if (err != OK) {
            CHECK_ERR(err, E_NOMEM);
            CHECK_U64(item[i].pos, 0);
            refused++;
            mem_fail_at(0);
            REQUIRE_OK(heap_add(&heap, &item[i], i));
        }
        check_heap(&heap);
    }
    mem_fail_at(0);
    CHECK(refused >= 2);
    CHECK_U64(heap.count, ITEM_COUNT);
    heap_done(&heap);
}
