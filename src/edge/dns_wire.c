/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_wire.c - what answers hold, read as hostile input: RFC 1035 3.2-4.1, RFC 3596, RFC 6698.
 *
 * A bad record is left out, never repaired. Where all are bad the answer counts as SERVFAIL, so
 * that mail waits instead of bouncing.
 */
#include "core/str.h"
#include "edge/dns_priv.h"

enum {
    HEADER_BYTES = 12,
    LABEL_BYTES_MAX = 63,
    NAME_WIRE_BYTES_MAX = 255,
    TYPE_CNAME = 5,
    RR_FIXED_BYTES = 10 /* type, class, TTL, RDLENGTH */
};

static uint8_t byte_at(struct str s, size_t at)
{
    return (uint8_t)s.ptr[at];
}

static uint16_t be16_at(struct str s, size_t at)
{
    return (uint16_t)(byte_at(s, at) << 8 | byte_at(s, at + 1));
}

/* In a host name that we compare, log or connect to. A dot inside a label would read as two. */
static bool is_name_char(char c)
{
    return c > ' ' && c < 0x7f && c != '.' && c != '\\';
}

/* In a name that is asked for: SPF macros make some with blanks (RFC 7208 7.1, "%_"). */
static bool is_question_char(char c)
{
    return c == ' ' || is_name_char(c);
}

/* The name at *at into dst (at most as many bytes as it takes in wire form); moves *at behind. */
static bool read_name_of(
        struct str rdata, size_t *at, bool (*is_good)(char c), char *dst, struct str *ret_name)
{
    size_t begin = *at, here = *at, len = 0;
    for (;;) {
        if (here >= rdata.len || here - begin >= NAME_WIRE_BYTES_MAX) {
            return false;
        }
        size_t label_len = byte_at(rdata, here++);
        if (label_len == 0) {
            break;
        }
        if (label_len > LABEL_BYTES_MAX || label_len >= rdata.len - here) {
            return false; /* also compression (RFC 1035 4.1.4), which nobody resolves here */
        }
        if (len > 0) {
            dst[len++] = '.';
        }
        for (size_t i = 0; i < label_len; i++) {
            char c = rdata.ptr[here + i];
            if (!is_good(c)) {
                return false;
            }
            dst[len++] = ascii_lower(c);
        }
        here += label_len;
    }
    *at = here;
    *ret_name = str_of(dst, len);
    return true;
}

static bool read_name(struct str rdata, size_t *at, char *dst, struct str *ret_name)
{
    return read_name_of(rdata, at, is_name_char, dst, ret_name);
}

bool dns_owner_from_wire(struct str wire, char dst[DNS_NAME_CAP], struct str *ret_name)
{
    size_t at = 0;
    return read_name_of(wire, &at, is_question_char, dst, ret_name) && at == wire.len;
}

static bool read_whole_name(struct str rdata, size_t at, char *dst, struct str *ret_name)
{
    return read_name(rdata, &at, dst, ret_name) && at == rdata.len;
}

/* Strings joined without a blank between (RFC 7208 3.3, RFC 6376 3.6.2.2). */
static bool read_txt(struct str rdata, char *dst, struct str *ret_text)
{
    size_t at = 0, len = 0;
    while (at < rdata.len) {
        size_t part = byte_at(rdata, at++);
        if (part > rdata.len - at) {
            return false;
        }
        if (part > 0) {
            memcpy(dst + len, rdata.ptr + at, part);
        }
        len += part;
        at += part;
    }
    *ret_text = str_of(dst, len);
    return rdata.len > 0;
}

/* MNAME, then RNAME (whose first label may hold dots), then five numbers (RFC 1035 3.3.13). */
static bool read_soa(struct str rdata, char *dst, struct dns_record *record)
{
    enum { NUMBERS_BYTES = 20 };
    size_t at = 0;
    if (!read_name(rdata, &at, dst, &record->data)) {
        return false;
    }
    while (at < rdata.len && byte_at(rdata, at) != 0) {
        at += 1U + byte_at(rdata, at);
    }
    if (at >= rdata.len || rdata.len - at - 1 != NUMBERS_BYTES) {
        return false;
    }
    record->serial = (uint32_t)be16_at(rdata, at + 1) << 16 | be16_at(rdata, at + 3);
    return true;
}

/* Octets as they are, at least so many. */
static bool read_raw(struct str rdata, size_t bytes_min, char *dst, struct str *ret_raw)
{
    if (rdata.len < bytes_min) {
        return false;
    }
    memcpy(dst, rdata.ptr, rdata.len);
    *ret_raw = str_of(dst, rdata.len);
    return true;
}

static bool read_ip(struct str rdata, enum ip_family family, struct ip *ret_ip)
{
    size_t want = family == IP_V4 ? 4 : 16;
    if (rdata.len != want) {
        return false;
    }
    struct ip ip = { .family = family };
    memcpy(ip.byte, rdata.ptr, want);
    *ret_ip = ip;
    return true;
}

