/* SPDX-License-Identifier: Apache-2.0
 *
 * file.c - reading a small file whole, and nothing but a regular file.
 */
#include "config/load_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err err_of_errno(int number)
{
    return number == ENOENT || number == ENOTDIR ? E_NOT_FOUND
           : number == EACCES || number == EPERM ? E_DENIED
                                                 : E_IO;
}

static enum err read_all(
        int fd, const char *path, size_t max_bytes, struct buf *ret_bytes, struct why *why)
{
    while (ret_bytes->len <= max_bytes) {
        char *space = buf_space(ret_bytes, 4096);
        if (!space) {
            return buf_err(ret_bytes) == E_NOMEM ? E_NOMEM : E_TOO_BIG;
        }
        ssize_t got = read(fd, space, 4096);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            why_set(why, "%s cannot be read: %s", path, strerror(errno));
            return E_IO;
        }
        if (got == 0) {
            return OK;
        }
        buf_grew(ret_bytes, (size_t)got);
    }
    return E_TOO_BIG;
}

enum err file_read(const char *path, size_t max_bytes, struct buf *ret_bytes, uint32_t *ret_mode,
        struct why *why)
{
    /* O_NONBLOCK: opening a pipe must not wait for its other end. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        why_set(why, "%s cannot be read: %s", path, strerror(errno));
        return err_of_errno(errno);
    }
    struct stat stat;
    enum err err = OK;
    if (fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode)) {
        why_set(why, "%s is not a file", path);
        err = E_IO;
    }
    buf_init(ret_bytes, max_bytes + 4097);
    if (err == OK) {
        err = read_all(fd, path, max_bytes, ret_bytes, why);
    }
    if (err == E_TOO_BIG) {
        why_set(why, "%s is larger than %zu bytes", path, max_bytes);
    }
    close(fd);
    if (err != OK) {
        buf_done(ret_bytes);
        return err;
    }
    *ret_mode = (uint32_t)stat.st_mode & 07777;
    return OK;
}
