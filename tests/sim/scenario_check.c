/* SPDX-License-Identifier: Apache-2.0
 *
 * scenario_check.c - CHECK and ACT: what a scenario asks of the node and of its receivers.
 *
 * A check that is not true yet is asked again for three simulated seconds, since history and
 * replies come a moment later; what must never come is waited for with TIME before.
 */
#include "tests/sim/scenario_priv.h"

#include <jansson.h>

enum { GOT_BYTES_MAX = 1500 };

/* True: it holds. Else what came instead is in got. */
typedef bool checker(struct scene *scene, const struct scene_args *args, char *got, size_t got_cap);

static uint16_t ask(struct scene *scene, const char *method, struct str path, struct str body)
{
    char path_c[600], query_c[600] = "";
    size_t mark = str_index(path, '?');
    bool is_path = str_to_c(str_sub(path, 0, mark), path_c, sizeof path_c) &&
                   str_to_c(str_from(path, mark + 1), query_c, sizeof query_c);
    struct str body_c = arena_str(&scene->arena, body);
    buf_clear(&scene->reply);
    if (!is_path || scene->world->node == NULL) {
        scene_fail(scene, "the node does not run, or the path is too long");
        return 0;
    }
    return world_ask(
            scene->world, method, path_c, query_c, body_c.len ? body_c.ptr : "", &scene->reply);
}

static json_t *ask_json(struct scene *scene, struct str path, uint16_t *ret_status)
{
    *ret_status = ask(scene, "GET", path, STR(""));
    return json_loadb(scene->reply.ptr ? scene->reply.ptr : "", scene->reply.len, 0, NULL);
}

static struct str member(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_string(value) ? str_of(json_string_value(value), json_string_length(value))
                                 : (struct str){ 0 };
}

static struct str dump(struct scene *scene, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    struct str copy = arena_str(&scene->arena, str_from_c(text ? text : ""));
    free(text);
    return copy;
}

static struct str percent(struct scene *scene, struct str text)
{
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < text.len; i++) {
        buf_addf(&out, "%%%02X", (unsigned char)text.ptr[i]);
    }
    struct str copy = arena_str(&scene->arena, buf_str(&out));
    buf_done(&out);
    return copy;
}

static void say_got(char *got, size_t cap, const char *what, struct str text)
{
    fmt(got, cap, "%s: %.*s", what, STR_ARG(str_sub(text, 0, GOT_BYTES_MAX - 100)));
}

/* ---- trace ---- */

static bool rcpt_holds(struct scene *scene, const struct scene_args *args, json_t *rcpt)
{
    const struct scene_arg *state = scene_arg(args, "state"),
                           *is_double = scene_arg(args, "duplicate");
    bool is_good = state == NULL || arg_holds(state, member(rcpt, "state"));
    if (is_double) {
        bool is_marked = json_is_true(json_object_get(rcpt, "possible_duplicate"));
        is_good = is_good && is_marked == str_eq(is_double->value, STR("yes"));
    }
    struct str events = dump(scene, json_object_get(rcpt, "events"));
    for (uint32_t i = 0; i < args->count && is_good; i++) {
        is_good = !str_eq(args->arg[i].key, STR("events")) || arg_holds(&args->arg[i], events);
    }
    return is_good;
}

static bool story_holds(struct scene *scene, const struct scene_args *args, json_t *story)
{
    struct str address = scene_value(args, "recipient");
    json_t *rcpt;
    size_t i;
    uint32_t seen = 0;
    for (uint32_t n = 0; n < args->count; n++) {
        if (str_eq(args->arg[n].key, STR("story")) &&
                !arg_holds(&args->arg[n], dump(scene, story))) {
            return false;
        }
    }
    json_array_foreach(json_object_get(story, "recipients"), i, rcpt)
    {
        if (address.len && !str_eq_nocase(member(rcpt, "address"), address)) {
            continue;
        }
        seen++;
        if (!rcpt_holds(scene, args, rcpt)) {
            return false;
        }
    }
    return seen > 0;
}

/* CHECK trace recipient=|id=|tag=|message-id= [state=a|b] [events~""] [story~""] [duplicate=yes|no]
 * [count=N] */
