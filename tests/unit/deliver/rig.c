/* SPDX-License-Identifier: Apache-2.0
 *
 * rig.c - the net, the peers, the keeper and the clock of the deliverer's tests.
 */
#include "tests/unit/deliver/rig.h"

#include "core/arena.h"
#include "core/str.h"
#include "core/time.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEPS_MAX = 100000, WALL_MS = 1700000000 };

void rig_bytes_add(struct rig_bytes *bytes, struct str s)
{
    if (bytes->len + s.len > bytes->cap) {
        bytes->cap = 2 * (bytes->len + s.len) + 1000;
        bytes->ptr = realloc(bytes->ptr, bytes->cap);
        CHECK(bytes->ptr);
    }
    if (s.len > 0) {
        memcpy(bytes->ptr + bytes->len, s.ptr, s.len);
        bytes->len += s.len;
    }
}

void rig_bytes_drop(struct rig_bytes *bytes, size_t len)
{
    bytes->len -= len;
    memmove(bytes->ptr, bytes->ptr + len, bytes->len);
}

static struct rig *rig_of_net(struct net *net)
{
    return CONTAINER_OF(net, struct rig, net);
}

static struct rig_conn *conn_of(struct net_conn *conn)
{
    return CONTAINER_OF(conn, struct rig_conn, base);
}

/* ---- peers ---- */

static struct str script_line(const char *at)
{
    const char *end = strchr(at, '\n');
    return str_of(at, end ? (size_t)(end - at) : strlen(at));
}

static void script_next(struct rig_conn *conn)
{
    conn->at += script_line(conn->at).len;
    conn->at += *conn->at == '\n';
}

static bool peer_hears(struct rig_conn *conn, struct str expected)
{
    struct str in = rig_str(&conn->in);
    size_t end = str_find(in, STR("\r\n"));
    if (end >= in.len) {
        return false;
    }
    struct str said = str_sub(in, 0, end);
    bool is_prefix = expected.len > 0 && expected.ptr[expected.len - 1] == '*';
    bool is_good = is_prefix ? str_starts(said, str_sub(expected, 0, expected.len - 1))
                             : str_eq(said, expected);
    CHECK(is_good, "peer %s heard \"%.*s\", expected \"%.*s\"", conn->peer->address, STR_ARG(said),
            STR_ARG(expected));
    rig_bytes_drop(&conn->in, end + 2);
    return true;
}

static bool peer_takes_content(struct rig_conn *conn)
{
    struct str in = rig_str(&conn->in);
    size_t end = str_find(in, STR("\r\n.\r\n"));
    if (end >= in.len) {
        return false;
    }
    rig_bytes_add(&conn->rig->content, str_sub(in, 0, end + 5));
    rig_bytes_drop(&conn->in, end + 5);
    return true;
}

/* One line of the script; false: it waits. */
static bool peer_step(struct rig_conn *conn)
{
    struct str line = script_line(conn->at);
    if (conn->rig->any_peer) {
        return !conn->is_closed_by_peer && !conn->is_reset && conn->rig->any_peer(conn);
    }
    if (line.len == 0 || conn->is_closed_by_peer || conn->is_reset || conn->is_tls_pending) {
        return false;
    }
    if (str_starts(line, STR("S: "))) {
        rig_bytes_add(&conn->out, str_from(line, 3));
        rig_bytes_add(&conn->out, STR("\r\n"));
    } else if (str_starts(line, STR("C: "))) {
        if (!peer_hears(conn, str_from(line, 3))) {
            return false;
        }
    } else if (str_eq(line, STR("D:"))) {
        if (!peer_takes_content(conn)) {
            return false;
        }
    } else if (str_eq(line, STR("CLOSE"))) {
        conn->is_closed_by_peer = true;
    } else if (str_eq(line, STR("RESET"))) {
        conn->is_reset = true;
    } else if (str_starts(line, STR("TLS"))) {
        return false; /* start_tls comes to it */
    } else if (str_eq(line, STR("SILENT"))) {
        return false;
    } else {
        CHECK(false, "script line \"%.*s\"", STR_ARG(line));
    }
    script_next(conn);
    return true;
}

/* ---- the net ---- */

static struct rig_peer *peer_for(struct rig *rig, struct str address)
{
    for (uint32_t i = 0; i < rig->peer_count; i++) {
        if (!rig->peer[i].is_used && str_eq(str_from_c(rig->peer[i].address), address)) {
            return &rig->peer[i];
        }
    }
    return NULL;
}

