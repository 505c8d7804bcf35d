/* SPDX-License-Identifier: Apache-2.0
 *
 * check_say.c - results in words, and the records that mend: what peers wrote is escaped here.
 */
#include "core/str.h"
#include "identity/check_priv.h"

#include <stdarg.h>
#include <stdio.h>

enum { TXT_STRING_BYTES_MAX = 255, RECORD_SHOWN_COUNT_MAX = 10 };

/* ---- titles ---- */

static const struct {
    const char *id;
    struct str title;
} titles[] = {
    { "ptr.exists", STR_INIT("the address has a name (PTR record)") },
    { "ptr.single", STR_INIT("it has one name only") },
    { "ptr.generic", STR_INIT("the name is one of a mail server, not of a dial-up line") },
    { "ptr.forward", STR_INIT("the name leads back to the address") },
    { "ehlo.resolves", STR_INIT("the EHLO name leads to the address") },
    { "ehlo.ptr", STR_INIT("the EHLO name is the name of the address") },
    { "spf.record", STR_INIT("there is one valid SPF record") },
    { "spf.limits", STR_INIT("SPF stays within its limits") },
    { "spf.all", STR_INIT("the SPF record ends in -all or ~all") },
    { "spf.pass", STR_INIT("SPF passes for this source") },
    { "spf.helo", STR_INIT("SPF passes for the EHLO name") },
    { "dkim.keys", STR_INIT("a key signs for the domain") },
    { "dkim.record", STR_INIT("the DKIM record holds the key in use") },
    { "dkim.length", STR_INIT("the DKIM key is long enough") },
    { "dkim.flags", STR_INIT("the DKIM record lets the key sign mail") },
    { "dkim.selector", STR_INIT("a DKIM key under a common selector") },
    { "dmarc.record", STR_INIT("there is one valid DMARC record") },
    { "dmarc.policy", STR_INIT("the DMARC policy protects the domain") },
    { "dmarc.subdomains", STR_INIT("the DMARC policy protects names below") },
    { "dmarc.reports", STR_INIT("DMARC reports can be delivered") },
    { "dmarc.align_spf", STR_INIT("SPF counts for DMARC (aligned)") },
    { "dmarc.align_dkim", STR_INIT("DKIM counts for DMARC (aligned)") },
    { "mx.exists", STR_INIT("the domain receives mail") },
    { "mx.hosts", STR_INIT("its mail servers have addresses") },
    { "mx.roles", STR_INIT("postmaster@ and abuse@ can be written to") },
    { "bounce.mx", STR_INIT("the MAIL FROM domain receives bounces") },
    { "sts.record", STR_INIT("MTA-STS is announced") },
    { "sts.policy", STR_INIT("the MTA-STS policy is valid") },
    { "sts.mx", STR_INIT("the MTA-STS policy covers the mail servers") },
    { "tlsrpt.record", STR_INIT("TLS reports are asked for") },
    { "tlsa.valid", STR_INIT("TLSA records are usable") },
    { "cert.name", STR_INIT("the listener's certificate is for our name") },
    { "cert.age", STR_INIT("the listener's certificate is in force") },
    { "cert.chain", STR_INIT("the listener's certificate is trusted") },
    { "cert.running", STR_INIT("the running listener shows the certificate of the file") },
    { "soa.exists", STR_INIT("the domain is in a zone (SOA record)") },
    { "ns.count", STR_INIT("the zone has two or more name servers") },
    { "ns.agree", STR_INIT("the name servers agree with each other") },
    { "ns.resolver", STR_INIT("the resolver says what the name servers say") },
    { "dnssec.state", STR_INIT("the zone is signed") },
    { "caa.record", STR_INIT("who may issue certificates is said (CAA)") },
    { "ttl.range", STR_INIT("records live neither too briefly nor too long") },
    { "bimi.record", STR_INIT("a logo is published (BIMI)") },
    { "bimi.logo", STR_INIT("the logo can be fetched") },
    { "service.spf", STR_INIT("the service is in the SPF record") },
    { "service.dkim", STR_INIT("the service's DKIM key is published") },
    { "list.listed", STR_INIT("not on the blocklist") },
    { "list.allowed", STR_INIT("on the allow list") },
    { "run.memory", STR_INIT("there was memory for all results") },
    { "run.sources", STR_INIT("there are addresses to check") },
};

