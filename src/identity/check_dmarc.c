/* SPDX-License-Identifier: Apache-2.0
 *
 * check_dmarc.c - the policy of a domain, where its reports go, and whether our mail meets it
 * (RFC 9989, 9990).
 */
#include "core/str.h"
#include "identity/check_priv.h"
#include "mail/dmarc.h"
#include "mail/spf.h"

static const struct str dmarc_prefix = STR_INIT("v=DMARC1");

/* Evaluates; false: awaited. */
static bool run_dmarc(struct checking *c, const struct dmarc_facts *facts, struct dmarc **ret_dmarc)
{
    struct lookup_question question;
    struct dmarc *dmarc;
    *ret_dmarc = NULL;
    if (dmarc_begin(facts, &dmarc) != OK) {
        c->is_nomem = true;
        return true;
    }
    while (dmarc_question(dmarc, &question)) {
        const struct fact *fact = check_ask(c, question.name, (enum dns_type)question.type);
        if (fact == NULL) {
            dmarc_free(dmarc);
            return false;
        }
        struct lookup_answer answer = fact_lookup(c, fact);
        dmarc_answer(dmarc, &answer);
    }
    *ret_dmarc = dmarc;
    return true;
}

static struct str policy_name(struct checking *c)
{
    return check_plain(c, "_dmarc.%.*s", STR_ARG(c->domain->name));
}

/* A first record: watch before anything is refused. */
static struct str mend_first(struct checking *c, const char *policy)
{
    struct str text = check_plain(
            c, "v=DMARC1; p=%s; rua=mailto:dmarc@%.*s", policy, STR_ARG(c->domain->name));
    return mend_txt(c, policy_name(c), text);
}

/* The record with tag set to value, the others as they are; with p= those go that weaken it. */
static struct str mend_tag(
        struct checking *c, const struct dmarc_record *record, const char *tag, const char *value)
{
    struct buf text;
    struct str rest = record->text, part;
    buf_init(&text, DMARC_TXT_BYTES_MAX);
    bool is_p = strcmp(tag, "p") == 0;
    buf_add(&text, dmarc_prefix);
    if (is_p || !record->has_p) {
        buf_addf(&text, "; p=%s", is_p ? value : "none");
    }
    while (str_cut(&rest, ';', &part)) {
        struct str name = str_trim(str_sub(part, 0, str_index(part, '=')));
        bool is_below = str_eq_nocase(name, STR("sp")) || str_eq_nocase(name, STR("np"));
        bool is_weaker = str_eq_nocase(name, STR("pct")) || str_eq_nocase(name, STR("t")) ||
                         (is_below && !record->has_p); /* one of them may be what is bad */
        bool is_left_out = name.len == 0 || str_eq_nocase(name, STR("v")) ||
                           str_eq_nocase(name, str_from_c(tag)) || !str_is_ascii(part) ||
                           (is_p && is_weaker);
        if (!is_left_out) {
            buf_addf(&text, "; %.*s", STR_ARG(str_trim(part)));
        }
    }
    if (!is_p) {
        buf_addf(&text, "; %s=%s", tag, value);
    }
    struct str mend = mend_txt(c, policy_name(c), buf_str(&text));
    buf_done(&text);
    return mend;
}

/* ---- the record ---- */

static void say_policy(struct checking *c, const struct dmarc_record *record)
{
    bool is_weak = record->p == DMARC_POLICY_NONE || record->is_testing ||
                   (record->has_pct && record->pct < 100);
    /* RFC 9989 4.10.1: without a policy that can be read it counts as none, whatever was meant. */
    bool is_unread = !record->has_p;
    struct identity_result *result = check_say(c, "dmarc.policy", STR(""),
            is_unread ? IDENTITY_FAIL
            : is_weak ? IDENTITY_WARN
                      : IDENTITY_PASS);
    result->detail = is_unread ? STR("p= is missing or no policy: receivers do nothing") : STR("");
    result->found = check_plain(c, "p=%s%s%s", dmarc_policy_name(record->p),
            record->is_testing ? " t=y" : "",
            record->has_pct && record->pct < 100 ? ", for a part of the mail only (pct)" : "");
    result->expected = STR("p=quarantine or p=reject, once the reports show no mail of yours");
    const char *meant = record->p == DMARC_POLICY_REJECT ? "reject" : "quarantine";
    result->mend = is_weak || is_unread ? mend_tag(c, record, "p", meant) : STR("");
    enum dmarc_policy sub = record->has_sp ? record->sp : record->p;
    enum dmarc_policy none = record->has_np ? record->np : sub;
    bool is_open = sub < record->p || none < record->p;
    bool is_wide = is_open && sub == DMARC_POLICY_NONE; /* anybody may write as any name below */
    result = check_say(c, "dmarc.subdomains", STR(""),
            is_wide   ? IDENTITY_FAIL
            : is_open ? IDENTITY_WARN
                      : IDENTITY_PASS);
    result->found = check_plain(c, "sp=%s np=%s", dmarc_policy_name(sub), dmarc_policy_name(none));
    result->expected = check_plain(c, "as strict as p=%s", dmarc_policy_name(record->p));
    result->mend = !is_open ? STR("")
                            : mend_tag(c, record, sub < record->p ? "sp" : "np",
                                      dmarc_policy_name(record->p));
}

