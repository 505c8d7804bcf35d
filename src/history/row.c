/* SPDX-License-Identifier: Apache-2.0
 *
 * row.c - the packed form of a story: a version byte, the envelope, then events to the end.
 */
#include "history/row_priv.h"

#include "core/str.h"

enum { ROW_VERSION = 1, RESULT_MASK = 0x7f, RESULT_DUPLICATE = 0x80, STRING_LEN_MIN = 3 };

/* Strings that nearly every row has. Part of the format: only append, and raise the version. */
static const struct str common[] = {
    STR_INIT("transactional"),
    STR_INIT("bulk"),
    STR_INIT("system"),
    STR_INIT("default"),
    STR_INIT("local"),
    STR_INIT("127.0.0.1"),
    STR_INIT("localhost"),
    STR_INIT("2.0.0"),
    STR_INIT("2.1.5"),
    STR_INIT("2.6.0"),
    STR_INIT("Ok"),
    STR_INIT("OK"),
    STR_INIT("TLSv1.3 TLS_AES_256_GCM_SHA384 256 verified"),
    STR_INIT("TLSv1.3 TLS_AES_256_GCM_SHA384 256 unverified"),
    STR_INIT("TLSv1.3 TLS_AES_128_GCM_SHA256 128 verified"),
    STR_INIT("TLSv1.3 TLS_AES_128_GCM_SHA256 128 unverified"),
};

/* ---- numbers -------------------------------------------------------------------------------- */

void add_varint(struct buf *dst, uint64_t v)
{
    char *at = buf_space(dst, 10);
    size_t len = 0;
    if (at == NULL) {
        return;
    }
    for (; v >= 0x80; v >>= 7) {
        at[len++] = (char)(v | 0x80);
    }
    at[len++] = (char)v;
    buf_grew(dst, len);
}

uint64_t cur_varint(struct cur *cur)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = cur_u8(cur);
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return v;
        }
    }
    cur->bad = true;
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Foreign times may lie far apart: the difference wraps, and reading wraps back. */
static uint64_t time_delta(struct wall at, int64_t since_ms)
{
    return zigzag((int64_t)((uint64_t)at.ms - (uint64_t)since_ms));
}

void row_init(struct row *row)
{
    *row = (struct row){ 0 };
    buf_init(&row->bytes, ROW_BYTES_MAX);
}

void row_done(struct row *row)
{
    buf_done(&row->bytes);
    row->string_count = 0;
}

static bool row_find_string(const struct row *row, struct str s, uint64_t *ret_number)
{
    for (size_t i = 0; i < COUNT_OF(common); i++) {
        if (common[i].len == s.len && memcmp(common[i].ptr, s.ptr, s.len) == 0) {
            *ret_number = i;
            return true;
        }
    }
    for (uint32_t i = 0; i < row->string_count; i++) {
        const struct row_string *known = &row->string[i];
        if (known->len == s.len && memcmp(row->bytes.ptr + known->at, s.ptr, s.len) == 0) {
            *ret_number = COUNT_OF(common) + i;
            return true;
        }
    }
    return false;
}

/* Low bit 1: the number of a known string; 0: length, then the bytes, which get the next number. */
static void add_string(struct row *row, struct str s, size_t max_bytes)
{
    uint64_t number;
    s = str_sub(s, 0, max_bytes);
    if (s.len >= 2 && row_find_string(row, s, &number)) {
        add_varint(&row->bytes, number << 1 | 1);
        return;
    }
    add_varint(&row->bytes, (uint64_t)s.len << 1);
    size_t at = row->bytes.len;
    buf_add(&row->bytes, s);
    if (s.len >= STRING_LEN_MIN && row->string_count < ROW_STRINGS_MAX &&
            buf_err(&row->bytes) == OK) {
        row->string[row->string_count++] = (struct row_string){ (uint32_t)at, (uint32_t)s.len };
    }
}

