/* SPDX-License-Identifier: Apache-2.0
 *
 * watcher_setup.c - what set-up left to be done by itself: DKIM keys of domains with `rotate` move
 * on by a stage, and SPF records that were flattened are compared with their sources. Both block,
 * so a round has a thread, which ends with it.
 */
#include "core/time.h"
#include "node/watcher_priv.h"

#include <unistd.h>

enum {
    RESULT_BYTES_MAX = 64 << 20,
    STEP_BYTES_MAX = 64 << 20, /* of one domain, then reused */
    STACK_BYTES = 2 << 20
};

struct watcher_setup {
    struct watcher_setup_conf conf;
    struct config *config;
    pthread_t thread;
    struct wall now;
    struct arena arena; /* of the results */
    const struct identity_result **result;
    uint32_t result_count;
    bool wants_reload;
    _Atomic bool is_done;
};

/* ---- results ---- */

/* The text is copied; where there is no memory for it, it is left out. */
static struct str keep(struct watcher_setup *setup, struct str text)
{
    struct str copy = arena_str(&setup->arena, text);
    return copy.ptr != NULL ? copy : STR("");
}

static void say(struct watcher_setup *setup, const struct identity_result *said)
{
    struct identity_result *result = arena_new(&setup->arena, sizeof *result);
    if (result == NULL) {
        return;
    }
    *result = *said;
    result->found = keep(setup, said->found);
    result->mend = keep(setup, said->mend);
    result->detail = keep(setup, said->detail);
    setup->result[setup->result_count++] = result; /* one a domain at most */
}

static struct identity_outside outside_of(const struct watcher_setup *setup)
{
    const struct config *config = setup->config;
    return (struct identity_outside){ .servers = config->resolver,
        .anchor_path = config->trust_anchor.len > 0 ? config->trust_anchor.ptr : NULL,
        .is_ending = setup->conf.is_ending };
}

/* ---- keys ---- */

static void say_stage(struct watcher_setup *setup, const struct config_domain *domain,
        const struct identity_rotation *rotation)
{
    struct identity_result result = { .id = STR("dkim.rotate"),
        .domain = domain->name,
        .title = STR("DKIM keys are replaced when they are old"),
        .expected = STR("new keys sign once their records are published"),
        .detail = rotation->waits_for };
    struct str old = rotation->old_selectors, new = rotation->new_selectors;
    char found[2 * WHY_BYTES_MAX], when[TIME_TEXT_CAP] = "";
    time_rfc3339(rotation->next, when);
    switch (rotation->stage) {
    case IDENTITY_ROTATE_PUBLISH:
        result.status = IDENTITY_WARN;
        result.mend = rotation->records;
        fmt(found, sizeof found, "%.*s waits for its record to be published; %.*s signs",
                STR_ARG(new), STR_ARG(old));
        break;
    case IDENTITY_ROTATE_RETIRE:
        fmt(found, sizeof found, "%.*s signs; the record of %.*s must stay until %s", STR_ARG(new),
                STR_ARG(old), when);
        break;
    case IDENTITY_ROTATE_IDLE:
        result.status = rotation->next.ms > 0 ? IDENTITY_PASS : IDENTITY_WARN;
        if (rotation->next.ms == 0) {
            result.mend = STR("since = \"2026-11-25T00:00:00Z\"   # in its dkim section\n");
        }
        fmt(found, sizeof found, "%.*s signs, %s%s", STR_ARG(new),
                rotation->next.ms > 0 ? "to be replaced from " : "but nothing says since when",
                rotation->next.ms > 0 ? when : "");
        break;
    }
    result.found = str_from_c(found);
    say(setup, &result);
}

static void say_failure(struct watcher_setup *setup, const struct config_domain *domain,
        enum err err, const struct why *why)
{
    char mend[PATH_MAX + 400] = "";
    bool is_by_rights = err == E_DENIED || err == E_IO; /* a read-only file system is E_IO */
    if (is_by_rights) {
        fmt(mend, sizeof mend, "outpost domain rotate %.*s --scheduled --config %.*s\n",
                STR_ARG(domain->name), STR_ARG(setup->config->path));
    }
    const struct identity_result result = { .id = STR("dkim.rotate"),
        .domain = domain->name,
        .status = err == E_NOMEM ? IDENTITY_ERROR : IDENTITY_FAIL,
        .title = STR("DKIM keys are replaced when they are old"),
        .found = str_from_c(why->text[0] != '\0' ? why->text : err_name(err)),
        .expected = STR("the node may change the domain's file in domains.d"),
        .mend = str_from_c(mend),
        .detail = is_by_rights ? STR("let the node's user write there, or run this from a timer, "
                                     "as a user who may; then: systemctl reload outpost")
                               : STR("") };
    say(setup, &result);
}

static void log_move(struct watcher_setup *setup, const struct config_domain *domain,
        const struct identity_rotation *rotation)
{
    static const char *const words[] = {
        [IDENTITY_ROTATE_IDLE] = "retired the old key; its record may be taken out of DNS:",
        [IDENTITY_ROTATE_PUBLISH] = "made a new key; publish its record:",
        [IDENTITY_ROTATE_RETIRE] = "the new key signs from now on; keep the old record published"
    };
    log_info(setup->conf.node->log, "watch", "rotation of %.*s: %s: %s %.*s", STR_ARG(domain->name),
            identity_rotate_stage_name(rotation->stage), words[rotation->stage],
            STR_ARG(str_sub(str_trim(rotation->records), 0, 600)));
}

