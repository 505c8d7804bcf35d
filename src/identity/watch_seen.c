/* SPDX-License-Identifier: Apache-2.0
 *
 * watch_seen.c - the watch's memory: one piece for each check of each subject, found by its key.
 */
#include "core/str.h"
#include "identity/watch_priv.h"

static uint64_t key_hash(const struct identity_result *result)
{
    return str_hash(result->part,
            str_hash(result->source, str_hash(result->domain, str_hash(result->id, 0))));
}

static bool is_same(const struct identity_result *a, const struct identity_result *b)
{
    return str_eq(a->id, b->id) && str_eq(a->domain, b->domain) && str_eq(a->source, b->source) &&
           str_eq(a->part, b->part);
}

struct seen *seen_find(const struct identity_watch *watch, const struct identity_result *result)
{
    uint64_t value;
    for (uint32_t at = 0; map_walk_key(&watch->by_hash, key_hash(result), &at, &value);) {
        struct seen *seen = (struct seen *)(uintptr_t)value;
        if (is_same(&seen->last, result)) {
            return seen;
        }
    }
    return NULL;
}

/* Copies s behind the struct. */
static struct str put_text(char **at, struct str s)
{
    struct str copy = { *at, s.len };
    if (s.len > 0) {
        memcpy(*at, s.ptr, s.len);
    }
    *at += s.len;
    return copy;
}

static void put_texts(struct seen *seen, const struct identity_result *result, struct str found)
{
    char *at = (char *)(seen + 1);
    seen->last = *result;
    seen->last.id = put_text(&at, result->id);
    seen->last.domain = put_text(&at, result->domain);
    seen->last.source = put_text(&at, result->source);
    seen->last.part = put_text(&at, result->part);
    seen->last.title = put_text(&at, result->title);
    seen->last.found = put_text(&at, result->found);
    seen->last.expected = put_text(&at, result->expected);
    seen->last.mend = put_text(&at, result->mend);
    seen->last.detail = put_text(&at, result->detail);
    seen->last.before = put_text(&at, result->before);
    seen->held_found = put_text(&at, found);
}

static size_t text_bytes(const struct identity_result *result)
{
    return result->id.len + result->domain.len + result->source.len + result->part.len +
           result->title.len + result->found.len + result->expected.len + result->mend.len +
           result->detail.len + result->before.len;
}

struct seen *seen_put(struct identity_watch *watch, struct seen *old,
        const struct identity_result *result, struct str held_found)
{
    struct seen *seen = mem_new(sizeof *seen + text_bytes(result) + held_found.len);
    if (seen == NULL) {
        return NULL;
    }
    if (old != NULL) {
        *seen = *old;
    }
    put_texts(seen, result, held_found); /* the strings may be old's */
    seen->hash = key_hash(&seen->last);
    if (map_add(&watch->by_hash, seen->hash, (uint64_t)(uintptr_t)seen) != OK) {
        mem_free(seen);
        return NULL;
    }
    watch->count++;
    if (old != NULL) { /* in its place */
        list_add_last(&old->link, &seen->link);
        seen_drop(watch, old);
    } else {
        list_add_last(&watch->seen, &seen->link);
    }
    return seen;
}

void seen_drop(struct identity_watch *watch, struct seen *seen)
{
    map_del_value(&watch->by_hash, seen->hash, (uint64_t)(uintptr_t)seen);
    list_del(&seen->link);
    watch->count--;
    mem_free(seen);
}
