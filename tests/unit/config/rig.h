/* SPDX-License-Identifier: Apache-2.0
 *
 * rig.h - a directory of its own for each test, files in it, and loads with their faults as text.
 */
#ifndef OUTPOST_TESTS_CONFIG_RIG_H
#define OUTPOST_TESTS_CONFIG_RIG_H

#include "config/config.h"
#include "tests/test.h"

struct rig {
    char dir[64];
    char path[128]; /* dir/outpost.conf */
    struct config_report *report;
    struct config *config; /* of the last load that was OK */
    struct buf faults;     /* of the last load, as config_report_print says them, without dir */
};
void rig_begin(struct rig *rig);
void rig_end(struct rig *rig); /* removes the directory */
/* name may hold one directory: "credentials.d/a.conf". */
void rig_write(struct rig *rig, const char *name, uint32_t mode, struct str text);
void rig_write_key(
        struct rig *rig, const char *name, uint32_t mode, enum key_kind kind, uint32_t bits);
enum err rig_load(struct rig *rig);                        /* outpost.conf */
enum err rig_load_text(struct rig *rig, const char *text); /* writes it first */
enum err rig_parse(struct rig *rig, const char *text);     /* in memory, named rig->path */
#define CHECK_FAULTS(rig, expected) CHECK_STR(buf_str(&(rig)->faults), STR(expected))

/* The text of a file under the source root. */
void read_data(const char *path, struct buf *ret_text);

#endif
