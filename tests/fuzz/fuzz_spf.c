/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_spf.c - an SPF record and the evaluation behind it. Lines: client, sender, HELO name, then
 * answers in the order of the questions (first byte: type of answer; the rest: its text).
 */
#include "core/str.h"
#include "mail/spf.h"

enum { QUESTION_COUNT_MAX = 400, RECORD_COUNT_MAX = 12 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct str next_line(struct str *rest)
{
    struct str line = { "", 0 };
    (void)str_cut(rest, '\n', &line);
    return line;
}

/* "T" no answer, "N" no such name, "0" no record, else as many records as the letter says. */
static void answer(struct spf *spf, enum lookup_type type, struct str line)
{
    struct lookup_record record[RECORD_COUNT_MAX] = { 0 };
    struct lookup_answer given = { .status = LOOKUP_FOUND, .record = record };
    char kind = line.len > 0 ? line.ptr[0] : 'N';
    given.record_count = (uint32_t)(uint8_t)kind % RECORD_COUNT_MAX;
    for (uint32_t i = 0; i < given.record_count; i++) {
        record[i].data = str_from(line, 1 + (i > 0));
        (void)!ip_parse(str_from(line, 1), &record[i].ip);
        if (record[i].ip.family == IP_NONE) {
            record[i].ip.family = type == LOOKUP_AAAA ? IP_V6 : IP_V4;
            memcpy(record[i].ip.byte, line.ptr, line.len < 16 ? line.len : 16);
        }
    }
    if (kind == 'T' || kind == 'N' || given.record_count == 0) {
        given.record_count = 0;
        given.status = kind == 'T'   ? LOOKUP_TEMPFAIL
                       : kind == 'N' ? LOOKUP_NXDOMAIN
                                     : LOOKUP_NODATA;
    }
    spf_answer(spf, &given);
}

static void evaluate(const struct spf_params *params, struct str answers)
{
    struct spf *spf;
    struct lookup_question question;
    if (spf_begin(params, &spf) != OK) {
        return;
    }
    struct str rest = answers;
    for (uint32_t count = 0; spf_question(spf, &question); count++) {
        ASSERT(count < QUESTION_COUNT_MAX);
        ASSERT(question.name.len > 0 && question.name.len <= 253);
        if (rest.len == 0) {
            rest = answers; /* the same ones again: loops */
        }
        answer(spf, question.type, next_line(&rest));
    }
    const struct spf_verdict *verdict = spf_verdict(spf);
    for (size_t i = 0; i < verdict->explanation.len; i++) {
        ASSERT(verdict->explanation.ptr[i] >= ' ' && verdict->explanation.ptr[i] <= '~');
    }
    ASSERT(verdict->explanation.len == 0 || verdict->result == SPF_FAIL);
    ASSERT(verdict->lookup_count <= SPF_LOOKUP_COUNT_MAX || verdict->result == SPF_PERMERROR);
    ASSERT(verdict->void_count <= SPF_VOID_COUNT_MAX || verdict->result == SPF_PERMERROR);
    ASSERT(verdict->step_count <= SPF_STEP_COUNT_MAX);
    spf_free(spf);
}

static void parse(struct str text)
{
    struct arena arena;
    struct spf_record record;
    struct why why;
    arena_init(&arena, 1 << 20);
    if (spf_parse(&arena, text, &record, &why) == OK) {
        for (uint32_t i = 0; i < record.term_count; i++) {
            ASSERT(record.term[i].text.ptr >= text.ptr &&
                    record.term[i].text.ptr + record.term[i].text.len <= text.ptr + text.len);
        }
    }
    arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_of((const char *)data, size);
    struct spf_params params = { .ip = { IP_V4, { 192, 0, 2, 3 } } };
    (void)!ip_parse(next_line(&rest), &params.ip);
    params.mail_from = next_line(&rest);
    params.helo = next_line(&rest);
    parse(str_from(rest, 1));
    evaluate(&params, rest);
    params.is_traced = true;
    evaluate(&params, rest);
    return 0;
}
