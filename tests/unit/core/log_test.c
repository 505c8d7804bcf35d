/* SPDX-License-Identifier: Apache-2.0
 *
 * log_test.c - what reaches the sink.
 */
#include "core/log.h"

#include "tests/test.h"

struct heard {
    int count;
    enum log_level level;
    char line[LOG_LINE_BYTES_MAX];
    size_t len;
};

static void hear(void *ctx, enum log_level level, struct str line)
{
    struct heard *heard = ctx;
    heard->count++;
    heard->level = level;
    heard->len = line.len;
    memcpy(heard->line, line.ptr, line.len);
}

TEST(log_line_names_the_room_and_reaches_the_sink)
{
    struct heard heard = { 0 };
    struct log log = { .level_min = LOG_INFO_, .sink = hear, .ctx = &heard };
    log_warn(&log, "keeper", "sync failed: %s", "EIO");
    CHECK_STR(str_of(heard.line, heard.len), STR("keeper: sync failed: EIO"));
    CHECK_U64(heard.level, LOG_WARN_);
}

TEST(log_lines_below_the_level_or_without_a_sink_are_dropped)
{
    struct heard heard = { 0 };
    struct log log = { .level_min = LOG_INFO_, .sink = hear, .ctx = &heard };
    log_debug(&log, "x", "y");
    CHECK_U64(heard.count, 0);
    log_info(&log, "x", "y");
    log_error(&log, "x", "y");
    CHECK_U64(heard.count, 2);
    log_info(NULL, "x", "y");
    log.sink = NULL;
    log_info(&log, "x", "y");
}

TEST(log_line_is_cut_at_its_limit)
{
    struct heard heard = { 0 };
    struct log log = { .sink = hear, .ctx = &heard };
    log_info(&log, "x", "%03000d", 1);
    CHECK_U64(heard.len, LOG_LINE_BYTES_MAX - 1);
    char who[3000];
    memset(who, 'w', sizeof who);
    who[sizeof who - 1] = '\0';
    log_info(&log, who, "y");
    CHECK_U64(heard.len, LOG_LINE_BYTES_MAX - 1);
}
