/* SPDX-License-Identifier: Apache-2.0
 *
 * data.c - reads the lists of data/ that tools/embed compiled in.
 */
#include "core/str.h"
#include "identity/data_priv.h"

struct str identity_data(const char *name)
{
    for (const struct identity_data_file *file = identity_data_files; file->name; file++) {
        if (strcmp(file->name, name) == 0) {
            return str_of((const char *)file->bytes, file->size_bytes);
        }
    }
    assert_failed("data/meson.build names the file", __FILE__, __LINE__);
}

bool identity_data_line(struct str *rest, struct str *ret_line)
{
    struct str line;
    while (str_cut(rest, '\n', &line)) {
        line = str_trim(line);
        if (line.len > 0 && line.ptr[0] != '#') {
            *ret_line = line;
            return true;
        }
    }
    return false;
}

bool identity_data_field(struct str *line, struct str *ret_field)
{
    struct str text = str_trim(*line);
    size_t len = 0;
    while (len < text.len && !ascii_is_blank(text.ptr[len])) {
        len++;
    }
    *ret_field = str_sub(text, 0, len);
    *line = str_from(text, len);
    return len > 0;
}
