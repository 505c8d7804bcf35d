/* SPDX-License-Identifier: Apache-2.0
 *
 * transaction.c - one message of a session: through the door, to the keeper, and the answer.
 *
 * "250 queued" is said when the keeper's answer says that the message is durable, and at no other
 * place. Pieces of a large message go to the keeper while it comes in; if it is not accepted in the
 * end, they are dropped there.
 */
#include "core/crash.h"
#include "core/str.h"
#include "mail/address.h"
#include "submit/submit_priv.h"

enum { REFUSAL_BYTES_MAX = 4096, PRESSURE_PERCENT = 90 };

/* ---- the history of refusals --------------------------------------------------------------- */

/* At most SUBMIT_REFUSED_PER_S_MAX a second, with as many in store: a flood of refusals must not
 * fill the journal. */
static bool may_tell(struct submit *submit)
{
    int64_t step_ms = 1000 / SUBMIT_REFUSED_PER_S_MAX;
    int64_t whole_ms =
            submit->refused_free.ms > submit->now.ms ? submit->refused_free.ms : submit->now.ms;
    if (whole_ms - submit->now.ms >= 1000) {
        return false;
    }
    submit->refused_free.ms = whole_ms + step_ms;
    return true;
}

static void tell_refusal(
        struct session *session, struct str recipient, const struct intake_refusal *refusal)
{
    struct submit *submit = session->submit;
    if (!may_tell(submit)) {
        return;
    }
    char ip[IP_TEXT_CAP];
    struct spool_refusal facts = {
        .at = clock_wall(submit->clock),
        .client = ip_format(session->remote, ip),
        .helo = str_of(session->helo, session->helo_len),
        .credential = str_of(session->login, session->login_len),
        .sender = str_of(session->sender, session->sender_len),
        .recipient = recipient,
        .code = refusal->code,
        .enhanced = str_from_c(refusal->enhanced),
        .text = str_from_c(refusal->text),
    };
    struct buf payload;
    buf_init(&payload, REFUSAL_BYTES_MAX);
    spool_refusal_encode(&payload, &facts);
    struct keeper_record *record =
            buf_err(&payload) == OK ? keeper_record_new(SPOOL_REFUSED, 0, buf_str(&payload)) : NULL;
    buf_done(&payload);
    if (record) {
        record->letter.kind = KEEPER_RECORD;
        if (mailbox_send(submit->ports.keeper, &record->letter) != OK) {
            mem_free(record); /* history has gaps rather than mail delays */
        }
    }
}

static void refuse(
        struct session *session, struct str recipient, const struct intake_refusal *refusal)
{
    tell_refusal(session, recipient, refusal);
    session_reply(session, refusal->code, str_from_c(refusal->enhanced), str_from_c(refusal->text));
}

static void refuse_text(struct session *session, struct str recipient, uint16_t code,
        const char *enhanced, struct str text)
{
    struct intake_refusal refusal = { .code = code };
    fmt(refusal.enhanced, sizeof refusal.enhanced, "%s", enhanced);
    fmt(refusal.text, sizeof refusal.text, "%.*s", STR_ARG(text));
    refuse(session, recipient, &refusal);
}

/* ---- envelope ------------------------------------------------------------------------------ */

static bool is_under_pressure(const struct submit *submit)
{
    const struct blob_budget *budget = submit->budget;
    uint64_t used = budget ? atomic_load_explicit(&budget->used_bytes, memory_order_relaxed) : 0;
    return budget && used > budget->max_bytes / 100 * PRESSURE_PERCENT;
}

/* Reasons to let nobody begin a message now. */
static bool is_closed_for_now(struct session *session)
{
    struct submit *submit = session->submit;
    if (submit->is_stopping || !session->listener->is_wanted) {
        session_reply(session, 421, STR("4.3.2"), STR("Service shutting down"));
        return true;
    }
    if (submit->is_refusing) {
        session_reply(session, 452, STR("4.3.1"), STR("Insufficient system storage"));
        return true;
    }
    if (is_under_pressure(submit)) {
        session_reply(session, 452, STR("4.3.1"), STR("Insufficient system resources"));
        return true;
    }
    return false;
}

/* RFC 3848 */
static struct str protocol_of(const struct session *session)
{
    bool is_tls = session->tls[0] != '\0', is_login = session->login_len > 0;
    if (!session->is_esmtp && !is_tls && !is_login) {
        return STR("SMTP");
    }
    if (is_tls) {
        return is_login ? STR("ESMTPSA") : STR("ESMTPS");
    }
    return is_login ? STR("ESMTPA") : STR("ESMTP");
}

