/* SPDX-License-Identifier: Apache-2.0
 *
 * identity.h - what the world can check of a sender: evaluated, set up, and watched.
 *
 * Sections: asking (drives pure engines over DNS), checks (a domain from a source), set-up (records
 * to publish), watching (schedule, blocklists, alerts), addresses (is this one worth sending to?).
 */
#ifndef OUTPOST_IDENTITY_H
#define OUTPOST_IDENTITY_H

#include "config/config.h"
#include "edge/dns.h"
#include "mail/address.h"
#include "mail/lookup.h"

/* ---- asking ---------------------------------------------------------------------------------- */

/* An engine that yields one question at a time (mail/lookup.h). */
struct identity_engine {
    void *engine;
    /* False: the engine is done. */
    bool (*question)(void *engine, struct lookup_question *ret_question);
    void (*answer)(void *engine, const struct lookup_answer *answer);
};
typedef void identity_asked(void *ctx);
/* What an engine is told of an answer: SERVFAIL, time-out and bogus are LOOKUP_TEMPFAIL. */
enum lookup_status identity_lookup_status(enum dns_status status);

/* RFC 7208 4.6.4: at least 20 s for one evaluation, then "could not tell". */
enum { IDENTITY_ASK_MS_MAX = 20000, IDENTITY_ASK_COUNT_MAX = 4096 };

struct clock;
struct identity_asker; /* the evaluations under way over one resolver; of one thread */
struct identity_ask;

/* dns and clock stay the caller's. Close dns first, then the asker. */
MUST_USE enum err identity_asker_open(
        struct dns *dns, struct clock *clock, struct identity_asker **ret_asker);
void identity_asker_close(struct identity_asker *asker); /* drops what is open: no done comes */

/* Brings the engine (copied; what it points at stays the caller's) answers until it is done, then
 * calls done, exactly once. After ms_max (0: IDENTITY_ASK_MS_MAX) every further question is
 * answered LOOKUP_TEMPFAIL. An engine without a question is done from within this call; ret_ask
 * (may be NULL) is then NULL. E_FULL: IDENTITY_ASK_COUNT_MAX are open; E_NOMEM: no done comes. */
MUST_USE enum err identity_ask(struct identity_asker *asker, const struct identity_engine *engine,
        uint64_t ms_max, identity_asked *done, void *ctx, struct identity_ask **ret_ask);
/* No done comes, and the engine is not touched any more. Not after done; NULL is fine. */
void identity_ask_cancel(struct identity_ask *ask);
/* Ends those whose time is over; returns when to call again (0: nothing is open). */
struct mono identity_asker_tick(struct identity_asker *asker);

/* For the command line: a resolver and a loop of its own. zone_path: answers from that master file
 * instead of the net (edge/dns.h); NULL: from servers ("" = those of resolv.conf). */
struct identity_desk;
MUST_USE enum err identity_desk_open(const char *zone_path, struct str servers,
        struct identity_desk **ret_desk, struct why *why);
void identity_desk_close(struct identity_desk *desk);
struct dns *identity_desk_dns(struct identity_desk *desk);
/* For several at once: begin them here with identity_ask, then run until all are done. */
struct identity_asker *identity_desk_asker(struct identity_desk *desk);
void identity_desk_run(struct identity_desk *desk);
/* One evaluation from begin to end. */
MUST_USE enum err identity_desk_ask(
        struct identity_desk *desk, const struct identity_engine *engine);

/* ---- checks ---------------------------------------------------------------------------------- */

/* In the order of their weight: the worst of many is the greatest. */
enum identity_status {
    IDENTITY_PASS,
    IDENTITY_SKIP, /* does not apply, or could not be asked for by choice; detail says why */
    IDENTITY_WARN,
    IDENTITY_ERROR, /* could not tell: DNS or a peer failed; never a pass, never a fail */
    IDENTITY_FAIL,
    IDENTITY_STATUS_COUNT
};
const char *identity_status_name(enum identity_status status); /* "pass", "skip", "warn", ... */

/* What one check says of one subject. Peer text in it is escaped already (core/str.h str_escape).
 * Ids are stable words in two parts, "GROUP.WHAT": ptr.exists, spf.pass, dkim.record. */
struct identity_result {
    struct str id;
    struct str domain; /* "" where it concerns a source alone */
    struct str source; /* the source's name; "" where it concerns a domain alone */
    struct str part; /* tells results of one id and subject apart: a selector, an MX, a list; "" */
    enum identity_status status;
    struct str title; /* what is asked, in words: "the address has a PTR record" */
    struct str found, expected;
    struct str mend;   /* DNS records in master-file form, or a command; lines end in '\n'; "" */
    struct str detail; /* how come, what to do next, where to look; "" */
    struct str before; /* found when it last passed, where that differs ("what changed"); "" */
};

