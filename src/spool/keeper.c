/* SPDX-License-Identifier: Apache-2.0
 *
 * keeper.c - the owner of the spool's files: takes all letters that came during the last sync, one
 * write, one sync, and then answers; so that one sync serves all who wait.
 *
 * Records that somebody wants written are answered between write and sync. A client that has
 * waited too long is not answered any more: its message is cancelled before anybody sends it.
 */
#include "spool/spool_priv.h"

#include "core/crash.h"
#include "core/mailbox.h"
#include "core/time.h"

enum { KEEPER_LETTER_COUNT_MAX = 16384, KEEPER_RETRY_MS = 100 };

/* Letters of one kind that wait for the same thing, oldest first. */
struct waiting {
    struct letter *first, **last;
};

struct keeper {
    struct spool *spool;
    struct clock *clock;
    const struct log *log;
    struct keeper_ports ports;
    struct mailbox box;
    struct waiting accepts; /* in the open batch or written */
    struct waiting bodies;
    struct waiting records; /* wanted written */
    struct waiting durables;
    struct waiting unplaced; /* what happened, and found no memory: before all that comes later */
    struct mono unsynced_since; /* 0: nothing is */
    struct mono tick_at;
    bool wants_sync;
    bool has_grown;
    uint64_t seen_durable;
};

static void waiting_init(struct waiting *waiting)
{
    waiting->first = NULL;
    waiting->last = &waiting->first;
}

static void waiting_add(struct waiting *waiting, struct letter *letter)
{
    letter->next = NULL;
    *waiting->last = letter;
    waiting->last = &letter->next;
}

static struct letter *waiting_take(struct waiting *waiting)
{
    struct letter *letter = waiting->first;
    waiting->first = letter->next;
    if (waiting->first == NULL) {
        waiting->last = &waiting->first;
    }
    return letter;
}

static struct letter *waiting_take_all(struct waiting *waiting)
{
    struct letter *all = waiting->first;
    waiting_init(waiting);
    return all;
}

/* ---- letters
 * ------------------------------------------------------------------------------------- */

struct keeper_record *keeper_record_new(
        enum spool_record_type type, uint64_t msg_id, struct str payload)
{
    struct keeper_record *record = mem_new(sizeof *record + payload.len);
    if (record == NULL || payload.len > SPOOL_BATCH_BYTES_MAX) {
        mem_free(record);
        return NULL;
    }
    record->letter.kind = KEEPER_RECORD;
    record->type = type;
    record->msg_id = msg_id;
    record->payload_len = (uint32_t)payload.len;
    if (payload.len > 0) {
        memcpy(record->payload, payload.ptr, payload.len);
    }
    return record;
}

/* struct spool_dsn_link points to numbers it does not own the constness of */
static void links_free(struct keeper_accept *accept)
{
    for (uint32_t i = 0; i < accept->link_count; i++) {
        mem_free((void *)(uintptr_t)accept->link[i].rcpt);
    }
    mem_free(accept->link);
}

void keeper_accept_free(struct keeper_accept *accept)
{
    if (accept == NULL) {
        return;
    }
    blob_give(accept->envelope);
    blob_give(accept->content);
    mem_free(accept->body.extent);
    links_free(accept);
    mem_free(accept);
}

static void answer_or(
        struct letter *letter, const struct keeper_reply *reply, void (*drop)(struct letter *))
{
    letter->next = NULL;
    if (reply->box == NULL) {
        drop(letter);
        return;
    }
    letter->kind = reply->kind;
    mailbox_answer(reply->box, letter);
}

static struct keeper_accept *accept_of(struct letter *letter)
{
    return CONTAINER_OF(letter, struct keeper_accept, letter);
}
static struct keeper_body *body_of(struct letter *letter)
{
    return CONTAINER_OF(letter, struct keeper_body, letter);
}
static struct keeper_record *record_of(struct letter *letter)
{
    return CONTAINER_OF(letter, struct keeper_record, letter);
}

