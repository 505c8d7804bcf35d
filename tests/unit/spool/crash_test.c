/* SPDX-License-Identifier: Apache-2.0
 *
 * crash_test.c - runs the crash enumerator for a while. OUTPOST_CRASH_SECONDS, OUTPOST_CRASH_SEED
 * and OUTPOST_CRASH_SEEDS make it longer, or repeat one seed.
 */
#include "tests/test.h"
#include "tests/unit/spool/crash.h"

#include "core/str.h"

enum { SECONDS_DEFAULT = 10 };

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    uint64_t value;
    return str_to_u64(str_from_c(getenv(name)), UINT64_MAX, &value) == OK ? value : otherwise;
}

TEST(whatever_was_answered_holds_after_every_crash)
{
    struct crash_report report;
    struct crash_conf conf = {
        .seed_first = from_environment("OUTPOST_CRASH_SEED", 1),
        .seed_count_max = from_environment("OUTPOST_CRASH_SEEDS", UINT64_MAX),
        .image_count_max = UINT64_MAX,
        .run_ms_max = from_environment("OUTPOST_CRASH_SECONDS", SECONDS_DEFAULT) * 1000,
        .is_loud = getenv("OUTPOST_CRASH_LOUD") != NULL,
    };
    crash_run(&conf, &report);
    printf("    %llu seeds, %llu crash images, %llu with rot\n", (unsigned long long)report.seeds,
            (unsigned long long)report.images, (unsigned long long)report.rot_images);
    CHECK(!report.is_failed, "%s; again with OUTPOST_CRASH_SEED=%llu OUTPOST_CRASH_SEEDS=1",
            report.text, (unsigned long long)report.failing_seed);
    CHECK(report.images > 0);
}
