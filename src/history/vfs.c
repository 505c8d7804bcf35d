/* SPDX-License-Identifier: Apache-2.0
 *
 * vfs.c - the SQLite VFS over edge/disk.h.
 *
 * File locks do nothing: one scribe writes, and the directory is the node's own. The wal-index is
 * heap memory with in-process locks, which SQLite's protocol needs between the scribe and readers.
 * After a failed sync a file takes no more writes: its owner opens it anew.
 */
#include "history/vfs_priv.h"

#include "core/str.h"
#include "history/shm_priv.h"

#include <pthread.h>
#include <stdatomic.h>

#include <sqlite3.h>

enum { VFS_SECTOR_BYTES = 512, COPY_BYTES = 8192 };
static_assert(SHM_LOCK_COUNT == SQLITE_SHM_NLOCK, "the locks that SQLite uses");

/* What the scribe knows of the WAL that it writes beside the database `name`. */
struct wal {
    struct wal *next;
    uint64_t synced_bytes; /* so much of its beginning is on the medium */
    bool is_sync_failed;   /* the WAL's or the database's */
    char name[VFS_NAME_BYTES_MAX];
};
struct vfs {
    struct vfs *next;
    struct disk *disk;
    uint32_t users;
    pthread_mutex_t lock; /* of what follows */
    struct shm *shm;
    struct wal *wals;
    char unreadable[VFS_NAME_BYTES_MAX]; /* the file whose reading failed last; "": none */
    bool is_dir_dirty;                   /* a name was made and the directory not synced since */
    pthread_rwlock_t names;              /* readers share; removal of files excludes */
    char writer_name[32], reader_name[32];
    sqlite3_vfs writer, reader;
};
struct vfs_file {
    sqlite3_file base;
    struct vfs *vfs;
    struct disk_file *file; /* NULL: a reader's WAL that does not exist (yet) */
    struct wal *wal;        /* the scribe's; NULL also when memory ran out */
    struct shm *shm;
    struct shm_held held;
    bool is_writer, is_sync_failed;
    char name[VFS_NAME_BYTES_MAX];
};

/* SQLite knows file systems by name, process-wide, and the scribe and its readers meet only in the
 * disk they were given: hence a process-wide list. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct vfs *list_first;

static struct vfs_file *file_of(sqlite3_file *base)
{
    return CONTAINER_OF(base, struct vfs_file, base);
}

static bool is_wal_name(const char *name)
{
    struct str s = str_from_c(name);
    return s.len > 4 && str_eq(str_from(s, s.len - 4), STR("-wal"));
}

/* ---- what is known of a WAL ------------------------------------------------------------------ */

/* Of the database `name`, or of the one whose WAL that is; NULL: nothing is known. */
static struct wal *wal_find(struct vfs *vfs, const char *name)
{
    size_t len = strlen(name) - (is_wal_name(name) ? 4 : 0);
    pthread_mutex_lock(&vfs->lock);
    struct wal *wal = vfs->wals;
    while (wal != NULL && !str_eq(str_from_c(wal->name), str_of(name, len))) {
        wal = wal->next;
    }
    pthread_mutex_unlock(&vfs->lock);
    return wal;
}

static struct wal *wal_find_or_add(struct vfs *vfs, const char *name)
{
    struct wal *wal = wal_find(vfs, name);
    if (wal != NULL) {
        return wal;
    }
    wal = mem_new(sizeof *wal);
    if (wal != NULL) {
        size_t len = strlen(name) - (is_wal_name(name) ? 4 : 0);
        fmt(wal->name, sizeof wal->name, "%.*s", (int)len, name);
        pthread_mutex_lock(&vfs->lock);
        wal->next = vfs->wals;
        vfs->wals = wal;
        pthread_mutex_unlock(&vfs->lock);
    }
    return wal;
}

