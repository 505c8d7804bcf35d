/* SPDX-License-Identifier: Apache-2.0
 *
 * log_sink.c - takes log lines from any thread and writes them to standard output, a file or the
 * journal.
 *
 * Owners only append to a bounded buffer; a thread of the sink writes it out. So neither a reader
 * that stopped, nor a file on a disk that hangs, can hold up mail: lines beyond the limit are
 * counted. The thread asks for readiness first instead of making the descriptor non-blocking, since
 * standard output is shared with whoever started us.
 */
#include "node/serve_priv.h"

#include "core/str.h"
#include "core/time.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    SINK_STACK_BYTES = 128 << 10,
    SINK_PIPE_BYTES =
            4096, /* PIPE_BUF: so much never blocks where poll saw room, and is not mixed */
    SINK_POLL_MS = 100,
    SINK_KEPT_BYTES_MAX = 64 << 10 /* a buffer that was larger once gives its memory back */
};

struct log_sink {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct buf pending; /* under lock, as the next four */
    uint64_t dropped_count;
    bool is_flushed, is_ending;
    int next_fd; /* the reopened file, for the thread to change to; -1: none */
    int fd;      /* the thread's, once it runs */
    bool is_own_fd, is_journald, is_json, is_regular, is_started;
    pthread_t thread;
    char hostname[128];
    char path[PATH_MAX];
};

/* ---- opening ---- */

static int open_journal(struct why *why)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        why_set(why,
                "log = \"journald\", but the journal does not answer at %s: use \"stdout\" or a "
                "path",
                at.sun_path);
    }
    return fd;
}

static int open_file(const char *path, struct why *why)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0) {
        why_set(why, "the log %s cannot be opened: %s", path, strerror(errno));
    }
    return fd;
}

static bool is_regular(int fd)
{
    struct stat at;
    return fstat(fd, &at) == 0 && S_ISREG(at.st_mode);
}

static enum err open_target(struct log_sink *sink, const struct config *config, struct why *why)
{
    sink->is_own_fd = true;
    if (str_eq(config->log_to, STR("journald"))) {
        sink->is_journald = true;
        sink->fd = open_journal(why);
    } else if (str_eq(config->log_to, STR("stdout"))) {
        sink->is_own_fd = false;
        sink->fd = STDOUT_FILENO;
    } else if (str_to_c(config->log_to, sink->path, sizeof sink->path)) {
        sink->fd = open_file(sink->path, why);
    } else {
        why_set(why, "the path of the log is too long");
        return E_USAGE;
    }
    sink->is_regular = sink->fd >= 0 && is_regular(sink->fd);
    return sink->fd >= 0 ? OK : E_IO;
}

enum err log_sink_open(const struct config *config, struct log_sink **ret_sink, struct why *why)
{
    struct log_sink *sink = mem_new(sizeof *sink);
    if (sink == NULL) {
        why_set(why, "out of memory");
        return E_NOMEM;
    }
    sink->fd = sink->next_fd = -1;
    sink->is_json = config->is_log_json && !config->is_log_postfix;
    fmt(sink->hostname, sizeof sink->hostname, "%.*s", STR_ARG(config->hostname));
    enum err err = open_target(sink, config, why);
    if (err != OK) {
        mem_free(sink);
        return err;
    }
    pthread_cond_init(&sink->filled, NULL);
    pthread_mutex_init(&sink->lock, NULL);
    buf_init(&sink->pending, LOG_SINK_PENDING_BYTES_MAX + 256);
    *ret_sink = sink;
    return OK;
}

void log_sink_reopen(struct log_sink *sink)
{
    struct why why;
    int fd = sink->path[0] ? open_file(sink->path, &why) : -1;
    if (fd < 0) {
        return; /* the old one still serves */
    }
    pthread_mutex_lock(&sink->lock);
    int unused = sink->next_fd;
    sink->next_fd = fd;
    sink->is_flushed = true;
    pthread_cond_signal(&sink->filled);
    pthread_mutex_unlock(&sink->lock);
    if (unused >= 0) {
        close(unused);
    }
}

/* ---- the thread ---- */

/* Ends at a line's end where there is one, so that other writers of the pipe come between lines. */
static size_t piece_len(struct str text)
{
    struct str piece = str_sub(text, 0, SINK_PIPE_BYTES);
    size_t line_end = str_rindex(piece, '\n');
    return line_end < piece.len ? line_end + 1 : piece.len;
}

