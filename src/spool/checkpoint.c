/* SPDX-License-Identifier: Apache-2.0
 *
 * checkpoint.c - the index as of one moment, in ckpt.A and ckpt.B in turn, so that a start need not
 * read the whole journal.
 *
 * Written in place and never renamed: one of the two may be torn, then the other counts. So a slot
 * is free only when both start after it. A checkpoint is taken only when all that is written is
 * synced: it is the exact state at its replay point.
 */
#include "spool/spool_priv.h"

#include "core/crc32c.h"
#include "core/time.h"

enum {
    CKPT_BUFFER_BYTES = 1 << 20,
    CKPT_BODY_AT = PAGE_BYTES,
    SLOT_ENTRY_BYTES = 40,
    MSG_ENTRY_BYTES = 32,
    CKPT_RATIO = 16,
    CKPT_EARLY_BYTES = 64 << 20
};
static const char *const ckpt_names[2] = { "ckpt.A", "ckpt.B" };

enum err checkpoint_open(struct spool *spool, struct why *why)
{
    for (uint32_t i = 0; i < 2; i++) {
        enum err err = spool->disk->ops->open(
                spool->disk, ckpt_names[i], DISK_WRITE | DISK_CREATE, &spool->ckpt.file[i], why);
        if (err != OK) {
            spool->ckpt.file[i] = NULL;
            return err;
        }
    }
    return OK;
}

void checkpoint_close(struct spool *spool)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (spool->ckpt.file[i] != NULL) {
            spool->disk->ops->close(spool->ckpt.file[i]);
            spool->ckpt.file[i] = NULL;
        }
    }
}

/* ---- writing
 * -------------------------------------------------------------------------------------- */

struct ckpt_out {
    struct spool *spool;
    struct disk_file *file;
    struct buf buf;
    uint64_t at;
    uint32_t crc;
    enum err err;
};

static void out_flush(struct ckpt_out *out)
{
    struct why why = { 0 };
    struct iovec iov = { out->buf.ptr, out->buf.len };
    if (out->err == OK) {
        out->err = buf_err(&out->buf);
    }
    if (out->err != OK || out->buf.len == 0) {
        return;
    }
    out->crc = crc32c(out->crc, buf_str(&out->buf));
    out->err = out->spool->disk->ops->write(out->file, &iov, 1, out->at, &why);
    out->at += out->buf.len;
    buf_clear(&out->buf);
}

static void out_room(struct ckpt_out *out, size_t bytes)
{
    if (out->buf.len + bytes > CKPT_BUFFER_BYTES) {
        out_flush(out);
    }
}

static void slot_put(struct ckpt_out *out, uint32_t number, const struct slot *slot)
{
    out_room(out, SLOT_ENTRY_BYTES);
    buf_add_u32(&out->buf, number);
    buf_add_u32(&out->buf, slot->is_damaged ? 1 : 0);
    buf_add_u64(&out->buf, slot->seg_seq);
    buf_add_u64(&out->buf, slot->last_batch);
    buf_add_u64(&out->buf, slot->end);
    buf_add_u64(&out->buf, (uint64_t)slot->made_at.ms);
}

static void extents_put(struct ckpt_out *out, const struct msg_more *more)
{
    for (uint32_t i = 0; i < more->extent_count; i++) {
        out_room(out, STORED_EXTENT_BYTES);
        buf_add_u32(&out->buf, more->extent[i].slot);
        buf_add_u32(&out->buf, more->extent[i].batch_page);
        buf_add_u32(&out->buf, more->extent[i].len_bytes);
    }
}

