/* SPDX-License-Identifier: Apache-2.0
 *
 * view.c - questions: lists, statistics, and why something waits and until when.
 *
 * Whatever looks at more than one message is done a bounded piece a turn, one question after the
 * other, so that a list of millions does not hold up a single delivery.
 */
#include "queue/queue_priv.h"

enum {
    VIEW_DEFAULT_COUNT = 1000,
    VIEW_ARENA_BYTES_MAX = 64 << 20,
    VIEW_TEXT_BYTES_MAX = 1200,
    VIEW_REASON_BYTES_MAX = REASON_BYTES_MAX * 2 + 100
};

/* ---- filters ---- */

static bool msg_matches(
        const struct queue *q, const struct queue_filter *filter, const struct msg *m)
{
    return (filter->age_min_ms == 0 || msg_age_ms(q, m) >= filter->age_min_ms) &&
           (filter->stream.len == 0 || str_eq(filter->stream, q->stream[m->stream].name));
}

static bool reason_matches(const struct queue *q, const struct rcpt *r, struct str wanted)
{
    char text[VIEW_REASON_BYTES_MAX];
    uint16_t reason = r->reason;
    if (r->lane != NONE && lane_is_suspended(q, lane_at(q, r->lane))) {
        reason = lane_at(q, r->lane)->reason;
    }
    size_t len = reason_format(q, reason, text, sizeof text);
    return str_find(str_of(text, len), wanted) < len;
}

/* domain: the number of filter.domain, where it is given. */
bool view_filter(const struct queue *q, const struct queue_filter *filter, const struct msg *msg,
        const struct rcpt *rcpt, uint32_t domain)
{
    return msg_matches(q, filter, msg) && (!filter->by_rcpt || filter->rcpt == rcpt->number) &&
           (filter->domain.len == 0 || rcpt->domain == domain) &&
           (!filter->by_state || rcpt_view(rcpt) == filter->state) &&
           (filter->reason.len == 0 || reason_matches(q, rcpt, filter->reason));
}

/* ---- sentences ---- */

static const char *format_time(struct wall at, char dst[TIME_TEXT_CAP])
{
    time_rfc3339(at, dst);
    dst[19] = 'Z'; /* without milliseconds */
    dst[20] = '\0';
    return dst;
}

static const char *format_span(int64_t ms, char dst[40])
{
    unsigned long long s = ms > 0 ? ((unsigned long long)ms + 999) / 1000 : 0;
    if (s < 120) {
        fmt(dst, 40, "%llu s", s);
    } else if (s < 7200) {
        fmt(dst, 40, "%llu min", s / 60);
    } else if (s < 172800) {
        fmt(dst, 40, "%llu h %llu min", s / 3600, s / 60 % 60);
    } else {
        fmt(dst, 40, "%llu days %llu h", s / 86400, s / 3600 % 24);
    }
    return dst;
}

static const char *or_else(struct str s, const char *otherwise, char dst[VIEW_REASON_BYTES_MAX])
{
    fmt(dst, VIEW_REASON_BYTES_MAX, "%.*s", STR_ARG(s.len ? s : str_from_c(otherwise)));
    return dst;
}

static struct str place_key(const struct queue *q, const struct rcpt *r)
{
    const struct domain *d = domain_at(q, r->domain);
    if (r->lane != NONE) {
        return lane_site(q, lane_at(q, r->lane))->key;
    }
    return d->answer == DOMAIN_FOUND ? place_at(q, d->site)->site->key : (struct str){ 0 };
}

/* Why a recipient in a lane does not go now: the short reason into view->reason where it has none
 * of its own, and the sentence. */
static void say_lane(const struct queue *q, const struct lane *lane, struct queue_view *view,
        char *short_, char *dst)
{
    char when[TIME_TEXT_CAP], span[40];
    const struct gate *gate = gate_at(q, lane->gate);
    struct str site = lane_site(q, lane)->key;
    if (q->is_stopping) {
        fmt(short_, VIEW_REASON_BYTES_MAX, "the node is stopping");
        fmt(dst, VIEW_TEXT_BYTES_MAX, "The node is stopping and starts no new attempt.");
    } else if (lane_is_suspended(q, lane)) {
        int64_t left_ms = lane->suspended_until.ms - q->now.ms;
        view->due = wall_in(q, left_ms);
        reason_format(q, lane->reason, short_, VIEW_REASON_BYTES_MAX);
        fmt(dst, VIEW_TEXT_BYTES_MAX,
                "%.*s could not be talked to (%s), so nothing is sent there until %s, in %s.",
                STR_ARG(site), short_, format_time(view->due, when), format_span(left_ms, span));
    } else if (lane->failures && lane->job_count) {
        fmt(short_, VIEW_REASON_BYTES_MAX, "waiting for a probe of the site");
        fmt(dst, VIEW_TEXT_BYTES_MAX,
                "%.*s could not be talked to before; one message probes it now, the others follow.",
                STR_ARG(site));
    } else {
        fmt(short_, VIEW_REASON_BYTES_MAX, "waiting for a connection (%u of %u jobs out)",
                gate->job_count, gate_job_max(q));
        fmt(dst, VIEW_TEXT_BYTES_MAX,
                "It is ready and goes as soon as a connection to %.*s is free: %u of at most %u "
                "jobs "
                "are out, %u recipients wait in this lane.",
                STR_ARG(site), gate->job_count, gate_job_max(q),
                lane->ready.count + lane->go.count);
    }
}

