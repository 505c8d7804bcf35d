/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_format_tools.c - records as Terraform (Route 53, Cloudflare), octoDNS and DNSControl take
 * them: each with its own quoting. All set records of one zone; those of others are comments.
 */
#include "core/str.h"
#include "identity/setup_priv.h"

#include <stdlib.h>

enum { TXT_STRING_BYTES_MAX = 255 };

/* Records of one name and type. */
struct set {
    const struct identity_setup *setup;
    uint32_t first;
};

static const struct identity_record *set_head(struct set set)
{
    return &set.setup->record[set.first];
}

static bool is_shown(const struct identity_setup *setup, const struct identity_record *record)
{
    return !record->is_optional && str_eq(record->zone, setup->zone);
}

static bool is_same_set(const struct identity_record *a, const struct identity_record *b)
{
    return a->type == b->type && str_eq(a->name, b->name);
}

/* The record of the set at or behind *at; NULL: no more. */
static const struct identity_record *set_next(struct set set, uint32_t *at)
{
    for (; *at < set.setup->record_count; (*at)++) {
        const struct identity_record *record = &set.setup->record[*at];
        if (is_shown(set.setup, record) && is_same_set(record, set_head(set))) {
            (*at)++;
            return record;
        }
    }
    return NULL;
}

static uint32_t set_count(struct set set)
{
    uint32_t count = 0, at = set.first;
    while (set_next(set, &at) != NULL) {
        count++;
    }
    return count;
}

static bool begins_set(const struct identity_setup *setup, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (is_shown(setup, &setup->record[k]) &&
                is_same_set(&setup->record[k], &setup->record[i])) {
            return false;
        }
    }
    return is_shown(setup, &setup->record[i]);
}

/* "s1._domainkey" in its zone; "" for the zone itself. */
static struct str relative(const struct identity_record *record)
{
    struct str name = record->name, zone = record->zone;
    return name.len <= zone.len ? STR("") : str_sub(name, 0, name.len - zone.len - 1);
}

/* Comment lines of what else there is to do. */
static void add_rest(const struct identity_setup *setup, const char *mark, struct buf *text)
{
    bool is_first = true;
    for (uint32_t i = 0; i < setup->record_count; i++) {
        const struct identity_record *record = &setup->record[i];
        if (is_shown(setup, record) || record->is_kept) {
            continue;
        }
        if (is_first) {
            buf_addf(text, "%s Not above, as it belongs in other zones or waits:\n", mark);
        }
        is_first = false;
        buf_addf(text, "%s   ", mark);
        setup_record_line(record, text);
    }
}

/* ---- Terraform: HCL strings ---- */

/* Between quotes: \" \\ and, so that nothing is taken for a template, $${ and %%{ (SPF macros are
 * "%{i}"). */
static void add_hcl(struct str s, struct buf *text)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool is_template = (c == '$' || c == '%') && i + 1 < s.len && s.ptr[i + 1] == '{';
        if (c == '"' || c == '\\') {
            buf_addf(text, "\\%c", c);
        } else if (is_template) {
            buf_addf(text, "%c%c", c, c);
        } else {
            buf_add_char(text, c);
        }
    }
}

/* A Terraform name: letters, digits, _ and -. */
static void add_label(const struct identity_record *record, uint32_t number, struct buf *text)
{
    struct str type = setup_type_name(record->type);
    for (size_t i = 0; i < type.len; i++) {
        buf_add_char(text, ascii_lower(type.ptr[i]));
    }
    buf_add_char(text, '_');
    for (size_t i = 0; i < record->name.len; i++) {
        char c = record->name.ptr[i];
        bool is_plain = ascii_is_alpha(c) || ascii_is_digit(c) || c == '-' || c == '_';
        buf_add_char(text, is_plain ? c : '_');
    }
    if (number > 0) {
        buf_addf(text, "_%u", (unsigned)number + 1);
    }
}

