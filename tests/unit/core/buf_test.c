/* SPDX-License-Identifier: Apache-2.0
 *
 * buf_test.c - appends, the maximum, sticky errors, and the cursor that reads it back.
 */
#include "core/buf.h"

#include "tests/test.h"

TEST(buf_appends_every_kind)
{
    struct buf buf;
    buf_init(&buf, 1000);
    buf_add(&buf, STR("ab"));
    buf_add(&buf, (struct str){ 0 });
    buf_add_c(&buf, "cd");
    buf_add_char(&buf, 'e');
    buf_addf(&buf, "%d%s", 12, "f");
    CHECK_STR(buf_str(&buf), STR("abcde12f"));
    buf_cut(&buf, 6);
    buf_drop_front(&buf, 1);
    CHECK_STR(buf_str(&buf), STR("bcde1"));
    buf_drop_front(&buf, 0);
    buf_drop_front(&buf, 5);
    CHECK_STR(buf_str(&buf), STR(""));
    REQUIRE_OK(buf_err(&buf));
    buf_done(&buf);
    CHECK(buf.ptr == NULL && buf.max_bytes == 1000);
}

TEST(buf_takes_exactly_its_maximum_and_not_one_more)
{
    for (size_t max = 1; max < 400; max += 7) {
        struct buf buf;
        buf_init(&buf, max);
        for (size_t i = 0; i < max; i++) {
            buf_add_char(&buf, 'x');
        }
        REQUIRE_OK(buf_err(&buf));
        CHECK(buf.cap <= max);
        buf_add_char(&buf, 'y');
        CHECK_ERR(buf_err(&buf), E_TOO_BIG);
        CHECK_U64(buf.len, max);
        buf_done(&buf);
    }
}

TEST(buf_error_is_sticky_until_cleared)
{
    struct buf buf;
    buf_init(&buf, 4);
    buf_add(&buf, STR("abc"));
    buf_add(&buf, STR("de"));
    buf_add(&buf, STR("f"));
    buf_add_u16(&buf, 1);
    buf_addf(&buf, "%d", 1);
    CHECK(buf_space(&buf, 0) == NULL);
    CHECK_STR(buf_str(&buf), STR("abc"));
    CHECK_ERR(buf_err(&buf), E_TOO_BIG);
    buf_clear(&buf);
    buf_add(&buf, STR("wxyz"));
    REQUIRE_OK(buf_err(&buf));
    CHECK_STR(buf_str(&buf), STR("wxyz"));
    buf_done(&buf);
}

TEST(buf_without_memory_is_sticky_bad_and_keeps_its_bytes)
{
    struct buf buf;
    buf_init(&buf, 1000);
    mem_fail_at(2);
    buf_add(&buf, STR("abc"));
    CHECK(buf_space(&buf, 500) == NULL);
    CHECK_ERR(buf_err(&buf), E_NOMEM);
    buf_add(&buf, STR("d"));
    CHECK_STR(buf_str(&buf), STR("abc"));
    buf_done(&buf);
    REQUIRE_OK(buf_err(&buf));
    mem_fail_at(0);
    struct buf endless;
    buf_init(&endless, SIZE_MAX);
    CHECK(buf_space(&endless, SIZE_MAX - 1) == NULL);
    CHECK_ERR(buf_err(&endless), E_NOMEM);
    buf_done(&endless);
}

TEST(buf_all_zero_is_empty_and_takes_nothing)
{
    struct buf buf = { 0 };
    buf_add(&buf, STR(""));
    REQUIRE_OK(buf_err(&buf));
    CHECK(buf_space(&buf, 0) != NULL);
    buf_add_char(&buf, 'a');
    CHECK_ERR(buf_err(&buf), E_TOO_BIG);
    buf_done(&buf);
}

