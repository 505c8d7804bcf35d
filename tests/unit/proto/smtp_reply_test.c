/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_reply_test.c - what remote servers say, and what they should not. Names of hostile cases
 * begin with their number.
 */
#include "proto/smtp_reply.h"

#include "core/str.h"
#include "tests/test.h"

static struct smtp_reply reply;

/* Reads one reply in pieces; returns how it ended and the bytes used. */
static enum smtp_reply_step read_pieces(struct str in, size_t piece_bytes, size_t *ret_used)
{
    enum smtp_reply_step step = SMTP_REPLY_MORE;
    size_t used = 0;
    smtp_reply_begin(&reply, SMTP_REPLY_LINES_MAX);
    while (used < in.len && (step == SMTP_REPLY_MORE || step == SMTP_REPLY_LINE)) {
        struct str piece = str_sub(in, used, piece_bytes);
        char *exact = mem_new(piece.len);
        memcpy(exact, piece.ptr, piece.len);
        used += smtp_reply_input(&reply, str_of(exact, piece.len), &step);
        mem_free(exact);
    }
    *ret_used = used;
    return step;
}

static const size_t pieces[] = { 100000, 1, 2, 3, 5, 11, 64 };

static void check_reply(struct str in, unsigned code, const char *enhanced, struct str text)
{
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        size_t used;
        CHECK_U64(read_pieces(in, pieces[i], &used), SMTP_REPLY_DONE);
        CHECK_U64(used, in.len);
        CHECK_U64(reply.code, code);
        CHECK_STR(smtp_reply_enhanced(&reply), str_from_c(enhanced));
        CHECK_STR(smtp_reply_text(&reply), text);
    }
}

static void check_bad(struct str in, const char *fault)
{
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        size_t used;
        enum smtp_reply_step step = read_pieces(in, pieces[i], &used);
        CHECK(step == SMTP_REPLY_BAD, "%.*s in pieces of %zu: %u", STR_ARG(in), pieces[i],
                (unsigned)step);
        CHECK_STR(str_from_c(reply.fault), str_from_c(fault));
    }
}

TEST(replies_of_one_and_many_lines)
{
    check_reply(STR("250 2.1.0 Ok\r\n"), 250, "2.1.0", STR("Ok"));
    check_reply(STR("354 go\r\n"), 354, "", STR("go"));
    check_reply(STR("250-a\r\n250-b c\r\n250 d\r\n"), 250, "", STR("a b c d"));
    check_reply(STR("550-5.7.1 first\r\n550-5.7.1 second\r\n550 5.7.1 third\r\n"), 550, "5.7.1",
            STR("first second third"));
    check_reply(STR("550-no code\r\n550 5.7.12 with code\r\n"), 550, "5.7.12",
            STR("no code with code"));
    check_reply(STR("550-5.1.1 a\r\n550 5.1.2 b\r\n"), 550, "5.1.1", STR("a 5.1.2 b"));
    check_reply(STR("452 4.2.222\r\n"), 452, "4.2.222", STR(""));
}

TEST(bytes_behind_a_reply_are_left)
{
    size_t used;
    CHECK_U64(read_pieces(STR("250 a\r\n550 b\r\n"), 100, &used), SMTP_REPLY_DONE);
    CHECK_U64(used, 7);
}

TEST(each_line_can_be_seen)
{
    enum smtp_reply_step step;
    struct str in = STR("250-mx\r\n250-SIZE 10\r\n250\r\n");
    smtp_reply_begin(&reply, 3);
    in = str_from(in, smtp_reply_input(&reply, in, &step));
    CHECK_U64(step, SMTP_REPLY_LINE);
    CHECK_STR(smtp_reply_line(&reply), STR("mx"));
    in = str_from(in, smtp_reply_input(&reply, in, &step));
    CHECK_STR(smtp_reply_line(&reply), STR("SIZE 10"));
    in = str_from(in, smtp_reply_input(&reply, in, &step));
    CHECK_U64(step, SMTP_REPLY_DONE);
    CHECK_STR(smtp_reply_line(&reply), STR(""));
    CHECK_U64(smtp_reply_input(&reply, in, &step), 0);
    CHECK_U64(step, SMTP_REPLY_MORE);
}

TEST(h01_a_reply_of_100_lines_is_read_and_101_are_too_many)
{
    char text[101 * 8 + 1];
    for (size_t i = 0; i < 101; i++) {
        memcpy(text + 8 * i, "250-ab\r\n", 8);
    }
    text[99 * 8 + 3] = ' ';
    size_t used;
    CHECK_U64(read_pieces(str_of(text, 100 * 8), 50, &used), SMTP_REPLY_DONE);
    text[99 * 8 + 3] = '-';
    check_bad(str_of(text, 101 * 8), "too many lines in one reply");
}

