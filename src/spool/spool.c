/* SPDX-License-Identifier: Apache-2.0
 *
 * spool.c - opening and closing a spool, its housekeeping, and what it tells about itself.
 */
#include "spool/spool_priv.h"
#include "spool/view_priv.h"

#include "core/str.h"
#include "core/time.h"

#ifdef OUTPOST_MUTANTS
enum mutant mutant_chosen;
#endif

/* ---- what views share
 * ----------------------------------------------------------------------------- */

static struct shared *shared_new(void)
{
    struct shared *shared = mem_new(sizeof *shared);
    if (shared != NULL) {
        atomic_store(&shared->refs, 1);
    }
    return shared;
}

struct shared *shared_take(struct shared *shared)
{
    atomic_fetch_add(&shared->refs, 1);
    return shared;
}

void shared_give(struct shared *shared)
{
    if (shared != NULL && atomic_fetch_sub(&shared->refs, 1) == 1) {
        mem_free(shared);
    }
}

/* ---- META
 * ------------------------------------------------------------------------------------------ */

static const char meta_name[] = "META";

static enum err meta_write(struct spool *spool, const struct meta *meta, struct why *why)
{
    struct disk_file *file;
    uint8_t page[PAGE_BYTES] = { 0 };
    struct iovec iov = { page, sizeof page };
    enum err err =
            spool->disk->ops->open(spool->disk, meta_name, DISK_WRITE | DISK_CREATE, &file, why);
    if (err != OK) {
        return err;
    }
    meta_encode(page, meta);
    err = spool->disk->ops->write(file, &iov, 1, meta->version % 2 * PAGE_BYTES, why);
    err = err == OK ? spool->disk->ops->sync(file, why) : err;
    spool->disk->ops->close(file);
    return err == OK ? spool->disk->ops->sync_dir(spool->disk, why) : err;
}

/* E_NOT_FOUND: no META, or one that was cut short while the spool was made. */
enum err meta_load(struct disk *disk, struct meta *ret_meta, struct why *why)
{
    struct disk_file *file;
    uint8_t bytes[2 * PAGE_BYTES] = { 0 };
    struct meta meta[2];
    size_t len = 0;
    enum err err = disk->ops->open(disk, meta_name, DISK_UNCACHED, &file, why);
    if (err != OK) {
        return err;
    }
    err = disk->ops->read(file, bytes, sizeof bytes, 0, &len, why);
    disk->ops->close(file);
    if (err != OK) {
        return err;
    }
    bool has[2] = { meta_decode(bytes, &meta[0]), meta_decode(bytes + PAGE_BYTES, &meta[1]) };
    if (!has[0] && !has[1]) {
        return E_NOT_FOUND;
    }
    *ret_meta = has[1] && (!has[0] || meta[1].version > meta[0].version) ? meta[1] : meta[0];
    return OK;
}

static enum err meta_is_ours(struct spool *spool, struct meta *meta, struct why *why)
{
    const struct spool_conf *conf = &spool->conf;
    if (meta->major != FORMAT_MAJOR || meta->incompat != 0 || meta->ro_compat != 0) {
        why_set(why,
                "the spool has format %u.%u with features this version does not know; use the "
                "version that made it",
                meta->major, meta->minor);
        return E_UNSUPPORTED;
    }
    if (meta->slot_bytes < SPOOL_SLOT_BYTES_MIN || meta->slot_bytes > SPOOL_SLOT_BYTES_MAX ||
            meta->slot_bytes % PAGE_BYTES != 0) {
        why_set(why, "META names an impossible slot size");
        return E_CORRUPT;
    }
    if (conf->host_id != 0 && meta->host_id != 0 && conf->host_id != meta->host_id) {
        if (!conf->is_adopting) {
            why_set(why,
                    "the spool belongs to another host: a copied queue would be sent twice. If "
                    "the other copy is gone for good, run 'outpost spool adopt'");
            return E_UNSUPPORTED;
        }
        meta->host_id = conf->host_id;
        meta->version++;
        return meta_write(spool, meta, why);
    }
    return OK;
}

