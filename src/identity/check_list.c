/* SPDX-License-Identifier: Apache-2.0
 *
 * check_list.c - are we on a blocklist? Each list is tried first at its test entries (RFC 5782 5):
 * a dead list lists nobody, a wildcard lists everybody, and one that refuses us says so in codes.
 * None of that is a listing.
 */
#include "core/str.h"
#include "identity/check_priv.h"
#include "identity/data_priv.h"
#include "identity/dnsbl_priv.h"

static struct ip test_ip(const struct dnsbl_list *list, uint8_t last)
{
    if (list->has_ip4) {
        return (struct ip){ IP_V4, { 127, 0, 0, last } };
    }
    return (struct ip){ IP_V6, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last } };
}

static struct str test_name(struct checking *c, const struct dnsbl_list *list, bool is_listed)
{
    struct str given = is_listed ? list->test_yes : list->test_no;
    if (given.len == 0 && !list->has_name) {
        return reverse_name(c, test_ip(list, is_listed ? 2 : 1), list->zone);
    }
    given = given.len > 0 ? given : is_listed ? STR("test") : STR("invalid");
    return check_plain(c, "%.*s.%.*s", STR_ARG(given), STR_ARG(list->zone));
}

static const char *list_id(const struct dnsbl_list *list)
{
    return list->is_allow ? "list.allowed" : "list.listed";
}

/* The list does not work for us: said once a subject, never a listing. */
static void say_unusable(struct checking *c, const struct dnsbl_list *list, struct str why)
{
    struct identity_result *result = check_say(c, list_id(list), list->zone, IDENTITY_WARN);
    result->found = check_plain(c, IDENTITY_LIST_UNUSABLE "%.*s", STR_ARG(why));
    result->expected = list->is_allow ? STR("an answer") : STR("not listed");
    result->detail = check_plain(c, "terms: %.*s", STR_ARG(list->terms));
}

/* The weightiest of the answer's records. */
static enum dnsbl_weight weigh(
        const struct dnsbl_list *list, const struct fact *fact, struct str *ret_meaning)
{
    enum dnsbl_weight weight = DNSBL_UNKNOWN;
    *ret_meaning = STR("a code that the list does not explain");
    for (uint32_t i = 0; i < fact->record_count; i++) {
        struct str meaning;
        enum dnsbl_weight one = dnsbl_weigh(list, fact->record[i].ip, &meaning);
        if (one == DNSBL_REFUSED || one == DNSBL_DEAD) {
            *ret_meaning = meaning; /* such an answer is no listing, whatever stands beside it */
            return one;
        }
        if (i == 0 || one < weight) {
            weight = one;
            *ret_meaning = meaning;
        }
    }
    return weight;
}

/* Do the test entries say what they must? False: no (said), or awaited. */
static bool is_usable(struct checking *c, const struct dnsbl_list *list)
{
    struct str yes_name = test_name(c, list, true), no_name = test_name(c, list, false), meaning;
    check_expect(c, no_name, DNS_A);
    const struct fact *yes = check_ask(c, yes_name, DNS_A), *no = check_ask(c, no_name, DNS_A);
    if (yes == NULL || no == NULL) {
        return false;
    }
    if (fact_is_unknown(yes) || fact_is_unknown(no)) {
        check_unknown(c, list_id(list), list->zone, fact_is_unknown(yes) ? yes : no);
        return false;
    }
    const struct fact *shown = fact_is_found(no) ? no : yes;
    enum dnsbl_weight weight = fact_is_found(shown) ? weigh(list, shown, &meaning) : DNSBL_UNKNOWN;
    if (fact_is_found(shown) && (weight == DNSBL_REFUSED || weight == DNSBL_DEAD)) {
        say_unusable(c, list, meaning);
    } else if (fact_is_found(no)) {
        say_unusable(c, list, STR("it lists everything (its \"not listed\" test entry is there)"));
    } else if (fact_is_absent(yes)) {
        say_unusable(c, list, STR("it seems dead (its test entry is not there)"));
    } else {
        return true;
    }
    return false;
}

