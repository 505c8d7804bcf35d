/* SPDX-License-Identifier: Apache-2.0
 *
 * body.c - a message as it goes out: signature fields, content with dots stuffed, end of data.
 *
 * All slices of blobs that are shared and immutable: no byte is copied. Made as the socket takes
 * them, BODY_IOV_COUNT at a time.
 */
#include "deliver/deliver_priv.h"

enum { SLICES_AT_A_TIME = 16 };

static void add_slice(struct body *body, struct str slice)
{
    ASSERT(body->iov_count < BODY_IOV_COUNT);
    /* iovec knows no const; writev only reads */
    body->iov[body->iov_count++] =
            (struct iovec){ .iov_base = (void *)(uintptr_t)slice.ptr, .iov_len = slice.len };
}

void body_begin(struct body *body, const struct blob *signature, const struct blob *content)
{
    *body = (struct body){ .is_active = true, .is_in_signature = true, .content = content };
    body->chunk = signature ? signature->first : NULL;
}

/* The chunk to slice next, skipping what is used up; NULL: only the end of data is left. */
static const struct blob_chunk *body_chunk(struct body *body)
{
    for (;;) {
        while (body->chunk && body->chunk_done == body->chunk->len) {
            body->chunk = body->chunk->next;
            body->chunk_done = 0;
        }
        if (body->chunk || !body->is_in_signature) {
            return body->chunk;
        }
        body->is_in_signature = false;
        body->chunk = body->content ? body->content->first : NULL;
    }
}

void body_fill(struct body *body)
{
    if (!body->is_active || body->is_sliced) {
        return;
    }
    if (body->iov_at == body->iov_count) {
        body->iov_at = body->iov_count = 0;
    }
    while (body->iov_count < BODY_IOV_COUNT) {
        const struct blob_chunk *chunk = body_chunk(body);
        if (!chunk) {
            add_slice(body, dot_end(&body->dots)); /* RFC 5321 4.1.1.4 */
            body->is_sliced = true;
            return;
        }
        struct str slice[SLICES_AT_A_TIME];
        size_t room = BODY_IOV_COUNT - body->iov_count;
        size_t used;
        size_t count = dot_stuff(&body->dots,
                str_of(chunk->data + body->chunk_done, chunk->len - body->chunk_done), slice,
                room < SLICES_AT_A_TIME ? room : SLICES_AT_A_TIME, &used);
        body->chunk_done += used;
        for (size_t i = 0; i < count; i++) {
            add_slice(body, slice[i]);
        }
    }
}

size_t body_wrote(struct body *body, size_t n_bytes)
{
    while (n_bytes > 0 && body->iov_at < body->iov_count) {
        struct iovec *iov = &body->iov[body->iov_at];
        size_t part = n_bytes < iov->iov_len ? n_bytes : iov->iov_len;
        iov->iov_base = (char *)iov->iov_base + part;
        iov->iov_len -= part;
        n_bytes -= part;
        body->iov_at += iov->iov_len == 0;
    }
    if (body->is_sliced && body->iov_at == body->iov_count) {
        body->is_active = false;
    }
    return n_bytes;
}
