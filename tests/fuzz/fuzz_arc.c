/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_arc.c - validates bytes as a message, with the bytes behind the first NUL as key record;
 * what can be sealed must then pass, or fail with what was there failed.
 */
#include "core/str.h"
#include "mail/arc.h"

static struct key *key;
static struct buf key_record;

static enum arc_result validate(struct str message, struct str txt)
{
    struct arc_verify *verify;
    struct lookup_question question;
    if (arc_verify_begin(message, (struct wall){ 1 }, &verify) != OK) {
        return ARC_PENDING;
    }
    for (size_t asked = 0; arc_question(verify, &question); asked++) {
        ASSERT(asked < 2 * ARC_SET_COUNT_MAX);
        struct lookup_record record = { .data = txt };
        struct lookup_answer answer = { .status = txt.len > 0 ? LOOKUP_FOUND : LOOKUP_TEMPFAIL,
            .record = &record,
            .record_count = txt.len > 0 };
        arc_answer(verify, &answer);
    }
    enum arc_result result = arc_verify_result(verify);
    ASSERT(result != ARC_PENDING);
    ASSERT((result == ARC_PASS) == (arc_verify_reason(verify)[0] == '\0'));
    for (uint32_t i = 1; i <= arc_set_count(verify); i++) {
        struct arc_set_verdict set = arc_set(verify, i);
        ASSERT(result != ARC_PASS || set.seal == ARC_PASS);
    }
    arc_verify_free(verify);
    return result;
}

static void seal(struct str message, const struct header *header, enum arc_result chain)
{
    struct dkim_body_hash body = { 0 };
    struct buf fields;
    uint8_t hash[SHA256_BYTES];
    ASSERT(dkim_body_begin(&body, NULL) == OK);
    dkim_body_add(&body, str_from(message, header->body_at));
    dkim_body_end(&body, hash);
    buf_init(&fields, 1 << 22);
    struct arc_sealing how = { STR("d.example"), STR("s"), key, { 1000 }, hash, STR("mx.d.example"),
        STR("spf=pass; dkim=none"), chain };
    if (arc_seal(&how, str_sub(message, 0, header->block_bytes), &fields, NULL) == OK &&
            fields.len + header->block_bytes <= HEADER_BYTES_MAX - 2 &&
            header->field_count + 3 <= HEADER_FIELD_COUNT_MAX) {
        buf_add(&fields, message);
        ASSERT(buf_err(&fields) == OK);
        enum arc_result result = validate(buf_str(&fields), buf_str(&key_record));
        ASSERT(chain == ARC_NONE ? result == ARC_PASS : result != ARC_NONE);
        ASSERT(chain != ARC_FAIL || result == ARC_FAIL);
    }
    buf_done(&fields);
}

static void seal_and_validate(struct str message, enum arc_result chain)
{
    struct arena arena;
    struct header header;
    arena_init(&arena, HEADER_ARENA_BYTES);
    if (header_parse(&arena, message, true, &header, NULL) == OK && header.has_border) {
        struct buf results;
        buf_init(&results, 1 << 16);
        enum err err = arc_results(&header, STR("mx.d.example"), &results);
        ASSERT(err == OK || err == E_TOO_BIG);
        buf_done(&results);
        seal(message, &header, chain);
    }
    arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str all = str_of((const char *)data, size);
    size_t nul = str_index(all, '\0');
    struct str message = str_sub(all, 0, nul);
    if (!key) {
        buf_init(&key_record, 1 << 12);
        if (key_generate(KEY_RSA, 1024, &key) != OK || dkim_record(key, &key_record) != OK) {
            return 0;
        }
    }
    enum arc_result result = validate(message, str_from(all, nul + 1));
    if (result == ARC_NONE || result == ARC_PASS || result == ARC_FAIL) {
        seal_and_validate(message, result);
    }
    return 0;
}
