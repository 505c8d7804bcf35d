/* SPDX-License-Identifier: Apache-2.0
 *
 * dialogue.c - transactions on an open connection: envelopes out, replies judged, content written.
 *
 * One write carries the rest of a content, its end, and the next envelope where the peer offers
 * PIPELINING (RFC 2920 3.1). The content is held back until the peer said 354 and the keeper has
 * written the attempt: from then on a crash leaves the recipients in doubt, never forgotten.
 */
#include "core/crash.h"
#include "core/str.h"
#include "core/time.h"
#include "deliver/deliver_priv.h"

/* ---- tasks on and off the connection ---- */

/* Now its replies come: its time runs. */
static void front_begin(struct task *task, struct mono now)
{
    uint64_t bytes_ms = task->mail.size_bytes / (DELIVER_TRANSACTION_BYTES_PER_S_MIN / 1000);
    task->begun_at = now;
    task->cut_at = mono_after(now, DELIVER_TRANSACTION_MS_MAX + bytes_ms);
}

/* The front leaves; what rode behind it moves up. The leaver is the caller's. */
static struct task *front_leave(struct conn *conn, struct mono now)
{
    struct task *left = conn->task[0];
    struct talk *talk = conn->talk[0];
    conn->task[0] = conn->task[1];
    conn->task[1] = NULL;
    conn->talk[0] = conn->talk[1];
    conn->talk[1] = talk;
    conn->is_cut_short = conn->is_cut_short || conn->body.is_active;
    conn->body.is_active = false;
    conn->has_go = false;
    conn->done_count++;
    if (conn->task[0]) {
        front_begin(conn->task[0], now);
    }
    return left;
}

/* Done with, or once more for those whom 452 put off. */
static void task_leave(struct conn *conn, struct task *task)
{
    task->conn = NULL;
    if (task->open_count == 0) {
        task_free(task);
    } else if (conn->deliver->is_stopping) {
        task_give_back(task, STR("Outpost is stopping"));
        task_free(task);
    } else {
        lane_put_back(conn->lane, task);
    }
}

static void states_back(struct task *task)
{
    for (uint32_t i = 0; i < task->job->rcpt_count; i++) {
        if (task->state[i] < RCPT_REPORTED) {
            task->state[i] = RCPT_WAITING;
        }
    }
}

/* ---- messages that the peer cannot take ---- */

static bool has_non_ascii(struct str s)
{
    return !str_is_ascii(s);
}

static void refuse_all(
        struct task *task, const char *enhanced, struct str text, const struct task_scene *scene)
{
    struct fate fate = fate_own(SPOOL_RESULT_BOUNCED, QUEUE_MESSAGE, enhanced, text);
    task_report(task, RCPT_WAITING, RCPT_ACCEPTED, &fate, scene);
}

/* An address that cannot stand in a command: those that are seen to be it bounce, the others go on.
 */
static void refuse_addresses(struct task *task, const struct task_scene *scene)
{
    struct fate fate = fate_own(SPOOL_RESULT_BOUNCED, QUEUE_RCPT, "5.6.7", /* RFC 6531 3.5 */
            STR("the address is not ASCII, and SMTPUTF8 is not spoken here"));
    uint32_t refused_count = 0;
    for (uint32_t i = 0; i < task->job->rcpt_count && !has_non_ascii(task->sender); i++) {
        if (task->state[i] == RCPT_WAITING && has_non_ascii(task->address[i])) {
            task_report_one(task, i, &fate, scene);
            refused_count += task->state[i] == RCPT_REPORTED;
        }
    }
    if (refused_count == 0) {
        refuse_all(task, has_non_ascii(task->sender) ? "5.6.7" : "5.1.3",
                STR("an address of the envelope cannot be sent by SMTP"), scene);
    }
}

