/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_format.c - records for people, master files (RFC 1035 5.1), nsupdate and programs. What the
 * tools of DNS hosts take is in setup_format_tools.c.
 */
#include "core/str.h"
#include "identity/setup_priv.h"
#include "mail/domain.h"

#include <stdlib.h>

#include <jansson.h>

enum { TXT_STRING_BYTES_MAX = 255 /* RFC 1035 3.3.14 */ };

const char *identity_format_name(enum identity_format format)
{
    static const char *const names[IDENTITY_FORMAT_COUNT] = { "table", "zone", "json", "nsupdate",
        "terraform-route53", "terraform-cloudflare", "octodns", "dnscontrol" };
    return names[format];
}

struct str setup_type_name(enum dns_type type)
{
    switch (type) {
    case DNS_A:
        return STR("A");
    case DNS_NS:
        return STR("NS");
    case DNS_CNAME:
        return STR("CNAME");
    case DNS_SOA:
        return STR("SOA");
    case DNS_PTR:
        return STR("PTR");
    case DNS_MX:
        return STR("MX");
    case DNS_TXT:
        return STR("TXT");
    case DNS_AAAA:
        return STR("AAAA");
    case DNS_DS:
        return STR("DS");
    case DNS_DNSKEY:
        return STR("DNSKEY");
    case DNS_TLSA:
        return STR("TLSA");
    case DNS_CAA:
        return STR("CAA");
    }
    return STR("");
}

/* ---- master files ---- */

static void add_strings(struct str data, struct buf *text)
{
    do {
        struct str part = str_sub(data, 0, TXT_STRING_BYTES_MAX);
        data = str_from(data, part.len);
        buf_add_char(text, '"');
        for (size_t i = 0; i < part.len; i++) {
            char c = part.ptr[i];
            if (c == '"' || c == '\\') {
                buf_addf(text, "\\%c", c);
            } else if (c < ' ' || c == 0x7f) { /* also bytes above 127 */
                buf_addf(text, "\\%03u", (unsigned)(uint8_t)c);
            } else {
                buf_add_char(text, c);
            }
        }
        buf_add_c(text, data.len > 0 ? "\" " : "\"");
    } while (data.len > 0);
}

void setup_record_data(const struct identity_record *record, struct buf *ret_text)
{
    switch (record->type) {
    case DNS_TXT:
        add_strings(record->data, ret_text);
        return;
    case DNS_MX:
        buf_addf(ret_text, "%u %.*s.", (unsigned)record->preference, STR_ARG(record->data));
        return;
    case DNS_CNAME:
    case DNS_PTR:
    case DNS_NS:
        buf_addf(ret_text, "%.*s.", STR_ARG(record->data));
        return;
    case DNS_A:
    case DNS_AAAA:
    case DNS_SOA:
    case DNS_DS:
    case DNS_DNSKEY:
    case DNS_TLSA:
    case DNS_CAA:
        buf_add(ret_text, record->data);
        return;
    }
}

void setup_record_line(const struct identity_record *record, struct buf *ret_text)
{
    buf_addf(ret_text, "%.*s. %u IN %.*s ", STR_ARG(record->name), (unsigned)record->ttl_s,
            STR_ARG(setup_type_name(record->type)));
    setup_record_data(record, ret_text);
    buf_add_char(ret_text, '\n');
}

/* ---- zones: each with its records, the domain's own first ---- */

/* The zone behind last in the order they are to be shown; false: there is no more. */
static bool next_zone(const struct identity_setup *setup, uint32_t *at, struct str *ret_zone)
{
    if (*at == 0) {
        (*at)++;
        *ret_zone = setup->zone;
        return true;
    }
    for (; *at <= setup->record_count; (*at)++) {
        struct str zone = setup->record[*at - 1].zone;
        bool is_seen = str_eq(zone, setup->zone);
        for (uint32_t i = 0; i + 1 < *at && !is_seen; i++) {
            is_seen = str_eq(setup->record[i].zone, zone);
        }
        if (!is_seen) {
            (*at)++;
            *ret_zone = zone;
            return true;
        }
    }
    return false;
}

static bool is_of_zone(const struct identity_record *record, struct str zone)
{
    return str_eq(record->zone, zone);
}

static void add_comments(struct str lines, const char *mark, struct buf *text)
{
    struct str line;
    while (str_cut(&lines, '\n', &line)) {
        line = str_trim(line);
        buf_addf(text, "%s %.*s\n", mark, STR_ARG(line));
    }
}

/* Servers refuse a file with what is not of its zone: as far as DNS tells where that ends, the rest
 * are comments (--in prints them as a file of their own). */
