/* SPDX-License-Identifier: Apache-2.0
 *
 * address_typo_test.c - slips are mended, right domains are left alone: the corpus, slips made by
 * rule from every domain in data/mailbox_domains, and several hundred domains that exist.
 */
#include "core/str.h"
#include "identity/address_priv.h"
#include "identity/data_priv.h"
#include "tests/test.h"

#include <stdio.h>

enum { LINE_CAP = 1024 };

static struct str find(const struct typo_index *index, const char *typed, enum typo_trust trust,
        char dst[DNS_NAME_CAP])
{
    struct str meant = { 0 };
    (void)(typo_find(index, str_from_c(typed), trust, dst, &meant) || (meant.len = 0));
    return meant;
}

TEST(every_domain_of_the_corpus_is_mended_or_left_alone)
{
    struct typo_index index;
    char line[LINE_CAP], dst[DNS_NAME_CAP];
    uint32_t count = 0;
    FILE *file = fopen("tests/data/typos/typos.tsv", "re");
    CHECK(file != NULL && fgets(line, sizeof line, file) != NULL); /* its heading */
    REQUIRE_OK(typo_index_open(&index));
    for (; fgets(line, sizeof line, file) != NULL; count++) {
        char *tab = strchr(line, '\t');
        *tab = '\0';
        CHECK_STR(find(&index, line, TYPO_UNKNOWN, dst), str_trim(str_from_c(tab + 1)));
    }
    CHECK_U64(count, 558);
    fclose(file);
    typo_index_close(&index);
}

TEST(no_domain_that_exists_is_mended)
{
    static const enum typo_trust trusts[] = { TYPO_UNKNOWN, TYPO_ABSENT, TYPO_MAILABLE };
    struct typo_index index;
    char line[LINE_CAP], dst[DNS_NAME_CAP];
    FILE *file = fopen("tests/data/typos/real_domains.txt", "re");
    CHECK(file != NULL);
    REQUIRE_OK(typo_index_open(&index));
    while (fgets(line, sizeof line, file) != NULL) {
        struct str name, rest = str_from_c(line);
        while (identity_data_field(&rest, &name)) {
            char typed[DNS_NAME_CAP];
            CHECK(str_to_c(name, typed, sizeof typed));
            for (size_t i = 0; i < COUNT_OF(trusts); i++) {
                CHECK_STR(find(&index, typed, trusts[i], dst), STR(""));
            }
        }
    }
    fclose(file);
    typo_index_close(&index);
}

/* ---- slips made by rule ---- */

struct tally {
    uint32_t count, right, wrong, missed;
};

static void try(const struct typo_index *index, const struct typo_target *target, struct str typed,
        struct tally *tally)
{
    char room[DNS_NAME_CAP], dst[DNS_NAME_CAP];
    if (name_set_has(&index->right, typed) || !str_to_c(typed, room, sizeof room)) {
        return; /* somebody else's domain */
    }
    struct str meant = find(index, room, TYPO_UNKNOWN, dst);
    tally->count++;
    tally->right += str_eq(meant, target->domain);
    tally->missed += meant.len == 0;
    tally->wrong += meant.len > 0 && !str_eq(meant, target->domain);
}

/* Swap, drop, double and the key beside, at every letter before the top level. */
static void try_all(
        const struct typo_index *index, const struct typo_target *target, struct tally *tally)
{
    struct str name = target->domain;
    char typed[2 * TYPO_BYTES_MAX];
    for (size_t i = 0; i < target->head.len; i++) {
        if (name.ptr[i] == '.') {
            continue;
        }
        memcpy(typed, name.ptr, name.len);
        if (i + 1 < target->head.len && name.ptr[i + 1] != '.' && name.ptr[i] != name.ptr[i + 1]) {
            typed[i] = name.ptr[i + 1];
            typed[i + 1] = name.ptr[i];
            try(index, target, str_of(typed, name.len), tally);
        }
        memcpy(typed + i, name.ptr + i + 1, name.len - i - 1);
        try(index, target, str_of(typed, name.len - 1), tally);
        memcpy(typed, name.ptr, i + 1);
        memcpy(typed + i + 1, name.ptr + i, name.len - i);
        try(index, target, str_of(typed, name.len + 1), tally);
        for (char c = 'a'; c <= 'z'; c++) {
            memcpy(typed, name.ptr, name.len);
            typed[i] = c;
            if (index->near[(uint8_t)name.ptr[i] & 127][c / 8] >> (c % 8) & 1) {
                try(index, target, str_of(typed, name.len), tally);
            }
        }
    }
}

TEST(slips_made_by_rule_lead_back_to_the_great_providers)
{
    struct typo_index index;
    struct tally tally = { 0 };
    REQUIRE_OK(typo_index_open(&index));
    for (uint32_t i = 0; i < index.target_count; i++) {
        if (index.target[i].weight >= 45 && index.target[i].label_len >= 5) {
            try_all(&index, &index.target[i], &tally);
        }
    }
    CHECK(tally.count > 1000, "%u slips", tally.count);
    CHECK(tally.right * 1000 >= tally.count * 990, "%u of %u right, %u missed, %u wrong",
            tally.right, tally.count, tally.missed, tally.wrong);
    typo_index_close(&index);
}

/* ---- rules one by one ---- */

TEST(dots_top_levels_and_tails_are_slips_of_their_own)
{
    static const struct {
        const char *typed, *meant;
    } rows[] = {
        { "gmailcom", "gmail.com" },
        { "gmail..com", "gmail.com" },
        { "gmail,com", "gmail.com" },
        { "gmail.com.", "gmail.com" },
        { "gmail.com,", "gmail.com" },
        { "gmail", "gmail.com" },
        { "yahoo.couk", "yahoo.co.uk" },
        { "hotmaaill.con", "hotmail.com" }, /* the top level first, then the name */
        { "acme.con", "acme.com" },         /* no such top level, whoever acme is */
        { "acme.co", "" },                  /* Colombia's */
        { "gmail.de", "" },                 /* exists, and is no slip of com */
        { "sub.gmail.com", "" },
        { "ymail.com", "" },
        { "gmx.net", "" },
        { "host.lan", "" },
        { "", "" },
        { ".", "" },
        { "....", "" },
        { "a-name-much-longer-than-any-of-a-provider-of-mail.example", "" },
    };
    struct typo_index index;
    char dst[DNS_NAME_CAP];
    REQUIRE_OK(typo_index_open(&index));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CHECK_STR(find(&index, rows[i].typed, TYPO_UNKNOWN, dst), str_from_c(rows[i].meant));
    }
    typo_index_close(&index);
}

TEST(a_domain_without_mail_is_mended_more_freely_and_one_with_mail_less)
{
    struct typo_index index;
    char dst[DNS_NAME_CAP];
    REQUIRE_OK(typo_index_open(&index));
    CHECK_STR(find(&index, "gmailx.com", TYPO_UNKNOWN, dst), STR(""));
    CHECK_STR(find(&index, "gmailx.com", TYPO_ABSENT, dst), STR("gmail.com"));
    CHECK_STR(find(&index, "outbook.com", TYPO_UNKNOWN, dst), STR("outlook.com"));
    CHECK_STR(find(&index, "outbook.com", TYPO_MAILABLE, dst), STR(""));
    typo_index_close(&index);
}
