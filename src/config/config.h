/* SPDX-License-Identifier: Apache-2.0
 *
 * config.h - the settings of a node: read from one file, checked, and kept as an immutable
 * snapshot.
 *
 * Tables describe every setting (name, type, default, unit, range, one line of help); the same
 * tables check a file, print `outpost config show --explain` and the manual page. A snapshot is
 * counted references; owners keep theirs until they are told of a new one. Strings and arrays in
 * it live as long as it does, and are NUL-terminated C strings where they name files.
 */
#ifndef OUTPOST_CONFIG_H
#define OUTPOST_CONFIG_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/crypto.h"
#include "core/ip.h"
#include "edge/entropy.h"
#include "edge/tls.h"

enum config_tls { CONFIG_TLS_NONE, CONFIG_TLS_STARTTLS, CONFIG_TLS_IMPLICIT };
enum config_auth { CONFIG_AUTH_NONE, CONFIG_AUTH_OPTIONAL, CONFIG_AUTH_REQUIRED };
enum config_dest_tls {
    CONFIG_DEST_TLS_MAY,
    CONFIG_DEST_TLS_REQUIRED,
    CONFIG_DEST_TLS_VERIFIED,
    CONFIG_DEST_TLS_OFF
};

struct config_listen {
    struct str name;
    struct ip_port *address;
    uint32_t address_count;
    enum config_tls tls;
    bool is_tls_required; /* starttls: MAIL only under TLS (default where auth is on) */
    enum config_auth auth;
    bool is_auth_in_clear;  /* only ever honoured on loopback */
    struct ip_net *network; /* clients that may send without AUTH */
    uint32_t network_count;
    struct str network_credential; /* the credential such clients act as; "" = "network" rules */
    bool is_client_hidden;         /* no client address in Received */
    struct str *cert_path;         /* PEM chains; the first is the default, others by SNI */
    uint32_t cert_count;
    struct str *key_path; /* key i belongs to certificate i; none: in the certificate's file */
    uint32_t key_count;
    struct tls_context *tls_context; /* loaded at parse; NULL where tls = none */
};
struct config_credential {
    struct str name;
    struct str password_hash; /* yescrypt, "$y$..."; "" = cannot log in */
    struct str secret_path;   /* where the secret was read from; "" = not from a file */
    struct str scram_stored_key, scram_server_key, scram_salt; /* raw bytes; "" = no SCRAM */
    uint32_t scram_iterations;
    struct str *from; /* domains it may use as sender and From; empty: any of ours */
    uint32_t from_count;
    struct str *stream; /* it may use; the first is the default */
    uint32_t stream_count;
};
struct config_dkim_key {
    struct str selector;
    struct str path;
    struct key *key;
    bool is_inactive;        /* kept, but does not sign: not yet, or not any more */
    struct str since, until; /* RFC 3339: when it began to sign; when it may go; "" = not said */
};
/* Somebody else who sends as the domain: only checked, never used. */
struct config_service {
    struct str name;
    struct str spf;       /* the term that must be in the SPF record, "include:_spf.x.example" */
    struct str *selector; /* of its DKIM keys */
    uint32_t selector_count;
};
struct config_domain {
    struct str name;             /* lower case A-label */
    struct config_dkim_key *key; /* those that are active sign */
    uint32_t key_count;
    struct str bounce;  /* the domain of MAIL FROM of its mail; "" = name */
    uint64_t rotate_ms; /* a new key when the one in use is older; 0 = by hand */
    struct config_service *service;
    uint32_t service_count;
};
struct config_stream {
    struct str name;
    struct str pool; /* "" = first pool, or the system's address */
    bool is_signed;  /* no key, no acceptance */
    bool is_in_doubt_held;
    uint64_t retry_first_ms, retry_max_ms, give_up_ms;
    bool is_dsn_off; /* no reports to the sender */
};
struct config_source {
    struct str name;
    struct ip address; /* IP_NONE: the system chooses */
    struct str ehlo;
};
struct config_pool {
    struct str name;
    struct str *source_text; /* as written: "NAME" or "NAME:WEIGHT" */
    uint32_t source_count;
    uint32_t *source; /* indexes into config.source */
    uint32_t *weight; /* at least 1 */
};
struct config_route {
    struct str domain; /* lower case; "*" = all others */
    struct str *to;    /* "host:port", "[v6]:port", "host"; tried in order */
    uint32_t to_count;
    enum config_dest_tls tls;
    struct str username;      /* AUTH at the smarthost; "" = none */
    struct str password_path; /* the file that password was read from */
    struct str password;
};
enum config_alert_type {
    CONFIG_ALERT_WEBHOOK,
    CONFIG_ALERT_SYSLOG,
    CONFIG_ALERT_COMMAND,
    CONFIG_ALERT_NAGIOS,
    CONFIG_ALERT_MAIL
};
enum config_alert_format {
    CONFIG_ALERT_JSON,
    CONFIG_ALERT_PAGERDUTY,
    CONFIG_ALERT_OPSGENIE,
    CONFIG_ALERT_SLACK,
    CONFIG_ALERT_HEALTHCHECKS
};
/* A way on which problems are told that does not depend on the mail that is watched. */
struct config_alert {
    struct str name;
    enum config_alert_type type;
    enum config_alert_format format; /* of a webhook */
    struct str url;                  /* webhook: http, https; mail: smtp, smtps */
    struct str key_path, key;        /* the service's secret: integration key, API key, password */
    struct str username;             /* mail: AUTH with key as password */
    struct str command;              /* a program's path */
    struct str socket;               /* syslog's */
    struct str command_file;         /* Nagios' external commands */
    struct str nagios_host, nagios_service;
    struct str from, to; /* mail */
    enum config_alert_severity { CONFIG_ALERT_WARN, CONFIG_ALERT_FAIL } min_severity;
    uint64_t repeat_ms;      /* first repetition while a problem lasts; 0 = never */
    bool is_resolved_hidden; /* the end of a problem is not told */
};
enum { CONFIG_ALERT_COUNT_MAX = 16 };

