/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc_record.c - DMARC records, tag by tag (RFC 9989 4.7, 4.8; RFC 7489 6.3 for what is gone).
 *
 * What is wrong in one tag costs that tag only (4.8): a value that is none counts as absent, and
 * everything found is told with its place.
 */
#include "core/str.h"
#include "mail/dmarc.h"

enum { SHOWN_BYTES_MAX = 60, URI_COUNT_HONOURED = 2, PCT_MAX = 100 };

struct reader {
    struct dmarc_record *record;
    uint32_t seen; /* a bit for each row of rules */
    bool is_policy_bad;
};

static void tell(struct dmarc_record *record, struct str where, bool is_error, const char *what,
        struct str shown)
{
    record->error_count += is_error;
    if (record->fault_count++ >= DMARC_FAULT_COUNT_MAX) {
        return;
    }
    char text[4 * SHOWN_BYTES_MAX];
    struct dmarc_fault *fault = &record->fault[record->fault_count - 1];
    shown = str_escape(str_sub(shown, 0, SHOWN_BYTES_MAX), text, sizeof text);
    fault->at = (size_t)(where.ptr - record->text.ptr);
    fault->is_error = is_error;
    if (shown.len > 0) {
        fmt(fault->text, sizeof fault->text, "%s: \"%.*s\"", what, STR_ARG(shown));
    } else {
        fmt(fault->text, sizeof fault->text, "%s", what);
    }
}

static void tell_error(struct reader *reader, struct str where, const char *what)
{
    tell(reader->record, where, /*is_error*/ true, what, where);
}

static void tell_note(struct reader *reader, struct str where, const char *what)
{
    tell(reader->record, where, /*is_error*/ false, what, (struct str){ 0 });
}

/* ---- values ---- */

static bool take_policy(
        struct reader *reader, struct str value, bool *ret_is_there, enum dmarc_policy *ret_policy)
{
    for (int policy = DMARC_POLICY_NONE; policy <= DMARC_POLICY_REJECT; policy++) {
        if (str_eq_nocase(value, str_from_c(dmarc_policy_name((enum dmarc_policy)policy)))) {
            *ret_policy = (enum dmarc_policy)policy;
            *ret_is_there = true;
            return true;
        }
    }
    tell_error(reader, value, "a policy is none, quarantine or reject");
    reader->is_policy_bad = true;
    return false;
}

static void take_p(struct reader *reader, struct str value)
{
    struct dmarc_record *record = reader->record;
    if (take_policy(reader, value, &record->has_p, &record->p) && record->p == DMARC_POLICY_NONE) {
        tell_note(reader, value, "p=none asks receivers to do nothing about forged mail");
    }
}

static void take_sp(struct reader *reader, struct str value)
{
    (void)take_policy(reader, value, &reader->record->has_sp, &reader->record->sp);
}

static void take_np(struct reader *reader, struct str value)
{
    (void)take_policy(reader, value, &reader->record->has_np, &reader->record->np);
}

static void take_mode(struct reader *reader, struct str value, bool *ret_is_strict)
{
    *ret_is_strict = str_eq_nocase(value, STR("s"));
    if (!*ret_is_strict && !str_eq_nocase(value, STR("r"))) {
        tell_error(reader, value, "alignment is r (relaxed) or s (strict), read as r");
    }
}

static void take_adkim(struct reader *reader, struct str value)
{
    take_mode(reader, value, &reader->record->is_dkim_strict);
}

static void take_aspf(struct reader *reader, struct str value)
{
    take_mode(reader, value, &reader->record->is_spf_strict);
}

static void take_t(struct reader *reader, struct str value)
{
    reader->record->has_t = true;
    reader->record->is_testing = str_eq_nocase(value, STR("y"));
    if (reader->record->is_testing) {
        tell_note(reader, value, "t=y asks for one level less than the policy says");
    } else if (!str_eq_nocase(value, STR("n"))) {
        tell_error(reader, value, "t= is y or n, read as n");
    }
}

