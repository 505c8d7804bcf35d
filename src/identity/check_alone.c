/* SPDX-License-Identifier: Apache-2.0
 *
 * check_alone.c - a run on the calling thread: a loop, a resolver, name servers and HTTPS of its
 * own, or a master file and nothing else.
 */
#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"
#include "edge/dns_direct.h"
#include "edge/entropy.h"
#include "edge/http.h"
#include "edge/net.h"
#include "identity/check_priv.h"

struct alone {
    struct net *net;
    struct identity_run *run;
    void (*done)(void *ctx); /* the caller's */
    void *ctx;
    void (*progress)(void *ctx, uint32_t done_count, uint32_t total_count);
};

static void on_done(void *ctx)
{
    struct alone *alone = ctx;
    if (alone->done != NULL) {
        alone->done(alone->ctx);
    }
    if (alone->net != NULL) {
        net_stop_real(alone->net);
    }
}

static void on_progress(void *ctx, uint32_t done_count, uint32_t total_count)
{
    const struct alone *alone = ctx;
    if (alone->progress != NULL) {
        alone->progress(alone->ctx, done_count, total_count);
    }
}

static void on_timer(void *ctx)
{
    struct alone *alone = ctx;
    struct mono next = identity_run_tick(alone->run);
    if (next.ms != 0) {
        alone->net->ops->timer(alone->net, next, on_timer, alone);
    }
}

/* ---- from a master file ---- */

static enum err run_on_zone(const struct identity_plan *plan,
        const struct identity_run_options *options, const char *path, struct identity_run **ret_run,
        struct why *why)
{
    struct identity_run_options own = *options;
    struct identity_run *run;
    enum err err = dns_open_zone(path, &own.dns, why);
    if (err != OK) {
        return err;
    }
    own.direct = NULL;
    own.http = NULL;
    own.net = NULL;
    own.offline_why = "not asked: answers come from a file (--zone)";
    err = identity_run_begin(plan, &own, &run, why);
    while (err == OK && identity_run_tick(run).ms != 0) {
        dns_zone_poll(own.dns);
    }
    own.dns->ops->close(own.dns);
    if (err == OK) {
        *ret_run = run;
    }
    return err;
}

/* ---- over the net ---- */

static enum err open_handles(struct alone *alone, const struct identity_outside *outside,
        struct identity_run_options *options, struct why *why)
{
    enum err err = net_open_real(options->clock, &alone->net, why);
    if (err == OK) {
        err = dns_open_real(alone->net, outside->servers, outside->anchor_path, &options->dns, why);
    }
    if (err == OK) {
        err = dns_direct_open(alone->net, entropy_real(), &options->direct, why);
    }
    if (err == OK) {
        err = http_open(alone->net, outside->ca_path, &options->http, why);
    }
    options->is_validating = outside->anchor_path != NULL;
    return err;
}

static void close_handles(struct alone *alone, struct identity_run_options *options)
{
    if (options->dns != NULL) {
        options->dns->ops->close(options->dns);
    }
    dns_direct_close(options->direct);
    http_close(options->http);
    net_free_real(alone->net);
}

static enum err run_on_net(const struct identity_plan *plan,
        const struct identity_run_options *options, const struct identity_outside *outside,
        struct identity_run **ret_run, struct why *why)
{
    struct alone alone = {
        .done = options->done, .ctx = options->ctx, .progress = options->progress
    };
    struct identity_run_options own = *options;
    own.dns = NULL;
    own.direct = NULL;
    own.http = NULL;
    own.done = on_done;
    own.progress = on_progress;
    own.ctx = &alone;
    enum err err = open_handles(&alone, outside, &own, why);
    own.net = alone.net;
    if (err == OK) {
        err = identity_run_begin(plan, &own, &alone.run, why);
    }
    if (err == OK) {
        on_timer(&alone);
        if (!identity_run_is_done(alone.run)) {
            net_run_real(alone.net, NULL, NULL);
        }
        *ret_run = alone.run;
    }
    close_handles(&alone, &own);
    return err;
}

enum err identity_run_alone(const struct identity_plan *plan,
        const struct identity_run_options *options, const struct identity_outside *outside,
        struct identity_run **ret_run, struct why *why)
{
    struct identity_run_options own = *options;
    own.clock = options->clock != NULL ? options->clock : clock_real();
    return outside->zone_path != NULL ? run_on_zone(plan, &own, outside->zone_path, ret_run, why)
                                      : run_on_net(plan, &own, outside, ret_run, why);
}