struct str check_title(const char *id)
{
    for (size_t i = 0; i < COUNT_OF(titles); i++) {
        if (strcmp(titles[i].id, id) == 0) {
            return titles[i].title;
        }
    }
    assert_failed("every id has a title", __FILE__, __LINE__);
}

/* ---- results ---- */

struct identity_result *check_say(
        struct checking *c, const char *id, struct str part, enum identity_status status)
{
    bool is_full = c->result_count == CHECK_RESULT_COUNT_MAX; /* the last is written over */
    struct identity_result *result = &c->result[is_full ? c->result_count - 1 : c->result_count];
    c->result_count += !is_full;
    *result = (struct identity_result){ .id = str_from_c(id),
        .domain = c->domain != NULL ? c->domain->name : STR(""),
        .source = c->source != NULL ? c->source->name : STR(""),
        .part = part,
        .status = status,
        .title = check_title(id),
        .found = STR(""),
        .expected = STR(""),
        .mend = STR(""),
        .detail = STR(""),
        .before = STR("") };
    return result;
}

struct identity_result *check_unknown(
        struct checking *c, const char *id, struct str part, const struct fact *fact)
{
    struct identity_result *result = check_say(c, id, part, IDENTITY_ERROR);
    result->found = check_text(c, "could not tell");
    result->detail = fact_words(c, fact);
    return result;
}

struct identity_result *check_skip(
        struct checking *c, const char *id, struct str part, const char *why)
{
    struct identity_result *result = check_say(c, id, part, IDENTITY_SKIP);
    result->detail = check_text(c, "%s", why);
    return result;
}

/* ---- texts ---- */

__attribute__((format(printf, 3, 0))) static struct str vtext(
        struct checking *c, bool is_escaped, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (len < 0) {
        return STR("");
    }
    size_t room = (size_t)len + 1, escaped_room = 4 * (size_t)len + 1;
    char *text = arena_new(c->scratch, room + (is_escaped ? escaped_room : 0));
    if (text == NULL) {
        c->is_nomem = true;
        return STR("");
    }
    vsnprintf(text, room, format, args);
    struct str plain = str_of(text, (size_t)len);
    if (!is_escaped) {
        return plain;
    }
    size_t cap = escaped_room < CHECK_TEXT_BYTES_MAX ? escaped_room : CHECK_TEXT_BYTES_MAX;
    return str_escape(plain, text + room, cap);
}

struct str check_text(struct checking *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct str text = vtext(c, true, format, args);
    va_end(args);
    return text;
}

struct str check_plain(struct checking *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct str text = vtext(c, false, format, args);
    va_end(args);
    return text;
}

static void add_record(struct buf *text, const struct dns_record *record)
{
    char ip[IP_TEXT_CAP];
    switch (record->type) {
    case DNS_A:
    case DNS_AAAA:
        buf_add(text, ip_format(record->ip, ip));
        break;
    case DNS_MX:
        buf_addf(text, "%u %.*s", (unsigned)record->preference, STR_ARG(record->data));
        buf_add_c(text, record->data.len == 0 ? "." : "");
        break;
    case DNS_TXT:
        buf_addf(text, "\"%.*s\"", STR_ARG(record->data));
        break;
    case DNS_SOA:
        buf_addf(text, "%.*s serial %u", STR_ARG(record->data), (unsigned)record->serial);
        break;
    case DNS_NS:
    case DNS_CNAME:
    case DNS_PTR:
        buf_add(text, record->data.len > 0 ? record->data : STR("."));
        break;
    case DNS_DS:
    case DNS_DNSKEY:
    case DNS_TLSA:
    case DNS_CAA:
        for (size_t i = 0; i < record->data.len && i < 40; i++) {
            buf_addf(text, "%02x", (unsigned)(uint8_t)record->data.ptr[i]);
        }
        break;
    }
}