/* There may be millions, and the keeper does nothing else meanwhile: each is laid out in place. */
static void msg_put(struct ckpt_out *out, struct msg *msg)
{
    struct spool_where where = msg_where(msg);
    char bytes[MSG_ENTRY_BYTES + STORED_RCPT_BYTES];
    put_u64(bytes, msg->msg_id);
    put_u64(bytes + 8, (uint64_t)msg_accepted_ms(msg));
    put_u32(bytes + 16, where.slot);
    put_u32(bytes + 20, where.record_at);
    put_u16(bytes + 24, (uint16_t)where.batch_page); /* 15 bits */
    put_u16(bytes + 26, msg->size_units);
    put_u16(bytes + 28, (uint16_t)msg_rcpt_count(msg));
    put_u16(bytes + 30, msg->has_more ? (uint16_t)msg->more->extent_count : 0);
    rcpt_encode(bytes + MSG_ENTRY_BYTES, msg_rcpt(msg, 0));
    out_room(out, sizeof bytes);
    buf_add(&out->buf, str_of(bytes, sizeof bytes));
    for (uint32_t i = 1; i < msg_rcpt_count(msg); i++) {
        out_room(out, STORED_RCPT_BYTES);
        rcpt_encode(bytes, msg_rcpt(msg, i));
        buf_add(&out->buf, str_of(bytes, STORED_RCPT_BYTES));
    }
    if (msg->has_more) {
        extents_put(out, msg->more);
    }
}

static uint64_t body_put(struct ckpt_out *out)
{
    struct spool *spool = out->spool;
    uint64_t slot_count = 0;
    for (uint32_t i = 0; i < spool->slot_count; i++) {
        if (spool->slot[i].state == SLOT_FULL || spool->slot[i].state == SLOT_POISONED) {
            slot_put(out, i, &spool->slot[i]);
            slot_count++;
        }
    }
    struct msg *msg;
    for (uint32_t at = 0; (msg = index_walk(&spool->index, &at)) != NULL;) {
        msg_put(out, msg);
    }
    out_flush(out);
    return slot_count;
}

static void header_put(struct ckpt_out *out, uint64_t slot_count)
{
    struct spool *spool = out->spool;
    uint8_t page[PAGE_BYTES] = { 0 };
    struct ckpt_header header = {
        .version = spool->ckpt.version + 1,
        .replay_seg = spool->active.seg_seq,
        .replay_at = spool->active.at,
        .last_batch = spool->written_upto,
        .replay_crc = spool->active.crc,
        .durable_upto = spool->durable_upto,
        .body_len = out->at - CKPT_BODY_AT,
        .body_crc = out->crc,
        .slot_count = slot_count,
        .msg_count = spool->index.count,
        .counter = { spool->accepted_msgs, spool->accepted_rcpts },
    };
    for (uint32_t i = 0; i < SPOOL_STATE_COUNT; i++) {
        header.counter[2 + i] = spool->index.closed_count[i];
    }
    struct why why = { 0 };
    struct iovec iov = { page, sizeof page };
    ckpt_header_encode(page, spool->spool_id, &header);
    if (out->err == OK) {
        out->err = spool->disk->ops->write(out->file, &iov, 1, 0, &why);
    }
}

static void checkpoint_failed(struct spool *spool)
{
    struct checkpointer *ckpt = &spool->ckpt;
    ckpt->replay_seg[ckpt->next] = 0; /* no slot is freed until it is good again */
    ckpt->is_written = false;
    if (!ckpt->is_failing) {
        log_error(spool->log, "spool",
                "cannot write checkpoint %s: starts take longer and slots "
                "are not used again",
                ckpt_names[ckpt->next]);
    }
    ckpt->is_failing = true;
}

enum err checkpoint_write(struct spool *spool)
{
    struct checkpointer *ckpt = &spool->ckpt;
    ASSERT(!spool_has_unsynced(spool) && !spool->is_failed);
    struct ckpt_out out = { .spool = spool, .file = ckpt->file[ckpt->next], .at = CKPT_BODY_AT };
    buf_init(&out.buf, CKPT_BUFFER_BYTES);
    uint64_t slot_count = body_put(&out);
    header_put(&out, slot_count);
    buf_done(&out.buf);
    ckpt->written_bytes = spool->written_bytes;
    ckpt->made_at = clock_mono(spool->clock);
    ckpt->last_bytes = out.at;
    if (out.err != OK) {
        checkpoint_failed(spool);
        return out.err;
    }
    ckpt->is_written = true;
    ckpt->pending_seg = spool->active.seg_seq;
    return OK;
}

