/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_make.c - what DNS must say of a domain, built upon what it says already.
 *
 * Other people's records of the same name and type are kept beside ours, so that formats that set
 * whole sets of records lose none.
 */
#include "core/str.h"
#include "core/time.h"
#include "edge/tls_cert.h"
#include "identity/setup_make_priv.h"
#include "mail/dkim.h"
#include "mail/dmarc.h"
#include "mail/domain.h"
#include "mail/spf.h"

enum { SPF_BYTES_MAX = 65535, POLICY_AGE_S = 604800 };

static void add_txt(struct making *m, struct str name, struct str data, const char *purpose)
{
    making_add(m,
            (struct identity_record){
                    .name = name, .type = DNS_TXT, .data = data, .purpose = str_from_c(purpose) });
}

/* ---- sources ---- */

static struct str ip_text(struct making *m, struct ip ip)
{
    char room[IP_TEXT_CAP];
    return made(m, "%.*s", STR_ARG(ip_format(ip, room)));
}

static void add_address(struct making *m, struct str name, struct ip ip, const char *purpose)
{
    making_add(m, (struct identity_record){ .name = name,
                          .type = ip.family == IP_V4 ? DNS_A : DNS_AAAA,
                          .data = ip_text(m, ip),
                          .purpose = str_from_c(purpose) });
}

static void add_ptr(struct making *m, const struct identity_source *source)
{
    struct str name = made_text(m, look_reverse(m->arena, source->ip));
    making_add(m, (struct identity_record){ .name = name,
                          .type = DNS_PTR,
                          .data = source->ehlo,
                          .purpose = STR("PTR"),
                          .is_foreign = true,
                          .note = STR("published by the owner of the address (your provider)") });
}

/* RFC 7208 2.3: the EHLO name is checked by itself; its record names the sources that say it. */
static void add_ehlo_spf(struct making *m, struct str ehlo)
{
    struct ip *ip = arena_new(m->arena, MAKING_SOURCE_COUNT_MAX * sizeof *ip);
    struct str old;
    uint32_t count = 0;
    if (ip == NULL) {
        m->is_nomem = true;
        return;
    }
    for (uint32_t i = 0; i < m->plan->source_count && count < MAKING_SOURCE_COUNT_MAX; i++) {
        if (str_eq_nocase(m->plan->source[i].ehlo, ehlo)) {
            ip[count++] = m->plan->source[i].ip;
        }
    }
    if (setup_spf_of(look_ask(m->look, ehlo, DNS_TXT), &old) > 1) {
        old = STR("");
    }
    struct setup_spf_merge merge = { .old = old, .ip = ip, .ip_count = count };
    struct buf record;
    buf_init(&record, SPF_BYTES_MAX);
    setup_spf_merge(m->arena, &merge, &record);
    add_txt(m, ehlo, made(m, "%.*s", STR_ARG(buf_str(&record))), "SPF of EHLO");
    buf_done(&record);
}

static enum err add_sources(struct making *m)
{
    const struct identity_plan *plan = m->plan;
    for (uint32_t i = 0; i < plan->source_count && m->ip_count < MAKING_SOURCE_COUNT_MAX; i++) {
        if (plan->source[i].ip.family != IP_NONE) {
            m->ip[m->ip_count++] = plan->source[i].ip;
        }
    }
    if (m->ip_count == 0) {
        why_set(m->why,
                plan->source_count == 0
                        ? "no address is known that mail leaves from: write source \"a\" { "
                          "address = \"192.0.2.10\"  ehlo = \"a.mail.example.com\" }, or "
                          "name one with --ip and --ehlo"
                        : "source \"%.*s\" has no address: write address = \"192.0.2.10\" "
                          "into its section, or name one with --ip and --ehlo",
                STR_ARG(plan->source_count > 0 ? plan->source[0].name : STR("")));
        return E_USAGE;
    }
    for (uint32_t i = 0; i < plan->source_count; i++) {
        const struct identity_source *source = &plan->source[i];
        if (source->ip.family == IP_NONE) {
            buf_addf(&m->notes, "source %.*s has no address of its own: nothing is said of it\n",
                    STR_ARG(source->name));
            continue;
        }
        if (ip_is_internal(source->ip)) {
            buf_addf(&m->notes,
                    "source %.*s has a private address: receivers see another one, which "
                    "these records do not have (name it with --ip)\n",
                    STR_ARG(source->name));
        }
        add_address(m, source->ehlo, source->ip, "EHLO");
        add_ptr(m, source);
    }
    return OK;
}

