/* SPDX-License-Identifier: Apache-2.0
 *
 * header_priv.h - one header under the rules, between intake_header.c (what is acceptable),
 * intake_control.c (our own X-Outpost fields, stream) and intake_write.c (what leaves).
 */
#ifndef OUTPOST_INTAKE_HEADER_PRIV_H
#define OUTPOST_INTAKE_HEADER_PRIV_H

#include "intake/intake_priv.h"
#include "mail/address.h"

enum field_kind {
    FIELD_OTHER,
    FIELD_FROM,
    FIELD_SENDER,
    FIELD_REPLY_TO,
    FIELD_TO,
    FIELD_CC,
    FIELD_SUBJECT,
    FIELD_DATE,
    FIELD_MESSAGE_ID,
    FIELD_CONTENT, /* Content-* */
    FIELD_RECEIVED,
    FIELD_AUTH_RESULTS,
    FIELD_REMOVED, /* never leaves */
    FIELD_BCC,     /* nor this; holds addresses */
    FIELD_OUTPOST, /* X-Outpost-*: read, then removed */
    FIELD_KIND_COUNT
};

#define OUTPOST_PREFIX STR("X-Outpost-")
/* One message's header under the rules. */
struct rules {
    struct intake *intake;
    struct arena arena;
    struct header header;
    uint8_t *kind; /* enum field_kind of each field */
    uint32_t count[FIELD_KIND_COUNT];
    const struct header_field *first[FIELD_KIND_COUNT];
    struct str stream; /* as asked for; empty: not */
    struct buf meta;
    uint32_t meta_count;
};

/* For address_list_parse: the arrays and what it copies out of folds and comments. */
enum {
    RULES_ARENA_BYTES = HEADER_ARENA_BYTES + HEADER_FIELD_COUNT_MAX + 2 * HEADER_BYTES_MAX +
                        4 * ADDRESS_TOKENS_MAX * (int)sizeof(struct address)
};
static_assert(FIELD_KIND_COUNT <= UINT8_MAX, "kinds are kept in bytes");

void rules_refuse_nomem(struct rules *rules);

/* Each step gives false where it refused the message. */
bool rules_read_controls(struct rules *rules);
/* NULL: the name has no configuration. */
bool rules_choose_stream(struct rules *rules, const struct config_stream **ret_stream);
bool rules_keep_facts(struct rules *rules);
void rules_store_header(struct rules *rules);

#endif
