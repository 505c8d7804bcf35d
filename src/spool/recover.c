/* SPDX-License-Identifier: Apache-2.0
 *
 * recover.c - what a crash left behind: the newest checkpoint, then the journal behind it, in the
 * order of the segments' own links, up to the last batch that is whole.
 *
 * Every file is synced first and read after, past the cache: else replay may take bytes that the
 * disk does not have. Where the last whole batch is older than one that some header calls durable,
 * acknowledged data is damaged: that is said, never cut off silently.
 */
#include "spool/scan_priv.h"
#include "spool/spool_priv.h"

#include "core/str.h"

enum { RECOVER_READ_BYTES = 1 << 20, FRESH_TRY_COUNT = 3 };

/* One slot as found. */
struct found {
    struct disk_file *file; /* uncached */
    bool has_header;
    struct seg_header header;
    bool is_suspect; /* no good header, but batches of segment suspect_seg */
    uint64_t suspect_seg;
    uint64_t suspect_first; /* lowest batch number of it */
};
/* A segment to replay; the oldest first. */
struct link {
    uint32_t slot;
    uint64_t seg_seq;
    bool has_end; /* its successor says where it ends */
    struct seg_end end;
};
struct recovery {
    struct spool *spool;
    struct found *found;
    struct link *link;
    uint32_t link_count;
    struct ckpt_header ckpt;
    bool has_ckpt;
    bool is_broken_chain;
    uint64_t known_durable; /* D: the highest durable_upto seen anywhere */
    uint64_t last_good;     /* highest batch replayed */
    uint64_t seg_last;      /* highest segment number seen anywhere */
    struct seg_end tail;
    uint32_t tail_slot, tail_crc;
    struct scan scan;
};

static void damage(
        struct recovery *rec, uint32_t slot, const char *what, uint64_t from, uint64_t to)
{
    struct spool *spool = rec->spool;
    spool->damaged_ranges++;
    if (slot < spool->slot_count) {
        spool->slot[slot].is_damaged = true;
    }
    log_error(spool->log, "spool",
            "damage in slot %u, bytes %llu to %llu: %s; the slot is kept, see "
            "'outpost spool check'",
            slot, (unsigned long long)from, (unsigned long long)to, what);
}

static void learn_durable(struct recovery *rec, uint64_t durable_upto)
{
    if (durable_upto > rec->known_durable && !MUTANT(ignore_durable_upto)) {
        rec->known_durable = durable_upto;
    }
}

static void learn_seg(struct recovery *rec, uint64_t seg_seq)
{
    rec->seg_last = seg_seq > rec->seg_last ? seg_seq : rec->seg_last;
}

/* ---- looking at the slots
 * ------------------------------------------------------------------------- */

