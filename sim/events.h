/* SPDX-License-Identifier: Apache-2.0
 *
 * events.h - the simulated time: a clock that moves only from event to event, and the events.
 *
 * Everything that happens "later" in a simulated world is an event here; equal times keep the order
 * of their making, so that one seed is one history. A hash over what happened tells two runs apart.
 */
#ifndef OUTPOST_SIM_EVENTS_H
#define OUTPOST_SIM_EVENTS_H

#include "core/heap.h"
#include "core/prng.h"
#include "core/str.h"
#include "edge/clock.h"
#include "edge/entropy.h"

struct sim_events {
    struct clock clock;     /* hand this to the node */
    struct entropy entropy; /* and this */
    struct prng prng;       /* of the world: faults, delays, order */
    struct prng node_prng;  /* of the node's entropy */
    struct heap heap;
    struct mono now;
    int64_t wall_offset_ms; /* wall = now + this; stepped by faults */
    uint32_t made_count;
    uint64_t hash;  /* of the trace */
    bool is_traced; /* print it too */
};

struct sim_event {
    struct heap_item item;
    void (*happen)(void *ctx, uint64_t number);
    void *ctx;
    uint64_t number;
};

void sim_events_init(struct sim_events *events, uint64_t seed);
void sim_events_done(struct sim_events *events); /* frees events that will not happen */
/* happen(ctx, number) after delay_ms. The event is freed after it happened. */
struct sim_event *sim_after(struct sim_events *events, uint64_t delay_ms,
        void (*happen)(void *ctx, uint64_t number), void *ctx, uint64_t number);
void sim_cancel(struct sim_events *events, struct sim_event *event); /* NULL is fine */
/* Time of the next event; 0: none. */
struct mono sim_next_time(const struct sim_events *events);
/* Moves to the next event and lets it happen. False: there is none. */
bool sim_step(struct sim_events *events);
/* Moves the clock without an event (owners' deadlines). */
void sim_advance(struct sim_events *events, struct mono to);

/* Mixes a fact into the trace's hash, and prints it where is_traced. */
void sim_trace(struct sim_events *events, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
