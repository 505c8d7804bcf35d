/* SPDX-License-Identifier: Apache-2.0
 *
 * node.c - builds the owners over their edge, connects their mailboxes, and calls their turns.
 * Every port that leads from one owner to another is here, and nowhere else.
 */
#include "node/node_priv.h"

#include "core/crash.h"
#include "identity/identity.h"
#include "node/watcher_priv.h"

/* For letters without which a recipient would be stuck: memory that is short for a moment is asked
 * for again. NULL is logged, with what hangs on it. */
static void *letter_new(struct node *node, size_t size_bytes, const char *consequence)
{
    enum { TRY_COUNT = 3 };
    for (int i = 0; i < TRY_COUNT; i++) {
        void *letter = mem_new(size_bytes);
        if (letter) {
            return letter;
        }
    }
    log_error(node->log, "node", "out of memory: %s", consequence);
    return NULL;
}

/* ---- ports of the keeper ---- */

static void port_accepted(void *ctx, uint64_t msg_id, const struct spool_where *where,
        struct blob *envelope, struct blob *content)
{
    struct node *node = ctx;
    struct queue_accepted *news =
            letter_new(node, sizeof *news, "an accepted message waits for a restart");
    if (news == NULL) { /* durable all the same: it is scheduled at the next start */
        blob_give(envelope);
        blob_give(content);
        return;
    }
    news->letter.kind = QUEUE_ACCEPTED;
    news->msg_id = msg_id;
    news->where = *where;
    news->envelope = envelope;
    news->content = content;
    mailbox_answer(queue_mailbox(node->queue), &news->letter);
}

static void port_moved(void *ctx, uint64_t msg_id, const struct spool_where *where)
{
    struct node *node = ctx;
    struct queue_moved *news = letter_new(
            node, sizeof *news, "a message was moved in the spool and may be held until a restart");
    if (news) {
        news->letter.kind = QUEUE_MOVED;
        news->msg_id = msg_id;
        news->where = *where;
        mailbox_answer(queue_mailbox(node->queue), &news->letter);
    }
}

static void port_journal_grew(void *ctx)
{
    struct node *node = ctx;
    if (atomic_exchange(&node->is_journal_news, true)) {
        return;
    }
    struct letter *news = mem_new(sizeof *news);
    if (news) {
        news->kind = SCRIBE_GREW;
        mailbox_answer(scribe_mailbox(node->scribe), news);
    } else {
        atomic_store(&node->is_journal_news, false);
    }
}

static void port_notified(void *ctx, const struct spool_dsn_link *link)
{
    struct node *node = ctx;
    struct queue_notified *news =
            letter_new(node, sizeof *news + link->rcpt_count * sizeof news->rcpt[0],
                    "recipients that were reported show as failed until a restart");
    if (news) {
        news->letter.kind = QUEUE_NOTIFIED;
        news->msg_id = link->msg_id;
        news->rcpt_count = link->rcpt_count;
        memcpy(news->rcpt, link->rcpt, link->rcpt_count * sizeof news->rcpt[0]);
        mailbox_answer(queue_mailbox(node->queue), &news->letter);
    }
}

/* ---- ports of the scheduler ---- */

static void port_deliver(void *ctx, struct queue_job *job)
{
    struct node *node = ctx;
    job->letter.kind = DELIVER_JOB;
    mailbox_answer(&node->loop[job->lane_id % node->loop_count].box, &job->letter);
}

static void answer_later(struct node *node, uint32_t domain_id)
{
    enum { LATER_MS = 30000 };
    struct queue_site *answer = mem_new(sizeof *answer);
    if (answer == NULL) {
        ASSERT(node->unasked_count <
                NODE_UNASKED_COUNT_MAX); /* the queue has at most so many asks out */
        node->unasked[node->unasked_count++] = domain_id;
        return;
    }
    answer->letter.kind = QUEUE_SITE;
    answer->domain_id = domain_id;
    answer->status = QUEUE_SITE_DEFER;
    answer->until = mono_after(clock_mono(node->edge.clock), LATER_MS);
    fmt(answer->enhanced, sizeof answer->enhanced, "4.3.0");
    fmt(answer->text, sizeof answer->text, "no memory to look the domain up");
    mailbox_answer(queue_mailbox(node->queue), &answer->letter);
}

