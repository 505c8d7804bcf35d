/* SPDX-License-Identifier: Apache-2.0
 *
 * data.h - reading test data, relative to the source root.
 */
#ifndef OUTPOST_TESTS_UNIT_MAIL_DATA_H
#define OUTPOST_TESTS_UNIT_MAIL_DATA_H

#include "core/buf.h"

/* The whole file into a fresh buffer; fails the test where it cannot. */
void data_read(const char *path, struct buf *ret_text);

#endif
