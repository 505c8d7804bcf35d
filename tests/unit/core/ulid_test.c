/* SPDX-License-Identifier: Apache-2.0
 *
 * ulid_test.c - text and bytes of message names.
 */
#include "core/ulid.h"

#include "core/prng.h"
#include "tests/test.h"

static const uint8_t no_random[10];

TEST(ulid_time_is_the_first_ten_characters)
{
    /* the example of github.com/ulid/spec: 01ARZ3NDEKTSV4RRFFQ69G5FAV is from 1469922850259 */
    struct ulid ulid = ulid_make((struct wall){ 1469922850259 }, no_random);
    char text[ULID_TEXT_LEN + 1];
    ulid_format(ulid, text);
    CHECK_STR(str_from_c(text), STR("01ARZ3NDEK0000000000000000"));
    struct ulid spec;
    REQUIRE_OK(ulid_parse(STR("01ARZ3NDEKTSV4RRFFQ69G5FAV"), &spec));
    CHECK(memcmp(spec.byte, ulid.byte, 6) == 0);
}

TEST(ulid_parse_gives_back_what_format_took)
{
    struct prng prng;
    prng_init(&prng, 9);
    for (int n = 0; n < 500; n++) {
        struct ulid ulid, again;
        for (size_t i = 0; i < sizeof ulid.byte; i++) {
            ulid.byte[i] = n == 0 ? 0 : n == 1 ? 0xff : (uint8_t)prng_next(&prng);
        }
        char text[ULID_TEXT_LEN + 1];
        ulid_format(ulid, text);
        CHECK_U64(strlen(text), ULID_TEXT_LEN);
        REQUIRE_OK(ulid_parse(str_from_c(text), &again));
        CHECK(ulid_eq(ulid, again), "%s", text);
        for (char *c = text; *c; c++) {
            *c = (char)tolower((unsigned char)*c);
        }
        REQUIRE_OK(ulid_parse(str_from_c(text), &again));
        CHECK(ulid_eq(ulid, again), "%s", text);
    }
}

TEST(ulid_parse_refuses_what_is_not_one)
{
    static const struct str bad[] = {
        STR_INIT(""),
        STR_INIT("01ARZ3NDEKTSV4RRFFQ69G5FA"),
        STR_INIT("01ARZ3NDEKTSV4RRFFQ69G5FAVX"),
        STR_INIT("81ARZ3NDEKTSV4RRFFQ69G5FAV"),
        STR_INIT("01ARZ3NDEKTSV4RRFFQ69G5FAI"),
        STR_INIT("01ARZ3NDEKTSV4RRFFQ69G5FAu"),
        STR_INIT("L1ARZ3NDEKTSV4RRFFQ69G5FAV"),
        STR_INIT("01ARZ3NDEKTSV4RRFF\0Q69G5FA"),
        STR_INIT("01ARZ3NDEKTSV4RRFF Q69G5FA"),
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct ulid ulid;
        CHECK(ulid_parse(bad[i], &ulid) == E_SYNTAX, "'%.*s'", STR_ARG(bad[i]));
    }
}
