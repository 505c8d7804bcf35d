/* SPDX-License-Identifier: Apache-2.0
 *
 * view.c - reading messages from any thread, while the owner writes.
 *
 * Nothing is locked and nothing is pinned: a record carries its message's number and a checksum
 * seeded with the spool's secret, so that a slot used again meanwhile is noticed (E_CORRUPT: ask
 * where the message lies now). view_next.c reads the journal in order.
 */
#include "spool/view_next_priv.h"

#include "core/crc32c.h"

enum { GUESS_BYTES = 8192, PART_BYTES = 64 << 10 };

/* ---- files
 * ------------------------------------------------------------------------------------------- */

/* The handles of a range of slots; made by whoever comes first. */
static struct view_files *view_files(struct spool_view *view, uint32_t slot)
{
    _Atomic(struct view_files *) *place = &view->files[slot / VIEW_FILES_COUNT];
    struct view_files *files = atomic_load_explicit(place, memory_order_acquire);
    struct view_files *expected = NULL;
    if (files != NULL) {
        return files;
    }
    files = mem_new(sizeof *files);
    if (files != NULL && !atomic_compare_exchange_strong(place, &expected, files)) {
        mem_free(files);
        return expected;
    }
    return files;
}

/* A slot that is not there was removed; one that cannot be opened for want of a descriptor is no
 * damage. */
static enum err view_file_open(
        struct spool_view *view, uint32_t slot, struct disk_file **ret_file, struct why *why)
{
    char name[NAME_BYTES_MAX];
    slot_name(name, slot);
    enum err err = view->disk->ops->open(view->disk, name, 0, ret_file, why);
    return err == E_NOT_FOUND ? E_CORRUPT : err == E_FULL ? E_NOMEM : err;
}

static enum err view_file(struct spool_view *view, uint32_t slot, struct disk_file **ret_file,
        bool *ret_is_own, struct why *why)
{
    struct disk_file *expected = NULL;
    /* names come and go on copy-on-write: a kept handle would read a removed file */
    *ret_is_own = view->is_cow;
    if (view->is_cow) {
        return view_file_open(view, slot, ret_file, why);
    }
    if (slot >= SLOT_COUNT_MAX) {
        return E_CORRUPT;
    }
    struct view_files *files = view_files(view, slot);
    if (files == NULL) {
        return E_NOMEM;
    }
    _Atomic(struct disk_file *) *place = &files->file[slot % VIEW_FILES_COUNT];
    *ret_file = atomic_load_explicit(place, memory_order_acquire);
    if (*ret_file != NULL) {
        return OK;
    }
    enum err err = view_file_open(view, slot, ret_file, why);
    if (err == OK && !atomic_compare_exchange_strong(place, &expected, *ret_file)) {
        view->disk->ops->close(*ret_file);
        *ret_file = expected;
    }
    return err;
}

static void view_file_done(struct spool_view *view, struct disk_file *file, bool is_own)
{
    if (is_own) {
        view->disk->ops->close(file);
    }
}

enum err view_read(struct spool_view *view, uint32_t slot, uint64_t at, void *dst, size_t len,
        size_t *ret_len, struct why *why)
{
    bool is_own;
    struct disk_file *file;
    enum err err = view_file(view, slot, &file, &is_own, why);
    if (err != OK) {
        return err;
    }
    err = view->disk->ops->read(file, dst, len, at, ret_len, why);
    view_file_done(view, file, is_own);
    return err;
}

/* ---- open and close
 * ------------------------------------------------------------------------------------ */

static enum err view_new(struct disk *disk, struct spool_view **ret_view)
{
    struct spool_view *view = mem_new(sizeof *view);
    struct disk_space space;
    struct why why;
    if (view == NULL) {
        return E_NOMEM;
    }
    view->disk = disk;
    view->is_cow = disk->ops->space(disk, &space, &why) == OK && space.kind == DISK_COPY_ON_WRITE;
    *ret_view = view;
    return OK;
}

enum err spool_view_of(struct spool *spool, struct disk *disk, struct spool_view **ret_view)
{
    enum err err = view_new(disk, ret_view);
    if (err == OK) {
        (*ret_view)->shared = shared_take(spool->shared);
        (*ret_view)->spool_id = spool->spool_id;
        (*ret_view)->slot_bytes = spool->slot_bytes;
    }
    return err;
}

enum err spool_view_open(struct disk *disk, struct spool_view **ret_view, struct why *why)
{
    struct meta meta;
    enum err err = meta_load(disk, &meta, why);
    if (err == OK && (meta.major != FORMAT_MAJOR || meta.incompat != 0)) {
        why_set(why, "the spool has format %u, which this version does not read", meta.major);
        err = E_UNSUPPORTED;
    }
    if (err == OK) {
        err = view_new(disk, ret_view);
    }
    if (err == OK) {
        (*ret_view)->spool_id = meta.spool_id;
        (*ret_view)->slot_bytes = meta.slot_bytes;
    }
    return err;
}

