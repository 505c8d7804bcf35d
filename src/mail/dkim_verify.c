/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_verify.c - verifying signatures (RFC 6376 6.1, RFC 8301, RFC 8463).
 *
 * Three stages for each signature: judge its tags (no key needed), ask for the key record, compute.
 * A verdict is set once and by refuse() or compute() only.
 */
#include "core/str.h"
#include "mail/dkim_priv.h"
#include "mail/domain.h"

enum {
    TIME_DIGITS_MAX = 12,
    LENGTH_DIGITS_MAX = 76,
    IDENTITY_BYTES_MAX = 320,
    NAME_COUNT_MAX = 2 * HEADER_FIELD_COUNT_MAX + 16, /* all that dkim_sign may list */
};

struct signature {
    struct dkim_verdict verdict;
    const struct header_field *field;
    struct str b_whole; /* what is emptied before hashing */
    struct str names;   /* h= */
    enum key_kind kind;
    enum dkim_canon header_canon;
    struct dkim_body_how body_how;
    bool is_body_in_header;          /* allman-dkim-base-01: no bh=, the body follows the header */
    uint8_t body_hash[SHA256_BYTES]; /* bh= */
    uint8_t bytes[SIGNATURE_BYTES_MAX]; /* b= */
    size_t byte_count;
    bool is_usable; /* nothing wrong with it so far but that its key is unknown */
    char question[DKIM_NAME_CAP];
};

/* A body hash already computed: several signatures mostly share one. */
struct body {
    struct dkim_body_how how;
    uint8_t hash[SHA256_BYTES];
    uint64_t canon_bytes;
};

struct dkim_verify {
    struct arena arena;
    struct dkim_policy policy;
    struct header header;
    struct str body;
    struct wall now;
    size_t count, body_count;
    struct signature signature[DKIM_SIGNATURE_COUNT_MAX];
    struct body cached[DKIM_SIGNATURE_COUNT_MAX];
};

const char *dkim_result_name(enum dkim_result result)
{
    static const char *const names[] = { [DKIM_PENDING] = "pending",
        [DKIM_PASS] = "pass",
        [DKIM_FAIL] = "fail",
        [DKIM_PERMERROR] = "permerror",
        [DKIM_TEMPERROR] = "temperror" };
    ASSERT((size_t)result < COUNT_OF(names));
    return names[result];
}

/* Sets the verdict; false, so that a check reads `return refuse(...)`. */
static bool refuse(struct signature *sig, enum dkim_result result, const char *reason)
{
    sig->verdict.result = result;
    fmt(sig->verdict.reason, sizeof sig->verdict.reason, "%s", reason);
    return false;
}

static bool is_draft_ok(const struct dkim_verify *verify)
{
    return !verify->policy.refuse_drafts;
}

static bool judge_version(
        const struct dkim_verify *verify, struct signature *sig, const struct dkim_tags *tags)
{
    const struct dkim_tag *version = dkim_tags_find(tags, "v");
    if (version && str_eq(version->value, STR("1"))) {
        return true;
    }
    if (is_draft_ok(verify) && (!version || str_eq(version->value, STR("0.5")))) {
        return true;
    }
    return refuse(sig, DKIM_PERMERROR,
            version ? "incompatible version (v=)" : "signature missing required tag v=");
}

static bool judge_required(
        const struct dkim_verify *verify, struct signature *sig, const struct dkim_tags *tags)
{
    static const char *const required[] = { "a", "b", "d", "h", "s" };
    for (size_t i = 0; i < COUNT_OF(required); i++) {
        if (dkim_tags_get(tags, required[i], STR("")).len == 0) {
            char reason[DKIM_REASON_CAP];
            fmt(reason, sizeof reason, "signature missing required tag %s=", required[i]);
            return refuse(sig, DKIM_PERMERROR, reason);
        }
    }
    sig->is_body_in_header = !dkim_tags_find(tags, "bh");
    if (sig->is_body_in_header && !(is_draft_ok(verify) && verify->policy.allow_sha1_and_short)) {
        return refuse(sig, DKIM_PERMERROR, "signature missing required tag bh=");
    }
    return true;
}

