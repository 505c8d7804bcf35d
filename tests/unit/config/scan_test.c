/* SPDX-License-Identifier: Apache-2.0
 *
 * scan_test.c - bad files: each in tests/data/config/bad is refused with exactly the faults beside
 * it.
 */
#include "core/str.h"
#include "rig.h"

#include <dirent.h>

static const char bad_dir[] = "tests/data/config/bad";

static void check_bad_file(const char *name)
{
    char path[256], faults_path[256];
    size_t stem = strlen(name) - 5;
    fmt(path, sizeof path, "%s/%s", bad_dir, name);
    fmt(faults_path, sizeof faults_path, "%s/%.*s.faults", bad_dir, (int)stem, name);
    struct buf expected, got;
    read_data(faults_path, &expected);
    buf_init(&got, 1 << 20);
    struct config *config = NULL;
    struct config_report *report = mem_new(sizeof *report);
    CHECK_ERR(config_load(path, &config, report), E_SYNTAX);
    CHECK(config == NULL);
    config_report_print(report, &got);
    test_check_str(buf_str(&got), buf_str(&expected), path, __FILE__, __LINE__);
    config_report_done(report);
    mem_free(report);
    buf_done(&got);
    buf_done(&expected);
}

TEST(every_bad_file_is_refused_with_the_faults_beside_it)
{
    DIR *dir = opendir(bad_dir);
    CHECK(dir != NULL);
    struct dirent *entry;
    uint32_t count = 0;
    while ((entry = readdir(dir))) {
        if (str_ends_nocase(str_from_c(entry->d_name), STR(".conf"))) {
            check_bad_file(entry->d_name);
            count++;
        }
    }
    closedir(dir);
    CHECK(count > 30, "%u files", count);
}

TEST(a_file_cut_anywhere_is_refused_or_still_a_configuration)
{
    struct buf text;
    struct config_report *report = mem_new(sizeof *report);
    read_data("tests/data/config/good/full.conf", &text);
    for (size_t len = 0; len < text.len; len += 7) {
        struct config *config = NULL;
        enum err err = config_parse(str_sub(buf_str(&text), 0, len),
                STR("tests/data/config/good/cut.conf"), &config, report);
        CHECK(err == OK || (err == E_SYNTAX && report->fault_count > 0), "cut at %zu: %s", len,
                err_name(err));
        config_give(config);
    }
    config_report_done(report);
    mem_free(report);
    buf_done(&text);
}

TEST(a_backslash_at_the_very_end_is_no_read_past_it)
{
    struct rig rig;
    rig_begin(&rig);
    CHECK_ERR(rig_parse(&rig, "data-dir = \"x\\"), E_SYNTAX);
    CHECK_ERR(rig_parse(&rig, "data-dir = \"x\\\""), E_SYNTAX);
    CHECK_ERR(rig_parse(&rig, "/"), E_SYNTAX);
    CHECK_ERR(rig_parse(&rig, "/*"), E_SYNTAX);
    CHECK_ERR(rig_parse(&rig, "hostname = m.example /*x*/ // y"), OK);
    rig_end(&rig);
}

TEST(more_sections_than_the_limit_are_refused)
{
    struct rig rig;
    struct buf text;
    rig_begin(&rig);
    buf_init(&text, 4 << 20);
    buf_add_c(&text, "hostname = mail.example.com\n");
    for (int i = 0; i < CONFIG_SECTION_COUNT_MAX + 1; i++) {
        buf_addf(&text, "domain d%d.example { }\n", i);
    }
    struct config *config = NULL;
    CHECK_ERR(config_parse(buf_str(&text), STR("x"), &config, rig.report), E_SYNTAX);
    CHECK_U64(rig.report->fault_count, 1);
    CHECK_STR(rig.report->fault[0].text, STR("more than 20000 sections"));
    CHECK_U64(rig.report->fault[0].line, CONFIG_SECTION_COUNT_MAX + 2);
    buf_done(&text);
    rig_end(&rig);
}

TEST(a_text_larger_than_a_file_may_be_is_refused)
{
    struct rig rig;
    rig_begin(&rig);
    char *text = mem_new(CONFIG_FILE_BYTES_MAX + 1);
    memset(text, ' ', CONFIG_FILE_BYTES_MAX + 1);
    struct config *config = NULL;
    struct str large = str_of(text, CONFIG_FILE_BYTES_MAX + 1);
    CHECK_ERR(config_parse(large, STR("x"), &config, rig.report), E_SYNTAX);
    CHECK_STR(rig.report->fault[0].text, STR("larger than 4194304 bytes"));
    rig_write(&rig, "outpost.conf", 0600, large);
    CHECK_ERR(rig_load(&rig), E_SYNTAX);
    CHECK(str_find(buf_str(&rig.faults), STR("is larger than 4194304 bytes")) < rig.faults.len);
    mem_free(text);
    rig_end(&rig);
}
