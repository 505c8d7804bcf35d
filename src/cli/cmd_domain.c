/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_domain.c - `outpost domain WORD`: which file does it.
 */
#include "cli/cli.h"
#include "cli/cmd_domain_priv.h"

#include <stdio.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *does;
} words[] = {
    { "add", domain_add, "a new one: keys, and what DNS must say" },
    { "records", domain_records, "what DNS must say, again and in other formats" },
    { "rotate", domain_rotate, "a new DKIM key, stage by stage" },
    { "flatten", domain_flatten, "an SPF record over the limit as addresses" },
    { "check", domain_check, "what the world sees of a domain, and what to mend" },
    { "checklist", domain_checklist, "what the large receivers ask of senders, item by item" },
};

static void print_help(FILE *to)
{
    fprintf(to, "The domains that mail is sent as.\n\n");
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        fprintf(to, "  outpost domain %-10s %s\n", words[i].name, words[i].does);
    }
    fprintf(to, "\noutpost domain WORD --help has examples of each.\n");
}

int cmd_domain(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? CLI_USAGE : CLI_GOOD;
    }
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (strcmp(argv[1], words[i].name) == 0) {
            return words[i].run(argc - 1, argv + 1);
        }
    }
    return cli_usage(argv[0], "\"%s\" is none of its words", argv[1]);
}
