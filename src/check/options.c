/* SPDX-License-Identifier: Apache-2.0
 *
 * options.c - reads what the caller said, before anything is asked: each fault has a code and a
 * sentence. What passed here is a name that DNS can be asked for.
 */
#include "check/check_priv.h"
#include "core/b64.h"
#include "core/crypto.h"
#include "core/str.h"

static const struct outpost_check_options usual_options;

int refuse_call(const struct outpost_check_options *options, int error, const struct why *why)
{
    if (error != OUTPOST_CHECK_SUCCESS && options != NULL && options->why != NULL &&
            options->why_size > 0) {
        const char *text = why->text[0] != '\0' ? why->text : outpost_check_error_text(error);
        fmt(options->why, options->why_size, "%s", text);
    }
    return error;
}

/* A C string of the caller's, of which no more than the limit is looked at. */
static bool view(const char *text, size_t bytes_max, struct str *ret_view)
{
    size_t len = strnlen(text, bytes_max + 1);
    *ret_view = str_of(text, len);
    return len <= bytes_max;
}

/* ---- names ---- */

static int read_domain(const char *domain, struct wishes *wishes, struct why *why)
{
    struct str text;
    if (!view(domain, LOOKUP_NAME_CAP * 4, &text) || /* UTF-8 may become shorter */
            domain_to_ascii(text, wishes->domain_text, &wishes->domain) != OK) {
        char shown[80];
        struct str escaped = str_escape(text, shown, sizeof shown);
        why_set(why, "\"%.*s\" is no domain name: letters, digits and hyphens, at most 253",
                STR_ARG(escaped));
        return OUTPOST_CHECK_E_DOMAIN;
    }
    return OUTPOST_CHECK_SUCCESS;
}

static int read_ip(const char *ip, struct wishes *wishes, struct why *why)
{
    struct str text;
    if (ip == NULL) {
        return OUTPOST_CHECK_SUCCESS;
    }
    if (!view(ip, IP_TEXT_CAP, &text) || ip_parse(text, &wishes->ip) != OK) {
        why_set(why, "ip is neither an IPv4 nor an IPv6 address");
        return OUTPOST_CHECK_E_IP;
    }
    return OUTPOST_CHECK_SUCCESS;
}

/* RFC 7208 2.4: the domain of MAIL FROM; the HELO name where that is empty. */
static int read_spf_domain(struct wishes *wishes, struct why *why)
{
    struct str sender = wishes->mail_from;
    if (sender.len >= 2 && sender.ptr[0] == '<' && sender.ptr[sender.len - 1] == '>') {
        sender = str_sub(sender, 1, sender.len - 2);
    }
    size_t at = str_rindex(sender, '@');
    struct str domain = sender.len == 0    ? wishes->helo
                        : at == sender.len ? sender
                                           : str_from(sender, at + 1);
    if (domain_to_ascii(domain, wishes->spf_domain_text, &wishes->spf_domain) != OK) {
        why_set(why, "%s: no domain name in it",
                sender.len == 0 ? "helo, which counts as mail_from is empty" : "mail_from");
        return OUTPOST_CHECK_E_SENDER;
    }
    return OUTPOST_CHECK_SUCCESS;
}

static int read_sender(const struct outpost_check_options *options, struct arena *arena,
        struct wishes *wishes, struct why *why)
{
    struct str mail_from = wishes->domain, helo = wishes->domain;
    if (options->mail_from != NULL && !view(options->mail_from, SPF_SENDER_BYTES_MAX, &mail_from)) {
        why_set(why, "mail_from is longer than %d bytes", SPF_SENDER_BYTES_MAX);
        return OUTPOST_CHECK_E_SENDER;
    }
    if (options->helo != NULL && !view(options->helo, CHECK_HELO_BYTES_MAX, &helo)) {
        why_set(why, "helo is longer than %d bytes", CHECK_HELO_BYTES_MAX);
        return OUTPOST_CHECK_E_SENDER;
    }
    wishes->mail_from = arena_str(arena, mail_from);
    wishes->helo = arena_str(arena, helo);
    return read_spf_domain(wishes, why);
}

