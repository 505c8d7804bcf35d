/* SPDX-License-Identifier: Apache-2.0
 *
 * session_test.c - how connections come about: addresses, sources, TLS, AUTH, refusals.
 */
#include "tests/unit/deliver/rig.h"

#include "core/str.h"

#define NO_SOURCE .source = UINT32_MAX
#define HELLO "S: 220 mx\nC: EHLO out.example\n"
#define PLAIN "S: 250-mx\nS: 250 PIPELINING\n"
#define STARTTLS "S: 250-mx\nS: 250-STARTTLS\nS: 250 PIPELINING\nC: STARTTLS\n"
#define MAIL "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nD:\nS: 250 done\n"

static const struct rig_job one = { .rcpts = "b@in.example", NO_SOURCE };

static void send_one(struct rig *rig, struct site *site)
{
    rig_send(rig, site, &one);
    rig_run(rig);
}

/* ---- addresses ---- */

TEST(hosts_are_tried_by_preference_until_one_takes_the_mail) /* faults 36 */
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 a.mx 192.0.2.1 192.0.2.2\n20 b.mx 192.0.2.3");
    rig_peer(&rig, "192.0.2.1", "REFUSE");
    rig_peer(&rig, "192.0.2.2", "S: 554 5.7.1 you are listed\nC: QUIT\n");
    rig_peer(&rig, "192.0.2.3", HELLO PLAIN MAIL);
    send_one(&rig, site);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    CHECK_STR(rig_result(&rig, 0)->outcome.remote_host, STR("b.mx"));
    CHECK_U64(rig.connect_count, 3);
    site_give(site);
    rig_close(&rig);
}

TEST(a_refusal_in_the_banner_is_about_us_and_never_bounces) /* faults 44 */
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", "S: 554 5.7.1 you are listed\nC: QUIT\n");
    rig_send(&rig, site, &one);
    rig_send(&rig, site, &one);
    rig_peer(&rig, "192.0.2.1", "REFUSE");
    rig_run(&rig);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DEFERRED), 2);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_U64(rig_result(&rig, i)->scope, QUEUE_SESSION);
        CHECK(!rig_result(&rig, i)->is_untried);
    }
    site_give(site);
    rig_close(&rig);
}

TEST(a_session_that_fails_says_at_whom_how_and_keeps_the_dialogue)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", "S: 554 5.7.1 you are listed\nC: QUIT\n");
    send_one(&rig, site);
    const struct spool_outcome *outcome = &rig_result(&rig, 0)->outcome;
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 554, "5.7.1");
    CHECK_STR(outcome->text,
            STR("host mx.example[192.0.2.1]:25 refused to talk to me: 554 you are listed"));
    CHECK_STR(outcome->dialogue, STR("S: 554 5.7.1 you are listed\n"));
    site_give(site);
    rig_close(&rig);
}

struct session_case {
    const char *script;
    uint16_t code;
    const char *enhanced;
    const char *text;
};

TEST(sessions_fail_in_many_ways_and_always_defer) /* faults 37, 41, H1, H2, H4, H9 */
{
    static const struct session_case cases[] = {
        { "REFUSE", 0, "4.4.1", "Connection refused" },
        { "ERROR", 0, "4.4.1", "no such address here" },
        { "S: 421 4.3.2 stopping\nCLOSE\n", 421, "4.3.2", "stopping" },
        { "S: 220-x\nCLOSE\n", 0, "4.4.2", "initial server greeting" },
        { "S: 354 x\n", 354, "4.5.0", "unexpected reply" },
        { "S: hello\n", 0, "4.5.0", "malformed reply" },
        { HELLO "S: 550 no EHLO\nC: HELO out.example\nS: 550 no HELO\nC: QUIT\n", 550, "5.0.0",
                "no HELO" },
        { HELLO "S: 451 4.3.0 later\nC: QUIT\n", 451, "4.3.0", "later" },
        { HELLO "RESET\n", 0, "4.4.2", "EHLO" },
        { "S: 220 x\nS: 250 too soon\n", 250, "4.5.0", "reply without a command" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        rig_open(&rig, NULL);
        struct site *site = rig_site("10 mx 192.0.2.1");
        rig_peer(&rig, "192.0.2.1", cases[i].script);
        send_one(&rig, site);
        CHECK(rig.result_count == 1, "case %zu", i);
        CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, cases[i].code,
                cases[i].enhanced);
        CHECK(rig_has(rig_result(&rig, 0)->outcome.text, cases[i].text), "case %zu: %.*s", i,
                STR_ARG(rig_result(&rig, 0)->outcome.text));
        CHECK(deliver_is_idle(rig.deliver));
        site_give(site);
        rig_close(&rig);
    }
}

