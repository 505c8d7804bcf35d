/* SPDX-License-Identifier: Apache-2.0
 *
 * dns.h - the simulated resolver: names of a small zone, and every way in which asking can fail.
 */
#ifndef OUTPOST_SIM_DNS_H
#define OUTPOST_SIM_DNS_H

#include "edge/dns.h"
#include "sim/events.h"

struct sim_dns;
MUST_USE enum err sim_dns_new(struct sim_events *events, struct sim_dns **ret_dns);
void sim_dns_free(struct sim_dns *dns);

/* The node's resolver: made anew for each life; answers that are under way when it closes are lost.
 */
struct dns *sim_dns_resolver(struct sim_dns *dns);

/* Adds a record; the first one of a name makes the name exist. */
void sim_dns_add(struct sim_dns *dns, const char *name, const struct dns_record *record);
void sim_dns_add_mx(struct sim_dns *dns, const char *name, uint16_t preference, const char *host);
void sim_dns_add_a(struct sim_dns *dns, const char *name, struct ip ip);

/* Questions about that name are answered so from now on; DNS_FOUND: as the records say. */
void sim_dns_fail(struct sim_dns *dns, const char *name, enum dns_status status);

struct sim_dns_faults {
    uint32_t servfail, timeout, bogus, nxdomain, nodata; /* per million questions */
    uint64_t delay_ms_max;
    const char *sure[2]; /* names that are never said to be absent; NULL: none */
};
struct sim_dns_faults *sim_dns_faults(struct sim_dns *dns);
/* How many answers a fault has changed, by what was answered; those that nobody heard not counted.
 */
struct sim_dns_met {
    uint64_t answers[DNS_BOGUS + 1];
};
const struct sim_dns_met *sim_dns_met(const struct sim_dns *dns);

#endif
