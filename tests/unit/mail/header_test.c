/* SPDX-License-Identifier: Apache-2.0
 *
 * header_test.c - cutting headers into fields, and what is refused (hostile-input C3, C4).
 */
#include "mail/header.h"

#include "core/str.h"
#include "tests/test.h"

static enum err parse(struct arena *arena, struct str text, struct header *ret_header)
{
    struct why why = { "" };
    arena_init(arena, HEADER_ARENA_BYTES);
    enum err err = header_parse(arena, text, /*at_end*/ true, ret_header, &why);
    CHECK(err == OK || why.text[0] != '\0', "no words");
    return err;
}

TEST(fields_keep_their_bytes_and_give_trimmed_values)
{
    struct arena arena;
    struct header header;
    struct str text =
            STR("From: a@b\r\nSubject:  x\r\n\ty \r\nX-Empty:\r\nsubject: 2\r\n\r\nbody\r\n");
    REQUIRE_OK(parse(&arena, text, &header));
    CHECK_U64(header.field_count, 4);
    CHECK_STR(header.field[1].name, STR("Subject"));
    CHECK_STR(header.field[1].raw, STR("Subject:  x\r\n\ty \r\n"));
    CHECK_STR(header.field[1].value, STR("x\r\n\ty"));
    CHECK_STR(header.field[2].value, STR(""));
    CHECK_STR(str_from(text, header.body_at), STR("body\r\n"));
    CHECK_U64(header.block_bytes, header.body_at - 2);
    CHECK_U64(header.line_bytes_max, 11);
    CHECK(header.has_border && !header.is_8bit);
    CHECK_STR(header_find(&header, STR("SUBJECT"), 1)->value, STR("2"));
    CHECK(header_find(&header, STR("Subject"), 2) == NULL);
    CHECK_U64(header_count(&header, STR("Subject")), 2);
    CHECK_U64(header_count(&header, STR("To")), 0);
    arena_done(&arena);
}

TEST(a_header_may_end_with_the_data_or_hold_nothing)
{
    struct arena arena;
    struct header header;
    REQUIRE_OK(parse(&arena, STR("A: 1\r\nB: 2\r\n"), &header));
    CHECK(header.field_count == 2 && !header.has_border && header.body_at == 12);
    arena_done(&arena);
    REQUIRE_OK(parse(&arena, STR("A: 1\r\nB: \xc3\xb6"), &header));
    CHECK_STR(header.field[1].raw, STR("B: \xc3\xb6"));
    CHECK(header.is_8bit);
    arena_done(&arena);
    REQUIRE_OK(parse(&arena, STR("\r\nbody"), &header));
    CHECK(header.field_count == 0 && header.body_at == 2 && header.has_border);
    arena_done(&arena);
    REQUIRE_OK(parse(&arena, STR(""), &header));
    CHECK(header.field_count == 0 && header.body_at == 0);
    arena_done(&arena);
}

TEST(c3_what_is_no_header_is_refused_with_the_line)
{
    static const struct {
        const char *text;
        const char *words;
    } bad[] = {
        { "A: 1\r\nno colon here\r\n\r\n", "line 2: no colon" },
        { "From : a@b\r\n\r\n", "blank before the colon" },
        { "From: a@b\r\nTo\t: c\r\n\r\n", "line 2: blank before the colon" },
        { ": x\r\n\r\n", "empty field name" },
        { " fold: x\r\n\r\n", "continuation of nothing" },
        { "From a@b Sat Jan  1 00:00:00 2026\r\nA: 1\r\n\r\n", "mbox" },
        { ">From a@b Sat Jan  1 00:00:00 2026\r\nA: 1\r\n\r\n", "mbox" },
        { "A: 1\nB: 2\r\n\r\n", "LF without CR" },
        { "\nA: 1\r\n\r\n", "LF without CR" },
        { "A: 1\rB: 2\r\n\r\n", "CR without LF" },
        { "A: 1\r\r\n\r\n", "CR without LF" },
        { "A\xc3\xb6: 1\r\n\r\n", "not printable ASCII" },
        { "A\x01: 1\r\n\r\n", "not printable ASCII" },
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct arena arena;
        struct header header;
        struct why why;
        arena_init(&arena, HEADER_ARENA_BYTES);
        enum err err = header_parse(&arena, str_from_c(bad[i].text), true, &header, &why);
        CHECK(err == E_SYNTAX, "case %zu: %s", i, err_name(err));
        CHECK(strstr(why.text, bad[i].words) != NULL, "case %zu says \"%s\"", i, why.text);
        arena_done(&arena);
    }
    struct arena arena;
    struct header header;
    CHECK_ERR(parse(&arena, STR("A: \0\r\n\r\n"), &header), E_SYNTAX);
    arena_done(&arena);
}

