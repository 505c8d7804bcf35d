/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.c - the pass before libconfuse: structure, names and lines of a text.
 *
 * libconfuse forgets lines, stops at the first fault, lets a missing "}" at the end pass, expands
 * environment variables and stumbles over comments in lists. So this pass checks the grammar, keeps
 * the line of each item, and turns comments and what it refused into blanks; values are left to
 * libconfuse. After a fault in the structure nothing further is guessed: the text is given up.
 */
#include "config/token_priv.h"

#include "core/str.h"

struct scope {
    enum section section;
    struct str title;
    uint32_t line;
    uint32_t name; /* its entry, UINT32_MAX at the top */
    uint32_t child_count[SECTION_COUNT];
};

void items_done(struct items *items)
{
    mem_free(items->item);
    *items = (struct items){ 0 };
}

static struct item *items_add(struct scan *scan)
{
    struct items *items = scan->items;
    if (items->count == items->cap) {
        uint32_t cap = items->cap ? items->cap * 2 : 64;
        struct item *grown = mem_grow(items->item, cap * sizeof *grown);
        if (!grown) {
            scan->load->is_nomem = true;
            scan->is_broken = true;
            return NULL;
        }
        items->item = grown;
        items->cap = cap;
    }
    struct item *item = &items->item[items->count++];
    *item = (struct item){ 0 };
    return item;
}

/* ---- skipping what was refused ---- */

/* From after "{" to its "}". */
static void skip_block(struct scan *scan, uint32_t line)
{
    uint32_t depth = 1;
    while (depth > 0 && !scan->is_broken) {
        struct token token = token_next(scan);
        if (token.kind == TOKEN_END) {
            break_at(scan, line, "missing } for what was opened in line %u", line);
        }
        depth += is_mark(token, '{');
        depth -= is_mark(token, '}');
    }
}

/* What follows an unknown name: = VALUE, TITLE { ... }, { ... } or ( ... ). */
static void skip_unknown(struct scan *scan, uint32_t line)
{
    struct token token = token_look_ahead(scan);
    if (is_mark(token, '=')) {
        token_next(scan);
        token = token_look_ahead(scan);
        if (is_text(token) && token.line == line) {
            token_next(scan);
            return;
        }
    } else if (is_text(token) && token.line == line) {
        token_next(scan);
        token = token_look_ahead(scan);
    }
    if (is_mark(token, '{')) {
        token_next(scan);
        skip_block(scan, token.line);
    }
    while (is_mark(token, '(') && !scan->is_broken) {
        struct token inner = token_next(scan);
        if (is_mark(inner, ')') || inner.kind == TOKEN_END) {
            return;
        }
    }
}

/* ---- grammar ---- */

static void scan_list(struct scan *scan, const char *name, uint32_t line)
{
    uint32_t count = 0;
    struct token token = token_next(scan);
    while (is_text(token)) {
        if (++count > CONFIG_LIST_COUNT_MAX) {
            break_at(scan, token.line, "%s: a list of more than %d", name,
                    (int)CONFIG_LIST_COUNT_MAX);
            return;
        }
        token = token_next(scan);
        if (is_text(token)) {
            struct shown_token shown;
            break_at(scan, token.line, "missing , before %s in the list of %s",
                    token_show(scan, token, &shown), name);
            return;
        }
        if (!is_mark(token, ',')) {
            break;
        }
        token = token_next(scan);
    }
    if (token.kind == TOKEN_END || is_mark(token, '=')) {
        break_at(scan, line, "missing } for the list of %s opened in line %u", name, line);
    } else if (!is_mark(token, '}')) {
        token_break_unexpected(scan, token, "in a list");
    }
}

static void scan_setting(struct scan *scan, struct token name, uint32_t setting)
{
    const struct setting_row *row = &setting_table[setting];
    struct token token = token_next(scan);
    if (!is_mark(token, '=')) {
        if (!scan->is_broken) {
            break_at(scan, name.line, "missing = after %s", row->name);
        }
        return;
    }
    token = token_next(scan);
    if (scan->is_broken) {
        return;
    }
    bool is_list = is_mark(token, '{');
    if (token.line != name.line || (!is_text(token) && !is_list)) {
        break_at(scan, name.line, "missing value of %s: it begins in the same line", row->name);
        return;
    }
    if (is_list && !setting_is_list(row->type)) {
        fault_at(scan, name.line, "%s takes one value, not a list", row->name);
        skip_block(scan, token.line);
        token_blank(scan, name.start, scan->at);
        return;
    }
    if (is_list) {
        scan_list(scan, row->name, token.line);
    }
    struct item *item = scan->is_broken ? NULL : items_add(scan);
    if (item) {
        item->kind = ITEM_SETTING;
        item->section = row->section;
        item->setting = setting;
        item->line = name.line;
    }
}