enum err checkpoint_sync(struct spool *spool)
{
    struct checkpointer *ckpt = &spool->ckpt;
    struct why why = { 0 };
    ASSERT(ckpt->is_written);
    enum err err = OK;
    if (!MUTANT(checkpoint_unsynced)) {
        err = spool->disk->ops->sync(ckpt->file[ckpt->next], &why);
    }
    if (err != OK) {
        checkpoint_failed(spool);
        return err;
    }
    ckpt->is_written = false;
    ckpt->is_failing = false;
    ckpt->replay_seg[ckpt->next] = ckpt->pending_seg;
    ckpt->version++;
    if (MUTANT(checkpoint_single)) {
        ckpt->replay_seg[1 - ckpt->next] = ckpt->pending_seg;
    } else {
        ckpt->next = 1 - ckpt->next;
    }
    slots_set_free(spool);
    return OK;
}

uint64_t checkpoint_horizon(const struct spool *spool)
{
    uint64_t a = spool->ckpt.replay_seg[0], b = spool->ckpt.replay_seg[1];
    if (MUTANT(reuse_before_both_checkpoints)) {
        return a > b ? a : b;
    }
    return a < b ? a : b;
}

/* Slots wait only for checkpoints to pass them, and the pool is short. */
static bool slots_wait(const struct spool *spool)
{
    uint64_t horizon = checkpoint_horizon(spool);
    if (spool->free_count >= slots_wanted_free(spool)) {
        return false;
    }
    for (uint32_t i = 0; i < spool->slot_count; i++) {
        const struct slot *slot = &spool->slot[i];
        if (slot->state == SLOT_FULL && slot->seg_seq >= horizon && !slot->is_damaged &&
                slot->live_count == 0 && slot->pin_count == 0 &&
                slot->last_batch <= spool->consumed_upto) {
            return true;
        }
    }
    return false;
}

bool checkpoint_is_due(const struct spool *spool, struct mono now)
{
    const struct checkpointer *ckpt = &spool->ckpt;
    uint64_t since = spool->written_bytes - ckpt->written_bytes;
    uint64_t limit = ckpt->last_bytes * CKPT_RATIO;
    limit = limit < CKPT_EARLY_BYTES ? CKPT_EARLY_BYTES : limit;
    limit = limit > spool->conf.checkpoint_bytes ? spool->conf.checkpoint_bytes : limit;
    if (ckpt->is_failing && now.ms < ckpt->made_at.ms + REVIVE_MS) {
        return false;
    }
    if (since >= limit || slots_wait(spool)) {
        return true;
    }
    return since > 0 && mono_is_due(mono_after(ckpt->made_at, spool->conf.checkpoint_ms), now);
}

/* ---- reading
 * --------------------------------------------------------------------------------------- */

struct ckpt_in {
    struct disk_file *file;
    uint64_t at, end;
    char *buf;
    size_t cap, len, pos;
    bool bad;
};

static void in_fill(struct ckpt_in *in)
{
    struct why why = { 0 };
    size_t keep = in->len - in->pos;
    memmove(in->buf, in->buf + in->pos, keep);
    uint64_t want = in->cap - keep;
    want = want > in->end - in->at ? in->end - in->at : want;
    size_t len = 0;
    if (in->file->disk->ops->read(in->file, in->buf + keep, (size_t)want, in->at, &len, &why) !=
                    OK ||
            len != want) {
        in->bad = true;
        len = 0;
    }
    in->at += len;
    in->len = keep + len;
    in->pos = 0;
}

static const char *in_take(struct ckpt_in *in, size_t bytes)
{
    if (in->len - in->pos < bytes && !in->bad) {
        in_fill(in);
    }
    if (in->len - in->pos < bytes) {
        in->bad = true;
        return NULL;
    }
    in->pos += bytes;
    return in->buf + in->pos - bytes;
}

static bool body_is_whole(struct ckpt_in *in, const struct ckpt_header *header)
{
    uint32_t crc = 0;
    *in = (struct ckpt_in){ .file = in->file,
        .at = CKPT_BODY_AT,
        .buf = in->buf,
        .cap = in->cap,
        .end = CKPT_BODY_AT + header->body_len };
    while (in->at < in->end && !in->bad) {
        in->pos = in->len;
        in_fill(in);
        crc = crc32c(crc, str_of(in->buf, in->len));
    }
    return !in->bad && crc == header->body_crc;
}

