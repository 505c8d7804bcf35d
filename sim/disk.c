/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.c - the simulated disk; see disk.h for what it promises and what it loses.
 *
 * Pages are shared by counted references, so that a fork costs a table of pointers: the crash
 * enumerator makes hundreds of thousands of them.
 */
#include "sim/disk.h"

#include "core/buf.h"
#include "core/str.h"

enum {
    PAGE = 4096,
    SECTORS_A_PAGE = PAGE / SIM_SECTOR_BYTES,
    NAME_MAX_BYTES = 64,
    BAD_COUNT_MAX = 64
};

struct page {
    uint8_t data[PAGE]; /* first: aligned copies are twice as fast */
    uint32_t refs;
};
/* A layer of a file: pages, NULL is zeros. */
struct layer {
    struct page **page;
    uint32_t page_count;
    uint64_t size_bytes;
};
struct inode {
    char name[NAME_MAX_BYTES];
    bool is_listed;  /* the name is there, in the cache */
    bool is_durable; /* the name is on the medium */
    bool is_used;
    uint32_t handle_count; /* a removed file stays until the last one is closed */
    struct layer cache, medium;
};
struct sector {
    uint32_t refs; /* forks share them */
    uint32_t inode;
    uint32_t number;     /* in the file */
    const uint8_t *data; /* own_data, or zeros: most of a new slot */
    uint8_t own_data[];
};
static const uint8_t zeros[SIM_SECTOR_BYTES];
struct fault {
    uint64_t nth, count;
    enum err err;
    uint32_t per_million;
    enum err random_err;
};
struct bad_range {
    uint32_t inode;
    uint64_t from, to;
};
struct sim_disk {
    struct disk base;
    struct prng prng;
    struct inode *inode;
    uint32_t inode_count, inode_cap;
    struct sector **pending;
    uint32_t pending_count, pending_cap;
    uint64_t generation;
    uint64_t steps, cut_step;
    bool is_cut, is_locked;
    enum disk_kind kind;
    uint64_t capacity;
    struct fault fault[SIM_DISK_CALL_COUNT];
    enum err dirty_sync_err;
    struct bad_range bad[BAD_COUNT_MAX];
    uint32_t bad_count;
    struct sim_disk_hook hook;
    struct sim_disk_counts counts;
};
struct handle {
    struct disk_file base;
    uint32_t inode;
    uint64_t generation;
    uint32_t flags;
};

static const char *const call_names[] = { "open", "read", "write", "sync", "truncate", "size",
    "remove", "list", "sync_dir", "space", "lock" };
static_assert(COUNT_OF(call_names) == SIM_DISK_CALL_COUNT, "a name for each call");

const char *sim_disk_call_name(enum sim_disk_call call)
{
    return call_names[call];
}

struct sim_disk *sim_disk_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct sim_disk, base);
}

static struct handle *handle_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct handle, base);
}

/* Memory of the simulation never runs out: tests that fail allocations mean the product's. */
static void *must_new(size_t size_bytes)
{
    void *ptr = calloc(1, size_bytes);
    ASSERT(ptr != NULL);
    return ptr;
}

static void *must_grow(void *ptr, size_t size_bytes)
{
    ptr = realloc(ptr, size_bytes);
    ASSERT(ptr != NULL);
    return ptr;
}

