/* SPDX-License-Identifier: Apache-2.0
 *
 * watch_priv.h - what the watch remembers of one check of one subject, and small helpers for JSON.
 */
#ifndef OUTPOST_IDENTITY_WATCH_PRIV_H
#define OUTPOST_IDENTITY_WATCH_PRIV_H

#include "core/list.h"
#include "core/map.h"
#include "identity/identity.h"

#include <jansson.h>

struct seen {
    struct list link;
    uint64_t hash;
    uint32_t set;                /* by which it is asked */
    struct identity_result last; /* as it was said last; its strings stand behind this struct */
    struct str held_found;       /* found, when it was last held to be so */
    enum identity_status held;
    bool is_held; /* false: never seen often enough yet */
    enum identity_status pending;
    uint64_t pending_mark;
    uint32_t pending_count, error_count, missing_count;
    uint64_t run; /* the last that had it */
    struct wall since, checked;
};

struct identity_watch {
    struct list seen; /* in the order in which they came */
    struct map by_hash;
    uint32_t count;
    uint64_t run;
    json_t *events; /* array, oldest first */
    json_t *more;
};

/* Never NULL but for memory; bytes that are no UTF-8 come escaped. */
json_t *watch_text(struct str s);
struct str watch_member(const json_t *object, const char *name); /* "" where there is none */
struct wall watch_time(const json_t *object, const char *name);
json_t *watch_time_text(struct wall at); /* null for 0 */
/* The name's status; false: none. */
bool watch_status(struct str name, enum identity_status *ret_status);
json_t *watch_result_json(const struct identity_result *result);
/* A new file takes the place of path at once; its folder is made where it is missing. */
MUST_USE enum err watch_replace_file(struct str path, const char *text, struct why *why);

/* What a state file holds. E_SYNTAX: it is none; E_FULL, E_NOMEM: a part of it was taken. */
MUST_USE enum err watch_take_state(struct identity_watch *watch, json_t *root);

struct seen *seen_find(const struct identity_watch *watch, const struct identity_result *result);
/* A copy of result with room for held_found; takes the place of old (may be NULL). NULL: E_NOMEM;
 * old stays. */
struct seen *seen_put(struct identity_watch *watch, struct seen *old,
        const struct identity_result *result, struct str held_found);
void seen_drop(struct identity_watch *watch, struct seen *seen);

#endif
