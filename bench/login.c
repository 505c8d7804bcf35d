/* SPDX-License-Identifier: Apache-2.0
 *
 * login.c - a load tool for clients that connect, log in and send one message, over and over.
 *
 *   login ADDRESS PORT SESSIONS COUNT BYTES SENDER RECIPIENT [AUTH-PLAIN-BASE64]
 *
 * smtp-source knows no AUTH; this one does, and works like it otherwise: no PIPELINING, one
 * recipient, so many connections at a time. Exit 0: every message was answered 250.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SESSION_COUNT_MAX = 1000, REPLY_BYTES_MAX = 4096 };

enum step { BANNER, EHLO, AUTH, MAIL, RCPT, DATA, BODY, QUIT, STEP_COUNT };

struct session {
    int fd;
    enum step step;
    size_t reply_len;
    char reply[REPLY_BYTES_MAX];
};

struct load {
    struct sockaddr_in to;
    int epoll_fd;
    uint64_t started, done, count;
    char *text[STEP_COUNT]; /* what is sent when the reply to the step before has come */
    size_t text_len[STEP_COUNT];
    const char *code[STEP_COUNT]; /* the reply that this step waits for */
    bool has_auth;
};

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "login: %s: %s\n", what, detail);
    exit(1);
}

static void start(struct load *load, struct session *session)
{
    int one = 1;
    session->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (session->fd < 0 || connect(session->fd, (struct sockaddr *)&load->to, sizeof load->to)) {
        die("connect", strerror(errno));
    }
    (void)setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    session->step = BANNER;
    session->reply_len = 0;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = session };
    if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, session->fd, &event)) {
        die("epoll_ctl", strerror(errno));
    }
    load->started++;
}

static void send_all(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);
        if (sent < 0) {
            die("send", strerror(errno));
        }
        text += sent;
        len -= (size_t)sent;
    }
}

/* A reply ends with a line whose fourth byte is a space (RFC 5321 4.2.1). */
static bool is_whole(const struct session *session)
{
    const char *end = session->reply + session->reply_len;
    if (!session->reply_len || end[-1] != '\n') {
        return false;
    }
    const char *line = end - 1;
    while (line > session->reply && line[-1] != '\n') {
        line--;
    }
    return end - line >= 4 && line[3] == ' ';
}

static void finish(struct load *load, struct session *session)
{
    close(session->fd);
    load->done++;
    if (load->started < load->count) {
        start(load, session);
    }
}

static void advance(struct load *load, struct session *session)
{
    if (strncmp(session->reply, load->code[session->step], 3)) {
        session->reply[REPLY_BYTES_MAX - 1] = 0;
        die("unexpected reply", session->reply);
    }
    session->reply_len = 0;
    memset(session->reply, 0, 4);
    if (session->step == QUIT) {
        finish(load, session);
        return;
    }
    session->step++;
    if (session->step == AUTH && !load->has_auth) {
        session->step = MAIL;
    }
    send_all(session->fd, load->text[session->step], load->text_len[session->step]);
}

static void take(struct load *load, struct session *session)
{
    size_t room = REPLY_BYTES_MAX - 1 - session->reply_len;
    ssize_t got = recv(session->fd, session->reply + session->reply_len, room, 0);
    if (got <= 0) {
        die("recv", got ? strerror(errno) : "the server closed the connection");
    }
    session->reply_len += (size_t)got;
    if (is_whole(session)) {
        advance(load, session);
    }
}

static void set_text(struct load *load, enum step step, const char *code, char *text, int len)
{
    if (len < 0) {
        die("memory", "none left");
    }
    load->code[step] = code;
    load->text[step] = text;
    load->text_len[step] = (size_t)len;
}

static void write_body(struct load *load, size_t bytes, const char *from, const char *to)
{
    char *text = malloc(bytes + 1024);
    if (!text) {
        die("memory", "none left");
    }
    int len = snprintf(text, 1000,
            "From: <%s>\r\nTo: <%s>\r\nDate: Mon, 05 Jan 2026 10:00:00 +0000\r\nSubject: "
            "Order\r\n\r\n",
            from, to);
    while ((size_t)len + 80 < bytes) {
        memset(text + len, 'X', 78);
        memcpy(text + len + 78, "\r\n", 2);
        len += 80;
    }
    memcpy(text + len, ".\r\n", 3);
    set_text(load, BODY, "250", text, len + 3);
}

static void write_steps(struct load *load, char **argv, const char *auth)
{
    char *text = NULL;
    load->code[BANNER] = "220";
    set_text(load, EHLO, "250", "EHLO load.bench.example\r\n", 25);
    set_text(load, DATA, "354", "DATA\r\n", 6);
    set_text(load, QUIT, "221", "QUIT\r\n", 6);
    set_text(load, MAIL, "250", text, asprintf(&text, "MAIL FROM:<%s>\r\n", argv[6]));
    load->text[MAIL] = text;
    set_text(load, RCPT, "250", text, asprintf(&text, "RCPT TO:<%s>\r\n", argv[7]));
    load->text[RCPT] = text;
    if (auth) {
        load->has_auth = true;
        set_text(load, AUTH, "235", text, asprintf(&text, "AUTH PLAIN %s\r\n", auth));
        load->text[AUTH] = text;
    }
    write_body(load, strtoull(argv[5], NULL, 10), argv[6], argv[7]);
}

static void run(struct load *load, uint64_t session_count)
{
    static struct session sessions[SESSION_COUNT_MAX];
    struct epoll_event events[64];
    for (uint64_t i = 0; i < session_count && load->started < load->count; i++) {
        start(load, &sessions[i]);
    }
    while (load->done < load->count) {
        int count = epoll_wait(load->epoll_fd, events, 64, 60000);
        if (count == 0) {
            die("no answer", "nothing for 60 s");
        }
        for (int i = 0; i < count; i++) {
            take(load, events[i].data.ptr);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 8 || argc > 9) {
        die("usage", "login ADDRESS PORT SESSIONS COUNT BYTES SENDER RECIPIENT [AUTH]");
    }
    struct load load = { .to.sin_family = AF_INET, .epoll_fd = epoll_create1(0) };
    uint64_t session_count = strtoull(argv[3], NULL, 10);
    load.to.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    load.count = strtoull(argv[4], NULL, 10);
    if (inet_pton(AF_INET, argv[1], &load.to.sin_addr) != 1 || session_count < 1 ||
            session_count > SESSION_COUNT_MAX) {
        die("usage", "ADDRESS is IPv4, SESSIONS 1 to 1000");
    }
    write_steps(&load, argv, argc == 9 ? argv[8] : NULL);
    run(&load, session_count);
    return 0;
}