TEST(h01_a_line_of_4096_bytes_is_read_and_a_longer_one_is_not)
{
    static char text[5000];
    memset(text, 'x', sizeof text);
    memcpy(text, "250 ", 4);
    memcpy(text + 4094, "\r\n", 2);
    size_t used;
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        CHECK_U64(read_pieces(str_of(text, 4096), pieces[i], &used), SMTP_REPLY_DONE);
        CHECK_U64(smtp_reply_text(&reply).len, SMTP_REPLY_KEPT_LINE_BYTES - 4);
    }
    memcpy(text + 4094, "x\r\n", 3);
    check_bad(str_of(text, 4097), "line too long");
    memset(text, 'x', sizeof text);
    check_bad(str_of(text, 5000), "line too long");
}

TEST(h01_the_text_of_many_lines_is_cut)
{
    static char text[100 * 102];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < 100; i++) {
        memcpy(text + 102 * i, i == 99 ? "250 " : "250-", 4);
        memcpy(text + 102 * i + 100, "\r\n", 2);
    }
    size_t used;
    CHECK_U64(read_pieces(str_of(text, sizeof text), 1000, &used), SMTP_REPLY_DONE);
    CHECK_U64(smtp_reply_text(&reply).len, SMTP_REPLY_TEXT_BYTES_MAX);
}

TEST(h02_a_bare_code_is_a_reply)
{
    check_reply(STR("250\r\n"), 250, "", STR(""));
    check_reply(STR("250-\r\n250\r\n"), 250, "", STR(""));
    check_reply(STR("250 \r\n"), 250, "", STR(""));
    check_reply(STR("599 x\r\n"), 599, "", STR("x"));
    check_reply(STR("200 x\r\n"), 200, "", STR("x"));
}

TEST(h02_other_first_bytes_codes_out_of_range_and_mixed_ones_are_not)
{
    check_bad(STR("\r\n"), "line without a reply code");
    check_bad(STR("25\r\n"), "line without a reply code");
    check_bad(STR("ok then\r\n"), "line without a reply code");
    check_bad(STR("2x0 ok\r\n"), "line without a reply code");
    check_bad(STR(" 250 ok\r\n"), "line without a reply code");
    check_bad(STR("\0\0\0\r\n"), "line without a reply code");
    check_bad(STR("199 x\r\n"), "reply code outside 200 to 599");
    check_bad(STR("600 x\r\n"), "reply code outside 200 to 599");
    check_bad(STR("000 x\r\n"), "reply code outside 200 to 599");
    check_bad(STR("999 x\r\n"), "reply code outside 200 to 599");
    check_bad(STR("250-a\r\n251 b\r\n"), "different codes in one reply");
    check_bad(STR("250x\r\n"), "neither blank nor hyphen behind the code");
    check_bad(STR("2500\r\n"), "neither blank nor hyphen behind the code");
}

TEST(h03_any_byte_may_stand_in_the_text)
{
    check_reply(STR("550 a\0b\x1b[31m%n\xff\r\n"), 550, "", STR("a\0b\x1b[31m%n\xff"));
    check_reply(STR("250 a\nb\r\r\n"), 250, "", STR("a\nb\r"));
    check_reply(STR("250 a\n250 b\n\r\n"), 250, "", STR("a\n250 b\n"));
}

TEST(h11_an_enhanced_code_of_another_class_or_shape_is_dropped)
{
    check_reply(STR("250 5.1.1 x\r\n"), 250, "", STR("5.1.1 x"));
    check_reply(STR("550 2.0.0 x\r\n"), 550, "", STR("2.0.0 x"));
    check_reply(STR("550 5..1 x\r\n"), 550, "", STR("5..1 x"));
    check_reply(STR("550 5.1 x\r\n"), 550, "", STR("5.1 x"));
    check_reply(STR("550 5.1.1x\r\n"), 550, "", STR("5.1.1x"));
    check_reply(STR("550 5.1234.1 x\r\n"), 550, "", STR("5.1234.1 x"));
    check_reply(STR("550 5.1.1234 x\r\n"), 550, "", STR("5.1.1234 x"));
    check_reply(STR("550 5.1. x\r\n"), 550, "", STR("5.1. x"));
    check_reply(STR("354 3.0.0 x\r\n"), 354, "", STR("3.0.0 x"));
    CHECK_U64(smtp_reply_enhanced_len(STR("5.1.1")), 5);
    CHECK_U64(smtp_reply_enhanced_len(STR("5.1")), 0);
    CHECK_U64(smtp_reply_enhanced_len(STR("")), 0);
}
