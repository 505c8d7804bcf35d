/* SPDX-License-Identifier: Apache-2.0
 *
 * list_test.c - order and emptiness of the intrusive list.
 */
#include "core/list.h"

#include "tests/test.h"

struct element {
    int number;
    struct list link;
};

TEST(list_keeps_order_from_both_ends)
{
    struct list head;
    list_init(&head);
    CHECK(list_is_empty(&head) && list_take_first(&head) == NULL);
    struct element a = { .number = 1 }, b = { .number = 2 }, c = { .number = 3 };
    list_add_last(&head, &b.link);
    list_add_last(&head, &c.link);
    list_add_first(&head, &a.link);
    for (int i = 1; i <= 3; i++) {
        struct list *first = list_take_first(&head);
        CHECK(first != NULL);
        CHECK_U64(CONTAINER_OF(first, struct element, link)->number, i);
        CHECK(list_is_empty(first));
    }
    CHECK(list_is_empty(&head));
}

TEST(list_del_takes_from_the_middle_and_may_repeat)
{
    struct list head;
    list_init(&head);
    struct element a = { .number = 1 }, b = { .number = 2 };
    list_add_last(&head, &a.link);
    list_add_last(&head, &b.link);
    list_del(&a.link);
    list_del(&a.link);
    CHECK(list_take_first(&head) == &b.link);
    CHECK(list_is_empty(&head));
}
