/* SPDX-License-Identifier: Apache-2.0
 *
 * notify.c - tells systemd how far we are (sd_notify); without systemd nothing happens.
 */
#include "node/serve_priv.h"

#include "core/str.h"

#include <systemd/sd-daemon.h>

#include <time.h>

void notify_ready(void)
{
    (void)sd_notify(0, "READY=1\nSTATUS=accepting mail");
}

void notify_reloading(void)
{
    struct timespec now;
    char text[96];
    clock_gettime(CLOCK_MONOTONIC, &now);
    fmt(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
            (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    (void)sd_notify(0, text);
}

void notify_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1\nSTATUS=finishing what runs");
}
