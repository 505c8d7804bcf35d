/* SPDX-License-Identifier: Apache-2.0
 *
 * map.h - hash map from a 64-bit key to a 64-bit value, open addressing.
 *
 * For string keys hash with str_hash and compare in the caller: map_find gives the candidate, and
 * map_next the following one of the same key. Keys may repeat only through map_add.
 */
#ifndef OUTPOST_CORE_MAP_H
#define OUTPOST_CORE_MAP_H

#include "core/base.h"

struct map_slot;
struct map {
    struct map_slot *slot;
    uint32_t cap; /* power of two or 0 */
    uint32_t count;
    uint32_t dead;
};

void map_done(struct map *map); /* all-zero is an empty map */
MUST_USE enum err map_set(struct map *map, uint64_t key, uint64_t value); /* replaces */
MUST_USE enum err map_add(struct map *map, uint64_t key, uint64_t value); /* keeps equal keys */
bool map_get(const struct map *map, uint64_t key, uint64_t *ret_value);
bool map_del(struct map *map, uint64_t key);
bool map_del_value(struct map *map, uint64_t key, uint64_t value); /* that pair only */
static inline uint32_t map_count(const struct map *map)
{
    return map->count;
}
/* Walk all: for (uint32_t at = 0; map_walk(map, &at, &key, &value);) ... */
bool map_walk(const struct map *map, uint32_t *at, uint64_t *ret_key, uint64_t *ret_value);
/* Walk the values of one key: for (uint32_t at = 0; map_walk_key(map, key, &at, &value);) ... */
bool map_walk_key(const struct map *map, uint64_t key, uint32_t *at, uint64_t *ret_value);

#endif
