/* SPDX-License-Identifier: Apache-2.0
 *
 * address.c - mailboxes of the SMTP envelope, and the form in which two of them compare.
 *
 * The strict grammar of RFC 5321 4.1.2 alone: what header fields may write is address_list.c.
 */
#include "mail/address.h"

#include "core/str.h"
#include "mail/address_priv.h"

enum { MAILBOX_BYTES_MAX = ADDRESS_PATH_BYTES_MAX - 2, LABEL_BYTES_MAX = 63 };

bool address_is_atext(char c)
{
    static const char specials[] = "!#$%&'*+-/=?^_`{|}~"; /* RFC 5322 3.2.3 */
    return ascii_is_alpha(c) || ascii_is_digit(c) || (uint8_t)c >= 0x80 ||
           (c != '\0' && memchr(specials, c, sizeof specials - 1) != NULL);
}

/* Length of the Dot-string that s begins with; 0: none. */
static size_t dot_string_len(struct str s)
{
    size_t at = 0;
    while (at < s.len && address_is_atext(s.ptr[at])) {
        at++;
        if (s.len - at >= 2 && s.ptr[at] == '.' && address_is_atext(s.ptr[at + 1])) {
            at++;
        }
    }
    return at;
}

/* Length of the Quoted-string that s begins with; 0: none, or it does not end. */
static size_t quoted_string_len(struct str s)
{
    if (s.len < 2 || s.ptr[0] != '"') {
        return 0;
    }
    for (size_t at = 1; at < s.len; at++) {
        uint8_t c = (uint8_t)s.ptr[at];
        if (c == '"') {
            return at + 1;
        }
        bool is_pair = c == '\\' && ++at < s.len;
        c = is_pair ? (uint8_t)s.ptr[at] : c;
        /* qtextSMTP and quoted-pairSMTP have no controls; RFC 6531 3.3 widens the first only */
        if (c < 0x20 || c == 0x7f || (is_pair && c >= 0x80)) {
            return 0;
        }
    }
    return 0;
}

static bool is_snum(struct str s)
{
    uint64_t value;
    return s.len <= 3 && str_to_u64(s, 255, &value) == OK;
}

static bool is_ipv4(struct str s)
{
    struct str part, rest = s;
    unsigned count = 0;
    while (str_cut(&rest, '.', &part)) {
        if (!is_snum(part)) {
            return false;
        }
        count++;
    }
    return count == 4 && s.ptr[s.len - 1] != '.';
}

static size_t hex_len(struct str s)
{
    size_t at = 0;
    while (at < s.len && (ascii_is_digit(s.ptr[at]) || (ascii_lower(s.ptr[at]) >= 'a' &&
                                                               ascii_lower(s.ptr[at]) <= 'f'))) {
        at++;
    }
    return at;
}

/* RFC 5321 4.1.3: "::" stands for at least two groups. */
static bool is_ipv6(struct str s)
{
    unsigned group_count = 0, group_count_max = 8;
    bool has_gap = false, is_after_gap = true; /* true at the start too: no colon is due */
    while (s.len > 0) {
        if (str_starts(s, STR("::"))) {
            if (has_gap) {
                return false;
            }
            has_gap = is_after_gap = true;
            group_count_max -= 2;
            s = str_from(s, 2);
            continue;
        }
        if (!is_after_gap) {
            if (s.ptr[0] != ':') {
                return false;
            }
            s = str_from(s, 1);
        }
        if (s.len > 0 && is_ipv4(s)) {
            group_count += 2;
            break;
        }
        size_t len = hex_len(s);
        if (len == 0 || len > 4) {
            return false;
        }
        group_count++;
        is_after_gap = false;
        s = str_from(s, len);
    }
    return has_gap ? group_count <= group_count_max : group_count == 8;
}

/* [192.0.2.1] or [IPv6:2001:db8::1]; no other tag was ever registered (RFC 5321 4.1.3). */
bool address_is_literal(struct str s)
{
    if (s.len < 3 || s.ptr[0] != '[' || s.ptr[s.len - 1] != ']') {
        return false;
    }
    struct str inner = str_sub(s, 1, s.len - 2);
    if (str_starts_nocase(inner, STR("IPv6:"))) {
        return inner.len > 5 && is_ipv6(str_from(inner, 5));
    }
    return is_ipv4(inner);
}

/* sub-domain of RFC 5321, and '_', which names in DNS do have; U-labels too (RFC 6531 3.3). */
static bool is_label(struct str s)
{
    bool is_utf8 = false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        is_utf8 |= (uint8_t)c >= 0x80;
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && c != '_' && (uint8_t)c < 0x80) {
            return false;
        }
    }
    return s.len > 0 && (s.len <= LABEL_BYTES_MAX || is_utf8) && s.ptr[0] != '-' &&
           s.ptr[s.len - 1] != '-';
}

bool address_is_smtp_domain(struct str domain)
{
    if (domain.len == 0 || domain.len > ADDRESS_DOMAIN_BYTES_MAX) {
        return false;
    }
    if (domain.ptr[0] == '[') {
        return address_is_literal(domain);
    }
    struct str label, rest = domain;
    while (str_cut(&rest, '.', &label)) {
        if (!is_label(label)) {
            return false;
        }
    }
    return domain.ptr[domain.len - 1] != '.';
}

size_t address_local_len(struct str s)
{
    return s.len > 0 && s.ptr[0] == '"' ? quoted_string_len(s) : dot_string_len(s);
}

bool address_is_smtp_local(struct str local)
{
    /* '-' first: an option to whoever puts the address into an argv (hostile-input A26). */
    return local.len > 0 && local.len <= ADDRESS_LOCAL_BYTES_MAX && local.ptr[0] != '-' &&
           address_local_len(local) == local.len;
}

