/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_term.c - terms of a record, one after the other: what each asks, and how records, includes
 * and the whole check end (RFC 7208 4.6 to 6). Answers come in through spf_answer.c.
 */
#include "core/str.h"
#include "mail/domain.h"
#include "mail/spf_check_priv.h"

struct spf_frame *spf_frame(struct spf *spf)
{
    return &spf->frame[spf->depth];
}

const struct spf_term *spf_term_at(struct spf *spf)
{
    return &spf_frame(spf)->record.term[spf_frame(spf)->at];
}

/* ---- the story ---- */

void spf_add_step(struct spf *spf, enum spf_step_kind kind, bool is_matched, struct str text,
        struct str detail)
{
    if (!spf->is_traced || spf->verdict.step_count == SPF_STEP_COUNT_MAX) {
        spf->verdict.is_cut = spf->is_traced;
        return;
    }
    spf->step[spf->verdict.step_count++] = (struct spf_step){ .kind = kind,
        .depth = spf->depth,
        .is_matched = is_matched,
        .domain = spf_frame(spf)->domain,
        .text = arena_str(&spf->arena, text),
        .detail = arena_str(&spf->arena, detail) };
}

static void add_term_step(struct spf *spf, bool is_matched, const char *detail)
{
    if (spf->is_traced) {
        spf_add_step(spf, SPF_STEP_TERM, is_matched, spf_term_at(spf)->text, str_from_c(detail));
    }
}

/* ---- ends ---- */

static void finish(struct spf *spf, enum spf_result result)
{
    spf->verdict.result = result;
    spf->verdict.decided_by = spf->frame[0].domain;
    spf->want = WANT_NOTHING;
    spf->is_done = true;
}

/* Errors end everything, however deep (RFC 7208 2.6.6, 2.6.7, 5.2). spf->why says what it is. */
void spf_fail(struct spf *spf, enum spf_result result)
{
    struct spf_frame *first = &spf->frame[0], *frame = spf_frame(spf);
    spf->verdict.problem = str_from_c(spf->why.text);
    if (first->is_read && first->at < first->record.term_count) {
        spf->verdict.mechanism = first->record.term[first->at].text;
    }
    if (frame->is_read && frame->at < frame->record.term_count) {
        add_term_step(spf, false, spf->why.text);
        if (spf->verdict.step_count > 0) {
            spf->step[spf->verdict.step_count - 1].is_error = true;
        }
    }
    spf_add_step(
            spf, SPF_STEP_RESULT, false, str_from_c(spf_result_name(result)), spf->verdict.problem);
    finish(spf, result);
}

void spf_fail_memory(struct spf *spf)
{
    if (spf->is_explaining) {
        spf->is_done = true; /* the result stands, without words */
        return;
    }
    why_set(&spf->why, "out of memory");
    spf_fail(spf, SPF_TEMPERROR);
}

static bool count_lookup(struct spf *spf)
{
    if (spf->is_explaining) {
        return true; /* comes after the result (RFC 7208 4.6.4) */
    }
    spf->verdict.lookup_count++;
    if (spf->verdict.lookup_count > SPF_LOOKUP_COUNT_MAX) {
        why_set(&spf->why, "more than %d terms that ask DNS (RFC 7208 4.6.4)",
                SPF_LOOKUP_COUNT_MAX);
        spf_fail(spf, SPF_PERMERROR);
    }
    return !spf->is_done;
}

/* Each question with an empty answer counts, also those for the hosts of an mx. */
bool spf_count_void(struct spf *spf)
{
    if (spf->is_explaining) {
        return true;
    }
    spf->verdict.void_count++;
    if (spf->verdict.void_count > SPF_VOID_COUNT_MAX) {
        why_set(&spf->why, "more than %d questions with an empty answer (RFC 7208 4.6.4)",
                SPF_VOID_COUNT_MAX);
        spf_fail(spf, SPF_PERMERROR);
    }
    return !spf->is_done;
}

