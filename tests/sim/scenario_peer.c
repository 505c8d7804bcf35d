/* SPDX-License-Identifier: Apache-2.0
 *
 * scenario_peer.c - receivers: they take everything, but for what a script says of the next
 * connection.
 *
 * A script is a list of lines in order. The receiver answers by itself until a line comes that the
 * script's next `C:` describes; then it says the `S:` lines behind that. All of a script must have
 * happened when the scenario ends.
 */
#include "tests/sim/scenario_priv.h"

enum { GUEST_BYTES_MAX = 16 << 20 };

enum step_kind { STEP_EXPECT, STEP_SAY, STEP_CLOSE, STEP_RESET, STEP_STALL, STEP_WAIT };
struct step {
    struct step *next;
    enum step_kind kind;
    struct str text; /* EXPECT: pattern; SAY: bytes */
    uint64_t wait_ms;
    uint32_t line_no;
};
struct script {
    struct script *next;
    struct step *first;
    uint32_t line_no;
    bool is_strict; /* each line from us must be the one described next */
    bool is_taken;  /* by a connection */
};
struct host {
    struct list at;
    struct scene *scene;
    struct ip_port address;
    struct script *first; /* for connections to come */
    uint64_t connection_count;
};

/* One connection to a receiver. */
struct guest {
    struct list at;
    struct host *host;
    struct sim_link *link;
    struct script *script; /* NULL: none */
    struct step *step;     /* the next one */
    struct buf pending, content, rcpts;
    struct str from;
    uint32_t rcpt_count;
    bool is_in_data, is_stalled;
    struct sim_event *wait;
};

static void guest_free(struct guest *guest)
{
    sim_cancel(&guest->host->scene->world->events, guest->wait);
    list_del(&guest->at);
    buf_done(&guest->pending);
    buf_done(&guest->content);
    buf_done(&guest->rcpts);
    mem_free(guest);
}

static void guest_close(struct guest *guest, bool is_reset)
{
    struct sim_link *link = guest->link;
    guest_free(guest);
    sim_link_close(link, is_reset);
}

static void guest_say(struct guest *guest, const char *line)
{
    char text[200];
    sim_link_send(guest->link, str_of(text, fmt(text, sizeof text, "%s\r\n", line)));
}

/* ---- what it takes ---- */

static void forget_transaction(struct guest *guest)
{
    guest->from = (struct str){ 0 };
    guest->rcpt_count = 0;
    guest->is_in_data = false;
    buf_clear(&guest->rcpts);
    buf_clear(&guest->content);
}

static void keep_mail(struct guest *guest)
{
    struct scene *scene = guest->host->scene;
    struct scene_mail *mail = arena_new(&scene->arena, sizeof *mail);
    ASSERT(mail);
    mail->ip = guest->host->address.ip;
    mail->from = arena_str(&scene->arena, guest->from);
    mail->rcpts = arena_str(&scene->arena, buf_str(&guest->rcpts));
    mail->content = arena_str(&scene->arena, buf_str(&guest->content));
    mail->next = scene->mail;
    scene->mail = mail;
}

static struct str path_of(struct str line)
{
    size_t open = str_index(line, '<');
    return str_sub(line, open + 1, str_rindex(line, '>') - open - 1);
}

/* The line was answered with that code; 0: with something else than a reply. */
static void note_answer(struct guest *guest, struct str line, uint64_t code)
{
    bool is_good = code >= 200 && code < 300;
    if (guest->is_in_data) {
        if (is_good || code == 0) {
            keep_mail(guest);
        }
        forget_transaction(guest);
    } else if (str_starts_nocase(line, STR("MAIL FROM:")) && is_good) {
        forget_transaction(guest);
        guest->from = arena_str(&guest->host->scene->arena, path_of(line));
    } else if (str_starts_nocase(line, STR("RCPT TO:")) && is_good) {
        guest->rcpt_count++;
        buf_add_char(&guest->rcpts, '\n');
        buf_add(&guest->rcpts, path_of(line));
        buf_add_char(&guest->rcpts, '\n');
    } else if (str_starts_nocase(line, STR("DATA"))) {
        guest->is_in_data = code >= 300 && code < 400;
    } else if (str_starts_nocase(line, STR("RSET"))) {
        forget_transaction(guest);
    }
}