static bool judge_algorithm(const struct dkim_verify *verify, struct signature *sig)
{
    struct str algorithm = sig->verdict.algorithm;
    if (str_eq(algorithm, STR("rsa-sha256"))) {
        sig->kind = KEY_RSA;
        return true;
    }
    if (str_eq(algorithm, STR("ed25519-sha256"))) { /* RFC 8463 3 */
        sig->kind = KEY_ED25519;
        return true;
    }
    if (!str_eq(algorithm, STR("rsa-sha1"))) {
        return refuse(sig, DKIM_PERMERROR, "unknown algorithm (a=)");
    }
    sig->kind = KEY_RSA;
    sig->body_how.is_sha1 = true;
    if (!verify->policy.allow_sha1_and_short) {
        return refuse(sig, DKIM_PERMERROR, "rsa-sha1 is no longer valid (RFC 8301 3.1)");
    }
    return true;
}

static bool judge_canon(struct signature *sig, const struct dkim_tags *tags)
{
    if (!dkim_canon_parse(dkim_tags_get(tags, "c", STR("simple/simple")), &sig->header_canon,
                &sig->body_how.canon)) {
        return refuse(sig, DKIM_PERMERROR, "unknown canonicalization (c=)");
    }
    return true;
}

static bool judge_query(
        const struct dkim_verify *verify, struct signature *sig, const struct dkim_tags *tags)
{
    struct str methods = dkim_tags_get(tags, "q", STR("dns/txt"));
    if (dkim_list_has(methods, STR("dns/txt")) ||
            (is_draft_ok(verify) && dkim_list_has(methods, STR("dns")))) {
        return true;
    }
    return refuse(sig, DKIM_PERMERROR, "no known query method (q=)");
}

/* RFC 6376 6.1.1: d= is the same as, or a parent of, the domain of i=. */
static bool judge_identity(struct signature *sig)
{
    struct str identity = sig->verdict.identity;
    if (identity.len == 0) {
        return true;
    }
    size_t at = str_rindex(identity, '@');
    if (at == identity.len || identity.len > IDENTITY_BYTES_MAX) {
        return refuse(sig, DKIM_PERMERROR, "i= is not an address");
    }
    if (!domain_is_within(str_from(identity, at + 1), sig->verdict.domain)) {
        return refuse(sig, DKIM_PERMERROR, "domain mismatch: i= is not within d=");
    }
    return true;
}

static bool judge_names(struct signature *sig)
{
    char domain_text[DOMAIN_CAP], selector_text[DOMAIN_CAP];
    struct str domain, selector;
    if (domain_to_ascii(sig->verdict.domain, domain_text, &domain) != OK) {
        return refuse(sig, DKIM_PERMERROR, "d= is not a domain name");
    }
    if (domain_to_ascii(sig->verdict.selector, selector_text, &selector) != OK ||
            selector.len + domain.len + sizeof "._domainkey." - 1 > DOMAIN_BYTES_MAX) {
        return refuse(sig, DKIM_PERMERROR, "s= is not a selector");
    }
    fmt(sig->question, sizeof sig->question, "%.*s._domainkey.%.*s", STR_ARG(selector),
            STR_ARG(domain));
    return judge_identity(sig);
}

static bool judge_fields(struct signature *sig)
{
    struct str name, rest = sig->names;
    size_t count = 0;
    bool has_from = false;
    while (dkim_list_cut(&rest, &name)) {
        bool is_last = rest.len == 0;
        count++;
        has_from |= str_eq_nocase(name, STR("From"));
        if (name.len == 0 || (is_last && sig->names.ptr[sig->names.len - 1] == ':')) {
            return refuse(sig, DKIM_PERMERROR, "signature syntax error in h=");
        }
    }
    if (count > NAME_COUNT_MAX) { /* bounds the search: names times fields */
        return refuse(sig, DKIM_PERMERROR, "h= names too many fields");
    }
    return has_from || refuse(sig, DKIM_PERMERROR, "From field not signed");
}

