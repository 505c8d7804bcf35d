/* SPDX-License-Identifier: Apache-2.0
 *
 * manual.c - the reference of the configuration file, as a manual page and as Markdown, from the
 * tables that the program itself reads.
 */
#include "config/table_priv.h"

#include "core/str.h"

static const char *type_name(enum setting_type type)
{
    switch (type) {
    case SETTING_STR:
        return "text";
    case SETTING_PATH:
        return "file name";
    case SETTING_BOOL:
    case SETTING_BOOL_NOT:
        return "yes or no";
    case SETTING_U32:
        return "number";
    case SETTING_MS:
        return "duration";
    case SETTING_BYTES:
        return "size";
    case SETTING_ENUM:
        return "word";
    case SETTING_HOST:
        return "host name";
    case SETTING_IP:
        return "IP address";
    case SETTING_IP_PORT:
        return "address and port";
    case SETTING_B64:
        return "base64";
    case SETTING_LOG:
        return "word or file name";
    case SETTING_RESOLVER:
        return "word or list of addresses";
    case SETTING_AT_LIST:
        return "list of addresses and ports";
    case SETTING_NET_LIST:
        return "list of networks";
    case SETTING_NAME_LIST:
        return "list of names";
    case SETTING_DOMAIN_LIST:
        return "list of domains";
    case SETTING_PATH_LIST:
        return "list of file names";
    case SETTING_TARGET_LIST:
        return "list of hosts";
    case SETTING_WEIGHT_LIST:
        return "list of sources";
    }
    return "";
}

/* ---- roff (man(7)) ---- */

/* Text that no roff request is made of. */
static void add_roff(struct buf *page, const char *text)
{
    bool is_line_start = true;
    for (; *text; text++) {
        if (is_line_start && (*text == '.' || *text == '\'')) {
            buf_add_c(page, "\\&");
        }
        if (*text == '\\') {
            buf_add_c(page, "\\e");
        } else if (*text == '-') {
            buf_add_c(page, "\\-");
        } else {
            buf_add_char(page, *text);
        }
        is_line_start = *text == '\n';
    }
    buf_add_char(page, '\n');
}

static void roff_setting(const struct setting_row *row, struct buf *page)
{
    struct buf range;
    buf_init(&range, 200);
    value_print_range(row, &range);
    buf_add_char(&range, '\0');
    const char *fallback = row->fallback_say ? row->fallback_say : row->fallback;
    buf_add_c(page, ".TP\n.B ");
    add_roff(page, row->name);
    add_roff(page, row->help);
    buf_addf(page, "(%s", type_name(row->type));
    if (range.len > 1) {
        buf_addf(page, ", %s", range.ptr);
    }
    buf_add_c(page, "; default: ");
    add_roff(page, fallback ? fallback : "none");
    buf_cut(page, page->len - 1);
    buf_add_c(page, ")\n");
    buf_done(&range);
}

static void roff_section(enum section section, struct buf *page)
{
    const struct section_row *row = &section_table[section];
    if (section == SECTION_TOP) {
        buf_add_c(page, ".SH SETTINGS OF THE NODE\n");
    } else {
        buf_addf(page, ".SH SECTION %s\n", row->name);
    }
    add_roff(page, row->help);
    for (uint32_t i = 0; i < setting_count; i++) {
        if (setting_table[i].section == section) {
            roff_setting(&setting_table[i], page);
        }
    }
    if (row->example) {
        buf_add_c(page, ".PP\nExample:\n.PP\n.nf\n.RS\n");
        add_roff(page, row->example);
        buf_add_c(page, ".RE\n.fi\n");
    }
}

static const char roff_head[] =
        ".TH OUTPOST.CONF 5 \"\" \"Outpost " OUTPOST_VERSION "\" \"Outpost\"\n"
        ".SH NAME\n"
        "outpost.conf \\- configuration of the mail server Outpost\n"
        ".SH SYNOPSIS\n"
        ".I /etc/outpost/outpost.conf\n"
        ".SH DESCRIPTION\n";