/* What is to be checked. Strings and arrays are the caller's until the run is freed. */
struct identity_source {
    struct str name;
    struct ip ip;    /* IP_NONE: the system chooses; what needs an address is skipped */
    struct str ehlo; /* lower case, no final dot */
};
struct identity_domain {
    struct str name;                   /* lower-case A-labels */
    struct str bounce;                 /* the domain of MAIL FROM; "" = name */
    const struct config_dkim_key *key; /* private keys in use */
    uint32_t key_count;
    const struct config_service *service; /* others that send as this domain */
    uint32_t service_count;
};
struct identity_plan {
    const struct identity_domain *domain;
    uint32_t domain_count;
    const struct identity_source *source;
    uint32_t source_count;
    const struct config *config; /* listeners' certificates; NULL for domains that are not ours */
    bool is_any; /* domains not ours: no sources, no keys, common selectors are tried as a hint */
};
/* The plan of a configuration, in arena: all its domains (or the one named only) × the sources of
 * the pools that its streams use. config must outlive the plan. E_NOT_FOUND: no such domain; why
 * names those there are. E_NOMEM. */
MUST_USE enum err identity_plan_make(const struct config *config, struct str domain,
        struct arena *arena, struct identity_plan *ret_plan, struct why *why);

enum identity_check_set {
    IDENTITY_CHECK_DOMAINS = 1, /* all but blocklists */
    IDENTITY_CHECK_SOURCES = 2, /* of a source alone: PTR, EHLO */
    IDENTITY_CHECK_LISTS = 4,   /* blocklists and allow lists, of sources and domains */
};
enum {
    IDENTITY_QUESTION_MS_MAX = 5000, /* for one answer, else could not tell */
    IDENTITY_FETCH_MS_MAX = 10000,   /* HTTPS */
    IDENTITY_RUN_MS_MAX = 30000,     /* for all; what is open then is "could not tell" */
    IDENTITY_OPEN_COUNT_MAX = 256,   /* questions under way at one time */
    IDENTITY_DOMAIN_COUNT_MAX = 10000,
};

struct dns_direct; /* edge/dns_direct.h */
struct http;       /* edge/http.h */
struct identity_run;
struct identity_run_options {
    uint32_t checks; /* enum identity_check_set */
    struct clock *clock;
    struct dns *dns;
    struct dns_direct *direct; /* NULL: single name servers are not asked, said as skip */
    struct http *http;         /* NULL: nothing is fetched, said as skip */
    struct net *net;           /* a real one; NULL: no mail server is asked, said as skip */
    bool is_probing;           /* MX hosts are asked for postmaster and abuse (RCPT, never DATA) */
    const char *offline_why;   /* why direct, http or net are NULL, for detail: "--zone is given" */
    uint16_t ns_port;          /* of name servers; 0 = 53 */
    uint16_t https_port;       /* 0 = 443 */
    bool is_internal_allowed;  /* HTTPS may go to private and loopback addresses */
    bool is_validating;        /* dns validates: answers may be secure */
    uint64_t question_ms_max, fetch_ms_max, run_ms_max; /* 0: as above */
    struct str state_path; /* what passed last, for `before`; read at begin; "" = none */
    void (*progress)(void *ctx, uint32_t done_count, uint32_t total_count); /* NULL is fine */
    void (*done)(void *ctx); /* once, from within tick or an answer; results are ready */
    void *ctx;
};

/* Starts; nothing is called back before the first tick. plan and options' handles stay the
 * caller's and must live until identity_run_free. E_NOMEM; E_SYNTAX: state_path is damaged (why).
 */
MUST_USE enum err identity_run_begin(const struct identity_plan *plan,
        const struct identity_run_options *options, struct identity_run **ret_run, struct why *why);
/* Call at once after begin and whenever the returned time has come; 0: the run is done. */
struct mono identity_run_tick(struct identity_run *run);
bool identity_run_is_done(const struct identity_run *run);
/* Results, worst grouped by domain, source, then in the order of the checks; live until free. */
uint32_t identity_run_count(const struct identity_run *run);
const struct identity_result *identity_run_result(const struct identity_run *run, uint32_t index);
/* Keeps what passed now in state_path, atomically. E_IO ... with why. */
MUST_USE enum err identity_run_save(const struct identity_run *run, struct why *why);
/* Questions that are still open at dns, direct or http keep a run's memory until they have come
 * back; handles_closed: they never will. NULL is fine. Not from within progress. */
void identity_run_free(struct identity_run *run, bool handles_closed);

/* A run from begin to end on the calling thread, with a loop and handles of its own: for the
 * command line and libraries. zone_path: answers from that master file, nothing goes out. Of
 * options dns, direct, http and is_validating are not looked at, clock may be NULL. *ret_run is the
 * caller's (identity_run_free with handles_closed). */
