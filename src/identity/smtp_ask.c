/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_ask.c - one short dialogue with a mail server. Step by step: it gets no command before it
 * has answered the last, and never DATA. Time is the caller's.
 */
#include "identity/smtp_ask_priv.h"

#include "core/str.h"
#include "edge/net.h"
#include "edge/tls.h"
#include "mail/address.h"

#include <sys/uio.h>

enum { OUT_CAP = 1200 }; /* the longest command, RCPT, has 254 bytes and its words */

enum ask_step { GREETING, EHLO, STARTTLS, HANDSHAKE, MAIL, RCPT };

struct smtp_ask {
    enum smtp_want want;
    char ehlo[DNS_NAME_CAP], host[DNS_NAME_CAP], mailbox[ADDRESS_TEXT_CAP];
    struct net *net;
    struct net_conn *conn;
    struct tls_context *tls;
    enum ask_step step;
    struct smtp_reply reply;
    char out[OUT_CAP];
    size_t out_len, out_done;
    smtp_asked *done;
    void *ctx;
};

bool smtp_is_about_mailbox(const struct smtp_reply *reply)
{
    struct str enhanced = smtp_reply_enhanced(reply);
    if (smtp_reply_class(reply) != 5) {
        return false;
    }
    if (enhanced.len > 0) {
        return str_starts(enhanced, STR("5.1.")) || str_starts(enhanced, STR("5.2."));
    }
    return reply->code == 550 || reply->code == 551 || reply->code == 553;
}

/* ---- the end ---- */

void smtp_ask_drop(struct smtp_ask *ask, bool net_closed)
{
    if (ask == NULL) {
        return;
    }
    if (ask->conn != NULL && !net_closed) {
        ask->net->ops->close(ask->conn, /*is_abort*/ false);
    }
    tls_give(ask->tls);
    mem_free(ask);
}

/* Who says QUIT need not hear the answer. */
static void finish(struct smtp_ask *ask, const struct smtp_said *said)
{
    static const char quit[] = "QUIT\r\n";
    struct iovec part = { (void *)(uintptr_t)quit, sizeof quit - 1 };
    struct smtp_said copy = *said;
    smtp_asked *done = ask->done;
    void *ctx = ask->ctx;
    size_t wrote;
    if (said->err == OK || said->err == E_DENIED || said->err == E_UNSUPPORTED) {
        (void)ask->net->ops->write(ask->conn, &part, 1, &wrote);
    }
    smtp_ask_drop(ask, /*net_closed*/ false);
    done(ctx, &copy);
}

static void fail(struct smtp_ask *ask, enum err err, const char *what)
{
    struct smtp_said said = { .err = err };
    fmt(said.words, sizeof said.words, "%s", what);
    finish(ask, &said);
}

/* With the server's words. */
static void end_with_reply(struct smtp_ask *ask, enum err err, bool is_taken)
{
    char text[SMTP_ASK_WORDS_CAP];
    struct smtp_said said = { .err = err, .is_taken = is_taken };
    struct str enhanced = smtp_reply_enhanced(&ask->reply);
    size_t len = fmt(text, sizeof text, "%u%s%.*s %.*s", (unsigned)ask->reply.code,
            enhanced.len > 0 ? " " : "", STR_ARG(enhanced), STR_ARG(smtp_reply_text(&ask->reply)));
    struct str safe = str_escape(str_of(text, len), said.words, sizeof said.words - 1);
    said.words[safe.len] = '\0';
    finish(ask, &said);
}

/* ---- the dialogue ---- */

static void say(struct smtp_ask *ask, enum ask_step next, const char *command, const char *word,
        const char *end)
{
    ask->step = next;
    ask->out_done = 0;
    ask->out_len = fmt(ask->out, sizeof ask->out, "%s%s%s\r\n", command, word, end);
    smtp_reply_begin(&ask->reply, next == EHLO ? SMTP_REPLY_EHLO_LINES_MAX : SMTP_REPLY_LINES_MAX);
}

static bool start_tls(struct smtp_ask *ask)
{
    struct net_tls_params params = { .server_name = ask->host };
    ask->step = HANDSHAKE;
    if (ask->net->ops->start_tls(ask->conn, ask->tls, &params) != OK) {
        fail(ask, E_IO, "TLS could not be begun");
        return false;
    }
    return true;
}

/* False: the dialogue is over, and ask gone. */
static bool on_reply(struct smtp_ask *ask)
{
    bool is_good = smtp_reply_class(&ask->reply) == 2;
    if (ask->step == RCPT && (is_good || smtp_is_about_mailbox(&ask->reply))) {
        end_with_reply(ask, OK, is_good);
        return false;
    }
    if (!is_good) {
        end_with_reply(ask, ask->step == STARTTLS ? E_UNSUPPORTED : E_DENIED, false);
        return false;
    }
    switch (ask->step) {
    case GREETING:
        say(ask, EHLO, "EHLO ", ask->ehlo, "");
        return true;
    case EHLO:
        if (ask->want == SMTP_WANT_RCPT) {
            say(ask, MAIL, "MAIL FROM:<", "", ">");
        } else {
            say(ask, STARTTLS, "STARTTLS", "", "");
        }
        return true;
    case STARTTLS:
        return start_tls(ask);
    case MAIL:
        say(ask, RCPT, "RCPT TO:<", ask->mailbox, ">");
        return true;
    case HANDSHAKE:
    case RCPT:
        break;
    }
    ASSERT(!"no reply is read in the handshake, and one to RCPT has ended it");
}

