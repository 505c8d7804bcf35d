/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_smtp_server.c - a client that says anything, in pieces of any size; the first two bytes
 * choose configuration and piece size. Replies must be whole lines, events views of the input.
 */
#include "core/str.h"
#include "proto/smtp_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_output(struct smtp_server *server)
{
    struct str line, out = smtp_server_output(server);
    size_t len = out.len;
    ASSERT(len == 0 || out.ptr[len - 1] == '\n');
    while (str_cut(&out, '\n', &line) && line.len > 0) {
        ASSERT(line.len < SMTP_SERVER_REPLY_BYTES_MAX && line.ptr[line.len - 1] == '\r');
        ASSERT(line.ptr[0] >= '2' && line.ptr[0] <= '5');
    }
    smtp_server_wrote(server, len);
    if (smtp_server_phase(server) == SMTP_SERVER_PHASE_TLS) {
        smtp_server_tls_started(server);
    }
}

static void decide(struct smtp_server *server, const struct smtp_server_event *event)
{
    bool is_no = event->text.len % 7 == 6;
    if (is_no) {
        smtp_server_reply(server, 550, STR("5.1.1"), event->text);
    } else if (event->kind == SMTP_SERVER_AUTH && !event->has_initial) {
        smtp_server_reply(server, 334, STR(""), STR(""));
    } else {
        smtp_server_accept(server, STR("X"));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct smtp_server server;
    if (size < 2) {
        return 0;
    }
    struct smtp_server_conf conf = { .hostname = STR("mx.example"), .size_max_bytes = 300 };
    conf.offers_tls = data[0] & 1;
    conf.requires_tls = data[0] & 2;
    conf.requires_auth = data[0] & 4;
    conf.allows_auth_in_clear = data[0] & 8;
    conf.auth_mechanisms = data[0] & 16 ? STR("PLAIN LOGIN") : STR("");
    size_t piece = data[1], shown = 0;
    struct str rest = str_of((const char *)data + 2, size - 2);
    smtp_server_open(&server, &conf, data[0] & 32);
    write_output(&server);
    while (shown < rest.len) {
        struct smtp_server_event event;
        shown = piece && rest.len - shown > piece ? shown + piece : rest.len;
        for (size_t used = 1; used > 0;) {
            used = smtp_server_input(&server, str_sub(rest, 0, shown), &event);
            ASSERT(used <= shown && (used > 0 || event.kind == SMTP_SERVER_NONE));
            ASSERT(event.text.len == 0 ||
                    (event.text.len <= used || event.kind == SMTP_SERVER_AUTH));
            rest = str_from(rest, used);
            shown -= used;
            if (smtp_server_phase(&server) == SMTP_SERVER_PHASE_DECISION) {
                decide(&server, &event);
            }
        }
        write_output(&server);
    }
    return 0;
}
