/* SPDX-License-Identifier: Apache-2.0
 *
 * arc_verify.c - a chain validated (RFC 8617 5.2).
 *
 * Every signature is judged as far as that goes without its key; then keys are asked for in the
 * order of the standard: newest message signature, seals from the newest down, and last the older
 * message signatures, which decide on oldest-pass only. An answer serves all that use its name.
 */
#include "core/str.h"
#include "mail/arc_priv.h"
#include "mail/domain.h"

enum {
    TIME_DIGITS_MAX = 12,
    LENGTH_DIGITS_MAX = 76,
    NAME_COUNT_MAX = 2 * HEADER_FIELD_COUNT_MAX + 16, /* as dkim_verify.c has it */
};

struct signature {
    enum arc_result result; /* PENDING, PASS, FAIL, TEMPERROR */
    const char *reason;
    const struct header_field *field;
    struct str domain, selector;
    struct str b_whole, names; /* what is emptied before hashing; h= */
    enum key_kind kind;
    enum dkim_canon header_canon;
    struct dkim_body_how body_how;
    uint8_t body_hash[SHA256_BYTES];
    uint8_t bytes[SIGNATURE_BYTES_MAX];
    size_t byte_count;
    char question[DKIM_NAME_CAP];
};
struct body {
    struct dkim_body_how how;
    uint8_t hash[SHA256_BYTES];
    uint64_t canon_bytes;
};

struct arc_verify {
    struct arena arena;
    struct header header;
    struct str body;
    struct wall now;
    struct arc_chain chain;
    struct signature seal[ARC_SET_COUNT_MAX], signed_message[ARC_SET_COUNT_MAX];
    struct body cached[ARC_BODY_COUNT_MAX];
    size_t body_count;
    enum arc_result result;
    char reason[ARC_REASON_CAP];
    const struct signature *open; /* whose key is asked for */
    uint32_t oldest_pass;
};

const char *arc_result_name(enum arc_result result)
{
    static const char *const names[] = { [ARC_PENDING] = "pending",
        [ARC_NONE] = "none",
        [ARC_PASS] = "pass",
        [ARC_FAIL] = "fail",
        [ARC_TEMPERROR] = "temperror" };
    ASSERT((size_t)result < COUNT_OF(names));
    return names[result];
}

/* ---- one signature, before its key is known ---- */

static bool refuse(struct signature *sig, enum arc_result result, const char *reason)
{
    sig->result = result;
    sig->reason = reason;
    return false;
}

static bool judge_names(struct signature *sig)
{
    char domain_text[DOMAIN_CAP], selector_text[DOMAIN_CAP];
    struct str domain, selector;
    if (domain_to_ascii(sig->domain, domain_text, &domain) != OK) {
        return refuse(sig, ARC_FAIL, "d= is missing or no domain name");
    }
    if (domain_to_ascii(sig->selector, selector_text, &selector) != OK ||
            selector.len + domain.len + sizeof "._domainkey." - 1 > DOMAIN_BYTES_MAX) {
        return refuse(sig, ARC_FAIL, "s= is missing or no selector");
    }
    fmt(sig->question, sizeof sig->question, "%.*s._domainkey.%.*s", STR_ARG(selector),
            STR_ARG(domain));
    return true;
}

/* An optional number; 0 where it is absent. */
static bool take_number(
        const struct dkim_tags *tags, const char *name, size_t digits_max, uint64_t *ret_value)
{
    const struct dkim_tag *tag = dkim_tags_find(tags, name);
    *ret_value = 0;
    if (!tag) {
        return true;
    }
    enum err err = str_to_u64(tag->value, UINT64_MAX, ret_value);
    if (err == E_TOO_BIG) {
        *ret_value = UINT64_MAX;
    }
    return err != E_SYNTAX && tag->value.len <= digits_max;
}

