/* SPDX-License-Identifier: Apache-2.0
 *
 * slot.c - the pool of fixed files: made, zero-filled, used again; never renamed.
 *
 * A slot is used only after its zeros and its name are synced, so that a commit changes no
 * metadata. On copy-on-write file systems preallocation is worth nothing: there each segment is a
 * new file that grows, and a free one is removed.
 */
#include "spool/spool_priv.h"

#include "core/crash.h"
#include "core/str.h"

enum { ZERO_BUFFER_BYTES = 256 << 10 };

static bool is_cow(const struct spool *spool)
{
    return spool->kind == DISK_COPY_ON_WRITE;
}

void slot_close(struct spool *spool, uint32_t slot)
{
    if (spool->slot[slot].file != NULL) {
        spool->disk->ops->close(spool->slot[slot].file);
        spool->slot[slot].file = NULL;
    }
}

void slots_done(struct spool *spool)
{
    for (uint32_t i = 0; i < spool->slot_count; i++) {
        slot_close(spool, i);
    }
    mem_free(spool->slot);
    mem_free(spool->zeros);
    spool->slot = NULL;
    spool->zeros = NULL;
    spool->slot_count = 0;
}

enum err slots_resize(struct spool *spool, uint32_t slot_count)
{
    if (slot_count > SLOT_COUNT_MAX) {
        return E_FULL;
    }
    if (slot_count <= spool->slot_count) {
        return OK;
    }
    struct slot *slot = mem_grow(spool->slot, slot_count * sizeof *slot);
    if (slot == NULL) {
        return E_NOMEM;
    }
    memset(slot + spool->slot_count, 0, (slot_count - spool->slot_count) * sizeof *slot);
    spool->slot = slot;
    spool->slot_count = slot_count;
    return OK;
}

void slot_set_state(struct spool *spool, uint32_t slot, enum slot_state state)
{
    ASSERT(slot < spool->slot_count);
    struct slot *s = &spool->slot[slot];
    spool->free_count -= s->state == SLOT_FREE;
    spool->free_count += state == SLOT_FREE;
    s->state = state;
}

enum err slot_file(struct spool *spool, uint32_t slot, struct disk_file **ret_file)
{
    struct slot *s = &spool->slot[slot];
    if (s->file == NULL) {
        char name[NAME_BYTES_MAX];
        struct why why = { 0 };
        slot_name(name, slot);
        enum err err =
                spool->disk->ops->open(spool->disk, name, DISK_WRITE | DISK_CREATE, &s->file, &why);
        if (err != OK) {
            s->file = NULL;
            log_warn(spool->log, "spool", "cannot open %s: %s", name, why.text);
            return err;
        }
    }
    *ret_file = s->file;
    return OK;
}

static enum err zeros_write(struct spool *spool, struct disk_file *file, uint64_t at, uint64_t len)
{
    if (spool->zeros == NULL) {
        spool->zeros = mem_new(ZERO_BUFFER_BYTES);
        if (spool->zeros == NULL) {
            return E_NOMEM;
        }
    }
    while (len > 0) {
        struct iovec iov = { spool->zeros, len < ZERO_BUFFER_BYTES ? len : ZERO_BUFFER_BYTES };
        struct why why = { 0 };
        enum err err = spool->disk->ops->write(file, &iov, 1, at, &why);
        if (err != OK) {
            return err;
        }
        at += iov.iov_len;
        len -= iov.iov_len;
    }
    return OK;
}

/* Zeros and, with the last of them, the name become durable; only then the slot may be used. Each
 * step is synced, so that no commit waits for a whole slot's worth of pages. */
static enum err slot_settle(struct spool *spool, struct disk_file *file, bool is_last)
{
    struct why why = { 0 };
    enum err err = spool->disk->ops->sync(file, &why);
    if (err == OK && is_last) {
        err = spool->disk->ops->sync_dir(spool->disk, &why);
    }
    if (err != OK) {
        log_warn(spool->log, "spool", "making a slot failed: %s", why.text);
    }
    return err;
}

/* Gives back what a slot that cannot be finished has taken, best effort. */
static void slot_abandon(struct spool *spool, uint32_t slot)
{
    struct why why = { 0 };
    char name[NAME_BYTES_MAX];
    slot_close(spool, slot);
    slot_name(name, slot);
    if (spool->disk->ops->remove(spool->disk, name, &why) != OK) {
        log_warn(spool->log, "spool", "cannot remove %s: %s", name, why.text);
    }
    spool->slot[slot] = (struct slot){ .state = SLOT_ABSENT };
}

