/* SPDX-License-Identifier: Apache-2.0
 *
 * watcher_send.c - a notice on its way: an HTTP request, a mail by another server, a line to the
 * system's log, a program, or a line to Nagios. None of them goes through our own queue.
 */
#include "edge/http.h"
#include "node/watcher_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    SEND_MS_MAX = 30000,
    COMMAND_MS_MAX = 30000,
    BODY_BYTES_MAX = 512 << 10,
    URL_CAP = 1200,
    KEY_CAP = CONFIG_SECRET_BYTES_MAX + 1,
    ADDRESS_CAP = 400,
    SYSLOG_MAIL = 2 << 3, /* facility mail, RFC 5424 6.2.1 */
    SYSLOG_ERR = 3,
    SYSLOG_WARNING = 4,
    SYSLOG_NOTICE = 5
};

static void sent(const struct watcher_post *post, uint32_t route, bool is_good, const char *why)
{
    post->sent(post->ctx, route, is_good, str_from_c(why));
}

/* ---- over the net ---- */

static void answered(void *ctx, const struct http_reply *reply)
{
    struct watcher_sending *sending = ctx;
    char why[WHY_BYTES_MAX] = "";
    bool is_good = reply->err == OK && reply->status >= 200 && reply->status < 300;
    if (reply->err != OK) {
        fmt(why, sizeof why, "%s", reply->why);
    } else if (!is_good) {
        char text[120];
        struct str body = str_escape(str_sub(reply->body, 0, 100), text, sizeof text);
        fmt(why, sizeof why, "it answered %u %.*s", (unsigned)reply->status, STR_ARG(body));
    }
    sent(sending->post, sending->route, is_good, why);
}

static void begin(struct watcher_post *post, uint32_t route, const struct http_sending *request)
{
    ASSERT(route < CONFIG_ALERT_COUNT_MAX);
    struct watcher_sending *sending = &post->sending[route];
    *sending = (struct watcher_sending){ .post = post, .route = route };
    enum err err = http_send(post->http, request, answered, sending);
    if (err != OK) {
        sent(post, route, false, err_name(err));
    }
}

static void send_webhook(
        struct watcher_post *post, uint32_t route, const struct identity_notice *notice)
{
    const struct config_alert *alert = notice->route;
    struct buf body, url;
    char login[KEY_CAP + 40];
    bool is_text = alert->format == CONFIG_ALERT_HEALTHCHECKS;
    buf_init(&body, BODY_BYTES_MAX);
    buf_init(&url, URL_CAP);
    identity_notice_body(notice, &body);
    identity_notice_url(notice, &url);
    buf_add_char(&url, '\0');
    fmt(login, sizeof login, "Authorization: %s %.*s",
            alert->format == CONFIG_ALERT_OPSGENIE ? "GenieKey" : "Bearer", STR_ARG(alert->key));
    bool has_login = alert->key.len > 0 && alert->format != CONFIG_ALERT_PAGERDUTY &&
                     (alert->url.len > 0 || alert->format == CONFIG_ALERT_OPSGENIE);
    struct http_sending request = { .url = url.ptr,
        .header = { is_text ? "Content-Type: text/plain" : "Content-Type: application/json",
                has_login ? login : NULL },
        .body = buf_str(&body),
        .ms_max = SEND_MS_MAX };
    if (buf_err(&body) == OK && buf_err(&url) == OK) {
        begin(post, route, &request);
    } else {
        sent(post, route, false, "the notice or its address is too long");
    }
    crypto_wipe(login, sizeof login);
    buf_done(&body);
    buf_done(&url);
}

static void send_mail(
        struct watcher_post *post, uint32_t route, const struct identity_notice *notice)
{
    const struct config_alert *alert = notice->route;
    char url[URL_CAP], from[ADDRESS_CAP], to[ADDRESS_CAP], username[256], password[KEY_CAP];
    struct buf body;
    buf_init(&body, BODY_BYTES_MAX);
    identity_notice_mail(notice, &body);
    if (!str_to_c(alert->from, from, sizeof from) || from[0] == '\0') {
        fmt(from, sizeof from, "outpost@%.*s", STR_ARG(notice->hostname));
    }
    bool is_good = str_to_c(alert->url, url, sizeof url) && str_to_c(alert->to, to, sizeof to) &&
                   str_to_c(alert->username, username, sizeof username) &&
                   str_to_c(alert->key, password, sizeof password) && buf_err(&body) == OK;
    struct http_sending request = { .url = url,
        .body = buf_str(&body),
        .mail_from = from,
        .mail_to = to,
        .username = username[0] != '\0' ? username : NULL,
        .password = password,
        .is_tls_required = username[0] != '\0', /* a password is never sent in the clear */
        .ms_max = SEND_MS_MAX };
    if (is_good) {
        begin(post, route, &request);
    } else {
        sent(post, route, false, "the notice is too long");
    }
    crypto_wipe(password, sizeof password);
    buf_done(&body);
}

