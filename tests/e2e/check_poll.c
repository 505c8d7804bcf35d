/* SPDX-License-Identifier: Apache-2.0
 *
 * check_poll.c - liboutpost-check in a poll loop of a program's own: SERVERS IP LIMIT_MS DOMAIN ...
 * checks all domains at one time and prints a line for each.
 */
#include <outpost-check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { RUN_COUNT_MAX = 64 };

static void print_result(const struct outpost_check_result *result)
{
    printf("%s ptr=%s:%s spf=%s:%s dkim=%s:%u dmarc=%s:%s aligned=%d\n", result->domain,
            outpost_check_status_name(result->ptr.status), result->ptr.value,
            outpost_check_status_name(result->spf.status), result->spf.result_name,
            outpost_check_status_name(result->dkim[0].status), result->dkim[0].key_bits,
            outpost_check_status_name(result->dmarc.status), result->dmarc.policy,
            result->dmarc.spf_aligned);
}

/* One turn of the loop; 0: all are done. */
static int turn(struct outpost_check_run **run, int count)
{
    struct pollfd at[RUN_COUNT_MAX];
    int open_count = 0, wait_ms = 1000;
    for (int i = 0; i < count; i++) {
        at[i] = (struct pollfd){ outpost_check_done(run[i]) ? -1 : outpost_check_fd(run[i]), POLLIN,
            0 };
        if (at[i].fd >= 0) {
            int own_ms = outpost_check_timeout_ms(run[i]);
            wait_ms = own_ms < wait_ms ? own_ms : wait_ms;
            open_count++;
        }
    }
    if (open_count > 0) {
        (void)poll(at, (nfds_t)count, wait_ms);
        for (int i = 0; i < count; i++) {
            (void)outpost_check_process(run[i]);
        }
    }
    return open_count;
}

int main(int argc, char **argv)
{
    static const struct outpost_check_selector selector = { "s1", NULL };
    struct outpost_check_options options = { .selectors = &selector, .selector_count = 1 };
    struct outpost_check_run *run[RUN_COUNT_MAX];
    int count = argc - 4;
    if (count < 1 || count > RUN_COUNT_MAX) {
        return 2;
    }
    options.servers = argv[1];
    options.time_limit_ms = (unsigned)strtoul(argv[3], NULL, 10);
    for (int i = 0; i < count; i++) {
        int error = outpost_check_start(argv[i + 4], argv[2], &options, &run[i]);
        if (error != OUTPOST_CHECK_SUCCESS) {
            fprintf(stderr, "%s: %s\n", argv[i + 4], outpost_check_error_text(error));
            return 1;
        }
    }
    while (turn(run, count) > 0) {
    }
    for (int i = 0; i < count; i++) {
        struct outpost_check_result *result;
        if (outpost_check_finish(run[i], &result) != OUTPOST_CHECK_SUCCESS) {
            return 1;
        }
        print_result(result);
        outpost_check_free(result);
    }
    return 0;
}
