/* SPDX-License-Identifier: Apache-2.0
 *
 * word.c - the last word on each open recipient of a row: why it waits or is held.
 *
 * Told by the last event that says a reason. A restart takes it from here, since the spool keeps
 * states and times only.
 */
#include "history/word_priv.h"

#include "core/str.h"
#include "history/story_priv.h"

struct words {
    struct row_event *event; /* of those that say something, in order */
    uint32_t count, cap;
    uint32_t *last; /* of each recipient: number of its event + 1; 0: none */
    struct story_rcpt *rcpt;
    uint32_t rcpt_count;
    uint16_t *scratch;
};

static bool says_why(const struct row_event *event)
{
    return event->kind == ROW_OUTCOME || event->kind == ROW_ATTEMPTED ||
           (event->kind == ROW_CTL &&
                   (event->action == SPOOL_CTL_HOLD || event->action == SPOOL_CTL_BOUNCE));
}

static enum err words_keep(struct words *words, const struct row_event *event)
{
    if (words->count == words->cap) {
        uint32_t cap = words->cap ? words->cap * 2 : 16;
        struct row_event *grown = mem_grow(words->event, cap * sizeof *grown);
        if (grown == NULL) {
            return E_NOMEM;
        }
        words->event = grown;
        words->cap = cap;
    }
    words->event[words->count] = *event;
    words->event[words->count++].rcpt = NULL; /* the next event has them in the same place */
    return OK;
}

static enum err words_take(struct words *words, const struct row_event *event)
{
    enum err err = says_why(event) ? words_keep(words, event) : OK;
    uint32_t count = event->rcpt_count ? event->rcpt_count : words->rcpt_count;
    for (uint32_t i = 0; err == OK && i < count; i++) {
        uint32_t number = event->rcpt_count ? event->rcpt[i] : i;
        (void)story_rcpt_move(&words->rcpt[number], event);
        if (says_why(event)) {
            words->last[number] = words->count;
        }
    }
    return err;
}

static enum err words_read(struct words *words, struct str row)
{
    struct row_reader reader;
    struct row_event event;
    struct row_head head;
    words->scratch = mem_new(SPOOL_RCPT_COUNT_MAX * sizeof *words->scratch);
    enum err err = words->scratch ? row_read_head(&reader, row, words->scratch, &head) : E_NOMEM;
    if (err != OK) {
        return err;
    }
    words->rcpt_count = head.rcpt_count;
    words->last = mem_new(head.rcpt_count * sizeof *words->last + 1);
    words->rcpt = mem_new(head.rcpt_count * sizeof *words->rcpt + 1); /* zero: queued */
    err = words->last && words->rcpt ? OK : E_NOMEM;
    while (err == OK && row_read_event(&reader, &event)) {
        err = words_take(words, &event);
    }
    return err == OK && reader.cur.bad ? E_CORRUPT : err;
}

static struct history_word word_of(uint64_t msg_id, uint16_t rcpt, const struct row_event *event)
{
    struct history_word word = { .msg_id = msg_id, .rcpt = rcpt };
    if (event->kind == ROW_CTL) {
        word.action = event->action;
        word.author = event->author;
        word.text = event->reason;
    } else if (event->kind == ROW_ATTEMPTED) {
        word.text = STR("the node stopped during the attempt");
    } else {
        word.code = event->outcome.code;
        word.enhanced = event->outcome.enhanced;
        word.text = event->outcome.text;
        word.remote_host = event->outcome.remote_host;
    }
    return word;
}

enum err word_each(uint64_t msg_id, struct str row,
        void (*each)(void *ctx, const struct history_word *word), void *ctx)
{
    struct words words = { .count = 0 };
    enum err err = words_read(&words, row);
    for (uint32_t i = 0; err == OK && i < words.rcpt_count; i++) {
        if (words.event && words.last[i] &&
                story_state_is_open((enum story_state)words.rcpt[i].state)) {
            struct history_word word =
                    word_of(msg_id, (uint16_t)i, &words.event[words.last[i] - 1]);
            each(ctx, &word);
        }
    }
    mem_free(words.event);
    mem_free(words.last);
    mem_free(words.rcpt);
    mem_free(words.scratch);
    return err;
}
