/* SPDX-License-Identifier: Apache-2.0
 *
 * check_sts.c - MTA-STS (RFC 8461) and TLS reports (RFC 8460) of a domain that receives mail.
 */
#include "core/str.h"
#include "core/time.h"
#include "identity/check_priv.h"
#include "identity/sts_priv.h"

enum { STS_ID_BYTES_MAX = 32, STS_AGE_S_ADVISED = 86400 };

static const struct str sts_prefix = STR_INIT("v=STSv1");
static const struct str rpt_prefix = STR_INIT("v=TLSRPTv1");

static bool is_good_id(struct str id)
{
    for (size_t i = 0; i < id.len; i++) {
        if (!ascii_is_alpha(id.ptr[i]) && !ascii_is_digit(id.ptr[i])) {
            return false;
        }
    }
    return id.len > 0 && id.len <= STS_ID_BYTES_MAX;
}

static struct str mend_record(struct checking *c, struct str name)
{
    struct civil day = civil_from_wall(c->now);
    struct str text = check_plain(c, "v=STSv1; id=%04d%02u%02u%02u%02u%02u", (int)day.year,
            (unsigned)day.month, (unsigned)day.day, (unsigned)day.hour, (unsigned)day.minute,
            (unsigned)day.second);
    return mend_txt(c, name, text);
}

/* The file to be served, for our hosts. */
static struct str mend_policy(struct checking *c, const struct fact *mx)
{
    struct buf text;
    buf_init(&text, 65536);
    buf_addf(&text, "; https://mta-sts.%.*s/.well-known/mta-sts.txt\n", STR_ARG(c->domain->name));
    buf_add_c(&text, "version: STSv1\nmode: enforce\n");
    for (uint32_t i = 0; fact_is_found(mx) && i < mx->record_count; i++) {
        if (mx->record[i].data.len > 0) {
            buf_addf(&text, "mx: %.*s\n", STR_ARG(mx->record[i].data));
        }
    }
    buf_add_c(&text, "max_age: 604800\n");
    struct str mend = arena_str(c->scratch, buf_str(&text));
    buf_done(&text);
    return mend.ptr != NULL ? mend : STR("");
}

