/* SPDX-License-Identifier: Apache-2.0
 *
 * checklist.c - what large receivers publish that they ask of senders, item by item: met, not met,
 * not known from here, or a person's to do and to tick. The items are data/requirements.
 */
#include "core/str.h"
#include "identity/data_priv.h"
#include "identity/watch_priv.h"

#include <stdlib.h>
#include <unistd.h>

enum { CHECKLIST_PATH_CAP = 4096 };

struct item {
    struct str name, receiver, words, page, hand, unknown;
    struct str met, any; /* ids, blanks between */
    bool is_bulk;
};

/* Where the rest of a line that begins with word goes; NULL: another item begins. */
static struct str *field_of(struct item *item, struct str word)
{
    const struct {
        struct str word;
        struct str *field;
    } fields[] = { { STR("words"), &item->words }, { STR("page"), &item->page },
        { STR("met"), &item->met }, { STR("any"), &item->any }, { STR("hand"), &item->hand },
        { STR("unknown"), &item->unknown } };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        if (str_eq(word, fields[i].word)) {
            return fields[i].field;
        }
    }
    return NULL;
}

/* The next paragraph; false: the end. */
static bool item_next(struct str *rest, struct item *ret_item)
{
    struct str line, word, scope, at = *rest;
    *ret_item = (struct item){ 0 };
    while (identity_data_line(&at, &line) && identity_data_field(&line, &word)) {
        struct str *field = field_of(ret_item, word);
        if (field != NULL) {
            *field = str_trim(line);
        } else if (ret_item->name.len > 0) {
            return true; /* *rest stands before the next item */
        } else {
            bool is_whole = identity_data_field(&line, &ret_item->name) &&
                            identity_data_field(&line, &ret_item->receiver) &&
                            identity_data_field(&line, &scope);
            ASSERT(is_whole); /* our own data */
            ret_item->is_bulk = str_eq(scope, STR("bulk"));
        }
        *rest = at;
    }
    return ret_item->name.len > 0;
}

bool identity_checklist_has(struct str name)
{
    struct str rest = identity_data("requirements");
    struct item item;
    while (item_next(&rest, &item)) {
        if (str_eq(item.name, name)) {
            return item.hand.len > 0 || item.unknown.len > 0;
        }
    }
    return false;
}

/* ---- judging ---- */

/* What holds of one check for the domain, over its sources and keys: the worst. False: not asked
 * yet, or it does not apply. */
static bool worst_of(const struct identity_watch *watch, struct str domain, struct str id,
        enum identity_status *ret_status, struct str *ret_found)
{
    bool is_there = false;
    for (struct list *link = watch->seen.next; link != &watch->seen; link = link->next) {
        const struct seen *seen = CONTAINER_OF(link, struct seen, link);
        bool is_its = str_eq(seen->last.id, id) &&
                      (seen->last.domain.len == 0 || str_eq(seen->last.domain, domain));
        enum identity_status status = seen->is_held ? seen->held : seen->last.status;
        if (is_its && status != IDENTITY_SKIP && (!is_there || status > *ret_status)) {
            *ret_status = status;
            *ret_found = seen->last.found;
            is_there = true;
        }
    }
    return is_there;
}

/* A warning is said elsewhere; the receiver's requirement is met with it. */
static enum identity_met met_by(enum identity_status status)
{
    return status == IDENTITY_FAIL    ? IDENTITY_NOT_MET
           : status == IDENTITY_ERROR ? IDENTITY_NOT_KNOWN
                                      : IDENTITY_MET;
}

static enum identity_met judge_ids(const struct identity_watch *watch, struct str domain,
        struct str ids, bool is_any, struct buf *why)
{
    struct str id, found = { 0 };
    enum identity_met worst = IDENTITY_MET, best = IDENTITY_NOT_MET;
    bool has_unknown = false;
    while (identity_data_field(&ids, &id)) {
        enum identity_status status = IDENTITY_ERROR;
        bool is_known = worst_of(watch, domain, id, &status, &found);
        enum identity_met met = is_known ? met_by(status) : IDENTITY_NOT_KNOWN;
        has_unknown = has_unknown || met == IDENTITY_NOT_KNOWN;
        best = met == IDENTITY_MET ? IDENTITY_MET : best;
        worst = met == IDENTITY_NOT_MET || worst == IDENTITY_NOT_MET ? IDENTITY_NOT_MET
                : met == IDENTITY_NOT_KNOWN                          ? IDENTITY_NOT_KNOWN
                                                                     : worst;
        if (met != IDENTITY_MET) {
            buf_addf(why, "%s%.*s: ", why->len > 0 ? "; " : "", STR_ARG(id));
            buf_add(why, is_known ? found : STR("not checked yet"));
        }
    }
    if (!is_any) {
        return worst;
    }
    return best == IDENTITY_MET ? IDENTITY_MET
           : has_unknown        ? IDENTITY_NOT_KNOWN
                                : IDENTITY_NOT_MET;
}