struct identity_outside {
    const char *zone_path;         /* NULL: the net */
    struct str servers;            /* "" = those of resolv.conf; see edge/dns.h */
    const char *anchor_path;       /* NULL: no DNSSEC */
    const char *ca_path;           /* NULL: the system's */
    const _Atomic bool *is_ending; /* NULL, or: once true, set-up asks no more questions */
};
MUST_USE enum err identity_run_alone(const struct identity_plan *plan,
        const struct identity_run_options *options, const struct identity_outside *outside,
        struct identity_run **ret_run, struct why *why);

/* The results as one JSON object: {"status", "counts": {...}, "results": [{"id", "domain", ...}]}.
 */
void identity_run_json(const struct identity_run *run, struct buf *ret_text);

/* ---- set-up ---------------------------------------------------------------------------------- */

/* Everything here blocks, with a resolver of its own: for the command line, or a thread that has
 * the time. At most IDENTITY_SETUP_MS_MAX for all questions; what is open then counts as failed. */
enum {
    IDENTITY_SETUP_MS_MAX = 30000,
    IDENTITY_SETUP_RECORD_COUNT_MAX = 2000,
    IDENTITY_SPF_RECORD_BYTES_MAX = 450, /* RFC 7208 3.4: an answer should fit into 512 octets */
    IDENTITY_TTL_S = 3600,
};

enum identity_record_state {
    IDENTITY_RECORD_MISSING,
    IDENTITY_RECORD_DIFFERS, /* another stands in its place */
    IDENTITY_RECORD_THERE,
    IDENTITY_RECORD_UNKNOWN /* DNS could not tell */
};
const char *identity_record_state_name(enum identity_record_state state);

/* One record that DNS must have. */
struct identity_record {
    struct str name; /* lower case, no final dot */
    enum dns_type type;
    uint32_t ttl_s;
    uint16_t preference; /* MX */
    struct str data;     /* host names without final dot; TXT: its strings joined; others as in a
                            master file */
    struct str zone;     /* that it belongs in */
    struct str purpose;  /* "SPF" */
    struct str note;     /* what to know of it; "" */
    enum identity_record_state state;
    bool is_optional; /* publish when the note's condition is met */
    bool is_foreign;  /* another publishes it: the address's owner, who takes reports */
    bool is_kept;     /* somebody else's of the same name and type: must stay beside ours */
};
struct identity_spf_cost {
    struct str name, term; /* whose record has the term */
    uint32_t depth;
    uint32_t lookup_count; /* with what is below it */
};
/* What an SPF record costs (RFC 7208 4.6.4). */
struct identity_spf_bill {
    struct str name;
    struct str before, after; /* the record; before: "" where there was none */
    uint32_t lookup_count_before, lookup_count;
    const struct identity_spf_cost *cost; /* of after, in order */
    uint32_t cost_count;
};
struct identity_setup {
    struct str domain, zone; /* zone: as DNS has it, else the registered domain */
    bool is_zone_found;
    struct identity_record *record;
    uint32_t record_count;
    struct identity_spf_bill bill[2]; /* the domain, and its bounce domain where it is another */
    uint32_t bill_count;
    struct str policy_url, policy; /* the MTA-STS policy to be served, CRLF lines */
    struct str notes;              /* lines: what a person does, and in what order */
};

struct identity_setup_how {
    const struct identity_plan *plan; /* its first domain; at least one source with an address */
    struct identity_outside outside;
    struct wall now;
    struct str stage; /* of DMARC: "none", "quarantine", "reject"; "" = as DNS has it, else none */
    struct str rua;   /* where DMARC reports go; "" = dmarc@ the domain */
    struct str like;  /* a domain of ours: SPF and DKIM point at its records; "" = own ones */
    struct str caa;   /* "letsencrypt.org"; "" = only as advice */
    struct str bimi;  /* URL of a logo; "" = none */
    bool is_sts;      /* MTA-STS is to be announced now */
};
/* What DNS must say of a domain, in arena. E_SYNTAX: DNS has something that cannot be built upon
 * (two SPF records, a broken one), or a name becomes longer than 253; E_TOO_BIG: SPF would need
 * more than 10 look-ups (*ret_setup is there, bill says what costs how much); E_TIMEOUT: DNS could
 * not tell; E_USAGE: no source has an address; E_NOMEM. why says what to do. */
MUST_USE enum err identity_setup_make(const struct identity_setup_how *how, struct arena *arena,
        struct identity_setup *ret_setup, struct why *why);

enum identity_format {
    IDENTITY_FORMAT_TABLE,
    IDENTITY_FORMAT_ZONE,
    IDENTITY_FORMAT_JSON,
    IDENTITY_FORMAT_NSUPDATE,
    IDENTITY_FORMAT_ROUTE53,
    IDENTITY_FORMAT_CLOUDFLARE,
    IDENTITY_FORMAT_OCTODNS,
    IDENTITY_FORMAT_DNSCONTROL,
    IDENTITY_FORMAT_COUNT
};
const char *identity_format_name(enum identity_format format); /* "terraform-route53" */
/* Appends setup as that tool takes it. Formats of one zone have the records of other zones as
 * comments. TABLE is for people. */
