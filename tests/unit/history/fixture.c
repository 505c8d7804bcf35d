/* SPDX-License-Identifier: Apache-2.0
 *
 * fixture.c - see fixture.h.
 */
#include "tests/unit/history/fixture.h"

#include "core/str.h"
#include "core/ulid.h"
#include "tests/test.h"

#include <unistd.h>

static const int64_t start_wall_ms = 1795611600000; /* 2026-11-25T13:00:00Z */

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
    struct fixture *f = ctx;
    f->log_counts[level]++;
    if (level >= LOG_WARN_) {
        fmt(f->last_error, sizeof f->last_error, "%.*s", STR_ARG(line));
    }
}

static void take_line(void *ctx, struct str line)
{
    struct fixture *f = ctx;
    buf_add(&f->lines, line);
    buf_add_char(&f->lines, '\n');
}

static void take_consumed(void *ctx, uint64_t batch_seq)
{
    struct fixture *f = ctx;
    CHECK(batch_seq >= f->consumed);
    f->consumed = batch_seq;
    f->consumed_calls++;
    spool_consumed(f->spool, batch_seq);
}

void fixture_init_on(struct fixture *f, struct disk *spool, struct disk *history)
{
    *f = (struct fixture){ .spool_disk = spool,
        .history_disk = history,
        .clock = { { clock_now, clock_today }, 1000, start_wall_ms },
        .entropy = { .base = { entropy_from_seed } },
        .spool_conf = { .slot_bytes = 256 << 10,
                .spare_slots = 4,
                .is_any_fs = true,
                .checkpoint_bytes = 1 << 20,
                .checkpoint_ms = 600000 },
        .conf = { .days = 30, .hostname = STR("mail.example.com"), .pid = 7, .line = take_line } };
    prng_init(&f->entropy.prng, 1);
    buf_init(&f->lines, 64 << 20);
}

void fixture_init(struct fixture *f, uint64_t seed)
{
    struct sim_disk *spool = sim_disk_new(seed), *history = sim_disk_new(seed + 1);
    fixture_init_on(f, sim_disk_as_disk(spool), sim_disk_as_disk(history));
    f->spool_sim = spool;
    f->history_sim = history;
}

static enum err open_history(struct fixture *f)
{
    struct why why = { 0 };
    struct scribe_ports ports = { f, take_consumed };
    f->consumed = 0;
    enum err err = scribe_new(
            f->history_disk, f->view, &f->clock.base, &f->log, &f->conf, &ports, &f->scribe, &why);
    if (err == OK) {
        err = history_open(f->history_disk, &f->history, &why);
    }
    if (err != OK) {
        fmt(f->last_error, sizeof f->last_error, "%s", why.text);
    }
    return err;
}

enum err fixture_try_open(struct fixture *f)
{
    struct why why = { 0 };
    f->log = (struct log){ LOG_DEBUG_, log_count, f };
    f->conf.line_ctx = f->conf.line_ctx ? f->conf.line_ctx : f;
    REQUIRE_OK(spool_open(f->spool_disk, &f->clock.base, &f->entropy.base, &f->log, &f->spool_conf,
            &f->spool, &why));
    REQUIRE_OK(spool_view_of(f->spool, f->spool_disk, &f->view));
    return open_history(f);
}

void fixture_open(struct fixture *f)
{
    enum err err = fixture_try_open(f);
    CHECK(err == OK, "open: %s", f->last_error);
}

void fixture_close(struct fixture *f)
{
    scribe_free(f->scribe);
    history_close(f->history);
    spool_view_close(f->view);
    spool_close(f->spool);
    f->scribe = NULL;
    f->history = NULL;
    f->view = NULL;
    f->spool = NULL;
    if (f->spool_sim != NULL) {
        f->spool_disk->ops->close_disk(f->spool_disk);
    }
}

void fixture_restart(struct fixture *f, enum sim_disk_crash mode, uint64_t arg)
{
    if (mode != SIM_CRASH_MODE_COUNT) {
        sim_disk_cut_at(f->history_sim, 1); /* nothing of the closing reaches the disk */
    }
    scribe_free(f->scribe);
    history_close(f->history);
    f->scribe = NULL;
    f->history = NULL;
    if (mode != SIM_CRASH_MODE_COUNT) {
        sim_disk_crash(f->history_sim, mode, arg);
    }
    enum err err = open_history(f);
    CHECK(err == OK, "open after a crash: %s", f->last_error);
}

