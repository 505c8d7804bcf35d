/* SPDX-License-Identifier: Apache-2.0
 *
 * report.c - failed recipients and the DSNs that speak for them.
 *
 * One DSN of a message is written at a time, when no attempt of it runs, and a little later where
 * more of it may fail soon. A recipient is NOTIFIED when the keeper says that its link is durable,
 * not before; so a crash in between writes the DSN again, and one after it does not.
 */
#include "queue/queue_priv.h"

enum {
    REPORT_BYTES_MAX = 32 << 20,
    /* A report is stored in one piece of at most SPOOL_INLINE_BYTES_MAX, and up to 400 KiB of it
     * are the header of the original: more recipients than fit get a report of their own. */
    REPORT_ROOM_BYTES = 600 << 10,
    REPORT_RCPT_BYTES = 1150 /* what mail/dsn.h writes of one at most, beside host and text */
};
static_assert(REPORT_ROOM_BYTES + (400 << 10) < SPOOL_INLINE_BYTES_MAX, "a report is one piece");

static struct report *report_at(const struct queue *q, uint32_t report)
{
    return slab_at(&q->reports, report);
}

static uint32_t report_find(const struct queue *q, uint32_t msg)
{
    uint64_t report;
    return msg_at(q, msg)->flags & MSG_REPORT && map_get(&q->report_map, msg, &report)
                   ? (uint32_t)report
                   : NONE;
}

void report_forget(struct queue *q, uint32_t msg)
{
    uint32_t number = report_find(q, msg);
    if (number == NONE) {
        return;
    }
    struct report *report = report_at(q, number);
    q->report_composing_count -= report->state == REPORT_COMPOSING;
    heap_del(&q->report_heap, &report->due);
    map_del(&q->report_map, msg);
    slab_give(&q->reports, number);
    msg_at(q, msg)->flags &= (uint8_t)~MSG_REPORT;
}

static void report_add(struct queue *q, uint32_t msg, uint64_t delay_ms)
{
    uint32_t number;
    if (slab_take(&q->reports, &number) != OK) {
        return; /* the patrol finds it */
    }
    struct report *report = report_at(q, number);
    *report = (struct report){ .msg = msg };
    if (map_set(&q->report_map, msg, number) != OK) {
        slab_give(&q->reports, number);
        return;
    }
    msg_at(q, msg)->flags |= MSG_REPORT;
    if (heap_add(&q->report_heap, &report->due, mono_after(q->now, delay_ms).ms) != OK) {
        report_forget(q, msg);
    }
}

void report_want(struct queue *q, uint32_t msg)
{
    const struct msg *m = msg_at(q, msg);
    uint32_t number = report_find(q, msg);
    if (number == NONE) {
        report_add(q, msg, m->hot_count ? REPORT_GATHER_MS : 0);
        return;
    }
    struct report *report = report_at(q, number);
    if (report->due.pos && report->tries == 0 && m->hot_count == 0 && report->due.key > q->now.ms) {
        heap_move(&q->report_heap, &report->due, q->now.ms);
    }
}

/* How long text is where all but printable ASCII is escaped as \xHH. */
static uint64_t shown_bytes(struct str text)
{
    uint64_t bytes = text.len;
    for (size_t i = 0; i < text.len; i++) {
        bytes += text.ptr[i] < ' ' || text.ptr[i] > '~' ? 3 : 0;
    }
    return bytes;
}

/* Host and text are there twice, for people and for programs; a third of the text for its folds. */
static uint64_t report_rcpt_bytes(const struct queue *q, uint32_t rcpt)
{
    const struct reason *reason = reason_get(q, rcpt_at(q, rcpt)->reason);
    uint64_t text_bytes = reason ? shown_bytes(reason_text(reason)) : 0;
    uint64_t host_bytes = reason ? reason_host(reason).len : 0;
    return REPORT_RCPT_BYTES + 2 * host_bytes + 2 * text_bytes + text_bytes / 3;
}

/* The first ones that failed, at least one and as many as room_bytes of a report hold. */
static struct group failed_group(struct queue *q, uint32_t msg, uint64_t room_bytes)
{
    struct group group = msg_group(q, msg);
    const struct msg *m = msg_at(q, msg);
    for (uint32_t i = 0; i < m->rcpt_count && group.count < m->failed_count; i++) {
        uint32_t rcpt = rcpt_find(q, msg, i);
        if (rcpt == NONE || rcpt_at(q, rcpt)->state != RCPT_FAILED) {
            continue;
        }
        uint64_t bytes = report_rcpt_bytes(q, rcpt);
        if (bytes > room_bytes && group.count > 0) {
            break;
        }
        room_bytes -= bytes < room_bytes ? bytes : room_bytes;
        group_add(q, &group, rcpt);
    }
    return group;
}

/* ---- composing ---- */

/* "550 5.1.1 no such user": codes in front, as the receiver said it; what we say has none. */
static struct str report_text(struct arena *arena, const struct reason *reason)
{
    char code[8];
    struct str text = reason_text(reason);
    fmt(code, sizeof code, "%u", reason->code);
    if (reason->code == 0 || str_starts(text, str_from_c(code))) {
        return arena_str(arena, text);
    }
    bool has_enhanced = str_starts(text, str_from_c(reason->enhanced));
    return arena_strf(arena, "%s %s%s%.*s", code, has_enhanced ? "" : reason->enhanced,
            has_enhanced || !reason->enhanced[0] ? "" : " ", STR_ARG(text));
}

