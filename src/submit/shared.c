/* SPDX-License-Identifier: Apache-2.0
 *
 * shared.c - limits and logins over all loops, in fixed tables of atomics.
 *
 * Counters per address are two rows of a count-min sketch under a secret seed: two addresses that
 * meet in one row do not meet in the other, so that nobody is refused for a stranger, and there is
 * nothing to allocate, evict or lock. Logins are remembered as MACs under a key that lives as long
 * as the process; a table entry torn by two writers matches nothing.
 */
#include "submit/shared_priv.h"

#include "core/str.h"
#include "core/time.h"

#include <stdatomic.h>

enum {
    ROW_COUNT = 2,
    CONNECTION_SLOT_COUNT = 32768,
    FAILURE_SLOT_COUNT = 16384,
    LOGIN_WAY_COUNT = 4, /* places where a login may be */
    LOGIN_SET_COUNT = SUBMIT_LOGIN_COUNT_MAX / LOGIN_WAY_COUNT
};

struct login_slot {
    _Atomic uint64_t tag, check; /* halves of the MAC */
    _Atomic int64_t until_ms;
};

struct submit_shared {
    uint8_t login_key[SHA256_BYTES];
    uint64_t seed;
    _Atomic uint64_t generation; /* part of each MAC: a new one forgets all */
    _Atomic uint32_t connection_count;
    _Atomic uint16_t connection[ROW_COUNT][CONNECTION_SLOT_COUNT];
    _Atomic int64_t failure[ROW_COUNT][FAILURE_SLOT_COUNT]; /* when the allowance is whole again */
    struct login_slot login[LOGIN_SET_COUNT][LOGIN_WAY_COUNT];
};

enum err submit_shared_new(struct entropy *entropy, struct submit_shared **ret_shared)
{
    struct submit_shared *shared = mem_new(sizeof *shared);
    if (!shared) {
        return E_NOMEM;
    }
    entropy_fill(entropy, shared->login_key, sizeof shared->login_key);
    shared->seed = entropy_u64(entropy);
    *ret_shared = shared;
    return OK;
}

void submit_shared_free(struct submit_shared *shared)
{
    if (shared) {
        crypto_wipe(shared->login_key, sizeof shared->login_key);
        mem_free(shared);
    }
}

void submit_shared_forget(struct submit_shared *shared)
{
    atomic_fetch_add(&shared->generation, 1);
}

/* ---- connections --------------------------------------------------------------------------- */

static uint64_t ip_hash(const struct submit_shared *shared, struct ip ip, uint8_t prefix_bits)
{
    struct ip masked = ip_masked(ip, prefix_bits);
    struct {
        uint8_t byte[16];
        uint8_t family, prefix_bits;
    } key = { .family = (uint8_t)masked.family, .prefix_bits = prefix_bits };
    memcpy(key.byte, masked.byte, sizeof key.byte);
    return str_hash(str_of((const char *)&key, sizeof key), shared->seed);
}

/* Both rows from one hash: its halves are independent enough. */
static size_t slot_of(uint64_t hash, int row, size_t slot_count)
{
    return (size_t)(row == 0 ? hash & UINT32_MAX : hash >> 32) % slot_count;
}

/* Counts one up; the count is the smaller of the two rows. False, uncounted: over max. */
static bool count_up(struct submit_shared *shared, uint64_t hash, uint32_t max)
{
    uint32_t count = UINT32_MAX;
    for (int row = 0; row < ROW_COUNT; row++) {
        size_t slot = slot_of(hash, row, CONNECTION_SLOT_COUNT);
        uint32_t in_row = atomic_fetch_add(&shared->connection[row][slot], 1) + 1U;
        count = in_row < count ? in_row : count;
    }
    return count <= max;
}

static void count_down(struct submit_shared *shared, uint64_t hash)
{
    for (int row = 0; row < ROW_COUNT; row++) {
        size_t slot = slot_of(hash, row, CONNECTION_SLOT_COUNT);
        uint16_t before = atomic_fetch_sub(&shared->connection[row][slot], 1);
        ASSERT(before > 0);
    }
}

enum { IP_BITS_V4 = 32, IP_BITS_V6 = 128, IP_NET_BITS_V6 = 64 };

static uint8_t whole_bits(struct ip ip)
{
    return ip.family == IP_V6 ? IP_BITS_V6 : IP_BITS_V4;
}

enum err shared_connect(struct submit_shared *shared, const struct config *config, struct ip ip)
{
    uint32_t total = atomic_fetch_add(&shared->connection_count, 1) + 1;
    bool fits =
            count_up(shared, ip_hash(shared, ip, whole_bits(ip)), config->connection_per_ip_max);
    if (ip.family == IP_V6) {
        uint64_t net = ip_hash(shared, ip, IP_NET_BITS_V6);
        fits = count_up(shared, net, config->connection_per_net_max) && fits;
    }
    /* counters have 16 bits */
    if (!fits || total > config->connection_count_max || total > UINT16_MAX / 2) {
        shared_disconnect(shared, ip);
        return E_FULL;
    }
    return OK;
}

void shared_disconnect(struct submit_shared *shared, struct ip ip)
{
    atomic_fetch_sub(&shared->connection_count, 1);
    count_down(shared, ip_hash(shared, ip, whole_bits(ip)));
    if (ip.family == IP_V6) {
        count_down(shared, ip_hash(shared, ip, IP_NET_BITS_V6));
    }
}

