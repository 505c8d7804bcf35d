/* SPDX-License-Identifier: Apache-2.0
 *
 * log.c - formats one line on the stack and hands it to the sink.
 *
 * Adds no time and no level: the sink knows both, and whether its reader wants them.
 */
#include "core/log.h"

#include "core/str.h"

#include <stdarg.h>

void log_line(const struct log *log, enum log_level level, const char *who, const char *format, ...)
{
    if (!log || !log->sink || level < log->level_min) {
        return;
    }
    char line[LOG_LINE_BYTES_MAX];
    size_t len = fmt(line, sizeof line, "%s: ", who);
    va_list args;
    va_start(args, format);
    int text_len = vsnprintf(line + len, sizeof line - len, format, args);
    va_end(args);
    ASSERT(text_len >= 0);
    size_t room = sizeof line - len - 1; /* without the NUL */
    len += (size_t)text_len < room ? (size_t)text_len : room;
    log->sink(log->ctx, level, str_of(line, len));
}
