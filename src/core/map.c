/* SPDX-License-Identifier: Apache-2.0
 *
 * map.c - linear probing over one byte per slot, pairs apart.
 *
 * The byte says empty, dead, or seven bits of the hash, so a miss seldom touches a pair. Removal
 * leaves a dead byte (a walk may go on), unless the chain ends there anyway.
 */
#include "core/map.h"

enum { TAG_EMPTY = 0, TAG_DEAD = 1, TAG_USED = 0x80, MAP_CAP_MIN = 16 };
static const uint32_t map_cap_max = UINT32_C(1) << 31;

struct map_slot {
    uint64_t key;
    uint64_t value;
};

/* Bytes live behind the slots, in the same allocation. */
static uint8_t *map_tags(const struct map *map)
{
    return (uint8_t *)(map->slot + map->cap);
}

static uint64_t map_mix(uint64_t key) /* splitmix64's finish: keys may be plain numbers */
{
    key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9;
    key = (key ^ key >> 27) * 0x94d049bb133111eb;
    return key ^ key >> 31;
}

static uint8_t map_tag(uint64_t hash)
{
    return (uint8_t)(TAG_USED | hash >> 57);
}

void map_done(struct map *map)
{
    mem_free(map->slot);
    *map = (struct map){ 0 };
}

/* Writes the pair into the first free slot of its chain; there is one. */
static void map_put(struct map *map, uint64_t key, uint64_t value)
{
    uint64_t hash = map_mix(key);
    uint8_t *tag = map_tags(map);
    uint32_t at = (uint32_t)hash & (map->cap - 1);
    while (tag[at] >= TAG_USED) {
        at = (at + 1) & (map->cap - 1);
    }
    map->dead -= tag[at] == TAG_DEAD;
    map->count++;
    tag[at] = map_tag(hash);
    map->slot[at] = (struct map_slot){ key, value };
}

static enum err map_rehash(struct map *map)
{
    struct map bigger = { .cap = MAP_CAP_MIN };
    while (bigger.cap / 2 <= map->count) {
        if (bigger.cap == map_cap_max) {
            return E_FULL;
        }
        bigger.cap *= 2;
    }
    bigger.slot = mem_new((size_t)bigger.cap * (sizeof(struct map_slot) + 1));
    if (!bigger.slot) {
        return E_NOMEM;
    }
    uint64_t key, value;
    for (uint32_t at = 0; map_walk(map, &at, &key, &value);) {
        map_put(&bigger, key, value);
    }
    ASSERT(bigger.count == map->count);
    map_done(map);
    *map = bigger;
    return OK;
}

/* Room for one more, at most three quarters used or dead, so that every chain ends. */
static enum err map_make_room(struct map *map)
{
    if ((uint64_t)map->count + map->dead + 1 <= (uint64_t)map->cap / 4 * 3) {
        return OK;
    }
    return map_rehash(map);
}

/* The next slot of key at or after *at steps from its start; false at the end of the chain. */
static bool map_seek(const struct map *map, uint64_t key, uint32_t *at, uint32_t *ret_slot)
{
    if (map->count == 0) {
        return false;
    }
    uint64_t hash = map_mix(key);
    const uint8_t *tag = map_tags(map);
    for (; *at < map->cap; ++*at) {
        uint32_t slot = ((uint32_t)hash + *at) & (map->cap - 1);
        if (tag[slot] == TAG_EMPTY) {
            return false;
        }
        if (tag[slot] == map_tag(hash) && map->slot[slot].key == key) {
            *ret_slot = slot;
            return true;
        }
    }
    return false;
}

enum err map_add(struct map *map, uint64_t key, uint64_t value)
{
    enum err err = map_make_room(map);
    if (err == OK) {
        map_put(map, key, value);
    }
    return err;
}

enum err map_set(struct map *map, uint64_t key, uint64_t value)
{
    uint32_t at = 0, slot;
    if (map_seek(map, key, &at, &slot)) {
        map->slot[slot].value = value;
        return OK;
    }
    return map_add(map, key, value);
}

bool map_get(const struct map *map, uint64_t key, uint64_t *ret_value)
{
    uint32_t at = 0;
    return map_walk_key(map, key, &at, ret_value);
}

static void map_clear_slot(struct map *map, uint32_t slot)
{
    uint8_t *tag = map_tags(map);
    uint32_t mask = map->cap - 1;
    ASSERT(tag[slot] >= TAG_USED);
    map->count--;
    map->dead++;
    tag[slot] = TAG_DEAD;
    if (tag[(slot + 1) & mask] == TAG_EMPTY) {
        for (; tag[slot] == TAG_DEAD; slot = (slot - 1) & mask) {
            tag[slot] = TAG_EMPTY;
            map->dead--;
        }
    }
}

bool map_del(struct map *map, uint64_t key)
{
    uint32_t at = 0, slot;
    if (!map_seek(map, key, &at, &slot)) {
        return false;
    }
    map_clear_slot(map, slot);
    return true;
}

bool map_del_value(struct map *map, uint64_t key, uint64_t value)
{
    uint32_t slot;
    for (uint32_t at = 0; map_seek(map, key, &at, &slot); at++) {
        if (map->slot[slot].value == value) {
            map_clear_slot(map, slot);
            return true;
        }
    }
    return false;
}

bool map_walk(const struct map *map, uint32_t *at, uint64_t *ret_key, uint64_t *ret_value)
{
    while (*at < map->cap) {
        uint32_t slot = (*at)++;
        if (map_tags(map)[slot] >= TAG_USED) {
            *ret_key = map->slot[slot].key;
            *ret_value = map->slot[slot].value;
            return true;
        }
    }
    return false;
}

bool map_walk_key(const struct map *map, uint64_t key, uint32_t *at, uint64_t *ret_value)
{
    uint32_t slot;
    if (!map_seek(map, key, at, &slot)) {
        return false;
    }
    ++*at;
    *ret_value = map->slot[slot].value;
    return true;
}
