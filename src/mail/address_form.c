/* SPDX-License-Identifier: Apache-2.0
 *
 * address_form.c - what a text is worth as an address: in an envelope, in a header field, in a
 * sign-up form; and, where it is no mailbox of SMTP, why not.
 *
 * Says what the RFCs say. What our own door lets in is address_parse's to decide.
 */
#include "core/str.h"
#include "mail/address.h"
#include "mail/address_priv.h"
#include "mail/domain.h"

enum { MAILBOX_BYTES_MAX = ADDRESS_PATH_BYTES_MAX - 2 };

const char *address_fault_words(enum address_fault fault)
{
    static const char *const words[] = {
        [ADDRESS_FAULT_NONE] = "is fine",
        [ADDRESS_FAULT_EMPTY] = "is empty",
        [ADDRESS_FAULT_NO_AT] = "has no @ with a domain behind it",
        [ADDRESS_FAULT_NO_LOCAL] = "has nothing before the @",
        [ADDRESS_FAULT_NO_DOMAIN] = "has nothing behind the @",
        [ADDRESS_FAULT_NOT_UTF8] = "is not valid UTF-8",
        [ADDRESS_FAULT_CONTROL] = "has a control character in it",
        [ADDRESS_FAULT_DOT] = "has a dot too many: two in a row, or one at an end",
        [ADDRESS_FAULT_LOCAL] = "has a character before the @ that may not stand there unquoted",
        [ADDRESS_FAULT_LOCAL_TOO_LONG] = "has more than 64 bytes before the @",
        [ADDRESS_FAULT_DOMAIN] = "has a domain with other than letters, digits, hyphens and dots",
        [ADDRESS_FAULT_HYPHEN] = "has a hyphen at the start or end of a part of the domain",
        [ADDRESS_FAULT_TOO_LONG] = "is longer than 254 bytes, or a part of its domain than 63",
        [ADDRESS_FAULT_LITERAL] =
                "has an address literal other than [192.0.2.1], [IPv6:2001:db8::1]",
        [ADDRESS_FAULT_HEADER_ONLY] = "has comments, folds or obsolete forms: leave them out",
    };
    static_assert(COUNT_OF(words) == ADDRESS_FAULT_COUNT, "each fault has its words");
    return words[fault];
}

/* ---- the envelope's form ---- */

/* sub-domain of RFC 5321 4.1.2; U-labels are judged as a whole name (RFC 6531 3.3). */
static enum address_fault check_label(struct str label)
{
    for (size_t i = 0; i < label.len; i++) {
        char c = label.ptr[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && (uint8_t)c < 0x80) {
            return ADDRESS_FAULT_DOMAIN;
        }
    }
    if (label.len == 0) {
        return ADDRESS_FAULT_DOT;
    }
    if (label.ptr[0] == '-' || label.ptr[label.len - 1] == '-') {
        return ADDRESS_FAULT_HYPHEN;
    }
    return label.len > DOMAIN_LABEL_BYTES_MAX && str_is_ascii(label) ? ADDRESS_FAULT_TOO_LONG
                                                                     : ADDRESS_FAULT_NONE;
}

static enum address_fault check_name(struct str domain)
{
    char ascii[DOMAIN_CAP];
    struct str label, rest = domain, name;
    while (str_cut(&rest, '.', &label)) {
        enum address_fault fault = check_label(label);
        if (fault != ADDRESS_FAULT_NONE) {
            return fault;
        }
    }
    if (domain.ptr[domain.len - 1] == '.') {
        return ADDRESS_FAULT_DOT;
    }
    bool is_name = str_is_ascii(domain) || domain_to_ascii(domain, ascii, &name) == OK;
    return is_name ? ADDRESS_FAULT_NONE : ADDRESS_FAULT_DOMAIN;
}

static enum address_fault check_domain(struct str domain)
{
    if (domain.len == 0) {
        return ADDRESS_FAULT_NO_DOMAIN;
    }
    if (domain.ptr[0] == '[') {
        return address_is_literal(domain) ? ADDRESS_FAULT_NONE : ADDRESS_FAULT_LITERAL;
    }
    return check_name(domain);
}

/* Why no local part ends at an '@' here: the first thing that is wrong. */
static enum address_fault blame_local(struct str text, size_t at)
{
    bool is_dot = (at < text.len && text.ptr[at] == '.') || (at > 0 && text.ptr[at - 1] == '.');
    if (str_rindex(text, '@') == text.len) {
        return ADDRESS_FAULT_NO_AT;
    }
    if (text.ptr[0] == '@') {
        return ADDRESS_FAULT_NO_LOCAL;
    }
    return is_dot && text.ptr[0] != '"' ? ADDRESS_FAULT_DOT : ADDRESS_FAULT_LOCAL;
}

static enum address_fault check_smtp(struct str text, struct address_forms *forms)
{
    size_t at = address_local_len(text);
    if (at == 0 || at == text.len || text.ptr[at] != '@') {
        return blame_local(text, at);
    }
    forms->local = str_sub(text, 0, at);
    forms->domain = str_from(text, at + 1);
    enum address_fault fault = check_domain(forms->domain);
    if (fault != ADDRESS_FAULT_NONE) {
        return fault;
    }
    if (at > ADDRESS_LOCAL_BYTES_MAX) { /* RFC 5321 4.5.3.1.1 */
        return ADDRESS_FAULT_LOCAL_TOO_LONG;
    }
    /* RFC 5321 4.5.3.1.3: 256 with its brackets, which is less than .2's 255 for the domain */
    return text.len > MAILBOX_BYTES_MAX ? ADDRESS_FAULT_TOO_LONG : ADDRESS_FAULT_NONE;
}

/* ---- all three ---- */

static bool has_control(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((uint8_t)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

/* RFC 3696 2: a top label is not all digits; none begins with one. */
static bool is_top_numeric(struct str domain)
{
    size_t dot = str_rindex(domain, '.');
    return ascii_is_digit(domain.ptr[dot == domain.len ? 0 : dot + 1]);
}

struct address_forms address_forms(struct str text)
{
    struct address_forms forms = { 0 };
    if (text.len == 0) {
        forms.fault = ADDRESS_FAULT_EMPTY;
        return forms;
    }
    if (!str_is_ascii(text) && !str_is_utf8(text)) {
        forms.fault = ADDRESS_FAULT_NOT_UTF8;
        return forms;
    }
    forms.is_header = address_is_addr_spec(text);
    forms.fault = check_smtp(text, &forms);
    forms.is_smtp = forms.fault == ADDRESS_FAULT_NONE;
    if (!forms.is_smtp) {
        bool is_long = forms.fault == ADDRESS_FAULT_TOO_LONG ||
                       forms.fault == ADDRESS_FAULT_LOCAL_TOO_LONG ||
                       forms.fault == ADDRESS_FAULT_LITERAL;
        if (forms.is_header && !is_long && forms.fault != ADDRESS_FAULT_DOMAIN) {
            forms.fault = ADDRESS_FAULT_HEADER_ONLY;
        } else if (has_control(text)) {
            forms.fault = ADDRESS_FAULT_CONTROL;
        }
        forms.local = forms.domain = (struct str){ 0 };
        return forms;
    }
    forms.is_quoted = forms.local.ptr[0] == '"';
    forms.is_literal = forms.domain.ptr[0] == '[';
    forms.needs_smtputf8 = !str_is_ascii(forms.local);
    forms.is_dotless = !forms.is_literal && str_index(forms.domain, '.') == forms.domain.len;
    forms.is_signup = !forms.is_quoted && !forms.is_literal && !is_top_numeric(forms.domain);
    return forms;
}
