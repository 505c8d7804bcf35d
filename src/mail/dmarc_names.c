/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc_names.c - which domain answers for a message, and who must agree to reports about it.
 */
#include "core/str.h"
#include "mail/address.h"
#include "mail/dmarc.h"

/* The domain of all of them; several are no author anyone could ask (RFC 9989 5.3.1). */
static enum err one_domain(const struct address *author, size_t count, char dst[DOMAIN_CAP],
        struct str *ret_domain, struct why *why)
{
    char other_text[DOMAIN_CAP];
    struct str first = { 0 }, other;
    for (size_t i = 0; i < count; i++) {
        if (author[i].is_literal || author[i].domain.len == 0 ||
                domain_to_ascii(author[i].domain, i == 0 ? dst : other_text,
                        i == 0 ? &first : &other) != OK) {
            why_set(why, "From has an address without a domain name");
            return E_SYNTAX;
        }
        if (i > 0 && !str_eq(first, other)) {
            why_set(why, "From names several domains: %.*s and %.*s", STR_ARG(first),
                    STR_ARG(other));
            return E_SYNTAX;
        }
    }
    if (count == 0) {
        why_set(why, "From has no address");
        return E_SYNTAX;
    }
    *ret_domain = first;
    return OK;
}

enum err dmarc_author_domain(
        const struct header *header, char dst[DOMAIN_CAP], struct str *ret_domain, struct why *why)
{
    struct address author[DMARC_AUTHOR_COUNT_MAX];
    struct arena arena;
    size_t author_count = 0, field_count = header_count(header, STR("From"));
    if (field_count != 1) { /* RFC 5322 3.6: exactly one */
        why_set(why, field_count == 0 ? "the message has no From field"
                                      : "the message has several From fields");
        return E_SYNTAX;
    }
    arena_init(&arena, HEADER_BYTES_MAX + 8192);
    enum err err = address_list_parse(&arena, header_find(header, STR("From"), 0)->value, author,
            DMARC_AUTHOR_COUNT_MAX, &author_count);
    if (err == E_TOO_BIG) {
        why_set(why, "From has more than %d addresses", DMARC_AUTHOR_COUNT_MAX);
    } else if (err != OK) {
        why_set(why, "From is not a list of addresses");
    } else {
        err = one_domain(author, author_count, dst, ret_domain, why);
    }
    arena_done(&arena);
    return err;
}

bool dmarc_report_question(
        struct str domain, struct str target, char dst[LOOKUP_NAME_CAP], struct str *ret_name)
{
    char domain_text[DOMAIN_CAP], target_text[DOMAIN_CAP];
    *ret_name = (struct str){ 0 };
    if (domain_to_ascii(domain, domain_text, &domain) != OK ||
            domain_to_ascii(target, target_text, &target) != OK) {
        return true;
    }
    if (str_eq(domain_organizational(domain), domain_organizational(target))) {
        return false;
    }
    if (domain.len + sizeof "._report._dmarc." - 1 + target.len <= DOMAIN_BYTES_MAX) {
        *ret_name = str_of(dst, fmt(dst, LOOKUP_NAME_CAP, "%.*s._report._dmarc.%.*s",
                                        STR_ARG(domain), STR_ARG(target)));
    }
    return true;
}
