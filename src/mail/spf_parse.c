/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_parse.c - the grammar of an SPF record (RFC 7208 4.6.1, 5, 6, 7.1, 12), whole: a fault
 * anywhere is found before anything is evaluated.
 */
#include "mail/spf.h"

#include "core/str.h"
#include "mail/spf_priv.h"

enum { TERM_SHOWN_BYTES_MAX = 120 /* of a faulty term in the words of the fault */ };

bool spf_is_record(struct str txt)
{
    struct str version = STR("v=spf1");
    return str_starts_nocase(txt, version) &&
           (txt.len == version.len || txt.ptr[version.len] == ' ');
}

/* ---- pieces ---- */

/* letter, digit, hyphen; not all digits; no hyphen at the ends (toplabel, RFC 7208 7.1) */
static bool is_toplabel(struct str s)
{
    bool has_other = false;
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_alpha(s.ptr[i]) && !ascii_is_digit(s.ptr[i]) && s.ptr[i] != '-') {
            return false;
        }
        has_other = has_other || !ascii_is_digit(s.ptr[i]);
    }
    return s.len > 0 && has_other && s.ptr[0] != '-' && s.ptr[s.len - 1] != '-';
}

static bool is_macro_string(struct str s)
{
    struct spf_macro macro;
    enum err err;
    while ((err = spf_macro_next(&s, &macro)) == OK) {
    }
    return err == E_EOF;
}

/* domain-spec = macro-string domain-end; what is wrong with it, or NULL. */
static const char *domain_fault(struct str spec)
{
    struct spf_macro macro = { 0 };
    struct str rest = spec;
    enum err err;
    if (spec.len == 0) {
        return "a domain must follow";
    }
    while ((err = spf_macro_next(&rest, &macro)) == OK) {
        if (macro.letter == 'c' || macro.letter == 'r' || macro.letter == 't') {
            return "%{c}, %{r} and %{t} are for explanations only"; /* RFC 7208 7.2 */
        }
    }
    if (err != E_EOF) {
        return "bad macro: after % comes %, _, - or a macro such as {d}";
    }
    if (macro.is_expand) {
        return NULL;
    }
    struct str end = macro.literal;
    if (end.ptr[end.len - 1] == '.') {
        end.len--;
    }
    size_t dot = str_rindex(end, '.');
    if (dot == end.len) {
        return "the domain needs a dot: a full name, or one that ends in a macro";
    }
    struct ip ip;
    if (is_toplabel(str_from(end, dot + 1))) {
        return NULL;
    }
    return ip_parse(end, &ip) == OK ? "an address is written ip4: or ip6:"
                                    : "the domain does not end in a top-level name";
}

/* "/" number without leading zero at the very end, cut off *s. False: no such thing there. */
static bool cut_prefix(struct str *s, struct str slashes, uint8_t *ret_bits)
{
    size_t at = s->len;
    uint64_t bits;
    while (at > 0 && ascii_is_digit(s->ptr[at - 1])) {
        at--;
    }
    struct str digits = str_from(*s, at);
    struct str head = str_sub(*s, 0, at);
    if (digits.len == 0 || digits.len > 3 || (digits.len > 1 && digits.ptr[0] == '0') ||
            !str_ends_nocase(head, slashes) || str_to_u64(digits, 255, &bits) != OK) {
        /* four digits or a leading zero: what is left is no domain and no length either */
        return false;
    }
    *s = str_sub(head, 0, head.len - slashes.len);
    *ret_bits = (uint8_t)bits;
    return true;
}

/* dual-cidr-length = [ "/" ip4 ] [ "//" ip6 ] */
static const char *cut_dual_prefix(struct str *s, struct spf_term *term)
{
    uint8_t bits = 128;
    (void)cut_prefix(s, STR("//"), &bits);
    term->prefix6 = bits;
    bits = 32;
    (void)cut_prefix(s, STR("/"), &bits);
    term->prefix4 = bits;
    return term->prefix4 > 32 || term->prefix6 > 128 ? "a prefix is at most /32, or //128 for IPv6"
                                                     : NULL;
}

/* ---- mechanisms ---- */

