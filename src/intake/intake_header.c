/* SPDX-License-Identifier: Apache-2.0
 *
 * intake_header.c - the rules of the header, and the header as it leaves.
 *
 * One look at each field sorts it by name; then rules are applied in order of how fundamental they
 * are, and what stays is written out in runs, byte for byte and in its order: our Received in
 * front, a missing Date and Message-ID behind. Numbers C1 to C11 are those of the hostile input
 * that a rule answers.
 */
#include "core/str.h"
#include "intake/header_priv.h"
#include "mail/domain.h"

static const struct {
    struct str name;
    enum field_kind kind;
} known_field[] = {
    { STR_INIT("From"), FIELD_FROM },
    { STR_INIT("Sender"), FIELD_SENDER },
    { STR_INIT("Reply-To"), FIELD_REPLY_TO },
    { STR_INIT("To"), FIELD_TO },
    { STR_INIT("Cc"), FIELD_CC },
    { STR_INIT("Subject"), FIELD_SUBJECT },
    { STR_INIT("Date"), FIELD_DATE },
    { STR_INIT("Message-ID"), FIELD_MESSAGE_ID },
    { STR_INIT("Received"), FIELD_RECEIVED },
    { STR_INIT("Authentication-Results"), FIELD_AUTH_RESULTS },
    { STR_INIT("Bcc"), FIELD_BCC }, /* C6 */
    { STR_INIT("Resent-Bcc"), FIELD_BCC },
    { STR_INIT("Return-Path"), FIELD_REMOVED }, /* C11: the last host writes it, RFC 5321 4.4 */
    { STR_INIT("Content-Length"), FIELD_REMOVED },
};

static enum field_kind kind_of(struct str name)
{
    for (size_t i = 0; i < COUNT_OF(known_field); i++) {
        if (str_eq_nocase(name, known_field[i].name)) {
            return known_field[i].kind;
        }
    }
    if (str_starts_nocase(name, STR("Content-"))) {
        return FIELD_CONTENT;
    }
    return str_starts_nocase(name, OUTPOST_PREFIX) ? FIELD_OUTPOST : FIELD_OTHER;
}

void rules_refuse_nomem(struct rules *rules)
{
    intake_refuse(rules->intake, 452, "4.3.1", "Insufficient system resources");
}

static bool sort_fields(struct rules *rules)
{
    const struct header *header = &rules->header;
    rules->kind = arena_new(&rules->arena, header->field_count + 1);
    if (!rules->kind) {
        rules_refuse_nomem(rules);
        return false;
    }
    for (size_t i = 0; i < header->field_count; i++) {
        enum field_kind kind = kind_of(header->field[i].name);
        rules->kind[i] = (uint8_t)kind; /* < FIELD_KIND_COUNT */
        if (rules->count[kind]++ == 0) {
            rules->first[kind] = &header->field[i];
        }
    }
    return true;
}

/* ---- what makes a header unacceptable ------------------------------------------------------- */

static bool check_lines(struct rules *rules)
{
    if (rules->header.line_bytes_max > INTAKE_LINE_BYTES_MAX) { /* C9 */
        intake_refuse(rules->intake, 554, "5.6.0", "Error: header line longer than %d octets",
                INTAKE_LINE_BYTES_MAX);
        return false;
    }
    if (rules->header.is_8bit) { /* C10, RFC 5322 2.2 */
        intake_refuse(rules->intake, 554, "5.6.0",
                "Error: raw 8-bit character in the header; encode it as RFC 2047 says");
        return false;
    }
    return true;
}

/* RFC 5322 3.6 allows one of each; a second one would be read by some and not by others (C2). */
static bool check_once(struct rules *rules)
{
    static const enum field_kind once[] = { FIELD_SUBJECT, FIELD_DATE, FIELD_TO, FIELD_CC,
        FIELD_MESSAGE_ID, FIELD_SENDER, FIELD_REPLY_TO };
    const struct header *header = &rules->header;
    const struct header_field *second = NULL;
    for (size_t i = 0; i < COUNT_OF(once) && !second; i++) {
        second = rules->count[once[i]] > 1 ? rules->first[once[i]] : NULL;
    }
    for (size_t i = 0; rules->count[FIELD_CONTENT] > 1 && i < header->field_count && !second; i++) {
        if (rules->kind[i] == FIELD_CONTENT && header_count(header, header->field[i].name) > 1) {
            second = &header->field[i];
        }
    }
    if (second) {
        intake_refuse(rules->intake, 554, "5.6.0", "Error: more than one %.*s field in the header",
                STR_ARG(str_sub(second->name, 0, 100)));
    }
    return !second;
}

