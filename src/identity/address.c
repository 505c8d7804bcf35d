/* SPDX-License-Identifier: Apache-2.0
 *
 * address.c - is an address worth sending to? Brings together its form, the lists, DNS and our own
 * history, each as reasons; the gravest reason is the verdict.
 */
#include "core/str.h"
#include "identity/address_priv.h"
#include "mail/domain.h"

struct identity_addresses {
    struct typo_index typo;
    struct name_set disposable, roles, dotless;
};

static const struct reason_row {
    const char *name;
    enum identity_address_verdict verdict;
    const char *words;
} rows[] = {
    [IDENTITY_ADDRESS_SYNTAX] = { "syntax", IDENTITY_ADDRESS_BAD,
            "it is no address that SMTP can carry: ask for it again" },
    [IDENTITY_ADDRESS_TOO_LONG] = { "too_long", IDENTITY_ADDRESS_BAD,
            "it is longer than 4096 bytes: an address has 254 at most" },
    [IDENTITY_ADDRESS_QUOTED] = { "quoted", IDENTITY_ADDRESS_WARN,
            "its local part is quoted: allowed, but many programs refuse it" },
    [IDENTITY_ADDRESS_LITERAL] = { "literal", IDENTITY_ADDRESS_WARN,
            "it names an IP address, no domain: for tests among machines only" },
    [IDENTITY_ADDRESS_DOTLESS] = { "dotless", IDENTITY_ADDRESS_WARN,
            "its domain has no dot: was a part left out?" },
    [IDENTITY_ADDRESS_TOP_NUMBER] = { "numeric_tld", IDENTITY_ADDRESS_WARN,
            "no top-level domain begins with a digit: an IP address must stand in [ ]" },
    [IDENTITY_ADDRESS_SMTPUTF8] = { "needs_smtputf8", IDENTITY_ADDRESS_WARN,
            "its local part needs SMTPUTF8 (RFC 6531): its server may not offer that, test it" },
    [IDENTITY_ADDRESS_TYPO] = { "typo", IDENTITY_ADDRESS_WARN,
            "the domain looks mistyped: ask the person whether the suggestion was meant" },
    [IDENTITY_ADDRESS_DISPOSABLE] = { "disposable", IDENTITY_ADDRESS_WARN,
            "a throw-away mailbox: expect it to be gone tomorrow" },
    [IDENTITY_ADDRESS_ROLE] = { "role", IDENTITY_ADDRESS_WARN,
            "it stands for a function, not a person: send it no newsletter" },
    [IDENTITY_ADDRESS_NO_DOMAIN] = { "domain_not_found", IDENTITY_ADDRESS_BAD,
            "its domain does not exist: do not send, ask for it again" },
    [IDENTITY_ADDRESS_NULL_MX] = { "null_mx", IDENTITY_ADDRESS_BAD,
            "its domain says that it takes no mail (null MX, RFC 7505): do not send" },
    [IDENTITY_ADDRESS_NO_HOST] = { "no_mail_host", IDENTITY_ADDRESS_BAD,
            "its domain has neither MX nor address record: do not send" },
    [IDENTITY_ADDRESS_MX_NOWHERE] = { "mx_no_address", IDENTITY_ADDRESS_BAD,
            "the MX hosts of its domain have no address: mail cannot be delivered" },
    [IDENTITY_ADDRESS_MX_INTERNAL] = { "mx_loopback", IDENTITY_ADDRESS_BAD,
            "the mail hosts of its domain have loopback or private addresses only: do not send" },
    [IDENTITY_ADDRESS_MX_LITERAL] = { "mx_literal", IDENTITY_ADDRESS_BAD,
            "the MX of its domain is an IP address where a host name must stand: do not send" },
    [IDENTITY_ADDRESS_DNS_FAILED] = { "temporary_dns_failure", IDENTITY_ADDRESS_UNKNOWN,
            "DNS gave no usable answer: nothing is said of its domain, check again later" },
    [IDENTITY_ADDRESS_BOUNCED] = { "bounced_before", IDENTITY_ADDRESS_WARN,
            "our last mail to it bounced: find out why before the next" },
    [IDENTITY_ADDRESS_SUPPRESSED] = { "suppressed", IDENTITY_ADDRESS_BAD,
            "our own list says not to send to it" },
    [IDENTITY_ADDRESS_DELIVERED] = { "delivered_before", IDENTITY_ADDRESS_GOOD,
            "our last mail to it was delivered" },
    [IDENTITY_ADDRESS_REFUSED] = { "mailbox_refused", IDENTITY_ADDRESS_BAD,
            "its own mail host says that it takes nothing for it: do not send" },
    [IDENTITY_ADDRESS_CATCH_ALL] = { "catch_all", IDENTITY_ADDRESS_WARN,
            "its mail host accepts any name: whether this one is read, nobody can tell" },
    [IDENTITY_ADDRESS_ACCEPTED] = { "mailbox_accepted", IDENTITY_ADDRESS_GOOD,
            "its mail host takes it, and refuses a made-up one" },
    [IDENTITY_ADDRESS_UNDECIDED] = { "probe_undecided", IDENTITY_ADDRESS_UNKNOWN,
            "its mail host would not say: check again later, or leave --probe out" },
    [IDENTITY_ADDRESS_LEFT_OUT] = { "probe_left_out", IDENTITY_ADDRESS_GOOD,
            "its mail host was not asked: it answers probes with a penalty, or enough were asked" },
};
static_assert(COUNT_OF(rows) == IDENTITY_ADDRESS_REASON_COUNT, "each reason has its row");

