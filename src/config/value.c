/* SPDX-License-Identifier: Apache-2.0
 *
 * value.c - from the text of a setting to its field, by the type in its row.
 *
 * Judges one value by itself; what settings mean together is check.c's.
 */
#include "config/table_priv.h"

#include "core/b64.h"
#include "core/str.h"
#include "mail/domain.h"

enum { SHOWN_BYTES_MAX = 80, WEIGHT_MAX = 1000, PORT_SMTP = 25, PORT_MAX = 65535, PORT_DNS = 53 };

/* What the file says, safe to show in one line. */
struct shown {
    char text[SHOWN_BYTES_MAX + 1];
};

static const char *show(struct str text, struct shown *shown)
{
    struct str escaped = str_escape(text, shown->text, SHOWN_BYTES_MAX);
    shown->text[escaped.len] = '\0';
    return shown->text;
}

/* E_SYNTAX with the sentence: NAME: "VALUE" is not ... */
static enum err refuse(
        struct why *why, const struct setting_row *row, struct str text, const char *sentence)
{
    struct shown shown;
    why_set(why, "%s: \"%s\" %s", row->name, row->is_secret ? "(hidden)" : show(text, &shown),
            sentence);
    return E_SYNTAX;
}

static enum err refuse_range(struct why *why, const struct setting_row *row, struct str text)
{
    struct shown shown;
    struct buf range;
    buf_init(&range, 200);
    value_print_range(row, &range);
    why_set(why, "%s: \"%s\" is out of range: %.*s", row->name, show(text, &shown),
            STR_ARG(buf_str(&range)));
    buf_done(&range);
    return E_SYNTAX;
}

static enum err keep(struct arena *arena, struct str text, struct str *ret_text)
{
    struct str kept = arena_str(arena, text);
    if (!kept.ptr) {
        if (text.len > 0) {
            return E_NOMEM;
        }
        kept = STR("");
    }
    *ret_text = kept;
    return OK;
}

static bool is_printable(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t)text.ptr[i];
        if (c < ' ' || c == 127) {
            return false;
        }
    }
    return str_is_utf8(text);
}

/* ---- single values ---- */

static enum err set_str(const struct value_place *place, const struct setting_row *row,
        struct str text, void *field, struct why *why)
{
    if (!is_printable(text)) {
        return refuse(why, row, text, "has characters that cannot be printed");
    }
    if (text.len > row->max) {
        return refuse(why, row, text, "is too long");
    }
    return keep(place->arena, text, field);
}

static enum err set_path(const struct value_place *place, const struct setting_row *row,
        struct str text, void *field, struct why *why)
{
    if (!is_printable(text)) {
        return refuse(why, row, text, "has characters that cannot be printed");
    }
    if (text.len < row->min) {
        return refuse(why, row, text, "names no file");
    }
    bool is_relative = text.len > 0 && text.ptr[0] != '/' && place->dir.len > 0;
    while (is_relative && str_starts(text, STR("./"))) {
        text = str_from(text, 2);
    }
    size_t len = text.len + (is_relative ? place->dir.len + 1 : 0);
    if (len > row->max && row->max > 0) {
        return refuse(why, row, text, "is too long a path");
    }
    if (!is_relative) {
        return keep(place->arena, text, field);
    }
    bool has_slash = str_eq(place->dir, STR("/"));
    struct str path = arena_strf(
            place->arena, "%.*s%s%.*s", STR_ARG(place->dir), has_slash ? "" : "/", STR_ARG(text));
    if (!path.ptr) {
        return E_NOMEM;
    }
    memcpy(field, &path, sizeof path);
    return OK;
}

static enum err set_bool(
        const struct setting_row *row, struct str text, void *field, struct why *why)
{
    static const char *const yes[] = { "yes", "true", "on" };
    static const char *const no[] = { "no", "false", "off" };
    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        bool is_yes = str_eq(text, str_from_c(yes[i]));
        if (is_yes || str_eq(text, str_from_c(no[i]))) {
            *(bool *)field = is_yes != (row->type == SETTING_BOOL_NOT);
            return OK;
        }
    }
    return refuse(why, row, text, "is neither yes nor no");
}

