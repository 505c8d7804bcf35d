/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_dns.c - RDATA and packets of name servers. The first byte chooses the type of record.
 */
#include "core/str.h"
#include "edge/dns_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = { DNS_A, DNS_CNAME, DNS_SOA, DNS_PTR, DNS_MX, DNS_TXT,
        DNS_AAAA, DNS_TLSA, DNS_NS, DNS_DS, DNS_DNSKEY, DNS_CAA };
    if (size == 0 || size > 65536) {
        return 0;
    }
    struct str rdata = { (const char *)data + 1, size - 1 };
    struct dns_room room;
    if (dns_room_open(&room, 2, rdata.len) == OK) {
        dns_room_add(&room, types[data[0] % COUNT_OF(types)], rdata);
        dns_room_end(&room);
        for (uint32_t i = 0; i < room.answer.record_count; i++) {
            ASSERT(room.answer.record[i].data.len <= rdata.len);
        }
    }
    dns_room_close(&room);
    char name[DNS_NAME_CAP];
    ASSERT(!dns_question_name(rdata, name) || strlen(name) < DNS_NAME_CAP - 1);
    (void)dns_wire_cname_count(rdata);
    return 0;
}