const char *identity_address_reason_name(enum identity_address_reason reason)
{
    return rows[reason].name;
}

const char *identity_address_reason_words(enum identity_address_reason reason)
{
    return rows[reason].words;
}

const char *identity_address_verdict_name(enum identity_address_verdict verdict)
{
    static const char *const names[] = { "good", "warn", "unknown", "bad" };
    return names[verdict];
}

enum identity_address_verdict identity_address_verdict(const struct identity_address *address)
{
    enum identity_address_verdict worst = IDENTITY_ADDRESS_GOOD;
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        if ((address->reasons >> i & 1) && rows[i].verdict > worst) {
            worst = rows[i].verdict;
        }
    }
    return worst;
}

/* ---- the lists ---- */

void identity_addresses_close(struct identity_addresses *addresses)
{
    if (addresses == NULL) {
        return;
    }
    typo_index_close(&addresses->typo);
    name_set_done(&addresses->disposable);
    name_set_done(&addresses->roles);
    name_set_done(&addresses->dotless);
    mem_free(addresses);
}

enum err identity_addresses_open(struct identity_addresses **ret_addresses)
{
    struct identity_addresses *addresses = mem_new(sizeof *addresses);
    if (addresses == NULL) {
        return E_NOMEM;
    }
    enum err err = typo_index_open(&addresses->typo);
    err = err == OK ? name_set_add_file(&addresses->disposable, "disposable") : err;
    err = err == OK ? name_set_add_file(&addresses->roles, "roles") : err;
    err = err == OK ? name_set_add_file(&addresses->dotless, "dotless") : err;
    if (err != OK) {
        identity_addresses_close(addresses);
        return err;
    }
    *ret_addresses = addresses;
    return OK;
}

/* ---- one address, without DNS ---- */

static void add(struct identity_address *address, enum identity_address_reason reason)
{
    address->reasons |= UINT32_C(1) << reason;
}

static bool has(const struct identity_address *address, enum identity_address_reason reason)
{
    return address->reasons >> reason & 1;
}

/* What stands before the last '@', and behind it, also where the syntax is bad. */
static bool split_typed(struct str text, struct str *ret_local, struct str *ret_domain)
{
    size_t at = str_rindex(text, '@');
    *ret_local = str_sub(text, 0, at);
    *ret_domain = str_from(text, at + 1);
    return at < text.len;
}

/* A suggestion that is no good address itself is none. */
static void look_for_typo(const struct identity_addresses *addresses, enum typo_trust trust,
        struct identity_address *address)
{
    char meant[DNS_NAME_CAP];
    struct str local, typed, domain;
    address->suggestion = address->suggested_domain = (struct str){ 0 };
    address->reasons &= ~(UINT32_C(1) << IDENTITY_ADDRESS_TYPO);
    if (!split_typed(address->text, &local, &typed) || local.len > ADDRESS_LOCAL_BYTES_MAX ||
            !typo_find(&addresses->typo, typed, trust, meant, &domain)) {
        return;
    }
    char *room = address->suggestion_room;
    memcpy(room, local.ptr, local.len);
    room[local.len] = '@';
    memcpy(room + local.len + 1, domain.ptr, domain.len);
    struct str whole = str_of(room, local.len + 1 + domain.len);
    if (address_forms(whole).is_smtp) {
        address->suggestion = whole;
        address->suggested_domain = str_from(whole, local.len + 1);
        add(address, IDENTITY_ADDRESS_TYPO);
    }
}

static bool is_role(const struct identity_addresses *addresses, struct str local)
{
    char lower[ADDRESS_LOCAL_BYTES_MAX];
    size_t len = 0;
    local = str_sub(local, 0, str_index(local, '+')); /* info+shop@ is info@ */
    for (; len < local.len && len < sizeof lower; len++) {
        lower[len] = ascii_lower(local.ptr[len]);
    }
    return name_set_has(&addresses->roles, str_of(lower, len));
}

