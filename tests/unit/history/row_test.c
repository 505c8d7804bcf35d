/* SPDX-License-Identifier: Apache-2.0
 *
 * row_test.c - packing stories, and rows that are damaged.
 */
#include "history/row_priv.h"

#include "core/str.h"
#include "history/story_priv.h"
#include "history/tale_priv.h"
#include "tests/test.h"

#include <time.h>

static uint16_t scratch[SPOOL_RCPT_COUNT_MAX];

static void sample(struct row *row)
{
    struct buf rcpts;
    buf_init(&rcpts, 1000);
    spool_rcpt_add(&rcpts, STR("a@example.net"));
    spool_rcpt_add(&rcpts, STR("b@example.net"));
    struct spool_envelope envelope = { .accepted_at = { 1795611600000 },
        .content_bytes = 77,
        .sender = STR("app@shop.example"),
        .stream = STR("transactional"),
        .helo = STR("app@shop.example"), /* known by then */
        .rcpt_count = 2,
        .rcpts = buf_str(&rcpts) };
    row_init(row);
    row_begin(row, &envelope);
    buf_done(&rcpts);
    static const uint16_t second[] = { 1 };
    row_add(row,
            &(struct row_event){ .kind = ROW_ATTEMPTED, .at = { 1795611600500 }, .attempt_no = 1 });
    row_add(row, &(struct row_event){ .kind = ROW_OUTCOME,
                         .at = { 1795611600400 }, /* clocks step back */
                         .rcpt = second,
                         .rcpt_count = 1,
                         .attempt_no = 1,
                         .outcome = { .result = SPOOL_RESULT_DEFERRED,
                                 .due = { 1795611700000 },
                                 .code = 451,
                                 .text = STR("later"),
                                 .remote_host = STR("mx.example.net"),
                                 .site = STR("mx.example.net") } });
    row_add(row, &(struct row_event){ .kind = ROW_CTL,
                         .at = { 1795611600600 },
                         .action = SPOOL_CTL_BOUNCE,
                         .author = STR("anna"),
                         .reason = STR("later") });
    row_add(row, &(struct row_event){ .kind = ROW_NOTIFIED, .dsn_id = STR("0123456789abcdef") });
    row_add(row, &(struct row_event){ .kind = ROW_ELIDED, .count = 300 });
    REQUIRE_OK(buf_err(&row->bytes));
}

TEST(what_is_packed_is_read_back)
{
    struct row row;
    struct row_reader reader;
    struct row_head head;
    struct row_event event;
    sample(&row);
    REQUIRE_OK(row_read_head(&reader, buf_str(&row.bytes), scratch, &head));
    CHECK_STR(head.sender, STR("app@shop.example"));
    CHECK_STR(head.stream, STR("transactional"));
    CHECK_STR(head.helo, STR("app@shop.example"));
    CHECK_U64(head.content_bytes, 77);
    CHECK_U64(head.rcpt_count, 2);
    CHECK(row_read_event(&reader, &event) && event.kind == ROW_ATTEMPTED);
    CHECK_U64(event.at.ms, 1795611600500);
    CHECK_U64(event.rcpt_count, 0);
    CHECK(row_read_event(&reader, &event) && event.kind == ROW_OUTCOME);
    CHECK_U64(event.at.ms, 1795611600400);
    CHECK_U64(event.rcpt_count, 1);
    CHECK_U64(event.rcpt[0], 1);
    CHECK_U64(event.outcome.due.ms, 1795611700000);
    CHECK_STR(event.outcome.site, STR("mx.example.net"));
    CHECK_STR(event.outcome.remote_host, STR("mx.example.net"));
    CHECK(row_read_event(&reader, &event) && event.kind == ROW_CTL);
    CHECK_STR(event.author, STR("anna"));
    CHECK_STR(event.reason, STR("later"));
    CHECK(row_read_event(&reader, &event) && event.kind == ROW_NOTIFIED);
    CHECK_STR(event.dsn_id, STR("0123456789abcdef"));
    CHECK(row_read_event(&reader, &event) && event.kind == ROW_ELIDED);
    CHECK_U64(event.count, 300);
    CHECK(!row_read_event(&reader, &event) && !reader.cur.bad);
    row_done(&row);
}

TEST(a_row_goes_on_where_it_was_left)
{
    struct row row, again;
    struct row_reader reader;
    struct row_head head;
    struct row_event event, more = { .kind = ROW_CTL,
        .action = SPOOL_CTL_HOLD,
        .author = STR("anna"),
        .at = { 1795611600700 },
        .reason = STR("once more") };
    sample(&row);
    REQUIRE_OK(row_read_head(&reader, buf_str(&row.bytes), scratch, &head));
    while (row_read_event(&reader, &event)) {
    }
    row_init(&again);
    REQUIRE_OK(row_resume(&again, &reader, buf_str(&row.bytes)));
    row_add(&row, &more);
    row_add(&again, &more);
    CHECK_STR(buf_str(&again.bytes), buf_str(&row.bytes));
    row_done(&row);
    row_done(&again);
}