static enum err set_number(
        const struct setting_row *row, struct str text, void *field, struct why *why)
{
    uint64_t value;
    bool is_ms = row->type == SETTING_MS, is_bytes = row->type == SETTING_BYTES;
    enum err err = is_ms      ? str_to_ms(text, row->max, &value)
                   : is_bytes ? str_to_bytes(text, row->max, &value)
                              : str_to_u64(text, row->max, &value);
    if (err == E_TOO_BIG || (err == OK && value < row->min)) {
        return refuse_range(why, row, text);
    }
    if (err != OK) {
        return refuse(why, row, text,
                is_ms      ? "is not a duration: write a number and ms, s, m, h or d, as in 5m"
                : is_bytes ? "is not a size: write a number, with k, M or G, as in 64M"
                           : "is not a whole number");
    }
    if (row->type == SETTING_U32) {
        *(uint32_t *)field = (uint32_t)value; /* row->max fits, see table_test */
    } else {
        *(uint64_t *)field = value;
    }
    return OK;
}

static enum err set_enum(
        const struct setting_row *row, struct str text, void *field, struct why *why)
{
    for (uint32_t i = 0; row->words[i]; i++) {
        if (str_eq(text, str_from_c(row->words[i]))) {
            static_assert(sizeof(enum config_tls) == sizeof i, "enums are stored as their index");
            memcpy(field, &i, sizeof i);
            return OK;
        }
    }
    struct shown shown;
    struct buf range;
    buf_init(&range, 200);
    value_print_range(row, &range);
    struct str near = word_suggest(row->words, text);
    why_set(why, "%s: \"%s\" is not %.*s%s%.*s%s", row->name, show(text, &shown),
            STR_ARG(buf_str(&range)), near.len ? ": did you mean \"" : "", STR_ARG(near),
            near.len ? "\"?" : "");
    buf_done(&range);
    return E_SYNTAX;
}

enum err domain_parse(struct arena *arena, struct str text, struct str *ret_domain, struct why *why)
{
    char ascii[DOMAIN_CAP];
    struct str domain;
    struct shown shown;
    enum err err = domain_to_ascii(text, ascii, &domain);
    if (err == E_NOMEM) {
        return err;
    }
    if (err != OK) {
        why_set(why, "\"%s\" is not a domain name", show(text, &shown));
        return E_SYNTAX;
    }
    return keep(arena, domain, ret_domain);
}

static enum err set_host(const struct value_place *place, const struct setting_row *row,
        struct str text, void *field, struct why *why)
{
    char ascii[DOMAIN_CAP];
    struct str name;
    enum err err = domain_to_ascii(text, ascii, &name);
    if (err == E_NOMEM) {
        return err;
    }
    if (err != OK || !domain_is_hostname(name)) {
        return refuse(why, row, text, "is not a host name, as in mail.example.com");
    }
    return keep(place->arena, name, field);
}

static enum err set_ip(const struct setting_row *row, struct str text, void *field, struct why *why)
{
    struct ip ip;
    if (ip_parse(text, &ip) != OK) {
        return refuse(why, row, text, "is not an IP address");
    }
    memcpy(field, &ip, sizeof ip);
    return OK;
}

static enum err set_ip_port(
        const struct setting_row *row, struct str text, void *field, struct why *why)
{
    struct ip_port at;
    if (ip_port_parse(text, &at) != OK) {
        return refuse(why, row, text,
                "is not an address and port, as in 192.0.2.1:25 or [2001:db8::1]:25");
    }
    memcpy(field, &at, sizeof at);
    return OK;
}

static enum err set_net(
        const struct setting_row *row, struct str text, void *field, struct why *why)
{
    struct ip_net net;
    if (ip_net_parse(text, &net) != OK) {
        return refuse(why, row, text,
                "is not a network, as in 10.1.0.0/16 (without bits behind the prefix)");
    }
    memcpy(field, &net, sizeof net);
    return OK;
}

