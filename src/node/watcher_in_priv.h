/* SPDX-License-Identifier: Apache-2.0
 *
 * watcher_in_priv.h - the watcher's inside, for its files watcher.c, watcher_open.c, watcher_ask.c.
 */
#ifndef OUTPOST_NODE_WATCHER_IN_PRIV_H
#define OUTPOST_NODE_WATCHER_IN_PRIV_H

#include "core/list.h"
#include "core/prng.h"
#include "node/watcher_priv.h"

enum watcher_job {
    JOB_DOMAINS,
    JOB_LISTS,
    JOB_OWN,
    JOB_EXPIRY,
    JOB_ROTATE,
    JOB_FLATTEN,
    JOB_COUNT
};

/* A run of checks under way. */
struct watch_run {
    struct list link;
    struct watcher *watcher;
    enum watcher_job job;
    char domain[DNS_NAME_CAP]; /* that one only; "" = all */
    bool is_scheduled;
    struct config *config; /* which the plan views */
    struct arena arena;
    struct identity_plan plan;
    struct identity_run *run;
    struct mono next;
    struct list asks; /* struct watcher_ask that wait for it */
};

struct watcher {
    struct node *node;
    struct starter *starter;
    struct clock *clock;
    struct mailbox box;
    pthread_t thread;
    bool is_started;
    _Atomic bool is_ending;
    _Atomic bool is_refusing; /* the node stops */
    _Atomic bool wants_refusals;
    _Atomic uint32_t refused_count; /* letters of them that lie in the box */

    struct net *net;
    struct dns *dns;
    struct dns_direct *direct;
    struct http *http;
    char ca_path[PATH_MAX], state_path[PATH_MAX], passed_path[PATH_MAX], ticks_path[PATH_MAX];

    /* from here on the thread's own */
    struct config *config;
    struct identity_watch *watch;
    struct identity_alerts *alerts;
    struct identity_notice notice; /* too large for a stack */
    struct watcher_post post;
    uint32_t command_routes; /* bits: a program runs for it */
    struct prng prng;
    struct mono now;
    struct mono due[JOB_COUNT]; /* 0: never */
    struct mono hurried_at[2];  /* domains, lists: after a refusal */
    struct list runs;
    struct watcher_own *own;
    enum watcher_job own_job;
    bool is_own_done;
    const struct identity_result *const *own_result;
    uint32_t own_result_count;
    struct watcher_setup *setup;
    enum watcher_job setup_job;
    bool is_changed; /* to be kept at once */
    struct mono save_at;
    struct wall reminded_at;
};

static inline uint32_t watcher_job_set(enum watcher_job job)
{
    static const uint32_t sets[JOB_COUNT] = { [JOB_DOMAINS] = IDENTITY_CHECK_DOMAINS,
        [JOB_LISTS] = IDENTITY_CHECK_LISTS,
        [JOB_OWN] = IDENTITY_CHECK_OWN,
        [JOB_EXPIRY] = IDENTITY_CHECK_EXPIRY,
        [JOB_ROTATE] = IDENTITY_CHECK_ROTATE,
        [JOB_FLATTEN] = IDENTITY_CHECK_FLATTEN };
    return sets[job];
}

/* Begins a run; NULL: it could not be begun, said in the log (and why). */
struct watch_run *watcher_run(struct watcher *watcher, enum watcher_job job, struct str domain,
        bool is_scheduled, struct why *why);

void watcher_run_free(struct watch_run *run, bool handles_closed);
void watcher_notice_sent(void *ctx, uint32_t route, bool is_good, struct str why);
void watcher_command_ended(void *ctx); /* the starter says something */
void *watcher_thread(void *ctx);

/* watcher_ask.c */
void watcher_take_ask(struct watcher *watcher, struct watcher_ask *ask); /* taken */
void watcher_answer_run(
        struct watcher *watcher, struct watch_run *run); /* those that wait for it */
void watcher_drop_asks(struct watch_run *run);
void watcher_refuse_asks(struct watcher *watcher); /* all that wait */
uint32_t watcher_to_do_count(struct watcher *watcher, struct str domain);

#endif
