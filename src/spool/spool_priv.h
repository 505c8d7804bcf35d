/* SPDX-License-Identifier: Apache-2.0
 *
 * spool_priv.h - what the files of this room share: the pool of slots, the open batch, what is
 * written and not yet synced, and struct spool around them.
 */
#ifndef OUTPOST_SPOOL_SPOOL_PRIV_H
#define OUTPOST_SPOOL_SPOOL_PRIV_H

#include "core/map.h"
#include "spool/index_priv.h"
#include "spool/mutant_priv.h"

#include <stdatomic.h>

enum {
    BATCH_TARGET_BYTES = 4 << 20, /* a batch with more than one message in it ends here */
    BATCH_ACCEPT_COUNT_MAX = 512,
    CHUNK_COUNT_MAX = 256,
    UNSYNCED_SEQ_MAX = SEQ_JUMP / 2, /* with CHUNK_COUNT_MAX on top still less than the jump */
    HEAD_KEPT_BYTES_MAX = 256 << 10,
    ZERO_STEP_BYTES = 2 << 20,
    MARK_IDLE_MS = 1000,
    REVIVE_MS = 10000,
    WRITE_IOV_MAX = 1024,
    RESERVE_RCPT_BYTES = 320 /* what a recipient's outcome may take */
};

/* ---- the pool ----------------------------------------------------------------------------------
 */

enum slot_state {
    SLOT_ABSENT,  /* no file of that number */
    SLOT_ZEROING, /* being made: zeroed_bytes are written */
    SLOT_FREE,    /* ready for a new segment; its old content means nothing */
    SLOT_ACTIVE,
    SLOT_FULL,    /* a segment that is complete and synced */
    SLOT_POISONED /* a write or sync failed in it: not used again before a restart */
};
struct slot {
    struct disk_file *file; /* open for writing, or NULL */
    enum slot_state state;
    bool is_damaged; /* acknowledged data in it cannot be read: kept for salvage */
    bool is_passed;  /* compaction went through it and left what it could not move */
    uint64_t seg_seq;
    uint64_t last_batch; /* highest batch number in the segment */
    uint64_t end;        /* its bytes, header page included */
    struct wall made_at;
    uint64_t zeroed_bytes;
    uint32_t live_count; /* records and extents of open messages */
    uint32_t pin_count;  /* streamed chunks that no message names yet */
    uint64_t live_bytes;
};

/* ---- batches ------------------------------------------------------------------------------------
 */

/* Data that a record in the head brings along. */
struct piece {
    struct blob *blob;
    uint32_t record_at;
    uint32_t len;
    uint32_t crc;
};
struct batch {
    struct buf head;
    uint64_t batch_seq;      /* fixed with the first record */
    struct pending *pending; /* made with the first record, filled when it is written */
    uint32_t record_count;
    uint32_t accept_count;
    struct piece *piece;
    uint32_t piece_count, piece_cap;
    uint64_t data_len;
};
/* The head of a batch that is written but not synced, or waits for a working slot. */
struct pending {
    struct pending *next;
    uint64_t batch_seq;
    uint32_t slot;
    uint32_t page;
    uint32_t record_count;
    bool is_written;
    struct buf head;
};
/* A streamed chunk of the open batch, and after the write where it went. */
struct chunk {
    struct blob *blob; /* NULL once written */
    struct spool_extent extent;
};

/* What views are told; they may outlive the spool. */
struct shared {
    _Atomic uint32_t refs;
    _Atomic uint64_t durable_upto;
    _Atomic uint64_t active_seg; /* published before the durable_upto that lies in it */
};

struct active {
    uint32_t slot;
    uint64_t seg_seq;
    uint64_t at;  /* next batch goes here */
    uint32_t crc; /* header CRC the next batch chains to */
};

struct checkpointer {
    struct disk_file *file[2];
    uint32_t next;          /* which of the two is written next */
    uint64_t version;       /* of the newest valid one */
    uint64_t replay_seg[2]; /* where each valid one starts; 0: not valid */
    uint64_t replay_at[2];
    uint64_t written_bytes; /* of the journal, at the last checkpoint */
    struct mono made_at;
    uint64_t last_bytes; /* size of the last one */
    bool is_written;     /* written, to be synced in the next step */
    uint64_t pending_seg;
    uint64_t pending_at;
    bool is_failing;
};

/* Where compaction stands; see compact.c. */
struct mover {
    bool is_active;
    uint32_t slot;
    uint32_t walk_at;            /* in the index */
    uint64_t msg_id;             /* a streamed message under way; 0: none */
    struct spool_extent *extent; /* its new chunks */
    uint32_t extent_done;
    struct mono next_at;
};

struct spool {
    struct disk *disk;
    struct clock *clock;
    struct entropy *entropy;
    const struct log *log;
    struct spool_conf conf;
    struct shared *shared;
    enum disk_kind kind;
    bool is_read_only; /* check looks, and changes nothing */
    uint64_t spool_id;
    uint64_t slot_bytes;
    uint64_t batch_bytes_max; /* head and data */

    struct slot *slot;
    uint32_t slot_count;
    uint32_t free_count;   /* slots in state FREE */
    uint64_t seg_seq_last; /* highest number ever seen */
    struct active active;
    struct seg_end durable; /* end of the last good sync */
    uint64_t next_seq;
    uint64_t written_upto;
    uint64_t durable_upto;
    uint64_t marked_upto; /* the highest durable_upto that is itself in a durable header */
    struct mono last_sync_at;

