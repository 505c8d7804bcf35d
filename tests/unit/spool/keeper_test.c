/* SPDX-License-Identifier: Apache-2.0
 *
 * keeper_test.c - letters in, answers out: who is answered when, and what when the disk says no.
 */
#include "tests/test.h"
#include "tests/unit/spool/fixture.h"

#include "core/crc32c.h"
#include "core/str.h"

enum { REPLY = 9 };

struct office {
    struct fixture f;
    struct keeper *keeper;
    struct mailbox replies;
    uint32_t accepted, notified, moved, grew;
    struct spool_where where;
    uint64_t accepted_id;
};

static void on_accepted(void *ctx, uint64_t msg_id, const struct spool_where *where,
        struct blob *envelope, struct blob *content)
{
    struct office *office = ctx;
    office->accepted++;
    office->accepted_id = msg_id;
    office->where = *where;
    blob_give(envelope);
    blob_give(content);
}
static void on_moved(void *ctx, uint64_t msg_id, const struct spool_where *where)
{
    struct office *office = ctx;
    (void)msg_id;
    office->moved++;
    office->where = *where;
}
static void on_grew(void *ctx)
{
    ((struct office *)ctx)->grew++;
}
static void on_notified(void *ctx, const struct spool_dsn_link *link)
{
    ((struct office *)ctx)->notified += link->rcpt_count;
}

static void office_open(struct office *office)
{
    struct keeper_ports ports = { office, on_accepted, on_moved, on_grew, on_notified };
    REQUIRE_OK(fixture_open(&office->f));
    REQUIRE_OK(keeper_new(
            office->f.spool, &office->f.clock.base, &office->f.log, &ports, &office->keeper));
}

static void office_init(struct office *office, uint64_t seed)
{
    *office = (struct office){ .accepted = 0 };
    fixture_init(&office->f, seed);
    mailbox_init(&office->replies, 1000, NULL, NULL);
    office_open(office);
    for (uint32_t i = 0; i < 20; i++) { /* spare slots are made */
        fixture_pass(&office->f, 5);
        keeper_turn(office->keeper, clock_mono(&office->f.clock.base));
    }
}

static void office_done(struct office *office)
{
    keeper_free(office->keeper);
    fixture_done(&office->f);
    mailbox_done(&office->replies);
}

static void turn(struct office *office)
{
    keeper_turn(office->keeper, clock_mono(&office->f.clock.base));
}

static struct keeper_accept *accept_new(struct office *office, uint32_t number, uint32_t bytes)
{
    struct keeper_accept *accept = mem_new(sizeof *accept);
    CHECK(accept != NULL);
    accept->letter.kind = KEEPER_ACCEPT;
    accept->reply = (struct keeper_reply){ &office->replies, REPLY, NULL, number };
    accept->envelope = message_envelope(number, 1);
    accept->content = bytes ? message_content(number, bytes) : NULL;
    return accept;
}

static void post(struct office *office, struct letter *letter)
{
    REQUIRE_OK(mailbox_send(keeper_mailbox(office->keeper), letter));
}

static void post_record(struct office *office, enum spool_record_type type, uint64_t msg_id,
        struct buf *payload, enum keeper_wish wish)
{
    struct keeper_record *record = keeper_record_new(type, msg_id, buf_str(payload));
    CHECK(record != NULL);
    record->wish = wish;
    record->reply = (struct keeper_reply){ &office->replies, REPLY, NULL, 0 };
    buf_done(payload);
    post(office, &record->letter);
}

static void post_attempt(struct office *office, uint64_t msg_id)
{
    static const uint16_t rcpt = 0;
    struct spool_attempt attempt = { msg_id, &rcpt, 1, 1, { 0 } };
    struct buf payload;
    buf_init(&payload, 1024);
    spool_attempt_encode(&payload, &attempt);
    post_record(office, SPOOL_ATTEMPT, msg_id, &payload, KEEPER_WANTS_WRITTEN);
}

