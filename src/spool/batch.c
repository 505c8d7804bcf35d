/* SPDX-License-Identifier: Apache-2.0
 *
 * batch.c - the open batch: records are copied into its head, content rides along by reference.
 *
 * Streamed chunks wait beside it; each becomes a batch of its own and is pinned until a message
 * names it.
 */
#include "spool/spool_priv.h"

#include "core/crc32c.h"

static void pieces_drop(struct batch *batch)
{
    for (uint32_t i = 0; i < batch->piece_count; i++) {
        blob_give(batch->piece[i].blob);
    }
    batch->piece_count = 0;
    batch->data_len = 0;
}

void batch_clear(struct spool *spool)
{
    struct batch *batch = &spool->open;
    pieces_drop(batch);
    buf_clear(&batch->head);
    batch->record_count = 0;
    batch->accept_count = 0;
    batch->batch_seq = 0;
}

void batch_done(struct spool *spool)
{
    batch_clear(spool);
    buf_done(&spool->open.head);
    mem_free(spool->open.piece);
    mem_free(spool->open.pending);
    for (uint32_t i = 0; i < spool->chunk_count; i++) {
        blob_give(spool->chunk[i].blob);
    }
    mem_free(spool->chunk);
    map_done(&spool->pins);
}

bool spool_batch_is_empty(const struct spool *spool)
{
    return spool->open.record_count == 0 && (spool->chunks_are_done || spool->chunk_count == 0);
}

bool batch_has_room(const struct spool *spool, uint64_t head_bytes, uint64_t data_bytes)
{
    const struct batch *batch = &spool->open;
    uint64_t bytes = batch->head.len + head_bytes + batch->data_len + data_bytes;
    if (batch->record_count == 0) {
        return bytes <= spool->batch_bytes_max;
    }
    uint64_t max = spool->batch_bytes_max < BATCH_TARGET_BYTES ? spool->batch_bytes_max
                                                               : BATCH_TARGET_BYTES;
    return bytes <= max && batch->record_count < BATCH_RECORD_COUNT_MAX &&
           batch->accept_count < BATCH_ACCEPT_COUNT_MAX;
}

/* A seal may come in between, so the number after the next is taken. */
static enum err batch_begin(struct spool *spool)
{
    struct batch *batch = &spool->open;
    if (batch->pending == NULL) {
        batch->pending = mem_new(sizeof *batch->pending);
        if (batch->pending == NULL) {
            return E_NOMEM;
        }
    }
    if (batch->record_count == 0) {
        batch->batch_seq = spool->next_seq + 1;
    }
    return OK;
}

static uint32_t blob_crc(const struct blob *blob)
{
    uint32_t crc = 0;
    for (const struct blob_chunk *chunk = blob->first; chunk != NULL; chunk = chunk->next) {
        crc = crc32c(crc, str_of(chunk->data, chunk->len));
    }
    return crc;
}

static enum err piece_room(struct batch *batch)
{
    if (batch->piece_count < batch->piece_cap) {
        return OK;
    }
    uint32_t cap = batch->piece_cap ? batch->piece_cap * 2 : 64;
    struct piece *piece = mem_grow(batch->piece, cap * sizeof *piece);
    if (piece == NULL) {
        return E_NOMEM;
    }
    batch->piece = piece;
    batch->piece_cap = cap;
    return OK;
}

/* Appends an ACCEPT or MOVE record; on an error the batch is as before. */
static enum err stored_add(struct spool *spool, enum spool_record_type type, uint64_t msg_id,
        struct stored *stored, struct blob *content)
{
    struct batch *batch = &spool->open;
    enum err err = piece_room(batch);
    if (err != OK) {
        return err;
    }
    size_t at = record_begin(&batch->head, (uint8_t)type, msg_id);
    stored_encode(&batch->head, stored);
    record_end(&batch->head, at);
    if (buf_err(&batch->head) != OK) {
        err = buf_err(&batch->head);
        buf_clear(&batch->head);
        buf_grew(&batch->head, at);
        return err;
    }
    batch->record_count++;
    if (stored->extent_count == 0) {
        batch->piece[batch->piece_count++] = (struct piece){ blob_take(content), (uint32_t)at,
            (uint32_t)stored->content_bytes, stored->content_crc };
        batch->data_len += stored->content_bytes;
    }
    return OK;
}

static uint64_t stored_bytes(const struct stored *stored)
{
    return RECORD_HEADER_BYTES + STORED_FIXED_BYTES + 8 + (uint64_t)stored->envelope_len +
           stored->extents.len + stored->states.len;
}

