/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c - the simulation's command line.
 *
 *   outpost-sim seeds COUNT [FROM]       many days, every fiftieth run twice, hashes equal; exit 1
 * on a violation outpost-sim seed N [--trace|--talk]  one day again outpost-sim scenario DIR
 * [NAME...] the scenario files
 */
#include "tests/sim/scenario.h"
#include "tests/sim/seed.h"

#include "core/str.h"

#include <stdio.h>
#include <time.h>

enum { REPEAT_EVERY = 50 };

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool report(uint64_t seed, const struct seed_result *result)
{
    if (!result->is_good) {
        printf("seed %llu: %s\n  again, with its trace: outpost-sim seed %llu --trace\n",
                (unsigned long long)seed, result->what, (unsigned long long)seed);
    }
    return result->is_good;
}

static bool run_seed(uint64_t seed, struct seed_result *result)
{
    struct seed_options options = { .seed = seed };
    seed_run(&options, result);
    bool is_good = report(seed, result);
    if (is_good && seed % REPEAT_EVERY == 0) {
        struct seed_result again;
        seed_run(&options, &again);
        if (again.hash != result->hash) {
            printf("seed %llu: two runs differ\n", (unsigned long long)seed);
            is_good = false;
        }
    }
    return is_good;
}

static int run_seeds(uint64_t count, uint64_t from)
{
    uint64_t passed = 0, failed = 0, met[SEED_FAULT_COUNT] = { 0 }, crashes = 0, duplicates = 0,
             acknowledged = 0;
    double begin = now_s();
    for (uint64_t seed = from; seed < from + count; seed++) {
        struct seed_result result;
        bool is_good = run_seed(seed, &result);
        passed += is_good;
        failed += !is_good;
        crashes += result.crashes;
        duplicates += result.duplicates;
        acknowledged += result.acknowledged;
        for (size_t i = 0; i < SEED_FAULT_COUNT; i++) {
            met[i] += result.met[i];
        }
        fflush(stdout);
    }
    printf("%llu seeds in %.1f s: %llu recipients acknowledged, %llu crashes, %llu extra "
           "copies\n",
            (unsigned long long)count, now_s() - begin, (unsigned long long)acknowledged,
            (unsigned long long)crashes, (unsigned long long)duplicates);
    for (size_t i = 0; i < SEED_FAULT_COUNT; i++) {
        printf("  met %-13s %llu\n", seed_fault_names[i], (unsigned long long)met[i]);
        if (met[i] == 0 && count >= 100) {
            printf("  no seed met this group of faults: the suite proves less than it says\n");
            failed++;
        }
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed ? 1 : 0;
}

static int run_one(uint64_t seed, const char *flag)
{
    struct seed_result result;
    struct seed_options options = { .seed = seed,
        .is_traced = flag && strcmp(flag, "--trace") == 0,
        .is_talking = flag && strcmp(flag, "--talk") == 0 };
    double begin = now_s();
    seed_run(&options, &result);
    bool is_good = report(seed, &result);
    printf("seed %llu: hash %016llx, %u acknowledged, %u delivered, %u bounced, %u extra copies, "
           "%u crashes, %llu turns, "
           "%.2f s\n",
            (unsigned long long)seed, (unsigned long long)result.hash, result.acknowledged,
            result.delivered, result.bounced, result.duplicates, result.crashes,
            (unsigned long long)result.turns, now_s() - begin);
    return is_good ? 0 : 1;
}

int main(int argc, char **argv)
{
    uint64_t number = 0, from = 1;
    const char *what = argc > 1 ? argv[1] : "";
    if (argc > 2 && strcmp(what, "scenario") == 0) {
        return scenario_run_all(argv[2], argc - 3, argv + 3);
    }
    bool is_number = argc > 2 && str_to_u64(str_from_c(argv[2]), UINT32_MAX, &number) == OK;
    if (is_number && strcmp(what, "seeds") == 0) {
        if (argc > 3 && str_to_u64(str_from_c(argv[3]), UINT32_MAX, &from) != OK) {
            from = 1;
        }
        return run_seeds(number, from);
    }
    if (is_number && strcmp(what, "seed") == 0) {
        return run_one(number, argc > 3 ? argv[3] : NULL);
    }
    fprintf(stderr, "usage: outpost-sim seeds COUNT [FROM] | seed N [--trace|--talk] | scenario "
                    "DIR [NAME...]\n");
    return 2;
}
