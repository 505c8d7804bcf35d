/* SPDX-License-Identifier: Apache-2.0
 *
 * control_http.c - serves the control API over a UNIX socket with libmicrohttpd.
 *
 * Only carries bytes: what a request means is control.c's. The socket belongs to the node's user
 * and group (0660); who asks is told by the kernel (SO_PEERCRED) and becomes the author of actions.
 */
#include "node/serve_priv.h"

#include "core/str.h"

#include <errno.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <microhttpd.h>

enum {
    CONTROL_BODY_BYTES_MAX = 1 << 20,
    CONTROL_CONNECTION_MAX = 32,
    CONTROL_BACKLOG = 64,
    CONTROL_IDLE_S = 60,
    CONTROL_WAIT_MS = 30000,
    CONTROL_STACK_BYTES = 512 << 10 /* a thread a connection; SQLite and nested JSON run on it */
};

struct control_http {
    struct MHD_Daemon *daemon;
    struct node *node;
    char path[108];   /* of the socket, to be removed at the end; sun_path, unix(7) */
    struct stat made; /* what lies there was made by us */
};

/* One request while its body comes in. */
struct http_request {
    struct buf body, path, query;
};

/* allow: the methods for an Allow field, or "". */
static enum MHD_Result answer_with(
        struct MHD_Connection *connection, unsigned int status, struct str body, const char *allow)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
            body.len, (void *)(uintptr_t)body.ptr, MHD_RESPMEM_MUST_COPY);
    if (response == NULL) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, "Content-Type", "application/json");
    if (allow[0]) {
        (void)MHD_add_response_header(response, "Allow", allow);
    }
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer(
        struct MHD_Connection *connection, unsigned int status, struct str body)
{
    return answer_with(connection, status, body, "");
}

static void peer_name(struct MHD_Connection *connection, char *name, size_t cap)
{
    const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer = { .uid = (uid_t)-1 };
    socklen_t len = sizeof peer;
    if (info == NULL || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0) {
        fmt(name, cap, "unknown");
        return;
    }
    char scratch[1024];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(peer.uid, &entry, scratch, sizeof scratch, &found) == 0 && found) {
        fmt(name, cap, "%s", found->pw_name);
    } else {
        fmt(name, cap, "uid %u", peer.uid);
    }
}

/* kept: a further byte that stands for itself. */
static void add_encoded(struct buf *query, const char *text, char kept)
{
    for (; *text; text++) {
        char c = *text;
        if (ascii_is_alpha(c) || ascii_is_digit(c) || c == '-' || c == '.' || c == '_' ||
                c == kept) {
            buf_add_char(query, c);
        } else {
            buf_addf(query, "%%%02X", (unsigned char)c);
        }
    }
}

/* libmicrohttpd has taken the query apart and decoded it; control.c wants it as it was sent. */
static enum MHD_Result add_argument(
        void *ctx, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct buf *query = ctx;
    (void)kind;
    if (query->len) {
        buf_add_char(query, '&');
    }
    add_encoded(query, key, '-');
    buf_add_char(query, '=');
    add_encoded(query, value ? value : "", '-');
    return MHD_YES;
}

static enum MHD_Result run_request(struct control_http *http, struct MHD_Connection *connection,
        const struct control_request *ask)
{
    struct control *control;
    if (control_begin(http->node, ask, &control) != OK) {
        return answer(connection, 503, STR("{\"error\":\"out of memory\"}"));
    }
    enum MHD_Result result;
    if (control_wait(control, CONTROL_WAIT_MS)) {
        result = answer_with(
                connection, control_status(control), control_body(control), control_allow(control));
    } else {
        result = answer(connection, 504, STR("{\"error\":\"the node did not answer in 30 s\"}"));
    }
    control_free(control);
    return result;
}

static enum MHD_Result serve_request(struct control_http *http, struct MHD_Connection *connection,
        const char *url, const char *method, struct http_request *request)
{
    char author[64];
    peer_name(connection, author, sizeof author);
    (void)MHD_get_connection_values(
            connection, MHD_GET_ARGUMENT_KIND, add_argument, &request->query);
    add_encoded(&request->path, url, '/');
    if (buf_err(&request->query) != OK || buf_err(&request->path) != OK) {
        return answer(
                connection, 414, STR("{\"error\":\"the address of the request is too long\"}"));
    }
    /* a scan of the whole journal takes its time: the connection is not idle meanwhile */
    (void)MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
    const struct control_request ask = {
        .method = str_from_c(method),
        .path = buf_str(&request->path),
        .query = buf_str(&request->query),
        .body = buf_str(&request->body),
        .author = str_from_c(author),
    };
    enum MHD_Result result = run_request(http, connection, &ask);
    (void)MHD_set_connection_option(
            connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned int)CONTROL_IDLE_S);
    return result;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
        const char *method, const char *version, const char *data, size_t *data_len, void **state)
{
    struct http_request *request = *state;
    (void)version;
    if (request == NULL) {
        request = mem_new(sizeof *request);
        if (request == NULL) {
            return MHD_NO;
        }
        buf_init(&request->body, CONTROL_BODY_BYTES_MAX);
        buf_init(&request->path, 65536);
        buf_init(&request->query, 65536);
        *state = request;
        return MHD_YES;
    }
    if (*data_len > 0) {
        buf_add(&request->body, str_of(data, *data_len));
        *data_len = 0;
        return MHD_YES;
    }
    if (buf_err(&request->body) != OK) {
        return answer(
                connection, 413, STR("{\"error\":\"the request body is larger than 1 MiB\"}"));
    }
    return serve_request(ctx, connection, url, method, request);
}

