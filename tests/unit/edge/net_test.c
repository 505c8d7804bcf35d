/* SPDX-License-Identifier: Apache-2.0
 *
 * net_test.c - the real net over loopback.
 */
#include "edge/net.h"

#include "core/str.h"
#include "core/time.h"
#include "tests/unit/edge/rig_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* A blocking client of the system, connected: the backlog takes it before anybody accepts. */
static int raw_connect(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    CHECK(fd >= 0);
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect: %d", errno);
    return fd;
}

static void stop_timer(void *ctx)
{
    rig_stop(ctx);
}

static void hello_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->server.conn != NULL) {
        side_say(&rig->server, STR("220 hello\r\n"));
        rig->phase = 1;
    } else if (rig->phase == 1 && side_has(&rig->client, STR("220 hello\r\n"))) {
        side_say(&rig->client, STR("QUIT\r\n"));
        rig->phase = 2;
    } else if (rig->phase == 2 && side_has(&rig->server, STR("QUIT\r\n"))) {
        side_close(&rig->server, false);
        rig->phase = 3;
    } else if (rig->phase == 3 && rig->client.is_eof) {
        rig_stop(rig);
    }
}

static void talk(const char *address)
{
    struct rig rig;
    rig_open(&rig, address, hello_step);
    rig_connect(&rig);
    rig_run(&rig);
    CHECK(rig.client.is_connected);
    struct net_info info;
    rig.net->ops->info(rig.client.conn, &info);
    CHECK(ip_eq(info.remote.ip, rig.at.ip) && info.remote.port == rig.at.port);
    CHECK(info.local.port != 0 && ip_is_loopback(info.local.ip));
    CHECK(!info.is_tls && !info.is_verified && info.err == OK && info.why.text[0] == '\0');
    rig_close(&rig);
}

TEST(two_sides_talk_and_part)
{
    talk("127.0.0.1:0");
}

TEST(two_sides_talk_over_ipv6)
{
    struct ip one;
    REQUIRE_OK(ip_parse(STR("::1"), &one));
    if (!net_is_local_address(one)) {
        skip(); /* no IPv6 on this host */
    }
    talk("[::1]:0");
}

static void accept_step(struct rig *rig)
{
    if (rig->server.conn != NULL && rig->client.is_connected) {
        rig_stop(rig);
    }
}

TEST(a_dual_stack_listener_sees_ipv4_clients_as_ipv4)
{
    struct rig rig;
    struct ip one;
    REQUIRE_OK(ip_parse(STR("::1"), &one));
    if (!net_is_local_address(one)) {
        skip();
    }
    rig_open(&rig, "[::]:0", accept_step);
    REQUIRE_OK(ip_parse(STR("127.0.0.1"), &rig.at.ip));
    rig_connect(&rig);
    rig_run(&rig);
    struct net_info info;
    char text[IP_TEXT_CAP];
    rig.net->ops->info(rig.server.conn, &info);
    CHECK_STR(ip_format(info.remote.ip, text), STR("127.0.0.1"));
    CHECK_STR(ip_format(info.local.ip, text), STR("127.0.0.1"));
    rig_close(&rig);
}

static void failed_step(struct rig *rig)
{
    if (rig->client.is_failed) {
        rig_stop(rig);
    }
}

TEST(a_refused_connection_says_so_later)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", failed_step);
    rig.net->ops->unlisten(rig.listener);
    rig_connect(&rig);
    CHECK(!rig.client.is_failed, "told from within connect");
    rig_run(&rig);
    CHECK_ERR(rig.client.info.err, E_REFUSED);
    CHECK_STR(str_from_c(rig.client.info.why.text), STR("Connection refused"));
    char byte;
    size_t len;
    CHECK_ERR(rig.net->ops->read(rig.client.conn, &byte, 1, &len), E_IO);
    rig_close(&rig);
}

static void source_event(void *ctx, struct net_conn *conn, enum net_event event)
{
    struct net_info *info = ctx;
    CHECK(event == NET_FAILED);
    conn->net->ops->info(conn, info);
    conn->net->ops->close(conn, false);
    net_stop_real(conn->net);
}

