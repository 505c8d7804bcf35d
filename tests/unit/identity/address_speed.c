/* SPDX-License-Identifier: Apache-2.0
 *
 * address_speed.c - figures of the address checks, one a line: cases, right, seconds. For
 * bench/identity; the tests beside it decide what is right.
 */
#include "core/str.h"
#include "edge/clock.h"
#include "identity/address_priv.h"

#include <stdio.h>
#include <time.h>

#include <jansson.h>

enum { LINE_CAP = 4096, ADDRESS_COUNT = 2000, ROUND_COUNT = 200 };

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void say(const char *what, uint32_t count, uint32_t right, double s)
{
    printf("%-44s %7u cases  %7u right  %9.6f s\n", what, count, right, s);
}

static bool is_isemail_right(const struct identity_addresses *lists, const char *line)
{
    static struct identity_address address;
    json_t *row = json_loads(line, JSON_ALLOW_NUL, NULL);
    const json_t *text = json_object_get(row, "address");
    struct str category = str_from_c(json_string_value(json_object_get(row, "category")));
    bool is_signup = str_eq(category, STR("ISEMAIL_VALID_CATEGORY")) ||
                     str_eq(category, STR("ISEMAIL_DNSWARN"));
    bool is_smtp = is_signup || str_eq(category, STR("ISEMAIL_RFC5321"));
    identity_address_look(
            lists, str_of(json_string_value(text), json_string_length(text)), &address);
    bool is_right = address.is_smtp == is_smtp && address.is_signup == is_signup &&
                    address.is_header == !str_eq(category, STR("ISEMAIL_ERR"));
    json_decref(row);
    return is_right;
}

/* False: one is not right. */
static bool syntax(const struct identity_addresses *lists)
{
    char line[LINE_CAP];
    uint32_t count = 0, right = 0;
    FILE *file = fopen("tests/data/addresses/isemail.jsonl", "re");
    double begun = cpu_s();
    for (; file != NULL && fgets(line, sizeof line, file) != NULL; count++) {
        right += is_isemail_right(lists, line);
    }
    say("address syntax, three forms (isemail)", count, right, cpu_s() - begun);
    return file != NULL && fclose(file) == 0 && count > 0 && right == count;
}

/* False: under 97 %, or a right domain got a suggestion. */
static bool corpus(const struct typo_index *index)
{
    char line[LINE_CAP], dst[DNS_NAME_CAP];
    uint32_t count = 0, right = 0, plain_count = 0, plain_right = 0;
    FILE *file = fopen("tests/data/typos/typos.tsv", "re");
    double begun = cpu_s();
    for (bool is_head = true; file != NULL && fgets(line, sizeof line, file) != NULL;
            is_head = false) {
        struct str text = str_from_c(line), meant = { 0 };
        struct str typed = str_sub(text, 0, str_index(text, '\t'));
        struct str expected = str_trim(str_from(text, typed.len + 1));
        if (is_head) {
            continue;
        }
        bool is_found = typo_find(index, typed, TYPO_UNKNOWN, dst, &meant);
        bool is_right = is_found ? str_eq(meant, expected) : expected.len == 0;
        count += expected.len > 0;
        right += expected.len > 0 && is_right;
        plain_count += expected.len == 0;
        plain_right += expected.len == 0 && is_right;
    }
    say("typo suggestions (corpus)", count, right, cpu_s() - begun);
    say("right domains left alone (corpus)", plain_count, plain_right, 0);
    return file != NULL && fclose(file) == 0 && count > 0 && right * 100 >= count * 97 &&
           plain_right == plain_count;
}

static bool real_domains(const struct typo_index *index)
{
    char line[LINE_CAP], dst[DNS_NAME_CAP];
    uint32_t count = 0, right = 0;
    FILE *file = fopen("tests/data/typos/real_domains.txt", "re");
    double begun = cpu_s();
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        struct str name, meant, rest = str_trim(str_from_c(line));
        while (str_cut(&rest, ' ', &name)) {
            count++;
            right += !typo_find(index, name, TYPO_UNKNOWN, dst, &meant);
        }
    }
    say("domains that exist, left alone", count, right, cpu_s() - begun);
    return file != NULL && fclose(file) == 0 && count > 0 && right == count;
}

/* ---- slips made by rule ---- */

struct tally {
    uint32_t count, right, wrong;
};

