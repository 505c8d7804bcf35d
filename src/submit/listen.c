/* SPDX-License-Identifier: Apache-2.0
 *
 * listen.c - the addresses we listen on, and what each tells its sessions.
 *
 * A reload gives each open address a new door; sessions keep talking by the door they came through,
 * and are judged by the newest one.
 */
#include "core/str.h"
#include "submit/submit_priv.h"

/* ---- doors --------------------------------------------------------------------------------- */

static struct smtp_server_conf conf_for(
        const struct config *config, const struct config_listen *listen, int kind)
{
    bool is_network = kind & DOOR_NETWORK;
    bool is_clear_fine = (kind & DOOR_LOOPBACK) && listen->is_auth_in_clear;
    bool has_tls = listen->tls == CONFIG_TLS_STARTTLS && listen->tls_context;
    return (struct smtp_server_conf){
        .hostname = config->hostname,
        .auth_mechanisms = listen->auth == CONFIG_AUTH_NONE ? STR("") : STR(SASL_MECHANISMS),
        .size_max_bytes = config->message_bytes_max,
        .rcpt_count_max = config->rcpt_count_max,
        .offers_tls = has_tls,
        .requires_tls = has_tls && listen->is_tls_required && !is_clear_fine,
        .requires_auth = listen->auth == CONFIG_AUTH_REQUIRED && !is_network,
        .allows_auth_in_clear = is_clear_fine,
    };
}

static struct door *door_new(struct config *config, const struct config_listen *listen)
{
    struct door *door = mem_new(sizeof *door);
    if (!door) {
        return NULL;
    }
    door->ref_count = 1;
    door->config = config_take(config);
    door->listen = listen;
    for (int kind = 0; kind < (int)COUNT_OF(door->conf); kind++) {
        door->conf[kind] = conf_for(config, listen, kind);
    }
    return door;
}

struct door *door_take(struct door *door)
{
    door->ref_count++;
    return door;
}

void door_give(struct door *door)
{
    ASSERT(door->ref_count > 0);
    if (--door->ref_count == 0) {
        config_give(door->config);
        mem_free(door);
    }
}

bool door_has_network(const struct door *door, struct ip ip)
{
    for (uint32_t i = 0; i < door->listen->network_count; i++) {
        if (ip_in(ip, &door->listen->network[i])) {
            return true;
        }
    }
    return false; /* an empty list trusts nobody (hostile-input B2) */
}

/* ---- listeners ----------------------------------------------------------------------------- */

void listener_give(struct listener *listener)
{
    ASSERT(listener->ref_count > 0);
    if (--listener->ref_count == 0) {
        ASSERT(!listener->net_listener);
        list_del(&listener->link);
        door_give(listener->door);
        mem_free(listener);
    }
}

static void listener_close(struct listener *listener)
{
    if (listener->net_listener) {
        listener->submit->net->ops->unlisten(listener->net_listener);
        listener->net_listener = NULL;
        listener_give(listener); /* the one that open holds */
    }
}

static bool is_same_at(const struct ip_port *a, const struct ip_port *b)
{
    return a->port == b->port && ip_eq(a->ip, b->ip);
}

static struct listener *find_listener(struct submit *submit, const struct ip_port *at)
{
    for (struct list *link = submit->listeners.next; link != &submit->listeners;
            link = link->next) {
        struct listener *listener = CONTAINER_OF(link, struct listener, link);
        if (listener->net_listener && is_same_at(&listener->at, at)) {
            return listener;
        }
    }
    return NULL;
}

/* A new door for an address that stays; without memory the old one goes on. */
static void renew_door(struct listener *listener, const struct config_listen *listen)
{
    struct door *door = door_new(listener->submit->config, listen);
    listener->is_wanted = true;
    if (door) {
        door_give(listener->door);
        listener->door = door;
    } else {
        log_warn(listener->submit->log, "submit",
                "out of memory: a listener keeps its old settings");
    }
}

void listeners_update(struct submit *submit)
{
    struct list *link;
    for (link = submit->listeners.next; link != &submit->listeners; link = link->next) {
        CONTAINER_OF(link, struct listener, link)->is_wanted = false;
    }
    for (uint32_t i = 0; i < submit->config->listen_count; i++) {
        const struct config_listen *listen = &submit->config->listen[i];
        for (uint32_t a = 0; a < listen->address_count; a++) {
            struct listener *listener = find_listener(submit, &listen->address[a]);
            if (listener) {
                renew_door(listener, listen);
            }
        }
    }
}

static void on_accepted(void *ctx, struct net_conn *conn)
{
    struct listener *listener = ctx;
    listener->submit->now = clock_mono(listener->submit->clock);
    session_accept(listener, conn);
}

static enum err listener_open(struct submit *submit, const struct config_listen *listen,
        const struct ip_port *at, bool is_shared_port, struct why *why)
{
    struct listener *listener = mem_new(sizeof *listener);
    struct door *door = listener ? door_new(submit->config, listen) : NULL;
    enum err err = E_NOMEM;
    if (door) {
        listener->submit = submit;
        listener->at = *at;
        listener->door = door;
        listener->is_wanted = true;
        err = submit->net->ops->listen(submit->net, at, is_shared_port, on_accepted, listener,
                &listener->net_listener, why);
    } else {
        why_set(why, "out of memory");
    }
    if (err != OK) {
        if (door) {
            door_give(door);
        }
        mem_free(listener);
        return err;
    }
    listener->ref_count = 1;
    list_add_last(&submit->listeners, &listener->link);
    return OK;
}

static void close_unwanted(struct submit *submit)
{
    struct list *link = submit->listeners.next;
    while (link != &submit->listeners) {
        struct listener *listener = CONTAINER_OF(link, struct listener, link);
        link = link->next;
        if (!listener->is_wanted) {
            listener_close(listener);
        }
    }
}

/* Keeps the first reason that there was, with its address. */
static void open_missing(struct submit *submit, const struct config_listen *listen,
        bool is_shared_port, enum err *err, struct why *why)
{
    for (uint32_t i = 0; i < listen->address_count; i++) {
        struct why reason = { "" };
        if (find_listener(submit, &listen->address[i])) {
            continue;
        }
        enum err this_err =
                listener_open(submit, listen, &listen->address[i], is_shared_port, &reason);
        if (this_err != OK && *err == OK) {
            char text[IP_TEXT_CAP];
            struct str at = ip_port_format(listen->address[i], text);
            why_set(why, "listener \"%.*s\", %.*s: %s", STR_ARG(listen->name), STR_ARG(at),
                    reason.text[0] ? reason.text : err_name(this_err));
            *err = this_err;
        }
    }
}

enum err listeners_open(struct submit *submit, bool is_shared_port, struct why *why)
{
    enum err err = OK;
    close_unwanted(submit);
    for (uint32_t i = 0; i < submit->config->listen_count; i++) {
        open_missing(submit, &submit->config->listen[i], is_shared_port, &err, why);
    }
    return err;
}

void listeners_close(struct submit *submit)
{
    struct list *link = submit->listeners.next;
    while (link != &submit->listeners) {
        struct listener *listener = CONTAINER_OF(link, struct listener, link);
        link = link->next;
        listener->is_wanted = false;
        listener_close(listener);
    }
}
