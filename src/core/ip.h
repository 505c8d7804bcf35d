/* SPDX-License-Identifier: Apache-2.0
 *
 * ip.h - IP addresses and networks: parse, format, match, classify. No I/O.
 *
 * IPv4-mapped IPv6 (::ffff:a.b.c.d) is canonicalised to IPv4 when parsed or set from a socket, so
 * that trust lists cannot be passed by another spelling of the same address.
 */
#ifndef OUTPOST_CORE_IP_H
#define OUTPOST_CORE_IP_H

#include "core/base.h"

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };
enum { IP_TEXT_CAP = 64 };

struct ip {
    enum ip_family family;
    uint8_t byte[16]; /* IPv4 in the first four */
};
struct ip_port {
    struct ip ip;
    uint16_t port;
};
struct ip_net {
    struct ip ip;
    uint8_t prefix_bits;
};

/* "192.0.2.1", "2001:db8::1", "[2001:db8::1]"; scoped addresses are refused. E_SYNTAX. */
MUST_USE enum err ip_parse(struct str text, struct ip *ret_ip);
/* "192.0.2.1:25", "[::1]:25"; port required. E_SYNTAX. */
MUST_USE enum err ip_port_parse(struct str text, struct ip_port *ret_at);
/* "10.0.0.0/8", a bare address is a whole-length network. E_SYNTAX also where host bits are set. */
MUST_USE enum err ip_net_parse(struct str text, struct ip_net *ret_net);
struct str ip_format(struct ip ip, char dst[IP_TEXT_CAP]);           /* IPv6 as RFC 5952 */
struct str ip_port_format(struct ip_port at, char dst[IP_TEXT_CAP]); /* [v6]:port */
bool ip_eq(struct ip a, struct ip b);
bool ip_in(struct ip ip, const struct ip_net *net);
struct ip ip_masked(struct ip ip, uint8_t prefix_bits); /* for counting per /32, /64 */
/* Addresses that public mail must never be sent to: loopback, unspecified, private (RFC 1918,
 * fc00::/7), link-local, shared (100.64/10), multicast, broadcast, documentation is NOT among them,
 * mapped and translated forms of these (::ffff:, 64:ff9b::/96, 2002::/16). */
bool ip_is_internal(struct ip ip);
bool ip_is_loopback(struct ip ip);

#endif
