/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_domain_check.c - `outpost domain check`: everything that the world can check of a domain.
 */
#include "cli/check_output_priv.h"
#include "cli/cmd_domain_priv.h"

static const char help[] =
        "What the world sees of a domain, from every source that sends for it: names of addresses, "
        "SPF, DKIM,\n"
        "DMARC, MX, MTA-STS, TLSA, certificates, name servers; and the record that mends what is "
        "wrong.\n"
        "\n"
        "  outpost domain check                          all domains of the configuration\n"
        "  outpost domain check shop.example.com\n"
        "  outpost domain check --any github.com         a domain that is not ours; needs no "
        "configuration\n"
        "  outpost domain check --any --ip 192.0.2.10 --ehlo a.mail.example.com example.com\n"
        "  outpost domain check --zone new.zone shop.example.com      records from a master file, "
        "no net\n"
        "  outpost domain check --mend                   only the records to publish, for a zone "
        "file\n"
        "  outpost domain check --lists --json           blocklists too; for programs\n"
        "  outpost domain check --probe shop.example.com     asks its mail host for postmaster@ "
        "and abuse@ (RCPT,\n"
        "                                                    never DATA)\n"
        "  outpost domain check --nagios --timeout 20s\n"
        "  outpost domain check --junit checks.xml       \"-\": standard output\n"
        "\n"
        "Of --any only what the outside sees is known; with --ip and --ehlo it is checked as a "
        "sender, too. On the\n"
        "host of the node the running listeners are asked for the certificate that they show.\n"
        "\n"
        "options: --json, --quiet (only what is wanting), --lists, --resolver IP[:PORT], "
        "--trust-anchor FILE (DNSSEC),\n"
        "--timeout TIME (30s, up to 10m), --config FILE.\n"
        "Exit: 0 pass or warn, 1 something fails, 2 usage, 75 could not tell; with --nagios 0 ok, "
        "1 warning,\n"
        "2 critical, 3 unknown.\n";

int domain_check(int argc, char **argv)
{
    struct check_args args = { 0 };
    struct cli_option options[CHECK_OPTION_COUNT];
    int count, exit_code;
    check_options(&args, options);
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &exit_code)) {
        return exit_code;
    }
    if (args.is_any && count == 0) {
        return cli_usage("domain", "--any needs the name of a domain");
    }
    if (args.is_any && args.is_probe && args.ip == NULL) {
        return cli_usage("domain", "--probe greets mail hosts: say as whom with --ip and --ehlo");
    }
    uint32_t checks =
            IDENTITY_CHECK_DOMAINS | (args.has_lists ? (uint32_t)IDENTITY_CHECK_LISTS : 0);
    return check_and_print(&args, argv + 1, count, checks);
}
