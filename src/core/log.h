/* SPDX-License-Identifier: Apache-2.0
 *
 * log.h - one event, one line. Rooms from `submit` upward log; pure rooms never do.
 *
 * Text taken from peers is passed through str_escape by the caller. The sink gets a finished line
 * without newline; it must not block (see history for the delivering of mail log lines).
 */
#ifndef OUTPOST_CORE_LOG_H
#define OUTPOST_CORE_LOG_H

#include "core/base.h"

enum log_level { LOG_DEBUG_, LOG_INFO_, LOG_WARN_, LOG_ERROR_ };
enum { LOG_LINE_BYTES_MAX = 2048 };

struct log {
    enum log_level level_min;
    void (*sink)(void *ctx, enum log_level level, struct str line); /* any thread */
    void *ctx;
};

/* log NULL: nothing. `who` names the room: log_warn(log, "keeper", "sync failed: %s", ...). */
void log_line(const struct log *log, enum log_level level, const char *who, const char *format, ...)
        PRINTF_LIKE(4, 5);
#define log_debug(log, who, ...) log_line(log, LOG_DEBUG_, who, __VA_ARGS__)
#define log_info(log, who, ...) log_line(log, LOG_INFO_, who, __VA_ARGS__)
#define log_warn(log, who, ...) log_line(log, LOG_WARN_, who, __VA_ARGS__)
#define log_error(log, who, ...) log_line(log, LOG_ERROR_, who, __VA_ARGS__)

#endif