/* An optional number; *ret_value stays where it is absent. */
static bool take_number(struct signature *sig, const struct dkim_tags *tags, const char *name,
        size_t digits_max, uint64_t *ret_value)
{
    const struct dkim_tag *tag = dkim_tags_find(tags, name);
    uint64_t value = UINT64_MAX;
    if (!tag) {
        return true;
    }
    enum err err = str_to_u64(tag->value, UINT64_MAX, &value);
    if (err == E_SYNTAX || tag->value.len > digits_max) {
        char reason[DKIM_REASON_CAP];
        fmt(reason, sizeof reason, "signature syntax error in %s=", name);
        return refuse(sig, DKIM_PERMERROR, reason);
    }
    *ret_value = err == OK ? value : UINT64_MAX; /* l= of 76 digits is legal: larger than all */
    return true;
}

static bool judge_numbers(
        const struct dkim_verify *verify, struct signature *sig, const struct dkim_tags *tags)
{
    uint64_t signed_s = 0, expires_s = 0;
    sig->body_how.has_limit = dkim_tags_find(tags, "l") != NULL;
    if (!take_number(sig, tags, "t", TIME_DIGITS_MAX, &signed_s) ||
            !take_number(sig, tags, "x", TIME_DIGITS_MAX, &expires_s) ||
            !take_number(sig, tags, "l", LENGTH_DIGITS_MAX, &sig->body_how.limit_bytes)) {
        return false;
    }
    sig->verdict.signed_s = (int64_t)signed_s; /* 12 digits fit */
    sig->verdict.expires_s = (int64_t)expires_s;
    if (!dkim_tags_find(tags, "x")) {
        return true;
    }
    if (dkim_tags_find(tags, "t") && expires_s <= signed_s) {
        return refuse(sig, DKIM_PERMERROR, "signature expires before it was made");
    }
    if (sig->verdict.expires_s < verify->now.ms / 1000) {
        return refuse(sig, DKIM_PERMERROR, "signature expired");
    }
    return true;
}

static void set_b_prefix(struct dkim_verdict *verdict, struct str b)
{
    size_t len = 0;
    for (size_t i = 0; i < b.len && len + 1 < sizeof verdict->b_prefix; i++) {
        if (b.ptr[i] > ' ') {
            verdict->b_prefix[len++] = b.ptr[i];
        }
    }
}

static bool judge_hashes(struct signature *sig, const struct dkim_tags *tags)
{
    const struct dkim_tag *b = dkim_tags_find(tags, "b");
    size_t hash_len = 0, wanted_len = sig->body_how.is_sha1 ? SHA1_BYTES : SHA256_BYTES;
    sig->b_whole = b->whole;
    enum err err = dkim_base64_into(b->value, sig->bytes, sizeof sig->bytes, &sig->byte_count);
    if (err != OK || sig->byte_count == 0) {
        return refuse(sig, err == E_NOMEM ? DKIM_TEMPERROR : DKIM_PERMERROR,
                "b= is not base64 of a signature");
    }
    if (sig->is_body_in_header) {
        return true;
    }
    struct str text = dkim_tags_get(tags, "bh", STR(""));
    err = dkim_base64_into(text, sig->body_hash, sizeof sig->body_hash, &hash_len);
    if (err != OK || hash_len != wanted_len) {
        return refuse(sig, err == E_NOMEM ? DKIM_TEMPERROR : DKIM_PERMERROR,
                "bh= is not base64 of a hash");
    }
    return true;
}

