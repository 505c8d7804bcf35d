/* SPDX-License-Identifier: Apache-2.0
 *
 * print.c - values and whole configurations as text and as JSON, by the tables.
 *
 * What config_print writes can be read again; secrets stand in it as comments.
 */
#include "config/table_priv.h"

#include "core/b64.h"
#include "core/str.h"

/* ---- values as text ---- */

static struct str str_field(const struct setting_row *row, const void *object)
{
    struct str text;
    memcpy(&text, field_at_const(object, row->offset), sizeof text);
    return text;
}

static void add_quoted(struct buf *text, struct str value)
{
    buf_add_char(text, '"');
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '"' || c == '\\' || c == '$') {
            buf_add_char(text, '\\');
        }
        buf_add_char(text, c);
    }
    buf_add_char(text, '"');
}

struct unit {
    uint64_t size;
    const char *name;
};

static void add_units(struct buf *text, uint64_t value, const struct unit *units)
{
    while (units->size > 1 && (value == 0 || value % units->size != 0)) {
        units++;
    }
    buf_addf(text, "%llu%s", (unsigned long long)(value / units->size), units->name);
}

static void add_ms(struct buf *text, uint64_t ms)
{
    static const struct unit units[] = { { 86400000, "d" }, { 3600000, "h" }, { 60000, "m" },
        { 1000, "s" }, { 1, "ms" } };
    if (ms == 0) {
        buf_add_c(text, "0s");
    } else {
        add_units(text, ms, units);
    }
}

static void add_bytes(struct buf *text, uint64_t bytes)
{
    static const struct unit units[] = { { 1 << 30, "G" }, { 1 << 20, "M" }, { 1 << 10, "k" },
        { 1, "" } };
    add_units(text, bytes, units);
}

static uint32_t u32_field(const struct setting_row *row, const void *object)
{
    uint32_t value;
    memcpy(&value, field_at_const(object, row->offset), sizeof value);
    return value;
}

static uint64_t u64_field(const struct setting_row *row, const void *object)
{
    uint64_t value;
    memcpy(&value, field_at_const(object, row->offset), sizeof value);
    return value;
}

static bool bool_field(const struct setting_row *row, const void *object)
{
    bool value = *(const bool *)field_at_const(object, row->offset);
    return value != (row->type == SETTING_BOOL_NOT);
}

static uint32_t list_count(const struct setting_row *row, const void *object)
{
    uint32_t count;
    memcpy(&count, field_at_const(object, row->count_offset), sizeof count);
    return count;
}

/* Member number i of a list as it would be written, without quotes. */
static struct str list_member(
        const struct setting_row *row, const void *object, uint32_t i, char dst[IP_TEXT_CAP])
{
    const void *array;
    memcpy(&array, field_at_const(object, row->offset), sizeof array);
    if (row->type == SETTING_AT_LIST) {
        return ip_port_format(((const struct ip_port *)array)[i], dst);
    }
    if (row->type == SETTING_NET_LIST) {
        const struct ip_net *net = &((const struct ip_net *)array)[i];
        size_t len = ip_format(net->ip, dst).len;
        len += fmt(dst + len, IP_TEXT_CAP - len, "/%u", net->prefix_bits);
        return str_of(dst, len);
    }
    return ((const struct str *)array)[i];
}

static void add_list(const struct setting_row *row, const void *object, struct buf *text)
{
    uint32_t count = list_count(row, object);
    if (count == 0) {
        return;
    }
    buf_add_c(text, "{ ");
    for (uint32_t i = 0; i < count; i++) {
        char member[IP_TEXT_CAP];
        buf_add_c(text, i > 0 ? ", " : "");
        add_quoted(text, list_member(row, object, i, member));
    }
    buf_add_c(text, " }");
}

static void add_resolver(struct str servers, struct buf *text)
{
    struct str server;
    if (servers.len == 0) {
        buf_add_c(text, "\"system\"");
        return;
    }
    buf_add_c(text, "{ ");
    for (bool is_first = true; str_cut(&servers, ',', &server); is_first = false) {
        buf_add_c(text, is_first ? "" : ", ");
        add_quoted(text, server);
    }
    buf_add_c(text, " }");
}

