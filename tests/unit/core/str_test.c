/* SPDX-License-Identifier: Apache-2.0
 *
 * str_test.c - comparing, searching, cutting, numbers, escapes and UTF-8.
 */
#include "core/str.h"

#include "tests/test.h"

static const struct str none = { 0 };

TEST(str_comparisons_know_case_length_and_emptiness)
{
    CHECK(str_eq(STR("abc"), STR("abc")) && !str_eq(STR("abc"), STR("abd")));
    CHECK(str_eq(none, STR("")) && !str_eq(none, STR("a")));
    CHECK(str_eq_nocase(STR("aBc"), STR("AbC")) && !str_eq_nocase(STR("ab"), STR("abc")));
    CHECK(!str_eq_nocase(STR("a@"), STR("a`")) && !str_eq_nocase(STR("["), STR("{")));
    CHECK(!str_eq_nocase(STR("\xc4"), STR("\xe4")));
    CHECK(str_cmp(STR("a"), STR("b")) < 0 && str_cmp(STR("b"), STR("a")) > 0);
    CHECK(str_cmp(STR("a"), STR("ab")) < 0 && str_cmp(STR("ab"), STR("a")) > 0);
    CHECK(str_cmp(STR("a\xff"), STR("a\x01")) > 0);
    CHECK(str_cmp(none, none) == 0 && str_cmp(none, STR("a")) < 0);
}

TEST(str_starts_and_ends)
{
    CHECK(str_starts(STR("hello"), STR("he")) && !str_starts(STR("hello"), STR("HE")));
    CHECK(str_starts(STR("x"), none) && str_starts(none, none) && !str_starts(none, STR("x")));
    CHECK(str_starts_nocase(STR("Hello"), STR("hE")) && !str_starts_nocase(STR("h"), STR("he")));
    CHECK(str_ends_nocase(STR("a.ORG"), STR(".org")) && !str_ends_nocase(STR("org"), STR(".org")));
    CHECK(str_ends_nocase(none, none) && !str_ends_nocase(STR("abc"), STR("ab")));
}

TEST(str_searches_give_len_where_there_is_nothing)
{
    struct str s = STR("a.b.c");
    CHECK_U64(str_index(s, '.'), 1);
    CHECK_U64(str_rindex(s, '.'), 3);
    CHECK_U64(str_index(s, 'x'), 5);
    CHECK_U64(str_rindex(s, 'x'), 5);
    CHECK_U64(str_index(none, 'x'), 0);
    CHECK_U64(str_rindex(none, 'x'), 0);
    CHECK_U64(str_find(s, STR("b.c")), 2);
    CHECK_U64(str_find(s, STR("c.")), 5);
    CHECK_U64(str_find(s, STR("")), 0);
    CHECK_U64(str_find(none, STR("x")), 0);
    CHECK_U64(str_find(STR("ab"), STR("abc")), 2);
}

TEST(str_parts_are_clipped)
{
    CHECK_STR(str_from(STR("hello"), 2), STR("llo"));
    CHECK_STR(str_from(STR("hello"), 9), STR(""));
    CHECK_STR(str_sub(STR("hello"), 1, 3), STR("ell"));
    CHECK_STR(str_sub(STR("hello"), 3, SIZE_MAX), STR("lo"));
    CHECK_STR(str_sub(STR("hello"), SIZE_MAX, 1), STR(""));
    CHECK_STR(str_sub(none, 1, 1), STR(""));
    CHECK_STR(str_trim(STR(" \t a b\r\n")), STR("a b"));
    CHECK_STR(str_trim(STR(" \r\n\t")), STR(""));
    CHECK_STR(str_trim(none), STR(""));
}

static size_t cut_all(struct str rest, struct str part[8])
{
    size_t count = 0;
    while (count < 8 && str_cut(&rest, ',', &part[count])) {
        count++;
    }
    return count;
}

TEST(str_cut_gives_every_part)
{
    struct str part[8];
    CHECK_U64(cut_all(STR("a,b"), part), 2);
    CHECK_STR(part[0], STR("a"));
    CHECK_STR(part[1], STR("b"));
    CHECK_U64(cut_all(STR(",a,,b,"), part), 4);
    CHECK_STR(part[0], STR(""));
    CHECK_STR(part[2], STR(""));
    CHECK_STR(part[3], STR("b"));
    CHECK_U64(cut_all(STR(""), part), 0);
    CHECK_U64(cut_all(none, part), 0);
    CHECK_U64(cut_all(STR(","), part), 1);
}

