/* SPDX-License-Identifier: Apache-2.0
 *
 * json_priv.h - writing JSON into a buffer, a member at a time; text from peers may be any bytes.
 *
 * The first member of an object or array writes no comma: the writer looks at the last byte.
 */
#ifndef OUTPOST_HISTORY_JSON_PRIV_H
#define OUTPOST_HISTORY_JSON_PRIV_H

#include "core/buf.h"

void json_open(struct buf *json, const char *name, char bracket); /* name NULL: in an array */
void json_close(struct buf *json, char bracket);
/* Escapes what JSON must; NUL, and what is not UTF-8, becomes U+FFFD. */
void json_str(struct buf *json, const char *name, struct str value);
void json_str_if(struct buf *json, const char *name, struct str value); /* not when empty */
/* An object of the lines "key=value\n". */
void json_pairs(struct buf *json, const char *name, struct str lines);
/* At most INT64_MAX, which is what readers take: only a damaged row has more. */
void json_u64(struct buf *json, const char *name, uint64_t value);
void json_bool(struct buf *json, const char *name, bool value);
void json_time(struct buf *json, const char *name, struct wall at); /* RFC 3339, ms, Z */

void add_decimal(struct buf *dst, uint64_t value);

#endif
