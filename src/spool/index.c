/* SPDX-License-Identifier: Apache-2.0
 *
 * index.c - the open messages in memory; see index_priv.h. Entries live in chunks that never move,
 * so that a pointer to one stays good while the message is open.
 */
#include "spool/index_priv.h"

static_assert(sizeof(struct rcpt) == 12, "a recipient is 12 bytes");
static_assert(sizeof(struct msg) == 48, "a message is 48 bytes");

struct msg_more *msg_more_new(uint32_t rcpt_count, uint32_t extent_count)
{
    size_t rcpt_bytes = rcpt_count * sizeof(struct rcpt);
    rcpt_bytes = (rcpt_bytes + 7) / 8 * 8;
    struct msg_more *more =
            mem_new(sizeof *more + rcpt_bytes + extent_count * sizeof(struct spool_extent));
    if (more == NULL) {
        return NULL;
    }
    more->rcpt_count = rcpt_count;
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
    mem_free(index->hash);
    *index = (struct index){ 0 };
}

static uint32_t hash_of(uint64_t msg_id)
{
    uint64_t h = msg_id * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32);
}

static void hash_put(uint32_t *hash, uint32_t cap, uint64_t msg_id, uint32_t number)
{
    uint32_t at = hash_of(msg_id) & (cap - 1);
    while (hash[at] != 0) {
        at = (at + 1) & (cap - 1);
    }
    hash[at] = number + 1;
}

static enum err hash_grow(struct index *index, uint32_t need_count)
{
    uint64_t cap = index->hash_cap ? index->hash_cap : 64;
    while (cap * 3 / 4 < need_count) {
        cap *= 2;
    }
    if (cap == index->hash_cap) {
        return OK;
    }
    uint32_t *hash = cap <= UINT32_MAX / 2 ? mem_new(cap * sizeof *hash) : NULL;
    if (hash == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < index->hash_cap; i++) {
        if (index->hash[i] != 0) {
            uint32_t number = index->hash[i] - 1;
            hash_put(hash, (uint32_t)cap, entry(index, number)->msg_id, number);
        }
    }
    mem_free(index->hash);
    index->hash = hash;
    index->hash_cap = (uint32_t)cap;
    return OK;
}

static enum err chunk_add(struct index *index)
{
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
        msgs[i].slot = index->free_first;
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
    return hash_grow(index, index->count + count);
}

struct msg *index_find(const struct index *index, uint64_t msg_id)
{
    if (index->hash_cap == 0) {
        return NULL;
    }
    uint32_t mask = index->hash_cap - 1;
    for (uint32_t at = hash_of(msg_id) & mask; index->hash[at] != 0; at = (at + 1) & mask) {
        struct msg *msg = entry(index, index->hash[at] - 1);
        if (msg->msg_id == msg_id) {
            return msg;
        }
    }
    return NULL;
}

struct msg *index_add(struct index *index, uint64_t msg_id)
{
    ASSERT(index->free_count > 0 && msg_id != 0);
    uint32_t number = index->free_first - 1;
    struct msg *msg = entry(index, number);
    index->free_first = msg->slot;
    index->free_count--;
    index->count++;
    *msg = (struct msg){ .msg_id = msg_id };
    hash_put(index->hash, index->hash_cap, msg_id, number);
    return msg;
}

/* Empties the hash place of msg and closes the gap; returns the entry's number. */
static uint32_t hash_take(struct index *index, uint64_t msg_id)
{
    uint32_t mask = index->hash_cap - 1;
    uint32_t at = hash_of(msg_id) & mask;
    while (entry(index, index->hash[at] - 1)->msg_id != msg_id) {
        at = (at + 1) & mask;
    }
    uint32_t number = index->hash[at] - 1;
    uint32_t gap = at;
    for (uint32_t next = (at + 1) & mask; index->hash[next] != 0; next = (next + 1) & mask) {
        uint32_t home = hash_of(entry(index, index->hash[next] - 1)->msg_id) & mask;
        if (((next - home) & mask) >= ((next - gap) & mask)) {
            index->hash[gap] = index->hash[next];
            gap = next;
        }
    }
    index->hash[gap] = 0;
    return number;
}

void index_del(struct index *index, struct msg *msg)
{
    ASSERT(msg->msg_id != 0);
    uint32_t number = hash_take(index, msg->msg_id);
    ASSERT(entry(index, number) == msg);
    if (msg->has_more) {
        msg_more_free(msg->more);
    }
    *msg = (struct msg){ .slot = index->free_first };
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

void rcpt_encode(struct buf *dst, const struct rcpt *rcpt)
{
    buf_add_u32(dst, rcpt->due_lo);
    buf_add_u16(dst, rcpt->due_hi);
    buf_add_u16(dst, rcpt->tries);
    buf_add_char(dst, (char)rcpt->state);
    buf_add_char(dst, (char)rcpt->flags);
    buf_add_u16(dst, 0);
}

bool rcpt_decode(const char *src, struct rcpt *ret_rcpt)
{
    struct rcpt rcpt = {
        .due_lo = get_u32(src),
        .due_hi = get_u16(src + 4),
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
