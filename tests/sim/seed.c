/* SPDX-License-Identifier: Apache-2.0
 *
 * seed.c - plan, faults and judgement of one simulated day.
 *
 * Phase 1 has faults: a thousand messages and more, ten crashes and more, all drawn from the seed.
 * Then the faults stop, and the queue must drain. The invariants I1 to I8 (docs/evidence.md) are
 * set algebra over tokens: what clients read, what receivers stored, what reports came back, and
 * what the history says.
 */
#include "tests/sim/seed.h"

#include "core/time.h"
#include "sim/peers.h"
#include "sim/world.h"
#include "spool/spool.h"

#include <jansson.h>

enum {
    MESSAGE_COUNT = 1000,
    CRASH_COUNT_MIN = 10,
    TROUBLES_MAX = 40,
    TROUBLE_MESSAGES = 8, /* within TROUBLE_MS_MIN of a disk's trouble */
    TROUBLE_MS_MIN = 60000,
    DAY_MS = 86400000,
    HOUR_MS = 3600000,
    DRAIN_HOURS_MAX = 160, /* give-up is 5 days; the rest must be gone long before */
    TURN_MS_MAX = 10,      /* from a record to the sync that it rides in, and its wake-ups */
    RECIPIENT_EVERY = 64,  /* tokens that are also looked up by themselves */
    REPLY_BYTES_MAX = 16 << 20
};

const char *const seed_fault_names[SEED_FAULT_COUNT] = { "kill", "power cut", "disk error",
    "disk full", "net delay", "net order", "net loss", "net refused", "net reset", "partial read",
    "peer refuses", "peer lies", "client cut", "client reset", "dns failure", "dns absent",
    "clock" };

static const char config_text[] =
        "hostname = \"mail.sender.example\"\n"
        "data-dir = \"/simulated\"\n"
        "control = \"/simulated/control.sock\"\n"
        "ca-file = \"tests/data/tls/ca.pem\"\n" /* the system's store takes long to read at each
                                                   start */
        "slot-bytes = \"2M\"\n"
        "listen \"in\" { address = { \"10.0.0.1:2525\" } networks = { \"10.0.0.0/8\" } }\n";

struct run {
    const struct seed_options *options;
    struct seed_result *result;
    struct world *world;
    struct peers peers;
    struct prng prng; /* of the plan */
    uint32_t spare;   /* message: from here on for troubles */
    bool has_faults;
};

static void fail(struct run *run, const char *format, ...) PRINTF_LIKE(2, 3);
static void fail(struct run *run, const char *format, ...)
{
    if (!run->result->is_good) {
        return; /* the first violation is the one to look at */
    }
    run->result->is_good = false;
    va_list args;
    va_start(args, format);
    vsnprintf(run->result->what, sizeof run->result->what, format, args);
    va_end(args);
    sim_trace(&run->world->events, "VIOLATION %s", run->result->what);
}

/* ---- faults ---- */

static uint32_t draw(struct run *run, uint32_t per_million_max)
{
    return (uint32_t)prng_below(&run->prng, per_million_max + 1);
}

