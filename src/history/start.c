/* SPDX-License-Identifier: Apache-2.0
 *
 * start.c - the position from which the journal is read after a restart, in a file of two sectors.
 *
 * They are written in turn, so that one is whole whatever a crash tears. Losing the file loses time
 * only: reading starts with the oldest record, and the day files ignore what they have.
 */
#include "history/days_priv.h"

#include "core/crc32c.h"

enum { START_BYTES = 128, START_SLOT_BYTES = 4096 };
static const uint64_t start_magic = 0x3174726174536f48; /* "HoStart1" */
static const char start_name[] = "scribe.start";

static bool decode(const char *bytes, uint64_t *ret_turn, struct start *ret_start)
{
    struct cur cur = { .rest = { bytes, START_BYTES } };
    uint64_t magic = cur_u64(&cur);
    *ret_turn = cur_u64(&cur);
    ret_start->at.batch_seq = cur_u64(&cur);
    ret_start->at.index = cur_u32(&cur);
    ret_start->at.slot = cur_u32(&cur);
    ret_start->at.offset = cur_u64(&cur);
    ret_start->whole_batch = cur_u64(&cur);
    ret_start->epoch = cur_u64(&cur);
    ret_start->wall.ms = (int64_t)cur_u64(&cur);
    ret_start->age_now.ms = (int64_t)cur_u64(&cur);
    return magic == start_magic &&
           get_u32(bytes + START_BYTES - 4) == crc32c(0, str_of(bytes, START_BYTES - 4));
}

static void encode(char bytes[START_BYTES], uint64_t turn, const struct start *start)
{
    memset(bytes, 0, START_BYTES);
    put_u64(bytes, start_magic);
    put_u64(bytes + 8, turn);
    put_u64(bytes + 16, start->at.batch_seq);
    put_u32(bytes + 24, start->at.index);
    put_u32(bytes + 28, start->at.slot);
    put_u64(bytes + 32, start->at.offset);
    put_u64(bytes + 40, start->whole_batch);
    put_u64(bytes + 48, start->epoch);
    put_u64(bytes + 56, (uint64_t)start->wall.ms);
    put_u64(bytes + 64, (uint64_t)start->age_now.ms);
    put_u32(bytes + START_BYTES - 4, crc32c(0, str_of(bytes, START_BYTES - 4)));
}

/* The newer whole one of both; turn 0: neither. */
static enum err load(
        struct disk_file *file, uint64_t *ret_turn, struct start *ret_start, struct why *why)
{
    *ret_turn = 0;
    *ret_start = (struct start){ 0 };
    for (uint64_t i = 0; i < 2; i++) {
        char bytes[START_BYTES];
        size_t len = 0;
        uint64_t turn;
        struct start start;
        enum err err =
                file->disk->ops->read(file, bytes, sizeof bytes, i * START_SLOT_BYTES, &len, why);
        if (err == E_NOMEM) {
            return err;
        }
        if (err == OK && len == sizeof bytes && decode(bytes, &turn, &start) && turn > *ret_turn) {
            *ret_turn = turn;
            *ret_start = start;
        }
    }
    return OK;
}

enum err start_load(struct disk *disk, struct start *ret_start, struct why *why)
{
    struct disk_file *file;
    uint64_t turn;
    struct start start = { 0 };
    enum err err = disk->ops->open(disk, start_name, 0, &file, why);
    if (err == E_NOT_FOUND) {
        *ret_start = start;
        return OK;
    }
    if (err == OK) {
        err = load(file, &turn, &start, why);
        disk->ops->close(file);
    }
    if (err == OK) {
        *ret_start = start;
    }
    return err;
}

enum err start_store(struct disk *disk, const struct start *start, struct why *why)
{
    struct disk_file *file;
    struct start old;
    uint64_t turn = 0;
    char bytes[START_BYTES];
    enum err err = disk->ops->open(disk, start_name, DISK_WRITE | DISK_CREATE, &file, why);
    if (err != OK) {
        return err;
    }
    err = load(file, &turn, &old, why);
    if (err == OK) {
        turn++;
        encode(bytes, turn, start);
        struct iovec iov = { bytes, sizeof bytes };
        err = disk->ops->write(file, &iov, 1, turn % 2 * START_SLOT_BYTES, why);
    }
    if (err == OK) {
        err = disk->ops->sync(file, why);
    }
    if (err == OK && turn <= 2) { /* the name is new */
        err = disk->ops->sync_dir(disk, why);
    }
    disk->ops->close(file);
    return err;
}
