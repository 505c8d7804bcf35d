/* SPDX-License-Identifier: Apache-2.0
 *
 * index.c - the open messages in memory; see index_priv.h. Entries live in chunks that never move,
 * so that a pointer to one stays good while the message is open.
 */
#include "spool/index_priv.h"

static_assert(sizeof(struct rcpt) == 10, "a recipient is 10 bytes");
static_assert(sizeof(struct msg) == 32, "a message is 32 bytes");
static_assert(offsetof(struct msg, more) % _Alignof(struct msg_more *) == 0, "aligned");
static_assert(SPOOL_RCPT_COUNT_MAX <= UINT16_MAX, "counts of recipients are 16 bits");

/* ---- places: slot, page and record, each as narrow as the format allows ---- */

enum { PLACE_PAGE_BITS = 15, PLACE_RECORD_BITS = 20, PLACE_SLOT_BITS = 13 };
static_assert(SPOOL_SLOT_BYTES_MAX / PAGE_BYTES <= 1 << PLACE_PAGE_BITS, "a page fits");
static_assert(
        SPOOL_BATCH_BYTES_MAX / 8 <= 1 << PLACE_RECORD_BITS, "a record is at a multiple of 8");
static_assert(SLOT_COUNT_MAX <= 1 << PLACE_SLOT_BITS, "a slot fits");
static_assert(PLACE_PAGE_BITS + PLACE_RECORD_BITS + PLACE_SLOT_BITS == 48, "48 bits");

bool spool_where_pack(const struct spool_where *where, struct spool_place *ret_place)
{
    if (where->slot >> PLACE_SLOT_BITS || where->batch_page >> PLACE_PAGE_BITS ||
            where->record_at % 8 || where->record_at / 8 >> PLACE_RECORD_BITS) {
        return false;
    }
    uint64_t bits = (uint64_t)where->slot << PLACE_PAGE_BITS | where->batch_page;
    bits = bits << PLACE_RECORD_BITS | where->record_at / 8;
    *ret_place = (struct spool_place){ { (uint16_t)bits, (uint16_t)(bits >> 16),
            (uint16_t)(bits >> 32) } };
    return true;
}

struct spool_where spool_place_where(struct spool_place place)
{
    uint64_t bits = (uint64_t)place.bits[2] << 32 | (uint32_t)place.bits[1] << 16 | place.bits[0];
    return (struct spool_where){
        .slot = (uint32_t)(bits >> (PLACE_PAGE_BITS + PLACE_RECORD_BITS)),
        .batch_page = (uint32_t)(bits >> PLACE_RECORD_BITS) & ((1u << PLACE_PAGE_BITS) - 1),
        .record_at = ((uint32_t)bits & ((1u << PLACE_RECORD_BITS) - 1)) * 8,
    };
}

/* ---- messages ---- */

void msg_set_accepted(struct msg *msg, int64_t ms)
{
    uint64_t bits = ms < 0 ? 0 : (uint64_t)ms;
    bits = bits >> 47 ? ((uint64_t)1 << 47) - 1 : bits;
    msg->accepted_lo = (uint32_t)bits;
    msg->accepted_hi = (bits >> 32) & 0x7fffu;
}

bool msg_count_open(struct index *index, struct msg *msg)
{
    uint16_t open_count = 0;
    for (uint32_t i = 0; i < msg_rcpt_count(msg); i++) {
        uint8_t state = msg_rcpt(msg, i)->state;
        if (spool_state_is_open(state)) {
            index->state_count[state]++;
            open_count++;
        }
    }
    index->open_rcpts += open_count;
    if (msg->has_more) {
        msg->more->open_count = open_count;
    }
    return open_count > 0;
}

struct msg_more *msg_more_new(uint32_t rcpt_count, uint32_t extent_count)
{
    size_t rcpt_bytes = rcpt_count * sizeof(struct rcpt);
    rcpt_bytes = (rcpt_bytes + 7) / 8 * 8;
    struct msg_more *more =
            mem_new(sizeof *more + rcpt_bytes + extent_count * sizeof(struct spool_extent));
    if (more == NULL) {
        return NULL;
    }
    more->rcpt_count = (uint16_t)rcpt_count; /* <= SPOOL_RCPT_COUNT_MAX */
    more->extent_count = extent_count;
    more->extent = (struct spool_extent *)(void *)((char *)more->rcpt + rcpt_bytes);
    return more;
}

void msg_more_free(struct msg_more *more)
{
    mem_free(more);
}

static struct msg *entry(const struct index *index, uint32_t number)
{
    ASSERT(number / INDEX_CHUNK_COUNT < index->chunk_count);
    return &index->chunk[number / INDEX_CHUNK_COUNT][number % INDEX_CHUNK_COUNT];
}

