/* SPDX-License-Identifier: Apache-2.0
 *
 * socket_priv.h - sockets of the system with addresses of ours, for net.c.
 */
#ifndef OUTPOST_EDGE_SOCKET_PRIV_H
#define OUTPOST_EDGE_SOCKET_PRIV_H

#include "edge/net.h"

#include <sys/socket.h>

/* IPv4-mapped addresses become IPv4; family IP_NONE where it is neither. */
struct ip_port socket_address(const struct sockaddr_storage *from);
int socket_open(const struct ip *ip, int type); /* of its family, non-blocking; -1 with errno */
void socket_set(int fd, int level, int option, int value); /* an improvement, never a condition */
struct ip_port socket_local(int fd);
/* The number of the error where it ended at once, 0 where it succeeded so, -1: pending. */
int socket_connect(int fd, const struct ip *local, const struct ip_port *remote);
/* The any-address of IPv6 takes IPv4 too. Errors as of net_ops.listen. */
MUST_USE enum err socket_listen(
        const struct ip_port *at, bool is_shared_port, int *ret_fd, struct why *why);

#endif
