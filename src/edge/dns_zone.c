/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_zone.c - answers from a master file (RFC 1035 section 5), read once by ldns, then kept as
 * wire data in an arena. For checks without the net; knows no wildcards, delegations or DNSSEC.
 */
#include "core/arena.h"
#include "core/list.h"
#include "core/map.h"
#include "core/str.h"
#include "edge/dns_priv.h"
#include "edge/errno_priv.h"

#include <errno.h>
#include <stdio.h>

#include <ldns/ldns.h>

enum {
    ZONE_BYTES_MAX = 256 << 20, /* records in memory; ten thousand DKIM keys take 10 MB */
    ZONE_QUESTION_COUNT_MAX = 4096,
    ZONE_LINE_CAP = 1024, /* only comments are looked for in lines */
    ZONE_TTL_S = 3600,    /* without $TTL */
    RDATA_BYTES_MAX = 65535
};

struct zone_record {
    struct str name; /* lower case, no final dot */
    struct str rdata;
    uint32_t type;
    uint32_t ttl_s;
};

struct zone_fault { /* "; @timeout NAME" */
    struct zone_fault *next;
    struct str name;
    enum dns_status status;
};

struct zone_question {
    struct list link;
    char name[DNS_NAME_CAP];
    enum dns_type type;
    dns_answered *answered;
    void *ctx;
};

struct zone {
    struct dns base;
    struct arena arena;
    struct map by_name; /* hash of the name → struct zone_record */
    struct zone_fault *faults;
    struct list questions;
    uint32_t question_count;
    bool is_polled; /* within a callback */
    bool is_closed;
};

static struct zone *zone_of(struct dns *dns)
{
    return CONTAINER_OF(dns, struct zone, base);
}

/* ---- reading ---- */

/* Where ldns is in the file. */
struct zone_cursor {
    uint32_t ttl_s;
    ldns_rdf *origin;
    ldns_rdf *previous; /* owner of the last record */
    int line;
};

/* The copy in the arena; E_NOMEM also where the file is larger than we take. */
static enum err keep(struct zone *zone, struct str s, struct str *ret_copy)
{
    *ret_copy = arena_str(&zone->arena, s);
    return ret_copy->ptr == NULL && s.len > 0 ? E_NOMEM : OK;
}

/* Names that cannot be asked for (RFC 1035 5.1 escapes) are left out, as they are from answers. */
static enum err add_rr(struct zone *zone, const ldns_rr *rr, ldns_buffer *buffer)
{
    const ldns_rdf *owner = ldns_rr_owner(rr);
    struct str wire = { (const char *)ldns_rdf_data(owner), ldns_rdf_size(owner) };
    char room[DNS_NAME_CAP];
    struct dns_record name;
    if (wire.len > sizeof room || !dns_record_from_wire(DNS_PTR, wire, room, &name)) {
        return OK;
    }
    ldns_buffer_clear(buffer);
    if (ldns_rr_rdata2buffer_wire(buffer, rr) != LDNS_STATUS_OK) {
        return E_SYNTAX;
    }
    struct zone_record *record = arena_new(&zone->arena, sizeof *record);
    if (record == NULL) {
        return E_NOMEM;
    }
    record->type = (uint32_t)ldns_rr_get_type(rr);
    record->ttl_s = ldns_rr_ttl(rr);
    struct str rdata = { (const char *)ldns_buffer_begin(buffer), ldns_buffer_position(buffer) };
    enum err err = keep(zone, name.data, &record->name);
    if (err == OK) {
        err = keep(zone, rdata, &record->rdata);
    }
    return err != OK ? err
                     : map_add(&zone->by_name, str_hash(record->name, 0),
                               (uint64_t)(uintptr_t)record);
}

/* Reads the next record, if the next entry is one; the status says what it was. */
static ldns_status parse_entry(FILE *file, struct zone_cursor *cursor, ldns_rr **ret_rr)
{
    *ret_rr = NULL;
    return ldns_rr_new_frm_fp_l(
            ret_rr, file, &cursor->ttl_s, &cursor->origin, &cursor->previous, &cursor->line);
}

static enum err read_entries(struct zone *zone, FILE *file, struct zone_cursor *cursor,
        ldns_buffer *buffer, const char *path, struct why *why)
{
    while (feof(file) == 0) {
        ldns_rr *rr;
        ldns_status status = parse_entry(file, cursor, &rr);
        enum err err = OK;
        if (status == LDNS_STATUS_OK) {
            err = add_rr(zone, rr, buffer);
            ldns_rr_free(rr);
        } else if (status != LDNS_STATUS_SYNTAX_EMPTY && status != LDNS_STATUS_SYNTAX_TTL &&
                   status != LDNS_STATUS_SYNTAX_ORIGIN) { /* blank lines, $TTL, $ORIGIN */
            why_set(why, "%s:%d: %s", path, cursor->line, ldns_get_errorstr_by_id(status));
            return E_SYNTAX;
        }
        if (err != OK) {
            why_set(why, "%s:%d: %s", path, cursor->line, err_name(err));
            return err;
        }
    }
    return OK;
}

