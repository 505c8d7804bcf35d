/* SPDX-License-Identifier: Apache-2.0
 *
 * header.c - cutting a header into fields, line by line, with everything doubtful refused.
 */
#include "mail/header.h"

#include "core/str.h"

bool header_find_border(struct str bytes, size_t *at, size_t *ret_body_at)
{
    if (bytes.len < 2) {
        return false;
    }
    if (*at == 0 && str_starts(bytes, STR("\r\n"))) { /* a message without any field */
        *ret_body_at = 2;
        return true;
    }
    while (*at < bytes.len) {
        const char *lf = memchr(bytes.ptr + *at, '\n', bytes.len - *at);
        size_t lf_at = lf ? (size_t)(lf - bytes.ptr) : bytes.len;
        if (bytes.len - lf_at < 3) {
            *at = lf_at; /* what follows the line is not all there yet */
            return false;
        }
        if (lf_at > 0 && memcmp(lf - 1, "\r\n\r\n", 4) == 0) {
            *ret_body_at = lf_at + 3;
            return true;
        }
        *at = lf_at + 1;
    }
    return false;
}

static enum err refuse(struct why *why, size_t line_number, const char *what)
{
    why_set(why, "header line %zu: %s", line_number, what);
    return E_SYNTAX;
}

struct cut {
    struct str rest;
    struct header_field *field;
    struct header header;
    size_t line_number;
};

/* The next line with its CRLF (the last one may lack it); E_SYNTAX on a stray CR, LF or NUL. */
static enum err next_line(
        struct cut *cut, struct str *ret_line, size_t *ret_text_len, struct why *why)
{
    size_t lf_at = str_index(cut->rest, '\n');
    bool has_end = lf_at < cut->rest.len;
    struct str line = str_sub(cut->rest, 0, lf_at + has_end);
    size_t text_len = has_end ? line.len - 1 : line.len;
    cut->line_number++;
    if (has_end && (text_len == 0 || line.ptr[--text_len] != '\r')) {
        return refuse(why, cut->line_number, "LF without CR");
    }
    if (text_len > 0 && memchr(line.ptr, '\r', text_len)) {
        return refuse(why, cut->line_number, "CR without LF");
    }
    if (text_len > 0 && memchr(line.ptr, '\0', text_len)) {
        return refuse(why, cut->line_number, "NUL");
    }
    *ret_line = line;
    *ret_text_len = text_len;
    return OK;
}

/* field-name = 1*ftext (RFC 5322 3.6.8), then the colon at once (3.6.8 again: no blank before). */
static enum err check_name(
        struct str text, size_t line_number, size_t *ret_name_len, struct why *why)
{
    size_t colon = str_index(text, ':');
    bool is_from = str_starts(text, STR("From ")) || str_starts(text, STR(">From "));
    if (is_from && str_trim(str_sub(text, 0, colon)).len > sizeof ">From" - 1) {
        return refuse(why, line_number, "mbox \"From \" line");
    }
    if (colon == text.len) {
        return refuse(why, line_number, "no colon");
    }
    if (colon == 0) {
        return refuse(why, line_number, "empty field name");
    }
    for (size_t i = 0; i < colon; i++) {
        if (ascii_is_blank(text.ptr[i])) {
            return refuse(why, line_number, "blank before the colon");
        }
        if (text.ptr[i] < 33 || text.ptr[i] > 126) {
            return refuse(why, line_number, "field name with a byte that is not printable ASCII");
        }
    }
    *ret_name_len = colon;
    return OK;
}

static enum err add_field(struct cut *cut, struct str line, size_t text_len, struct why *why)
{
    size_t name_len;
    enum err err = check_name(str_sub(line, 0, text_len), cut->line_number, &name_len, why);
    if (err != OK) {
        return err;
    }
    if (cut->header.field_count == HEADER_FIELD_COUNT_MAX) {
        why_set(why, "more than %d header fields", HEADER_FIELD_COUNT_MAX);
        return E_TOO_BIG;
    }
    cut->field[cut->header.field_count++] =
            (struct header_field){ .name = str_sub(line, 0, name_len), .raw = line };
    return OK;
}

