/* SPDX-License-Identifier: Apache-2.0
 *
 * address_text.c - what is known of an address as JSON and as CSV. What people read is written by
 * the command itself.
 */
#include "core/buf.h"
#include "core/str.h"
#include "identity/address_priv.h"

#include <stdlib.h>

#include <jansson.h>

enum { ESCAPED_CAP = 8192 }; /* what does not fit is cut */

static json_t *text_json(struct str s)
{
    char escaped[ESCAPED_CAP];
    json_t *json = json_stringn(s.ptr != NULL ? s.ptr : "", s.len);
    if (json == NULL) { /* no UTF-8 */
        struct str safe = str_escape(s, escaped, sizeof escaped);
        json = json_stringn(safe.ptr, safe.len);
    }
    return json;
}

static json_t *text_or_null(struct str s)
{
    return s.len > 0 ? text_json(s) : json_null();
}

static json_t *reasons_json(const struct identity_address *address)
{
    json_t *names = json_array();
    for (uint32_t i = 0; i < IDENTITY_ADDRESS_REASON_COUNT; i++) {
        if (address->reasons >> i & 1) {
            json_array_append_new(names,
                    json_string(identity_address_reason_name((enum identity_address_reason)i)));
        }
    }
    return names;
}

/* Of a text over the limit the beginning. */
static struct str shown(const struct identity_address *address)
{
    return str_sub(address->text, 0, IDENTITY_ADDRESS_BYTES_MAX);
}

static struct str detail(const struct identity_address *address)
{
    return str_from_c(address->fault != NULL ? address->fault : address->note);
}

void identity_address_json(const struct identity_address *address, struct buf *text)
{
    json_t *json = json_pack("{s:o, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:b, s:o, s:o, s:o}",
            "address", text_json(shown(address)), "verdict",
            identity_address_verdict_name(identity_address_verdict(address)), "smtp",
            (int)address->is_smtp, "header", (int)address->is_header, "signup",
            (int)address->is_signup, "suggestion", text_or_null(address->suggestion),
            "suggested_domain", text_or_null(address->suggested_domain), "reasons",
            reasons_json(address), "needs_smtputf8", (int)address->needs_smtputf8, "domain",
            text_or_null(address->domain), "mail_host",
            text_or_null(str_from_c(address->mail_host)), "detail", text_or_null(detail(address)));
    char *dumped = json ? json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    buf_add_c(text, dumped != NULL ? dumped : "{\"error\":\"out of memory\"}");
    free(dumped);
    json_decref(json);
}

/* ---- CSV ---- */

const char identity_address_csv_heading[] =
        "address,verdict,smtp,header,signup,suggestion,reasons,detail\r\n";

static bool is_plain_text(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((uint8_t)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f) {
            return false;
        }
    }
    return str_is_utf8(s);
}

/* In quotes, which stand for themselves twice. A program that takes the first '=', '+', '-' or '@'
 * for a formula is told that it is text: by a ' in front. Controls become \xHH. */
static void csv_cell(struct buf *text, struct str s)
{
    char escaped[ESCAPED_CAP];
    if (!is_plain_text(s)) {
        s = str_escape(s, escaped, sizeof escaped);
    }
    buf_add_char(text, '"');
    if (s.len > 0 && (s.ptr[0] == '=' || s.ptr[0] == '+' || s.ptr[0] == '-' || s.ptr[0] == '@')) {
        buf_add_char(text, '\'');
    }
    for (size_t quote = str_index(s, '"'); quote < s.len; quote = str_index(s, '"')) {
        buf_add(text, str_sub(s, 0, quote + 1));
        buf_add_char(text, '"');
        s = str_from(s, quote + 1);
    }
    buf_add(text, s);
    buf_add_char(text, '"');
}

static void csv_reasons(struct buf *text, const struct identity_address *address)
{
    const char *before = "";
    for (uint32_t i = 0; i < IDENTITY_ADDRESS_REASON_COUNT; i++) {
        if (address->reasons >> i & 1) {
            buf_addf(text, "%s%s", before,
                    identity_address_reason_name((enum identity_address_reason)i));
            before = " ";
        }
    }
}

void identity_address_csv(const struct identity_address *address, struct buf *text)
{
    csv_cell(text, shown(address));
    buf_addf(text, ",%s,%s,%s,%s,",
            identity_address_verdict_name(identity_address_verdict(address)),
            address->is_smtp ? "true" : "false", address->is_header ? "true" : "false",
            address->is_signup ? "true" : "false");
    csv_cell(text, address->suggestion);
    buf_add_char(text, ',');
    csv_reasons(text, address);
    buf_add_char(text, ',');
    csv_cell(text, detail(address));
    buf_add_c(text, "\r\n");
}
