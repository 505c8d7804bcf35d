/* SPDX-License-Identifier: Apache-2.0
 *
 * days.c - which file has what, and the writing of one file's share of a commit.
 */
#include "history/days_priv.h"

#include "core/str.h"

enum { META_BYTES_MAX = 4096, REFUSED_BYTES_MAX = 64 << 20 };

/* ---- the list of files ---------------------------------------------------------------------- */

void day_drop_work(struct day *day)
{
    while (day->stories != NULL) {
        struct story *story = day->stories;
        day->stories = story->next;
        story_free(story);
    }
    day->stories_end = &day->stories;
    key_list_done(&day->keys);
    buf_done(&day->refused);
    day->is_dirty = false;
}

static void day_free(struct day *day)
{
    if (day != NULL) {
        day_drop_work(day);
        store_close(day->store);
        mem_free(day);
    }
}

static bool day_is_after(const struct day *a, const struct day *b)
{
    return a->number != b->number ? a->number > b->number : a->part > b->part;
}

static enum err days_add(struct days *days, int32_t number, uint32_t part, struct day **ret_day)
{
    if (days->count == days->cap) {
        uint32_t cap = days->cap ? days->cap * 2 : 32;
        struct day **list = mem_grow(days->day, cap * sizeof(struct day *));
        if (list == NULL) {
            return E_NOMEM;
        }
        days->day = list;
        days->cap = cap;
    }
    struct day *day = mem_new(sizeof *day);
    if (day == NULL) {
        return E_NOMEM;
    }
    day->number = number;
    day->part = part;
    day_name_format(number, part, day->name);
    day->meta.made_at.ms = number * INT64_C(86400000); /* should its own state not be readable */
    day->stories_end = &day->stories;
    buf_init(&day->refused, REFUSED_BYTES_MAX);
    uint32_t at = days->count++;
    while (at > 0 && day_is_after(days->day[at - 1], day)) {
        days->day[at] = days->day[at - 1];
        at--;
    }
    days->day[at] = day;
    *ret_day = day;
    return OK;
}

static enum err day_read_meta(struct days *days, struct day *day, struct why *why)
{
    struct str bytes;
    enum err err = store_get(day->store, STORE_META, 0, &bytes, why);
    if (err == E_NOT_FOUND) { /* made, but nothing was ever committed */
        day->meta = (struct day_meta){ .epoch = days->epoch, .made_at = days->age_now };
        return OK;
    }
    if (err == OK) {
        err = day_meta_decode(bytes, &day->meta);
        if (err != OK) {
            why_set(why, "history file: its own state cannot be read");
        }
    }
    return err;
}

