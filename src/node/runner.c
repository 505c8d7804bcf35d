/* SPDX-License-Identifier: Apache-2.0
 *
 * runner.c - a thread an owner, over the real net and clock; started together, ended in order.
 *
 * The end follows the way of an outcome: loops cut what still runs and report it, workers and the
 * scheduler turn that into records, the keeper writes them, the scribe tells their story. An owner
 * is ended only when nobody before it can send it anything more, and it empties its box first.
 */
#include "node/runner_priv.h"

#include "core/str.h"
#include "core/time.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum {
    RUNNER_THREAD_COUNT_MAX = NODE_LOOP_COUNT_MAX + NODE_WORKER_COUNT_MAX + 3,
    RUNNER_STACK_BYTES =
            512 << 10, /* frames are at most 16 KiB; SQLite and OpenSSL need less than 100 */
    RUNNER_WAIT_MS_MAX = 60000,
    RUNNER_DRY_MS_MAX = 5000, /* for an owner's last turns */
    RUNNER_SETTLE_MS = 100    /* keeper and scribe: what is due this soon is waited for, not left */
};

struct owner_thread {
    struct runner *runner;
    uint32_t index;
    struct node_owner owner;
    struct net *net; /* of a loop */
    pthread_t thread;
    bool is_started;
    _Atomic bool is_ending;
};

struct runner {
    struct node *node;
    struct owner_thread thread[RUNNER_THREAD_COUNT_MAX];
    uint32_t count;
};

static struct mono turn(struct owner_thread *thread)
{
    return node_owner_turn(thread->runner->node, thread->index, clock_mono(clock_real()));
}

/* One that waits at its box: whom it wrote to is woken once a turn, not once a letter. */
static struct mono turn_and_wake(struct owner_thread *thread)
{
    struct mono due = turn(thread);
    mailbox_flush();
    return due;
}

/* ---- loops: their turns are called by the net ---- */

static void wake_loop(void *ctx)
{
    net_wake_real(ctx);
}

static void loop_turn(void *ctx)
{
    struct owner_thread *thread = ctx;
    if (atomic_load(&thread->is_ending)) {
        node_owner_end(thread->runner->node, thread->index, clock_mono(clock_real()));
        mailbox_flush();
        net_stop_real(thread->net);
        return;
    }
    struct mono due = turn(thread);
    thread->net->ops->timer(thread->net, due, loop_turn, thread);
}

static void *loop_run(void *ctx)
{
    struct owner_thread *thread = ctx;
    mailbox_defer(); /* the net flushes at the end of each of its rounds */
    loop_turn(thread);
    net_run_real(thread->net, loop_turn, thread);
    return NULL;
}

/* ---- the others wait at their box ---- */

static uint64_t wait_ms(struct mono due)
{
    struct mono now = clock_mono(clock_real());
    if (due.ms == 0) {
        return RUNNER_WAIT_MS_MAX;
    }
    return due.ms > now.ms ? (uint64_t)(due.ms - now.ms) : 0;
}

/* Last turns, until the box is empty and nothing is due soon. */
static void run_dry(struct owner_thread *thread)
{
    bool is_writer = thread->owner.role == NODE_KEEPER || thread->owner.role == NODE_SCRIBE;
    uint64_t soon_ms = is_writer ? RUNNER_SETTLE_MS : 0;
    struct mono end = mono_after(clock_mono(clock_real()), RUNNER_DRY_MS_MAX);
    for (;;) {
        uint64_t left_ms = wait_ms(turn_and_wake(thread));
        bool is_dry = mailbox_count(thread->owner.box) == 0 && left_ms > soon_ms;
        if (is_dry || mono_is_due(end, clock_mono(clock_real()))) {
            break;
        }
        if (left_ms > 0 && left_ms <= soon_ms && mailbox_count(thread->owner.box) == 0) {
            usleep((useconds_t)left_ms * 1000);
        }
    }
    node_owner_end(thread->runner->node, thread->index, clock_mono(clock_real()));
    mailbox_flush();
}

static void *owner_run(void *ctx)
{
    struct owner_thread *thread = ctx;
    mailbox_defer();
    while (!atomic_load(&thread->is_ending)) {
        uint64_t left_ms = wait_ms(turn_and_wake(thread));
        if (left_ms > 0) {
            mailbox_wait(thread->owner.box, left_ms);
        }
    }
    run_dry(thread);
    return NULL;
}

/* ---- starting and ending ---- */

static enum err thread_start(struct owner_thread *thread, struct why *why)
{
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0) {
        why_set(why, "out of memory");
        return E_NOMEM;
    }
    int failed = pthread_attr_setstacksize(&attr, RUNNER_STACK_BYTES);
    if (failed == 0) {
        bool is_loop = thread->owner.role == NODE_LOOP;
        failed = pthread_create(&thread->thread, &attr, is_loop ? loop_run : owner_run, thread);
    }
    pthread_attr_destroy(&attr);
    if (failed) {
        why_set(why,
                "no thread for the %s: %s; raise the limit of processes (ulimit -u, TasksMax=)",
                thread->owner.name, strerror(failed));
        return E_IO;
    }
    thread->is_started = true;
    pthread_setname_np(thread->thread, thread->owner.name);
    return OK;
}

enum err runner_start(
        struct node *node, struct net *const *nets, struct runner **ret_runner, struct why *why)
{
    struct runner *runner = mem_new(sizeof *runner);
    if (runner == NULL) {
        why_set(why, "out of memory");
        return E_NOMEM;
    }
    runner->node = node;
    runner->count = node_owner_count(node);
    ASSERT(runner->count <= RUNNER_THREAD_COUNT_MAX);
    for (uint32_t i = 0; i < runner->count; i++) {
        struct owner_thread *thread = &runner->thread[i];
        thread->runner = runner;
        thread->index = i;
        thread->owner = node_owner(node, i);
        if (thread->owner.role == NODE_LOOP) {
            thread->net = nets[i];
            thread->owner.box->wake = wake_loop; /* before the first thread: nobody reads it yet */
            thread->owner.box->wake_ctx = nets[i];
        }
    }
    enum err err = OK;
    for (uint32_t i = 0; err == OK && i < runner->count; i++) {
        err = thread_start(&runner->thread[i], why);
    }
    if (err != OK) {
        node_stop(node);
        runner_end(runner);
        return err;
    }
    *ret_runner = runner;
    return OK;
}

static void end_role(struct runner *runner, enum node_role role)
{
    for (uint32_t i = 0; i < runner->count; i++) {
        struct owner_thread *thread = &runner->thread[i];
        if (!thread->is_started || thread->owner.role != role) {
            continue;
        }
        atomic_store(&thread->is_ending, true);
        if (role == NODE_LOOP) {
            net_wake_real(thread->net);
        } else {
            mailbox_close(thread->owner.box);
        }
    }
    for (uint32_t i = 0; i < runner->count; i++) {
        struct owner_thread *thread = &runner->thread[i];
        if (thread->is_started && thread->owner.role == role) {
            pthread_join(thread->thread, NULL);
        }
    }
}

void runner_end(struct runner *runner)
{
    static const enum node_role order[] = { NODE_LOOP, NODE_WORKER, NODE_SCHEDULER, NODE_KEEPER,
        NODE_SCRIBE };
    if (runner == NULL) {
        return;
    }
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        end_role(runner, order[i]);
    }
    mem_free(runner);
}
