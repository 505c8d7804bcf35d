/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_zone.c - master files, as `outpost dkim verify --zone` reads them (RFC 1035 5), and a
 * question to what they say.
 */
#include "core/str.h"
#include "edge/dns.h"

#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take(void *ctx, const struct dns_answer *answer)
{
    (void)ctx;
    for (uint32_t i = 0; i < answer->record_count; i++) {
        ASSERT(answer->record[i].data.len <= 65535);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct dns *dns;
    struct why why = { 0 };
    if (size > 1 << 16) {
        return 0;
    }
    (void)snprintf(path, sizeof path, "/tmp/outpost-fuzz-zone-%d", getpid());
    FILE *file = fopen(path, "wb");
    if (!file) {
        return 0;
    }
    size_t written = fwrite(data, 1, size, file);
    if (fclose(file) == 0 && written == size && dns_open_zone(path, &dns, &why) == OK) {
        (void)!dns->ops->ask(dns, STR("s1._domainkey.lab.example"), DNS_TXT, take, NULL);
        dns_zone_poll(dns);
        dns->ops->close(dns);
    }
    (void)remove(path);
    return 0;
}
