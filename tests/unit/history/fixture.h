/* SPDX-License-Identifier: Apache-2.0
 *
 * fixture.h - a spool and a history, each on a disk of its own, and messages made by number.
 *
 * Messages of number n: id from n, sender app@shop.example, tag "tag-(n % 10)", recipients
 * user<n>@example.net (and user<n>.<i>@… for more), Message-ID <n@shop.example>.
 */
#ifndef OUTPOST_TESTS_HISTORY_FIXTURE_H
#define OUTPOST_TESTS_HISTORY_FIXTURE_H

#include "history/history.h"
#include "sim/disk.h"

#include <jansson.h>

struct fixture_clock {
    struct clock base;
    int64_t mono_ms, wall_ms;
};
struct fixture_entropy {
    struct entropy base;
    struct prng prng;
};
struct fixture {
    struct sim_disk *spool_sim, *history_sim; /* NULL where real disks were given */
    struct disk *spool_disk, *history_disk;
    struct fixture_clock clock;
    struct fixture_entropy entropy;
    struct log log;
    uint32_t log_counts[4]; /* by level */
    char last_error[400];
    struct spool_conf spool_conf;
    struct history_conf conf;
    struct spool *spool;
    struct spool_view *view;
    struct scribe *scribe;
    struct history *history;
    struct buf lines;  /* log lines, each with newline */
    uint64_t consumed; /* as the port told */
    uint64_t consumed_calls;
    char message_id_extra[64];
};
void fixture_init(struct fixture *f, uint64_t seed); /* on simulated disks; opens nothing */
void fixture_init_on(struct fixture *f, struct disk *spool, struct disk *history);
void fixture_done(struct fixture *f); /* closes all; frees the disks where simulated */
void fixture_open(struct fixture *f); /* spool, view, scribe, history */
MUST_USE enum err fixture_try_open(struct fixture *f);
void fixture_close(struct fixture *f);
/* The process of scribe and readers dies and starts again on the same spool; mode
 * SIM_CRASH_MODE_COUNT: an orderly stop. */
void fixture_restart(struct fixture *f, enum sim_disk_crash mode, uint64_t arg);
/* Closes a real disk, and removes its directory path/part with its files. */
void fixture_remove_dir(struct disk *disk, const char *path, const char *part);
/* Time passes. */
void fixture_pass(struct fixture *f, int64_t ms);

struct fixture_msg {
    uint32_t number;
    uint32_t rcpt_count; /* 0: 1 */
    struct wall at;      /* 0: now */
    struct str tag, client, message_id, meta, sender;
    uint32_t flags;
};
uint64_t fixture_accept(struct fixture *f, const struct fixture_msg *msg);
uint64_t fixture_accept_number(struct fixture *f, uint32_t number);
/* For recipient rcpt; UINT32_MAX: all of count. */
void fixture_attempt(struct fixture *f, uint64_t msg_id, uint16_t rcpt, uint32_t attempt_no);
void fixture_outcome(struct fixture *f, uint64_t msg_id, uint16_t rcpt, uint32_t attempt_no,
        enum spool_result result);
void fixture_outcome_as(struct fixture *f, const struct spool_outcome *outcome);
void fixture_ctl(struct fixture *f, uint64_t msg_id, uint16_t rcpt, enum spool_ctl_action action);
void fixture_dsn(struct fixture *f, uint64_t msg_id, uint16_t rcpt, uint64_t dsn_msg_id);
void fixture_refuse(struct fixture *f, struct str recipient);
/* An outcome with everything filled in; rcpt points into the fixture. */
struct spool_outcome fixture_outcome_of(
        struct fixture *f, uint64_t msg_id, uint32_t attempt_no, enum spool_result result);
void fixture_sync(struct fixture *f); /* what was recorded is durable */
/* Turns of the scribe, time passing, until it has caught up and told so. */
void fixture_settle(struct fixture *f);

struct ulid fixture_ulid(uint32_t number);
/* The first story found, or NULL; json_decref it. */
json_t *fixture_find(struct fixture *f, enum history_key by, const char *value);
json_t *fixture_find_number(struct fixture *f, uint32_t number);
json_t *fixture_find_all(
        struct fixture *f, enum history_key by, const char *value, uint32_t count_max);
/* "accepted attempted delivered" of one recipient; static buffer. */
const char *fixture_events(json_t *story, size_t rcpt);
const char *fixture_state(json_t *story, size_t rcpt);
/* Compares with tests/data/history/NAME; with OUTPOST_WRITE_GOLDEN set writes it instead. */
void fixture_check_golden(const char *name, struct str got);
struct history_totals fixture_totals(struct fixture *f);

#endif
