/* SPDX-License-Identifier: Apache-2.0
 *
 * sts_priv.h - the policy document of MTA-STS (RFC 8461 3.2), read as hostile input.
 */
#ifndef OUTPOST_IDENTITY_STS_PRIV_H
#define OUTPOST_IDENTITY_STS_PRIV_H

#include "core/base.h"

enum { STS_MX_COUNT_MAX = 100, STS_AGE_S_MAX = 31557600 };
enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };

/* Views point into the text. */
struct sts_policy {
    enum sts_mode mode;
    uint64_t age_s;
    struct str mx[STS_MX_COUNT_MAX];
    uint32_t mx_count;
};
/* E_SYNTAX: why names the fault. */
MUST_USE enum err sts_policy_read(struct str text, struct sts_policy *ret_policy, struct why *why);
/* Is host one of the policy's? A "*." stands for exactly one label (RFC 8461 4.1). */
bool sts_policy_covers(const struct sts_policy *policy, struct str host);

#endif
