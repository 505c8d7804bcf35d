/* SPDX-License-Identifier: Apache-2.0
 *
 * watch_take.c - from a run's results to changes: what is seen often enough in a row holds; an
 * answer that could not be had neither begins nor ends a failure; what is asked no more is
 * forgotten.
 */
#include "core/str.h"
#include "core/time.h"
#include "identity/watch_priv.h"

struct taking {
    struct identity_watch *watch;
    const struct identity_watch_conf *conf;
    const struct identity_watch_run *run;
    identity_changed *changed;
    void *ctx;
    bool is_unsure;
    enum err err;
};

/* Results whose `found` is one published text: another text is news even where both pass. Others
 * count days, list records in any order, or name serial numbers. */
static bool is_found_steady(struct str id)
{
    static const char *const ids[] = { "spf.record", "dkim.record", "dkim.rotate", "dmarc.record",
        "ptr.exists", "sts.record", "tlsrpt.record" };
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        if (str_eq(id, str_from_c(ids[i]))) {
            return true;
        }
    }
    return false;
}

/* What needs no answer from outside does not err for a moment. */
static bool is_sure(struct str id)
{
    return str_starts(id, STR("relay.")) || str_starts(id, STR("cert.")) ||
           str_eq(id, STR("dkim.rotate"));
}

/* A blocklist that has us and then refuses to answer has not taken us off. */
static bool is_no_answer(const struct seen *seen, const struct identity_result *result)
{
    bool is_unusable = str_eq(result->id, STR("list.listed")) && result->status == IDENTITY_WARN &&
                       str_starts(result->found, STR(IDENTITY_LIST_UNUSABLE));
    return result->status == IDENTITY_ERROR ||
           (is_unusable && seen->is_held && seen->held == IDENTITY_FAIL);
}

static uint64_t mark_of(const struct identity_result *result)
{
    return is_found_steady(result->id) ? str_hash(result->found, 1) : 0;
}

static bool is_held_so(const struct seen *seen, const struct identity_result *result)
{
    return seen->is_held && seen->held == result->status &&
           (!is_found_steady(result->id) || str_eq(seen->held_found, result->found));
}

/* ---- judging ---- */

/* Could not tell: a failure goes on, all else turns only when it lasts. */
static bool error_counts(struct taking *taking, struct seen *seen)
{
    seen->error_count += taking->run->is_scheduled;
    bool is_known = seen->is_held && (seen->held == IDENTITY_FAIL || seen->held == IDENTITY_ERROR);
    return !is_known && seen->error_count >= taking->conf->error_count;
}

static bool value_counts(
        struct taking *taking, struct seen *seen, const struct identity_result *result)
{
    uint64_t mark = mark_of(result);
    seen->error_count = 0;
    if (is_held_so(seen, result)) {
        seen->pending_count = 0;
        return false;
    }
    bool is_again = seen->pending_count > 0 && seen->pending == result->status &&
                    seen->pending_mark == mark;
    seen->pending_count = is_again ? seen->pending_count + 1 : 1;
    seen->pending = result->status;
    seen->pending_mark = mark;
    bool is_enough = seen->pending_count >= taking->conf->fail_count || is_sure(result->id);
    taking->is_unsure = taking->is_unsure || !is_enough;
    return is_enough;
}

/* ---- telling ---- */

static void keep_event(struct identity_watch *watch, const struct identity_change *change)
{
    json_t *event = watch_result_json(&change->result);
    json_object_set_new(event, "at", watch_time_text(change->at));
    json_object_set_new(event, "from",
            change->is_first ? json_null() : json_string(identity_status_name(change->before)));
    json_object_set_new(event, "found_before", watch_text(change->found_before));
    json_object_set_new(event, "gone", json_boolean(change->is_gone));
    json_array_append_new(watch->events, event);
    while (json_array_size(watch->events) > IDENTITY_EVENT_COUNT_MAX) {
        json_array_remove(watch->events, 0);
    }
}

static void tell(struct taking *taking, const struct seen *seen,
        const struct identity_result *result, bool is_gone)
{
    struct identity_change change = { .at = taking->run->now,
        .is_first = !seen->is_held,
        .is_gone = is_gone,
        .before = seen->held,
        .found_before = seen->held_found,
        .result = *result };
    keep_event(taking->watch, &change);
    if (taking->changed != NULL) {
        taking->changed(taking->ctx, &change);
    }
}

