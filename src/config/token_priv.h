/* SPDX-License-Identifier: Apache-2.0
 *
 * token_priv.h - the words and marks of a text, with their lines; comments become blanks as they
 * pass.
 */
#ifndef OUTPOST_CONFIG_TOKEN_PRIV_H
#define OUTPOST_CONFIG_TOKEN_PRIV_H

#include "config/load_priv.h"

enum { WORD_SHOWN_BYTES_MAX = 40 };

enum token_kind {
    TOKEN_END,
    TOKEN_WORD,
    TOKEN_STRING,
    TOKEN_MARK, /* one of { } = , ( ) */
    TOKEN_BAD   /* reported already, or some other byte */
};
struct token {
    enum token_kind kind;
    char mark;
    size_t start, end; /* in the text, quotes included */
    uint32_t line;
};

struct scan {
    struct load *load;
    struct source_text *text;
    struct items *items;
    size_t at;
    uint32_t line;
    bool is_broken;
};

static inline struct place at_line(const struct scan *scan, uint32_t line)
{
    return (struct place){ scan->text->path, line };
}

#define fault_at(scan, line, ...)                                                                  \
    report_fault((scan)->load->report, at_line(scan, line), __VA_ARGS__)
/* A fault after which the rest of the text cannot be understood. */
#define break_at(scan, line, ...)                                                                  \
    do {                                                                                           \
        fault_at(scan, line, __VA_ARGS__);                                                         \
        (scan)->is_broken = true;                                                                  \
    } while (0)

/* The next token. A fault in it is reported, the scan broken, and TOKEN_BAD returned. */
struct token token_next(struct scan *scan);
/* The next token without taking it. */
struct token token_look_ahead(struct scan *scan);
static inline bool is_mark(struct token token, char mark)
{
    return token.kind == TOKEN_MARK && token.mark == mark;
}

static inline bool is_text(struct token token)
{
    return token.kind == TOKEN_WORD || token.kind == TOKEN_STRING;
}

/* What a word or text holds, escapes as written. */
struct str token_text(const struct scan *scan, struct token token);

struct shown_token {
    char text[WORD_SHOWN_BYTES_MAX + 1];
};

/* As it stands in the text, safe to show and cut. */
const char *token_show(const struct scan *scan, struct token token, struct shown_token *shown);
/* Reports a token that cannot stand "where"; the scan is broken. */
void token_break_unexpected(struct scan *scan, struct token token, const char *where);
/* Turns bytes of the text into blanks, but for line ends. */
void token_blank(struct scan *scan, size_t start, size_t end);

#endif
