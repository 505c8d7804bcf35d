/* SPDX-License-Identifier: Apache-2.0
 *
 * scenario_client.c - clients that talk to the node, line by line, and the shorthand SUBMIT.
 */
#include "tests/sim/scenario_priv.h"

enum { DIALER_BYTES_MAX = 16 << 20 };

struct dialer {
    struct list at;
    struct scene *scene;
    struct sim_link *link; /* NULL: closed */
    struct buf heard;
    struct str name;
    bool is_reset;
};

static void dialer_bytes(void *ctx, struct sim_link *link, struct str bytes)
{
    struct dialer *dialer = ctx;
    (void)link;
    buf_add(&dialer->heard, bytes);
}

static void dialer_closed(void *ctx, struct sim_link *link, bool is_reset)
{
    struct dialer *dialer = ctx;
    (void)link;
    dialer->link = NULL;
    dialer->is_reset = is_reset;
}

static const struct sim_peer dialer_peer = { NULL, dialer_bytes, dialer_closed };

static struct dialer *dial(struct scene *scene, struct ip from, struct ip_port to, struct str name)
{
    struct dialer *dialer = mem_new(sizeof *dialer);
    ASSERT(dialer);
    dialer->scene = scene;
    dialer->name = name;
    buf_init(&dialer->heard, DIALER_BYTES_MAX);
    list_add_last(&scene->dialers, &dialer->at);
    dialer->link = sim_net_dial(scene->world->net, from, to, &dialer_peer, dialer);
    return dialer;
}

static struct dialer *current(struct scene *scene)
{
    if (list_is_empty(&scene->dialers)) {
        scene_fail(scene, "no CLIENT was named yet");
        return NULL;
    }
    return CONTAINER_OF(scene->dialers.prev, struct dialer, at);
}

static void dialer_free(struct dialer *dialer)
{
    list_del(&dialer->at);
    buf_done(&dialer->heard);
    mem_free(dialer);
}

static void hang_up(struct dialer *dialer, bool is_reset)
{
    struct sim_link *link = dialer->link;
    dialer->link = NULL;
    if (link) {
        sim_link_close(link, is_reset);
    }
}

/* Lives on until a whole line was heard (in the arena), or the connection ended, or the time is
 * over. */
static bool hear_line(struct dialer *dialer, uint64_t wait_ms, struct str *ret_line)
{
    struct world *world = dialer->scene->world;
    struct mono end = mono_after(world->events.now, wait_ms);
    for (;;) {
        struct str text = buf_str(&dialer->heard);
        size_t len = str_find(text, STR("\r\n"));
        if (len < text.len) {
            *ret_line = arena_str(&dialer->scene->arena, str_sub(text, 0, len));
            buf_drop_front(&dialer->heard, len + 2);
            return true;
        }
        if (dialer->link == NULL || !world_step(world, end)) {
            return false;
        }
    }
}

/* "250 2.0.0 Ok: queued as ..." is remembered as $ID. */
static void note_id(struct scene *scene, struct str line)
{
    static const struct str mark = STR_INIT("queued as ");
    size_t at = str_find(line, mark);
    if (at < line.len) {
        scene_set_var(scene, STR("ID"), str_from(line, at + mark.len));
    }
}

static bool is_last_line(struct str line)
{
    return line.len < 4 || line.ptr[3] != '-';
}

/* A whole reply, its lines in scene->reply; *ret_last is the last of them. */
static bool hear_reply(struct dialer *dialer, struct str *ret_last)
{
    struct scene *scene = dialer->scene;
    buf_clear(&scene->reply);
    do {
        if (!hear_line(dialer, SCENE_WAIT_MS, ret_last)) {
            return false;
        }
        buf_add(&scene->reply, *ret_last);
        buf_add_char(&scene->reply, '\n');
        note_id(scene, *ret_last);
    } while (!is_last_line(*ret_last));
    return true;
}

