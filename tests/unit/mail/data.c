/* SPDX-License-Identifier: Apache-2.0
 *
 * data.c - whole files into buffers, for tests.
 */
#include "tests/unit/mail/data.h"

#include "tests/test.h"

void data_read(const char *path, struct buf *ret_text)
{
    char chunk[4096];
    FILE *file = fopen(path, "rb");
    buf_init(ret_text, 16 << 20);
    CHECK(file != NULL, "cannot open %s (is the working directory the source root?)", path);
    for (size_t len; (len = fread(chunk, 1, sizeof chunk, file)) > 0;) {
        buf_add(ret_text, str_of(chunk, len));
    }
    fclose(file);
    REQUIRE_OK(buf_err(ret_text));
}
