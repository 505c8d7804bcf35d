/* SPDX-License-Identifier: Apache-2.0
 *
 * world.c - the runner of simulation: owners' turns, events and deadlines in one order.
 */
#include "sim/world.h"

#include "core/time.h"

static void log_sink(void *ctx, enum log_level level, struct str line)
{
    struct world *world = ctx;
    sim_trace(&world->events, "log %d %.*s", (int)level, STR_ARG(line));
    if (world->is_talking) {
        fprintf(stderr, "%12lld %.*s\n", (long long)world->events.now.ms, STR_ARG(line));
    }
    if (world->node_line) {
        world->node_line(world->line_ctx, line);
    }
}

static void mail_line(void *ctx, struct str line)
{
    struct world *world = ctx;
    if (world->mail_line) {
        world->mail_line(world->line_ctx, line);
    }
}

enum err world_new(uint64_t seed, struct str config_text, struct world **ret_world, struct why *why)
{
    struct world *world = mem_new(sizeof *world);
    struct config_report *report = mem_new(sizeof *report);
    ASSERT(world && report);
    sim_events_init(&world->events, seed);
    enum err err = config_parse(config_text, STR("simulation"), &world->config, report);
    if (err != OK) {
        why_set(why, "configuration line %u: %.*s", report->fault[0].line,
                STR_ARG(report->fault[0].text));
        config_report_done(report);
        mem_free(report);
        mem_free(world);
        return err;
    }
    config_report_done(report);
    mem_free(report);
    ASSERT(sim_net_new(&world->events, &world->net) == OK);
    ASSERT(sim_dns_new(&world->events, &world->dns) == OK);
    world->spool_disk = sim_disk_new(prng_next(&world->events.prng));
    world->history_disk = sim_disk_new(prng_next(&world->events.prng));
    world->sandbox_disk = sim_disk_new(prng_next(&world->events.prng));
    ASSERT(world->spool_disk && world->history_disk && world->sandbox_disk);
    world->spool = sim_disk_as_disk(world->spool_disk);
    world->history = sim_disk_as_disk(world->history_disk);
    world->sandbox = sim_disk_as_disk(world->sandbox_disk);
    world->log = (struct log){ .level_min = LOG_INFO_, .sink = log_sink, .ctx = world };
    *ret_world = world;
    return OK;
}

void world_free(struct world *world)
{
    if (world == NULL) {
        return;
    }
    if (world->node) {
        world_stop(world);
    }
    sim_net_free(world->net);
    sim_dns_free(world->dns);
    sim_events_done(&world->events);
    sim_disk_free(world->spool_disk);
    sim_disk_free(world->history_disk);
    sim_disk_free(world->sandbox_disk);
    config_give(world->config);
    mem_free(world);
}

/* ---- the node's life ---- */

static void on_net_event(void *ctx, uint32_t loop)
{
    struct world *world = ctx;
    world->is_runnable[loop] = true;
}

static void on_wake(void *ctx)
{
    bool *is_runnable = ctx;
    *is_runnable = true;
}

static void make_edge(struct world *world)
{
    for (uint32_t i = 0; i < WORLD_LOOP_COUNT; i++) {
        world->loops[i] = sim_net_loop(world->net, on_net_event, world, i);
    }
    world->resolver = sim_dns_resolver(world->dns);
}

/* The simulated host has one address, which connections come from (sim/net.c), whatever the real
 * one has. */
static bool is_own_address(struct ip ip)
{
    return ip_eq(ip, (struct ip){ .family = IP_V4, .byte = { 10, 0, 0, 1 } });
}

static void drop_edge(struct world *world)
{
    sim_net_kill(world->net);
    if (world->resolver) {
        world->resolver->ops->close(world->resolver);
        world->resolver = NULL;
    }
    node_free(world->node);
    world->node = NULL;
    sim_net_bury(world->net);
    /* the process is gone, and its locks with it */
    world->spool->ops->close_disk(world->spool);
    world->history->ops->close_disk(world->history);
    world->sandbox->ops->close_disk(world->sandbox);
}

enum err world_start(struct world *world, struct why *why)
{
    ASSERT(world->node == NULL);
    make_edge(world);
    struct node_edge edge = {
        .clock = &world->events.clock,
        .entropy = &world->events.entropy,
        .spool = world->spool,
        .history = world->history,
        .sandbox = world->config->is_sandbox ? world->sandbox : NULL,
        .net = world->loops,
        .net_count = WORLD_LOOP_COUNT,
        .is_own_address = is_own_address,
        .dns = world->resolver,
        .worker_count = WORLD_WORKER_COUNT,
        .pid = 1,
        .mail_line = world->mail_line ? mail_line : NULL,
        .mail_line_ctx = world,
    };
    world->start_count++;
    enum err err = node_open(&edge, world->config, &world->log, &world->node, why);
    if (err != OK) {
        world->node = NULL;
        drop_edge(world);
        return err;
    }
    uint32_t count = node_owner_count(world->node);
    ASSERT(count <= WORLD_OWNER_COUNT_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct node_owner owner = node_owner(world->node, i);
        world->is_runnable[i] = true;
        world->due[i] = (struct mono){ 0 };
        owner.box->wake = on_wake;
        owner.box->wake_ctx = &world->is_runnable[i];
    }
    err = node_listen(world->node, why);
    sim_trace(&world->events, "start %u: %s", world->start_count, err_name(err));
    return err;
}