static void wal_forget(struct vfs *vfs, const char *name)
{
    struct wal *wal = wal_find(vfs, name);
    pthread_mutex_lock(&vfs->lock);
    for (struct wal **link = &vfs->wals; *link != NULL; link = &(*link)->next) {
        if (*link == wal) {
            *link = wal->next;
            mem_free(wal);
            break;
        }
    }
    pthread_mutex_unlock(&vfs->lock);
}

/* ---- files ---------------------------------------------------------------------------------- */

static int vfs_close(sqlite3_file *base)
{
    struct vfs_file *file = file_of(base);
    if (file->file != NULL) {
        file->vfs->disk->ops->close(file->file);
        file->file = NULL;
    }
    return SQLITE_OK;
}

/* A reader may have opened before the scribe made the WAL. */
static bool is_there(struct vfs_file *file)
{
    if (file->file == NULL) {
        struct disk *disk = file->vfs->disk;
        struct disk_file *opened;
        if (disk->ops->open(disk, file->name, 0, &opened, NULL) == OK) {
            file->file = opened;
        }
    }
    return file->file != NULL;
}

static void note_unreadable(struct vfs *vfs, const char *name)
{
    pthread_mutex_lock(&vfs->lock);
    fmt(vfs->unreadable, sizeof vfs->unreadable, "%s", name);
    pthread_mutex_unlock(&vfs->lock);
}

static int vfs_read(sqlite3_file *base, void *dst, int len, sqlite3_int64 offset)
{
    struct vfs_file *file = file_of(base);
    size_t got = 0;
    if (is_there(file)) {
        enum err err = file->vfs->disk->ops->read(
                file->file, dst, (size_t)len, (uint64_t)offset, &got, NULL);
        if (err == E_NOMEM) {
            return SQLITE_IOERR_NOMEM;
        }
        if (err != OK) {
            note_unreadable(file->vfs, file->name);
            return SQLITE_IOERR_READ;
        }
    }
    if (got < (size_t)len) {
        memset((char *)dst + got, 0, (size_t)len - got);
        return SQLITE_IOERR_SHORT_READ;
    }
    return SQLITE_OK;
}

static void note_changed(struct vfs_file *file, uint64_t from)
{
    if (file->wal != NULL && is_wal_name(file->name) && from < file->wal->synced_bytes) {
        file->wal->synced_bytes = from;
    }
}

static int vfs_write(sqlite3_file *base, const void *src, int len, sqlite3_int64 offset)
{
    struct vfs_file *file = file_of(base);
    if (!file->is_writer) {
        return SQLITE_READONLY;
    }
    if (file->is_sync_failed) {
        return SQLITE_IOERR_WRITE;
    }
    note_changed(file, (uint64_t)offset);
    struct iovec iov = { .iov_len = (size_t)len };
    memcpy(&iov.iov_base, &src, sizeof src); /* writev's struct knows no const */
    enum err err = file->vfs->disk->ops->write(file->file, &iov, 1, (uint64_t)offset, NULL);
    if (err == E_NO_SPACE) {
        return SQLITE_FULL;
    }
    return err == OK ? SQLITE_OK : SQLITE_IOERR_WRITE;
}

static int vfs_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct vfs_file *file = file_of(base);
    if (!file->is_writer || file->is_sync_failed) {
        return SQLITE_IOERR_TRUNCATE;
    }
    note_changed(file, (uint64_t)size);
    enum err err = file->vfs->disk->ops->truncate(file->file, (uint64_t)size, NULL);
    return err == OK ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

static enum err sync_dir_if_dirty(struct vfs *vfs)
{
    pthread_mutex_lock(&vfs->lock);
    bool is_dirty = vfs->is_dir_dirty;
    vfs->is_dir_dirty = false;
    pthread_mutex_unlock(&vfs->lock);
    if (!is_dirty) {
        return OK;
    }
    enum err err = vfs->disk->ops->sync_dir(vfs->disk, NULL);
    if (err != OK) {
        pthread_mutex_lock(&vfs->lock);
        vfs->is_dir_dirty = true;
        pthread_mutex_unlock(&vfs->lock);
    }
    return err;
}

