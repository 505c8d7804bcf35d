/* SPDX-License-Identifier: Apache-2.0
 *
 * check_priv.h - one check from within: what the caller wants (options.c), what is asked (asks.c),
 * what the answers mean (judge.c), and the run that holds all (check.c).
 */
#ifndef OUTPOST_CHECK_CHECK_PRIV_H
#define OUTPOST_CHECK_CHECK_PRIV_H

#include "check/outpost-check.h"
#include "core/arena.h"
#include "core/list.h"
#include "identity/identity.h"
#include "mail/dmarc.h"
#include "mail/spf.h"

enum {
    CHECK_ARENA_BYTES_MAX = 16 << 20, /* 64 selectors with records of 64 KiB, and their escapes */
    CHECK_PTR_COUNT_MAX = 10,         /* names of one address looked at, as in SPF */
    CHECK_KEY_BYTES_MAX = 2048,       /* of a public key given: RSA of 4096 bits has 550 */
    CHECK_PEM_BYTES_MAX = 8192,
    CHECK_HELO_BYTES_MAX = 255,
    CHECK_SERVERS_BYTES_MAX = 1024,
    CHECK_PATH_BYTES_MAX = 4096
};

/* ---- asks.c: engines (mail/lookup.h) ---- */

/* One TXT question. All but the first record that is wanted are only counted. */
struct text_ask {
    char name[LOOKUP_NAME_CAP];
    bool (*is_wanted)(struct str text); /* NULL: each */
    struct arena *arena;
    bool is_done, is_nomem;
    enum lookup_status status;
    struct str first;
    uint32_t count;
};
/* False: the name becomes too long to be asked for; it then counts as not there. */
bool text_ask_init(struct text_ask *ask, struct arena *arena, struct str prefix, struct str domain);
struct identity_engine text_ask_engine(struct text_ask *ask);

/* The names of an address, and back again. */
struct ptr_ask {
    struct ip ip;
    char reverse[LOOKUP_NAME_CAP];
    char name[CHECK_PTR_COUNT_MAX][LOOKUP_NAME_CAP];
    uint32_t count;   /* in name */
    uint32_t index;   /* under question; count: none more */
    uint32_t all;     /* that DNS has */
    bool has_names;   /* the first question is answered */
    bool is_valid;    /* name[index] leads back */
    bool has_failing; /* some name could not be asked about */
    enum lookup_status status;
};
MUST_USE enum err ptr_ask_init(struct ptr_ask *ask, struct ip ip);
struct identity_engine ptr_ask_engine(struct ptr_ask *ask);

/* ---- options.c: what the caller said, read and refused ---- */

struct key_wish {
    struct str selector;
    struct str text; /* of the public key as given; ptr NULL: none */
    struct str der;  /* as key_to_public has it */
};
struct wishes {
    char domain_text[DOMAIN_CAP], spf_domain_text[DOMAIN_CAP];
    struct str domain, spf_domain; /* A-labels; views of these */
    struct ip ip;                  /* IP_NONE: none */
    struct str mail_from, helo;
    const char *servers, *zone_file; /* "" and NULL where not given */
    struct key_wish *key;            /* the first is that of default_dkim */
    uint32_t key_count;
    uint64_t time_limit_ms;
};
/* All in arena. Returns enum outpost_check_error; why says more. */
int wishes_read(const char *domain, const char *ip, const struct outpost_check_options *options,
        struct arena *arena, struct wishes *ret_wishes, struct why *why);
int key_wish_read(const char *selector, const char *public_key, struct arena *arena,
        struct key_wish *ret_wish, struct why *why);
/* Copies why to where the options want it. Returns error. */
int refuse_call(const struct outpost_check_options *options, int error, const struct why *why);

/* ---- what a result is within ---- */

struct extra_dkim {
    struct list link;
    struct key_wish wish;
    struct outpost_check_dkim dkim;
};
struct holder {
    struct outpost_check_result result; /* that the caller sees */
    struct outpost_check_dkim *dkim;    /* room for result.dkim */
    struct wishes wishes;
    struct arena arena;
    struct list extras;
    bool is_nomem; /* then there is no result */
};

/* ---- judge.c: what the answers mean ---- */

const char *judge_text(struct holder *holder, struct str text); /* escaped, NUL-terminated */
void judge_ptr(struct holder *holder, const struct ptr_ask *ask);
/* spf NULL: no address was given. */
void judge_spf(struct holder *holder, const struct text_ask *record, const struct spf *spf);
void judge_dkim(struct holder *holder, const struct text_ask *record, const struct key_wish *wish,
        struct outpost_check_dkim *ret_dkim);
/* aligned NULL: SPF did not pass, or could not be asked about. */
void judge_dmarc(struct holder *holder, const struct dmarc *record, const struct dmarc *aligned);

#endif
