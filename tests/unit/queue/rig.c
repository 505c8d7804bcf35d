/* SPDX-License-Identifier: Apache-2.0
 *
 * rig.c - see rig.h.
 */
#include "tests/unit/queue/rig.h"

const struct rig_fate rig_delivered = { SPOOL_RESULT_DELIVERED, QUEUE_MESSAGE, 250, "2.0.0", "ok",
    false };
const struct rig_fate rig_deferred = { SPOOL_RESULT_DEFERRED, QUEUE_RCPT, 451, "4.2.1", "later",
    false };
const struct rig_fate rig_bounced = { SPOOL_RESULT_BOUNCED, QUEUE_RCPT, 550, "5.1.1",
    "no such user", false };
const struct rig_fate rig_in_doubt = { SPOOL_RESULT_IN_DOUBT, QUEUE_MESSAGE, 0, "4.4.2",
    "lost connection after the final dot", false };
const struct rig_fate rig_no_connection = { SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 0, "4.4.1",
    "connection refused", false };
const struct rig_fate rig_untried = { SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 0, "4.3.2", "stopping",
    true };

static struct queue_ask *view_ask_kept;

static struct mono clock_mono_(struct clock *clock)
{
    return CONTAINER_OF(clock, struct rig, clock)->mono;
}
static struct wall clock_wall_(struct clock *clock)
{
    return CONTAINER_OF(clock, struct rig, clock)->wall;
}
static void entropy_fill_(struct entropy *entropy, void *dst, size_t len)
{
    (void)entropy;
    memset(dst, 7, len);
}

/* Room for one more in an array of the rig. */
static void *grown(void *array, uint32_t count, uint32_t *cap, size_t item_bytes)
{
    if (count < *cap) {
        return array;
    }
    *cap = *cap ? *cap * 2
                : 64; /* the first time in rig_new: a port allocates as seldom as it can */
    void *more = mem_grow(array, *cap * item_bytes);
    CHECK(more != NULL);
    return more;
}

/* ---- ports ---- */

static void port_deliver(void *ctx, struct queue_job *job)
{
    struct rig *rig = ctx;
    rig->job = grown(rig->job, rig->job_count, &rig->job_cap, sizeof(struct queue_job *));
    rig->job[rig->job_count++] = job;
    rig->job_total++;
    CHECK(job->rcpt_count > 0);
    CHECK(job->site != NULL);
    CHECK(job->content != NULL);
    CHECK(job->envelope != NULL);
    if (rig->on_job) {
        rig->on_job(rig, job);
    }
}

static void port_want_site(void *ctx, uint32_t domain_id, struct str domain)
{
    struct rig *rig = ctx;
    if (rig->is_site_auto) {
        char key[300];
        fmt(key, sizeof key, "mx.%.*s", STR_ARG(domain));
        rig_site_answer(rig, domain_id, QUEUE_SITE_FOUND, key, 3600000);
        return;
    }
    rig->site_ask =
            grown(rig->site_ask, rig->site_ask_count, &rig->site_ask_cap, sizeof *rig->site_ask);
    struct rig_site_ask *ask = &rig->site_ask[rig->site_ask_count++];
    ask->domain_id = domain_id;
    CHECK(str_to_c(domain, ask->domain, sizeof ask->domain));
}

static void port_prepare(void *ctx, struct queue_prepare *prepare)
{
    struct rig *rig = ctx;
    rig->prepare = grown(
            rig->prepare, rig->prepare_count, &rig->prepare_cap, sizeof(struct queue_prepare *));
    rig->prepare[rig->prepare_count++] = prepare;
}

static void record_ctl(struct rig_record *to, struct str payload, uint16_t *scratch)
{
    struct spool_ctl ctl;
    REQUIRE_OK(spool_ctl_decode(payload, scratch, &ctl));
    to->action = ctl.action;
    to->rcpt_count = ctl.rcpt_count;
    fmt(to->text, sizeof to->text, "%.*s", STR_ARG(ctl.reason));
    fmt(to->author, sizeof to->author, "%.*s", STR_ARG(ctl.author));
}

static void record_outcome(struct rig_record *to, struct str payload, uint16_t *scratch)
{
    struct spool_outcome outcome;
    REQUIRE_OK(spool_outcome_decode(payload, scratch, &outcome));
    CHECK_U64(outcome.msg_id, to->msg_id);
    CHECK(outcome.at.ms != 0);
    to->result = outcome.result;
    to->rcpt_count = outcome.rcpt_count;
    to->attempt_no = outcome.attempt_no;
    to->due = outcome.due;
    to->code = outcome.code;
    to->maybe_duplicate = outcome.maybe_duplicate;
    fmt(to->enhanced, sizeof to->enhanced, "%.*s", STR_ARG(outcome.enhanced));
    fmt(to->text, sizeof to->text, "%.*s", STR_ARG(outcome.text));
}

