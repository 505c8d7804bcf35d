/* SPDX-License-Identifier: Apache-2.0
 *
 * hostile_test.c - message content that must not pass the door, by its number in the list of
 * hostile input (group C, B6), and what resembles it but is fine.
 */
#include "core/str.h"
#include "tests/unit/intake/door.h"

#define FROM "From: shop@example.com\r\n"

/* code 0: accepted. */
static const struct {
    const char *number;
    const char *credential;
    const char *content;
    unsigned code;
    const char *enhanced;
} rows[] = {
    { "C1 no From", "any", "Subject: x\r\n\r\n", 554, "5.6.0" },
    { "C1 no header at all", "any", "\r\nbody\r\n", 554, "5.6.0" },
    { "C1 nothing", "any", "", 554, "5.6.0" },
    { "C1 two From fields", "any", FROM FROM "\r\n", 554, "5.6.0" },
    { "C1 two From fields, other case", "any", FROM "fRoM: x@y.example\r\n\r\n", 554, "5.6.0" },
    { "C1 empty From", "any", "From:\r\n\r\n", 554, "5.6.0" },
    { "C1 From without address", "any", "From: nobody\r\n\r\n", 554, "5.6.0" },
    { "C1 unreadable From", "any", "From: a@b.example <c@d.example\r\n\r\n", 554, "5.6.0" },
    { "C1 two readings", "any", "From: a@b.example <c@d.example>\r\n\r\n", 554, "5.6.0" },
    { "C1 a group", "any", "From: g: a@b.example;\r\n\r\n", 554, "5.6.0" },
    { "C1 several, no Sender", "any", "From: a@b.example, c@d.example\r\n\r\n", 550, "5.7.1" },
    { "C1 several with Sender", "any",
            "From: a@b.example, c@d.example\r\nSender: e@f.example\r\n\r\n", 0, "" },
    { "C1 several, one foreign", "shop",
            "From: a@example.com, c@d.example\r\nSender: a@example.com\r\n\r\n", 550, "5.7.1" },
    { "C1 bad From domain", "any", "From: a@b..example\r\n\r\n", 554, "5.6.0" },
    { "B6 own From", "shop", "From: a@sub.example.com\r\n\r\n", 0, "" },
    { "B6 foreign From", "shop", "From: a@example.net\r\n\r\n", 550, "5.7.1" },
    { "B6 foreign From that ends alike", "shop", "From: a@badexample.com\r\n\r\n", 550, "5.7.1" },
    { "B6 foreign Sender", "shop", FROM "Sender: a@example.net\r\n\r\n", 550, "5.7.1" },
    { "B6 own Sender", "shop", FROM "Sender: a@shop.example\r\n\r\n", 0, "" },
    { "B6 unreadable Sender", "shop", FROM "Sender: ???\r\n\r\n", 554, "5.6.0" },
    { "B6 unreadable Sender, no rule", "any", FROM "Sender: ???\r\n\r\n", 0, "" },
    { "C2 Subject", "any", FROM "Subject: a\r\nSubject: a\r\n\r\n", 554, "5.6.0" },
    { "C2 Date", "any", FROM "Date: a\r\nX: y\r\nDATE: a\r\n\r\n", 554, "5.6.0" },
    { "C2 To", "any", FROM "To: a@b.example\r\nTo: a@b.example\r\n\r\n", 554, "5.6.0" },
    { "C2 Cc", "any", FROM "Cc: a@b.example\r\nCC: a@b.example\r\n\r\n", 554, "5.6.0" },
    { "C2 Message-ID", "any", FROM "Message-ID: <a>\r\nMessage-Id: <b>\r\n\r\n", 554, "5.6.0" },
    { "C2 Sender", "any", FROM "Sender: a@b.example\r\nSender: a@b.example\r\n\r\n", 554, "5.6.0" },
    { "C2 Reply-To", "any", FROM "Reply-To: a@b\r\nReply-To: a@b\r\n\r\n", 554, "5.6.0" },
    { "C2 Content-Type", "any", FROM "Content-Type: a/b\r\ncontent-type: a/b\r\n\r\n", 554,
            "5.6.0" },
    { "C2 two different Content-*", "any", FROM "Content-Type: a/b\r\nContent-ID: <x>\r\n\r\n", 0,
            "" },
    { "C2 others may be repeated", "any", FROM "Comments: a\r\nComments: b\r\n\r\n", 0, "" },
    { "C3 no colon", "any", FROM "garbage\r\n\r\n", 554, "5.6.0" },
    { "C3 blank before the colon", "any", "From : a@example.com\r\n\r\n", 554, "5.6.0" },
    { "C3 empty name", "any", FROM ": x\r\n\r\n", 554, "5.6.0" },
    { "C3 leading fold", "any", " folded\r\n" FROM "\r\n", 554, "5.6.0" },
    { "C3 mbox From line", "any", "From a@b.example Tue Nov 25\r\n" FROM "\r\n", 554, "5.6.0" },
    { "C8 absurd Date is kept", "any", FROM "Date: 99 Foo 99999999999999\r\n\r\n", 0, "" },
    { "C10 NUL in header", "any", NULL, 554, "5.6.0" },
    { "C10 raw 8-bit header", "any", FROM "Subject: f\xc3\xbcr\r\n\r\n", 554, "5.6.0" },
    { "C11 unknown control field", "any", FROM "X-Outpost-Queue: 1\r\n\r\n", 550, "5.6.0" },
    { "C11 control field not here yet", "any", FROM "X-Outpost-Send-At: 5\r\n\r\n", 550, "5.6.0" },
    { "stream malformed", "any", FROM "X-Outpost-Stream: Bulk\r\n\r\n", 550, "5.6.0" },
    { "stream empty", "any", FROM "X-Outpost-Stream:\r\n\r\n", 550, "5.6.0" },
    { "stream twice", "any", FROM "X-Outpost-Stream: bulk\r\nX-Outpost-Stream: bulk\r\n\r\n", 550,
            "5.6.0" },
    { "stream unknown", "any", FROM "X-Outpost-Stream: none\r\n\r\n", 550, "5.7.1" },
    { "stream not allowed", "shop", FROM "X-Outpost-Stream: signed\r\n\r\n", 550, "5.7.1" },
    { "stream allowed", "shop", FROM "X-Outpost-Stream: bulk\r\n\r\n", 0, "" },
    { "tag empty", "any", FROM "X-Outpost-Tag:\r\n\r\n", 550, "5.6.0" },
    { "tag twice", "any", FROM "X-Outpost-Tag: a\r\nX-Outpost-Tag: b\r\n\r\n", 550, "5.6.0" },
    { "tag with a control", "any", FROM "X-Outpost-Tag: a\x1b[m\r\n\r\n", 550, "5.6.0" },
    { "meta without a name", "any", FROM "X-Outpost-Meta-: x\r\n\r\n", 550, "5.6.0" },
    { "meta with a bad name", "any", FROM "X-Outpost-Meta-a=b: x\r\n\r\n", 550, "5.6.0" },
    { "meta twice", "any", FROM "X-Outpost-Meta-a: x\r\nX-Outpost-Meta-A: y\r\n\r\n", 550,
            "5.6.0" },
};

