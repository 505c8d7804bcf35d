/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_packet.c - questions to one name server and its answers, built and read by ldns (RFC 1035
 * 4.1). Its own (blocking) resolver is never used.
 */
#include "core/buf.h"
#include "core/str.h"
#include "edge/dns_priv.h"

#include <ldns/ldns.h>

enum { PACKET_BYTES_MAX = 65535 };

enum err dns_packet_build(const struct dns_query *query, struct buf *ret_packet)
{
    ldns_rdf *name = ldns_dname_new_frm_str(query->name);
    ldns_pkt *packet =
            name == NULL ? NULL
                         : ldns_pkt_query_new(name, (ldns_rr_type)query->type, LDNS_RR_CLASS_IN, 0);
    uint8_t *wire = NULL;
    size_t len = 0;
    if (packet == NULL) {
        ldns_rdf_deep_free(name);
        return E_NOMEM;
    }
    ldns_pkt_set_id(packet, query->id);
    ldns_pkt_set_edns_udp_size(packet, DNS_UDP_BYTES_MAX);
    ldns_status status = ldns_pkt2wire(&wire, packet, &len);
    ldns_pkt_free(packet);
    if (status != LDNS_STATUS_OK || len > DNS_UDP_BYTES_MAX) {
        LDNS_FREE(wire);
        return E_NOMEM;
    }
    buf_add_char(ret_packet, (char)(len >> 8));
    buf_add_char(ret_packet, (char)(len & 0xff));
    buf_add(ret_packet, str_of((const char *)wire, len));
    LDNS_FREE(wire);
    return buf_err(ret_packet);
}

/* Is this the answer to the question, as far as a stranger could not know? */
static bool is_reply(const struct dns_query *query, const ldns_pkt *packet)
{
    const ldns_rr_list *asked = ldns_pkt_question(packet);
    if (!ldns_pkt_qr(packet) || ldns_pkt_id(packet) != query->id ||
            ldns_rr_list_rr_count(asked) != 1) {
        return false;
    }
    const ldns_rr *rr = ldns_rr_list_rr(asked, 0);
    ldns_rdf *name = ldns_dname_new_frm_str(query->name);
    bool is_same = name != NULL && (int)ldns_rr_get_type(rr) == (int)query->type &&
                   ldns_dname_compare(ldns_rr_owner(rr), name) == 0;
    ldns_rdf_deep_free(name);
    return is_same;
}

/* The record of owner and type at or behind *at; NULL: none. */
static const ldns_rr *next_rr(
        const ldns_rr_list *list, const ldns_rdf *owner, ldns_rr_type type, size_t *at)
{
    while (*at < ldns_rr_list_rr_count(list)) {
        const ldns_rr *rr = ldns_rr_list_rr(list, (*at)++);
        if (ldns_rr_get_type(rr) == type && ldns_dname_compare(ldns_rr_owner(rr), owner) == 0) {
            return rr;
        }
    }
    return NULL;
}

static void add_rr(struct dns_room *room, const ldns_rr *rr, ldns_buffer *buffer)
{
    ldns_buffer_clear(buffer);
    if (ldns_rr_rdata2buffer_wire(buffer, rr) == LDNS_STATUS_OK) {
        dns_room_add(room, (enum dns_type)ldns_rr_get_type(rr),
                str_of((const char *)ldns_buffer_begin(buffer), ldns_buffer_position(buffer)));
        uint32_t ttl_s = ldns_rr_ttl(rr);
        bool is_first = room->answer.record_count == 1;
        room->answer.ttl_s = is_first || ttl_s < room->answer.ttl_s ? ttl_s : room->answer.ttl_s;
    }
}

/* Follows aliases within the answer (RFC 1034 3.6.2), and takes what is at their end. */
static void take_records(const struct dns_query *query, const ldns_pkt *packet, ldns_buffer *buffer,
        struct dns_room *room)
{
    const ldns_rr_list *list = ldns_pkt_answer(packet);
    const ldns_rdf *owner = ldns_rr_owner(ldns_rr_list_rr(ldns_pkt_question(packet), 0));
    const ldns_rr *rr, *last = NULL;
    for (uint32_t hop = 0; hop <= DNS_CNAME_COUNT_MAX; hop++) {
        size_t at = 0;
        while ((rr = next_rr(list, owner, (ldns_rr_type)query->type, &at)) != NULL) {
            add_rr(room, rr, buffer);
        }
        at = 0;
        rr = next_rr(list, owner, LDNS_RR_TYPE_CNAME, &at);
        if (room->answer.record_count > 0 || rr == NULL || ldns_rr_rd_count(rr) != 1) {
            break;
        }
        last = rr;
        owner = ldns_rr_rdf(rr, 0);
    }
    if (room->answer.record_count == 0 && last != NULL) {
        add_rr(room, last, buffer);
    }
}

static bool has_soa(const ldns_pkt *packet)
{
    const ldns_rr_list *list = ldns_pkt_authority(packet);
    for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++) {
        if (ldns_rr_get_type(ldns_rr_list_rr(list, i)) == LDNS_RR_TYPE_SOA) {
            return true;
        }
    }
    return false;
}

/* What the packet says, into room (open, without records). */
static void read_packet(
        const struct dns_query *query, const ldns_pkt *packet, struct dns_room *room)
{
    ldns_pkt_rcode rcode = ldns_pkt_get_rcode(packet);
    if (rcode == LDNS_RCODE_NXDOMAIN) {
        dns_room_fail(room, DNS_NXDOMAIN, "");
    } else if (rcode != LDNS_RCODE_NOERROR) {
        char why[64];
        ldns_lookup_table *word = ldns_lookup_by_id(ldns_rcodes, (int)rcode);
        fmt(why, sizeof why, "the server says %s", word != NULL ? word->name : "an unknown code");
        dns_room_fail(room, DNS_SERVFAIL, why);
    } else if (ldns_pkt_ancount(packet) == 0 && !ldns_pkt_aa(packet) && !has_soa(packet)) {
        dns_room_fail(room, DNS_SERVFAIL, "lame: the server knows nothing of the zone");
    } else if (ldns_pkt_ancount(packet) == 0) {
        dns_room_fail(room, DNS_NODATA, "");
    } else {
        ldns_buffer *buffer = ldns_buffer_new(PACKET_BYTES_MAX);
        if (buffer == NULL) {
            dns_room_fail(room, DNS_SERVFAIL, "out of memory");
            return;
        }
        take_records(query, packet, buffer, room);
        ldns_buffer_free(buffer);
    }
}

/* Of all records of the answer, names written out: what room is needed at most. */
static size_t answer_bytes(const ldns_pkt *packet)
{
    const ldns_rr_list *list = ldns_pkt_answer(packet);
    size_t sum = 0;
    for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++) {
        sum += ldns_rr_uncompressed_size(ldns_rr_list_rr(list, i));
    }
    return sum;
}

bool dns_packet_read(
        struct str wire, const struct dns_query *query, bool *ret_is_cut, struct dns_room *ret_room)
{
    ldns_pkt *packet = NULL;
    if (ldns_wire2pkt(&packet, (const uint8_t *)wire.ptr, wire.len) != LDNS_STATUS_OK) {
        return false;
    }
    bool is_ours = is_reply(query, packet);
    if (is_ours) {
        *ret_is_cut = ldns_pkt_tc(packet);
        if (dns_room_open(ret_room, DNS_RECORD_COUNT_MAX, answer_bytes(packet)) == OK) {
            read_packet(query, packet, ret_room);
        }
    }
    ldns_pkt_free(packet);
    return is_ours;
}
