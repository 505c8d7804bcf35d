/* SPDX-License-Identifier: Apache-2.0
 *
 * control_audit.c - do the books balance? accepted = closed + open, each counted from its own
 * source: the spool's index, the scheduler, a scan of the journal, the history.
 *
 * The sources belong to different threads and are counted one after the other, between two looks at
 * the spool's index. What came in and went out meanwhile is the only slack that is allowed: on a
 * node at rest there is none, and every term must fit exactly.
 */
#include "node/control_priv.h"

enum {
    AUDIT_SETTLE_MS =
            2 * KEEPER_SYNC_DELAY_MS, /* what the scheduler has decided is in the index by then */
    AUDIT_TRY_COUNT = 20,
    AUDIT_HISTORY_MS = 50,
    AUDIT_HISTORY_TRY_COUNT = 200 /* ten seconds, then it is behind */
};

/* ---- the journal, read from the oldest kept record --------------------------------------------
 */

enum auditee_flag {
    AUDITEE_CLOSED = 1,
    AUDITEE_ATTEMPTED = 2,
    AUDITEE_FAILED = 4, /* only a report, or that none is wanted, closes it */
    AUDITEE_CANCEL_WISHED = 8,
    AUDITEE_BOUNCE_WISHED = 16
};
struct auditee { /* a message whose acceptance was read */
    uint32_t rcpt_count, open_count;
    uint8_t flags[]; /* enum auditee_flag, of each recipient */
};
struct journal_count {
    struct map open; /* msg_id → struct auditee */
    uint64_t accepted, closed;
    uint64_t wished; /* cancelled while attempted: closed by the attempt's end, or by a restart */
};

static struct auditee *auditee_find(const struct journal_count *count, uint64_t msg_id)
{
    uint64_t value;
    return map_get(&count->open, msg_id, &value) ? (struct auditee *)(uintptr_t)value : NULL;
}

static enum err take_accept(struct journal_count *count, uint64_t msg_id, struct str payload)
{
    struct spool_envelope envelope;
    if (auditee_find(count, msg_id) || spool_envelope_decode(payload, &envelope) != OK) {
        return OK; /* the index's count will differ, and show it */
    }
    struct auditee *auditee = mem_new(sizeof *auditee + envelope.rcpt_count);
    if (auditee == NULL || map_set(&count->open, msg_id, (uint64_t)(uintptr_t)auditee) != OK) {
        mem_free(auditee);
        return E_NOMEM;
    }
    auditee->rcpt_count = auditee->open_count = envelope.rcpt_count;
    count->accepted += envelope.rcpt_count;
    return OK;
}

/* An attempt's end; what was wished during it happens where it closed nothing. */
static uint8_t flags_after_outcome(uint8_t flags, enum spool_result result)
{
    switch (result) {
    case SPOOL_RESULT_DELIVERED:
        return AUDITEE_CLOSED;
    case SPOOL_RESULT_DEFERRED:
    case SPOOL_RESULT_IN_DOUBT:
        return flags & AUDITEE_CANCEL_WISHED   ? AUDITEE_CLOSED
               : flags & AUDITEE_BOUNCE_WISHED ? AUDITEE_FAILED
                                               : 0;
    case SPOOL_RESULT_BOUNCED:
    case SPOOL_RESULT_EXPIRED:
        return AUDITEE_FAILED;
    case SPOOL_RESULT_HELD:
    case SPOOL_RESULT_COUNT:
        break;
    }
    return 0;
}

static uint8_t flags_after_ctl(uint8_t flags, enum spool_ctl_action action)
{
    bool is_attempted = (flags & AUDITEE_ATTEMPTED) != 0;
    if (action == SPOOL_CTL_CANCEL) {
        return is_attempted ? flags | AUDITEE_CANCEL_WISHED : AUDITEE_CLOSED;
    }
    if (action == SPOOL_CTL_BOUNCE) {
        return is_attempted ? flags | AUDITEE_BOUNCE_WISHED : AUDITEE_FAILED;
    }
    return flags;
}