static enum err begin_intake(struct session *session, const struct config_credential *credential)
{
    struct submit *submit = session->submit;
    struct door *door = session->listener->door;
    char ip[IP_TEXT_CAP];
    struct intake_client client = {
        .config = door->config,
        .credential = credential,
        .is_client_hidden = door->listen->is_client_hidden,
        .client = ip_format(session->remote, ip),
        .helo = str_of(session->helo, session->helo_len),
        .protocol = protocol_of(session),
        .tls = str_from_c(session->tls),
    };
    enum err err = intake_new(
            &client, submit->budget, submit->entropy, clock_wall(submit->clock), &session->intake);
    if (err == OK) {
        session->intake_config = config_take(door->config);
    }
    return err;
}

void session_mail(struct session *session, const struct smtp_server_event *event)
{
    struct intake_refusal refusal;
    const struct config_credential *credential = NULL;
    session_drop(session); /* there is none: the engine allows one at a time */
    if (is_closed_for_now(session)) {
        return;
    }
    session->sender_len = 0;
    if (event->text.len < sizeof session->sender) {
        session->sender_len = (uint32_t)event->text.len; /* < SESSION_SENDER_CAP */
        memcpy(session->sender, event->text.ptr, event->text.len);
    }
    session->may_send = session_credential(session, &credential);
    if (begin_intake(session, credential) != OK) {
        session_reply(session, 452, STR("4.3.1"), STR("Insufficient system resources"));
        return;
    }
    if (intake_sender(session->intake, event->text, event->is_8bit, &refusal) != OK) {
        refuse(session, STR(""), &refusal);
        session_drop(session);
        return;
    }
    smtp_server_accept(&session->wire.server, STR(""));
}

/* RFC 5321 3.6.2; hostile-input B1. Who may send to nobody learns only whether it was an address.
 */
static void refuse_relay(struct session *session, struct str path)
{
    struct address address;
    char text[300];
    if (!address_is_postmaster(path) && address_parse(path, &address, NULL) != OK) {
        refuse_text(session, path, 501, "5.1.3", STR("Bad recipient address syntax"));
        return;
    }
    size_t len = fmt(text, sizeof text, "<%.*s>: Relay access denied", STR_ARG(path));
    refuse_text(session, path, 550, "5.7.1", str_of(text, len));
}

void session_rcpt(struct session *session, const struct smtp_server_event *event)
{
    struct intake_refusal refusal;
    if (!session->may_send) {
        session->submit->stats.refused_rcpts++;
        refuse_relay(session, event->text);
    } else if (intake_recipient(session->intake, event->text, &refusal) != OK) {
        session->submit->stats.refused_rcpts++;
        refuse(session, event->text, &refusal);
    } else {
        smtp_server_accept(&session->wire.server, STR(""));
    }
}

/* ---- content ------------------------------------------------------------------------------- */

/* Sends what is ready; too much out at the keeper, and the client has to wait. */
static void send_chunks(struct session *session)
{
    struct submit *submit = session->submit;
    struct blob *chunk;
    while ((chunk = intake_chunk_take(session->intake)) != NULL) {
        struct keeper_body *body = mem_new(sizeof *body);
        enum err err = E_NOMEM;
        if (body) {
            body->letter.kind = KEEPER_BODY;
            body->reply.box = submit->ports.self;
            body->reply.kind = SUBMIT_STORED;
            body->reply.ctx_id = session->id;
            body->chunk = chunk;
            err = mailbox_send(submit->ports.keeper, &body->letter);
        }
        if (err != OK) {
            intake_chunk_stored(session->intake, err, (struct spool_extent){ 0 });
            blob_give(chunk);
            mem_free(body);
        }
    }
}

/* The client is not to blame for the time that it is held. */
static void hold_or_go(struct session *session)
{
    uint32_t out_count = session->intake ? intake_chunks_out(session->intake) : 0;
    bool is_held = session->is_dropping || out_count >= SUBMIT_CHUNKS_OUT_MAX;
    struct mono now = session->submit->now;
    if (is_held && !session->wire.is_held) {
        session->held_at = now;
    } else if (!is_held && session->wire.is_held) {
        session->content_at.ms += now.ms - session->held_at.ms;
        session->read_at = now;
    }
    session->wire.is_held = is_held;
}

void session_content(struct session *session, struct str bytes)
{
    if (session->intake && !session->is_dropping) {
        intake_content(session->intake, bytes);
        send_chunks(session);
        hold_or_go(session);
    }
}

/* Gives the bytes that were streamed back to the keeper. */
static void drop_body(struct submit *submit, const struct spool_body *body)
{
    if (body->extent_count == 0) {
        return;
    }
    struct keeper_body *letter = mem_new(sizeof *letter);
    if (!letter) { /* they stay pinned until the next start */
        mem_free(body->extent);
        return;
    }
    letter->letter.kind = KEEPER_DROP;
    letter->body = *body;
    mailbox_answer(submit->ports.keeper, &letter->letter); /* bounded by the chunks it took */
}

