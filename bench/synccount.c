/* SPDX-License-Identifier: Apache-2.0
 *
 * synccount.c - counts the sync calls of the processes into which it is preloaded.
 *
 * BENCH_SYNC_FILE names a file of at least one page that all of them map; its first word is the
 * count. BENCH_SYNC_DELAY_US adds a sleep to each call, which stands for a disk that really
 * flushes. It does not see static programs, raw system calls or io_uring.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static _Atomic uint64_t *counter;
static uint64_t delay_us;
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void set_up(void)
{
    *(void **)&real_fsync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    const char *delay = getenv("BENCH_SYNC_DELAY_US");
    delay_us = delay ? strtoull(delay, NULL, 10) : 0;
    const char *path = getenv("BENCH_SYNC_FILE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        counter = page == MAP_FAILED ? NULL : page;
        close(fd);
    }
}

static void count_one(void)
{
    if (counter) {
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    }
    if (delay_us) {
        struct timespec pause = { (time_t)(delay_us / 1000000), (long)(delay_us % 1000000) * 1000 };
        nanosleep(&pause, NULL);
    }
}

int fsync(int fd)
{
    count_one();
    return real_fsync(fd);
}

int fdatasync(int fd)
{
    count_one();
    return real_fdatasync(fd);
}
