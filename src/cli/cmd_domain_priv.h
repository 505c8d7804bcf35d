/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_domain_priv.h - the subcommands of `outpost domain`, one file each; argv[0] is the word.
 */
#ifndef OUTPOST_CLI_CMD_DOMAIN_PRIV_H
#define OUTPOST_CLI_CMD_DOMAIN_PRIV_H

int domain_check(int argc, char **argv);
int domain_checklist(int argc, char **argv);
int domain_add(int argc, char **argv);
int domain_records(int argc, char **argv);
int domain_rotate(int argc, char **argv);
int domain_flatten(int argc, char **argv);

#endif
