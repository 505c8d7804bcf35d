/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_make_priv.h - the records of a domain while they are gathered: setup_make.c says which,
 * setup_put.c looks what DNS has of each.
 */
#ifndef OUTPOST_IDENTITY_SETUP_MAKE_PRIV_H
#define OUTPOST_IDENTITY_SETUP_MAKE_PRIV_H

#include "identity/setup_priv.h"

enum { MAKING_SOURCE_COUNT_MAX = 1000 };

struct making {
    const struct identity_setup_how *how;
    const struct identity_plan *plan;
    const struct identity_domain *domain;
    struct arena *arena;
    struct look *look;
    struct identity_setup *setup;
    struct buf notes;
    struct ip ip[MAKING_SOURCE_COUNT_MAX];
    uint32_t ip_count;
    bool is_nomem;
    struct why *why;
};

/* A text of the arena; "" and is_nomem where there is no memory. */
#define made(m, ...) made_text(m, arena_strf((m)->arena, __VA_ARGS__))
struct str made_text(struct making *m, struct str s);
/* Once; ours rather than somebody else's. */
void making_put(struct making *m, const struct identity_record *record);
/* Fills in zone, state and TTL by what DNS has, and adds it, with what others have beside it. */
void making_add(struct making *m, struct identity_record record);

#endif
