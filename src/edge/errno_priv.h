/* SPDX-License-Identifier: Apache-2.0
 *
 * errno_priv.h - the system's error numbers as ours, for the adapters of this room.
 */
#ifndef OUTPOST_EDGE_ERRNO_PRIV_H
#define OUTPOST_EDGE_ERRNO_PRIV_H

#include "core/base.h"

enum err err_from_errno(int number); /* never OK */
const char *errno_words(int number); /* "No space left on device"; never NULL, static */

#endif