static void post_outcome(
        struct office *office, uint64_t msg_id, enum spool_result result, enum keeper_wish wish)
{
    static const uint16_t rcpt = 0;
    struct spool_outcome outcome = {
        .msg_id = msg_id, .rcpt = &rcpt, .rcpt_count = 1, .attempt_no = 1, .result = result
    };
    struct buf payload;
    buf_init(&payload, 1024);
    spool_outcome_encode(&payload, &outcome);
    post_record(office, SPOOL_OUTCOME, msg_id, &payload, wish);
}

/* Takes one reply, of an accept, and frees it. */
static enum err accept_reply(struct office *office, uint64_t *ret_msg_id)
{
    struct letter *letter = mailbox_take_all(&office->replies);
    CHECK(letter != NULL && letter->next == NULL);
    CHECK_U64(letter->kind, REPLY);
    struct keeper_accept *accept = CONTAINER_OF(letter, struct keeper_accept, letter);
    enum err err = accept->err;
    *ret_msg_id = accept->msg_id;
    keeper_accept_free(accept);
    return err;
}

static enum err record_reply(struct office *office)
{
    struct letter *letter = mailbox_take_all(&office->replies);
    CHECK(letter != NULL && letter->next == NULL);
    struct keeper_record *record = CONTAINER_OF(letter, struct keeper_record, letter);
    enum err err = record->err;
    mem_free(record);
    return err;
}

static enum err give(struct office *office, uint32_t number, uint32_t bytes, uint64_t *ret_msg_id)
{
    post(office, &accept_new(office, number, bytes)->letter);
    turn(office);
    return accept_reply(office, ret_msg_id);
}

static uint64_t syncs(const struct office *office)
{
    return sim_disk_counts(office->f.disk)->calls[SIM_DISK_SYNC];
}

TEST(one_sync_serves_all_who_wait)
{
    struct office office;
    office_init(&office, 1);
    uint64_t before = syncs(&office);
    office.grew = 0;
    for (uint32_t i = 0; i < 5; i++) {
        post(&office, &accept_new(&office, i, 300)->letter);
    }
    turn(&office);
    CHECK_U64(syncs(&office), before + 1);
    CHECK_U64(office.accepted, 5);
    CHECK_U64(office.grew, 1);
    struct letter *letter = mailbox_take_all(&office.replies);
    uint32_t answers = 0;
    while (letter != NULL) {
        struct letter *next = letter->next;
        struct keeper_accept *accept = CONTAINER_OF(letter, struct keeper_accept, letter);
        CHECK_U64(accept->err, OK);
        CHECK_U64(accept->reply.ctx_id, answers);
        keeper_accept_free(accept);
        answers++;
        letter = next;
    }
    CHECK_U64(answers, 5);
    office_done(&office);
}

TEST(an_attempt_is_answered_after_the_write_and_synced_within_50_ms)
{
    struct office office;
    uint64_t id;
    office_init(&office, 2);
    REQUIRE_OK(give(&office, 1, 100, &id));
    uint64_t before = syncs(&office);
    post_attempt(&office, id);
    turn(&office);
    REQUIRE_OK(record_reply(&office));
    CHECK_U64(syncs(&office), before);
    CHECK(spool_has_unsynced(office.f.spool));
    struct mono next = keeper_turn(office.keeper, clock_mono(&office.f.clock.base));
    CHECK(next.ms <= clock_mono(&office.f.clock.base).ms + KEEPER_SYNC_DELAY_MS);
    fixture_pass(&office.f, KEEPER_SYNC_DELAY_MS + 1);
    turn(&office);
    CHECK(!spool_has_unsynced(office.f.spool));
    office_done(&office);
}

