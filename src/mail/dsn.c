/* SPDX-License-Identifier: Apache-2.0
 *
 * dsn.c - the three parts of a report: words for people, fields for programs, the original.
 *
 * Text that others wrote passes put_safe or put_wrapped, nothing else: no control byte, no line
 * break and no byte above 127 of theirs comes through.
 */
#include "mail/dsn.h"

#include "core/str.h"
#include "core/time.h"
#include "mail/address.h"
#include "mail/enhanced.h"
#include "mail/header.h"

enum {
    WRAP_COLUMNS = 76,
    WORD_BYTES_MAX = 900, /* broken there even without a blank: RFC 5322 2.1.1 */
    LINE_BYTES_MAX = 998,
    QP_COLUMNS = 76, /* RFC 2045 6.7 */
    BOUNDARY_BYTES_MIN = 16,
    BOUNDARY_BYTES_MAX = 60,
};

static const char hex_digits[] = "0123456789ABCDEF";

static bool is_printable(char c)
{
    return c >= ' ' && c <= '~';
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_printable(s.ptr[i]) || s.ptr[i] == ' ' || s.ptr[i] == '<' || s.ptr[i] == '>') {
            return false;
        }
    }
    return s.len > 0 && s.len <= ADDRESS_DOMAIN_BYTES_MAX;
}

static bool is_boundary(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_alpha(s.ptr[i]) && !ascii_is_digit(s.ptr[i])) {
            return false;
        }
    }
    return s.len >= BOUNDARY_BYTES_MIN && s.len <= BOUNDARY_BYTES_MAX;
}

/* The next byte of text as printable ASCII in dst; line breaks become blanks. */
static size_t escape_byte(char c, char dst[4])
{
    if (c == '\r' || c == '\n' || c == '\t') {
        dst[0] = ' ';
        return 1;
    }
    if (is_printable(c)) {
        dst[0] = c;
        return 1;
    }
    memcpy(dst, "\\x", 2);
    dst[2] = hex_digits[(uint8_t)c >> 4];
    dst[3] = hex_digits[(uint8_t)c & 15];
    return 4;
}

/* text on one line: cut where escapes make it longer than a line may be. */
static void put_safe(struct buf *out, struct str text)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len && len < WORD_BYTES_MAX; i++) {
        char escaped[4];
        size_t escaped_len = escape_byte(text.ptr[i], escaped);
        buf_add(out, str_of(escaped, escaped_len));
        len += escaped_len;
    }
}

/* Words of text, escaped, with a line break and indent before one that would not fit; column is
 * where the text begins. */
static void put_wrapped(struct buf *out, struct str text, const char *indent, size_t column)
{
    bool is_first = true;
    while (text.len > 0) {
        char word[WORD_BYTES_MAX + 4];
        size_t len = 0, at = 0;
        for (; at < text.len && len < WORD_BYTES_MAX; at++) {
            size_t more = escape_byte(text.ptr[at], word + len);
            if (word[len] == ' ') {
                break;
            }
            len += more;
        }
        if (len > 0) {
            if (!is_first && column + 1 + len > WRAP_COLUMNS) {
                buf_addf(out, "\r\n%s", indent);
                column = strlen(indent);
            } else if (!is_first) {
                buf_add_char(out, ' ');
                column++;
            }
            buf_add(out, str_of(word, len));
            column += len;
            is_first = false;
        }
        bool is_at_blank = at < text.len && len < WORD_BYTES_MAX;
        text = str_from(text, at + is_at_blank);
    }
    buf_add(out, STR("\r\n"));
}

static void put_date(struct buf *out, const char *name, struct wall when)
{
    char text[TIME_TEXT_CAP];
    if (when.ms != 0) {
        buf_addf(out, "%s: %.*s\r\n", name, (int)time_rfc5322(when, text), text);
    }
}

/* --- what happened, for people --------------------------------------------------------------- */

static bool has_action(const struct dsn *dsn, enum dsn_action action)
{
    for (size_t i = 0; i < dsn->recipient_count; i++) {
        if (dsn->recipient[i].action == action) {
            return true;
        }
    }
    return false;
}

static const char *subject_of(const struct dsn *dsn)
{
    if (has_action(dsn, DSN_FAILED)) {
        return "Your message could not be delivered";
    }
    return has_action(dsn, DSN_DELAYED) ? "Your message is delayed, we keep trying"
                                        : "Your message was delivered";
}

