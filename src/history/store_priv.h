/* SPDX-License-Identifier: Apache-2.0
 *
 * store_priv.h - one day's SQLite file, as four tables of numbered blobs.
 *
 * Knows nothing of what the blobs say. One thread per store. After any error but E_NOT_FOUND the
 * open transaction is lost: close the store and open it anew.
 */
#ifndef OUTPOST_HISTORY_STORE_PRIV_H
#define OUTPOST_HISTORY_STORE_PRIV_H

#include "core/buf.h"
#include "history/vfs_priv.h"

enum store_table {
    STORE_META,    /* row 0: the file's own state */
    STORE_MSG,     /* by message number */
    STORE_KEY,     /* the index, see keys_priv.h */
    STORE_REFUSED, /* by running number */
    STORE_TABLE_COUNT
};

struct store;
/* A writer makes the file where it is missing. E_NOT_FOUND: a reader, and there is no such file, or
 * one without tables yet. E_CORRUPT: not a database, or a damaged one. E_UNSUPPORTED: of a later
 * version. E_IO, E_NO_SPACE, E_NOMEM. */
MUST_USE enum err store_open(struct vfs *vfs, const char *name, bool is_writer,
        struct store **ret_store, struct why *why);
void store_close(struct store *store); /* drops what was not committed; NULL is fine */
/* After a whole checkpoint: gives the WAL's space back, where no reader is in the way. */
void store_shrink(struct store *store);

MUST_USE enum err store_begin(struct store *store, struct why *why);
/* Atomic, but durable only after store_checkpoint. */
MUST_USE enum err store_commit(struct store *store, struct why *why);
/* Everything into the file itself, synced. *ret_is_whole false: a reader held it up, try later. */
MUST_USE enum err store_checkpoint(struct store *store, bool *ret_is_whole, struct why *why);
/* Written since the last whole checkpoint. */
uint64_t store_wal_bytes(const struct store *store);

MUST_USE enum err store_put(struct store *store, enum store_table table, int64_t id,
        struct str bytes, struct why *why); /* replaces */
/* Bytes are valid until the next call on this store and table. E_NOT_FOUND. */
MUST_USE enum err store_get(struct store *store, enum store_table table, int64_t id,
        struct str *ret_bytes, struct why *why);
/* The row with the greatest id ≤ *id, or with is_up the least ≥ *id, which then is in *id. */
MUST_USE enum err store_seek(struct store *store, enum store_table table, bool is_up, int64_t *id,
        struct str *ret_bytes, struct why *why);
MUST_USE enum err store_delete_range(
        struct store *store, enum store_table table, int64_t first, int64_t last, struct why *why);

#endif
