/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_rotate.c - DKIM keys replaced without a message that cannot be verified: a new key is
 * published, signs once every name server and the resolver show its record, and the old one stays
 * published until the last message that it signed has left the queue.
 *
 * The state is the lines of the domain's file: a key that is not active and has no `until` is new,
 * one with `until` is old. Each step replaces the file at once.
 */
#include "core/str.h"
#include "core/time.h"
#include "identity/check_priv.h"
#include "identity/setup_priv.h"
#include "mail/dkim.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { DAY_MS = 86400000, WATCH_MS = 3600000, KEY_COUNT_MAX = 20, NS_COUNT_MAX = 20 };

struct rotating {
    const struct identity_rotate_how *how;
    struct arena *arena;
    struct domain_file file;
    struct config *config;
    const struct config_domain *domain;
    struct identity_rotation *rotation;
    struct look *look;
    struct why *why;
};

const char *identity_rotate_stage_name(enum identity_rotate_stage stage)
{
    static const char *const names[] = { "idle", "publish", "retire" };
    return names[stage];
}

static bool is_new(const struct config_dkim_key *key)
{
    return key->is_inactive && key->until.len == 0;
}

static bool is_old(const struct config_dkim_key *key)
{
    return key->is_inactive && key->until.len > 0;
}

static bool is_active(const struct config_dkim_key *key)
{
    return !key->is_inactive;
}

static uint32_t count_keys(
        const struct config_domain *domain, bool (*is_one)(const struct config_dkim_key *key))
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < domain->key_count; i++) {
        count += is_one(&domain->key[i]);
    }
    return count;
}

static struct str selectors(struct rotating *r, bool (*is_one)(const struct config_dkim_key *key))
{
    struct buf text;
    buf_init(&text, 4096);
    for (uint32_t i = 0; i < r->domain->key_count; i++) {
        if (is_one(&r->domain->key[i])) {
            buf_addf(&text, "%s%.*s", text.len > 0 ? " " : "", STR_ARG(r->domain->key[i].selector));
        }
    }
    struct str all = arena_str(r->arena, buf_str(&text));
    buf_done(&text);
    return all.ptr != NULL ? all : STR("");
}

/* ---- the file ---- */

/* What becomes of the line of a key; NULL: it goes. */
typedef const char *rotate_line(struct rotating *r, const struct config_dkim_key *key, void *ctx);

/* The key that a line is about, where commands have written it so: dkim "s2026a" { ... } */
static const struct config_dkim_key *line_key(const struct config_domain *domain, struct str line)
{
    struct str lead = STR("dkim \"");
    line = str_trim(line);
    if (!str_starts(line, lead) || !str_ends_nocase(line, STR("}"))) {
        return NULL;
    }
    line = str_from(line, lead.len);
    struct str selector = str_sub(line, 0, str_index(line, '"'));
    for (uint32_t i = 0; i < domain->key_count; i++) {
        if (str_eq_nocase(domain->key[i].selector, selector)) {
            return &domain->key[i];
        }
    }
    return NULL;
}

static struct str key_line(struct rotating *r, const struct config_dkim_key *key, bool has_active,
        struct str since, struct str until)
{
    struct str dir = str_from_c(r->file.dir), path = key->path;
    if (str_starts(path, dir) && path.len > dir.len && path.ptr[dir.len] == '/') {
        path = str_from(path, dir.len + 1);
    }
    struct buf text;
    buf_init(&text, 2 * SETUP_PATH_CAP);
    buf_addf(&text, "    dkim \"%.*s\" { key = \"%.*s\"", STR_ARG(key->selector), STR_ARG(path));
    buf_add_c(&text, has_active ? "" : "  active = no");
    if (since.len > 0) {
        buf_addf(&text, "  since = \"%.*s\"", STR_ARG(since));
    }
    if (until.len > 0) {
        buf_addf(&text, "  until = \"%.*s\"", STR_ARG(until));
    }
    buf_add_c(&text, " }");
    struct str line = arena_str(r->arena, buf_str(&text));
    buf_done(&text);
    return line;
}