/* A record has come to its result; term NULL: by default (RFC 7208 4.7). */
static void record_result(struct spf *spf, enum spf_result result, const struct spf_term *term)
{
    struct spf_frame *frame = spf_frame(spf);
    struct str by = term ? term->text : STR("default");
    spf_add_step(spf, SPF_STEP_RESULT, true, str_from_c(spf_result_name(result)), by);
    if (spf->depth == 0) {
        spf->verdict.mechanism = by;
        finish(spf, result);
        if (result == SPF_FAIL && frame->record.exp != NULL) { /* RFC 7208 6.2 */
            spf->is_done = false;
            spf->is_explaining = true;
        }
        return;
    }
    spf->depth--; /* the table of RFC 7208 5.2 */
    spf_term_end(spf, result == SPF_PASS,
            result == SPF_PASS ? "it passes there" : "it does not pass there");
}

static enum spf_result result_of(char qualifier)
{
    return qualifier == '-'   ? SPF_FAIL
           : qualifier == '~' ? SPF_SOFTFAIL
           : qualifier == '?' ? SPF_NEUTRAL
                              : SPF_PASS;
}

void spf_term_end(struct spf *spf, bool is_matched, const char *detail)
{
    const struct spf_term *term = spf_term_at(spf);
    add_term_step(spf, is_matched, detail);
    if (is_matched) {
        record_result(spf, result_of(term->qualifier), term);
    } else {
        spf_frame(spf)->at++;
        spf_frame(spf)->is_counted = false;
    }
}

/* ---- names ---- */

/* RFC 7208 4.3, 4.8: labels of 1 to 63; RFC 8616 4: 8-bit never names anything. */
bool spf_is_askable(struct str name)
{
    struct str label, rest = name;
    if (name.len == 0 || name.len > DOMAIN_BYTES_MAX || name.ptr[name.len - 1] == '.') {
        return false;
    }
    while (str_cut(&rest, '.', &label)) {
        if (label.len == 0 || label.len > DOMAIN_LABEL_BYTES_MAX) {
            return false;
        }
    }
    return str_is_ascii(name) && str_index(name, '\0') == name.len;
}

/* What an expansion names: labels on the left go until 253 bytes are left (RFC 7208 7.3). */
static struct str as_name(struct str text)
{
    if (text.len > 0 && text.ptr[text.len - 1] == '.') {
        text.len--;
    }
    while (text.len > DOMAIN_BYTES_MAX) {
        text = str_from(text, str_index(text, '.') + 1);
    }
    return text;
}

void spf_ask(struct spf *spf, enum spf_want want, enum lookup_type type, struct str name)
{
    memmove(spf->name, name.ptr, name.len); /* at most DOMAIN_BYTES_MAX: is_askable */
    spf->asked = str_of(spf->name, name.len);
    spf->want = want;
    spf->type = type;
}

enum lookup_type spf_address_type(const struct spf *spf)
{
    return spf->values.ip.family == IP_V6 ? LOOKUP_AAAA : LOOKUP_A;
}

/* The validated names of the client are wanted: by ptr or %{p} (RFC 7208 5.5). */
static void names_begin(struct spf *spf)
{
    struct buf name;
    buf_init(&name, DOMAIN_BYTES_MAX);
    if (spf_reverse_name(spf->values.ip, &name) == OK) {
        spf_ask(spf, WANT_NAMES, LOOKUP_PTR, buf_str(&name));
    } else {
        spf_fail_memory(spf);
    }
    buf_done(&name);
}

void spf_names_next(struct spf *spf)
{
    struct spf_hosts *names = &spf->names;
    while (names->at < names->count && !spf_is_askable(names->name[names->at])) {
        names->at++;
    }
    if (names->at < names->count) {
        spf_ask(spf, WANT_NAME_ADDRESS, spf_address_type(spf), names->name[names->at]);
    } else {
        spf->are_names_known = true;
        spf->want = WANT_NOTHING;
    }
}

