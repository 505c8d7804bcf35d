/* SPDX-License-Identifier: Apache-2.0
 *
 * check_dkim.c - the public half of each key in use, as verifiers see it (RFC 6376 3.6.1, 8301).
 */
#include "core/b64.h"
#include "core/str.h"
#include "identity/check_priv.h"
#include "identity/data_priv.h"
#include "mail/dkim.h"

enum { KEY_BYTES_MAX = 2048, RSA_BITS_ADVISED = 2048, SELECTOR_COUNT_MAX = 60 };

static struct str key_name(struct checking *c, struct str selector, struct str domain)
{
    return check_plain(c, "%.*s._domainkey.%.*s", STR_ARG(selector), STR_ARG(domain));
}

/* What a record says. */
struct dkim_facts {
    bool is_revoked, is_garbled; /* p= empty; no key in it */
    bool is_same;                /* as the private key in use */
    enum key_kind kind;
    uint32_t bits;
    struct buf der;
};

static struct dkim_facts read_record(struct str text, const struct config_dkim_key *own)
{
    struct dkim_facts facts = { 0 };
    struct str p = STR(""), k = STR("rsa");
    struct key *key = NULL;
    buf_init(&facts.der, KEY_BYTES_MAX);
    (void)tag_value(text, STR("k"), &k);
    facts.kind = str_eq(k, STR("ed25519")) ? KEY_ED25519 : KEY_RSA;
    facts.is_garbled = !tag_value(text, STR("p"), &p);
    facts.is_revoked = !facts.is_garbled && p.len == 0;
    if (facts.is_garbled || facts.is_revoked) {
        return facts;
    }
    facts.is_garbled = b64_decode(&facts.der, p, /*skip_blanks*/ true) != OK ||
                       key_from_public(facts.kind, buf_str(&facts.der), &key) != OK;
    facts.bits = facts.is_garbled ? 0 : key_bits(key);
    if (own != NULL && !facts.is_garbled) {
        struct buf ours, theirs;
        buf_init(&ours, KEY_BYTES_MAX);
        buf_init(&theirs, KEY_BYTES_MAX);
        facts.is_same = key_kind(own->key) == facts.kind && key_to_public(own->key, &ours) == OK &&
                        key_to_public(key, &theirs) == OK &&
                        str_eq(buf_str(&ours), buf_str(&theirs));
        buf_done(&ours);
        buf_done(&theirs);
    }
    key_free(key);
    return facts;
}

bool check_dkim_matches(const struct fact *txt, const struct config_dkim_key *own)
{
    if (!fact_is_found(txt) || txt->record_count != 1) {
        return false;
    }
    struct dkim_facts facts = read_record(txt->record[0].data, own);
    buf_done(&facts.der);
    return facts.is_same;
}

struct str check_dkim_mend(struct checking *c, const struct config_dkim_key *own)
{
    struct buf line;
    buf_init(&line, DKIM_TXT_BYTES_MAX);
    struct str mend = STR("");
    if (dkim_record_line(c->domain->name, own->selector, own->key, &line) == OK) {
        mend = arena_str(c->scratch, buf_str(&line));
    }
    buf_done(&line);
    return mend.ptr != NULL ? mend : STR("");
}

static enum identity_status length_status(enum key_kind kind, uint32_t bits)
{
    return kind != KEY_RSA            ? IDENTITY_PASS
           : bits < DKIM_RSA_BITS_MIN ? IDENTITY_FAIL /* RFC 8301 3.2: verifiers ignore it */
           : bits < RSA_BITS_ADVISED  ? IDENTITY_WARN
                                      : IDENTITY_PASS;
}

/* Of the key in DNS, which is the one that counts; ours takes its place where it is longer. */
static void say_length(struct checking *c, const struct config_dkim_key *own,
        const struct dkim_facts *facts, struct str mend)
{
    bool is_none = facts->is_garbled || facts->is_revoked;
    enum key_kind kind = is_none ? key_kind(own->key) : facts->kind;
    uint32_t bits = is_none ? key_bits(own->key) : facts->bits;
    enum identity_status status = length_status(kind, bits);
    bool is_own_weak = length_status(key_kind(own->key), key_bits(own->key)) != IDENTITY_PASS;
    struct identity_result *result = check_say(c, "dkim.length", own->selector, status);
    result->found =
            check_plain(c, "%s, %u bits", kind == KEY_RSA ? "RSA" : "Ed25519", (unsigned)bits);
    result->expected = STR("RSA of 2048 bits, or Ed25519 (RFC 8301 3.2)");
    result->detail = status == IDENTITY_FAIL
                             ? STR("under 1024 bits anybody can make the signatures: receivers "
                                   "count the mail as unsigned")
                             : STR("");
    result->mend =
            status == IDENTITY_PASS ? STR("")
            : is_own_weak ? check_plain(c, "outpost domain rotate %.*s\n", STR_ARG(c->domain->name))
                          : mend;
}

