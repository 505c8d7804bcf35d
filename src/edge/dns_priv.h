/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_priv.h - RDATA into records, for the two sources of answers; and what tests may set.
 */
#ifndef OUTPOST_EDGE_DNS_PRIV_H
#define OUTPOST_EDGE_DNS_PRIV_H

#include "edge/dns.h"

enum {
    DNS_CNAME_COUNT_MAX = 8,       /* longer chains are loops or attacks: SERVFAIL */
    DNS_QUESTION_MS_MAX = 30000,   /* then DNS_TIMEOUT; libunbound itself may go on for minutes */
    DNS_QUESTION_COUNT_MAX = 4096, /* open at once; past it dns_ops.ask gives E_FULL */
    DNS_RESOLV_CHECK_MS = 5000     /* how often resolv.conf is looked at */
};

/* One record from RDATA in wire form without compression. Text goes to room, which holds at least
 * rdata.len bytes. False where the record breaks its format or holds a name that is no host name:
 * it is left out. */
bool dns_record_from_wire(
        enum dns_type type, struct str rdata, char *room, struct dns_record *ret_record);
/* A name in wire form without compression as dns_question_name would have it: what a master file
 * owns. False where it cannot be asked for. */
bool dns_owner_from_wire(struct str wire, char dst[DNS_NAME_CAP], struct str *ret_name);
/* Puts the text of a master file into the form that ldns takes. Else the line, from 1, of what
 * cannot be taken: why says. 0: fine. */
MUST_USE int dns_master_prepare(char *bytes, size_t len, struct why *why);
/* CNAME records in the answer section of a packet, as far as it can be read. */
uint32_t dns_wire_cname_count(struct str packet);
/* Lower case, no final dot, into a C string. False where the text cannot be asked for. */
bool dns_question_name(struct str name, char dst[DNS_NAME_CAP]);

/* An answer with room for its records. */
struct dns_room {
    struct dns_answer answer;
    struct dns_record *record; /* allocated, with the text behind */
    char *text;
    char why[200];
};
/* Room for the records of an answer whose RDATA are so many and so long. E_NOMEM. */
MUST_USE enum err dns_room_open(struct dns_room *room, uint32_t record_count, size_t rdata_bytes);
void dns_room_add(struct dns_room *room, enum dns_type type, struct str rdata);
void dns_room_fail(struct dns_room *room, enum dns_status status, const char *why);
void dns_room_end(struct dns_room *room); /* counts; none left of some: SERVFAIL */
void dns_room_close(struct dns_room *room);

/* A question to one name server. */
struct dns_query {
    char name[DNS_NAME_CAP]; /* as dns_question_name makes it */
    enum dns_type type;
    uint16_t id;
};
enum { DNS_UDP_BYTES_MAX = 1232 }; /* what passes everywhere unfragmented (DNS flag day 2020) */
/* Appends its packet, the two octets of length that TCP wants before it. E_NOMEM. */
struct buf;
MUST_USE enum err dns_packet_build(const struct dns_query *query, struct buf *ret_packet);
/* False: wire is no answer to query, as far as a stranger could not know. Else *ret_room is open
 * and holds the answer: of the type asked for, or one DNS_CNAME where aliases lead out of it. */
bool dns_packet_read(struct str wire, const struct dns_query *query, bool *ret_is_cut,
        struct dns_room *ret_room);

struct dns_real_options {
    uint64_t question_ms_max;
    uint64_t resolv_check_ms;
    const char *resolv_path;
    uint16_t resolv_port;
};
MUST_USE enum err dns_open_real_with(struct net *net, struct str servers, const char *anchor_path,
        const struct dns_real_options *options, struct dns **ret_dns, struct why *why);

#endif
