/* SPDX-License-Identifier: Apache-2.0
 *
 * lines_test.c - the log lines, byte for byte (tests/data/history), and what peers put into them.
 */
#include "core/str.h"
#include "tests/test.h"
#include "tests/unit/history/fixture.h"

/* One message through all that can happen to it, on three recipients. */
static void all_events(struct fixture *f)
{
    struct fixture_msg msg = { .number = 0x100, .rcpt_count = 3 };
    uint64_t msg_id = fixture_accept(f, &msg);
    fixture_pass(f, 40);
    fixture_attempt(f, msg_id, 0, 1);
    fixture_pass(f, 1160);
    fixture_outcome(f, msg_id, 0, 1, SPOOL_RESULT_DELIVERED);
    struct spool_outcome outcome = fixture_outcome_of(f, msg_id, 1, SPOOL_RESULT_DEFERRED);
    static const uint16_t second[] = { 1 };
    outcome.rcpt = second;
    outcome.remote_ip = outcome.remote_host = outcome.tls = STR("");
    outcome.code = 0;
    outcome.enhanced = STR("4.4.1");
    outcome.text = STR("connect to mx1.example.net[2001:db8::1]:25: Connection timed out");
    outcome.connect_ms = 30000;
    fixture_pass(f, 30000);
    outcome.at.ms = f->clock.wall_ms;
    fixture_outcome_as(f, &outcome);
    fixture_outcome(f, msg_id, 2, 1, SPOOL_RESULT_IN_DOUBT);
    fixture_pass(f, 3600000);
    fixture_outcome(f, msg_id, 1, 2, SPOOL_RESULT_BOUNCED);
    outcome = fixture_outcome_of(f, msg_id, 3, SPOOL_RESULT_EXPIRED);
    static const uint16_t third[] = { 2 };
    outcome.rcpt = third;
    outcome.code = 0;
    outcome.remote_ip = STR("[2001:db8::1]:2525");
    outcome.enhanced = STR("4.4.7");
    outcome.text = STR("gave up after 5 days");
    fixture_outcome_as(f, &outcome);
    uint64_t held =
            fixture_accept(f, &(struct fixture_msg){ .number = 0x101, .client = STR("local") });
    fixture_ctl(f, held, 0, SPOOL_CTL_HOLD);
    fixture_ctl(f, held, 0, SPOOL_CTL_RELEASE);
    fixture_ctl(f, held, 0, SPOOL_CTL_CANCEL);
    uint64_t dsn = fixture_accept(
            f, &(struct fixture_msg){
                       .number = 0x102, .sender = str_of("", 0), .flags = SPOOL_MSG_DSN });
    fixture_dsn(f, msg_id, 1, dsn);
    fixture_ctl(f, msg_id, 2, SPOOL_CTL_CLOSE);
    fixture_refuse(f, STR("stranger@example.org"));
}

TEST(postfix_lines_are_what_tools_expect)
{
    struct fixture f;
    fixture_init(&f, 1);
    f.conf.is_log_postfix = true;
    fixture_open(&f);
    all_events(&f);
    fixture_settle(&f);
    fixture_check_golden("postfix.log", buf_str(&f.lines));
    fixture_done(&f);
}

