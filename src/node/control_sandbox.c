/* SPDX-License-Identifier: Apache-2.0
 *
 * control_sandbox.c - what the sandbox's catcher received, through the control API.
 *
 * Files of one directory, named by running numbers; the catcher writes the envelope in front of
 * each message.
 */
#include "mail/header.h"
#include "node/control_priv.h"

#include <stdlib.h>

enum {
    SANDBOX_MESSAGE_BYTES_MAX = 44 << 20, /* in base 64 it fits a reply */
    SANDBOX_DETAIL_COUNT_MAX = 1000,
    SANDBOX_HEAD_BYTES = 128 << 10, /* of each, for its details */
    SANDBOX_SUBJECT_BYTES_MAX = 200
};

/* ---- the list ---- */

static void add_sandbox_name(void *ctx, const char *name)
{
    if (str_ends_nocase(str_from_c(name), STR(".eml"))) {
        json_array_append_new(ctx, json_string(name));
    }
}

/* Numbers of six digits and more: the shorter is the smaller. */
static int by_number(const void *a, const void *b)
{
    json_t *const *x = a, *const *y = b;
    size_t x_len = json_string_length(*x), y_len = json_string_length(*y);
    if (x_len != y_len) {
        return x_len < y_len ? -1 : 1;
    }
    return strcmp(json_string_value(*x), json_string_value(*y));
}

/* NULL: no memory. names is given away. */
static json_t *sort_names(json_t *names)
{
    size_t count = json_array_size(names);
    json_t **all = mem_new((count + 1) * sizeof *all), *sorted = json_array();
    for (size_t i = 0; all && i < count; i++) {
        all[i] = json_array_get(names, i);
    }
    if (all) {
        qsort(all, count, sizeof *all, by_number);
    }
    for (size_t i = 0; all && i < count; i++) {
        json_array_append(sorted, all[i]);
    }
    bool is_whole = all && json_array_size(sorted) == count;
    mem_free(all);
    json_decref(names);
    if (!is_whole) {
        json_decref(sorted);
        return NULL;
    }
    return sorted;
}

static enum err read_head(
        struct disk *disk, const char *name, struct buf *ret_head, uint64_t *ret_size_bytes)
{
    struct disk_file *file;
    struct why why;
    size_t got = 0;
    enum err err = disk->ops->open(disk, name, 0, &file, &why);
    if (err != OK) {
        return err;
    }
    char *space = buf_space(ret_head, SANDBOX_HEAD_BYTES);
    err = space ? disk->ops->size(file, ret_size_bytes, &why) : E_NOMEM;
    if (err == OK) {
        err = disk->ops->read(file, space, SANDBOX_HEAD_BYTES, 0, &got, &why);
        buf_grew(ret_head, err == OK ? got : 0);
    }
    disk->ops->close(file);
    return err;
}

static struct str without_brackets(struct str path)
{
    path = str_trim(path);
    return path.len >= 2 && path.ptr[0] == '<' ? str_sub(path, 1, path.len - 2) : path;
}

struct caught {
    struct str from, to; /* the first recipient */
    uint64_t rcpt_count;
    struct str subject; /* unfolded, as sent */
};

/* The X-Envelope fields at the beginning; what is behind them is the message. */
static struct str take_envelope(struct str head, struct caught *caught)
{
    struct str line, rest = head, from = STR("X-Envelope-From:"), to = STR("X-Envelope-To:");
    while (str_cut(&rest, '\n', &line) && (str_starts(line, from) || str_starts(line, to))) {
        if (str_starts(line, from)) {
            caught->from = without_brackets(str_from(line, from.len));
        } else if (caught->rcpt_count++ == 0) {
            caught->to = without_brackets(str_from(line, to.len));
        }
        head = rest;
    }
    return head;
}

