/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_server_command.c - the verbs: their order, their syntax, their parameters.
 *
 * A table of verbs with one handler each. A handler answers what syntax and order decide and raises
 * an event for the rest. Reply texts are Postfix's, which clients and log readers know.
 */
#include "core/str.h"
#include "proto/smtp_server_priv.h"

/* What a handler needs beside the session. */
struct command {
    struct str arg; /* behind the verb, blanks trimmed */
    struct smtp_server_event *event;
};

struct verb {
    struct str name;
    void (*run)(struct smtp_server *server, const struct command *command);
    bool must_be_last;        /* of a pipelined group, RFC 2920 3.1 */
    bool is_allowed_in_clear; /* where TLS is required, RFC 3207 4 */
};

static void say_order(struct smtp_server *server, struct str text)
{
    server_say(server, 503, STR("5.5.1"), text);
}

static void ask(struct smtp_server *server, const struct command *command,
        enum smtp_server_event_kind kind, struct str text)
{
    server->pending = (uint8_t)kind;
    command->event->kind = kind;
    command->event->text = text;
}

/* NOOP and its like do no work; a client that lives on them is none (Postfix: junk commands). */
static void count_idle(struct smtp_server *server)
{
    uint32_t max = server_limit(server->conf->idle_count_max, SMTP_SERVER_IDLE_COMMAND_DEFAULT);
    if (++server->idle_count > max) {
        server->error_count++;
    }
}

/* A name or an address literal. Only bytes are judged: a client is not refused for a name that is
 * not its own (RFC 5321 4.1.4). */
static bool is_helo_name(struct str name)
{
    if (name.len == 0 || name.len > SMTP_SERVER_HELO_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && !memchr(".-_:[]%", c, 7)) {
            return false;
        }
    }
    return true;
}

static void put_ehlo_lines(struct smtp_server *server)
{
    const struct smtp_server_conf *conf = server->conf;
    char size[64];
    size_t len = fmt(
            size, sizeof size, "250-SIZE %llu\r\n", (unsigned long long)server_size_max(server));
    server_put(server, STR("250-PIPELINING\r\n"));
    server_put(server, str_of(size, len));
    if (conf->offers_tls && !server->is_tls) { /* RFC 3207 4.2: not again */
        server_put(server, STR("250-STARTTLS\r\n"));
    }
    if (conf->auth_mechanisms.len > 0 && (server->is_tls || conf->allows_auth_in_clear)) {
        server_put(server, STR("250-AUTH "));
        server_put(server, str_sub(conf->auth_mechanisms, 0, 64));
        server_put(server, STR("\r\n"));
    }
    server_put(server, STR("250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n"));
}

static void hello(struct smtp_server *server, const struct command *command, bool is_esmtp)
{
    count_idle(server);
    if (!is_helo_name(command->arg)) {
        server_say(server, 501, STR("5.5.4"),
                is_esmtp ? STR("Syntax: EHLO hostname") : STR("Syntax: HELO hostname"));
        return;
    }
    server_drop_transaction(server); /* RFC 5321 4.1.4 */
    server->has_hello = true;
    server->is_esmtp = is_esmtp;
    struct str name = str_sub(server->conf->hostname, 0, SMTP_SERVER_HELO_BYTES_MAX);
    server_put(server, is_esmtp ? STR("250-") : STR("250 "));
    server_put(server, name);
    server_put(server, STR("\r\n"));
    if (is_esmtp) {
        put_ehlo_lines(server);
    }
    command->event->kind = SMTP_SERVER_HELO;
    command->event->text = command->arg;
    command->event->is_esmtp = is_esmtp;
}

static void run_ehlo(struct smtp_server *server, const struct command *command)
{
    hello(server, command, true);
}

static void run_helo(struct smtp_server *server, const struct command *command)
{
    hello(server, command, false);
}

enum path_error { PATH_OK, PATH_SYNTAX, PATH_ADDRESS, PATH_UTF8 };