static void port_record(void *ctx, struct keeper_record *record)
{
    static uint16_t scratch[SPOOL_RCPT_COUNT_MAX];
    struct rig *rig = ctx;
    struct rig_record *to, one = { .type = record->type, .msg_id = record->msg_id };
    struct str payload = str_of(record->payload, record->payload_len);
    rig->record_total++;
    CHECK_U64(record->letter.kind, KEEPER_RECORD);
    CHECK(record->type == SPOOL_CTL || record->type == SPOOL_OUTCOME);
    if (rig->is_record_dropped) {
        mem_free(record);
        return;
    }
    if (record->type == SPOOL_CTL) {
        record_ctl(&one, payload, scratch);
    } else {
        record_outcome(&one, payload, scratch);
    }
    CHECK(one.rcpt_count > 0);
    one.rcpt = scratch;
    if (rig->on_record) {
        rig->on_record(rig, &one);
        mem_free(record);
        return;
    }
    rig->record = grown(rig->record, rig->record_count, &rig->record_cap, sizeof *rig->record);
    to = &rig->record[rig->record_count++];
    *to = one;
    to->rcpt = mem_new(one.rcpt_count * sizeof *to->rcpt);
    memcpy(to->rcpt, scratch, one.rcpt_count * sizeof *to->rcpt);
    mem_free(record);
}

static void port_compose_dsn(void *ctx, struct queue_dsn *dsn)
{
    struct rig *rig = ctx;
    rig->dsn = grown(rig->dsn, rig->dsn_count, &rig->dsn_cap, sizeof(struct queue_dsn *));
    rig->dsn[rig->dsn_count++] = dsn;
}

/* ---- made and freed ---- */

struct config *rig_config(const char *config_text)
{
    struct config_report report = { .fault_count = 0 };
    struct config *config = NULL;
    enum err err = config_parse(str_from_c(config_text), STR("test.conf"), &config, &report);
    CHECK(err == OK, "%s: %.*s", err_name(err),
            STR_ARG(report.fault_count ? report.fault[0].text : STR("no fault named")));
    config_report_done(&report);
    return config;
}

static void open_queue(struct rig *rig)
{
    struct queue_ports ports = { .ctx = rig,
        .deliver = port_deliver,
        .want_site = port_want_site,
        .prepare = port_prepare,
        .record = port_record,
        .compose_dsn = port_compose_dsn };
    REQUIRE_OK(queue_new(&rig->clock, &rig->entropy, NULL, rig->config, &ports, &rig->queue));
}

static void prepare_drop(struct queue_prepare *prepare)
{
    blob_give(prepare->envelope);
    blob_give(prepare->content);
    config_give(prepare->config);
    mem_free(prepare);
}

/* What was out when the scheduler went. */
static void drop_all(struct rig *rig)
{
    while (rig->job_count) {
        queue_job_free(rig->job[--rig->job_count]);
    }
    while (rig->prepare_count) {
        prepare_drop(rig->prepare[--rig->prepare_count]);
    }
    while (rig->dsn_count) {
        queue_dsn_free(rig->dsn[--rig->dsn_count]);
    }
    rig->site_ask_count = 0;
}

struct rig *rig_new(const char *config_text)
{
    struct rig *rig = mem_new(sizeof *rig);
    CHECK(rig != NULL);
    rig->clock = (struct clock){ clock_mono_, clock_wall_ };
    rig->entropy = (struct entropy){ entropy_fill_ };
    rig->mono.ms = RIG_START_MS;
    rig->wall.ms = 1795000000000;
    rig->budget.max_bytes = 1 << 30;
    rig->config = rig_config(config_text);
    rig->job = grown(NULL, 0, &rig->job_cap, sizeof(struct queue_job *));
    rig->prepare = grown(NULL, 0, &rig->prepare_cap, sizeof(struct queue_prepare *));
    rig->dsn = grown(NULL, 0, &rig->dsn_cap, sizeof(struct queue_dsn *));
    rig->site_ask = grown(NULL, 0, &rig->site_ask_cap, sizeof *rig->site_ask);
    mailbox_init(&rig->answers, 1000, NULL, NULL);
    open_queue(rig);
    return rig;
}

void rig_crash(struct rig *rig)
{
    queue_free(rig->queue);
    drop_all(rig);
    open_queue(rig);
}

