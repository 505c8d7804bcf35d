/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc.c - one message evaluated (RFC 9989 5.3; with the public suffix list RFC 7489 6.6.2).
 *
 * The evaluation is written straight down and run anew after each answer: what is known is taken
 * from the nodes, and the first thing that is not ends the run and becomes the question. The names
 * are few, so this costs less than remembering where it stood.
 */
#include "mail/dmarc_priv.h"

#include "core/str.h"

enum { ARENA_BYTES_MAX = DMARC_NODE_COUNT_MAX * DMARC_TXT_BYTES_MAX + 65536 };

const char *dmarc_method_name(enum dmarc_method method)
{
    return method == DMARC_TREE_WALK ? "treewalk" : "psl";
}

const char *dmarc_result_name(enum dmarc_result result)
{
    static const char *const names[] = { [DMARC_PENDING] = "pending",
        [DMARC_NONE] = "none",
        [DMARC_PASS] = "pass",
        [DMARC_FAIL] = "fail",
        [DMARC_PERMERROR] = "permerror",
        [DMARC_TEMPERROR] = "temperror" };
    ASSERT((size_t)result < COUNT_OF(names));
    return names[result];
}

static char *next_step(struct dmarc *dmarc)
{
    dmarc->step_count += dmarc->step_count < DMARC_STEP_COUNT_MAX;
    return dmarc->step[dmarc->step_count - 1];
}

/* Says a step in the words of a format, while steps are kept. */
#define STEP(dmarc, ...)                                                                           \
    do {                                                                                           \
        if ((dmarc)->is_telling) {                                                                 \
            fmt(next_step(dmarc), DMARC_STEP_CAP, __VA_ARGS__);                                    \
        }                                                                                          \
    } while (0)

static void step_node(struct dmarc *dmarc, const struct dmarc_node *node)
{
    char shown[DMARC_STEP_CAP / 2];
    if (!dmarc->is_telling) {
        return;
    }
    struct str text = str_escape(node->text, shown, sizeof shown);
    if (node->is_tempfail) {
        STEP(dmarc, "_dmarc.%.*s: DNS gave no answer", STR_ARG(node->name));
    } else if (node->is_several) {
        STEP(dmarc, "_dmarc.%.*s: several DMARC records, so none of them counts",
                STR_ARG(node->name));
    } else if (node->text.len == 0) {
        STEP(dmarc, "_dmarc.%.*s: no DMARC record", STR_ARG(node->name));
    } else {
        STEP(dmarc, "_dmarc.%.*s: \"%.*s\"", STR_ARG(node->name), STR_ARG(text));
    }
}

/* ---- the policy record ---- */

/* All that passed is the author's own domain: then no walk is needed (4.10.2). */
static bool is_all_same(const struct dmarc *dmarc)
{
    bool is_any = false;
    for (size_t i = 0; i < dmarc->identifier_count; i++) {
        const struct dmarc_identifier *identifier = &dmarc->identifier[i];
        if (identifier->auth == DMARC_AUTH_PASS) {
            is_any = true;
            if (!str_eq(identifier->domain, dmarc->verdict.domain)) {
                return false;
            }
        }
    }
    return is_any;
}

static void step_organization(struct dmarc *dmarc)
{
    STEP(dmarc, "the organizational domain of %.*s is %.*s (%s)", STR_ARG(dmarc->verdict.domain),
            STR_ARG(dmarc->verdict.organizational_domain),
            dmarc->verdict.method == DMARC_TREE_WALK ? "tree walk" : "public suffix list");
}

/* The record of the author's domain, of its organization, of the public suffix (4.10.1). */
static enum dmarc_state discover_by_walk(struct dmarc *dmarc, const struct dmarc_node **ret_policy)
{
    struct dmarc_walk walk;
    struct dmarc_verdict *verdict = &dmarc->verdict;
    const struct dmarc_node *own = dmarc_look(dmarc, verdict->domain);
    if (!own || own->is_tempfail) {
        return own ? DMARC_STATE_TEMPFAIL : DMARC_STATE_PENDING;
    }
    if (own->text.len > 0) {
        *ret_policy = own;
        if (is_all_same(dmarc)) {
            verdict->organizational_domain = verdict->domain;
            return DMARC_STATE_DONE;
        }
    }
    enum dmarc_state state = dmarc_walk_up(dmarc, verdict->domain, &walk);
    if (state == DMARC_STATE_TEMPFAIL && *ret_policy) {
        return DMARC_STATE_DONE; /* the organization stays unknown, which may not matter */
    }
    if (state != DMARC_STATE_DONE) {
        return state;
    }
    verdict->organizational_domain = dmarc_walk_organization(&walk);
    step_organization(dmarc);
    if (!*ret_policy) {
        *ret_policy = dmarc_walk_find(&walk, verdict->organizational_domain);
    }
    if (!*ret_policy && walk.found_count > 0 &&
            walk.found[walk.found_count - 1]->psd == DMARC_PSD_YES) {
        *ret_policy = walk.found[walk.found_count - 1];
    }
    return DMARC_STATE_DONE;
}