static void accept_drop(struct letter *letter)
{
    keeper_accept_free(accept_of(letter));
}
static void body_drop(struct letter *letter)
{
    struct keeper_body *body = body_of(letter);
    blob_give(body->chunk);
    mem_free(body->body.extent);
    mem_free(body);
}
static void plain_drop(struct letter *letter)
{
    mem_free(letter);
}

static void accept_answer(struct keeper *keeper, struct keeper_accept *accept, enum err err)
{
    accept->err = err;
    if (err != OK) {
        spool_body_drop(keeper->spool, &accept->body);
    }
    answer_or(&accept->letter, &accept->reply, accept_drop);
}

static void body_answer(struct keeper_body *body, enum err err)
{
    body->err = err;
    answer_or(&body->letter, &body->reply, body_drop);
}

static void record_answer(struct keeper_record *record, enum err err)
{
    record->err = err;
    answer_or(&record->letter, &record->reply, plain_drop);
}

/* ---- into the batch
 * --------------------------------------------------------------------------------- */

/* A full batch is written, and the next one begins. */
static void batch_flush(struct keeper *keeper);

static uint64_t links_bytes(const struct keeper_accept *accept)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < accept->link_count; i++) {
        bytes += RECORD_HEADER_BYTES + 24 + 2 * (uint64_t)accept->link[i].rcpt_count + 8;
    }
    return bytes;
}