/* A slot whose header page is bad: whatever batches it holds still tell what was durable. */
static void suspect_scan(struct recovery *rec, struct found *found)
{
    struct spool *spool = rec->spool;
    struct batch_header header;
    scan_file(&rec->scan, found->file, spool->slot_bytes);
    for (uint64_t at = PAGE_BYTES; at < spool->slot_bytes; at += PAGE_BYTES) {
        if (!scan_header(&rec->scan, at, &header)) {
            continue;
        }
        if (!MUTANT(durable_upto_of_good_headers_only)) {
            learn_durable(rec, header.durable_upto);
        }
        learn_seg(rec, header.seg_seq);
        if (!found->is_suspect || header.seg_seq > found->suspect_seg) {
            found->is_suspect = true;
            found->suspect_seg = header.seg_seq;
            found->suspect_first = header.batch_seq;
        }
    }
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static void slot_look(struct recovery *rec, uint32_t slot)
{
    struct spool *spool = rec->spool;
    struct found *found = &rec->found[slot];
    struct batch_header batch;
    scan_file(&rec->scan, found->file, spool->slot_bytes);
    const uint8_t *page = scan_bytes(&rec->scan, 0, PAGE_BYTES);
    if (page != NULL && seg_header_decode(page, spool->spool_id, &found->header)) {
        found->has_header = true;
        learn_seg(rec, found->header.seg_seq);
        return;
    }
    bool is_unused = page != NULL && is_zero(page, PAGE_BYTES) &&
                     !scan_header(&rec->scan, PAGE_BYTES, &batch);
    if (!is_unused) {
        suspect_scan(rec, found);
    }
}

/* Fails only where it might work the next time: what was not synced must not be read. */
static enum err slot_sync(struct spool *spool, uint32_t slot)
{
    struct disk_file *file;
    struct why why = { 0 };
    enum err err = slot_file(spool, slot, &file);
    if (err == OK && spool->disk->ops->sync(file, &why) != OK) {
        log_error(spool->log, "spool",
                "sync of slot %u failed at start: %s; what the disk has counts", slot, why.text);
    }
    slot_close(spool, slot);
    return err == E_NOMEM || err == E_FULL ? err : OK;
}

static enum err slot_open_uncached(struct recovery *rec, uint32_t slot)
{
    char name[NAME_BYTES_MAX];
    struct why why = { 0 };
    uint64_t size = 0;
    struct spool *spool = rec->spool;
    struct found *found = &rec->found[slot];
    slot_name(name, slot);
    enum err err = spool->disk->ops->open(spool->disk, name, DISK_UNCACHED, &found->file, &why);
    if (err == OK) {
        err = spool->disk->ops->size(found->file, &size, &why);
    }
    if (err == OK) {
        spool->slot[slot].zeroed_bytes = size;
    }
    return err;
}

static enum err slots_look(struct recovery *rec)
{
    struct spool *spool = rec->spool;
    for (uint32_t i = 0; i < spool->slot_count; i++) {
        if (spool->slot[i].state == SLOT_ABSENT) {
            continue;
        }
        enum err err = OK;
        if (!MUTANT(recovery_without_sync) && !MUTANT(sync_after_reading) && !spool->is_read_only) {
            err = slot_sync(spool, i);
        }
        err = err == OK ? slot_open_uncached(rec, i) : err;
        if (err != OK) {
            return err;
        }
        slot_look(rec, i);
    }
    return OK;
}

/* ---- the chain of segments
 * -------------------------------------------------------------------------- */

/* The slot of the segment, or of a bad header that hides it. */
static bool chain_find(const struct recovery *rec, uint64_t seg_seq, uint32_t *ret_slot)
{
    for (uint32_t i = 0; i < rec->spool->slot_count; i++) {
        const struct found *found = &rec->found[i];
        if (found->has_header && found->header.seg_seq == seg_seq) {
            *ret_slot = i;
            return true;
        }
    }
    for (uint32_t i = 0; i < rec->spool->slot_count; i++) {
        if (rec->found[i].is_suspect && rec->found[i].suspect_seg == seg_seq) {
            *ret_slot = i;
            return true;
        }
    }
    return false;
}

static bool chain_highest_below(const struct recovery *rec, uint64_t below, uint32_t *ret_slot)
{
    uint64_t best = 0;
    for (uint32_t i = 0; i < rec->spool->slot_count; i++) {
        const struct found *found = &rec->found[i];
        if (found->has_header && found->header.seg_seq < below && found->header.seg_seq > best) {
            best = found->header.seg_seq;
            *ret_slot = i;
        }
    }
    return best > 0;
}

/* The newest segment: the highest good header, or one above it that held durable batches and has
 * lost its header. */
static bool chain_top(struct recovery *rec, uint32_t *ret_slot)
{
    uint32_t top = 0;
    bool has_top = chain_highest_below(rec, UINT64_MAX, &top);
    uint64_t seg_seq = has_top ? rec->found[top].header.seg_seq : 0;
    for (uint32_t i = 0; i < rec->spool->slot_count; i++) {
        const struct found *found = &rec->found[i];
        if (found->is_suspect && found->suspect_seg > seg_seq &&
                rec->known_durable >= found->suspect_first) {
            top = i;
            seg_seq = found->suspect_seg;
            has_top = true;
        }
    }
    *ret_slot = top;
    return has_top;
}

static uint64_t chain_seg(const struct recovery *rec, uint32_t slot)
{
    return rec->found[slot].has_header ? rec->found[slot].header.seg_seq
                                       : rec->found[slot].suspect_seg;
}

/* From `slot` one segment back. False: there is none. */
static bool chain_back(
        struct recovery *rec, uint32_t slot, uint32_t *ret_slot, struct seg_end *ret_end)
{
    const struct found *found = &rec->found[slot];
    uint64_t seg_seq = chain_seg(rec, slot);
    *ret_end = (struct seg_end){ 0 };
    if (found->has_header) {
        *ret_end = found->header.prev;
        if (found->header.prev.seg_seq == 0) {
            return false;
        }
        if (chain_find(rec, found->header.prev.seg_seq, ret_slot)) {
            return true;
        }
        seg_seq = found->header.prev.seg_seq;
    }
    *ret_end = (struct seg_end){ 0 };
    rec->is_broken_chain = true;
    damage(rec, slot, "the segment before it is missing", 0, PAGE_BYTES);
    return chain_highest_below(rec, seg_seq, ret_slot);
}

static void chain_reverse(struct recovery *rec)
{
    for (uint32_t i = 0; i < rec->link_count / 2; i++) {
        struct link link = rec->link[i];
        rec->link[i] = rec->link[rec->link_count - 1 - i];
        rec->link[rec->link_count - 1 - i] = link;
    }
}

static void chain_build(struct recovery *rec)
{
    uint32_t slot;
    uint64_t stop = rec->has_ckpt ? rec->ckpt.replay_seg : 0;
    struct seg_end end = { 0 };
    if (!chain_top(rec, &slot)) {
        return;
    }
    for (bool more = true; more && rec->link_count < rec->spool->slot_count;) {
        uint64_t seg_seq = chain_seg(rec, slot);
        if (seg_seq < stop) {
            break; /* the chain has passed the replay point */
        }
        rec->link[rec->link_count++] =
                (struct link){ slot, seg_seq, end.seg_seq == seg_seq && end.end != 0, end };
        if (!rec->found[slot].has_header) {
            damage(rec, slot, "segment header", 0, PAGE_BYTES);
        }
        more = seg_seq != stop && chain_back(rec, slot, &slot, &end);
    }
    chain_reverse(rec);
}

/* ---- replay
 * ------------------------------------------------------------------------------------------ */

struct replay {
    struct recovery *rec;
    const struct link *link;
    uint64_t at;
    uint64_t limit;
    uint32_t crc;
    bool is_crc_known;
    bool is_last;
};

static enum err replay_apply(struct replay *replay, const struct scan_batch *batch)
{
    struct recovery *rec = replay->rec;
    struct head_place place = { replay->link->slot, batch->header.page };
    enum err err = apply_head(rec->spool, batch->head, place);
    learn_durable(rec, batch->header.durable_upto);
    rec->last_good = batch->header.batch_seq;
    replay->crc = batch->header.crc;
    replay->is_crc_known = true;
    replay->at = batch->next_at;
    return err;
}

static bool is_next(const struct replay *replay, const struct scan_batch *batch)
{
    if (MUTANT(no_segment_check)) {
        return true;
    }
    return (!replay->is_crc_known || batch->header.prev_crc == replay->crc) &&
           batch->header.batch_seq > replay->rec->last_good;
}

/* What the rest of the slot knows of durability. */
static void tail_learn(struct replay *replay)
{
    struct recovery *rec = replay->rec;
    struct batch_header header;
    for (uint64_t at = replay->at; at < rec->spool->slot_bytes; at += PAGE_BYTES) {
        if (scan_header(&rec->scan, at, &header) && header.seg_seq == replay->link->seg_seq) {
            learn_durable(rec, header.durable_upto);
        }
    }
}

/* The next whole batch behind a damaged place. */
static bool resync(struct replay *replay)
{
    struct recovery *rec = replay->rec;
    struct scan_batch batch;
    for (uint64_t at = replay->at + PAGE_BYTES; at < replay->limit; at += PAGE_BYTES) {
        if (scan_batch(&rec->scan, at, replay->link->seg_seq, replay->is_last, &batch) == OK &&
                batch.header.batch_seq > rec->last_good) {
            replay->at = at;
            replay->is_crc_known = false;
            return true;
        }
    }
    return false;
}

/* A batch of which only the data is bad, but which was acknowledged: its records count, and whoever
 * reads the content will find the damage. */
static bool head_only(struct replay *replay, struct scan_batch *ret_batch)
{
    struct recovery *rec = replay->rec;
    return scan_batch(&rec->scan, replay->at, replay->link->seg_seq, false, ret_batch) == OK &&
           is_next(replay, ret_batch) && ret_batch->header.batch_seq <= rec->known_durable;
}

/* A batch that was begun when the power went: no damage, since nobody was told of it. */
static void tail_note(struct replay *replay)
{
    struct batch_header header;
    if (scan_header(&replay->rec->scan, replay->at, &header) &&
            header.seg_seq == replay->link->seg_seq) {
        replay->rec->spool->torn_tail_bytes = batch_span(header.payload_len);
    }
}

/* At a place where no whole batch follows. True: replay goes on. */
static bool replay_gap(struct replay *replay, bool was_io_error, enum err *ret_err)
{
    struct recovery *rec = replay->rec;
    struct scan_batch batch;
    uint64_t from = replay->at;
    *ret_err = OK;
    if (was_io_error && MUTANT(read_error_is_end)) {
        return false;
    }
    if (replay->is_last) {
        tail_learn(replay);
        if (rec->last_good >= rec->known_durable && !was_io_error) {
            tail_note(replay);
            return false;
        }
    }
    if (head_only(replay, &batch)) {
        *ret_err = replay_apply(replay, &batch);
        damage(rec, replay->link->slot, "message content", from, replay->at);
        return *ret_err == OK;
    }
    bool goes_on = resync(replay);
    uint64_t to = goes_on ? replay->at : replay->limit;
    damage(rec, replay->link->slot, was_io_error ? "it cannot be read" : "batches are not whole",
            from, to);
    return goes_on;
}

static enum err replay_segment(struct replay *replay)
{
    struct recovery *rec = replay->rec;
    while (replay->at < replay->limit) {
        struct scan_batch batch;
        enum err err =
                scan_batch(&rec->scan, replay->at, replay->link->seg_seq, replay->is_last, &batch);
        if (err == OK && is_next(replay, &batch)) {
            err = replay_apply(replay, &batch);
            if (err != OK) {
                return err;
            }
            continue;
        }
        if (rec->scan.lacked_memory) {
            return E_NOMEM; /* not read is not the end, and no damage */
        }
        if (!replay_gap(replay, err == E_IO, &err)) {
            return err;
        }
    }
    return OK;
}

static enum err replay_link(struct recovery *rec, uint32_t number)
{
    const struct link *link = &rec->link[number];
    const struct found *found = &rec->found[link->slot];
    struct spool *spool = rec->spool;
    bool is_start = rec->has_ckpt && link->seg_seq == rec->ckpt.replay_seg;
    struct replay replay = {
        .rec = rec,
        .link = link,
        .at = is_start ? rec->ckpt.replay_at : PAGE_BYTES,
        .crc = is_start ? rec->ckpt.replay_crc : found->header.crc,
        .is_crc_known = is_start || found->has_header,
        .is_last = number + 1 == rec->link_count,
        .limit = spool->slot_bytes,
    };
    if (link->has_end && !MUTANT(ignore_prev_end)) {
        replay.limit = link->end.end < spool->slot_bytes ? link->end.end : spool->slot_bytes;
    }
    scan_file(&rec->scan, found->file, spool->slot_bytes);
    enum err err = replay_segment(&replay);
    struct slot *slot = &spool->slot[link->slot];
    slot->seg_seq = link->seg_seq;
    slot->end = replay.at;
    slot->last_batch = rec->last_good;
    slot->made_at = found->header.made_at;
    rec->tail = (struct seg_end){ link->seg_seq, replay.at, rec->last_good };
    rec->tail_slot = link->slot;
    rec->tail_crc = replay.crc;
    return err;
}

static enum err replay_all(struct recovery *rec)
{
    rec->last_good = rec->has_ckpt ? rec->ckpt.last_batch : 0;
    if (rec->has_ckpt) {
        learn_durable(rec, rec->ckpt.durable_upto);
        rec->tail = (struct seg_end){ rec->ckpt.replay_seg, rec->ckpt.replay_at, rec->last_good };
        if (rec->link_count == 0 || rec->link[0].seg_seq != rec->ckpt.replay_seg) {
            uint32_t slot = rec->link_count ? rec->link[0].slot : 0;
            damage(rec, slot, "the segment in which replay begins is missing", 0, PAGE_BYTES);
        }
    }
    for (uint32_t i = 0; i < rec->link_count; i++) {
        enum err err = replay_link(rec, i);
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

/* ---- afterwards
 * --------------------------------------------------------------------------------------- */

static bool is_linked(const struct recovery *rec, uint32_t slot)
{
    for (uint32_t i = 0; i < rec->link_count; i++) {
        if (rec->link[i].slot == slot) {
            return true;
        }
    }
    return false;
}

/* Slots that hold something still needed are full, the rest is free. */
static void slots_settle(struct recovery *rec)
{
    struct spool *spool = rec->spool;
    for (uint32_t i = 0; i < spool->slot_count; i++) {
        struct slot *slot = &spool->slot[i];
        const struct found *found = &rec->found[i];
        if (slot->state == SLOT_ABSENT) {
            continue;
        }
        /* of the checkpoint's table, unless the slot has been used again since */
        bool is_old =
                slot->seg_seq != 0 && found->has_header && found->header.seg_seq == slot->seg_seq;
        bool is_stale = slot->seg_seq != 0 && !is_old && !is_linked(rec, i);
        if (is_stale && slot->live_count == 0 && !slot->is_damaged) {
            slot->seg_seq = 0;
        }
        bool is_used = is_old || is_linked(rec, i) || slot->live_count > 0 || slot->is_damaged;
        if (is_used) {
            slot_set_state(spool, i, SLOT_FULL);
        } else if (spool->kind != DISK_COPY_ON_WRITE && slot->zeroed_bytes < spool->slot_bytes) {
            slot->zeroed_bytes = 0;
            slot_set_state(spool, i, SLOT_ZEROING);
        } else {
            *slot = (struct slot){ .state = SLOT_ABSENT };
            slot_set_state(spool, i, SLOT_FREE);
        }
    }
}

/* An attempt without its end may have delivered; and where records may be missing, any recipient
 * may have been served already. */
static void rcpts_settle(struct recovery *rec)
{
    struct spool *spool = rec->spool;
    struct msg *msg;
    for (uint32_t at = 0; (msg = index_walk(&spool->index, &at)) != NULL;) {
        for (uint32_t i = 0; i < msg_rcpt_count(msg); i++) {
            struct rcpt *rcpt = msg_rcpt(msg, i);
            enum spool_state next;
            if (rcpt->state == SPOOL_ATTEMPTING && rcpt_next_state(rcpt, EVENT_RESTART, &next)) {
                msg_set_state(spool, msg, i, next);
            } else if (rcpt->state == SPOOL_QUEUED && rec->is_broken_chain) {
                rcpt->flags |= RCPT_MAYBE_DUPLICATE;
                msg_set_state(spool, msg, i, SPOOL_IN_DOUBT);
            }
        }
        msg_close_if_done(spool, msg);
    }
}

/* Never behind the old tail: a new slot, which says where the old log ended. */
static enum err fresh_try(struct spool *spool)
{
    enum err err = E_IO;
    for (uint32_t i = 0; i < FRESH_TRY_COUNT && err != OK; i++) {
        err = segment_begin(spool);
        if (err == E_NO_SPACE || err == E_FULL || err == E_NOMEM) {
            return err;
        }
        bool has_begun = err == OK;
        err = has_begun ? mark_write(spool) : err;
        err = err == OK ? active_sync(spool) : err;
        if (err != OK && has_begun) {
            slot_set_state(spool, spool->active.slot, SLOT_POISONED);
            slot_close(spool, spool->active.slot);
        }
    }
    return err;
}

static enum err start_fresh(struct recovery *rec)
{
    struct spool *spool = rec->spool;
    uint64_t last = rec->last_good > rec->known_durable ? rec->last_good : rec->known_durable;
    spool->durable = rec->tail;
    spool->durable_upto = spool->written_upto = rec->last_good;
    /* past a segment that only the cache of a slot with a failed sync may still show */
    spool->seg_seq_last = rec->seg_last + SEQ_JUMP;
    spool->next_seq = last + SEQ_JUMP;
    if (MUTANT(append_after_torn_tail) && rec->link_count > 0 &&
            rec->tail.end + 4 * PAGE_BYTES <= spool->slot_bytes) {
        spool->active = (struct active){ rec->tail_slot, rec->tail.seg_seq,
            rec->tail.end + PAGE_BYTES, rec->tail_crc };
        slot_set_state(spool, rec->tail_slot, SLOT_ACTIVE);
        enum err appended = mark_write(spool);
        return appended == OK ? active_sync(spool) : appended;
    }
    enum err err = fresh_try(spool);
    spool->marked_upto = spool->durable_upto;
    return err;
}

static enum err recover_read(struct recovery *rec)
{
    enum err err = checkpoint_load(rec->spool, &rec->ckpt);
    rec->has_ckpt = err == OK;
    if (err == E_CORRUPT) {
        log_error(rec->spool->log, "spool", "the checkpoint does not make sense: reading all");
        rec->spool->damaged_ranges++;
        index_done(&rec->spool->index);
    } else if (err != OK && err != E_NOT_FOUND) {
        return err;
    }
    learn_seg(rec, rec->has_ckpt ? rec->ckpt.replay_seg : 0);
    err = slots_look(rec);
    if (err != OK) {
        return err;
    }
    chain_build(rec);
    err = replay_all(rec);
    if (err == OK && rec->scan.lacked_memory) {
        err = E_NOMEM;
    }
    for (uint32_t i = 0; MUTANT(sync_after_reading) && i < rec->spool->slot_count; i++) {
        (void)slot_sync(rec->spool, i);
    }
    return err;
}

static void recovery_done(struct recovery *rec)
{
    for (uint32_t i = 0; rec->found != NULL && i < rec->spool->slot_count; i++) {
        if (rec->found[i].file != NULL) {
            rec->spool->disk->ops->close(rec->found[i].file);
        }
    }
    mem_free(rec->found);
    mem_free(rec->link);
    scan_done(&rec->scan);
}

/* Every name that is there is durable before anything relies on it. */
static void names_sync(struct spool *spool)
{
    struct why why = { 0 };
    if (spool->disk->ops->sync_dir(spool->disk, &why) != OK) {
        log_error(spool->log, "spool", "sync of the directory failed at start: %s", why.text);
    }
}

enum err spool_recover(struct spool *spool, struct why *why)
{
    struct recovery rec = { .spool = spool };
    uint32_t count = spool->slot_count;
    rec.found = mem_new((count + 1) * sizeof *rec.found);
    rec.link = mem_new((count + 1) * sizeof *rec.link);
    scan_init(&rec.scan, NULL, spool->spool_id, 0, RECOVER_READ_BYTES);
    enum err err = rec.found && rec.link ? OK : E_NOMEM;
    if (err == OK) {
        if (!spool->is_read_only) {
            names_sync(spool);
        }
        err = recover_read(&rec);
    }
    if (err == OK) {
        slots_settle(&rec);
        rcpts_settle(&rec);
    }
    recovery_done(&rec);
    spool->durable = rec.tail;
    if (err == OK && !spool->is_read_only) {
        err = start_fresh(&rec);
    }
    if (err != OK) {
        why_set(why, "recovery of the spool: %s", err_name(err));
    }
    return err;
}