/* Addresses and base64, which the struct holds as bytes: as text, "" where unset. */
static struct str bytes_field(
        const struct setting_row *row, const void *object, struct buf *scratch)
{
    char text[IP_TEXT_CAP];
    const void *field = field_at_const(object, row->offset);
    if (row->type == SETTING_IP) {
        const struct ip *ip = field;
        if (ip->family != IP_NONE) {
            buf_add(scratch, ip_format(*ip, text));
        }
    } else if (row->type == SETTING_IP_PORT) {
        buf_add(scratch, ip_port_format(*(const struct ip_port *)field, text));
    } else {
        b64_encode(scratch, str_field(row, object));
    }
    return buf_str(scratch);
}

static void add_bytes_field(const struct setting_row *row, const void *object, struct buf *ret_text)
{
    struct buf scratch;
    buf_init(&scratch, CONFIG_VALUE_BYTES_MAX);
    struct str text = bytes_field(row, object, &scratch);
    if (text.len > 0) {
        add_quoted(ret_text, text);
    }
    buf_done(&scratch);
}

void value_print(const struct setting_row *row, const void *object, struct buf *ret_text)
{
    switch (row->type) {
    case SETTING_STR:
    case SETTING_PATH:
    case SETTING_HOST:
    case SETTING_LOG:
        if (str_field(row, object).len > 0) {
            add_quoted(ret_text, str_field(row, object));
        }
        break;
    case SETTING_BOOL:
    case SETTING_BOOL_NOT:
        buf_add_c(ret_text, bool_field(row, object) ? "yes" : "no");
        break;
    case SETTING_U32:
        buf_addf(ret_text, "%u", u32_field(row, object));
        break;
    case SETTING_MS:
        add_ms(ret_text, u64_field(row, object));
        break;
    case SETTING_BYTES:
        add_bytes(ret_text, u64_field(row, object));
        break;
    case SETTING_ENUM:
        buf_add_c(ret_text, row->words[u32_field(row, object)]);
        break;
    case SETTING_IP:
    case SETTING_IP_PORT:
    case SETTING_B64:
        add_bytes_field(row, object, ret_text);
        break;
    case SETTING_RESOLVER:
        add_resolver(str_field(row, object), ret_text);
        break;
    case SETTING_AT_LIST:
    case SETTING_NET_LIST:
    case SETTING_NAME_LIST:
    case SETTING_DOMAIN_LIST:
    case SETTING_PATH_LIST:
    case SETTING_TARGET_LIST:
    case SETTING_WEIGHT_LIST:
        add_list(row, object, ret_text);
        break;
    }
}

void value_print_range(const struct setting_row *row, struct buf *ret_text)
{
    void (*add)(struct buf * text, uint64_t value) = row->type == SETTING_MS ? add_ms : add_bytes;
    switch (row->type) {
    case SETTING_U32:
        buf_addf(ret_text, "%llu to %llu", (unsigned long long)row->min,
                (unsigned long long)row->max);
        break;
    case SETTING_MS:
    case SETTING_BYTES:
        add(ret_text, row->min);
        buf_add_c(ret_text, " to ");
        add(ret_text, row->max);
        break;
    case SETTING_ENUM:
        buf_add_c(ret_text, "one of ");
        for (uint32_t i = 0; row->words[i]; i++) {
            buf_addf(ret_text, "%s%s", i > 0 ? ", " : "", row->words[i]);
        }
        break;
    case SETTING_BOOL:
    case SETTING_BOOL_NOT:
    case SETTING_STR:
    case SETTING_PATH:
    case SETTING_HOST:
    case SETTING_LOG:
    case SETTING_IP:
    case SETTING_IP_PORT:
    case SETTING_B64:
    case SETTING_RESOLVER:
    case SETTING_AT_LIST:
    case SETTING_NET_LIST:
    case SETTING_NAME_LIST:
    case SETTING_DOMAIN_LIST:
    case SETTING_PATH_LIST:
    case SETTING_TARGET_LIST:
    case SETTING_WEIGHT_LIST:
        break;
    }
}

/* ---- a configuration as text ---- */

enum { INDENT_COLUMNS = 4, EXPLAIN_COLUMNS_MAX = 96 };

static void add_indent(struct buf *text, uint32_t depth)
{
    buf_addf(text, "%*s", (int)(depth * INDENT_COLUMNS), "");
}

/* A comment, broken at blanks. */
static void add_comment(struct buf *text, uint32_t depth, struct str words)
{
    while (words.len > 0) {
        size_t len = words.len;
        size_t room = EXPLAIN_COLUMNS_MAX - depth * INDENT_COLUMNS;
        if (len > room) {
            len = str_rindex(str_sub(words, 0, room), ' ');
        }
        add_indent(text, depth);
        buf_addf(text, "# %.*s\n", STR_ARG(str_sub(words, 0, len)));
        words = str_trim(str_from(words, len));
    }
}