TEST(str_to_u64_takes_plain_digits_up_to_max)
{
    uint64_t v = 5;
    REQUIRE_OK(str_to_u64(STR("0"), 0, &v));
    CHECK_U64(v, 0);
    REQUIRE_OK(str_to_u64(STR("18446744073709551615"), UINT64_MAX, &v));
    CHECK_U64(v, UINT64_MAX);
    REQUIRE_OK(str_to_u64(STR("000000000000000000000000000012"), 12, &v));
    CHECK_U64(v, 12);
    CHECK_ERR(str_to_u64(STR("18446744073709551616"), UINT64_MAX, &v), E_TOO_BIG);
    CHECK_ERR(str_to_u64(STR("99999999999999999999999"), UINT64_MAX, &v), E_TOO_BIG);
    CHECK_ERR(str_to_u64(STR("184467440737095516160"), UINT64_MAX, &v), E_TOO_BIG);
    CHECK_ERR(str_to_u64(STR("13"), 12, &v), E_TOO_BIG);
    static const struct str bad[] = { STR_INIT(""), STR_INIT("-1"), STR_INIT("+1"), STR_INIT(" 1"),
        STR_INIT("1 "), STR_INIT("0x1"), STR_INIT("99999999999999999999999x") };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(str_to_u64(bad[i], UINT64_MAX, &v) == E_SYNTAX, "'%.*s'", STR_ARG(bad[i]));
    }
    CHECK_U64(v, 12);
}

TEST(durations_and_sizes_have_units)
{
    static const struct row {
        struct str text;
        uint64_t ms;
    } rows[] = { { STR_INIT("250ms"), 250 }, { STR_INIT("30s"), 30000 }, { STR_INIT("5m"), 300000 },
        { STR_INIT("4h"), 14400000 }, { STR_INIT("5d"), 432000000 }, { STR_INIT("0s"), 0 } };
    uint64_t v;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        REQUIRE_OK(str_to_ms(rows[i].text, UINT64_MAX, &v));
        CHECK_U64(v, rows[i].ms);
    }
    CHECK_ERR(str_to_ms(STR("6m"), 300000, &v), E_TOO_BIG);
    CHECK_ERR(str_to_ms(STR("99999999999999999d"), UINT64_MAX, &v), E_TOO_BIG);
    static const struct str bad[] = { STR_INIT(""), STR_INIT("30"), STR_INIT("s"), STR_INIT("30 s"),
        STR_INIT("30S"), STR_INIT("-1s"), STR_INIT("1.5h"), STR_INIT("30sx") };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(str_to_ms(bad[i], UINT64_MAX, &v) == E_SYNTAX, "'%.*s'", STR_ARG(bad[i]));
    }
    REQUIRE_OK(str_to_bytes(STR("512"), UINT64_MAX, &v));
    CHECK_U64(v, 512);
    REQUIRE_OK(str_to_bytes(STR("64k"), UINT64_MAX, &v));
    CHECK_U64(v, 65536);
    REQUIRE_OK(str_to_bytes(STR("10M"), UINT64_MAX, &v));
    CHECK_U64(v, 10485760);
    REQUIRE_OK(str_to_bytes(STR("1G"), 1 << 30, &v));
    CHECK_U64(v, 1 << 30);
    CHECK_ERR(str_to_bytes(STR("2G"), 1 << 30, &v), E_TOO_BIG);
    CHECK_ERR(str_to_bytes(STR("2T"), UINT64_MAX, &v), E_SYNTAX);
}

TEST(fmt_always_ends_and_counts_what_fits)
{
    char text[5];
    size_t len = fmt(text, sizeof text, "%s", "abc");
    CHECK_U64(len, 3);
    len = fmt(text, sizeof text, "%s", "abcd");
    CHECK_U64(len, 4);
    len = fmt(text, sizeof text, "%s", "abcdefg");
    CHECK_U64(len, 4);
    CHECK_STR(str_from_c(text), STR("abcd"));
    len = fmt(text, 1, "%s", "abc");
    CHECK_U64(len, 0);
    CHECK(text[0] == '\0');
}

