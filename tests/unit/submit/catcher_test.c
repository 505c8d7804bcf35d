/* SPDX-License-Identifier: Apache-2.0
 *
 * catcher_test.c - the sandbox's receiver: files, envelopes, scripted refusals, disk faults.
 */
#include "core/str.h"
#include "core/time.h"
#include "tests/unit/submit/rig.h"

enum { FILE_COUNT_MAX = 20 };
struct memory_file {
    struct disk_file base;
    char name[32];
    struct buf text;
    bool is_there, is_open;
};
struct memory_disk {
    struct disk base;
    struct memory_file file[FILE_COUNT_MAX];
    uint32_t file_count;
    enum err open_err, write_err;
};

static struct memory_file *find_file(struct memory_disk *disk, const char *name)
{
    for (uint32_t i = 0; i < disk->file_count; i++) {
        if (disk->file[i].is_there && strcmp(disk->file[i].name, name) == 0) {
            return &disk->file[i];
        }
    }
    return NULL;
}

static enum err memory_open(struct disk *base, const char *name, uint32_t flags,
        struct disk_file **ret_file, struct why *why)
{
    struct memory_disk *disk = CONTAINER_OF(base, struct memory_disk, base);
    why_set(why, "memory");
    if (disk->open_err != OK) {
        return disk->open_err;
    }
    if (find_file(disk, name) && (flags & DISK_EXCLUSIVE)) {
        return E_EXISTS;
    }
    ASSERT(disk->file_count < FILE_COUNT_MAX);
    struct memory_file *file = &disk->file[disk->file_count++];
    file->base.disk = base;
    fmt(file->name, sizeof file->name, "%s", name);
    buf_init(&file->text, 64 << 20);
    file->is_there = file->is_open = true;
    *ret_file = &file->base;
    return OK;
}

static void memory_close(struct disk_file *base)
{
    CONTAINER_OF(base, struct memory_file, base)->is_open = false;
}

static enum err memory_write(struct disk_file *base, const struct iovec *iov, uint32_t iov_count,
        uint64_t offset, struct why *why)
{
    struct memory_file *file = CONTAINER_OF(base, struct memory_file, base);
    struct memory_disk *disk = CONTAINER_OF(base->disk, struct memory_disk, base);
    why_set(why, "memory");
    ASSERT(offset == file->text.len && iov_count == 1);
    if (disk->write_err == OK) {
        buf_add(&file->text, str_of(iov[0].iov_base, iov[0].iov_len));
    }
    return disk->write_err;
}

static enum err memory_remove(struct disk *base, const char *name, struct why *why)
{
    struct memory_file *file = find_file(CONTAINER_OF(base, struct memory_disk, base), name);
    why_set(why, "memory");
    if (file) {
        file->is_there = false;
    }
    return file ? OK : E_NOT_FOUND;
}

static enum err memory_list(
        struct disk *base, void (*each)(void *ctx, const char *name), void *ctx, struct why *why)
{
    struct memory_disk *disk = CONTAINER_OF(base, struct memory_disk, base);
    (void)why;
    for (uint32_t i = 0; i < disk->file_count; i++) {
        each(ctx, disk->file[i].name);
    }
    return OK;
}

static const struct disk_ops memory_ops = {
    .open = memory_open,
    .close = memory_close,
    .write = memory_write,
    .remove = memory_remove,
    .list = memory_list,
};

struct sandbox {
    struct rig rig;
    struct memory_disk disk;
    struct catcher *catcher;
};

static void add_file(struct memory_disk *disk, const char *name)
{
    struct disk_file *file;
    struct why why;
    REQUIRE_OK(memory_open(&disk->base, name, 0, &file, &why));
    memory_close(file);
}

static void sandbox_open(struct sandbox *sandbox)
{
    struct ip_port at;
    struct why why;
    rig_open(&sandbox->rig, "");
    sandbox->disk = (struct memory_disk){ .base = { &memory_ops } };
    add_file(&sandbox->disk, "000041.eml");
    add_file(&sandbox->disk, "000007.eml");
    add_file(&sandbox->disk, "notes.eml");
    add_file(&sandbox->disk, "000099.txt");
    REQUIRE_OK(ip_port_parse(STR("127.0.0.1:2525"), &at));
    REQUIRE_OK(catcher_new(&sandbox->rig.net.base, &sandbox->rig.clock.base, &sandbox->rig.log,
            &sandbox->disk.base, &at, &sandbox->catcher, &why));
}

static void sandbox_done(struct sandbox *sandbox)
{
    catcher_free(sandbox->catcher);
    for (uint32_t i = 0; i < sandbox->disk.file_count; i++) {
        CHECK(!sandbox->disk.file[i].is_open, "%s", sandbox->disk.file[i].name);
        buf_done(&sandbox->disk.file[i].text);
    }
    rig_done(&sandbox->rig);
}

#define HELLO                                                                                      \
    "S: 220 sandbox.localhost ESMTP Outpost\nC: EHLO mail.example.com\nS: 250-*\nS: 250-*\n"       \
    "S: 250-*\nS: 250-*\nS: 250 8BITMIME\n"
#define AT "127.0.0.1:2525"
#define FROM "127.0.0.1:4000"

