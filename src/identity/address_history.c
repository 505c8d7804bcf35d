/* SPDX-License-Identifier: Apache-2.0
 *
 * address_history.c - what became of our own last mail to an address, from the history.
 */
#include "core/buf.h"
#include "core/str.h"
#include "history/history.h"
#include "identity/address_priv.h"

#include <jansson.h>

enum { STORY_BYTES_MAX = 4 << 20 };

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

/* "2026-11-25T14:51:35.600Z mx.example.net said 550 5.1.1 no such user", of the last event. */
static void take_note(struct identity_address *address, const json_t *rcpt)
{
    const json_t *events = json_object_get(rcpt, "events");
    const json_t *last = json_array_get(events, json_array_size(events) - 1);
    for (size_t i = json_array_size(events); i-- > 0 && last != NULL;) {
        const json_t *event = json_array_get(events, i);
        if (json_integer_value(json_object_get(event, "code")) > 0) {
            last = event;
            break;
        }
    }
    char note[IDENTITY_ADDRESS_NOTE_CAP];
    size_t len = fmt(note, sizeof note, "%s %s said %lld %s %s", text_of(last, "at"),
            text_of(last, "remote_host"),
            (long long)json_integer_value(json_object_get(last, "code")), text_of(last, "enhanced"),
            text_of(last, "text"));
    struct str safe = str_escape(str_of(note, len), address->note, sizeof address->note - 1);
    address->note[safe.len] = '\0';
}

static void take_story(struct identity_address *address, const json_t *stories, struct str wanted)
{
    const json_t *rcpts = json_object_get(json_array_get(stories, 0), "recipients");
    for (size_t i = 0; i < json_array_size(rcpts); i++) {
        const json_t *rcpt = json_array_get(rcpts, i);
        struct str state = str_from_c(text_of(rcpt, "state"));
        if (!str_eq_nocase(str_from_c(text_of(rcpt, "address")), wanted)) {
            continue;
        }
        if (str_eq(state, STR("delivered"))) {
            address_take_fate(address, IDENTITY_ADDRESS_DELIVERED);
        } else if (str_eq(state, STR("bounced"))) {
            address_take_fate(address, IDENTITY_ADDRESS_BOUNCED);
            take_note(address, rcpt);
        } else if (str_eq(state, STR("suppressed"))) {
            address_take_fate(address, IDENTITY_ADDRESS_SUPPRESSED);
        }
        return;
    }
}

enum err identity_address_add_history(
        struct history *history, struct identity_address *address, struct why *why)
{
    struct history_query query = {
        .by = HISTORY_BY_RECIPIENT, .value = address->text, .count_max = 1
    };
    struct buf json;
    if (!address->is_smtp) {
        return OK;
    }
    buf_init(&json, STORY_BYTES_MAX);
    enum err err = history_find_json(history, &query, &json, why);
    if (err == OK) {
        json_t *stories = json_loadb(json.ptr, json.len, 0, NULL);
        take_story(address, stories, address->text);
        json_decref(stories);
    }
    buf_done(&json);
    return err == E_NOT_FOUND ? OK : err;
}
