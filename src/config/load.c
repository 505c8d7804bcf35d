/* SPDX-License-Identifier: Apache-2.0
 *
 * load.c - files into objects: includes, credentials.d and domains.d, defaults, and the finished
 * snapshot.
 *
 * Every file is taken as far as it can be understood, so that one run shows all faults.
 */
#include "config/load_priv.h"

#include "core/str.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

enum {
    SCRATCH_BYTES_MAX = 512 << 20,
    TOTAL_BYTES_MAX = 64 << 20 /* of all files together */
};

/* ---- names ---- */

static uint64_t name_hash(enum section section, uint32_t parent, struct str title)
{
    return str_hash(title, ((uint64_t)parent << 8) ^ (uint64_t)section);
}

static bool name_is(
        const struct name_entry *entry, enum section section, uint32_t parent, struct str title)
{
    return entry->section == section && entry->parent == parent && str_eq(entry->title, title);
}

/* The entry's index, or UINT32_MAX. */
static uint32_t name_index(
        const struct load *load, enum section section, uint32_t parent, struct str title)
{
    uint64_t index;
    uint32_t at = 0;
    uint64_t hash = name_hash(section, parent, title);
    while (map_walk_key(&load->name_by_hash, hash, &at, &index)) {
        if (name_is(&load->name[index], section, parent, title)) {
            return (uint32_t)index;
        }
    }
    return UINT32_MAX;
}

bool load_name_add(struct load *load, const struct name_entry *entry, uint32_t *ret_index)
{
    uint32_t found = name_index(load, entry->section, entry->parent, entry->title);
    if (found != UINT32_MAX) {
        *ret_index = found;
        return false;
    }
    if (load->name_count == load->name_cap) {
        uint32_t cap = load->name_cap ? load->name_cap * 2 : 64;
        struct name_entry *grown = mem_grow(load->name, cap * sizeof *grown);
        if (!grown) {
            load->is_nomem = true;
            return false;
        }
        load->name = grown;
        load->name_cap = cap;
    }
    uint64_t hash = name_hash(entry->section, entry->parent, entry->title);
    if (map_add(&load->name_by_hash, hash, load->name_count) != OK) {
        load->is_nomem = true;
        return false;
    }
    load->name[load->name_count] = *entry;
    *ret_index = load->name_count++;
    return true;
}

const struct name_entry *load_name_find(
        const struct load *load, enum section section, struct str title)
{
    uint32_t found = name_index(load, section, UINT32_MAX, title);
    return found != UINT32_MAX ? &load->name[found] : NULL;
}

/* ---- objects ---- */

void *load_object(const struct load *load, enum section section, uint32_t index)
{
    if (section == SECTION_TOP) {
        return load->config;
    }
    ASSERT(index < load->list[section].count);
    return load->list[section].item + index * section_table[section].bytes;
}

static uint32_t first_row(enum section section)
{
    for (uint32_t i = 0; i < setting_count; i++) {
        if (setting_table[i].section == section) {
            return i;
        }
    }
    return setting_count;
}

static uint32_t row_count(enum section section)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < setting_count; i++) {
        count += setting_table[i].section == section;
    }
    return count;
}

struct place load_place(
        const struct load *load, enum section section, uint32_t index, const char *setting)
{
    uint32_t row = setting_find(section, str_from_c(setting));
    ASSERT(row < setting_count);
    return load->list[section].info[index].setting[row - first_row(section)];
}

struct place load_at(
        const struct load *load, enum section section, uint32_t index, const char *setting)
{
    struct place at = load_place(load, section, index, setting);
    return at.line > 0 ? at : load->list[section].info[index].at;
}

