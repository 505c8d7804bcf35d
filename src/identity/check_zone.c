/* SPDX-License-Identifier: Apache-2.0
 *
 * check_zone.c - the zone that a domain is in: its SOA, its name servers and whether they agree,
 * DNSSEC, CAA, and how long its records live.
 */
#include "core/crypto.h"
#include "core/str.h"
#include "identity/check_priv.h"
#include "mail/domain.h"

enum {
    NS_COUNT_MAX = 8,
    DNSKEY_SEP = 257, /* zone key that the parent points at (RFC 4034 2.1.1, RFC 3757) */
    TTL_S_LOW = 300,
    TTL_S_HIGH = 86400,
    TTL_S_MAX = 604800,
};

bool check_zone_of(struct checking *c, struct str name, const struct fact **ret_fact)
{
    for (;;) {
        const struct fact *soa = check_ask(c, name, DNS_SOA);
        if (soa == NULL) {
            return false;
        }
        *ret_fact = soa;
        struct str above = str_from(name, str_index(name, '.') + 1);
        bool is_end =
                above.len == 0 || domain_is_public_suffix(name) || domain_is_public_suffix(above);
        if (!fact_is_absent(soa) || is_end) {
            return true;
        }
        name = above;
    }
}

/* ---- SOA ---- */

void check_soa(struct checking *c)
{
    struct str names[] = { c->domain->name, check_bounce(c->domain) };
    size_t count = str_eq(names[0], names[1]) ? 1 : 2;
    for (size_t i = 0; i < count; i++) {
        const struct fact *soa;
        if (!check_zone_of(c, names[i], &soa)) {
            return;
        }
        if (fact_is_unknown(soa)) {
            check_unknown(c, "soa.exists", names[i], soa);
            continue;
        }
        bool is_found = fact_is_found(soa);
        struct identity_result *result =
                check_say(c, "soa.exists", names[i], is_found ? IDENTITY_PASS : IDENTITY_FAIL);
        struct str zone = soa->name, org = domain_organizational(names[i]);
        result->found = is_found ? check_text(c, "zone %.*s, %.*s", STR_ARG(zone),
                                           STR_ARG(check_records(c, soa)))
                                 : STR("no zone");
        result->expected = STR("an SOA record at the domain or above it");
        if (!is_found) {
            result->mend = check_plain(c,
                    "%.*s. IN SOA ns1.%.*s. hostmaster.%.*s. 1 3600 600 1209600 300\n",
                    STR_ARG(org), STR_ARG(org), STR_ARG(org));
            result->detail = STR("Yahoo refuses senders whose domain is in no zone");
        }
    }
}

/* ---- name servers ---- */

/* What one server says of the domain. */
struct server {
    struct str host;
    struct ip ip;
    const struct fact *soa, *mx, *txt;
};

/* The first address of a server's name. False: awaited. */
static bool server_address(struct checking *c, struct server *server, const struct fact **ret_fact)
{
    const struct fact *address = check_ask(c, server->host, DNS_A);
    if (address != NULL && fact_is_absent(address)) {
        address = check_ask(c, server->host, DNS_AAAA);
    }
    if (address == NULL) {
        return false;
    }
    *ret_fact = address;
    server->ip = fact_is_found(address) ? address->record[0].ip : (struct ip){ 0 };
    return true;
}

/* A number that is the same for equal sets of records, whatever their order. */
static uint64_t records_hash(const struct fact *fact)
{
    uint64_t sum = fact->record_count;
    for (uint32_t i = 0; i < fact->record_count; i++) {
        const struct dns_record *record = &fact->record[i];
        sum += str_hash(record->data, record->preference + 1U);
    }
    return sum;
}

static bool says_same(const struct fact *a, const struct fact *b)
{
    bool are_absent = fact_is_absent(a) && fact_is_absent(b);
    return are_absent ||
           (fact_is_found(a) && fact_is_found(b) && records_hash(a) == records_hash(b));
}

