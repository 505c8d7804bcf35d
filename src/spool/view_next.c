/* SPDX-License-Identifier: Apache-2.0
 *
 * view_next.c - the journal in order, for those who derive something from it (history).
 *
 * Only heads of batches are read, never message bodies. Only what is durable is shown: a living
 * spool says how far that is; without one the headers on disk do. A segment is read up to where its
 * successor says that it ended: what lies behind is void.
 */
#include "spool/view_next_priv.h"

enum { JOURNAL_READ_BYTES = 16 << 10 };

static void journal_leave(struct journal *journal, struct disk *disk)
{
    if (journal->file != NULL) {
        disk->ops->close(journal->file);
        journal->file = NULL;
    }
    journal->has_batch = false;
}

void journal_done(struct spool_view *view)
{
    struct journal *journal = &view->journal;
    journal_leave(journal, view->disk);
    scan_done(&journal->scan);
    mem_free(journal->seg);
    journal->seg = NULL;
}

/* ---- which segments there are
 * ----------------------------------------------------------------------- */

struct seg_lister {
    struct spool_view *view;
    enum err err;
};

static enum err seg_add(struct journal *journal, const struct seg_info *info)
{
    if (journal->seg_count == journal->seg_cap) {
        uint32_t cap = journal->seg_cap ? journal->seg_cap * 2 : 16;
        struct seg_info *seg = mem_grow(journal->seg, cap * sizeof *seg);
        if (seg == NULL) {
            return E_NOMEM;
        }
        journal->seg = seg;
        journal->seg_cap = cap;
    }
    uint32_t at = journal->seg_count++;
    while (at > 0 && journal->seg[at - 1].header.seg_seq > info->header.seg_seq) {
        journal->seg[at] = journal->seg[at - 1];
        at--;
    }
    journal->seg[at] = *info;
    return OK;
}

static void seg_listed(void *ctx, const char *name)
{
    struct seg_lister *lister = ctx;
    struct spool_view *view = lister->view;
    struct seg_info info;
    struct disk_file *file;
    uint8_t bytes[SEG_HEADER_BYTES];
    size_t len = 0;
    if (lister->err != OK || !slot_name_parse(name, &info.slot)) {
        return;
    }
    enum err err = view->disk->ops->open(view->disk, name, 0, &file, NULL);
    if (err !=
            OK) { /* for want of a descriptor it is only not seen now: not a gap in the journal */
        lister->err = err == E_FULL || err == E_NOMEM ? err : OK;
        return;
    }
    err = view->disk->ops->read(file, bytes, sizeof bytes, 0, &len, NULL);
    view->disk->ops->close(file);
    if (err == OK && len == sizeof bytes &&
            seg_header_decode(bytes, view->spool_id, &info.header)) {
        lister->err = seg_add(&view->journal, &info);
    }
}

/* Takes out what no later segment names as its predecessor while an older one is named: such a
 * segment was given up before anything in it was durable. */
static void segs_unlink_void(struct journal *journal)
{
    uint32_t kept = journal->seg_count;
    uint64_t expected = UINT64_MAX;
    for (uint32_t i = journal->seg_count; i-- > 0;) {
        const struct seg_info *info = &journal->seg[i];
        bool is_void = expected != UINT64_MAX && info->header.seg_seq > expected;
        if (!is_void) {
            expected = info->header.prev.seg_seq;
            journal->seg[--kept] = *info;
        }
    }
    memmove(journal->seg, journal->seg + kept, (journal->seg_count - kept) * sizeof *journal->seg);
    journal->seg_count -= kept;
}

static enum err segs_load(struct spool_view *view)
{
    struct seg_lister lister = { view, OK };
    view->journal.seg_count = 0;
    enum err err = view->disk->ops->list(view->disk, seg_listed, &lister, NULL);
    err = err == OK ? lister.err : err;
    if (err == OK) {
        segs_unlink_void(&view->journal);
    }
    return err;
}

static const struct seg_info *seg_find(const struct journal *journal, uint64_t seg_seq)
{
    for (uint32_t i = 0; i < journal->seg_count; i++) {
        if (journal->seg[i].header.seg_seq == seg_seq) {
            return &journal->seg[i];
        }
    }
    return NULL;
}