static bool list_grow(struct load *load, enum section section)
{
    struct object_list *list = &load->list[section];
    if (list->count < list->cap) {
        return true;
    }
    uint32_t cap = list->cap ? list->cap * 2 : 8;
    char *item = mem_grow(list->item, cap * section_table[section].bytes);
    if (item) {
        list->item = item;
    }
    struct object_info *info = mem_grow(list->info, cap * sizeof *info);
    if (info) {
        list->info = info;
    }
    if (!item || !info) {
        load->is_nomem = true;
        return false;
    }
    list->cap = cap;
    return true;
}

static bool set_fallbacks(struct load *load, enum section section, void *object)
{
    struct value_place place = { .arena = load->arena };
    for (uint32_t i = 0; i < setting_count; i++) {
        if (setting_table[i].section == section &&
                value_set_fallback(&place, &setting_table[i], object) != OK) {
            load->is_nomem = true;
            return false;
        }
    }
    return true;
}

bool load_object_add(struct load *load, enum section section, struct str title, struct place at,
        uint32_t *ret_index)
{
    struct object_list *list = &load->list[section];
    if (!list_grow(load, section)) {
        return false;
    }
    struct place *setting = arena_new(&load->scratch, (row_count(section) + 1) * sizeof *setting);
    if (!setting) {
        load->is_nomem = true;
        return false;
    }
    list->info[list->count] = (struct object_info){ .at = at, .setting = setting };
    *ret_index = list->count++;
    void *object = load_object(load, section, *ret_index);
    if (section != SECTION_TOP) {
        memset(object, 0, section_table[section].bytes);
        memcpy(object, &title, sizeof title); /* the first field, see table.c */
    }
    return set_fallbacks(load, section, object);
}

/* ---- items into objects ---- */

struct apply {
    struct load *load;
    struct str path;
    struct str dir;
    uint32_t object[SECTION_COUNT]; /* the current one of each kind */
};

static void apply_setting(struct apply *apply, const struct item *item)
{
    struct load *load = apply->load;
    const struct setting_row *row = &setting_table[item->setting];
    uint32_t index = apply->object[row->section];
    struct place at = { apply->path, item->line };
    struct place *was =
            &load->list[row->section].info[index].setting[item->setting - first_row(row->section)];
    if (was->line > 0) {
        report_fault(load->report, at, "%s is set twice: first in %.*s, line %u", row->name,
                STR_ARG(was->path), was->line);
        return;
    }
    *was = at;
    struct why why;
    struct value_place place = { .arena = load->arena, .dir = apply->dir };
    enum err err = value_set(&place, row, item->value, item->value_count,
            load_object(load, row->section, index), &why);
    if (err == E_NOMEM) {
        load->is_nomem = true;
    } else if (err != OK) {
        report_fault(load->report, at, "%s", why.text);
    }
}

static void apply_section(struct apply *apply, const struct item *item)
{
    struct load *load = apply->load;
    enum section section = item->section, parent = section_table[section].parent;
    struct place at = { apply->path, item->line };
    if (!load_object_add(load, section, item->title, at, &apply->object[section])) {
        return;
    }
    load->name[item->setting].object = apply->object[section];
    struct object_info *around = &load->list[parent].info[apply->object[parent]];
    if (around->child[section].count++ == 0) {
        around->child[section].first = apply->object[section];
    }
}

static void load_file(struct load *load, struct str path, struct place from);

static struct str dir_of(struct str path)
{
    size_t slash = str_rindex(path, '/');
    return slash == path.len ? STR("") : slash == 0 ? STR("/") : str_sub(path, 0, slash);
}

static void apply_include(struct apply *apply, const struct item *item)
{
    struct load *load = apply->load;
    struct place at = { apply->path, item->line };
    struct str path = item->title;
    if (path.len == 0) {
        report_fault(load->report, at, "include names no file");
        return;
    }
    if (path.ptr[0] != '/' && apply->dir.len > 0) {
        path = arena_strf(&load->scratch, "%.*s/%.*s", STR_ARG(apply->dir), STR_ARG(path));
    }
    if (!path.ptr) {
        load->is_nomem = true;
        return;
    }
    load_file(load, path, at);
}