/* Length of the path in s, which begins behind '<': up to the '>' that no quoted string hides
 * (RFC 5321 4.1.2). s.len where there is none. */
static size_t path_len(struct str s)
{
    bool is_quoted = false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '"') {
            is_quoted = !is_quoted;
        } else if (is_quoted && c == '\\') {
            i++;
        } else if (!is_quoted && c == '>') {
            return i;
        } else if (!is_quoted && (c == ' ' || c == '<')) {
            break;
        }
    }
    return s.len;
}

/* arg: "FROM:<path> parameters". */
static enum path_error parse_path(
        struct str arg, struct str keyword, struct str *ret_path, struct str *ret_params)
{
    if (!str_starts_nocase(arg, keyword)) {
        return PATH_SYNTAX;
    }
    struct str rest = str_trim(str_from(arg, keyword.len)); /* a blank here is widespread */
    if (rest.len == 0 || rest.ptr[0] != '<') {
        return PATH_SYNTAX;
    }
    rest = str_from(rest, 1);
    size_t len = path_len(rest);
    if (len == rest.len) {
        return PATH_ADDRESS;
    }
    struct str path = str_sub(rest, 0, len);
    struct str params = str_from(rest, len + 1);
    if (params.len > 0 && params.ptr[0] != ' ') {
        return PATH_SYNTAX;
    }
    if (!str_is_ascii(path)) { /* RFC 6531 3.4: SMTPUTF8 is not offered */
        return PATH_UTF8;
    }
    *ret_path = path;
    *ret_params = params;
    return PATH_OK;
}

static void say_path_error(struct smtp_server *server, enum path_error error, bool is_sender)
{
    if (error == PATH_SYNTAX) {
        server_say(server, 501, STR("5.5.4"),
                is_sender ? STR("Syntax: MAIL FROM:<address>") : STR("Syntax: RCPT TO:<address>"));
    } else if (error == PATH_UTF8) {
        server_say(server, 553, STR("5.6.7"), STR("Must declare SMTPUTF8 to send unicode address"));
    } else if (is_sender) {
        server_say(server, 501, STR("5.1.7"), STR("Bad sender address syntax"));
    } else {
        server_say(server, 501, STR("5.1.3"), STR("Bad recipient address syntax"));
    }
}

static bool say_bad_param(struct smtp_server *server, struct str param)
{
    char text[128];
    size_t len = fmt(text, sizeof text, "Bad parameter: %.*s", STR_ARG(str_sub(param, 0, 64)));
    server_say(server, 501, STR("5.5.4"), str_of(text, len));
    return false;
}

static bool say_unsupported(struct smtp_server *server, struct str param)
{
    char text[128];
    size_t len = fmt(text, sizeof text, "Unsupported option: %.*s", STR_ARG(str_sub(param, 0, 64)));
    server_say(server, 555, STR("5.5.4"), str_of(text, len)); /* RFC 5321 4.1.1.11 */
    return false;
}

static int hex_value(char c) /* upper case only, RFC 3461 4 */
{
    return ascii_is_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 3461 4, without what would decode to a control character. */
static bool is_xtext(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '+') {
            if (s.ptr[i] < '!' || s.ptr[i] > '~' || s.ptr[i] == '=') {
                return false;
            }
            continue;
        }
        if (s.len - i < 3) {
            return false;
        }
        int high = hex_value(s.ptr[i + 1]), low = hex_value(s.ptr[i + 2]);
        if (high < 2 || low < 0 || (high == 7 && low == 15)) {
            return false;
        }
        i += 2;
    }
    return true;
}

/* RFC 1870 3: 1 to 20 digits. A number past 64 bits is a size past every limit. */
static bool parse_size(struct str value, uint64_t *ret_size)
{
    if (value.len > 20) {
        return false;
    }
    enum err err = str_to_u64(value, UINT64_MAX, ret_size);
    if (err == E_TOO_BIG) {
        *ret_size = UINT64_MAX;
        return true;
    }
    return err == OK;
}

