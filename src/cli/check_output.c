/* SPDX-License-Identifier: Apache-2.0
 *
 * check_output.c - results of checks as a table, as a line for Nagios, as JUnit XML.
 *
 * Texts of results are escaped ASCII already (identity.h), but for records of ours.
 */
#include "cli/check_output_priv.h"
#include "core/str.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { BAR_WIDTH = 30, NAGIOS_NAMED_COUNT_MAX = 5, JUNIT_BYTES_MAX = 256 << 20 };

static void count_all(const struct identity_run *run, uint32_t *ret_count)
{
    memset(ret_count, 0, IDENTITY_STATUS_COUNT * sizeof *ret_count);
    for (uint32_t i = 0; i < identity_run_count(run); i++) {
        ret_count[identity_run_result(run, i)->status]++;
    }
}

int check_exit_code(const struct identity_run *run)
{
    uint32_t count[IDENTITY_STATUS_COUNT];
    count_all(run, count);
    return count[IDENTITY_FAIL] > 0    ? CLI_WANTING
           : count[IDENTITY_ERROR] > 0 ? CLI_TRY_AGAIN
                                       : CLI_GOOD;
}

/* ---- for a person ---- */

static const char *colour_of(enum identity_status status)
{
    static const char *const colours[] = { "\033[32m", "\033[2m", "\033[33m", "\033[35m",
        "\033[31;1m" };
    static_assert(COUNT_OF(colours) == IDENTITY_STATUS_COUNT, "a colour for each");
    return cli_is_coloured() ? colours[status] : "";
}

static const char *end_colour(void)
{
    return cli_is_coloured() ? "\033[0m" : "";
}

static void print_heading(const struct identity_result *result, bool is_first)
{
    printf("%s", is_first ? "" : "\n");
    if (result->domain.len > 0 && result->source.len > 0) {
        printf("%.*s from source %.*s\n", STR_ARG(result->domain), STR_ARG(result->source));
    } else if (result->domain.len > 0) {
        printf("%.*s\n", STR_ARG(result->domain));
    } else if (result->source.len > 0) {
        printf("source %.*s\n", STR_ARG(result->source));
    } else {
        printf("this node\n");
    }
}

static void print_more(const char *label, struct str text)
{
    struct str line;
    bool is_first = true;
    while (str_cut(&text, '\n', &line)) {
        printf("         %-9s %.*s\n", is_first ? label : "", STR_ARG(line));
        is_first = false;
    }
}

static void print_result(const struct identity_result *result)
{
    bool is_short = result->status == IDENTITY_PASS;
    printf("  %s%-5s%s  %.*s%s%.*s%s", colour_of(result->status),
            identity_status_name(result->status), end_colour(), STR_ARG(result->title),
            result->part.len > 0 ? " (" : "", STR_ARG(result->part),
            result->part.len > 0 ? ")" : "");
    if (is_short && result->found.len > 0) {
        printf(": %.*s", STR_ARG(result->found));
    }
    if (result->status == IDENTITY_SKIP && result->detail.len > 0) {
        printf(": %.*s", STR_ARG(result->detail));
    }
    printf("\n");
    if (is_short || result->status == IDENTITY_SKIP) {
        return;
    }
    print_more("found", result->found);
    print_more("expected", result->expected);
    print_more("why", result->detail);
    print_more("was", result->before);
    print_more("mend by", result->mend);
}

static bool same_subject(const struct identity_result *a, const struct identity_result *b)
{
    return str_eq(a->domain, b->domain) && str_eq(a->source, b->source);
}

void check_print_table(const struct identity_run *run, bool is_quiet)
{
    const struct identity_result *last = NULL;
    uint32_t count[IDENTITY_STATUS_COUNT];
    for (uint32_t i = 0; i < identity_run_count(run); i++) {
        const struct identity_result *result = identity_run_result(run, i);
        bool is_dull = result->status == IDENTITY_PASS || result->status == IDENTITY_SKIP;
        if (is_quiet && is_dull) {
            continue;
        }
        if (last == NULL || !same_subject(last, result)) {
            print_heading(result, last == NULL);
        }
        print_result(result);
        last = result;
    }
    count_all(run, count);
    printf("%s%u pass, %u warn, %u fail, %u could not tell, %u do not apply\n",
            last != NULL ? "\n" : "", count[IDENTITY_PASS], count[IDENTITY_WARN],
            count[IDENTITY_FAIL], count[IDENTITY_ERROR], count[IDENTITY_SKIP]);
}

