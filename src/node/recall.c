/* SPDX-License-Identifier: Apache-2.0
 *
 * recall.c - after a restart: why recipients wait, are held or failed.
 *
 * The spool keeps states and times, no words. They are read from the history by a worker, a piece
 * at a time and once the history has caught up, so that no start waits for them; until then the
 * lists say that no reason is remembered.
 */
#include "node/node_priv.h"

enum {
    RECALL_STEP_COUNT = 500, /* messages looked up at once */
    RECALL_WORDS_BYTES_MAX = 64 << 20,
    RECALL_WAIT_MS = 5000 /* for a history that does not catch up: then with what it has */
};

struct node_recall {
    struct letter letter;
    uint64_t *msg_id;
    uint32_t count, cap, at;
    struct mono due; /* 0: the first turn is still to come */
};

void node_recall_free(struct node_recall *recall)
{
    if (recall) {
        mem_free(recall->msg_id);
        mem_free(recall);
    }
}

static bool has_past(const struct spool_open_rcpt *rcpts, uint32_t rcpt_count)
{
    for (uint32_t i = 0; i < rcpt_count; i++) {
        if (rcpts[i].tries > 0 || rcpts[i].state != SPOOL_QUEUED) {
            return true;
        }
    }
    return false;
}

void node_recall_note(struct node *node, uint64_t msg_id, const struct spool_open_rcpt *rcpts,
        uint32_t rcpt_count)
{
    if (!has_past(rcpts, rcpt_count)) {
        return;
    }
    struct node_recall *recall = node->recall ? node->recall : mem_new(sizeof *recall);
    node->recall = recall;
    if (recall && recall->count == recall->cap) {
        uint32_t cap = recall->cap ? recall->cap * 2 : 64;
        uint64_t *grown = mem_grow(recall->msg_id, cap * sizeof *grown);
        if (grown == NULL) {
            return; /* without words, then */
        }
        recall->msg_id = grown;
        recall->cap = cap;
    }
    if (recall) {
        recall->msg_id[recall->count++] = msg_id;
    }
}

void node_recall_run(struct node *node, bool is_caught_up, struct mono now)
{
    struct node_recall *recall = node->recall;
    if (recall == NULL) {
        return;
    }
    if (recall->due.ms == 0) {
        recall->due = mono_after(now, RECALL_WAIT_MS);
    }
    if (is_caught_up || mono_is_due(recall->due, now)) {
        node->recall = NULL;
        node_worker_send(node, &recall->letter, NODE_WORK_RECALL);
    }
}

/* ---- on a worker ---- */

struct gathering {
    struct queue_recall *words;
    uint32_t cap;
    bool is_short;
};

static void gather(void *ctx, const struct history_word *word)
{
    struct gathering *gathering = ctx;
    struct queue_recall *words = gathering->words;
    if (words->word_count == gathering->cap) {
        uint32_t cap = gathering->cap ? gathering->cap * 2 : 64;
        struct queue_word *grown = arena_new(&words->arena, cap * sizeof *grown);
        if (grown == NULL) {
            gathering->is_short = true;
            return;
        }
        if (words->word_count) {
            memcpy(grown, words->word, words->word_count * sizeof *grown);
        }
        words->word = grown;
        gathering->cap = cap;
    }
    struct queue_word kept = {
        .msg_id = word->msg_id,
        .rcpt = word->rcpt,
        .action = word->action,
        .code = word->code,
        .enhanced = arena_str(&words->arena, word->enhanced),
        .text = arena_str(&words->arena, word->text),
        .remote_host = arena_str(&words->arena, word->remote_host),
        .author = arena_str(&words->arena, word->author),
    };
    if (kept.enhanced.ptr && kept.text.ptr && kept.remote_host.ptr && kept.author.ptr) {
        words->word[words->word_count++] = kept;
    } else {
        gathering->is_short = true;
    }
}

static void recall_some(struct node *node, const uint64_t *msg_id, uint32_t count)
{
    struct why why = { 0 };
    struct gathering gathering = { .words = mem_new(sizeof *gathering.words) };
    enum err err = E_NOMEM;
    if (gathering.words) {
        arena_init(&gathering.words->arena, RECALL_WORDS_BYTES_MAX);
        err = history_words(node->history, msg_id, count, gather, &gathering, &why);
        gathering.words->letter.kind = QUEUE_RECALL;
        mailbox_answer(queue_mailbox(node->queue), &gathering.words->letter);
    }
    if (err != OK || gathering.is_short) {
        log_warn(node->log, "worker",
                "why some recipients wait is not remembered over this restart (%s %s): \"outpost "
                "trace\" tells it",
                err_name(err == OK ? E_NOMEM : err), why.text);
    }
}

void node_recall_step(struct node *node, struct letter *letter)
{
    struct node_recall *recall = CONTAINER_OF(letter, struct node_recall, letter);
    uint32_t left = recall->count - recall->at;
    uint32_t count = left < RECALL_STEP_COUNT ? left : RECALL_STEP_COUNT;
    recall_some(node, recall->msg_id + recall->at, count);
    recall->at += count;
    if (recall->at < recall->count && !atomic_load(&node->is_stopping)) {
        node_worker_send(node, letter, NODE_WORK_RECALL);
    } else {
        node_recall_free(recall);
    }
}

void node_recall_drop(struct letter *letter)
{
    node_recall_free(CONTAINER_OF(letter, struct node_recall, letter));
}
