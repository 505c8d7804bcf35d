/* SPDX-License-Identifier: Apache-2.0
 *
 * fixture.c - see fixture.h.
 */
#include "tests/unit/spool/fixture.h"

#include "core/str.h"

static struct mono clock_now(struct clock *clock)
{
    return (struct mono){ CONTAINER_OF(clock, struct fixture_clock, base)->mono_ms };
}

static struct wall clock_today(struct clock *clock)
{
    return (struct wall){ CONTAINER_OF(clock, struct fixture_clock, base)->wall_ms };
}

static void entropy_from_seed(struct entropy *entropy, void *dst, size_t len_bytes)
{
    struct fixture_entropy *own = CONTAINER_OF(entropy, struct fixture_entropy, base);
    uint8_t *at = dst;
    for (size_t i = 0; i < len_bytes; i++) {
        at[i] = (uint8_t)prng_next(&own->prng);
    }
}

static void log_count(void *ctx, enum log_level level, struct str line)
{
    struct fixture *fixture = ctx;
    fixture->error_lines += level == LOG_ERROR_;
    if (fixture->is_loud) {
        printf("    %.*s\n", STR_ARG(line));
    }
}

void fixture_init(struct fixture *fixture, uint64_t seed)
{
    *fixture = (struct fixture){
        .disk = sim_disk_new(seed),
        .clock = { { clock_now, clock_today }, 1000, 1800000000000 },
        .entropy = { .base = { entropy_from_seed } },
        .conf = { .slot_bytes = 64 << 10,
                .spare_slots = 1,
                .checkpoint_bytes = 128 << 10,
                .checkpoint_ms = 600000 },
    };
    prng_init(&fixture->entropy.prng, seed);
    fixture->log = (struct log){ LOG_DEBUG_, log_count, fixture };
}

enum err fixture_open(struct fixture *fixture)
{
    struct why why = { 0 };
    fixture->log.ctx = fixture;
    enum err err = spool_open(sim_disk_as_disk(fixture->disk), &fixture->clock.base,
            &fixture->entropy.base, &fixture->log, &fixture->conf, &fixture->spool, &why);
    if (err != OK) {
        fixture->spool = NULL;
        if (fixture->is_loud) {
            printf("    open: %s\n", why.text);
        }
    }
    return err;
}

void fixture_close(struct fixture *fixture)
{
    spool_close(fixture->spool);
    fixture->spool = NULL;
    struct disk *disk = sim_disk_as_disk(fixture->disk);
    disk->ops->close_disk(disk);
}

void fixture_kill(struct fixture *fixture)
{
    uint32_t error_lines = fixture->error_lines;
    sim_disk_cut_at(fixture->disk, 1); /* nothing of the closing reaches the disk */
    spool_close(fixture->spool);
    fixture->spool = NULL;
    fixture->error_lines = error_lines; /* what the dying one says does not count */
}

void fixture_done(struct fixture *fixture)
{
    spool_close(fixture->spool);
    mem_free(fixture->seen);
    sim_disk_free(fixture->disk);
}

void fixture_pass(struct fixture *fixture, int64_t ms)
{
    fixture->clock.mono_ms += ms;
    fixture->clock.wall_ms += ms;
}

struct blob *blob_of(struct str bytes)
{
    struct blob *blob = blob_new(NULL, bytes.len);
    ASSERT(blob != NULL && blob_add(blob, bytes) == OK);
    return blob;
}

void blob_text(const struct blob *blob, struct buf *dst)
{
    for (const struct blob_chunk *chunk = blob->first; chunk != NULL; chunk = chunk->next) {
        buf_add(dst, str_of(chunk->data, chunk->len));
    }
}

struct blob *message_envelope(uint32_t number, uint32_t rcpt_count)
{
    struct buf rcpts, bytes;
    char text[64];
    buf_init(&rcpts, SPOOL_ENVELOPE_BYTES_MAX);
    buf_init(&bytes, SPOOL_ENVELOPE_BYTES_MAX);
    for (uint32_t i = 0; i < rcpt_count; i++) {
        size_t len = fmt(text, sizeof text, "m%u-r%u@example.org", number, i);
        spool_rcpt_add(&rcpts, str_of(text, len));
    }
    size_t len = fmt(text, sizeof text, "%u", number);
    struct spool_envelope envelope = { .sender = STR("a@example.com"),
        .tag = str_of(text, len),
        .stream = STR("transactional"),
        .rcpt_count = rcpt_count,
        .rcpts = buf_str(&rcpts),
        .accepted_at = { 1800000000000 + number } };
    spool_envelope_encode(&bytes, &envelope);
    ASSERT(buf_err(&bytes) == OK);
    struct blob *blob = blob_of(buf_str(&bytes));
    buf_done(&rcpts);
    buf_done(&bytes);
    return blob;
}

static void content_fill(uint32_t number, uint32_t bytes, struct buf *dst)
{
    char line[64];
    while (dst->len < bytes) {
        size_t len = fmt(line, sizeof line, "message %u at %zu\r\n", number, dst->len);
        buf_add(dst, str_of(line, len));
    }
    buf_cut(dst, bytes);
}

