/* SPDX-License-Identifier: Apache-2.0
 *
 * check_ask.c - the questions of a run: each asked once, so many at one time, each with its limit.
 *
 * A question that cannot be taken back (dns, http) leaves its `wait` with them; where the run does
 * not want the answer any more, the wait has lost its fact and is freed when the answer comes.
 */
#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"
#include "edge/dns_direct.h"
#include "edge/http.h"
#include "identity/check_priv.h"

struct wait {
    struct list link; /* in run.waits */
    struct identity_run *run;
    struct fact *fact;     /* NULL: nobody wants it */
    struct smtp_ask *smtp; /* FACT_SMTP: it can be taken back */
};

/* ---- answers ---- */

static struct str keep(struct identity_run *run, struct str s)
{
    struct str copy = arena_str(&run->arena, s);
    return copy.ptr != NULL ? copy : STR("");
}

static void fact_fail(
        struct identity_run *run, struct fact *fact, enum dns_status status, const char *why)
{
    fact->is_answered = true;
    fact->status = status;
    fact->err = E_TIMEOUT;
    fact->why = keep(run, str_from_c(why));
}

/* The wait ends; NULL: nobody wants the answer, and the run may be gone. */
static struct fact *wait_end(struct wait *wait)
{
    struct identity_run *run = wait->run;
    struct fact *fact = wait->fact;
    list_del(&wait->link);
    run->wait_count--;
    mem_free(wait);
    if (fact == NULL) {
        run_abandoned(run);
        return NULL;
    }
    fact->wait = NULL;
    list_del(&fact->link);
    run->open_count--;
    return fact;
}

static void keep_records(
        struct identity_run *run, struct fact *fact, const struct dns_answer *answer)
{
    if (answer->is_cut && fact->type == DNS_TXT) { /* the one that counts may be cut off */
        fact_fail(run, fact, DNS_SERVFAIL, "more TXT records than are read");
        return;
    }
    struct dns_record *copy = arena_new(&run->arena, (answer->record_count + 1) * sizeof *copy);
    for (uint32_t i = 0; copy != NULL && i < answer->record_count; i++) {
        copy[i] = answer->record[i];
        copy[i].data = arena_str(&run->arena, answer->record[i].data);
        if (copy[i].data.ptr == NULL) {
            copy = answer->record[i].data.len > 0 ? NULL : copy;
        }
    }
    if (copy == NULL) { /* an answer without its records would be a lie */
        run->is_nomem = true;
        fact_fail(run, fact, DNS_SERVFAIL, "out of memory");
        return;
    }
    fact->record = copy;
    fact->record_count = answer->record_count;
}

static void on_dns(void *ctx, const struct dns_answer *answer)
{
    struct wait *wait = ctx;
    struct identity_run *run = wait->run;
    struct fact *fact = wait_end(wait);
    if (fact == NULL) {
        return;
    }
    fact->is_answered = true;
    fact->status = answer->status;
    fact->is_secure = answer->is_secure;
    fact->ttl_s = answer->ttl_s;
    fact->why = keep(run, str_from_c(answer->why));
    keep_records(run, fact, answer);
    run_checks(run, &fact->checks);
}

static void on_page(void *ctx, const struct http_reply *reply)
{
    struct wait *wait = ctx;
    struct identity_run *run = wait->run;
    struct fact *fact = wait_end(wait);
    if (fact == NULL) {
        return;
    }
    fact->is_answered = true;
    fact->err = reply->err;
    fact->status = reply->err == OK ? DNS_FOUND : DNS_SERVFAIL;
    fact->http_status = reply->status;
    fact->content_type = keep(run, str_from_c(reply->content_type));
    fact->body = keep(run, reply->body);
    fact->why = keep(run, str_from_c(reply->why));
    run_checks(run, &fact->checks);
}

static void on_smtp(void *ctx, const struct smtp_said *said)
{
    struct wait *wait = ctx;
    struct identity_run *run = wait->run;
    wait->smtp = NULL;
    struct fact *fact = wait_end(wait);
    if (fact == NULL) {
        return;
    }
    fact->is_answered = true;
    fact->err = said->err;
    fact->status = said->err == OK ? DNS_FOUND : DNS_SERVFAIL;
    fact->is_taken = said->is_taken;
    fact->body = keep(run, str_of((const char *)said->cert_sha256, sizeof said->cert_sha256));
    fact->why = keep(run, str_from_c(said->words));
    run_checks(run, &fact->checks);
}