void world_crash(struct world *world, enum world_crash how)
{
    ASSERT(world->node);
    world->crash_count++;
    sim_trace(&world->events, "crash %u (%s)", world->crash_count,
            how == WORLD_KILL ? "kill" : "power");
    struct sim_disk *disks[] = { world->spool_disk, world->history_disk, world->sandbox_disk };
    /* the disks stop taking anything first, so that tearing the node down leaves no trace on them
     */
    for (size_t i = 0; i < COUNT_OF(disks); i++) {
        sim_disk_cut_at(disks[i], 1);
    }
    drop_edge(world);
    static const enum sim_disk_crash cuts[] = { SIM_CRASH_NONE, SIM_CRASH_ALL, SIM_CRASH_PREFIX,
        SIM_CRASH_RANDOM, SIM_CRASH_TORN };
    for (size_t i = 0; i < COUNT_OF(disks); i++) {
        struct prng *prng = &world->events.prng;
        enum sim_disk_crash mode =
                how == WORLD_KILL ? SIM_CRASH_KILL : cuts[prng_below(prng, COUNT_OF(cuts))];
        uint64_t arg = mode == SIM_CRASH_PREFIX
                               ? prng_below(prng, sim_disk_pending_count(disks[i]) + 1)
                               : prng_next(prng);
        sim_disk_cut_at(disks[i], 0);
        sim_disk_crash(disks[i], mode, arg);
    }
}

void world_stop(struct world *world)
{
    enum { STOP_MS_MAX = 60000 };
    struct mono end = mono_after(world->events.now, STOP_MS_MAX);
    node_stop(world->node);
    while (!node_is_stopped(world->node) && world_step(world, end)) {
    }
    drop_edge(world);
}

/* ---- stepping ---- */

static bool take_turn(struct world *world)
{
    uint32_t ready[WORLD_OWNER_COUNT_MAX], ready_count = 0, count = node_owner_count(world->node);
    for (uint32_t i = 0; i < count; i++) {
        if (mono_is_due(world->due[i], world->events.now)) {
            world->is_runnable[i] = true;
        }
        if (world->is_runnable[i]) {
            ready[ready_count++] = i;
        }
    }
    if (ready_count == 0) {
        return false;
    }
    uint32_t owner = ready[prng_below(&world->events.prng, ready_count)];
    world->is_runnable[owner] = false;
    world->turn_count++;
    world->due[owner] = node_owner_turn(world->node, owner, world->events.now);
    return true;
}

static struct mono next_due(const struct world *world)
{
    struct mono next = { 0 };
    uint32_t count = world->node ? node_owner_count(world->node) : 0;
    for (uint32_t i = 0; i < count; i++) {
        next = mono_first(next, world->due[i]);
    }
    return next;
}

bool world_step(struct world *world, struct mono until)
{
    struct mono event = sim_next_time(&world->events);
    bool is_event_now = event.ms != 0 && event.ms <= world->events.now.ms;
    /* an event of this instant and a turn may come in either order */
    if (world->node && !(is_event_now && prng_chance(&world->events.prng, 500000)) &&
            take_turn(world)) {
        return true;
    }
    struct mono due = next_due(world);
    struct mono next = mono_first(event, due);
    if (next.ms == 0 || next.ms > until.ms) {
        sim_advance(&world->events, until);
        return false;
    }
    if (event.ms != 0 && event.ms <= next.ms) {
        return sim_step(&world->events);
    }
    sim_advance(&world->events, next);
    return true;
}

void world_run_until(struct world *world, struct mono until)
{
    while (world_step(world, until)) {
    }
}

void world_run_for(struct world *world, uint64_t ms)
{
    world_run_until(world, mono_after(world->events.now, ms));
}

uint16_t world_ask(struct world *world, const char *method, const char *path, const char *query,
        const char *body, struct buf *ret_body)
{
    enum { ASK_MS_MAX = 10000 };
    struct control_request request = { str_from_c(method), str_from_c(path), str_from_c(query),
        str_from_c(body), STR("operator") };
    struct control *control;
    struct mono end = mono_after(world->events.now, ASK_MS_MAX);
    ASSERT(world->node && control_begin(world->node, &request, &control) == OK);
    while (!control_wait(control, 0) && world_step(world, end)) {
    }
    uint16_t status = control_wait(control, 0) ? control_status(control) : 504;
    buf_add(ret_body, control_body(control));
    control_free(control);
    return status;
}
