/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_history_row.c - rows of the history as a damaged file may give them, told as JSON and text.
 */
#include "history/history.h"
#include "history/tale_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf json, text;
    buf_init(&json, 1 << 20);
    buf_init(&text, 1 << 20);
    buf_add_char(&json, '[');
    if (tale_json(1, str_of((const char *)data, size), STR(""), &json) == OK) {
        buf_add_char(&json, ']');
        enum err err = history_story_text(buf_str(&json), true, &text);
        ASSERT(err == OK || err == E_TOO_BIG ||
                buf_err(&json) != OK); /* it is JSON, whatever came */
    }
    buf_done(&json);
    buf_done(&text);
    return 0;
}
