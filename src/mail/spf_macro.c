/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_macro.c - macro-strings of RFC 7208 section 7: pieces, values, transformers, escapes.
 *
 * Everything goes into a buffer that is born with a maximum, so no record can blow an expansion up.
 */
#include "core/str.h"
#include "mail/spf.h"
#include "mail/spf_priv.h"

enum { KEEP_MAX = 1000 /* parts; "at least 127" (RFC 7208 7.3) */ };

static bool is_delimiter(char c)
{
    return c == '.' || c == '-' || c == '+' || c == ',' || c == '/' || c == '_' || c == '=';
}

/* letter transformers *delimiter, without the braces */
static bool read_braced(struct str body, struct spf_macro *ret_macro)
{
    struct spf_macro macro = { .is_expand = true };
    size_t at = 1;
    if (body.len == 0 || str_index(STR("slodiphcrtv"), ascii_lower(body.ptr[0])) == 11) {
        return false;
    }
    macro.letter = ascii_lower(body.ptr[0]);
    macro.is_url = macro.letter != body.ptr[0];
    bool has_digits = at < body.len && ascii_is_digit(body.ptr[at]);
    for (; at < body.len && ascii_is_digit(body.ptr[at]); at++) {
        macro.keep = macro.keep * 10 + (uint32_t)(body.ptr[at] - '0');
        macro.keep = macro.keep > KEEP_MAX ? KEEP_MAX : macro.keep;
    }
    if (has_digits && macro.keep == 0) {
        return false; /* MUST be nonzero (RFC 7208 7.3) */
    }
    if (at < body.len && ascii_lower(body.ptr[at]) == 'r') {
        macro.is_reversed = true;
        at++;
    }
    macro.delimiters = str_from(body, at);
    for (; at < body.len; at++) {
        if (!is_delimiter(body.ptr[at])) {
            return false;
        }
    }
    *ret_macro = macro;
    return true;
}

enum err spf_macro_next(struct str *rest, struct spf_macro *ret_macro)
{
    if (rest->len == 0) {
        return E_EOF;
    }
    size_t percent = str_index(*rest, '%');
    if (percent > 0) {
        *ret_macro = (struct spf_macro){ .literal = str_sub(*rest, 0, percent) };
        *rest = str_from(*rest, percent);
        return OK;
    }
    char kind = rest->len > 1 ? rest->ptr[1] : '\0';
    struct spf_macro escape = { .is_expand = true };
    size_t end = 2;
    if (kind == '%') {
        escape.literal = STR("%");
    } else if (kind == '_') {
        escape.literal = STR(" ");
    } else if (kind == '-') {
        escape.literal = STR("%20");
    } else {
        end = str_index(*rest, '}');
        if (kind != '{' || end == rest->len || !read_braced(str_sub(*rest, 2, end - 2), &escape)) {
            return E_SYNTAX; /* "%(" and the like (RFC 7208 7.3) */
        }
        end++;
    }
    *ret_macro = escape;
    *rest = str_from(*rest, end);
    return OK;
}

bool spf_needs_name(struct str text)
{
    struct spf_macro macro;
    while (spf_macro_next(&text, &macro) == OK) {
        if (macro.letter == 'p') {
            return true;
        }
    }
    return false;
}

/* ---- values ---- */

void spf_ip_dotted(struct ip ip, struct buf *ret_text)
{
    char text[IP_TEXT_CAP];
    if (ip.family != IP_V6) {
        buf_add(ret_text, ip_format(ip, text));
        return;
    }
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < 32; i++) {
        uint8_t byte = ip.byte[i / 2];
        buf_add(ret_text, i > 0 ? STR(".") : STR(""));
        buf_add_char(ret_text, digits[i % 2 == 0 ? byte >> 4 : byte & 15]);
    }
}

static void add_escaped(struct buf *buf, struct str s, bool is_url)
{
    if (!is_url) {
        buf_add(buf, s);
        return;
    }
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i]; /* unreserved (RFC 3986 2.3) */
        if (ascii_is_alpha(c) || ascii_is_digit(c) || c == '-' || c == '.' || c == '_' ||
                c == '~') {
            buf_add_char(buf, c);
        } else {
            buf_addf(buf, "%%%02X", (unsigned)(uint8_t)c);
        }
    }
}

