/* SPDX-License-Identifier: Apache-2.0
 *
 * threads_rig.c - opens the real edge under a node, and speaks SMTP and HTTP with it by plain
 * sockets.
 */
#include "tests/unit/node/threads_rig.h"

#include "core/buf.h"
#include "core/str.h"
#include "core/time.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 16384, SOCKET_TIMEOUT_S = 60, STOP_MS_MAX = 20000 };

/* The thread sanitizer takes recv(fd, NULL, len, MSG_TRUNC), by which edge/net drops what is
 * unread, for a write to address 0 by whoever calls it. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race_top:recv";
}

/* ---- the node ------------------------------------------------------------------------------- */

/* A port that is free now. Two are held at once, so that they differ. */
static void free_ports(uint16_t *ret_first, uint16_t *ret_second)
{
    uint16_t ports[2];
    int fds[2];
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
        socklen_t len = sizeof at;
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(bind(fds[i], (const struct sockaddr *)&at, sizeof at) == 0);
        CHECK(getsockname(fds[i], (struct sockaddr *)&at, &len) == 0);
        ports[i] = ntohs(at.sin_port);
    }
    close(fds[0]);
    close(fds[1]);
    *ret_first = ports[0];
    *ret_second = ports[1];
}

static void write_key(const char *path)
{
    struct key *key;
    struct buf pem;
    buf_init(&pem, TEXT_BYTES_MAX);
    REQUIRE_OK(key_generate(KEY_RSA, 2048, &key));
    REQUIRE_OK(key_to_pem(key, &pem));
    key_free(key);
    FILE *file = fopen(path, "we");
    CHECK(file && fwrite(pem.ptr, 1, pem.len, file) == pem.len && fclose(file) == 0);
    CHECK(chmod(path, 0600) == 0);
    buf_done(&pem);
}

static void write_config(struct rig *rig, const char *path)
{
    uint16_t catcher_port;
    struct buf hash;
    buf_init(&hash, 512);
    REQUIRE_OK(password_hash(STR("secret"), entropy_real(), &hash));
    free_ports(&rig->port, &catcher_port);
    FILE *file = fopen(path, "we");
    CHECK(file != NULL);
    fprintf(file,
            "hostname = \"mail.sandbox.example\"\nsandbox = yes\nsandbox-catcher = "
            "\"127.0.0.1:%u\"\n"
            "data-dir = \"%s\"\ncontrol = \"%s\"\nlog = \"%s/node.log\"\n"
            "loop-count = %d\nworker-count = %d\nslot-bytes = 4M\n"
            "listen \"local\" { address = { \"127.0.0.1:%u\" }  networks = { \"127.0.0.0/8\" }  "
            "auth = optional  "
            "auth-in-clear = yes }\n"
            "credential \"shop\" { password-hash = \"%.*s\" }\n"
            "domain \"sandbox.example\" { dkim \"s1\" { key = \"%s/key.pem\" } }\n",
            catcher_port, rig->dir, rig->socket_path, rig->dir, RIG_LOOP_COUNT, RIG_WORKER_COUNT,
            rig->port, STR_ARG(buf_str(&hash)), rig->dir);
    CHECK(fclose(file) == 0 && chmod(path, 0600) == 0);
    buf_done(&hash);
}

static enum err load(const struct rig *rig, struct config **ret_config, struct buf *ret_text)
{
    char path[100];
    struct config_report report = { 0 };
    fmt(path, sizeof path, "%s/outpost.conf", rig->dir);
    enum err err = config_load(path, ret_config, &report);
    config_report_print(&report, ret_text);
    config_report_done(&report);
    return err;
}

