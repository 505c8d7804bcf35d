/* SPDX-License-Identifier: Apache-2.0
 *
 * fate.c - the class table: what a reply, or the end of a connection, means for recipients.
 *
 * Pure. The basic code decides, the enhanced code only says whom it is about (RFC 5321 4.2.1,
 * RFC 3463). What is about us never bounces mail: it defers and slows the lane.
 */
#include "core/str.h"
#include "deliver/deliver_priv.h"

static void enhanced_of(const struct smtp_reply *reply, char dst[12])
{
    struct str given = smtp_reply_enhanced(reply);
    if (given.len > 0) {
        fmt(dst, 12, "%.*s", STR_ARG(given));
    } else { /* RFC 3463 3.1: other or undefined */
        fmt(dst, 12, "%u.0.0", smtp_reply_class(reply));
    }
}

struct fate fate_own(
        enum spool_result result, enum queue_scope scope, const char *enhanced, struct str text)
{
    struct fate fate = { .result = result, .scope = scope, .text = text };
    fmt(fate.enhanced, sizeof fate.enhanced, "%s", enhanced);
    return fate;
}

/* Refusals of MAIL that are policy about us or our commands, not about the message: access, relay,
 * authentication and TLS demands, bad sequence. 553 is about the sender's address; 5.7.13 (sender's
 * account disabled) and 5.7.27 (sender with null MX, RFC 7505 4.3) too. */
static bool mail_refusal_is_about_us(const struct smtp_reply *reply)
{
    switch (reply->code) {
    case 421: /* RFC 5321 4.2.2 */
    case 503:
    case 521: /* RFC 7504 */
    case 530: /* RFC 3207 4, RFC 4954 6 */
    case 534:
    case 535:
    case 538:
        return true;
    case 553:
        return false;
    default:
        break;
    }
    struct str code = smtp_reply_enhanced(reply);
    bool is_policy =
            code.len > 4 && (str_starts(code, STR("5.7.")) || str_starts(code, STR("4.7.")));
    struct str detail = str_from(code, 4);
    return is_policy && !str_eq(detail, STR("13")) && !str_eq(detail, STR("27"));
}

static enum queue_scope scope_of(enum smtp_client_phase phase, const struct smtp_reply *reply)
{
    switch (phase) {
    case SMTP_CLIENT_PHASE_RCPT:
        return QUEUE_RCPT;
    case SMTP_CLIENT_PHASE_MAIL:
        return mail_refusal_is_about_us(reply) ? QUEUE_SESSION : QUEUE_MESSAGE;
    case SMTP_CLIENT_PHASE_DATA:
    case SMTP_CLIENT_PHASE_BODY:
    case SMTP_CLIENT_PHASE_FINAL:
        return reply->code == 421 ? QUEUE_SESSION : QUEUE_MESSAGE;
    case SMTP_CLIENT_PHASE_GREETING:
    case SMTP_CLIENT_PHASE_EHLO:
    case SMTP_CLIENT_PHASE_HELO:
    case SMTP_CLIENT_PHASE_STARTTLS:
    case SMTP_CLIENT_PHASE_TLS:
    case SMTP_CLIENT_PHASE_IDLE:
    case SMTP_CLIENT_PHASE_RSET:
    case SMTP_CLIENT_PHASE_QUIT:
    case SMTP_CLIENT_PHASE_CLOSED:
    case SMTP_CLIENT_PHASE_COUNT:
        break;
    }
    return QUEUE_SESSION;
}

struct fate fate_of_reply(enum smtp_client_phase phase, const struct smtp_reply *reply)
{
    struct fate fate = {
        .scope = scope_of(phase, reply), .code = reply->code, .text = smtp_reply_text(reply)
    };
    enhanced_of(reply, fate.enhanced);
    if (smtp_reply_class(reply) == 2) {
        fate.result = SPOOL_RESULT_DELIVERED;
    } else if (smtp_reply_class(reply) == 5 && fate.scope != QUEUE_SESSION) {
        fate.result = SPOOL_RESULT_BOUNCED;
    } else {
        fate.result = SPOOL_RESULT_DEFERRED;
    }
    return fate;
}

