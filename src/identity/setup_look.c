/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_look.c - questions to DNS one at a time, for work that is done in order: each blocks until
 * its answer is there or the time is over.
 */
#include "core/list.h"
#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"
#include "edge/dns_direct.h"
#include "edge/entropy.h"
#include "edge/net.h"
#include "identity/setup_priv.h"
#include "mail/domain.h"

#include <stdatomic.h>

struct kept {
    struct list link;
    struct str name;
    enum dns_type type;
    struct ip server; /* IP_NONE: of the resolver */
    bool is_done;
    struct look_answer answer;
    struct look *look;
};

struct look {
    struct arena *arena;
    struct net *net; /* NULL: a master file answers */
    struct dns *dns;
    struct dns_direct *direct;
    struct list kept;
    struct mono deadline;
    const _Atomic bool *is_ending; /* may be NULL */
    struct kept nowhere;           /* where there is no memory for more */
};

static void on_time(void *ctx)
{
    net_stop_real(((struct look *)ctx)->net);
}

static void on_wake(void *ctx)
{
    (void)ctx; /* nobody wakes this loop */
}

enum err look_open(const struct identity_outside *outside, struct arena *arena,
        struct look **ret_look, struct why *why)
{
    struct look *look = arena_new(arena, sizeof *look);
    enum err err = OK;
    if (look == NULL) {
        return E_NOMEM;
    }
    look->arena = arena;
    look->is_ending = outside->is_ending;
    list_init(&look->kept);
    look->deadline = mono_after(clock_mono(clock_real()), IDENTITY_SETUP_MS_MAX);
    if (outside->zone_path != NULL) {
        err = dns_open_zone(outside->zone_path, &look->dns, why);
    } else {
        err = net_open_real(clock_real(), &look->net, why);
        err = err != OK ? err
                        : dns_open_real(look->net, outside->servers, outside->anchor_path,
                                  &look->dns, why);
        err = err != OK ? err : dns_direct_open(look->net, entropy_real(), &look->direct, why);
    }
    if (err != OK) {
        look_close(look);
        return err;
    }
    *ret_look = look;
    return OK;
}

void look_close(struct look *look)
{
    if (look == NULL) {
        return;
    }
    if (look->dns != NULL) {
        look->dns->ops->close(look->dns);
    }
    dns_direct_close(look->direct);
    if (look->net != NULL) {
        net_free_real(look->net);
    }
}

bool look_is_online(const struct look *look)
{
    return look->direct != NULL;
}

/* Strings are copied, as an answer lives during its callback only. */
static bool keep_records(struct look *look, struct kept *kept, const struct dns_answer *answer)
{
    struct dns_record *record = arena_new(look->arena, (answer->record_count + 1) * sizeof *record);
    if (record == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < answer->record_count; i++) {
        record[i] = answer->record[i];
        record[i].data = arena_str(look->arena, answer->record[i].data);
        if (record[i].data.ptr == NULL) {
            record[i].data = STR("");
        }
    }
    kept->answer.record = record;
    kept->answer.record_count = answer->record_count;
    return true;
}

static void on_answer(void *ctx, const struct dns_answer *answer)
{
    struct kept *kept = ctx;
    struct look *look = kept->look;
    if (!kept->is_done) {
        bool is_kept = keep_records(look, kept, answer);
        kept->answer.status = is_kept ? answer->status : DNS_SERVFAIL;
        kept->answer.is_secure = answer->is_secure;
        kept->answer.why = arena_str(look->arena, str_from_c(is_kept ? answer->why : "no memory"));
        kept->is_done = true;
    }
    if (look->net != NULL) {
        net_stop_real(look->net);
    }
}

static enum err send(struct look *look, struct kept *kept)
{
    if (kept->server.family == IP_NONE) {
        return look->dns->ops->ask(look->dns, kept->name, kept->type, on_answer, kept);
    }
    struct ip_port at = { .ip = kept->server, .port = 53 };
    return dns_direct_ask(
            look->direct, &at, kept->name, kept->type, IDENTITY_QUESTION_MS_MAX, on_answer, kept);
}

