/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_server.h - one inbound SMTP session as an engine: bytes in, bytes and events out.
 *
 * RFC 5321 with PIPELINING (2920), SIZE (1870), 8BITMIME (6152), STARTTLS (3207), AUTH (4954) and
 * ENHANCEDSTATUSCODES (2034). The engine keeps order, syntax and limits and writes every reply that
 * follows from them; whoever drives it owns socket, clock, TLS and all decisions (who may send what
 * to whom, whether it is kept). It allocates nothing and copies no input: all strings of an event
 * are views of the bytes passed in. Address validity is judged by the caller (mail/address.h).
 *
 * How to drive it:
 *
 *     smtp_server_open(&s, &conf, is_tls);
 *     loop:
 *         while ((used = smtp_server_input(&s, bytes, &event)) > 0)
 *             bytes = str_from(bytes, used), act on event;
 *         write smtp_server_output(&s), smtp_server_wrote(&s, n);       one write for all replies
 *         if bytes are left, the phase is not DECISION and something was written: loop
 *         keep the bytes left, read more behind them
 *
 * An event marked (decide) holds the session until smtp_server_reply() or smtp_server_accept(),
 * at once or any time later; until then smtp_server_input() uses nothing.
 */
#ifndef OUTPOST_PROTO_SMTP_SERVER_H
#define OUTPOST_PROTO_SMTP_SERVER_H

#include "core/base.h"

enum {
    SMTP_SERVER_LINE_BYTES_MAX = 2048,       /* command with CRLF; RFC 5321 4.5.3.1.4 asks 512 */
    SMTP_SERVER_AUTH_LINE_BYTES_MAX = 12288, /* RFC 4954 4 */
    SMTP_SERVER_FLOOD_BYTES_MAX = 65536,     /* a line this long without CRLF: 421 and close */
    /* The driver must be able to keep (and show again) that many bytes not yet used. */
    SMTP_SERVER_INPUT_BYTES_MIN = SMTP_SERVER_AUTH_LINE_BYTES_MAX,
    SMTP_SERVER_OUTPUT_BYTES = 2048,
    SMTP_SERVER_REPLY_BYTES_MAX = 512,      /* with CRLF, RFC 5321 4.5.3.1.5; longer text is cut */
    SMTP_SERVER_HELO_BYTES_MAX = 255,       /* RFC 5321 4.5.3.1.2 */
    SMTP_SERVER_TEXT_LINE_BYTES_MAX = 998,  /* without CRLF, RFC 5321 4.5.3.1.6 */
    SMTP_SERVER_RCPT_DEFAULT = 1000,        /* as Postfix; RFC 5321 4.5.3.1.8 asks 100 at least */
    SMTP_SERVER_RCPT_OVER_MAX = 1000,       /* recipients past the limit until 421 */
    SMTP_SERVER_ERROR_DEFAULT = 20,         /* as Postfix smtpd_hard_error_limit */
    SMTP_SERVER_IDLE_COMMAND_DEFAULT = 100, /* as Postfix smtpd_junk_command_limit */
    SMTP_SERVER_AUTH_FAILURE_DEFAULT = 3,
};
#define SMTP_SERVER_SIZE_DEFAULT_BYTES UINT64_C(52428800)

/* Immutable while sessions use it. Zero numbers mean the defaults above. */
struct smtp_server_conf {
    struct str hostname;        /* in greeting, EHLO and 421; at most 255 bytes */
    struct str auth_mechanisms; /* "PLAIN LOGIN"; empty: no AUTH */
    uint64_t size_max_bytes;    /* of one message, CRLF counted, dots unstuffed */
    uint32_t rcpt_count_max;    /* of one transaction, accepted ones */
    uint32_t error_count_max;   /* without an accepted message; 452 does not count */
    uint32_t idle_count_max;    /* NOOP, RSET, VRFY, EHLO without a message; above, each an error */
    uint32_t auth_failure_max;  /* 535 replies a session */
    bool offers_tls;            /* STARTTLS in EHLO while in the clear */
    bool requires_tls;          /* 530 5.7.0 to all but EHLO HELO NOOP STARTTLS QUIT before TLS */
    bool requires_auth;         /* 530 5.7.0 to MAIL before AUTH */
    bool allows_auth_in_clear;  /* loopback only; else AUTH in the clear is 538 5.7.11 */
};

