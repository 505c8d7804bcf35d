/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_spf.c - SPF records made: ours merged into what there is, counted term by term, and walked
 * to the addresses at their ends.
 */
#include "core/str.h"
#include "identity/setup_priv.h"
#include "mail/spf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { WALK_DEPTH_MAX = 10, WALK_ASK_COUNT_MAX = 200, WALK_NET_COUNT_MAX = 1000 };

uint32_t setup_spf_of(const struct look_answer *txt, struct str *ret_text)
{
    uint32_t count = 0;
    *ret_text = STR("");
    for (uint32_t i = 0; look_found(txt) && i < txt->record_count; i++) {
        if (txt->record[i].type == DNS_TXT && spf_is_record(txt->record[i].data)) {
            *ret_text = count == 0 ? txt->record[i].data : *ret_text;
            count++;
        }
    }
    return count;
}

/* ---- merged ---- */

static bool has_term(struct str record, struct str term)
{
    struct str part;
    while (str_cut(&record, ' ', &part)) {
        part = str_starts(part, STR("+")) ? str_from(part, 1) : part;
        if (str_eq_nocase(part, term)) {
            return true;
        }
    }
    return false;
}

/* Does a term of old let the address pass already? Terms that ask DNS are not looked into. */
static bool has_address(const struct spf_record *old, struct ip ip)
{
    for (uint32_t i = 0; i < old->term_count; i++) {
        const struct spf_term *term = &old->term[i];
        bool is_net = term->kind == SPF_IP4 || term->kind == SPF_IP6;
        if (is_net && term->qualifier == '+' && ip_in(ip, &term->net)) {
            return true;
        }
    }
    return false;
}

static void add_address(struct buf *text, struct ip ip)
{
    char room[IP_TEXT_CAP];
    buf_addf(text, " %s:%.*s", ip.family == IP_V4 ? "ip4" : "ip6", STR_ARG(ip_format(ip, room)));
}

static void add_ours(
        const struct setup_spf_merge *what, const struct spf_record *old, struct buf *text)
{
    for (uint32_t i = 0; what->redirect.len == 0 && i < what->ip_count; i++) {
        bool is_known = what->ip[i].family == IP_NONE || has_address(old, what->ip[i]);
        for (uint32_t k = 0; k < i && !is_known; k++) {
            is_known = ip_eq(what->ip[k], what->ip[i]);
        }
        if (!is_known) {
            add_address(text, what->ip[i]);
        }
    }
    for (uint32_t i = 0; i < what->term_count; i++) {
        if (what->term[i].len > 0 && !has_term(what->old, what->term[i])) {
            buf_addf(text, " %.*s", STR_ARG(what->term[i]));
        }
    }
}

/* What the record ends in. ?all and no end at all say nothing, +all everything: ~all instead. */
static const char *end_of(const struct spf_record *old, bool is_new)
{
    return is_new || old->all == '-' ? "-all" : "~all";
}

void setup_spf_merge(struct arena *arena, const struct setup_spf_merge *what, struct buf *ret_text)
{
    struct spf_record old = { 0 };
    bool is_new = what->old.len == 0;
    if (!is_new && spf_parse(arena, what->old, &old, NULL) != OK) {
        is_new = true;
        old = (struct spf_record){ 0 };
    }
    buf_add_c(ret_text, "v=spf1");
    add_ours(what, &old, ret_text);
    if (what->redirect.len > 0) {
        struct str include = arena_strf(arena, "include:%.*s", STR_ARG(what->redirect));
        if (is_new) { /* RFC 7208 6.1: stands for the whole record, its end too */
            buf_addf(ret_text, " redirect=%.*s", STR_ARG(what->redirect));
            return;
        }
        if (!has_term(what->old, include)) {
            buf_addf(ret_text, " %.*s", STR_ARG(include));
        }
    }
    bool has_redirect = old.all == 0 && old.redirect != NULL;
    for (uint32_t i = 0; i < old.term_count; i++) {
        const struct spf_term *term = &old.term[i];
        if (term->kind != SPF_ALL && term->kind != SPF_REDIRECT) {
            buf_addf(ret_text, " %.*s", STR_ARG(term->text));
        }
    }
    if (has_redirect) {
        buf_addf(ret_text, " %.*s", STR_ARG(old.redirect->text));
    } else {
        buf_addf(ret_text, " %s", end_of(&old, is_new));
    }
}