/* What is wrong with one address for reports. False: awaited. */
static bool report_fault(struct checking *c, const struct dmarc_uri *uri,
        enum identity_status *status, struct str *ret_fault, struct str *ret_mend)
{
    char room[LOOKUP_NAME_CAP];
    struct str question;
    const struct fact *mx = check_ask(c, uri->domain, DNS_MX);
    if (mx == NULL) {
        return false;
    }
    const struct fact *host = fact_is_absent(mx) ? check_ask(c, uri->domain, DNS_A) : mx;
    const struct fact *allowed = NULL;
    if (host == NULL) {
        return false;
    }
    bool is_asked = dmarc_report_question(c->domain->name, uri->domain, room, &question);
    if (is_asked && question.len > 0) {
        allowed = check_ask(c, check_plain(c, "%.*s", STR_ARG(question)), DNS_TXT);
        if (allowed == NULL) {
            return false;
        }
    }
    struct str none;
    bool is_null = fact_is_found(mx) && mx->record_count == 1 && mx->record[0].data.len == 0;
    if (is_null || fact_is_absent(host)) {
        *status = IDENTITY_FAIL;
        *ret_fault = check_text(c, "%.*s receives no mail", STR_ARG(uri->domain));
        *ret_mend = check_plain(
                c, "%.*s. IN MX 10 mail.%.*s.\n", STR_ARG(uri->domain), STR_ARG(uri->domain));
    } else if (is_asked &&
               (allowed == NULL || fact_is_absent(allowed) ||
                       (fact_is_found(allowed) && fact_txt(allowed, dmarc_prefix, &none) == 0))) {
        *status = IDENTITY_FAIL;
        *ret_fault = check_text(c, "%.*s has not agreed to take them", STR_ARG(uri->domain));
        *ret_mend = mend_txt(c, question, dmarc_prefix);
    } else if (fact_is_unknown(host) || (allowed != NULL && fact_is_unknown(allowed))) {
        const struct fact *unknown = fact_is_unknown(host) ? host : allowed;
        *status = *status == IDENTITY_FAIL ? IDENTITY_FAIL : IDENTITY_ERROR;
        *ret_fault = fact_words(c, unknown);
    }
    return true;
}

static void say_reports(struct checking *c, const struct dmarc_record *record)
{
    enum identity_status status = IDENTITY_PASS;
    struct str fault = STR(""), mend = STR("");
    if (record->rua_count == 0) {
        struct identity_result *result = check_say(c, "dmarc.reports", STR(""), IDENTITY_WARN);
        struct str rua = check_plain(c, "mailto:dmarc@%.*s", STR_ARG(c->domain->name));
        result->found = STR("no rua=");
        result->expected = STR("an address that reads aggregate reports");
        result->mend = mend_tag(c, record, "rua", rua.ptr);
        return;
    }
    for (size_t i = 0; i < record->rua_count; i++) {
        const struct dmarc_uri *uri = &record->rua[i];
        if (uri->domain.len > 0 && !report_fault(c, uri, &status, &fault, &mend)) {
            return;
        }
    }
    struct identity_result *result = check_say(c, "dmarc.reports", STR(""), status);
    struct str first = record->rua[0].text;
    result->found = check_text(c, "%.*s", STR_ARG(first));
    result->expected = STR("an address that receives mail, at a domain that agreed (RFC 9990 4)");
    result->mend = mend;
    result->detail = fault;
}

static void say_absent(struct checking *c, const struct dmarc_verdict *verdict)
{
    struct identity_result *result = check_say(c, "dmarc.record", STR(""), IDENTITY_FAIL);
    bool is_there = verdict->record != NULL;
    result->found = is_there ? check_text(c, "%.*s", STR_ARG(verdict->record->text))
                             : STR("no DMARC record");
    result->expected = STR("one record that begins with v=DMARC1 and has a policy");
    result->detail = is_there && verdict->record->fault_count > 0
                             ? check_text(c, "%s", verdict->record->fault[0].text)
                             : STR("begin with p=none, read the reports, then quarantine, reject");
    result->mend = mend_first(c, "none");
}

