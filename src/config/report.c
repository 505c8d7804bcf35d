/* SPDX-License-Identifier: Apache-2.0
 *
 * report.c - the list of what is wrong with a configuration.
 *
 * Bounded: the first CONFIG_FAULT_COUNT_MAX stand in it, the rest are counted.
 */
#include "config/load_priv.h"

#include "core/str.h"

#include <stdarg.h>

enum { REPORT_BYTES_MAX = CONFIG_FAULT_COUNT_MAX * (WHY_BYTES_MAX + PATH_MAX) };

static void report_add(
        struct config_report *report, struct place at, bool is_warning, const char *text)
{
    report->text.max_bytes = REPORT_BYTES_MAX;
    report->fault[report->fault_count++] = (struct config_fault){
        .path = arena_str(&report->text, at.path),
        .line = at.line,
        .text = arena_str(&report->text, str_from_c(text)),
        .is_warning = is_warning,
    };
}

void report_fault(struct config_report *report, struct place at, const char *format, ...)
{
    char text[WHY_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (report->fault_count < CONFIG_FAULT_COUNT_MAX) {
        report_add(report, at, /*is_warning*/ false, text);
    } else {
        report->left_out_count++;
    }
}

void report_warning(struct config_report *report, struct place at, const char *format, ...)
{
    char text[WHY_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (report->fault_count < CONFIG_FAULT_COUNT_MAX) { /* else not counted: never like a fault */
        report_add(report, at, /*is_warning*/ true, text);
    }
}

static uint32_t first_fault_in(const struct config_report *report, struct str path)
{
    uint32_t i = 0;
    while (!str_eq(report->fault[i].path, path)) {
        i++;
    }
    return i;
}

/* Insertion: stable, and at most CONFIG_FAULT_COUNT_MAX. */
void report_sort(struct config_report *report)
{
    uint32_t rank[CONFIG_FAULT_COUNT_MAX];
    for (uint32_t i = 0; i < report->fault_count; i++) {
        rank[i] = first_fault_in(report, report->fault[i].path);
    }
    for (uint32_t i = 1; i < report->fault_count; i++) {
        struct config_fault fault = report->fault[i];
        uint32_t at = i, fault_rank = rank[i];
        while (at > 0 &&
                (rank[at - 1] > fault_rank ||
                        (rank[at - 1] == fault_rank && report->fault[at - 1].line > fault.line))) {
            report->fault[at] = report->fault[at - 1];
            rank[at] = rank[at - 1];
            at--;
        }
        report->fault[at] = fault;
        rank[at] = fault_rank;
    }
}

bool report_is_bad(const struct config_report *report)
{
    for (uint32_t i = 0; i < report->fault_count; i++) {
        if (!report->fault[i].is_warning) {
            return true;
        }
    }
    return report->left_out_count > 0;
}

void config_report_done(struct config_report *report)
{
    arena_done(&report->text);
    *report = (struct config_report){ 0 };
}

void config_report_print(const struct config_report *report, struct buf *ret_text)
{
    for (uint32_t i = 0; i < report->fault_count; i++) {
        const struct config_fault *fault = &report->fault[i];
        buf_add(ret_text, fault->path);
        if (fault->line > 0) {
            buf_addf(ret_text, ":%u", fault->line);
        }
        buf_addf(
                ret_text, ": %s%.*s\n", fault->is_warning ? "warning: " : "", STR_ARG(fault->text));
    }
    if (report->left_out_count > 0) {
        buf_addf(ret_text, "%u more faults are not shown\n", report->left_out_count);
    }
}
