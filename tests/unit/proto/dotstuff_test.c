/* SPDX-License-Identifier: Apache-2.0
 *
 * dotstuff_test.c - slices joined are the stuffed content, however it is split.
 */
#include "proto/dotstuff.h"

#include "core/buf.h"
#include "core/prng.h"
#include "core/str.h"
#include "tests/test.h"
#include "tests/unit/proto/server_rig.h"

/* Stuffs in, given in pieces, with out_max slices a call. */
static void stuff(struct str in, size_t piece_bytes, size_t out_max, struct buf *ret_out)
{
    struct dot_state state = { 0 };
    struct str slice[8];
    while (in.len > 0) {
        struct str piece = str_sub(in, 0, piece_bytes);
        while (piece.len > 0) {
            size_t used;
            size_t count = dot_stuff(&state, piece, slice, out_max, &used);
            CHECK(count > 0 && count <= out_max && used <= piece.len);
            for (size_t i = 0; i < count; i++) {
                buf_add(ret_out, slice[i]);
            }
            piece = str_from(piece, used);
            in = str_from(in, used);
        }
    }
    buf_add(ret_out, dot_end(&state));
}

static void check_stuffed(const char *in, const char *expected)
{
    for (size_t piece = 1; piece < 20; piece++) {
        for (size_t out_max = 1; out_max <= 8; out_max++) {
            struct buf out;
            buf_init(&out, 1000);
            stuff(str_from_c(in), piece, out_max, &out);
            CHECK(str_eq(buf_str(&out), str_from_c(expected)), "piece %zu: %s\n got %.*s", piece,
                    in, STR_ARG(buf_str(&out)));
            buf_done(&out);
        }
    }
}

TEST(dots_at_line_starts_are_doubled_and_no_others)
{
    check_stuffed("a\r\n", "a\r\n.\r\n");
    check_stuffed(".\r\n", "..\r\n.\r\n");
    check_stuffed("..\r\n...\r\n", "...\r\n....\r\n.\r\n");
    check_stuffed("a.b.\r\n.c.\r\nd\r\n.\r\n", "a.b.\r\n..c.\r\nd\r\n..\r\n.\r\n");
    check_stuffed("\r\n\r\n.\r\n\r\n", "\r\n\r\n..\r\n\r\n.\r\n");
}

TEST(content_without_a_final_crlf_gets_one)
{
    check_stuffed("", ".\r\n");
    check_stuffed("a", "a\r\n.\r\n");
    check_stuffed("a\r\n.", "a\r\n..\r\n.\r\n");
    check_stuffed("a\r", "a\r\r\n.\r\n");
    check_stuffed("a\n", "a\n\r\n.\r\n");
    check_stuffed(".", "..\r\n.\r\n");
}

TEST(content_without_dots_is_one_slice_of_the_input)
{
    struct dot_state dots = { 0 };
    struct str slice[2], in = STR("Subject: x\r\n\r\nhello\r\n");
    size_t used;
    CHECK_U64(dot_stuff(&dots, in, slice, 2, &used), 1);
    CHECK(slice[0].ptr == in.ptr && slice[0].len == in.len && used == in.len);
}

/* Lines out of few different bytes, so that dots, CRLF and their cuts meet often. */
static size_t make_content(struct prng *prng, char *dst, size_t cap_bytes)
{
    size_t len = 0, want = (size_t)prng_below(prng, cap_bytes - 2);
    while (len < want) {
        uint64_t what = prng_below(prng, 4);
        if (what == 0) {
            memcpy(dst + len, "\r\n", 2);
            len += 2;
        } else {
            dst[len++] = what == 1 ? 'a' : '.';
        }
    }
    memcpy(dst + len, "\r\n", 2);
    return len + 2;
}

TEST(the_server_reads_back_what_was_stuffed)
{
    static struct rig rig;
    static char content[202];
    struct prng prng;
    prng_init(&prng, 1);
    for (size_t round = 0; round < 300; round++) {
        struct str in = str_of(content, make_content(&prng, content, 200));
        struct buf out;
        buf_init(&out, 1000);
        stuff(in, 1 + (size_t)prng_below(&prng, 50), 1 + (size_t)prng_below(&prng, 8), &out);
        rig_open(&rig, &rig_conf, false);
        rig_take(&rig);
        rig_send(&rig, STR("EHLO a\r\n"), 0);
        rig_send(&rig, STR("MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\nDATA\r\n"), 0);
        rig.decides_late = true;
        struct str rest = buf_str(&out);
        struct smtp_server_event event = { 0 };
        rig_take(&rig);
        while (rest.len > 0 && event.kind != SMTP_SERVER_END) {
            struct str piece = str_sub(rest, 0, 1 + (size_t)prng_below(&prng, 50));
            rest = str_from(rest, smtp_server_input(&rig.server, piece, &event));
            if (event.kind == SMTP_SERVER_CHUNK) {
                buf_add(&rig.content, event.text);
            }
        }
        CHECK(event.kind == SMTP_SERVER_END && rest.len == 0, "round %zu", round);
        CHECK_STR(buf_str(&rig.content), in);
        rig_done(&rig);
        buf_done(&out);
    }
}
