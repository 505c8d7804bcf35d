/* SPDX-License-Identifier: Apache-2.0
 *
 * scenario_words.c - the words of a scenario's line: values, quotes, escapes, patterns, times.
 */
#include "tests/sim/scenario_priv.h"

/* ---- patterns ---- */

bool text_matches(struct str pattern, struct str text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, mark = 0;
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.len && pattern.ptr[p] == text.ptr[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*') {
        p++;
    }
    return p == pattern.len;
}

bool text_has(struct str pattern, struct str text)
{
    struct buf wide;
    buf_init(&wide, SCENE_TEXT_BYTES_MAX);
    buf_add_char(&wide, '*');
    buf_add(&wide, pattern);
    buf_add_char(&wide, '*');
    bool is_there = text_matches(buf_str(&wide), text);
    buf_done(&wide);
    return is_there;
}

/* `=` takes alternatives: state=deferred|queued. */
bool arg_holds(const struct scene_arg *arg, struct str text)
{
    struct str part, rest = arg->value;
    switch (arg->op) {
    case ARG_HAS:
        return text_has(arg->value, text);
    case ARG_HAS_NOT:
        return !text_has(arg->value, text);
    case ARG_WORD:
    case ARG_IS:
        break;
    }
    while (str_cut(&rest, '|', &part)) {
        if (text_matches(part, text)) {
            return true;
        }
    }
    return arg->value.len == 0 && text.len == 0;
}

/* ---- escapes ---- */