/* ---- sending ---- */

/* The name to greet with: of a source, else of the node; "" where nobody has one. */
static struct str greeting_name(const struct identity_plan *plan)
{
    if (plan->source_count > 0 && plan->source[0].ehlo.len > 0) {
        return plan->source[0].ehlo;
    }
    return plan->config != NULL ? plan->config->hostname : STR("localhost");
}

static enum err send_smtp(struct identity_run *run, const struct fact *fact, struct wait *wait)
{
    const struct smtp_how how = { .want = (enum smtp_want)fact->type,
        .at = fact->at,
        .ehlo = greeting_name(run->plan),
        .host = fact->name,
        .mailbox = fact->path };
    return smtp_ask_begin(run->options.net, &how, on_smtp, wait, &wait->smtp, NULL);
}

static enum err send_page(struct identity_run *run, const struct fact *fact, struct wait *wait)
{
    char host[DNS_NAME_CAP], path[HTTP_URL_CAP];
    if (!str_to_c(fact->name, host, sizeof host) || !str_to_c(fact->path, path, sizeof path)) {
        return E_USAGE;
    }
    struct http_request request = { .host = host,
        .at = fact->at,
        .path = path,
        .ms_max = run->options.fetch_ms_max,
        .body_bytes_max = HTTP_BODY_BYTES_MAX };
    return http_get(run->options.http, &request, on_page, wait);
}

static enum err send_fact(struct identity_run *run, struct fact *fact, struct wait *wait)
{
    const struct identity_run_options *options = &run->options;
    switch (fact->kind) {
    case FACT_DNS:
        fact->deadline = mono_after(clock_mono(options->clock), options->question_ms_max);
        return options->dns->ops->ask(
                options->dns, fact->name, (enum dns_type)fact->type, on_dns, wait);
    case FACT_DIRECT:
        return dns_direct_ask(options->direct, &fact->at, fact->name, (enum dns_type)fact->type,
                options->question_ms_max, on_dns, wait);
    case FACT_PAGE:
        return send_page(run, fact, wait);
    case FACT_SMTP:
        fact->deadline = mono_after(clock_mono(options->clock), options->question_ms_max);
        return send_smtp(run, fact, wait);
    }
    return E_USAGE;
}

/* E_FULL: later; other errors are the fact's answer. */
static enum err fact_begin(struct identity_run *run, struct fact *fact)
{
    struct wait *wait = mem_new(sizeof *wait);
    if (wait == NULL) {
        return E_NOMEM;
    }
    wait->run = run;
    wait->fact = fact;
    enum err err = send_fact(run, fact, wait);
    if (err != OK) {
        mem_free(wait);
        return err;
    }
    list_add_last(&run->waits, &wait->link);
    run->wait_count++;
    run->open_count++;
    fact->wait = wait;
    list_del(&fact->link);
    bool is_timed = fact->kind == FACT_DNS || fact->kind == FACT_SMTP;
    list_add_last(is_timed ? &run->open : &run->open_other, &fact->link);
    return OK;
}

/* Not sent: answered so. Checks that wait are called, which may queue more. */
static void fact_refuse(struct identity_run *run, struct fact *fact, const char *why)
{
    list_del(&fact->link);
    fact_fail(run, fact, DNS_SERVFAIL, why);
    run_checks(run, &fact->checks);
}

void run_send(struct identity_run *run)
{
    if (run->is_busy || run->is_sending) {
        return; /* the outermost call goes on */
    }
    run->is_sending = true;
    while (!list_is_empty(&run->queue) && run->open_count < IDENTITY_OPEN_COUNT_MAX) {
        struct fact *fact = CONTAINER_OF(run->queue.next, struct fact, link);
        enum err err = fact_begin(run, fact);
        if (err == E_FULL && run->open_count > 0) {
            break; /* the next answer makes room */
        }
        if (err != OK) {
            fact_refuse(run, fact,
                    err == E_SYNTAX ? "not a name that can be asked for"
                    : err == E_IO   ? "no way to that address from here"
                                    : err_name(err));
        }
    }
    run->is_sending = false;
}

/* ---- time ---- */

struct mono run_next_deadline(const struct identity_run *run)
{
    if (list_is_empty(&run->open)) {
        return (struct mono){ 0 };
    }
    return CONTAINER_OF(run->open.next, struct fact, link)->deadline;
}

