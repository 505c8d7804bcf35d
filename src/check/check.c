/* SPDX-License-Identifier: Apache-2.0
 *
 * check.c - the calls of liboutpost-check: a run asks everything at one time over a loop and a
 * resolver of its own, and is driven by its caller, or by outpost_check until it is done.
 */
#include "check/check_priv.h"
#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"
#include "edge/net.h"

#include <poll.h>
#include <pthread.h>

enum { WAIT_MS_MAX = 1000 /* the resolver's own time-outs count in seconds */ };

struct outpost_check_run {
    struct holder *holder;
    struct net *net;
    struct dns *dns;
    struct identity_asker *asker;
    struct mono deadline;
    uint32_t open_count;
    bool is_nomem;
    struct ptr_ask ptr;
    struct text_ask spf_record;
    struct spf *spf;       /* NULL: no address was given */
    struct dmarc *dmarc;   /* the record */
    struct dmarc *aligned; /* with what SPF passed for; NULL: it did not */
    struct text_ask *key;  /* as wishes.key */
};

/* libunbound (to 1.22 at least) sets up its log and its locks in static variables, unguarded, when
 * a context is made, asked for the first time, and deleted: not in two threads at one time. Held
 * for these calls only, never while a run waits. */
static pthread_mutex_t resolver_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- words ---- */

const char *outpost_check_error_text(int error)
{
    static const char *const text[] = {
        [OUTPOST_CHECK_SUCCESS] = "success",
        [OUTPOST_CHECK_E_ARGUMENT] = "a pointer is NULL, or options exclude each other",
        [OUTPOST_CHECK_E_DOMAIN] = "not a domain name",
        [OUTPOST_CHECK_E_IP] = "neither an IPv4 nor an IPv6 address",
        [OUTPOST_CHECK_E_SENDER] = "mail_from or helo: no domain name in it, or too long",
        [OUTPOST_CHECK_E_SELECTOR] = "a selector is no name, or there are too many",
        [OUTPOST_CHECK_E_KEY] = "a public key is neither PEM nor the value of p=",
        [OUTPOST_CHECK_E_LIMIT] = "the time limit is too long",
        [OUTPOST_CHECK_E_RESOLVER] = "the resolver cannot be used: see servers and resolv.conf",
        [OUTPOST_CHECK_E_ZONE] = "the zone file cannot be read",
        [OUTPOST_CHECK_E_PENDING] = "the check is not done yet",
        [OUTPOST_CHECK_E_MEMORY] = "out of memory",
        [OUTPOST_CHECK_E_SYSTEM] = "out of descriptors or threads",
    };
    bool is_ours = error >= 0 && (size_t)error < COUNT_OF(text);
    return is_ours ? text[error] : "not an error of this library";
}

const char *outpost_check_status_name(enum outpost_check_status status)
{
    static const char *const name[] = { "not asked", "ok", "absent", "invalid", "unknown" };
    return (size_t)status < COUNT_OF(name) ? name[status] : "";
}

/* ---- a result ---- */

static void result_init(struct outpost_check_result *result)
{
    *result = (struct outpost_check_result){ .domain = "", .ip = "" };
    result->ptr = (struct outpost_check_ptr){ .value = "", .error = "" };
    result->spf = (struct outpost_check_spf){
        .domain = "", .record = "", .result_name = "", .mechanism = "", .error = ""
    };
    result->default_dkim = (struct outpost_check_dkim){
        .selector = "", .name = "", .record = "", .key_type = "", .matches = -1, .error = ""
    };
    result->dmarc = (struct outpost_check_dmarc){ .domain = "",
        .record = "",
        .policy = "",
        .subdomain_policy = "",
        .percent = 100,
        .rua = "",
        .ruf = "",
        .spf_aligned = -1,
        .error = "" };
}

static struct holder *holder_new(void)
{
    struct holder *holder = mem_new(sizeof *holder);
    if (holder != NULL) {
        arena_init(&holder->arena, CHECK_ARENA_BYTES_MAX);
        list_init(&holder->extras);
        result_init(&holder->result);
    }
    return holder;
}