/* include("PATH"), at the top only; libconfuse never sees it. */
static void scan_include(struct scan *scan, struct token name)
{
    struct token open = token_next(scan), path = token_next(scan), close = token_next(scan);
    if (scan->is_broken) {
        return;
    }
    if (!is_mark(open, '(') || path.kind != TOKEN_STRING || !is_mark(close, ')')) {
        break_at(scan, name.line, "write include(\"FILE\")");
        return;
    }
    struct str text = token_text(scan, path);
    bool has_escape = str_index(text, '\\') < text.len;
    struct item *item = has_escape ? NULL : items_add(scan);
    if (has_escape) {
        fault_at(scan, name.line, "include: no escapes in the name of a file");
    } else if (item) {
        item->kind = ITEM_INCLUDE;
        item->line = name.line;
        item->title = arena_str(&scan->load->scratch, text);
    }
    token_blank(scan, name.start, scan->at);
}

static void scan_items(struct scan *scan, struct scope *scope);

/* Title and opening brace. False: broken. */
static bool scan_section_head(struct scan *scan, struct token name, const struct section_row *row,
        struct token *ret_title)
{
    struct token title = token_next(scan);
    if (scan->is_broken) {
        return false;
    }
    if (!is_text(title)) {
        break_at(scan, name.line,
                is_mark(title, '{') ? "%s needs a title: write %s \"NAME\" { ... }"
                                    : "%s is a section: write %s \"NAME\" { ... }",
                row->name, row->name);
        return false;
    }
    struct token open = token_next(scan);
    if (!scan->is_broken && !is_mark(open, '{')) {
        struct shown_token shown;
        break_at(scan, name.line, "missing { after %s %s", row->name,
                token_show(scan, title, &shown));
    }
    *ret_title = title;
    return !scan->is_broken;
}

/* Enters the title. False: refused, a fault says why. */
static bool enter_title(struct scan *scan, const struct scope *around, enum section section,
        struct token name, struct token title, struct name_entry *entry, uint32_t *ret_index)
{
    struct load *load = scan->load;
    const struct section_row *row = &section_table[section];
    struct why why;
    struct str text = token_text(scan, title);
    *entry = (struct name_entry){ .section = section,
        .parent = around->name,
        .object = UINT32_MAX,
        .at = at_line(scan, name.line) };
    if (title.kind == TOKEN_STRING && str_index(text, '\\') < text.len) {
        fault_at(scan, name.line, "%s: no escapes in a title", row->name);
        return false;
    }
    enum err err = title_parse(load->arena, row->title, text, &entry->title, &why);
    if (err == E_NOMEM) {
        load->is_nomem = true;
        scan->is_broken = true;
        return false;
    }
    if (err != OK) {
        fault_at(scan, name.line, "%s: %s", row->name, why.text);
        return false;
    }
    if (load->section_count++ >= CONFIG_SECTION_COUNT_MAX) {
        break_at(scan, name.line, "more than %d sections", (int)CONFIG_SECTION_COUNT_MAX);
        return false;
    }
    if (load_name_add(load, entry, ret_index)) {
        return true;
    }
    if (load->is_nomem) {
        scan->is_broken = true;
        return false;
    }
    const struct name_entry *first = &load->name[*ret_index];
    fault_at(scan, name.line, "%s \"%.*s\" is given twice: first in %.*s, line %u", row->name,
            STR_ARG(entry->title), STR_ARG(first->at.path), first->at.line);
    return false;
}

static void scan_section(
        struct scan *scan, struct scope *around, struct token name, enum section section)
{
    const struct section_row *row = &section_table[section];
    struct token title;
    struct name_entry entry;
    struct scope scope = { .section = section, .line = name.line };
    if (!scan_section_head(scan, name, row, &title)) {
        return;
    }
    if (!enter_title(scan, around, section, name, title, &entry, &scope.name)) {
        if (!scan->is_broken) {
            skip_block(scan, name.line);
            token_blank(scan, name.start, scan->at);
        }
        return;
    }
    scope.title = entry.title;
    struct item *item = items_add(scan);
    if (!item) {
        return;
    }
    *item = (struct item){ .kind = ITEM_SECTION,
        .section = section,
        .ordinal = around->child_count[section]++,
        .setting = scope.name,
        .title = entry.title,
        .line = name.line };
    scan_items(scan, &scope);
}

/* In which section does a setting of this name exist? */
static const char *home_of(struct str name)
{
    for (uint32_t i = 0; i < setting_count; i++) {
        if (str_eq(str_from_c(setting_table[i].name), name)) {
            return section_table[setting_table[i].section].name;
        }
    }
    return NULL;
}