static bool is_zeros(const uint8_t *bytes, size_t len)
{
    return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* ---- layers
 * -------------------------------------------------------------------------------------- */

static void page_give(struct page *page)
{
    if (page != NULL && --page->refs == 0) {
        free(page);
    }
}

static void layer_done(struct layer *layer)
{
    for (uint32_t i = 0; i < layer->page_count; i++) {
        page_give(layer->page[i]);
    }
    free(layer->page);
    *layer = (struct layer){ 0 };
}

static void layer_copy(struct layer *dst, const struct layer *src)
{
    *dst = (struct layer){ .page_count = src->page_count, .size_bytes = src->size_bytes };
    dst->page = must_new((src->page_count + 1) * sizeof(struct page *));
    for (uint32_t i = 0; i < src->page_count; i++) {
        dst->page[i] = src->page[i];
        if (dst->page[i] != NULL) {
            dst->page[i]->refs++;
        }
    }
}

static bool layer_has_page(const struct layer *layer, uint64_t number)
{
    return number < layer->page_count && layer->page[number] != NULL;
}

static uint8_t *layer_page(struct layer *layer, uint32_t number)
{
    if (number >= layer->page_count) {
        uint32_t count = number + 1;
        layer->page = must_grow(layer->page, count * sizeof(struct page *));
        memset(layer->page + layer->page_count, 0,
                (count - layer->page_count) * sizeof(struct page *));
        layer->page_count = count;
    }
    struct page *page = layer->page[number];
    if (page == NULL || page->refs > 1) {
        struct page *own = must_new(sizeof *own);
        own->refs = 1;
        if (page != NULL) {
            memcpy(own->data, page->data, PAGE);
            page->refs--;
        }
        layer->page[number] = own;
    }
    return layer->page[number]->data;
}

static void layer_write(struct layer *layer, uint64_t at, const uint8_t *src, size_t len)
{
    while (len > 0) {
        size_t in_page = (size_t)(at % PAGE);
        size_t part = PAGE - in_page < len ? PAGE - in_page : len;
        if (layer_has_page(layer, at / PAGE) || !is_zeros(src, part)) {
            memcpy(layer_page(layer, (uint32_t)(at / PAGE)) + in_page, src, part);
        }
        at += part;
        src += part;
        len -= part;
    }
}

static void layer_read(const struct layer *layer, uint64_t at, uint8_t *dst, size_t len)
{
    while (len > 0) {
        size_t in_page = (size_t)(at % PAGE);
        size_t part = PAGE - in_page < len ? PAGE - in_page : len;
        uint64_t number = at / PAGE;
        if (layer_has_page(layer, number)) {
            memcpy(dst, layer->page[number]->data + in_page, part);
        } else {
            memset(dst, 0, part);
        }
        at += part;
        dst += part;
        len -= part;
    }
}

static void layer_cut(struct layer *layer, uint64_t size_bytes)
{
    uint32_t keep = (uint32_t)((size_bytes + PAGE - 1) / PAGE);
    for (uint32_t i = keep; i < layer->page_count; i++) {
        page_give(layer->page[i]);
    }
    layer->page_count = keep < layer->page_count ? keep : layer->page_count;
    if (size_bytes % PAGE != 0 && keep > 0 && keep <= layer->page_count && layer->page[keep - 1]) {
        memset(layer_page(layer, keep - 1) + size_bytes % PAGE, 0, PAGE - size_bytes % PAGE);
    }
    layer->size_bytes = size_bytes;
}

/* ---- pending sectors
 * ------------------------------------------------------------------------------- */

static void pending_add(struct sim_disk *disk, uint32_t inode, uint32_t number)
{
    if (disk->pending_count == disk->pending_cap) {
        disk->pending_cap = disk->pending_cap ? disk->pending_cap * 2 : 64;
        disk->pending = must_grow(disk->pending, disk->pending_cap * sizeof(struct sector *));
    }
    uint8_t data[SIM_SECTOR_BYTES];
    layer_read(&disk->inode[inode].cache, (uint64_t)number * SIM_SECTOR_BYTES, data, sizeof data);
    size_t own_bytes = is_zeros(data, sizeof data) ? 0 : sizeof data;
    struct sector *sector = must_new(sizeof *sector + own_bytes);
    *sector = (struct sector){ 1, inode, number, own_bytes ? sector->own_data : zeros };
    memcpy(sector->own_data, data, own_bytes);
    disk->pending[disk->pending_count++] = sector;
}

static void sector_give(struct sector *sector)
{
    if (--sector->refs == 0) {
        free(sector);
    }
}

static void sector_to_medium(struct sim_disk *disk, const struct sector *sector)
{
    struct inode *inode = &disk->inode[sector->inode];
    layer_write(&inode->medium, (uint64_t)sector->number * SIM_SECTOR_BYTES, sector->data,
            SIM_SECTOR_BYTES);
}

/* Takes the sectors of one file (all files: UINT32_MAX) off the list; those for which the coin says
 * so go to the medium. */
static void pending_settle(struct sim_disk *disk, uint32_t inode, bool is_whole)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < disk->pending_count; i++) {
        struct sector *sector = disk->pending[i];
        if (sector->inode != inode) {
            disk->pending[kept++] = sector;
            continue;
        }
        if (is_whole || prng_below(&disk->prng, 2) == 0) {
            sector_to_medium(disk, sector);
        }
        sector_give(sector);
    }
    disk->pending_count = kept;
}

