/* SPDX-License-Identifier: Apache-2.0
 *
 * sntp_test.c - answers of time servers: good, somebody else's, of a server that is not set.
 */
#include "edge/sntp.h"

#include "tests/test.h"

enum { MARK_AT = 24, RECEIVE_AT = 32, TRANSMIT_AT = 40 };
static const uint64_t mark = UINT64_C(0x1122334455667788);

static void put_be64(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        at[i] = (uint8_t)(value >> (56 - 8 * i));
    }
}

static uint64_t ntp_of(int64_t wall_ms)
{
    uint64_t ms = (uint64_t)wall_ms;
    return ((ms / 1000 + UINT64_C(2208988800)) << 32) + ((ms % 1000) << 32) / 1000;
}

static void fill(uint8_t packet[SNTP_PACKET_BYTES], int64_t receive_ms, int64_t transmit_ms)
{
    memset(packet, 0, SNTP_PACKET_BYTES);
    packet[0] = 4 << 3 | 4;
    packet[1] = 2;
    put_be64(packet + MARK_AT, mark);
    put_be64(packet + RECEIVE_AT, ntp_of(receive_ms));
    put_be64(packet + TRANSMIT_AT, ntp_of(transmit_ms));
}

TEST(the_offset_is_the_mean_of_both_ways)
{
    uint8_t packet[SNTP_PACKET_BYTES];
    struct sntp_answer got;
    const struct wall sent = { 1790000000000 }, taken = { 1790000000100 };
    fill(packet, sent.ms + 5040, sent.ms + 5060);
    REQUIRE_OK(sntp_read(packet, sizeof packet, mark, sent, taken, &got));
    CHECK(got.offset_ms >= 4999 && got.offset_ms <= 5001, "%lld", (long long)got.offset_ms);
    CHECK(got.delay_ms >= 79 && got.delay_ms <= 81, "%llu", (unsigned long long)got.delay_ms);
    fill(packet, sent.ms - 90000, sent.ms - 90000);
    REQUIRE_OK(sntp_read(packet, sizeof packet, mark, sent, taken, &got));
    CHECK(got.offset_ms < -90000 && got.offset_ms > -90100, "%lld", (long long)got.offset_ms);
}

TEST(times_after_2036_are_read_in_the_next_era)
{
    uint8_t packet[SNTP_PACKET_BYTES];
    struct sntp_answer got;
    const struct wall sent = { 2100000000000 };
    fill(packet, sent.ms, sent.ms);
    REQUIRE_OK(sntp_read(packet, sizeof packet, mark, sent, sent, &got));
    CHECK(got.offset_ms >= -1 && got.offset_ms <= 1, "%lld", (long long)got.offset_ms);
}

TEST(what_is_no_answer_to_our_question_is_passed_over_and_unset_servers_are_refused)
{
    uint8_t packet[SNTP_PACKET_BYTES];
    struct sntp_answer got;
    const struct wall sent = { 1790000000000 };
    fill(packet, sent.ms, sent.ms);
    CHECK_ERR(sntp_read(packet, sizeof packet, mark + 1, sent, sent, &got), E_SYNTAX);
    CHECK_ERR(sntp_read(packet, sizeof packet - 1, mark, sent, sent, &got), E_SYNTAX);
    packet[1] = 0; /* kiss of death */
    CHECK_ERR(sntp_read(packet, sizeof packet, mark, sent, sent, &got), E_REFUSED);
    fill(packet, sent.ms, sent.ms);
    packet[0] = 0xc0 | 4 << 3 | 4;
    CHECK_ERR(sntp_read(packet, sizeof packet, mark, sent, sent, &got), E_REFUSED);
    packet[0] = 4 << 3 | 3;
    CHECK_ERR(sntp_read(packet, sizeof packet, mark, sent, sent, &got), E_SYNTAX);
}
