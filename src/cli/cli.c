/* SPDX-License-Identifier: Apache-2.0
 *
 * cli.c - what the commands share: options, complaints, tables, files.
 */
#include "cli/cli.h"

#include "core/str.h"
#include "edge/dns.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool option_matches(const char *arg, const char *name, const char **ret_value)
{
    size_t len = strlen(name);
    if (strncmp(arg, "--", 2) != 0 || strncmp(arg + 2, name, len) != 0) {
        return false;
    }
    const char *end = arg + 2 + len;
    *ret_value = *end == '=' ? end + 1 : NULL;
    return *end == '=' || *end == '\0';
}

/* Takes argv[*at] as an option. False: unknown, or its value is missing. */
static bool take_option(
        int argc, char **argv, int *at, const struct cli_option *options, size_t option_count)
{
    for (size_t i = 0; i < option_count; i++) {
        const char *value;
        if (!option_matches(argv[*at], options[i].name, &value)) {
            continue;
        }
        if (options[i].value == NULL) {
            *options[i].is_given = true;
            return value == NULL;
        }
        if (value == NULL && *at + 1 >= argc) {
            return false;
        }
        *options[i].value = value ? value : argv[++*at];
        return true;
    }
    return false;
}

bool cli_options(int argc, char **argv, const struct cli_option *options, size_t option_count,
        const char *help, int *ret_count, int *ret_exit)
{
    int count = 0;
    bool is_plain = false;
    for (int i = 1; i < argc; i++) {
        if (is_plain || argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[++count] = argv[i];
        } else if (strcmp(argv[i], "--") == 0) {
            is_plain = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            *ret_exit = CLI_GOOD;
            return false;
        } else if (!take_option(argc, argv, &i, options, option_count)) {
            *ret_exit = cli_usage(argv[0], "option %s is unknown or lacks its value", argv[i]);
            return false;
        }
    }
    *ret_count = count;
    return true;
}

const char *cli_config_path(const char *given)
{
    if (given) {
        return given;
    }
    static const char *const places[] = { "/etc/outpost/outpost.conf", "outpost.conf" };
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        if (access(places[i], F_OK) == 0) {
            return places[i];
        }
    }
    return NULL;
}

void cli_complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("outpost: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "outpost %s: ", command);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\ntry: outpost %s --help\n", command);
    va_end(args);
    return CLI_USAGE;
}

bool cli_is_coloured(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no_color && *no_color) &&
           !(term && strcmp(term, "dumb") == 0);
}

bool cli_read_file(const char *path, size_t max_bytes, struct buf *ret_text)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (file == NULL) {
        cli_complain("%s: %s", path, strerror(errno));
        return false;
    }
    char block[8192];
    size_t got;
    while (ret_text->len <= max_bytes && (got = fread(block, 1, sizeof block, file)) > 0) {
        buf_add(ret_text, str_of(block, got));
    }
    bool is_good = !ferror(file) && ret_text->len <= max_bytes && buf_err(ret_text) == OK;
    if (!is_good) {
        cli_complain("%s: cannot be read, or is larger than %zu bytes", path, max_bytes);
    }
    if (file != stdin) {
        fclose(file);
    }
    return is_good;
}

/* ---- tables ---- */

enum { TABLE_BYTES_MAX = 64 << 20 };

void cli_table_begin(struct cli_table *table, uint32_t column_count, const char *const *headings)
{
    *table = (struct cli_table){ .column_count = column_count };
    buf_init(&table->cells, TABLE_BYTES_MAX);
    for (uint32_t i = 0; i < column_count; i++) {
        table->heading[i] = headings[i];
        table->width[i] = (uint32_t)strlen(headings[i]);
    }
}

void cli_table_cell(struct cli_table *table, const char *text)
{
    struct str cell = str_from_c(text ? text : "");
    ASSERT(table->column_count > 0);
    uint32_t column = table->cell_count++ % table->column_count;
    if (cell.len > table->width[column]) {
        table->width[column] = (uint32_t)cell.len;
    }
    buf_add(&table->cells, cell);
    buf_add_char(&table->cells, '\0');
}

static void print_cell(const struct cli_table *table, uint32_t column, const char *text)
{
    bool is_last = column + 1 == table->column_count;
    if (is_last) {
        printf("%s\n", text);
    } else {
        printf("%-*s  ", (int)table->width[column], text);
    }
}

void cli_table_print(struct cli_table *table)
{
    bool is_coloured = cli_is_coloured();
    ASSERT(table->column_count > 0);
    fputs(is_coloured ? "\033[2m" : "", stdout);
    for (uint32_t i = 0; i < table->column_count; i++) {
        print_cell(table, i, table->heading[i]);
    }
    fputs(is_coloured ? "\033[0m" : "", stdout);
    const char *at = table->cells.ptr;
    for (uint32_t i = 0; i < table->cell_count && buf_err(&table->cells) == OK; i++) {
        print_cell(table, i % table->column_count, at);
        at += strlen(at) + 1;
    }
    buf_done(&table->cells);
}

bool cli_zone_is_good(const char *path)
{
    struct dns *zone = NULL;
    struct why why = { 0 };
    if (path == NULL) {
        return true;
    }
    if (dns_open_zone(path, &zone, &why) != OK) {
        cli_complain("%s", why.text);
        return false;
    }
    zone->ops->close(zone);
    return true;
}
