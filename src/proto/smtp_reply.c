/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_reply.c - the reply parser: collects a line up to CRLF, then judges it.
 *
 * RFC 5321 4.2, 4.2.1; RFC 2034 4 and RFC 3463 2 for enhanced codes.
 */
#include "proto/smtp_reply.h"

#include "core/str.h"

void smtp_reply_begin(struct smtp_reply *reply, uint32_t line_count_max)
{
    memset(reply, 0, offsetof(struct smtp_reply, enhanced));
    reply->line_count_max = line_count_max;
}

/* End of the number of 1 to 3 digits at pos; pos where there is none. */
static size_t number_end(struct str text, size_t pos)
{
    size_t end = pos;
    while (end < text.len && end - pos < 3 && ascii_is_digit(text.ptr[end])) {
        end++;
    }
    return end;
}

size_t smtp_reply_enhanced_len(struct str text)
{
    if (text.len < 5 || text.ptr[1] != '.' || !memchr("245", text.ptr[0], 3)) {
        return 0;
    }
    size_t end = number_end(text, 2);
    if (end == 2 || end == text.len || text.ptr[end] != '.') {
        return 0;
    }
    size_t start = end + 1;
    end = number_end(text, start);
    bool is_whole = end == text.len || text.ptr[end] == ' ';
    return end > start && is_whole ? end : 0;
}

struct str smtp_reply_line(const struct smtp_reply *reply)
{
    return str_from(str_of(reply->line, reply->line_len), 4);
}

static void add_text(struct smtp_reply *reply, struct str s)
{
    size_t room = sizeof reply->text - reply->text_len;
    size_t len = s.len < room ? s.len : room;
    if (len > 0) {
        memcpy(reply->text + reply->text_len, s.ptr, len);
        reply->text_len = (uint16_t)(reply->text_len + len);
    }
}

static void take_text(struct smtp_reply *reply)
{
    struct str text = smtp_reply_line(reply);
    size_t len = smtp_reply_enhanced_len(text);
    bool is_ours = len > 0 && text.ptr[0] == (char)('0' + reply->code / 100);
    if (is_ours && reply->enhanced_len == 0) {
        memcpy(reply->enhanced, text.ptr, len);
        reply->enhanced[len] = '\0';
        reply->enhanced_len = (uint8_t)len;
    }
    if (is_ours && str_eq(str_sub(text, 0, len), smtp_reply_enhanced(reply))) {
        text = str_from(text, len + 1);
    }
    if (reply->text_len > 0) {
        add_text(reply, STR(" "));
    }
    add_text(reply, text);
}

static enum smtp_reply_step bad(struct smtp_reply *reply, const char *fault)
{
    reply->fault = fault;
    return SMTP_REPLY_BAD;
}

static enum smtp_reply_step end_line(struct smtp_reply *reply)
{
    struct str line = str_of(reply->line, reply->line_len);
    if (line.len < 3 || !ascii_is_digit(line.ptr[0]) || !ascii_is_digit(line.ptr[1]) ||
            !ascii_is_digit(line.ptr[2])) {
        return bad(reply, "line without a reply code");
    }
    unsigned code = (unsigned)(line.ptr[0] - '0') * 100 + (unsigned)(line.ptr[1] - '0') * 10 +
                    (unsigned)(line.ptr[2] - '0');
    if (code < 200 || code > 599) {
        return bad(reply, "reply code outside 200 to 599");
    }
    if (reply->line_count > 0 && code != reply->code) {
        return bad(reply, "different codes in one reply");
    }
    if (line.len > 3 && line.ptr[3] != ' ' && line.ptr[3] != '-') {
        return bad(reply, "neither blank nor hyphen behind the code");
    }
    if (++reply->line_count > reply->line_count_max) {
        return bad(reply, "too many lines in one reply");
    }
    reply->code = (uint16_t)code;
    take_text(reply);
    return line.len > 3 && line.ptr[3] == '-' ? SMTP_REPLY_LINE : SMTP_REPLY_DONE;
}

/* Index behind the first CRLF, or 0. A bare LF is a byte of the text like any other. */
static size_t find_end(const struct smtp_reply *reply, struct str bytes)
{
    size_t pos = 0;
    while (pos < bytes.len) {
        const char *lf = memchr(bytes.ptr + pos, '\n', bytes.len - pos);
        if (!lf) {
            break;
        }
        pos = (size_t)(lf - bytes.ptr) + 1;
        if (pos > 1 ? lf[-1] == '\r' : reply->has_cr) {
            return pos;
        }
    }
    return 0;
}

size_t smtp_reply_input(struct smtp_reply *reply, struct str bytes, enum smtp_reply_step *ret_step)
{
    *ret_step = SMTP_REPLY_MORE;
    if (bytes.len == 0) {
        return 0;
    }
    if (reply->line_bytes == 0) {
        reply->line_len = 0;
    }
    size_t end = find_end(reply, bytes);
    size_t used = end ? end : bytes.len;
    if (used > SMTP_REPLY_LINE_BYTES_MAX - reply->line_bytes) {
        *ret_step = bad(reply, "line too long");
        return used;
    }
    size_t room = sizeof reply->line - reply->line_len;
    size_t kept = used < room ? used : room;
    memcpy(reply->line + reply->line_len, bytes.ptr, kept);
    reply->line_len = (uint16_t)(reply->line_len + kept);
    reply->line_bytes += (uint32_t)used;
    reply->has_cr = bytes.ptr[used - 1] == '\r';
    if (end) {
        uint32_t text_bytes = reply->line_bytes - 2; /* without CRLF */
        reply->line_len = (uint16_t)(reply->line_len < text_bytes ? reply->line_len : text_bytes);
        reply->line_bytes = 0;
        *ret_step = end_line(reply);
    }
    return used;
}
