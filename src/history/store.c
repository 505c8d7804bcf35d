/* SPDX-License-Identifier: Apache-2.0
 *
 * store.c - the adapter to SQLite: nothing of it is known outside (but its VFS in vfs.c).
 *
 * WAL with synchronous=NORMAL and checkpoints of our own: a commit costs no sync, and the journal
 * gives again what a power cut took. Only what a checkpoint brought into the file is called
 * durable.
 */
#include "history/store_priv.h"

#include "core/str.h"

#include <sqlite3.h>

enum { STORE_VERSION = 1, STORE_BUSY_MS = 2000 };
enum statement { PUT, GET, SEEK_DOWN, SEEK_UP, DELETE_RANGE, STATEMENT_COUNT };

struct store {
    sqlite3 *db;
    sqlite3_stmt *begin, *commit;
    sqlite3_stmt *statement[STORE_TABLE_COUNT][STATEMENT_COUNT];
    bool is_in_transaction;
    uint64_t wal_pages;
};

static const char *const table_names[] = { "meta", "msg", "key", "refused" };
static_assert(COUNT_OF(table_names) == STORE_TABLE_COUNT, "a name for each table");
static const char *const statement_sql[] = {
    [PUT] = "INSERT OR REPLACE INTO %s(id, v) VALUES(?, ?)",
    [GET] = "SELECT id, v FROM %s WHERE id = ?",
    [SEEK_DOWN] = "SELECT id, v FROM %s WHERE id <= ? ORDER BY id DESC LIMIT 1",
    [SEEK_UP] = "SELECT id, v FROM %s WHERE id >= ? ORDER BY id LIMIT 1",
    [DELETE_RANGE] = "DELETE FROM %s WHERE id >= ? AND id <= ?",
};
static_assert(COUNT_OF(statement_sql) == STATEMENT_COUNT, "SQL for each statement");

static enum err err_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return OK;
    case SQLITE_NOMEM:
        return E_NOMEM;
    case SQLITE_FULL:
        return E_NO_SPACE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return E_CORRUPT;
    case SQLITE_BUSY:
        return E_BUSY;
    case SQLITE_READONLY: /* a reader met a file that the scribe is making, or was stopped making */
        return E_NOT_FOUND;
    default:
        return E_IO;
    }
}

static enum err failed(struct store *store, const char *what, int rc, struct why *why)
{
    why_set(why, "history file: %s: %s (%d)", what,
            store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(rc), rc);
    enum err err = rc == SQLITE_IOERR_NOMEM ? E_NOMEM : err_of(rc);
    return err == OK ? E_CORRUPT : err; /* a row where there can be none: not the file we made */
}

static enum err exec(struct store *store, const char *sql, struct why *why)
{
    int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? OK : failed(store, sql, rc, why);
}

static int note_wal(void *ctx, sqlite3 *db, const char *name, int pages)
{
    struct store *store = ctx;
    (void)db;
    (void)name;
    store->wal_pages = (uint64_t)pages;
    return SQLITE_OK;
}

static enum err read_version(struct store *store, int64_t *ret_version, struct why *why)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(store->db, "PRAGMA user_version", -1, &statement, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(statement);
    }
    if (rc == SQLITE_ROW) {
        *ret_version = sqlite3_column_int64(statement, 0);
    }
    sqlite3_finalize(statement);
    return rc == SQLITE_ROW ? OK : failed(store, "version", rc, why);
}

static enum err make_tables(struct store *store, struct why *why)
{
    return exec(store,
            "BEGIN IMMEDIATE;"
            "CREATE TABLE IF NOT EXISTS meta(id INTEGER PRIMARY KEY, v BLOB);"
            "CREATE TABLE IF NOT EXISTS msg(id INTEGER PRIMARY KEY, v BLOB);"
            "CREATE TABLE IF NOT EXISTS key(id INTEGER PRIMARY KEY, v BLOB);"
            "CREATE TABLE IF NOT EXISTS refused(id INTEGER PRIMARY KEY, v BLOB);"
            "PRAGMA user_version = 1;" /* STORE_VERSION */
            "COMMIT",
            why);
}

