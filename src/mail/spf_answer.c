/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_answer.c - what each answer means for the term that asked (RFC 7208 4.4, 4.5, 5, 6.2), and
 * how it is told.
 */
#include "core/str.h"
#include "mail/spf_check_priv.h"

enum { DETAIL_CAP = 300 /* of an answer in the story */ };

/* ---- answers ---- */

static bool is_void(const struct lookup_answer *answer)
{
    return answer->record_count == 0 || answer->status != LOOKUP_FOUND;
}

/* True: an answer that can be used (perhaps none). */
static bool is_told(struct spf *spf, const struct lookup_answer *answer)
{
    if (answer->status == LOOKUP_TEMPFAIL) { /* RFC 7208 5, 2.6.6 */
        struct str name = spf->asked;
        why_set(&spf->why, "DNS gave no answer for %.*s: could not tell", STR_ARG(name));
        spf_fail(spf, SPF_TEMPERROR);
        return false;
    }
    return !is_void(answer) || spf_count_void(spf);
}

static bool has_client(
        const struct spf *spf, const struct lookup_answer *answer, uint8_t prefix4, uint8_t prefix6)
{
    bool is_v6 = spf->values.ip.family == IP_V6;
    for (uint32_t i = 0; answer->status == LOOKUP_FOUND && i < answer->record_count; i++) {
        uint8_t bits = is_v6 ? prefix6 : prefix4;
        struct ip_net net = { ip_masked(answer->record[i].ip, bits), bits };
        if (ip_in(spf->values.ip, &net)) {
            return true;
        }
    }
    return false;
}

/* The record at the frame's domain (RFC 7208 4.4, 4.5). */
static const struct lookup_record *find_record(
        const struct lookup_answer *answer, uint32_t *ret_count)
{
    const struct lookup_record *found = NULL;
    *ret_count = 0;
    for (uint32_t i = 0; answer->status == LOOKUP_FOUND && i < answer->record_count; i++) {
        if (spf_is_record(answer->record[i].data)) {
            found = &answer->record[i];
            (*ret_count)++;
        }
    }
    return found;
}

static void parse_record(struct spf *spf, struct str data)
{
    struct spf_frame *frame = spf_frame(spf);
    struct str text = arena_str(&spf->arena, data);
    enum err err =
            text.ptr == NULL ? E_NOMEM : spf_parse(&spf->arena, text, &frame->record, &spf->why);
    if (err == E_NOMEM) {
        spf_fail_memory(spf);
        return;
    }
    spf_add_step(
            spf, SPF_STEP_RECORD, err == OK, text, err == OK ? STR("") : str_from_c(spf->why.text));
    if (err == OK) {
        frame->is_read = true;
    } else {
        spf_fail(spf, SPF_PERMERROR);
    }
}

static void take_record(struct spf *spf, const struct lookup_answer *answer)
{
    struct spf_frame *frame = spf_frame(spf);
    uint32_t count;
    struct str domain = frame->domain;
    const struct lookup_record *found = find_record(answer, &count);
    spf->want = WANT_NOTHING;
    if (answer->status == LOOKUP_TEMPFAIL) {
        why_set(&spf->why, "DNS gave no answer for the SPF record of %.*s: could not tell",
                STR_ARG(domain));
        spf_fail(spf, SPF_TEMPERROR);
    } else if (count == 1) {
        parse_record(spf, found->data);
    } else if (count > 1) {
        why_set(&spf->why, "%.*s has %u SPF records; there may be one (RFC 7208 3.2)",
                STR_ARG(domain), count);
        spf_fail(spf, SPF_PERMERROR);
    } else {
        bool is_first = spf->depth == 0 && !frame->is_redirected;
        why_set(&spf->why, "%.*s %s", STR_ARG(domain),
                answer->status == LOOKUP_NXDOMAIN ? "does not exist" : "has no SPF record");
        spf_fail(spf, is_first ? SPF_NONE : SPF_PERMERROR); /* RFC 7208 5.2, 6.1 */
    }
}

static void take_address(struct spf *spf, const struct lookup_answer *answer)
{
    const struct spf_term *term = spf_term_at(spf);
    spf->want = WANT_NOTHING;
    if (is_told(spf, answer)) {
        bool is_matched = has_client(spf, answer, term->prefix4, term->prefix6);
        spf_term_end(spf, is_matched,
                is_matched        ? "the client is one of its addresses"
                : is_void(answer) ? "there is no such address"
                                  : "the client is none of its addresses");
    }
}

static bool keep_host(struct spf *spf, struct spf_hosts *hosts, struct str name)
{
    struct str copy = arena_str(&spf->arena, name);
    if (copy.ptr == NULL && name.len > 0) {
        spf_fail_memory(spf);
        return false;
    }
    hosts->name[hosts->count++] = copy;
    return true;
}

/* By preference (RFC 7208 5.4), else as they came: the first match ends the search. */
static bool keep_in_order(struct spf *spf, const struct lookup_answer *answer)
{
    bool is_kept[SPF_NAME_COUNT_MAX] = { false };
    for (uint32_t round = 0; round < answer->record_count; round++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < answer->record_count; i++) {
            if (!is_kept[i] && (best == UINT32_MAX || answer->record[i].preference <
                                                              answer->record[best].preference)) {
                best = i;
            }
        }
        is_kept[best] = true;
        if (!keep_host(spf, &spf->mx, answer->record[best].data)) {
            return false;
        }
    }
    return true;
}