enum { PARAM_SIZE = 1, PARAM_BODY = 2, PARAM_AUTH = 4 };

static unsigned mail_param_kind(const struct smtp_server *server, struct str name)
{
    if (str_eq_nocase(name, STR("SIZE"))) {
        return PARAM_SIZE;
    }
    if (str_eq_nocase(name, STR("BODY"))) {
        return PARAM_BODY;
    }
    if (server->conf->auth_mechanisms.len > 0 && str_eq_nocase(name, STR("AUTH"))) {
        return PARAM_AUTH;
    }
    return 0;
}

static bool take_mail_value(struct smtp_server *server, struct str param, unsigned kind,
        struct str value, struct smtp_server_event *event)
{
    if (kind == PARAM_SIZE) {
        if (!parse_size(value, &event->size_bytes)) {
            return say_bad_param(server, param);
        }
        if (event->size_bytes > server_size_max(server)) { /* RFC 1870 6.1 */
            server_say(server, 552, STR("5.3.4"),
                    STR("Message size exceeds file system imposed limit"));
            return false;
        }
    } else if (kind == PARAM_BODY) { /* RFC 6152 2 */
        event->is_8bit = str_eq_nocase(value, STR("8BITMIME"));
        if (str_eq_nocase(value, STR("BINARYMIME"))) {
            return say_unsupported(server, param);
        }
        if (!event->is_8bit && !str_eq_nocase(value, STR("7BIT"))) {
            return say_bad_param(server, param);
        }
    } else {
        if (!is_xtext(value)) { /* RFC 4954 5 */
            return say_bad_param(server, param);
        }
        event->auth = value;
    }
    return true;
}

/* False: a reply was said. */
static bool take_mail_params(
        struct smtp_server *server, struct str params, struct smtp_server_event *event)
{
    unsigned seen = 0;
    struct str param;
    while (str_cut(&params, ' ', &param)) {
        if (param.len == 0) {
            continue;
        }
        size_t name_len = str_index(param, '=');
        unsigned kind = mail_param_kind(server, str_sub(param, 0, name_len));
        if (kind == 0 || !server->is_esmtp) { /* after HELO nothing was offered */
            return say_unsupported(server, param);
        }
        struct str value = str_from(param, name_len + 1);
        if (value.len == 0 || (seen & kind)) {
            return say_bad_param(server, param);
        }
        seen |= kind;
        if (!take_mail_value(server, param, kind, value, event)) {
            return false;
        }
    }
    return true;
}

static void run_mail(struct smtp_server *server, const struct command *command)
{
    if (!server->has_hello) {
        say_order(server, STR("Error: send HELO/EHLO first"));
        return;
    }
    if (server->has_mail) {
        say_order(server, STR("Error: nested MAIL command"));
        return;
    }
    if (server->conf->requires_auth && !server->is_authenticated) { /* RFC 4954 6 */
        server_say(server, 530, STR("5.7.0"), STR("Authentication required"));
        return;
    }
    struct str path, params;
    enum path_error error = parse_path(command->arg, STR("FROM:"), &path, &params);
    if (error != PATH_OK) {
        say_path_error(server, error, true);
        return;
    }
    struct smtp_server_event event = { 0 };
    if (take_mail_params(server, params, &event)) {
        *command->event = event;
        ask(server, command, SMTP_SERVER_MAIL, path);
    }
}

static bool has_rcpt_room(struct smtp_server *server)
{
    uint32_t max = server_limit(server->conf->rcpt_count_max, SMTP_SERVER_RCPT_DEFAULT);
    if (server->rcpt_count < max) {
        return true;
    }
    if (++server->rcpt_over_count > SMTP_SERVER_RCPT_OVER_MAX) {
        server_say(server, 421, STR("4.5.3"), STR("Error: too many recipients"));
        server_close(server, SMTP_SERVER_CLOSE_RCPT);
    } else { /* RFC 5321 4.5.3.1.10; those before stay */
        server_say(server, 452, STR("4.5.3"), STR("Error: too many recipients"));
    }
    return false;
}

