/* SPDX-License-Identifier: Apache-2.0
 *
 * address_priv.h - what the envelope's and the header's address parsers share.
 */
#ifndef OUTPOST_MAIL_ADDRESS_PRIV_H
#define OUTPOST_MAIL_ADDRESS_PRIV_H

#include "mail/address.h"

bool address_is_atext(char c);          /* RFC 5322 3.2.3, and bytes above 127 (RFC 6532 3.2) */
size_t address_local_len(struct str s); /* of the local part that s begins with; 0: none */
bool address_is_literal(struct str s);  /* [192.0.2.1], [IPv6:...] (RFC 5321 4.1.3) */
/* Is all of text an addr-spec of RFC 5322 3.4.1 or 4.4? Bytes above 127 are not looked into. */
bool address_is_addr_spec(struct str text);
bool address_is_smtp_local(struct str local);
bool address_is_smtp_domain(struct str domain);
bool address_fits_smtp(const struct address *address); /* both, and their sum */

#endif