static bool is_ending(struct log_sink *sink)
{
    pthread_mutex_lock(&sink->lock);
    bool ending = sink->is_ending;
    pthread_mutex_unlock(&sink->lock);
    return ending;
}

/* Writes all of text, waiting for the reader as long as the node runs. False: given up. */
static bool write_out(struct log_sink *sink, struct str text)
{
    int waited_ms = 0; /* since the end began */
    while (text.len > 0) {
        struct pollfd ready = { .fd = sink->fd, .events = POLLOUT };
        if (poll(&ready, 1, SINK_POLL_MS) == 0) {
            waited_ms += is_ending(sink) ? SINK_POLL_MS : 0;
            if (waited_ms > LOG_SINK_END_MS_MAX) {
                return false;
            }
            continue;
        }
        ssize_t wrote = write(sink->fd, text.ptr, sink->is_regular ? text.len : piece_len(text));
        if (wrote < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (wrote < 0) {
            return false; /* disk full, reader gone: these lines are lost, the next are tried */
        }
        text = str_from(text, (size_t)wrote);
    }
    return true;
}

static uint64_t line_count(struct str text)
{
    uint64_t count = 0;
    for (size_t i = 0; i < text.len; i++) {
        count += text.ptr[i] == '\n';
    }
    return count;
}

/* Takes what there is to write; false: nothing more, ever. */
static bool take_pending(struct log_sink *sink, struct buf *ret_text)
{
    pthread_mutex_lock(&sink->lock);
    while (!sink->is_flushed && !sink->is_ending) {
        pthread_cond_wait(&sink->filled, &sink->lock);
    }
    struct buf taken = sink->pending;
    sink->pending = *ret_text;
    *ret_text = taken;
    sink->is_flushed = false;
    bool is_more = !sink->is_ending || taken.len > 0;
    if (sink->next_fd >= 0) {
        close(sink->fd);
        sink->fd = sink->next_fd;
        sink->is_regular = is_regular(sink->fd);
        sink->next_fd = -1;
    }
    pthread_mutex_unlock(&sink->lock);
    return is_more;
}

static void *sink_run(void *ctx)
{
    struct log_sink *sink = ctx;
    struct buf text;
    buf_init(&text, LOG_SINK_PENDING_BYTES_MAX + 256);
    while (take_pending(sink, &text)) {
        if (!write_out(sink, buf_str(&text))) {
            pthread_mutex_lock(&sink->lock);
            sink->dropped_count += line_count(buf_str(&text));
            pthread_mutex_unlock(&sink->lock);
        }
        buf_clear(&text);
        if (text.cap > SINK_KEPT_BYTES_MAX) {
            buf_done(&text);
        }
    }
    buf_done(&text);
    return NULL;
}

enum err log_sink_start(struct log_sink *sink, struct why *why)
{
    if (sink->is_journald) {
        return OK; /* datagrams that do not block are sent by whoever has a line */
    }
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, SINK_STACK_BYTES);
    int failed = pthread_create(&sink->thread, &attr, sink_run, sink);
    pthread_attr_destroy(&attr);
    if (failed) {
        why_set(why, "no thread for the log: %s", strerror(failed));
        return E_IO;
    }
    pthread_setname_np(sink->thread, "log");
    sink->is_started = true;
    return OK;
}

/* ---- lines ---- */

static void add_pending(struct log_sink *sink, struct str line)
{
    if (sink->pending.len + line.len + 1 > LOG_SINK_PENDING_BYTES_MAX) {
        sink->dropped_count++;
        return;
    }
    if (sink->dropped_count > 0) {
        buf_addf(&sink->pending,
                "outpost: %llu log lines were dropped: they could not be written in time\n",
                (unsigned long long)sink->dropped_count);
        sink->dropped_count = 0;
    }
    buf_add(&sink->pending, line);
    buf_add_char(&sink->pending, '\n');
    if (buf_err(&sink->pending) != OK) { /* no memory */
        sink->dropped_count += line_count(buf_str(&sink->pending)) + 1;
        buf_clear(&sink->pending);
    }
}

static struct iovec iov_of(struct str s)
{
    return (struct iovec){ .iov_base = (void *)(uintptr_t)s.ptr, .iov_len = s.len };
}