/* The envelope in one piece: as it lies where it is one chunk, else copied to flat. */
static enum err blob_flat(const struct blob *blob, struct buf *flat, struct str *ret_bytes)
{
    if (blob->first == NULL || blob->first == blob->last) {
        *ret_bytes = blob->first ? str_of(blob->first->data, blob->first->len) : STR("");
        return OK;
    }
    for (const struct blob_chunk *chunk = blob->first; chunk != NULL; chunk = chunk->next) {
        buf_add(flat, str_of(chunk->data, chunk->len));
    }
    *ret_bytes = buf_str(flat);
    return buf_err(flat);
}

static uint64_t pin_key(uint32_t slot, uint32_t page)
{
    return (uint64_t)slot << 32 | page;
}

static enum err extents_encode(
        struct spool *spool, const struct spool_body *body, struct buf *dst, uint64_t *ret_bytes)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < body->extent_count; i++) {
        struct spool_extent extent = body->extent[i];
        uint64_t len;
        if (!map_get(&spool->pins, pin_key(extent.slot, extent.batch_page), &len) ||
                len != extent.len_bytes) {
            return E_IO; /* lost with a failed sync */
        }
        buf_add_u32(dst, extent.slot);
        buf_add_u32(dst, extent.batch_page);
        buf_add_u32(dst, extent.len_bytes);
        bytes += len;
    }
    *ret_bytes = bytes;
    return buf_err(dst);
}

/* What the index will need once the message is durable; *ret_more NULL: nothing beside an entry. */
static enum err promise(
        struct spool *spool, const struct stored *stored, struct msg_more **ret_more)
{
    enum err err = index_reserve(&spool->index, spool->promised_count + 1);
    *ret_more = NULL;
    if (err == OK && (stored->rcpt_count > 1 || stored->extent_count > 0)) {
        *ret_more = msg_more_new(stored->rcpt_count, stored->extent_count);
        err = *ret_more ? OK : E_NOMEM;
    }
    return err;
}

static void promised(struct spool *spool, struct msg_more *more)
{
    spool->promised_count++;
    if (more != NULL) {
        *spool->more_last = more;
        spool->more_last = &more->next;
    }
}

static enum err accept_stored(
        struct spool *spool, struct stored *stored, struct blob *content, uint64_t *ret_msg_id)
{
    struct batch *batch = &spool->open;
    uint64_t head_bytes = stored_bytes(stored);
    uint64_t data_bytes = stored->extent_count ? 0 : stored->content_bytes;
    if (head_bytes + data_bytes > spool->batch_bytes_max) {
        return E_TOO_BIG;
    }
    if (!batch_has_room(spool, head_bytes, data_bytes)) {
        return E_FULL;
    }
    struct msg_more *more;
    enum err err = batch_begin(spool);
    err = err == OK ? promise(spool, stored, &more) : err;
    if (err != OK) {
        return err;
    }
    uint64_t msg_id = batch->batch_seq << 16 | batch->record_count;
    err = stored_add(spool, SPOOL_ACCEPT, msg_id, stored, content);
    if (err != OK) {
        msg_more_free(more);
        return err;
    }
    promised(spool, more);
    batch->accept_count++;
    *ret_msg_id = msg_id;
    return OK;
}

static enum err accept_fill(struct spool *spool, struct str envelope_bytes, struct blob *content,
        const struct spool_body *body, struct buf *extents, struct stored *ret_stored)
{
    struct spool_envelope envelope;
    if (spool_envelope_decode(envelope_bytes, &envelope) != OK) {
        return E_SYNTAX;
    }
    struct stored stored = {
        .accepted_ms = envelope.accepted_at.ms,
        .rcpt_count = envelope.rcpt_count,
        .envelope_len = (uint32_t)envelope_bytes.len,
        .envelope = envelope_bytes,
    };
    if (content != NULL) {
        stored.content_bytes = content->size_bytes;
        stored.content_crc = blob_crc(content);
    } else {
        enum err err = extents_encode(spool, body, extents, &stored.content_bytes);
        if (err != OK) {
            return err;
        }
        stored.extent_count = body->extent_count;
        stored.content_crc = body->crc32c;
        stored.extents = buf_str(extents);
    }
    *ret_stored = stored;
    return OK;
}