struct config {
    struct str path; /* the file it came from */
    struct str hostname;
    struct str data_dir;     /* spool/, history/, sandbox/ below it */
    struct str control_path; /* UNIX socket */
    struct str resolver;     /* see edge/dns.h */
    struct str trust_anchor; /* "" = no DNSSEC */
    struct str ca_file;      /* "" = the system's */
    bool is_sandbox;
    struct ip_port sandbox_catcher;
    uint32_t loop_count;   /* 0 = one a core, at most 8 */
    uint32_t worker_count; /* 0 = one a core, at most 8 */

    /* limits of the way in */
    uint64_t message_bytes_max;
    uint32_t rcpt_count_max;
    uint32_t connection_count_max, connection_per_ip_max, connection_per_net_max;
    uint64_t command_ms_max, message_ms_max;
    uint32_t data_rate_min_bytes_per_s;
    uint64_t memory_bytes_max; /* the blob budget */

    /* way out */
    uint32_t site_connection_max;
    uint32_t connection_message_max;
    uint64_t connection_idle_ms;
    uint32_t transaction_rcpt_max;
    enum config_dest_tls outbound_tls;

    /* spool and history */
    uint64_t slot_bytes;
    uint32_t spare_slots;
    uint32_t history_days;
    uint64_t history_bytes_max;

    /* logs */
    struct str log_to;   /* "stdout", "journald", or a path */
    bool is_log_postfix; /* Postfix-shaped mail lines */
    bool is_log_json;

    /* watching */
    uint64_t checks_ms, lists_ms; /* 0 = off */
    uint32_t alert_fail_count, alert_error_count;
    uint64_t alert_group_ms;
    struct str probe_host, clock_server, rdap_server; /* "" = not asked */

    struct config_listen *listen;
    uint32_t listen_count;
    struct config_credential *credential;
    uint32_t credential_count;
    struct config_domain *domain;
    uint32_t domain_count;
    struct config_stream *stream;
    uint32_t stream_count;
    struct config_source *source;
    uint32_t source_count;
    struct config_pool *pool;
    uint32_t pool_count;
    struct config_route *route;
    uint32_t route_count;
    struct config_alert *alert;
    uint32_t alert_count;
};

/* What is wrong with a file, in the order found; all of them, not only the first. Warnings stand
 * among them; they alone do not make a load fail. */
struct config_fault {
    struct str path;
    uint32_t line;   /* 0: the file as a whole */
    struct str text; /* "unknown setting \"hostnam\": did you mean \"hostname\"?" */
    bool is_warning;
};
enum { CONFIG_FAULT_COUNT_MAX = 50 };
struct config_report {
    struct config_fault fault[CONFIG_FAULT_COUNT_MAX];
    uint32_t fault_count;
    uint32_t left_out_count; /* beyond CONFIG_FAULT_COUNT_MAX */
    struct arena text;       /* owns the strings */
};
void config_report_done(
        struct config_report *report); /* empty again; all-zero is an empty report */
