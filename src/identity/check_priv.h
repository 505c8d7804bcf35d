/* SPDX-License-Identifier: Apache-2.0
 *
 * check_priv.h - how checks are written: straight functions over answers that may not be there yet.
 *
 * A check asks (check_ask ...) and gets an answer, or NULL where it is still on its way: then it
 * returns, and is called again from its beginning when that answer has come. What it said in
 * between is forgotten. Questions are asked once a run, whoever needs them.
 */
#ifndef OUTPOST_IDENTITY_CHECK_PRIV_H
#define OUTPOST_IDENTITY_CHECK_PRIV_H

#include "core/arena.h"
#include "core/list.h"
#include "core/map.h"
#include "identity/identity.h"
#include "identity/smtp_ask_priv.h"

enum {
    CHECK_TEXT_BYTES_MAX = 2048,       /* of found, expected, detail; longer ones are cut */
    CHECK_RESULT_COUNT_MAX = 200,      /* of one check */
    CHECK_RUN_BYTES_MAX = 256 << 20,   /* answers and results of a run */
    CHECK_SCRATCH_BYTES_MAX = 4 << 20, /* of one check */
};

enum fact_kind { FACT_DNS, FACT_DIRECT, FACT_PAGE, FACT_SMTP };

/* What became of one question. */
struct fact {
    enum fact_kind kind;
    bool is_answered;
    struct str name;   /* DNS name, host of the URL, or of the mail server */
    struct str path;   /* FACT_PAGE; FACT_SMTP: the mailbox */
    uint16_t type;     /* enum dns_type; FACT_SMTP: enum smtp_want */
    struct ip_port at; /* all but FACT_DNS */
    /* the answer */
    enum dns_status status; /* of DNS; of pages DNS_FOUND where there is an HTTP status */
    bool is_secure;
    uint32_t ttl_s;
    const struct dns_record *record;
    uint32_t record_count;
    struct str why;
    enum err err; /* FACT_PAGE, FACT_SMTP */
    uint16_t http_status;
    struct str body, content_type; /* body: also the digest of a certificate */
    bool is_taken;                 /* FACT_SMTP: RCPT was accepted */
    /* the run's */
    struct list link;     /* queue, or open by age */
    struct list checks;   /* that wait for it */
    struct wait *wait;    /* what dns, direct or http will call; NULL: nothing is open */
    struct mono deadline; /* FACT_DNS, FACT_SMTP */
};

struct check_row;
/* One check of one subject. */
struct check {
    struct list link; /* in fact.checks; or the run's fresh ones */
    const struct check_row *row;
    const struct identity_domain *domain; /* NULL where not of a domain */
    const struct identity_source *source;
    uint32_t index; /* the row's own: a key, a service, a list */
    bool is_done;
    struct identity_result *result; /* when done */
    uint32_t result_count;
};

enum check_scope {
    CHECK_OF_RUN,
    CHECK_OF_SOURCE,
    CHECK_OF_DOMAIN,
    CHECK_OF_PAIR, /* domain × source */
};
/* The call of one check under way. */
struct checking {
    struct identity_run *run;
    const struct identity_plan *plan;
    const struct identity_run_options *options;
    struct check *check;
    const struct identity_domain *domain;
    const struct identity_source *source;
    struct wall now;
    struct arena *scratch; /* until the call returns */
    struct fact *waits_for;
    struct identity_result *result; /* CHECK_RESULT_COUNT_MAX */
    uint32_t result_count;
    bool is_nomem;
};
struct check_row {
    enum check_scope scope;
    uint32_t set;                                   /* enum identity_check_set */
    uint32_t (*count)(const struct identity_plan *, /* how many of each subject; NULL: one */
            const struct identity_domain *, const struct identity_source *);
    void (*run)(struct checking *c);
};
extern const struct check_row check_rows[];
extern const uint32_t check_row_count;

/* ---- asking; NULL: not yet there, return ---- */

