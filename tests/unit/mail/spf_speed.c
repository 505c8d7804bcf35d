/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_speed.c - how long an SPF evaluation takes whose answers are at hand. For bench/identity; the
 * limit is 20 us.
 */
#include "core/str.h"
#include "mail/spf.h"

#include <stdio.h>
#include <time.h>

enum { ROUND_COUNT = 200000 };

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A sender with a large provider behind two includes, as many are. */
static const struct row {
    struct str name, text;
} rows[] = {
    { STR_INIT("shop.example"), STR_INIT("v=spf1 mx include:_spf.large.example -all") },
    { STR_INIT("_spf.large.example"),
            STR_INIT("v=spf1 include:_n1.large.example include:_n2.large.example ~all") },
    { STR_INIT("_n1.large.example"),
            STR_INIT("v=spf1 ip4:35.190.247.0/24 ip4:64.233.160.0/19 ip4:66.102.0.0/20 "
                     "ip4:66.249.80.0/20 ip4:72.14.192.0/18 ip4:74.125.0.0/16 ip4:108.177.8.0/21 "
                     "ip4:173.194.0.0/16 ip4:209.85.128.0/17 ip4:216.58.192.0/19 ~all") },
    { STR_INIT("_n2.large.example"),
            STR_INIT("v=spf1 ip6:2001:db8:4000::/36 ip6:2404:6800:4000::/36 ip4:192.0.2.0/24 "
                     "~all") },
};

static void answer(struct spf *spf, const struct lookup_question *question)
{
    struct lookup_record record = { .ip = { IP_V4, { 198, 51, 100, 1 } },
        .data = STR_INIT("mx.shop.example") };
    struct lookup_answer found = { .status = LOOKUP_FOUND, .record = &record, .record_count = 1 };
    for (size_t i = 0; question->type == LOOKUP_TXT && i < COUNT_OF(rows); i++) {
        if (str_eq(rows[i].name, question->name)) {
            record.data = rows[i].text;
        }
    }
    spf_answer(spf, &found);
}

static bool is_pass(void)
{
    struct spf_params params = { .ip = { IP_V4, { 192, 0, 2, 1 } },
        .mail_from = STR_INIT("bounce+1234@shop.example"),
        .helo = STR_INIT("mx.shop.example") };
    struct lookup_question question;
    struct spf *spf;
    if (spf_begin(&params, &spf) != OK) {
        return false;
    }
    while (spf_question(spf, &question)) {
        answer(spf, &question);
    }
    bool is_right = spf_verdict(spf)->result == SPF_PASS;
    spf_free(spf);
    return is_right;
}

int main(void)
{
    uint32_t right = 0;
    double begin = cpu_s();
    for (uint32_t i = 0; i < ROUND_COUNT; i++) {
        right += is_pass();
    }
    double took_s = cpu_s() - begin;
    printf("%-44s %7u cases  %7u right  %9.6f s\n", "spf: evaluation, answers at hand",
            (uint32_t)ROUND_COUNT, right, took_s);
    printf("%-44s %9.2f us (limit 20)\n", "spf: one evaluation of 6 questions",
            took_s * 1e6 / ROUND_COUNT);
    return right == ROUND_COUNT && took_s * 1e6 / ROUND_COUNT < 20 ? 0 : 1;
}
