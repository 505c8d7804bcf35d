/* SPDX-License-Identifier: Apache-2.0
 *
 * address_list.c - the mailboxes of a header field (RFC 5322 3.4 with the obsolete forms of 4.4).
 *
 * A cursor walks the value once, twice over a display name; comments are counted, not recursed
 * into. What could be read in two ways is refused: "a@b <c@d>", groups, text behind an address.
 */
#include "core/str.h"
#include "mail/address.h"
#include "mail/address_priv.h"

struct walk {
    struct str rest;
    size_t token_count;
    enum err err;        /* the first one */
    bool was_cfws;       /* the last skip_cfws found something */
    bool is_nul_pair_ok; /* obs-qp of RFC 5322 4.1, which no field of ours may hold */
};

static char peek(const struct walk *walk)
{
    return walk->err == OK && walk->rest.len > 0 ? walk->rest.ptr[0] : '\0';
}

static void step(struct walk *walk, size_t len)
{
    walk->rest = str_from(walk->rest, len);
}

static void fail(struct walk *walk, enum err err)
{
    walk->err = walk->err == OK ? err : walk->err;
}

static void count_token(struct walk *walk)
{
    if (++walk->token_count > ADDRESS_TOKENS_MAX) {
        fail(walk, E_TOO_BIG);
    }
}

/* Length of blanks and folds at the front; a CRLF counts only before a blank. */
static size_t fws_len(struct str s)
{
    size_t at = 0;
    for (;;) {
        if (at < s.len && ascii_is_blank(s.ptr[at])) {
            at++;
        } else if (s.len - at >= 3 && s.ptr[at] == '\r' && s.ptr[at + 1] == '\n' &&
                   ascii_is_blank(s.ptr[at + 2])) {
            at += 3;
        } else {
            return at;
        }
    }
}

/* May c stand unescaped in a comment, quoted string or literal? Controls: the obsolete forms. */
static bool is_text(char c)
{
    return c != '\0' && c != '\r' && c != '\n';
}

/* One unit inside a comment or quoted string: quoted-pair, fold or byte. 0: none may stand here.
 * What a pair makes literal is ASCII (RFC 5322 3.2.1, 4.1): above it nothing needs one. */
static size_t unit_len(const struct walk *walk)
{
    struct str s = walk->rest;
    if (s.ptr[0] == '\\') {
        bool is_pair = s.len >= 2 && (uint8_t)s.ptr[1] < 0x80;
        return is_pair && (s.ptr[1] != '\0' || walk->is_nul_pair_ok) ? 2 : 0;
    }
    size_t fold = fws_len(s);
    return fold ? fold : is_text(s.ptr[0]) ? 1 : 0;
}

static void skip_comment(struct walk *walk)
{
    unsigned depth = 0;
    do {
        if (walk->rest.len == 0) {
            fail(walk, E_SYNTAX);
            return;
        }
        char c = walk->rest.ptr[0];
        size_t len = unit_len(walk);
        depth += c == '(';
        depth -= c == ')';
        if (len == 0 || depth > ADDRESS_COMMENT_DEPTH_MAX) {
            fail(walk, E_SYNTAX);
            return;
        }
        step(walk, len);
    } while (depth > 0);
}

static void skip_cfws(struct walk *walk)
{
    walk->was_cfws = false;
    while (walk->err == OK) {
        size_t len = fws_len(walk->rest);
        if (len > 0) {
            step(walk, len);
        } else if (peek(walk) == '(') {
            count_token(walk);
            skip_comment(walk);
        } else {
            return;
        }
        walk->was_cfws = true;
    }
}

static void take_quoted(struct walk *walk)
{
    step(walk, 1);
    while (walk->rest.len > 0 && walk->rest.ptr[0] != '"') {
        size_t len = unit_len(walk);
        if (len == 0) {
            break;
        }
        step(walk, len);
    }
    if (walk->rest.len == 0 || walk->rest.ptr[0] != '"') {
        fail(walk, E_SYNTAX);
        return;
    }
    step(walk, 1);
}

