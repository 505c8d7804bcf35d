/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_priv.h - what setting up, rotating and flattening share: questions asked one by one, SPF
 * records walked to their ends, and files that are replaced at once.
 */
#ifndef OUTPOST_IDENTITY_SETUP_PRIV_H
#define OUTPOST_IDENTITY_SETUP_PRIV_H

#include "core/arena.h"
#include "core/buf.h"
#include "identity/identity.h"

enum { SETUP_PATH_CAP = 4096, SETUP_FILE_BYTES_MAX = 1 << 20 };

/* ---- questions (setup_look.c) ---- */

struct look; /* of one thread */
struct look_answer {
    enum dns_status status;
    bool is_secure;
    const struct dns_record *record;
    uint32_t record_count;
    struct str why;
};
/* arena keeps all answers; it must live until look_close. */
MUST_USE enum err look_open(const struct identity_outside *outside, struct arena *arena,
        struct look **ret_look, struct why *why);
void look_close(struct look *look); /* NULL is fine */
/* Waits for the answer; each question is asked once. Never NULL: what cannot be asked has failed.
 */
const struct look_answer *look_ask(struct look *look, struct str name, enum dns_type type);
/* At one name server. */
const struct look_answer *look_ask_at(
        struct look *look, struct ip server, struct str name, enum dns_type type);
bool look_is_online(const struct look *look); /* name servers can be asked */
static inline bool look_found(const struct look_answer *answer)
{
    return answer->status == DNS_FOUND;
}
static inline bool look_absent(const struct look_answer *answer)
{
    return answer->status == DNS_NODATA || answer->status == DNS_NXDOMAIN;
}
static inline bool look_failed(const struct look_answer *answer)
{
    return !look_found(answer) && !look_absent(answer);
}
/* "SERVFAIL: ...", "no such name": in words. */
struct str look_words(struct look *look, const struct look_answer *answer);
/* The zone that name is in; false: none was found up to the registered domain, which is given. */
bool look_zone(struct look *look, struct str name, struct str *ret_zone);
/* "10.2.0.192.in-addr.arpa" */
struct str look_reverse(struct arena *arena, struct ip ip);

/* ---- SPF (setup_spf.c) ---- */

/* The SPF record in an answer: "" where there is none; how many there are. */
uint32_t setup_spf_of(const struct look_answer *txt, struct str *ret_text);

struct setup_spf_merge {
    struct str old;      /* "" = none; else a record that spf_parse takes */
    const struct ip *ip; /* ours */
    uint32_t ip_count;
    const struct str *term; /* other terms that must be in it; "" are left out */
    uint32_t term_count;
    struct str redirect; /* the record of this domain instead of addresses; "" = none */
};
void setup_spf_merge(struct arena *arena, const struct setup_spf_merge *what, struct buf *ret_text);

struct setup_net {
    char qualifier;
    struct ip_net net;
};
/* A record and all that it leads to. */
struct setup_spf_walk {
    struct look *look;
    struct arena *arena;
    bool is_flattening; /* gather net, all; else only what it costs */
    struct identity_spf_cost *cost;
    uint32_t cost_count, cost_cap;
    struct setup_net *net;
    uint32_t net_count, net_cap;
    char all; /* 0: none */
    uint32_t ask_count;
    bool is_nomem;
    enum err err; /* E_UNSUPPORTED, E_SYNTAX, E_TIMEOUT ... the first; OK: all is there */
    struct why why;
};
/* From the record text of name, whatever DNS has there. Returns the look-ups it needs. */
uint32_t setup_spf_walk(struct setup_spf_walk *walk, struct str name, struct str text);
/* Leaves out what others cover and joins neighbours; the order of qualifiers stays. */
void setup_nets_join(struct setup_net *net, uint32_t *count);

/* ---- records ---- */

struct str setup_type_name(enum dns_type type);
/* The data as a master file has it: "\"v=spf1 -all\"", "10 mail.example.". */
void setup_record_data(const struct identity_record *record, struct buf *ret_text);
/* "name. 3600 IN TXT ..." and a line end. */
void setup_record_line(const struct identity_record *record, struct buf *ret_text);
void format_tools(
        const struct identity_setup *setup, enum identity_format format, struct buf *text);

/* ---- files (setup_files.c) ---- */

struct domain_file {
    char dir[SETUP_PATH_CAP];  /* domains.d */
    char path[SETUP_PATH_CAP]; /* domains.d/DOMAIN.conf */
    int lock;                  /* -1: none */
};
/* Names only. E_TOO_BIG. */
MUST_USE enum err domain_file_find(
        const char *config_path, struct str domain, struct domain_file *ret_file, struct why *why);
/* Makes domains.d where it is missing, and holds the domain's lock until domain_file_close; it dies
 * with the process. E_BUSY. */
MUST_USE enum err domain_file_lock(struct domain_file *file, struct why *why);
void domain_file_close(struct domain_file *file);
/* In whole or not at all; made for the node's user where root writes. */
MUST_USE enum err file_replace(const char *path, struct str text, struct why *why);
/* Reads all. E_NOT_FOUND, E_DENIED, E_IO, E_TOO_BIG. */
MUST_USE enum err file_take(const char *path, struct buf *ret_text, struct why *why);
/* A new key under domains.d/keys: its path for the domain's file. */
MUST_USE enum err key_make(struct domain_file *file, struct str domain, struct str selector,
        enum key_kind kind, struct why *why);
void key_drop(const struct domain_file *file, struct str domain, struct str selector);
/* "s2026a", the first of this year's that neither taken nor a key file has. */
bool selector_make(const struct domain_file *file, const struct config_domain *taken,
        struct str domain, char letter, struct wall now, char ret_selector[16]);
/* Loads; E_SYNTAX with the first fault in why. */
MUST_USE enum err config_read(const char *path, struct config **ret_config, struct why *why);
const struct config_domain *config_domain_exact(const struct config *config, struct str name);

#endif