/* ---- SPF ---- */

static enum err read_spf(struct making *m, struct str name, struct str *ret_old)
{
    const struct look_answer *txt = look_ask(m->look, name, DNS_TXT);
    struct spf_record record;
    struct why why = { 0 };
    if (look_failed(txt)) {
        why_set(m->why,
                "DNS could not tell whether %.*s has an SPF record (%.*s): try again, or "
                "name a resolver with --resolver",
                STR_ARG(name), STR_ARG(look_words(m->look, txt)));
        return E_TIMEOUT;
    }
    uint32_t count = setup_spf_of(txt, ret_old);
    if (count > 1) {
        why_set(m->why,
                "%.*s has %u SPF records: receivers count none of them (RFC 7208 4.5); "
                "remove all but one, then ask again",
                STR_ARG(name), (unsigned)count);
        return E_SYNTAX;
    }
    if (count == 1 &&
            (spf_parse(m->arena, *ret_old, &record, &why) != OK || !str_is_ascii(*ret_old))) {
        why_set(m->why, "the SPF record of %.*s is broken (%.200s): mend or remove it first",
                STR_ARG(name), why.text[0] != '\0' ? why.text : "not ASCII");
        return E_SYNTAX;
    }
    return OK;
}

/* The terms of services that send as the domain too. */
static uint32_t service_terms(struct making *m, struct str **ret_term)
{
    struct str *term = arena_new(m->arena, (m->domain->service_count + 1) * sizeof *term);
    m->is_nomem = m->is_nomem || term == NULL;
    for (uint32_t i = 0; term != NULL && i < m->domain->service_count; i++) {
        term[i] = m->domain->service[i].spf;
    }
    *ret_term = term;
    return term != NULL ? m->domain->service_count : 0;
}

static struct str domain_bounce(const struct identity_domain *domain)
{
    return domain->bounce.len > 0 ? domain->bounce : domain->name;
}

/* The same name at the other domain: "bounce.other.example". */
static struct str like_name(struct making *m, struct str name)
{
    struct str like = m->how->like, own = m->domain->name;
    if (like.len == 0 || name.len == own.len) {
        return like;
    }
    return made(m, "%.*s%.*s", STR_ARG(str_sub(name, 0, name.len - own.len)), STR_ARG(like));
}

static void fill_bill(struct making *m, struct identity_spf_bill *bill)
{
    struct setup_spf_walk before = { .look = m->look, .arena = m->arena }, after = before;
    bill->lookup_count_before =
            bill->before.len > 0 ? setup_spf_walk(&before, bill->name, bill->before) : 0;
    bill->lookup_count = setup_spf_walk(&after, bill->name, bill->after);
    bill->cost = after.cost;
    bill->cost_count = after.cost_count;
    if (after.err != OK) {
        buf_addf(&m->notes, "SPF of %.*s: %s\n", STR_ARG(bill->name), after.why.text);
    }
}

static enum err add_spf(struct making *m, struct str name, bool has_services)
{
    struct identity_spf_bill *bill = &m->setup->bill[m->setup->bill_count];
    struct setup_spf_merge merge = {
        .ip = m->ip, .ip_count = m->ip_count, .redirect = like_name(m, name)
    };
    struct str *term = NULL;
    enum err err = read_spf(m, name, &merge.old);
    if (err != OK) {
        return err;
    }
    merge.term_count = has_services ? service_terms(m, &term) : 0;
    merge.term = term;
    struct buf record;
    buf_init(&record, SPF_BYTES_MAX);
    setup_spf_merge(m->arena, &merge, &record);
    *bill = (struct identity_spf_bill){
        .name = name, .before = merge.old, .after = made(m, "%.*s", STR_ARG(buf_str(&record)))
    };
    buf_done(&record);
    m->setup->bill_count++;
    fill_bill(m, bill);
    add_txt(m, name, bill->after, "SPF");
    if (bill->after.len > IDENTITY_SPF_RECORD_BYTES_MAX) {
        buf_addf(&m->notes,
                "SPF of %.*s has %zu bytes, more than an answer over UDP should have: "
                "\"outpost domain flatten\" splits it\n",
                STR_ARG(name), bill->after.len);
    }
    return OK;
}

