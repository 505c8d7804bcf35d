/* SPDX-License-Identifier: Apache-2.0
 *
 * judge.c - turns answers into the result that the caller sees: status, facts, and why.
 */
#include "check/check_priv.h"
#include "core/crypto.h"
#include "core/str.h"
#include "mail/dkim.h"

#include <stdarg.h>
#include <stdio.h>

enum { ESCAPE_BYTES_MAX = 4 /* of one byte: \xHH */ };

/* A result without memory for its words would lie: none is given then. */
const char *judge_text(struct holder *holder, struct str text)
{
    size_t cap = text.len * ESCAPE_BYTES_MAX;
    cap = cap < OUTPOST_CHECK_TEXT_BYTES_MAX ? cap : OUTPOST_CHECK_TEXT_BYTES_MAX;
    char *copy = text.len > 0 ? arena_new(&holder->arena, cap + 1) : NULL;
    if (copy == NULL) {
        holder->is_nomem |= text.len > 0;
        return "";
    }
    (void)str_escape(text, copy, cap); /* zeroed: what follows is NUL */
    return copy;
}

static const char *say(struct holder *holder, const char *format, ...) PRINTF_LIKE(2, 3);
static const char *say(struct holder *holder, const char *format, ...)
{
    char text[WHY_BYTES_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return judge_text(holder, str_from_c(text));
}

/* ---- PTR ---- */

void judge_ptr(struct holder *holder, const struct ptr_ask *ask)
{
    struct outpost_check_ptr *ptr = &holder->result.ptr;
    uint32_t shown = ask->is_valid ? ask->index : 0;
    ptr->present = ask->all > 0;
    ptr->valid = ask->is_valid;
    ptr->count = ask->all;
    ptr->value = ask->count > 0 ? judge_text(holder, str_from_c(ask->name[shown])) : "";
    if (ask->is_valid) {
        ptr->status = OUTPOST_CHECK_OK;
    } else if (ask->status == LOOKUP_TEMPFAIL) {
        ptr->status = OUTPOST_CHECK_UNKNOWN;
        ptr->error = say(holder, "DNS gave no answer for the PTR record of %s", ask->reverse);
    } else if (ask->all == 0) {
        ptr->status = OUTPOST_CHECK_ABSENT;
        ptr->error = say(holder, "no PTR record at %s", ask->reverse);
    } else if (ask->has_failing) {
        ptr->status = OUTPOST_CHECK_UNKNOWN;
        ptr->error = say(holder, "DNS gave no answer for the address of %s", ptr->value);
    } else {
        ptr->status = OUTPOST_CHECK_INVALID;
        ptr->error = say(holder, "%s does not resolve back to %s", ptr->value, holder->result.ip);
    }
}

/* ---- SPF ---- */

static void take_verdict(struct holder *holder, const struct spf_verdict *verdict)
{
    static const enum outpost_check_spf_result shown[] = {
        [SPF_NONE] = OUTPOST_CHECK_SPF_NONE,
        [SPF_NEUTRAL] = OUTPOST_CHECK_SPF_NEUTRAL,
        [SPF_PASS] = OUTPOST_CHECK_SPF_PASS,
        [SPF_FAIL] = OUTPOST_CHECK_SPF_FAIL,
        [SPF_SOFTFAIL] = OUTPOST_CHECK_SPF_SOFTFAIL,
        [SPF_TEMPERROR] = OUTPOST_CHECK_SPF_TEMPERROR,
        [SPF_PERMERROR] = OUTPOST_CHECK_SPF_PERMERROR,
    };
    struct outpost_check_spf *spf = &holder->result.spf;
    spf->result = shown[verdict->result];
    spf->result_name = spf_result_name(verdict->result);
    spf->mechanism = judge_text(holder, verdict->mechanism);
    spf->lookups = verdict->lookup_count;
    spf->void_lookups = verdict->void_count;
}

/* OK: the record alone is in order. */
static enum outpost_check_status judge_spf_record(
        struct holder *holder, const struct text_ask *record)
{
    struct outpost_check_spf *spf = &holder->result.spf;
    struct spf_record parsed = { 0 };
    struct why why = { "" };
    if (record->status == LOOKUP_TEMPFAIL) {
        spf->error = say(holder, "DNS gave no answer for the TXT record of %s", spf->domain);
        return OUTPOST_CHECK_UNKNOWN;
    }
    if (record->count == 0) {
        spf->error = say(holder, "%s has no SPF record", spf->domain);
        return OUTPOST_CHECK_ABSENT;
    }
    if (record->count > 1) {
        spf->error = say(holder, "%u SPF records where only one may be (RFC 7208 4.5)",
                (unsigned)record->count);
        return OUTPOST_CHECK_INVALID;
    }
    enum err err = spf_parse(&holder->arena, record->first, &parsed, &why);
    holder->is_nomem |= err == E_NOMEM;
    spf->lookups = parsed.lookup_count;
    spf->error = err != OK ? say(holder, "%s", why.text) : "";
    return err == OK ? OUTPOST_CHECK_OK : OUTPOST_CHECK_INVALID;
}

void judge_spf(struct holder *holder, const struct text_ask *record, const struct spf *evaluated)
{
    struct outpost_check_spf *spf = &holder->result.spf;
    spf->domain = judge_text(holder, holder->wishes.spf_domain);
    spf->record = judge_text(holder, record->first);
    spf->present = record->count > 0;
    spf->status = judge_spf_record(holder, record);
    if (evaluated != NULL) {
        const struct spf_verdict *verdict = spf_verdict(evaluated);
        take_verdict(holder, verdict);
        if (spf->status == OUTPOST_CHECK_OK &&
                (verdict->result == SPF_TEMPERROR || verdict->result == SPF_PERMERROR)) {
            spf->status = verdict->result == SPF_TEMPERROR ? OUTPOST_CHECK_UNKNOWN
                                                           : OUTPOST_CHECK_INVALID;
            spf->error = judge_text(holder, verdict->problem);
        }
    }
    spf->valid = spf->status == OUTPOST_CHECK_OK;
}

/* ---- DKIM ---- */

/* -1: not known. */
static int compare(struct holder *holder, const struct key *key, const struct key_wish *wish)
{
    struct buf der;
    if (wish->text.ptr == NULL) {
        return -1;
    }
    buf_init(&der, CHECK_KEY_BYTES_MAX);
    enum err err = key_to_public(key, &der);
    int matches = str_eq(buf_str(&der), wish->der);
    holder->is_nomem |= err == E_NOMEM;
    buf_done(&der);
    return matches;
}

static const char *dkim_fault(
        struct holder *holder, const struct text_ask *record, const struct dkim_published *read)
{
    return record->count > 1 ? say(holder, "%u records where only one may be (RFC 6376 3.6.2.2)",
                                       (unsigned)record->count)
           : read->fault != NULL ? read->fault
                                 : "";
}

static void judge_key(struct holder *holder, const struct text_ask *record,
        const struct key_wish *wish, struct outpost_check_dkim *dkim)
{
    struct dkim_published read = { 0 };
    if (dkim_record_read(record->first, &read) != OK) {
        holder->is_nomem = true;
        return;
    }
    dkim->present = 1;
    dkim->record = judge_text(holder, record->first);
    dkim->testing = read.is_testing;
    dkim->error = dkim_fault(holder, record, &read);
    dkim->status = dkim->error[0] == '\0' ? OUTPOST_CHECK_OK : OUTPOST_CHECK_INVALID;
    dkim->valid = dkim->status == OUTPOST_CHECK_OK;
    if (read.key != NULL) {
        dkim->key_type = key_kind(read.key) == KEY_RSA ? "rsa" : "ed25519";
        dkim->key_bits = key_bits(read.key);
        dkim->matches = compare(holder, read.key, wish);
        key_free(read.key);
    } else if (wish->text.ptr != NULL) {
        dkim->matches = 0; /* a revoked or broken record is not that key */
    }
}

void judge_dkim(struct holder *holder, const struct text_ask *record, const struct key_wish *wish,
        struct outpost_check_dkim *ret_dkim)
{
    *ret_dkim = (struct outpost_check_dkim){ .selector = judge_text(holder, wish->selector),
        .name = judge_text(holder, str_from_c(record->name)),
        .record = "",
        .key_type = "",
        .matches = -1,
        .error = "" };
    if (record->status == LOOKUP_TEMPFAIL) {
        ret_dkim->status = OUTPOST_CHECK_UNKNOWN;
        ret_dkim->error = say(holder, "DNS gave no answer for %s", ret_dkim->name);
    } else if (record->count == 0) {
        ret_dkim->status = OUTPOST_CHECK_ABSENT;
        ret_dkim->error = say(holder, "no TXT record at %s", ret_dkim->name);
    } else {
        judge_key(holder, record, wish, ret_dkim);
    }
}

/* ---- DMARC ---- */

static const char *uris(struct holder *holder, const struct dmarc_uri *uri, size_t count)
{
    struct buf text;
    buf_init(&text, DMARC_TXT_BYTES_MAX);
    for (size_t i = 0; i < count; i++) {
        buf_addf(&text, "%s%.*s", i > 0 ? "," : "", STR_ARG(uri[i].text));
    }
    holder->is_nomem |= buf_err(&text) == E_NOMEM;
    const char *joined = judge_text(holder, buf_str(&text));
    buf_done(&text);
    return joined;
}

/* The first fault that breaks the record; "": none. */
static const char *dmarc_fault(struct holder *holder, const struct dmarc_record *record)
{
    for (size_t i = 0; i < record->fault_count && i < DMARC_FAULT_COUNT_MAX; i++) {
        if (record->fault[i].is_error) {
            return say(holder, "%s", record->fault[i].text);
        }
    }
    return record->is_usable && record->error_count == 0 ? "" : "no policy can be had from it";
}

static void take_record(struct holder *holder, const struct dmarc_verdict *verdict)
{
    const struct dmarc_record *record = verdict->record;
    struct outpost_check_dmarc *dmarc = &holder->result.dmarc;
    dmarc->present = 1;
    dmarc->domain = judge_text(holder, verdict->policy_domain);
    dmarc->record = judge_text(holder, record->text);
    dmarc->error = dmarc_fault(holder, record);
    dmarc->status = dmarc->error[0] == '\0' ? OUTPOST_CHECK_OK : OUTPOST_CHECK_INVALID;
    dmarc->policy = verdict->policy_tag != NULL ? dmarc_policy_name(verdict->policy) : "";
    dmarc->subdomain_policy = record->has_sp      ? dmarc_policy_name(record->sp)
                              : record->is_usable ? dmarc_policy_name(record->p)
                                                  : "";
    dmarc->spf_strict = record->is_spf_strict;
    dmarc->dkim_strict = record->is_dkim_strict;
    dmarc->testing = record->is_testing;
    dmarc->percent = record->pct;
    dmarc->rua = uris(holder, record->rua, record->rua_count);
    dmarc->ruf = uris(holder, record->ruf, record->ruf_count);
}

static int alignment(const struct holder *holder, const struct dmarc *aligned)
{
    const struct outpost_check_spf *spf = &holder->result.spf;
    if (spf->result_name[0] == '\0' || spf->result == OUTPOST_CHECK_SPF_TEMPERROR) {
        return -1;
    }
    if (spf->result != OUTPOST_CHECK_SPF_PASS) {
        return 0;
    }
    const struct dmarc_verdict *verdict = aligned != NULL ? dmarc_verdict(aligned) : NULL;
    bool is_known =
            verdict != NULL && (verdict->result == DMARC_PASS || verdict->result == DMARC_FAIL);
    return is_known ? verdict->is_spf_aligned : -1;
}

void judge_dmarc(struct holder *holder, const struct dmarc *evaluated, const struct dmarc *aligned)
{
    struct outpost_check_dmarc *dmarc = &holder->result.dmarc;
    const struct dmarc_verdict *verdict = dmarc_verdict(evaluated);
    dmarc->spf_aligned = alignment(holder, aligned);
    if (verdict->record != NULL) {
        take_record(holder, verdict);
    } else if (verdict->result == DMARC_TEMPERROR) {
        dmarc->status = OUTPOST_CHECK_UNKNOWN;
        dmarc->error = say(holder, "DNS gave no answer on the way to the DMARC record of %s",
                holder->result.domain);
    } else if (verdict->is_several) {
        dmarc->present = 1;
        dmarc->status = OUTPOST_CHECK_INVALID;
        dmarc->error = say(holder, "several DMARC records at _dmarc.%s, so none of them counts",
                holder->result.domain);
    } else {
        dmarc->status = OUTPOST_CHECK_ABSENT;
        dmarc->error = say(holder, "no DMARC record for %s", holder->result.domain);
    }
    dmarc->valid = dmarc->status == OUTPOST_CHECK_OK;
}
