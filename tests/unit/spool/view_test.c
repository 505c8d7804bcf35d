/* SPDX-License-Identifier: Apache-2.0
 *
 * view_test.c - reading the journal from stored positions: with good hints, bad ones, after slots
 * were used again, without a living spool, and past damage.
 */
#include "tests/test.h"
#include "tests/unit/spool/fixture.h"

#include "core/str.h"
#include "spool/format_priv.h"

enum { COUNT = 40 };

static void tick(struct fixture *f, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++) {
        fixture_pass(f, 20);
        spool_tick(f->spool, clock_mono(&f->clock.base));
    }
}

static void fill(struct fixture *f, uint32_t first, uint32_t count, uint64_t *ids)
{
    for (uint32_t i = 0; i < count; i++) {
        REQUIRE_OK(fixture_accept(f, first + i, 1, 5000, &ids[i]));
        REQUIRE_OK(fixture_commit(f));
        tick(f, 1);
    }
}

/* Reads on from *at; how many messages came. *ret_gaps: how often something was missing. */
static uint32_t read_on(
        struct spool_view *view, struct spool_position *at, uint32_t *ret_gaps, uint32_t *ret_last)
{
    struct spool_record record;
    uint32_t count = 0;
    for (;;) {
        enum err err = spool_view_next(view, at, &record);
        if (err == E_EOF) {
            return count;
        }
        CHECK(err == OK || err == E_CORRUPT, "%s", err_name(err));
        *at = record.next;
        *ret_gaps += err == E_CORRUPT;
        if (err == OK && record.type == SPOOL_ACCEPT) {
            count++;
            *ret_last = message_number(record.payload);
        }
    }
}

TEST(a_position_is_found_again_whatever_its_hint_says)
{
    struct fixture f;
    uint64_t ids[COUNT];
    struct spool_view *view;
    struct spool_record record;
    struct spool_position at = { 0 };
    uint32_t gaps = 0, last = 0;
    fixture_init(&f, 1);
    REQUIRE_OK(fixture_open(&f));
    fill(&f, 0, COUNT, ids);
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    while (last < 17) {
        REQUIRE_OK(spool_view_next(view, &at, &record));
        at = record.next;
        last = record.type == SPOOL_ACCEPT ? message_number(record.payload) : last;
    }
    spool_view_close(view);
    for (uint32_t round = 0; round < 4; round++) {
        struct spool_position from = at;
        from.slot = round == 1 ? 0 : round == 2 ? 7777 : from.slot;
        from.offset = round == 3 ? 12345678 : from.offset;
        REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
        CHECK_U64(read_on(view, &from, &gaps, &last), COUNT - 18);
        CHECK_U64(gaps, 0);
        CHECK_U64(last, COUNT - 1);
        spool_view_close(view);
    }
    fixture_done(&f);
}

TEST(envelopes_that_lie_side_by_side_are_read_together_and_each_is_its_own)
{
    struct fixture f;
    uint64_t ids[COUNT];
    struct spool_view *view;
    struct spool_reader *reader;
    struct spool_envelope envelope;
    struct why why;
    fixture_init(&f, 1);
    REQUIRE_OK(fixture_open(&f));
    for (uint32_t i = 0; i < COUNT; i++) { /* two records are larger than what is read at once */
        REQUIRE_OK(fixture_accept(&f, i, i % 20 == 3 ? 1000 : 1, 300, &ids[i]));
        if (i % 10 == 9) {
            REQUIRE_OK(fixture_commit(&f));
        }
    }
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    REQUIRE_OK(spool_reader_new(view, &reader));
    uint64_t before = sim_disk_counts(f.disk)->calls[SIM_DISK_READ];
    for (uint32_t i = 0; i < COUNT; i++) {
        struct spool_where where;
        uint64_t number;
        REQUIRE_OK(spool_find(f.spool, ids[i], &where));
        REQUIRE_OK(spool_reader_envelope(reader, &where, ids[i], &envelope, &why));
        REQUIRE_OK(str_to_u64(envelope.tag, UINT32_MAX, &number));
        CHECK_U64(number, i);
    }
    uint64_t reads = sim_disk_counts(f.disk)->calls[SIM_DISK_READ] - before;
    CHECK(reads < COUNT / 2, "%lu reads", (unsigned long)reads);
    struct spool_where where;
    REQUIRE_OK(spool_find(f.spool, ids[0], &where));
    CHECK(spool_reader_envelope(reader, &where, ids[1], &envelope, &why) == E_CORRUPT);
    spool_reader_free(reader);
    spool_view_close(view);
    fixture_done(&f);
}