void rig_free(struct rig *rig)
{
    rig_view_done();
    queue_free(rig->queue);
    drop_all(rig);
    rig_forget_records(rig);
    config_give(rig->config);
    mailbox_done(&rig->answers);
    CHECK_U64(rig->budget.used_bytes, 0); /* every blob was given back */
    mem_free(rig->job);
    mem_free(rig->prepare);
    mem_free(rig->dsn);
    mem_free(rig->record);
    mem_free(rig->site_ask);
    mem_free(rig);
}

void rig_turn(struct rig *rig)
{
    for (uint32_t i = 0; i < 100000; i++) {
        rig->deadline = queue_turn(rig->queue, rig->mono);
        while (rig->is_prepare_auto && rig->prepare_count) {
            rig_prepared(rig, rig_prepare(rig), OK);
        }
        if (!mono_is_due(rig->deadline, rig->mono) &&
                mailbox_count(queue_mailbox(rig->queue)) == 0) {
            return;
        }
    }
    CHECK(false, "the turns do not end");
}

void rig_pass(struct rig *rig, int64_t ms)
{
    struct mono end = { rig->mono.ms + ms };
    rig_turn(rig);
    while (rig->deadline.ms && rig->deadline.ms <= end.ms) {
        rig->wall.ms += rig->deadline.ms - rig->mono.ms;
        rig->mono = rig->deadline;
        rig_turn(rig);
    }
    rig->wall.ms += end.ms - rig->mono.ms;
    rig->mono = end;
    rig_turn(rig);
}

void rig_reconfigure(struct rig *rig, const char *config_text)
{
    struct queue_config *news = mem_new(sizeof *news);
    news->letter.kind = QUEUE_CONFIG;
    news->config = rig_config(config_text);
    mailbox_answer(queue_mailbox(rig->queue), &news->letter);
    rig_turn(rig);
}

void rig_stop(struct rig *rig)
{
    struct letter *stop = mem_new(sizeof *stop);
    stop->kind = QUEUE_STOP;
    mailbox_answer(queue_mailbox(rig->queue), stop);
    rig_turn(rig);
}

/* ---- messages ---- */

struct blob *rig_blob(struct str bytes)
{
    struct blob *blob = blob_new(NULL, bytes.len);
    CHECK(blob != NULL);
    REQUIRE_OK(blob_add(blob, bytes));
    return blob;
}

struct blob *rig_envelope(const struct rig_mail *mail, struct wall accepted_at)
{
    struct buf rcpts, bytes;
    buf_init(&rcpts, SPOOL_ENVELOPE_BYTES_MAX);
    buf_init(&bytes, SPOOL_ENVELOPE_BYTES_MAX);
    struct spool_envelope envelope = { .accepted_at = accepted_at,
        .flags = mail->flags,
        .content_bytes = mail->content_bytes ? mail->content_bytes : 20,
        .sender = str_from_c(mail->sender ? mail->sender : "sender@here.example"),
        .stream = str_from_c(mail->stream ? mail->stream : "main") };
    put_u64(envelope.ulid.byte, mail->msg_id);
    struct str part, rest = str_from_c(mail->rcpts);
    while (str_cut(&rest, ' ', &part)) {
        spool_rcpt_add(&rcpts, part);
        envelope.rcpt_count++;
    }
    envelope.rcpts = buf_str(&rcpts);
    spool_envelope_encode(&bytes, &envelope);
    REQUIRE_OK(buf_err(&bytes));
    struct blob *blob = rig_blob(buf_str(&bytes));
    buf_done(&rcpts);
    buf_done(&bytes);
    return blob;
}

static struct blob *content_of(struct rig *rig, const struct rig_mail *mail)
{
    char text[64];
    size_t len = fmt(text, sizeof text, "hello %llu", (unsigned long long)mail->msg_id);
    struct blob *blob =
            blob_new(&rig->budget, mail->content_bytes > len ? mail->content_bytes : len);
    CHECK(blob != NULL);
    REQUIRE_OK(blob_add(blob, str_of(text, len)));
    return blob;
}

void rig_send(struct rig *rig, const struct rig_mail *mail)
{
    struct queue_accepted *news = mem_new(sizeof *news);
    news->letter.kind = QUEUE_ACCEPTED;
    news->msg_id = mail->msg_id;
    news->where = (struct spool_where){ 1, (uint32_t)mail->msg_id % 32768, 64 };
    news->envelope = rig_envelope(mail, rig->wall);
    news->content = mail->is_content_absent ? NULL : content_of(rig, mail);
    mailbox_answer(queue_mailbox(rig->queue), &news->letter);
}

