/* SPDX-License-Identifier: Apache-2.0
 *
 * arc_chain.c - the sets of a message found and put in order (RFC 8617 4.2, 5.2 steps 1 and 3).
 */
#include "core/str.h"
#include "mail/arc_priv.h"

enum { COMMENT_DEPTH_MAX = 20, INSTANCE_DIGITS_MAX = 2 };

static const struct str results_name = STR_INIT("ARC-Authentication-Results");
static const struct str signature_name = STR_INIT("ARC-Message-Signature");
static const struct str seal_name = STR_INIT("ARC-Seal");

/* [CFWS], RFC 5322 3.2.2; what is no whole comment stays. */
static struct str skip_cfws(struct str text)
{
    struct str rest = text;
    uint32_t depth = 0;
    while (rest.len > 0) {
        char c = rest.ptr[0];
        if (depth > 0 && c == '\\' && rest.len > 1) {
            rest = str_from(rest, 1);
        } else if (c == '(' && depth < COMMENT_DEPTH_MAX) {
            depth++;
        } else if (c == ')' && depth > 0) {
            depth--;
        } else if (depth == 0 && !ascii_is_blank(c) && c != '\r' && c != '\n') {
            return rest;
        }
        rest = str_from(rest, 1);
    }
    return depth == 0 ? rest : text;
}

/* position = 1*2DIGIT, 1 to 50; 0: none */
static uint32_t read_instance(struct str text)
{
    uint64_t instance;
    if (text.len > INSTANCE_DIGITS_MAX || str_to_u64(text, ARC_SET_COUNT_MAX, &instance) != OK) {
        return 0;
    }
    return (uint32_t)instance; /* at most 50 */
}

/* arc-info = instance [CFWS] ";" authres-payload */
static uint32_t read_results(const struct header_field *field, struct str *ret_payload)
{
    struct str rest = skip_cfws(field->value);
    if (!str_starts(rest, STR("i"))) {
        return 0;
    }
    rest = skip_cfws(str_from(rest, 1));
    if (!str_starts(rest, STR("="))) {
        return 0;
    }
    rest = skip_cfws(str_from(rest, 1));
    size_t len = 0;
    while (len < rest.len && ascii_is_digit(rest.ptr[len])) {
        len++;
    }
    uint32_t instance = read_instance(str_sub(rest, 0, len));
    rest = skip_cfws(str_from(rest, len));
    if (!str_starts(rest, STR(";"))) {
        return 0;
    }
    *ret_payload = str_trim(str_from(rest, 1));
    return instance;
}

enum err arc_tags(const struct header_field *field, struct dkim_tags *ret_tags)
{
    /* Not the trimmed value: blanks at its end belong to b= where that comes last (RFC 6376 3.5).
     */
    struct str text = str_from(field->raw, str_index(field->raw, ':') + 1);
    text.len -= str_ends_nocase(text, STR("\r\n")) ? 2 : 0;
    return dkim_tags_parse(text, ret_tags);
}

static void note_fault(struct arc_chain *chain, const char *fault)
{
    if (!chain->fault) {
        chain->fault = fault;
    }
}

/* The set of that instance; NULL where there can be none. */
static struct arc_fields *set_of(struct arc_chain *chain, uint32_t instance, const char *fault)
{
    if (instance == 0) {
        note_fault(chain, fault);
        return NULL;
    }
    if (instance > chain->count) {
        chain->count = instance;
    }
    return &chain->set[instance - 1];
}

static void place(struct arc_chain *chain, const struct header_field **slot,
        const struct header_field *field, const char *fault)
{
    if (*slot) {
        note_fault(chain, fault);
        return;
    }
    *slot = field;
}

static void take_results(struct arc_chain *chain, const struct header_field *field)
{
    struct str payload = { 0 };
    struct arc_fields *set = set_of(chain, read_results(field, &payload),
            "an ARC-Authentication-Results does not begin with i=, 1 to 50, and ';'");
    if (set) {
        place(chain, &set->results, field, "an instance has two ARC-Authentication-Results");
        set->payload = payload;
    }
}

static void take_signature(struct arc_chain *chain, const struct header_field *field)
{
    struct dkim_tags tags;
    uint32_t instance = 0;
    if (arc_tags(field, &tags) == OK) {
        instance = read_instance(dkim_tags_get(&tags, "i", STR("")));
    }
    struct arc_fields *set = set_of(
            chain, instance, "an ARC-Message-Signature is no tag list, or its i= is not 1 to 50");
    if (set) {
        place(chain, &set->signature, field, "an instance has two ARC-Message-Signature");
    }
}

static void take_seal(struct arc_chain *chain, const struct header_field *field)
{
    struct dkim_tags tags;
    uint32_t instance = 0;
    if (arc_tags(field, &tags) == OK) {
        instance = read_instance(dkim_tags_get(&tags, "i", STR("")));
    }
    struct arc_fields *set =
            set_of(chain, instance, "an ARC-Seal is no tag list, or its i= is not 1 to 50");
    if (set) {
        place(chain, &set->seal, field, "an instance has two ARC-Seal");
        set->cv = dkim_tags_get(&tags, "cv", STR(""));
    }
}

/* RFC 8617 5.2 step 2, then step 3 A to C */
static const char *find_fault(const struct arc_chain *chain)
{
    if (chain->count > 0 && str_eq(chain->set[chain->count - 1].cv, STR("fail"))) {
        return "the newest ARC-Seal says cv=fail";
    }
    if (chain->fault) {
        return chain->fault;
    }
    for (uint32_t i = 0; i < chain->count; i++) {
        const struct arc_fields *set = &chain->set[i];
        if (!set->results && !set->signature && !set->seal) {
            return "the instances have a gap";
        }
        if (!set->results || !set->signature || !set->seal) {
            return !set->results     ? "a set has no ARC-Authentication-Results"
                   : !set->signature ? "a set has no ARC-Message-Signature"
                                     : "a set has no ARC-Seal";
        }
        if (!str_eq(set->cv, i == 0 ? STR("none") : STR("pass"))) {
            return i == 0 ? "cv= of the first ARC-Seal is not none"
                          : "cv= of a later ARC-Seal is not pass";
        }
    }
    return NULL;
}

void arc_chain_collect(const struct header *header, struct arc_chain *ret_chain)
{
    *ret_chain = (struct arc_chain){ 0 };
    for (size_t i = 0; i < header->field_count; i++) {
        const struct header_field *field = &header->field[i];
        if (str_eq_nocase(field->name, results_name)) {
            take_results(ret_chain, field);
        } else if (str_eq_nocase(field->name, signature_name)) {
            take_signature(ret_chain, field);
        } else if (str_eq_nocase(field->name, seal_name)) {
            take_seal(ret_chain, field);
        }
    }
    ret_chain->fault = find_fault(ret_chain);
}

void arc_seal_text(const struct arc_chain *chain, uint32_t first, uint32_t last, struct str b_value,
        struct buf *ret_text)
{
    for (uint32_t i = first; i <= last; i++) {
        const struct arc_fields *set = &chain->set[i - 1];
        dkim_canon_field(DKIM_RELAXED, set->results->raw, ret_text);
        dkim_canon_field(DKIM_RELAXED, set->signature->raw, ret_text);
        if (i < last) {
            dkim_canon_field(DKIM_RELAXED, set->seal->raw, ret_text);
        } else {
            dkim_canon_signature(DKIM_RELAXED, set->seal->raw, b_value, ret_text);
        }
    }
}
