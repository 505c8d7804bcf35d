/* SPDX-License-Identifier: Apache-2.0
 *
 * blob.h - immutable message bytes in memory, shared between owners by counted references.
 *
 * A blob is a list of chunks, filled by one owner and then frozen; after that it is only read.
 * All blobs of a node count against one budget, so that a slow outside cannot fill memory: past
 * it, blob_new gives NULL and the caller reads from the spool again later (or answers 4xx).
 */
#ifndef OUTPOST_CORE_BLOB_H
#define OUTPOST_CORE_BLOB_H

#include "core/base.h"

#include <stdatomic.h>

enum { BLOB_CHUNK_BYTES = 65536 };

struct blob_budget {
    _Atomic uint64_t used_bytes;
    uint64_t max_bytes;
};

struct blob_chunk {
    struct blob_chunk *next;
    uint32_t len;
    uint32_t cap;
    char data[];
};

struct blob {
    _Atomic uint32_t refs;
    struct blob_budget *budget; /* may be NULL: not counted */
    struct blob_chunk *first, *last;
    uint64_t size_bytes;  /* sum of len */
    uint64_t taken_bytes; /* charged to the budget */
};

/* hint_bytes: expected size, so that a small message is one chunk. NULL: budget or memory. */
MUST_USE struct blob *blob_new(struct blob_budget *budget, size_t hint_bytes);
/* A copy of s in one chunk, whatever its size: for what is parsed in place. NULL: as above, or s is
 * larger than 4 GiB. */
MUST_USE struct blob *blob_copy(struct blob_budget *budget, struct str s);
MUST_USE enum err blob_add(struct blob *blob, struct str s); /* E_FULL: budget; E_NOMEM */
struct blob *blob_take(struct blob *blob);                   /* one more reference; NULL is fine */
void blob_give(struct blob *blob);                           /* drops one; NULL is fine */

#endif