/* Entry by entry: ldns' reader of whole zones loses memory at the first bad line. */
static enum err read_records(struct zone *zone, FILE *file, const char *path, struct why *why)
{
    struct zone_cursor cursor = { .ttl_s = ZONE_TTL_S, .origin = ldns_dname_new_frm_str(".") };
    ldns_buffer *buffer = ldns_buffer_new(RDATA_BYTES_MAX);
    enum err err = E_NOMEM;
    if (cursor.origin != NULL && buffer != NULL) {
        err = read_entries(zone, file, &cursor, buffer, path, why);
    }
    ldns_buffer_free(buffer);
    ldns_rdf_deep_free(cursor.origin);
    ldns_rdf_deep_free(cursor.previous);
    return err;
}

/* "; @timeout NAME" and "; @servfail NAME"; every other line is none of them. */
static enum err read_fault(struct zone *zone, struct str line)
{
    struct str timeout = STR("; @timeout "), servfail = STR("; @servfail ");
    bool is_timeout = str_starts(line, timeout);
    if (!is_timeout && !str_starts(line, servfail)) {
        return OK;
    }
    char name[DNS_NAME_CAP];
    struct str text = str_trim(str_from(line, is_timeout ? timeout.len : servfail.len));
    if (!dns_question_name(text, name)) {
        return E_SYNTAX;
    }
    struct zone_fault *fault = arena_new(&zone->arena, sizeof *fault);
    if (fault == NULL) {
        return E_NOMEM;
    }
    fault->status = is_timeout ? DNS_TIMEOUT : DNS_SERVFAIL;
    fault->next = zone->faults;
    zone->faults = fault;
    return keep(zone, str_from_c(name), &fault->name);
}

static enum err read_faults(struct zone *zone, FILE *file, const char *path, struct why *why)
{
    char line[ZONE_LINE_CAP];
    enum err err = OK;
    for (int number = 1; err == OK && fgets(line, sizeof line, file) != NULL; number++) {
        err = read_fault(zone, str_from_c(line));
        if (err != OK) {
            why_set(why, "%s:%d: %s", path, number, err == E_SYNTAX ? "bad name" : err_name(err));
        }
    }
    return err;
}

/* ---- answering ---- */

static bool name_exists(const struct zone *zone, struct str name)
{
    uint64_t hash, value;
    for (uint32_t at = 0; map_walk(&zone->by_name, &at, &hash, &value);) {
        struct str own = ((const struct zone_record *)(uintptr_t)value)->name;
        bool is_below = own.len > name.len && own.ptr[own.len - name.len - 1] == '.' &&
                        str_eq(str_from(own, own.len - name.len), name);
        if (is_below || str_eq(own, name)) {
            return true; /* also the empty names above a record (RFC 8020) */
        }
    }
    return false;
}

/* Walks the records of one name and type; NULL at the end. */
static const struct zone_record *next_record(
        const struct zone *zone, struct str name, enum dns_type type, uint32_t *at)
{
    uint64_t value;
    while (map_walk_key(&zone->by_name, str_hash(name, 0), at, &value)) {
        const struct zone_record *record = (const struct zone_record *)(uintptr_t)value;
        if (record->type == type && str_eq(record->name, name)) {
            return record;
        }
    }
    return NULL;
}

/* Copies the matching records; false: there is none. */
static bool collect(
        const struct zone *zone, struct str name, enum dns_type type, struct dns_room *ret_room)
{
    const struct zone_record *record;
    uint32_t count = 0, ttl_s = UINT32_MAX;
    size_t rdata_bytes = 0;
    for (uint32_t at = 0; (record = next_record(zone, name, type, &at)) != NULL;) {
        count++;
        rdata_bytes += record->rdata.len;
        ttl_s = record->ttl_s < ttl_s ? record->ttl_s : ttl_s;
    }
    if (count == 0) {
        return false;
    }
    if (dns_room_open(ret_room, count, rdata_bytes) == OK) {
        for (uint32_t at = 0; (record = next_record(zone, name, type, &at)) != NULL;) {
            dns_room_add(ret_room, type, record->rdata);
        }
    }
    ret_room->answer.ttl_s = ttl_s;
    return true;
}

