/* SPDX-License-Identifier: Apache-2.0
 *
 * parse.c - the adapter over libconfuse: texts that scan.c has passed, values out of them.
 *
 * Every setting is a string or a list of strings to libconfuse; types are ours (value.c). Its
 * scanner is one for the whole process, so calls are taken in turn.
 */
#include "config/load_priv.h"

#include "core/str.h"

#include <confuse.h>
#include <pthread.h>

enum { DEPTH_MAX = 3 };

/* libconfuse's scanner is global and its error callback has no context: both are guarded here. */
static pthread_mutex_t confuse_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct config_report *report;
    struct str path;
} confuse_said;

static void confuse_error(cfg_t *cfg, const char *format, va_list args)
{
    char text[WHY_BYTES_MAX], safe[WHY_BYTES_MAX];
    vsnprintf(text, sizeof text, format, args);
    struct place at = { confuse_said.path, cfg && cfg->line > 0 ? (uint32_t)cfg->line : 0 };
    struct str escaped = str_escape(str_from_c(text), safe, sizeof safe);
    report_fault(confuse_said.report, at, "%.*s", STR_ARG(escaped));
}

/* The options of a section and of those inside it, for cfg_init; NULL: no memory. */
static cfg_opt_t *options_of(struct arena *arena, enum section section)
{
    cfg_opt_t *options = arena_new(arena, (setting_count + SECTION_COUNT + 1) * sizeof *options);
    uint32_t count = 0;
    for (uint32_t i = 0; options && i < setting_count; i++) {
        const struct setting_row *row = &setting_table[i];
        if (row->section == section) {
            bool is_list = setting_is_list(row->type);
            options[count++] = (cfg_opt_t){ .name = row->name,
                .type = CFGT_STR,
                .flags = is_list ? CFGF_LIST | CFGF_NODEFAULT : CFGF_NODEFAULT };
        }
    }
    for (enum section s = SECTION_TOP + 1; options && s < SECTION_COUNT; s++) {
        if (section_table[s].parent == section) {
            cfg_opt_t *inner = options_of(arena, s);
            if (!inner) {
                return NULL;
            }
            options[count++] = (cfg_opt_t){ .name = section_table[s].name,
                .type = CFGT_SEC,
                .flags = CFGF_MULTI | CFGF_TITLE,
                .subopts = inner };
        }
    }
    return options; /* what follows is all-zero: CFG_END */
}

static bool take_value(struct load *load, struct item *item, cfg_t *section)
{
    const char *name = setting_table[item->setting].name;
    uint32_t count = cfg_size(section, name);
    item->value = arena_new(&load->scratch, (count + 1) * sizeof *item->value);
    if (!item->value) {
        load->is_nomem = true;
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct str text = str_from_c(cfg_getnstr(section, name, i));
        item->value[i] = arena_str(&load->scratch, text);
        if (!item->value[i].ptr && text.len > 0) {
            load->is_nomem = true;
            return false;
        }
    }
    item->value_count = count;
    return true;
}

/* The sections of libconfuse's tree that are open at an item. */
struct walk {
    cfg_t *open[DEPTH_MAX];
    uint32_t depth;
};

static bool enter_section(struct walk *walk, const struct item *item)
{
    const char *name = section_table[item->section].name;
    cfg_t *around = walk->open[walk->depth];
    ASSERT(walk->depth + 1 < DEPTH_MAX); /* by the table */
    if (item->ordinal >= cfg_size(around, name)) {
        return false;
    }
    walk->open[++walk->depth] = cfg_getnsec(around, name, item->ordinal);
    return true;
}

static bool walk_item(struct load *load, struct walk *walk, struct item *item)
{
    switch (item->kind) {
    case ITEM_SETTING:
        return take_value(load, item, walk->open[walk->depth]) &&
               (item->value_count > 0 || setting_is_list(setting_table[item->setting].type));
    case ITEM_SECTION:
        return enter_section(walk, item);
    case ITEM_SECTION_END:
        ASSERT(walk->depth > 0);
        walk->depth--;
        return true;
    case ITEM_INCLUDE:
        break;
    }
    return true;
}

/* Walks items and libconfuse's tree side by side. False: they disagree, or no memory. */
static bool take_values(struct load *load, struct items *items, cfg_t *top)
{
    struct walk walk = { .open = { top } };
    for (uint32_t i = 0; i < items->count; i++) {
        if (!walk_item(load, &walk, &items->item[i])) {
            return false;
        }
    }
    return true;
}

static bool parse_locked(
        struct load *load, const struct source_text *text, struct items *items, cfg_opt_t *options)
{
    cfg_t *cfg = cfg_init(options, CFGF_NONE);
    if (!cfg) {
        load->is_nomem = true;
        return false;
    }
    confuse_said.report = load->report;
    confuse_said.path = text->path;
    cfg_set_error_function(cfg, confuse_error);
    int said = cfg_parse_buf(cfg, text->ptr);
    bool is_good = said == CFG_SUCCESS && take_values(load, items, cfg);
    if (said == CFG_SUCCESS && !is_good && !load->is_nomem) {
        report_fault(load->report, (struct place){ text->path, 0 },
                "libconfuse reads this file differently: write it more plainly");
    }
    cfg_free(cfg);
    return is_good;
}

bool parse_values(struct load *load, const struct source_text *text, struct items *items)
{
    if (items->count == 0) {
        return true;
    }
    cfg_opt_t *options = options_of(&load->scratch, SECTION_TOP);
    if (!options) {
        load->is_nomem = true;
        return false;
    }
    pthread_mutex_lock(&confuse_lock);
    bool is_good = parse_locked(load, text, items, options);
    pthread_mutex_unlock(&confuse_lock);
    return is_good;
}