static enum err set_b64(const struct value_place *place, const struct setting_row *row,
        struct str text, void *field, struct why *why)
{
    struct buf bytes;
    buf_init(&bytes, row->max);
    enum err err = b64_decode(&bytes, text, /*skip_blanks*/ false);
    if (err == OK) {
        err = buf_err(&bytes);
    }
    if (err == OK && bytes.len < row->min) {
        err = E_SYNTAX;
    }
    if (err == OK) {
        err = keep(place->arena, buf_str(&bytes), field);
    } else if (err != E_NOMEM) {
        err = refuse(why, row, text, "is not base64 of the right length");
    }
    crypto_wipe(bytes.ptr, bytes.len);
    buf_done(&bytes);
    return err;
}

static enum err set_log(const struct value_place *place, const struct setting_row *row,
        struct str text, void *field, struct why *why)
{
    if (str_eq(text, STR("stdout")) || str_eq(text, STR("journald"))) {
        return keep(place->arena, text, field);
    }
    if (str_index(text, '/') == text.len) {
        return refuse(why, row, text, "is neither stdout, journald nor a path (with a slash)");
    }
    return set_path(place, row, text, field, why);
}

/* ---- members of lists ---- */

static bool is_name(struct str text)
{
    if (text.len == 0 || text.len > CONFIG_NAME_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !ascii_is_digit(c) && c != '-' && c != '_') {
            return false;
        }
    }
    return true;
}

static enum err set_name(const struct value_place *place, const struct setting_row *row,
        struct str text, void *field, struct why *why)
{
    if (!is_name(text)) {
        return refuse(why, row, text, "is not a name: up to 64 of a-z, 0-9, - and _");
    }
    return keep(place->arena, text, field);
}

static enum err set_weight(const struct value_place *place, const struct setting_row *row,
        struct str text, void *field, struct why *why)
{
    size_t colon = str_index(text, ':');
    uint64_t weight = 1;
    bool has_weight = colon < text.len;
    bool is_good =
            is_name(str_sub(text, 0, colon)) &&
            (!has_weight || str_to_u64(str_from(text, colon + 1), WEIGHT_MAX, &weight) == OK);
    if (!is_good || weight == 0) {
        return refuse(why, row, text, "is not a source, as in a or a:3 (a weight of 1 to 1000)");
    }
    return keep(place->arena, text, field);
}

static enum err set_domain(const struct value_place *place, const struct setting_row *row,
        struct str text, void *field, struct why *why)
{
    struct why detail;
    struct str domain;
    enum err err = domain_parse(place->arena, text, &domain, &detail);
    if (err == E_SYNTAX) {
        return refuse(why, row, text, "is not a domain name");
    }
    if (err == OK) {
        memcpy(field, &domain, sizeof domain);
    }
    return err;
}

/* "HOST:PORT" in its one form: names in lower case, IPv6 in brackets, the port always there. */
static enum err set_target(const struct value_place *place, const struct setting_row *row,
        struct str text, void *field, struct why *why)
{
    static const char bad[] = "is not a host, as in relay.example:25, 10.0.0.7 or [2001:db8::1]:25";
    struct ip_port at = { .port = PORT_SMTP };
    struct str target;
    if (ip_parse(text, &at.ip) == OK || ip_port_parse(text, &at) == OK) {
        char shown[IP_TEXT_CAP];
        if (at.port == 0) {
            return refuse(why, row, text, bad);
        }
        return keep(place->arena, ip_port_format(at, shown), field);
    }
    size_t colon = str_index(text, ':');
    uint64_t port = PORT_SMTP;
    char ascii[DOMAIN_CAP];
    struct str host;
    bool has_port = colon < text.len;
    if ((has_port && str_to_u64(str_from(text, colon + 1), PORT_MAX, &port) != OK) || port == 0 ||
            domain_to_ascii(str_sub(text, 0, colon), ascii, &host) != OK ||
            !domain_is_hostname(host)) {
        return refuse(why, row, text, bad);
    }
    target = arena_strf(place->arena, "%.*s:%u", STR_ARG(host), (unsigned)port);
    if (!target.ptr) {
        return E_NOMEM;
    }
    memcpy(field, &target, sizeof target);
    return OK;
}