static void take_mx(struct spf *spf, const struct lookup_answer *answer)
{
    spf->want = WANT_NOTHING;
    spf->mx = (struct spf_hosts){ .count = 0 };
    if (!is_told(spf, answer)) {
        return;
    }
    if (is_void(answer)) {
        spf_term_end(spf, false, "there is no MX record");
        return;
    }
    if (answer->record_count > SPF_NAME_COUNT_MAX) {
        why_set(&spf->why, "more than %d MX records (RFC 7208 4.6.4)", SPF_NAME_COUNT_MAX);
        spf_fail(spf, SPF_PERMERROR);
        return;
    }
    if (keep_in_order(spf, answer)) {
        spf_mx_next(spf);
    }
}

static void take_mx_address(struct spf *spf, const struct lookup_answer *answer)
{
    const struct spf_term *term = spf_term_at(spf);
    spf->want = WANT_NOTHING;
    if (!is_told(spf, answer)) {
        return;
    }
    if (has_client(spf, answer, term->prefix4, term->prefix6)) {
        spf_term_end(spf, true, "the client is one of these hosts");
        return;
    }
    spf->mx.at++;
    spf_mx_next(spf);
}

static void take_exists(struct spf *spf, const struct lookup_answer *answer)
{
    spf->want = WANT_NOTHING;
    if (is_told(spf, answer)) {
        spf_term_end(spf, !is_void(answer), is_void(answer) ? "there is no address" : "it exists");
    }
}

/* A fault is no name (RFC 7208 5.5). The owner of the address writes these records, not the domain:
 * more than ten are cut, not an error. */
static void take_names(struct spf *spf, const struct lookup_answer *answer)
{
    spf->want = WANT_NOTHING;
    if (answer->status != LOOKUP_TEMPFAIL && is_void(answer) && !spf_count_void(spf)) {
        return;
    }
    for (uint32_t i = 0; answer->status == LOOKUP_FOUND && i < answer->record_count; i++) {
        if (i < SPF_NAME_COUNT_MAX && !keep_host(spf, &spf->names, answer->record[i].data)) {
            return;
        }
    }
    spf_names_next(spf);
}

static void take_name_address(struct spf *spf, const struct lookup_answer *answer)
{
    struct spf_hosts *names = &spf->names;
    if (has_client(spf, answer, 32, 128)) {
        names->name[spf->valid_count++] = names->name[names->at]; /* never past `at` */
    }
    names->at++;
    spf_names_next(spf);
}

static void take_explanation(struct spf *spf, const struct lookup_answer *answer)
{
    spf->want = WANT_NOTHING;
    if (answer->status == LOOKUP_FOUND && answer->record_count == 1 &&
            spf_is_printable(answer->record[0].data)) {
        spf->explain_text = arena_str(&spf->arena, answer->record[0].data);
    }
    spf->is_done = spf->explain_text.len == 0;
}

void spf_take(struct spf *spf, const struct lookup_answer *answer)
{
    switch (spf->want) {
    case WANT_NOTHING:
        return;
    case WANT_RECORD:
        take_record(spf, answer);
        return;
    case WANT_ADDRESS:
        take_address(spf, answer);
        return;
    case WANT_MX:
        take_mx(spf, answer);
        return;
    case WANT_MX_ADDRESS:
        take_mx_address(spf, answer);
        return;
    case WANT_EXISTS:
        take_exists(spf, answer);
        return;
    case WANT_NAMES:
        take_names(spf, answer);
        return;
    case WANT_NAME_ADDRESS:
        take_name_address(spf, answer);
        return;
    case WANT_EXPLANATION:
        take_explanation(spf, answer);
        return;
    }
}

/* ---- the story of an answer ---- */

static const char *type_name(enum lookup_type type)
{
    switch (type) {
    case LOOKUP_A:
        return "A";
    case LOOKUP_AAAA:
        return "AAAA";
    case LOOKUP_MX:
        return "MX";
    case LOOKUP_PTR:
        return "PTR";
    case LOOKUP_TXT:
        return "TXT";
    }
    return "";
}

static void add_record_text(
        enum lookup_type type, const struct lookup_record *record, struct buf *ret_text)
{
    char ip_text[IP_TEXT_CAP];
    if (type == LOOKUP_A || type == LOOKUP_AAAA) {
        buf_add(ret_text, ip_format(record->ip, ip_text));
    } else if (type == LOOKUP_MX) {
        buf_addf(ret_text, "%u %.*s.", record->preference, STR_ARG(record->data));
    } else {
        buf_add(ret_text, record->data);
    }
}

/* "MX example.com", "10 mx.example.com., 20 ..." as far as it fits. */
void spf_trace_answer(struct spf *spf, const struct lookup_answer *answer)
{
    struct buf text, detail;
    buf_init(&text, LOOKUP_NAME_CAP + 8);
    buf_init(&detail, DETAIL_CAP);
    buf_addf(&text, "%s %.*s", type_name(spf->type), STR_ARG(spf->asked));
    for (uint32_t i = 0; answer->status == LOOKUP_FOUND && i < answer->record_count; i++) {
        buf_add_c(&detail, i > 0 ? ", " : "");
        add_record_text(spf->type, &answer->record[i], &detail);
    }
    if (answer->status != LOOKUP_FOUND || answer->record_count == 0) {
        buf_add_c(&detail, answer->status == LOOKUP_TEMPFAIL   ? "no answer"
                           : answer->status == LOOKUP_NXDOMAIN ? "no such name"
                                                               : "no such record");
    }
    spf_add_step(
            spf, SPF_STEP_LOOKUP, answer->status == LOOKUP_FOUND, buf_str(&text), buf_str(&detail));
    buf_done(&text);
    buf_done(&detail);
}