static void say_covered(struct checking *c, const struct sts_policy *policy, const struct fact *mx)
{
    if (fact_is_unknown(mx)) {
        check_unknown(c, "sts.mx", STR(""), mx);
        return;
    }
    struct str missing = STR("");
    for (uint32_t i = 0; fact_is_found(mx) && i < mx->record_count && missing.len == 0; i++) {
        bool is_covered = sts_policy_covers(policy, mx->record[i].data);
        missing = is_covered ? missing : mx->record[i].data;
    }
    bool is_good = missing.len == 0;
    struct identity_result *result =
            check_say(c, "sts.mx", STR(""), is_good ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = is_good ? check_plain(c, "%u mx lines", (unsigned)policy->mx_count)
                            : check_text(c, "%.*s is not in the policy", STR_ARG(missing));
    result->expected = STR("every MX host in an mx line");
    result->mend = is_good ? STR("") : mend_policy(c, mx);
}

static void say_policy(struct checking *c, const struct fact *page, const struct fact *mx)
{
    struct sts_policy policy;
    struct why why = { 0 };
    bool is_there = page->err == OK && page->http_status == 200;
    if (page->err != OK) {
        why_set(&why, "%.*s", STR_ARG(page->why));
    } else if (!is_there) {
        why_set(&why, "HTTP status %u%s", (unsigned)page->http_status,
                page->http_status / 100 == 3 ? ": redirects are not followed (RFC 8461 3.3)" : "");
    }
    bool is_good = is_there && sts_policy_read(page->body, &policy, &why) == OK;
    bool is_weak = is_good && (policy.mode != STS_ENFORCE || policy.age_s < STS_AGE_S_ADVISED);
    struct identity_result *result = check_say(c, "sts.policy", STR(""),
            !is_good  ? IDENTITY_FAIL
            : is_weak ? IDENTITY_WARN
                      : IDENTITY_PASS);
    static const char *const modes[] = { "none", "testing", "enforce" };
    result->found = is_good ? check_plain(c, "mode %s, max_age %llu", modes[policy.mode],
                                      (unsigned long long)policy.age_s)
                            : check_text(c, "%s", why.text);
    result->expected = STR("a valid policy, mode enforce, max_age of a day or more");
    result->mend = is_good && !is_weak ? STR("") : mend_policy(c, mx);
    if (is_good) {
        say_covered(c, &policy, mx);
    }
}

static void fetch_policy(struct checking *c)
{
    if (c->options->http == NULL) {
        check_skip(c, "sts.policy", STR(""), c->options->offline_why);
        return;
    }
    struct str host = check_plain(c, "mta-sts.%.*s", STR_ARG(c->domain->name));
    const struct fact *page = check_fetch(c, host, STR("/.well-known/mta-sts.txt"));
    const struct fact *mx = check_ask(c, c->domain->name, DNS_MX);
    if (page == NULL || mx == NULL) {
        return;
    }
    bool is_page = page->kind == FACT_PAGE;
    if (!is_page && fact_is_absent(page)) {
        struct identity_result *result = check_say(c, "sts.policy", STR(""), IDENTITY_FAIL);
        result->found = check_text(c, "%.*s: no address", STR_ARG(host));
        result->expected = STR("a web server with the policy");
        result->mend = mend_policy(c, mx);
    } else if (!is_page || (page->err != OK && page->err != E_DENIED && page->err != E_TOO_BIG)) {
        check_unknown(c, "sts.policy", STR(""), page);
        check_unknown(c, "sts.mx", STR(""), page);
    } else {
        say_policy(c, page, mx);
    }
}

void check_sts(struct checking *c)
{
    struct str name = check_plain(c, "_mta-sts.%.*s", STR_ARG(c->domain->name));
    const struct fact *txt = check_ask(c, name, DNS_TXT);
    if (txt == NULL) {
        return;
    }
    if (fact_is_unknown(txt)) {
        check_unknown(c, "sts.record", STR(""), txt);
        return;
    }
    struct str text = STR(""), id = STR("");
    uint32_t count = fact_txt(txt, sts_prefix, &text);
    if (count == 0) {
        check_skip(c, "sts.record", STR(""),
                "no MTA-STS (optional): senders may deliver to this domain without TLS");
        return;
    }
    bool is_good = count == 1 && tag_value(text, STR("id"), &id) && is_good_id(id);
    struct identity_result *result =
            check_say(c, "sts.record", STR(""), is_good ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = check_text(c, "%.*s", STR_ARG(text));
    result->expected = STR("one record, with id= of 1 to 32 letters and digits (RFC 8461 3.1)");
    result->detail = count > 1 ? STR("several records count as none") : STR("");
    result->mend = is_good ? STR("") : mend_record(c, name);
    fetch_policy(c);
}

static bool is_report_uri(struct str uri)
{
    return str_starts_nocase(uri, STR("mailto:")) || str_starts_nocase(uri, STR("https:"));
}

void check_tlsrpt(struct checking *c)
{
    struct str name = check_plain(c, "_smtp._tls.%.*s", STR_ARG(c->domain->name));
    const struct fact *txt = check_ask(c, name, DNS_TXT);
    if (txt == NULL) {
        return;
    }
    if (fact_is_unknown(txt)) {
        check_unknown(c, "tlsrpt.record", STR(""), txt);
        return;
    }
    struct str text = STR(""), rua = STR(""), uri, rest;
    uint32_t count = fact_txt(txt, rpt_prefix, &text);
    if (count == 0) {
        check_skip(c, "tlsrpt.record", STR(""), "no TLS reports are asked for (optional)");
        return;
    }
    bool is_good = count == 1 && tag_value(text, STR("rua"), &rua) && rua.len > 0;
    rest = rua;
    while (is_good && str_cut(&rest, ',', &uri)) {
        is_good = is_report_uri(str_trim(uri));
    }
    struct identity_result *result =
            check_say(c, "tlsrpt.record", STR(""), is_good ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = check_text(c, "%.*s", STR_ARG(text));
    result->expected = STR("one record, with rua=mailto: or https: (RFC 8460 3)");
    result->mend = is_good ? STR("")
                           : mend_txt(c, name,
                                     check_plain(c, "v=TLSRPTv1; rua=mailto:tls@%.*s",
                                             STR_ARG(c->domain->name)));
}
