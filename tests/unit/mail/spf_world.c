/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_world.c - answers from a table, as a resolver would give them: aliases excepted.
 */
#include "tests/unit/mail/spf_world.h"

#include "core/str.h"
#include "tests/test.h"

enum { ANSWER_COUNT_MAX = 40, QUESTION_COUNT_MAX = 400 };

static bool is_below(struct str name, struct str parent)
{
    return name.len > parent.len && str_ends_nocase(name, parent) &&
           name.ptr[name.len - parent.len - 1] == '.';
}

static void add(struct lookup_record *to, const struct world_record *from)
{
    if (from->type == LOOKUP_A || from->type == LOOKUP_AAAA) {
        REQUIRE_OK(ip_parse(from->data, &to->ip));
    }
    to->data = from->data;
}

static void answer_one(
        const struct world *world, const struct lookup_question *question, struct spf *spf)
{
    struct lookup_record found[ANSWER_COUNT_MAX] = { 0 };
    struct lookup_answer answer = { .status = LOOKUP_NXDOMAIN, .record = found };
    bool is_timeout = false;
    for (size_t i = 0; i < world->count; i++) {
        const struct world_record *record = &world->record[i];
        bool is_name = str_eq_nocase(record->name, question->name);
        if (is_name || is_below(record->name, question->name)) {
            answer.status = answer.status == LOOKUP_NXDOMAIN ? LOOKUP_NODATA : answer.status;
        }
        if (is_name && record->is_timeout) {
            is_timeout = true;
        } else if (is_name && record->type == question->type) {
            CHECK(answer.record_count < ANSWER_COUNT_MAX);
            add(&found[answer.record_count++], record);
            answer.status = LOOKUP_FOUND;
        }
    }
    if (is_timeout && answer.record_count == 0) {
        answer.status = LOOKUP_TEMPFAIL;
    }
    spf_answer(spf, &answer);
}

void world_answer(struct world *world, struct spf *spf)
{
    struct lookup_question question;
    while (spf_question(spf, &question)) {
        CHECK(question.name.len > 0 && question.name.len <= 253);
        CHECK(++world->question_count < QUESTION_COUNT_MAX, "no end of questions");
        answer_one(world, &question, spf);
    }
}