TEST(c_hostile_content_gets_its_answer_and_its_like_passes)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct door_result result;
        struct intake_client client = door_client(rows[i].credential);
        struct str content =
                rows[i].content ? str_from_c(rows[i].content) : STR(FROM "Subject: a\0b\r\n\r\n");
        door_submit(&client, content, 0, &result);
        CHECK(result.refusal.code == rows[i].code, "%s: got %u %s %s", rows[i].number,
                result.refusal.code, result.refusal.enhanced, result.refusal.text);
        CHECK(strcmp(result.refusal.enhanced, rows[i].enhanced) == 0, "%s: got %s", rows[i].number,
                result.refusal.enhanced);
        door_result_done(&result);
    }
}

static void check_built(
        struct buf *text, const char *what, unsigned code, const char *enhanced, size_t part)
{
    struct door_result result;
    struct intake_client client = door_client("any");
    REQUIRE_OK(buf_err(text));
    door_submit(&client, buf_str(text), part, &result);
    CHECK(result.refusal.code == code, "%s: got %u %s", what, result.refusal.code,
            result.refusal.text);
    CHECK_STR(str_from_c(result.refusal.enhanced), str_from_c(enhanced));
    door_result_done(&result);
    buf_done(text);
}

static void add_many(struct buf *text, const char *what, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_add_c(text, what);
    }
}

TEST(c4_headers_over_their_limits_are_too_big)
{
    struct buf text;
    buf_init(&text, 4 << 20);
    for (size_t part = 0; part <= 4000; part += 4000) {
        buf_add_c(&text, FROM "X-Long: a\r\n"); /* one field too long */
        add_many(&text, "\tfolded line of a header field that does not end\r\n", 3000);
        buf_add_c(&text, "\r\nbody\r\n");
        check_built(&text, "long field", 552, "5.3.4", part);
        buf_add_c(&text, FROM);
        add_many(&text, "X: y\r\n", 1000);
        buf_add_c(&text, "\r\n");
        check_built(&text, "1001 fields", 552, "5.3.4", part);
        buf_add_c(&text, FROM);
        add_many(&text, "X: y\r\n", 999);
        buf_add_c(&text, "\r\n");
        check_built(&text, "1000 fields", 0, "", part);
        buf_add_c(&text, FROM "To: a@b.c");
        add_many(&text, ",\r\n a@b.c", 6000);
        buf_add_c(&text, "\r\n\r\n");
        check_built(&text, "too many address tokens", 552, "5.3.4", part);
        buf_add_c(&text, FROM "To: a@b.c");
        add_many(&text, ",\r\n a@b.c", 1500);
        buf_add_c(&text, "\r\n\r\n");
        check_built(&text, "many recipients", 0, "", part);
        buf_add_c(&text, FROM "To: ");
        add_many(&text, "(comment)\r\n ", 1500);
        buf_add_c(&text, "\r\n\r\n");
        check_built(&text, "a To that is no list", 0, "", part);
        buf_add_c(&text, "From: a@b.c");
        add_many(&text, ",\r\n a@b.c", 200);
        buf_add_c(&text, "\r\nSender: a@b.c\r\n\r\n");
        check_built(&text, "too many in From", 554, "5.6.0", part);
    }
    add_many(&text, "no end of a line ", 20000);
    check_built(&text, "a header without any end", 552, "5.3.4", 1000);
}

