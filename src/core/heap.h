/* SPDX-License-Identifier: Apache-2.0
 *
 * heap.h - intrusive binary min-heap over a 64-bit key: timers and due times.
 *
 * An element embeds struct heap_item; its position is kept in it, so removal and change are
 * O(log n). `pos` 0 means "not in a heap".
 */
#ifndef OUTPOST_CORE_HEAP_H
#define OUTPOST_CORE_HEAP_H

#include "core/base.h"

struct heap_item {
    int64_t key;
    uint32_t pos; /* 1-based; 0 = not in a heap */
};
struct heap {
    struct heap_item **item; /* item[0] unused */
    uint32_t count;
    uint32_t cap;
};

void heap_done(struct heap *heap); /* all-zero is an empty heap; items are not touched */
MUST_USE enum err heap_add(struct heap *heap, struct heap_item *item, int64_t key);
void heap_del(struct heap *heap, struct heap_item *item); /* fine when not in the heap */
void heap_move(struct heap *heap, struct heap_item *item, int64_t key);
static inline struct heap_item *heap_first(const struct heap *heap)
{
    return heap->count ? heap->item[1] : NULL;
}

#endif
