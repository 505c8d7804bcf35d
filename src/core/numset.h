/* SPDX-License-Identifier: Apache-2.0
 *
 * numset.h - numbers of entries, found by keys that stand in the entries: 5 to 6 bytes each.
 *
 * For tables of millions, where a map's 16 bytes a pair would be much. Keys must be unique; the
 * caller says with each call how to read the key of a number that is in the set.
 */
#ifndef OUTPOST_CORE_NUMSET_H
#define OUTPOST_CORE_NUMSET_H

#include "core/base.h"

enum { NUMSET_NUMBER_BITS = 26, NUMSET_COUNT_MAX = (1 << NUMSET_NUMBER_BITS) - 1 };

struct numset { /* all-zero is an empty one */
    uint32_t *slot;
    uint32_t cap;
    uint32_t count;
};
struct numset_keys {
    uint64_t (*key_of)(const void *ctx, uint32_t number);
    const void *ctx;
};

void numset_done(struct numset *set);
/* After OK `count` further numset_put cannot fail. E_NOMEM, also beyond NUMSET_COUNT_MAX. */
MUST_USE enum err numset_reserve(
        struct numset *set, const struct numset_keys *keys, uint32_t count);
/* number < NUMSET_COUNT_MAX, its key is not in the set, and there is room. */
void numset_put(struct numset *set, uint64_t key, uint32_t number);
bool numset_find(const struct numset *set, const struct numset_keys *keys, uint64_t key,
        uint32_t *ret_number);
/* Takes the key out; the entries of all others must still be readable. False: it was not there. */
bool numset_del(
        struct numset *set, const struct numset_keys *keys, uint64_t key, uint32_t *ret_number);
/* for (uint32_t at = 0; numset_walk(set, &at, &number);) */
bool numset_walk(const struct numset *set, uint32_t *at, uint32_t *ret_number);

#endif
