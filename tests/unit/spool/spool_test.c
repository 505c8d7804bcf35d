/* SPDX-License-Identifier: Apache-2.0
 *
 * spool_test.c - what spool.h promises, on a simulated disk without crashes (crash_test.c has those).
 */
#include "tests/test.h"
#include "tests/unit/spool/fixture.h"

#include "core/str.h"

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
    uint64_t id, next_id;
    fixture_init(&f, 2);
    REQUIRE_OK(fixture_open(&f));
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    uint32_t next = 0, outcomes = 0, gaps = 0;
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
    (void)next_id;
    CHECK_U64(gaps, 0);
    spool_view_close(view);
    /* a new view goes on from a stored position */
    REQUIRE_OK(fixture_commit(&f));
    REQUIRE_OK(spool_view_of(f.spool, sim_disk_as_disk(f.disk), &view));
    REQUIRE_OK(spool_view_next(view, &at, &record));
    CHECK_U64(record.type, SPOOL_OUTCOME);
    spool_view_close(view);
    fixture_done(&f);
}