/* What is over the limit, and what costs most. */
static enum err judge_bills(struct making *m)
{
    for (uint32_t b = 0; b < m->setup->bill_count; b++) {
        const struct identity_spf_bill *bill = &m->setup->bill[b];
        if (bill->lookup_count <= SPF_LOOKUP_COUNT_MAX) {
            continue;
        }
        char costs[WHY_BYTES_MAX] = "";
        size_t len = 0;
        for (uint32_t i = 0; i < bill->cost_count; i++) {
            if (bill->cost[i].depth == 0) {
                len += fmt(costs + len, sizeof costs - len, "%s%.*s %u", len > 0 ? ", " : "",
                        STR_ARG(bill->cost[i].term), (unsigned)bill->cost[i].lookup_count);
            }
        }
        why_set(m->why,
                "SPF of %.*s needs %u look-ups of 10 (RFC 7208 4.6.4): receivers would "
                "refuse it; %.150s; take one away, or \"outpost domain flatten %.*s\"",
                STR_ARG(bill->name), (unsigned)bill->lookup_count, costs, STR_ARG(bill->name));
        return E_TOO_BIG;
    }
    return OK;
}

/* ---- DKIM ---- */

static void add_key(struct making *m, const struct config_dkim_key *key)
{
    struct str name =
            made(m, "%.*s._domainkey.%.*s", STR_ARG(key->selector), STR_ARG(m->domain->name));
    struct str purpose = made(m, "DKIM %.*s", STR_ARG(key->selector));
    if (m->how->like.len > 0) {
        making_add(m, (struct identity_record){ .name = name,
                              .type = DNS_CNAME,
                              .purpose = purpose,
                              .data = made(m, "%.*s._domainkey.%.*s", STR_ARG(key->selector),
                                      STR_ARG(m->how->like)) });
        return;
    }
    struct buf record;
    buf_init(&record, DKIM_TXT_BYTES_MAX);
    m->is_nomem = m->is_nomem || dkim_record(key->key, &record) != OK;
    making_add(m, (struct identity_record){ .name = name,
                          .type = DNS_TXT,
                          .purpose = purpose,
                          .data = made(m, "%.*s", STR_ARG(buf_str(&record))) });
    buf_done(&record);
}

/* ---- DMARC ---- */

/* The record there is, with another p=. */
static struct str with_stage(struct making *m, struct str old, struct str stage)
{
    struct buf made;
    struct str part;
    buf_init(&made, DMARC_TXT_BYTES_MAX);
    while (str_cut(&old, ';', &part)) {
        struct str tag = str_trim(part);
        bool is_policy = str_starts_nocase(tag, STR("p")) &&
                         str_starts(str_trim(str_from(tag, 1)), STR("="));
        if (tag.len == 0) {
            continue;
        }
        buf_add_c(&made, made.len > 0 ? "; " : "");
        if (is_policy) {
            buf_addf(&made, "p=%.*s", STR_ARG(stage));
        } else {
            buf_add(&made, tag);
        }
    }
    struct str result = made(m, "%.*s", STR_ARG(buf_str(&made)));
    buf_done(&made);
    return result;
}

static struct str report_address(struct making *m)
{
    return m->how->rua.len > 0 ? m->how->rua : made(m, "dmarc@%.*s", STR_ARG(m->domain->name));
}

/* RFC 9990 4: a domain that takes reports of another says so. */
static void add_report_consent(struct making *m, struct str address)
{
    struct str at = str_from(address, str_rindex(address, '@') + 1), own = m->domain->name;
    if (at.len == 0 || domain_is_within(at, domain_organizational(own))) {
        return;
    }
    making_add(m, (struct identity_record){ .type = DNS_TXT,
                          .data = STR("v=DMARC1"),
                          .name = made(m, "%.*s._report._dmarc.%.*s", STR_ARG(own), STR_ARG(at)),
                          .purpose = STR("DMARC reports"),
                          .is_foreign = true,
                          .note = STR("published by the domain that takes the reports") });
}