static struct enhanced status_of(const struct dsn_recipient *recipient)
{
    struct enhanced code;
    uint8_t class = recipient->action == DSN_FAILED ? 5 : recipient->action == DSN_DELAYED ? 4 : 2;
    if (!enhanced_parse(recipient->status, &code, NULL)) {
        code = (struct enhanced){ class, 0, 0 };
    }
    return code;
}

static const char *happened(const struct dsn_recipient *recipient)
{
    switch (recipient->action) {
    case DSN_FAILED:
        return "could not be delivered, and will not be tried again.";
    case DSN_DELAYED:
        return "not delivered yet; we keep trying, you need not send it again.";
    case DSN_RELAYED:
        return "passed on to a system that sends no further reports.";
    case DSN_EXPANDED:
        return "passed on to the members of a list.";
    case DSN_DELIVERED:
        break;
    }
    return "delivered.";
}

/* What the reader can do, by RFC 3463 subject and detail. */
static const char *advice(struct enhanced code)
{
    if (code.subject == 1 && (code.detail == 7 || code.detail == 8)) {
        return "The receiver does not accept your own address. Ask your mail administrator.";
    }
    if (code.subject == 1 || (code.subject == 4 && code.detail == 4)) {
        return "Check the address for typing errors, or ask the recipient for the right one.";
    }
    if (code.subject == 2 && code.detail == 2) {
        return "The mailbox is full. Reach the recipient in another way, or send again later.";
    }
    if ((code.subject == 3 && code.detail == 4) || (code.subject == 2 && code.detail == 3)) {
        return "The message is too big for the receiver. Send a smaller one, or a link.";
    }
    if (code.subject == 4) {
        return "The receiving system could not be reached in time. Send again later, or tell the "
               "recipient in another way that mail does not get through.";
    }
    if (code.subject == 7) {
        return "The receiver refuses this message by its rules. Show this report to your mail "
               "administrator; sending it again unchanged will not help.";
    }
    return "The words of the receiver above say more. If they do not help you, show this report to "
           "your mail administrator.";
}

static void put_story(struct buf *out, const struct dsn_recipient *recipient)
{
    char date[TIME_TEXT_CAP], status[ENHANCED_TEXT_CAP];
    struct enhanced code = status_of(recipient);
    enhanced_format(code, status);
    buf_add(out, STR("<"));
    put_safe(out, recipient->address);
    buf_addf(out, ">:\r\n    %s (%s)\r\n", happened(recipient), status);
    if (recipient->diagnostic.len > 0) {
        buf_add(out, STR("    "));
        put_wrapped(out,
                recipient->remote_mta.len > 0 ? recipient->remote_mta : STR("The other system"),
                "    ", 4);
        buf_cut(out, out->len - (buf_err(out) == OK ? 2 : 0));
        buf_add(out, STR(" said:\r\n        "));
        put_wrapped(
                out, str_sub(recipient->diagnostic, 0, DSN_DIAGNOSTIC_BYTES_MAX), "        ", 8);
    }
    if (recipient->reason.len > 0) {
        buf_add(out, STR("    "));
        put_wrapped(out, recipient->reason, "    ", 4);
    }
    if (recipient->action == DSN_DELAYED && recipient->will_retry_until.ms != 0) {
        time_rfc5322(recipient->will_retry_until, date);
        buf_addf(out, "    We try until %s.\r\n", date);
    }
    if (recipient->action == DSN_FAILED) {
        buf_add(out, STR("    "));
        put_wrapped(out, str_from_c(advice(code)), "    ", 4);
    }
    buf_add(out, STR("\r\n"));
}

static void put_words(struct buf *out, const struct dsn *dsn)
{
    char date[TIME_TEXT_CAP];
    buf_addf(out, "--%.*s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
            STR_ARG(dsn->boundary));
    buf_addf(out, "This is the mail system at %.*s.\r\n\r\n%s.\r\n", STR_ARG(dsn->reporting_mta),
            subject_of(dsn));
    if (dsn->arrival.ms != 0) {
        time_rfc5322(dsn->arrival, date);
        buf_addf(out, "We took it over on %s as %.*s.\r\n", date, STR_ARG(dsn->queue_id));
    }
    buf_add(out, STR("\r\n"));
    for (size_t i = 0; i < dsn->recipient_count; i++) {
        put_story(out, &dsn->recipient[i]);
    }
}

