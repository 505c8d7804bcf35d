/* SPDX-License-Identifier: Apache-2.0
 *
 * model_test.c - random lives against a simple model of the journal.
 *
 * The model knows for each recipient only what the journal would: its durable state by the records
 * sent. Every record must be a legal step of docs/spool.md, no recipient may be out twice, a crash
 * restores exactly what the model says, and in the end everybody has one fate.
 */
#include "core/prng.h"
#include "tests/unit/queue/rig.h"

#define CONF                                                                                       \
    "hostname = \"mail.example.com\"\n"                                                            \
    "site-connection-max = 2\ntransaction-rcpt-max = 5\n"                                          \
    "stream \"s0\" { retry-first = 1m retry-max = 1h give-up = 2d }\n"                             \
    "stream \"s1\" { hold-in-doubt = yes dsn = no }\n"                                             \
    "source \"a\" { ehlo = \"a.example.com\" }\n"                                                  \
    "source \"b\" { ehlo = \"b.example.com\" }\n"

enum { SECOND = 1000, MINUTE = 60000, HOUR = 3600000, MSGS = 400, RCPTS = 20, STEPS = 4000 };

struct model_rcpt {
    enum spool_state state;
    bool is_out, is_attempting; /* in a job; with an ATTEMPT record */
    bool maybe_duplicate;
    uint32_t attempts;
    struct wall due;
};
struct model_msg {
    struct rig_mail mail;
    char rcpts[RCPTS * 24];
    uint32_t rcpt_count;
    struct wall accepted_at;
    struct model_rcpt rcpt[RCPTS];
};
struct model {
    struct rig *rig;
    struct prng prng;
    uint64_t seed;
    uint32_t step, msg_count;
    struct model_msg msg[MSGS];
    bool is_calm; /* nothing goes wrong any more */
};

static uint32_t below(struct model *m, uint32_t bound)
{
    return (uint32_t)prng_below(&m->prng, bound);
}

static struct model_rcpt *rcpt_of(struct model *m, uint64_t msg_id, uint32_t number)
{
    CHECK(msg_id >= 1 && msg_id <= m->msg_count && number < m->msg[msg_id - 1].rcpt_count);
    return &m->msg[msg_id - 1].rcpt[number];
}

/* ---- what the scheduler does, checked ---- */

static void on_job(struct rig *rig, const struct queue_job *job)
{
    struct model *m = rig->ctx;
    CHECK(job->rcpt_count <= 5);
    for (uint32_t i = 0; i < job->rcpt_count; i++) {
        struct model_rcpt *r = rcpt_of(m, job->msg_id, job->rcpt[i]);
        CHECK(!r->is_out, "seed %llu step %u: sent twice at once", (unsigned long long)m->seed,
                m->step);
        CHECK(r->state == SPOOL_QUEUED || r->state == SPOOL_IN_DOUBT,
                "seed %llu step %u: message %llu/%u is sent in state %s",
                (unsigned long long)m->seed, m->step, (unsigned long long)job->msg_id, job->rcpt[i],
                spool_state_name(r->state));
        CHECK(job->maybe_duplicate == r->maybe_duplicate);
        CHECK(job->attempt_no > r->attempts);
        r->is_out = true;
        if (below(m, 2)) {
            r->is_attempting = true;
        }
    }
}

static enum spool_state after_outcome(const struct rig_record *record)
{
    switch (record->result) {
    case SPOOL_RESULT_DELIVERED:
        return SPOOL_DELIVERED;
    case SPOOL_RESULT_DEFERRED:
        return SPOOL_QUEUED;
    case SPOOL_RESULT_IN_DOUBT:
        return SPOOL_IN_DOUBT;
    case SPOOL_RESULT_BOUNCED:
    case SPOOL_RESULT_EXPIRED:
        return SPOOL_FAILED;
    case SPOOL_RESULT_HELD:
    case SPOOL_RESULT_COUNT:
        break;
    }
    return SPOOL_HELD;
}

static void outcome_one(struct model *m, const struct rig_record *record, struct model_rcpt *r)
{
    bool is_waiting = r->state == SPOOL_QUEUED || r->state == SPOOL_IN_DOUBT;
    CHECK(is_waiting || (r->state == SPOOL_HELD && record->result == SPOOL_RESULT_EXPIRED),
            "seed %llu step %u: result %u in state %s", (unsigned long long)m->seed, m->step,
            record->result, spool_state_name(r->state));
    CHECK(record->result == SPOOL_RESULT_EXPIRED || record->result == SPOOL_RESULT_HELD ||
            record->attempt_no > r->attempts);
    r->state = after_outcome(record);
    r->attempts = record->attempt_no > r->attempts ? record->attempt_no : r->attempts;
    r->due = record->due;
    r->maybe_duplicate |= record->maybe_duplicate || record->result == SPOOL_RESULT_IN_DOUBT;
    r->is_attempting = false;
}