/* a= is that of DKIM (RFC 8617 4.1.2), so with RFC 8301 and 8463. */
static bool judge_algorithm(struct signature *sig, struct str algorithm)
{
    sig->kind = str_eq(algorithm, STR("ed25519-sha256")) ? KEY_ED25519 : KEY_RSA;
    return sig->kind == KEY_ED25519 || str_eq(algorithm, STR("rsa-sha256")) ||
           refuse(sig, ARC_FAIL, "a= is missing or neither rsa-sha256 nor ed25519-sha256");
}

/* What both kinds of signature have: a b d s t. */
static bool judge_common(struct signature *sig, const struct dkim_tags *tags)
{
    uint64_t signed_s;
    const struct dkim_tag *b = dkim_tags_find(tags, "b");
    sig->domain = dkim_tags_get(tags, "d", STR(""));
    sig->selector = dkim_tags_get(tags, "s", STR(""));
    if (!judge_algorithm(sig, dkim_tags_get(tags, "a", STR("")))) {
        return false;
    }
    if (!take_number(tags, "t", TIME_DIGITS_MAX, &signed_s)) {
        return refuse(sig, ARC_FAIL, "t= is no number");
    }
    enum err err = b ? dkim_base64_into(b->value, sig->bytes, sizeof sig->bytes, &sig->byte_count)
                     : E_SYNTAX;
    if (err != OK || sig->byte_count == 0) {
        return refuse(sig, err == E_NOMEM ? ARC_TEMPERROR : ARC_FAIL,
                "b= is missing or not base64 of a signature");
    }
    sig->b_whole = b->whole;
    return judge_names(sig);
}

static bool judge_seal(struct signature *sig, const struct dkim_tags *tags)
{
    if (dkim_tags_find(tags, "h")) { /* RFC 8617 4.1.3 */
        return refuse(sig, ARC_FAIL, "h= in an ARC-Seal");
    }
    return judge_common(sig, tags);
}

/* RFC 8617 4.1.2: no ARC-Seal in h=. That of ARC-Authentication-Results and ARC-Message-Signature,
 * also a MUST NOT, is seen in practice and changes nothing that is safe. */
static bool judge_fields(struct signature *sig)
{
    struct str name, rest = sig->names;
    size_t count = 0;
    while (dkim_list_cut(&rest, &name)) {
        if (str_eq_nocase(name, STR("ARC-Seal"))) {
            return refuse(sig, ARC_FAIL, "h= covers ARC-Seal");
        }
        count++;
    }
    return count <= NAME_COUNT_MAX || refuse(sig, ARC_FAIL, "h= names too many fields");
}

static bool judge_times(
        const struct arc_verify *verify, struct signature *sig, const struct dkim_tags *tags)
{
    uint64_t signed_s, expires_s;
    sig->body_how.has_limit = dkim_tags_find(tags, "l") != NULL;
    if (!take_number(tags, "t", TIME_DIGITS_MAX, &signed_s) ||
            !take_number(tags, "x", TIME_DIGITS_MAX, &expires_s) ||
            !take_number(tags, "l", LENGTH_DIGITS_MAX, &sig->body_how.limit_bytes)) {
        return refuse(sig, ARC_FAIL, "x= or l= is no number");
    }
    if (dkim_tags_find(tags, "x") &&
            ((int64_t)expires_s < verify->now.ms / 1000 || /* 12 digits fit */
                    (dkim_tags_find(tags, "t") && expires_s <= signed_s))) {
        return refuse(sig, ARC_FAIL, "the signature has expired");
    }
    return true;
}

