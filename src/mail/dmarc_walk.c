/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc_walk.c - the tree walk, and the organization it finds (RFC 9989 4.10).
 */
#include "core/str.h"
#include "mail/dmarc_priv.h"

enum { LABEL_COUNT_SHORT = 7 /* step 4 */ };

static const struct dmarc_node no_record = { .name = STR_INIT("") };

const struct dmarc_node *dmarc_look(struct dmarc *dmarc, struct str name)
{
    for (size_t i = 0; i < dmarc->node_count; i++) {
        if (str_eq(dmarc->node[i].name, name)) {
            return &dmarc->node[i];
        }
    }
    if (name.len + sizeof "_dmarc." - 1 > DOMAIN_BYTES_MAX ||
            dmarc->node_count == DMARC_NODE_COUNT_MAX) {
        return &no_record; /* a name too long to be asked for cannot be there */
    }
    dmarc->asked = name;
    dmarc->question.type = LOOKUP_TXT;
    dmarc->question.name = str_of(dmarc->question_text,
            fmt(dmarc->question_text, sizeof dmarc->question_text, "_dmarc.%.*s", STR_ARG(name)));
    return NULL;
}

static size_t label_count(struct str name)
{
    size_t count = 1;
    for (size_t i = 0; i < name.len; i++) {
        count += name.ptr[i] == '.';
    }
    return count;
}

static struct str parent_of(struct str name)
{
    return str_from(name, str_index(name, '.') + 1);
}

enum dmarc_state dmarc_walk_up(struct dmarc *dmarc, struct str start, struct dmarc_walk *ret_walk)
{
    struct str target = start;
    *ret_walk = (struct dmarc_walk){ .start = start };
    for (size_t i = 0; i < DMARC_QUERY_COUNT_MAX && target.len > 0; i++) {
        const struct dmarc_node *node = dmarc_look(dmarc, target);
        if (!node || node->is_tempfail) {
            return node ? DMARC_STATE_TEMPFAIL : DMARC_STATE_PENDING;
        }
        if (node->text.len > 0) {
            ret_walk->found[ret_walk->found_count++] = node;
            if (node->psd != DMARC_PSD_UNKNOWN) {
                break;
            }
        }
        target = parent_of(target);
        while (i == 0 && label_count(target) > LABEL_COUNT_SHORT) { /* step 4 */
            target = parent_of(target);
        }
    }
    return DMARC_STATE_DONE;
}

/* RFC 9989 4.10.2 */
struct str dmarc_walk_organization(const struct dmarc_walk *walk)
{
    if (walk->found_count == 0) {
        return walk->start;
    }
    /* The walk ends at the first psd=y or psd=n, so only the last can have one. */
    const struct dmarc_node *last = walk->found[walk->found_count - 1];
    if (last->psd != DMARC_PSD_YES) {
        return last->name;
    }
    /* One label below it; where the walk began at it, that name itself. */
    struct str below = walk->start;
    while (label_count(below) > label_count(last->name) + 1) {
        below = parent_of(below);
    }
    return below;
}

const struct dmarc_node *dmarc_walk_find(const struct dmarc_walk *walk, struct str name)
{
    for (size_t i = 0; i < walk->found_count; i++) {
        if (str_eq(walk->found[i]->name, name)) {
            return walk->found[i];
        }
    }
    return NULL;
}
