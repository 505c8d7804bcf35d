/* SPDX-License-Identifier: Apache-2.0
 *
 * check_run.c - a run: every check of every subject, its questions asked once and side by side.
 *
 * Knows nothing of what is checked (check_rows.c has the table) and how questions travel
 * (check_ask.c). A check that waits hangs on the fact it waits for.
 */
#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"
#include "identity/check_priv.h"

const char *identity_status_name(enum identity_status status)
{
    static const char *const names[] = { "pass", "skip", "warn", "error", "fail" };
    static_assert(COUNT_OF(names) == IDENTITY_STATUS_COUNT, "a name for each");
    return (size_t)status < COUNT_OF(names) ? names[status] : "error";
}

/* ---- what is to be done ---- */

static uint32_t instance_count(const struct identity_run *run, const struct check_row *row,
        const struct identity_domain *domain, const struct identity_source *source)
{
    if ((row->set & run->options.checks) == 0) {
        return 0;
    }
    return row->count != NULL ? row->count(run->plan, domain, source) : 1;
}

/* Counts where run->check is NULL, else fills. */
static void add_checks(struct identity_run *run, enum check_scope scope,
        const struct identity_domain *domain, const struct identity_source *source)
{
    for (uint32_t r = 0; r < check_row_count; r++) {
        const struct check_row *row = &check_rows[r];
        uint32_t count = row->scope == scope ? instance_count(run, row, domain, source) : 0;
        for (uint32_t i = 0; i < count; i++) {
            if (run->check != NULL) {
                struct check *check = &run->check[run->check_count];
                *check = (struct check){
                    .row = row, .domain = domain, .source = source, .index = i
                };
                list_add_last(&run->fresh, &check->link);
            }
            run->check_count++;
        }
    }
}

static void add_all_checks(struct identity_run *run)
{
    const struct identity_plan *plan = run->plan;
    run->check_count = 0;
    add_checks(run, CHECK_OF_RUN, NULL, NULL);
    for (uint32_t s = 0; s < plan->source_count; s++) {
        add_checks(run, CHECK_OF_SOURCE, NULL, &plan->source[s]);
    }
    for (uint32_t d = 0; d < plan->domain_count; d++) {
        add_checks(run, CHECK_OF_DOMAIN, &plan->domain[d], NULL);
        for (uint32_t s = 0; s < plan->source_count; s++) {
            add_checks(run, CHECK_OF_PAIR, &plan->domain[d], &plan->source[s]);
        }
    }
}

/* ---- running ---- */

/* Into the run's memory; "" rather than an empty pointer. */
static struct str keep(struct identity_run *run, struct str s)
{
    struct str copy = arena_str(&run->arena, s);
    run->is_nomem = run->is_nomem || (copy.ptr == NULL && s.len > 0);
    return copy.ptr != NULL ? copy : STR("");
}

static void keep_result(struct identity_run *run, const struct identity_result *draft,
        struct identity_result *ret_result)
{
    *ret_result = *draft;
    ret_result->part = keep(run, draft->part);
    ret_result->found = keep(run, draft->found);
    ret_result->expected = keep(run, draft->expected);
    ret_result->mend = keep(run, draft->mend);
    ret_result->detail = keep(run, draft->detail);
    struct str before = check_state_found(&run->state, ret_result);
    bool is_changed = before.len > 0 && !str_eq(before, ret_result->found);
    ret_result->before = is_changed ? before : STR("");
}

static void check_end(struct identity_run *run, struct check *check, const struct checking *c)
{
    check->result = arena_new(&run->arena, (c->result_count + 1) * sizeof *check->result);
    for (uint32_t i = 0; check->result != NULL && i < c->result_count; i++) {
        keep_result(run, &c->result[i], &check->result[i]);
    }
    check->result_count = check->result != NULL ? c->result_count : 0;
    run->is_nomem = run->is_nomem || check->result == NULL || c->is_nomem;
    check->is_done = true;
    run->done_count++;
    if (run->options.progress != NULL) {
        run->options.progress(run->options.ctx, run->done_count, run->check_count);
    }
}

static void check_go(struct identity_run *run, struct check *check)
{
    arena_reset(&run->scratch);
    struct checking c = { .run = run,
        .plan = run->plan,
        .options = &run->options,
        .check = check,
        .domain = check->domain,
        .source = check->source,
        .now = clock_wall(run->options.clock),
        .scratch = &run->scratch,
        .result = run->draft };
    check->row->run(&c);
    if (c.waits_for != NULL) {
        list_add_last(&c.waits_for->checks, &check->link);
    } else {
        check_end(run, check, &c);
    }
}