static bool is_broken(const struct days *days, const char *name)
{
    for (uint32_t i = 0; i < days->broken_count; i++) {
        if (strcmp(days->broken[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Leaves the file as it is from now on, and goes on in another. */
static void day_break(struct days *days, struct day *day, const struct why *why)
{
    log_error(days->log, "history", "%s is damaged or not ours, and is left as it is: %s",
            day->name, why->text);
    struct day_name *grown = mem_grow(days->broken, (days->broken_count + 1) * sizeof *grown);
    if (grown != NULL) {
        days->broken = grown;
        fmt(days->broken[days->broken_count++].name, sizeof grown->name, "%s", day->name);
    }
    day->is_left = true;
    store_close(day->store);
    day->store = NULL;
    day->is_unsynced = false;
    day_drop_work(day);
}

/* Other files of the disk can be written and synced. */
static bool disk_works(const struct days *days)
{
    static const char name[] = "scribe.probe";
    struct disk *disk = days->disk;
    struct disk_file *file;
    char byte = 'x';
    struct iovec iov = { &byte, 1 };
    if (disk->ops->open(disk, name, DISK_WRITE | DISK_CREATE, &file, NULL) != OK) {
        return false;
    }
    bool works =
            disk->ops->write(file, &iov, 1, 0, NULL) == OK && disk->ops->sync(file, NULL) == OK;
    disk->ops->close(file);
    return disk->ops->remove(disk, name, NULL) == OK && works;
}

/* Reading the file failed. Not for ever: an unread journal would fill the spool. */
static bool is_unreadable(struct days *days, const struct day *day)
{
    if (!vfs_read_failed(days->vfs, day->name)) {
        return false;
    }
    if (strcmp(days->unreadable.name, day->name) != 0) {
        fmt(days->unreadable.name, sizeof days->unreadable.name, "%s", day->name);
        days->unreadable_count = 0;
    }
    return ++days->unreadable_count >= DAYS_READ_TRIES && disk_works(days);
}

static enum err day_check(struct days *days, struct day *day, enum err err, const struct why *why)
{
    if (err == E_IO && is_unreadable(days, day)) {
        err = E_CORRUPT;
    }
    if (err == E_CORRUPT || err == E_UNSUPPORTED) {
        day_break(days, day, why);
        return E_CORRUPT;
    }
    return err;
}

static void close_least_used(struct days *days, const struct day *keep)
{
    struct day *least = NULL;
    uint32_t open_count = 0;
    for (uint32_t i = 0; i < days->count; i++) {
        struct day *day = days->day[i];
        open_count += day->store != NULL;
        if (day->store != NULL && day != keep && !day->is_dirty && !day->is_unsynced &&
                (least == NULL || day->used_at < least->used_at)) {
            least = day;
        }
    }
    if (open_count > DAYS_OPEN_MAX && least != NULL) {
        store_shrink(least->store);
        store_close(least->store);
        least->store = NULL;
    }
}

static enum err day_open(struct days *days, struct day *day, struct why *why)
{
    enum err err = OK;
    if (vfs_sync_failed(days->vfs, day->name)) {
        err = vfs_mend(days->vfs, day->name, why);
    }
    if (err == OK) {
        err = store_open(days->vfs, day->name, true, &day->store, why);
    }
    if (err == OK) {
        err = day_read_meta(days, day, why);
    }
    day->is_unsynced = err == OK; /* a WAL may be left from before */
    close_least_used(days, day);
    return err;
}

/* Opens the file if it is not. */
static enum err day_use(struct days *days, struct day *day, struct why *why)
{
    ASSERT(!day->is_left);
    day->used_at = ++days->use_counter;
    return day->store ? OK : day_check(days, day, day_open(days, day, why), why);
}

struct lister {
    struct days *days;
    enum err err;
};

static void listed(void *ctx, const char *name)
{
    struct lister *lister = ctx;
    struct day *day;
    int32_t number;
    uint32_t part;
    if (lister->err == OK && lister->days->count < DAYS_COUNT_MAX &&
            day_name_parse(name, &number, &part)) {
        lister->err = days_add(lister->days, number, part, &day);
    }
}

/* Reads the state of one file, and settles a WAL that was left. */
static enum err day_load(struct days *days, struct day *day, struct why *why)
{
    bool is_whole = true;
    if (is_broken(days, day->name)) {
        day->is_left = true;
        return OK;
    }
    enum err err = day_use(days, day, why);
    if (err == OK) {
        err = day_check(days, day, store_checkpoint(day->store, &is_whole, why), why);
    }
    if (err == OK) {
        day->is_unsynced = !is_whole;
    }
    return err == E_CORRUPT ? OK : err;
}

static void leave_other_epochs(struct days *days)
{
    for (uint32_t i = 0; i < days->count; i++) {
        struct day *day = days->day[i];
        if (!day->is_left && day->meta.epoch != days->epoch) {
            store_close(day->store);
            day->store = NULL;
            day->is_left = true;
            day->is_unsynced = false;
        }
    }
}

enum err days_load(struct days *days, struct why *why)
{
    struct lister lister = { days, OK };
    uint64_t latest = 1;
    enum err err = days->disk->ops->list(days->disk, listed, &lister, why);
    err = err == OK ? lister.err : err;
    for (uint32_t i = 0; err == OK && i < days->count; i++) {
        err = day_load(days, days->day[i], why);
        latest = days->day[i]->meta.epoch > latest ? days->day[i]->meta.epoch : latest;
    }
    if (err == OK) {
        days->epoch = days->epoch ? days->epoch : latest;
        leave_other_epochs(days);
    }
    return err;
}

void days_new_epoch(struct days *days)
{
    days->epoch++;
    leave_other_epochs(days);
}

void days_forget(struct days *days)
{
    for (uint32_t i = 0; i < days->count; i++) {
        day_free(days->day[i]);
    }
    days->count = 0;
}

enum err days_init(struct days *days, struct disk *disk, const struct log *log)
{
    *days = (struct days){ .disk = disk, .log = log };
    buf_init(&days->scratch, META_BYTES_MAX);
    return vfs_take(disk, &days->vfs);
}

void days_close(struct days *days)
{
    for (uint32_t i = 0; i < days->count; i++) {
        struct day *day = days->day[i];
        if (day->store != NULL && !day->is_dirty && !day->is_unsynced) {
            store_shrink(day->store);
        }
    }
    days_forget(days);
    mem_free(days->day);
    mem_free(days->broken);
    days->day = NULL;
    days->broken = NULL;
    days->cap = days->broken_count = 0;
    buf_done(&days->scratch);
    vfs_give(days->vfs);
    days->vfs = NULL;
}

/* ---- finding -------------------------------------------------------------------------------- */

enum err days_for(struct days *days, struct wall at, struct day **ret_day, struct why *why)
{
    int32_t number = day_of(at);
    uint32_t part = 0;
    struct day *day = NULL;
    for (uint32_t i = days->count; i-- > 0;) {
        struct day *other = days->day[i];
        if (other->number == number) {
            part = other->part >= part ? other->part + 1 : part;
            day = day == NULL && !other->is_left ? other : day;
        }
    }
    enum err err = day ? OK : days_add(days, number, part, &day);
    if (err == OK) {
        err = day_use(days, day, why);
    }
    if (err == OK) {
        *ret_day = day;
    }
    return err;
}

enum err days_find(struct days *days, uint64_t msg_id, struct day **ret_day, struct str *ret_bytes,
        struct why *why)
{
    for (uint32_t i = days->count; i-- > 0;) {
        struct day *day = days->day[i];
        if (day->is_left || msg_id < day->meta.msg_first || msg_id > day->meta.msg_last) {
            continue;
        }
        enum err err = day_use(days, day, why);
        if (err == OK) {
            err = store_get(day->store, STORE_MSG, (int64_t)msg_id, ret_bytes, why);
            err = day_check(days, day, err, why);
        }
        if (err == OK) {
            *ret_day = day;
        }
        if (err != E_NOT_FOUND) {
            return err;
        }
    }
    return E_NOT_FOUND;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void note_msg(struct day_meta *meta, uint64_t msg_id)
{
    meta->msg_first = meta->msg_first == 0 || msg_id < meta->msg_first ? msg_id : meta->msg_first;
    meta->msg_last = msg_id > meta->msg_last ? msg_id : meta->msg_last;
}

void day_take_story(struct day *day, struct story *story)
{
    story->day = day;
    story->next = NULL;
    *day->stories_end = story;
    day->stories_end = &story->next;
}

static enum err write_stories(struct day *day, struct why *why)
{
    enum err err = OK;
    for (struct story *story = day->stories; story != NULL && err == OK; story = story->next) {
        if (!story->is_dirty) {
            continue;
        }
        if (story->is_new) {
            struct row_head head;
            story_head(story, &head);
            err = key_list_add(&day->keys, story->msg_id, &head);
            note_msg(&day->meta, story->msg_id);
        }
        if (err == OK) {
            err = store_put(
                    day->store, STORE_MSG, (int64_t)story->msg_id, buf_str(&story->row.bytes), why);
        }
    }
    return err;
}

static enum err write_refused(struct day *day, struct why *why)
{
    struct cur cur = { .rest = buf_str(&day->refused) };
    enum err err = OK;
    while (cur.rest.len > 0 && err == OK) {
        struct str bytes = cur_str32(&cur, REFUSED_BYTES_MAX);
        ASSERT(!cur.bad);
        err = store_put(day->store, STORE_REFUSED, (int64_t)++day->meta.refused_rows, bytes, why);
    }
    return err;
}

static enum err write_meta(struct days *days, struct day *day, struct why *why)
{
    buf_clear(&days->scratch);
    day_meta_encode(&days->scratch, &day->meta);
    enum err err = buf_err(&days->scratch);
    return err == OK ? store_put(day->store, STORE_META, 0, buf_str(&days->scratch), why) : err;
}

enum err day_commit(
        struct days *days, struct day *day, const struct spool_position *upto, struct why *why)
{
    enum err err = day_use(days, day, why);
    if (err == OK) {
        day->meta.upto = *upto;
        err = store_begin(day->store, why);
    }
    if (err == OK) {
        err = write_stories(day, why);
    }
    if (err == OK) {
        err = keys_write(day->store, &day->meta.runs, &day->keys, why);
    }
    if (err == OK) {
        err = write_refused(day, why);
    }
    if (err == OK) {
        err = write_meta(days, day, why);
    }
    if (err == OK) {
        err = store_commit(day->store, why);
    }
    if (err != OK) {
        return day_check(days, day, err, why);
    }
    if (strcmp(days->unreadable.name, day->name) == 0) {
        days->unreadable_count = 0;
    }
    day->is_unsynced = true;
    day_drop_work(day);
    return OK;
}

enum err days_checkpoint(struct days *days, bool *ret_is_whole, struct why *why)
{
    bool is_all_whole = true;
    for (uint32_t i = 0; i < days->count; i++) {
        struct day *day = days->day[i];
        bool is_whole = true;
        if (!day->is_unsynced) {
            continue;
        }
        ASSERT(day->store != NULL && !day->is_dirty);
        enum err err = day_check(days, day, store_checkpoint(day->store, &is_whole, why), why);
        if (err != OK) {
            return err;
        }
        day->is_unsynced = !is_whole;
        is_all_whole = is_all_whole && is_whole;
    }
    *ret_is_whole = is_all_whole;
    return OK;
}

uint64_t days_wal_bytes(const struct days *days)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < days->count; i++) {
        const struct day *day = days->day[i];
        bytes += day->store && day->is_unsynced ? store_wal_bytes(day->store) : 0;
    }
    return bytes;
}

/* ---- retention ------------------------------------------------------------------------------ */

static uint64_t file_bytes(struct disk *disk, const char *name)
{
    struct disk_file *file;
    uint64_t bytes = 0;
    if (disk->ops->open(disk, name, 0, &file, NULL) != OK) {
        return 0;
    }
    if (disk->ops->size(file, &bytes, NULL) != OK) {
        bytes = 0;
    }
    disk->ops->close(file);
    return bytes;
}

static uint64_t all_bytes(const struct days *days)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < days->count; i++) {
        char wal[DAYS_NAME_BYTES_MAX + 8];
        fmt(wal, sizeof wal, "%s-wal", days->day[i]->name);
        bytes += file_bytes(days->disk, days->day[i]->name) + file_bytes(days->disk, wal);
    }
    return bytes;
}

struct wall days_last_made(const struct days *days)
{
    struct wall last = { 0 };
    for (uint32_t i = 0; i < days->count; i++) {
        struct wall made_at = days->day[i]->meta.made_at;
        last = made_at.ms > last.ms ? made_at : last;
    }
    return last;
}

void days_made_now(struct days *days)
{
    for (uint32_t i = 0; i < days->count; i++) {
        struct wall *made_at = &days->day[i]->meta.made_at;
        *made_at = made_at->ms != 0 ? *made_at : days->age_now;
    }
}

static uint32_t first_made(const struct days *days)
{
    uint32_t first = 0;
    for (uint32_t i = 1; i < days->count; i++) {
        if (days->day[i]->meta.made_at.ms < days->day[first]->meta.made_at.ms) {
            first = i;
        }
    }
    return first;
}

bool days_retire(struct days *days, uint32_t days_max, uint64_t bytes_max)
{
    if (days->count < 2) {
        return false;
    }
    uint32_t at = first_made(days);
    struct day *oldest = days->day[at];
    bool is_old = day_of(oldest->meta.made_at) + (int64_t)days_max < day_of(days->age_now);
    if (!is_old && (bytes_max == 0 || all_bytes(days) <= bytes_max)) {
        return false;
    }
    ASSERT(!oldest->is_dirty && oldest->stories == NULL);
    struct why why = { 0 };
    store_close(oldest->store);
    oldest->store = NULL;
    enum err err = vfs_remove(days->vfs, oldest->name, &why);
    if (err != OK) {
        log_warn(days->log, "history", "%s cannot be removed: %s", oldest->name, why.text);
        return false;
    }
    log_info(days->log, "history", "%s removed: %s", oldest->name,
            is_old ? "older than history keeps" : "history is at its size limit");
    day_free(oldest);
    days->count--;
    memmove(days->day + at, days->day + at + 1, (days->count - at) * sizeof(struct day *));
    return true;
}
