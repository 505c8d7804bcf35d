/* SPDX-License-Identifier: Apache-2.0
 *
 * compact.c - what is still open in a mostly dead segment moves to the end of the journal, so that
 * the slot can be used again. The message keeps its number.
 *
 * A segment is worth it when at most a quarter of it is live and it is an hour old, or half of it
 * and it is a day old. A step moves about a megabyte and then rests nine times as long as it took.
 * A MOVE carries the states of the recipients: it is built only when all that happened is synced.
 */
#include "spool/spool_priv.h"
#include "spool/view_priv.h"

#include "core/time.h"

enum {
    STEP_BYTES = 1 << 20,
    REST_FACTOR = 9,
    YOUNG_AGE_MS = 3600 * 1000,
    OLD_AGE_MS = 24 * 3600 * 1000,
    YOUNG_LIVE_PERCENT = 25,
    OLD_LIVE_PERCENT = 50
};

static void mover_drop(struct spool *spool)
{
    struct mover *mover = &spool->mover;
    struct spool_body body = { mover->extent, mover->extent_done, 0 };
    spool_body_drop(spool, &body);
    mem_free(mover->extent);
    mover->extent = NULL;
    mover->extent_done = 0;
    mover->msg_id = 0;
}

void compact_done(struct spool *spool)
{
    mem_free(spool->mover.extent);
    spool->mover.extent = NULL;
    spool_view_close(spool->view);
    spool->view = NULL;
}

/* ---- which slot
 * ----------------------------------------------------------------------------------- */

static bool slot_is_worth_it(const struct spool *spool, const struct slot *slot, struct wall now)
{
    if (slot->state != SLOT_FULL || slot->is_damaged || slot->is_passed || slot->live_count == 0 ||
            slot->pin_count > 0 || slot->last_batch > spool->consumed_upto) {
        return false;
    }
    int64_t age_ms = now.ms - slot->made_at.ms;
    uint64_t percent = slot->live_bytes * 100 / (slot->end ? slot->end : 1);
    return (age_ms >= YOUNG_AGE_MS && percent <= YOUNG_LIVE_PERCENT) ||
           (age_ms >= OLD_AGE_MS && percent <= OLD_LIVE_PERCENT);
}

/* The one with the least to move. */
static bool slot_pick(const struct spool *spool, uint32_t *ret_slot)
{
    struct wall now = clock_wall(spool->clock);
    uint64_t best = UINT64_MAX;
    for (uint32_t i = 0; i < spool->slot_count; i++) {
        const struct slot *slot = &spool->slot[i];
        if (slot_is_worth_it(spool, slot, now) && slot->live_bytes < best) {
            best = slot->live_bytes;
            *ret_slot = i;
        }
    }
    return best != UINT64_MAX;
}

static bool msg_is_in(const struct msg *msg, uint32_t slot)
{
    bool is_in = msg_slot(msg) == slot;
    for (uint32_t i = 0; msg->has_more && i < msg->more->extent_count; i++) {
        is_in = is_in || msg->more->extent[i].slot == slot;
    }
    return is_in;
}

/* ---- moving
 * ----------------------------------------------------------------------------------------- */

static enum err written_and_synced(struct spool *spool)
{
    bool is_void;
    if (spool_write(spool) != OK) {
        return spool_sync(spool, &is_void) == OK ? OK : E_IO;
    }
    return spool_sync(spool, &is_void);
}

/* A message that cannot be read stays where it is, and so does its slot. */
static void msg_unreadable(struct spool *spool, const struct msg *msg, const struct why *why)
{
    log_error(spool->log, "spool", "cannot move a message out of slot %u: %s", msg_slot(msg),
            why->text);
    spool->slot[spool->mover.slot].is_damaged = true;
    spool->damaged_ranges++;
}

static enum err move_inline(struct spool *spool, struct msg *msg, uint64_t *moved_bytes)
{
    struct spool_where where = msg_where(msg);
    struct why why = { 0 };
    struct blob *content = NULL;
    struct view_stored read;
    enum err err = view_stored_read(spool->view, &where, msg->msg_id, &read, &why);
    if (err == OK) {
        err = spool_view_message(spool->view, &where, msg->msg_id, NULL, NULL, &content, &why);
        if (err == OK) {
            *moved_bytes += content->size_bytes + read.stored.envelope_len;
            err = batch_move(
                    spool, msg, read.stored.envelope, content, read.stored.content_crc, NULL);
            blob_give(content);
        }
        view_stored_done(&read);
    }
    if (err == E_CORRUPT || err == E_IO) {
        msg_unreadable(spool, msg, &why);
    }
    return err;
}

