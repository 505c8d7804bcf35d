/* SPDX-License-Identifier: Apache-2.0
 *
 * asks.c - two small engines: a TXT record, and the names of an address with the way back. SPF and
 * DMARC bring their own (mail/spf.h, mail/dmarc.h).
 */
#include "check/check_priv.h"
#include "core/str.h"

/* ---- TXT ---- */

static bool text_question(void *engine, struct lookup_question *ret_question)
{
    struct text_ask *ask = engine;
    *ret_question = (struct lookup_question){ str_from_c(ask->name), LOOKUP_TXT };
    return !ask->is_done;
}

static void text_answer(void *engine, const struct lookup_answer *answer)
{
    struct text_ask *ask = engine;
    ask->is_done = true;
    ask->status = answer->status;
    for (uint32_t i = 0; answer->status == LOOKUP_FOUND && i < answer->record_count; i++) {
        struct str text = answer->record[i].data;
        if (ask->is_wanted != NULL && !ask->is_wanted(text)) {
            continue;
        }
        if (ask->count++ == 0) {
            ask->first = arena_str(ask->arena, text);
            ask->is_nomem = ask->first.ptr == NULL && text.len > 0;
        }
    }
}

bool text_ask_init(struct text_ask *ask, struct arena *arena, struct str prefix, struct str domain)
{
    ask->arena = arena;
    ask->is_done = prefix.len + domain.len > DOMAIN_BYTES_MAX;
    ask->status = LOOKUP_NXDOMAIN;
    fmt(ask->name, sizeof ask->name, "%.*s%.*s", STR_ARG(prefix), STR_ARG(domain));
    return !ask->is_done;
}

struct identity_engine text_ask_engine(struct text_ask *ask)
{
    return (struct identity_engine){ ask, text_question, text_answer };
}

/* ---- PTR ---- */

static bool ptr_question(void *engine, struct lookup_question *ret_question)
{
    struct ptr_ask *ask = engine;
    if (!ask->has_names) {
        *ret_question = (struct lookup_question){ str_from_c(ask->reverse), LOOKUP_PTR };
        return true;
    }
    if (ask->is_valid || ask->index >= ask->count) {
        return false;
    }
    *ret_question = (struct lookup_question){ str_from_c(ask->name[ask->index]),
        ask->ip.family == IP_V4 ? LOOKUP_A : LOOKUP_AAAA };
    return true;
}

static void take_names(struct ptr_ask *ask, const struct lookup_answer *answer)
{
    ask->has_names = true;
    ask->status = answer->status;
    for (uint32_t i = 0; answer->status == LOOKUP_FOUND && i < answer->record_count; i++) {
        ask->all++;
        if (ask->count < CHECK_PTR_COUNT_MAX &&
                str_to_c(answer->record[i].data, ask->name[ask->count], LOOKUP_NAME_CAP)) {
            ask->count++;
        }
    }
}

static void ptr_answer(void *engine, const struct lookup_answer *answer)
{
    struct ptr_ask *ask = engine;
    if (!ask->has_names) {
        take_names(ask, answer);
        return;
    }
    ask->has_failing |= answer->status == LOOKUP_TEMPFAIL;
    for (uint32_t i = 0; answer->status == LOOKUP_FOUND && i < answer->record_count; i++) {
        ask->is_valid |= ip_eq(answer->record[i].ip, ask->ip);
    }
    ask->index += ask->is_valid ? 0 : 1;
}

enum err ptr_ask_init(struct ptr_ask *ask, struct ip ip)
{
    struct buf name;
    buf_init(&name, LOOKUP_NAME_CAP);
    enum err err = spf_reverse_name(ip, &name);
    if (err == OK) {
        ask->ip = ip;
        (void)str_to_c(buf_str(&name), ask->reverse, sizeof ask->reverse);
    }
    buf_done(&name);
    return err;
}

struct identity_engine ptr_ask_engine(struct ptr_ask *ask)
{
    return (struct identity_engine){ ask, ptr_question, ptr_answer };
}