static enum identity_met judge(const struct identity_watch *watch, struct str domain,
        const struct item *item, struct buf *why)
{
    if (item->hand.len > 0 || item->unknown.len > 0) {
        buf_add(why, item->hand.len > 0 ? item->hand : item->unknown);
        return item->hand.len > 0 ? IDENTITY_BY_HAND : IDENTITY_NOT_KNOWN;
    }
    bool is_any = item->any.len > 0;
    return judge_ids(watch, domain, is_any ? item->any : item->met, is_any, why);
}

/* ---- showing ---- */

static const char *met_name(enum identity_met met, bool is_ticked)
{
    static const char *const names[] = { "met", "not_met", "not_known", "to_do" };
    return is_ticked ? "done" : names[met];
}

static json_t *item_json(const struct identity_watch *watch, struct str domain,
        const struct item *item, const json_t *ticks)
{
    struct buf why;
    buf_init(&why, 4096);
    enum identity_met met = judge(watch, domain, item, &why);
    char name[64];
    bool is_named = str_to_c(item->name, name, sizeof name);
    json_t *of_domain = NULL, *tick = NULL;
    char domain_name[DNS_NAME_CAP];
    if (is_named && str_to_c(domain, domain_name, sizeof domain_name)) {
        of_domain = json_object_get(ticks, domain_name);
        tick = json_object_get(of_domain, name);
    }
    bool is_by_hand = item->hand.len > 0 || item->unknown.len > 0;
    bool is_ticked = is_by_hand && json_is_object(tick);
    json_t *json = json_pack("{s:o, s:o, s:b, s:o, s:o, s:s, s:b, s:o, s:o}", "item",
            watch_text(item->name), "receiver", watch_text(item->receiver), "bulk",
            (int)item->is_bulk, "words", watch_text(item->words), "page", watch_text(item->page),
            "state", met_name(met, is_ticked), "by_hand", (int)is_by_hand, "why",
            watch_text(met == IDENTITY_MET ? STR("") : buf_str(&why)), "done",
            is_ticked ? json_incref(tick) : json_null());
    buf_done(&why);
    return json;
}

struct json_t *identity_checklist(const struct identity_watch *watch, struct str domain,
        bool is_bulk, const struct json_t *ticks)
{
    struct str rest = identity_data("requirements");
    struct item item;
    json_t *items = json_array();
    while (item_next(&rest, &item)) {
        if (is_bulk || !item.is_bulk) {
            json_array_append_new(items, item_json(watch, domain, &item, ticks));
        }
    }
    return json_pack(
            "{s:o, s:b, s:o}", "domain", watch_text(domain), "bulk", (int)is_bulk, "items", items);
}

/* ---- ticks ---- */

enum err identity_checklist_read(struct str path, struct json_t **ret_ticks, struct why *why)
{
    char c_path[CHECKLIST_PATH_CAP];
    json_error_t error;
    if (!str_to_c(path, c_path, sizeof c_path) || access(c_path, F_OK) != 0) {
        *ret_ticks = json_object();
        return *ret_ticks != NULL ? OK : E_NOMEM;
    }
    json_t *ticks = json_load_file(c_path, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(ticks)) {
        why_set(why, "%s: %s; mend it or take it away", c_path,
                ticks == NULL ? error.text : "not an object of domains");
        json_decref(ticks);
        return E_SYNTAX;
    }
    *ret_ticks = ticks;
    return OK;
}

enum err identity_checklist_write(struct str path, const struct json_t *ticks, struct why *why)
{
    char *text = json_dumps(ticks, JSON_INDENT(1) | JSON_ENSURE_ASCII | JSON_SORT_KEYS);
    enum err err = text != NULL ? watch_replace_file(path, text, why) : E_NOMEM;
    free(text);
    return err;
}
