/* SPDX-License-Identifier: Apache-2.0
 *
 * keys.c - sorted runs of (hash, message), in chunks of a page.
 *
 * A chunk's row number is run, hash of its first key, and a number for chunks that begin with the
 * same hash: so "the last chunk that begins at or before this hash" is one seek.
 */
#include "history/keys_priv.h"

#include "core/str.h"

#include <stdlib.h>

enum {
    HASH_BITS = 31,
    SAME_BITS = 12,
    RUN_BITS = 20,
    CHUNK_BYTES = 4030, /* with its row it fills a page of 4096 */
    ENTRY_BYTES_MAX = 20,
    MERGE_COUNT = 8,
    LEVEL_COUNT = 7,
    RUN_KEYS_FULL = 524288,         /* is merged no more */
    SAME_MAX = (1 << SAME_BITS) - 1 /* 8 × RUN_KEYS_FULL / 4 equal hashes of ≤ 6 bytes: 1,600 */
};
static_assert(HASH_BITS + SAME_BITS + RUN_BITS == 63, "row numbers are not negative");

static int64_t row_number(uint32_t run, uint32_t hash, uint32_t same)
{
    return (int64_t)((uint64_t)run << (HASH_BITS + SAME_BITS) | (uint64_t)hash << SAME_BITS | same);
}

static uint32_t run_of(int64_t row)
{
    return (uint32_t)((uint64_t)row >> (HASH_BITS + SAME_BITS));
}

static uint32_t hash_of(int64_t row)
{
    return (uint32_t)((uint64_t)row >> SAME_BITS) & ((1U << HASH_BITS) - 1);
}

/* ---- what is hashed ------------------------------------------------------------------------- */

struct str keys_value(enum history_key by, struct str value)
{
    if (by == HISTORY_BY_MESSAGE_ID) {
        value = str_trim(value);
        if (value.len >= 2 && value.ptr[0] == '<' && value.ptr[value.len - 1] == '>') {
            value = str_sub(value, 1, value.len - 2);
        }
    }
    return value;
}

uint32_t keys_hash(enum history_key by, struct str value)
{
    /* Local parts may differ by case, but nobody who looks for an address means that. */
    uint64_t hash = by == HISTORY_BY_RECIPIENT ? str_hash_nocase(value, by)
                                               : str_hash(keys_value(by, value), by);
    return (uint32_t)hash & ((1U << HASH_BITS) - 1);
}

void key_list_done(struct key_list *list)
{
    mem_free(list->key);
    *list = (struct key_list){ 0 };
}

static enum err list_put(struct key_list *list, uint32_t hash, uint64_t msg_id)
{
    if (list->count == list->cap) {
        uint32_t cap = list->cap ? list->cap * 2 : 256;
        struct key *key = mem_grow(list->key, cap * sizeof *key);
        if (key == NULL) {
            return E_NOMEM;
        }
        list->key = key;
        list->cap = cap;
    }
    list->key[list->count++] = (struct key){ hash, msg_id };
    return OK;
}

enum err key_list_add(struct key_list *list, uint64_t msg_id, const struct row_head *head)
{
    struct str id = str_of((const char *)head->ulid.byte, sizeof head->ulid.byte), address;
    struct cur rcpts = { .rest = head->rcpts };
    enum err err = list_put(list, keys_hash(HISTORY_BY_ID, id), msg_id);
    if (err == OK && head->tag.len > 0) {
        err = list_put(list, keys_hash(HISTORY_BY_TAG, head->tag), msg_id);
    }
    if (err == OK && head->message_id.len > 0) {
        err = list_put(list, keys_hash(HISTORY_BY_MESSAGE_ID, head->message_id), msg_id);
    }
    while (err == OK && row_rcpt_next(&rcpts, &address)) {
        err = list_put(list, keys_hash(HISTORY_BY_RECIPIENT, address), msg_id);
    }
    return err;
}