static void fault_unknown(struct scan *scan, const struct scope *scope, struct token name)
{
    struct shown_token shown;
    struct str text = token_text(scan, name);
    const char *what = token_show(scan, name, &shown);
    struct str near = setting_suggest(scope->section, text);
    const char *home = home_of(text);
    if (home && home[0] == '\0') {
        fault_at(scan, name.line, "%s cannot stand inside %s \"%.*s\": it belongs at the top", what,
                section_table[scope->section].name, STR_ARG(scope->title));
    } else if (home && (near.len == 0 || scope->section == SECTION_TOP)) {
        fault_at(scan, name.line, "%s belongs inside a section: write %s \"NAME\" { %s = ... }",
                what, home, what);
    } else if (near.len > 0) {
        fault_at(scan, name.line, "unknown setting \"%s\": did you mean \"%.*s\"?", what,
                STR_ARG(near));
    } else {
        fault_at(scan, name.line,
                "unknown setting \"%s\": \"outpost config show --explain\" lists all", what);
    }
}

static void scan_item(struct scan *scan, struct scope *scope, struct token name)
{
    struct str text = token_text(scan, name);
    if (scope->section == SECTION_TOP && str_eq(text, STR("include"))) {
        scan_include(scan, name);
        return;
    }
    enum section child = section_find(scope->section, text);
    if (child != SECTION_TOP) {
        scan_section(scan, scope, name, child);
        return;
    }
    uint32_t setting = setting_find(scope->section, text);
    if (setting < setting_count) {
        scan_setting(scan, name, setting);
        return;
    }
    if (scope->section != SECTION_TOP && section_find(SECTION_TOP, text) != SECTION_TOP) {
        break_at(scan, name.line,
                "missing } for %s \"%.*s\" opened in line %u: %.*s cannot stand "
                "inside it",
                section_table[scope->section].name, STR_ARG(scope->title), scope->line,
                STR_ARG(text));
        return;
    }
    struct token next = token_look_ahead(scan);
    if (next.kind == TOKEN_MARK ? strchr("={(", next.mark) != NULL : next.kind == TOKEN_STRING) {
        fault_unknown(scan, scope, name);
        skip_unknown(scan, name.line);
    } else if (!scan->is_broken) {
        struct shown_token shown;
        fault_at(scan, name.line, "unexpected %s: a value with blanks in it needs quotes",
                token_show(scan, name, &shown));
    }
    token_blank(scan, name.start, scan->at);
}

static void scan_end(struct scan *scan, const struct scope *scope, struct token token)
{
    bool is_top = scope->section == SECTION_TOP;
    if (token.kind == TOKEN_END) {
        if (!is_top) {
            break_at(scan, scope->line, "missing } for %s \"%.*s\" opened in line %u",
                    section_table[scope->section].name, STR_ARG(scope->title), scope->line);
        }
        return;
    }
    if (is_top) {
        break_at(scan, token.line, "unexpected }: nothing is open here");
        return;
    }
    struct item *item = items_add(scan);
    if (item) {
        item->kind = ITEM_SECTION_END;
        item->section = scope->section;
        item->line = token.line;
    }
}

static void scan_items(struct scan *scan, struct scope *scope)
{
    while (!scan->is_broken) {
        struct token token = token_next(scan);
        if (scan->is_broken) {
            return;
        }
        if (token.kind == TOKEN_END || is_mark(token, '}')) {
            scan_end(scan, scope, token);
            return;
        }
        if (token.kind != TOKEN_WORD) {
            token_break_unexpected(scan, token, "where a setting should begin");
            return;
        }
        scan_item(scan, scope, token);
    }
}

/* Bytes that no text may hold. A CR before LF and a byte order mark become blanks. */
static bool clean_bytes(struct scan *scan)
{
    struct source_text *text = scan->text;
    uint32_t line = 1;
    if (str_starts(str_of(text->ptr, text->len), STR("\xef\xbb\xbf"))) {
        token_blank(scan, 0, 3);
    }
    for (size_t i = 0; i < text->len; i++) {
        uint8_t c = (uint8_t)text->ptr[i];
        line += c == '\n';
        if (c == '\r' && i + 1 < text->len && text->ptr[i + 1] == '\n') {
            text->ptr[i] = ' ';
        } else if ((c < ' ' && c != '\t' && c != '\n') || c == 127) {
            break_at(scan, line, "byte 0x%02x: this is not a text file", c);
            return false;
        }
    }
    return true;
}

bool scan_text(struct load *load, struct source_text *text, struct items *ret_items)
{
    struct scan scan = { .load = load, .text = text, .items = ret_items, .line = 1 };
    struct scope top = { .section = SECTION_TOP, .name = UINT32_MAX };
    *ret_items = (struct items){ 0 };
    if (clean_bytes(&scan)) {
        scan_items(&scan, &top);
    }
    return !scan.is_broken;
}
