/* SPDX-License-Identifier: Apache-2.0
 *
 * write.c - batches to the active segment, one sync for all who wait, and what follows when the
 * disk says no.
 *
 * A failed write or sync is never tried again in the same slot: everything since the last good
 * sync is void, a fresh segment says so durably, and only then anybody is answered "no".
 */
#include "spool/spool_priv.h"

#include "core/crash.h"
#include "core/crc32c.h"
#include "core/time.h"

/* ---- what is written and not synced -------------------------------------------------------------
 */

static void pending_free(struct pending *pending)
{
    buf_done(&pending->head);
    mem_free(pending);
}

static void pending_add(struct spool *spool, struct pending *pending)
{
    *spool->unsynced_last = pending;
    spool->unsynced_last = &pending->next;
}

void pendings_drop(struct spool *spool)
{
    while (spool->unsynced != NULL) {
        struct pending *pending = spool->unsynced;
        spool->unsynced = pending->next;
        pending_free(pending);
    }
    spool->unsynced_last = &spool->unsynced;
}

bool spool_has_unsynced(const struct spool *spool)
{
    return spool->unsynced != NULL || spool->is_broken ||
           (!spool->is_failed && spool->written_upto != spool->durable_upto);
}

/* Promises that nothing came of. */
void promises_drop(struct spool *spool)
{
    while (spool->more_first != NULL) {
        struct msg_more *more = spool->more_first;
        spool->more_first = more->next;
        msg_more_free(more);
    }
    spool->more_last = &spool->more_first;
    spool->promised_count = 0;
}

/* ---- one batch to the disk ----------------------------------------------------------------------
 */

/* Gathers a batch and writes it where the segment ends, in as many calls as the vector needs. */
struct gather {
    struct spool *spool;
    struct disk_file *file;
    uint64_t at;
    uint64_t filled_bytes;
    uint32_t count;
    enum err err;
};

static void gather_flush(struct gather *gather)
{
    struct why why = { 0 };
    if (gather->err == OK && gather->count > 0) {
        gather->err = gather->spool->disk->ops->write(
                gather->file, gather->spool->iov, gather->count, gather->at, &why);
        if (gather->err != OK) {
            log_error(gather->spool->log, "spool", "write failed: %s", why.text);
        }
    }
    gather->at += gather->filled_bytes;
    gather->filled_bytes = 0;
    gather->count = 0;
}

static void gather_add(struct gather *gather, const void *ptr, size_t len)
{
    if (len == 0) {
        return;
    }
    if (gather->count == WRITE_IOV_MAX) {
        gather_flush(gather);
    }
    /* struct iovec has no const; the disk only reads */
    gather->spool->iov[gather->count++] = (struct iovec){ (void *)(uintptr_t)ptr, len };
    gather->filled_bytes += len;
}

/* What goes out as one batch. */
struct outgoing {
    struct str head;
    uint64_t batch_seq;
    uint32_t record_count;
    const struct piece *piece;
    uint32_t piece_count;
    uint64_t data_len;
};

static struct batch_header header_of(const struct spool *spool, const struct outgoing *out)
{
    return (struct batch_header){
        .head_len = (uint32_t)out->head.len,
        .seg_seq = spool->active.seg_seq,
        .batch_seq = out->batch_seq,
        .durable_upto = spool->durable_upto,
        .payload_len = (uint32_t)(out->head.len + out->data_len),
        .record_count = (uint16_t)out->record_count,
        .page = (uint32_t)(spool->active.at / PAGE_BYTES),
        .prev_crc = spool->active.crc,
        .head_crc = MUTANT(crc_of_header_only) ? 0 : crc32c(0, out->head),
    };
}

static enum err batch_put(struct spool *spool, const struct outgoing *out)
{
    static const char zeros[PAGE_BYTES];
    uint8_t bytes[BATCH_HEADER_BYTES];
    struct batch_header header = header_of(spool, out);
    struct gather gather = { .spool = spool, .at = spool->active.at };
    enum err err = slot_file(spool, spool->active.slot, &gather.file);
    if (err != OK) {
        return err;
    }
    uint64_t span = batch_span(header.payload_len);
    ASSERT(spool->active.at + span <= spool->slot_bytes);
    batch_header_encode(bytes, spool->spool_id, &header);
    gather_add(&gather, bytes, sizeof bytes);
    gather_add(&gather, out->head.ptr, out->head.len);
    for (uint32_t i = 0; i < out->piece_count; i++) {
        const struct blob_chunk *chunk = out->piece[i].blob->first;
        for (; chunk != NULL; chunk = chunk->next) {
            gather_add(&gather, chunk->data, chunk->len);
        }
    }
    gather_add(&gather, zeros, span - BATCH_HEADER_BYTES - header.payload_len);
    gather_flush(&gather);
    if (gather.err != OK) {
        return gather.err;
    }
    spool->active.at += span;
    spool->active.crc = header.crc;
    spool->written_upto = out->batch_seq;
    if (MUTANT(publish_before_sync)) {
        atomic_store(&spool->shared->durable_upto, spool->written_upto);
    }
    spool->next_seq = out->batch_seq + 1;
    spool->batches++;
    spool->written_bytes += span;
    return OK;
}