void outpost_check_free(struct outpost_check_result *result)
{
    if (result != NULL) {
        struct holder *holder = CONTAINER_OF(result, struct holder, result);
        arena_done(&holder->arena);
        mem_free(holder);
    }
}

/* ---- begin ---- */

static void on_asked(void *ctx)
{
    struct outpost_check_run *run = ctx;
    run->open_count--;
}

static void run_ask(
        struct outpost_check_run *run, struct identity_engine engine, identity_asked *done)
{
    struct mono now = clock_mono(clock_real());
    /* At least 1: 0 would be the asker's own limit. */
    uint64_t ms_left = mono_is_due(run->deadline, now) ? 1 : (uint64_t)(run->deadline.ms - now.ms);
    run->open_count++;
    if (identity_ask(run->asker, &engine, ms_left, done, run, NULL) != OK) {
        run->open_count--;
        run->is_nomem = true; /* E_FULL cannot be: a run has under a hundred */
    }
}

static enum err begin_dmarc(struct outpost_check_run *run, const struct dmarc_identifier *passed,
        struct dmarc **ret_dmarc)
{
    struct dmarc_facts facts = { .domain = run->holder->wishes.domain,
        .method = DMARC_TREE_WALK,
        .identifier = passed,
        .identifier_count = passed != NULL ? 1 : 0 };
    enum err err = dmarc_begin(&facts, ret_dmarc);
    if (err != OK) {
        run->is_nomem = true;
        return err;
    }
    run_ask(run, (struct identity_engine){ *ret_dmarc, dmarc_question, dmarc_answer }, on_asked);
    return OK;
}

/* What SPF passes for must be aligned to count for DMARC: asked apart, so that the record is known
 * also where SPF is slow. */
static void on_spf(void *ctx)
{
    struct outpost_check_run *run = ctx;
    const struct spf_verdict *verdict = spf_verdict(run->spf);
    on_asked(run);
    if (verdict->result == SPF_PASS) {
        struct dmarc_identifier passed = { true, DMARC_AUTH_PASS, verdict->domain };
        (void)begin_dmarc(run, &passed, &run->aligned); /* is_nomem says so */
    }
}

static enum err begin_address(struct outpost_check_run *run)
{
    const struct wishes *wishes = &run->holder->wishes;
    struct spf_params params = { .ip = wishes->ip,
        .mail_from = wishes->mail_from,
        .helo = wishes->helo,
        .now = clock_wall(clock_real()) };
    if (wishes->ip.family == IP_NONE) {
        return OK;
    }
    enum err err = ptr_ask_init(&run->ptr, wishes->ip);
    if (err == OK) {
        err = spf_begin(&params, &run->spf);
    }
    if (err == OK) {
        run_ask(run, ptr_ask_engine(&run->ptr), on_asked);
        run_ask(run, (struct identity_engine){ run->spf, spf_question, spf_answer }, on_spf);
    }
    return err;
}

static bool is_spf(struct str text)
{
    return spf_is_record(text);
}

static enum err begin_domain(struct outpost_check_run *run)
{
    const struct wishes *wishes = &run->holder->wishes;
    struct arena *arena = &run->holder->arena;
    run->spf_record.is_wanted = is_spf;
    if (text_ask_init(&run->spf_record, arena, STR(""), wishes->spf_domain)) {
        run_ask(run, text_ask_engine(&run->spf_record), on_asked);
    }
    return begin_dmarc(run, NULL, &run->dmarc);
}

static enum err begin_keys(struct outpost_check_run *run)
{
    const struct wishes *wishes = &run->holder->wishes;
    struct arena *arena = &run->holder->arena;
    run->key = arena_new(arena, wishes->key_count * sizeof *run->key);
    for (uint32_t i = 0; run->key != NULL && i < wishes->key_count; i++) {
        char prefix[LOOKUP_NAME_CAP + 16];
        size_t len =
                fmt(prefix, sizeof prefix, "%.*s._domainkey.", STR_ARG(wishes->key[i].selector));
        if (text_ask_init(&run->key[i], arena, str_of(prefix, len), wishes->domain)) {
            run_ask(run, text_ask_engine(&run->key[i]), on_asked);
        }
    }
    return run->key != NULL ? OK : E_NOMEM;
}

