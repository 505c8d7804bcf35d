/* SPDX-License-Identifier: Apache-2.0
 *
 * days_priv.h - the scribe's files, one for each UTC day of acceptance.
 *
 * Each file keeps the journal position up to which it is complete, in the transaction that writes
 * its rows; no transaction touches two. A separate small file keeps the position up to which all of
 * them are durable: from there the journal is read again after a crash, and each file ignores what
 * it has.
 */
#ifndef OUTPOST_HISTORY_DAYS_PRIV_H
#define OUTPOST_HISTORY_DAYS_PRIV_H

#include "core/log.h"
#include "history/keys_priv.h"
#include "history/store_priv.h"
#include "history/story_priv.h"

enum {
    DAYS_COUNT_MAX = 4096,     /* files in the directory that are looked at */
    DAYS_OPEN_MAX = 3,         /* kept open for writing */
    DAYS_REFUSED_MAX = 100000, /* refusals stored a day; more are only counted */
    DAYS_NAME_BYTES_MAX = 40,
    DAYS_READ_TRIES = 60 /* then a file that cannot be read is given up */
};

/* "history-2026-11-25.db", with ".2" and so on before ".db" where a damaged file was left. */
bool day_name_parse(const char *name, int32_t *ret_day, uint32_t *ret_part);
void day_name_format(int32_t day, uint32_t part, char dst[DAYS_NAME_BYTES_MAX]);
int32_t day_of(struct wall at); /* since 1970, within what a name can say */

/* Row 0 of a file's meta table. */
struct day_meta {
    struct wall made_at;          /* in the time by which files are old; 0: when first loaded */
    uint64_t epoch;               /* of positions and message numbers: see struct days */
    struct spool_position upto;   /* complete for all records before this */
    uint64_t msg_first, msg_last; /* least and greatest message number */
    uint64_t refused_rows;
    struct story_counts counts;
    struct key_runs runs;
};
void day_meta_encode(struct buf *dst, const struct day_meta *meta);
MUST_USE enum err day_meta_decode(struct str bytes, struct day_meta *ret_meta);
/* Is the record at that position in the file already? */
bool position_is_before(const struct spool_position *a, const struct spool_position *b);

struct day {
    int32_t number;
    uint32_t part;
    char name[DAYS_NAME_BYTES_MAX];
    struct store *store; /* NULL: not open */
    uint64_t used_at;    /* for closing the least recently used */
    bool is_left;        /* damaged, or of another epoch: only read by others */
    bool is_dirty;       /* something to commit */
    bool is_unsynced;    /* committed since its last whole checkpoint */
    struct day_meta meta;
    struct key_list keys;
    struct story *stories, **stories_end; /* of this commit, oldest first */
    struct buf refused;                   /* str32 each */
};
/* A file that was found damaged while it was used; remembered until the process ends. */
struct day_name {
    char name[DAYS_NAME_BYTES_MAX];
};
/* epoch: a spool that was made anew numbers its batches from the start. Then the history begins a
 * new epoch in new files; those of older ones stay for reading. */
struct days {
    struct vfs *vfs;
    struct disk *disk;
    const struct log *log;
    struct day **day; /* by number, then part */
    uint32_t count, cap;
    uint64_t use_counter;
    uint64_t epoch;      /* 0: not known yet */
    struct wall age_now; /* the time by which files are old, see scribe.c; 0: not known yet */
    struct day_name *broken;
    uint32_t broken_count;
    struct day_name unreadable; /* that failed last, so often in a row */
    uint32_t unreadable_count;
    struct buf scratch;
};
MUST_USE enum err days_init(struct days *days, struct disk *disk, const struct log *log);
/* Opens all files there are, to read their meta rows. epoch 0 becomes the latest that a file has.
 */
MUST_USE enum err days_load(struct days *days, struct why *why);
/* Closes all files and drops what is not committed: before the next days_load. */
void days_forget(struct days *days);
void days_close(struct days *days);
void days_new_epoch(struct days *days); /* nothing is uncommitted */
/* The file for what was accepted then; made where there is none. E_CORRUPT from any of these calls:
 * that file will not be used again; forget and load, and go on without it. */
MUST_USE enum err days_for(
        struct days *days, struct wall at, struct day **ret_day, struct why *why);
/* The row of a message and the file that has it. E_NOT_FOUND: gone with its file, or never seen.
 * Bytes as store_get. */
MUST_USE enum err days_find(struct days *days, uint64_t msg_id, struct day **ret_day,
        struct str *ret_bytes, struct why *why);
void day_drop_work(struct day *day);                       /* what was not committed */
void day_take_story(struct day *day, struct story *story); /* for the next commit */
/* Writes what is in the day's lists and its meta row, complete up to there. */
MUST_USE enum err day_commit(
        struct days *days, struct day *day, const struct spool_position *upto, struct why *why);
/* All files durable as committed. *ret_is_whole false: a reader is in the way; ask again. */
MUST_USE enum err days_checkpoint(struct days *days, bool *ret_is_whole, struct why *why);
uint64_t days_wal_bytes(const struct days *days);
/* Removes the file that was made first, where it was made longer ago than days_max or all together
 * are larger than bytes_max; never the one made last. Nothing is uncommitted. Was one removed? */
bool days_retire(struct days *days, uint32_t days_max, uint64_t bytes_max);
struct wall days_last_made(const struct days *days); /* when, in the time of age_now; 0: no file */
void days_made_now(struct days *days); /* files that were loaded while age_now was not known */

/* ---- the durable position ------------------------------------------------------------------- */

struct start {
    uint64_t epoch;
    struct spool_position at;
    uint64_t whole_batch; /* every batch up to this one is taken */
    struct wall wall;     /* when it was written; 0: never */
    struct wall age_now;  /* what then was the time by which files are old */
};
/* All-zero where there is none, or none that can be read. */
MUST_USE enum err start_load(struct disk *disk, struct start *ret_start, struct why *why);
MUST_USE enum err start_store(struct disk *disk, const struct start *start, struct why *why);

#endif
