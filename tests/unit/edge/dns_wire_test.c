/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_wire_test.c - RDATA as records: what is taken, what is left out.
 */
#include "core/str.h"
#include "edge/dns_priv.h"
#include "tests/test.h"

#define WIRE(literal) str_of("" literal, sizeof(literal) - 1)

/* Reads from a copy of exact size, so that a read past the end is seen by a sanitizer. */
static bool read_record(
        enum dns_type type, struct str rdata, char *room, struct dns_record *ret_record)
{
    char *copy = mem_new(rdata.len);
    CHECK(copy != NULL);
    memcpy(copy, rdata.ptr, rdata.len);
    bool is_good = dns_record_from_wire(type, str_of(copy, rdata.len), room, ret_record);
    mem_free(copy);
    return is_good;
}

TEST(good_records_are_read)
{
    static const struct {
        enum dns_type type;
        struct str rdata;
        const char *data;
        uint16_t preference;
    } rows[] = {
        { DNS_MX,
                { "\x01\x02\x02mX\x03LAB\x07"
                  "example\x00",
                        18 },
                "mx.lab.example", 258 },
        { DNS_MX, { "\0\0\0", 3 }, "", 0 }, /* null MX, RFC 7505 */
        { DNS_PTR,
                { "\x01"
                  "a\x00",
                        3 },
                "a", 0 },
        { DNS_CNAME, { "\x05_dkim\x00", 7 }, "_dkim", 0 },
        { DNS_TXT,
                { "\x03"
                  "abc\x00\x02"
                  "de",
                        8 },
                "abcde", 0 },
        { DNS_TXT, { "\x00", 1 }, "", 0 },
        { DNS_TLSA, { "\x03\x01\x01x", 4 }, "\x03\x01\x01x", 0 },
        { DNS_NS, { "\x02ns\x00", 4 }, "ns", 0 },
        { DNS_CAA, { "\x80\x05issuex", 8 }, "\x80\x05issuex", 0 },
        { DNS_DS, { "\x01\x02\x0d\x02x", 5 }, "\x01\x02\x0d\x02x", 0 },
        { DNS_DNSKEY, { "\x01\x01\x03\x0d", 4 }, "\x01\x01\x03\x0d", 0 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char room[64];
        struct dns_record record = { 0 };
        CHECK(read_record(rows[i].type, rows[i].rdata, room, &record), "row %zu", i);
        CHECK_STR(record.data, str_from_c(rows[i].data));
        CHECK_U64(record.preference, rows[i].preference);
        CHECK_U64(record.type, rows[i].type);
    }
    char room[64], text[IP_TEXT_CAP];
    struct dns_record record;
    CHECK(read_record(DNS_A, WIRE("\xc0\x00\x02\x01"), room, &record));
    CHECK_STR(ip_format(record.ip, text), STR("192.0.2.1"));
    CHECK(read_record(DNS_AAAA, WIRE("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"), room, &record));
    CHECK_STR(ip_format(record.ip, text), STR("2001:db8::1"));
}

TEST(an_soa_is_read_though_its_mailbox_has_a_dot)
{
    static const char soa[] = "\x02ns\x00\x04"
                              "a.b.\x01"
                              "c\x00"
                              "\x01\x02\x03\x04"
                              "\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1";
    char room[64];
    struct dns_record record;
    CHECK(read_record(DNS_SOA, str_of(soa, sizeof soa - 1), room, &record));
    CHECK_STR(record.data, STR("ns"));
    CHECK_U64(record.serial, 0x01020304);
    CHECK(!read_record(DNS_SOA, str_of(soa, sizeof soa - 2), room, &record));
    CHECK(!read_record(DNS_CAA, WIRE("\x00\x06issue"), room, &record));
    CHECK(!read_record(DNS_CAA, WIRE("\x00\x00x"), room, &record));
    CHECK(!read_record(DNS_DS, WIRE("\x01\x02\x0d\x02"), room, &record));
}

TEST(g4_g7_bad_records_are_left_out)
{
    static const struct {
        enum dns_type type;
        struct str rdata;
        const char *what;
    } rows[] = {
        { DNS_A, { "\x01\x02\x03", 3 }, "short A" },
        { DNS_A, { "\x01\x02\x03\x04\x05", 5 }, "long A" },
        { DNS_AAAA, { "\x01\x02\x03\x04", 4 }, "short AAAA" },
        { DNS_MX, { "", 0 }, "empty MX" },
        { DNS_MX, { "\0\x0a", 2 }, "MX of two octets" },
        { DNS_MX,
                { "\0\x0a\x01"
                  "a",
                        4 },
                "name without end" },
        { DNS_MX,
                { "\0\x0a\x05"
                  "a\0",
                        5 },
                "label past the end" },
        { DNS_MX,
                { "\0\x0a\x01"
                  "a\0x",
                        6 },
                "bytes behind the name" },
        { DNS_MX, { "\0\x0a\xc0\x02", 4 }, "compression loop" },
        { DNS_MX,
                { "\0\x0a\x03"
                  "a b\0",
                        7 },
                "space" },
        { DNS_MX,
                { "\0\x0a\x03"
                  "a\0b\0",
                        7 },
                "NUL" },
        { DNS_MX,
                { "\0\x0a\x03"
                  "a\nb\0",
                        7 },
                "control" },
        { DNS_MX,
                { "\0\x0a\x03"
                  "a\x7f"
                  "b\0",
                        7 },
                "DEL" },
        { DNS_MX,
                { "\0\x0a\x03"
                  "a\xe4"
                  "b\0",
                        7 },
                "8-bit" },
        { DNS_MX,
                { "\0\x0a\x03"
                  "a.b\0",
                        7 },
                "dot in a label" },
        { DNS_MX,
                { "\0\x0a\x03"
                  "a\\b\0",
                        7 },
                "backslash" },
        { DNS_PTR, { "", 0 }, "empty PTR" },
        { DNS_TXT, { "", 0 }, "TXT without a string" },
        { DNS_TXT,
                { "\x05"
                  "ab",
                        3 },
                "string past the end" },
        { DNS_TLSA, { "\x03\x01\x01", 3 }, "TLSA without data" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char room[64];
        struct dns_record record;
        CHECK(!read_record(rows[i].type, rows[i].rdata, room, &record), "%s was taken",
                rows[i].what);
    }
}

TEST(a_name_has_at_most_255_octets)
{
    char wire[300], room[300];
    struct dns_record record;
    for (size_t i = 0; i < 254; i += 2) { /* 127 labels of one: 254 octets and the root */
        wire[i] = 1;
        wire[i + 1] = 'A';
    }
    wire[254] = 0;
    CHECK(read_record(DNS_PTR, str_of(wire, 255), room, &record));
    CHECK_U64(record.data.len, 253);
    CHECK(record.data.ptr[0] == 'a' && record.data.ptr[252] == 'a');
    wire[254] = 1, wire[255] = 'A', wire[256] = 0;
    CHECK(!read_record(DNS_PTR, str_of(wire, 257), room, &record));
}

TEST(aliases_of_a_packet_are_counted_and_cut_packets_survived)
{
    static const char packet[] = "\x12\x34\x81\x80\0\1\0\2\0\0\0\0"
                                 "\1a\3lab\0\0\1\0\1"
                                 "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0\x0e"
                                 "\3lab\0\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1";
    struct str whole = { packet, sizeof packet - 1 };
    CHECK_U64(dns_wire_cname_count(whole), 1);
    for (size_t len = 0; len < whole.len; len++) {
        char *copy = mem_new(len + 1);
        CHECK(copy != NULL);
        memcpy(copy, packet, len);
        CHECK(dns_wire_cname_count(str_of(copy, len)) <= 1);
        mem_free(copy);
    }
}

TEST(names_are_asked_for_in_one_form)
{
    char name[DNS_NAME_CAP];
    CHECK(dns_question_name(STR("_Dmarc.Lab.Example."), name));
    CHECK_STR(str_from_c(name), STR("_dmarc.lab.example"));
    static const struct str bad[] = { { "", 0 }, { ".", 1 }, { "a..b", 4 }, { ".a", 2 },
        { "a.b..", 5 }, { "a\tb", 3 }, { "a\0b", 3 }, { "a\\b", 3 },
        { "b\xfc"
          "cher.example",
                13 },
        { "a\n", 2 } };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(!dns_question_name(bad[i], name), "row %zu was taken", i);
    }
    CHECK(dns_question_name(STR("Macro%Percent  space.example"), name));
    CHECK_STR(str_from_c(name), STR("macro%percent  space.example"));
    char text[260];
    memset(text, 'a', sizeof text);
    CHECK(!dns_question_name(str_of(text, 64), name));
    CHECK(dns_question_name(str_of(text, 63), name));
    for (size_t i = 1; i < sizeof text; i += 2) {
        text[i] = '.';
    }
    CHECK(dns_question_name(str_of(text, 253), name));
    CHECK(!dns_question_name(str_of(text, 255), name));
}