static bool judge_message_signature(
        const struct arc_verify *verify, struct signature *sig, const struct dkim_tags *tags)
{
    size_t hash_len = 0;
    const struct dkim_tag *names = dkim_tags_find(tags, "h");
    if (!names) {
        return refuse(sig, ARC_FAIL, "h= is missing");
    }
    sig->names = names->value;
    /* Without c= the signatures of the time before RFC 8617, which says nothing else, are relaxed.
     */
    if (!dkim_canon_parse(dkim_tags_get(tags, "c", STR("relaxed/relaxed")), &sig->header_canon,
                &sig->body_how.canon)) {
        return refuse(sig, ARC_FAIL, "unknown canonicalization (c=)");
    }
    if (!dkim_list_has(dkim_tags_get(tags, "q", STR("dns/txt")), STR("dns/txt"))) {
        return refuse(sig, ARC_FAIL, "no known query method (q=)");
    }
    enum err err = dkim_base64_into(
            dkim_tags_get(tags, "bh", STR("")), sig->body_hash, sizeof sig->body_hash, &hash_len);
    if (err != OK || hash_len != SHA256_BYTES) {
        return refuse(sig, err == E_NOMEM ? ARC_TEMPERROR : ARC_FAIL,
                "bh= is missing or not base64 of a hash");
    }
    return judge_fields(sig) && judge_times(verify, sig, tags) && judge_common(sig, tags);
}

static void judge_set(struct arc_verify *verify, uint32_t index)
{
    struct dkim_tags tags;
    const struct arc_fields *set = &verify->chain.set[index];
    struct signature *seal = &verify->seal[index], *sig = &verify->signed_message[index];
    seal->field = set->seal;
    sig->field = set->signature;
    seal->reason = sig->reason = "";
    if (arc_tags(set->seal, &tags) == OK) { /* always: it had an i= */
        (void)judge_seal(seal, &tags);
    }
    if (arc_tags(set->signature, &tags) == OK) {
        (void)judge_message_signature(verify, sig, &tags);
    }
}

/* ---- with the key ---- */

static bool is_same_body(const struct dkim_body_how *a, const struct dkim_body_how *b)
{
    return a->canon == b->canon && a->has_limit == b->has_limit && a->limit_bytes == b->limit_bytes;
}

static const struct body *hash_body(struct arc_verify *verify, struct signature *sig)
{
    struct dkim_body_hash hash;
    for (size_t i = 0; i < verify->body_count; i++) {
        if (is_same_body(&verify->cached[i].how, &sig->body_how)) {
            return &verify->cached[i];
        }
    }
    if (verify->body_count == ARC_BODY_COUNT_MAX) {
        (void)refuse(sig, ARC_FAIL, "too many different l= in one chain");
        return NULL;
    }
    if (dkim_body_begin(&hash, &sig->body_how) != OK) {
        (void)refuse(sig, ARC_TEMPERROR, "the hash could not be computed here");
        return NULL;
    }
    struct body *body = &verify->cached[verify->body_count++];
    dkim_body_add(&hash, verify->body);
    dkim_body_end(&hash, body->hash);
    body->canon_bytes = hash.canon_bytes;
    body->how = sig->body_how;
    return body;
}

static bool check_body(struct arc_verify *verify, struct signature *sig)
{
    const struct body *body = hash_body(verify, sig);
    if (!body) {
        return false;
    }
    if (sig->body_how.has_limit && sig->body_how.limit_bytes > body->canon_bytes) {
        return refuse(sig, ARC_FAIL, "l= is larger than the body");
    }
    if (!crypto_eq(body->hash, sig->body_hash, SHA256_BYTES)) {
        return refuse(sig, ARC_FAIL, "body hash did not verify");
    }
    return true;
}

static bool is_seal(const struct arc_verify *verify, const struct signature *sig)
{
    return sig >= verify->seal && sig < verify->seal + ARC_SET_COUNT_MAX;
}

/* The hash that was signed. */
static bool hash_header(
        const struct arc_verify *verify, struct signature *sig, uint8_t ret_hash[SHA256_BYTES])
{
    struct buf text;
    buf_init(&text, 2 * HEADER_BYTES_MAX + 16);
    if (is_seal(verify, sig)) {
        uint32_t instance = (uint32_t)(sig - verify->seal) + 1; /* at most 50 */
        arc_seal_text(&verify->chain, 1, instance, sig->b_whole, &text);
    } else {
        dkim_canon_names(sig->header_canon, &verify->header, sig->field, sig->names, &text);
        dkim_canon_signature(sig->header_canon, sig->field->raw, sig->b_whole, &text);
    }
    bool is_good = buf_err(&text) == OK ||
                   refuse(sig, ARC_TEMPERROR, "the hash could not be computed here");
    if (is_good) {
        sha256(buf_str(&text), ret_hash);
    }
    buf_done(&text);
    return is_good;
}

