/* SPDX-License-Identifier: Apache-2.0
 *
 * random_test.c - peers that say anything, cut anywhere and take any number of bytes, by seed.
 *
 * Whatever they do: each recipient is reported exactly once; nobody whom a peer took is called
 * deferred or bounced; what is called delivered was taken (unless the peer lies); and what was
 * taken is the content of that job, byte for byte, never a mix of two (faults I1 to I4).
 */
#include "core/prng.h"
#include "core/str.h"
#include "tests/unit/deliver/rig.h"

enum { JOB_COUNT = 12, RCPT_COUNT = 3, SEED_COUNT = 600 };
enum { STATE_BANNER, STATE_COMMANDS, STATE_CONTENT, STATE_DEAF };

struct chance {
    struct prng prng;
    struct rig rig;
    bool is_pipelining, is_lying;
    uint32_t fault_ppm;
    uint32_t taken[JOB_COUNT][RCPT_COUNT];
    uint32_t reported[JOB_COUNT][RCPT_COUNT];
    enum spool_result result[JOB_COUNT][RCPT_COUNT];
    bool is_over[JOB_COUNT];
};

/* The last LIE_COUNT are lies: they answer for more or fewer commands than were given, or say 354
 * and take no content. With them a peer can make anything look taken. */
enum { LIE_COUNT = 3 };
static const char *const odd_replies[] = { "550 5.1.1 no", "421 4.3.2 bye", "451 4.7.1 later",
    "garbage", "999 x", "", "452 4.5.3 full", "503 5.5.1 order", "250-mixed\r\n550 mixed",
    "250-open", "354 what", "250 2.0.0 twice\r\n250 2.0.0 twice" };

static void say(struct rig_conn *conn, struct str line)
{
    rig_bytes_add(&conn->out, line);
    rig_bytes_add(&conn->out, STR("\r\n"));
}

/* True: a fault happened instead of the answer. */
static bool something_odd(struct chance *chance, struct rig_conn *conn)
{
    if (!prng_chance(&chance->prng, chance->fault_ppm)) {
        return false;
    }
    uint64_t count = COUNT_OF(odd_replies) - (chance->is_lying ? 0 : LIE_COUNT);
    uint64_t which = prng_below(&chance->prng, count + 3);
    if (which == count) {
        conn->is_closed_by_peer = true;
    } else if (which == count + 1) {
        conn->is_reset = true;
    } else if (which == count + 2) {
        conn->any_state = STATE_DEAF;
    } else {
        say(conn, str_from_c(odd_replies[which]));
    }
    return true;
}

static void hear_rcpt(struct rig_conn *conn, struct str line)
{
    /* RCPT TO:<JOB-RCPT@x> */
    struct str rest = str_from(line, sizeof "RCPT TO:<" - 1), job, rcpt;
    uint64_t job_no, rcpt_no;
    CHECK(str_cut(&rest, '-', &job) && str_cut(&rest, '@', &rcpt));
    REQUIRE_OK(str_to_u64(job, JOB_COUNT - 1, &job_no));
    REQUIRE_OK(str_to_u64(rcpt, RCPT_COUNT - 1, &rcpt_no));
    conn->any_job = (uint32_t)job_no;
    CHECK(conn->any_accepted_count < COUNT_OF(conn->any_accepted));
    conn->any_accepted[conn->any_accepted_count++] = (uint32_t)rcpt_no;
    say(conn, STR("250 2.1.5 Ok"));
}

static void hear(struct chance *chance, struct rig_conn *conn, struct str line)
{
    bool is_data = str_eq(line, STR("DATA"));
    if (str_starts(line, STR("MAIL")) || str_eq(line, STR("RSET"))) {
        conn->any_accepted_count = 0;
    }
    if (something_odd(chance, conn)) {
        return;
    }
    if (str_starts(line, STR("EHLO"))) {
        say(conn, chance->is_pipelining ? STR("250-x\r\n250 PIPELINING") : STR("250 x"));
    } else if (str_starts(line, STR("RCPT"))) {
        hear_rcpt(conn, line);
    } else if (is_data && conn->any_accepted_count > 0) {
        conn->any_state = STATE_CONTENT;
        say(conn, STR("354 go"));
    } else if (is_data) {
        say(conn, STR("554 5.5.1 nobody"));
    } else if (str_eq(line, STR("QUIT"))) {
        say(conn, STR("221 bye"));
        conn->is_closed_by_peer = true;
    } else {
        say(conn, STR("250 2.0.0 Ok"));
    }
}

static void check_content(const struct rig_conn *conn, struct str content)
{
    char expected[200];
    size_t len =
            fmt(expected, sizeof expected, "Subject: job %u\r\n\r\n..dot %u\r\nbody %u\r\n.\r\n",
                    conn->any_job, conn->any_job, conn->any_job);
    CHECK_STR(content, str_of(expected, len));
}

static void take_content(struct chance *chance, struct rig_conn *conn, struct str content)
{
    check_content(conn, content);
    conn->any_state = STATE_COMMANDS;
    bool is_refused = prng_chance(&chance->prng, chance->fault_ppm);
    if (is_refused) {
        say(conn, STR("554 5.7.1 no"));
    } else {
        for (uint32_t i = 0; i < conn->any_accepted_count; i++) {
            chance->taken[conn->any_job][conn->any_accepted[i]]++;
        }
        if (prng_chance(&chance->prng, chance->fault_ppm)) { /* taken, and the reply is lost */
            conn->is_reset = true;
        } else {
            say(conn, STR("250 2.0.0 taken"));
        }
    }
    conn->any_accepted_count = 0;
}

