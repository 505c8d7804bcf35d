/* SPDX-License-Identifier: Apache-2.0
 *
 * control_id.c - from the public id of a message to its number: by the history, and by the journal
 * where that was not read yet.
 *
 * The history is up to a second behind, and more while its disk fails; but whoever has read an id
 * in a 250 may ask for it at once, and act on it.
 */
#include "node/control_priv.h"

/* The acceptance with this id, in the records from there on. */
static enum err find_in_journal(struct node *node, const struct spool_position *from,
        const struct ulid *ulid, uint64_t *ret_msg_id)
{
    struct spool_view *view;
    struct spool_position at = *from;
    struct spool_record record;
    struct spool_envelope envelope;
    enum err err = spool_view_of(node->spool, node->edge.spool, &view);
    if (err != OK) {
        return err;
    }
    while ((err = spool_view_next(view, &at, &record)) == OK || err == E_CORRUPT) {
        if (err == OK && record.type == SPOOL_ACCEPT &&
                spool_envelope_decode(record.payload, &envelope) == OK &&
                ulid_eq(envelope.ulid, *ulid)) {
            *ret_msg_id = record.msg_id;
            break;
        }
        at = record.next; /* of a gap too: what was there the history has, or nobody */
    }
    spool_view_close(view);
    return err == E_EOF ? E_NOT_FOUND : err;
}

static enum err find_number(struct node *node, const struct ulid *ulid, uint64_t *ret_msg_id)
{
    struct spool_position from = { 0 };
    struct why why;
    enum err err = history_find_msg_id(node->history, ulid, ret_msg_id, &why);
    if (err == OK) {
        return OK;
    }
    if (err == E_NOT_FOUND && history_position(node->history, &from, &why) != OK) {
        from = (struct spool_position){ 0 };
    }
    enum err journal_err = find_in_journal(node, &from, ulid, ret_msg_id);
    if (journal_err == OK) {
        return OK;
    }
    /* taken by the history, and its segment used again, between the two looks? */
    err = history_find_msg_id(node->history, ulid, ret_msg_id, &why);
    return err == E_NOT_FOUND ? journal_err : err;
}

bool control_find_msg_id(struct control *control, struct str id, uint64_t *ret_msg_id)
{
    char shown[160];
    struct ulid ulid;
    if (ulid_parse(id, &ulid) != OK) {
        control_end_error(control, 400,
                "\"%.*s\" is no message id: it has 26 characters, as in \"queued as ...\"",
                STR_ARG(str_escape(str_sub(id, 0, 40), shown, sizeof shown)));
        return false;
    }
    enum err err = find_number(control->node, &ulid, ret_msg_id);
    if (err == E_NOT_FOUND) {
        control_end_error(control, 404, "no message %.*s is known: the history keeps %u days",
                STR_ARG(id), control->node->start_config->history_days);
    } else if (err != OK) {
        control_end_error(control, 503,
                "it could not be looked up (%s): see the node's log, and ask again", err_name(err));
    }
    return err == OK;
}
