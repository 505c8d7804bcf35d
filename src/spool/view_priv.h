/* SPDX-License-Identifier: Apache-2.0
 *
 * view_priv.h - what compaction and check need of a view beside spool.h.
 */
#ifndef OUTPOST_SPOOL_VIEW_PRIV_H
#define OUTPOST_SPOOL_VIEW_PRIV_H

#include "spool/scan_priv.h"

/* The record of a message, read and checked; free with view_stored_done. */
struct view_stored {
    char *bytes;
    struct stored stored;
};
MUST_USE enum err view_stored_read(struct spool_view *view, const struct spool_where *where,
        uint64_t msg_id, struct view_stored *ret_stored, struct why *why);
void view_stored_done(struct view_stored *stored);
/* False where bytes do not begin with the whole record of that message. */
bool view_stored_parse(const struct spool_view *view, struct str bytes, uint64_t msg_id,
        struct stored *ret_stored);
uint64_t view_record_at(const struct spool_where *where); /* in its slot */
MUST_USE enum err view_read(struct spool_view *view, uint32_t slot, uint64_t at, void *dst,
        size_t len, size_t *ret_len, struct why *why);
/* One streamed chunk, not checked by itself. */
MUST_USE enum err view_extent(struct spool_view *view, const struct spool_extent *extent,
        struct blob_budget *budget, struct blob **ret_chunk, struct why *why);
MUST_USE enum err meta_load(struct disk *disk, struct meta *ret_meta, struct why *why);

#endif
