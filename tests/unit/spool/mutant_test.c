/* SPDX-License-Identifier: Apache-2.0
 *
 * mutant_test.c - known bugs of a spool, one at a time, and the crash enumerator must find each.
 * Linked with the spool compiled with OUTPOST_MUTANTS. Each runs in a process of its own, since an
 * assertion that fails is as good a catch.
 */
#include "spool/mutant_priv.h"
#include "tests/test.h"
#include "tests/unit/spool/crash.h"

#include "core/str.h"

#include <sys/wait.h>
#include <unistd.h>

/* By images, so that a busy machine only takes longer: the hardest needs some 80 000. */
enum { IMAGES_A_MUTANT = 400000, SECONDS_A_MUTANT = 900, SURVIVED = 0, CAUGHT = 1 };

static const char *const names[] = { "none",
#define MUTANT_NAME(name) #name,
    MUTANT_LIST(MUTANT_NAME)
#undef MUTANT_NAME
};

static bool is_caught(enum mutant mutant)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct crash_report report;
        struct crash_conf conf = { .seed_first = 1,
            .seed_count_max = UINT64_MAX,
            .image_count_max = IMAGES_A_MUTANT,
            .run_ms_max = SECONDS_A_MUTANT * 1000 };
        close(STDERR_FILENO);
        mutant_chosen = mutant;
        crash_run(&conf, &report);
        if (report.is_failed) {
            printf("    %-36s %7llu images: %.200s\n", names[mutant],
                    (unsigned long long)report.images, report.text);
        }
        fflush(stdout);
        _exit(report.is_failed ? CAUGHT : SURVIVED);
    }
    int status = 0;
    ASSERT(child > 0 && waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) {
        printf("    %-36s by an assertion\n", names[mutant]);
        return true;
    }
    return WEXITSTATUS(status) == CAUGHT;
}

TEST(every_known_bug_is_caught_by_the_crash_enumerator)
{
    const char *chosen = getenv("OUTPOST_MUTANT");
    uint32_t survivors = 0;
    for (uint32_t i = 1; i < MUTANT_COUNT; i++) {
        if (chosen == NULL || strcmp(chosen, names[i]) == 0) {
            if (!is_caught((enum mutant)i)) {
                printf("    %-36s SURVIVES\n", names[i]);
                survivors++;
            }
        }
    }
    CHECK_U64(survivors, 0);
}