TEST(buf_prints_long_text_in_place_up_to_the_maximum)
{
    struct buf buf;
    buf_init(&buf, 700);
    buf_addf(&buf, "%0700d", 7);
    REQUIRE_OK(buf_err(&buf));
    CHECK_U64(buf.len, 700);
    CHECK(buf.ptr[699] == '7' && buf.ptr[0] == '0');
    buf_clear(&buf);
    buf_addf(&buf, "%0701d", 7);
    CHECK_ERR(buf_err(&buf), E_TOO_BIG);
    CHECK_U64(buf.len, 0);
    buf_done(&buf);
}

TEST(buf_space_is_written_in_place)
{
    struct buf buf;
    buf_init(&buf, 100);
    char *at = buf_space(&buf, 10);
    CHECK(at != NULL);
    memcpy(at, "hello", 5);
    buf_grew(&buf, 5);
    CHECK_STR(buf_str(&buf), STR("hello"));
    size_t len = 0;
    char *bytes = buf_take(&buf, &len);
    CHECK_STR(str_of(bytes, len), STR("hello"));
    CHECK(buf.ptr == NULL && buf.len == 0 && buf.max_bytes == 100);
    mem_free(bytes);
    buf_add_c(&buf, "again");
    CHECK_STR(buf_str(&buf), STR("again"));
    buf_done(&buf);
}

TEST(cursor_reads_back_what_buf_wrote)
{
    struct buf buf;
    buf_init(&buf, 1000);
    buf_add_char(&buf, (char)0xfe);
    buf_add_u16(&buf, 0x1234);
    buf_add_u32(&buf, 0xdeadbeef);
    buf_add_u64(&buf, 0x0123456789abcdef);
    buf_add_str32(&buf, STR("text"));
    buf_add_str32(&buf, STR(""));
    CHECK(memcmp(buf.ptr + 1, "\x34\x12\xef\xbe\xad\xde", 6) == 0, "little endian");
    struct cur cur = { .rest = buf_str(&buf) };
    CHECK_U64(cur_u8(&cur), 0xfe);
    CHECK_U64(cur_u16(&cur), 0x1234);
    CHECK_U64(cur_u32(&cur), 0xdeadbeef);
    CHECK_U64(cur_u64(&cur), 0x0123456789abcdef);
    CHECK_STR(cur_str32(&cur, 4), STR("text"));
    CHECK_STR(cur_str32(&cur, 0), STR(""));
    CHECK(!cur.bad && cur.rest.len == 0);
    buf_done(&buf);
}

TEST(cursor_past_the_end_is_bad_and_gives_zeros)
{
    struct cur cur = { .rest = STR("\x01\x02\x03") };
    CHECK_U64(cur_u32(&cur), 0);
    CHECK(cur.bad);
    CHECK_U64(cur_u8(&cur), 0);
    CHECK_U64(cur_u16(&cur), 0);
    CHECK_U64(cur_u64(&cur), 0);
    CHECK(cur_bytes(&cur, 0).ptr == NULL);
    struct cur empty = { 0 };
    CHECK_U64(cur_bytes(&empty, 0).len, 0);
    CHECK(!empty.bad);
}

TEST(cursor_refuses_a_string_over_its_limit_or_its_end)
{
    struct cur cur = { .rest = STR("\x05\0\0\0hello") };
    CHECK_STR(cur_str32(&cur, 4), STR(""));
    CHECK(cur.bad);
    cur = (struct cur){ .rest = STR("\xff\xff\xff\xffhello") };
    CHECK_STR(cur_str32(&cur, SIZE_MAX), STR(""));
    CHECK(cur.bad);
}

TEST(a_counted_string_is_added_whole_or_not_at_all)
{
    struct buf buf;
    buf_init(&buf, 8);
    buf_add_str32(&buf, STR("abcde"));
    CHECK_ERR(buf_err(&buf), E_TOO_BIG);
    CHECK_U64(buf.len, 0);
    buf_clear(&buf);
    buf_add_str32(&buf, str_of("x", (size_t)UINT32_MAX + 1));
    CHECK_ERR(buf_err(&buf), E_TOO_BIG);
    buf_clear(&buf);
    buf_add_str32(&buf, STR("abcd"));
    REQUIRE_OK(buf_err(&buf));
    buf_done(&buf);
}