/* The strings of a TXT record: joint is what stands between two of them. */
static void add_txt(const struct identity_record *record, const char *joint, struct buf *text)
{
    struct str rest = record->data;
    while (rest.len > 0) {
        struct str part = str_sub(rest, 0, TXT_STRING_BYTES_MAX);
        rest = str_from(rest, part.len);
        for (size_t i = 0; i < part.len; i++) { /* as in a master file, within the quotes */
            char c = part.ptr[i];
            if (c == '"' || c == '\\') {
                buf_addf(text, "\\%c", c);
            } else if (c < ' ' || c == 0x7f) {
                buf_addf(text, "\\%03o", (unsigned)(uint8_t)c);
            } else {
                buf_add_char(text, c);
            }
        }
        buf_add_c(text, rest.len > 0 ? joint : "");
    }
}

/* Route 53 joins `"a""b"`; the provider adds the outer quotes of TXT by itself. */
static void route53_value(const struct identity_record *record, struct buf *text)
{
    struct buf value;
    buf_init(&value, 1 << 20);
    if (record->type == DNS_TXT) {
        add_txt(record, "\"\"", &value);
    } else {
        setup_record_data(record, &value);
    }
    buf_add_char(text, '"');
    add_hcl(buf_str(&value), text);
    buf_add_char(text, '"');
    buf_done(&value);
}

static void route53_set(struct set set, struct buf *text)
{
    const struct identity_record *head = set_head(set), *record;
    uint32_t at = set.first;
    const char *comma = "";
    buf_add_c(text, "resource \"aws_route53_record\" \"");
    add_label(head, 0, text);
    buf_addf(text, "\" {\n  zone_id = var.zone_id\n  name    = \"%.*s\"\n  type    = \"%.*s\"\n",
            STR_ARG(head->name), STR_ARG(setup_type_name(head->type)));
    buf_addf(text, "  ttl     = %u\n  records = [", (unsigned)head->ttl_s);
    while ((record = set_next(set, &at)) != NULL) {
        buf_add_c(text, comma);
        route53_value(record, text);
        comma = ", ";
    }
    buf_add_c(text, "]\n}\n\n");
}

/* "0 issue \"x\"": cut into its three parts. */
static void cloudflare_caa(struct str data, struct buf *text)
{
    struct str flags, tag, value = data;
    (void)str_cut(&value, ' ', &flags);
    (void)str_cut(&value, ' ', &tag);
    value = str_sub(value, 1, value.len - 2);
    buf_addf(text, "  data    = { flags = \"%.*s\", tag = \"%.*s\", value = \"", STR_ARG(flags),
            STR_ARG(tag));
    add_hcl(value, text);
    buf_add_c(text, "\" }\n");
}

static void cloudflare_tlsa(struct str data, struct buf *text)
{
    struct str usage, selector, matching, rest = data;
    (void)str_cut(&rest, ' ', &usage);
    (void)str_cut(&rest, ' ', &selector);
    (void)str_cut(&rest, ' ', &matching);
    buf_addf(text,
            "  data    = { usage = %.*s, selector = %.*s, matching_type = %.*s, certificate = "
            "\"%.*s\" }\n",
            STR_ARG(usage), STR_ARG(selector), STR_ARG(matching), STR_ARG(rest));
}

static void cloudflare_value(const struct identity_record *record, struct buf *text)
{
    struct buf value;
    if (record->type == DNS_CAA) {
        cloudflare_caa(record->data, text);
        return;
    }
    if (record->type == DNS_TLSA) {
        cloudflare_tlsa(record->data, text);
        return;
    }
    buf_init(&value, 1 << 20);
    if (record->type == DNS_TXT) {
        setup_record_data(record, &value); /* with its quotes */
    } else {
        buf_add(&value, record->data);
    }
    buf_add_c(text, "  content = \"");
    add_hcl(buf_str(&value), text);
    buf_add_c(text, "\"\n");
    if (record->type == DNS_MX) {
        buf_addf(text, "  priority = %u\n", (unsigned)record->preference);
    }
    buf_done(&value);
}