/* A Received field of ours: "by <hostname>" and an id of our form. */
static bool is_own_trace(struct str value, struct str hostname)
{
    bool is_by_us = false, has_our_id = false;
    struct str word, last = STR("");
    while (value.len > 0) {
        size_t len = 0;
        while (len < value.len && value.ptr[len] != ' ' && value.ptr[len] != '\t' &&
                value.ptr[len] != '\r' && value.ptr[len] != '\n' && value.ptr[len] != ';') {
            len++;
        }
        word = str_sub(value, 0, len);
        value = str_from(value, len + 1);
        if (word.len == 0) {
            continue;
        }
        struct ulid ulid;
        is_by_us = is_by_us || (str_eq_nocase(last, STR("by")) && str_eq_nocase(word, hostname));
        has_our_id = has_our_id || (str_eq_nocase(last, STR("id")) && word.len == ULID_TEXT_LEN &&
                                           ulid_parse(word, &ulid) == OK);
        last = word;
    }
    return is_by_us && has_our_id;
}

static bool check_hops(struct rules *rules)
{
    const struct header *header = &rules->header;
    struct str hostname = rules->intake->client.config->hostname;
    uint32_t own_count = 0;
    for (size_t i = 0; i < header->field_count && own_count <= INTAKE_OWN_TRACE_COUNT_MAX; i++) {
        if (rules->kind[i] == FIELD_RECEIVED && is_own_trace(header->field[i].value, hostname)) {
            own_count++;
        }
    }
    if (rules->count[FIELD_RECEIVED] > INTAKE_HOP_COUNT_MAX) { /* C7, RFC 5321 6.3 */
        intake_refuse(rules->intake, 554, "5.4.6", "Error: too many hops");
        return false;
    }
    if (own_count > INTAKE_OWN_TRACE_COUNT_MAX) {
        intake_refuse(rules->intake, 554, "5.4.6",
                "Error: mail loop: this message went through this host before");
        return false;
    }
    return true;
}

/* Work on addresses is bounded over all fields that hold some (C4); what is no address list is
 * none of our business here. */
static bool check_tokens(struct rules *rules)
{
    const struct header *header = &rules->header;
    struct address *scratch = NULL;
    for (size_t i = 0; i < header->field_count; i++) {
        enum field_kind kind = (enum field_kind)rules->kind[i];
        struct str value = header->field[i].value;
        bool has_addresses = kind == FIELD_FROM || kind == FIELD_SENDER || kind == FIELD_TO ||
                             kind == FIELD_CC || kind == FIELD_REPLY_TO || kind == FIELD_BCC;
        size_t count;
        if (!has_addresses || value.len <= ADDRESS_TOKENS_MAX) { /* a token has a byte at least */
            continue;
        }
        scratch =
                scratch ? scratch : arena_new(&rules->arena, ADDRESS_TOKENS_MAX * sizeof *scratch);
        enum err err = scratch ? address_list_parse(
                                         &rules->arena, value, scratch, ADDRESS_TOKENS_MAX, &count)
                               : E_NOMEM;
        if (err == E_NOMEM) {
            rules_refuse_nomem(rules);
            return false;
        }
        if (err == E_TOO_BIG) {
            intake_refuse(rules->intake, 552, "5.3.4", "Error: too many addresses in the header");
            return false;
        }
    }
    return true;
}

/* ---- who writes ---------------------------------------------------------------------------- */

static bool refuse_owner(struct rules *rules, const char *field, struct str domain)
{
    const struct config_credential *credential = rules->intake->client.credential;
    intake_refuse(rules->intake, 550, "5.7.1", "Error: %s domain %.*s is not allowed for user %.*s",
            field, STR_ARG(domain), STR_ARG(credential->name));
    return false;
}

static bool is_domain_owned(struct rules *rules, const struct address *address)
{
    char ascii[DOMAIN_CAP];
    struct str domain;
    if (rules->intake->client.is_own_dsn) {
        return true;
    }
    if (domain_to_ascii(address->domain, ascii, &domain) != OK) {
        domain = address->domain;
    }
    return intake_is_owned(rules->intake->client.credential, domain);
}

/* B6: Sender as well. One that cannot be read is refused only where it would have to be judged. */
static bool check_sender_field(struct rules *rules)
{
    const struct header_field *field = rules->first[FIELD_SENDER];
    const struct config_credential *credential = rules->intake->client.credential;
    struct address address;
    size_t count;
    if (!field || !credential || credential->from_count == 0) {
        return true;
    }
    if (address_list_parse(&rules->arena, field->value, &address, 1, &count) != OK || count != 1) {
        intake_refuse(rules->intake, 554, "5.6.0", "Error: unreadable Sender field in the header");
        return false;
    }
    return is_domain_owned(rules, &address) || refuse_owner(rules, "Sender", address.domain);
}