/* What was good from the beginning is no news. */
static bool is_news(const struct seen *seen, const struct identity_result *result)
{
    return seen->is_held || (result->status != IDENTITY_PASS && result->status != IDENTITY_SKIP);
}

static void hold(struct taking *taking, struct seen *seen, const struct identity_result *result)
{
    if (is_news(seen, result)) {
        tell(taking, seen, result, false);
    }
    seen->held = result->status;
    seen->is_held = true;
    seen->since = taking->run->now;
    seen->pending_count = 0;
}

static void take_one(struct taking *taking, const struct identity_result *result)
{
    struct identity_watch *watch = taking->watch;
    struct seen *seen = seen_find(watch, result);
    bool is_good = result->status == IDENTITY_PASS || result->status == IDENTITY_SKIP;
    if (seen == NULL && watch->count >= IDENTITY_WATCH_COUNT_MAX) {
        taking->err = E_FULL;
        return;
    }
    struct str held_found = seen != NULL ? seen->held_found : STR("");
    struct seen next = { 0 };
    if (seen != NULL) {
        next = *seen;
    }
    bool is_change = is_no_answer(&next, result) ? error_counts(taking, &next)
                     : !next.is_held && is_good  ? true
                                                 : value_counts(taking, &next, result);
    if (is_change) {
        hold(taking, &next, result);
        held_found = result->found;
    }
    struct seen *fresh = seen_put(watch, seen, result, held_found);
    if (fresh == NULL) {
        taking->err = E_NOMEM;
        return;
    }
    struct seen texts = *fresh;
    next.link = texts.link;
    next.hash = texts.hash;
    next.last = texts.last;
    next.held_found = texts.held_found;
    next.set = next.set != 0 ? next.set : taking->run->set;
    next.run = watch->run;
    next.checked = taking->run->now;
    next.missing_count = 0;
    *fresh = next;
}

/* ---- what is asked no more ---- */

static struct str group_of(struct str id)
{
    return str_sub(id, 0, str_index(id, '.'));
}

/* Where a look-up failed, checks that build on it say nothing: that is no sign that they are gone.
 */
static bool is_hidden_by_error(const struct identity_watch_run *run, const struct seen *seen)
{
    for (uint32_t i = 0; i < run->result_count; i++) {
        const struct identity_result *other = run->result[i];
        if (other->status == IDENTITY_ERROR && str_eq(other->domain, seen->last.domain) &&
                (str_eq(group_of(other->id), group_of(seen->last.id)) ||
                        str_eq(other->source, seen->last.source))) {
            return true;
        }
    }
    return false;
}

static void forget(struct taking *taking, struct seen *seen)
{
    bool is_problem = seen->is_held && seen->held != IDENTITY_PASS && seen->held != IDENTITY_SKIP;
    if (is_problem) {
        struct identity_result gone = seen->last;
        gone.status = IDENTITY_PASS;
        gone.found = STR("not checked any more");
        tell(taking, seen, &gone, true);
    }
    seen_drop(taking->watch, seen);
}

static void look_for_missing(struct taking *taking)
{
    const struct identity_watch_run *run = taking->run;
    struct list *link = taking->watch->seen.next;
    while (link != &taking->watch->seen) {
        struct seen *seen = CONTAINER_OF(link, struct seen, link);
        link = link->next;
        bool is_asked = seen->set == run->set &&
                        (run->domain.len == 0 || str_eq(run->domain, seen->last.domain));
        if (!is_asked || seen->run == taking->watch->run || is_hidden_by_error(run, seen)) {
            continue;
        }
        seen->missing_count++;
        if (seen->missing_count >= IDENTITY_MISSING_COUNT_MAX) {
            forget(taking, seen);
        }
    }
}

enum err identity_watch_take(struct identity_watch *watch, const struct identity_watch_conf *conf,
        const struct identity_watch_run *run, identity_changed *changed, void *ctx,
        bool *ret_is_unsure)
{
    struct taking taking = {
        .watch = watch, .conf = conf, .run = run, .changed = changed, .ctx = ctx
    };
    bool is_whole = true;
    watch->run++;
    for (uint32_t i = 0; i < run->result_count; i++) {
        is_whole = is_whole && !str_eq(run->result[i]->id, STR("run.memory"));
        take_one(&taking, run->result[i]);
    }
    if (is_whole && taking.err == OK) {
        look_for_missing(&taking);
    }
    *ret_is_unsure = taking.is_unsure;
    return taking.err;
}