static int hex_value(char c)
{
    if (ascii_is_digit(c)) {
        return c - '0';
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* text behind the backslash; its length is added to *ret_used. */
static char unescape_one(struct str text, size_t *ret_used)
{
    *ret_used += 1;
    switch (text.len ? text.ptr[0] : '\\') {
    case 'r':
        return '\r';
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case '0':
        return '\0';
    case 'x':
        if (text.len > 2 && hex_value(text.ptr[1]) >= 0 && hex_value(text.ptr[2]) >= 0) {
            *ret_used += 2;
            return (char)(hex_value(text.ptr[1]) * 16 + hex_value(text.ptr[2]));
        }
        return 'x';
    default:
        return text.len ? text.ptr[0] : '\\';
    }
}

/* A quoted string at the start of *rest, unescaped behind *ret_bytes. */
static bool take_quoted(struct str *rest, struct buf *ret_bytes)
{
    size_t at = 1;
    while (at < rest->len && rest->ptr[at] != '"') {
        if (rest->ptr[at] == '\\') {
            at++;
            char c = unescape_one(str_from(*rest, at), &at);
            buf_add_char(ret_bytes, c);
        } else {
            buf_add_char(ret_bytes, rest->ptr[at++]);
        }
    }
    bool is_closed = at < rest->len;
    *rest = str_from(*rest, at + 1);
    return is_closed;
}

static bool take_count(struct str *rest, uint64_t *ret_count)
{
    size_t len = 1;
    *ret_count = 1;
    if (rest->len == 0 || rest->ptr[0] != '*') {
        return true;
    }
    while (len < rest->len && ascii_is_digit(rest->ptr[len])) {
        len++;
    }
    bool is_number = str_to_u64(str_sub(*rest, 1, len - 1), SCENE_TEXT_BYTES_MAX, ret_count) == OK;
    *rest = str_from(*rest, len);
    return is_number;
}

bool scene_raw(struct scene *scene, struct str text, struct buf *ret_bytes)
{
    struct buf piece;
    bool is_good = true;
    buf_init(&piece, SCENE_TEXT_BYTES_MAX);
    for (text = str_trim(text); is_good && text.len; text = str_trim(text)) {
        uint64_t count;
        buf_clear(&piece);
        is_good = text.ptr[0] == '"' && take_quoted(&text, &piece) && take_count(&text, &count);
        for (uint64_t i = 0; is_good && i < count; i++) {
            buf_add(ret_bytes, buf_str(&piece));
        }
    }
    buf_done(&piece);
    if (!is_good) {
        scene_fail(scene, "a row of \"texts\" is wanted, each perhaps with *COUNT behind it");
    }
    return is_good && buf_err(ret_bytes) == OK;
}

/* ---- words ---- */

void scene_set_var(struct scene *scene, struct str name, struct str value)
{
    uint32_t i = 0;
    while (i < scene->var_count && !str_eq(scene->var[i].name, name)) {
        i++;
    }
    if (i == SCENE_VAR_COUNT_MAX) {
        scene_fail(scene, "more than %d names are remembered", SCENE_VAR_COUNT_MAX);
        return;
    }
    scene->var[i] =
            (struct scene_var){ arena_str(&scene->arena, name), arena_str(&scene->arena, value) };
    scene->var_count += i == scene->var_count;
}

/* Puts what is remembered in the place of $NAME. */
struct str scene_expand(struct scene *scene, struct str text)
{
    struct buf out;
    buf_init(&out, SCENE_TEXT_BYTES_MAX);
    while (text.len) {
        const struct scene_var *var = NULL;
        for (uint32_t i = 0; text.ptr[0] == '$' && i < scene->var_count; i++) {
            bool is_it = str_starts(str_from(text, 1), scene->var[i].name);
            var = is_it && (!var || scene->var[i].name.len > var->name.len) ? &scene->var[i] : var;
        }
        if (var) {
            buf_add(&out, var->value);
        } else {
            buf_add_char(&out, text.ptr[0]);
        }
        text = str_from(text, var ? 1 + var->name.len : 1);
    }
    struct str copy = arena_str(&scene->arena, buf_str(&out));
    buf_done(&out);
    return copy;
}

static struct str take_value(struct scene *scene, struct str *rest)
{
    struct buf value;
    buf_init(&value, SCENE_TEXT_BYTES_MAX);
    if (rest->len && rest->ptr[0] == '"') {
        if (!take_quoted(rest, &value)) {
            scene_fail(scene, "a quote is not closed");
        }
    } else {
        size_t len = 0;
        while (len < rest->len && !ascii_is_blank(rest->ptr[len])) {
            len++;
        }
        buf_add(&value, str_sub(*rest, 0, len));
        *rest = str_from(*rest, len);
    }
    struct str text = scene_expand(scene, buf_str(&value));
    buf_done(&value);
    return text;
}

/* The operator at the start of rest, and its length. */
static size_t op_at(struct str rest, struct scene_arg *arg)
{
    if (str_starts(rest, STR("!~"))) {
        arg->op = ARG_HAS_NOT;
        return 2;
    }
    if (str_starts(rest, STR("~"))) {
        arg->op = ARG_HAS;
        return 1;
    }
    if (str_starts(rest, STR("="))) {
        arg->op = ARG_IS;
        return 1;
    }
    arg->op = ARG_WORD;
    return 0;
}

static bool ends_word(char c)
{
    return ascii_is_blank(c) || c == '=' || c == '~' || c == '!' || c == '"';
}

bool scene_parse_args(struct scene *scene, struct str text, struct scene_args *ret_args)
{
    *ret_args = (struct scene_args){ 0 };
    for (text = str_trim(text); text.len; text = str_trim(text)) {
        if (ret_args->count == SCENE_ARG_COUNT_MAX) {
            scene_fail(scene, "more than %d words", SCENE_ARG_COUNT_MAX);
            return false;
        }
        struct scene_arg *arg = &ret_args->arg[ret_args->count++];
        size_t len = 0;
        while (len < text.len && !ends_word(text.ptr[len])) {
            len++;
        }
        size_t op_len = op_at(str_from(text, len), arg);
        if (op_len == 0) {
            arg->value = take_value(scene, &text);
        } else {
            arg->key = arena_str(&scene->arena, str_sub(text, 0, len));
            text = str_from(text, len + op_len);
            text = arg->op == ARG_IS ? text : str_trim(text);
            arg->value = take_value(scene, &text);
        }
    }
    return !scene->is_failed;
}

const struct scene_arg *scene_arg(const struct scene_args *args, const char *key)
{
    for (uint32_t i = 0; i < args->count; i++) {
        if (args->arg[i].op != ARG_WORD && str_eq(args->arg[i].key, str_from_c(key))) {
            return &args->arg[i];
        }
    }
    return NULL;
}

struct str scene_value(const struct scene_args *args, const char *key)
{
    const struct scene_arg *arg = scene_arg(args, key);
    return arg ? arg->value : (struct str){ 0 };
}

struct str scene_word(const struct scene_args *args, uint32_t nth)
{
    for (uint32_t i = 0; i < args->count; i++) {
        if (args->arg[i].op == ARG_WORD && nth-- == 0) {
            return args->arg[i].value;
        }
    }
    return (struct str){ 0 };
}

uint64_t scene_number(
        struct scene *scene, const struct scene_args *args, const char *key, uint64_t fallback)
{
    const struct scene_arg *arg = scene_arg(args, key);
    uint64_t number = fallback;
    if (arg && str_to_u64(arg->value, UINT32_MAX, &number) != OK) {
        scene_fail(scene, "%s wants a number, not \"%.*s\"", key, STR_ARG(arg->value));
    }
    return number;
}

bool scene_ms(struct scene *scene, struct str text, int64_t *ret_ms)
{
    static const uint64_t year_ms = UINT64_C(365) * 86400000,
                          max_ms = UINT64_C(100) * 365 * 86400000;
    bool is_negative = str_starts(text, STR("-"));
    struct str amount = is_negative || str_starts(text, STR("+")) ? str_from(text, 1) : text;
    uint64_t ms = 0;
    bool is_year = amount.len > 1 && amount.ptr[amount.len - 1] == 'y';
    enum err err = is_year ? str_to_u64(str_sub(amount, 0, amount.len - 1), 100, &ms)
                           : str_to_ms(amount, max_ms, &ms);
    ms = is_year ? ms * year_ms : ms;
    *ret_ms = is_negative ? -(int64_t)ms : (int64_t)ms;
    if (err != OK) {
        scene_fail(scene, "\"%.*s\" is no time such as +90s, 5m, 4h, 2d, -1y", STR_ARG(text));
    }
    return err == OK;
}

bool scene_ip(struct scene *scene, struct str text, struct ip *ret_ip)
{
    if (ip_parse(text, ret_ip) != OK) {
        scene_fail(scene, "\"%.*s\" is no address", STR_ARG(text));
        return false;
    }
    return true;
}

bool scene_ip_port(struct scene *scene, struct str text, uint16_t port, struct ip_port *ret_at)
{
    if (ip_port_parse(text, ret_at) == OK) {
        return true;
    }
    ret_at->port = port;
    return scene_ip(scene, text, &ret_at->ip);
}