/* One resource a record: others of the same name stay. */
static void cloudflare_record(
        const struct identity_record *record, uint32_t number, struct buf *text)
{
    buf_add_c(text, "resource \"cloudflare_dns_record\" \"");
    add_label(record, number, text);
    buf_addf(text, "\" {\n  zone_id = var.zone_id\n  name    = \"%.*s\"\n  type    = \"%.*s\"\n",
            STR_ARG(record->name), STR_ARG(setup_type_name(record->type)));
    buf_addf(text, "  ttl     = %u\n", (unsigned)record->ttl_s);
    cloudflare_value(record, text);
    buf_add_c(text, "}\n\n");
}

static void print_terraform(
        const struct identity_setup *setup, enum identity_format format, struct buf *text)
{
    buf_add_c(text, "variable \"zone_id\" {\n  type = string\n}\n\n");
    for (uint32_t i = 0; i < setup->record_count; i++) {
        struct set set = { setup, i };
        if (!begins_set(setup, i)) {
            continue;
        }
        if (format == IDENTITY_FORMAT_ROUTE53) {
            route53_set(set, text);
            continue;
        }
        const struct identity_record *record;
        uint32_t at = i, number = 0;
        while ((record = set_next(set, &at)) != NULL) {
            if (!record->is_kept) {
                cloudflare_record(record, number++, text);
            }
        }
    }
    add_rest(setup, "#", text);
}

/* ---- octoDNS: YAML, names in natural order, which it insists on ---- */

/* Controls and what is not UTF-8 can stand in double quotes only. */
static void add_yaml_escaped(struct str s, struct buf *text)
{
    buf_add_char(text, '"');
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '"' || c == '\\') {
            buf_addf(text, "\\%c", c);
        } else if (c < ' ' || c == 0x7f) {
            buf_addf(text, "\\x%02x", (unsigned)(uint8_t)c);
        } else {
            buf_add_char(text, c);
        }
    }
    buf_add_char(text, '"');
}

static void add_yaml(struct str s, struct buf *text)
{
    bool is_plain = str_is_utf8(s);
    for (size_t i = 0; i < s.len && is_plain; i++) {
        is_plain = (uint8_t)s.ptr[i] >= ' ' && s.ptr[i] != 0x7f;
    }
    if (!is_plain) {
        add_yaml_escaped(s, text);
        return;
    }
    buf_add_char(text, '\'');
    for (size_t i = 0; i < s.len; i++) {
        buf_add_c(text, s.ptr[i] == '\'' ? "'" : "");
        buf_add_char(text, s.ptr[i]);
    }
    buf_add_char(text, '\'');
}

/* octoDNS takes ';' for the end of a value, where it is not escaped. */
static void octodns_txt(struct str data, struct buf *text)
{
    struct buf value;
    buf_init(&value, 1 << 20);
    for (size_t i = 0; i < data.len; i++) {
        buf_add_c(&value, data.ptr[i] == ';' ? "\\" : "");
        buf_add_char(&value, data.ptr[i]);
    }
    add_yaml(buf_str(&value), text);
    buf_done(&value);
}

/* A value that is a mapping of its own; keys in order. */
static void octodns_parts(const struct identity_record *record, struct buf *text)
{
    struct str a, b, c, rest = record->data;
    if (record->type == DNS_MX) {
        buf_addf(text, "exchange: %.*s.\n      preference: %u\n", STR_ARG(record->data),
                (unsigned)record->preference);
        return;
    }
    (void)str_cut(&rest, ' ', &a);
    (void)str_cut(&rest, ' ', &b);
    if (record->type == DNS_CAA) {
        buf_addf(text, "flags: %.*s\n      tag: %.*s\n      value: ", STR_ARG(a), STR_ARG(b));
        add_yaml(str_sub(rest, 1, rest.len - 2), text);
        buf_add_char(text, '\n');
        return;
    }
    (void)str_cut(&rest, ' ', &c);
    buf_addf(text,
            "certificate_association_data: %.*s\n      certificate_usage: %.*s\n      "
            "matching_type: %.*s\n      selector: %.*s\n",
            STR_ARG(rest), STR_ARG(a), STR_ARG(c), STR_ARG(b));
}

