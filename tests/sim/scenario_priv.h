/* SPDX-License-Identifier: Apache-2.0
 *
 * scenario_priv.h - a scenario being played: its lines, its world, its clients and receivers.
 */
#ifndef OUTPOST_TESTS_SIM_SCENARIO_PRIV_H
#define OUTPOST_TESTS_SIM_SCENARIO_PRIV_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/list.h"
#include "core/str.h"
#include "core/time.h"
#include "sim/world.h"

enum {
    SCENE_TEXT_BYTES_MAX = 64 << 20,
    SCENE_ARG_COUNT_MAX = 32,
    SCENE_VAR_COUNT_MAX = 32,
    SCENE_WAIT_MS = 30000, /* for a reply to a client */
    SCENE_CHECK_MS = 3000, /* for a CHECK to come true */
    SCENE_CHECK_STEP_MS = 100,
    SCENE_SMTP_PORT = 25
};

/* One word of a line: `word`, `key=value`, `key~value`, `key!~value`, `~ value`. */
struct scene_arg {
    struct str key;
    enum { ARG_WORD, ARG_IS, ARG_HAS, ARG_HAS_NOT } op;
    struct str value;
};
struct scene_args {
    struct scene_arg arg[SCENE_ARG_COUNT_MAX];
    uint32_t count;
};
struct scene_var {
    struct str name, value;
};

/* A message that a receiver has taken. */
struct scene_mail {
    struct scene_mail *next;
    struct ip ip;
    struct str from, rcpts, content; /* rcpts: "\na@b\nc@d\n" */
};

struct scene {
    const char *file; /* its name, for messages */
    struct str rest, line;
    uint32_t line_no;
    struct arena arena;
    struct buf config;   /* text of the node's configuration */
    struct world *world; /* NULL before the first line that needs it */
    uint64_t seed;
    uint32_t seed_count;
    bool is_talking, is_traced, is_split;

    struct list hosts;   /* receivers, by address */
    struct list guests;  /* their connections */
    struct list dialers; /* clients; the last is the current one */
    struct scene_mail *mail;
    struct scene_var var[SCENE_VAR_COUNT_MAX];
    uint32_t var_count;
    struct buf reply; /* the last whole reply to a client or of the control API */
    struct buf mail_log, node_log;
    struct str reload_text;
    struct list secrets; /* files that were made */
    bool is_failed;
    char what[2000];
};

/* The first failure counts; the line is the one being played. */
void scene_fail(struct scene *scene, const char *format, ...) PRINTF_LIKE(2, 3);
/* The next line that is neither empty nor a comment, without blanks around. False: the end. */
bool scene_next_line(struct scene *scene);
/* Lines up to END, as they are. */
struct str scene_block(struct scene *scene);
struct world *scene_world(struct scene *scene); /* made where it is not yet; NULL: failed */

/* ---- scenario_node.c: lines of these names ---- */
void scene_config(struct scene *scene, struct str text);
void scene_key(struct scene *scene, struct str text);
void scene_secret(struct scene *scene, struct str text);
void scene_dns(struct scene *scene, struct str text);
void scene_dnsfail(struct scene *scene, struct str text);
void scene_start(struct scene *scene, struct str text);
void scene_stop(struct scene *scene, struct str text);
void scene_crash(struct scene *scene, struct str text);
void scene_reload(struct scene *scene, struct str text);
void scene_disk(struct scene *scene, struct str text);
void scene_net(struct scene *scene, struct str text);
void scene_time(struct scene *scene, struct str text);
void scene_clock(struct scene *scene, struct str text);
void scene_remove_secrets(struct scene *scene);

/* ---- scenario_words.c ---- */
bool scene_parse_args(struct scene *scene, struct str text, struct scene_args *ret_args);
const struct scene_arg *scene_arg(const struct scene_args *args, const char *key);
struct str scene_value(const struct scene_args *args, const char *key); /* "" where absent */
struct str scene_word(const struct scene_args *args, uint32_t nth);     /* positional */
uint64_t scene_number(
        struct scene *scene, const struct scene_args *args, const char *key, uint64_t fallback);
bool scene_ms(struct scene *scene, struct str text, int64_t *ret_ms); /* "+90s", "-1y" */
bool scene_ip(struct scene *scene, struct str text, struct ip *ret_ip);
bool scene_ip_port(struct scene *scene, struct str text, uint16_t port, struct ip_port *ret_at);
/* `"text \r\n\x00" "A"*300 ...` */
bool scene_raw(struct scene *scene, struct str text, struct buf *ret_bytes);
void scene_set_var(struct scene *scene, struct str name, struct str value);
bool text_matches(struct str pattern, struct str text); /* whole text, * is anything */
bool text_has(struct str pattern, struct str text);     /* somewhere in it, * is anything */
bool arg_holds(const struct scene_arg *arg, struct str text);

struct str scene_expand(struct scene *scene, struct str text); /* $NAMES */

/* ---- scenario_peer.c ---- */
void scene_serve(
        struct scene *scene, struct ip_port at); /* a receiver there; fine when there is one */
void scene_peer(struct scene *scene, struct str text); /* PEER ... */
void scene_peers_end(struct scene *scene); /* what was written for them must have happened */
void scene_peers_done(struct scene *scene);
uint64_t scene_connection_count(const struct scene *scene, struct ip ip);

/* ---- scenario_client.c ---- */
void scene_client(struct scene *scene, struct str text); /* CLIENT ... */
void scene_client_says(struct scene *scene, struct str text);
void scene_client_says_raw(struct scene *scene, struct str text);
void scene_client_hears(struct scene *scene, struct str pattern, bool is_whole_reply);
void scene_hello(struct scene *scene, struct str text);    /* HELLO ... */
void scene_envelope(struct scene *scene, struct str text); /* ENVELOPE ... */
void scene_submit(struct scene *scene, struct str text);   /* SUBMIT ... */
void scene_clients_done(struct scene *scene);

/* ---- scenario_check.c ---- */
void scene_check(struct scene *scene, struct str text); /* CHECK ... */
void scene_act(struct scene *scene, struct str text);   /* ACT ... */

#endif