/* The journal's native protocol: a datagram of FIELD=value lines. */
static void send_journal(struct log_sink *sink, int priority, struct str line)
{
    char head[80], tail[80];
    size_t head_len =
            fmt(head, sizeof head, "PRIORITY=%d\nSYSLOG_IDENTIFIER=outpost\nMESSAGE=", priority);
    size_t tail_len = sink->dropped_count
                              ? fmt(tail, sizeof tail, " (%llu lines before it were dropped)\n",
                                        (unsigned long long)sink->dropped_count)
                              : fmt(tail, sizeof tail, "\n");
    struct iovec parts[] = { iov_of(str_of(head, head_len)), iov_of(line),
        iov_of(str_of(tail, tail_len)) };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = COUNT_OF(parts) };
    if (sendmsg(sink->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        sink->dropped_count++;
    } else {
        sink->dropped_count = 0;
    }
}

/* A line must be one: text of others was escaped by whoever logs, this is the last guard. */
static struct str one_line(struct str line)
{
    return str_sub(line, 0, str_index(line, '\n'));
}

static void write_line(struct log_sink *sink, int priority, struct str line, bool is_now)
{
    pthread_mutex_lock(&sink->lock);
    if (sink->is_journald) {
        send_journal(sink, priority, one_line(line));
    } else {
        add_pending(sink, one_line(line));
        if (is_now || sink->pending.len > LOG_SINK_PENDING_BYTES_MAX / 4) {
            sink->is_flushed = true;
            pthread_cond_signal(&sink->filled);
        }
    }
    pthread_mutex_unlock(&sink->lock);
}

static void add_json_text(struct buf *text, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\') {
            buf_addf(text, "\\u%04x", c);
        } else {
            buf_add_char(text, (char)c);
        }
    }
}

/* What the node says of itself, in the shape of the mail's lines; the journal has its own stamp. */
void log_sink_line(void *ctx, enum log_level level, struct str line)
{
    static const int priorities[] = { 7, 6, 4, 3 }; /* syslog(3), by enum log_level */
    static const char *const words[] = { "debug", "info", "warning", "error" };
    struct log_sink *sink = ctx;
    char stamp[TIME_TEXT_CAP], space[LOG_LINE_BYTES_MAX + 200];
    size_t stamp_len = time_rfc3339(clock_wall(clock_real()), stamp);
    if (sink->is_journald) {
        write_line(sink, priorities[level], line, true);
    } else if (sink->is_json) {
        struct buf text;
        buf_init(&text, 16384);
        buf_addf(&text, "{\"time\":\"%.*s\",\"event\":\"node\",\"level\":\"%s\",\"text\":\"",
                (int)stamp_len, stamp, words[level]);
        add_json_text(&text, line);
        buf_add_c(&text, "\"}");
        write_line(sink, priorities[level], buf_err(&text) == OK ? buf_str(&text) : line, true);
        buf_done(&text);
    } else {
        size_t len = fmt(space, sizeof space, "%.*s %s outpost[%d]: %s%s%.*s", (int)stamp_len,
                stamp, sink->hostname, (int)getpid(), level == LOG_INFO_ ? "" : words[level],
                level == LOG_INFO_ ? "" : ": ", STR_ARG(line));
        write_line(sink, priorities[level], str_of(space, len), true);
    }
}

void log_sink_mail_line(void *ctx, struct str line)
{
    enum { PRIORITY_INFO = 6 };
    write_line(ctx, PRIORITY_INFO, line, false);
}

void log_sink_flush(void *ctx)
{
    struct log_sink *sink = ctx;
    pthread_mutex_lock(&sink->lock);
    if (sink->pending.len > 0 && !sink->is_flushed) {
        sink->is_flushed = true;
        pthread_cond_signal(&sink->filled);
    }
    pthread_mutex_unlock(&sink->lock);
}

void log_sink_close(struct log_sink *sink)
{
    if (sink == NULL) {
        return;
    }
    pthread_mutex_lock(&sink->lock);
    sink->is_ending = true;
    pthread_cond_signal(&sink->filled);
    pthread_mutex_unlock(&sink->lock);
    if (sink->is_started) {
        pthread_join(sink->thread, NULL);
    } else if (!sink->is_journald) {
        (void)write_out(sink, buf_str(&sink->pending)); /* the node did not start: say why */
    }
    buf_done(&sink->pending);
    if (sink->next_fd >= 0) {
        close(sink->next_fd);
    }
    if (sink->is_own_fd) {
        close(sink->fd);
    }
    pthread_cond_destroy(&sink->filled);
    pthread_mutex_destroy(&sink->lock);
    mem_free(sink);
}