static const char *const grammar[] = {
    "The file holds settings, \"name = value\", and sections, name \"title\" { ... }, which hold "
    "settings. A list is written { \"a\", \"b\" }; a list of one may stand without braces. Texts "
    "stand in quotes; words, numbers and names of hosts need none. In a text, \\\" \\\\ and \\$ "
    "stand "
    "for the second character; nothing is taken from the environment. Comments begin with # or // "
    "and end with the line, or stand between /* and */.",
    "Durations are a number with ms, s, m, h or d; sizes a number, with k, M or G (of 1024). Names "
    "of files that do not begin with a slash are relative to the directory of the file that names "
    "them.",
    "include(\"FILE\") reads another file as if it stood there. Beside the main file, all files "
    "credentials.d/*.conf and domains.d/*.conf are read: the commands of outpost(1) write there "
    "and "
    "never into the main file.",
    "\"outpost config check\" names everything that is wrong, with file, line and a suggestion. A "
    "running node reads its configuration again on SIGHUP; when something is wrong with it, the "
    "old "
    "one stays in force.",
};

void config_print_manual(struct buf *ret_text)
{
    buf_add_c(ret_text, roff_head);
    for (size_t i = 0; i < COUNT_OF(grammar); i++) {
        buf_add_c(ret_text, i > 0 ? ".PP\n" : "");
        add_roff(ret_text, grammar[i]);
    }
    for (enum section s = SECTION_TOP; s < SECTION_COUNT; s++) {
        roff_section(s, ret_text);
    }
    buf_add_c(ret_text, ".SH SEE ALSO\n.BR outpost (1)\n");
}

/* ---- Markdown ---- */

static void add_cell(struct buf *page, const char *text)
{
    for (; *text; text++) {
        if (*text == '|') {
            buf_add_char(page, '\\');
        }
        if (*text == '*' || *text == '<') {
            buf_add_char(page, '\\');
        }
        buf_add_char(page, *text);
    }
}

static void markdown_setting(const struct setting_row *row, struct buf *page)
{
    struct buf range;
    buf_init(&range, 200);
    value_print_range(row, &range);
    buf_add_char(&range, '\0');
    bool says_range = range.len > 1;
    const char *fallback = row->fallback_say ? row->fallback_say : row->fallback;
    buf_addf(page, "| `%s` | %s%s%s | ", row->name, type_name(row->type), says_range ? ", " : "",
            says_range ? range.ptr : "");
    add_cell(page, fallback ? fallback : "");
    buf_add_c(page, " | ");
    add_cell(page, row->help);
    buf_add_c(page, " |\n");
    buf_done(&range);
}

static void markdown_section(enum section section, struct buf *page)
{
    const struct section_row *row = &section_table[section];
    bool has_settings = false;
    buf_addf(page, "\n## %s\n\n", section == SECTION_TOP ? "The node" : row->name);
    add_cell(page, row->help);
    buf_add_c(page, "\n\n");
    for (uint32_t i = 0; i < setting_count; i++) {
        if (setting_table[i].section != section) {
            continue;
        }
        if (!has_settings) {
            buf_add_c(page, "| setting | type | default | meaning |\n|---|---|---|---|\n");
        }
        has_settings = true;
        markdown_setting(&setting_table[i], page);
    }
    if (row->example) {
        buf_addf(page, "%s```\n%s\n```\n", has_settings ? "\n" : "", row->example);
    }
}

void config_print_markdown(struct buf *ret_text)
{
    buf_add_c(ret_text, "# outpost.conf\n\nPrinted by `outpost config manual --markdown`.\n");
    for (size_t i = 0; i < COUNT_OF(grammar); i++) {
        buf_add_char(ret_text, '\n');
        add_cell(ret_text, grammar[i]);
        buf_add_char(ret_text, '\n');
    }
    for (enum section s = SECTION_TOP; s < SECTION_COUNT; s++) {
        markdown_section(s, ret_text);
    }
}