/* The next chunk of a streamed message; when all are there, its record. */
static enum err move_chunk(struct spool *spool, struct msg *msg)
{
    struct mover *mover = &spool->mover;
    struct why why = { 0 };
    struct blob *chunk = NULL;
    uint32_t ticket;
    enum err err =
            view_extent(spool->view, &msg->more->extent[mover->extent_done], NULL, &chunk, &why);
    if (err != OK) {
        msg_unreadable(spool, msg, &why);
        return err;
    }
    err = spool_batch_body(spool, chunk, &ticket);
    blob_give(chunk);
    err = err == OK ? written_and_synced(spool) : err;
    if (err == OK) {
        mover->extent[mover->extent_done++] = spool_body_extent(spool, ticket);
    }
    return err;
}

static enum err move_streamed_record(struct spool *spool, struct msg *msg)
{
    struct mover *mover = &spool->mover;
    struct spool_where where = msg_where(msg);
    struct why why = { 0 };
    struct view_stored read;
    enum err err = view_stored_read(spool->view, &where, msg->msg_id, &read, &why);
    if (err != OK) {
        msg_unreadable(spool, msg, &why);
        return err;
    }
    err = batch_move(
            spool, msg, read.stored.envelope, NULL, read.stored.content_crc, mover->extent);
    view_stored_done(&read);
    err = err == OK ? written_and_synced(spool) : err;
    if (err == OK) {
        mem_free(mover->extent); /* the message holds the chunks now */
        mover->extent = NULL;
        mover->extent_done = 0;
        mover->msg_id = 0;
    }
    return err;
}

static enum err move_streamed(struct spool *spool, struct msg *msg)
{
    struct mover *mover = &spool->mover;
    if (mover->msg_id == 0) {
        mover->extent = mem_new(msg->more->extent_count * sizeof *mover->extent);
        if (mover->extent == NULL) {
            return E_NOMEM;
        }
        mover->msg_id = msg->msg_id;
    }
    enum err err = mover->extent_done < msg->more->extent_count ? move_chunk(spool, msg)
                                                                : move_streamed_record(spool, msg);
    if (err != OK) {
        mover_drop(spool);
    }
    return err;
}

/* ---- a step
 * --------------------------------------------------------------------------------------------- */

/* Collects messages of the slot into the open batch. OK: the walk is not at its end. */
static enum err move_some(struct spool *spool)
{
    struct mover *mover = &spool->mover;
    uint64_t moved_bytes = 0;
    struct msg *msg;
    while (moved_bytes < STEP_BYTES) {
        uint32_t before = mover->walk_at;
        msg = index_walk(&spool->index, &mover->walk_at);
        if (msg == NULL) {
            return E_EOF;
        }
        if (!msg_is_in(msg, mover->slot)) {
            continue;
        }
        if (msg->has_more && msg->more->extent_count > 0) {
            if (!spool_batch_is_empty(spool)) {
                mover->walk_at = before;
                return OK;
            }
            mover->walk_at = before; /* it takes several steps */
            return move_streamed(spool, msg);
        }
        enum err err = move_inline(spool, msg, &moved_bytes);
        if (err == E_FULL) {
            mover->walk_at = before;
            return OK;
        }
        if (err != OK && err != E_TOO_BIG) {
            return err;
        }
    }
    return OK;
}

static bool mover_start(struct spool *spool)
{
    struct mover *mover = &spool->mover;
    uint32_t slot;
    if (mover->is_active) {
        return true;
    }
    if (!slot_pick(spool, &slot)) {
        return false;
    }
    if (spool->view == NULL && spool_view_of(spool, spool->disk, &spool->view) != OK) {
        return false;
    }
    *mover = (struct mover){ .is_active = true, .slot = slot };
    return true;
}

static void mover_stop(struct spool *spool)
{
    mover_drop(spool);
    spool->mover.is_active = false;
}

/* A streamed message may have been closed while it was on its way. */
static void mover_check(struct spool *spool)
{
    struct mover *mover = &spool->mover;
    if (mover->msg_id != 0 && index_find(&spool->index, mover->msg_id) == NULL) {
        mover_drop(spool);
    }
}

bool compact_step(struct spool *spool, struct mono now)
{
    struct mover *mover = &spool->mover;
    /* never from the reserve */
    bool may_write = spool->free_count >= slots_wanted_free(spool) && !spool->is_failed;
    if (now.ms < mover->next_at.ms || !may_write || !mover_start(spool)) {
        return false;
    }
    mover_check(spool);
    enum err err = move_some(spool);
    if (!spool->is_failed && !spool_batch_is_empty(spool) && written_and_synced(spool) != OK) {
        err = E_IO;
    }
    if (err != OK || spool->slot[mover->slot].is_damaged) {
        spool->slot[mover->slot].is_passed = err == E_EOF;
        mover_stop(spool);
    }
    struct mono end = clock_mono(spool->clock);
    uint64_t took_ms = end.ms > now.ms ? (uint64_t)(end.ms - now.ms) : 1;
    mover->next_at = mono_after(end, took_ms * REST_FACTOR);
    return true;
}
