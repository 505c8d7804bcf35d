/* SPDX-License-Identifier: Apache-2.0
 *
 * address_mail.c - does a domain take mail? MX, then the addresses of its hosts (RFC 5321 5.1, RFC
 * 7505), one question at a time, up to the first host that can be reached.
 *
 * An answer that failed never counts as an absent record: where it would decide, nothing is said.
 */
#include "core/str.h"
#include "identity/address_priv.h"
#include "mail/domain.h"

enum mail_step {
    MAIL_MX,
    MAIL_AGAIN, /* the domain does not exist, said one answer: does another say so too? */
    MAIL_A,
    MAIL_AAAA,
    MAIL_DONE
};

void identity_mail_begin(struct identity_mail *mail, struct str domain)
{
    *mail = (struct identity_mail){ .reason = IDENTITY_ADDRESS_REASON_COUNT };
    if (!str_to_c(domain, mail->domain, sizeof mail->domain)) {
        mail->reason = IDENTITY_ADDRESS_NO_DOMAIN;
        mail->step = MAIL_DONE;
    }
}

static void end(struct identity_mail *mail, enum identity_address_reason reason)
{
    mail->reason = reason;
    mail->step = MAIL_DONE;
}

/* No host can be reached: the gravest cause that is certain, or that nothing is. */
static void end_without_host(struct identity_mail *mail)
{
    if (mail->is_failing) {
        end(mail, IDENTITY_ADDRESS_DNS_FAILED);
    } else if (mail->is_internal) {
        end(mail, IDENTITY_ADDRESS_MX_INTERNAL);
    } else if (mail->is_literal) {
        end(mail, IDENTITY_ADDRESS_MX_LITERAL);
    } else {
        end(mail, mail->is_implied ? IDENTITY_ADDRESS_NO_HOST : IDENTITY_ADDRESS_MX_NOWHERE);
    }
}

/* ---- hosts ---- */

static bool is_usable_host(struct identity_mail *mail, struct str name)
{
    struct ip ip;
    if (ip_parse(name, &ip) == OK) {
        mail->is_literal = true;
        return false;
    }
    return domain_is_dns_name(name);
}

/* Takes the best hosts, up to the limit; equal ones as they came. */
static void take_hosts(struct identity_mail *mail, const struct lookup_answer *answer)
{
    bool is_taken[DNS_RECORD_COUNT_MAX] = { false };
    const struct lookup_record *record = answer->record;
    while (mail->host_count < IDENTITY_ADDRESS_HOST_COUNT_MAX) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < answer->record_count && i < COUNT_OF(is_taken); i++) {
            if (!is_taken[i] &&
                    (best == UINT32_MAX || record[i].preference < record[best].preference)) {
                best = i;
            }
        }
        if (best == UINT32_MAX) {
            return;
        }
        is_taken[best] = true;
        if (is_usable_host(mail, record[best].data) &&
                str_to_c(record[best].data, mail->host[mail->host_count], DNS_NAME_CAP)) {
            mail->host_count++;
        }
    }
}

static void next_host(struct identity_mail *mail)
{
    if (mail->host_index < mail->host_count) {
        mail->step = MAIL_A;
    } else {
        end_without_host(mail);
    }
}

/* RFC 7505 3: the root as the only host. */
static bool is_null_mx(const struct lookup_answer *answer)
{
    for (uint32_t i = 0; i < answer->record_count; i++) {
        if (answer->record[i].data.len > 0) {
            return false;
        }
    }
    return answer->record_count > 0;
}

/* ---- answers ---- */

static void take_mx(struct identity_mail *mail, const struct lookup_answer *answer)
{
    switch (answer->status) {
    case LOOKUP_FOUND:
        if (is_null_mx(answer)) {
            end(mail, IDENTITY_ADDRESS_NULL_MX);
            return;
        }
        take_hosts(mail, answer);
        next_host(mail);
        return;
    case LOOKUP_NODATA: /* RFC 5321 5.1: the domain is its own host */
        mail->is_implied = true;
        memcpy(mail->host[0], mail->domain, sizeof mail->domain);
        mail->host_count = 1;
        next_host(mail);
        return;
    case LOOKUP_NXDOMAIN:
        mail->step = MAIL_AGAIN;
        return;
    case LOOKUP_TEMPFAIL:
        break;
    }
    end(mail, IDENTITY_ADDRESS_DNS_FAILED);
}

static void take_address(struct identity_mail *mail, const struct lookup_answer *answer)
{
    mail->is_failing |= answer->status == LOOKUP_TEMPFAIL;
    for (uint32_t i = 0; answer->status == LOOKUP_FOUND && i < answer->record_count; i++) {
        if (!ip_is_internal(answer->record[i].ip)) {
            mail->ip = answer->record[i].ip;
            end(mail, IDENTITY_ADDRESS_REASON_COUNT);
            return;
        }
        mail->is_internal = true;
    }
    if (mail->step == MAIL_A) {
        mail->step = MAIL_AAAA;
    } else {
        mail->host_index++;
        next_host(mail);
    }
}

static void mail_answer(void *engine, const struct lookup_answer *answer)
{
    struct identity_mail *mail = engine;
    switch ((enum mail_step)mail->step) {
    case MAIL_MX:
        take_mx(mail, answer);
        return;
    case MAIL_AGAIN: /* RFC 8020: a name that does not exist has no records of any type */
        end(mail, answer->status == LOOKUP_NXDOMAIN ? IDENTITY_ADDRESS_NO_DOMAIN
                                                    : IDENTITY_ADDRESS_DNS_FAILED);
        return;
    case MAIL_A:
    case MAIL_AAAA:
        take_address(mail, answer);
        return;
    case MAIL_DONE:
        return;
    }
}

static bool mail_question(void *engine, struct lookup_question *ret_question)
{
    static const enum lookup_type types[] = { [MAIL_MX] = LOOKUP_MX,
        [MAIL_AGAIN] = LOOKUP_A,
        [MAIL_A] = LOOKUP_A,
        [MAIL_AAAA] = LOOKUP_AAAA };
    const struct identity_mail *mail = engine;
    if (mail->step == MAIL_DONE) {
        return false;
    }
    bool is_of_host = mail->step == MAIL_A || mail->step == MAIL_AAAA;
    ret_question->name = str_from_c(is_of_host ? mail->host[mail->host_index] : mail->domain);
    ret_question->type = types[mail->step];
    return true;
}

void identity_mail_give_up(struct identity_mail *mail)
{
    end(mail, IDENTITY_ADDRESS_DNS_FAILED);
}

struct identity_engine identity_mail_engine(struct identity_mail *mail)
{
    return (struct identity_engine){ mail, mail_question, mail_answer };
}
