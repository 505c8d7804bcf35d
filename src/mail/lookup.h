/* SPDX-License-Identifier: Apache-2.0
 *
 * lookup.h - the DNS questions that a pure engine yields, and the answers it takes.
 *
 * An engine (spf.h, dmarc.h, arc.h) asks one question at a time; who drives it brings the answer
 * (identity/identity.h drives over edge/dns.h). Views in an answer live during the call only.
 */
#ifndef OUTPOST_MAIL_LOOKUP_H
#define OUTPOST_MAIL_LOOKUP_H

#include "core/ip.h"

enum { LOOKUP_NAME_CAP = 256 };

/* Numbers of RFC 1035 3.2.2, so that they are those of edge/dns.h too. */
enum lookup_type {
    LOOKUP_A = 1,
    LOOKUP_PTR = 12,
    LOOKUP_MX = 15,
    LOOKUP_TXT = 16,
    LOOKUP_AAAA = 28
};
enum lookup_status {
    LOOKUP_FOUND,
    LOOKUP_NODATA,   /* the name exists, not this type */
    LOOKUP_NXDOMAIN, /* the name does not exist */
    LOOKUP_TEMPFAIL  /* no answer, SERVFAIL, bogus: may be answered later; never "absent" */
};
struct lookup_question {
    struct str name; /* no final dot; lives until the answer is given */
    enum lookup_type type;
};
struct lookup_record {
    uint16_t preference; /* MX */
    struct ip ip;        /* A, AAAA */
    struct str data;     /* MX, PTR: host name, lower case, no final dot; TXT: strings joined */
};
struct lookup_answer {
    enum lookup_status status;
    const struct lookup_record *record;
    uint32_t record_count;
    bool is_secure; /* validated by DNSSEC */
};

#endif
