/* SPDX-License-Identifier: Apache-2.0
 *
 * outpost-check.h - what the world can check of a mail domain and a sending address, from C.
 *
 *     struct outpost_check_result *result;
 *     if (outpost_check("example.com", "192.0.2.1", NULL, &result) == OUTPOST_CHECK_SUCCESS) {
 *         printf("SPF says %s\n", result->spf.result_name);
 *         outpost_check_free(result);
 *     }
 *
 * Asks DNS for the PTR record of the address and for SPF, DKIM and DMARC of the domain, all at one
 * time, and judges what comes. A failure of DNS is OUTPOST_CHECK_UNKNOWN, never "absent".
 *
 * Installs no signal handler, prints nothing, changes no setting of the process. Checks may run in
 * several threads at a time; one check, and one result, belongs to one thread at a time.
 * Build: cc program.c $(pkg-config --cflags --libs outpost-check)
 */
#ifndef OUTPOST_CHECK_H
#define OUTPOST_CHECK_H

#ifdef __cplusplus
extern "C" {
#endif

/* Limits. */
#define OUTPOST_CHECK_SELECTOR_COUNT_MAX 64
#define OUTPOST_CHECK_TIME_LIMIT_MS_DEFAULT 20000
#define OUTPOST_CHECK_TIME_LIMIT_MS_MAX 600000
#define OUTPOST_CHECK_TEXT_BYTES_MAX 16384 /* of one string in a result; longer ones are cut */

/* What a call returns. */
enum outpost_check_error {
    OUTPOST_CHECK_SUCCESS = 0,
    OUTPOST_CHECK_E_ARGUMENT, /* a pointer is NULL that must not be, or options exclude each other
                               */
    OUTPOST_CHECK_E_DOMAIN,   /* domain is no domain name */
    OUTPOST_CHECK_E_IP,       /* ip is neither an IPv4 nor an IPv6 address */
    OUTPOST_CHECK_E_SENDER,   /* mail_from or helo: no domain name in it, or too long */
    OUTPOST_CHECK_E_SELECTOR, /* a selector is no name, or there are too many */
    OUTPOST_CHECK_E_KEY,      /* a public key is neither PEM nor the value of p= */
    OUTPOST_CHECK_E_LIMIT,    /* time_limit_ms is over OUTPOST_CHECK_TIME_LIMIT_MS_MAX */
    OUTPOST_CHECK_E_RESOLVER, /* servers: not addresses; or resolv.conf cannot be read */
    OUTPOST_CHECK_E_ZONE,     /* zone_file cannot be read, or is no master file */
    OUTPOST_CHECK_E_PENDING,  /* outpost_check_finish before the check is done */
    OUTPOST_CHECK_E_MEMORY,   /* memory refused */
    OUTPOST_CHECK_E_SYSTEM    /* no descriptor or thread left */
};
/* A sentence for a return value; static text, also for numbers that are none. */
const char *outpost_check_error_text(int error);

/* What is known of one thing. */
enum outpost_check_status {
    OUTPOST_CHECK_NOT_ASKED = 0, /* what it needs was not given */
    OUTPOST_CHECK_OK,            /* there, and in order */
    OUTPOST_CHECK_ABSENT,        /* DNS says that it is not there */
    OUTPOST_CHECK_INVALID,       /* there, but broken: error says how */
    OUTPOST_CHECK_UNKNOWN        /* could not tell: DNS failed, or time was over */
};
const char *outpost_check_status_name(enum outpost_check_status status); /* "ok", "absent", ... */

/* Strings are never NULL ("" stands for none), never hold control bytes (\x1b instead), and live
 * until outpost_check_free. present and valid are 1 only where that is known. */

struct outpost_check_ptr {
    enum outpost_check_status status; /* INVALID: no name resolves back to the address */
    int present;                      /* there is a PTR record */
    int valid;                        /* value resolves back to the address */
    const char *value;                /* the name; of several, the one that is valid */
    unsigned count;                   /* of names */
    const char *error;
};

enum outpost_check_spf_result { /* RFC 7208 2.6 */
    OUTPOST_CHECK_SPF_NONE = 0,
    OUTPOST_CHECK_SPF_NEUTRAL,
    OUTPOST_CHECK_SPF_PASS,
    OUTPOST_CHECK_SPF_FAIL,
    OUTPOST_CHECK_SPF_SOFTFAIL,
    OUTPOST_CHECK_SPF_TEMPERROR,
    OUTPOST_CHECK_SPF_PERMERROR
};
struct outpost_check_spf {
    enum outpost_check_status status; /* of the record; a result of fail is still OK here */
    int present, valid;
    const char *domain;                   /* whose record: of mail_from, else helo, else domain */
    const char *record;                   /* "v=spf1 ..."; of several, the first */
    enum outpost_check_spf_result result; /* for this address; NONE where no address was given */
    const char *result_name;              /* "pass"; "" where no address was given */
    const char *mechanism;                /* that decided: "ip4:192.0.2.0/24" */
    unsigned lookups, void_lookups; /* to come to the result (RFC 7208 4.6.4: at most 10 and 2);
                                       without an address: of this record alone */
    const char *error;
};

struct outpost_check_dkim {
    enum outpost_check_status status; /* INVALID also for a revoked key or one under 1024 bits */
    int present, valid;
    const char *selector;
    const char *name;     /* selector._domainkey.domain */
    const char *record;   /* "v=DKIM1; ..."; of several, the first */
    const char *key_type; /* "rsa", "ed25519"; "" where no key can be read */
    unsigned key_bits;
    int testing; /* t=y */
    int matches; /* the public key given: 1 the same, 0 another, -1 none was given, or not known */
    const char *error;
};

struct outpost_check_dmarc {
    enum outpost_check_status status;
    int present, valid;
    const char *domain;           /* where the record stands: domain, or one above it */
    const char *record;           /* "v=DMARC1; ..." */
    const char *policy;           /* that applies to domain: "none", "quarantine", "reject"; "" */
    const char *subdomain_policy; /* sp=, or p= */
    int spf_strict, dkim_strict;  /* aspf=s, adkim=s */
    int testing;                  /* t=y */
    unsigned percent;             /* pct= */
    const char *rua, *ruf;        /* addresses of reports, with commas between */
    int spf_aligned; /* SPF passes for a domain that is aligned: 1 yes, 0 no, -1 not known */
    const char *error;
};

struct outpost_check_result {
    const char *domain; /* lower case, A-labels */
    const char *ip;     /* canonical; "" where none was given */
    struct outpost_check_ptr ptr;
    struct outpost_check_spf spf;
    struct outpost_check_dkim default_dkim; /* of the selector "default" */
    const struct outpost_check_dkim *dkim;  /* of options.selectors, in that order */
    unsigned dkim_count;
    struct outpost_check_dmarc dmarc;
};

struct outpost_check_selector {
    const char *selector;
    const char *public_key; /* PEM ("PUBLIC KEY") or the value of p=, to be compared; NULL: none */
};

/* All-zero is fine. Read during the call only. */
struct outpost_check_options {
    const char *servers;   /* "192.0.2.53,[2001:db8::53]:5353"; NULL or "": those of resolv.conf;
                              "recursive": from the root */
    const char *zone_file; /* answers from this RFC 1035 master file instead of the net; comment
                              lines "; @timeout NAME" and "; @servfail NAME" make a name fail */
    const char *mail_from; /* an address, or a domain; "": the null sender, so that helo counts;
                              NULL: postmaster@domain */
    const char *helo;      /* NULL: domain */
    const struct outpost_check_selector *selectors;
    unsigned selector_count;
    unsigned time_limit_ms; /* for all; what is open then is UNKNOWN. 0: the default */
    char *why;              /* where a call that fails writes a sentence; NULL: nowhere */
    unsigned long why_size; /* bytes of why */
};

/* Blocks until all is known or the time is over. ip NULL: ptr and the result of SPF are left out;
 * options NULL: all-zero. On success *result is the caller's, to be freed; else it is untouched. */
int outpost_check(const char *domain, const char *ip, const struct outpost_check_options *options,
        struct outpost_check_result **result);
void outpost_check_free(struct outpost_check_result *result); /* NULL is fine */

/* One more selector of result->domain. Blocks with the resolver and time limit of the check, where
 * it is not among those already asked with that key. *dkim lives as long as result. */
int outpost_check_dkim(struct outpost_check_result *result, const char *selector,
        const char *public_key, const struct outpost_check_dkim **dkim);

/* The same without blocking, for programs with a poll loop of their own:
 *
 *     outpost_check_start(domain, ip, options, &run);
 *     while (!outpost_check_done(run)) {
 *         struct pollfd at = { outpost_check_fd(run), POLLIN, 0 };
 *         poll(&at, 1, outpost_check_timeout_ms(run));
 *         outpost_check_process(run);
 *     }
 *     outpost_check_finish(run, &result);
 */
struct outpost_check_run;
/* As outpost_check. On success *run is the caller's: end it by finish or cancel. */
int outpost_check_start(const char *domain, const char *ip,
        const struct outpost_check_options *options, struct outpost_check_run **run);
/* The same one during the whole run; wait until it is readable. -1 where run is NULL. */
int outpost_check_fd(const struct outpost_check_run *run);
/* How long to wait for it at most: 0 to 1000. */
int outpost_check_timeout_ms(const struct outpost_check_run *run);
/* Does what can be done now; call when readable, or when the time is over. Never blocks. */
int outpost_check_process(struct outpost_check_run *run);
/* 1: finish will succeed; 0: not yet. */
int outpost_check_done(const struct outpost_check_run *run);
/* Gives the result and frees the run. E_PENDING: not done yet, the run goes on. E_MEMORY: the run
 * is freed, there is no result. */
int outpost_check_finish(struct outpost_check_run *run, struct outpost_check_result **result);
void outpost_check_cancel(struct outpost_check_run *run); /* frees; NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
