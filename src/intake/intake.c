/* SPDX-License-Identifier: Apache-2.0
 *
 * intake.c - content of a message as it comes in, and what the keeper gets at the end.
 *
 * Body bytes are copied once, into the blob that is stored and sent. The header is gathered only
 * when it does not come in one piece; intake_header.c has its rules, intake_envelope.c those of
 * sender and recipients.
 */
#include "intake/intake.h"

#include "core/crc32c.h"
#include "core/str.h"
#include "intake/intake_priv.h"

#include <stdarg.h>

enum {
    CONTENT_SLACK_BYTES = 1024,            /* fields of ours on top of what came */
    HEAD_BYTES_MAX = HEADER_BYTES_MAX + 4, /* with the CRLFCRLF that may follow */
};

static enum err refusal_setv(struct intake_refusal *refusal, enum err err, uint16_t code,
        const char *enhanced, const char *format, va_list args) PRINTF_LIKE(5, 0);
static enum err refusal_setv(struct intake_refusal *refusal, enum err err, uint16_t code,
        const char *enhanced, const char *format, va_list args)
{
    *refusal = (struct intake_refusal){ .code = code };
    fmt(refusal->enhanced, sizeof refusal->enhanced, "%s", enhanced);
    vsnprintf(refusal->text, sizeof refusal->text, format, args);
    return err;
}

enum err intake_refusal_set(struct intake_refusal *refusal, enum err err, uint16_t code,
        const char *enhanced, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    refusal_setv(refusal, err, code, enhanced, format, args);
    va_end(args);
    return err;
}

/* Chunks not yet taken go; extents stay, they must be dropped at the keeper. */
static void let_go(struct intake *intake)
{
    blob_give(intake->content);
    intake->content = NULL;
    for (uint32_t i = intake->chunk_taken_count; i < intake->chunk_count; i++) {
        blob_give(intake->chunk[i].blob);
        intake->chunk[i].blob = NULL;
    }
    intake->chunk_count = intake->chunk_taken_count;
}

void intake_refuse(
        struct intake *intake, uint16_t code, const char *enhanced, const char *format, ...)
{
    if (intake_is_refused(intake)) {
        return;
    }
    va_list args;
    va_start(args, format);
    refusal_setv(&intake->refusal, E_DENIED, code, enhanced, format, args);
    va_end(args);
    let_go(intake);
}

static void refuse_for_memory(struct intake *intake)
{
    intake_refuse(intake, 452, "4.3.1", "Insufficient system resources");
}

static bool keep_client(struct intake *intake, const struct intake_client *client)
{
    struct arena *facts = &intake->facts;
    intake->client = *client;
    intake->client.client = arena_str(facts, client->client);
    intake->client.helo = arena_str(facts, client->helo);
    intake->client.protocol = arena_str(facts, client->protocol);
    intake->client.tls = arena_str(facts, client->tls);
    struct str login = client->credential ? client->credential->name : STR("");
    intake->envelope.credential = arena_str(facts, login);
    intake->envelope.client = intake->client.client;
    intake->envelope.helo = intake->client.helo;
    return intake->client.client.ptr && intake->client.helo.ptr && intake->client.protocol.ptr &&
           intake->client.tls.ptr && intake->envelope.credential.ptr;
}

enum err intake_new(const struct intake_client *client, struct blob_budget *budget,
        struct entropy *entropy, struct wall now, struct intake **ret_intake)
{
    struct intake *intake = mem_new(sizeof *intake);
    if (!intake) {
        return E_NOMEM;
    }
    struct {
        uint64_t seed;
        uint8_t id[10];
    } random = { 0 };
    entropy_fill(entropy, &random, sizeof random);
    intake->hash_seed = random.seed;
    intake->budget = budget;
    intake->now = now;
    intake->ulid = ulid_make(now, random.id);
    ulid_format(intake->ulid, intake->id);
    arena_init(&intake->facts, INTAKE_FACTS_BYTES_MAX);
    buf_init(&intake->rcpts, INTAKE_RCPTS_BYTES_MAX);
    buf_init(&intake->head, HEAD_BYTES_MAX);
    intake->envelope.ulid = intake->ulid;
    intake->envelope.accepted_at = now;
    intake->envelope.flags = client->is_own_dsn ? SPOOL_MSG_DSN : 0;
    if (!keep_client(intake, client)) {
        intake_free(intake);
        return E_NOMEM;
    }
    *ret_intake = intake;
    return OK;
}

