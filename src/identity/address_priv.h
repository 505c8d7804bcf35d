/* SPDX-License-Identifier: Apache-2.0
 *
 * address_priv.h - what the address checks share: sets of names, and the search for a typo.
 */
#ifndef OUTPOST_IDENTITY_ADDRESS_PRIV_H
#define OUTPOST_IDENTITY_ADDRESS_PRIV_H

#include "core/arena.h"
#include "core/map.h"
#include "identity/identity.h"

/* ---- a set of names, of text that stays ---- */

struct name_set {
    struct map by_hash;
    struct str *name;
    uint32_t count, cap;
};
void name_set_done(struct name_set *set);
MUST_USE enum err name_set_add(struct name_set *set, struct str name);
/* Every field of data/NAME. */
MUST_USE enum err name_set_add_file(struct name_set *set, const char *data_name);
bool name_set_has(const struct name_set *set, struct str name);
/* The name, or a parent of it with a dot inside. */
bool name_set_has_within(const struct name_set *set, struct str name);

/* Adds what became of our last mail to it. */
void address_take_fate(struct identity_address *address, enum identity_address_reason fate);

/* ---- typos in the domain ---- */

enum {
    TYPO_BYTES_MAX = 40, /* longer is no slip of a mailbox provider's name */
    TYPO_EDITS_MAX = 2,  /* of the whole domain, found by deletion; a slip of the top level too */
    TYPO_TARGET_MAX = 1024
};
struct typo_target {
    struct str domain, head, top; /* "yahoo.co.uk", "yahoo.co", "uk" */
    uint32_t label_len;           /* longest label of head */
    uint32_t weight;              /* 1 to 100 */
};
struct typo_index {
    struct typo_target *target;
    uint32_t target_count;
    struct map variation; /* hash of a target with up to TYPO_EDITS_MAX letters left out → index */
    struct map slip;      /* hash of a mistyped top level → where it stands in slip_text */
    struct str slip_text;
    struct name_set right; /* targets and other known names: never mended */
    uint8_t near[128][16]; /* bit c of near[k]: key c is beside k, or looks like it */
};
/* Calls each with the hash of every form of s (up to TYPO_BYTES_MAX) that has up to TYPO_EDITS_MAX
 * letters left out, some of them twice; ends at the first error. */
typedef enum err typo_form(void *ctx, uint64_t hash);
enum err typo_forms(struct str s, typo_form *each, void *ctx);

/* The lists are compiled in: what breaks them is a bug. E_NOMEM. */
MUST_USE enum err typo_index_open(struct typo_index *index);
void typo_index_close(struct typo_index *index); /* all-zero, half-built are fine */

enum typo_trust {
    TYPO_UNKNOWN, /* DNS was not asked, or could not tell */
    TYPO_ABSENT,  /* the typed domain takes no mail: a wider slip is worth a word */
    TYPO_MAILABLE /* it takes mail, as slips that are for sale do: only a narrow one is */
};
/* The domain that was meant, in dst; false: the typed one is right, or nothing is near. typed: any
 * bytes, as typed behind the '@'. */
bool typo_find(const struct typo_index *index, struct str typed, enum typo_trust trust,
        char dst[DNS_NAME_CAP], struct str *ret_meant);

#endif
