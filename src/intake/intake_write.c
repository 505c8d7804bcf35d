/* SPDX-License-Identifier: Apache-2.0
 *
 * intake_write.c - the header as it leaves: our Received in front, what stays byte for byte and in
 * its order, and behind it a Date and Message-ID where they were missing.
 */
#include "core/str.h"
#include "core/time.h"
#include "intake/header_priv.h"

/* Names of clients may hold anything but blanks and controls; in our field they are a host name or
 * an address literal, or stand with '?' for what does not belong (hostile-input A27). */
static void add_escaped(struct buf *dst, struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_fit = ascii_is_alpha(c) || ascii_is_digit(c) || c == '.' || c == '-' || c == '_' ||
                      c == ':' || c == '[' || c == ']';
        buf_add_char(dst, is_fit ? c : '?');
    }
}

/* RFC 5321 4.4: "from helo ([address])". */
static void add_from_clause(struct buf *dst, const struct intake_client *client)
{
    struct ip ip;
    if (client->is_client_hidden || client->helo.len == 0) {
        return;
    }
    buf_add_c(dst, "from ");
    add_escaped(dst, client->helo);
    if (ip_parse(client->client, &ip) == OK) {
        char text[IP_TEXT_CAP];
        struct str address = ip_format(ip, text);
        buf_addf(dst, " ([%s%.*s])", ip.family == IP_V6 ? "IPv6:" : "", STR_ARG(address));
    }
    buf_add_c(dst, "\r\n\t");
}

static void add_received(struct buf *dst, const struct intake *intake)
{
    const struct intake_client *client = &intake->client;
    char date[TIME_TEXT_CAP];
    time_rfc5322(intake->now, date);
    buf_add_c(dst, "Received: ");
    add_from_clause(dst, client);
    buf_addf(dst, "by %.*s (Outpost) with %.*s", STR_ARG(client->config->hostname),
            STR_ARG(client->protocol));
    if (client->tls.len > 0) {
        buf_addf(dst, "\r\n\t(using %.*s)", STR_ARG(client->tls));
    }
    buf_addf(dst, "\r\n\tid %s; %s\r\n", intake->id, date);
}

/* Authentication-Results that claim to be ours (C11, RFC 8601 5). */
static bool is_own_results(struct str value, struct str hostname)
{
    struct str id = str_trim(value);
    while (id.len > 0 && id.ptr[0] == '(') { /* comments in front, nested ones too */
        size_t at = 0, depth = 0;
        do {
            depth += id.ptr[at] == '(';
            depth -= id.ptr[at] == ')';
            at += id.ptr[at] == '\\' ? 2 : 1;
        } while (depth > 0 && at < id.len);
        id = str_trim(str_from(id, at));
    }
    bool is_quoted = id.len > 0 && id.ptr[0] == '"';
    id = is_quoted ? str_from(id, 1) : id;
    size_t len = 0;
    while (len < id.len && id.ptr[len] != ';' && id.ptr[len] != '"' && id.ptr[len] != '(' &&
            id.ptr[len] != ' ' && id.ptr[len] != '\t' && id.ptr[len] != '\r') {
        len++;
    }
    return str_eq_nocase(str_sub(id, 0, len), hostname);
}

static bool is_removed(const struct rules *rules, size_t index)
{
    enum field_kind kind = (enum field_kind)rules->kind[index];
    return kind == FIELD_REMOVED || kind == FIELD_BCC || kind == FIELD_OUTPOST ||
           (kind == FIELD_AUTH_RESULTS && is_own_results(rules->header.field[index].value,
                                                  rules->intake->client.config->hostname));
}

/* Fields lie behind one another in the input, so that what is kept is written in runs. */
static void store_kept(struct rules *rules)
{
    const struct header *header = &rules->header;
    struct str run = STR("");
    for (size_t i = 0; i < header->field_count; i++) {
        struct str raw = header->field[i].raw;
        if (is_removed(rules, i)) {
            intake_store(rules->intake, run);
            run = STR("");
        } else {
            run = run.len == 0 ? raw : str_of(run.ptr, run.len + raw.len);
        }
    }
    intake_store(rules->intake, run);
    if (header->block_bytes >= 2 && header->field_count > 0) {
        struct str last = header->field[header->field_count - 1].raw;
        if (last.ptr[last.len - 1] != '\n' && !is_removed(rules, header->field_count - 1)) {
            intake_store(rules->intake, STR("\r\n")); /* the data ended within the header */
        }
    }
}

void rules_store_header(struct rules *rules)
{
    struct intake *intake = rules->intake;
    struct buf text;
    buf_init(&text, 8192); /* names and TLS texts are bounded well below */
    add_received(&text, intake);
    intake_store(intake, buf_str(&text));
    store_kept(rules);
    size_t front_bytes = text.len;
    if (!rules->first[FIELD_DATE]) { /* C8; RFC 6409 8.2 */
        char date[TIME_TEXT_CAP];
        time_rfc5322(intake->now, date);
        buf_addf(&text, "Date: %s\r\n", date);
    }
    if (!rules->first[FIELD_MESSAGE_ID]) { /* RFC 6409 8.3 */
        buf_addf(&text, "Message-ID: %.*s\r\n", STR_ARG(intake->envelope.message_id));
    }
    buf_add_c(&text, "\r\n");
    if (buf_err(&text) != OK) {
        rules_refuse_nomem(rules);
    } else {
        intake_store(intake, str_from(buf_str(&text), front_bytes));
        intake->envelope.header_bytes = (uint32_t)intake->envelope.content_bytes; /* < 256 KiB */
    }
    buf_done(&text);
}

/* "<...>" of the field, or all of it where there are no angle brackets. */
static struct str message_id_of(struct str value)
{
    struct str id = str_from(value, str_index(value, '<'));
    size_t end = str_index(id, '>');
    id = end < id.len ? str_sub(id, 0, end + 1) : value;
    return str_sub(id, 0, INTAKE_MESSAGE_ID_BYTES_MAX);
}

bool rules_keep_facts(struct rules *rules)
{
    struct intake *intake = rules->intake;
    struct spool_envelope *envelope = &intake->envelope;
    const struct header_field *message_id = rules->first[FIELD_MESSAGE_ID];
    const struct header_field *subject = rules->first[FIELD_SUBJECT];
    envelope->message_id = message_id ? arena_str(&intake->facts, message_id_of(message_id->value))
                                      : arena_strf(&intake->facts, "<%s@%.*s>", intake->id,
                                                STR_ARG(intake->client.config->hostname));
    if (subject) {
        struct buf line;
        buf_init(&line, HEADER_BYTES_MAX);
        header_unfold(subject->value, &line);
        envelope->subject_hint = arena_str(&intake->facts,
                str_sub(str_trim(buf_str(&line)), 0, INTAKE_SUBJECT_HINT_BYTES_MAX));
        buf_done(&line);
    }
    if (!envelope->message_id.ptr || (subject && !envelope->subject_hint.ptr)) {
        rules_refuse_nomem(rules);
        return false;
    }
    return true;
}
