/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_reply.h - reads the replies of a remote SMTP server, whatever it says (RFC 5321 4.2).
 *
 * Bounded: one fixed struct, no allocation. The text is a blob of any bytes (NUL, bare CR and LF,
 * ESC too): whoever shows it escapes it. Only CRLF ends a line.
 */
#ifndef OUTPOST_PROTO_SMTP_REPLY_H
#define OUTPOST_PROTO_SMTP_REPLY_H

#include "core/base.h"

enum {
    SMTP_REPLY_LINE_BYTES_MAX = 4096, /* RFC 5321 4.5.3.1.5 allows 512 */
    SMTP_REPLY_LINES_MAX = 100,
    SMTP_REPLY_EHLO_LINES_MAX = 16384, /* an absurd EHLO is read and ignored */
    SMTP_REPLY_KEPT_LINE_BYTES = 512,  /* of the present line */
    SMTP_REPLY_TEXT_BYTES_MAX = 1024,  /* of all lines joined; the rest is dropped */
    SMTP_REPLY_ENHANCED_BYTES_MAX = 9, /* "5.123.456" */
};

enum smtp_reply_step {
    SMTP_REPLY_MORE, /* all bytes used, the reply is not finished */
    SMTP_REPLY_LINE, /* one line that is not the last: smtp_reply_line */
    SMTP_REPLY_DONE, /* the last line: code, enhanced, text are final until smtp_reply_begin */
    SMTP_REPLY_BAD,  /* breaks the grammar or a limit: close, defer 4.5.0; reply->fault says why */
};

struct smtp_reply {
    uint16_t code;        /* 200..599 once a line was read */
    uint8_t enhanced_len; /* 0: none, malformed, or of another class than code (ignored) */
    uint16_t line_len, text_len;
    uint32_t line_bytes; /* parser: seen of the present line */
    uint32_t line_count, line_count_max;
    bool has_cr;       /* parser: the last byte seen was CR */
    const char *fault; /* after SMTP_REPLY_BAD: static words */
    char enhanced[SMTP_REPLY_ENHANCED_BYTES_MAX + 1];
    char line[SMTP_REPLY_KEPT_LINE_BYTES];
    char text[SMTP_REPLY_TEXT_BYTES_MAX];
};

void smtp_reply_begin(struct smtp_reply *reply, uint32_t line_count_max);

/* Uses bytes up to the end of a line at most. Bytes behind the last line belong to the next reply.
 */
MUST_USE size_t smtp_reply_input(
        struct smtp_reply *reply, struct str bytes, enum smtp_reply_step *ret_step);

/* Of the line just read: what stands behind the code and its SP or '-', cut to what is kept. */
struct str smtp_reply_line(const struct smtp_reply *reply);
/* All lines joined by a space, each without the enhanced code that reply->enhanced repeats. */
static inline struct str smtp_reply_text(const struct smtp_reply *reply)
{
    return str_of(reply->text, reply->text_len);
}
static inline struct str smtp_reply_enhanced(const struct smtp_reply *reply)
{
    return str_of(reply->enhanced, reply->enhanced_len);
}
static inline unsigned smtp_reply_class(const struct smtp_reply *reply) /* 2, 3, 4 or 5 */
{
    return reply->code / 100U;
}
/* Length of a well-formed enhanced code of class 2, 4 or 5 at the start of text (followed by SP or
 * the end), else 0. RFC 3463 2, RFC 2034 4. */
size_t smtp_reply_enhanced_len(struct str text);

#endif
