/* SPDX-License-Identifier: Apache-2.0
 *
 * addresses_priv.h - address checks of the control API: a request's thread looks at the addresses,
 * the first loop, on which the resolver answers, asks about their domains.
 */
#ifndef OUTPOST_NODE_ADDRESSES_PRIV_H
#define OUTPOST_NODE_ADDRESSES_PRIV_H

#include "core/list.h"
#include "identity/identity.h"
#include "node/node_priv.h"

enum { NODE_ADDRESSES_COUNT_MAX = 100 }; /* of one request */

struct node_addresses_item {
    struct identity_address address;
    struct identity_mail mail;
    uint32_t same_as; /* an earlier item with this domain; its own number: it is asked about */
};
/* One piece of memory: who holds the letter frees it with mem_free. */
struct node_addresses {
    struct letter letter; /* there NODE_LOOP_ADDRESSES, back of reply_kind */
    struct list link;     /* the loop's, while open */
    struct mailbox *reply_box;
    uint32_t reply_kind;
    uint32_t open_count;
    uint32_t count;
    struct node_addresses_item item[];
};

/* The first loop's part. */
struct node_asker;
MUST_USE enum err node_asker_new(struct node *node, struct node_asker **ret_asker);
void node_asker_letter(struct node_asker *asker, struct letter *letter);
struct mono node_asker_turn(struct node_asker *asker); /* 0: nothing is open */
/* After the resolver is closed: what is open is dropped, unanswered. */
void node_asker_free(struct node_asker *asker);

/* The lists, made when first wanted; NULL: no memory. Any thread. */
const struct identity_addresses *node_address_lists(struct node *node);

#endif