/* Records alone, kept in memory until they are synced. */
static enum err head_put(struct spool *spool, struct str head, uint32_t record_count)
{
    struct outgoing out = {
        .head = head, .batch_seq = spool->next_seq, .record_count = record_count
    };
    return batch_put(spool, &out);
}

static enum err plain_put(struct spool *spool, enum spool_record_type type)
{
    struct buf head;
    buf_init(&head, 64);
    size_t at = record_begin(&head, (uint8_t)type, 0);
    buf_add_u64(&head, spool->durable_upto);
    record_end(&head, at);
    enum err err = buf_err(&head);
    if (err == OK) {
        err = head_put(spool, buf_str(&head), 1);
    }
    buf_done(&head);
    return err;
}

/* ---- segments
 * ------------------------------------------------------------------------------------ */

static enum err seg_header_write(struct spool *spool, uint32_t slot, struct seg_header *header)
{
    uint8_t page[PAGE_BYTES] = { 0 };
    struct disk_file *file;
    struct why why = { 0 };
    enum err err = slot_file(spool, slot, &file);
    if (err == OK) {
        seg_header_encode(page, header);
        struct iovec iov = { page, sizeof page };
        err = spool->disk->ops->write(file, &iov, 1, 0, &why);
    }
    if (err != OK) {
        log_error(spool->log, "spool", "cannot begin a segment in slot %u: %s", slot, why.text);
    }
    return err;
}

enum err segment_begin(struct spool *spool)
{
    uint32_t slot;
    enum err err = slot_take(spool, &slot);
    if (err != OK) {
        return err;
    }
    struct seg_header header = {
        .spool_id = spool->spool_id,
        .seg_seq = ++spool->seg_seq_last,
        .first_batch = spool->next_seq,
        .prev = spool->durable,
        .slot_bytes = spool->slot_bytes,
        .made_at = clock_wall(spool->clock),
    };
    err = seg_header_write(spool, slot, &header);
    if (err != OK) {
        slot_set_state(spool, slot, SLOT_POISONED);
        slot_close(spool, slot);
        return err;
    }
    slot_set_state(spool, slot, SLOT_ACTIVE);
    struct slot *s = &spool->slot[slot];
    s->seg_seq = header.seg_seq;
    s->end = PAGE_BYTES;
    s->last_batch = header.first_batch;
    s->made_at = header.made_at;
    spool->active = (struct active){ slot, header.seg_seq, PAGE_BYTES, header.crc };
    return OK;
}

/* ---- sync
 * ------------------------------------------------------------------------------------------ */

/* A head's memory serves the next batch. */
static void pending_recycle(struct spool *spool, struct pending *pending)
{
    struct batch *batch = &spool->open;
    if (batch->head.ptr == NULL && pending->head.cap <= HEAD_KEPT_BYTES_MAX) {
        size_t max_bytes = batch->head.max_bytes;
        batch->head = pending->head;
        batch->head.max_bytes = max_bytes;
        buf_clear(&batch->head);
        buf_init(&pending->head, 0);
    }
    pending_free(pending);
}

static void pendings_apply(struct spool *spool)
{
    while (spool->unsynced != NULL && spool->unsynced->is_written) {
        struct pending *pending = spool->unsynced;
        struct head_place place = { pending->slot, pending->page };
        enum err err = apply_head(spool, buf_str(&pending->head), place);
        ASSERT(err == OK); /* room was reserved when it was promised */
        spool->unsynced = pending->next;
        pending_recycle(spool, pending);
    }
    if (spool->unsynced == NULL) {
        spool->unsynced_last = &spool->unsynced;
    }
}

