/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_smtp_reply.c - any bytes as a reply: whole and in pieces of the first byte's size the result
 * must be the same.
 */
#include "core/str.h"
#include "proto/smtp_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum smtp_reply_step read_reply(
        struct smtp_reply *reply, struct str in, size_t piece, size_t *ret_used)
{
    enum smtp_reply_step step = SMTP_REPLY_MORE;
    size_t used = 0;
    smtp_reply_begin(reply, SMTP_REPLY_LINES_MAX);
    while (used < in.len && (step == SMTP_REPLY_MORE || step == SMTP_REPLY_LINE)) {
        used += smtp_reply_input(reply, str_sub(in, used, piece ? piece : in.len), &step);
        (void)smtp_reply_line(reply);
    }
    *ret_used = used;
    return step;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct smtp_reply whole, pieces;
    if (size == 0) {
        return 0;
    }
    struct str in = str_of((const char *)data + 1, size - 1);
    size_t whole_used, pieces_used;
    enum smtp_reply_step step = read_reply(&whole, in, 0, &whole_used);
    ASSERT(step == read_reply(&pieces, in, data[0], &pieces_used));
    if (step == SMTP_REPLY_DONE) {
        ASSERT(whole_used == pieces_used && whole.code == pieces.code);
        ASSERT(whole.code >= 200 && whole.code <= 599);
        ASSERT(str_eq(smtp_reply_text(&whole), smtp_reply_text(&pieces)));
        ASSERT(str_eq(smtp_reply_enhanced(&whole), smtp_reply_enhanced(&pieces)));
    }
    return 0;
}