void identity_setup_print(
        const struct identity_setup *setup, enum identity_format format, struct buf *ret_text);
/* Sends what is not optional, and not the address owner's, as updates of its zones (RFC 2136) with
 * TSIG (RFC 8945). key_path: as BIND writes it (key "NAME" { algorithm hmac-sha256; secret "...";
 * }). E_SYNTAX: the key file; E_REFUSED: the server's words; E_TIMEOUT; E_IO. *ret_words: a line
 * for each zone, in arena. */
MUST_USE enum err identity_setup_send(const struct identity_setup *setup,
        const struct ip_port *server, const char *key_path, struct arena *arena,
        struct str *ret_words, struct why *why);

/* The files that commands write: domains.d/DOMAIN.conf and domains.d/keys/ beside config_path. */
struct identity_made {
    struct str selector[2];
    uint32_t selector_count;
    struct str path; /* DOMAIN.conf */
};
/* A new domain: keys (RSA of 2048 bits; has_ed25519: one more), bounce (may be "") and the file.
 * like: its keys are those of that domain. E_EXISTS: the configuration has the domain; E_BUSY:
 * another is at it; E_NOT_FOUND: like; E_SYNTAX: the configuration is not good without or with it;
 * E_DENIED, E_IO, E_NOMEM. Nothing is left behind then. */
struct identity_domain_new {
    const char *config_path;
    struct str name, bounce, like;
    bool has_ed25519;
    struct wall now;
};
MUST_USE enum err identity_domain_make(const struct identity_domain_new *what, struct arena *arena,
        struct identity_made *ret_made, struct why *why);

/* DKIM rotation. Its whole state is the domain's file in domains.d, which is replaced at once, so a
 * crash between two stages leaves one or the other. */
enum identity_rotate_stage {
    IDENTITY_ROTATE_IDLE,    /* the keys in use, no other */
    IDENTITY_ROTATE_PUBLISH, /* new keys wait until their records are seen everywhere */
    IDENTITY_ROTATE_RETIRE,  /* new keys sign; old ones wait for the last queued message */
};
const char *identity_rotate_stage_name(enum identity_rotate_stage stage);
struct identity_rotate_how {
    const char *config_path;
    struct str domain;               /* lower-case A-labels, as in the configuration */
    struct identity_outside outside; /* servers "": the configuration's */
    struct wall now;
    bool is_looking;   /* say only, change nothing */
    bool is_scheduled; /* begin only where the domain's `rotate` asks for it now */
};
struct identity_rotation {
    enum identity_rotate_stage stage;        /* after the call */
    bool has_moved;                          /* a file was changed: the node must reload */
    struct str old_selectors, new_selectors; /* "s2026a e2026a"; "" */
    struct str records; /* DNS records to publish (PUBLISH) or to take away (after RETIRE); lines */
    struct str waits_for; /* "ns1.example: no such name"; "" */
    struct wall next;     /* when to call again; 0: not by itself */
};
/* Moves to the next stage where that is allowed. Call again whenever; the watch does so every hour.
 * E_BUSY: another caller is at it. E_NOT_FOUND: no such domain; E_UNSUPPORTED: its section was
 * written by hand (why says what to do); E_SYNTAX, E_DENIED, E_IO, E_NOMEM. */
MUST_USE enum err identity_rotate_step(const struct identity_rotate_how *how, struct arena *arena,
        struct identity_rotation *ret_rotation, struct why *why);

/* Where a domain stands by a configuration, without asking anybody: stage, selectors, and next (of
 * IDLE: when its `rotate` asks for a new key, 0: never or not known; of RETIRE: when the last old
 * key may go). True: a scheduled step has something to do, or to say. */
MUST_USE bool identity_rotate_look(const struct config_domain *domain, struct wall now,
        struct arena *arena, struct identity_rotation *ret_rotation);

/* SPF without look-ups. */
struct identity_flatten_how {
    struct str domain;
    struct identity_outside outside;
    struct str state_path; /* where the record before flattening is kept; "" = nowhere */
    struct wall now;
};
struct identity_flat {
    struct str source; /* the record that was flattened */
    struct identity_spf_bill bill;
    struct identity_record *record;
    uint32_t record_count;
    uint32_t net_count;
    bool has_changed; /* other addresses than those kept, or those are not published yet */
};
/* E_NOT_FOUND: no SPF record; E_UNSUPPORTED: it has what cannot be flattened (why names it);
 * E_SYNTAX; E_TOO_BIG: more addresses than ten records hold; E_TIMEOUT: DNS could not tell. */
