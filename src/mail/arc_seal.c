/* SPDX-License-Identifier: Apache-2.0
 *
 * arc_seal.c - a set added to the chain of a message (RFC 8617 5.1).
 *
 * The message signature covers what dkim_sign covers and the DKIM-Signature fields (4.1.2), with
 * names once more than present just as there; no ARC or Authentication-Results field.
 */
#include "core/b64.h"
#include "core/str.h"
#include "mail/arc_priv.h"

enum { FIELDS_BYTES_MAX = 2 * DKIM_FIELD_BYTES_MAX, TOKEN_BYTES_MAX = 900 };

struct sealer {
    const struct arc_sealing *how;
    struct header header;
    struct arc_chain chain;
    uint32_t instance;
    struct buf results, signature, seal; /* the fields */
};

/* ---- the results ---- */

/* authserv-id [ CFWS authres-version ] (RFC 8601 2.2); true: it is that one, *ret_rest is behind.
 */
static bool is_of(struct str value, struct str authserv_id, struct str *ret_rest)
{
    size_t end = str_index(value, ';');
    struct str id = str_trim(str_sub(value, 0, end));
    size_t len = 0;
    while (len < id.len && !ascii_is_blank(id.ptr[len]) && id.ptr[len] != '(') {
        len++;
    }
    *ret_rest = str_trim(str_from(value, end + 1));
    return str_eq_nocase(str_sub(id, 0, len), authserv_id);
}

enum err arc_results(const struct header *header, struct str authserv_id, struct buf *ret_results)
{
    struct buf all;
    bool is_first = true;
    buf_init(&all, ARC_RESULTS_BYTES_MAX);
    for (size_t i = 0; i < header->field_count; i++) {
        struct buf value;
        struct str rest;
        if (!str_eq_nocase(header->field[i].name, STR("Authentication-Results"))) {
            continue;
        }
        buf_init(&value, HEADER_BYTES_MAX);
        header_unfold(header->field[i].value, &value);
        for (size_t k = 0; k < value.len; k++) {
            value.ptr[k] = value.ptr[k] == '\t' ? ' ' : value.ptr[k]; /* of the folds */
        }
        if (is_of(buf_str(&value), authserv_id, &rest) && rest.len > 0 &&
                !str_eq_nocase(rest, STR("none"))) {
            rest.len -= rest.ptr[rest.len - 1] == ';';
            buf_addf(&all, "%s%.*s", is_first ? "" : "; ", STR_ARG(rest));
            is_first = false;
        }
        all.err = all.err == OK ? buf_err(&value) : all.err;
        buf_done(&value);
    }
    if (buf_err(&all) == OK) {
        buf_add(ret_results, buf_str(&all));
    }
    enum err err = buf_err(&all) == OK ? buf_err(ret_results) : buf_err(&all);
    buf_done(&all);
    return err;
}

/* ---- may it be sealed? ---- */

static enum err refuse(struct why *why, enum err err, const char *text)
{
    why_set(why, "%s", text);
    return err;
}

/* Printable or UTF-8, one line, no part longer than a line may be (RFC 5322 2.1.1). */
static bool is_results(struct str text)
{
    struct str part, rest = text;
    for (size_t i = 0; i < text.len; i++) {
        if ((uint8_t)text.ptr[i] < ' ' || text.ptr[i] == 0x7f) {
            return false;
        }
    }
    while (str_cut(&rest, ';', &part)) {
        if (part.len > TOKEN_BYTES_MAX || str_trim(part).len == 0) {
            return false;
        }
    }
    return text.len <= ARC_RESULTS_BYTES_MAX && str_is_utf8(text);
}