void row_begin_as(struct row *row, const struct row_head *head)
{
    struct buf *bytes = &row->bytes;
    struct cur rcpts = { .rest = head->rcpts };
    struct str address;
    buf_clear(bytes);
    row->string_count = 0;
    row->last_at_ms = head->accepted_at.ms;
    buf_add_char(bytes, ROW_VERSION);
    buf_add(bytes, str_of((const char *)head->ulid.byte, sizeof head->ulid.byte));
    add_varint(bytes, zigzag(head->accepted_at.ms));
    add_varint(bytes, head->flags);
    add_varint(bytes, head->content_bytes);
    add_string(row, head->sender, SIZE_MAX);
    add_string(row, head->stream, SIZE_MAX);
    add_string(row, head->credential, SIZE_MAX);
    add_string(row, head->tag, SIZE_MAX);
    add_string(row, head->meta, SIZE_MAX);
    add_string(row, head->message_id, SIZE_MAX);
    add_string(row, head->client, SIZE_MAX);
    add_string(row, head->helo, SIZE_MAX);
    add_varint(bytes, head->rcpt_count);
    while (row_rcpt_next(&rcpts, &address)) {
        add_varint(bytes, address.len);
        buf_add(bytes, address);
    }
}

void row_begin(struct row *row, const struct spool_envelope *envelope)
{
    struct row_head head = {
        .ulid = envelope->ulid,
        .accepted_at = envelope->accepted_at,
        .flags = envelope->flags,
        .content_bytes = envelope->content_bytes,
        .sender = envelope->sender,
        .stream = envelope->stream,
        .credential = envelope->credential,
        .tag = envelope->tag,
        .meta = envelope->meta,
        .message_id = envelope->message_id,
        .client = envelope->client,
        .helo = envelope->helo,
        .rcpt_count = envelope->rcpt_count,
    };
    struct cur rcpts = { .rest = envelope->rcpts };
    struct str address;
    row_begin_as(row, &head);
    while (spool_rcpt_next(&rcpts, &address)) {
        add_varint(&row->bytes, address.len);
        buf_add(&row->bytes, address);
    }
}

static void add_rcpts(struct buf *bytes, const struct row_event *event)
{
    int64_t last = 0;
    add_varint(bytes, event->rcpt_count);
    for (uint32_t i = 0; i < event->rcpt_count; i++) {
        add_varint(bytes, zigzag(event->rcpt[i] - last));
        last = event->rcpt[i];
    }
}

static void add_outcome(struct row *row, const struct row_event *event)
{
    const struct spool_outcome *outcome = &event->outcome;
    struct buf *bytes = &row->bytes;
    buf_add_char(
            bytes, (char)(outcome->result | (outcome->maybe_duplicate ? RESULT_DUPLICATE : 0)));
    add_varint(bytes, event->attempt_no);
    add_varint(bytes, outcome->due.ms ? time_delta(outcome->due, event->at.ms) + 1 : 0);
    add_varint(bytes, outcome->code);
    add_varint(bytes, outcome->queued_ms);
    add_varint(bytes, outcome->connect_ms);
    add_varint(bytes, outcome->transfer_ms);
    add_string(row, outcome->enhanced, ROW_TEXT_BYTES_MAX);
    add_string(row, outcome->text, ROW_TEXT_BYTES_MAX);
    add_string(row, outcome->site, ROW_TEXT_BYTES_MAX);
    add_string(row, outcome->source, ROW_TEXT_BYTES_MAX);
    add_string(row, outcome->remote_host, ROW_TEXT_BYTES_MAX);
    add_string(row, outcome->remote_ip, ROW_TEXT_BYTES_MAX);
    add_string(row, outcome->tls, ROW_TEXT_BYTES_MAX);
    add_string(row, outcome->dialogue, ROW_DIALOGUE_BYTES_MAX);
}

