/* SPDX-License-Identifier: Apache-2.0
 *
 * domain.h - domain names: comparable form, A-labels (libidn2), organizational domain (libpsl).
 *
 * domain.c is the only file that knows the two libraries. Asks no DNS.
 */
#ifndef OUTPOST_MAIL_DOMAIN_H
#define OUTPOST_MAIL_DOMAIN_H

#include "core/base.h"

enum { DOMAIN_CAP = 256, DOMAIN_BYTES_MAX = 253, DOMAIN_LABEL_BYTES_MAX = 63 };

/* domain (ASCII or UTF-8; a trailing dot is dropped) in lower case with A-labels, into dst (also
 * NUL-terminated), viewed by *ret_ascii. E_SYNTAX: not a domain name (IDNA 2008 non-transitional,
 * empty or long labels, other than letters, digits, hyphen, underscore); E_NOMEM. */
MUST_USE enum err domain_to_ascii(struct str domain, char dst[DOMAIN_CAP], struct str *ret_ascii);

/* Letters, digits, inner hyphens; labels of 1 to 63; at most 253; not all digits at the end
 * (RFC 1123 2.1). domain_is_dns_name: '_' as well, and digits at the end are fine. */
bool domain_is_hostname(struct str name);
bool domain_is_dns_name(struct str name);

/* Is name the same as parent or below it? ASCII case ignored. */
bool domain_is_within(struct str name, struct str parent);

/* The registered domain above name by the Public Suffix List ("a.b.example.co.uk" →
 * "example.co.uk"), a view into name; name itself where there is none. name: lower-case A-labels,
 * at most 253 bytes. */
struct str domain_organizational(struct str name);
bool domain_is_public_suffix(struct str name);
/* Does name end in a top-level domain that exists, as far as the list built into libpsl knows? */
bool domain_has_known_top(struct str name);

#endif
