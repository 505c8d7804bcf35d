/* SPDX-License-Identifier: Apache-2.0
 *
 * http.h - documents fetched over HTTPS, asynchronously: policies and logos that DNS points at; and
 * notices sent to places that the configuration names.
 *
 * Names of documents are resolved by the caller, so that its resolver and its limits hold here too.
 * Names of places to send to are the system's to resolve: a notice that our resolver fails must not
 * need it.
 */
#ifndef OUTPOST_EDGE_HTTP_H
#define OUTPOST_EDGE_HTTP_H

#include "core/ip.h"

enum {
    HTTP_OPEN_COUNT_MAX = 64,
    HTTP_BODY_BYTES_MAX = 65536, /* RFC 8461 3.3 suggests 64 KiB for a policy */
    HTTP_URL_CAP = 1024,
};

struct http_request {
    const char *host;      /* the name in URL and certificate */
    struct ip_port at;     /* where it is */
    const char *path;      /* "/.well-known/mta-sts.txt" */
    uint64_t ms_max;       /* for all of it */
    size_t body_bytes_max; /* at most HTTP_BODY_BYTES_MAX; more: E_TOO_BIG */
};
/* Valid during the callback only. */
struct http_reply {
    enum err err; /* OK: there is a status; E_TIMEOUT, E_REFUSED (connect), E_DENIED (certificate),
                     E_TOO_BIG, E_IO: why says more */
    uint16_t status;
    const char *content_type; /* "" where there is none */
    struct str body;
    const char *why;
};
typedef void http_answered(void *ctx, const struct http_reply *reply);

struct net;
struct http;
/* One thread for the transfers; callbacks come on the loop of net, a real one. ca_path NULL: the
 * system's trust store. E_NOMEM, E_FULL. */
MUST_USE enum err http_open(
        struct net *net, const char *ca_path, struct http **ret_http, struct why *why);
/* GET https://host:port/path; redirects are not followed (RFC 8461 3.3). The callback comes exactly
 * once, never from within the call, unless http_close came first. E_FULL: HTTP_OPEN_COUNT_MAX are
 * open; E_USAGE: host or path cannot stand in a URL; E_NOMEM. */
MUST_USE enum err http_get(
        struct http *http, const struct http_request *request, http_answered *answered, void *ctx);

/* Something to be sent to a place of the configuration's. All strings are copied. */
struct http_sending {
    const char *url;       /* http, https: a POST (GET where body is empty); smtp, smtps: a mail */
    const char *header[3]; /* of HTTP, "Content-Type: application/json"; NULL ends them */
    struct str body;       /* or the message, with CRLF; at most HTTP_SENDING_BYTES_MAX */
    const char *mail_from, *mail_to; /* of smtp; "a@b.example" */
    const char *username, *password; /* NULL: none */
    bool is_tls_required;            /* of smtp: STARTTLS or nothing */
    uint64_t ms_max;
};
enum { HTTP_SENDING_BYTES_MAX = 1 << 20 };
/* As http_get, but for where it goes. The reply's status is the server's last one. A certificate
 * must be good. No redirects. */
MUST_USE enum err http_send(
        struct http *http, const struct http_sending *sending, http_answered *answered, void *ctx);
void http_close(struct http *http); /* NULL is fine; gives up what is under way */

#endif
