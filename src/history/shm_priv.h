/* SPDX-License-Identifier: Apache-2.0
 *
 * shm_priv.h - the wal-indexes of SQLite's files, in memory: regions and locks by file name.
 *
 * The caller holds a lock around every call; regions themselves are read and written by SQLite
 * without one, as its protocol allows.
 */
#ifndef OUTPOST_HISTORY_SHM_PRIV_H
#define OUTPOST_HISTORY_SHM_PRIV_H

#include "core/base.h"

enum { SHM_LOCK_COUNT = 8, SHM_REGION_COUNT_MAX = 4096 };

struct shm;
/* Locks that one connection holds: bits. */
struct shm_held {
    uint32_t shared, exclusive;
};
/* One more user; the first makes it. NULL: no memory. */
MUST_USE struct shm *shm_take(struct shm **list, const char *name);
void shm_give(struct shm **list, struct shm *shm); /* the last user frees it */
/* Region index, which is made where is_extending; NULL in *ret_region where it is not there. */
MUST_USE enum err shm_map(
        struct shm *shm, uint32_t index, size_t region_bytes, bool is_extending, void **ret_region);
/* All locks of mask or none; false: another holds one. */
MUST_USE bool shm_lock(struct shm *shm, struct shm_held *held, uint32_t mask, bool is_exclusive);
void shm_unlock(struct shm *shm, struct shm_held *held, uint32_t mask);

#endif
