/* SPDX-License-Identifier: Apache-2.0
 *
 * spf.c - check_host() of RFC 7208 as an engine: frames of records, one question at a time.
 *
 * `advance` runs until a question is open or the verdict stands. What a question was for is its
 * `want`; the answer moves the state on, and `advance` begins the same term again where it only
 * waited for the client's names (%{p}). Terms are in spf_term.c, answers in spf_answer.c, the
 * grammar in spf_parse.c, macros in spf_macro.c.
 */
#include "mail/spf.h"

#include "core/str.h"
#include "mail/domain.h"
#include "mail/spf_check_priv.h"

const char *spf_result_name(enum spf_result result)
{
    static const char *const name[] = { "none", "neutral", "pass", "fail", "softfail", "temperror",
        "permerror" };
    static_assert(COUNT_OF(name) == SPF_PERMERROR + 1, "a name for each");
    return name[result];
}

/* ---- the engine ---- */

static void advance(struct spf *spf)
{
    while (!spf->is_done && spf->want == WANT_NOTHING) {
        struct spf_frame *frame = spf_frame(spf);
        if (spf->is_explaining && spf->explain_text.len > 0) {
            spf_explain_end(spf);
        } else if (spf->is_explaining) {
            spf_explain_begin(spf);
        } else if (!frame->is_read) {
            spf_ask(spf, WANT_RECORD, LOOKUP_TXT, frame->domain);
        } else if (frame->at < frame->record.term_count) {
            spf_term_begin(spf);
        } else {
            spf_record_end(spf);
        }
    }
}

bool spf_question(void *engine, struct lookup_question *ret_question)
{
    const struct spf *spf = engine;
    if (spf->is_done) {
        return false;
    }
    *ret_question = (struct lookup_question){ spf->asked, spf->type };
    return true;
}

void spf_answer(void *engine, const struct lookup_answer *answer)
{
    struct spf *spf = engine;
    if (spf->is_done) {
        return;
    }
    if (spf->is_traced) {
        spf_trace_answer(spf, answer);
    }
    spf_take(spf, answer);
    advance(spf);
}

const struct spf_verdict *spf_verdict(const struct spf *spf)
{
    return &spf->verdict;
}

void spf_free(struct spf *spf)
{
    if (spf != NULL) {
        arena_done(&spf->arena);
        mem_free(spf);
    }
}

/* ---- begin ---- */

/* IPv4 on an IPv6 socket is IPv4 (RFC 7208 5). */
static struct ip unmapped(struct ip ip)
{
    static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };
    if (ip.family == IP_V6 && memcmp(ip.byte, prefix, sizeof prefix) == 0) {
        struct ip v4 = { .family = IP_V4 };
        memcpy(v4.byte, ip.byte + 12, 4);
        return v4;
    }
    return ip;
}

static struct str without_angles(struct str s)
{
    return s.len >= 2 && s.ptr[0] == '<' && s.ptr[s.len - 1] == '>' ? str_sub(s, 1, s.len - 2) : s;
}

/* RFC 7208 4.3: well-formed, of two labels at least; other characters than those of host names are
 * fine, for there are such domains, but not those of literals and quoted strings. */
static enum err read_identity(struct str domain, char dst[DOMAIN_CAP], struct str *ret_domain)
{
    if (domain.len > 0 && domain.ptr[domain.len - 1] == '.') {
        domain.len--;
    }
    if (!str_is_ascii(domain)) {
        enum err err = domain_to_ascii(domain, dst, ret_domain);
        return err == OK && str_index(*ret_domain, '.') == ret_domain->len ? E_SYNTAX : err;
    }
    if (!spf_is_askable(domain) || str_index(domain, '.') == domain.len) {
        return E_SYNTAX;
    }
    for (size_t i = 0; i < domain.len; i++) {
        char c = domain.ptr[i];
        if (c <= ' ' || c > '~' || str_index(STR("[]()<>,;:\\\"@"), c) < 12) {
            return E_SYNTAX;
        }
        dst[i] = ascii_lower(c);
    }
    *ret_domain = str_of(dst, domain.len);
    return OK;
}

static void begin_identity(struct spf *spf, struct str sender, struct str helo)
{
    char text[DOMAIN_CAP];
    size_t at = str_rindex(sender, '@');
    spf->verdict.is_helo = sender.len == 0;
    struct str domain = spf->verdict.is_helo ? helo
                        : at < sender.len    ? str_from(sender, at + 1)
                                             : sender;
    struct str local = at < sender.len && at > 0 ? str_sub(sender, 0, at) : STR("postmaster");
    struct str shown = arena_str(&spf->arena, domain);
    enum err err = read_identity(domain, text, &domain);
    if (err == E_SYNTAX) {
        spf->verdict.domain = spf->frame[0].domain = shown;
        why_set(&spf->why, "%s is no domain that can be asked for (RFC 7208 4.3)",
                spf->verdict.is_helo ? "the HELO name" : "the domain of the sender");
        spf_fail(spf, SPF_NONE);
        return;
    }
    spf->values.local = arena_str(&spf->arena, local);
    spf->values.sender_domain = arena_str(&spf->arena, domain);
    spf->verdict.domain = spf->frame[0].domain = spf->values.sender_domain;
    if (err != OK || spf->values.local.ptr == NULL || spf->values.sender_domain.ptr == NULL) {
        spf_fail_memory(spf);
    }
}

enum err spf_begin(const struct spf_params *params, struct spf **ret_spf)
{
    struct spf *spf = mem_new(sizeof *spf);
    if (spf == NULL) {
        return E_NOMEM;
    }
    arena_init(&spf->arena, SPF_ARENA_BYTES_MAX);
    spf->is_traced = params->is_traced;
    spf->step =
            spf->is_traced ? arena_new(&spf->arena, SPF_STEP_COUNT_MAX * sizeof *spf->step) : NULL;
    spf->values.ip = unmapped(params->ip);
    spf->values.now_s = params->now.ms / 1000;
    spf->values.helo = arena_str(&spf->arena, str_sub(params->helo, 0, SPF_SENDER_BYTES_MAX));
    spf->values.receiver = arena_str(&spf->arena, str_sub(params->receiver, 0, DOMAIN_BYTES_MAX));
    spf->verdict.step = spf->step;
    if (spf->is_traced && spf->step == NULL) {
        spf_free(spf);
        return E_NOMEM;
    }
    struct str sender = without_angles(params->mail_from);
    if (sender.len > SPF_SENDER_BYTES_MAX) {
        why_set(&spf->why, "the sender is longer than %d bytes", SPF_SENDER_BYTES_MAX);
        spf_fail(spf, SPF_NONE);
    } else if (params->ip.family == IP_NONE) {
        why_set(&spf->why, "no client address");
        spf_fail(spf, SPF_TEMPERROR);
    } else {
        begin_identity(spf, sender, params->helo);
    }
    advance(spf);
    *ret_spf = spf;
    return OK;
}
