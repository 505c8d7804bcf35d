/* SPDX-License-Identifier: Apache-2.0
 *
 * watcher.c - the watcher's thread: when what is asked, what changed, and who is told. Judging is
 * room identity's; how notices leave is watcher_send.c's, the control API's questions are
 * watcher_ask.c's.
 */
#include "node/watcher_in_priv.h"

#include "core/time.h"
#include "edge/dns_direct.h"
#include "edge/http.h"

enum {
    FIRST_MS = 60000,      /* after the start: the network may be young */
    CONFIRM_MS = 60000,    /* what would be a change is asked again */
    HURRY_MS = 1000,       /* after a related refusal */
    HURRY_GAP_MS = 600000, /* but not more often */
    RUN_MS_MAX = 600000,   /* of a scheduled run: thousands of domains take their time */
    SAVE_MS = 5000,
    EXPIRY_MS = 86400000,
    ROTATE_MS = 3600000, /* where checks are off */
    REMIND_MS = 7 * 86400000,
    TURN_MS_MAX = 60000
};

/* ---- schedule ---- */

/* A tenth earlier or later, so that nodes that began together do not ask together. */
static uint64_t jitter(struct watcher *watcher, uint64_t ms)
{
    uint64_t tenth = ms / 10;
    return ms - tenth + (tenth > 0 ? prng_below(&watcher->prng, 2 * tenth) : 0);
}

static uint64_t every_ms(const struct watcher *watcher, enum watcher_job job)
{
    const struct config *config = watcher->config;
    bool has_names =
            config->domain_count + config->source_count > 0; /* else nothing to ask about */
    switch (job) {
    case JOB_DOMAINS:
        return has_names ? config->checks_ms : 0;
    case JOB_OWN:
        return config->checks_ms;
    case JOB_LISTS:
        return has_names ? config->lists_ms : 0;
    case JOB_EXPIRY:
        return config->rdap_server.len > 0 && config->checks_ms > 0 ? EXPIRY_MS : 0;
    case JOB_ROTATE:
        return config->domain_count == 0 ? 0
               : config->checks_ms > 0   ? config->checks_ms
                                         : ROTATE_MS;
    case JOB_FLATTEN:
        return config->domain_count > 0 ? config->lists_ms : 0;
    case JOB_COUNT:
        break;
    }
    return 0;
}

static void schedule(struct watcher *watcher, struct mono now, bool is_first)
{
    for (enum watcher_job job = 0; job < JOB_COUNT; job++) {
        uint64_t ms = every_ms(watcher, job);
        uint64_t wait_ms = is_first && ms > FIRST_MS ? FIRST_MS : ms;
        watcher->due[job] = ms > 0 ? mono_after(now, jitter(watcher, wait_ms)) : (struct mono){ 0 };
    }
}

static void hurry(struct watcher *watcher, enum watcher_job job, uint64_t ms)
{
    struct mono at = mono_after(watcher->now, ms);
    if (every_ms(watcher, job) > 0) {
        watcher->due[job] = mono_first(watcher->due[job], at);
    }
}

static bool is_hurry_over(const struct watcher *watcher, size_t i)
{
    return watcher->hurried_at[i].ms == 0 ||
           mono_is_due(mono_after(watcher->hurried_at[i], HURRY_GAP_MS), watcher->now);
}

static void on_refusal(struct watcher *watcher, struct str text)
{
    uint32_t sets = identity_refusal_checks(text);
    const struct {
        uint32_t set;
        enum watcher_job job;
    } rows[] = { { IDENTITY_CHECK_DOMAINS, JOB_DOMAINS }, { IDENTITY_CHECK_LISTS, JOB_LISTS } };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if ((sets & rows[i].set) != 0 && is_hurry_over(watcher, i)) {
            char escaped[300];
            struct str shown = str_escape(str_sub(text, 0, 200), escaped, sizeof escaped);
            watcher->hurried_at[i] = watcher->now;
            hurry(watcher, rows[i].job, HURRY_MS);
            log_info(watcher->node->log, "watch",
                    "checking at once, because a server refused: %.*s", STR_ARG(shown));
        }
    }
}

/* While another look would come too soon for both kinds, refusals need not be sent here. */
static void set_appetite(struct watcher *watcher)
{
    atomic_store(&watcher->wants_refusals, is_hurry_over(watcher, 0) || is_hurry_over(watcher, 1));
}

/* ---- changes ---- */

