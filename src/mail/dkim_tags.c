/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_tags.c - tag lists "a=b; c=d" of signatures and key records (RFC 6376 3.2).
 *
 * Strict, as 6.1.1 asks: a syntax error or a name twice spoils the whole list.
 */
#include "core/b64.h"
#include "core/str.h"
#include "mail/dkim_priv.h"

/* tag-name = ALPHA *(ALPHA / DIGIT / "_") */
static bool is_tag_name(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!ascii_is_alpha(c) && (i == 0 || (!ascii_is_digit(c) && c != '_'))) {
            return false;
        }
    }
    return s.len > 0;
}

/* VALCHAR and FWS; bytes above 127 as RFC 8616 5 has them. A CRLF must fold. */
static bool is_tag_value(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.ptr[i];
        if (c == '\r') {
            if (s.len - i < 3 || s.ptr[i + 1] != '\n' || !ascii_is_blank(s.ptr[i + 2])) {
                return false;
            }
            i += 2;
        } else if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum err add_tag(struct dkim_tags *tags, struct str spec)
{
    size_t equals = str_index(spec, '=');
    struct dkim_tag tag = {
        .name = str_trim(str_sub(spec, 0, equals)),
        .whole = str_from(spec, equals + 1),
    };
    if (equals == spec.len || !is_tag_name(tag.name)) {
        return E_SYNTAX;
    }
    tag.value = str_trim(tag.whole);
    if (!is_tag_value(tag.value)) {
        return E_SYNTAX;
    }
    for (size_t i = 0; i < tags->count; i++) {
        if (str_eq(tags->tag[i].name, tag.name)) { /* "MUST NOT occur more than once" */
            return E_SYNTAX;
        }
    }
    if (tags->count == DKIM_TAG_COUNT_MAX) {
        return E_TOO_BIG;
    }
    tags->tag[tags->count++] = tag;
    return OK;
}

enum err dkim_tags_parse(struct str text, struct dkim_tags *ret_tags)
{
    struct str spec, rest = text;
    ret_tags->count = 0;
    while (str_cut(&rest, ';', &spec)) {
        if (rest.len == 0 && ret_tags->count > 0 && str_trim(spec).len == 0) {
            break; /* blanks behind the last ';' */
        }
        enum err err = add_tag(ret_tags, spec);
        if (err != OK) {
            return err;
        }
    }
    return ret_tags->count > 0 ? OK : E_SYNTAX;
}

const struct dkim_tag *dkim_tags_find(const struct dkim_tags *tags, const char *name)
{
    for (size_t i = 0; i < tags->count; i++) {
        if (str_eq(tags->tag[i].name, str_from_c(name))) {
            return &tags->tag[i];
        }
    }
    return NULL;
}

struct str dkim_tags_get(const struct dkim_tags *tags, const char *name, struct str fallback)
{
    const struct dkim_tag *tag = dkim_tags_find(tags, name);
    return tag ? tag->value : fallback;
}

bool dkim_list_cut(struct str *rest, struct str *ret_item)
{
    if (!str_cut(rest, ':', ret_item)) {
        return false;
    }
    *ret_item = str_trim(*ret_item);
    return true;
}

bool dkim_list_has(struct str list, struct str item)
{
    struct str part;
    while (dkim_list_cut(&list, &part)) {
        if (str_eq_nocase(part, item)) {
            return true;
        }
    }
    return false;
}

enum err dkim_base64(struct str text, struct buf *ret_bytes)
{
    struct buf chars;
    buf_init(&chars, text.len + 3);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!ascii_is_blank(c) && c != '\r' && c != '\n') {
            buf_add_char(&chars, c);
        }
    }
    while (chars.len % 4 != 0 && buf_err(&chars) == OK) {
        buf_add_char(&chars, '=');
    }
    enum err err = buf_err(&chars);
    if (err == OK) {
        err = b64_decode(ret_bytes, buf_str(&chars), /*skip_blanks*/ false);
    }
    buf_done(&chars);
    return err;
}

enum err dkim_base64_into(struct str text, uint8_t *dst, size_t cap_bytes, size_t *ret_len)
{
    struct buf bytes;
    buf_init(&bytes, cap_bytes);
    enum err err = dkim_base64(text, &bytes);
    if (err == OK && bytes.len > 0) {
        memcpy(dst, bytes.ptr, bytes.len);
        *ret_len = bytes.len;
    }
    buf_done(&bytes);
    return err;
}
