/* SPDX-License-Identifier: Apache-2.0
 *
 * arc_priv.h - the fields of a chain in order, as validating and sealing need them.
 */
#ifndef OUTPOST_MAIL_ARC_PRIV_H
#define OUTPOST_MAIL_ARC_PRIV_H

#include "mail/arc.h"
#include "mail/dkim_priv.h"

struct arc_fields {
    const struct header_field *results, *signature, *seal;
    struct str payload; /* of results, behind i= */
    struct str cv;
};
struct arc_chain {
    struct arc_fields set[ARC_SET_COUNT_MAX]; /* instance 1 first */
    uint32_t count;                           /* the greatest instance found */
    const char *fault; /* NULL: each set is there once and whole (RFC 8617 5.2 step 3) */
};
/* Static text in fault; goes on after it, so that count holds for all that can be read. */
void arc_chain_collect(const struct header *header, struct arc_chain *ret_chain);

/* The tags of an ARC-Message-Signature or ARC-Seal; values point into field->raw. */
MUST_USE enum err arc_tags(const struct header_field *field, struct dkim_tags *ret_tags);

/* What an ARC-Seal signs (RFC 8617 5.1.1): the sets from first to last, of the last its seal
 * without b_value and without CRLF. */
void arc_seal_text(const struct arc_chain *chain, uint32_t first, uint32_t last, struct str b_value,
        struct buf *ret_text);

#endif
