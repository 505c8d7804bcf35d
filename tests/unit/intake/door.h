/* SPDX-License-Identifier: Apache-2.0
 *
 * door.h - a configuration, a client and a message for the tests of the door.
 */
#ifndef OUTPOST_TESTS_DOOR_H
#define OUTPOST_TESTS_DOOR_H

#include "intake/intake.h"
#include "tests/test.h"

/* shop: example.com and shop.example only, streams transactional and bulk. any: no rules. */
const struct config *door_config(void);
const struct config_credential *door_credential(const char *name);

/* What came of a message. done frees. */
struct door_result {
    enum err err;
    struct intake_refusal refusal;
    struct ulid ulid;
    struct keeper_accept *accept;
    struct spool_envelope envelope; /* views into envelope_text */
    struct buf envelope_text;
    struct buf content;
    struct spool_body drop;
};
void door_result_done(struct door_result *result);

extern struct blob_budget door_budget;
struct entropy *door_entropy(void); /* counts: the same bytes each time after door_reset */
void door_reset(void);
struct intake_client door_client(const char *credential);

/* One message from sender@example.com to rcpt@example.net, content fed in parts of part_bytes (0:
 * at once). */
void door_submit(const struct intake_client *client, struct str content, size_t part_bytes,
        struct door_result *ret_result);
void door_finish(struct intake *intake, struct door_result *ret_result);
void blob_gather(const struct blob *blob, struct buf *dst);

#endif
