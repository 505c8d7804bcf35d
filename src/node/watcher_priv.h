/* SPDX-License-Identifier: Apache-2.0
 *
 * watcher_priv.h - the watcher: an owner with a thread, a loop and a resolver of its own, so that
 * what it waits for holds up nobody. It makes the checks of room `identity` on a schedule, keeps
 * what they said, and tells what changed. There is none in a sandbox and in simulations.
 */
#ifndef OUTPOST_NODE_WATCHER_PRIV_H
#define OUTPOST_NODE_WATCHER_PRIV_H

#include "core/list.h"
#include "identity/identity.h"
#include "node/node_priv.h"
#include "node/starter_priv.h"

#include <jansson.h>

enum watcher_letter {
    WATCHER_CONFIG = 0x600, /* struct node_config_letter */
    WATCHER_ASK,            /* struct watcher_ask */
    WATCHER_REFUSED         /* struct watcher_refused */
};
enum watcher_ask_kind {
    WATCHER_DOMAINS,
    WATCHER_CHECKS, /* of domain `name`; is_fresh: not those of a moment ago */
    WATCHER_SOURCES,
    WATCHER_EVENTS, /* count */
    WATCHER_ALERTS,
    WATCHER_MUTE,      /* ms (0: not any more), text: the reason */
    WATCHER_TEST,      /* alert route `name` */
    WATCHER_CHECKLIST, /* of domain `name` ("" = all), is_bulk */
    WATCHER_TICK       /* item `item` of domain `name` by author; text: a note; is_undone */
};
struct watcher_ask {
    struct letter letter;
    struct mailbox *reply_box;
    uint32_t reply_kind;
    enum watcher_ask_kind kind;
    bool is_fresh, is_bulk, is_undone;
    uint32_t count;
    uint64_t ms;
    char name[DNS_NAME_CAP], item[64], author[64], text[WHY_BYTES_MAX];
    struct list link; /* while it waits for a run */
    uint16_t status;  /* the answer */
    json_t *json;
};
void watcher_ask_free(struct watcher_ask *ask);

struct watcher_refused {
    struct letter letter;
    char text[400];
};

struct watcher;
/* On the main thread, before there are others. starter may be NULL: no commands. E_IO, E_NOMEM. */
MUST_USE enum err watcher_open(
        struct node *node, struct starter *starter, struct watcher **ret_watcher, struct why *why);
MUST_USE enum err watcher_start(struct watcher *watcher, struct why *why);
/* The node stops: who waits for checks is told so at once. Any thread; NULL is fine. */
void watcher_refuse(struct watcher *watcher);
/* Ends the thread; what it knows is kept. Letters are refused from then on. NULL is fine. */
void watcher_stop(struct watcher *watcher);
void watcher_free(struct watcher *watcher); /* after all threads that may write to it */

struct mailbox *watcher_mailbox(struct watcher *watcher);
/* A reply that refuses (4xx, 5xx); any thread, cheap, and dropped where there were many. */
void watcher_refused(struct watcher *watcher, struct str text);

/* ---- watcher_send.c: how a notice leaves ---- */

/* Begins; sent comes later, or from within the call. */
struct watcher_post {
    struct http *http;
    struct starter *starter; /* NULL: no commands */
    void (*sent)(void *ctx, uint32_t route, bool is_good, struct str why);
    void *ctx;
    struct watcher_sending {
        struct watcher_post *post;
        uint32_t route;
    } sending[CONFIG_ALERT_COUNT_MAX]; /* one a route is under way at most */
};
void watcher_send(struct watcher_post *post, uint32_t route, const struct identity_notice *notice);
/* Hands out what the starter says. */
void watcher_send_results(const struct watcher_post *post);

/* ---- watcher_own.c: what is watched beside domains and lists ---- */

struct watcher_own; /* one round of it */
struct watcher_own_conf {
    struct net *net;
    struct dns *dns;
    struct http *http;
    struct clock *clock;
    struct config *config; /* counted by the round */
    bool is_expiry;        /* only when domains expire (RDAP) */
    void (*done)(void *ctx, const struct identity_result *const *result, uint32_t result_count);
    void *ctx;
};
/* done comes once, not from within the call, unless closed. E_NOMEM. */
MUST_USE enum err watcher_own_begin(
        const struct watcher_own_conf *conf, struct watcher_own **ret_own);
struct mono watcher_own_tick(struct watcher_own *own);
/* After dns and http are closed, or after done. */
void watcher_own_free(struct watcher_own *own);

/* ---- watcher_setup.c: what set-up left to be done by itself ---- */

struct watcher_setup; /* one round of it, on a thread of its own, as it blocks */
struct watcher_setup_conf {
    struct node *node;
    struct net *net; /* woken when it is done */
    struct clock *clock;
    struct config *config;         /* counted by the round */
    const _Atomic bool *is_ending; /* once true, it ends soon */
    bool is_flatten;               /* flattened SPF records are looked at; else keys rotate */
};
/* E_NOMEM, E_IO: no thread. */
MUST_USE enum err watcher_setup_begin(
        const struct watcher_setup_conf *conf, struct watcher_setup **ret_setup);
/* The results, once it is done; NULL until then. They live until free. */
const struct identity_result *const *watcher_setup_results(
        const struct watcher_setup *setup, uint32_t *ret_count);
void watcher_setup_free(struct watcher_setup *setup); /* waits for the thread; NULL is fine */

#endif