/* RFC 7489 6.6.3: the author's domain, then the registered one; several records end it. */
static enum dmarc_state discover_by_suffix(
        struct dmarc *dmarc, const struct dmarc_node **ret_policy)
{
    struct dmarc_verdict *verdict = &dmarc->verdict;
    verdict->organizational_domain = domain_organizational(verdict->domain);
    step_organization(dmarc);
    const struct dmarc_node *node = dmarc_look(dmarc, verdict->domain);
    bool is_own = str_eq(verdict->organizational_domain, verdict->domain);
    if (node && !node->is_tempfail && node->text.len == 0 && !node->is_several && !is_own) {
        node = dmarc_look(dmarc, verdict->organizational_domain);
    }
    if (!node || node->is_tempfail) {
        return node ? DMARC_STATE_TEMPFAIL : DMARC_STATE_PENDING;
    }
    *ret_policy = node->text.len > 0 ? node : NULL;
    return DMARC_STATE_DONE;
}

/* The tag that applies: p= at the author's domain itself; below, np= where the author's domain does
 * not exist, else sp=, else p= (4.7, 4.10.1). DMARC_STATE_TEMPFAIL: whether it exists is not known.
 */
static enum dmarc_state choose_policy(struct dmarc *dmarc)
{
    struct dmarc_verdict *verdict = &dmarc->verdict;
    const struct dmarc_record *record = &dmarc->record;
    verdict->policy_tag = "p";
    verdict->policy = record->p;
    if (str_eq(verdict->policy_domain, verdict->domain)) {
        return DMARC_STATE_DONE;
    }
    if (record->has_sp) {
        verdict->policy_tag = "sp";
        verdict->policy = record->sp;
    }
    if (!record->has_np) {
        return DMARC_STATE_DONE;
    }
    if (dmarc->existence == EXISTENCE_UNASKED) {
        dmarc->asked = (struct str){ 0 };
        dmarc->question = (struct lookup_question){ verdict->domain, LOOKUP_A };
        return DMARC_STATE_PENDING;
    }
    if (dmarc->existence == EXISTENCE_UNKNOWN) {
        return record->np == verdict->policy ? DMARC_STATE_DONE : DMARC_STATE_TEMPFAIL;
    }
    bool is_there = dmarc->existence == EXISTENCE_YES;
    STEP(dmarc, "%.*s %s", STR_ARG(verdict->domain),
            is_there ? "exists: np= does not apply" : "does not exist: np= applies");
    if (!is_there) {
        verdict->policy_tag = "np";
        verdict->policy = record->np;
    }
    return DMARC_STATE_DONE;
}

/* ---- alignment ---- */

/* Is that identifier's organization the author's (4.10.2)? */
static enum dmarc_state align_relaxed(struct dmarc *dmarc, struct str domain, bool *ret_is_aligned)
{
    struct dmarc_walk walk;
    struct dmarc_verdict *verdict = &dmarc->verdict;
    struct str organization = verdict->organizational_domain;
    if (organization.len == 0) { /* unknown; it would have to be above both */
        struct str top = verdict->domain;
        top = str_from(top, str_rindex(top, '.') == top.len ? 0 : str_rindex(top, '.') + 1);
        return domain_is_within(domain, top) ? DMARC_STATE_TEMPFAIL : DMARC_STATE_DONE;
    }
    if (!domain_is_within(domain, organization)) {
        return DMARC_STATE_DONE;
    }
    if (verdict->method == DMARC_PUBLIC_SUFFIX) {
        *ret_is_aligned = str_eq(domain_organizational(domain), organization);
        return DMARC_STATE_DONE;
    }
    enum dmarc_state state = dmarc_walk_up(dmarc, domain, &walk);
    if (state == DMARC_STATE_DONE) {
        *ret_is_aligned = str_eq(dmarc_walk_organization(&walk), organization);
    }
    return state;
}

