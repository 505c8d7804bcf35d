/* SPDX-License-Identifier: Apache-2.0
 *
 * watcher_open.c - the watcher's beginning and end: what it stands on is opened on the main thread
 * before others run; its box outlives all who may write to it.
 */
#include "node/watcher_in_priv.h"

#include "edge/dns_direct.h"
#include "edge/http.h"

enum {
    LETTER_COUNT_MAX = 1024,
    REFUSED_COUNT_MAX = 64, /* waiting to be looked at; others of a storm say the same */
    STACK_BYTES = 1 << 20
};

static enum err open_handles(struct watcher *watcher, struct why *why)
{
    const struct config *config = watcher->config;
    char anchor[PATH_MAX];
    bool has_anchor = str_to_c(config->trust_anchor, anchor, sizeof anchor) && anchor[0] != '\0';
    bool has_ca = str_to_c(config->ca_file, watcher->ca_path, sizeof watcher->ca_path) &&
                  watcher->ca_path[0] != '\0';
    enum err err = net_open_real(watcher->clock, &watcher->net, why);
    if (err == OK) {
        err = dns_open_real(
                watcher->net, config->resolver, has_anchor ? anchor : NULL, &watcher->dns, why);
    }
    if (err == OK) {
        err = dns_direct_open(watcher->net, entropy_real(), &watcher->direct, why);
    }
    if (err == OK) {
        err = http_open(watcher->net, has_ca ? watcher->ca_path : NULL, &watcher->http, why);
    }
    if (err == OK && watcher->starter != NULL) {
        err = net_watch_fd_real(
                watcher->net, starter_fd(watcher->starter), watcher_command_ended, watcher);
    }
    return err;
}

static void set_paths(struct watcher *watcher)
{
    struct str dir = watcher->config->data_dir;
    fmt(watcher->state_path, sizeof watcher->state_path, "%.*s/identity/state.json", STR_ARG(dir));
    fmt(watcher->passed_path, sizeof watcher->passed_path, "%.*s/identity/checks.json",
            STR_ARG(dir));
    fmt(watcher->ticks_path, sizeof watcher->ticks_path, "%.*s/identity/checklist.json",
            STR_ARG(dir));
}

static enum err open_memory(struct watcher *watcher, struct why *why)
{
    enum err err = identity_watch_open(str_from_c(watcher->state_path), &watcher->watch, why);
    if (err == E_SYNTAX) {
        log_warn(watcher->node->log, "watch", "%s", why->text);
        err = OK;
    }
    return err == OK ? identity_alerts_open(&watcher->alerts) : err;
}

static void wake(void *ctx)
{
    net_wake_real(ctx);
}

enum err watcher_open(
        struct node *node, struct starter *starter, struct watcher **ret_watcher, struct why *why)
{
    struct watcher *watcher = mem_new(sizeof *watcher);
    if (watcher == NULL) {
        return E_NOMEM;
    }
    watcher->node = node;
    watcher->starter = starter;
    watcher->clock = clock_real();
    watcher->config = node_config(node);
    list_init(&watcher->runs);
    prng_init(&watcher->prng, entropy_u64(entropy_real()));
    set_paths(watcher);
    enum err err = open_memory(watcher, why);
    if (err == OK) {
        err = open_handles(watcher, why);
    }
    watcher->post = (struct watcher_post){
        .http = watcher->http, .starter = starter, .sent = watcher_notice_sent, .ctx = watcher
    };
    mailbox_init(&watcher->box, LETTER_COUNT_MAX, wake, watcher->net);
    if (err != OK) {
        watcher_free(watcher);
        return err;
    }
    *ret_watcher = watcher;
    return OK;
}

enum err watcher_start(struct watcher *watcher, struct why *why)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int number = pthread_create(&watcher->thread, &attr, watcher_thread, watcher);
    pthread_attr_destroy(&attr);
    if (number != 0) {
        why_set(why, "no thread for the watcher: %s", strerror(number));
        return E_IO;
    }
    watcher->is_started = true;
    pthread_setname_np(watcher->thread, "watcher");
    return OK;
}

void watcher_refuse(struct watcher *watcher)
{
    if (watcher != NULL && watcher->is_started) {
        atomic_store(&watcher->is_refusing, true);
        net_wake_real(watcher->net);
    }
}

void watcher_stop(struct watcher *watcher)
{
    if (watcher == NULL || !watcher->is_started) {
        return;
    }
    mailbox_close(&watcher->box);
    atomic_store(&watcher->is_refusing, true);
    atomic_store(&watcher->is_ending, true);
    net_wake_real(watcher->net);
    pthread_join(watcher->thread, NULL);
    watcher_setup_free(
            watcher->setup); /* before the node's parts, which a reload of it writes to */
    watcher->setup = NULL;
    watcher->is_started = false;
}

static void drop_letters(struct watcher *watcher)
{
    struct letter *letter = mailbox_take_all(&watcher->box);
    while (letter) {
        struct letter *next = letter->next;
        if (letter->kind == WATCHER_CONFIG) {
            config_give(CONTAINER_OF(letter, struct node_config_letter, letter)->config);
        }
        if (letter->kind == WATCHER_ASK) {
            watcher_ask_free(CONTAINER_OF(letter, struct watcher_ask, letter));
        } else {
            mem_free(letter);
        }
        letter = next;
    }
}

static void close_handles(struct watcher *watcher)
{
    if (watcher->dns != NULL) {
        watcher->dns->ops->close(watcher->dns);
    }
    dns_direct_close(watcher->direct);
    http_close(watcher->http);
    watcher_own_free(watcher->own);
    watcher_setup_free(watcher->setup);
    while (!list_is_empty(&watcher->runs)) {
        struct watch_run *run = CONTAINER_OF(watcher->runs.next, struct watch_run, link);
        watcher_drop_asks(run);
        watcher_run_free(run, true);
    }
    if (watcher->net != NULL && watcher->starter != NULL) {
        net_unwatch_fd_real(watcher->net, starter_fd(watcher->starter));
    }
    net_free_real(watcher->net);
}

void watcher_free(struct watcher *watcher)
{
    if (watcher == NULL) {
        return;
    }
    watcher_stop(watcher);
    close_handles(watcher);
    mailbox_close(&watcher->box);
    drop_letters(watcher);
    mailbox_done(&watcher->box);
    identity_alerts_close(watcher->alerts);
    identity_watch_close(watcher->watch);
    config_give(watcher->config);
    mem_free(watcher);
}

struct mailbox *watcher_mailbox(struct watcher *watcher)
{
    return &watcher->box;
}

void watcher_refused(struct watcher *watcher, struct str text)
{
    bool is_wanted = atomic_load(&watcher->wants_refusals) &&
                     atomic_load(&watcher->refused_count) < REFUSED_COUNT_MAX;
    struct watcher_refused *news = is_wanted ? mem_new(sizeof *news) : NULL;
    if (news == NULL) {
        return;
    }
    atomic_fetch_add(&watcher->refused_count, 1);
    news->letter.kind = WATCHER_REFUSED;
    struct str escaped = str_escape(text, news->text, sizeof news->text - 1);
    news->text[escaped.len] = '\0';
    if (mailbox_send(&watcher->box, &news->letter) != OK) {
        atomic_fetch_sub(&watcher->refused_count, 1);
        mem_free(news); /* it has enough to do, or has ended */
    }
}