TEST(str_to_c_refuses_nul_and_what_does_not_fit)
{
    char text[4];
    CHECK(str_to_c(STR("abc"), text, sizeof text) && strcmp(text, "abc") == 0);
    CHECK(!str_to_c(STR("abcd"), text, sizeof text) && text[0] == '\0');
    CHECK(!str_to_c(STR("a\0b"), text, sizeof text) && text[0] == '\0');
    CHECK(str_to_c(none, text, sizeof text) && text[0] == '\0');
}

TEST(hashes_depend_on_bytes_seed_and_case_as_promised)
{
    CHECK(str_hash(STR("a"), 1) == str_hash(STR("a"), 1));
    CHECK(str_hash(STR("a"), 1) != str_hash(STR("a"), 2));
    CHECK(str_hash(STR("a"), 1) != str_hash(STR("b"), 1));
    CHECK(str_hash(STR("a"), 1) != str_hash(STR("A"), 1));
    CHECK(str_hash_nocase(STR("Abc"), 1) == str_hash_nocase(STR("aBC"), 1));
    CHECK(str_hash_nocase(STR("abc"), 1) == str_hash(STR("abc"), 1));
    CHECK(str_hash(none, 3) == str_hash(STR(""), 3));
}

TEST(escape_leaves_no_control_byte_and_no_half_escape)
{
    char text[40];
    CHECK_STR(str_escape(STR("a b\r\n\\\x7f\xc3\0~"), text, sizeof text),
            STR("a b\\x0d\\x0a\\x5c\\x7f\\xc3\\x00~"));
    CHECK_STR(str_escape(STR("ab\ncd"), text, 5), STR("ab"));
    CHECK_STR(str_escape(STR("ab\ncd"), text, 6), STR("ab\\x0a"));
    CHECK_STR(str_escape(STR("abc"), text, 0), STR(""));
    CHECK_STR(str_escape(none, text, 4), STR(""));
}

TEST(utf8_is_shortest_form_without_surrogates)
{
    static const struct str good[] = { STR_INIT(""), STR_INIT("abc\x7f"), STR_INIT("\xc2\x80"),
        STR_INIT("\xdf\xbf"), STR_INIT("\xe0\xa0\x80"), STR_INIT("\xed\x9f\xbf"),
        STR_INIT("\xee\x80\x80"), STR_INIT("\xef\xbf\xbf"), STR_INIT("\xf0\x90\x80\x80"),
        STR_INIT("\xf4\x8f\xbf\xbf"), STR_INIT("a\xc3\xa4z"), STR_INIT("\0") };
    static const struct str bad[] = { STR_INIT("\x80"), STR_INIT("\xbf"), STR_INIT("\xc0\x80"),
        STR_INIT("\xc1\xbf"), STR_INIT("\xc2"), STR_INIT("\xc2\x41"), STR_INIT("\xc2\xc2"),
        STR_INIT("\xe0\x9f\xbf"), STR_INIT("\xed\xa0\x80"), STR_INIT("\xe1\x80"),
        STR_INIT("\xe1\x80\x41"), STR_INIT("\xf0\x8f\xbf\xbf"), STR_INIT("\xf4\x90\x80\x80"),
        STR_INIT("\xf1\x80\x80"), STR_INIT("\xf1\x80\x80\xc0"), STR_INIT("\xf5\x80\x80\x80"),
        STR_INIT("\xff"), STR_INIT("ok\xfe") };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        CHECK(str_is_utf8(good[i]), "good %zu", i);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(!str_is_utf8(bad[i]), "bad %zu", i);
    }
    CHECK(str_is_utf8(none));
}

TEST(ascii_is_seven_bits)
{
    CHECK(str_is_ascii(STR("az\x7f\0")) && str_is_ascii(none));
    CHECK(!str_is_ascii(STR("a\x80")));
    CHECK(ascii_is_digit('0') && ascii_is_digit('9') && !ascii_is_digit('/') &&
            !ascii_is_digit(':'));
    CHECK(ascii_is_alpha('a') && ascii_is_alpha('Z') && !ascii_is_alpha('[') &&
            !ascii_is_alpha('1'));
    CHECK(ascii_is_blank(' ') && ascii_is_blank('\t') && !ascii_is_blank('\n'));
}