/* ---- writing a run -------------------------------------------------------------------------- */

struct chunk_writer {
    struct store *store;
    struct why *why;
    uint32_t run;
    uint32_t first, same; /* of the chunk in the making */
    struct key last;
    uint64_t count;
    size_t len;
    char bytes[CHUNK_BYTES];
};

static size_t put_varint(char *at, uint64_t v)
{
    size_t len = 0;
    for (; v >= 0x80; v >>= 7) {
        at[len++] = (char)(v | 0x80);
    }
    at[len++] = (char)v;
    return len;
}

static enum err chunk_flush(struct chunk_writer *writer)
{
    if (writer->len == 0) {
        return OK;
    }
    enum err err = store_put(writer->store, STORE_KEY,
            row_number(writer->run, writer->first, writer->same),
            str_of(writer->bytes, writer->len), writer->why);
    writer->len = 0;
    return err;
}

/* Keys come sorted. */
static enum err chunk_add(struct chunk_writer *writer, const struct key *key)
{
    enum err err = OK;
    if (CHUNK_BYTES - writer->len < ENTRY_BYTES_MAX) {
        err = chunk_flush(writer);
    }
    if (writer->len == 0) {
        bool is_same = writer->count > 0 && writer->first == key->hash;
        if (is_same && writer->same == SAME_MAX) {
            return err; /* the newest of more than a hundred thousand equal keys are not found */
        }
        writer->same = is_same ? writer->same + 1 : 0;
        writer->first = key->hash;
        writer->last = (struct key){ key->hash, 0 };
    }
    writer->len += put_varint(writer->bytes + writer->len, key->hash - writer->last.hash);
    writer->len += put_varint(
            writer->bytes + writer->len, zigzag((int64_t)(key->msg_id - writer->last.msg_id)));
    writer->last = *key;
    writer->count++;
    return err;
}

static bool run_begin(
        struct chunk_writer *writer, struct store *store, struct key_runs *runs, struct why *why)
{
    if (runs->next_number >= 1U << RUN_BITS) {
        return false; /* a million commits to one day */
    }
    writer->store = store;
    writer->why = why;
    writer->run = runs->next_number++;
    writer->len = 0;
    writer->count = 0;
    return true;
}

/* ---- reading chunks ------------------------------------------------------------------------- */

struct chunk_reader {
    struct cur cur;
    struct key last;
};

static struct chunk_reader chunk_begin(int64_t row, struct str bytes)
{
    return (struct chunk_reader){ .cur = { .rest = bytes }, .last = { .hash = hash_of(row) } };
}

static bool chunk_next(struct chunk_reader *reader, struct key *ret_key)
{
    if (reader->cur.rest.len == 0) {
        return false;
    }
    reader->last.hash += (uint32_t)cur_varint(&reader->cur);
    reader->last.msg_id += (uint64_t)unzigzag(cur_varint(&reader->cur));
    *ret_key = reader->last;
    return !reader->cur.bad;
}

/* ---- merging -------------------------------------------------------------------------------- */

struct merge_source {
    struct chunk_reader reader;
    struct key key;
    bool is_at_end;
    int64_t row;      /* of the chunk at hand */
    int64_t last_row; /* that the run can have */
    char bytes[CHUNK_BYTES];
};
struct merge {
    struct chunk_writer writer;
    struct merge_source source[KEYS_OPEN_RUNS_MAX];
    uint32_t count;
};

static enum err source_load(struct merge_source *source, struct store *store, struct why *why)
{
    struct str bytes;
    int64_t row = source->row;
    enum err err = store_seek(store, STORE_KEY, true, &row, &bytes, why);
    if (err == E_NOT_FOUND || (err == OK && row > source->last_row)) {
        source->is_at_end = true;
        return OK;
    }
    if (err != OK) {
        return err;
    }
    if (bytes.len > sizeof source->bytes || bytes.len == 0) {
        why_set(why, "history file: a damaged index");
        return E_CORRUPT;
    }
    memcpy(source->bytes, bytes.ptr, bytes.len);
    source->row = row;
    source->reader = chunk_begin(row, str_of(source->bytes, bytes.len));
    return OK;
}