/* ---- answering by itself ---- */

static const char *own_answer(const struct guest *guest, struct str line)
{
    static const struct {
        const char *verb, *answer;
    } answers[] = {
        { "EHLO",
                "250-peer.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n"
                "250 SIZE 0" },
        { "HELO", "250 peer.example" }, { "MAIL", "250 2.1.0 Ok" }, { "RCPT", "250 2.1.5 Ok" },
        { "RSET", "250 2.0.0 Ok" }, { "NOOP", "250 2.0.0 Ok" }, { "QUIT", "221 2.0.0 Bye" },
        { "STARTTLS", "220 2.0.0 Ready" }
    };
    if (guest->is_in_data) {
        return "250 2.0.0 Ok: taken";
    }
    if (str_starts_nocase(line, STR("DATA"))) {
        return guest->rcpt_count ? "354 End data with <CR><LF>.<CR><LF>"
                                 : "554 5.5.1 No valid recipients";
    }
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        if (str_starts_nocase(line, str_from_c(answers[i].verb))) {
            return answers[i].answer;
        }
    }
    return "500 5.5.2 What";
}

/* False: the connection is closed. */
static bool answer_itself(struct guest *guest, struct str line)
{
    const char *answer = own_answer(guest, line);
    uint64_t code = 0;
    bool is_code = str_to_u64(str_sub(str_from_c(answer), 0, 3), 999, &code) == OK;
    ASSERT(is_code);
    note_answer(guest, line, code);
    guest_say(guest, answer);
    if (code == 221) {
        guest_close(guest, false);
        return false;
    }
    return true;
}

/* ---- answering by script ---- */

static void wait_ends(void *ctx, uint64_t number);

/* Does what stands before the next EXPECT. False: the connection is closed. */
static bool run_script(struct guest *guest)
{
    while (guest->step && guest->step->kind != STEP_EXPECT && !guest->is_stalled) {
        struct step *step = guest->step;
        guest->step = step->next;
        switch (step->kind) {
        case STEP_SAY:
            sim_link_send(guest->link, step->text);
            break;
        case STEP_CLOSE:
        case STEP_RESET:
            guest->script->first = NULL;
            guest_close(guest, step->kind == STEP_RESET);
            return false;
        case STEP_STALL:
            guest->is_stalled = true;
            break;
        case STEP_WAIT:
            guest->wait = sim_after(
                    &guest->host->scene->world->events, step->wait_ms, wait_ends, guest, 0);
            return true;
        case STEP_EXPECT:
            break;
        }
    }
    if (guest->script) {
        guest->script->first = guest->step; /* what has not happened yet */
    }
    return true;
}

/* The code that the script says next; 0: no reply. */
static uint64_t next_code(const struct guest *guest)
{
    const struct step *step = guest->step;
    uint64_t code = 0;
    while (step && step->kind == STEP_WAIT) {
        step = step->next;
    }
    if (step && step->kind == STEP_SAY && str_to_u64(str_sub(step->text, 0, 3), 999, &code) != OK) {
        code = 0;
    }
    return code;
}

/* One line from the node. False: the connection is closed. */
static bool take_line(struct guest *guest, struct str line)
{
    struct scene *scene = guest->host->scene;
    bool is_dot = str_eq(line, STR("."));
    if (guest->is_in_data && !is_dot) {
        bool is_stuffed = line.len && line.ptr[0] == '.';
        buf_add(&guest->content, is_stuffed ? str_from(line, 1) : line);
        buf_add_c(&guest->content, "\r\n");
        return true;
    }
    sim_trace(&scene->world->events, "guest hears %.*s", STR_ARG(line));
    if (guest->step && text_matches(guest->step->text, line)) {
        guest->script->first = guest->step = guest->step->next;
        note_answer(guest, line, next_code(guest));
        return run_script(guest);
    }
    if (guest->script && guest->script->is_strict) {
        uint32_t line_no = guest->step ? guest->step->line_no : guest->script->line_no;
        scene_fail(scene, "the receiver of line %u wanted \"%.*s\", got \"%.*s\"", line_no,
                STR_ARG(guest->step ? guest->step->text : STR("nothing more")), STR_ARG(line));
    }
    return answer_itself(guest, line);
}

