/* SPDX-License-Identifier: Apache-2.0
 *
 * word_test.c - the last word on open recipients, and the number behind an id.
 */
#include "core/str.h"
#include "core/ulid.h"
#include "tests/test.h"
#include "tests/unit/history/fixture.h"

struct heard {
    uint32_t count;
    char text[300]; /* "RCPT:code text author|" of each */
};

static void hear(void *ctx, const struct history_word *word)
{
    struct heard *heard = ctx;
    size_t len = strlen(heard->text);
    fmt(heard->text + len, sizeof heard->text - len, "%u:%u %.*s %.*s|", word->rcpt, word->code,
            STR_ARG(str_sub(word->text, 0, 22)), STR_ARG(word->author));
    heard->count++;
}

static struct heard words_of(struct fixture *f, const uint64_t *msg_id, uint32_t count)
{
    struct heard heard = { 0 };
    struct why why = { 0 };
    REQUIRE_OK(history_words(f->history, msg_id, count, hear, &heard, &why));
    return heard;
}

TEST(the_last_word_on_a_recipient_is_what_made_it_wait)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept(&f, &(struct fixture_msg){ .number = 1, .rcpt_count = 5 });
    for (uint16_t rcpt = 0; rcpt < 3; rcpt++) {
        fixture_attempt(&f, msg_id, rcpt, 1);
    }
    fixture_outcome(&f, msg_id, 0, 1, SPOOL_RESULT_DEFERRED);
    fixture_outcome(&f, msg_id, 1, 1, SPOOL_RESULT_DELIVERED); /* closed: no word */
    fixture_ctl(&f, msg_id, 3, SPOOL_CTL_HOLD);                /* 2: cut off; 4: nothing yet */
    fixture_settle(&f);
    struct heard heard = words_of(&f, &msg_id, 1);
    CHECK_U64(heard.count, 3);
    CHECK(str_find(str_from_c(heard.text), STR("2:0 the node stopped durin")) < sizeof heard.text);
    CHECK(str_find(str_from_c(heard.text), STR("3:0 asked by the customer anna|")) <
                    strlen(heard.text),
            "%s", heard.text);
    fixture_done(&f);
}

TEST(words_of_many_messages_are_found_over_days_and_unknown_ones_passed_over)
{
    struct fixture f;
    uint64_t msg_id[4];
    fixture_init(&f, 2);
    fixture_open(&f);
    for (uint32_t i = 0; i < 3; i++) {
        msg_id[i] = fixture_accept_number(&f, i + 1);
        fixture_attempt(&f, msg_id[i], 0, 1);
        fixture_outcome(&f, msg_id[i], 0, 1, SPOOL_RESULT_DEFERRED);
        fixture_settle(&f);
        fixture_pass(&f, 86400000);
    }
    msg_id[3] = msg_id[2] + 1000;
    CHECK_U64(words_of(&f, msg_id, 4).count, 3);
    fixture_done(&f);
}

TEST(a_number_is_found_by_its_id)
{
    struct fixture f;
    struct why why = { 0 };
    struct ulid ulid;
    uint64_t found = 0;
    fixture_init(&f, 3);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 7);
    fixture_settle(&f);
    json_t *story = fixture_find_number(&f, 7);
    REQUIRE_OK(ulid_parse(str_from_c(json_string_value(json_object_get(story, "id"))), &ulid));
    json_decref(story);
    REQUIRE_OK(history_find_msg_id(f.history, &ulid, &found, &why));
    CHECK_U64(found, msg_id);
    ulid.byte[15] ^= 1;
    CHECK_ERR(history_find_msg_id(f.history, &ulid, &found, &why), E_NOT_FOUND);
    struct spool_position at = { 0 };
    REQUIRE_OK(history_position(f.history, &at, &why));
    fixture_done(&f);
}
