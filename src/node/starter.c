/* SPDX-License-Identifier: Apache-2.0
 *
 * starter.c - launches alert commands for the node, from a process of its own (DESIGN 4).
 *
 * Node and starter share a socket on which each request and each result is one packet. A program's
 * input is a file in memory, so nobody waits for one that does not read. When the node is gone the
 * socket ends, and so does the starter with all that it runs.
 */
#include "node/starter_priv.h"

#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 4096, KILLED = 128 };

struct request {
    uint64_t id, ms_max;
    uint32_t path_len, input_len;
    char text[PATH_BYTES_MAX + STARTER_INPUT_BYTES_MAX]; /* path, then input */
};
struct child {
    pid_t pid; /* 0: free */
    uint64_t id;
    struct mono kill_at;
    bool is_killed;
};
struct starter {
    int fd;
    pid_t pid;
    bool is_gone;
    struct request request; /* too large for a stack */
};
struct starting { /* the starter's own */
    int fd, signals;
    struct child child[STARTER_CHILD_COUNT_MAX];
    struct request request;
};

/* ---- in the program's process, between fork and exec ---- */

static _Noreturn void become(const char *path, int input)
{
    static const int plain[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
    char search[] = "PATH=/usr/bin:/bin", language[] = "LANG=C";
    char *const environment[] = { search, language, NULL };
    char *const argv[] = { (char *)(uintptr_t)path, NULL };
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < COUNT_OF(plain); i++) {
        signal(plain[i], SIG_DFL);
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid(); /* so that all it starts is killed with it */
    if (dup2(input, STDIN_FILENO) < 0 || chdir("/") != 0 ||
            close_range(STDERR_FILENO + 1, ~0U, 0) != 0) {
        _exit(127);
    }
    execve(path, argv, environment);
    _exit(127);
}

/* ---- in the starter ---- */

static void answer(const struct starting *starting, uint64_t id, enum err err, int exit_code)
{
    struct starter_result result = { .id = id, .err = err, .exit_code = exit_code };
    (void)!send(starting->fd, &result, sizeof result, MSG_NOSIGNAL);
}

/* A file in memory that begins with the input; -1: none. */
static int input_file(struct str input)
{
    int fd = memfd_create("outpost-alert", MFD_CLOEXEC);
    while (fd >= 0 && input.len > 0) {
        ssize_t put = write(fd, input.ptr, input.len);
        if (put <= 0) {
            close(fd);
            return -1;
        }
        input = str_from(input, (size_t)put);
    }
    return fd >= 0 && lseek(fd, 0, SEEK_SET) == 0 ? fd : -1;
}

static struct child *free_child(struct starting *starting)
{
    for (size_t i = 0; i < COUNT_OF(starting->child); i++) {
        if (starting->child[i].pid == 0) {
            return &starting->child[i];
        }
    }
    return NULL;
}

static void launch(struct starting *starting)
{
    struct request *request = &starting->request;
    struct child *child = free_child(starting);
    char path[PATH_BYTES_MAX + 1];
    int input = -1;
    if (child == NULL) {
        answer(starting, request->id, E_FULL, 0);
        return;
    }
    if (str_to_c(str_of(request->text, request->path_len), path, sizeof path)) {
        input = input_file(str_of(request->text + request->path_len, request->input_len));
    }
    pid_t pid = input >= 0 ? fork() : -1;
    if (pid == 0) {
        become(path, input);
    }
    if (input >= 0) {
        close(input);
    }
    if (pid < 0) {
        answer(starting, request->id, E_IO, 0);
        return;
    }
    *child = (struct child){ .pid = pid,
        .id = request->id,
        .kill_at = mono_after(clock_mono(clock_real()), request->ms_max) };
}

/* False: the node is gone. */
static bool take_request(struct starting *starting)
{
    struct request *request = &starting->request;
    ssize_t got = recv(starting->fd, request, sizeof *request, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return true;
    }
    bool is_whole =
            got >= (ssize_t)offsetof(struct request, text) && request->path_len <= PATH_BYTES_MAX &&
            request->input_len <= STARTER_INPUT_BYTES_MAX &&
            (size_t)got == offsetof(struct request, text) + request->path_len + request->input_len;
    if (is_whole) {
        launch(starting);
    }
    return got > 0;
}

static void reap(struct starting *starting)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < COUNT_OF(starting->child); i++) {
            struct child *child = &starting->child[i];
            if (child->pid == pid) {
                int code = WIFSIGNALED(status) ? KILLED + WTERMSIG(status) : WEXITSTATUS(status);
                answer(starting, child->id, child->is_killed ? E_TIMEOUT : OK, code);
                (void)kill(-pid, SIGKILL); /* what it left behind */
                child->pid = 0;
            }
        }
    }
}