/* A final reply in the middle of the content, which is not taken. */
static bool answer_early(struct chance *chance, struct rig_conn *conn)
{
    bool is_early = conn->any_state == STATE_CONTENT && conn->in.len > 0 &&
                    prng_chance(&chance->prng, chance->fault_ppm);
    if (is_early) {
        say(conn, prng_chance(&chance->prng, 500000) ? STR("250 taken") : STR("552 5.3.4 big"));
        conn->any_state = STATE_DEAF;
    }
    return is_early;
}

static bool any_peer(struct rig_conn *conn)
{
    struct chance *chance = conn->rig->any_ctx;
    struct str in = rig_str(&conn->in);
    if (conn->any_state == STATE_BANNER) {
        conn->any_state = STATE_COMMANDS;
        if (!something_odd(chance, conn)) {
            say(conn, STR("220 x"));
        }
        return true;
    }
    struct str end = conn->any_state == STATE_CONTENT ? STR("\r\n.\r\n") : STR("\r\n");
    size_t at = str_find(in, end);
    if (conn->any_state == STATE_DEAF) {
        return false;
    }
    if (at >= in.len) {
        return answer_early(chance, conn);
    }
    if (conn->any_state == STATE_CONTENT) {
        take_content(chance, conn, str_sub(in, 0, at + end.len));
    } else {
        hear(chance, conn, str_sub(in, 0, at));
    }
    rig_bytes_drop(&conn->in, at + end.len);
    return true;
}

/* ---- runs ---- */

static void send_jobs(struct chance *chance, struct site *site)
{
    for (uint32_t i = 0; i < JOB_COUNT; i++) {
        char rcpts[100], content[200];
        fmt(rcpts, sizeof rcpts, "%u-0@x %u-1@x %u-2@x", i, i, i);
        fmt(content, sizeof content, "Subject: job %u\r\n\r\n.dot %u\r\nbody %u\r\n", i, i, i);
        struct rig_job job = { .rcpts = rcpts, .content = content, .source = UINT32_MAX };
        rig_send(&chance->rig, site, &job);
        if (prng_chance(&chance->prng, 500000)) {
            rig_run(&chance->rig);
        }
    }
}

static void count_results(struct chance *chance)
{
    for (uint32_t i = 0; i < chance->rig.result_count; i++) {
        const struct queue_result *result = chance->rig.result[i];
        uint32_t job = (uint32_t)result->job_id - 1;
        CHECK(job < JOB_COUNT && !chance->is_over[job], "a report after the last one");
        chance->is_over[job] = result->is_last;
        for (uint32_t r = 0; r < result->outcome.rcpt_count; r++) {
            chance->reported[job][result->rcpt[r]]++;
            chance->result[job][result->rcpt[r]] = result->result;
        }
    }
}

static void check_all(const struct chance *chance, uint64_t seed)
{
    for (uint32_t job = 0; job < JOB_COUNT; job++) {
        CHECK(chance->is_over[job], "seed %llu: job %u has no end", (unsigned long long)seed, job);
        for (uint32_t rcpt = 0; rcpt < RCPT_COUNT; rcpt++) {
            enum spool_result result = chance->result[job][rcpt];
            uint32_t taken = chance->taken[job][rcpt];
            CHECK(chance->reported[job][rcpt] == 1 && taken <= 1 &&
                            (result != SPOOL_RESULT_DELIVERED || taken == 1 || chance->is_lying) &&
                            (taken == 0 || result == SPOOL_RESULT_DELIVERED ||
                                    result == SPOOL_RESULT_IN_DOUBT),
                    "seed %llu: %u-%u reported %u times, taken %u times, result %u",
                    (unsigned long long)seed, job, rcpt, chance->reported[job][rcpt], taken,
                    result);
        }
    }
}

static void run_seed(uint64_t seed, uint32_t *ret_delivered)
{
    static const uint32_t faults_ppm[] = { 0, 5000, 30000, 100000, 300000 };
    static struct chance chance;
    chance = (struct chance){ .fault_ppm = faults_ppm[seed % COUNT_OF(faults_ppm)] };
    prng_init(&chance.prng, seed);
    rig_open(&chance.rig, "hostname = \"out.example\"\nsite-connection-max = 2\n");
    chance.is_lying = prng_chance(&chance.prng, 300000);
    chance.is_pipelining = prng_chance(&chance.prng, 700000);
    chance.rig.any_peer = any_peer;
    chance.rig.any_ctx = &chance;
    chance.rig.write_max =
            prng_chance(&chance.prng, 500000) ? 1 + prng_below(&chance.prng, 200) : 0;
    struct site *site = rig_site("10 a.mx 192.0.2.1\n20 b.mx 192.0.2.2");
    send_jobs(&chance, site);
    rig_advance(&chance.rig, 4 * 3600000);
    CHECK(deliver_is_idle(chance.rig.deliver), "seed %llu", (unsigned long long)seed);
    count_results(&chance);
    check_all(&chance, seed);
    *ret_delivered += rig_results_of(&chance.rig, SPOOL_RESULT_DELIVERED);
    site_give(site);
    rig_close(&chance.rig);
}

TEST(whatever_peers_do_every_recipient_has_one_true_outcome)
{
    uint32_t delivered = 0, clean = 0;
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        uint32_t before = delivered;
        run_seed(seed, &delivered);
        clean += delivered - before == JOB_COUNT * RCPT_COUNT;
    }
    CHECK(clean >= SEED_COUNT / 5, "%u runs delivered all", clean);
}
