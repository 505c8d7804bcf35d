/* SPDX-License-Identifier: Apache-2.0
 *
 * space_test.c - slots: made, used again, emptied by moving, held in reserve; and where a spool may
 * not be opened.
 */
#include "tests/test.h"
#include "tests/unit/spool/fixture.h"

#include "core/crc32c.h"
#include "core/str.h"
#include "spool/spool_priv.h"

static void tick(struct fixture *f, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++) {
        fixture_pass(f, 20);
        spool_tick(f->spool, clock_mono(&f->clock.base));
    }
}

static void one(struct fixture *f, uint32_t number, uint32_t bytes, uint64_t *ret_id)
{
    REQUIRE_OK(fixture_accept(f, number, 1, bytes, ret_id));
    REQUIRE_OK(fixture_commit(f));
}

static void deliver(struct fixture *f, uint64_t id)
{
    REQUIRE_OK(fixture_outcome(f, id, 0, 1, SPOOL_RESULT_DELIVERED));
    REQUIRE_OK(fixture_commit(f));
}

static struct spool_stats stats_of(struct fixture *f)
{
    struct spool_stats stats;
    spool_get_stats(f->spool, &stats);
    return stats;
}

TEST(slots_are_used_again_when_all_is_delivered_and_consumed)
{
    struct fixture f;
    uint64_t id;
    fixture_init(&f, 1);
    REQUIRE_OK(fixture_open(&f));
    for (uint32_t i = 0; i < 400; i++) {
        one(&f, i, 5000, &id);
        deliver(&f, id);
        spool_consumed(f.spool, stats_of(&f).durable_upto);
        tick(&f, 2);
    }
    struct spool_stats stats = stats_of(&f);
    CHECK(stats.slots < 12, "%u slots for 400 messages one after the other", stats.slots);
    CHECK_U64(stats.open_msgs, 0);
    CHECK_U64(stats.accepted_msgs, 400);
    CHECK_U64(stats.closed_rcpts[SPOOL_DELIVERED], 400);
    fixture_close(&f);
    REQUIRE_OK(fixture_open(&f));
    stats = stats_of(&f);
    CHECK_U64(stats.accepted_msgs, 400); /* counters survive */
    CHECK_U64(stats.closed_rcpts[SPOOL_DELIVERED], 400);
    CHECK_U64(f.error_lines, 0);
    fixture_done(&f);
}

TEST(slots_stay_as_long_as_no_consumer_has_taken_them)
{
    struct fixture f;
    uint64_t id;
    fixture_init(&f, 2);
    REQUIRE_OK(fixture_open(&f));
    for (uint32_t i = 0; i < 100; i++) {
        one(&f, i, 5000, &id);
        deliver(&f, id);
        tick(&f, 2);
    }
    uint32_t before = stats_of(&f).slots;
    CHECK(before > 15, "%u slots", before);
    spool_consumed(f.spool, stats_of(&f).durable_upto);
    tick(&f, 5);
    CHECK(stats_of(&f).free_slots > 12);
    fixture_done(&f);
}

/* 60 messages, of which every 8th stays open; an hour passes. */
static uint32_t fill_and_age(struct fixture *f, uint64_t *open_id)
{
    uint64_t id;
    uint32_t count = 0;
    for (uint32_t i = 0; i < 60; i++) {
        one(f, i, 5000, &id);
        if (i % 8 == 0) {
            REQUIRE_OK(fixture_outcome(f, id, 0, 1, SPOOL_RESULT_DEFERRED));
            REQUIRE_OK(fixture_commit(f));
            open_id[count++] = id;
        } else {
            deliver(f, id);
        }
        tick(f, 2);
    }
    spool_consumed(f->spool, stats_of(f).durable_upto);
    fixture_pass(f, 3700 * 1000);
    return count;
}