/* "FILE:LINE: text" lines, warnings marked, with a last line where some were left out. */
void config_report_print(const struct config_report *report, struct buf *ret_text);

/* What a configuration file may hold; beyond it: a fault. Far above a node with 1,000 domains. */
enum {
    CONFIG_FILE_BYTES_MAX = 4 << 20,
    CONFIG_FILE_COUNT_MAX = 10000, /* with includes, credentials.d and domains.d */
    CONFIG_INCLUDE_DEPTH_MAX = 8,
    CONFIG_SECTION_COUNT_MAX = 20000,
    CONFIG_VALUE_BYTES_MAX = 4096,
    CONFIG_NAME_BYTES_MAX = 64,   /* of streams, pools, sources, listeners */
    CONFIG_LOGIN_BYTES_MAX = 128, /* of credentials */
    CONFIG_LIST_COUNT_MAX = 1000,
    CONFIG_SECRET_BYTES_MAX = 512, /* as crypt(5) takes */
    CONFIG_KEY_FILE_BYTES_MAX = 65536
};

/* Reads path with its includes, keys, certificates, credentials.d and domains.d beside it. *report
 * holds faults and warnings; it is emptied first. E_SYNTAX: at least one fault; E_NOT_FOUND,
 * E_DENIED, E_IO: path itself cannot be read (a fault says so too); E_NOMEM. Any thread. */
MUST_USE enum err config_load(
        const char *path, struct config **ret_config, struct config_report *report);
/* As config_load for text in memory (simulation, tests): files named in it are still read, relative
 * to the directory in name; credentials.d and domains.d are not, and sources need not be addresses
 * of this host. */
MUST_USE enum err config_parse(
        struct str text, struct str name, struct config **ret_config, struct config_report *report);
/* As config_load, as if the file said sandbox = yes. path NULL: the built-in sandbox, data in
 * ./var. */
MUST_USE enum err config_load_sandbox(
        const char *path, struct config **ret_config, struct config_report *report);
struct config *config_take(struct config *config);
void config_give(struct config *config); /* NULL is fine */

/* The whole configuration as a file, with (explain) or without help lines; secrets as "(hidden)".
 */
void config_print(const struct config *config, bool is_explained, struct buf *ret_text);
/* The same as one object: sections are arrays, durations in milliseconds, sizes in bytes. */
void config_print_json(const struct config *config, struct buf *ret_text);
/* The manual page of outpost.conf in roff, from the tables. */
void config_print_manual(struct buf *ret_text);
void config_print_markdown(struct buf *ret_text); /* the same as Markdown */

/* Look-ups; NULL where there is none. Names are compared without case where they are domains. */
const struct config_domain *config_domain_for(const struct config *config, struct str from_domain);
uint32_t config_domain_active_key_count(const struct config_domain *domain); /* keys that sign */
const struct config_stream *config_stream(const struct config *config, struct str name);
const struct config_credential *config_credential(const struct config *config, struct str name);
const struct config_route *config_route_for(const struct config *config, struct str domain);
const struct config_pool *config_pool(const struct config *config, struct str name);

/* Passwords: yescrypt by crypt_r. hash and verify take 20 ms and 16 MB: on a worker. salt: from
 * entropy. E_USAGE: empty, with a NUL, or longer than CONFIG_SECRET_BYTES_MAX; E_NOMEM;
 * E_UNSUPPORTED: this libcrypt has no yescrypt. */
MUST_USE enum err password_hash(struct str password, struct entropy *entropy, struct buf *ret_hash);
bool password_verify(struct str password, struct str hash); /* any strong hash of crypt(5) */
bool password_is_hash(struct str text);

/* What a server keeps instead of the password for SCRAM-SHA-256 (RFC 5802 3, RFC 7677). */
enum { PASSWORD_SCRAM_ITERATIONS = 4096, PASSWORD_SCRAM_SALT_BYTES = 16 };
struct password_scram {
    uint8_t salt[PASSWORD_SCRAM_SALT_BYTES];
    uint32_t iterations;
    uint8_t stored_key[SHA256_BYTES];
    uint8_t server_key[SHA256_BYTES];
};
/* password must be ASCII (no SASLprep here), else E_USAGE; salt from entropy. */
MUST_USE enum err password_scram(
        struct str password, struct entropy *entropy, struct password_scram *ret_scram);
/* The keys for the salt and iterations that stand in *scram. */
MUST_USE enum err password_scram_keys(struct str password, struct password_scram *scram);

#endif