/* All that is written is durable: the index may show it, and views may read it. */
static void publish(struct spool *spool)
{
    pendings_apply(spool);
    spool->durable_upto = spool->written_upto;
    spool->durable =
            (struct seg_end){ spool->active.seg_seq, spool->active.at, spool->durable_upto };
    spool->slot[spool->active.slot].end = spool->active.at;
    spool->slot[spool->active.slot].last_batch = spool->durable_upto;
    atomic_store_explicit(&spool->shared->active_seg, spool->active.seg_seq, memory_order_release);
    atomic_store_explicit(&spool->shared->durable_upto, spool->durable_upto, memory_order_release);
    spool->last_sync_at = clock_mono(spool->clock);
}

enum err active_sync(struct spool *spool)
{
    struct disk_file *file;
    struct why why = { 0 };
    enum err err = slot_file(spool, spool->active.slot, &file);
    if (err == OK && !MUTANT(skip_sync)) {
        err = spool->disk->ops->sync(file, &why);
        if (err != OK && MUTANT(retry_failed_sync)) {
            err = spool->disk->ops->sync(file, &why);
        }
    }
    if (err != OK) {
        log_error(spool->log, "spool", "sync failed: %s; the slot is not used any more", why.text);
        return err;
    }
    spool->syncs++;
    publish(spool);
    return OK;
}

/* The active segment is full: sealed and synced before the next one says where it ended. */
static enum err rotate_now(struct spool *spool)
{
    uint32_t old = spool->active.slot;
    enum err err = plain_put(spool, SPOOL_SEAL);
    CRASH_POINT("rotate.sealed");
    if (err != OK) {
        return err;
    }
    if (MUTANT(skip_old_slot_sync)) {
        publish(spool);
    } else {
        err = active_sync(spool);
    }
    if (err != OK) {
        return err;
    }
    CRASH_POINT("rotate.old_synced");
    /* where no new one can be begun, nothing is lost: the old segment is whole */
    slot_set_state(spool, old, SLOT_FULL);
    slot_close(spool, old);
    err = segment_begin(spool);
    CRASH_POINT("rotate.header");
    return err;
}

static enum err rotate(struct spool *spool)
{
    enum err err = rotate_now(spool);
    if (err != OK) {
        spool->is_broken = true; /* nothing may be written before spool_sync has settled it */
    }
    return err;
}

/* One page stays for the seal. */
static enum err room_make(struct spool *spool, uint64_t payload_len)
{
    if (spool->active.at + batch_span(payload_len) + PAGE_BYTES <= spool->slot_bytes) {
        return OK;
    }
    return rotate(spool);
}

enum err mark_write(struct spool *spool)
{
    enum err err = room_make(spool, RECORD_HEADER_BYTES + 8);
    return err == OK ? plain_put(spool, SPOOL_MARK) : err;
}

/* ---- the open batch
 * ---------------------------------------------------------------------------------- */

/* Says in each message's record where its content lies, now that the head has its length. */
static void batch_seal(struct spool *spool)
{
    struct batch *batch = &spool->open;
    uint32_t data_at = BATCH_HEADER_BYTES + (uint32_t)batch->head.len;
    uint32_t piece = 0;
    struct record_view record;
    for (uint32_t at = 0; record_next(buf_str(&batch->head), &at, &record);) {
        uint8_t *bytes = (uint8_t *)batch->head.ptr + record.at;
        if (record.header.type != SPOOL_ACCEPT && record.header.type != SPOOL_MOVE) {
            continue;
        }
        if (piece < batch->piece_count && batch->piece[piece].record_at == record.at) {
            stored_seal(bytes, spool->spool_id, data_at);
            data_at += batch->piece[piece++].len;
        } else {
            stored_seal(bytes, spool->spool_id, 0);
        }
    }
    ASSERT(piece == batch->piece_count);
}

static enum err open_put(struct spool *spool, struct pending *pending)
{
    struct batch *batch = &spool->open;
    if (spool->is_failed || spool->is_broken) {
        return E_IO;
    }
    enum err err = room_make(spool, batch->head.len + batch->data_len);
    if (err != OK) {
        return err;
    }
    pending->slot = spool->active.slot;
    pending->page = (uint32_t)(spool->active.at / PAGE_BYTES);
    struct outgoing out = { buf_str(&batch->head), batch->batch_seq, batch->record_count,
        batch->piece, batch->piece_count, batch->data_len };
    return batch_put(spool, &out);
}