/* ---- DKIM ---- */

/* The base64 of a "PUBLIC KEY" in PEM; or text itself, the value of p=. */
static struct str key_base64(struct str text)
{
    struct str begin = STR("-----BEGIN PUBLIC KEY-----"), end = STR("-----END PUBLIC KEY-----");
    size_t from = str_find(text, begin);
    if (from == text.len) {
        return text;
    }
    struct str rest = str_from(text, from + begin.len);
    return str_sub(rest, 0, str_find(rest, end));
}

/* RFC 8410 4: what stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo. */
static struct str without_info(struct str der, bool *ret_is_ed25519)
{
    static const char info[] = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21";
    struct str prefix = { info, sizeof info }; /* with the NUL: no unused bits */
    *ret_is_ed25519 = der.len == 32 || (der.len == 44 && str_starts(der, prefix));
    return *ret_is_ed25519 ? str_from(der, der.len - 32) : der;
}

/* In one form, whatever form it was given in, so that it can be compared. */
static enum err key_normal(struct str text, struct buf *ret_der)
{
    struct buf given;
    struct key *key = NULL;
    bool is_ed25519;
    buf_init(&given, CHECK_KEY_BYTES_MAX);
    enum err err = b64_decode(&given, key_base64(text), /*skip_blanks*/ true);
    if (err == OK) {
        struct str der = without_info(buf_str(&given), &is_ed25519);
        err = key_from_public(is_ed25519 ? KEY_ED25519 : KEY_RSA, der, &key);
    }
    if (err == OK) {
        err = key_to_public(key, ret_der);
        key_free(key);
    }
    buf_done(&given);
    return err;
}

static int read_key(
        const char *public_key, struct arena *arena, struct key_wish *wish, struct why *why)
{
    struct str text;
    struct buf der;
    enum err err = E_TOO_BIG;
    buf_init(&der, CHECK_KEY_BYTES_MAX);
    if (view(public_key, CHECK_PEM_BYTES_MAX, &text)) {
        err = key_normal(text, &der);
        wish->text = arena_str(arena, text);
        wish->der = arena_str(arena, buf_str(&der));
    }
    buf_done(&der);
    if (err == OK && (wish->text.ptr == NULL || wish->der.ptr == NULL)) {
        err = E_NOMEM;
    }
    if (err != OK && err != E_NOMEM) {
        why_set(why, "the public key for selector \"%.*s\" is neither PEM nor the value of p=",
                STR_ARG(wish->selector));
    }
    return err == OK        ? OUTPOST_CHECK_SUCCESS
           : err == E_NOMEM ? OUTPOST_CHECK_E_MEMORY
                            : OUTPOST_CHECK_E_KEY;
}

int key_wish_read(const char *selector, const char *public_key, struct arena *arena,
        struct key_wish *ret_wish, struct why *why)
{
    struct str text;
    if (selector == NULL || !view(selector, DOMAIN_BYTES_MAX, &text) || !domain_is_dns_name(text)) {
        why_set(why, "a selector is a name of letters, digits and hyphens (RFC 6376 3.1)");
        return selector == NULL ? OUTPOST_CHECK_E_ARGUMENT : OUTPOST_CHECK_E_SELECTOR;
    }
    *ret_wish = (struct key_wish){ .selector = arena_str(arena, text) };
    if (ret_wish->selector.ptr == NULL) {
        return OUTPOST_CHECK_E_MEMORY;
    }
    return public_key == NULL ? OUTPOST_CHECK_SUCCESS : read_key(public_key, arena, ret_wish, why);
}

