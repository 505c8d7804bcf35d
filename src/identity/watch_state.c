/* SPDX-License-Identifier: Apache-2.0
 *
 * watch_state.c - the watch as JSON: kept in a file that is replaced as a whole, and shown.
 */
#include "core/buf.h"
#include "core/str.h"
#include "core/time.h"
#include "identity/watch_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WATCH_PATH_CAP = 4096, WATCH_TEXT_CAP = 1024 };

/* ---- values ---- */

json_t *watch_text(struct str s)
{
    bool has_nul = s.len > 0 && memchr(s.ptr, 0, s.len) != NULL;
    json_t *text = has_nul ? NULL : json_stringn(s.ptr != NULL ? s.ptr : "", s.len);
    if (text != NULL) {
        return text;
    }
    char escaped[WATCH_TEXT_CAP];
    struct str safe = str_escape(s, escaped, sizeof escaped);
    return json_stringn(safe.ptr, safe.len);
}

struct str watch_member(const json_t *object, const char *name)
{
    const json_t *text = json_object_get(object, name);
    const char *ptr = json_string_value(text);
    return ptr != NULL ? str_of(ptr, json_string_length(text)) : STR("");
}

struct wall watch_time(const json_t *object, const char *name)
{
    struct wall at = { 0 };
    if (time_parse_rfc3339(watch_member(object, name), &at) != OK) {
        at.ms = 0;
    }
    return at;
}

json_t *watch_time_text(struct wall at)
{
    char text[TIME_TEXT_CAP];
    return at.ms == 0 ? json_null() : json_stringn(text, time_rfc3339(at, text));
}

bool watch_status(struct str name, enum identity_status *ret_status)
{
    for (enum identity_status status = 0; status < IDENTITY_STATUS_COUNT; status++) {
        if (str_eq(name, str_from_c(identity_status_name(status)))) {
            *ret_status = status;
            return true;
        }
    }
    return false;
}

json_t *watch_result_json(const struct identity_result *result)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
            watch_text(result->id), "domain", watch_text(result->domain), "source",
            watch_text(result->source), "part", watch_text(result->part), "status",
            identity_status_name(result->status), "title", watch_text(result->title), "found",
            watch_text(result->found), "expected", watch_text(result->expected), "mend",
            watch_text(result->mend), "detail", watch_text(result->detail), "before",
            watch_text(result->before));
}

/* ---- reading ---- */

static enum err take_seen(struct identity_watch *watch, const json_t *object)
{
    struct identity_result result = { .id = watch_member(object, "id"),
        .domain = watch_member(object, "domain"),
        .source = watch_member(object, "source"),
        .part = watch_member(object, "part"),
        .title = watch_member(object, "title"),
        .found = watch_member(object, "found"),
        .expected = watch_member(object, "expected"),
        .mend = watch_member(object, "mend"),
        .detail = watch_member(object, "detail"),
        .before = watch_member(object, "before") };
    enum identity_status held = IDENTITY_PASS;
    if (!watch_status(watch_member(object, "status"), &result.status) || result.id.len == 0 ||
            seen_find(watch, &result) != NULL) {
        return OK; /* of another version: it will be asked again */
    }
    if (watch->count >= IDENTITY_WATCH_COUNT_MAX) {
        return E_FULL;
    }
    struct seen *seen = seen_put(watch, NULL, &result, watch_member(object, "held_found"));
    if (seen == NULL) {
        return E_NOMEM;
    }
    seen->is_held = watch_status(watch_member(object, "held"), &held);
    seen->held = held;
    seen->set = (uint32_t)json_integer_value(json_object_get(object, "set"));
    seen->since = watch_time(object, "since");
    seen->checked = watch_time(object, "checked");
    return OK;
}

enum err watch_take_state(struct identity_watch *watch, json_t *root)
{
    json_t *seen = json_object_get(root, "checks"), *events = json_object_get(root, "events");
    size_t i;
    json_t *entry;
    enum err err = json_is_array(seen) && json_is_array(events) ? OK : E_SYNTAX;
    if (err != OK) {
        return err;
    }
    json_array_foreach(seen, i, entry)
    {
        err = err == OK ? take_seen(watch, entry) : err;
    }
    json_decref(watch->events);
    watch->events = json_incref(events);
    watch->more = json_incref(root);
    json_object_del(root, "checks"); /* in memory once */
    return err;
}

static enum err read_file(struct identity_watch *watch, const char *path, struct why *why)
{
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    enum err err = root != NULL ? watch_take_state(watch, root) : E_SYNTAX;
    if (err == E_SYNTAX) {
        why_set(why, "%s: %s; it is begun anew", path,
                root == NULL ? error.text : "not the state of a watch");
    }
    json_decref(root);
    return err;
}

enum err identity_watch_open(struct str path, struct identity_watch **ret_watch, struct why *why)
{
    char c_path[WATCH_PATH_CAP];
    struct identity_watch *watch = mem_new(sizeof *watch);
    if (watch == NULL) {
        return E_NOMEM;
    }
    list_init(&watch->seen);
    watch->events = json_array();
    *ret_watch = watch;
    if (path.len == 0 || !str_to_c(path, c_path, sizeof c_path) || access(c_path, F_OK) != 0) {
        return OK;
    }
    return read_file(watch, c_path, why);
}