static void take_psd(struct reader *reader, struct str value)
{
    if (str_eq_nocase(value, STR("y"))) {
        reader->record->psd = DMARC_PSD_YES;
    } else if (str_eq_nocase(value, STR("n"))) {
        reader->record->psd = DMARC_PSD_NO;
    } else if (!str_eq_nocase(value, STR("u"))) {
        tell_error(reader, value, "psd= is y, n or u, read as u");
    }
}

static void take_pct(struct reader *reader, struct str value)
{
    uint64_t pct;
    if (str_to_u64(value, PCT_MAX, &pct) != OK) {
        tell_error(reader, value, "pct= is a number from 0 to 100, read as 100");
        return;
    }
    reader->record->has_pct = true;
    reader->record->pct = (uint32_t)pct; /* at most 100 */
    tell_note(reader, value, "pct= is gone since RFC 9989: t=y says the same as pct=0");
}

static void take_ri(struct reader *reader, struct str value)
{
    if (str_to_u64(value, UINT32_MAX, &reader->record->ri_s) != OK) {
        tell_error(reader, value, "ri= is a number of seconds, read as 86400");
        return;
    }
    tell_note(reader, value, "ri= is gone since RFC 9989: reports come daily");
}

static void take_rf(struct reader *reader, struct str value)
{
    struct str item, rest = value;
    while (str_cut(&rest, ':', &item)) {
        if (!str_eq_nocase(str_trim(item), STR("afrf"))) {
            tell_error(reader, item, "rf= knows afrf only");
        }
    }
    tell_note(reader, value, "rf= is gone since RFC 9989");
}

/* dmarc-fo: each of 0, 1, d, s at most once, and not 0 with 1 */
static void take_fo(struct reader *reader, struct str value)
{
    static const char letters[] = "01ds";
    struct str item, rest = value;
    uint32_t seen = 0;
    while (str_cut(&rest, ':', &item)) {
        item = str_trim(item);
        const char *found =
                item.len == 1 && item.ptr[0] ? strchr(letters, ascii_lower(item.ptr[0])) : NULL;
        uint32_t bit = found ? 1u << (found - letters) : 0;
        if (!bit || (seen & bit)) {
            tell_error(reader, item.len > 0 ? item : value,
                    "fo= lists 0, 1, d and s, each at most once");
            return;
        }
        seen |= bit;
    }
    if (seen == 0 || (seen & 3u) == 3u) {
        tell_error(reader, value, "fo= lists 0 or 1, not both");
        return;
    }
    reader->record->fo = value;
}

/* ---- report addresses ---- */

static bool take_size(struct str text, uint64_t *ret_bytes)
{
    static const char units[] = "kmgt"; /* RFC 7489 6.4: powers of 2^10 */
    uint32_t shift = 0;
    const char *unit = text.len > 0 && text.ptr[text.len - 1]
                               ? strchr(units, ascii_lower(text.ptr[text.len - 1]))
                               : NULL;
    if (unit) {
        shift = 10 * (uint32_t)(unit - units + 1);
        text.len--;
    }
    if (str_to_u64(text, UINT64_MAX >> shift, ret_bytes) != OK) {
        return false;
    }
    *ret_bytes <<= shift;
    return true;
}

static bool is_uri_text(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~' || strchr("<>\"\\^`{}|", text.ptr[i])) {
            return false;
        }
    }
    return true;
}

/* scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." ), RFC 3986 3.1 */
static bool has_scheme(struct str text)
{
    size_t colon = str_index(text, ':');
    for (size_t i = 0; i < colon; i++) {
        char c = text.ptr[i];
        bool is_other = ascii_is_digit(c) || c == '+' || c == '-' || c == '.';
        if (!ascii_is_alpha(c) && (i == 0 || !is_other)) {
            return false;
        }
    }
    return colon > 0 && colon < text.len;
}