TEST(a_source_that_this_host_lacks_fails_later)
{
    struct rig rig;
    struct ip source;
    struct net_conn *conn;
    struct net_info info = { 0 };
    struct why why;
    rig_open(&rig, "127.0.0.1:0", failed_step);
    REQUIRE_OK(ip_parse(STR("192.0.2.1"), &source));
    CHECK(!net_is_local_address(source));
    REQUIRE_OK(rig.net->ops->connect(rig.net, &source, &rig.at, source_event, &info, &conn, &why));
    net_run_real(rig.net, NULL, NULL);
    CHECK_ERR(info.err, E_NOT_FOUND);
    REQUIRE_OK(ip_parse(STR("::1"), &source)); /* the other family */
    REQUIRE_OK(rig.net->ops->connect(rig.net, &source, &rig.at, source_event, &info, &conn, &why));
    net_run_real(rig.net, NULL, NULL);
    CHECK_ERR(info.err, E_UNSUPPORTED);
    rig_close(&rig);
}

static void from_event(void *ctx, struct net_conn *conn, enum net_event event)
{
    (void)event;
    conn->net->ops->info(conn, ctx);
    conn->net->ops->close(conn, false);
    net_stop_real(conn->net);
}

TEST(a_connection_comes_from_its_source)
{
    struct rig rig;
    struct ip source;
    struct net_conn *conn;
    struct net_info info = { 0 };
    struct why why;
    rig_open(&rig, "127.0.0.1:0", accept_step);
    REQUIRE_OK(ip_parse(STR("127.0.0.2"), &source));
    CHECK(net_is_local_address(source));
    REQUIRE_OK(rig.net->ops->connect(rig.net, &source, &rig.at, from_event, &info, &conn, &why));
    net_run_real(rig.net, NULL, NULL);
    CHECK_ERR(info.err, OK);
    CHECK(ip_eq(info.local.ip, source));
    rig_close(&rig);
}

static void big_step(struct rig *rig)
{
    struct side *client = &rig->client, *server = &rig->server;
    if (rig->phase == 0 && client->is_connected && server->conn != NULL) {
        rig->phase = 1;
        server->conn->net->ops->want(server->conn, 0); /* reads nothing: the pipe must fill */
        char *bytes = buf_space(&client->out, 16 << 20);
        CHECK(bytes != NULL);
        for (size_t i = 0; i < 16 << 20; i++) {
            bytes[i] = (char)(i * 31 + i / 65536);
        }
        buf_grew(&client->out, 16 << 20);
        side_say(client, STR("!"));
        CHECK(client->is_blocked, "16 MB fitted into the socket");
        server->conn->net->ops->want(server->conn, NET_WANT_READ);
    } else if (rig->phase == 1 && server->in.len == client->out.len) {
        rig_stop(rig);
    }
}

TEST(a_writer_waits_for_room_and_loses_nothing)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", big_step);
    rig_connect(&rig);
    rig_run(&rig);
    CHECK(side_has(&rig.server, buf_str(&rig.client.out)));
    /* Some wake-ups more than reads are fine; one per byte would be a loop without sleep. */
    CHECK(rig.client.event_count < 20000, "%u events", rig.client.event_count);
    rig_close(&rig);
}

static void half_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->server.is_eof) {
        rig->phase = 1;
        side_say(&rig->server, STR("250 bye\r\n"));
        side_close(&rig->server, false);
        rig_stop(rig);
    }
}

TEST(a_peer_that_closed_its_half_still_gets_the_answer)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", half_step);
    int fd = raw_connect(rig.at.port);
    CHECK(send(fd, "DATA", 4, 0) == 4);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    rig_run(&rig);
    CHECK(side_has(&rig.server, STR("DATA")));
    char got[32];
    ssize_t len = recv(fd, got, sizeof got, MSG_WAITALL);
    CHECK(len == 9 && memcmp(got, "250 bye\r\n", 9) == 0, "%zd bytes", len);
    close(fd);
    rig_close(&rig);
}

