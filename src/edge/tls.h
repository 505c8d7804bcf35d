/* SPDX-License-Identifier: Apache-2.0
 *
 * tls.h - TLS settings made once and shared: certificates of listeners, trust of clients.
 *
 * Contexts are counted references and may be used from all loops. Only edge/net and edge/tls look
 * inside. Floors and options: TLS 1.2 and up, no renegotiation, no compression, one ticket.
 */
#ifndef OUTPOST_EDGE_TLS_H
#define OUTPOST_EDGE_TLS_H

#include "core/base.h"

struct tls_context;

struct tls_cert {
    const char *cert_path; /* PEM chain */
    const char *key_path;  /* PEM */
};
/* The first certificate is the default; others are chosen by SNI from their names. ALPN offered
 * without "smtp" is refused (alert 120). E_NOT_FOUND, E_SYNTAX, E_DENIED with why naming the file.
 */
MUST_USE enum err tls_server_open(const struct tls_cert *certs, uint32_t cert_count,
        struct tls_context **ret_context, struct why *why);
/* ca_path NULL: the system's trust store. */
MUST_USE enum err tls_client_open(
        const char *ca_path, struct tls_context **ret_context, struct why *why);
struct tls_context *tls_take(struct tls_context *context); /* NULL is fine */
void tls_give(struct tls_context *context);

#endif
