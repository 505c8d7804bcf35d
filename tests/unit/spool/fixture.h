/* SPDX-License-Identifier: Apache-2.0
 *
 * fixture.h - a spool on a simulated disk, and messages whose bytes follow from their number.
 */
#ifndef OUTPOST_TESTS_SPOOL_FIXTURE_H
#define OUTPOST_TESTS_SPOOL_FIXTURE_H

#include "core/log.h"
#include "core/mailbox.h"
#include "sim/disk.h"
#include "spool/spool.h"

struct fixture_clock {
    struct clock base;
    int64_t mono_ms;
    int64_t wall_ms;
};
struct fixture_entropy {
    struct entropy base;
    struct prng prng;
};
/* The open recipients of one message, found by spool_each_open. */
struct seen_msg {
    struct spool_open_msg msg;
    struct spool_open_rcpt rcpt[16];
    uint32_t rcpt_count;
};
enum { SEEN_COUNT_MAX = 512 };
struct seen {
    struct seen_msg msg[SEEN_COUNT_MAX];
    uint32_t count;
};
struct fixture {
    struct sim_disk *disk;
    struct fixture_clock clock;
    struct fixture_entropy entropy;
    struct spool_conf conf;
    struct log log;
    uint32_t error_lines; /* of the log */
    bool is_loud;
    struct spool *spool;
    struct seen *seen;
};
void fixture_init(struct fixture *fixture, uint64_t seed);
void fixture_done(struct fixture *fixture); /* closes spool and frees disk */
MUST_USE enum err fixture_open(struct fixture *fixture);
void fixture_close(struct fixture *fixture);
/* The process dies: the spool's memory goes, the disk keeps what it has. */
void fixture_kill(struct fixture *fixture);
void fixture_pass(struct fixture *fixture, int64_t ms); /* time passes */

struct blob *blob_of(struct str bytes);
void blob_text(const struct blob *blob, struct buf *dst);
/* Message `number` with that many recipients and content bytes. */
struct blob *message_envelope(uint32_t number, uint32_t rcpt_count);
struct blob *message_content(uint32_t number, uint32_t bytes);
bool message_is_content(uint32_t number, uint32_t bytes, const struct blob *content);
/* Whose envelope it is, or UINT32_MAX. */
uint32_t message_number(struct str envelope_bytes);

/* Adds one message to the open batch. */
MUST_USE enum err fixture_accept(
        struct fixture *fixture, uint32_t number, uint32_t rcpts, uint32_t bytes, uint64_t *ret_id);
MUST_USE enum err fixture_outcome(struct fixture *fixture, uint64_t msg_id, uint16_t rcpt,
        uint32_t attempt_no, enum spool_result result);
MUST_USE enum err fixture_attempt(
        struct fixture *fixture, uint64_t msg_id, uint16_t rcpt, uint32_t attempt_no);
MUST_USE enum err fixture_ctl(
        struct fixture *fixture, uint64_t msg_id, uint16_t rcpt, enum spool_ctl_action action);
MUST_USE enum err fixture_commit(struct fixture *fixture); /* write and sync */

/* All open messages; valid until the next call. */
const struct seen *fixture_see(struct fixture *fixture);
const struct seen_msg *seen_find(const struct seen *seen, uint64_t msg_id);

#endif