static void refuse_unsendable(struct conn *conn, struct task *task, enum err err, struct mono now)
{
    struct task_scene scene = conn_scene(conn, 0, now);
    char text[FATE_TEXT_CAP];
    size_t len;
    scene.connect_ms = scene.transfer_ms = 0;
    scene.dialogue = STR("");
    if (err == E_TOO_BIG) { /* RFC 1870 6.1 */
        len = fmt(text, sizeof text, "the message has %llu bytes, %s takes %llu at most",
                (unsigned long long)task->mail.size_bytes, conn->remote,
                (unsigned long long)smtp_client_caps(&conn->client)->size_max_bytes);
        refuse_all(task, "5.3.4", str_of(text, len), &scene);
    } else if (err == E_UNSUPPORTED) { /* RFC 6152 3 */
        len = fmt(text, sizeof text, "the message is 8-bit, and %s does not offer 8BITMIME",
                conn->remote);
        refuse_all(task, "5.6.3", str_of(text, len), &scene);
    } else {
        refuse_addresses(task, &scene);
    }
}

/* ---- beginning ---- */

static void task_begin(struct conn *conn, struct task *task, struct mono now)
{
    task_prepare(task);
    if (task->taken_at.ms == 0) {
        task->taken_at = now;
    }
    enum err err = smtp_client_send(&conn->client, &task->mail);
    if (err != OK) {
        refuse_unsendable(conn, task, err, now);
        task_leave(conn, task);
        return;
    }
    uint32_t slot = conn->task[0] ? 1 : 0;
    conn->task[slot] = task;
    task->conn = conn;
    task->connect_ms = conn->message_count == 0 ? conn->connect_ms : 0;
    talk_clear(conn->talk[slot]);
    conn->message_count++;
    conn->deliver->stats.transactions++;
    conn->has_progress = true;
    list_del(&conn->idle);
    for (uint32_t i = 0; i < task->mail.rcpt_count; i++) {
        task->state[task->asked_rcpt[i]] = RCPT_ASKED;
    }
    if (task->attempt == ATTEMPT_NONE || task->attempt == ATTEMPT_FAILED) {
        task_ask_attempt(task, now);
    }
    if (slot == 0) {
        front_begin(task, now);
    }
}

static void conn_take_tasks(struct conn *conn, struct mono now)
{
    while (conn->state == CONN_OPEN && !conn->is_over && !conn->deliver->is_stopping &&
            conn->message_count < conn->config->connection_message_max &&
            smtp_client_can_send(&conn->client)) {
        struct task *task = lane_take(conn->lane, conn);
        if (!task) {
            return;
        }
        task_begin(conn, task, now);
    }
}

/* ---- content ---- */

/* The keeper could not write the attempt: nothing of the content may leave. */
static void content_unrecorded(struct conn *conn, struct mono now)
{
    struct fate fate = fate_own(SPOOL_RESULT_DEFERRED, QUEUE_SESSION, "4.3.0",
            STR("the spool could not record the attempt"));
    struct task *task = front_leave(conn, now);
    task->conn = NULL;
    task_report(task, RCPT_WAITING, RCPT_ACCEPTED, &fate, NULL);
    task_free(task);
    conn_close(conn, true);
}

static void content_begin(struct conn *conn, struct mono now)
{
    struct task *task = conn->task[0];
    if (!conn->has_go || conn->body.is_active ||
            smtp_client_phase(&conn->client) != SMTP_CLIENT_PHASE_BODY) {
        return;
    }
    if (task->attempt == ATTEMPT_FAILED) {
        content_unrecorded(conn, now);
    } else if (task->attempt == ATTEMPT_WRITTEN) {
        char note[64];
        size_t len = fmt(note, sizeof note, "(content, %llu bytes)\r\n",
                (unsigned long long)task->mail.size_bytes);
        talk_add(conn->talk[0], 'C', str_of(note, len));
        body_begin(&conn->body, task->job->signature, task->job->content);
        conn->has_progress = true;
    }
}

/* ---- events of the engine ---- */

