/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_put.c - a record beside what DNS has: is it there, does another stand in its place, and
 * what of others must stay beside it?
 */
#include "core/str.h"
#include "identity/setup_make_priv.h"

const char *identity_record_state_name(enum identity_record_state state)
{
    static const char *const names[] = { "missing", "differs", "there", "unknown" };
    return names[state];
}

struct str made_text(struct making *m, struct str s)
{
    m->is_nomem = m->is_nomem || s.ptr == NULL;
    return s.ptr != NULL ? s : STR("");
}

/* A record of DNS as ours are written; NULL text: of a type that is not ours, or broken. */
static struct str data_of(struct making *m, const struct dns_record *there)
{
    char room[IP_TEXT_CAP];
    struct str raw = there->data;
    struct buf hex;
    struct str data = { 0 };
    switch (there->type) {
    case DNS_A:
    case DNS_AAAA:
        return made(m, "%.*s", STR_ARG(ip_format(there->ip, room)));
    case DNS_MX:
    case DNS_CNAME:
    case DNS_PTR:
    case DNS_TXT:
        return raw;
    case DNS_CAA: /* RFC 8659 4.1 */
        if (raw.len < 2 || raw.len < 2U + (uint8_t)raw.ptr[1]) {
            return data;
        }
        return made(m, "%u %.*s \"%.*s\"", (unsigned)(uint8_t)raw.ptr[0],
                STR_ARG(str_sub(raw, 2, (uint8_t)raw.ptr[1])),
                STR_ARG(str_from(raw, 2U + (uint8_t)raw.ptr[1])));
    case DNS_TLSA: /* RFC 6698 2.1 */
        buf_init(&hex, 4096);
        for (size_t i = 0; i < raw.len; i++) {
            buf_addf(&hex, i < 3 ? "%u " : "%02x", (unsigned)(uint8_t)raw.ptr[i]);
        }
        data = made(m, "%.*s", STR_ARG(buf_str(&hex)));
        buf_done(&hex);
        return data;
    case DNS_NS:
    case DNS_SOA:
    case DNS_DS:
    case DNS_DNSKEY:
        break;
    }
    return data;
}

static bool data_is(
        struct making *m, const struct identity_record *record, const struct dns_record *there)
{
    bool is_host = record->type == DNS_MX || record->type == DNS_CNAME || record->type == DNS_PTR;
    struct str data = data_of(m, there);
    return there->type == record->type && there->preference == record->preference &&
           data.ptr != NULL &&
           (is_host ? str_eq_nocase(data, record->data) : str_eq(data, record->data));
}

/* Is what stands there in the place of ours, rather than beside it? At names of their own (with
 * '_') everything; elsewhere a record of the same version, as "v=spf1". */
static bool is_in_place(const struct identity_record *record, const struct dns_record *there)
{
    bool is_own_name = str_index(record->name, '_') < record->name.len;
    struct str version = str_sub(record->data, 0, str_index(record->data, ' '));
    return record->type == DNS_CNAME || record->type == DNS_PTR ||
           (record->type == DNS_TXT && (is_own_name || str_starts_nocase(there->data, version)));
}

static enum identity_record_state state_of(
        struct making *m, const struct identity_record *record, const struct look_answer *answer)
{
    bool is_other = false;
    if (look_failed(answer)) {
        return IDENTITY_RECORD_UNKNOWN;
    }
    for (uint32_t i = 0; look_found(answer) && i < answer->record_count; i++) {
        if (data_is(m, record, &answer->record[i])) {
            return IDENTITY_RECORD_THERE;
        }
        is_other = is_other || is_in_place(record, &answer->record[i]);
    }
    return is_other ? IDENTITY_RECORD_DIFFERS : IDENTITY_RECORD_MISSING;
}

/* The same record; NULL: it is not there. */
static struct identity_record *find_record(
        const struct identity_setup *setup, const struct identity_record *record)
{
    for (uint32_t i = 0; i < setup->record_count; i++) {
        struct identity_record *other = &setup->record[i];
        if (other->type == record->type && str_eq(other->name, record->name) &&
                str_eq(other->data, record->data)) {
            return other;
        }
    }
    return NULL;
}

void making_put(struct making *m, const struct identity_record *record)
{
    struct identity_setup *setup = m->setup;
    struct identity_record *same = find_record(setup, record);
    if (same != NULL) {
        *same = same->is_kept ? *record : *same;
    } else if (setup->record_count < IDENTITY_SETUP_RECORD_COUNT_MAX) {
        setup->record[setup->record_count++] = *record;
    }
}

/* What others have beside a record, kept. */
static void put_others(
        struct making *m, const struct identity_record *record, const struct look_answer *answer)
{
    for (uint32_t i = 0; look_found(answer) && i < answer->record_count; i++) {
        const struct dns_record *there = &answer->record[i];
        struct str data = data_of(m, there);
        if (there->type != record->type || is_in_place(record, there) || data.ptr == NULL ||
                data_is(m, record, there)) {
            continue;
        }
        struct identity_record other = *record;
        other.preference = there->preference;
        other.data = data;
        other.purpose = STR("kept");
        other.note = STR("");
        other.state = IDENTITY_RECORD_THERE;
        other.is_kept = true;
        making_put(m, &other);
    }
}

void making_add(struct making *m, struct identity_record record)
{
    record.ttl_s = IDENTITY_TTL_S;
    (void)look_zone(m->look, record.name, &record.zone);
    const struct look_answer *answer = look_ask(m->look, record.name, record.type);
    record.state = state_of(m, &record, answer);
    making_put(m, &record);
    put_others(m, &record, answer);
}
