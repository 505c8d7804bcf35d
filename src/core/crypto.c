/* SPDX-License-Identifier: Apache-2.0
 *
 * crypto.c - the adapter over OpenSSL 3 (EVP only); its types and errors end here.
 *
 * OpenSSL keeps its last errors per thread, where they would confuse the next TLS call: every path
 * that failed inside it clears them. Keys over 4096 bits are refused (SIGNATURE_BYTES_MAX; RFC 8301
 * 3.2 asks verifiers for no more).
 */
#include "core/crypto.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <pthread.h>

enum { RSA_BITS_MIN = 1024, RSA_BITS_MAX = SIGNATURE_BYTES_MAX * 8 };
enum { ED25519_PUBLIC_BYTES = 32, PEM_BYTES_MAX = 65536, DER_BYTES_MAX = 16384 };

struct key {
    EVP_PKEY *pkey;
    enum key_kind kind;
    bool is_private;
};

/* Fetched once: an implicit fetch on each use would cost more than a short hash. */
static EVP_MD *md_sha256, *md_sha1; /* sha1 may be absent by system policy */
static pthread_once_t md_once = PTHREAD_ONCE_INIT;

static void md_fetch(void)
{
    md_sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    ASSERT(md_sha256 != NULL);
    md_sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    ERR_clear_error();
}

static const EVP_MD *md_get(bool is_sha1)
{
    pthread_once(&md_once, md_fetch);
    return is_sha1 ? md_sha1 : md_sha256;
}

enum err digest_begin(struct digest *digest, bool is_sha1)
{
    const EVP_MD *md = md_get(is_sha1);
    if (!md) {
        return E_UNSUPPORTED;
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestInit_ex2(ctx, md, NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        ERR_clear_error();
        return E_NOMEM;
    }
    digest->ctx = ctx;
    return OK;
}

void digest_add(struct digest *digest, struct str s)
{
    ASSERT(digest->ctx != NULL);
    int done = EVP_DigestUpdate(digest->ctx, s.ptr, s.len);
    ASSERT(done == 1);
}

size_t digest_end(struct digest *digest, uint8_t ret_hash[SHA256_BYTES])
{
    ASSERT(digest->ctx != NULL);
    unsigned len = 0;
    int done = EVP_DigestFinal_ex(digest->ctx, ret_hash, &len);
    ASSERT(done == 1 && len <= SHA256_BYTES);
    digest_drop(digest);
    return len;
}

void digest_drop(struct digest *digest)
{
    EVP_MD_CTX_free(digest->ctx);
    digest->ctx = NULL;
}

void sha256(struct str s, uint8_t ret_hash[SHA256_BYTES])
{
    int done = EVP_Digest(s.ptr, s.len, ret_hash, NULL, md_get(false), NULL);
    ASSERT(done == 1);
}

void hmac_sha256(struct str key, struct str s, uint8_t ret_mac[SHA256_BYTES])
{
    ASSERT(key.len <= INT_MAX);
    uint8_t *mac = HMAC(md_get(false), key.len ? key.ptr : "", (int)key.len, (const uint8_t *)s.ptr,
            s.len, ret_mac, NULL);
    ASSERT(mac != NULL);
}

bool crypto_eq(const void *a, const void *b, size_t len_bytes)
{
    return CRYPTO_memcmp(a, b, len_bytes) == 0;
}

void crypto_wipe(void *ptr, size_t len_bytes)
{
    OPENSSL_cleanse(ptr, len_bytes);
}

/* Takes pkey over, also on error. Refuses what we do not sign or verify with. */
static enum err key_wrap(EVP_PKEY *pkey, bool is_private, struct key **ret_key)
{
    bool is_rsa = EVP_PKEY_is_a(pkey, "RSA"), is_ed25519 = EVP_PKEY_is_a(pkey, "ED25519");
    if ((!is_rsa && !is_ed25519) || (is_rsa && EVP_PKEY_get_bits(pkey) > RSA_BITS_MAX)) {
        EVP_PKEY_free(pkey);
        return E_UNSUPPORTED;
    }
    struct key *key = mem_new(sizeof *key);
    if (!key) {
        EVP_PKEY_free(pkey);
        return E_NOMEM;
    }
    *key = (struct key){ pkey, is_rsa ? KEY_RSA : KEY_ED25519, is_private };
    *ret_key = key;
    return OK;
}

enum err key_generate(enum key_kind kind, uint32_t rsa_bits, struct key **ret_key)
{
    if (kind == KEY_RSA && (rsa_bits < RSA_BITS_MIN || rsa_bits > RSA_BITS_MAX)) {
        return E_USAGE;
    }
    EVP_PKEY *pkey = kind == KEY_RSA ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)rsa_bits)
                                     : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (!pkey) {
        ERR_clear_error();
        return E_NOMEM;
    }
    return key_wrap(pkey, /*is_private*/ true, ret_key);
}

