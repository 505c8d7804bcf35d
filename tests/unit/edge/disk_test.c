/* SPDX-License-Identifier: Apache-2.0
 *
 * disk_test.c - the real disk in a directory of its own, and /dev/full for what fails.
 */
#include "edge/disk.h"

#include "core/str.h"
#include "tests/test.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct dir {
    char path[64];
    struct disk *disk;
};

static void dir_open(struct dir *dir)
{
    struct why why = { "" };
    fmt(dir->path, sizeof dir->path, "/tmp/outpost-disk-XXXXXX");
    CHECK(mkdtemp(dir->path) != NULL);
    REQUIRE_OK(disk_open_real(dir->path, &dir->disk, &why));
}

static void drop_name(void *ctx, const char *name)
{
    struct why why;
    struct dir *dir = ctx;
    REQUIRE_OK(dir->disk->ops->remove(dir->disk, name, &why));
}

static void dir_close(struct dir *dir)
{
    struct why why;
    REQUIRE_OK(dir->disk->ops->list(dir->disk, drop_name, dir, &why));
    dir->disk->ops->close_disk(dir->disk);
    CHECK(rmdir(dir->path) == 0);
}

static struct disk_file *open_file(struct dir *dir, const char *name, uint32_t flags)
{
    struct disk_file *file = NULL;
    struct why why = { "" };
    REQUIRE_OK(dir->disk->ops->open(dir->disk, name, flags, &file, &why));
    return file;
}

static void write_str(struct disk_file *file, struct str s, uint64_t offset)
{
    struct why why;
    struct iovec iov = { (char *)(uintptr_t)s.ptr, s.len };
    REQUIRE_OK(file->disk->ops->write(file, &iov, 1, offset, &why));
}

TEST(what_is_written_is_read_and_the_end_is_a_short_read)
{
    struct dir dir;
    struct why why;
    dir_open(&dir);
    struct disk_file *file = open_file(&dir, "a", DISK_WRITE | DISK_CREATE);
    write_str(file, STR("hello world"), 100);
    char got[64];
    size_t len = 0;
    REQUIRE_OK(dir.disk->ops->read(file, got, 5, 106, &len, &why));
    CHECK_STR(str_of(got, len), STR("world"));
    REQUIRE_OK(dir.disk->ops->read(file, got, sizeof got, 106, &len, &why));
    CHECK_STR(str_of(got, len), STR("world"));
    REQUIRE_OK(dir.disk->ops->read(file, got, sizeof got, 5000, &len, &why));
    CHECK_U64(len, 0);
    uint64_t size = 0;
    REQUIRE_OK(dir.disk->ops->size(file, &size, &why));
    CHECK_U64(size, 111);
    REQUIRE_OK(dir.disk->ops->truncate(file, 105, &why));
    REQUIRE_OK(dir.disk->ops->size(file, &size, &why));
    CHECK_U64(size, 105);
    REQUIRE_OK(dir.disk->ops->sync(file, &why));
    REQUIRE_OK(dir.disk->ops->sync_dir(dir.disk, &why));
    dir.disk->ops->close(file);
    dir_close(&dir);
}

TEST(a_write_of_more_pieces_than_the_kernel_takes_is_whole)
{
    enum { PIECES = 2500 };
    struct dir dir;
    struct why why;
    dir_open(&dir);
    struct disk_file *file = open_file(&dir, "a", DISK_WRITE | DISK_CREATE);
    static char bytes[PIECES];
    static struct iovec iov[PIECES];
    for (int i = 0; i < PIECES; i++) {
        bytes[i] = (char)(i % 251);
        iov[i] = (struct iovec){ &bytes[i], i % 7 != 0 }; /* some are empty */
    }
    REQUIRE_OK(dir.disk->ops->write(file, iov, PIECES, 0, &why));
    static char got[PIECES];
    size_t len = 0, at = 0;
    REQUIRE_OK(dir.disk->ops->read(file, got, sizeof got, 0, &len, &why));
    for (int i = 0; i < PIECES; i++) {
        if (i % 7 != 0) {
            CHECK(got[at] == bytes[i], "piece %d differs", i);
            at++;
        }
    }
    CHECK_U64(len, at);
    dir.disk->ops->close(file);
    dir_close(&dir);
}

TEST(uncached_reads_give_the_same_bytes_at_any_offset)
{
    enum { SIZE = 600 * 1024 + 123 };
    struct dir dir;
    struct why why;
    dir_open(&dir);
    struct disk_file *file = open_file(&dir, "a", DISK_WRITE | DISK_CREATE);
    char *bytes = mem_new(SIZE), *got = mem_new(SIZE + 8192);
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = (char)(i * 7 + i / 4096);
    }
    write_str(file, str_of(bytes, SIZE), 0);
    REQUIRE_OK(dir.disk->ops->sync(file, &why));
    dir.disk->ops->close(file);
    file = open_file(&dir, "a", DISK_UNCACHED);
    char *aligned = got + (-(uintptr_t)got & 4095);
    static const struct {
        uint64_t offset;
        size_t len;
        size_t shift; /* of the buffer */
    } rows[] = { { 0, 4096, 0 }, { 0, SIZE - SIZE % 4096, 0 }, { 1, 1, 0 }, { 4095, 2, 0 },
        { 0, SIZE, 1 }, { 4096, 4096, 1 }, { 4097, 300000, 3 }, { SIZE - 1, 1, 0 },
        { SIZE - 10, 4096, 0 }, { SIZE, 10, 0 }, { SIZE + 5000, 10, 0 }, { 262144, 262144, 0 },
        { 262143, 262145, 1 }, { SIZE - SIZE % 4096, 4096, 0 } };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t len = SIZE_MAX;
        uint64_t left = rows[i].offset < SIZE ? SIZE - rows[i].offset : 0;
        size_t expected = rows[i].len < left ? rows[i].len : left;
        char *dst = aligned + rows[i].shift;
        REQUIRE_OK(dir.disk->ops->read(file, dst, rows[i].len, rows[i].offset, &len, &why));
        CHECK(len == expected, "row %zu: %zu bytes, expected %zu", i, len, expected);
        CHECK(len == 0 || memcmp(dst, bytes + rows[i].offset, len) == 0, "row %zu differs", i);
    }
    dir.disk->ops->close(file);
    mem_free(bytes);
    mem_free(got);
    dir_close(&dir);
}