/* A report and what it speaks for are one batch: neither is ever there without the other. */
static enum err links_add(struct keeper *keeper, const struct keeper_accept *accept)
{
    for (uint32_t i = 0; i < accept->link_count; i++) {
        struct buf payload;
        buf_init(&payload, (size_t)links_bytes(accept));
        spool_dsn_encode(&payload, &accept->link[i], accept->msg_id);
        enum err err = buf_err(&payload);
        if (err == OK) {
            err = spool_batch_record(
                    keeper->spool, SPOOL_DSN, accept->link[i].msg_id, buf_str(&payload));
        }
        buf_done(&payload);
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

static uint64_t accept_bytes(const struct keeper_accept *accept)
{
    return RECORD_HEADER_BYTES + STORED_FIXED_BYTES + 8 + accept->envelope->size_bytes +
           (uint64_t)accept->body.extent_count * STORED_EXTENT_BYTES + links_bytes(accept);
}

static enum err accept_try(struct keeper *keeper, struct keeper_accept *accept)
{
    struct spool *spool = keeper->spool;
    uint64_t data_bytes = accept->content ? accept->content->size_bytes : 0;
    if (accept->link_count > 0 && !spool_batch_is_empty(spool) &&
            (!batch_has_room(spool, accept_bytes(accept), data_bytes) ||
                    spool->open.record_count + accept->link_count >= BATCH_RECORD_COUNT_MAX)) {
        return E_FULL;
    }
    if (accept_bytes(accept) + data_bytes > spool->batch_bytes_max ||
            accept->link_count >= BATCH_RECORD_COUNT_MAX) {
        return E_TOO_BIG;
    }
    struct batch_mark mark = batch_mark(spool);
    enum err err = spool_batch_accept(
            spool, accept->envelope, accept->content, &accept->body, &accept->msg_id);
    if (err == OK && MUTANT(dsn_and_link_split) && accept->link_count > 0) {
        batch_flush(keeper);
    }
    if (err == OK) {
        err = links_add(keeper, accept);
        if (err != OK) {
            batch_back(spool, &mark);
        }
    }
    return err;
}

static void accept_take(struct keeper *keeper, struct keeper_accept *accept, struct mono now)
{
    if (accept->asked_at.ms == 0) {
        accept->asked_at = now;
    }
    if (accept->link_count > 0 && keeper->unplaced.first != NULL) {
        accept_answer(keeper, accept, E_NOMEM); /* it speaks of what may not be on record yet */
        return;
    }
    enum err err = accept_try(keeper, accept);
    if (err == E_FULL) {
        batch_flush(keeper);
        err = accept_try(keeper, accept);
    }
    if (err != OK) {
        accept_answer(keeper, accept, err == E_FULL ? E_TOO_BIG : err);
        return;
    }
    waiting_add(&keeper->accepts, &accept->letter);
    keeper->wants_sync = true;
}

static void body_take(struct keeper *keeper, struct keeper_body *body)
{
    uint32_t ticket;
    enum err err = spool_batch_body(keeper->spool, body->chunk, &ticket);
    if (err == E_FULL) {
        batch_flush(keeper);
        err = spool_batch_body(keeper->spool, body->chunk, &ticket);
    }
    if (err != OK) {
        body_answer(body, err);
        return;
    }
    body->extent.slot = ticket; /* until it is written */
    waiting_add(&keeper->bodies, &body->letter);
}

static enum err record_place(struct keeper *keeper, struct keeper_record *record)
{
    if (record->letter.kind == KEEPER_SYNC) {
        waiting_add(&keeper->durables, &record->letter);
        keeper->wants_sync = true;
        return OK;
    }
    struct str payload = str_of(record->payload, record->payload_len);
    enum err err = spool_batch_record(keeper->spool, record->type, record->msg_id, payload);
    if (err == E_FULL) {
        batch_flush(keeper);
        err = spool_batch_record(keeper->spool, record->type, record->msg_id, payload);
    }
    if (err != OK) {
        return err;
    }
    if (record->wish == KEEPER_WANTS_WRITTEN) {
        waiting_add(&keeper->records, &record->letter);
    } else if (record->wish == KEEPER_WANTS_DURABLE) {
        waiting_add(&keeper->durables, &record->letter);
        keeper->wants_sync = true;
    } else {
        record_answer(record, OK);
    }
    return OK;
}

/* What has happened already, or what an operator was told: refusing it would not undo it. */
static bool is_fact(const struct keeper_record *record)
{
    return record->letter.kind == KEEPER_SYNC || record->type == SPOOL_OUTCOME ||
           record->type == SPOOL_CTL;
}

/* A record that could not be placed: kept where it must be, behind those that wait already. */
static void record_fail(struct keeper *keeper, struct keeper_record *record, enum err err)
{
    if (is_fact(record) && err != E_TOO_BIG) {
        waiting_add(&keeper->unplaced, &record->letter);
    } else {
        record_answer(record, err);
    }
}

static void record_take(struct keeper *keeper, struct keeper_record *record)
{
    bool is_first = keeper->unplaced.first == NULL;
    enum err err = is_first ? record_place(keeper, record) : E_NOMEM;
    if (err != OK && is_first) {
        log_error(keeper->log, "keeper", "a record could not be taken: %s%s", err_name(err),
                is_fact(record) && err != E_TOO_BIG ? "; it is kept and tried again" : "");
    }
    if (err != OK) {
        record_fail(keeper, record, err);
    }
}

/* Those that found no memory, in their order, as far as it goes. */
static void unplaced_run(struct keeper *keeper)
{
    struct letter *letter = waiting_take_all(&keeper->unplaced);
    while (letter != NULL) {
        struct letter *next = letter->next;
        bool is_stuck = keeper->unplaced.first != NULL;
        enum err err = is_stuck ? E_NOMEM : record_place(keeper, record_of(letter));
        if (err != OK) {
            record_fail(keeper, record_of(letter), err);
        }
        letter = next;
    }
}

static void find_take(struct keeper *keeper, struct letter *letter)
{
    struct keeper_find *find = CONTAINER_OF(letter, struct keeper_find, letter);
    find->err = spool_find(keeper->spool, find->msg_id, &find->where);
    answer_or(letter, &find->reply, plain_drop);
}

static void stats_take(struct keeper *keeper, struct letter *letter)
{
    struct keeper_stats_ask *ask = CONTAINER_OF(letter, struct keeper_stats_ask, letter);
    spool_get_stats(keeper->spool, &ask->stats);
    answer_or(letter, &ask->reply, plain_drop);
}

static void letter_take(struct keeper *keeper, struct letter *letter, struct mono now)
{
    switch ((enum keeper_letter_kind)letter->kind) {
    case KEEPER_ACCEPT:
        accept_take(keeper, accept_of(letter), now);
        return;
    case KEEPER_BODY:
        body_take(keeper, body_of(letter));
        return;
    case KEEPER_DROP:
        spool_body_drop(keeper->spool, &body_of(letter)->body);
        body_answer(body_of(letter), OK);
        return;
    case KEEPER_RECORD:
    case KEEPER_SYNC:
        record_take(keeper, record_of(letter));
        return;
    case KEEPER_FIND:
        find_take(keeper, letter);
        return;
    case KEEPER_CONSUMED:
        spool_consumed(
                keeper->spool, CONTAINER_OF(letter, struct keeper_consumed, letter)->batch_seq);
        mem_free(letter);
        return;
    case KEEPER_STATS:
        stats_take(keeper, letter);
        return;
    }
    ASSERT(!"a kind of letter the keeper knows");
}

/* ---- written
 * ------------------------------------------------------------------------------------------ */

static void records_answer(struct waiting *waiting, enum err err)
{
    struct letter *letter = waiting_take_all(waiting);
    while (letter != NULL) {
        struct letter *next = letter->next;
        record_answer(record_of(letter), err);
        letter = next;
    }
}

/* Chunks have their places, or were lost. */
static void bodies_answer(struct keeper *keeper)
{
    struct letter *letter = waiting_take_all(&keeper->bodies);
    while (letter != NULL) {
        struct letter *next = letter->next;
        struct keeper_body *body = body_of(letter);
        body->extent = spool_body_extent(keeper->spool, body->extent.slot);
        body_answer(body, body->extent.len_bytes ? OK : E_IO);
        letter = next;
    }
}

static void batch_flush(struct keeper *keeper)
{
    if (spool_batch_is_empty(keeper->spool)) {
        return;
    }
    CRASH_POINT("batch.before_write");
    enum err err = spool_write(keeper->spool);
    CRASH_POINT("batch.written");
    bodies_answer(keeper);
    if (err == OK) {
        records_answer(&keeper->records, OK);
    } else {
        keeper->wants_sync = true; /* which settles what failed, and answers */
    }
}

/* ---- durable
 * -------------------------------------------------------------------------------------------- */

static void accepted_tell(struct keeper *keeper, struct keeper_accept *accept)
{
    const struct keeper_ports *ports = &keeper->ports;
    if (spool_find(keeper->spool, accept->msg_id, &accept->where) == OK &&
            ports->accepted != NULL) {
        ports->accepted(ports->ctx, accept->msg_id, &accept->where, blob_take(accept->envelope),
                blob_take(accept->content));
    }
    for (uint32_t i = 0; ports->notified != NULL && i < accept->link_count; i++) {
        ports->notified(ports->ctx, &accept->link[i]);
    }
}

static void lost_answer(struct keeper *keeper, bool is_void);

/* The message nobody waits for any more: its recipients are cancelled, durably, before it is told
 * to anybody. */
static enum err cancel_late(
        struct keeper *keeper, struct keeper_accept *accept, uint32_t rcpt_count)
{
    struct buf payload;
    uint16_t *rcpt = mem_new(rcpt_count * sizeof *rcpt);
    if (rcpt == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < rcpt_count; i++) {
        rcpt[i] = (uint16_t)i;
    }
    struct spool_ctl ctl = { .msg_id = accept->msg_id,
        .rcpt = rcpt,
        .rcpt_count = rcpt_count,
        .action = SPOOL_CTL_CANCEL,
        .at = clock_wall(keeper->clock),
        .author = STR("keeper"),
        .reason = STR("the disk took too long; the client was not answered") };
    buf_init(&payload, SPOOL_BATCH_BYTES_MAX);
    spool_ctl_encode(&payload, &ctl);
    enum err err = buf_err(&payload);
    if (err == OK) {
        err = spool_batch_record(keeper->spool, SPOOL_CTL, accept->msg_id, buf_str(&payload));
    }
    bool is_void = false;
    if (err == OK && spool_write(keeper->spool) == OK) {
        err = spool_sync(keeper->spool, &is_void);
        if (err != OK) {
            lost_answer(keeper, is_void); /* others that wait for their sync */
        }
    }
    buf_done(&payload);
    mem_free(rcpt);
    return err;
}

/* A report is never late: nobody closes on it. */
static bool is_late(const struct keeper_accept *accept, struct mono now)
{
    return accept->link_count == 0 &&
           mono_is_due(mono_after(accept->asked_at, KEEPER_ACCEPT_WAIT_MAX_MS), now);
}

static void accept_durable(struct keeper *keeper, struct keeper_accept *accept, struct mono now)
{
    struct msg *msg =
            is_late(accept, now) ? index_find(&keeper->spool->index, accept->msg_id) : NULL;
    if (msg != NULL && cancel_late(keeper, accept, msg_rcpt_count(msg)) == OK) {
        log_warn(keeper->log, "keeper", "a message waited too long for the disk: cancelled");
        accept_answer(keeper, accept, E_CLOSED);
        return;
    }
    accepted_tell(keeper, accept);
    CRASH_POINT("index.published");
    accept_answer(keeper, accept, OK);
}

/* A message's number begins with that of its batch. */
static bool is_durable(const struct keeper *keeper, struct letter *letter)
{
    return accept_of(letter)->msg_id >> 16 <= keeper->spool->durable_upto;
}

/* Answers those whose batch a good sync has covered: the oldest. To be called before anything else
 * is done about a failed sync, since numbers of void batches are passed by later ones. */
static void accepts_durable(struct keeper *keeper)
{
    struct mono now = clock_mono(keeper->clock);
    struct waiting *waiting = &keeper->accepts, durable;
    waiting_init(&durable);
    while (waiting->first != NULL &&
            (is_durable(keeper, waiting->first) || MUTANT(ack_before_sync))) {
        waiting_add(&durable, waiting_take(waiting));
    }
    while (durable.first != NULL) {
        accept_durable(keeper, accept_of(waiting_take(&durable)), now);
    }
}

static void accepts_refuse(struct keeper *keeper, enum err err)
{
    struct letter *letter = waiting_take_all(&keeper->accepts);
    while (letter != NULL) {
        struct letter *next = letter->next;
        accept_answer(keeper, accept_of(letter), err);
        letter = next;
    }
}

/* What a failed sync took with it. */
static void lost_answer(struct keeper *keeper, bool is_void)
{
    /* records were written again where the slot went bad: they are durable all the same */
    enum err record_err = is_void ? OK : E_IO;
    accepts_refuse(keeper, is_void ? E_IO : E_CLOSED);
    records_answer(&keeper->records, record_err);
    records_answer(&keeper->durables, record_err);
}

static void sync_and_answer(struct keeper *keeper)
{
    bool is_void = false;
    mailbox_flush();         /* who waited for the write goes on while the disk works */
    accepts_durable(keeper); /* a full segment is synced when it ends */
    enum err err = spool_sync(keeper->spool, &is_void);
    CRASH_POINT("batch.synced");
    keeper->wants_sync = false;
    keeper->unsynced_since.ms = 0;
    if (err == OK) {
        accepts_durable(keeper);
        records_answer(&keeper->records, OK);
        records_answer(&keeper->durables, OK);
    } else {
        lost_answer(keeper, is_void);
    }
}

/* ---- a turn
 * ------------------------------------------------------------------------------------------------
 */

static void letters_take(struct keeper *keeper, struct mono now)
{
    struct letter *letter = mailbox_take_all(&keeper->box);
    while (letter != NULL) {
        struct letter *next = letter->next;
        letter->next = NULL;
        letter_take(keeper, letter, now);
        letter = next;
    }
}

static void sync_if_wanted(struct keeper *keeper)
{
    struct mono now = clock_mono(keeper->clock);
    if (keeper->unsynced_since.ms == 0 && spool_has_unsynced(keeper->spool)) {
        keeper->unsynced_since = now.ms > 0 ? now : (struct mono){ 1 };
    }
    bool is_old = mono_is_due(mono_after(keeper->unsynced_since, KEEPER_SYNC_DELAY_MS), now) &&
                  keeper->unsynced_since.ms != 0;
    if (keeper->wants_sync || is_old) {
        sync_and_answer(keeper);
    }
}

/* Housekeeping may sync too, and makes records for the history. */
static void tick_if_due(struct keeper *keeper)
{
    struct mono now = clock_mono(keeper->clock);
    if (keeper->tick_at.ms <= now.ms) {
        keeper->tick_at = spool_tick(keeper->spool, now);
    }
}

struct mono keeper_turn(struct keeper *keeper, struct mono now)
{
    unplaced_run(keeper);
    letters_take(keeper, now);
    batch_flush(keeper);
    sync_if_wanted(keeper);
    mailbox_flush(); /* housekeeping may take its time on the disk */
    tick_if_due(keeper);
    uint64_t durable = keeper->spool->durable_upto;
    if (durable != keeper->seen_durable && keeper->ports.journal_grew != NULL) {
        keeper->ports.journal_grew(keeper->ports.ctx);
    }
    keeper->seen_durable = durable;
    struct mono next = keeper->tick_at;
    if (keeper->unsynced_since.ms != 0) {
        next = mono_first(next, mono_after(keeper->unsynced_since, KEEPER_SYNC_DELAY_MS));
    }
    if (keeper->unplaced.first != NULL) {
        next = mono_first(next, mono_after(now, KEEPER_RETRY_MS));
    }
    return next;
}

/* ---- making one
 * ------------------------------------------------------------------------------------------------
 */

static void keeper_moved(void *ctx, uint64_t msg_id, const struct spool_where *where)
{
    struct keeper *keeper = ctx;
    if (keeper->ports.moved != NULL) {
        keeper->ports.moved(keeper->ports.ctx, msg_id, where);
    }
}

enum err keeper_new(struct spool *spool, struct clock *clock, const struct log *log,
        const struct keeper_ports *ports, struct keeper **ret_keeper)
{
    struct keeper *keeper = mem_new(sizeof *keeper);
    if (keeper == NULL) {
        return E_NOMEM;
    }
    keeper->spool = spool;
    keeper->clock = clock;
    keeper->log = log;
    keeper->ports = *ports;
    mailbox_init(&keeper->box, KEEPER_LETTER_COUNT_MAX, NULL, NULL);
    waiting_init(&keeper->accepts);
    waiting_init(&keeper->bodies);
    waiting_init(&keeper->records);
    waiting_init(&keeper->durables);
    waiting_init(&keeper->unplaced);
    spool->moved = keeper_moved;
    spool->moved_ctx = keeper;
    keeper->seen_durable = 0;
    *ret_keeper = keeper;
    return OK;
}

bool keeper_is_idle(const struct keeper *keeper)
{
    return keeper->unplaced.first == NULL && !spool_has_unsynced(keeper->spool);
}

struct mailbox *keeper_mailbox(struct keeper *keeper)
{
    return &keeper->box;
}

/* Frees a letter that nobody will answer. */
static void letter_drop(struct letter *letter)
{
    if (letter->kind == KEEPER_ACCEPT) {
        accept_drop(letter);
    } else if (letter->kind == KEEPER_BODY || letter->kind == KEEPER_DROP) {
        body_drop(letter);
    } else {
        mem_free(letter);
    }
}

static void letters_drop(struct letter *letter)
{
    while (letter != NULL) {
        struct letter *next = letter->next;
        letter_drop(letter);
        letter = next;
    }
}

void keeper_free(struct keeper *keeper)
{
    if (keeper == NULL) {
        return;
    }
    if (keeper->unplaced.first != NULL) {
        unplaced_run(keeper);
        batch_flush(keeper);
    }
    if (keeper->unplaced.first != NULL) {
        log_error(keeper->log, "keeper",
                "no memory for the last records: attempts whose end they say are in doubt");
    }
    keeper->spool->moved = NULL;
    mailbox_close(&keeper->box);
    letters_drop(mailbox_take_all(&keeper->box));
    letters_drop(waiting_take_all(&keeper->accepts));
    letters_drop(waiting_take_all(&keeper->bodies));
    letters_drop(waiting_take_all(&keeper->records));
    letters_drop(waiting_take_all(&keeper->durables));
    letters_drop(waiting_take_all(&keeper->unplaced));
    mailbox_done(&keeper->box);
    mem_free(keeper);
}