/* Asks all; false: awaited. A server that cannot be asked says so in its result. */
static bool ask_servers(struct checking *c, struct str zone, const struct fact *ns,
        struct server *server, uint32_t *ret_count)
{
    uint32_t count = 0, listed = ns->record_count < NS_COUNT_MAX ? ns->record_count : NS_COUNT_MAX;
    bool is_awaited = false;
    for (uint32_t i = 0; i < listed; i++) {
        check_expect(c, ns->record[i].data, DNS_A);
    }
    for (uint32_t i = 0; i < listed; i++) {
        struct server *one = &server[count];
        const struct fact *address;
        *one = (struct server){ .host = ns->record[i].data };
        if (!server_address(c, one, &address)) {
            is_awaited = true;
            continue;
        }
        if (one->ip.family == IP_NONE) {
            check_unknown(c, "ns.agree", check_text(c, "%.*s", STR_ARG(one->host)), address);
            continue;
        }
        one->soa = check_ask_at(c, one->ip, zone, DNS_SOA);
        one->mx = check_ask_at(c, one->ip, c->domain->name, DNS_MX);
        one->txt = check_ask_at(c, one->ip, c->domain->name, DNS_TXT);
        is_awaited = is_awaited || one->soa == NULL || one->mx == NULL || one->txt == NULL;
        count++;
    }
    *ret_count = count;
    return !is_awaited;
}

static const struct fact *unknown_of(const struct server *server)
{
    return fact_is_unknown(server->soa)   ? server->soa
           : fact_is_unknown(server->mx)  ? server->mx
           : fact_is_unknown(server->txt) ? server->txt
                                          : NULL;
}

static void say_server(struct checking *c, struct str zone, const struct server *server,
        const struct server *newest)
{
    struct str part = check_text(c, "%.*s", STR_ARG(server->host));
    const struct fact *unknown = unknown_of(server);
    if (unknown != NULL) {
        check_unknown(c, "ns.agree", part, unknown);
        return;
    }
    if (!fact_is_found(server->soa)) {
        struct identity_result *result = check_say(c, "ns.agree", part, IDENTITY_FAIL);
        result->found = STR("the server does not have the zone");
        result->expected = check_plain(c, "zone %.*s", STR_ARG(zone));
        result->mend = check_plain(c, "nsd-control addzone %.*s PATTERN\n", STR_ARG(zone));
        return;
    }
    bool is_same = says_same(server->mx, newest->mx) && says_same(server->txt, newest->txt);
    bool is_old = server->soa->record[0].serial != newest->soa->record[0].serial;
    struct identity_result *result = check_say(c, "ns.agree", part,
            !is_same ? IDENTITY_FAIL
            : is_old ? IDENTITY_WARN
                     : IDENTITY_PASS);
    result->found = check_plain(c, "serial %u%s", (unsigned)server->soa->record[0].serial,
            is_same ? "" : ", other MX or TXT records");
    result->expected = check_plain(c, "serial %u, as %.*s", (unsigned)newest->soa->record[0].serial,
            STR_ARG(newest->host));
    if (!is_same || is_old) {
        result->mend = check_plain(c, "nsd-control force_transfer %.*s\n", STR_ARG(zone));
        result->detail = STR("to be done on the server that is behind; for a while after a change "
                             "this is normal");
    }
}

/* The server with the newest serial (RFC 1982) among those that answered; NULL: none. */
static const struct server *newest_of(const struct server *server, uint32_t count)
{
    const struct server *newest = NULL;
    for (uint32_t i = 0; i < count; i++) {
        if (unknown_of(&server[i]) == NULL && fact_is_found(server[i].soa)) {
            uint32_t serial = server[i].soa->record[0].serial;
            bool is_newer = newest == NULL || (int32_t)(serial - newest->soa->record[0].serial) > 0;
            newest = is_newer ? &server[i] : newest;
        }
    }
    return newest;
}

static void say_resolver(struct checking *c, const struct server *newest)
{
    const struct fact *mx = check_ask(c, c->domain->name, DNS_MX);
    const struct fact *txt = check_ask(c, c->domain->name, DNS_TXT);
    if (mx == NULL || txt == NULL) {
        return;
    }
    const struct fact *unknown = fact_is_unknown(mx) ? mx : fact_is_unknown(txt) ? txt : NULL;
    if (unknown != NULL) {
        check_unknown(c, "ns.resolver", STR(""), unknown);
        return;
    }
    bool is_same = says_same(mx, newest->mx) && says_same(txt, newest->txt);
    bool is_alias = (newest->mx->record_count > 0 && newest->mx->record[0].type == DNS_CNAME) ||
                    (newest->txt->record_count > 0 && newest->txt->record[0].type == DNS_CNAME);
    struct identity_result *result = check_say(
            c, "ns.resolver", STR(""), is_same || is_alias ? IDENTITY_PASS : IDENTITY_FAIL);
    bool is_mx = !says_same(mx, newest->mx);
    const struct fact *said = is_mx ? mx : txt, *want = is_mx ? newest->mx : newest->txt;
    result->found = is_same || is_alias ? STR("the same") : fact_words(c, said);
    result->expected = is_same || is_alias ? STR("the same") : fact_words(c, want);
    if (!is_same && !is_alias) {
        result->mend =
                check_plain(c, "unbound-control flush_zone %.*s\n", STR_ARG(c->domain->name));
        result->detail = check_plain(c,
                "the resolver has an old answer, for up to %u s, or changes "
                "answers",
                (unsigned)said->ttl_s);
    }
}

