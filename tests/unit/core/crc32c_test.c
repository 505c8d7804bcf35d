/* SPDX-License-Identifier: Apache-2.0
 *
 * crc32c_test.c - the vectors of RFC 3720 B.4, and the two ways against each other.
 */
#include "core/crc32c.h"

#include "core/crc32c_priv.h"
#include "core/prng.h"
#include "tests/test.h"

static void check_both(struct str s, uint32_t expected)
{
    CHECK_U64(crc32c(0, s), expected);
    CHECK_U64(crc32c_by_table(0, s), expected);
    if (crc32c_cpu_helps()) {
        CHECK_U64(crc32c_by_cpu(0, s), expected);
    }
}

TEST(crc32c_follows_the_vectors_of_rfc_3720)
{
    char bytes[32];
    memset(bytes, 0, sizeof bytes);
    check_both(str_of(bytes, sizeof bytes), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    check_both(str_of(bytes, sizeof bytes), 0x62a8ab43);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)i;
    }
    check_both(str_of(bytes, sizeof bytes), 0x46dd794e);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)(31 - i);
    }
    check_both(str_of(bytes, sizeof bytes), 0x113fdb5c);
    static const char read_command[] = "\x01\xc0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x14\0\0\0\0\0\x04\0"
                                       "\0\0\0\x14\0\0\0\x18\x28\0\0\0\0\0\0\0\x02\0\0\0\0\0\0";
    check_both(str_of(read_command, 48), 0xd9963a56);
    check_both(STR("123456789"), 0xe3069283);
    check_both((struct str){ 0 }, 0);
}

TEST(crc32c_is_the_same_for_any_split_offset_and_way)
{
    char bytes[100];
    struct prng prng;
    prng_init(&prng, 5);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)prng_next(&prng);
    }
    for (size_t start = 0; start < 9; start++) {
        struct str s = str_of(bytes + start, sizeof bytes - start);
        uint32_t whole = crc32c_by_table(0, s);
        check_both(s, whole);
        for (size_t cut = 0; cut <= s.len; cut++) {
            uint32_t first = crc32c(0, str_of(s.ptr, cut));
            CHECK_U64(crc32c(first, str_of(s.ptr + cut, s.len - cut)), whole);
            first = crc32c_by_table(0, str_of(s.ptr, cut));
            CHECK_U64(crc32c_by_table(first, str_of(s.ptr + cut, s.len - cut)), whole);
        }
    }
}
