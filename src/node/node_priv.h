/* SPDX-License-Identifier: Apache-2.0
 *
 * node_priv.h - what the files of this room share: the node's parts and its letters.
 */
#ifndef OUTPOST_NODE_PRIV_H
#define OUTPOST_NODE_PRIV_H

#include "core/arena.h"
#include "core/str.h"
#include "core/time.h"
#include "core/ulid.h"
#include "deliver/deliver.h"
#include "history/history.h"
#include "intake/intake.h"
#include "node/node.h"
#include "queue/queue.h"
#include "spool/spool.h"
#include "submit/submit.h"

#include <stdatomic.h>

/* Letters of a loop's own, beside those of submit and deliver. */
enum node_loop_letter {
    NODE_LOOP_CONFIG = 0x300, /* struct node_config_letter */
    NODE_LOOP_STOP,           /* struct letter */
    NODE_LOOP_ADDRESSES       /* struct node_addresses, addresses.c */
};
struct node_config_letter {
    struct letter letter;
    struct config *config; /* counted */
};
enum node_work_letter {
    NODE_WORK_AUTH = 0x400, /* struct submit_auth */
    NODE_WORK_PREPARE,      /* struct queue_prepare */
    NODE_WORK_DSN,          /* struct queue_dsn */
    NODE_WORK_RECALL,       /* struct node_recall, recall.c */
    NODE_WORK_DSN_KEPT      /* struct keeper_accept, back from the keeper */
};

struct node_loop {
    struct node *node;
    struct mailbox box;
    struct net *net;
    struct submit *submit;
    struct deliver *deliver;
    struct router *router;    /* loop 0 only */
    struct node_asker *asker; /* loop 0 only */
    struct catcher *catcher;  /* loop 0 of a sandbox only */
    bool is_stopping, is_refusing;
    _Atomic bool is_idle;
};
struct node_worker {
    struct node *node;
    struct mailbox box;
    _Atomic uint32_t busy_count;
};

/* Domains whose look-up memory did not suffice for; they are answered "later" in the next turn. */
enum { NODE_UNASKED_COUNT_MAX = 1024 };

struct node {
    struct node_edge edge;
    const struct log *log;
    struct config *config; /* under config_lock; owners keep their own */
    pthread_mutex_t config_lock;
    struct config *start_config; /* what parts made at the start still point into */
    struct mailbox orphans;      /* control requests given up while an answer was out */
    uint32_t unasked[NODE_UNASKED_COUNT_MAX]; /* the scheduler's own */
    uint32_t unasked_count;
    struct blob_budget budget;
    struct blob_budget
            large; /* of contents over SPOOL_INLINE_BYTES_MAX that are read back to be sent */
    struct submit_shared *shared;
    struct tls_context *client_tls;
    struct spool *spool;
    struct spool_view *view;
    struct keeper *keeper;
    struct queue *queue;
    struct scribe *scribe;
    struct history *history;
    struct node_loop loop[NODE_LOOP_COUNT_MAX];
    uint32_t loop_count;
    struct node_worker worker[NODE_WORKER_COUNT_MAX];
    uint32_t worker_count;
    _Atomic uint32_t next_worker;
    _Atomic bool is_stopping;
    _Atomic bool is_queue_idle;
    _Atomic bool is_journal_news; /* a SCRIBE_GREW letter is under way */
    _Atomic bool is_scribe_idle;
    _Atomic bool is_keeper_idle; /* all it has taken is durable */
    _Atomic bool is_refusing;    /* the spool takes nothing more: sessions say so at MAIL */
    struct node_recall *recall;  /* the scribe's, until it has caught up after a start */
    struct identity_addresses *addresses; /* under config_lock; made when first wanted */
    struct watcher *watcher; /* its runner's, set before there are threads; NULL: none */
    struct wall started_at;
    enum err (*reload)(void *ctx, struct buf *ret_text);
    void *reload_ctx;
};

/* A counted snapshot as it is now. */
struct config *node_config(struct node *node);
/* Envelope of a message, read from the journal. *ret_blob holds what *ret_envelope points into, and
 * is the caller's to give back, also after an error (NULL is fine). */
MUST_USE enum err node_read_envelope(struct node *node, const struct spool_where *where,
        uint64_t msg_id, struct blob **ret_blob, struct spool_envelope *ret_envelope);
/* The worker with the least to do. */
struct node_worker *node_pick_worker(struct node *node);

/* control.c: frees what control requests left behind; all of them where no owner is there any more.
 */
void node_sweep_orphans(struct node *node, bool is_last);

/* work.c */
void node_worker_close(
        struct node_worker *worker); /* hands letters back to the queue, to be freed */
void node_worker_turn(struct node_worker *worker, struct mono now);
void node_worker_send(struct node *node, struct letter *letter, uint32_t kind);

/* recall.c: at the restoring of each message; in each turn of the scribe; on a worker */
void node_recall_note(struct node *node, uint64_t msg_id, const struct spool_open_rcpt *rcpts,
        uint32_t rcpt_count);
void node_recall_run(struct node *node, bool is_caught_up, struct mono now);
void node_recall_step(struct node *node, struct letter *letter);
void node_recall_drop(struct letter *letter);
void node_recall_free(struct node_recall *recall); /* NULL is fine */

/* loop.c */
MUST_USE enum err node_loop_open(struct node *node, uint32_t index, struct why *why);
struct mono node_loop_turn(struct node_loop *loop, struct mono now);
void node_loop_end(struct node_loop *loop); /* cuts what runs, on the loop's thread; once or more */
void node_loop_close(struct node_loop *loop);

#endif
