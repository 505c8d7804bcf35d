/* SPDX-License-Identifier: Apache-2.0
 *
 * tls_cert.c - a PEM chain read by OpenSSL: dates, names, trust, and the digests of TLSA records.
 */
#include "edge/tls_cert.h"

#include "core/str.h"
#include "core/time.h"
#include "edge/errno_priv.h"

#include <errno.h>
#include <stdio.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static struct wall wall_of(const ASN1_TIME *time)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1 || tm.tm_year < 70) {
        return (struct wall){ 0 };
    }
    return wall_from_civil((struct civil){ .year = tm.tm_year + 1900,
            .month = (uint8_t)(tm.tm_mon + 1),
            .day = (uint8_t)tm.tm_mday,
            .hour = (uint8_t)tm.tm_hour,
            .minute = (uint8_t)tm.tm_min,
            .second = (uint8_t)tm.tm_sec });
}

static bool read_digests(const X509 *cert, struct tls_digests *ret_digests)
{
    struct tls_digests digests;
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    bool is_good =
            len > 0 && X509_digest(cert, EVP_sha256(), digests.cert_sha256, NULL) == 1 &&
            X509_digest(cert, EVP_sha512(), digests.cert_sha512, NULL) == 1 &&
            EVP_Digest(der, (size_t)len, digests.key_sha256, NULL, EVP_sha256(), NULL) == 1 &&
            EVP_Digest(der, (size_t)len, digests.key_sha512, NULL, EVP_sha512(), NULL) == 1;
    OPENSSL_free(der);
    if (is_good) {
        *ret_digests = digests;
    }
    return is_good;
}

static void read_names(X509 *cert, struct tls_cert_facts *facts)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    size_t len = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS) {
            struct str text = { (const char *)ASN1_STRING_get0_data(name->d.dNSName),
                (size_t)ASN1_STRING_length(name->d.dNSName) };
            char safe[256];
            text = str_escape(text, safe, sizeof safe);
            len += fmt(facts->names + len, sizeof facts->names - len, "%s%.*s", len > 0 ? ", " : "",
                    STR_ARG(text));
        }
    }
    GENERAL_NAMES_free(names);
}

/* Dates are judged by the caller, with its own clock. */
static void read_trust(
        X509 *leaf, STACK_OF(X509) * chain, const char *ca_path, struct tls_cert_facts *facts)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    bool is_loaded = store != NULL && ctx != NULL &&
                     (ca_path != NULL ? X509_STORE_load_locations(store, ca_path, NULL)
                                      : X509_STORE_set_default_paths(store)) == 1 &&
                     X509_STORE_CTX_init(ctx, store, leaf, chain) == 1;
    if (is_loaded) {
        X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_NO_CHECK_TIME);
        X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
        facts->is_trusted = X509_verify_cert(ctx) == 1;
    }
    if (!facts->is_trusted) {
        fmt(facts->trust_why, sizeof facts->trust_why, "%s",
                is_loaded ? X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx))
                          : "the trusted authorities cannot be read");
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    ERR_clear_error();
}

static bool read_chain(FILE *file, STACK_OF(X509) * chain)
{
    X509 *cert;
    while (sk_X509_num(chain) < TLS_CHAIN_COUNT_MAX &&
            (cert = PEM_read_X509(file, NULL, NULL, NULL)) != NULL) {
        if (sk_X509_push(chain, cert) == 0) {
            X509_free(cert);
            return false;
        }
    }
    ERR_clear_error(); /* the end of the file is one */
    return sk_X509_num(chain) > 0;
}

static bool read_facts(
        STACK_OF(X509) * chain, const char *ca_path, const char *host, struct tls_cert_facts *facts)
{
    X509 *leaf = sk_X509_value(chain, 0);
    facts->begins = wall_of(X509_get0_notBefore(leaf));
    facts->ends = wall_of(X509_get0_notAfter(leaf));
    facts->is_name_good =
            X509_check_host(leaf, host, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
    for (int i = 0; i < sk_X509_num(chain); i++) {
        if (!read_digests(sk_X509_value(chain, i), &facts->chain[facts->chain_count++])) {
            return false;
        }
    }
    read_names(leaf, facts);
    read_trust(leaf, chain, ca_path, facts);
    return true;
}

enum err tls_cert_read(const char *path, const char *ca_path, const char *host,
        struct tls_cert_facts *ret_facts, struct why *why)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        int number = errno;
        why_set(why, "%s: %s", path, errno_words(number));
        return err_from_errno(number);
    }
    struct tls_cert_facts facts = { 0 };
    STACK_OF(X509) *chain = sk_X509_new_null();
    bool is_good =
            chain != NULL && read_chain(file, chain) && read_facts(chain, ca_path, host, &facts);
    (void)fclose(file);
    sk_X509_pop_free(chain, X509_free);
    if (!is_good) {
        why_set(why, "%s: no certificate in PEM form", path);
        return E_SYNTAX;
    }
    *ret_facts = facts;
    return OK;
}
