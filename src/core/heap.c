/* SPDX-License-Identifier: Apache-2.0
 *
 * heap.c - sift up, sift down; every move writes the new position into the item.
 */
#include "core/heap.h"

enum { HEAP_CAP_MIN = 16 };

void heap_done(struct heap *heap)
{
    mem_free(heap->item);
    *heap = (struct heap){ 0 };
}

static void heap_put(struct heap *heap, uint32_t pos, struct heap_item *item)
{
    heap->item[pos] = item;
    item->pos = pos;
}

static void heap_sift_up(struct heap *heap, struct heap_item *item, uint32_t pos)
{
    while (pos > 1 && heap->item[pos / 2]->key > item->key) {
        heap_put(heap, pos, heap->item[pos / 2]);
        pos /= 2;
    }
    heap_put(heap, pos, item);
}

static void heap_sift_down(struct heap *heap, struct heap_item *item, uint32_t pos)
{
    while (pos <= heap->count / 2) {
        uint32_t child = pos * 2;
        if (child < heap->count && heap->item[child + 1]->key < heap->item[child]->key) {
            child++;
        }
        if (heap->item[child]->key >= item->key) {
            break;
        }
        heap_put(heap, pos, heap->item[child]);
        pos = child;
    }
    heap_put(heap, pos, item);
}

/* Puts item where its key belongs, starting from a free position. */
static void heap_settle(struct heap *heap, struct heap_item *item, uint32_t pos)
{
    if (pos > 1 && heap->item[pos / 2]->key > item->key) {
        heap_sift_up(heap, item, pos);
    } else {
        heap_sift_down(heap, item, pos);
    }
}

static enum err heap_make_room(struct heap *heap)
{
    if (heap->count + 1 < heap->cap) {
        return OK;
    }
    if (heap->cap > UINT32_MAX / 4) {
        return E_FULL;
    }
    uint32_t cap = heap->cap ? heap->cap * 2 : HEAP_CAP_MIN;
    struct heap_item **item = mem_grow(heap->item, cap * sizeof *item);
    if (!item) {
        return E_NOMEM;
    }
    item[0] = NULL;
    heap->item = item;
    heap->cap = cap;
    return OK;
}

enum err heap_add(struct heap *heap, struct heap_item *item, int64_t key)
{
    ASSERT(item->pos == 0);
    enum err err = heap_make_room(heap);
    if (err != OK) {
        return err;
    }
    item->key = key;
    heap_sift_up(heap, item, ++heap->count);
    return OK;
}

void heap_del(struct heap *heap, struct heap_item *item)
{
    uint32_t pos = item->pos;
    if (pos == 0) {
        return;
    }
    ASSERT(pos <= heap->count);
    ASSERT(heap->item[pos] == item);
    struct heap_item *last = heap->item[heap->count--];
    if (last != item) {
        heap_settle(heap, last, pos);
    }
    item->pos = 0;
}

void heap_move(struct heap *heap, struct heap_item *item, int64_t key)
{
    ASSERT(item->pos >= 1 && item->pos <= heap->count);
    ASSERT(heap->item[item->pos] == item);
    item->key = key;
    heap_settle(heap, item, item->pos);
}