static void unread_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->server.conn != NULL) {
        rig->phase = 1;
        side_say(&rig->server, STR("421 go away\r\n"));
        side_close(&rig->server, false); /* with the peer's bytes unread */
        rig_stop(rig);
    }
}

TEST(unread_bytes_at_close_do_not_turn_into_a_reset)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", unread_step);
    int fd = raw_connect(rig.at.port);
    CHECK(send(fd, "EHLO x\r\n", 8, 0) == 8);
    rig_run(&rig);
    char got[64];
    CHECK(recv(fd, got, sizeof got, MSG_WAITALL) == 13);
    CHECK(recv(fd, got, sizeof got, 0) == 0, "reset instead of an end");
    close(fd);
    rig_close(&rig);
}

static void abort_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->client.is_connected && rig->server.conn != NULL) {
        rig->phase = 1;
        side_close(&rig->client, true);
    } else if (rig->phase == 1 && rig->server.is_reset) {
        rig_stop(rig);
    }
}

TEST(an_abort_is_a_reset_for_the_peer)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", abort_step);
    rig_connect(&rig);
    rig_run(&rig);
    CHECK(!rig.server.is_eof);
    uint32_t count = rig.server.readable_count;
    char byte;
    size_t len;
    CHECK_U64(count, 1);
    enum err err = rig.net->ops->read(rig.server.conn, &byte, 1, &len);
    CHECK(err == E_IO || err == E_EOF, "%s", err_name(err));
    rig_close(&rig);
}

TEST(a_taken_port_and_a_foreign_address_are_told_apart)
{
    struct rig rig;
    struct net_listener *second = NULL;
    struct why why = { "" };
    rig_open(&rig, "127.0.0.1:0", accept_step);
    CHECK_ERR(rig.net->ops->listen(rig.net, &rig.at, false, NULL, NULL, &second, &why), E_BUSY);
    CHECK(strstr(why.text, "127.0.0.1:") != NULL && strstr(why.text, "in use") != NULL, "%s",
            why.text);
    struct ip_port foreign = { .port = 0 };
    REQUIRE_OK(ip_parse(STR("192.0.2.1"), &foreign.ip));
    CHECK_ERR(
            rig.net->ops->listen(rig.net, &foreign, false, NULL, NULL, &second, &why), E_NOT_FOUND);
    rig_close(&rig);
}

static void never_accepted(void *ctx, struct net_conn *conn)
{
    (void)ctx;
    conn->net->ops->close(conn, false);
}

TEST(a_shared_port_takes_several_listeners)
{
    struct net *net;
    struct why why;
    struct net_listener *a, *b;
    struct ip_port at = { .port = 0 };
    REQUIRE_OK(ip_parse(STR("127.0.0.1"), &at.ip));
    REQUIRE_OK(net_open_real(clock_real(), &net, &why));
    REQUIRE_OK(net->ops->listen(net, &at, true, never_accepted, NULL, &a, &why));
    net_listener_at_real(a, &at);
    REQUIRE_OK(net->ops->listen(net, &at, true, never_accepted, NULL, &b, &why));
    net_free_real(net);
}

static void pause_step(struct rig *rig)
{
    if (rig->client.is_connected && rig->phase == 0) {
        rig->phase = 1; /* connected by the backlog, accepted by nobody */
        CHECK_U64(rig->accept_count, 0);
        rig->net->ops->pause(rig->listener, false);
    } else if (rig->server.conn != NULL) {
        CHECK_U64(rig->phase, 1);
        rig_stop(rig);
    }
}

TEST(a_paused_listener_accepts_when_it_goes_on)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", pause_step);
    rig.net->ops->pause(rig.listener, true);
    rig_connect(&rig);
    rig_run(&rig);
    CHECK_U64(rig.accept_count, 1);
    rig_close(&rig);
}

