/* SPDX-License-Identifier: Apache-2.0
 *
 * check_bimi.c - the logo that some receivers show beside authenticated mail (BIMI drafts).
 */
#include "core/str.h"
#include "identity/check_priv.h"
#include "mail/domain.h"

static const struct str bimi_prefix = STR_INIT("v=BIMI1");

/* "https://host/path" in two; false: another form. */
static bool split_url(struct str url, struct str *ret_host, struct str *ret_path)
{
    struct str scheme = STR("https://");
    if (!str_starts_nocase(url, scheme)) {
        return false;
    }
    struct str rest = str_from(url, scheme.len);
    size_t slash = str_index(rest, '/');
    *ret_host = str_sub(rest, 0, slash);
    *ret_path = slash < rest.len ? str_from(rest, slash) : STR("/");
    return ret_host->len > 0 && str_index(*ret_host, ':') == ret_host->len &&
           str_index(*ret_host, '@') == ret_host->len;
}

static void say_logo(struct checking *c, struct str url)
{
    struct str host, path;
    if (c->options->http == NULL) {
        check_skip(c, "bimi.logo", STR(""), c->options->offline_why);
        return;
    }
    if (!split_url(url, &host, &path)) {
        return;
    }
    const struct fact *page = check_fetch(c, host, path);
    if (page == NULL) {
        return;
    }
    bool is_page = page->kind == FACT_PAGE && page->err == OK;
    if (!is_page && fact_is_unknown(page)) {
        check_unknown(c, "bimi.logo", STR(""), page);
        return;
    }
    bool is_good = is_page && page->http_status == 200 &&
                   str_starts_nocase(page->content_type, STR("image/svg+xml"));
    struct identity_result *result =
            check_say(c, "bimi.logo", STR(""), is_good ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = is_page ? check_text(c, "HTTP status %u, %.*s", (unsigned)page->http_status,
                                      STR_ARG(page->content_type))
                            : check_text(c, "%.*s: no address", STR_ARG(host));
    result->expected = STR("status 200, image/svg+xml");
    result->mend =
            is_good ? STR("") : check_plain(c, "curl -I https://%.*s/\n", STR_ARG(c->domain->name));
}

static void say_record(struct checking *c, struct str text, uint32_t count, bool is_protected)
{
    struct str url = STR(""), host, path;
    bool is_declined = tag_value(text, STR("l"), &url) && url.len == 0;
    bool is_url = split_url(url, &host, &path) && str_ends_nocase(path, STR(".svg"));
    bool is_good = count == 1 && (is_url || is_declined);
    struct identity_result *result = check_say(
            c, "bimi.record", STR(""), !is_good || !is_protected ? IDENTITY_FAIL : IDENTITY_PASS);
    result->found = check_text(c, "%.*s", STR_ARG(text));
    result->expected = STR("one record, l=https://...svg, and a DMARC policy that is enforced");
    if (!is_good) {
        result->mend = mend_txt(c, check_plain(c, "default._bimi.%.*s", STR_ARG(c->domain->name)),
                check_plain(c, "v=BIMI1; l=https://%.*s/logo.svg", STR_ARG(c->domain->name)));
    } else if (!is_protected) {
        result->detail = STR("receivers show it only with p=quarantine or p=reject");
        result->mend = mend_txt(c, check_plain(c, "_dmarc.%.*s", STR_ARG(c->domain->name)),
                check_plain(c, "v=DMARC1; p=quarantine; rua=mailto:dmarc@%.*s",
                        STR_ARG(c->domain->name)));
    }
    if (is_good && is_url) {
        say_logo(c, url);
    }
}

void check_bimi(struct checking *c)
{
    struct str name = check_plain(c, "default._bimi.%.*s", STR_ARG(c->domain->name));
    struct str policy_name = check_plain(c, "_dmarc.%.*s", STR_ARG(c->domain->name));
    check_expect(c, policy_name, DNS_TXT);
    const struct fact *txt = check_ask(c, name, DNS_TXT);
    const struct fact *policy = check_ask(c, policy_name, DNS_TXT);
    if (policy != NULL && fact_is_absent(policy)) {
        struct str org = domain_organizational(c->domain->name);
        policy = check_ask(c, check_plain(c, "_dmarc.%.*s", STR_ARG(org)), DNS_TXT);
    }
    if (txt == NULL || policy == NULL) {
        return;
    }
    if (fact_is_unknown(txt)) {
        check_unknown(c, "bimi.record", STR(""), txt);
        return;
    }
    struct str text = STR(""), record = STR(""), p = STR("none");
    uint32_t count = fact_txt(txt, bimi_prefix, &text);
    if (count == 0) {
        check_skip(c, "bimi.record", STR(""), "no logo is published (optional)");
        return;
    }
    if (fact_is_unknown(policy)) {
        check_unknown(c, "bimi.record", STR(""), policy);
        return;
    }
    (void)fact_txt(policy, STR("v=DMARC1"), &record);
    (void)tag_value(record, STR("p"), &p);
    say_record(c, text, count, !str_eq_nocase(p, STR("none")));
}