static void say_wait(const struct queue *q, const struct rcpt *r, struct queue_view *view,
        const char *reason, char *dst)
{
    char when[TIME_TEXT_CAP], span[40], end[TIME_TEXT_CAP];
    const struct msg *m = msg_at(q, r->msg);
    int64_t left_ms = wheel_time(&q->wheel, r->due).ms - q->now.ms;
    int64_t life_ms = (int64_t)q->stream[m->stream].give_up_ms - (int64_t)msg_age_ms(q, m);
    view->due = wall_in(q, left_ms);
    fmt(dst, VIEW_TEXT_BYTES_MAX, "%s (%s). Try %u is at %s, in %s; it is given up at %s.",
            r->flags & RCPT_DOUBT ? "The last attempt ended in doubt, it may have arrived"
                                  : "The last attempt was put off",
            reason, r->attempts + 1u, format_time(view->due, when), format_span(left_ms, span),
            format_time(wall_in(q, life_ms > 0 ? life_ms : 0), end));
}

static void say_failed(const struct queue *q, const struct rcpt *r, const char *reason, char *dst)
{
    uint64_t number;
    const struct report *report = map_get(&q->report_map, r->msg, &number)
                                          ? slab_at(&q->reports, (uint32_t)number)
                                          : NULL;
    fmt(dst, VIEW_TEXT_BYTES_MAX, "It failed for good (%s); %s.", reason,
            report && report->state == REPORT_COMPOSING
                    ? "the report to its sender is being written"
            : report && report->tries
                    ? "the report to its sender could not be written, and is tried again"
                    : "the report to its sender is written next");
}

static void say(const struct queue *q, const struct rcpt *r, struct queue_view *view, char *reason,
        char *dst)
{
    char own[VIEW_REASON_BYTES_MAX], end[TIME_TEXT_CAP];
    const struct msg *m = msg_at(q, r->msg);
    int64_t life_ms = (int64_t)q->stream[m->stream].give_up_ms - (int64_t)msg_age_ms(q, m);
    size_t own_len = reason_format(q, r->reason, own, sizeof own);
    or_else(str_of(own, own_len), "no reason is remembered", reason);
    switch ((enum rcpt_state)r->state) {
    case RCPT_NEW:
    case RCPT_SITE:
        fmt(reason, VIEW_REASON_BYTES_MAX, "looking up where to send");
        fmt(dst, VIEW_TEXT_BYTES_MAX, "The mail servers of %.*s are being looked up.",
                STR_ARG(domain_at(q, r->domain)->name));
        break;
    case RCPT_READY:
    case RCPT_GO:
        say_lane(q, lane_at(q, r->lane), view, reason, dst);
        break;
    case RCPT_STAGED:
        fmt(reason, VIEW_REASON_BYTES_MAX, "being prepared");
        fmt(dst, VIEW_TEXT_BYTES_MAX, "It is being read%s, and goes next.",
                m->flags & MSG_SIGN ? " and signed" : "");
        break;
    case RCPT_ACTIVE:
        fmt(reason, VIEW_REASON_BYTES_MAX, "attempt %u runs", r->attempts + 1u);
        fmt(dst, VIEW_TEXT_BYTES_MAX, "Attempt %u is running now, to %.*s%s.", r->attempts + 1u,
                STR_ARG(place_key(q, r)),
                r->flags & RCPT_PENDING ? "; an operator's action waits for its end" : "");
        break;
    case RCPT_WAIT:
        say_wait(q, r, view, reason, dst);
        break;
    case RCPT_HELD:
        fmt(dst, VIEW_TEXT_BYTES_MAX,
                "It is held (%s) until somebody releases it; it expires at %s.", reason,
                format_time(wall_in(q, life_ms > 0 ? life_ms : 0), end));
        break;
    case RCPT_FAILED:
        say_failed(q, r, reason, dst);
        break;
    case RCPT_FREE:
    case RCPT_STATE_COUNT:
        ASSERT(false);
    }
}

