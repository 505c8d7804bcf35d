/* SPDX-License-Identifier: Apache-2.0
 *
 * ip_test.c - spellings, networks and the classes that public mail must not reach.
 */
#include "core/ip.h"

#include "tests/test.h"

static struct ip ip(const char *text)
{
    struct ip result;
    if (ip_parse(str_from_c(text), &result) != OK) {
        test_fail(__FILE__, __LINE__, "%s does not parse", text);
    }
    return result;
}

TEST(addresses_are_read_and_written_in_their_one_form)
{
    static const char *const rows[][2] = {
        { "192.0.2.1", "192.0.2.1" },
        { "0.0.0.0", "0.0.0.0" },
        { "2001:DB8:0:0:0:0:0:1", "2001:db8::1" },
        { "2001:db8::1:0:0:1", "2001:db8::1:0:0:1" },
        { "[2001:db8::1]", "2001:db8::1" },
        { "::", "::" },
        { "::ffff:192.0.2.1", "192.0.2.1" },
        { "::ffff:c000:201", "192.0.2.1" },
        { "[::ffff:192.0.2.1]", "192.0.2.1" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char dst[IP_TEXT_CAP];
        CHECK_STR(ip_format(ip(rows[i][0]), dst), str_from_c(rows[i][1]));
    }
}

TEST(what_is_no_address_is_refused)
{
    static const char *const rows[] = { "", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4",
        "1.2.3.4 ", " 1.2.3.4", "[1.2.3.4]", "[::1", "::1]", "[]", "fe80::1%eth0", "fe80::1%1",
        ":::", "1::2::3", "12345::", "::ffff:1.2.3", "1.2.3.4/8", "0x7f.1",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff" };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct ip got;
        CHECK(ip_parse(str_from_c(rows[i]), &got) == E_SYNTAX, "\"%s\" was taken", rows[i]);
    }
    struct ip got;
    CHECK_ERR(ip_parse(STR("1.2.3.4\0"), &got), E_SYNTAX);
}

TEST(an_address_with_a_port_needs_brackets_around_ipv6)
{
    struct ip_port at;
    char dst[IP_TEXT_CAP];
    REQUIRE_OK(ip_port_parse(STR("192.0.2.1:25"), &at));
    CHECK_STR(ip_port_format(at, dst), STR("192.0.2.1:25"));
    REQUIRE_OK(ip_port_parse(STR("[2001:db8::1]:587"), &at));
    CHECK_STR(ip_port_format(at, dst), STR("[2001:db8::1]:587"));
    REQUIRE_OK(ip_port_parse(STR("[::ffff:10.0.0.1]:65535"), &at));
    CHECK_STR(ip_port_format(at, dst), STR("10.0.0.1:65535"));
    static const char *const bad[] = { "", ":", "192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", ":25",
        "192.0.2.1:-1", "192.0.2.1:+25", "192.0.2.1: 25", "::1:25", "[::1]25", "[::1]",
        "[::1]:", "[192.0.2.1]:25" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(ip_port_parse(str_from_c(bad[i]), &at) == E_SYNTAX, "\"%s\" was taken", bad[i]);
    }
}

TEST(networks_hold_what_their_prefix_says)
{
    static const struct {
        const char *net, *inside, *outside;
    } rows[] = {
        { "10.0.0.0/8", "10.255.255.255", "11.0.0.0" },
        { "192.0.2.1", "192.0.2.1", "192.0.2.2" },
        { "192.0.2.128/25", "192.0.2.129", "192.0.2.127" },
        { "0.0.0.0/0", "255.255.255.255", "::1" },
        { "::/0", "2001:db8::1", "10.0.0.1" },
        { "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::" },
        { "::1", "::1", "::2" },
        { "::ffff:10.0.0.0/104", "::ffff:10.1.2.3", "::ffff:11.0.0.0" },
        { "10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct ip_net net;
        REQUIRE_OK(ip_net_parse(str_from_c(rows[i].net), &net));
        CHECK(ip_in(ip(rows[i].inside), &net), "%s not in %s", rows[i].inside, rows[i].net);
        CHECK(!ip_in(ip(rows[i].outside), &net), "%s in %s", rows[i].outside, rows[i].net);
    }
    static const char *const bad[] = { "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "/8", "::1/127",
        "::/129", "10.0.0.0/8/8", "::ffff:0.0.0.0/80" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct ip_net net;
        CHECK(ip_net_parse(str_from_c(bad[i]), &net) == E_SYNTAX, "\"%s\" was taken", bad[i]);
    }
}

TEST(no_address_is_in_no_network)
{
    struct ip_net all;
    REQUIRE_OK(ip_net_parse(STR("::/0"), &all));
    CHECK(!ip_in((struct ip){ 0 }, &all));
    CHECK(!ip_in((struct ip){ 0 }, &(struct ip_net){ 0 }));
}

TEST(masking_keeps_the_prefix_only)
{
    char dst[IP_TEXT_CAP];
    CHECK_STR(ip_format(ip_masked(ip("192.0.2.77"), 32), dst), STR("192.0.2.77"));
    CHECK_STR(ip_format(ip_masked(ip("192.0.2.77"), 26), dst), STR("192.0.2.64"));
    CHECK_STR(ip_format(ip_masked(ip("2001:db8:1:2:3:4:5:6"), 64), dst), STR("2001:db8:1:2::"));
    CHECK_STR(ip_format(ip_masked(ip("2001:db8::1"), 0), dst), STR("::"));
}

TEST(internal_addresses_are_known_in_every_spelling)
{
    static const char *const internal[] = { "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1",
        "100.127.255.255", "127.0.0.1", "127.255.255.255", "169.254.1.1", "172.16.0.1",
        "172.31.255.255", "192.168.0.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
        "255.255.255.255", "::", "::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1",
        "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::127.0.0.1", "::10.0.0.1",
        "64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1",
        "2002:c0a8:1::" };
    static const char *const public[] = { "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255",
        "100.128.0.0", "126.255.255.255", "128.0.0.1", "169.253.1.1", "172.15.255.255",
        "172.32.0.0", "192.0.2.1", "192.167.1.1", "192.169.0.1", "198.51.100.1", "223.255.255.255",
        "2001:db8::1", "2606:4700::1111", "64:ff9b::1.1.1.1", "2002:101:101::", "::ffff:1.1.1.1",
        "fbff::1" };
    for (size_t i = 0; i < COUNT_OF(internal); i++) {
        CHECK(ip_is_internal(ip(internal[i])), "%s counts as public", internal[i]);
    }
    for (size_t i = 0; i < COUNT_OF(public); i++) {
        CHECK(!ip_is_internal(ip(public[i])), "%s counts as internal", public[i]);
    }
    CHECK(ip_is_internal((struct ip){ 0 }));
    /* A record of the net is not canonicalised: the mapped form itself must be known. */
    struct ip mapped = { .family = IP_V6,
        .byte = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } };
    CHECK(ip_is_internal(mapped));
    CHECK(ip_is_loopback(mapped));
}

TEST(loopback_is_127_and_one)
{
    CHECK(ip_is_loopback(ip("127.0.0.1")));
    CHECK(ip_is_loopback(ip("127.1.2.3")));
    CHECK(ip_is_loopback(ip("::1")));
    CHECK(ip_is_loopback(ip("::ffff:127.0.0.1")));
    CHECK(!ip_is_loopback(ip("128.0.0.1")));
    CHECK(!ip_is_loopback(ip("::2")));
    CHECK(!ip_is_loopback((struct ip){ 0 }));
}
