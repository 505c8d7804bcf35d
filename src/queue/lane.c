/* SPDX-License-Identifier: Apache-2.0
 *
 * lane.c - lanes (stream × site × source): who waits there, and whose turn it is.
 *
 * A recipient comes into `ready`; a bounded number of them is moved ahead: to `go` where the bytes
 * are in memory, to `staged` while a worker reads or signs. Lanes with something to do stand in one
 * ring and start a job each in turn. A lane that cannot go on leaves the ring, and whatever holds
 * it up puts it back: an answer, the end of a job at its site, the end of its suspension.
 */
#include "queue/queue_priv.h"

/* ---- places ---- */

enum err place_take(struct queue *q, struct site *site, uint32_t *ret_place)
{
    uint64_t hash = str_hash(site->key, q->seed), found;
    for (uint32_t at = 0; map_walk_key(&q->place_map, hash, &at, &found);) {
        struct place *place = place_at(q, (uint32_t)found);
        if (str_eq(place->site->key, site->key)) {
            struct site *old = place->site;
            place->site = site_take(site); /* the newest addresses */
            site_give(old);
            place->refs++;
            *ret_place = (uint32_t)found;
            return OK;
        }
    }
    uint32_t number;
    enum err err = slab_take(&q->places, &number);
    if (err != OK) {
        return err;
    }
    err = map_add(&q->place_map, hash, number);
    if (err != OK) {
        slab_give(&q->places, number);
        return err;
    }
    struct place *place = place_at(q, number);
    *place = (struct place){ .site = site_take(site), .refs = 1 };
    *ret_place = number;
    return OK;
}

void place_give(struct queue *q, uint32_t number)
{
    struct place *place = place_at(q, number);
    ASSERT(place->refs > 0);
    if (--place->refs == 0) {
        bool was_there = map_del_value(&q->place_map, str_hash(place->site->key, q->seed), number);
        ASSERT(was_there);
        site_give(place->site);
        slab_give(&q->places, number);
    }
}

/* ---- gates ---- */

static uint64_t gate_key(uint32_t place, uint32_t source)
{
    return (uint64_t)place << 32 | source;
}

/* The gate with one more reference. */
static enum err gate_take(struct queue *q, uint32_t place, uint32_t source, uint32_t *ret_gate)
{
    uint64_t key = gate_key(place, source), found;
    if (map_get(&q->gate_map, key, &found)) {
        gate_at(q, (uint32_t)found)->refs++;
        *ret_gate = (uint32_t)found;
        return OK;
    }
    uint32_t number;
    enum err err = slab_take(&q->gates, &number);
    if (err != OK) {
        return err;
    }
    err = map_set(&q->gate_map, key, number);
    if (err != OK) {
        slab_give(&q->gates, number);
        return err;
    }
    struct gate *gate = gate_at(q, number);
    *gate = (struct gate){ .key = key, .refs = 1, .place = place, .source = source };
    list_init(&gate->blocked);
    place_at(q, place)->refs++;
    *ret_gate = number;
    return OK;
}

static void gate_give(struct queue *q, uint32_t number)
{
    struct gate *gate = gate_at(q, number);
    ASSERT(gate->refs > 0);
    if (--gate->refs == 0) {
        ASSERT(gate->job_count == 0 && list_is_empty(&gate->blocked));
        bool was_there = map_del(&q->gate_map, gate->key);
        ASSERT(was_there);
        place_give(q, gate->place);
        slab_give(&q->gates, number);
    }
}

/* ---- lanes by key; those without work are kept a while ---- */

static uint64_t lane_key(uint8_t stream, uint32_t gate)
{
    return (uint64_t)stream << 32 | gate;
}

static void lane_set_spot(struct lane *lane, enum lane_spot spot, struct list *list)
{
    if (lane->spot != LANE_OFF) {
        list_del(&lane->link);
    }
    lane->spot = (uint8_t)spot;
    if (list) {
        list_add_last(list, &lane->link);
    }
}