static enum err open_write(struct spool *spool)
{
    struct batch *batch = &spool->open;
    if (batch->record_count == 0) {
        return OK;
    }
    if (MUTANT(outcome_buffered) && batch->record_count == 1 &&
            batch->head.ptr[0] == SPOOL_OUTCOME) {
        return OK;
    }
    struct pending *pending = batch->pending;
    batch_seal(spool);
    enum err err = open_put(spool, pending);
    /* also where it failed: its records are written again */
    *pending = (struct pending){ .batch_seq = batch->batch_seq,
        .slot = pending->slot,
        .page = pending->page,
        .record_count = batch->record_count,
        .is_written = err == OK,
        .head = batch->head };
    batch->pending = NULL;
    buf_init(&batch->head, spool->batch_bytes_max);
    pending_add(spool, pending);
    batch_clear(spool);
    return err;
}

static enum err chunk_put(struct spool *spool, struct chunk *chunk)
{
    struct buf head;
    uint32_t len = (uint32_t)chunk->blob->size_bytes;
    uint32_t head_len = RECORD_HEADER_BYTES + BODY_PAYLOAD_BYTES;
    uint32_t crc = 0;
    for (const struct blob_chunk *c = chunk->blob->first; c != NULL; c = c->next) {
        crc = crc32c(crc, str_of(c->data, c->len));
    }
    struct piece piece = { chunk->blob, 0, len, crc };
    struct body_piece body = { BATCH_HEADER_BYTES + head_len, len, crc };
    buf_init(&head, head_len);
    size_t at = record_begin(&head, SPOOL_BODY, 0);
    body_piece_encode(&head, &body);
    record_end(&head, at);
    enum err err = buf_err(&head);
    err = err == OK ? room_make(spool, (uint64_t)head_len + len) : err;
    uint32_t page = (uint32_t)(spool->active.at / PAGE_BYTES);
    uint32_t slot = spool->active.slot;
    uint64_t key = (uint64_t)slot << 32 | page;
    if (err == OK) {
        err = map_set(&spool->pins, key, len);
    }
    if (err == OK) {
        spool->slot[slot].pin_count++;
        chunk->extent = (struct spool_extent){ slot, page, len };
        struct outgoing out = { buf_str(&head), spool->next_seq, 1, &piece, 1, len };
        err = batch_put(spool, &out);
        spool->is_broken = spool->is_broken || err != OK;
    }
    buf_done(&head);
    return err;
}

/* A chunk that could not be written has an extent of length 0. */
static void chunks_write(struct spool *spool)
{
    for (uint32_t i = 0; !spool->chunks_are_done && i < spool->chunk_count; i++) {
        struct chunk *chunk = &spool->chunk[i];
        enum err err = spool->is_failed || spool->is_broken ? E_IO : chunk_put(spool, chunk);
        if (err != OK) {
            chunk->extent = (struct spool_extent){ 0 };
        }
        blob_give(chunk->blob);
        chunk->blob = NULL;
    }
    spool->chunks_are_done = true;
}

/* Numbers skipped at a start must be more than what can be unsynced. */
static enum err unsynced_limit(struct spool *spool)
{
    if (spool->is_failed || spool->is_broken ||
            spool->next_seq - spool->durable_upto < UNSYNCED_SEQ_MAX ||
            spool->written_upto == spool->durable_upto) {
        return OK;
    }
    return active_sync(spool);
}

enum err spool_write(struct spool *spool)
{
    if (unsynced_limit(spool) != OK) {
        spool->is_broken = true;
    }
    enum err err = open_write(spool);
    if (err != OK && !spool->is_failed) {
        spool->is_broken = true;
    }
    chunks_write(spool);
    return spool->is_broken || spool->is_failed ? E_IO : OK;
}

/* ---- when the disk says no
 * ------------------------------------------------------------------------- */

static bool is_rewritten(uint8_t type)
{
    switch (type) {
    case SPOOL_ATTEMPT:
    case SPOOL_OUTCOME:
    case SPOOL_CTL:
    case SPOOL_SUPPRESS:
    case SPOOL_REFUSED:
        return true;
    default: /* messages, their data and their links are void together */
        return false;
    }
}

/* Cuts a head down to the records that are written again. */
static void pending_filter(struct pending *pending)
{
    struct record_view record;
    uint32_t kept = 0;
    pending->record_count = 0;
    pending->is_written = false;
    for (uint32_t at = 0; record_next(buf_str(&pending->head), &at, &record);) {
        if (is_rewritten(record.header.type)) {
            uint32_t len = at - record.at;
            memmove(pending->head.ptr + kept, pending->head.ptr + record.at, len);
            kept += len;
            pending->record_count++;
        }
    }
    buf_cut(&pending->head, kept);
}

