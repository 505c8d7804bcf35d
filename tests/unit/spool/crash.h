/* SPDX-License-Identifier: Apache-2.0
 *
 * crash.h - the crash enumerator: what a spool promises, under every power cut.
 *
 * A seed draws a small workload, which runs against a keeper on a simulated disk. Before every call
 * that changes the disk, the disk is forked, cut in many ways, recovered, and compared with a
 * ledger of what was answered; then one more message is committed and it is all done again, also
 * in the middle of recovery.
 */
#ifndef OUTPOST_TESTS_SPOOL_CRASH_H
#define OUTPOST_TESTS_SPOOL_CRASH_H

#include "core/base.h"

struct crash_conf {
    uint64_t seed_first;
    uint64_t seed_count_max;
    uint64_t image_count_max;
    uint64_t run_ms_max;
    bool is_loud;
};
struct crash_report {
    uint64_t seeds, images, rot_images;
    uint64_t failing_seed; /* where is_failed */
    bool is_failed;
    char text[512]; /* what was violated, where */
};
/* Runs seeds until one fails or a bound is reached. */
void crash_run(const struct crash_conf *conf, struct crash_report *ret_report);

#endif