static void try(
        const struct typo_index *index, struct str typed, struct str expected, struct tally *tally)
{
    char dst[DNS_NAME_CAP];
    struct str meant = { 0 };
    if (name_set_has(&index->right, typed)) {
        return;
    }
    bool is_found = typo_find(index, typed, TYPO_UNKNOWN, dst, &meant);
    tally->count++;
    tally->right += is_found && str_eq(meant, expected);
    tally->wrong += is_found && !str_eq(meant, expected);
}

static void try_letter(
        const struct typo_index *index, struct str name, size_t i, struct tally *tally)
{
    char typed[2 * TYPO_BYTES_MAX];
    memcpy(typed, name.ptr, name.len);
    typed[i] = name.ptr[i + 1];
    typed[i + 1] = name.ptr[i];
    try(index, str_of(typed, name.len), name, tally);
    memcpy(typed, name.ptr, i + 1);
    memcpy(typed + i + 1, name.ptr + i, name.len - i);
    try(index, str_of(typed, name.len + 1), name, tally);
    memcpy(typed + i, name.ptr + i + 1, name.len - i - 1);
    try(index, str_of(typed, name.len - 1), name, tally);
    for (char c = 'a'; c <= 'z'; c++) {
        memcpy(typed, name.ptr, name.len);
        typed[i] = c;
        if (index->near[(uint8_t)name.ptr[i] & 127][c / 8] >> (c % 8) & 1) {
            try(index, str_of(typed, name.len), name, tally);
        }
    }
}

static void by_rule(const struct typo_index *index, uint32_t weight_min, const char *what)
{
    struct tally tally = { 0 };
    double begun = cpu_s();
    for (uint32_t i = 0; i < index->target_count; i++) {
        const struct typo_target *target = &index->target[i];
        for (size_t at = 0; target->weight >= weight_min && at + 1 < target->head.len; at++) {
            try_letter(index, target->domain, at, &tally);
        }
    }
    say(what, tally.count, tally.right, cpu_s() - begun);
    printf("%-44s %7u wrong, %u without a suggestion\n", "", tally.wrong,
            tally.count - tally.right - tally.wrong);
}

/* ---- speed ---- */

/* Every eighth address is mistyped: names from the corpus; else great and small providers. */
static bool speed(const struct identity_addresses *lists, const struct typo_index *index)
{
    static struct identity_address address;
    static char text[ADDRESS_COUNT][64];
    static const char *const slips[] = { "gmial.com", "hotmail.con", "yaho.co.uk", "gmx.ed" };
    uint32_t good = 0;
    for (uint32_t i = 0; i < ADDRESS_COUNT; i++) {
        struct str domain = i % 8 == 0 ? str_from_c(slips[i / 8 % COUNT_OF(slips)])
                                       : index->target[i % index->target_count].domain;
        fmt(text[i], sizeof text[i], "jo.doe%u@%.*s", i, STR_ARG(domain));
    }
    double begun = cpu_s();
    for (uint32_t round = 0; round < ROUND_COUNT; round++) {
        for (uint32_t i = 0; i < ADDRESS_COUNT; i++) {
            identity_address_look(lists, str_from_c(text[i]), &address);
            good += identity_address_verdict(&address) == IDENTITY_ADDRESS_GOOD;
        }
    }
    double s = cpu_s() - begun;
    printf("%-44s %7.0f addresses/s a core (%u looked at, %u good)\n", "address syntax and typo",
            (double)ADDRESS_COUNT * ROUND_COUNT / s, (uint32_t)(ADDRESS_COUNT * ROUND_COUNT), good);
    return (double)ADDRESS_COUNT * ROUND_COUNT / s >= 100000;
}

int main(void)
{
    struct identity_addresses *lists;
    struct typo_index index;
    double begun = cpu_s();
    if (identity_addresses_open(&lists) != OK || typo_index_open(&index) != OK) {
        fputs("out of memory\n", stderr);
        return 1;
    }
    printf("%-44s %.1f ms\n", "lists and index, twice", (cpu_s() - begun) * 1000);
    bool is_right = syntax(lists);
    is_right = corpus(&index) && is_right;
    is_right = real_domains(&index) && is_right;
    by_rule(&index, 45, "slips by rule of the great providers");
    by_rule(&index, 1, "slips by rule of all providers");
    is_right = speed(lists, &index) && is_right;
    typo_index_close(&index);
    identity_addresses_close(lists);
    return is_right ? 0 : 1;
}
