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
    SEED_NET_DELAY, /* a piece came late */
    SEED_NET_ORDER, /* connections overtook each other */
    SEED_NET_LOSS,  /* a connection without an answer, or stalled */
    SEED_NET_REFUSED,
    SEED_NET_RESET,
    SEED_NET_PARTIAL,  /* a read gave less than there was */
    SEED_PEER_REFUSES, /* 4xx, 5xx, 421 in every phase */
    SEED_PEER_LIES,    /* garbage, lost replies, dropped after the dot */
    SEED_CLIENT_CUT,   /* within the content */
    SEED_CLIENT_RESET, /* after the dot */
    SEED_DNS_FAILURE,  /* SERVFAIL, time-out, bogus */
    SEED_DNS_ABSENT,   /* wrongly said to be absent */
    SEED_CLOCK,        /* steps of the wall clock */
    SEED_FAULT_COUNT
};
extern const char *const seed_fault_names[SEED_FAULT_COUNT];

struct seed_result {
    uint64_t hash;
    uint64_t met[SEED_FAULT_COUNT]; /* how often it really happened */
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
