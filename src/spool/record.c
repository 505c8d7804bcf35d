/* SPDX-License-Identifier: Apache-2.0
 *
 * record.c - what becomes of recipients, to bytes and back: ATTEMPT, OUTCOME, CTL, DSN, REFUSED.
 */
#include "spool/spool.h"

enum { FIELD_BYTES_MAX = 65536, DIALOGUE_BYTES_MAX = 1 << 20 };

static void add_rcpts(struct buf *dst, const uint16_t *rcpt, uint32_t rcpt_count)
{
    buf_add_u32(dst, rcpt_count);
    for (uint32_t i = 0; i < rcpt_count; i++) {
        buf_add_u16(dst, rcpt[i]);
    }
}

static uint32_t read_rcpts(struct cur *cur, uint16_t *scratch)
{
    uint32_t count = cur_u32(cur);
    if (count > SPOOL_RCPT_COUNT_MAX) {
        cur->bad = true;
        return 0;
    }
    for (uint32_t i = 0; i < count && !cur->bad; i++) {
        scratch[i] = cur_u16(cur);
    }
    return count;
}

static struct wall read_wall(struct cur *cur)
{
    return (struct wall){ (int64_t)cur_u64(cur) };
}

static bool is_read(const struct cur *cur)
{
    return !cur->bad && cur->rest.len == 0;
}

void spool_attempt_encode(struct buf *dst, const struct spool_attempt *attempt)
{
    buf_add_u64(dst, attempt->msg_id);
    add_rcpts(dst, attempt->rcpt, attempt->rcpt_count);
    buf_add_u32(dst, attempt->attempt_no);
    buf_add_u64(dst, (uint64_t)attempt->at.ms);
}

enum err spool_attempt_decode(struct str bytes, uint16_t *scratch, struct spool_attempt *ret)
{
    struct cur cur = { .rest = bytes };
    struct spool_attempt attempt = { .msg_id = cur_u64(&cur), .rcpt = scratch };
    attempt.rcpt_count = read_rcpts(&cur, scratch);
    attempt.attempt_no = cur_u32(&cur);
    attempt.at = read_wall(&cur);
    if (!is_read(&cur)) {
        return E_SYNTAX;
    }
    *ret = attempt;
    return OK;
}

void spool_outcome_encode(struct buf *dst, const struct spool_outcome *outcome)
{
    buf_add_u64(dst, outcome->msg_id);
    add_rcpts(dst, outcome->rcpt, outcome->rcpt_count);
    buf_add_u32(dst, outcome->attempt_no);
    buf_add_u16(dst, (uint16_t)outcome->result);
    buf_add_u64(dst, (uint64_t)outcome->at.ms);
    buf_add_u64(dst, (uint64_t)outcome->due.ms);
    buf_add_u16(dst, outcome->code);
    buf_add_u32(dst, outcome->queued_ms);
    buf_add_u32(dst, outcome->connect_ms);
    buf_add_u32(dst, outcome->transfer_ms);
    buf_add_u16(dst, outcome->maybe_duplicate ? 1 : 0);
    buf_add_str32(dst, outcome->enhanced);
    buf_add_str32(dst, outcome->text);
    buf_add_str32(dst, outcome->site);
    buf_add_str32(dst, outcome->source);
    buf_add_str32(dst, outcome->remote_host);
    buf_add_str32(dst, outcome->remote_ip);
    buf_add_str32(dst, outcome->tls);
    buf_add_str32(dst, outcome->dialogue);
}

static void read_outcome_strings(struct cur *cur, struct spool_outcome *outcome)
{
    outcome->enhanced = cur_str32(cur, FIELD_BYTES_MAX);
    outcome->text = cur_str32(cur, FIELD_BYTES_MAX);
    outcome->site = cur_str32(cur, FIELD_BYTES_MAX);
    outcome->source = cur_str32(cur, FIELD_BYTES_MAX);
    outcome->remote_host = cur_str32(cur, FIELD_BYTES_MAX);
    outcome->remote_ip = cur_str32(cur, FIELD_BYTES_MAX);
    outcome->tls = cur_str32(cur, FIELD_BYTES_MAX);
    outcome->dialogue = cur_str32(cur, DIALOGUE_BYTES_MAX);
}

