/* SPDX-License-Identifier: Apache-2.0
 *
 * plan_test.c - which addresses are tried, and in which order.
 */
#include "core/str.h"
#include "deliver/deliver_priv.h"
#include "tests/test.h"
#include "tests/unit/deliver/rig.h"

/* Addresses whose last byte is named here are bad or forbidden. */
struct verdicts {
    const char *later, *no;
};

static enum plan_verdict judge(void *ctx, const struct ip_port *at)
{
    const struct verdicts *verdicts = ctx;
    char c = (char)('0' + at->ip.byte[3]);
    return strchr(verdicts->no, c) ? PLAN_NO : strchr(verdicts->later, c) ? PLAN_LATER : PLAN_YES;
}

/* Last bytes of the addresses in order. */
static struct str planned(
        const char *hosts, const char *later, const char *no, uint64_t seed, char dst[16])
{
    struct site *site = rig_site(hosts);
    struct verdicts verdicts = { later, no };
    struct prng prng;
    struct plan plan;
    prng_init(&prng, seed);
    plan_make(&plan, site, &prng, judge, &verdicts);
    for (uint32_t i = 0; i < plan.count; i++) {
        const struct site_host *host = &site->host[plan.step[i].host];
        dst[i] = (char)('0' + host->address[plan.step[i].address].ip.byte[3]);
    }
    site_give(site);
    return str_of(dst, plan.count);
}

TEST(preference_comes_first_and_each_host_gets_two_while_others_wait)
{
    char dst[16];
    CHECK_STR(planned("10 a 1.1.1.1\n20 b 1.1.1.2\n30 c 1.1.1.3", "", "", 1, dst), STR("123"));
    CHECK_STR(planned("10 a 1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4\n20 b 1.1.1.5\n30 c 1.1.1.6", "", "", 1,
                      dst),
            STR("12356"));
    CHECK_STR(planned("10 a 1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 1.1.1.6", "", "", 1, dst),
            STR("12345"));
    CHECK_STR(planned("10 a 1.1.1.1 1.1.1.2 1.1.1.3\n20 b 1.1.1.4", "", "", 1, dst), STR("1234"));
}

TEST(bad_addresses_come_last_and_forbidden_ones_never)
{
    char dst[16];
    CHECK_STR(planned("10 a 1.1.1.1 1.1.1.2\n20 b 1.1.1.3", "1", "", 1, dst), STR("231"));
    CHECK_STR(planned("10 a 1.1.1.1 1.1.1.2\n20 b 1.1.1.3", "1", "2", 1, dst), STR("31"));
    CHECK_STR(planned("10 a 1.1.1.1 1.1.1.2\n20 b 1.1.1.3", "", "123", 1, dst), STR(""));
}

TEST(equal_preferences_are_shuffled_and_others_are_not) /* RFC 5321 5.1 */
{
    uint32_t seen[3] = { 0 };
    for (uint64_t seed = 0; seed < 300; seed++) {
        char dst[16];
        struct str order = planned(
                "10 a 1.1.1.0\n10 b 1.1.1.1\n10 c 1.1.1.2\n20 d 1.1.1.3", "", "", seed, dst);
        CHECK(order.len == 4 && order.ptr[3] == '3');
        seen[order.ptr[0] - '0']++;
    }
    CHECK(seen[0] > 60 && seen[1] > 60 && seen[2] > 60, "%u %u %u", seen[0], seen[1], seen[2]);
}
