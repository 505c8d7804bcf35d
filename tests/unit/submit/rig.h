/* SPDX-License-Identifier: Apache-2.0
 *
 * rig.h - one loop's way in with everything around it played by the test: net, clock, keeper,
 * workers. Dialogues are text.
 *
 *     C: line          the client says it; lines in a row go out together
 *     S: line          the next line of the server; * at its end stands for anything
 *     TIME 90s         the clock goes on, deadlines are looked at
 *     TLS              the handshake is done
 *     END              the client closes its side
 *     CLOSED           the server has closed
 *     OPEN             it has not, and has nothing more to say
 *
 * The keeper answers after each block of C: lines, with rig.keeper_err.
 */
#ifndef OUTPOST_TESTS_RIG_H
#define OUTPOST_TESTS_RIG_H

#include "submit/submit.h"
#include "tests/test.h"
#include "tests/unit/submit/pipe_net.h"

struct rig_clock {
    struct clock base;
    struct mono mono;
    struct wall wall;
};

struct rig {
    struct pipe_net net;
    struct rig_clock clock;
    struct entropy entropy;
    uint8_t entropy_next;
    struct log log;
    struct buf log_text;
    struct submit_shared *shared;
    struct blob_budget budget;
    struct config *config;
    struct mailbox self, keeper, workers;
    struct submit *submit;
    /* the keeper */
    enum err keeper_err;
    enum err chunk_err;
    bool is_keeper_slow; /* answers only in rig_answer */
    uint32_t kept_count, chunk_count, dropped_count, refusal_count, verified_count;
    struct mono asked_at; /* of the last message kept: when its client began to wait */
    struct buf content;
    struct buf envelope; /* as lines */
    struct buf refusals; /* "CODE TEXT" lines */
};

/* RIG_CONFIG and the sections in more. */
void rig_open(struct rig *rig, const char *more);
void rig_done(struct rig *rig); /* checks that nothing is left */
struct config *rig_parse(const char *more);
void rig_reload(struct rig *rig, const char *more);
struct pipe_conn *rig_connect(struct rig *rig, const char *to, const char *from);
void rig_answer(struct rig *rig); /* keeper and workers answer all letters, answers are given */
void rig_pass(struct rig *rig, uint64_t ms);
void rig_play(struct rig *rig, struct pipe_conn *conn, const char *dialogue);
/* Connects, plays, and ends. */
void rig_talk(struct rig *rig, const char *to, const char *from, const char *dialogue);
const char *rig_password_hash(void); /* of "secret" */

#define RIG_LOCAL "127.0.0.1:25"       /* networks 127.0.0.0/8 and 10.0.0.0/8, no AUTH */
#define RIG_SUBMISSION "127.0.0.1:587" /* auth required, in the clear on loopback */
#define RIG_OPTIONAL "127.0.0.1:588"   /* auth optional, as above; network 10.9.0.0/16 */

#endif