/* Ends a dialogue that can be ended; false: the wait stays until its answer comes. */
static bool wait_take_back(struct wait *wait, bool net_closed)
{
    if (wait->smtp == NULL) {
        return false;
    }
    smtp_ask_drop(wait->smtp, net_closed);
    list_del(&wait->link);
    wait->run->wait_count--;
    mem_free(wait);
    return true;
}

/* The answer is not waited for any longer. */
static void fact_expire(struct identity_run *run, struct fact *fact, const char *why)
{
    list_del(&fact->link);
    if (fact->wait != NULL) {
        fact->wait->fact = NULL;
        wait_take_back(fact->wait, /*net_closed*/ false);
        fact->wait = NULL;
        run->open_count--;
    }
    fact_fail(run, fact, DNS_TIMEOUT, why);
    run_checks(run, &fact->checks);
}

void run_expire(struct identity_run *run, struct mono now)
{
    while (!run->is_done && !list_is_empty(&run->open)) {
        struct fact *fact = CONTAINER_OF(run->open.next, struct fact, link);
        if (!mono_is_due(fact->deadline, now)) {
            break;
        }
        fact_expire(run, fact, "no answer in time");
    }
}

void run_expire_all(struct identity_run *run)
{
    static const char why[] = "the time of the whole run is over";
    struct list *const lists[] = { &run->open, &run->open_other, &run->queue };
    run->is_over = true;
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        while (!list_is_empty(lists[i])) {
            fact_expire(run, CONTAINER_OF(lists[i]->next, struct fact, link), why);
        }
    }
}

void run_forget(struct identity_run *run, bool handles_closed)
{
    for (struct list *at = run->waits.next, *next; at != &run->waits; at = next) {
        struct wait *wait = CONTAINER_OF(at, struct wait, link);
        next = at->next;
        wait->fact = NULL;
        if (!wait_take_back(wait, handles_closed) && handles_closed) {
            list_del(&wait->link);
            mem_free(wait);
            run->wait_count--;
        }
    }
}

/* ---- facts ---- */

static uint64_t fact_hash(const struct fact *key)
{
    char ip[IP_TEXT_CAP];
    uint64_t seed = (uint64_t)key->kind << 32 | (uint64_t)key->at.port << 16 | key->type;
    uint64_t hash = str_hash(key->name, seed);
    hash = str_hash(key->path, hash);
    return key->at.ip.family != IP_NONE ? str_hash(ip_format(key->at.ip, ip), hash) : hash;
}

static bool fact_eq(const struct fact *a, const struct fact *b)
{
    return a->kind == b->kind && a->type == b->type && a->at.port == b->at.port &&
           ip_eq(a->at.ip, b->at.ip) && str_eq(a->name, b->name) && str_eq(a->path, b->path);
}

static struct fact *fact_find(struct identity_run *run, const struct fact *key)
{
    uint64_t value;
    for (uint32_t at = 0; map_walk_key(&run->facts, fact_hash(key), &at, &value);) {
        struct fact *fact = (struct fact *)(uintptr_t)value;
        if (fact_eq(fact, key)) {
            return fact;
        }
    }
    return NULL;
}

/* NULL: no memory. */
static struct fact *fact_new(struct identity_run *run, const struct fact *key)
{
    struct fact *fact = arena_new(&run->arena, sizeof *fact);
    if (fact == NULL) {
        return NULL;
    }
    *fact = *key;
    fact->name = arena_str(&run->arena, key->name);
    fact->path = keep(run, key->path);
    list_init(&fact->checks);
    if (fact->name.ptr == NULL ||
            map_add(&run->facts, fact_hash(key), (uint64_t)(uintptr_t)fact) != OK) {
        return NULL;
    }
    if (run->is_over) {
        list_init(&fact->link);
        fact_fail(run, fact, DNS_TIMEOUT, "the time of the whole run is over");
    } else {
        list_add_last(&run->queue, &fact->link);
    }
    return fact;
}

/* Said to a check that cannot have its answer for want of memory. */
static const struct fact *fact_of_nomem(struct checking *c)
{
    static const struct fact none = { .is_answered = true,
        .name = STR_INIT(""),
        .status = DNS_SERVFAIL,
        .err = E_NOMEM,
        .why = STR_INIT("out of memory") };
    c->is_nomem = true;
    return &none;
}