static void print_zone(const struct identity_setup *setup, struct buf *text)
{
    struct str zone;
    uint32_t at = 0;
    while (next_zone(setup, &at, &zone)) {
        bool is_elsewhere = setup->is_zone_found && !str_eq(zone, setup->zone);
        buf_addf(text, "; zone %.*s%s\n", STR_ARG(zone), is_elsewhere ? ", not this file's" : "");
        for (uint32_t i = 0; i < setup->record_count; i++) {
            const struct identity_record *record = &setup->record[i];
            if (!is_of_zone(record, zone) || record->is_kept) {
                continue;
            }
            if (record->note.len > 0) {
                buf_addf(text, "; %.*s: %.*s\n", STR_ARG(record->purpose), STR_ARG(record->note));
            }
            buf_add_c(text, record->is_optional || is_elsewhere ? ";" : "");
            setup_record_line(record, text);
        }
    }
    if (setup->policy.len > 0) {
        buf_addf(text, "; %.*s is to say:\n", STR_ARG(setup->policy_url));
        add_comments(setup->policy, ";  ", text);
    }
    add_comments(setup->notes, ";", text);
}

/* ---- nsupdate (BIND's): whole sets of records are set, so that what was is gone ---- */

/* Is record i the first of its set? */
static bool begins_set(const struct identity_setup *setup, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        const struct identity_record *other = &setup->record[k];
        if (!other->is_optional && other->type == setup->record[i].type &&
                str_eq(other->name, setup->record[i].name)) {
            return false;
        }
    }
    return true;
}

static void print_set(const struct identity_setup *setup, uint32_t first, struct buf *text)
{
    const struct identity_record *head = &setup->record[first];
    buf_addf(text, "update delete %.*s. %.*s\n", STR_ARG(head->name),
            STR_ARG(setup_type_name(head->type)));
    for (uint32_t i = first; i < setup->record_count; i++) {
        const struct identity_record *record = &setup->record[i];
        if (record->is_optional || record->type != head->type ||
                !str_eq(record->name, head->name)) {
            continue;
        }
        buf_addf(text, "update add %.*s. %u %.*s ", STR_ARG(record->name), (unsigned)record->ttl_s,
                STR_ARG(setup_type_name(record->type)));
        setup_record_data(record, text);
        buf_add_char(text, '\n');
    }
}

static void print_nsupdate(const struct identity_setup *setup, struct buf *text)
{
    struct str zone;
    uint32_t at = 0;
    while (next_zone(setup, &at, &zone)) {
        size_t begin = text->len, head;
        buf_addf(text, "zone %.*s.\n", STR_ARG(zone));
        head = text->len;
        for (uint32_t i = 0; i < setup->record_count; i++) {
            const struct identity_record *record = &setup->record[i];
            if (is_of_zone(record, zone) && !record->is_optional && begins_set(setup, i)) {
                print_set(setup, i, text);
            }
        }
        if (text->len == head) {
            buf_cut(text, begin);
        } else {
            buf_add_c(text, "send\n");
        }
    }
}

/* ---- JSON ---- */

static json_t *str_json(struct str s)
{
    char safe[1024];
    json_t *json = json_stringn(s.ptr != NULL ? s.ptr : "", s.len);
    if (json == NULL) {
        s = str_escape(s, safe, sizeof safe);
        json = json_stringn(s.ptr, s.len);
    }
    return json;
}

static json_t *record_json(const struct identity_record *record)
{
    struct buf data;
    buf_init(&data, 1 << 20);
    setup_record_data(record, &data);
    json_t *json = json_pack("{s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:s, s:b}", "name",
            str_json(record->name), "type", str_json(setup_type_name(record->type)), "ttl",
            (int)record->ttl_s, "value", str_json(record->data), "data", str_json(buf_str(&data)),
            "zone", str_json(record->zone), "purpose", str_json(record->purpose), "note",
            str_json(record->note), "state", identity_record_state_name(record->state), "optional",
            record->is_optional);
    if (record->type == DNS_MX) {
        json_object_set_new(json, "preference", json_integer(record->preference));
    }
    if (record->type == DNS_TXT) {
        json_t *strings = json_array();
        struct str rest = record->data;
        do {
            struct str part = str_sub(rest, 0, TXT_STRING_BYTES_MAX);
            rest = str_from(rest, part.len);
            json_array_append_new(strings, str_json(part));
        } while (rest.len > 0);
        json_object_set_new(json, "strings", strings);
    }
    buf_done(&data);
    return json;
}

static json_t *bill_json(const struct identity_spf_bill *bill)
{
    json_t *costs = json_array();
    for (uint32_t i = 0; i < bill->cost_count; i++) {
        const struct identity_spf_cost *cost = &bill->cost[i];
        json_array_append_new(
                costs, json_pack("{s:o, s:o, s:i, s:i}", "domain", str_json(cost->name), "term",
                               str_json(cost->term), "depth", (int)cost->depth, "lookups",
                               (int)cost->lookup_count));
    }
    return json_pack("{s:o, s:o, s:o, s:i, s:i, s:o}", "domain", str_json(bill->name), "before",
            str_json(bill->before), "after", str_json(bill->after), "lookups_before",
            (int)bill->lookup_count_before, "lookups", (int)bill->lookup_count, "terms", costs);
}