/* ---- what mends, alone ---- */

static bool is_said_before(const struct identity_run *run, uint32_t index)
{
    struct str mend = identity_run_result(run, index)->mend;
    for (uint32_t i = 0; i < index; i++) {
        if (str_eq(identity_run_result(run, i)->mend, mend)) {
            return true;
        }
    }
    return false;
}

void check_print_mend(const struct identity_run *run)
{
    for (uint32_t i = 0; i < identity_run_count(run); i++) {
        struct str rest = identity_run_result(run, i)->mend, line;
        if (is_said_before(run, i)) {
            continue;
        }
        while (str_cut(&rest, '\n', &line)) {
            bool is_record = str_find(line, STR(" IN ")) < line.len &&
                             line.ptr[str_index(line, ' ') - 1] == '.';
            printf("%s%.*s\n", is_record ? "" : "; ", STR_ARG(line));
        }
    }
}

/* ---- for Nagios and its kin ---- */

static enum identity_status worst_of(const uint32_t *count)
{
    static const enum identity_status order[] = { IDENTITY_FAIL, IDENTITY_ERROR, IDENTITY_WARN };
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        if (count[order[i]] > 0) {
            return order[i];
        }
    }
    return IDENTITY_PASS;
}

/* "|" begins the figures, so it cannot stand in the words. */
static void print_plain(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        putchar(text.ptr[i] == '|' || text.ptr[i] == '\n' ? ' ' : text.ptr[i]);
    }
}

static void print_named(const struct identity_run *run, enum identity_status worst)
{
    uint32_t named_count = 0;
    for (uint32_t i = 0; i < identity_run_count(run); i++) {
        const struct identity_result *result = identity_run_result(run, i);
        if (result->status != worst || worst == IDENTITY_PASS) {
            continue;
        }
        if (named_count++ == NAGIOS_NAMED_COUNT_MAX) {
            printf(", ...");
            return;
        }
        printf("%s", named_count == 1 ? ": " : ", ");
        print_plain(result->id);
        printf("%s", result->domain.len + result->source.len > 0 ? " of " : "");
        print_plain(result->domain.len > 0 ? result->domain : result->source);
        if (result->part.len > 0) {
            printf(" (");
            print_plain(result->part);
            printf(")");
        }
    }
}

int check_print_nagios(const struct identity_run *run, uint64_t took_ms)
{
    static const struct {
        const char *word;
        int exit;
    } says[IDENTITY_STATUS_COUNT] = { [IDENTITY_PASS] = { "OK", 0 },
        [IDENTITY_SKIP] = { "OK", 0 },
        [IDENTITY_WARN] = { "WARNING", 1 },
        [IDENTITY_ERROR] = { "UNKNOWN", 3 },
        [IDENTITY_FAIL] = { "CRITICAL", 2 } };
    uint32_t count[IDENTITY_STATUS_COUNT];
    count_all(run, count);
    enum identity_status worst = worst_of(count);
    printf("OUTPOST %s - %u of %u checks %s", says[worst].word, count[worst],
            identity_run_count(run), identity_status_name(worst));
    print_named(run, worst);
    printf(" | pass=%u warn=%u fail=%u error=%u skip=%u time=%llu.%03us\n", count[IDENTITY_PASS],
            count[IDENTITY_WARN], count[IDENTITY_FAIL], count[IDENTITY_ERROR], count[IDENTITY_SKIP],
            (unsigned long long)(took_ms / 1000), (unsigned)(took_ms % 1000));
    return says[worst].exit;
}

/* ---- JUnit ---- */

