/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_flatten.c - an SPF record that asks too much, as the addresses that it leads to: the
 * domain's record and as many _spfN records as are needed; and whether its sources have changed.
 */
#include "core/str.h"
#include "core/time.h"
#include "identity/setup_priv.h"
#include "mail/domain.h"
#include "mail/spf.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <jansson.h>

enum { PART_COUNT_MAX = SPF_LOOKUP_COUNT_MAX, HASH_TEXT_CAP = 2 * SHA256_BYTES + 1 };

/* What is kept: the record before, what was made of it, what had been made of it the last time (DNS
 * has that until the new one is published), and the digest of its addresses. */
struct kept {
    struct str source, made, made_before;
    char hash[HASH_TEXT_CAP];
    bool is_there;
};

static struct str json_str(struct arena *arena, const json_t *root, const char *name)
{
    const char *text = json_string_value(json_object_get(root, name));
    struct str copy = arena_str(arena, str_from_c(text != NULL ? text : ""));
    return copy.ptr != NULL ? copy : STR("");
}

static enum err read_kept(const struct identity_flatten_how *how, struct arena *arena,
        struct kept *ret_kept, struct why *why)
{
    struct buf text;
    struct str path = arena_str(arena, how->state_path);
    *ret_kept = (struct kept){ .source = STR(""), .made = STR(""), .made_before = STR("") };
    if (how->state_path.len == 0) {
        return OK;
    }
    buf_init(&text, SETUP_FILE_BYTES_MAX);
    enum err err = path.ptr != NULL ? file_take(path.ptr, &text, why) : E_NOMEM;
    json_t *root =
            err == OK ? json_loadb(text.ptr != NULL ? text.ptr : "", text.len, 0, NULL) : NULL;
    buf_done(&text);
    if (err == E_NOT_FOUND) {
        return OK;
    }
    if (err == OK && !json_is_object(root)) {
        why_set(why, "%s is damaged: remove it, then flatten again", path.ptr);
        err = E_CORRUPT;
    }
    if (err == OK) {
        ret_kept->source = json_str(arena, root, "source");
        ret_kept->made = json_str(arena, root, "made");
        ret_kept->made_before = json_str(arena, root, "made_before");
        (void)str_to_c(json_str(arena, root, "hash"), ret_kept->hash, sizeof ret_kept->hash);
        ret_kept->is_there = ret_kept->source.len > 0;
    }
    json_decref(root);
    return err;
}

/* ---- the record ---- */

struct flattening {
    const struct identity_flatten_how *how;
    struct arena *arena;
    struct look *look;
    struct setup_spf_walk walk;
    struct identity_flat *flat;
    struct kept kept;
    bool is_flat; /* DNS has what was made, now or before */
    uint32_t part_count;
    struct why *why;
};

/* The record to be flattened: the one that was, where DNS has what was made of it. */
static enum err find_source(struct flattening *f)
{
    struct str name = f->how->domain, text;
    const struct look_answer *txt = look_ask(f->look, name, DNS_TXT);
    if (look_failed(txt)) {
        why_set(f->why, "DNS could not tell what SPF record %.*s has (%.*s): try again",
                STR_ARG(name), STR_ARG(look_words(f->look, txt)));
        return E_TIMEOUT;
    }
    uint32_t count = setup_spf_of(txt, &text);
    if (count > 1) {
        why_set(f->why, "%.*s has %u SPF records: remove all but one (RFC 7208 4.5)", STR_ARG(name),
                (unsigned)count);
        return E_SYNTAX;
    }
    if (count == 0) {
        why_set(f->why, "%.*s has no SPF record: \"outpost domain add\" makes one", STR_ARG(name));
        return E_NOT_FOUND;
    }
    f->is_flat =
            f->kept.is_there && (str_eq(text, f->kept.made) || str_eq(text, f->kept.made_before));
    f->flat->source = f->is_flat ? f->kept.source : text;
    f->flat->bill.before = text;
    return OK;
}

static void add_net(struct buf *text, const struct setup_net *net)
{
    char room[IP_TEXT_CAP];
    bool is_v4 = net->net.ip.family == IP_V4;
    buf_addf(text, " %s%s:%.*s", net->qualifier == '+' ? "" : (char[]){ net->qualifier, 0 },
            is_v4 ? "ip4" : "ip6", STR_ARG(ip_format(net->net.ip, room)));
    if (net->net.prefix_bits < (is_v4 ? 32 : 128)) {
        buf_addf(text, "/%u", (unsigned)net->net.prefix_bits);
    }
}

static enum err put_record(struct flattening *f, struct str name, struct str text)
{
    struct identity_record *record = &f->flat->record[f->flat->record_count++];
    const struct look_answer *txt = look_ask(f->look, name, DNS_TXT);
    struct str old;
    *record = (struct identity_record){
        .type = DNS_TXT, .ttl_s = IDENTITY_TTL_S, .purpose = STR("SPF"), .note = STR("")
    };
    record->name = arena_str(f->arena, name);
    record->data = arena_str(f->arena, text);
    if (record->name.ptr == NULL || record->data.ptr == NULL) {
        return E_NOMEM;
    }
    (void)look_zone(f->look, record->name, &record->zone);
    uint32_t count = setup_spf_of(txt, &old);
    record->state = look_failed(txt)                          ? IDENTITY_RECORD_UNKNOWN
                    : count == 1 && str_eq(old, record->data) ? IDENTITY_RECORD_THERE
                    : count > 0                               ? IDENTITY_RECORD_DIFFERS
                                                              : IDENTITY_RECORD_MISSING;
    return OK;
}

