/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_corpus_test.c - the messages of tests/data/dkim against expected.tsv, as RFC 8301 has it and
 * as before it; multi/ holds the example of RFC 8463 appendix A.
 */
#include "core/str.h"
#include "mail/dkim.h"
#include "mail/header.h"
#include "tests/test.h"
#include "tests/unit/mail/data.h"

static const struct wall now = { 1790000000000 };

/* Looks name up in "name<blank>record" lines; an answer as DNS would give it. */
static enum dkim_answer look_up(struct str zone, struct str name, struct str *ret_txt)
{
    struct str line;
    while (str_cut(&zone, '\n', &line)) {
        size_t end = 0;
        while (end < line.len && !ascii_is_blank(line.ptr[end])) {
            end++;
        }
        if (end < line.len && str_eq_nocase(str_sub(line, 0, end), name)) {
            *ret_txt = str_trim(str_from(line, end));
            return str_starts(*ret_txt, STR("~~"))     ? DKIM_TEMPFAIL
                   : str_eq(*ret_txt, STR("NXDOMAIN")) ? DKIM_NONE
                                                       : DKIM_FOUND;
        }
    }
    return DKIM_NONE;
}

static void answer_all(struct dkim_verify *verify, struct str zone)
{
    for (size_t i = 0; i < dkim_verify_count(verify); i++) {
        struct str name, txt = { 0 };
        if (dkim_verify_question(verify, i, &name)) {
            enum dkim_answer answer = look_up(zone, name, &txt);
            dkim_verify_answer(verify, i, answer, txt);
        }
    }
}

/* The best result of all signatures: what the data set calls the message's result. */
static struct dkim_verdict best_verdict(const struct dkim_verify *verify)
{
    struct dkim_verdict best = { .result = DKIM_PERMERROR };
    for (size_t i = 0; i < dkim_verify_count(verify); i++) {
        struct dkim_verdict verdict = *dkim_verify_result(verify, i);
        CHECK(verdict.result != DKIM_PENDING, "signature %zu was not judged", i);
        CHECK((verdict.result == DKIM_PASS) == (verdict.reason[0] == '\0'), "%s", verdict.reason);
        bool is_better = verdict.result == DKIM_PASS ||
                         (verdict.result == DKIM_FAIL && best.result != DKIM_PASS) || i == 0;
        best = is_better ? verdict : best;
    }
    return best;
}

static struct dkim_verdict verify_file(
        const char *path, struct str zone, bool allow_old, struct buf *raw, struct buf *message)
{
    struct dkim_policy policy = { .allow_sha1_and_short = allow_old };
    struct dkim_verify *verify;
    struct why why = { "" };
    data_read(path, raw);
    buf_init(message, 16 << 20);
    lines_to_crlf(buf_str(raw), message);
    enum err err = dkim_verify_begin(buf_str(message), now, &policy, &verify, &why);
    CHECK(err == OK, "%s: %s: %s", path, err_name(err), why.text);
    CHECK(dkim_verify_count(verify) > 0, "%s: no signature found", path);
    answer_all(verify, zone);
    struct dkim_verdict verdict = best_verdict(verify);
    dkim_verify_free(verify);
    return verdict;
}

static bool is_expected(struct str wanted, enum dkim_result result)
{
    if (str_eq(wanted, STR("pass"))) {
        return result == DKIM_PASS;
    }
    if (str_eq(wanted, STR("fail"))) {
        return result == DKIM_FAIL;
    }
    return result == DKIM_PERMERROR || result == DKIM_TEMPERROR;
}

/* By RFC 8301 rsa-sha1 is permerror, and a key under 1024 bits too; the rest is as before. */
static void check_row(struct str row, struct str zone)
{
    char path[256];
    struct str file, wanted, algorithm;
    struct buf raw, message;
    CHECK(str_cut(&row, '\t', &file) && str_cut(&row, '\t', &wanted) &&
            str_cut(&row, '\t', &algorithm));
    fmt(path, sizeof path, "tests/data/dkim/%.*s", STR_ARG(file));
    struct dkim_verdict old = verify_file(path, zone, /*allow_old*/ true, &raw, &message);
    CHECK(is_expected(wanted, old.result), "%s: expected %.*s, got %s: %s", path, STR_ARG(wanted),
            dkim_result_name(old.result), old.reason);
    buf_done(&raw);
    buf_done(&message);
    struct dkim_verdict strict = verify_file(path, zone, /*allow_old*/ false, &raw, &message);
    bool is_short = old.key_bits > 0 && old.key_bits < 1024 && str_starts(algorithm, STR("rsa"));
    bool is_sha1 = str_ends_nocase(algorithm, STR("-sha1"));
    CHECK(is_sha1 || is_short ? strict.result == DKIM_PERMERROR
                              : is_expected(wanted, strict.result),
            "%s by RFC 8301: %s: %s", path, dkim_result_name(strict.result), strict.reason);
    buf_done(&raw);
    buf_done(&message);
}

TEST(every_message_of_the_dkim_set_gets_its_result_in_both_modes)
{
    struct buf zone, rows;
    struct str row, rest;
    size_t count = 0;
    data_read("tests/data/dkim/dns.tsv", &zone);
    data_read("tests/data/dkim/expected.tsv", &rows);
    rest = buf_str(&rows);
    CHECK(str_cut(&rest, '\n', &row)); /* titles */
    for (; str_cut(&rest, '\n', &row); count++) {
        check_row(row, buf_str(&zone));
    }
    CHECK_U64(count, 44);
    buf_done(&zone);
    buf_done(&rows);
}

TEST(every_signature_of_messages_with_several_passes)
{
    static const char *const names[] = { "001", "004", "006" };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char path[64];
        struct buf text;
        struct dkim_verify *verify;
        fmt(path, sizeof path, "tests/data/dkim/multi/%s.txt", names[i]);
        data_read(path, &text);
        size_t border = str_find(buf_str(&text), STR("\n\n"));
        struct str zone = str_sub(buf_str(&text), 0, border + 1);
        struct buf message;
        buf_init(&message, 16 << 20);
        lines_to_crlf(str_from(buf_str(&text), border + 2), &message);
        REQUIRE_OK(dkim_verify_begin(buf_str(&message), now, NULL, &verify, NULL));
        answer_all(verify, zone);
        CHECK(dkim_verify_count(verify) > 0, "%s", path);
        for (size_t s = 0; s < dkim_verify_count(verify); s++) {
            const struct dkim_verdict *verdict = dkim_verify_result(verify, s);
            CHECK(verdict->result == DKIM_PASS, "%s signature %zu: %s", path, s, verdict->reason);
        }
        dkim_verify_free(verify);
        buf_done(&message);
        buf_done(&text);
    }
}