void identity_watch_close(struct identity_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    while (!list_is_empty(&watch->seen)) {
        seen_drop(watch, CONTAINER_OF(watch->seen.next, struct seen, link));
    }
    map_done(&watch->by_hash);
    json_decref(watch->events);
    json_decref(watch->more);
    mem_free(watch);
}

/* ---- writing ---- */

static json_t *seen_json(const struct seen *seen, bool is_whole)
{
    json_t *json = watch_result_json(&seen->last);
    json_object_set_new(json, "held",
            seen->is_held ? json_string(identity_status_name(seen->held)) : json_null());
    json_object_set_new(json, "since", watch_time_text(seen->since));
    json_object_set_new(json, "checked", watch_time_text(seen->checked));
    if (is_whole) {
        json_object_set_new(json, "held_found", watch_text(seen->held_found));
        json_object_set_new(json, "set", json_integer(seen->set));
    }
    return json;
}

static bool write_all(int fd, struct str rest)
{
    while (rest.len > 0) {
        ssize_t put = write(fd, rest.ptr, rest.len);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        rest = str_from(rest, put > 0 ? (size_t)put : 0);
    }
    return true;
}

static bool sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return is_good;
}

enum err watch_replace_file(struct str path, const char *text, struct why *why)
{
    char old[WATCH_PATH_CAP], fresh[WATCH_PATH_CAP + 8], dir[WATCH_PATH_CAP];
    size_t slash = str_rindex(path, '/');
    if (!str_to_c(path, old, sizeof old)) {
        why_set(why, "the path is too long");
        return E_USAGE;
    }
    (void)str_to_c(slash < path.len ? str_sub(path, 0, slash) : STR("."), dir, sizeof dir);
    fmt(fresh, sizeof fresh, "%s.new", old);
    bool is_good = mkdir(dir, 0700) == 0 || errno == EEXIST;
    int fd =
            is_good ? open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    is_good = fd >= 0 && write_all(fd, str_from_c(text)) && fsync(fd) == 0;
    if (fd >= 0) {
        is_good = close(fd) == 0 && is_good;
    }
    is_good = is_good && rename(fresh, old) == 0 && sync_dir(dir);
    if (!is_good) {
        why_set(why, "%s: %s", old, strerror(errno));
    }
    return is_good ? OK : E_IO;
}