static bool check_trace(struct scene *scene, const struct scene_args *args, char *got, size_t cap)
{
    static const char *const keys[] = { "recipient", "id", "tag", "message-id" };
    struct str path = { 0 };
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct str value = scene_value(args, keys[i]);
        if (value.len) {
            path = arena_strf(
                    &scene->arena, "/v1/messages?%s=%.*s", keys[i], STR_ARG(percent(scene, value)));
        }
    }
    uint16_t status;
    json_t *stories = ask_json(scene, path, &status), *story;
    uint64_t wanted = scene_number(scene, args, "count", UINT64_MAX), count = 0;
    size_t i;
    json_array_foreach(stories, i, story)
    {
        count += story_holds(scene, args, story);
    }
    bool is_good = wanted == UINT64_MAX ? count > 0 : count == wanted;
    say_got(got, cap, status == 200 ? "the story" : "no story", buf_str(&scene->reply));
    json_decref(stories);
    return is_good;
}

/* ---- queue, explain, stats, audit, api ---- */

/* CHECK queue [count=N] [domain= state= recipient= id= ...] [~ ""] */
static bool check_queue(struct scene *scene, const struct scene_args *args, char *got, size_t cap)
{
    struct buf path;
    uint16_t status;
    buf_init(&path, 2000);
    buf_add_c(&path, "/v1/queue?count=1000");
    for (uint32_t i = 0; i < args->count; i++) {
        struct str key = args->arg[i].key;
        if (args->arg[i].op == ARG_IS && !str_eq(key, STR("count"))) {
            buf_addf(
                    &path, "&%.*s=%.*s", STR_ARG(key), STR_ARG(percent(scene, args->arg[i].value)));
        }
    }
    json_t *reply = ask_json(scene, buf_str(&path), &status);
    buf_done(&path);
    size_t count = json_array_size(json_object_get(reply, "entries"));
    const struct scene_arg *wanted = scene_arg(args, "count"), *text = scene_arg(args, "");
    bool is_good = status == 200 &&
                   (wanted == NULL || count == scene_number(scene, args, "count", 0)) &&
                   (text == NULL || arg_holds(text, buf_str(&scene->reply)));
    fmt(got, cap, "status %u, %zu entries: %.*s", status, count,
            STR_ARG(str_sub(buf_str(&scene->reply), 0, 1200)));
    json_decref(reply);
    return is_good;
}

static bool check_text(
        struct scene *scene, const struct scene_args *args, uint16_t status, char *got, size_t cap)
{
    uint64_t wanted = scene_number(scene, args, "status", 200);
    bool is_good = status == wanted;
    for (uint32_t i = 0; i < args->count && is_good; i++) {
        is_good = args->arg[i].key.len > 0 || args->arg[i].op == ARG_WORD ||
                  arg_holds(&args->arg[i], buf_str(&scene->reply));
    }
    fmt(got, cap, "status %u: %.*s", status, STR_ARG(str_sub(buf_str(&scene->reply), 0, 1200)));
    return is_good;
}

/* CHECK explain ID ~ "" */
static bool check_explain(struct scene *scene, const struct scene_args *args, char *got, size_t cap)
{
    struct str path = arena_strf(&scene->arena, "/v1/explain/%.*s", STR_ARG(scene_word(args, 1)));
    return check_text(scene, args, ask(scene, "GET", path, STR("")), got, cap);
}

/* CHECK api "/v1/..." [status=N] ~ "" */
static bool check_api(struct scene *scene, const struct scene_args *args, char *got, size_t cap)
{
    return check_text(scene, args, ask(scene, "GET", scene_word(args, 1), STR("")), got, cap);
}

/* CHECK reply ~ "": the last reply to the current client, or of the control API. */
static bool check_reply(struct scene *scene, const struct scene_args *args, char *got, size_t cap)
{
    return check_text(scene, args, 200, got, cap);
}

static json_t *dotted(json_t *object, struct str path)
{
    struct str part;
    char name[64];
    while (object && str_cut(&path, '.', &part)) {
        object = str_to_c(part, name, sizeof name) ? json_object_get(object, name) : NULL;
    }
    return object;
}

