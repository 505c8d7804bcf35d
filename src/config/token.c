/* SPDX-License-Identifier: Apache-2.0
 *
 * token.c - from bytes to words, texts and marks; comments become blanks as they pass.
 *
 * A text in quotes ends in its line, so that a missing quote is found where it is missing. Of the
 * escapes of libconfuse only those exist that cannot hide a byte.
 */
#include "config/token_priv.h"

#include "core/str.h"

static bool is_word_char(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c) || (c != '\0' && strchr("_.:/@%[]-", c));
}

static char peek(const struct scan *scan, size_t ahead)
{
    size_t at = scan->at + ahead;
    return at < scan->text->len ? scan->text->ptr[at] : '\0';
}

void token_blank(struct scan *scan, size_t start, size_t end)
{
    for (size_t i = start; i < end; i++) {
        if (scan->text->ptr[i] != '\n') {
            scan->text->ptr[i] = ' ';
        }
    }
}

static void skip_line_comment(struct scan *scan)
{
    size_t start = scan->at;
    while (scan->at < scan->text->len && peek(scan, 0) != '\n') {
        scan->at++;
    }
    token_blank(scan, start, scan->at);
}

static void skip_long_comment(struct scan *scan)
{
    size_t start = scan->at;
    uint32_t line = scan->line;
    scan->at += 2;
    while (peek(scan, 0) != '*' || peek(scan, 1) != '/') {
        if (scan->at >= scan->text->len) {
            break_at(scan, line, "missing */ for the comment opened in line %u", line);
            return;
        }
        scan->line += peek(scan, 0) == '\n';
        scan->at++;
    }
    scan->at += 2;
    token_blank(scan, start, scan->at);
}

static void skip_blanks(struct scan *scan)
{
    while (!scan->is_broken && scan->at < scan->text->len) {
        char c = peek(scan, 0);
        if (c == '#' || (c == '/' && peek(scan, 1) == '/')) {
            skip_line_comment(scan);
        } else if (c == '/' && peek(scan, 1) == '*') {
            skip_long_comment(scan);
        } else if (c == ' ' || c == '\t' || c == '\n') {
            scan->line += c == '\n';
            scan->at++;
        } else {
            return;
        }
    }
}

/* The escapes that exist; others are refused, as is what libconfuse would take from the
 * environment. What was refused is made harmless, and the scan goes on. */
static void check_escape(struct scan *scan, char quote)
{
    char next = peek(scan, 1);
    if (peek(scan, 0) == '\\' && next != '"' && next != '\'' && next != '\\' && next != '$') {
        fault_at(scan, scan->line, "unknown escape in a text: only \\\" \\\\ and \\$ exist");
        scan->text->ptr[scan->at] = '?';
    } else if (peek(scan, 0) == '$' && next == '{' && quote == '"') {
        fault_at(scan, scan->line,
                "${...} is not expanded: write the value itself, or \\$ for a dollar sign");
        scan->text->ptr[scan->at] = '?';
    }
}

static void scan_string(struct scan *scan, struct token *token)
{
    char quote = peek(scan, 0);
    scan->at++;
    while (scan->at < scan->text->len && peek(scan, 0) != '\n' && peek(scan, 0) != quote) {
        check_escape(scan, quote);
        bool is_escape = peek(scan, 0) == '\\' && peek(scan, 1) != '\n';
        scan->at += is_escape ? 2 : 1;
    }
    if (scan->at >= scan->text->len || peek(scan, 0) != quote) {
        break_at(scan, token->line, "missing closing %c: a text ends in its line", quote);
        return;
    }
    scan->at++;
    token->kind = TOKEN_STRING;
}

static void scan_word(struct scan *scan, struct token *token)
{
    while (scan->at < scan->text->len && is_word_char(peek(scan, 0))) {
        if (peek(scan, 0) == '/' && peek(scan, 1) == '/') {
            break_at(scan, token->line, "put quotes around what contains //");
            return;
        }
        scan->at++;
    }
    token->kind = TOKEN_WORD;
}

struct token token_next(struct scan *scan)
{
    skip_blanks(scan);
    struct token token = { .kind = TOKEN_BAD, .start = scan->at, .line = scan->line };
    if (scan->is_broken) {
        return token;
    }
    if (scan->at >= scan->text->len) {
        token.kind = TOKEN_END;
        return token;
    }
    char c = peek(scan, 0);
    if (c == '"' || c == '\'') {
        scan_string(scan, &token);
    } else if (is_word_char(c)) {
        scan_word(scan, &token);
    } else {
        token.kind = strchr("{}=,()", c) ? TOKEN_MARK : TOKEN_BAD;
        token.mark = c;
        scan->at++;
    }
    token.end = scan->at;
    if (token.end - token.start > CONFIG_VALUE_BYTES_MAX) {
        break_at(scan, token.line, "a text of more than %d bytes", (int)CONFIG_VALUE_BYTES_MAX);
        token.kind = TOKEN_BAD;
    }
    return token;
}

struct token token_look_ahead(struct scan *scan)
{
    size_t at = scan->at;
    uint32_t line = scan->line;
    struct token token = token_next(scan);
    if (!scan->is_broken) {
        scan->at = at;
        scan->line = line;
    }
    return token;
}

struct str token_text(const struct scan *scan, struct token token)
{
    struct str text = str_of(scan->text->ptr + token.start, token.end - token.start);
    return token.kind == TOKEN_STRING ? str_sub(text, 1, text.len - 2) : text;
}

const char *token_show(const struct scan *scan, struct token token, struct shown_token *shown)
{
    struct str text = str_of(scan->text->ptr + token.start, token.end - token.start);
    struct str escaped = str_escape(text, shown->text, WORD_SHOWN_BYTES_MAX);
    shown->text[escaped.len] = '\0';
    return token.kind == TOKEN_END ? "the end of the file" : shown->text;
}

void token_break_unexpected(struct scan *scan, struct token token, const char *where)
{
    struct shown_token shown;
    if (!scan->is_broken) {
        break_at(scan, token.line, "unexpected %s %s", token_show(scan, token, &shown), where);
    }
}