static enum dmarc_state align(
        struct dmarc *dmarc, const struct dmarc_identifier *identifier, bool *ret_is_aligned)
{
    bool is_strict =
            identifier->is_spf ? dmarc->record.is_spf_strict : dmarc->record.is_dkim_strict;
    *ret_is_aligned = str_eq(identifier->domain, dmarc->verdict.domain);
    if (*ret_is_aligned || is_strict || identifier->domain.len == 0) {
        return DMARC_STATE_DONE;
    }
    return align_relaxed(dmarc, identifier->domain, ret_is_aligned);
}

static void step_alignment(struct dmarc *dmarc, const struct dmarc_identifier *identifier,
        enum dmarc_state state, bool is_aligned)
{
    const char *name = identifier->is_spf ? "SPF" : "DKIM";
    bool is_strict =
            identifier->is_spf ? dmarc->record.is_spf_strict : dmarc->record.is_dkim_strict;
    const char *auth = identifier->auth == DMARC_AUTH_PASS ? "pass" : "temperror";
    const char *words = state == DMARC_STATE_TEMPFAIL
                                ? "DNS could not tell whether it is aligned with"
                        : is_aligned ? "is aligned with"
                                     : "is not aligned with";
    STEP(dmarc, "%s %s for %.*s: %s %.*s (%s)", name, auth, STR_ARG(identifier->domain), words,
            STR_ARG(dmarc->verdict.domain), is_strict ? "strict" : "relaxed");
}

/* What the identifiers come to. */
struct tally {
    bool is_aligned;  /* one that passed is */
    bool is_doubtful; /* DNS failed for one that may be */
};

static enum dmarc_state tally(struct dmarc *dmarc, enum dmarc_auth auth, struct tally *tally)
{
    for (size_t i = 0; i < dmarc->identifier_count; i++) {
        const struct dmarc_identifier *identifier = &dmarc->identifier[i];
        bool is_aligned = false;
        if (identifier->auth != auth) {
            continue;
        }
        enum dmarc_state state = align(dmarc, identifier, &is_aligned);
        if (state == DMARC_STATE_PENDING) {
            return state;
        }
        step_alignment(dmarc, identifier, state, is_aligned);
        tally->is_doubtful |=
                state == DMARC_STATE_TEMPFAIL || (is_aligned && auth == DMARC_AUTH_TEMPERROR);
        if (is_aligned && auth == DMARC_AUTH_PASS) {
            tally->is_aligned = dmarc->verdict.is_aligned[i] = true;
            dmarc->verdict.is_spf_aligned |= identifier->is_spf;
            dmarc->verdict.is_dkim_aligned |= !identifier->is_spf;
        }
    }
    return DMARC_STATE_DONE;
}

/* ---- the verdict ---- */

static enum dmarc_policy one_less(enum dmarc_policy policy)
{
    return policy == DMARC_POLICY_NONE ? policy : (enum dmarc_policy)(policy - 1);
}

/* t=y (4.7), or pct= of RFC 7489 6.6.4 where there is no t=: one level less. */
static void dispose(struct dmarc *dmarc)
{
    struct dmarc_verdict *verdict = &dmarc->verdict;
    const struct dmarc_record *record = &dmarc->record;
    verdict->disposition = verdict->policy;
    if (record->is_testing) {
        verdict->disposition = one_less(verdict->policy);
        STEP(dmarc, "t=y: one level less than %s", dmarc_policy_name(verdict->policy));
    } else if (record->has_pct && !record->has_t && record->pct < 100) {
        bool is_out = dmarc->sample >= record->pct;
        verdict->disposition = is_out ? one_less(verdict->policy) : verdict->policy;
        STEP(dmarc, "pct=%u: this message is %s", record->pct,
                is_out ? "not among them, so one level less" : "among them");
    }
}

static void finish(struct dmarc *dmarc, enum dmarc_result result, const char *because)
{
    dmarc->verdict.result = result;
    STEP(dmarc, "%s: %s", dmarc_result_name(result), because);
}

