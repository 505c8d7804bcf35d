/* SPDX-License-Identifier: Apache-2.0
 *
 * view_next_priv.h - the inside of a view, between view.c (messages) and view_next.c (journal).
 */
#ifndef OUTPOST_SPOOL_VIEW_NEXT_PRIV_H
#define OUTPOST_SPOOL_VIEW_NEXT_PRIV_H

#include "spool/spool_priv.h"
#include "spool/view_priv.h"

struct seg_info {
    uint32_t slot;
    struct seg_header header;
};
/* Where the journal reader stands. */
struct journal {
    struct seg_info *seg; /* valid segments, oldest first */
    uint32_t seg_count, seg_cap;
    struct scan scan;
    struct disk_file *file; /* of slot */
    bool has_batch;         /* batch and the cursor in it hold */
    struct scan_batch batch;
    uint32_t slot; /* of the batch, or of the place to read next */
    uint64_t seg_seq;
    uint64_t at; /* next batch */
    uint64_t last_batch;
    uint32_t index; /* of the next record in the batch */
    uint32_t record_at;
    uint64_t offline_durable;
    bool has_successor; /* the segment after this one is known: that never changes */
    struct seg_info successor;
};
enum { VIEW_FILES_COUNT = 128 };
struct view_files {
    _Atomic(struct disk_file *) file[VIEW_FILES_COUNT];
};
struct spool_view {
    struct disk *disk;
    struct shared *shared; /* NULL: no living spool tells */
    uint64_t spool_id;
    uint64_t slot_bytes;
    bool is_cow;
    struct journal journal;                                                /* one thread only */
    _Atomic(struct view_files *) files[SLOT_COUNT_MAX / VIEW_FILES_COUNT]; /* made when needed */
};
void journal_done(struct spool_view *view);

#endif