static void on_done(void *ctx, struct MHD_Connection *connection, void **state,
        enum MHD_RequestTerminationCode why)
{
    struct http_request *request = *state;
    (void)ctx;
    (void)connection;
    (void)why;
    if (request) {
        buf_done(&request->body);
        buf_done(&request->path);
        buf_done(&request->query);
        mem_free(request);
        *state = NULL;
    }
}

/* Is somebody there who takes connections? */
static bool is_answered(int fd, const struct sockaddr_un *at)
{
    return connect(fd, (const struct sockaddr *)at, sizeof *at) == 0;
}

/* Makes room where a node left its socket behind. Anything else that lies there is not ours. */
static enum err clear_path(const struct sockaddr_un *at, struct why *why)
{
    struct stat there;
    if (lstat(at->sun_path, &there) != 0) {
        return OK;
    }
    if (!S_ISSOCK(there.st_mode)) {
        why_set(why, "%s is no socket and is left alone: set control to another path",
                at->sun_path);
        return E_EXISTS;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_alive = fd >= 0 && is_answered(fd, at);
    if (fd >= 0) {
        close(fd);
    }
    if (is_alive) {
        why_set(why, "another node answers at %s: stop it, or set control to another path",
                at->sun_path);
        return E_BUSY;
    }
    (void)unlink(at->sun_path);
    return OK;
}

static enum err open_failed(const char *path, int error, struct why *why)
{
    const char *advice =
            error == ENOENT
                    ? "make the directory that it lies in (systemd: RuntimeDirectory=outpost)"
                    : "set control to a path that this user may write";
    why_set(why, "the control socket %s cannot be opened: %s; %s", path, strerror(error), advice);
    return E_IO;
}

/* *ret_fd: listening, and its path 0660. */
static enum err listen_at(const char *path, int *ret_fd, struct why *why)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    memcpy(at.sun_path, path, strlen(path) + 1);
    enum err err = clear_path(&at, why);
    if (err != OK) {
        return err;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return open_failed(path, errno, why);
    }
    /* made for nobody, then opened: no moment in which others may connect, and no umask, which is
     * the whole process's, is touched */
    bool is_good = fchmod(fd, 0600) == 0 &&
                   bind(fd, (const struct sockaddr *)&at, sizeof at) == 0 &&
                   chmod(path, 0660) == 0 && listen(fd, CONTROL_BACKLOG) == 0;
    if (!is_good) {
        int error = errno;
        close(fd);
        return open_failed(path, error, why);
    }
    *ret_fd = fd;
    return OK;
}

/* poll, not select: with many sessions descriptors are beyond FD_SETSIZE. */
static struct MHD_Daemon *start_daemon(struct control_http *http, int fd)
{
    return MHD_start_daemon(
            MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL, 0, NULL,
            NULL, on_request, http, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED,
            on_done, http, MHD_OPTION_CONNECTION_LIMIT, (unsigned int)CONTROL_CONNECTION_MAX,
            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)CONTROL_IDLE_S,
            MHD_OPTION_THREAD_STACK_SIZE, (size_t)CONTROL_STACK_BYTES, MHD_OPTION_END);
}

enum err control_http_open(
        struct node *node, struct str path, struct control_http **ret_http, struct why *why)
{
    struct control_http *http = mem_new(sizeof *http);
    if (http == NULL) {
        why_set(why, "out of memory");
        return E_NOMEM;
    }
    int fd = -1;
    enum err err = E_USAGE;
    http->node = node;
    if (path.len > 0 && str_to_c(path, http->path, sizeof http->path)) {
        err = listen_at(http->path, &fd, why);
    } else {
        why_set(why, "control, the path of the control socket, must have 1 to 107 bytes");
    }
    if (err == OK) {
        (void)lstat(http->path, &http->made);
        http->daemon = start_daemon(http, fd);
        if (http->daemon == NULL) {
            why_set(why, "no thread for the control socket");
            (void)unlink(http->path);
            close(fd);
            err = E_IO;
        }
    }
    if (err != OK) {
        mem_free(http);
        return err;
    }
    *ret_http = http;
    return OK;
}

void control_http_close(struct control_http *http)
{
    struct stat there;
    if (http == NULL) {
        return;
    }
    MHD_stop_daemon(http->daemon);
    if (lstat(http->path, &there) == 0 && there.st_ino == http->made.st_ino &&
            there.st_dev == http->made.st_dev) {
        (void)unlink(http->path);
    }
    mem_free(http);
}