TEST(what_is_open_in_a_mostly_dead_segment_moves_and_keeps_its_number)
{
    struct fixture f;
    const struct seen *seen;
    uint64_t open_id[16];
    struct spool_view *view;
    fixture_init(&f, 3);
    REQUIRE_OK(fixture_open(&f));
    uint32_t count = fill_and_age(&f, open_id);
    tick(&f, 400);
    spool_consumed(f.spool, stats_of(&f).durable_upto);
    tick(&f, 100);
    CHECK(stats_of(&f).slots - stats_of(&f).free_slots <= 5, "%u of %u slots used",
            stats_of(&f).slots - stats_of(&f).free_slots, stats_of(&f).slots);
    for (uint32_t round = 0; round < 2; round++) { /* before and after a restart */
        seen = fixture_see(&f);
        CHECK_U64(seen->count, count);
        REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
        for (uint32_t i = 0; i < count; i++) {
            const struct seen_msg *msg = seen_find(seen, open_id[i]);
            struct blob *envelope, *content;
            struct why why = { 0 };
            CHECK(msg != NULL);
            CHECK_U64(msg->rcpt[0].tries, 1);
            CHECK_U64(msg->rcpt[0].state, SPOOL_QUEUED);
            CHECK(msg->rcpt[0].due.ms > 0);
            REQUIRE_OK(spool_view_message(
                    view, &msg->msg.where, open_id[i], NULL, &envelope, &content, &why));
            CHECK(message_is_content(i * 8, 5000, content));
            blob_give(envelope);
            blob_give(content);
        }
        spool_view_close(view);
        fixture_kill(&f);
        sim_disk_crash(f.disk, SIM_CRASH_NONE, 0);
        REQUIRE_OK(fixture_open(&f));
    }
    CHECK_U64(f.error_lines, 0);
    fixture_done(&f);
}

static struct spool_extent give_chunk(struct fixture *f, struct str bytes)
{
    uint32_t ticket;
    struct blob *chunk = blob_of(bytes);
    REQUIRE_OK(spool_batch_body(f->spool, chunk, &ticket));
    blob_give(chunk);
    REQUIRE_OK(spool_write(f->spool));
    return spool_body_extent(f->spool, ticket);
}

TEST(streamed_content_moves_too)
{
    struct fixture f;
    uint64_t open_id[16], id;
    struct spool_extent extent[2];
    struct buf text;
    struct spool_view *view;
    struct spool_where before, after;
    struct why why = { 0 };
    fixture_init(&f, 13);
    REQUIRE_OK(fixture_open(&f));
    buf_init(&text, 1 << 20);
    struct blob *whole = message_content(77, 6000);
    blob_text(whole, &text);
    blob_give(whole);
    extent[0] = give_chunk(&f, str_sub(buf_str(&text), 0, 3000));
    extent[1] = give_chunk(&f, str_from(buf_str(&text), 3000));
    struct spool_body body = { extent, 2, crc32c(0, buf_str(&text)) };
    struct blob *envelope = message_envelope(77, 2);
    REQUIRE_OK(spool_batch_accept(f.spool, envelope, NULL, &body, &id));
    blob_give(envelope);
    REQUIRE_OK(fixture_commit(&f));
    REQUIRE_OK(spool_find(f.spool, id, &before));
    fill_and_age(&f, open_id);
    tick(&f, 400);
    REQUIRE_OK(spool_find(f.spool, id, &after));
    CHECK(before.slot != after.slot || before.batch_page != after.batch_page);
    for (uint32_t round = 0; round < 2; round++) { /* before and after a power cut */
        struct blob *content;
        REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
        REQUIRE_OK(spool_find(f.spool, id, &after));
        REQUIRE_OK(spool_view_message(view, &after, id, NULL, NULL, &content, &why));
        CHECK(message_is_content(77, 6000, content));
        blob_give(content);
        spool_view_close(view);
        fixture_kill(&f);
        sim_disk_crash(f.disk, SIM_CRASH_NONE, 0);
        REQUIRE_OK(fixture_open(&f));
    }
    buf_done(&text);
    CHECK_U64(f.error_lines, 0);
    fixture_done(&f);
}

TEST(a_message_that_cannot_be_read_is_not_moved_and_its_slot_is_kept)
{
    struct fixture f;
    uint64_t open_id[16];
    struct spool_where where;
    char name[NAME_BYTES_MAX];
    fixture_init(&f, 14);
    REQUIRE_OK(fixture_open(&f));
    fill_and_age(&f, open_id);
    REQUIRE_OK(spool_find(f.spool, open_id[2], &where));
    slot_name(name, where.slot);
    CHECK(sim_disk_flip(f.disk, name, (uint64_t)where.batch_page * PAGE_BYTES + 4000, 1));
    tick(&f, 400);
    CHECK(stats_of(&f).damaged_ranges == 1 && f.error_lines > 0);
    struct spool_where still;
    REQUIRE_OK(spool_find(f.spool, open_id[2], &still));
    CHECK_U64(still.slot, where.slot);
    fixture_done(&f);
}

