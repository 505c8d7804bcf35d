/* SPDX-License-Identifier: Apache-2.0
 *
 * crc32c_priv.h - both ways to compute it, for crc32c.c and its test.
 */
#ifndef OUTPOST_CORE_CRC32C_PRIV_H
#define OUTPOST_CORE_CRC32C_PRIV_H

#include "core/base.h"

uint32_t crc32c_by_table(uint32_t crc, struct str s); /* any CPU */
bool crc32c_cpu_helps(void);
uint32_t crc32c_by_cpu(uint32_t crc, struct str s); /* only where crc32c_cpu_helps() */

#endif
