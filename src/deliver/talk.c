/* SPDX-License-Identifier: Apache-2.0
 *
 * talk.c - keeps the end of a dialogue as text: "C: " what we said, "S: " what they said.
 *
 * Whatever the peer sends, a line of the text is one line of one side: bare LF, CR and other
 * controls are escaped (hostile-input H3). Secrets are kept out by the caller.
 */
#include "core/str.h"
#include "deliver/deliver_priv.h"

enum { PIECE_BYTES_MAX = 4 };

void talk_clear(struct talk *talk)
{
    talk->len = 0;
    talk->direction = 0;
    talk->has_cr = false;
}

/* Drops about half, up to a line's end; a single endless line goes wholly. */
static void talk_drop_old(struct talk *talk)
{
    struct str tail = str_of(talk->text + talk->len / 2, talk->len - talk->len / 2);
    size_t line_end = str_index(tail, '\n');
    struct str kept = str_from(tail, line_end + 1);
    memmove(talk->text, kept.ptr, kept.len);
    talk->len = (uint32_t)kept.len; /* ≤ DELIVER_DIALOGUE_BYTES_MAX */
}

static void talk_put(struct talk *talk, const char *piece, size_t len)
{
    if (talk->len + len > sizeof talk->text) {
        talk_drop_old(talk);
    }
    memcpy(talk->text + talk->len, piece, len);
    talk->len += (uint32_t)len; /* ≤ PIECE_BYTES_MAX */
}

static void talk_begin_line(struct talk *talk, char direction)
{
    if (talk->direction != 0) {
        talk_put(talk, "\n", 1);
    }
    talk->has_cr = false;
    char head[3] = { direction, ':', ' ' };
    talk_put(talk, head, sizeof head);
    talk->direction = direction;
}

static void talk_put_byte(struct talk *talk, char c)
{
    if (c >= ' ' && c <= '~') {
        talk_put(talk, &c, 1);
        return;
    }
    char escaped[PIECE_BYTES_MAX + 1];
    size_t len = fmt(escaped, sizeof escaped, "\\x%02x", (unsigned)(uint8_t)c);
    talk_put(talk, escaped, len);
}

void talk_add(struct talk *talk, char direction, struct str bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        char c = bytes.ptr[i];
        if (talk->direction != direction) {
            talk_begin_line(talk, direction);
        }
        if (c == '\n' && talk->has_cr) { /* RFC 5321 2.3.8: CRLF and nothing else */
            talk_put(talk, "\n", 1);
            talk->direction = 0;
        } else {
            if (talk->has_cr) {
                talk_put_byte(talk, '\r');
            }
            if (c != '\r') {
                talk_put_byte(talk, c);
            }
        }
        talk->has_cr = c == '\r';
    }
}