static void port_want_site(void *ctx, uint32_t domain_id, struct str domain)
{
    struct node *node = ctx;
    struct deliver_want_site *ask = mem_new(sizeof *ask);
    ASSERT(domain.len <= sizeof ask->domain);
    if (ask == NULL) {
        answer_later(node, domain_id);
        return;
    }
    ask->letter.kind = DELIVER_WANT_SITE;
    ask->domain_id = domain_id;
    ask->config = node_config(node);
    ask->domain_len = (uint32_t)domain.len;
    if (domain.len > 0) {
        memcpy(ask->domain, domain.ptr, domain.len);
    }
    mailbox_answer(&node->loop[0].box, &ask->letter);
}

static void port_prepare(void *ctx, struct queue_prepare *prepare)
{
    struct node *node = ctx;
    bool is_ready = prepare->envelope && prepare->content && !prepare->wants_signature;
    if (is_ready) { /* nothing to read and nothing to sign: no worker need wake for it */
        prepare->letter.kind = QUEUE_PREPARED;
        mailbox_answer(queue_mailbox(node->queue), &prepare->letter);
        return;
    }
    node_worker_send(node, &prepare->letter, NODE_WORK_PREPARE);
}

static void port_record(void *ctx, struct keeper_record *record)
{
    struct node *node = ctx;
    record->letter.kind = KEEPER_RECORD;
    mailbox_answer(keeper_mailbox(node->keeper), &record->letter);
}

static void port_compose_dsn(void *ctx, struct queue_dsn *dsn)
{
    node_worker_send(ctx, &dsn->letter, NODE_WORK_DSN);
}

static void port_refused(void *ctx, struct str text)
{
    struct node *node = ctx;
    if (node->watcher != NULL) {
        watcher_refused(node->watcher, text);
    }
}

static void port_consumed(void *ctx, uint64_t batch_seq)
{
    struct node *node = ctx;
    struct keeper_consumed *news = mem_new(sizeof *news);
    if (news) {
        news->letter.kind = KEEPER_CONSUMED;
        news->batch_seq = batch_seq;
        mailbox_answer(keeper_mailbox(node->keeper), &news->letter);
    }
}

/* ---- building ---- */

struct config *node_config(struct node *node)
{
    pthread_mutex_lock(&node->config_lock);
    struct config *config = config_take(node->config);
    pthread_mutex_unlock(&node->config_lock);
    return config;
}

struct node_worker *node_pick_worker(struct node *node)
{
    uint32_t first = atomic_fetch_add(&node->next_worker, 1) % node->worker_count;
    struct node_worker *best = &node->worker[first];
    for (uint32_t i = 1; i < node->worker_count; i++) {
        struct node_worker *other = &node->worker[(first + i) % node->worker_count];
        if (atomic_load(&other->busy_count) < atomic_load(&best->busy_count)) {
            best = other;
        }
    }
    return best;
}

enum err node_read_envelope(struct node *node, const struct spool_where *where, uint64_t msg_id,
        struct blob **ret_blob, struct spool_envelope *ret_envelope)
{
    struct why why;
    *ret_blob = NULL;
    enum err err = spool_view_message(node->view, where, msg_id, NULL, ret_blob, NULL, &why);
    if (err != OK) {
        return err;
    }
    const struct blob_chunk *chunk = (*ret_blob)->first; /* one: it is parsed in place */
    return chunk ? spool_envelope_decode(str_of(chunk->data, chunk->len), ret_envelope) : E_CORRUPT;
}

struct restoring {
    struct node *node;
    struct spool_reader *reader;
};