static void octodns_value(const struct identity_record *record, struct buf *text)
{
    if (record->type == DNS_TXT) {
        octodns_txt(record->data, text);
    } else if (record->type == DNS_A || record->type == DNS_AAAA) {
        add_yaml(record->data, text);
    } else {
        buf_addf(text, "%.*s.", STR_ARG(record->data));
    }
    buf_add_char(text, '\n');
}

/* lead: what the first line begins with, "  " or "- ". */
static void octodns_set(struct set set, const char *lead, struct buf *text)
{
    const struct identity_record *head = set_head(set), *record;
    uint32_t at = set.first;
    bool has_parts = head->type == DNS_MX || head->type == DNS_CAA || head->type == DNS_TLSA;
    buf_addf(text, "  %sttl: %u\n    type: %.*s\n", lead, (unsigned)head->ttl_s,
            STR_ARG(setup_type_name(head->type)));
    if (!has_parts && set_count(set) == 1) {
        buf_add_c(text, "    value: ");
        octodns_value(head, text);
        return;
    }
    buf_add_c(text, "    values:\n");
    while ((record = set_next(set, &at)) != NULL) {
        buf_add_c(text, "    - ");
        if (has_parts) {
            octodns_parts(record, text);
        } else {
            octodns_value(record, text);
        }
    }
}

/* Digits count as numbers: s9 stands before s10. */
static int compare_natural(struct str a, struct str b)
{
    while (a.len > 0 && b.len > 0) {
        size_t na = 0, nb = 0;
        while (na < a.len && ascii_is_digit(a.ptr[na])) {
            na++;
        }
        while (nb < b.len && ascii_is_digit(b.ptr[nb])) {
            nb++;
        }
        uint64_t va = 0, vb = 0;
        bool are_numbers = na > 0 && nb > 0 &&
                           str_to_u64(str_sub(a, 0, na), UINT64_MAX, &va) == OK &&
                           str_to_u64(str_sub(b, 0, nb), UINT64_MAX, &vb) == OK;
        if (are_numbers && va != vb) {
            return va < vb ? -1 : 1;
        }
        if (!are_numbers && a.ptr[0] != b.ptr[0]) {
            return (uint8_t)a.ptr[0] < (uint8_t)b.ptr[0] ? -1 : 1;
        }
        a = str_from(a, are_numbers ? na : 1);
        b = str_from(b, are_numbers ? nb : 1);
    }
    return a.len == b.len ? 0 : a.len < b.len ? -1 : 1;
}

static int compare_sets(const void *left, const void *right)
{
    const struct set *a = left, *b = right;
    int names = compare_natural(relative(set_head(*a)), relative(set_head(*b)));
    return names != 0 ? names
                      : str_cmp(setup_type_name(set_head(*a)->type),
                                setup_type_name(set_head(*b)->type));
}

static uint32_t sort_sets(const struct identity_setup *setup, struct set *set)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < setup->record_count; i++) {
        if (begins_set(setup, i)) {
            set[count++] = (struct set){ setup, i };
        }
    }
    qsort(set, count, sizeof *set, compare_sets);
    return count;
}