static enum err set_one(const struct value_place *place, const struct setting_row *row,
        struct str text, void *field, struct why *why)
{
    switch (row->type) {
    case SETTING_STR:
        return set_str(place, row, text, field, why);
    case SETTING_PATH:
        return set_path(place, row, text, field, why);
    case SETTING_BOOL:
    case SETTING_BOOL_NOT:
        return set_bool(row, text, field, why);
    case SETTING_U32:
    case SETTING_MS:
    case SETTING_BYTES:
        return set_number(row, text, field, why);
    case SETTING_ENUM:
        return set_enum(row, text, field, why);
    case SETTING_HOST:
        return set_host(place, row, text, field, why);
    case SETTING_IP:
        return set_ip(row, text, field, why);
    case SETTING_IP_PORT:
    case SETTING_AT_LIST:
        return set_ip_port(row, text, field, why);
    case SETTING_B64:
        return set_b64(place, row, text, field, why);
    case SETTING_LOG:
        return set_log(place, row, text, field, why);
    case SETTING_NET_LIST:
        return set_net(row, text, field, why);
    case SETTING_NAME_LIST:
        return set_name(place, row, text, field, why);
    case SETTING_DOMAIN_LIST:
        return set_domain(place, row, text, field, why);
    case SETTING_PATH_LIST: {
        struct setting_row one = *row; /* its limits count files */
        one.min = 1;
        one.max = CONFIG_VALUE_BYTES_MAX;
        return set_path(place, &one, text, field, why);
    }
    case SETTING_TARGET_LIST:
        return set_target(place, row, text, field, why);
    case SETTING_WEIGHT_LIST:
        return set_weight(place, row, text, field, why);
    case SETTING_RESOLVER:
        break;
    }
    return E_UNSUPPORTED;
}

/* ---- lists ---- */

static size_t member_bytes(enum setting_type type)
{
    return type == SETTING_AT_LIST    ? sizeof(struct ip_port)
           : type == SETTING_NET_LIST ? sizeof(struct ip_net)
                                      : sizeof(struct str);
}

static enum err set_list(const struct value_place *place, const struct setting_row *row,
        const struct str *values, uint32_t value_count, void *object, struct why *why)
{
    size_t bytes = member_bytes(row->type);
    char *array = arena_new(place->arena, bytes * (value_count + 1));
    if (!array) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < value_count; i++) {
        enum err err = set_one(place, row, values[i], array + i * bytes, why);
        if (err != OK) {
            return err;
        }
    }
    memcpy(field_at(object, row->offset), &array, sizeof array);
    memcpy(field_at(object, row->count_offset), &value_count, sizeof value_count);
    return OK;
}

/* "system" is kept as "", "recursive" and addresses as edge/dns.h wants them. */
static enum err set_resolver(const struct value_place *place, const struct setting_row *row,
        const struct str *values, uint32_t value_count, void *object, struct why *why)
{
    bool is_alone = value_count == 1;
    if (is_alone && str_eq(values[0], STR("system"))) {
        return keep(place->arena, STR(""), field_at(object, row->offset));
    }
    if (is_alone && str_eq(values[0], STR("recursive"))) {
        return keep(place->arena, values[0], field_at(object, row->offset));
    }
    struct buf text;
    buf_init(&text, CONFIG_VALUE_BYTES_MAX);
    for (uint32_t i = 0; i < value_count; i++) {
        struct ip_port at = { .port = PORT_DNS };
        char shown[IP_TEXT_CAP];
        bool is_bare = ip_parse(values[i], &at.ip) == OK;
        if (!is_bare && (ip_port_parse(values[i], &at) != OK || at.port == 0)) {
            buf_done(&text);
            return refuse(why, row, values[i],
                    "is neither system, recursive nor an address, as in 192.0.2.53");
        }
        buf_addf(&text, "%s%.*s", i ? "," : "",
                STR_ARG(is_bare ? ip_format(at.ip, shown) : ip_port_format(at, shown)));
    }
    enum err err = buf_err(&text);
    if (err == OK) {
        err = keep(place->arena, buf_str(&text), field_at(object, row->offset));
    }
    buf_done(&text);
    return err;
}