const struct fact *check_ask(struct checking *c, struct str name, enum dns_type type);
/* At one name server. */
const struct fact *check_ask_at(
        struct checking *c, struct ip server, struct str name, enum dns_type type);
/* https://host/path; the addresses of host are asked for first. */
const struct fact *check_fetch(struct checking *c, struct str host, struct str path);
/* What the mail server at that address does: shows as its certificate, says to RCPT of mailbox.
 * host: its name. options->net is there. */
const struct fact *check_smtp(struct checking *c, enum smtp_want want, struct ip_port at,
        struct str host, struct str mailbox);
/* The same at port 25 of host, whose addresses are asked for first. */
const struct fact *check_mailbox(struct checking *c, struct str host, struct str mailbox);
/* Asks without waiting for the answer: for questions that can be under way together. */
void check_expect(struct checking *c, struct str name, enum dns_type type);

bool fact_is_found(const struct fact *fact);
bool fact_is_absent(const struct fact *fact);  /* NODATA or NXDOMAIN: surely not there */
bool fact_is_unknown(const struct fact *fact); /* could not tell */
/* "SERVFAIL: the server says REFUSED", "no such name". */
struct str fact_words(struct checking *c, const struct fact *fact);
bool fact_has_ip(const struct fact *fact, struct ip ip);
/* As an engine takes it; views into scratch and fact. */
struct lookup_answer fact_lookup(struct checking *c, const struct fact *fact);

/* ---- saying ---- */

/* A result with its title. All-zero texts are "". Never NULL. */
struct identity_result *check_say(
        struct checking *c, const char *id, struct str part, enum identity_status status);
/* The same for an answer that is not known: IDENTITY_ERROR with its words. */
struct identity_result *check_unknown(
        struct checking *c, const char *id, struct str part, const struct fact *fact);
struct identity_result *check_skip(
        struct checking *c, const char *id, struct str part, const char *why);
/* Texts with peers' words in them: escaped, and cut at CHECK_TEXT_BYTES_MAX. */
struct str check_text(struct checking *c, const char *format, ...) PRINTF_LIKE(2, 3);
/* Texts of ours, kept as they are. */
struct str check_plain(struct checking *c, const char *format, ...) PRINTF_LIKE(2, 3);
/* All records of an answer in one line, as a person would write them. */
struct str check_records(struct checking *c, const struct fact *fact);

/* "name. IN TXT \"...\"\n", strings of at most 255 octets. */
struct str mend_txt(struct checking *c, struct str name, struct str text);
struct str mend_address(struct checking *c, struct str name, struct ip ip);
struct str mend_ptr(struct checking *c, struct ip ip, struct str name);
/* "10.2.0.192.in-addr.arpa", without the suffix where zone is given: "10.2.0.192.zone". */
struct str reverse_name(struct checking *c, struct ip ip, struct str zone);

struct str check_title(const char *id); /* in words; the id is one of the table's */

/* ---- shared by checks ---- */

/* The domain of MAIL FROM. */
static inline struct str check_bounce(const struct identity_domain *domain)
{
    return domain->bounce.len > 0 ? domain->bounce : domain->name;
}
/* Evaluates SPF; false: an answer is awaited. *ret_spf is in scratch's care until done: call
 * spf_free. */
struct spf;
bool check_spf(struct checking *c, struct ip ip, struct str mail_from, struct str helo,
        struct spf **ret_spf);
/* The SPF record of name that lets all our sources pass, made from those in txt (NULL: none)
 * without what verdict (NULL: not known) is a permerror for; or the command that mends it. */
struct spf_verdict;
struct str check_spf_mend(struct checking *c, struct str name, const struct fact *txt,
        const struct spf_verdict *verdict);
struct str check_dkim_mend(struct checking *c, const struct config_dkim_key *own);
/* The first that signs; NULL: none. */
const struct config_dkim_key *check_signing_key(const struct identity_domain *domain);
/* Is the one record of txt the public half of own? */
bool check_dkim_matches(const struct fact *txt, const struct config_dkim_key *own);
/* The zone that name is in, found by its SOA record; false: awaited. *ret_fact is the last answer
 * (found, absent up to the registered domain, or unknown). */
