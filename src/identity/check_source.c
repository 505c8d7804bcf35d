/* SPDX-License-Identifier: Apache-2.0
 *
 * check_source.c - what receivers look up of an address before they listen: its name, and whether
 * name, address and EHLO belong together (RFC 1912 2.1, RFC 5321 4.1.1.1).
 */
#include "core/str.h"
#include "identity/check_priv.h"
#include "identity/data_priv.h"
#include "mail/domain.h"

/* ---- generic names ---- */

/* Is word in name, with no letter or digit of the same kind beside it? */
static bool has_word(struct str name, struct str word)
{
    for (size_t at = 0; at < name.len;) {
        size_t found = str_find(str_from(name, at), word);
        if (at + found >= name.len) {
            return false;
        }
        size_t begin = at + found, end = begin + word.len;
        bool is_digit = ascii_is_digit(word.ptr[0]);
        char before = begin > 0 ? name.ptr[begin - 1] : '.';
        char after = end < name.len ? name.ptr[end] : '.';
        bool is_joined = is_digit ? ascii_is_digit(before) || ascii_is_digit(after)
                                  : ascii_is_alpha(before) || ascii_is_alpha(after);
        if (!is_joined) {
            return true;
        }
        at = begin + 1;
    }
    return false;
}

/* How octets of an address are written into a name. */
struct octet_form {
    const char *between;
    int width; /* of decimals, with zeros before; 0: hexadecimal */
    uint32_t count;
};

static bool has_form(struct str name, const struct octet_form *form, const uint8_t *octet, int step)
{
    char text[32];
    size_t len = 0;
    for (uint32_t i = 0; i < form->count; i++) {
        const char *between = i > 0 ? form->between : "";
        len += form->width > 0 ? fmt(text + len, sizeof text - len, "%s%0*u", between, form->width,
                                         (unsigned)octet[(int)i * step])
                               : fmt(text + len, sizeof text - len, "%s%02x", between,
                                         (unsigned)octet[(int)i * step]);
    }
    return has_word(name, str_of(text, len));
}

/* Three or more octets of an IPv4 address, as providers write it into the names of lines. */
static bool has_octets(struct str name, struct ip ip)
{
    static const struct octet_form forms[] = { { "-", 1, 4 }, { ".", 1, 4 }, { "_", 1, 4 },
        { "-", 3, 4 }, { "", 3, 4 }, { "", 0, 4 }, { "-", 1, 3 }, { ".", 1, 3 } };
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        if (has_form(name, &forms[i], ip.byte, 1) || has_form(name, &forms[i], ip.byte + 3, -1)) {
            return true;
        }
    }
    return false;
}

/* Why the name looks like one that a provider gives to every line; "" where it does not. */
static struct str generic_why(struct checking *c, struct str name)
{
    struct str rest = identity_data("ptr-generic"), word;
    if (c->source->ip.family == IP_V4 && has_octets(name, c->source->ip)) {
        return STR("the address is written into it");
    }
    while (identity_data_line(&rest, &word)) {
        if (has_word(name, word)) {
            return check_plain(c, "it has the word \"%.*s\" in it", STR_ARG(word));
        }
    }
    return STR("");
}

/* ---- PTR ---- */

static void say_ptr_absent(struct checking *c, const struct fact *ptr)
{
    struct identity_result *result = check_say(c, "ptr.exists", STR(""), IDENTITY_FAIL);
    result->found = fact_words(c, ptr);
    result->expected = check_plain(c, "%.*s", STR_ARG(c->source->ehlo));
    result->mend = mend_ptr(c, c->source->ip, c->source->ehlo);
    result->detail = STR("the owner of the address (your provider) publishes this record");
}

static void say_ptr_names(struct checking *c, const struct fact *ptr)
{
    struct identity_result *result = check_say(c, "ptr.exists", STR(""), IDENTITY_PASS);
    result->found = check_records(c, ptr);
    bool is_one = ptr->record_count == 1;
    result = check_say(c, "ptr.single", STR(""), is_one ? IDENTITY_PASS : IDENTITY_FAIL);
    result->found = check_records(c, ptr);
    result->expected = STR("one name");
    result->mend = is_one ? STR("") : mend_ptr(c, c->source->ip, c->source->ehlo);
    result->detail = is_one ? STR("") : STR("in place of all the records there are");
    struct str name = ptr->record[0].data, why = STR("");
    for (uint32_t i = 0; i < ptr->record_count && why.len == 0; i++) {
        name = ptr->record[i].data;
        why = generic_why(c, name);
    }
    bool is_generic = why.len > 0;
    result = check_say(c, "ptr.generic", STR(""), is_generic ? IDENTITY_FAIL : IDENTITY_PASS);
    result->found = check_text(c, "%.*s", STR_ARG(name));
    result->expected = STR("a name of your own domain");
    result->mend = is_generic ? mend_ptr(c, c->source->ip, c->source->ehlo) : STR("");
    result->detail = why;
}