static enum err set_up(struct store *store, bool is_writer, struct why *why)
{
    int64_t version = 0;
    enum err err = exec(store, "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024", why);
    if (err == OK && is_writer) {
        err = exec(store,
                "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                "PRAGMA wal_autocheckpoint = 0",
                why);
    }
    if (err == OK) {
        err = read_version(store, &version, why);
    }
    if (err == OK && version > STORE_VERSION) {
        why_set(why, "the history file has version %lld, which this program does not know",
                (long long)version);
        return E_UNSUPPORTED;
    }
    if (err == OK && version == 0) {
        return is_writer ? make_tables(store, why) : E_NOT_FOUND;
    }
    return err;
}

enum err store_open(struct vfs *vfs, const char *name, bool is_writer, struct store **ret_store,
        struct why *why)
{
    struct store *store = mem_new(sizeof *store);
    if (store == NULL) {
        why_set(why, "out of memory");
        return E_NOMEM;
    }
    int flags = is_writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    int rc = sqlite3_open_v2(name, &store->db, flags | SQLITE_OPEN_NOMUTEX,
            is_writer ? vfs_writer_name(vfs) : vfs_reader_name(vfs));
    enum err err = rc == SQLITE_OK ? OK : failed(store, "open", rc, why);
    if (err == OK) {
        /* a closing connection must not checkpoint behind the scribe's back */
        sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_busy_timeout(
                store->db, STORE_BUSY_MS); /* while another reads the WAL's index anew */
        err = set_up(store, is_writer, why);
        sqlite3_wal_hook(store->db, note_wal, store); /* last: the autocheckpoint pragma takes it */
    } else if (!is_writer && (rc & 0xff) == SQLITE_CANTOPEN) {
        err = E_NOT_FOUND;
    }
    if (err != OK) {
        store_close(store);
        return err;
    }
    *ret_store = store;
    return OK;
}

void store_close(struct store *store)
{
    if (store == NULL) {
        return;
    }
    for (size_t i = 0; i < STORE_TABLE_COUNT; i++) {
        for (size_t j = 0; j < STATEMENT_COUNT; j++) {
            sqlite3_finalize(store->statement[i][j]);
        }
    }
    sqlite3_finalize(store->begin);
    sqlite3_finalize(store->commit);
    if (store->db != NULL) {
        int rc = sqlite3_close(store->db); /* rolls back */
        ASSERT(rc == SQLITE_OK);           /* every statement is finalized */
    }
    mem_free(store);
}

/* A row that still stands holds an old view of the file, and a checkpoint back. */
static void let_go_of_rows(struct store *store)
{
    for (size_t i = 0; i < STORE_TABLE_COUNT; i++) {
        for (size_t j = 0; j < STATEMENT_COUNT; j++) {
            sqlite3_reset(store->statement[i][j]);
        }
    }
}