TEST(a_failed_sync_gives_451_and_keeps_what_was_only_written)
{
    struct office office;
    uint64_t id, lost;
    const struct seen *seen;
    office_init(&office, 3);
    REQUIRE_OK(give(&office, 1, 100, &id));
    post_attempt(&office, id);
    turn(&office);
    REQUIRE_OK(record_reply(&office));
    sim_disk_fail(office.f.disk, SIM_DISK_SYNC, 1, 1, E_IO);
    CHECK_ERR(give(&office, 2, 100, &lost), E_IO);
    CHECK_U64(office.accepted, 1);
    struct spool_stats stats;
    spool_get_stats(office.f.spool, &stats);
    CHECK_U64(stats.poisoned_slots, 1);
    CHECK(!stats.is_refusing);
    REQUIRE_OK(give(&office, 3, 100, &lost));
    /* the attempt is still there after a power cut, the refused message is not */
    sim_disk_cut_at(office.f.disk, 1);
    keeper_free(office.keeper);
    fixture_kill(&office.f);
    sim_disk_crash(office.f.disk, SIM_CRASH_NONE, 0);
    office_open(&office);
    seen = fixture_see(&office.f);
    CHECK_U64(seen->count, 2);
    const struct seen_msg *msg = seen_find(seen, id);
    CHECK(msg != NULL);
    CHECK_U64(msg->rcpt[0].state, SPOOL_IN_DOUBT);
    CHECK(msg->rcpt[0].maybe_duplicate);
    office_done(&office);
}

/* How many of the replies to accepts say OK; their ids. */
static uint32_t accepts_kept(struct office *office, uint64_t *ids, uint32_t *ret_count)
{
    uint32_t kept = 0;
    struct letter *letter = mailbox_take_all(&office->replies);
    for (*ret_count = 0; letter != NULL; ++*ret_count) {
        struct letter *next = letter->next;
        struct keeper_accept *accept = CONTAINER_OF(letter, struct keeper_accept, letter);
        if (accept->err == OK) {
            ids[kept++] = accept->msg_id;
        }
        keeper_accept_free(accept);
        letter = next;
    }
    return kept;
}

/* One turn goes through several segments: those that are whole stay, whatever fails later. */
TEST(what_an_ended_segment_holds_is_kept_and_what_was_refused_is_not_there)
{
    enum { ACCEPTS = 9 };
    uint32_t mixed = 0;
    for (uint32_t nth = 1; nth <= 12; nth++) {
        struct office office;
        uint64_t ids[ACCEPTS];
        uint32_t count;
        office_init(&office, nth);
        uint32_t bytes = (uint32_t)(office.f.conf.slot_bytes / 3);
        bytes = bytes < SPOOL_INLINE_BYTES_MAX ? bytes : SPOOL_INLINE_BYTES_MAX;
        for (uint32_t i = 0; i < ACCEPTS; i++) {
            post(&office, &accept_new(&office, i, bytes)->letter);
        }
        sim_disk_fail(office.f.disk, SIM_DISK_WRITE, nth, 1, E_IO);
        turn(&office);
        uint32_t kept = accepts_kept(&office, ids, &count);
        CHECK_U64(count, ACCEPTS);
        CHECK_U64(office.accepted, kept);
        mixed += kept > 0 && kept < ACCEPTS;
        sim_disk_heal(office.f.disk);
        sim_disk_cut_at(office.f.disk, 1);
        keeper_free(office.keeper);
        fixture_kill(&office.f);
        sim_disk_crash(office.f.disk, SIM_CRASH_NONE, 0);
        office_open(&office);
        const struct seen *seen = fixture_see(&office.f);
        CHECK(seen->count == kept, "write %u: %u kept, %u there", nth, kept, seen->count);
        for (uint32_t i = 0; i < kept; i++) {
            CHECK(seen_find(seen, ids[i]) != NULL);
        }
        office_done(&office);
    }
    CHECK(mixed > 0);
}

