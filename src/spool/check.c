/* SPDX-License-Identifier: Apache-2.0
 *
 * check.c - `outpost spool check`: what a start would find, and whether every byte that counts can
 * be read; without changing one. Salvage writes each open message as .eml with its envelope beside.
 *
 * It does what recovery does (recover.c), then walks each used segment from its start, then reads
 * each open message.
 */
#include "spool/scan_priv.h"
#include "spool/spool_priv.h"
#include "spool/view_priv.h"

#include "core/str.h"
#include "core/ulid.h"

#include <stdarg.h>

enum { CHECK_READ_BYTES = 1 << 20, SAVE_IOV_COUNT = 64 };

struct check {
    struct spool *spool;
    struct spool_view *view;
    struct disk *salvage;
    bool is_deep;
    void (*say)(void *ctx, struct str line);
    void *ctx;
    struct spool_check found;
    struct scan scan;
};

static void tell(struct check *check, const char *format, ...) PRINTF_LIKE(2, 3);
static void tell(struct check *check, const char *format, ...)
{
    char line[512];
    va_list args;
    if (check->say == NULL) {
        return;
    }
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (len > 0) {
        check->say(check->ctx,
                str_of(line, (size_t)len < sizeof line ? (size_t)len : sizeof line - 1));
    }
}

/* Recovery's own findings become lines. */
static void log_to_say(void *ctx, enum log_level level, struct str line)
{
    struct check *check = ctx;
    if (level >= LOG_WARN_ && check->say != NULL) {
        check->say(check->ctx, line);
    }
}

/* ---- segments
 * ------------------------------------------------------------------------------------- */

static void batch_count(struct check *check, const struct scan_batch *batch)
{
    check->found.batches++;
    check->found.records += batch->header.record_count;
}

/* From the header page to where the segment ended. */
static void segment_walk(struct check *check, uint32_t number, struct disk_file *file)
{
    const struct slot *slot = &check->spool->slot[number];
    uint64_t end = slot->end;
    uint64_t bad_from = 0;
    scan_file(&check->scan, file, check->spool->slot_bytes);
    for (uint64_t at = PAGE_BYTES; at < end;) {
        struct scan_batch batch;
        if (scan_batch(&check->scan, at, slot->seg_seq, check->is_deep, &batch) == OK) {
            batch_count(check, &batch);
            at = batch.next_at;
            bad_from = 0;
            continue;
        }
        if (bad_from == 0) {
            tell(check, "slot %u, byte %llu: no whole batch where one should be", number,
                    (unsigned long long)at);
            check->found.damages++;
            bad_from = at;
        }
        at += PAGE_BYTES;
    }
}

static enum err segments_walk(struct check *check)
{
    struct spool *spool = check->spool;
    scan_init(&check->scan, NULL, spool->spool_id, 0, CHECK_READ_BYTES);
    for (uint32_t i = 0; i < spool->slot_count; i++) {
        char name[NAME_BYTES_MAX];
        struct disk_file *file;
        struct why why = { 0 };
        check->found.slots += spool->slot[i].state != SLOT_ABSENT;
        if (spool->slot[i].state != SLOT_FULL || spool->slot[i].seg_seq == 0) {
            continue;
        }
        slot_name(name, i);
        if (spool->disk->ops->open(spool->disk, name, DISK_UNCACHED, &file, &why) != OK) {
            tell(check, "%s: %s", name, why.text);
            check->found.damages++;
            continue;
        }
        segment_walk(check, i, file);
        spool->disk->ops->close(file);
    }
    scan_done(&check->scan);
    return OK;
}

/* ---- salvage
 * ----------------------------------------------------------------------------------------- */