/* CHECK stats queue.queued=1 since_start.delivered=2 spool.refusing=false */
static bool check_stats(struct scene *scene, const struct scene_args *args, char *got, size_t cap)
{
    uint16_t status;
    json_t *reply = ask_json(scene, STR("/v1/stats"), &status);
    bool is_good = status == 200;
    for (uint32_t i = 0; i < args->count && is_good; i++) {
        json_t *value = args->arg[i].op == ARG_IS ? dotted(reply, args->arg[i].key) : NULL;
        is_good = args->arg[i].op != ARG_IS ||
                  (value && arg_holds(&args->arg[i], dump(scene, value)));
    }
    say_got(got, cap, "stats", buf_str(&scene->reply));
    json_decref(reply);
    return is_good;
}

/* CHECK audit balanced */
static bool check_audit(struct scene *scene, const struct scene_args *args, char *got, size_t cap)
{
    uint16_t status;
    (void)args;
    json_t *reply = ask_json(scene, STR("/v1/audit"), &status);
    bool is_good = status == 200 && json_is_true(json_object_get(reply, "balanced"));
    say_got(got, cap, "audit", buf_str(&scene->reply));
    json_decref(reply);
    return is_good;
}

/* ---- logs ---- */

static bool check_lines(
        const struct scene_args *args, struct str log, struct scene *scene, char *got, size_t cap)
{
    const struct scene_arg *text = scene_arg(args, "");
    struct str line, rest = log;
    uint64_t count = 0;
    while (text && str_cut(&rest, '\n', &line)) {
        count += text_has(text->value, line);
    }
    size_t tail = log.len > 1200 ? log.len - 1200 : 0;
    fmt(got, cap, "%llu such lines; the last ones:\n%.*s", (unsigned long long)count,
            STR_ARG(str_from(log, tail)));
    if (scene_arg(args, "count")) {
        return count == scene_number(scene, args, "count", 0);
    }
    return text && (text->op == ARG_HAS_NOT ? count == 0 : count > 0);
}

/* CHECK log [count=N] ~ "": mail log lines. */
static bool check_log(struct scene *scene, const struct scene_args *args, char *got, size_t cap)
{
    return check_lines(args, buf_str(&scene->mail_log), scene, got, cap);
}

/* CHECK nodelog ~ "": what the node says of itself. */
static bool check_nodelog(struct scene *scene, const struct scene_args *args, char *got, size_t cap)
{
    return check_lines(args, buf_str(&scene->node_log), scene, got, cap);
}

/* ---- receivers ---- */

static bool has_rcpt(struct scene *scene, const struct scene_mail *mail, struct str address)
{
    struct str line = arena_strf(&scene->arena, "\n%.*s\n", STR_ARG(address));
    return str_find(mail->rcpts, line) < mail->rcpts.len;
}

static bool mail_holds(
        struct scene *scene, const struct scene_args *args, const struct scene_mail *mail)
{
    size_t border = str_find(mail->content, STR("\r\n\r\n"));
    struct str header = str_sub(mail->content, 0, border + 2),
               body = str_from(mail->content, border + 4);
    bool is_good = true;
    for (uint32_t i = 0; i < args->count && is_good; i++) {
        const struct scene_arg *arg = &args->arg[i];
        if (str_eq(arg->key, STR("from"))) {
            is_good = str_eq(str_eq(arg->value, STR("<>")) ? STR("") : arg->value, mail->from);
        } else if (str_eq(arg->key, STR("rcpt"))) {
            is_good = has_rcpt(scene, mail, arg->value);
        } else if (str_eq(arg->key, STR("body"))) {
            is_good = arg_holds(arg, body);
        } else if (str_eq(arg->key, STR("header"))) {
            is_good = arg_holds(arg, header);
        } else if (str_eq(arg->key, STR("content"))) {
            is_good = arg_holds(arg, mail->content);
        }
    }
    return is_good;
}

/* CHECK received ADDRESS|* [count=N] [from= rcpt= header~"" body~"" content~""] */
static bool check_received(
        struct scene *scene, const struct scene_args *args, char *got, size_t cap)
{
    struct str where = scene_word(args, 1);
    struct ip ip = { 0 };
    bool is_any = str_eq(where, STR("*"));
    uint64_t count = 0, all = 0;
    if (!is_any && !scene_ip(scene, where, &ip)) {
        return false;
    }
    const struct scene_mail *last = NULL;
    for (const struct scene_mail *mail = scene->mail; mail; mail = mail->next) {
        if (is_any || ip_eq(mail->ip, ip)) {
            all++;
            last = last ? last : mail;
            count += mail_holds(scene, args, mail);
        }
    }
    fmt(got, cap, "%llu of %llu messages there; the last: from <%.*s> to %.*s\n%.*s",
            (unsigned long long)count, (unsigned long long)all,
            STR_ARG(last ? last->from : STR("")), STR_ARG(last ? last->rcpts : STR("")),
            STR_ARG(last ? str_sub(last->content, 0, 1000) : STR("")));
    return scene_arg(args, "count") ? count == scene_number(scene, args, "count", 0) : count > 0;
}