/* An encrypted file must not make OpenSSL ask at the terminal. */
static int no_password(char *dst, int size, int is_writing, void *ctx)
{
    (void)dst, (void)size, (void)is_writing, (void)ctx;
    return -1;
}

static void why_from_openssl(struct why *why, const char *what)
{
    char text[160] = "no details";
    unsigned long code = ERR_peek_last_error();
    if (code) {
        ERR_error_string_n(code, text, sizeof text);
    }
    why_set(why, "%s: %s", what, text);
    ERR_clear_error();
}

enum err key_from_pem(struct str pem, struct key **ret_key, struct why *why)
{
    if (pem.len == 0 || pem.len > PEM_BYTES_MAX) {
        why_set(why, "a PEM file has 1 to %d bytes, not %zu", PEM_BYTES_MAX, pem.len);
        return E_SYNTAX;
    }
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    if (!bio) {
        ERR_clear_error();
        return E_NOMEM;
    }
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    BIO_free(bio);
    if (!pkey) {
        why_from_openssl(why, "not an unencrypted private key in PEM");
        return E_SYNTAX;
    }
    enum err err = key_wrap(pkey, /*is_private*/ true, ret_key);
    if (err == E_UNSUPPORTED) {
        why_set(why, "the key is neither RSA up to %d bits nor Ed25519", RSA_BITS_MAX);
    }
    return err;
}

enum err key_to_pem(const struct key *key, struct buf *ret_pem)
{
    if (!key->is_private) {
        return E_USAGE;
    }
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    enum err err = E_NOMEM;
    if (bio && PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) == 1) {
        long len = BIO_get_mem_data(bio, &text);
        buf_add(ret_pem, str_of(text, (size_t)len));
        err = buf_err(ret_pem);
    }
    BIO_free(bio); /* its memory is wiped by OpenSSL */
    ERR_clear_error();
    return err;
}

/* SubjectPublicKeyInfo, or the bare RSAPublicKey that RFC 6376 3.6.1 names; NULL: neither. */
static EVP_PKEY *rsa_from_der(struct str der)
{
    const uint8_t *start = (const uint8_t *)der.ptr, *at = start;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)der.len);
    if (!pkey) {
        at = start;
        pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &at, (long)der.len);
    }
    if (pkey && at != start + der.len) { /* bytes left over */
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    return pkey;
}

enum err key_from_public(enum key_kind kind, struct str der, struct key **ret_key)
{
    if (der.len == 0 || der.len > DER_BYTES_MAX ||
            (kind == KEY_ED25519 && der.len != ED25519_PUBLIC_BYTES)) {
        return E_SYNTAX;
    }
    EVP_PKEY *pkey = kind == KEY_RSA ? rsa_from_der(der)
                                     : EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
                                               (const uint8_t *)der.ptr, der.len);
    ERR_clear_error(); /* also after success at the second form */
    if (!pkey) {
        return E_SYNTAX;
    }
    if (kind == KEY_RSA && !EVP_PKEY_is_a(pkey, "RSA")) {
        EVP_PKEY_free(pkey);
        return E_UNSUPPORTED;
    }
    return key_wrap(pkey, /*is_private*/ false, ret_key);
}

static enum err ed25519_to_public(const struct key *key, struct buf *ret_der)
{
    uint8_t raw[ED25519_PUBLIC_BYTES];
    size_t len = sizeof raw;
    int done = EVP_PKEY_get_raw_public_key(key->pkey, raw, &len);
    ASSERT(done == 1 && len == sizeof raw);
    buf_add(ret_der, str_of((const char *)raw, len));
    return buf_err(ret_der);
}

