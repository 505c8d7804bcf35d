/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_update.h - records changed at a primary name server: RFC 2136, signed with TSIG (RFC 8945).
 *
 * Blocks, over TCP: for the command line.
 */
#ifndef OUTPOST_EDGE_DNS_UPDATE_H
#define OUTPOST_EDGE_DNS_UPDATE_H

#include "core/buf.h"
#include "core/ip.h"

enum { DNS_UPDATE_MS_MAX = 10000, DNS_UPDATE_LINE_COUNT_MAX = 2000 };

struct dns_tsig_key {
    char name[256];
    char algorithm[64]; /* "hmac-sha256." */
    char secret[512];   /* base64 */
};
/* A key file as BIND writes it: key "NAME" { algorithm hmac-sha256; secret "..."; }; E_SYNTAX with
 * why. Pure. */
MUST_USE enum err dns_tsig_key_read(struct str text, struct dns_tsig_key *ret_key, struct why *why);

struct dns_update {
    const char *zone;
    struct ip_port server;
    const struct dns_tsig_key *key;
    /* Lines of master files, without line ends: each name and type that they have is set anew, what
     * it had is gone. */
    const char *const *line;
    uint32_t line_count;
};
/* E_SYNTAX: a line that is no record; E_REFUSED: the server's words (NOTAUTH: another key or
 * clock); E_DENIED: its answer is not signed as ours; E_TIMEOUT, E_IO, E_NOMEM. */
MUST_USE enum err dns_update_send(const struct dns_update *update, struct why *why);

#endif