enum err spool_outcome_decode(struct str bytes, uint16_t *scratch, struct spool_outcome *ret)
{
    struct cur cur = { .rest = bytes };
    struct spool_outcome outcome = { .msg_id = cur_u64(&cur), .rcpt = scratch };
    outcome.rcpt_count = read_rcpts(&cur, scratch);
    outcome.attempt_no = cur_u32(&cur);
    uint16_t result = cur_u16(&cur);
    outcome.at = read_wall(&cur);
    outcome.due = read_wall(&cur);
    outcome.code = cur_u16(&cur);
    outcome.queued_ms = cur_u32(&cur);
    outcome.connect_ms = cur_u32(&cur);
    outcome.transfer_ms = cur_u32(&cur);
    outcome.maybe_duplicate = cur_u16(&cur) != 0;
    read_outcome_strings(&cur, &outcome);
    if (!is_read(&cur) || result >= SPOOL_RESULT_COUNT) {
        return E_SYNTAX;
    }
    outcome.result = (enum spool_result)result;
    *ret = outcome;
    return OK;
}

void spool_ctl_encode(struct buf *dst, const struct spool_ctl *ctl)
{
    buf_add_u64(dst, ctl->msg_id);
    add_rcpts(dst, ctl->rcpt, ctl->rcpt_count);
    buf_add_u16(dst, (uint16_t)ctl->action);
    buf_add_u64(dst, (uint64_t)ctl->at.ms);
    buf_add_str32(dst, ctl->author);
    buf_add_str32(dst, ctl->reason);
}

enum err spool_ctl_decode(struct str bytes, uint16_t *scratch, struct spool_ctl *ret)
{
    struct cur cur = { .rest = bytes };
    struct spool_ctl ctl = { .msg_id = cur_u64(&cur), .rcpt = scratch };
    ctl.rcpt_count = read_rcpts(&cur, scratch);
    uint16_t action = cur_u16(&cur);
    ctl.at = read_wall(&cur);
    ctl.author = cur_str32(&cur, FIELD_BYTES_MAX);
    ctl.reason = cur_str32(&cur, FIELD_BYTES_MAX);
    if (!is_read(&cur) || action < SPOOL_CTL_HOLD || action > SPOOL_CTL_CLOSE) {
        return E_SYNTAX;
    }
    ctl.action = (enum spool_ctl_action)action;
    *ret = ctl;
    return OK;
}

void spool_dsn_encode(struct buf *dst, const struct spool_dsn_link *link, uint64_t dsn_msg_id)
{
    buf_add_u64(dst, link->msg_id);
    add_rcpts(dst, link->rcpt, link->rcpt_count);
    buf_add_u64(dst, dsn_msg_id);
}

enum err spool_dsn_decode(
        struct str bytes, uint16_t *scratch, struct spool_dsn_link *ret, uint64_t *ret_dsn_msg_id)
{
    struct cur cur = { .rest = bytes };
    struct spool_dsn_link link = { .msg_id = cur_u64(&cur), .rcpt = scratch };
    link.rcpt_count = read_rcpts(&cur, scratch);
    uint64_t dsn_msg_id = cur_u64(&cur);
    if (!is_read(&cur)) {
        return E_SYNTAX;
    }
    *ret = link;
    *ret_dsn_msg_id = dsn_msg_id;
    return OK;
}

void spool_refusal_encode(struct buf *dst, const struct spool_refusal *refusal)
{
    buf_add_u64(dst, (uint64_t)refusal->at.ms);
    buf_add_u16(dst, refusal->code);
    buf_add_str32(dst, refusal->client);
    buf_add_str32(dst, refusal->helo);
    buf_add_str32(dst, refusal->credential);
    buf_add_str32(dst, refusal->sender);
    buf_add_str32(dst, refusal->recipient);
    buf_add_str32(dst, refusal->enhanced);
    buf_add_str32(dst, refusal->text);
}

enum err spool_refusal_decode(struct str bytes, struct spool_refusal *ret)
{
    struct cur cur = { .rest = bytes };
    struct spool_refusal refusal = { .at = read_wall(&cur) };
    refusal.code = cur_u16(&cur);
    refusal.client = cur_str32(&cur, FIELD_BYTES_MAX);
    refusal.helo = cur_str32(&cur, FIELD_BYTES_MAX);
    refusal.credential = cur_str32(&cur, FIELD_BYTES_MAX);
    refusal.sender = cur_str32(&cur, FIELD_BYTES_MAX);
    refusal.recipient = cur_str32(&cur, FIELD_BYTES_MAX);
    refusal.enhanced = cur_str32(&cur, FIELD_BYTES_MAX);
    refusal.text = cur_str32(&cur, FIELD_BYTES_MAX);
    if (!is_read(&cur)) {
        return E_SYNTAX;
    }
    *ret = refusal;
    return OK;
}