/* ---- walked ---- */

/* Keeps the first. */
static PRINTF_LIKE(3, 4) void walk_fail(
        struct setup_spf_walk *walk, enum err err, const char *format, ...)
{
    va_list args;
    if (walk->err != OK) {
        return;
    }
    walk->err = err;
    va_start(args, format);
    (void)vsnprintf(walk->why.text, sizeof walk->why.text, format, args);
    va_end(args);
}

static void *grow(
        struct setup_spf_walk *walk, void *old, uint32_t count, uint32_t *cap, size_t bytes)
{
    if (count < *cap) {
        return old;
    }
    uint32_t more = *cap > 0 ? *cap * 2 : 32;
    void *grown = arena_new(walk->arena, more * bytes);
    if (grown == NULL) {
        walk->is_nomem = true;
        walk_fail(walk, E_NOMEM, "no memory");
        return NULL;
    }
    if (count > 0) {
        memcpy(grown, old, count * bytes);
    }
    *cap = more;
    return grown;
}

static void add_net(struct setup_spf_walk *walk, char qualifier, struct ip_net net)
{
    if (walk->net_count >= WALK_NET_COUNT_MAX) {
        walk_fail(walk, E_TOO_BIG, "more than %d addresses", WALK_NET_COUNT_MAX);
        return;
    }
    struct setup_net *grown = grow(walk, walk->net, walk->net_count, &walk->net_cap, sizeof *grown);
    if (grown != NULL) {
        walk->net = grown;
        net.ip = ip_masked(net.ip, net.prefix_bits);
        walk->net[walk->net_count++] = (struct setup_net){ qualifier, net };
    }
}

/* The line of a term; its sum is set later. UINT32_MAX: none. */
static uint32_t add_cost(
        struct setup_spf_walk *walk, struct str name, const struct spf_term *term, uint32_t depth)
{
    struct identity_spf_cost *grown =
            grow(walk, walk->cost, walk->cost_count, &walk->cost_cap, sizeof *grown);
    if (grown == NULL) {
        return UINT32_MAX;
    }
    walk->cost = grown;
    walk->cost[walk->cost_count] =
            (struct identity_spf_cost){ .name = name, .term = term->text, .depth = depth };
    return walk->cost_count++;
}

static const struct look_answer *walk_ask(
        struct setup_spf_walk *walk, struct str name, enum dns_type type)
{
    static const struct look_answer over = { .status = DNS_SERVFAIL };
    if (walk->ask_count++ >= WALK_ASK_COUNT_MAX) {
        walk_fail(walk, E_TOO_BIG, "more than %d questions", WALK_ASK_COUNT_MAX);
        return &over;
    }
    const struct look_answer *answer = look_ask(walk->look, name, type);
    if (look_failed(answer)) {
        walk_fail(walk, E_TIMEOUT, "DNS could not tell of %.*s: %.*s", STR_ARG(name),
                STR_ARG(look_words(walk->look, answer)));
    }
    return answer;
}

static void add_host(
        struct setup_spf_walk *walk, char qualifier, struct str host, const struct spf_term *term)
{
    const struct look_answer *answers[] = { walk_ask(walk, host, DNS_A),
        walk_ask(walk, host, DNS_AAAA) };
    for (size_t a = 0; a < COUNT_OF(answers); a++) {
        for (uint32_t i = 0; look_found(answers[a]) && i < answers[a]->record_count; i++) {
            const struct dns_record *record = &answers[a]->record[i];
            bool is_v4 = record->type == DNS_A;
            if (is_v4 || record->type == DNS_AAAA) {
                add_net(walk, qualifier,
                        (struct ip_net){ record->ip, is_v4 ? term->prefix4 : term->prefix6 });
            }
        }
    }
}

/* Answers come in any order; sorted, they look the same each time. */
static int compare_nets(const void *left, const void *right)
{
    const struct setup_net *a = left, *b = right;
    if (a->net.ip.family != b->net.ip.family) {
        return a->net.ip.family < b->net.ip.family ? -1 : 1;
    }
    int bytes = memcmp(a->net.ip.byte, b->net.ip.byte, sizeof a->net.ip.byte);
    return bytes != 0 ? bytes : (int)a->net.prefix_bits - (int)b->net.prefix_bits;
}