static void log_change(struct watcher *watcher, const struct identity_change *change)
{
    const struct identity_result *result = &change->result;
    bool is_bad = result->status == IDENTITY_FAIL || result->status == IDENTITY_ERROR;
    log_line(watcher->node->log, is_bad ? LOG_WARN_ : LOG_INFO_, "watch",
            "%.*s domain=%.*s source=%.*s part=%.*s: %s -> %s: found %.*s%s%.*s",
            STR_ARG(result->id), STR_ARG(result->domain), STR_ARG(result->source),
            STR_ARG(result->part),
            change->is_first ? "unknown" : identity_status_name(change->before),
            change->is_gone ? "gone" : identity_status_name(result->status),
            STR_ARG(str_sub(result->found, 0, 400)), result->mend.len > 0 ? "; mend by " : "",
            STR_ARG(str_sub(str_trim(result->mend), 0, 600)));
}

static bool is_problem(enum identity_status status)
{
    return status == IDENTITY_WARN || status == IDENTITY_ERROR || status == IDENTITY_FAIL;
}

static void on_change(void *ctx, const struct identity_change *change)
{
    struct watcher *watcher = ctx;
    enum err err = OK;
    log_change(watcher, change);
    if (is_problem(change->result.status)) {
        err = identity_alerts_begin(watcher->alerts, &change->result, change->at, watcher->now);
    } else {
        identity_alerts_end(watcher->alerts, &change->result, change->at, watcher->now);
    }
    if (err != OK) {
        log_warn(watcher->node->log, "watch", "a problem is in the log only, not in alerts: %s",
                err == E_FULL ? "there are too many" : "out of memory");
    }
    watcher->is_changed = true;
}

/* A problem that lasts and is perhaps not among those to be told: there was no room for it, or the
 * node ended before it was written down. */
static void raise_again(void *ctx, const struct identity_result *result, struct wall since)
{
    struct watcher *watcher = ctx;
    (void)!identity_alerts_begin(
            watcher->alerts, result, since, watcher->now); /* it is in the log */
}

static void take_results(struct watcher *watcher, enum watcher_job job, struct str domain,
        bool is_scheduled, const struct identity_result *const *result, uint32_t result_count)
{
    const struct identity_watch_conf conf = { .fail_count = watcher->config->alert_fail_count,
        .error_count = watcher->config->alert_error_count };
    const struct identity_watch_run run = { .set = watcher_job_set(job),
        .domain = domain,
        .is_scheduled = is_scheduled,
        .result = result,
        .result_count = result_count,
        .now = clock_wall(watcher->clock) };
    bool is_unsure = false;
    enum err err = identity_watch_take(watcher->watch, &conf, &run, on_change, watcher, &is_unsure);
    if (err != OK) {
        log_warn(watcher->node->log, "watch", "some results are not watched: %s",
                err == E_FULL ? "there are too many" : "out of memory");
    }
    if (is_unsure) {
        hurry(watcher, job, CONFIRM_MS);
    }
    if (identity_alerts_left_out(watcher->alerts) > 0) {
        identity_watch_each_problem(watcher->watch, raise_again, watcher);
    }
    if (is_scheduled) {
        identity_alerts_ping(watcher->alerts, watcher->now);
    }
    watcher->save_at = mono_first(watcher->save_at, mono_after(watcher->now, SAVE_MS));
}

/* ---- runs ---- */

static void run_done(void *ctx)
{
    struct watch_run *run = ctx;
    net_wake_real(run->watcher->net); /* its results are taken in the next turn */
}

void watcher_run_free(struct watch_run *run, bool handles_closed)
{
    list_del(&run->link);
    identity_run_free(run->run, handles_closed);
    arena_done(&run->arena);
    config_give(run->config);
    mem_free(run);
}

static enum err run_start(struct watcher *watcher, struct watch_run *run, struct why *why)
{
    struct identity_run_options options = { .checks = watcher_job_set(run->job),
        .clock = watcher->clock,
        .dns = watcher->dns,
        .direct = watcher->direct,
        .http = watcher->http,
        .net = watcher->net,
        .is_validating = run->config->trust_anchor.len > 0,
        .run_ms_max = run->is_scheduled ? RUN_MS_MAX : 0,
        .state_path = str_from_c(watcher->passed_path),
        .done = run_done,
        .ctx = run };
    enum err err =
            identity_plan_make(run->config, str_from_c(run->domain), &run->arena, &run->plan, why);
    if (err == OK) {
        err = identity_run_begin(&run->plan, &options, &run->run, why);
    }
    if (err == E_SYNTAX) { /* a damaged file costs "what was before", not the run */
        log_warn(watcher->node->log, "watch", "%s", why->text);
        options.state_path = STR("");
        err = identity_run_begin(&run->plan, &options, &run->run, why);
    }
    return err;
}

