/* SPDX-License-Identifier: Apache-2.0
 *
 * scribe_priv.h - the inside of the scribe, between scribe.c (its turns) and scribe_take.c
 * (records).
 */
#ifndef OUTPOST_HISTORY_SCRIBE_PRIV_H
#define OUTPOST_HISTORY_SCRIBE_PRIV_H

#include "core/map.h"
#include "history/days_priv.h"
#include "history/history.h"
#include "history/lines_priv.h"

#include <stdatomic.h>

struct scribe {
    struct mailbox box;
    struct disk *disk;
    struct spool_view *view;
    struct clock *clock;
    const struct log *log;
    struct history_conf conf;
    struct scribe_ports ports;
    struct days days;
    struct lines lines;
    struct map open;              /* msg_id → struct story *, of this commit */
    struct spool_position at;     /* next record to read */
    uint64_t whole_batch;         /* all its records and those before are read */
    struct spool_position logged; /* lines were written before this */
    struct start committed;       /* what the day files have, perhaps not durably */
    struct start durable;
    uint64_t consumed_batch; /* told */
    bool is_consumed_told;
    bool has_work; /* read since the last commit */
    struct mono first_work_at, first_commit_at, retry_at, retire_at;
    struct mono age_at; /* when days.age_now was set */
    bool is_at_end;
    bool is_loaded;      /* `durable` was read from the disk once */
    bool is_spool_known; /* it is the one that was read before */
    bool is_forgotten;   /* the day files are to be opened anew */
    bool is_failing;     /* an error was logged and nothing worked since */
    _Atomic bool is_caught_up;
    struct why why;
    uint16_t rcpt[SPOOL_RCPT_COUNT_MAX];
    uint16_t scratch[SPOOL_RCPT_COUNT_MAX];
};
/* Takes one record of the journal into stories and log lines. E_SYNTAX: it cannot be read. Other
 * errors are of the day files, or memory: nothing uncommitted is of use any more. */
MUST_USE enum err scribe_take(struct scribe *scribe, const struct spool_record *record);

#endif