TEST(when_no_slot_works_nobody_is_answered_and_it_heals_by_itself)
{
    struct office office;
    uint64_t id, lost;
    office_init(&office, 4);
    REQUIRE_OK(give(&office, 1, 100, &id));
    post_attempt(&office, id);
    turn(&office);
    REQUIRE_OK(record_reply(&office));
    sim_disk_fail(office.f.disk, SIM_DISK_SYNC, 1, 100, E_IO);
    CHECK_ERR(give(&office, 2, 100, &lost), E_CLOSED);
    struct spool_stats stats;
    spool_get_stats(office.f.spool, &stats);
    CHECK(stats.is_refusing);
    /* never written, so a plain no may be said; no delivery starts; what happened is kept */
    CHECK_ERR(give(&office, 3, 100, &lost), E_IO);
    post_attempt(&office, id);
    turn(&office);
    CHECK_ERR(record_reply(&office), E_IO);
    post_outcome(&office, id, SPOOL_RESULT_DELIVERED, KEEPER_WANTS_NOTHING);
    turn(&office);
    REQUIRE_OK(record_reply(&office));
    sim_disk_heal(office.f.disk);
    fixture_pass(&office.f, 11000);
    turn(&office);
    spool_get_stats(office.f.spool, &stats);
    CHECK(!stats.is_refusing);
    CHECK_U64(stats.open_msgs, 0);
    CHECK_U64(stats.closed_rcpts[SPOOL_DELIVERED], 1);
    REQUIRE_OK(give(&office, 4, 100, &id));
    office_done(&office);
}

TEST(a_client_that_waited_too_long_is_not_answered_and_its_message_is_cancelled)
{
    struct office office;
    uint64_t id;
    office_init(&office, 5);
    struct keeper_accept *accept = accept_new(&office, 1, 100);
    fixture_pass(&office.f, 500000);
    accept->asked_at.ms = office.f.clock.mono_ms - KEEPER_ACCEPT_WAIT_MAX_MS - 1;
    post(&office, &accept->letter);
    turn(&office);
    CHECK_ERR(accept_reply(&office, &id), E_CLOSED);
    CHECK_U64(office.accepted, 0);
    struct spool_stats stats;
    spool_get_stats(office.f.spool, &stats);
    CHECK_U64(stats.open_msgs, 0);
    CHECK_U64(stats.closed_rcpts[SPOOL_CANCELLED], 1);
    office_done(&office);
}

TEST(a_report_closes_the_recipients_it_speaks_for_in_the_same_batch)
{
    struct office office;
    uint64_t id, dsn_id;
    office_init(&office, 6);
    REQUIRE_OK(give(&office, 1, 100, &id));
    post_outcome(&office, id, SPOOL_RESULT_BOUNCED, KEEPER_WANTS_DURABLE);
    turn(&office);
    REQUIRE_OK(record_reply(&office));
    struct keeper_accept *dsn = accept_new(&office, 2, 400);
    uint16_t *rcpt = mem_new(sizeof *rcpt);
    dsn->link = mem_new(sizeof *dsn->link);
    CHECK(rcpt != NULL && dsn->link != NULL);
    *dsn->link = (struct spool_dsn_link){ id, rcpt, 1 };
    dsn->link_count = 1;
    uint64_t batches = syncs(&office);
    post(&office, &dsn->letter);
    turn(&office);
    REQUIRE_OK(accept_reply(&office, &dsn_id));
    CHECK_U64(syncs(&office), batches + 1);
    CHECK_U64(office.notified, 1);
    struct spool_where where;
    CHECK_ERR(spool_find(office.f.spool, id, &where), E_NOT_FOUND);
    REQUIRE_OK(spool_find(office.f.spool, dsn_id, &where));
    office_done(&office);
}

static enum err give_chunk(
        struct office *office, struct blob *chunk, struct spool_extent *ret_extent)
{
    struct keeper_body *body = mem_new(sizeof *body);
    CHECK(body != NULL);
    body->letter.kind = KEEPER_BODY;
    body->reply = (struct keeper_reply){ &office->replies, REPLY, NULL, 0 };
    body->chunk = chunk;
    post(office, &body->letter);
    turn(office);
    struct letter *letter = mailbox_take_all(&office->replies);
    CHECK(letter != NULL && letter->next == NULL);
    body = CONTAINER_OF(letter, struct keeper_body, letter);
    enum err err = body->err;
    *ret_extent = body->extent;
    blob_give(body->chunk);
    mem_free(body);
    return err;
}

