/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c - `outpost COMMAND`: the table of commands.
 */
#include "cli/cli.h"

#include "core/str.h"

#include <signal.h>
#include <stdio.h>

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *does;
} commands[] = {
    { "serve", cmd_serve, "run the node (serve --sandbox to try it out)" },
    { "send", cmd_send, "submit one message over SMTP" },
    { "trace", cmd_trace, "a message's story, by id, tag, recipient or Message-ID" },
    { "explain", cmd_explain, "why a message waits, and until when" },
    { "queue", cmd_queue, "list, show, hold, release, flush, bounce, cancel" },
    { "stats", cmd_stats, "figures of the node" },
    { "top", cmd_top, "a live view of the node" },
    { "audit", cmd_audit, "do the books balance? accepted = closed + open" },
    { "sandbox", cmd_sandbox, "list and show what the sandbox caught" },
    { "domain", cmd_domain, "what the world sees of a domain, and what to mend" },
    { "source", cmd_source, "are our addresses named well, and on no blocklist?" },
    { "alert", cmd_alert, "what is wrong now, who was told, and silence for a while" },
    { "dkim", cmd_dkim, "make keys and records, sign and verify" },
    { "address", cmd_address, "is an address worth sending to? syntax, domain, typos" },
    { "spf", cmd_spf, "may this address send for this domain?" },
    { "dmarc", cmd_dmarc, "evaluate a message or judge a record" },
    { "arc", cmd_arc, "validate and continue a received chain" },
    { "spool", cmd_spool, "verify and describe a spool, offline" },
    { "config", cmd_config, "check and show the configuration" },
    { "credential", cmd_credential, "add, list and revoke logins" },
};

static void print_help(void)
{
    printf("Outpost %s sends the mail of applications and machines, and knows what became of every "
           "message.\n\n"
           "usage: outpost COMMAND [OPTIONS]\n\n",
            OUTPOST_VERSION);
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        printf("  %-11s %s\n", commands[i].name, commands[i].does);
    }
    printf("\nfor instance:\n"
           "  outpost serve --sandbox\n"
           "  outpost send --from app@example.com --to user@example.net --subject Hello\n"
           "  outpost trace --recipient user@example.net\n\n"
           "outpost COMMAND --help has examples of each. Exit: 0 good, 1 found wanting, 2 usage, "
           "75 try again.\n");
}

/* How many edits turn a into b, at most 3: for "did you mean". */
static size_t distance(const char *a, const char *b)
{
    size_t row[32], b_len = strlen(b);
    if (strlen(a) >= COUNT_OF(row) || b_len >= COUNT_OF(row)) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_len; j++) {
            size_t change = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            size_t best = row[j] < diagonal ? row[j] + 1 : diagonal + 1;
            row[j + 1] = change < best ? change : best;
        }
    }
    return row[b_len];
}

static int unknown_command(const char *name)
{
    const char *nearest = NULL;
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (distance(name, commands[i].name) <= 2) {
            nearest = commands[i].name;
        }
    }
    if (nearest) {
        cli_complain("there is no command \"%s\": did you mean \"%s\"?", name, nearest);
    } else {
        cli_complain("there is no command \"%s\"; outpost --help lists them", name);
    }
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_DFL);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
            strcmp(argv[1], "help") == 0) {
        print_help();
        return argc < 2 ? CLI_USAGE : CLI_GOOD;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("outpost %s\n", OUTPOST_VERSION);
        return CLI_GOOD;
    }
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    return unknown_command(argv[1]);
}
