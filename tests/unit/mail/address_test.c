/* SPDX-License-Identifier: Apache-2.0
 *
 * address_test.c - addresses of the envelope and of header fields: the isemail set, the cases of
 * hostile-input A17 and A22 to A27, and every limit.
 */
#include "mail/address.h"

#include "core/str.h"
#include "tests/test.h"
#include "tests/unit/mail/data.h"

enum { LIST_MAX = 4 };

static enum err parse(const char *text, struct address *ret_address)
{
    struct why why = { "" };
    enum err err = address_parse(str_from_c(text), ret_address, &why);
    CHECK(err == OK || why.text[0] != '\0', "no words for %s", text);
    return err;
}

static unsigned hex_value(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : ascii_lower(c) - 'a' + 10);
}

/* \xHH of the data file back to bytes, in place. */
static struct str unescape(struct str text, char *dst)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\\') {
            dst[len++] = (char)(hex_value(text.ptr[i + 2]) * 16 + hex_value(text.ptr[i + 3]));
            i += 3;
        } else {
            dst[len++] = text.ptr[i];
        }
    }
    return str_of(dst, len);
}

static void check_isemail_row(struct str line)
{
    char bytes[1024];
    struct str id, category, rest = line;
    struct address address, list[LIST_MAX];
    struct arena arena;
    size_t count = 0;
    CHECK(str_cut(&rest, '\t', &id) && str_cut(&rest, '\t', &category));
    struct str text = unescape(rest, bytes);
    bool is_smtp_wanted = str_starts(category, STR("VALID")) || str_eq(category, STR("DNSWARN")) ||
                          str_eq(category, STR("RFC5321"));
    bool is_header_wanted = !str_eq(category, STR("ERR"));
    enum err err = address_parse(text, &address, NULL);
    CHECK((err == OK) == is_smtp_wanted, "id %.*s %.*s: smtp form says %s", STR_ARG(id),
            STR_ARG(category), err_name(err));
    arena_init(&arena, 65536);
    err = address_list_parse(&arena, text, list, LIST_MAX, &count);
    CHECK((err == OK) == is_header_wanted, "id %.*s %.*s: header form says %s", STR_ARG(id),
            STR_ARG(category), err_name(err));
    CHECK(err != OK || (count == 1 && list[0].is_smtp == is_smtp_wanted) ||
                    str_eq(category, STR("CFWS")) || str_eq(category, STR("DEPREC")),
            "id %.*s: is_smtp wrong", STR_ARG(id));
    arena_done(&arena);
}

TEST(every_address_of_the_isemail_set_is_judged_as_wanted)
{
    struct buf text;
    data_read("tests/data/addresses/isemail.tsv", &text);
    struct str line, rest = buf_str(&text);
    CHECK(str_cut(&rest, '\n', &line)); /* titles */
    size_t count = 0;
    for (; str_cut(&rest, '\n', &line); count++) {
        check_isemail_row(line);
    }
    CHECK_U64(count, 102);
    buf_done(&text);
}

TEST(a_plain_mailbox_is_cut_at_the_at)
{
    struct address address;
    REQUIRE_OK(parse("<Joe.Doe+x@Example.COM>", &address));
    CHECK_STR(address.local, STR("Joe.Doe+x"));
    CHECK_STR(address.domain, STR("Example.COM"));
    CHECK(address.is_smtp && !address.is_literal && !address.is_quoted && !address.is_utf8);
    REQUIRE_OK(parse("a@my_host.example", &address));
}

TEST(a22_a_source_route_is_dropped_and_the_rest_decides)
{
    struct address address;
    REQUIRE_OK(parse("<@a.example,@b.example:u@d.example>", &address));
    CHECK_STR(address.local, STR("u"));
    CHECK_STR(address.domain, STR("d.example"));
    CHECK_ERR(parse("<@a.example:>", &address), E_SYNTAX);
    CHECK_ERR(parse("<@a.example,:u@d>", &address), E_SYNTAX);
    CHECK_ERR(parse("<@a b:u@d>", &address), E_SYNTAX);
    CHECK_ERR(parse("<@[1.2.3.4]:u@d>", &address), E_SYNTAX);
    CHECK_ERR(parse("<a.example:u@d>", &address), E_SYNTAX);
    CHECK_ERR(parse("<@a.example u@d>", &address), E_SYNTAX);
}

TEST(a23_the_last_unquoted_at_splits_and_quotes_are_kept_only_where_needed)
{
    struct address address;
    char text[ADDRESS_TEXT_CAP];
    REQUIRE_OK(parse("\"a@b>c\\\\d\\\"e\"@Example.org", &address));
    CHECK(address.is_quoted);
    CHECK_STR(address.domain, STR("Example.org"));
    CHECK_STR(address_normal(&address, text), STR("\"a@b>c\\\\d\\\"e\"@example.org"));
    REQUIRE_OK(parse("\"j\\oe.d\"@Example.org", &address));
    CHECK_STR(address_normal(&address, text), STR("joe.d@example.org"));
    REQUIRE_OK(parse("\"-joe\"@example.org", &address));
    CHECK_STR(address_normal(&address, text), STR("\"-joe\"@example.org"));
    REQUIRE_OK(parse("\"\"@example.org", &address));
    CHECK_STR(address_normal(&address, text), STR("\"\"@example.org"));
    CHECK_STR(address_domain_lower(&address, text), STR("example.org"));
    static const char bad[][24] = { "\"a\r\nb\"@d", "\"\\\xc3\xa4\"@d", "\"a\\\nb\"@d",
        "\"a\x7f\"@d", "\"a\"b@d", "\"\\" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK_ERR(parse(bad[i], &address), E_SYNTAX);
    }
    CHECK_ERR(address_parse(STR("\"a\0b\"@d"), &address, NULL), E_SYNTAX);
}