static struct keeper_accept *streamed_new(struct office *office, uint32_t number, uint32_t bytes)
{
    struct spool_extent extent[8];
    struct buf text;
    uint32_t count = 0;
    buf_init(&text, 1 << 20);
    struct blob *whole = message_content(number, bytes);
    blob_text(whole, &text);
    blob_give(whole);
    for (uint32_t at = 0; at < bytes; at += 20000) {
        REQUIRE_OK(
                give_chunk(office, blob_of(str_sub(buf_str(&text), at, 20000)), &extent[count++]));
    }
    struct keeper_accept *accept = accept_new(office, number, 0);
    accept->body.extent = mem_new(count * sizeof *extent);
    CHECK(accept->body.extent != NULL);
    memcpy(accept->body.extent, extent, count * sizeof *extent);
    accept->body.extent_count = count;
    accept->body.crc32c = crc32c(0, buf_str(&text));
    buf_done(&text);
    return accept;
}

TEST(streamed_content_comes_back_whole)
{
    struct office office;
    uint64_t id;
    struct spool_view *view;
    struct blob *envelope, *content;
    struct why why = { 0 };
    office_init(&office, 7);
    post(&office, &streamed_new(&office, 3, 90000)->letter);
    turn(&office);
    REQUIRE_OK(accept_reply(&office, &id));
    REQUIRE_OK(spool_view_of(office.f.spool, sim_disk_as_disk(office.f.disk), &view));
    REQUIRE_OK(spool_view_message(view, &office.where, id, NULL, &envelope, &content, &why));
    CHECK(message_is_content(3, 90000, content));
    blob_give(envelope);
    blob_give(content);
    struct buf head;
    buf_init(&head, 65536);
    REQUIRE_OK(spool_view_head(view, &office.where, id, 50000, &head, &why));
    CHECK_U64(head.len, 50000);
    buf_done(&head);
    spool_view_close(view);
    office_done(&office);
}

TEST(a_chunk_lost_with_a_failed_sync_makes_its_message_refused)
{
    struct office office;
    uint64_t id;
    office_init(&office, 8);
    struct keeper_accept *accept = streamed_new(&office, 3, 30000);
    sim_disk_fail(office.f.disk, SIM_DISK_SYNC, 1, 1, E_IO);
    CHECK_ERR(give(&office, 4, 100, &id), E_IO);
    post(&office, &accept->letter);
    turn(&office);
    CHECK_ERR(accept_reply(&office, &id), E_IO);
    office_done(&office);
}

TEST(a_dropped_chunk_is_forgotten)
{
    struct office office;
    struct spool_extent extent;
    uint64_t id;
    office_init(&office, 9);
    REQUIRE_OK(give_chunk(&office, message_content(1, 5000), &extent));
    struct keeper_body *drop = mem_new(sizeof *drop);
    CHECK(drop != NULL);
    drop->letter.kind = KEEPER_DROP;
    drop->body.extent = mem_new(sizeof extent);
    CHECK(drop->body.extent != NULL);
    *drop->body.extent = extent;
    drop->body.extent_count = 1;
    post(&office, &drop->letter);
    turn(&office);
    struct keeper_accept *accept = accept_new(&office, 1, 0);
    accept->body.extent = mem_new(sizeof extent);
    CHECK(accept->body.extent != NULL);
    *accept->body.extent = extent;
    accept->body.extent_count = 1;
    post(&office, &accept->letter);
    turn(&office);
    CHECK_ERR(accept_reply(&office, &id), E_IO);
    office_done(&office);
}

TEST(the_keeper_finds_messages_and_tells_its_figures)
{
    struct office office;
    uint64_t id;
    office_init(&office, 10);
    REQUIRE_OK(give(&office, 1, 100, &id));
    struct keeper_find *find = mem_new(sizeof *find);
    struct keeper_stats_ask *ask = mem_new(sizeof *ask);
    CHECK(find != NULL && ask != NULL);
    find->letter.kind = KEEPER_FIND;
    find->reply = (struct keeper_reply){ &office.replies, REPLY, NULL, 0 };
    find->msg_id = id;
    ask->letter.kind = KEEPER_STATS;
    ask->reply = (struct keeper_reply){ &office.replies, REPLY, NULL, 0 };
    post(&office, &find->letter);
    post(&office, &ask->letter);
    turn(&office);
    struct letter *letter = mailbox_take_all(&office.replies);
    CHECK(letter == &find->letter && letter->next == &ask->letter);
    CHECK_U64(find->err, OK);
    CHECK_U64(find->where.slot, office.where.slot);
    CHECK_U64(ask->stats.open_msgs, 1);
    CHECK_U64(ask->stats.accepted_rcpts, 1);
    mem_free(find);
    mem_free(ask);
    office_done(&office);
}