static enum err rig_connect(struct net *net, const struct ip *local, const struct ip_port *remote,
        net_handler *handler, void *ctx, struct net_conn **ret_conn, struct why *why)
{
    struct rig *rig = rig_of_net(net);
    char text[IP_TEXT_CAP];
    struct str address =
            remote->port == 25 ? ip_format(remote->ip, text) : ip_port_format(*remote, text);
    rig->connect_count++;
    struct rig_peer *peer = rig->any_peer ? NULL : peer_for(rig, address);
    if (peer && strcmp(peer->script, "ERROR") == 0) {
        peer->is_used = true;
        why_set(why, "no such address here");
        return E_NOT_FOUND;
    }
    struct rig_conn *conn = calloc(1, sizeof *conn);
    CHECK(conn);
    *conn = (struct rig_conn){ .base = { net },
        .rig = rig,
        .handler = handler,
        .ctx = ctx,
        .peer = peer,
        .is_connecting = true };
    conn->is_refused = rig->any_peer ? false : !peer || strcmp(peer->script, "REFUSE") == 0;
    conn->is_silent = peer && strcmp(peer->script, "SILENT") == 0;
    conn->at = peer ? peer->script : "";
    if (peer) {
        peer->is_used = true;
        peer->conn = conn;
        peer->local = *local;
    }
    list_add_last(&rig->conns, &conn->item);
    *ret_conn = &conn->base;
    return OK;
}

static void rig_want(struct net_conn *base, uint32_t wants)
{
    conn_of(base)->wants = wants;
}

static enum err rig_read(struct net_conn *base, void *dst, size_t cap, size_t *ret_len)
{
    struct rig_conn *conn = conn_of(base);
    if (conn->out.len > 0) {
        *ret_len = conn->out.len < cap ? conn->out.len : cap;
        memcpy(dst, conn->out.ptr, *ret_len);
        rig_bytes_drop(&conn->out, *ret_len);
        return OK;
    }
    if (conn->is_reset) {
        return E_IO;
    }
    if (conn->is_closed_by_peer) {
        conn->is_told_end = true;
        return E_EOF;
    }
    return E_AGAIN;
}

static enum err rig_write(
        struct net_conn *base, const struct iovec *iov, uint32_t iov_count, size_t *ret_len)
{
    struct rig_conn *conn = conn_of(base);
    struct rig *rig = conn->rig;
    CHECK(iov_count > 0);
    if (conn->is_reset || conn->is_closed_by_peer) {
        return E_IO;
    }
    if (rig->is_window_shut && !conn->may_write_once) {
        return E_AGAIN;
    }
    conn->may_write_once = false;
    if (rig->write_max > 0 && conn->write_blocks) {
        conn->write_blocks = false;
        return E_AGAIN;
    }
    conn->write_blocks = true;
    rig->write_count++;
    size_t room = rig->write_max ? rig->write_max : SIZE_MAX;
    *ret_len = 0;
    for (uint32_t i = 0; i < iov_count && room > 0; i++) {
        size_t part = iov[i].iov_len < room ? iov[i].iov_len : room;
        rig_bytes_add(&conn->in, str_of(iov[i].iov_base, part));
        rig_bytes_add(&rig->said, str_of(iov[i].iov_base, part));
        *ret_len += part;
        room -= part;
    }
    CHECK(*ret_len > 0);
    return OK;
}

static enum err rig_start_tls(
        struct net_conn *base, struct tls_context *context, const struct net_tls_params *params)
{
    struct rig_conn *conn = conn_of(base);
    CHECK(context && !params->is_server && !conn->is_tls);
    fmt(conn->rig->server_name, sizeof conn->rig->server_name, "%s",
            params->server_name ? params->server_name : "(none)");
    fmt(conn->rig->session_key, sizeof conn->rig->session_key, "%s", params->session_key);
    conn->rig->verify_required = params->verify_required;
    conn->is_tls_pending = true;
    return OK;
}

static void rig_info(struct net_conn *base, struct net_info *ret_info)
{
    struct rig_conn *conn = conn_of(base);
    *ret_info = (struct net_info){ .is_tls = conn->is_tls,
        .is_verified = conn->rig->is_verified,
        .tls_version = "TLSv1.3",
        .tls_cipher = "TLS_AES_256_GCM_SHA384",
        .tls_bits = 256,
        .err = E_REFUSED };
    why_set(&ret_info->why, "%s", conn->is_tls_pending ? "bad certificate" : "Connection refused");
}

static void rig_net_close(struct net_conn *base, bool is_abort)
{
    struct rig_conn *conn = conn_of(base);
    (void)is_abort;
    CHECK(!conn->is_client_gone);
    conn->is_client_gone = true;
    if (conn->peer) {
        conn->peer->conn = NULL;
    }
}

