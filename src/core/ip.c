/* SPDX-License-Identifier: Apache-2.0
 *
 * ip.c - textual addresses through the C library, classification through a table of networks.
 */
#include "core/ip.h"

#include "core/str.h"

#include <arpa/inet.h>

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

static uint8_t bits_of(enum ip_family family)
{
    return family == IP_V4 ? 32 : 128;
}

/* RFC 4291 2.5.5.2: the same host under another spelling. */
static bool is_mapped(const struct ip *ip)
{
    return ip->family == IP_V6 && memcmp(ip->byte, mapped_prefix, sizeof mapped_prefix) == 0;
}

static struct ip embedded_v4(const struct ip *ip, size_t at)
{
    struct ip v4 = { .family = IP_V4 };
    memcpy(v4.byte, ip->byte + at, 4);
    return v4;
}

/* Without canonicalising, so that a prefix length can be read against what was written. */
static enum err parse_as_written(struct str text, struct ip *ret_ip)
{
    char c_text[IP_TEXT_CAP];
    struct ip ip = { .family = IP_V4 };
    bool has_brackets = text.len >= 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']';
    if (has_brackets) {
        text = str_sub(text, 1, text.len - 2);
    }
    if (!str_to_c(text, c_text, sizeof c_text)) {
        return E_SYNTAX;
    }
    if (!has_brackets && inet_pton(AF_INET, c_text, ip.byte) == 1) {
        *ret_ip = ip;
        return OK;
    }
    ip = (struct ip){ .family = IP_V6 };
    if (inet_pton(AF_INET6, c_text, ip.byte) != 1) {
        return E_SYNTAX;
    }
    *ret_ip = ip;
    return OK;
}

enum err ip_parse(struct str text, struct ip *ret_ip)
{
    struct ip ip;
    enum err err = parse_as_written(text, &ip);
    if (err != OK) {
        return err;
    }
    *ret_ip = is_mapped(&ip) ? embedded_v4(&ip, 12) : ip;
    return OK;
}

enum err ip_port_parse(struct str text, struct ip_port *ret_at)
{
    size_t colon = str_rindex(text, ':');
    if (colon == text.len) {
        return E_SYNTAX;
    }
    struct str host = str_sub(text, 0, colon);
    bool has_bracket = host.len > 0 && host.ptr[0] == '[';
    if (!has_bracket && str_index(host, ':') < host.len) {
        return E_SYNTAX; /* is "::1:25" an address or a port? (RFC 3986 3.2.2: brackets) */
    }
    struct ip_port at;
    uint64_t port;
    if (ip_parse(host, &at.ip) != OK || str_to_u64(str_from(text, colon + 1), 65535, &port) != OK) {
        return E_SYNTAX;
    }
    at.port = (uint16_t)port; /* at most 65535, see above */
    *ret_at = at;
    return OK;
}

enum err ip_net_parse(struct str text, struct ip_net *ret_net)
{
    size_t slash = str_index(text, '/');
    struct ip ip;
    if (parse_as_written(str_sub(text, 0, slash), &ip) != OK) {
        return E_SYNTAX;
    }
    uint64_t bits = bits_of(ip.family);
    if (slash < text.len && str_to_u64(str_from(text, slash + 1), bits, &bits) != OK) {
        return E_SYNTAX;
    }
    if (!ip_eq(ip_masked(ip, (uint8_t)bits), ip)) {
        return E_SYNTAX; /* host bits: what did the writer mean? */
    }
    if (is_mapped(&ip)) { /* bits ≥ 96 here, else ffff would be host bits */
        ip = embedded_v4(&ip, 12);
        bits -= 96;
    }
    *ret_net = (struct ip_net){ ip, (uint8_t)bits };
    return OK;
}

struct str ip_format(struct ip ip, char dst[IP_TEXT_CAP])
{
    int family = ip.family == IP_V4 ? AF_INET : AF_INET6;
    if (ip.family == IP_NONE || inet_ntop(family, ip.byte, dst, IP_TEXT_CAP) == NULL) {
        fmt(dst, IP_TEXT_CAP, "none");
    }
    return str_from_c(dst);
}

struct str ip_port_format(struct ip_port at, char dst[IP_TEXT_CAP])
{
    char host[IP_TEXT_CAP];
    struct str text = ip_format(at.ip, host);
    bool is_v6 = at.ip.family == IP_V6;
    size_t len = fmt(dst, IP_TEXT_CAP, "%s%.*s%s:%u", is_v6 ? "[" : "", STR_ARG(text),
            is_v6 ? "]" : "", (unsigned)at.port);
    return str_of(dst, len);
}