static void hear_close(struct dialer *dialer)
{
    struct str line;
    if (hear_line(dialer, SCENE_WAIT_MS, &line)) {
        scene_fail(
                dialer->scene, "expected the end of the connection, got \"%.*s\"", STR_ARG(line));
    } else if (dialer->link) {
        scene_fail(dialer->scene, "expected the end of the connection, it stays open");
    } else if (dialer->heard.len) {
        scene_fail(dialer->scene, "expected the end of the connection, got a cut line \"%.*s\"",
                STR_ARG(buf_str(&dialer->heard)));
    }
}

static void hear_nothing(struct dialer *dialer, struct str time)
{
    int64_t ms = 1000;
    struct str line;
    if (time.len && !scene_ms(dialer->scene, time, &ms)) {
        return;
    }
    if (hear_line(dialer, (uint64_t)ms, &line)) {
        scene_fail(dialer->scene, "expected silence, got \"%.*s\"", STR_ARG(line));
    } else if (dialer->link == NULL) {
        scene_fail(dialer->scene, "expected silence, the connection was closed");
    }
}

void scene_client_hears(struct scene *scene, struct str pattern, bool is_whole_reply)
{
    struct dialer *dialer = current(scene);
    if (dialer == NULL) {
        return;
    }
    if (str_eq(pattern, STR("CLOSE"))) {
        hear_close(dialer);
        return;
    }
    if (str_starts(pattern, STR("NOTHING"))) {
        hear_nothing(dialer, str_trim(str_from(pattern, 7)));
        return;
    }
    struct str line = { 0 };
    bool is_heard =
            is_whole_reply ? hear_reply(dialer, &line) : hear_line(dialer, SCENE_WAIT_MS, &line);
    if (is_heard && !is_whole_reply) {
        buf_clear(&scene->reply);
        buf_add(&scene->reply, line);
        note_id(scene, line);
    }
    if (!is_heard) {
        scene_fail(scene, "expected \"%.*s\", got %s", STR_ARG(pattern),
                dialer->link ? "nothing for 30 s" : "the end of the connection");
    } else if (!text_matches(pattern, line)) {
        scene_fail(scene, "expected \"%.*s\", got \"%.*s\"", STR_ARG(pattern), STR_ARG(line));
    }
}

void scene_client_says(struct scene *scene, struct str text)
{
    struct dialer *dialer = current(scene);
    if (dialer == NULL) {
        return;
    }
    if (str_eq(text, STR("CLOSE")) || str_eq(text, STR("RESET"))) {
        hang_up(dialer, text.ptr[0] == 'R');
    } else if (dialer->link == NULL) {
        scene_fail(scene, "the node has closed the connection");
    } else {
        struct str line = arena_strf(&scene->arena, "%.*s\r\n", STR_ARG(text));
        sim_link_send(dialer->link, line);
    }
}

void scene_client_says_raw(struct scene *scene, struct str text)
{
    struct dialer *dialer = current(scene);
    struct buf bytes;
    buf_init(&bytes, DIALER_BYTES_MAX);
    if (dialer && scene_raw(scene, text, &bytes)) {
        if (dialer->link) {
            sim_link_send(dialer->link, buf_str(&bytes));
        } else {
            scene_fail(scene, "the node has closed the connection");
        }
    }
    buf_done(&bytes);
}

static struct ip_port door_of(struct scene *scene, struct str text)
{
    struct ip_port at = { .ip = { .family = IP_V4, .byte = { 10, 0, 0, 1 } }, .port = 2525 };
    if (text.len) {
        (void)scene_ip_port(scene, text, at.port, &at);
    }
    return at;
}

/* CLIENT address [as=NAME] [at=ADDRESS:PORT] dials; CLIENT NAME goes on with one of before. */
void scene_client(struct scene *scene, struct str text)
{
    struct scene_args args;
    struct ip from;
    if (!scene_parse_args(scene, text, &args) || scene_world(scene) == NULL) {
        return;
    }
    struct str who = scene_word(&args, 0);
    for (struct list *at = scene->dialers.next; at != &scene->dialers; at = at->next) {
        if (str_eq(CONTAINER_OF(at, struct dialer, at)->name, who)) {
            list_del(at);
            list_add_last(&scene->dialers, at);
            return;
        }
    }
    if (scene_ip(scene, who, &from)) {
        dial(scene, from, door_of(scene, scene_value(&args, "at")), scene_value(&args, "as"));
    }
}

