/* SPDX-License-Identifier: Apache-2.0
 *
 * enhanced_test.c - enhanced status codes, honest and lying (hostile-input H11).
 */
#include "mail/enhanced.h"

#include "core/str.h"
#include "tests/test.h"

static void check_code(struct enhanced code, const char *expected)
{
    char text[ENHANCED_TEXT_CAP];
    enhanced_format(code, text);
    CHECK_STR(str_from_c(text), str_from_c(expected));
}

TEST(a_code_at_the_start_is_read_and_cut_off)
{
    struct enhanced code;
    struct str rest;
    CHECK(enhanced_parse(STR("2.1.5 Ok"), &code, &rest));
    check_code(code, "2.1.5");
    CHECK_STR(rest, STR("Ok"));
    CHECK(enhanced_parse(STR("5.7.999"), &code, NULL));
    check_code(code, "5.7.999");
    CHECK(enhanced_parse(STR("4.0.0\t x"), &code, &rest));
    CHECK_STR(rest, STR("x"));
    static const char *const bad[] = { "", "2", "2.1", "2.1.", "2.1.5x", "2.1.5.6", "3.1.1",
        "25.1.1", "5..1", "2.01.5", "2.1.1234", " 2.1.5", "2.-1.5", "x.1.5", "2,1,5" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(!enhanced_parse(str_from_c(bad[i]), &code, NULL), "%s", bad[i]);
    }
}

TEST(h11_the_basic_code_wins_over_a_lying_enhanced_one)
{
    struct str rest;
    CHECK(!enhanced_is_set(enhanced_of_reply(250, STR("5.1.1 gone"), &rest)));
    CHECK_STR(rest, STR("5.1.1 gone"));
    CHECK(!enhanced_is_set(enhanced_of_reply(550, STR("2.0.0 fine"), NULL)));
    CHECK(!enhanced_is_set(enhanced_of_reply(550, STR("5..1"), NULL)));
    check_code(enhanced_of_reply(550, STR("5.1.1 gone"), &rest), "5.1.1");
    CHECK_STR(rest, STR("gone"));
}

TEST(a_reply_without_code_gets_that_of_its_class)
{
    check_code(enhanced_or_default(550, STR("no")), "5.0.0");
    check_code(enhanced_or_default(451, STR("5.1.1 no")), "4.0.0");
    check_code(enhanced_or_default(250, STR("")), "2.0.0");
    check_code(enhanced_or_default(354, STR("")), "5.0.0");
    check_code(enhanced_or_default(550, STR("5.7.1 no")), "5.7.1");
}

TEST(situations_have_their_codes)
{
    check_code(enhanced_for(SITUATION_NULL_MX), "5.1.10");
    check_code(enhanced_for(SITUATION_DNS_FAILED), "4.4.3");
    for (int s = 0; s < SITUATION_COUNT; s++) {
        CHECK(enhanced_is_set(enhanced_for((enum enhanced_situation)s)), "%d", s);
    }
}
