/* SPDX-License-Identifier: Apache-2.0
 *
 * buf.c - the bounded growing buffer, and the cursor that reads what it wrote.
 *
 * One byte more than cap is allocated, so that buf_addf can print in place: snprintf wants room
 * for its NUL, which is never counted.
 */
#include "core/buf.h"

#include <stdarg.h>

enum { BUF_CAP_MIN = 63 };

void buf_init(struct buf *buf, size_t max_bytes)
{
    *buf = (struct buf){ .max_bytes = max_bytes };
}

void buf_done(struct buf *buf)
{
    mem_free(buf->ptr);
    buf_init(buf, buf->max_bytes);
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->err = OK;
}

enum err buf_err(const struct buf *buf)
{
    return buf->err;
}

static bool buf_set_cap(struct buf *buf, size_t need_bytes)
{
    size_t cap = buf->cap ? buf->cap * 2 + 1 : BUF_CAP_MIN;
    cap = cap < need_bytes ? need_bytes : cap;
    cap = cap > buf->max_bytes ? buf->max_bytes : cap;
    char *ptr = cap < SIZE_MAX / 2 ? mem_grow(buf->ptr, cap + 1) : NULL;
    if (!ptr) {
        buf->err = E_NOMEM;
        return false;
    }
    buf->ptr = ptr;
    buf->cap = cap;
    return true;
}

char *buf_space(struct buf *buf, size_t len)
{
    ASSERT(buf->len <= buf->cap);
    if (buf->err != OK) {
        return NULL;
    }
    if (len > buf->max_bytes - buf->len) {
        buf->err = E_TOO_BIG;
        return NULL;
    }
    if ((len > buf->cap - buf->len || !buf->ptr) && !buf_set_cap(buf, buf->len + len)) {
        return NULL;
    }
    return buf->ptr + buf->len;
}

void buf_grew(struct buf *buf, size_t len)
{
    ASSERT(len <= buf->cap - buf->len);
    buf->len += len;
}

void buf_add(struct buf *buf, struct str s)
{
    if (s.len == 0) {
        return;
    }
    char *at = buf_space(buf, s.len);
    if (at) {
        memcpy(at, s.ptr, s.len);
        buf->len += s.len;
    }
}

void buf_add_c(struct buf *buf, const char *nul_terminated)
{
    buf_add(buf, str_from_c(nul_terminated));
}

void buf_add_char(struct buf *buf, char c)
{
    buf_add(buf, str_of(&c, 1));
}

void buf_addf(struct buf *buf, const char *format, ...)
{
    char text[256];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(text, sizeof text, format, args);
    ASSERT(len >= 0);
    if ((size_t)len < sizeof text) {
        buf_add(buf, str_of(text, (size_t)len));
    } else {
        char *at = buf_space(buf, (size_t)len);
        if (at) {
            vsnprintf(at, (size_t)len + 1, format, again); /* cap + 1 is allocated */
            buf->len += (size_t)len;
        }
    }
    va_end(again);
    va_end(args);
}

void buf_add_u16(struct buf *buf, uint16_t v)
{
    char at[2];
    put_u16(at, v);
    buf_add(buf, str_of(at, sizeof at));
}

void buf_add_u32(struct buf *buf, uint32_t v)
{
    char at[4];
    put_u32(at, v);
    buf_add(buf, str_of(at, sizeof at));
}

void buf_add_u64(struct buf *buf, uint64_t v)
{
    char at[8];
    put_u64(at, v);
    buf_add(buf, str_of(at, sizeof at));
}

void buf_add_str32(struct buf *buf, struct str s)
{
    size_t total = 0;
    if (s.len > UINT32_MAX || __builtin_add_overflow(s.len, 4, &total)) {
        buf->err = buf->err != OK ? buf->err : E_TOO_BIG;
        return;
    }
    if (buf_space(buf, total)) { /* both parts or neither */
        buf_add_u32(buf, (uint32_t)s.len);
        buf_add(buf, s);
    }
}

void buf_drop_front(struct buf *buf, size_t len)
{
    ASSERT(len <= buf->len);
    if (len > 0) {
        memmove(buf->ptr, buf->ptr + len, buf->len - len);
        buf->len -= len;
    }
}

void buf_cut(struct buf *buf, size_t len)
{
    ASSERT(len <= buf->len);
    buf->len = len;
}

char *buf_take(struct buf *buf, size_t *ret_len)
{
    char *ptr = buf->ptr;
    *ret_len = buf->len;
    buf_init(buf, buf->max_bytes);
    return ptr;
}

struct str cur_bytes(struct cur *cur, size_t len)
{
    if (cur->bad || len > cur->rest.len) {
        cur->bad = true;
        return (struct str){ 0 };
    }
    struct str bytes = str_of(cur->rest.ptr, len);
    if (len > 0) {
        cur->rest = str_of(cur->rest.ptr + len, cur->rest.len - len);
    }
    return bytes;
}

uint8_t cur_u8(struct cur *cur)
{
    struct str bytes = cur_bytes(cur, 1);
    return bytes.len ? (uint8_t)bytes.ptr[0] : 0;
}

uint16_t cur_u16(struct cur *cur)
{
    struct str bytes = cur_bytes(cur, 2);
    return bytes.len ? get_u16(bytes.ptr) : 0;
}

uint32_t cur_u32(struct cur *cur)
{
    struct str bytes = cur_bytes(cur, 4);
    return bytes.len ? get_u32(bytes.ptr) : 0;
}

uint64_t cur_u64(struct cur *cur)
{
    struct str bytes = cur_bytes(cur, 8);
    return bytes.len ? get_u64(bytes.ptr) : 0;
}

struct str cur_str32(struct cur *cur, size_t max_bytes)
{
    uint32_t len = cur_u32(cur);
    if (len > max_bytes) {
        cur->bad = true;
    }
    return cur_bytes(cur, len);
}

/* The compiler turns these shifts into single loads and stores. */
uint16_t get_u16(const void *at)
{
    const uint8_t *byte = at;
    return (uint16_t)(byte[0] | byte[1] << 8);
}

uint32_t get_u32(const void *at)
{
    const uint8_t *byte = at;
    return (uint32_t)byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 |
           (uint32_t)byte[3] << 24;
}

uint64_t get_u64(const void *at)
{
    const uint8_t *byte = at;
    return (uint64_t)get_u32(byte) | (uint64_t)get_u32(byte + 4) << 32;
}

void put_u16(void *at, uint16_t v)
{
    uint8_t *byte = at;
    byte[0] = (uint8_t)v;
    byte[1] = (uint8_t)(v >> 8);
}

void put_u32(void *at, uint32_t v)
{
    put_u16(at, (uint16_t)v);
    put_u16((uint8_t *)at + 2, (uint16_t)(v >> 16));
}

void put_u64(void *at, uint64_t v)
{
    put_u32(at, (uint32_t)v);
    put_u32((uint8_t *)at + 4, (uint32_t)(v >> 32));
}
