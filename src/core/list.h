/* SPDX-License-Identifier: Apache-2.0
 *
 * list.h - intrusive doubly linked list with a sentinel; use CONTAINER_OF to get the element.
 */
#ifndef OUTPOST_CORE_LIST_H
#define OUTPOST_CORE_LIST_H

#include "core/base.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *head)
{
    head->next = head->prev = head;
}
static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}
static inline void list_add_last(struct list *head, struct list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}
static inline void list_add_first(struct list *head, struct list *item)
{
    list_add_last(head->next, item);
}
static inline void list_del(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    item->next = item->prev = item;
}
/* The first item, taken out; NULL when empty. */
static inline struct list *list_take_first(struct list *head)
{
    if (list_is_empty(head)) {
        return NULL;
    }
    struct list *item = head->next;
    list_del(item);
    return item;
}

#endif