void row_add(struct row *row, const struct row_event *event)
{
    struct buf *bytes = &row->bytes;
    buf_add_char(bytes, (char)event->kind);
    add_varint(bytes, time_delta(event->at, row->last_at_ms));
    row->last_at_ms = event->at.ms;
    add_rcpts(bytes, event);
    switch (event->kind) {
    case ROW_ATTEMPTED:
        add_varint(bytes, event->attempt_no);
        break;
    case ROW_OUTCOME:
        add_outcome(row, event);
        break;
    case ROW_CTL:
        buf_add_char(bytes, (char)event->action);
        add_string(row, event->author, ROW_TEXT_BYTES_MAX);
        add_string(row, event->reason, ROW_TEXT_BYTES_MAX);
        break;
    case ROW_NOTIFIED:
        add_string(row, event->dsn_id, sizeof(struct ulid));
        break;
    case ROW_ELIDED:
        add_varint(bytes, event->count);
        break;
    case ROW_EVENT_KIND_END:
        ASSERT(false);
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

bool row_rcpt_next(struct cur *rcpts, struct str *ret_address)
{
    if (rcpts->bad || rcpts->rest.len == 0) {
        return false;
    }
    struct str address = cur_bytes(rcpts, (size_t)cur_varint(rcpts));
    if (rcpts->bad) {
        return false;
    }
    *ret_address = address;
    return true;
}

static struct str read_string(struct row_reader *reader)
{
    uint64_t v = cur_varint(&reader->cur), number = v >> 1;
    if (v & 1) {
        if (number < COUNT_OF(common)) {
            return common[number];
        }
        number -= COUNT_OF(common);
        if (number >= reader->string_count) {
            reader->cur.bad = true;
            return (struct str){ 0 };
        }
        return str_of(reader->start + reader->string[number].at, reader->string[number].len);
    }
    struct str s = cur_bytes(&reader->cur, (size_t)number);
    if (s.len >= STRING_LEN_MIN && reader->string_count < ROW_STRINGS_MAX) {
        reader->string[reader->string_count++] =
                (struct row_string){ (uint32_t)(s.ptr - reader->start), (uint32_t)s.len };
    }
    return s;
}

/* Walks over the addresses, which are handed out later. */
static struct str skip_rcpts(struct row_reader *reader, uint32_t rcpt_count)
{
    struct str start = reader->cur.rest, address;
    for (uint32_t i = 0; i < rcpt_count && !reader->cur.bad; i++) {
        if (!row_rcpt_next(&reader->cur, &address)) {
            reader->cur.bad = true;
        }
    }
    return reader->cur.bad ? (struct str){ 0 }
                           : str_of(start.ptr, start.len - reader->cur.rest.len);
}

enum err row_read_head(
        struct row_reader *reader, struct str bytes, uint16_t *scratch, struct row_head *ret_head)
{
    struct row_head head = { 0 };
    *reader =
            (struct row_reader){ .cur = { .rest = bytes }, .start = bytes.ptr, .scratch = scratch };
    struct cur *cur = &reader->cur;
    if (bytes.len > ROW_BYTES_MAX || cur_u8(cur) != ROW_VERSION) {
        return E_CORRUPT;
    }
    struct str ulid = cur_bytes(cur, sizeof head.ulid.byte);
    if (cur->bad) {
        return E_CORRUPT;
    }
    memcpy(head.ulid.byte, ulid.ptr, sizeof head.ulid.byte);
    head.accepted_at.ms = unzigzag(cur_varint(cur));
    head.flags = (uint32_t)cur_varint(cur);
    head.content_bytes = cur_varint(cur);
    head.sender = read_string(reader);
    head.stream = read_string(reader);
    head.credential = read_string(reader);
    head.tag = read_string(reader);
    head.meta = read_string(reader);
    head.message_id = read_string(reader);
    head.client = read_string(reader);
    head.helo = read_string(reader);
    uint64_t rcpt_count = cur_varint(cur);
    if (cur->bad || rcpt_count == 0 || rcpt_count > SPOOL_RCPT_COUNT_MAX) {
        return E_CORRUPT;
    }
    head.rcpt_count = (uint32_t)rcpt_count;
    head.rcpts = skip_rcpts(reader, head.rcpt_count);
    if (cur->bad) {
        return E_CORRUPT;
    }
    reader->rcpt_max = head.rcpt_count;
    reader->last_at_ms = head.accepted_at.ms;
    *ret_head = head;
    return OK;
}

static void read_rcpts(struct row_reader *reader, struct row_event *event)
{
    struct cur *cur = &reader->cur;
    uint64_t count = cur_varint(cur);
    int64_t last = 0;
    if (count > reader->rcpt_max) {
        cur->bad = true;
        return;
    }
    for (uint64_t i = 0; i < count && !cur->bad; i++) {
        last = (int64_t)((uint64_t)last + (uint64_t)unzigzag(cur_varint(cur)));
        if (last < 0 || last >= reader->rcpt_max) {
            cur->bad = true;
            return;
        }
        reader->scratch[i] = (uint16_t)last;
    }
    event->rcpt = reader->scratch;
    event->rcpt_count = (uint32_t)count;
}

/* Sums of times in damaged rows may be anything, but not undefined. */
static struct wall wall_plus(int64_t ms, uint64_t delta)
{
    return (struct wall){ (int64_t)((uint64_t)ms + (uint64_t)unzigzag(delta)) };
}

static void read_outcome(struct row_reader *reader, struct row_event *event)
{
    struct cur *cur = &reader->cur;
    struct spool_outcome *outcome = &event->outcome;
    uint8_t result = cur_u8(cur);
    outcome->maybe_duplicate = (result & RESULT_DUPLICATE) != 0;
    if ((result & RESULT_MASK) >= SPOOL_RESULT_COUNT) {
        cur->bad = true;
        return;
    }
    outcome->result = (enum spool_result)(result & RESULT_MASK);
    event->attempt_no = (uint32_t)cur_varint(cur);
    uint64_t due = cur_varint(cur);
    outcome->due = due ? wall_plus(event->at.ms, due - 1) : (struct wall){ 0 };
    outcome->code = (uint16_t)cur_varint(cur);
    outcome->queued_ms = (uint32_t)cur_varint(cur);
    outcome->connect_ms = (uint32_t)cur_varint(cur);
    outcome->transfer_ms = (uint32_t)cur_varint(cur);
    outcome->enhanced = read_string(reader);
    outcome->text = read_string(reader);
    outcome->site = read_string(reader);
    outcome->source = read_string(reader);
    outcome->remote_host = read_string(reader);
    outcome->remote_ip = read_string(reader);
    outcome->tls = read_string(reader);
    outcome->dialogue = read_string(reader);
}

static void read_ctl(struct row_reader *reader, struct row_event *event)
{
    uint8_t action = cur_u8(&reader->cur);
    if (action < SPOOL_CTL_HOLD || action > SPOOL_CTL_CLOSE) {
        reader->cur.bad = true;
        return;
    }
    event->action = (enum spool_ctl_action)action;
    event->author = read_string(reader);
    event->reason = read_string(reader);
}

bool row_read_event(struct row_reader *reader, struct row_event *ret_event)
{
    struct cur *cur = &reader->cur;
    if (cur->bad || cur->rest.len == 0) {
        return false;
    }
    struct row_event event = { .kind = (enum row_event_kind)cur_u8(cur) };
    event.at = wall_plus(reader->last_at_ms, cur_varint(cur));
    reader->last_at_ms = event.at.ms;
    read_rcpts(reader, &event);
    switch (event.kind) {
    case ROW_ATTEMPTED:
        event.attempt_no = (uint32_t)cur_varint(cur);
        break;
    case ROW_OUTCOME:
        read_outcome(reader, &event);
        break;
    case ROW_CTL:
        read_ctl(reader, &event);
        break;
    case ROW_NOTIFIED:
        event.dsn_id = read_string(reader);
        cur->bad = cur->bad || (event.dsn_id.len != 0 && event.dsn_id.len != sizeof(struct ulid));
        break;
    case ROW_ELIDED:
        event.count = cur_varint(cur);
        break;
    case ROW_EVENT_KIND_END:
    default: /* a byte of the file */
        cur->bad = true;
    }
    if (cur->bad) {
        return false;
    }
    *ret_event = event;
    return true;
}

enum err row_resume(struct row *row, const struct row_reader *reader, struct str bytes)
{
    ASSERT(!reader->cur.bad && reader->cur.rest.len == 0);
    buf_clear(&row->bytes);
    buf_add(&row->bytes, bytes);
    row->last_at_ms = reader->last_at_ms;
    row->string_count = reader->string_count;
    memcpy(row->string, reader->string, reader->string_count * sizeof row->string[0]);
    return buf_err(&row->bytes);
}
