/* SPDX-License-Identifier: Apache-2.0
 *
 * arena_test.c - alignment, zeroes, the limit, and refused memory.
 */
#include "core/arena.h"

#include "core/str.h"
#include "tests/test.h"

TEST(arena_pieces_are_zeroed_aligned_and_apart)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    char *last = NULL;
    for (size_t size = 1; size < 700; size += 13) {
        char *piece = arena_new(&arena, size);
        CHECK(piece != NULL, "size %zu", size);
        CHECK(((uintptr_t)piece & 15) == 0, "size %zu", size);
        for (size_t i = 0; i < size; i++) {
            CHECK(piece[i] == 0, "size %zu byte %zu", size, i);
        }
        memset(piece, 0xaa, size);
        CHECK(piece != last);
        last = piece;
    }
    arena_done(&arena);
    CHECK_U64(arena.total_bytes, 0);
}

TEST(arena_gives_null_past_its_limit_and_lives_on)
{
    struct arena arena;
    arena_init(&arena, 10000);
    CHECK(arena_new(&arena, 10001) == NULL);
    CHECK(arena_new(&arena, SIZE_MAX) == NULL);
    size_t given = 0;
    while (arena_new(&arena, 100)) {
        given += 100;
    }
    CHECK(given > 8000 && given <= 10000, "%zu", given);
    CHECK(arena.total_bytes <= 10000);
    arena_reset(&arena);
    CHECK(arena_new(&arena, 100) != NULL);
    arena_done(&arena);
}

TEST(arena_all_zero_is_valid_and_gives_nothing)
{
    struct arena arena = { 0 };
    CHECK(arena_new(&arena, 1) == NULL);
    arena_reset(&arena);
    arena_done(&arena);
}

TEST(arena_reset_keeps_one_block_and_zeroes_it_again)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    char *first = arena_new(&arena, 64);
    CHECK(first != NULL);
    memset(first, 1, 64);
    for (int i = 0; i < 100; i++) {
        CHECK(arena_new(&arena, 1000) != NULL);
    }
    arena_reset(&arena);
    CHECK(arena.first != NULL && arena.total_bytes <= 65536);
    char *again = arena_new(&arena, 64);
    CHECK(again != NULL && again[0] == 0 && again[63] == 0);
    arena_done(&arena);
}

TEST(arena_large_piece_does_not_waste_the_current_block)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    char *small = arena_new(&arena, 16);
    char *large = arena_new(&arena, 100000);
    char *next = arena_new(&arena, 16);
    CHECK(small && large && next);
    CHECK(next == small + 16);
    memset(large, 1, 100000);
    arena_done(&arena);
}

TEST(arena_strings_are_copied_and_terminated)
{
    struct arena arena;
    arena_init(&arena, 4096);
    char source[] = "hello";
    struct str copy = arena_str(&arena, str_of(source, 5));
    source[0] = 'j';
    CHECK_STR(copy, STR("hello"));
    CHECK(copy.ptr[5] == '\0');
    struct str empty = arena_str(&arena, (struct str){ 0 });
    CHECK(empty.ptr != NULL && empty.len == 0 && empty.ptr[0] == '\0');
    CHECK_STR(arena_strf(&arena, "%s-%d", "a", 7), STR("a-7"));
    struct str none = arena_strf(&arena, "%s", "");
    CHECK(none.ptr != NULL && none.len == 0);
    arena_done(&arena);
}

TEST(arena_strings_past_the_limit_have_no_ptr)
{
    struct arena arena;
    arena_init(&arena, 4);
    struct str copy = arena_str(&arena, STR("hello"));
    CHECK(copy.ptr == NULL && copy.len == 0);
    copy = arena_strf(&arena, "%s", "hello");
    CHECK(copy.ptr == NULL && copy.len == 0);
    copy = arena_str(&arena, str_of("x", SIZE_MAX));
    CHECK(copy.ptr == NULL && copy.len == 0);
    CHECK_STR(arena_str(&arena, STR("abc")), STR("abc"));
    arena_done(&arena);
}

TEST(arena_survives_refused_memory_at_any_call)
{
    for (uint64_t nth = 1; nth < 6; nth++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        mem_fail_at(nth);
        int given = 0;
        for (int i = 0; i < 5; i++) {
            given += arena_new(&arena, 50000) != NULL;
        }
        mem_fail_at(0);
        CHECK(given >= 4, "nth %d: %d", (int)nth, given);
        CHECK(arena_new(&arena, 10) != NULL);
        arena_done(&arena);
    }
}