/* --- what happened, for programs (RFC 3464 2) ------------------------------------------------- */

/* One code point of valid UTF-8 at the front; its length. */
static size_t take_code_point(struct str s, uint32_t *ret_code)
{
    uint8_t first = (uint8_t)s.ptr[0];
    size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t code = len == 1 ? first : first & (0x7fU >> len);
    for (size_t i = 1; i < len; i++) {
        code = code << 6 | ((uint8_t)s.ptr[i] & 0x3f);
    }
    *ret_code = code;
    return len;
}

/* utf-8-addr-xtext of RFC 6533 3: \x{HEX} for what is not printable ASCII. */
static void put_utf8_address(struct buf *out, struct str address)
{
    size_t start = out->len;
    while (address.len > 0 && out->len - start < WORD_BYTES_MAX && buf_err(out) == OK) {
        uint32_t code;
        size_t len = take_code_point(address, &code);
        bool is_plain = code > ' ' && code < 0x7f && code != '\\' && code != '+' && code != '=';
        if (is_plain) {
            buf_add_char(out, (char)code);
        } else {
            buf_addf(out, "\\x{%X}", (unsigned)code);
        }
        address = str_from(address, len);
    }
}

static void put_final_recipient(struct buf *out, struct str address)
{
    if (!str_is_ascii(address) && str_is_utf8(address)) {
        buf_add(out, STR("Final-Recipient: utf-8; "));
        put_utf8_address(out, address);
    } else {
        buf_add(out, STR("Final-Recipient: rfc822; "));
        put_safe(out, address);
    }
    buf_add(out, STR("\r\n"));
}

static void put_field(struct buf *out, const char *name, struct str value)
{
    if (value.len > 0) {
        buf_addf(out, "%s: ", name);
        put_wrapped(out, value, " ", strlen(name) + 2);
    }
}

static void put_recipient_fields(struct buf *out, const struct dsn_recipient *recipient)
{
    static const char *const actions[] = { [DSN_FAILED] = "failed",
        [DSN_DELAYED] = "delayed",
        [DSN_DELIVERED] = "delivered",
        [DSN_RELAYED] = "relayed",
        [DSN_EXPANDED] = "expanded" };
    char status[ENHANCED_TEXT_CAP];
    ASSERT((size_t)recipient->action < COUNT_OF(actions));
    enhanced_format(status_of(recipient), status);
    buf_add(out, STR("\r\n"));
    put_final_recipient(out, recipient->address);
    put_field(out, "Original-Recipient", recipient->original);
    buf_addf(out, "Action: %s\r\nStatus: %s\r\n", actions[recipient->action], status);
    if (recipient->remote_mta.len > 0) {
        buf_add(out, STR("Remote-MTA: dns; "));
        put_safe(out, str_sub(recipient->remote_mta, 0, ADDRESS_DOMAIN_BYTES_MAX));
        buf_add(out, STR("\r\n"));
    }
    if (recipient->diagnostic.len > 0) {
        buf_add(out, STR("Diagnostic-Code: smtp; "));
        put_wrapped(out, str_sub(recipient->diagnostic, 0, DSN_DIAGNOSTIC_BYTES_MAX), " ", 23);
    } else if (recipient->reason.len > 0) {
        buf_add(out, STR("Diagnostic-Code: X-Outpost; "));
        put_wrapped(out, recipient->reason, " ", 28);
    }
    put_date(out, "Last-Attempt-Date", recipient->last_attempt);
    if (recipient->action == DSN_DELAYED) {
        put_date(out, "Will-Retry-Until", recipient->will_retry_until);
    }
}

static void put_fields(struct buf *out, const struct dsn *dsn)
{
    buf_addf(
            out, "--%.*s\r\nContent-Type: message/delivery-status\r\n\r\n", STR_ARG(dsn->boundary));
    buf_addf(out, "Reporting-MTA: dns; %.*s\r\n", STR_ARG(dsn->reporting_mta));
    put_field(out, "Original-Envelope-Id", dsn->envelope_id);
    buf_addf(out, "X-Outpost-Queue-ID: %.*s\r\n", STR_ARG(dsn->queue_id));
    put_date(out, "Arrival-Date", dsn->arrival);
    for (size_t i = 0; i < dsn->recipient_count; i++) {
        put_recipient_fields(out, &dsn->recipient[i]);
    }
}

