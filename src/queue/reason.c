/* SPDX-License-Identifier: Apache-2.0
 *
 * reason.c - why something waits or failed, kept once however many recipients it holds for.
 *
 * Many receivers put ids of their own into every reply, so the number of texts is bounded: past it
 * only the codes are kept in memory. The journal and the history have the whole text always.
 */
#include "queue/queue_priv.h"

enum { REASON_NUMBER_MAX = UINT16_MAX };

static struct reason *reason_at(const struct queue *q, uint32_t reason)
{
    return slab_at(&q->reasons, reason);
}

const struct reason *reason_get(const struct queue *q, uint16_t reason)
{
    return reason ? reason_at(q, reason) : NULL;
}

struct str reason_text(const struct reason *reason)
{
    return reason->text ? str_of(reason->text, reason->text_len) : (struct str){ 0 };
}

struct str reason_host(const struct reason *reason)
{
    return reason->text ? str_of(reason->text + reason->text_len, reason->host_len)
                        : (struct str){ 0 };
}

static uint64_t reason_hash(
        const struct queue *q, uint16_t code, struct str enhanced, struct str text, struct str host)
{
    uint64_t hash = str_hash(text, q->seed) ^ code;
    return queue_mix(hash) ^ str_hash(host, ~q->seed) ^ str_hash(enhanced, q->seed + 1);
}

static bool reason_is(const struct reason *reason, uint16_t code, struct str enhanced,
        struct str text, struct str host)
{
    return reason->code == code && str_eq(str_from_c(reason->enhanced), enhanced) &&
           str_eq(reason_text(reason), text) && str_eq(reason_host(reason), host);
}

static uint32_t reason_find(const struct queue *q, uint64_t hash, uint16_t code,
        struct str enhanced, struct str text, struct str host)
{
    uint64_t found;
    for (uint32_t at = 0; map_walk_key(&q->reason_map, hash, &at, &found);) {
        if (reason_is(reason_at(q, (uint32_t)found), code, enhanced, text, host)) {
            return (uint32_t)found;
        }
    }
    return NONE;
}

static uint16_t reason_add(struct queue *q, uint64_t hash, uint16_t code, struct str enhanced,
        struct str text, struct str host)
{
    uint32_t number;
    if (q->reasons.used_count >= REASON_NUMBER_MAX || slab_take(&q->reasons, &number) != OK) {
        return 0; /* no reason is better than no mail */
    }
    struct reason *reason = reason_at(q, number);
    char *bytes = text.len + host.len ? mem_new(text.len + host.len) : NULL;
    if ((text.len + host.len && bytes == NULL) || map_add(&q->reason_map, hash, number) != OK) {
        mem_free(bytes);
        slab_give(&q->reasons, number);
        return 0;
    }
    *reason = (struct reason){ .refs = 1, .code = code, .text = bytes, .hash = hash };
    str_to_c(enhanced, reason->enhanced, sizeof reason->enhanced);
    if (bytes) {
        memcpy(bytes, text.ptr ? text.ptr : "", text.len);
        memcpy(bytes + text.len, host.ptr ? host.ptr : "", host.len);
        reason->text_len = (uint16_t)text.len; /* ≤ REASON_BYTES_MAX */
        reason->host_len = (uint16_t)host.len;
        q->reason_text_count++;
    }
    return (uint16_t)number; /* ≤ REASON_NUMBER_MAX, as numbers are given out densely */
}

uint16_t reason_take(
        struct queue *q, uint16_t code, struct str enhanced, struct str text, struct str host)
{
    enhanced = str_sub(enhanced, 0, sizeof((struct reason *)0)->enhanced - 1);
    text = str_sub(text, 0, REASON_BYTES_MAX);
    host = str_sub(host, 0, REASON_BYTES_MAX);
    uint64_t hash = reason_hash(q, code, enhanced, text, host);
    uint32_t found = reason_find(q, hash, code, enhanced, text, host);
    if (found == NONE && q->reason_text_count >= REASON_COUNT_MAX) {
        text = host = (struct str){ 0 };
        hash = reason_hash(q, code, enhanced, text, host);
        found = reason_find(q, hash, code, enhanced, text, host);
    }
    if (found == NONE) {
        return reason_add(q, hash, code, enhanced, text, host);
    }
    return reason_again(q, (uint16_t)found);
}

uint16_t reason_again(struct queue *q, uint16_t reason)
{
    if (reason) {
        reason_at(q, reason)->refs++;
    }
    return reason;
}

void reason_give(struct queue *q, uint16_t reason)
{
    if (reason == 0) {
        return;
    }
    struct reason *r = reason_at(q, reason);
    ASSERT(r->refs > 0);
    if (--r->refs == 0) {
        bool was_there = map_del_value(&q->reason_map, r->hash, reason);
        ASSERT(was_there);
        q->reason_text_count -= r->text != NULL;
        mem_free(r->text);
        slab_give(&q->reasons, reason);
    }
}

/* ---- after a restart ---- */

static void word_recall(struct queue *q, const struct queue_word *word)
{
    uint32_t msg = msg_find(q, word->msg_id);
    uint32_t rcpt = msg == NONE ? NONE : rcpt_find(q, msg, word->rcpt);
    if (rcpt == NONE || rcpt_at(q, rcpt)->reason) {
        return; /* closed meanwhile, or a newer one is there */
    }
    rcpt_give_reason(q, rcpt,
            word->action
                    ? act_reason(q, word->action, word->author, word->text)
                    : reason_take(q, word->code, word->enhanced, word->text, word->remote_host));
}

void reason_recall(struct queue *q, const struct queue_recall *recall)
{
    for (uint32_t i = 0; i < recall->word_count; i++) {
        word_recall(q, &recall->word[i]);
    }
}

void queue_recall_free(struct queue_recall *recall)
{
    if (recall) {
        arena_done(&recall->arena);
        mem_free(recall);
    }
}

/* ---- for people ---- */

/* "451 4.2.1 later (mx.example)"; a text that begins with its codes keeps them once. */
size_t reason_format(const struct queue *q, uint16_t reason, char *dst, size_t cap_bytes)
{
    const struct reason *r = reason_get(q, reason);
    if (r == NULL) {
        return fmt(dst, cap_bytes, "%s", "");
    }
    struct str text = reason_text(r), host = reason_host(r);
    char code[8] = "", enhanced[16] = "";
    if (r->code) {
        fmt(code, sizeof code, "%u", r->code);
    }
    if (str_starts(text, str_from_c(code))) {
        code[0] = '\0';
    }
    if (r->code &&
            str_find(str_sub(text, 0, 16), str_from_c(r->enhanced)) >= str_sub(text, 0, 16).len) {
        fmt(enhanced, sizeof enhanced, "%s", r->enhanced);
    }
    return fmt(dst, cap_bytes, "%s%s%s%s%.*s%s%.*s%s", code, code[0] ? " " : "", enhanced,
            enhanced[0] && text.len ? " " : "", STR_ARG(text), host.len ? " (" : "", STR_ARG(host),
            host.len ? ")" : "");
}

void reason_free_all(struct queue *q)
{
    uint64_t hash, number;
    for (uint32_t at = 0; map_walk(&q->reason_map, &at, &hash, &number);) {
        mem_free(reason_at(q, (uint32_t)number)->text);
    }
    map_done(&q->reason_map);
    slab_done(&q->reasons);
}
