/* SPDX-License-Identifier: Apache-2.0
 *
 * nowait.c - preloaded into stunnel: the server's side of its "protocol = smtp" polls 200 ms on
 * every new connection before it greets. That poll returns at once here; every other one is as it
 * was.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <time.h>

enum { PAUSE_MS = 200, MS_PER_S = 1000, NS_PER_MS = 1000000 };

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct timespec limit = { timeout_ms / MS_PER_S, timeout_ms % MS_PER_S * (long)NS_PER_MS };
    if (timeout_ms == PAUSE_MS) {
        limit.tv_nsec = 0;
    }
    return ppoll(fds, count, timeout_ms < 0 ? NULL : &limit, NULL);
}
