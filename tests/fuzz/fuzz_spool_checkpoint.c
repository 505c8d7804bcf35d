/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_spool_checkpoint.c - a checkpoint whose checksums are right, whatever it says: a start takes
 * it or reads the journal instead, and what it took can be listed.
 */
#include "core/buf.h"
#include "core/crc32c.h"
#include "spool/format_priv.h"
#include "spool/spool_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER_INPUT_BYTES = 64, SLOT_BYTES = 65536 };

/* A disk of two files, META and ckpt.A, that only reads. */
struct image {
    struct disk disk;
    uint8_t meta[PAGE_BYTES];
    struct buf ckpt;
};
struct image_file {
    struct disk_file base;
    struct str bytes;
};

static enum err image_open(struct disk *disk, const char *name, uint32_t flags,
        struct disk_file **ret_file, struct why *why)
{
    struct image *image = CONTAINER_OF(disk, struct image, disk);
    struct image_file *file = mem_new(sizeof *file);
    (void)flags;
    (void)why;
    if (file == NULL) {
        return E_NOMEM;
    }
    if (strcmp(name, "META") == 0) {
        file->bytes = str_of((const char *)image->meta, sizeof image->meta);
    } else if (strcmp(name, "ckpt.A") == 0) {
        file->bytes = buf_str(&image->ckpt);
    } else {
        mem_free(file);
        return E_NOT_FOUND;
    }
    file->base.disk = disk;
    *ret_file = &file->base;
    return OK;
}
static void image_close(struct disk_file *file)
{
    mem_free(file);
}
static enum err image_read(struct disk_file *base, void *dst, size_t len, uint64_t offset,
        size_t *ret_len, struct why *why)
{
    struct image_file *file = CONTAINER_OF(base, struct image_file, base);
    (void)why;
    size_t left = offset < file->bytes.len ? file->bytes.len - (size_t)offset : 0;
    *ret_len = left < len ? left : len;
    if (*ret_len > 0) {
        memcpy(dst, file->bytes.ptr + offset, *ret_len);
    }
    return OK;
}
static enum err image_size(struct disk_file *base, uint64_t *ret_bytes, struct why *why)
{
    (void)why;
    *ret_bytes = CONTAINER_OF(base, struct image_file, base)->bytes.len;
    return OK;
}
static enum err image_list(
        struct disk *disk, void (*each)(void *ctx, const char *name), void *ctx, struct why *why)
{
    (void)disk;
    (void)why;
    each(ctx, "META");
    each(ctx, "ckpt.A");
    return OK;
}
static const struct disk_ops image_ops = { .open = image_open,
    .close = image_close,
    .read = image_read,
    .size = image_size,
    .list = image_list };

static void see(void *ctx, const struct spool_open_msg *msg, const struct spool_open_rcpt *rcpts,
        uint32_t rcpt_count)
{
    (void)ctx;
    ASSERT(msg->msg_id != 0 && rcpt_count == msg->open_count && rcpt_count >= 1);
    ASSERT(spool_state_is_open(rcpts[0].state));
}

/* The first bytes choose what the header says, the rest is the body. */
static void image_make(struct image *image, const uint8_t *data, size_t size)
{
    struct meta meta = { .major = FORMAT_MAJOR, .spool_id = 77, .slot_bytes = SLOT_BYTES };
    uint8_t page[PAGE_BYTES] = { 0 };
    struct str body = str_of((const char *)data + HEADER_INPUT_BYTES, size - HEADER_INPUT_BYTES);
    struct ckpt_header header = { .version = 1,
        .replay_seg = get_u64(data),
        .replay_at = get_u64(data + 8),
        .last_batch = get_u64(data + 16),
        .durable_upto = get_u64(data + 24),
        .slot_count = get_u64(data + 32),
        .msg_count = get_u64(data + 40),
        .body_len = body.len,
        .body_crc = crc32c(0, body) };
    *image = (struct image){ .disk = { &image_ops } };
    meta_encode(image->meta, &meta);
    ckpt_header_encode(page, 77, &header);
    buf_init(&image->ckpt, 8 << 20);
    buf_add(&image->ckpt, str_of((const char *)page, sizeof page));
    buf_add(&image->ckpt, body);
}

static struct mono no_mono(struct clock *clock)
{
    (void)clock;
    return (struct mono){ 0 };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image image;
    struct clock clock = { .mono = no_mono };
    struct spool *spool;
    struct why why;
    if (size < HEADER_INPUT_BYTES) {
        return 0;
    }
    image_make(&image, data, size);
    if (spool_look(&image.disk, &clock, NULL, &spool, &why) == OK) {
        spool_each_open(spool, see, NULL);
        spool_forget(spool);
    }
    buf_done(&image.ckpt);
    return 0;
}