static void run_rcpt(struct smtp_server *server, const struct command *command)
{
    if (!server->has_mail) {
        say_order(server, STR("Error: need MAIL command"));
        return;
    }
    struct str path, params;
    enum path_error error = parse_path(command->arg, STR("TO:"), &path, &params);
    if (error == PATH_OK && path.len == 0) {
        error = PATH_ADDRESS;
    }
    server->rcpt_tried_count++;
    if (error != PATH_OK) {
        say_path_error(server, error, false);
        return;
    }
    params = str_trim(params);
    if (params.len > 0) { /* DSN is not offered */
        say_unsupported(server, params);
        return;
    }
    if (has_rcpt_room(server)) {
        ask(server, command, SMTP_SERVER_RCPT, path);
    }
}

static void run_data(struct smtp_server *server, const struct command *command)
{
    if (!server->has_mail) {
        say_order(server, STR("Error: need MAIL command"));
    } else if (command->arg.len > 0) {
        server_say(server, 501, STR("5.5.4"), STR("Syntax: DATA"));
    } else if (server->rcpt_count > 0) {
        ask(server, command, SMTP_SERVER_DATA, STR(""));
    } else if (server->rcpt_tried_count > 0) { /* RFC 2920 3.1: pipelined behind refused ones */
        server_say(server, 554, STR("5.5.1"), STR("Error: no valid recipients"));
    } else {
        say_order(server, STR("Error: need RCPT command"));
    }
}

static void run_rset(struct smtp_server *server, const struct command *command)
{
    count_idle(server);
    if (command->arg.len > 0) {
        server_say(server, 501, STR("5.5.4"), STR("Syntax: RSET"));
        return;
    }
    server_drop_transaction(server);
    server_say(server, 250, STR("2.0.0"), STR("Ok"));
    command->event->kind = SMTP_SERVER_RESET;
    command->event->reason = SMTP_SERVER_RESET_COMMAND;
}

static void run_noop(struct smtp_server *server, const struct command *command)
{
    (void)command; /* RFC 5321 4.1.1.9: its parameter means nothing */
    count_idle(server);
    server_say(server, 250, STR("2.0.0"), STR("Ok"));
}

static void run_vrfy(struct smtp_server *server, const struct command *command)
{
    count_idle(server);
    if (command->arg.len == 0) {
        server_say(server, 501, STR("5.5.4"), STR("Syntax: VRFY address"));
        return;
    }
    /* RFC 5321 7.3: nothing is looked up, nothing is disclosed */
    server_say(server, 252, STR("2.0.0"), STR("Cannot verify; send the message to find out"));
}

static void run_help(struct smtp_server *server, const struct command *command)
{
    (void)command;
    count_idle(server);
    server_say(server, 214, STR("2.0.0"), STR("RFC 5321 says it all"));
}

static void run_quit(struct smtp_server *server, const struct command *command)
{
    if (command->arg.len > 0) {
        server_say(server, 501, STR("5.5.4"), STR("Syntax: QUIT"));
        return;
    }
    server_say(server, 221, STR("2.0.0"), STR("Bye"));
    server_close(server, SMTP_SERVER_CLOSE_QUIT);
    command->event->kind = SMTP_SERVER_QUIT;
}

static void run_starttls(struct smtp_server *server, const struct command *command)
{
    if (server->is_tls) {
        say_order(server, STR("Error: TLS already active"));
    } else if (!server->conf->offers_tls) {
        server_say(server, 502, STR("5.5.1"), STR("Error: command not implemented"));
    } else if (command->arg.len > 0) { /* RFC 3207 4 */
        server_say(server, 501, STR("5.5.4"), STR("Syntax: STARTTLS"));
    } else if (!server->has_hello) {
        say_order(server, STR("Error: send HELO/EHLO first"));
    } else {
        ask(server, command, SMTP_SERVER_STARTTLS, STR(""));
    }
}