/* ---- one entry ---- */

static bool view_fill(
        const struct queue *q, struct arena *arena, const struct rcpt *r, struct queue_view *view)
{
    char reason[VIEW_REASON_BYTES_MAX], text[VIEW_TEXT_BYTES_MAX];
    const struct msg *m = msg_at(q, r->msg);
    const struct lane *lane = r->lane == NONE ? NULL : lane_at(q, r->lane);
    *view = (struct queue_view){
        .msg_id = m->msg_id,
        .where = msg_where(m),
        .rcpt = r->number,
        .state = rcpt_view(r),
        .tries = r->attempts,
        .maybe_duplicate = (r->flags & RCPT_DUPLICATE) != 0,
        .accepted_at = { time48_ms(m->accepted) },
        .content_bytes = m->content_bytes,
    };
    say(q, r, view, reason, text);
    view->domain = arena_str(arena, domain_at(q, r->domain)->name);
    view->stream = arena_str(arena, q->stream[m->stream].name);
    view->site = arena_str(arena, place_key(q, r));
    uint32_t source = lane ? gate_at(q, lane->gate)->source : NONE;
    view->source = source == NONE ? STR("") : arena_str(arena, q->source[source].name);
    view->reason = arena_str(arena, str_from_c(reason));
    view->waits_for = arena_str(arena, str_from_c(text));
    return view->domain.ptr && view->stream.ptr && view->site.ptr && view->source.ptr &&
           view->reason.ptr && view->waits_for.ptr;
}

/* Room for one more, in the ask's arena: doubled, the old array stays there unused. */
static struct queue_view *view_space(struct queue_ask *ask)
{
    uint32_t count = ask->view_count;
    if ((count & (count - 1)) == 0) { /* 0, 1, 2, 4, ...: full */
        struct queue_view *view = arena_new(&ask->arena, (count ? 2 * count : 1) * sizeof *view);
        if (view == NULL) {
            return NULL;
        }
        if (count) {
            memcpy(view, ask->view, count * sizeof *view);
        }
        ask->view = view;
    }
    return &ask->view[count];
}

static uint32_t view_count_max(const struct queue_ask *ask)
{
    uint32_t count = ask->filter.count_max ? ask->filter.count_max : VIEW_DEFAULT_COUNT;
    return count < QUEUE_VIEW_COUNT_MAX ? count : QUEUE_VIEW_COUNT_MAX;
}

/* The recipients of a message that match, from *number on. E_FULL: the page is. */
static enum err view_msg(const struct queue *q, struct queue_ask *ask, uint32_t msg,
        uint32_t domain, uint32_t *number)
{
    const struct msg *m = msg_at(q, msg);
    if (!msg_matches(q, &ask->filter, m)) {
        return OK;
    }
    for (; *number < m->rcpt_count; ++*number) {
        uint32_t rcpt = rcpt_find(q, msg, *number);
        if (rcpt == NONE || !view_filter(q, &ask->filter, m, rcpt_at(q, rcpt), domain)) {
            continue;
        }
        if (ask->view_count >= view_count_max(ask)) {
            return E_FULL;
        }
        struct queue_view *view = view_space(ask);
        if (view == NULL || !view_fill(q, &ask->arena, rcpt_at(q, rcpt), view)) {
            return E_NOMEM;
        }
        ask->view_count++;
    }
    return OK;
}

/* ---- asks ---- */

static int view_compare(const void *a, const void *b)
{
    const struct queue_view *x = a, *y = b;
    if (x->msg_id != y->msg_id) {
        return x->msg_id < y->msg_id ? -1 : 1;
    }
    return (int)x->rcpt - (int)y->rcpt;
}

void view_answer(struct queue *q, struct queue_ask *ask, enum err err)
{
    (void)q;
    ask->err = err;
    if (err == OK && ask->view_count) {
        qsort(ask->view, ask->view_count, sizeof *ask->view, view_compare);
    }
    mailbox_answer(ask->reply_box, &ask->letter);
}

static void stats_fill(const struct queue *q, struct queue_stats *stats)
{
    stats->msgs = q->msg_count;
    memcpy(stats->rcpts, q->rcpt_count, sizeof stats->rcpts);
    stats->delivered = q->delivered;
    stats->deferred = q->deferred;
    stats->bounced = q->bounced;
    stats->expired = q->expired;
    stats->in_doubt = q->in_doubt;
    stats->cancelled = q->cancelled;
    stats->lanes = q->lane_count;
    stats->sites = q->places.used_count;
    stats->domains = q->domains.used_count;
}