TEST(c4_header_bytes_and_fields_have_limits)
{
    struct arena arena;
    struct header header;
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < HEADER_FIELD_COUNT_MAX; i++) {
        buf_add(&text, STR("A:\r\n"));
    }
    buf_add(&text, STR("\r\n"));
    REQUIRE_OK(parse(&arena, buf_str(&text), &header));
    CHECK_U64(header.field_count, HEADER_FIELD_COUNT_MAX);
    arena_done(&arena);
    buf_cut(&text, text.len - 2);
    buf_add(&text, STR("B:\r\n\r\n"));
    CHECK_ERR(parse(&arena, buf_str(&text), &header), E_TOO_BIG);
    arena_done(&arena);

    buf_clear(&text);
    buf_add(&text, STR("A:"));
    while (text.len < HEADER_BYTES_MAX - 4) {
        buf_add_char(&text, 'x');
    }
    buf_add(&text, STR("\r\n\r\nbody"));
    REQUIRE_OK(parse(&arena, buf_str(&text), &header));
    CHECK_U64(header.body_at, HEADER_BYTES_MAX);
    arena_done(&arena);
    buf_cut(&text, text.len - 8);
    buf_add(&text, STR("xxxxx\r\n\r\nbody"));
    CHECK_ERR(parse(&arena, buf_str(&text), &header), E_TOO_BIG);
    arena_done(&arena);
    arena_init(&arena, HEADER_ARENA_BYTES);
    CHECK_ERR(header_parse(&arena, buf_str(&text), /*at_end*/ false, &header, NULL), E_TOO_BIG);
    CHECK_ERR(header_parse(&arena, STR("A: 1\r\n"), /*at_end*/ false, &header, NULL), E_AGAIN);
    mem_fail_at(1);
    CHECK_ERR(header_parse(&arena, STR("A: 1\r\n\r\n"), false, &header, NULL), E_NOMEM);
    mem_fail_at(0);
    arena_done(&arena);
    buf_done(&text);
}

TEST(the_border_is_found_at_any_split)
{
    static const struct {
        const char *text;
        size_t body_at; /* 0: none */
    } cases[] = { { "A: 1\r\n\r\nx", 8 }, { "\r\nx", 2 }, { "A: 1\r\n", 0 },
        { "A\n\nB\r\n\r\n", 8 }, { "A: 1\r\n \r\n\r\n", 11 }, { "\n\r\n\r\n", 5 },
        { "A\r\n\r\r\n\r\n", 8 } };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct str whole = str_from_c(cases[c].text);
        size_t at = 0, body_at = 0, len = 0;
        bool is_found = false;
        for (; len <= whole.len && !is_found; len++) {
            is_found = header_find_border(str_sub(whole, 0, len), &at, &body_at);
        }
        CHECK(is_found == (cases[c].body_at != 0) && body_at == cases[c].body_at,
                "case %zu: border at %zu", c, body_at);
    }
}

TEST(unfolding_and_line_ends)
{
    struct buf text;
    buf_init(&text, 100);
    header_unfold(STR("a\r\n b\r\n\tc"), &text);
    CHECK_STR(buf_str(&text), STR("a b\tc"));
    buf_clear(&text);
    lines_to_crlf(STR("\na\r\nb\n\nc\rd"), &text);
    CHECK_STR(buf_str(&text), STR("\r\na\r\nb\r\n\r\nc\rd"));
    buf_done(&text);
}