/* HELLO address [at= as=]: dials, hears the greeting and says EHLO. */
void scene_hello(struct scene *scene, struct str text)
{
    scene_client(scene, text);
    if (!scene->is_failed) {
        scene_client_hears(scene, STR("220 *"), true);
    }
    if (!scene->is_failed) {
        scene_client_says(scene, STR("EHLO client.example"));
    }
    if (!scene->is_failed) {
        scene_client_hears(scene, STR("250 *"), true);
    }
}

static void say_and_hear(struct scene *scene, struct str line, struct str pattern)
{
    if (!scene->is_failed) {
        scene_client_says(scene, line);
    }
    if (!scene->is_failed) {
        scene_client_hears(scene, pattern, true);
    }
}

/* ENVELOPE from= to=a,b [with=PARAMETERS]: up to the 354. */
void scene_envelope(struct scene *scene, struct str text)
{
    struct scene_args args;
    if (!scene_parse_args(scene, text, &args)) {
        return;
    }
    struct str rest = scene_value(&args, "to"), to, with = scene_value(&args, "with");
    say_and_hear(scene,
            arena_strf(&scene->arena, "MAIL FROM:<%.*s>%s%.*s", STR_ARG(scene_value(&args, "from")),
                    with.len ? " " : "", STR_ARG(with)),
            STR("250 *"));
    while (str_cut(&rest, ',', &to)) {
        say_and_hear(scene, arena_strf(&scene->arena, "RCPT TO:<%.*s>", STR_ARG(to)), STR("250 *"));
    }
    say_and_hear(scene, STR("DATA"), STR("354 *"));
}

void scene_clients_done(struct scene *scene)
{
    while (!list_is_empty(&scene->dialers)) {
        dialer_free(CONTAINER_OF(scene->dialers.next, struct dialer, at));
    }
}

/* ---- SUBMIT ---- */

struct submission {
    struct scene_args args;
    struct dialer *dialer;
    struct str expected; /* of a refusal; "": there must be none */
    bool is_refused;     /* as expected */
    uint32_t good_count; /* recipients taken */
};

/* Says a line, hears the reply. False: it is over, for better or worse. */
static bool exchange(struct submission *s, struct str line)
{
    struct scene *scene = s->dialer->scene;
    struct str last = { 0 };
    if (line.len && s->dialer->link) {
        sim_link_send(s->dialer->link, arena_strf(&scene->arena, "%.*s\r\n", STR_ARG(line)));
    }
    bool is_heard = hear_reply(s->dialer, &last);
    if (!is_heard && str_eq(s->expected, STR("CLOSE"))) {
        s->is_refused = true;
        return false;
    }
    bool is_good = is_heard && last.len >= 3 && (last.ptr[0] == '2' || last.ptr[0] == '3');
    if (is_good) {
        s->good_count += str_starts_nocase(line, STR("RCPT"));
        return true;
    }
    if (is_heard && s->expected.len && text_matches(s->expected, last)) {
        s->is_refused = true;
        return str_starts_nocase(line, STR("RCPT")); /* the others may go on */
    }
    scene_fail(scene, "\"%.*s\" was to be answered %.*s, got \"%.*s\"",
            STR_ARG(str_sub(line, 0, 200)), STR_ARG(s->expected.len ? s->expected : STR("2xx")),
            STR_ARG(is_heard ? last : STR("no reply")));
    return false;
}

static void add_header(struct buf *content, const char *name, struct str value)
{
    if (value.len) {
        buf_addf(content, "%s: %.*s\r\n", name, STR_ARG(value));
    }
}