/* CHECK connections ADDRESS count=N */
static bool check_connections(
        struct scene *scene, const struct scene_args *args, char *got, size_t cap)
{
    struct ip ip;
    if (!scene_ip(scene, scene_word(args, 1), &ip)) {
        return false;
    }
    uint64_t count = scene_connection_count(scene, ip);
    fmt(got, cap, "%llu connections", (unsigned long long)count);
    return count == scene_number(scene, args, "count", 0);
}

/* ---- the table ---- */

static const struct {
    const char *name;
    checker *check;
} checkers[] = { { "trace", check_trace }, { "queue", check_queue }, { "explain", check_explain },
    { "api", check_api }, { "reply", check_reply }, { "stats", check_stats },
    { "audit", check_audit }, { "log", check_log }, { "nodelog", check_nodelog },
    { "received", check_received }, { "connections", check_connections } };

void scene_check(struct scene *scene, struct str text)
{
    struct scene_args args;
    char got[GOT_BYTES_MAX] = "";
    if (!scene_parse_args(scene, text, &args) || scene_world(scene) == NULL) {
        return;
    }
    for (size_t i = 0; i < COUNT_OF(checkers); i++) {
        if (!str_eq(scene_word(&args, 0), str_from_c(checkers[i].name))) {
            continue;
        }
        bool is_good = checkers[i].check(scene, &args, got, sizeof got);
        bool may_wait = !str_eq(scene_word(&args, 0), STR("reply"));
        for (uint32_t ms = 0; !is_good && may_wait && ms < SCENE_CHECK_MS && !scene->is_failed;
                ms += SCENE_CHECK_STEP_MS) {
            world_run_for(scene->world, SCENE_CHECK_STEP_MS);
            is_good = checkers[i].check(scene, &args, got, sizeof got);
        }
        if (!is_good) {
            scene_fail(scene, "expected %.*s, got %s", STR_ARG(text), got);
        }
        return;
    }
    scene_fail(scene, "there is no CHECK %.*s", STR_ARG(scene_word(&args, 0)));
}

/* ACT hold|release|flush|bounce|cancel [id= domain= recipient= ...] [reason=""] [recipients=N]
 * [status=N] */
void scene_act(struct scene *scene, struct str text)
{
    struct scene_args args;
    if (!scene_parse_args(scene, text, &args) || scene_world(scene) == NULL) {
        return;
    }
    json_t *body = json_object();
    struct str action = scene_word(&args, 0);
    json_object_set_new(body, "action", json_stringn(action.ptr ? action.ptr : "", action.len));
    for (uint32_t i = 0; i < args.count; i++) {
        char name[64];
        struct str value = args.arg[i].value;
        bool is_ours = str_eq(args.arg[i].key, STR("recipients")) ||
                       str_eq(args.arg[i].key, STR("status"));
        if (args.arg[i].op == ARG_IS && !is_ours && str_to_c(args.arg[i].key, name, sizeof name)) {
            bool is_all = strcmp(name, "all") == 0;
            json_object_set_new(body, name,
                    is_all ? json_true() : json_stringn(value.ptr ? value.ptr : "", value.len));
        }
    }
    uint64_t wanted_status = scene_number(scene, &args, "status", 200);
    uint16_t status = ask(scene, "POST", STR("/v1/queue/actions"), dump(scene, body));
    json_decref(body);
    json_t *reply = json_loadb(scene->reply.ptr ? scene->reply.ptr : "", scene->reply.len, 0, NULL);
    uint64_t count = (uint64_t)json_integer_value(json_object_get(reply, "recipients"));
    json_decref(reply);
    if (status != wanted_status || count != scene_number(scene, &args, "recipients", count)) {
        scene_fail(scene, "expected %.*s, got status %u: %.*s", STR_ARG(text), status,
                STR_ARG(buf_str(&scene->reply)));
    }
}