/* "a:b" holds one of two words? */
static bool has_value(struct str list, struct str a, struct str b)
{
    struct str part;
    while (str_cut(&list, ':', &part)) {
        part = str_trim(part);
        if (str_eq_nocase(part, a) || str_eq_nocase(part, b)) {
            return true;
        }
    }
    return false;
}

static void say_flags(struct checking *c, struct str selector, struct str text, struct str mend)
{
    struct str t = STR(""), s = STR("*"), h = STR("sha256"), v = STR("DKIM1");
    (void)tag_value(text, STR("t"), &t);
    (void)tag_value(text, STR("s"), &s);
    (void)tag_value(text, STR("h"), &h);
    (void)tag_value(text, STR("v"), &v);
    const char *fault = NULL;
    enum identity_status status = IDENTITY_FAIL;
    if (!str_eq(v, STR("DKIM1"))) {
        fault = "v= is not DKIM1: the record is ignored";
    } else if (!has_value(s, STR("email"), STR("*"))) {
        fault = "s= does not let the key sign mail";
    } else if (!has_value(h, STR("sha256"), STR("sha256"))) {
        fault = "h= forbids SHA-256, the only hash in use (RFC 8301 3.1)";
    } else if (has_value(t, STR("y"), STR("y"))) {
        fault = "t=y: testing, receivers may treat the mail as unsigned";
        status = IDENTITY_WARN;
    }
    struct identity_result *result =
            check_say(c, "dkim.flags", selector, fault == NULL ? IDENTITY_PASS : status);
    result->found = check_text(c, "t=%.*s s=%.*s h=%.*s", STR_ARG(t), STR_ARG(s), STR_ARG(h));
    result->expected = STR("no t=y, s=* or email, sha256");
    result->detail = check_plain(c, "%s", fault != NULL ? fault : "");
    result->mend = fault != NULL ? mend : STR("");
}

static const char *record_fault(const struct dkim_facts *facts, uint32_t count)
{
    return count > 1           ? "several records at one name: verifiers may take any"
           : facts->is_revoked ? "p= is empty: the key is revoked"
           : facts->is_garbled ? "p= holds no key"
           : !facts->is_same   ? "another key than the one that signs here"
                               : NULL;
}