bool ip_eq(struct ip a, struct ip b)
{
    return a.family == b.family && memcmp(a.byte, b.byte, bits_of(a.family) / 8) == 0;
}

struct ip ip_masked(struct ip ip, uint8_t prefix_bits)
{
    size_t count = bits_of(ip.family) / 8;
    struct ip masked = { .family = ip.family };
    for (size_t i = 0; i < count && i * 8 < prefix_bits; i++) {
        size_t kept_bits = prefix_bits - i * 8;
        uint8_t mask = kept_bits >= 8 ? 0xff : (uint8_t)(0xff << (8 - kept_bits));
        masked.byte[i] = ip.byte[i] & mask;
    }
    return masked;
}

bool ip_in(struct ip ip, const struct ip_net *net)
{
    return ip.family == net->ip.family && ip.family != IP_NONE &&
           ip_eq(ip_masked(ip, net->prefix_bits), net->ip);
}

static bool in_any(struct ip ip, const struct ip_net *nets, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ip_in(ip, &nets[i])) {
            return true;
        }
    }
    return false;
}

static bool v4_is_internal(struct ip ip)
{
    static const struct ip_net nets[] = {
        { { IP_V4, { 0 } }, 8 },         /* "this" network, RFC 1122 3.2.1.3 */
        { { IP_V4, { 10 } }, 8 },        /* private, RFC 1918 */
        { { IP_V4, { 100, 64 } }, 10 },  /* shared, RFC 6598 */
        { { IP_V4, { 127 } }, 8 },       /* loopback, RFC 1122 3.2.1.3 */
        { { IP_V4, { 169, 254 } }, 16 }, /* link-local, RFC 3927 */
        { { IP_V4, { 172, 16 } }, 12 },  /* private */
        { { IP_V4, { 192, 168 } }, 16 }, /* private */
        { { IP_V4, { 224 } }, 4 },       /* multicast, RFC 5771 */
        { { IP_V4, { 240 } }, 4 },       /* reserved and broadcast, RFC 1112 4 */
    };
    return in_any(ip, nets, COUNT_OF(nets));
}

static bool v6_is_internal(struct ip ip)
{
    static const struct ip_net nets[] = {
        { { IP_V6, { 0 } }, 128 },                                 /* unspecified */
        { { IP_V6, { [15] = 1 } }, 128 },                          /* loopback */
        { { IP_V6, { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 } }, 48 }, /* local NAT64, RFC 8215 */
        { { IP_V6, { 0xfc } }, 7 },                                /* unique local, RFC 4193 */
        { { IP_V6, { 0xfe, 0x80 } }, 10 },                         /* link-local */
        { { IP_V6, { 0xfe, 0xc0 } }, 10 },                         /* site-local, RFC 3879 */
        { { IP_V6, { 0xff } }, 8 },                                /* multicast */
    };
    /* Forms that end at an IPv4 host: what counts is that one. */
    static const struct {
        struct ip_net net;
        size_t at;
    } translated[] = {
        { { { IP_V6, { 0 } }, 96 }, 12 },                        /* compatible, RFC 4291 */
        { { { IP_V6, { [10] = 0xff, [11] = 0xff } }, 96 }, 12 }, /* mapped */
        { { { IP_V6, { 0x00, 0x64, 0xff, 0x9b } }, 96 }, 12 },   /* NAT64, RFC 6052 */
        { { { IP_V6, { 0x20, 0x02 } }, 16 }, 2 },                /* 6to4, RFC 3056 */
    };
    if (in_any(ip, nets, COUNT_OF(nets))) {
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(translated); i++) {
        if (ip_in(ip, &translated[i].net)) {
            return v4_is_internal(embedded_v4(&ip, translated[i].at));
        }
    }
    return false;
}

bool ip_is_internal(struct ip ip)
{
    switch (ip.family) {
    case IP_V4:
        return v4_is_internal(ip);
    case IP_V6:
        return v6_is_internal(ip);
    case IP_NONE:
        return true; /* no address is none to send to */
    }
    ASSERT(false); /* families come from ip_parse and sockets only */
    return true;
}

bool ip_is_loopback(struct ip ip)
{
    static const struct ip_net nets[] = {
        { { IP_V4, { 127 } }, 8 },
        { { IP_V6, { [15] = 1 } }, 128 },
        { { IP_V6, { [10] = 0xff, [11] = 0xff, [12] = 127 } }, 104 },
    };
    return in_any(ip, nets, COUNT_OF(nets));
}
