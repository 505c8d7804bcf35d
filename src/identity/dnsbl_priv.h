/* SPDX-License-Identifier: Apache-2.0
 *
 * dnsbl_priv.h - blocklists and allow lists as data/dnsbl has them, and what an answer means.
 */
#ifndef OUTPOST_IDENTITY_DNSBL_PRIV_H
#define OUTPOST_IDENTITY_DNSBL_PRIV_H

#include "core/ip.h"

enum { DNSBL_CODE_COUNT_MAX = 16 };
enum dnsbl_weight {
    DNSBL_FAIL,    /* receivers refuse for it */
    DNSBL_WARN,    /* worth knowing */
    DNSBL_GOOD,    /* of allow lists */
    DNSBL_REFUSED, /* the list does not answer us: never a listing */
    DNSBL_DEAD,    /* an answer outside 127/8: dead, or its domain has been sold */
    DNSBL_UNKNOWN  /* in 127/8, but the list never said what it means */
};
struct dnsbl_code {
    struct str answer; /* pattern */
    enum dnsbl_weight weight;
    struct str meaning;
};
struct dnsbl_list {
    struct str zone;
    bool is_allow, has_ip4, has_ip6, has_name;
    struct str test_yes, test_no; /* names under zone that are there, are not; "" : RFC 5782 5 */
    struct dnsbl_code code[DNSBL_CODE_COUNT_MAX];
    uint32_t code_count;
    struct str terms, delist;
};

/* The next list of a text in the form of data/dnsbl, views into it. False: the end, or a line that
 * breaks the form (then *ret_fault names it; else it is ""). */
bool dnsbl_next(struct str *rest, struct dnsbl_list *ret_list, struct str *ret_fault);
uint32_t dnsbl_count(struct str text);
bool dnsbl_at(struct str text, uint32_t index, struct dnsbl_list *ret_list);

/* What one A record says; *ret_meaning in words, static or in the list's text. */
enum dnsbl_weight dnsbl_weigh(
        const struct dnsbl_list *list, struct ip answer, struct str *ret_meaning);

#endif