static uint32_t lane_number(const struct queue *q, const struct lane *lane)
{
    uint64_t number = NONE;
    bool was_there = map_get(&q->lane_map, lane->key, &number);
    ASSERT(was_there);
    return (uint32_t)number;
}

static void lane_idle_del(struct queue *q, struct lane *lane)
{
    ASSERT(lane->is_idle && q->lane_idle_count > 0);
    *(lane->idle_prev == NONE ? &q->lane_idle_first : &lane_at(q, lane->idle_prev)->idle_next) =
            lane->idle_next;
    *(lane->idle_next == NONE ? &q->lane_idle_last : &lane_at(q, lane->idle_next)->idle_prev) =
            lane->idle_prev;
    lane->is_idle = false;
    q->lane_idle_count--;
}

static void lane_free(struct queue *q, uint32_t number)
{
    struct lane *lane = lane_at(q, number);
    ASSERT(lane->refs == 0 && lane->job_count == 0 && lane->ready.count == 0);
    lane_idle_del(q, lane);
    heap_del(&q->resume, &lane->resume);
    reason_give(q, lane->reason);
    bool was_there = map_del(&q->lane_map, lane->key);
    ASSERT(was_there);
    gate_give(q, lane->gate);
    slab_give(&q->lanes, number);
    q->lane_count--;
}

static void lane_idle_add(struct queue *q, uint32_t number)
{
    struct lane *lane = lane_at(q, number);
    lane_set_spot(lane, LANE_OFF, NULL);
    lane->idle_prev = q->lane_idle_last;
    lane->idle_next = NONE;
    *(q->lane_idle_last == NONE ? &q->lane_idle_first : &lane_at(q, q->lane_idle_last)->idle_next) =
            number;
    q->lane_idle_last = number;
    lane->is_idle = true;
    q->lane_idle_count++;
    if (q->lane_idle_count > LANE_IDLE_COUNT_MAX) {
        lane_free(q, q->lane_idle_first);
    }
}

void lane_unref(struct queue *q, uint32_t number)
{
    struct lane *lane = lane_at(q, number);
    ASSERT(lane->refs > 0);
    if (--lane->refs == 0) {
        lane_idle_add(q, number);
    }
}

/* Takes over the reference to the gate. */
static enum err lane_new(struct queue *q, uint8_t stream, uint32_t gate, uint32_t *ret_lane)
{
    uint32_t number;
    uint64_t key = lane_key(stream, gate);
    enum err err = slab_take(&q->lanes, &number);
    if (err != OK) {
        return err;
    }
    err = map_set(&q->lane_map, key, number);
    if (err != OK) {
        slab_give(&q->lanes, number);
        return err;
    }
    struct lane *lane = lane_at(q, number);
    *lane = (struct lane){ .key = key,
        .id = ++q->lane_serial,
        .refs = 1,
        .gate = gate,
        .config_no = q->config_no,
        .stream = stream };
    list_init(&lane->link);
    rcpt_list_init(&lane->ready);
    rcpt_list_init(&lane->staged);
    rcpt_list_init(&lane->go);
    q->lane_count++;
    *ret_lane = number;
    return OK;
}

/* The lane with one more reference. */
static enum err lane_take(
        struct queue *q, uint8_t stream, uint32_t source, uint32_t place, uint32_t *ret_lane)
{
    uint32_t gate;
    uint64_t found;
    enum err err = gate_take(q, place, source, &gate);
    if (err != OK) {
        return err;
    }
    if (map_get(&q->lane_map, lane_key(stream, gate), &found)) {
        struct lane *lane = lane_at(q, (uint32_t)found);
        gate_give(q, gate); /* the lane has its own */
        if (lane->is_idle) {
            lane_idle_del(q, lane);
        }
        lane->refs++;
        *ret_lane = (uint32_t)found;
        return OK;
    }
    err = lane_new(q, stream, gate, ret_lane);
    if (err != OK) {
        gate_give(q, gate);
    }
    return err;
}

