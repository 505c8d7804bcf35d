/* SPDX-License-Identifier: Apache-2.0
 *
 * address_source.c - reads addresses one after the other: streaming, with bounded memory.
 */
#include "cli/address_source_priv.h"

#include "cli/cli.h"
#include "core/str.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include <jansson.h>

struct address_source {
    char **texts;
    int text_count, text_at;
    FILE *file; /* NULL: texts */
    bool is_json, is_begun, has_failed;
    uint64_t size_bytes; /* 0: unknown */
    uint64_t read_bytes;
    size_t block_at, block_len;
    char block[65536];
    char line[ADDRESS_SOURCE_JSON_BYTES_MAX + 1];
};

bool address_source_open(const char *file, bool is_json, int text_count, char **texts,
        struct address_source **ret_source)
{
    struct stat is;
    struct address_source *source = mem_new(sizeof *source);
    if (source == NULL) {
        cli_complain("out of memory");
        return false;
    }
    source->texts = texts;
    source->text_count = text_count;
    source->is_json = is_json;
    if (file != NULL) {
        source->file = strcmp(file, "-") == 0 ? stdin : fopen(file, "rbe");
        if (source->file == NULL) {
            cli_complain("%s: %s", file, strerror(errno));
            mem_free(source);
            return false;
        }
        if (fstat(fileno(source->file), &is) == 0 && S_ISREG(is.st_mode) && is.st_size > 0) {
            source->size_bytes = (uint64_t)is.st_size;
        }
    }
    *ret_source = source;
    return true;
}

void address_source_close(struct address_source *source)
{
    if (source != NULL && source->file != NULL && source->file != stdin) {
        fclose(source->file);
    }
    mem_free(source);
}

static bool fill_block(struct address_source *source)
{
    source->block_at = 0;
    source->block_len = fread(source->block, 1, sizeof source->block, source->file);
    source->read_bytes += source->block_len;
    source->has_failed = source->has_failed || ferror(source->file) != 0;
    return source->block_len > 0;
}

/* The next line without its end, cut at the room there is; false: there is none. */
static bool next_line(struct address_source *source, struct str *ret_line)
{
    size_t len = 0;
    bool is_any = false;
    while (source->block_at < source->block_len || fill_block(source)) {
        struct str rest =
                str_of(source->block + source->block_at, source->block_len - source->block_at);
        size_t end = str_index(rest, '\n');
        size_t room = sizeof source->line - len, take = end < room ? end : room;
        memcpy(source->line + len, rest.ptr, take);
        len += take;
        is_any = true;
        source->block_at += end + (end < rest.len);
        if (end < rest.len) {
            break;
        }
    }
    if (len > 0 && len < sizeof source->line && source->line[len - 1] == '\r') {
        len--;
    }
    *ret_line = str_of(source->line, len);
    if (is_any && !source->is_begun && str_starts(*ret_line, STR("\xEF\xBB\xBF"))) {
        *ret_line = str_from(*ret_line, 3);
    }
    source->is_begun = true;
    return is_any;
}

/* A JSON string, or an object's "address". */
static bool take_json(struct str line, struct buf *texts)
{
    json_t *json = json_loadb(line.ptr, line.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    const json_t *text = json_is_object(json) ? json_object_get(json, "address") : json;
    bool is_text = json_is_string(text);
    if (is_text) {
        struct str value = str_of(json_string_value(text), json_string_length(text));
        buf_add(texts, str_sub(value, 0, ADDRESS_SOURCE_BYTES_MAX));
    }
    json_decref(json);
    return is_text;
}

bool address_source_next(struct address_source *source, struct buf *texts, bool *ret_is_unread)
{
    struct str line;
    *ret_is_unread = false;
    if (source->file == NULL) {
        if (source->text_at == source->text_count) {
            return false;
        }
        line = str_from_c(source->texts[source->text_at++]);
    } else if (!next_line(source, &line)) {
        return false;
    }
    if (source->is_json) {
        if (take_json(line, texts)) {
            return true;
        }
        *ret_is_unread = true;
    }
    buf_add(texts, str_sub(line, 0, ADDRESS_SOURCE_BYTES_MAX));
    return true;
}

int32_t address_source_percent(const struct address_source *source)
{
    if (source->size_bytes == 0) {
        return -1;
    }
    uint64_t percent = source->read_bytes * 100 / source->size_bytes;
    return percent > 100 ? 100 : (int32_t)percent;
}

bool address_source_failed(const struct address_source *source)
{
    return source->has_failed;
}