/* The segment after seg_seq. */
static const struct seg_info *seg_after(const struct journal *journal, uint64_t seg_seq)
{
    for (uint32_t i = 0; i < journal->seg_count; i++) {
        if (journal->seg[i].header.seg_seq > seg_seq) {
            return &journal->seg[i];
        }
    }
    return NULL;
}

/* The first segment all of whose batches are newer than batch_seq. */
static const struct seg_info *seg_after_batch(const struct journal *journal, uint64_t batch_seq)
{
    for (uint32_t i = 0; i < journal->seg_count; i++) {
        if (journal->seg[i].header.first_batch > batch_seq) {
            return &journal->seg[i];
        }
    }
    return NULL;
}

/* ---- moving
 * ---------------------------------------------------------------------------------------------- */

static enum err journal_enter(
        struct spool_view *view, uint32_t slot, uint64_t seg_seq, uint64_t at, uint64_t last_batch)
{
    struct journal *journal = &view->journal;
    char name[NAME_BYTES_MAX];
    journal_leave(journal, view->disk);
    slot_name(name, slot);
    enum err err = view->disk->ops->open(view->disk, name, 0, &journal->file, NULL);
    if (err != OK) {
        journal->file = NULL;
        return err == E_NOT_FOUND ? E_CORRUPT : err;
    }
    if (journal->scan.read_bytes == 0) {
        scan_init(&journal->scan, NULL, view->spool_id, 0, JOURNAL_READ_BYTES);
    }
    scan_file(&journal->scan, journal->file, view->slot_bytes);
    journal->slot = slot;
    journal->seg_seq = seg_seq;
    journal->at = at;
    journal->last_batch = last_batch;
    journal->has_successor = false;
    return OK;
}

/* How far this segment may be read. */
struct reach {
    uint64_t durable_upto;
    uint64_t limit;
};

/* The highest durable_upto in the rest of a segment that no living spool speaks for. */
static uint64_t offline_durable(struct spool_view *view)
{
    struct journal *journal = &view->journal;
    struct scan_batch batch;
    uint64_t best = journal->offline_durable;
    for (uint64_t at = journal->at; at < view->slot_bytes;) {
        if (scan_batch(&journal->scan, at, journal->seg_seq, false, &batch) != OK) {
            break;
        }
        best = batch.header.durable_upto > best ? batch.header.durable_upto : best;
        at = batch.next_at;
    }
    journal->offline_durable = best;
    return best;
}

/* Looks again at the disk: a segment that was seen before may have been given up since. */
static enum err successor_look(struct spool_view *view)
{
    struct journal *journal = &view->journal;
    enum err err = segs_load(view);
    if (err != OK) {
        return err;
    }
    const struct seg_info *after = seg_after(journal, journal->seg_seq);
    if (after != NULL) {
        journal->has_successor = true;
        journal->successor = *after;
    }
    return OK;
}

static enum err reach_of(struct spool_view *view, struct reach *ret_reach)
{
    struct journal *journal = &view->journal;
    struct reach reach = { .limit = view->slot_bytes };
    uint64_t active_seg = 0;
    if (view->shared != NULL) {
        /* in this order: the active segment is published before what is durable in it */
        reach.durable_upto =
                atomic_load_explicit(&view->shared->durable_upto, memory_order_acquire);
        active_seg = atomic_load_explicit(&view->shared->active_seg, memory_order_acquire);
    }
    if (!journal->has_successor && (view->shared == NULL || active_seg != journal->seg_seq)) {
        enum err err = successor_look(view);
        if (err != OK) {
            return err;
        }
    }
    if (journal->has_successor && journal->successor.header.prev.seg_seq == journal->seg_seq) {
        reach.limit = journal->successor.header.prev.end;
    }
    if (view->shared == NULL) {
        reach.durable_upto = journal->has_successor ? UINT64_MAX : offline_durable(view);
    }
    *ret_reach = reach;
    return OK;
}

static void batch_take(struct journal *journal, const struct scan_batch *batch)
{
    journal->batch = *batch;
    journal->has_batch = true;
    journal->index = 0;
    journal->record_at = 0;
}

/* Behind a damaged place; false: nothing whole follows in this segment. */
static bool journal_resync(struct journal *journal, uint64_t limit)
{
    struct scan_batch batch;
    for (uint64_t at = journal->at + PAGE_BYTES; at < limit; at += PAGE_BYTES) {
        if (scan_batch(&journal->scan, at, journal->seg_seq, false, &batch) == OK &&
                batch.header.batch_seq > journal->last_batch) {
            journal->at = at;
            return true;
        }
    }
    return false;
}