TEST(the_catcher_writes_each_message_with_its_envelope_into_the_next_file)
{
    struct sandbox sandbox;
    sandbox_open(&sandbox);
    rig_talk(&sandbox.rig, AT, FROM,
            HELLO
            "C: MAIL FROM:<a@example.com>\nC: RCPT TO:<b@example.net>\nC: RCPT TO:<c@example.net>\n"
            "C: DATA\nS: 250*\nS: 250*\nS: 250*\nS: 354*\nC: Subject: x\nC:\nC: ..\nC: .\n"
            "S: 250 2.0.0 Ok: queued as 000042\n"
            "C: MAIL FROM:<>\nC: RCPT TO:<b@example.net>\nC: DATA\nS: 250*\nS: 250*\nS: 354*\n"
            "C: .\nS: 250 2.0.0 Ok: queued as 000043\nC: QUIT\nS: 221*\nCLOSED\n");
    struct memory_file *file = find_file(&sandbox.disk, "000042.eml");
    CHECK(file);
    CHECK_STR(buf_str(&file->text),
            STR("X-Envelope-From: <a@example.com>\r\nX-Envelope-To: <b@example.net>\r\n"
                "X-Envelope-To: <c@example.net>\r\nSubject: x\r\n\r\n.\r\n"));
    file = find_file(&sandbox.disk, "000043.eml");
    CHECK_STR(
            buf_str(&file->text), STR("X-Envelope-From: <>\r\nX-Envelope-To: <b@example.net>\r\n"));
    sandbox_done(&sandbox);
}

TEST(the_catcher_refuses_and_defers_by_local_part)
{
    struct sandbox sandbox;
    sandbox_open(&sandbox);
    rig_talk(&sandbox.rig, AT, FROM,
            HELLO
            "C: MAIL FROM:<a@example.com>\nC: RCPT TO:<Reject-me@example.net>\n"
            "C: RCPT TO:<defer@example.net>\nC: DATA\nS: 250*\n"
            "S: 550 5.1.1 <Reject-me@example.net>: Recipient address rejected: User unknown*\n"
            "S: 451 4.2.1 <defer@example.net>: Try again later*\nS: 554 5.5.1*\n");
    CHECK_U64(sandbox.disk.file_count, 4);
    sandbox_done(&sandbox);
}

TEST(a_large_message_reaches_the_catcher_in_pieces_and_goes_when_it_breaks_off)
{
    struct sandbox sandbox;
    sandbox_open(&sandbox);
    struct pipe_conn *conn = rig_connect(&sandbox.rig, AT, FROM);
    rig_play(&sandbox.rig, conn,
            HELLO "C: MAIL FROM:<a@example.com>\nC: RCPT TO:<b@example.net>\n"
                  "C: DATA\nS: 250*\nS: 250*\nS: 354*\n");
    for (int i = 0; i < 40000; i++) {
        pipe_send(conn, STR("0123456789 0123456789 0123456789 0123456789 0123456789\r\n"));
    }
    struct memory_file *file = find_file(&sandbox.disk, "000042.eml");
    CHECK(file && file->text.len >= 1 << 20);
    rig_play(&sandbox.rig, conn,
            "C: .\nS: 250*\nC: MAIL FROM:<a@example.com>\n"
            "C: RCPT TO:<b@example.net>\nC: DATA\nS: 250*\nS: 250*\nS: 354*\n");
    CHECK(file->text.len > 40000 * 56, "%zu", file->text.len);
    for (int i = 0; i < 40000; i++) {
        pipe_send(conn, STR("0123456789 0123456789 0123456789 0123456789 0123456789\r\n"));
    }
    CHECK(find_file(&sandbox.disk, "000043.eml"));
    pipe_end(conn);
    CHECK(!find_file(&sandbox.disk, "000043.eml"));
    sandbox_done(&sandbox);
}

TEST(a_disk_that_fails_is_a_451_of_the_catcher_and_leaves_no_file)
{
    struct sandbox sandbox;
    sandbox_open(&sandbox);
    for (int i = 0; i < 2; i++) {
        sandbox.disk.open_err = i == 0 ? E_NO_SPACE : OK;
        sandbox.disk.write_err = i == 1 ? E_NO_SPACE : OK;
        rig_talk(&sandbox.rig, AT, FROM,
                HELLO "C: MAIL FROM:<a@example.com>\nC: RCPT TO:<b@example.net>\nC: DATA\nS: 250*\n"
                      "S: 250*\nS: 354*\nC: x\nC: .\nS: 451 4.3.0*\nOPEN\n");
    }
    CHECK(!find_file(&sandbox.disk, "000042.eml") && !find_file(&sandbox.disk, "000043.eml"));
    sandbox_done(&sandbox);
}

TEST(a_catcher_that_cannot_listen_says_why)
{
    struct rig rig;
    struct memory_disk disk = { .base = { &memory_ops } };
    struct catcher *catcher;
    struct ip_port at = { 0 };
    struct why why;
    rig_open(&rig, "");
    rig.net.listen_err = E_BUSY;
    CHECK_ERR(
            catcher_new(&rig.net.base, &rig.clock.base, &rig.log, &disk.base, &at, &catcher, &why),
            E_BUSY);
    CHECK_STR(str_from_c(why.text), STR("busy"));
    rig_done(&rig);
}

TEST(the_catcher_waits_five_minutes_for_a_silent_client)
{
    struct sandbox sandbox;
    sandbox_open(&sandbox);
    struct pipe_conn *conn = rig_connect(&sandbox.rig, AT, FROM);
    struct mono now = sandbox.rig.clock.mono;
    struct mono due = catcher_turn(sandbox.catcher, mono_after(now, 200000));
    CHECK_U64(due.ms, now.ms + 300000);
    CHECK(!conn->is_closed);
    (void)catcher_turn(sandbox.catcher, due);
    CHECK(conn->is_closed);
    sandbox_done(&sandbox);
}