/* Each group is there in some seeds and not in others, so that groups do not hide each other. */
static void draw_faults(struct run *run)
{
    struct peer_faults *peer = &run->peers.faults;
    struct sim_net_faults *net = sim_net_faults(run->world->net);
    struct sim_dns_faults *dns = sim_dns_faults(run->world->dns);
    net->delay_ms_max = 1 + draw(run, 200);
    dns->delay_ms_max = 1 + draw(run, 500);
    dns->sure[0] = "sender.example"; /* reports must have a way, or a bounce is lost by right */
    dns->sure[1] = "mx4.example";
    if (prng_chance(&run->prng, 700000)) {
        net->connect_refused = draw(run, 100000);
        net->connect_silent = draw(run, 50000);
        net->reset = draw(run, 10000);
        net->stall = draw(run, 1000);
        net->split = draw(run, 300000);
    }
    if (prng_chance(&run->prng, 700000)) {
        *peer = (struct peer_faults){ .banner_4xx = draw(run, 100000),
            .banner_5xx = draw(run, 50000),
            .banner_drop = draw(run, 50000),
            .mail_4xx = draw(run, 50000),
            .rcpt_4xx = draw(run, 100000),
            .data_4xx = draw(run, 50000),
            .dot_4xx = draw(run, 100000),
            .dot_5xx = draw(run, 30000),
            .shutdown_421 = draw(run, 20000) };
    }
    if (prng_chance(&run->prng, 600000)) {
        peer->banner_silent = draw(run, 2000);
        peer->reply_lost = draw(run, 30000);
        peer->dot_drop = draw(run, 30000);
        peer->garbage = draw(run, 10000);
    }
    if (prng_chance(&run->prng, 600000)) {
        peer->client_drops = draw(run, 50000);
        peer->client_resets = draw(run, 50000);
    }
    if (prng_chance(&run->prng, 600000)) {
        dns->servfail = draw(run, 200000);
        dns->timeout = draw(run, 50000);
        dns->bogus = draw(run, 50000);
        dns->nxdomain = draw(run, 20000);
        dns->nodata = draw(run, 20000);
    }
}

static void heal_disks(struct run *run);

static void count_disk_faults(struct run *run, struct sim_disk *disk)
{
    const struct sim_disk_counts *counts = sim_disk_counts(disk);
    run->result->met[SEED_DISK_ERROR] += counts->fault_count;
    run->result->met[SEED_DISK_FULL] += counts->full_count;
}

/* What happened while there were faults; crashes and clock steps are counted as they are made. */
static void count_faults(struct run *run)
{
    const struct peers *peers = &run->peers;
    const struct sim_net_met *net = sim_net_met(run->world->net);
    const uint64_t *answers = sim_dns_met(run->world->dns)->answers;
    uint64_t *met = run->result->met;
    count_disk_faults(run, run->world->spool_disk);
    count_disk_faults(run, run->world->history_disk);
    met[SEED_NET_DELAY] = net->late;
    met[SEED_NET_ORDER] = net->reordered;
    met[SEED_NET_LOSS] = net->silent + net->swallowed;
    met[SEED_NET_REFUSED] = net->refused;
    met[SEED_NET_RESET] = net->reset;
    met[SEED_NET_PARTIAL] = net->partial;
    met[SEED_PEER_REFUSES] = peers->refused_count;
    met[SEED_PEER_LIES] = peers->lost_reply_count + peers->garbage_count + peers->dropped_count;
    met[SEED_CLIENT_CUT] = peers->client_cut_count;
    met[SEED_CLIENT_RESET] = peers->client_reset_count;
    met[SEED_DNS_FAILURE] = answers[DNS_SERVFAIL] + answers[DNS_TIMEOUT] + answers[DNS_BOGUS];
    met[SEED_DNS_ABSENT] = answers[DNS_NXDOMAIN] + answers[DNS_NODATA];
}

static void stop_faults(struct run *run)
{
    run->has_faults = false;
    count_faults(run);
    run->peers.faults = (struct peer_faults){ 0 };
    *sim_net_faults(run->world->net) = (struct sim_net_faults){ .delay_ms_max = 20 };
    *sim_dns_faults(run->world->dns) = (struct sim_dns_faults){ .delay_ms_max = 20 };
    heal_disks(run);
}

/* ---- the day ---- */

static void submit_now(void *ctx, uint64_t message)
{
    struct run *run = ctx;
    peers_submit(&run->peers, (uint32_t)message);
}

static void start(struct run *run)
{
    struct why why = { 0 };
    enum err err = world_start(run->world, &why);
    if (err == OK) {
        return;
    }
    run->result->starts_failed++;
    if (run->world->node) {
        world_crash(run->world, WORLD_KILL);
    }
    if (!run->has_faults) {
        fail(run, "I8: the node does not start although faults have stopped: %s", why.text);
    }
}

