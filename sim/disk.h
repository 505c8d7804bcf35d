/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.h - a disk that can lose power: the simulated side of edge/disk.h.
 *
 * Three layers. `medium` is what survives everything; `pending` are 512-byte sectors written since,
 * in order, each of which a power cut may keep, lose or tear, and names made or removed since;
 * `cache` is what a running system reads back. A sync moves the file's sectors to the medium. A
 * failed one moves a random half, forgets the rest, and leaves the cache lying. All choices come
 * from a seed.
 */
#ifndef OUTPOST_SIM_DISK_H
#define OUTPOST_SIM_DISK_H

#include "core/prng.h"
#include "edge/disk.h"

enum { SIM_SECTOR_BYTES = 512 };

enum sim_disk_call {
    SIM_DISK_OPEN,
    SIM_DISK_READ,
    SIM_DISK_WRITE,
    SIM_DISK_SYNC,
    SIM_DISK_TRUNCATE,
    SIM_DISK_SIZE,
    SIM_DISK_REMOVE,
    SIM_DISK_LIST,
    SIM_DISK_SYNC_DIR,
    SIM_DISK_SPACE,
    SIM_DISK_LOCK,
    SIM_DISK_CALL_COUNT
};
const char *sim_disk_call_name(enum sim_disk_call call);

/* What a power cut leaves of what was not synced. */
enum sim_disk_crash {
    SIM_CRASH_NONE,    /* all of it lost */
    SIM_CRASH_ALL,     /* all of it kept */
    SIM_CRASH_PREFIX,  /* the first `arg` sectors */
    SIM_CRASH_ONLY,    /* sector `arg` alone */
    SIM_CRASH_WITHOUT, /* all but sector `arg` */
    SIM_CRASH_RANDOM,  /* each by a coin; `arg` seeds it */
    SIM_CRASH_TORN,    /* as RANDOM, and some of the lost ones hold garbage */
    SIM_CRASH_KILL,    /* no power cut: the process died, everything stays visible and pending */
    SIM_CRASH_MODE_COUNT
};

struct sim_disk;
/* Kept for the run: 0 is the answer "go on"; any other error is what the call gives. */
struct sim_disk_hook {
    void *ctx;
    /* Before every call that changes something (write, sync, truncate, remove, sync_dir, open that
     * creates). The disk may be forked here. */
    void (*before)(void *ctx, struct sim_disk *disk, enum sim_disk_call call);
};

struct sim_disk *sim_disk_new(uint64_t seed);
void sim_disk_free(struct sim_disk *disk);
struct disk *sim_disk_as_disk(struct sim_disk *disk); /* closing it only releases the lock */
struct sim_disk *sim_disk_of(struct disk *disk);

/* A copy as of now, sharing pages until they are written; without handles, hook and faults. */
struct sim_disk *sim_disk_fork(const struct sim_disk *disk, uint64_t seed);
/* The machine stops and starts again. Handles of before give E_IO from now on. */
void sim_disk_crash(struct sim_disk *disk, enum sim_disk_crash mode, uint64_t arg);
/* From the step-th changing call on (1: the next) nothing reaches the disk and every call gives
 * E_IO, until sim_disk_crash. 0: never. */
void sim_disk_cut_at(struct sim_disk *disk, uint64_t step);
bool sim_disk_is_cut(const struct sim_disk *disk);
void sim_disk_set_hook(struct sim_disk *disk, const struct sim_disk_hook *hook); /* NULL: none */

/* ---- faults ------------------------------------------------------------------------------------
 */

/* The n-th call of that kind from now (1: the next) gives err; `count` in a row. A failing sync
 * moves a random half and drops the rest. */
void sim_disk_fail(
        struct sim_disk *disk, enum sim_disk_call call, uint64_t nth, uint64_t count, enum err err);
/* The next sync of a file that has something to lose gives err. */
void sim_disk_fail_dirty_sync(struct sim_disk *disk, enum err err);
/* Each call of that kind fails so often, by the seed. */
void sim_disk_fail_randomly(
        struct sim_disk *disk, enum sim_disk_call call, uint32_t per_million, enum err err);
void sim_disk_heal(struct sim_disk *disk); /* no faults any more; bad sectors stay */
/* Growing past so many bytes in all gives E_NO_SPACE. UINT64_MAX: no limit. */
void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes);
void sim_disk_set_kind(struct sim_disk *disk, enum disk_kind kind);
/* Reading those bytes gives E_IO until they are written again. */
void sim_disk_make_unreadable(
        struct sim_disk *disk, const char *name, uint64_t offset, uint64_t len);
/* Rot: changes bits on the medium and in the cache. False: no such byte. */
bool sim_disk_flip(struct sim_disk *disk, const char *name, uint64_t offset, uint8_t mask);
void sim_disk_zero(struct sim_disk *disk, const char *name, uint64_t offset, uint64_t len);

/* ---- looking -----------------------------------------------------------------------------------
 */

struct sim_disk_counts {
    uint64_t calls[SIM_DISK_CALL_COUNT];
    uint64_t failed[SIM_DISK_CALL_COUNT];
    uint64_t fault_count, full_count; /* of the failed: by a fault that was set; for want of room,
                                         or such was the answer */
    uint64_t written_bytes;
};
const struct sim_disk_counts *sim_disk_counts(const struct sim_disk *disk);
uint64_t sim_disk_pending_count(const struct sim_disk *disk); /* sectors */
uint64_t sim_disk_steps(const struct sim_disk *disk);         /* changing calls so far */
uint64_t sim_disk_file_bytes(const struct sim_disk *disk, const char *name); /* 0: not there */
/* The names, as after a list. */
bool sim_disk_has(const struct sim_disk *disk, const char *name);
void sim_disk_delete(struct sim_disk *disk, const char *name); /* by an operator: durable at once */

#endif