static bool take_mailto(struct str text, struct dmarc_uri *uri)
{
    char dst[DOMAIN_CAP];
    struct str ascii, address = str_from(text, sizeof "mailto:" - 1);
    address = str_sub(address, 0, str_index(address, '?'));
    size_t at = str_rindex(address, '@');
    uri->address = address;
    uri->domain = str_from(address, at + 1);
    return at > 0 && at < address.len && domain_to_ascii(uri->domain, dst, &ascii) == OK;
}

static void take_uri(struct reader *reader, struct str item, struct dmarc_uri *uris, size_t *count)
{
    struct dmarc_uri uri = { .text = item };
    size_t bang = str_rindex(item, '!');
    if (bang < item.len) {
        uri.text = str_sub(item, 0, bang);
        if (!take_size(str_from(item, bang + 1), &uri.size_bytes_max)) {
            tell_error(reader, item, "behind '!' stands a size; in a URI '!' is written %21");
            return;
        }
        tell_note(reader, item, "the size behind '!' is obsolete since RFC 9989");
    }
    if (!has_scheme(uri.text) || !is_uri_text(uri.text)) {
        tell_error(reader, item, "not a URI; a mailbox is written mailto:user@example.com");
        return;
    }
    if (!str_starts_nocase(uri.text, STR("mailto:"))) {
        tell_note(reader, item, "receivers need to know mailto: only, most ignore other URIs");
    } else if (!take_mailto(uri.text, &uri)) {
        tell_error(reader, item, "not a mailbox behind mailto:");
        return;
    }
    if (*count == DMARC_URI_COUNT_MAX) {
        tell_error(reader, item, "too many report addresses, from here on ignored");
        return;
    }
    uris[(*count)++] = uri;
}

static void take_uris(
        struct reader *reader, struct str value, struct dmarc_uri *uris, size_t *count)
{
    struct str item, rest = value;
    while (str_cut(&rest, ',', &item)) {
        take_uri(reader, str_trim(item), uris, count);
    }
    if (value.len == 0) {
        tell_error(reader, value, "no address in it");
    }
    if (*count > URI_COUNT_HONOURED) {
        tell_note(reader, value, "some receivers report to two addresses only");
    }
}

static void take_rua(struct reader *reader, struct str value)
{
    take_uris(reader, value, reader->record->rua, &reader->record->rua_count);
}

static void take_ruf(struct reader *reader, struct str value)
{
    take_uris(reader, value, reader->record->ruf, &reader->record->ruf_count);
}

/* ---- the record ---- */

static const struct rule {
    const char *name;
    void (*take)(struct reader *reader, struct str value);
} rules[] = {
    { "p", take_p },
    { "sp", take_sp },
    { "np", take_np },
    { "adkim", take_adkim },
    { "aspf", take_aspf },
    { "t", take_t },
    { "psd", take_psd },
    { "rua", take_rua },
    { "ruf", take_ruf },
    { "fo", take_fo },
    { "pct", take_pct },
    { "ri", take_ri },
    { "rf", take_rf },
};
static_assert(COUNT_OF(rules) <= 32, "struct reader has 32 bits for them");

/* "v" equals %s"DMARC1", nothing before it (RFC 9989 4.8) */
static bool take_version(struct dmarc_record *record, struct str tag)
{
    struct str whole = record->text;
    size_t equals = str_index(tag, '=');
    struct str name = str_trim(str_sub(tag, 0, equals)),
               value = str_trim(str_from(tag, equals + 1));
    const char *fault = NULL;
    if (!str_eq_nocase(name, STR("v"))) {
        fault = "not a DMARC record: v=DMARC1 comes first";
    } else if (str_eq_nocase(value, STR("spf1")) || str_starts_nocase(value, STR("spf1 "))) {
        fault = "an SPF record where a DMARC record should be";
    } else if (!str_eq(value, STR("DMARC1"))) {
        fault = str_eq_nocase(value, STR("DMARC1")) ? "DMARC1 is written in capitals"
                                                    : "another version than DMARC1";
    } else if (ascii_is_blank(whole.ptr[0])) {
        fault = "a blank before v=, so it is no DMARC record";
    }
    if (fault) {
        tell(record, whole, /*is_error*/ true, fault, tag);
    }
    return fault == NULL;
}

