/* SPDX-License-Identifier: Apache-2.0
 *
 * talk_test.c - the kept dialogue: one line a line, escaped, bounded, the end kept.
 */
#include "core/str.h"
#include "deliver/deliver_priv.h"
#include "tests/test.h"

static struct talk talk;

TEST(lines_of_both_sides_are_told_apart)
{
    talk_clear(&talk);
    talk_add(&talk, 'S', STR("220 hi\r\n"));
    talk_add(&talk, 'C', STR("EHLO x\r\nQUIT\r\n"));
    CHECK_STR(talk_str(&talk), STR("S: 220 hi\nC: EHLO x\nC: QUIT\n"));
}

TEST(any_split_gives_the_same_text)
{
    const struct str bytes = STR("250-a\r\n250 b\rc\nd\r\r\ne\r\n");
    char whole[200];
    talk_clear(&talk);
    talk_add(&talk, 'S', bytes);
    size_t len = talk.len;
    memcpy(whole, talk.text, len);
    CHECK_STR(str_of(whole, len), STR("S: 250-a\nS: 250 b\\x0dc\\x0ad\\x0d\nS: e\n"));
    for (size_t at = 0; at <= bytes.len; at++) {
        talk_clear(&talk);
        talk_add(&talk, 'S', str_sub(bytes, 0, at));
        talk_add(&talk, 'S', str_from(bytes, at));
        CHECK_STR(talk_str(&talk), str_of(whole, len));
    }
}

TEST(a_line_left_open_is_ended_before_the_other_side_speaks)
{
    talk_clear(&talk);
    talk_add(&talk, 'S', STR("220 hi\r"));
    talk_add(&talk, 'C', STR("\nEHLO\x80\r\n"));
    CHECK_STR(talk_str(&talk), STR("S: 220 hi\nC: \\x0aEHLO\\x80\n"));
}

TEST(the_oldest_lines_go_when_it_is_full)
{
    char line[40];
    talk_clear(&talk);
    for (uint32_t i = 0; i < 1000; i++) {
        size_t len = fmt(line, sizeof line, "250 line %u\r\n", i);
        talk_add(&talk, 'S', str_of(line, len));
        CHECK(talk.len <= DELIVER_DIALOGUE_BYTES_MAX);
    }
    CHECK(str_starts(talk_str(&talk), STR("S: 250 line ")));
    CHECK(str_ends_nocase(talk_str(&talk), STR("S: 250 line 999\n")));
    CHECK(talk.len > DELIVER_DIALOGUE_BYTES_MAX / 3);
}

TEST(an_endless_line_stays_bounded)
{
    talk_clear(&talk);
    for (uint32_t i = 0; i < 10000; i++) {
        talk_add(&talk, 'S', STR("\x1b"));
        CHECK(talk.len <= DELIVER_DIALOGUE_BYTES_MAX);
    }
}
