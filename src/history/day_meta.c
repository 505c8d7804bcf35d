/* SPDX-License-Identifier: Apache-2.0
 *
 * day_meta.c - what a day's file is called, and the row in which it keeps its own state.
 */
#include "history/days_priv.h"

#include "core/str.h"
#include "core/time.h"

enum { META_VERSION = 1, MS_PER_DAY = 86400000, DAY_MAX = 2932896 /* 9999-12-31 */ };

/* ---- names ---------------------------------------------------------------------------------- */

int32_t day_of(struct wall at)
{
    int64_t day = at.ms < 0 ? 0 : at.ms / MS_PER_DAY;
    return (int32_t)(day > DAY_MAX ? DAY_MAX : day); /* 9999-12-31 */
}

void day_name_format(int32_t day, uint32_t part, char dst[DAYS_NAME_BYTES_MAX])
{
    char date[TIME_TEXT_CAP];
    time_day((struct wall){ (int64_t)day * MS_PER_DAY }, date);
    if (part == 0) {
        fmt(dst, DAYS_NAME_BYTES_MAX, "history-%.10s.db", date);
    } else {
        fmt(dst, DAYS_NAME_BYTES_MAX, "history-%.10s.%u.db", date, (unsigned)part);
    }
}

bool day_name_parse(const char *name, int32_t *ret_day, uint32_t *ret_part)
{
    struct str s = str_from_c(name), prefix = STR("history-"), part;
    char midnight[40];
    struct wall at;
    uint64_t number = 0;
    if (!str_starts(s, prefix) || s.len < 21 || !str_ends_nocase(s, STR(".db"))) {
        return false;
    }
    fmt(midnight, sizeof midnight, "%.10sT00:00:00Z", name + prefix.len);
    part = str_sub(s, 18, s.len - 21);
    if (time_parse_rfc3339(str_from_c(midnight), &at) != OK ||
            (part.len > 0 &&
                    (part.ptr[0] != '.' || str_to_u64(str_from(part, 1), 1000, &number) != OK))) {
        return false;
    }
    *ret_day = day_of(at);
    *ret_part = (uint32_t)number;
    return true;
}

/* ---- the meta row --------------------------------------------------------------------------- */

bool position_is_before(const struct spool_position *a, const struct spool_position *b)
{
    return a->batch_seq != b->batch_seq ? a->batch_seq < b->batch_seq : a->index < b->index;
}

void day_meta_encode(struct buf *dst, const struct day_meta *meta)
{
    add_varint(dst, META_VERSION);
    add_varint(dst, (uint64_t)meta->made_at.ms);
    add_varint(dst, meta->epoch);
    add_varint(dst, meta->upto.batch_seq);
    add_varint(dst, meta->upto.index);
    add_varint(dst, meta->upto.slot);
    add_varint(dst, meta->upto.offset);
    add_varint(dst, meta->msg_first);
    add_varint(dst, meta->msg_last);
    add_varint(dst, meta->refused_rows);
    add_varint(dst, meta->counts.msgs);
    add_varint(dst, meta->counts.rcpts);
    add_varint(dst, meta->counts.attempts);
    add_varint(dst, meta->counts.refused);
    add_varint(dst, STORY_STATE_COUNT);
    for (size_t i = 0; i < STORY_STATE_COUNT; i++) {
        add_varint(dst, meta->counts.state[i]);
    }
    add_varint(dst, meta->runs.next_number);
    add_varint(dst, meta->runs.open_count);
    for (uint32_t i = 0; i < meta->runs.open_count; i++) {
        add_varint(dst, meta->runs.open[i].number);
        add_varint(dst, meta->runs.open[i].key_count);
    }
}

static void decode_counts(struct cur *cur, struct story_counts *counts)
{
    counts->msgs = cur_varint(cur);
    counts->rcpts = cur_varint(cur);
    counts->attempts = cur_varint(cur);
    counts->refused = cur_varint(cur);
    if (cur_varint(cur) != STORY_STATE_COUNT) {
        cur->bad = true;
        return;
    }
    for (size_t i = 0; i < STORY_STATE_COUNT; i++) {
        counts->state[i] = cur_varint(cur);
    }
}

enum err day_meta_decode(struct str bytes, struct day_meta *ret_meta)
{
    struct cur cur = { .rest = bytes };
    struct day_meta meta = { 0 };
    if (cur_varint(&cur) != META_VERSION) {
        return E_CORRUPT;
    }
    meta.made_at.ms = (int64_t)cur_varint(&cur);
    meta.epoch = cur_varint(&cur);
    meta.upto.batch_seq = cur_varint(&cur);
    meta.upto.index = (uint32_t)cur_varint(&cur);
    meta.upto.slot = (uint32_t)cur_varint(&cur);
    meta.upto.offset = cur_varint(&cur);
    meta.msg_first = cur_varint(&cur);
    meta.msg_last = cur_varint(&cur);
    meta.refused_rows = cur_varint(&cur);
    decode_counts(&cur, &meta.counts);
    meta.runs.next_number = (uint32_t)cur_varint(&cur);
    uint64_t open_count = cur_varint(&cur);
    if (cur.bad || open_count >= KEYS_OPEN_RUNS_MAX) {
        return E_CORRUPT;
    }
    meta.runs.open_count = (uint32_t)open_count;
    for (uint32_t i = 0; i < meta.runs.open_count; i++) {
        meta.runs.open[i].number = (uint32_t)cur_varint(&cur);
        meta.runs.open[i].key_count = cur_varint(&cur);
    }
    if (cur.bad || cur.rest.len != 0) {
        return E_CORRUPT;
    }
    *ret_meta = meta;
    return OK;
}
