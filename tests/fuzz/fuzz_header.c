/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_header.c - a header's fields are its bytes, the border does not depend on the pieces, and
 * dates and line ends are read without harm.
 */
#include "core/str.h"
#include "mail/date.h"
#include "mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str all = str_of((const char *)data, size);
    struct arena arena;
    struct header header;
    struct wall wall;
    arena_init(&arena, HEADER_ARENA_BYTES);
    if (header_parse(&arena, all, true, &header, NULL) == OK) {
        size_t at = 0, found_at = 0, body_at = 0, sum_bytes = 0;
        bool is_found = false;
        for (size_t len = 0; len <= size && !is_found; len++) {
            is_found = header_find_border(str_sub(all, 0, len), &found_at, &body_at);
        }
        ASSERT(is_found == header.has_border && (!is_found || body_at == header.body_at));
        for (at = 0; at < header.field_count; at++) {
            sum_bytes += header.field[at].raw.len;
            enum err parsed = date_parse(header.field[at].value, &wall);
            ASSERT(parsed < ERR_COUNT);
        }
        ASSERT(sum_bytes == header.block_bytes);
    }
    arena_done(&arena);
    struct buf text;
    buf_init(&text, 1 << 20);
    lines_to_crlf(all, &text);
    header_unfold(all, &text);
    buf_done(&text);
    ASSERT(date_parse(all, &wall) < ERR_COUNT);
    return 0;
}