void session_forget_message(struct session *session)
{
    intake_free(session->intake);
    session->intake = NULL;
    config_give(session->intake_config);
    session->intake_config = NULL;
    session->is_ending = session->is_dropping = false;
}

static void drop_now(struct session *session)
{
    struct spool_body body;
    intake_abandon(session->intake, &body);
    drop_body(session->submit, &body);
    session_forget_message(session);
    hold_or_go(session);
}

void session_drop(struct session *session)
{
    if (!session->intake) {
        return;
    }
    session->is_ending = false;
    if (intake_chunks_out(session->intake) > 0) {
        session->is_dropping = true;
        hold_or_go(session);
    } else {
        drop_now(session);
    }
}

/* ---- the end of data ----------------------------------------------------------------------- */

/* The keeper's box is full or closed: nothing was kept. */
static void refuse_accept(struct session *session, struct keeper_accept *accept, enum err err)
{
    struct spool_body body = accept->body;
    accept->body = (struct spool_body){ 0 };
    drop_body(session->submit, &body);
    keeper_accept_free(accept);
    session->submit->stats.refused_msgs++;
    if (err == E_CLOSED) {
        session_reply(session, 421, STR("4.3.2"), STR("Service shutting down"));
    } else {
        session_reply(session, 452, STR("4.3.1"), STR("Insufficient system resources"));
    }
}

static void finish(struct session *session)
{
    struct submit *submit = session->submit;
    struct keeper_accept *accept;
    struct spool_body drop;
    struct intake_refusal refusal;
    enum err err = intake_finish(session->intake, &accept, &session->ulid, &drop, &refusal);
    session_forget_message(session);
    if (err != OK) {
        drop_body(submit, &drop);
        submit->stats.refused_msgs++;
        refuse(session, STR(""), &refusal);
        return;
    }
    accept->letter.kind = KEEPER_ACCEPT;
    accept->reply.box = submit->ports.self;
    accept->reply.kind = SUBMIT_KEPT;
    accept->reply.ctx_id = session->id;
    accept->asked_at = submit->now;
    CRASH_POINT("after_dot");
    err = mailbox_send(submit->ports.keeper, &accept->letter);
    if (err != OK) {
        refuse_accept(session, accept, err);
    }
}

void session_content_end(struct session *session)
{
    if (!session->intake) { /* given up in the middle: the engine answers by itself then */
        session_reply(session, 451, STR("4.3.0"), STR("Error: queue file write error"));
        return;
    }
    intake_end(session->intake);
    send_chunks(session);
    session->is_ending = intake_chunks_out(session->intake) > 0;
    if (!session->is_ending) {
        finish(session);
    }
}

/* ---- answers of the keeper ------------------------------------------------------------------ */

static void say_kept(struct session *session, const struct keeper_accept *accept)
{
    struct submit *submit = session->submit;
    char id[ULID_TEXT_LEN + 1];
    if (accept->err == OK) {
        submit->stats.accepted_msgs++;
        ulid_format(session->ulid, id);
        smtp_server_accept(&session->wire.server, str_of(id, ULID_TEXT_LEN));
    } else if (accept->err == E_CLOSED) { /* kept or not, nobody knows: say nothing */
        session->wire.is_broken = true;
    } else if (accept->err == E_NO_SPACE || accept->err == E_FULL || accept->err == E_NOMEM) {
        session_reply(session, 452, STR("4.3.1"), STR("Insufficient system storage"));
    } else if (accept->err == E_TOO_BIG) {
        session_reply(session, 552, STR("5.3.4"), STR("Error: message file too big"));
    } else {
        session_reply(session, 451, STR("4.3.0"), STR("Error: queue file write error"));
    }
    submit->stats.refused_msgs += accept->err != OK;
}

void transaction_kept(struct submit *submit, struct keeper_accept *accept)
{
    struct session *session = session_find(submit, accept->reply.ctx_id);
    if (session && session->wire.conn) {
        say_kept(session, accept);
        session_resume(session);
    } /* else the client has left: it will send the message again, and both are kept */
    keeper_accept_free(accept);
}

void transaction_stored(struct submit *submit, struct keeper_body *body)
{
    struct session *session = session_find(submit, body->reply.ctx_id);
    ASSERT(session && session->intake); /* sessions stay while chunks are out */
    intake_chunk_stored(session->intake, body->err, body->extent);
    blob_give(body->chunk);
    mem_free(body);
    if (intake_chunks_out(session->intake) == 0 && session->is_dropping) {
        drop_now(session);
        if (!session->wire.conn) {
            session_end(session, /*is_abort*/ false);
            return;
        }
    } else if (intake_chunks_out(session->intake) == 0 && session->is_ending) {
        finish(session);
    }
    hold_or_go(session);
    session_resume(session);
}