enum err key_to_public(const struct key *key, struct buf *ret_der)
{
    if (key->kind == KEY_ED25519) {
        return ed25519_to_public(key, ret_der);
    }
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(key->pkey, &der);
    if (len <= 0) {
        ERR_clear_error();
        return E_NOMEM;
    }
    buf_add(ret_der, str_of((const char *)der, (size_t)len));
    OPENSSL_free(der);
    return buf_err(ret_der);
}

enum key_kind key_kind(const struct key *key)
{
    return key->kind;
}

uint32_t key_bits(const struct key *key)
{
    return key->kind == KEY_RSA ? (uint32_t)EVP_PKEY_get_bits(key->pkey) : 256;
}

void key_free(struct key *key)
{
    if (key) {
        EVP_PKEY_free(key->pkey);
        mem_free(key);
    }
}

static EVP_PKEY_CTX *rsa_begin(const struct key *key, int (*init)(EVP_PKEY_CTX *), bool is_sha1)
{
    const EVP_MD *md = md_get(is_sha1);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);
    if (!ctx || !md || init(ctx) != 1 ||
            EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) != 1 ||
            EVP_PKEY_CTX_set_signature_md(ctx, md) != 1) {
        EVP_PKEY_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

static bool rsa_sign(
        const struct key *key, const uint8_t hash[SHA256_BYTES], uint8_t *signature, size_t *len)
{
    EVP_PKEY_CTX *ctx = rsa_begin(key, EVP_PKEY_sign_init, /*is_sha1*/ false);
    bool is_done = ctx && EVP_PKEY_sign(ctx, signature, len, hash, SHA256_BYTES) == 1;
    EVP_PKEY_CTX_free(ctx);
    return is_done;
}

static bool ed25519_sign(
        const struct key *key, const uint8_t hash[SHA256_BYTES], uint8_t *signature, size_t *len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool is_done = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key->pkey) == 1 &&
                   EVP_DigestSign(ctx, signature, len, hash, SHA256_BYTES) == 1;
    EVP_MD_CTX_free(ctx);
    return is_done;
}

enum err key_sign(const struct key *key, const uint8_t hash[SHA256_BYTES],
        uint8_t ret_signature[SIGNATURE_BYTES_MAX], size_t *ret_len)
{
    if (!key->is_private) {
        return E_USAGE;
    }
    size_t len = SIGNATURE_BYTES_MAX;
    bool is_done = key->kind == KEY_RSA ? rsa_sign(key, hash, ret_signature, &len)
                                        : ed25519_sign(key, hash, ret_signature, &len);
    if (!is_done) {
        ERR_clear_error();
        return E_NOMEM;
    }
    *ret_len = len;
    return OK;
}

static bool rsa_verify(const struct key *key, struct str hash, bool is_sha1, struct str signature)
{
    EVP_PKEY_CTX *ctx = rsa_begin(key, EVP_PKEY_verify_init, is_sha1);
    bool is_good = ctx && EVP_PKEY_verify(ctx, (const uint8_t *)signature.ptr, signature.len,
                                  (const uint8_t *)hash.ptr, hash.len) == 1;
    EVP_PKEY_CTX_free(ctx);
    return is_good;
}

static bool ed25519_verify(const struct key *key, struct str hash, struct str signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool is_good = ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key->pkey) == 1 &&
                   EVP_DigestVerify(ctx, (const uint8_t *)signature.ptr, signature.len,
                           (const uint8_t *)hash.ptr, hash.len) == 1;
    EVP_MD_CTX_free(ctx);
    return is_good;
}

bool key_verify(const struct key *key, struct str hash, bool is_sha1, struct str signature)
{
    size_t hash_len = is_sha1 ? SHA1_BYTES : SHA256_BYTES;
    if (hash.len != hash_len || (is_sha1 && key->kind == KEY_ED25519)) {
        return false;
    }
    bool is_good = key->kind == KEY_RSA ? rsa_verify(key, hash, is_sha1, signature)
                                        : ed25519_verify(key, hash, signature);
    ERR_clear_error();
    return is_good;
}