static enum err source_next(struct merge_source *source, struct store *store, struct why *why)
{
    if (chunk_next(&source->reader, &source->key)) {
        return OK;
    }
    source->row++;
    enum err err = source_load(source, store, why);
    if (err == OK && !source->is_at_end && !chunk_next(&source->reader, &source->key)) {
        why_set(why, "history file: a damaged index");
        return E_CORRUPT;
    }
    return err;
}

static int key_cmp(const struct key *a, const struct key *b)
{
    if (a->hash != b->hash) {
        return a->hash < b->hash ? -1 : 1;
    }
    return a->msg_id < b->msg_id ? -1 : a->msg_id > b->msg_id;
}

static struct merge_source *merge_least(struct merge *merge)
{
    struct merge_source *least = NULL;
    for (uint32_t i = 0; i < merge->count; i++) {
        struct merge_source *source = &merge->source[i];
        if (!source->is_at_end && (least == NULL || key_cmp(&source->key, &least->key) < 0)) {
            least = source;
        }
    }
    return least;
}

static enum err merge_all(
        struct merge *merge, struct store *store, const struct key_run *run, struct why *why)
{
    enum err err = OK;
    for (uint32_t i = 0; i < merge->count && err == OK; i++) {
        struct merge_source *source = &merge->source[i];
        source->row = row_number(run[i].number, 0, 0) - 1;
        source->last_row = row_number(run[i].number + 1, 0, 0) - 1;
        err = source_next(source, store, why);
    }
    struct merge_source *least;
    while (err == OK && (least = merge_least(merge)) != NULL) {
        err = chunk_add(&merge->writer, &least->key);
        if (err == OK) {
            err = source_next(least, store, why);
        }
    }
    return err == OK ? chunk_flush(&merge->writer) : err;
}

/* The newest count runs become one. */
static enum err merge_newest(
        struct store *store, struct key_runs *runs, uint32_t count, struct why *why)
{
    struct key_run *first = &runs->open[runs->open_count - count];
    struct merge *merge = mem_new(sizeof *merge);
    if (merge == NULL) {
        return E_NOMEM;
    }
    merge->count = count;
    enum err err = OK;
    if (run_begin(&merge->writer, store, runs, why)) {
        err = merge_all(merge, store, first, why);
        if (err == OK) {
            err = store_delete_range(store, STORE_KEY, row_number(first->number, 0, 0),
                    row_number(first[count - 1].number + 1, 0, 0) - 1, why);
        }
        uint32_t number = merge->writer.run;
        *first = (struct key_run){ number, merge->writer.count };
        runs->open_count -= count - 1;
    }
    mem_free(merge);
    return err;
}

static uint32_t level_of(uint64_t key_count)
{
    uint32_t level = 0;
    for (; key_count >= MERGE_COUNT && level < LEVEL_COUNT - 1; key_count /= MERGE_COUNT) {
        level++;
    }
    return level;
}

/* How many of the newest runs are due to become one; 0: none. */
static uint32_t merge_due(const struct key_runs *runs)
{
    for (uint32_t level = 0; level < LEVEL_COUNT; level++) {
        uint32_t count = 0, alike = 0;
        while (count < runs->open_count) {
            uint32_t other = level_of(runs->open[runs->open_count - 1 - count].key_count);
            if (other > level) {
                break;
            }
            count++;
            alike += other == level;
        }
        if (alike >= MERGE_COUNT) {
            return count;
        }
    }
    return runs->open_count == KEYS_OPEN_RUNS_MAX ? KEYS_OPEN_RUNS_MAX : 0;
}

static int key_order(const void *a, const void *b)
{
    return key_cmp(a, b);
}