static void apply_items(struct apply *apply, const struct items *items)
{
    for (uint32_t i = 0; i < items->count && !apply->load->is_nomem; i++) {
        const struct item *item = &items->item[i];
        switch (item->kind) {
        case ITEM_SETTING:
            apply_setting(apply, item);
            break;
        case ITEM_SECTION:
            apply_section(apply, item);
            break;
        case ITEM_INCLUDE:
            apply_include(apply, item);
            break;
        case ITEM_SECTION_END:
            break;
        }
    }
}

/* ---- texts and files ---- */

/* text: at most CONFIG_FILE_BYTES_MAX, changed, a NUL behind it. */
static void load_text(struct load *load, char *text, size_t len, struct str path)
{
    struct source_text source = { text, len, path };
    struct items items;
    struct apply apply = { .load = load, .path = path, .dir = dir_of(path) };
    if (scan_text(load, &source, &items) && parse_values(load, &source, &items)) {
        apply_items(&apply, &items);
    } else {
        load->is_broken = true;
    }
    items_done(&items);
}

/* Room for one more file? Each is read once only. */
static bool admit_file(struct load *load, struct str path, struct place from)
{
    uint32_t index;
    struct name_entry entry = {
        .section = SECTION_TOP, .parent = UINT32_MAX, .title = path, .at = from
    };
    if (load->depth >= CONFIG_INCLUDE_DEPTH_MAX) {
        report_fault(
                load->report, from, "includes more than %d deep", (int)CONFIG_INCLUDE_DEPTH_MAX);
        return false;
    }
    if (load->file_count++ >= CONFIG_FILE_COUNT_MAX) {
        report_fault(load->report, from, "more than %d files", (int)CONFIG_FILE_COUNT_MAX);
        return false;
    }
    if (!load_name_add(load, &entry, &index)) {
        if (!load->is_nomem) {
            report_fault(load->report, from, "%.*s is read already", STR_ARG(path));
        }
        return false;
    }
    return true;
}

static enum err load_file_err(struct load *load, struct str path, struct place from)
{
    char name[PATH_MAX];
    struct buf text;
    struct why why;
    uint32_t mode;
    if (!admit_file(load, path, from)) {
        return load->is_nomem ? E_NOMEM : E_SYNTAX;
    }
    if (!str_to_c(path, name, sizeof name)) {
        report_fault(load->report, from, "the name of a file is too long");
        return E_SYNTAX;
    }
    enum err err = file_read(name, CONFIG_FILE_BYTES_MAX, &text, &mode, &why);
    if (err == E_NOMEM) {
        load->is_nomem = true;
        return err;
    }
    if (err != OK) {
        bool is_said = str_eq(from.path, path) && str_starts(str_from_c(why.text), path);
        report_fault(load->report, from, "%s", why.text + (is_said ? path.len + 1 : 0));
        return err;
    }
    load->total_bytes += text.len;
    buf_add_char(&text, '\0');
    if (buf_err(&text) != OK) {
        load->is_nomem = true;
    } else if (load->total_bytes > TOTAL_BYTES_MAX) {
        report_fault(load->report, from, "more than %d bytes of configuration", TOTAL_BYTES_MAX);
    } else {
        load->depth++;
        load_text(load, text.ptr, text.len - 1, path);
        load->depth--;
    }
    buf_done(&text);
    return OK;
}

static void load_file(struct load *load, struct str path, struct place from)
{
    enum err err = load_file_err(load, path, from);
    ASSERT(err == OK || load->is_nomem || report_is_bad(load->report));
}

static int is_conf(const struct dirent *entry)
{
    struct str name = str_from_c(entry->d_name);
    return name.len > 5 && name.ptr[0] != '.' && str_ends_nocase(name, STR(".conf"));
}