static bool offers_mechanism(const struct smtp_server *server, struct str mechanism)
{
    struct str rest = server->conf->auth_mechanisms, one;
    while (str_cut(&rest, ' ', &one)) {
        if (one.len > 0 && str_eq_nocase(one, mechanism)) {
            return true;
        }
    }
    return false;
}

/* False: a reply was said. */
static bool may_auth(struct smtp_server *server)
{
    const struct smtp_server_conf *conf = server->conf;
    if (conf->auth_mechanisms.len == 0) {
        say_order(server, STR("Error: authentication not enabled"));
    } else if (!server->is_tls && !conf->allows_auth_in_clear) {
        server_say(server, 538, STR("5.7.11"),
                STR("Encryption required for requested authentication mechanism"));
    } else if (!server->has_hello || !server->is_esmtp) {
        say_order(server, STR("Error: send EHLO first"));
    } else if (server->is_authenticated) { /* RFC 4954 4 */
        say_order(server, STR("Error: already authenticated"));
    } else if (server->has_mail) {
        say_order(server, STR("Error: MAIL transaction in progress"));
    } else {
        return true;
    }
    return false;
}

static void run_auth(struct smtp_server *server, const struct command *command)
{
    if (!may_auth(server)) {
        return;
    }
    struct str rest = command->arg, mechanism = STR("");
    bool has_mechanism = str_cut(&rest, ' ', &mechanism);
    struct str initial = str_trim(rest);
    if (!has_mechanism || str_index(initial, ' ') < initial.len) {
        server_say(server, 501, STR("5.5.4"), STR("Syntax: AUTH mechanism"));
        return;
    }
    if (!offers_mechanism(server, mechanism)) {
        server_say(server, 504, STR("5.5.4"), STR("Error: authentication mechanism not offered"));
        return;
    }
    ask(server, command, SMTP_SERVER_AUTH, mechanism);
    command->event->has_initial = initial.len > 0;
    command->event->initial = initial;
}

static void run_not_implemented(struct smtp_server *server, const struct command *command)
{
    (void)command;
    server_say(server, 502, STR("5.5.1"), STR("Error: command not implemented"));
}

/* A front end's privilege (XCLIENT, XFORWARD); nobody is configured to have it. */
static void run_not_allowed(struct smtp_server *server, const struct command *command)
{
    (void)command;
    server_say(server, 550, STR("5.7.0"), STR("Error: insufficient authorization"));
}

/* An HTTP client, led here by a page or a proxy: its body may hold SMTP (the ALPACA attack). */
static void run_foreign(struct smtp_server *server, const struct command *command)
{
    (void)command;
    server_say(server, 221, STR("2.7.0"), STR("Error: I can break rules, too. Goodbye."));
    server_close(server, SMTP_SERVER_CLOSE_FOREIGN);
}