static void judge(struct dmarc *dmarc, enum dmarc_state policy_state)
{
    struct dmarc_verdict *verdict = &dmarc->verdict;
    struct tally sum = { 0 };
    if (tally(dmarc, DMARC_AUTH_PASS, &sum) == DMARC_STATE_PENDING) {
        return;
    }
    if (sum.is_aligned) {
        finish(dmarc, DMARC_PASS, "an aligned identifier passed");
        return;
    }
    if (tally(dmarc, DMARC_AUTH_TEMPERROR, &sum) == DMARC_STATE_PENDING) {
        return;
    }
    if (sum.is_doubtful) {
        finish(dmarc, DMARC_TEMPERROR, "DNS failed for an identifier that may be aligned");
    } else if (policy_state == DMARC_STATE_TEMPFAIL) {
        verdict->policy_tag = NULL;
        finish(dmarc, DMARC_TEMPERROR,
                "DNS could not tell whether the author's domain exists, so sp= or np=");
    } else {
        dispose(dmarc);
        finish(dmarc, DMARC_FAIL, "no aligned identifier passed");
    }
}

static void apply(struct dmarc *dmarc, const struct dmarc_node *policy)
{
    struct dmarc_verdict *verdict = &dmarc->verdict;
    verdict->policy_domain = policy->name;
    if (dmarc->record.text.ptr != policy->text.ptr) {
        dmarc_parse(policy->text, &dmarc->record);
    }
    verdict->record = &dmarc->record;
    if (!dmarc->record.is_usable) {
        finish(dmarc, DMARC_PERMERROR, "the record is broken: see its faults");
        return;
    }
    enum dmarc_state state = choose_policy(dmarc);
    if (state == DMARC_STATE_PENDING) {
        return;
    }
    if (state == DMARC_STATE_DONE) {
        STEP(dmarc, "the policy is %s, from %s= of _dmarc.%.*s", dmarc_policy_name(verdict->policy),
                verdict->policy_tag, STR_ARG(verdict->policy_domain));
    }
    judge(dmarc, state);
}

static void run(struct dmarc *dmarc)
{
    struct dmarc_verdict *verdict = &dmarc->verdict;
    const struct dmarc_node *policy = NULL;
    *verdict = (struct dmarc_verdict){
        .method = verdict->method, .domain = verdict->domain, .query_count = verdict->query_count
    };
    dmarc->step_count = 0;
    for (size_t i = 0; i < dmarc->node_count; i++) {
        step_node(dmarc, &dmarc->node[i]);
        verdict->is_several |=
                dmarc->node[i].is_several && str_eq(dmarc->node[i].name, verdict->domain);
    }
    if (dmarc->is_out_of_memory) {
        finish(dmarc, DMARC_TEMPERROR, "out of memory");
        return;
    }
    enum dmarc_state state = verdict->method == DMARC_TREE_WALK
                                     ? discover_by_walk(dmarc, &policy)
                                     : discover_by_suffix(dmarc, &policy);
    if (state == DMARC_STATE_TEMPFAIL) {
        finish(dmarc, DMARC_TEMPERROR, "DNS failed before a record was found");
    } else if (state == DMARC_STATE_DONE && !policy) {
        finish(dmarc, DMARC_NONE, "no DMARC record applies to the author's domain");
    } else if (state == DMARC_STATE_DONE) {
        apply(dmarc, policy);
    }
}

/* The steps are said in a last run, when all is known. */
static void evaluate(struct dmarc *dmarc)
{
    dmarc->is_telling = false;
    run(dmarc);
    if (dmarc->is_traced && dmarc->verdict.result != DMARC_PENDING) {
        dmarc->is_telling = true;
        run(dmarc);
    }
}

/* ---- questions and answers ---- */

static enum err copy_facts(struct dmarc *dmarc, const struct dmarc_facts *facts)
{
    size_t count = facts->identifier_count;
    struct dmarc_identifier *copy = arena_new(&dmarc->arena, (count + 1) * sizeof *copy);
    if (!copy) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        char text[DOMAIN_CAP];
        struct str domain = { 0 };
        copy[i] = facts->identifier[i];
        if (domain_to_ascii(facts->identifier[i].domain, text, &domain) == E_NOMEM) {
            return E_NOMEM;
        }
        copy[i].domain = arena_str(&dmarc->arena, domain);
        if (domain.len > 0 && !copy[i].domain.ptr) {
            return E_NOMEM;
        }
    }
    dmarc->identifier = copy;
    dmarc->identifier_count = count;
    dmarc->sample = facts->sample;
    dmarc->is_traced = dmarc->is_telling = facts->is_traced;
    if (facts->is_traced) {
        dmarc->step = arena_new(&dmarc->arena, sizeof *dmarc->step * DMARC_STEP_COUNT_MAX);
    }
    dmarc->verdict.method = facts->method;
    return dmarc->step || !facts->is_traced ? OK : E_NOMEM;
}