static enum err check_how(const struct arc_sealing *how, struct why *why)
{
    if (!dkim_is_name(how->domain) || !dkim_is_name(how->selector)) {
        return refuse(why, E_USAGE, "domain or selector is no DNS name");
    }
    if (!dkim_is_name(how->authserv_id)) {
        return refuse(why, E_USAGE, "the authserv-id is no host name");
    }
    if (!is_results(how->results)) {
        return refuse(why, E_USAGE,
                "the results are not one line of method=result parts with ';' between");
    }
    if (key_kind(how->key) != KEY_RSA) { /* a= of RFC 8617 is that of its time */
        return refuse(why, E_USAGE, "ARC is sealed with an RSA key");
    }
    return how->sealed.ms >= 0 ? OK : refuse(why, E_USAGE, "the time is before 1970");
}

static enum err check_chain(struct sealer *sealer, struct why *why)
{
    const struct arc_chain *chain = &sealer->chain;
    enum arc_result told = sealer->how->chain;
    if (chain->count > 0 && str_eq(chain->set[chain->count - 1].cv, STR("fail"))) {
        return refuse(why, E_DENIED, "the newest seal says cv=fail: the chain is not continued");
    }
    if (chain->count == ARC_SET_COUNT_MAX) {
        return refuse(why, E_FULL, "the chain has 50 sets already");
    }
    bool is_there = chain->count > 0 || chain->fault;
    bool is_fitting = told == ARC_NONE   ? !is_there
                      : told == ARC_PASS ? is_there && !chain->fault
                                         : told == ARC_FAIL && is_there;
    return is_fitting ? OK
                      : refuse(why, E_USAGE,
                                "the chain is not what the message has: validate it first");
}

/* ---- the fields ---- */

static void add_results(struct sealer *sealer)
{
    struct buf *field = &sealer->results;
    struct str part, rest = sealer->how->results;
    buf_addf(field, "ARC-Authentication-Results: i=%u; %.*s", sealer->instance,
            STR_ARG(sealer->how->authserv_id));
    if (rest.len == 0) { /* RFC 8601 2.2: no-result */
        buf_add(field, STR("; none"));
    }
    while (str_cut(&rest, ';', &part)) {
        part = str_trim(part);
        buf_addf(field, ";\r\n\t%.*s", STR_ARG(part));
    }
    buf_add(field, STR("\r\n"));
}

/* The tags that both signatures begin with. */
static struct dkim_folder begin_signature(
        const struct sealer *sealer, const char *name, struct buf *field)
{
    struct dkim_folder folder = { .out = field };
    char number[24];
    size_t len = fmt(number, sizeof number, "%u", sealer->instance);
    dkim_fold(&folder, str_from_c(name), /*is_blank_before*/ false);
    dkim_fold_tag(&folder, "i", str_of(number, len));
    dkim_fold_tag(&folder, "a", STR("rsa-sha256"));
    dkim_fold_tag(&folder, "d", sealer->how->domain);
    dkim_fold_tag(&folder, "s", sealer->how->selector);
    len = fmt(number, sizeof number, "%lld", (long long)(sealer->how->sealed.ms / 1000));
    dkim_fold_tag(&folder, "t", str_of(number, len));
    return folder;
}

static struct str no_b(const struct buf *field)
{
    return str_of(field->ptr + field->len, 0);
}

static enum err sign(struct sealer *sealer, struct buf *text, struct buf *field)
{
    enum err err = buf_err(text) == OK ? buf_err(field) : buf_err(text);
    return err == OK ? dkim_add_signature(sealer->how->key, buf_str(text), field) : err;
}