/* The domain itself, else one below it, else any (RFC 7208 7.3). */
static struct str best_name(const struct spf *spf, struct str domain)
{
    struct str best = { 0 };
    uint32_t best_rank = 0;
    for (uint32_t i = 0; i < spf->valid_count; i++) {
        struct str name = spf->names.name[i];
        uint32_t rank = str_eq_nocase(name, domain) ? 3 : domain_is_within(name, domain) ? 2 : 1;
        if (rank > best_rank) {
            best = name;
            best_rank = rank;
        }
    }
    return best;
}

/* Appends the expansion. E_AGAIN: the client's names must be known first, a question is open or the
 * verdict stands; E_SYNTAX; else as buf_err. */
static enum err expand(struct spf *spf, struct str text, struct buf *ret_text)
{
    if (!spf->are_names_known && spf_needs_name(text)) {
        if (count_lookup(spf)) {
            names_begin(spf);
        }
        return E_AGAIN;
    }
    spf->values.domain = spf_frame(spf)->domain;
    spf->values.name = best_name(spf, spf->values.domain);
    return spf_expand(text, &spf->values, ret_text);
}

/* The target-name of a term into the arena. E_AGAIN: see expand; E_SYNTAX: names nothing that can
 * be asked for. */
static enum err target(struct spf *spf, struct str spec, struct str *ret_name)
{
    if (spec.len == 0) {
        *ret_name = spf_frame(spf)->domain;
        return OK;
    }
    struct buf text;
    buf_init(&text, SPF_EXPANSION_BYTES_MAX);
    enum err err = expand(spf, spec, &text);
    struct str name = as_name(buf_str(&text));
    if (err == OK && !spf_is_askable(name)) {
        err = E_SYNTAX;
    }
    if (err == OK) {
        *ret_name = arena_str(&spf->arena, name);
        err = ret_name->ptr != NULL ? OK : E_NOMEM;
    }
    buf_done(&text);
    if (err == E_NOMEM) {
        spf_fail_memory(spf);
        err = E_AGAIN;
    }
    return err == E_TOO_BIG ? E_SYNTAX : err;
}

/* ---- terms ---- */

static void include_begin(struct spf *spf, struct str name)
{
    if (spf->depth + 1 == SPF_FRAME_COUNT_MAX) {
        why_set(&spf->why, "includes are nested too deeply");
        spf_fail(spf, SPF_PERMERROR);
        return;
    }
    spf->depth++;
    *spf_frame(spf) = (struct spf_frame){ .domain = name };
}

void spf_mx_next(struct spf *spf)
{
    struct spf_hosts *mx = &spf->mx;
    while (mx->at < mx->count && !spf_is_askable(mx->name[mx->at])) {
        mx->at++; /* the root of a null MX, too (RFC 7505) */
    }
    if (mx->at < mx->count) {
        spf_ask(spf, WANT_MX_ADDRESS, spf_address_type(spf), mx->name[mx->at]);
    } else {
        spf->want = WANT_NOTHING;
        spf_term_end(spf, false, "the client is none of these hosts");
    }
}

/* RFC 7208 5.5 */
static void ptr_end(struct spf *spf, struct str name)
{
    for (uint32_t i = 0; i < spf->valid_count; i++) {
        if (domain_is_within(spf->names.name[i], name)) {
            spf_term_end(spf, true, "a name of the client is within it");
            return;
        }
    }
    spf_term_end(spf, false,
            spf->valid_count > 0 ? "no name of the client is within it"
                                 : "the client has no name that leads back to it");
}