TEST(a_server_without_ehlo_gets_helo)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx 192.0.2.1");
    rig_peer(&rig, "192.0.2.1",
            HELLO "S: 502 no\nC: HELO out.example\nS: 250 hi\nC: MAIL FROM:<a@out.example>\n"
                  "S: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\nD:\nS: 250 done\n");
    send_one(&rig, site);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    site_give(site);
    rig_close(&rig);
}

TEST(no_more_than_five_addresses_are_tried) /* G5 */
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site =
            rig_site("10 a 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6\n"
                     "20 b 192.0.2.7 192.0.2.8");
    send_one(&rig, site);
    CHECK_U64(rig.connect_count, DELIVER_ADDRESS_TRY_COUNT_MAX);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DEFERRED), 1);
    site_give(site);
    rig_close(&rig);
}

TEST(an_address_that_failed_is_tried_last_for_a_while)
{
    struct rig rig;
    rig_open(&rig, "hostname = \"out.example\"\nconnection-message-max = 1\n");
    struct site *site = rig_site("10 a 192.0.2.1\n20 b 192.0.2.2");
    rig_peer(&rig, "192.0.2.1", "REFUSE");
    rig_peer(&rig, "192.0.2.2", HELLO PLAIN MAIL);
    rig_peer(&rig, "192.0.2.2", HELLO PLAIN MAIL);
    rig_peer(&rig, "192.0.2.1", HELLO PLAIN MAIL);
    send_one(&rig, site);
    send_one(&rig, site);
    CHECK_U64(rig.connect_count, 3); /* a, b; b at once */
    rig_advance(&rig, DELIVER_ADDRESS_BAD_MS);
    send_one(&rig, site);
    CHECK_STR(rig_result(&rig, 2)->outcome.remote_host, STR("a"));
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 3);
    site_give(site);
    rig_close(&rig);
}

TEST(internal_and_own_addresses_are_refused_at_connect_time) /* G5, faults 52 */
{
    static const char *const hosts[] = { "10 mx 127.0.0.1", "10 mx 10.0.0.1", "10 mx ::1",
        "10 mx 169.254.1.1", "10 mx 0.0.0.0" };
    for (size_t i = 0; i <= COUNT_OF(hosts); i++) {
        struct rig rig;
        rig_open(&rig, NULL);
        rig.is_own_everything = i == COUNT_OF(hosts);
        struct site *site = rig_site(i < COUNT_OF(hosts) ? hosts[i] : "10 mx 192.0.2.1");
        send_one(&rig, site);
        CHECK_U64(rig.connect_count, 0);
        CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 0, "4.4.4");
        site_give(site);
        rig_close(&rig);
    }
}

TEST(a_route_may_lead_to_an_internal_address_and_another_port)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 smart 127.0.0.1:2526");
    site->is_routed = true;
    rig_peer(&rig, "127.0.0.1:2526", HELLO PLAIN MAIL);
    send_one(&rig, site);
    CHECK_STR(rig_result(&rig, 0)->outcome.remote_ip, STR("127.0.0.1:2526"));
    site_give(site);
    rig_close(&rig);
}

