/* SPDX-License-Identifier: Apache-2.0
 *
 * check_spf.c - SPF of a domain as it stands, and for each source as receivers evaluate it.
 */
#include "core/str.h"
#include "identity/check_priv.h"
#include "mail/domain.h"
#include "mail/spf.h"

enum { RECORD_BYTES_WARN = 450 }; /* RFC 7208 3.4: an answer should fit into 512 octets */

static const struct str spf_prefix = STR_INIT("v=spf1");

bool check_spf(struct checking *c, struct ip ip, struct str mail_from, struct str helo,
        struct spf **ret_spf)
{
    struct spf_params params = { .ip = ip, .mail_from = mail_from, .helo = helo, .now = c->now };
    struct lookup_question question;
    struct spf *spf;
    if (spf_begin(&params, &spf) != OK) {
        c->is_nomem = true;
        *ret_spf = NULL;
        return true;
    }
    while (spf_question(spf, &question)) {
        const struct fact *fact = check_ask(c, question.name, (enum dns_type)question.type);
        if (fact == NULL) {
            spf_free(spf);
            return false;
        }
        struct lookup_answer answer = fact_lookup(c, fact);
        spf_answer(spf, &answer);
    }
    *ret_spf = spf;
    return true;
}

/* ---- the record that mends ---- */