TEST(a24_a_literal_is_checked_and_flagged)
{
    struct address address;
    REQUIRE_OK(parse("u@[192.0.2.1]", &address));
    CHECK(address.is_literal);
    REQUIRE_OK(parse("u@[IPv6:2001:db8::1]", &address));
    CHECK(address.is_literal);
    static const char *const bad[] = { "u@[192.0.2]", "u@[192.0.2.256]", "u@[192.0.2.1.]", "u@[]",
        "u@[IPv6:]", "u@[IPv6:1:2:3:4:5:6:7:8:]", "u@[IPv6:1::2::3]", "u@[x-tag:1]", "u@[192.0.2.1",
        "u@[0192.0.2.1]" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(parse(bad[i], &address) == E_SYNTAX, "%s was taken", bad[i]);
    }
}

TEST(a25_percent_and_bang_are_opaque_and_two_ats_are_refused)
{
    struct address address;
    REQUIRE_OK(parse("a%b@us.example", &address));
    CHECK_STR(address.local, STR("a%b"));
    REQUIRE_OK(parse("b!a@us.example", &address));
    CHECK_ERR(parse("a@b@c", &address), E_SYNTAX);
}

TEST(a26_a_local_part_that_looks_like_an_option_is_refused)
{
    struct address address;
    CHECK_ERR(parse("-oX@example.org", &address), E_SYNTAX);
    REQUIRE_OK(parse("a|$@example.org", &address)); /* data only */
}

TEST(a27_an_encoded_word_in_an_address_is_never_decoded)
{
    struct address address;
    REQUIRE_OK(parse("=?utf-8?q?joe=40x.example?=@example.org", &address));
    CHECK_STR(address.local, STR("=?utf-8?q?joe=40x.example?="));
}

TEST(a17_utf8_is_flagged_and_broken_utf8_is_refused)
{
    struct address address;
    REQUIRE_OK(parse("j\xc3\xb6rg@example.org", &address));
    CHECK(address.is_utf8);
    REQUIRE_OK(parse("joe@b\xc3\xbc"
                     "cher.example",
            &address));
    CHECK(address.is_utf8);
    CHECK_ERR(parse("j\xc3@example.org", &address), E_SYNTAX);
    CHECK_ERR(parse("j\xed\xa0\x80@example.org", &address), E_SYNTAX);
}

TEST(what_is_no_mailbox_is_refused_with_words)
{
    static const char *const bad[] = { "", "<", "<>", "<a@b", "a@b>", "a", "@b", "a@", ".a@b",
        "a.@b", "a..b@c", "a b@c", " a@b", "a@b ", "a@b..c", "a@-b", "a@b-", "a@b.", "a@b c",
        "a@b,c@d", "postmaster", "(c)a@b" };
    struct address address;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(parse(bad[i], &address) == E_SYNTAX, "\"%s\" was taken", bad[i]);
    }
    CHECK(address_is_postmaster(STR("<PostMaster>")) && address_is_postmaster(STR("postmaster")));
    CHECK(!address_is_postmaster(STR("postmaster@x")) &&
            !address_is_postmaster(STR("<postmaster")));
}

/* count times c, then tail. */
static struct str many(char *dst, char c, size_t count, const char *tail)
{
    memset(dst, c, count);
    memcpy(dst + count, tail, strlen(tail));
    return str_of(dst, count + strlen(tail));
}

TEST(local_part_domain_and_whole_have_their_limits)
{
    char text[600];
    struct address address;
    REQUIRE_OK(address_parse(many(text, 'a', 64, "@b"), &address, NULL));
    CHECK_ERR(address_parse(many(text, 'a', 65, "@b"), &address, NULL), E_TOO_BIG);
    struct buf whole;
    buf_init(&whole, 1000);
    buf_add(&whole, STR("u@"));
    for (int i = 0; i < 63; i++) {
        buf_add(&whole, STR("abc."));
    }
    REQUIRE_OK(address_parse(str_sub(buf_str(&whole), 0, whole.len - 1), &address, NULL)); /* 253 */
    buf_add(&whole, STR("d"));
    CHECK_ERR(address_parse(buf_str(&whole), &address, NULL), E_TOO_BIG); /* 255 */
    buf_add(&whole, STR("efghijk"));
    CHECK_ERR(address_parse(buf_str(&whole), &address, NULL), E_TOO_BIG);
    buf_done(&whole);
}

/* --- lists ------------------------------------------------------------------------------------ */