static bool take_pending(struct guest *guest)
{
    while (!guest->is_stalled && !guest->wait) {
        struct str text = buf_str(&guest->pending);
        size_t len = str_find(text, STR("\r\n"));
        if (len == text.len) {
            break;
        }
        struct str line = arena_str(&guest->host->scene->arena, str_sub(text, 0, len));
        buf_drop_front(&guest->pending, len + 2);
        if (!take_line(guest, line)) {
            return false;
        }
    }
    return true;
}

static void wait_ends(void *ctx, uint64_t number)
{
    struct guest *guest = ctx;
    (void)number;
    guest->wait = NULL;
    if (run_script(guest)) {
        take_pending(guest);
    }
}

/* ---- the network's calls ---- */

static void guest_opened(void *ctx, struct sim_link *link)
{
    struct guest *guest = ctx;
    (void)link;
    if (guest->step && guest->step->kind != STEP_EXPECT) {
        run_script(guest);
    } else {
        guest_say(guest, "220 peer.example ESMTP");
    }
}

static void guest_bytes(void *ctx, struct sim_link *link, struct str bytes)
{
    struct guest *guest = ctx;
    (void)link;
    if (!guest->is_stalled) {
        buf_add(&guest->pending, bytes);
        ASSERT(buf_err(&guest->pending) == OK);
        take_pending(guest);
    }
}

static void guest_closed(void *ctx, struct sim_link *link, bool is_reset)
{
    (void)link;
    (void)is_reset;
    guest_free(ctx);
}

static const struct sim_peer guest_peer = { guest_opened, guest_bytes, guest_closed };

static void *guest_make(void *ctx, struct sim_link *link)
{
    struct host *host = ctx;
    struct guest *guest = mem_new(sizeof *guest);
    ASSERT(guest);
    guest->host = host;
    guest->link = link;
    buf_init(&guest->pending, GUEST_BYTES_MAX);
    buf_init(&guest->content, GUEST_BYTES_MAX);
    buf_init(&guest->rcpts, GUEST_BYTES_MAX);
    list_add_last(&host->scene->guests, &guest->at);
    host->connection_count++;
    for (struct script *script = host->first; script && !guest->script; script = script->next) {
        guest->script = script->is_taken ? NULL : script;
    }
    if (guest->script) {
        guest->script->is_taken = true;
        guest->step = guest->script->first;
    }
    return guest;
}

/* ---- the scenario's calls ---- */

static struct host *find_host(const struct scene *scene, const struct ip_port *address)
{
    for (struct list *at = scene->hosts.next; at != &scene->hosts; at = at->next) {
        struct host *host = CONTAINER_OF(at, struct host, at);
        if (ip_eq(host->address.ip, address->ip) && host->address.port == address->port) {
            return host;
        }
    }
    return NULL;
}

void scene_serve(struct scene *scene, struct ip_port address)
{
    if (find_host(scene, &address) || scene_world(scene) == NULL) {
        return;
    }
    struct host *host = arena_new(&scene->arena, sizeof *host);
    ASSERT(host);
    host->scene = scene;
    host->address = address;
    list_add_last(&scene->hosts, &host->at);
    sim_net_serve(scene->world->net, address, &guest_peer, guest_make, host);
}

static bool parse_say(struct scene *scene, struct str text, struct step *step)
{
    step->kind = STEP_SAY;
    if (str_eq(text, STR("CLOSE"))) {
        step->kind = STEP_CLOSE;
    } else if (str_eq(text, STR("RESET"))) {
        step->kind = STEP_RESET;
    } else if (str_eq(text, STR("STALL"))) {
        step->kind = STEP_STALL;
    } else if (str_starts(text, STR("WAIT "))) {
        int64_t wait_ms = 0;
        step->kind = STEP_WAIT;
        bool is_time = scene_ms(scene, str_from(text, 5), &wait_ms);
        step->wait_ms = (uint64_t)wait_ms;
        return is_time;
    } else {
        step->text = arena_strf(&scene->arena, "%.*s\r\n", STR_ARG(text));
    }
    return true;
}