static void pendings_filter(struct spool *spool)
{
    struct pending *all = spool->unsynced;
    spool->unsynced = NULL;
    spool->unsynced_last = &spool->unsynced;
    while (all != NULL) {
        struct pending *pending = all;
        all = pending->next;
        pending->next = NULL;
        pending_filter(pending);
        if (pending->record_count > 0) {
            pending_add(spool, pending);
        } else {
            pending_free(pending);
        }
    }
}

static void poison(struct spool *spool)
{
    uint32_t slot = spool->active.slot;
    uint64_t good = spool->active.seg_seq == spool->durable.seg_seq ? spool->durable.end : 0;
    if (spool->slot[slot].state == SLOT_ACTIVE) {
        slot_set_state(spool, slot, SLOT_POISONED);
        slot_close(spool, slot);
        pins_void(spool, slot, good);
        spool->slot[slot].end = good;
    }
    pendings_filter(spool);
    promises_drop(spool);
    spool->is_broken = false;
    spool->is_failed = true;
}

static enum err pending_put(struct spool *spool, struct pending *pending)
{
    pending->slot = spool->active.slot;
    pending->page = (uint32_t)(spool->active.at / PAGE_BYTES);
    enum err err = head_put(spool, buf_str(&pending->head), pending->record_count);
    pending->is_written = err == OK;
    return err;
}

static struct pending *pending_unwritten(const struct spool *spool)
{
    struct pending *pending = spool->unsynced;
    while (pending != NULL && pending->is_written) {
        pending = pending->next;
    }
    return pending;
}

/* A rotation in between syncs, applies and frees those that are written. */
static enum err pendings_write(struct spool *spool)
{
    struct pending *pending;
    while ((pending = pending_unwritten(spool)) != NULL) {
        enum err err = room_make(spool, pending->head.len);
        err = err == OK ? pending_put(spool, pending) : err;
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

/* A fresh segment that says where the last good one ended, with what must not be forgotten. */
enum err spool_revive(struct spool *spool)
{
    ASSERT(spool->is_failed);
    enum err err = segment_begin(spool);
    if (err == OK) {
        err = mark_write(spool);
        err = err == OK ? pendings_write(spool) : err;
        err = err == OK ? active_sync(spool) : err;
        if (err != OK) {
            poison(spool);
        }
    }
    if (err != OK) {
        spool->revive_at = mono_after(clock_mono(spool->clock), REVIVE_MS);
        log_error(
                spool->log, "spool", "no slot can be written: refusing mail, trying again in 10 s");
        return err;
    }
    spool->is_failed = false;
    log_warn(spool->log, "spool", "went on in a fresh slot");
    return OK;
}

#ifdef OUTPOST_MUTANTS
/* The bug: go on in the slot in which a sync failed. */
static enum err poison_ignored(struct spool *spool, bool *ret_is_void)
{
    pendings_filter(spool);
    promises_drop(spool);
    spool->is_broken = false;
    *ret_is_void = pendings_write(spool) == OK && active_sync(spool) == OK;
    return E_IO;
}

/* The bug: take what nobody waited for as synced. */
static void poison_partly(struct spool *spool)
{
    struct pending *last = spool->unsynced, *before = NULL;
    while (last != NULL && last->next != NULL) {
        before = last;
        last = last->next;
    }
    if (before != NULL && before->is_written && before->slot == spool->active.slot) {
        last->is_written = false;
        spool->durable = (struct seg_end){ spool->active.seg_seq,
            (uint64_t)before->page * PAGE_BYTES + batch_span(before->head.len), before->batch_seq };
        pendings_apply(spool);
    }
}
#else
#define poison_ignored(spool, ret_is_void) E_IO
#define poison_partly(spool) ((void)0)
#endif

enum err spool_sync(struct spool *spool, bool *ret_is_void)
{
    *ret_is_void = false;
    if (spool->is_failed) {
        return E_IO;
    }
    if (!spool->is_broken) {
        if (spool->written_upto == spool->durable_upto) {
            return OK;
        }
        if (active_sync(spool) == OK) {
            return OK;
        }
    }
    if (MUTANT(write_into_poisoned) && spool->slot[spool->active.slot].state == SLOT_ACTIVE) {
        return poison_ignored(spool, ret_is_void);
    }
    if (MUTANT(void_only_failing_batch)) {
        poison_partly(spool);
    }
    poison(spool);
    *ret_is_void = spool_revive(spool) == OK;
    return E_IO;
}