/* What a record does to the flags of one open recipient: docs/spool.md, told a second time, so that
 * an error in the index is not counted by the index's own rules. */
static uint8_t flags_after(uint8_t flags, enum spool_record_type type, int verdict)
{
    bool is_end = type == SPOOL_DSN || (type == SPOOL_CTL && verdict == SPOOL_CTL_CLOSE);
    if (is_end || (flags & AUDITEE_FAILED)) {
        return is_end && (flags & AUDITEE_FAILED) ? AUDITEE_CLOSED : flags;
    }
    if (type == SPOOL_ATTEMPT) {
        return flags | AUDITEE_ATTEMPTED;
    }
    return type == SPOOL_OUTCOME ? flags_after_outcome(flags, (enum spool_result)verdict)
                                 : flags_after_ctl(flags, (enum spool_ctl_action)verdict);
}

struct named_rcpts {
    uint64_t msg_id;
    uint32_t rcpt_count;
    int verdict; /* enum spool_result or enum spool_ctl_action */
};

static bool decode_rcpts(
        const struct spool_record *record, uint16_t *scratch, struct named_rcpts *ret)
{
    struct spool_attempt attempt;
    struct spool_outcome outcome;
    struct spool_ctl ctl;
    struct spool_dsn_link link;
    uint64_t dsn_msg_id;
    if (record->type == SPOOL_ATTEMPT &&
            spool_attempt_decode(record->payload, scratch, &attempt) == OK) {
        *ret = (struct named_rcpts){ attempt.msg_id, attempt.rcpt_count, 0 };
    } else if (record->type == SPOOL_OUTCOME &&
               spool_outcome_decode(record->payload, scratch, &outcome) == OK) {
        *ret = (struct named_rcpts){ outcome.msg_id, outcome.rcpt_count, (int)outcome.result };
    } else if (record->type == SPOOL_CTL &&
               spool_ctl_decode(record->payload, scratch, &ctl) == OK) {
        *ret = (struct named_rcpts){ ctl.msg_id, ctl.rcpt_count, (int)ctl.action };
    } else if (record->type == SPOOL_DSN &&
               spool_dsn_decode(record->payload, scratch, &link, &dsn_msg_id) == OK) {
        *ret = (struct named_rcpts){ link.msg_id, link.rcpt_count, 0 };
    } else {
        return false;
    }
    return true;
}

static void take_rcpts(
        struct journal_count *count, const struct spool_record *record, uint16_t *scratch)
{
    struct named_rcpts named;
    struct auditee *auditee =
            decode_rcpts(record, scratch, &named) ? auditee_find(count, named.msg_id) : NULL;
    for (uint32_t i = 0; auditee && i < named.rcpt_count; i++) {
        uint8_t *flags = scratch[i] < auditee->rcpt_count ? &auditee->flags[scratch[i]] : NULL;
        if (flags == NULL || (*flags & AUDITEE_CLOSED)) {
            continue;
        }
        *flags = flags_after(*flags, record->type, named.verdict);
        if (*flags & AUDITEE_CLOSED) {
            auditee->open_count--;
            count->closed++;
        }
    }
    if (auditee && auditee->open_count == 0) {
        (void)map_del(&count->open, named.msg_id);
        mem_free(auditee);
    }
}

/* A segment between older and newer ones was used again: what became of those that are open here
 * may have stood there, so they are no part of the count. */
static void gap_take(struct journal_count *count)
{
    uint64_t key, value;
    for (uint32_t at = 0; map_walk(&count->open, &at, &key, &value);) {
        struct auditee *auditee = (struct auditee *)(uintptr_t)value;
        count->accepted -= auditee->rcpt_count;
        count->closed -= auditee->rcpt_count - auditee->open_count;
        mem_free(auditee);
    }
    map_done(&count->open);
}

