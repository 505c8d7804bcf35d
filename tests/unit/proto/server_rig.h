/* SPDX-License-Identifier: Apache-2.0
 *
 * server_rig.h - drives smtp_server as a real session would, from a table of turns.
 *
 * Each turn is what the client sends without waiting and the replies it gets. A dialogue runs with
 * the input whole and split in many ways, with decisions at once and later; all runs must agree.
 */
#ifndef OUTPOST_TESTS_SERVER_RIG_H
#define OUTPOST_TESTS_SERVER_RIG_H

#include "core/buf.h"
#include "proto/smtp_server.h"

struct turn {
    const char *in;
    const char *out;
};

struct rig {
    struct smtp_server server;
    struct buf kept;    /* input not used yet */
    struct buf out;     /* written since the last rig_take */
    struct buf events;  /* "HELO a;MAIL <x>;..." */
    struct buf content; /* of the present message */
    char taken[65536];  /* what rig_take returned */
    bool decides_late;
    struct smtp_server_event undecided;
    char undecided_text[1024];
};

void rig_open(struct rig *rig, const struct smtp_server_conf *conf, bool is_tls);
void rig_done(struct rig *rig);
/* Sends in, in pieces of piece_bytes (0: whole). Bytes of in may be NUL. */
void rig_send(struct rig *rig, struct str in, size_t piece_bytes);
struct str rig_take(struct rig *rig); /* the replies so far; cleared */

/* Runs the turns in all ways; the greeting is checked and not part of them. The rig decides:
 * addresses with "refuse" 550, with "later" 450; content with "REJECT" 554; AUTH "good" 235. */
void rig_dialogue(const struct smtp_server_conf *conf, bool is_tls, const struct turn *turns,
        size_t turn_count, const char *events);
/* Once, with each turn whole: for what depends on bytes arriving together. */
void rig_dialogue_whole(const struct smtp_server_conf *conf, bool is_tls, const struct turn *turns,
        size_t turn_count, const char *events);

#define GREETING "220 mx.example.org ESMTP Outpost\r\n"
#define EHLO_OK                                                                                    \
    "250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-ENHANCEDSTATUSCODES\r\n"         \
    "250 8BITMIME\r\n"
#define MAIL_OK "250 2.1.0 Ok\r\n"
#define RCPT_OK "250 2.1.5 Ok\r\n"
#define DATA_OK "354 End data with <CR><LF>.<CR><LF>\r\n"
#define QUEUED "250 2.0.0 Ok: queued as 4X9K2\r\n"
#define NEED_MAIL "503 5.5.1 Error: need MAIL command\r\n"
#define SYNC_BROKEN "554 5.5.0 Error: SMTP protocol synchronization\r\n"
#define BEGIN                                                                                      \
    { "EHLO a\r\n", EHLO_OK }, { "MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\n", MAIL_OK RCPT_OK },        \
    {                                                                                              \
        "DATA\r\n", DATA_OK                                                                        \
    }
#define BEGIN_EVENTS "EHLO a;MAIL <s@a>;RCPT <r@b>;DATA;"

extern const struct smtp_server_conf rig_conf; /* plain, 1000 bytes, no TLS, no AUTH */

#define DIALOGUE(conf, events, ...)                                                                \
    do {                                                                                           \
        static const struct turn dialogue_turns[] = { __VA_ARGS__ };                               \
        rig_dialogue(&(conf), false, dialogue_turns, COUNT_OF(dialogue_turns), events);            \
    } while (0)
#define DIALOGUE_WHOLE(conf, events, ...)                                                          \
    do {                                                                                           \
        static const struct turn dialogue_turns[] = { __VA_ARGS__ };                               \
        rig_dialogue_whole(&(conf), false, dialogue_turns, COUNT_OF(dialogue_turns), events);      \
    } while (0)

#endif