static bool is_printable(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < ' ' || text.ptr[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

/* "ip4:192.0.2.1" */
static struct str address_term(struct checking *c, struct ip ip)
{
    char text[IP_TEXT_CAP];
    struct str address = ip_format(ip, text);
    return check_plain(c, "%s:%.*s", ip.family == IP_V4 ? "ip4" : "ip6", STR_ARG(address));
}

static bool has_term(struct str record, struct str term)
{
    struct str part;
    while (str_cut(&record, ' ', &part)) {
        if (str_eq_nocase(part, term)) {
            return true;
        }
    }
    return false;
}

/* Addresses of all our sources that old does not name. */
static void add_sources(struct checking *c, struct str old, struct buf *text)
{
    for (uint32_t i = 0; i < c->plan->source_count; i++) {
        struct ip ip = c->plan->source[i].ip;
        struct str term = ip.family != IP_NONE ? address_term(c, ip) : STR("");
        if (term.len > 0 && !has_term(old, term)) {
            buf_addf(text, " %.*s", STR_ARG(term));
        }
    }
}

/* Is it a term by itself, so that the rest of a broken record can be kept? */
static bool is_term(struct checking *c, struct str part)
{
    struct spf_record record;
    struct str alone = check_plain(c, "v=spf1 %.*s", STR_ARG(part));
    return part.len > 0 && spf_parse(c->scratch, alone, &record, NULL) == OK;
}

/* What a permerror came from: nobody passes while it stands, whatever else the record says. */
struct broken {
    struct str term; /* as written; empty: none */
    bool is_redirect;
};

static struct broken find_broken(struct str name, const struct spf_verdict *verdict)
{
    if (verdict == NULL || verdict->result != SPF_PERMERROR || verdict->lookup_count == 0) {
        return (struct broken){ 0 }; /* without a look-up it is the syntax: see is_term */
    }
    bool is_redirect = verdict->mechanism.len == 0 || !str_eq(verdict->decided_by, name);
    return (struct broken){ is_redirect ? STR("") : verdict->mechanism, is_redirect };
}

/* The good terms of one record, without its `all` and redirect: those come last. */
static void add_terms(struct checking *c, struct str old, const struct broken *broken,
        struct buf *text, struct str *all)
{
    struct str part;
    while (str_cut(&old, ' ', &part)) {
        bool is_all = str_ends_nocase(part, STR("all")) && part.len <= 4;
        if (str_starts_nocase(part, STR("redirect="))) {
            *all = broken->is_redirect ? STR("~all") : part;
        } else if (is_all) {
            *all = part;
        } else if (!str_eq_nocase(part, spf_prefix) && is_term(c, part) &&
                   !str_eq(part, broken->term)) {
            buf_addf(text, " %.*s", STR_ARG(part));
        }
    }
}

static struct str mend_flatten(struct checking *c, struct str name)
{
    return check_plain(c, "outpost domain flatten %.*s\n", STR_ARG(name));
}

/* One record for name, from those there are, that lets our sources pass and ends well. */
struct str check_spf_mend(struct checking *c, struct str name, const struct fact *txt,
        const struct spf_verdict *verdict)
{
    struct buf text;
    struct broken broken = find_broken(name, verdict);
    if (verdict != NULL && verdict->lookup_count > SPF_LOOKUP_COUNT_MAX) {
        return mend_flatten(c, name);
    }
    struct str all = STR("-all"), old = STR("");
    buf_init(&text, 4096);
    buf_add(&text, spf_prefix);
    if (txt != NULL && fact_txt(txt, spf_prefix, &old) > 0 && is_printable(old)) {
        add_sources(c, old, &text);
    } else {
        add_sources(c, STR(""), &text);
    }
    for (uint32_t i = 0; txt != NULL && fact_is_found(txt) && i < txt->record_count; i++) {
        struct str record = txt->record[i].data;
        if (spf_is_record(record) && is_printable(record)) {
            add_terms(c, record, &broken, &text, &all);
        }
    }
    bool is_good_end = str_eq_nocase(all, STR("-all")) || str_eq_nocase(all, STR("~all")) ||
                       str_starts_nocase(all, STR("redirect="));
    buf_addf(&text, " %.*s", STR_ARG(is_good_end ? all : STR("~all")));
    struct str mend = mend_txt(c, name, buf_str(&text));
    buf_done(&text);
    return mend;
}

/* ---- the record as it stands ---- */

/* An address that no term matches, so that the evaluation goes through all of them. */
static struct ip nobody(void)
{
    return (struct ip){ IP_V4, { 240, 0, 0, 1 } }; /* reserved, RFC 1112 4 */
}

static void say_limits(struct checking *c, struct str name, const struct fact *txt)
{
    struct spf *spf;
    struct str sender = check_plain(c, "postmaster@%.*s", STR_ARG(name));
    if (!check_spf(c, nobody(), sender, name, &spf) || spf == NULL) {
        return;
    }
    const struct spf_verdict *verdict = spf_verdict(spf);
    enum identity_status status = verdict->result == SPF_TEMPERROR   ? IDENTITY_ERROR
                                  : verdict->result == SPF_PERMERROR ? IDENTITY_FAIL
                                                                     : IDENTITY_PASS;
    struct identity_result *result = check_say(c, "spf.limits", name, status);
    result->found = check_text(c, "%u of %d look-ups, %u of %d empty answers%s%.*s",
            (unsigned)verdict->lookup_count, (int)SPF_LOOKUP_COUNT_MAX,
            (unsigned)verdict->void_count, (int)SPF_VOID_COUNT_MAX,
            verdict->problem.len > 0 ? ": " : "", STR_ARG(verdict->problem));
    result->expected = STR("at most 10 look-ups, 2 of them empty (RFC 7208 4.6.4)");
    if (status == IDENTITY_FAIL) {
        result->mend = check_spf_mend(c, name, txt, verdict);
    }
    spf_free(spf);
}

static void say_all(struct checking *c, struct str name, const struct spf_record *record,
        struct fact const *txt)
{
    bool is_good = record->all == '-' || record->all == '~' ||
                   (record->all == 0 && record->redirect != NULL);
    bool is_open = record->all == '+';
    enum identity_status status = is_good ? IDENTITY_PASS : is_open ? IDENTITY_FAIL : IDENTITY_WARN;
    struct identity_result *result = check_say(c, "spf.all", name, status);
    result->found = record->all != 0 ? check_text(c, "%call", record->all)
                    : record->redirect != NULL
                            ? check_text(c, "%.*s", STR_ARG(record->redirect->text))
                            : STR("no all");
    result->expected = STR("-all or ~all");
    result->mend = is_good ? STR("") : check_spf_mend(c, name, txt, NULL);
    result->detail = is_open ? STR("+all lets everybody send as the domain") : STR("");
}

static void say_record(struct checking *c, struct str name, const struct fact *txt)
{
    struct str text = STR("");
    uint32_t count = 0;
    for (uint32_t i = 0; fact_is_found(txt) && i < txt->record_count; i++) {
        bool is_spf = spf_is_record(txt->record[i].data);
        text = is_spf && count == 0 ? txt->record[i].data : text;
        count += is_spf;
    }
    struct spf_record record;
    struct why why = { 0 };
    enum err err = count == 1 ? spf_parse(c->scratch, text, &record, &why) : E_NOT_FOUND;
    struct identity_result *result =
            check_say(c, "spf.record", name, err == OK ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = count == 0 ? STR("no SPF record") : check_text(c, "%.*s", STR_ARG(text));
    result->expected = STR("one record that begins with v=spf1");
    if (err == OK) {
        bool is_long = text.len > RECORD_BYTES_WARN;
        result->status = is_long ? IDENTITY_WARN : IDENTITY_PASS;
        result->detail = is_long ? STR("longer than a DNS answer over UDP should be") : STR("");
        say_all(c, name, &record, txt);
        say_limits(c, name, txt);
        return;
    }
    result->detail = count > 1 ? check_plain(c,
                                         "%u records: receivers then count none of them "
                                         "(RFC 7208 4.5)",
                                         (unsigned)count)
                               : check_text(c, "%s", why.text);
    result->mend = check_spf_mend(c, name, txt, NULL);
}

/* Of the domain, and of the MAIL FROM domain where that is another. */
void check_spf_record(struct checking *c)
{
    struct str names[] = { c->domain->name, check_bounce(c->domain) };
    size_t count = str_eq(names[0], names[1]) ? 1 : 2;
    for (size_t i = 0; i < count; i++) {
        check_expect(c, names[i], DNS_TXT);
    }
    for (size_t i = 0; i < count; i++) {
        const struct fact *txt = check_ask(c, names[i], DNS_TXT);
        if (txt == NULL) {
            return;
        }
        if (fact_is_unknown(txt)) {
            check_unknown(c, "spf.record", names[i], txt);
            check_unknown(c, "spf.all", names[i], txt);
            check_unknown(c, "spf.limits", names[i], txt);
        } else {
            say_record(c, names[i], txt);
        }
    }
}

/* ---- for a source ---- */

static enum identity_status status_of(enum spf_result result)
{
    switch (result) {
    case SPF_PASS:
        return IDENTITY_PASS;
    case SPF_TEMPERROR:
        return IDENTITY_ERROR;
    case SPF_NONE:
    case SPF_NEUTRAL:
    case SPF_FAIL:
    case SPF_SOFTFAIL:
    case SPF_PERMERROR:
        break;
    }
    return IDENTITY_FAIL;
}

static void say_verdict(
        struct checking *c, const char *id, struct str name, const struct spf_verdict *verdict)
{
    struct identity_result *result = check_say(c, id, STR(""), status_of(verdict->result));
    result->found = check_text(c, "%s%s%.*s", spf_result_name(verdict->result),
            verdict->mechanism.len > 0 ? " by " : "", STR_ARG(verdict->mechanism));
    result->expected = STR("pass");
    result->detail = verdict->problem.len > 0 ? check_text(c, "%.*s", STR_ARG(verdict->problem))
                                              : check_plain(c, "%.*s", STR_ARG(name));
}

void check_spf_pass(struct checking *c)
{
    if (c->source->ip.family == IP_NONE) {
        check_skip(c, "spf.pass", STR(""), "the source has no address of its own");
        return;
    }
    struct str name = check_bounce(c->domain);
    struct str sender = check_plain(c, "bounces@%.*s", STR_ARG(name));
    struct spf *spf;
    if (!check_spf(c, c->source->ip, sender, c->source->ehlo, &spf) || spf == NULL) {
        return;
    }
    const struct spf_verdict *verdict = spf_verdict(spf);
    const struct fact *txt = check_ask(c, name, DNS_TXT);
    if (txt != NULL) {
        say_verdict(c, "spf.pass", name, verdict);
        struct identity_result *result = &c->result[c->result_count - 1];
        bool is_fail = result->status == IDENTITY_FAIL;
        result->mend = is_fail ? check_spf_mend(c, name, txt, verdict) : STR("");
    }
    spf_free(spf);
}

/* RFC 7208 2.3, 2.4: the HELO name counts by itself, and for bounces instead of MAIL FROM. */
void check_spf_helo(struct checking *c)
{
    if (c->source->ip.family == IP_NONE) {
        check_skip(c, "spf.helo", STR(""), "the source has no address of its own");
        return;
    }
    struct spf *spf;
    if (!check_spf(c, c->source->ip, STR(""), c->source->ehlo, &spf) || spf == NULL) {
        return;
    }
    const struct spf_verdict *verdict = spf_verdict(spf);
    say_verdict(c, "spf.helo", c->source->ehlo, verdict);
    struct identity_result *result = &c->result[c->result_count - 1];
    if (verdict->result == SPF_NONE || result->status == IDENTITY_FAIL) {
        struct str term = address_term(c, c->source->ip);
        struct str text = check_plain(c, "v=spf1 %.*s -all", STR_ARG(term));
        result->mend = mend_txt(c, c->source->ehlo, text);
        result->status = verdict->result == SPF_NONE ? IDENTITY_WARN : IDENTITY_FAIL;
    }
    spf_free(spf);
}
