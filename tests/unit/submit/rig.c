/* SPDX-License-Identifier: Apache-2.0
 *
 * rig.c - see rig.h.
 */
#include "tests/unit/submit/rig.h"

#include "core/str.h"
#include "core/time.h"

static const char rig_config[] =
        "hostname = \"mail.example.com\"\n"
        "message-bytes-max = \"4M\"\n"
        "listen \"local\" { address = { \"127.0.0.1:25\" } networks = { \"127.0.0.0/8\", "
        "\"10.0.0.0/8\" } }\n"
        "listen \"submission\" { address = { \"127.0.0.1:587\" } auth = required "
        "auth-in-clear = yes }\n"
        "listen \"optional\" { address = { \"127.0.0.1:588\" } auth = optional "
        "auth-in-clear = yes networks = { \"10.9.0.0/16\" } }\n";

const char *rig_password_hash(void)
{
    static char text[400];
    if (text[0] == '\0') {
        struct buf hash;
        buf_init(&hash, sizeof text - 1);
        REQUIRE_OK(password_hash(STR("secret"), entropy_real(), &hash));
        CHECK(str_to_c(buf_str(&hash), text, sizeof text));
        buf_done(&hash);
    }
    return text;
}

struct config *rig_parse(const char *more)
{
    struct config *config = NULL;
    struct config_report report = { 0 };
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_add_c(&text, rig_config);
    buf_addf(&text, "credential \"shop\" { password-hash = \"%s\" from = { \"example.com\" } }\n",
            rig_password_hash());
    buf_add_c(&text, more);
    enum err err = config_parse(buf_str(&text), STR("test.conf"), &config, &report);
    if (err != OK) {
        test_fail(__FILE__, __LINE__, "config: %s: %.*s", err_name(err),
                STR_ARG(report.fault_count ? report.fault[0].text : STR("?")));
    }
    config_report_done(&report);
    buf_done(&text);
    return config;
}

static struct mono rig_mono(struct clock *clock)
{
    return CONTAINER_OF(clock, struct rig_clock, base)->mono;
}

static struct wall rig_wall(struct clock *clock)
{
    return CONTAINER_OF(clock, struct rig_clock, base)->wall;
}

static void rig_fill(struct entropy *entropy, void *dst, size_t len_bytes)
{
    struct rig *rig = CONTAINER_OF(entropy, struct rig, entropy);
    for (size_t i = 0; i < len_bytes; i++) {
        ((uint8_t *)dst)[i] = rig->entropy_next++;
    }
}

static void rig_log(void *ctx, enum log_level level, struct str line)
{
    struct rig *rig = ctx;
    (void)level;
    buf_add(&rig->log_text, line);
    buf_add_char(&rig->log_text, '\n');
}

enum { RIG_AUTH = 77 };

void rig_open(struct rig *rig, const char *more)
{
    struct why why;
    *rig = (struct rig){ 0 };
    pipe_net_init(&rig->net);
    rig->clock = (struct rig_clock){ { rig_mono, rig_wall }, { 1000000 }, { 1764075600000 } };
    rig->entropy.fill = rig_fill;
    rig->log = (struct log){ LOG_DEBUG_, rig_log, rig };
    rig->budget.max_bytes = 64 << 20;
    buf_init(&rig->log_text, 1 << 20);
    buf_init(&rig->content, 16 << 20);
    buf_init(&rig->envelope, 1 << 20);
    buf_init(&rig->refusals, 1 << 20);
    mailbox_init(&rig->self, 10000, NULL, NULL);
    mailbox_init(&rig->keeper, 10000, NULL, NULL);
    mailbox_init(&rig->workers, 10000, NULL, NULL);
    rig->config = rig_parse(more);
    REQUIRE_OK(submit_shared_new(&rig->entropy, &rig->shared));
    struct submit_ports ports = {
        .self = &rig->self, .keeper = &rig->keeper, .workers = &rig->workers, .auth_kind = RIG_AUTH
    };
    REQUIRE_OK(submit_new(&rig->net.base, &rig->clock.base, &rig->entropy, &rig->log, rig->shared,
            &rig->budget, rig->config, &ports, &rig->submit));
    REQUIRE_OK(submit_listen(rig->submit, false, &why));
}

void rig_done(struct rig *rig)
{
    rig_answer(rig);
    submit_free(rig->submit);
    submit_shared_free(rig->shared);
    config_give(rig->config);
    pipe_net_done(&rig->net);
    mailbox_done(&rig->self);
    mailbox_done(&rig->keeper);
    mailbox_done(&rig->workers);
    buf_done(&rig->log_text);
    buf_done(&rig->content);
    buf_done(&rig->envelope);
    buf_done(&rig->refusals);
    CHECK_U64(rig->budget.used_bytes, 0);
}