static void pending_drop(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->pending_count; i++) {
        sector_give(disk->pending[i]);
    }
    disk->pending_count = 0;
}

/* ---- inodes
 * ------------------------------------------------------------------------------------------- */

static bool inode_find(const struct sim_disk *disk, const char *name, uint32_t *ret_inode)
{
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        if (disk->inode[i].is_used && disk->inode[i].is_listed &&
                strcmp(disk->inode[i].name, name) == 0) {
            *ret_inode = i;
            return true;
        }
    }
    return false;
}

static uint32_t inode_room(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        if (!disk->inode[i].is_used) {
            return i;
        }
    }
    if (disk->inode_count == disk->inode_cap) {
        disk->inode_cap = disk->inode_cap ? disk->inode_cap * 2 : 16;
        disk->inode = must_grow(disk->inode, disk->inode_cap * sizeof *disk->inode);
    }
    return disk->inode_count++;
}

static uint32_t inode_new(struct sim_disk *disk, const char *name)
{
    uint32_t number = inode_room(disk);
    struct inode *inode = &disk->inode[number];
    *inode = (struct inode){ .is_used = true, .is_listed = true };
    fmt(inode->name, sizeof inode->name, "%s", name);
    return number;
}

static void inode_drop(struct sim_disk *disk, uint32_t number)
{
    struct inode *inode = &disk->inode[number];
    layer_done(&inode->cache);
    layer_done(&inode->medium);
    *inode = (struct inode){ 0 };
}

/* A file whose name is gone for good takes its sectors along. */
static void inodes_sweep(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        struct inode *inode = &disk->inode[i];
        if (inode->is_used && !inode->is_listed && !inode->is_durable && inode->handle_count == 0) {
            pending_settle(disk, i, false);
            inode_drop(disk, i);
        }
    }
}

static uint64_t used_bytes(const struct sim_disk *disk)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        if (disk->inode[i].is_used && disk->inode[i].is_listed) {
            used += disk->inode[i].cache.size_bytes;
        }
    }
    return used;
}

/* ---- faults
 * --------------------------------------------------------------------------------------------- */

static enum err fault_draw(struct sim_disk *disk, enum sim_disk_call call)
{
    struct fault *fault = &disk->fault[call];
    if (fault->nth > 0 && --fault->nth == 0) {
        if (fault->count > 1) {
            fault->count--;
            fault->nth = 1;
        }
        disk->counts.fault_count++;
        return fault->err;
    }
    if (fault->per_million > 0 && prng_chance(&disk->prng, fault->per_million)) {
        disk->counts.fault_count++;
        return fault->random_err;
    }
    return OK;
}

/* What comes before every call: the cut, the hook, the faults. */
static enum err call_begin(
        struct sim_disk *disk, enum sim_disk_call call, bool changes, struct why *why)
{
    if (changes && !disk->is_cut) {
        disk->steps++;
        if (disk->hook.before != NULL) {
            disk->hook.before(disk->hook.ctx, disk, call);
        }
        disk->is_cut = disk->is_cut || (disk->cut_step != 0 && disk->steps >= disk->cut_step);
    }
    disk->counts.calls[call]++;
    enum err err = disk->is_cut ? E_IO : fault_draw(disk, call);
    if (err != OK) {
        disk->counts.failed[call]++;
        why_set(why, "%s: %s (simulated)", call_names[call], err_name(err));
    }
    return err;
}

static enum err handle_check(struct handle *handle, struct why *why)
{
    if (handle->generation != sim_disk_of(handle->base.disk)->generation) {
        why_set(why, "the file was open before the crash");
        return E_IO;
    }
    return OK;
}

/* ---- the calls
 * -------------------------------------------------------------------------------------------- */

static enum err op_open(struct disk *base, const char *name, uint32_t flags,
        struct disk_file **ret_file, struct why *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    uint32_t inode;
    bool is_there = inode_find(disk, name, &inode);
    enum err err = call_begin(disk, SIM_DISK_OPEN, !is_there && (flags & DISK_CREATE), why);
    if (err != OK) {
        return err;
    }
    if (is_there && (flags & DISK_CREATE) && (flags & DISK_EXCLUSIVE)) {
        why_set(why, "%s: is there already", name);
        return E_EXISTS;
    }
    if (!is_there && !(flags & DISK_CREATE)) {
        why_set(why, "%s: no such file", name);
        return E_NOT_FOUND;
    }
    if (!is_there) {
        inode = inode_new(disk, name);
    }
    struct handle *handle = mem_new(sizeof *handle);
    if (handle == NULL) {
        return E_NOMEM;
    }
    *handle = (struct handle){ { base }, inode, disk->generation, flags };
    disk->inode[inode].handle_count++;
    *ret_file = &handle->base;
    return OK;
}

