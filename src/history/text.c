/* SPDX-License-Identifier: Apache-2.0
 *
 * text.c - a story for people: what happened when, and in words why.
 *
 * Made from the JSON that the node answers, so the command line needs nothing else. Text of peers
 * may hold escape sequences: it never reaches a terminal unescaped.
 */
#include "history/history.h"

#include "core/str.h"
#include "core/time.h"

#include <jansson.h>

enum { EVENT_WIDTH = 13, DETAIL_COLUMN = 29 };

struct text {
    struct buf *out;
    bool is_coloured;
    int64_t start_ms; /* accepted */
};

static struct str member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_string(value) ? str_of(json_string_value(value), json_string_length(value))
                                 : (struct str){ 0 };
}

static int64_t number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* UTF-8 stays (JSON has nothing else); C0 and C1 controls do not. */
static void add(struct text *text, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.ptr[i], next = i + 1 < s.len ? (uint8_t)s.ptr[i + 1] : 0;
        if (c < 0x20 || c == 0x7f) {
            buf_addf(text->out, "\\x%02x", (unsigned)c);
        } else if (c == 0xc2 && next < 0xa0) { /* U+0080 to U+009F */
            buf_addf(text->out, "\\x%02x", (unsigned)next);
            i++;
        } else {
            buf_add_char(text->out, (char)c);
        }
    }
}

static void colour(struct text *text, const char *code)
{
    if (text->is_coloured) {
        buf_addf(text->out, "\033[%sm", code);
    }
}

static const char *colour_of(struct str word)
{
    static const struct {
        struct str word;
        const char *code;
    } table[] = { { STR_INIT("delivered"), "32" }, { STR_INIT("bounced"), "31" },
        { STR_INIT("expired"), "31" }, { STR_INIT("deferred"), "33" },
        { STR_INIT("in_doubt"), "35" }, { STR_INIT("held"), "33" },
        { STR_INIT("cancelled"), "31" } };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        if (str_eq(word, table[i].word)) {
            return table[i].code;
        }
    }
    return "0";
}

static void add_word(struct text *text, struct str word)
{
    char shown[64];
    struct str escaped = str_escape(word, shown, sizeof shown);
    for (size_t i = 0; i < escaped.len; i++) {
        shown[i] = shown[i] == '_' ? ' ' : shown[i];
    }
    colour(text, colour_of(word));
    buf_add(text->out, escaped);
    colour(text, "0");
}

/* ---- events --------------------------------------------------------------------------------- */

/* "+0.012 s", "+4:05 min", "+3:20:00 h", "+2 d 03:20" right-aligned */
static void add_offset(struct text *text, const json_t *event)
{
    struct wall at;
    char shown[32] = "";
    if (time_parse_rfc3339(member(event, "at"), &at) == OK) {
        long long ms = (long long)(at.ms - text->start_ms), s = ms / 1000;
        const char *sign = ms < 0 ? "-" : "+";
        ms = ms < 0 ? -ms : ms;
        s = s < 0 ? -s : s;
        if (s < 60) {
            fmt(shown, sizeof shown, "%s%lld.%03lld s", sign, s, ms % 1000);
        } else if (s < 3600) {
            fmt(shown, sizeof shown, "%s%lld:%02lld min", sign, s / 60, s % 60);
        } else if (s < 86400) {
            fmt(shown, sizeof shown, "%s%lld:%02lld:%02lld h", sign, s / 3600, s / 60 % 60, s % 60);
        } else {
            fmt(shown, sizeof shown, "%s%lld d %02lld:%02lld", sign, s / 86400, s / 3600 % 24,
                    s / 60 % 60);
        }
    }
    buf_addf(text->out, "  %12s  ", shown);
}

static void add_reply(struct text *text, const json_t *event)
{
    int64_t code = number(event, "code");
    struct str enhanced = member(event, "enhanced");
    if (code > 0) {
        buf_addf(text->out, "%lld ", (long long)code);
    }
    if (enhanced.len > 0) {
        add(text, enhanced);
        buf_add_char(text->out, ' ');
    }
    add(text, member(event, "text"));
}

static void new_line(struct text *text)
{
    buf_addf(text->out, "\n%*s", (int)DETAIL_COLUMN, "");
}

static void add_where(struct text *text, const json_t *event)
{
    struct str host = member(event, "remote_host"), ip = member(event, "remote_ip");
    struct str source = member(event, "source"), tls = member(event, "tls");
    if (host.len == 0 && ip.len == 0) {
        return;
    }
    new_line(text);
    buf_add(text->out, STR("by "));
    add(text, host.len ? host : ip);
    if (host.len > 0 && ip.len > 0) {
        buf_add(text->out, STR(" ["));
        add(text, ip);
        buf_add_char(text->out, ']');
    }
    if (source.len > 0) {
        buf_add(text->out, STR(" from source "));
        add(text, source);
    }
    buf_add(text->out, tls.len ? STR(", ") : STR(", no TLS"));
    add(text, tls);
    new_line(text);
    buf_addf(text->out, "waited %.3f s, connected in %.3f s, the receiver took %.3f s",
            (double)number(event, "queued_ms") / 1000, (double)number(event, "connect_ms") / 1000,
            (double)number(event, "transfer_ms") / 1000);
}

static void add_field(struct text *text, const json_t *event, const char *name, const char *words)
{
    struct str value = member(event, name);
    if (value.len > 0) {
        new_line(text);
        buf_add_c(text->out, words);
        add(text, value);
    }
}

static void add_dialogue(struct text *text, struct str dialogue)
{
    struct str line;
    while (str_cut(&dialogue, '\n', &line)) {
        new_line(text);
        buf_add(text->out, STR("  | "));
        add(text, str_trim(line));
    }
}

