/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_dkim.c - verifies bytes as a message, with the bytes behind the first NUL as key record;
 * what can be signed must then verify, and a body must hash the same in one piece and in two.
 */
#include "core/str.h"
#include "mail/dkim.h"
#include "mail/header.h"

static struct key *key;

static void verify(struct str message, struct str txt, const struct dkim_policy *policy)
{
    struct dkim_verify *verify;
    if (dkim_verify_begin(message, (struct wall){ 1 }, policy, &verify, NULL) != OK) {
        return;
    }
    for (size_t i = 0; i < dkim_verify_count(verify); i++) {
        dkim_verify_answer(verify, i, DKIM_FOUND, txt);
    }
    dkim_verify_free(verify);
}

static void hash_in_two(struct str body, size_t cut, uint8_t ret_hash[SHA256_BYTES])
{
    struct dkim_body_hash hash;
    ASSERT(dkim_body_begin(&hash, NULL) == OK);
    dkim_body_add(&hash, str_sub(body, 0, cut));
    dkim_body_add(&hash, str_from(body, cut));
    dkim_body_end(&hash, ret_hash);
}

static void sign_and_verify(struct str message)
{
    struct arena arena;
    struct header header;
    uint8_t hash[SHA256_BYTES], again[SHA256_BYTES];
    arena_init(&arena, HEADER_ARENA_BYTES);
    if (header_parse(&arena, message, true, &header, NULL) == OK && header.has_border) {
        struct str body = str_from(message, header.body_at);
        hash_in_two(body, 0, hash);
        hash_in_two(body, body.len / 2, again);
        ASSERT(memcmp(hash, again, sizeof hash) == 0);
        struct buf field, txt;
        buf_init(&field, 1 << 20);
        buf_init(&txt, 1 << 12);
        struct dkim_signing how = { STR("d.example"), STR("s"), key, { 1000 }, hash };
        if (dkim_sign(&how, str_sub(message, 0, header.block_bytes), &field) == OK &&
                header.block_bytes + field.len <= HEADER_BYTES_MAX - 2 &&
                header.field_count < HEADER_FIELD_COUNT_MAX) {
            struct dkim_verify *verify;
            buf_add(&field, message);
            ASSERT(dkim_record(key, &txt) == OK && buf_err(&field) == OK);
            ASSERT(dkim_verify_begin(buf_str(&field), (struct wall){ 1 }, NULL, &verify, NULL) ==
                    OK);
            dkim_verify_answer(verify, 0, DKIM_FOUND, buf_str(&txt));
            ASSERT(dkim_verify_result(verify, 0)->result == DKIM_PASS);
            dkim_verify_free(verify);
        }
        buf_done(&field);
        buf_done(&txt);
    }
    arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str all = str_of((const char *)data, size);
    size_t nul = str_index(all, '\0');
    struct str message = str_sub(all, 0, nul), txt = str_from(all, nul + 1);
    if (!key && key_generate(KEY_ED25519, 0, &key) != OK) {
        return 0;
    }
    verify(message, txt, NULL);
    verify(message, txt, &(struct dkim_policy){ .allow_sha1_and_short = true });
    sign_and_verify(message);
    return 0;
}