/* RFC 6376 6.1.1; DKIM_PENDING stays where all is well so far. */
static bool judge(const struct dkim_verify *verify, struct signature *sig)
{
    struct dkim_tags tags;
    struct dkim_verdict *verdict = &sig->verdict;
    /* Not the trimmed value: blanks at its end belong to b= where that comes last (3.5, b=). */
    struct str text = str_from(sig->field->raw, sig->field->name.len + 1);
    text.len -= str_ends_nocase(text, STR("\r\n")) ? 2 : 0;
    if (dkim_tags_parse(text, &tags) != OK) {
        return refuse(sig, DKIM_PERMERROR, "signature syntax error");
    }
    verdict->domain = dkim_tags_get(&tags, "d", STR(""));
    verdict->selector = dkim_tags_get(&tags, "s", STR(""));
    verdict->algorithm = dkim_tags_get(&tags, "a", STR(""));
    verdict->identity = dkim_tags_get(&tags, "i", STR(""));
    sig->names = dkim_tags_get(&tags, "h", STR(""));
    set_b_prefix(verdict, dkim_tags_get(&tags, "b", STR("")));
    return judge_version(verify, sig, &tags) && judge_required(verify, sig, &tags) &&
           judge_algorithm(verify, sig) && judge_canon(sig, &tags) &&
           judge_query(verify, sig, &tags) && judge_names(sig) && judge_fields(sig) &&
           judge_numbers(verify, sig, &tags) && judge_hashes(sig, &tags);
}

enum err dkim_verify_begin(struct str message, struct wall now, const struct dkim_policy *policy,
        struct dkim_verify **ret_verify, struct why *why)
{
    struct dkim_verify *verify = mem_new(sizeof *verify);
    if (!verify) {
        return E_NOMEM;
    }
    arena_init(&verify->arena, HEADER_ARENA_BYTES);
    enum err err = header_parse(&verify->arena, message, /*at_end*/ true, &verify->header, why);
    if (err != OK) {
        dkim_verify_free(verify);
        return err;
    }
    verify->policy = policy ? *policy : (struct dkim_policy){ 0 };
    verify->now = now;
    verify->body = str_from(message, verify->header.body_at);
    for (size_t i = 0; i < verify->header.field_count; i++) {
        const struct header_field *field = &verify->header.field[i];
        if (verify->count < DKIM_SIGNATURE_COUNT_MAX &&
                str_eq_nocase(field->name, STR("DKIM-Signature"))) {
            struct signature *sig = &verify->signature[verify->count++];
            sig->field = field;
            sig->is_usable = judge(verify, sig);
        }
    }
    *ret_verify = verify;
    return OK;
}

size_t dkim_verify_count(const struct dkim_verify *verify)
{
    return verify->count;
}

bool dkim_verify_question(const struct dkim_verify *verify, size_t index, struct str *ret_name)
{
    ASSERT(index < verify->count);
    const struct signature *sig = &verify->signature[index];
    if (sig->verdict.result != DKIM_PENDING) {
        return false;
    }
    *ret_name = str_from_c(sig->question);
    return true;
}

/* RFC 4871 3.6.1 g=: the local part of i= fits a pattern with at most one '*', case kept. */
static bool is_granted(struct str pattern, struct str identity)
{
    struct str local = str_sub(identity, 0, str_rindex(identity, '@'));
    size_t star = str_index(pattern, '*');
    struct str head = str_sub(pattern, 0, star), tail = str_from(pattern, star + 1);
    if (pattern.len == 0) {
        return false;
    }
    if (star == pattern.len) {
        return str_eq(pattern, local);
    }
    return local.len >= head.len + tail.len && str_starts(local, head) &&
           str_eq(str_from(local, local.len - tail.len), tail);
}

static bool is_domain_exact(const struct dkim_verdict *verdict)
{
    struct str identity = verdict->identity;
    return identity.len == 0 ||
           str_eq_nocase(str_from(identity, str_rindex(identity, '@') + 1), verdict->domain);
}

