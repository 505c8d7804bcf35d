/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc_speed.c - how long a DMARC evaluation takes whose answers are at hand. For bench/identity;
 * the limit is 20 us.
 */
#include "core/str.h"
#include "mail/dmarc.h"

#include <stdio.h>
#include <time.h>

enum { ROUND_COUNT = 100000 };

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void answer(struct dmarc *dmarc, const struct lookup_question *question)
{
    struct lookup_record record = { .data = STR_INIT(
                                            "v=DMARC1; p=reject; sp=quarantine; adkim=r; aspf=r; "
                                            "rua=mailto:dmarc@shop.example,mailto:d@rep.example") };
    bool is_there = str_eq(question->name, STR("_dmarc.shop.example"));
    struct lookup_answer given = { .status = is_there ? LOOKUP_FOUND : LOOKUP_NXDOMAIN,
        .record = &record,
        .record_count = is_there };
    dmarc_answer(dmarc, &given);
}

/* Mail of a subdomain, aligned through the organizational domain. */
static bool is_pass(size_t *ret_query_count)
{
    struct dmarc_identifier identifiers[] = { { true, DMARC_AUTH_PASS, STR("b.news.shop.example") },
        { false, DMARC_AUTH_PASS, STR("shop.example") },
        { false, DMARC_AUTH_PASS, STR("provider.example") } };
    struct dmarc_facts facts = { .domain = STR("news.shop.example"),
        .identifier = identifiers,
        .identifier_count = COUNT_OF(identifiers) };
    struct lookup_question question;
    struct dmarc *dmarc;
    if (dmarc_begin(&facts, &dmarc) != OK) {
        return false;
    }
    while (dmarc_question(dmarc, &question)) {
        answer(dmarc, &question);
    }
    const struct dmarc_verdict *verdict = dmarc_verdict(dmarc);
    bool is_right = verdict->result == DMARC_PASS && verdict->is_spf_aligned;
    *ret_query_count = verdict->query_count;
    dmarc_free(dmarc);
    return is_right;
}

int main(void)
{
    uint32_t right = 0;
    size_t query_count = 0;
    char title[60];
    double begin = cpu_s();
    for (uint32_t i = 0; i < ROUND_COUNT; i++) {
        right += is_pass(&query_count);
    }
    double took_s = cpu_s() - begin;
    printf("%-44s %7d cases  %7u right  %9.6f s\n", "dmarc: evaluation, answers at hand",
            ROUND_COUNT, right, took_s);
    fmt(title, sizeof title, "dmarc: one evaluation of %zu questions", query_count);
    printf("%-44s %9.2f us (limit 20)\n", title, took_s * 1e6 / ROUND_COUNT);
    return right == ROUND_COUNT && took_s * 1e6 / ROUND_COUNT < 20 ? 0 : 1;
}