#define HOP "Received: from a by b.example with SMTP; Tue, 25 Nov 2025 12:00:00 +0000\r\n"
#define OWN(by)                                                                                    \
    "Received: from x ([192.0.2.9])\r\n\tby " by                                                   \
    " (Outpost) with ESMTP\r\n\tid 01KAXPYC6014NE23H4WSWXEY3Y; Tue, 25 Nov 2025 12:00:00 "         \
    "+0000\r\n"

TEST(c7_too_many_hops_and_our_own_trace_twice_are_loops)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    add_many(&text, HOP, 100);
    buf_add_c(&text, FROM "\r\n");
    check_built(&text, "100 hops", 0, "", 0);
    add_many(&text, HOP, 101);
    buf_add_c(&text, FROM "\r\n");
    check_built(&text, "101 hops", 554, "5.4.6", 0);
    buf_add_c(&text, OWN("mail.example.com") HOP FROM "\r\n");
    check_built(&text, "once through here", 0, "", 0);
    buf_add_c(&text, OWN("mail.example.com") HOP OWN("MAIL.example.com") FROM "\r\n");
    check_built(&text, "twice through here", 554, "5.4.6", 0);
    buf_add_c(&text, OWN("other.example.com") OWN("other.example.com") FROM "\r\n");
    check_built(&text, "twice through another", 0, "", 0);
    buf_add_c(&text, "Received: by mail.example.com id x; d\r\nReceived: by mail.example.com id y; "
                     "d\r\n" FROM "\r\n");
    check_built(&text, "ids that are not ours", 0, "", 0);
}

static void add_line(struct buf *text, size_t len)
{
    add_many(text, "x", len);
    buf_add_c(text, "\r\n");
}

TEST(c9_lines_over_998_octets_are_refused_in_header_and_body)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t part = 0; part < 3; part++) {
        buf_add_c(&text, FROM "\r\n");
        add_line(&text, 998);
        check_built(&text, "998 in the body", 0, "", part);
        buf_add_c(&text, FROM "\r\n");
        add_line(&text, 999);
        check_built(&text, "999 in the body", 554, "5.6.0", part);
        buf_add_c(&text, FROM "\r\nshort\r\n");
        add_many(&text, "x", 5000);
        check_built(&text, "no end of a line", 554, "5.6.0", part);
        buf_add_c(&text, FROM "A: ");
        add_line(&text, 995);
        buf_add_c(&text, "\r\n");
        check_built(&text, "998 in the header", 0, "", part);
        buf_add_c(&text, FROM "A: ");
        add_line(&text, 996);
        buf_add_c(&text, "\r\n");
        check_built(&text, "999 in the header", 554, "5.6.0", part);
    }
}

TEST(c10_a_nul_anywhere_is_refused)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t part = 0; part < 3; part++) {
        buf_add(&text, STR(FROM "\r\na\0b\r\n"));
        check_built(&text, "in the body", 554, "5.6.0", part);
        buf_add(&text, STR(FROM "X-\0: b\r\n\r\n"));
        check_built(&text, "in a name", 554, "5.6.0", part);
    }
}

TEST(meta_fields_have_limits_of_number_and_size)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < INTAKE_META_COUNT_MAX; i++) {
        buf_addf(&text, "X-Outpost-Meta-k%d: v\r\n", i);
    }
    size_t len = text.len;
    buf_add_c(&text, FROM "\r\n");
    check_built(&text, "32", 0, "", 0);
    (void)len;
    for (int i = 0; i <= INTAKE_META_COUNT_MAX; i++) {
        buf_addf(&text, "X-Outpost-Meta-k%d: v\r\n", i);
    }
    buf_add_c(&text, FROM "\r\n");
    check_built(&text, "33", 550, "5.6.0", 0);
    buf_add_c(&text, FROM "X-Outpost-Meta-a: ");
    for (int i = 0; i < 2; i++) {
        add_many(&text, "x", 512);
        buf_add_c(&text, i == 0 ? "\r\n " : "\r\n\r\n");
    }
    check_built(&text, "over 1 KiB", 550, "5.6.0", 0);
    buf_add_c(&text, FROM "X-Outpost-Tag: ");
    add_many(&text, "x", INTAKE_TAG_BYTES_MAX + 1);
    buf_add_c(&text, "\r\n\r\n");
    check_built(&text, "a long tag", 550, "5.6.0", 0);
}