void rig_reload(struct rig *rig, const char *more)
{
    struct why why;
    struct config *config = rig_parse(more);
    submit_config(rig->submit, config);
    config_give(rig->config);
    rig->config = config;
    REQUIRE_OK(submit_listen(rig->submit, false, &why));
}

struct pipe_conn *rig_connect(struct rig *rig, const char *to, const char *from)
{
    struct pipe_conn *conn = pipe_connect(&rig->net, str_from_c(to), str_from_c(from));
    CHECK(conn, "nobody listens at %s", to);
    return conn;
}

/* ---- keeper and workers --------------------------------------------------------------------- */

static void gather(const struct blob *blob, struct buf *dst)
{
    for (const struct blob_chunk *chunk = blob ? blob->first : NULL; chunk; chunk = chunk->next) {
        buf_add(dst, str_of(chunk->data, chunk->len));
    }
}

static void describe(struct rig *rig, const struct blob *blob)
{
    struct buf text;
    struct spool_envelope envelope;
    struct str rcpt;
    buf_init(&text, 1 << 20);
    gather(blob, &text);
    REQUIRE_OK(spool_envelope_decode(buf_str(&text), &envelope));
    buf_clear(&rig->envelope);
    buf_addf(&rig->envelope, "from=<%.*s> credential=%.*s stream=%.*s\n", STR_ARG(envelope.sender),
            STR_ARG(envelope.credential), STR_ARG(envelope.stream));
    for (struct cur cur = { envelope.rcpts, false }; spool_rcpt_next(&cur, &rcpt);) {
        buf_addf(&rig->envelope, "to=<%.*s>\n", STR_ARG(rcpt));
    }
    buf_done(&text);
}

static void keep(struct rig *rig, struct keeper_accept *accept)
{
    accept->err = rig->keeper_err;
    if (accept->err == OK) {
        rig->kept_count++;
        if (accept->content) {
            buf_clear(&rig->content);
            gather(accept->content, &rig->content);
        }
        describe(rig, accept->envelope);
    }
    accept->letter.kind = accept->reply.kind;
    mailbox_answer(accept->reply.box, &accept->letter);
}

static void keep_chunk(struct rig *rig, struct keeper_body *body)
{
    if (rig->chunk_count == 0) {
        buf_clear(&rig->content);
    }
    rig->chunk_count++;
    gather(body->chunk, &rig->content);
    body->err = rig->chunk_err;
    body->extent = (struct spool_extent){ rig->chunk_count, 1, (uint32_t)body->chunk->size_bytes };
    body->letter.kind = body->reply.kind;
    mailbox_answer(body->reply.box, &body->letter);
}

static void note_refusal(struct rig *rig, struct keeper_record *record)
{
    struct spool_refusal refusal;
    CHECK_U64(record->type, SPOOL_REFUSED);
    REQUIRE_OK(spool_refusal_decode(str_of(record->payload, record->payload_len), &refusal));
    buf_addf(&rig->refusals, "%u %.*s %.*s from=<%.*s> to=<%.*s>\n", refusal.code,
            STR_ARG(refusal.enhanced), STR_ARG(refusal.text), STR_ARG(refusal.sender),
            STR_ARG(refusal.recipient));
    rig->refusal_count++;
    mem_free(record);
}

static void keeper_letter(struct rig *rig, struct letter *letter)
{
    struct keeper_body *body = CONTAINER_OF(letter, struct keeper_body, letter);
    switch (letter->kind) {
    case KEEPER_ACCEPT:
        rig->asked_at = CONTAINER_OF(letter, struct keeper_accept, letter)->asked_at;
        keep(rig, CONTAINER_OF(letter, struct keeper_accept, letter));
        break;
    case KEEPER_BODY:
        keep_chunk(rig, body);
        break;
    case KEEPER_DROP:
        rig->dropped_count += body->body.extent_count;
        mem_free(body->body.extent);
        mem_free(body);
        break;
    case KEEPER_RECORD:
        note_refusal(rig, CONTAINER_OF(letter, struct keeper_record, letter));
        break;
    default:
        test_fail(__FILE__, __LINE__, "letter %u to the keeper", letter->kind);
    }
}