/* RFC 6376 6.1.2: may this key verify that signature? */
static bool judge_key(const struct dkim_verify *verify, struct signature *sig,
        const struct dkim_key_record *record)
{
    bool is_old = verify->policy.allow_sha1_and_short;
    struct dkim_verdict *verdict = &sig->verdict;
    verdict->key_bits = key_bits(record->key);
    verdict->is_testing = record->is_testing;
    if (record->hashes.ptr &&
            !dkim_list_has(record->hashes, sig->body_how.is_sha1 ? STR("sha1") : STR("sha256"))) {
        return refuse(sig, DKIM_PERMERROR, "inappropriate hash algorithm: not in the key's h=");
    }
    if (record->is_exact_domain && !is_domain_exact(verdict)) {
        return refuse(sig, DKIM_PERMERROR, "key asks that i= has exactly the domain d= (t=s)");
    }
    if (is_old && record->granularity.ptr && !is_granted(record->granularity, verdict->identity)) {
        return refuse(sig, DKIM_PERMERROR, "i= does not fit the key's g=");
    }
    if (sig->kind == KEY_RSA && verdict->key_bits < DKIM_RSA_BITS_MIN && !is_old) {
        return refuse(sig, DKIM_PERMERROR, "RSA key under 1024 bits (RFC 8301 3.2)");
    }
    return true;
}

static bool is_same_body(const struct dkim_body_how *a, const struct dkim_body_how *b)
{
    return a->canon == b->canon && a->is_sha1 == b->is_sha1 && a->has_limit == b->has_limit &&
           a->limit_bytes == b->limit_bytes;
}

/* The hash of the body as the signature wants it; NULL: no memory (or no SHA-1 on this system). */
static const struct body *hash_body(struct dkim_verify *verify, const struct dkim_body_how *how)
{
    for (size_t i = 0; i < verify->body_count; i++) {
        if (is_same_body(&verify->cached[i].how, how)) {
            return &verify->cached[i];
        }
    }
    struct body *body = &verify->cached[verify->body_count];
    struct dkim_body_hash hash;
    if (dkim_body_begin(&hash, how) != OK) {
        return NULL;
    }
    dkim_body_add(&hash, verify->body);
    dkim_body_end(&hash, body->hash);
    body->canon_bytes = hash.canon_bytes;
    body->how = *how;
    verify->body_count++;
    return body;
}

static bool check_body(struct dkim_verify *verify, struct signature *sig)
{
    const struct body *body = hash_body(verify, &sig->body_how);
    if (!body) {
        return refuse(sig, DKIM_TEMPERROR, "the hash could not be computed here");
    }
    if (sig->body_how.has_limit) {
        if (sig->body_how.limit_bytes > body->canon_bytes) { /* RFC 6376 3.5: MUST NOT */
            return refuse(sig, DKIM_PERMERROR, "l= is larger than the body");
        }
        sig->verdict.unsigned_bytes = body->canon_bytes - sig->body_how.limit_bytes;
    }
    size_t len = sig->body_how.is_sha1 ? SHA1_BYTES : SHA256_BYTES;
    if (!crypto_eq(body->hash, sig->body_hash, len)) {
        return refuse(sig, DKIM_FAIL, "body hash did not verify");
    }
    return true;
}

/* The hash that was signed; 0: no memory. */
static size_t hash_header(const struct dkim_verify *verify, const struct signature *sig,
        uint8_t ret_hash[SHA256_BYTES])
{
    struct digest digest;
    struct buf text;
    size_t len = 0;
    buf_init(&text, 2 * HEADER_BYTES_MAX + 16);
    dkim_canon_names(sig->header_canon, &verify->header, sig->field, sig->names, &text);
    dkim_canon_signature(sig->header_canon, sig->field->raw, sig->b_whole, &text);
    if (buf_err(&text) == OK && digest_begin(&digest, sig->body_how.is_sha1) == OK) {
        digest_add(&digest, buf_str(&text));
        len = digest_end(&digest, ret_hash);
    }
    buf_done(&text);
    return len;
}