MUST_USE enum err identity_flatten(const struct identity_flatten_how *how, struct arena *arena,
        struct identity_flat *ret_flat, struct why *why);
/* Keeps source and addresses in state_path, atomically. */
MUST_USE enum err identity_flatten_save(
        const struct identity_flatten_how *how, const struct identity_flat *flat, struct why *why);
/* For the watch: do the source records lead to other addresses than those kept, or is the record
 * that was kept not published yet? E_NOT_FOUND: nothing is kept; else as identity_flatten. */
MUST_USE enum err identity_flatten_changed(
        const struct identity_flatten_how *how, bool *ret_has_changed, struct why *why);

/* ---- watching -------------------------------------------------------------------------------- */

/* How `found` of list.listed begins where the list does not work for us: never a listing. */
#define IDENTITY_LIST_UNUSABLE "the list cannot be used: "

/* What is watched beside domains and lists; sets of their own in identity_watch_take. */
enum {
    IDENTITY_CHECK_OWN = 8,
    IDENTITY_CHECK_EXPIRY = 16,
    IDENTITY_CHECK_ROTATE = 32,
    IDENTITY_CHECK_FLATTEN = 64
};
enum {
    IDENTITY_WATCH_COUNT_MAX = 200000, /* results remembered; more are not watched, said in why */
    IDENTITY_EVENT_COUNT_MAX = 500,    /* changes kept; the oldest go */
    IDENTITY_MISSING_COUNT_MAX = 3     /* runs without a result, until it is forgotten */
};

/* What each check said, what is held to be so, and what changed. A result counts only when it was
 * seen often enough in a row, so that one bad answer changes nothing; "could not tell" never ends
 * or begins a failure. Does no I/O but identity_watch_open and _save; knows no clock. */
struct identity_watch;
struct identity_watch_conf {
    uint32_t fail_count;  /* the same so often in a row, then it is a change */
    uint32_t error_count; /* scheduled runs that could not tell, in a row */
};
struct identity_change {
    struct wall at;
    bool is_first;               /* there was no result before */
    bool is_gone;                /* it is not checked any more; result.status is pass */
    enum identity_status before; /* what held until now */
    struct str found_before;
    struct identity_result result; /* what holds from now on; strings: this call only */
};
typedef void identity_changed(void *ctx, const struct identity_change *change);
struct identity_watch_run {
    uint32_t set;      /* one of enum identity_check_set, or IDENTITY_CHECK_OWN */
    struct str domain; /* this one only was asked about; "" = all */
    bool is_scheduled;
    const struct identity_result *const *result;
    uint32_t result_count;
    struct wall now;
};

/* path: state of before (identity_watch_save), "" or not there: begins anew. E_SYNTAX: damaged
 * (why); *ret_watch then begins anew as well. E_NOMEM. */
MUST_USE enum err identity_watch_open(
        struct str path, struct identity_watch **ret_watch, struct why *why);
void identity_watch_close(struct identity_watch *watch); /* NULL is fine */
/* Takes the results of a run; changed is called for each change, which is kept as an event too.
 * *ret_is_unsure: some result would be a change if seen again: ask again soon. E_NOMEM, E_FULL:
 * some results are not watched. */
MUST_USE enum err identity_watch_take(struct identity_watch *watch,
        const struct identity_watch_conf *conf, const struct identity_watch_run *run,
        identity_changed *changed, void *ctx, bool *ret_is_unsure);
/* Each result that is held to be a warning, an error or a failure. */
void identity_watch_each_problem(struct identity_watch *watch,
        void (*each)(void *ctx, const struct identity_result *result, struct wall since),
        void *ctx);
/* When the domain was asked about last; 0: never. */
struct wall identity_watch_asked_at(const struct identity_watch *watch, struct str domain);
/* Is a blocklist's listing of the source (or domain) held to be so? */
bool identity_watch_is_listed(
        const struct identity_watch *watch, struct str domain, struct str source);
enum identity_status identity_watch_worst(
        const struct identity_watch *watch, struct str domain, struct str source);

struct json_t;
/* {"domain", "checked", "status", "counts", "results": [...]} of a domain and all sources, or of a
 * source (domain ""). NULL: E_NOMEM. */
struct json_t *identity_watch_results(
        const struct identity_watch *watch, struct str domain, struct str source);
/* {"domains": [{"domain", "state", "checked", "listed"}]} of the configuration's. NULL: E_NOMEM. */
struct json_t *identity_watch_domains(
        const struct identity_watch *watch, const struct config *config);
/* "listed", "unknown", or the status' name. */
const char *identity_watch_state_name(bool is_known, bool is_listed, enum identity_status worst);
/* The last changes, newest first. */
struct json_t *identity_watch_events(const struct identity_watch *watch, uint32_t count_max);
/* Keeps all of it in path, atomically, with `more` beside it (counted by the caller; may be NULL).
 * E_IO with why; E_NOMEM. */
