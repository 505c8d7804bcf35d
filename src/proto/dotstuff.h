/* SPDX-License-Identifier: Apache-2.0
 *
 * dotstuff.h - message content as SMTP sends it (RFC 5321 4.5.2), as slices and without copying.
 *
 * Content has CRLF lines only (smtp_server saw to it). A stuffed dot costs one more slice: the
 * slice before it ends with the dot, the next one begins with the same dot.
 */
#ifndef OUTPOST_PROTO_DOTSTUFF_H
#define OUTPOST_PROTO_DOTSTUFF_H

#include "core/base.h"

/* All-zero: at the beginning of the content. */
struct dot_state {
    bool is_inside_line; /* the last byte was not LF */
    bool needs_crlf;     /* the last two bytes were not CRLF */
    bool has_cr;         /* the last byte was CR */
    bool has_stuffed;    /* the next input begins with a dot that was written once already */
};

/* Cuts in into slices for writev: at most out_max of them, in order; returns how many and sets
 * *ret_used, the bytes of in that they stand for. Call again with the rest, or with more content.
 * Slices are views of in; at least 1 must fit. */
MUST_USE size_t dot_stuff(
        struct dot_state *state, struct str in, struct str *out, size_t out_max, size_t *ret_used);
/* What ends the content: ".\r\n", with "\r\n" before it where the last line has no end (static). */
struct str dot_end(const struct dot_state *state);

#endif
