/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_key.c - key records: read with all the rules of RFC 6376 3.6.1 and 6.1.2, and written.
 */
#include "core/b64.h"
#include "core/str.h"
#include "mail/dkim_priv.h"

enum { TXT_STRING_BYTES_MAX = 255, RECORD_BYTES_MAX = 4096 };

static enum err refuse(const char **ret_reason, enum err err, const char *reason)
{
    *ret_reason = reason;
    return err;
}

/* A public exponent of 1 makes everyone a signer; DER has it last: INTEGER, one byte, 1. */
static bool has_exponent_one(struct str der)
{
    return der.len >= 3 && memcmp(der.ptr + der.len - 3, "\x02\x01\x01", 3) == 0;
}

static enum err decode_key(
        struct str text, enum key_kind kind, struct key **ret_key, const char **ret_reason)
{
    struct buf der;
    buf_init(&der, DKIM_TXT_BYTES_MAX);
    enum err err = dkim_base64(text, &der);
    if (err == OK && kind == KEY_RSA && has_exponent_one(buf_str(&der))) {
        err = E_SYNTAX;
    }
    if (err == OK) {
        err = key_from_public(kind, buf_str(&der), ret_key);
    }
    buf_done(&der);
    if (err == E_NOMEM) {
        return refuse(ret_reason, err, "out of memory");
    }
    if (err == E_UNSUPPORTED) {
        return refuse(ret_reason, err, "key of another kind, or over 4096 bits");
    }
    return err == OK ? OK : refuse(ret_reason, E_SYNTAX, "public key does not decode");
}

/* What must hold before the key itself is looked at. */
static enum err check_record(
        const struct dkim_tags *tags, enum key_kind kind, const char **ret_reason)
{
    const struct dkim_tag *version = dkim_tags_find(tags, "v");
    if (version && (version != &tags->tag[0] || !str_eq(version->value, STR("DKIM1")))) {
        return refuse(ret_reason, E_UNSUPPORTED, "key record of another version");
    }
    const struct dkim_tag *public_key = dkim_tags_find(tags, "p");
    if (!public_key) {
        return refuse(ret_reason, E_SYNTAX, "key record without p=");
    }
    if (public_key->value.len == 0) { /* RFC 6376 6.1.2 step 7 */
        return refuse(ret_reason, E_DENIED, "key revoked");
    }
    struct str service = dkim_tags_get(tags, "s", STR("*"));
    if (!dkim_list_has(service, STR("*")) && !dkim_list_has(service, STR("email"))) {
        return refuse(ret_reason, E_DENIED, "key is not for mail (s=)");
    }
    /* RFC 8463 4: k=ed25519. Unrecognized types are ignored, so there is no key. */
    struct str wanted = kind == KEY_RSA ? STR("rsa") : STR("ed25519");
    if (!str_eq_nocase(dkim_tags_get(tags, "k", STR("rsa")), wanted)) {
        return refuse(ret_reason, E_UNSUPPORTED, "key type (k=) does not fit the signature's a=");
    }
    return OK;
}

enum err dkim_key_parse(struct str txt, enum key_kind kind, struct dkim_key_record *ret_record,
        const char **ret_reason)
{
    struct dkim_tags tags;
    struct key *key;
    if (txt.len > DKIM_TXT_BYTES_MAX || dkim_tags_parse(txt, &tags) != OK) {
        return refuse(ret_reason, E_SYNTAX, "key record has a syntax error");
    }
    enum err err = check_record(&tags, kind, ret_reason);
    if (err == OK) {
        err = decode_key(dkim_tags_get(&tags, "p", STR("")), kind, &key, ret_reason);
    }
    if (err != OK) {
        return err;
    }
    struct str flags = dkim_tags_get(&tags, "t", STR(""));
    *ret_record = (struct dkim_key_record){
        .key = key,
        .hashes = dkim_tags_get(&tags, "h", (struct str){ 0 }),
        .granularity = dkim_tags_get(&tags, "g", (struct str){ 0 }),
        .is_testing = dkim_list_has(flags, STR("y")),
        .is_exact_domain = dkim_list_has(flags, STR("s")),
    };
    return OK;
}

/* False: a kind that nobody verifies with (RFC 8463 4). What is no tag list counts as RSA. */
static bool published_kind(struct str txt, enum key_kind *ret_kind)
{
    struct dkim_tags tags;
    *ret_kind = KEY_RSA;
    if (txt.len > DKIM_TXT_BYTES_MAX || dkim_tags_parse(txt, &tags) != OK) {
        return true;
    }
    struct str name = dkim_tags_get(&tags, "k", STR("rsa"));
    *ret_kind = str_eq_nocase(name, STR("ed25519")) ? KEY_ED25519 : KEY_RSA;
    return *ret_kind == KEY_ED25519 || str_eq_nocase(name, STR("rsa"));
}

enum err dkim_record_read(struct str txt, struct dkim_published *ret_published)
{
    enum key_kind kind;
    const char *fault = NULL;
    struct dkim_key_record record = { 0 };
    if (!published_kind(txt, &kind)) {
        *ret_published = (struct dkim_published){ .fault = "k= is neither rsa nor ed25519" };
        return OK;
    }
    enum err err = dkim_key_parse(txt, kind, &record, &fault);
    if (err == E_NOMEM) {
        return err;
    }
    if (err == OK && record.hashes.ptr && !dkim_list_has(record.hashes, STR("sha256"))) {
        fault = "h= forbids SHA-256, the only hash in use (RFC 8301 3.1)";
    } else if (err == OK && kind == KEY_RSA && key_bits(record.key) < DKIM_RSA_BITS_MIN) {
        fault = "RSA key under 1024 bits (RFC 8301 3.2)";
    }
    *ret_published = (struct dkim_published){ record.key, record.is_testing, fault };
    return OK;
}

enum err dkim_record(const struct key *key, struct buf *ret_text)
{
    struct buf der;
    buf_init(&der, DKIM_TXT_BYTES_MAX);
    enum err err = key_to_public(key, &der);
    if (err == OK) {
        buf_addf(ret_text, "v=DKIM1; k=%s; p=", key_kind(key) == KEY_RSA ? "rsa" : "ed25519");
        b64_encode(ret_text, buf_str(&der));
        err = buf_err(ret_text);
    }
    buf_done(&der);
    return err;
}

enum err dkim_record_line(
        struct str domain, struct str selector, const struct key *key, struct buf *ret_line)
{
    struct buf text;
    if (!dkim_is_name(domain) || !dkim_is_name(selector)) {
        return E_USAGE;
    }
    buf_init(&text, RECORD_BYTES_MAX);
    enum err err = dkim_record(key, &text);
    if (err == OK) {
        buf_addf(ret_line, "%.*s._domainkey.%.*s. IN TXT (", STR_ARG(selector), STR_ARG(domain));
        struct str rest = buf_str(&text);
        while (rest.len > 0) { /* a character-string holds 255 octets: RFC 1035 3.3 */
            struct str part = str_sub(rest, 0, TXT_STRING_BYTES_MAX);
            buf_addf(ret_line, " \"%.*s\"", STR_ARG(part));
            rest = str_from(rest, part.len);
        }
        buf_add(ret_line, STR(" )\n"));
        err = buf_err(ret_line);
    }
    buf_done(&text);
    return err;
}