TEST(a_full_disk_refuses_messages_while_outcomes_go_on)
{
    struct fixture f;
    static uint64_t id[2000];
    uint32_t count = 0;
    fixture_init(&f, 4);
    f.conf.spare_slots = 4;
    REQUIRE_OK(fixture_open(&f));
    sim_disk_set_capacity(f.disk, 2 << 20);
    tick(&f, 50);
    enum err err = OK;
    while (count < 2000) {
        err = fixture_accept(&f, count, 1, 5000, &id[count]);
        if (err != OK) {
            break;
        }
        REQUIRE_OK(fixture_commit(&f));
        count++;
        tick(&f, 1);
    }
    CHECK_U64(err, E_NO_SPACE);
    CHECK(count > 100, "%u messages fit", count);
    CHECK(stats_of(&f).free_slots >= 4, "%u free slots", stats_of(&f).free_slots);
    for (uint32_t i = 0; i < count; i++) {
        REQUIRE_OK(fixture_attempt(&f, id[i], 0, 1));
        REQUIRE_OK(fixture_outcome(&f, id[i], 0, 1, SPOOL_RESULT_DELIVERED));
        if (i % 8 == 7 || i + 1 == count) {
            REQUIRE_OK(fixture_commit(&f));
            tick(&f, 1);
        }
    }
    CHECK_U64(stats_of(&f).open_msgs, 0);
    /* delivered and consumed: there is room again */
    spool_consumed(f.spool, stats_of(&f).durable_upto);
    tick(&f, 200);
    REQUIRE_OK(fixture_accept(&f, 1, 1, 5000, &id[0]));
    fixture_done(&f);
}

TEST(on_copy_on_write_each_segment_is_a_new_file_and_free_ones_are_removed)
{
    struct fixture f;
    uint64_t id;
    fixture_init(&f, 5);
    sim_disk_set_kind(f.disk, DISK_COPY_ON_WRITE);
    REQUIRE_OK(fixture_open(&f));
    for (uint32_t i = 0; i < 100; i++) {
        one(&f, i, 5000, &id);
        if (i != 50) {
            deliver(&f, id);
        }
        spool_consumed(f.spool, stats_of(&f).durable_upto);
        tick(&f, 2);
    }
    CHECK(stats_of(&f).slots < 8, "%u slots", stats_of(&f).slots);
    fixture_kill(&f);
    sim_disk_crash(f.disk, SIM_CRASH_NONE, 0);
    REQUIRE_OK(fixture_open(&f));
    CHECK_U64(stats_of(&f).open_msgs, 1);
    CHECK_U64(f.error_lines, 0);
    fixture_done(&f);
}

TEST(a_second_node_is_kept_out)
{
    struct fixture f;
    struct spool *second;
    struct why why = { 0 };
    fixture_init(&f, 6);
    REQUIRE_OK(fixture_open(&f));
    CHECK_ERR(spool_open(sim_disk_as_disk(f.disk), &f.clock.base, &f.entropy.base, NULL, &f.conf,
                      &second, &why),
            E_BUSY);
    fixture_done(&f);
}

TEST(a_copied_spool_is_refused_until_it_is_adopted)
{
    struct fixture f;
    uint64_t id;
    fixture_init(&f, 7);
    f.conf.host_id = 111;
    REQUIRE_OK(fixture_open(&f));
    one(&f, 1, 100, &id);
    fixture_close(&f);
    f.conf.host_id = 222;
    CHECK_ERR(fixture_open(&f), E_UNSUPPORTED);
    fixture_close(&f);
    f.conf.is_adopting = true;
    REQUIRE_OK(fixture_open(&f));
    fixture_close(&f);
    f.conf.is_adopting = false;
    REQUIRE_OK(fixture_open(&f));
    CHECK_U64(stats_of(&f).open_msgs, 1);
    fixture_done(&f);
}

TEST(network_and_memory_file_systems_are_for_the_sandbox_only)
{
    static const enum disk_kind kinds[] = { DISK_NETWORK, DISK_MEMORY };
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct fixture f;
        fixture_init(&f, 8);
        sim_disk_set_kind(f.disk, kinds[i]);
        CHECK_ERR(fixture_open(&f), E_UNSUPPORTED);
        fixture_close(&f);
        f.conf.is_any_fs = true;
        REQUIRE_OK(fixture_open(&f));
        fixture_done(&f);
    }
}