void intake_free(struct intake *intake)
{
    if (!intake) {
        return;
    }
    let_go(intake);
    buf_done(&intake->head);
    if (intake->is_hashing) {
        dkim_body_drop(&intake->hash);
    }
    mem_free(intake->chunk);
    map_done(&intake->rcpt_by_hash);
    buf_done(&intake->rcpts);
    arena_done(&intake->facts);
    mem_free(intake);
}

/* ---- content ------------------------------------------------------------------------------- */

/* The blob being filled becomes a chunk for the keeper. */
static bool seal_chunk(struct intake *intake)
{
    if (intake->chunk_count == intake->chunk_cap) {
        uint32_t cap = intake->chunk_cap ? intake->chunk_cap * 2 : 16;
        struct intake_chunk *chunk = mem_grow(intake->chunk, cap * sizeof *chunk);
        if (!chunk) {
            refuse_for_memory(intake);
            return false;
        }
        intake->chunk = chunk;
        intake->chunk_cap = cap;
    }
    for (struct blob_chunk *part = intake->content->first; part; part = part->next) {
        intake->crc32c = crc32c(intake->crc32c, str_of(part->data, part->len));
    }
    intake->chunk[intake->chunk_count++] = (struct intake_chunk){ .blob = intake->content };
    intake->content = NULL;
    return true;
}

static size_t content_room(const struct intake *intake)
{
    size_t limit = intake->chunk_count > 0 ? INTAKE_CHUNK_BYTES : SPOOL_INLINE_BYTES_MAX;
    return limit - (intake->content ? (size_t)intake->content->size_bytes : 0);
}

static bool store_part(struct intake *intake, struct str part, size_t hint_bytes)
{
    if (!intake->content) {
        intake->content = blob_new(intake->budget, hint_bytes);
    }
    if (!intake->content || blob_add(intake->content, part) != OK) {
        refuse_for_memory(intake);
        return false;
    }
    intake->envelope.content_bytes += part.len;
    return true;
}

void intake_store(struct intake *intake, struct str s)
{
    if (intake->envelope.content_bytes + s.len > SPOOL_CONTENT_BYTES_MAX ||
            intake->chunk_count >= SPOOL_EXTENT_COUNT_MAX) {
        intake_refuse(intake, 552, "5.3.4", "Error: message file too big");
    }
    while (s.len > 0 && !intake_is_refused(intake)) {
        size_t room = content_room(intake);
        if (room == 0) {
            if (!seal_chunk(intake)) {
                return;
            }
            continue;
        }
        struct str part = str_sub(s, 0, room);
        if (!store_part(intake, part, intake->chunk_count ? BLOB_CHUNK_BYTES : s.len)) {
            return;
        }
        s = str_from(s, part.len);
    }
}

/* Eight octets at a time: this sees every byte of every message. */
static void look_at_octets(struct str s, bool *ret_has_nul, bool *ret_is_8bit)
{
    const uint64_t low = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
    uint64_t all = 0, zero = 0, word;
    size_t i = 0;
    for (; i + sizeof word <= s.len; i += sizeof word) {
        memcpy(&word, s.ptr + i, sizeof word);
        all |= word;
        zero |= (word - low) & ~word & high; /* not 0 where an octet is */
    }
    for (; i < s.len; i++) {
        all |= (uint8_t)s.ptr[i];
        zero |= s.ptr[i] == '\0';
    }
    *ret_has_nul = zero != 0;
    *ret_is_8bit = (all & high) != 0;
}