bool shared_is_loaded(const struct submit_shared *shared, const struct config *config)
{
    uint64_t count = atomic_load_explicit(&shared->connection_count, memory_order_relaxed);
    return count * 100 >= (uint64_t)config->connection_count_max * SUBMIT_LOADED_PERCENT;
}

/* ---- verified logins ----------------------------------------------------------------------- */

struct login_mac {
    uint64_t set, tag, check;
};

/* Over all that makes the login: a changed password or a new generation matches nothing. */
static enum err login_mac(struct submit_shared *shared, const struct config_credential *credential,
        struct str password, struct login_mac *ret_mac)
{
    struct buf text;
    uint8_t mac[SHA256_BYTES];
    buf_init(&text, 8192);
    buf_add_u64(&text, atomic_load(&shared->generation));
    buf_add_str32(&text, credential->name);
    buf_add_str32(&text, credential->password_hash);
    buf_add_str32(&text, password);
    enum err err = buf_err(&text);
    if (err == OK) {
        hmac_sha256(str_of((const char *)shared->login_key, sizeof shared->login_key),
                buf_str(&text), mac);
        *ret_mac = (struct login_mac){ get_u64(mac) % LOGIN_SET_COUNT, get_u64(mac + 8),
            get_u64(mac + 16) };
    }
    if (text.ptr) {
        crypto_wipe(text.ptr, text.len);
    }
    buf_done(&text);
    return err;
}

static struct login_slot *find_login(struct submit_shared *shared, const struct login_mac *mac)
{
    for (size_t way = 0; way < LOGIN_WAY_COUNT; way++) {
        struct login_slot *slot = &shared->login[mac->set][way];
        if (atomic_load(&slot->tag) == mac->tag && atomic_load(&slot->check) == mac->check) {
            return slot;
        }
    }
    return NULL;
}

bool shared_knows(struct submit_shared *shared, const struct config_credential *credential,
        struct str password, struct mono now)
{
    struct login_mac mac;
    if (login_mac(shared, credential, password, &mac) != OK) {
        return false;
    }
    struct login_slot *slot = find_login(shared, &mac);
    return slot && atomic_load(&slot->until_ms) > now.ms;
}

void shared_remember(struct submit_shared *shared, const struct config_credential *credential,
        struct str password, struct mono now)
{
    struct login_mac mac;
    if (login_mac(shared, credential, password, &mac) != OK) {
        return;
    }
    struct login_slot *slot = find_login(shared, &mac);
    if (!slot) { /* the one that ends first makes room */
        slot = &shared->login[mac.set][0];
        for (size_t way = 1; way < LOGIN_WAY_COUNT; way++) {
            struct login_slot *other = &shared->login[mac.set][way];
            slot = atomic_load(&other->until_ms) < atomic_load(&slot->until_ms) ? other : slot;
        }
    }
    atomic_store(&slot->tag, mac.tag);
    atomic_store(&slot->check, mac.check);
    atomic_store(&slot->until_ms, mono_after(now, SUBMIT_LOGIN_MS).ms);
}

/* ---- failed logins ------------------------------------------------------------------------- */

/* Each failure moves the time at which the allowance is whole again by step_ms; more than burst
 * steps in the future is too many. */
static bool is_spent(struct submit_shared *shared, uint64_t hash, struct mono now, int64_t ahead_ms)
{
    for (int row = 0; row < ROW_COUNT; row++) {
        size_t slot = slot_of(hash, row, FAILURE_SLOT_COUNT);
        if (atomic_load(&shared->failure[row][slot]) - now.ms < ahead_ms) {
            return false;
        }
    }
    return true;
}

static void spend(struct submit_shared *shared, uint64_t hash, struct mono now, int64_t step_ms)
{
    for (int row = 0; row < ROW_COUNT; row++) {
        _Atomic int64_t *whole_at = &shared->failure[row][slot_of(hash, row, FAILURE_SLOT_COUNT)];
        int64_t before = atomic_load(whole_at), after;
        do {
            after = (before > now.ms ? before : now.ms) + step_ms;
        } while (!atomic_compare_exchange_weak(whole_at, &before, after));
    }
}

static uint64_t failure_ip_hash(const struct submit_shared *shared, struct ip ip)
{
    return ip_hash(shared, ip, ip.family == IP_V6 ? IP_NET_BITS_V6 : IP_BITS_V4);
}

static uint64_t failure_user_hash(const struct submit_shared *shared, struct str user)
{
    return str_hash(user, ~shared->seed);
}

bool shared_is_limited(struct submit_shared *shared, struct ip ip, struct str user, struct mono now)
{
    return is_spent(shared, failure_ip_hash(shared, ip), now,
                   (int64_t)SUBMIT_FAILURE_BURST_IP * SUBMIT_FAILURE_MS_IP) ||
           is_spent(shared, failure_user_hash(shared, user), now,
                   (int64_t)SUBMIT_FAILURE_BURST_USER * SUBMIT_FAILURE_MS_USER);
}

void shared_failed(struct submit_shared *shared, struct ip ip, struct str user, struct mono now)
{
    spend(shared, failure_ip_hash(shared, ip), now, SUBMIT_FAILURE_MS_IP);
    spend(shared, failure_user_hash(shared, user), now, SUBMIT_FAILURE_MS_USER);
}