/* One line onto the list: a new field, or a fold of the last one (RFC 5322 2.2.3). */
static enum err take_line(struct cut *cut, struct str line, size_t text_len, struct why *why)
{
    struct header *header = &cut->header;
    if (text_len > header->line_bytes_max) {
        header->line_bytes_max = text_len;
    }
    if (!ascii_is_blank(line.ptr[0])) {
        return add_field(cut, line, text_len, why);
    }
    if (header->field_count == 0) {
        return refuse(why, cut->line_number, "continuation of nothing");
    }
    cut->field[header->field_count - 1].raw.len += line.len;
    return OK;
}

static enum err cut_lines(struct cut *cut, struct why *why)
{
    while (cut->rest.len > 0) {
        struct str line;
        size_t text_len;
        enum err err = next_line(cut, &line, &text_len, why);
        if (err == OK) {
            err = take_line(cut, line, text_len, why);
        }
        if (err != OK) {
            return err;
        }
        cut->rest = str_from(cut->rest, line.len);
    }
    for (size_t i = 0; i < cut->header.field_count; i++) {
        struct header_field *field = &cut->field[i];
        field->value = str_trim(str_from(field->raw, field->name.len + 1));
    }
    return OK;
}

/* The field array: as many as there can be lines, within the limit. */
static struct header_field *new_fields(struct arena *arena, struct str block)
{
    size_t line_count = 1;
    for (size_t at = 0; at < block.len && line_count < HEADER_FIELD_COUNT_MAX; line_count++) {
        at += str_index(str_from(block, at), '\n') + 1;
    }
    return arena_new(arena, line_count * sizeof(struct header_field));
}

enum err header_parse(struct arena *arena, struct str bytes, bool at_end, struct header *ret_header,
        struct why *why)
{
    struct str head = str_sub(bytes, 0, HEADER_BYTES_MAX + 2);
    size_t at = 0, body_at = head.len;
    bool has_border = header_find_border(head, &at, &body_at);
    if (!has_border && bytes.len > HEADER_BYTES_MAX) {
        why_set(why, "header over %d bytes", HEADER_BYTES_MAX);
        return E_TOO_BIG;
    }
    if (!has_border && !at_end) {
        return E_AGAIN;
    }
    size_t block_bytes = has_border ? body_at - 2 : body_at;
    struct str block = str_sub(bytes, 0, block_bytes);
    struct cut cut = { .rest = block, .field = new_fields(arena, block) };
    if (!cut.field) {
        return E_NOMEM;
    }
    enum err err = cut_lines(&cut, why);
    if (err != OK) {
        return err;
    }
    cut.header.field = cut.field;
    cut.header.block_bytes = block_bytes;
    cut.header.body_at = body_at;
    cut.header.has_border = has_border;
    cut.header.is_8bit = !str_is_ascii(block);
    *ret_header = cut.header;
    return OK;
}

const struct header_field *header_find(const struct header *header, struct str name, size_t nth)
{
    for (size_t i = 0; i < header->field_count; i++) {
        if (str_eq_nocase(header->field[i].name, name) && nth-- == 0) {
            return &header->field[i];
        }
    }
    return NULL;
}

size_t header_count(const struct header *header, struct str name)
{
    size_t count = 0;
    for (size_t i = 0; i < header->field_count; i++) {
        count += str_eq_nocase(header->field[i].name, name);
    }
    return count;
}

void header_unfold(struct str value, struct buf *ret_text)
{
    while (value.len > 0) {
        size_t at = str_find(value, STR("\r\n"));
        buf_add(ret_text, str_sub(value, 0, at));
        value = str_from(value, at + 2);
    }
}

void lines_to_crlf(struct str text, struct buf *ret_text)
{
    while (text.len > 0) {
        size_t lf_at = str_index(text, '\n');
        bool is_bare = lf_at < text.len && (lf_at == 0 || text.ptr[lf_at - 1] != '\r');
        buf_add(ret_text, str_sub(text, 0, is_bare ? lf_at : lf_at + 1));
        if (is_bare) {
            buf_add(ret_text, STR("\r\n"));
        }
        text = str_from(text, lf_at + 1);
    }
}
