/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_zone.c - answers from a master file (RFC 1035 section 5), read once by ldns, then kept as
 * wire data in an arena. For checks without the net; knows no delegations and no DNSSEC.
 */
#include "core/arena.h"
#include "core/buf.h"
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
    ZONE_READ_BYTES = 64 << 10,
    ZONE_TTL_S = 3600, /* without $TTL */
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
    struct map by_all;  /* hash of name, type and rdata → the same */
    struct map places;  /* hash of the name, and of each name above it → one record there */
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
    struct str text; /* all of the file */
    uint32_t ttl_s;
    ldns_rdf *origin;
    ldns_rdf *before;   /* the origin before this entry */
    ldns_rdf *previous; /* owner of the last record */
    int line;
};

/* The copy in the arena; E_NOMEM also where the file is larger than we take. */
static enum err keep(struct zone *zone, struct str s, struct str *ret_copy)
{
    *ret_copy = arena_str(&zone->arena, s);
    return ret_copy->ptr == NULL && s.len > 0 ? E_NOMEM : OK;
}

static bool name_of(const ldns_rdf *name, char dst[DNS_NAME_CAP], struct str *ret_name)
{
    struct str wire = { (const char *)ldns_rdf_data(name), ldns_rdf_size(name) };
    return dns_owner_from_wire(wire, dst, ret_name);
}

static uint64_t hash_all(const struct zone_record *record)
{
    return str_hash(record->rdata, str_hash(record->name, record->type));
}

/* RFC 2181 5: what stands twice is one record. */
static bool has_record(const struct zone *zone, const struct zone_record *record)
{
    uint64_t value;
    for (uint32_t at = 0; map_walk_key(&zone->by_all, hash_all(record), &at, &value);) {
        const struct zone_record *own = (const struct zone_record *)(uintptr_t)value;
        if (own->type == record->type && str_eq(own->name, record->name) &&
                str_eq(own->rdata, record->rdata)) {
            return true;
        }
    }
    return false;
}

/* Is it an owner, or an empty name above one (RFC 8020)? */
static bool name_exists(const struct zone *zone, struct str name)
{
    uint64_t value;
    for (uint32_t at = 0; map_walk_key(&zone->places, str_hash(name, 0), &at, &value);) {
        struct str own = ((const struct zone_record *)(uintptr_t)value)->name;
        bool is_below = own.len > name.len && own.ptr[own.len - name.len - 1] == '.' &&
                        str_eq(str_from(own, own.len - name.len), name);
        if (is_below || str_eq(own, name)) {
            return true;
        }
    }
    return false;
}

static enum err add_place(struct zone *zone, const struct zone_record *record)
{
    enum err err = OK;
    struct str name = record->name;
    while (err == OK && name.len > 0 && !name_exists(zone, name)) {
        err = map_add(&zone->places, str_hash(name, 0), (uint64_t)(uintptr_t)record);
        name = str_from(name, str_index(name, '.') + 1);
    }
    return err;
}

static enum err add_record(struct zone *zone, const struct zone_record *record)
{
    if (has_record(zone, record)) {
        return OK;
    }
    struct zone_record *copy = arena_new(&zone->arena, sizeof *copy);
    if (copy == NULL) {
        return E_NOMEM;
    }
    *copy = *record;
    enum err err = keep(zone, record->name, &copy->name);
    err = err == OK ? keep(zone, record->rdata, &copy->rdata) : err;
    uint64_t value = (uint64_t)(uintptr_t)copy;
    err = err == OK ? map_add(&zone->by_name, str_hash(copy->name, 0), value) : err;
    err = err == OK ? add_place(zone, copy) : err;
    return err == OK ? map_add(&zone->by_all, hash_all(copy), value) : err;
}

/* Names that cannot be asked for (RFC 1035 5.1 escapes) and other classes are left out. */
static enum err add_rr(struct zone *zone, const ldns_rr *rr, ldns_buffer *buffer)
{
    char room[DNS_NAME_CAP];
    struct str name;
    if (ldns_rr_get_class(rr) != LDNS_RR_CLASS_IN || !name_of(ldns_rr_owner(rr), room, &name)) {
        return OK;
    }
    ldns_buffer_clear(buffer);
    if (ldns_rr_rdata2buffer_wire(buffer, rr) != LDNS_STATUS_OK) {
        return E_SYNTAX;
    }
    struct zone_record record = { .name = name,
        .rdata = { (const char *)ldns_buffer_begin(buffer), ldns_buffer_position(buffer) },
        .type = (uint32_t)ldns_rr_get_type(rr),
        .ttl_s = ldns_rr_ttl(rr) };
    /* ldns makes type 0 of a word it does not know where nothing follows */
    return record.type != 0 ? add_record(zone, &record) : E_SYNTAX;
}

/* Reads the next record, if the next entry is one; the status says what it was. */
static ldns_status parse_entry(FILE *file, struct zone_cursor *cursor, ldns_rr **ret_rr)
{
    *ret_rr = NULL;
    return ldns_rr_new_frm_fp_l(
            ret_rr, file, &cursor->ttl_s, &cursor->origin, &cursor->previous, &cursor->line);
}