/* By frequency. BDAT must be last since its chunk, not offered, would be read as commands. */
#define NAME(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
static const struct verb verbs[] = {
    { NAME("RCPT"), run_rcpt, .must_be_last = false },
    { NAME("MAIL"), run_mail, .must_be_last = false },
    { NAME("DATA"), run_data, .must_be_last = true },
    { NAME("EHLO"), run_ehlo, .must_be_last = true, .is_allowed_in_clear = true },
    { NAME("QUIT"), run_quit, .must_be_last = false, .is_allowed_in_clear = true },
    { NAME("AUTH"), run_auth, .must_be_last = true, .is_allowed_in_clear = true },
    { NAME("STARTTLS"), run_starttls, .must_be_last = true, .is_allowed_in_clear = true },
    { NAME("HELO"), run_helo, .must_be_last = true, .is_allowed_in_clear = true },
    { NAME("RSET"), run_rset, .must_be_last = false },
    { NAME("NOOP"), run_noop, .must_be_last = false, .is_allowed_in_clear = true },
    { NAME("VRFY"), run_vrfy, .must_be_last = false },
    { NAME("HELP"), run_help, .must_be_last = false },
    { NAME("BDAT"), run_not_implemented, .must_be_last = true },
    { NAME("EXPN"), run_not_implemented, .must_be_last = false },
    { NAME("TURN"), run_not_implemented, .must_be_last = false },
    { NAME("ETRN"), run_not_implemented, .must_be_last = false },
    { NAME("SEND"), run_not_implemented, .must_be_last = false },
    { NAME("SOML"), run_not_implemented, .must_be_last = false },
    { NAME("SAML"), run_not_implemented, .must_be_last = false },
    { NAME("XCLIENT"), run_not_allowed, .must_be_last = true },
    { NAME("XFORWARD"), run_not_allowed, .must_be_last = false },
    { NAME("GET"), run_foreign, .must_be_last = false, .is_allowed_in_clear = true },
    { NAME("POST"), run_foreign, .must_be_last = false, .is_allowed_in_clear = true },
    { NAME("PUT"), run_foreign, .must_be_last = false, .is_allowed_in_clear = true },
    { NAME("HEAD"), run_foreign, .must_be_last = false, .is_allowed_in_clear = true },
    { NAME("CONNECT"), run_foreign, .must_be_last = false, .is_allowed_in_clear = true },
    { NAME("OPTIONS"), run_foreign, .must_be_last = false, .is_allowed_in_clear = true },
    { NAME("DELETE"), run_foreign, .must_be_last = false, .is_allowed_in_clear = true },
    { NAME("PATCH"), run_foreign, .must_be_last = false, .is_allowed_in_clear = true },
    { NAME("TRACE"), run_foreign, .must_be_last = false, .is_allowed_in_clear = true },
    /* A header line; MAIL FROM: has its blank before the colon. */
    { NAME(":"), run_foreign, .must_be_last = false, .is_allowed_in_clear = true },
};

static const struct verb *find_verb(struct str word)
{
    if (word.len > 1 && word.ptr[word.len - 1] == ':') {
        word = STR(":");
    }
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (str_eq_nocase(word, verbs[i].name)) {
            return &verbs[i];
        }
    }
    return NULL;
}

static bool has_control(struct str line)
{
    for (size_t i = 0; i < line.len; i++) {
        if ((uint8_t)line.ptr[i] < 0x20 || line.ptr[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

void server_command(struct smtp_server *server, struct str line, bool has_more,
        struct smtp_server_event *ret_event)
{
    while (line.len > 0 && ascii_is_blank(line.ptr[line.len - 1])) { /* RFC 5321 4.1.1 */
        line.len--;
    }
    if (line.len == 0 || has_control(line) || !str_is_utf8(line)) {
        server_say(server, 500, STR("5.5.2"), STR("Error: bad syntax"));
        return;
    }
    size_t word_len = str_index(line, ' ');
    const struct verb *verb = find_verb(str_sub(line, 0, word_len));
    if (!verb) {
        server_say(server, 500, STR("5.5.2"), STR("Error: command not recognized"));
        return;
    }
    if (verb->must_be_last) {
        if (has_more) {
            server_break_sync(server);
            return;
        }
        server->must_be_sync = true;
    }
    bool is_clear = server->conf->requires_tls && !server->is_tls;
    if (is_clear && !verb->is_allowed_in_clear) { /* RFC 3207 4 */
        server_say(server, 530, STR("5.7.0"), STR("Must issue a STARTTLS command first"));
        return;
    }
    struct command command = { .arg = str_trim(str_from(line, word_len)), .event = ret_event };
    verb->run(server, &command);
}