static int read_keys(const struct outpost_check_options *options, struct arena *arena,
        struct wishes *wishes, struct why *why)
{
    uint32_t count = options->selector_count;
    if (count > 0 && options->selectors == NULL) {
        why_set(why, "selector_count is not 0, but selectors is NULL");
        return OUTPOST_CHECK_E_ARGUMENT;
    }
    if (count > OUTPOST_CHECK_SELECTOR_COUNT_MAX) {
        why_set(why, "more than %d selectors", OUTPOST_CHECK_SELECTOR_COUNT_MAX);
        return OUTPOST_CHECK_E_SELECTOR;
    }
    wishes->key = arena_new(arena, (count + 1) * sizeof *wishes->key);
    wishes->key_count = count + 1;
    if (wishes->key == NULL) {
        return OUTPOST_CHECK_E_MEMORY;
    }
    wishes->key[0].selector = STR("default");
    int error = OUTPOST_CHECK_SUCCESS;
    for (uint32_t i = 0; error == OUTPOST_CHECK_SUCCESS && i < count; i++) {
        error = key_wish_read(options->selectors[i].selector, options->selectors[i].public_key,
                arena, &wishes->key[i + 1], why);
    }
    return error;
}

/* ---- where and how long ---- */

/* E_TOO_BIG, E_NOMEM. */
static enum err copy_c(
        const char *text, size_t bytes_max, struct arena *arena, const char **ret_copy)
{
    struct str from;
    if (!view(text, bytes_max, &from)) {
        return E_TOO_BIG;
    }
    *ret_copy = from.len > 0 ? arena_str(arena, from).ptr : "";
    return *ret_copy != NULL ? OK : E_NOMEM;
}

static int read_resolver(const struct outpost_check_options *options, struct arena *arena,
        struct wishes *wishes, struct why *why)
{
    bool has_servers = options->servers != NULL && options->servers[0] != '\0';
    enum err err = OK;
    wishes->servers = "";
    if (has_servers && options->zone_file != NULL) {
        why_set(why, "servers and zone_file exclude each other");
        return OUTPOST_CHECK_E_ARGUMENT;
    }
    if (has_servers) {
        err = copy_c(options->servers, CHECK_SERVERS_BYTES_MAX, arena, &wishes->servers);
    } else if (options->zone_file != NULL) {
        err = copy_c(options->zone_file, CHECK_PATH_BYTES_MAX, arena, &wishes->zone_file);
    }
    return err == OK        ? OUTPOST_CHECK_SUCCESS
           : err == E_NOMEM ? OUTPOST_CHECK_E_MEMORY
           : has_servers    ? OUTPOST_CHECK_E_RESOLVER
                            : OUTPOST_CHECK_E_ZONE;
}

static int read_time(
        const struct outpost_check_options *options, struct wishes *wishes, struct why *why)
{
    unsigned limit_ms = options->time_limit_ms;
    if (limit_ms > OUTPOST_CHECK_TIME_LIMIT_MS_MAX) {
        why_set(why, "time_limit_ms is over %d", OUTPOST_CHECK_TIME_LIMIT_MS_MAX);
        return OUTPOST_CHECK_E_LIMIT;
    }
    wishes->time_limit_ms = limit_ms != 0 ? limit_ms : OUTPOST_CHECK_TIME_LIMIT_MS_DEFAULT;
    return OUTPOST_CHECK_SUCCESS;
}

int wishes_read(const char *domain, const char *ip, const struct outpost_check_options *options,
        struct arena *arena, struct wishes *ret_wishes, struct why *why)
{
    options = options != NULL ? options : &usual_options;
    if (domain == NULL) {
        why_set(why, "domain is NULL");
        return OUTPOST_CHECK_E_ARGUMENT;
    }
    int error = read_domain(domain, ret_wishes, why);
    if (error == OUTPOST_CHECK_SUCCESS) {
        error = read_ip(ip, ret_wishes, why);
    }
    if (error == OUTPOST_CHECK_SUCCESS) {
        error = read_sender(options, arena, ret_wishes, why);
    }
    if (error == OUTPOST_CHECK_SUCCESS) {
        error = read_keys(options, arena, ret_wishes, why);
    }
    if (error == OUTPOST_CHECK_SUCCESS) {
        error = read_resolver(options, arena, ret_wishes, why);
    }
    if (error == OUTPOST_CHECK_SUCCESS) {
        error = read_time(options, ret_wishes, why);
    }
    return error;
}