static void restore_one(void *ctx, const struct spool_open_msg *msg,
        const struct spool_open_rcpt *rcpts, uint32_t rcpt_count)
{
    struct restoring *restoring = ctx;
    struct node *node = restoring->node;
    struct spool_envelope envelope;
    struct why why;
    CRASH_POINT("recover");
    enum err err =
            spool_reader_envelope(restoring->reader, &msg->where, msg->msg_id, &envelope, &why);
    if (err == OK) {
        err = queue_restore(node->queue, msg, rcpts, rcpt_count, &envelope);
    }
    if (err == OK) {
        node_recall_note(node, msg->msg_id, rcpts, rcpt_count);
    }
    if (err != OK) {
        log_error(node->log, "node",
                "message %llu could not be scheduled (%s); it stays in the spool: run outpost "
                "spool check",
                (unsigned long long)msg->msg_id, err_name(err));
    }
}

static enum err restore_all(struct node *node)
{
    struct restoring restoring = { .node = node };
    enum err err = spool_reader_new(node->view, &restoring.reader);
    if (err == OK) {
        struct spool_stats stats;
        spool_get_stats(node->spool, &stats);
        queue_expect(node->queue, stats.open_msgs);
        spool_each_open(node->spool, restore_one, &restoring);
        spool_reader_free(restoring.reader);
    }
    return err;
}

static enum err open_spool(struct node *node, struct why *why)
{
    const struct config *config = node->config;
    struct spool_conf conf = {
        .slot_bytes = config->slot_bytes,
        .spare_slots = config->spare_slots,
        .is_any_fs = config->is_sandbox,
        .checkpoint_bytes = 1ull << 30,
        .checkpoint_ms = 600000,
    };
    enum err err = spool_open(node->edge.spool, node->edge.clock, node->edge.entropy, node->log,
            &conf, &node->spool, why);
    if (err == E_BUSY) {
        why_set(why,
                "%.*s is in use: another outpost runs there. Stop it, or give this one a data-dir "
                "of its own",
                STR_ARG(config->data_dir));
    }
    if (err != OK) {
        return err;
    }
    err = spool_view_of(node->spool, node->edge.spool, &node->view);
    if (err != OK) {
        why_set(why, "the spool cannot be read (%s)", err_name(err));
        return err;
    }
    struct keeper_ports ports = { .ctx = node,
        .accepted = port_accepted,
        .moved = port_moved,
        .journal_grew = port_journal_grew,
        .notified = port_notified };
    return keeper_new(node->spool, node->edge.clock, node->log, &ports, &node->keeper);
}

static enum err open_queue(struct node *node)
{
    struct queue_ports ports = { .ctx = node,
        .deliver = port_deliver,
        .want_site = port_want_site,
        .prepare = port_prepare,
        .record = port_record,
        .compose_dsn = port_compose_dsn,
        .refused = port_refused };
    enum err err = queue_new(
            node->edge.clock, node->edge.entropy, node->log, node->config, &ports, &node->queue);
    return err == OK ? restore_all(node) : err;
}

static enum err open_history(struct node *node, struct why *why)
{
    const struct config *config = node->config;
    struct history_conf conf = {
        .days = config->history_days,
        .bytes_max = config->history_bytes_max,
        .hostname = config->hostname,
        .is_log_postfix = config->is_log_postfix,
        .is_log_json = config->is_log_json,
        .line = node->edge.mail_line,
        .line_ctx = node->edge.mail_line_ctx,
        .pid = node->edge.pid,
    };
    struct scribe_ports ports = { .ctx = node, .consumed = port_consumed };
    enum err err = scribe_new(node->edge.history, node->view, node->edge.clock, node->log, &conf,
            &ports, &node->scribe, why);
    return err == OK ? history_open(node->edge.history, &node->history, why) : err;
}

static void open_workers(struct node *node)
{
    node->worker_count = node->edge.worker_count;
    for (uint32_t i = 0; i < node->worker_count; i++) {
        node->worker[i].node = node;
        mailbox_init(&node->worker[i].box, 1 << 16, NULL, NULL);
    }
}

