/* SPDX-License-Identifier: Apache-2.0
 *
 * work.c - the workers: what would stall a loop. Reading a message back from the spool, signing
 * it, hashing passwords, and writing the reports we send. A worker owns nothing between two
 * letters.
 */
#include "mail/dkim.h"
#include "mail/dsn.h"
#include "node/node_priv.h"

enum { WORK_SIGNATURES_BYTES_MAX = DKIM_FIELD_BYTES_MAX * 2, WORK_HEAD_BYTES_MAX = 128 << 10 };

void node_worker_send(struct node *node, struct letter *letter, uint32_t kind)
{
    struct node_worker *worker = node_pick_worker(node);
    letter->kind = kind;
    atomic_fetch_add(&worker->busy_count, 1);
    mailbox_answer(&worker->box, letter);
}

/* The first len bytes of content in one piece: a view where they lie in one chunk, else gathered.
 */
static enum err blob_front(
        const struct blob *content, size_t len, struct buf *gathered, struct str *ret_front)
{
    if (content->first && content->first->len >= len) {
        *ret_front = str_of(content->first->data, len);
        return OK;
    }
    for (const struct blob_chunk *chunk = content->first; chunk && gathered->len < len;
            chunk = chunk->next) {
        size_t take = len - gathered->len < chunk->len ? len - gathered->len : chunk->len;
        buf_add(gathered, str_of(chunk->data, take));
    }
    *ret_front = buf_str(gathered);
    return buf_err(gathered);
}