static void restart_now(void *ctx, uint64_t number)
{
    struct run *run = ctx;
    (void)number;
    if (run->world->node == NULL) {
        start(run);
        if (run->world->node == NULL) {
            sim_after(&run->world->events, 60000, restart_now, run, 0);
        }
    }
}

static void plan_day(struct run *run)
{
    struct sim_events *events = &run->world->events;
    uint32_t bursts = 1 + (uint32_t)prng_below(&run->prng, 40);
    for (uint32_t m = 0; m < run->spare; m++) {
        uint64_t burst = prng_below(&run->prng, bursts);
        uint64_t at_ms = burst * (DAY_MS / bursts) + prng_below(&run->prng, 60000);
        sim_after(events, at_ms, submit_now, run, m);
    }
}

/* Messages of their own, so that the fault meets somebody: the day has long silences. */
static void submit_into_trouble(struct run *run)
{
    for (uint32_t i = 0; i < TROUBLE_MESSAGES && run->spare < run->peers.message_count; i++) {
        sim_after(&run->world->events, prng_below(&run->prng, TROUBLE_MS_MIN), submit_now, run,
                run->spare++);
    }
}

static void disk_trouble(struct run *run, enum seed_fault kind)
{
    struct sim_disk *disk =
            prng_chance(&run->prng, 800000) ? run->world->spool_disk : run->world->history_disk;
    uint64_t nth = 1 + prng_below(&run->prng, 20), count = 1 + prng_below(&run->prng, 2);
    if (kind == SEED_DISK_FULL) {
        sim_disk_set_capacity(disk, 1);
    } else if (prng_chance(&run->prng, 500000)) {
        sim_disk_fail(disk, SIM_DISK_SYNC, nth, count,
                prng_chance(&run->prng, 500000) ? E_IO : E_NO_SPACE);
    } else {
        sim_disk_fail(disk, SIM_DISK_WRITE, nth, count,
                prng_chance(&run->prng, 500000) ? E_IO : E_NO_SPACE);
    }
    submit_into_trouble(run);
}

static void heal_disks(struct run *run)
{
    struct sim_disk *disks[] = { run->world->spool_disk, run->world->history_disk };
    for (size_t i = 0; i < COUNT_OF(disks); i++) {
        sim_disk_heal(disks[i]);
        sim_disk_set_capacity(disks[i], UINT64_MAX);
    }
}

/* Records ride in a sync at most KEEPER_SYNC_DELAY_MS after they were written: what was sent within
 * that time before a power cut may come again without a mark (I5).
 */
static void crash(struct run *run, enum seed_fault kind)
{
    if (run->world->node == NULL) {
        return;
    }
    if (kind == SEED_POWER_CUT) {
        peers_power_cut(&run->peers, KEEPER_SYNC_DELAY_MS + TURN_MS_MAX);
    }
    world_crash(run->world, kind == SEED_POWER_CUT ? WORLD_POWER_CUT : WORLD_KILL);
    run->result->met[kind]++;
    run->result->crashes++;
    sim_after(&run->world->events, 10 + prng_below(&run->prng, 5000), restart_now, run, 0);
}

static void step_clock(struct run *run)
{
    static const int64_t steps_ms[] = { HOUR_MS, -HOUR_MS, INT64_C(365) * DAY_MS,
        -INT64_C(365) * DAY_MS };
    int64_t step_ms = steps_ms[prng_below(&run->prng, COUNT_OF(steps_ms))];
    run->world->events.wall_offset_ms += step_ms;
    run->result->met[SEED_CLOCK]++;
    sim_trace(&run->world->events, "clock step %lld ms", (long long)step_ms);
}

static void make_trouble(struct run *run, enum seed_fault kind)
{
    if (kind == SEED_KILL || kind == SEED_POWER_CUT) {
        crash(run, kind);
    } else if (kind == SEED_CLOCK) {
        step_clock(run);
    } else {
        disk_trouble(run, kind);
    }
}