/* The name that an alias stands for, in dst; false: no alias. */
static bool follow(const struct zone *zone, struct str name, char dst[DNS_NAME_CAP])
{
    uint32_t at = 0;
    const struct zone_record *alias = next_record(zone, name, DNS_CNAME, &at);
    char room[DNS_NAME_CAP];
    struct dns_record record;
    if (alias == NULL || alias->rdata.len > sizeof room ||
            !dns_record_from_wire(DNS_CNAME, alias->rdata, room, &record)) {
        return false;
    }
    return str_to_c(record.data, dst, DNS_NAME_CAP);
}

static void absent(struct dns_room *ret_room, enum dns_status status, const char *why)
{
    *ret_room = (struct dns_room){ 0 };
    dns_room_fail(ret_room, status, why);
}

static void find(
        const struct zone *zone, const struct zone_question *question, struct dns_room *ret_room)
{
    char name[DNS_NAME_CAP];
    memcpy(name, question->name, sizeof name);
    for (uint32_t hop = 0; hop <= DNS_CNAME_COUNT_MAX; hop++) {
        struct str here = str_from_c(name);
        for (const struct zone_fault *fault = zone->faults; fault != NULL; fault = fault->next) {
            if (str_eq(fault->name, here)) {
                absent(ret_room, fault->status, "the zone file says so");
                return;
            }
        }
        if (collect(zone, here, question->type, ret_room)) {
            return;
        }
        if (!follow(zone, here, name)) {
            absent(ret_room, name_exists(zone, here) ? DNS_NODATA : DNS_NXDOMAIN, "");
            return;
        }
    }
    absent(ret_room, DNS_SERVFAIL, "chain of aliases too long");
}

/* ---- the calls ---- */

static enum err zone_ask(
        struct dns *dns, struct str name, enum dns_type type, dns_answered *answered, void *ctx)
{
    struct zone *zone = zone_of(dns);
    char c_name[DNS_NAME_CAP];
    if (!dns_question_name(name, c_name)) {
        return E_SYNTAX;
    }
    if (zone->question_count >= ZONE_QUESTION_COUNT_MAX) {
        return E_FULL;
    }
    struct zone_question *question = mem_new(sizeof *question);
    if (question == NULL) {
        return E_NOMEM;
    }
    memcpy(question->name, c_name, sizeof c_name);
    question->type = type;
    question->answered = answered;
    question->ctx = ctx;
    zone->question_count++;
    list_add_last(&zone->questions, &question->link);
    return OK;
}

static void zone_free(struct zone *zone)
{
    struct list *link;
    while ((link = list_take_first(&zone->questions)) != NULL) {
        mem_free(CONTAINER_OF(link, struct zone_question, link));
    }
    map_done(&zone->by_name);
    arena_done(&zone->arena);
    mem_free(zone);
}

static void zone_close(struct dns *dns)
{
    if (dns == NULL) {
        return;
    }
    struct zone *zone = zone_of(dns);
    if (zone->is_polled) {
        zone->is_closed = true; /* dns_zone_poll frees when its callback returns */
    } else {
        zone_free(zone);
    }
}

void dns_zone_poll(struct dns *dns)
{
    struct zone *zone = zone_of(dns);
    struct list *link;
    zone->is_polled = true;
    while (!zone->is_closed && (link = list_take_first(&zone->questions)) != NULL) {
        struct zone_question *question = CONTAINER_OF(link, struct zone_question, link);
        struct dns_room room;
        zone->question_count--;
        find(zone, question, &room);
        dns_room_end(&room);
        question->answered(question->ctx, &room.answer);
        dns_room_close(&room);
        mem_free(question);
    }
    zone->is_polled = false;
    if (zone->is_closed) {
        zone_free(zone);
    }
}

static const struct dns_ops zone_ops = { .ask = zone_ask, .close = zone_close };

enum err dns_open_zone(const char *path, struct dns **ret_dns, struct why *why)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        int number = errno;
        why_set(why, "%s: %s", path, errno_words(number));
        return err_from_errno(number);
    }
    struct zone *zone = mem_new(sizeof *zone);
    enum err err = zone == NULL ? E_NOMEM : OK;
    if (err == OK) {
        zone->base.ops = &zone_ops;
        arena_init(&zone->arena, ZONE_BYTES_MAX);
        list_init(&zone->questions);
        err = read_faults(zone, file, path, why);
        rewind(file);
    }
    if (err == OK) {
        err = read_records(zone, file, path, why);
    }
    (void)fclose(file);
    if (err == OK) {
        *ret_dns = &zone->base;
    } else if (zone != NULL) {
        zone_free(zone);
    }
    return err;
}