static enum err take_domain(struct dmarc *dmarc, struct str domain)
{
    char text[DOMAIN_CAP];
    struct str ascii;
    enum err err = domain_to_ascii(domain, text, &ascii);
    if (err == E_SYNTAX) {
        finish(dmarc, DMARC_PERMERROR, "the author's domain is no domain name");
        return OK;
    }
    if (err == OK) {
        dmarc->verdict.domain = arena_str(&dmarc->arena, ascii);
        err = dmarc->verdict.domain.ptr ? OK : E_NOMEM;
    }
    if (err == OK) {
        evaluate(dmarc);
    }
    return err;
}

enum err dmarc_begin(const struct dmarc_facts *facts, struct dmarc **ret_dmarc)
{
    if (facts->identifier_count > DMARC_IDENTIFIER_COUNT_MAX) {
        return E_TOO_BIG;
    }
    struct dmarc *dmarc = mem_new(sizeof *dmarc);
    if (!dmarc) {
        return E_NOMEM;
    }
    arena_init(&dmarc->arena, ARENA_BYTES_MAX);
    enum err err = copy_facts(dmarc, facts);
    if (err == OK) {
        err = take_domain(dmarc, facts->domain);
    }
    if (err != OK) {
        dmarc_free(dmarc);
        return err;
    }
    *ret_dmarc = dmarc;
    return OK;
}

bool dmarc_question(void *engine, struct lookup_question *ret_question)
{
    const struct dmarc *dmarc = engine;
    if (dmarc->verdict.result != DMARC_PENDING) {
        return false;
    }
    *ret_question = dmarc->question;
    return true;
}

/* RFC 9989 4.10 steps 2 and 6: what is no DMARC record is discarded; several are too. */
static void take_records(
        struct dmarc *dmarc, struct dmarc_node *node, const struct lookup_answer *answer)
{
    for (uint32_t i = 0; i < answer->record_count; i++) {
        if (!dmarc_parse(answer->record[i].data, &dmarc->record)) {
            continue;
        }
        if (node->text.len > 0) {
            node->is_several = true;
            node->text = (struct str){ 0 };
            node->psd = DMARC_PSD_UNKNOWN;
            return;
        }
        node->psd = dmarc->record.psd;
        node->text = arena_str(&dmarc->arena, answer->record[i].data);
        dmarc->is_out_of_memory |= node->text.len == 0;
    }
}

void dmarc_answer(void *engine, const struct lookup_answer *answer)
{
    struct dmarc *dmarc = engine;
    if (dmarc->verdict.result != DMARC_PENDING) {
        return;
    }
    dmarc->verdict.query_count++;
    if (dmarc->question.type == LOOKUP_A) {
        dmarc->existence = answer->status == LOOKUP_NXDOMAIN   ? EXISTENCE_NO
                           : answer->status == LOOKUP_TEMPFAIL ? EXISTENCE_UNKNOWN
                                                               : EXISTENCE_YES;
    } else {
        ASSERT(dmarc->node_count < DMARC_NODE_COUNT_MAX);
        struct dmarc_node *node = &dmarc->node[dmarc->node_count++];
        *node = (struct dmarc_node){ .name = dmarc->asked,
            .is_tempfail = answer->status == LOOKUP_TEMPFAIL };
        if (answer->status == LOOKUP_FOUND) {
            take_records(dmarc, node, answer);
        }
    }
    evaluate(dmarc);
}

const struct dmarc_verdict *dmarc_verdict(const struct dmarc *dmarc)
{
    return &dmarc->verdict;
}

size_t dmarc_step_count(const struct dmarc *dmarc)
{
    return dmarc->step_count;
}

const char *dmarc_step(const struct dmarc *dmarc, size_t index)
{
    ASSERT(index < dmarc->step_count);
    return dmarc->step[index];
}

void dmarc_free(struct dmarc *dmarc)
{
    if (dmarc) {
        arena_done(&dmarc->arena);
        mem_free(dmarc);
    }
}