enum err identity_watch_save(const struct identity_watch *watch, struct str path,
        const char *more_name, struct json_t *more, struct why *why)
{
    json_t *checks = json_array();
    for (struct list *link = watch->seen.next; link != &watch->seen; link = link->next) {
        json_array_append_new(checks, seen_json(CONTAINER_OF(link, struct seen, link), true));
    }
    json_t *root =
            json_pack("{s:i, s:o, s:O}", "version", 1, "checks", checks, "events", watch->events);
    if (more != NULL) {
        json_object_set(root, more_name, more);
    }
    char *text = json_dumps(root, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(root);
    enum err err = text != NULL ? watch_replace_file(path, text, why) : E_NOMEM;
    free(text);
    return err;
}

struct json_t *identity_watch_more(const struct identity_watch *watch)
{
    return watch->more;
}

/* ---- showing ---- */

void identity_watch_each_problem(struct identity_watch *watch,
        void (*each)(void *ctx, const struct identity_result *result, struct wall since), void *ctx)
{
    for (struct list *link = watch->seen.next; link != &watch->seen; link = link->next) {
        const struct seen *seen = CONTAINER_OF(link, struct seen, link);
        if (seen->is_held && seen->held != IDENTITY_PASS && seen->held != IDENTITY_SKIP) {
            struct identity_result held = seen->last; /* the text of now, the status that holds */
            held.status = seen->held;
            each(ctx, &held, seen->since);
        }
    }
}

static bool is_about(const struct seen *seen, struct str domain, struct str source)
{
    if (source.len > 0) {
        return str_eq(seen->last.source, source) &&
               (seen->last.domain.len == 0 || str_eq(seen->last.domain, domain));
    }
    return str_eq(seen->last.domain, domain) || seen->last.domain.len == 0;
}

struct wall identity_watch_asked_at(const struct identity_watch *watch, struct str domain)
{
    struct wall newest = { 0 };
    for (struct list *link = watch->seen.next; link != &watch->seen; link = link->next) {
        const struct seen *seen = CONTAINER_OF(link, struct seen, link);
        if (seen->set == IDENTITY_CHECK_DOMAINS && str_eq(seen->last.domain, domain) &&
                seen->checked.ms > newest.ms) {
            newest = seen->checked;
        }
    }
    return newest;
}

bool identity_watch_is_listed(
        const struct identity_watch *watch, struct str domain, struct str source)
{
    for (struct list *link = watch->seen.next; link != &watch->seen; link = link->next) {
        const struct seen *seen = CONTAINER_OF(link, struct seen, link);
        if (str_eq(seen->last.id, STR("list.listed")) && seen->is_held &&
                seen->held == IDENTITY_FAIL && str_eq(seen->last.domain, domain) &&
                str_eq(seen->last.source, source)) {
            return true;
        }
    }
    return false;
}

enum identity_status identity_watch_worst(
        const struct identity_watch *watch, struct str domain, struct str source)
{
    enum identity_status worst = IDENTITY_PASS;
    for (struct list *link = watch->seen.next; link != &watch->seen; link = link->next) {
        const struct seen *seen = CONTAINER_OF(link, struct seen, link);
        bool is_its = str_eq(seen->last.domain, domain) &&
                      (source.len == 0 || str_eq(seen->last.source, source));
        if (is_its && seen->is_held && seen->held > worst && seen->held != IDENTITY_SKIP) {
            worst = seen->held;
        }
    }
    return worst;
}

struct json_t *identity_watch_results(
        const struct identity_watch *watch, struct str domain, struct str source)
{
    json_t *results = json_array(), *counts = json_object();
    uint32_t count[IDENTITY_STATUS_COUNT] = { 0 };
    enum identity_status worst = IDENTITY_PASS;
    struct wall newest = { 0 };
    for (struct list *link = watch->seen.next; link != &watch->seen; link = link->next) {
        const struct seen *seen = CONTAINER_OF(link, struct seen, link);
        if (!is_about(seen, domain, source)) {
            continue;
        }
        enum identity_status status = seen->last.status;
        count[status]++;
        worst = status > worst && status != IDENTITY_SKIP ? status : worst;
        newest = seen->checked.ms > newest.ms ? seen->checked : newest;
        json_array_append_new(results, seen_json(seen, false));
    }
    for (enum identity_status status = 0; status < IDENTITY_STATUS_COUNT; status++) {
        json_object_set_new(counts, identity_status_name(status), json_integer(count[status]));
    }
    return json_pack("{s:o, s:o, s:o, s:s, s:o, s:o}", "domain", watch_text(domain), "source",
            watch_text(source), "checked", watch_time_text(newest), "status",
            identity_status_name(worst), "counts", counts, "results", results);
}

struct json_t *identity_watch_events(const struct identity_watch *watch, uint32_t count_max)
{
    json_t *events = json_array();
    size_t size = json_array_size(watch->events);
    for (size_t i = 0; i < size && i < count_max; i++) {
        json_array_append(events, json_array_get(watch->events, size - 1 - i));
    }
    return events;
}

/* ---- all domains at a glance ---- */

struct domain_state {
    struct wall checked;
    enum identity_status worst;
    bool is_listed;
};

static void take_into(struct domain_state *state, const struct seen *seen)
{
    bool is_held = seen->is_held && seen->held != IDENTITY_SKIP;
    bool is_of_checks = seen->set == IDENTITY_CHECK_DOMAINS;
    state->worst = is_held && seen->held > state->worst ? seen->held : state->worst;
    state->is_listed = state->is_listed ||
                       (is_held && seen->held == IDENTITY_FAIL && seen->last.source.len == 0 &&
                               str_eq(seen->last.id, STR("list.listed")));
    if (is_of_checks && seen->checked.ms > state->checked.ms) {
        state->checked = seen->checked;
    }
}

const char *identity_watch_state_name(bool is_known, bool is_listed, enum identity_status worst)
{
    return is_listed ? "listed" : !is_known ? "unknown" : identity_status_name(worst);
}

static json_t *states_json(const struct config *config, const struct domain_state *states)
{
    json_t *domains = json_array();
    for (uint32_t i = 0; i < config->domain_count; i++) {
        const struct domain_state *state = &states[i];
        json_array_append_new(domains, json_pack("{s:o, s:s, s:o, s:b}", "domain",
                                               watch_text(config->domain[i].name), "state",
                                               identity_watch_state_name(state->checked.ms > 0,
                                                       state->is_listed, state->worst),
                                               "checked", watch_time_text(state->checked), "listed",
                                               (int)state->is_listed));
    }
    return json_pack("{s:o}", "domains", domains);
}

struct json_t *identity_watch_domains(
        const struct identity_watch *watch, const struct config *config)
{
    struct map by_name = { 0 };
    struct domain_state *states = mem_new((config->domain_count + 1) * sizeof *states);
    bool is_good = states != NULL;
    uint64_t index;
    for (uint32_t i = 0; is_good && i < config->domain_count; i++) {
        is_good = map_add(&by_name, str_hash(config->domain[i].name, 0), i) == OK;
    }
    for (struct list *link = watch->seen.next; is_good && link != &watch->seen; link = link->next) {
        const struct seen *seen = CONTAINER_OF(link, struct seen, link);
        uint64_t hash = str_hash(seen->last.domain, 0);
        for (uint32_t at = 0; map_walk_key(&by_name, hash, &at, &index);) {
            if (str_eq(config->domain[index].name, seen->last.domain)) {
                take_into(&states[index], seen);
            }
        }
    }
    json_t *json = is_good ? states_json(config, states) : NULL;
    map_done(&by_name);
    mem_free(states);
    return json;
}