static void json_str(struct buf *dst, const char *name, struct str value)
{
    static const char hex[] = "0123456789abcdef";
    buf_addf(dst, "\"%s\": \"", name);
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = (uint8_t)value.ptr[i];
        if (c == '"' || c == '\\') {
            buf_add_char(dst, '\\');
            buf_add_char(dst, (char)c);
        } else if (c < 0x20 || c == 0x7f) {
            buf_add_c(dst, "\\u00");
            buf_add_char(dst, hex[c >> 4]);
            buf_add_char(dst, hex[c & 15]);
        } else {
            buf_add_char(dst, (char)c);
        }
    }
    buf_add_c(dst, "\"");
}

static void json_rcpts(struct buf *dst, const struct spool_envelope *envelope, struct msg *msg)
{
    struct cur cur = { .rest = envelope->rcpts };
    struct str address;
    buf_add_c(dst, "  \"recipients\": [");
    for (uint32_t i = 0; spool_rcpt_next(&cur, &address) && i < msg_rcpt_count(msg); i++) {
        buf_add_c(dst, i ? ",\n    { " : "\n    { ");
        json_str(dst, "address", address);
        buf_add_c(dst, ", ");
        json_str(dst, "state",
                str_from_c(spool_state_name((enum spool_state)msg_rcpt(msg, i)->state)));
        buf_add_c(dst, " }");
    }
    buf_add_c(dst, "\n  ]\n");
}

static void json_envelope(struct buf *dst, const struct spool_envelope *envelope, struct msg *msg)
{
    char ulid[ULID_TEXT_LEN + 1];
    ulid_format(envelope->ulid, ulid);
    buf_add_c(dst, "{\n  ");
    json_str(dst, "id", str_from_c(ulid));
    buf_add_c(dst, ",\n  ");
    json_str(dst, "sender", envelope->sender);
    buf_add_c(dst, ",\n  ");
    json_str(dst, "stream", envelope->stream);
    buf_add_c(dst, ",\n  ");
    json_str(dst, "tag", envelope->tag);
    buf_add_c(dst, ",\n  ");
    json_str(dst, "meta", envelope->meta);
    buf_add_c(dst, ",\n  ");
    json_str(dst, "credential", envelope->credential);
    buf_add_c(dst, ",\n");
    json_rcpts(dst, envelope, msg);
    buf_add_c(dst, "}\n");
}

static enum err save(struct disk *disk, const char *name, const struct iovec *iov,
        uint32_t iov_count, uint64_t *offset, struct why *why)
{
    struct disk_file *file;
    enum err err = disk->ops->open(disk, name, DISK_WRITE | DISK_CREATE, &file, why);
    if (err != OK) {
        return err;
    }
    err = disk->ops->write(file, iov, iov_count, *offset, why);
    for (uint32_t i = 0; i < iov_count; i++) {
        *offset += iov[i].iov_len;
    }
    disk->ops->close(file);
    return err;
}

static enum err save_blob(struct disk *disk, const char *name, struct blob *blob, struct why *why)
{
    struct iovec iov[SAVE_IOV_COUNT];
    uint64_t offset = 0;
    uint32_t count = 0;
    enum err err = OK;
    for (struct blob_chunk *chunk = blob->first; chunk != NULL && err == OK; chunk = chunk->next) {
        iov[count++] = (struct iovec){ chunk->data, chunk->len };
        if (count == SAVE_IOV_COUNT || chunk->next == NULL) {
            err = save(disk, name, iov, count, &offset, why);
            count = 0;
        }
    }
    return err;
}

static enum err salvage_msg(struct check *check, struct msg *msg, struct blob *content,
        const struct spool_envelope *envelope, struct why *why)
{
    char ulid[ULID_TEXT_LEN + 1], name[ULID_TEXT_LEN + 8];
    struct buf json;
    uint64_t offset = 0;
    ulid_format(envelope->ulid, ulid);
    fmt(name, sizeof name, "%s.eml", ulid);
    enum err err = save_blob(check->salvage, name, content, why);
    if (err != OK) {
        return err;
    }
    buf_init(&json, 4 * SPOOL_ENVELOPE_BYTES_MAX);
    json_envelope(&json, envelope, msg);
    fmt(name, sizeof name, "%s.json", ulid);
    struct iovec iov = { json.ptr, json.len };
    err = buf_err(&json) != OK ? buf_err(&json) : save(check->salvage, name, &iov, 1, &offset, why);
    buf_done(&json);
    return err;
}