static bool parse_step(struct scene *scene, struct str line, struct step *step)
{
    if (str_starts(line, STR("C: "))) {
        step->kind = STEP_EXPECT;
        step->text = arena_str(&scene->arena, str_from(line, 3));
        return true;
    }
    if (str_starts(line, STR("S: "))) {
        return parse_say(scene, str_from(line, 3), step);
    }
    if (str_starts(line, STR("S-RAW: "))) {
        struct buf bytes;
        buf_init(&bytes, GUEST_BYTES_MAX);
        step->kind = STEP_SAY;
        bool is_good = scene_raw(scene, str_from(line, 7), &bytes);
        step->text = arena_str(&scene->arena, buf_str(&bytes));
        buf_done(&bytes);
        return is_good;
    }
    scene_fail(scene, "a receiver's script has lines C:, S:, S-RAW: and END");
    return false;
}

static struct script *parse_script(struct scene *scene)
{
    struct script *script = arena_new(&scene->arena, sizeof *script);
    struct step **last = &script->first;
    script->line_no = scene->line_no;
    for (;;) {
        if (!scene_next_line(scene)) {
            scene_fail(scene, "the script of line %u has no END", script->line_no);
            return script;
        }
        if (str_eq(scene->line, STR("END"))) {
            return script;
        }
        struct step *step = arena_new(&scene->arena, sizeof *step);
        ASSERT(step);
        step->line_no = scene->line_no;
        if (!parse_step(scene, scene->line, step)) {
            return script;
        }
        *last = step;
        last = &step->next;
    }
}

/* PEER address [strict] script END, or PEER address up|refuses|silent */
void scene_peer(struct scene *scene, struct str text)
{
    struct scene_args args;
    struct ip_port address;
    if (!scene_parse_args(scene, text, &args) ||
            !scene_ip_port(scene, scene_word(&args, 0), SCENE_SMTP_PORT, &address)) {
        return;
    }
    scene_serve(scene, address);
    struct str how = scene_word(&args, 1);
    if (str_eq(how, STR("up")) || str_eq(how, STR("refuses")) || str_eq(how, STR("silent"))) {
        sim_net_set_server(scene->world->net, address,
                how.ptr[0] == 'u'   ? SIM_SERVER_UP
                : how.ptr[0] == 'r' ? SIM_SERVER_REFUSES
                                    : SIM_SERVER_SILENT);
        return;
    }
    struct script *script = parse_script(scene);
    script->is_strict = str_eq(how, STR("strict"));
    struct host *host = find_host(scene, &address);
    ASSERT(host);
    struct script **last = &host->first;
    while (*last) {
        last = &(*last)->next;
    }
    *last = script;
}

void scene_peers_end(struct scene *scene)
{
    for (struct list *at = scene->hosts.next; at != &scene->hosts; at = at->next) {
        for (struct script *script = CONTAINER_OF(at, struct host, at)->first; script;
                script = script->next) {
            if (script->first) {
                scene->line_no = script->first->line_no;
                scene_fail(scene, "this never came: %.*s",
                        STR_ARG(script->first->kind == STEP_EXPECT ? script->first->text
                                                                   : STR("a connection")));
                return;
            }
        }
    }
}

void scene_peers_done(struct scene *scene)
{
    while (!list_is_empty(&scene->guests)) {
        guest_free(CONTAINER_OF(scene->guests.next, struct guest, at));
    }
}

uint64_t scene_connection_count(const struct scene *scene, struct ip ip)
{
    uint64_t count = 0;
    for (struct list *at = scene->hosts.next; at != &scene->hosts; at = at->next) {
        const struct host *host = CONTAINER_OF(at, struct host, at);
        count += ip_eq(host->address.ip, ip) ? host->connection_count : 0;
    }
    return count;
}
