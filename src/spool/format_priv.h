/* SPDX-License-Identifier: Apache-2.0
 *
 * format_priv.h - the bytes on disk: META, segment header, batch header, record, checkpoint header.
 *
 * docs/spool.md is the prose of it. Everything is little endian and packed by hand. Decoding
 * answers "is this ours, whole and in its place?" and nothing else.
 */
#ifndef OUTPOST_SPOOL_FORMAT_PRIV_H
#define OUTPOST_SPOOL_FORMAT_PRIV_H

#include "spool/spool.h"

enum {
    PAGE_BYTES = 4096,
    BATCH_HEADER_BYTES = 64,
    RECORD_HEADER_BYTES = 16,
    SEG_HEADER_BYTES = 128,
    META_BYTES = 128,
    RECORD_MAY_SKIP = 0x80, /* flag: readers that do not know the type pass over it */
    BATCH_RECORD_COUNT_MAX = 4096,
    FORMAT_MAJOR = 1,
    FORMAT_MINOR = 0,
    NAME_BYTES_MAX = 32,
    SLOT_COUNT_MAX = 8192,
    SEQ_JUMP = 1000 /* batch and segment numbers skipped at a start: more than can be unsynced */
};

/* ---- META: two pages, written in turn; the valid one with the higher version counts --------- */

struct meta {
    uint32_t major, minor;
    uint64_t compat, ro_compat, incompat;
    uint64_t spool_id;
    uint64_t host_id;
    uint64_t slot_bytes;
    uint64_t version;
};
void meta_encode(uint8_t dst[META_BYTES], const struct meta *meta);
bool meta_decode(const uint8_t src[META_BYTES], struct meta *ret_meta);

/* ---- segment header: page 0 of a slot ------------------------------------------------------- */

/* Where a segment's predecessor ended: what lies behind that in it is void for ever. */
struct seg_end {
    uint64_t seg_seq; /* 0: there is none */
    uint64_t end;     /* bytes */
    uint64_t last_batch;
};
struct seg_header {
    uint64_t spool_id;
    uint64_t seg_seq;
    uint64_t first_batch; /* lower bound of the batch numbers in it */
    struct seg_end prev;
    uint64_t slot_bytes;
    struct wall made_at;
    uint32_t crc; /* of the encoded header: the first batch chains to it */
};
/* Fills header->crc. dst is the start of a zeroed page. */
void seg_header_encode(uint8_t dst[SEG_HEADER_BYTES], struct seg_header *header);
bool seg_header_decode(
        const uint8_t src[SEG_HEADER_BYTES], uint64_t spool_id, struct seg_header *ret_header);

/* ---- batch ---------------------------------------------------------------------------------- */

struct batch_header {
    uint32_t head_len; /* records; the data section follows them without padding */
    uint64_t seg_seq;
    uint64_t batch_seq;
    uint64_t durable_upto; /* highest batch known synced when this was written */
    uint32_t payload_len;  /* head and data */
    uint16_t record_count;
    uint32_t page;     /* own offset / PAGE_BYTES */
    uint32_t prev_crc; /* header CRC of the batch (or segment header) before */
    uint32_t head_crc;
    uint32_t crc; /* of this header */
};
void batch_header_encode(
        uint8_t dst[BATCH_HEADER_BYTES], uint64_t spool_id, struct batch_header *header);
bool batch_header_decode(
        const uint8_t src[BATCH_HEADER_BYTES], uint64_t spool_id, struct batch_header *ret_header);
/* Bytes a batch takes in the slot, whole pages. */
uint64_t batch_span(uint64_t payload_len);

/* ---- records in the head --------------------------------------------------------------------- */

struct record_header {
    uint8_t type;
    uint8_t flags;
    uint32_t len;
    uint64_t msg_id;
};
/* A view of one record; `at` is its offset in the head. */
struct record_view {
    struct record_header header;
    struct str payload;
    uint32_t at;
};
/* Starts a record in head; returns its offset. The payload is then appended, record_end pads. */
size_t record_begin(struct buf *head, uint8_t type, uint64_t msg_id);
void record_end(struct buf *head, size_t at);
/* Takes the record at *at off the head and moves *at on. False at the end or where it is bad. */
bool record_next(struct str head, uint32_t *at, struct record_view *ret_record);

/* What ACCEPT and MOVE say in front of the envelope. crc covers record header, these fields and
 * what follows, seeded with the spool's id: so one record can be trusted without its batch. */
enum { STORED_FIXED_BYTES = 56, STORED_EXTENT_BYTES = 12, STORED_RCPT_BYTES = 12 };
struct stored {
    uint32_t crc;
    uint32_t data_at; /* inline content: offset from the batch header; 0: streamed */
    uint32_t content_crc;
    uint32_t extent_count;
    uint64_t content_bytes;
    int64_t accepted_ms;
    uint32_t rcpt_count;
    uint32_t state_count; /* MOVE: entries of rcpts that follow; ACCEPT: 0 */
    uint32_t envelope_len;
    struct str extents, states, envelope;
};
void stored_encode(struct buf *head, const struct stored *stored);
MUST_USE bool stored_decode(struct str payload, struct stored *ret_stored);
struct spool_extent stored_extent(const struct stored *stored, uint32_t index);
/* Sets data_at and the CRC of the finished record that starts at record. */
void stored_seal(uint8_t *record, uint64_t spool_id, uint32_t data_at);
bool stored_is_whole(const uint8_t *record, size_t len, uint64_t spool_id);

/* BODY: where a streamed chunk lies in its batch. */
enum { BODY_PAYLOAD_BYTES = 16 };
struct body_piece {
    uint32_t data_at;
    uint32_t len;
    uint32_t crc;
};
void body_piece_encode(struct buf *head, const struct body_piece *piece);
MUST_USE bool body_piece_decode(struct str payload, struct body_piece *ret_piece);

/* The data a record brings: true where it has inline content or is a chunk. */
bool record_data(const struct record_view *record, struct body_piece *ret_piece);

/* ---- checkpoint ------------------------------------------------------------------------------ */

enum { CKPT_HEADER_BYTES = 512, CKPT_COUNTER_COUNT = 2 + SPOOL_STATE_COUNT };
struct ckpt_header {
    uint64_t version;
    uint64_t replay_seg; /* replay goes on in this segment … */
    uint64_t replay_at;  /* … at this offset */
    uint64_t last_batch; /* last batch that is in the checkpoint */
    uint32_t replay_crc; /* what the next batch chains to */
    uint64_t durable_upto;
    uint64_t body_len;
    uint32_t body_crc;
    uint64_t slot_count, msg_count;
    uint64_t counter[CKPT_COUNTER_COUNT];
};
void ckpt_header_encode(
        uint8_t dst[CKPT_HEADER_BYTES], uint64_t spool_id, const struct ckpt_header *header);
bool ckpt_header_decode(
        const uint8_t src[CKPT_HEADER_BYTES], uint64_t spool_id, struct ckpt_header *ret_header);

/* ---- names ----------------------------------------------------------------------------------- */

void slot_name(char dst[NAME_BYTES_MAX], uint32_t slot);
bool slot_name_parse(const char *name, uint32_t *ret_slot);

uint32_t crc_seeded(uint64_t seed, const void *ptr, size_t len);

#endif