void rig_init(struct rig *rig)
{
    const char *tmp = getenv("TMPDIR");
    char path[100];
    struct buf text;
    struct why why = { 0 };
    *rig = (struct rig){ 0 };
    signal(SIGPIPE, SIG_IGN);
    fmt(rig->dir, sizeof rig->dir, "%s/outpost-threads-XXXXXX",
            tmp && strlen(tmp) < 30 ? tmp : "/tmp");
    CHECK(mkdtemp(rig->dir) != NULL);
    fmt(rig->socket_path, sizeof rig->socket_path, "%s/control.sock", rig->dir);
    fmt(path, sizeof path, "%s/key.pem", rig->dir);
    write_key(path);
    fmt(path, sizeof path, "%s/outpost.conf", rig->dir);
    write_config(rig, path);
    buf_init(&text, TEXT_BYTES_MAX);
    enum err err = load(rig, &rig->config, &text);
    CHECK(err == OK, "%.*s", STR_ARG(buf_str(&text)));
    buf_done(&text);
    CHECK(log_sink_open(rig->config, &rig->sink, &why) == OK &&
                    log_sink_start(rig->sink, &why) == OK,
            "%s", why.text);
    rig->log = (struct log){ .level_min = LOG_INFO_, .sink = log_sink_line, .ctx = rig->sink };
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)) != NULL) {
        char name[500];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        fmt(name, sizeof name, "%s/%s", path, entry->d_name);
        if (unlink(name) != 0) {
            remove_tree(name);
        }
    }
    if (dir) {
        closedir(dir);
    }
    (void)rmdir(path);
}

void rig_done(struct rig *rig)
{
    log_sink_close(rig->sink);
    config_give(rig->config);
    remove_tree(rig->dir);
}

static enum err on_reload(void *ctx, struct buf *ret_text)
{
    struct rig *rig = ctx;
    struct config *config;
    struct why why = { 0 };
    enum err err = load(rig, &config, ret_text);
    if (err != OK) {
        return err;
    }
    err = node_can_reload(rig->node, config, ret_text, &why);
    if (err == OK) {
        node_reload(rig->node, config);
    }
    config_give(config);
    return err;
}

static struct disk *open_part(const struct rig *rig, const char *part)
{
    char path[100];
    struct why why = { 0 };
    struct disk *disk;
    fmt(path, sizeof path, "%s/%s", rig->dir, part);
    CHECK(disk_open_real(path, &disk, &why) == OK, "%s", why.text);
    return disk;
}

void rig_start(struct rig *rig)
{
    struct why why = { 0 };
    rig->spool = open_part(rig, "spool");
    rig->history = open_part(rig, "history");
    rig->sandbox = open_part(rig, "sandbox");
    for (int i = 0; i < RIG_LOOP_COUNT; i++) {
        CHECK(net_open_real(clock_real(), &rig->net[i], &why) == OK, "%s", why.text);
    }
    CHECK(dns_open_real(rig->net[0], STR("127.0.0.1"), NULL, &rig->dns, &why) == OK, "%s",
            why.text);
    struct node_edge edge = {
        .clock = clock_real(),
        .entropy = entropy_real(),
        .spool = rig->spool,
        .history = rig->history,
        .sandbox = rig->sandbox,
        .net = rig->net,
        .is_own_address = net_is_local_address,
        .net_count = RIG_LOOP_COUNT,
        .dns = rig->dns,
        .worker_count = RIG_WORKER_COUNT,
        .pid = (uint32_t)getpid(),
        .mail_line = log_sink_mail_line,
        .mail_flush = log_sink_flush,
        .mail_line_ctx = rig->sink,
    };
    CHECK(node_open(&edge, rig->config, &rig->log, &rig->node, &why) == OK, "%s", why.text);
    node_on_reload(rig->node, on_reload, rig);
    CHECK(node_listen(rig->node, &why) == OK, "%s", why.text);
    CHECK(runner_start(rig->node, rig->net, &rig->runner, &why) == OK, "%s", why.text);
    CHECK(control_http_open(rig->node, rig->config->control_path, &rig->http, &why) == OK, "%s",
            why.text);
}

uint64_t rig_stop(struct rig *rig)
{
    struct mono begin = clock_mono(clock_real()), now = begin;
    node_stop(rig->node);
    while (!node_is_stopped(rig->node) && now.ms - begin.ms < STOP_MS_MAX) {
        usleep(2000);
        now = clock_mono(clock_real());
    }
    control_http_close(rig->http);
    runner_end(rig->runner);
    rig->dns->ops->close(rig->dns);
    node_free(rig->node);
    for (int i = 0; i < RIG_LOOP_COUNT; i++) {
        net_free_real(rig->net[i]);
    }
    rig->spool->ops->close_disk(rig->spool);
    rig->history->ops->close_disk(rig->history);
    rig->sandbox->ops->close_disk(rig->sandbox);
    rig->node = NULL;
    return (uint64_t)(now.ms - begin.ms);
}