static void wait_for(struct look *look, struct kept *kept)
{
    struct mono now = clock_mono(clock_real());
    struct mono end = mono_first(mono_after(now, IDENTITY_QUESTION_MS_MAX), look->deadline);
    bool is_over = mono_is_due(look->deadline, now) ||
                   (look->is_ending != NULL && atomic_load(look->is_ending));
    enum err err = is_over ? E_TIMEOUT : send(look, kept);
    while (err == OK && !kept->is_done && !mono_is_due(end, clock_mono(clock_real()))) {
        if (look->net == NULL) {
            dns_zone_poll(look->dns);
        } else {
            look->net->ops->timer(look->net, end, on_time, look);
            net_run_real(look->net, on_wake, look);
        }
    }
    if (!kept->is_done) {
        kept->answer.status = err == OK || err == E_TIMEOUT ? DNS_TIMEOUT : DNS_SERVFAIL;
        kept->answer.why = err == E_SYNTAX ? STR("no name that can be asked for") : STR("");
        kept->is_done = true;
    }
}

static const struct look_answer *ask(
        struct look *look, struct ip server, struct str name, enum dns_type type)
{
    for (struct list *at = look->kept.next; at != &look->kept; at = at->next) {
        struct kept *kept = CONTAINER_OF(at, struct kept, link);
        bool is_same_server = kept->server.family == server.family &&
                              (server.family == IP_NONE || ip_eq(kept->server, server));
        if (kept->type == type && is_same_server && str_eq_nocase(kept->name, name)) {
            return &kept->answer;
        }
    }
    struct kept *kept = arena_new(look->arena, sizeof *kept);
    struct str copy = arena_str(look->arena, name);
    if (kept == NULL || (copy.ptr == NULL && name.len > 0)) {
        look->nowhere.answer =
                (struct look_answer){ .status = DNS_SERVFAIL, .why = STR("no memory") };
        return &look->nowhere.answer;
    }
    *kept = (struct kept){ .name = copy, .type = type, .server = server, .look = look };
    list_add_last(&look->kept, &kept->link);
    wait_for(look, kept);
    return &kept->answer;
}

const struct look_answer *look_ask(struct look *look, struct str name, enum dns_type type)
{
    return ask(look, (struct ip){ 0 }, name, type);
}

const struct look_answer *look_ask_at(
        struct look *look, struct ip server, struct str name, enum dns_type type)
{
    return ask(look, server, name, type);
}

struct str look_words(struct look *look, const struct look_answer *answer)
{
    char safe[200];
    struct str why = str_escape(answer->why, safe, sizeof safe);
    static const char *const words[] = { [DNS_FOUND] = "found",
        [DNS_NODATA] = "no such record",
        [DNS_NXDOMAIN] = "no such name",
        [DNS_SERVFAIL] = "SERVFAIL",
        [DNS_TIMEOUT] = "no answer in time",
        [DNS_BOGUS] = "DNSSEC says it is forged or broken" };
    struct str text = arena_strf(
            look->arena, "%s%s%.*s", words[answer->status], why.len > 0 ? ": " : "", STR_ARG(why));
    return text.ptr != NULL ? text : STR("");
}

bool look_zone(struct look *look, struct str name, struct str *ret_zone)
{
    bool is_reverse = domain_is_within(name, STR("arpa"));
    struct str top = is_reverse ? name : domain_organizational(name), at = name;
    while (at.len > 0) {
        const struct look_answer *soa = look_ask(look, at, DNS_SOA);
        if (look_found(soa)) {
            *ret_zone = at;
            return true;
        }
        bool is_end = is_reverse ? str_eq(at, STR("in-addr.arpa")) || str_eq(at, STR("ip6.arpa"))
                                 : at.len <= top.len;
        if (is_end || look_failed(soa)) {
            break;
        }
        at = str_from(at, str_index(at, '.') + 1);
    }
    *ret_zone = is_reverse ? str_from(name, str_index(name, '.') + 1) : top;
    return false;
}

struct str look_reverse(struct arena *arena, struct ip ip)
{
    char text[80];
    size_t len = 0;
    if (ip.family == IP_V4) {
        return arena_strf(
                arena, "%u.%u.%u.%u.in-addr.arpa", ip.byte[3], ip.byte[2], ip.byte[1], ip.byte[0]);
    }
    for (int i = 15; i >= 0; i--) {
        len += fmt(text + len, sizeof text - len, "%x.%x.", ip.byte[i] & 15U,
                (unsigned)ip.byte[i] >> 4);
    }
    return arena_strf(arena, "%.*sip6.arpa", (int)len, text);
}
