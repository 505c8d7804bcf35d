/* SPDX-License-Identifier: Apache-2.0
 *
 * find.c - questions to the day files, from any thread.
 *
 * Each question opens the files it needs, read-only and newest first, and closes them: so there is
 * nothing to share, and a file can be retired as soon as nobody reads.
 */
#include "history/history.h"

#include "core/str.h"
#include "core/ulid.h"
#include "history/days_priv.h"
#include "history/tale_priv.h"
#include "history/word_priv.h"

#include <stdlib.h>

struct history {
    struct disk *disk;
    struct vfs *vfs;
};

enum err history_open(struct disk *disk, struct history **ret_history, struct why *why)
{
    struct history *history = mem_new(sizeof *history);
    enum err err = history ? vfs_take(disk, &history->vfs) : E_NOMEM;
    if (err != OK) {
        why_set(why, "the history cannot be opened: %s", err_name(err));
        mem_free(history);
        return err;
    }
    history->disk = disk;
    *ret_history = history;
    return OK;
}

void history_close(struct history *history)
{
    if (history != NULL) {
        vfs_give(history->vfs);
        mem_free(history);
    }
}

/* ---- the files ------------------------------------------------------------------------------ */

struct file {
    int32_t day;
    uint32_t part;
};
struct file_list {
    struct file *file;
    uint32_t count;
    bool is_short; /* of memory */
};

static void file_listed(void *ctx, const char *name)
{
    struct file_list *list = ctx;
    struct file file;
    if (list->count == DAYS_COUNT_MAX || !day_name_parse(name, &file.day, &file.part)) {
        return;
    }
    struct file *grown = mem_grow(list->file, (list->count + 1) * sizeof *grown);
    if (grown == NULL) {
        list->is_short = true;
        return;
    }
    list->file = grown;
    list->file[list->count++] = file;
}

static int newest_first(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    if (x->day != y->day) {
        return x->day > y->day ? -1 : 1;
    }
    return x->part > y->part ? -1 : x->part < y->part;
}

/* Calls each with every file that can be read, newest first, until it says E_EOF (enough). Damaged
 * files are passed over; *ret_is_damaged says that there were some, why about the last. */
static enum err each_file(struct history *history,
        enum err (*each)(void *ctx, struct store *store, struct why *why), void *ctx,
        bool *ret_is_damaged, struct why *why)
{
    struct file_list list = { 0 };
    *ret_is_damaged = false;
    vfs_begin_reading(history->vfs);
    enum err err = history->disk->ops->list(history->disk, file_listed, &list, why);
    err = err == OK && list.is_short ? E_NOMEM : err;
    if (list.count > 0) {
        qsort(list.file, list.count, sizeof *list.file, newest_first);
    }
    for (uint32_t i = 0; i < list.count && err == OK; i++) {
        struct store *store;
        char name[DAYS_NAME_BYTES_MAX];
        day_name_format(list.file[i].day, list.file[i].part, name);
        err = store_open(history->vfs, name, false, &store, why);
        if (err == OK) {
            err = each(ctx, store, why);
            store_close(store);
        }
        if (err == E_CORRUPT || err == E_UNSUPPORTED) {
            *ret_is_damaged = true;
            err = OK;
        }
        err = err == E_NOT_FOUND ? OK : err;
    }
    vfs_end_reading(history->vfs);
    mem_free(list.file);
    return err == E_EOF ? OK : err;
}

/* ---- messages ------------------------------------------------------------------------------- */

struct search {
    enum history_key by;
    struct str value;
    struct ulid ulid;
    uint32_t hash;
    uint32_t count, count_max;
    struct buf *json; /* NULL: only the number is wanted */
    uint64_t msg_id;  /* of the last one found */
    struct store *store;
    struct why *why;
    enum err err;
};

static bool has_recipient(const struct row_head *head, struct str value)
{
    struct cur rcpts = { .rest = head->rcpts };
    struct str address;
    while (row_rcpt_next(&rcpts, &address)) {
        if (str_eq_nocase(address, value)) {
            return true;
        }
    }
    return false;
}

