/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_sign.c - writing a DKIM-Signature field (RFC 6376 5), relaxed/relaxed, without l=.
 *
 * h= lists each signed field from the bottom up, as a verifier takes them (5.4.2), then once more
 * every name whose addition would change what a reader sees (oversigning, 8.15).
 */
#include "core/b64.h"
#include "core/str.h"
#include "mail/dkim_priv.h"
#include "mail/domain.h"

enum {
    LINE_COLUMNS_MAX = 77, /* and a colon or semicolon behind */
    TAB_COLUMNS = 8,       /* as most show it */
    B64_LINE_CHARS = 68,   /* with tab and "b=" */
    NAME_BYTES_MAX = LINE_COLUMNS_MAX - TAB_COLUMNS,
    CANON_BYTES_MAX = 2 * DKIM_FIELD_BYTES_MAX,
};

/* Names that are signed even before any of them is there, so that none can be added later. */
static const char *const oversigned_names[] = { "From", "Subject", "Date", "To", "Cc", "Message-ID",
    "Sender", "Reply-To", "Content-Type", "Content-Transfer-Encoding" };
static const char *const signed_names[] = { "MIME-Version", "In-Reply-To", "References",
    "Feedback-ID", "Auto-Submitted", "CFBL-Address", "CFBL-Feedback-ID" /* RFC 9477 3.1 */ };

static bool is_among(struct str name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq_nocase(name, str_from_c(names[i]))) {
            return true;
        }
    }
    return false;
}

/* ';' may stand in a field name, but in h= it would end the tag and begin one of the writer's own;
 * a name without end could not be folded. */
static bool is_listable(struct str name)
{
    return str_index(name, ';') == name.len && name.len <= NAME_BYTES_MAX;
}

bool dkim_is_oversigned(struct str field_name)
{
    return is_among(field_name, oversigned_names, COUNT_OF(oversigned_names)) ||
           (str_starts_nocase(field_name, STR("Content-")) && is_listable(field_name));
}

bool dkim_is_signed(struct str field_name)
{
    if (dkim_is_oversigned(field_name) ||
            is_among(field_name, signed_names, COUNT_OF(signed_names))) {
        return true;
    }
    bool is_resent = str_starts_nocase(field_name, STR("Resent-")) &&
                     !str_eq_nocase(field_name, STR("Resent-Bcc"));
    return (is_resent || str_starts_nocase(field_name, STR("List-"))) && is_listable(field_name);
}

bool dkim_is_name(struct str name)
{
    return domain_is_dns_name(name);
}

void dkim_fold(struct dkim_folder *folder, struct str token, bool is_blank_before)
{
    if (folder->column + is_blank_before + token.len > LINE_COLUMNS_MAX) {
        buf_add(folder->out, STR("\r\n\t"));
        folder->column = TAB_COLUMNS;
    } else if (is_blank_before) {
        buf_add_char(folder->out, ' ');
        folder->column++;
    }
    buf_add(folder->out, token);
    folder->column += token.len;
}

/* One name of h= with its colon or prefix, as one token: a fold stands before it only. */
static void fold_add_name(struct dkim_folder *folder, struct str name, bool is_first)
{
    if (is_first) {
        dkim_fold(folder, STR("h="), /*is_blank_before*/ true);
    } else {
        buf_add_char(folder->out, ':');
        folder->column++;
    }
    dkim_fold(folder, name, /*is_blank_before*/ false);
}

static bool is_new_oversigned(const struct header *header, size_t index)
{
    struct str name = header->field[index].name;
    return dkim_is_oversigned(name) &&
           !is_among(name, oversigned_names, COUNT_OF(oversigned_names)) &&
           header_find(header, name, 0) == &header->field[index];
}

void dkim_fold_names(struct dkim_folder *folder, const struct header *header, struct str also)
{
    bool is_first = true;
    for (size_t i = header->field_count; i-- > 0;) {
        struct str name = header->field[i].name;
        if (dkim_is_signed(name) || (also.len > 0 && str_eq_nocase(name, also))) {
            fold_add_name(folder, header->field[i].name, is_first);
            is_first = false;
        }
    }
    for (size_t i = 0; i < COUNT_OF(oversigned_names); i++) {
        fold_add_name(folder, str_from_c(oversigned_names[i]), is_first);
        is_first = false;
    }
    for (size_t i = 0; i < header->field_count; i++) { /* other Content-* */
        if (is_new_oversigned(header, i)) {
            fold_add_name(folder, header->field[i].name, /*is_first*/ false);
        }
    }
    buf_add_char(folder->out, ';');
    folder->column++;
}

