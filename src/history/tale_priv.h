/* SPDX-License-Identifier: Apache-2.0
 *
 * tale_priv.h - a message's row told as JSON.
 */
#ifndef OUTPOST_HISTORY_TALE_PRIV_H
#define OUTPOST_HISTORY_TALE_PRIV_H

#include "history/row_priv.h"

/* only: where not empty and the message has more than TALE_RCPT_COUNT_ALL recipients, those with
 * this address only. Appends one object. E_CORRUPT: the row is damaged. E_TOO_BIG, E_NOMEM. */
enum { TALE_RCPT_COUNT_ALL = 100 };
MUST_USE enum err tale_json(uint64_t msg_id, struct str row, struct str only, struct buf *ret_json);
MUST_USE enum err tale_refusal_json(struct str row, struct buf *ret_json);

#endif