static void print_octodns(const struct identity_setup *setup, struct buf *text)
{
    struct set *set = mem_new((setup->record_count + 1) * sizeof *set);
    uint32_t count = set != NULL ? sort_sets(setup, set) : 0;
    buf_addf(text, "---\n# %.*s.yaml\n", STR_ARG(setup->zone));
    for (uint32_t i = 0; i < count;) {
        uint32_t end = i + 1;
        struct str name = relative(set_head(set[i]));
        while (end < count && str_eq(relative(set_head(set[end])), name)) {
            end++;
        }
        add_yaml(name, text);
        buf_add_c(text, ":\n");
        for (; i < end; i++) {
            bool is_one = end - i == 1 && (i == 0 || !str_eq(relative(set_head(set[i - 1])), name));
            octodns_set(set[i], is_one ? "  " : "- ", text);
        }
    }
    add_rest(setup, "#", text);
    mem_free(set);
}

/* ---- DNSControl: JavaScript ---- */

static void add_js(struct str s, struct buf *text)
{
    bool is_utf8 = str_is_utf8(s);
    buf_add_char(text, '"');
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool is_odd = (uint8_t)c >= 0x80 && !is_utf8;
        if (c == '"' || c == '\\') {
            buf_addf(text, "\\%c", c);
        } else if ((uint8_t)c < ' ' || c == 0x7f || is_odd) {
            buf_addf(text, "\\x%02x", (unsigned)(uint8_t)c);
        } else {
            buf_add_char(text, c);
        }
    }
    buf_add_char(text, '"');
}

static void dnscontrol_data(const struct identity_record *record, struct buf *text)
{
    struct str a, b, c, rest = record->data;
    switch (record->type) {
    case DNS_MX:
        buf_addf(text, "%u, \"%.*s.\"", (unsigned)record->preference, STR_ARG(record->data));
        return;
    case DNS_CAA:
        (void)str_cut(&rest, ' ', &a);
        (void)str_cut(&rest, ' ', &b);
        buf_addf(text, "\"%.*s\", ", STR_ARG(b));
        add_js(str_sub(rest, 1, rest.len - 2), text);
        return;
    case DNS_TLSA:
        (void)str_cut(&rest, ' ', &a);
        (void)str_cut(&rest, ' ', &b);
        (void)str_cut(&rest, ' ', &c);
        buf_addf(text, "%.*s, %.*s, %.*s, \"%.*s\"", STR_ARG(a), STR_ARG(b), STR_ARG(c),
                STR_ARG(rest));
        return;
    case DNS_CNAME:
    case DNS_PTR:
    case DNS_NS:
        buf_addf(text, "\"%.*s.\"", STR_ARG(record->data));
        return;
    case DNS_A:
    case DNS_AAAA:
    case DNS_TXT:
    case DNS_SOA:
    case DNS_DS:
    case DNS_DNSKEY:
        add_js(record->data, text);
        return;
    }
}

/* NO_PURGE: what is not named here stays. */
static void print_dnscontrol(const struct identity_setup *setup, struct buf *text)
{
    buf_add_c(text, "var REG = NewRegistrar(\"none\");\nvar DNS = NewDnsProvider(\"dns\");\n\n");
    buf_addf(text, "D(\"%.*s\", REG, DnsProvider(DNS), NO_PURGE", STR_ARG(setup->zone));
    for (uint32_t i = 0; i < setup->record_count; i++) {
        const struct identity_record *record = &setup->record[i];
        if (!is_shown(setup, record)) {
            continue;
        }
        struct str name = relative(record);
        buf_addf(text, ",\n  %.*s(", STR_ARG(setup_type_name(record->type)));
        add_js(name.len > 0 ? name : STR("@"), text);
        buf_add_c(text, ", ");
        dnscontrol_data(record, text);
        buf_addf(text, ", TTL(%u))", (unsigned)record->ttl_s);
    }
    buf_add_c(text, "\n);\n");
    add_rest(setup, "//", text);
}

void format_tools(const struct identity_setup *setup, enum identity_format format, struct buf *text)
{
    if (format == IDENTITY_FORMAT_OCTODNS) {
        print_octodns(setup, text);
    } else if (format == IDENTITY_FORMAT_DNSCONTROL) {
        print_dnscontrol(setup, text);
    } else {
        print_terraform(setup, format, text);
    }
}