TEST(json_lines_parse_and_name_every_event)
{
    static const char *const types[] = { "accepted", "delivered", "deferred", "in_doubt", "bounced",
        "expired", "accepted", "held", "released", "cancelled", "accepted", "dsn", "rejected" };
    struct fixture f;
    struct str lines, line;
    size_t i = 0;
    double last_seq = 0;
    fixture_init(&f, 1);
    f.conf.is_log_json = true;
    fixture_open(&f);
    all_events(&f);
    fixture_settle(&f);
    fixture_check_golden("lines.json", buf_str(&f.lines));
    lines = buf_str(&f.lines);
    while (str_cut(&lines, '\n', &line)) {
        json_t *event = json_loadb(line.ptr, line.len, 0, NULL);
        CHECK(event != NULL, "%.*s", STR_ARG(line));
        const char *type = json_string_value(json_object_get(event, "type"));
        CHECK(i < COUNT_OF(types) && strcmp(type, types[i]) == 0, "%zu: %s", i, type);
        CHECK_U64(json_integer_value(json_object_get(event, "v")), 1);
        double seq = (double)json_integer_value(json_object_get(event, "seq"));
        CHECK(seq > last_seq || i == 0);
        last_seq = seq;
        if (i == 1) {
            CHECK_STR(str_from_c(json_string_value(json_object_get(event, "rcpt"))),
                    STR("user256@example.net"));
            CHECK_STR(str_from_c(json_string_value(json_object_get(event, "domain"))),
                    STR("example.net"));
            CHECK_STR(str_from_c(json_string_value(
                              json_object_get(json_object_get(event, "tls"), "cipher"))),
                    STR("TLS_AES_256_GCM_SHA384"));
            CHECK_STR(str_from_c(json_string_value(
                              json_object_get(json_object_get(event, "meta"), "order"))),
                    STR("4711"));
            CHECK_U64(json_integer_value(
                              json_object_get(json_object_get(event, "delays"), "transfer")),
                    320);
        }
        json_decref(event);
        i++;
    }
    CHECK_U64(i, COUNT_OF(types));
    fixture_done(&f);
}

TEST(what_peers_say_stays_on_its_line)
{
    struct fixture f;
    fixture_init(&f, 1);
    f.conf.is_log_postfix = f.conf.is_log_json = true;
    fixture_open(&f);
    struct fixture_msg msg = { .number = 1,
        .tag = STR("a\nb\"\\\x1b[31m"),
        .meta = STR("k\"=\xff\xc3\xa9\x01\n"),
        .message_id = STR("<evil\r\nNov 25 fake>") };
    uint64_t msg_id = fixture_accept(&f, &msg);
    struct spool_outcome outcome = fixture_outcome_of(&f, msg_id, 1, SPOOL_RESULT_BOUNCED);
    outcome.text = STR("no\0\r\n2026-11-25T13:00:00.000Z fake line \x1b]0;title\x07");
    fixture_outcome_as(&f, &outcome);
    fixture_settle(&f);
    struct str lines = buf_str(&f.lines), line;
    size_t count = 0;
    while (str_cut(&lines, '\n', &line)) {
        for (size_t i = 0; i < line.len; i++) {
            CHECK((uint8_t)line.ptr[i] >= 0x20, "%.*s", STR_ARG(line));
        }
        if (line.ptr[0] == '{') {
            json_t *event = json_loadb(line.ptr, line.len, 0, NULL);
            CHECK(event != NULL, "%.*s", STR_ARG(line));
            json_decref(event);
        }
        count++;
    }
    CHECK_U64(count, 6);
    json_t *story = fixture_find_number(&f, 1);
    CHECK_STR(
            str_from_c(json_string_value(json_object_get(story, "tag"))), STR("a\nb\"\\\x1b[31m"));
    json_t *meta = json_object_get(json_object_get(story, "meta"), "k\"");
    CHECK_STR(str_from_c(json_string_value(meta)), STR("\xef\xbf\xbd\xc3\xa9\x01"));
    json_decref(story);
    fixture_done(&f);
}

TEST(lines_are_written_once_and_after_a_crash_a_few_twice)
{
    struct fixture f;
    fixture_init(&f, 1);
    f.conf.is_log_postfix = true;
    fixture_open(&f);
    (void)fixture_accept_number(&f, 1);
    fixture_settle(&f);
    size_t once = f.lines.len;
    fixture_restart(&f, SIM_CRASH_MODE_COUNT, 0);
    fixture_settle(&f);
    CHECK_U64(f.lines.len, once);
    (void)fixture_accept_number(&f, 2);
    fixture_sync(&f);
    (void)scribe_turn(f.scribe, (struct mono){ f.clock.mono_ms }); /* logged, not committed */
    CHECK_U64(f.lines.len, 2 * once);
    fixture_restart(&f, SIM_CRASH_KILL, 0);
    fixture_settle(&f);
    CHECK_U64(f.lines.len, 3 * once);
    sim_disk_fail(f.history_sim, SIM_DISK_WRITE, 1, 3, E_IO); /* an error is no crash: not again */
    (void)fixture_accept_number(&f, 3);
    fixture_settle(&f);
    CHECK_U64(f.lines.len, 4 * once);
    fixture_done(&f);
}