TEST(a_consumer_whose_slot_was_used_again_goes_on_without_a_gap)
{
    struct fixture f;
    uint64_t ids[COUNT];
    struct spool_view *view;
    struct spool_position at = { 0 };
    uint32_t gaps = 0, last = 0;
    fixture_init(&f, 2);
    REQUIRE_OK(fixture_open(&f));
    for (uint32_t round = 0; round < 4; round++) {
        fill(&f, round * COUNT, COUNT, ids);
        for (uint32_t i = 0; i < COUNT; i++) {
            REQUIRE_OK(fixture_outcome(&f, ids[i], 0, 1, SPOOL_RESULT_DELIVERED));
        }
        REQUIRE_OK(fixture_commit(&f));
        REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
        CHECK_U64(read_on(view, &at, &gaps, &last), COUNT);
        CHECK_U64(last, round * COUNT + COUNT - 1);
        spool_view_close(view);
        spool_consumed(f.spool, at.batch_seq);
        tick(&f, 60);
        fixture_pass(&f, 2000);
    }
    CHECK_U64(gaps, 0);
    fixture_done(&f);
}

TEST(without_a_living_spool_the_journal_is_read_to_its_durable_end)
{
    struct fixture f;
    uint64_t ids[COUNT], id;
    struct spool_view *view;
    struct spool_position at = { 0 };
    struct why why = { 0 };
    uint32_t gaps = 0, last = 0;
    fixture_init(&f, 3);
    REQUIRE_OK(fixture_open(&f));
    fill(&f, 0, COUNT, ids);
    fixture_pass(&f, 2000);
    tick(&f, 1); /* the mark says that all of it is durable */
    REQUIRE_OK(spool_view_open(sim_disk_as_disk(f.disk), &view, &why));
    CHECK_U64(read_on(view, &at, &gaps, &last), COUNT);
    /* written and not synced: not shown; later it is */
    REQUIRE_OK(fixture_accept(&f, COUNT, 1, 100, &id));
    REQUIRE_OK(spool_write(f.spool));
    CHECK_U64(read_on(view, &at, &gaps, &last), 0);
    REQUIRE_OK(fixture_commit(&f));
    fill(&f, COUNT + 1, 20, ids);
    fixture_pass(&f, 2000);
    tick(&f, 1);
    CHECK_U64(read_on(view, &at, &gaps, &last), 21);
    CHECK_U64(gaps, 0);
    spool_view_close(view);
    fixture_done(&f);
}

TEST(damage_in_the_journal_is_told_and_reading_goes_on_behind_it)
{
    struct fixture f;
    uint64_t ids[COUNT];
    struct spool_view *view;
    struct spool_position at = { 0 };
    struct spool_where where;
    char name[NAME_BYTES_MAX];
    uint32_t gaps = 0, last = 0;
    fixture_init(&f, 4);
    REQUIRE_OK(fixture_open(&f));
    fill(&f, 0, COUNT, ids);
    REQUIRE_OK(spool_find(f.spool, ids[20], &where));
    slot_name(name, where.slot);
    CHECK(sim_disk_flip(f.disk, name, (uint64_t)where.batch_page * PAGE_BYTES + 100, 4));
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    CHECK_U64(read_on(view, &at, &gaps, &last), COUNT - 1);
    CHECK_U64(gaps, 1);
    CHECK_U64(last, COUNT - 1);
    spool_view_close(view);
    /* a whole slot is gone */
    sim_disk_delete(f.disk, name);
    at = (struct spool_position){ 0 };
    gaps = 0;
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    uint32_t count = read_on(view, &at, &gaps, &last);
    CHECK(count > COUNT / 2 && count < COUNT - 1, "%u", count);
    CHECK(gaps >= 1 && last == COUNT - 1);
    spool_view_close(view);
    fixture_done(&f);
}

TEST(a_place_that_holds_another_message_is_not_taken_for_it)
{
    struct fixture f;
    uint64_t ids[3];
    struct spool_view *view;
    struct spool_where where;
    struct blob *content;
    struct why why = { 0 };
    fixture_init(&f, 5);
    REQUIRE_OK(fixture_open(&f));
    fill(&f, 0, 3, ids);
    REQUIRE_OK(spool_find(f.spool, ids[1], &where));
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    CHECK_ERR(spool_view_message(view, &where, ids[2], NULL, NULL, &content, &why), E_CORRUPT);
    where.slot = 4711;
    CHECK_ERR(spool_view_message(view, &where, ids[1], NULL, NULL, &content, &why), E_CORRUPT);
    where.slot = UINT32_MAX;
    CHECK_ERR(spool_view_message(view, &where, ids[1], NULL, NULL, &content, &why), E_CORRUPT);
    spool_view_close(view);
    fixture_done(&f);
}

