/* SPDX-License-Identifier: Apache-2.0
 *
 * control_address.c - POST /v1/addresses/check: is an address, or are up to a hundred, worth
 * sending to?
 */
#include "node/addresses_priv.h"
#include "node/control_priv.h"

/* The "address" member as a list, be it one text or many; false: has ended with 400. */
static bool take_texts(struct control *control, json_t **ret_texts)
{
    const char *name;
    json_t *value, *texts = json_object_get(control->json_body, "address");
    json_object_foreach(control->json_body, name, value)
    {
        if (strcmp(name, "address") != 0 && strcmp(name, "offline") != 0) {
            control_end_error(control, 400, "there is no \"%.60s\" here", name);
            return false;
        }
    }
    value = json_object_get(control->json_body, "offline");
    if (value != NULL && !json_is_boolean(value)) {
        control_end_error(control, 400, "\"offline\" is to be true or false");
        return false;
    }
    bool is_list = json_is_array(texts) && json_array_size(texts) > 0 &&
                   json_array_size(texts) <= NODE_ADDRESSES_COUNT_MAX;
    for (size_t i = 0; is_list && i < json_array_size(texts); i++) {
        is_list = json_is_string(json_array_get(texts, i));
    }
    if (!is_list && !json_is_string(texts)) {
        control_end_error(control, 400, "\"address\" is to be a string, or a list of 1 to %d",
                NODE_ADDRESSES_COUNT_MAX);
        return false;
    }
    *ret_texts = texts;
    return true;
}

static void mark_same(struct node_addresses *work, uint32_t index)
{
    const struct identity_address *address = &work->item[index].address;
    uint32_t first = 0;
    while (first < index && !str_eq(work->item[first].address.domain, address->domain)) {
        first++;
    }
    work->item[index].same_as = first;
    identity_mail_begin(&work->item[index].mail, address->domain);
}

/* All that needs no DNS; NULL: has ended. */
static struct node_addresses *look(struct control *control, const json_t *texts)
{
    struct why why;
    const struct identity_addresses *lists = node_address_lists(control->node);
    uint32_t count = json_is_array(texts) ? (uint32_t)json_array_size(texts) : 1;
    struct node_addresses *work = mem_new(sizeof *work + count * sizeof work->item[0]);
    if (work == NULL || lists == NULL) {
        mem_free(work);
        control_end_error(control, 503, "out of memory");
        return NULL;
    }
    work->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct identity_address *address = &work->item[i].address;
        const json_t *text = json_is_array(texts) ? json_array_get(texts, i) : texts;
        identity_address_look(
                lists, str_of(json_string_value(text), json_string_length(text)), address);
        if (identity_address_add_history(control->node->history, address, &why) != OK) {
            log_warn(control->node->log, "control", "an address check without the history: %s",
                    why.text);
        }
        mark_same(work, i);
    }
    return work;
}

static void end_with(struct control *control, const struct node_addresses *work)
{
    struct buf text;
    bool is_list = json_is_array(json_object_get(control->json_body, "address"));
    buf_init(&text, CONTROL_REPLY_BYTES_MAX);
    buf_add_c(&text, is_list ? "[" : "");
    for (uint32_t i = 0; i < work->count; i++) {
        buf_add_c(&text, i > 0 ? "," : "");
        identity_address_json(&work->item[i].address, &text);
    }
    buf_add_c(&text, is_list ? "]" : "");
    if (buf_err(&text) == OK) {
        control_end_text(control, buf_str(&text));
    } else {
        control_end_error(control, 503, "out of memory");
    }
    buf_done(&text);
}

static void asked(struct control *control, struct letter *letter)
{
    struct node_addresses *work = CONTAINER_OF(letter, struct node_addresses, letter);
    const struct identity_addresses *lists = node_address_lists(control->node);
    for (uint32_t i = 0; i < work->count; i++) {
        struct node_addresses_item *item = &work->item[i];
        if (identity_address_wants_mail(&item->address)) {
            identity_address_add_mail(lists, &item->address, &work->item[item->same_as].mail);
        }
    }
    end_with(control, work);
    control_letter_free(letter);
}

void control_address_check(struct control *control)
{
    json_t *texts;
    if (!json_is_object(control->json_body)) {
        control_end_error(control, 400, "the body is to be a JSON object with \"address\"");
        return;
    }
    if (!take_texts(control, &texts)) {
        return;
    }
    struct node_addresses *work = look(control, texts);
    if (work == NULL) {
        return;
    }
    if (json_is_true(json_object_get(control->json_body, "offline"))) {
        end_with(control, work);
        mem_free(work);
        return;
    }
    work->letter.kind = NODE_LOOP_ADDRESSES;
    work->reply_box = &control->box;
    work->reply_kind = CONTROL_ADDRESSES;
    control->then = asked;
    control->waiting_count++;
    mailbox_answer(&control->node->loop[0].box, &work->letter);
}