TEST(numbers_keep_their_value)
{
    static const uint64_t values[] = { 0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX >> 1,
        UINT64_MAX };
    struct buf bytes;
    buf_init(&bytes, 1000);
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        buf_clear(&bytes);
        add_varint(&bytes, values[i]);
        struct cur cur = { .rest = buf_str(&bytes) };
        CHECK_U64(cur_varint(&cur), values[i]);
        CHECK(!cur.bad && cur.rest.len == 0);
        CHECK_U64(zigzag(unzigzag(values[i])), values[i]);
    }
    struct cur endless = { .rest = STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") };
    (void)cur_varint(&endless);
    CHECK(endless.bad);
    buf_done(&bytes);
}

TEST(a_row_cut_anywhere_is_called_damaged_or_ends_between_events)
{
    struct row row;
    struct buf json;
    sample(&row);
    buf_init(&json, 1 << 20);
    uint32_t whole = 0;
    for (size_t len = 0; len < row.bytes.len; len++) {
        char *exact = mem_new(len);
        memcpy(exact, row.bytes.ptr, len); /* a read past the end is seen by ASan */
        buf_clear(&json);
        enum err err = tale_json(1, str_of(exact, len), STR(""), &json);
        CHECK(err == OK || err == E_CORRUPT);
        whole += err == OK;
        mem_free(exact);
    }
    CHECK_U64(whole, 5); /* before each event */
    row_done(&row);
    buf_done(&json);
}

TEST(flipped_bits_never_lead_outside)
{
    struct row row;
    struct buf json;
    sample(&row);
    buf_init(&json, 1 << 20);
    for (size_t at = 0; at < row.bytes.len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            row.bytes.ptr[at] = (char)(row.bytes.ptr[at] ^ (1 << bit));
            buf_clear(&json);
            enum err err = tale_json(1, buf_str(&row.bytes), STR(""), &json);
            CHECK(err == OK || err == E_CORRUPT);
            row.bytes.ptr[at] = (char)(row.bytes.ptr[at] ^ (1 << bit));
        }
    }
    row_done(&row);
    buf_done(&json);
}

TEST(strings_beyond_what_can_be_numbered_are_stored_again)
{
    struct row row;
    struct row_reader reader;
    struct row_head head;
    struct row_event event;
    sample(&row);
    for (uint32_t i = 0; i < 2 * ROW_STRINGS_MAX; i++) {
        char text[32];
        size_t len = fmt(text, sizeof text, "reason %u", i);
        row_add(&row, &(struct row_event){ .kind = ROW_CTL,
                              .action = SPOOL_CTL_HOLD,
                              .author = str_of(text, len),
                              .reason = str_of(text, len) });
    }
    REQUIRE_OK(row_read_head(&reader, buf_str(&row.bytes), scratch, &head));
    uint32_t count = 0;
    while (row_read_event(&reader, &event)) {
        if (event.kind == ROW_CTL && event.action == SPOOL_CTL_HOLD) {
            char text[32];
            size_t len = fmt(text, sizeof text, "reason %u", count++);
            CHECK_STR(event.author, str_of(text, len));
            CHECK_STR(event.reason, str_of(text, len));
        }
    }
    CHECK_U64(count, 2 * ROW_STRINGS_MAX);
    row_done(&row);
}

/* A thousand recipients put off one by one, again and again: each event costs about the same. */
TEST(a_long_story_of_many_recipients_is_not_written_anew_for_each_event)
{
    enum { RCPTS = 1000, ROUNDS = 30 };
    struct story_counts counts = { 0 };
    struct buf rcpts;
    char address[40];
    buf_init(&rcpts, 1 << 20);
    for (int i = 0; i < RCPTS; i++) {
        fmt(address, sizeof address, "u%d@example.net", i);
        spool_rcpt_add(&rcpts, str_from_c(address));
    }
    struct spool_envelope envelope = {
        .sender = STR("a@example.com"), .rcpt_count = RCPTS, .rcpts = buf_str(&rcpts)
    };
    struct story *story = story_new(1 << 16, &envelope, &counts);
    CHECK(story != NULL);
    clock_t begin = clock();
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        for (uint16_t i = 0; i < RCPTS; i++) {
            struct row_event event = { .kind = ROW_OUTCOME,
                .at = { round * 1000 },
                .attempt_no = round,
                .rcpt = &i,
                .rcpt_count = 1,
                .outcome = { .result = SPOOL_RESULT_DEFERRED,
                        .attempt_no = round,
                        .code = 451,
                        .enhanced = STR("4.2.1"),
                        .text = STR("try again later, please") } };
            REQUIRE_OK(story_add(story, &event, &counts));
        }
    }
    CHECK((clock() - begin) / CLOCKS_PER_SEC < 10, "%ld s",
            (long)((clock() - begin) / CLOCKS_PER_SEC));
    CHECK(story->row.bytes.len < 3 << 20, "%zu bytes", story->row.bytes.len);
    story_free(story);
    buf_done(&rcpts);
}