static void on_rcpt(struct conn *conn, const struct smtp_client_event *event, struct mono now)
{
    struct task *task = task_of_mail(event->mail);
    uint32_t index = task->asked_rcpt[event->rcpt_index];
    if (smtp_reply_class(event->reply) == 2) {
        task->state[index] = RCPT_ACCEPTED;
        task->accepted_count++;
        return;
    }
    if (fate_is_too_many(event->reply) && task->accepted_count > 0) {
        task->state[index] = RCPT_WAITING; /* the next transaction, RFC 5321 4.5.3.1.10 */
        return;
    }
    struct fate fate = fate_of_reply(SMTP_CLIENT_PHASE_RCPT, event->reply);
    struct task_scene scene = conn_scene(conn, 0, now);
    task_report_one(task, index, &fate, &scene);
}

/* The final reply before the content was out: a no stands, a yes does not, and what is left of the
 * content must not run into the next command. */
static void final_too_soon(struct conn *conn, struct fate *fate)
{
    if (fate->result == SPOOL_RESULT_DELIVERED) {
        *fate = fate_own(SPOOL_RESULT_DEFERRED, QUEUE_MESSAGE, "4.5.0",
                STR("the peer said yes before it had the whole content"));
    }
    conn->is_over = true;
    smtp_client_lost(&conn->client, SMTP_CLIENT_FAULT_LOST);
}

static void on_final(struct conn *conn, const struct smtp_client_event *event, struct mono now)
{
    struct task *task = task_of_mail(event->mail);
    struct fate fate = fate_of_reply(event->phase, event->reply);
    struct task_scene scene = conn_scene(conn, 0, now);
    ASSERT(task == conn->task[0]);
    if (event->kind == SMTP_CLIENT_DONE && conn->body.is_active) {
        final_too_soon(conn, &fate);
    }
    if (event->kind == SMTP_CLIENT_DONE) {
        CRASH_POINT("reply.read");
        task_report(task, RCPT_ACCEPTED, RCPT_ACCEPTED, &fate, &scene);
        /* refused ones whose report found no memory */
        fate = fate_own(SPOOL_RESULT_DEFERRED, QUEUE_RCPT, "4.3.0", STR("refused by the peer"));
        task_report(task, RCPT_ASKED, RCPT_ASKED, &fate, &scene);
    } else {
        task_report(task, RCPT_ASKED, RCPT_ACCEPTED, &fate, &scene);
    }
    task_leave(conn, front_leave(conn, now));
}

/* Did the connection end before the peer said a word about this task? Then it says nothing about
 * the task: reused connections are often closed by the peer just then. */
static bool may_requeue(const struct conn *conn, const struct task *task,
        const struct smtp_client_event *event, bool is_rider)
{
    bool is_unanswered =
            event->phase == SMTP_CLIENT_PHASE_MAIL || event->phase == SMTP_CLIENT_PHASE_RSET;
    bool is_gone =
            event->fault == SMTP_CLIENT_FAULT_LOST || event->fault == SMTP_CLIENT_FAULT_REPLY;
    bool is_reused = conn->done_count > 0;
    return (is_rider || (is_unanswered && is_gone && is_reused)) &&
           task->requeue_count < DELIVER_REQUEUE_COUNT_MAX;
}

static void on_task_failed(
        struct conn *conn, const struct smtp_client_event *event, bool is_rider, struct mono now)
{
    struct task *task = task_of_mail(event->mail);
    bool is_after_dot = event->is_after_dot && !conn->body.is_active;
    ASSERT(task == conn->task[0]);
    if (may_requeue(conn, task, event, is_rider)) {
        task->requeue_count++;
        states_back(task);
    } else {
        char text[FATE_TEXT_CAP];
        struct fate fate = fate_of_fault(event, is_after_dot, conn->remote, text);
        struct task_scene scene = conn_scene(conn, 0, now);
        task_report(task, RCPT_ASKED, RCPT_ACCEPTED, &fate, &scene);
    }
    task_leave(conn, front_leave(conn, now));
}

static void on_failed(struct conn *conn, const struct smtp_client_event *event, struct mono now)
{
    bool is_rider = conn->is_over; /* the one in front of it was told first */
    conn->is_over = true;
    if (event->mail) {
        on_task_failed(conn, event, is_rider, now);
    } else if (conn->state < CONN_OPEN && !is_rider) {
        conn->failure = fate_of_fault(event, false, conn->remote, conn->failure_text);
    }
}