static enum err scan_journal(struct node *node, struct journal_count *count)
{
    struct spool_view *view;
    struct spool_position at = { 0 };
    struct spool_record record;
    uint16_t *scratch = mem_new(SPOOL_RCPT_COUNT_MAX * sizeof *scratch);
    enum err err = scratch ? spool_view_of(node->spool, node->edge.spool, &view) : E_NOMEM;
    if (err != OK) {
        mem_free(scratch);
        return err;
    }
    while ((err = spool_view_next(view, &at, &record)) == OK || err == E_CORRUPT) {
        if (err == OK && record.type == SPOOL_ACCEPT) {
            err = take_accept(count, record.msg_id, record.payload);
        } else if (err == OK) {
            take_rcpts(count, &record, scratch);
        }
        if (err == E_NOMEM) {
            break;
        }
        if (err == E_CORRUPT) {
            gap_take(count);
        }
        at = record.next;
    }
    spool_view_close(view);
    mem_free(scratch);
    return err == E_EOF ? OK : err;
}

/* Counts what is open, and frees. */
static uint64_t journal_open(struct journal_count *count)
{
    uint64_t sum = 0, key, value;
    for (uint32_t at = 0; map_walk(&count->open, &at, &key, &value);) {
        struct auditee *auditee = (struct auditee *)(uintptr_t)value;
        sum += auditee->open_count;
        for (uint32_t i = 0; i < auditee->rcpt_count; i++) {
            count->wished += !(auditee->flags[i] & AUDITEE_CLOSED) &&
                             (auditee->flags[i] & AUDITEE_CANCEL_WISHED);
        }
        mem_free(auditee);
    }
    map_done(&count->open);
    return sum;
}

/* ---- the comparison ----------------------------------------------------------------------------
 */

struct audit {
    struct spool_stats first, last; /* of the index, before and after everything else */
    uint64_t scheduler_open;
    struct journal_count journal;
    uint64_t journal_open;
    struct history_totals history;
    bool is_history_there; /* the history has what the index had at the first look */
    uint32_t try_count;
};

static uint64_t sum_of(const uint64_t *count, size_t len)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        sum += count[i];
    }
    return sum;
}

static uint64_t closed_of(const struct spool_stats *stats)
{
    return sum_of(stats->closed_rcpts, SPOOL_STATE_COUNT);
}

/* What could be open at some time between the two looks: least and most. */
static uint64_t open_least(const struct audit *audit)
{
    uint64_t accepted = audit->first.accepted_rcpts, closed = closed_of(&audit->last);
    return accepted > closed ? accepted - closed : 0;
}

static uint64_t open_most(const struct audit *audit)
{
    return audit->last.accepted_rcpts - closed_of(&audit->first);
}

static bool could_be_open(const struct audit *audit, uint64_t count)
{
    return open_least(audit) <= count && count <= open_most(audit);
}

/* Segments are recycled: once the journal begins after the spool did, it knows a part only. */
static bool is_journal_good(const struct audit *audit)
{
    const struct journal_count *journal = &audit->journal;
    bool is_whole = journal->accepted >= audit->first.accepted_rcpts;
    return journal->accepted == journal->closed + audit->journal_open &&
           journal->accepted <= audit->last.accepted_rcpts &&
           audit->journal_open <= open_most(audit) + journal->wished &&
           (!is_whole || audit->journal_open >= open_least(audit));
}

static bool is_history_good(const struct audit *audit)
{
    const struct history_totals *totals = &audit->history;
    uint64_t closed = totals->delivered + totals->bounced + totals->expired + totals->cancelled +
                      totals->suppressed;
    return totals->rcpts == closed + totals->open && totals->rcpts <= audit->last.accepted_rcpts;
}

static bool is_history_open_good(const struct audit *audit)
{
    return could_be_open(audit, audit->history.open);
}

static json_t *term(const char *name, const char *source, uint64_t value)
{
    return json_pack(
            "{s:s, s:s, s:I}", "term", name, "source", source, "recipients", (json_int_t)value);
}