/* The servers there are, and ours until there are two. */
static struct str mend_ns(struct checking *c, struct str zone, const struct fact *ns)
{
    enum { NS_COUNT_ADVISED = 2 };
    uint32_t count = fact_is_found(ns) ? ns->record_count : 0;
    struct str have = count > 0 ? ns->record[0].data : STR(""), mend = STR("");
    if (count > 0) {
        mend = check_plain(c, "%.*s. IN NS %.*s.\n", STR_ARG(zone), STR_ARG(have));
    }
    for (uint32_t i = 1; count < NS_COUNT_ADVISED; i++) {
        struct str name = check_plain(c, "ns%u.%.*s", (unsigned)i, STR_ARG(zone));
        if (!str_eq_nocase(name, have)) {
            mend = check_plain(
                    c, "%.*s%.*s. IN NS %.*s.\n", STR_ARG(mend), STR_ARG(zone), STR_ARG(name));
            count++;
        }
    }
    return mend;
}

static void say_ns_count(struct checking *c, struct str zone, const struct fact *ns)
{
    uint32_t count = fact_is_found(ns) ? ns->record_count : 0;
    struct identity_result *result = check_say(c, "ns.count", STR(""),
            count == 0   ? IDENTITY_FAIL
            : count == 1 ? IDENTITY_WARN
                         : IDENTITY_PASS);
    result->found = count > 0 ? check_records(c, ns) : STR("no NS record");
    result->expected = STR("two or more, in different networks (RFC 2182)");
    if (count < 2) {
        result->mend = mend_ns(c, zone, ns);
    }
}

void check_ns(struct checking *c)
{
    const struct fact *soa;
    if (!check_zone_of(c, c->domain->name, &soa)) {
        return;
    }
    if (!fact_is_found(soa)) {
        if (fact_is_unknown(soa)) {
            check_unknown(c, "ns.count", STR(""), soa);
        } else {
            check_skip(c, "ns.count", STR(""), "there is no zone");
        }
        return;
    }
    struct str zone = soa->name;
    const struct fact *ns = check_ask(c, zone, DNS_NS);
    if (ns == NULL) {
        return;
    }
    if (fact_is_unknown(ns)) {
        check_unknown(c, "ns.count", STR(""), ns);
        return;
    }
    say_ns_count(c, zone, ns);
    if (c->options->direct == NULL || !fact_is_found(ns)) {
        check_skip(c, "ns.agree", STR(""), c->options->offline_why);
        return;
    }
    struct server server[NS_COUNT_MAX];
    uint32_t count;
    if (!ask_servers(c, zone, ns, server, &count)) {
        return;
    }
    const struct server *newest = newest_of(server, count);
    for (uint32_t i = 0; i < count; i++) {
        say_server(c, zone, &server[i], newest);
    }
    if (newest != NULL) {
        say_resolver(c, newest);
    }
}

/* ---- DNSSEC ---- */

/* RFC 4034 appendix B */
static uint16_t key_tag(struct str rdata)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < rdata.len; i++) {
        sum += (i & 1) != 0 ? (uint8_t)rdata.ptr[i] : (uint32_t)(uint8_t)rdata.ptr[i] << 8;
    }
    return (uint16_t)(sum + (sum >> 16));
}

/* What the parent must say: SHA-256 over owner and key (RFC 4034 5.1.4, RFC 4509). */
static struct str mend_ds(struct checking *c, struct str zone, const struct fact *keys)
{
    for (uint32_t i = 0; i < keys->record_count; i++) {
        struct str rdata = keys->record[i].data, rest = zone, label;
        struct buf wire;
        uint8_t hash[SHA256_BYTES];
        char hex[2 * SHA256_BYTES + 1];
        if (((uint8_t)rdata.ptr[0] << 8 | (uint8_t)rdata.ptr[1]) != DNSKEY_SEP) {
            continue;
        }
        buf_init(&wire, 65536);
        while (str_cut(&rest, '.', &label)) {
            buf_add_char(&wire, (char)label.len);
            buf_add(&wire, label);
        }
        buf_add_char(&wire, '\0');
        buf_add(&wire, rdata);
        sha256(buf_str(&wire), hash);
        buf_done(&wire);
        for (size_t k = 0; k < sizeof hash; k++) {
            fmt(hex + 2 * k, 3, "%02x", hash[k]);
        }
        return check_plain(c, "%.*s. IN DS %u %u 2 %s\n", STR_ARG(zone), (unsigned)key_tag(rdata),
                (unsigned)(uint8_t)rdata.ptr[3], hex);
    }
    return STR("");
}