static void ctl_one(struct model *m, const struct rig_record *record, struct model_rcpt *r)
{
    bool is_waiting = r->state == SPOOL_QUEUED || r->state == SPOOL_IN_DOUBT;
    bool is_held = r->state == SPOOL_HELD, is_legal = false;
    enum spool_state before = r->state;
    switch (record->action) {
    case SPOOL_CTL_HOLD:
        is_legal = is_waiting;
        r->state = SPOOL_HELD;
        break;
    case SPOOL_CTL_RELEASE:
        is_legal = is_held;
        r->state = SPOOL_QUEUED;
        break;
    case SPOOL_CTL_CANCEL:
        is_legal = is_waiting || is_held;
        r->state = SPOOL_CANCELLED;
        break;
    case SPOOL_CTL_BOUNCE:
        is_legal = is_waiting || is_held;
        r->state = SPOOL_FAILED;
        break;
    case SPOOL_CTL_FLUSH:
        is_legal = is_waiting;
        r->state = SPOOL_QUEUED;
        break;
    case SPOOL_CTL_CLOSE:
        is_legal = r->state == SPOOL_FAILED;
        r->state = SPOOL_CLOSED;
        break;
    }
    CHECK(is_legal, "seed %llu step %u: action %u is not legal in state %s",
            (unsigned long long)m->seed, m->step, record->action, spool_state_name(before));
}

static void on_record(struct rig *rig, const struct rig_record *record)
{
    struct model *m = rig->ctx;
    for (uint32_t i = 0; i < record->rcpt_count; i++) {
        struct model_rcpt *r = rcpt_of(m, record->msg_id, record->rcpt[i]);
        CHECK(!r->is_out, "seed %llu step %u: a record about one that is out",
                (unsigned long long)m->seed, m->step);
        if (record->type == SPOOL_OUTCOME) {
            outcome_one(m, record, r);
        } else {
            ctl_one(m, record, r);
        }
    }
}

/* ---- what the world does ---- */

static void do_accept(struct model *m)
{
    if (m->msg_count == MSGS) {
        return;
    }
    struct model_msg *msg = &m->msg[m->msg_count++];
    size_t len = 0;
    msg->rcpt_count = below(m, 4) ? 1 + below(m, 3) : 1 + below(m, RCPTS);
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        len += fmt(msg->rcpts + len, sizeof msg->rcpts - len, "%su%u@d%u.example", i ? " " : "", i,
                below(m, 6));
    }
    msg->mail = (struct rig_mail){ .msg_id = m->msg_count,
        .sender = below(m, 4) ? "s@here.example" : "",
        .rcpts = msg->rcpts,
        .stream = below(m, 2) ? "s0" : "s1",
        .flags = below(m, 3) ? 0 : SPOOL_MSG_SIGN,
        .is_content_absent = below(m, 4) == 0 };
    msg->accepted_at = m->rig->wall;
    rig_send(m->rig, &msg->mail);
}

static void do_site(struct model *m)
{
    struct rig *rig = m->rig;
    if (rig->site_ask_count == 0) {
        return;
    }
    uint32_t at = below(m, rig->site_ask_count), luck = m->is_calm ? 9 : below(m, 10);
    struct rig_site_ask ask = rig->site_ask[at];
    rig->site_ask[at] = rig->site_ask[--rig->site_ask_count];
    char key[16];
    fmt(key, sizeof key, "mx%u", (unsigned)ask.domain[1] % 3);
    if (luck == 0) {
        rig_site_answer(rig, ask.domain_id, QUEUE_SITE_BOUNCE, "no such domain", below(m, HOUR));
    } else if (luck < 3) {
        rig_site_answer(rig, ask.domain_id, QUEUE_SITE_DEFER, "no answer", below(m, HOUR));
    } else {
        rig_site_answer(rig, ask.domain_id, QUEUE_SITE_FOUND, key, below(m, HOUR));
    }
}

