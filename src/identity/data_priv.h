/* SPDX-License-Identifier: Apache-2.0
 *
 * data_priv.h - the lists of data/, compiled into the program so that it works anywhere.
 *
 * A file of data/ is UTF-8 text with LF line ends; '#' begins a comment line. To add one, name it
 * in data/meson.build.
 */
#ifndef OUTPOST_IDENTITY_DATA_PRIV_H
#define OUTPOST_IDENTITY_DATA_PRIV_H

#include "core/base.h"

struct identity_data_file {
    const char *name; /* NULL: end of the table */
    const uint8_t *bytes;
    size_t size_bytes;
};
extern const struct identity_data_file identity_data_files[]; /* written by tools/embed */

/* The text of data/NAME, for as long as the program runs. A name that data/meson.build does not
 * have is a bug. */
struct str identity_data(const char *name);
/* Cuts the next line that is no comment and not blank off *rest, blanks at its ends removed; false
 * at the end. */
bool identity_data_line(struct str *rest, struct str *ret_line);
/* Cuts the next field (blanks between fields) off *line; false at its end. */
bool identity_data_field(struct str *line, struct str *ret_field);

#endif
