/* SPDX-License-Identifier: Apache-2.0
 *
 * ulid.h - message names: 48 bits of UTC milliseconds and 80 random bits, as 26 characters
 * (github.com/ulid/spec). Nothing in Outpost orders or expires by them.
 */
#ifndef OUTPOST_CORE_ULID_H
#define OUTPOST_CORE_ULID_H

#include "core/base.h"

enum { ULID_TEXT_LEN = 26 };

struct ulid ulid_make(struct wall now, const uint8_t random[10]);
void ulid_format(struct ulid ulid, char ret_text[ULID_TEXT_LEN + 1]); /* NUL-terminated */
MUST_USE enum err ulid_parse(struct str text, struct ulid *ret_ulid); /* either case; E_SYNTAX */
static inline bool ulid_eq(struct ulid a, struct ulid b)
{
    return memcmp(a.byte, b.byte, sizeof a.byte) == 0;
}

#endif
