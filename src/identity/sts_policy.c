/* SPDX-License-Identifier: Apache-2.0
 *
 * sts_policy.c - "key: value" lines of an MTA-STS policy (RFC 8461 3.2). Unknown keys are passed
 * over; of keys that may stand once the first counts.
 */
#include "identity/sts_priv.h"

#include "core/str.h"
#include "mail/domain.h"

enum { SEEN_VERSION = 1, SEEN_MODE = 2, SEEN_AGE = 4 };

static enum err read_mode(struct str value, enum sts_mode *ret_mode, struct why *why)
{
    if (str_eq(value, STR("enforce"))) {
        *ret_mode = STS_ENFORCE;
    } else if (str_eq(value, STR("testing"))) {
        *ret_mode = STS_TESTING;
    } else if (str_eq(value, STR("none"))) {
        *ret_mode = STS_NONE;
    } else {
        why_set(why, "mode is none of enforce, testing, none");
        return E_SYNTAX;
    }
    return OK;
}

static enum err add_mx(struct str value, struct sts_policy *policy, struct why *why)
{
    struct str name = str_starts(value, STR("*.")) ? str_from(value, 2) : value;
    if (!domain_is_hostname(name)) {
        why_set(why, "mx: %.*s is no host name", (int)(value.len < 100 ? value.len : 100),
                value.ptr);
        return E_SYNTAX;
    }
    if (policy->mx_count == STS_MX_COUNT_MAX) {
        why_set(why, "more than %d mx lines", (int)STS_MX_COUNT_MAX);
        return E_SYNTAX;
    }
    policy->mx[policy->mx_count++] = value;
    return OK;
}

static enum err read_line(struct str key, struct str value, uint32_t *seen,
        struct sts_policy *policy, struct why *why)
{
    if (str_eq(key, STR("version")) && (*seen & SEEN_VERSION) == 0) {
        *seen |= SEEN_VERSION;
        if (!str_eq(value, STR("STSv1"))) {
            why_set(why, "version is not STSv1");
            return E_SYNTAX;
        }
    } else if (str_eq(key, STR("mode")) && (*seen & SEEN_MODE) == 0) {
        *seen |= SEEN_MODE;
        return read_mode(value, &policy->mode, why);
    } else if (str_eq(key, STR("max_age")) && (*seen & SEEN_AGE) == 0) {
        *seen |= SEEN_AGE;
        if (str_to_u64(value, STS_AGE_S_MAX, &policy->age_s) != OK) {
            why_set(why, "max_age is no number of seconds up to %d", (int)STS_AGE_S_MAX);
            return E_SYNTAX;
        }
    } else if (str_eq(key, STR("mx"))) {
        return add_mx(value, policy, why);
    }
    return OK;
}

enum err sts_policy_read(struct str text, struct sts_policy *ret_policy, struct why *why)
{
    struct sts_policy policy = { 0 };
    struct str line;
    uint32_t seen = 0;
    while (str_cut(&text, '\n', &line)) {
        line = str_trim(line);
        size_t colon = str_index(line, ':');
        if (line.len == 0) {
            continue;
        }
        if (colon == line.len) {
            why_set(why, "a line without a colon");
            return E_SYNTAX;
        }
        struct str key = str_trim(str_sub(line, 0, colon));
        enum err err = read_line(key, str_trim(str_from(line, colon + 1)), &seen, &policy, why);
        if (err != OK) {
            return err;
        }
    }
    if (seen != (SEEN_VERSION | SEEN_MODE | SEEN_AGE)) {
        why_set(why, "%s is missing",
                (seen & SEEN_VERSION) == 0 ? "version"
                : (seen & SEEN_MODE) == 0  ? "mode"
                                           : "max_age");
        return E_SYNTAX;
    }
    if (policy.mode != STS_NONE && policy.mx_count == 0) {
        why_set(why, "no mx");
        return E_SYNTAX;
    }
    *ret_policy = policy;
    return OK;
}

bool sts_policy_covers(const struct sts_policy *policy, struct str host)
{
    for (uint32_t i = 0; i < policy->mx_count; i++) {
        struct str mx = policy->mx[i];
        bool is_wild = str_starts(mx, STR("*."));
        struct str below = is_wild ? str_from(host, str_index(host, '.')) : host;
        if (str_eq_nocase(below, is_wild ? str_from(mx, 1) : mx)) {
            return true;
        }
    }
    return false;
}