TEST(names_are_flat_and_files_are_private)
{
    struct dir dir;
    struct why why;
    dir_open(&dir);
    static const char *const bad[] = { "", ".", "..", "a/b", "/etc/passwd", "../x" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct disk_file *file = NULL;
        CHECK_ERR(dir.disk->ops->open(dir.disk, bad[i], DISK_WRITE | DISK_CREATE, &file, &why),
                E_USAGE);
        CHECK_ERR(dir.disk->ops->remove(dir.disk, bad[i], &why), E_USAGE);
    }
    dir.disk->ops->close(open_file(&dir, "a", DISK_WRITE | DISK_CREATE));
    char path[128];
    struct stat st;
    fmt(path, sizeof path, "%s/a", dir.path);
    CHECK(stat(path, &st) == 0);
    CHECK_U64(st.st_mode & 0777, 0600);
    dir_close(&dir);
}

TEST(missing_and_existing_files_are_told_apart)
{
    struct dir dir;
    struct why why = { "" };
    struct disk_file *file = NULL;
    dir_open(&dir);
    CHECK_ERR(dir.disk->ops->open(dir.disk, "a", 0, &file, &why), E_NOT_FOUND);
    CHECK(strstr(why.text, "a: No such file") != NULL, "%s", why.text);
    CHECK_ERR(dir.disk->ops->remove(dir.disk, "a", &why), E_NOT_FOUND);
    dir.disk->ops->close(open_file(&dir, "a", DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE));
    CHECK_ERR(dir.disk->ops->open(
                      dir.disk, "a", DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE, &file, &why),
            E_EXISTS);
    dir_close(&dir);
}

static void count_name(void *ctx, const char *name)
{
    uint32_t *seen = ctx;
    *seen += strcmp(name, "a") == 0 ? 1 : strcmp(name, "b") == 0 ? 100 : 10000;
}

TEST(a_listing_has_every_name_once)
{
    struct dir dir;
    struct why why;
    uint32_t seen = 0;
    dir_open(&dir);
    dir.disk->ops->close(open_file(&dir, "a", DISK_WRITE | DISK_CREATE));
    dir.disk->ops->close(open_file(&dir, "b", DISK_WRITE | DISK_CREATE));
    REQUIRE_OK(dir.disk->ops->list(dir.disk, count_name, &seen, &why));
    CHECK_U64(seen, 101);
    dir_close(&dir);
}

TEST(a_directory_is_held_by_one)
{
    struct dir dir;
    struct why why;
    struct disk *other = NULL;
    dir_open(&dir);
    REQUIRE_OK(disk_open_real(dir.path, &other, &why));
    REQUIRE_OK(dir.disk->ops->lock(dir.disk, &why));
    CHECK_ERR(other->ops->lock(other, &why), E_BUSY);
    dir.disk->ops->close_disk(dir.disk);
    REQUIRE_OK(other->ops->lock(other, &why));
    dir.disk = other;
    dir_close(&dir);
}

TEST(a_directory_is_made_where_its_parent_is)
{
    struct dir dir;
    struct why why = { "" };
    struct disk *inner = NULL;
    char path[128];
    struct stat st;
    dir_open(&dir);
    fmt(path, sizeof path, "%s/new", dir.path);
    REQUIRE_OK(disk_open_real(path, &inner, &why));
    CHECK(stat(path, &st) == 0);
    CHECK_U64(st.st_mode & 07777, 0700);
    inner->ops->close_disk(inner);
    CHECK(rmdir(path) == 0);
    fmt(path, sizeof path, "%s/none/new", dir.path);
    CHECK_ERR(disk_open_real(path, &inner, &why), E_NOT_FOUND);
    CHECK(strstr(why.text, path) != NULL, "%s", why.text);
    dir_close(&dir);
}

TEST(space_is_told)
{
    struct dir dir;
    struct why why;
    struct disk_space space = { 0 };
    dir_open(&dir);
    REQUIRE_OK(dir.disk->ops->space(dir.disk, &space, &why));
    CHECK(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
    dir_close(&dir);
}

TEST(a_full_disk_and_a_failed_sync_are_told_apart)
{
    struct why why = { "" };
    struct disk *dev = NULL;
    struct disk_file *full = NULL;
    REQUIRE_OK(disk_open_real("/dev", &dev, &why));
    REQUIRE_OK(dev->ops->open(dev, "full", DISK_WRITE, &full, &why));
    struct iovec iov = { (char[]){ 'x' }, 1 };
    CHECK_ERR(dev->ops->write(full, &iov, 1, 0, &why), E_NO_SPACE);
    CHECK(strstr(why.text, "No space left") != NULL, "%s", why.text);
    CHECK_ERR(dev->ops->sync(full, &why), E_IO); /* a device that cannot be synced */
    dev->ops->close(full);
    dev->ops->close_disk(dev);
}