/* ---- questions ------------------------------------------------------------------------------ */

static bool send_all(int fd, struct str text)
{
    while (text.len > 0) {
        ssize_t sent = send(fd, text.ptr, text.len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        text = str_from(text, (size_t)sent);
    }
    return true;
}

static void limit_waiting(int fd)
{
    struct timeval most = { .tv_sec = SOCKET_TIMEOUT_S };
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
}

json_t *rig_ask(const struct rig *rig, const char *method, const char *path, const char *body,
        int *ret_status)
{
    enum { REPLY_BYTES_MAX = 64 << 20, STATUS_AT = 9 };
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct buf text;
    uint64_t status = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *ret_status = 0;
    fmt(at.sun_path, sizeof at.sun_path, "%s", rig->socket_path);
    limit_waiting(fd);
    if (connect(fd, (const struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return NULL;
    }
    buf_init(&text, REPLY_BYTES_MAX);
    buf_addf(&text,
            "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
            method, path, strlen(body), body);
    bool is_sent = send_all(fd, buf_str(&text));
    buf_clear(&text);
    char *space;
    ssize_t got = 1;
    while (is_sent && got > 0 && (space = buf_space(&text, 65536)) != NULL) {
        got = recv(fd, space, 65536, 0);
        buf_grew(&text, got > 0 ? (size_t)got : 0);
    }
    close(fd);
    size_t border = str_find(buf_str(&text), STR("\r\n\r\n"));
    struct str json = str_from(buf_str(&text), border + 4);
    if (str_to_u64(str_sub(buf_str(&text), STATUS_AT, 3), 999, &status) == OK) {
        *ret_status = (int)status;
    }
    bool has_allow = str_find(str_sub(buf_str(&text), 0, border), STR("\r\nAllow: GET")) < border;
    CHECK(status != 405 || has_allow, "%s %s: no Allow", method, path); /* RFC 9110 15.5.6 */
    json_t *reply = json.len ? json_loadb(json.ptr, json.len, 0, NULL) : NULL;
    buf_done(&text);
    return reply;
}

int64_t rig_figure(const struct rig *rig, const char *path, const char *part, const char *name)
{
    int status;
    json_t *reply = rig_ask(rig, "GET", path, "", &status);
    json_t *value = json_object_get(part ? json_object_get(reply, part) : reply, name);
    int64_t figure = json_is_integer(value)   ? (int64_t)json_integer_value(value)
                     : json_is_boolean(value) ? json_is_true(value)
                                              : -1;
    json_decref(reply);
    return figure;
}

/* ---- clients -------------------------------------------------------------------------------- */

struct talk {
    int fd;
    char in[4096];
    size_t in_len;
};

/* The next line without CRLF, into dst; false: the end. */
static bool read_line(struct talk *talk, char *dst, size_t cap)
{
    for (;;) {
        struct str in = str_of(talk->in, talk->in_len);
        size_t end = str_index(in, '\n');
        if (end < in.len) {
            fmt(dst, cap, "%.*s", STR_ARG(str_trim(str_sub(in, 0, end))));
            talk->in_len -= end + 1;
            memmove(talk->in, talk->in + end + 1, talk->in_len);
            return true;
        }
        ssize_t got = recv(talk->fd, talk->in + talk->in_len, sizeof talk->in - talk->in_len, 0);
        if (got <= 0) {
            return false;
        }
        talk->in_len += (size_t)got;
    }
}

/* The code of a whole reply, its last line in dst; 0: the end. */
static int read_reply(struct talk *talk, char dst[512])
{
    uint64_t code = 0;
    do {
        if (!read_line(talk, dst, 512) ||
                str_to_u64(str_sub(str_from_c(dst), 0, 3), 999, &code) != OK) {
            return 0;
        }
    } while (dst[3] == '-');
    return (int)code;
}

static bool dial(struct talk *talk, const struct rig_client *client)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
        .sin_addr = { htonl(INADDR_LOOPBACK) },
        .sin_port = htons(client->rig->port) };
    char line[512];
    *talk = (struct talk){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    limit_waiting(talk->fd);
    if (connect(talk->fd, (const struct sockaddr *)&at, sizeof at) != 0 ||
            read_reply(talk, line) != 220 || !send_all(talk->fd, STR("EHLO client.example\r\n")) ||
            read_reply(talk, line) != 250) {
        return false;
    }
    /* "\0shop\0secret" */
    return !client->has_login || (send_all(talk->fd, STR("AUTH PLAIN AHNob3AAc2VjcmV0\r\n")) &&
                                         read_reply(talk, line) == 235);
}

/* Recipients by the message's number: most arrive, some are refused by the catcher, some put off.
 */
static uint32_t add_rcpts(struct buf *text, uint32_t number, uint32_t message)
{
    static const char *const kinds[] = { "to", "to", "to", "to", "to", "to", "to", "reject", "to",
        "defer" };
    uint32_t count = 1 + message % 3;
    for (uint32_t i = 0; i < count; i++) {
        const char *kind = i == 0 ? kinds[message % COUNT_OF(kinds)] : "to";
        buf_addf(text, "RCPT TO:<%s%u-%u-%u@d%u.example>\r\n", kind, number, message, i,
                message % 7);
    }
    return count;
}

static void add_content(struct buf *text, const struct rig_client *client, uint32_t message)
{
    buf_addf(text,
            "From: App <app@sandbox.example>\r\nTo: you@example.net\r\nSubject: %u of client %u\r\n"
            "X-Outpost-Tag: c%u\r\n\r\n",
            message, client->number, client->number);
    for (uint32_t i = 0; i < client->body_bytes / 64; i++) {
        buf_addf(text, "line %-58u\r\n", i);
    }
    buf_add_c(text, ".\r\n");
}

/* One transaction, its commands in one piece (RFC 2920). False: the connection is of no use. */
static bool submit(struct rig_client *client, struct talk *talk, struct buf *text, uint32_t message)
{
    char line[512];
    buf_clear(text);
    buf_add_c(text, "MAIL FROM:<app@sandbox.example>\r\n");
    uint32_t rcpt_count = add_rcpts(text, client->number, message), good = 0;
    buf_add_c(text, "DATA\r\n");
    if (!send_all(talk->fd, buf_str(text)) || read_reply(talk, line) == 0) {
        return false;
    }
    for (uint32_t i = 0; i < rcpt_count; i++) {
        int code = read_reply(talk, line);
        good += code == 250;
        if (code == 0) {
            return false;
        }
    }
    int code = read_reply(talk, line);
    if (code != 354) {
        client->refused++;
        return code != 0 && code != 421;
    }
    buf_clear(text);
    add_content(text, client, message);
    if (!send_all(talk->fd, buf_str(text)) || (code = read_reply(talk, line)) == 0) {
        return false;
    }
    if (code != 250) {
        client->refused++;
        return code != 421;
    }
    struct str reply = str_from_c(line);
    fmt(client->last_id, sizeof client->last_id, "%.*s",
            STR_ARG(str_from(reply, str_rindex(reply, ' ') + 1)));
    memcpy(client->ids[client->accepted_msgs++], client->last_id, sizeof client->last_id);
    client->accepted_rcpts += good;
    return true;
}

void *rig_client_run(void *ctx)
{
    enum { DIAL_EVERY = 100 };
    struct rig_client *client = ctx;
    struct talk talk;
    struct buf text;
    buf_init(&text, 1 << 20);
    client->ids = mem_new(client->message_count * sizeof *client->ids);
    bool is_open = client->ids && dial(&talk, client);
    client->fault = is_open ? NULL : "it could not connect or log in";
    for (uint32_t i = 0; is_open && i < client->message_count; i++) {
        if (client->stop && atomic_load(client->stop)) {
            break;
        }
        if (i % DIAL_EVERY == DIAL_EVERY - 1) { /* connections end and begin too */
            (void)send_all(talk.fd, STR("QUIT\r\n"));
            close(talk.fd);
            is_open = dial(&talk, client);
        }
        is_open = is_open && submit(client, &talk, &text, i);
        client->fault = is_open ? NULL : "its connection ended";
    }
    if (client->ids) {
        close(talk.fd);
    }
    buf_done(&text);
    return NULL;
}