/* ---- into a lane ---- */

void lane_wake(struct queue *q, struct lane *lane)
{
    if (lane->spot == LANE_OFF && lane->ready.count + lane->go.count > 0 &&
            !lane_is_suspended(q, lane)) {
        lane_set_spot(lane, LANE_RUNNABLE, &q->runnable);
    }
}

void lane_add(struct queue *q, uint32_t rcpt, uint32_t place)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    const struct msg *m = msg_at(q, r->msg);
    ASSERT(r->state == RCPT_NEW && r->lane == NONE);
    if (lane_take(q, m->stream, policy_source(q, m), place, &r->lane) != OK) {
        r->lane = NONE;
        rcpt_wait(q, rcpt, RETRY_SOON_MS);
        return;
    }
    struct lane *lane = lane_at(q, r->lane);
    r->due = wheel_tick(&q->wheel, q->now);
    rcpt_set(q, rcpt, RCPT_READY);
    rcpt_list_add(q, &lane->ready, rcpt);
    lane_wake(q, lane);
}

static void list_give_back(struct queue *q, const struct rcpt_list *list)
{
    uint32_t rcpt = list->first;
    for (uint32_t i = 0; rcpt != NONE && i < SHELF_COUNT_MAX; i++) {
        const struct rcpt *r = rcpt_at(q, rcpt);
        if (msg_at(q, r->msg)->hot_count == 1) { /* else others of it may need them sooner */
            shelf_drop(q, r->msg);
        }
        rcpt = r->next;
    }
}

void lane_give_back(struct queue *q, struct lane *lane)
{
    list_give_back(q, &lane->go);
    list_give_back(q, &lane->ready);
}

static void place_by_answer(struct queue *q, uint32_t rcpt, const struct domain *d)
{
    const struct reason *reason = reason_get(q, d->reason);
    uint16_t number = rcpt_at(q, rcpt)->number;
    struct group group = {
        .msg = rcpt_at(q, rcpt)->msg, .count = 1, .rcpt = &rcpt, .number = &number
    };
    struct spool_outcome outcome = {
        .result = d->answer == DOMAIN_BOUNCE ? SPOOL_RESULT_BOUNCED : SPOOL_RESULT_DEFERRED,
        .enhanced = reason ? str_from_c(reason->enhanced) : (struct str){ 0 },
        .text = reason ? reason_text(reason) : (struct str){ 0 },
    };
    if (outcome_settle(q, &group, &outcome, QUEUE_RCPT) != OK) {
        rcpt_wait(q, rcpt, RETRY_SOON_MS);
    }
}

void rcpt_place(struct queue *q, uint32_t rcpt)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    ASSERT(r->state == RCPT_NEW);
    if (r->lane != NONE) {
        uint32_t lane = r->lane;
        r->lane = NONE;
        lane_unref(q, lane);
    }
    r->flags &= (uint8_t)~RCPT_DOUBT & 0xf;
    const struct domain *d = domain_at(q, r->domain);
    if (!domain_is_known(q, d)) {
        domain_want(q, r->domain, rcpt);
    } else if (d->answer == DOMAIN_FOUND) {
        lane_add(q, rcpt, d->site);
    } else {
        place_by_answer(q, rcpt, d);
    }
}

/* ---- a lane's turn ---- */

/* From ready to where it can start, or to where it waits for its bytes. E_FULL, E_NOMEM: neither.
 */
static enum err lane_stage(struct queue *q, struct lane *lane, uint32_t rcpt)
{
    const struct rcpt *r = rcpt_at(q, rcpt);
    bool is_whole = shelf_is_whole(q, msg_at(q, r->msg));
    enum err err = is_whole ? OK : shelf_ask(q, r->msg);
    if (err == OK) {
        rcpt_unlink(q, rcpt);
        rcpt_set(q, rcpt, is_whole ? RCPT_GO : RCPT_STAGED);
        rcpt_list_add(q, is_whole ? &lane->go : &lane->staged, rcpt);
    }
    return err;
}

