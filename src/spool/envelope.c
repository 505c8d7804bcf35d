/* SPDX-License-Identifier: Apache-2.0
 *
 * envelope.c - what travels with a message, to bytes and back. Fixed fields first, then strings
 * with their lengths; a version byte leads, so that fields can be added.
 */
#include "spool/spool.h"

enum {
    ENVELOPE_VERSION = 1,
    TEXT_BYTES_MAX = 65536,
    META_TEXT_BYTES_MAX = 65536,
    SUBJECT_BYTES_MAX = 100
};

void spool_rcpt_add(struct buf *dst, struct str address)
{
    buf_add_u16(dst, (uint16_t)(address.len > UINT16_MAX ? UINT16_MAX : address.len));
    buf_add(dst, str_of(address.ptr, address.len > UINT16_MAX ? UINT16_MAX : address.len));
}

bool spool_rcpt_next(struct cur *cur, struct str *ret_address)
{
    if (cur->bad || cur->rest.len == 0) {
        return false;
    }
    uint16_t len = cur_u16(cur);
    struct str address = cur_bytes(cur, len);
    if (cur->bad) {
        return false;
    }
    *ret_address = address;
    return true;
}

void spool_envelope_encode(struct buf *dst, const struct spool_envelope *envelope)
{
    buf_add_u16(dst, ENVELOPE_VERSION);
    buf_add(dst, str_of((const char *)envelope->ulid.byte, sizeof envelope->ulid.byte));
    buf_add_u64(dst, (uint64_t)envelope->accepted_at.ms);
    buf_add_u32(dst, envelope->flags);
    buf_add_u32(dst, envelope->header_bytes);
    buf_add_u64(dst, envelope->content_bytes);
    buf_add(dst, str_of((const char *)envelope->body_hash, sizeof envelope->body_hash));
    buf_add_str32(dst, envelope->sender);
    buf_add_str32(dst, envelope->stream);
    buf_add_str32(dst, envelope->credential);
    buf_add_str32(dst, envelope->tag);
    buf_add_str32(dst, envelope->meta);
    buf_add_str32(dst, envelope->message_id);
    buf_add_str32(dst, envelope->from_domain);
    buf_add_str32(dst, envelope->client);
    buf_add_str32(dst, envelope->helo);
    buf_add_str32(dst, envelope->subject_hint);
    buf_add_u32(dst, envelope->rcpt_count);
    buf_add_str32(dst, envelope->rcpts);
}

static void read_bytes(struct cur *cur, uint8_t *dst, size_t len)
{
    struct str bytes = cur_bytes(cur, len);
    if (!cur->bad) {
        memcpy(dst, bytes.ptr, len);
    }
}

static void read_strings(struct cur *cur, struct spool_envelope *envelope)
{
    envelope->sender = cur_str32(cur, TEXT_BYTES_MAX);
    envelope->stream = cur_str32(cur, TEXT_BYTES_MAX);
    envelope->credential = cur_str32(cur, TEXT_BYTES_MAX);
    envelope->tag = cur_str32(cur, TEXT_BYTES_MAX);
    envelope->meta = cur_str32(cur, META_TEXT_BYTES_MAX);
    envelope->message_id = cur_str32(cur, TEXT_BYTES_MAX);
    envelope->from_domain = cur_str32(cur, TEXT_BYTES_MAX);
    envelope->client = cur_str32(cur, TEXT_BYTES_MAX);
    envelope->helo = cur_str32(cur, TEXT_BYTES_MAX);
    envelope->subject_hint = cur_str32(cur, SUBJECT_BYTES_MAX);
}

/* As many addresses as are counted, and nothing behind them. */
static bool rcpts_are_whole(const struct spool_envelope *envelope)
{
    struct cur cur = { .rest = envelope->rcpts };
    struct str address;
    uint32_t count = 0;
    while (spool_rcpt_next(&cur, &address)) {
        count++;
    }
    return !cur.bad && count == envelope->rcpt_count && count >= 1 && count <= SPOOL_RCPT_COUNT_MAX;
}

enum err spool_envelope_decode(struct str bytes, struct spool_envelope *ret_envelope)
{
    struct cur cur = { .rest = bytes };
    struct spool_envelope envelope = { 0 };
    if (cur_u16(&cur) != ENVELOPE_VERSION) {
        return E_SYNTAX;
    }
    read_bytes(&cur, envelope.ulid.byte, sizeof envelope.ulid.byte);
    envelope.accepted_at.ms = (int64_t)cur_u64(&cur);
    envelope.flags = cur_u32(&cur);
    envelope.header_bytes = cur_u32(&cur);
    envelope.content_bytes = cur_u64(&cur);
    read_bytes(&cur, envelope.body_hash, sizeof envelope.body_hash);
    read_strings(&cur, &envelope);
    envelope.rcpt_count = cur_u32(&cur);
    envelope.rcpts = cur_str32(&cur, SPOOL_ENVELOPE_BYTES_MAX);
    if (cur.bad || cur.rest.len != 0 || !rcpts_are_whole(&envelope)) {
        return E_SYNTAX;
    }
    *ret_envelope = envelope;
    return OK;
}
