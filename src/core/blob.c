/* SPDX-License-Identifier: Apache-2.0
 *
 * blob.c - chunks of message bytes; the first one shares the allocation of the blob itself.
 *
 * The budget is charged with what is allocated, heads included, before it is allocated.
 */
#include "core/blob.h"

enum { BLOB_GROW_BYTES_MIN = 4096 };

static bool budget_take(struct blob_budget *budget, uint64_t bytes)
{
    if (!budget) {
        return true;
    }
    uint64_t used = atomic_load_explicit(&budget->used_bytes, memory_order_relaxed);
    do {
        if (used > budget->max_bytes || bytes > budget->max_bytes - used) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&budget->used_bytes, &used, used + bytes));
    return true;
}

static void budget_give(struct blob_budget *budget, uint64_t bytes)
{
    if (budget) {
        uint64_t before = atomic_fetch_sub(&budget->used_bytes, bytes);
        ASSERT(before >= bytes);
    }
}

static struct blob_chunk *blob_own_chunk(struct blob *blob)
{
    return (struct blob_chunk *)(void *)(blob + 1);
}

static struct blob *blob_new_sized(struct blob_budget *budget, size_t cap)
{
    size_t size_bytes = sizeof(struct blob) + sizeof(struct blob_chunk) + cap;
    if (!budget_take(budget, size_bytes)) {
        return NULL;
    }
    struct blob *blob = mem_grow(NULL, size_bytes);
    if (!blob) {
        budget_give(budget, size_bytes);
        return NULL;
    }
    *blob = (struct blob){ .budget = budget, .taken_bytes = size_bytes };
    atomic_init(&blob->refs, 1);
    blob->first = blob->last = blob_own_chunk(blob);
    *blob->first = (struct blob_chunk){ .cap = (uint32_t)cap }; /* callers: ≤ UINT32_MAX */
    return blob;
}

struct blob *blob_new(struct blob_budget *budget, size_t hint_bytes)
{
    return blob_new_sized(budget, hint_bytes < BLOB_CHUNK_BYTES ? hint_bytes : BLOB_CHUNK_BYTES);
}

struct blob *blob_copy(struct blob_budget *budget, struct str s)
{
    struct blob *blob = s.len <= UINT32_MAX ? blob_new_sized(budget, s.len) : NULL;
    if (blob) {
        ASSERT(blob_add(blob, s) == OK); /* there is room: nothing is allocated */
    }
    return blob;
}

static void blob_free_chunks(struct blob_chunk *chunk)
{
    while (chunk) {
        struct blob_chunk *next = chunk->next;
        mem_free(chunk);
        chunk = next;
    }
}

static size_t blob_next_cap(const struct blob *blob, size_t need_bytes)
{
    uint64_t cap = blob->size_bytes > need_bytes ? blob->size_bytes : need_bytes;
    if (cap < BLOB_GROW_BYTES_MIN) {
        return BLOB_GROW_BYTES_MIN;
    }
    return cap < BLOB_CHUNK_BYTES ? (size_t)cap : BLOB_CHUNK_BYTES;
}

static enum err blob_chunk_new(struct blob *blob, size_t need_bytes, struct blob_chunk **ret_chunk)
{
    size_t cap = blob_next_cap(blob, need_bytes);
    size_t size_bytes = sizeof(struct blob_chunk) + cap;
    if (!budget_take(blob->budget, size_bytes)) {
        return E_FULL;
    }
    struct blob_chunk *chunk = mem_grow(NULL, size_bytes);
    if (!chunk) {
        budget_give(blob->budget, size_bytes);
        return E_NOMEM;
    }
    *chunk = (struct blob_chunk){ .cap = (uint32_t)cap }; /* ≤ BLOB_CHUNK_BYTES */
    blob->taken_bytes += size_bytes;
    *ret_chunk = chunk;
    return OK;
}

/* Chains empty chunks for need_bytes behind the last one, all or none. */
static enum err blob_extend(struct blob *blob, size_t need_bytes)
{
    uint64_t taken_before = blob->taken_bytes;
    struct blob_chunk *tail = blob->last;
    while (need_bytes > 0) {
        enum err err = blob_chunk_new(blob, need_bytes, &tail->next);
        if (err != OK) {
            blob_free_chunks(blob->last->next);
            blob->last->next = NULL;
            budget_give(blob->budget, blob->taken_bytes - taken_before);
            blob->taken_bytes = taken_before;
            return err;
        }
        tail = tail->next;
        need_bytes -= need_bytes < tail->cap ? need_bytes : tail->cap;
    }
    return OK;
}

enum err blob_add(struct blob *blob, struct str s)
{
    ASSERT(atomic_load_explicit(&blob->refs, memory_order_relaxed) == 1);
    size_t room = blob->last->cap - blob->last->len;
    enum err err = s.len > room ? blob_extend(blob, s.len - room) : OK;
    if (err != OK) {
        return err;
    }
    blob->size_bytes += s.len;
    while (s.len > 0) {
        struct blob_chunk *chunk = blob->last;
        ASSERT(chunk); /* blob_extend has chained as many as it takes */
        size_t part = chunk->cap - chunk->len;
        part = s.len < part ? s.len : part;
        memcpy(chunk->data + chunk->len, s.ptr, part);
        chunk->len += (uint32_t)part; /* ≤ cap */
        s = str_of(s.ptr + part, s.len - part);
        blob->last = s.len > 0 ? chunk->next : chunk;
    }
    return OK;
}

struct blob *blob_take(struct blob *blob)
{
    if (blob) {
        uint32_t before = atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
        ASSERT(before > 0 && before < UINT32_MAX);
    }
    return blob;
}

void blob_give(struct blob *blob)
{
    if (!blob) {
        return;
    }
    uint32_t before = atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before == 1) {
        budget_give(blob->budget, blob->taken_bytes);
        blob_free_chunks(blob->first->next);
        mem_free(blob);
    }
}
