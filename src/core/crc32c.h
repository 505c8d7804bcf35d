/* SPDX-License-Identifier: Apache-2.0
 *
 * crc32c.h - the Castagnoli checksum of the spool (RFC 3720 B.4), by SSE4.2 where the CPU has it.
 */
#ifndef OUTPOST_CORE_CRC32C_H
#define OUTPOST_CORE_CRC32C_H

#include "core/base.h"

/* Continues crc over s; start with 0. crc32c(crc32c(0, a), b) == crc32c(0, ab). */
uint32_t crc32c(uint32_t crc, struct str s);

#endif