struct blob *message_content(uint32_t number, uint32_t bytes)
{
    struct buf text;
    buf_init(&text, SPOOL_CONTENT_BYTES_MAX);
    content_fill(number, bytes, &text);
    struct blob *blob = blob_of(buf_str(&text));
    buf_done(&text);
    return blob;
}

bool message_is_content(uint32_t number, uint32_t bytes, const struct blob *content)
{
    struct buf expected, got;
    buf_init(&expected, SPOOL_CONTENT_BYTES_MAX);
    buf_init(&got, SPOOL_CONTENT_BYTES_MAX);
    content_fill(number, bytes, &expected);
    blob_text(content, &got);
    bool is_same = str_eq(buf_str(&expected), buf_str(&got));
    buf_done(&expected);
    buf_done(&got);
    return is_same;
}

uint32_t message_number(struct str envelope_bytes)
{
    struct spool_envelope envelope;
    uint64_t number;
    if (spool_envelope_decode(envelope_bytes, &envelope) != OK ||
            str_to_u64(envelope.tag, UINT32_MAX - 1, &number) != OK) {
        return UINT32_MAX;
    }
    return (uint32_t)number;
}

enum err fixture_accept(
        struct fixture *fixture, uint32_t number, uint32_t rcpts, uint32_t bytes, uint64_t *ret_id)
{
    struct blob *envelope = message_envelope(number, rcpts);
    struct blob *content = message_content(number, bytes);
    enum err err = spool_batch_accept(fixture->spool, envelope, content, NULL, ret_id);
    blob_give(envelope);
    blob_give(content);
    return err;
}

static enum err record_add(
        struct fixture *fixture, enum spool_record_type type, uint64_t msg_id, struct buf *payload)
{
    enum err err = buf_err(payload);
    if (err == OK) {
        err = spool_batch_record(fixture->spool, type, msg_id, buf_str(payload));
    }
    buf_done(payload);
    return err;
}

enum err fixture_outcome(struct fixture *fixture, uint64_t msg_id, uint16_t rcpt,
        uint32_t attempt_no, enum spool_result result)
{
    struct buf payload;
    struct spool_outcome outcome = { .msg_id = msg_id,
        .rcpt = &rcpt,
        .rcpt_count = 1,
        .attempt_no = attempt_no,
        .result = result,
        .due = { result == SPOOL_RESULT_DEFERRED ? fixture->clock.wall_ms + 60000 : 0 },
        .text = STR("as the peer said") };
    buf_init(&payload, 65536);
    spool_outcome_encode(&payload, &outcome);
    return record_add(fixture, SPOOL_OUTCOME, msg_id, &payload);
}

enum err fixture_attempt(
        struct fixture *fixture, uint64_t msg_id, uint16_t rcpt, uint32_t attempt_no)
{
    struct buf payload;
    struct spool_attempt attempt = { msg_id, &rcpt, 1, attempt_no, { fixture->clock.wall_ms } };
    buf_init(&payload, 65536);
    spool_attempt_encode(&payload, &attempt);
    return record_add(fixture, SPOOL_ATTEMPT, msg_id, &payload);
}

enum err fixture_ctl(
        struct fixture *fixture, uint64_t msg_id, uint16_t rcpt, enum spool_ctl_action action)
{
    struct buf payload;
    struct spool_ctl ctl = { .msg_id = msg_id,
        .rcpt = &rcpt,
        .rcpt_count = 1,
        .action = action,
        .at = { fixture->clock.wall_ms },
        .author = STR("op"),
        .reason = STR("because") };
    buf_init(&payload, 65536);
    spool_ctl_encode(&payload, &ctl);
    return record_add(fixture, SPOOL_CTL, msg_id, &payload);
}

enum err fixture_commit(struct fixture *fixture)
{
    bool is_void;
    enum err err = spool_write(fixture->spool);
    enum err sync_err = spool_sync(fixture->spool, &is_void);
    return err == OK ? sync_err : err;
}

static void see_one(void *ctx, const struct spool_open_msg *msg,
        const struct spool_open_rcpt *rcpts, uint32_t rcpt_count)
{
    struct seen *seen = ctx;
    ASSERT(seen->count < COUNT_OF(seen->msg));
    struct seen_msg *one = &seen->msg[seen->count++];
    one->msg = *msg;
    one->rcpt_count = rcpt_count < COUNT_OF(one->rcpt) ? rcpt_count : (uint32_t)COUNT_OF(one->rcpt);
    memcpy(one->rcpt, rcpts, one->rcpt_count * sizeof *rcpts);
}

const struct seen *fixture_see(struct fixture *fixture)
{
    if (fixture->seen == NULL) {
        fixture->seen = mem_new(sizeof *fixture->seen);
        ASSERT(fixture->seen != NULL);
    }
    fixture->seen->count = 0;
    spool_each_open(fixture->spool, see_one, fixture->seen);
    return fixture->seen;
}

const struct seen_msg *seen_find(const struct seen *seen, uint64_t msg_id)
{
    for (uint32_t i = 0; i < seen->count; i++) {
        if (seen->msg[i].msg.msg_id == msg_id) {
            return &seen->msg[i];
        }
    }
    return NULL;
}