TEST(a_passed_in_listener_is_adopted)
{
    struct rig rig;
    struct why why = { "" };
    struct net_listener *none = NULL;
    rig_open(&rig, "127.0.0.1:0", hello_step);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_ERR(net_adopt_listener_real(rig.net, fd, never_accepted, NULL, &none, &why), E_USAGE);
    CHECK(listen(fd, 5) == 0); /* on a port of the system's choice */
    REQUIRE_OK(net_adopt_listener_real(rig.net, fd, never_accepted, NULL, &none, &why));
    struct ip_port at;
    net_listener_at_real(none, &at);
    CHECK(at.port != 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    rig_close(&rig);
}

static void close_in_handler_step(struct rig *rig)
{
    if (rig->client.is_connected && rig->server.conn != NULL) {
        side_close(&rig->client, false); /* one of them is on the stack */
        side_close(&rig->server, false);
        rig->net->ops->unlisten(rig->listener);
        rig_stop(rig);
    }
}

TEST(any_connection_may_be_closed_in_a_handler)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", close_in_handler_step);
    rig_connect(&rig);
    rig_run(&rig);
    rig_close(&rig);
}

TEST(what_is_open_is_closed_with_its_net)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", accept_step);
    rig_connect(&rig);
    rig_run(&rig);
    rig.client.conn = NULL; /* left to net_free_real */
    rig.server.conn = NULL;
    rig_close(&rig);
}

static void quiet_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->client.is_connected && rig->server.conn != NULL) {
        rig->phase = 1;
        side_say(&rig->server, STR("one"));
    } else if (rig->phase == 1 && side_has(&rig->client, STR("one"))) {
        rig->phase = 2;
        rig->client.conn->net->ops->want(rig->client.conn, 0);
        side_say(&rig->server, STR("two"));
        rig->net->ops->timer(rig->net, mono_after(clock_mono(clock_real()), 20), stop_timer, rig);
    } else if (rig->phase == 2) {
        CHECK(rig->client.in.len == 3, "told although not wanted");
    } else if (rig->phase == 3 && side_has(&rig->client, STR("onetwo"))) {
        rig_stop(rig);
    }
}

TEST(nothing_is_told_that_is_not_wanted_and_nothing_is_lost)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", quiet_step);
    rig_connect(&rig);
    rig_run(&rig);
    CHECK(side_has(&rig.client, STR("one")));
    rig.phase = 3;
    rig.net->ops->want(rig.client.conn, NET_WANT_READ);
    rig_run(&rig);
    rig_close(&rig);
}

static void lazy_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->client.is_connected && rig->server.conn != NULL) {
        rig->phase = 1;
        rig->client.is_lazy = true;
        rig->client.read_cap = 2;
        side_say(&rig->server, STR("12345678"));
    } else if (side_has(&rig->client, STR("12345678"))) {
        rig_stop(rig);
    }
}

TEST(readiness_comes_again_until_all_is_read)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", lazy_step);
    rig_connect(&rig);
    rig_run(&rig);
    CHECK_U64(rig.client.readable_count, 4);
    rig_close(&rig);
}

TEST(accepted_and_connected_sockets_send_without_delay)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", accept_step);
    rig_connect(&rig);
    rig_run(&rig);
    uint32_t checked_count = 0;
    for (int fd = 3; fd < 64; fd++) {
        int value = 0, is_listening = 0;
        socklen_t len = sizeof value;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) == 0 && !is_listening &&
                getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &len) == 0) {
            CHECK(value != 0, "descriptor %d delays", fd);
            checked_count++;
        }
    }
    CHECK(checked_count >= 2);
    rig_close(&rig);
}

/* ---- timer and wake ---- */

struct alarm {
    struct net *net;
    struct mono deadline, seen;
    int count;
};

static void alarm_fired(void *ctx)
{
    struct alarm *alarm = ctx;
    alarm->count++;
    alarm->seen = clock_mono(clock_real());
    net_stop_real(alarm->net);
}

