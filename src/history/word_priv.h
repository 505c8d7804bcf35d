/* SPDX-License-Identifier: Apache-2.0
 *
 * word_priv.h - the last word on each open recipient of a row: why it waits or is held.
 */
#ifndef OUTPOST_HISTORY_WORD_PRIV_H
#define OUTPOST_HISTORY_WORD_PRIV_H

#include "history/history.h"
#include "history/row_priv.h"

/* Calls each as history_words does. E_CORRUPT: the row is damaged. E_NOMEM. */
MUST_USE enum err word_each(uint64_t msg_id, struct str row,
        void (*each)(void *ctx, const struct history_word *word), void *ctx);

#endif