/* ---- on this host ---- */

static int syslog_severity(const struct identity_notice *notice)
{
    bool is_bad = false, is_warned = false;
    for (uint32_t i = 0; i < notice->count; i++) {
        bool is_open = notice->item[i].kind != IDENTITY_NOTICE_OVER;
        is_warned = is_warned || is_open;
        is_bad = is_bad || (is_open && notice->item[i].result.status != IDENTITY_WARN);
    }
    return is_bad ? SYSLOG_ERR : is_warned ? SYSLOG_WARNING : SYSLOG_NOTICE;
}

/* One line each, in the form that /dev/log takes. */
static bool write_syslog(int fd, const struct identity_notice *notice)
{
    struct buf line;
    struct identity_notice *one = mem_new(sizeof *one);
    bool is_good = one != NULL;
    buf_init(&line, 8192);
    for (uint32_t i = 0; is_good && (i < notice->count || i == 0); i++) {
        *one = *notice;
        one->item[0] = notice->item[i];
        one->count = notice->count > 0 ? 1 : 0;
        buf_clear(&line);
        buf_addf(&line, "<%d>outpost[%d]: ", SYSLOG_MAIL | syslog_severity(one), (int)getpid());
        identity_notice_line(one, &line);
        is_good = buf_err(&line) == OK &&
                  send(fd, line.ptr, line.len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)line.len;
    }
    buf_done(&line);
    mem_free(one);
    return is_good;
}

static void send_syslog(
        struct watcher_post *post, uint32_t route, const struct identity_notice *notice)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_good = fd >= 0 && str_to_c(notice->route->socket, at.sun_path, sizeof at.sun_path) &&
                   connect(fd, (const struct sockaddr *)&at, sizeof at) == 0 &&
                   write_syslog(fd, notice);
    const char *why = is_good ? "" : strerror(errno);
    if (fd >= 0) {
        close(fd);
    }
    sent(post, route, is_good, why);
}

/* Nagios reads a pipe; where nobody reads it, that is an error and nobody waits. */
static void send_nagios(
        struct watcher_post *post, uint32_t route, const struct identity_notice *notice)
{
    char path[PATH_MAX];
    struct buf line;
    buf_init(&line, 8192);
    identity_notice_nagios(notice, &line);
    int fd = str_to_c(notice->route->command_file, path, sizeof path)
                     ? open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)
                     : -1;
    bool is_good =
            fd >= 0 && buf_err(&line) == OK && write(fd, line.ptr, line.len) == (ssize_t)line.len;
    const char *why = is_good ? "" : errno == ENXIO ? "nobody reads the pipe" : strerror(errno);
    if (fd >= 0) {
        close(fd);
    }
    buf_done(&line);
    sent(post, route, is_good, why);
}

static void send_command(
        struct watcher_post *post, uint32_t route, const struct identity_notice *notice)
{
    struct buf json;
    buf_init(&json, STARTER_INPUT_BYTES_MAX);
    identity_notice_json(notice, &json);
    enum err err = post->starter == NULL ? E_CLOSED : buf_err(&json);
    if (err == OK) {
        err = starter_run(
                post->starter, route, notice->route->command, buf_str(&json), COMMAND_MS_MAX);
    }
    buf_done(&json);
    if (err != OK) {
        sent(post, route, false,
                err == E_TOO_BIG ? "the notice is too long for a command"
                                 : "the starter of programs does not answer");
    }
}

void watcher_send_results(const struct watcher_post *post)
{
    struct starter_result result;
    while (starter_next(post->starter, &result)) {
        char why[80] = "";
        bool is_good = result.err == OK && result.exit_code == 0;
        if (result.err == E_TIMEOUT) {
            fmt(why, sizeof why, "the command was killed after %d s", COMMAND_MS_MAX / 1000);
        } else if (result.err == OK && result.exit_code == 127) {
            fmt(why, sizeof why, "the command is not there, or cannot be executed");
        } else if (result.err == OK) {
            fmt(why, sizeof why, "the command ended with %d", result.exit_code);
        } else {
            fmt(why, sizeof why, "the command could not be started (%s)", err_name(result.err));
        }
        sent(post, (uint32_t)result.id, is_good, is_good ? "" : why);
    }
}

void watcher_send(struct watcher_post *post, uint32_t route, const struct identity_notice *notice)
{
    switch (notice->route->type) {
    case CONFIG_ALERT_WEBHOOK:
        send_webhook(post, route, notice);
        break;
    case CONFIG_ALERT_SYSLOG:
        send_syslog(post, route, notice);
        break;
    case CONFIG_ALERT_COMMAND:
        send_command(post, route, notice);
        break;
    case CONFIG_ALERT_NAGIOS:
        send_nagios(post, route, notice);
        break;
    case CONFIG_ALERT_MAIL:
        send_mail(post, route, notice);
        break;
    }
}
