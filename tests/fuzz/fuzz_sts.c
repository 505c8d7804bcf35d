/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_sts.c - MTA-STS policies (RFC 8461 3.2) from any web server.
 */
#include "identity/sts_priv.h"

#include "core/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sts_policy policy;
    struct why why = { 0 };
    struct str text = { (const char *)data, size };
    if (sts_policy_read(text, &policy, &why) == OK) {
        ASSERT(policy.mx_count <= STS_MX_COUNT_MAX && policy.age_s <= STS_AGE_S_MAX);
        (void)sts_policy_covers(&policy, STR("mail.example.com"));
        (void)sts_policy_covers(&policy, STR("localhost"));
    } else {
        ASSERT(why.text[0] != '\0');
    }
    return 0;
}