void store_shrink(struct store *store)
{
    let_go_of_rows(store);
    (void)sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

static enum err run_plain(
        struct store *store, sqlite3_stmt **statement, const char *sql, struct why *why)
{
    int rc = SQLITE_OK;
    if (*statement == NULL) {
        rc = sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(*statement);
        sqlite3_reset(*statement);
    }
    return rc == SQLITE_DONE ? OK : failed(store, sql, rc, why);
}

enum err store_begin(struct store *store, struct why *why)
{
    ASSERT(!store->is_in_transaction);
    let_go_of_rows(store);
    enum err err = run_plain(store, &store->begin, "BEGIN IMMEDIATE", why);
    store->is_in_transaction = err == OK;
    return err;
}

enum err store_commit(struct store *store, struct why *why)
{
    ASSERT(store->is_in_transaction);
    store->is_in_transaction = false;
    let_go_of_rows(store);
    return run_plain(store, &store->commit, "COMMIT", why);
}

enum err store_checkpoint(struct store *store, bool *ret_is_whole, struct why *why)
{
    int wal_pages = 0, done_pages = 0;
    let_go_of_rows(store);
    int rc = sqlite3_wal_checkpoint_v2(
            store->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &wal_pages, &done_pages);
    if (rc != SQLITE_OK && rc != SQLITE_BUSY) {
        return failed(store, "checkpoint", rc, why);
    }
    *ret_is_whole = rc == SQLITE_OK && wal_pages == done_pages;
    if (*ret_is_whole) {
        store->wal_pages = 0;
    }
    return OK;
}

uint64_t store_wal_bytes(const struct store *store)
{
    return store->wal_pages * 4096;
}

static enum err statement_for(struct store *store, enum store_table table, enum statement which,
        sqlite3_stmt **ret_statement, struct why *why)
{
    sqlite3_stmt **statement = &store->statement[table][which];
    if (*statement == NULL) {
        sqlite3_str *sql = sqlite3_str_new(store->db);
        sqlite3_str_appendf(sql, statement_sql[which], table_names[table]);
        char *text = sqlite3_str_finish(sql);
        int rc = text ? sqlite3_prepare_v3(
                                store->db, text, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL)
                      : SQLITE_NOMEM;
        sqlite3_free(text);
        if (rc != SQLITE_OK) {
            return failed(store, "prepare", rc, why);
        }
    }
    sqlite3_reset(*statement); /* a get leaves its row standing */
    *ret_statement = *statement;
    return OK;
}

enum err store_put(
        struct store *store, enum store_table table, int64_t id, struct str bytes, struct why *why)
{
    sqlite3_stmt *statement;
    ASSERT(store->is_in_transaction && bytes.len <= INT_MAX);
    enum err err = statement_for(store, table, PUT, &statement, why);
    if (err != OK) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_blob(statement, 2, bytes.ptr, (int)bytes.len, SQLITE_STATIC);
    int rc = sqlite3_step(statement);
    sqlite3_reset(statement);
    return rc == SQLITE_DONE ? OK : failed(store, "write", rc, why);
}

static enum err fetch(struct store *store, enum store_table table, enum statement which,
        int64_t *id, struct str *ret_bytes, struct why *why)
{
    sqlite3_stmt *statement;
    enum err err = statement_for(store, table, which, &statement, why);
    if (err != OK) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, *id);
    int rc = sqlite3_step(statement);
    if (rc != SQLITE_ROW) {
        sqlite3_reset(statement);
        return rc == SQLITE_DONE ? E_NOT_FOUND : failed(store, "read", rc, why);
    }
    const void *bytes = sqlite3_column_blob(statement, 1);
    int len = sqlite3_column_bytes(statement, 1);
    if (bytes == NULL && len > 0) {
        return failed(store, "read", SQLITE_NOMEM, why);
    }
    *id = sqlite3_column_int64(statement, 0);
    *ret_bytes = str_of(bytes, (size_t)len);
    return OK;
}

enum err store_get(struct store *store, enum store_table table, int64_t id, struct str *ret_bytes,
        struct why *why)
{
    return fetch(store, table, GET, &id, ret_bytes, why);
}

enum err store_seek(struct store *store, enum store_table table, bool is_up, int64_t *id,
        struct str *ret_bytes, struct why *why)
{
    return fetch(store, table, is_up ? SEEK_UP : SEEK_DOWN, id, ret_bytes, why);
}

enum err store_delete_range(
        struct store *store, enum store_table table, int64_t first, int64_t last, struct why *why)
{
    sqlite3_stmt *statement;
    ASSERT(store->is_in_transaction && first <= last);
    enum err err = statement_for(store, table, DELETE_RANGE, &statement, why);
    if (err != OK) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, first);
    sqlite3_bind_int64(statement, 2, last);
    int rc = sqlite3_step(statement);
    sqlite3_reset(statement);
    return rc == SQLITE_DONE ? OK : failed(store, "delete", rc, why);
}
