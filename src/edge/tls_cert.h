/* SPDX-License-Identifier: Apache-2.0
 *
 * tls_cert.h - what a certificate file says: for whom, until when, trusted or not, and its digests.
 */
#ifndef OUTPOST_EDGE_TLS_CERT_H
#define OUTPOST_EDGE_TLS_CERT_H

#include "core/base.h"

enum { TLS_CHAIN_COUNT_MAX = 10, TLS_DIGEST_BYTES_MAX = 64 };

struct tls_digests {
    uint8_t cert_sha256[32], cert_sha512[64];
    uint8_t key_sha256[32], key_sha512[64]; /* of SubjectPublicKeyInfo */
};
struct tls_cert_facts {
    struct wall begins, ends;
    bool is_name_good;    /* a subject alternative name is the host (RFC 6125; no common name) */
    bool is_trusted;      /* leads to an authority, its dates apart */
    char trust_why[128];  /* why not; "" */
    char names[400];      /* the alternative names, "a.example, *.b.example", cut where too long */
    uint32_t chain_count; /* certificates in the file, at most TLS_CHAIN_COUNT_MAX */
    struct tls_digests chain[TLS_CHAIN_COUNT_MAX]; /* the leaf first */
};
/* Reads a PEM chain. ca_path NULL: the system's trust store. E_NOT_FOUND, E_DENIED, E_IO, E_SYNTAX
 * with why. Blocks for a small file. */
MUST_USE enum err tls_cert_read(const char *path, const char *ca_path, const char *host,
        struct tls_cert_facts *ret_facts, struct why *why);

#endif
