/* SPDX-License-Identifier: Apache-2.0
 *
 * scenario.h - plays scenario files: what an operator could describe, against the whole simulated
 * node.
 *
 * A file is a list of lines: CONFIG, DNS, PEER, START, SUBMIT, CLIENT with C: and S:, TIME, DISK,
 * CRASH, CHECK, ... tests/scenario/README.md has the whole language.
 */
#ifndef OUTPOST_TESTS_SIM_SCENARIO_H
#define OUTPOST_TESTS_SIM_SCENARIO_H

/* Plays the *.scn of dir, or those whose name contains one of the names. A line for each that
 * fails, with file:line, what was expected and what came; at the end "N passed, N failed". Flags
 * among the names:
 * --talk (log lines), --trace (all events), --list, --seeds=N (each of them with so many), --split
 * (bytes come in pieces). 0: all passed. */
int scenario_run_all(const char *dir, int name_count, char **names);

#endif
