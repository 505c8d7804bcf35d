/* SPDX-License-Identifier: Apache-2.0
 *
 * vfs_priv.h - SQLite's files on edge/disk.h, so that the simulated disk carries the history too.
 *
 * All connections to one disk share one struct vfs, found by the disk's address: the wal-index of
 * a file lives in memory there, so that WAL works between threads of this process. Two processes
 * must not use the files at once, except that others may look while nobody writes.
 */
#ifndef OUTPOST_HISTORY_VFS_PRIV_H
#define OUTPOST_HISTORY_VFS_PRIV_H

#include "edge/disk.h"

enum { VFS_NAME_BYTES_MAX = 64 };

struct vfs;
/* One more user of disk's files; the first makes it. */
MUST_USE enum err vfs_take(struct disk *disk, struct vfs **ret_vfs);
void vfs_give(struct vfs *vfs); /* the last frees it; NULL is fine */

/* What to give sqlite3_open_v2. The reader's never writes or creates anything. */
const char *vfs_writer_name(const struct vfs *vfs);
const char *vfs_reader_name(const struct vfs *vfs);

/* Readers hold this while they have connections; removal of files waits for them. */
void vfs_begin_reading(struct vfs *vfs);
void vfs_end_reading(struct vfs *vfs);
/* Takes the database `name` and what belongs to it away. No connection of the caller's is open. */
MUST_USE enum err vfs_remove(struct vfs *vfs, const char *name, struct why *why);

/* A sync of the file or of its WAL failed, and reads show what the medium may not have. The WAL
 * must stay: a checkpoint that did not end may have left half of its pages in the file. vfs_mend
 * writes again what of the WAL is not surely on the medium, and syncs it; the next checkpoint then
 * brings all of it into the file. The caller has closed its connection. */
bool vfs_sync_failed(struct vfs *vfs, const char *name);
MUST_USE enum err vfs_mend(struct vfs *vfs, const char *name, struct why *why);

/* Did reading the file, or its WAL, fail since this was asked last? */
bool vfs_read_failed(struct vfs *vfs, const char *name);

#endif