static void add_hosts(
        struct setup_spf_walk *walk, char qualifier, struct str name, const struct spf_term *term)
{
    struct str host = term->domain.len > 0 ? term->domain : name;
    if (term->kind == SPF_A) {
        add_host(walk, qualifier, host, term);
        return;
    }
    const struct look_answer *mx = walk_ask(walk, host, DNS_MX);
    for (uint32_t i = 0; look_found(mx) && i < mx->record_count; i++) {
        if (mx->record[i].type == DNS_MX && mx->record[i].data.len > 0) {
            add_host(walk, qualifier, mx->record[i].data, term);
        }
    }
}

static uint32_t walk_record(struct setup_spf_walk *walk, struct str name, struct str text,
        char qualifier, uint32_t depth);

/* The record behind include or redirect. */
static uint32_t walk_target(struct setup_spf_walk *walk, struct str name,
        const struct spf_term *term, char qualifier, uint32_t depth)
{
    struct str text;
    const struct look_answer *txt = walk_ask(walk, term->domain, DNS_TXT);
    uint32_t count = setup_spf_of(txt, &text);
    if (count == 1) {
        return walk_record(walk, term->domain, text, qualifier, depth);
    }
    if (!look_failed(txt)) { /* RFC 7208 5.2: none there is a permerror */
        walk_fail(walk, E_SYNTAX, "%.*s of %.*s: it has %s SPF record", STR_ARG(term->text),
                STR_ARG(name), count == 0 ? "no" : "more than one");
    }
    return 0;
}

static bool has_macro(struct str domain)
{
    return str_index(domain, '%') < domain.len;
}

/* Why this term has no fixed set of addresses; NULL: it has. */
static const char *unflat_why(const struct spf_term *term, uint32_t depth)
{
    if (term->kind == SPF_PTR) {
        return "ptr depends on the client's name";
    }
    if (term->kind == SPF_EXISTS || has_macro(term->domain)) {
        return "its answer depends on the message (exists, or a macro)";
    }
    /* An include that says no to some addresses has no form without it. */
    bool is_shield = depth > 0 && term->kind != SPF_ALL && term->qualifier != '+';
    bool is_open = depth > 0 && term->kind == SPF_ALL && term->qualifier == '+';
    return is_shield ? "an exception within an include" : is_open ? "it lets everybody pass" : NULL;
}

/* One term: what it costs, and where it leads. qualifier: of the outermost include; 0: none. */
static uint32_t walk_term(struct setup_spf_walk *walk, struct str name, const struct spf_term *term,
        char qualifier, uint32_t depth)
{
    char mark = qualifier != 0 ? qualifier : term->qualifier;
    const char *why = walk->is_flattening ? unflat_why(term, depth) : NULL;
    if (why != NULL) {
        walk_fail(walk, E_UNSUPPORTED, "\"%.*s\" in the record of %.*s cannot be flattened: %s",
                STR_ARG(term->text), STR_ARG(name), why);
    }
    switch (term->kind) {
    case SPF_IP4:
    case SPF_IP6:
        if (walk->is_flattening) {
            add_net(walk, mark, term->net);
        }
        return 0;
    case SPF_A:
    case SPF_MX:
        if (walk->is_flattening && why == NULL) {
            uint32_t first = walk->net_count;
            add_hosts(walk, mark, name, term);
            if (walk->net_count > first) {
                qsort(&walk->net[first], walk->net_count - first, sizeof *walk->net, compare_nets);
            }
        }
        return 1;
    case SPF_INCLUDE:
        return 1 + (has_macro(term->domain) ? 0 : walk_target(walk, name, term, mark, depth + 1));
    case SPF_PTR:
    case SPF_EXISTS:
        return 1;
    case SPF_ALL:
        walk->all = depth == 0 && walk->all == 0 ? term->qualifier : walk->all;
        return 0;
    case SPF_REDIRECT: /* its record takes the place of this one: same depth of includes */
        return 1 + (has_macro(term->domain) ? 0 : walk_target(walk, name, term, qualifier, depth));
    case SPF_EXP:
    case SPF_MODIFIER:
        return 0;
    }
    return 0;
}