static enum err slot_zero_step(struct spool *spool, uint32_t slot, uint64_t step_bytes)
{
    struct slot *s = &spool->slot[slot];
    struct disk_file *file;
    uint64_t goal = is_cow(spool) ? 0 : spool->slot_bytes;
    uint64_t left = goal - s->zeroed_bytes;
    uint64_t len = left < step_bytes ? left : step_bytes;
    enum err err = slot_file(spool, slot, &file);
    if (err == OK) {
        CRASH_POINT("slot.created");
        err = zeros_write(spool, file, s->zeroed_bytes, len);
    }
    if (err == OK) {
        s->zeroed_bytes += len;
        err = slot_settle(spool, file, s->zeroed_bytes == goal);
    }
    if (err != OK) {
        slot_abandon(spool, slot);
        spool->is_full = spool->is_full || err == E_NO_SPACE || err == E_IO;
        return err;
    }
    CRASH_POINT("slot.zeroed");
    if (s->zeroed_bytes == goal) {
        slot_close(spool, slot);
        slot_set_state(spool, slot, SLOT_FREE);
        spool->is_full = false;
    }
    return OK;
}

/* The lowest number without a file. */
static enum err slot_start(struct spool *spool, uint32_t *ret_slot)
{
    uint32_t slot = 0;
    while (slot < spool->slot_count && spool->slot[slot].state != SLOT_ABSENT) {
        slot++;
    }
    enum err err = slots_resize(spool, slot + 1);
    if (err != OK) {
        return err;
    }
    slot_set_state(spool, slot, SLOT_ZEROING);
    *ret_slot = slot;
    return OK;
}

static bool slot_in_state(const struct spool *spool, enum slot_state state, uint32_t *ret_slot)
{
    for (uint32_t i = 0; i < spool->slot_count; i++) {
        if (spool->slot[i].state == state) {
            *ret_slot = i;
            return true;
        }
    }
    return false;
}

enum err slot_take(struct spool *spool, uint32_t *ret_slot)
{
    uint32_t slot;
    if (!slot_in_state(spool, SLOT_FREE, &slot)) {
        if (!slot_in_state(spool, SLOT_ZEROING, &slot)) {
            enum err err = slot_start(spool, &slot);
            if (err != OK) {
                return err;
            }
        }
        enum err err = slot_zero_step(spool, slot, spool->slot_bytes);
        if (err != OK) {
            return err;
        }
    }
    *ret_slot = slot;
    return OK;
}

/* Outcomes of all who are open must find room on a full disk: as many slots, and never less than
 * the spare ones. */
static uint32_t reserve_count(const struct spool *spool)
{
    uint64_t rcpts = spool->index.open_rcpts;
    uint64_t bytes = rcpts * RESERVE_RCPT_BYTES + rcpts * RESERVE_RCPT_BYTES / 4;
    uint64_t count = (bytes + spool->slot_bytes - 1) / spool->slot_bytes;
    count = count < spool->conf.spare_slots ? spool->conf.spare_slots : count;
    return count > SLOT_COUNT_MAX / 2 ? SLOT_COUNT_MAX / 2 : (uint32_t)count;
}

uint32_t slots_wanted_free(const struct spool *spool)
{
    return reserve_count(spool) + spool->conf.spare_slots;
}

static void look_at_space(struct spool *spool)
{
    struct disk_space space;
    struct why why = { 0 };
    if (spool->disk->ops->space(spool->disk, &space, &why) == OK) {
        spool->disk_free_bytes = space.free_bytes;
    }
}

bool slots_have_room(struct spool *spool)
{
    uint32_t wanted = slots_wanted_free(spool);
    if (is_cow(spool)) {
        look_at_space(spool);
        return spool->disk_free_bytes >= wanted * spool->slot_bytes;
    }
    if (spool->free_count >= wanted) {
        return true;
    }
    if (spool->is_full) {
        return false;
    }
    struct mono now = clock_mono(spool->clock);
    if (spool->space_at.ms == 0 || spool->space_at.ms + 200 <= now.ms) {
        spool->space_at = now;
        look_at_space(spool);
    }
    uint64_t missing = (uint64_t)(wanted - spool->free_count) * spool->slot_bytes;
    return spool->disk_free_bytes > missing;
}

bool slots_grow_step(struct spool *spool)
{
    uint32_t slot;
    if (is_cow(spool)) {
        return false;
    }
    if (slot_in_state(spool, SLOT_ZEROING, &slot)) {
        return slot_zero_step(spool, slot, ZERO_STEP_BYTES) == OK;
    }
    /* one more than what refuses, so that a rotation does not stop the door */
    if (spool->free_count > slots_wanted_free(spool)) {
        return false;
    }
    return slot_start(spool, &slot) == OK && slot_zero_step(spool, slot, ZERO_STEP_BYTES) == OK;
}

static bool slot_is_needed(const struct spool *spool, const struct slot *slot, uint64_t horizon)
{
    return slot->live_count > 0 || slot->pin_count > 0 || slot->is_damaged ||
           slot->seg_seq >= horizon || slot->last_batch > spool->consumed_upto;
}

void slots_set_free(struct spool *spool)
{
    uint64_t horizon = checkpoint_horizon(spool);
    for (uint32_t i = 0; i < spool->slot_count; i++) {
        struct slot *slot = &spool->slot[i];
        if (slot->state != SLOT_FULL || slot_is_needed(spool, slot, horizon)) {
            continue;
        }
        if (is_cow(spool)) {
            slot_abandon(spool, i);
        } else {
            slot_set_state(spool, i, SLOT_FREE);
            slot->seg_seq = 0;
            slot->is_passed = false;
        }
    }
}
