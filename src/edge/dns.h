/* SPDX-License-Identifier: Apache-2.0
 *
 * dns.h - questions to the resolver, answers later on the asking thread.
 */
#ifndef OUTPOST_EDGE_DNS_H
#define OUTPOST_EDGE_DNS_H

#include "core/ip.h"

enum dns_type {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_MX = 15,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_DS = 43,
    DNS_DNSKEY = 48,
    DNS_TLSA = 52,
    DNS_CAA = 257
};
enum dns_status {
    DNS_FOUND,
    DNS_NODATA,   /* the name exists, not this type */
    DNS_NXDOMAIN, /* the name does not exist */
    DNS_SERVFAIL, /* also refused, lame, malformed */
    DNS_TIMEOUT,
    DNS_BOGUS /* DNSSEC says: forged or broken; treat as SERVFAIL, never as absent */
};
enum { DNS_RECORD_COUNT_MAX = 100, DNS_NAME_CAP = 256 };

struct dns_record {
    enum dns_type type;
    uint16_t preference; /* MX */
    uint32_t serial;     /* SOA */
    struct ip ip;        /* A, AAAA */
    struct str data;     /* MX, NS, PTR, CNAME, SOA (MNAME): host name, lower case, no final dot
                            ("" = root); TXT: strings joined (RFC 7208 3.3); others: raw */
};
/* Valid during the callback only. Records that break their format, or hold a name with blanks,
 * controls or 8-bit, are left out; where none is left, or after more than 8 aliases: DNS_SERVFAIL.
 */
struct dns_answer {
    enum dns_status status;
    bool is_secure; /* validated by DNSSEC */
    uint32_t ttl_s;
    const struct dns_record *record;
    uint32_t record_count;
    bool is_cut;     /* more than DNS_RECORD_COUNT_MAX */
    const char *why; /* "" or the resolver's words */
};
typedef void dns_answered(void *ctx, const struct dns_answer *answer);

struct dns;
struct dns_ops {
    /* The callback comes exactly once, never from within the call, unless dns_close came first;
     * after 30 s at the latest, then with DNS_TIMEOUT. E_SYNTAX: no name that can be asked for
     * (then, too, there is no callback). E_FULL: 4096 questions are open. E_NOMEM, E_IO. */
    enum err (*ask)(struct dns *dns, struct str name, enum dns_type type, dns_answered *answered,
            void *ctx);
    void (*close)(struct dns *dns);
};
struct dns {
    const struct dns_ops *ops;
};

/* libunbound on the loop of `net` (edge/net.h). servers: comma-separated "IP[:port]"; empty: those
 * of resolv.conf (read again when it changes); "recursive": from the root. anchor_path NULL: no
 * DNSSEC. */
struct net;
MUST_USE enum err dns_open_real(struct net *net, struct str servers, const char *anchor_path,
        struct dns **ret_dns, struct why *why);
/* Answers from an RFC 1035 master file instead of the net, at once when dns_zone_poll is called
 * (the command line has no loop). Comment lines "; @timeout NAME" and "; @servfail NAME" make a
 * name fail so. */
MUST_USE enum err dns_open_zone(const char *path, struct dns **ret_dns, struct why *why);
void dns_zone_poll(struct dns *dns);
/* One blocking question, for the command line. */
MUST_USE enum err dns_ask_blocking(struct str servers, struct str name, enum dns_type type,
        dns_answered *answered, void *ctx, struct why *why);

#endif
