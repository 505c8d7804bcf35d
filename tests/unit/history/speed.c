/* SPDX-License-Identifier: Apache-2.0
 *
 * speed.c - what the history costs: history_speed DIR COUNT [no-lines|look]
 *
 * COUNT messages are accepted, tried and delivered through a real spool; only the scribe is timed
 * (CPU of its thread), then look-ups. Not a test: figures go to docs/performance.md.
 */
#include "core/str.h"
#include "core/ulid.h"
#include "tests/test.h"
#include "tests/unit/history/fixture.h"

#include <sys/stat.h>
#include <time.h>

enum { ROUND_MSGS = 500 };

static double cpu_us(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return (double)at.tv_sec * 1e6 + (double)at.tv_nsec / 1e3;
}

struct sum {
    struct disk *disk;
    uint64_t bytes;
};

static void add_bytes(void *ctx, const char *name)
{
    struct sum *sum = ctx;
    struct disk_file *file;
    uint64_t bytes = 0;
    if (sum->disk->ops->open(sum->disk, name, 0, &file, NULL) == OK) {
        if (sum->disk->ops->size(file, &bytes, NULL) == OK) {
            sum->bytes += bytes;
            printf("  %s %llu\n", name, (unsigned long long)bytes);
        }
        sum->disk->ops->close(file);
    }
}

static uint64_t dir_bytes(struct disk *disk)
{
    struct sum sum = { disk, 0 };
    (void)!disk->ops->list(disk, add_bytes, &sum, NULL);
    return sum.bytes;
}

static void no_line(void *ctx, struct str line)
{
    *(uint64_t *)ctx += line.len;
}

static double round_of(struct fixture *f, uint32_t first, uint32_t count)
{
    uint64_t id[ROUND_MSGS];
    for (uint32_t i = 0; i < count; i++) {
        id[i] = fixture_accept_number(f, first + i);
    }
    fixture_sync(f);
    fixture_pass(f, 20);
    for (uint32_t i = 0; i < count; i++) {
        fixture_attempt(f, id[i], 0, 1);
    }
    fixture_sync(f);
    fixture_pass(f, 20);
    for (uint32_t i = 0; i < count; i++) {
        fixture_outcome(f, id[i], 0, 1, SPOOL_RESULT_DELIVERED);
    }
    fixture_sync(f);
    double start = cpu_us(CLOCK_THREAD_CPUTIME_ID);
    struct mono now = { f->clock.mono_ms };
    while (scribe_turn(f->scribe, now).ms <= now.ms) {
    }
    return cpu_us(CLOCK_THREAD_CPUTIME_ID) - start;
}

static void look(struct fixture *f, enum history_key by, const char *value, const char *what)
{
    double start = cpu_us(CLOCK_MONOTONIC);
    json_t *found = fixture_find_all(f, by, value, 20);
    printf("  %-40s %8.3f ms, %zu found\n", what, (cpu_us(CLOCK_MONOTONIC) - start) / 1000,
            json_array_size(found));
    json_decref(found);
}

static void look_ups(struct fixture *f, uint32_t count)
{
    char text[64];
    static const uint32_t parts[] = { 0, 2, 9, 10 };
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        uint32_t number = (uint32_t)((uint64_t)count * parts[i] / 10);
        fmt(text, sizeof text, "user%u@example.net", number);
        look(f, HISTORY_BY_RECIPIENT, text, text);
        ulid_format(fixture_ulid(number), text);
        look(f, HISTORY_BY_ID, text, text);
        fmt(text, sizeof text, "%u@shop.example", number);
        look(f, HISTORY_BY_MESSAGE_ID, text, text);
    }
    look(f, HISTORY_BY_TAG, "tag-3", "tag-3, a tenth of all");
    look(f, HISTORY_BY_TAG, "none", "a tag that is not there");
}

/* What fixture.c calls when something is wrong. */
void test_fail(const char *file, int line, const char *format, ...)
{
    printf("%s:%d: %s\n", file, line, format);
    abort();
}

void test_fail_check(const char *file, int line, const char *condition, const char *format, ...)
{
    printf("%s:%d: %s %s\n", file, line, condition, format);
    abort();
}

int main(int argc, char **argv)
{
    uint64_t count = 100000, line_bytes = 0;
    struct fixture f;
    struct disk *spool, *history;
    char path[400];
    if (argc < 3 || str_to_u64(str_from_c(argv[2]), 100000000, &count) != OK) {
        printf("history_speed DIR COUNT [no-lines|look]\n");
        return 2;
    }
    mkdir(argv[1], 0700);
    fmt(path, sizeof path, "%s/spool", argv[1]);
    (void)!disk_open_real(path, &spool, NULL);
    fmt(path, sizeof path, "%s/history", argv[1]);
    (void)!disk_open_real(path, &history, NULL);
    fixture_init_on(&f, spool, history);
    f.spool_conf.slot_bytes = 4 << 20;
    f.conf.is_log_postfix = argc == 3;
    f.conf.line = no_line;
    f.conf.line_ctx = &line_bytes;
    struct why why;
    if (argc > 3 && strcmp(argv[3], "look") == 0) { /* in what an earlier run made */
        REQUIRE_OK(history_open(history, &f.history, &why));
        look_ups(&f, (uint32_t)count);
        fixture_done(&f);
        return 0;
    }
    fixture_open(&f);
    double us = 0;
    for (uint32_t i = 0; i < count; i += ROUND_MSGS) {
        us += round_of(&f, i, ROUND_MSGS);
    }
    double start = cpu_us(CLOCK_THREAD_CPUTIME_ID);
    fixture_settle(&f);
    us += cpu_us(CLOCK_THREAD_CPUTIME_ID) - start;
    printf("%.2f us CPU a message (accepted, attempted, delivered)\n", us / (double)count);
    uint64_t bytes = dir_bytes(history);
    printf("%.1f bytes a message on disk\n", (double)bytes / (double)count);
    look_ups(&f, (uint32_t)count);
    fixture_done(&f);
    return 0;
}
