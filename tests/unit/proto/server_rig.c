/* SPDX-License-Identifier: Apache-2.0
 *
 * server_rig.c - the driver of smtp_server for tests; see server_rig.h.
 */
#include "tests/unit/proto/server_rig.h"

#include "core/str.h"
#include "tests/test.h"

const struct smtp_server_conf rig_conf = {
    .hostname = { "mx.example.org", 14 },
    .size_max_bytes = 1000,
};

void rig_open(struct rig *rig, const struct smtp_server_conf *conf, bool is_tls)
{
    memset(rig, 0, sizeof *rig);
    buf_init(&rig->kept, 1 << 20);
    buf_init(&rig->out, 1 << 20);
    buf_init(&rig->events, 1 << 20);
    buf_init(&rig->content, 1 << 20);
    smtp_server_open(&rig->server, conf, is_tls);
}

void rig_done(struct rig *rig)
{
    buf_done(&rig->kept);
    buf_done(&rig->out);
    buf_done(&rig->events);
    buf_done(&rig->content);
}

static void write_output(struct rig *rig)
{
    struct str out = smtp_server_output(&rig->server);
    buf_add(&rig->out, out);
    smtp_server_wrote(&rig->server, out.len);
    if (smtp_server_phase(&rig->server) == SMTP_SERVER_PHASE_TLS) {
        buf_add_c(&rig->events, "TLS;");
        smtp_server_tls_started(&rig->server);
    }
}

struct str rig_take(struct rig *rig)
{
    write_output(rig);
    size_t len = rig->out.len;
    CHECK(len <= sizeof rig->taken);
    if (len) {
        memcpy(rig->taken, rig->out.ptr, len);
    }
    buf_clear(&rig->out);
    return str_of(rig->taken, len);
}

static void decide_path(struct rig *rig, struct str path)
{
    char text[256];
    if (str_find(path, STR("refuse")) < path.len) {
        size_t len = fmt(text, sizeof text, "<%.*s>: no", STR_ARG(path));
        smtp_server_reply(&rig->server, 550, STR("5.1.1"), str_of(text, len));
    } else if (str_find(path, STR("later")) < path.len) {
        smtp_server_reply(&rig->server, 450, STR("4.2.1"), STR("later"));
    } else if (str_find(path, STR("shutdown")) < path.len) {
        smtp_server_reply(&rig->server, 421, STR("4.3.2"), STR("going down"));
    } else {
        smtp_server_accept(&rig->server, STR(""));
    }
}

static void decide_auth(struct rig *rig, bool has_answer, struct str answer)
{
    if (!has_answer) {
        smtp_server_reply(&rig->server, 334, STR("5.5.5"), STR("UGFzc3dvcmQ6"));
    } else if (str_eq(answer, STR("good"))) {
        smtp_server_accept(&rig->server, STR(""));
    } else if (str_eq(answer, STR("down"))) {
        smtp_server_reply(&rig->server, 454, STR("4.7.0"), STR("Temporary authentication failure"));
    } else {
        smtp_server_reply(&rig->server, 535, STR("5.7.8"), STR("Error: authentication failed"));
    }
}

static void decide(struct rig *rig)
{
    const struct smtp_server_event *event = &rig->undecided;
    switch (event->kind) {
    case SMTP_SERVER_MAIL:
    case SMTP_SERVER_RCPT:
        decide_path(rig, event->text);
        break;
    case SMTP_SERVER_DATA:
    case SMTP_SERVER_STARTTLS:
        smtp_server_accept(&rig->server, STR(""));
        break;
    case SMTP_SERVER_AUTH:
        decide_auth(rig, event->has_initial, event->initial);
        break;
    case SMTP_SERVER_AUTH_STEP:
        decide_auth(rig, true, event->text);
        break;
    case SMTP_SERVER_END:
        if (str_find(buf_str(&rig->content), STR("REJECT")) < rig->content.len) {
            smtp_server_reply(&rig->server, 554, STR("5.6.0"), STR("no"));
        } else {
            smtp_server_accept(&rig->server, STR("4X9K2"));
        }
        buf_clear(&rig->content);
        break;
    case SMTP_SERVER_NONE:
    case SMTP_SERVER_HELO:
    case SMTP_SERVER_CHUNK:
    case SMTP_SERVER_RESET:
    case SMTP_SERVER_QUIT:
    case SMTP_SERVER_CLOSE:
        break;
    }
    rig->undecided.kind = SMTP_SERVER_NONE;
}