static enum err add_dmarc(struct making *m)
{
    struct str name = made(m, "_dmarc.%.*s", STR_ARG(m->domain->name)), data = STR("");
    const struct look_answer *txt = look_ask(m->look, name, DNS_TXT);
    struct dmarc_record *record = arena_new(m->arena, sizeof *record);
    if (record == NULL) {
        return E_NOMEM;
    }
    if (look_failed(txt)) {
        why_set(m->why,
                "DNS could not tell whether there is a DMARC record at %.*s (%.*s): try "
                "again",
                STR_ARG(name), STR_ARG(look_words(m->look, txt)));
        return E_TIMEOUT;
    }
    for (uint32_t i = 0; look_found(txt) && i < txt->record_count; i++) {
        if (txt->record[i].type == DNS_TXT && dmarc_parse(txt->record[i].data, record) &&
                record->is_usable && record->error_count == 0 && str_is_ascii(record->text)) {
            data = txt->record[i].data;
        }
    }
    struct str stage = m->how->stage.len > 0 ? m->how->stage : STR("none");
    if (data.len == 0) {
        struct str rua = report_address(m);
        data = made(m, "v=DMARC1; p=%.*s; rua=mailto:%.*s", STR_ARG(stage), STR_ARG(rua));
        add_report_consent(m, rua);
    } else if (m->how->stage.len > 0) {
        data = with_stage(m, data, stage);
    }
    bool is_none = str_find(data, STR("p=none")) < data.len;
    bool is_middle = str_find(data, STR("p=quarantine")) < data.len;
    making_add(m,
            (struct identity_record){ .name = name,
                    .type = DNS_TXT,
                    .data = data,
                    .purpose = STR("DMARC"),
                    .note = is_none ? STR("first stage: when the reports name no sender of yours "
                                          "that fails, --dmarc-stage quarantine")
                            : is_middle ? STR("second stage: after two quiet weeks, --dmarc-stage "
                                              "reject")
                                        : STR("") });
    return OK;
}

/* ---- ways back: MX, addresses of hosts ---- */

static struct str mail_host(const struct making *m)
{
    const struct config *config = m->plan->config;
    bool has_name = config != NULL && config->hostname.len > 0 &&
                    str_index(config->hostname, '.') < config->hostname.len;
    return has_name ? config->hostname : m->plan->source[0].ehlo;
}

/* A mail host whose address is not known leads to the first source. */
static void add_host(struct making *m, struct str host)
{
    const struct look_answer *v4 = look_ask(m->look, host, DNS_A);
    const struct look_answer *v6 = look_ask(m->look, host, DNS_AAAA);
    if (look_absent(v4) && look_absent(v6)) {
        for (uint32_t i = 0; i < m->setup->record_count; i++) {
            const struct identity_record *record = &m->setup->record[i];
            bool is_address = record->type == DNS_A || record->type == DNS_AAAA;
            if (is_address && str_eq_nocase(record->name, host)) {
                return; /* it is a source's EHLO name */
            }
        }
        add_address(m, host, m->ip[0], "mail host");
    }
}

/* Where name has no MX that can be used, ours. */
static void add_mx(struct making *m, struct str name, const char *purpose)
{
    const struct look_answer *mx = look_ask(m->look, name, DNS_MX);
    bool is_null = look_found(mx) && mx->record_count == 1 && mx->record[0].data.len == 0;
    if (look_found(mx) && !is_null) {
        for (uint32_t i = 0; i < mx->record_count; i++) {
            making_add(m, (struct identity_record){ .name = name,
                                  .type = DNS_MX,
                                  .preference = mx->record[i].preference,
                                  .data = mx->record[i].data,
                                  .purpose = str_from_c(purpose) });
        }
        return;
    }
    struct str host = mail_host(m);
    struct identity_record record = { .name = name,
        .type = DNS_MX,
        .preference = 10,
        .data = host,
        .purpose = str_from_c(purpose),
        .ttl_s = IDENTITY_TTL_S,
        .note = is_null ? STR("in place of the null MX: receivers refuse mail from a domain that "
                              "takes none")
                        : STR("the host must take mail for it"),
        .state = look_failed(mx) ? IDENTITY_RECORD_UNKNOWN
                 : is_null       ? IDENTITY_RECORD_DIFFERS
                                 : IDENTITY_RECORD_MISSING };
    (void)look_zone(m->look, name, &record.zone);
    making_put(m, &record);
    add_host(m, host);
}

/* ---- TLS ---- */

static struct str stamp(struct making *m)
{
    struct civil at = civil_from_wall(m->how->now);
    return made(m, "%04d%02u%02u%02u%02u%02u", (int)at.year, (unsigned)at.month, (unsigned)at.day,
            (unsigned)at.hour, (unsigned)at.minute, (unsigned)at.second);
}

/* The record there is, where it begins as it should. */
static struct str kept_txt(struct making *m, struct str name, struct str prefix)
{
    const struct look_answer *txt = look_ask(m->look, name, DNS_TXT);
    for (uint32_t i = 0; look_found(txt) && i < txt->record_count; i++) {
        if (txt->record[i].type == DNS_TXT && str_starts_nocase(txt->record[i].data, prefix)) {
            return txt->record[i].data;
        }
    }
    return STR("");
}