static void audit_end(struct control *control)
{
    const struct audit *audit = control->audit;
    const struct history_totals *totals = &audit->history;
    const struct spool_stats *last = &audit->last;
    uint64_t closed = totals->rcpts - totals->open;
    const struct {
        const char *name;
        bool holds;
    } checks[] = {
        { "spool index: accepted = closed + open",
                last->accepted_rcpts == closed_of(last) + last->open_rcpts },
        { "scheduler holds what the spool has open", could_be_open(audit, audit->scheduler_open) },
        { "journal scan: accepted = closed + open", is_journal_good(audit) },
        { "history: accepted = closed + open", is_history_good(audit) },
        { "history is up to date", audit->is_history_there },
        { "history has open what the spool has open", is_history_open_good(audit) },
    };
    json_t *results = json_object();
    bool is_balanced = true;
    for (size_t i = 0; i < COUNT_OF(checks); i++) {
        is_balanced = is_balanced && checks[i].holds;
        json_object_set_new(results, checks[i].name, json_boolean(checks[i].holds));
    }
    json_t *reply = json_pack("{s:b, s:I, s:[o,o,o,o,o,o,o,o,o,o], s:o}", "balanced",
            (int)is_balanced, "moving", (json_int_t)(open_most(audit) - open_least(audit)), "terms",
            term("accepted", "spool index", last->accepted_rcpts),
            term("closed", "spool index", closed_of(last)),
            term("open", "spool index", last->open_rcpts),
            term("open", "scheduler", audit->scheduler_open),
            term("accepted", "journal scan", audit->journal.accepted),
            term("closed", "journal scan", audit->journal.closed),
            term("open", "journal scan", audit->journal_open),
            term("accepted", "history", totals->rcpts), term("closed", "history", closed),
            term("open", "history", totals->open), "checks", results);
    control_end_json(control, 200, reply);
}

/* The last look. Decisions of the scheduler may still be on their way to the index: it is given
 * time. */
static void last_look(struct control *control, struct letter *letter)
{
    struct audit *audit = control->audit;
    control_take_figures(control, letter);
    audit->last = control->spool_stats;
    bool is_settled = could_be_open(audit, audit->scheduler_open) && is_history_open_good(audit) &&
                      is_journal_good(audit);
    if (is_settled || ++audit->try_count >= AUDIT_TRY_COUNT) {
        audit_end(control);
    } else {
        control_again(control, AUDIT_SETTLE_MS, control_ask_keeper_figures);
    }
}

static void count_records(struct control *control)
{
    struct audit *audit = control->audit;
    struct node *node = control->node;
    struct why why = { 0 };
    bool is_caught_up = control_is_history_caught_up(control); /* asked before it is counted */
    enum err err = history_count(node->history, &audit->history, &why);
    audit->is_history_there =
            is_caught_up || audit->history.upto.batch_seq > audit->first.durable_upto;
    if (err == OK && !audit->is_history_there && ++audit->try_count < AUDIT_HISTORY_TRY_COUNT) {
        control_again(control, AUDIT_HISTORY_MS, count_records);
        return;
    }
    audit->try_count = 0;
    if (err == OK) {
        err = scan_journal(node, &audit->journal);
        audit->journal_open = journal_open(&audit->journal);
    }
    if (err != OK) {
        control_end_error(
                control, 500, "the books could not be read (%s) %s", err_name(err), why.text);
        return;
    }
    control->then = last_look;
    control_ask_keeper_figures(control);
}

static void scheduler_counted(struct control *control, struct letter *letter)
{
    control_take_figures(control, letter);
    control->audit->scheduler_open = sum_of(control->queue_stats.rcpts, QUEUE_VIEW_COUNT);
    count_records(control);
}

static void first_look(struct control *control, struct letter *letter)
{
    control_take_figures(control, letter);
    control->audit->first = control->spool_stats;
    control->then = scheduler_counted;
    control_ask_scheduler_figures(control);
}

void control_audit(struct control *control)
{
    control->audit = arena_new(&control->arena, sizeof *control->audit);
    if (control->audit == NULL) {
        control_end_error(control, 503, "out of memory");
        return;
    }
    control->then = first_look;
    control_ask_keeper_figures(control);
}