struct watch_run *watcher_run(struct watcher *watcher, enum watcher_job job, struct str domain,
        bool is_scheduled, struct why *why)
{
    struct watch_run *run = mem_new(sizeof *run);
    if (run == NULL) {
        return NULL;
    }
    run->watcher = watcher;
    run->job = job;
    run->is_scheduled = is_scheduled;
    run->config = config_take(watcher->config);
    (void)str_to_c(domain, run->domain, sizeof run->domain);
    arena_init(&run->arena, 64 << 20);
    list_init(&run->asks);
    list_add_last(&watcher->runs, &run->link);
    enum err err = run_start(watcher, run, why);
    if (err != OK) {
        log_warn(watcher->node->log, "watch", "no checks: %s",
                why->text[0] != '\0' ? why->text : err_name(err));
        watcher_run_free(run, false);
        return NULL;
    }
    run->next = watcher->now;
    return run;
}

static void run_take(struct watcher *watcher, struct watch_run *run)
{
    uint32_t count = identity_run_count(run->run);
    struct why why = { 0 };
    const struct identity_result **result =
            arena_new(&run->arena, (count + 1) * sizeof(struct identity_result *));
    for (uint32_t i = 0; result != NULL && i < count; i++) {
        result[i] = identity_run_result(run->run, i);
    }
    if (result != NULL) {
        take_results(watcher, run->job, str_from_c(run->domain), run->is_scheduled, result, count);
    }
    if (run->job == JOB_DOMAINS && identity_run_save(run->run, &why) != OK) {
        log_warn(watcher->node->log, "watch", "what passed is not kept: %s", why.text);
    }
    watcher_answer_run(watcher, run);
    watcher_run_free(run, false);
}

static struct mono turn_runs(struct watcher *watcher)
{
    struct mono due = { 0 };
    struct list *link = watcher->runs.next;
    while (link != &watcher->runs) {
        struct watch_run *run = CONTAINER_OF(link, struct watch_run, link);
        link = link->next;
        if (!identity_run_is_done(run->run) && mono_is_due(run->next, watcher->now)) {
            run->next = identity_run_tick(run->run);
        }
        if (identity_run_is_done(run->run)) {
            run_take(watcher, run);
        } else {
            due = mono_first(due, run->next);
        }
    }
    return due;
}

static bool is_running(const struct watcher *watcher, enum watcher_job job)
{
    if (job == JOB_OWN || job == JOB_EXPIRY) {
        return watcher->own != NULL;
    }
    if (job == JOB_ROTATE || job == JOB_FLATTEN) {
        return watcher->setup != NULL;
    }
    for (const struct list *link = watcher->runs.next; link != &watcher->runs; link = link->next) {
        const struct watch_run *run =
                CONTAINER_OF((struct list *)(uintptr_t)link, struct watch_run, link);
        if (run->job == job && run->is_scheduled) {
            return true;
        }
    }
    return false;
}

/* ---- our own affairs ---- */

static void own_done(void *ctx, const struct identity_result *const *result, uint32_t result_count)
{
    struct watcher *watcher = ctx;
    watcher->own_result = result;
    watcher->own_result_count = result_count;
    watcher->is_own_done = true;
    net_wake_real(watcher->net);
}

static void own_start(struct watcher *watcher, enum watcher_job job)
{
    const struct watcher_own_conf conf = { .net = watcher->net,
        .dns = watcher->dns,
        .http = watcher->http,
        .clock = watcher->clock,
        .config = watcher->config,
        .is_expiry = job == JOB_EXPIRY,
        .done = own_done,
        .ctx = watcher };
    watcher->own_job = job;
    watcher->is_own_done = false;
    if (watcher_own_begin(&conf, &watcher->own) != OK) {
        log_warn(watcher->node->log, "watch", "out of memory: listeners and resolver not checked");
        watcher->own = NULL;
    }
}

static struct mono turn_own(struct watcher *watcher)
{
    if (watcher->own == NULL) {
        return (struct mono){ 0 };
    }
    struct mono due = watcher->is_own_done ? watcher->now : watcher_own_tick(watcher->own);
    if (watcher->is_own_done) {
        take_results(watcher, watcher->own_job, STR(""), true, watcher->own_result,
                watcher->own_result_count);
        watcher_own_free(watcher->own);
        watcher->own = NULL;
    }
    return due;
}

/* ---- set-up that goes on ---- */