/* enum outpost_check_error for what opening said. */
static int code_of(enum err err, int otherwise)
{
    return err == OK        ? OUTPOST_CHECK_SUCCESS
           : err == E_NOMEM ? OUTPOST_CHECK_E_MEMORY
           : err == E_FULL  ? OUTPOST_CHECK_E_SYSTEM
                            : otherwise;
}

static int open_parts(struct outpost_check_run *run, struct why *why)
{
    const struct wishes *wishes = &run->holder->wishes;
    enum err err = net_open_real(clock_real(), &run->net, why);
    if (err != OK) {
        return code_of(err, OUTPOST_CHECK_E_SYSTEM);
    }
    if (wishes->zone_file != NULL) {
        err = dns_open_zone(wishes->zone_file, &run->dns, why);
    } else {
        err = dns_open_real(run->net, str_from_c(wishes->servers), NULL, &run->dns, why);
    }
    if (err != OK) {
        return code_of(
                err, wishes->zone_file != NULL ? OUTPOST_CHECK_E_ZONE : OUTPOST_CHECK_E_RESOLVER);
    }
    return code_of(
            identity_asker_open(run->dns, clock_real(), &run->asker), OUTPOST_CHECK_E_SYSTEM);
}

static void run_free(struct outpost_check_run *run)
{
    if (run->dns != NULL) {
        pthread_mutex_lock(&resolver_lock);
        run->dns->ops->close(run->dns);
        pthread_mutex_unlock(&resolver_lock);
    }
    identity_asker_close(run->asker);
    net_free_real(run->net);
    spf_free(run->spf);
    dmarc_free(run->dmarc);
    dmarc_free(run->aligned);
    mem_free(run);
}

static int ask_all(struct outpost_check_run *run, bool is_dkim_only)
{
    enum err err = OK;
    if (!is_dkim_only) {
        err = begin_address(run);
        err = err == OK ? begin_domain(run) : err;
    }
    if (err == OK) {
        err = begin_keys(run);
    }
    return err != OK || run->is_nomem ? OUTPOST_CHECK_E_MEMORY : OUTPOST_CHECK_SUCCESS;
}

/* On error holder is the caller's still; else the run's. */
static int run_begin(struct holder *holder, bool is_dkim_only, struct outpost_check_run **ret_run,
        struct why *why)
{
    struct outpost_check_run *run = mem_new(sizeof *run);
    if (run == NULL) {
        return OUTPOST_CHECK_E_MEMORY;
    }
    run->holder = holder;
    run->deadline = mono_after(clock_mono(clock_real()), holder->wishes.time_limit_ms);
    pthread_mutex_lock(&resolver_lock);
    int error = open_parts(run, why);
    if (error == OUTPOST_CHECK_SUCCESS) {
        error = ask_all(run, is_dkim_only);
    }
    pthread_mutex_unlock(&resolver_lock);
    if (error != OUTPOST_CHECK_SUCCESS) {
        run_free(run);
        return error;
    }
    net_step_real(run->net); /* from now on its descriptor tells of the resolver's */
    *ret_run = run;
    return OUTPOST_CHECK_SUCCESS;
}

int outpost_check_start(const char *domain, const char *ip,
        const struct outpost_check_options *options, struct outpost_check_run **run)
{
    struct why why = { "" };
    if (run == NULL) {
        why_set(&why, "there is no place for the run");
        return refuse_call(options, OUTPOST_CHECK_E_ARGUMENT, &why);
    }
    struct holder *holder = holder_new();
    if (holder == NULL) {
        return refuse_call(options, OUTPOST_CHECK_E_MEMORY, &why);
    }
    int error = wishes_read(domain, ip, options, &holder->arena, &holder->wishes, &why);
    if (error == OUTPOST_CHECK_SUCCESS) {
        error = run_begin(holder, /*is_dkim_only*/ false, run, &why);
    }
    if (error != OUTPOST_CHECK_SUCCESS) {
        outpost_check_free(&holder->result);
    }
    return refuse_call(options, error, &why);
}

/* ---- going on ---- */