void rig_accept(struct rig *rig, uint64_t msg_id, const char *rcpts)
{
    rig_send(rig, &(struct rig_mail){ .msg_id = msg_id, .rcpts = rcpts });
    rig_turn(rig);
}

/* ---- sites ---- */

struct site *rig_site_new(const char *key)
{
    struct arena *arena = mem_new(sizeof *arena);
    arena_init(arena, 4096);
    struct site *site = arena_new(arena, sizeof *site);
    atomic_init(&site->refs, 1);
    site->arena = arena;
    site->key = arena_str(arena, str_from_c(key));
    return site;
}

void rig_site_answer(struct rig *rig, uint32_t domain_id, enum queue_site_status status,
        const char *key_or_text, uint64_t ttl_ms)
{
    struct queue_site *answer = mem_new(sizeof *answer);
    answer->letter.kind = QUEUE_SITE;
    answer->domain_id = domain_id;
    answer->status = status;
    answer->until = mono_after(rig->mono, ttl_ms);
    if (status == QUEUE_SITE_FOUND) {
        answer->site = rig_site_new(key_or_text);
    } else {
        fmt(answer->text, sizeof answer->text, "%s", key_or_text);
        fmt(answer->enhanced, sizeof answer->enhanced, "%s",
                status == QUEUE_SITE_DEFER ? "4.4.3" : "5.1.2");
    }
    mailbox_answer(queue_mailbox(rig->queue), &answer->letter);
}

void rig_site(struct rig *rig, const char *domain, enum queue_site_status status,
        const char *key_or_text, uint64_t ttl_ms)
{
    for (uint32_t i = 0; i < rig->site_ask_count; i++) {
        if (strcmp(rig->site_ask[i].domain, domain) == 0) {
            rig_site_answer(rig, rig->site_ask[i].domain_id, status, key_or_text, ttl_ms);
            rig->site_ask[i] = rig->site_ask[--rig->site_ask_count];
            rig_turn(rig);
            return;
        }
    }
    CHECK(false, "nobody asked for %s", domain);
}

/* ---- jobs ---- */

struct queue_job *rig_job(struct rig *rig)
{
    CHECK(rig->job_count > 0, "no job is out");
    struct queue_job *job = rig->job[0];
    memmove(rig->job, rig->job + 1, --rig->job_count * sizeof *rig->job);
    return job;
}

void rig_result(struct rig *rig, const struct queue_job *job, uint32_t from, uint32_t to,
        const struct rig_fate *fate, bool is_last)
{
    struct queue_result *result = mem_new(sizeof *result);
    result->letter.kind = QUEUE_RESULT;
    result->job_id = job->job_id;
    result->lane_id = job->lane_id;
    result->is_last = is_last;
    result->scope = fate->scope;
    result->result = fate->result;
    result->is_untried = fate->is_untried;
    arena_init(&result->arena, 4096);
    result->outcome.code = fate->code;
    result->outcome.enhanced = arena_str(&result->arena, str_from_c(fate->enhanced));
    result->outcome.text = arena_str(&result->arena, str_from_c(fate->text));
    result->outcome.remote_host = arena_str(&result->arena, STR("mx.example"));
    result->outcome.rcpt_count = to - from;
    result->rcpt = mem_new((to - from + 1) * sizeof *result->rcpt);
    memcpy(result->rcpt, job->rcpt + from, (to - from) * sizeof *result->rcpt);
    mailbox_answer(queue_mailbox(rig->queue), &result->letter);
}

void rig_end(struct rig *rig, struct queue_job *job, const struct rig_fate *fate)
{
    rig_result(rig, job, 0, job->rcpt_count, fate, true);
    queue_job_free(job);
    rig_turn(rig);
}

/* ---- workers ---- */

struct queue_prepare *rig_prepare(struct rig *rig)
{
    CHECK(rig->prepare_count > 0, "nothing is to be prepared");
    struct queue_prepare *prepare = rig->prepare[0];
    memmove(rig->prepare, rig->prepare + 1, --rig->prepare_count * sizeof *rig->prepare);
    return prepare;
}

void rig_prepared(struct rig *rig, struct queue_prepare *prepare, enum err err)
{
    prepare->err = err;
    if (err == OK && prepare->envelope == NULL) {
        struct rig_mail mail = { .msg_id = prepare->msg_id, .rcpts = "read@again.example" };
        prepare->envelope = rig_envelope(&mail, rig->wall);
    }
    if (err == OK && prepare->content == NULL) {
        struct rig_mail mail = { .msg_id = prepare->msg_id };
        prepare->content = content_of(rig, &mail);
    }
    if (err == OK && prepare->wants_signature) {
        prepare->signature = rig_blob(STR("DKIM-Signature: v=1\r\n"));
    } else if (err != OK) {
        why_set(&prepare->why, "no luck");
    }
    prepare->letter.kind = QUEUE_PREPARED;
    mailbox_answer(queue_mailbox(rig->queue), &prepare->letter);
    if (!rig->is_prepare_auto) {
        rig_turn(rig);
    }
}

