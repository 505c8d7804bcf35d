/* SPDX-License-Identifier: Apache-2.0
 *
 * address_source_priv.h - where `outpost address check` takes its addresses from: arguments, or the
 * lines of a file of any length.
 */
#ifndef OUTPOST_CLI_ADDRESS_SOURCE_PRIV_H
#define OUTPOST_CLI_ADDRESS_SOURCE_PRIV_H

#include "core/buf.h"

enum {
    ADDRESS_SOURCE_BYTES_MAX = 4097,       /* of one address; one byte more than is looked into */
    ADDRESS_SOURCE_JSON_BYTES_MAX = 32768, /* of a line of JSON */
};
struct address_source;
/* file NULL: the texts. "-" is standard input. False: has complained. */
bool address_source_open(const char *file, bool is_json, int text_count, char **texts,
        struct address_source **ret_source);
void address_source_close(struct address_source *source); /* NULL is fine */
/* Appends the next address as it stands, at most ADDRESS_SOURCE_BYTES_MAX of it. A line ends at LF;
 * a CR before it is no part of it, nor is a byte order mark at the beginning. *ret_is_unread: the
 * line is no JSON that has one; it is appended itself. False: the end. */
bool address_source_next(struct address_source *source, struct buf *texts, bool *ret_is_unread);
/* How far a regular file is read; -1 where nobody knows. */
int32_t address_source_percent(const struct address_source *source);
bool address_source_failed(const struct address_source *source); /* a read did */

#endif