/* What commands have written: each *.conf of dir beside the main file, in the order of names. */
static void load_dir(struct load *load, struct str main_path, const char *dir)
{
    struct str around = dir_of(main_path);
    struct str path = arena_strf(&load->scratch, "%.*s%s%s", STR_ARG(around),
            around.len == 0 || str_eq(around, STR("/")) ? "" : "/", dir);
    struct dirent **entry;
    if (!path.ptr) {
        load->is_nomem = true;
        return;
    }
    int count = scandir(path.ptr, &entry, is_conf, alphasort);
    if (count < 0) {
        if (errno != ENOENT && errno != ENOTDIR) {
            report_fault(
                    load->report, (struct place){ path, 0 }, "cannot be read: %s", strerror(errno));
        }
        return;
    }
    for (int i = 0; i < count; i++) {
        struct str file = arena_strf(&load->scratch, "%.*s/%s", STR_ARG(path), entry[i]->d_name);
        if (file.ptr) {
            load_file(load, file, (struct place){ file, 0 });
        }
        load->is_nomem = load->is_nomem || !file.ptr;
        free(entry[i]); /* libc's own */
    }
    free(entry);
}

/* ---- the snapshot ---- */

static int compare_titles(const void *a, const void *b)
{
    const struct str *left = a, *right = b;
    return str_cmp(*left, *right);
}

/* Copies a list of objects where its parent points to. Sorted where it is searched (config.c). */
static bool place_list(
        struct load *load, enum section section, void *parent, uint32_t first, uint32_t count)
{
    const struct section_row *row = &section_table[section];
    char *array = arena_new(load->arena, (count + 1) * row->bytes);
    if (!array) {
        load->is_nomem = true;
        return false;
    }
    if (count > 0) {
        memcpy(array, load_object(load, section, first), count * row->bytes);
    }
    if (row->title == TITLE_DOMAIN || row->title == TITLE_LOGIN || row->title == TITLE_ROUTE) {
        qsort(array, count, row->bytes, compare_titles);
    }
    memcpy(field_at(parent, row->offset), &array, sizeof array);
    memcpy(field_at(parent, row->count_offset), &count, sizeof count);
    return true;
}

/* What stands within the sections of one kind. */
static bool place_children(struct load *load, enum section parent)
{
    for (uint32_t i = 0; i < load->list[parent].count; i++) {
        const struct object_info *info = &load->list[parent].info[i];
        void *object = load_object(load, parent, i);
        for (enum section s = SECTION_TOP + 1; s < SECTION_COUNT; s++) {
            if (section_table[s].parent == parent &&
                    !place_list(load, s, object, info->child[s].first, info->child[s].count)) {
                return false;
            }
        }
    }
    return true;
}

static void place_objects(struct load *load)
{
    if (!place_children(load, SECTION_DOMAIN)) {
        return;
    }
    for (enum section s = SECTION_TOP + 1; s < SECTION_COUNT; s++) {
        if (section_table[s].parent == SECTION_TOP &&
                !place_list(load, s, load->config, 0, load->list[s].count)) {
            return;
        }
    }
}

/* Keys and contexts that the unfinished objects own. */
static void drop_objects(struct load *load)
{
    for (uint32_t i = 0; i < load->list[SECTION_DKIM].count; i++) {
        struct config_dkim_key *dkim = load_object(load, SECTION_DKIM, i);
        key_free(dkim->key);
    }
    for (uint32_t i = 0; i < load->list[SECTION_LISTEN].count; i++) {
        struct config_listen *listen = load_object(load, SECTION_LISTEN, i);
        tls_give(listen->tls_context);
    }
}

static void load_done(struct load *load)
{
    for (enum section s = SECTION_TOP; s < SECTION_COUNT; s++) {
        mem_free(load->list[s].item);
        mem_free(load->list[s].info);
    }
    mem_free(load->name);
    map_done(&load->name_by_hash);
    arena_done(&load->scratch);
}