TEST(segments_without_their_meta_are_no_empty_spool)
{
    struct fixture f;
    uint64_t id;
    fixture_init(&f, 9);
    REQUIRE_OK(fixture_open(&f));
    one(&f, 1, 100, &id);
    fixture_close(&f);
    sim_disk_delete(f.disk, "META");
    CHECK_ERR(fixture_open(&f), E_CORRUPT);
    fixture_done(&f);
}

TEST(both_checkpoints_bad_means_reading_all_with_the_same_result)
{
    struct fixture f;
    uint64_t id, kept = 0;
    const struct seen *seen;
    fixture_init(&f, 10);
    REQUIRE_OK(fixture_open(&f));
    for (uint32_t i = 0; i < 60; i++) {
        one(&f, i, 5000, &id);
        if (i == 20) {
            kept = id;
        } else {
            deliver(&f, id);
        }
        tick(&f, 2);
    }
    fixture_close(&f);
    CHECK(sim_disk_flip(f.disk, "ckpt.A", 20, 1) && sim_disk_flip(f.disk, "ckpt.B", 20, 1));
    REQUIRE_OK(fixture_open(&f));
    seen = fixture_see(&f);
    CHECK_U64(seen->count, 1);
    CHECK(seen_find(seen, kept) != NULL);
    CHECK_U64(seen->msg[0].rcpt[0].state, SPOOL_QUEUED);
    CHECK_U64(stats_of(&f).damaged_ranges, 0);
    fixture_done(&f);
}

TEST(a_true_batch_inside_a_mail_is_never_taken_for_one)
{
    struct fixture f;
    const struct seen *seen;
    uint64_t id, evil_id;
    fixture_init(&f, 11);
    REQUIRE_OK(fixture_open(&f));
    one(&f, 1, 100, &id);
    /* the bytes of a real batch, with the spool's own secret, so placed that they are page-aligned
     */
    struct disk *disk = sim_disk_as_disk(f.disk);
    struct disk_file *file;
    struct spool_where where;
    size_t len;
    static char image[3 * PAGE_BYTES];
    REQUIRE_OK(spool_find(f.spool, id, &where));
    char name[NAME_BYTES_MAX];
    slot_name(name, where.slot);
    REQUIRE_OK(disk->ops->open(disk, name, 0, &file, NULL));
    for (uint32_t i = 0; i < 3; i++) {
        REQUIRE_OK(disk->ops->read(file, image + i * PAGE_BYTES, PAGE_BYTES,
                (uint64_t)where.batch_page * PAGE_BYTES, &len, NULL));
    }
    disk->ops->close(file);
    for (size_t shift = 0; shift < PAGE_BYTES; shift += 512) {
        struct blob *envelope = message_envelope(2, 1);
        struct blob *content = blob_of(str_of(image + shift, 2 * PAGE_BYTES));
        REQUIRE_OK(spool_batch_accept(f.spool, envelope, content, NULL, &evil_id));
        REQUIRE_OK(fixture_commit(&f));
        blob_give(envelope);
        blob_give(content);
        deliver(&f, evil_id);
    }
    fixture_kill(&f);
    sim_disk_crash(f.disk, SIM_CRASH_NONE, 0);
    REQUIRE_OK(fixture_open(&f));
    seen = fixture_see(&f);
    CHECK_U64(seen->count, 1);
    CHECK_U64(f.error_lines, 0);
    fixture_done(&f);
}

TEST(a_hundred_thousand_messages_take_less_than_four_megabytes)
{
    struct index index = { 0 };
    for (uint64_t i = 1; i <= 100000; i++) {
        REQUIRE_OK(index_reserve(&index, 1));
        index_add(&index, i << 16);
    }
    uint64_t bytes = (uint64_t)index.chunk_count * INDEX_CHUNK_COUNT * sizeof(struct msg) +
                     (uint64_t)index.set.cap * sizeof *index.set.slot;
    CHECK(bytes < 4 << 20, "%u bytes", (unsigned)bytes);
    index_done(&index);
}

TEST(names_on_disk_that_are_not_ours_are_left_alone)
{
    struct fixture f;
    struct disk_file *file;
    fixture_init(&f, 12);
    struct disk *disk = sim_disk_as_disk(f.disk);
    REQUIRE_OK(disk->ops->open(disk, "lost+found", DISK_WRITE | DISK_CREATE, &file, NULL));
    disk->ops->close(file);
    REQUIRE_OK(fixture_open(&f));
    fixture_close(&f);
    CHECK(sim_disk_has(f.disk, "lost+found"));
    fixture_done(&f);
}
