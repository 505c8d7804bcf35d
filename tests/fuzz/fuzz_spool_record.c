/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_spool_record.c - payloads of journal records; the first byte chooses the type. What decodes
 * is encoded again, decodes to the same, and names no recipient past its bounds.
 */
#include "core/buf.h"
#include "core/str.h"
#include "spool/spool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint16_t scratch[2][SPOOL_RCPT_COUNT_MAX];

static void try_envelope(struct str bytes, struct buf *again)
{
    struct spool_envelope envelope, second;
    if (spool_envelope_decode(bytes, &envelope) != OK) {
        return;
    }
    struct str address;
    uint32_t count = 0;
    for (struct cur cur = { .rest = envelope.rcpts }; spool_rcpt_next(&cur, &address);) {
        count++;
    }
    ASSERT(count == envelope.rcpt_count);
    spool_envelope_encode(again, &envelope);
    ASSERT(spool_envelope_decode(buf_str(again), &second) == OK);
    ASSERT(str_eq(envelope.rcpts, second.rcpts) && str_eq(envelope.helo, second.helo));
}

static void try_outcome(struct str bytes, struct buf *again)
{
    struct spool_outcome outcome, second;
    if (spool_outcome_decode(bytes, scratch[0], &outcome) != OK) {
        return;
    }
    ASSERT(outcome.rcpt_count <= SPOOL_RCPT_COUNT_MAX);
    spool_outcome_encode(again, &outcome);
    ASSERT(spool_outcome_decode(buf_str(again), scratch[1], &second) == OK);
    ASSERT(second.rcpt_count == outcome.rcpt_count && str_eq(second.text, outcome.text));
}

static void try_ctl(struct str bytes, struct buf *again)
{
    struct spool_ctl ctl, second;
    if (spool_ctl_decode(bytes, scratch[0], &ctl) != OK) {
        return;
    }
    spool_ctl_encode(again, &ctl);
    ASSERT(spool_ctl_decode(buf_str(again), scratch[1], &second) == OK);
    ASSERT(second.action == ctl.action && str_eq(second.reason, ctl.reason));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spool_attempt attempt;
    struct spool_dsn_link link;
    struct spool_refusal refusal;
    uint64_t dsn_msg_id;
    struct buf again;
    if (size == 0 || size > 1 << 20) {
        return 0;
    }
    struct str bytes = { (const char *)data + 1, size - 1 };
    buf_init(&again, 4 << 20);
    switch (data[0] % 6) {
    case 0:
        try_envelope(bytes, &again);
        break;
    case 1:
        try_outcome(bytes, &again);
        break;
    case 2:
        try_ctl(bytes, &again);
        break;
    case 3:
        (void)!spool_attempt_decode(bytes, scratch[0], &attempt);
        break;
    case 4:
        (void)!spool_dsn_decode(bytes, scratch[0], &link, &dsn_msg_id);
        break;
    default:
        (void)!spool_refusal_decode(bytes, &refusal);
        break;
    }
    buf_done(&again);
    return 0;
}