static void op_close(struct disk_file *file)
{
    struct handle *handle = handle_of(file);
    struct sim_disk *disk = sim_disk_of(file->disk);
    if (handle->generation == disk->generation) {
        disk->inode[handle->inode].handle_count--;
        inodes_sweep(disk);
    }
    mem_free(handle);
}

static bool is_bad(const struct sim_disk *disk, uint32_t inode, uint64_t from, uint64_t to)
{
    for (uint32_t i = 0; i < disk->bad_count; i++) {
        const struct bad_range *bad = &disk->bad[i];
        if (bad->inode == inode && from < bad->to && bad->from < to) {
            return true;
        }
    }
    return false;
}

/* Past the cache: what the medium has, with what is on its way to it. */
static void read_uncached(
        struct sim_disk *disk, uint32_t inode, uint64_t at, uint8_t *dst, size_t len)
{
    layer_read(&disk->inode[inode].medium, at, dst, len);
    for (uint32_t i = 0; i < disk->pending_count; i++) {
        const struct sector *sector = disk->pending[i];
        uint64_t from = (uint64_t)sector->number * SIM_SECTOR_BYTES;
        uint64_t to = from + SIM_SECTOR_BYTES;
        if (sector->inode != inode || to <= at || from >= at + len) {
            continue;
        }
        uint64_t begin = from > at ? from : at;
        uint64_t end = to < at + len ? to : at + len;
        memcpy(dst + (begin - at), sector->data + (begin - from), (size_t)(end - begin));
    }
}

static enum err op_read(struct disk_file *file, void *dst, size_t len, uint64_t offset,
        size_t *ret_len, struct why *why)
{
    struct handle *handle = handle_of(file);
    struct sim_disk *disk = sim_disk_of(file->disk);
    enum err err = handle_check(handle, why);
    err = err == OK ? call_begin(disk, SIM_DISK_READ, false, why) : err;
    if (err != OK) {
        return err;
    }
    const struct inode *inode = &disk->inode[handle->inode];
    uint64_t size = inode->cache.size_bytes;
    size_t part = offset >= size ? 0 : size - offset < len ? (size_t)(size - offset) : len;
    if (is_bad(disk, handle->inode, offset, offset + part)) {
        why_set(why, "%s: bad sector", inode->name);
        return E_IO;
    }
    if (handle->flags & DISK_UNCACHED) {
        read_uncached(disk, handle->inode, offset, dst, part);
    } else {
        layer_read(&inode->cache, offset, dst, part);
    }
    *ret_len = part;
    return OK;
}

static void bad_heal(struct sim_disk *disk, uint32_t inode, uint64_t from, uint64_t to)
{
    for (uint32_t i = 0; i < disk->bad_count; i++) {
        struct bad_range *bad = &disk->bad[i];
        if (bad->inode == inode && from <= bad->from && bad->to <= to) {
            *bad = disk->bad[--disk->bad_count];
            i--;
        }
    }
}

static void write_bytes(struct sim_disk *disk, uint32_t number, const struct iovec *iov,
        uint32_t iov_count, uint64_t offset, uint64_t len)
{
    struct inode *inode = &disk->inode[number];
    uint64_t at = offset, left = len;
    for (uint32_t i = 0; i < iov_count && left > 0; i++) {
        uint64_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        layer_write(&inode->cache, at, iov[i].iov_base, (size_t)part);
        at += part;
        left -= part;
    }
    inode->cache.size_bytes = at > inode->cache.size_bytes ? at : inode->cache.size_bytes;
    for (uint64_t s = offset / SIM_SECTOR_BYTES; s * SIM_SECTOR_BYTES < at; s++) {
        pending_add(disk, number, (uint32_t)s);
    }
    bad_heal(disk, number, offset, at);
    disk->counts.written_bytes += len;
}