void fixture_done(struct fixture *f)
{
    fixture_close(f);
    buf_done(&f->lines);
    if (f->spool_sim != NULL) {
        sim_disk_free(f->spool_sim);
        sim_disk_free(f->history_sim);
    }
}

static void remove_file(void *ctx, const char *name)
{
    struct disk *disk = ctx;
    (void)!disk->ops->remove(disk, name, NULL);
}

void fixture_remove_dir(struct disk *disk, const char *path, const char *part)
{
    char dir[256];
    fmt(dir, sizeof dir, "%s/%s", path, part);
    REQUIRE_OK(disk->ops->list(disk, remove_file, disk, NULL));
    disk->ops->close_disk(disk);
    CHECK(rmdir(dir) == 0);
}

void fixture_pass(struct fixture *f, int64_t ms)
{
    f->clock.mono_ms += ms;
    f->clock.wall_ms += ms;
}

/* ---- records -------------------------------------------------------------------------------- */

static struct blob *blob_of(struct str bytes)
{
    struct blob *blob = blob_new(NULL, bytes.len);
    CHECK(blob != NULL);
    REQUIRE_OK(blob_add(blob, bytes));
    return blob;
}

struct ulid fixture_ulid(uint32_t number)
{
    uint8_t random[10] = { 0 };
    put_u32(random, number);
    return ulid_make((struct wall){ start_wall_ms }, random);
}

static struct blob *envelope_blob(const struct fixture *f, const struct fixture_msg *msg)
{
    struct buf rcpts, bytes;
    char text[64], tag[32], id[64];
    uint32_t rcpt_count = msg->rcpt_count ? msg->rcpt_count : 1;
    buf_init(&rcpts, SPOOL_ENVELOPE_BYTES_MAX);
    buf_init(&bytes, SPOOL_ENVELOPE_BYTES_MAX);
    for (uint32_t i = 0; i < rcpt_count; i++) {
        size_t len = i ? fmt(text, sizeof text, "user%u.%u@example.net", msg->number, i)
                       : fmt(text, sizeof text, "user%u@example.net", msg->number);
        spool_rcpt_add(&rcpts, str_of(text, len));
    }
    size_t tag_len = fmt(tag, sizeof tag, "tag-%u", msg->number % 10);
    size_t id_len = fmt(id, sizeof id, "<%u%s@shop.example>", msg->number, f->message_id_extra);
    struct spool_envelope envelope = { .ulid = fixture_ulid(msg->number),
        .accepted_at = msg->at.ms ? msg->at : (struct wall){ f->clock.wall_ms },
        .flags = msg->flags,
        .content_bytes = 5120,
        .sender = msg->sender.ptr ? msg->sender : STR("app@shop.example"),
        .stream = STR("transactional"),
        .credential = STR("shop"),
        .tag = msg->tag.ptr ? msg->tag : str_of(tag, tag_len),
        .meta = msg->meta.ptr ? msg->meta : STR("order=4711\nuser=42\n"),
        .message_id = msg->message_id.ptr ? msg->message_id : str_of(id, id_len),
        .from_domain = STR("shop.example"),
        .client = msg->client.ptr ? msg->client : STR("192.0.2.10"),
        .helo = STR("app1.shop.example"),
        .rcpt_count = rcpt_count,
        .rcpts = buf_str(&rcpts) };
    spool_envelope_encode(&bytes, &envelope);
    REQUIRE_OK(buf_err(&bytes));
    struct blob *blob = blob_of(buf_str(&bytes));
    buf_done(&rcpts);
    buf_done(&bytes);
    return blob;
}

uint64_t fixture_accept(struct fixture *f, const struct fixture_msg *msg)
{
    uint64_t msg_id = 0;
    struct blob *content = blob_of(STR("Subject: hello\r\n\r\nhello\r\n"));
    struct blob *envelope = envelope_blob(f, msg);
    enum err err = spool_batch_accept(f->spool, envelope, content, NULL, &msg_id);
    if (err == E_FULL) {
        fixture_sync(f);
        err = spool_batch_accept(f->spool, envelope, content, NULL, &msg_id);
    }
    REQUIRE_OK(err);
    blob_give(content);
    blob_give(envelope);
    return msg_id;
}

uint64_t fixture_accept_number(struct fixture *f, uint32_t number)
{
    struct fixture_msg msg = { .number = number };
    return fixture_accept(f, &msg);
}