bool address_fits_smtp(const struct address *address)
{
    return address_is_smtp_local(address->local) && address_is_smtp_domain(address->domain) &&
           address->local.len + 1 + address->domain.len <= MAILBOX_BYTES_MAX;
}

/* RFC 5321 3.6.1: a source route is accepted and ignored. False: it is none. */
static bool drop_route(struct str *text)
{
    size_t colon = str_index(*text, ':');
    struct str hop, hops = str_sub(*text, 0, colon);
    if (colon == text->len || hops.ptr[hops.len - 1] == ',') {
        return false;
    }
    while (str_cut(&hops, ',', &hop)) {
        if (hop.len < 2 || hop.ptr[0] != '@' || hop.ptr[1] == '[' ||
                !address_is_smtp_domain(str_from(hop, 1))) {
            return false;
        }
    }
    *text = str_from(*text, colon + 1);
    return true;
}

static bool strip_brackets(struct str *text)
{
    if (text->len > 0 && text->ptr[0] == '<') {
        if (text->len < 2 || text->ptr[text->len - 1] != '>') {
            return false;
        }
        *text = str_sub(*text, 1, text->len - 2);
    }
    return true;
}

static enum err refuse(struct why *why, enum err err, const char *what)
{
    why_set(why, "%s", what);
    return err;
}

static enum err check_sizes(const struct address *address, struct why *why)
{
    if (address->local.len > ADDRESS_LOCAL_BYTES_MAX) {
        return refuse(why, E_TOO_BIG, "local part longer than 64 bytes");
    }
    if (address->domain.len > ADDRESS_DOMAIN_BYTES_MAX ||
            address->local.len + 1 + address->domain.len > MAILBOX_BYTES_MAX) {
        return refuse(why, E_TOO_BIG, "address longer than 254 bytes");
    }
    return OK;
}

enum err address_parse(struct str text, struct address *ret_address, struct why *why)
{
    if (!strip_brackets(&text)) {
        return refuse(why, E_SYNTAX, "'<' without '>' at the end");
    }
    if (text.len > 0 && text.ptr[0] == '@' && !drop_route(&text)) {
        return refuse(why, E_SYNTAX, "bad source route");
    }
    size_t at = address_local_len(text);
    struct address address = { .local = str_sub(text, 0, at), .domain = str_from(text, at + 1) };
    if (at == 0) {
        return refuse(why, E_SYNTAX, "no valid local part before '@'");
    }
    if (text.ptr[0] == '-') {
        return refuse(why, E_SYNTAX, "local part begins with '-'");
    }
    if (at == text.len) {
        return refuse(why, E_SYNTAX, "no '@' and domain");
    }
    if (text.ptr[at] != '@') {
        return refuse(why, E_SYNTAX, "character that needs quotes in the local part");
    }
    enum err err = check_sizes(&address, why);
    if (err != OK) {
        return err;
    }
    if (!address_is_smtp_domain(address.domain)) {
        return refuse(why, E_SYNTAX, "not a valid domain behind '@'");
    }
    address.is_utf8 = !str_is_ascii(text);
    if (address.is_utf8 && !str_is_utf8(text)) {
        return refuse(why, E_SYNTAX, "not valid UTF-8");
    }
    address.is_literal = address.domain.ptr[0] == '[';
    address.is_quoted = text.ptr[0] == '"';
    address.is_smtp = true;
    *ret_address = address;
    return OK;
}

bool address_is_postmaster(struct str text)
{
    return strip_brackets(&text) && str_eq_nocase(text, STR("postmaster"));
}

/* The quoted string without quotes and backslashes; len is at most that of quoted. */
static size_t unquote(struct str quoted, char *dst)
{
    size_t len = 0;
    for (size_t i = 1; i + 1 < quoted.len; i++) {
        i += quoted.ptr[i] == '\\';
        dst[len++] = quoted.ptr[i];
    }
    return len;
}

static size_t put_quoted(char *dst, struct str text)
{
    size_t len = 0;
    dst[len++] = '"';
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"' || text.ptr[i] == '\\') {
            dst[len++] = '\\';
        }
        dst[len++] = text.ptr[i];
    }
    dst[len++] = '"';
    return len;
}

static size_t put_lower(char *dst, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        dst[i] = ascii_lower(text.ptr[i]);
    }
    dst[text.len] = '\0';
    return text.len;
}

struct str address_normal(const struct address *address, char dst[ADDRESS_TEXT_CAP])
{
    ASSERT(address->is_smtp && address->local.len <= ADDRESS_LOCAL_BYTES_MAX);
    char decoded[ADDRESS_LOCAL_BYTES_MAX];
    struct str local = address->local;
    if (address->is_quoted) {
        local = str_of(decoded, unquote(address->local, decoded));
    }
    size_t len = local.len;
    /* A '-' first is refused unquoted, so it keeps its quotes: what we print can be parsed. */
    if (local.len == 0 || dot_string_len(local) != local.len || local.ptr[0] == '-') {
        len = put_quoted(dst, local);
    } else {
        memcpy(dst, local.ptr, len);
    }
    dst[len++] = '@';
    len += put_lower(dst + len, address->domain);
    return str_of(dst, len);
}

struct str address_domain_lower(const struct address *address, char dst[ADDRESS_TEXT_CAP])
{
    ASSERT(address->is_smtp && address->domain.len <= ADDRESS_DOMAIN_BYTES_MAX);
    return str_of(dst, put_lower(dst, address->domain));
}
