/* SPDX-License-Identifier: Apache-2.0
 *
 * format.c - fixed headers of the spool to bytes and back; see format_priv.h and docs/spool.md.
 */
#include "spool/format_priv.h"

#include "core/crc32c.h"
#include "core/str.h"

static const char meta_magic[8] = "OUTPOST";
static const char seg_magic[8] = "OPSEGMT";
static const char batch_magic[4] = "OPB1";
static const char ckpt_magic[8] = "OPCKPT1";

enum { BATCH_FORMAT = 1 };

uint32_t crc_seeded(uint64_t seed, const void *ptr, size_t len)
{
    uint8_t bytes[8];
    put_u64(bytes, seed);
    uint32_t crc = crc32c(0, str_of((const char *)bytes, sizeof bytes));
    return crc32c(crc, str_of(ptr, len));
}

void meta_encode(uint8_t dst[META_BYTES], const struct meta *meta)
{
    memset(dst, 0, META_BYTES);
    memcpy(dst, meta_magic, 8);
    put_u32(dst + 8, meta->major);
    put_u32(dst + 12, meta->minor);
    put_u64(dst + 16, meta->compat);
    put_u64(dst + 24, meta->ro_compat);
    put_u64(dst + 32, meta->incompat);
    put_u64(dst + 40, meta->spool_id);
    put_u64(dst + 48, meta->host_id);
    put_u64(dst + 56, meta->slot_bytes);
    put_u64(dst + 64, meta->version);
    put_u32(dst + META_BYTES - 4, crc_seeded(0, dst, META_BYTES - 4));
}

bool meta_decode(const uint8_t src[META_BYTES], struct meta *ret_meta)
{
    if (memcmp(src, meta_magic, 8) != 0 ||
            get_u32(src + META_BYTES - 4) != crc_seeded(0, src, META_BYTES - 4)) {
        return false;
    }
    *ret_meta = (struct meta){
        .major = get_u32(src + 8),
        .minor = get_u32(src + 12),
        .compat = get_u64(src + 16),
        .ro_compat = get_u64(src + 24),
        .incompat = get_u64(src + 32),
        .spool_id = get_u64(src + 40),
        .host_id = get_u64(src + 48),
        .slot_bytes = get_u64(src + 56),
        .version = get_u64(src + 64),
    };
    return true;
}

void seg_header_encode(uint8_t dst[SEG_HEADER_BYTES], struct seg_header *header)
{
    memset(dst, 0, SEG_HEADER_BYTES);
    memcpy(dst, seg_magic, 8);
    put_u64(dst + 8, header->spool_id);
    put_u64(dst + 16, header->seg_seq);
    put_u64(dst + 24, header->first_batch);
    put_u64(dst + 32, header->prev.seg_seq);
    put_u64(dst + 40, header->prev.end);
    put_u64(dst + 48, header->prev.last_batch);
    put_u64(dst + 56, header->slot_bytes);
    put_u64(dst + 64, (uint64_t)header->made_at.ms);
    header->crc = crc_seeded(header->spool_id, dst, SEG_HEADER_BYTES - 4);
    put_u32(dst + SEG_HEADER_BYTES - 4, header->crc);
}

bool seg_header_decode(
        const uint8_t src[SEG_HEADER_BYTES], uint64_t spool_id, struct seg_header *ret_header)
{
    uint32_t crc = get_u32(src + SEG_HEADER_BYTES - 4);
    if (memcmp(src, seg_magic, 8) != 0 || get_u64(src + 8) != spool_id ||
            crc != crc_seeded(spool_id, src, SEG_HEADER_BYTES - 4)) {
        return false;
    }
    *ret_header = (struct seg_header){
        .spool_id = spool_id,
        .seg_seq = get_u64(src + 16),
        .first_batch = get_u64(src + 24),
        .prev = { get_u64(src + 32), get_u64(src + 40), get_u64(src + 48) },
        .slot_bytes = get_u64(src + 56),
        .made_at = { (int64_t)get_u64(src + 64) },
        .crc = crc,
    };
    return true;
}

void batch_header_encode(
        uint8_t dst[BATCH_HEADER_BYTES], uint64_t spool_id, struct batch_header *header)
{
    memcpy(dst, batch_magic, 4);
    put_u32(dst + 4, header->head_len);
    put_u64(dst + 8, spool_id);
    put_u64(dst + 16, header->seg_seq);
    put_u64(dst + 24, header->batch_seq);
    put_u64(dst + 32, header->durable_upto);
    put_u32(dst + 40, header->payload_len);
    put_u16(dst + 44, header->record_count);
    dst[46] = BATCH_FORMAT;
    dst[47] = 0;
    put_u32(dst + 48, header->page);
    put_u32(dst + 52, header->prev_crc);
    put_u32(dst + 56, header->head_crc);
    header->crc = crc32c(0, str_of((const char *)dst, 60));
    put_u32(dst + 60, header->crc);
}