static void rotate(
        struct watcher_setup *setup, const struct config_domain *domain, struct arena *arena)
{
    struct identity_rotation was, rotation;
    struct why why = { 0 };
    const struct identity_rotate_how how = { .config_path = setup->config->path.ptr,
        .domain = domain->name,
        .outside = outside_of(setup),
        .now = setup->now,
        .is_scheduled = true };
    if (domain->rotate_ms == 0) {
        return;
    }
    if (!identity_rotate_look(domain, setup->now, arena, &was)) {
        say_stage(setup, domain, &was);
        return;
    }
    enum err err = identity_rotate_step(&how, arena, &rotation, &why);
    if (err == E_BUSY) {
        return; /* somebody is at it by hand */
    }
    if (err != OK) {
        say_failure(setup, domain, err, &why);
        return;
    }
    if (rotation.has_moved) {
        log_move(setup, domain, &rotation);
    }
    /* also where an earlier reload failed, or none followed a move by hand */
    bool is_other = rotation.stage != was.stage;
    setup->wants_reload = setup->wants_reload || rotation.has_moved || is_other;
    say_stage(setup, domain, &rotation);
}

static void reload(struct watcher_setup *setup)
{
    struct node *node = setup->conf.node;
    struct buf text;
    buf_init(&text, 65536);
    if (node->reload != NULL) {
        (void)node->reload(node->reload_ctx, &text); /* has told the log; else the next round */
    }
    buf_done(&text);
}

/* ---- flattened records ---- */

static void flatten(
        struct watcher_setup *setup, const struct config_domain *domain, struct arena *arena)
{
    char path[PATH_MAX], mend[DNS_NAME_CAP + 64];
    struct why why = { 0 };
    bool has_changed = false;
    (void)arena;
    fmt(path, sizeof path, "%.*s/identity/flatten-%.*s.json", STR_ARG(setup->config->data_dir),
            STR_ARG(domain->name));
    if (access(path, F_OK) != 0) {
        return; /* nothing was flattened and kept */
    }
    const struct identity_flatten_how how = { .domain = domain->name,
        .outside = outside_of(setup),
        .state_path = str_from_c(path),
        .now = setup->now };
    enum err err = identity_flatten_changed(&how, &has_changed, &why);
    fmt(mend, sizeof mend, "outpost domain flatten %.*s --keep\n", STR_ARG(domain->name));
    struct identity_result result = { .id = STR("spf.flatten"),
        .domain = domain->name,
        .title = STR("the flattened SPF record has the addresses of its sources"),
        .found = STR("the addresses that it was made of"),
        .expected = STR("the addresses that it was made of") };
    if (err != OK) {
        result.status = err == E_TIMEOUT || err == E_NOMEM ? IDENTITY_ERROR : IDENTITY_WARN;
        result.found = str_from_c(why.text[0] != '\0' ? why.text : err_name(err));
    } else if (has_changed) {
        result.status = IDENTITY_WARN;
        result.found = STR("the sources lead to other addresses than the published record");
        result.mend = str_from_c(mend);
        result.detail = STR("flatten again, and publish what it prints");
    }
    say(setup, &result);
}

/* ---- the round ---- */

static void *run(void *ctx)
{
    struct watcher_setup *setup = ctx;
    struct net *net = setup->conf.net;
    struct arena arena;
    for (uint32_t i = 0; i < setup->config->domain_count && !atomic_load(setup->conf.is_ending);
            i++) {
        arena_init(&arena, STEP_BYTES_MAX);
        (setup->conf.is_flatten ? flatten : rotate)(setup, &setup->config->domain[i], &arena);
        arena_done(&arena);
    }
    if (setup->wants_reload) {
        reload(setup);
    }
    atomic_store(&setup->is_done, true);
    net_wake_real(net);
    return NULL;
}

static enum err start(struct watcher_setup *setup)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int number = pthread_create(&setup->thread, &attr, run, setup);
    pthread_attr_destroy(&attr);
    return number == 0 ? OK : E_IO;
}

static void drop(struct watcher_setup *setup)
{
    arena_done(&setup->arena);
    config_give(setup->config);
    mem_free(setup);
}

enum err watcher_setup_begin(
        const struct watcher_setup_conf *conf, struct watcher_setup **ret_setup)
{
    struct watcher_setup *setup = mem_new(sizeof *setup);
    if (setup == NULL) {
        return E_NOMEM;
    }
    setup->conf = *conf;
    setup->config = config_take(conf->config);
    setup->now = clock_wall(conf->clock);
    arena_init(&setup->arena, RESULT_BYTES_MAX);
    setup->result = arena_new(
            &setup->arena, (conf->config->domain_count + 1) * sizeof(struct identity_result *));
    enum err err = setup->result != NULL ? start(setup) : E_NOMEM;
    if (err != OK) {
        drop(setup);
        return err;
    }
    pthread_setname_np(setup->thread, "watcher-setup");
    *ret_setup = setup;
    return OK;
}

const struct identity_result *const *watcher_setup_results(
        const struct watcher_setup *setup, uint32_t *ret_count)
{
    if (!atomic_load(&setup->is_done)) {
        return NULL;
    }
    *ret_count = setup->result_count;
    return setup->result;
}

void watcher_setup_free(struct watcher_setup *setup)
{
    if (setup != NULL) {
        pthread_join(setup->thread, NULL);
        drop(setup);
    }
}
