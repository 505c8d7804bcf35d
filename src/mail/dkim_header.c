/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_header.c - header fields in the form that is hashed (RFC 6376 3.4.1 simple, 3.4.2 relaxed).
 */
#include "core/str.h"
#include "mail/dkim_priv.h"

static bool is_blank_or_fold(char c)
{
    return ascii_is_blank(c) || c == '\r' || c == '\n';
}

/* Folds and runs of blanks become one space, none at both ends; returns the end of what it wrote.
 */
static char *relax_value(char *dst, struct str value)
{
    value = str_trim(value);
    bool is_in_run = false;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        bool is_blank = is_blank_or_fold(c);
        if (!is_blank) {
            *dst++ = c;
        } else if (!is_in_run) {
            *dst++ = ' ';
        }
        is_in_run = is_blank;
    }
    return dst;
}

static void add_relaxed(struct str raw, struct buf *text)
{
    size_t colon = str_index(raw, ':');
    char *start = buf_space(text, raw.len + 3);
    if (!start) {
        return;
    }
    char *dst = start;
    struct str name = str_trim(str_sub(raw, 0, colon));
    for (size_t i = 0; i < name.len; i++) {
        *dst++ = ascii_lower(name.ptr[i]);
    }
    *dst++ = ':';
    dst = relax_value(dst, str_from(raw, colon + 1));
    *dst++ = '\r';
    *dst++ = '\n';
    buf_grew(text, (size_t)(dst - start));
}

void dkim_canon_field(enum dkim_canon canon, struct str raw, struct buf *ret_text)
{
    if (canon == DKIM_RELAXED) {
        add_relaxed(raw, ret_text);
        return;
    }
    buf_add(ret_text, raw);
    if (!str_ends_nocase(raw, STR("\r\n"))) { /* the last line of a message that lacks its end */
        buf_add(ret_text, STR("\r\n"));
    }
}

void dkim_canon_signature(
        enum dkim_canon canon, struct str raw, struct str b_value, struct buf *ret_text)
{
    struct buf emptied;
    size_t at = (size_t)(b_value.ptr - raw.ptr);
    buf_init(&emptied, raw.len + 2);
    buf_add(&emptied, str_sub(raw, 0, at));
    buf_add(&emptied, str_from(raw, at + b_value.len));
    if (buf_err(&emptied) == OK) {
        dkim_canon_field(canon, buf_str(&emptied), ret_text);
        if (buf_err(ret_text) == OK) {
            buf_cut(ret_text, ret_text->len - 2); /* RFC 6376 3.7: without trailing CRLF */
        }
    } else {
        ret_text->err = buf_err(&emptied);
    }
    buf_done(&emptied);
}

/* The lowest field of that name that is not used yet, RFC 6376 5.4.2; NULL: none, which hashes as
 * nothing. The signature itself is never its own content. */
static const struct header_field *take_field(const struct header *header,
        const struct header_field *signature, struct str name, uint8_t *used)
{
    for (size_t i = header->field_count; i-- > 0;) {
        const struct header_field *field = &header->field[i];
        if (!used[i] && field != signature && str_eq_nocase(field->name, name)) {
            used[i] = 1;
            return field;
        }
    }
    return NULL;
}

void dkim_canon_names(enum dkim_canon canon, const struct header *header,
        const struct header_field *signature, struct str names, struct buf *ret_text)
{
    uint8_t used[HEADER_FIELD_COUNT_MAX] = { 0 };
    struct str name;
    while (dkim_list_cut(&names, &name)) {
        const struct header_field *field = take_field(header, signature, name, used);
        if (field) {
            dkim_canon_field(canon, field->raw, ret_text);
        }
    }
}

static bool canon_of(struct str word, enum dkim_canon *ret_canon)
{
    if (str_eq(word, STR("simple"))) {
        *ret_canon = DKIM_SIMPLE;
        return true;
    }
    *ret_canon = DKIM_RELAXED;
    return str_eq(word, STR("relaxed"));
}

bool dkim_canon_parse(struct str text, enum dkim_canon *ret_header, enum dkim_canon *ret_body)
{
    size_t slash = str_index(text, '/');
    struct str body = slash < text.len ? str_from(text, slash + 1) : STR("simple");
    return canon_of(str_sub(text, 0, slash), ret_header) && canon_of(body, ret_body) &&
           slash + 1 != text.len;
}