static const struct fact *ask(struct checking *c, const struct fact *key)
{
    struct fact *fact = fact_find(c->run, key);
    if (fact == NULL) {
        fact = fact_new(c->run, key);
    }
    if (fact == NULL) {
        return fact_of_nomem(c);
    }
    if (!fact->is_answered && c->waits_for == NULL) {
        c->waits_for = fact;
    }
    return fact->is_answered ? fact : NULL;
}

/* ---- the calls of checks ---- */

static struct str plain_name(struct checking *c, struct str name)
{
    char *lower = arena_new(c->scratch, name.len + 1);
    if (lower == NULL) {
        return name;
    }
    for (size_t i = 0; i < name.len; i++) {
        lower[i] = ascii_lower(name.ptr[i]);
    }
    bool has_dot = name.len > 0 && name.ptr[name.len - 1] == '.';
    return str_of(lower, name.len - has_dot);
}

static const struct fact *ask_dns(struct checking *c, struct str name, enum dns_type type)
{
    struct fact key = {
        .kind = FACT_DNS, .name = plain_name(c, name), .path = STR(""), .type = (uint16_t)type
    };
    return ask(c, &key);
}

/* The top-level domain of a name, where a resolver that does not know it is to be doubted: not for
 * names that are kept for tests (RFC 6761) or stand for addresses. "": none. */
static struct str doubted_top(struct str name)
{
    static const struct str kept[] = { STR_INIT("arpa"), STR_INIT("example"), STR_INIT("test"),
        STR_INIT("invalid"), STR_INIT("localhost") };
    size_t dot = str_rindex(name, '.');
    struct str top = dot < name.len ? str_from(name, dot + 1) : name;
    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        if (str_eq_nocase(top, kept[i])) {
            return STR("");
        }
    }
    return top;
}

/* "No such name" from a resolver that knows not even the top-level domain is no answer: it is cut
 * off from the net, or lies. With NULL: awaited. */
static const struct fact *believe(struct checking *c, const struct fact *fact)
{
    struct str top = doubted_top(fact->name);
    if (fact->status != DNS_NXDOMAIN || c->options->direct == NULL || top.len == 0) {
        return fact;
    }
    const struct fact *above = ask_dns(c, top, DNS_SOA);
    if (above == NULL || above->status != DNS_NXDOMAIN) {
        return above == NULL ? NULL : fact;
    }
    struct fact *doubt = arena_new(c->scratch, sizeof *doubt);
    if (doubt == NULL) {
        return fact_of_nomem(c);
    }
    *doubt = *fact;
    doubt->status = DNS_SERVFAIL;
    doubt->why = check_text(c, "the resolver does not even know .%.*s", STR_ARG(top));
    return doubt;
}

const struct fact *check_ask(struct checking *c, struct str name, enum dns_type type)
{
    const struct fact *fact = ask_dns(c, name, type);
    return fact != NULL ? believe(c, fact) : NULL;
}

void check_expect(struct checking *c, struct str name, enum dns_type type)
{
    struct fact *waits_for = c->waits_for;
    (void)ask_dns(c, name, type);
    c->waits_for = waits_for;
}

const struct fact *check_ask_at(
        struct checking *c, struct ip server, struct str name, enum dns_type type)
{
    struct fact key = { .kind = FACT_DIRECT,
        .name = plain_name(c, name),
        .path = STR(""),
        .type = (uint16_t)type,
        .at = { server, c->options->ns_port } };
    return ask(c, &key);
}

/* The first usable address of host into *ret_ip; a fact that says why not, or NULL: awaited. */
static const struct fact *host_address(struct checking *c, struct str host, struct ip *ret_ip)
{
    check_expect(c, host, DNS_AAAA);
    const struct fact *v4 = check_ask(c, host, DNS_A);
    if (v4 == NULL) {
        return NULL;
    }
    const struct fact *found = v4;
    if (!fact_is_found(v4)) {
        const struct fact *v6 = check_ask(c, host, DNS_AAAA);
        if (v6 == NULL) {
            return NULL;
        }
        found = fact_is_absent(v4) || fact_is_found(v6) ? v6 : v4;
    }
    for (uint32_t i = 0; fact_is_found(found) && i < found->record_count; i++) {
        if (c->options->is_internal_allowed || !ip_is_internal(found->record[i].ip)) {
            *ret_ip = found->record[i].ip;
            return found;
        }
    }
    ret_ip->family = IP_NONE;
    return found;
}

