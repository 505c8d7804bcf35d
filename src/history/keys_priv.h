/* SPDX-License-Identifier: Apache-2.0
 *
 * keys_priv.h - finding messages by id, tag, recipient or Message-ID: sorted runs of hashes.
 *
 * A B-tree over hashes would dirty every page of itself at each commit. So each commit appends one
 * small sorted run, and eight runs of a size become one of the next size: about 30 bytes a message
 * at rest, each key written five times in its life. A look-up seeks once or twice in each run,
 * newest first; a run of full size has half a million messages.
 */
#ifndef OUTPOST_HISTORY_KEYS_PRIV_H
#define OUTPOST_HISTORY_KEYS_PRIV_H

#include "history/history.h"
#include "history/row_priv.h"
#include "history/store_priv.h"

enum { KEYS_OPEN_RUNS_MAX = 64 };

struct key {
    uint32_t hash;
    uint64_t msg_id;
};
/* Keys of the messages of one commit, in any order. */
struct key_list {
    struct key *key;
    uint32_t count, cap;
};
void key_list_done(struct key_list *list);
MUST_USE enum err key_list_add(struct key_list *list, uint64_t msg_id, const struct row_head *head);

/* Runs that may still be merged; kept in the file's meta row. */
struct key_run {
    uint32_t number;
    uint64_t key_count;
};
struct key_runs {
    uint32_t next_number;
    uint32_t open_count;
    struct key_run open[KEYS_OPEN_RUNS_MAX];
};
/* In an open transaction: writes the list as a run, merges where due, empties the list. */
MUST_USE enum err keys_write(
        struct store *store, struct key_runs *runs, struct key_list *list, struct why *why);

uint32_t keys_hash(enum history_key by, struct str value);
/* Calls each with candidates, newest first; the caller compares the real value. each returns false
 * to stop. E_CORRUPT and other errors of the store. */
MUST_USE enum err keys_find(struct store *store, uint32_t hash,
        bool (*each)(void *ctx, uint64_t msg_id), void *ctx, struct why *why);
/* As keys_hash sees it: without <> for Message-ID. */
struct str keys_value(enum history_key by, struct str value);

#endif