TEST(a_full_budget_is_no_memory_and_no_damage)
{
    struct fixture f;
    uint64_t ids[1];
    struct spool_view *view;
    struct spool_where where;
    struct blob *content, *envelope;
    struct blob_budget budget = { .max_bytes = 1000 };
    struct why why = { 0 };
    fixture_init(&f, 6);
    REQUIRE_OK(fixture_open(&f));
    fill(&f, 0, 1, ids);
    REQUIRE_OK(spool_find(f.spool, ids[0], &where));
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    CHECK_ERR(
            spool_view_message(view, &where, ids[0], &budget, &envelope, &content, &why), E_NOMEM);
    CHECK_U64(budget.used_bytes, 0);
    spool_view_close(view);
    fixture_done(&f);
}

TEST(a_slot_that_cannot_be_opened_for_now_is_no_damage)
{
    static const enum err cases[][2] = { { E_FULL, E_NOMEM }, { E_NOMEM, E_NOMEM }, { E_IO, E_IO },
        { E_NOT_FOUND, E_CORRUPT } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture f;
        uint64_t ids[1];
        struct spool_view *view;
        struct spool_where where;
        struct blob *content;
        struct why why = { 0 };
        fixture_init(&f, 7);
        REQUIRE_OK(fixture_open(&f));
        fill(&f, 0, 1, ids);
        REQUIRE_OK(spool_find(f.spool, ids[0], &where));
        REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
        sim_disk_fail(f.disk, SIM_DISK_OPEN, 1, 1, cases[i][0]); /* EMFILE and the like */
        CHECK_ERR(
                spool_view_message(view, &where, ids[0], NULL, NULL, &content, &why), cases[i][1]);
        REQUIRE_OK(spool_view_message(view, &where, ids[0], NULL, NULL, &content, &why));
        blob_give(content);
        spool_view_close(view);
        fixture_done(&f);
    }
}

/* A segment whose header cannot be looked at for want of a descriptor or of memory is still there:
 * who follows the journal must not go on behind it. */
TEST(nothing_is_passed_over_for_want_of_a_descriptor)
{
    struct fixture f;
    uint64_t ids[COUNT];
    fixture_init(&f, 8);
    REQUIRE_OK(fixture_open(&f));
    fill(&f, 0, COUNT, ids);
    for (uint64_t nth = 1; nth < 60; nth++) {
        struct spool_view *view;
        struct spool_position at = { 0 };
        struct spool_record record;
        uint32_t count = 0, again = 0;
        REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
        if (nth % 2) {
            sim_disk_fail(f.disk, SIM_DISK_OPEN, nth / 2 + 1, 1, E_FULL);
        } else {
            mem_fail_at(nth / 2);
        }
        for (;;) {
            enum err err = spool_view_next(view, &at, &record);
            if (err == E_EOF) {
                break;
            }
            CHECK(err != E_CORRUPT, "a gap after %u messages, call %u", count, (unsigned)nth);
            if (err == OK) {
                at = record.next;
                count += record.type == SPOOL_ACCEPT;
            } else {
                again++;
                CHECK(again < 3, "%s", err_name(err)); /* the fault is over */
            }
        }
        CHECK_U64(count, COUNT);
        sim_disk_heal(f.disk);
        mem_fail_at(0);
        spool_view_close(view);
    }
    fixture_done(&f);
}

/* A start that lacks memory fails; it never takes what it could not read for a torn tail. */
TEST(a_start_without_memory_forgets_nothing)
{
    uint32_t opened = 0;
    for (uint64_t nth = 1; nth < 150; nth++) {
        struct fixture f;
        uint64_t ids[COUNT + 1];
        fixture_init(&f, 9);
        f.conf.slot_bytes = 4 << 20;
        REQUIRE_OK(fixture_open(&f));
        fill(&f, 0, 5, ids);
        REQUIRE_OK(fixture_accept(&f, 5, 1, 900000, &ids[5])); /* more than a read at once */
        REQUIRE_OK(fixture_commit(&f));
        REQUIRE_OK(fixture_accept(&f, 6, 1, 1000000, &ids[6]));
        REQUIRE_OK(fixture_accept(&f, 7, 1, 1000000, &ids[7]));
        REQUIRE_OK(fixture_commit(&f));
        fixture_kill(&f);
        sim_disk_crash(f.disk, SIM_CRASH_ALL, 0);
        mem_fail_at(nth);
        enum err err = fixture_open(&f);
        mem_fail_at(0);
        if (err == OK) {
            opened++;
            CHECK(fixture_see(&f)->count == 8, "%u messages, call %u", fixture_see(&f)->count,
                    (unsigned)nth);
            CHECK_U64(f.error_lines, 0);
        }
        fixture_done(&f);
    }
    CHECK(opened > 0);
}
