/* SPDX-License-Identifier: Apache-2.0
 *
 * addresses.c - asks the node's resolver about the domains of a request's addresses, all at once,
 * on the loop where it answers. Nothing waits for it but that request.
 */
#include "node/addresses_priv.h"

struct node_asker {
    struct identity_asker *asker;
    struct list open; /* struct node_addresses */
};

const struct identity_addresses *node_address_lists(struct node *node)
{
    pthread_mutex_lock(&node->config_lock);
    if (node->addresses == NULL && identity_addresses_open(&node->addresses) != OK) {
        node->addresses = NULL;
    }
    const struct identity_addresses *addresses = node->addresses;
    pthread_mutex_unlock(&node->config_lock);
    return addresses;
}

enum err node_asker_new(struct node *node, struct node_asker **ret_asker)
{
    struct node_asker *asker = mem_new(sizeof *asker);
    if (asker == NULL) {
        return E_NOMEM;
    }
    enum err err = identity_asker_open(node->edge.dns, node->edge.clock, &asker->asker);
    if (err != OK) {
        mem_free(asker);
        return err;
    }
    list_init(&asker->open);
    *ret_asker = asker;
    return OK;
}

static void item_asked(void *ctx)
{
    struct node_addresses *work = ctx;
    ASSERT(work->open_count > 0);
    if (--work->open_count == 0) {
        list_del(&work->link);
        work->letter.kind = work->reply_kind;
        mailbox_answer(work->reply_box, &work->letter);
    }
}

void node_asker_letter(struct node_asker *asker, struct letter *letter)
{
    struct node_addresses *work = CONTAINER_OF(letter, struct node_addresses, letter);
    list_add_last(&asker->open, &work->link);
    work->open_count = 1; /* this call's own, until all are begun */
    for (uint32_t i = 0; i < work->count; i++) {
        struct node_addresses_item *item = &work->item[i];
        struct identity_engine engine = identity_mail_engine(&item->mail);
        if (item->same_as != i || !identity_address_wants_mail(&item->address)) {
            continue;
        }
        work->open_count++;
        if (identity_ask(asker->asker, &engine, 0, item_asked, work, NULL) != OK) {
            identity_mail_give_up(&item->mail);
            work->open_count--;
        }
    }
    item_asked(work);
}

struct mono node_asker_turn(struct node_asker *asker)
{
    return identity_asker_tick(asker->asker);
}

void node_asker_free(struct node_asker *asker)
{
    struct list *link;
    if (asker == NULL) {
        return;
    }
    identity_asker_close(asker->asker);
    while ((link = list_take_first(&asker->open)) != NULL) {
        mem_free(CONTAINER_OF(link, struct node_addresses, link));
    }
    mem_free(asker);
}
