/* SPDX-License-Identifier: Apache-2.0
 *
 * print_test.c - what is printed can be read again; secrets are not in it; the manual names all.
 */
#include "config/table_priv.h"
#include "core/str.h"
#include "rig.h"

static void load_full(struct config **ret_config)
{
    struct config_report *report = mem_new(sizeof *report);
    REQUIRE_OK(config_load("tests/data/config/good/full.conf", ret_config, report));
    config_report_done(report);
    mem_free(report);
}

static void check_round_trip(bool is_explained)
{
    struct config *config = NULL, *again = NULL;
    struct config_report *report = mem_new(sizeof *report);
    struct buf first, second;
    buf_init(&first, 1 << 20);
    buf_init(&second, 1 << 20);
    load_full(&config);
    config_print(config, is_explained, &first);
    REQUIRE_OK(buf_err(&first));
    enum err err = config_parse(buf_str(&first), STR("printed"), &again, report);
    config_report_print(report, &second);
    CHECK(err == OK, "%.*s", STR_ARG(buf_str(&second)));
    buf_clear(&second);
    config_print(again, is_explained, &second);
    for (struct str s = buf_str(&first), line; str_cut(&s, '\n', &line);) {
        if (str_find(line, STR("(hidden)")) == line.len) {
            CHECK(str_find(buf_str(&second), line) < second.len, "lost: %.*s", STR_ARG(line));
        }
    }
    CHECK(second.len <= first.len);
    config_give(config);
    config_give(again);
    config_report_done(report);
    mem_free(report);
    buf_done(&first);
    buf_done(&second);
}

TEST(what_is_printed_can_be_read_again)
{
    check_round_trip(/*is_explained*/ false);
}

TEST(what_is_printed_with_explanations_can_be_read_again)
{
    check_round_trip(/*is_explained*/ true);
}

TEST(secrets_are_never_printed)
{
    struct config *config = NULL;
    struct buf text;
    buf_init(&text, 1 << 20);
    load_full(&config);
    config_print(config, true, &text);
    config_print(config, false, &text);
    config_print_json(config, &text);
    REQUIRE_OK(buf_err(&text));
    CHECK(str_find(buf_str(&text), STR("(hidden)")) < text.len);
    CHECK(str_find(buf_str(&text), STR("$y$j9T")) == text.len);
    CHECK(str_find(buf_str(&text), STR("fonJM691")) == text.len);
    CHECK(str_find(buf_str(&text), STR("kdS1SJEg")) == text.len);
    CHECK(str_find(buf_str(&text), STR("9MTb18mA")) == text.len);
    CHECK(str_find(buf_str(&text), STR("VmyI/Ku3")) == text.len);
    config_give(config);
    buf_done(&text);
}

TEST(explanations_stay_within_100_columns_and_name_every_setting)
{
    struct config *config = NULL;
    struct buf text;
    buf_init(&text, 1 << 20);
    load_full(&config);
    config_print(config, true, &text);
    for (uint32_t i = 0; i < setting_count; i++) {
        char name[64];
        fmt(name, sizeof name, "%s =", setting_table[i].name);
        bool is_there = str_find(buf_str(&text), str_from_c(name)) < text.len;
        CHECK(is_there || setting_table[i].section == SECTION_DKIM, "%s", name);
    }
    for (struct str s = buf_str(&text), line; str_cut(&s, '\n', &line);) {
        bool is_comment = str_starts(str_trim(line), STR("#"));
        CHECK(!is_comment || line.len <= 100, "%.*s", STR_ARG(line));
    }
    config_give(config);
    buf_done(&text);
}

TEST(json_is_one_object_with_types)
{
    struct config *config = NULL;
    struct buf text;
    buf_init(&text, 1 << 20);
    load_full(&config);
    config_print_json(config, &text);
    struct str json = buf_str(&text);
    static const char *const parts[] = { "{\n  \"hostname\": \"mail.example.com\",",
        "\"ca-file\": \"tests/data/config/good/a\\\\b\\\"c$d.pem\"", "\"sandbox\": false",
        "\"message-bytes-max\": 1048576", "\"connection-idle\": 250",
        "\"outbound-tls\": \"required\"", "\"resolver\": \"192.0.2.53,[2001:db8::1]:5353\"",
        "\"address\": [\"127.0.0.1:2525\", \"[::1]:2525\"]", "\"password-hash\": \"(hidden)\"",
        "\"password-hash\": null", "\"dsn\": false", "\"address\": null",
        "\"sources\": [\"a:3\", \"b\"]", "\"dkim\": []",
        "\"networks\": [\"127.0.0.0/8\", \"::1/128\"]" };
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        CHECK(str_find(json, str_from_c(parts[i])) < json.len, "%s", parts[i]);
    }
    config_give(config);
    buf_done(&text);
}

TEST(json_escapes_what_it_must)
{
    struct arena arena;
    struct why why;
    struct buf text;
    arena_init(&arena, 65536);
    buf_init(&text, 65536);
    struct config_route route = { .username = STR_INIT("a\"b\\c\x01") };
    const struct setting_row *row = &setting_table[setting_find(SECTION_ROUTE, STR("username"))];
    value_print_json(row, &route, &text);
    CHECK_STR(buf_str(&text), STR("\"a\\\"b\\\\c\\u0001\""));
    struct value_place place = { .arena = &arena };
    struct str value = route.username;
    CHECK_ERR(value_set(&place, row, &value, 1, &route, &why), E_SYNTAX); /* so none comes there */
    buf_done(&text);
    arena_done(&arena);
}

TEST(the_manual_names_every_setting)
{
    struct buf roff, markdown;
    buf_init(&roff, 1 << 20);
    buf_init(&markdown, 1 << 20);
    config_print_manual(&roff);
    config_print_markdown(&markdown);
    REQUIRE_OK(buf_err(&roff));
    REQUIRE_OK(buf_err(&markdown));
    for (uint32_t i = 0; i < setting_count; i++) {
        char name[64];
        fmt(name, sizeof name, "| `%s` |", setting_table[i].name);
        CHECK(str_find(buf_str(&markdown), str_from_c(name)) < markdown.len, "%s", name);
    }
    for (enum section s = SECTION_TOP + 1; s < SECTION_COUNT; s++) {
        char name[64];
        fmt(name, sizeof name, ".SH SECTION %s\n", section_table[s].name);
        CHECK(str_find(buf_str(&roff), str_from_c(name)) < roff.len, "%s", name);
    }
    CHECK(str_find(buf_str(&roff), STR(".B rcpt\\-count\\-max\n")) < roff.len);
    CHECK(str_find(buf_str(&roff), STR("(number, 100 to 10000; default: 1000)")) < roff.len);
    CHECK(str_find(buf_str(&roff), STR("\\e")) < roff.len);
    buf_done(&roff);
    buf_done(&markdown);
}