TEST(the_sandbox_connects_to_the_catcher_and_nowhere_else)
{
    struct rig rig;
    rig_open(&rig,
            "hostname = \"out.example\"\nsandbox = yes\nsandbox-catcher = \"127.0.0.1:2526\"\n");
    struct site *site = rig_site("10 a 192.0.2.1 127.0.0.1:25\n20 b 127.0.0.1:2526");
    site->is_routed = true;
    rig_peer(&rig, "127.0.0.1:2526", HELLO PLAIN MAIL);
    send_one(&rig, site);
    CHECK_U64(rig.connect_count, 1);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    site_give(site);
    rig_close(&rig);
}

/* ---- sources ---- */

static const char with_sources[] =
        "hostname = \"out.example\"\n"
        "source \"four\" { address = \"192.0.2.10\"  ehlo = \"four.example\" }\n"
        "source \"six\" { address = \"2001:db8::10\"  ehlo = \"six.example\" }\n"
        "pool \"main\" { sources = { \"four\", \"six\" } }\n";

TEST(a_connection_is_bound_to_its_source_and_says_its_name)
{
    struct rig rig;
    rig_open(&rig, with_sources);
    struct site *site = rig_site("10 mx 2001:db8::1 192.0.2.1");
    struct rig_job job = { .rcpts = "b@x" };
    for (uint32_t i = 0; i < 2; i++) {
        bool is_four = str_eq(rig.config->source[i].name, STR("four"));
        rig_peer(&rig, is_four ? "192.0.2.1" : "2001:db8::1",
                is_four ? "S: 220 x\nC: EHLO four.example\n" PLAIN MAIL
                        : "S: 220 x\nC: EHLO six.example\n" PLAIN MAIL);
        job.source = i;
        job.lane_id = i;
        rig_send(&rig, site, &job);
        rig_run(&rig);
        CHECK(ip_eq(rig.peer[i].local, rig.config->source[i].address));
        CHECK_STR(rig_result(&rig, i)->outcome.source, rig.config->source[i].name);
    }
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 2);
    CHECK_U64(rig.connect_count, 2); /* the other family was never tried */
    site_give(site);
    rig_close(&rig);
}

TEST(an_idle_connection_that_no_longer_fits_is_ended)
{
    struct rig rig;
    rig_open(&rig, with_sources);
    struct site *before = rig_site("10 mx 192.0.2.1");
    struct site *after = rig_site("10 mx 192.0.2.2");
    rig_peer(&rig, "192.0.2.1", HELLO PLAIN MAIL "C: QUIT\nS: 221 bye\n");
    rig_peer(&rig, "192.0.2.2", HELLO PLAIN MAIL);
    send_one(&rig, before);
    send_one(&rig, after);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 2);
    struct deliver_stats stats;
    deliver_get_stats(rig.deliver, &stats);
    CHECK_U64(stats.connections, 2);
    CHECK_U64(stats.connections_now, 1);
    CHECK_U64(stats.transactions, 2);
    CHECK_U64(stats.jobs_now, 0);
    site_give(before);
    site_give(after);
    rig_close(&rig);
}

/* ---- TLS ---- */

TEST(tls_is_used_where_it_is_offered)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", HELLO STARTTLS "S: 220 go\nTLS\nC: EHLO out.example\n" PLAIN MAIL);
    send_one(&rig, site);
    CHECK_STR(rig_result(&rig, 0)->outcome.tls, STR("TLSv1.3 TLS_AES_256_GCM_SHA384 256"));
    CHECK_STR(str_from_c(rig.server_name), STR("mx.example"));
    CHECK_STR(str_from_c(rig.session_key), STR("m:mx.example"));
    CHECK(!rig.verify_required);
    site_give(site);
    rig_close(&rig);
}