struct queue_dsn *rig_dsn(struct rig *rig)
{
    CHECK(rig->dsn_count > 0, "no report is being written");
    struct queue_dsn *dsn = rig->dsn[0];
    memmove(rig->dsn, rig->dsn + 1, --rig->dsn_count * sizeof *rig->dsn);
    return dsn;
}

void rig_notified(struct rig *rig, struct queue_dsn *dsn)
{
    struct queue_notified *news = mem_new(sizeof *news + dsn->rcpt_count * sizeof news->rcpt[0]);
    news->letter.kind = QUEUE_NOTIFIED;
    news->msg_id = dsn->msg_id;
    news->rcpt_count = dsn->rcpt_count;
    for (uint32_t i = 0; i < dsn->rcpt_count; i++) {
        news->rcpt[i] = dsn->rcpt[i].rcpt;
    }
    queue_dsn_free(dsn);
    mailbox_answer(queue_mailbox(rig->queue), &news->letter);
    rig_turn(rig);
}

/* ---- records ---- */

const struct rig_record *rig_last(struct rig *rig)
{
    CHECK(rig->record_count > 0, "nothing was recorded");
    return &rig->record[rig->record_count - 1];
}

void rig_forget_records(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->record_count; i++) {
        mem_free(rig->record[i].rcpt);
    }
    rig->record_count = 0;
}

uint32_t rig_count_outcomes(const struct rig *rig, enum spool_result result)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < rig->record_count; i++) {
        if (rig->record[i].type == SPOOL_OUTCOME && rig->record[i].result == result) {
            count += rig->record[i].rcpt_count;
        }
    }
    return count;
}

/* ---- asks ---- */

static struct queue_ask *ask_run(struct rig *rig, struct queue_ask *ask)
{
    ask->letter.kind = QUEUE_ASK;
    ask->reply_box = &rig->answers;
    mailbox_answer(queue_mailbox(rig->queue), &ask->letter);
    rig_turn(rig);
    struct letter *letter = mailbox_take_all(&rig->answers);
    CHECK(letter == &ask->letter, "one answer, to this ask");
    return ask;
}

struct queue_ask *rig_ask(
        struct rig *rig, enum queue_ask_kind kind, const struct queue_filter *filter)
{
    struct queue_ask *ask = mem_new(sizeof *ask);
    ask->ask = kind;
    if (filter) {
        ask->filter = *filter;
    }
    return ask_run(rig, ask);
}

struct queue_ask *rig_act(struct rig *rig, enum spool_ctl_action action,
        const struct queue_filter *filter, const char *reason)
{
    struct queue_ask *ask = mem_new(sizeof *ask);
    ask->ask = QUEUE_ASK_ACT;
    ask->action = action;
    ask->author = STR("ann");
    ask->reason = str_from_c(reason);
    if (filter) {
        ask->filter = *filter;
    }
    return ask_run(rig, ask);
}

void rig_ask_free(struct queue_ask *ask)
{
    if (ask) {
        arena_done(&ask->arena);
        mem_free(ask);
    }
}

struct queue_stats rig_stats(struct rig *rig)
{
    struct queue_ask *ask = rig_ask(rig, QUEUE_ASK_STATS, NULL);
    REQUIRE_OK(ask->err);
    struct queue_stats stats = ask->stats;
    rig_ask_free(ask);
    return stats;
}

void rig_view_done(void)
{
    rig_ask_free(view_ask_kept);
    view_ask_kept = NULL;
}

const struct queue_view *rig_view(struct rig *rig, uint64_t msg_id, uint16_t rcpt)
{
    struct queue_filter filter = {
        .by_msg = true, .msg_id = msg_id, .by_rcpt = true, .rcpt = rcpt
    };
    rig_view_done();
    view_ask_kept = rig_ask(rig, QUEUE_ASK_EXPLAIN, &filter);
    REQUIRE_OK(view_ask_kept->err);
    CHECK_U64(view_ask_kept->view_count, 1);
    return &view_ask_kept->view[0];
}

bool rig_has(struct str text, const char *part)
{
    return str_find(text, str_from_c(part)) < text.len;
}
