/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_master.c - what a master file may say and ldns does not take: the class before the TTL
 * (RFC 1035 5.1 allows both orders); and a TXT without any string, which is no record but no reason
 * to refuse all others. What ldns would leave out in silence is refused: a record of a test that is
 * not there makes another test. The text is changed in place, its length and lines stay.
 */
#include "core/str.h"
#include "edge/dns_priv.h"

enum { SWAPPED_BYTES_MAX = 64 };

static bool is_token_end(char c)
{
    return ascii_is_blank(c) || c == '\r' || c == '\n' || c == ';' || c == '(' || c == ')' ||
           c == '"';
}

/* Behind the token at `at`; "\ " and the like belong to it. */
static size_t skip_token(struct str text, size_t at)
{
    while (at < text.len && !is_token_end(text.ptr[at])) {
        at += text.ptr[at] == '\\' && at + 1 < text.len ? 2 : 1;
    }
    return at;
}

static size_t skip_blanks(struct str text, size_t at)
{
    while (at < text.len && ascii_is_blank(text.ptr[at])) {
        at++;
    }
    return at;
}

static bool is_class(struct str s)
{
    return str_eq_nocase(s, STR("IN")) || str_eq_nocase(s, STR("CH")) ||
           str_eq_nocase(s, STR("HS"));
}

static bool is_ttl(struct str s) /* 300, 1h30m */
{
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_digit(s.ptr[i]) && str_index(STR("smhdw"), ascii_lower(s.ptr[i])) == 5) {
            return false;
        }
    }
    return s.len > 0 && ascii_is_digit(s.ptr[0]);
}

/* A line of owner, TTL, class and TXT with nothing behind becomes a comment. */
static void drop_empty_txt(char *bytes, struct str text, size_t begin)
{
    size_t at = is_token_end(text.ptr[begin]) ? begin : skip_token(text, begin);
    size_t end;
    struct str token;
    do {
        at = skip_blanks(text, at);
        end = skip_token(text, at);
        token = str_sub(text, at, end - at);
        at = end;
    } while (is_class(token) || is_ttl(token));
    at = skip_blanks(text, at);
    bool is_empty =
            at == text.len || text.ptr[at] == '\n' || text.ptr[at] == '\r' || text.ptr[at] == ';';
    if (is_empty && (str_eq_nocase(token, STR("TXT")) || str_eq_nocase(token, STR("SPF")))) {
        bytes[begin] = ';';
    }
}

/* "IN  300" becomes "300  IN". */
static void swap_class_and_ttl(char *bytes, struct str text, size_t at)
{
    char swapped[SWAPPED_BYTES_MAX];
    size_t class_end, ttl_at, ttl_end;
    if (!is_token_end(text.ptr[at])) {
        at = skip_token(text, at); /* the owner */
    }
    at = skip_blanks(text, at);
    class_end = skip_token(text, at);
    ttl_at = skip_blanks(text, class_end);
    ttl_end = skip_token(text, ttl_at);
    struct str class = str_sub(text, at, class_end - at);
    struct str ttl = str_sub(text, ttl_at, ttl_end - ttl_at);
    struct str gap = str_sub(text, class_end, ttl_at - class_end);
    if (is_class(class) && is_ttl(ttl) && ttl_end - at <= sizeof swapped) {
        memcpy(swapped, ttl.ptr, ttl.len);
        memcpy(swapped + ttl.len, gap.ptr, gap.len);
        memcpy(swapped + ttl.len + gap.len, class.ptr, class.len);
        memcpy(bytes + at, swapped, ttl_end - at);
    }
}

/* $ORIGIN and $TTL are read by ldns in capitals only; what else begins with '$' it takes for an
 * owner. False: a directive that we do not know. */
static bool take_directive(char *bytes, struct str text, size_t begin)
{
    struct str word = str_sub(text, begin, skip_token(text, begin) - begin);
    if (!str_eq_nocase(word, STR("$ORIGIN")) && !str_eq_nocase(word, STR("$TTL"))) {
        return false;
    }
    for (size_t i = 0; i < word.len; i++) {
        if (ascii_is_alpha(bytes[begin + i])) {
            bytes[begin + i] &= ~0x20; /* upper case */
        }
    }
    return true;
}

/* Where the text is. */
struct master_walk {
    uint32_t depth; /* of parentheses */
    int line, open_line;
    const char *fault;
    bool is_quoted, is_comment, is_begin;
};

/* The byte at *at, which moves over an escaped one. */
static void take_byte(struct master_walk *walk, struct str text, size_t *at)
{
    char c = text.ptr[*at];
    walk->line += c == '\n';
    walk->is_comment = (walk->is_comment || (c == ';' && !walk->is_quoted)) && c != '\n';
    walk->is_begin = c == '\n' && !walk->is_quoted && walk->depth == 0;
    if (walk->is_comment) {
        return;
    }
    if ((c == '"' || c == '(') && !walk->is_quoted && walk->depth == 0) {
        walk->open_line = walk->line;
    }
    if (c == '\\' && *at + 1 < text.len && text.ptr[*at + 1] != '\n') {
        ++*at;
    } else if (c == '"') {
        walk->is_quoted = !walk->is_quoted;
    } else if (c == '(' && !walk->is_quoted) {
        walk->depth++;
    } else if (c == ')' && !walk->is_quoted) {
        walk->fault = walk->depth == 0 ? "a parenthesis that was not opened" : walk->fault;
        walk->depth -= walk->depth > 0;
    }
}

int dns_master_prepare(char *bytes, size_t len, struct why *why)
{
    struct str text = { bytes, len };
    struct master_walk walk = { .line = 1, .is_begin = true };
    for (size_t at = 0; at < len && !walk.fault; at++) {
        if (bytes[at] == '\0') {
            walk.fault = "a NUL byte: this is no text";
        } else if (walk.is_begin && bytes[at] == '$' && !take_directive(bytes, text, at)) {
            walk.fault = "a directive other than $ORIGIN and $TTL: write its records out";
        } else {
            if (walk.is_begin) {
                swap_class_and_ttl(bytes, text, at);
                drop_empty_txt(bytes, text, at);
            }
            take_byte(&walk, text, &at);
        }
    }
    if (!walk.fault && (walk.is_quoted || walk.depth > 0)) {
        walk.fault = walk.is_quoted ? "a quote that does not end" : "a parenthesis left open";
        walk.line = walk.open_line;
    }
    if (walk.fault) {
        why_set(why, "%s", walk.fault);
    }
    return walk.fault ? walk.line : 0;
}
