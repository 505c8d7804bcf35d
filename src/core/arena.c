/* SPDX-License-Identifier: Apache-2.0
 *
 * arena.c - bump allocation in blocks that double up to a limit.
 *
 * The first block of the list is the one in use. A piece too large to share a block gets its own,
 * put second, so that the room left in the first is not lost. total_bytes counts whole blocks.
 */
#include "core/arena.h"

#include <stdarg.h>

enum { ARENA_ALIGN = 16, ARENA_BLOCK_BYTES_MIN = 4080, ARENA_BLOCK_BYTES_MAX = 65520 };

struct arena_block {
    struct arena_block *next;
    size_t cap;
    _Alignas(ARENA_ALIGN) char data[];
};
static_assert(sizeof(struct arena_block) % ARENA_ALIGN == 0, "data follows aligned");

void arena_init(struct arena *arena, size_t max_bytes)
{
    *arena = (struct arena){ .max_bytes = max_bytes };
}

static void arena_free_blocks(struct arena_block *block)
{
    while (block) {
        struct arena_block *next = block->next;
        mem_free(block);
        block = next;
    }
}

void arena_done(struct arena *arena)
{
    arena_free_blocks(arena->first);
    arena_init(arena, arena->max_bytes);
}

void arena_reset(struct arena *arena)
{
    if (!arena->first) {
        return;
    }
    arena_free_blocks(arena->first->next);
    arena->first->next = NULL;
    arena->used_bytes = 0;
    arena->total_bytes = arena->first->cap;
}

static size_t arena_next_cap(const struct arena *arena, size_t need_bytes)
{
    size_t cap = arena->first ? arena->first->cap * 2 : ARENA_BLOCK_BYTES_MIN;
    cap = cap > ARENA_BLOCK_BYTES_MAX ? ARENA_BLOCK_BYTES_MAX : cap;
    cap = cap < need_bytes || need_bytes > ARENA_BLOCK_BYTES_MIN ? need_bytes : cap;
    size_t left = arena->max_bytes - arena->total_bytes;
    return cap < left ? cap : left;
}

/* A new block of at least need_bytes, of which these are used; NULL: over the limit, or memory. */
static struct arena_block *arena_add_block(struct arena *arena, size_t need_bytes)
{
    size_t cap = arena_next_cap(arena, need_bytes);
    if (cap < need_bytes) {
        return NULL;
    }
    struct arena_block *block = mem_grow(NULL, sizeof *block + cap);
    if (!block) {
        return NULL;
    }
    block->cap = cap;
    arena->total_bytes += cap;
    if (arena->first && cap == need_bytes) {
        block->next = arena->first->next;
        arena->first->next = block;
    } else {
        block->next = arena->first;
        arena->first = block;
        arena->used_bytes = need_bytes;
    }
    return block;
}

void *arena_new(struct arena *arena, size_t size_bytes)
{
    ASSERT(arena->total_bytes <= arena->max_bytes);
    if (size_bytes > arena->max_bytes) {
        return NULL;
    }
    struct arena_block *block = arena->first;
    size_t start = (arena->used_bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (block && start <= block->cap && size_bytes <= block->cap - start) {
        arena->used_bytes = start + size_bytes;
        return memset(block->data + start, 0, size_bytes);
    }
    block = arena_add_block(arena, size_bytes);
    return block ? memset(block->data, 0, size_bytes) : NULL;
}

struct str arena_str(struct arena *arena, struct str s)
{
    if (s.len == 0) {
        return STR("");
    }
    char *copy = s.len < SIZE_MAX ? arena_new(arena, s.len + 1) : NULL;
    if (!copy) {
        return (struct str){ 0 };
    }
    memcpy(copy, s.ptr, s.len);
    return str_of(copy, s.len);
}

struct str arena_strf(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    ASSERT(len >= 0);
    char *text = len ? arena_new(arena, (size_t)len + 1) : NULL;
    if (text) {
        vsnprintf(text, (size_t)len + 1, format, again);
    }
    va_end(again);
    va_end(args);
    if (len == 0) {
        return STR("");
    }
    return str_of(text, text ? (size_t)len : 0);
}