/* The file with other lines for its keys, and more behind them. E_UNSUPPORTED: they are not as
 * commands write them. */
static enum err edit(struct rotating *r, rotate_line *change, void *ctx, struct str more,
        struct str old, struct buf *ret_text)
{
    struct str line, rest = old;
    uint32_t count = 0;
    while (str_cut(&rest, '\n', &line)) {
        const struct config_dkim_key *key = line_key(r->domain, line);
        const char *changed = key != NULL ? change(r, key, ctx) : NULL;
        if (key == NULL) {
            buf_addf(ret_text, "%.*s\n", STR_ARG(line));
            continue;
        }
        if (changed != NULL) {
            buf_addf(ret_text, "%s\n", changed);
        }
        count++;
        if (count == r->domain->key_count) {
            buf_add(ret_text, more);
        }
    }
    if (count != r->domain->key_count || count == 0) {
        why_set(r->why,
                "%s: write each key on a line of its own, as dkim \"s2026a\" { key = "
                "\"keys/...\" }, then try again",
                r->file.path);
        return E_UNSUPPORTED;
    }
    return buf_err(ret_text);
}

/* Replaces the file; where the configuration is not good with it, the old one is put back. */
static enum err rewrite(struct rotating *r, rotate_line *change, void *ctx, struct str more)
{
    struct buf old, text;
    struct config *config = NULL;
    buf_init(&old, SETUP_FILE_BYTES_MAX);
    buf_init(&text, SETUP_FILE_BYTES_MAX);
    enum err err = file_take(r->file.path, &old, r->why);
    err = err != OK ? err : edit(r, change, ctx, more, buf_str(&old), &text);
    err = err != OK ? err : file_replace(r->file.path, buf_str(&text), r->why);
    if (err == OK) {
        err = config_read(r->how->config_path, &config, r->why);
        if (err != OK && file_replace(r->file.path, buf_str(&old), NULL) != OK) {
            why_set(r->why, "%s could not be put back as it was: look at it", r->file.path);
        }
    }
    config_give(config);
    buf_done(&old);
    buf_done(&text);
    r->rotation->has_moved = r->rotation->has_moved || err == OK;
    return err;
}

/* As it stands. */
static const char *keep_line(struct rotating *r, const struct config_dkim_key *key, void *ctx)
{
    (void)ctx;
    struct str line = key_line(r, key, !key->is_inactive, key->since, key->until);
    return line.ptr;
}

/* ---- begin: new keys, published but not used ---- */

static void add_record(struct rotating *r, struct str selector, const struct key *key)
{
    struct buf text;
    buf_init(&text, 65536);
    if (r->rotation->records.len > 0) {
        buf_add(&text, r->rotation->records);
    }
    if (dkim_record_line(r->domain->name, selector, key, &text) == OK) {
        struct str all = arena_str(r->arena, buf_str(&text));
        r->rotation->records = all.ptr != NULL ? all : r->rotation->records;
    }
    buf_done(&text);
}

static enum err make_new(
        struct rotating *r, enum key_kind kind, struct buf *lines, char ret_selector[16])
{
    char letter = kind == KEY_RSA ? 's' : 'e';
    if (!selector_make(&r->file, r->domain, r->domain->name, letter, r->how->now, ret_selector)) {
        why_set(r->why, "all selectors of this year are taken: look into %s/keys", r->file.dir);
        return E_FULL;
    }
    enum err err = key_make(&r->file, r->domain->name, str_from_c(ret_selector), kind, r->why);
    buf_addf(lines, "    dkim \"%s\" { key = \"keys/%.*s.%s.pem\"  active = no }\n", ret_selector,
            STR_ARG(r->domain->name), ret_selector);
    return err;
}

