/* SPDX-License-Identifier: Apache-2.0
 *
 * spool_test.c - what spool.h promises, on a simulated disk without crashes (crash_test.c has
 * those).
 */
#include "tests/test.h"
#include "tests/unit/spool/fixture.h"

#include "core/str.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

TEST(a_committed_message_is_there_after_a_clean_restart)
{
    struct fixture f;
    const struct seen *seen;
    uint64_t id = 0, id2 = 0;
    fixture_init(&f, 1);
    REQUIRE_OK(fixture_open(&f));
    REQUIRE_OK(fixture_accept(&f, 7, 1, 5000, &id));
    REQUIRE_OK(fixture_accept(&f, 8, 3, 0, &id2));
    REQUIRE_OK(fixture_commit(&f));
    fixture_close(&f);
    REQUIRE_OK(fixture_open(&f));
    seen = fixture_see(&f);
    CHECK_U64(seen->count, 2);
    const struct seen_msg *msg = seen_find(seen, id);
    CHECK(msg != NULL && msg->rcpt_count == 1);
    CHECK_U64(msg->rcpt[0].state, SPOOL_QUEUED);
    CHECK_U64(msg->msg.accepted_at.ms, 1800000000007);
    msg = seen_find(seen, id2);
    CHECK(msg != NULL && msg->rcpt_count == 3);
    struct spool_view *view;
    struct blob *envelope, *content;
    struct why why = { 0 };
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    msg = seen_find(seen, id);
    REQUIRE_OK(spool_view_message(view, &msg->msg.where, id, NULL, &envelope, &content, &why));
    CHECK(message_is_content(7, 5000, content));
    CHECK_U64(message_number(str_of(envelope->first->data, envelope->first->len)), 7);
    blob_give(envelope);
    blob_give(content);
    spool_view_close(view);
    CHECK_U64(f.error_lines, 0);
    fixture_done(&f);
}

TEST(the_journal_comes_in_order_and_only_when_it_is_durable)
{
    struct fixture f;
    struct spool_view *view;
    struct spool_position at = { 0 };
    struct spool_record record;
    uint64_t id;
    fixture_init(&f, 2);
    REQUIRE_OK(fixture_open(&f));
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    uint32_t next = 0, outcomes = 0;
    for (uint32_t i = 0; i < 60; i++) {
        REQUIRE_OK(fixture_accept(&f, i, 1, 3000, &id));
        REQUIRE_OK(fixture_commit(&f));
        REQUIRE_OK(fixture_outcome(&f, id, 0, 1, SPOOL_RESULT_DELIVERED));
        REQUIRE_OK(spool_write(f.spool));
        enum err err;
        while ((err = spool_view_next(view, &at, &record)) == OK) {
            at = record.next;
            if (record.type == SPOOL_ACCEPT) {
                CHECK_U64(message_number(record.payload), next);
                next++;
            }
            outcomes += record.type == SPOOL_OUTCOME;
        }
        CHECK_U64(err, E_EOF);
        CHECK_U64(next, i + 1);
        CHECK_U64(outcomes, i); /* the last one is written, not synced */
    }
    spool_view_close(view);
    /* a new view goes on from a stored position */
    REQUIRE_OK(fixture_commit(&f));
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    REQUIRE_OK(spool_view_next(view, &at, &record));
    CHECK_U64(record.type, SPOOL_OUTCOME);
    spool_view_close(view);
    fixture_done(&f);
}

/* ---- a reader in another thread, on the real disk ----------------------------------------------
 */

enum { THREAD_MSG_COUNT = 300 };

struct reader {
    struct spool_view *view;
    _Atomic bool is_over;
    uint32_t seen, bad;
};

/* Takes the journal as it grows and reads each message the moment it is durable. */
static void *read_all(void *arg)
{
    struct reader *reader = arg;
    struct spool_position at = { 0 };
    struct spool_record record;
    bool is_last = false;
    for (;;) {
        enum err err = spool_view_next(reader->view, &at, &record);
        if (err == OK && record.type == SPOOL_ACCEPT) {
            struct blob *content = NULL;
            struct why why;
            reader->bad += message_number(record.payload) != reader->seen;
            reader->bad += spool_view_message(reader->view, &record.where, record.msg_id, NULL,
                                   NULL, &content, &why) != OK ||
                           !message_is_content(reader->seen, 2000, content);
            blob_give(content);
            reader->seen++;
        }
        if (err == OK) {
            at = record.next;
            continue;
        }
        reader->bad += err != E_EOF;
        if (is_last || err != E_EOF) {
            return NULL;
        }
        is_last = atomic_load(&reader->is_over);
    }
}

static void remove_one(void *ctx, const char *name)
{
    struct disk *disk = ctx;
    struct why why;
    if (disk->ops->remove(disk, name, &why) != OK) {
        printf("    left behind: %s\n", name);
    }
}

TEST(a_reader_in_another_thread_sees_every_message_once_and_whole)
{
    char path[] = "/tmp/outpost-spool-XXXXXX";
    struct fixture f;
    struct disk *disk;
    struct why why = { 0 };
    struct reader reader = { .seen = 0 };
    pthread_t thread;
    uint64_t id;
    CHECK(mkdtemp(path) != NULL);
    REQUIRE_OK(disk_open_real(path, &disk, &why));
    fixture_init(&f, 3);
    f.conf.is_any_fs = true;
    REQUIRE_OK(spool_open(disk, &f.clock.base, &f.entropy.base, NULL, &f.conf, &f.spool, &why));
    REQUIRE_OK(spool_view_of(f.spool, disk, &reader.view));
    CHECK(pthread_create(&thread, NULL, read_all, &reader) == 0);
    for (uint32_t i = 0; i < THREAD_MSG_COUNT; i++) {
        REQUIRE_OK(fixture_accept(&f, i, 1, 2000, &id));
        if (i % 3 == 2) {
            REQUIRE_OK(fixture_commit(&f));
        }
    }
    atomic_store(&reader.is_over, true);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_U64(reader.seen, THREAD_MSG_COUNT);
    CHECK_U64(reader.bad, 0);
    spool_view_close(reader.view);
    spool_close(f.spool);
    f.spool = NULL;
    REQUIRE_OK(disk->ops->list(disk, remove_one, disk, &why));
    disk->ops->close_disk(disk);
    CHECK(rmdir(path) == 0);
    fixture_done(&f);
}