/* [ ":" domain-spec ] */
static const char *read_domain(struct str rest, bool is_required, struct spf_term *term)
{
    if (rest.len == 0 && !is_required) {
        return NULL;
    }
    if (rest.len == 0 || rest.ptr[0] != ':') {
        return is_required ? "needs \":\" and a domain" : "takes \":\" and a domain, if anything";
    }
    term->domain = str_from(rest, 1);
    return domain_fault(term->domain);
}

static const char *read_address(struct str rest, struct spf_term *term)
{
    const char *fault = cut_dual_prefix(&rest, term);
    return fault ? fault : read_domain(rest, false, term);
}

/* ip_parse makes IPv4 of mapped addresses; here they stay what is written, and match nobody
 * (RFC 7208 5: a mapped client is an IPv4 client). */
static struct ip as_v6(struct ip ip)
{
    struct ip v6 = { .family = IP_V6 };
    if (ip.family == IP_V6) {
        return ip;
    }
    v6.byte[10] = v6.byte[11] = 0xff;
    memcpy(v6.byte + 12, ip.byte, 4);
    return v6;
}

static const char *read_net(struct str rest, struct spf_term *term)
{
    bool is_v4 = term->kind == SPF_IP4;
    uint8_t bits = is_v4 ? 32 : 128;
    uint8_t bits_max = bits;
    (void)cut_prefix(&rest, STR("/"), &bits);
    struct str text = str_from(rest, 1);
    bool is_v6_text = str_index(text, ':') < text.len;
    struct ip ip;
    if (rest.len == 0 || rest.ptr[0] != ':' || str_index(text, '[') < text.len ||
            is_v4 == is_v6_text || ip_parse(text, &ip) != OK) {
        return is_v4 ? "needs \":\" and an IPv4 address, perhaps with /0 to /32"
                     : "needs \":\" and an IPv6 address, perhaps with /0 to /128";
    }
    if (bits > bits_max) {
        return is_v4 ? "a prefix is at most /32" : "a prefix is at most /128";
    }
    term->net = (struct ip_net){ ip_masked(is_v4 ? ip : as_v6(ip), bits), bits };
    return NULL;
}

static const struct mechanism {
    struct str name;
    enum spf_term_kind kind;
} mechanisms[] = {
    { STR_INIT("all"), SPF_ALL },
    { STR_INIT("include"), SPF_INCLUDE },
    { STR_INIT("a"), SPF_A },
    { STR_INIT("mx"), SPF_MX },
    { STR_INIT("ptr"), SPF_PTR },
    { STR_INIT("ip4"), SPF_IP4 },
    { STR_INIT("ip6"), SPF_IP6 },
    { STR_INIT("exists"), SPF_EXISTS },
};

static const char *read_arguments(struct str rest, struct spf_term *term)
{
    switch (term->kind) {
    case SPF_ALL:
        return rest.len > 0 ? "takes no argument" : NULL;
    case SPF_INCLUDE:
    case SPF_EXISTS:
        return read_domain(rest, true, term);
    case SPF_A:
    case SPF_MX:
        return read_address(rest, term);
    case SPF_PTR:
        return read_domain(rest, false, term);
    case SPF_IP4:
    case SPF_IP6:
        return read_net(rest, term);
    case SPF_REDIRECT:
    case SPF_EXP:
    case SPF_MODIFIER:
        break;
    }
    return "no mechanism";
}

static const char *read_mechanism(struct str text, struct spf_term *term)
{
    size_t at = 0;
    term->qualifier = '+';
    if (str_index(STR("+-~?"), text.ptr[0]) < 4) {
        term->qualifier = text.ptr[0];
        text = str_from(text, 1);
    }
    while (at < text.len && text.ptr[at] != ':' && text.ptr[at] != '/') {
        at++;
    }
    for (size_t i = 0; i < COUNT_OF(mechanisms); i++) {
        if (str_eq_nocase(mechanisms[i].name, str_sub(text, 0, at))) {
            term->kind = mechanisms[i].kind;
            return read_arguments(str_from(text, at), term);
        }
    }
    return "no such mechanism (all, include, a, mx, ptr, ip4, ip6, exists)";
}

/* ---- modifiers ---- */