static uint64_t iov_bytes(const struct iovec *iov, uint32_t iov_count)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < iov_count; i++) {
        bytes += iov[i].iov_len;
    }
    return bytes;
}

static enum err op_write(struct disk_file *file, const struct iovec *iov, uint32_t iov_count,
        uint64_t offset, struct why *why)
{
    struct handle *handle = handle_of(file);
    struct sim_disk *disk = sim_disk_of(file->disk);
    enum err err = handle_check(handle, why);
    err = err == OK ? call_begin(disk, SIM_DISK_WRITE, true, why) : err;
    uint64_t len = iov_bytes(iov, iov_count);
    if (disk->is_cut || handle->generation != disk->generation) {
        return E_IO;
    }
    if (err != OK) { /* a part may have been written */
        write_bytes(disk, handle->inode, iov, iov_count, offset, prng_below(&disk->prng, len + 1));
        return err;
    }
    uint64_t size = disk->inode[handle->inode].cache.size_bytes;
    uint64_t grown = offset + len > size ? offset + len - size : 0;
    if (grown > 0 && used_bytes(disk) + grown > disk->capacity) {
        disk->counts.failed[SIM_DISK_WRITE]++;
        disk->counts.full_count++;
        why_set(why, "%s: no space left (simulated)", disk->inode[handle->inode].name);
        return E_NO_SPACE;
    }
    write_bytes(disk, handle->inode, iov, iov_count, offset, len);
    return OK;
}

static bool is_dirty(const struct sim_disk *disk, uint32_t inode)
{
    for (uint32_t i = 0; i < disk->pending_count; i++) {
        if (disk->pending[i]->inode == inode) {
            return true;
        }
    }
    return false;
}

static enum err op_sync(struct disk_file *file, struct why *why)
{
    struct handle *handle = handle_of(file);
    struct sim_disk *disk = sim_disk_of(file->disk);
    enum err err = handle_check(handle, why);
    err = err == OK ? call_begin(disk, SIM_DISK_SYNC, true, why) : err;
    if (disk->is_cut || handle->generation != disk->generation) {
        return E_IO;
    }
    struct inode *inode = &disk->inode[handle->inode];
    if (err == OK && disk->dirty_sync_err != OK && is_dirty(disk, handle->inode)) {
        err = disk->dirty_sync_err;
        disk->dirty_sync_err = OK;
        disk->counts.failed[SIM_DISK_SYNC]++;
        why_set(why, "sync: %s (simulated)", err_name(err));
    }
    pending_settle(disk, handle->inode, err == OK);
    if (err == OK || prng_below(&disk->prng, 2) == 0) {
        inode->medium.size_bytes = inode->cache.size_bytes;
    }
    return err;
}