static enum err load_begin(struct load *load, struct config_report *report, struct str path)
{
    uint32_t index;
    *load = (struct load){ .report = report };
    arena_init(&load->scratch, SCRATCH_BYTES_MAX);
    config_report_done(report);
    load->config = config_new(&load->arena);
    if (!load->config) {
        return E_NOMEM;
    }
    load->config->path = arena_str(load->arena, path);
    struct place at = { load->config->path, 0 };
    if (!load->config->path.ptr || !load_object_add(load, SECTION_TOP, path, at, &index)) {
        load->is_nomem = true;
    }
    return OK;
}

static enum err load_end(struct load *load, enum err err, struct config **ret_config)
{
    bool is_placed = false;
    if (err == OK && !load->is_nomem && !load->is_broken) {
        check_objects(load);
    }
    report_sort(load->report);
    if (err == OK && !load->is_nomem && !report_is_bad(load->report)) {
        place_objects(load);
        is_placed = !load->is_nomem;
    }
    if (load->is_nomem) {
        err = E_NOMEM;
    } else if (err == OK && report_is_bad(load->report)) {
        err = E_SYNTAX;
    }
    if (!is_placed) {
        drop_objects(load);
        load->config->listen_count = load->config->domain_count = 0;
    }
    if (err == OK) {
        *ret_config = load->config;
    } else {
        config_give(load->config);
    }
    load_done(load);
    return err;
}

static enum err load_main(struct load *load)
{
    struct str name = load->config->path;
    load->is_host_checked = true;
    enum err err = load_file_err(load, name, (struct place){ name, 0 });
    if (err == E_NOT_FOUND || err == E_DENIED || err == E_IO || load->is_nomem) {
        return err;
    }
    load_dir(load, name, "credentials.d");
    load_dir(load, name, "domains.d");
    return OK;
}

enum err config_load(const char *path, struct config **ret_config, struct config_report *report)
{
    struct load load;
    enum err err = load_begin(&load, report, str_from_c(path));
    if (err != OK) {
        load_done(&load);
        return err;
    }
    if (!load.is_nomem) {
        err = load_main(&load);
    }
    return load_end(&load, err, ret_config);
}

static enum err load_memory(struct load *load, struct str text)
{
    if (text.len > CONFIG_FILE_BYTES_MAX) {
        report_fault(load->report, (struct place){ load->config->path, 0 }, "larger than %d bytes",
                (int)CONFIG_FILE_BYTES_MAX);
        return OK;
    }
    struct buf copy;
    buf_init(&copy, CONFIG_FILE_BYTES_MAX + 1);
    buf_add(&copy, text);
    buf_add_char(&copy, '\0');
    if (buf_err(&copy) != OK) {
        load->is_nomem = true;
    } else {
        load_text(load, copy.ptr, copy.len - 1, load->config->path);
    }
    buf_done(&copy);
    return OK;
}

enum err config_parse(
        struct str text, struct str name, struct config **ret_config, struct config_report *report)
{
    struct load load;
    enum err err = load_begin(&load, report, name);
    if (err != OK) {
        load_done(&load);
        return err;
    }
    if (!load.is_nomem) {
        err = load_memory(&load, text);
    }
    return load_end(&load, err, ret_config);
}

static const char sandbox_text[] = "data-dir = \"var\"\n"
                                   "control = \"var/control.sock\"\n";

enum err config_load_sandbox(
        const char *path, struct config **ret_config, struct config_report *report)
{
    struct load load;
    struct str name = path ? str_from_c(path) : STR("(sandbox)");
    enum err err = load_begin(&load, report, name);
    if (err != OK) {
        load_done(&load);
        return err;
    }
    load.config->is_sandbox = true;
    if (!load.is_nomem) {
        err = path ? load_main(&load) : load_memory(&load, str_from_c(sandbox_text));
    }
    load.config->is_sandbox = true; /* whatever the file says */
    return load_end(&load, err, ret_config);
}