static enum err sign_with_all(const struct config_domain *domain,
        const struct spool_envelope *envelope, struct str header, struct buf *ret_fields)
{
    for (uint32_t i = 0; i < domain->key_count; i++) {
        if (domain->key[i].is_inactive) {
            continue;
        }
        struct dkim_signing how = {
            .domain = domain->name,
            .selector = domain->key[i].selector,
            .key = domain->key[i].key,
            .accepted = envelope->accepted_at,
            .body_hash = envelope->body_hash,
        };
        enum err err = dkim_sign(&how, header, ret_fields);
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

static enum err sign(struct queue_prepare *job)
{
    struct spool_envelope envelope;
    ASSERT(job->envelope && job->content); /* envelopes lie in one chunk: blob_copy made them */
    if (job->envelope->first == NULL ||
            spool_envelope_decode(str_of(job->envelope->first->data, job->envelope->first->len),
                    &envelope) != OK) {
        return E_CORRUPT;
    }
    const struct config_domain *domain = config_domain_for(job->config, envelope.from_domain);
    if (domain == NULL || config_domain_active_key_count(domain) == 0 ||
            !(envelope.flags & SPOOL_MSG_BODY_HASH)) {
        why_set(&job->why, "no DKIM key for %.*s: configure one under domain, then reload",
                STR_ARG(envelope.from_domain));
        return E_NOT_FOUND;
    }
    struct buf gathered, fields;
    buf_init(&gathered, WORK_HEAD_BYTES_MAX + 4096);
    buf_init(&fields, WORK_SIGNATURES_BYTES_MAX);
    struct str header;
    /* the header block is signed without the empty line that ends it */
    enum err err = envelope.header_bytes < 2 ? E_CORRUPT
                                             : blob_front(job->content, envelope.header_bytes - 2,
                                                       &gathered, &header);
    if (err == OK) {
        err = sign_with_all(domain, &envelope, header, &fields);
    }
    if (err == OK) {
        job->signature = blob_new(NULL, fields.len);
        err = job->signature ? blob_add(job->signature, buf_str(&fields)) : E_NOMEM;
    }
    buf_done(&fields);
    buf_done(&gathered);
    return err;
}

/* What a content that is read back counts against. Large ones have a budget of their own: they stay
 * in memory as long as a slow receiver likes, and must not take it from clients and small mail.
 * E_NOMEM: not now. */
static enum err budget_for(
        struct node *node, const struct queue_prepare *job, struct blob_budget **ret_budget)
{
    struct blob_budget *large = &node->large;
    *ret_budget = &node->budget;
    if (job->content_bytes <= SPOOL_INLINE_BYTES_MAX) {
        return OK;
    }
    uint64_t used = atomic_load_explicit(&large->used_bytes, memory_order_relaxed);
    bool is_over = job->content_bytes > large->max_bytes; /* let in when the limits were wider */
    *ret_budget = is_over ? NULL : large;
    return used > 0 && used + job->content_bytes > large->max_bytes ? E_NOMEM : OK;
}

static enum err read_back(struct node *node, struct queue_prepare *job)
{
    struct blob_budget *budget;
    enum err err = budget_for(node, job, &budget);
    if (err == OK) {
        err = spool_view_message(node->view, &job->where, job->msg_id, budget, &job->envelope,
                &job->content, &job->why);
    }
    return err;
}

static void prepare(struct node *node, struct queue_prepare *job)
{
    job->err = OK;
    if (job->envelope == NULL || job->content == NULL) {
        blob_give(job->envelope);
        blob_give(job->content);
        job->envelope = job->content = NULL;
        job->err = read_back(node, job);
    }
    if (job->err == OK && job->wants_signature) {
        job->err = sign(job);
    }
    job->letter.kind = QUEUE_PREPARED;
    mailbox_answer(queue_mailbox(node->queue), &job->letter);
}

static void auth(struct submit_auth *job)
{
    submit_auth_run(job);
    job->letter.kind = SUBMIT_VERIFIED;
    mailbox_answer(job->reply_box, &job->letter);
}

/* ---- reports ---- */

static struct str report_id(
        struct node *node, struct arena *arena, struct str hostname, char boundary[40])
{
    uint8_t random[16];
    char hex[33];
    entropy_fill(node->edge.entropy, random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++) {
        fmt(hex + 2 * i, 3, "%02x", random[i]);
    }
    fmt(boundary, 40, "dsn%s", hex);
    return arena_strf(arena, "%s@%.*s", hex, STR_ARG(hostname));
}

static struct str rcpt_address(const struct spool_envelope *envelope, uint16_t number)
{
    struct cur cur = { .rest = envelope->rcpts };
    struct str address = { 0 };
    for (uint32_t i = 0; i <= number; i++) {
        if (!spool_rcpt_next(&cur, &address)) {
            return (struct str){ 0 };
        }
    }
    return address;
}

static enum err report_text(struct node *node, const struct queue_dsn *job, struct arena *arena,
        const struct spool_envelope *envelope, struct str head, struct buf *ret_text)
{
    struct dsn_recipient *rcpt = arena_new(arena, job->rcpt_count * sizeof *rcpt);
    if (rcpt == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < job->rcpt_count; i++) {
        const struct queue_dsn_rcpt *from = &job->rcpt[i];
        bool is_reply = from->text.len >= 3 && ascii_is_digit(from->text.ptr[0]);
        rcpt[i] = (struct dsn_recipient){
            .address = rcpt_address(envelope, from->rcpt),
            .action = DSN_FAILED,
            .status = from->enhanced.len ? from->enhanced
                      : from->is_expired ? STR("4.4.7")
                                         : STR("5.0.0"),
            .remote_mta = from->remote_host,
            .diagnostic = is_reply ? from->text : (struct str){ 0 },
            .reason = is_reply ? (struct str){ 0 } : from->text,
            .last_attempt = from->last_attempt,
        };
    }
    char boundary[40], id[ULID_TEXT_LEN + 1];
    ulid_format(envelope->ulid, id);
    struct dsn dsn = {
        .reporting_mta = job->config->hostname,
        .sender = envelope->sender,
        .queue_id = str_from_c(id),
        .message_id = report_id(node, arena, job->config->hostname, boundary),
        .boundary = str_from_c(boundary),
        .arrival = envelope->accepted_at,
        .now = clock_wall(node->edge.clock),
        .recipient = rcpt,
        .recipient_count = job->rcpt_count,
        .original = head,
    };
    return dsn_compose(&dsn, ret_text);
}

/* Takes a report through the door, as any other mail; only credential and key rules do not apply.
 */
static enum err report_enter(struct node *node, const struct queue_dsn *job, struct str sender,
        struct str text, struct keeper_accept **ret_accept)
{
    struct intake_client client = {
        .config = job->config,
        .client = STR("local"),
        .helo = job->config->hostname,
        .protocol = STR("local"),
        .is_own_dsn = true,
    };
    struct intake *intake;
    struct intake_refusal refusal;
    struct spool_body drop;
    struct ulid ulid;
    enum err err = intake_new(
            &client, &node->budget, node->edge.entropy, clock_wall(node->edge.clock), &intake);
    if (err != OK) {
        return err;
    }
    err = intake_sender(intake, (struct str){ 0 }, false, &refusal);
    if (err == OK) {
        err = intake_recipient(intake, sender, &refusal);
    }
    if (err == OK) {
        intake_content(intake, text);
        intake_end(intake);
        err = intake_finish(intake, ret_accept, &ulid, &drop, &refusal);
    }
    if (err != OK) {
        log_warn(node->log, "worker", "a report to a sender was refused at the door: %u %s %s",
                refusal.code, refusal.enhanced, refusal.text);
    }
    intake_free(intake);
    return err;
}

static enum err report_link(struct keeper_accept *accept, const struct queue_dsn *job)
{
    uint16_t *number = mem_new(job->rcpt_count * sizeof *number);
    struct spool_dsn_link *link = mem_new(sizeof *link);
    if (number == NULL || link == NULL) {
        mem_free(number);
        mem_free(link);
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < job->rcpt_count; i++) {
        number[i] = job->rcpt[i].rcpt;
    }
    *link = (struct spool_dsn_link){
        .msg_id = job->msg_id, .rcpt = number, .rcpt_count = job->rcpt_count
    };
    accept->link = link;
    accept->link_count = 1;
    return OK;
}

static enum err report_make(
        struct node *node, const struct queue_dsn *job, struct keeper_accept **ret_accept)
{
    struct blob *bytes = NULL;
    struct spool_envelope envelope;
    struct buf head, text;
    struct arena arena;
    struct why why;
    arena_init(&arena, 4 << 20);
    buf_init(&head, WORK_HEAD_BYTES_MAX + 4096);
    buf_init(&text, DSN_BYTES_MAX);
    enum err err = node_read_envelope(node, &job->where, job->msg_id, &bytes, &envelope);
    if (err == OK) {
        size_t want = envelope.header_bytes < WORK_HEAD_BYTES_MAX ? envelope.header_bytes
                                                                  : WORK_HEAD_BYTES_MAX;
        err = spool_view_head(node->view, &job->where, job->msg_id, want, &head, &why);
    }
    if (err == OK) {
        err = report_text(node, job, &arena, &envelope, buf_str(&head), &text);
    }
    if (err == OK) {
        err = report_enter(node, job, envelope.sender, buf_str(&text), ret_accept);
    }
    buf_done(&text);
    buf_done(&head);
    arena_done(&arena);
    blob_give(bytes);
    return err;
}

static void report_failed(struct node *node, struct queue_dsn *job)
{
    job->letter.kind = QUEUE_DSN_FAILED;
    mailbox_answer(queue_mailbox(node->queue), &job->letter);
}

static void report(struct node_worker *worker, struct queue_dsn *job)
{
    struct node *node = worker->node;
    struct keeper_accept *accept = NULL;
    enum err err = report_make(node, job, &accept);
    if (err == OK) {
        err = report_link(accept, job);
    }
    if (err != OK) {
        log_warn(node->log, "worker",
                "a report to a sender could not be made (%s); it is tried again", err_name(err));
        keeper_accept_free(accept);
        report_failed(node, job);
        return;
    }
    accept->letter.kind = KEEPER_ACCEPT;
    accept->reply =
            (struct keeper_reply){ .box = &worker->box, .kind = NODE_WORK_DSN_KEPT, .ctx = job };
    mailbox_answer(keeper_mailbox(node->keeper), &accept->letter);
}

/* The keeper's answer: where it kept the report, its port tells the queue; else the queue tries
 * again. */
static void report_kept(struct node_worker *worker, struct keeper_accept *accept)
{
    struct queue_dsn *job = accept->reply.ctx;
    if (accept->err == OK) {
        queue_dsn_free(job);
    } else {
        report_failed(worker->node, job);
    }
    keeper_accept_free(accept);
}

void node_worker_turn(struct node_worker *worker, struct mono now)
{
    (void)now;
    struct letter *letter = mailbox_take_all(&worker->box);
    while (letter) {
        struct letter *next = letter->next;
        bool is_counted = true;
        switch (letter->kind) {
        case NODE_WORK_AUTH:
            auth(CONTAINER_OF(letter, struct submit_auth, letter));
            is_counted = false; /* sent by a loop straight into the box */
            break;
        case NODE_WORK_PREPARE:
            prepare(worker->node, CONTAINER_OF(letter, struct queue_prepare, letter));
            break;
        case NODE_WORK_DSN:
            report(worker, CONTAINER_OF(letter, struct queue_dsn, letter));
            break;
        case NODE_WORK_RECALL:
            node_recall_step(worker->node, letter);
            break;
        default:
            ASSERT(letter->kind == NODE_WORK_DSN_KEPT);
            report_kept(worker, CONTAINER_OF(letter, struct keeper_accept, letter));
            is_counted = false;
        }
        if (is_counted) {
            atomic_fetch_sub(&worker->busy_count, 1);
        }
        mailbox_flush(); /* each took long enough that its answer should not wait for the next */
        letter = next;
    }
}

void node_worker_close(struct node_worker *worker)
{
    struct mailbox *queue = queue_mailbox(worker->node->queue);
    mailbox_close(&worker->box);
    struct letter *letter = mailbox_take_all(&worker->box);
    while (letter) {
        struct letter *next = letter->next;
        if (letter->kind == NODE_WORK_AUTH) {
            submit_auth_free(CONTAINER_OF(letter, struct submit_auth, letter));
        } else if (letter->kind == NODE_WORK_RECALL) {
            node_recall_drop(letter);
        } else if (letter->kind == NODE_WORK_DSN_KEPT) {
            struct keeper_accept *accept = CONTAINER_OF(letter, struct keeper_accept, letter);
            queue_dsn_free(accept->reply.ctx);
            keeper_accept_free(accept);
        } else {
            letter->kind = letter->kind == NODE_WORK_DSN ? QUEUE_DSN_FAILED : QUEUE_PREPARED;
            mailbox_answer(queue, letter);
        }
        letter = next;
    }
    mailbox_done(&worker->box);
}
