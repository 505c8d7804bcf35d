/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_dns_packet.c - answers of a single name server. The first octets choose the type asked for;
 * number and name are those that the packet wants, so that its records are reached.
 */
#include "core/str.h"
#include "edge/dns_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = { DNS_A, DNS_NS, DNS_CNAME, DNS_SOA, DNS_PTR, DNS_MX,
        DNS_TXT, DNS_AAAA, DNS_DS, DNS_DNSKEY, DNS_TLSA, DNS_CAA };
    struct dns_query query = { .name = "lab.example" };
    struct dns_room room;
    bool is_cut;
    if (size < 3) {
        return 0;
    }
    query.type = types[data[0] % COUNT_OF(types)];
    query.id = (uint16_t)(data[1] << 8 | data[2]);
    if (dns_packet_read(str_of((const char *)data + 1, size - 1), &query, &is_cut, &room)) {
        dns_room_end(&room);
        for (uint32_t i = 0; i < room.answer.record_count; i++) {
            ASSERT(room.answer.record[i].data.len <= 65535);
        }
        dns_room_close(&room);
    }
    return 0;
}