/* ---- making a new one
 * ------------------------------------------------------------------------------- */

static bool header_read(struct spool *spool, uint32_t slot, struct seg_header *ret_header)
{
    struct disk_file *file;
    struct why why = { 0 };
    uint8_t bytes[SEG_HEADER_BYTES] = { 0 };
    char name[NAME_BYTES_MAX];
    size_t len = 0;
    slot_name(name, slot);
    if (spool->disk->ops->open(spool->disk, name, 0, &file, &why) != OK) {
        return false;
    }
    enum err err = spool->disk->ops->read(file, bytes, sizeof bytes, 0, &len, &why);
    spool->disk->ops->close(file);
    return err == OK && seg_header_decode(bytes, get_u64(bytes + 8), ret_header);
}

/* True where some slot carries a segment of any spool: then a missing META is damage. */
static bool slots_have_header(struct spool *spool, struct seg_header *ret_header)
{
    for (uint32_t i = 0; i < spool->slot_count; i++) {
        if (spool->slot[i].state != SLOT_ABSENT && header_read(spool, i, ret_header)) {
            return true;
        }
    }
    return false;
}

/* META comes last: before it is durable there is no spool. */
static enum err meta_create(struct spool *spool, struct meta *ret_meta, struct why *why)
{
    struct seg_header header;
    if (slots_have_header(spool, &header)) {
        why_set(why, "there are segments but no META: restore it, or read them with 'outpost spool "
                     "check --salvage'");
        return E_CORRUPT;
    }
    struct meta meta = {
        .major = FORMAT_MAJOR,
        .minor = FORMAT_MINOR,
        .spool_id = entropy_u64(spool->entropy),
        .host_id = spool->conf.host_id,
        .slot_bytes = spool->conf.slot_bytes / PAGE_BYTES * PAGE_BYTES,
        .version = 2,
    };
    if (meta.slot_bytes < SPOOL_SLOT_BYTES_MIN || meta.slot_bytes > SPOOL_SLOT_BYTES_MAX) {
        why_set(why, "slot size out of range");
        return E_USAGE;
    }
    enum err err = spool->disk->ops->sync_dir(spool->disk, why); /* the checkpoints' names */
    err = err == OK ? meta_write(spool, &meta, why) : err;
    if (err == OK) {
        *ret_meta = meta;
    }
    return err;
}

struct lister {
    struct spool *spool;
    enum err err;
};

static void slot_listed(void *ctx, const char *name)
{
    struct lister *lister = ctx;
    uint32_t slot;
    if (lister->err != OK || !slot_name_parse(name, &slot)) {
        return;
    }
    lister->err = slots_resize(lister->spool, slot + 1);
    if (lister->err == OK) {
        /* what it is, recovery finds out */
        lister->spool->slot[slot].state = SLOT_ZEROING;
    }
}

/* A META that a crash left unsynced must be as durable as what will stand on it. */
static void meta_sync(struct spool *spool)
{
    struct disk_file *file;
    struct why why = { 0 };
    if (spool->disk->ops->open(spool->disk, meta_name, DISK_WRITE, &file, &why) != OK) {
        return; /* there is none */
    }
    if (spool->disk->ops->sync(file, &why) != OK ||
            spool->disk->ops->sync_dir(spool->disk, &why) != OK) {
        log_error(spool->log, "spool", "sync of META failed at start: %s", why.text);
    }
    spool->disk->ops->close(file);
}

static enum err slots_list(struct spool *spool, struct why *why)
{
    struct lister lister = { spool, OK };
    enum err err = spool->disk->ops->list(spool->disk, slot_listed, &lister, why);
    return err == OK ? lister.err : err;
}

static enum err files_find(struct spool *spool, struct meta *ret_meta, struct why *why)
{
    enum err err = slots_list(spool, why);
    err = err == OK ? checkpoint_open(spool, why) : err;
    if (err != OK) {
        return err;
    }
    meta_sync(spool);
    err = meta_load(spool->disk, ret_meta, why);
    if (err == E_NOT_FOUND) {
        return meta_create(spool, ret_meta, why);
    }
    return err == OK ? meta_is_ours(spool, ret_meta, why) : err;
}