static enum err lane_fill(struct queue *q, struct lane *lane)
{
    enum err err = OK;
    while (err == OK && lane->ready.first != NONE &&
            lane->go.count + lane->staged.count < lane_ahead_max(lane)) {
        err = lane_stage(q, lane, lane->ready.first);
    }
    return err;
}

/* Whether a recipient should be placed anew: the lane's source has gone from the configuration (or
 * its stream has one now), or nobody knows any more whether mail for its domain goes there. */
static bool rcpt_is_astray(const struct queue *q, uint32_t rcpt, bool is_source_gone)
{
    return is_source_gone || domain_at(q, rcpt_at(q, rcpt)->domain)->until.ms <= q->now.ms;
}

/* A bounded number of recipients from the heads of the lists, while they are astray. */
static uint32_t lane_move_out(struct queue *q, struct lane *lane, bool is_source_gone)
{
    struct rcpt_list *lists[] = { &lane->go, &lane->staged, &lane->ready };
    uint32_t moved = 0;
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        while (moved < LANE_AHEAD_COUNT_MAX && lists[i]->first != NONE &&
                rcpt_is_astray(q, lists[i]->first, is_source_gone)) {
            uint32_t rcpt = lists[i]->first;
            rcpt_unlink(q, rcpt);
            lane->refs++; /* the last recipient's leaving must not free the lane here */
            rcpt_place(q, rcpt);
            lane->refs--;
            msg_check(q, rcpt_at(q, rcpt)->msg);
            moved++;
        }
    }
    return moved;
}

/* Whether nothing can start before a worker is free to read or sign. */
static bool lane_lacks_worker(const struct queue *q, const struct lane *lane, enum err err)
{
    return err == E_FULL && (lane->go.first == NONE ||
                                    !shelf_is_whole(q, msg_at(q, rcpt_at(q, lane->go.first)->msg)));
}

static void lane_choose_spot(struct queue *q, struct lane *lane, enum err err)
{
    struct gate *gate = gate_at(q, lane->gate);
    if (lane_is_suspended(q, lane)) {
        lane_set_spot(lane, LANE_OFF, NULL);
    } else if (err == E_NOMEM) {
        q->is_short = true;
        lane_set_spot(lane, LANE_RUNNABLE, &q->runnable);
    } else if (lane_lacks_worker(q, lane, err)) {
        lane_set_spot(lane, LANE_PREPARE_FULL, &q->prepare_full);
    } else if (lane->go.count && gate_is_full(q, gate)) {
        lane_set_spot(lane, LANE_GATE_FULL, &gate->blocked);
    } else if (lane->go.count && lane_may_start(q, lane)) {
        lane_set_spot(lane, LANE_RUNNABLE, &q->runnable);
    } else {
        lane_set_spot(lane, LANE_OFF, NULL);
    }
}

/* What this lane did not use is the next one's: else a free slot could be waited for for ever. */
static void lane_pass_on(struct queue *q, const struct lane *lane)
{
    struct gate *gate = gate_at(q, lane->gate);
    if (!list_is_empty(&gate->blocked) && !gate_is_full(q, gate)) {
        struct lane *next = CONTAINER_OF(gate->blocked.next, struct lane, link);
        lane_set_spot(next, LANE_RUNNABLE, &q->runnable);
    }
    lane_wake_prepare_full(q);
}

static void lane_rest(struct queue *q, struct lane *lane, enum err err)
{
    lane_choose_spot(q, lane, err);
    lane_pass_on(q, lane);
}

/* The first of go starts; its bytes may have had to leave memory since it came there. */
static enum err lane_start(struct queue *q, struct lane *lane)
{
    uint32_t rcpt = lane->go.first;
    if (!shelf_is_whole(q, msg_at(q, rcpt_at(q, rcpt)->msg))) {
        return lane_stage(q, lane, rcpt);
    }
    return job_start(q, lane_number(q, lane), rcpt);
}