TEST(what_does_not_fit_is_refused_for_good)
{
    struct office office;
    uint64_t id;
    office_init(&office, 11);
    CHECK_ERR(give(&office, 1, 60000, &id), E_TOO_BIG);
    REQUIRE_OK(give(&office, 2, 50000, &id));
    office_done(&office);
}

TEST(more_letters_than_a_batch_holds_are_all_answered_with_few_syncs)
{
    struct office office;
    const struct seen *seen;
    office_init(&office, 13);
    uint64_t before = syncs(&office);
    for (uint32_t i = 0; i < 100; i++) {
        post(&office, &accept_new(&office, i, 3000)->letter);
    }
    turn(&office);
    CHECK(syncs(&office) - before < 20, "%u syncs", (unsigned)(syncs(&office) - before));
    struct letter *letter = mailbox_take_all(&office.replies);
    uint32_t answers = 0;
    while (letter != NULL) {
        struct keeper_accept *accept = CONTAINER_OF(letter, struct keeper_accept, letter);
        letter = letter->next;
        CHECK_U64(accept->err, OK);
        keeper_accept_free(accept);
        answers++;
    }
    CHECK_U64(answers, 100);
    seen = fixture_see(&office.f);
    CHECK_U64(seen->count, 100);
    office_done(&office);
}

TEST(ten_thousand_recipients_come_back_and_one_more_is_refused)
{
    struct office office;
    uint64_t id;
    struct spool_view *view;
    struct blob *envelope;
    struct why why = { 0 };
    office = (struct office){ .accepted = 0 };
    fixture_init(&office.f, 14);
    office.f.conf.slot_bytes = 4 << 20;
    mailbox_init(&office.replies, 1000, NULL, NULL);
    office_open(&office);
    for (uint32_t more = 0; more < 2; more++) {
        struct keeper_accept *accept = accept_new(&office, 1, 100);
        blob_give(accept->envelope);
        accept->envelope = message_envelope(1, SPOOL_RCPT_COUNT_MAX + more);
        post(&office, &accept->letter);
        turn(&office);
        CHECK_ERR(accept_reply(&office, &id), more ? E_SYNTAX : OK);
    }
    struct spool_stats stats;
    spool_get_stats(office.f.spool, &stats);
    CHECK_U64(stats.open_rcpts, SPOOL_RCPT_COUNT_MAX);
    REQUIRE_OK(spool_view_of(office.f.spool, sim_disk_as_disk(office.f.disk), &view));
    REQUIRE_OK(spool_view_message(
            view, &office.where, office.accepted_id, NULL, &envelope, NULL, &why));
    struct buf text;
    struct spool_envelope decoded;
    buf_init(&text, SPOOL_ENVELOPE_BYTES_MAX);
    blob_text(envelope, &text);
    REQUIRE_OK(spool_envelope_decode(buf_str(&text), &decoded));
    CHECK_U64(decoded.rcpt_count, SPOOL_RCPT_COUNT_MAX);
    buf_done(&text);
    blob_give(envelope);
    spool_view_close(view);
    office_done(&office);
}

TEST(letters_left_in_the_box_are_freed)
{
    struct office office;
    office_init(&office, 15);
    post(&office, &accept_new(&office, 1, 100)->letter);
    post_attempt(&office, 1);
    office_done(&office);
}

/* Of an outcome's answer, which is freed. */
static enum spool_result record_result(struct letter *letter)
{
    struct keeper_record *record = CONTAINER_OF(letter, struct keeper_record, letter);
    uint16_t *scratch = mem_new(SPOOL_RCPT_COUNT_MAX * sizeof *scratch);
    struct spool_outcome outcome;
    CHECK(scratch != NULL);
    REQUIRE_OK(record->err);
    REQUIRE_OK(
            spool_outcome_decode(str_of(record->payload, record->payload_len), scratch, &outcome));
    mem_free(scratch);
    mem_free(record);
    return outcome.result;
}

