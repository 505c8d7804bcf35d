/* SPDX-License-Identifier: Apache-2.0
 *
 * buf.h - a growing byte buffer that is born with a maximum.
 *
 * An append that would pass the maximum (E_TOO_BIG), or finds no memory (E_NOMEM), appends nothing
 * and makes the buffer *sticky bad*: later appends do nothing too, and buf_err() tells at the end.
 * So a writer checks once. Owner: whoever called buf_init; buf_done frees.
 */
#ifndef OUTPOST_CORE_BUF_H
#define OUTPOST_CORE_BUF_H

#include "core/base.h"

struct buf {
    char *ptr;
    size_t len;
    size_t cap;
    size_t max_bytes;
    enum err err;
};

void buf_init(struct buf *buf, size_t max_bytes);
void buf_done(struct buf *buf);  /* frees; buf is empty and usable again with the same maximum */
void buf_clear(struct buf *buf); /* length 0, no error, memory kept */
enum err buf_err(const struct buf *buf);

void buf_add(struct buf *buf, struct str s);
void buf_add_c(struct buf *buf, const char *nul_terminated);
void buf_add_char(struct buf *buf, char c);
void buf_addf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_add_u16(struct buf *buf, uint16_t v); /* little endian, as all of ours on disk */
void buf_add_u32(struct buf *buf, uint32_t v);
void buf_add_u64(struct buf *buf, uint64_t v);
void buf_add_str32(struct buf *buf, struct str s); /* u32 length, then the bytes */

/* Room for at least len more bytes at the end: write there, then buf_grew. NULL: see buf_err. */
MUST_USE char *buf_space(struct buf *buf, size_t len);
void buf_grew(struct buf *buf, size_t len);
void buf_drop_front(struct buf *buf, size_t len);
void buf_cut(struct buf *buf, size_t len); /* shortens to len */

static inline struct str buf_str(const struct buf *buf)
{
    return (struct str){ buf->ptr, buf->len };
}
/* Gives the bytes away (mem_free later); the buffer is empty again. */
MUST_USE char *buf_take(struct buf *buf, size_t *ret_len);

/* A cursor over bytes of ours: reads what buf_add_* wrote. Past the end it turns bad, returns
 * zeros and stays so; check `bad` once at the end. */
struct cur {
    struct str rest;
    bool bad;
};
uint8_t cur_u8(struct cur *cur);
uint16_t cur_u16(struct cur *cur);
uint32_t cur_u32(struct cur *cur);
uint64_t cur_u64(struct cur *cur);
struct str cur_bytes(struct cur *cur, size_t len);
struct str cur_str32(struct cur *cur, size_t max_bytes);

uint16_t get_u16(const void *at);
uint32_t get_u32(const void *at);
uint64_t get_u64(const void *at);
void put_u16(void *at, uint16_t v);
void put_u32(void *at, uint32_t v);
void put_u64(void *at, uint64_t v);

#endif
