/* SPDX-License-Identifier: Apache-2.0
 *
 * scan_priv.h - reading the batches of one slot, trusting nothing: for recovery, views and check.
 */
#ifndef OUTPOST_SPOOL_SCAN_PRIV_H
#define OUTPOST_SPOOL_SCAN_PRIV_H

#include "spool/format_priv.h"

struct scan {
    struct disk_file *file;
    uint64_t spool_id;
    uint64_t end; /* never reads at or past this offset */
    char *window;
    size_t window_cap;
    size_t read_bytes; /* at least so much is read at once */
    uint64_t window_at;
    size_t window_len;
    bool was_io_error;  /* the last failure was the disk's */
    bool lacked_memory; /* for some failure since the owner last cleared it: nothing is known then
                         */
};
struct scan_batch {
    struct batch_header header;
    struct str head; /* valid until the next call */
    uint64_t at;
    uint64_t next_at;
};

void scan_init(struct scan *scan, struct disk_file *file, uint64_t spool_id, uint64_t end,
        size_t read_bytes);
void scan_done(struct scan *scan);
void scan_file(struct scan *scan, struct disk_file *file, uint64_t end); /* another, same memory */
/* len bytes at `at`, or NULL: past the end, read error, or no memory. */
const uint8_t *scan_bytes(struct scan *scan, uint64_t at, size_t len);
/* The batch at offset `at` of segment seg_seq, its header and head whole. With is_deep its data
 * too. E_CORRUPT: there is none; E_IO; E_NOMEM. */
MUST_USE enum err scan_batch(struct scan *scan, uint64_t at, uint64_t seg_seq, bool is_deep,
        struct scan_batch *ret_batch);
/* Only the header, of whatever segment. */
MUST_USE bool scan_header(struct scan *scan, uint64_t at, struct batch_header *ret_header);

#endif