int outpost_check_fd(const struct outpost_check_run *run)
{
    return run != NULL ? net_fd_real(run->net) : -1;
}

int outpost_check_done(const struct outpost_check_run *run)
{
    return run != NULL && run->open_count == 0;
}

int outpost_check_timeout_ms(const struct outpost_check_run *run)
{
    if (run == NULL || outpost_check_done(run) || run->holder->wishes.zone_file != NULL) {
        return 0;
    }
    int64_t left_ms = run->deadline.ms - clock_mono(clock_real()).ms;
    int wait_ms = net_wait_ms_real(run->net);
    if (wait_ms < 0 || wait_ms > WAIT_MS_MAX) {
        wait_ms = WAIT_MS_MAX;
    }
    return left_ms <= 0 ? 0 : left_ms < wait_ms ? (int)left_ms : wait_ms;
}

int outpost_check_process(struct outpost_check_run *run)
{
    if (run == NULL) {
        return OUTPOST_CHECK_E_ARGUMENT;
    }
    if (run->holder->wishes.zone_file != NULL) {
        while (run->open_count > 0) { /* each turn answers something, and engines end */
            dns_zone_poll(run->dns);
        }
        return OUTPOST_CHECK_SUCCESS;
    }
    net_step_real(run->net);
    (void)identity_asker_tick(run->asker); /* outpost_check_timeout_ms knows when to come back */
    net_step_real(run->net); /* answers may have led to a new resolver, to be watched */
    return OUTPOST_CHECK_SUCCESS;
}

/* ---- the end ---- */

static void judge_all(struct outpost_check_run *run)
{
    struct holder *holder = run->holder;
    struct outpost_check_result *result = &holder->result;
    const struct wishes *wishes = &holder->wishes;
    char ip[IP_TEXT_CAP];
    result->domain = judge_text(holder, wishes->domain);
    if (wishes->ip.family != IP_NONE) {
        result->ip = judge_text(holder, ip_format(wishes->ip, ip));
        judge_ptr(holder, &run->ptr);
    }
    judge_spf(holder, &run->spf_record, run->spf);
    judge_dmarc(holder, run->dmarc, run->aligned);
    judge_dkim(holder, &run->key[0], &wishes->key[0], &result->default_dkim);
    result->dkim_count = wishes->key_count - 1;
    struct outpost_check_dkim *dkim = arena_new(&holder->arena, wishes->key_count * sizeof *dkim);
    for (uint32_t i = 0; dkim != NULL && i < result->dkim_count; i++) {
        judge_dkim(holder, &run->key[i + 1], &wishes->key[i + 1], &dkim[i]);
    }
    result->dkim = dkim;
    holder->is_nomem |= dkim == NULL;
}

static bool has_lost_words(const struct outpost_check_run *run)
{
    bool is_nomem = run->is_nomem || run->holder->is_nomem || run->spf_record.is_nomem;
    for (uint32_t i = 0; i < run->holder->wishes.key_count; i++) {
        is_nomem |= run->key[i].is_nomem;
    }
    return is_nomem;
}

int outpost_check_finish(struct outpost_check_run *run, struct outpost_check_result **result)
{
    if (run == NULL || result == NULL) {
        return OUTPOST_CHECK_E_ARGUMENT;
    }
    if (!outpost_check_done(run)) {
        return OUTPOST_CHECK_E_PENDING;
    }
    struct holder *holder = run->holder;
    judge_all(run);
    bool is_nomem = has_lost_words(run);
    run_free(run);
    if (is_nomem) {
        outpost_check_free(&holder->result);
        return OUTPOST_CHECK_E_MEMORY;
    }
    *result = &holder->result;
    return OUTPOST_CHECK_SUCCESS;
}

void outpost_check_cancel(struct outpost_check_run *run)
{
    if (run != NULL) {
        struct holder *holder = run->holder;
        run_free(run);
        outpost_check_free(&holder->result);
    }
}

/* ---- blocking ---- */

static void run_wait(struct outpost_check_run *run)
{
    while (!outpost_check_done(run)) {
        struct pollfd at = { .fd = outpost_check_fd(run), .events = POLLIN };
        (void)poll(&at, 1, outpost_check_timeout_ms(run)); /* interrupted: one turn for nothing */
        (void)outpost_check_process(run);
    }
}