static void say_dnssec(
        struct checking *c, struct str zone, const struct fact *keys, const struct fact *ds)
{
    bool has_keys = fact_is_found(keys), has_ds = fact_is_found(ds);
    if (!has_keys && !has_ds) {
        check_skip(c, "dnssec.state", STR(""),
                "not signed (optional; TLSA records need it): your DNS provider can turn it on");
        return;
    }
    struct identity_result *result = check_say(c, "dnssec.state", STR(""),
            !has_keys ? IDENTITY_FAIL
            : !has_ds ? IDENTITY_WARN
                      : IDENTITY_PASS);
    result->found = !has_keys ? STR("the parent says it is signed (DS), but it has no key")
                    : !has_ds ? STR("signed, but the parent does not say so (no DS)")
                              : check_plain(c, "signed%s", keys->is_secure ? ", validated" : "");
    result->expected = STR("signed, and the parent says so");
    result->mend = has_keys && !has_ds ? mend_ds(c, zone, keys)
                   : !has_keys         ? check_plain(c,
                                                 "take the DS record of %.*s away at its parent, or "
                                                         "sign the zone again\n",
                                                 STR_ARG(zone))
                                       : STR("");
}

static void say_bogus(struct checking *c, const struct fact *fact)
{
    struct identity_result *result = check_say(c, "dnssec.state", STR(""), IDENTITY_FAIL);
    result->found = check_text(c, "broken: %.*s", STR_ARG(fact->why));
    result->expected = STR("signatures that validate");
    result->mend = check_plain(
            c, "ldns-verify-zone ZONEFILE  # then sign %.*s again\n", STR_ARG(fact->name));
    result->detail = STR("receivers that validate get no answers of this domain");
}

void check_dnssec(struct checking *c)
{
    const struct fact *soa;
    if (!check_zone_of(c, c->domain->name, &soa)) {
        return;
    }
    if (soa->status == DNS_BOGUS) {
        say_bogus(c, soa);
        return;
    }
    if (!fact_is_found(soa)) {
        if (fact_is_unknown(soa)) {
            check_unknown(c, "dnssec.state", STR(""), soa);
        } else {
            check_skip(c, "dnssec.state", STR(""), "there is no zone");
        }
        return;
    }
    check_expect(c, soa->name, DNS_DS);
    const struct fact *keys = check_ask(c, soa->name, DNS_DNSKEY);
    const struct fact *ds = check_ask(c, soa->name, DNS_DS);
    if (keys == NULL || ds == NULL) {
        return;
    }
    if (keys->status == DNS_BOGUS) {
        say_bogus(c, keys);
    } else if (fact_is_unknown(keys) || fact_is_unknown(ds)) {
        check_unknown(c, "dnssec.state", STR(""), fact_is_unknown(keys) ? keys : ds);
    } else {
        say_dnssec(c, soa->name, keys, ds);
    }
}

/* ---- CAA ---- */

static bool is_known_tag(struct str tag)
{
    static const struct str known[] = { STR_INIT("issue"), STR_INIT("issuewild"), STR_INIT("iodef"),
        STR_INIT("contactemail"), STR_INIT("contactphone"), STR_INIT("issuemail"),
        STR_INIT("issuevmc") };
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (str_eq_nocase(tag, known[i])) {
            return true;
        }
    }
    return false;
}

