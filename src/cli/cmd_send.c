/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_send.c - `outpost send`: submits one message over SMTP, as an application would.
 *
 * Drives the same client engine that delivery uses, over one connection of an event loop of its
 * own.
 */
#include "cli/cli.h"

#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"
#include "edge/net.h"
#include "mail/header.h"
#include "proto/dotstuff.h"
#include "proto/smtp_client.h"

#include <stdio.h>
#include <unistd.h>

enum { SEND_BYTES_MAX = 64 << 20, SEND_RCPT_COUNT_MAX = 100, SEND_MS_MAX = 60000, SLICES = 64 };

static const char help[] = "Submits one message over SMTP.\n"
                           "\n"
                           "  outpost send --from app@example.com --to user@example.net --subject "
                           "Hello --body \"It works.\"\n"
                           "  outpost send --from a@example.com --to b@example.net,c@example.net "
                           "--tag order-4711 < text.txt\n"
                           "  outpost send --from a@example.com --to b@example.net --raw "
                           "message.eml    a finished message\n"
                           "\n"
                           "options: --server IP:PORT (default 127.0.0.1:2525), --stream NAME, "
                           "--body TEXT (default: standard input)\n"
                           "The reply, with the id of the message, is printed. Exit 0: accepted, "
                           "1: refused, 75: try again.\n";

struct send {
    const char *from, *to, *subject, *tag, *stream, *body, *raw, *server;
    struct net *net;
    struct net_conn *conn;
    struct smtp_client client;
    struct smtp_client_mail mail;
    struct str rcpt[SEND_RCPT_COUNT_MAX];
    struct buf content, wire; /* wire: the content as it is sent, dots stuffed, with its end */
    size_t wire_at;
    bool is_body_out, is_over, is_refused;
    int code;
};

static void finish(struct send *send, int code)
{
    send->code = code;
    send->is_over = true;
    net_stop_real(send->net);
}

static void print_reply(const struct smtp_reply *reply)
{
    char text[1200];
    struct str safe = str_escape(smtp_reply_text(reply), text, sizeof text),
               code = smtp_reply_enhanced(reply);
    printf("%u %.*s%s%.*s\n", reply->code, STR_ARG(code), code.len ? " " : "", STR_ARG(safe));
}

static void take_event(struct send *send, const struct smtp_client_event *event)
{
    switch (event->kind) {
    case SMTP_CLIENT_READY:
        if (smtp_client_send(&send->client, &send->mail) != OK) {
            cli_complain("an address has a character that cannot be sent, or the message is too "
                         "large for the server");
            finish(send, CLI_USAGE);
        }
        break;
    case SMTP_CLIENT_RCPT:
        if (event->reply->code >= 300) {
            fprintf(stderr, "%.*s: ", STR_ARG(send->rcpt[event->rcpt_index]));
            print_reply(event->reply);
            send->is_refused = true;
        }
        break;
    case SMTP_CLIENT_GO:
        send->is_body_out = true;
        break;
    case SMTP_CLIENT_DONE:
    case SMTP_CLIENT_REFUSED:
        print_reply(event->reply);
        finish(send, event->reply->code >= 500 || send->is_refused ? CLI_WANTING
                     : event->reply->code >= 400                   ? CLI_TRY_AGAIN
                                                                   : CLI_GOOD);
        break;
    case SMTP_CLIENT_FAILED:
        if (event->reply) {
            print_reply(event->reply);
        }
        cli_complain("the connection ended: %s %s", smtp_client_fault_name(event->fault),
                smtp_client_phase_name(event->phase));
        finish(send, CLI_TRY_AGAIN);
        break;
    case SMTP_CLIENT_WANT_TLS: /* never asked for here */
    case SMTP_CLIENT_CLOSED:
    case SMTP_CLIENT_NONE:
        break;
    }
}