static json_t *lines_json(struct str lines)
{
    json_t *array = json_array();
    struct str line;
    while (str_cut(&lines, '\n', &line)) {
        json_array_append_new(array, str_json(line));
    }
    return array;
}

static void print_json(const struct identity_setup *setup, struct buf *text)
{
    json_t *records = json_array(), *bills = json_array();
    for (uint32_t i = 0; i < setup->record_count; i++) {
        if (!setup->record[i].is_kept) {
            json_array_append_new(records, record_json(&setup->record[i]));
        }
    }
    for (uint32_t i = 0; i < setup->bill_count; i++) {
        json_array_append_new(bills, bill_json(&setup->bill[i]));
    }
    json_t *policy = json_pack(
            "{s:o, s:o}", "url", str_json(setup->policy_url), "text", str_json(setup->policy));
    json_t *root = json_pack("{s:o, s:o, s:b, s:o, s:o, s:o, s:o}", "domain",
            str_json(setup->domain), "zone", str_json(setup->zone), "zone_found",
            setup->is_zone_found, "records", records, "spf", bills, "mta_sts_policy", policy,
            "notes", lines_json(setup->notes));
    char *dump = json_dumps(root, JSON_INDENT(1) | JSON_ENSURE_ASCII);
    buf_add_c(text, dump != NULL ? dump : "{}");
    buf_add_char(text, '\n');
    free(dump); /* libc's own */
    json_decref(root);
}

/* ---- for people ---- */

static void print_bill(const struct identity_spf_bill *bill, struct buf *text)
{
    buf_addf(text, "SPF of %.*s: %u of 10 look-ups", STR_ARG(bill->name),
            (unsigned)bill->lookup_count);
    if (bill->before.len > 0) {
        buf_addf(text, " (%u before)", (unsigned)bill->lookup_count_before);
    }
    buf_add_char(text, '\n');
    for (uint32_t i = 0; i < bill->cost_count; i++) {
        const struct identity_spf_cost *cost = &bill->cost[i];
        buf_addf(text, "  %*s%.*s: %u\n", (int)(2 * cost->depth), "", STR_ARG(cost->term),
                (unsigned)cost->lookup_count);
    }
}

static void print_table(const struct identity_setup *setup, struct buf *text)
{
    struct str zone;
    uint32_t at = 0;
    while (next_zone(setup, &at, &zone)) {
        buf_addf(text, "In the zone %.*s:\n", STR_ARG(zone));
        for (uint32_t i = 0; i < setup->record_count; i++) {
            const struct identity_record *record = &setup->record[i];
            if (!is_of_zone(record, zone) || record->is_kept) {
                continue;
            }
            buf_addf(text, "\n%-8s %.*s%s%.*s\n",
                    record->is_optional ? "later" : identity_record_state_name(record->state),
                    STR_ARG(record->purpose), record->note.len > 0 ? ": " : "",
                    STR_ARG(record->note));
            buf_add_c(text, "  ");
            setup_record_line(record, text);
        }
        buf_add_char(text, '\n');
    }
    for (uint32_t i = 0; i < setup->bill_count; i++) {
        print_bill(&setup->bill[i], text);
    }
    if (setup->policy.len > 0) {
        buf_addf(text, "\n%.*s is to say (text/plain, over HTTPS, for MTA-STS):\n",
                STR_ARG(setup->policy_url));
        add_comments(setup->policy, " ", text);
    }
    if (setup->notes.len > 0) {
        buf_add_char(text, '\n');
        buf_add(text, setup->notes);
    }
}

void identity_setup_print(
        const struct identity_setup *setup, enum identity_format format, struct buf *ret_text)
{
    switch (format) {
    case IDENTITY_FORMAT_TABLE:
        print_table(setup, ret_text);
        return;
    case IDENTITY_FORMAT_ZONE:
        print_zone(setup, ret_text);
        return;
    case IDENTITY_FORMAT_JSON:
        print_json(setup, ret_text);
        return;
    case IDENTITY_FORMAT_NSUPDATE:
        print_nsupdate(setup, ret_text);
        return;
    case IDENTITY_FORMAT_ROUTE53:
    case IDENTITY_FORMAT_CLOUDFLARE:
    case IDENTITY_FORMAT_OCTODNS:
    case IDENTITY_FORMAT_DNSCONTROL:
        format_tools(setup, format, ret_text);
        return;
    case IDENTITY_FORMAT_COUNT:
        break;
    }
    ASSERT(format < IDENTITY_FORMAT_COUNT);
}
