/* SPDX-License-Identifier: Apache-2.0
 *
 * sntp.c - one SNTP question and its answer. Our packet carries a random transmit time, which the
 * server gives back: who does not see the question cannot answer it (RFC 4330 5, "originate").
 */
#include "edge/sntp.h"

#include "core/time.h"
#include "edge/clock.h"
#include "edge/entropy.h"
#include "edge/errno_priv.h"
#include "edge/net.h"
#include "edge/socket_priv.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SNTP_CLIENT = 0x23, /* no warning, version 4, mode 3 (RFC 4330 4) */
    SNTP_UNSET = 3,     /* leap indicator: the server's clock is not set */
    AT_STRATUM = 1,
    AT_ORIGINATE = 24,
    AT_RECEIVE = 32,
    AT_TRANSMIT = 40
};
#define NTP_UNIX_S UINT64_C(2208988800) /* from 1900 to 1970 */

struct sntp {
    struct net *net;
    struct clock *clock;
    int fd;
    uint64_t mark;
    struct wall sent;
    struct mono deadline;
    bool is_answered;
    bool is_busy, is_closed; /* closed from within the callback: freed after it */
    sntp_answered *answered;
    void *ctx;
};

static uint64_t get_be64(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

/* 32 bits of seconds, 32 of fractions; seconds below 2^31 are those after 2036 (RFC 4330 3). */
static int64_t ms_of(uint64_t ntp)
{
    uint64_t seconds = ntp >> 32;
    seconds += seconds < UINT64_C(1) << 31 ? UINT64_C(1) << 32 : 0;
    return ((int64_t)seconds - (int64_t)NTP_UNIX_S) * 1000 +
           (int64_t)(((ntp & UINT32_MAX) * 1000) >> 32);
}

enum err sntp_read(const uint8_t *packet, size_t len, uint64_t mark, struct wall sent,
        struct wall taken, struct sntp_answer *ret_answer)
{
    bool is_ours = len >= SNTP_PACKET_BYTES && (packet[0] & 7) == 4 &&
                   get_be64(packet + AT_ORIGINATE) == mark;
    if (!is_ours) {
        return E_SYNTAX;
    }
    uint64_t receive = get_be64(packet + AT_RECEIVE), transmit = get_be64(packet + AT_TRANSMIT);
    if (packet[0] >> 6 == SNTP_UNSET || packet[AT_STRATUM] == 0 || packet[AT_STRATUM] > 15 ||
            transmit == 0) { /* RFC 4330 5: kiss of death, not synchronised */
        return E_REFUSED;
    }
    int64_t there = ms_of(receive) - sent.ms, back = ms_of(transmit) - taken.ms;
    int64_t delay = (taken.ms - sent.ms) - (ms_of(transmit) - ms_of(receive));
    *ret_answer = (struct sntp_answer){ .offset_ms = (there + back) / 2,
        .delay_ms = delay > 0 ? (uint64_t)delay : 0 };
    return OK;
}

static void sntp_free(struct sntp *sntp)
{
    if (sntp->fd >= 0) {
        net_unwatch_fd_real(sntp->net, sntp->fd);
        close(sntp->fd);
    }
    mem_free(sntp);
}

static void give(struct sntp *sntp, const struct sntp_answer *answer)
{
    sntp->is_answered = true;
    sntp->is_busy = true;
    sntp->answered(sntp->ctx, answer);
    sntp->is_busy = false;
    if (sntp->is_closed) {
        sntp_free(sntp);
    }
}

static void on_readable(void *ctx)
{
    struct sntp *sntp = ctx;
    uint8_t packet[512];
    struct sntp_answer answer = { 0 };
    ssize_t got = recv(sntp->fd, packet, sizeof packet, 0);
    if (sntp->is_answered || (got < 0 && (errno == EAGAIN || errno == EINTR))) {
        return;
    }
    if (got < 0) { /* ICMP says that nobody is there */
        answer.err = E_REFUSED;
        give(sntp, &answer);
        return;
    }
    enum err err = sntp_read(
            packet, (size_t)got, sntp->mark, sntp->sent, clock_wall(sntp->clock), &answer);
    if (err != E_SYNTAX) { /* else somebody else's: the right one may come yet */
        answer.err = err;
        give(sntp, &answer);
    }
}

enum err sntp_ask(struct net *net, struct clock *clock, struct entropy *entropy,
        const struct ip_port *server, uint64_t ms_max, sntp_answered *answered, void *ctx,
        struct sntp **ret_sntp, struct why *why)
{
    struct ip any = { 0 };
    uint8_t packet[SNTP_PACKET_BYTES] = { SNTP_CLIENT };
    struct sntp *sntp = mem_new(sizeof *sntp);
    if (sntp == NULL) {
        return E_NOMEM;
    }
    *sntp = (struct sntp){ .net = net, .clock = clock, .answered = answered, .ctx = ctx };
    sntp->mark = entropy_u64(entropy);
    for (int i = 0; i < 8; i++) {
        packet[AT_TRANSMIT + i] = (uint8_t)(sntp->mark >> (56 - 8 * i));
    }
    sntp->deadline = mono_after(clock_mono(clock), ms_max);
    sntp->fd = socket_open(&server->ip, SOCK_DGRAM);
    bool is_good = sntp->fd >= 0 && socket_connect(sntp->fd, &any, server) == 0;
    sntp->sent = clock_wall(clock);
    is_good = is_good && send(sntp->fd, packet, sizeof packet, 0) == (ssize_t)sizeof packet;
    if (!is_good) {
        why_set(why, "%s", strerror(errno));
    }
    if (!is_good || net_watch_fd_real(net, sntp->fd, on_readable, sntp) != OK) {
        sntp_free(sntp);
        return E_IO;
    }
    *ret_sntp = sntp;
    return OK;
}

struct mono sntp_tick(struct sntp *sntp)
{
    struct mono deadline = sntp->deadline;
    if (sntp->is_answered) {
        return (struct mono){ 0 };
    }
    if (mono_is_due(deadline, clock_mono(sntp->clock))) {
        const struct sntp_answer late = { .err = E_TIMEOUT };
        give(sntp, &late);
        return (struct mono){ 0 };
    }
    return deadline;
}

void sntp_close(struct sntp *sntp)
{
    if (sntp == NULL) {
        return;
    }
    sntp->is_closed = true;
    if (!sntp->is_busy) {
        sntp_free(sntp);
    }
}
