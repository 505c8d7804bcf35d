/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.h - files of one directory tree, for the owners of files (keeper, scribe). Calls block.
 *
 * A `struct disk` is one directory; names in it are flat ("slot-00000.seg", no slash). Any thread
 * may use it; one file handle belongs to one thread, except that reads may run from several.
 * Nothing is durable before disk_sync of the file returned OK, and a name not before disk_sync_dir.
 * A failed sync must not be tried again on the same file: the kernel then lies.
 */
#ifndef OUTPOST_EDGE_DISK_H
#define OUTPOST_EDGE_DISK_H

#include "core/base.h"

#include <sys/uio.h>

enum disk_open_flag {
    DISK_WRITE = 1,     /* else read only */
    DISK_CREATE = 2,    /* make it where missing */
    DISK_EXCLUSIVE = 4, /* with CREATE: E_EXISTS where it is there */
    DISK_UNCACHED = 8   /* reads go to the medium, not to cached pages (O_DIRECT, or drop first) */
};

enum disk_kind { DISK_PLAIN, DISK_COPY_ON_WRITE, DISK_NETWORK, DISK_MEMORY };
struct disk_space {
    uint64_t free_bytes;
    uint64_t total_bytes;
    enum disk_kind kind;
};

struct disk;
struct disk_file;
struct disk_ops {
    enum err (*open)(struct disk *disk, const char *name, uint32_t flags,
            struct disk_file **ret_file, struct why *why);
    void (*close)(struct disk_file *file);
    /* Fewer than len bytes only at the end of the file. E_IO: damage, never "end". */
    enum err (*read)(struct disk_file *file, void *dst, size_t len, uint64_t offset,
            size_t *ret_len, struct why *why);
    /* All or an error; parts may have been written then. E_NO_SPACE, E_IO. */
    enum err (*write)(struct disk_file *file, const struct iovec *iov, uint32_t iov_count,
            uint64_t offset, struct why *why);
    enum err (*sync)(struct disk_file *file, struct why *why);
    enum err (*truncate)(struct disk_file *file, uint64_t size_bytes, struct why *why);
    enum err (*size)(struct disk_file *file, uint64_t *ret_bytes, struct why *why);
    enum err (*remove)(struct disk *disk, const char *name, struct why *why); /* E_NOT_FOUND */
    enum err (*list)(struct disk *disk, void (*each)(void *ctx, const char *name), void *ctx,
            struct why *why);
    enum err (*sync_dir)(struct disk *disk, struct why *why);
    enum err (*space)(struct disk *disk, struct disk_space *ret_space, struct why *why);
    /* Holds the directory until disk_close; dies with the process. E_BUSY. */
    enum err (*lock)(struct disk *disk, struct why *why);
    void (*close_disk)(struct disk *disk);
};
struct disk {
    const struct disk_ops *ops;
};
struct disk_file {
    struct disk *disk;
};

/* The real one. Creates the directory (0700) where missing and the parent exists. */
MUST_USE enum err disk_open_real(const char *path, struct disk **ret_disk, struct why *why);

#endif
