/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_dsn.c - whatever a peer, an address or a header says: the report keeps to 7-bit CRLF lines
 * of at most 998, and its parts are three.
 */
#include "core/str.h"
#include "mail/dsn.h"

static void check_form(struct str text)
{
    size_t line_len = 0, border_count = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_crlf = c == '\r' && i + 1 < text.len && text.ptr[i + 1] == '\n';
        ASSERT((c >= ' ' && c <= '~') || c == '\t' || is_crlf ||
                (i > 0 && text.ptr[i - 1] == '\r'));
        line_len = c == '\n' ? 0 : line_len + 1;
        ASSERT(line_len <= 999);
        border_count += line_len == 1 && str_starts(str_from(text, i), STR("--QQQQfuzzQQQQ1234"));
    }
    ASSERT(border_count == 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str part[5] = { { 0 } }, rest = str_of((const char *)data, size);
    for (size_t i = 0; i < COUNT_OF(part) && str_cut(&rest, '\x01', &part[i]); i++) {
    }
    if (str_find(part[4], STR("QQQQfuzzQQQQ")) < part[4].len) {
        return 0; /* the boundary is random in earnest */
    }
    struct dsn_recipient recipient = { part[0], part[1], (enum dsn_action)(size % 5), part[2],
        part[3], part[3], part[2], { 1000 }, { 2000 } };
    struct dsn dsn = { STR("mx.example"), STR("a@b.example"), STR("q1"), part[1], STR("id@x"),
        STR("QQQQfuzzQQQQ1234"), { 1 }, { 2 }, &recipient, 1, part[4], false };
    struct buf text;
    buf_init(&text, DSN_BYTES_MAX);
    ASSERT(dsn_compose(&dsn, &text) == OK);
    check_form(buf_str(&text));
    buf_done(&text);
    return 0;
}
