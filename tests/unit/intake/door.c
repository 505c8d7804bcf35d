/* SPDX-License-Identifier: Apache-2.0
 *
 * door.c - see door.h.
 */
#include "tests/unit/intake/door.h"

static struct str shop_from[] = { STR_INIT("example.com"), STR_INIT("shop.example") };
static struct str shop_streams[] = { STR_INIT("transactional"), STR_INIT("bulk") };
/* Look-ups are by bisection: in order of names. */
static struct config_credential credentials[] = {
    { .name = STR_INIT("any") },
    { .name = STR_INIT("shop"),
            .from = shop_from,
            .from_count = 2,
            .stream = shop_streams,
            .stream_count = 2 },
};
static struct config_dkim_key keys[] = { { .selector = STR_INIT("s1") } };
static struct config_domain domains[] = {
    { .name = STR_INIT("example.com"), .key = keys, .key_count = 1 },
    { .name = STR_INIT("nokey.example") },
};
static struct config_stream streams[] = {
    { .name = STR_INIT("bulk") },
    { .name = STR_INIT("transactional") },
    { .name = STR_INIT("signed"), .is_signed = true },
    { .name = STR_INIT("system"), .is_signed = true },
};
static struct config_route routes[] = {
    { .domain = STR_INIT("*") },
    { .domain = STR_INIT("[10.0.0.7]") },
};

const struct config *door_config(void)
{
    static struct config config;
    config = (struct config){ .hostname = STR("mail.example.com"),
        .message_bytes_max = 40 << 20,
        .credential = credentials,
        .credential_count = COUNT_OF(credentials),
        .domain = domains,
        .domain_count = COUNT_OF(domains),
        .stream = streams,
        .stream_count = COUNT_OF(streams),
        .route = routes,
        .route_count = COUNT_OF(routes) };
    return &config;
}

const struct config_credential *door_credential(const char *name)
{
    return name ? config_credential(door_config(), str_from_c(name)) : NULL;
}

static uint8_t entropy_next;
static void count_fill(struct entropy *entropy, void *dst, size_t len_bytes)
{
    (void)entropy;
    for (size_t i = 0; i < len_bytes; i++) {
        ((uint8_t *)dst)[i] = entropy_next++;
    }
}

struct entropy *door_entropy(void)
{
    static struct entropy entropy = { count_fill };
    return &entropy;
}

struct blob_budget door_budget = { .max_bytes = 64 << 20 };

void door_reset(void)
{
    entropy_next = 0;
}

struct intake_client door_client(const char *credential)
{
    return (struct intake_client){ .config = door_config(),
        .credential = door_credential(credential),
        .client = STR("192.0.2.1"),
        .helo = STR("app.example.com"),
        .protocol = STR("ESMTPSA"),
        .tls = STR("TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256 bits)") };
}

void blob_gather(const struct blob *blob, struct buf *dst)
{
    for (const struct blob_chunk *chunk = blob ? blob->first : NULL; chunk; chunk = chunk->next) {
        buf_add(dst, str_of(chunk->data, chunk->len));
    }
}

void door_finish(struct intake *intake, struct door_result *ret_result)
{
    struct door_result *result = ret_result;
    *result = (struct door_result){ 0 };
    buf_init(&result->content, 64 << 20);
    buf_init(&result->envelope_text, SPOOL_ENVELOPE_BYTES_MAX);
    result->err =
            intake_finish(intake, &result->accept, &result->ulid, &result->drop, &result->refusal);
    if (result->err == OK) {
        blob_gather(result->accept->envelope, &result->envelope_text);
        blob_gather(result->accept->content, &result->content);
        REQUIRE_OK(spool_envelope_decode(buf_str(&result->envelope_text), &result->envelope));
    }
}

void door_submit(const struct intake_client *client, struct str content, size_t part_bytes,
        struct door_result *ret_result)
{
    struct intake *intake;
    struct intake_refusal refusal;
    struct wall now = { 1764075600000 }; /* Tue, 25 Nov 2025 13:00:00 +0000 */
    door_reset();
    REQUIRE_OK(intake_new(client, &door_budget, door_entropy(), now, &intake));
    REQUIRE_OK(intake_sender(intake, STR("sender@example.com"), false, &refusal));
    REQUIRE_OK(intake_recipient(intake, STR("rcpt@example.net"), &refusal));
    while (content.len > 0) {
        size_t len = part_bytes == 0 || part_bytes > content.len ? content.len : part_bytes;
        /* a copy of exact size, so that a read past its end is seen */
        char *copy = mem_new(len);
        CHECK(copy);
        memcpy(copy, content.ptr, len);
        intake_content(intake, str_of(copy, len));
        mem_free(copy);
        content = str_of(content.ptr + len, content.len - len);
    }
    intake_end(intake);
    door_finish(intake, ret_result);
    intake_free(intake);
}

void door_result_done(struct door_result *result)
{
    if (result->accept) {
        keeper_accept_free(result->accept);
    }
    mem_free(result->drop.extent);
    buf_done(&result->content);
    buf_done(&result->envelope_text);
    CHECK_U64(door_budget.used_bytes, 0);
}
