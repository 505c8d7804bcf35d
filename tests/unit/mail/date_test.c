/* SPDX-License-Identifier: Apache-2.0
 *
 * date_test.c - RFC 5322 dates: current, obsolete, absurd.
 */
#include "mail/date.h"

#include "core/time.h"
#include "tests/test.h"

TEST(dates_of_all_kinds_are_read)
{
    static const struct {
        const char *text;
        const char *utc;
    } good[] = {
        { "Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T15:55:06.000Z" }, /* RFC 5322 A.1.1 */
        { "Tue, 1 Jul 2003 10:52:37 +0200", "2003-07-01T08:52:37.000Z" },
        { "Thu,\r\n 13\r\n Feb\r\n 1969\r\n 23:32\r\n -0330 (Newfoundland Time)", NULL }, /* A.5 */
        { "21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06.000Z" }, /* A.6.2 */
        { "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600",
                "1997-11-21T15:55:06.000Z" }, /* A.6.3 */
        { "1 Jan 49 00:00 EST", "2049-01-01T05:00:00.000Z" },
        { "1 Jan 099 00:00 Z", "1999-01-01T00:00:00.000Z" },
        { "29 Feb 2024 23:59:60 +0000", "2024-03-01T00:00:00.000Z" },
        { "Friday 21 November 1997 09:55:06 pdt", "1997-11-21T16:55:06.000Z" },
        { "1 Jan 2000 00:00:00 XYZ", "2000-01-01T00:00:00.000Z" },
        { "1 Jan 2000 00:00:00 UT (a \\) (b))", "2000-01-01T00:00:00.000Z" },
        { "31 Dec 9999 23:59:59 +9959", "9999-12-27T20:00:59.000Z" },
        { "1 Jan 1900 00:00:00 +0000", NULL },
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct wall wall;
        char text[TIME_TEXT_CAP];
        CHECK(date_parse(str_from_c(good[i].text), &wall) == OK, "%s", good[i].text);
        if (good[i].utc) {
            time_rfc3339(wall, text);
            CHECK_STR(str_from_c(text), str_from_c(good[i].utc));
        }
    }
    struct wall wall;
    REQUIRE_OK(date_parse(STR("Thu, 13 Feb 1969 23:32:00 -0330"), &wall));
    CHECK(wall.ms == -27723480000, "%lld", (long long)wall.ms);
}

TEST(what_is_no_date_is_refused)
{
    static const char *const bad[] = { "", "Fri", "Fri,", "Fri, ", "21 Nov 1997",
        "32 Jan 2000 0:0 Z", "0 Jan 2000 00:00 Z", "30 Feb 2000 00:00 Z", "29 Feb 2100 00:00 Z",
        "1 Foo 2000 00:00 Z", "1 Jan 2000 24:00 Z", "1 Jan 2000 00:60 Z", "1 Jan 2000 00:00:61 Z",
        "1 Jan 2000 00:00", "1 Jan 2000 00:00 +000", "1 Jan 2000 00:00 +00000",
        "1 Jan 2000 00:00 +0060", "1 Jan 2000 00:00 Z x", "1 Jan 99999 00:00 Z",
        "1 Jan 0000 00:00 Z", "1 Jan 1 00:00 Z", "Fri, 1 Jan 2000 00:00 (",
        "x y 1 Jan 2000 00:00 Z", "1 Jan 2000 00.00 Z", "(", "Fri (", "1 Jan 2000 00:00 5",
        "1 Jan (", "999999999999999999 Jan 2000 00:00 Z", "Fri;", "1 Jan 2000 00:00: Z" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct wall wall = { 7 };
        CHECK(date_parse(str_from_c(bad[i]), &wall) == E_SYNTAX, "\"%s\" was read", bad[i]);
        CHECK(wall.ms == 7, "\"%s\" wrote", bad[i]);
    }
    char deep[64];
    memset(deep, '(', sizeof deep);
    struct wall wall;
    CHECK_ERR(date_parse(str_of(deep, sizeof deep), &wall), E_SYNTAX);
}

TEST(a_formatted_date_is_read_back)
{
    for (int64_t ms = 0; ms < 4000000000000; ms += 98765432000) {
        char text[TIME_TEXT_CAP];
        struct wall wall;
        size_t len = time_rfc5322((struct wall){ ms }, text);
        REQUIRE_OK(date_parse(str_of(text, len), &wall));
        CHECK(wall.ms == ms, "%s", text);
    }
}