static void report_fill(
        struct queue *q, struct queue_dsn *dsn, struct queue_dsn_rcpt *to, const struct rcpt *r)
{
    const struct reason *reason = reason_get(q, r->reason);
    to->rcpt = r->number;
    to->is_expired = (r->flags & RCPT_EXPIRED) != 0;
    if (r->due) {
        to->last_attempt = wall_in(q, wheel_time(&q->wheel, r->due).ms - q->now.ms);
    }
    if (reason) {
        to->enhanced = arena_str(&dsn->arena, str_from_c(reason->enhanced));
        to->text = report_text(&dsn->arena, reason);
        to->remote_host = arena_str(&dsn->arena, reason_host(reason));
    }
}

static enum err report_compose(struct queue *q, struct report *report)
{
    const struct msg *m = msg_at(q, report->msg);
    struct group group = failed_group(q, report->msg, REPORT_ROOM_BYTES);
    struct queue_dsn *dsn = mem_new(sizeof *dsn);
    if (dsn == NULL) {
        return E_NOMEM;
    }
    arena_init(&dsn->arena, REPORT_BYTES_MAX);
    dsn->rcpt = arena_new(&dsn->arena, group.count * sizeof *dsn->rcpt);
    if (dsn->rcpt == NULL) {
        queue_dsn_free(dsn);
        return E_NOMEM;
    }
    dsn->msg_id = m->msg_id;
    dsn->where = msg_where(m);
    dsn->config = config_take(q->config);
    dsn->rcpt_count = group.count;
    for (uint32_t i = 0; i < group.count; i++) {
        report_fill(q, dsn, &dsn->rcpt[i], rcpt_at(q, group.rcpt[i]));
    }
    heap_del(&q->report_heap, &report->due);
    report->state = REPORT_COMPOSING;
    q->report_composing_count++;
    q->ports.compose_dsn(q->ports.ctx, dsn);
    return OK;
}

void queue_dsn_free(struct queue_dsn *dsn)
{
    if (dsn) {
        config_give(dsn->config);
        arena_done(&dsn->arena);
        mem_free(dsn);
    }
}

/* No report is wanted, RFC 5321 4.5.5 (null sender), or none can be made. */
static enum err report_close(struct queue *q, uint32_t msg, struct str reason)
{
    struct group group = failed_group(q, msg, UINT64_MAX);
    enum err err = act_ctl(q, &group, SPOOL_CTL_CLOSE, STR("outpost"), reason);
    if (err == OK) {
        report_forget(q, msg);
        msg_check(q, msg);
    }
    return err;
}

static enum err report_step(struct queue *q, struct report *report)
{
    const struct msg *m = msg_at(q, report->msg);
    if (m->failed_count == 0) {
        report_forget(q, report->msg);
        return OK;
    }
    if (m->active_count) {
        heap_move(&q->report_heap, &report->due, mono_after(q->now, REPORT_GATHER_MS).ms);
        return OK;
    }
    if (m->flags & MSG_NULL_SENDER) {
        return report_close(q, report->msg, STR("no report: the sender is null"));
    }
    if (q->stream[m->stream].is_dsn_off) {
        return report_close(q, report->msg, STR("no report: the stream wants none"));
    }
    if (report->tries >= REPORT_TRY_COUNT_MAX) {
        return report_close(q, report->msg, STR("no report: it could not be written"));
    }
    return report_compose(q, report);
}

void report_run(struct queue *q)
{
    struct heap_item *item;
    while (!q->is_stopping && (item = heap_first(&q->report_heap)) && item->key <= q->now.ms &&
            q->report_composing_count < REPORT_COUNT_MAX) {
        if (report_step(q, CONTAINER_OF(item, struct report, due)) != OK) {
            heap_move(&q->report_heap, item, mono_after(q->now, RETRY_SOON_MS).ms);
        }
    }
}

/* ---- answers ---- */

void report_notified(struct queue *q, const struct queue_notified *news)
{
    uint32_t msg = msg_find(q, news->msg_id);
    if (msg == NONE) {
        return;
    }
    for (uint32_t i = 0; i < news->rcpt_count; i++) {
        uint32_t rcpt = rcpt_find(q, msg, news->rcpt[i]);
        if (rcpt != NONE && rcpt_at(q, rcpt)->state == RCPT_FAILED) {
            rcpt_close(q, rcpt);
        }
    }
    report_forget(q, msg);
    msg_check(q, msg);
}

void report_failed(struct queue *q, struct queue_dsn *dsn)
{
    uint32_t msg = msg_find(q, dsn->msg_id);
    uint32_t number = msg == NONE ? NONE : report_find(q, msg);
    struct report *report = number == NONE ? NULL : report_at(q, number);
    if (report && report->state == REPORT_COMPOSING) {
        report->state = REPORT_WAITS;
        report->tries++;
        q->report_composing_count--;
        uint64_t delay_ms = queue_retry_delay_ms(
                REPORT_RETRY_FIRST_MS, REPORT_RETRY_MAX_MS, report->tries, &q->prng);
        if (heap_add(&q->report_heap, &report->due, mono_after(q->now, delay_ms).ms) != OK) {
            report_forget(q, msg); /* the patrol finds it */
        }
    }
    queue_dsn_free(dsn);
}

void report_free_all(struct queue *q)
{
    heap_done(&q->report_heap);
    map_done(&q->report_map);
    slab_done(&q->reports);
}