static struct str delist_url(struct checking *c, const struct dnsbl_list *list, struct str subject)
{
    size_t at = str_find(list->delist, STR("%s"));
    if (at == list->delist.len) {
        return check_plain(c, "%.*s", STR_ARG(list->delist));
    }
    return check_plain(c, "%.*s%.*s%.*s", STR_ARG(str_sub(list->delist, 0, at)), STR_ARG(subject),
            STR_ARG(str_from(list->delist, at + 2)));
}

static void say_listed(struct checking *c, const struct dnsbl_list *list, struct str subject,
        const struct fact *answer, const struct fact *reason)
{
    struct str meaning;
    enum dnsbl_weight weight = weigh(list, answer, &meaning);
    if (weight == DNSBL_REFUSED || weight == DNSBL_DEAD) {
        say_unusable(c, list, meaning);
        return;
    }
    bool is_good = list->is_allow || weight == DNSBL_GOOD;
    struct identity_result *result = check_say(c, list_id(list), list->zone,
            is_good                ? IDENTITY_PASS
            : weight == DNSBL_FAIL ? IDENTITY_FAIL
                                   : IDENTITY_WARN);
    result->found =
            check_text(c, "%.*s: %.*s", STR_ARG(check_records(c, answer)), STR_ARG(meaning));
    result->expected = list->is_allow ? STR("listed") : STR("not listed");
    struct str url = delist_url(c, list, subject);
    if (!is_good) {
        result->mend = check_plain(c, "%.*s\n", STR_ARG(url));
        result->detail = fact_is_found(reason) ? check_records(c, reason)
                                               : STR("look there why, mend the cause, then ask for "
                                                     "removal");
    }
}

static void check_list(
        struct checking *c, const struct dnsbl_list *list, struct str name, struct str subject)
{
    check_expect(c, name, DNS_A);
    if (!is_usable(c, list)) {
        return;
    }
    const struct fact *answer = check_ask(c, name, DNS_A);
    if (answer == NULL) {
        return;
    }
    if (fact_is_unknown(answer)) {
        check_unknown(c, list_id(list), list->zone, answer);
    } else if (fact_is_found(answer)) {
        const struct fact *reason = check_ask(c, name, DNS_TXT);
        if (reason != NULL) {
            say_listed(c, list, subject, answer, reason);
        }
    } else if (list->is_allow) {
        check_skip(c, "list.allowed", list->zone, "not on it (optional)");
    } else {
        check_say(c, "list.listed", list->zone, IDENTITY_PASS)->found = STR("not listed");
    }
}

void check_list_of_source(struct checking *c)
{
    struct dnsbl_list list;
    char text[IP_TEXT_CAP];
    struct ip ip = c->source->ip;
    bool is_there = dnsbl_at(identity_data("dnsbl"), c->check->index, &list);
    if (is_there && (ip.family == IP_V4 ? list.has_ip4 : ip.family == IP_V6 && list.has_ip6)) {
        struct str subject = ip_format(ip, text);
        check_list(c, &list, reverse_name(c, ip, list.zone), subject);
    }
}

void check_list_of_domain(struct checking *c)
{
    struct dnsbl_list list;
    if (dnsbl_at(identity_data("dnsbl"), c->check->index, &list) && list.has_name) {
        struct str name = check_plain(c, "%.*s.%.*s", STR_ARG(c->domain->name), STR_ARG(list.zone));
        check_list(c, &list, name, c->domain->name);
    }
}

uint32_t check_list_count(const struct identity_plan *plan, const struct identity_domain *domain,
        const struct identity_source *source)
{
    (void)plan, (void)domain, (void)source;
    return dnsbl_count(identity_data("dnsbl"));
}
