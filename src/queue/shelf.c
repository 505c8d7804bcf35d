/* SPDX-License-Identifier: Apache-2.0
 *
 * shelf.c - envelopes, contents and signatures in memory, for messages that are about to leave.
 *
 * Bounded by bytes and by count; what was used longest ago goes first, and is read (and signed)
 * again when its turn comes. Jobs keep references of their own, so dropping is always safe. A
 * message that must not leave unsigned is whole only with its signature.
 */
#include "queue/queue_priv.h"

static struct shelf *shelf_at(const struct queue *q, uint32_t shelf)
{
    return slab_at(&q->shelves, shelf);
}

struct shelf *shelf_of(const struct queue *q, const struct msg *msg)
{
    return msg->shelf == NO_SHELF ? NULL : shelf_at(q, msg->shelf);
}

static bool is_whole(const struct shelf *shelf, const struct msg *msg)
{
    return shelf->envelope && shelf->content && (shelf->signature || !(msg->flags & MSG_SIGN));
}

bool shelf_is_whole(const struct queue *q, const struct msg *msg)
{
    const struct shelf *shelf = shelf_of(q, msg);
    return shelf && shelf->state == SHELF_WHOLE;
}

bool shelf_has_room(const struct queue *q)
{
    return q->shelf_bytes + SHELF_ROOM_BYTES <= q->shelf_bytes_max &&
           q->shelf_count < SHELF_COUNT_MAX;
}

static uint64_t taken_bytes(const struct blob *blob)
{
    return blob ? blob->taken_bytes : 0;
}

static void shelf_set(struct queue *q, struct shelf *shelf, struct blob *envelope,
        struct blob *content, struct blob *signature)
{
    blob_give(shelf->envelope);
    blob_give(shelf->content);
    blob_give(shelf->signature);
    shelf->envelope = envelope;
    shelf->content = content;
    shelf->signature = signature;
    q->shelf_bytes -= shelf->size_bytes;
    shelf->size_bytes = taken_bytes(envelope) + taken_bytes(content) + taken_bytes(signature);
    q->shelf_bytes += shelf->size_bytes;
}

void shelf_drop(struct queue *q, uint32_t msg)
{
    struct msg *m = msg_at(q, msg);
    struct shelf *shelf = shelf_of(q, m);
    if (shelf) {
        shelf_set(q, shelf, NULL, NULL, NULL);
        list_del(&shelf->link);
        slab_give(&q->shelves, m->shelf);
        m->shelf = NO_SHELF;
        q->shelf_count--;
    }
}

/* Makes room, but never at the cost of the newest or of what a worker has in hand. */
static void shelf_trim(struct queue *q)
{
    struct list *at = q->shelf_list.prev;
    while ((q->shelf_bytes > q->shelf_bytes_max || q->shelf_count > SHELF_COUNT_MAX) &&
            at != q->shelf_list.next) {
        struct shelf *shelf = CONTAINER_OF(at, struct shelf, link);
        at = at->prev;
        if (shelf->state != SHELF_ASKED) {
            shelf_drop(q, shelf->msg);
        }
    }
}

void shelf_touch(struct queue *q, struct shelf *shelf)
{
    list_del(&shelf->link);
    list_add_first(&q->shelf_list, &shelf->link);
}

static struct shelf *shelf_add(struct queue *q, uint32_t msg)
{
    struct msg *m = msg_at(q, msg);
    uint32_t number;
    ASSERT(m->shelf == NO_SHELF);
    if (slab_take(&q->shelves, &number) != OK) {
        return NULL;
    }
    struct shelf *shelf = shelf_at(q, number);
    *shelf = (struct shelf){ .msg = msg, .state = SHELF_LACKS };
    ASSERT(number < NO_SHELF); /* shelf_trim keeps them few */
    m->shelf = (uint16_t)number;
    list_add_first(&q->shelf_list, &shelf->link);
    q->shelf_count++;
    return shelf;
}

