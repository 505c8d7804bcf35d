/* SPDX-License-Identifier: Apache-2.0
 *
 * blob_test.c - contents, references, and a budget that always returns to zero.
 */
#include "core/blob.h"

#include "core/buf.h"
#include "core/prng.h"
#include "tests/test.h"

static void check_contents(const struct blob *blob, struct str expected)
{
    struct buf all;
    buf_init(&all, 1 << 20);
    for (const struct blob_chunk *chunk = blob->first; chunk; chunk = chunk->next) {
        CHECK(chunk->len <= chunk->cap);
        CHECK(chunk->next || chunk == blob->last);
        buf_add(&all, str_of(chunk->data, chunk->len));
    }
    CHECK_U64(blob->size_bytes, expected.len);
    CHECK_STR(buf_str(&all), expected);
    buf_done(&all);
}

TEST(blob_holds_what_was_added_in_any_split)
{
    static char bytes[300000];
    struct prng prng;
    prng_init(&prng, 3);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)prng_next(&prng);
    }
    static const size_t part_max[] = { 10, 1000, 70000, sizeof bytes };
    for (size_t n = 0; n < COUNT_OF(part_max); n++) {
        struct blob_budget budget = { .max_bytes = 1 << 20 };
        struct blob *blob = blob_new(&budget, 1000);
        CHECK(blob != NULL);
        size_t len_max = n == 0 ? 20000 : sizeof bytes;
        size_t at = 0;
        while (at < len_max) {
            size_t part = prng_below(&prng, part_max[n]) + 1;
            part = part < len_max - at ? part : len_max - at;
            REQUIRE_OK(blob_add(blob, str_of(bytes + at, part)));
            at += part;
        }
        check_contents(blob, str_of(bytes, at));
        CHECK_U64(budget.used_bytes, blob->taken_bytes);
        blob_give(blob);
        CHECK_U64(budget.used_bytes, 0);
    }
}

TEST(blob_of_the_hinted_size_is_one_chunk_and_one_allocation)
{
    mem_fail_at(2);
    struct blob *blob = blob_new(NULL, 500);
    CHECK(blob != NULL);
    char bytes[500] = "x";
    REQUIRE_OK(blob_add(blob, str_of(bytes, sizeof bytes)));
    REQUIRE_OK(blob_add(blob, (struct str){ 0 }));
    mem_fail_at(0);
    CHECK(blob->first == blob->last);
    check_contents(blob, str_of(bytes, sizeof bytes));
    blob_give(blob);
}

TEST(blob_lives_until_its_last_reference_is_given)
{
    struct blob_budget budget = { .max_bytes = 10000 };
    struct blob *blob = blob_new(&budget, 10);
    CHECK(blob != NULL);
    REQUIRE_OK(blob_add(blob, STR("hello")));
    CHECK(blob_take(blob) == blob);
    blob_give(blob);
    check_contents(blob, STR("hello"));
    CHECK(budget.used_bytes > 0);
    blob_give(blob);
    CHECK_U64(budget.used_bytes, 0);
    CHECK(blob_take(NULL) == NULL);
    blob_give(NULL);
}

TEST(blob_past_the_budget_is_refused_and_stays_as_it_was)
{
    static char bytes[70000];
    struct blob_budget budget = { .max_bytes = 70000 };
    CHECK(blob_new(&(struct blob_budget){ .max_bytes = 20 }, 0) == NULL);
    struct blob *blob = blob_new(&budget, 0);
    CHECK(blob != NULL);
    REQUIRE_OK(blob_add(blob, STR("abc")));
    uint64_t used = budget.used_bytes;
    CHECK_ERR(blob_add(blob, str_of(bytes, sizeof bytes)), E_FULL);
    CHECK_U64(budget.used_bytes, used);
    check_contents(blob, STR("abc"));
    REQUIRE_OK(blob_add(blob, STR("def")));
    check_contents(blob, STR("abcdef"));
    blob_give(blob);
    CHECK_U64(budget.used_bytes, 0);
}

TEST(blob_survives_refused_memory_at_any_call)
{
    static char bytes[200000];
    bool failed = true;
    for (uint64_t nth = 1; failed; nth++) {
        struct blob_budget budget = { .max_bytes = 1 << 20 };
        mem_fail_at(nth);
        struct blob *blob = blob_new(&budget, 100);
        failed = blob == NULL;
        if (blob) {
            enum err err = blob_add(blob, str_of(bytes, sizeof bytes));
            failed = err != OK;
            mem_fail_at(0);
            CHECK(err == OK || err == E_NOMEM, "%s", err_name(err));
            CHECK_U64(blob->size_bytes, failed ? 0 : sizeof bytes);
            check_contents(blob, str_of(bytes, failed ? 0 : sizeof bytes));
        }
        blob_give(blob);
        CHECK_U64(budget.used_bytes, 0);
        CHECK(nth < 20);
    }
    mem_fail_at(0);
}

TEST(a_copy_lies_in_one_chunk_however_large_it_is)
{
    static char bytes[3 * BLOB_CHUNK_BYTES + 17];
    memset(bytes, 'x', sizeof bytes);
    struct blob_budget budget = { .max_bytes = 1 << 20 };
    struct blob *blob = blob_copy(&budget, str_of(bytes, sizeof bytes));
    CHECK(blob && blob->first == blob->last && blob->first->next == NULL);
    CHECK_STR(str_of(blob->first->data, blob->first->len), str_of(bytes, sizeof bytes));
    blob_give(blob);
    CHECK_U64(atomic_load(&budget.used_bytes), 0);
    budget.max_bytes = sizeof bytes;
    CHECK(blob_copy(&budget, str_of(bytes, sizeof bytes)) == NULL);
}