static enum err op_truncate(struct disk_file *file, uint64_t size_bytes, struct why *why)
{
    struct handle *handle = handle_of(file);
    struct sim_disk *disk = sim_disk_of(file->disk);
    enum err err = handle_check(handle, why);
    err = err == OK ? call_begin(disk, SIM_DISK_TRUNCATE, true, why) : err;
    if (err != OK) {
        return err;
    }
    struct inode *inode = &disk->inode[handle->inode];
    uint64_t grown =
            size_bytes > inode->cache.size_bytes ? size_bytes - inode->cache.size_bytes : 0;
    if (grown > 0 && used_bytes(disk) + grown > disk->capacity) {
        disk->counts.failed[SIM_DISK_TRUNCATE]++;
        disk->counts.full_count++;
        return E_NO_SPACE;
    }
    uint64_t old = inode->cache.size_bytes;
    layer_cut(&inode->cache, size_bytes);
    /* what was cut off and may come back later must be zeros then, once it is synced */
    for (uint64_t s = (size_bytes + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES;
            s * SIM_SECTOR_BYTES < old; s++) {
        pending_add(disk, handle->inode, (uint32_t)s);
    }
    if (size_bytes % SIM_SECTOR_BYTES != 0 && size_bytes < old) {
        pending_add(disk, handle->inode, (uint32_t)(size_bytes / SIM_SECTOR_BYTES));
    }
    return OK;
}

static enum err op_size(struct disk_file *file, uint64_t *ret_bytes, struct why *why)
{
    struct handle *handle = handle_of(file);
    struct sim_disk *disk = sim_disk_of(file->disk);
    enum err err = handle_check(handle, why);
    err = err == OK ? call_begin(disk, SIM_DISK_SIZE, false, why) : err;
    if (err == OK) {
        *ret_bytes = disk->inode[handle->inode].cache.size_bytes;
    }
    return err;
}

static enum err op_remove(struct disk *base, const char *name, struct why *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    uint32_t inode;
    enum err err = call_begin(disk, SIM_DISK_REMOVE, true, why);
    if (err != OK) {
        return err;
    }
    if (!inode_find(disk, name, &inode)) {
        return E_NOT_FOUND;
    }
    disk->inode[inode].is_listed = false;
    return OK;
}

static enum err op_list(
        struct disk *base, void (*each)(void *ctx, const char *name), void *ctx, struct why *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    enum err err = call_begin(disk, SIM_DISK_LIST, false, why);
    for (uint32_t i = 0; err == OK && i < disk->inode_count; i++) {
        if (disk->inode[i].is_used && disk->inode[i].is_listed) {
            each(ctx, disk->inode[i].name);
        }
    }
    return err;
}

static enum err op_sync_dir(struct disk *base, struct why *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    enum err err = call_begin(disk, SIM_DISK_SYNC_DIR, true, why);
    for (uint32_t i = 0; err == OK && i < disk->inode_count; i++) {
        disk->inode[i].is_durable = disk->inode[i].is_used && disk->inode[i].is_listed;
    }
    inodes_sweep(disk);
    return err;
}

static enum err op_space(struct disk *base, struct disk_space *ret_space, struct why *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    enum err err = call_begin(disk, SIM_DISK_SPACE, false, why);
    if (err != OK) {
        return err;
    }
    uint64_t total = disk->capacity == UINT64_MAX ? (uint64_t)1 << 40 : disk->capacity;
    uint64_t used = used_bytes(disk);
    disk->counts.full_count += used >= total;
    *ret_space = (struct disk_space){ used < total ? total - used : 0, total, disk->kind };
    return OK;
}

static enum err op_lock(struct disk *base, struct why *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    enum err err = call_begin(disk, SIM_DISK_LOCK, false, why);
    if (err == OK && disk->is_locked) {
        why_set(why, "held by somebody else");
        return E_BUSY;
    }
    disk->is_locked = disk->is_locked || err == OK;
    return err;
}

static void op_close_disk(struct disk *base)
{
    sim_disk_of(base)->is_locked = false;
}

static const struct disk_ops sim_ops = { op_open, op_close, op_read, op_write, op_sync, op_truncate,
    op_size, op_remove, op_list, op_sync_dir, op_space, op_lock, op_close_disk };

/* ---- making, forking, crashing
 * ----------------------------------------------------------------------------- */

struct sim_disk *sim_disk_new(uint64_t seed)
{
    struct sim_disk *disk = must_new(sizeof *disk);
    disk->base.ops = &sim_ops;
    disk->capacity = UINT64_MAX;
    prng_init(&disk->prng, seed);
    return disk;
}

void sim_disk_free(struct sim_disk *disk)
{
    if (disk == NULL) {
        return;
    }
    pending_drop(disk);
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        inode_drop(disk, i);
    }
    free(disk->inode);
    free(disk->pending);
    free(disk);
}

struct disk *sim_disk_as_disk(struct sim_disk *disk)
{
    return &disk->base;
}

struct sim_disk *sim_disk_fork(const struct sim_disk *disk, uint64_t seed)
{
    struct sim_disk *fork = sim_disk_new(seed);
    fork->kind = disk->kind;
    fork->capacity = disk->capacity;
    fork->inode = must_new((disk->inode_count + 1) * sizeof *fork->inode);
    fork->inode_cap = disk->inode_count + 1;
    fork->inode_count = disk->inode_count;
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        fork->inode[i] = disk->inode[i];
        fork->inode[i].handle_count = 0;
        if (!disk->inode[i].is_used) {
            continue;
        }
        layer_copy(&fork->inode[i].cache, &disk->inode[i].cache);
        layer_copy(&fork->inode[i].medium, &disk->inode[i].medium);
    }
    fork->pending = must_new((disk->pending_count + 1) * sizeof(struct sector *));
    fork->pending_cap = disk->pending_count + 1;
    fork->pending_count = disk->pending_count;
    for (uint32_t i = 0; i < disk->pending_count; i++) {
        fork->pending[i] = disk->pending[i];
        fork->pending[i]->refs++;
    }
    memcpy(fork->bad, disk->bad, sizeof fork->bad);
    fork->bad_count = disk->bad_count;
    return fork;
}

