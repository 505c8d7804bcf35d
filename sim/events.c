/* SPDX-License-Identifier: Apache-2.0
 *
 * events.c - the event heap and the two clocks of a simulated world.
 */
#include "sim/events.h"

#include <stdarg.h>

/* Keys are the time with the order of making below it: 2^20 events of one millisecond keep order.
 */
enum { ORDER_BITS = 20 };
/* Begins on 2026-01-05, a Monday; mono begins at one hour, so that 0 stays "never". */
static const int64_t wall_start_ms = INT64_C(1767571200000);
static const int64_t mono_start_ms = 3600000;

static struct mono events_mono(struct clock *clock)
{
    return CONTAINER_OF(clock, struct sim_events, clock)->now;
}

static struct wall events_wall(struct clock *clock)
{
    const struct sim_events *events = CONTAINER_OF(clock, struct sim_events, clock);
    return (struct wall){ events->now.ms + events->wall_offset_ms };
}

static void events_fill(struct entropy *entropy, void *dst, size_t len_bytes)
{
    struct sim_events *events = CONTAINER_OF(entropy, struct sim_events, entropy);
    uint8_t *at = dst;
    while (len_bytes > 0) {
        uint64_t value = prng_next(&events->node_prng);
        size_t take = len_bytes < sizeof value ? len_bytes : sizeof value;
        memcpy(at, &value, take);
        at += take;
        len_bytes -= take;
    }
}

void sim_events_init(struct sim_events *events, uint64_t seed)
{
    *events = (struct sim_events){ 0 };
    events->clock.mono = events_mono;
    events->clock.wall = events_wall;
    events->entropy.fill = events_fill;
    events->now.ms = mono_start_ms;
    events->wall_offset_ms = wall_start_ms - mono_start_ms;
    events->hash = UINT64_C(14695981039346656037);
    prng_init(&events->prng, seed);
    prng_init(&events->node_prng, seed ^ UINT64_C(0x9e3779b97f4a7c15));
}

void sim_events_done(struct sim_events *events)
{
    struct heap_item *item;
    while ((item = heap_first(&events->heap)) != NULL) {
        heap_del(&events->heap, item);
        mem_free(CONTAINER_OF(item, struct sim_event, item));
    }
    heap_done(&events->heap);
}

struct sim_event *sim_after(struct sim_events *events, uint64_t delay_ms,
        void (*happen)(void *ctx, uint64_t number), void *ctx, uint64_t number)
{
    struct sim_event *event = mem_new(sizeof *event);
    ASSERT(event);
    *event = (struct sim_event){ .happen = happen, .ctx = ctx, .number = number };
    int64_t at_ms = events->now.ms + (int64_t)delay_ms;
    int64_t order = events->made_count++ & ((1 << ORDER_BITS) - 1);
    ASSERT(heap_add(&events->heap, &event->item, (at_ms << ORDER_BITS) | order) == OK);
    return event;
}

void sim_cancel(struct sim_events *events, struct sim_event *event)
{
    if (event) {
        heap_del(&events->heap, &event->item);
        mem_free(event);
    }
}

struct mono sim_next_time(const struct sim_events *events)
{
    struct heap_item *item = heap_first(&events->heap);
    return (struct mono){ item ? item->key >> ORDER_BITS : 0 };
}

bool sim_step(struct sim_events *events)
{
    struct heap_item *item = heap_first(&events->heap);
    if (item == NULL) {
        return false;
    }
    struct sim_event *event = CONTAINER_OF(item, struct sim_event, item);
    sim_advance(events, (struct mono){ item->key >> ORDER_BITS });
    heap_del(&events->heap, item);
    event->happen(event->ctx, event->number);
    mem_free(event);
    return true;
}

void sim_advance(struct sim_events *events, struct mono to)
{
    if (to.ms > events->now.ms) {
        events->now = to;
    }
}

void sim_trace(struct sim_events *events, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (len < 0) {
        return;
    }
    struct str text = str_of(line, (size_t)len < sizeof line ? (size_t)len : sizeof line - 1);
    events->hash = str_hash(text, events->hash ^ (uint64_t)events->now.ms);
    if (events->is_traced) {
        printf("%12lld %.*s\n", (long long)events->now.ms, STR_ARG(text));
    }
}
