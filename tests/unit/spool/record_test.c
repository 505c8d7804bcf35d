/* SPDX-License-Identifier: Apache-2.0
 *
 * record_test.c - envelopes, records and fixed headers: what is written is read back, and nothing
 * else is taken for it.
 */
#include "spool/format_priv.h"
#include "spool/index_priv.h"
#include "tests/test.h"

#include "core/str.h"

static const uint16_t some_rcpts[] = { 0, 3, 9999 };

/* Every shorter copy, in memory of exactly its size, is refused. */
static void check_cuts(struct str bytes, enum err (*decode)(struct str bytes))
{
    REQUIRE_OK(decode(bytes));
    for (size_t len = 0; len < bytes.len; len++) {
        char *copy = mem_new(len ? len : 1);
        CHECK(copy != NULL);
        memcpy(copy, bytes.ptr, len);
        CHECK(decode(str_of(copy, len)) != OK, "cut at %zu of %zu", len, bytes.len);
        mem_free(copy);
    }
}

static uint16_t scratch[SPOOL_RCPT_COUNT_MAX];

static enum err decode_envelope(struct str bytes)
{
    struct spool_envelope envelope;
    return spool_envelope_decode(bytes, &envelope);
}
static enum err decode_outcome(struct str bytes)
{
    struct spool_outcome outcome;
    return spool_outcome_decode(bytes, scratch, &outcome);
}
static enum err decode_attempt(struct str bytes)
{
    struct spool_attempt attempt;
    return spool_attempt_decode(bytes, scratch, &attempt);
}
static enum err decode_ctl(struct str bytes)
{
    struct spool_ctl ctl;
    return spool_ctl_decode(bytes, scratch, &ctl);
}
static enum err decode_dsn(struct str bytes)
{
    struct spool_dsn_link link;
    uint64_t dsn_msg_id;
    return spool_dsn_decode(bytes, scratch, &link, &dsn_msg_id);
}
static enum err decode_refusal(struct str bytes)
{
    struct spool_refusal refusal;
    return spool_refusal_decode(bytes, &refusal);
}

TEST(an_envelope_survives_encoding)
{
    struct buf rcpts, bytes;
    struct spool_envelope got;
    struct str address;
    buf_init(&rcpts, 4096);
    buf_init(&bytes, 4096);
    spool_rcpt_add(&rcpts, STR("a@example.org"));
    spool_rcpt_add(&rcpts, STR("\"b c\"@example.org"));
    struct spool_envelope envelope = { .ulid = { { 1, 2, 3 } },
        .accepted_at = { 1800000000123 },
        .flags = SPOOL_MSG_8BIT | SPOOL_MSG_SIGN,
        .header_bytes = 77,
        .content_bytes = 5000,
        .body_hash = { 9, 8, 7 },
        .sender = STR(""),
        .stream = STR("bulk"),
        .credential = STR("shop"),
        .tag = STR("t"),
        .meta = STR("k=v\n"),
        .message_id = STR("<x@example.org>"),
        .from_domain = STR("example.org"),
        .client = STR("192.0.2.1"),
        .helo = STR("h"),
        .subject_hint = STR("Hello"),
        .rcpt_count = 2,
        .rcpts = buf_str(&rcpts) };
    spool_envelope_encode(&bytes, &envelope);
    REQUIRE_OK(buf_err(&bytes));
    REQUIRE_OK(spool_envelope_decode(buf_str(&bytes), &got));
    CHECK_STR(got.message_id, STR("<x@example.org>"));
    CHECK_STR(got.meta, STR("k=v\n"));
    CHECK_U64(got.content_bytes, 5000);
    CHECK_U64(got.body_hash[2], 7);
    struct cur cur = { got.rcpts, false };
    CHECK(spool_rcpt_next(&cur, &address));
    CHECK_STR(address, STR("a@example.org"));
    CHECK(spool_rcpt_next(&cur, &address));
    CHECK_STR(address, STR("\"b c\"@example.org"));
    CHECK(!spool_rcpt_next(&cur, &address));
    check_cuts(buf_str(&bytes), decode_envelope);
    buf_done(&rcpts);
    buf_done(&bytes);
}

