/* SPDX-License-Identifier: Apache-2.0
 *
 * crc32c.c - reflected polynomial 0x82f63b78: eight bytes a step, by instruction or by table.
 *
 * The tables (8 KiB) are computed at the first use on a CPU without SSE4.2.
 */
#include "core/crc32c.h"

#include "core/crc32c_priv.h"

#include <pthread.h>

static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_fill(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
        }
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int k = 1; k < 8; k++) {
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
        }
    }
}

/* buf.h has it too, but not inline. */
static uint32_t load_le32(const char *at)
{
    const uint8_t *byte = (const uint8_t *)at;
    return (uint32_t)byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 |
           (uint32_t)byte[3] << 24;
}

uint32_t crc32c_by_table(uint32_t crc, struct str s)
{
    pthread_once(&table_once, table_fill);
    crc = ~crc;
    for (; s.len >= 8; s = str_of(s.ptr + 8, s.len - 8)) {
        uint32_t low = load_le32(s.ptr) ^ crc, high = load_le32(s.ptr + 4);
        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
              table[4][low >> 24] ^ table[3][high & 0xff] ^ table[2][high >> 8 & 0xff] ^
              table[1][high >> 16 & 0xff] ^ table[0][high >> 24];
    }
    for (size_t i = 0; i < s.len; i++) {
        crc = crc >> 8 ^ table[0][(crc ^ (uint8_t)s.ptr[i]) & 0xff];
    }
    return ~crc;
}

#ifdef __x86_64__
bool crc32c_cpu_helps(void)
{
    return __builtin_cpu_supports("sse4.2") != 0;
}

__attribute__((target("sse4.2"))) uint32_t crc32c_by_cpu(uint32_t crc, struct str s)
{
    uint64_t wide = ~crc;
    for (; s.len >= 8; s = str_of(s.ptr + 8, s.len - 8)) {
        uint64_t word;
        memcpy(&word, s.ptr, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide; /* the instruction clears the upper half */
    for (size_t i = 0; i < s.len; i++) {
        crc = __builtin_ia32_crc32qi(crc, (uint8_t)s.ptr[i]);
    }
    return ~crc;
}
#else
bool crc32c_cpu_helps(void)
{
    return false;
}

uint32_t crc32c_by_cpu(uint32_t crc, struct str s)
{
    return crc32c_by_table(crc, s);
}
#endif

uint32_t crc32c(uint32_t crc, struct str s)
{
    return crc32c_cpu_helps() ? crc32c_by_cpu(crc, s) : crc32c_by_table(crc, s);
}
