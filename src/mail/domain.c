/* SPDX-License-Identifier: Apache-2.0
 *
 * domain.c - the adapter over libidn2 and libpsl; their types and memory end here.
 *
 * The suffix list is the one built into libpsl: no file is read.
 */
#include "mail/domain.h"

#include "core/str.h"

#include <idn2.h>
#include <libpsl.h>

static bool is_label(struct str s, bool is_underscore_ok)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' &&
                !(c == '_' && is_underscore_ok)) {
            return false;
        }
    }
    return s.len > 0 && s.len <= DOMAIN_LABEL_BYTES_MAX && s.ptr[0] != '-' &&
           s.ptr[s.len - 1] != '-';
}

static bool is_all_digits(struct str s)
{
    size_t at = 0;
    while (at < s.len && ascii_is_digit(s.ptr[at])) {
        at++;
    }
    return at == s.len;
}

static bool are_labels(struct str name, bool is_underscore_ok, struct str *ret_last)
{
    struct str label = { 0 }, rest = name;
    if (name.len == 0 || name.len > DOMAIN_BYTES_MAX || name.ptr[name.len - 1] == '.') {
        return false;
    }
    while (str_cut(&rest, '.', &label)) {
        if (!is_label(label, is_underscore_ok)) {
            return false;
        }
    }
    *ret_last = label;
    return true;
}

bool domain_is_hostname(struct str name)
{
    struct str last;
    return are_labels(name, /*is_underscore_ok*/ false, &last) && !is_all_digits(last);
}

bool domain_is_dns_name(struct str name)
{
    struct str last;
    return are_labels(name, /*is_underscore_ok*/ true, &last);
}

bool domain_is_within(struct str name, struct str parent)
{
    if (parent.len == 0 || !str_ends_nocase(name, parent)) {
        return false;
    }
    return name.len == parent.len || name.ptr[name.len - parent.len - 1] == '.';
}

/* UTF-8 to A-labels (RFC 5891, UTS 46 non-transitional), as a C string into dst. */
static enum err to_a_labels(struct str domain, char dst[DOMAIN_CAP])
{
    char utf8[4 * DOMAIN_CAP];
    char *ascii = NULL;
    if (!str_is_utf8(domain) || !str_to_c(domain, utf8, sizeof utf8)) {
        return E_SYNTAX;
    }
    int code = idn2_to_ascii_8z(utf8, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (code != IDN2_OK) {
        return code == IDN2_MALLOC ? E_NOMEM : E_SYNTAX;
    }
    bool does_fit = str_to_c(str_from_c(ascii), dst, DOMAIN_CAP);
    idn2_free(ascii);
    return does_fit ? OK : E_SYNTAX;
}

enum err domain_to_ascii(struct str domain, char dst[DOMAIN_CAP], struct str *ret_ascii)
{
    char text[DOMAIN_CAP];
    if (domain.len > 0 && domain.ptr[domain.len - 1] == '.') {
        domain.len--;
    }
    if (!str_is_ascii(domain)) {
        enum err err = to_a_labels(domain, text);
        if (err != OK) {
            return err;
        }
    } else if (!str_to_c(domain, text, sizeof text)) {
        return E_SYNTAX;
    }
    struct str ascii = str_from_c(text);
    if (!domain_is_dns_name(ascii)) {
        return E_SYNTAX;
    }
    for (size_t i = 0; i <= ascii.len; i++) {
        dst[i] = ascii_lower(text[i]);
    }
    *ret_ascii = str_of(dst, ascii.len);
    return OK;
}

struct str domain_organizational(struct str name)
{
    char text[DOMAIN_CAP];
    const psl_ctx_t *list = psl_builtin();
    if (!list || !str_to_c(name, text, sizeof text)) {
        return name;
    }
    const char *registered = psl_registrable_domain(list, text);
    return registered ? str_from(name, (size_t)(registered - text)) : name;
}

bool domain_is_public_suffix(struct str name)
{
    char text[DOMAIN_CAP];
    const psl_ctx_t *list = psl_builtin();
    return list && str_to_c(name, text, sizeof text) && psl_is_public_suffix(list, text);
}

bool domain_has_known_top(struct str name)
{
    char text[DOMAIN_CAP];
    const psl_ctx_t *list = psl_builtin();
    size_t dot = str_rindex(name, '.');
    struct str top = dot == name.len ? name : str_from(name, dot + 1);
    return list && top.len > 0 && str_to_c(top, text, sizeof text) &&
           psl_is_public_suffix2(list, text, PSL_TYPE_ICANN | PSL_TYPE_NO_STAR_RULE);
}