TEST(an_envelope_with_another_number_of_recipients_is_refused)
{
    struct buf rcpts, bytes;
    struct spool_envelope got;
    buf_init(&rcpts, 4096);
    buf_init(&bytes, 4096);
    spool_rcpt_add(&rcpts, STR("a@example.org"));
    struct spool_envelope envelope = { .rcpt_count = 2, .rcpts = buf_str(&rcpts) };
    spool_envelope_encode(&bytes, &envelope);
    CHECK_ERR(spool_envelope_decode(buf_str(&bytes), &got), E_SYNTAX);
    buf_clear(&bytes);
    envelope.rcpt_count = 0;
    envelope.rcpts = STR("");
    spool_envelope_encode(&bytes, &envelope);
    CHECK_ERR(spool_envelope_decode(buf_str(&bytes), &got), E_SYNTAX);
    buf_done(&rcpts);
    buf_done(&bytes);
}

TEST(an_outcome_survives_encoding)
{
    struct buf bytes;
    struct spool_outcome got;
    struct spool_outcome outcome = { .msg_id = 42,
        .rcpt = some_rcpts,
        .rcpt_count = 3,
        .attempt_no = 2,
        .result = SPOOL_RESULT_DEFERRED,
        .at = { 5 },
        .due = { 1800000000000 },
        .code = 451,
        .enhanced = STR("4.7.1"),
        .text = STR("later"),
        .site = STR("mx.example.org"),
        .tls = STR("TLSv1.3"),
        .queued_ms = 1,
        .connect_ms = 2,
        .transfer_ms = 3,
        .maybe_duplicate = true,
        .dialogue = STR("S: 451 later\n") };
    buf_init(&bytes, 4096);
    spool_outcome_encode(&bytes, &outcome);
    REQUIRE_OK(spool_outcome_decode(buf_str(&bytes), scratch, &got));
    CHECK_U64(got.rcpt_count, 3);
    CHECK_U64(got.rcpt[2], 9999);
    CHECK_U64(got.result, SPOOL_RESULT_DEFERRED);
    CHECK_U64(got.due.ms, 1800000000000);
    CHECK_U64(got.transfer_ms, 3);
    CHECK(got.maybe_duplicate);
    CHECK_STR(got.dialogue, STR("S: 451 later\n"));
    check_cuts(buf_str(&bytes), decode_outcome);
    buf_done(&bytes);
}

TEST(attempts_controls_links_and_refusals_survive_encoding)
{
    struct buf bytes;
    struct spool_attempt attempt = { 7, some_rcpts, 3, 4, { 99 } };
    struct spool_ctl ctl = { 7, some_rcpts, 2, SPOOL_CTL_BOUNCE, { 99 }, STR("op"), STR("why") };
    struct spool_dsn_link link = { 7, some_rcpts, 1 };
    struct spool_refusal refusal = {
        .at = { 3 }, .code = 550, .text = STR("no"), .recipient = STR("x@example.org")
    };
    buf_init(&bytes, 4096);
    spool_attempt_encode(&bytes, &attempt);
    check_cuts(buf_str(&bytes), decode_attempt);
    buf_clear(&bytes);
    spool_ctl_encode(&bytes, &ctl);
    check_cuts(buf_str(&bytes), decode_ctl);
    buf_clear(&bytes);
    spool_dsn_encode(&bytes, &link, 1234);
    check_cuts(buf_str(&bytes), decode_dsn);
    buf_clear(&bytes);
    spool_refusal_encode(&bytes, &refusal);
    check_cuts(buf_str(&bytes), decode_refusal);
    buf_done(&bytes);
}

