/* SPDX-License-Identifier: Apache-2.0
 *
 * intake_envelope.c - who may be sender, who may be recipient, and the form in which they are kept.
 */
#include "core/str.h"
#include "intake/intake_priv.h"
#include "mail/address.h"
#include "mail/domain.h"

bool intake_is_owned(const struct config_credential *credential, struct str domain)
{
    if (!credential || credential->from_count == 0) {
        return true;
    }
    for (uint32_t i = 0; i < credential->from_count; i++) {
        if (domain_is_within(domain, credential->from[i])) {
            return true;
        }
    }
    return false;
}

/* RFC 6531 3.4 needs SMTPUTF8, which is not offered (hostile-input A17). */
static enum err refuse_utf8(struct intake_refusal *ret_refusal)
{
    return intake_refusal_set(
            ret_refusal, E_DENIED, 553, "5.6.7", "Address needs SMTPUTF8, which is not supported");
}

static enum err refuse_nomem(struct intake_refusal *ret_refusal)
{
    return intake_refusal_set(ret_refusal, E_NOMEM, 452, "4.3.1", "Insufficient system resources");
}

enum err intake_sender(struct intake *intake, struct str path, bool is_8bit_declared,
        struct intake_refusal *ret_refusal)
{
    (void)is_8bit_declared; /* the content itself tells (hostile-input A16) */
    struct address address;
    char text[ADDRESS_TEXT_CAP], domain[ADDRESS_TEXT_CAP];
    if (path.len == 0) { /* null reverse-path, RFC 5321 4.5.5 */
        intake->envelope.sender = STR("");
        return OK;
    }
    if (address_parse(path, &address, NULL) != OK) {
        return intake_refusal_set(ret_refusal, E_SYNTAX, 501, "5.1.7", "Bad sender address syntax");
    }
    if (address.is_utf8) {
        return refuse_utf8(ret_refusal);
    }
    const struct config_credential *credential = intake->client.credential;
    struct str lower = address_domain_lower(&address, domain);
    if (!intake->client.is_own_dsn && !intake_is_owned(credential, lower)) {
        return intake_refusal_set(ret_refusal, E_DENIED, 553, "5.7.1",
                "<%.*s>: Sender address rejected: not owned by user %.*s", STR_ARG(path),
                STR_ARG(credential->name));
    }
    struct str kept = arena_str(&intake->facts, address_normal(&address, text));
    if (!kept.ptr) {
        return refuse_nomem(ret_refusal);
    }
    intake->envelope.sender = kept;
    return OK;
}

/* A literal goes only where a route names it (hostile-input A24): no guessing of hosts. */
static bool is_routed_literal(const struct config *config, struct str domain)
{
    const struct config_route *route = config_route_for(config, domain);
    return route && str_eq_nocase(route->domain, domain);
}

/* The address as it will be kept, in dst; or a refusal. */
static enum err recipient_normal(struct intake *intake, struct str path, char dst[ADDRESS_TEXT_CAP],
        struct str *ret_normal, struct intake_refusal *ret_refusal)
{
    struct address address;
    char domain[ADDRESS_TEXT_CAP];
    const struct config *config = intake->client.config;
    if (address_is_postmaster(path)) { /* RFC 5321 4.5.1: ours, without a domain */
        size_t len = fmt(dst, ADDRESS_TEXT_CAP, "postmaster@%.*s", STR_ARG(config->hostname));
        *ret_normal = str_of(dst, len);
        return OK;
    }
    if (address_parse(path, &address, NULL) != OK) {
        return intake_refusal_set(
                ret_refusal, E_SYNTAX, 501, "5.1.3", "Bad recipient address syntax");
    }
    if (address.is_utf8) {
        return refuse_utf8(ret_refusal);
    }
    if (address.is_literal && !is_routed_literal(config, address_domain_lower(&address, domain))) {
        return intake_refusal_set(ret_refusal, E_DENIED, 550, "5.1.2",
                "<%.*s>: Recipient address rejected: no route to an address literal",
                STR_ARG(path));
    }
    *ret_normal = address_normal(&address, dst);
    return OK;
}

static bool is_known_recipient(const struct intake *intake, uint64_t hash, struct str normal)
{
    uint64_t start;
    for (uint32_t at = 0; map_walk_key(&intake->rcpt_by_hash, hash, &at, &start);) {
        struct str known;
        struct cur cur = { str_from(buf_str(&intake->rcpts), (size_t)start), false };
        if (spool_rcpt_next(&cur, &known) && str_eq(known, normal)) {
            return true;
        }
    }
    return false;
}

static enum err recipient_keep(
        struct intake *intake, struct str normal, struct intake_refusal *ret_refusal)
{
    uint64_t hash = str_hash(normal, intake->hash_seed);
    if (is_known_recipient(intake, hash, normal)) {
        return OK;
    }
    if (intake->envelope.rcpt_count >= SPOOL_RCPT_COUNT_MAX ||
            intake->rcpts.len + normal.len + 16 > INTAKE_RCPTS_BYTES_MAX) {
        return intake_refusal_set(/* RFC 5321 4.5.3.1.10 */
                ret_refusal, E_FULL, 452, "4.5.3", "Error: too many recipients");
    }
    size_t start = intake->rcpts.len;
    spool_rcpt_add(&intake->rcpts, normal);
    if (buf_err(&intake->rcpts) != OK || map_add(&intake->rcpt_by_hash, hash, start) != OK) {
        buf_cut(&intake->rcpts, start);
        intake->rcpts.err = OK;
        return refuse_nomem(ret_refusal);
    }
    intake->envelope.rcpt_count++;
    return OK;
}

enum err intake_recipient(
        struct intake *intake, struct str path, struct intake_refusal *ret_refusal)
{
    char dst[ADDRESS_TEXT_CAP];
    struct str normal = { 0 };
    enum err err = recipient_normal(intake, path, dst, &normal, ret_refusal);
    return err == OK ? recipient_keep(intake, normal, ret_refusal) : err;
}

uint32_t intake_rcpt_count(const struct intake *intake)
{
    return intake->envelope.rcpt_count;
}