static bool answer_once(struct rig *rig)
{
    struct letter *letter = mailbox_take_all(&rig->keeper), *next;
    bool is_any = letter != NULL;
    for (; letter; letter = next) {
        next = letter->next;
        keeper_letter(rig, letter);
    }
    for (letter = mailbox_take_all(&rig->workers); letter; letter = next) {
        struct submit_auth *auth = CONTAINER_OF(letter, struct submit_auth, letter);
        next = letter->next;
        is_any = true;
        CHECK_U64(letter->kind, RIG_AUTH);
        submit_auth_run(auth);
        rig->verified_count++;
        letter->kind = SUBMIT_VERIFIED;
        mailbox_answer(auth->reply_box, letter);
    }
    for (letter = mailbox_take_all(&rig->self); letter; letter = next) {
        next = letter->next;
        is_any = true;
        submit_letter(rig->submit, letter, rig->clock.mono);
    }
    return is_any;
}

void rig_answer(struct rig *rig)
{
    while (answer_once(rig)) { /* an answer may lead to another letter */
        pipe_poll(&rig->net);
    }
}

void rig_pass(struct rig *rig, uint64_t ms)
{
    while (ms > 0) {
        uint64_t step_ms = ms < 1000 ? ms : 1000;
        rig->clock.mono.ms += (int64_t)step_ms;
        rig->clock.wall.ms += (int64_t)step_ms;
        (void)submit_turn(rig->submit, rig->clock.mono);
        ms -= step_ms;
    }
}

/* ---- dialogues ------------------------------------------------------------------------------ */

struct play {
    struct rig *rig;
    struct pipe_conn *conn;
    struct buf said; /* C: lines not sent yet */
    int line_number;
};

static void send_said(struct play *play)
{
    if (play->said.len > 0) {
        /* what was sent to a closed connection is lost, as on a real one */
        pipe_send(play->conn, buf_str(&play->said));
        buf_clear(&play->said);
    }
    if (!play->rig->is_keeper_slow) {
        rig_answer(play->rig);
    }
}

static void expect(struct play *play, struct str expected)
{
    struct buf *out = &play->conn->out;
    size_t len = str_find(buf_str(out), STR("\r\n"));
    struct str got = str_sub(buf_str(out), 0, len);
    bool is_open_end = expected.len > 0 && expected.ptr[expected.len - 1] == '*';
    bool is_equal = is_open_end ? str_starts(got, str_sub(expected, 0, expected.len - 1))
                                : str_eq(got, expected);
    if (!is_equal || len == out->len) {
        test_fail(__FILE__, __LINE__, "line %d of the dialogue: expected \"%.*s\", got \"%.*s\"%s",
                play->line_number, STR_ARG(expected), STR_ARG(got),
                play->conn->is_closed ? " (closed)" : "");
    }
    buf_drop_front(out, len + 2);
}

static void check_end(struct play *play, bool is_closed)
{
    if (play->conn->out.len > 0 || play->conn->is_closed != is_closed) {
        test_fail(__FILE__, __LINE__, "line %d of the dialogue: %s, and still said: \"%.*s\"",
                play->line_number, play->conn->is_closed ? "closed" : "open",
                STR_ARG(buf_str(&play->conn->out)));
    }
}

static void do_line(struct play *play, struct str line)
{
    uint64_t ms;
    if (str_starts(line, STR("C: ")) || str_eq(line, STR("C:"))) {
        buf_add(&play->said, str_from(line, 3));
        buf_add_c(&play->said, "\r\n");
        return;
    }
    send_said(play);
    if (str_starts(line, STR("S: "))) {
        expect(play, str_from(line, 3));
    } else if (str_starts(line, STR("TIME "))) {
        REQUIRE_OK(str_to_ms(str_from(line, 5), UINT64_MAX, &ms));
        rig_pass(play->rig, ms);
    } else if (str_eq(line, STR("TLS"))) {
        pipe_tls(play->conn, true);
    } else if (str_eq(line, STR("END"))) {
        pipe_end(play->conn);
    } else if (str_eq(line, STR("CLOSED"))) {
        check_end(play, true);
    } else if (str_eq(line, STR("OPEN"))) {
        check_end(play, false);
    } else {
        test_fail(__FILE__, __LINE__, "line %d of the dialogue: %.*s?", play->line_number,
                STR_ARG(line));
    }
}

void rig_play(struct rig *rig, struct pipe_conn *conn, const char *dialogue)
{
    struct play play = { .rig = rig, .conn = conn };
    struct str line, rest = str_from_c(dialogue);
    buf_init(&play.said, 16 << 20);
    while (str_cut(&rest, '\n', &line)) {
        play.line_number++;
        if (line.len > 0) {
            do_line(&play, line);
        }
    }
    send_said(&play);
    buf_done(&play.said);
}

void rig_talk(struct rig *rig, const char *to, const char *from, const char *dialogue)
{
    rig_play(rig, rig_connect(rig, to, from), dialogue);
}