static enum err accept_limits(
        const struct blob *envelope, const struct blob *content, const struct spool_body *body)
{
    if (envelope->size_bytes > SPOOL_ENVELOPE_BYTES_MAX) {
        return E_TOO_BIG;
    }
    if (content != NULL) {
        return content->size_bytes > SPOOL_INLINE_BYTES_MAX ? E_TOO_BIG : OK;
    }
    if (body == NULL || body->extent_count == 0) {
        return E_USAGE;
    }
    return body->extent_count > SPOOL_EXTENT_COUNT_MAX ? E_TOO_BIG : OK;
}

enum err spool_batch_accept(struct spool *spool, struct blob *envelope, struct blob *content,
        const struct spool_body *body, uint64_t *ret_msg_id)
{
    enum err err = accept_limits(envelope, content, body);
    if (err != OK) {
        return err;
    }
    if (spool->is_failed || spool->is_broken) {
        return E_IO;
    }
    if (!slots_have_room(spool)) {
        return E_NO_SPACE;
    }
    struct buf flat, extents;
    struct str bytes;
    struct stored stored;
    buf_init(&flat, SPOOL_ENVELOPE_BYTES_MAX);
    buf_init(&extents, SPOOL_EXTENT_COUNT_MAX * STORED_EXTENT_BYTES);
    err = blob_flat(envelope, &flat, &bytes);
    if (err == OK) {
        err = accept_fill(spool, bytes, content, body, &extents, &stored);
    }
    if (err == OK) {
        err = accept_stored(spool, &stored, content, ret_msg_id);
    }
    buf_done(&flat);
    buf_done(&extents);
    return err;
}

enum err batch_move(struct spool *spool, struct msg *msg, struct str envelope, struct blob *content,
        uint32_t content_crc, const struct spool_extent *extent)
{
    struct buf extents, states;
    buf_init(&extents, SPOOL_EXTENT_COUNT_MAX * STORED_EXTENT_BYTES);
    buf_init(&states, SPOOL_RCPT_COUNT_MAX * STORED_RCPT_BYTES);
    struct stored stored = {
        .accepted_ms = msg_accepted_ms(msg),
        .rcpt_count = msg_rcpt_count(msg),
        .state_count = msg_rcpt_count(msg),
        .envelope_len = (uint32_t)envelope.len,
        .envelope = envelope,
        .content_crc = content_crc,
    };
    for (uint32_t i = 0; i < msg_rcpt_count(msg); i++) {
        char state[STORED_RCPT_BYTES];
        rcpt_encode(state, msg_rcpt(msg, i));
        buf_add(&states, str_of(state, sizeof state));
    }
    if (content != NULL) {
        stored.content_bytes = content->size_bytes;
    } else {
        struct spool_body body = { .extent_count = msg->more->extent_count };
        for (uint32_t i = 0; i < body.extent_count; i++) {
            buf_add_u32(&extents, extent[i].slot);
            buf_add_u32(&extents, extent[i].batch_page);
            buf_add_u32(&extents, extent[i].len_bytes);
            stored.content_bytes += extent[i].len_bytes;
        }
        stored.extent_count = body.extent_count;
    }
    stored.extents = buf_str(&extents);
    stored.states = buf_str(&states);
    enum err err = buf_err(&extents) != OK ? buf_err(&extents) : buf_err(&states);
    uint64_t data_bytes = content ? stored.content_bytes : 0;
    if (err == OK && !batch_has_room(spool, stored_bytes(&stored), data_bytes)) {
        err = E_FULL;
    }
    err = err == OK ? batch_begin(spool) : err;
    if (err == OK) {
        err = stored_add(spool, SPOOL_MOVE, msg->msg_id, &stored, content);
    }
    buf_done(&extents);
    buf_done(&states);
    return err;
}

/* While no slot works, what happened and what an operator was told is kept in memory; what has not
 * begun does not begin. */
static bool is_refused_now(const struct spool *spool, enum spool_record_type type)
{
    return (spool->is_failed || spool->is_broken) && type != SPOOL_OUTCOME && type != SPOOL_CTL;
}