static void add_sts(struct making *m)
{
    struct str own = m->domain->name;
    struct str name = made(m, "_mta-sts.%.*s", STR_ARG(own));
    struct str kept = kept_txt(m, name, STR("v=STSv1"));
    struct buf policy;
    buf_init(&policy, 65536);
    buf_add_c(&policy, "version: STSv1\r\nmode: enforce\r\n");
    for (uint32_t i = 0; i < m->setup->record_count; i++) {
        const struct identity_record *record = &m->setup->record[i];
        if (record->type == DNS_MX && str_eq(record->name, own) && !record->is_kept) {
            buf_addf(&policy, "mx: %.*s\r\n", STR_ARG(record->data));
        }
    }
    buf_addf(&policy, "max_age: %d\r\n", (int)POLICY_AGE_S);
    m->setup->policy = made(m, "%.*s", STR_ARG(buf_str(&policy)));
    m->setup->policy_url = made(m, "https://mta-sts.%.*s/.well-known/mta-sts.txt", STR_ARG(own));
    buf_done(&policy);
    making_add(
            m, (struct identity_record){ .name = name,
                       .type = DNS_TXT,
                       .purpose = STR("MTA-STS"),
                       .data = kept.len > 0 ? kept : made(m, "v=STSv1; id=%.*s", STR_ARG(stamp(m))),
                       .is_optional = kept.len == 0 && !m->how->is_sts,
                       .note = STR("when the policy is served; a new id with each change of it") });
}

static void add_tlsrpt(struct making *m)
{
    struct str own = m->domain->name;
    struct str name = made(m, "_smtp._tls.%.*s", STR_ARG(own));
    struct str kept = kept_txt(m, name, STR("v=TLSRPTv1"));
    add_txt(m, name, kept.len > 0 ? kept : made(m, "v=TLSRPTv1; rua=mailto:tls@%.*s", STR_ARG(own)),
            "TLS-RPT");
}

/* DANE counts in signed zones only (RFC 7672 2.2). */
static bool is_signed(struct making *m, struct str host)
{
    struct str zone;
    if (!look_zone(m->look, host, &zone)) {
        return false;
    }
    const struct look_answer *keys = look_ask(m->look, zone, DNS_DNSKEY);
    return keys->is_secure || (look_found(keys) && look_found(look_ask(m->look, zone, DNS_DS)));
}

static void add_tlsa(struct making *m)
{
    const struct config *config = m->plan->config;
    struct str host = mail_host(m);
    struct tls_cert_facts *facts = arena_new(m->arena, sizeof *facts);
    for (uint32_t i = 0; facts != NULL && config != NULL && i < config->listen_count; i++) {
        const struct config_listen *listen = &config->listen[i];
        if (listen->tls == CONFIG_TLS_NONE || listen->cert_count == 0 || !is_signed(m, host) ||
                tls_cert_read(listen->cert_path[0].ptr, NULL, made(m, "%.*s", STR_ARG(host)).ptr,
                        facts, NULL) != OK ||
                !facts->is_name_good) {
            continue;
        }
        char hex[2 * SHA256_BYTES + 1];
        for (size_t b = 0; b < SHA256_BYTES; b++) {
            fmt(hex + 2 * b, 3, "%02x", (unsigned)facts->chain[0].key_sha256[b]);
        }
        making_add(m, (struct identity_record){ .name = made(m, "_25._tcp.%.*s", STR_ARG(host)),
                              .type = DNS_TLSA,
                              .data = made(m, "3 1 1 %s", hex),
                              .purpose = STR("TLSA"),
                              .note = STR("publish the next key's two TTLs before it is used") });
        return;
    }
}

/* Advice only, unless asked for: a record that leaves out who issues today breaks renewals. */
static void add_caa(struct making *m)
{
    const struct look_answer *there = look_ask(m->look, m->domain->name, DNS_CAA);
    bool is_asked = m->how->caa.len > 0;
    if (look_found(there) && !is_asked) {
        return;
    }
    struct str issuer = is_asked ? m->how->caa : STR("letsencrypt.org");
    making_add(
            m, (struct identity_record){ .name = m->domain->name,
                       .type = DNS_CAA,
                       .data = made(m, "0 issue \"%.*s\"", STR_ARG(issuer)),
                       .purpose = STR("CAA"),
                       .is_optional = !is_asked,
                       .note = STR(
                               "when it names who issues your certificates: others cannot then") });
}