enum smtp_server_event_kind {
    SMTP_SERVER_NONE,  /* nothing to act on: more input, a decision or smtp_server_wrote is due */
    SMTP_SERVER_HELO,  /* answered; an open transaction is dropped (RFC 5321 4.1.4) */
    SMTP_SERVER_MAIL,  /* (decide) syntax is right, SIZE fits */
    SMTP_SERVER_RCPT,  /* (decide) */
    SMTP_SERVER_DATA,  /* (decide) at least one recipient is accepted; 354 starts the chunks */
    SMTP_SERVER_CHUNK, /* content, dots unstuffed, CRLF kept */
    SMTP_SERVER_END,   /* (decide) the whole message was given; the reply ends the transaction */
    SMTP_SERVER_AUTH,  /* (decide) 334 asks for more, 235 succeeds, 4xx/5xx fails */
    SMTP_SERVER_AUTH_STEP, /* (decide) as AUTH: the client's answer to a 334 */
    SMTP_SERVER_STARTTLS,  /* (decide) 220 written: handshake, then smtp_server_tls_started */
    SMTP_SERVER_RESET,     /* answered or going to be: forget the transaction and its content */
    SMTP_SERVER_QUIT,      /* answered: write the output, then close */
    SMTP_SERVER_CLOSE,     /* broken off by the engine: write the output, then close */
};

enum smtp_server_reason {
    SMTP_SERVER_REASON_NONE,
    SMTP_SERVER_RESET_COMMAND, /* RESET: the client said RSET */
    SMTP_SERVER_RESET_NEWLINE, /* RESET: bare CR or LF in content; drained, then 550 5.5.2 */
    SMTP_SERVER_RESET_SIZE,    /* RESET: content over the limit; drained, then 552 5.3.4 */
    SMTP_SERVER_CLOSE_NEWLINE, /* CLOSE: bare LF ended a command */
    SMTP_SERVER_CLOSE_FLOOD,   /* CLOSE: endless line */
    SMTP_SERVER_CLOSE_SYNC, /* CLOSE: talked before the greeting or a reply that it had to await */
    SMTP_SERVER_CLOSE_FOREIGN, /* CLOSE: speaks HTTP or something like it */
    SMTP_SERVER_CLOSE_ERRORS,  /* CLOSE: too many errors */
    SMTP_SERVER_CLOSE_RCPT,    /* CLOSE: far too many recipients */
    SMTP_SERVER_CLOSE_AUTH,    /* CLOSE: too many failed logins */
    SMTP_SERVER_CLOSE_SIZE,    /* CLOSE: content over twice the limit */
    SMTP_SERVER_CLOSE_DRIVER,  /* the driver said 421 or called smtp_server_fail() */
    SMTP_SERVER_CLOSE_QUIT,    /* the client said QUIT */
    SMTP_SERVER_REASON_COUNT
};
const char *smtp_server_reason_name(enum smtp_server_reason reason); /* words for a log line */

struct smtp_server_event {
    enum smtp_server_event_kind kind;
    enum smtp_server_reason reason; /* RESET, CLOSE */
    /* HELO: the name, 1..255 bytes without blanks or controls. MAIL, RCPT: what stands between
     * < and >; ASCII, no controls; may be empty for MAIL (RFC 5321 4.5.5), never for RCPT.
     * CHUNK: content, never empty. AUTH: the mechanism. AUTH_STEP: the line, may hold any byte. */
    struct str text;
    struct str initial;  /* AUTH: initial response (has_initial), "=" stands for an empty one */
    struct str auth;     /* MAIL: value of AUTH= as xtext, checked; empty when not given */
    uint64_t size_bytes; /* MAIL: SIZE= (0: not given). END: bytes of content given in chunks */
    bool has_initial;    /* AUTH */
    bool is_esmtp;       /* HELO: was EHLO */
    bool is_8bit;        /* MAIL: BODY=8BITMIME. END: an octet above 127 was seen */
    bool has_nul;        /* END */
    bool has_long_line;  /* END: a line over SMTP_SERVER_TEXT_LINE_BYTES_MAX */
};

/* What the session waits for, to choose a deadline by. */
enum smtp_server_phase {
    SMTP_SERVER_PHASE_COMMAND,  /* the client's next command or AUTH line */
    SMTP_SERVER_PHASE_CONTENT,  /* message content */
    SMTP_SERVER_PHASE_DECISION, /* the driver's reply */
    SMTP_SERVER_PHASE_TLS,      /* the handshake after 220 */
    SMTP_SERVER_PHASE_CLOSED,   /* nothing more */
};