static void add_default(const struct setting_row *row, struct buf *text)
{
    const char *fallback = row->fallback_say ? row->fallback_say : row->fallback;
    struct buf range;
    buf_init(&range, 200);
    value_print_range(row, &range);
    buf_addf(text, "Default: %s", fallback ? fallback : "none");
    if (range.len > 0) {
        buf_addf(text, " (%.*s)", STR_ARG(buf_str(&range)));
    }
    buf_add_char(text, '.');
    buf_done(&range);
}

static void add_explanation(const struct setting_row *row, uint32_t depth, struct buf *text)
{
    struct buf words;
    buf_init(&words, CONFIG_VALUE_BYTES_MAX);
    buf_addf(&words, "%s ", row->help);
    add_default(row, &words);
    add_comment(text, depth, buf_str(&words));
    buf_done(&words);
}

static void add_setting(const struct setting_row *row, const void *object, bool is_explained,
        uint32_t depth, struct buf *text)
{
    struct buf value;
    buf_init(&value, CONFIG_VALUE_BYTES_MAX * CONFIG_LIST_COUNT_MAX);
    value_print(row, object, &value);
    if (is_explained) {
        add_explanation(row, depth, text);
    }
    if (value.len > 0 || is_explained) {
        add_indent(text, depth);
        if (value.len == 0) {
            buf_addf(text, "# %s =\n", row->name);
        } else if (row->is_secret) {
            buf_addf(text, "# %s = (hidden)\n", row->name);
        } else {
            buf_addf(text, "%s = %.*s\n", row->name, STR_ARG(buf_str(&value)));
        }
    }
    if (is_explained) {
        buf_add_char(text, '\n');
    }
    buf_done(&value);
}

static void add_sections(enum section parent, const void *object, bool is_explained, uint32_t depth,
        struct buf *text);

static void add_settings(enum section section, const void *object, bool is_explained,
        uint32_t depth, struct buf *text)
{
    for (uint32_t i = 0; i < setting_count; i++) {
        if (setting_table[i].section == section) {
            add_setting(&setting_table[i], object, is_explained, depth, text);
        }
    }
    add_sections(section, object, is_explained, depth, text);
}

/* Object number i of a section inside parent. */
static const void *member_of(enum section section, const void *parent, uint32_t i)
{
    const char *array;
    memcpy(&array, field_at_const(parent, section_table[section].offset), sizeof array);
    return array + i * section_table[section].bytes;
}

static uint32_t member_count(enum section section, const void *parent)
{
    uint32_t count;
    memcpy(&count, field_at_const(parent, section_table[section].count_offset), sizeof count);
    return count;
}

static void add_sections(enum section parent, const void *object, bool is_explained, uint32_t depth,
        struct buf *text)
{
    for (enum section s = SECTION_TOP + 1; s < SECTION_COUNT; s++) {
        const struct section_row *row = &section_table[s];
        for (uint32_t i = 0; row->parent == parent && i < member_count(s, object); i++) {
            const void *member = member_of(s, object, i);
            struct str title;
            memcpy(&title, member, sizeof title);
            if (is_explained && i == 0) {
                add_comment(text, depth, str_from_c(row->help));
            }
            add_indent(text, depth);
            buf_addf(text, "%s ", row->name);
            add_quoted(text, title);
            buf_add_c(text, " {\n");
            add_settings(s, member, is_explained && i == 0, depth + 1, text);
            add_indent(text, depth);
            buf_add_c(text, is_explained ? "}\n\n" : "}\n");
        }
    }
}

void config_print(const struct config *config, bool is_explained, struct buf *ret_text)
{
    add_settings(SECTION_TOP, config, is_explained, 0, ret_text);
}

/* ---- JSON ---- */

static void add_json_str(struct buf *text, struct str value)
{
    buf_add_char(text, '"');
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = (uint8_t)value.ptr[i];
        if (c == '"' || c == '\\') {
            buf_add_char(text, '\\');
        }
        if (c < ' ') {
            buf_addf(text, "\\u%04x", c);
        } else {
            buf_add_char(text, (char)c);
        }
    }
    buf_add_char(text, '"');
}

static void add_json_list(const struct setting_row *row, const void *object, struct buf *text)
{
    buf_add_char(text, '[');
    for (uint32_t i = 0; i < list_count(row, object); i++) {
        char member[IP_TEXT_CAP];
        buf_add_c(text, i > 0 ? ", " : "");
        add_json_str(text, list_member(row, object, i, member));
    }
    buf_add_char(text, ']');
}