static const struct net_ops rig_net_ops = { .connect = rig_connect,
    .want = rig_want,
    .read = rig_read,
    .write = rig_write,
    .start_tls = rig_start_tls,
    .info = rig_info,
    .close = rig_net_close };

static bool tell(struct rig_conn *conn, enum net_event event)
{
    conn->handler(conn->ctx, &conn->base, event);
    return true;
}

/* One event of this connection; false: nothing to tell. */
static bool conn_step(struct rig_conn *conn)
{
    if (conn->is_connecting && !conn->is_silent) {
        conn->is_connecting = false;
        return tell(conn, conn->is_refused ? NET_FAILED : NET_CONNECTED);
    }
    if (conn->is_connecting) {
        return false;
    }
    if (conn->is_tls_pending && str_starts(script_line(conn->at), STR("TLS"))) {
        bool is_good = str_eq(script_line(conn->at), STR("TLS"));
        script_next(conn);
        conn->is_tls = is_good;
        conn->is_tls_pending = !is_good;
        return tell(conn, is_good ? NET_TLS_DONE : NET_FAILED);
    }
    if (peer_step(conn)) {
        return true;
    }
    bool has_end = (conn->is_closed_by_peer || conn->is_reset) && !conn->is_told_end;
    if ((conn->wants & NET_WANT_READ) && !conn->is_tls_pending && (conn->out.len > 0 || has_end)) {
        return tell(conn, NET_READABLE);
    }
    if ((conn->wants & NET_WANT_WRITE) && (!conn->rig->is_window_shut || conn->may_write_once)) {
        return tell(conn, NET_WRITABLE);
    }
    return false;
}

static void conn_free_dead(struct rig_conn *conn)
{
    list_del(&conn->item);
    free(conn->in.ptr);
    free(conn->out.ptr);
    free(conn);
}

static bool net_step(struct rig *rig)
{
    struct list *at = rig->conns.next;
    while (at != &rig->conns) {
        struct rig_conn *conn = CONTAINER_OF(at, struct rig_conn, item);
        at = at->next;
        if (conn->is_client_gone) {
            conn_free_dead(conn);
        } else if (conn_step(conn)) {
            return true;
        }
    }
    return false;
}

/* ---- owners around ---- */

static bool keeper_step(struct rig *rig)
{
    if (rig->keeper_mode == RIG_KEEPER_HOLDS) {
        return false;
    }
    struct letter *letter = mailbox_take_all(&rig->keeper);
    bool is_busy = letter != NULL;
    while (letter) {
        struct letter *next = letter->next;
        struct keeper_record *record = CONTAINER_OF(letter, struct keeper_record, letter);
        CHECK_U64(letter->kind, KEEPER_RECORD);
        CHECK_U64(record->wish, KEEPER_WANTS_WRITTEN);
        CHECK_U64(record->type, SPOOL_ATTEMPT);
        rig->attempt_count++;
        record->err = rig->keeper_mode == RIG_KEEPER_FAILS ? E_IO : OK;
        letter->kind = record->reply.kind;
        mailbox_answer(record->reply.box, letter);
        letter = next;
    }
    return is_busy;
}

static bool self_step(struct rig *rig)
{
    struct letter *letter = mailbox_take_all(&rig->self);
    bool is_busy = letter != NULL;
    while (letter) {
        struct letter *next = letter->next;
        deliver_letter(rig->deliver, letter, rig->now);
        letter = next;
    }
    if (is_busy) {
        rig->next = deliver_turn(rig->deliver, rig->now);
    }
    return is_busy;
}

static void queue_step(struct rig *rig)
{
    struct letter *letter = mailbox_take_all(&rig->queue);
    while (letter) {
        struct letter *next = letter->next;
        CHECK_U64(letter->kind, QUEUE_RESULT);
        CHECK(rig->result_count < RIG_RESULT_COUNT_MAX);
        rig->result[rig->result_count++] = CONTAINER_OF(letter, struct queue_result, letter);
        letter = next;
    }
}

void rig_run(struct rig *rig)
{
    uint32_t steps = 0;
    while (self_step(rig) || keeper_step(rig) || net_step(rig)) {
        CHECK(++steps < STEPS_MAX, "it never ends");
    }
    queue_step(rig);
}

void rig_open_window(struct rig *rig)
{
    for (struct list *at = rig->conns.next; at != &rig->conns; at = at->next) {
        struct rig_conn *conn = CONTAINER_OF(at, struct rig_conn, item);
        conn->may_write_once = true;
        conn->write_blocks = false;
    }
    rig_run(rig);
}