/* Members are the engine's own. All-zero is not open. About 2.3 KiB. */
struct smtp_server {
    const struct smtp_server_conf *conf;
    uint8_t state;   /* enum in smtp_server.c */
    uint8_t pending; /* the event that awaits its decision, or SMTP_SERVER_NONE */
    uint8_t content; /* where in a content line, see smtp_server_data.c */
    uint8_t drain;   /* enum smtp_server_reason: why the content is refused; 0: it is not */
    uint8_t closed;  /* enum smtp_server_reason: why closed */
    bool is_tls, is_esmtp, has_hello, is_authenticated;
    bool has_mail;     /* a transaction is open */
    bool must_be_sync; /* a reply must be read by the client before it may talk on */
    bool is_skipping;  /* inside a line too long to keep */
    bool skips_auth;   /* that line was an AUTH one */
    bool skip_has_cr;  /* the last byte of it seen was CR */
    bool is_bare_cr;   /* the content is refused for a bare CR (else LF) */
    bool is_8bit, has_nul, has_long_line;
    uint32_t rcpt_count, rcpt_tried_count, rcpt_over_count;
    uint32_t error_count, idle_count, auth_failure_count;
    uint32_t skipped_bytes;
    uint32_t line_bytes;    /* of the content line so far, without dot and CR LF */
    uint64_t content_bytes; /* of this message */
    uint32_t out_len, out_done;
    char out[SMTP_SERVER_OUTPUT_BYTES];
};

/* Begins a session and queues the 220 greeting. is_tls: TLS is up already (port 465). */
void smtp_server_open(struct smtp_server *server, const struct smtp_server_conf *conf, bool is_tls);

/* Bytes to write now; a view until the next call. Empty: nothing. */
struct str smtp_server_output(const struct smtp_server *server);
/* n of them went out. When all did, smtp_server_input may go on where it stopped for room. */
void smtp_server_wrote(struct smtp_server *server, size_t n_bytes);

/* Uses bytes up to the first event or their end; returns how many (0: see SMTP_SERVER_NONE) and
 * the event, which never comes with 0. An unfinished command line stays unused: show it again with
 * more behind it. Views in the event live as long as bytes. Anything that arrives after QUIT or
 * CLOSE is used up silently. A client that talks on while the decision on DATA, AUTH or STARTTLS
 * is pending breaks the protocol: CLOSE comes, and the decision is void. */
MUST_USE size_t smtp_server_input(
        struct smtp_server *server, struct str bytes, struct smtp_server_event *ret_event);

/* Decides the pending event. code 2xx/3xx lets the session advance (MAIL, RCPT 250; DATA 354; END
 * 250; AUTH 235 or 334; STARTTLS 220), 4xx/5xx refuses. enhanced ("5.7.1") may be empty; 3xx takes
 * none. text is cut to the reply limit; bytes outside printable ASCII become '?'; 421 gets the
 * hostname put before its text and closes. A refusal may be the last one allowed and close too: no
 * event comes then, ask smtp_server_is_closed() afterwards. Does nothing once closed. */
void smtp_server_reply(
        struct smtp_server *server, unsigned code, struct str enhanced, struct str text);
/* Decides with the usual yes: "250 2.1.0 Ok", "354 End data with <CR><LF>.<CR><LF>" and so on;
 * for END "250 2.0.0 Ok: queued as <id>". id is ignored elsewhere. */
void smtp_server_accept(struct smtp_server *server, struct str id);

/* Says code (421 for a timeout or shutdown) out of turn and closes. Any state; once closed, does
 * nothing. In the middle of content nothing but 421 is sensible. */
void smtp_server_fail(
        struct smtp_server *server, unsigned code, struct str enhanced, struct str text);

/* The handshake after STARTTLS is done: all is forgotten that was said in the clear, the client
 * must say EHLO again (RFC 3207 4.2). If it failed, the driver closes the connection instead. */
void smtp_server_tls_started(struct smtp_server *server);

enum smtp_server_phase smtp_server_phase(const struct smtp_server *server);
bool smtp_server_is_closed(const struct smtp_server *server); /* close once the output is written */
enum smtp_server_reason smtp_server_close_reason(const struct smtp_server *server); /* if closed */

#endif
