/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_serve.c - `outpost serve`: runs a node in the foreground.
 */
#include "cli/cli.h"
#include "node/node.h"

static const char help[] =
        "Runs a node in the foreground until SIGTERM or Ctrl-C.\n"
        "\n"
        "  outpost serve                          with /etc/outpost/outpost.conf, else "
        "./outpost.conf\n"
        "  outpost serve --config FILE\n"
        "  outpost serve --sandbox                deliver everything to a built-in catcher, "
        "nothing to the world;\n"
        "                                         without a configuration: SMTP on 127.0.0.1:2525, "
        "data in ./var\n"
        "\n"
        "SIGHUP reads the configuration again; a broken one is refused and the running one stays.\n"
        "SIGTERM finishes what runs (at most 10 s) and stops.\n";

int cmd_serve(int argc, char **argv)
{
    const char *config = NULL;
    bool is_sandbox = false;
    int count, code;
    const struct cli_option options[] = { { "config", &config, NULL },
        { "sandbox", NULL, &is_sandbox } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &code)) {
        return code;
    }
    if (count > 0) {
        return cli_usage(argv[0], "takes no argument \"%s\"", argv[1]);
    }
    struct serve_options serve = { .config_path = cli_config_path(config),
        .is_sandbox = is_sandbox };
    if (serve.config_path == NULL && !is_sandbox) {
        cli_complain("there is no /etc/outpost/outpost.conf and no ./outpost.conf\n"
                     "  name one with --config FILE, or try it out with: outpost serve --sandbox");
        return CLI_USAGE;
    }
    return serve_run(&serve);
}