static void note_end(struct rig *rig, const struct smtp_server_event *event)
{
    CHECK_U64(event->size_bytes, rig->content.len);
    buf_addf(&rig->events, "END%s%s%s [", event->is_8bit ? " 8bit" : "",
            event->has_nul ? " nul" : "", event->has_long_line ? " long" : "");
    if (rig->content.len < 100) {
        buf_add(&rig->events, buf_str(&rig->content));
    }
    buf_add_c(&rig->events, "];");
}

static void note_mail(struct rig *rig, const struct smtp_server_event *event)
{
    buf_addf(&rig->events, "MAIL <%.*s>", STR_ARG(event->text));
    if (event->size_bytes) {
        buf_addf(&rig->events, " size=%llu", (unsigned long long)event->size_bytes);
    }
    if (event->auth.len) {
        buf_addf(&rig->events, " auth=%.*s", STR_ARG(event->auth));
    }
    buf_add_c(&rig->events, event->is_8bit ? " 8bit;" : ";");
}

static void note(struct rig *rig, const struct smtp_server_event *event)
{
    struct buf *events = &rig->events;
    switch (event->kind) {
    case SMTP_SERVER_HELO:
        buf_addf(events, "%s %.*s;", event->is_esmtp ? "EHLO" : "HELO", STR_ARG(event->text));
        break;
    case SMTP_SERVER_MAIL:
        note_mail(rig, event);
        break;
    case SMTP_SERVER_RCPT:
        buf_addf(events, "RCPT <%.*s>;", STR_ARG(event->text));
        break;
    case SMTP_SERVER_DATA:
        buf_add_c(events, "DATA;");
        break;
    case SMTP_SERVER_CHUNK:
        CHECK(event->text.len > 0);
        buf_add(&rig->content, event->text);
        break;
    case SMTP_SERVER_END:
        note_end(rig, event);
        break;
    case SMTP_SERVER_AUTH:
        buf_addf(events, "AUTH %.*s %d %.*s;", STR_ARG(event->text), event->has_initial,
                STR_ARG(event->initial));
        break;
    case SMTP_SERVER_AUTH_STEP:
        buf_addf(events, "STEP %.*s;", STR_ARG(event->text));
        break;
    case SMTP_SERVER_STARTTLS:
        buf_add_c(events, "STARTTLS;");
        break;
    case SMTP_SERVER_RESET:
        buf_addf(events, "RESET %s;", smtp_server_reason_name(event->reason));
        buf_clear(&rig->content);
        break;
    case SMTP_SERVER_QUIT:
        buf_add_c(events, "QUIT;");
        break;
    case SMTP_SERVER_CLOSE:
        buf_addf(events, "CLOSE %s;", smtp_server_reason_name(event->reason));
        buf_clear(&rig->content);
        break;
    case SMTP_SERVER_NONE:
        break;
    }
}

static bool is_decision(enum smtp_server_event_kind kind)
{
    return kind == SMTP_SERVER_MAIL || kind == SMTP_SERVER_RCPT || kind == SMTP_SERVER_DATA ||
           kind == SMTP_SERVER_END || kind == SMTP_SERVER_AUTH || kind == SMTP_SERVER_AUTH_STEP ||
           kind == SMTP_SERVER_STARTTLS;
}

