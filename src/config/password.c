/* SPDX-License-Identifier: Apache-2.0
 *
 * password.c - passwords as a server keeps them: crypt(5) hashes and SCRAM keys.
 *
 * The adapter over libcrypt. yescrypt by default: 20 ms and 16 MB a try, so that a stolen file is
 * not soon undone.
 */
#include "config/config.h"

#include "core/str.h"

#include <crypt.h>

enum { SALT_RANDOM_BYTES = 16, HASH_CHARS_MIN = 31 /* bcrypt; its salt alone is 22 */ };

/* A password as crypt_rn takes it. */
static bool password_to_c(struct str password, char dst[CONFIG_SECRET_BYTES_MAX + 1])
{
    static_assert(CONFIG_SECRET_BYTES_MAX <= CRYPT_MAX_PASSPHRASE_SIZE, "crypt takes them all");
    return password.len > 0 && str_to_c(password, dst, CONFIG_SECRET_BYTES_MAX + 1);
}

/* crypt_rn with its 32 KB of state on the heap. The result lies in *ret_data. */
static enum err crypt_with(const char *password, const char *setting, struct crypt_data **ret_data,
        const char **ret_hash)
{
    struct crypt_data *data = mem_new(sizeof *data);
    if (!data) {
        return E_NOMEM;
    }
    const char *hash = crypt_rn(password, setting, data, (int)sizeof *data);
    if (!hash) {
        mem_free(data);
        return E_UNSUPPORTED;
    }
    *ret_data = data;
    *ret_hash = hash;
    return OK;
}

static void crypt_drop(struct crypt_data *data)
{
    crypto_wipe(data, sizeof *data);
    mem_free(data);
}

enum err password_hash(struct str password, struct entropy *entropy, struct buf *ret_hash)
{
    char text[CONFIG_SECRET_BYTES_MAX + 1], salt[CRYPT_GENSALT_OUTPUT_SIZE];
    char random[SALT_RANDOM_BYTES];
    struct crypt_data *data;
    const char *hash;
    if (!password_to_c(password, text)) {
        return E_USAGE;
    }
    entropy_fill(entropy, random, sizeof random);
    enum err err = E_UNSUPPORTED;
    if (crypt_gensalt_rn(
                "$y$", /*count: the default*/ 0, random, sizeof random, salt, (int)sizeof salt)) {
        err = crypt_with(text, salt, &data, &hash);
    }
    crypto_wipe(text, sizeof text);
    if (err == OK) {
        buf_add_c(ret_hash, hash);
        crypt_drop(data);
        err = buf_err(ret_hash);
    }
    return err;
}

bool password_verify(struct str password, struct str hash)
{
    char text[CONFIG_SECRET_BYTES_MAX + 1], setting[CRYPT_OUTPUT_SIZE];
    struct crypt_data *data;
    const char *got;
    if (!str_to_c(hash, setting, sizeof setting) || !password_is_hash(hash) ||
            !password_to_c(password, text)) {
        return false;
    }
    enum err err = crypt_with(text, setting, &data, &got);
    crypto_wipe(text, sizeof text);
    if (err != OK) {
        return false;
    }
    struct str answer = str_from_c(got);
    bool is_good = answer.len == hash.len && crypto_eq(answer.ptr, hash.ptr, hash.len);
    crypt_drop(data);
    return is_good;
}

/* With the hash itself behind the last '$': a setting alone is none. */
bool password_is_hash(struct str text)
{
    char setting[CRYPT_OUTPUT_SIZE];
    size_t last = str_rindex(text, '$');
    return str_starts(text, STR("$")) && last < text.len && text.len - last > HASH_CHARS_MIN &&
           str_to_c(text, setting, sizeof setting) && crypt_checksalt(setting) == CRYPT_SALT_OK;
}

/* Hi() of RFC 5802 2.2. */
static void salted_password(
        struct str password, const struct password_scram *scram, uint8_t ret_salted[SHA256_BYTES])
{
    char first[PASSWORD_SCRAM_SALT_BYTES + 4] = { 0 };
    uint8_t u[SHA256_BYTES];
    memcpy(first, scram->salt, sizeof scram->salt);
    first[sizeof first - 1] = 1;
    hmac_sha256(password, str_of(first, sizeof first), u);
    memcpy(ret_salted, u, sizeof u);
    for (uint32_t i = 1; i < scram->iterations; i++) {
        hmac_sha256(password, str_of((const char *)u, sizeof u), u);
        for (size_t k = 0; k < sizeof u; k++) {
            ret_salted[k] ^= u[k];
        }
    }
    crypto_wipe(u, sizeof u);
}

enum err password_scram_keys(struct str password, struct password_scram *scram)
{
    uint8_t salted[SHA256_BYTES], client_key[SHA256_BYTES];
    bool is_plain = password.len > 0 && password.len <= CONFIG_SECRET_BYTES_MAX &&
                    str_is_ascii(password) && str_index(password, '\0') == password.len;
    if (!is_plain || scram->iterations == 0) {
        return E_USAGE;
    }
    salted_password(password, scram, salted);
    struct str key = str_of((const char *)salted, sizeof salted);
    hmac_sha256(key, STR("Client Key"), client_key); /* RFC 5802 3 */
    hmac_sha256(key, STR("Server Key"), scram->server_key);
    sha256(str_of((const char *)client_key, sizeof client_key), scram->stored_key);
    crypto_wipe(salted, sizeof salted);
    crypto_wipe(client_key, sizeof client_key);
    return OK;
}

enum err password_scram(
        struct str password, struct entropy *entropy, struct password_scram *ret_scram)
{
    struct password_scram scram = { .iterations = PASSWORD_SCRAM_ITERATIONS };
    entropy_fill(entropy, scram.salt, sizeof scram.salt);
    enum err err = password_scram_keys(password, &scram);
    if (err == OK) {
        *ret_scram = scram;
    }
    return err;
}