MUST_USE enum err identity_watch_save(const struct identity_watch *watch, struct str path,
        const char *more_name, struct json_t *more, struct why *why);
/* What was kept beside it; borrowed, NULL where there is none. */
struct json_t *identity_watch_more(const struct identity_watch *watch);

/* Is the text of a refusal about what is checked here? The sets to ask again, or 0. Patterns:
 * data/refusal_words. */
uint32_t identity_refusal_checks(struct str text);

/* Would the listener take mail for anybody from made-up addresses of the outside? The rules are
 * evaluated, nothing is connected. Strings: arena. */
void identity_relay_check(const struct config_listen *listen, struct arena *arena,
        struct identity_result *ret_result);

/* ---- alerts ---------------------------------------------------------------------------------- */

/* The problems that last, and who was told. One for all routes; each route goes its own pace. Does
 * no I/O: the caller takes a notice, sends it, and says how that went. Muted: nobody is told;
 * what lasts is told afterwards. */
enum {
    IDENTITY_PROBLEM_COUNT_MAX = 1000, /* at one time; the notice says how many are left out */
    IDENTITY_NOTICE_COUNT_MAX = 50,    /* problems in one notice, more come in the next */
    IDENTITY_REPEAT_MS_MAX = 86400000, /* the back-off of repetitions ends here */
    IDENTITY_SEND_RETRY_MS = 60000,    /* after a route failed; doubles up to ... */
    IDENTITY_SEND_RETRY_MS_MAX = 3600000
};
struct identity_alerts;
enum identity_notice_kind { IDENTITY_NOTICE_NEW, IDENTITY_NOTICE_AGAIN, IDENTITY_NOTICE_OVER };
struct identity_notice_item {
    enum identity_notice_kind kind;
    struct identity_result result; /* when it began */
    struct str key;                /* stable: tells problems apart */
    struct wall since, until;      /* until: of OVER */
};
struct identity_notice {
    const struct config_alert *route;
    struct identity_notice_item item[IDENTITY_NOTICE_COUNT_MAX];
    uint32_t count;
    uint32_t open_count;        /* problems that last, of the route's severity */
    enum identity_status worst; /* of them */
    bool is_ping;               /* nothing to tell, but that we live (healthchecks, nagios) */
    bool is_test;
    struct str hostname;
    struct wall now;
};

MUST_USE enum err identity_alerts_open(struct identity_alerts **ret_alerts);
void identity_alerts_close(struct identity_alerts *alerts); /* NULL is fine */
/* Routes as they are now; who was told by a route of that name stays told. config must outlive the
 * next call of this. */
void identity_alerts_config(struct identity_alerts *alerts, const struct config *config);
/* A problem began or lasts; it ended. E_FULL: over the maximum, counted; E_NOMEM. */
MUST_USE enum err identity_alerts_begin(struct identity_alerts *alerts,
        const struct identity_result *result, struct wall since, struct mono now);
void identity_alerts_end(struct identity_alerts *alerts, const struct identity_result *result,
        struct wall at, struct mono now);
/* How many found no room since the last call: raise what lasts again. */
uint32_t identity_alerts_left_out(struct identity_alerts *alerts);
/* Routes that want to hear that we live get a ping next. */
void identity_alerts_ping(struct identity_alerts *alerts, struct mono now);
/* A test notice is due next, also when muted. False: there is no such route. */
bool identity_alerts_test(struct identity_alerts *alerts, struct str name);
/* until {0}: not any more. Copied. */
void identity_alerts_mute(struct identity_alerts *alerts, struct wall until, struct str reason);
/* The next notice of route number `route`, if one is due; its strings live until _sent. Every
 * notice taken must be answered by _sent before the route's next one. */
uint32_t identity_alerts_route_count(const struct identity_alerts *alerts); /* numbers from 0 */
struct str identity_alerts_route_name(const struct identity_alerts *alerts, uint32_t route);
bool identity_alerts_take(struct identity_alerts *alerts, uint32_t route, struct wall wall,
        struct mono now, struct identity_notice *ret_notice);
void identity_alerts_sent(struct identity_alerts *alerts, uint32_t route, bool is_good,
        struct str why, struct mono now);
/* When to ask again; 0: when something happens. */
struct mono identity_alerts_due(
        const struct identity_alerts *alerts, struct wall wall, struct mono now);
/* For the control API, and to be kept over a restart. NULL: E_NOMEM. */
struct json_t *identity_alerts_json(const struct identity_alerts *alerts, struct wall now);
struct json_t *identity_alerts_state(const struct identity_alerts *alerts);
void identity_alerts_restore(
        struct identity_alerts *alerts, const struct json_t *state, struct mono now);

