/* SPDX-License-Identifier: Apache-2.0
 *
 * dnsbl.c - reads data/dnsbl and weighs answers (RFC 5782 2.1, 2.3).
 */
#include "identity/dnsbl_priv.h"

#include "core/str.h"
#include "identity/data_priv.h"

/* ---- the file ---- */

static bool read_list_line(struct str line, struct dnsbl_list *list)
{
    struct str field;
    if (!identity_data_field(&line, &list->zone) || !identity_data_field(&line, &field)) {
        return false;
    }
    list->is_allow = str_eq(field, STR("allow"));
    if (!list->is_allow && !str_eq(field, STR("block"))) {
        return false;
    }
    while (identity_data_field(&line, &field)) {
        if (str_eq(field, STR("ip4"))) {
            list->has_ip4 = true;
        } else if (str_eq(field, STR("ip6"))) {
            list->has_ip6 = true;
        } else if (str_eq(field, STR("name"))) {
            list->has_name = true;
        } else {
            return false;
        }
    }
    return list->has_ip4 || list->has_ip6 || list->has_name;
}

static bool read_weight(struct str word, enum dnsbl_weight *ret_weight)
{
    static const struct str words[] = { STR_INIT("fail"), STR_INIT("warn"), STR_INIT("good"),
        STR_INIT("refused") };
    for (uint32_t i = 0; i < COUNT_OF(words); i++) {
        if (str_eq(word, words[i])) {
            *ret_weight = (enum dnsbl_weight)i;
            return true;
        }
    }
    return false;
}

static bool read_code(struct str line, struct dnsbl_list *list)
{
    struct str word;
    if (list->code_count == DNSBL_CODE_COUNT_MAX) {
        return false;
    }
    struct dnsbl_code *code = &list->code[list->code_count];
    if (!identity_data_field(&line, &code->answer) || !identity_data_field(&line, &word) ||
            !read_weight(word, &code->weight)) {
        return false;
    }
    code->meaning = str_trim(line);
    list->code_count++;
    return code->meaning.len > 0;
}

static bool read_test(struct str line, struct dnsbl_list *list)
{
    size_t equals = str_rindex(line, '=');
    struct str name = str_trim(str_sub(line, 0, equals)), word = str_from(line, equals + 1);
    if (str_eq(word, STR("yes"))) {
        list->test_yes = name;
    } else if (str_eq(word, STR("no"))) {
        list->test_no = name;
    } else {
        return false;
    }
    return name.len > 0;
}

static bool read_line(struct str line, struct dnsbl_list *list)
{
    struct str key;
    if (!identity_data_field(&line, &key)) {
        return false;
    }
    if (str_eq(key, STR("code"))) {
        return read_code(line, list);
    }
    if (str_eq(key, STR("test"))) {
        return read_test(str_trim(line), list);
    }
    if (str_eq(key, STR("terms"))) {
        list->terms = str_trim(line);
        return true;
    }
    if (str_eq(key, STR("delist"))) {
        list->delist = str_trim(line);
        return true;
    }
    return false;
}

bool dnsbl_next(struct str *rest, struct dnsbl_list *ret_list, struct str *ret_fault)
{
    struct dnsbl_list list = { 0 };
    struct str line, keyword = STR("list "), here = *rest;
    *ret_fault = STR("");
    if (!identity_data_line(&here, &line)) {
        return false;
    }
    *ret_fault = line;
    if (!str_starts(line, keyword) || !read_list_line(str_from(line, keyword.len), &list)) {
        return false;
    }
    *rest = here;
    while (identity_data_line(&here, &line) && !str_starts(line, keyword)) {
        *ret_fault = line;
        if (!read_line(line, &list)) {
            return false;
        }
        *rest = here;
    }
    *ret_fault = STR("");
    *ret_list = list;
    return true;
}

uint32_t dnsbl_count(struct str text)
{
    struct dnsbl_list list;
    struct str fault;
    uint32_t count = 0;
    while (dnsbl_next(&text, &list, &fault)) {
        count++;
    }
    return count;
}

bool dnsbl_at(struct str text, uint32_t index, struct dnsbl_list *ret_list)
{
    struct str fault;
    for (uint32_t i = 0; dnsbl_next(&text, ret_list, &fault); i++) {
        if (i == index) {
            return true;
        }
    }
    return false;
}

/* ---- answers ---- */

/* "8", "4-7", "&8" */
static bool octet_matches(struct str pattern, uint8_t octet)
{
    uint64_t low, high;
    if (pattern.len > 0 && pattern.ptr[0] == '&') {
        return str_to_u64(str_from(pattern, 1), 255, &low) == OK && (octet & low) != 0;
    }
    size_t dash = str_index(pattern, '-');
    if (str_to_u64(str_sub(pattern, 0, dash), 255, &low) != OK) {
        return false;
    }
    high = low;
    if (dash < pattern.len && str_to_u64(str_from(pattern, dash + 1), 255, &high) != OK) {
        return false;
    }
    return low <= octet && octet <= high;
}

static bool answer_matches(struct str pattern, struct ip answer)
{
    for (uint32_t i = 0; i < 4; i++) {
        struct str part;
        if (!str_cut(&pattern, '.', &part) || !octet_matches(part, answer.byte[i])) {
            return false;
        }
    }
    return true;
}

/* What servers of lists say to those that they do not serve. */
static struct str refusal_words(uint8_t octet)
{
    switch (octet) {
    case 252:
        return STR("it says that the question is misspelt");
    case 254:
        return STR("it does not answer public resolvers: use one of your own");
    case 255:
        return STR("it says that there were too many questions");
    default:
        return STR("it refuses us");
    }
}

enum dnsbl_weight dnsbl_weigh(
        const struct dnsbl_list *list, struct ip answer, struct str *ret_meaning)
{
    const uint8_t *b = answer.byte;
    if (answer.family != IP_V4 || b[0] != 127) {
        *ret_meaning = STR("it answers outside 127/8: dead, or its domain has been sold");
        return DNSBL_DEAD;
    }
    if (b[1] == 255 && b[2] == 255) {
        *ret_meaning = refusal_words(b[3]);
        return DNSBL_REFUSED;
    }
    enum dnsbl_weight weight = DNSBL_UNKNOWN;
    *ret_meaning = STR("a code that the list does not explain");
    for (uint32_t i = 0; i < list->code_count; i++) {
        const struct dnsbl_code *code = &list->code[i];
        bool is_refusal = code->weight == DNSBL_REFUSED; /* such an answer is nothing else */
        bool is_heavier = weight == DNSBL_UNKNOWN || is_refusal ||
                          (weight != DNSBL_REFUSED && code->weight < weight);
        if (answer_matches(code->answer, answer) && is_heavier) {
            weight = code->weight;
            *ret_meaning = code->meaning;
        }
    }
    return weight;
}