void shelf_put(struct queue *q, uint32_t msg, const struct ulid *ulid, struct blob *envelope,
        struct blob *content, struct blob *signature)
{
    struct shelf *shelf = shelf_of(q, msg_at(q, msg));
    shelf = shelf ? shelf : shelf_add(q, msg);
    if (shelf == NULL) {
        blob_give(envelope);
        blob_give(content);
        blob_give(signature);
        return; /* read again when needed */
    }
    shelf_set(q, shelf, envelope, content, signature);
    shelf->ulid = *ulid;
    shelf->state = is_whole(shelf, msg_at(q, msg)) ? SHELF_WHOLE : SHELF_LACKS;
    shelf_touch(q, shelf);
    shelf_trim(q);
}

/* ---- reading and signing on a worker ---- */

enum err shelf_ask(struct queue *q, uint32_t msg)
{
    const struct msg *m = msg_at(q, msg);
    struct shelf *shelf = shelf_of(q, m);
    if (shelf && shelf->state == SHELF_ASKED) {
        return OK;
    }
    if (q->prepare_count >= PREPARE_COUNT_MAX) {
        return E_FULL;
    }
    struct queue_prepare *prepare = mem_new(sizeof *prepare);
    shelf = prepare && shelf == NULL ? shelf_add(q, msg) : shelf;
    if (prepare == NULL || shelf == NULL) {
        mem_free(prepare);
        return E_NOMEM;
    }
    prepare->msg_id = m->msg_id;
    prepare->where = msg_where(m);
    prepare->config = config_take(q->config);
    prepare->envelope = blob_take(shelf->envelope);
    prepare->content = blob_take(shelf->content);
    prepare->content_bytes = m->content_bytes;
    prepare->wants_signature = (m->flags & MSG_SIGN) != 0;
    shelf->state = SHELF_ASKED;
    q->prepare_count++;
    q->ports.prepare(q->ports.ctx, prepare);
    return OK;
}

struct str blob_bytes(const struct blob *blob, struct buf *scratch)
{
    if (blob == NULL || blob->first == NULL) {
        return (struct str){ 0 };
    }
    if (blob->first->next == NULL) {
        return str_of(blob->first->data, blob->first->len);
    }
    for (const struct blob_chunk *chunk = blob->first; chunk; chunk = chunk->next) {
        buf_add(scratch, str_of(chunk->data, chunk->len));
    }
    return buf_str(scratch);
}

/* Whether the worker did what was asked; the name of the message is read from its envelope. */
static enum err answer_check(const struct queue_prepare *answer, const struct msg *m,
        struct ulid *ret_ulid, struct why *why)
{
    struct buf scratch;
    struct spool_envelope envelope;
    if (answer->err != OK) {
        *why = answer->why;
        return answer->err;
    }
    buf_init(&scratch, SPOOL_ENVELOPE_BYTES_MAX);
    struct str bytes = blob_bytes(answer->envelope, &scratch);
    enum err err = buf_err(&scratch);
    if (err == OK && (!answer->content || spool_envelope_decode(bytes, &envelope) != OK)) {
        why_set(why, "its envelope or content cannot be read");
        err = E_CORRUPT;
    } else if (err == OK && (m->flags & MSG_SIGN) && !answer->signature) {
        why_set(why, "no signature was made, and it must not leave without");
        err = E_NOT_FOUND;
    } else if (err == OK) {
        *ret_ulid = envelope.ulid;
    }
    buf_done(&scratch);
    return err;
}

/* Those who waited for the bytes may go. */
static void staged_go(struct queue *q, uint32_t msg)
{
    const struct msg *m = msg_at(q, msg);
    for (uint32_t i = 0; i < m->rcpt_count; i++) {
        uint32_t rcpt = rcpt_find(q, msg, i);
        if (rcpt != NONE && rcpt_at(q, rcpt)->state == RCPT_STAGED) {
            struct lane *lane = lane_at(q, rcpt_at(q, rcpt)->lane);
            rcpt_unlink(q, rcpt);
            rcpt_set(q, rcpt, RCPT_GO);
            rcpt_list_add(q, &lane->go, rcpt);
            lane_wake(q, lane);
        }
    }
}

