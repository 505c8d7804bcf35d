/* SPDX-License-Identifier: Apache-2.0
 *
 * control_address_test.c - POST /v1/addresses/check on a simulated node: its resolver, its history.
 */
#include "core/str.h"
#include "tests/test.h"
#include "tests/unit/node/control_rig.h"

enum { SETTLE_MS = 10000 };

static bool has_reason(const json_t *answer, const char *name)
{
    const json_t *reasons = json_object_get(answer, "reasons");
    for (size_t i = 0; i < json_array_size(reasons); i++) {
        if (strcmp(json_string_value(json_array_get(reasons, i)), name) == 0) {
            return true;
        }
    }
    return false;
}

TEST(addresses_are_checked_over_the_nodes_own_resolver_in_order)
{
    struct control_rig rig;
    struct ip inside = { IP_V4, { 10, 0, 0, 1 } }, outside = { IP_V4, { 192, 0, 2, 7 } };
    rig_open(&rig, 21, "");
    sim_dns_add_mx(rig.world->dns, "good.example", 10, "mx.good.example");
    sim_dns_add_a(rig.world->dns, "mx.good.example", outside);
    sim_dns_add_a(rig.world->dns, "inside.example", inside);
    sim_dns_fail(rig.world->dns, "broken.example", DNS_SERVFAIL);
    CHECK_U64(rig_post(&rig, "/v1/addresses/check",
                      "{\"address\":[\"a@good.example\",\"b@inside.example\",\"c@broken.example\","
                      "\"d@good.example\",\"no address\",\"e@absent.example\"]}"),
            200);
    static const char *const verdicts[] = { "good", "bad", "unknown", "good", "bad", "bad" };
    static const char *const reasons[] = { "", "mx_loopback", "temporary_dns_failure", "", "syntax",
        "domain_not_found" };
    CHECK_U64(json_array_size(rig.json), COUNT_OF(verdicts));
    for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
        const json_t *answer = json_array_get(rig.json, i);
        CHECK_STR(str_from_c(json_string_value(json_object_get(answer, "verdict"))),
                str_from_c(verdicts[i]));
        CHECK(reasons[i][0] == '\0' || has_reason(answer, reasons[i]), "%zu: %s", i, reasons[i]);
    }
    rig_close(&rig);
}

TEST(what_became_of_our_own_mail_is_told)
{
    struct control_rig rig;
    char id[27];
    struct rig_mail bad = { .to = "reject@there.example" }, good = { .to = "jo@gmal.com" };
    rig_open(&rig, 22, "");
    rig_submit(&rig, &bad, id);
    rig_submit(&rig, &good, id);
    world_run_for(rig.world, SETTLE_MS);
    CHECK_U64(rig_post(&rig, "/v1/addresses/check",
                      "{\"address\":\"reject@there.example\",\"offline\":true}"),
            200);
    CHECK(has_reason(rig.json, "bounced_before"), "%.*s", STR_ARG(buf_str(&rig.reply)));
    CHECK(rig_says(&rig, "550 5.1.1 no such user"), "%.*s", STR_ARG(buf_str(&rig.reply)));
    CHECK_U64(
            rig_post(&rig, "/v1/addresses/check", "{\"address\":\"jo@gmal.com\",\"offline\":true}"),
            200);
    CHECK(has_reason(rig.json, "delivered_before") && !has_reason(rig.json, "typo"), "%.*s",
            STR_ARG(buf_str(&rig.reply)));
    rig_close(&rig);
}