static void add_bimi(struct making *m)
{
    if (m->how->bimi.len > 0) {
        making_add(m, (struct identity_record){ .type = DNS_TXT,
                              .purpose = STR("BIMI"),
                              .name = made(m, "default._bimi.%.*s", STR_ARG(m->domain->name)),
                              .data = made(m, "v=BIMI1; l=%.*s", STR_ARG(m->how->bimi)),
                              .note = STR("counts once DMARC is at quarantine or reject") });
    }
}

/* ---- together ---- */

static enum err check_names(struct making *m)
{
    for (uint32_t i = 0; i < m->setup->record_count; i++) {
        struct str name = m->setup->record[i].name;
        if (!domain_is_dns_name(name)) {
            why_set(m->why, "%.180s%s is no name that DNS takes: %zu bytes, 253 at most", name.ptr,
                    name.len > 180 ? "..." : "", name.len);
            return E_SYNTAX;
        }
    }
    return OK;
}

static void add_ehlo_spfs(struct making *m)
{
    struct str bounce = domain_bounce(m->domain);
    for (uint32_t i = 0; i < m->plan->source_count; i++) {
        const struct identity_source *source = &m->plan->source[i];
        bool is_said = source->ip.family == IP_NONE || str_eq(source->ehlo, m->domain->name) ||
                       str_eq(source->ehlo, bounce);
        for (uint32_t k = 0; k < i && !is_said; k++) {
            is_said = str_eq_nocase(m->plan->source[k].ehlo, source->ehlo);
        }
        if (!is_said) {
            add_ehlo_spf(m, source->ehlo);
        }
    }
}

static enum err make_all(struct making *m)
{
    struct str name = m->domain->name, bounce = domain_bounce(m->domain);
    bool is_apart = !str_eq(name, bounce);
    /* What nothing can be done without comes first: a resolver that is silent is told at once. */
    struct str old;
    enum err err = read_spf(m, name, &old);
    if (err != OK) {
        return err;
    }
    m->setup->is_zone_found = look_zone(m->look, name, &m->setup->zone);
    err = add_sources(m);
    err = err != OK ? err : add_spf(m, name, /*has_services*/ true);
    err = err != OK || !is_apart ? err : add_spf(m, bounce, /*has_services*/ false);
    if (err != OK) {
        return err;
    }
    add_ehlo_spfs(m);
    for (uint32_t i = 0; i < m->domain->key_count; i++) {
        add_key(m, &m->domain->key[i]);
    }
    err = add_dmarc(m);
    add_mx(m, name, "MX");
    if (is_apart) {
        add_mx(m, bounce, "bounces");
    }
    add_sts(m);
    add_tlsrpt(m);
    add_tlsa(m);
    add_caa(m);
    add_bimi(m);
    err = err != OK ? err : check_names(m);
    return err != OK ? err : judge_bills(m);
}

static struct making *begin(const struct identity_setup_how *how, struct arena *arena,
        struct identity_setup *setup, struct why *why)
{
    struct making *m = arena_new(arena, sizeof *m);
    setup->record = arena_new(arena, IDENTITY_SETUP_RECORD_COUNT_MAX * sizeof *setup->record);
    if (m == NULL || setup->record == NULL) {
        return NULL;
    }
    m->how = how;
    m->plan = how->plan;
    m->domain = &how->plan->domain[0];
    m->arena = arena;
    m->setup = setup;
    m->why = why;
    buf_init(&m->notes, 65536);
    setup->domain = m->domain->name;
    return m;
}

enum err identity_setup_make(const struct identity_setup_how *how, struct arena *arena,
        struct identity_setup *ret_setup, struct why *why)
{
    struct identity_setup setup = { 0 };
    struct making *m = begin(how, arena, &setup, why);
    if (m == NULL) {
        return E_NOMEM;
    }
    enum err err = look_open(&how->outside, arena, &m->look, why);
    if (err == OK) {
        err = make_all(m);
        look_close(m->look);
    }
    if (err == OK && !setup.is_zone_found) {
        buf_addf(&m->notes,
                "%.*s is in no zone yet (no SOA record up to %.*s): make the zone where "
                "your DNS is hosted\n",
                STR_ARG(setup.domain), STR_ARG(setup.zone));
    }
    setup.notes = made(m, "%.*s", STR_ARG(buf_str(&m->notes)));
    buf_done(&m->notes);
    if (err == OK || err == E_TOO_BIG) {
        *ret_setup = setup;
    }
    return m->is_nomem ? E_NOMEM : err;
}
