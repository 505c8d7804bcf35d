/* SPDX-License-Identifier: Apache-2.0
 *
 * slab_priv.h - tables of equal items in pages that never move, named by 32-bit numbers.
 *
 * A free item keeps the number of the next free one in its first four bytes.
 */
#ifndef OUTPOST_QUEUE_SLAB_PRIV_H
#define OUTPOST_QUEUE_SLAB_PRIV_H

#include "core/base.h"

enum { SLAB_PAGE_SHIFT = 8, SLAB_PAGE_COUNT = 1 << SLAB_PAGE_SHIFT };

struct slab {
    char **page;
    uint32_t page_count, page_cap;
    uint32_t item_bytes;
    uint32_t end;  /* numbers below were given out at least once */
    uint32_t free; /* a chain; UINT32_MAX: none */
    uint32_t used_count;
};

void slab_init(struct slab *slab, uint32_t item_bytes);
void slab_done(struct slab *slab);
MUST_USE enum err slab_take(struct slab *slab, uint32_t *ret_item); /* zeroed. E_NOMEM, E_FULL */
void slab_give(struct slab *slab, uint32_t item);
void slab_trim(struct slab *slab); /* nothing is used: gives memory back; slab_give does it too */
static inline void *slab_at(const struct slab *slab, uint32_t item)
{
    ASSERT(item < slab->end);
    return slab->page[item >> SLAB_PAGE_SHIFT] +
           (size_t)(item & (SLAB_PAGE_COUNT - 1)) * slab->item_bytes;
}

#endif
