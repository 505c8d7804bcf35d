/* SPDX-License-Identifier: Apache-2.0
 *
 * errno.c - which of our errors a system error is, by what the caller can do about it.
 */
#include "edge/errno_priv.h"

#include <errno.h>

enum err err_from_errno(int number)
{
    switch (number) {
    case ENOENT:
    case EADDRNOTAVAIL: /* not an address of this host */
        return E_NOT_FOUND;
    case EEXIST:
        return E_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return E_DENIED;
    case ENOSPC:
    case EDQUOT:
        return E_NO_SPACE;
    case ENOMEM:
    case ENOBUFS:
        return E_NOMEM;
    case EMFILE:
    case ENFILE:
        return E_FULL;
    case EAGAIN:
        return E_AGAIN;
    case EADDRINUSE:
        return E_BUSY;
    case ECONNREFUSED:
        return E_REFUSED;
    case ETIMEDOUT:
        return E_TIMEOUT;
    case EAFNOSUPPORT:
    case EOPNOTSUPP:
        return E_UNSUPPORTED;
    default:
        return E_IO;
    }
}

const char *errno_words(int number)
{
    const char *words = strerrordesc_np(number);
    return words != NULL ? words : "unknown system error";
}