static void add_json_bytes(const struct setting_row *row, const void *object, struct buf *ret_text)
{
    struct buf scratch;
    buf_init(&scratch, CONFIG_VALUE_BYTES_MAX);
    struct str text = bytes_field(row, object, &scratch);
    if (text.len > 0) {
        add_json_str(ret_text, text);
    } else {
        buf_add_c(ret_text, "null");
    }
    buf_done(&scratch);
}

static void add_json_text(const struct setting_row *row, const void *object, struct buf *ret_text)
{
    struct str text = str_field(row, object);
    if (row->type == SETTING_RESOLVER && text.len == 0) {
        text = STR("system");
    }
    if (text.len > 0) {
        add_json_str(ret_text, text);
    } else {
        buf_add_c(ret_text, "null");
    }
}

static bool is_secret_set(const struct setting_row *row, const void *object)
{
    return row->is_secret && str_field(row, object).len > 0; /* secrets are texts */
}

void value_print_json(const struct setting_row *row, const void *object, struct buf *ret_text)
{
    if (is_secret_set(row, object)) {
        buf_add_c(ret_text, "\"(hidden)\"");
        return;
    }
    switch (row->type) {
    case SETTING_STR:
    case SETTING_PATH:
    case SETTING_HOST:
    case SETTING_LOG:
    case SETTING_RESOLVER:
        add_json_text(row, object, ret_text);
        break;
    case SETTING_BOOL:
    case SETTING_BOOL_NOT:
        buf_add_c(ret_text, bool_field(row, object) ? "true" : "false");
        break;
    case SETTING_U32:
        buf_addf(ret_text, "%u", u32_field(row, object));
        break;
    case SETTING_MS:
    case SETTING_BYTES:
        buf_addf(ret_text, "%llu", (unsigned long long)u64_field(row, object));
        break;
    case SETTING_ENUM:
        buf_addf(ret_text, "\"%s\"", row->words[u32_field(row, object)]);
        break;
    case SETTING_IP:
    case SETTING_IP_PORT:
    case SETTING_B64:
        add_json_bytes(row, object, ret_text);
        break;
    case SETTING_AT_LIST:
    case SETTING_NET_LIST:
    case SETTING_NAME_LIST:
    case SETTING_DOMAIN_LIST:
    case SETTING_PATH_LIST:
    case SETTING_TARGET_LIST:
    case SETTING_WEIGHT_LIST:
        add_json_list(row, object, ret_text);
        break;
    }
}

static void add_json_object(
        enum section section, const void *object, uint32_t depth, struct buf *text);

static void add_json_members(
        enum section section, const void *object, uint32_t depth, struct buf *text)
{
    uint32_t count = member_count(section, object);
    buf_addf(text, "\"%s\": [", section_table[section].name);
    for (uint32_t i = 0; i < count; i++) {
        buf_add_c(text, i > 0 ? ", " : "");
        add_json_object(section, member_of(section, object, i), depth + 1, text);
    }
    buf_add_char(text, ']');
}

static void add_json_key(struct buf *text, uint32_t depth, bool *is_first)
{
    buf_add_c(text, *is_first ? "\n" : ",\n");
    buf_addf(text, "%*s", (int)(2 * depth + 2), "");
    *is_first = false;
}

static void add_json_object(
        enum section section, const void *object, uint32_t depth, struct buf *text)
{
    bool is_first = true;
    buf_add_char(text, '{');
    if (section != SECTION_TOP) {
        struct str title;
        memcpy(&title, object, sizeof title);
        add_json_key(text, depth, &is_first);
        buf_add_c(text, "\"name\": ");
        add_json_str(text, title);
    }
    for (uint32_t i = 0; i < setting_count; i++) {
        if (setting_table[i].section == section) {
            add_json_key(text, depth, &is_first);
            buf_addf(text, "\"%s\": ", setting_table[i].name);
            value_print_json(&setting_table[i], object, text);
        }
    }
    for (enum section s = SECTION_TOP + 1; s < SECTION_COUNT; s++) {
        if (section_table[s].parent == section) {
            add_json_key(text, depth, &is_first);
            add_json_members(s, object, depth, text);
        }
    }
    buf_addf(text, "\n%*s}", (int)(2 * depth), "");
}

void config_print_json(const struct config *config, struct buf *ret_text)
{
    add_json_object(SECTION_TOP, config, 0, ret_text);
    buf_add_char(ret_text, '\n');
}
