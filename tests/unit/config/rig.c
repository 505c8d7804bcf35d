/* SPDX-License-Identifier: Apache-2.0
 *
 * rig.c - see rig.h.
 */
#include "rig.h"

#include "core/str.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 8 << 20 };

void rig_begin(struct rig *rig)
{
    *rig = (struct rig){ .dir = "/tmp/outpost-config-XXXXXX" };
    CHECK(mkdtemp(rig->dir) != NULL);
    fmt(rig->path, sizeof rig->path, "%s/outpost.conf", rig->dir);
    rig->report = mem_new(sizeof *rig->report);
    CHECK(rig->report != NULL);
    buf_init(&rig->faults, TEXT_BYTES_MAX);
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *ftw)
{
    (void)stat;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void rig_end(struct rig *rig)
{
    nftw(rig->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    config_give(rig->config);
    config_report_done(rig->report);
    mem_free(rig->report);
    buf_done(&rig->faults);
}

void rig_write(struct rig *rig, const char *name, uint32_t mode, struct str text)
{
    char path[256];
    size_t slash = str_index(str_from_c(name), '/');
    if (slash < strlen(name)) {
        fmt(path, sizeof path, "%s/%.*s", rig->dir, (int)slash, name);
        mkdir(path, 0700);
    }
    fmt(path, sizeof path, "%s/%s", rig->dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0, "%s", path);
    CHECK(write(fd, text.ptr, text.len) == (ssize_t)text.len);
    CHECK(fchmod(fd, mode) == 0);
    close(fd);
}

void rig_write_key(
        struct rig *rig, const char *name, uint32_t mode, enum key_kind kind, uint32_t bits)
{
    struct key *key = NULL;
    struct buf pem;
    buf_init(&pem, 65536);
    REQUIRE_OK(key_generate(kind, bits, &key));
    REQUIRE_OK(key_to_pem(key, &pem));
    rig_write(rig, name, mode, buf_str(&pem));
    key_free(key);
    buf_done(&pem);
}

/* The report as text, with the directory cut out of it. */
static void keep_faults(struct rig *rig)
{
    struct buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    config_report_print(rig->report, &text);
    buf_clear(&rig->faults);
    char dir[80];
    fmt(dir, sizeof dir, "%s/", rig->dir);
    struct str rest = buf_str(&text), mark = str_from_c(dir);
    while (rest.len > 0) {
        size_t at = str_find(rest, mark);
        buf_add(&rig->faults, str_sub(rest, 0, at));
        rest = str_from(rest, at + mark.len);
    }
    buf_done(&text);
}

enum err rig_load(struct rig *rig)
{
    struct config *config = NULL;
    enum err err = config_load(rig->path, &config, rig->report);
    keep_faults(rig);
    if (err == OK) {
        config_give(rig->config);
        rig->config = config;
    }
    return err;
}

enum err rig_load_text(struct rig *rig, const char *text)
{
    rig_write(rig, "outpost.conf", 0600, str_from_c(text));
    return rig_load(rig);
}

enum err rig_parse(struct rig *rig, const char *text)
{
    struct config *config = NULL;
    enum err err = config_parse(str_from_c(text), str_from_c(rig->path), &config, rig->report);
    keep_faults(rig);
    if (err == OK) {
        config_give(rig->config);
        rig->config = config;
    }
    return err;
}

void read_data(const char *path, struct buf *ret_text)
{
    FILE *file = fopen(path, "rb");
    buf_init(ret_text, TEXT_BYTES_MAX);
    CHECK(file != NULL, "%s (tests run in the source root)", path);
    char block[4096];
    size_t got;
    while ((got = fread(block, 1, sizeof block, file)) > 0) {
        buf_add(ret_text, str_of(block, got));
    }
    fclose(file);
}