static enum seed_fault draw_trouble(struct run *run, bool has_disk, bool has_clock)
{
    if (run->result->crashes < CRASH_COUNT_MIN || prng_chance(&run->prng, 500000)) {
        return prng_chance(&run->prng, 500000) ? SEED_KILL : SEED_POWER_CUT;
    }
    if (has_clock && prng_chance(&run->prng, 200000)) {
        return SEED_CLOCK;
    }
    if (has_disk) {
        return prng_chance(&run->prng, 700000) ? SEED_DISK_ERROR : SEED_DISK_FULL;
    }
    return SEED_KILL;
}

/* Most troubles hit a moment when the node is busy: a few steps after something happened. */
static void wait_for_moment(struct run *run, struct mono at)
{
    world_run_until(run->world, at);
    if (prng_chance(&run->prng, 700000)) {
        uint64_t steps = prng_below(&run->prng, 200);
        struct mono end = mono_after(at, HOUR_MS);
        for (uint64_t i = 0; i < steps && world_step(run->world, end); i++) {
        }
    }
}

static void live_the_day(struct run *run)
{
    bool has_disk = prng_chance(&run->prng, 600000), has_clock = prng_chance(&run->prng, 300000);
    uint32_t count = 14 + (uint32_t)prng_below(&run->prng, TROUBLES_MAX - 14);
    struct mono begin = run->world->events.now;
    /* more where a node that was down could not crash */
    for (uint32_t i = 0; (i < count || run->result->crashes < CRASH_COUNT_MIN) && i < TROUBLES_MAX;
            i++) {
        struct mono at =
                mono_after(begin, (uint64_t)DAY_MS / count * i + prng_below(&run->prng, 60000));
        wait_for_moment(run, at);
        enum seed_fault kind = draw_trouble(run, has_disk, has_clock);
        make_trouble(run, kind);
        if (kind == SEED_DISK_FULL || kind == SEED_DISK_ERROR) {
            world_run_for(run->world, TROUBLE_MS_MIN + prng_below(&run->prng, 600000));
            heal_disks(run);
        }
    }
    world_run_until(run->world, mono_after(begin, DAY_MS));
}

/* ---- the end ---- */

static uint64_t queue_size(struct run *run)
{
    struct buf body;
    buf_init(&body, REPLY_BYTES_MAX);
    uint64_t size = UINT64_MAX;
    if (world_ask(run->world, "GET", "/v1/stats", "", "", &body) == 200) {
        json_t *reply = json_loadb(body.ptr, body.len, 0, NULL),
               *queue = json_object_get(reply, "queue");
        size = 0;
        static const char *const states[] = { "queued", "active", "held", "in_doubt", "failed" };
        for (size_t i = 0; i < COUNT_OF(states); i++) {
            size += (uint64_t)json_integer_value(json_object_get(queue, states[i]));
        }
        json_decref(reply);
    }
    buf_done(&body);
    return size;
}

static void drain(struct run *run)
{
    stop_faults(run);
    if (run->world->node == NULL) {
        start(run);
    }
    for (uint32_t hour = 0; hour < DRAIN_HOURS_MAX && run->result->is_good; hour++) {
        if (queue_size(run) == 0) {
            world_run_for(run->world, 60000); /* the scribe has its time */
            return;
        }
        world_run_for(run->world, HOUR_MS);
    }
    fail(run, "I1: %llu recipients are still open %d hours after the faults stopped",
            (unsigned long long)(run->world->node ? queue_size(run) : 0), (int)DRAIN_HOURS_MAX);
}

/* What the history says of a token. */
struct told {
    uint32_t stories;
    bool is_final, is_delivered, is_failed, is_marked;
};

static void hear(json_t *rcpt, struct told *told)
{
    const char *state = json_string_value(json_object_get(rcpt, "state"));
    told->stories++;
    if (state != NULL) {
        told->is_delivered = strcmp(state, "delivered") == 0;
        told->is_failed = strcmp(state, "bounced") == 0 || strcmp(state, "expired") == 0;
    }
    told->is_final = told->is_delivered || told->is_failed;
    told->is_marked = json_is_true(json_object_get(rcpt, "possible_duplicate"));
}