static void record(
        struct fixture *f, enum spool_record_type type, uint64_t msg_id, struct buf *payload)
{
    REQUIRE_OK(buf_err(payload));
    enum err err = spool_batch_record(f->spool, type, msg_id, buf_str(payload));
    if (err == E_FULL) {
        fixture_sync(f);
        err = spool_batch_record(f->spool, type, msg_id, buf_str(payload));
    }
    REQUIRE_OK(err);
    buf_done(payload);
}

void fixture_attempt(struct fixture *f, uint64_t msg_id, uint16_t rcpt, uint32_t attempt_no)
{
    struct buf payload;
    struct spool_attempt attempt = { msg_id, &rcpt, 1, attempt_no, { f->clock.wall_ms } };
    buf_init(&payload, 1 << 20);
    spool_attempt_encode(&payload, &attempt);
    record(f, SPOOL_ATTEMPT, msg_id, &payload);
}

struct spool_outcome fixture_outcome_of(
        struct fixture *f, uint64_t msg_id, uint32_t attempt_no, enum spool_result result)
{
    static const uint16_t first = 0;
    struct spool_outcome outcome = { .msg_id = msg_id,
        .rcpt = &first,
        .rcpt_count = 1,
        .attempt_no = attempt_no,
        .result = result,
        .at = { f->clock.wall_ms },
        .site = STR("mx1.example.net,mx2.example.net"),
        .source = STR("a"),
        .remote_host = STR("mx1.example.net"),
        .remote_ip = STR("198.51.100.25"),
        .tls = STR("TLSv1.3 TLS_AES_256_GCM_SHA384 256 verified"),
        .queued_ms = 12,
        .connect_ms = 150,
        .transfer_ms = 320 };
    if (result == SPOOL_RESULT_DELIVERED) {
        outcome.code = 250;
        outcome.enhanced = STR("2.0.0");
        outcome.text = STR("Ok: queued as 4XyZ7Q1abcz9rQ");
    } else if (result == SPOOL_RESULT_IN_DOUBT) {
        outcome.enhanced = STR("4.4.2");
        outcome.text = STR(
                "lost connection with mx1.example.net[198.51.100.25]:25 while sending end of data");
    } else {
        bool is_final = result == SPOOL_RESULT_BOUNCED;
        outcome.code = is_final ? 550 : 451;
        outcome.enhanced = is_final ? STR("5.1.1") : STR("4.3.0");
        outcome.text = is_final ? STR("<user@example.net>: user unknown") : STR("try again later");
        outcome.dialogue = STR("C: RCPT TO:<user@example.net>\nS: 451 4.3.0 try again later\n");
    }
    if (result == SPOOL_RESULT_DEFERRED || result == SPOOL_RESULT_IN_DOUBT) {
        outcome.due.ms = f->clock.wall_ms + 300000;
    }
    return outcome;
}

void fixture_outcome_as(struct fixture *f, const struct spool_outcome *outcome)
{
    struct buf payload;
    buf_init(&payload, 1 << 20);
    spool_outcome_encode(&payload, outcome);
    record(f, SPOOL_OUTCOME, outcome->msg_id, &payload);
}

void fixture_outcome(struct fixture *f, uint64_t msg_id, uint16_t rcpt, uint32_t attempt_no,
        enum spool_result result)
{
    struct spool_outcome outcome = fixture_outcome_of(f, msg_id, attempt_no, result);
    outcome.rcpt = &rcpt;
    fixture_outcome_as(f, &outcome);
}

void fixture_ctl(struct fixture *f, uint64_t msg_id, uint16_t rcpt, enum spool_ctl_action action)
{
    struct buf payload;
    struct spool_ctl ctl = { msg_id, &rcpt, 1, action, { f->clock.wall_ms }, STR("anna"),
        STR("asked by the customer") };
    buf_init(&payload, 1 << 20);
    spool_ctl_encode(&payload, &ctl);
    record(f, SPOOL_CTL, msg_id, &payload);
}

void fixture_dsn(struct fixture *f, uint64_t msg_id, uint16_t rcpt, uint64_t dsn_msg_id)
{
    struct buf payload;
    struct spool_dsn_link link = { msg_id, &rcpt, 1 };
    buf_init(&payload, 1 << 20);
    spool_dsn_encode(&payload, &link, dsn_msg_id);
    record(f, SPOOL_DSN, msg_id, &payload);
}

void fixture_refuse(struct fixture *f, struct str recipient)
{
    struct buf payload;
    struct spool_refusal refusal = { { f->clock.wall_ms }, STR("203.0.113.9"), STR("spammer"),
        STR(""), STR("s@example.org"), recipient, 554, STR("5.7.1"), STR("Relay access denied") };
    buf_init(&payload, 1 << 20);
    spool_refusal_encode(&payload, &refusal);
    record(f, SPOOL_REFUSED, 0, &payload);
}

