/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_intake.c - a message through the door, split in two at a place of the input's choosing. What
 * is let in has a header that parses again, and no line, NUL or control field that must not be.
 */
#include "core/arena.h"
#include "core/str.h"
#include "intake/intake.h"
#include "mail/header.h"

static void fill(struct entropy *entropy, void *dst, size_t len_bytes)
{
    (void)entropy;
    memset(dst, 7, len_bytes);
}

static void check_content(const struct blob *content)
{
    struct header header;
    struct arena arena;
    struct buf text;
    struct why why;
    buf_init(&text, SPOOL_INLINE_BYTES_MAX);
    for (const struct blob_chunk *chunk = content->first; chunk; chunk = chunk->next) {
        buf_add(&text, str_of(chunk->data, chunk->len));
    }
    arena_init(&arena, HEADER_ARENA_BYTES);
    enum err err = header_parse(&arena, buf_str(&text), false, &header, &why);
    ASSERT(err == OK || err == E_TOO_BIG); /* with our own fields one more than the limit */
    if (err == OK) {
        ASSERT(header_count(&header, STR("From")) == 1);
        ASSERT(header_count(&header, STR("Bcc")) == 0);
        ASSERT(header_count(&header, STR("X-Outpost-Tag")) == 0);
        ASSERT(header_count(&header, STR("Date")) == 1);
        ASSERT(header_count(&header, STR("Message-ID")) == 1);
    }
    ASSERT(text.len == 0 || memchr(text.ptr, '\0', text.len) == NULL);
    arena_done(&arena);
    buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config = { .hostname = STR("mail.example.com") };
    struct intake_client client = {
        .config = &config, .client = STR("192.0.2.1"), .helo = STR("x"), .protocol = STR("ESMTP")
    };
    struct entropy entropy = { fill };
    struct intake *intake;
    struct keeper_accept *accept;
    struct spool_body drop;
    struct intake_refusal refusal;
    struct ulid ulid;
    if (size < 2 || size > SPOOL_INLINE_BYTES_MAX / 2 ||
            intake_new(&client, NULL, &entropy, (struct wall){ 1 }, &intake) != OK) {
        return 0;
    }
    size_t split = ((size_t)data[0] << 8 | data[1]) % size;
    struct str content = str_of((const char *)data + 2, size - 2);
    ASSERT(intake_recipient(intake, STR("a@example.net"), &refusal) == OK);
    intake_content(intake, str_sub(content, 0, split));
    intake_content(intake, str_from(content, split));
    intake_end(intake);
    if (intake_finish(intake, &accept, &ulid, &drop, &refusal) == OK) {
        check_content(accept->content);
        keeper_accept_free(accept);
    } else {
        ASSERT(refusal.code >= 400 && refusal.code <= 599);
    }
    intake_free(intake);
    return 0;
}