static bool slot_get(struct spool *spool, struct ckpt_in *in)
{
    const char *src = in_take(in, SLOT_ENTRY_BYTES);
    if (src == NULL) {
        return false;
    }
    uint32_t number = get_u32(src);
    if (number >= spool->slot_count) {
        return number < SLOT_COUNT_MAX; /* the file is gone: missing links will tell */
    }
    struct slot *slot = &spool->slot[number];
    slot->is_damaged = get_u32(src + 4) & 1;
    slot->seg_seq = get_u64(src + 8);
    slot->last_batch = get_u64(src + 16);
    slot->end = get_u64(src + 24);
    slot->made_at.ms = (int64_t)get_u64(src + 32);
    return true;
}

static bool rcpts_get(struct spool *spool, struct ckpt_in *in, struct msg *msg)
{
    for (uint32_t i = 0; i < msg_rcpt_count(msg); i++) {
        const char *src = in_take(in, STORED_RCPT_BYTES);
        if (src == NULL || !rcpt_decode(src, msg_rcpt(msg, i))) {
            return false;
        }
    }
    return msg_count_open(&spool->index, msg);
}

static void live_add(struct spool *spool, uint32_t slot, uint64_t bytes)
{
    if (slot < spool->slot_count) {
        spool->slot[slot].live_count++;
        spool->slot[slot].live_bytes += bytes;
    }
}

static bool extents_get(struct spool *spool, struct ckpt_in *in, struct msg *msg)
{
    live_add(spool, msg_slot(msg), (uint64_t)msg->size_units * MSG_SIZE_UNIT);
    for (uint32_t i = 0; msg->has_more && i < msg->more->extent_count; i++) {
        const char *src = in_take(in, STORED_EXTENT_BYTES);
        if (src == NULL) {
            return false;
        }
        msg->more->extent[i] =
                (struct spool_extent){ get_u32(src), get_u32(src + 4), get_u32(src + 8) };
        live_add(spool, msg->more->extent[i].slot, msg->more->extent[i].len_bytes);
    }
    return true;
}

static enum err msg_get(struct spool *spool, struct ckpt_in *in)
{
    const char *src = in_take(in, MSG_ENTRY_BYTES);
    if (src == NULL) {
        return E_CORRUPT;
    }
    uint32_t rcpt_count = get_u16(src + 28), extent_count = get_u16(src + 30);
    struct spool_where where = { get_u32(src + 16), get_u16(src + 24), get_u32(src + 20) };
    struct spool_place place;
    if (!spool_where_pack(&where, &place) || rcpt_count == 0 || rcpt_count > SPOOL_RCPT_COUNT_MAX ||
            get_u64(src) == 0 || extent_count > SPOOL_EXTENT_COUNT_MAX ||
            index_find(&spool->index, get_u64(src))) {
        return E_CORRUPT;
    }
    struct msg_more *more = NULL;
    if (rcpt_count > 1 || extent_count > 0) {
        more = msg_more_new(rcpt_count, extent_count);
        if (more == NULL) {
            return E_NOMEM;
        }
    }
    if (index_reserve(&spool->index, 1) != OK) {
        msg_more_free(more);
        return E_NOMEM;
    }
    struct msg *msg = index_add(&spool->index, get_u64(src));
    msg_set_accepted(msg, (int64_t)get_u64(src + 8));
    msg->place = place;
    msg->size_units = get_u16(src + 26);
    if (more != NULL) {
        msg->has_more = true;
        msg->more = more;
    }
    return rcpts_get(spool, in, msg) && extents_get(spool, in, msg) ? OK : E_CORRUPT;
}

static enum err body_get(struct spool *spool, struct ckpt_in *in, const struct ckpt_header *header)
{
    *in = (struct ckpt_in){ .file = in->file,
        .at = CKPT_BODY_AT,
        .buf = in->buf,
        .cap = in->cap,
        .end = CKPT_BODY_AT + header->body_len };
    if (header->msg_count > header->body_len / (MSG_ENTRY_BYTES + STORED_RCPT_BYTES)) {
        return E_CORRUPT;
    }
    if (header->msg_count > NUMSET_COUNT_MAX ||
            index_expect(&spool->index, (uint32_t)header->msg_count) != OK) {
        return E_NOMEM;
    }
    for (uint64_t i = 0; i < header->slot_count; i++) {
        if (!slot_get(spool, in)) {
            return E_CORRUPT;
        }
    }
    for (uint64_t i = 0; i < header->msg_count; i++) {
        enum err err = msg_get(spool, in);
        if (err != OK) {
            return err;
        }
    }
    spool->accepted_msgs = header->counter[0];
    spool->accepted_rcpts = header->counter[1];
    for (uint32_t i = 0; i < SPOOL_STATE_COUNT; i++) {
        spool->index.closed_count[i] = header->counter[2 + i];
    }
    return OK;
}

