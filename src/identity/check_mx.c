/* SPDX-License-Identifier: Apache-2.0
 *
 * check_mx.c - can the domain be answered? MX and null MX (RFC 7505), their hosts, the addresses
 * that every domain has (RFC 2142), and the MAIL FROM domain that bounces go to.
 */
#include "core/str.h"
#include "identity/check_priv.h"
#include "identity/data_priv.h"
#include "mail/domain.h"

enum { HOST_COUNT_MAX = 20 };

static bool is_null_mx(const struct fact *mx)
{
    return fact_is_found(mx) && mx->record_count == 1 && mx->record[0].data.len == 0;
}

/* RFC 7505 3: a null MX stands alone. */
static bool is_torn(const struct fact *mx)
{
    bool has_null = false;
    for (uint32_t i = 0; fact_is_found(mx) && i < mx->record_count; i++) {
        has_null |= mx->record[i].data.len == 0;
    }
    return has_null && mx->record_count > 1;
}

static struct str mend_mx(struct checking *c, struct str name)
{
    bool has_own = c->plan->config != NULL && c->plan->config->hostname.len > 0;
    struct str host =
            has_own ? c->plan->config->hostname : check_plain(c, "mail.%.*s", STR_ARG(name));
    return check_plain(c, "%.*s. IN MX 10 %.*s.\n", STR_ARG(name), STR_ARG(host));
}

/* Whether mail for a name can go anywhere. False: awaited. */
struct reach {
    const struct fact *mx, *host; /* host: where there is no MX */
};

static bool find_reach(struct checking *c, struct str name, struct reach *ret_reach)
{
    const struct fact *mx = check_ask(c, name, DNS_MX), *host = NULL;
    if (mx == NULL) {
        return false;
    }
    if (fact_is_absent(mx)) {
        check_expect(c, name, DNS_AAAA);
        host = check_ask(c, name, DNS_A);
        if (host != NULL && fact_is_absent(host)) {
            host = check_ask(c, name, DNS_AAAA);
        }
        if (host == NULL) {
            return false;
        }
    }
    *ret_reach = (struct reach){ mx, host };
    return true;
}

static struct identity_result *say_reach(
        struct checking *c, const char *id, struct str name, const struct reach *reach)
{
    const struct fact *mx = reach->mx, *host = reach->host;
    if (fact_is_unknown(mx) || (host != NULL && fact_is_unknown(host))) {
        return check_unknown(c, id, STR(""), fact_is_unknown(mx) ? mx : host);
    }
    bool is_null = is_null_mx(mx);
    bool is_none = host != NULL && fact_is_absent(host);
    enum identity_status status = is_null || is_none || is_torn(mx) ? IDENTITY_FAIL
                                  : host != NULL                    ? IDENTITY_WARN
                                                                    : IDENTITY_PASS;
    status = is_null && c->plan->is_any ? IDENTITY_WARN : status;
    struct identity_result *result = check_say(c, id, STR(""), status);
    result->found =
            is_null        ? STR("null MX: it takes no mail (RFC 7505)")
            : is_none      ? STR("neither MX nor address")
            : host != NULL ? check_text(c, "no MX; mail goes to %.*s", STR_ARG(fact_words(c, host)))
                           : check_records(c, mx);
    result->expected = STR("an MX record");
    result->mend = status == IDENTITY_PASS ? STR("") : mend_mx(c, name);
    result->detail =
            status == IDENTITY_PASS ? STR("")
            : is_torn(mx) ? STR("a null MX (\"MX 0 .\") among others: it stands alone, or not at "
                                "all (RFC 7505 3)")
                          : STR("receivers refuse mail from domains that cannot be answered");
    return result;
}

/* ---- the hosts ---- */

static void say_host(struct checking *c, struct str host, const struct fact *v4,
        const struct fact *v6, const struct fact *alias)
{
    const struct fact *found = fact_is_found(v4) ? v4 : v6;
    bool is_unknown = !fact_is_found(v4) && !fact_is_found(v6) &&
                      (fact_is_unknown(v4) || fact_is_unknown(v6));
    struct str part = check_text(c, "%.*s", STR_ARG(host));
    struct ip ip;
    if (is_unknown) {
        check_unknown(c, "mx.hosts", part, fact_is_unknown(v4) ? v4 : v6);
        return;
    }
    bool is_none = !fact_is_found(found);
    bool is_internal = !is_none && ip_is_internal(found->record[0].ip);
    bool is_alias = fact_is_found(alias);
    bool is_address = ip_parse(host, &ip) == OK;
    struct identity_result *result = check_say(c, "mx.hosts", part,
            is_none || is_internal ? IDENTITY_FAIL
            : is_alias             ? IDENTITY_WARN
                                   : IDENTITY_PASS);
    result->found = is_none ? STR("no address") : check_records(c, found);
    result->expected = STR("a public address, and no alias (RFC 5321 5.1)");
    result->detail = is_internal  ? STR("a private address: nobody outside reaches it")
                     : is_alias   ? STR("the name is an alias (CNAME): RFC 2181 10.3 forbids it")
                     : is_address ? STR("an MX names a host, never an IP address (RFC 5321 5.1)")
                     : is_none    ? STR("publish its address, or take it out of the MX records")
                                  : STR("");
    ip = c->plan->source_count > 0 ? c->plan->source[0].ip : (struct ip){ 0 };
    if (is_address) {
        result->mend = mend_mx(c, c->domain->name);
    } else if (is_alias && !is_none && !is_internal) {
        result->mend = mend_address(c, host, found->record[0].ip);
    } else if ((is_none || is_internal) && ip.family != IP_NONE) {
        result->mend = mend_address(c, host, ip);
    }
}

