/* SPDX-License-Identifier: Apache-2.0
 *
 * signature_speed.c - how long DKIM and ARC take whose keys are at hand: parsing, hashes and the
 * arithmetic of the signatures, which leads. For bench/identity; the corpora decide what is right.
 */
#include "core/str.h"
#include "mail/arc.h"
#include "mail/dkim.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

enum { ROUND_COUNT = 20, LINE_CAP = 1 << 17, MESSAGE_BYTES_MAX = 1 << 20, DKIM_ROUND_COUNT = 2000 };

static const struct wall now = { 1790000000000 };

static double cpu_s(void)
{
    struct timespec at;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void say(const char *what, uint32_t count, uint32_t right, double s)
{
    printf("%-44s %7u cases  %7u right  %9.6f s\n", what, count, right, s);
    printf("%-44s %9.2f us\n", "  one evaluation, with its signatures", s * 1e6 / count);
}

static void to_crlf(struct str text, struct buf *ret_message)
{
    struct str line;
    while (str_cut(&text, '\n', &line)) {
        bool has_cr = line.len > 0 && line.ptr[line.len - 1] == '\r';
        buf_add(ret_message, str_sub(line, 0, line.len - has_cr));
        buf_add_c(ret_message, "\r\n");
    }
}

/* ---- ARC: the corpus ---- */

static enum arc_result evaluate(struct str message, const json_t *txt)
{
    struct lookup_question question;
    struct arc_verify *verify;
    if (arc_verify_begin(message, now, &verify) != OK) {
        return ARC_TEMPERROR;
    }
    while (arc_question(verify, &question)) {
        char name[LOOKUP_NAME_CAP] = "";
        (void)str_to_c(question.name, name, sizeof name);
        const char *text = json_string_value(json_object_get(txt, name));
        struct lookup_record record = { .data = str_from_c(text != NULL ? text : "") };
        struct lookup_answer answer = { .status = text != NULL ? LOOKUP_FOUND : LOOKUP_NXDOMAIN,
            .record = &record,
            .record_count = text != NULL ? 1 : 0 };
        arc_answer(verify, &answer);
    }
    enum arc_result result = arc_verify_result(verify);
    arc_verify_free(verify);
    return result;
}

/* A seal that says cv=fail is left without a wanted result: the chain fails. */
static uint32_t arc_case(const char *line)
{
    json_t *one = json_loads(line, 0, NULL);
    const char *wanted = json_string_value(json_object_get(one, "cv"));
    const char *text = json_string_value(json_object_get(one, "message"));
    struct buf message;
    uint32_t right = 0;
    buf_init(&message, MESSAGE_BYTES_MAX);
    to_crlf(str_from_c(text), &message);
    wanted = wanted == NULL || wanted[0] == '\0' ? "fail" : wanted;
    for (int i = 0; i < ROUND_COUNT; i++) {
        enum arc_result result = evaluate(buf_str(&message), json_object_get(one, "txt"));
        right += strcmp(arc_result_name(result), wanted) == 0;
    }
    buf_done(&message);
    json_decref(one);
    return right;
}

static bool arc(void)
{
    static char line[LINE_CAP];
    uint32_t count = 0, right = 0;
    FILE *file = fopen("tests/data/arc/cases.jsonl", "re");
    double begun = cpu_s();
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        count += ROUND_COUNT;
        right += arc_case(line);
    }
    say("arc: the corpus, keys at hand", count > 0 ? count : 1, right, cpu_s() - begun);
    return file != NULL && fclose(file) == 0 && count > 0 && right == count;
}

/* ---- DKIM: our own signatures ---- */

static const char header[] = "From: Shop <shop@shop.example>\r\nTo: you@example.net\r\n"
                             "Subject: your order\r\nDate: Wed, 25 Nov 2026 12:00:00 +0000\r\n"
                             "Message-ID: <1@shop.example>\r\n";
static const char body[] = "Thank you for your order.\r\n";

/* The signed message, and the record of its key. */
static bool sign(const struct key *key, struct buf *ret_message, struct buf *ret_record)
{
    struct dkim_body_hash hash;
    uint8_t digest[SHA256_BYTES];
    if (dkim_body_begin(&hash, NULL) != OK) {
        return false;
    }
    dkim_body_add(&hash, str_from_c(body));
    (void)dkim_body_end(&hash, digest);
    struct dkim_signing signing = { .domain = STR("shop.example"),
        .selector = STR("s1"),
        .key = key,
        .accepted = now,
        .body_hash = digest };
    bool is_signed = dkim_sign(&signing, str_from_c(header), ret_message) == OK &&
                     dkim_record(key, ret_record) == OK;
    buf_addf(ret_message, "%s\r\n%s", header, body);
    return is_signed;
}

static bool is_pass(struct str message, struct str record)
{
    struct str name;
    struct dkim_verify *verify;
    if (dkim_verify_begin(message, now, NULL, &verify, NULL) != OK) {
        return false;
    }
    if (dkim_verify_count(verify) == 1 && dkim_verify_question(verify, 0, &name)) {
        dkim_verify_answer(verify, 0, DKIM_FOUND, record);
    }
    bool is_right =
            dkim_verify_count(verify) == 1 && dkim_verify_result(verify, 0)->result == DKIM_PASS;
    dkim_verify_free(verify);
    return is_right;
}

static bool dkim(const char *what, enum key_kind kind, uint32_t bits)
{
    struct key *key = NULL;
    struct buf message, record;
    uint32_t right = 0;
    buf_init(&message, MESSAGE_BYTES_MAX);
    buf_init(&record, DKIM_TXT_BYTES_MAX);
    bool is_signed = key_generate(kind, bits, &key) == OK && sign(key, &message, &record);
    double begun = cpu_s();
    for (uint32_t i = 0; is_signed && i < DKIM_ROUND_COUNT; i++) {
        right += is_pass(buf_str(&message), buf_str(&record));
    }
    say(what, DKIM_ROUND_COUNT, right, cpu_s() - begun);
    buf_done(&message);
    buf_done(&record);
    key_free(key);
    return right == DKIM_ROUND_COUNT;
}

int main(void)
{
    bool is_right = dkim("dkim: RSA-2048, key at hand", KEY_RSA, 2048);
    is_right = dkim("dkim: Ed25519, key at hand", KEY_ED25519, 0) && is_right;
    is_right = arc() && is_right;
    return is_right ? 0 : 1;
}