static void add_detail(struct text *text, const json_t *event, struct str name)
{
    struct str author = member(event, "author"), reason = member(event, "reason");
    if (str_eq(name, STR("attempted"))) {
        buf_addf(text->out, "attempt %lld", (long long)number(event, "attempt"));
    } else if (str_eq(name, STR("elided"))) {
        buf_addf(text->out, "%lld more attempts like these", (long long)number(event, "count"));
    } else if (str_eq(name, STR("notified"))) {
        buf_add(text->out, STR("the sender was told, by message "));
        add(text, member(event, "dsn"));
    } else if (author.len > 0) {
        buf_add(text->out, STR("by "));
        add(text, author);
        buf_add(text->out, reason.len ? STR(": ") : STR(""));
        add(text, reason);
    } else {
        add_reply(text, event);
    }
}

static void add_event(struct text *text, const json_t *event)
{
    struct str name = member(event, "event");
    add_offset(text, event);
    add_word(text, name);
    size_t word_end = text->out->len;
    buf_addf(text->out, "%*s", name.len < EVENT_WIDTH ? (int)(EVENT_WIDTH - name.len) : 1, "");
    size_t start = text->out->len;
    add_detail(text, event, name);
    if (text->out->len == start && buf_err(text->out) == OK) {
        buf_cut(text->out, word_end); /* no blanks at the end of a line */
    }
    add_where(text, event);
    add_field(text, event, "due", "next try ");
    add_field(text, event, "cause", "");
    add_dialogue(text, member(event, "dialogue"));
    buf_add_char(text->out, '\n');
}

/* ---- the message ---------------------------------------------------------------------------- */

static void add_line(struct text *text, const char *label, struct str value)
{
    if (value.len > 0) {
        buf_addf(text->out, "  %-12s", label);
        add(text, value);
        buf_add_char(text->out, '\n');
    }
}

static void add_client(struct text *text, const json_t *story)
{
    struct str helo = member(story, "helo"), credential = member(story, "credential");
    buf_addf(text->out, "  %-12s", "client");
    add(text, member(story, "client"));
    if (helo.len > 0) {
        buf_add(text->out, STR(" (helo "));
        add(text, helo);
        buf_add_char(text->out, ')');
    }
    if (credential.len > 0) {
        buf_add(text->out, STR(" as "));
        add(text, credential);
    }
    buf_add_char(text->out, '\n');
}

static void add_head(struct text *text, json_t *story)
{
    const char *key;
    const json_t *value;
    struct wall at = { 0 };
    struct str sender = member(story, "sender");
    if (time_parse_rfc3339(member(story, "accepted"), &at) != OK) {
        at.ms = 0;
    }
    text->start_ms = at.ms;
    buf_add(text->out, STR("message "));
    colour(text, "1");
    add(text, member(story, "id"));
    colour(text, "0");
    buf_add(text->out, STR(", accepted "));
    add(text, member(story, "accepted"));
    buf_addf(text->out, ", %lld bytes\n", (long long)number(story, "bytes"));
    add_line(text, "from", sender.len ? sender : STR("<> (a report)"));
    add_line(text, "stream", member(story, "stream"));
    add_line(text, "tag", member(story, "tag"));
    json_object_foreach(json_object_get(story, "meta"), key, value)
    {
        char label[80];
        struct str shown = str_escape(str_from_c(key), label, sizeof label);
        buf_addf(text->out, "  %-12s%.*s = ", "meta", STR_ARG(shown));
        add(text, str_of(json_string_value(value), json_string_length(value)));
        buf_add_char(text->out, '\n');
    }
    add_line(text, "message-id", member(story, "message_id"));
    add_client(text, story);
}

static void add_rcpt(struct text *text, const json_t *rcpt)
{
    size_t i;
    const json_t *event;
    buf_add(text->out, STR("\n  to "));
    colour(text, "1");
    add(text, member(rcpt, "address"));
    colour(text, "0");
    buf_add(text->out, STR(": "));
    add_word(text, member(rcpt, "state"));
    if (json_is_true(json_object_get(rcpt, "possible_duplicate"))) {
        colour(text, "35");
        buf_add(text->out, STR(" (possible duplicate: an attempt ended without an answer after the "
                               "final dot)"));
        colour(text, "0");
    }
    buf_add_char(text->out, '\n');
    json_array_foreach(json_object_get(rcpt, "events"), i, event)
    {
        add_event(text, event);
    }
}

static void add_story(struct text *text, json_t *story)
{
    size_t i;
    const json_t *rcpt, *rcpts = json_object_get(story, "recipients");
    add_head(text, story);
    json_array_foreach(rcpts, i, rcpt)
    {
        add_rcpt(text, rcpt);
    }
    int64_t more = number(story, "recipient_count") - (int64_t)json_array_size(rcpts);
    if (more > 0) {
        buf_addf(text->out, "\n  and %lld more recipients: ask by id to see them\n",
                (long long)more);
    }
}

enum err history_story_text(struct str json, bool is_coloured, struct buf *ret_text)
{
    struct text text = { .out = ret_text, .is_coloured = is_coloured };
    json_t *stories = json_loadb(json.ptr, json.len, 0, NULL), *story;
    size_t i;
    if (stories == NULL) {
        return E_SYNTAX;
    }
    if (json_is_array(stories)) {
        json_array_foreach(stories, i, story)
        {
            if (i > 0) {
                buf_add_char(ret_text, '\n');
            }
            add_story(&text, story);
        }
    } else {
        add_story(&text, stories);
    }
    json_decref(stories);
    return buf_err(ret_text);
}
