/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_spool_batch.c - the head of a batch whose checksums are right, since its writer was broken
 * or hostile: records are walked within bounds, and what they say of messages is consistent.
 */
#include "core/buf.h"
#include "core/crc32c.h"
#include "spool/format_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_header(const uint8_t *data)
{
    uint8_t bytes[BATCH_HEADER_BYTES];
    struct batch_header header;
    memcpy(bytes, data, sizeof bytes);
    put_u64(bytes + 8, 77);
    put_u32(bytes + 60, crc32c(0, str_of((const char *)bytes, 60)));
    if (batch_header_decode(bytes, 77, &header)) {
        ASSERT(header.head_len <= header.payload_len);
        ASSERT(header.payload_len <= SPOOL_BATCH_BYTES_MAX);
        ASSERT(batch_span(header.payload_len) % PAGE_BYTES == 0);
    }
}

static void try_stored(const struct record_view *record)
{
    struct stored stored;
    struct spool_envelope envelope;
    uint64_t bytes = 0;
    if (!stored_decode(record->payload, &stored)) {
        return;
    }
    for (uint32_t i = 0; i < stored.extent_count; i++) {
        bytes += stored_extent(&stored, i).len_bytes;
    }
    ASSERT(stored.extent_count > 0 || bytes == 0);
    if (spool_envelope_decode(stored.envelope, &envelope) == OK) {
        ASSERT(envelope.rcpt_count >= 1 && envelope.rcpt_count <= SPOOL_RCPT_COUNT_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str head = str_of((const char *)data, size);
    struct record_view record;
    struct body_piece piece;
    if (size >= BATCH_HEADER_BYTES) {
        try_header(data);
    }
    for (uint32_t at = 0; record_next(head, &at, &record);) {
        ASSERT(at <= size && record.payload.len <= size);
        if (record_data(&record, &piece)) {
            ASSERT(piece.len <= SPOOL_INLINE_BYTES_MAX);
        }
        try_stored(&record);
        if (record.header.len >= STORED_FIXED_BYTES) {
            ASSERT(!stored_is_whole(data + record.at, RECORD_HEADER_BYTES, 77));
        }
    }
    return 0;
}
