/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.c - reading the batches of one slot through a window; see scan_priv.h.
 *
 * Where a large read fails, exactly the bytes wanted are tried once more, so that one bad sector
 * hides only what lies in it.
 */
#include "spool/scan_priv.h"

#include "core/crc32c.h"
#include "spool/mutant_priv.h"

enum { SCAN_BYTES_MAX = SPOOL_BATCH_BYTES_MAX + 2 * PAGE_BYTES };

void scan_init(struct scan *scan, struct disk_file *file, uint64_t spool_id, uint64_t end,
        size_t read_bytes)
{
    *scan = (struct scan){
        .file = file, .spool_id = spool_id, .end = end, .read_bytes = read_bytes
    };
}

void scan_done(struct scan *scan)
{
    mem_free(scan->window);
    *scan = (struct scan){ 0 };
}

void scan_file(struct scan *scan, struct disk_file *file, uint64_t end)
{
    scan->file = file;
    scan->end = end;
    scan->window_len = 0;
}

static enum err window_room(struct scan *scan, size_t bytes)
{
    if (bytes <= scan->window_cap) {
        return OK;
    }
    if (bytes > SCAN_BYTES_MAX) {
        return E_TOO_BIG;
    }
    char *window = mem_new(bytes);
    if (window == NULL) {
        return E_NOMEM;
    }
    mem_free(scan->window);
    scan->window = window;
    scan->window_cap = bytes;
    scan->window_len = 0;
    return OK;
}

static enum err window_read(struct scan *scan, uint64_t at, size_t bytes)
{
    struct why why = { 0 };
    size_t len = 0;
    enum err err = scan->file->disk->ops->read(scan->file, scan->window, bytes, at, &len, &why);
    scan->window_at = at;
    scan->window_len = err == OK ? len : 0;
    return err;
}

const uint8_t *scan_bytes(struct scan *scan, uint64_t at, size_t len)
{
    scan->was_io_error = false;
    if (at > scan->end || len > scan->end - at) {
        return NULL;
    }
    if (at < scan->window_at || at + len > scan->window_at + scan->window_len) {
        uint64_t from = at / PAGE_BYTES * PAGE_BYTES;
        size_t exact = (size_t)(at - from) + len;
        size_t bytes = exact < scan->read_bytes ? scan->read_bytes : exact;
        bytes = bytes > scan->end - from ? (size_t)(scan->end - from) : bytes;
        if (window_room(scan, bytes) != OK) {
            scan->lacked_memory = true; /* scan_batch asks for no more than SCAN_BYTES_MAX */
            return NULL;
        }
        if (window_read(scan, from, bytes) != OK && window_read(scan, from, exact) != OK) {
            scan->was_io_error = true;
            return NULL;
        }
    }
    if (at + len > scan->window_at + scan->window_len) {
        return NULL; /* the file is shorter */
    }
    return (const uint8_t *)scan->window + (at - scan->window_at);
}

bool scan_header(struct scan *scan, uint64_t at, struct batch_header *ret_header)
{
    const uint8_t *bytes = scan_bytes(scan, at, BATCH_HEADER_BYTES);
    struct batch_header header;
    if (bytes == NULL || !batch_header_decode(bytes, scan->spool_id, &header) ||
            header.page != at / PAGE_BYTES) {
        return false;
    }
    *ret_header = header;
    return true;
}

/* Every record whole, as many as the header says. */
static bool head_is_sound(struct str head, uint32_t record_count)
{
    struct record_view record;
    uint32_t at = 0, count = 0;
    while (record_next(head, &at, &record)) {
        count++;
    }
    return at == head.len && count == record_count;
}

static bool data_is_whole(const uint8_t *batch, const struct batch_header *header, struct str head)
{
    struct record_view record;
    struct body_piece piece;
    uint64_t end = BATCH_HEADER_BYTES + (uint64_t)header->payload_len;
    for (uint32_t at = 0; record_next(head, &at, &record);) {
        if (!record_data(&record, &piece)) {
            continue;
        }
        if (piece.data_at > end || piece.len > end - piece.data_at) {
            return false;
        }
        if (!MUTANT(crc_of_header_only) &&
                crc32c(0, str_of((const char *)batch + piece.data_at, piece.len)) != piece.crc) {
            return false;
        }
    }
    return true;
}

enum err scan_batch(struct scan *scan, uint64_t at, uint64_t seg_seq, bool is_deep,
        struct scan_batch *ret_batch)
{
    struct batch_header header;
    if (!scan_header(scan, at, &header)) {
        return scan->was_io_error ? E_IO : E_CORRUPT;
    }
    if (header.seg_seq != seg_seq && !MUTANT(no_segment_check)) {
        return E_CORRUPT;
    }
    uint64_t len = BATCH_HEADER_BYTES + (uint64_t)(is_deep ? header.payload_len : header.head_len);
    if (at + batch_span(header.payload_len) > scan->end) {
        return E_CORRUPT;
    }
    const uint8_t *bytes = scan_bytes(scan, at, (size_t)len);
    if (bytes == NULL) {
        return scan->was_io_error ? E_IO : E_CORRUPT;
    }
    struct str head = str_of((const char *)bytes + BATCH_HEADER_BYTES, header.head_len);
    if ((crc32c(0, head) != header.head_crc && !MUTANT(crc_of_header_only)) ||
            !head_is_sound(head, header.record_count) ||
            (is_deep && !data_is_whole(bytes, &header, head))) {
        return E_CORRUPT;
    }
    *ret_batch = (struct scan_batch){ header, head, at, at + batch_span(header.payload_len) };
    return OK;
}
