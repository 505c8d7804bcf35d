/* SPDX-License-Identifier: Apache-2.0
 *
 * stored.c - records inside a batch's head: framing, and the fixed part of ACCEPT, MOVE and BODY.
 */
#include "spool/format_priv.h"

#include "core/crc32c.h"

/* ext of the record header is reserved and zero. */
size_t record_begin(struct buf *head, uint8_t type, uint64_t msg_id)
{
    size_t at = head->len;
    uint8_t flags = type == SPOOL_REFUSED ? RECORD_MAY_SKIP : 0;
    buf_add_char(head, (char)type);
    buf_add_char(head, (char)flags);
    buf_add_u16(head, 0);
    buf_add_u32(head, 0);
    buf_add_u64(head, msg_id);
    return at;
}

void record_end(struct buf *head, size_t at)
{
    if (buf_err(head) != OK) {
        return;
    }
    put_u32(head->ptr + at + 4, (uint32_t)(head->len - at - RECORD_HEADER_BYTES));
    static const char zeros[8];
    buf_add(head, str_of(zeros, (8 - head->len % 8) % 8));
}

bool record_next(struct str head, uint32_t *at, struct record_view *ret_record)
{
    if (*at >= head.len || head.len - *at < RECORD_HEADER_BYTES) {
        return false;
    }
    const uint8_t *src = (const uint8_t *)head.ptr + *at;
    uint32_t len = get_u32(src + 4);
    uint64_t padded = ((uint64_t)len + 7) / 8 * 8;
    if (src[0] == 0 || padded > head.len - *at - RECORD_HEADER_BYTES) {
        return false;
    }
    *ret_record = (struct record_view){
        .header = { src[0], src[1], len, get_u64(src + 8) },
        .payload = { (const char *)src + RECORD_HEADER_BYTES, len },
        .at = *at,
    };
    *at += RECORD_HEADER_BYTES + (uint32_t)padded;
    return true;
}

void stored_encode(struct buf *head, const struct stored *stored)
{
    buf_add_u32(head, stored->crc);
    buf_add_u32(head, stored->data_at);
    buf_add_u32(head, stored->content_crc);
    buf_add_u32(head, stored->extent_count);
    buf_add_u64(head, stored->content_bytes);
    buf_add_u64(head, 0);
    buf_add_u64(head, (uint64_t)stored->accepted_ms);
    buf_add_u32(head, stored->rcpt_count);
    buf_add_u32(head, stored->state_count);
    buf_add_u32(head, stored->envelope_len);
    buf_add_u32(head, 0);
    buf_add(head, stored->extents);
    buf_add(head, stored->states);
    buf_add(head, stored->envelope);
}

static bool stored_is_sane(const struct stored *stored)
{
    uint64_t content_max = stored->extent_count ? SPOOL_CONTENT_BYTES_MAX : SPOOL_INLINE_BYTES_MAX;
    return stored->extent_count <= SPOOL_EXTENT_COUNT_MAX && stored->rcpt_count >= 1 &&
           stored->rcpt_count <= SPOOL_RCPT_COUNT_MAX &&
           (stored->state_count == 0 || stored->state_count == stored->rcpt_count) &&
           stored->envelope_len <= SPOOL_ENVELOPE_BYTES_MAX &&
           stored->content_bytes <= content_max &&
           (stored->extent_count == 0) == (stored->data_at != 0);
}

bool stored_decode(struct str payload, struct stored *ret_stored)
{
    struct cur cur = { .rest = payload };
    struct stored stored = { 0 };
    stored.crc = cur_u32(&cur);
    stored.data_at = cur_u32(&cur);
    stored.content_crc = cur_u32(&cur);
    stored.extent_count = cur_u32(&cur);
    stored.content_bytes = cur_u64(&cur);
    cur_u64(&cur);
    stored.accepted_ms = (int64_t)cur_u64(&cur);
    stored.rcpt_count = cur_u32(&cur);
    stored.state_count = cur_u32(&cur);
    stored.envelope_len = cur_u32(&cur);
    cur_u32(&cur);
    if (cur.bad || !stored_is_sane(&stored)) {
        return false;
    }
    stored.extents = cur_bytes(&cur, (size_t)stored.extent_count * STORED_EXTENT_BYTES);
    stored.states = cur_bytes(&cur, (size_t)stored.state_count * STORED_RCPT_BYTES);
    stored.envelope = cur_bytes(&cur, stored.envelope_len);
    if (cur.bad || cur.rest.len != 0) {
        return false;
    }
    *ret_stored = stored;
    return true;
}

struct spool_extent stored_extent(const struct stored *stored, uint32_t index)
{
    ASSERT(index < stored->extent_count);
    const char *at = stored->extents.ptr + (size_t)index * STORED_EXTENT_BYTES;
    return (struct spool_extent){ get_u32(at), get_u32(at + 4), get_u32(at + 8) };
}

/* The CRC leaves out its own four bytes at the start of the payload. */
static uint32_t stored_crc(const uint8_t *record, size_t len, uint64_t spool_id)
{
    uint32_t crc = crc_seeded(spool_id, record, RECORD_HEADER_BYTES);
    size_t skip = RECORD_HEADER_BYTES + 4;
    return crc32c(crc, str_of((const char *)record + skip, len - skip));
}

void stored_seal(uint8_t *record, uint64_t spool_id, uint32_t data_at)
{
    size_t len = RECORD_HEADER_BYTES + (size_t)get_u32(record + 4);
    ASSERT(len >= RECORD_HEADER_BYTES + STORED_FIXED_BYTES);
    put_u32(record + RECORD_HEADER_BYTES + 4, data_at);
    put_u32(record + RECORD_HEADER_BYTES, stored_crc(record, len, spool_id));
}

bool stored_is_whole(const uint8_t *record, size_t len, uint64_t spool_id)
{
    if (len < RECORD_HEADER_BYTES + STORED_FIXED_BYTES) {
        return false;
    }
    return get_u32(record + RECORD_HEADER_BYTES) == stored_crc(record, len, spool_id);
}

void body_piece_encode(struct buf *head, const struct body_piece *piece)
{
    buf_add_u32(head, piece->data_at);
    buf_add_u32(head, piece->len);
    buf_add_u32(head, piece->crc);
    buf_add_u32(head, 0);
}

bool body_piece_decode(struct str payload, struct body_piece *ret_piece)
{
    if (payload.len != BODY_PAYLOAD_BYTES) {
        return false;
    }
    *ret_piece = (struct body_piece){ get_u32(payload.ptr), get_u32(payload.ptr + 4),
        get_u32(payload.ptr + 8) };
    return ret_piece->len <= SPOOL_INLINE_BYTES_MAX;
}

bool record_data(const struct record_view *record, struct body_piece *ret_piece)
{
    struct stored stored;
    if (record->header.type == SPOOL_BODY) {
        return body_piece_decode(record->payload, ret_piece);
    }
    if ((record->header.type != SPOOL_ACCEPT && record->header.type != SPOOL_MOVE) ||
            !stored_decode(record->payload, &stored) || stored.extent_count != 0) {
        return false;
    }
    *ret_piece = (struct body_piece){ stored.data_at, (uint32_t)stored.content_bytes,
        stored.content_crc };
    return true;
}