int outpost_check(const char *domain, const char *ip, const struct outpost_check_options *options,
        struct outpost_check_result **result)
{
    struct outpost_check_run *run;
    struct why why = { "" };
    if (result == NULL) {
        why_set(&why, "there is no place for the result");
        return refuse_call(options, OUTPOST_CHECK_E_ARGUMENT, &why);
    }
    int error = outpost_check_start(domain, ip, options, &run);
    if (error != OUTPOST_CHECK_SUCCESS) {
        return error;
    }
    run_wait(run);
    return refuse_call(options, outpost_check_finish(run, result), &why);
}

/* ---- one selector more ---- */

static bool is_same_wish(const struct key_wish *a, const struct key_wish *b)
{
    return str_eq_nocase(a->selector, b->selector) &&
           (a->text.ptr == NULL) == (b->text.ptr == NULL) && str_eq(a->der, b->der);
}

/* NULL: not asked yet. */
static const struct outpost_check_dkim *find_dkim(
        const struct holder *holder, const struct key_wish *wish)
{
    const struct wishes *wishes = &holder->wishes;
    for (uint32_t i = 0; i < wishes->key_count; i++) {
        if (is_same_wish(&wishes->key[i], wish)) {
            return i == 0 ? &holder->result.default_dkim : &holder->result.dkim[i - 1];
        }
    }
    for (struct list *at = holder->extras.next; at != &holder->extras; at = at->next) {
        const struct extra_dkim *extra = CONTAINER_OF(at, struct extra_dkim, link);
        if (is_same_wish(&extra->wish, wish)) {
            return &extra->dkim;
        }
    }
    return NULL;
}

/* Asks for wish alone, in a holder of its own; what is told then lives in holder. */
static int ask_extra(struct holder *holder, struct extra_dkim *extra)
{
    struct outpost_check_run *run;
    struct why why = { "" };
    struct holder *own = holder_new();
    if (own == NULL) {
        return OUTPOST_CHECK_E_MEMORY;
    }
    own->wishes.domain = holder->wishes.domain;
    own->wishes.servers = holder->wishes.servers;
    own->wishes.zone_file = holder->wishes.zone_file;
    own->wishes.time_limit_ms = holder->wishes.time_limit_ms;
    own->wishes.key = &extra->wish;
    own->wishes.key_count = 1;
    int error = run_begin(own, /*is_dkim_only*/ true, &run, &why);
    if (error == OUTPOST_CHECK_SUCCESS) {
        run_wait(run);
        judge_dkim(holder, &run->key[0], &extra->wish, &extra->dkim);
        if (holder->is_nomem || run->is_nomem || run->key[0].is_nomem) {
            error = OUTPOST_CHECK_E_MEMORY;
        }
        holder->is_nomem = false; /* the result as it was is whole */
        run_free(run);
    }
    outpost_check_free(&own->result);
    return error;
}

int outpost_check_dkim(struct outpost_check_result *result, const char *selector,
        const char *public_key, const struct outpost_check_dkim **dkim)
{
    struct why why;
    if (result == NULL || selector == NULL || dkim == NULL) {
        return OUTPOST_CHECK_E_ARGUMENT;
    }
    struct holder *holder = CONTAINER_OF(result, struct holder, result);
    struct extra_dkim *extra = arena_new(&holder->arena, sizeof *extra);
    if (extra == NULL) {
        return OUTPOST_CHECK_E_MEMORY;
    }
    int error = key_wish_read(selector, public_key, &holder->arena, &extra->wish, &why);
    if (error != OUTPOST_CHECK_SUCCESS) {
        return error;
    }
    const struct outpost_check_dkim *known = find_dkim(holder, &extra->wish);
    if (known == NULL) {
        error = ask_extra(holder, extra);
        if (error != OUTPOST_CHECK_SUCCESS) {
            return error;
        }
        list_add_last(&holder->extras, &extra->link);
        known = &extra->dkim;
    }
    *dkim = known;
    return OUTPOST_CHECK_SUCCESS;
}