TEST(a_record_with_too_many_recipients_is_refused)
{
    struct buf bytes;
    struct spool_attempt got;
    buf_init(&bytes, 65536);
    buf_add_u64(&bytes, 1);
    buf_add_u32(&bytes, SPOOL_RCPT_COUNT_MAX + 1);
    for (uint32_t i = 0; i <= SPOOL_RCPT_COUNT_MAX; i++) {
        buf_add_u16(&bytes, 0);
    }
    buf_add_u32(&bytes, 1);
    buf_add_u64(&bytes, 1);
    CHECK_ERR(spool_attempt_decode(buf_str(&bytes), scratch, &got), E_SYNTAX);
    buf_done(&bytes);
}

TEST(a_header_with_any_bit_changed_is_not_ours)
{
    uint8_t batch[BATCH_HEADER_BYTES], seg[SEG_HEADER_BYTES], meta[META_BYTES],
            ckpt[CKPT_HEADER_BYTES];
    struct batch_header b = { .head_len = 10, .payload_len = 20, .batch_seq = 5, .page = 1 }, b2;
    struct seg_header s = { .spool_id = 77, .seg_seq = 3, .slot_bytes = 65536 }, s2;
    struct meta m = { .major = 1, .spool_id = 77, .slot_bytes = 65536 }, m2;
    struct ckpt_header c = { .version = 2 }, c2;
    batch_header_encode(batch, 77, &b);
    seg_header_encode(seg, &s);
    meta_encode(meta, &m);
    ckpt_header_encode(ckpt, 77, &c);
    CHECK(batch_header_decode(batch, 77, &b2) && b2.batch_seq == 5);
    CHECK(seg_header_decode(seg, 77, &s2) && s2.seg_seq == 3);
    CHECK(meta_decode(meta, &m2) && m2.spool_id == 77);
    CHECK(ckpt_header_decode(ckpt, 77, &c2) && c2.version == 2);
    CHECK(!batch_header_decode(batch, 78, &b2) && !seg_header_decode(seg, 78, &s2));
    for (size_t bit = 0; bit < 8 * sizeof ckpt; bit++) {
        uint8_t mask = (uint8_t)(1u << bit % 8);
        size_t at = bit / 8;
        ckpt[at] ^= mask;
        CHECK(!ckpt_header_decode(ckpt, 77, &c2), "bit %zu", bit);
        ckpt[at] ^= mask;
        if (at < sizeof batch) {
            batch[at] ^= mask;
            CHECK(!batch_header_decode(batch, 77, &b2), "bit %zu", bit);
            batch[at] ^= mask;
        }
        if (at < sizeof seg) {
            seg[at] ^= mask;
            meta[at] ^= mask;
            CHECK(!seg_header_decode(seg, 77, &s2) && !meta_decode(meta, &m2), "bit %zu", bit);
            seg[at] ^= mask;
            meta[at] ^= mask;
        }
    }
}

TEST(names_of_slots_are_read_back_and_others_are_not_slots)
{
    char name[NAME_BYTES_MAX];
    uint32_t slot = 1;
    slot_name(name, 42);
    CHECK_STR(str_from_c(name), STR("slot-00042.seg"));
    CHECK(slot_name_parse(name, &slot) && slot == 42);
    CHECK(!slot_name_parse("slot-0042.seg", &slot) && !slot_name_parse("slot-000x2.seg", &slot));
    CHECK(!slot_name_parse("META", &slot) && !slot_name_parse("slot-99999.seg", &slot));
}

