/* SPDX-License-Identifier: Apache-2.0
 *
 * dotstuff.c - finds the dots at line starts. Searches for dots, not for line ends: base64, the
 * bulk of what is sent, has none.
 */
#include "proto/dotstuff.h"

/* Index of the first dot at a line start, from pos on, or s.len. */
static size_t find_dot(const struct dot_state *state, struct str s, size_t pos)
{
    while (pos < s.len) {
        const char *dot = memchr(s.ptr + pos, '.', s.len - pos);
        if (!dot) {
            break;
        }
        pos = (size_t)(dot - s.ptr);
        if (pos > 0 ? dot[-1] == '\n' : !state->is_inside_line) {
            return pos;
        }
        pos++;
    }
    return s.len;
}

static void note_end(struct dot_state *state, struct str used)
{
    char last = used.ptr[used.len - 1];
    bool is_behind_cr = used.len > 1 ? used.ptr[used.len - 2] == '\r' : state->has_cr;
    state->is_inside_line = last != '\n';
    state->needs_crlf = last != '\n' || !is_behind_cr;
    state->has_cr = last == '\r';
}

size_t dot_stuff(
        struct dot_state *state, struct str in, struct str *out, size_t out_max, size_t *ret_used)
{
    ASSERT(out_max > 0);
    size_t count = 0, start = 0;
    while (start < in.len && count < out_max) {
        /* A dot written once already stands at start: it is written again and looked past. */
        size_t dot = find_dot(state, in, start + state->has_stuffed);
        size_t end = dot < in.len ? dot + 1 : in.len;
        out[count++] = str_of(in.ptr + start, end - start);
        state->has_stuffed = dot < in.len;
        start = dot;
    }
    if (start > 0) {
        note_end(state, str_of(in.ptr, start));
    }
    *ret_used = start;
    return count;
}

struct str dot_end(const struct dot_state *state)
{
    return state->needs_crlf ? STR("\r\n.\r\n") : STR(".\r\n");
}
