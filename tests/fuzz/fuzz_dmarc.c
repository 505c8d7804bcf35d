/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_dmarc.c - bytes as a record, as a header with From, and as an evaluation: the first line is
 * the author's domain, the second an identifier's, each further one the answer to a question.
 */
#include "core/str.h"
#include "mail/dmarc.h"

static void parse(struct str text)
{
    static struct dmarc_record record;
    bool is_dmarc = dmarc_parse(text, &record);
    ASSERT(is_dmarc == record.is_dmarc && record.pct <= 100);
    ASSERT(is_dmarc || record.error_count > 0);
    for (size_t i = 0; i < record.fault_count && i < DMARC_FAULT_COUNT_MAX; i++) {
        ASSERT(record.fault[i].at <= text.len && str_is_ascii(str_from_c(record.fault[i].text)));
    }
}

static void find_author(struct str message)
{
    struct arena arena;
    struct header header;
    char dst[DOMAIN_CAP];
    struct str domain = { 0 };
    arena_init(&arena, HEADER_ARENA_BYTES);
    if (header_parse(&arena, message, true, &header, NULL) == OK &&
            dmarc_author_domain(&header, dst, &domain, NULL) == OK) {
        ASSERT(domain_is_dns_name(domain));
    }
    arena_done(&arena);
}

/* "!" no answer, "?" nothing there, else records with '|' between. */
static void answer_with(struct dmarc *dmarc, struct str line)
{
    struct lookup_record record[4] = { { 0 } };
    struct lookup_answer answer = { .status = LOOKUP_FOUND, .record = record };
    if (str_starts(line, STR("!")) || line.len == 0) {
        answer.status = line.len == 0 ? LOOKUP_NXDOMAIN : LOOKUP_TEMPFAIL;
    } else if (str_starts(line, STR("?"))) {
        answer.status = LOOKUP_NODATA;
    }
    while (answer.status == LOOKUP_FOUND && answer.record_count < COUNT_OF(record) &&
            str_cut(&line, '|', &record[answer.record_count].data)) {
        answer.record_count++;
    }
    dmarc_answer(dmarc, &answer);
}

static void evaluate(struct str text, enum dmarc_method method)
{
    struct str domain = { 0 }, line = { 0 };
    struct dmarc *dmarc;
    struct lookup_question question;
    size_t asked = 0;
    (void)str_cut(&text, '\n', &domain);
    (void)str_cut(&text, '\n', &line);
    struct dmarc_identifier identifiers[] = { { true, DMARC_AUTH_PASS, line },
        { false, DMARC_AUTH_TEMPERROR, line }, { false, DMARC_AUTH_PASS, domain } };
    struct dmarc_facts facts = { domain, method, identifiers, text.len % 4, 50, true };
    if (dmarc_begin(&facts, &dmarc) != OK) {
        return;
    }
    for (; dmarc_question(dmarc, &question); asked++) {
        ASSERT(asked < 40 && question.name.len > 0 && question.name.len <= DOMAIN_BYTES_MAX);
        line = (struct str){ 0 };
        (void)str_cut(&text, '\n', &line);
        answer_with(dmarc, line);
    }
    const struct dmarc_verdict *verdict = dmarc_verdict(dmarc);
    ASSERT(verdict->result != DMARC_PENDING && dmarc_step_count(dmarc) > 0);
    ASSERT(verdict->result == DMARC_FAIL || verdict->disposition == DMARC_POLICY_NONE);
    dmarc_free(dmarc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str all = str_of((const char *)data, size);
    parse(all);
    find_author(all);
    evaluate(all, DMARC_TREE_WALK);
    evaluate(all, DMARC_PUBLIC_SUFFIX);
    return 0;
}