/* --- the original ----------------------------------------------------------------------------- */

/* 7-bit lines of at most 998 by CRLF, no NUL: may be attached as it is. Other control bytes are
 * fine in a body only (ISO-2022-JP has ESC). */
static bool is_clean(struct str text, bool is_control_ok)
{
    size_t line_len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '\r' && i + 1 < text.len && text.ptr[i + 1] == '\n') {
            line_len = 0;
            i++;
        } else if (c == '\0' || c == '\r' || c == '\n' || (uint8_t)c >= 0x80 ||
                   (!is_printable(c) && c != '\t' && !is_control_ok) ||
                   ++line_len > LINE_BYTES_MAX) {
            return false;
        }
    }
    return true;
}

/* RFC 2045 6.7, for a header that may not be attached as it is. */
static void put_quoted_printable(struct buf *out, struct str text)
{
    size_t column = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_crlf = c == '\r' && i + 1 < text.len && text.ptr[i + 1] == '\n';
        if (is_crlf) {
            buf_add(out, STR("\r\n"));
            column = 0;
            i++;
            continue;
        }
        bool is_last = i + 1 == text.len || text.ptr[i + 1] == '\r';
        bool is_plain = is_printable(c) && c != '=' && !(c == ' ' && is_last);
        if (column + 3 >= QP_COLUMNS) {
            buf_add(out, STR("=\r\n"));
            column = 0;
        }
        if (is_plain) {
            buf_add_char(out, c);
        } else {
            char code[3] = { '=', hex_digits[(uint8_t)c >> 4], hex_digits[(uint8_t)c & 15] };
            buf_add(out, str_of(code, sizeof code));
        }
        column += is_plain ? 1 : 3;
    }
}

static void put_original(struct buf *out, const struct dsn *dsn)
{
    size_t at = 0, body_at;
    struct str original = dsn->original;
    bool has_border = header_find_border(str_sub(original, 0, HEADER_BYTES_MAX), &at, &body_at);
    struct str header = str_sub(original, 0, has_border ? body_at - 2 : HEADER_BYTES_MAX);
    bool is_whole = dsn->is_full && original.len <= DSN_ORIGINAL_FULL_BYTES_MAX &&
                    is_clean(original, /*is_control_ok*/ true);
    buf_addf(out, "--%.*s\r\nContent-Type: %s\r\n", STR_ARG(dsn->boundary),
            is_whole ? "message/rfc822" : "text/rfc822-headers");
    if (is_whole || is_clean(header, /*is_control_ok*/ false)) {
        buf_add(out, STR("\r\n"));
        buf_add(out, is_whole ? original : header);
    } else {
        buf_add(out, STR("Content-Transfer-Encoding: quoted-printable\r\n\r\n"));
        put_quoted_printable(out, header);
    }
    buf_addf(out, "\r\n--%.*s--\r\n", STR_ARG(dsn->boundary));
}

static bool is_usable(const struct dsn *dsn, struct address *ret_sender)
{
    return dsn->recipient_count > 0 && is_token(dsn->reporting_mta) && is_token(dsn->queue_id) &&
           is_token(dsn->message_id) && is_boundary(dsn->boundary) &&
           address_parse(dsn->sender, ret_sender, NULL) == OK && !ret_sender->is_utf8;
}

enum err dsn_compose(const struct dsn *dsn, struct buf *ret_message)
{
    struct address sender;
    if (!is_usable(dsn, &sender)) {
        return E_USAGE;
    }
    struct buf *out = ret_message;
    buf_addf(out, "From: Mail Delivery System <MAILER-DAEMON@%.*s>\r\n",
            STR_ARG(dsn->reporting_mta));
    buf_addf(out, "To: <%.*s@%.*s>\r\nSubject: %s\r\n", STR_ARG(sender.local),
            STR_ARG(sender.domain), subject_of(dsn));
    put_date(out, "Date", dsn->now);
    buf_addf(out, "Message-ID: <%.*s>\r\n", STR_ARG(dsn->message_id));
    buf_add(out, STR("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n")); /* RFC 3834 5 */
    buf_addf(out,
            "Content-Type: multipart/report; report-type=delivery-status;\r\n"
            "\tboundary=\"%.*s\"\r\n\r\n",
            STR_ARG(dsn->boundary));
    put_words(out, dsn);
    put_fields(out, dsn);
    put_original(out, dsn);
    return buf_err(out);
}
