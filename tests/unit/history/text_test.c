/* SPDX-License-Identifier: Apache-2.0
 *
 * text_test.c - the story as people read it.
 */
#include "core/str.h"
#include "tests/test.h"
#include "tests/unit/history/fixture.h"

static void check_text(struct str json, bool is_coloured, struct str expected)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    REQUIRE_OK(history_story_text(json, is_coloured, &text));
    CHECK_STR(buf_str(&text), expected);
    buf_done(&text);
}

TEST(a_story_is_a_timeline_with_causes)
{
    struct fixture f;
    struct buf json, text;
    struct why why;
    fixture_init(&f, 1);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 1);
    fixture_pass(&f, 12);
    fixture_attempt(&f, msg_id, 0, 1);
    fixture_pass(&f, 61000);
    fixture_outcome(&f, msg_id, 0, 1, SPOOL_RESULT_DEFERRED);
    fixture_pass(&f, 7200000);
    fixture_attempt(&f, msg_id, 0, 2);
    fixture_outcome(&f, msg_id, 0, 2, SPOOL_RESULT_IN_DOUBT);
    fixture_ctl(&f, msg_id, 0, SPOOL_CTL_HOLD);
    fixture_pass(&f, 2 * 86400000LL);
    fixture_ctl(&f, msg_id, 0, SPOOL_CTL_RELEASE);
    fixture_attempt(&f, msg_id, 0, 3);
    struct spool_outcome outcome = fixture_outcome_of(&f, msg_id, 3, SPOOL_RESULT_DELIVERED);
    outcome.maybe_duplicate = true;
    fixture_outcome_as(&f, &outcome);
    fixture_settle(&f);
    buf_init(&json, 1 << 20);
    struct history_query query = { HISTORY_BY_TAG, STR("tag-1"), 1 };
    REQUIRE_OK(history_find_json(f.history, &query, &json, &why));
    buf_init(&text, 1 << 20);
    REQUIRE_OK(history_story_text(buf_str(&json), false, &text));
    fixture_check_golden("story.txt", buf_str(&text));
    buf_done(&text);
    buf_done(&json);
    fixture_done(&f);
}

TEST(colours_only_where_asked_for_and_never_a_peers)
{
    check_text(
            STR("[{\"id\":\"X\",\"accepted\":\"2026-11-25T13:00:00.000Z\",\"sender\":\"\","
                "\"bytes\":3,"
                "\"client\":\"local\",\"recipients\":[{\"address\":\"a\\u001b[31m@b\",\"state\":"
                "\"bounced\","
                "\"events\":[{\"event\":\"bounced\",\"at\":\"2026-11-25T12:59:59.000Z\",\"text\":"
                "\"\\u009b31m \\u00e9\"}]}]}]"),
            true,
            STR("message \033[1mX\033[0m, accepted 2026-11-25T13:00:00.000Z, 3 bytes\n"
                "  from        <> (a report)\n"
                "  client      local\n"
                "\n"
                "  to \033[1ma\\x1b[31m@b\033[0m: \033[31mbounced\033[0m\n"
                "      -1.000 s  \033[31mbounced\033[0m      \\x9b31m \xc3\xa9\n"));
}

TEST(what_is_no_json_is_refused)
{
    struct buf text;
    buf_init(&text, 1000);
    CHECK_ERR(history_story_text(STR("{"), false, &text), E_SYNTAX);
    REQUIRE_OK(history_story_text(STR("{}"), false, &text));
    REQUIRE_OK(history_story_text(STR("[{},{\"recipient_count\":7}]"), false, &text));
    buf_done(&text);
}