void index_done(struct index *index)
{
    struct msg *msg;
    for (uint32_t at = 0; (msg = index_walk(index, &at)) != NULL;) {
        if (msg->has_more) {
            msg_more_free(msg->more);
        }
    }
    for (uint32_t i = 0; i < index->chunk_count; i++) {
        mem_free(index->chunk[i]);
    }
    mem_free(index->chunk);
    numset_done(&index->set);
    *index = (struct index){ 0 };
}

static uint64_t key_of(const void *ctx, uint32_t number)
{
    return entry(ctx, number)->msg_id;
}

static enum err chunk_add(struct index *index)
{
    if (index->chunk_count == NUMSET_COUNT_MAX / INDEX_CHUNK_COUNT) {
        return E_NOMEM;
    }
    if (index->chunk_count == index->chunk_cap) {
        uint32_t cap = index->chunk_cap ? index->chunk_cap * 2 : 16;
        struct msg **chunk = mem_grow(index->chunk, cap * sizeof(struct msg *));
        if (chunk == NULL) {
            return E_NOMEM;
        }
        index->chunk = chunk;
        index->chunk_cap = cap;
    }
    struct msg *msgs = mem_new(INDEX_CHUNK_COUNT * sizeof *msgs);
    if (msgs == NULL) {
        return E_NOMEM;
    }
    uint32_t first = index->chunk_count * INDEX_CHUNK_COUNT;
    for (uint32_t i = INDEX_CHUNK_COUNT; i-- > 0;) {
        msgs[i].free_next = index->free_first;
        index->free_first = first + i + 1;
    }
    index->chunk[index->chunk_count++] = msgs;
    index->free_count += INDEX_CHUNK_COUNT;
    return OK;
}

enum err index_reserve(struct index *index, uint32_t count)
{
    while (index->free_count < count) {
        if (chunk_add(index) != OK) {
            return E_NOMEM;
        }
    }
    return index_expect(index, count);
}

enum err index_expect(struct index *index, uint32_t count)
{
    return numset_reserve(&index->set, &(struct numset_keys){ key_of, index }, count);
}

struct msg *index_find(const struct index *index, uint64_t msg_id)
{
    uint32_t number;
    struct numset_keys keys = { key_of, index };
    return numset_find(&index->set, &keys, msg_id, &number) ? entry(index, number) : NULL;
}

struct msg *index_add(struct index *index, uint64_t msg_id)
{
    ASSERT(index->free_count > 0 && msg_id != 0);
    uint32_t number = index->free_first - 1;
    struct msg *msg = entry(index, number);
    index->free_first = msg->free_next;
    index->free_count--;
    index->count++;
    *msg = (struct msg){ .msg_id = msg_id };
    numset_put(&index->set, msg_id, number);
    return msg;
}

void index_del(struct index *index, struct msg *msg)
{
    ASSERT(msg->msg_id != 0);
    uint32_t number;
    bool is_there =
            numset_del(&index->set, &(struct numset_keys){ key_of, index }, msg->msg_id, &number);
    ASSERT(is_there && entry(index, number) == msg);
    if (msg->has_more) {
        msg_more_free(msg->more);
    }
    *msg = (struct msg){ .free_next = index->free_first };
    index->free_first = number + 1;
    index->free_count++;
    index->count--;
}

struct msg *index_walk(const struct index *index, uint32_t *at)
{
    uint32_t end = index->chunk_count * INDEX_CHUNK_COUNT;
    while (*at < end) {
        struct msg *msg = entry(index, (*at)++);
        if (msg->msg_id != 0) {
            return msg;
        }
    }
    return NULL;
}

void rcpt_encode(char dst[STORED_RCPT_BYTES], const struct rcpt *rcpt)
{
    for (uint32_t i = 0; i < COUNT_OF(rcpt->due); i++) {
        put_u16(dst + 2 * (size_t)i, rcpt->due[i]);
    }
    put_u16(dst + 6, rcpt->tries);
    dst[8] = (char)rcpt->state;
    dst[9] = (char)rcpt->flags;
    put_u16(dst + 10, 0);
}

bool rcpt_decode(const char *src, struct rcpt *ret_rcpt)
{
    struct rcpt rcpt = {
        .due = { get_u16(src), get_u16(src + 2), get_u16(src + 4) },
        .tries = get_u16(src + 6),
        .state = (uint8_t)src[8],
        .flags = (uint8_t)src[9],
    };
    if (rcpt.state >= SPOOL_STATE_COUNT) {
        return false;
    }
    *ret_rcpt = rcpt;
    return true;
}