static void say_key(struct checking *c, const struct config_dkim_key *own, const struct fact *txt)
{
    struct dkim_facts facts = read_record(txt->record[0].data, own);
    const char *fault = record_fault(&facts, txt->record_count);
    struct str mend = check_dkim_mend(c, own);
    struct identity_result *result = check_say(
            c, "dkim.record", own->selector, fault == NULL ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = fault == NULL ? check_plain(c, "the key in use") : check_records(c, txt);
    result->expected = STR("the public half of the key in use");
    result->detail = check_plain(c, "%s", fault != NULL ? fault : "");
    result->mend = fault != NULL ? mend : STR("");
    say_length(c, own, &facts, mend);
    say_flags(c, own->selector, txt->record[0].data, mend);
    buf_done(&facts.der);
}

const struct config_dkim_key *check_signing_key(const struct identity_domain *domain)
{
    for (uint32_t i = 0; i < domain->key_count; i++) {
        if (!domain->key[i].is_inactive) {
            return &domain->key[i];
        }
    }
    return NULL;
}

/* txt: the first key's record. A key whose record cannot be asked for may be seen by nobody. */
static void say_keys(struct checking *c, const struct fact *txt)
{
    const struct config_dkim_key *key = check_signing_key(c->domain);
    if (key != NULL && fact_is_unknown(txt)) {
        check_unknown(c, "dkim.keys", STR(""), txt);
        return;
    }
    struct identity_result *result =
            check_say(c, "dkim.keys", STR(""), key != NULL ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = key != NULL ? check_plain(c, "selector %.*s", STR_ARG(key->selector))
                                : STR("no key is configured");
    result->expected = STR("a dkim section in the domain's section");
    if (key == NULL) {
        result->mend = check_plain(c, "outpost domain add %.*s\n", STR_ARG(c->domain->name));
    }
}

void check_dkim_key(struct checking *c)
{
    if (c->domain->key_count == 0) {
        say_keys(c, NULL);
        return;
    }
    const struct config_dkim_key *own = &c->domain->key[c->check->index];
    struct str name = key_name(c, own->selector, c->domain->name);
    const struct fact *txt = check_ask(c, name, DNS_TXT);
    if (txt == NULL) {
        return;
    }
    if (c->check->index == 0) {
        say_keys(c, txt);
    }
    if (own->is_inactive && !check_dkim_matches(txt, own)) {
        check_skip(c, "dkim.record", own->selector,
                "the key does not sign now, and its record is not there");
        return;
    }
    if (fact_is_unknown(txt)) {
        check_unknown(c, "dkim.record", own->selector, txt);
        check_unknown(c, "dkim.length", own->selector, txt);
        check_unknown(c, "dkim.flags", own->selector, txt);
        return;
    }
    if (fact_is_found(txt)) {
        say_key(c, own, txt);
        return;
    }
    struct identity_result *result = check_say(c, "dkim.record", own->selector, IDENTITY_FAIL);
    result->found = fact_words(c, txt);
    result->expected = STR("the public half of the key in use");
    result->mend = check_dkim_mend(c, own);
}

uint32_t check_dkim_key_count(const struct identity_plan *plan,
        const struct identity_domain *domain, const struct identity_source *source)
{
    (void)source;
    return plan->is_any ? 0 : domain->key_count > 0 ? domain->key_count : 1;
}

/* ---- domains that are not ours ---- */

static void say_selector(struct checking *c, struct str selector, const struct fact *txt)
{
    struct dkim_facts facts = read_record(txt->record[0].data, NULL);
    if (facts.is_garbled && !str_starts_nocase(txt->record[0].data, STR("v=DKIM1"))) {
        buf_done(&facts.der);
        return; /* a wildcard's TXT record, or something else */
    }
    enum identity_status status = facts.is_garbled   ? IDENTITY_FAIL
                                  : facts.is_revoked ? IDENTITY_SKIP
                                                     : length_status(facts.kind, facts.bits);
    struct identity_result *result = check_say(c, "dkim.selector", selector, status);
    result->found = facts.is_revoked   ? STR("revoked")
                    : facts.is_garbled ? check_records(c, txt)
                                       : check_plain(c, "%s, %u bits",
                                                 facts.kind == KEY_RSA ? "RSA" : "Ed25519",
                                                 (unsigned)facts.bits);
    result->expected = STR("RSA of 2048 bits, or Ed25519 (RFC 8301 3.2)");
    buf_done(&facts.der);
}

static uint32_t read_selectors(struct str *ret_selector)
{
    struct str rest = identity_data("selectors");
    uint32_t count = 0;
    while (count < SELECTOR_COUNT_MAX && identity_data_line(&rest, &ret_selector[count])) {
        count++;
    }
    return count;
}

void check_dkim_any(struct checking *c)
{
    struct str selector[SELECTOR_COUNT_MAX];
    uint32_t count = read_selectors(selector);
    const struct fact *unknown = NULL;
    for (uint32_t i = 0; i < count; i++) {
        check_expect(c, key_name(c, selector[i], c->domain->name), DNS_TXT);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct fact *txt = check_ask(c, key_name(c, selector[i], c->domain->name), DNS_TXT);
        if (txt == NULL) {
            return;
        }
        if (fact_is_found(txt)) {
            say_selector(c, selector[i], txt);
        }
        unknown = fact_is_unknown(txt) ? txt : unknown;
    }
    if (c->result_count == 0 && unknown != NULL) {
        check_unknown(c, "dkim.selector", STR(""), unknown);
    } else if (c->result_count == 0) {
        check_skip(c, "dkim.selector", STR(""),
                "none of the common selectors has a key; others cannot be seen from outside");
    }
}

uint32_t check_any_count(const struct identity_plan *plan, const struct identity_domain *domain,
        const struct identity_source *source)
{
    (void)domain, (void)source;
    return plan->is_any ? 1 : 0;
}

/* ---- others who send as the domain ---- */

static bool say_service_spf(struct checking *c, const struct config_service *service)
{
    const struct fact *txt = check_ask(c, c->domain->name, DNS_TXT);
    if (txt == NULL) {
        return false;
    }
    if (fact_is_unknown(txt)) {
        check_unknown(c, "service.spf", service->name, txt);
        return true;
    }
    struct str record = STR("v=spf1 -all"), part, rest;
    uint32_t count = fact_txt(txt, STR("v=spf1"), &record);
    bool has_it = false;
    rest = record;
    while (str_cut(&rest, ' ', &part)) {
        has_it = has_it || str_eq_nocase(part, service->spf);
    }
    struct identity_result *result =
            check_say(c, "service.spf", service->name, has_it ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = count > 0 ? check_text(c, "%.*s", STR_ARG(record)) : fact_words(c, txt);
    result->expected = check_plain(c, "%.*s", STR_ARG(service->spf));
    if (!has_it && str_is_ascii(record)) {
        struct str terms = str_trim(str_from(record, STR("v=spf1").len));
        result->mend = mend_txt(c, c->domain->name,
                check_plain(c, "v=spf1 %.*s %.*s", STR_ARG(service->spf), STR_ARG(terms)));
        result->detail = STR("in place of the record there is");
    }
    return true;
}

/* "{domain}" and "{dashed}" in a pattern of data/dkim_services. */
static struct str fill_pattern(struct checking *c, struct str pattern)
{
    struct buf text;
    struct str name = c->domain->name;
    buf_init(&text, DNS_NAME_CAP * 4);
    while (pattern.len > 0) {
        size_t open = str_index(pattern, '{'), close = str_index(pattern, '}');
        buf_add(&text, str_sub(pattern, 0, open));
        if (open == pattern.len || close < open) {
            break;
        }
        bool is_dashed = str_eq(str_sub(pattern, open, close + 1 - open), STR("{dashed}"));
        for (size_t i = 0; i < name.len; i++) {
            buf_add_char(&text, is_dashed && name.ptr[i] == '.' ? '-' : name.ptr[i]);
        }
        pattern = str_from(pattern, close + 1);
    }
    struct str filled = check_plain(c, "%.*s", STR_ARG(buf_str(&text)));
    buf_done(&text);
    return filled;
}

/* Where a service that is known by its SPF term has the key of a selector; "": not known. */
static struct str service_target(
        struct checking *c, const struct config_service *service, struct str selector)
{
    struct str rest = identity_data("dkim_services"), line, spf, name, target;
    while (identity_data_line(&rest, &line)) {
        bool is_whole = identity_data_field(&line, &spf) && identity_data_field(&line, &name) &&
                        identity_data_field(&line, &target);
        if (is_whole && str_eq_nocase(spf, service->spf) && str_eq_nocase(name, selector)) {
            return fill_pattern(c, target);
        }
    }
    return STR("");
}

/* The record, where it can be known: the key is ours, or the service's are at names that it gives
 * to everybody. Else who has it. */
static struct str mend_service(
        struct checking *c, const struct config_service *service, struct str selector)
{
    struct str name = key_name(c, selector, c->domain->name);
    for (uint32_t i = 0; i < c->domain->key_count; i++) {
        if (str_eq_nocase(c->domain->key[i].selector, selector)) {
            return check_dkim_mend(c, &c->domain->key[i]);
        }
    }
    struct str target = service_target(c, service, selector);
    if (target.len > 0) {
        return check_plain(c, "%.*s. IN CNAME %.*s.\n", STR_ARG(name), STR_ARG(target));
    }
    return check_plain(c, "publish the TXT or CNAME record that %.*s shows for %.*s\n",
            STR_ARG(service->name), STR_ARG(name));
}

static bool say_service_key(
        struct checking *c, const struct config_service *service, struct str selector)
{
    const struct fact *txt = check_ask(c, key_name(c, selector, c->domain->name), DNS_TXT);
    if (txt == NULL) {
        return false;
    }
    struct str part = check_plain(c, "%.*s %.*s", STR_ARG(service->name), STR_ARG(selector));
    if (fact_is_unknown(txt)) {
        check_unknown(c, "service.dkim", part, txt);
        return true;
    }
    struct dkim_facts facts = { .is_garbled = true };
    if (fact_is_found(txt)) {
        facts = read_record(txt->record[0].data, NULL);
        buf_done(&facts.der);
    }
    bool is_bad = facts.is_garbled || facts.is_revoked;
    enum identity_status status = is_bad ? IDENTITY_FAIL : length_status(facts.kind, facts.bits);
    struct identity_result *result = check_say(c, "service.dkim", part, status);
    result->found = facts.is_revoked ? STR("revoked")
                    : is_bad         ? fact_words(c, txt)
                                     : check_plain(c, "%u bits", (unsigned)facts.bits);
    result->expected = STR("a DKIM key");
    if (is_bad) {
        result->mend = mend_service(c, service, selector);
    } else if (status != IDENTITY_PASS) {
        result->mend = check_plain(c, "ask %.*s for a key of 2048 bits\n", STR_ARG(service->name));
    }
    return true;
}

void check_service(struct checking *c)
{
    const struct config_service *service = &c->domain->service[c->check->index];
    for (uint32_t i = 0; i < service->selector_count; i++) {
        check_expect(c, key_name(c, service->selector[i], c->domain->name), DNS_TXT);
    }
    if (service->spf.len > 0 && !say_service_spf(c, service)) {
        return;
    }
    for (uint32_t i = 0; i < service->selector_count; i++) {
        if (!say_service_key(c, service, service->selector[i])) {
            return;
        }
    }
}

uint32_t check_service_count(const struct identity_plan *plan, const struct identity_domain *domain,
        const struct identity_source *source)
{
    (void)plan, (void)source;
    return domain->service_count;
}
