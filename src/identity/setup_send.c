/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_send.c - records sent to the primary name server of each zone.
 */
#include "core/str.h"
#include "edge/dns_update.h"
#include "identity/setup_priv.h"

/* Ours to publish: neither optional nor of an address's owner. */
static bool is_sent(const struct identity_record *record, struct str zone)
{
    return !record->is_optional && !record->is_foreign && str_eq(record->zone, zone);
}

static enum err send_zone(const struct identity_setup *setup, struct dns_update *update,
        struct str zone, struct arena *arena, struct why *why)
{
    const char **line = arena_new(arena, (setup->record_count + 1) * sizeof *line);
    struct str name = arena_strf(arena, "%.*s.", STR_ARG(zone));
    if (line == NULL || name.ptr == NULL) {
        return E_NOMEM;
    }
    update->zone = name.ptr;
    update->line = line;
    update->line_count = 0;
    for (uint32_t i = 0; i < setup->record_count; i++) {
        if (!is_sent(&setup->record[i], zone)) {
            continue;
        }
        struct buf text;
        buf_init(&text, 1 << 20);
        setup_record_line(&setup->record[i], &text);
        struct str copy = arena_str(arena, str_trim(buf_str(&text)));
        buf_done(&text);
        if (copy.ptr == NULL) {
            return E_NOMEM;
        }
        line[update->line_count++] = copy.ptr;
    }
    return update->line_count > 0 ? dns_update_send(update, why) : OK;
}

static bool is_first_of_zone(const struct identity_setup *setup, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (is_sent(&setup->record[k], setup->record[i].zone)) {
            return false;
        }
    }
    return is_sent(&setup->record[i], setup->record[i].zone);
}

static enum err send_all(const struct identity_setup *setup, struct dns_update *update,
        struct arena *arena, struct buf *words, struct why *why)
{
    for (uint32_t i = 0; i < setup->record_count; i++) {
        struct str zone = setup->record[i].zone;
        struct why own = { 0 };
        if (!is_first_of_zone(setup, i)) {
            continue;
        }
        enum err err = send_zone(setup, update, zone, arena, &own);
        if (err != OK) {
            why_set(why, "zone %.*s: %.300s", STR_ARG(zone),
                    own.text[0] != '\0' ? own.text : err_name(err));
            return err;
        }
        buf_addf(words, "zone %.*s: %u records\n", STR_ARG(zone), (unsigned)update->line_count);
    }
    return OK;
}

enum err identity_setup_send(const struct identity_setup *setup, const struct ip_port *server,
        const char *key_path, struct arena *arena, struct str *ret_words, struct why *why)
{
    struct dns_tsig_key key;
    struct buf text, words;
    struct why own = { 0 };
    buf_init(&text, 65536);
    enum err err = file_take(key_path, &text, why);
    if (err == OK && dns_tsig_key_read(buf_str(&text), &key, &own) != OK) {
        why_set(why, "%s: %.300s", key_path, own.text);
        err = E_SYNTAX;
    }
    crypto_wipe(text.ptr, text.len);
    buf_done(&text);
    if (err != OK) {
        return err;
    }
    struct dns_update update = { .server = *server, .key = &key };
    buf_init(&words, 65536);
    err = send_all(setup, &update, arena, &words, why);
    *ret_words = arena_str(arena, buf_str(&words));
    buf_done(&words);
    crypto_wipe(&key, sizeof key);
    return err;
}