static struct str content_of(struct scene *scene, const struct scene_args *args, uint64_t number)
{
    struct buf content;
    buf_init(&content, DIALER_BYTES_MAX);
    struct str from = scene_value(args, "header-from"), body = scene_value(args, "body");
    add_header(&content, "From", from.len ? from : scene_value(args, "from"));
    add_header(&content, "To", scene_value(args, "to"));
    add_header(&content, "Subject", scene_value(args, "subject"));
    for (uint32_t i = 0; i < args->count; i++) {
        if (str_eq(args->arg[i].key, STR("header"))) {
            buf_add(&content, args->arg[i].value);
            buf_add_c(&content, "\r\n");
        }
    }
    buf_addf(&content, "\r\n%.*s\r\n", STR_ARG(body.len ? body : STR("Good day.")));
    uint64_t bytes = scene_number(scene, args, "bytes", 0);
    while (content.len < bytes) {
        buf_addf(&content, "line %zu of submission %llu, long enough to fill a message quickly\r\n",
                content.len, (unsigned long long)number);
    }
    struct str copy = arena_str(&scene->arena, buf_str(&content));
    buf_done(&content);
    return copy;
}

static bool exchange_envelope(struct submission *s)
{
    struct scene *scene = s->dialer->scene;
    struct str from = scene_value(&s->args, "from"), rest = scene_value(&s->args, "to"), to;
    from = str_eq(from, STR("<>")) ? (struct str){ 0 } : from;
    struct str body = scene_arg(&s->args, "8bit") ? STR(" BODY=8BITMIME") : STR("");
    if (!exchange(s, STR("")) || !exchange(s, STR("EHLO client.example")) ||
            !exchange(s, arena_strf(&scene->arena, "MAIL FROM:<%.*s>%.*s", STR_ARG(from),
                                 STR_ARG(body)))) {
        return false;
    }
    while (str_cut(&rest, ',', &to)) {
        if (!exchange(s, arena_strf(&scene->arena, "RCPT TO:<%.*s>", STR_ARG(to)))) {
            return false;
        }
    }
    return s->good_count > 0;
}

static void submit_one(struct scene *scene, struct submission *s, uint64_t number)
{
    struct ip from = { .family = IP_V4, .byte = { 10, 1, 0, 1 } };
    struct str client = scene_value(&s->args, "client");
    if (client.len && !scene_ip(scene, client, &from)) {
        return;
    }
    s->dialer = dial(scene, from, door_of(scene, scene_value(&s->args, "at")), STR("(submit)"));
    if (exchange_envelope(s) && exchange(s, STR("DATA"))) {
        sim_link_send(s->dialer->link, content_of(scene, &s->args, number));
        exchange(s, STR("."));
    }
    if (!scene->is_failed && s->dialer->link) {
        s->expected = s->expected.len ? s->expected : STR("2*");
        bool is_refused = s->is_refused;
        exchange(s, STR("QUIT"));
        s->is_refused = is_refused;
    }
    hang_up(s->dialer, false);
    dialer_free(s->dialer);
}

/* SUBMIT from=a to=b,c [subject= header= body= bytes= client= at= count= as= expect="452 *"] */
void scene_submit(struct scene *scene, struct str text)
{
    struct submission s = { 0 };
    if (!scene_parse_args(scene, text, &s.args) || scene_world(scene) == NULL) {
        return;
    }
    uint64_t count = scene_number(scene, &s.args, "count", 1);
    struct str expected = scene_value(&s.args, "expect"), name = scene_value(&s.args, "as");
    bool is_refused = false;
    for (uint64_t i = 0; i < count && !scene->is_failed; i++) {
        s.expected = expected;
        s.is_refused = false;
        s.good_count = 0;
        submit_one(scene, &s, i);
        is_refused |= s.is_refused;
    }
    if (expected.len && !is_refused && !scene->is_failed) {
        scene_fail(scene, "expected \"%.*s\", and all was accepted", STR_ARG(expected));
    }
    for (uint32_t i = 0; i < scene->var_count && name.len; i++) {
        if (str_eq(scene->var[i].name, STR("ID"))) {
            scene_set_var(scene, name, scene->var[i].value);
            break;
        }
    }
}