static enum err open_parts(struct node *node, struct why *why)
{
    enum err err = submit_shared_new(node->edge.entropy, &node->shared);
    if (err != OK) {
        return err;
    }
    char ca_path[PATH_MAX];
    bool has_ca = str_to_c(node->config->ca_file, ca_path, sizeof ca_path) && ca_path[0];
    err = tls_client_open(has_ca ? ca_path : NULL, &node->client_tls, why);
    if (err == OK) {
        err = open_spool(node, why);
    }
    if (err == OK) {
        err = open_queue(node);
    }
    if (err == OK) {
        err = open_history(node, why);
    }
    for (uint32_t i = 0; err == OK && i < node->edge.net_count; i++) {
        node->loop_count = i + 1;
        err = node_loop_open(node, i, why);
    }
    return err;
}

/* One message of any size that is let in must find room. */
static uint64_t large_bytes_max(const struct config *config)
{
    uint64_t message_bytes = config->message_bytes_max + config->message_bytes_max / 64 + (1 << 20);
    return config->memory_bytes_max > message_bytes ? config->memory_bytes_max : message_bytes;
}

enum err node_open(const struct node_edge *edge, struct config *config, const struct log *log,
        struct node **ret_node, struct why *why)
{
    ASSERT(edge->net_count >= 1 && edge->net_count <= NODE_LOOP_COUNT_MAX);
    ASSERT(edge->worker_count >= 1 && edge->worker_count <= NODE_WORKER_COUNT_MAX);
    struct node *node = mem_new(sizeof *node);
    if (node == NULL) {
        why_set(why, "out of memory");
        return E_NOMEM;
    }
    node->edge = *edge;
    node->log = log;
    node->config = config_take(config);
    node->start_config = config_take(config);
    node->budget.max_bytes = config->memory_bytes_max;
    node->large.max_bytes = large_bytes_max(config);
    node->started_at = clock_wall(edge->clock);
    pthread_mutex_init(&node->config_lock, NULL);
    mailbox_init(&node->orphans, UINT32_MAX, NULL, NULL);
    open_workers(node);
    why_set(why, "out of memory");
    enum err err = open_parts(node, why);
    if (err != OK) {
        node_free(node);
        return err;
    }
    *ret_node = node;
    return OK;
}

