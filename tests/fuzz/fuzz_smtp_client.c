/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_smtp_client.c - a server that says anything, in pieces of any size. Each mail must end in
 * exactly one DONE, REFUSED or FAILED, and a success needs a whole 2xx reply after the body.
 */
#include "core/str.h"
#include "proto/smtp_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAIL_COUNT = 4 };
static struct smtp_client client;
static struct smtp_client_mail mails[MAIL_COUNT];
static unsigned sent_count, ended_count, body_count;

static void write_output(void)
{
    struct str out = smtp_client_output(&client);
    smtp_client_wrote(&client, out.len);
}

static void send_next(void)
{
    if (!smtp_client_can_send(&client)) {
        return;
    }
    if (sent_count == MAIL_COUNT || smtp_client_send(&client, &mails[sent_count]) != OK) {
        smtp_client_quit(&client);
    } else {
        sent_count++;
    }
}

static void act(const struct smtp_client_event *event)
{
    if (event->kind == SMTP_CLIENT_GO) {
        write_output();
        smtp_client_body_sent(&client);
        body_count++;
        if (smtp_client_can_send(&client)) {
            send_next();
        }
    } else if (event->kind == SMTP_CLIENT_WANT_TLS) {
        smtp_client_tls_done(&client, true);
    } else if (event->kind == SMTP_CLIENT_RCPT) {
        ASSERT(event->rcpt_index < event->mail->rcpt_count);
    } else if (event->kind == SMTP_CLIENT_READY) {
        send_next();
    } else if (event->mail) {
        ASSERT(event->mail == &mails[ended_count++]);
        ASSERT(event->kind != SMTP_CLIENT_DONE || body_count > 0);
        body_count -= event->kind == SMTP_CLIENT_DONE;
        send_next();
    }
}

static void show(struct str bytes)
{
    struct smtp_client_event event;
    size_t used;
    while ((used = smtp_client_input(&client, bytes, &event)) > 0 ||
            event.kind != SMTP_CLIENT_NONE) {
        bytes = str_from(bytes, used);
        act(&event);
    }
    ASSERT(bytes.len == 0);
    write_output();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct str rcpts[] = { { "r@b", 3 }, { "s@b", 3 }, { "t@b", 3 } };
    if (size < 2) {
        return 0;
    }
    struct smtp_client_conf conf = { .ehlo_name = STR("me"),
        .tls = (enum smtp_client_tls)(data[0] % 3) };
    for (unsigned i = 0; i < MAIL_COUNT; i++) {
        mails[i] = (struct smtp_client_mail){ .sender = STR("s@a"),
            .rcpts = rcpts,
            .rcpt_count = 1 + (data[0] >> 4) % 3,
            .size_bytes = i * 500 };
    }
    sent_count = ended_count = body_count = 0;
    smtp_client_open(&client, &conf);
    struct str rest = str_of((const char *)data + 2, size - 2);
    while (rest.len > 0) {
        show(str_sub(rest, 0, data[1] ? data[1] : rest.len));
        rest = str_from(rest, data[1] ? data[1] : rest.len);
    }
    smtp_client_lost(&client, SMTP_CLIENT_FAULT_LOST);
    show(STR(""));
    ASSERT(ended_count == sent_count && smtp_client_is_closed(&client));
    return 0;
}