/* A hash found it: is it really the one? */
static bool is_wanted(const struct search *search, const struct row_head *head)
{
    switch (search->by) {
    case HISTORY_BY_ID:
        return ulid_eq(head->ulid, search->ulid);
    case HISTORY_BY_TAG:
        return str_eq(head->tag, search->value);
    case HISTORY_BY_RECIPIENT:
        return has_recipient(head, search->value);
    case HISTORY_BY_MESSAGE_ID:
        break;
    }
    return str_eq(keys_value(HISTORY_BY_MESSAGE_ID, head->message_id), search->value);
}

static enum err tell_found(struct search *search, uint64_t msg_id, struct str row)
{
    struct str only = search->by == HISTORY_BY_RECIPIENT ? search->value : STR("");
    if (search->json == NULL) {
        return OK;
    }
    size_t was = search->json->len;
    enum err err = tale_json(msg_id, row, only, search->json);
    if (err == E_CORRUPT) {
        buf_cut(search->json, was);
    }
    return err;
}

static bool found_candidate(void *ctx, uint64_t msg_id)
{
    struct search *search = ctx;
    struct row_reader reader;
    struct row_head head;
    struct str row;
    enum err err = store_get(search->store, STORE_MSG, (int64_t)msg_id, &row, search->why);
    if (err == OK) {
        err = row_read_head(&reader, row, NULL, &head);
    }
    if (err == OK && is_wanted(search, &head)) {
        err = tell_found(search, msg_id, row);
        search->count += err == OK;
        search->msg_id = msg_id;
    }
    if (err == E_NOT_FOUND) {
        err = OK;
    }
    search->err = err;
    return err == OK && search->count < search->count_max;
}

static enum err search_file(void *ctx, struct store *store, struct why *why)
{
    struct search *search = ctx;
    search->store = store;
    search->why = why;
    search->err = OK;
    enum err err = keys_find(store, search->hash, found_candidate, search, why);
    err = err == OK ? search->err : err;
    if (err == OK && (search->count >= search->count_max ||
                             (search->by == HISTORY_BY_ID && search->count > 0))) {
        return E_EOF;
    }
    return err;
}

static bool search_begin(struct search *search, const struct history_query *query)
{
    *search = (struct search){ .by = query->by,
        .value = keys_value(query->by, query->value),
        .count_max = query->count_max ? query->count_max : 1 };
    if (query->by == HISTORY_BY_ID) {
        if (ulid_parse(query->value, &search->ulid) != OK) {
            return false;
        }
        search->value = str_of((const char *)search->ulid.byte, sizeof search->ulid.byte);
    }
    search->hash = keys_hash(query->by, search->value);
    return search->value.len > 0;
}

enum err history_find_json(struct history *history, const struct history_query *query,
        struct buf *ret_json, struct why *why)
{
    struct search search;
    struct why own = { 0 };
    bool is_damaged = false;
    why = why ? why : &own;
    if (!search_begin(&search, query)) {
        return E_NOT_FOUND;
    }
    size_t was = ret_json->len;
    search.json = ret_json;
    buf_add_char(ret_json, '[');
    enum err err = each_file(history, search_file, &search, &is_damaged, why);
    buf_add_char(ret_json, ']');
    if (err == OK) {
        err = buf_err(ret_json);
    }
    if (err == OK && search.count == 0) {
        err = is_damaged ? E_CORRUPT : E_NOT_FOUND;
    }
    if (err != OK) {
        buf_cut(ret_json, was);
    }
    return err;
}

enum err history_find_msg_id(
        struct history *history, const struct ulid *ulid, uint64_t *ret_msg_id, struct why *why)
{
    struct search search = { .by = HISTORY_BY_ID,
        .value = str_of((const char *)ulid->byte, sizeof ulid->byte),
        .ulid = *ulid,
        .count_max = 1 };
    bool is_damaged = false;
    search.hash = keys_hash(search.by, search.value);
    enum err err = each_file(history, search_file, &search, &is_damaged, why);
    if (err == OK && search.count == 0) {
        err = is_damaged ? E_CORRUPT : E_NOT_FOUND;
    }
    if (err == OK) {
        *ret_msg_id = search.msg_id;
    }
    return err;
}

enum err history_position(
        struct history *history, struct spool_position *ret_position, struct why *why)
{
    struct start start;
    enum err err = start_load(history->disk, &start, why);
    if (err == OK) {
        *ret_position = start.at;
    }
    return err;
}

/* ---- last words ----------------------------------------------------------------------------- */