/* Lines over the limit, NUL and bytes above 127 in a piece of body (hostile-input C9, C10, A16). */
static void check_body(struct intake *intake, struct str bytes)
{
    bool has_nul, is_8bit;
    look_at_octets(bytes, &has_nul, &is_8bit);
    if (has_nul) {
        intake_refuse(intake, 554, "5.6.0", "Error: message content holds a NUL");
        return;
    }
    if (is_8bit) {
        intake->envelope.flags |= SPOOL_MSG_8BIT;
    }
    /* line_bytes counts the CR too: a line is over when it has more than 998 before its CRLF. */
    while (bytes.len > 0) {
        size_t lf = str_index(bytes, '\n');
        size_t line_bytes = intake->line_bytes + lf;
        if (line_bytes > INTAKE_LINE_BYTES_MAX + 1) {
            intake_refuse(intake, 554, "5.6.0", "Error: line longer than %d octets",
                    INTAKE_LINE_BYTES_MAX);
            return;
        }
        intake->line_bytes = lf < bytes.len ? 0 : (uint32_t)line_bytes; /* ≤ 999 */
        bytes = str_from(bytes, lf + 1);
    }
}

static void add_body(struct intake *intake, struct str bytes)
{
    if (bytes.len == 0 || intake_is_refused(intake)) {
        return;
    }
    check_body(intake, bytes);
    if (intake->is_hashing && !intake_is_refused(intake)) {
        dkim_body_add(&intake->hash, bytes);
    }
    intake_store(intake, bytes);
}

/* The header's end is in bytes: no copy. Makes the content blob large enough for all of bytes. */
static struct str read_header_in_place(struct intake *intake, struct str bytes, size_t body_at)
{
    intake->content = blob_new(intake->budget, bytes.len + CONTENT_SLACK_BYTES);
    if (!intake->content) {
        refuse_for_memory(intake);
        return STR("");
    }
    intake_header(intake, str_sub(bytes, 0, body_at), false);
    return str_from(bytes, body_at);
}

/* Takes what belongs to the header off bytes; the rest is body. */
static struct str gather_header(struct intake *intake, struct str bytes)
{
    size_t body_at, at = 0;
    if (intake->head.len == 0 && header_find_border(bytes, &at, &body_at)) {
        return read_header_in_place(intake, bytes, body_at);
    }
    struct str part = str_sub(bytes, 0, HEAD_BYTES_MAX - intake->head.len);
    struct str rest = str_from(bytes, part.len);
    buf_add(&intake->head, part);
    if (buf_err(&intake->head) != OK) {
        refuse_for_memory(intake);
        return STR("");
    }
    struct str head = buf_str(&intake->head);
    if (!header_find_border(head, &intake->head_seen, &body_at)) {
        if (head.len >= HEAD_BYTES_MAX) { /* hostile-input C4 */
            intake_refuse(intake, 552, "5.3.4", "Error: message header longer than %d octets",
                    HEADER_BYTES_MAX);
        }
        return rest;
    }
    intake_header(intake, str_sub(head, 0, body_at), false);
    add_body(intake, str_from(head, body_at));
    buf_done(&intake->head);
    return rest;
}

void intake_content(struct intake *intake, struct str bytes)
{
    const struct config *config = intake->client.config;
    intake->input_bytes += bytes.len;
    if (config->message_bytes_max > 0 && intake->input_bytes > config->message_bytes_max &&
            !intake->client.is_own_dsn) {
        intake_refuse(intake, 552, "5.3.4", "Error: message file too big");
    }
    if (intake_is_refused(intake) || bytes.len == 0) {
        buf_done(&intake->head);
        return;
    }
    if (!intake->has_header) {
        bytes = gather_header(intake, bytes);
    }
    add_body(intake, bytes);
}

void intake_end(struct intake *intake)
{
    if (!intake_is_refused(intake) && !intake->has_header) {
        struct str head = buf_str(&intake->head);
        intake_header(intake, head.ptr ? head : STR(""), true);
        buf_done(&intake->head);
    }
    if (!intake_is_refused(intake) && intake->chunk_count > 0 && intake->content) {
        (void)seal_chunk(intake); /* refuses by itself where it cannot */
    }
}

struct blob *intake_chunk_take(struct intake *intake)
{
    if (intake->chunk_taken_count >= intake->chunk_count) {
        return NULL;
    }
    struct intake_chunk *chunk = &intake->chunk[intake->chunk_taken_count++];
    struct blob *blob = chunk->blob;
    chunk->blob = NULL;
    return blob;
}

