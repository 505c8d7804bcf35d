/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.c - the real disk: one directory, files opened relative to it, positioned reads and writes.
 *
 * Nothing is retried but interrupted and short calls; a failed sync is told once, as E_IO, whatever
 * the kernel called it (a thinly backed device says ENOSPC), for what is on the medium is unknown.
 */
#include "edge/disk.h"

#include "edge/errno_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    DIRECT_ALIGN_BYTES = 4096,        /* covers every logical block size in use */
    DIRECT_BOUNCE_BYTES = 256 * 1024, /* per call, for callers whose buffer is not aligned */
    WRITE_IOV_COUNT_MAX = 1024        /* IOV_MAX of Linux */
};

struct real_disk {
    struct disk base;
    int dir_fd;
};

struct real_file {
    struct disk_file base;
    int fd;
    int direct_fd; /* a second descriptor, O_DIRECT, for uncached reads; -1: none */
    bool is_uncached;
    char name[];
};

static struct real_disk *real_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct real_disk, base);
}

static struct real_file *file_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct real_file, base);
}

/* Sets why to "WHAT NAME: the system's words" and gives our error. */
static enum err failed(struct why *why, const char *what, const char *name, int number)
{
    why_set(why, "%s %s: %s", what, name, errno_words(number));
    return err_from_errno(number);
}