TEST(a_failed_handshake_is_remembered_and_mail_goes_in_the_clear) /* H6 */
{
    struct rig rig;
    rig_open(&rig, "hostname = \"out.example\"\nconnection-message-max = 1\n");
    struct site *site = rig_site("10 mx 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", HELLO STARTTLS "S: 220 go\nTLSFAIL\n");
    rig_peer(&rig, "192.0.2.1", HELLO "S: 250-mx\nS: 250-STARTTLS\nS: 250 PIPELINING\n" MAIL);
    rig_peer(&rig, "192.0.2.1", HELLO "S: 250-mx\nS: 250-STARTTLS\nS: 250 PIPELINING\n" MAIL);
    rig_peer(&rig, "192.0.2.1", HELLO STARTTLS "S: 220 go\nTLS\nC: EHLO out.example\n" PLAIN MAIL);
    send_one(&rig, site);
    send_one(&rig, site);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 2);
    CHECK_STR(rig_result(&rig, 0)->outcome.tls, STR(""));
    rig_advance(&rig, DELIVER_TLS_BAD_MS);
    send_one(&rig, site);
    CHECK(rig_result(&rig, 2)->outcome.tls.len > 0);
    site_give(site);
    rig_close(&rig);
}

TEST(a_handshake_that_hangs_counts_as_failed)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", HELLO STARTTLS "S: 220 go\nSILENT\n");
    rig_peer(&rig, "192.0.2.1", HELLO PLAIN MAIL);
    send_one(&rig, site);
    rig_advance(&rig, 60000);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    site_give(site);
    rig_close(&rig);
}

TEST(starttls_refused_goes_on_in_the_clear_where_it_may)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", HELLO STARTTLS "S: 454 4.7.0 not now\n" MAIL);
    send_one(&rig, site);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    site_give(site);
    rig_close(&rig);
}

TEST(bytes_behind_the_220_of_starttls_are_an_attack) /* H4 */
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", HELLO STARTTLS "S: 220 go\nS: 250 injected\n");
    send_one(&rig, site);
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 0, "4.5.0");
    site_give(site);
    rig_close(&rig);
}

TEST(required_tls_is_never_done_without) /* H6, H7 */
{
    static const struct session_case cases[] = {
        { HELLO PLAIN "C: QUIT\n", 250, "4.7.5", "not offered" },
        { HELLO STARTTLS "S: 454 4.7.0 not now\nC: QUIT\n", 454, "4.7.5", "was refused" },
        { HELLO STARTTLS "S: 220 go\nTLSFAIL\n", 0, "4.7.5", "bad certificate" },
    };
    for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
        const struct session_case *at = &cases[i / 2];
        struct rig rig;
        rig_open(&rig, NULL);
        struct site *site = rig_site("10 mx 192.0.2.1");
        site->tls = i % 2 ? CONFIG_DEST_TLS_REQUIRED : CONFIG_DEST_TLS_VERIFIED;
        rig_peer(&rig, "192.0.2.1", at->script);
        send_one(&rig, site);
        CHECK_RESULT(
                rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, at->code, at->enhanced);
        CHECK(rig_has(rig_result(&rig, 0)->outcome.text, at->text), "%.*s",
                STR_ARG(rig_result(&rig, 0)->outcome.text));
        CHECK(i / 2 != 2 || rig.verify_required == (i % 2 == 0));
        site_give(site);
        rig_close(&rig);
    }
}

TEST(tls_off_never_asks_for_it)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx 192.0.2.1");
    site->tls = CONFIG_DEST_TLS_OFF;
    rig_peer(&rig, "192.0.2.1", HELLO "S: 250-mx\nS: 250-STARTTLS\nS: 250 PIPELINING\n" MAIL);
    send_one(&rig, site);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    site_give(site);
    rig_close(&rig);
}

/* ---- AUTH ---- */

#define OVER_TLS(ehlo) HELLO STARTTLS "S: 220 go\nTLS\nC: EHLO out.example\nS: 250-mx\n" ehlo

static struct site *smarthost(void)
{
    struct site *site = rig_site("10 smart.example 192.0.2.1");
    site->is_routed = true;
    site->tls = CONFIG_DEST_TLS_VERIFIED;
    site->username = STR("me");
    site->password = STR("secret");
    return site;
}