static void refuse_for_storage(struct intake *intake, enum err err)
{
    if (err == E_NO_SPACE || err == E_FULL || err == E_NOMEM) {
        intake_refuse(intake, 452, "4.3.1", "Insufficient system storage");
    } else {
        intake_refuse(intake, 451, "4.3.0", "Error: queue file write error");
    }
}

void intake_chunk_stored(struct intake *intake, enum err err, struct spool_extent extent)
{
    ASSERT(intake_chunks_out(intake) > 0);
    struct intake_chunk *chunk = &intake->chunk[intake->chunk_stored_count++];
    if (err == OK) {
        chunk->extent = extent;
    } else {
        refuse_for_storage(intake, err);
    }
}

uint32_t intake_chunks_out(const struct intake *intake)
{
    return intake->chunk_taken_count - intake->chunk_stored_count;
}

/* ---- the end ------------------------------------------------------------------------------- */

/* What lies at the keeper; chunks that failed have no length. E_NOMEM: nothing was made. */
static enum err body_of(const struct intake *intake, struct spool_body *ret_body)
{
    *ret_body = (struct spool_body){ 0 };
    if (intake->chunk_stored_count == 0) {
        return OK;
    }
    struct spool_extent *extent = mem_new(intake->chunk_stored_count * sizeof *extent);
    if (!extent) {
        return E_NOMEM;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < intake->chunk_stored_count; i++) {
        if (intake->chunk[i].extent.len_bytes > 0) {
            extent[count++] = intake->chunk[i].extent;
        }
    }
    if (count == 0) {
        mem_free(extent);
        return OK;
    }
    *ret_body = (struct spool_body){ extent, count, intake->crc32c };
    return OK;
}

void intake_abandon(struct intake *intake, struct spool_body *ret_drop)
{
    ASSERT(intake_chunks_out(intake) == 0);
    let_go(intake);
    if (body_of(intake, ret_drop) != OK) {
        *ret_drop = (struct spool_body){ 0 }; /* stays pinned until the next start */
    }
    intake->chunk_count = intake->chunk_taken_count = intake->chunk_stored_count = 0;
}

static struct blob *encode_envelope(struct intake *intake)
{
    struct buf text;
    buf_init(&text, SPOOL_ENVELOPE_BYTES_MAX);
    intake->envelope.rcpts = buf_str(&intake->rcpts);
    spool_envelope_encode(&text, &intake->envelope);
    struct blob *blob = buf_err(&text) == OK ? blob_copy(intake->budget, buf_str(&text)) : NULL;
    buf_done(&text);
    return blob;
}

static struct keeper_accept *make_accept(struct intake *intake)
{
    if (intake->is_hashing) {
        dkim_body_end(&intake->hash, intake->envelope.body_hash);
        intake->is_hashing = false;
    }
    struct keeper_accept *accept = mem_new(sizeof *accept);
    if (!accept || body_of(intake, &accept->body) != OK) {
        mem_free(accept);
        return NULL;
    }
    accept->envelope = encode_envelope(intake);
    if (!accept->envelope) {
        mem_free(accept->body.extent);
        mem_free(accept);
        return NULL;
    }
    accept->content = intake->content; /* NULL where it was streamed */
    intake->content = NULL;
    return accept;
}

enum err intake_finish(struct intake *intake, struct keeper_accept **ret_accept,
        struct ulid *ret_ulid, struct spool_body *ret_drop, struct intake_refusal *ret_refusal)
{
    ASSERT(intake_chunks_out(intake) == 0);
    if (intake->envelope.rcpt_count == 0) {
        intake_refuse(intake, 554, "5.5.1", "Error: no valid recipients");
    }
    if (intake->chunk_taken_count < intake->chunk_count) { /* nobody took them to the keeper */
        refuse_for_storage(intake, E_IO);
    }
    struct keeper_accept *accept = intake_is_refused(intake) ? NULL : make_accept(intake);
    if (accept) {
        intake->chunk_count = intake->chunk_taken_count = intake->chunk_stored_count = 0;
        *ret_accept = accept;
        *ret_ulid = intake->ulid;
        *ret_drop = (struct spool_body){ 0 };
        return OK;
    }
    refuse_for_memory(intake); /* unless there is a better reason already */
    *ret_refusal = intake->refusal;
    intake_abandon(intake, ret_drop);
    return E_DENIED;
}
