/* SPDX-License-Identifier: Apache-2.0
 *
 * check_test.c - `spool check` tells a clean spool, a torn tail and damage apart, changes nothing,
 * and salvages what can be read.
 */
#include "tests/test.h"
#include "tests/unit/spool/fixture.h"

#include "core/str.h"
#include "spool/format_priv.h"

struct lines {
    uint32_t count;
};
static void on_line(void *ctx, struct str line)
{
    (void)line;
    ((struct lines *)ctx)->count++;
}

static enum err check(struct fixture *f, bool is_deep, struct spool_check *ret_found)
{
    struct lines lines = { 0 };
    struct why why = { 0 };
    uint64_t steps = sim_disk_steps(f->disk);
    enum err err = spool_check_run(
            sim_disk_as_disk(f->disk), is_deep, NULL, on_line, &lines, ret_found, &why);
    CHECK_U64(sim_disk_steps(f->disk), steps); /* read-only */
    return err;
}

static void fill(struct fixture *f, uint64_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        REQUIRE_OK(fixture_accept(f, i, 2, 3000, &ids[i]));
        REQUIRE_OK(fixture_commit(f));
    }
}

TEST(a_clean_spool_checks_clean)
{
    struct fixture f;
    uint64_t ids[30];
    struct spool_check found;
    fixture_init(&f, 1);
    REQUIRE_OK(fixture_open(&f));
    fill(&f, ids, 30);
    fixture_close(&f);
    REQUIRE_OK(check(&f, true, &found));
    CHECK_U64(found.messages_open, 30);
    CHECK_U64(found.rcpts_open, 60);
    CHECK(found.batches >= 30 && found.records >= 30);
    CHECK_U64(found.damages, 0);
    fixture_done(&f);
}

TEST(a_torn_tail_is_told_from_damage)
{
    struct fixture f;
    uint64_t ids[3], id;
    struct spool_check found;
    fixture_init(&f, 2);
    REQUIRE_OK(fixture_open(&f));
    fill(&f, ids, 3);
    REQUIRE_OK(fixture_accept(&f, 9, 1, 5000, &id));
    REQUIRE_OK(spool_write(f.spool));
    fixture_kill(&f);
    sim_disk_crash(f.disk, SIM_CRASH_PREFIX, 3); /* the batch's first sectors only */
    CHECK_ERR(check(&f, true, &found), E_EOF);
    CHECK(found.torn_tail_bytes >= 5000);
    CHECK_U64(found.messages_open, 3);
    fixture_done(&f);
}

TEST(every_bit_flipped_in_a_live_record_is_found)
{
    struct fixture f;
    uint64_t ids[3];
    struct spool_check found;
    fixture_init(&f, 3);
    REQUIRE_OK(fixture_open(&f));
    fill(&f, ids, 3);
    fixture_close(&f);
    struct prng prng;
    prng_init(&prng, 5);
    struct spool_where where[3];
    REQUIRE_OK(fixture_open(&f));
    for (uint32_t i = 0; i < 3; i++) {
        REQUIRE_OK(spool_find(f.spool, ids[i], &where[i]));
    }
    fixture_close(&f);
    for (uint32_t i = 0; i < 200; i++) {
        char name[NAME_BYTES_MAX];
        const struct spool_where *at = &where[prng_below(&prng, 3)];
        slot_name(name, at->slot);
        /* header, head and content of a batch: 64 bytes, some 400, 3000 */
        uint64_t offset = (uint64_t)at->batch_page * PAGE_BYTES + prng_below(&prng, 3300);
        uint8_t mask = (uint8_t)(1u << prng_below(&prng, 8));
        CHECK(sim_disk_flip(f.disk, name, offset, mask));
        CHECK_ERR(check(&f, true, &found), E_CORRUPT);
        CHECK(sim_disk_flip(f.disk, name, offset, mask));
    }
    REQUIRE_OK(check(&f, true, &found));
    fixture_done(&f);
}

TEST(salvage_writes_each_open_message_and_its_envelope)
{
    struct fixture f;
    uint64_t ids[1];
    struct spool_check found;
    struct why why = { 0 };
    struct sim_disk *out = sim_disk_new(1);
    fixture_init(&f, 4);
    REQUIRE_OK(fixture_open(&f));
    fill(&f, ids, 1);
    fixture_close(&f);
    REQUIRE_OK(spool_check_run(
            sim_disk_as_disk(f.disk), false, sim_disk_as_disk(out), NULL, NULL, &found, &why));
    CHECK_U64(sim_disk_file_bytes(out, "00000000000000000000000000.eml"), 3000);
    CHECK(sim_disk_file_bytes(out, "00000000000000000000000000.json") > 100);
    /* also without META */
    sim_disk_delete(f.disk, "META");
    REQUIRE_OK(check(&f, false, &found));
    CHECK_U64(found.messages_open, 1);
    sim_disk_free(out);
    fixture_done(&f);
}

TEST(a_place_without_a_spool_is_said_to_be_one)
{
    struct fixture f;
    struct spool_check found;
    fixture_init(&f, 5);
    CHECK_ERR(check(&f, false, &found), E_NOT_FOUND);
    fixture_done(&f);
}

TEST(a_deleted_slot_is_reported_and_the_rest_is_served)
{
    struct fixture f;
    uint64_t ids[30];
    const struct seen *seen;
    struct spool_where where;
    char name[NAME_BYTES_MAX];
    fixture_init(&f, 6);
    f.conf.checkpoint_bytes = 1 << 20;
    REQUIRE_OK(fixture_open(&f));
    fill(&f, ids, 30);
    REQUIRE_OK(spool_find(f.spool, ids[12], &where));
    fixture_kill(&f);
    sim_disk_crash(f.disk, SIM_CRASH_ALL, 0);
    slot_name(name, where.slot);
    sim_disk_delete(f.disk, name);
    REQUIRE_OK(fixture_open(&f));
    struct spool_stats stats;
    spool_get_stats(f.spool, &stats);
    CHECK(stats.damaged_ranges > 0 && f.error_lines > 0);
    seen = fixture_see(&f);
    CHECK(seen->count > 10 && seen->count < 30, "%u messages", seen->count);
    fixture_done(&f);
}

TEST(an_unreadable_body_is_an_error_not_an_end)
{
    struct fixture f;
    uint64_t ids[5];
    struct spool_view *view;
    struct blob *envelope, *content;
    struct why why = { 0 };
    struct spool_where where;
    char name[NAME_BYTES_MAX];
    fixture_init(&f, 7);
    REQUIRE_OK(fixture_open(&f));
    fill(&f, ids, 5);
    REQUIRE_OK(spool_find(f.spool, ids[2], &where));
    slot_name(name, where.slot);
    sim_disk_make_unreadable(f.disk, name, (uint64_t)where.batch_page * PAGE_BYTES + 2048, 512);
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    CHECK_ERR(spool_view_message(view, &where, ids[2], NULL, &envelope, &content, &why), E_IO);
    REQUIRE_OK(spool_find(f.spool, ids[3], &where));
    REQUIRE_OK(spool_view_message(view, &where, ids[3], NULL, NULL, &content, &why));
    blob_give(content);
    CHECK_ERR(spool_view_message(view, &where, ids[4], NULL, NULL, &content, &why), E_CORRUPT);
    spool_view_close(view);
    fixture_done(&f);
}