/* As hash_header, for allman-dkim-base-01: fields, CRLF, body, CRLF, signature field. */
static size_t hash_all(const struct dkim_verify *verify, const struct signature *sig,
        uint8_t ret_hash[SHA256_BYTES])
{
    struct dkim_body_hash body;
    struct buf text;
    size_t len = 0;
    if (dkim_body_begin(&body, &sig->body_how) != OK) {
        return 0;
    }
    buf_init(&text, 2 * HEADER_BYTES_MAX + 16);
    dkim_canon_names(sig->header_canon, &verify->header, sig->field, sig->names, &text);
    buf_add(&text, STR("\r\n"));
    digest_add(&body.digest, buf_str(&text));
    dkim_body_add(&body, verify->body);
    dkim_body_settle(&body);
    buf_cut(&text, 0);
    buf_add(&text, STR("\r\n"));
    dkim_canon_signature(sig->header_canon, sig->field->raw, sig->b_whole, &text);
    if (buf_err(&text) == OK) {
        digest_add(&body.digest, buf_str(&text));
        len = digest_end(&body.digest, ret_hash);
    }
    dkim_body_drop(&body);
    buf_done(&text);
    return len;
}

/* RFC 6376 6.1.3 */
static bool compute(struct dkim_verify *verify, struct signature *sig, const struct key *key)
{
    uint8_t hash[SHA256_BYTES];
    if (!sig->is_body_in_header && !check_body(verify, sig)) {
        return false;
    }
    size_t len =
            sig->is_body_in_header ? hash_all(verify, sig, hash) : hash_header(verify, sig, hash);
    if (len == 0) {
        return refuse(sig, DKIM_TEMPERROR, "the hash could not be computed here");
    }
    if (!key_verify(key, str_of((const char *)hash, len), sig->body_how.is_sha1,
                str_of((const char *)sig->bytes, sig->byte_count))) {
        return refuse(sig, DKIM_FAIL, "signature did not verify");
    }
    sig->verdict.result = DKIM_PASS;
    sig->verdict.reason[0] = '\0';
    return true;
}

static bool use_record(struct dkim_verify *verify, struct signature *sig, struct str txt)
{
    struct dkim_key_record record = { 0 };
    const char *reason = "";
    enum err err = dkim_key_parse(txt, sig->kind, &record, &reason);
    if (err != OK) {
        return refuse(sig, err == E_NOMEM ? DKIM_TEMPERROR : DKIM_PERMERROR, reason);
    }
    bool is_good = judge_key(verify, sig, &record) && compute(verify, sig, record.key);
    key_free(record.key);
    return is_good;
}

void dkim_verify_answer(
        struct dkim_verify *verify, size_t index, enum dkim_answer answer, struct str txt)
{
    ASSERT(index < verify->count);
    struct signature *sig = &verify->signature[index];
    if (!sig->is_usable || sig->verdict.result == DKIM_PASS) {
        return;
    }
    struct dkim_verdict before = sig->verdict;
    if (answer == DKIM_FOUND) {
        (void)use_record(verify, sig, txt);
    } else if (answer == DKIM_NONE) {
        (void)refuse(sig, DKIM_PERMERROR, "no key for signature");
    } else {
        (void)refuse(sig, DKIM_TEMPERROR, "DNS did not answer the question for the key");
    }
    /* A further record only counts where it does better (RFC 6376 6.1.2 step 4). */
    bool is_better = sig->verdict.result == DKIM_PASS ||
                     (sig->verdict.result == DKIM_FAIL && before.result != DKIM_FAIL);
    if (before.result != DKIM_PENDING && !is_better) {
        sig->verdict = before;
    }
}

const struct dkim_verdict *dkim_verify_result(const struct dkim_verify *verify, size_t index)
{
    ASSERT(index < verify->count);
    return &verify->signature[index].verdict;
}

void dkim_verify_free(struct dkim_verify *verify)
{
    if (verify) {
        arena_done(&verify->arena);
        mem_free(verify);
    }
}