/* Ends the part under way as a record of its own, and names it in the domain's. */
static enum err end_part(struct flattening *f, struct buf *part, char qualifier, struct buf *top)
{
    if (part->len == 0) {
        return OK;
    }
    if (f->part_count == PART_COUNT_MAX) {
        why_set(f->why,
                "%u networks are more than %d records of %d bytes hold: leave a service "
                "out, or give it a subdomain of its own",
                (unsigned)f->flat->net_count, PART_COUNT_MAX, IDENTITY_SPF_RECORD_BYTES_MAX);
        return E_TOO_BIG;
    }
    struct str name =
            arena_strf(f->arena, "_spf%u.%.*s", (unsigned)++f->part_count, STR_ARG(f->how->domain));
    if (name.ptr == NULL) {
        return E_NOMEM;
    }
    if (!domain_is_dns_name(name)) {
        why_set(f->why, "%.200s is longer than a name may be", name.ptr);
        return E_SYNTAX;
    }
    buf_add_c(part, " -all"); /* no match, for who includes it */
    buf_addf(top, " %sinclude:%.*s", qualifier == '+' ? "" : (char[]){ qualifier, 0 },
            STR_ARG(name));
    enum err err = put_record(f, name, buf_str(part));
    buf_clear(part);
    return err;
}

/* Networks into parts of at most IDENTITY_SPF_RECORD_BYTES_MAX, in order; another qualifier begins
 * another part, as an include passes it on as a whole. */
static enum err put_parts(struct flattening *f, struct buf *top)
{
    struct buf part, one;
    enum err err = OK;
    char qualifier = '+';
    buf_init(&part, 4096);
    buf_init(&one, 256);
    for (uint32_t i = 0; i < f->walk.net_count && err == OK; i++) {
        struct setup_net inner = f->walk.net[i];
        char own = inner.qualifier;
        inner.qualifier = '+';
        buf_clear(&one);
        add_net(&one, &inner);
        bool is_full = part.len + one.len + strlen(" -all") > IDENTITY_SPF_RECORD_BYTES_MAX;
        if (part.len > 0 && (is_full || own != qualifier)) {
            err = end_part(f, &part, qualifier, top);
        }
        qualifier = own;
        buf_add_c(&part, part.len == 0 ? "v=spf1" : "");
        buf_add(&part, buf_str(&one));
    }
    err = err != OK ? err : end_part(f, &part, qualifier, top);
    buf_done(&part);
    buf_done(&one);
    return err;
}

static void add_end(const struct flattening *f, struct buf *text)
{
    if (f->walk.all != 0) {
        buf_addf(text, " %sall", f->walk.all == '+' ? "" : (char[]){ f->walk.all, 0 });
    }
}

/* Other modifiers, an explanation above all, stay in the domain's record. */
static void add_modifiers(const struct flattening *f, struct buf *text)
{
    struct spf_record record;
    if (spf_parse(f->arena, f->flat->source, &record, NULL) != OK) {
        return;
    }
    for (uint32_t i = 0; i < record.term_count; i++) {
        if (record.term[i].kind == SPF_EXP || record.term[i].kind == SPF_MODIFIER) {
            buf_addf(text, " %.*s", STR_ARG(record.term[i].text));
        }
    }
}

/* In one record where they fit, else in parts. The domain's record comes first. */
static enum err put_all(struct flattening *f)
{
    struct buf top;
    enum err err = OK;
    buf_init(&top, 65536);
    buf_add_c(&top, "v=spf1");
    for (uint32_t i = 0; i < f->walk.net_count; i++) {
        add_net(&top, &f->walk.net[i]);
    }
    add_end(f, &top);
    add_modifiers(f, &top);
    f->flat->record_count = 1; /* the first is filled in last */
    if (top.len > IDENTITY_SPF_RECORD_BYTES_MAX) {
        buf_clear(&top);
        buf_add_c(&top, "v=spf1");
        err = put_parts(f, &top);
        add_end(f, &top);
        add_modifiers(f, &top);
    }
    uint32_t count = f->flat->record_count;
    f->flat->record_count = 0;
    err = err != OK ? err : put_record(f, f->how->domain, buf_str(&top));
    f->flat->record_count = count;
    buf_done(&top);
    return err;
}

static void hash_nets(const struct flattening *f, char ret_text[HASH_TEXT_CAP])
{
    struct buf text;
    uint8_t hash[SHA256_BYTES];
    buf_init(&text, SETUP_FILE_BYTES_MAX);
    for (uint32_t i = 0; i < f->flat->record_count; i++) {
        buf_addf(&text, "%.*s\n", STR_ARG(f->flat->record[i].data));
    }
    sha256(buf_str(&text), hash);
    buf_done(&text);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        fmt(ret_text + 2 * i, 3, "%02x", (unsigned)hash[i]);
    }
}