static void say_record(struct checking *c, const struct dmarc_verdict *verdict)
{
    const struct dmarc_record *record = verdict->record;
    bool is_faulty = record->error_count > 0;
    struct identity_result *result =
            check_say(c, "dmarc.record", STR(""), is_faulty ? IDENTITY_WARN : IDENTITY_PASS);
    result->found = check_text(c, "%.*s", STR_ARG(record->text));
    result->expected = STR("one valid record");
    result->detail = record->fault_count > 0 ? check_text(c, "%s", record->fault[0].text)
                                             : check_text(c, "found at _dmarc.%.*s",
                                                       STR_ARG(verdict->policy_domain));
    result->mend = is_faulty ? mend_first(c, dmarc_policy_name(record->p)) : STR("");
    say_policy(c, record);
    say_reports(c, record);
}

/* More than one record at the domain's own name counts as none (RFC 9989 4.10). */
static bool say_several(struct checking *c, const struct fact *txt)
{
    struct str text = STR("");
    uint32_t count = fact_txt(txt, dmarc_prefix, &text);
    if (count < 2) {
        return false;
    }
    struct identity_result *result = check_say(c, "dmarc.record", STR(""), IDENTITY_FAIL);
    result->found = check_plain(c, "%u records", (unsigned)count);
    result->expected = STR("one record");
    result->detail = STR("in place of all of them; receivers count several as none");
    struct dmarc_record record;
    bool is_usable = dmarc_parse(text, &record) && record.is_usable && str_is_ascii(text);
    result->mend = is_usable ? mend_txt(c, policy_name(c), text) : mend_first(c, "none");
    return true;
}

void check_dmarc_record(struct checking *c)
{
    static const char *const ids[] = { "dmarc.record", "dmarc.policy", "dmarc.subdomains",
        "dmarc.reports" };
    struct dmarc_facts facts = { .domain = c->domain->name, .method = DMARC_TREE_WALK };
    struct dmarc *dmarc;
    const struct fact *own = check_ask(c, policy_name(c), DNS_TXT);
    if (own == NULL) {
        return;
    }
    if (fact_is_unknown(own)) {
        for (size_t i = 0; i < COUNT_OF(ids); i++) {
            check_unknown(c, ids[i], STR(""), own);
        }
        return;
    }
    if (say_several(c, own) || !run_dmarc(c, &facts, &dmarc) || dmarc == NULL) {
        return;
    }
    const struct dmarc_verdict *verdict = dmarc_verdict(dmarc);
    if (verdict->result == DMARC_TEMPERROR) {
        struct identity_result *result = check_say(c, "dmarc.record", STR(""), IDENTITY_ERROR);
        size_t step_count = dmarc_step_count(dmarc);
        result->found = STR("could not tell");
        result->detail =
                check_text(c, "%s", step_count > 0 ? dmarc_step(dmarc, step_count - 1) : "");
    } else if (verdict->record == NULL || !verdict->record->is_usable) {
        say_absent(c, verdict);
    } else {
        say_record(c, verdict);
    }
    dmarc_free(dmarc);
}

/* ---- alignment of our own mail ---- */

static const char *mode_words(bool is_same, bool is_relaxed)
{
    return is_same ? "relaxed and strict" : is_relaxed ? "relaxed" : "not aligned";
}

/* The answers are there already, so that this says again what spf_auth has found. */
static struct str mend_spf(struct checking *c, struct str name)
{
    struct spf *spf;
    const struct fact *txt = check_ask(c, name, DNS_TXT);
    struct str sender = check_plain(c, "bounces@%.*s", STR_ARG(name));
    if (!check_spf(c, c->source->ip, sender, c->source->ehlo, &spf) || spf == NULL) {
        return STR("");
    }
    struct str mend = check_spf_mend(c, name, txt, spf_verdict(spf));
    spf_free(spf);
    return mend;
}

static void say_align(struct checking *c, bool is_spf, enum dmarc_auth auth, bool is_aligned,
        const struct dmarc_verdict *verdict)
{
    struct str name = is_spf ? check_bounce(c->domain) : c->domain->name;
    bool is_same = str_eq(name, c->domain->name);
    bool is_relaxed = str_eq(domain_organizational(name), domain_organizational(c->domain->name));
    bool is_good = is_aligned && auth == DMARC_AUTH_PASS;
    enum identity_status status = auth == DMARC_AUTH_TEMPERROR ? IDENTITY_ERROR
                                  : is_good                    ? IDENTITY_PASS
                                                               : IDENTITY_FAIL;
    const char *id = is_spf ? "dmarc.align_spf" : "dmarc.align_dkim";
    struct identity_result *result = check_say(c, id, STR(""), status);
    result->found = auth == DMARC_AUTH_PASS ? check_plain(c, "%.*s: %s", STR_ARG(name),
                                                      mode_words(is_same, is_relaxed))
                    : auth == DMARC_AUTH_FAIL
                            ? check_plain(c, "%s does not pass here", is_spf ? "SPF" : "DKIM")
                            : STR("could not tell");
    bool is_strict = verdict->record != NULL &&
                     (is_spf ? verdict->record->is_spf_strict : verdict->record->is_dkim_strict);
    result->expected = check_plain(c, "passes, and %s %.*s (%s)",
            is_strict ? "is exactly" : "has the organization of", STR_ARG(c->domain->name),
            is_strict ? "strict" : "relaxed");
    if (status == IDENTITY_FAIL && auth == DMARC_AUTH_PASS && is_strict) {
        result->mend = mend_tag(c, verdict->record, is_spf ? "aspf" : "adkim", "r");
    } else if (status == IDENTITY_FAIL && auth == DMARC_AUTH_PASS) {
        result->detail = STR("set bounce-domain to the domain, or to a name below it");
    } else if (status == IDENTITY_FAIL) {
        const struct config_dkim_key *key = check_signing_key(c->domain);
        result->mend = is_spf ? mend_spf(c, name) : key != NULL ? check_dkim_mend(c, key) : STR("");
    }
}