static bool take_atom(struct walk *walk)
{
    size_t len = 0;
    while (len < walk->rest.len && address_is_atext(walk->rest.ptr[len])) {
        len++;
    }
    step(walk, len);
    return len > 0;
}

/* word = atom / quoted-string; false where neither begins here. */
static bool take_word(struct walk *walk)
{
    count_token(walk);
    if (peek(walk) == '"') {
        take_quoted(walk);
        return walk->err == OK;
    }
    return walk->err == OK && take_atom(walk);
}

/* The bytes from `from` to the cursor; *is_plain is cleared where comments or folds are in them. */
static struct str since(const struct walk *walk, const char *from)
{
    return str_of(from, (size_t)(walk->rest.ptr - from));
}

/* element *([CFWS] "." [CFWS] element), then CFWS; the view ends with the last element. */
static struct str take_dotted(
        struct walk *walk, bool (*take_element)(struct walk *), bool *is_plain)
{
    const char *from = walk->rest.ptr;
    struct str taken = { 0 };
    for (;;) {
        if (!take_element(walk)) {
            fail(walk, E_SYNTAX);
            return taken;
        }
        taken = since(walk, from);
        *is_plain &= memchr(taken.ptr, '\n', taken.len) == NULL; /* a fold inside quotes */
        skip_cfws(walk);
        if (peek(walk) != '.') {
            return taken;
        }
        *is_plain &= !walk->was_cfws;
        step(walk, 1);
        skip_cfws(walk);
        *is_plain &= !walk->was_cfws;
    }
}

static bool take_label(struct walk *walk)
{
    count_token(walk);
    const char *from = walk->rest.ptr;
    if (!take_atom(walk)) {
        return false;
    }
    return *from != '-' && walk->rest.ptr[-1] != '-';
}

/* domain-literal = "[" *([FWS] dtext) [FWS] "]", RFC 5322 3.4.1 */
static struct str take_literal(struct walk *walk)
{
    const char *from = walk->rest.ptr;
    step(walk, 1);
    while (walk->rest.len > 0 && walk->rest.ptr[0] != ']') {
        size_t len = walk->rest.ptr[0] == '[' ? 0 : unit_len(walk);
        if (len == 0) {
            break;
        }
        step(walk, len);
    }
    if (walk->rest.len == 0 || walk->rest.ptr[0] != ']') {
        fail(walk, E_SYNTAX);
        return (struct str){ 0 };
    }
    step(walk, 1);
    struct str literal = since(walk, from);
    skip_cfws(walk);
    return literal;
}

/* A copy of part without comments, and without blanks and folds outside quotes. */
static struct str without_cfws(struct walk *walk, struct arena *arena, struct str part)
{
    char *copy = arena_new(arena, part.len + 1);
    if (!copy) {
        fail(walk, E_NOMEM);
        return (struct str){ 0 };
    }
    struct walk inner = { .rest = part };
    size_t len = 0;
    while (inner.rest.len > 0) {
        skip_cfws(&inner);
        const char *from = inner.rest.ptr;
        if (peek(&inner) == '"') {
            take_quoted(&inner);
        } else {
            step(&inner, 1);
        }
        struct str taken = since(&inner, from);
        for (size_t i = 0; i < taken.len; i++) {
            if (taken.ptr[i] != '\r' && taken.ptr[i] != '\n') {
                copy[len++] = taken.ptr[i];
            }
        }
    }
    return str_of(copy, len);
}

/* addr-spec = local-part "@" domain; false, nothing wrong yet: no '@' follows the words. */
static bool take_addr_spec(struct walk *walk, struct arena *arena, struct address *address)
{
    bool is_local_plain = true, is_domain_plain = true;
    skip_cfws(walk);
    struct str local = take_dotted(walk, take_word, &is_local_plain);
    if (walk->err != OK || peek(walk) != '@') {
        return false;
    }
    step(walk, 1);
    skip_cfws(walk);
    struct str domain = peek(walk) == '[' ? take_literal(walk)
                                          : take_dotted(walk, take_label, &is_domain_plain);
    if (walk->err != OK) {
        return true;
    }
    struct str whole = str_of(local.ptr, (size_t)(domain.ptr + domain.len - local.ptr));
    *address = (struct address){
        .local = is_local_plain ? local : without_cfws(walk, arena, local),
        .domain = is_domain_plain ? domain : without_cfws(walk, arena, domain),
        .is_literal = domain.len > 0 && domain.ptr[0] == '[',
        .is_quoted = local.len > 0 && local.ptr[0] == '"',
    };
    address->is_utf8 = !str_is_ascii(address->local) || !str_is_ascii(address->domain);
    if (address->is_utf8 && !str_is_utf8(whole)) {
        fail(walk, E_SYNTAX);
    }
    address->is_smtp = walk->err == OK && address_fits_smtp(address);
    return true;
}

