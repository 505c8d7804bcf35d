/* SPDX-License-Identifier: Apache-2.0
 *
 * check_state.c - what each check found when it last passed, in a small JSON file that is replaced
 * as a whole. So a failing check can say what changed.
 */
#include "core/buf.h"
#include "core/str.h"
#include "identity/check_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

enum { STATE_BYTES_MAX = 64 << 20, STATE_PATH_CAP = 4096 };

struct check_was {
    struct str id, domain, source, part, found;
};

static uint64_t was_hash(struct str id, struct str domain, struct str source, struct str part)
{
    return str_hash(part, str_hash(source, str_hash(domain, str_hash(id, 0))));
}

static struct check_was *was_find(
        const struct check_state *state, const struct identity_result *result)
{
    uint64_t hash = was_hash(result->id, result->domain, result->source, result->part), value;
    for (uint32_t at = 0; map_walk_key(&state->by_hash, hash, &at, &value);) {
        struct check_was *was = (struct check_was *)(uintptr_t)value;
        if (str_eq(was->id, result->id) && str_eq(was->domain, result->domain) &&
                str_eq(was->source, result->source) && str_eq(was->part, result->part)) {
            return was;
        }
    }
    return NULL;
}

struct str check_state_found(const struct check_state *state, const struct identity_result *result)
{
    const struct check_was *was = was_find(state, result);
    return was != NULL ? was->found : STR("");
}

/* ---- reading ---- */

static struct str take_text(struct check_state *state, json_t *object, const char *name)
{
    json_t *text = json_object_get(object, name);
    struct str s = { json_string_value(text), json_string_length(text) };
    s = arena_str(&state->arena, s.ptr != NULL ? s : STR(""));
    return s.ptr != NULL ? s : STR("");
}

static enum err take_entry(struct check_state *state, json_t *object)
{
    struct check_was *was = arena_new(&state->arena, sizeof *was);
    if (was == NULL) {
        return E_NOMEM;
    }
    was->id = take_text(state, object, "id");
    was->domain = take_text(state, object, "domain");
    was->source = take_text(state, object, "source");
    was->part = take_text(state, object, "part");
    was->found = take_text(state, object, "found");
    uint64_t hash = was_hash(was->id, was->domain, was->source, was->part);
    return map_add(&state->by_hash, hash, (uint64_t)(uintptr_t)was);
}

enum err check_state_read(struct check_state *state, struct str path, struct why *why)
{
    char c_path[STATE_PATH_CAP];
    *state = (struct check_state){ 0 };
    arena_init(&state->arena, STATE_BYTES_MAX);
    if (path.len == 0) {
        return OK;
    }
    if (!str_to_c(path, c_path, sizeof c_path)) {
        why_set(why, "the path of the checks' state is too long");
        return E_USAGE;
    }
    if (access(c_path, F_OK) != 0) {
        return OK; /* the first run */
    }
    json_error_t error;
    json_t *root = json_load_file(c_path, 0, &error);
    json_t *passed = json_object_get(root, "passed"), *entry;
    size_t i;
    enum err err = json_is_array(passed) ? OK : E_SYNTAX;
    if (err != OK) {
        why_set(why, "%s: %s; take it away to begin anew", c_path,
                root == NULL ? error.text : "not a list of passed checks");
    }
    json_array_foreach(passed, i, entry)
    {
        err = err == OK ? take_entry(state, entry) : err;
    }
    json_decref(root);
    return err;
}

void check_state_done(struct check_state *state)
{
    map_done(&state->by_hash);
    arena_done(&state->arena);
}

/* ---- writing ---- */

static void add_entry(json_t *passed, const struct identity_result *result, struct str found)
{
    json_array_append_new(
            passed, json_pack("{s:s%, s:s%, s:s%, s:s%, s:s%}", "id", result->id.ptr,
                            result->id.len, "domain", result->domain.ptr, result->domain.len,
                            "source", result->source.ptr, result->source.len, "part",
                            result->part.ptr, result->part.len, "found", found.ptr, found.len));
}

