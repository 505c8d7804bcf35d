/* SPDX-License-Identifier: Apache-2.0
 *
 * slab.c - see slab_priv.h. All pages but the first are given back when nothing is used any more:
 * what a long backlog took does not stay for ever.
 */
#include "queue/slab_priv.h"

enum { SLAB_PAGE_CAP_MIN = 16, SLAB_PAGE_CAP_MAX = 1 << 23 };

void slab_init(struct slab *slab, uint32_t item_bytes)
{
    ASSERT(item_bytes >= sizeof(uint32_t));
    *slab = (struct slab){ .item_bytes = item_bytes, .free = UINT32_MAX };
}

void slab_done(struct slab *slab)
{
    for (uint32_t i = 0; i < slab->page_count; i++) {
        mem_free(slab->page[i]);
    }
    mem_free(slab->page);
    slab_init(slab, slab->item_bytes ? slab->item_bytes : sizeof(uint32_t));
}

static enum err slab_add_page(struct slab *slab)
{
    if (slab->page_count == slab->page_cap) {
        uint32_t cap = slab->page_cap ? slab->page_cap * 2 : SLAB_PAGE_CAP_MIN;
        if (cap > SLAB_PAGE_CAP_MAX) {
            return E_FULL;
        }
        char **page = mem_grow(slab->page, cap * sizeof *page);
        if (page == NULL) {
            return E_NOMEM;
        }
        slab->page = page;
        slab->page_cap = cap;
    }
    char *page = mem_new((size_t)SLAB_PAGE_COUNT * slab->item_bytes);
    if (page == NULL) {
        return E_NOMEM;
    }
    slab->page[slab->page_count++] = page;
    return OK;
}

enum err slab_take(struct slab *slab, uint32_t *ret_item)
{
    uint32_t item = slab->free;
    if (item != UINT32_MAX) {
        void *at = slab_at(slab, item);
        memcpy(&slab->free, at, sizeof slab->free);
        memset(at, 0, sizeof slab->free);
    } else {
        if (slab->end == slab->page_count << SLAB_PAGE_SHIFT) {
            enum err err = slab_add_page(slab);
            if (err != OK) {
                return err;
            }
        }
        item = slab->end++;
    }
    slab->used_count++;
    *ret_item = item;
    return OK;
}

void slab_trim(struct slab *slab)
{
    ASSERT(slab->used_count == 0);
    if (slab->page_count > 1) {
        while (slab->page_count > 1) {
            mem_free(slab->page[--slab->page_count]);
        }
        memset(slab->page[0], 0, (size_t)SLAB_PAGE_COUNT * slab->item_bytes);
        slab->end = 0;
        slab->free = UINT32_MAX;
    }
}

void slab_give(struct slab *slab, uint32_t item)
{
    void *at = slab_at(slab, item);
    ASSERT(slab->used_count > 0);
    memset(at, 0, slab->item_bytes);
    memcpy(at, &slab->free, sizeof slab->free);
    slab->free = item;
    slab->used_count--;
    if (slab->used_count == 0) {
        slab_trim(slab);
    }
}
