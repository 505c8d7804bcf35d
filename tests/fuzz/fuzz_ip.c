/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_ip.c - addresses and networks: what parses is written and parses to the same.
 */
#include "core/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = { (const char *)data, size };
    struct ip ip, again;
    struct ip_port at, at_again;
    struct ip_net net;
    char dst[IP_TEXT_CAP];
    if (ip_parse(text, &ip) == OK) {
        ASSERT(ip_parse(ip_format(ip, dst), &again) == OK && ip_eq(ip, again));
        (void)ip_is_internal(ip);
    }
    if (ip_port_parse(text, &at) == OK) {
        ASSERT(ip_port_parse(ip_port_format(at, dst), &at_again) == OK);
        ASSERT(ip_eq(at.ip, at_again.ip) && at.port == at_again.port);
    }
    if (ip_net_parse(text, &net) == OK) {
        ASSERT(ip_in(net.ip, &net));
    }
    return 0;
}
