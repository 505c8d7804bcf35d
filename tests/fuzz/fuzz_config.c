/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_config.c - any text is a configuration or has faults; what is printed of it is one again.
 */
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_printed(const struct config *config, struct config_report *report)
{
    struct buf text;
    struct config *again = NULL;
    buf_init(&text, CONFIG_FILE_BYTES_MAX);
    config_print(config, /*is_explained*/ true, &text);
    enum err err = config_parse(buf_str(&text), STR("printed"), &again, report);
    ASSERT(err == OK);
    config_give(again);
    buf_clear(&text);
    config_print_json(config, &text);
    ASSERT(buf_err(&text) == OK);
    buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config_report report; /* all-zero is empty; too large for the stack */
    struct config *config = NULL;
    enum err err =
            config_parse(str_of((const char *)data, size), STR("fuzz.conf"), &config, &report);
    ASSERT(err == OK ? config != NULL : report.fault_count > 0 && err == E_SYNTAX);
    if (config) {
        check_printed(config, &report);
    }
    config_give(config);
    config_report_done(&report);
    return 0;
}
