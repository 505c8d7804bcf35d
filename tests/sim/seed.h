/* SPDX-License-Identifier: Apache-2.0
 *
 * seed.h - one simulated day of a node under faults, judged against ledgers that it does not write.
 */
#ifndef OUTPOST_TESTS_SIM_SEED_H
#define OUTPOST_TESTS_SIM_SEED_H

#include "core/base.h"

/* The fault groups of a run; every one must be met over a suite. */
enum seed_fault {
    SEED_KILL,
    SEED_POWER_CUT,
    SEED_DISK_ERROR, /* a write or sync fails */
    SEED_DISK_FULL,
    SEED_NET,          /* refused, silent, reset, stalled */
    SEED_PEER_REFUSES, /* 4xx, 5xx, 421 in every phase */
    SEED_PEER_LIES,    /* garbage, lost replies, dropped after the dot */
    SEED_CLIENT,       /* cut in DATA, reset after the dot */
    SEED_DNS,
    SEED_CLOCK, /* steps of the wall clock */
    SEED_FAULT_COUNT
};
extern const char *const seed_fault_names[SEED_FAULT_COUNT];

struct seed_result {
    uint64_t hash;
    uint64_t met[SEED_FAULT_COUNT]; /* crashes, disk, clock, lies: how often; net, client, dns:
                                       drawn or not */
    uint32_t crashes, messages, acknowledged, delivered, bounced, duplicates, starts_failed;
    uint64_t turns;
    bool is_good;
    char what[600]; /* the first violation */
};

struct seed_options {
    uint64_t seed;
    uint32_t message_count; /* 0: 1000 */
    bool is_traced, is_talking;
};
void seed_run(const struct seed_options *options, struct seed_result *ret_result);

#endif
