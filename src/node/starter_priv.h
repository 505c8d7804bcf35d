/* SPDX-License-Identifier: Apache-2.0
 *
 * starter_priv.h - the one that launches programs: a process forked before there are threads, which
 * holds no file, key or socket of the node. The node itself never forks.
 */
#ifndef OUTPOST_NODE_STARTER_PRIV_H
#define OUTPOST_NODE_STARTER_PRIV_H

#include "core/base.h"

enum {
    STARTER_INPUT_BYTES_MAX = 65536, /* more is cut: the caller's to avoid */
    STARTER_CHILD_COUNT_MAX = 8,     /* at one time; more are answered at once with E_FULL */
    STARTER_RUN_MS_MAX = 300000
};
struct starter;
struct starter_result {
    uint64_t id;
    enum err err;  /* OK: it has ended; E_TIMEOUT: killed; E_FULL, E_IO: not started */
    int exit_code; /* 0 to 255, 127: not there or not executable; 128 + N: signal N */
};

/* Forks. To be called while the process has one thread and holds nothing. E_IO with why. */
MUST_USE enum err starter_open(struct starter **ret_starter, struct why *why);
/* Programs that still run are killed. NULL is fine. */
void starter_close(struct starter *starter);
/* Readable when there is a result. */
int starter_fd(const struct starter *starter);
/* Runs the program at path without arguments, input on its standard input, output thrown away, in
 * "/" with PATH=/usr/bin:/bin and LANG=C only; killed with all it started after ms_max. E_TOO_BIG:
 * input or path; E_FULL: requests are waiting; E_CLOSED: the starter is gone. */
MUST_USE enum err starter_run(
        struct starter *starter, uint64_t id, struct str path, struct str input, uint64_t ms_max);
/* The next result; false: none now, or the starter is gone. */
bool starter_next(struct starter *starter, struct starter_result *ret_result);
bool starter_is_gone(const struct starter *starter); /* nothing comes any more */

#endif
