/* SPDX-License-Identifier: Apache-2.0
 *
 * numset.c - linear probing over numbers; see numset.h.
 *
 * A slot keeps number + 1 and, above it, six bits of the key's hash, so that a foreign entry, which
 * is seldom in the cache, is seldom looked at. Capacities are no powers of two: growing by a
 * quarter wastes less. Removal closes the gap, so no slot is ever dead.
 */
#include "core/numset.h"

enum { NUMSET_CAP_MIN = 64, TAG_COUNT = 1 << (32 - NUMSET_NUMBER_BITS) };
#define NUMBER_MASK ((UINT32_C(1) << NUMSET_NUMBER_BITS) - 1)

static uint64_t hash_of(uint64_t key) /* splitmix64's finish: keys are nearly in sequence */
{
    key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9;
    key = (key ^ key >> 27) * 0x94d049bb133111eb;
    return key ^ key >> 31;
}

static uint32_t home_of(const struct numset *set, uint64_t hash)
{
    return (uint32_t)((hash >> 32) * set->cap >> 32);
}

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash % TAG_COUNT) << NUMSET_NUMBER_BITS;
}

static uint32_t number_in(uint32_t slot)
{
    return (slot & NUMBER_MASK) - 1;
}

static uint32_t next_of(const struct numset *set, uint32_t at)
{
    return at + 1 < set->cap ? at + 1 : 0;
}

static uint32_t distance(const struct numset *set, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : to + set->cap - from;
}

/* At most four fifths are used, so that chains stay short and end. */
static uint32_t count_max(uint32_t cap)
{
    return cap - cap / 5;
}

void numset_done(struct numset *set)
{
    mem_free(set->slot);
    *set = (struct numset){ 0 };
}

enum err numset_reserve(struct numset *set, const struct numset_keys *keys, uint32_t count)
{
    if (count > NUMSET_COUNT_MAX - set->count) {
        return E_NOMEM;
    }
    struct numset bigger = { .cap = set->cap ? set->cap : NUMSET_CAP_MIN };
    while (count_max(bigger.cap) < set->count + count) {
        bigger.cap += bigger.cap / 4;
    }
    if (bigger.cap == set->cap) {
        return OK;
    }
    bigger.slot = mem_new(bigger.cap * sizeof *bigger.slot);
    if (bigger.slot == NULL) {
        return E_NOMEM;
    }
    uint32_t number;
    for (uint32_t at = 0; numset_walk(set, &at, &number);) {
        numset_put(&bigger, keys->key_of(keys->ctx, number), number);
    }
    ASSERT(bigger.count == set->count);
    numset_done(set);
    *set = bigger;
    return OK;
}

void numset_put(struct numset *set, uint64_t key, uint32_t number)
{
    ASSERT(number < NUMSET_COUNT_MAX && set->count < count_max(set->cap));
    uint64_t hash = hash_of(key);
    uint32_t at = home_of(set, hash);
    while (set->slot[at] != 0) {
        at = next_of(set, at);
    }
    set->slot[at] = tag_of(hash) | (number + 1);
    set->count++;
}

/* The place of a key; false: it is not there. */
static bool seek(
        const struct numset *set, const struct numset_keys *keys, uint64_t key, uint32_t *ret_at)
{
    if (set->count == 0) {
        return false;
    }
    uint64_t hash = hash_of(key);
    uint32_t tag = tag_of(hash);
    for (uint32_t at = home_of(set, hash); set->slot[at] != 0; at = next_of(set, at)) {
        uint32_t slot = set->slot[at];
        if ((slot & ~NUMBER_MASK) == tag && keys->key_of(keys->ctx, number_in(slot)) == key) {
            *ret_at = at;
            return true;
        }
    }
    return false;
}

bool numset_find(const struct numset *set, const struct numset_keys *keys, uint64_t key,
        uint32_t *ret_number)
{
    uint32_t at;
    if (!seek(set, keys, key, &at)) {
        return false;
    }
    *ret_number = number_in(set->slot[at]);
    return true;
}

/* Those behind the gap move into it where their way leads over it. */
static void gap_close(struct numset *set, const struct numset_keys *keys, uint32_t gap)
{
    for (uint32_t at = next_of(set, gap); set->slot[at] != 0; at = next_of(set, at)) {
        uint64_t key = keys->key_of(keys->ctx, number_in(set->slot[at]));
        uint32_t home = home_of(set, hash_of(key));
        if (distance(set, home, at) >= distance(set, gap, at)) {
            set->slot[gap] = set->slot[at];
            gap = at;
        }
    }
    set->slot[gap] = 0;
}

bool numset_del(
        struct numset *set, const struct numset_keys *keys, uint64_t key, uint32_t *ret_number)
{
    uint32_t at;
    if (!seek(set, keys, key, &at)) {
        return false;
    }
    *ret_number = number_in(set->slot[at]);
    gap_close(set, keys, at);
    set->count--;
    return true;
}

bool numset_walk(const struct numset *set, uint32_t *at, uint32_t *ret_number)
{
    while (*at < set->cap) {
        uint32_t slot = set->slot[(*at)++];
        if (slot != 0) {
            *ret_number = number_in(slot);
            return true;
        }
    }
    return false;
}