/* From the end of a segment to the start of the next. */
static enum err journal_cross(struct spool_view *view)
{
    struct journal *journal = &view->journal;
    if (!journal->has_successor) {
        return E_EOF;
    }
    struct seg_info next = journal->successor;
    uint64_t last = journal->last_batch;
    bool is_gap = next.header.prev.last_batch > last;
    enum err err = journal_enter(view, next.slot, next.header.seg_seq, PAGE_BYTES,
            is_gap ? next.header.prev.last_batch : last);
    if (err != OK) {
        return err;
    }
    return is_gap ? E_CORRUPT : E_AGAIN;
}

static enum err journal_scan(struct spool_view *view, struct scan_batch *ret_batch)
{
    struct journal *journal = &view->journal;
    journal->scan.lacked_memory = false;
    enum err err = scan_batch(&journal->scan, journal->at, journal->seg_seq, false, ret_batch);
    if (err != OK && !journal->scan.lacked_memory) { /* the window may be older than the batch */
        scan_file(&journal->scan, journal->file, view->slot_bytes);
        err = scan_batch(&journal->scan, journal->at, journal->seg_seq, false, ret_batch);
    }
    return err;
}

/* Makes the batch at journal->at the current one. E_AGAIN: the segment is at its end, its successor
 * was entered. E_CORRUPT: something is missing; the journal stands behind it. */
static enum err journal_step(struct spool_view *view)
{
    struct journal *journal = &view->journal;
    struct reach reach;
    struct scan_batch batch;
    enum err err = reach_of(view, &reach);
    if (err != OK) {
        return err;
    }
    if (journal->at >= reach.limit) {
        return journal_cross(view);
    }
    if (!journal->has_successor && journal->last_batch >= reach.durable_upto) {
        return E_EOF;
    }
    err = journal_scan(view, &batch);
    if (err == OK && batch.header.batch_seq > reach.durable_upto) {
        return E_EOF;
    }
    if (err == OK) {
        batch_take(journal, &batch);
        return OK;
    }
    uint64_t at = journal->at;
    if (!journal->scan.lacked_memory && !journal_resync(journal, reach.limit)) {
        journal->at = reach.limit;
    }
    if (journal->scan.lacked_memory) { /* nothing is known of what lies here */
        journal->at = at;
        return E_NOMEM;
    }
    return E_CORRUPT;
}

/* ---- from a position
 * ---------------------------------------------------------------------------------------- */

static enum err journal_start(struct spool_view *view)
{
    struct journal *journal = &view->journal;
    enum err err = segs_load(view);
    if (err != OK) {
        return err;
    }
    if (journal->seg_count == 0) {
        return E_EOF;
    }
    return journal_enter(view, journal->seg[0].slot, journal->seg[0].header.seg_seq, PAGE_BYTES,
            journal->seg[0].header.prev.last_batch);
}

/* The batch of that number where the hint says, or after a search in its segment. */
static bool journal_hint(struct spool_view *view, const struct spool_position *at)
{
    struct journal *journal = &view->journal;
    struct batch_header header;
    struct scan_batch batch;
    if (at->offset < PAGE_BYTES || at->offset >= view->slot_bytes || at->slot >= SLOT_COUNT_MAX ||
            journal_enter(view, at->slot, 0, at->offset, 0) != OK ||
            !scan_header(&journal->scan, at->offset, &header) ||
            header.batch_seq != at->batch_seq || seg_find(journal, header.seg_seq) == NULL ||
            scan_batch(&journal->scan, at->offset, header.seg_seq, false, &batch) != OK) {
        return false;
    }
    journal->seg_seq = header.seg_seq;
    batch_take(journal, &batch);
    return true;
}

/* Passes over the records before at->index. */
static void journal_skip(struct journal *journal, uint32_t index)
{
    struct record_view record;
    while (journal->index < index &&
            record_next(journal->batch.head, &journal->record_at, &record)) {
        journal->index++;
    }
}