/* One call of the engine; true if it went forward. The bytes are an exact-size copy, so that the
 * sanitizer sees a read past their end. */
static bool step(struct rig *rig)
{
    struct smtp_server_event event;
    char *exact = mem_new(rig->kept.len + 1);
    if (rig->kept.len) {
        memcpy(exact, rig->kept.ptr, rig->kept.len);
    }
    exact = mem_grow(exact, rig->kept.len ? rig->kept.len : 1);
    size_t used = smtp_server_input(&rig->server, str_of(exact, rig->kept.len), &event);
    CHECK(used > 0 || event.kind == SMTP_SERVER_NONE, "an event used nothing");
    CHECK(used <= rig->kept.len);
    note(rig, &event);
    if (is_decision(event.kind)) {
        rig->undecided = event;
        struct str keep = event.kind == SMTP_SERVER_AUTH ? event.initial : event.text;
        keep.len = keep.len < sizeof rig->undecided_text ? keep.len : sizeof rig->undecided_text;
        if (keep.len) {
            memcpy(rig->undecided_text, keep.ptr, keep.len);
        }
        rig->undecided.text = rig->undecided.initial = str_of(rig->undecided_text, keep.len);
    }
    mem_free(exact);
    buf_drop_front(&rig->kept, used);
    if (is_decision(event.kind) && !rig->decides_late) {
        decide(rig);
    }
    return used > 0;
}

/* As a session loop: goes on until the engine wants something; writes once. */
static void drive(struct rig *rig)
{
    bool goes_on = true;
    while (goes_on) {
        goes_on = rig->kept.len > 0 && step(rig);
        if (!goes_on && rig->undecided.kind != SMTP_SERVER_NONE) {
            decide(rig);
            goes_on = true;
        }
        if (!goes_on && smtp_server_output(&rig->server).len > 0) {
            size_t kept = rig->kept.len;
            write_output(rig);
            goes_on = kept > 0;
        }
    }
}

void rig_send(struct rig *rig, struct str in, size_t piece_bytes)
{
    for (size_t pos = 0; pos < in.len;) {
        struct str piece = str_sub(in, pos, piece_bytes ? piece_bytes : in.len);
        buf_add(&rig->kept, piece);
        drive(rig);
        pos += piece.len;
    }
}

static void run(struct rig *rig, const struct turn *turns, size_t turn_count, size_t piece_bytes)
{
    CHECK_STR(rig_take(rig), STR(GREETING));
    for (size_t i = 0; i < turn_count; i++) {
        rig_send(rig, str_from_c(turns[i].in), piece_bytes);
        struct str got = rig_take(rig), expected = str_from_c(turns[i].out);
        CHECK(str_eq(got, expected), "piece %zu, turn %zu: %.60s\n  got      %.*s\n  expected %s",
                piece_bytes, i, turns[i].in, STR_ARG(got), turns[i].out);
    }
}

void rig_dialogue_whole(const struct smtp_server_conf *conf, bool is_tls, const struct turn *turns,
        size_t turn_count, const char *events)
{
    static struct rig rig;
    rig_open(&rig, conf, is_tls);
    run(&rig, turns, turn_count, 0);
    CHECK_STR(buf_str(&rig.events), str_from_c(events));
    rig_done(&rig);
}

void rig_dialogue(const struct smtp_server_conf *conf, bool is_tls, const struct turn *turns,
        size_t turn_count, const char *events)
{
    static const size_t pieces[] = { 0, 1, 2, 3, 5, 7, 16, 61 };
    static struct rig rig;
    for (size_t i = 0; i < 2 * COUNT_OF(pieces); i++) {
        rig_open(&rig, conf, is_tls);
        rig.decides_late = i % 2;
        run(&rig, turns, turn_count, pieces[i / 2]);
        CHECK_STR(buf_str(&rig.events), str_from_c(events));
        rig_done(&rig);
    }
}