static void feed(struct send *send, struct str bytes)
{
    struct smtp_client_event event;
    size_t used;
    do {
        used = smtp_client_input(&send->client, bytes, &event);
        bytes = str_from(bytes, used);
        take_event(send, &event);
    } while (!send->is_over && (used > 0 || event.kind != SMTP_CLIENT_NONE));
}

/* Writes what there is: commands first, then the content. False: wait for room. */
static bool write_str(struct send *send, struct str s, size_t *ret_wrote)
{
    struct iovec iov = { (void *)(uintptr_t)s.ptr, s.len };
    return send->net->ops->write(send->conn, &iov, 1, ret_wrote) == OK;
}

static void write_body(struct send *send)
{
    size_t wrote;
    while (send->wire_at < send->wire.len &&
            write_str(send, str_from(buf_str(&send->wire), send->wire_at), &wrote)) {
        send->wire_at += wrote;
    }
    if (send->wire_at == send->wire.len) {
        send->is_body_out = false;
        smtp_client_body_sent(&send->client);
    }
}

static void pump_out(struct send *send)
{
    struct str out;
    size_t wrote;
    while ((out = smtp_client_output(&send->client)).len > 0 && write_str(send, out, &wrote)) {
        smtp_client_wrote(&send->client, wrote);
    }
    if (send->is_body_out) {
        write_body(send);
    }
    bool has_more = smtp_client_output(&send->client).len > 0 || send->is_body_out;
    send->net->ops->want(send->conn, NET_WANT_READ | (has_more ? NET_WANT_WRITE : 0));
}

static void on_event(void *ctx, struct net_conn *conn, enum net_event event)
{
    struct send *send = ctx;
    char block[8192];
    size_t got;
    if (event == NET_FAILED) {
        struct net_info info;
        send->net->ops->info(conn, &info);
        cli_complain("%s does not answer: %s\n  is the node running? outpost serve --sandbox",
                send->server, info.why.text);
        finish(send, CLI_TRY_AGAIN);
        return;
    }
    enum err err = OK;
    while (event == NET_READABLE && !send->is_over &&
            (err = send->net->ops->read(conn, block, sizeof block, &got)) == OK) {
        feed(send, str_of(block, got));
    }
    if (!send->is_over && err != OK && err != E_AGAIN) {
        smtp_client_lost(&send->client, SMTP_CLIENT_FAULT_LOST);
        feed(send, (struct str){ 0 });
    }
    if (!send->is_over) {
        pump_out(send);
    }
}

static void on_deadline(void *ctx)
{
    struct send *send = ctx;
    cli_complain("%s did not answer within %d s", send->server, SEND_MS_MAX / 1000);
    finish(send, CLI_TRY_AGAIN);
}

static void no_wake(void *ctx)
{
    (void)ctx;
}

/* ---- the message ---- */

static void add_field(struct buf *content, const char *name, const char *value)
{
    if (value) {
        buf_addf(content, "%s: %s\r\n", name, value);
    }
}

static bool has_line_end(const char *text)
{
    return text && strpbrk(text, "\r\n") != NULL;
}

static bool make_content(struct send *send)
{
    struct buf text;
    buf_init(&text, SEND_BYTES_MAX);
    buf_init(&send->content, 2u * SEND_BYTES_MAX);
    if (has_line_end(send->subject) || has_line_end(send->tag) || has_line_end(send->stream) ||
            has_line_end(send->to) || has_line_end(send->from)) {
        cli_complain("addresses, subject, tag and stream are single lines");
        return false;
    }
    bool is_good = true;
    if (send->body && !send->raw) {
        buf_add_c(&text, send->body);
        buf_add_char(&text, '\n');
    } else {
        is_good = cli_read_file(send->raw ? send->raw : "-", SEND_BYTES_MAX, &text);
    }
    add_field(&send->content, "X-Outpost-Tag", send->tag);
    add_field(&send->content, "X-Outpost-Stream", send->stream);
    if (!send->raw) {
        add_field(&send->content, "From", send->from);
        add_field(&send->content, "To", send->to);
        add_field(&send->content, "Subject", send->subject ? send->subject : "(no subject)");
        add_field(&send->content, "MIME-Version", "1.0");
        add_field(&send->content, "Content-Type", "text/plain; charset=utf-8");
        if (!str_is_ascii(buf_str(&text))) {
            add_field(&send->content, "Content-Transfer-Encoding", "8bit");
            send->mail.is_8bit = true;
        }
        buf_add_c(&send->content, "\r\n");
    } else {
        send->mail.is_8bit = !str_is_ascii(buf_str(&text));
    }
    lines_to_crlf(buf_str(&text), &send->content);
    buf_done(&text);
    return is_good && buf_err(&send->content) == OK;
}