/* "%s=%s;" as one token. */
void dkim_fold_tag(struct dkim_folder *folder, const char *name, struct str value)
{
    char text[DKIM_NAME_CAP];
    size_t len = fmt(text, sizeof text, "%s=%.*s;", name, STR_ARG(value));
    dkim_fold(folder, str_of(text, len), /*is_blank_before*/ true);
}

/* The field up to and with "b=". */
static void add_unsigned_field(
        const struct dkim_signing *how, const struct header *header, struct buf *field)
{
    bool is_rsa = key_kind(how->key) == KEY_RSA;
    struct dkim_folder folder = { .out = field };
    char number[24];
    struct buf hash;
    buf_init(&hash, 64);
    b64_encode(&hash, str_of((const char *)how->body_hash, SHA256_BYTES));
    dkim_fold(&folder, STR("DKIM-Signature:"), /*is_blank_before*/ false);
    dkim_fold_tag(&folder, "v", STR("1"));
    dkim_fold_tag(&folder, "a", is_rsa ? STR("rsa-sha256") : STR("ed25519-sha256"));
    dkim_fold_tag(&folder, "c", STR("relaxed/relaxed"));
    dkim_fold_tag(&folder, "d", how->domain);
    dkim_fold_tag(&folder, "s", how->selector);
    dkim_fold_tag(&folder, "t",
            str_of(number,
                    fmt(number, sizeof number, "%lld", (long long)(how->accepted.ms / 1000))));
    dkim_fold_names(&folder, header, STR(""));
    dkim_fold_tag(&folder, "bh", buf_str(&hash));
    buf_add(field, STR("\r\n\tb="));
    field->err = buf_err(field) == OK ? buf_err(&hash) : buf_err(field);
    buf_done(&hash);
}

/* RFC 6376 3.7: the signed fields, then the signature field without CRLF, its b= empty. */
static void add_signed_text(
        const struct header *header, struct str unsigned_field, struct buf *text)
{
    for (size_t i = header->field_count; i-- > 0;) {
        if (dkim_is_signed(header->field[i].name)) {
            dkim_canon_field(DKIM_RELAXED, header->field[i].raw, text);
        }
    }
    dkim_canon_signature(
            DKIM_RELAXED, unsigned_field, str_of(unsigned_field.ptr + unsigned_field.len, 0), text);
}

enum err dkim_add_signature(const struct key *key, struct str text, struct buf *field)
{
    uint8_t hash[SHA256_BYTES], signature[SIGNATURE_BYTES_MAX];
    size_t len;
    struct buf base64;
    sha256(text, hash);
    enum err err = key_sign(key, hash, signature, &len);
    if (err != OK) {
        return err;
    }
    buf_init(&base64, 2 * SIGNATURE_BYTES_MAX);
    b64_encode(&base64, str_of((const char *)signature, len));
    struct str rest = buf_str(&base64);
    while (rest.len > 0) {
        buf_add(field, str_sub(rest, 0, B64_LINE_CHARS));
        rest = str_from(rest, B64_LINE_CHARS);
        buf_add(field, rest.len > 0 ? STR("\r\n\t") : STR("\r\n"));
    }
    err = buf_err(&base64) == OK ? buf_err(field) : buf_err(&base64);
    buf_done(&base64);
    return err;
}

static enum err sign_header(
        const struct dkim_signing *how, const struct header *header, struct buf *field)
{
    struct buf text;
    buf_init(&text, CANON_BYTES_MAX);
    add_unsigned_field(how, header, field);
    enum err err = buf_err(field);
    if (err == OK) {
        add_signed_text(header, buf_str(field), &text);
        err = buf_err(&text);
    }
    if (err == OK) {
        err = dkim_add_signature(how->key, buf_str(&text), field);
    }
    buf_done(&text);
    return err;
}

enum err dkim_sign(const struct dkim_signing *how, struct str header_block, struct buf *ret_field)
{
    struct arena arena;
    struct buf field;
    struct header header;
    if (!dkim_is_name(how->domain) || !dkim_is_name(how->selector) || how->accepted.ms < 0) {
        return E_USAGE;
    }
    arena_init(&arena, HEADER_ARENA_BYTES);
    buf_init(&field, DKIM_FIELD_BYTES_MAX);
    enum err err = header_parse(&arena, header_block, /*at_end*/ true, &header, NULL);
    if (err == OK && header.has_border) {
        err = E_SYNTAX; /* more than the fields */
    }
    if (err == OK) {
        err = sign_header(how, &header, &field);
    }
    if (err == OK) {
        buf_add(ret_field, buf_str(&field));
        err = buf_err(ret_field);
    }
    buf_done(&field);
    arena_done(&arena);
    return err;
}