/* One line of plain text; a few lines; the body of a webhook; a Nagios command line with LF. */
void identity_notice_line(const struct identity_notice *notice, struct buf *text);
void identity_notice_text(const struct identity_notice *notice, struct buf *text);
void identity_notice_body(const struct identity_notice *notice, struct buf *text);
void identity_notice_json(const struct identity_notice *notice, struct buf *text);
void identity_notice_nagios(const struct identity_notice *notice, struct buf *text);
void identity_notice_mail(const struct identity_notice *notice, struct buf *text); /* CRLF */
/* The address of the webhook: the service's own, or with the ping's ending. */
void identity_notice_url(const struct identity_notice *notice, struct buf *text);

/* ---- checklist ------------------------------------------------------------------------------- */

enum identity_met { IDENTITY_MET, IDENTITY_NOT_MET, IDENTITY_NOT_KNOWN, IDENTITY_BY_HAND };
/* What the large receivers publish that they ask of senders (data/requirements), against what the
 * watch holds to be so and who has ticked what. */
/* {"domain", "bulk", "items": [{"item", "receiver", "bulk", "words", "page", "state", "by_hand",
 * "why", "done"}]}; state: met, not_met, not_known, to_do, done. ticks: {DOMAIN: {ITEM: {"author",
 * "at", "note"}}}. is_bulk: bulk senders' items too. */
struct json_t *identity_checklist(const struct identity_watch *watch, struct str domain,
        bool is_bulk, const struct json_t *ticks);
/* Kept in path; {} where there is none. E_SYNTAX, E_IO with why; E_NOMEM. */
MUST_USE enum err identity_checklist_read(
        struct str path, struct json_t **ret_ticks, struct why *why);
MUST_USE enum err identity_checklist_write(
        struct str path, const struct json_t *ticks, struct why *why);
/* Is there an item of that name that a person ticks? */
bool identity_checklist_has(struct str item);

/* ---- addresses ------------------------------------------------------------------------------- */

/* What is to be said of an address. Each has a stable name and a sentence that says what to do. */
enum identity_address_reason {
    IDENTITY_ADDRESS_SYNTAX,      /* bad: no address of SMTP; `fault` says why */
    IDENTITY_ADDRESS_TOO_LONG,    /* bad: over IDENTITY_ADDRESS_BYTES_MAX, not looked into */
    IDENTITY_ADDRESS_QUOTED,      /* warn */
    IDENTITY_ADDRESS_LITERAL,     /* warn */
    IDENTITY_ADDRESS_DOTLESS,     /* warn */
    IDENTITY_ADDRESS_TOP_NUMBER,  /* warn */
    IDENTITY_ADDRESS_SMTPUTF8,    /* warn: needs_smtputf8 */
    IDENTITY_ADDRESS_TYPO,        /* warn */
    IDENTITY_ADDRESS_DISPOSABLE,  /* warn */
    IDENTITY_ADDRESS_ROLE,        /* warn */
    IDENTITY_ADDRESS_NO_DOMAIN,   /* bad: domain_not_found */
    IDENTITY_ADDRESS_NULL_MX,     /* bad (RFC 7505) */
    IDENTITY_ADDRESS_NO_HOST,     /* bad: neither MX nor address */
    IDENTITY_ADDRESS_MX_NOWHERE,  /* bad: mx_no_address */
    IDENTITY_ADDRESS_MX_INTERNAL, /* bad: mx_loopback */
    IDENTITY_ADDRESS_MX_LITERAL,  /* bad: an IP address where a name must stand (RFC 1035 3.3.9) */
    IDENTITY_ADDRESS_DNS_FAILED,  /* unknown: temporary_dns_failure */
    IDENTITY_ADDRESS_BOUNCED,     /* warn: our own mail to it bounced last; `note` */
    IDENTITY_ADDRESS_SUPPRESSED,  /* bad: our own list */
    IDENTITY_ADDRESS_DELIVERED,   /* good: our own mail to it arrived */
    IDENTITY_ADDRESS_REFUSED,     /* bad: mailbox_refused, by its own host; `note` */
    IDENTITY_ADDRESS_CATCH_ALL,   /* warn: its host accepts any name */
    IDENTITY_ADDRESS_ACCEPTED,    /* good: mailbox_accepted, and another was not */
    IDENTITY_ADDRESS_UNDECIDED,   /* unknown: probe_undecided; `note` */
    IDENTITY_ADDRESS_LEFT_OUT,    /* good: probe_left_out */
    IDENTITY_ADDRESS_REASON_COUNT
};
enum identity_address_verdict {
    IDENTITY_ADDRESS_GOOD,
    IDENTITY_ADDRESS_WARN,
    IDENTITY_ADDRESS_UNKNOWN, /* DNS could not tell */
    IDENTITY_ADDRESS_BAD
};
const char *identity_address_reason_name(enum identity_address_reason reason);
const char *identity_address_reason_words(enum identity_address_reason reason);
const char *identity_address_verdict_name(enum identity_address_verdict verdict);

