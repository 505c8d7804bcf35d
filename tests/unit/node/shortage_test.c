/* SPDX-License-Identifier: Apache-2.0
 *
 * shortage_test.c - what binds the owners together, when memory fails in the middle.
 * Method: one owner is kept from running until it has something to do, then takes its turn with the
 * n-th allocation failing, for all n; after that the message must arrive without further help.
 */
#include "core/str.h"
#include "node/node_priv.h"
#include "tests/test.h"
#include "tests/unit/node/control_rig.h"

enum { HOUR_MS = 3600000, STEP_MAX = 32 };

static uint32_t owner_of(struct node *node, enum node_role role)
{
    uint32_t i = 0;
    while (node_owner(node, i).role != role) {
        i++;
    }
    return i;
}

/* The owner's turns are ours from now on. */
static void freeze(struct world *world, uint32_t owner, bool *is_woken)
{
    struct mailbox *box = node_owner(world->node, owner).box;
    box->wake_ctx = is_woken;
    world->is_runnable[owner] = false;
    world->due[owner] = (struct mono){ 0 };
}

static void thaw(struct world *world, uint32_t owner)
{
    node_owner(world->node, owner).box->wake_ctx = &world->is_runnable[owner];
    world->is_runnable[owner] = true;
}

TEST(a_scheduler_without_memory_for_a_look_up_asks_again_and_the_message_arrives)
{
    for (uint64_t n = 1; n <= STEP_MAX; n++) {
        struct control_rig rig;
        char id[27];
        bool is_woken = false;
        rig_open(&rig, n, "");
        uint32_t scheduler = owner_of(rig.world->node, NODE_SCHEDULER);
        freeze(rig.world, scheduler, &is_woken);
        rig_submit(&rig, &(struct rig_mail){ .to = "to@one.example,to@two.example" }, id);
        CHECK(is_woken);
        mem_fail_at(n);
        (void)node_owner_turn(rig.world->node, scheduler, rig.world->events.now);
        mem_fail_at(0);
        thaw(rig.world, scheduler);
        world_run_for(rig.world, HOUR_MS);
        CHECK(rig.received_count >= 1, "step %llu: nothing arrived", (unsigned long long)n);
        CHECK(rig_count(&rig, "") == 0, "step %llu: something is stuck", (unsigned long long)n);
        rig_close(&rig);
    }
}

TEST(a_worker_or_loop_without_memory_delays_a_message_and_does_not_lose_it)
{
    static const enum node_role roles[] = { NODE_WORKER, NODE_LOOP };
    for (size_t r = 0; r < COUNT_OF(roles); r++) {
        for (uint64_t n = 1; n <= STEP_MAX / 2; n++) {
            struct control_rig rig;
            char id[27];
            rig_open(&rig, 1000 + n, "");
            rig_submit(&rig, &(struct rig_mail){ .to = "to@one.example" }, id);
            uint32_t owner = owner_of(rig.world->node, roles[r]);
            mem_fail_at(n);
            (void)node_owner_turn(rig.world->node, owner, rig.world->events.now);
            mem_fail_at(0);
            world_run_for(rig.world, 3 * HOUR_MS);
            CHECK(rig_count(&rig, "") == 0, "%d, step %llu: something is stuck", (int)roles[r],
                    (unsigned long long)n);
            rig_close(&rig);
        }
    }
}
