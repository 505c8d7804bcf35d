/* SPDX-License-Identifier: Apache-2.0
 *
 * suggest.c - finding rows of the tables by name, exactly or by "did you mean".
 */
#include "config/table_priv.h"

#include "core/str.h"

enum { SUGGEST_SLIPS_MAX = 2, SUGGEST_NAME_BYTES_MAX = 40 };

uint32_t setting_find(enum section section, struct str name)
{
    for (uint32_t i = 0; i < setting_count; i++) {
        const struct setting_row *row = &setting_table[i];
        if (row->section == section && str_eq(str_from_c(row->name), name)) {
            return i;
        }
    }
    return setting_count;
}

enum section section_find(enum section parent, struct str name)
{
    for (enum section s = SECTION_TOP + 1; s < SECTION_COUNT; s++) {
        if (section_table[s].parent == parent && str_eq(str_from_c(section_table[s].name), name)) {
            return s;
        }
    }
    return SECTION_TOP;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: three rows of the matrix are enough. */
uint32_t edit_distance(struct str a, struct str b, uint32_t max)
{
    if (a.len > SUGGEST_NAME_BYTES_MAX || b.len > SUGGEST_NAME_BYTES_MAX) {
        return max + 1;
    }
    uint32_t rows[3][SUGGEST_NAME_BYTES_MAX + 1];
    uint32_t *above2 = rows[0], *above = rows[1], *row = rows[2];
    for (uint32_t j = 0; j <= b.len; j++) {
        above[j] = above2[j] = j;
    }
    for (uint32_t i = 1; i <= a.len; i++) {
        row[0] = i;
        for (uint32_t j = 1; j <= b.len; j++) {
            uint32_t replace = above[j - 1] + (a.ptr[i - 1] != b.ptr[j - 1]);
            row[j] = min_u32(replace, min_u32(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1]) {
                row[j] = min_u32(row[j], above2[j - 2] + 1);
            }
        }
        uint32_t *old = above2;
        above2 = above;
        above = row;
        row = old;
    }
    return min_u32(above[b.len], max + 1);
}

struct nearest {
    struct str name;
    struct str best;
    uint32_t slips;
};

static void nearest_try(struct nearest *nearest, const char *candidate)
{
    struct str word = str_from_c(candidate);
    uint32_t slips = edit_distance(nearest->name, word, SUGGEST_SLIPS_MAX);
    /* Of a word of two letters nothing is left after two slips. */
    if (slips < nearest->slips && slips < word.len) {
        nearest->best = word;
        nearest->slips = slips;
    }
}

struct str setting_suggest(enum section section, struct str name)
{
    struct nearest nearest = { .name = name, .slips = SUGGEST_SLIPS_MAX + 1 };
    for (uint32_t i = 0; i < setting_count; i++) {
        if (setting_table[i].section == section) {
            nearest_try(&nearest, setting_table[i].name);
        }
    }
    for (enum section s = SECTION_TOP + 1; s < SECTION_COUNT; s++) {
        if (section_table[s].parent == section) {
            nearest_try(&nearest, section_table[s].name);
        }
    }
    if (section == SECTION_TOP) {
        nearest_try(&nearest, "include");
    }
    return nearest.best;
}

struct str word_suggest(const char *const *words, struct str name)
{
    struct nearest nearest = { .name = name, .slips = SUGGEST_SLIPS_MAX + 1 };
    for (uint32_t i = 0; words[i]; i++) {
        nearest_try(&nearest, words[i]);
    }
    return nearest.best;
}