/* The domain that chooses the DKIM key; empty for an address literal. */
static bool keep_from_domain(struct rules *rules, const struct address *address)
{
    char ascii[DOMAIN_CAP];
    struct str domain = STR("");
    if (!address->is_literal && domain_to_ascii(address->domain, ascii, &domain) != OK) {
        intake_refuse(rules->intake, 554, "5.6.0", "Error: bad domain in the From field");
        return false;
    }
    rules->intake->envelope.from_domain = arena_str(&rules->intake->facts, domain);
    if (!rules->intake->envelope.from_domain.ptr) {
        rules_refuse_nomem(rules);
        return false;
    }
    return true;
}

/* C1, RFC 5322 3.6.2 */
static bool check_from(struct rules *rules)
{
    struct address *address = arena_new(&rules->arena, INTAKE_FROM_COUNT_MAX * sizeof *address);
    size_t count = 0;
    uint32_t field_count = rules->count[FIELD_FROM];
    if (field_count != 1) {
        intake_refuse(rules->intake, 554, "5.6.0",
                field_count == 0 ? "Error: no From field in the header"
                                 : "Error: more than one From field in the header");
        return false;
    }
    enum err err = !address ? E_NOMEM
                            : address_list_parse(&rules->arena, rules->first[FIELD_FROM]->value,
                                      address, INTAKE_FROM_COUNT_MAX, &count);
    if (err == E_NOMEM) {
        rules_refuse_nomem(rules);
        return false;
    }
    if (err != OK || count == 0) {
        intake_refuse(rules->intake, 554, "5.6.0", "Error: unreadable From field in the header");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_domain_owned(rules, &address[i])) {
            return refuse_owner(rules, "From", address[i].domain);
        }
    }
    if (count > 1 && !rules->first[FIELD_SENDER]) {
        intake_refuse(rules->intake, 550, "5.7.1",
                "Error: several mailboxes in From need a Sender field");
        return false;
    }
    return keep_from_domain(rules, &address[0]);
}

/* ---- the key, and all rules in order ---- stream and key
 * ------------------------------------------------------------------------ */

/* Starts the body hash where a key will need it. No key at the door, no acceptance, where the
 * stream asks for one. */
static bool choose_key(struct rules *rules, const struct config_stream *stream)
{
    struct intake *intake = rules->intake;
    struct str from_domain = intake->envelope.from_domain;
    const struct config_domain *domain =
            from_domain.len > 0 ? config_domain_for(intake->client.config, from_domain) : NULL;
    if (domain && config_domain_active_key_count(domain) > 0) {
        if (dkim_body_begin(&intake->hash, NULL) != OK) {
            rules_refuse_nomem(rules);
            return false;
        }
        intake->is_hashing = true;
        intake->envelope.flags |= SPOOL_MSG_BODY_HASH | SPOOL_MSG_SIGN;
        return true;
    }
    if (stream && stream->is_signed && !intake->client.is_own_dsn) {
        intake_refuse(intake, 550, "5.7.1",
                "Error: no DKIM key for From domain %.*s, and stream %.*s must be signed; "
                "add a key to domain \"%.*s\" in the configuration",
                STR_ARG(from_domain), STR_ARG(stream->name), STR_ARG(str_sub(from_domain, 0, 80)));
        return false;
    }
    return true;
}

static void apply_rules(struct rules *rules)
{
    const struct config_stream *stream = NULL;
    if (check_lines(rules) && sort_fields(rules) && check_hops(rules) && check_once(rules) &&
            check_tokens(rules) && check_from(rules) && check_sender_field(rules) &&
            rules_read_controls(rules) && rules_choose_stream(rules, &stream) &&
            choose_key(rules, stream) && rules_keep_facts(rules)) {
        rules_store_header(rules);
    }
}

void intake_header(struct intake *intake, struct str bytes, bool at_end)
{
    struct rules rules = { .intake = intake };
    struct why why = { "" };
    intake->has_header = true;
    arena_init(&rules.arena, RULES_ARENA_BYTES);
    buf_init(&rules.meta, 64 << 10); /* INTAKE_META_* allow 35 KiB */
    enum err err = header_parse(&rules.arena, bytes, at_end, &rules.header, &why);
    if (err == OK) {
        apply_rules(&rules);
    } else if (err == E_TOO_BIG) { /* C4 */
        intake_refuse(intake, 552, "5.3.4", "Error: %s", why.text);
    } else if (err == E_NOMEM) {
        rules_refuse_nomem(&rules);
    } else { /* C3, C10 */
        intake_refuse(intake, 554, "5.6.0", "Error: malformed header: %s", why.text);
    }
    buf_done(&rules.meta);
    arena_done(&rules.arena);
}