enum err node_listen(struct node *node, struct why *why)
{
    for (uint32_t i = 0; i < node->loop_count; i++) {
        enum err err = submit_listen(node->loop[i].submit, node->loop_count > 1, why);
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

/* A report on its way to the keeper belongs to two: the keeper knows only of the message in it. */
static void drop_reports(struct node *node)
{
    struct letter *letter = mailbox_take_all(keeper_mailbox(node->keeper));
    while (letter) {
        struct letter *next = letter->next;
        struct keeper_accept *accept = CONTAINER_OF(letter, struct keeper_accept, letter);
        if (letter->kind == KEEPER_ACCEPT && accept->reply.kind == NODE_WORK_DSN_KEPT) {
            queue_dsn_free(accept->reply.ctx);
        }
        mailbox_answer(keeper_mailbox(node->keeper), letter);
        letter = next;
    }
}

void node_free(struct node *node)
{
    if (node == NULL) {
        return;
    }
    for (uint32_t i = 0; i < node->loop_count; i++) {
        node_loop_close(&node->loop[i]);
    }
    if (node->keeper) {
        drop_reports(node);
    }
    for (uint32_t i = 0; i < node->worker_count; i++) {
        node_worker_close(&node->worker[i]);
    }
    node_recall_free(node->recall);
    scribe_free(node->scribe);
    history_close(node->history);
    identity_addresses_close(node->addresses);
    queue_free(node->queue);
    keeper_free(node->keeper);
    node_sweep_orphans(node, /*is_last*/ true);
    mailbox_done(&node->orphans);
    spool_view_close(node->view);
    spool_close(node->spool);
    tls_give(node->client_tls);
    submit_shared_free(node->shared);
    config_give(node->config);
    config_give(node->start_config);
    pthread_mutex_destroy(&node->config_lock);
    mem_free(node);
}

/* ---- owners ---- */

enum { OWNERS_BESIDE = 3 }; /* keeper, scheduler, scribe */

uint32_t node_owner_count(const struct node *node)
{
    return node->loop_count + OWNERS_BESIDE + node->worker_count;
}

struct node_owner node_owner(const struct node *node, uint32_t index)
{
    struct node *owners = (struct node *)(uintptr_t)node; /* boxes are written by their senders */
    if (index < node->loop_count) {
        return (struct node_owner){ "loop", &owners->loop[index].box, NODE_LOOP };
    }
    switch (index - node->loop_count) {
    case 0:
        return (struct node_owner){ "keeper", keeper_mailbox(owners->keeper), NODE_KEEPER };
    case 1:
        return (struct node_owner){ "scheduler", queue_mailbox(owners->queue), NODE_SCHEDULER };
    case 2:
        return (struct node_owner){ "scribe", scribe_mailbox(owners->scribe), NODE_SCRIBE };
    default:
        index -= node->loop_count + OWNERS_BESIDE;
        ASSERT(index < node->worker_count);
        return (struct node_owner){ "worker", &owners->worker[index].box, NODE_WORKER };
    }
}

static struct mono keeper_turn_(struct node *node, struct mono now)
{
    struct spool_stats stats;
    atomic_store(&node->is_keeper_idle, false); /* before its box is emptied */
    struct mono due = keeper_turn(node->keeper, now);
    spool_get_stats(node->spool, &stats);
    atomic_store(&node->is_refusing, stats.is_refusing);
    atomic_store(&node->is_keeper_idle, keeper_is_idle(node->keeper));
    return due;
}

static struct mono scheduler_turn(struct node *node, struct mono now)
{
    uint32_t count = node->unasked_count;
    node->unasked_count = 0;
    for (uint32_t i = 0; i < count;
            i++) { /* those without memory even now come again at the front */
        answer_later(node, node->unasked[i]);
    }
    struct mono due = queue_turn(node->queue, now);
    atomic_store(&node->is_queue_idle, queue_is_idle(node->queue));
    return node->unasked_count ? mono_first(due, mono_after(now, 1000)) : due;
}

static struct mono scribe_turn_(struct node *node, struct mono now)
{
    /* busy before the news is taken: in no order of looking at the two does it seem caught up */
    atomic_store(&node->is_scribe_idle, false);
    /* taken before reading: what grows from here on sends a new letter */
    atomic_store(&node->is_journal_news, false);
    struct mono due = scribe_turn(node->scribe, now);
    atomic_store(&node->is_scribe_idle, scribe_is_caught_up(node->scribe));
    node_recall_run(node, scribe_is_caught_up(node->scribe), now);
    if (node->edge.mail_flush) {
        node->edge.mail_flush(node->edge.mail_line_ctx);
    }
    return due;
}

struct mono node_owner_turn(struct node *node, uint32_t index, struct mono now)
{
    if (index < node->loop_count) {
        return node_loop_turn(&node->loop[index], now);
    }
    switch (index - node->loop_count) {
    case 0:
        return keeper_turn_(node, now);
    case 1:
        return scheduler_turn(node, now);
    case 2:
        return scribe_turn_(node, now);
    default:
        index -= node->loop_count + OWNERS_BESIDE;
        ASSERT(index < node->worker_count);
        node_worker_turn(&node->worker[index], now);
        return (struct mono){ 0 };
    }
}

void node_owner_end(struct node *node, uint32_t index, struct mono now)
{
    (void)now;
    if (index < node->loop_count) {
        node_loop_end(&node->loop[index]);
    }
}

/* ---- reload and stop ---- */

static bool is_same_address(const struct ip_port *a, const struct ip_port *b)
{
    return ip_eq(a->ip, b->ip) && a->port == b->port;
}

enum err node_can_reload(
        struct node *node, const struct config *config, struct buf *notes, struct why *why)
{
    struct config *old = node_config(node);
    const struct {
        const char *name;
        bool is_same;
    } fixed[] = {
        { "data-dir", str_eq(old->data_dir, config->data_dir) },
        { "control", str_eq(old->control_path, config->control_path) },
        { "log", str_eq(old->log_to, config->log_to) },
        { "resolver", str_eq(old->resolver, config->resolver) },
        { "trust-anchor", str_eq(old->trust_anchor, config->trust_anchor) },
        { "ca-file", str_eq(old->ca_file, config->ca_file) },
        { "sandbox-catcher", is_same_address(&old->sandbox_catcher, &config->sandbox_catcher) },
        { "loop-count", old->loop_count == config->loop_count },
        { "worker-count", old->worker_count == config->worker_count },
        { "memory-bytes-max", old->memory_bytes_max == config->memory_bytes_max },
        { "spare-slots", old->spare_slots == config->spare_slots },
        { "history-days", old->history_days == config->history_days },
        { "history-bytes-max", old->history_bytes_max == config->history_bytes_max },
        { "log-postfix", old->is_log_postfix == config->is_log_postfix },
        { "log-json", old->is_log_json == config->is_log_json },
    };
    bool is_same_kind = old->is_sandbox == config->is_sandbox;
    config_give(old);
    if (!is_same_kind) { /* mail caught so far must not leave, nor real mail be caught, by a reload
                          */
        why_set(why, "sandbox cannot be switched while the node runs: stop it and start it anew");
        return E_USAGE;
    }
    for (size_t i = 0; i < COUNT_OF(fixed); i++) {
        if (!fixed[i].is_same) {
            buf_addf(notes, "%s is taken up by the next start only\n", fixed[i].name);
        }
    }
    return OK;
}

static void send_config_to_watcher(struct node *node, struct config *config)
{
    struct node_config_letter *news =
            node->watcher != NULL ? mem_new(sizeof *news) : NULL; /* the next reload brings it */
    if (news != NULL) {
        news->letter.kind = WATCHER_CONFIG;
        news->config = config_take(config);
        mailbox_answer(watcher_mailbox(node->watcher), &news->letter);
    }
}

static void send_config(struct node *node, struct config *config)
{
    static const char consequence[] =
            "a part of the node keeps the old configuration: reload again";
    for (uint32_t i = 0; i < node->loop_count; i++) {
        struct node_config_letter *news = letter_new(node, sizeof *news, consequence);
        if (news) {
            news->letter.kind = NODE_LOOP_CONFIG;
            news->config = config_take(config);
            mailbox_answer(&node->loop[i].box, &news->letter);
        }
    }
    send_config_to_watcher(node, config);
    struct queue_config *news = letter_new(node, sizeof *news, consequence);
    if (news) {
        news->letter.kind = QUEUE_CONFIG;
        news->config = config_take(config);
        mailbox_answer(queue_mailbox(node->queue), &news->letter);
    }
}

void node_reload(struct node *node, struct config *config)
{
    /* under the lock to the end, so that two reloads reach all owners in the same order */
    pthread_mutex_lock(&node->config_lock);
    struct config *old = node->config;
    node->config = config_take(config);
    submit_shared_forget(node->shared);
    send_config(node, config);
    pthread_mutex_unlock(&node->config_lock);
    config_give(old);
}

static void send_stop(struct node *node, struct mailbox *box, uint32_t kind)
{
    struct letter *letter =
            letter_new(node, sizeof *letter, "a part of the node is stopped late and hard");
    if (letter) {
        letter->kind = kind;
        mailbox_answer(box, letter);
    }
}

void node_stop(struct node *node)
{
    if (atomic_exchange(&node->is_stopping, true)) {
        return;
    }
    send_stop(node, queue_mailbox(node->queue), QUEUE_STOP);
    for (uint32_t i = 0; i < node->loop_count; i++) {
        send_stop(node, &node->loop[i].box, NODE_LOOP_STOP);
    }
}

bool node_is_stopped(struct node *node)
{
    bool is_stopped = atomic_load(&node->is_stopping) && atomic_load(&node->is_queue_idle);
    for (uint32_t i = 0; is_stopped && i < node->loop_count; i++) {
        is_stopped = atomic_load(&node->loop[i].is_idle);
    }
    /* the last outcomes may still lie in the keeper's box */
    return is_stopped && mailbox_count(keeper_mailbox(node->keeper)) == 0;
}

void node_on_reload(
        struct node *node, enum err (*reload)(void *ctx, struct buf *ret_text), void *ctx)
{
    node->reload = reload;
    node->reload_ctx = ctx;
}