/* ---- open and close
 * ---------------------------------------------------------------------------------- */

static enum err place_check(struct spool *spool, struct why *why)
{
    struct disk_space space;
    enum err err = spool->disk->ops->space(spool->disk, &space, why);
    if (err != OK) {
        return err;
    }
    spool->kind = space.kind;
    spool->disk_free_bytes = space.free_bytes;
    if (space.kind != DISK_NETWORK && space.kind != DISK_MEMORY) {
        return OK;
    }
    const char *what = space.kind == DISK_NETWORK
                               ? "a network file system cannot be trusted with syncs"
                               : "a file system in memory forgets all at power loss";
    if (!spool->conf.is_any_fs) {
        why_set(why, "%s: put the spool on a local disk", what);
        return E_UNSUPPORTED;
    }
    log_warn(spool->log, "spool", "%s; used all the same, since this is a sandbox", what);
    return OK;
}

static enum err memory_make(struct spool *spool)
{
    spool->shared = shared_new();
    spool->scratch = mem_new(SPOOL_RCPT_COUNT_MAX * sizeof *spool->scratch);
    spool->iov = mem_new(WRITE_IOV_MAX * sizeof *spool->iov);
    return spool->shared && spool->scratch && spool->iov ? OK : E_NOMEM;
}

static void limits_set(struct spool *spool, const struct meta *meta)
{
    spool->spool_id = meta->spool_id;
    spool->slot_bytes = meta->slot_bytes;
    /* header page, the seal's page, and the batch's own header */
    uint64_t fits = spool->slot_bytes - 2 * PAGE_BYTES - BATCH_HEADER_BYTES;
    spool->batch_bytes_max = fits < SPOOL_BATCH_BYTES_MAX ? fits : SPOOL_BATCH_BYTES_MAX;
    buf_init(&spool->open.head, (size_t)spool->batch_bytes_max);
}

void spool_forget(struct spool *spool)
{
    batch_done(spool);
    pendings_drop(spool);
    promises_drop(spool);
    compact_done(spool);
    checkpoint_close(spool);
    slots_done(spool);
    index_done(&spool->index);
    shared_give(spool->shared);
    mem_free(spool->scratch);
    mem_free(spool->iov);
    mem_free(spool);
}

static enum err spool_begin(struct spool *spool, struct why *why)
{
    struct meta meta;
    enum err err = spool->disk->ops->lock(spool->disk, why);
    err = err == OK ? memory_make(spool) : err;
    err = err == OK ? place_check(spool, why) : err;
    err = err == OK ? files_find(spool, &meta, why) : err;
    if (err != OK) {
        return err;
    }
    limits_set(spool, &meta);
    err = spool_recover(spool, why);
    spool->ckpt.made_at = clock_mono(spool->clock);
    spool->ckpt.written_bytes = spool->written_bytes;
    return err;
}

static struct spool *spool_new(struct disk *disk, struct clock *clock, const struct log *log)
{
    struct spool *spool = mem_new(sizeof *spool);
    if (spool != NULL) {
        spool->disk = disk;
        spool->clock = clock;
        spool->log = log;
        spool->unsynced_last = &spool->unsynced;
        spool->more_last = &spool->more_first;
    }
    return spool;
}

enum err spool_open(struct disk *disk, struct clock *clock, struct entropy *entropy,
        const struct log *log, const struct spool_conf *conf, struct spool **ret_spool,
        struct why *why)
{
    struct spool *spool = spool_new(disk, clock, log);
    if (spool == NULL) {
        return E_NOMEM;
    }
    spool->entropy = entropy;
    spool->conf = *conf;
    enum err err = spool_begin(spool, why);
    if (err != OK) {
        spool_forget(spool);
        return err;
    }
    *ret_spool = spool;
    return OK;
}

