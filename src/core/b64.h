/* SPDX-License-Identifier: Apache-2.0
 *
 * b64.h - base64 (RFC 4648 section 4).
 */
#ifndef OUTPOST_CORE_B64_H
#define OUTPOST_CORE_B64_H

#include "core/buf.h"

void b64_encode(struct buf *dst, struct str src); /* with padding, no line breaks */
/* Strict: only the alphabet, right padding, canonical last bits. skip_blanks: SP HT CR LF in
 * between are ignored (DKIM tags). E_SYNTAX; dst holds what came before. */
MUST_USE enum err b64_decode(struct buf *dst, struct str src, bool skip_blanks);

#endif