/* The same with its line in the bill. */
static uint32_t walk_counted(struct setup_spf_walk *walk, struct str name,
        const struct spf_term *term, char qualifier, uint32_t depth)
{
    bool is_asking = term->kind != SPF_IP4 && term->kind != SPF_IP6 && term->kind != SPF_ALL &&
                     term->kind != SPF_EXP && term->kind != SPF_MODIFIER;
    uint32_t line = is_asking ? add_cost(walk, name, term, depth) : UINT32_MAX;
    uint32_t cost = walk_term(walk, name, term, qualifier, depth);
    if (line != UINT32_MAX) {
        walk->cost[line].lookup_count = cost;
    }
    return cost;
}

static uint32_t walk_record(struct setup_spf_walk *walk, struct str name, struct str text,
        char qualifier, uint32_t depth)
{
    struct spf_record record;
    struct why why = { 0 };
    uint32_t sum = 0;
    if (depth > WALK_DEPTH_MAX || walk->ask_count > WALK_ASK_COUNT_MAX) {
        walk_fail(walk, E_SYNTAX, "includes more than %d deep at %.*s: a loop?", WALK_DEPTH_MAX,
                STR_ARG(name));
        return SPF_LOOKUP_COUNT_MAX;
    }
    if (spf_parse(walk->arena, text, &record, &why) != OK) {
        walk_fail(walk, E_SYNTAX, "the SPF record of %.*s: %s", STR_ARG(name), why.text);
        return 0;
    }
    for (uint32_t i = 0; i < record.term_count && !walk->is_nomem; i++) {
        if (record.term[i].kind != SPF_REDIRECT) {
            sum += walk_counted(walk, name, &record.term[i], qualifier, depth);
        }
        if (record.term[i].kind == SPF_ALL) {
            return sum; /* what follows is never reached, a redirect neither (RFC 7208 6.1) */
        }
    }
    if (record.redirect != NULL) {
        sum += walk_counted(walk, name, record.redirect, qualifier, depth);
    }
    return sum;
}

uint32_t setup_spf_walk(struct setup_spf_walk *walk, struct str name, struct str text)
{
    return walk_record(walk, name, text, /*qualifier*/ 0, /*depth*/ 0);
}

/* ---- networks ---- */

static bool net_covers(const struct ip_net *outer, const struct ip_net *inner)
{
    return outer->ip.family == inner->ip.family && outer->prefix_bits <= inner->prefix_bits &&
           ip_in(inner->ip, outer);
}

/* Are they the two halves of one network? */
static bool net_pairs(const struct ip_net *a, const struct ip_net *b)
{
    if (a->ip.family != b->ip.family || a->prefix_bits != b->prefix_bits || a->prefix_bits == 0) {
        return false;
    }
    uint8_t up = (uint8_t)(a->prefix_bits - 1);
    return !ip_eq(a->ip, b->ip) && ip_eq(ip_masked(a->ip, up), ip_masked(b->ip, up));
}

/* Takes one away, or joins it with an earlier one of the same run. False: nothing to do. */
static bool join_one(struct setup_net *net, uint32_t *count, uint32_t begin, uint32_t end)
{
    for (uint32_t b = begin; b < end; b++) {
        for (uint32_t a = begin; a < b; a++) {
            bool is_pair = net_pairs(&net[a].net, &net[b].net);
            bool is_inner = net_covers(&net[a].net, &net[b].net);
            bool is_outer = net_covers(&net[b].net, &net[a].net);
            if (!is_pair && !is_inner && !is_outer) {
                continue;
            }
            if (is_pair) {
                net[a].net.prefix_bits--;
                net[a].net.ip = ip_masked(net[a].net.ip, net[a].net.prefix_bits);
            } else if (is_outer) {
                net[a].net = net[b].net;
            }
            memmove(&net[b], &net[b + 1], (*count - b - 1) * sizeof *net);
            (*count)--;
            return true;
        }
    }
    return false;
}

void setup_nets_join(struct setup_net *net, uint32_t *count)
{
    uint32_t begin = 0;
    while (begin < *count) {
        uint32_t end = begin + 1;
        while (end < *count && net[end].qualifier == net[begin].qualifier) {
            end++;
        }
        if (join_one(net, count, begin, end)) {
            continue; /* the run again, shorter */
        }
        begin = end;
    }
}