enum err spool_batch_record(
        struct spool *spool, enum spool_record_type type, uint64_t msg_id, struct str payload)
{
    struct batch *batch = &spool->open;
    uint64_t bytes = RECORD_HEADER_BYTES + (uint64_t)payload.len + 8;
    if (bytes > spool->batch_bytes_max) {
        return E_TOO_BIG;
    }
    if (is_refused_now(spool, type)) {
        return E_IO;
    }
    if (!batch_has_room(spool, bytes, 0)) {
        return E_FULL;
    }
    enum err err = batch_begin(spool);
    if (err != OK) {
        return err;
    }
    size_t at = record_begin(&batch->head, (uint8_t)type, msg_id);
    buf_add(&batch->head, payload);
    record_end(&batch->head, at);
    err = buf_err(&batch->head);
    if (err != OK) {
        buf_clear(&batch->head);
        buf_grew(&batch->head, at);
        return err;
    }
    batch->record_count++;
    return OK;
}

struct batch_mark batch_mark(const struct spool *spool)
{
    const struct batch *batch = &spool->open;
    return (struct batch_mark){ batch->head.len, batch->data_len, batch->record_count,
        batch->accept_count, batch->piece_count, spool->promised_count, spool->more_last };
}

void batch_back(struct spool *spool, const struct batch_mark *mark)
{
    struct batch *batch = &spool->open;
    while (batch->piece_count > mark->piece_count) {
        blob_give(batch->piece[--batch->piece_count].blob);
    }
    struct msg_more *more = *mark->more_last;
    while (more != NULL) {
        struct msg_more *next = more->next;
        msg_more_free(more);
        more = next;
    }
    *mark->more_last = NULL;
    spool->more_last = mark->more_last;
    spool->promised_count = mark->promised_count;
    batch->data_len = mark->data_len;
    batch->record_count = mark->record_count;
    batch->accept_count = mark->accept_count;
    buf_cut(&batch->head, mark->head_len);
}

/* ---- streamed chunks ----------------------------------------------------------------------------
 */

static void chunks_forget(struct spool *spool)
{
    if (spool->chunks_are_done) {
        spool->chunk_count = 0;
        spool->chunks_are_done = false;
    }
}

enum err spool_batch_body(struct spool *spool, struct blob *chunk, uint32_t *ret_extent_ticket)
{
    if (chunk->size_bytes > SPOOL_INLINE_BYTES_MAX || chunk->size_bytes == 0 ||
            chunk->size_bytes + RECORD_HEADER_BYTES + BODY_PAYLOAD_BYTES > spool->batch_bytes_max) {
        return E_TOO_BIG;
    }
    if (spool->is_failed || spool->is_broken) {
        return E_IO;
    }
    if (!slots_have_room(spool)) {
        return E_NO_SPACE;
    }
    chunks_forget(spool);
    if (spool->chunk_count == CHUNK_COUNT_MAX) {
        return E_FULL;
    }
    if (spool->chunk_count == spool->chunk_cap) {
        uint32_t cap = spool->chunk_cap ? spool->chunk_cap * 2 : 16;
        struct chunk *grown = mem_grow(spool->chunk, cap * sizeof *grown);
        if (grown == NULL) {
            return E_NOMEM;
        }
        spool->chunk = grown;
        spool->chunk_cap = cap;
    }
    *ret_extent_ticket = spool->chunk_count;
    spool->chunk[spool->chunk_count++] = (struct chunk){ .blob = blob_take(chunk) };
    return OK;
}

struct spool_extent spool_body_extent(struct spool *spool, uint32_t ticket)
{
    ASSERT(ticket < spool->chunk_count);
    return spool->chunk[ticket].extent;
}

static void pin_drop(struct spool *spool, const struct spool_extent *extent)
{
    if (map_del(&spool->pins, pin_key(extent->slot, extent->batch_page))) {
        ASSERT(spool->slot[extent->slot].pin_count > 0);
        spool->slot[extent->slot].pin_count--;
    }
}

void spool_body_drop(struct spool *spool, const struct spool_body *body)
{
    for (uint32_t i = 0; i < body->extent_count; i++) {
        pin_drop(spool, &body->extent[i]);
    }
}

void pin_transfer(struct spool *spool, const struct spool_extent *extent)
{
    pin_drop(spool, extent);
}

/* Chunks behind the last good sync of a poisoned slot are gone. */
void pins_void(struct spool *spool, uint32_t slot, uint64_t from)
{
    bool again = true;
    while (again) {
        uint64_t key, len;
        again = false;
        for (uint32_t at = 0; !again && map_walk(&spool->pins, &at, &key, &len);) {
            struct spool_extent extent = { (uint32_t)(key >> 32), (uint32_t)key, (uint32_t)len };
            if (extent.slot == slot && (uint64_t)extent.batch_page * PAGE_BYTES >= from) {
                pin_drop(spool, &extent);
                again = true;
            }
        }
    }
}