    struct batch open;
    struct chunk *chunk;
    uint32_t chunk_count, chunk_cap;
    bool chunks_are_done;
    struct map pins; /* slot << 32 | page → length */
    struct pending *unsynced, **unsynced_last;
    struct msg_more *more_first, **more_last; /* made for messages that are not durable yet */
    uint32_t promised_count;                  /* of index entries */
    struct iovec *iov;
    char *zeros;

    bool is_broken; /* a write failed; spool_sync will settle it */
    bool is_failed; /* no working slot: retried at revive_at */
    struct mono revive_at;
    bool is_full; /* the pool could not grow */
    uint64_t disk_free_bytes;
    struct mono space_at;
    struct mono grow_at; /* the next step at making slots */
    bool is_growing;

    struct index index;
    uint16_t *scratch; /* SPOOL_RCPT_COUNT_MAX recipient numbers */
    uint64_t accepted_msgs, accepted_rcpts;
    uint64_t odd_records; /* transitions that do not exist, ignored */
    uint64_t consumed_upto;
    struct checkpointer ckpt;
    struct mover mover;
    struct spool_view *view; /* compaction's */
    void (*moved)(void *ctx, uint64_t msg_id, const struct spool_where *where);
    void *moved_ctx;

    uint64_t syncs, batches, written_bytes;
    uint32_t damaged_ranges;
    uint64_t torn_tail_bytes; /* of a batch that was begun when the power went */
};

/* slot.c */
void slots_done(struct spool *spool);
MUST_USE enum err slots_resize(struct spool *spool, uint32_t slot_count);
void slot_set_state(struct spool *spool, uint32_t slot, enum slot_state state);
MUST_USE enum err slot_file(struct spool *spool, uint32_t slot, struct disk_file **ret_file);
void slot_close(struct spool *spool, uint32_t slot);
/* A free slot, made at once where none is ready. E_NO_SPACE, E_IO, E_FULL. */
MUST_USE enum err slot_take(struct spool *spool, uint32_t *ret_slot);
/* A step at making spare slots; true while there is more to do. */
bool slots_grow_step(struct spool *spool);
uint32_t slots_wanted_free(const struct spool *spool);
void slots_set_free(struct spool *spool); /* those that nobody needs any more */
/* May new messages come in, as far as space goes? */
bool slots_have_room(struct spool *spool);

/* batch.c */
void batch_clear(struct spool *spool);
void batch_done(struct spool *spool);
/* True where `records` of head_bytes and data_bytes fit the open batch together. */
bool batch_has_room(const struct spool *spool, uint64_t head_bytes, uint64_t data_bytes);
/* Back to an earlier state of the same open batch. */
struct batch_mark {
    size_t head_len;
    uint64_t data_len;
    uint32_t record_count, accept_count, piece_count, promised_count;
    struct msg_more **more_last;
};
struct batch_mark batch_mark(const struct spool *spool);
void batch_back(struct spool *spool, const struct batch_mark *mark);
void pins_void(struct spool *spool, uint32_t slot, uint64_t from);
void pin_transfer(struct spool *spool, const struct spool_extent *extent);
MUST_USE enum err batch_move(struct spool *spool, struct msg *msg, struct str envelope,
        struct blob *content, uint32_t content_crc, const struct spool_extent *extent);

/* write.c */
MUST_USE enum err segment_begin(
        struct spool *spool); /* new active slot; header written, unsynced */
MUST_USE enum err mark_write(struct spool *spool);
MUST_USE enum err spool_revive(struct spool *spool);
void pendings_drop(struct spool *spool);
void promises_drop(struct spool *spool);
MUST_USE enum err active_sync(struct spool *spool); /* and publish */

/* apply.c */
struct head_place {
    uint32_t slot;
    uint32_t page;
};
/* Lets the records of a head change the index. Live or in replay: the same. E_NOMEM. */
MUST_USE enum err apply_head(struct spool *spool, struct str head, struct head_place place);
MUST_USE enum err msg_insert(struct spool *spool, uint64_t msg_id, const struct stored *stored,
        struct spool_place place, struct msg **ret_msg);
void msg_set_state(struct spool *spool, struct msg *msg, uint32_t rcpt, enum spool_state next);
void msg_close_if_done(struct spool *spool, struct msg *msg);

/* checkpoint.c */
MUST_USE enum err checkpoint_open(struct spool *spool, struct why *why);
void checkpoint_close(struct spool *spool);
/* Loads the newest valid one into the index; E_NOT_FOUND where there is none. */
MUST_USE enum err checkpoint_load(struct spool *spool, struct ckpt_header *ret_header);
MUST_USE enum err checkpoint_write(struct spool *spool);
MUST_USE enum err checkpoint_sync(struct spool *spool);
bool checkpoint_is_due(const struct spool *spool, struct mono now);
uint64_t checkpoint_horizon(const struct spool *spool); /* both start in this segment or later */

/* recover.c */
MUST_USE enum err spool_recover(struct spool *spool, struct why *why);

/* compact.c */
bool compact_step(struct spool *spool, struct mono now);
void compact_done(struct spool *spool);

/* spool.c, for check: what a start would find, without changing a byte */
MUST_USE enum err spool_look(struct disk *disk, struct clock *clock, const struct log *log,
        struct spool **ret_spool, struct why *why);
void spool_forget(struct spool *spool);
struct shared *shared_take(struct shared *shared);
void shared_give(struct shared *shared);

#endif