/* Length of a name that "=" follows; 0: no modifier (RFC 7208 4.6.1). */
static size_t modifier_name_len(struct str text)
{
    size_t at = 0;
    while (at < text.len &&
            (ascii_is_alpha(text.ptr[at]) ||
                    (at > 0 && (ascii_is_digit(text.ptr[at]) || text.ptr[at] == '-' ||
                                       text.ptr[at] == '_' || text.ptr[at] == '.')))) {
        at++;
    }
    return at < text.len && text.ptr[at] == '=' ? at : 0;
}

static const char *read_modifier(struct str text, size_t name_len, struct spf_term *term)
{
    struct str name = str_sub(text, 0, name_len);
    term->domain = str_from(text, name_len + 1);
    term->kind = SPF_MODIFIER;
    if (str_eq_nocase(name, STR("redirect"))) {
        term->kind = SPF_REDIRECT;
    } else if (str_eq_nocase(name, STR("exp"))) {
        term->kind = SPF_EXP;
    } else {
        return is_macro_string(term->domain) ? NULL : "bad macro in an unknown modifier";
    }
    return domain_fault(term->domain);
}

/* ---- the record ---- */

static const char *read_term(struct str text, struct spf_term *term)
{
    *term = (struct spf_term){ .text = text };
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~') { /* also 8-bit, where char is signed */
            return "holds a character that is not printable ASCII (RFC 7208 3.1)";
        }
    }
    size_t name_len = modifier_name_len(text);
    return name_len > 0 ? read_modifier(text, name_len, term) : read_mechanism(text, term);
}

static bool term_asks(const struct spf_term *term)
{
    return term->kind == SPF_INCLUDE || term->kind == SPF_A || term->kind == SPF_MX ||
           term->kind == SPF_PTR || term->kind == SPF_EXISTS;
}

/* Once each (RFC 7208 6). */
static const char *note_term(struct spf_record *record, const struct spf_term *term)
{
    const char *fault = NULL;
    record->lookup_count += term_asks(term);
    if (term->kind == SPF_ALL && record->all == 0) {
        record->all = term->qualifier;
    } else if (term->kind == SPF_REDIRECT) {
        fault = record->redirect != NULL ? "is there twice" : NULL;
        record->redirect = term;
    } else if (term->kind == SPF_EXP) {
        fault = record->exp != NULL ? "is there twice" : NULL;
        record->exp = term;
    }
    return fault;
}

static enum err read_terms(
        struct str text, struct spf_term *term, struct spf_record *record, struct why *why)
{
    char shown[TERM_SHOWN_BYTES_MAX];
    struct str part, rest = str_from(text, STR("v=spf1").len);
    while (str_cut(&rest, ' ', &part)) {
        if (part.len == 0) {
            continue; /* 1*SP between terms, *SP at the end */
        }
        struct spf_term *here = &term[record->term_count];
        const char *fault = read_term(part, here);
        fault = fault ? fault : note_term(record, here);
        if (fault) {
            struct str escaped = str_escape(part, shown, sizeof shown);
            why_set(why, "\"%.*s\": %s", STR_ARG(escaped), fault);
            return E_SYNTAX;
        }
        record->term_count++;
    }
    return OK;
}

enum err spf_parse(
        struct arena *arena, struct str text, struct spf_record *ret_record, struct why *why)
{
    struct spf_record record = { 0 };
    struct str part, rest = text;
    size_t count = 0;
    if (!spf_is_record(text)) {
        why_set(why, "an SPF record begins with \"v=spf1\" and a blank");
        return E_SYNTAX;
    }
    while (str_cut(&rest, ' ', &part)) {
        count += part.len > 0;
    }
    if (count > SPF_TERM_COUNT_MAX) {
        why_set(why, "the record has more than %d terms", SPF_TERM_COUNT_MAX);
        return E_TOO_BIG;
    }
    struct spf_term *term = arena_new(arena, count * sizeof *term);
    if (term == NULL) {
        return E_NOMEM;
    }
    enum err err = read_terms(text, term, &record, why);
    if (err != OK) {
        return err;
    }
    record.term = term;
    record.lookup_count += record.redirect != NULL && record.all == 0;
    *ret_record = record;
    return OK;
}