static bool splits(const struct spf_macro *macro, char c)
{
    struct str set = macro->delimiters.len > 0 ? macro->delimiters : STR(".");
    return str_index(set, c) < set.len;
}

/* Takes the next part off the left, or off the right where the order is reversed. */
static struct str take_part(const struct spf_macro *macro, struct str *rest)
{
    size_t at = 0;
    if (!macro->is_reversed) {
        while (at < rest->len && !splits(macro, rest->ptr[at])) {
            at++;
        }
        struct str part = str_sub(*rest, 0, at);
        *rest = str_from(*rest, at + 1);
        return part;
    }
    for (at = rest->len; at > 0 && !splits(macro, rest->ptr[at - 1]); at--) {
    }
    struct str part = str_from(*rest, at);
    *rest = str_sub(*rest, 0, at > 0 ? at - 1 : 0);
    return part;
}

/* Split, reverse, keep the right-hand parts, join with dots (RFC 7208 7.3). */
static void add_parts(struct buf *buf, struct str value, const struct spf_macro *macro)
{
    size_t count = 1;
    for (size_t i = 0; i < value.len; i++) {
        count += splits(macro, value.ptr[i]);
    }
    size_t skip = macro->keep > 0 && macro->keep < count ? count - macro->keep : 0;
    for (size_t i = 0; i < count; i++) {
        struct str part = take_part(macro, &value);
        if (i >= skip) {
            buf_add(buf, i > skip ? STR(".") : STR(""));
            add_escaped(buf, part, macro->is_url);
        }
    }
}

static void add_value(const struct spf_values *values, char letter, struct buf *ret_value)
{
    char ip_text[IP_TEXT_CAP];
    switch (letter) {
    case 's':
        buf_add(ret_value, values->local);
        buf_add_char(ret_value, '@');
        buf_add(ret_value, values->sender_domain);
        break;
    case 'l':
        buf_add(ret_value, values->local);
        break;
    case 'o':
        buf_add(ret_value, values->sender_domain);
        break;
    case 'd':
        buf_add(ret_value, values->domain);
        break;
    case 'i':
        spf_ip_dotted(values->ip, ret_value);
        break;
    case 'p':
        buf_add(ret_value, values->name.len > 0 ? values->name : STR("unknown"));
        break;
    case 'h':
        buf_add(ret_value, values->helo);
        break;
    case 'c':
        buf_add(ret_value, ip_format(values->ip, ip_text));
        break;
    case 'r':
        buf_add(ret_value, values->receiver.len > 0 ? values->receiver : STR("unknown"));
        break;
    case 't':
        buf_addf(ret_value, "%lld", (long long)values->now_s);
        break;
    default: /* v */
        buf_add(ret_value, values->ip.family == IP_V6 ? STR("ip6") : STR("in-addr"));
        break;
    }
}

enum err spf_expand(struct str text, const struct spf_values *values, struct buf *ret_text)
{
    struct spf_macro macro;
    struct buf value;
    enum err err;
    buf_init(&value, 4096);
    while ((err = spf_macro_next(&text, &macro)) == OK && buf_err(ret_text) == OK &&
            buf_err(&value) == OK) {
        if (macro.letter == 0) {
            buf_add(ret_text, macro.literal);
        } else {
            buf_clear(&value);
            add_value(values, macro.letter, &value);
            add_parts(ret_text, buf_str(&value), &macro);
        }
    }
    if (err == OK || err == E_EOF) {
        err = buf_err(ret_text) != OK ? buf_err(ret_text) : buf_err(&value);
    }
    buf_done(&value);
    return err;
}

enum err spf_reverse_name(struct ip ip, struct buf *ret_name)
{
    struct spf_values values = { .ip = ip };
    return spf_expand(STR("%{ir}.%{v}.arpa"), &values, ret_name);
}