/* META from what the segments say of themselves, where it is gone. */
static enum err meta_guess(struct spool *spool, struct meta *ret_meta, struct why *why)
{
    struct seg_header header;
    if (!slots_have_header(spool, &header)) {
        why_set(why, "there is no spool here");
        return E_NOT_FOUND;
    }
    *ret_meta = (struct meta){
        .major = FORMAT_MAJOR, .spool_id = header.spool_id, .slot_bytes = header.slot_bytes
    };
    return OK;
}

enum err spool_look(struct disk *disk, struct clock *clock, const struct log *log,
        struct spool **ret_spool, struct why *why)
{
    struct meta meta;
    struct spool *spool = spool_new(disk, clock, log);
    if (spool == NULL) {
        return E_NOMEM;
    }
    spool->is_read_only = true;
    enum err err = memory_make(spool);
    err = err == OK ? slots_list(spool, why) : err;
    err = err == OK ? meta_load(disk, &meta, why) : err;
    if (err == E_NOT_FOUND) {
        err = meta_guess(spool, &meta, why);
    } else if (err == OK) {
        err = meta_is_ours(spool, &meta, why);
    }
    if (err == OK) {
        limits_set(spool, &meta);
        err = spool_recover(spool, why);
    }
    if (err != OK) {
        spool_forget(spool);
        return err;
    }
    *ret_spool = spool;
    return OK;
}

/* So that the next start reads little. */
static void checkpoint_at_close(struct spool *spool)
{
    if (spool->written_bytes > spool->ckpt.written_bytes && checkpoint_write(spool) == OK &&
            checkpoint_sync(spool) != OK) {
        log_warn(spool->log, "spool", "no checkpoint at the end: the next start takes longer");
    }
}

void spool_close(struct spool *spool)
{
    bool is_void;
    if (spool == NULL) {
        return;
    }
    if (!spool->is_failed && spool_write(spool) == OK && spool_sync(spool, &is_void) == OK) {
        if (spool->marked_upto < spool->durable_upto && mark_write(spool) == OK &&
                active_sync(spool) != OK) {
            spool->is_failed = true;
        }
        if (!spool->is_failed && !spool_has_unsynced(spool)) {
            checkpoint_at_close(spool);
        }
    }
    spool_forget(spool);
}

void spool_each_open(struct spool *spool,
        void (*each)(void *ctx, const struct spool_open_msg *msg,
                const struct spool_open_rcpt *rcpts, uint32_t rcpt_count),
        void *ctx)
{
    struct spool_open_rcpt one[16], *many = NULL;
    struct msg *msg;
    for (uint32_t at = 0; (msg = index_walk(&spool->index, &at)) != NULL;) {
        struct spool_open_rcpt *rcpts = one;
        uint32_t count = 0;
        if (msg_open_count(msg) > COUNT_OF(one)) {
            many = many ? many : mem_new(SPOOL_RCPT_COUNT_MAX * sizeof *many);
            ASSERT(many != NULL);
            rcpts = many;
        }
        for (uint32_t i = 0; i < msg_rcpt_count(msg); i++) {
            const struct rcpt *rcpt = msg_rcpt(msg, i);
            if (spool_state_is_open(rcpt->state)) {
                rcpts[count++] = (struct spool_open_rcpt){ (uint16_t)i,
                    (enum spool_state)rcpt->state, rcpt->tries,
                    (rcpt->flags & RCPT_MAYBE_DUPLICATE) != 0, { rcpt_due_ms(rcpt) } };
            }
        }
        struct spool_open_msg open = { msg->msg_id, msg_where(msg), { msg_accepted_ms(msg) },
            msg_rcpt_count(msg), count };
        each(ctx, &open, rcpts, count);
    }
    mem_free(many);
}

/* ---- housekeeping
 * --------------------------------------------------------------------------------------- */

/* Without it rot in the last batch would look like a torn tail. */
static bool mark_step(struct spool *spool, struct mono now)
{
    bool is_due = spool->marked_upto < spool->durable_upto &&
                  now.ms >= spool->last_sync_at.ms + MARK_IDLE_MS && !MUTANT(no_idle_mark);
    if (!is_due) {
        return false;
    }
    bool is_void;
    if (mark_write(spool) != OK) {
        spool->is_broken = true;
    }
    if (spool_sync(spool, &is_void) == OK) {
        /* the mark itself need not be marked: losing it loses nothing */
        spool->marked_upto = spool->durable_upto;
    }
    return true;
}