static void on_event(struct conn *conn, const struct smtp_client_event *event, struct mono now)
{
    conn->has_progress = true;
    switch (event->kind) {
    case SMTP_CLIENT_NONE:
    case SMTP_CLIENT_WANT_TLS: /* begun when all bytes are used: conn_pump */
        break;
    case SMTP_CLIENT_READY:
        conn_greeted(conn, event->reply, now);
        break;
    case SMTP_CLIENT_RCPT:
        on_rcpt(conn, event, now);
        break;
    case SMTP_CLIENT_GO:
        conn->has_go = true;
        break;
    case SMTP_CLIENT_DONE:
    case SMTP_CLIENT_REFUSED:
        on_final(conn, event, now);
        break;
    case SMTP_CLIENT_FAILED:
        on_failed(conn, event, now);
        break;
    case SMTP_CLIENT_CLOSED:
        conn->is_over = true;
        break;
    }
}

void conn_pump(struct conn *conn, struct str bytes, struct mono now)
{
    for (;;) {
        if (conn->state == CONN_AUTH) {
            if (bytes.len == 0 || conn->is_over) {
                break;
            }
            conn_auth_input(conn, &bytes, now);
            continue;
        }
        struct smtp_client_event event;
        size_t used = smtp_client_input(&conn->client, bytes, &event);
        talk_add(conn->talk[0], 'S', str_sub(bytes, 0, used));
        bytes = str_from(bytes, used);
        if (used == 0 && event.kind == SMTP_CLIENT_NONE) {
            break;
        }
        on_event(conn, &event, now);
    }
    bool wants_tls = smtp_client_phase(&conn->client) == SMTP_CLIENT_PHASE_TLS;
    if (conn->is_over) {
        conn_over(conn, now);
    } else if (wants_tls && !conn->is_handshaking) {
        conn_start_tls(conn, now);
    }
}

/* ---- writing ---- */

struct str conn_output(struct conn *conn)
{
    return conn->state == CONN_AUTH ? buf_str(&conn->auth->out) : smtp_client_output(&conn->client);
}

static void output_wrote(struct conn *conn, size_t n_bytes)
{
    if (conn->state == CONN_AUTH) {
        buf_drop_front(&conn->auth->out, n_bytes);
        return;
    }
    struct str output = smtp_client_output(&conn->client);
    talk_add(conn->talk[conn->task[1] ? 1 : 0], 'C', str_sub(output, 0, n_bytes));
    smtp_client_wrote(&conn->client, n_bytes);
}

/* What is to be written now, the output behind the content; how many slices. */
static uint32_t gather(struct conn *conn, struct mono now)
{
    struct body *body = &conn->body;
    if (!body->is_active) {
        body->iov_at = body->iov_count = 0;
    }
    body_fill(body);
    if (body->is_active && !body->is_sliced) {
        return body->iov_count - body->iov_at;
    }
    if (body->is_active && smtp_client_phase(&conn->client) == SMTP_CLIENT_PHASE_BODY) {
        smtp_client_body_sent(&conn->client);
        CRASH_POINT("dot.next");
        conn_take_tasks(conn, now);
    }
    struct str output = conn_output(conn);
    /* iovec knows no const; writev only reads */
    body->iov[body->iov_count] =
            (struct iovec){ .iov_base = (void *)(uintptr_t)output.ptr, .iov_len = output.len };
    return body->iov_count - body->iov_at + (output.len > 0);
}

/* Still the same connection, with bytes to come? */
static bool is_talking(const struct conn *conn, const struct net_conn *net)
{
    return conn->net == net && conn->state != CONN_CONNECTING && conn->state != CONN_DEAD &&
           !conn->is_handshaking;
}

static void conn_lost(struct conn *conn, struct mono now)
{
    if (conn->state == CONN_AUTH) {
        conn_fail(conn, 0, "4.4.2", "lost connection with %s while logging in", conn->remote);
    }
    smtp_client_lost(&conn->client, SMTP_CLIENT_FAULT_LOST);
    conn_pump(conn, STR(""), now);
}

