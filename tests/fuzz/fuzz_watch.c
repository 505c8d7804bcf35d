/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_watch.c - a state file of any content is read or refused, shown, and watched on; and packets
 * of time servers. The first byte chooses.
 */
#include "core/str.h"
#include "edge/sntp.h"
#include "identity/watch_priv.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_packet(const uint8_t *data, size_t size)
{
    struct sntp_answer answer;
    const struct wall now = { 1790000000000 };
    (void)!sntp_read(data, size, 0, now, now, &answer);
}

static void go_on(struct identity_watch *watch)
{
    const struct identity_watch_conf conf = { 1, 1 };
    const struct identity_watch_run run = {
        .set = IDENTITY_CHECK_DOMAINS, .is_scheduled = true, .now = { 1790000000000 }
    };
    bool is_unsure;
    for (int i = 0; i < IDENTITY_MISSING_COUNT_MAX; i++) {
        (void)!identity_watch_take(watch, &conf, &run, NULL, NULL, &is_unsure);
    }
}

static void read_state(const uint8_t *data, size_t size)
{
    struct identity_watch *watch;
    struct identity_alerts *alerts;
    struct why why;
    json_t *root = json_loadb((const char *)data, size, 0, NULL);
    if (identity_watch_open(STR(""), &watch, &why) != OK || identity_alerts_open(&alerts) != OK) {
        abort();
    }
    if (root != NULL && watch_take_state(watch, root) == OK) {
        json_decref(identity_watch_results(watch, STR("shop.example"), STR("")));
        json_decref(identity_watch_events(watch, 10));
        json_decref(identity_checklist(watch, STR("shop.example"), true, root));
        go_on(watch);
    }
    identity_alerts_restore(alerts, json_object_get(root, "alerts"), (struct mono){ 1 });
    json_decref(identity_alerts_state(alerts));
    json_decref(root);
    identity_alerts_close(alerts);
    identity_watch_close(watch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] == 'p') {
        read_packet(data + 1, size - 1);
    } else {
        read_state(data, size);
    }
    return 0;
}
