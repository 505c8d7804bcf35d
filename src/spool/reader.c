/* SPDX-License-Identifier: Apache-2.0
 *
 * reader.c - envelopes of many messages in turn, as a start needs them: the records of a batch lie
 * side by side in front of its contents, so that one read serves all of them.
 *
 * Each record is checked as in view.c. One that does not fit the window is read alone.
 */
#include "spool/spool_priv.h"
#include "spool/view_priv.h"

enum { WINDOW_BYTES = 16 << 10 };

struct spool_reader {
    struct spool_view *view;
    struct view_stored alone; /* a large record */
    uint32_t slot;
    uint64_t at; /* of the window, in the slot */
    size_t len;
    uint8_t window[WINDOW_BYTES];
};

enum err spool_reader_new(struct spool_view *view, struct spool_reader **ret_reader)
{
    struct spool_reader *reader = mem_new(sizeof *reader);
    if (reader == NULL) {
        return E_NOMEM;
    }
    reader->view = view;
    *ret_reader = reader;
    return OK;
}

void spool_reader_free(struct spool_reader *reader)
{
    if (reader != NULL) {
        view_stored_done(&reader->alone);
        mem_free(reader);
    }
}

/* The record at that place as far as the window has it, without another read. */
static struct str window_rest(const struct spool_reader *reader, uint32_t slot, uint64_t at)
{
    if (slot != reader->slot || at < reader->at || at - reader->at >= reader->len) {
        return (struct str){ 0 };
    }
    size_t skip = (size_t)(at - reader->at);
    return str_of((const char *)reader->window + skip, reader->len - skip);
}

static enum err window_move(
        struct spool_reader *reader, uint32_t slot, uint64_t at, struct why *why)
{
    reader->slot = slot;
    reader->at = at;
    reader->len = 0;
    return view_read(
            reader->view, slot, at, reader->window, sizeof reader->window, &reader->len, why);
}

/* False where the window does not hold all of that message's record. */
static bool window_stored(struct spool_reader *reader, const struct spool_where *where,
        uint64_t msg_id, struct stored *ret_stored)
{
    struct str rest = window_rest(reader, where->slot, view_record_at(where));
    return view_stored_parse(reader->view, rest, msg_id, ret_stored);
}

enum err spool_reader_envelope(struct spool_reader *reader, const struct spool_where *where,
        uint64_t msg_id, struct spool_envelope *ret_envelope, struct why *why)
{
    struct stored stored;
    view_stored_done(&reader->alone);
    bool is_there = window_stored(reader, where, msg_id, &stored);
    if (!is_there && window_move(reader, where->slot, view_record_at(where), why) == OK) {
        is_there = window_stored(reader, where, msg_id, &stored);
    }
    if (!is_there) { /* too large; else it finds out what is wrong */
        enum err err = view_stored_read(reader->view, where, msg_id, &reader->alone, why);
        if (err != OK) {
            return err;
        }
        stored = reader->alone.stored;
    }
    return spool_envelope_decode(stored.envelope, ret_envelope);
}