static void note_synced(struct vfs_file *file)
{
    uint64_t size_bytes;
    if (file->wal != NULL && is_wal_name(file->name) &&
            file->vfs->disk->ops->size(file->file, &size_bytes, NULL) == OK) {
        file->wal->synced_bytes = size_bytes;
    }
}

static int vfs_sync(sqlite3_file *base, int flags)
{
    struct vfs_file *file = file_of(base);
    (void)flags;
    if (!file->is_writer || file->is_sync_failed) {
        return SQLITE_IOERR_FSYNC;
    }
    if (sync_dir_if_dirty(file->vfs) == OK && file->vfs->disk->ops->sync(file->file, NULL) == OK) {
        note_synced(file);
        return SQLITE_OK;
    }
    file->is_sync_failed = true;
    if (file->wal != NULL) { /* else it is trusted: no worse than a disk that lies */
        file->wal->is_sync_failed = true;
    }
    return SQLITE_IOERR_FSYNC;
}

static int vfs_size(sqlite3_file *base, sqlite3_int64 *ret_size)
{
    struct vfs_file *file = file_of(base);
    uint64_t size_bytes = 0;
    if (is_there(file) && file->vfs->disk->ops->size(file->file, &size_bytes, NULL) != OK) {
        return SQLITE_IOERR_FSTAT;
    }
    *ret_size = (sqlite3_int64)size_bytes;
    return SQLITE_OK;
}

static int vfs_no_lock(sqlite3_file *base, int level)
{
    (void)base;
    (void)level;
    return SQLITE_OK;
}

static int vfs_check_reserved(sqlite3_file *base, int *ret_is_reserved)
{
    (void)base;
    *ret_is_reserved = 0;
    return SQLITE_OK;
}