bool address_is_addr_spec(struct str text)
{
    struct walk walk = { .rest = text, .is_nul_pair_ok = true };
    bool is_plain = true;
    skip_cfws(&walk);
    take_dotted(&walk, take_word, &is_plain);
    if (peek(&walk) != '@') {
        return false;
    }
    step(&walk, 1);
    skip_cfws(&walk);
    if (peek(&walk) == '[') {
        take_literal(&walk);
    } else {
        take_dotted(&walk, take_label, &is_plain);
    }
    return walk.err == OK && walk.rest.len == 0;
}

/* obs-route = "@" domain *("," "@" domain) ":", dropped as in SMTP. */
static void skip_route(struct walk *walk)
{
    bool is_plain = true, has_route = false;
    skip_cfws(walk);
    while (peek(walk) == '@' || peek(walk) == ',') {
        has_route = true;
        bool is_hop = peek(walk) == '@';
        step(walk, 1);
        skip_cfws(walk);
        if (is_hop) {
            take_dotted(walk, take_label, &is_plain);
        }
        if (peek(walk) == ':') {
            step(walk, 1);
            return;
        }
    }
    if (has_route) {
        fail(walk, E_SYNTAX);
    }
}

/* name-addr = [display-name] "<" [route] addr-spec ">" */
static void take_name_addr(struct walk *walk, struct arena *arena, struct address *address)
{
    skip_cfws(walk);
    while (walk->err == OK && peek(walk) != '<') {
        if (peek(walk) == '.') { /* obs-phrase: "John Q. Public" */
            step(walk, 1);
        } else if (!take_word(walk)) {
            fail(walk, E_SYNTAX);
        }
        skip_cfws(walk);
    }
    step(walk, 1);
    skip_route(walk);
    if (walk->err == OK && !take_addr_spec(walk, arena, address)) {
        fail(walk, E_SYNTAX);
    }
    if (peek(walk) != '>') {
        fail(walk, E_SYNTAX);
        return;
    }
    step(walk, 1);
    skip_cfws(walk);
}

static void take_mailbox(struct walk *walk, struct arena *arena, struct address *address)
{
    struct walk ahead = *walk;
    bool is_addr_spec = take_addr_spec(&ahead, arena, address);
    if (is_addr_spec || ahead.err == E_TOO_BIG) {
        *walk = ahead;
        return;
    }
    take_name_addr(walk, arena, address);
}

enum err address_list_parse(struct arena *arena, struct str field_value,
        struct address *ret_address, size_t max, size_t *ret_count)
{
    struct walk walk = { .rest = field_value };
    size_t count = 0;
    for (;;) {
        skip_cfws(&walk);
        if (walk.err != OK || walk.rest.len == 0) {
            break;
        }
        count_token(&walk);
        if (peek(&walk) == ',') { /* also between empty elements: obs-mbox-list */
            step(&walk, 1);
            continue;
        }
        struct address address;
        take_mailbox(&walk, arena, &address);
        if (walk.err == OK && walk.rest.len > 0 && peek(&walk) != ',') {
            fail(&walk, E_SYNTAX);
        }
        if (walk.err == OK && count == max) {
            fail(&walk, E_TOO_BIG);
        }
        if (walk.err == OK) {
            ret_address[count++] = address;
        }
    }
    if (walk.err == OK && count == 0) {
        return E_SYNTAX;
    }
    if (walk.err == OK) {
        *ret_count = count;
    }
    return walk.err;
}
