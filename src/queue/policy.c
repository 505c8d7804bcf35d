/* SPDX-License-Identifier: Apache-2.0
 *
 * policy.c - streams and sources by small numbers that outlive a reload.
 *
 * A configuration's indexes hold for one snapshot only; recipients and lanes keep numbers of ours,
 * which are looked up by name again when a new snapshot comes.
 */
#include "queue/queue_priv.h"

enum { RETRY_FIRST_MS = 300000, RETRY_MAX_MS = 14400000, GIVE_UP_MS = 432000000 };

static enum err str_keep(struct str s, struct str *ret_copy)
{
    char *copy = mem_new(s.len + 1);
    if (copy == NULL) {
        return E_NOMEM;
    }
    if (s.len) {
        memcpy(copy, s.ptr, s.len);
    }
    *ret_copy = str_of(copy, s.len);
    return OK;
}

static void str_drop(struct str *s)
{
    char *ptr;
    memcpy(&ptr, &s->ptr, sizeof ptr); /* ours since str_keep, which gave it as a view */
    mem_free(ptr);
    *s = (struct str){ 0 };
}

static uint32_t source_find(const struct queue *q, struct str name)
{
    for (uint32_t i = 0; i < q->source_count; i++) {
        if (str_eq(q->source[i].name, name)) {
            return i;
        }
    }
    return NONE;
}

static enum err source_add(struct queue *q, struct str name)
{
    if (source_find(q, name) != NONE) {
        return OK;
    }
    if (q->source_count == SOURCE_COUNT_MAX) {
        return E_FULL;
    }
    struct source *source = mem_grow(q->source, (q->source_count + 1) * sizeof *source);
    if (source == NULL) {
        return E_NOMEM;
    }
    q->source = source;
    source[q->source_count] = (struct source){ .index = NONE };
    enum err err = str_keep(name, &source[q->source_count].name);
    q->source_count += err == OK;
    return err;
}

static const struct config_pool *stream_pool(
        const struct config *config, const struct config_stream *conf)
{
    if (conf && conf->pool.len) {
        return config_pool(config, conf->pool);
    }
    return config->pool_count ? &config->pool[0] : NULL;
}

/* Fills in what the configuration says of a stream, all but its name. */
static enum err stream_read(const struct queue *q, const struct config *config, struct str name,
        struct stream *ret_stream)
{
    const struct config_stream *conf = config_stream(config, name);
    struct stream stream = {
        .is_in_doubt_held = conf && conf->is_in_doubt_held,
        .is_dsn_off = conf && conf->is_dsn_off,
        .retry_first_ms = conf ? conf->retry_first_ms : RETRY_FIRST_MS,
        .retry_max_ms = conf ? conf->retry_max_ms : RETRY_MAX_MS,
        .give_up_ms = conf ? conf->give_up_ms : GIVE_UP_MS,
    };
    const struct config_pool *pool = stream_pool(config, conf);
    if (pool && pool->source_count) {
        stream.source = mem_new(2 * pool->source_count * sizeof *stream.source);
        if (stream.source == NULL) {
            return E_NOMEM;
        }
        stream.weight = stream.source + pool->source_count;
        stream.source_count = pool->source_count;
    }
    for (uint32_t i = 0; i < stream.source_count; i++) {
        stream.source[i] = source_find(q, config->source[pool->source[i]].name);
        stream.weight[i] = pool->weight ? pool->weight[i] : 1;
        stream.weight_sum += stream.weight[i];
    }
    *ret_stream = stream;
    return OK;
}

enum err policy_stream(struct queue *q, struct str name, uint8_t *ret_stream)
{
    for (uint32_t i = 0; i < q->stream_count; i++) {
        if (str_eq(q->stream[i].name, name)) {
            *ret_stream = (uint8_t)i; /* < STREAM_COUNT_MAX */
            return OK;
        }
    }
    if (q->stream_count == STREAM_COUNT_MAX) {
        *ret_stream = 0; /* names nobody configured fill the table: its first serves for the rest */
        return OK;
    }
    struct stream stream;
    enum err err = stream_read(q, q->config, name, &stream);
    if (err != OK) {
        return err;
    }
    err = str_keep(name, &stream.name);
    if (err != OK) {
        mem_free(stream.source);
        return err;
    }
    *ret_stream = (uint8_t)q->stream_count; /* < STREAM_COUNT_MAX */
    q->stream[q->stream_count++] = stream;
    return OK;
}

static void policy_swap(struct queue *q, struct config *config, struct stream *fresh)
{
    for (uint32_t i = 0; i < q->stream_count; i++) {
        fresh[i].name = q->stream[i].name;
        mem_free(q->stream[i].source);
        q->stream[i] = fresh[i];
    }
    for (uint32_t i = 0; i < q->source_count; i++) {
        q->source[i].index = NONE;
    }
    for (uint32_t i = 0; i < config->source_count; i++) {
        q->source[source_find(q, config->source[i].name)].index = i;
    }
    config_give(q->config);
    q->config = config_take(config);
    q->config_no++;
    q->shelf_bytes_max = config->memory_bytes_max / 2;
}

enum err policy_load(struct queue *q, struct config *config)
{
    enum err err = OK;
    for (uint32_t i = 0; i < config->source_count && err == OK; i++) {
        err = source_add(q, config->source[i].name);
    }
    struct stream *fresh = err == OK ? mem_new((q->stream_count + 1) * sizeof *fresh) : NULL;
    if (fresh == NULL) {
        return err == OK ? E_NOMEM : err;
    }
    for (uint32_t i = 0; i < q->stream_count && err == OK; i++) {
        err = stream_read(q, config, q->stream[i].name, &fresh[i]);
    }
    if (err == OK) {
        policy_swap(q, config, fresh);
    } else {
        for (uint32_t i = 0; i < q->stream_count; i++) {
            mem_free(fresh[i].source);
        }
    }
    mem_free(fresh);
    return err;
}

void policy_done(struct queue *q)
{
    for (uint32_t i = 0; i < q->stream_count; i++) {
        str_drop(&q->stream[i].name);
        mem_free(q->stream[i].source);
    }
    for (uint32_t i = 0; i < q->source_count; i++) {
        str_drop(&q->source[i].name);
    }
    mem_free(q->source);
    config_give(q->config);
}

uint32_t policy_source(const struct queue *q, const struct msg *msg)
{
    const struct stream *stream = &q->stream[msg->stream];
    if (stream->weight_sum == 0) {
        return NONE;
    }
    uint64_t at = queue_mix(msg->msg_id) % stream->weight_sum;
    uint32_t i = 0;
    while (at >= stream->weight[i]) {
        at -= stream->weight[i++];
    }
    ASSERT(i < stream->source_count);
    return stream->source[i];
}

bool policy_has_source(const struct queue *q, uint8_t stream, uint32_t source)
{
    const struct stream *s = &q->stream[stream];
    if (s->weight_sum == 0) {
        return source == NONE;
    }
    for (uint32_t i = 0; i < s->source_count; i++) {
        if (s->source[i] == source && s->weight[i] > 0) {
            return true;
        }
    }
    return false;
}