static enum err write_run(
        struct store *store, struct key_runs *runs, struct key_list *list, struct why *why)
{
    struct chunk_writer writer = { 0 };
    enum err err = OK;
    if (!run_begin(&writer, store, runs, why)) {
        return OK;
    }
    qsort(list->key, list->count, sizeof *list->key, key_order);
    for (uint32_t i = 0; i < list->count && err == OK; i++) {
        err = chunk_add(&writer, &list->key[i]);
    }
    if (err == OK) {
        err = chunk_flush(&writer);
    }
    ASSERT(runs->open_count < KEYS_OPEN_RUNS_MAX);
    runs->open[runs->open_count++] = (struct key_run){ writer.run, writer.count };
    return err;
}

enum err keys_write(
        struct store *store, struct key_runs *runs, struct key_list *list, struct why *why)
{
    enum err err = list->count ? write_run(store, runs, list, why) : OK;
    list->count = 0;
    uint32_t due;
    while (err == OK && (due = merge_due(runs)) > 0) {
        err = merge_newest(store, runs, due, why);
        if (runs->open[runs->open_count - 1].key_count >= RUN_KEYS_FULL) {
            runs->open_count = 0;
        } else if (runs->next_number >= 1U << RUN_BITS) {
            break;
        }
    }
    return err;
}

/* ---- finding -------------------------------------------------------------------------------- */

enum { CHUNK_KEYS_MAX = CHUNK_BYTES / 2 };

struct key_search {
    uint32_t hash;
    bool (*each)(void *ctx, uint64_t msg_id);
    void *ctx;
    bool is_enough;
    uint64_t found[CHUNK_KEYS_MAX]; /* of one chunk */
};

/* Messages of the wanted hash in one chunk, newest first. */
static enum err search_chunk(
        struct key_search *search, int64_t row, struct str bytes, struct why *why)
{
    uint32_t count = 0;
    struct chunk_reader reader = chunk_begin(row, bytes);
    struct key key;
    while (count < CHUNK_KEYS_MAX && chunk_next(&reader, &key) && key.hash <= search->hash) {
        if (key.hash == search->hash) {
            search->found[count++] = key.msg_id;
        }
    }
    if (reader.cur.bad) {
        why_set(why, "history file: a damaged index");
        return E_CORRUPT;
    }
    while (count > 0 && !search->is_enough) {
        search->is_enough = !search->each(search->ctx, search->found[--count]);
    }
    return OK;
}

/* Equal hashes may fill several chunks: from the last back to the first. */
static enum err search_run(
        struct key_search *search, struct store *store, uint32_t run, struct why *why)
{
    int64_t row = row_number(run, search->hash, SAME_MAX);
    struct str bytes;
    enum err err = OK;
    do {
        err = store_seek(store, STORE_KEY, false, &row, &bytes, why);
        if (err != OK || run_of(row) != run) {
            break;
        }
        err = search_chunk(search, row, bytes, why);
    } while (err == OK && !search->is_enough && hash_of(row--) == search->hash && row >= 0);
    return err == E_NOT_FOUND ? OK : err;
}

enum err keys_find(struct store *store, uint32_t hash, bool (*each)(void *ctx, uint64_t msg_id),
        void *ctx, struct why *why)
{
    struct key_search *search = mem_new(sizeof *search);
    int64_t row = INT64_MAX;
    struct str bytes;
    enum err err = search ? OK : E_NOMEM;
    if (search != NULL) {
        search->hash = hash;
        search->each = each;
        search->ctx = ctx;
    }
    while (err == OK && !search->is_enough && row >= 0) {
        err = store_seek(store, STORE_KEY, false, &row, &bytes, why);
        if (err == OK) {
            err = search_run(search, store, run_of(row), why);
            row = row_number(run_of(row), 0, 0) - 1;
        }
    }
    mem_free(search);
    return err == E_NOT_FOUND ? OK : err;
}