TEST(a_place_in_six_bytes_keeps_every_slot_page_and_record_and_takes_no_other)
{
    static const struct spool_where good[] = { { 0, 0, 0 }, { SLOT_COUNT_MAX - 1, 0, 8 },
        { 1, SPOOL_SLOT_BYTES_MAX / PAGE_BYTES - 1, 0 }, { 0, 77, SPOOL_BATCH_BYTES_MAX - 8 },
        { SLOT_COUNT_MAX - 1, SPOOL_SLOT_BYTES_MAX / PAGE_BYTES - 1, SPOOL_BATCH_BYTES_MAX - 8 } };
    static const struct spool_where bad[] = { { SLOT_COUNT_MAX, 1, 8 },
        { 1, SPOOL_SLOT_BYTES_MAX / PAGE_BYTES, 8 }, { 1, 1, SPOOL_BATCH_BYTES_MAX }, { 1, 1, 9 },
        { UINT32_MAX, UINT32_MAX, UINT32_MAX } };
    struct spool_place place = { { 1, 2, 3 } };
    for (uint32_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(!spool_where_pack(&bad[i], &place) && place.bits[2] == 3, "place %u", i);
    }
    for (uint32_t i = 0; i < COUNT_OF(good); i++) {
        CHECK(spool_where_pack(&good[i], &place), "place %u", i);
        struct spool_where where = spool_place_where(place);
        CHECK(memcmp(&where, &good[i], sizeof where) == 0, "place %u: %u %u %u", i, where.slot,
                where.batch_page, where.record_at);
    }
}

TEST(a_message_in_the_index_keeps_its_times_and_counts)
{
    static const int64_t times_ms[][2] = { { 0, 0 }, { -5, 0 }, { 1764000000123, 1764000000123 },
        { (INT64_C(1) << 47) - 1, (INT64_C(1) << 47) - 1 }, { INT64_MAX, (INT64_C(1) << 47) - 1 } };
    struct index index = { 0 };
    REQUIRE_OK(index_reserve(&index, 2));
    struct msg *one = index_add(&index, 1 << 16), *many = index_add(&index, 2 << 16);
    many->has_more = true;
    many->more = msg_more_new(/*rcpt_count*/ 3, /*extent_count*/ 1);
    CHECK(many->more != NULL);
    for (uint32_t i = 0; i < COUNT_OF(times_ms); i++) {
        msg_set_accepted(many, times_ms[i][0]);
        CHECK(msg_accepted_ms(many) == times_ms[i][1] && many->has_more, "time %u", i);
        rcpt_set_due(&one->one, times_ms[i][0]);
        CHECK(rcpt_due_ms(&one->one) == times_ms[i][1] || times_ms[i][0] == INT64_MAX);
    }
    msg_rcpt(many, 1)->state = SPOOL_DELIVERED;
    CHECK(msg_count_open(&index, many) && msg_count_open(&index, one));
    CHECK_U64(msg_rcpt_count(many) * 10 + msg_open_count(many), 32);
    CHECK_U64(msg_rcpt_count(one) * 10 + msg_open_count(one), 11);
    CHECK_U64(index.open_rcpts, 3);
    one->one.state = SPOOL_CANCELLED;
    CHECK_U64(msg_open_count(one), 0);
    index_done(&index);
}

TEST(the_index_finds_what_was_added_and_forgets_what_was_removed)
{
    struct index index = { 0 };
    struct msg *msg;
    for (uint64_t i = 1; i <= 5000; i++) {
        REQUIRE_OK(index_reserve(&index, 1));
        index_add(&index, i << 16);
    }
    for (uint64_t i = 1; i <= 5000; i += 2) {
        msg = index_find(&index, i << 16);
        CHECK(msg != NULL);
        index_del(&index, msg);
    }
    for (uint64_t i = 1; i <= 5000; i++) {
        CHECK((index_find(&index, i << 16) != NULL) == (i % 2 == 0), "message %u", (unsigned)i);
    }
    uint32_t count = 0;
    for (uint32_t at = 0; (msg = index_walk(&index, &at)) != NULL;) {
        count++;
    }
    CHECK_U64(count, 2500);
    CHECK_U64(index.count, 2500);
    index_done(&index);
}

/* The table of docs/spool.md, row by row: event, then queued, attempting, in doubt, held, failed.
 */
