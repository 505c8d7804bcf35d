/* SPDX-License-Identifier: Apache-2.0
 *
 * socket.c - addresses of the system and ours, and sockets made as net.c wants them. No loop.
 */
#include "edge/socket_priv.h"

#include "edge/errno_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

enum { LISTEN_BACKLOG_COUNT = 1024 }; /* cut to net.core.somaxconn by the kernel */

struct ip_port socket_address(const struct sockaddr_storage *from)
{
    struct ip_port at = { 0 };
    if (from->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, from, sizeof v4);
        at.ip.family = IP_V4;
        memcpy(at.ip.byte, &v4.sin_addr, 4);
        at.port = ntohs(v4.sin_port);
    } else if (from->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, from, sizeof v6);
        bool is_mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
        at.ip.family = is_mapped ? IP_V4 : IP_V6;
        memcpy(at.ip.byte, v6.sin6_addr.s6_addr + (is_mapped ? 12 : 0), is_mapped ? 4 : 16);
        at.port = ntohs(v6.sin6_port);
    }
    return at;
}

static socklen_t address_to(const struct ip_port *at, struct sockaddr_storage *ret_to)
{
    memset(ret_to, 0, sizeof *ret_to);
    if (at->ip.family == IP_V4) {
        struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(at->port) };
        memcpy(&v4.sin_addr, at->ip.byte, 4);
        memcpy(ret_to, &v4, sizeof v4);
        return sizeof v4;
    }
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(at->port) };
    memcpy(&v6.sin6_addr, at->ip.byte, 16);
    memcpy(ret_to, &v6, sizeof v6);
    return sizeof v6;
}

int socket_open(const struct ip *ip, int type)
{
    return socket(ip->family == IP_V4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

void socket_set(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof value); /* an improvement, not a condition */
}

struct ip_port socket_local(int fd)
{
    struct sockaddr_storage name = { 0 };
    socklen_t len = sizeof name;
    (void)getsockname(fd, (struct sockaddr *)&name, &len); /* no family where it fails */
    return socket_address(&name);
}

bool net_is_local_address(struct ip ip)
{
    if (ip.family == IP_NONE) {
        return false;
    }
    int fd = socket_open(&ip, SOCK_DGRAM);
    if (fd < 0) {
        return false;
    }
    struct sockaddr_storage to;
    socklen_t len = address_to(&(struct ip_port){ .ip = ip }, &to);
    bool is_local = bind(fd, (struct sockaddr *)&to, len) == 0;
    close(fd);
    return is_local;
}

/* Begins; the number of the error where it ended at once, 0 where it succeeded so, -1: pending. */
int socket_connect(int fd, const struct ip *local, const struct ip_port *remote)
{
    struct sockaddr_storage to;
    if (local->family != IP_NONE) {
        if (local->family != remote->ip.family) {
            return EAFNOSUPPORT;
        }
        /* The port is chosen at connect: one local port serves many remote ends. */
        socket_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        socklen_t len = address_to(&(struct ip_port){ .ip = *local }, &to);
        if (bind(fd, (struct sockaddr *)&to, len) != 0) {
            return errno;
        }
    }
    socklen_t len = address_to(remote, &to);
    if (connect(fd, (struct sockaddr *)&to, len) == 0) {
        return 0;
    }
    return errno == EINPROGRESS || errno == EINTR ? -1 : errno;
}

static bool is_any_v6(const struct ip *ip)
{
    static const uint8_t any[16];
    return ip->family == IP_V6 && memcmp(ip->byte, any, sizeof any) == 0;
}

/* As listen(2) wants it; 0 or the number of the error. */
static int bind_and_listen(int fd, const struct ip_port *at, bool is_shared_port)
{
    struct sockaddr_storage to;
    socklen_t len = address_to(at, &to);
    socket_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    socket_set(fd, SOL_SOCKET, SO_REUSEPORT, is_shared_port);
    if (at->ip.family == IP_V6) {
        socket_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !is_any_v6(&at->ip));
    }
    bool is_done =
            bind(fd, (struct sockaddr *)&to, len) == 0 && listen(fd, LISTEN_BACKLOG_COUNT) == 0;
    return is_done ? 0 : errno;
}

enum err socket_listen(const struct ip_port *at, bool is_shared_port, int *ret_fd, struct why *why)
{
    char text[IP_TEXT_CAP];
    if (at->ip.family == IP_NONE) {
        why_set(why, "listen: no address");
        return E_USAGE;
    }
    int fd = socket_open(&at->ip, SOCK_STREAM);
    int number = fd < 0 ? errno : bind_and_listen(fd, at, is_shared_port);
    if (number != 0) {
        why_set(why, "listen on %.*s: %s", STR_ARG(ip_port_format(*at, text)), errno_words(number));
        if (fd >= 0) {
            close(fd);
        }
        return err_from_errno(number);
    }
    *ret_fd = fd;
    return OK;
}