static json_t *detail_json(struct disk *disk, const char *name)
{
    struct buf head, subject;
    struct header header;
    struct caught caught = { 0 };
    struct arena arena;
    struct why why;
    uint64_t size_bytes = 0;
    buf_init(&head, SANDBOX_HEAD_BYTES);
    buf_init(&subject, HEADER_BYTES_MAX);
    arena_init(&arena, HEADER_ARENA_BYTES);
    if (read_head(disk, name, &head, &size_bytes) == OK) {
        struct str text = take_envelope(buf_str(&head), &caught);
        const struct header_field *field =
                header_parse(&arena, text, size_bytes <= SANDBOX_HEAD_BYTES, &header, &why) == OK
                        ? header_find(&header, STR("Subject"), 0)
                        : NULL;
        header_unfold(field ? field->value : STR(""), &subject);
    }
    caught.subject = str_sub(buf_str(&subject), 0, SANDBOX_SUBJECT_BYTES_MAX);
    json_t *detail = json_pack("{s:s, s:I, s:o, s:o, s:I, s:o}", "name", name, "bytes",
            (json_int_t)size_bytes, "from", control_str(caught.from), "to", control_str(caught.to),
            "recipient_count", (json_int_t)caught.rcpt_count, "subject",
            control_str(caught.subject));
    arena_done(&arena);
    buf_done(&subject);
    buf_done(&head);
    return detail;
}

/* Of the last `count` names. */
static json_t *details(struct disk *disk, json_t *names, uint64_t count)
{
    json_t *all = json_array();
    size_t total = json_array_size(names);
    for (size_t i = total > count ? total - (size_t)count : 0; i < total; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        json_array_append_new(all, detail_json(disk, name));
    }
    return all;
}

void control_sandbox_list(struct control *control)
{
    static const char *const arguments[] = { "details" };
    struct disk *disk = control->node->edge.sandbox;
    struct why why;
    uint64_t count = 0;
    if (!control_only_arguments(control, arguments, COUNT_OF(arguments))) {
        return;
    }
    struct str text = control_argument(control, "details");
    if (text.len && str_to_u64(text, SANDBOX_DETAIL_COUNT_MAX, &count) != OK) {
        control_end_error(control, 400, "details is a number up to %d", SANDBOX_DETAIL_COUNT_MAX);
        return;
    }
    if (disk == NULL) {
        control_end_error(control, 409,
                "this node is no sandbox: it delivers to the world (start with serve --sandbox)");
        return;
    }
    json_t *names = json_array();
    if (disk->ops->list(disk, add_sandbox_name, names, &why) != OK) {
        json_decref(names);
        control_end_error(control, 500, "%s", why.text);
        return;
    }
    names = sort_names(names);
    json_t *reply = text.len ? json_pack("{s:o, s:o}", "messages", names, "details",
                                       details(disk, names, count))
                             : json_pack("{s:o}", "messages", names);
    control_end_json(control, 200, reply);
}

/* ---- one message ---- */

static enum err read_all(struct disk *disk, struct disk_file *file, struct buf *ret_text)
{
    struct why why;
    uint64_t size = 0;
    size_t got = 0;
    enum err err = disk->ops->size(file, &size, &why);
    if (err != OK || size == 0 || size > SANDBOX_MESSAGE_BYTES_MAX) {
        return err == OK && size > 0 ? E_TOO_BIG : err;
    }
    char *space = buf_space(ret_text, size);
    if (space == NULL) {
        return buf_err(ret_text);
    }
    err = disk->ops->read(file, space, size, 0, &got, &why);
    if (err == OK) {
        buf_grew(ret_text, got);
    }
    return err;
}

void control_sandbox_show(struct control *control, struct str name)
{
    struct disk *disk = control->node->edge.sandbox;
    char file_name[256];
    struct why why;
    struct disk_file *file;
    /* a name in one directory, of what the catcher wrote: nothing else can be read through here */
    bool is_name = str_index(name, '/') == name.len && str_ends_nocase(name, STR(".eml")) &&
                   name.ptr[0] != '.';
    if (disk == NULL || !is_name || !str_to_c(name, file_name, sizeof file_name) ||
            disk->ops->open(disk, file_name, 0, &file, &why) != OK) {
        control_end_error(control, 404, "the sandbox has no message %.*s (outpost sandbox list)",
                STR_ARG(str_sub(name, 0, 100)));
        return;
    }
    struct buf text;
    buf_init(&text, SANDBOX_MESSAGE_BYTES_MAX);
    enum err err = read_all(disk, file, &text);
    disk->ops->close(file);
    control_end_content(control, err, buf_str(&text));
    buf_done(&text);
}
