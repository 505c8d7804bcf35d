/* SPDX-License-Identifier: Apache-2.0
 *
 * keys_test.c - the index of hashes against a plain list, through all merges.
 */
#include "history/keys_priv.h"

#include "core/prng.h"
#include "core/str.h"
#include "history/days_priv.h"
#include "sim/disk.h"
#include "tests/test.h"

struct index {
    struct sim_disk *sim;
    struct vfs *vfs;
    struct store *store;
    struct key_runs runs;
    struct why why;
};

static void index_open(struct index *index)
{
    *index = (struct index){ .sim = sim_disk_new(1) };
    REQUIRE_OK(vfs_take(sim_disk_as_disk(index->sim), &index->vfs));
    REQUIRE_OK(store_open(index->vfs, "history-2026-11-25.db", true, &index->store, &index->why));
}

static void index_close(struct index *index)
{
    store_close(index->store);
    vfs_give(index->vfs);
    sim_disk_free(index->sim);
}

static void put(struct key_list *list, uint32_t hash, uint64_t msg_id)
{
    if (list->count == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 64;
        list->key = mem_grow(list->key, list->cap * sizeof *list->key);
    }
    list->key[list->count++] = (struct key){ hash, msg_id };
}

static void write_keys(struct index *index, struct key_list *list)
{
    REQUIRE_OK(store_begin(index->store, &index->why));
    REQUIRE_OK(keys_write(index->store, &index->runs, list, &index->why));
    REQUIRE_OK(store_commit(index->store, &index->why));
}

struct found {
    uint64_t last;
    uint32_t count, count_max;
    bool is_disordered;
};

static bool take(void *ctx, uint64_t msg_id)
{
    struct found *found = ctx;
    found->is_disordered = found->is_disordered || (found->count > 0 && msg_id >= found->last);
    found->last = msg_id;
    found->count++;
    return found->count < found->count_max;
}

static struct found find(struct index *index, uint32_t hash, uint32_t count_max)
{
    struct found found = { .count_max = count_max };
    REQUIRE_OK(keys_find(index->store, hash, take, &found, &index->why));
    CHECK(!found.is_disordered);
    return found;
}

TEST(every_key_is_found_newest_first_through_all_merges)
{
    enum { COMMITS = 700, HASHES = 64 };
    struct index index;
    struct key_list list = { 0 };
    struct prng prng;
    uint32_t expected[HASHES] = { 0 };
    uint64_t msg_id = 65536;
    index_open(&index);
    prng_init(&prng, 7);
    for (uint32_t commit = 0; commit < COMMITS; commit++) {
        uint32_t count = (uint32_t)prng_below(&prng, commit % 50 == 0 ? 3000 : 20);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t n = (uint32_t)prng_below(&prng, HASHES);
            put(&list, n == 0 ? 0 : 0x7fffffff / HASHES * n, msg_id);
            expected[n]++;
            msg_id += 1 + prng_below(&prng, 1000000);
        }
        write_keys(&index, &list);
        if (commit % 100 == 99) {
            for (uint32_t n = 0; n < HASHES; n++) {
                CHECK_U64(find(&index, n == 0 ? 0 : 0x7fffffff / HASHES * n, UINT32_MAX).count,
                        expected[n]);
            }
        }
        CHECK(index.runs.open_count < KEYS_OPEN_RUNS_MAX);
    }
    CHECK_U64(find(&index, 12345, UINT32_MAX).count, 0);
    CHECK_U64(find(&index, 0x7fffffff, UINT32_MAX).count, 0);
    CHECK_U64(find(&index, 0, 3).count, 3);
    key_list_done(&list);
    index_close(&index);
}

TEST(a_hundred_thousand_equal_keys_fill_many_chunks_and_full_runs_are_left_alone)
{
    enum { COUNT = 1280000, ROUND = 80000 };
    struct index index;
    struct key_list list = { 0 };
    index_open(&index);
    for (uint64_t i = 0; i < COUNT; i++) {
        put(&list, i % 10 == 0 ? 77777 : (uint32_t)(i * 7919 & 0x7fffffff), 65536 * (i + 1));
        if (i % ROUND == ROUND - 1) {
            write_keys(&index, &list);
        }
    }
    CHECK_U64(index.runs.open_count, 0);
    CHECK_U64(find(&index, 77777, UINT32_MAX).count, COUNT / 10);
    CHECK_U64(find(&index, 77777, 1).last, 65536ULL * (COUNT - 9));
    key_list_done(&list);
    index_close(&index);
}

TEST(a_damaged_chunk_is_reported)
{
    struct index index;
    struct key_list list = { 0 };
    struct found found = { .count_max = 10 };
    index_open(&index);
    put(&list, 5, 65536);
    write_keys(&index, &list);
    struct str bytes;
    int64_t row = INT64_MAX;
    REQUIRE_OK(store_seek(index.store, STORE_KEY, false, &row, &bytes, &index.why));
    REQUIRE_OK(store_begin(index.store, &index.why));
    REQUIRE_OK(store_put(index.store, STORE_KEY, row, STR("\x80"), &index.why));
    REQUIRE_OK(store_commit(index.store, &index.why));
    CHECK_ERR(keys_find(index.store, 5, take, &found, &index.why), E_CORRUPT);
    for (uint64_t i = 0; i < 6; i++) {
        put(&list, 6, 65536 * (i + 2));
        write_keys(&index, &list);
    }
    put(&list, 6, 65536 * 20);
    REQUIRE_OK(store_begin(index.store, &index.why));
    CHECK_ERR(keys_write(index.store, &index.runs, &list, &index.why),
            E_CORRUPT); /* met in merging */
    key_list_done(&list);
    index_close(&index);
}

TEST(run_numbers_that_are_used_up_end_the_index_not_the_history)
{
    struct index index;
    struct key_list list = { 0 };
    index_open(&index);
    index.runs.next_number = (1 << 20) - 2;
    for (uint64_t i = 0; i < 20; i++) {
        put(&list, 9, 65536 * (i + 1));
        write_keys(&index, &list);
    }
    CHECK_U64(find(&index, 9, 10).count, 2);
    key_list_done(&list);
    index_close(&index);
}

TEST(names_of_files_are_read_back)
{
    int32_t day;
    uint32_t part;
    char name[DAYS_NAME_BYTES_MAX];
    CHECK(day_name_parse("history-2026-11-25.db", &day, &part) && part == 0);
    day_name_format(day, 12, name);
    CHECK_STR(str_from_c(name), STR("history-2026-11-25.12.db"));
    CHECK(day_name_parse(name, &day, &part) && part == 12);
    static const char *const others[] = { "history-2026-11-25.db-wal", "history-2026-13-25.db",
        "history-.db", "history-2026-11-25x.db", "history-2026-11-25.x.db",
        "history-2026-11-25.db.db", "slot-00000.seg", "" };
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        CHECK(!day_name_parse(others[i], &day, &part), "%s", others[i]);
    }
}

TEST(a_file_of_a_later_version_is_not_touched)
{
    struct index index;
    struct day_meta meta = { 0 }, again;
    struct buf bytes;
    index_open(&index);
    buf_init(&bytes, 4096);
    day_meta_encode(&bytes, &meta);
    REQUIRE_OK(day_meta_decode(buf_str(&bytes), &again));
    for (size_t len = 0; len < bytes.len; len++) {
        CHECK_ERR(day_meta_decode(str_sub(buf_str(&bytes), 0, len), &again), E_CORRUPT);
    }
    buf_done(&bytes);
    index_close(&index);
}