static bool is_published(const struct flattening *f)
{
    for (uint32_t i = 0; i < f->flat->record_count; i++) {
        enum identity_record_state state = f->flat->record[i].state;
        if (state == IDENTITY_RECORD_MISSING || state == IDENTITY_RECORD_DIFFERS) {
            return false;
        }
    }
    return true;
}

static enum err flatten(struct flattening *f)
{
    struct identity_spf_bill *bill = &f->flat->bill;
    char hash[HASH_TEXT_CAP];
    f->walk = (struct setup_spf_walk){ .look = f->look, .arena = f->arena, .is_flattening = true };
    bill->name = f->how->domain;
    bill->lookup_count_before = setup_spf_walk(&f->walk, f->how->domain, f->flat->source);
    bill->cost = f->walk.cost;
    bill->cost_count = f->walk.cost_count;
    if (f->walk.err != OK) {
        why_set(f->why, "%.300s", f->walk.why.text);
        return f->walk.err;
    }
    setup_nets_join(f->walk.net, &f->walk.net_count);
    f->flat->net_count = f->walk.net_count;
    enum err err = put_all(f);
    if (err != OK) {
        return err;
    }
    bill->after = f->flat->record[0].data;
    bill->lookup_count = f->part_count;
    hash_nets(f, hash);
    f->flat->has_changed = f->kept.is_there &&
                           (strcmp(hash, f->kept.hash) != 0 || (f->is_flat && !is_published(f)));
    return OK;
}

enum err identity_flatten(const struct identity_flatten_how *how, struct arena *arena,
        struct identity_flat *ret_flat, struct why *why)
{
    struct identity_flat flat = { 0 };
    struct why own_why = { 0 };
    struct flattening *f = arena_new(arena, sizeof *f);
    flat.record = arena_new(arena, (PART_COUNT_MAX + 2) * sizeof *flat.record);
    if (f == NULL || flat.record == NULL) {
        return E_NOMEM;
    }
    *f = (struct flattening){
        .how = how, .arena = arena, .flat = &flat, .why = why != NULL ? why : &own_why
    };
    enum err err = read_kept(how, arena, &f->kept, f->why);
    err = err != OK ? err : look_open(&how->outside, arena, &f->look, f->why);
    err = err != OK ? err : find_source(f);
    err = err != OK ? err : flatten(f);
    look_close(f->look);
    if (err == OK || err == E_UNSUPPORTED) {
        *ret_flat = flat;
    }
    return err;
}

/* ---- the watch ---- */

enum err identity_flatten_save(
        const struct identity_flatten_how *how, const struct identity_flat *flat, struct why *why)
{
    char path[SETUP_PATH_CAP], dir[SETUP_PATH_CAP], hash[HASH_TEXT_CAP], when[TIME_TEXT_CAP];
    struct identity_flat copy = *flat;
    const struct flattening f = { .flat = &copy };
    if (how->state_path.len == 0) {
        return OK;
    }
    if (!str_to_c(how->state_path, path, sizeof path)) {
        return E_TOO_BIG;
    }
    (void)str_to_c(str_sub(how->state_path, 0, str_rindex(how->state_path, '/')), dir, sizeof dir);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        why_set(why, "%s: %s", dir, strerror(errno));
        return E_IO;
    }
    hash_nets(&f, hash);
    time_rfc3339(how->now, when);
    bool was_made = !str_eq(flat->source, flat->bill.before);
    struct str before = was_made ? flat->bill.before : STR("");
    json_t *root = json_pack("{s:s%, s:s%, s:s%, s:s%, s:s, s:s}", "domain", how->domain.ptr,
            how->domain.len, "source", flat->source.ptr, flat->source.len, "made",
            flat->record[0].data.ptr, flat->record[0].data.len, "made_before", before.ptr,
            before.len, "hash", hash, "when", when);
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_ENSURE_ASCII);
    json_decref(root);
    if (text == NULL) {
        why_set(why, "the SPF record is not text");
        return E_SYNTAX;
    }
    enum err err = file_replace(path, str_from_c(text), why);
    free(text); /* libc's own */
    return err;
}

enum err identity_flatten_changed(
        const struct identity_flatten_how *how, bool *ret_has_changed, struct why *why)
{
    struct arena arena;
    struct kept kept;
    struct identity_flat flat;
    arena_init(&arena, 64 << 20);
    enum err err = read_kept(how, &arena, &kept, why);
    if (err == OK && !kept.is_there) {
        why_set(why, "%.*s was not flattened here", STR_ARG(how->domain));
        err = E_NOT_FOUND;
    }
    err = err != OK ? err : identity_flatten(how, &arena, &flat, why);
    if (err == OK) {
        *ret_has_changed = flat.has_changed;
    }
    arena_done(&arena);
    return err;
}
