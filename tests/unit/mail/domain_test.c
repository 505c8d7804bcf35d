/* SPDX-License-Identifier: Apache-2.0
 *
 * domain_test.c - domain names: what is one, its comparable form, who registered it.
 */
#include "mail/domain.h"

#include "core/str.h"
#include "tests/test.h"

TEST(names_become_lower_case_a_labels)
{
    static const struct {
        const char *in, *out; /* out NULL: refused */
    } cases[] = {
        { "Example.COM", "example.com" }, { "Example.com.", "example.com" },
        { "b\xc3\xbc"
          "cher.example",
                "xn--bcher-kva.example" },
        { "B\xc3\x9c"
          "CHER.Example.",
                "xn--bcher-kva.example" },
        { "stra\xc3\x9f"
          "e.example",
                "xn--strae-oqa.example" }, /* non-transitional */
        { "_dmarc.example.com", "_dmarc.example.com" }, { "", NULL }, { ".", NULL },
        { "a..b", NULL }, { "-a.b", NULL }, { "a-.b", NULL }, { "a b.c", NULL }, { "a(b.c", NULL },
        { "\xc3.example", NULL }, { "\xe2\x80\x8d.example", NULL }, /* a lone joiner */
        { "a\xef\xbc\x8e"
          "b\xc3\xbc",
                "a.xn--b-eha" }, /* fullwidth full stop is a dot */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[DOMAIN_CAP];
        struct str ascii = { 0 };
        enum err err = domain_to_ascii(str_from_c(cases[i].in), text, &ascii);
        CHECK((err == OK) == (cases[i].out != NULL), "%s: %s", cases[i].in, err_name(err));
        if (cases[i].out) {
            CHECK_STR(ascii, str_from_c(cases[i].out));
            CHECK(text[ascii.len] == '\0');
        }
    }
    char text[DOMAIN_CAP];
    struct str ascii;
    CHECK_ERR(domain_to_ascii(STR("a\0.b"), text, &ascii), E_SYNTAX);
}

TEST(names_have_limits)
{
    char text[400];
    char ret_text[DOMAIN_CAP];
    struct str ascii;
    memset(text, 'a', sizeof text);
    CHECK(domain_is_hostname(str_of(text, 63)) && !domain_is_hostname(str_of(text, 64)));
    for (size_t i = 63; i < sizeof text; i += 64) {
        text[i] = '.';
    }
    CHECK(domain_is_hostname(str_of(text, 253)) && !domain_is_hostname(str_of(text, 254)));
    REQUIRE_OK(domain_to_ascii(str_of(text, 253), ret_text, &ascii));
    CHECK_ERR(domain_to_ascii(str_of(text, 254), ret_text, &ascii), E_SYNTAX);
    CHECK_ERR(domain_to_ascii(str_of(text, 400), ret_text, &ascii), E_SYNTAX);
    memcpy(text, "\xc3\xbc", 2);
    CHECK_ERR(domain_to_ascii(str_of(text, 400), ret_text, &ascii), E_SYNTAX);
}

TEST(host_names_have_no_underscore_and_do_not_end_in_digits)
{
    CHECK(domain_is_hostname(STR("mx-1.example.com")) && domain_is_hostname(STR("localhost")));
    CHECK(!domain_is_hostname(STR("a_b.example")) && domain_is_dns_name(STR("a_b.example")));
    CHECK(!domain_is_hostname(STR("1.2.3.4")) && domain_is_dns_name(STR("1.2.3.4")));
    CHECK(!domain_is_hostname(STR("a.")) && !domain_is_hostname(STR("")));
    CHECK(!domain_is_dns_name(STR("a.\xc3\xbc")));
}

TEST(below_is_by_labels)
{
    CHECK(domain_is_within(STR("a.Example.com"), STR("example.com")));
    CHECK(domain_is_within(STR("example.com"), STR("EXAMPLE.com")));
    CHECK(!domain_is_within(STR("badexample.com"), STR("example.com")));
    CHECK(!domain_is_within(STR("com"), STR("example.com")));
    CHECK(!domain_is_within(STR("example.com"), STR("")));
}

TEST(the_suffix_list_finds_who_registered_a_name)
{
    struct str name = STR("a.b.example.co.uk");
    CHECK_STR(domain_organizational(name), STR("example.co.uk"));
    CHECK_STR(domain_organizational(STR("example.com")), STR("example.com"));
    CHECK_STR(domain_organizational(STR("co.uk")), STR("co.uk"));
    CHECK(domain_is_public_suffix(STR("co.uk")) && !domain_is_public_suffix(STR("example.co.uk")));
    char text[400];
    memset(text, 'a', sizeof text);
    CHECK_STR(domain_organizational(str_of(text, 400)), str_of(text, 400));
}
