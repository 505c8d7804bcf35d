/* SPDX-License-Identifier: Apache-2.0
 *
 * table_test.c - the tables are sound: defaults within their ranges, names unique, suggestions
 * near.
 */
#include "config/table_priv.h"
#include "core/str.h"
#include "tests/test.h"

TEST(every_default_is_accepted_by_its_own_row)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct value_place place = { .arena = &arena };
    for (uint32_t i = 0; i < setting_count; i++) {
        const struct setting_row *row = &setting_table[i];
        struct config_listen *object = arena_new(&arena, sizeof(struct config));
        REQUIRE_OK(value_set_fallback(&place, row, object));
        if (!row->fallback) {
            continue;
        }
        struct buf text;
        buf_init(&text, 4096);
        value_print(row, object, &text);
        struct str printed = str_trim(buf_str(&text));
        bool is_quoted = printed.len > 1 && printed.ptr[0] == '"';
        CHECK_STR(is_quoted ? str_sub(printed, 1, printed.len - 2) : printed,
                str_from_c(row->fallback));
        buf_done(&text);
    }
    arena_done(&arena);
}

TEST(rows_are_complete_and_unique)
{
    for (uint32_t i = 0; i < setting_count; i++) {
        const struct setting_row *row = &setting_table[i];
        CHECK(row->name && row->help, "row %u", i);
        CHECK_U64(setting_find(row->section, str_from_c(row->name)), i);
        CHECK((row->type == SETTING_ENUM) == (row->words != NULL), "%s", row->name);
        CHECK(row->type != SETTING_U32 || row->max <= UINT32_MAX, "%s", row->name);
        CHECK(!row->is_secret || row->type == SETTING_STR || row->type == SETTING_B64, "%s",
                row->name);
        CHECK(row->offset < section_table[row->section].bytes, "%s", row->name);
        bool needs_max = setting_is_list(row->type) || row->type == SETTING_U32 ||
                         row->type == SETTING_MS || row->type == SETTING_BYTES ||
                         row->type == SETTING_STR || row->type == SETTING_PATH ||
                         row->type == SETTING_B64 || row->type == SETTING_LOG;
        CHECK(!needs_max || (row->max >= row->min && row->max > 0), "%s", row->name);
        CHECK(i == 0 || row->section >= setting_table[i - 1].section,
                "%s: rows of a section stand together", row->name);
    }
}

TEST(slips_are_counted)
{
    CHECK_U64(edit_distance(STR("hostname"), STR("hostname"), 2), 0);
    CHECK_U64(edit_distance(STR("hostnam"), STR("hostname"), 2), 1);
    CHECK_U64(edit_distance(STR("hsotname"), STR("hostname"), 2), 1);
    CHECK_U64(edit_distance(STR("hostmane"), STR("hostname"), 2), 2);
    CHECK_U64(edit_distance(STR("hostnames"), STR("hostname"), 2), 1);
    CHECK_U64(edit_distance(STR(""), STR("ab"), 2), 2);
    CHECK_U64(edit_distance(STR("abc"), STR("xyz"), 2), 3);
    char text[100];
    memset(text, 'a', sizeof text);
    CHECK_U64(edit_distance(str_of(text, sizeof text), STR("a"), 2), 3);
}

TEST(the_nearest_name_is_suggested_and_no_far_one)
{
    CHECK_STR(setting_suggest(SECTION_TOP, STR("hostnam")), STR("hostname"));
    CHECK_STR(setting_suggest(SECTION_TOP, STR("rcpt-count-mx")), STR("rcpt-count-max"));
    CHECK_STR(setting_suggest(SECTION_TOP, STR("rout")), STR("route"));
    CHECK_STR(setting_suggest(SECTION_DOMAIN, STR("dkm")), STR("dkim"));
    CHECK_STR(setting_suggest(SECTION_LISTEN, STR("network")), STR("networks"));
    CHECK_STR(setting_suggest(SECTION_TOP, STR("colour")), STR(""));
    CHECK_STR(setting_suggest(SECTION_ROUTE, STR("xy")), STR("")); /* nothing of "to" is left */
}

TEST(a_value_that_fits_no_type_is_refused_by_each)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct value_place place = { .arena = &arena, .dir = STR("/d") };
    struct str bad = STR("\x01 \xff");
    for (uint32_t i = 0; i < setting_count; i++) {
        const struct setting_row *row = &setting_table[i];
        void *object = arena_new(&arena, sizeof(struct config));
        struct why why = { { 0 } };
        CHECK(value_set(&place, row, &bad, 1, object, &why) == E_SYNTAX, "%s", row->name);
        CHECK(strstr(why.text, row->name) != NULL, "%s: %s", row->name, why.text);
        for (const char *c = why.text; *c; c++) {
            CHECK(*c >= ' ' && *c < 127, "%s: unescaped", row->name);
        }
    }
    arena_done(&arena);
}

TEST(a_path_longer_than_its_limit_is_refused)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct value_place place = { .arena = &arena, .dir = STR("/a/directory") };
    const struct setting_row *row = &setting_table[setting_find(SECTION_TOP, STR("control"))];
    struct config *config = arena_new(&arena, sizeof *config);
    struct why why;
    char text[200];
    memset(text, 'x', sizeof text);
    struct str value = str_of(text, 107 - 13); /* sun_path holds 107 and a NUL */
    REQUIRE_OK(value_set(&place, row, &value, 1, config, &why));
    CHECK_U64(config->control_path.len, 107);
    value.len++;
    CHECK_ERR(value_set(&place, row, &value, 1, config, &why), E_SYNTAX);
    arena_done(&arena);
}