bool dns_record_from_wire(
        enum dns_type type, struct str rdata, char *room, struct dns_record *ret_record)
{
    struct dns_record record = { .type = type, .data = STR("") };
    bool is_good = false;
    switch (type) {
    case DNS_A:
        is_good = read_ip(rdata, IP_V4, &record.ip);
        break;
    case DNS_AAAA:
        is_good = read_ip(rdata, IP_V6, &record.ip);
        break;
    case DNS_CNAME:
    case DNS_NS:
    case DNS_PTR:
        is_good = read_whole_name(rdata, 0, room, &record.data);
        break;
    case DNS_MX: /* preference and at least the root */
        is_good = rdata.len >= 3 && read_whole_name(rdata, 2, room, &record.data);
        record.preference = is_good ? be16_at(rdata, 0) : 0;
        break;
    case DNS_TXT:
        is_good = read_txt(rdata, room, &record.data);
        break;
    case DNS_TLSA:   /* three octets and some data (RFC 6698 2.1) */
    case DNS_DNSKEY: /* four octets and a key (RFC 4034 2.1); one that has none is of no use */
        is_good = read_raw(rdata, 4, room, &record.data);
        break;
    case DNS_DS: /* four octets and a digest (RFC 4034 5.1) */
        is_good = read_raw(rdata, 5, room, &record.data);
        break;
    case DNS_CAA: /* flags, length of the tag, tag, value (RFC 8659 4.1) */
        is_good = rdata.len >= 3 && byte_at(rdata, 1) > 0 && byte_at(rdata, 1) <= rdata.len - 2 &&
                  read_raw(rdata, 3, room, &record.data);
        break;
    case DNS_SOA:
        is_good = read_soa(rdata, room, &record);
        break;
    }
    if (is_good) {
        *ret_record = record;
    }
    return is_good;
}

/* Behind the (perhaps compressed) name at `at`; packet.len + 1 where it runs out. */
static size_t skip_name(struct str packet, size_t at)
{
    while (at < packet.len) {
        uint8_t label = byte_at(packet, at);
        if (label == 0) {
            return at + 1;
        }
        if (label >= 0xc0) {
            return at + 2;
        }
        at += 1U + label;
    }
    return packet.len + 1;
}

uint32_t dns_wire_cname_count(struct str packet)
{
    if (packet.len < HEADER_BYTES) {
        return 0;
    }
    uint32_t question_count = be16_at(packet, 4), answer_count = be16_at(packet, 6), count = 0;
    size_t at = HEADER_BYTES;
    for (uint32_t i = 0; i < question_count && at <= packet.len; i++) {
        at = skip_name(packet, at) + 4;
    }
    for (uint32_t i = 0; i < answer_count; i++) {
        at = skip_name(packet, at);
        if (at > packet.len || packet.len - at < RR_FIXED_BYTES) {
            break;
        }
        count += be16_at(packet, at) == TYPE_CNAME;
        at += (size_t)RR_FIXED_BYTES + be16_at(packet, at + 8);
    }
    return count;
}

bool dns_question_name(struct str name, char dst[DNS_NAME_CAP])
{
    if (name.len > 0 && name.ptr[name.len - 1] == '.') {
        name.len--;
    }
    if (name.len == 0 || name.len > NAME_WIRE_BYTES_MAX - 2) {
        return false;
    }
    size_t label_len = 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        label_len = c == '.' ? 0 : label_len + 1;
        bool is_end_empty = c == '.' && (i == 0 || i + 1 == name.len || name.ptr[i - 1] == '.');
        if ((c != '.' && !is_question_char(c)) || is_end_empty || label_len > LABEL_BYTES_MAX) {
            return false;
        }
        dst[i] = ascii_lower(c);
    }
    dst[name.len] = '\0';
    return true;
}

/* ---- answers ---- */

enum err dns_room_open(struct dns_room *room, uint32_t record_count, size_t rdata_bytes)
{
    *room = (struct dns_room){ .answer = { .status = DNS_FOUND, .why = "" } };
    uint32_t count = record_count < DNS_RECORD_COUNT_MAX ? record_count : DNS_RECORD_COUNT_MAX;
    room->record = mem_new(count * sizeof *room->record + rdata_bytes + 1);
    if (room->record == NULL) {
        dns_room_fail(room, DNS_SERVFAIL, "out of memory");
        return E_NOMEM;
    }
    room->text = (char *)(room->record + count);
    return OK;
}

void dns_room_add(struct dns_room *room, enum dns_type type, struct str rdata)
{
    uint32_t count = room->answer.record_count;
    if (count == DNS_RECORD_COUNT_MAX) {
        room->answer.is_cut = true;
    } else if (dns_record_from_wire(type, rdata, room->text, &room->record[count])) {
        room->answer.record_count = count + 1;
        room->text += rdata.len;
    }
}

void dns_room_fail(struct dns_room *room, enum dns_status status, const char *why)
{
    fmt(room->why, sizeof room->why, "%s", why);
    room->answer.status = status;
    room->answer.record_count = 0;
    room->answer.is_cut = false;
    room->answer.why = room->why;
}

void dns_room_end(struct dns_room *room)
{
    room->answer.record = room->record;
    if (room->answer.status == DNS_FOUND && room->answer.record_count == 0) {
        dns_room_fail(room, DNS_SERVFAIL, "no record of the answer is well-formed");
    }
}

void dns_room_close(struct dns_room *room)
{
    mem_free(room->record);
    room->record = NULL;
}