void rig_keeper_answer(struct rig *rig)
{
    rig->keeper_mode = RIG_KEEPER_WRITES;
    rig_run(rig);
}

void rig_advance(struct rig *rig, uint64_t ms)
{
    struct mono end = mono_after(rig->now, ms);
    uint32_t steps = 0;
    rig_run(rig);
    while (rig->next.ms != 0 && rig->next.ms <= end.ms) {
        CHECK(++steps < STEPS_MAX, "a deadline that stays");
        rig->now.ms = rig->next.ms > rig->now.ms ? rig->next.ms : rig->now.ms;
        rig->next = deliver_turn(rig->deliver, rig->now);
        rig_run(rig);
    }
    rig->now = end;
    rig->next = deliver_turn(rig->deliver, rig->now);
    rig_run(rig);
}

/* ---- open, close ---- */

static struct mono rig_mono(struct clock *clock)
{
    return CONTAINER_OF(clock, struct rig, clock)->now;
}

static struct wall rig_wall(struct clock *clock)
{
    return (struct wall){ WALL_MS + CONTAINER_OF(clock, struct rig, clock)->now.ms };
}

static struct rig *own_rig; /* is_own_address has no context */
static bool rig_is_own(struct ip ip)
{
    (void)ip;
    return own_rig && own_rig->is_own_everything;
}

static struct config *config_of(const char *text)
{
    struct config_report report = { 0 };
    struct config *config = NULL;
    enum err err = config_parse(str_from_c(text ? text : "hostname = \"out.example\"\n"),
            STR("test.conf"), &config, &report);
    if (err != OK) {
        for (uint32_t i = 0; i < report.fault_count; i++) {
            fprintf(stderr, "%u: %.*s\n", report.fault[i].line, STR_ARG(report.fault[i].text));
        }
    }
    config_report_done(&report);
    REQUIRE_OK(err);
    return config;
}

/* Reading the system's authorities takes longer than a test: once for all of them. */
static struct tls_context *client_tls(void)
{
    static struct tls_context *context;
    struct why why;
    if (!context) {
        REQUIRE_OK(tls_client_open(NULL, &context, &why));
    }
    return context;
}

void rig_open(struct rig *rig, const char *config_text)
{
    *rig = (struct rig){
        .net = { &rig_net_ops }, .clock = { rig_mono, rig_wall }, .now = { 1000 }, .next_job_id = 1
    };
    own_rig = rig;
    rig->result = calloc(RIG_RESULT_COUNT_MAX, sizeof(struct queue_result *));
    CHECK(rig->result);
    list_init(&rig->conns);
    mailbox_init(&rig->self, 1000, NULL, NULL);
    mailbox_init(&rig->keeper, 1000, NULL, NULL);
    mailbox_init(&rig->queue, 1000, NULL, NULL);
    rig->config = config_of(config_text);
    struct deliver_ports ports = { &rig->self, &rig->keeper, &rig->queue, rig_is_own };
    REQUIRE_OK(deliver_new(&rig->net, &rig->clock, NULL, client_tls(), 7, &ports, &rig->deliver));
}

static void letters_free(struct mailbox *box)
{
    struct letter *letter = mailbox_take_all(box);
    while (letter) {
        struct letter *next = letter->next;
        mem_free(letter);
        letter = next;
    }
    mailbox_done(box);
}

void rig_close(struct rig *rig)
{
    deliver_free(rig->deliver);
    (void)net_step(rig);
    CHECK(list_is_empty(&rig->conns), "a connection was left open");
    queue_step(rig);
    for (uint32_t i = 0; i < rig->result_count; i++) {
        queue_result_free(rig->result[i]);
    }
    free(rig->result);
    letters_free(&rig->self);
    letters_free(&rig->keeper);
    mailbox_done(&rig->queue);
    config_give(rig->config);
    free(rig->content.ptr);
    free(rig->said.ptr);
    own_rig = NULL;
}

void rig_peer(struct rig *rig, const char *address, const char *script)
{
    CHECK(rig->peer_count < RIG_PEER_COUNT_MAX);
    rig->peer[rig->peer_count++] = (struct rig_peer){ .address = address, .script = script };
}

/* ---- jobs and sites ---- */

static struct blob *blob_of(struct str s)
{
    struct blob *blob = blob_new(NULL, s.len);
    CHECK(blob);
    REQUIRE_OK(blob_add(blob, s));
    return blob;
}

