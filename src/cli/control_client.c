/* SPDX-License-Identifier: Apache-2.0
 *
 * control_client.c - asks the node over its control socket: one HTTP/1.1 request a connection.
 *
 * Only ever speaks with our own node on a UNIX socket, whose replies carry Content-Length; so the
 * few lines here do, and the node's binary does not load a general HTTP client with all its
 * libraries.
 */
#include "cli/cli.h"
#include "config/config.h"
#include "core/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

enum { REPLY_BYTES_MAX = 128 << 20 };
static const char default_socket[] = "/run/outpost/control.sock";
static const char sandbox_socket[] = "var/control.sock";

/* --socket, else the configuration's, else that of a sandbox here, else the system's. */
static bool find_socket(const struct cli_node *node, char *path, size_t cap)
{
    if (node->socket_path) {
        return str_to_c(str_from_c(node->socket_path), path, cap);
    }
    const char *config_path = cli_config_path(node->config_path);
    if (config_path) {
        struct config *config;
        struct config_report *report = mem_new(sizeof *report);
        bool is_found = report && config_load(config_path, &config, report) == OK;
        if (is_found) {
            is_found = str_to_c(config->control_path, path, cap);
            config_give(config);
        }
        if (report) {
            config_report_done(report);
        }
        mem_free(report);
        if (is_found) {
            return true;
        }
    }
    const char *fallback = access(sandbox_socket, F_OK) == 0 ? sandbox_socket : default_socket;
    return str_to_c(str_from_c(fallback), path, cap);
}

static int connect_to(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    if (!str_to_c(str_from_c(path), at.sun_path, sizeof at.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static bool write_all(int fd, struct str text)
{
    while (text.len > 0) {
        ssize_t wrote = send(fd, text.ptr, text.len, MSG_NOSIGNAL);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            return false;
        }
        text = str_from(text, (size_t)wrote);
    }
    return true;
}

static bool read_all(int fd, struct buf *reply)
{
    for (;;) {
        char *space = buf_space(reply, 65536);
        if (space == NULL) {
            return false;
        }
        ssize_t got = recv(fd, space, 65536, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got == 0;
        }
        buf_grew(reply, (size_t)got);
    }
}

/* "HTTP/1.1 200 OK" CRLF fields CRLF CRLF body, ended by the close that we asked for. */
static bool split_reply(struct buf *reply, uint16_t *ret_status)
{
    struct str text = buf_str(reply);
    uint64_t status;
    size_t border = str_find(text, STR("\r\n\r\n"));
    if (!str_starts(text, STR("HTTP/1.1 ")) || border == text.len ||
            str_to_u64(str_sub(text, 9, 3), 999, &status) != OK) {
        return false;
    }
    buf_drop_front(reply, border + 4);
    *ret_status = (uint16_t)status;
    return true;
}

enum err cli_ask(const struct cli_node *node, const char *method, const char *path, struct str body,
        uint16_t *ret_status, struct buf *ret_body)
{
    char socket_path[108];
    if (!find_socket(node, socket_path, sizeof socket_path)) {
        cli_complain("the path of the control socket is too long (107 bytes at most)");
        return E_USAGE;
    }
    int fd = connect_to(socket_path);
    if (fd < 0) {
        cli_complain("no node answers at %s: %s\n  start one with: outpost serve, or name its "
                     "socket with --socket",
                socket_path, strerror(errno));
        return E_REFUSED;
    }
    struct buf request;
    buf_init(&request, 2 << 20);
    buf_addf(&request,
            "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
            method, path, body.len);
    buf_add(&request, body);
    bool is_good = buf_err(&request) == OK && write_all(fd, buf_str(&request)) &&
                   read_all(fd, ret_body) && split_reply(ret_body, ret_status);
    buf_done(&request);
    close(fd);
    if (!is_good) {
        cli_complain("the node at %s did not answer in full", socket_path);
        return E_IO;
    }
    return OK;
}

bool cli_get(const struct cli_node *node, const char *method, const char *path, struct str body,
        struct buf *ret_body, int *ret_exit)
{
    uint16_t status = 0;
    buf_init(ret_body, REPLY_BYTES_MAX);
    if (cli_ask(node, method, path, body, &status, ret_body) != OK) {
        buf_done(ret_body);
        *ret_exit = CLI_TRY_AGAIN;
        return false;
    }
    if (status >= 200 && status < 300) {
        return true;
    }
    json_t *reply = json_loadb(ret_body->ptr, ret_body->len, 0, NULL);
    const char *error = json_string_value(json_object_get(reply, "error"));
    cli_complain("%s", error ? error : "the node refused without a reason");
    json_decref(reply);
    buf_done(ret_body);
    *ret_exit = status >= 500 ? CLI_TRY_AGAIN : status == 400 ? CLI_USAGE : CLI_WANTING;
    return false;
}

void cli_add_argument(struct buf *path, const char *name, const char *value)
{
    if (value == NULL) {
        return;
    }
    buf_add_char(path, memchr(path->ptr, '?', path->len) ? '&' : '?');
    buf_addf(path, "%s=", name);
    for (; *value; value++) {
        char c = *value;
        if (ascii_is_alpha(c) || ascii_is_digit(c) || c == '-' || c == '.' || c == '_') {
            buf_add_char(path, c);
        } else {
            buf_addf(path, "%%%02X", (unsigned char)c);
        }
    }
}