static void setup_start(struct watcher *watcher, enum watcher_job job)
{
    const struct watcher_setup_conf conf = { .node = watcher->node,
        .net = watcher->net,
        .clock = watcher->clock,
        .config = watcher->config,
        .is_ending = &watcher->is_refusing,
        .is_flatten = job == JOB_FLATTEN };
    if (atomic_load(&watcher->is_refusing)) {
        return;
    }
    watcher->setup_job = job;
    enum err err = watcher_setup_begin(&conf, &watcher->setup);
    if (err != OK) {
        log_warn(watcher->node->log, "watch", "%s: it is tried again",
                err == E_NOMEM ? "out of memory" : "no thread for the rotation of keys");
        watcher->setup = NULL;
    }
}

static void turn_setup(struct watcher *watcher)
{
    uint32_t count = 0;
    const struct identity_result *const *result =
            watcher->setup != NULL ? watcher_setup_results(watcher->setup, &count) : NULL;
    if (result != NULL) {
        if (!atomic_load(&watcher->is_refusing)) { /* else it was cut short */
            take_results(watcher, watcher->setup_job, STR(""), true, result, count);
        }
        watcher_setup_free(watcher->setup);
        watcher->setup = NULL;
    }
}

static void start_due(struct watcher *watcher)
{
    struct why why = { 0 };
    for (enum watcher_job job = 0; job < JOB_COUNT; job++) {
        if (!mono_is_due(watcher->due[job], watcher->now) || is_running(watcher, job)) {
            continue;
        }
        watcher->due[job] = mono_after(watcher->now, jitter(watcher, every_ms(watcher, job)));
        if (job == JOB_OWN || job == JOB_EXPIRY) {
            own_start(watcher, job);
        } else if (job == JOB_ROTATE || job == JOB_FLATTEN) {
            setup_start(watcher, job);
        } else {
            (void)watcher_run(watcher, job, STR(""), true, &why);
        }
    }
}

/* ---- telling ---- */

void watcher_notice_sent(void *ctx, uint32_t route, bool is_good, struct str why)
{
    struct watcher *watcher = ctx;
    watcher->command_routes &= ~(1U << route);
    if (!is_good) {
        log_warn(watcher->node->log, "watch", "an alert could not be sent by route %u (%.*s): %.*s",
                (unsigned)route + 1, STR_ARG(identity_alerts_route_name(watcher->alerts, route)),
                STR_ARG(why));
    }
    identity_alerts_sent(watcher->alerts, route, is_good, why, clock_mono(watcher->clock));
    watcher->is_changed = true;
    net_wake_real(watcher->net);
}

void watcher_command_ended(void *ctx)
{
    struct watcher *watcher = ctx;
    watcher_send_results(&watcher->post);
    if (!starter_is_gone(watcher->starter)) {
        return;
    }
    net_unwatch_fd_real(watcher->net, starter_fd(watcher->starter));
    watcher->starter = watcher->post.starter = NULL;
    log_error(watcher->node->log, "watch",
            "the starter of programs has ended: alert commands are not run until a restart");
    for (uint32_t i = 0; i < CONFIG_ALERT_COUNT_MAX; i++) {
        if ((watcher->command_routes & 1U << i) != 0) {
            watcher_notice_sent(watcher, i, false, STR("the starter of programs has ended"));
        }
    }
}

static void turn_alerts(struct watcher *watcher)
{
    struct wall wall = clock_wall(watcher->clock);
    uint32_t count = identity_alerts_route_count(watcher->alerts);
    for (uint32_t i = 0; i < count; i++) {
        if (identity_alerts_take(watcher->alerts, i, wall, watcher->now, &watcher->notice)) {
            bool is_command = watcher->notice.route->type == CONFIG_ALERT_COMMAND;
            watcher->command_routes |= is_command ? 1U << i : 0;
            watcher_send(&watcher->post, i, &watcher->notice);
        }
    }
}

/* ---- keeping ---- */

static void save(struct watcher *watcher)
{
    struct why why = { 0 };
    json_t *more = json_pack("{s:o, s:I}", "alerts", identity_alerts_state(watcher->alerts),
            "reminded", (json_int_t)watcher->reminded_at.ms);
    if (identity_watch_save(watcher->watch, str_from_c(watcher->state_path), "more", more, &why) !=
            OK) {
        log_warn(watcher->node->log, "watch",
                "the state of the checks is not kept (changes may be told again after a restart): "
                "%s",
                why.text);
    }
    json_decref(more);
    watcher->is_changed = false;
    watcher->save_at = (struct mono){ 0 };
}

static struct mono turn_save(struct watcher *watcher)
{
    if (watcher->is_changed) { /* what was told must not be told again */
        watcher->save_at = watcher->now;
    }
    if (mono_is_due(watcher->save_at, watcher->now)) {
        save(watcher);
    }
    return watcher->save_at;
}