/* The batch is gone (its slot was used again) or the hint is no good: on with what is newer. */
static enum err journal_search(struct spool_view *view, const struct spool_position *at)
{
    struct journal *journal = &view->journal;
    const struct seg_info *after = seg_after_batch(journal, at->batch_seq);
    const struct seg_info *first = after && after > journal->seg ? after - 1 : NULL;
    if (after == NULL && journal->seg_count > 0) {
        first = &journal->seg[journal->seg_count - 1];
    }
    if (first == NULL) {
        if (after == NULL) {
            return E_EOF;
        }
        bool is_gap = after->header.prev.last_batch > at->batch_seq;
        enum err err = journal_enter(view, after->slot, after->header.seg_seq, PAGE_BYTES,
                after->header.prev.last_batch);
        return err != OK ? err : is_gap ? E_CORRUPT : E_AGAIN;
    }
    enum err err = journal_enter(
            view, first->slot, first->header.seg_seq, PAGE_BYTES, first->header.prev.last_batch);
    while (err == OK || err == E_AGAIN) {
        err = journal_step(view);
        if (err == OK && journal->batch.header.batch_seq >= at->batch_seq) {
            break;
        }
        if (err == OK) {
            journal->last_batch = journal->batch.header.batch_seq;
            journal->at = journal->batch.next_at;
        }
    }
    if (err == OK && journal->batch.header.batch_seq == at->batch_seq) {
        journal_skip(journal, at->index);
    }
    return err;
}

static enum err journal_seek(struct spool_view *view, const struct spool_position *at)
{
    struct journal *journal = &view->journal;
    if (at->batch_seq == 0) {
        return journal_start(view);
    }
    enum err err = segs_load(view);
    if (err != OK) {
        return err;
    }
    if (journal_hint(view, at)) {
        journal_skip(journal, at->index);
        return OK;
    }
    return journal_search(view, at);
}

static bool journal_is_at(const struct journal *journal, const struct spool_position *at)
{
    return journal->has_batch && journal->batch.header.batch_seq == at->batch_seq &&
           journal->slot == at->slot && journal->batch.at == at->offset &&
           journal->index == at->index;
}

static struct spool_position journal_position(const struct journal *journal)
{
    return (struct spool_position){ journal->batch.header.batch_seq, journal->index, journal->slot,
        journal->batch.at };
}

static void record_fill(struct journal *journal, const struct record_view *view,
        const struct spool_position *at, struct spool_record *ret_record)
{
    struct stored stored;
    struct spool_record record = {
        .at = *at,
        .type = (enum spool_record_type)view->header.type,
        .msg_id = view->header.msg_id,
        .where = { journal->slot, journal->batch.header.page, view->at },
        .payload = view->payload,
    };
    if (record.type == SPOOL_ACCEPT && stored_decode(view->payload, &stored)) {
        record.payload = stored.envelope;
    } else if (record.type == SPOOL_MOVE || record.type == SPOOL_BODY) {
        record.payload = STR("");
    }
    journal->index++;
    record.next = journal_position(journal);
    *ret_record = record;
}

/* Past the current batch, to the next one. */
static enum err journal_next_batch(struct spool_view *view)
{
    struct journal *journal = &view->journal;
    if (journal->has_batch) {
        journal->last_batch = journal->batch.header.batch_seq;
        journal->at = journal->batch.next_at;
    }
    enum err err;
    do {
        err = journal_step(view);
    } while (err == E_AGAIN);
    return err;
}

/* Where one may go on behind what is missing: before the next whole batch. */
static enum err gap_fill(struct spool_view *view, struct spool_record *ret_record)
{
    struct journal *journal = &view->journal;
    enum err err;
    journal->has_batch = false;
    do {
        err = journal_next_batch(view);
    } while (err == E_CORRUPT);
    if (err != OK) {
        return err;
    }
    *ret_record = (struct spool_record){ .next = journal_position(journal) };
    return E_CORRUPT;
}

enum err spool_view_next(
        struct spool_view *view, const struct spool_position *at, struct spool_record *ret_record)
{
    struct journal *journal = &view->journal;
    struct record_view record;
    enum err err = OK;
    if (!journal_is_at(journal, at)) {
        err = journal_seek(view, at);
    }
    while (err == OK || err == E_AGAIN) {
        if (err == OK && journal->has_batch) {
            struct spool_position here = journal_position(journal);
            if (record_next(journal->batch.head, &journal->record_at, &record)) {
                record_fill(journal, &record, &here, ret_record);
                return OK;
            }
        }
        /* at the end of all the batch stays the current one: the next call finds its place */
        err = journal_next_batch(view);
    }
    return err == E_CORRUPT ? gap_fill(view, ret_record) : err;
}