static void say_hosts(struct checking *c, const struct fact *mx)
{
    uint32_t count = mx->record_count < HOST_COUNT_MAX ? mx->record_count : HOST_COUNT_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (mx->record[i].data.len == 0) {
            continue;
        }
        check_expect(c, mx->record[i].data, DNS_A);
        check_expect(c, mx->record[i].data, DNS_AAAA);
        check_expect(c, mx->record[i].data, DNS_CNAME);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct str host = mx->record[i].data;
        if (host.len == 0) { /* of a null MX: said by say_reach */
            continue;
        }
        const struct fact *v4 = check_ask(c, host, DNS_A), *v6 = check_ask(c, host, DNS_AAAA);
        const struct fact *alias = check_ask(c, host, DNS_CNAME);
        if (v4 == NULL || v6 == NULL || alias == NULL) {
            return;
        }
        say_host(c, host, v4, v6, alias);
    }
}

void check_mx(struct checking *c)
{
    struct reach reach;
    if (!find_reach(c, c->domain->name, &reach)) {
        return;
    }
    say_reach(c, "mx.exists", c->domain->name, &reach);
    if (fact_is_found(reach.mx) && !is_null_mx(reach.mx)) {
        say_hosts(c, reach.mx);
    }
}

/* ---- the mailboxes of RFC 2142 ---- */

static struct str best_host(const struct fact *mx)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < mx->record_count; i++) {
        best = mx->record[i].preference < mx->record[best].preference ? i : best;
    }
    return mx->record[best].data;
}

/* Such questions cost reputation with some (data/probe_refusers). */
static bool is_refuser(struct str host)
{
    struct str rest = identity_data("probe_refusers"), line;
    while (identity_data_line(&rest, &line)) {
        if (str_ends_nocase(host, line)) {
            return true;
        }
    }
    return false;
}

static void say_mailbox(struct checking *c, const char *role, struct str host, struct str mailbox,
        const struct fact *said)
{
    if (said->kind != FACT_SMTP && fact_is_absent(said)) {
        struct identity_result *none = check_say(c, "mx.roles", str_from_c(role), IDENTITY_ERROR);
        none->found = STR("could not tell");
        none->detail = check_text(c, "%.*s has no address", STR_ARG(host));
        return;
    }
    if (fact_is_unknown(said)) {
        check_unknown(c, "mx.roles", str_from_c(role), said);
        return;
    }
    struct identity_result *result = check_say(
            c, "mx.roles", str_from_c(role), said->is_taken ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = check_text(c, "%.*s said %.*s", STR_ARG(host), STR_ARG(said->why));
    result->expected = check_plain(c, "%.*s is a mailbox (RFC 2142 4, 5)", STR_ARG(mailbox));
    if (!said->is_taken) {
        result->mend = check_plain(c, "make the mailbox or alias %.*s at %.*s\n", STR_ARG(mailbox),
                STR_ARG(check_text(c, "%.*s", STR_ARG(host))));
    }
}

/* RCPT only, never DATA: the mail host says whether it would take mail for them. */
static void ask_mailboxes(struct checking *c, struct str host)
{
    static const char *const roles[] = { "postmaster", "abuse" };
    for (size_t i = 0; i < COUNT_OF(roles); i++) {
        struct str mailbox = check_plain(c, "%s@%.*s", roles[i], STR_ARG(c->domain->name));
        const struct fact *said = check_mailbox(c, host, mailbox);
        if (said != NULL) {
            say_mailbox(c, roles[i], host, mailbox, said);
        }
    }
}

/* Whether the mailboxes exist only their host knows; that they cannot is seen from here. */
void check_roles(struct checking *c)
{
    struct reach reach;
    if (!find_reach(c, c->domain->name, &reach)) {
        return;
    }
    struct identity_result *result = say_reach(c, "mx.roles", c->domain->name, &reach);
    if (result->status != IDENTITY_PASS && result->status != IDENTITY_WARN) {
        return;
    }
    struct str host = fact_is_found(reach.mx) ? best_host(reach.mx) : c->domain->name;
    c->result_count--;
    if (!c->options->is_probing) {
        check_skip(c, "mx.roles", STR(""), "")->detail =
                STR("the domain takes mail; to ask its mail host for the two mailboxes (RCPT, "
                    "never DATA) say --probe");
    } else if (c->options->net == NULL) {
        check_skip(c, "mx.roles", STR(""), c->options->offline_why);
    } else if (host.len == 0 || is_refuser(host)) {
        check_skip(c, "mx.roles", STR(""), "")->detail =
                host.len == 0 ? STR("a null MX: there is nobody to ask")
                              : check_text(c,
                                        "%.*s holds such questions against who asks: write "
                                        "to the two mailboxes",
                                        STR_ARG(host));
    } else {
        ask_mailboxes(c, host);
    }
}

void check_bounce_mx(struct checking *c)
{
    struct reach reach;
    struct str name = check_bounce(c->domain);
    if (!str_eq(name, c->domain->name) && find_reach(c, name, &reach)) {
        say_reach(c, "bounce.mx", name, &reach);
    }
}