static bool is_kept(struct sim_disk *disk, enum sim_disk_crash mode, uint64_t arg, uint32_t number)
{
    switch (mode) {
    case SIM_CRASH_NONE:
        return false;
    case SIM_CRASH_ALL:
        return true;
    case SIM_CRASH_PREFIX:
        return number < arg;
    case SIM_CRASH_ONLY:
        return number == arg;
    case SIM_CRASH_WITHOUT:
        return number != arg;
    case SIM_CRASH_RANDOM:
    case SIM_CRASH_TORN:
        return prng_below(&disk->prng, 2) == 0;
    case SIM_CRASH_KILL:
    case SIM_CRASH_MODE_COUNT:
        break;
    }
    return true;
}

static void sector_tear(struct sim_disk *disk, const struct sector *sector)
{
    uint8_t garbage[SIM_SECTOR_BYTES];
    for (uint32_t b = 0; b < SIM_SECTOR_BYTES; b += 8) {
        put_u64(garbage + b, prng_next(&disk->prng));
    }
    layer_write(&disk->inode[sector->inode].medium, (uint64_t)sector->number * SIM_SECTOR_BYTES,
            garbage, sizeof garbage);
}

static void sectors_crash(struct sim_disk *disk, enum sim_disk_crash mode, uint64_t arg)
{
    for (uint32_t i = 0; i < disk->pending_count; i++) {
        struct sector *sector = disk->pending[i];
        if (is_kept(disk, mode, arg, i)) {
            sector_to_medium(disk, sector);
        } else if (mode == SIM_CRASH_TORN && prng_below(&disk->prng, 3) == 0) {
            sector_tear(disk, sector);
        }
    }
    pending_drop(disk);
}

/* Names made or removed since the directory was synced: each may or may not be as it was. */
static void names_crash(struct sim_disk *disk, enum sim_disk_crash mode)
{
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        struct inode *inode = &disk->inode[i];
        if (!inode->is_used || inode->is_listed == inode->is_durable) {
            continue;
        }
        bool is_done = mode == SIM_CRASH_ALL || mode == SIM_CRASH_WITHOUT ||
                       (mode != SIM_CRASH_NONE && prng_below(&disk->prng, 2) == 0);
        inode->is_durable = is_done ? inode->is_listed : inode->is_durable;
    }
}

/* The size of a file that grew is as old as its last sync, or new with zeros in between. */
static void sizes_crash(struct sim_disk *disk, enum sim_disk_crash mode)
{
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        struct inode *inode = &disk->inode[i];
        bool is_new = mode == SIM_CRASH_ALL || mode == SIM_CRASH_WITHOUT ||
                      (mode != SIM_CRASH_NONE && prng_below(&disk->prng, 2) == 0);
        if (inode->is_used && is_new && inode->medium.size_bytes != inode->cache.size_bytes) {
            inode->medium.size_bytes = inode->cache.size_bytes;
        }
    }
}

/* A name removed and made again: only one of the two can be there afterwards. */
static void names_unite(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        for (uint32_t k = i + 1; k < disk->inode_count; k++) {
            if (disk->inode[i].is_durable && disk->inode[k].is_durable &&
                    strcmp(disk->inode[i].name, disk->inode[k].name) == 0) {
                disk->inode[prng_below(&disk->prng, 2) ? i : k].is_durable = false;
            }
        }
    }
}

static void caches_from_medium(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        struct inode *inode = &disk->inode[i];
        if (!inode->is_used) {
            continue;
        }
        inode->is_listed = inode->is_durable;
        layer_cut(&inode->medium, inode->medium.size_bytes);
        layer_done(&inode->cache);
        layer_copy(&inode->cache, &inode->medium);
    }
    inodes_sweep(disk);
}