static void do_result(struct model *m)
{
    static const struct rig_fate *const fates[] = { &rig_delivered, &rig_delivered, &rig_deferred,
        &rig_bounced, &rig_in_doubt, &rig_no_connection, &rig_untried };
    struct rig *rig = m->rig;
    if (rig->job_count == 0) {
        return;
    }
    uint32_t at = below(m, rig->job_count);
    struct queue_job *job = rig->job[at];
    rig->job[at] = rig->job[--rig->job_count];
    for (uint32_t from = 0; from < job->rcpt_count;) {
        const struct rig_fate *fate =
                m->is_calm ? &rig_delivered : fates[below(m, COUNT_OF(fates))];
        uint32_t to = from + 1 + below(m, job->rcpt_count - from);
        for (uint32_t i = from; i < to; i++) {
            struct model_rcpt *r = rcpt_of(m, job->msg_id, job->rcpt[i]);
            r->is_out = false;
            r->is_attempting = false;
        }
        rig_result(rig, job, from, to, fate, to == job->rcpt_count);
        from = to;
    }
    queue_job_free(job);
}

static void do_prepare(struct model *m)
{
    static const enum err errs[] = { E_CORRUPT, E_IO, E_NOMEM, E_NOT_FOUND };
    if (m->rig->prepare_count) {
        bool is_bad = !m->is_calm && below(m, 3) == 0;
        rig_prepared(m->rig, rig_prepare(m->rig), is_bad ? errs[below(m, COUNT_OF(errs))] : OK);
    }
}

static void do_dsn(struct model *m)
{
    struct rig *rig = m->rig;
    if (rig->dsn_count == 0) {
        return;
    }
    struct queue_dsn *dsn = rig_dsn(rig);
    if (!m->is_calm && below(m, 3) == 0) {
        dsn->letter.kind = QUEUE_DSN_FAILED;
        mailbox_answer(queue_mailbox(rig->queue), &dsn->letter);
        return;
    }
    for (uint32_t i = 0; i < dsn->rcpt_count; i++) {
        struct model_rcpt *r = rcpt_of(m, dsn->msg_id, dsn->rcpt[i].rcpt);
        CHECK(r->state == SPOOL_FAILED, "seed %llu step %u: a report about one in state %s",
                (unsigned long long)m->seed, m->step, spool_state_name(r->state));
        r->state = SPOOL_NOTIFIED;
    }
    rig_notified(rig, dsn);
}

static void do_act(struct model *m)
{
    static const enum spool_ctl_action actions[] = { SPOOL_CTL_HOLD, SPOOL_CTL_RELEASE,
        SPOOL_CTL_RELEASE, SPOOL_CTL_CANCEL, SPOOL_CTL_BOUNCE, SPOOL_CTL_FLUSH };
    if (m->msg_count == 0) {
        return;
    }
    struct queue_filter filter = { .by_msg = below(m, 4) != 0,
        .msg_id = 1 + below(m, m->msg_count) };
    filter.by_rcpt = below(m, 2);
    filter.rcpt = (uint16_t)below(m, RCPTS);
    enum spool_ctl_action action = actions[below(m, COUNT_OF(actions))];
    if (!filter.by_msg && (action == SPOOL_CTL_CANCEL || action == SPOOL_CTL_BOUNCE)) {
        filter.domain = STR("d1.example");
        filter.age_min_ms = HOUR;
    }
    rig_ask_free(rig_act(m->rig, action, &filter, "random"));
}

static void restore_one(struct model *m, uint64_t msg_id)
{
    struct model_msg *msg = &m->msg[msg_id - 1];
    struct spool_open_rcpt open[RCPTS];
    uint32_t open_count = 0;
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        struct model_rcpt *r = &msg->rcpt[i];
        if (r->is_out && r->is_attempting) { /* recovery: an ATTEMPT without OUTCOME */
            r->state = SPOOL_IN_DOUBT;
            r->maybe_duplicate = true;
            r->attempts++;
        }
        r->is_out = r->is_attempting = false;
        if (spool_state_is_open(r->state)) {
            open[open_count++] = (struct spool_open_rcpt){ .rcpt = (uint16_t)i,
                .state = r->state,
                .tries = (uint16_t)r->attempts,
                .maybe_duplicate = r->maybe_duplicate,
                .due = r->due };
        }
    }
    if (open_count == 0) {
        return;
    }
    struct blob *blob = rig_envelope(&msg->mail, msg->accepted_at);
    struct spool_envelope envelope;
    REQUIRE_OK(spool_envelope_decode(str_of(blob->first->data, blob->first->len), &envelope));
    struct spool_open_msg what = {
        .msg_id = msg_id, .accepted_at = msg->accepted_at, .open_count = open_count
    };
    REQUIRE_OK(queue_restore(m->rig->queue, &what, open, open_count, &envelope));
    blob_give(blob);
}

