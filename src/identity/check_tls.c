/* SPDX-License-Identifier: Apache-2.0
 *
 * check_tls.c - certificates of our listeners, and what TLSA records bind MX hosts to (RFC 6698,
 * 7672).
 */
#include "core/str.h"
#include "core/time.h"
#include "edge/net.h"
#include "edge/tls_cert.h"
#include "identity/check_priv.h"

enum { HOST_COUNT_MAX = 20, DAY_MS = 86400000, DAYS_WARN = 21, DAYS_FAIL = 7 };

/* ---- certificates ---- */

static void say_cert_name(struct checking *c, struct str part, const struct tls_cert_facts *facts)
{
    struct str host = c->plan->config->hostname;
    struct identity_result *result =
            check_say(c, "cert.name", part, facts->is_name_good ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = check_text(c, "%s", facts->names[0] != '\0' ? facts->names : "no name");
    result->expected = check_plain(c, "%.*s", STR_ARG(host));
    if (!facts->is_name_good) {
        result->mend = check_plain(c, "certbot certonly -d %.*s\n", STR_ARG(host));
    }
}

static void say_cert_age(struct checking *c, struct str part, const struct tls_cert_facts *facts)
{
    char text[TIME_TEXT_CAP];
    bool is_early = facts->begins.ms > c->now.ms, is_late = facts->ends.ms <= c->now.ms;
    int64_t days = (facts->ends.ms - c->now.ms) / DAY_MS;
    bool is_near = !is_late && days < DAYS_WARN, is_last = !is_late && days < DAYS_FAIL;
    struct identity_result *result = check_say(c, "cert.age", part,
            is_early || is_late || is_last ? IDENTITY_FAIL
            : is_near                      ? IDENTITY_WARN
                                           : IDENTITY_PASS);
    time_day(is_early ? facts->begins : facts->ends, text);
    result->found = is_early  ? check_plain(c, "not before %s", text)
                    : is_late ? check_plain(c, "expired on %s", text)
                              : check_plain(c, "until %s, %lld days", text, (long long)days);
    result->expected = check_plain(c, "%d days or more", (int)DAYS_WARN);
    if (result->status != IDENTITY_PASS) {
        result->mend = check_plain(
                c, "certbot renew --cert-name %.*s\n", STR_ARG(c->plan->config->hostname));
    }
}

/* Mail servers do not ask for trust; who logs in to submit does, and would not (RFC 8314 4). */
static void say_cert_chain(
        struct checking *c, const struct config_listen *listen, const struct tls_cert_facts *facts)
{
    bool has_logins = listen->auth != CONFIG_AUTH_NONE;
    struct identity_result *result = check_say(c, "cert.chain", listen->name,
            facts->is_trusted ? IDENTITY_PASS
            : has_logins      ? IDENTITY_FAIL
                              : IDENTITY_WARN);
    struct str host = c->plan->config->hostname;
    result->found = facts->is_trusted ? check_plain(c, "%u certificates", facts->chain_count)
                                      : check_text(c, "%s", facts->trust_why);
    result->expected = STR("a chain to a public authority, or to one of ca-file");
    if (!facts->is_trusted) {
        result->mend = check_plain(c, "certbot certonly -d %.*s\n", STR_ARG(host));
        result->detail =
                has_logins ? STR("applications that log in here refuse it; the file must hold the "
                                 "intermediate certificates too")
                           : STR("other mail servers do not ask for trust, applications that "
                                 "submit do; the file must hold the intermediate certificates too");
    }
}

static bool read_cert(
        struct checking *c, struct str path, struct tls_cert_facts *ret_facts, struct why *why)
{
    const struct config *config = c->plan->config;
    const char *ca = config->ca_file.len > 0 ? config->ca_file.ptr : NULL;
    struct str host = check_plain(c, "%.*s", STR_ARG(config->hostname));
    return tls_cert_read(path.ptr, ca, host.ptr, ret_facts, why) == OK;
}

/* ---- the listener that runs ---- */

static bool is_any_address(struct ip ip)
{
    static const struct ip none = { 0 };
    return memcmp(ip.byte, none.byte, sizeof ip.byte) == 0;
}

/* Where it can be asked from here; false: nowhere. */
static bool listener_at(const struct config_listen *listen, struct ip_port *ret_at)
{
    for (uint32_t i = 0; i < listen->address_count; i++) {
        struct ip_port at = listen->address[i];
        if (is_any_address(at.ip)) {
            at.ip = at.ip.family == IP_V4 ? (struct ip){ IP_V4, { 127, 0, 0, 1 } }
                                          : (struct ip){ IP_V6, { [15] = 1 } };
        }
        if (at.port != 0 && net_is_local_address(at.ip)) {
            *ret_at = at;
            return true;
        }
    }
    return false;
}

/* Which certificate is shown is the listener's choice by name: any of its files is right. */
static bool is_of_files(
        struct checking *c, const struct config_listen *listen, struct str shown_sha256)
{
    for (uint32_t i = 0; i < listen->cert_count; i++) {
        struct tls_cert_facts facts;
        struct str own = str_of((const char *)facts.chain[0].cert_sha256, SMTP_CERT_BYTES);
        if (read_cert(c, listen->cert_path[i], &facts, NULL) && str_eq(own, shown_sha256)) {
            return true;
        }
    }
    return false;
}

static void say_running(struct checking *c, const struct config_listen *listen, struct ip_port at,
        const struct fact *shown)
{
    char text[IP_TEXT_CAP];
    struct str where = ip_port_format(at, text);
    if (shown->err == E_REFUSED) {
        check_skip(c, "cert.running", listen->name, "")->detail =
                check_plain(c, "nothing listens at %.*s now: is the node running?", STR_ARG(where));
        return;
    }
    if (fact_is_unknown(shown)) {
        check_unknown(c, "cert.running", listen->name, shown);
        return;
    }
    bool is_same = is_of_files(c, listen, shown->body);
    struct identity_result *result =
            check_say(c, "cert.running", listen->name, is_same ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = check_plain(c, "%.*s shows %s", STR_ARG(where),
            is_same ? "the certificate of the file" : "another certificate than the file has");
    result->expected = STR("the certificate of the file");
    if (!is_same) {
        result->mend = STR("systemctl reload outpost\n");
        result->detail = STR("the running listener still shows the old certificate");
    }
}

/* Only where we run beside the node. False: awaited. */
static bool ask_running(struct checking *c, const struct config_listen *listen)
{
    struct ip_port at;
    if (c->options->net == NULL) {
        check_skip(c, "cert.running", listen->name, c->options->offline_why);
        return true;
    }
    if (!listener_at(listen, &at)) {
        check_skip(c, "cert.running", listen->name,
                "none of its addresses is of this host: ask on the host of the node");
        return true;
    }
    enum smtp_want want =
            listen->tls == CONFIG_TLS_IMPLICIT ? SMTP_WANT_CERT_AT_ONCE : SMTP_WANT_CERT;
    const struct fact *shown = check_smtp(c, want, at, c->plan->config->hostname, STR(""));
    if (shown == NULL) {
        return false;
    }
    say_running(c, listen, at, shown);
    return true;
}

/* False: awaited. */
static bool check_listener(struct checking *c, const struct config_listen *listen)
{
    static const char *const ids[] = { "cert.name", "cert.age", "cert.chain", "cert.running" };
    struct tls_cert_facts facts;
    struct why why = { 0 };
    if (read_cert(c, listen->cert_path[0], &facts, &why)) {
        say_cert_name(c, listen->name, &facts);
        say_cert_age(c, listen->name, &facts);
        say_cert_chain(c, listen, &facts);
        return ask_running(c, listen);
    }
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        struct identity_result *result = check_say(c, ids[i], listen->name, IDENTITY_ERROR);
        result->found = STR("could not tell");
        result->detail = check_text(c, "%s", why.text);
    }
    return true;
}

void check_cert(struct checking *c)
{
    const struct config *config = c->plan->config;
    for (uint32_t i = 0; config != NULL && i < config->listen_count; i++) {
        const struct config_listen *listen = &config->listen[i];
        if (listen->tls != CONFIG_TLS_NONE && listen->cert_count > 0 &&
                !check_listener(c, listen)) {
            return;
        }
    }
}

/* ---- TLSA ---- */

/* The digest that a record of these numbers holds; "" for the whole (matching type 0). */
static struct str digest_of(const struct tls_digests *digests, uint8_t selector, uint8_t matching)
{
    const uint8_t *at = selector == 1   ? matching == 1 ? digests->key_sha256 : digests->key_sha512
                        : matching == 1 ? digests->cert_sha256
                                        : digests->cert_sha512;
    return str_of((const char *)at, matching == 1 ? 32 : matching == 2 ? 64 : 0);
}

/* Can an SMTP client use it (RFC 7672 3.1: DANE-TA and DANE-EE only)? */
static bool is_usable(struct str tlsa)
{
    uint8_t usage = (uint8_t)tlsa.ptr[0], selector = (uint8_t)tlsa.ptr[1],
            matching = (uint8_t)tlsa.ptr[2];
    size_t want = matching == 1 ? 32 : matching == 2 ? 64 : 0;
    return (usage == 2 || usage == 3) && selector <= 1 && matching <= 2 &&
           (want == 0 || tlsa.len - 3 == want);
}

static bool matches(struct str tlsa, const struct tls_cert_facts *facts)
{
    for (uint32_t i = 0; i < facts->chain_count; i++) {
        bool is_tried = (uint8_t)tlsa.ptr[0] == 2 || i == 0;
        struct str want = digest_of(&facts->chain[i], (uint8_t)tlsa.ptr[1], (uint8_t)tlsa.ptr[2]);
        if (is_tried && want.len > 0 && str_eq(str_from(tlsa, 3), want)) {
            return true;
        }
    }
    return false;
}

/* The certificate that we show on port 25 as host. */
static bool own_cert(struct checking *c, struct str host, struct tls_cert_facts *ret_facts)
{
    const struct config *config = c->plan->config;
    if (config == NULL || !str_eq_nocase(host, config->hostname)) {
        return false;
    }
    for (uint32_t i = 0; i < config->listen_count; i++) {
        const struct config_listen *listen = &config->listen[i];
        for (uint32_t k = 0; k < listen->address_count && listen->cert_count > 0; k++) {
            if (listen->address[k].port == 25) {
                return read_cert(c, listen->cert_path[0], ret_facts, NULL);
            }
        }
    }
    return false;
}

static struct str mend_tlsa(struct checking *c, struct str name, const struct tls_cert_facts *facts)
{
    char hex[2 * 32 + 1];
    for (size_t i = 0; i < 32; i++) {
        fmt(hex + 2 * i, 3, "%02x", facts->chain[0].key_sha256[i]);
    }
    return check_plain(c, "%.*s. IN TLSA 3 1 1 %s\n", STR_ARG(name), hex);
}

static void say_tlsa(struct checking *c, struct str host, const struct fact *tlsa)
{
    struct tls_cert_facts facts;
    uint32_t usable_count = 0, match_count = 0;
    bool has_cert = own_cert(c, host, &facts);
    for (uint32_t i = 0; i < tlsa->record_count; i++) {
        bool is_good = is_usable(tlsa->record[i].data);
        usable_count += is_good;
        match_count += is_good && has_cert && matches(tlsa->record[i].data, &facts);
    }
    bool is_insecure = c->options->is_validating && !tlsa->is_secure;
    bool is_bad = usable_count == 0 || (has_cert && match_count == 0);
    struct str part = check_text(c, "%.*s", STR_ARG(host));
    struct identity_result *result = check_say(c, "tlsa.valid", part,
            is_bad                                             ? IDENTITY_FAIL
            : is_insecure || usable_count < tlsa->record_count ? IDENTITY_WARN
                                                               : IDENTITY_PASS);
    result->found = check_records(c, tlsa);
    result->expected = has_cert ? STR("the key of the certificate on port 25")
                                : STR("3 1 1 and a SHA-256 digest (RFC 7672 3.1)");
    result->detail = usable_count == 0 ? STR("no record that a mail server can use")
                     : is_bad      ? STR("none is of the certificate in use: senders that check "
                                              "cannot deliver")
                     : is_insecure ? STR("not signed by DNSSEC: ignored")
                                   : STR("");
    if (is_bad && has_cert) {
        result->mend = mend_tlsa(c, tlsa->name, &facts);
    } else if (is_bad) {
        result->mend = check_plain(c,
                "openssl x509 -in CERT -noout -pubkey | openssl pkey -pubin "
                "-outform DER | sha256sum  # then: %.*s. IN TLSA 3 1 1 SUM\n",
                STR_ARG(tlsa->name));
    }
}

void check_tlsa(struct checking *c)
{
    const struct fact *mx = check_ask(c, c->domain->name, DNS_MX);
    if (mx == NULL) {
        return;
    }
    uint32_t count = !fact_is_found(mx)                  ? 0
                     : mx->record_count < HOST_COUNT_MAX ? mx->record_count
                                                         : HOST_COUNT_MAX;
    for (uint32_t i = 0; i < count; i++) {
        check_expect(c, check_plain(c, "_25._tcp.%.*s", STR_ARG(mx->record[i].data)), DNS_TLSA);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct str host = mx->record[i].data;
        if (host.len == 0) {
            continue;
        }
        const struct fact *tlsa =
                check_ask(c, check_plain(c, "_25._tcp.%.*s", STR_ARG(host)), DNS_TLSA);
        if (tlsa == NULL) {
            return;
        }
        if (fact_is_unknown(tlsa)) {
            check_unknown(c, "tlsa.valid", check_text(c, "%.*s", STR_ARG(host)), tlsa);
        } else if (fact_is_found(tlsa)) {
            say_tlsa(c, host, tlsa);
        }
    }
    if (c->result_count == 0) {
        check_skip(c, "tlsa.valid", STR(""), "no TLSA records (optional; they need DNSSEC)");
    }
}