/* FCrDNS: at least one of the names has the address. False: awaited. */
static bool say_forward(struct checking *c, const struct fact *ptr)
{
    enum dns_type type = c->source->ip.family == IP_V4 ? DNS_A : DNS_AAAA;
    const struct fact *unknown = NULL, *last = NULL;
    for (uint32_t i = 0; i < ptr->record_count && i < 10; i++) {
        last = check_ask(c, ptr->record[i].data, type);
        if (last == NULL) {
            return false;
        }
        if (fact_has_ip(last, c->source->ip)) {
            struct identity_result *result = check_say(c, "ptr.forward", STR(""), IDENTITY_PASS);
            result->found = check_text(c, "%.*s", STR_ARG(ptr->record[i].data));
            return true;
        }
        unknown = fact_is_unknown(last) ? last : unknown;
    }
    if (unknown != NULL || last == NULL) {
        check_unknown(c, "ptr.forward", STR(""), unknown != NULL ? unknown : ptr);
        return true;
    }
    char ip[IP_TEXT_CAP];
    struct identity_result *result = check_say(c, "ptr.forward", STR(""), IDENTITY_FAIL);
    result->found = check_text(c, "%.*s: %.*s", STR_ARG(last->name), STR_ARG(fact_words(c, last)));
    struct str address = ip_format(c->source->ip, ip);
    result->expected = check_plain(c, "%.*s", STR_ARG(address));
    result->mend = mend_address(c, ptr->record[0].data, c->source->ip);
    return true;
}

static bool has_address(struct checking *c, const char *const *ids, size_t id_count)
{
    for (size_t i = 0; c->source->ip.family == IP_NONE && i < id_count; i++) {
        check_skip(c, ids[i], STR(""),
                "the source has no address of its own: set one, or name it with --ip");
    }
    return c->source->ip.family != IP_NONE;
}

void check_ptr(struct checking *c)
{
    static const char *const ids[] = { "ptr.exists", "ptr.single", "ptr.generic", "ptr.forward" };
    if (!has_address(c, ids, COUNT_OF(ids))) {
        return;
    }
    const struct fact *ptr = check_ask(c, reverse_name(c, c->source->ip, STR("")), DNS_PTR);
    if (ptr == NULL) {
        return;
    }
    if (fact_is_unknown(ptr)) {
        for (size_t i = 0; i < COUNT_OF(ids); i++) {
            check_unknown(c, ids[i], STR(""), ptr);
        }
        return;
    }
    if (fact_is_absent(ptr)) {
        say_ptr_absent(c, ptr);
        for (size_t i = 1; i < COUNT_OF(ids); i++) {
            check_skip(c, ids[i], STR(""), "there is no PTR record");
        }
        return;
    }
    say_ptr_names(c, ptr);
    (void)say_forward(c, ptr);
}

/* ---- EHLO ---- */

static void say_ehlo_ptr(struct checking *c, const struct fact *ptr)
{
    if (fact_is_unknown(ptr)) {
        check_unknown(c, "ehlo.ptr", STR(""), ptr);
        return;
    }
    bool is_same = false;
    for (uint32_t i = 0; fact_is_found(ptr) && i < ptr->record_count; i++) {
        is_same = is_same || str_eq_nocase(ptr->record[i].data, c->source->ehlo);
    }
    struct identity_result *result =
            check_say(c, "ehlo.ptr", STR(""), is_same ? IDENTITY_PASS : IDENTITY_WARN);
    result->found = fact_words(c, ptr);
    result->expected = check_plain(c, "%.*s", STR_ARG(c->source->ehlo));
    if (!is_same) {
        result->mend = mend_ptr(c, c->source->ip, c->source->ehlo);
        result->detail = STR("or set the source's ehlo to the name that its address has");
    }
}

void check_ehlo(struct checking *c)
{
    static const char *const ids[] = { "ehlo.resolves", "ehlo.ptr" };
    if (!has_address(c, ids, COUNT_OF(ids))) {
        return;
    }
    struct ip ip = c->source->ip;
    check_expect(c, reverse_name(c, ip, STR("")), DNS_PTR);
    const struct fact *name = check_ask(c, c->source->ehlo, ip.family == IP_V4 ? DNS_A : DNS_AAAA);
    const struct fact *ptr = check_ask(c, reverse_name(c, ip, STR("")), DNS_PTR);
    if (name == NULL || ptr == NULL) {
        return;
    }
    if (fact_is_unknown(name)) {
        check_unknown(c, "ehlo.resolves", STR(""), name);
    } else {
        bool is_good = fact_has_ip(name, ip);
        char text[IP_TEXT_CAP];
        struct str address = ip_format(ip, text);
        struct identity_result *result =
                check_say(c, "ehlo.resolves", STR(""), is_good ? IDENTITY_PASS : IDENTITY_FAIL);
        result->found =
                check_text(c, "%.*s: %.*s", STR_ARG(c->source->ehlo), STR_ARG(fact_words(c, name)));
        result->expected = check_plain(c, "%.*s", STR_ARG(address));
        result->mend = is_good ? STR("") : mend_address(c, c->source->ehlo, ip);
    }
    say_ehlo_ptr(c, ptr);
}