struct word_search {
    uint64_t epoch; /* of message numbers; 0: not known */
    const uint64_t *msg_id;
    uint32_t count;
    void (*each)(void *ctx, const struct history_word *word);
    void *ctx;
};

static enum err words_of_file(void *ctx, struct store *store, struct why *why)
{
    const struct word_search *search = ctx;
    struct day_meta meta;
    struct str bytes;
    enum err err = store_get(store, STORE_META, 0, &bytes, why);
    err = err == OK ? day_meta_decode(bytes, &meta) : err;
    if (err == OK && search->epoch && meta.epoch != search->epoch) {
        return OK; /* another spool's */
    }
    for (uint32_t i = 0; i < search->count && err == OK; i++) {
        uint64_t msg_id = search->msg_id[i];
        if (msg_id < meta.msg_first || msg_id > meta.msg_last) {
            continue;
        }
        err = store_get(store, STORE_MSG, (int64_t)msg_id, &bytes, why);
        if (err == OK) {
            err = word_each(msg_id, bytes, search->each, search->ctx);
        }
        err = err == E_NOT_FOUND || err == E_CORRUPT ? OK : err;
    }
    return err;
}

enum err history_words(struct history *history, const uint64_t *msg_id, uint32_t count,
        void (*each)(void *ctx, const struct history_word *word), void *ctx, struct why *why)
{
    struct start start;
    bool is_damaged;
    enum err err = start_load(history->disk, &start, why);
    if (err != OK) {
        return err;
    }
    struct word_search search = { start.epoch, msg_id, count, each, ctx };
    return each_file(history, words_of_file, &search, &is_damaged, why);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static enum err refusals_of_file(void *ctx, struct store *store, struct why *why)
{
    struct search *search = ctx;
    int64_t id = INT64_MAX;
    struct str row;
    enum err err = OK;
    while (search->count < search->count_max && err == OK) {
        err = store_seek(store, STORE_REFUSED, false, &id, &row, why);
        if (err == OK) {
            err = tale_refusal_json(row, search->json);
            search->count++;
            id--;
        }
    }
    return err == OK ? E_EOF : err;
}

enum err history_refusals_json(
        struct history *history, uint32_t count_max, struct buf *ret_json, struct why *why)
{
    struct search search = { .count_max = count_max, .json = ret_json };
    struct why own = { 0 };
    bool is_damaged;
    size_t was = ret_json->len;
    buf_add_char(ret_json, '[');
    enum err err = each_file(history, refusals_of_file, &search, &is_damaged, why ? why : &own);
    buf_add_char(ret_json, ']');
    err = err == OK ? buf_err(ret_json) : err;
    if (err != OK) {
        buf_cut(ret_json, was);
    }
    return err;
}

/* ---- totals --------------------------------------------------------------------------------- */

static void add_counts(struct history_totals *totals, const struct story_counts *counts)
{
    totals->msgs += counts->msgs;
    totals->rcpts += counts->rcpts;
    totals->attempts += counts->attempts;
    totals->refused += counts->refused;
    for (size_t i = 0; i <= STORY_EXPIRING; i++) {
        totals->open += counts->state[i];
    }
    totals->delivered += counts->state[STORY_DELIVERED];
    totals->bounced += counts->state[STORY_BOUNCED];
    totals->expired += counts->state[STORY_EXPIRED];
    totals->cancelled += counts->state[STORY_CANCELLED];
    totals->suppressed += counts->state[STORY_SUPPRESSED];
}

static enum err count_file(void *ctx, struct store *store, struct why *why)
{
    struct history_totals *totals = ctx;
    struct day_meta meta;
    struct str bytes;
    enum err err = store_get(store, STORE_META, 0, &bytes, why);
    if (err == OK) {
        err = day_meta_decode(bytes, &meta);
    }
    if (err == OK) {
        add_counts(totals, &meta.counts);
        if (position_is_before(&totals->upto, &meta.upto)) {
            totals->upto = meta.upto;
        }
    }
    return err;
}

enum err history_count(struct history *history, struct history_totals *ret_totals, struct why *why)
{
    struct history_totals totals = { 0 };
    struct why own = { 0 };
    bool is_damaged;
    enum err err = each_file(history, count_file, &totals, &is_damaged, why ? why : &own);
    if (err == OK) {
        *ret_totals = totals;
    }
    return err;
}