/* What passed now, and what passed once and was not asked or did not pass now. */
static json_t *state_json(const struct identity_run *run)
{
    json_t *passed = json_array();
    uint64_t hash, value;
    for (uint32_t i = 0; i < run->result_count; i++) {
        const struct identity_result *result = run->result[i];
        struct check_was *was = was_find(&run->state, result);
        if (result->status == IDENTITY_PASS) {
            add_entry(passed, result, result->found);
            if (was != NULL) {
                was->found = STR("");
            }
        }
    }
    for (uint32_t at = 0; map_walk(&run->state.by_hash, &at, &hash, &value);) {
        const struct check_was *was = (const struct check_was *)(uintptr_t)value;
        if (was->found.len > 0) {
            struct identity_result old = {
                .id = was->id, .domain = was->domain, .source = was->source, .part = was->part
            };
            add_entry(passed, &old, was->found);
        }
    }
    return json_pack("{s:i, s:o}", "version", 1, "passed", passed);
}

static bool write_all(int fd, const char *text)
{
    struct str rest = str_from_c(text);
    while (rest.len > 0) {
        ssize_t put = write(fd, rest.ptr, rest.len);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        rest = str_from(rest, put > 0 ? (size_t)put : 0);
    }
    return true;
}

/* The file's folder is made where it is missing; the new file takes the old one's place at once. */
static bool replace_file(const char *path, const char *text)
{
    char fresh[STATE_PATH_CAP + 8], dir[STATE_PATH_CAP];
    size_t slash = str_rindex(str_from_c(path), '/');
    bool has_dir = path[slash] != '\0';
    (void)str_to_c(has_dir ? str_sub(str_from_c(path), 0, slash) : STR("."), dir, sizeof dir);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        return false;
    }
    fmt(fresh, sizeof fresh, "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool is_good = fd >= 0 && write_all(fd, text) && fsync(fd) == 0;
    if (fd >= 0) {
        is_good = close(fd) == 0 && is_good;
    }
    is_good = is_good && rename(fresh, path) == 0;
    int dir_fd = is_good ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dir_fd >= 0) {
        is_good = fsync(dir_fd) == 0;
        close(dir_fd);
    }
    return is_good;
}

enum err identity_run_save(const struct identity_run *run, struct why *why)
{
    char path[STATE_PATH_CAP];
    if (run->options.state_path.len == 0 || !str_to_c(run->options.state_path, path, sizeof path)) {
        return OK;
    }
    json_t *root = state_json(run);
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_ENSURE_ASCII);
    json_decref(root);
    if (text == NULL) {
        return E_NOMEM;
    }
    bool is_good = replace_file(path, text);
    int number = errno;
    free(text);
    if (!is_good) {
        why_set(why, "%s: %s", path, strerror(number));
    }
    return is_good ? OK : E_IO;
}

/* ---- results as JSON ---- */

static json_t *text_json(struct str s)
{
    json_t *json = json_stringn(s.ptr != NULL ? s.ptr : "", s.len);
    return json != NULL ? json : json_string("");
}

static json_t *result_json(const struct identity_result *result)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
            text_json(result->id), "domain", text_json(result->domain), "source",
            text_json(result->source), "part", text_json(result->part), "status",
            identity_status_name(result->status), "title", text_json(result->title), "found",
            text_json(result->found), "expected", text_json(result->expected), "mend",
            text_json(result->mend), "detail", text_json(result->detail), "before",
            text_json(result->before));
}

void identity_run_json(const struct identity_run *run, struct buf *ret_text)
{
    json_t *results = json_array(), *counts = json_object();
    uint32_t count[IDENTITY_STATUS_COUNT] = { 0 };
    enum identity_status worst = IDENTITY_PASS;
    for (uint32_t i = 0; i < run->result_count; i++) {
        enum identity_status status = run->result[i]->status;
        count[status]++;
        worst = status > worst && status != IDENTITY_SKIP ? status : worst;
        json_array_append_new(results, result_json(run->result[i]));
    }
    for (enum identity_status status = 0; status < IDENTITY_STATUS_COUNT; status++) {
        json_object_set_new(counts, identity_status_name(status), json_integer(count[status]));
    }
    json_t *root = json_pack("{s:s, s:o, s:o}", "status", identity_status_name(worst), "counts",
            counts, "results", results);
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_ENSURE_ASCII);
    buf_add_c(ret_text, text != NULL ? text : "{}");
    buf_add_char(ret_text, '\n');
    free(text);
    json_decref(root);
}