/* RFC 1035 5.1: an origin without final dot is relative to the one before, which ldns forgets. */
static enum err join_origin(struct zone_cursor *cursor, struct str entry)
{
    entry = str_trim(str_sub(entry, 0, str_index(entry, ';')));
    if (entry.len > 0 && entry.ptr[entry.len - 1] == '.') {
        return OK;
    }
    return cursor->before != NULL &&
                           ldns_dname_cat(cursor->origin, cursor->before) == LDNS_STATUS_OK
                   ? OK
                   : E_SYNTAX;
}

/* The entry that ldns has just read, whatever it was. */
static enum err take_entry(struct zone *zone, struct zone_cursor *cursor, ldns_buffer *buffer,
        const ldns_rr *rr, ldns_status status, struct str entry)
{
    if (status == LDNS_STATUS_OK) {
        return add_rr(zone, rr, buffer);
    }
    if (status == LDNS_STATUS_SYNTAX_ORIGIN) {
        return join_origin(cursor, entry);
    }
    bool is_nothing = status == LDNS_STATUS_SYNTAX_EMPTY || status == LDNS_STATUS_SYNTAX_TTL;
    return is_nothing ? OK : E_SYNTAX; /* blank lines, $TTL */
}

static enum err read_entries(struct zone *zone, FILE *file, struct zone_cursor *cursor,
        ldns_buffer *buffer, const char *path, struct why *why)
{
    while (feof(file) == 0) {
        ldns_rr *rr;
        long begin = ftell(file);
        cursor->before = ldns_rdf_clone(cursor->origin);
        ldns_status status = parse_entry(file, cursor, &rr);
        struct str entry = str_sub(cursor->text, (size_t)begin, (size_t)(ftell(file) - begin));
        enum err err = take_entry(zone, cursor, buffer, rr, status, entry);
        ldns_rr_free(rr);
        ldns_rdf_deep_free(cursor->before);
        if (err != OK) {
            bool is_theirs = status != LDNS_STATUS_OK && status != LDNS_STATUS_SYNTAX_ORIGIN;
            why_set(why, "%s:%d: %s", path, cursor->line,
                    is_theirs ? ldns_get_errorstr_by_id(status) : err_name(err));
            return err;
        }
    }
    return OK;
}

/* Entry by entry: ldns' reader of whole zones loses memory at the first bad line. */
static enum err read_records(
        struct zone *zone, FILE *file, struct str text, const char *path, struct why *why)
{
    struct zone_cursor cursor = {
        .text = text, .ttl_s = ZONE_TTL_S, .origin = ldns_dname_new_frm_str(".")
    };
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

/* Cuts word and what is blank around it off *line. */
static bool cut_word(struct str *line, struct str word)
{
    *line = str_trim(*line);
    if (!str_starts_nocase(*line, word)) {
        return false;
    }
    *line = str_from(*line, word.len);
    return true;
}

/* A name as master files write it, escapes and all; it is absolute, with or without final dot. */
static bool read_fault_name(struct str text, char dst[DNS_NAME_CAP], struct str *ret_name)
{
    char c_text[4 * DNS_NAME_CAP];
    ldns_rdf *name = str_to_c(text, c_text, sizeof c_text) ? ldns_dname_new_frm_str(c_text) : NULL;
    bool is_good = name != NULL && name_of(name, dst, ret_name) && ret_name->len > 0;
    ldns_rdf_deep_free(name);
    return is_good;
}

/* "; @timeout NAME" and "; @servfail NAME", words behind are remarks; every other line is none of
 * them. */
static enum err read_fault(struct zone *zone, struct str line)
{
    if (!cut_word(&line, STR(";"))) {
        return OK;
    }
    while (cut_word(&line, STR(";"))) {
    }
    bool is_timeout = cut_word(&line, STR("@timeout"));
    if ((!is_timeout && !cut_word(&line, STR("@servfail"))) || line.len == 0 ||
            !ascii_is_blank(line.ptr[0])) {
        return OK;
    }
    char room[DNS_NAME_CAP];
    struct str name;
    line = str_trim(line);
    size_t end = 0;
    while (end < line.len && !ascii_is_blank(line.ptr[end]) && line.ptr[end] != ';') {
        end++;
    }
    if (!read_fault_name(str_sub(line, 0, end), room, &name)) {
        return E_SYNTAX;
    }
    struct zone_fault *fault = arena_new(&zone->arena, sizeof *fault);
    if (fault == NULL) {
        return E_NOMEM;
    }
    fault->status = is_timeout ? DNS_TIMEOUT : DNS_SERVFAIL;
    fault->next = zone->faults;
    zone->faults = fault;
    return keep(zone, name, &fault->name);
}

static enum err read_faults(struct zone *zone, struct str text, const char *path, struct why *why)
{
    struct str line;
    enum err err = OK;
    for (int number = 1; err == OK && str_cut(&text, '\n', &line); number++) {
        err = read_fault(zone, line);
        if (err != OK) {
            why_set(why, "%s:%d: %s", path, number, err == E_SYNTAX ? "bad name" : err_name(err));
        }
    }
    return err;
}

/* The whole file; E_TOO_BIG. */
static enum err read_text(const char *path, struct buf *ret_text, struct why *why)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        int number = errno;
        why_set(why, "%s: %s", path, errno_words(number));
        return err_from_errno(number);
    }
    char *space;
    while (feof(file) == 0 && ferror(file) == 0 &&
            (space = buf_space(ret_text, ZONE_READ_BYTES)) != NULL) {
        buf_grew(ret_text, fread(space, 1, ZONE_READ_BYTES, file));
    }
    enum err err = ferror(file) != 0 ? E_IO : buf_err(ret_text);
    (void)fclose(file);
    if (err != OK) {
        why_set(why, "%s cannot be read whole: %s", path, err_name(err));
    }
    return err;
}