void sim_disk_crash(struct sim_disk *disk, enum sim_disk_crash mode, uint64_t arg)
{
    disk->generation++;
    disk->is_locked = false;
    disk->is_cut = false;
    disk->cut_step = 0;
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        disk->inode[i].handle_count = 0;
    }
    if (mode == SIM_CRASH_KILL) {
        inodes_sweep(disk);
        return;
    }
    if (mode == SIM_CRASH_RANDOM || mode == SIM_CRASH_TORN) {
        prng_init(&disk->prng, arg);
    }
    sectors_crash(disk, mode, arg);
    names_crash(disk, mode);
    names_unite(disk);
    sizes_crash(disk, mode);
    caches_from_medium(disk);
}

void sim_disk_cut_at(struct sim_disk *disk, uint64_t step)
{
    disk->cut_step = step ? disk->steps + step : 0;
}

bool sim_disk_is_cut(const struct sim_disk *disk)
{
    return disk->is_cut;
}

void sim_disk_set_hook(struct sim_disk *disk, const struct sim_disk_hook *hook)
{
    disk->hook = hook ? *hook : (struct sim_disk_hook){ 0 };
}

/* ---- faults and looking
 * --------------------------------------------------------------------------------------- */

void sim_disk_fail(
        struct sim_disk *disk, enum sim_disk_call call, uint64_t nth, uint64_t count, enum err err)
{
    disk->fault[call].nth = nth;
    disk->fault[call].count = count;
    disk->fault[call].err = err;
}

void sim_disk_fail_dirty_sync(struct sim_disk *disk, enum err err)
{
    disk->dirty_sync_err = err;
}

void sim_disk_fail_randomly(
        struct sim_disk *disk, enum sim_disk_call call, uint32_t per_million, enum err err)
{
    disk->fault[call].per_million = per_million;
    disk->fault[call].random_err = err;
}

void sim_disk_heal(struct sim_disk *disk)
{
    memset(disk->fault, 0, sizeof disk->fault);
    disk->dirty_sync_err = OK;
}

void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes)
{
    disk->capacity = bytes;
}

void sim_disk_set_kind(struct sim_disk *disk, enum disk_kind kind)
{
    disk->kind = kind;
}

void sim_disk_make_unreadable(
        struct sim_disk *disk, const char *name, uint64_t offset, uint64_t len)
{
    uint32_t inode;
    ASSERT(inode_find(disk, name, &inode) && disk->bad_count < BAD_COUNT_MAX);
    disk->bad[disk->bad_count++] = (struct bad_range){ inode, offset, offset + len };
}

bool sim_disk_flip(struct sim_disk *disk, const char *name, uint64_t offset, uint8_t mask)
{
    uint32_t inode;
    uint8_t byte;
    if (!inode_find(disk, name, &inode) || offset >= disk->inode[inode].cache.size_bytes) {
        return false;
    }
    layer_read(&disk->inode[inode].medium, offset, &byte, 1);
    byte ^= mask;
    layer_write(&disk->inode[inode].medium, offset, &byte, 1);
    layer_read(&disk->inode[inode].cache, offset, &byte, 1);
    byte ^= mask;
    layer_write(&disk->inode[inode].cache, offset, &byte, 1);
    return true;
}

void sim_disk_zero(struct sim_disk *disk, const char *name, uint64_t offset, uint64_t len)
{
    uint32_t inode;
    const uint8_t zero = 0;
    if (!inode_find(disk, name, &inode)) {
        return;
    }
    for (uint64_t at = offset; at < offset + len; at++) {
        layer_write(&disk->inode[inode].medium, at, &zero, 1);
        layer_write(&disk->inode[inode].cache, at, &zero, 1);
    }
}

const struct sim_disk_counts *sim_disk_counts(const struct sim_disk *disk)
{
    return &disk->counts;
}

uint64_t sim_disk_pending_count(const struct sim_disk *disk)
{
    return disk->pending_count;
}

uint64_t sim_disk_steps(const struct sim_disk *disk)
{
    return disk->steps;
}

uint64_t sim_disk_file_bytes(const struct sim_disk *disk, const char *name)
{
    uint32_t inode;
    return inode_find(disk, name, &inode) ? disk->inode[inode].cache.size_bytes : 0;
}

bool sim_disk_has(const struct sim_disk *disk, const char *name)
{
    uint32_t inode;
    return inode_find(disk, name, &inode);
}

void sim_disk_delete(struct sim_disk *disk, const char *name)
{
    uint32_t inode;
    if (inode_find(disk, name, &inode)) {
        disk->inode[inode].is_listed = disk->inode[inode].is_durable = false;
        inodes_sweep(disk);
    }
}