static bool use_record(struct signature *sig, struct str txt, const uint8_t hash[SHA256_BYTES])
{
    struct dkim_key_record record = { 0 };
    const char *reason = "";
    enum err err = dkim_key_parse(txt, sig->kind, &record, &reason);
    if (err != OK) {
        return refuse(sig, err == E_NOMEM ? ARC_TEMPERROR : ARC_FAIL, reason);
    }
    bool is_good = false;
    if (record.hashes.ptr && !dkim_list_has(record.hashes, STR("sha256"))) {
        (void)refuse(sig, ARC_FAIL, "sha256 is not in the key's h=");
    } else if (sig->kind == KEY_RSA && key_bits(record.key) < DKIM_RSA_BITS_MIN) {
        (void)refuse(sig, ARC_FAIL, "RSA key under 1024 bits (RFC 8301 3.2)");
    } else if (!key_verify(record.key, str_of((const char *)hash, SHA256_BYTES), /*is_sha1*/ false,
                       str_of((const char *)sig->bytes, sig->byte_count))) {
        (void)refuse(sig, ARC_FAIL, "signature did not verify");
    } else {
        sig->result = ARC_PASS;
        sig->reason = "";
        is_good = true;
    }
    key_free(record.key);
    return is_good;
}

static void try_records(
        struct arc_verify *verify, struct signature *sig, const struct lookup_answer *answer)
{
    uint8_t hash[SHA256_BYTES];
    if (answer->status == LOOKUP_TEMPFAIL) {
        (void)refuse(sig, ARC_TEMPERROR, "DNS did not answer the question for the key");
        return;
    }
    if (answer->status != LOOKUP_FOUND || answer->record_count == 0) {
        (void)refuse(sig, ARC_FAIL, "no key for signature");
        return;
    }
    if (!is_seal(verify, sig) && !check_body(verify, sig)) {
        return;
    }
    if (hash_header(verify, sig, hash)) {
        for (uint32_t i = 0; i < answer->record_count && i < ARC_KEY_COUNT_MAX; i++) {
            if (use_record(sig, answer->record[i].data, hash)) {
                return;
            }
        }
    }
}

/* ---- the chain ---- */

static void finish(struct arc_verify *verify, enum arc_result result, const char *kind,
        uint32_t instance, const char *reason)
{
    verify->result = result;
    verify->open = NULL;
    fmt(verify->reason, sizeof verify->reason, "%s of instance %u: %s", kind, instance, reason);
}

/* Open: its key is asked for; not PASS: the chain is done. */
static bool is_passed(struct arc_verify *verify, const struct signature *sig, uint32_t instance)
{
    if (sig->result == ARC_PENDING) {
        verify->open = sig;
    } else if (sig->result != ARC_PASS) {
        finish(verify, sig->result, is_seal(verify, sig) ? "ARC-Seal" : "ARC-Message-Signature",
                instance, sig->reason);
    }
    return sig->result == ARC_PASS;
}

/* RFC 8617 5.2 steps 4, 6, then 5, which cannot change the result any more. */
static void advance(struct arc_verify *verify)
{
    uint32_t count = verify->chain.count;
    if (!is_passed(verify, &verify->signed_message[count - 1], count)) {
        return;
    }
    for (uint32_t i = count; i > 0; i--) {
        if (!is_passed(verify, &verify->seal[i - 1], i)) {
            return;
        }
    }
    for (uint32_t i = count - 1; i > 0; i--) {
        const struct signature *sig = &verify->signed_message[i - 1];
        if (sig->result == ARC_PENDING) {
            verify->open = sig;
            return;
        }
        if (sig->result != ARC_PASS) {
            verify->oldest_pass = i + 1;
            break;
        }
    }
    verify->result = ARC_PASS;
    verify->open = NULL;
}

