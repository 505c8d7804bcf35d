/* SPDX-License-Identifier: Apache-2.0
 *
 * plan.c - in which order the addresses of a site are tried for one connection.
 *
 * RFC 5321 5.1: by preference, equal ones shuffled to spread the load. At most
 * DELIVER_ADDRESS_TRY_COUNT_MAX, so that one dead site costs minutes, not hours; no host takes more
 * than two while others wait for room.
 */
#include "deliver/deliver_priv.h"

enum { SHARE_COUNT = 2, HOSTS_MAX = ROUTER_HOST_COUNT_MAX };

static void shuffle_equals(
        uint16_t *order, uint32_t count, const struct site *site, struct prng *prng)
{
    for (uint32_t from = 0; from < count;) {
        uint32_t to = from + 1;
        while (to < count && site->host[to].preference == site->host[from].preference) {
            to++;
        }
        for (uint32_t i = to - 1; i > from; i--) {
            uint32_t j = from + (uint32_t)prng_below(prng, i - from + 1); /* ≤ i */
            uint16_t swapped = order[i];
            order[i] = order[j];
            order[j] = swapped;
        }
        from = to;
    }
}

struct choice {
    const struct site *site;
    plan_judge *judge;
    void *ctx;
    uint16_t order[HOSTS_MAX];
    uint32_t host_count;
    uint8_t verdict[HOSTS_MAX][ROUTER_ADDRESS_COUNT_MAX];
};

static uint32_t address_count(const struct site_host *host)
{
    return host->address_count < ROUTER_ADDRESS_COUNT_MAX ? host->address_count
                                                          : ROUTER_ADDRESS_COUNT_MAX;
}

static uint32_t count_verdict(const struct choice *choice, uint16_t host, enum plan_verdict verdict)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < address_count(&choice->site->host[host]); i++) {
        count += choice->verdict[host][i] == verdict;
    }
    return count;
}

/* How many of verdict each host may put in, given room: two each in order, then the rest. */
static void share_room(
        const struct choice *choice, enum plan_verdict verdict, uint32_t room, uint32_t *ret_share)
{
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < choice->host_count && room > 0; i++) {
            uint32_t has = count_verdict(choice, choice->order[i], verdict);
            uint32_t want = pass == 0 && has > SHARE_COUNT ? SHARE_COUNT : has;
            uint32_t more = want > ret_share[i] ? want - ret_share[i] : 0;
            more = more < room ? more : room;
            ret_share[i] += more;
            room -= more;
        }
    }
}

static void add_steps(struct plan *plan, const struct choice *choice, enum plan_verdict verdict)
{
    uint32_t share[HOSTS_MAX] = { 0 };
    share_room(choice, verdict, DELIVER_ADDRESS_TRY_COUNT_MAX - plan->count, share);
    for (uint32_t i = 0; i < choice->host_count; i++) {
        uint16_t host = choice->order[i];
        for (uint32_t a = 0; share[i] > 0 && a < address_count(&choice->site->host[host]); a++) {
            if (choice->verdict[host][a] == verdict) {
                plan->step[plan->count++] = (struct plan_step){ host, (uint16_t)a }; /* < 10 */
                share[i]--;
            }
        }
    }
}

void plan_make(
        struct plan *plan, const struct site *site, struct prng *prng, plan_judge *judge, void *ctx)
{
    struct choice choice = { .site = site, .judge = judge, .ctx = ctx };
    choice.host_count = site->host_count < HOSTS_MAX ? site->host_count : HOSTS_MAX;
    for (uint32_t i = 0; i < choice.host_count; i++) {
        choice.order[i] = (uint16_t)i; /* < HOSTS_MAX */
        for (uint32_t a = 0; a < address_count(&site->host[i]); a++) {
            choice.verdict[i][a] = (uint8_t)judge(ctx, &site->host[i].address[a]);
        }
    }
    shuffle_equals(choice.order, choice.host_count, site, prng);
    plan->count = 0;
    add_steps(plan, &choice, PLAN_YES);
    add_steps(plan, &choice, PLAN_LATER);
}