static int vfs_control(sqlite3_file *base, int op, void *arg)
{
    (void)base;
    (void)op;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int vfs_sector_size(sqlite3_file *base)
{
    (void)base;
    return VFS_SECTOR_BYTES;
}

static int vfs_characteristics(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE; /* a torn write hurts no bytes beside it */
}

/* ---- the wal-index ----------------------------------------------------------------------------
 */

static int vfs_shm_map(sqlite3_file *base, int index, int size, int extend, void volatile **ret_at)
{
    struct vfs_file *file = file_of(base);
    struct vfs *vfs = file->vfs;
    void *at = NULL;
    enum err err = OK;
    pthread_mutex_lock(&vfs->lock);
    if (file->shm == NULL) {
        file->shm = shm_take(&vfs->shm, file->name);
    }
    err = file->shm ? shm_map(file->shm, (uint32_t)index, (size_t)size, extend != 0, &at) : E_NOMEM;
    pthread_mutex_unlock(&vfs->lock);
    *ret_at = at;
    return err == OK ? SQLITE_OK : SQLITE_IOERR_NOMEM;
}

static int vfs_shm_lock(sqlite3_file *base, int first, int count, int flags)
{
    struct vfs_file *file = file_of(base);
    ASSERT(first >= 0 && count >= 1 && first + count <= SHM_LOCK_COUNT && file->shm != NULL);
    uint32_t mask = ((1U << count) - 1U) << first;
    bool is_free = true;
    pthread_mutex_lock(&file->vfs->lock);
    if (flags & SQLITE_SHM_UNLOCK) {
        shm_unlock(file->shm, &file->held, mask);
    } else {
        is_free = shm_lock(file->shm, &file->held, mask, (flags & SQLITE_SHM_EXCLUSIVE) != 0);
    }
    pthread_mutex_unlock(&file->vfs->lock);
    return is_free ? SQLITE_OK : SQLITE_BUSY;
}

static void vfs_shm_barrier(sqlite3_file *base)
{
    struct vfs_file *file = file_of(base);
    atomic_thread_fence(memory_order_seq_cst);
    pthread_mutex_lock(&file->vfs->lock); /* as SQLite's own VFS does it */
    pthread_mutex_unlock(&file->vfs->lock);
}

static int vfs_shm_unmap(sqlite3_file *base, int is_deleting)
{
    struct vfs_file *file = file_of(base);
    (void)is_deleting; /* goes with its last user */
    pthread_mutex_lock(&file->vfs->lock);
    if (file->shm != NULL) {
        shm_unlock(file->shm, &file->held, UINT32_MAX);
        shm_give(&file->vfs->shm, file->shm);
        file->shm = NULL;
    }
    pthread_mutex_unlock(&file->vfs->lock);
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = vfs_close,
    .xRead = vfs_read,
    .xWrite = vfs_write,
    .xTruncate = vfs_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_size,
    .xLock = vfs_no_lock,
    .xUnlock = vfs_no_lock,
    .xCheckReservedLock = vfs_check_reserved,
    .xFileControl = vfs_control,
    .xSectorSize = vfs_sector_size,
    .xDeviceCharacteristics = vfs_characteristics,
    .xShmMap = vfs_shm_map,
    .xShmLock = vfs_shm_lock,
    .xShmBarrier = vfs_shm_barrier,
    .xShmUnmap = vfs_shm_unmap,
};

/* ---- names ---------------------------------------------------------------------------------- */

static struct vfs *vfs_of(sqlite3_vfs *base)
{
    return base->pAppData;
}

static void note_dir_dirty(struct vfs *vfs)
{
    pthread_mutex_lock(&vfs->lock);
    vfs->is_dir_dirty = true;
    pthread_mutex_unlock(&vfs->lock);
}

static enum err open_file(struct vfs_file *file)
{
    struct disk *disk = file->vfs->disk;
    enum err err =
            disk->ops->open(disk, file->name, file->is_writer ? DISK_WRITE : 0, &file->file, NULL);
    if (err != E_NOT_FOUND) {
        return err;
    }
    if (!file->is_writer) {
        return is_wal_name(file->name) ? OK : E_NOT_FOUND;
    }
    note_dir_dirty(file->vfs);
    return disk->ops->open(disk, file->name, DISK_WRITE | DISK_CREATE, &file->file, NULL);
}

static int vfs_open(
        sqlite3_vfs *base, const char *name, sqlite3_file *base_file, int flags, int *ret_flags)
{
    struct vfs_file *file = file_of(base_file);
    *file = (struct vfs_file){ .vfs = vfs_of(base), .is_writer = base == &vfs_of(base)->writer };
    if (name == NULL || strlen(name) >= sizeof file->name) {
        return SQLITE_CANTOPEN; /* no temporary files: temp_store is memory */
    }
    fmt(file->name, sizeof file->name, "%s", name);
    if (open_file(file) != OK) {
        file->file = NULL;
        return SQLITE_CANTOPEN;
    }
    if (file->is_writer && (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) != 0) {
        file->wal = wal_find_or_add(file->vfs, file->name);
    }
    base_file->pMethods = &methods;
    if (ret_flags != NULL) {
        *ret_flags = flags;
    }
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *base, const char *name, int is_dir_synced)
{
    struct vfs *vfs = vfs_of(base);
    if (base == &vfs->reader) {
        return SQLITE_READONLY;
    }
    struct wal *wal = is_wal_name(name) ? wal_find(vfs, name) : NULL;
    if (wal != NULL) {
        wal->synced_bytes = 0;
    }
    enum err err = vfs->disk->ops->remove(vfs->disk, name, NULL);
    if (err == E_NOT_FOUND) {
        return SQLITE_IOERR_DELETE_NOENT;
    }
    if (err == OK && is_dir_synced) {
        err = vfs->disk->ops->sync_dir(vfs->disk, NULL);
    }
    return err == OK ? SQLITE_OK : SQLITE_IOERR_DELETE;
}

static int vfs_access(sqlite3_vfs *base, const char *name, int flags, int *ret_is_there)
{
    struct disk *disk = vfs_of(base)->disk;
    struct disk_file *file;
    (void)flags;
    enum err err = disk->ops->open(disk, name, 0, &file, NULL);
    if (err == OK) {
        disk->ops->close(file);
    }
    *ret_is_there = err == OK;
    return err == OK || err == E_NOT_FOUND ? SQLITE_OK : SQLITE_IOERR_ACCESS;
}

static int vfs_full_name(sqlite3_vfs *base, const char *name, int cap, char *dst)
{
    (void)base;
    return str_to_c(str_from_c(name), dst, (size_t)cap) ? SQLITE_OK : SQLITE_CANTOPEN;
}

/* Not ours to make: as the system's VFS does it. Only readers that meet the scribe ever sleep. */
static int vfs_randomness(sqlite3_vfs *base, int len, char *dst)
{
    (void)base;
    sqlite3_vfs *system = sqlite3_vfs_find(NULL);
    return system->xRandomness(system, len, dst);
}

static int vfs_sleep(sqlite3_vfs *base, int us)
{
    (void)base;
    sqlite3_vfs *system = sqlite3_vfs_find(NULL);
    return system->xSleep(system, us);
}

/* No SQL of ours asks for the time. */
static int vfs_time(sqlite3_vfs *base, sqlite3_int64 *ret_julian_ms)
{
    (void)base;
    *ret_julian_ms = 0;
    return SQLITE_OK;
}

static sqlite3_vfs ops_for(struct vfs *vfs, const char *name)
{
    return (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = sizeof(struct vfs_file),
        .mxPathname = VFS_NAME_BYTES_MAX - 1,
        .zName = name,
        .pAppData = vfs,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_name,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTimeInt64 = vfs_time,
    };
}

/* ---- the list ------------------------------------------------------------------------------- */

static void vfs_free(struct vfs *vfs)
{
    ASSERT(vfs->shm == NULL); /* no connection is left */
    while (vfs->wals != NULL) {
        struct wal *wal = vfs->wals;
        vfs->wals = wal->next;
        mem_free(wal);
    }
    pthread_rwlock_destroy(&vfs->names);
    pthread_mutex_destroy(&vfs->lock);
    mem_free(vfs);
}

static struct vfs *vfs_new(struct disk *disk)
{
    struct vfs *vfs = mem_new(sizeof *vfs);
    if (vfs == NULL) {
        return NULL;
    }
    vfs->disk = disk;
    pthread_mutex_init(&vfs->lock, NULL);
    pthread_rwlock_init(&vfs->names, NULL);
    fmt(vfs->writer_name, sizeof vfs->writer_name, "outpost-w-%p", (void *)disk);
    fmt(vfs->reader_name, sizeof vfs->reader_name, "outpost-r-%p", (void *)disk);
    vfs->writer = ops_for(vfs, vfs->writer_name);
    vfs->reader = ops_for(vfs, vfs->reader_name);
    if (sqlite3_vfs_register(&vfs->writer, 0) != SQLITE_OK ||
            sqlite3_vfs_register(&vfs->reader, 0) != SQLITE_OK) {
        sqlite3_vfs_unregister(&vfs->writer);
        vfs_free(vfs);
        return NULL;
    }
    return vfs;
}

enum err vfs_take(struct disk *disk, struct vfs **ret_vfs)
{
    pthread_mutex_lock(&list_lock);
    struct vfs *vfs = list_first;
    while (vfs != NULL && vfs->disk != disk) {
        vfs = vfs->next;
    }
    if (vfs == NULL) {
        vfs = vfs_new(disk);
        if (vfs != NULL) {
            vfs->next = list_first;
            list_first = vfs;
        }
    }
    if (vfs != NULL) {
        vfs->users++;
        *ret_vfs = vfs;
    }
    pthread_mutex_unlock(&list_lock);
    return vfs ? OK : E_NOMEM;
}

void vfs_give(struct vfs *vfs)
{
    if (vfs == NULL) {
        return;
    }
    pthread_mutex_lock(&list_lock);
    ASSERT(vfs->users > 0);
    if (--vfs->users == 0) {
        struct vfs **link = &list_first;
        while (*link != vfs) {
            link = &(*link)->next;
        }
        *link = vfs->next;
        sqlite3_vfs_unregister(&vfs->writer);
        sqlite3_vfs_unregister(&vfs->reader);
        vfs_free(vfs);
    }
    pthread_mutex_unlock(&list_lock);
}

const char *vfs_writer_name(const struct vfs *vfs)
{
    return vfs->writer_name;
}

const char *vfs_reader_name(const struct vfs *vfs)
{
    return vfs->reader_name;
}

void vfs_begin_reading(struct vfs *vfs)
{
    pthread_rwlock_rdlock(&vfs->names);
}

void vfs_end_reading(struct vfs *vfs)
{
    pthread_rwlock_unlock(&vfs->names);
}

static enum err remove_beside(
        struct vfs *vfs, const char *name, const char *suffix, struct why *why)
{
    char beside[VFS_NAME_BYTES_MAX + 16];
    fmt(beside, sizeof beside, "%s%s", name, suffix);
    enum err err = vfs->disk->ops->remove(vfs->disk, beside, why);
    return err == E_NOT_FOUND ? OK : err;
}

enum err vfs_remove(struct vfs *vfs, const char *name, struct why *why)
{
    pthread_rwlock_wrlock(&vfs->names);
    /* the database first: a WAL alone is nothing, a database without its WAL would be older */
    enum err err = remove_beside(vfs, name, "", why);
    if (err == OK) {
        err = remove_beside(vfs, name, "-wal", why);
    }
    if (err == OK) {
        err = remove_beside(vfs, name, "-journal", why);
    }
    wal_forget(vfs, name);
    note_dir_dirty(vfs);
    pthread_rwlock_unlock(&vfs->names);
    return err;
}

bool vfs_sync_failed(struct vfs *vfs, const char *name)
{
    const struct wal *wal = wal_find(vfs, name);
    return wal != NULL && wal->is_sync_failed;
}

static enum err write_again(
        struct vfs *vfs, const char *name, struct disk_file *file, uint64_t from, struct why *why)
{
    char bytes[COPY_BYTES];
    size_t len = sizeof bytes;
    enum err err = OK;
    for (uint64_t at = from; err == OK && len == sizeof bytes; at += len) {
        err = vfs->disk->ops->read(file, bytes, sizeof bytes, at, &len, why);
        if (err == E_IO) {
            note_unreadable(vfs, name);
        }
        if (err == OK && len > 0) {
            struct iovec iov = { bytes, len };
            err = vfs->disk->ops->write(file, &iov, 1, at, why);
        }
    }
    return err == OK ? vfs->disk->ops->sync(file, why) : err;
}

enum err vfs_mend(struct vfs *vfs, const char *name, struct why *why)
{
    struct wal *wal = wal_find(vfs, name);
    char beside[VFS_NAME_BYTES_MAX + 16];
    struct disk_file *file;
    fmt(beside, sizeof beside, "%s-wal", name);
    pthread_rwlock_wrlock(&vfs->names); /* no reader keeps the wal-index: it is made anew */
    enum err err = vfs->disk->ops->open(vfs->disk, beside, DISK_WRITE, &file, why);
    if (err == OK) {
        err = write_again(vfs, name, file, wal->synced_bytes, why);
        vfs->disk->ops->close(file);
    }
    if (err == OK || err == E_NOT_FOUND) {
        err = vfs->disk->ops->sync_dir(vfs->disk, why);
    }
    if (err == OK) {
        wal->is_sync_failed = false;
    }
    pthread_rwlock_unlock(&vfs->names);
    return err;
}

bool vfs_read_failed(struct vfs *vfs, const char *name)
{
    pthread_mutex_lock(&vfs->lock);
    bool is_failed = str_starts(str_from_c(vfs->unreadable), str_from_c(name));
    if (is_failed) {
        vfs->unreadable[0] = '\0';
    }
    pthread_mutex_unlock(&vfs->lock);
    return is_failed;
}