static void run_finish(struct identity_run *run)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < run->check_count; i++) {
        count += run->check[i].result_count;
    }
    run->result = arena_new(&run->arena, (count + 1) * sizeof *run->result);
    for (uint32_t i = 0; run->result != NULL && i < run->check_count; i++) {
        for (uint32_t k = 0; k < run->check[i].result_count; k++) {
            run->result[run->result_count++] = &run->check[i].result[k];
        }
    }
    if (run->result == NULL) {
        run->result = &run->last;
        run->is_nomem = true;
    }
    if (run->is_nomem) {
        run->lost = (struct identity_result){ .id = STR("run.memory"),
            .status = IDENTITY_ERROR,
            .title = check_title("run.memory"),
            .found = STR("some results are lost") };
        run->result[run->result_count++] = &run->lost;
    }
    run->is_done = true;
}

void run_checks(struct identity_run *run, struct list *checks)
{
    struct list *link;
    if (run->is_abandoned) {
        return;
    }
    run->is_busy = true;
    while ((link = list_take_first(checks)) != NULL) {
        check_go(run, CONTAINER_OF(link, struct check, link));
    }
    run->is_busy = false;
    run_send(run);
    if (run->done_count == run->check_count && !run->is_done) {
        run_finish(run);
        if (run->options.done != NULL) {
            run->options.done(run->options.ctx);
        }
    }
}

/* ---- the calls ---- */

static void set_limits(struct identity_run_options *options)
{
    options->question_ms_max =
            options->question_ms_max > 0 ? options->question_ms_max : IDENTITY_QUESTION_MS_MAX;
    options->fetch_ms_max =
            options->fetch_ms_max > 0 ? options->fetch_ms_max : IDENTITY_FETCH_MS_MAX;
    options->run_ms_max = options->run_ms_max > 0 ? options->run_ms_max : IDENTITY_RUN_MS_MAX;
    options->ns_port = options->ns_port > 0 ? options->ns_port : 53;
    options->https_port = options->https_port > 0 ? options->https_port : 443;
    options->offline_why = options->offline_why != NULL ? options->offline_why : "not asked for";
}

static void run_drop(struct identity_run *run)
{
    check_state_done(&run->state);
    map_done(&run->facts);
    arena_done(&run->arena);
    arena_done(&run->scratch);
    mem_free(run);
}

enum err identity_run_begin(const struct identity_plan *plan,
        const struct identity_run_options *options, struct identity_run **ret_run, struct why *why)
{
    if (plan->domain_count > IDENTITY_DOMAIN_COUNT_MAX) {
        why_set(why, "more than %d domains in one run", (int)IDENTITY_DOMAIN_COUNT_MAX);
        return E_TOO_BIG;
    }
    struct identity_run *run = mem_new(sizeof *run);
    if (run == NULL) {
        return E_NOMEM;
    }
    run->plan = plan;
    run->options = *options;
    set_limits(&run->options);
    arena_init(&run->arena, CHECK_RUN_BYTES_MAX);
    arena_init(&run->scratch, CHECK_SCRATCH_BYTES_MAX);
    list_init(&run->queue);
    list_init(&run->open);
    list_init(&run->open_other);
    list_init(&run->waits);
    list_init(&run->fresh);
    enum err err = check_state_read(&run->state, options->state_path, why);
    if (err == OK) {
        add_all_checks(run);
        run->check = arena_new(&run->arena, (run->check_count + 1) * sizeof *run->check);
        err = run->check != NULL ? OK : E_NOMEM;
    }
    if (err != OK) {
        run_drop(run);
        return err;
    }
    add_all_checks(run);
    run->deadline = mono_after(clock_mono(options->clock), run->options.run_ms_max);
    *ret_run = run;
    return OK;
}

struct mono identity_run_tick(struct identity_run *run)
{
    struct mono now = clock_mono(run->options.clock);
    if (run->is_done) {
        return (struct mono){ 0 };
    }
    if (mono_is_due(run->deadline, now)) {
        run_expire_all(run);
    } else {
        run_expire(run, now);
    }
    run_checks(run, &run->fresh);
    if (run->is_done) {
        return (struct mono){ 0 };
    }
    return mono_first(run->deadline, run_next_deadline(run));
}

bool identity_run_is_done(const struct identity_run *run)
{
    return run->is_done;
}

uint32_t identity_run_count(const struct identity_run *run)
{
    return run->result_count;
}

const struct identity_result *identity_run_result(const struct identity_run *run, uint32_t index)
{
    ASSERT(index < run->result_count);
    return run->result[index];
}

void identity_run_free(struct identity_run *run, bool handles_closed)
{
    if (run == NULL) {
        return;
    }
    run_forget(run, handles_closed);
    if (run->wait_count > 0) {
        run->is_abandoned = true; /* run_answered frees it with the last answer */
    } else {
        run_drop(run);
    }
}

void run_abandoned(struct identity_run *run)
{
    if (run->is_abandoned && run->wait_count == 0) {
        run_drop(run);
    }
}