void fixture_sync(struct fixture *f)
{
    bool is_void;
    REQUIRE_OK(spool_write(f->spool));
    REQUIRE_OK(spool_sync(f->spool, &is_void));
    (void)spool_tick(f->spool, (struct mono){ f->clock.mono_ms });
}

void fixture_settle(struct fixture *f)
{
    fixture_sync(f);
    for (int i = 0; i < 200000; i++) {
        struct mono now = { f->clock.mono_ms };
        struct mono due = scribe_turn(f->scribe, now);
        if (due.ms > now.ms) {
            if (scribe_is_caught_up(f->scribe) && due.ms - now.ms > 5000) {
                return; /* told what is consumed; only housekeeping is left */
            }
            fixture_pass(f, due.ms - now.ms);
        }
    }
    test_fail(__FILE__, __LINE__, "the scribe does not come to an end: %s", f->last_error);
}

/* ---- looking -------------------------------------------------------------------------------- */

json_t *fixture_find_all(
        struct fixture *f, enum history_key by, const char *value, uint32_t count_max)
{
    struct history_query query = { by, str_from_c(value), count_max };
    struct why why = { 0 };
    struct buf json;
    buf_init(&json, 256 << 20);
    enum err err = history_find_json(f->history, &query, &json, &why);
    CHECK(err == OK || err == E_NOT_FOUND, "find: %s: %s", err_name(err), why.text);
    json_error_t error;
    json_t *found = err == OK ? json_loadb(json.ptr, json.len, 0, &error) : NULL;
    CHECK(err != OK || found != NULL, "not JSON: %s: %.*s", error.text, STR_ARG(buf_str(&json)));
    buf_done(&json);
    return found;
}

json_t *fixture_find(struct fixture *f, enum history_key by, const char *value)
{
    json_t *all = fixture_find_all(f, by, value, 1), *first = NULL;
    if (all != NULL) {
        first = json_incref(json_array_get(all, 0));
        json_decref(all);
    }
    return first;
}

json_t *fixture_find_number(struct fixture *f, uint32_t number)
{
    char text[ULID_TEXT_LEN + 1];
    ulid_format(fixture_ulid(number), text);
    return fixture_find(f, HISTORY_BY_ID, text);
}

const char *fixture_events(json_t *story, size_t rcpt)
{
    static char text[8192];
    size_t len = 0, i;
    json_t *event;
    text[0] = '\0';
    json_array_foreach(
            json_object_get(json_array_get(json_object_get(story, "recipients"), rcpt), "events"),
            i, event)
    {
        len += fmt(text + len, sizeof text - len, "%s%s", i ? " " : "",
                json_string_value(json_object_get(event, "event")));
    }
    return text;
}

const char *fixture_state(json_t *story, size_t rcpt)
{
    json_t *one = json_array_get(json_object_get(story, "recipients"), rcpt);
    const char *state = json_string_value(json_object_get(one, "state"));
    return state ? state : "(none)";
}

struct history_totals fixture_totals(struct fixture *f)
{
    struct history_totals totals = { 0 };
    struct why why = { 0 };
    enum err err = history_count(f->history, &totals, &why);
    CHECK(err == OK, "count: %s", why.text);
    return totals;
}

static FILE *open_golden(const char *name, const char *mode)
{
    char path[200];
    fmt(path, sizeof path, "tests/data/history/%s", name);
    FILE *file = fopen(path, mode);
    CHECK(file != NULL, "%s", path);
    return file;
}

void fixture_check_golden(const char *name, struct str got)
{
    static char expected[65536];
    if (getenv("OUTPOST_WRITE_GOLDEN") != NULL) {
        FILE *file = open_golden(name, "w");
        CHECK(fwrite(got.ptr, 1, got.len, file) == got.len);
        fclose(file);
        return;
    }
    FILE *file = open_golden(name, "r");
    size_t len = fread(expected, 1, sizeof expected, file), same = 0;
    fclose(file);
    while (same < len && same < got.len && got.ptr[same] == expected[same]) {
        same++;
    }
    CHECK(same == len && len == got.len,
            "%s differs at byte %zu:\n  got      %.200s\n  expected %.200s", name, same,
            same < got.len ? got.ptr + same : "(end)", same < len ? expected + same : "(end)");
}
