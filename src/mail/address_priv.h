/* SPDX-License-Identifier: Apache-2.0
 *
 * address_priv.h - what the envelope's and the header's address parsers share.
 */
#ifndef OUTPOST_MAIL_ADDRESS_PRIV_H
#define OUTPOST_MAIL_ADDRESS_PRIV_H

#include "mail/address.h"

bool address_is_atext(char c); /* RFC 5322 3.2.3, and bytes above 127 (RFC 6532 3.2) */
bool address_is_smtp_local(struct str local);
bool address_is_smtp_domain(struct str domain);
bool address_fits_smtp(const struct address *address); /* both, and their sum */

#endif