static struct blob *envelope_of(const struct rig_job *job, uint32_t *ret_rcpt_count)
{
    struct buf rcpts, encoded;
    buf_init(&rcpts, 4 << 20);
    buf_init(&encoded, 4 << 20);
    struct str rest = str_from_c(job->rcpts), address;
    uint32_t count = 0;
    for (; str_cut(&rest, ' ', &address); count++) {
        spool_rcpt_add(&rcpts, address);
    }
    struct spool_envelope envelope = { .flags = job->is_8bit ? SPOOL_MSG_8BIT : 0,
        .sender = str_from_c(job->sender ? job->sender : "a@out.example"),
        .rcpt_count = count,
        .rcpts = buf_str(&rcpts) };
    spool_envelope_encode(&encoded, &envelope);
    REQUIRE_OK(buf_err(&encoded));
    struct blob *blob = blob_of(buf_str(&encoded));
    buf_done(&rcpts);
    buf_done(&encoded);
    *ret_rcpt_count = count;
    return blob;
}

uint64_t rig_send(struct rig *rig, struct site *site, const struct rig_job *said)
{
    struct queue_job *job = mem_new(sizeof *job);
    CHECK(job);
    job->letter.kind = DELIVER_JOB;
    job->job_id = rig->next_job_id++;
    job->msg_id = 1000 + job->job_id;
    job->site = site_take(site);
    job->lane_id = said->lane_id;
    job->source = said->source;
    job->config = config_take(rig->config);
    job->envelope = envelope_of(said, &job->rcpt_count);
    job->content = blob_of(str_from_c(said->content ? said->content : "Subject: x\r\n\r\nhi\r\n"));
    job->signature = said->signature ? blob_of(str_from_c(said->signature)) : NULL;
    job->attempt_no = 1;
    job->queued_since = rig->now;
    job->rcpt = mem_new(job->rcpt_count * sizeof *job->rcpt);
    CHECK(job->rcpt);
    for (uint32_t i = 0; i < job->rcpt_count; i++) {
        job->rcpt[i] = (uint16_t)(said->is_backwards ? job->rcpt_count - 1 - i : i);
    }
    uint64_t job_id = job->job_id;
    mailbox_answer(&rig->self, &job->letter);
    return job_id;
}

static void address_read(struct str word, struct ip_port *ret_at)
{
    ret_at->port = 25;
    if (ip_parse(word, &ret_at->ip) != OK) {
        REQUIRE_OK(ip_port_parse(word, ret_at));
    }
}

struct site *rig_site(const char *hosts)
{
    struct arena *arena = mem_new(sizeof *arena);
    CHECK(arena);
    arena_init(arena, 1 << 20);
    struct site *site = arena_new(arena, sizeof *site);
    CHECK(site);
    atomic_init(&site->refs, 1);
    site->arena = arena;
    site->key = arena_str(arena, STR("mx.example"));
    site->host = arena_new(arena, 32 * sizeof *site->host);
    struct str rest = str_from_c(hosts), line;
    while (str_cut(&rest, '\n', &line)) {
        struct site_host *host = &site->host[site->host_count++];
        struct str word;
        uint64_t preference;
        CHECK(str_cut(&line, ' ', &word));
        REQUIRE_OK(str_to_u64(word, UINT16_MAX, &preference));
        host->preference = (uint16_t)preference;
        CHECK(str_cut(&line, ' ', &word));
        host->name = arena_str(arena, word);
        host->address = arena_new(arena, 16 * sizeof *host->address);
        while (str_cut(&line, ' ', &word)) {
            address_read(word, &host->address[host->address_count++]);
        }
    }
    return site;
}

/* ---- looking at results ---- */

const struct queue_result *rig_result(const struct rig *rig, uint32_t at)
{
    CHECK(at < rig->result_count, "there are %u results, asked for %u", rig->result_count, at);
    return rig->result[at];
}

uint32_t rig_results_of(const struct rig *rig, enum spool_result result)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < rig->result_count; i++) {
        count += rig->result[i]->result == result ? rig->result[i]->outcome.rcpt_count : 0;
    }
    return count;
}

void rig_check(const struct queue_result *result, enum spool_result expected,
        enum queue_scope scope, uint16_t code, const char *enhanced, const char *file, int line)
{
    const struct spool_outcome *outcome = &result->outcome;
    if (result->result != expected || result->scope != scope || outcome->code != code ||
            !str_eq(outcome->enhanced, str_from_c(enhanced))) {
        test_fail(file, line, "got result %u scope %u %u %.*s \"%.*s\", expected %u %u %u %s",
                result->result, result->scope, outcome->code, STR_ARG(outcome->enhanced),
                STR_ARG(outcome->text), expected, scope, code, enhanced);
    }
}

bool rig_has(struct str where, const char *what)
{
    return str_find(where, str_from_c(what)) < where.len;
}