bool check_zone_of(struct checking *c, struct str name, const struct fact **ret_fact);
/* The only TXT record that begins with prefix: *ret_text; count of them returned. */
uint32_t fact_txt(const struct fact *fact, struct str prefix, struct str *ret_text);
/* tag=value; pairs: the value, trimmed; false: not there. */
bool tag_value(struct str record, struct str tag, struct str *ret_value);

/* ---- checks, by file ---- */
void check_ptr(struct checking *c);
void check_ehlo(struct checking *c);
void check_spf_record(struct checking *c);
void check_spf_pass(struct checking *c);
void check_spf_helo(struct checking *c);
void check_dkim_key(struct checking *c);
void check_dkim_any(struct checking *c);
uint32_t check_dkim_key_count(const struct identity_plan *plan,
        const struct identity_domain *domain, const struct identity_source *source);
uint32_t check_any_count(const struct identity_plan *plan, const struct identity_domain *domain,
        const struct identity_source *source);
void check_dmarc_record(struct checking *c);
void check_dmarc_align(struct checking *c);
void check_mx(struct checking *c);
void check_roles(struct checking *c);
void check_bounce_mx(struct checking *c);
void check_sts(struct checking *c);
void check_tlsrpt(struct checking *c);
void check_tlsa(struct checking *c);
void check_cert(struct checking *c);
void check_soa(struct checking *c);
void check_ns(struct checking *c);
void check_dnssec(struct checking *c);
void check_caa(struct checking *c);
void check_ttl(struct checking *c);
void check_bimi(struct checking *c);
void check_service(struct checking *c);
uint32_t check_service_count(const struct identity_plan *plan, const struct identity_domain *domain,
        const struct identity_source *source);
void check_list_of_source(struct checking *c);
void check_list_of_domain(struct checking *c);
uint32_t check_list_count(const struct identity_plan *plan, const struct identity_domain *domain,
        const struct identity_source *source);

/* ---- what passed last (check_state.c) ---- */
struct check_state {
    struct map by_hash; /* hash of id, domain, source, part → struct check_was */
    struct arena arena;
};
MUST_USE enum err check_state_read(struct check_state *state, struct str path, struct why *why);
/* "" where it is not known. */
struct str check_state_found(const struct check_state *state, const struct identity_result *result);
void check_state_done(struct check_state *state);

struct identity_run {
    const struct identity_plan *plan;
    struct identity_run_options options;
    struct arena arena, scratch;
    struct check *check;
    uint32_t check_count, done_count;
    struct map facts;
    /* of facts: to be asked, asked of dns (by age), asked of others (which keep the time) */
    struct list queue, open, open_other;
    struct list waits;
    uint32_t open_count, wait_count;
    struct list fresh; /* checks never run */
    struct mono deadline;
    bool is_over; /* the run's time: no more questions */
    bool is_done;
    bool is_busy;      /* within a check */
    bool is_sending;   /* within run_send */
    bool is_abandoned; /* freed when the last answer is back */
    bool is_nomem;
    struct identity_result **result; /* when done */
    struct identity_result *last;    /* its only member where there is no memory for more */
    uint32_t result_count;
    struct identity_result draft[CHECK_RESULT_COUNT_MAX];
    struct identity_result lost; /* said where memory ran out */
    struct check_state state;
};
void run_checks(struct identity_run *run, struct list *checks); /* calls all, and ends the run */
/* check_ask.c: */
void run_send(struct identity_run *run);                        /* queued questions, as room is */
void run_expire(struct identity_run *run, struct mono now);     /* questions over time */
void run_expire_all(struct identity_run *run);                  /* and no more new ones */
struct mono run_next_deadline(const struct identity_run *run);  /* 0: none */
void run_forget(struct identity_run *run, bool handles_closed); /* no answer is wanted any more */
void run_abandoned(struct identity_run *run);                   /* an answer came too late */

#endif