enum err value_set(const struct value_place *place, const struct setting_row *row,
        const struct str *values, uint32_t value_count, void *object, struct why *why)
{
    if (!setting_is_list(row->type)) {
        ASSERT(value_count == 1);
        return set_one(place, row, values[0], field_at(object, row->offset), why);
    }
    if (value_count < row->min || value_count > row->max) {
        why_set(why, "%s: a list of %u, but %llu to %llu are allowed", row->name, value_count,
                (unsigned long long)row->min, (unsigned long long)row->max);
        return E_SYNTAX;
    }
    if (row->type == SETTING_RESOLVER) {
        return set_resolver(place, row, values, value_count, object, why);
    }
    return set_list(place, row, values, value_count, object, why);
}

enum err value_set_fallback(
        const struct value_place *place, const struct setting_row *row, void *object)
{
    if (!row->fallback) {
        return OK;
    }
    struct str value = str_from_c(row->fallback);
    struct why why;
    enum err err = value_set(place, row, &value, 1, object, &why);
    ASSERT(err == OK || err == E_NOMEM); /* the table's own text: table_test sets them all */
    return err;
}

/* ---- titles ---- */

static bool is_login(struct str text)
{
    if (text.len == 0 || text.len > CONFIG_LOGIN_BYTES_MAX || text.ptr[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c <= ' ' || c >= 127 || c == '"' || c == '\\' || c == '/' || c == '$') {
            return false;
        }
    }
    return true;
}

static bool is_literal(struct str text)
{
    struct ip ip;
    if (text.len < 3 || text.ptr[0] != '[' || text.ptr[text.len - 1] != ']') {
        return false;
    }
    struct str inner = str_sub(text, 1, text.len - 2);
    if (str_starts_nocase(inner, STR("IPv6:"))) { /* RFC 5321 4.1.3 */
        inner = str_from(inner, 5);
    }
    return ip_parse(inner, &ip) == OK;
}

static enum err keep_lower(struct arena *arena, struct str text, struct str *ret_text)
{
    char *kept = arena_new(arena, text.len + 1);
    if (!kept) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < text.len; i++) {
        kept[i] = ascii_lower(text.ptr[i]);
    }
    *ret_text = str_of(kept, text.len);
    return OK;
}

enum err title_parse(struct arena *arena, enum title_kind kind, struct str text,
        struct str *ret_title, struct why *why)
{
    struct shown shown;
    switch (kind) {
    case TITLE_NONE:
        break;
    case TITLE_NAME:
        if (!is_name(text)) {
            why_set(why, "\"%s\" is not a name: up to 64 of a-z, 0-9, - and _", show(text, &shown));
            return E_SYNTAX;
        }
        break;
    case TITLE_LOGIN:
        if (!is_login(text)) {
            why_set(why,
                    "\"%s\" is not a login: up to 128 visible ASCII characters but \" \\ $ and /",
                    show(text, &shown));
            return E_SYNTAX;
        }
        break;
    case TITLE_ROUTE:
        if (str_eq(text, STR("*"))) {
            break;
        }
        if (is_literal(text)) {
            return keep_lower(arena, text, ret_title);
        }
        return domain_parse(arena, text, ret_title, why);
    case TITLE_DOMAIN:
    case TITLE_SELECTOR:
        return domain_parse(arena, text, ret_title, why);
    }
    return keep(arena, text, ret_title);
}