/* Does a signature of ours verify with what DNS says? False: awaited. */
static bool dkim_auth(struct checking *c, enum dmarc_auth *ret_auth)
{
    *ret_auth = DMARC_AUTH_FAIL;
    for (uint32_t i = 0; i < c->domain->key_count; i++) {
        const struct config_dkim_key *key = &c->domain->key[i];
        if (key->is_inactive) {
            continue;
        }
        const struct fact *txt = check_ask(c,
                check_plain(c, "%.*s._domainkey.%.*s", STR_ARG(key->selector),
                        STR_ARG(c->domain->name)),
                DNS_TXT);
        if (txt == NULL) {
            return false;
        }
        if (fact_is_unknown(txt) && *ret_auth == DMARC_AUTH_FAIL) {
            *ret_auth = DMARC_AUTH_TEMPERROR;
        } else if (check_dkim_matches(txt, key)) {
            *ret_auth = DMARC_AUTH_PASS;
        }
    }
    return true;
}

static bool spf_auth(struct checking *c, enum dmarc_auth *ret_auth)
{
    struct spf *spf;
    struct str sender = check_plain(c, "bounces@%.*s", STR_ARG(check_bounce(c->domain)));
    if (!check_spf(c, c->source->ip, sender, c->source->ehlo, &spf)) {
        return false;
    }
    enum spf_result result = spf != NULL ? spf_verdict(spf)->result : SPF_TEMPERROR;
    *ret_auth = result == SPF_PASS        ? DMARC_AUTH_PASS
                : result == SPF_TEMPERROR ? DMARC_AUTH_TEMPERROR
                                          : DMARC_AUTH_FAIL;
    spf_free(spf);
    return true;
}

void check_dmarc_align(struct checking *c)
{
    enum dmarc_auth spf = DMARC_AUTH_FAIL, dkim;
    bool has_ip = c->source->ip.family != IP_NONE;
    if ((has_ip && !spf_auth(c, &spf)) || !dkim_auth(c, &dkim)) {
        return;
    }
    /* Alignment is asked for both as if they passed; whether they do is said beside it. */
    struct dmarc_identifier identifier[] = {
        { .is_spf = true, .auth = DMARC_AUTH_PASS, .domain = check_bounce(c->domain) },
        { .is_spf = false, .auth = DMARC_AUTH_PASS, .domain = c->domain->name },
    };
    struct dmarc_facts facts = { .domain = c->domain->name,
        .method = DMARC_TREE_WALK,
        .identifier = identifier,
        .identifier_count = COUNT_OF(identifier) };
    struct dmarc *dmarc;
    if (!run_dmarc(c, &facts, &dmarc) || dmarc == NULL) {
        return;
    }
    const struct dmarc_verdict *verdict = dmarc_verdict(dmarc);
    if (verdict->result == DMARC_TEMPERROR) {
        check_say(c, "dmarc.align_spf", STR(""), IDENTITY_ERROR)->found = STR("could not tell");
        check_say(c, "dmarc.align_dkim", STR(""), IDENTITY_ERROR)->found = STR("could not tell");
    } else if (verdict->record == NULL || !verdict->record->is_usable) {
        check_skip(c, "dmarc.align_spf", STR(""), "there is no DMARC record");
        check_skip(c, "dmarc.align_dkim", STR(""), "there is no DMARC record");
    } else {
        if (has_ip) {
            say_align(c, true, spf, verdict->is_aligned[0], verdict);
        } else {
            check_skip(c, "dmarc.align_spf", STR(""), "the source has no address of its own");
        }
        if (c->plan->is_any) {
            check_skip(c, "dmarc.align_dkim", STR(""), "the keys of others are not known here");
        } else {
            say_align(c, false, dkim, verdict->is_aligned[1], verdict);
        }
    }
    dmarc_free(dmarc);
}
