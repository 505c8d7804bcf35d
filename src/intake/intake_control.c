/* SPDX-License-Identifier: Apache-2.0
 *
 * intake_control.c - how an application steers a message: X-Outpost-Stream, -Tag and -Meta-*.
 *
 * They are read here and never leave. One that is not known is refused, so that nobody relies on
 * what does not happen.
 */
#include "core/str.h"
#include "intake/header_priv.h"

#define META_PREFIX STR("Meta-")

static bool refuse_control(struct rules *rules, struct str name, const char *what)
{
    intake_refuse(
            rules->intake, 550, "5.6.0", "Error: %.*s: %s", STR_ARG(str_sub(name, 0, 100)), what);
    return false;
}

/* The value in one line of printable ASCII, in the message's memory; false: refused. */
static bool control_value(struct rules *rules, const struct header_field *field, size_t bytes_max,
        struct str *ret_value)
{
    struct buf line;
    buf_init(&line, HEADER_BYTES_MAX);
    header_unfold(field->value, &line);
    struct str value = str_trim(buf_str(&line));
    bool is_fit = value.len <= bytes_max, is_nomem = buf_err(&line) == E_NOMEM;
    for (size_t i = 0; i < value.len; i++) {
        is_fit = is_fit && value.ptr[i] >= ' ' && value.ptr[i] <= '~';
    }
    struct str kept = is_fit ? arena_str(&rules->intake->facts, value) : STR("");
    buf_done(&line);
    if (is_nomem || !kept.ptr) {
        rules_refuse_nomem(rules);
        return false;
    }
    if (!is_fit) {
        return refuse_control(rules, field->name, "too long, or not printable ASCII");
    }
    *ret_value = kept;
    return true;
}

/* [a-z0-9_-], and upper case where is_any_case. */
static bool is_word(struct str s, size_t bytes_max, bool is_any_case)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = is_any_case ? ascii_lower(s.ptr[i]) : s.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !ascii_is_digit(c) && c != '_' && c != '-') {
            return false;
        }
    }
    return s.len > 0 && s.len <= bytes_max;
}

static bool read_stream(struct rules *rules, const struct header_field *field)
{
    struct str value;
    if (!control_value(rules, field, INTAKE_STREAM_BYTES_MAX, &value)) {
        return false;
    }
    if (!is_word(value, INTAKE_STREAM_BYTES_MAX, /*is_any_case*/ false)) {
        return refuse_control(rules, field->name, "not the name of a stream");
    }
    if (rules->stream.len > 0) {
        return refuse_control(rules, field->name, "given twice");
    }
    rules->stream = value;
    return true;
}

static bool read_tag(struct rules *rules, const struct header_field *field)
{
    struct str value;
    if (!control_value(rules, field, INTAKE_TAG_BYTES_MAX, &value)) {
        return false;
    }
    if (value.len == 0 || rules->intake->envelope.tag.len > 0) {
        return refuse_control(rules, field->name, value.len == 0 ? "empty" : "given twice");
    }
    rules->intake->envelope.tag = value;
    return true;
}

/* Is there a line "name=" in meta already? */
static bool has_meta(const struct rules *rules, struct str name)
{
    struct str line, rest = buf_str(&rules->meta);
    while (str_cut(&rest, '\n', &line)) {
        if (str_eq_nocase(str_sub(line, 0, str_index(line, '=')), name)) {
            return true;
        }
    }
    return false;
}

static bool read_meta(struct rules *rules, const struct header_field *field, struct str name)
{
    struct str value;
    if (!is_word(name, INTAKE_META_NAME_BYTES_MAX, /*is_any_case*/ true)) {
        return refuse_control(rules, field->name, "bad name behind Meta-");
    }
    if (!control_value(rules, field, INTAKE_META_VALUE_BYTES_MAX, &value)) {
        return false;
    }
    if (rules->meta_count++ == INTAKE_META_COUNT_MAX) {
        return refuse_control(rules, field->name, "more meta fields than a message may have");
    }
    if (has_meta(rules, name)) {
        return refuse_control(rules, field->name, "given twice");
    }
    for (size_t i = 0; i < name.len; i++) {
        buf_add_char(&rules->meta, ascii_lower(name.ptr[i]));
    }
    buf_add_char(&rules->meta, '=');
    buf_add(&rules->meta, value);
    buf_add_char(&rules->meta, '\n');
    return true;
}

static bool read_control(struct rules *rules, const struct header_field *field)
{
    struct str name = str_from(field->name, OUTPOST_PREFIX.len);
    if (str_eq_nocase(name, STR("Stream"))) {
        return read_stream(rules, field);
    }
    if (str_eq_nocase(name, STR("Tag"))) {
        return read_tag(rules, field);
    }
    if (str_starts_nocase(name, META_PREFIX)) {
        return read_meta(rules, field, str_from(name, META_PREFIX.len));
    }
    return refuse_control(rules, field->name, "unknown control field");
}

bool rules_read_controls(struct rules *rules)
{
    const struct header *header = &rules->header;
    if (rules->count[FIELD_OUTPOST] == 0) {
        return true;
    }
    for (size_t i = 0; i < header->field_count; i++) {
        if (rules->kind[i] == FIELD_OUTPOST && !read_control(rules, &header->field[i])) {
            return false;
        }
    }
    rules->intake->envelope.meta = arena_str(&rules->intake->facts, buf_str(&rules->meta));
    if (buf_err(&rules->meta) != OK || (rules->meta.len > 0 && !rules->intake->envelope.meta.ptr)) {
        rules_refuse_nomem(rules);
        return false;
    }
    return true;
}

/* ---- stream and key ------------------------------------------------------------------------ */

static bool may_use_stream(const struct config_credential *credential, struct str name)
{
    if (!credential || credential->stream_count == 0) {
        return true;
    }
    for (uint32_t i = 0; i < credential->stream_count; i++) {
        if (str_eq(credential->stream[i], name)) {
            return true;
        }
    }
    return false;
}

/* Where none is asked for: the credential's first; "system" for our own reports; else
 * "transactional", or the first there is. */
static struct str default_stream(const struct intake *intake)
{
    const struct config *config = intake->client.config;
    const struct config_credential *credential = intake->client.credential;
    struct str usual = intake->client.is_own_dsn ? STR("system") : STR("transactional");
    if (credential && credential->stream_count > 0 && !intake->client.is_own_dsn) {
        return credential->stream[0];
    }
    if (config->stream_count > 0 && !config_stream(config, usual)) {
        return config->stream[0].name;
    }
    return usual;
}

bool rules_choose_stream(struct rules *rules, const struct config_stream **ret_stream)
{
    struct intake *intake = rules->intake;
    struct str name = rules->stream.len > 0 ? rules->stream : default_stream(intake);
    const struct config_stream *stream = config_stream(intake->client.config, name);
    bool is_asked = rules->stream.len > 0;
    if (is_asked && !stream) {
        intake_refuse(intake, 550, "5.7.1", "Error: there is no stream %.*s", STR_ARG(name));
        return false;
    }
    if (is_asked && !intake->client.is_own_dsn &&
            !may_use_stream(intake->client.credential, name)) {
        intake_refuse(intake, 550, "5.7.1", "Error: stream %.*s is not allowed for user %.*s",
                STR_ARG(name), STR_ARG(intake->client.credential->name));
        return false;
    }
    intake->envelope.stream = arena_str(&intake->facts, name);
    if (!intake->envelope.stream.ptr) {
        rules_refuse_nomem(rules);
        return false;
    }
    *ret_stream = stream;
    return true;
}