/* How long to wait for the next one whose time is over. */
static int kill_late(struct starting *starting)
{
    struct mono now = clock_mono(clock_real()), next = { 0 };
    for (size_t i = 0; i < COUNT_OF(starting->child); i++) {
        struct child *child = &starting->child[i];
        if (child->pid != 0 && !child->is_killed && mono_is_due(child->kill_at, now)) {
            child->is_killed = true;
            (void)kill(-child->pid, SIGKILL);
            (void)kill(child->pid, SIGKILL); /* before it had a session of its own */
        } else if (child->pid != 0 && !child->is_killed) {
            next = mono_first(next, child->kill_at);
        }
    }
    return next.ms == 0 ? -1 : (int)(next.ms - now.ms);
}

static _Noreturn void start_until_end(struct starting *starting)
{
    struct pollfd wait[] = { { .fd = starting->fd, .events = POLLIN },
        { .fd = starting->signals, .events = POLLIN } };
    bool is_wanted = true;
    while (is_wanted) {
        struct signalfd_siginfo info;
        (void)poll(wait, COUNT_OF(wait), kill_late(starting));
        (void)!read(starting->signals, &info, sizeof info);
        reap(starting);
        if (wait[0].revents != 0) {
            is_wanted = take_request(starting);
        }
    }
    for (size_t i = 0; i < COUNT_OF(starting->child); i++) {
        if (starting->child[i].pid != 0) {
            (void)kill(-starting->child[i].pid, SIGKILL);
            (void)kill(starting->child[i].pid, SIGKILL);
        }
    }
    _exit(0);
}

/* The process: alone with its socket. A terminal's or service manager's signals are for the node;
 * this one ends when the node has. */
static _Noreturn void starter_main(int fd)
{
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
    struct starting *starting = mem_new(sizeof *starting);
    sigset_t child;
    if (starting == NULL) {
        _exit(1);
    }
    for (size_t i = 0; i < COUNT_OF(ignored); i++) {
        signal(ignored[i], SIG_IGN);
    }
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    (void)prctl(PR_SET_NAME, "outpost-starter");
    int null = open("/dev/null", O_RDWR);
    for (int i = STDIN_FILENO; null >= 0 && i <= STDERR_FILENO; i++) {
        (void)dup2(null, i);
    }
    /* the lowest number after the standard three, so that all others can be closed */
    starting->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int own = dup2(starting->fd, STDERR_FILENO + 1);
    if (own < 0 || close_range((unsigned)own + 1, ~0U, 0) != 0) {
        _exit(1);
    }
    (void)fcntl(own, F_SETFD, FD_CLOEXEC);
    starting->fd = own;
    starting->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (starting->signals < 0) {
        _exit(1);
    }
    start_until_end(starting);
}

/* ---- in the node ---- */

enum err starter_open(struct starter **ret_starter, struct why *why)
{
    int pair[2];
    struct starter *starter = mem_new(sizeof *starter);
    if (starter == NULL) {
        return E_NOMEM;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        why_set(why, "no socket for the starter of programs: %s", strerror(errno));
        mem_free(starter);
        return E_IO;
    }
    starter->pid = fork();
    if (starter->pid == 0) {
        starter_main(pair[1]);
    }
    close(pair[1]);
    starter->fd = pair[0];
    if (starter->pid < 0) {
        why_set(why, "no process for the starter of programs: %s", strerror(errno));
        close(pair[0]);
        mem_free(starter);
        return E_IO;
    }
    (void)fcntl(starter->fd, F_SETFL, O_NONBLOCK);
    *ret_starter = starter;
    return OK;
}

void starter_close(struct starter *starter)
{
    if (starter == NULL) {
        return;
    }
    close(starter->fd);
    (void)waitpid(starter->pid, NULL, 0); /* it ends at once */
    mem_free(starter);
}

int starter_fd(const struct starter *starter)
{
    return starter->fd;
}

enum err starter_run(
        struct starter *starter, uint64_t id, struct str path, struct str input, uint64_t ms_max)
{
    struct request *request = &starter->request;
    if (path.len > PATH_BYTES_MAX || input.len > STARTER_INPUT_BYTES_MAX) {
        return E_TOO_BIG;
    }
    request->id = id;
    request->ms_max = ms_max < STARTER_RUN_MS_MAX ? ms_max : STARTER_RUN_MS_MAX;
    request->path_len = (uint32_t)path.len;
    request->input_len = (uint32_t)input.len;
    memcpy(request->text, path.ptr, path.len);
    if (input.len > 0) {
        memcpy(request->text + path.len, input.ptr, input.len);
    }
    size_t size = offsetof(struct request, text) + path.len + input.len;
    if (send(starter->fd, request, size, MSG_NOSIGNAL) == (ssize_t)size) {
        return OK;
    }
    return errno == EAGAIN ? E_FULL : E_CLOSED;
}

bool starter_next(struct starter *starter, struct starter_result *ret_result)
{
    ssize_t got = recv(starter->fd, ret_result, sizeof *ret_result, 0);
    starter->is_gone = starter->is_gone || got == 0;
    return got == (ssize_t)sizeof *ret_result;
}

bool starter_is_gone(const struct starter *starter)
{
    return starter->is_gone;
}