TEST(the_timer_fires_at_its_deadline_and_not_before)
{
    struct why why;
    struct alarm alarm = { 0 };
    REQUIRE_OK(net_open_real(clock_real(), &alarm.net, &why));
    struct mono now = clock_mono(clock_real());
    alarm.deadline = mono_after(now, 5);
    alarm.net->ops->timer(alarm.net, mono_after(now, 100000), alarm_fired, &alarm);
    alarm.net->ops->timer(alarm.net, alarm.deadline, alarm_fired, &alarm);
    net_run_real(alarm.net, NULL, NULL);
    CHECK_U64(alarm.count, 1);
    CHECK(alarm.seen.ms >= alarm.deadline.ms);
    /* A deadline in the past fires at once; the same deadline again counts anew. */
    alarm.net->ops->timer(alarm.net, alarm.deadline, alarm_fired, &alarm);
    net_run_real(alarm.net, NULL, NULL);
    CHECK_U64(alarm.count, 2);
    net_free_real(alarm.net);
}

static void woken(void *ctx)
{
    struct alarm *alarm = ctx;
    alarm->count++;
    net_stop_real(alarm->net);
}

static void *wake_thread(void *ctx)
{
    net_wake_real(ctx);
    return NULL;
}

TEST(another_thread_wakes_the_loop)
{
    struct why why;
    struct alarm alarm = { 0 };
    pthread_t thread;
    REQUIRE_OK(net_open_real(clock_real(), &alarm.net, &why));
    CHECK(pthread_create(&thread, NULL, wake_thread, alarm.net) == 0);
    net_run_real(alarm.net, woken, &alarm);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_U64(alarm.count, 1);
    net_free_real(alarm.net);
}

static void fd_readable(void *ctx)
{
    struct alarm *alarm = ctx;
    alarm->count++;
    net_stop_real(alarm->net);
}

TEST(a_foreign_descriptor_is_watched)
{
    struct why why;
    struct alarm alarm = { 0 };
    int ends[2];
    CHECK(pipe(ends) == 0);
    REQUIRE_OK(net_open_real(clock_real(), &alarm.net, &why));
    REQUIRE_OK(net_watch_fd_real(alarm.net, ends[0], fd_readable, &alarm));
    CHECK(write(ends[1], "x", 1) == 1);
    net_run_real(alarm.net, NULL, NULL);
    CHECK_U64(alarm.count, 1);
    net_unwatch_fd_real(alarm.net, ends[0]);
    net_unwatch_fd_real(alarm.net, ends[0]);
    net_free_real(alarm.net);
    close(ends[0]);
    close(ends[1]);
}

/* ---- out of descriptors ---- */

static void count_step(struct rig *rig)
{
    if (rig->accept_count == 1) {
        rig_stop(rig);
    }
}

TEST(without_descriptors_one_is_dropped_and_the_next_waits)
{
    struct rig rig;
    struct rlimit before, low;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    rig_open(&rig, "127.0.0.1:0", count_step);
    int first = raw_connect(rig.at.port), second = raw_connect(rig.at.port);
    int lowest_free = dup(first);
    close(lowest_free);
    low = (struct rlimit){ (rlim_t)lowest_free, before.rlim_max };
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    rig.net->ops->timer(rig.net, mono_after(clock_mono(clock_real()), 30), stop_timer, &rig);
    net_run_real(rig.net, NULL, NULL);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK_U64(rig.accept_count, 0);
    char byte;
    CHECK(recv(first, &byte, 1, 0) == 0, "the first was not told");
    rig_run(&rig); /* the pause ends, the second comes in */
    CHECK_U64(rig.accept_count, 1);
    close(first);
    close(second);
    rig_close(&rig);
}

TEST(without_memory_opening_and_connecting_fail_and_leave_nothing)
{
    struct why why;
    enum err err = E_NOMEM;
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", accept_step);
    for (uint64_t nth = 1; err != OK; nth++) {
        struct net *net = NULL;
        struct net_conn *conn = NULL;
        CHECK(nth < 100);
        mem_fail_at(nth);
        err = net_open_real(clock_real(), &net, &why);
        if (err == OK) {
            err = net->ops->connect(net, &(struct ip){ 0 }, &rig.at, NULL, NULL, &conn, &why);
        }
        mem_fail_at(0);
        CHECK(err == OK || err == E_NOMEM, "%s", err_name(err));
        net_free_real(net);
    }
    rig_close(&rig);
}