static enum err read_zone(
        struct zone *zone, char *bytes, size_t len, const char *path, struct why *why)
{
    struct str text = { bytes, len };
    enum err err = read_faults(zone, text, path, why);
    if (err != OK || len == 0) {
        return err;
    }
    struct why what = { "" };
    int line = dns_master_prepare(bytes, len, &what);
    if (line > 0) {
        why_set(why, "%s:%d: %s", path, line, what.text);
        return E_SYNTAX;
    }
    FILE *file = fmemopen(bytes, len, "r");
    if (file == NULL) {
        return E_NOMEM;
    }
    err = read_records(zone, file, text, path, why);
    (void)fclose(file);
    return err;
}

/* ---- answering ---- */

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

/* The name whose records answer for `name`: itself, or the wildcard below its closest encloser
 * (RFC 4592 3.3.1), in dst. False: neither exists. */
static bool source_of(const struct zone *zone, struct str name, char dst[DNS_NAME_CAP])
{
    if (name_exists(zone, name)) {
        return str_to_c(name, dst, DNS_NAME_CAP);
    }
    for (struct str rest = name; rest.len > 0;) {
        rest = str_from(rest, str_index(rest, '.') + 1);
        if (rest.len > 0 && name_exists(zone, rest)) {
            fmt(dst, DNS_NAME_CAP, "*.%.*s", STR_ARG(rest));
            return name_exists(zone, str_from_c(dst));
        }
    }
    return false;
}

/* The name that an alias stands for, in dst; false: no alias. */
static bool follow(const struct zone *zone, struct str name, char dst[DNS_NAME_CAP])
{
    uint32_t at = 0;
    const struct zone_record *alias = next_record(zone, name, DNS_CNAME, &at);
    char room[DNS_NAME_CAP];
    struct str target;
    return alias != NULL && dns_owner_from_wire(alias->rdata, room, &target) &&
           str_to_c(target, dst, DNS_NAME_CAP);
}

static void absent(struct dns_room *ret_room, enum dns_status status, const char *why)
{
    *ret_room = (struct dns_room){ 0 };
    dns_room_fail(ret_room, status, why);
}

static void find(
        const struct zone *zone, const struct zone_question *question, struct dns_room *ret_room)
{
    char name[DNS_NAME_CAP], source[DNS_NAME_CAP];
    memcpy(name, question->name, sizeof name);
    for (uint32_t hop = 0; hop <= DNS_CNAME_COUNT_MAX; hop++) {
        struct str here = str_from_c(name);
        for (const struct zone_fault *fault = zone->faults; fault != NULL; fault = fault->next) {
            if (str_eq(fault->name, here)) {
                absent(ret_room, fault->status, "the zone file says so");
                return;
            }
        }
        if (!source_of(zone, here, source)) {
            absent(ret_room, DNS_NXDOMAIN, "");
            return;
        }
        if (collect(zone, str_from_c(source), question->type, ret_room)) {
            return;
        }
        if (!follow(zone, str_from_c(source), name)) {
            absent(ret_room, DNS_NODATA, "");
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
    map_done(&zone->by_all);
    map_done(&zone->places);
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
    struct buf text;
    struct zone *zone = mem_new(sizeof *zone);
    if (zone == NULL) {
        return E_NOMEM;
    }
    zone->base.ops = &zone_ops;
    arena_init(&zone->arena, ZONE_BYTES_MAX);
    list_init(&zone->questions);
    buf_init(&text, ZONE_BYTES_MAX);
    enum err err = read_text(path, &text, why);
    size_t mark = str_starts(buf_str(&text), STR("\xEF\xBB\xBF")) ? 3 : 0; /* of UTF-8 */
    if (err == OK) {
        err = read_zone(zone, text.ptr + mark, text.len - mark, path, why);
    }
    buf_done(&text);
    if (err != OK) {
        zone_free(zone);
        return err;
    }
    *ret_dns = &zone->base;
    return OK;
}