static bool name_is_flat(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static int open_flags(uint32_t flags)
{
    int result = O_CLOEXEC | O_NOFOLLOW | ((flags & DISK_WRITE) ? O_RDWR : O_RDONLY);
    if (flags & DISK_CREATE) {
        result |= O_CREAT;
    }
    if (flags & DISK_EXCLUSIVE) {
        result |= O_EXCL;
    }
    return result;
}

static int open_retry(int dir_fd, const char *name, int flags)
{
    int fd;
    do {
        fd = openat(dir_fd, name, flags, 0600);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static enum err real_open(struct disk *disk, const char *name, uint32_t flags,
        struct disk_file **ret_file, struct why *why)
{
    int dir_fd = real_of(disk)->dir_fd;
    if (!name_is_flat(name)) {
        why_set(why, "open %s: not a plain file name", name);
        return E_USAGE;
    }
    struct real_file *file = mem_new(sizeof *file + strlen(name) + 1);
    if (file == NULL) {
        return E_NOMEM;
    }
    file->base.disk = disk;
    memcpy(file->name, name, strlen(name) + 1);
    file->direct_fd = -1;
    file->fd = open_retry(dir_fd, name, open_flags(flags));
    if (file->fd < 0) {
        enum err err = failed(why, "open", name, errno);
        mem_free(file);
        return err;
    }
    if (flags & DISK_UNCACHED) {
        file->is_uncached = true;
        /* A file system without O_DIRECT refuses: then cached pages are dropped before reads. */
        file->direct_fd = open_retry(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_DIRECT);
    }
    *ret_file = &file->base;
    return OK;
}

static void real_close(struct disk_file *base)
{
    if (base == NULL) {
        return;
    }
    struct real_file *file = file_of(base);
    close(file->fd);
    if (file->direct_fd >= 0) {
        close(file->direct_fd);
    }
    mem_free(file);
}

/* pread until len bytes or the end of the file; -1 with errno. */
static ssize_t pread_all(int fd, char *dst, size_t len, uint64_t offset)
{
    size_t done = 0;
    while (done < len) {
        ssize_t got = pread(fd, dst + done, len - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* One O_DIRECT read; stops early only at the end of the file. All three arguments are aligned. */
static ssize_t pread_direct(int fd, char *dst, size_t len, uint64_t offset)
{
    size_t done = 0;
    while (done < len) {
        ssize_t got = pread(fd, dst + done, len - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -1;
        }
        done += (size_t)got;
        if (got == 0 || (size_t)got % DIRECT_ALIGN_BYTES != 0) {
            break; /* the end: going on from here would be unaligned */
        }
    }
    return (ssize_t)done;
}

/* Through an aligned buffer of our own, piece by piece; -1 with errno. */
static ssize_t pread_bounced(int fd, char *dst, size_t len, uint64_t offset)
{
    char *block = mem_new(DIRECT_BOUNCE_BYTES + DIRECT_ALIGN_BYTES);
    if (block == NULL) {
        errno = ENOMEM;
        return -1;
    }
    char *bounce = block + (-(uintptr_t)block & (DIRECT_ALIGN_BYTES - 1));
    size_t done = 0;
    ssize_t result = 0;
    while (done < len) {
        uint64_t at = offset + done;
        size_t lead = (size_t)(at % DIRECT_ALIGN_BYTES);
        size_t want = lead + (len - done);
        want = want > DIRECT_BOUNCE_BYTES ? DIRECT_BOUNCE_BYTES : want;
        size_t aligned = (want + DIRECT_ALIGN_BYTES - 1) & ~(size_t)(DIRECT_ALIGN_BYTES - 1);
        result = pread_direct(fd, bounce, aligned, at - lead);
        if (result < 0 || (size_t)result <= lead) {
            break;
        }
        size_t part = ((size_t)result < want ? (size_t)result : want) - lead;
        memcpy(dst + done, bounce + lead, part);
        done += part;
        if ((size_t)result < want) {
            break;
        }
    }
    int number = errno;
    mem_free(block);
    errno = number;
    return result < 0 ? -1 : (ssize_t)done;
}

static bool is_aligned(const void *dst, size_t len, uint64_t offset)
{
    return (((uintptr_t)dst | len | offset) & (DIRECT_ALIGN_BYTES - 1)) == 0;
}

static ssize_t read_uncached(struct real_file *file, char *dst, size_t len, uint64_t offset)
{
    if (file->direct_fd >= 0) {
        ssize_t got = is_aligned(dst, len, offset)
                              ? pread_direct(file->direct_fd, dst, len, offset)
                              : pread_bounced(file->direct_fd, dst, len, offset);
        if (got >= 0 || errno != EINVAL) {
            return got;
        }
    }
    (void)posix_fadvise(file->fd, (off_t)offset, (off_t)len, POSIX_FADV_DONTNEED);
    return pread_all(file->fd, dst, len, offset);
}

static enum err real_read(struct disk_file *base, void *dst, size_t len, uint64_t offset,
        size_t *ret_len, struct why *why)
{
    struct real_file *file = file_of(base);
    if (offset > INT64_MAX || len > INT64_MAX - offset) {
        why_set(why, "read %s: offset out of range", file->name);
        return E_USAGE;
    }
    ssize_t got = file->is_uncached ? read_uncached(file, dst, len, offset)
                                    : pread_all(file->fd, dst, len, offset);
    if (got < 0) {
        int number = errno;
        (void)failed(why, "read", file->name, number);
        return number == ENOMEM ? E_NOMEM : E_IO;
    }
    *ret_len = (size_t)got;
    return OK;
}

/* The rest of a piece that the kernel took in part. */
static ssize_t write_rest(int fd, const struct iovec *piece, size_t skip, uint64_t offset)
{
    return pwrite(fd, (const char *)piece->iov_base + skip, piece->iov_len - skip, (off_t)offset);
}

static enum err real_write(struct disk_file *base, const struct iovec *iov, uint32_t iov_count,
        uint64_t offset, struct why *why)
{
    struct real_file *file = file_of(base);
    uint32_t index = 0;
    size_t skip = 0; /* bytes of iov[index] that are written */
    while (index < iov_count) {
        uint32_t left = iov_count - index;
        int count = (int)(left < WRITE_IOV_COUNT_MAX ? left : WRITE_IOV_COUNT_MAX);
        ssize_t put = skip > 0 ? write_rest(file->fd, &iov[index], skip, offset)
                               : pwritev(file->fd, iov + index, count, (off_t)offset);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return failed(why, "write", file->name, errno);
        }
        offset += (uint64_t)put;
        size_t moved = (size_t)put + skip;
        bool has_moved = put > 0;
        while (index < iov_count && moved >= iov[index].iov_len) {
            moved -= iov[index].iov_len;
            index++;
            has_moved = true;
        }
        skip = moved;
        if (!has_moved) {
            why_set(why, "write %s: the system took no bytes", file->name);
            return E_IO;
        }
    }
    return OK;
}

static enum err real_sync(struct disk_file *base, struct why *why)
{
    struct real_file *file = file_of(base);
    if (fdatasync(file->fd) != 0) {
        (void)failed(why, "sync", file->name, errno);
        return E_IO;
    }
    return OK;
}

static enum err real_truncate(struct disk_file *base, uint64_t size_bytes, struct why *why)
{
    struct real_file *file = file_of(base);
    if (size_bytes > INT64_MAX) {
        why_set(why, "truncate %s: size out of range", file->name);
        return E_USAGE;
    }
    while (ftruncate(file->fd, (off_t)size_bytes) != 0) {
        if (errno != EINTR) {
            return failed(why, "truncate", file->name, errno);
        }
    }
    return OK;
}

static enum err real_size(struct disk_file *base, uint64_t *ret_bytes, struct why *why)
{
    struct real_file *file = file_of(base);
    struct stat st;
    if (fstat(file->fd, &st) != 0) {
        return failed(why, "stat", file->name, errno);
    }
    *ret_bytes = (uint64_t)st.st_size;
    return OK;
}

static enum err real_remove(struct disk *disk, const char *name, struct why *why)
{
    if (!name_is_flat(name)) {
        why_set(why, "remove %s: not a plain file name", name);
        return E_USAGE;
    }
    if (unlinkat(real_of(disk)->dir_fd, name, 0) != 0) {
        return failed(why, "remove", name, errno);
    }
    return OK;
}

static enum err real_list(
        struct disk *disk, void (*each)(void *ctx, const char *name), void *ctx, struct why *why)
{
    /* Opened anew: a duplicate would share its position with a listing in another thread. */
    int fd = open_retry(real_of(disk)->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        enum err err = failed(why, "list", "directory", errno);
        if (fd >= 0) {
            close(fd);
        }
        return err;
    }
    errno = 0;
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            each(ctx, entry->d_name);
        }
        errno = 0;
    }
    int number = errno;
    closedir(dir);
    return number == 0 ? OK : failed(why, "list", "directory", number);
}

static enum err real_sync_dir(struct disk *disk, struct why *why)
{
    if (fsync(real_of(disk)->dir_fd) != 0) {
        (void)failed(why, "sync", "directory", errno);
        return E_IO;
    }
    return OK;
}

/* f_type values: linux/magic.h and the file systems' own sources. */
static enum disk_kind kind_of(uint32_t magic)
{
    switch (magic) {
    case 0x9123683eU: /* btrfs */
    case 0x2fc12fc1U: /* zfs */
    case 0xca451a4eU: /* bcachefs */
        return DISK_COPY_ON_WRITE;
    case 0x00006969U: /* nfs */
    case 0x0000517bU: /* smb */
    case 0xff534d42U: /* cifs */
    case 0xfe534d42U: /* smb2 */
    case 0x65735546U: /* fuse */
    case 0x01021997U: /* 9p */
    case 0x00c36400U: /* ceph */
    case 0x5346414fU: /* afs */
        return DISK_NETWORK;
    case 0x01021994U: /* tmpfs */
    case 0x858458f6U: /* ramfs */
        return DISK_MEMORY;
    default:
        return DISK_PLAIN;
    }
}

static enum err real_space(struct disk *disk, struct disk_space *ret_space, struct why *why)
{
    int fd = real_of(disk)->dir_fd;
    struct statvfs vfs;
    struct statfs fs;
    if (fstatvfs(fd, &vfs) != 0 || fstatfs(fd, &fs) != 0) {
        return failed(why, "statfs", "directory", errno);
    }
    *ret_space = (struct disk_space){
        .free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize,
        .total_bytes = (uint64_t)vfs.f_blocks * vfs.f_frsize,
        .kind = kind_of((uint32_t)fs.f_type),
    };
    return OK;
}

static enum err real_lock(struct disk *disk, struct why *why)
{
    if (flock(real_of(disk)->dir_fd, LOCK_EX | LOCK_NB) == 0) {
        return OK;
    }
    if (errno == EWOULDBLOCK) {
        why_set(why, "another process holds this directory");
        return E_BUSY;
    }
    return failed(why, "lock", "directory", errno);
}

static void real_close_disk(struct disk *disk)
{
    if (disk == NULL) {
        return;
    }
    close(real_of(disk)->dir_fd);
    mem_free(real_of(disk));
}

static const struct disk_ops real_ops = {
    .open = real_open,
    .close = real_close,
    .read = real_read,
    .write = real_write,
    .sync = real_sync,
    .truncate = real_truncate,
    .size = real_size,
    .remove = real_remove,
    .list = real_list,
    .sync_dir = real_sync_dir,
    .space = real_space,
    .lock = real_lock,
    .close_disk = real_close_disk,
};

/* A directory just made is a name in its parent, and names are durable only by a sync of that. */
static void sync_parent(int dir_fd)
{
    int parent_fd = open_retry(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent_fd >= 0) {
        (void)fsync(parent_fd); /* may be a directory that we cannot sync: best effort */
        close(parent_fd);
    }
}

enum err disk_open_real(const char *path, struct disk **ret_disk, struct why *why)
{
    bool is_new = mkdir(path, 0700) == 0;
    if (!is_new && errno != EEXIST) {
        return failed(why, "make directory", path, errno);
    }
    int dir_fd = open_retry(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0) {
        return failed(why, "open directory", path, errno);
    }
    if (is_new) {
        sync_parent(dir_fd);
    }
    struct real_disk *disk = mem_new(sizeof *disk);
    if (disk == NULL) {
        close(dir_fd);
        return E_NOMEM;
    }
    disk->base.ops = &real_ops;
    disk->dir_fd = dir_fd;
    *ret_disk = &disk->base;
    return OK;
}