/* Memory refused at every allocation in turn: an outcome is kept, in its place before the next. */
TEST(an_outcome_that_finds_no_memory_is_kept_and_tried_again)
{
    bool was_kept = false;
    for (uint64_t nth = 1; nth < 20; nth++) {
        struct office office;
        uint64_t id = 0, other = 0;
        struct spool_where where;
        office_init(&office, 17);
        REQUIRE_OK(give(&office, 1, 100, &id));
        REQUIRE_OK(give(&office, 2, 100, &other));
        post_outcome(&office, id, SPOOL_RESULT_DEFERRED, KEEPER_WANTS_DURABLE);
        mem_fail_at(nth);
        turn(&office);
        mem_fail_at(0);
        bool is_kept = mailbox_count(&office.replies) == 0;
        CHECK(keeper_is_idle(office.keeper) == !is_kept);
        post_outcome(&office, id, SPOOL_RESULT_DELIVERED, KEEPER_WANTS_DURABLE);
        turn(&office);
        struct letter *first = mailbox_take_all(&office.replies), *second = first->next;
        CHECK(second != NULL && second->next == NULL);
        CHECK_U64(record_result(first), SPOOL_RESULT_DEFERRED);
        CHECK_U64(record_result(second), SPOOL_RESULT_DELIVERED);
        was_kept = was_kept || is_kept;
        CHECK(keeper_is_idle(office.keeper));
        CHECK(spool_find(office.f.spool, other, &where) == OK);
        office_done(&office);
    }
    CHECK(was_kept);
}

/* As above, for a report with its link: both or neither. */
TEST(every_failed_allocation_leaves_report_and_link_together)
{
    for (uint64_t nth = 1; nth < 60; nth++) {
        struct office office;
        uint64_t id = 0, dsn_id = 0;
        office_init(&office, 16);
        REQUIRE_OK(give(&office, 1, 100, &id));
        post_outcome(&office, id, SPOOL_RESULT_BOUNCED, KEEPER_WANTS_DURABLE);
        turn(&office);
        REQUIRE_OK(record_reply(&office));
        struct keeper_accept *dsn = accept_new(&office, 2, 400);
        uint16_t *rcpt = mem_new(sizeof *rcpt);
        dsn->link = mem_new(sizeof *dsn->link);
        CHECK(rcpt != NULL && dsn->link != NULL);
        *dsn->link = (struct spool_dsn_link){ id, rcpt, 1 };
        dsn->link_count = 1;
        post(&office, &dsn->letter);
        mem_fail_at(nth);
        turn(&office);
        mem_fail_at(0);
        enum err err = accept_reply(&office, &dsn_id);
        struct spool_where where;
        CHECK((err == OK) == (spool_find(office.f.spool, id, &where) == E_NOT_FOUND));
        CHECK((err == OK) == (spool_find(office.f.spool, dsn_id, &where) == OK));
        office_done(&office);
    }
}

/* Memory refused at every allocation in turn: 4xx or done, never half. */
TEST(every_failed_allocation_refuses_or_does_all)
{
    for (uint64_t nth = 1; nth < 60; nth++) {
        struct office office;
        const struct seen *seen;
        office_init(&office, 12);
        struct keeper_accept *accept = accept_new(&office, 1, 100);
        blob_give(accept->envelope);
        accept->envelope = message_envelope(1, 3);
        post(&office, &accept->letter);
        mem_fail_at(nth);
        turn(&office);
        mem_fail_at(0);
        uint64_t id = 0;
        enum err err = accept_reply(&office, &id);
        seen = fixture_see(&office.f);
        CHECK_U64(seen->count, err == OK ? 1 : 0);
        CHECK(err == OK || err == E_NOMEM, "allocation %u: %s", (unsigned)nth, err_name(err));
        REQUIRE_OK(give(&office, 2, 100, &id));
        office_done(&office);
    }
}
