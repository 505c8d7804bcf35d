/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_world.h - a small DNS for the tests of SPF: a table of records, and questions counted.
 */
#ifndef OUTPOST_TESTS_MAIL_SPF_WORLD_H
#define OUTPOST_TESTS_MAIL_SPF_WORLD_H

#include "mail/spf.h"

struct world_record {
    struct str name;
    enum lookup_type type;
    struct str data; /* address, host or text */
    bool is_timeout; /* of every type of the name that has no record */
};
struct world {
    const struct world_record *record;
    size_t count;
    uint32_t question_count;
};

/* Drives the engine to its end. */
void world_answer(struct world *world, struct spf *spf);

#endif