void spool_view_close(struct spool_view *view)
{
    if (view == NULL) {
        return;
    }
    for (uint32_t i = 0; i < COUNT_OF(view->files); i++) {
        struct view_files *files = atomic_load(&view->files[i]);
        for (uint32_t k = 0; files != NULL && k < VIEW_FILES_COUNT; k++) {
            struct disk_file *file = atomic_load(&files->file[k]);
            if (file != NULL) {
                view->disk->ops->close(file);
            }
        }
        mem_free(files);
    }
    journal_done(view);
    shared_give(view->shared);
    mem_free(view);
}

/* ---- one message
 * ------------------------------------------------------------------------------------------ */

static enum err damaged(struct why *why, uint64_t msg_id, const char *what)
{
    why_set(why, "message %llx: %s", (unsigned long long)msg_id, what);
    return E_CORRUPT;
}

static uint64_t batch_at(uint32_t page)
{
    return (uint64_t)page * PAGE_BYTES;
}

/* The record's length, if these bytes begin the record of that message; else 0. */
static size_t stored_len(const uint8_t *bytes, size_t len, uint64_t msg_id)
{
    if (len < RECORD_HEADER_BYTES || (bytes[0] != SPOOL_ACCEPT && bytes[0] != SPOOL_MOVE) ||
            get_u64(bytes + 8) != msg_id) {
        return 0;
    }
    size_t size = RECORD_HEADER_BYTES + (size_t)get_u32(bytes + 4);
    return size <= SPOOL_BATCH_BYTES_MAX ? size : 0;
}

uint64_t view_record_at(const struct spool_where *where)
{
    return batch_at(where->batch_page) + BATCH_HEADER_BYTES + where->record_at;
}

bool view_stored_parse(
        const struct spool_view *view, struct str bytes, uint64_t msg_id, struct stored *ret_stored)
{
    const uint8_t *record = (const uint8_t *)bytes.ptr;
    size_t size = stored_len(record, bytes.len, msg_id);
    return size > 0 && size <= bytes.len && stored_is_whole(record, size, view->spool_id) &&
           stored_decode(
                   str_of(bytes.ptr + RECORD_HEADER_BYTES, size - RECORD_HEADER_BYTES), ret_stored);
}

enum err view_stored_read(struct spool_view *view, const struct spool_where *where, uint64_t msg_id,
        struct view_stored *ret_stored, struct why *why)
{
    uint8_t guess[GUESS_BYTES];
    size_t len = 0;
    uint64_t at = view_record_at(where);
    enum err err = view_read(view, where->slot, at, guess, sizeof guess, &len, why);
    if (err != OK) {
        return err;
    }
    size_t size = stored_len(guess, len, msg_id);
    if (size == 0) {
        return damaged(why, msg_id, "its record is not where it should be");
    }
    char *bytes = mem_new(size);
    if (bytes == NULL) {
        return E_NOMEM;
    }
    if (size <= len) {
        memcpy(bytes, guess, size);
    } else {
        err = view_read(view, where->slot, at, bytes, size, &len, why);
    }
    struct stored stored = { 0 };
    if (err == OK &&
            (len < size || !view_stored_parse(view, str_of(bytes, size), msg_id, &stored))) {
        err = damaged(why, msg_id, "its record is damaged");
    }
    if (err != OK) {
        mem_free(bytes);
        return err;
    }
    *ret_stored = (struct view_stored){ bytes, stored };
    return OK;
}

void view_stored_done(struct view_stored *stored)
{
    mem_free(stored->bytes);
    stored->bytes = NULL;
}

/* A part of content goes to a blob or a buffer. */
struct sink {
    struct blob *blob;
    struct buf *buf;
    uint32_t crc;
};

static enum err sink_add(struct sink *sink, struct str part)
{
    if (sink->blob != NULL) {
        sink->crc = crc32c(sink->crc, part);
        return blob_add(sink->blob, part);
    }
    buf_add(sink->buf, part);
    return buf_err(sink->buf);
}