static void look_at_lists(const struct identity_addresses *addresses,
        const struct address_forms *forms, struct identity_address *address)
{
    if (forms->is_dotless && !name_set_has(&addresses->dotless, address->domain)) {
        address->is_signup = false;
        add(address, IDENTITY_ADDRESS_DOTLESS);
    }
    if (name_set_has_within(&addresses->disposable, address->domain)) {
        add(address, IDENTITY_ADDRESS_DISPOSABLE);
    }
    if (is_role(addresses, forms->local)) {
        add(address, IDENTITY_ADDRESS_ROLE);
    }
}

static void take_domain(const struct address_forms *forms, struct identity_address *address)
{
    char *room = address->domain_room;
    if (forms->is_literal || domain_to_ascii(forms->domain, room, &address->domain) != OK) {
        address->domain = str_of(room, fmt(room, DNS_NAME_CAP, "%.*s", STR_ARG(forms->domain)));
    }
}

static void take_forms(const struct address_forms *forms, struct identity_address *address)
{
    address->is_smtp = forms->is_smtp;
    address->is_header = forms->is_header;
    address->is_signup = forms->is_signup;
    if (!forms->is_smtp) {
        address->fault = address_fault_words(forms->fault);
        add(address, IDENTITY_ADDRESS_SYNTAX);
        return;
    }
    address->needs_smtputf8 = forms->needs_smtputf8;
    take_domain(forms, address);
    if (forms->is_quoted) {
        add(address, IDENTITY_ADDRESS_QUOTED);
    }
    if (forms->is_literal) {
        add(address, IDENTITY_ADDRESS_LITERAL);
    }
    if (forms->needs_smtputf8) {
        add(address, IDENTITY_ADDRESS_SMTPUTF8);
    }
    if (!forms->is_signup && !forms->is_quoted && !forms->is_literal) {
        add(address, IDENTITY_ADDRESS_TOP_NUMBER);
    }
}

void identity_address_look(const struct identity_addresses *addresses, struct str text,
        struct identity_address *ret_address)
{
    /* not all of it: the rooms are a kilobyte that nobody reads unwritten */
    ret_address->text = text;
    ret_address->is_smtp = ret_address->is_header = ret_address->is_signup = false;
    ret_address->needs_smtputf8 = false;
    ret_address->reasons = 0;
    ret_address->fault = NULL;
    ret_address->domain = ret_address->suggestion = ret_address->suggested_domain =
            (struct str){ 0 };
    ret_address->note[0] = ret_address->mail_host[0] = '\0';
    if (text.len > IDENTITY_ADDRESS_BYTES_MAX) {
        add(ret_address, IDENTITY_ADDRESS_TOO_LONG);
        return;
    }
    struct address_forms forms = address_forms(text);
    take_forms(&forms, ret_address);
    look_for_typo(addresses, TYPO_UNKNOWN, ret_address);
    if (forms.is_smtp) {
        look_at_lists(addresses, &forms, ret_address);
    }
}

/* ---- DNS ---- */

bool identity_address_wants_mail(const struct identity_address *address)
{
    return address->is_smtp && !has(address, IDENTITY_ADDRESS_LITERAL);
}

static enum typo_trust trust_of(const struct identity_mail *mail)
{
    if (mail->reason == IDENTITY_ADDRESS_DNS_FAILED) {
        return TYPO_UNKNOWN;
    }
    return mail->reason == IDENTITY_ADDRESS_REASON_COUNT ? TYPO_MAILABLE : TYPO_ABSENT;
}

void identity_address_add_mail(const struct identity_addresses *addresses,
        struct identity_address *address, const struct identity_mail *mail)
{
    if (mail->reason < IDENTITY_ADDRESS_REASON_COUNT) {
        add(address, (enum identity_address_reason)mail->reason);
    } else {
        memcpy(address->mail_host, mail->host[mail->host_index], sizeof address->mail_host);
        if (has(address, IDENTITY_ADDRESS_DOTLESS)) { /* it takes mail after all */
            address->reasons &= ~(UINT32_C(1) << IDENTITY_ADDRESS_DOTLESS);
            address->is_signup = !has(address, IDENTITY_ADDRESS_QUOTED);
        }
    }
    if (!has(address, IDENTITY_ADDRESS_DELIVERED)) {
        look_for_typo(addresses, trust_of(mail), address);
    }
}

/* ---- our own history ---- */

void address_take_fate(struct identity_address *address, enum identity_address_reason fate)
{
    add(address, fate);
    if (fate == IDENTITY_ADDRESS_DELIVERED) { /* so it is no typo */
        address->reasons &= ~(UINT32_C(1) << IDENTITY_ADDRESS_TYPO);
        address->suggestion = address->suggested_domain = (struct str){ 0 };
    }
}