static void asking_term_begin(struct spf *spf, const struct spf_term *term)
{
    struct str name = { 0 };
    enum err err = target(spf, term->domain, &name);
    if (err == E_AGAIN) {
        return;
    }
    bool is_domain = err == OK && str_index(name, '.') < name.len;
    if (!is_domain && term->kind == SPF_INCLUDE) { /* check_host() of it: none (RFC 7208 4.3) */
        why_set(&spf->why, "the include names no domain that can be asked for");
        spf_fail(spf, SPF_PERMERROR);
    } else if (err != OK) {
        spf_term_end(spf, false, "names nothing that can be asked for (RFC 7208 4.8)");
    } else if (term->kind == SPF_INCLUDE) {
        include_begin(spf, name);
    } else if (term->kind == SPF_PTR) {
        ptr_end(spf, name);
    } else if (term->kind == SPF_EXISTS) {
        spf_ask(spf, WANT_EXISTS, LOOKUP_A, name); /* also for IPv6 (RFC 7208 5.7) */
    } else if (term->kind == SPF_MX) {
        spf_ask(spf, WANT_MX, LOOKUP_MX, name);
    } else {
        spf_ask(spf, WANT_ADDRESS, spf_address_type(spf), name);
    }
}

void spf_term_begin(struct spf *spf)
{
    const struct spf_term *term = spf_term_at(spf);
    switch (term->kind) {
    case SPF_ALL:
        spf_term_end(spf, true, "all others");
        return;
    case SPF_IP4:
    case SPF_IP6: {
        bool is_matched = ip_in(spf->values.ip, &term->net);
        spf_term_end(
                spf, is_matched, is_matched ? "the client is in it" : "the client is not in it");
        return;
    }
    case SPF_REDIRECT:
    case SPF_EXP:
    case SPF_MODIFIER:
        spf_frame(spf)->at++;
        return;
    case SPF_INCLUDE:
    case SPF_A:
    case SPF_MX:
    case SPF_PTR:
    case SPF_EXISTS:
        break;
    }
    if (!spf_frame(spf)->is_counted && !count_lookup(spf)) {
        return;
    }
    spf_frame(spf)->is_counted = true;
    if (term->kind == SPF_PTR && !spf->are_names_known) {
        names_begin(spf);
    } else {
        asking_term_begin(spf, term);
    }
}

/* RFC 7208 4.7, 6.1 */
void spf_record_end(struct spf *spf)
{
    struct spf_frame *frame = spf_frame(spf);
    const struct spf_term *redirect = frame->record.redirect;
    if (redirect == NULL || frame->record.all != 0) {
        record_result(spf, SPF_NEUTRAL, NULL);
        return;
    }
    if (!frame->is_counted && !count_lookup(spf)) {
        return;
    }
    frame->is_counted = true;
    struct str name;
    enum err err = target(spf, redirect->domain, &name);
    if (err == OK && str_index(name, '.') < name.len) {
        spf_add_step(
                spf, SPF_STEP_TERM, true, redirect->text, STR("the record there is used instead"));
        *frame = (struct spf_frame){ .domain = name, .is_redirected = true };
    } else if (err != E_AGAIN) {
        why_set(&spf->why, "the redirect names no domain that can be asked for");
        spf_fail(spf, SPF_PERMERROR);
    }
}

/* ---- explanations (RFC 7208 6.2): any fault means there is none ---- */

void spf_explain_begin(struct spf *spf)
{
    struct str name;
    enum err err = target(spf, spf_frame(spf)->record.exp->domain, &name);
    if (err == OK && spf->explain_text.len == 0) {
        spf_ask(spf, WANT_EXPLANATION, LOOKUP_TXT, name);
    } else if (err != E_AGAIN) {
        spf->is_done = true;
    }
}

/* explain-string = *( macro-string / SP ); only printable ASCII leaves, whatever the sender holds.
 */
bool spf_is_printable(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < ' ' || s.ptr[i] > '~') {
            return false;
        }
    }
    return true;
}

void spf_explain_end(struct spf *spf)
{
    struct buf text;
    buf_init(&text, SPF_EXPANSION_BYTES_MAX);
    enum err err = expand(spf, spf->explain_text, &text);
    if (err == OK && spf_is_printable(buf_str(&text))) {
        spf->verdict.explanation =
                arena_str(&spf->arena, str_sub(buf_str(&text), 0, SPF_EXPLANATION_BYTES_MAX));
    }
    spf->is_done = spf->is_done || err != E_AGAIN;
    buf_done(&text);
}