/* dmarc-value: printing characters but the semicolon */
static bool is_value(struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < ' ' || value.ptr[i] > '~') {
            return false;
        }
    }
    return true;
}

static void take_tag(struct reader *reader, struct str tag)
{
    size_t equals = str_index(tag, '=');
    struct str name = str_trim(str_sub(tag, 0, equals)),
               value = str_trim(str_from(tag, equals + 1));
    if (equals == tag.len || name.len == 0) {
        tell_error(reader, tag, "not a tag, which is written name=value");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        if (!str_eq_nocase(name, str_from_c(rules[i].name))) {
            continue;
        }
        if (reader->seen & (1u << i)) { /* RFC 6376 3.2, which 4.7 goes by: all is invalid */
            tell_error(reader, tag, "the tag was there before, which spoils the record");
            reader->record->is_usable = false;
            return;
        }
        reader->seen |= 1u << i;
        if (!is_value(value)) {
            tell_error(reader, tag, "a byte that is not printable ASCII");
            reader->is_policy_bad |=
                    rules[i].take == take_p || rules[i].take == take_sp || rules[i].take == take_np;
            return;
        }
        rules[i].take(reader, value);
        return;
    }
    tell(reader->record, tag, /*is_error*/ false, "an unknown tag, ignored", name);
}

/* RFC 9989 4.10.1: a bad p=, sp= or np= is p=none where there is somebody to tell, else no DMARC.
 * 4.7: an absent p= is p=none. */
static void settle_policy(struct reader *reader)
{
    struct dmarc_record *record = reader->record;
    if (reader->is_policy_bad) {
        record->is_usable &= record->rua_count > 0;
        record->has_p = record->has_sp = record->has_np = false;
        record->p = DMARC_POLICY_NONE;
        tell_note(reader, record->text,
                record->rua_count > 0 ? "with a bad policy it is read as p=none"
                                      : "with a bad policy and no rua= it does not count");
    } else if (!record->has_p) {
        tell_note(reader, record->text, "no p=: read as p=none; before RFC 9989 it was required");
    }
}

static void take_tags(struct reader *reader, struct str rest)
{
    struct str tag;
    while (str_cut(&rest, ';', &tag)) {
        if (str_trim(tag).len > 0) {
            take_tag(reader, str_trim(tag));
        } else if (rest.len > 0) {
            tell_error(reader, str_of(tag.ptr, 0), "an empty tag: two semicolons");
        }
    }
}

bool dmarc_parse(struct str text, struct dmarc_record *ret_record)
{
    struct reader reader = { .record = ret_record };
    *ret_record = (struct dmarc_record){ .text = text, .pct = PCT_MAX, .fo = STR("0") };
    ret_record->ri_s = 86400;
    if (text.len == 0 || text.len > DMARC_TXT_BYTES_MAX) {
        tell(ret_record, text, /*is_error*/ true,
                text.len == 0 ? "an empty record" : "longer than 8192 bytes, not read",
                (struct str){ 0 });
        return false;
    }
    size_t end = str_index(text, ';');
    if (!take_version(ret_record, str_sub(text, 0, end))) {
        return false;
    }
    ret_record->is_dmarc = ret_record->is_usable = true;
    take_tags(&reader, str_from(text, end + 1));
    if (!str_eq(ret_record->fo, STR("0")) && ret_record->ruf_count == 0) {
        tell_note(&reader, ret_record->fo, "fo= has no effect without ruf=");
    }
    settle_policy(&reader);
    return true;
}

const char *dmarc_policy_name(enum dmarc_policy policy)
{
    static const char *const names[] = { [DMARC_POLICY_NONE] = "none",
        [DMARC_POLICY_QUARANTINE] = "quarantine",
        [DMARC_POLICY_REJECT] = "reject" };
    ASSERT((size_t)policy < COUNT_OF(names));
    return names[policy];
}