struct str check_records(struct checking *c, const struct fact *fact)
{
    struct buf text;
    buf_init(&text, CHECK_SCRATCH_BYTES_MAX / 8);
    for (uint32_t i = 0; i < fact->record_count; i++) {
        buf_add_c(&text, i > 0 ? ", " : "");
        if (i == RECORD_SHOWN_COUNT_MAX) {
            buf_addf(&text, "... %u in all", (unsigned)fact->record_count);
            break;
        }
        add_record(&text, &fact->record[i]);
    }
    struct str shown = check_text(c, "%.*s", STR_ARG(buf_str(&text)));
    buf_done(&text);
    return shown;
}

/* ---- records that mend ---- */

struct str mend_txt(struct checking *c, struct str name, struct str text)
{
    struct buf line;
    buf_init(&line, CHECK_SCRATCH_BYTES_MAX / 8);
    bool is_long = text.len > TXT_STRING_BYTES_MAX;
    buf_addf(&line, "%.*s. IN TXT %s", STR_ARG(name), is_long ? "( " : "");
    do {
        struct str part = str_sub(text, 0, TXT_STRING_BYTES_MAX);
        text = str_from(text, part.len);
        buf_add_char(&line, '"');
        for (size_t i = 0; i < part.len; i++) {
            char ch = part.ptr[i];
            if (ch == '"' || ch == '\\') {
                buf_addf(&line, "\\%c", ch);
            } else if (ch < ' ' || ch == 0x7f) { /* also bytes above 127 */
                buf_addf(&line, "\\%03u", (unsigned)(uint8_t)ch);
            } else {
                buf_add_char(&line, ch);
            }
        }
        buf_add_c(&line, text.len > 0 ? "\" " : "\"");
    } while (text.len > 0);
    buf_add_c(&line, is_long ? " )\n" : "\n");
    struct str mend = arena_str(c->scratch, buf_str(&line));
    buf_done(&line);
    return mend.ptr != NULL ? mend : STR("");
}

struct str mend_address(struct checking *c, struct str name, struct ip ip)
{
    char text[IP_TEXT_CAP];
    struct str address = ip_format(ip, text);
    return check_plain(c, "%.*s. IN %s %.*s\n", STR_ARG(name), ip.family == IP_V4 ? "A" : "AAAA",
            STR_ARG(address));
}

struct str reverse_name(struct checking *c, struct ip ip, struct str zone)
{
    char text[80];
    size_t len = 0;
    if (ip.family == IP_V4) {
        len = fmt(
                text, sizeof text, "%u.%u.%u.%u.", ip.byte[3], ip.byte[2], ip.byte[1], ip.byte[0]);
    } else {
        for (int i = 15; i >= 0; i--) {
            len += fmt(text + len, sizeof text - len, "%x.%x.", ip.byte[i] & 15U,
                    (unsigned)ip.byte[i] >> 4);
        }
    }
    struct str suffix = zone.len > 0         ? zone
                        : ip.family == IP_V4 ? STR("in-addr.arpa")
                                             : STR("ip6.arpa");
    return check_plain(c, "%.*s%.*s", (int)len, text, STR_ARG(suffix));
}

struct str mend_ptr(struct checking *c, struct ip ip, struct str name)
{
    struct str reverse = reverse_name(c, ip, STR(""));
    return check_plain(c, "%.*s. IN PTR %.*s.\n", STR_ARG(reverse), STR_ARG(name));
}

/* ---- shared readers ---- */

uint32_t fact_txt(const struct fact *fact, struct str prefix, struct str *ret_text)
{
    uint32_t count = 0;
    for (uint32_t i = 0; fact_is_found(fact) && i < fact->record_count; i++) {
        struct str text = fact->record[i].data;
        if (str_starts_nocase(text, prefix)) {
            *ret_text = count == 0 ? text : *ret_text;
            count++;
        }
    }
    return count;
}

bool tag_value(struct str record, struct str tag, struct str *ret_value)
{
    struct str part;
    while (str_cut(&record, ';', &part)) {
        size_t equals = str_index(part, '=');
        if (equals < part.len && str_eq_nocase(str_trim(str_sub(part, 0, equals)), tag)) {
            *ret_value = str_trim(str_from(part, equals + 1));
            return true;
        }
    }
    return false;
}