/* Stories of one lot, or of one recipient: of each recipient there, to told[token]. */
static void hear_stories(struct run *run, const char *query, uint32_t lot, struct told *told)
{
    struct buf body;
    json_t *story, *rcpt;
    size_t i, j;
    buf_init(&body, REPLY_BYTES_MAX);
    uint16_t status = world_ask(run->world, "GET", "/v1/messages", query, "", &body);
    json_t *stories = status == 200 ? json_loadb(body.ptr, body.len, 0, NULL) : NULL;
    json_array_foreach(stories, i, story)
    {
        json_array_foreach(json_object_get(story, "recipients"), j, rcpt)
        {
            const char *address = json_string_value(json_object_get(rcpt, "address"));
            uint32_t token;
            if (address == NULL || !peers_token_of(&run->peers, str_from_c(address), &token) ||
                    run->peers.token[token].message / PEER_LOT_MESSAGES != lot) {
                fail(run, "I2: the history of lot %u has a recipient that was never offered: %s",
                        lot, address ? address : "");
                continue;
            }
            hear(rcpt, &told[token]);
        }
    }
    json_decref(stories);
    buf_done(&body);
}

/* A story is found by its recipient, too. */
static void judge_look_up(struct run *run, uint32_t number, const struct told *by_lot)
{
    char query[96];
    const struct token *token = &run->peers.token[number];
    fmt(query, sizeof query, "recipient=t%u%%40d%u.example", number, token->domain);
    struct told *told = mem_new(run->peers.token_count * sizeof *told);
    ASSERT(told);
    hear_stories(run, query, token->message / PEER_LOT_MESSAGES, told);
    if (told[number].stories != by_lot->stories) {
        fail(run, "I6: t%u has %u stories when asked for by recipient, and %u by tag", number,
                told[number].stories, by_lot->stories);
    }
    mem_free(told);
}

/* By tag, since asking for each recipient takes longer than the day. */
static struct told *ask_history(struct run *run)
{
    struct told *told = mem_new(run->peers.token_count * sizeof *told);
    ASSERT(told);
    for (uint32_t m = 0; m < run->peers.message_count; m += PEER_LOT_MESSAGES) {
        char query[64];
        fmt(query, sizeof query, "tag=lot-%u&count=1000", m / PEER_LOT_MESSAGES);
        hear_stories(run, query, m / PEER_LOT_MESSAGES, told);
    }
    for (uint32_t i = (uint32_t)prng_below(&run->prng, RECIPIENT_EVERY); i < run->peers.token_count;
            i += RECIPIENT_EVERY) {
        judge_look_up(run, i, &told[i]);
    }
    return told;
}

