/* SPDX-License-Identifier: Apache-2.0
 *
 * shm.c - see shm_priv.h. What a file system gives SQLite by a mapped file, for one process.
 */
#include "history/shm_priv.h"

#include "core/str.h"
#include "history/vfs_priv.h"

struct shm {
    struct shm *next;
    char name[VFS_NAME_BYTES_MAX];
    uint32_t users;
    void **region;
    uint32_t region_count;
    uint32_t shared[SHM_LOCK_COUNT];
    bool is_exclusive[SHM_LOCK_COUNT];
};

struct shm *shm_take(struct shm **list, const char *name)
{
    struct shm *shm = *list;
    while (shm != NULL && strcmp(shm->name, name) != 0) {
        shm = shm->next;
    }
    if (shm == NULL) {
        shm = mem_new(sizeof *shm);
        if (shm == NULL) {
            return NULL;
        }
        fmt(shm->name, sizeof shm->name, "%s", name);
        shm->next = *list;
        *list = shm;
    }
    shm->users++;
    return shm;
}

void shm_give(struct shm **list, struct shm *shm)
{
    ASSERT(shm->users > 0);
    if (--shm->users > 0) {
        return;
    }
    while (*list != shm) {
        list = &(*list)->next;
    }
    *list = shm->next;
    for (uint32_t i = 0; i < shm->region_count; i++) {
        mem_free(shm->region[i]);
    }
    mem_free(shm->region);
    mem_free(shm);
}

static enum err shm_grow(struct shm *shm, uint32_t count, size_t region_bytes)
{
    if (count > SHM_REGION_COUNT_MAX) {
        return E_FULL;
    }
    void **region = mem_grow(shm->region, count * sizeof(void *));
    if (region == NULL) {
        return E_NOMEM;
    }
    shm->region = region;
    while (shm->region_count < count) {
        shm->region[shm->region_count] = mem_new(region_bytes);
        if (shm->region[shm->region_count] == NULL) {
            return E_NOMEM;
        }
        shm->region_count++;
    }
    return OK;
}

enum err shm_map(
        struct shm *shm, uint32_t index, size_t region_bytes, bool is_extending, void **ret_region)
{
    enum err err = OK;
    if (index >= shm->region_count && is_extending) {
        err = shm_grow(shm, index + 1, region_bytes);
    }
    if (err == OK) {
        *ret_region = index < shm->region_count ? shm->region[index] : NULL;
    }
    return err;
}

bool shm_lock(struct shm *shm, struct shm_held *held, uint32_t mask, bool is_exclusive)
{
    for (uint32_t i = 0; i < SHM_LOCK_COUNT; i++) {
        uint32_t bit = 1U << i & mask;
        uint32_t own_shared = bit & held->shared ? 1 : 0;
        bool is_own = (bit & held->exclusive) != 0;
        if (bit && ((shm->is_exclusive[i] && !is_own) ||
                           (is_exclusive && shm->shared[i] > own_shared))) {
            return false;
        }
    }
    for (uint32_t i = 0; i < SHM_LOCK_COUNT; i++) {
        uint32_t bit = 1U << i & mask;
        if (bit && is_exclusive) {
            shm->is_exclusive[i] = true;
        } else if (bit && !(bit & held->shared)) {
            shm->shared[i]++;
        }
    }
    held->exclusive |= is_exclusive ? mask : 0;
    held->shared |= is_exclusive ? 0 : mask;
    return true;
}

void shm_unlock(struct shm *shm, struct shm_held *held, uint32_t mask)
{
    for (uint32_t i = 0; i < SHM_LOCK_COUNT; i++) {
        uint32_t bit = 1U << i & mask;
        if (bit & held->exclusive) {
            shm->is_exclusive[i] = false;
        } else if (bit & held->shared) {
            ASSERT(shm->shared[i] > 0);
            shm->shared[i]--;
        }
    }
    held->exclusive &= ~mask;
    held->shared &= ~mask;
}