TEST(a_smarthost_gets_the_login_over_verified_tls)
{
    static const char *const scripts[] = {
        OVER_TLS("S: 250-AUTH LOGIN PLAIN\nS: 250 PIPELINING\nC: AUTH PLAIN AG1lAHNlY3JldA==\n"
                 "S: 235 2.7.0 ok\n") MAIL,
        OVER_TLS("S: 250-PIPELINING\nS: 250 AUTH=LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: "
                 "bWU=\n"
                 "S: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 235 ok\n") MAIL,
    };
    for (size_t i = 0; i < COUNT_OF(scripts); i++) {
        struct rig rig;
        rig_open(&rig, NULL);
        struct site *site = smarthost();
        rig.is_verified = true;
        rig_peer(&rig, "192.0.2.1", scripts[i]);
        send_one(&rig, site);
        CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
        CHECK_STR(str_from_c(rig.session_key), STR("v:smart.example"));
        site_give(site);
        rig_close(&rig);
    }
}

TEST(a_login_that_fails_defers_and_shows_no_secret)
{
    static const struct session_case cases[] = {
        { OVER_TLS("S: 250 AUTH PLAIN\nC: AUTH PLAIN*\nS: 535 5.7.8 wrong\n"), 535, "5.7.8",
                "wrong" },
        { OVER_TLS("S: 250 AUTH PLAIN\nC: AUTH PLAIN*\nS: 334 more\n"), 334, "4.7.8", "refused" },
        { OVER_TLS("S: 250 AUTH PLAIN\nC: AUTH PLAIN*\nS: junk\n"), 0, "4.7.8", "refused" },
        { OVER_TLS("S: 250 AUTH PLAIN\nC: AUTH PLAIN*\nRESET\n"), 0, "4.4.2", "lost connection" },
        { OVER_TLS("S: 250 AUTH CRAM-MD5\n"), 0, "4.7.0", "neither" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        rig_open(&rig, NULL);
        struct site *site = smarthost();
        rig.is_verified = true;
        rig_peer(&rig, "192.0.2.1", cases[i].script);
        send_one(&rig, site);
        const struct spool_outcome *outcome = &rig_result(&rig, 0)->outcome;
        CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, cases[i].code,
                cases[i].enhanced);
        CHECK(rig_has(outcome->text, cases[i].text), "%.*s", STR_ARG(outcome->text));
        CHECK(!rig_has(outcome->dialogue, "AG1l"), "%.*s", STR_ARG(outcome->dialogue));
        site_give(site);
        rig_close(&rig);
    }
}

TEST(a_login_that_hangs_times_out)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = smarthost();
    rig.is_verified = true;
    rig_peer(&rig, "192.0.2.1", OVER_TLS("S: 250 AUTH PLAIN\nC: AUTH PLAIN*\nS: 334-half\n"));
    send_one(&rig, site);
    rig_advance(&rig, 300000);
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 0, "4.4.2");
    site_give(site);
    rig_close(&rig);
}

TEST(no_password_goes_over_tls_that_is_not_verified_or_in_the_clear)
{
    static const char *const scripts[] = { OVER_TLS("S: 250 AUTH PLAIN\n"),
        HELLO "S: 250-mx\nS: 250 AUTH PLAIN\n" };
    for (size_t i = 0; i < COUNT_OF(scripts); i++) {
        struct rig rig;
        rig_open(&rig, NULL);
        struct site *site = smarthost();
        site->tls = CONFIG_DEST_TLS_MAY;
        rig_peer(&rig, "192.0.2.1", scripts[i]);
        send_one(&rig, site);
        CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 0, "4.7.0");
        CHECK(!rig_has(rig_str(&rig.said), "AUTH"));
        site_give(site);
        rig_close(&rig);
    }
}

TEST(on_loopback_the_login_may_go_in_the_clear)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 localhost 127.0.0.1");
    site->is_routed = true;
    site->username = STR("me");
    site->password = STR("secret");
    rig_peer(&rig, "127.0.0.1",
            HELLO "S: 250-mx\nS: 250-AUTH PLAIN\nS: 250 PIPELINING\nC: AUTH PLAIN*\n"
                  "S: 235 ok\n" MAIL);
    send_one(&rig, site);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    site_give(site);
    rig_close(&rig);
}
