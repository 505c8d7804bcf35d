/* SPDX-License-Identifier: Apache-2.0
 *
 * loop.c - a session loop as an owner: its sessions in, its connections out, and on the first loop
 * the router and the sandbox's catcher. Letters are told apart by their kind alone.
 */
#include "node/addresses_priv.h"
#include "node/node_priv.h"

/* Even with nothing to do a loop looks at its deadlines this often: an event between two turns may
 * have set one that is earlier than the turn could know. */
enum { LOOP_TICK_MS = 1000, LOOP_STOPPING_TICK_MS = 50 };

static enum err loop_open_ways(struct node_loop *loop, uint32_t index)
{
    struct node *node = loop->node;
    struct submit_ports in = {
        .self = &loop->box,
        .keeper = keeper_mailbox(node->keeper),
        .workers = &node->worker[index % node->worker_count].box,
        .auth_kind = NODE_WORK_AUTH,
    };
    enum err err = submit_new(loop->net, node->edge.clock, node->edge.entropy, node->log,
            node->shared, &node->budget, node->config, &in, &loop->submit);
    if (err != OK) {
        return err;
    }
    struct deliver_ports out = {
        .self = &loop->box,
        .keeper = keeper_mailbox(node->keeper),
        .queue = queue_mailbox(node->queue),
        .is_own_address = node->edge.is_own_address,
    };
    return deliver_new(loop->net, node->edge.clock, node->log, node->client_tls,
            entropy_u64(node->edge.entropy), &out, &loop->deliver);
}

enum err node_loop_open(struct node *node, uint32_t index, struct why *why)
{
    struct node_loop *loop = &node->loop[index];
    loop->node = node;
    loop->net = node->edge.net[index];
    mailbox_init(&loop->box, 1 << 16, NULL, NULL);
    enum err err = loop_open_ways(loop, index);
    if (err != OK) {
        why_set(why, "a session loop could not be set up (%s)", err_name(err));
        return err;
    }
    if (index != 0) {
        return OK;
    }
    struct router_ports ports = { queue_mailbox(node->queue), node->edge.is_own_address };
    err = router_new(node->edge.dns, node->edge.clock, node->log, &ports,
            entropy_u64(node->edge.entropy), &loop->router);
    err = err == OK ? node_asker_new(node, &loop->asker) : err;
    if (err != OK || node->edge.sandbox == NULL) {
        return err;
    }
    return catcher_new(loop->net, node->edge.clock, node->log, node->edge.sandbox,
            &node->config->sandbox_catcher, &loop->catcher, why);
}

static void loop_config(struct node_loop *loop, struct config *config)
{
    struct why why;
    submit_config(loop->submit, config);
    enum err err = submit_listen(loop->submit, loop->node->loop_count > 1, &why);
    if (err != OK) {
        log_error(loop->node->log, "loop", "after reload: %s", why.text);
    }
}

/* The spool's state reaches sessions here: while it refuses, MAIL is answered 452. */
static void loop_refuse(struct node_loop *loop)
{
    bool is_refusing = atomic_load(&loop->node->is_refusing);
    if (is_refusing != loop->is_refusing) {
        loop->is_refusing = is_refusing;
        submit_refuse(loop->submit, is_refusing);
    }
}

static void loop_stop(struct node_loop *loop)
{
    loop->is_stopping = true;
    submit_stop(loop->submit);
    deliver_stop(loop->deliver);
}

static void loop_letter(struct node_loop *loop, struct letter *letter, struct mono now)
{
    switch (letter->kind) {
    case NODE_LOOP_CONFIG: {
        struct node_config_letter *news = CONTAINER_OF(letter, struct node_config_letter, letter);
        loop_config(loop, news->config);
        config_give(news->config);
        mem_free(news);
        break;
    }
    case NODE_LOOP_STOP:
        loop_stop(loop);
        mem_free(letter);
        break;
    case NODE_LOOP_ADDRESSES:
        node_asker_letter(loop->asker, letter);
        break;
    case DELIVER_WANT_SITE:
        router_letter(loop->router, letter, now);
        break;
    default:
        if (letter->kind >= DELIVER_JOB) {
            deliver_letter(loop->deliver, letter, now);
        } else {
            submit_letter(loop->submit, letter, now);
        }
    }
}

struct mono node_loop_turn(struct node_loop *loop, struct mono now)
{
    struct letter *letter = mailbox_take_all(&loop->box);
    while (letter) {
        struct letter *next = letter->next;
        loop_letter(loop, letter, now);
        letter = next;
    }
    loop_refuse(loop);
    /* the last session may end between two turns: who waits for the stop learns it soon */
    struct mono due = mono_after(now, loop->is_stopping ? LOOP_STOPPING_TICK_MS : LOOP_TICK_MS);
    due = mono_first(due, submit_turn(loop->submit, now));
    due = mono_first(due, deliver_turn(loop->deliver, now));
    if (loop->router) {
        due = mono_first(due, router_turn(loop->router, now));
        due = mono_first(due, node_asker_turn(loop->asker));
    }
    if (loop->catcher) {
        due = mono_first(due, catcher_turn(loop->catcher, now));
    }
    atomic_store(&loop->is_idle,
            loop->is_stopping && submit_is_idle(loop->submit) && deliver_is_idle(loop->deliver));
    return due;
}

void node_loop_end(struct node_loop *loop)
{
    deliver_free(loop->deliver);
    submit_free(loop->submit);
    loop->deliver = NULL;
    loop->submit = NULL;
}

/* An answer for somebody who is gone, or work that nobody will do. */
static void letter_drop(struct letter *letter)
{
    switch (letter->kind) {
    case NODE_LOOP_CONFIG:
        config_give(CONTAINER_OF(letter, struct node_config_letter, letter)->config);
        break;
    case DELIVER_WANT_SITE:
        config_give(CONTAINER_OF(letter, struct deliver_want_site, letter)->config);
        break;
    case DELIVER_JOB:
        queue_job_free(CONTAINER_OF(letter, struct queue_job, letter));
        return;
    case SUBMIT_KEPT:
        keeper_accept_free(CONTAINER_OF(letter, struct keeper_accept, letter));
        return;
    case SUBMIT_STORED:
        blob_give(CONTAINER_OF(letter, struct keeper_body, letter)->chunk);
        break;
    case SUBMIT_VERIFIED:
        submit_auth_free(CONTAINER_OF(letter, struct submit_auth, letter));
        return;
    default: /* NODE_LOOP_STOP, DELIVER_TICK, DELIVER_ATTEMPT_WRITTEN: nothing hangs on them */
        break;
    }
    mem_free(letter);
}

void node_loop_close(struct node_loop *loop)
{
    if (loop->node == NULL) {
        return;
    }
    node_loop_end(loop);
    catcher_free(loop->catcher);
    router_free(loop->router);
    node_asker_free(loop->asker);
    mailbox_close(&loop->box);
    struct letter *letter = mailbox_take_all(&loop->box);
    while (letter) {
        struct letter *next = letter->next;
        letter_drop(letter);
        letter = next;
    }
    mailbox_done(&loop->box);
}
