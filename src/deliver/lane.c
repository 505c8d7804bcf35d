/* SPDX-License-Identifier: Apache-2.0
 *
 * lane.c - one lane on this loop: tasks in line, connections that serve them.
 *
 * Idle connections take tasks first, then new ones are opened as far as the configuration allows.
 * How fast a lane may go is the scheduler's business; pacing by provider would stand in
 * lane_may_grow.
 */
#include "core/time.h"
#include "deliver/deliver_priv.h"

static struct task *task_at(struct list *item)
{
    return CONTAINER_OF(item, struct task, item);
}

static struct conn *idle_at(struct list *item)
{
    return CONTAINER_OF(item, struct conn, idle);
}

enum err lane_of(struct deliver *deliver, uint32_t lane_id, struct lane **ret_lane)
{
    uint64_t value;
    if (map_get(&deliver->lanes, lane_id, &value)) {
        *ret_lane = (struct lane *)(uintptr_t)value; /* as stored below */
        return OK;
    }
    struct lane *lane = mem_new(sizeof *lane);
    if (!lane) {
        return E_NOMEM;
    }
    if (map_set(&deliver->lanes, lane_id, (uint64_t)(uintptr_t)lane) != OK) {
        mem_free(lane);
        return E_NOMEM;
    }
    lane->deliver = deliver;
    lane->id = lane_id;
    list_init(&lane->touched);
    list_init(&lane->starved);
    list_init(&lane->waiting);
    list_init(&lane->conns);
    list_init(&lane->idle);
    *ret_lane = lane;
    return OK;
}

void lane_free(struct lane *lane)
{
    ASSERT(lane->waiting_count == 0 && lane->conn_count == 0);
    map_del(&lane->deliver->lanes, lane->id);
    list_del(&lane->touched);
    list_del(&lane->starved);
    mem_free(lane);
}

void lane_touch(struct lane *lane)
{
    if (list_is_empty(&lane->touched)) {
        list_add_last(&lane->deliver->touched, &lane->touched);
    }
}

void lane_add_job(struct lane *lane, struct task *task)
{
    task->lane = lane;
    list_add_last(&lane->waiting, &task->item);
    lane->waiting_count++;
    lane_touch(lane);
}

void lane_put_back(struct lane *lane, struct task *task)
{
    list_add_first(&lane->waiting, &task->item);
    lane->waiting_count++;
    lane_touch(lane);
}

static void lane_remove(struct lane *lane, struct task *task)
{
    list_del(&task->item);
    lane->waiting_count--;
}

struct task *lane_take(struct lane *lane, const struct conn *conn)
{
    if (list_is_empty(&lane->waiting) || !conn_fits(conn, task_at(lane->waiting.next))) {
        return NULL;
    }
    struct task *task = task_at(lane->waiting.next);
    lane_remove(lane, task);
    return task;
}

/* Idle connections that nobody in line can use: other addresses, policy or source by now. */
static void lane_serve_idle(struct lane *lane, struct mono now)
{
    while (lane->waiting_count > 0 && !list_is_empty(&lane->idle)) {
        struct conn *conn = idle_at(lane->idle.next);
        list_del(&conn->idle);
        if (conn_fits(conn, task_at(lane->waiting.next))) {
            conn_serve(conn, now);
        } else {
            conn_quit(conn, now);
        }
    }
}

static bool lane_may_grow(struct lane *lane, struct mono now)
{
    struct deliver *deliver = lane->deliver;
    if (lane->waiting_count <= lane->opening_count || deliver->is_stopping) {
        return false;
    }
    if (deliver->conn_count >= DELIVER_CONNECTION_COUNT_MAX) {
        if (list_is_empty(&lane->starved)) {
            list_add_last(&deliver->starved, &lane->starved);
        }
        return false;
    }
    if (lane->conn_count == 0) {
        return true;
    }
    uint32_t limit = task_at(lane->waiting.next)->job->config->site_connection_max;
    return lane->conn_count < limit &&
           (lane->grow_after.ms == 0 || mono_is_due(lane->grow_after, now));
}

static void lane_fail_waiting(
        struct lane *lane, const struct fate *fate, const struct task_scene *scene)
{
    while (!list_is_empty(&lane->waiting)) {
        struct task *task = task_at(lane->waiting.next);
        lane_remove(lane, task);
        task_report(task, RCPT_WAITING, RCPT_ACCEPTED, fate, scene);
        task_free(task);
    }
}

void lane_conn_failed(struct lane *lane, struct conn *conn)
{
    struct mono now = clock_mono(lane->deliver->clock);
    if (lane->conn_count > 0) { /* those that live serve on; a peer with a limit is not pestered */
        lane->grow_after = mono_after(now, DELIVER_GROW_HOLD_MS);
        lane_touch(lane);
        return;
    }
    struct task_scene scene = conn_scene(conn, 0, now);
    lane_fail_waiting(lane, &conn->failure, &scene);
    lane_touch(lane);
}

static void lane_grow(struct lane *lane, struct mono now)
{
    while (lane_may_grow(lane, now)) {
        if (conn_open(lane, task_at(lane->waiting.next)) == OK) {
            continue; /* also when it failed at once: then nobody waits, or grow_after is set */
        }
        if (lane->conn_count == 0) {
            struct fate fate = fate_own(SPOOL_RESULT_DEFERRED, QUEUE_SESSION, "4.3.0",
                    STR("out of memory for a connection"));
            lane_fail_waiting(lane, &fate, NULL);
        }
        return;
    }
}

void lane_settle(struct lane *lane, struct mono now)
{
    list_del(&lane->touched);
    lane_serve_idle(lane, now);
    lane_grow(lane, now);
    if (lane->waiting_count == 0 && lane->conn_count == 0) {
        lane_free(lane);
    }
}

void lane_stop(struct lane *lane)
{
    struct mono now = clock_mono(lane->deliver->clock);
    while (!list_is_empty(&lane->waiting)) {
        struct task *task = task_at(lane->waiting.next);
        lane_remove(lane, task);
        task_give_back(task, STR("Outpost is stopping"));
        task_free(task);
    }
    struct list *at = lane->conns.next;
    while (at != &lane->conns) {
        struct conn *conn = CONTAINER_OF(at, struct conn, item);
        at = at->next;
        if (!conn->task[0]) {
            conn_quit(conn, now);
        }
    }
    lane_touch(lane);
}