static enum err list(
        struct arena *arena, const char *text, struct address ret[LIST_MAX], size_t *ret_count)
{
    *ret_count = 0;
    return address_list_parse(arena, str_from_c(text), ret, LIST_MAX, ret_count);
}

TEST(display_names_comments_and_folds_are_read_over)
{
    static const char *const forms[] = { "joe@example.org", "Joe Doe <joe@example.org>",
        "\"Doe, Joe\" <joe@example.org>", "Joe Q. Doe <joe@example.org>", "<joe@example.org>",
        "joe@example.org (Joe (the) \\) Doe)", "(x) joe (y) @ (z) example.org (w)",
        "Joe\r\n Doe\r\n\t<joe@example.org>", "=?utf-8?q?J=C3=B6?= <joe@example.org>",
        "J\xc3\xb6 <joe@example.org>", " , joe@example.org,, ", "joe @ example . org",
        "<@a.example,@b.example:joe@example.org>", "< joe@example.org > (c)",
        "Joe <,@a.example:joe@example.org>" };
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        struct arena arena;
        struct address address[LIST_MAX];
        size_t count;
        arena_init(&arena, 65536);
        CHECK(list(&arena, forms[i], address, &count) == OK, "%s", forms[i]);
        CHECK_U64(count, 1);
        CHECK_STR(address[0].local, STR("joe"));
        CHECK_STR(address[0].domain, STR("example.org"));
        CHECK(address[0].is_smtp, "%s", forms[i]);
        arena_done(&arena);
    }
}

TEST(a_list_gives_its_mailboxes_in_order)
{
    struct arena arena;
    struct address address[LIST_MAX];
    size_t count;
    arena_init(&arena, 65536);
    REQUIRE_OK(list(&arena, "a@x, B <\"b c\"@[192.0.2.1]>, \"-\".d@y", address, &count));
    CHECK_U64(count, 3);
    CHECK_STR(address[0].local, STR("a"));
    CHECK_STR(address[1].local, STR("\"b c\""));
    CHECK(address[1].is_quoted && address[1].is_literal && address[1].is_smtp);
    CHECK_STR(address[2].local, STR("\"-\".d"));
    CHECK(!address[2].is_smtp);
    REQUIRE_OK(list(&arena, "\"a\r\n b\"(x).c@y", address, &count));
    CHECK_STR(address[0].local, STR("\"a b\".c"));
    REQUIRE_OK(list(&arena, "j\xc3\xb6@y", address, &count));
    CHECK(address[0].is_utf8 && address[0].is_smtp);
    arena_done(&arena);
}

TEST(what_could_be_read_in_two_ways_is_no_list)
{
    static const char *const bad[] = { "", " ", ",", "a@b <c@d>", "a@b c@d", "a@b x",
        "Team: a@b, c@d;", "Joe", "Joe <a@b", "Joe <a@b> x", "Joe <a>", "Joe <>", "<a@b>>", "a@b@c",
        "(a@b", "\"a@b", "a@b\r\n", "a@b\n", "a@[1.2.3.4", "a@[1[2]", "a@-b", "a@b-", "a@.b", "a@",
        "@b", "Joe;<a@b>", "a@\xc3", "<@x a@b>", "a@b (\\", "\"a\\", "<@x,@y>", "a.@b",
        "Joe \x01 <a@b>" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct arena arena;
        struct address address[LIST_MAX];
        size_t count;
        arena_init(&arena, 65536);
        CHECK(list(&arena, bad[i], address, &count) == E_SYNTAX, "\"%s\" was taken", bad[i]);
        CHECK_U64(count, 0);
        arena_done(&arena);
    }
}

TEST(a_list_has_limits_and_no_recursion)
{
    struct arena arena;
    struct address address[LIST_MAX];
    size_t count;
    struct buf text;
    arena_init(&arena, 65536);
    CHECK_ERR(list(&arena, "a@x,b@x,c@x,d@x,e@x", address, &count), E_TOO_BIG);
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 100000; i++) {
        buf_add_char(&text, '(');
    }
    CHECK_ERR(address_list_parse(&arena, buf_str(&text), address, LIST_MAX, &count), E_SYNTAX);
    buf_clear(&text);
    for (int i = 0; i < ADDRESS_TOKENS_MAX + 1; i++) {
        buf_add(&text, STR("x "));
    }
    buf_add(&text, STR("<a@b>"));
    CHECK_ERR(address_list_parse(&arena, buf_str(&text), address, LIST_MAX, &count), E_TOO_BIG);
    buf_clear(&text);
    for (int i = 0; i < ADDRESS_TOKENS_MAX + 1; i++) {
        buf_add(&text, STR("x."));
    }
    buf_add(&text, STR("y@b"));
    CHECK_ERR(address_list_parse(&arena, buf_str(&text), address, LIST_MAX, &count), E_TOO_BIG);
    buf_done(&text);
    arena_done(&arena);
    arena_init(&arena, 65536);
    mem_fail_at(1);
    CHECK_ERR(list(&arena, "a (c) . b@x", address, &count), E_NOMEM);
    mem_fail_at(0);
    arena_done(&arena);
}