/* Sync first, read after, and not from the cache: after a failed sync the cache lies. */
static enum err file_prepare(struct spool *spool, uint32_t which, struct disk_file **ret_file)
{
    struct why why = { 0 };
    if (!MUTANT(recovery_without_sync) && !MUTANT(sync_after_reading) && !spool->is_read_only &&
            spool->disk->ops->sync(spool->ckpt.file[which], &why) != OK) {
        log_error(spool->log, "spool", "sync of %s failed: %s", ckpt_names[which], why.text);
    }
    return spool->disk->ops->open(spool->disk, ckpt_names[which], DISK_UNCACHED, ret_file, &why);
}

static bool header_get(struct ckpt_in *in, uint64_t spool_id, struct ckpt_header *ret_header)
{
    struct why why = { 0 };
    uint8_t bytes[CKPT_HEADER_BYTES];
    size_t len = 0;
    uint64_t size = 0;
    return in->file->disk->ops->read(in->file, bytes, sizeof bytes, 0, &len, &why) == OK &&
           len == sizeof bytes && ckpt_header_decode(bytes, spool_id, ret_header) &&
           in->file->disk->ops->size(in->file, &size, &why) == OK && size >= CKPT_BODY_AT &&
           ret_header->body_len <= size - CKPT_BODY_AT;
}

/* One of the two files, open and found whole; in->file is NULL where it cannot be opened. */
static enum err ckpt_examine(struct spool *spool, uint32_t which, struct ckpt_in *in,
        struct ckpt_header *ret_header, bool *ret_is_good)
{
    *ret_is_good = false;
    if (file_prepare(spool, which, &in->file) != OK) {
        in->file = NULL;
        return OK;
    }
    if (!header_get(in, spool->spool_id, ret_header)) {
        return OK;
    }
    uint64_t need = ret_header->body_len > MSG_ENTRY_BYTES ? ret_header->body_len : MSG_ENTRY_BYTES;
    in->cap = need < CKPT_BUFFER_BYTES ? (size_t)need : CKPT_BUFFER_BYTES;
    in->buf = mem_new(in->cap);
    if (in->buf == NULL) {
        return E_NOMEM;
    }
    *ret_is_good = body_is_whole(in, ret_header);
    return OK;
}

static void ckpt_in_done(struct ckpt_in *in)
{
    if (in->file != NULL) {
        in->file->disk->ops->close(in->file);
    }
    mem_free(in->buf);
}

enum err checkpoint_load(struct spool *spool, struct ckpt_header *ret_header)
{
    struct checkpointer *ckpt = &spool->ckpt;
    struct ckpt_header header[2] = { 0 };
    struct ckpt_in in[2] = { 0 };
    bool is_good[2] = { false, false };
    enum err err = OK;
    for (uint32_t i = 0; err == OK && i < 2; i++) {
        err = ckpt_examine(spool, i, &in[i], &header[i], &is_good[i]);
        ckpt->replay_seg[i] = is_good[i] ? header[i].replay_seg : 0;
    }
    uint32_t best = is_good[1] && (!is_good[0] || header[1].version > header[0].version);
    if (err == OK && !is_good[best]) {
        err = E_NOT_FOUND;
    }
    if (err == OK) {
        err = body_get(spool, &in[best], &header[best]);
        ckpt->version = header[best].version;
        ckpt->next = MUTANT(checkpoint_single) ? 0 : 1 - best;
        ckpt->last_bytes = header[best].body_len;
        *ret_header = header[best];
    }
    ckpt_in_done(&in[0]);
    ckpt_in_done(&in[1]);
    return err;
}