enum { IDENTITY_ADDRESS_BYTES_MAX = 4096, IDENTITY_ADDRESS_NOTE_CAP = 240 };

struct identity_address {
    struct str text; /* the caller's */
    bool is_smtp, is_header, is_signup;
    bool needs_smtputf8;
    uint32_t reasons;  /* bit 1 << enum identity_address_reason */
    const char *fault; /* SYNTAX: "has no @ ..."; else NULL */
    struct str domain; /* lower-case A-labels, or a literal; "" where there is none */
    struct str suggested_domain, suggestion; /* the whole address; "" = none */
    char note[IDENTITY_ADDRESS_NOTE_CAP];    /* of our history, escaped; "" */
    char mail_host[DNS_NAME_CAP];            /* the first that takes mail, where DNS was asked */
    char domain_room[DNS_NAME_CAP], suggestion_room[ADDRESS_LOCAL_BYTES_MAX + 1 + DNS_NAME_CAP];
};
enum identity_address_verdict identity_address_verdict(const struct identity_address *address);

/* The lists, ready to be looked in: immutable, for any thread. E_NOMEM. */
struct identity_addresses;
MUST_USE enum err identity_addresses_open(struct identity_addresses **ret_addresses);
void identity_addresses_close(struct identity_addresses *addresses); /* NULL is fine */

/* All that needs no DNS. ret_address views text, and itself: do not copy it. */
void identity_address_look(const struct identity_addresses *addresses, struct str text,
        struct identity_address *ret_address);

/* Whether a domain takes mail (RFC 5321 5.1), as an engine for identity_ask. At most two questions
 * for the domain and two for each of IDENTITY_ADDRESS_HOST_COUNT_MAX hosts. */
enum { IDENTITY_ADDRESS_HOST_COUNT_MAX = 5 };
struct identity_mail {
    char domain[DNS_NAME_CAP];
    char host[IDENTITY_ADDRESS_HOST_COUNT_MAX][DNS_NAME_CAP]; /* best first */
    uint32_t host_count, host_index;
    uint32_t step; /* enum of address_mail.c */
    struct ip ip;  /* of the host that takes mail */
    bool is_failing, is_internal, is_literal, is_implied;
    uint32_t reason; /* enum identity_address_reason, or REASON_COUNT: it takes mail */
};
void identity_mail_begin(struct identity_mail *mail, struct str domain); /* A-labels */
struct identity_engine identity_mail_engine(struct identity_mail *mail);
void identity_mail_give_up(struct identity_mail *mail); /* it could not be asked: nothing is said */
/* Is there anything to ask DNS about? Not for literals, nor where the syntax is bad. */
bool identity_address_wants_mail(const struct identity_address *address);
/* Adds what DNS said (the engine is done), and looks for the typo again with it. */
void identity_address_add_mail(const struct identity_addresses *addresses,
        struct identity_address *address, const struct identity_mail *mail);

/* Asks mail hosts whether they take an address: MAIL and RCPT, never DATA, in the clear, one
 * connection at a time on a loop of its own. For the command line. */
enum {
    IDENTITY_PROBE_DOMAIN_COUNT_MAX = 20, /* a minute for one domain; others are left out */
    IDENTITY_PROBE_MS_MAX = 30000         /* for one address, then undecided */
};
struct identity_probe_conf {
    struct ip source;   /* from which to connect; IP_NONE: the system chooses */
    struct ip_port via; /* ask this host instead of the MX at port 25; IP_NONE: none */
    struct str ehlo;    /* all are copied */
    struct str sender;  /* of MAIL; "" is the null reverse-path */
};
struct identity_probe;
MUST_USE enum err identity_probe_open(
        const struct identity_probe_conf *conf, struct identity_probe **ret_probe, struct why *why);
void identity_probe_close(struct identity_probe *probe); /* NULL is fine */
/* Adds one of the last five reasons. Blocks. Left out are hosts of data/probe_refusers, what DNS
 * found wanting, SMTPUTF8, and what is over the budget; answers are remembered. */
void identity_probe_ask(struct identity_probe *probe, struct identity_address *address,
        const struct identity_mail *mail);

/* Adds what became of our last mail to it, before or after add_mail. E_CORRUPT, E_IO, E_NOMEM:
 * nothing is added. */
struct history;
MUST_USE enum err identity_address_add_history(
        struct history *history, struct identity_address *address, struct why *why);

/* One JSON object without newline; a CSV row with CRLF (RFC 4180), and its heading. */
void identity_address_json(const struct identity_address *address, struct buf *text);
void identity_address_csv(const struct identity_address *address, struct buf *text);
extern const char identity_address_csv_heading[];

#endif
