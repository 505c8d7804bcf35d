/* SPDX-License-Identifier: Apache-2.0
 *
 * cli.h - the command line: one file a command, and what they share.
 *
 * Data goes to standard output, everything else to standard error. Exit codes: 0 done or good, 1
 * found wanting or damaged, 2 usage, 75 could not tell or try again.
 */
#ifndef OUTPOST_CLI_H
#define OUTPOST_CLI_H

#include "core/base.h"
#include "core/buf.h"

enum { CLI_GOOD = 0, CLI_WANTING = 1, CLI_USAGE = 2, CLI_TRY_AGAIN = 75 };

/* ---- commands: argv[0] is the command's name ---- */
int cmd_serve(int argc, char **argv);
int cmd_send(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_queue(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_audit(int argc, char **argv);
int cmd_sandbox(int argc, char **argv);
int cmd_domain(int argc, char **argv);
int cmd_source(int argc, char **argv);
int cmd_alert(int argc, char **argv);
int cmd_dkim(int argc, char **argv);
int cmd_dmarc(int argc, char **argv);
int cmd_arc(int argc, char **argv);
int cmd_spf(int argc, char **argv);
int cmd_address(int argc, char **argv);
int cmd_spool(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_credential(int argc, char **argv);

/* ---- options ---- */

/* One long option. Value options take "--name VALUE" and "--name=VALUE". */
struct cli_option {
    const char *name;   /* without the dashes */
    const char **value; /* set to the text; NULL for a switch … */
    bool *is_given;     /* … which sets this */
};
/* Takes options out of argv; what is left (without argv[0]) is in *ret_count and argv[1..]. On a
 * fault, or --help, has said so and returns false with *ret_exit to leave with. help is printed
 * whole for --help. */
bool cli_options(int argc, char **argv, const struct cli_option *options, size_t option_count,
        const char *help, int *ret_count, int *ret_exit);

/* --config FILE as given (may be NULL), else /etc/outpost/outpost.conf if it exists, else
 * ./outpost.conf if that exists, else NULL. */
const char *cli_config_path(const char *given);

/* Says "outpost: ..." on standard error. */
void cli_complain(const char *format, ...) PRINTF_LIKE(1, 2);
/* The same with the way to --help; returns CLI_USAGE. */
int cli_usage(const char *command, const char *format, ...) PRINTF_LIKE(2, 3);
bool cli_is_coloured(void); /* a terminal, no NO_COLOR, no TERM=dumb */

/* Reads a whole file, "-" is standard input. False: has complained. */
bool cli_read_file(const char *path, size_t max_bytes, struct buf *ret_text);
/* A message with CRLF line ends; ret_message is to be freed in any case. False: has complained. */
bool cli_read_message(const char *path, struct buf *ret_message);
/* Can the master file of --zone be read and understood? NULL is fine. False: has complained; leave
 * with CLI_USAGE, as nothing was asked. */
bool cli_zone_is_good(const char *path);
/* A private key in PEM; NULL: has complained. */
struct key;
struct key *cli_load_key(const char *path);

/* ---- what peers wrote, shown ---- */
struct json_t;
struct json_t *cli_text_json(struct str s); /* escaped where it is not UTF-8 */
void cli_print_json(struct json_t *json);   /* one line; takes json */
void cli_print_text(struct str s);          /* escaped, without line end */

/* ---- tables: columns line up, headings are dim on a terminal ---- */
enum { CLI_COLUMN_COUNT_MAX = 12 };
struct cli_table {
    uint32_t column_count;
    const char *heading[CLI_COLUMN_COUNT_MAX];
    uint32_t width[CLI_COLUMN_COUNT_MAX];
    struct buf cells; /* NUL-terminated texts in order */
    uint32_t cell_count;
};
void cli_table_begin(struct cli_table *table, uint32_t column_count, const char *const *headings);
void cli_table_cell(struct cli_table *table, const char *text); /* NULL is "" */
void cli_table_print(struct cli_table *table);                  /* and frees it */

/* ---- the node, over its control socket ---- */

/* Which node: --config and --socket as given (each may be NULL). */
struct cli_node {
    const char *config_path;
    const char *socket_path;
};
/* One request; path is already encoded. OK: *ret_status and the body. Else has complained and says
 * whether the node runs at all. */
MUST_USE enum err cli_ask(const struct cli_node *node, const char *method, const char *path,
        struct str body, uint16_t *ret_status, struct buf *ret_body);
/* As cli_ask, and complains with the reply's "error" where the status is not 2xx. Returns the JSON
 * text in *ret_body or false with *ret_exit. */
bool cli_get(const struct cli_node *node, const char *method, const char *path, struct str body,
        struct buf *ret_body, int *ret_exit);
/* Appends name=value, percent-encoded, with ? or & before it; nothing for NULL. */
void cli_add_argument(struct buf *path, const char *name, const char *value);

#endif