static void say_caa(struct checking *c, const struct fact *caa)
{
    enum { CRITICAL = 128 };
    struct buf text;
    bool is_blocked = false;
    buf_init(&text, 8192);
    for (uint32_t i = 0; i < caa->record_count; i++) {
        struct str raw = caa->record[i].data;
        struct str tag = str_sub(raw, 2, (uint8_t)raw.ptr[1]);
        struct str value = str_from(raw, 2 + tag.len);
        is_blocked = is_blocked || (((uint8_t)raw.ptr[0] & CRITICAL) != 0 && !is_known_tag(tag));
        buf_addf(&text, "%s%.*s \"%.*s\"", i > 0 ? ", " : "", STR_ARG(tag), STR_ARG(value));
    }
    struct identity_result *result =
            check_say(c, "caa.record", STR(""), is_blocked ? IDENTITY_FAIL : IDENTITY_PASS);
    result->found = check_text(c, "%.*s", STR_ARG(buf_str(&text)));
    result->expected = STR("tags that authorities know (RFC 8659)");
    if (is_blocked) {
        result->mend =
                check_plain(c, "%.*s. IN CAA 0 issue \"letsencrypt.org\"\n", STR_ARG(caa->name));
        result->detail = STR("in place of the records there are: a critical tag that nobody knows "
                             "forbids every certificate");
    }
    buf_done(&text);
}

void check_caa(struct checking *c)
{
    struct str name = c->domain->name;
    for (;;) {
        const struct fact *caa = check_ask(c, name, DNS_CAA);
        if (caa == NULL) {
            return;
        }
        if (fact_is_unknown(caa)) {
            check_unknown(c, "caa.record", STR(""), caa);
            return;
        }
        if (fact_is_found(caa)) {
            say_caa(c, caa);
            return;
        }
        name = str_from(name, str_index(name, '.') + 1);
        if (name.len == 0 || domain_is_public_suffix(name)) {
            break;
        }
    }
    check_skip(c, "caa.record", STR(""), "any authority may issue certificates (optional)");
}

/* ---- TTL ---- */

/* Where it comes from: a name server itself, or the master file; a cache would count down. */
static bool ask_origin(
        struct checking *c, struct str name, enum dns_type type, const struct fact **ret_fact)
{
    const struct fact *soa, *ns, *address;
    if (c->options->direct == NULL) {
        *ret_fact = check_ask(c, name, type);
        return *ret_fact != NULL;
    }
    if (!check_zone_of(c, c->domain->name, &soa)) {
        return false;
    }
    *ret_fact = soa;
    if (!fact_is_found(soa)) {
        return true;
    }
    ns = check_ask(c, soa->name, DNS_NS);
    *ret_fact = ns;
    if (ns == NULL || !fact_is_found(ns)) {
        return ns != NULL;
    }
    struct server server = { .host = ns->record[0].data };
    if (!server_address(c, &server, &address)) {
        return false;
    }
    *ret_fact = address;
    if (server.ip.family != IP_NONE) {
        *ret_fact = check_ask_at(c, server.ip, name, type);
    }
    return *ret_fact != NULL;
}

void check_ttl(struct checking *c)
{
    const struct fact *txt;
    if (!ask_origin(c, c->domain->name, DNS_TXT, &txt)) {
        return;
    }
    if (fact_is_unknown(txt)) {
        check_unknown(c, "ttl.range", STR(""), txt);
        return;
    }
    if (fact_is_absent(txt) || txt->type != DNS_TXT) {
        check_skip(c, "ttl.range", STR(""), "no TXT record to look at");
        return;
    }
    uint32_t ttl_s = txt->ttl_s;
    bool is_bad = ttl_s == 0 || ttl_s > TTL_S_MAX;
    bool is_odd = ttl_s < TTL_S_LOW || ttl_s > TTL_S_HIGH;
    struct identity_result *result = check_say(c, "ttl.range", STR(""),
            is_bad   ? IDENTITY_FAIL
            : is_odd ? IDENTITY_WARN
                     : IDENTITY_PASS);
    result->found = check_plain(c, "%u s", (unsigned)ttl_s);
    result->expected = check_plain(c, "%d to %d s", (int)TTL_S_LOW, (int)TTL_S_HIGH);
    if (is_bad || is_odd) {
        result->detail = ttl_s < TTL_S_LOW
                                 ? STR("asked for again with nearly every message: slow, and each "
                                       "time a chance to fail")
                                 : STR("a change takes this long to be seen everywhere");
        struct buf mend;
        buf_init(&mend, 65536);
        for (uint32_t i = 0; i < txt->record_count; i++) {
            struct str line = mend_txt(c, c->domain->name, txt->record[i].data);
            size_t at = str_find(line, STR(" IN "));
            buf_addf(&mend, "%.*s 3600%.*s", STR_ARG(str_sub(line, 0, at)),
                    STR_ARG(str_from(line, at)));
        }
        struct str text = arena_str(c->scratch, buf_str(&mend));
        buf_done(&mend);
        result->mend = text.ptr != NULL ? text : STR("");
    }
}