/* What the peer said before it closed tells more than the failed write. */
static void conn_broken(struct conn *conn, struct mono now)
{
    struct net_conn *net = conn->net;
    char *dst = conn->deliver->read_buf;
    size_t len;
    while (is_talking(conn, net) && net->net->ops->read(net, dst, READ_BYTES, &len) == OK) {
        conn_pump(conn, str_of(dst, len), now);
    }
    if (is_talking(conn, net)) {
        conn_lost(conn, now);
    }
}

static void conn_flush(struct conn *conn, struct mono now)
{
    while (conn->is_connected && !conn->is_handshaking && !conn->wants_write) {
        uint32_t count = gather(conn, now);
        if (count == 0) {
            return;
        }
        struct net_conn *net = conn->net;
        size_t written;
        enum err err =
                net->net->ops->write(net, conn->body.iov + conn->body.iov_at, count, &written);
        if (err == E_AGAIN) {
            conn->wants_write = true;
            net->net->ops->want(net, NET_WANT_READ | NET_WANT_WRITE);
            return;
        }
        if (err != OK) {
            conn_broken(conn, now);
            return;
        }
        size_t rest = body_wrote(&conn->body, written);
        if (rest > 0) {
            output_wrote(conn, rest);
        }
        conn->has_progress = true;
    }
}

/* ---- resting ---- */

static void conn_arm(struct conn *conn, struct mono now)
{
    const struct task *task = conn->task[0];
    struct mono at;
    if (conn->body.is_active) { /* from the last progress */
        at = mono_after(now, SMTP_CLIENT_BLOCK_TIMEOUT_MS);
    } else if (conn->state == CONN_AUTH) { /* RFC 4954 4 names no time: as other commands */
        at = mono_after(now, SMTP_CLIENT_COMMAND_TIMEOUT_MS);
    } else if (conn->state == CONN_OPEN && !task) {
        at = mono_after(now, conn->config->connection_idle_ms);
    } else {
        at = mono_after(now, smtp_client_timeout_ms(&conn->client));
    }
    bool awaits_final =
            smtp_client_phase(&conn->client) == SMTP_CLIENT_PHASE_FINAL && !conn->body.is_active;
    if (task && !awaits_final) {
        at = mono_first(at, task->cut_at);
    }
    conn->has_progress = false;
    heap_move(&conn->deliver->deadlines, &conn->deadline, at.ms);
}

void conn_serve(struct conn *conn, struct mono now)
{
    if (conn->state == CONN_DEAD || conn->state == CONN_CONNECTING) {
        return;
    }
    if (conn->state == CONN_OPEN && conn->task[0]) {
        content_begin(conn, now);
    }
    conn_take_tasks(conn, now);
    conn_flush(conn, now);
    if (conn->state == CONN_DEAD || conn->state == CONN_CONNECTING || conn->is_handshaking) {
        return;
    }
    if (conn->state == CONN_OPEN && !conn->task[0]) {
        if (conn->deliver->is_stopping ||
                conn->message_count >= conn->config->connection_message_max) {
            conn_quit(conn, now);
            return;
        }
        if (list_is_empty(&conn->idle)) {
            list_add_first(&conn->lane->idle, &conn->idle);
        }
        if (conn->lane->waiting_count > 0) { /* it fits nobody: the lane ends it */
            lane_touch(conn->lane);
        }
    }
    if (conn->has_progress) {
        conn_arm(conn, now);
    }
}

void conn_read(struct conn *conn, struct mono now)
{
    struct net_conn *net = conn->net;
    char *dst = conn->deliver->read_buf;
    size_t len = READ_BYTES;
    for (uint32_t i = 0; i < READ_BURST_COUNT_MAX && len == READ_BYTES && is_talking(conn, net);
            i++) {
        enum err err = net->net->ops->read(net, dst, READ_BYTES, &len);
        if (err == E_AGAIN) {
            break;
        }
        if (err != OK) {
            conn_lost(conn, now);
            return;
        }
        conn_pump(conn, str_of(dst, len), now);
    }
    conn_serve(conn, now);
}