static void ask_one(struct queue *q, struct queue_ask *ask)
{
    uint32_t msg = msg_find(q, ask->filter.msg_id), number = 0, domain = NONE;
    enum err err = E_NOT_FOUND;
    if (msg != NONE && ask->ask == QUEUE_ASK_ACT) {
        err = act_on_msg(q, msg, ask);
    } else if (msg != NONE) {
        number = ask->filter.after ? (uint32_t)((ask->filter.after - 1) & UINT16_MAX) : 0;
        domain = ask->filter.domain.len ? domain_find(q, ask->filter.domain) : NONE;
        err = view_msg(q, ask, msg, domain, &number);
        if (err == E_FULL) {
            ask->next_after = ((uint64_t)msg << 16 | number) + 1;
            err = OK;
        }
    }
    view_answer(q, ask, err);
}

void view_ask(struct queue *q, struct queue_ask *ask)
{
    if (ask->arena.max_bytes == 0) {
        arena_init(&ask->arena, VIEW_ARENA_BYTES_MAX);
    }
    ask->view = NULL;
    ask->view_count = 0;
    ask->changed_count = ask->pending_count = ask->next_after = 0;
    if (ask->filter.by_msg && ask->ask != QUEUE_ASK_STATS) {
        ask_one(q, ask);
        return;
    }
    if (q->asks == NULL) {
        q->ask_at = ask->filter.after ? ask->filter.after - 1 : 0;
    }
    ask->letter.next = NULL;
    *q->asks_last = &ask->letter;
    q->asks_last = &ask->letter.next;
}

/* One message slot of a long ask. E_FULL: the page is full; else an error that ends it. */
static enum err ask_step(struct queue *q, struct queue_ask *ask, uint32_t msg, uint32_t domain,
        uint32_t *number, uint32_t *budget)
{
    const struct msg *m = msg_at(q, msg);
    if (m->rcpt_count == 0) {
        return OK;
    }
    if (ask->ask == QUEUE_ASK_STATS) {
        int64_t age_ms = (int64_t)msg_age_ms(q, m);
        ask->stats.oldest_age_ms =
                age_ms > ask->stats.oldest_age_ms ? age_ms : ask->stats.oldest_age_ms;
        return OK;
    }
    if (ask->filter.domain.len && domain == NONE) {
        return OK;
    }
    if (ask->ask == QUEUE_ASK_ACT) {
        if (!msg_matches(q, &ask->filter, m)) {
            return OK;
        }
        uint32_t cost = TURN_SCAN_COUNT_MAX / TURN_ACT_COUNT_MAX;
        *budget -= *budget < cost ? *budget : cost;
        return act_on_msg(q, msg, ask);
    }
    uint32_t before = ask->view_count;
    enum err err = view_msg(q, ask, msg, domain, number);
    uint32_t cost = (ask->view_count - before) * 4;
    *budget -= *budget < cost ? *budget : cost;
    return err;
}

/* Goes on with the first ask. OK: it is done; E_AGAIN: more next turn. */
static enum err ask_run(struct queue *q, struct queue_ask *ask, uint32_t *budget)
{
    uint32_t domain = ask->filter.domain.len ? domain_find(q, ask->filter.domain) : NONE;
    while (q->ask_at >> 16 < q->msgs.end) {
        uint32_t msg = (uint32_t)(q->ask_at >> 16), number = (uint32_t)(q->ask_at & UINT16_MAX);
        if (*budget == 0) {
            return E_AGAIN;
        }
        --*budget;
        enum err err = ask_step(q, ask, msg, domain, &number, budget);
        if (err == E_FULL) {
            ask->next_after = ((uint64_t)msg << 16 | number) + 1;
            return OK;
        }
        if (err != OK) {
            return err;
        }
        q->ask_at = ((uint64_t)msg + 1) << 16;
    }
    return OK;
}

void view_run(struct queue *q)
{
    uint32_t budget = TURN_SCAN_COUNT_MAX;
    while (q->asks) {
        struct queue_ask *ask = CONTAINER_OF(q->asks, struct queue_ask, letter);
        enum err err = ask_run(q, ask, &budget);
        if (err == E_AGAIN) {
            return;
        }
        q->asks = ask->letter.next;
        q->asks_last = q->asks ? q->asks_last : &q->asks;
        if (q->asks) {
            const struct queue_filter *next =
                    &CONTAINER_OF(q->asks, struct queue_ask, letter)->filter;
            q->ask_at = next->after ? next->after - 1 : 0;
        }
        if (ask->ask == QUEUE_ASK_STATS) {
            stats_fill(q, &ask->stats);
        }
        view_answer(q, ask, err);
    }
}