/* ---- messages
 * ------------------------------------------------------------------------------------------ */

static enum err msg_check(struct check *check, struct msg *msg, struct why *why)
{
    struct spool_where where = msg_where(msg);
    struct view_stored read;
    struct spool_envelope envelope;
    struct blob *content = NULL;
    enum err err = view_stored_read(check->view, &where, msg->msg_id, &read, why);
    if (err != OK) {
        return err;
    }
    if (spool_envelope_decode(read.stored.envelope, &envelope) != OK) {
        why_set(why, "message %llx: its envelope makes no sense", (unsigned long long)msg->msg_id);
        err = E_CORRUPT;
    }
    if (err == OK && (check->is_deep || check->salvage != NULL)) {
        err = spool_view_message(check->view, &where, msg->msg_id, NULL, NULL, &content, why);
    }
    if (err == OK && check->salvage != NULL) {
        err = salvage_msg(check, msg, content, &envelope, why);
    }
    blob_give(content);
    view_stored_done(&read);
    return err;
}

static enum err msgs_check(struct check *check, struct why *why)
{
    struct msg *msg;
    for (uint32_t at = 0; (msg = index_walk(&check->spool->index, &at)) != NULL;) {
        struct why msg_why = { 0 };
        enum err err = msg_check(check, msg, &msg_why);
        check->found.messages_open++;
        check->found.rcpts_open += msg_open_count(msg);
        if (err == E_CORRUPT || err == E_IO) {
            tell(check, "%s", msg_why.text);
            check->found.damages++;
        } else if (err != OK) {
            why_set(why, "%s", msg_why.text);
            return err;
        }
    }
    return OK;
}

static enum err check_all(struct check *check, struct why *why)
{
    struct spool *spool = check->spool;
    check->found.damages = spool->damaged_ranges;
    check->found.torn_tail_bytes = spool->torn_tail_bytes;
    if (spool->odd_records > 0) {
        tell(check, "%llu records do not fit the state of their recipients; they are ignored",
                (unsigned long long)spool->odd_records);
    }
    enum err err = spool_view_of(spool, spool->disk, &check->view);
    err = err == OK ? segments_walk(check) : err;
    err = err == OK ? msgs_check(check, why) : err;
    if (err == OK && check->salvage != NULL) {
        err = check->salvage->ops->sync_dir(check->salvage, why);
    }
    return err;
}

static struct mono no_mono(struct clock *clock)
{
    (void)clock;
    return (struct mono){ 0 };
}
static struct wall no_wall(struct clock *clock)
{
    (void)clock;
    return (struct wall){ 0 };
}

enum err spool_check_run(struct disk *disk, bool is_deep, struct disk *salvage,
        void (*say)(void *ctx, struct str line), void *ctx, struct spool_check *ret_check,
        struct why *why)
{
    struct clock clock = { no_mono, no_wall }; /* nothing here depends on time */
    struct check check = { .salvage = salvage, .is_deep = is_deep, .say = say, .ctx = ctx };
    struct log log = { LOG_WARN_, log_to_say, &check };
    enum err err = spool_look(disk, &clock, &log, &check.spool, why);
    if (err != OK) {
        return err;
    }
    err = check_all(&check, why);
    spool_view_close(check.view);
    spool_forget(check.spool);
    if (err != OK) {
        return err;
    }
    *ret_check = check.found;
    if (check.found.damages > 0) {
        return E_CORRUPT;
    }
    return check.found.torn_tail_bytes > 0 ? E_EOF : OK;
}
