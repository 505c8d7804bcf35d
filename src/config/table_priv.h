/* SPDX-License-Identifier: Apache-2.0
 *
 * table_priv.h - the tables of sections and settings, and text to value and back by their rows.
 *
 * A new setting is a row in table.c and a field in config.h: parsing, checks of range, printing,
 * JSON and the manual page follow from the row.
 */
#ifndef OUTPOST_CONFIG_TABLE_PRIV_H
#define OUTPOST_CONFIG_TABLE_PRIV_H

#include "config/config.h"

enum section {
    SECTION_TOP,
    SECTION_LISTEN,
    SECTION_CREDENTIAL,
    SECTION_DOMAIN,
    SECTION_DKIM,
    SECTION_SERVICE,
    SECTION_STREAM,
    SECTION_SOURCE,
    SECTION_POOL,
    SECTION_ROUTE,
    SECTION_ALERT,
    SECTION_COUNT
};

enum title_kind { TITLE_NONE, TITLE_NAME, TITLE_LOGIN, TITLE_DOMAIN, TITLE_SELECTOR, TITLE_ROUTE };

struct section_row {
    const char *name;
    enum section parent;
    enum title_kind title;
    size_t bytes;        /* of its struct, whose first field is the title */
    size_t offset;       /* of the array in the parent's struct */
    size_t count_offset; /* of its uint32_t count there */
    const char *help;
    const char *example; /* for the manual */
};
extern const struct section_row section_table[SECTION_COUNT];

enum setting_type {
    SETTING_STR,      /* printable text */
    SETTING_PATH,     /* made absolute from the directory of the file that names it */
    SETTING_BOOL,     /* yes, no */
    SETTING_BOOL_NOT, /* the field says the opposite */
    SETTING_U32,
    SETTING_MS,    /* uint64_t */
    SETTING_BYTES, /* uint64_t */
    SETTING_ENUM,  /* one of words; the field holds its index */
    SETTING_HOST,
    SETTING_IP,
    SETTING_IP_PORT,
    SETTING_B64,      /* the field holds the bytes */
    SETTING_LOG,      /* "stdout", "journald" or a path */
    SETTING_RESOLVER, /* "system", "recursive" or addresses; the field as edge/dns.h wants it */
    /* From here on lists: an array and its count. */
    SETTING_AT_LIST,
    SETTING_NET_LIST,
    SETTING_NAME_LIST,
    SETTING_DOMAIN_LIST,
    SETTING_PATH_LIST,
    SETTING_TARGET_LIST, /* "host", "host:port", "[v6]:port" */
    SETTING_WEIGHT_LIST  /* "name", "name:3" */
};
static inline bool setting_is_list(enum setting_type type)
{
    return type >= SETTING_AT_LIST || type == SETTING_RESOLVER;
}

struct setting_row {
    enum section section;
    const char *name;
    enum setting_type type;
    const char *fallback;     /* the default as it would be written; NULL: none */
    const char *fallback_say; /* where the default depends on something: said instead */
    uint64_t min, max;        /* U32, MS, BYTES; lists: their count; others: bytes of text */
    size_t offset;
    size_t count_offset; /* lists */
    const char *const *words;
    bool is_secret;
    const char *help;
};
extern const struct setting_row setting_table[];
extern const uint32_t setting_count;

/* The row's number in setting_table, or setting_count. */
uint32_t setting_find(enum section section, struct str name);
/* SECTION_TOP where there is none (it has no name). */
enum section section_find(enum section parent, struct str name);
/* The nearest setting or section name inside section: at most two slips away, else "". */
struct str setting_suggest(enum section section, struct str name);
/* The nearest of words, likewise. */
struct str word_suggest(const char *const *words, struct str name);

/* Slips (insert, delete, replace, swap of neighbours) between a and b, at most max + 1. */
uint32_t edit_distance(struct str a, struct str b, uint32_t max);

/* Where values of a file live, and what relative paths are relative to. */
struct value_place {
    struct arena *arena;
    struct str dir;
};
/* Puts the values (one, but for lists) as row wants them into object, the section's struct.
 * E_SYNTAX, E_TOO_BIG with why: a sentence that names the setting. E_NOMEM. */
MUST_USE enum err value_set(const struct value_place *place, const struct setting_row *row,
        const struct str *values, uint32_t value_count, void *object, struct why *why);
/* The default into object. Rows without one: nothing. */
MUST_USE enum err value_set_fallback(
        const struct value_place *place, const struct setting_row *row, void *object);
/* A title as section wants it (domains in lower case as A-labels). */
MUST_USE enum err title_parse(struct arena *arena, enum title_kind kind, struct str text,
        struct str *ret_title, struct why *why);
MUST_USE enum err domain_parse(
        struct arena *arena, struct str text, struct str *ret_domain, struct why *why);

/* The value as it would be written, quotes and braces included; "" where a setting without default
 * is empty. */
void value_print(const struct setting_row *row, const void *object, struct buf *ret_text);
void value_print_json(const struct setting_row *row, const void *object, struct buf *ret_text);
/* "100 to 1000000", "1s to 1h", "one of yes, no"; "" where any will do. */
void value_print_range(const struct setting_row *row, struct buf *ret_text);

/* Fields of an object by their offset. */
static inline void *field_at(void *object, size_t offset)
{
    return (char *)object + offset;
}
static inline const void *field_at_const(const void *object, size_t offset)
{
    return (const char *)object + offset;
}

#endif