static void judge_token(struct run *run, uint32_t number, const struct told *told)
{
    const struct token *token = &run->peers.token[number];
    if (token->is_mixed) {
        fail(run, "I2: t%u arrived with content that was not offered", number);
    }
    if (token->answer == TOKEN_NOT_OFFERED || token->answer == TOKEN_REFUSED) {
        if (token->copies || token->bounces) {
            fail(run, "%s: t%u was %s, yet has %u copies and %u reports",
                    token->answer == TOKEN_REFUSED ? "I3" : "I2", number,
                    token->answer == TOKEN_REFUSED ? "refused" : "never offered", token->copies,
                    token->bounces);
        }
        if (told->stories) {
            fail(run, "I6: t%u was %s, yet has a story", number,
                    token->answer == TOKEN_REFUSED ? "refused" : "never offered");
        }
        return;
    }
    bool is_taken = token->answer == TOKEN_ACKNOWLEDGED;
    if (is_taken && token->copies == 0 && token->bounces == 0) {
        fail(run, "I1: t%u of message %s was acknowledged and is lost (history: %u stories%s%s)",
                number, run->peers.message[token->message].id, told->stories,
                told->is_delivered ? ", delivered" : "", told->is_failed ? ", failed" : "");
    }
    if (is_taken && (told->stories != 1 || !told->is_final)) {
        fail(run, "I6: t%u was acknowledged and has %u stories, %s", number, told->stories,
                told->is_final ? "final" : "without an end");
    }
    if (told->stories > 1) {
        fail(run, "I6: t%u has %u stories", number, told->stories);
    }
    if (told->is_delivered && token->copies == 0) {
        fail(run, "I6: the history says t%u was delivered; nobody received it", number);
    }
    if (token->copies - token->excused_copies > 1 && !told->is_marked) {
        fail(run, "I5: t%u arrived %u times and is not marked as a possible duplicate", number,
                token->copies);
    }
    if (token->copies && token->bounces && !told->is_marked && token->excused_copies == 0 &&
            token->replies_lost == 0) {
        fail(run, "I4: t%u arrived and bounced, and nothing explains it", number);
    }
    if (token->has_two_reports) {
        fail(run, "I7: two different reports about t%u reached its sender", number);
    }
    if ((token->copies || token->bounces) && told->stories == 0) {
        fail(run, "I6: t%u came out, but the history does not know it", number);
    }
}

/* All recipients of one message are known or none is (I7). */
static void judge_message(struct run *run, uint32_t m)
{
    const struct message *message = &run->peers.message[m];
    uint32_t known = 0, offered = 0;
    for (uint32_t i = 0; i < message->token_count; i++) {
        const struct token *token = &run->peers.token[message->first_token + i];
        if (token->answer == TOKEN_ACKNOWLEDGED || token->answer == TOKEN_UNANSWERED) {
            offered++;
            known += token->copies || token->bounces;
        }
    }
    if (known && known != offered) {
        fail(run, "I7: of the %u recipients of message %u only %u came to anything", offered, m,
                known);
    }
}

static void judge(struct run *run)
{
    struct seed_result *result = run->result;
    struct told *told = ask_history(run);
    for (uint32_t i = 0; i < run->peers.token_count && result->is_good; i++) {
        const struct token *token = &run->peers.token[i];
        judge_token(run, i, &told[i]);
        result->acknowledged += token->answer == TOKEN_ACKNOWLEDGED;
        result->delivered += token->copies > 0;
        result->bounced += token->bounces > 0;
        result->duplicates += token->copies > 1 ? token->copies - 1u : 0;
    }
    for (uint32_t m = 0; m < run->peers.message_count && result->is_good; m++) {
        judge_message(run, m);
    }
    mem_free(told);
}

void seed_run(const struct seed_options *options, struct seed_result *ret_result)
{
    *ret_result = (struct seed_result){ .is_good = true };
    struct run run = { .options = options, .result = ret_result, .has_faults = true };
    struct why why = { 0 };
    enum err err = world_new(options->seed, str_from_c(config_text), &run.world, &why);
    ASSERT(err == OK);
    prng_init(&run.prng, options->seed * 2 + 1);
    run.world->events.is_traced = options->is_traced;
    run.world->is_talking = options->is_talking;
    struct ip_port node = { .ip = { .family = IP_V4, .byte = { 10, 0, 0, 1 } }, .port = 2525 };
    run.spare = options->message_count ? options->message_count : MESSAGE_COUNT;
    peers_init(&run.peers, &run.world->events, run.world->net, run.world->dns, node,
            run.spare + TROUBLES_MAX * TROUBLE_MESSAGES);
    draw_faults(&run);
    plan_day(&run);
    start(&run);
    live_the_day(&run);
    if (ret_result->is_good) {
        drain(&run);
    }
    if (ret_result->is_good) {
        judge(&run);
    }
    ret_result->messages = run.spare;
    ret_result->turns = run.world->turn_count;
    ret_result->hash = run.world->events.hash;
    world_free(run.world);
    peers_done(&run.peers);
}
