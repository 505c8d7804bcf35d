/* SPDX-License-Identifier: Apache-2.0
 *
 * arena.h - memory that is freed all at once: one per session, message or job.
 *
 * Bounded: past max_bytes arena_new returns NULL as when memory is out.
 */
#ifndef OUTPOST_CORE_ARENA_H
#define OUTPOST_CORE_ARENA_H

#include "core/base.h"

struct arena_block;
struct arena {
    struct arena_block *first;
    size_t used_bytes; /* in the first block */
    size_t total_bytes;
    size_t max_bytes;
};

void arena_init(struct arena *arena, size_t max_bytes);
void arena_done(struct arena *arena);                             /* frees all */
void arena_reset(struct arena *arena);                            /* frees all but one block */
MUST_USE void *arena_new(struct arena *arena, size_t size_bytes); /* zeroed, 16-aligned */
/* Copy of s in the arena; ptr == NULL (and len 0) where memory ran out and s was not empty. A NUL
 * follows the copy, so it also serves as a C string at the edge. */
struct str arena_str(struct arena *arena, struct str s);
struct str arena_strf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