/* Everybody of the message who cannot leave without its bytes: out of the lanes. */
static struct group staged_group(struct queue *q, uint32_t msg)
{
    struct group group = msg_group(q, msg);
    const struct msg *m = msg_at(q, msg);
    for (uint32_t i = 0; i < m->rcpt_count; i++) {
        uint32_t rcpt = rcpt_find(q, msg, i);
        if (rcpt != NONE && rcpt_at(q, rcpt)->state >= RCPT_READY &&
                rcpt_at(q, rcpt)->state <= RCPT_GO) {
            struct lane *lane = lane_at(q, rcpt_at(q, rcpt)->lane);
            rcpt_unlink(q, rcpt);
            lane_wake(q, lane); /* others of it may move ahead */
            group_add(q, &group, rcpt);
        }
    }
    return group;
}

/* Damaged or unreadable: perhaps only moved meanwhile, so it is tried again, then held. */
static enum err settle_damage(struct queue *q, struct group *group, const struct why *why)
{
    struct msg *m = msg_at(q, group->msg);
    uint32_t damage = (m->flags >> MSG_DAMAGE_SHIFT) + 1u;
    if (damage >= DAMAGE_COUNT_MAX) {
        char text[WHY_BYTES_MAX + 64];
        fmt(text, sizeof text, "damaged: %s; see \"outpost spool check\"", why->text);
        enum err err = outcome_hold(q, group, STR("4.3.0"), str_from_c(text));
        if (err == OK) {
            log_error(q->log, "queue", "message %llu is held: %s", (unsigned long long)m->msg_id,
                    text);
            m->flags &= (1 << MSG_DAMAGE_SHIFT) - 1; /* released, it gets all its reads again */
        }
        return err;
    }
    m->flags = (uint8_t)((m->flags & ((1 << MSG_DAMAGE_SHIFT) - 1)) | damage << MSG_DAMAGE_SHIFT);
    return E_AGAIN;
}

static enum err settle_failure(
        struct queue *q, struct group *group, enum err err, const struct why *why)
{
    switch ((int)err) {
    case E_CORRUPT:
    case E_IO:
        return settle_damage(q, group, why);
    case E_NOMEM:
    case E_FULL:
        return E_AGAIN;
    case E_NOT_FOUND: /* never unsigned */
        return outcome_defer(q, group, STR("4.7.5"), str_from_c(why->text));
    default: {
        char text[WHY_BYTES_MAX + 64];
        fmt(text, sizeof text, "could not be prepared (%s): %s", err_name(err), why->text);
        return outcome_defer(q, group, STR("4.3.0"), str_from_c(text));
    }
    }
}

static void prepare_failed(struct queue *q, uint32_t msg, enum err err, const struct why *why)
{
    struct group group = staged_group(q, msg);
    shelf_drop(q, msg);
    if (group.count == 0 || settle_failure(q, &group, err, why) == OK) {
        return;
    }
    for (uint32_t i = 0; i < group.count; i++) { /* no try counts: it was our own trouble */
        rcpt_wait(q, group.rcpt[i], RETRY_SOON_MS);
    }
}

void prepare_free(struct queue_prepare *answer)
{
    blob_give(answer->envelope);
    blob_give(answer->content);
    blob_give(answer->signature);
    config_give(answer->config);
    mem_free(answer);
}

void shelf_prepared(struct queue *q, struct queue_prepare *answer)
{
    struct ulid ulid;
    struct why why = { "" };
    q->prepare_count -= q->prepare_count > 0;
    lane_wake_prepare_full(q);
    uint32_t msg = msg_find(q, answer->msg_id);
    const struct shelf *shelf = msg == NONE ? NULL : shelf_of(q, msg_at(q, msg));
    if (shelf && shelf->state == SHELF_ASKED) { /* else nobody waits for it any more */
        enum err err = answer_check(answer, msg_at(q, msg), &ulid, &why);
        if (err == OK) {
            shelf_put(q, msg, &ulid, answer->envelope, answer->content, answer->signature);
            answer->envelope = answer->content = answer->signature = NULL;
            msg_at(q, msg)->flags &= (1 << MSG_DAMAGE_SHIFT) - 1;
            staged_go(q, msg);
        } else {
            prepare_failed(q, msg, err, &why);
        }
        msg_check(q, msg);
    }
    prepare_free(answer);
}

void shelf_free_all(struct queue *q)
{
    slab_done(&q->shelves);
}