static bool checkpoint_step(struct spool *spool, struct mono now)
{
    if (spool->ckpt.is_written) {
        return checkpoint_sync(spool) == OK;
    }
    if (!checkpoint_is_due(spool, now)) {
        return false;
    }
    return checkpoint_write(spool) == OK;
}

static struct mono tick_next(const struct spool *spool, struct mono now, bool is_busy)
{
    if (is_busy) {
        return mono_after(now, 1);
    }
    struct mono next = mono_after(now, MARK_IDLE_MS);
    if (spool->is_failed) {
        next = mono_first(next, spool->revive_at);
    }
    return next;
}

/* Half of the time at most, so that commits go on; unless slots run out. */
static bool grow_step(struct spool *spool, struct mono now)
{
    bool is_urgent = spool->free_count <= 1 && !spool->is_full;
    if (now.ms < spool->grow_at.ms && !is_urgent) {
        return spool->is_growing;
    }
    spool->is_growing = slots_grow_step(spool) && !spool->is_full;
    struct mono end = clock_mono(spool->clock);
    uint64_t rest_ms = end.ms > now.ms ? (uint64_t)(end.ms - now.ms) : 1;
    if (spool->is_full) { /* the file system said no: not at every turn again */
        rest_ms = MARK_IDLE_MS;
    }
    spool->grow_at = mono_after(end, rest_ms);
    return spool->is_growing;
}

struct mono spool_tick(struct spool *spool, struct mono now)
{
    if (spool->is_failed) {
        if (now.ms >= spool->revive_at.ms && spool_revive(spool) != OK) {
            return spool->revive_at;
        }
        return tick_next(spool, now, false);
    }
    bool is_quiet = !spool_has_unsynced(spool) && spool_batch_is_empty(spool);
    bool is_busy = false;
    if (is_quiet) {
        is_busy = mark_step(spool, now);
    }
    if (is_quiet && !spool->is_failed && !spool_has_unsynced(spool)) {
        is_busy = checkpoint_step(spool, now) || is_busy;
        is_busy = compact_step(spool, now) || is_busy;
    }
    slots_set_free(spool);
    is_busy = grow_step(spool, now) || is_busy;
    return tick_next(spool, now, is_busy);
}

void spool_consumed(struct spool *spool, uint64_t batch_seq)
{
    if (batch_seq > spool->consumed_upto) {
        spool->consumed_upto = batch_seq;
        slots_set_free(spool);
    }
}

enum err spool_find(struct spool *spool, uint64_t msg_id, struct spool_where *ret_where)
{
    const struct msg *msg = index_find(&spool->index, msg_id);
    if (msg == NULL) {
        return E_NOT_FOUND;
    }
    *ret_where = msg_where(msg);
    return OK;
}

void spool_get_stats(const struct spool *spool, struct spool_stats *ret_stats)
{
    struct spool_stats stats = {
        .accepted_msgs = spool->accepted_msgs,
        .accepted_rcpts = spool->accepted_rcpts,
        .open_msgs = spool->index.count,
        .open_rcpts = spool->index.open_rcpts,
        .syncs = spool->syncs,
        .batches = spool->batches,
        .written_bytes = spool->written_bytes,
        .free_slots = spool->free_count,
        .damaged_ranges = spool->damaged_ranges,
        .durable_upto = spool->durable_upto,
        .is_refusing = spool->is_failed ||
                       (spool->is_full && spool->free_count < slots_wanted_free(spool)),
    };
    memcpy(stats.closed_rcpts, spool->index.closed_count, sizeof stats.closed_rcpts);
    memcpy(stats.state_rcpts, spool->index.state_count, sizeof stats.state_rcpts);
    for (uint32_t i = 0; i < spool->slot_count; i++) {
        stats.slots += spool->slot[i].state != SLOT_ABSENT;
        stats.poisoned_slots += spool->slot[i].state == SLOT_POISONED;
    }
    *ret_stats = stats;
}