static const struct fact *internal_address(void)
{
    static const struct fact internal = { .is_answered = true,
        .kind = FACT_PAGE,
        .name = STR_INIT(""),
        .status = DNS_SERVFAIL,
        .err = E_DENIED,
        .why = STR_INIT("its address is private: not asked") };
    return &internal;
}

const struct fact *check_smtp(struct checking *c, enum smtp_want want, struct ip_port at,
        struct str host, struct str mailbox)
{
    struct fact key = { .kind = FACT_SMTP,
        .name = plain_name(c, host),
        .path = mailbox,
        .type = (uint16_t)want,
        .at = at };
    return ask(c, &key);
}

const struct fact *check_mailbox(struct checking *c, struct str host, struct str mailbox)
{
    enum { SMTP_PORT = 25 };
    struct ip ip = { 0 };
    const struct fact *address = host_address(c, host, &ip);
    if (address == NULL || !fact_is_found(address)) {
        return address;
    }
    if (ip.family == IP_NONE) {
        return internal_address();
    }
    return check_smtp(c, SMTP_WANT_RCPT, (struct ip_port){ ip, SMTP_PORT }, host, mailbox);
}

const struct fact *check_fetch(struct checking *c, struct str host, struct str path)
{
    struct ip ip = { 0 };
    const struct fact *address = host_address(c, host, &ip);
    if (address == NULL || !fact_is_found(address)) {
        return address;
    }
    if (ip.family == IP_NONE) {
        return internal_address();
    }
    struct fact key = { .kind = FACT_PAGE,
        .name = plain_name(c, host),
        .path = path,
        .at = { ip, c->options->https_port } };
    return ask(c, &key);
}

/* ---- what a fact says ---- */

bool fact_is_found(const struct fact *fact)
{
    return fact->status == DNS_FOUND;
}

bool fact_is_absent(const struct fact *fact)
{
    return fact->status == DNS_NODATA || fact->status == DNS_NXDOMAIN;
}

bool fact_is_unknown(const struct fact *fact)
{
    return !fact_is_found(fact) && !fact_is_absent(fact);
}

struct str fact_words(struct checking *c, const struct fact *fact)
{
    const char *what = "";
    switch (fact->status) {
    case DNS_FOUND:
        return check_records(c, fact);
    case DNS_NODATA:
        return STR("no such record");
    case DNS_NXDOMAIN:
        return STR("no such name");
    case DNS_SERVFAIL:
        what = fact->kind == FACT_PAGE   ? "could not be fetched"
               : fact->kind == FACT_SMTP ? "could not be asked"
                                         : "the name servers failed";
        break;
    case DNS_TIMEOUT:
        what = "no answer in time";
        break;
    case DNS_BOGUS:
        what = "DNSSEC says forged or broken";
        break;
    }
    bool has_why = fact->why.len > 0 && !str_eq(fact->why, str_from_c(what));
    return check_text(c, "%.*s: %s%s%.*s%s", STR_ARG(fact->name), what, has_why ? " (" : "",
            has_why ? (int)fact->why.len : 0, fact->why.ptr != NULL ? fact->why.ptr : "",
            has_why ? ")" : "");
}

bool fact_has_ip(const struct fact *fact, struct ip ip)
{
    for (uint32_t i = 0; fact_is_found(fact) && i < fact->record_count; i++) {
        if (ip_eq(fact->record[i].ip, ip)) {
            return true;
        }
    }
    return false;
}

struct lookup_answer fact_lookup(struct checking *c, const struct fact *fact)
{
    struct lookup_record *record = arena_new(c->scratch, (fact->record_count + 1) * sizeof *record);
    if (record == NULL) {
        c->is_nomem = true;
        return (struct lookup_answer){ .status = LOOKUP_TEMPFAIL };
    }
    for (uint32_t i = 0; i < fact->record_count; i++) {
        record[i] = (struct lookup_record){ .preference = fact->record[i].preference,
            .ip = fact->record[i].ip,
            .data = fact->record[i].data };
    }
    return (struct lookup_answer){ .status = identity_lookup_status(fact->status),
        .record = record,
        .record_count = fact->record_count,
        .is_secure = fact->is_secure };
}
