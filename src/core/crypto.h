/* SPDX-License-Identifier: Apache-2.0
 *
 * crypto.h - digests, MACs and signatures: the one adapter over libcrypto for pure rooms.
 *
 * Keys are opaque and may be used from several threads at once (each call makes its own context).
 */
#ifndef OUTPOST_CORE_CRYPTO_H
#define OUTPOST_CORE_CRYPTO_H

#include "core/buf.h"

enum { SHA256_BYTES = 32, SHA1_BYTES = 20, SIGNATURE_BYTES_MAX = 512 };

/* Running SHA-256 (is_sha1: SHA-1, for verification only, RFC 8301 3.1). */
struct digest {
    void *ctx;
};
MUST_USE enum err digest_begin(struct digest *digest, bool is_sha1);
void digest_add(struct digest *digest, struct str s);
size_t digest_end(struct digest *digest, uint8_t ret_hash[SHA256_BYTES]); /* also frees; bytes */
void digest_drop(struct digest *digest); /* frees without result; fine when not begun */
void sha256(struct str s, uint8_t ret_hash[SHA256_BYTES]);
void hmac_sha256(struct str key, struct str s, uint8_t ret_mac[SHA256_BYTES]);
bool crypto_eq(const void *a, const void *b, size_t len_bytes); /* constant time */
void crypto_wipe(void *ptr, size_t len_bytes);

enum key_kind { KEY_RSA, KEY_ED25519 };
struct key; /* private or public */
MUST_USE enum err key_generate(enum key_kind kind, uint32_t rsa_bits, struct key **ret_key);
/* PEM, PKCS#8 or PKCS#1. E_SYNTAX, E_UNSUPPORTED (neither RSA nor Ed25519). */
MUST_USE enum err key_from_pem(struct str pem, struct key **ret_key, struct why *why);
MUST_USE enum err key_to_pem(const struct key *key, struct buf *ret_pem); /* private, PKCS#8 */
/* A DKIM p= value, decoded: SubjectPublicKeyInfo or RSAPublicKey DER; 32 bytes for Ed25519. */
MUST_USE enum err key_from_public(enum key_kind kind, struct str der, struct key **ret_key);
/* What p= holds before base64: SubjectPublicKeyInfo DER, or the 32 bytes (RFC 8463 4). */
MUST_USE enum err key_to_public(const struct key *key, struct buf *ret_der);
enum key_kind key_kind(const struct key *key);
uint32_t key_bits(const struct key *key); /* RSA modulus; 256 for Ed25519 */
void key_free(struct key *key);

/* RSASSA-PKCS1-v1_5 over a finished SHA-256 hash, or pure Ed25519 over the hash bytes (RFC 8463 3).
 */
MUST_USE enum err key_sign(const struct key *key, const uint8_t hash[SHA256_BYTES],
        uint8_t ret_signature[SIGNATURE_BYTES_MAX], size_t *ret_len);
bool key_verify(const struct key *key, struct str hash, bool is_sha1, struct str signature);

#endif