static bool make_wire(struct send *send)
{
    struct dot_state dots = { 0 };
    struct str slice[SLICES], rest = buf_str(&send->content);
    buf_init(&send->wire, 4ull * SEND_BYTES_MAX);
    while (rest.len > 0) {
        size_t used;
        size_t count = dot_stuff(&dots, rest, slice, SLICES, &used);
        for (size_t i = 0; i < count; i++) {
            buf_add(&send->wire, slice[i]);
        }
        rest = str_from(rest, used);
    }
    buf_add(&send->wire, dot_end(&dots));
    return buf_err(&send->wire) == OK;
}

static bool split_recipients(struct send *send)
{
    struct str part, rest = str_from_c(send->to);
    while (str_cut(&rest, ',', &part)) {
        if (send->mail.rcpt_count == SEND_RCPT_COUNT_MAX) {
            cli_complain("at most %d recipients at a time", SEND_RCPT_COUNT_MAX);
            return false;
        }
        send->rcpt[send->mail.rcpt_count++] = str_trim(part);
    }
    send->mail.rcpts = send->rcpt;
    return send->mail.rcpt_count > 0;
}

static int run(struct send *send, const struct ip_port *at)
{
    struct why why = { 0 };
    struct ip any = { 0 };
    char name[256] = "localhost";
    (void)gethostname(name, sizeof name - 1);
    struct smtp_client_conf conf = { .ehlo_name = str_from_c(name), .tls = SMTP_CLIENT_TLS_NONE };
    smtp_client_open(&send->client, &conf);
    if (net_open_real(clock_real(), &send->net, &why) != OK ||
            send->net->ops->connect(send->net, &any, at, on_event, send, &send->conn, &why) != OK) {
        cli_complain("%s: %s", send->server, why.text);
        return CLI_TRY_AGAIN;
    }
    send->net->ops->timer(
            send->net, mono_after(clock_mono(clock_real()), SEND_MS_MAX), on_deadline, send);
    net_run_real(send->net, no_wake, NULL);
    send->net->ops->close(send->conn, false);
    net_free_real(send->net);
    return send->code;
}

int cmd_send(int argc, char **argv)
{
    static struct send send;
    int count, code;
    send.server = "127.0.0.1:2525";
    const struct cli_option options[] = { { "from", &send.from, NULL }, { "to", &send.to, NULL },
        { "subject", &send.subject, NULL }, { "tag", &send.tag, NULL },
        { "stream", &send.stream, NULL }, { "body", &send.body, NULL }, { "raw", &send.raw, NULL },
        { "server", &send.server, NULL } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &code)) {
        return code;
    }
    struct ip_port at;
    if (send.from == NULL || send.to == NULL || count > 0) {
        return cli_usage(argv[0], "needs --from and --to, and nothing else without dashes");
    }
    if (ip_port_parse(str_from_c(send.server), &at) != OK) {
        return cli_usage(argv[0], "--server is IP:PORT, such as 127.0.0.1:2525");
    }
    if (!split_recipients(&send) || !make_content(&send) || !make_wire(&send)) {
        return CLI_USAGE;
    }
    send.mail.sender = str_from_c(send.from);
    send.mail.size_bytes = send.content.len;
    code = run(&send, &at);
    buf_done(&send.content);
    buf_done(&send.wire);
    return code;
}
