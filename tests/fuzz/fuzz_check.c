/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_check.c - liboutpost-check: what callers say (the first five lines: domain, address, sender,
 * selector, public key) and what a zone says to it (the rest). No byte of either reaches a result
 * as it came where it is not printable.
 */
#include "check/outpost-check.h"
#include "core/str.h"

#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINE_COUNT = 5, LINE_CAP = 2048 };

static void is_plain(const char *text)
{
    ASSERT(text != NULL && strlen(text) <= OUTPOST_CHECK_TEXT_BYTES_MAX);
    for (; *text != '\0'; text++) {
        ASSERT(*text >= ' ' && *text <= '~');
    }
}

static void look_at(const struct outpost_check_result *result)
{
    const char *const text[] = { result->domain, result->ip, result->ptr.value, result->ptr.error,
        result->spf.record, result->spf.error, result->spf.mechanism, result->default_dkim.record,
        result->dkim[0].record, result->dkim[0].error, result->dmarc.record, result->dmarc.rua,
        result->dmarc.error };
    for (size_t i = 0; i < COUNT_OF(text); i++) {
        is_plain(text[i]);
    }
    ASSERT(!result->spf.valid || result->spf.present);
    ASSERT(result->dmarc.valid == (result->dmarc.status == OUTPOST_CHECK_OK));
    ASSERT(result->dkim[0].matches >= -1 && result->dkim[0].matches <= 1);
}

static bool write_zone(const char *path, struct str text)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        return false;
    }
    bool is_written = fwrite(text.ptr, 1, text.len, file) == text.len;
    return fclose(file) == 0 && is_written;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64], line[LINE_COUNT][LINE_CAP];
    struct str part, rest = { (const char *)data, size };
    struct outpost_check_result *result;
    if (size > 1 << 16) {
        return 0;
    }
    for (size_t i = 0; i < LINE_COUNT; i++) {
        if (!str_cut(&rest, '\n', &part) || !str_to_c(part, line[i], LINE_CAP)) {
            return 0;
        }
    }
    (void)snprintf(path, sizeof path, "/tmp/outpost-fuzz-check-%d", getpid());
    struct outpost_check_selector selector = { line[3], line[4][0] != '\0' ? line[4] : NULL };
    struct outpost_check_options options = {
        .zone_file = path, .mail_from = line[2], .selectors = &selector, .selector_count = 1
    };
    if (write_zone(path, rest) &&
            outpost_check(line[0], line[1], &options, &result) == OUTPOST_CHECK_SUCCESS) {
        look_at(result);
        outpost_check_free(result);
    }
    (void)remove(path);
    return 0;
}