static void begin_chain(struct arc_verify *verify)
{
    arc_chain_collect(&verify->header, &verify->chain);
    if (verify->chain.fault) {
        verify->result = ARC_FAIL;
        fmt(verify->reason, sizeof verify->reason, "%s", verify->chain.fault);
        return;
    }
    if (verify->chain.count == 0) {
        verify->result = ARC_NONE;
        fmt(verify->reason, sizeof verify->reason, "the message has no ARC fields");
        return;
    }
    for (uint32_t i = 0; i < verify->chain.count; i++) {
        judge_set(verify, i);
    }
    advance(verify);
}

enum err arc_verify_begin(struct str message, struct wall now, struct arc_verify **ret_verify)
{
    struct why why = { "" };
    struct arc_verify *verify = mem_new(sizeof *verify);
    if (!verify) {
        return E_NOMEM;
    }
    verify->now = now;
    arena_init(&verify->arena, HEADER_ARENA_BYTES);
    enum err err = header_parse(&verify->arena, message, /*at_end*/ true, &verify->header, &why);
    if (err == E_NOMEM) {
        arc_verify_free(verify);
        return err;
    }
    if (err == OK) {
        verify->body = str_from(message, verify->header.body_at);
        begin_chain(verify);
    } else {
        verify->result = ARC_FAIL;
        fmt(verify->reason, sizeof verify->reason, "the header cannot be read: %.150s", why.text);
    }
    *ret_verify = verify;
    return OK;
}

bool arc_question(void *engine, struct lookup_question *ret_question)
{
    const struct arc_verify *verify = engine;
    if (!verify->open) {
        return false;
    }
    *ret_question = (struct lookup_question){ str_from_c(verify->open->question), LOOKUP_TXT };
    return true;
}

void arc_answer(void *engine, const struct lookup_answer *answer)
{
    struct arc_verify *verify = engine;
    if (!verify->open) {
        return;
    }
    struct str name = str_from_c(verify->open->question);
    for (uint32_t i = verify->chain.count; i > 0; i--) {
        struct signature *both[] = { &verify->signed_message[i - 1], &verify->seal[i - 1] };
        for (size_t k = 0; k < COUNT_OF(both); k++) {
            if (both[k]->result == ARC_PENDING && str_eq(str_from_c(both[k]->question), name)) {
                try_records(verify, both[k], answer);
            }
        }
    }
    advance(verify);
}

enum arc_result arc_verify_result(const struct arc_verify *verify)
{
    return verify->result;
}

const char *arc_verify_reason(const struct arc_verify *verify)
{
    return verify->reason;
}

size_t arc_set_count(const struct arc_verify *verify)
{
    return verify->chain.fault ? 0 : verify->chain.count;
}

struct arc_set_verdict arc_set(const struct arc_verify *verify, uint32_t instance)
{
    ASSERT(instance > 0 && instance <= arc_set_count(verify));
    const struct arc_fields *set = &verify->chain.set[instance - 1];
    const struct signature *seal = &verify->seal[instance - 1];
    const struct signature *sig = &verify->signed_message[instance - 1];
    return (struct arc_set_verdict){ .seal = seal->result,
        .message_signature = sig->result,
        .seal_reason = seal->reason,
        .message_signature_reason = sig->reason,
        .domain = seal->domain,
        .selector = seal->selector,
        .signature_domain = sig->domain,
        .signature_selector = sig->selector,
        .cv = set->cv,
        .results = set->payload };
}

uint32_t arc_oldest_pass(const struct arc_verify *verify)
{
    return verify->oldest_pass;
}

void arc_verify_free(struct arc_verify *verify)
{
    if (verify) {
        arena_done(&verify->arena);
        mem_free(verify);
    }
}