static enum err range_read(struct spool_view *view, uint32_t slot, uint64_t at, uint64_t len,
        struct sink *sink, struct why *why)
{
    size_t part_bytes = len < PART_BYTES ? (size_t)len : PART_BYTES;
    char *part = len > 0 ? mem_new(part_bytes) : NULL;
    enum err err = part || len == 0 ? OK : E_NOMEM;
    while (err == OK && len > 0) {
        size_t want = len < part_bytes ? (size_t)len : part_bytes;
        size_t got = 0;
        err = view_read(view, slot, at, part, want, &got, why);
        if (err == OK && got != want) {
            why_set(why, "slot %u ends too early", slot);
            err = E_CORRUPT;
        }
        err = err == OK ? sink_add(sink, str_of(part, want)) : err;
        at += want;
        len -= want;
    }
    mem_free(part);
    return err;
}

static uint64_t extent_at(const struct spool_extent *extent)
{
    return batch_at(extent->batch_page) + BATCH_HEADER_BYTES + RECORD_HEADER_BYTES +
           BODY_PAYLOAD_BYTES;
}

/* The first max_bytes of the content. */
static enum err content_read(struct spool_view *view, const struct spool_where *where,
        const struct stored *stored, uint64_t max_bytes, struct sink *sink, struct why *why)
{
    uint64_t left = stored->content_bytes < max_bytes ? stored->content_bytes : max_bytes;
    if (stored->extent_count == 0) {
        uint64_t at = batch_at(where->batch_page) + stored->data_at;
        return range_read(view, where->slot, at, left, sink, why);
    }
    enum err err = OK;
    for (uint32_t i = 0; err == OK && left > 0 && i < stored->extent_count; i++) {
        struct spool_extent extent = stored_extent(stored, i);
        uint64_t len = extent.len_bytes < left ? extent.len_bytes : left;
        err = range_read(view, extent.slot, extent_at(&extent), len, sink, why);
        left -= len;
    }
    return err;
}

static enum err content_blob(struct spool_view *view, const struct spool_where *where,
        uint64_t msg_id, const struct stored *stored, struct blob_budget *budget,
        struct blob **ret_content, struct why *why)
{
    struct sink sink = { .blob = blob_new(budget, (size_t)stored->content_bytes) };
    if (sink.blob == NULL) {
        return E_NOMEM;
    }
    enum err err = content_read(view, where, stored, UINT64_MAX, &sink, why);
    if (err == OK &&
            (sink.crc != stored->content_crc || sink.blob->size_bytes != stored->content_bytes)) {
        err = damaged(why, msg_id, "its content is damaged");
    }
    if (err != OK) {
        blob_give(sink.blob);
        return err == E_FULL ? E_NOMEM : err;
    }
    *ret_content = sink.blob;
    return OK;
}

static enum err envelope_blob(
        const struct stored *stored, struct blob_budget *budget, struct blob **ret_envelope)
{
    struct blob *blob = blob_copy(budget, stored->envelope);
    if (blob == NULL) {
        return E_NOMEM;
    }
    *ret_envelope = blob;
    return OK;
}

enum err spool_view_message(struct spool_view *view, const struct spool_where *where,
        uint64_t msg_id, struct blob_budget *budget, struct blob **ret_envelope,
        struct blob **ret_content, struct why *why)
{
    struct view_stored read;
    struct blob *envelope = NULL, *content = NULL;
    enum err err = view_stored_read(view, where, msg_id, &read, why);
    if (err != OK) {
        return err;
    }
    if (ret_envelope != NULL) {
        err = envelope_blob(&read.stored, budget, &envelope);
    }
    if (err == OK && ret_content != NULL) {
        err = content_blob(view, where, msg_id, &read.stored, budget, &content, why);
    }
    view_stored_done(&read);
    if (err != OK) {
        blob_give(envelope);
        return err;
    }
    if (ret_envelope != NULL) {
        *ret_envelope = envelope;
    }
    if (ret_content != NULL) {
        *ret_content = content;
    }
    return OK;
}

enum err spool_view_head(struct spool_view *view, const struct spool_where *where, uint64_t msg_id,
        size_t max_bytes, struct buf *ret_head, struct why *why)
{
    struct view_stored read;
    enum err err = view_stored_read(view, where, msg_id, &read, why);
    if (err != OK) {
        return err;
    }
    struct sink sink = { .buf = ret_head };
    err = content_read(view, where, &read.stored, max_bytes, &sink, why);
    view_stored_done(&read);
    return err;
}

enum err view_extent(struct spool_view *view, const struct spool_extent *extent,
        struct blob_budget *budget, struct blob **ret_chunk, struct why *why)
{
    struct sink sink = { .blob = blob_new(budget, extent->len_bytes) };
    if (sink.blob == NULL) {
        return E_NOMEM;
    }
    enum err err = range_read(view, extent->slot, extent_at(extent), extent->len_bytes, &sink, why);
    if (err != OK) {
        blob_give(sink.blob);
        return err;
    }
    *ret_chunk = sink.blob;
    return OK;
}