static void load(struct watcher *watcher)
{
    const json_t *more = json_object_get(identity_watch_more(watcher->watch), "more");
    watcher->reminded_at.ms = json_integer_value(json_object_get(more, "reminded"));
    identity_alerts_config(watcher->alerts, watcher->config);
    identity_alerts_restore(watcher->alerts, json_object_get(more, "alerts"), watcher->now);
    identity_watch_each_problem(watcher->watch, raise_again, watcher);
}

/* What a person has not ticked yet, once a week. */
static void turn_remind(struct watcher *watcher)
{
    struct wall now = clock_wall(watcher->clock);
    if (watcher->config->checks_ms == 0 || now.ms - watcher->reminded_at.ms < REMIND_MS) {
        return;
    }
    bool is_first = watcher->reminded_at.ms == 0; /* a new node's owner knows */
    watcher->reminded_at = now;
    watcher->is_changed = true;
    for (uint32_t i = 0; !is_first && i < watcher->config->domain_count; i++) {
        struct str domain = watcher->config->domain[i].name;
        uint32_t count = watcher_to_do_count(watcher, domain);
        if (count > 0) {
            log_info(watcher->node->log, "watch",
                    "%u items of the checklist of %.*s wait for a person: outpost domain checklist "
                    "%.*s",
                    (unsigned)count, STR_ARG(domain), STR_ARG(domain));
        }
    }
}

/* ---- the thread ---- */

static void on_config(struct watcher *watcher, struct config *config)
{
    struct config *old = watcher->config;
    bool had_names = old->domain_count + old->source_count > 0;
    bool is_same = old->checks_ms == config->checks_ms && old->lists_ms == config->lists_ms &&
                   had_names == (config->domain_count + config->source_count > 0);
    watcher->config = config; /* the letter's reference */
    identity_alerts_config(watcher->alerts, config);
    if (!is_same) {
        schedule(watcher, watcher->now, false);
    }
    hurry(watcher, JOB_DOMAINS, HURRY_MS);
    hurry(watcher, JOB_OWN, HURRY_MS);
    hurry(watcher, JOB_ROTATE, HURRY_MS);
    config_give(old);
}

static void take_letter(struct watcher *watcher, struct letter *letter)
{
    switch ((enum watcher_letter)letter->kind) {
    case WATCHER_CONFIG:
        on_config(watcher, CONTAINER_OF(letter, struct node_config_letter, letter)->config);
        mem_free(letter);
        break;
    case WATCHER_REFUSED:
        atomic_fetch_sub(&watcher->refused_count, 1);
        on_refusal(watcher, str_from_c(CONTAINER_OF(letter, struct watcher_refused, letter)->text));
        mem_free(letter);
        break;
    case WATCHER_ASK:
        watcher_take_ask(watcher, CONTAINER_OF(letter, struct watcher_ask, letter));
        break;
    }
}

static void turn(void *ctx)
{
    struct watcher *watcher = ctx;
    struct letter *letter = mailbox_take_all(&watcher->box);
    watcher->now = clock_mono(watcher->clock);
    while (letter) {
        struct letter *next = letter->next;
        take_letter(watcher, letter);
        letter = next;
    }
    if (atomic_load(&watcher->is_refusing)) {
        watcher_refuse_asks(watcher);
    }
    set_appetite(watcher);
    turn_setup(watcher);
    start_due(watcher);
    struct mono due = mono_first(turn_runs(watcher), turn_own(watcher));
    turn_remind(watcher);
    turn_alerts(watcher);
    due = mono_first(due, turn_save(watcher));
    mailbox_flush();
    if (atomic_load(&watcher->is_ending)) {
        net_stop_real(watcher->net);
        return;
    }
    for (enum watcher_job job = 0; job < JOB_COUNT; job++) {
        bool is_waiting = mono_is_due(watcher->due[job], watcher->now); /* for the one that runs */
        due = is_waiting ? due : mono_first(due, watcher->due[job]);
    }
    due = mono_first(
            due, identity_alerts_due(watcher->alerts, clock_wall(watcher->clock), watcher->now));
    due = mono_first(due, mono_after(watcher->now, TURN_MS_MAX));
    watcher->net->ops->timer(watcher->net, due, turn, watcher);
}

void *watcher_thread(void *ctx)
{
    struct watcher *watcher = ctx;
    mailbox_defer();
    watcher->now = clock_mono(watcher->clock);
    load(watcher);
    schedule(watcher, watcher->now, true);
    turn(watcher);
    net_run_real(watcher->net, turn, watcher);
    save(watcher);
    mailbox_flush();
    return NULL;
}