static void add_xml(struct buf *text, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        switch (c) {
        case '<':
            buf_add_c(text, "&lt;");
            break;
        case '>':
            buf_add_c(text, "&gt;");
            break;
        case '&':
            buf_add_c(text, "&amp;");
            break;
        case '"':
            buf_add_c(text, "&quot;");
            break;
        case '\n':
            buf_add_c(text, "&#10;");
            break;
        default:
            buf_add_char(text, (c >= ' ' && c < 0x7f) ? c : '?'); /* XML 1.0 2.2 */
        }
    }
}

static void add_case(struct buf *text, const struct identity_result *result)
{
    static const char *const tags[IDENTITY_STATUS_COUNT] = {
        [IDENTITY_SKIP] = "skipped", [IDENTITY_ERROR] = "error", [IDENTITY_FAIL] = "failure"
    };
    buf_add_c(text, "  <testcase classname=\"");
    add_xml(text, result->domain.len > 0 ? result->domain : STR("sources"));
    buf_add_c(text, result->source.len > 0 ? "/" : "");
    add_xml(text, result->source);
    buf_add_c(text, "\" name=\"");
    add_xml(text, result->id);
    buf_add_c(text, result->part.len > 0 ? " " : "");
    add_xml(text, result->part);
    const char *tag = tags[result->status];
    if (tag == NULL && result->status == IDENTITY_PASS) {
        buf_add_c(text, "\"/>\n");
        return;
    }
    bool is_warn = tag == NULL;
    buf_addf(text, "\">\n    <%s%s", is_warn ? "system-out>" : tag, is_warn ? "" : " message=\"");
    add_xml(text, result->found.len > 0 ? result->found : result->detail);
    buf_addf(text, "%s", is_warn ? "&#10;expected: " : "\">expected: ");
    add_xml(text, result->expected);
    buf_add_c(text, result->mend.len > 0 ? "&#10;mend by: " : "");
    add_xml(text, result->mend);
    buf_addf(text, "</%s>\n  </testcase>\n", is_warn ? "system-out" : tag);
}

static bool write_text(struct buf *text, const char *path)
{
    bool is_out = strcmp(path, "-") == 0;
    FILE *file = is_out ? stdout : fopen(path, "we");
    bool is_good = file != NULL && buf_err(text) == OK &&
                   fwrite(text->ptr, 1, text->len, file) == text->len;
    int number = errno;
    if (file != NULL && (is_out ? fflush(file) : fclose(file)) != 0) {
        is_good = false;
        number = errno;
    }
    if (!is_good) {
        cli_complain("%s: %s", path, strerror(number));
    }
    return is_good;
}

bool check_write_junit(const struct identity_run *run, const char *path)
{
    uint32_t count[IDENTITY_STATUS_COUNT];
    struct buf text;
    count_all(run, count);
    buf_init(&text, JUNIT_BYTES_MAX);
    buf_addf(&text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<testsuites>\n"
            "<testsuite name=\"outpost\" tests=\"%u\" failures=\"%u\" errors=\"%u\" "
            "skipped=\"%u\">\n",
            identity_run_count(run), count[IDENTITY_FAIL], count[IDENTITY_ERROR],
            count[IDENTITY_SKIP]);
    for (uint32_t i = 0; i < identity_run_count(run); i++) {
        add_case(&text, identity_run_result(run, i));
    }
    buf_add_c(&text, "</testsuite>\n</testsuites>\n");
    bool is_good = write_text(&text, path);
    buf_done(&text);
    return is_good;
}

/* ---- progress ---- */

void check_progress(void *ctx, uint32_t done_count, uint32_t total_count)
{
    (void)ctx;
    if (!isatty(STDERR_FILENO) || total_count == 0) {
        return;
    }
    if (done_count == total_count) {
        fprintf(stderr, "\r%*s\r", BAR_WIDTH + 30, "");
        return;
    }
    uint32_t filled = done_count * BAR_WIDTH / total_count;
    char bar[BAR_WIDTH + 1];
    for (uint32_t i = 0; i < BAR_WIDTH; i++) {
        bar[i] = i < filled ? '#' : '.';
    }
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %u of %u checks", bar, done_count, total_count);
}