TEST(states_follow_the_table)
{
    static const struct {
        enum rcpt_event event;
        int next[5];
    } rows[] = {
        { EVENT_ATTEMPT, { SPOOL_ATTEMPTING, SPOOL_ATTEMPTING, SPOOL_ATTEMPTING, -1, -1 } },
        { EVENT_DELIVERED,
                { SPOOL_DELIVERED, SPOOL_DELIVERED, SPOOL_DELIVERED, SPOOL_DELIVERED, -1 } },
        { EVENT_DEFERRED, { SPOOL_QUEUED, SPOOL_QUEUED, SPOOL_QUEUED, -1, -1 } },
        { EVENT_IN_DOUBT, { SPOOL_IN_DOUBT, SPOOL_IN_DOUBT, SPOOL_IN_DOUBT, -1, -1 } },
        { EVENT_FAILED, { SPOOL_FAILED, SPOOL_FAILED, SPOOL_FAILED, SPOOL_FAILED, -1 } },
        { EVENT_HELD, { SPOOL_HELD, SPOOL_HELD, SPOOL_HELD, SPOOL_HELD, -1 } },
        { EVENT_CTL_HOLD, { SPOOL_HELD, SPOOL_ATTEMPTING, SPOOL_HELD, SPOOL_HELD, -1 } },
        { EVENT_CTL_RELEASE, { SPOOL_QUEUED, SPOOL_ATTEMPTING, SPOOL_QUEUED, SPOOL_QUEUED, -1 } },
        { EVENT_CTL_CANCEL,
                { SPOOL_CANCELLED, SPOOL_ATTEMPTING, SPOOL_CANCELLED, SPOOL_CANCELLED, -1 } },
        { EVENT_CTL_BOUNCE, { SPOOL_FAILED, SPOOL_ATTEMPTING, SPOOL_FAILED, SPOOL_FAILED, -1 } },
        { EVENT_CTL_FLUSH, { SPOOL_QUEUED, SPOOL_ATTEMPTING, SPOOL_QUEUED, -1, -1 } },
        { EVENT_CTL_CLOSE, { -1, -1, -1, -1, SPOOL_CLOSED } },
        { EVENT_NOTIFIED, { -1, -1, -1, -1, SPOOL_NOTIFIED } },
        { EVENT_RESTART, { -1, SPOOL_IN_DOUBT, -1, -1, -1 } },
    };
    static_assert(COUNT_OF(rows) == EVENT_COUNT, "each event has a row");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (uint8_t from = 0; from < SPOOL_STATE_COUNT; from++) {
            struct rcpt rcpt = { .state = from };
            enum spool_state next = SPOOL_STATE_COUNT;
            bool does = rcpt_next_state(&rcpt, rows[i].event, &next);
            int expected = from <= SPOOL_FAILED ? rows[i].next[from] : -1;
            CHECK(does ? (int)next == expected : expected == -1, "event %d in state %s",
                    (int)rows[i].event, spool_state_name((enum spool_state)from));
        }
    }
}

TEST(what_an_operator_wishes_during_an_attempt_acts_when_it_ends)
{
    static const struct {
        enum rcpt_event wish, end;
        enum spool_state expected;
    } rows[] = {
        { EVENT_CTL_HOLD, EVENT_DEFERRED, SPOOL_HELD },
        { EVENT_CTL_HOLD, EVENT_DELIVERED, SPOOL_DELIVERED },
        { EVENT_CTL_CANCEL, EVENT_DEFERRED, SPOOL_CANCELLED },
        { EVENT_CTL_CANCEL, EVENT_IN_DOUBT, SPOOL_CANCELLED },
        { EVENT_CTL_CANCEL, EVENT_RESTART, SPOOL_CANCELLED },
        { EVENT_CTL_CANCEL, EVENT_DELIVERED, SPOOL_DELIVERED },
        { EVENT_CTL_BOUNCE, EVENT_DEFERRED, SPOOL_FAILED },
        { EVENT_CTL_RELEASE, EVENT_DEFERRED, SPOOL_QUEUED },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct rcpt rcpt = { .state = SPOOL_ATTEMPTING };
        enum spool_state next;
        CHECK(rcpt_next_state(&rcpt, rows[i].wish, &next) && next == SPOOL_ATTEMPTING);
        CHECK(rcpt_next_state(&rcpt, rows[i].end, &next));
        CHECK(next == rows[i].expected, "row %zu: %s", i, spool_state_name(next));
    }
}