/* One key of each kind that signs now. */
static enum err begin(struct rotating *r)
{
    char selector[2][16];
    uint32_t count = 0;
    bool is_made[2] = { false, false };
    struct buf lines;
    enum err err = OK;
    buf_init(&lines, SETUP_FILE_BYTES_MAX);
    for (uint32_t i = 0; i < r->domain->key_count && err == OK; i++) {
        enum key_kind kind = key_kind(r->domain->key[i].key);
        if (!is_made[kind == KEY_RSA]) {
            is_made[kind == KEY_RSA] = true;
            err = make_new(r, kind, &lines, selector[count]);
            count += err == OK;
        }
    }
    err = err != OK ? err : rewrite(r, keep_line, NULL, buf_str(&lines));
    for (uint32_t i = 0; i < count && err != OK; i++) {
        key_drop(&r->file, r->domain->name, str_from_c(selector[i]));
    }
    buf_done(&lines);
    return err;
}

/* ---- seen ---- */

static PRINTF_LIKE(2, 3) void wait_for(struct rotating *r, const char *format, ...)
{
    char text[WHY_BYTES_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct str one =
            arena_str(r->arena, str_of(text, len < 0                     ? 0
                                             : (size_t)len < sizeof text ? (size_t)len
                                                                         : sizeof text - 1));
    r->rotation->waits_for = one.ptr != NULL ? one : STR("memory");
}

/* The key in a record: what is in p=, without blanks. */
static bool is_same_key(struct str record, struct str wanted)
{
    struct str p = STR(""), q = STR("");
    if (!tag_value(record, STR("p"), &p) || !tag_value(wanted, STR("p"), &q)) {
        return false;
    }
    size_t at = 0;
    for (size_t i = 0; i < p.len; i++) {
        if (ascii_is_blank(p.ptr[i])) {
            continue;
        }
        if (at >= q.len || p.ptr[i] != q.ptr[at]) {
            return false;
        }
        at++;
    }
    return at == q.len && q.len > 0;
}

/* alias_is_fine: a name server cannot follow an alias out of its zone; the resolver has. */
static bool shows_key(const struct look_answer *txt, struct str wanted, bool alias_is_fine)
{
    bool is_only = txt->record_count == 1;
    return look_found(txt) && is_only &&
           (txt->record[0].type == DNS_TXT ? is_same_key(txt->record[0].data, wanted)
                                           : alias_is_fine && txt->record[0].type == DNS_CNAME);
}

/* At each name server of the zone, by each of its addresses' families that has one. */
static bool servers_show(struct rotating *r, struct str name, struct str wanted)
{
    struct str zone;
    if (!look_is_online(r->look)) {
        return true; /* a master file was given instead of the net */
    }
    (void)look_zone(r->look, name, &zone);
    const struct look_answer *ns = look_ask(r->look, zone, DNS_NS);
    if (!look_found(ns)) {
        wait_for(r, "the name servers of %.*s: %.*s", STR_ARG(zone),
                STR_ARG(look_words(r->look, ns)));
        return false;
    }
    for (uint32_t i = 0; i < ns->record_count && i < NS_COUNT_MAX; i++) {
        struct str host = ns->record[i].data;
        const struct look_answer *address = look_ask(r->look, host, DNS_A);
        if (look_absent(address)) {
            address = look_ask(r->look, host, DNS_AAAA);
        }
        if (!look_found(address)) {
            wait_for(r, "the address of name server %.*s: %.*s", STR_ARG(host),
                    STR_ARG(look_words(r->look, address)));
            return false;
        }
        const struct look_answer *txt = look_ask_at(r->look, address->record[0].ip, name, DNS_TXT);
        if (!shows_key(txt, wanted, /*alias_is_fine*/ true)) {
            wait_for(r, "%.*s at name server %.*s: %.*s", STR_ARG(name), STR_ARG(host),
                    STR_ARG(look_found(txt) ? STR("another record") : look_words(r->look, txt)));
            return false;
        }
    }
    return true;
}

static bool is_seen(struct rotating *r, const struct config_dkim_key *key)
{
    struct buf wanted;
    struct str name = arena_strf(
            r->arena, "%.*s._domainkey.%.*s", STR_ARG(key->selector), STR_ARG(r->domain->name));
    buf_init(&wanted, DKIM_TXT_BYTES_MAX);
    if (name.ptr == NULL || dkim_record(key->key, &wanted) != OK) {
        buf_done(&wanted);
        wait_for(r, "memory");
        return false;
    }
    const struct look_answer *txt = look_ask(r->look, name, DNS_TXT);
    bool is_good = shows_key(txt, buf_str(&wanted), /*alias_is_fine*/ false);
    if (!is_good) {
        wait_for(r, "%.*s through the resolver: %.*s", STR_ARG(name),
                STR_ARG(look_found(txt) ? STR("another record") : look_words(r->look, txt)));
    }
    is_good = is_good && servers_show(r, name, buf_str(&wanted));
    buf_done(&wanted);
    return is_good;
}

static bool are_seen(struct rotating *r)
{
    struct identity_outside outside = r->how->outside;
    struct why why = { 0 };
    if (outside.servers.len == 0) {
        outside.servers = r->config->resolver;
    }
    if (look_open(&outside, r->arena, &r->look, &why) != OK) {
        wait_for(r, "the resolver: %s", why.text);
        return false;
    }
    bool is_good = true;
    for (uint32_t i = 0; i < r->domain->key_count && is_good; i++) {
        is_good = !is_new(&r->domain->key[i]) || is_seen(r, &r->domain->key[i]);
    }
    look_close(r->look);
    return is_good;
}

/* ---- switch ---- */

/* When the last message that an old key has signed is gone: the longest that any stream tries, and
 * a day for what is on its way. */
static struct wall life_end(const struct rotating *r)
{
    uint64_t longest_ms = 0;
    for (uint32_t i = 0; i < r->config->stream_count; i++) {
        uint64_t ms = r->config->stream[i].give_up_ms;
        longest_ms = ms > longest_ms ? ms : longest_ms;
    }
    return (struct wall){ r->how->now.ms + (int64_t)longest_ms + DAY_MS };
}

static const char *switch_line(struct rotating *r, const struct config_dkim_key *key, void *ctx)
{
    char now[TIME_TEXT_CAP], until[TIME_TEXT_CAP];
    (void)ctx;
    time_rfc3339(r->how->now, now);
    time_rfc3339(life_end(r), until);
    if (is_new(key)) {
        return key_line(r, key, /*has_active*/ true, str_from_c(now), STR("")).ptr;
    }
    if (is_active(key)) {
        return key_line(r, key, /*has_active*/ false, key->since, str_from_c(until)).ptr;
    }
    return keep_line(r, key, NULL);
}

/* ---- retire ---- */

static struct wall until_of(const struct config_dkim_key *key)
{
    struct wall until;
    return time_parse_rfc3339(key->until, &until) == OK ? until : (struct wall){ INT64_MAX };
}

/* Does another domain sign with the same file? */
static const struct config_domain *other_user(const struct rotating *r, struct str path)
{
    for (uint32_t d = 0; d < r->config->domain_count; d++) {
        const struct config_domain *domain = &r->config->domain[d];
        for (uint32_t i = 0; domain != r->domain && i < domain->key_count; i++) {
            if (str_eq(domain->key[i].path, path)) {
                return domain;
            }
        }
    }
    return NULL;
}

static bool is_over(const struct rotating *r, const struct config_dkim_key *key)
{
    return is_old(key) && until_of(key).ms <= r->how->now.ms;
}

static bool is_due(const struct rotating *r, const struct config_dkim_key *key)
{
    return is_over(r, key) && other_user(r, key->path) == NULL;
}

static const char *retire_line(struct rotating *r, const struct config_dkim_key *key, void *ctx)
{
    (void)ctx;
    return is_due(r, key) ? NULL : keep_line(r, key, NULL);
}

/* The key's file goes too, where it is one of domains.d/keys. */
static void drop_key(struct rotating *r, const struct config_dkim_key *key)
{
    char own[SETUP_PATH_CAP];
    size_t len = fmt(own, sizeof own, "%s/keys/%.*s.%.*s.pem", r->file.dir,
            STR_ARG(r->domain->name), STR_ARG(key->selector));
    if (str_eq(str_of(own, len), key->path)) {
        unlink(own);
    }
}

static enum err retire(struct rotating *r)
{
    struct buf gone;
    enum err err = rewrite(r, retire_line, NULL, STR(""));
    buf_init(&gone, 65536);
    for (uint32_t i = 0; i < r->domain->key_count && err == OK; i++) {
        const struct config_dkim_key *key = &r->domain->key[i];
        if (is_due(r, key)) {
            buf_addf(&gone, "%.*s._domainkey.%.*s. IN TXT\n", STR_ARG(key->selector),
                    STR_ARG(r->domain->name));
            drop_key(r, key);
        }
    }
    struct str all = arena_str(r->arena, buf_str(&gone));
    r->rotation->records = all.ptr != NULL ? all : STR("");
    buf_done(&gone);
    return err;
}

/* ---- one step ---- */

/* When the oldest key in use is too old; 0: never, or not known. */
static struct wall schedule_at(const struct config_domain *domain)
{
    struct wall first = { 0 }, since;
    for (uint32_t i = 0; i < domain->key_count && domain->rotate_ms > 0; i++) {
        const struct config_dkim_key *key = &domain->key[i];
        if (is_active(key) && time_parse_rfc3339(key->since, &since) == OK) {
            int64_t at = since.ms + (int64_t)domain->rotate_ms;
            first.ms = first.ms == 0 || at < first.ms ? at : first.ms;
        }
    }
    return first;
}

static enum err step_idle(struct rotating *r)
{
    struct wall at = schedule_at(r->domain);
    bool is_wanted = !r->how->is_scheduled || (at.ms > 0 && at.ms <= r->how->now.ms);
    r->rotation->next = at;
    if (r->how->is_looking || !is_wanted) {
        return OK;
    }
    return begin(r);
}

static enum err step_publish(struct rotating *r)
{
    for (uint32_t i = 0; i < r->domain->key_count; i++) {
        if (is_new(&r->domain->key[i])) {
            add_record(r, r->domain->key[i].selector, r->domain->key[i].key);
        }
    }
    if (!are_seen(r) || r->how->is_looking) {
        r->rotation->next.ms = r->how->now.ms + WATCH_MS;
        return OK;
    }
    r->rotation->records = STR("");
    return rewrite(r, switch_line, NULL, STR(""));
}

static enum err step_retire(struct rotating *r)
{
    struct wall last = { 0 };
    char text[TIME_TEXT_CAP];
    bool has_due = false;
    const struct config_domain *user = NULL;
    for (uint32_t i = 0; i < r->domain->key_count; i++) {
        const struct config_dkim_key *key = &r->domain->key[i];
        has_due = has_due || is_due(r, key);
        user = user == NULL && is_over(r, key) ? other_user(r, key->path) : user;
        if (is_old(key) && until_of(key).ms > last.ms) {
            last = until_of(key);
        }
    }
    if (has_due && !r->how->is_looking) {
        return retire(r);
    }
    if (user != NULL) {
        wait_for(r, "%.*s still signs with the old key: rotate it too", STR_ARG(user->name));
        r->rotation->next.ms = r->how->now.ms + WATCH_MS;
        return OK;
    }
    time_rfc3339(last, text);
    wait_for(r, "the last message that %.*s has signed may be in the queue until %s",
            STR_ARG(selectors(r, is_old)), text);
    r->rotation->next = last;
    return OK;
}

static void describe(struct rotating *r)
{
    r->rotation->stage = count_keys(r->domain, is_new) > 0   ? IDENTITY_ROTATE_PUBLISH
                         : count_keys(r->domain, is_old) > 0 ? IDENTITY_ROTATE_RETIRE
                                                             : IDENTITY_ROTATE_IDLE;
    bool is_publishing = r->rotation->stage == IDENTITY_ROTATE_PUBLISH;
    r->rotation->old_selectors = selectors(r, is_publishing ? is_active : is_old);
    r->rotation->new_selectors = selectors(r, is_publishing ? is_new : is_active);
}

bool identity_rotate_look(const struct config_domain *domain, struct wall now, struct arena *arena,
        struct identity_rotation *ret_rotation)
{
    struct rotating r = { .domain = domain, .arena = arena, .rotation = ret_rotation };
    *ret_rotation = (struct identity_rotation){ 0 };
    describe(&r);
    bool has_over = false;
    for (uint32_t i = 0; i < domain->key_count; i++) {
        const struct config_dkim_key *key = &domain->key[i];
        struct wall until = until_of(key);
        if (is_old(key) && ret_rotation->stage == IDENTITY_ROTATE_RETIRE) {
            has_over = has_over || until.ms <= now.ms;
            ret_rotation->next = until.ms > ret_rotation->next.ms ? until : ret_rotation->next;
        }
    }
    if (ret_rotation->stage != IDENTITY_ROTATE_IDLE) {
        return has_over || ret_rotation->stage == IDENTITY_ROTATE_PUBLISH;
    }
    ret_rotation->next = schedule_at(domain);
    return domain->rotate_ms > 0 && ret_rotation->next.ms <= now.ms;
}

static enum err find_domain(struct rotating *r)
{
    enum err err = config_read(r->how->config_path, &r->config, r->why);
    if (err != OK) {
        return err;
    }
    r->domain = config_domain_exact(r->config, r->how->domain);
    if (r->domain == NULL) {
        why_set(r->why, "%.*s is no domain of this configuration: \"outpost domain add\" makes one",
                STR_ARG(r->how->domain));
        return E_NOT_FOUND;
    }
    if (access(r->file.path, F_OK) != 0 || r->domain->key_count == 0 ||
            r->domain->key_count > KEY_COUNT_MAX) {
        why_set(r->why,
                "the section of %.*s was written by hand: move it with its keys into %s, "
                "then rotate",
                STR_ARG(r->how->domain), r->file.path);
        return E_UNSUPPORTED;
    }
    return OK;
}

/* The state after a move, with the records that are then to be published. */
static enum err look_again(struct rotating *r)
{
    struct str gone = r->rotation->records;
    config_give(r->config);
    r->config = NULL;
    enum err err = find_domain(r);
    if (err != OK) {
        return err;
    }
    describe(r);
    r->rotation->records = gone;
    for (uint32_t i = 0; i < r->domain->key_count; i++) {
        if (is_new(&r->domain->key[i])) {
            add_record(r, r->domain->key[i].selector, r->domain->key[i].key);
        }
    }
    r->rotation->next.ms = r->how->now.ms + WATCH_MS;
    if (r->rotation->stage == IDENTITY_ROTATE_RETIRE) {
        return step_retire(r);
    }
    return OK;
}

static enum err step(struct rotating *r)
{
    enum err err = find_domain(r);
    if (err != OK) {
        return err;
    }
    describe(r);
    switch (r->rotation->stage) {
    case IDENTITY_ROTATE_IDLE:
        err = step_idle(r);
        break;
    case IDENTITY_ROTATE_PUBLISH:
        err = step_publish(r);
        break;
    case IDENTITY_ROTATE_RETIRE:
        err = step_retire(r);
        break;
    }
    return err == OK && r->rotation->has_moved ? look_again(r) : err;
}

enum err identity_rotate_step(const struct identity_rotate_how *how, struct arena *arena,
        struct identity_rotation *ret_rotation, struct why *why)
{
    struct identity_rotation rotation = { 0 };
    struct why own_why = { 0 };
    struct rotating *r = arena_new(arena, sizeof *r);
    if (r == NULL) {
        return E_NOMEM;
    }
    *r = (struct rotating){
        .how = how, .arena = arena, .rotation = &rotation, .why = why != NULL ? why : &own_why
    };
    enum err err = domain_file_find(how->config_path, how->domain, &r->file, r->why);
    if (err == OK && !how->is_looking) {
        err = access(r->file.path, F_OK) == 0 ? domain_file_lock(&r->file, r->why) : OK;
    }
    err = err != OK ? err : step(r);
    domain_file_close(&r->file);
    config_give(r->config);
    if (err == OK) {
        *ret_rotation = rotation;
    }
    return err;
}