static bool lane_is_sent_away(struct queue *q, struct lane *lane, bool is_source_gone)
{
    if (lane_move_out(q, lane, is_source_gone) == 0) {
        return false;
    }
    if (lane->ready.count + lane->go.count + lane->staged.count) {
        lane_set_spot(lane, LANE_RUNNABLE, &q->runnable);
        return true;
    }
    lane_set_spot(lane, LANE_OFF, NULL);
    lane_pass_on(q, lane);
    if (lane->refs == 0) {
        lane_idle_add(q, lane_number(q, lane));
    }
    return true;
}

static void lane_run(struct queue *q, struct lane *lane)
{
    bool is_suspended = lane_is_suspended(q, lane);
    if (lane->config_no != q->config_no) {
        if (!policy_has_source(q, lane->stream, gate_at(q, lane->gate)->source) &&
                lane_is_sent_away(q, lane, /*is_source_gone*/ true)) {
            return;
        }
        lane->config_no = q->config_no;
    }
    /* a host that could not be talked to may no longer be the one to talk to */
    if (lane->failures && !is_suspended && lane_is_sent_away(q, lane, /*is_source_gone*/ false)) {
        return;
    }
    enum err err = is_suspended ? OK : lane_fill(q, lane);
    if (err != E_NOMEM && lane->go.first != NONE && lane_may_start(q, lane)) {
        err = lane_start(q, lane);
        err = err == OK ? lane_fill(q, lane) : err;
    }
    lane_rest(q, lane, err);
}

void lane_run_some(struct queue *q)
{
    if (q->is_stopping) {
        return;
    }
    uint32_t steps = 0;
    while (!list_is_empty(&q->runnable) && steps < TURN_JOB_COUNT_MAX && !q->is_short) {
        struct lane *lane = CONTAINER_OF(q->runnable.next, struct lane, link);
        ASSERT(lane->spot == LANE_RUNNABLE);
        lane_run(q, lane);
        steps++;
    }
}

void lane_job_ended(struct queue *q, uint32_t number)
{
    struct lane *lane = lane_at(q, number);
    struct gate *gate = gate_at(q, lane->gate);
    ASSERT(lane->job_count > 0 && gate->job_count > 0);
    lane->job_count--;
    gate->job_count--;
    if (!list_is_empty(&gate->blocked)) {
        struct lane *other = CONTAINER_OF(gate->blocked.next, struct lane, link);
        lane_set_spot(other, LANE_RUNNABLE, &q->runnable);
    }
    lane_wake(q, lane);
    lane_unref(q, number);
}

void lane_wake_prepare_full(struct queue *q)
{
    if (q->prepare_count < PREPARE_COUNT_MAX && !list_is_empty(&q->prepare_full)) {
        struct lane *lane = CONTAINER_OF(q->prepare_full.next, struct lane, link);
        lane_set_spot(lane, LANE_RUNNABLE, &q->runnable);
    }
}

void lane_wake_all(struct queue *q)
{
    uint64_t key, number;
    for (uint32_t at = 0; map_walk(&q->lane_map, &at, &key, &number);) {
        struct lane *lane = lane_at(q, (uint32_t)number);
        if (lane->spot != LANE_RUNNABLE &&
                lane->ready.count + lane->go.count + lane->staged.count) {
            lane_set_spot(lane, LANE_RUNNABLE, &q->runnable);
        }
    }
}

void lane_free_all(struct queue *q)
{
    uint64_t key, number;
    for (uint32_t at = 0; map_walk(&q->place_map, &at, &key, &number);) {
        site_give(place_at(q, (uint32_t)number)->site);
    }
    map_done(&q->place_map);
    map_done(&q->gate_map);
    map_done(&q->lane_map);
    heap_done(&q->resume);
    slab_done(&q->places);
    slab_done(&q->gates);
    slab_done(&q->lanes);
}