/* ---- the connection ---- */

/* False: ask is gone. */
static bool write_out(struct smtp_ask *ask)
{
    while (ask->out_done < ask->out_len) {
        struct iovec rest = { ask->out + ask->out_done, ask->out_len - ask->out_done };
        size_t wrote = 0;
        enum err err = ask->net->ops->write(ask->conn, &rest, 1, &wrote);
        if (err == E_AGAIN) {
            ask->net->ops->want(ask->conn, NET_WANT_READ | NET_WANT_WRITE);
            return true;
        }
        if (err != OK) {
            fail(ask, E_IO, "the connection broke");
            return false;
        }
        ask->out_done += wrote;
    }
    ask->net->ops->want(ask->conn, NET_WANT_READ);
    return true;
}

/* False: nothing more is to be read now. */
static bool take_bytes(struct smtp_ask *ask, struct str bytes)
{
    while (bytes.len > 0) {
        enum smtp_reply_step how;
        bytes = str_from(bytes, smtp_reply_input(&ask->reply, bytes, &how));
        if (how == SMTP_REPLY_BAD) {
            fail(ask, E_SYNTAX, "it does not speak SMTP");
            return false;
        }
        if (how == SMTP_REPLY_DONE) { /* bytes behind it were not asked for: dropped */
            return on_reply(ask) && ask->step != HANDSHAKE && write_out(ask);
        }
    }
    return true;
}

static void read_in(struct smtp_ask *ask)
{
    char bytes[4096];
    size_t len = 0;
    enum err err = OK;
    while (err == OK) {
        err = ask->net->ops->read(ask->conn, bytes, sizeof bytes, &len);
        if (err == OK && !take_bytes(ask, str_of(bytes, len))) {
            return;
        }
    }
    if (err != E_AGAIN) {
        fail(ask, E_IO, "it closed the connection");
    }
}

static void on_tls(struct smtp_ask *ask)
{
    struct smtp_said said = { .err = OK };
    if (net_peer_sha256_real(ask->conn, said.cert_sha256)) {
        finish(ask, &said);
    } else {
        fail(ask, E_IO, "it shows no certificate");
    }
}

static void on_failed(struct smtp_ask *ask)
{
    struct net_info info;
    ask->net->ops->info(ask->conn, &info);
    bool is_tls = ask->step == HANDSHAKE; /* E_REFUSED is kept for "nothing listens there" */
    fail(ask, is_tls || info.err == OK ? E_IO : info.err, info.why.text);
}

static void on_event(void *ctx, struct net_conn *conn, enum net_event event)
{
    struct smtp_ask *ask = ctx;
    (void)conn;
    switch (event) {
    case NET_CONNECTED:
        if (ask->want == SMTP_WANT_CERT_AT_ONCE) {
            (void)start_tls(ask);
        } else {
            ask->net->ops->want(ask->conn, NET_WANT_READ);
        }
        return;
    case NET_READABLE:
        read_in(ask);
        return;
    case NET_WRITABLE:
        (void)write_out(ask);
        return;
    case NET_TLS_DONE:
        on_tls(ask);
        return;
    case NET_FAILED:
        on_failed(ask);
        return;
    }
}

enum err smtp_ask_begin(struct net *net, const struct smtp_how *how, smtp_asked *done, void *ctx,
        struct smtp_ask **ret_ask, struct why *why)
{
    const struct ip anywhere = { 0 };
    struct smtp_ask *ask = mem_new(sizeof *ask);
    if (ask == NULL) {
        return E_NOMEM;
    }
    ask->want = how->want;
    ask->net = net;
    ask->done = done;
    ask->ctx = ctx;
    smtp_reply_begin(&ask->reply, SMTP_REPLY_LINES_MAX);
    bool is_fitting = str_to_c(how->ehlo, ask->ehlo, sizeof ask->ehlo) &&
                      str_to_c(how->host, ask->host, sizeof ask->host) &&
                      str_to_c(how->mailbox, ask->mailbox, sizeof ask->mailbox);
    enum err err = is_fitting ? OK : E_USAGE;
    if (err == OK && how->want != SMTP_WANT_RCPT) {
        err = tls_client_open(NULL, &ask->tls, why); /* whom it is for is compared, not trusted */
    }
    if (err == OK) {
        err = net->ops->connect(net, &anywhere, &how->at, on_event, ask, &ask->conn, why);
    }
    if (err != OK) {
        ask->conn = NULL;
        smtp_ask_drop(ask, /*net_closed*/ false);
        return err;
    }
    *ret_ask = ask;
    return OK;
}
