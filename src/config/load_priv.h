/* SPDX-License-Identifier: Apache-2.0
 *
 * load_priv.h - the way of a file: text, items (scan.c), values (parse.c), objects (load.c), and
 * what they mean together (check.c).
 *
 * A `struct load` lives for one config_load. Lines are kept beside every object and setting until
 * the checks are done, so that each fault has its place.
 */
#ifndef OUTPOST_CONFIG_LOAD_PRIV_H
#define OUTPOST_CONFIG_LOAD_PRIV_H

#include "config/table_priv.h"
#include "core/map.h"

struct place {
    struct str path;
    uint32_t line; /* 0: nowhere, that is: not set */
};

void report_fault(struct config_report *report, struct place at, const char *format, ...)
        PRINTF_LIKE(3, 4);
void report_warning(struct config_report *report, struct place at, const char *format, ...)
        PRINTF_LIKE(3, 4);
/* By line within each file, files in the order of their first fault. */
void report_sort(struct config_report *report);
/* Some fault that is no warning? */
bool report_is_bad(const struct config_report *report);

/* ---- items: what a text holds, in its order ---- */

enum item_kind { ITEM_SETTING, ITEM_SECTION, ITEM_SECTION_END, ITEM_INCLUDE };
struct item {
    enum item_kind kind;
    enum section section; /* SECTION: which begins; else: in which this stands */
    uint32_t setting;     /* row */
    uint32_t ordinal;     /* SECTION: among those of its kind in the one around it */
    uint32_t line;
    struct str title; /* SECTION: as title_parse gives it; INCLUDE: the path */
    struct str *value;
    uint32_t value_count;
};
struct items {
    struct item *item;
    uint32_t count, cap;
};

/* One text on its way through. */
struct source_text {
    char *ptr; /* changed: comments and what was refused become blanks; NUL-terminated */
    size_t len;
    struct str path;
};

/* ---- objects: structs of config.h with the places that made them ---- */

struct object_info {
    struct place at;
    struct place *setting; /* by row number minus the section's first row */
    struct {
        uint32_t first, count;
    } child[SECTION_COUNT]; /* sections within it, by kind */
};
struct object_list {
    char *item; /* of section_table[].bytes each */
    struct object_info *info;
    uint32_t count, cap;
};

/* A title that was given, so that the second is noticed and references are found. */
struct name_entry {
    enum section section;
    uint32_t parent; /* name entry of the section around it, or UINT32_MAX */
    uint32_t object; /* UINT32_MAX: not made (yet) */
    struct str title;
    struct place at;
};

struct load {
    struct config_report *report;
    struct config *config; /* under construction; SECTION_TOP's object */
    struct arena *arena;   /* the snapshot's */
    struct arena scratch;  /* until the load is over */
    struct object_list list[SECTION_COUNT];
    struct map name_by_hash; /* to indexes into name */
    struct name_entry *name;
    uint32_t name_count, name_cap;
    uint32_t file_count, depth, section_count;
    size_t total_bytes;
    bool is_host_checked; /* sources must be addresses of this host */
    bool is_broken;       /* some text could not be understood: what is missing means nothing */
    bool is_nomem;
};

/* Splits text into items with their lines; unknown names, wrong nesting and missing braces are
 * faults. False: the structure is broken (a fault says so), the items are of no use. */
MUST_USE bool scan_text(struct load *load, struct source_text *text, struct items *ret_items);
void items_done(struct items *items);
/* Fills in the values of items, in load->scratch. False: a fault was reported. */
MUST_USE bool parse_values(struct load *load, const struct source_text *text, struct items *items);

/* Enters a title; false and the earlier entry where it was given before. */
bool load_name_add(struct load *load, const struct name_entry *entry, uint32_t *ret_index);
/* The entry of a top-level section, or NULL. */
const struct name_entry *load_name_find(
        const struct load *load, enum section section, struct str title);
void *load_object(const struct load *load, enum section section, uint32_t index);
/* Where a setting of an object was set; line 0: nowhere. Where "there" matters only for a fault:
 * load_at gives the section's own place then. */
struct place load_place(
        const struct load *load, enum section section, uint32_t index, const char *setting);
struct place load_at(
        const struct load *load, enum section section, uint32_t index, const char *setting);
/* A new object of section with the defaults of its table; false: no memory. */
bool load_object_add(struct load *load, enum section section, struct str title, struct place at,
        uint32_t *ret_index);

/* Judges all objects together, fills in what depends on others, and reads keys, certificates and
 * secrets. Faults go to the report. Called before, and for the arrays after, they are in place. */
void check_objects(struct load *load);

/* At most max bytes of a regular file, whatever stands there (no device, no pipe). E_NOT_FOUND,
 * E_DENIED, E_IO, E_TOO_BIG with why; *ret_mode as in stat. */
MUST_USE enum err file_read(const char *path, size_t max_bytes, struct buf *ret_bytes,
        uint32_t *ret_mode, struct why *why);

/* The snapshot around a config. */
MUST_USE struct config *config_new(struct arena **ret_arena);

#endif
