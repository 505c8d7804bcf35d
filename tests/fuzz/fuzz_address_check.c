/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_address_check.c - any text as an address to be checked: a suggestion is an address that SMTP
 * can carry and that gets none itself; the output is JSON.
 */
#include "core/buf.h"
#include "core/str.h"
#include "identity/identity.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct identity_addresses *lists;
    static struct identity_address address, again;
    struct buf text;
    if (lists == NULL) {
        ASSERT(identity_addresses_open(&lists) == OK);
    }
    identity_address_look(lists, str_of((const char *)data, size), &address);
    if (address.suggestion.len > 0) {
        identity_address_look(lists, address.suggestion, &again);
        ASSERT(again.is_smtp && again.suggestion.len == 0);
    }
    buf_init(&text, 1 << 20);
    identity_address_json(&address, &text);
    json_t *json = json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, NULL);
    ASSERT(json_is_object(json));
    json_decref(json);
    identity_address_csv(&address, &text);
    ASSERT(buf_err(&text) == OK);
    buf_done(&text);
    return 0;
}