bool fate_is_too_many(const struct smtp_reply *reply)
{
    return reply->code == 452;
}

/* ---- connections that ended ---- */

static bool is_in_content(const struct smtp_client_event *event)
{
    return event->phase == SMTP_CLIENT_PHASE_BODY || event->phase == SMTP_CLIENT_PHASE_FINAL;
}

static const char *enhanced_of_fault(enum smtp_client_fault fault)
{
    switch (fault) {
    case SMTP_CLIENT_FAULT_TLS_MISSING:
    case SMTP_CLIENT_FAULT_TLS_REFUSED:
    case SMTP_CLIENT_FAULT_TLS:
        return "4.7.5";
    case SMTP_CLIENT_FAULT_LOST:
    case SMTP_CLIENT_FAULT_TIMEOUT:
        return "4.4.2";
    case SMTP_CLIENT_FAULT_NONE:
    case SMTP_CLIENT_FAULT_REPLY:
    case SMTP_CLIENT_FAULT_GARBAGE:
    case SMTP_CLIENT_FAULT_PROTOCOL:
    case SMTP_CLIENT_FAULT_DESYNC:
    case SMTP_CLIENT_FAULT_COUNT:
        break;
    }
    return "4.5.0";
}

/* In the manner of Postfix, whose texts people and their tools know. */
static size_t words_of_fault(
        const struct smtp_client_event *event, const char *remote, char dst[FATE_TEXT_CAP])
{
    const char *phase = smtp_client_phase_name(event->phase);
    switch (event->fault) {
    case SMTP_CLIENT_FAULT_LOST:
        return fmt(dst, FATE_TEXT_CAP, "lost connection with %s while %s", remote, phase);
    case SMTP_CLIENT_FAULT_TIMEOUT:
        return fmt(dst, FATE_TEXT_CAP, "conversation with %s timed out while %s", remote, phase);
    case SMTP_CLIENT_FAULT_REPLY:
        return fmt(dst, FATE_TEXT_CAP, "host %s refused to talk to me: ", remote);
    case SMTP_CLIENT_FAULT_NONE:
    case SMTP_CLIENT_FAULT_GARBAGE:
    case SMTP_CLIENT_FAULT_PROTOCOL:
    case SMTP_CLIENT_FAULT_DESYNC:
    case SMTP_CLIENT_FAULT_TLS_MISSING:
    case SMTP_CLIENT_FAULT_TLS_REFUSED:
    case SMTP_CLIENT_FAULT_TLS:
    case SMTP_CLIENT_FAULT_COUNT:
        break;
    }
    return fmt(dst, FATE_TEXT_CAP, "%s: %s while %s%s", remote,
            smtp_client_fault_name(event->fault), phase, event->reply ? ": " : "");
}

/* The reply is bytes of the peer's: it is never a format, and may hold a NUL. */
static size_t add_reply(const struct smtp_reply *reply, char *dst, size_t len)
{
    len += fmt(dst + len, FATE_TEXT_CAP - len, "%u ", reply->code);
    struct str text = str_sub(smtp_reply_text(reply), 0, FATE_TEXT_CAP - 1 - len);
    memcpy(dst + len, text.ptr, text.len);
    return len + text.len;
}

struct fate fate_of_fault(const struct smtp_client_event *event, bool is_after_dot,
        const char *remote, char dst[FATE_TEXT_CAP])
{
    bool is_message = is_in_content(event) && event->fault != SMTP_CLIENT_FAULT_REPLY;
    size_t len = words_of_fault(event, remote, dst);
    struct fate fate = fate_own(is_after_dot ? SPOOL_RESULT_IN_DOUBT : SPOOL_RESULT_DEFERRED,
            is_message ? QUEUE_MESSAGE : QUEUE_SESSION, enhanced_of_fault(event->fault), STR(""));
    if (event->reply) {
        len = add_reply(event->reply, dst, len);
        fate.code = event->reply->code;
        if (event->fault == SMTP_CLIENT_FAULT_REPLY) {
            enhanced_of(event->reply, fate.enhanced);
        }
    }
    fate.text = str_of(dst, len);
    return fate;
}