bool batch_header_decode(
        const uint8_t src[BATCH_HEADER_BYTES], uint64_t spool_id, struct batch_header *ret_header)
{
    uint32_t crc = get_u32(src + 60);
    if (memcmp(src, batch_magic, 4) != 0 || get_u64(src + 8) != spool_id ||
            src[46] != BATCH_FORMAT || crc != crc32c(0, str_of((const char *)src, 60))) {
        return false;
    }
    struct batch_header header = {
        .head_len = get_u32(src + 4),
        .seg_seq = get_u64(src + 16),
        .batch_seq = get_u64(src + 24),
        .durable_upto = get_u64(src + 32),
        .payload_len = get_u32(src + 40),
        .record_count = get_u16(src + 44),
        .page = get_u32(src + 48),
        .prev_crc = get_u32(src + 52),
        .head_crc = get_u32(src + 56),
        .crc = crc,
    };
    if (header.head_len > header.payload_len || header.payload_len > SPOOL_BATCH_BYTES_MAX) {
        return false;
    }
    *ret_header = header;
    return true;
}

uint64_t batch_span(uint64_t payload_len)
{
    uint64_t bytes = BATCH_HEADER_BYTES + payload_len;
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

void ckpt_header_encode(
        uint8_t dst[CKPT_HEADER_BYTES], uint64_t spool_id, const struct ckpt_header *header)
{
    static_assert(96 + 8 * CKPT_COUNTER_COUNT <= CKPT_HEADER_BYTES - 4, "counters fit");
    memset(dst, 0, CKPT_HEADER_BYTES);
    memcpy(dst, ckpt_magic, 8);
    put_u64(dst + 8, spool_id);
    put_u64(dst + 16, header->version);
    put_u64(dst + 24, header->replay_seg);
    put_u64(dst + 32, header->replay_at);
    put_u64(dst + 40, header->last_batch);
    put_u32(dst + 48, header->replay_crc);
    put_u32(dst + 52, header->body_crc);
    put_u64(dst + 56, header->durable_upto);
    put_u64(dst + 64, header->body_len);
    put_u64(dst + 72, header->slot_count);
    put_u64(dst + 80, header->msg_count);
    for (uint32_t i = 0; i < CKPT_COUNTER_COUNT; i++) {
        put_u64(dst + 96 + 8 * (size_t)i, header->counter[i]);
    }
    put_u32(dst + CKPT_HEADER_BYTES - 4, crc_seeded(spool_id, dst, CKPT_HEADER_BYTES - 4));
}

bool ckpt_header_decode(
        const uint8_t src[CKPT_HEADER_BYTES], uint64_t spool_id, struct ckpt_header *ret_header)
{
    if (memcmp(src, ckpt_magic, 8) != 0 || get_u64(src + 8) != spool_id ||
            get_u32(src + CKPT_HEADER_BYTES - 4) !=
                    crc_seeded(spool_id, src, CKPT_HEADER_BYTES - 4)) {
        return false;
    }
    *ret_header = (struct ckpt_header){
        .version = get_u64(src + 16),
        .replay_seg = get_u64(src + 24),
        .replay_at = get_u64(src + 32),
        .last_batch = get_u64(src + 40),
        .replay_crc = get_u32(src + 48),
        .body_crc = get_u32(src + 52),
        .durable_upto = get_u64(src + 56),
        .body_len = get_u64(src + 64),
        .slot_count = get_u64(src + 72),
        .msg_count = get_u64(src + 80),
    };
    for (uint32_t i = 0; i < CKPT_COUNTER_COUNT; i++) {
        ret_header->counter[i] = get_u64(src + 96 + 8 * (size_t)i);
    }
    return true;
}

void slot_name(char dst[NAME_BYTES_MAX], uint32_t slot)
{
    fmt(dst, NAME_BYTES_MAX, "slot-%05u.seg", slot);
}

bool slot_name_parse(const char *name, uint32_t *ret_slot)
{
    struct str s = str_from_c(name);
    uint64_t slot;
    if (s.len != 14 || !str_starts(s, STR("slot-")) || !str_ends_nocase(s, STR(".seg")) ||
            str_to_u64(str_sub(s, 5, 5), SLOT_COUNT_MAX - 1, &slot) != OK) {
        return false;
    }
    *ret_slot = (uint32_t)slot;
    return true;
}
