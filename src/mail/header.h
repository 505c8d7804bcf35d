/* SPDX-License-Identifier: Apache-2.0
 *
 * header.h - the header of a message as a list of fields: the one place that decides where the
 * header ends and the body begins, for check, signature and sending alike.
 *
 * Strict (hostile-input C3): what is not a header by RFC 5322 2.2 is refused, never guessed at.
 */
#ifndef OUTPOST_MAIL_HEADER_H
#define OUTPOST_MAIL_HEADER_H

#include "core/arena.h"
#include "core/buf.h"

enum {
    HEADER_BYTES_MAX = 128 << 10, /* hostile-input C4 */
    HEADER_FIELD_COUNT_MAX = 1000,
    HEADER_ARENA_BYTES = HEADER_FIELD_COUNT_MAX * 64 + 8192, /* enough for any header_parse */
};

struct header_field {
    struct str name;  /* as written */
    struct str raw;   /* name, colon, folded value and CRLF */
    struct str value; /* behind the colon, without blanks at both ends; folds stay in it */
};

struct header {
    const struct header_field *field; /* in the arena; views point into the parsed bytes */
    size_t field_count;
    size_t block_bytes;    /* all fields, without the empty line */
    size_t body_at;        /* index of the body's first byte */
    size_t line_bytes_max; /* longest line, without CRLF */
    bool has_border;       /* an empty line was there; else the header ends at the end of data */
    bool is_8bit;          /* bytes above 127 */
};

/* Looks on from *at (0 at first) for the empty line that ends the header; true: *ret_body_at is
 * where the body begins. False: *at is where to look on when more bytes are there. Linear over any
 * number of calls. */
bool header_find_border(struct str bytes, size_t *at, size_t *ret_body_at);

/* bytes: the message or its beginning. E_AGAIN: the empty line is not in it and at_end is false.
 * E_SYNTAX: no colon, blank before the colon, empty name, fold in the first line, mbox "From ",
 * bare CR or LF, NUL. E_TOO_BIG: a limit above. E_NOMEM. */
MUST_USE enum err header_parse(struct arena *arena, struct str bytes, bool at_end,
        struct header *ret_header, struct why *why);

/* The nth (from 0) field of that name, ASCII case ignored; NULL where there is none. */
const struct header_field *header_find(const struct header *header, struct str name, size_t nth);
size_t header_count(const struct header *header, struct str name);

/* Appends value without its line breaks (RFC 5322 2.2.3). */
void header_unfold(struct str value, struct buf *ret_text);

/* Appends text with every LF that lacks its CR as CRLF: for messages from files and pipes. */
void lines_to_crlf(struct str text, struct buf *ret_text);

#endif