static void do_crash(struct model *m)
{
    rig_crash(m->rig);
    if (below(m, 4) == 0) { /* and the clock is wrong when it comes back */
        m->rig->wall.ms += (int64_t)below(m, 2 * HOUR) - HOUR;
    }
    for (uint64_t id = 1; id <= m->msg_count; id++) {
        restore_one(m, id);
    }
}

static void do_step(struct model *m)
{
    uint32_t dice = below(m, 1000);
    if (dice < 150) {
        do_accept(m);
    } else if (dice < 300) {
        do_site(m);
    } else if (dice < 600) {
        do_result(m);
    } else if (dice < 750) {
        do_prepare(m);
    } else if (dice < 820) {
        do_dsn(m);
    } else if (dice < 860) {
        do_act(m);
    } else if (dice < 870) {
        rig_reconfigure(
                m->rig, below(m, 2) ? CONF : CONF "pool \"p\" { sources = { \"a\", \"b\" } }\n");
    } else if (dice < 875) {
        do_crash(m);
    } else if (dice < 990) {
        rig_pass(m->rig, below(m, 5 * MINUTE));
    } else {
        rig_pass(m->rig, below(m, 6 * HOUR));
    }
    if (below(m, 3) == 0) {
        rig_turn(m->rig);
    }
}

/* ---- the balance ---- */

static void check_counts(struct model *m)
{
    uint64_t open = 0, held = 0, failed = 0;
    rig_turn(m->rig);
    for (uint32_t i = 0; i < m->msg_count; i++) {
        for (uint32_t k = 0; k < m->msg[i].rcpt_count; k++) {
            enum spool_state state = m->msg[i].rcpt[k].state;
            open += spool_state_is_open(state);
            held += state == SPOOL_HELD;
            failed += state == SPOOL_FAILED;
        }
    }
    struct queue_stats stats = rig_stats(m->rig);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < QUEUE_VIEW_COUNT; i++) {
        sum += stats.rcpts[i];
    }
    CHECK(sum == open && stats.rcpts[QUEUE_VIEW_HELD] == held &&
                    stats.rcpts[QUEUE_VIEW_FAILED] == failed,
            "seed %llu step %u: the scheduler has %llu open, the journal %llu",
            (unsigned long long)m->seed, m->step, (unsigned long long)sum,
            (unsigned long long)open);
}

static void drain(struct model *m)
{
    m->is_calm = true;
    for (uint32_t i = 0; i < 3000 && rig_stats(m->rig).msgs; i++) {
        rig_ask_free(rig_act(m->rig, SPOOL_CTL_RELEASE, NULL, "the end"));
        while (m->rig->site_ask_count + m->rig->job_count + m->rig->prepare_count +
                m->rig->dsn_count) {
            do_site(m);
            do_prepare(m);
            do_result(m);
            do_dsn(m);
            rig_turn(m->rig);
        }
        rig_pass(m->rig, 10 * MINUTE);
    }
    for (uint32_t i = 0; i < m->msg_count; i++) {
        for (uint32_t k = 0; k < m->msg[i].rcpt_count; k++) {
            CHECK(!spool_state_is_open(m->msg[i].rcpt[k].state),
                    "seed %llu: message %u/%u is left in state %s", (unsigned long long)m->seed,
                    i + 1, k, spool_state_name(m->msg[i].rcpt[k].state));
        }
    }
    CHECK_U64(rig_stats(m->rig).msgs, 0);
}

static void live(uint64_t seed)
{
    struct model *m = mem_new(sizeof *m);
    m->seed = seed;
    prng_init(&m->prng, seed);
    m->rig = rig_new(CONF);
    m->rig->ctx = m;
    m->rig->on_record = on_record;
    m->rig->on_job = on_job;
    for (m->step = 0; m->step < STEPS; m->step++) {
        do_step(m);
        if (m->step % 100 == 0) {
            check_counts(m);
        }
    }
    check_counts(m);
    drain(m);
    rig_free(m->rig);
    mem_free(m);
}

TEST(in_random_lives_every_record_is_legal_and_everybody_meets_one_fate)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        live(seed);
    }
}
