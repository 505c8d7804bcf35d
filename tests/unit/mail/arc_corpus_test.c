/* SPDX-License-Identifier: Apache-2.0
 *
 * arc_corpus_test.c - the validation cases of tests/data/arc, each with its own key records.
 */
#include "core/str.h"
#include "mail/arc.h"
#include "mail/header.h"
#include "tests/test.h"
#include "tests/unit/mail/data.h"

#include <jansson.h>

static const struct wall now = { 1790000000000 };

static void answer_from(struct arc_verify *verify, const json_t *txt)
{
    struct lookup_question question;
    while (arc_question(verify, &question)) {
        char name[LOOKUP_NAME_CAP];
        CHECK(str_to_c(question.name, name, sizeof name));
        const char *text = json_string_value(json_object_get(txt, name));
        struct lookup_record record = { .data = str_from_c(text) };
        struct lookup_answer answer = { .status = text ? LOOKUP_FOUND : LOOKUP_NXDOMAIN,
            .record = &record,
            .record_count = text ? 1 : 0 };
        arc_answer(verify, &answer);
    }
}

static void check_case(struct str line)
{
    json_error_t error;
    json_t *one = json_loadb(line.ptr, line.len, 0, &error);
    CHECK(one != NULL, "%s", error.text);
    const char *name = json_string_value(json_object_get(one, "name"));
    const char *wanted = json_string_value(json_object_get(one, "cv"));
    json_t *text = json_object_get(one, "message");
    struct buf message;
    struct arc_verify *verify;
    buf_init(&message, 1 << 20);
    lines_to_crlf(str_of(json_string_value(text), json_string_length(text)), &message);
    REQUIRE_OK(arc_verify_begin(buf_str(&message), now, &verify));
    answer_from(verify, json_object_get(one, "txt"));
    const char *got = arc_result_name(arc_verify_result(verify));
    /* RFC 8617 5.2 steps 2 and 3: cv=fail makes the chain fail; the set leaves these open. */
    CHECK(strcmp(got, wanted[0] ? wanted : "fail") == 0, "%s: wanted %s, got %s: %s", name, wanted,
            got, arc_verify_reason(verify));
    CHECK((strcmp(got, "pass") == 0) == (arc_verify_reason(verify)[0] == '\0'), "%s", name);
    arc_verify_free(verify);
    buf_done(&message);
    json_decref(one);
}

TEST(every_case_of_the_arc_set_gets_its_result)
{
    struct buf cases;
    struct str line, rest;
    size_t count = 0;
    data_read("tests/data/arc/cases.jsonl", &cases);
    rest = buf_str(&cases);
    for (; str_cut(&rest, '\n', &line); count++) {
        check_case(line);
    }
    CHECK_U64(count, 175);
    buf_done(&cases);
}