static enum err add_message_signature(struct sealer *sealer)
{
    struct buf hash, text, *field = &sealer->signature;
    struct dkim_folder folder = begin_signature(sealer, "ARC-Message-Signature:", field);
    buf_init(&hash, 64);
    buf_init(&text, FIELDS_BYTES_MAX);
    b64_encode(&hash, str_of((const char *)sealer->how->body_hash, SHA256_BYTES));
    dkim_fold_tag(&folder, "c", STR("relaxed/relaxed"));
    size_t names_at = field->len;
    dkim_fold_names(&folder, &sealer->header, STR("DKIM-Signature"));
    struct str names = str_from(buf_str(field), names_at);
    names = str_from(names, str_index(names, '=') + 1);
    names = str_sub(names, 0, str_index(names, ';'));
    dkim_canon_names(DKIM_RELAXED, &sealer->header, NULL, names, &text);
    dkim_fold_tag(&folder, "bh", buf_str(&hash));
    buf_add(field, STR("\r\n\tb="));
    enum err err = buf_err(&hash) == OK ? buf_err(field) : buf_err(&hash);
    if (err == OK) {
        dkim_canon_signature(DKIM_RELAXED, buf_str(field), no_b(field), &text);
        err = sign(sealer, &text, field);
    }
    buf_done(&hash);
    buf_done(&text);
    return err;
}

static enum err add_seal(struct sealer *sealer)
{
    struct buf text, *field = &sealer->seal;
    struct dkim_folder folder = begin_signature(sealer, "ARC-Seal:", field);
    buf_init(&text, FIELDS_BYTES_MAX);
    dkim_fold_tag(&folder, "cv", str_from_c(arc_result_name(sealer->how->chain)));
    buf_add(field, STR("\r\n\tb="));
    enum err err = buf_err(field);
    if (err == OK) {
        struct header_field results = { .raw = buf_str(&sealer->results) };
        struct header_field signature = { .raw = buf_str(&sealer->signature) };
        struct header_field seal = { .raw = buf_str(field) };
        sealer->chain.set[sealer->instance - 1] =
                (struct arc_fields){ .results = &results, .signature = &signature, .seal = &seal };
        /* RFC 8617 5.1.2: of a chain that failed nothing but the new set is signed. */
        uint32_t first = sealer->how->chain == ARC_FAIL ? sealer->instance : 1;
        arc_seal_text(&sealer->chain, first, sealer->instance, no_b(field), &text);
        err = sign(sealer, &text, field);
    }
    buf_done(&text);
    return err;
}

static enum err add_fields(struct sealer *sealer)
{
    add_results(sealer);
    enum err err = buf_err(&sealer->results);
    if (err == OK) {
        err = add_message_signature(sealer);
    }
    return err == OK ? add_seal(sealer) : err;
}

static enum err seal_header(struct sealer *sealer, struct buf *ret_fields, struct why *why)
{
    if (sealer->header.has_border) {
        return refuse(why, E_SYNTAX, "more than the fields"); /* caller's block is too long */
    }
    arc_chain_collect(&sealer->header, &sealer->chain);
    enum err err = check_chain(sealer, why);
    if (err == OK) {
        sealer->instance = sealer->chain.count + 1;
        err = add_fields(sealer);
    }
    if (err == OK) {
        buf_add(ret_fields, buf_str(&sealer->seal));
        buf_add(ret_fields, buf_str(&sealer->signature));
        buf_add(ret_fields, buf_str(&sealer->results));
        err = buf_err(ret_fields);
    }
    return err;
}

enum err arc_seal(const struct arc_sealing *how, struct str header_block, struct buf *ret_fields,
        struct why *why)
{
    struct arena arena;
    struct sealer sealer = { .how = how };
    enum err err = check_how(how, why);
    if (err != OK) {
        return err;
    }
    arena_init(&arena, HEADER_ARENA_BYTES);
    buf_init(&sealer.results, 2 * ARC_RESULTS_BYTES_MAX + 512);
    buf_init(&sealer.signature, DKIM_FIELD_BYTES_MAX);
    buf_init(&sealer.seal, DKIM_FIELD_BYTES_MAX);
    err = header_parse(&arena, header_block, /*at_end*/ true, &sealer.header, why);
    if (err == OK) {
        err = seal_header(&sealer, ret_fields, why);
    }
    buf_done(&sealer.results);
    buf_done(&sealer.signature);
    buf_done(&sealer.seal);
    arena_done(&arena);
    return err;
}
