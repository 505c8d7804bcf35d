/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_corpus_test.c - every case of tests/data/spf through the engine (its SOURCES.md has origin
 * and form).
 */
#include "core/buf.h"
#include "core/str.h"
#include "tests/test.h"
#include "tests/unit/mail/spf_world.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

enum { RECORD_COUNT_MAX = 300, LINE_CAP = 1 << 16, CASE_COUNT = 203 };

/* Characters stand for bytes: U+0080 for 0x80. */
static struct str bytes_of(struct arena *arena, const json_t *json)
{
    size_t len = json_string_length(json), out = 0;
    const char *text = json_string_value(json);
    char *bytes = arena_new(arena, len + 1);
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)text[i];
        if (c >= 0xc0) { /* two bytes of UTF-8 are all there is */
            c = (uint8_t)((c & 3) << 6 | ((uint8_t)text[++i] & 0x3f));
        }
        bytes[out++] = (char)c;
    }
    return str_of(bytes, out);
}

static struct str joined(struct arena *arena, const json_t *strings)
{
    struct buf text;
    buf_init(&text, LINE_CAP);
    for (size_t i = 0; i < json_array_size(strings); i++) {
        buf_add(&text, bytes_of(arena, json_array_get(strings, i)));
    }
    struct str copy = arena_str(arena, buf_str(&text));
    buf_done(&text);
    return copy;
}

static enum lookup_type type_of(struct str name)
{
    return str_eq(name, STR("A"))      ? LOOKUP_A
           : str_eq(name, STR("AAAA")) ? LOOKUP_AAAA
           : str_eq(name, STR("MX"))   ? LOOKUP_MX
           : str_eq(name, STR("PTR"))  ? LOOKUP_PTR
                                       : LOOKUP_TXT;
}

static struct str without_dot(struct str s)
{
    return s.len > 0 && s.ptr[s.len - 1] == '.' ? str_sub(s, 0, s.len - 1) : s;
}

/* The data behind an alias, as a resolver finds it. */
static const char *alias_of(const json_t *zone, const char *name, int hops)
{
    for (size_t i = 0; hops > 0 && i < json_array_size(zone); i++) {
        const json_t *record = json_array_get(zone, i);
        if (strcmp(json_string_value(json_object_get(record, "type")), "CNAME") == 0 &&
                strcmp(json_string_value(json_object_get(record, "name")), name) == 0) {
            return json_string_value(json_object_get(record, "data"));
        }
    }
    return NULL;
}

static void add_record(struct arena *arena, const json_t *json, const char *name,
        struct world_record *records, size_t *count)
{
    struct str type = str_from_c(json_string_value(json_object_get(json, "type")));
    struct world_record record = { .name = without_dot(arena_str(arena, str_from_c(name))) };
    if (str_eq(type, STR("SPF"))) {
        return; /* type 99 is not asked for any more (RFC 7208 3.1) */
    }
    record.is_timeout = str_eq(type, STR("TIMEOUT"));
    record.type = type_of(type);
    record.data = json_object_get(json, "strings")
                          ? joined(arena, json_object_get(json, "strings"))
                          : without_dot(bytes_of(arena, json_object_get(json, "data")));
    CHECK(*count < RECORD_COUNT_MAX);
    records[(*count)++] = record;
}

static size_t read_zone(struct arena *arena, const json_t *zone, struct world_record *records)
{
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(zone); i++) {
        const json_t *json = json_array_get(zone, i);
        const char *name = json_string_value(json_object_get(json, "name"));
        const char *alias = alias_of(zone, name, 1);
        if (alias == NULL) {
            add_record(arena, json, name, records, &count);
        }
        for (size_t j = 0; alias != NULL && j < json_array_size(zone); j++) {
            const json_t *other = json_array_get(zone, j);
            if (strcmp(json_string_value(json_object_get(other, "name")), alias) == 0 &&
                    strcmp(alias, name) != 0) {
                add_record(arena, other, name, records, &count);
            }
        }
    }
    return count;
}

static bool is_right(const json_t *results, const char *got)
{
    for (size_t i = 0; i < json_array_size(results); i++) {
        if (strcmp(json_string_value(json_array_get(results, i)), got) == 0) {
            return true;
        }
    }
    return false;
}

static void check_case(const json_t *json, struct world *world, bool is_traced)
{
    const char *id, *host, *helo, *mailfrom, *words = NULL;
    json_t *results;
    CHECK(json_unpack((json_t *)(uintptr_t)json, "{s:s, s:s, s:s, s:s, s:o}", "id", &id, "host",
                  &host, "helo", &helo, "mailfrom", &mailfrom, "results", &results) == 0);
    words = json_string_value(json_object_get(json, "explanation"));
    struct spf_params params = {
        .mail_from = str_from_c(mailfrom), .helo = str_from_c(helo), .is_traced = is_traced
    };
    struct spf *spf;
    REQUIRE_OK(ip_parse(str_from_c(host), &params.ip));
    REQUIRE_OK(spf_begin(&params, &spf));
    world->question_count = 0;
    world_answer(world, spf);
    const struct spf_verdict *verdict = spf_verdict(spf);
    CHECK(is_right(results, spf_result_name(verdict->result)), "%s: got %s: %.*s", id,
            spf_result_name(verdict->result), STR_ARG(verdict->problem));
    if (words != NULL) {
        struct str expected = strcmp(words, "DEFAULT") == 0 ? STR("") : str_from_c(words);
        CHECK(str_eq(verdict->explanation, expected), "%s: got \"%.*s\", expected \"%s\"", id,
                STR_ARG(verdict->explanation), words);
    }
    spf_free(spf);
}

static size_t check_section(const char *line)
{
    static struct world_record records[RECORD_COUNT_MAX];
    struct arena arena;
    arena_init(&arena, 4 << 20);
    json_t *section = json_loads(line, JSON_ALLOW_NUL, NULL);
    CHECK(section != NULL);
    const json_t *cases = json_object_get(section, "cases");
    size_t count = json_array_size(cases);
    struct world world = { records, read_zone(&arena, json_object_get(section, "zone"), records),
        0 };
    for (size_t i = 0; i < count; i++) {
        check_case(json_array_get(cases, i), &world, /*is_traced*/ false);
        check_case(json_array_get(cases, i), &world, /*is_traced*/ true);
    }
    json_decref(section);
    arena_done(&arena);
    return count;
}

TEST(every_case_of_the_rfc_7208_suite_is_right)
{
    static char line[LINE_CAP];
    size_t count = 0;
    FILE *file = fopen("tests/data/spf/rfc7208.jsonl", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        count += check_section(line);
    }
    fclose(file);
    CHECK_U64(count, CASE_COUNT);
}
