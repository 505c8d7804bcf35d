/* SPDX-License-Identifier: Apache-2.0
 *
 * check_output_priv.h - a run of checks from options to output: for a person, for programs, for
 * monitors and pipelines.
 */
#ifndef OUTPOST_CLI_CHECK_OUTPUT_PRIV_H
#define OUTPOST_CLI_CHECK_OUTPUT_PRIV_H

#include "cli/cli.h"
#include "identity/identity.h"

struct check_args {
    const char *config, *zone, *resolver, *anchor, *junit, *ip, *ehlo, *timeout;
    bool is_json, is_nagios, is_any, is_quiet, has_lists, is_mend, is_probe;
};
enum { CHECK_OPTION_COUNT = 15 };
/* The options that `domain check` and `source check` share, into option[CHECK_OPTION_COUNT]. */
void check_options(struct check_args *args, struct cli_option *ret_option);

/* Runs `checks` (enum identity_check_set) over the domains named (none: all of the configuration)
 * and prints; an exit code. */
int check_and_print(
        const struct check_args *args, char **domains, int domain_count, uint32_t checks);

/* ---- output (check_output.c) ---- */
void check_print_table(const struct identity_run *run, bool is_quiet);
/* The records that mend, each once, to be put into a zone; commands as comments. */
void check_print_mend(const struct identity_run *run);
int check_print_nagios(const struct identity_run *run, uint64_t took_ms); /* its exit code */
/* path "-": standard output. False: has complained. */
bool check_write_junit(const struct identity_run *run, const char *path);
int check_exit_code(const struct identity_run *run);
/* On standard error, where that is a terminal. done_count == total_count wipes it. */
void check_progress(void *ctx, uint32_t done_count, uint32_t total_count);

#endif
