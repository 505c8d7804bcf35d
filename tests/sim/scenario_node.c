/* SPDX-License-Identifier: Apache-2.0
 *
 * scenario_node.c - the node of a scenario and what it stands on: configuration, DNS, life and
 * death, faults.
 */
#include "tests/sim/scenario_priv.h"

#include "core/crypto.h"

#include <stdlib.h>
#include <unistd.h>

enum { SPLIT_PER_MILLION = 500000 };

static const char default_config[] = "hostname = \"mail.sender.example\"\n"
                                     "data-dir = \"/simulated\"\n"
                                     "control = \"/simulated/control.sock\"\n"
                                     "slot-bytes = \"2M\"\n";
static const char default_listener[] =
        "listen \"in\" { address = { \"10.0.0.1:2525\" } networks = { \"10.0.0.0/8\" } }\n";

/* ---- the world ---- */

static void keep_mail_line(void *ctx, struct str line)
{
    struct scene *scene = ctx;
    buf_add(&scene->mail_log, line);
    buf_add_char(&scene->mail_log, '\n');
    if (scene->is_talking) {
        fprintf(stderr, "%12lld mail: %.*s\n", (long long)scene->world->events.now.ms,
                STR_ARG(line));
    }
}

static void keep_node_line(void *ctx, struct str line)
{
    struct scene *scene = ctx;
    buf_add(&scene->node_log, line);
    buf_add_char(&scene->node_log, '\n');
}

struct world *scene_world(struct scene *scene)
{
    struct why why = { 0 };
    if (scene->world || scene->is_failed) {
        return scene->is_failed ? NULL : scene->world;
    }
    if (scene->config.len == 0) {
        buf_add_c(&scene->config, default_config);
        buf_add_c(&scene->config, default_listener);
    }
    if (world_new(scene->seed, buf_str(&scene->config), &scene->world, &why) != OK) {
        scene_fail(scene, "%s", why.text);
        return NULL;
    }
    struct world *world = scene->world;
    world->mail_line = keep_mail_line;
    world->node_line = keep_node_line;
    world->line_ctx = scene;
    world->is_talking = scene->is_talking;
    world->events.is_traced = scene->is_traced;
    sim_net_faults(world->net)->delay_ms_max = 5;
    sim_net_faults(world->net)->split = scene->is_split ? SPLIT_PER_MILLION : 0;
    sim_dns_faults(world->dns)->delay_ms_max = 5;
    return world;
}

/* ---- CONFIG, KEY, SECRET ---- */

/* CONFIG lines END: beside the default listener; CONFIG alone lines END: in its place. */
void scene_config(struct scene *scene, struct str text)
{
    bool is_alone = str_eq(text, STR("alone"));
    struct str lines = scene_block(scene);
    if (scene->world) {
        scene_fail(scene, "CONFIG comes first");
    }
    buf_add_c(&scene->config, default_config);
    buf_add_c(&scene->config, is_alone ? "" : default_listener);
    buf_add(&scene->config, scene_expand(scene, lines));
}

/* A file that only its owner may read, for as long as the scenario is played. */
struct secret_file {
    struct list at;
    char path[64];
};

/* Writes it; $NAME is its path from here on. */
static void keep_secret(struct scene *scene, struct str name, struct str content)
{
    struct secret_file *file = mem_new(sizeof *file);
    ASSERT(file);
    fmt(file->path, sizeof file->path, "/tmp/outpost-scenario-XXXXXX");
    int fd = mkstemp(file->path);
    list_add_last(&scene->secrets, &file->at);
    scene_set_var(scene, name, str_from_c(file->path));
    if (fd < 0 || write(fd, content.ptr, content.len) != (ssize_t)content.len) {
        scene_fail(scene, "%s cannot be written", file->path);
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* KEY NAME: a new Ed25519 key; $NAME is its file. */
void scene_key(struct scene *scene, struct str text)
{
    struct key *key = NULL;
    struct buf pem;
    buf_init(&pem, 65536);
    enum err err = key_generate(KEY_ED25519, 0, &key);
    if (err == OK) {
        err = key_to_pem(key, &pem);
    }
    key_free(key);
    if (err == OK) {
        keep_secret(scene, text, buf_str(&pem));
    } else {
        scene_fail(scene, "no key could be made (%s)", err_name(err));
    }
    buf_done(&pem);
}

/* SECRET NAME "text": $NAME is a file with that line. */
void scene_secret(struct scene *scene, struct str text)
{
    struct scene_args args;
    if (scene_parse_args(scene, text, &args)) {
        keep_secret(scene, scene_word(&args, 0),
                arena_strf(&scene->arena, "%.*s\n", STR_ARG(scene_word(&args, 1))));
    }
}

void scene_remove_secrets(struct scene *scene)
{
    while (!list_is_empty(&scene->secrets)) {
        struct secret_file *file =
                CONTAINER_OF(list_take_first(&scene->secrets), struct secret_file, at);
        unlink(file->path);
        mem_free(file);
    }
}

/* ---- DNS ---- */

/* DNS name MX 10 host | A ip | AAAA ip | CNAME name. What gets an address gets a receiver. */
void scene_dns(struct scene *scene, struct str text)
{
    struct scene_args args;
    char name[DNS_NAME_CAP];
    if (!scene_parse_args(scene, text, &args) || scene_world(scene) == NULL) {
        return;
    }
    struct str type = scene_word(&args, 1), data = scene_word(&args, 2);
    struct dns_record record = { 0 };
    uint64_t preference;
    bool is_good = str_to_c(scene_word(&args, 0), name, sizeof name);
    if (str_eq(type, STR("MX"))) {
        is_good = is_good && str_to_u64(data, UINT16_MAX, &preference) == OK;
        data = scene_word(&args, 3);
        record = (struct dns_record){ .type = DNS_MX,
            .preference = is_good ? (uint16_t)preference : 0 };
        record.data = str_eq(data, STR(".")) ? STR("") : data;
    } else if (str_eq(type, STR("A")) || str_eq(type, STR("AAAA"))) {
        is_good = is_good && ip_parse(data, &record.ip) == OK;
        record.type = record.ip.family == IP_V6 ? DNS_AAAA : DNS_A;
        scene_serve(scene, (struct ip_port){ record.ip, SCENE_SMTP_PORT });
    } else if (str_eq(type, STR("CNAME"))) {
        record = (struct dns_record){ .type = DNS_CNAME, .data = data };
    } else {
        is_good = false;
    }
    if (!is_good) {
        scene_fail(
                scene, "DNS wants NAME MX PREFERENCE HOST, NAME A|AAAA ADDRESS or NAME CNAME NAME");
        return;
    }
    sim_dns_add(scene->world->dns, name, &record);
}

/* DNSFAIL name servfail|timeout|bogus|nxdomain|nodata|ok */
void scene_dnsfail(struct scene *scene, struct str text)
{
    static const struct {
        const char *name;
        enum dns_status status;
    } ways[] = { { "ok", DNS_FOUND }, { "servfail", DNS_SERVFAIL }, { "timeout", DNS_TIMEOUT },
        { "bogus", DNS_BOGUS }, { "nxdomain", DNS_NXDOMAIN }, { "nodata", DNS_NODATA } };
    struct scene_args args;
    char name[DNS_NAME_CAP];
    if (!scene_parse_args(scene, text, &args) || scene_world(scene) == NULL) {
        return;
    }
    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        if (str_eq(scene_word(&args, 1), str_from_c(ways[i].name)) &&
                str_to_c(scene_word(&args, 0), name, sizeof name)) {
            sim_dns_fail(scene->world->dns, name, ways[i].status);
            return;
        }
    }
    scene_fail(scene, "DNSFAIL wants NAME servfail|timeout|bogus|nxdomain|nodata|ok");
}

/* ---- the node's life ---- */

static enum err read_config(
        struct scene *scene, struct str text, struct config **ret_config, struct buf *ret_text)
{
    struct config_report *report = mem_new(sizeof *report);
    ASSERT(report);
    enum err err = config_parse(text, STR("outpost.conf"), ret_config, report);
    config_report_print(report, ret_text);
    config_report_done(report);
    mem_free(report);
    (void)scene;
    return err;
}

/* As serve does it: a broken file changes nothing. */
static enum err on_reload(void *ctx, struct buf *ret_text)
{
    struct scene *scene = ctx;
    struct config *config;
    enum err err = read_config(scene, scene->reload_text, &config, ret_text);
    if (err == OK) {
        node_reload(scene->world->node, config);
        config_give(scene->world->config);
        scene->world->config = config;
        buf_add_c(ret_text, "configuration reloaded\n");
    }
    return err;
}

/* START, or START fails ~ "why" */
void scene_start(struct scene *scene, struct str text)
{
    struct scene_args args;
    struct why why = { 0 };
    if (!scene_parse_args(scene, text, &args) || scene_world(scene) == NULL) {
        return;
    }
    if (scene->world->node) {
        scene_fail(scene, "the node runs already");
        return;
    }
    enum err err = world_start(scene->world, &why);
    bool must_fail = str_eq(scene_word(&args, 0), STR("fails"));
    const struct scene_arg *reason = scene_arg(&args, "");
    if (err == OK) {
        node_on_reload(scene->world->node, on_reload, scene);
    }
    if ((err != OK) != must_fail) {
        scene_fail(scene, "the node %s: %s", err == OK ? "started" : "did not start", why.text);
    } else if (reason && !arg_holds(reason, str_from_c(why.text))) {
        scene_fail(scene, "expected %.*s, got %s", STR_ARG(text), why.text);
    }
}

static bool is_running(struct scene *scene)
{
    if (scene_world(scene) && scene->world->node == NULL) {
        scene_fail(scene, "the node does not run");
    }
    return !scene->is_failed;
}

void scene_stop(struct scene *scene, struct str text)
{
    (void)text;
    if (is_running(scene)) {
        world_stop(scene->world);
    }
}

/* CRASH kill|power */
void scene_crash(struct scene *scene, struct str text)
{
    bool is_kill = str_eq(text, STR("kill"));
    if (!is_kill && !str_eq(text, STR("power"))) {
        scene_fail(scene, "CRASH wants kill or power");
    } else if (is_running(scene)) {
        world_crash(scene->world, is_kill ? WORLD_KILL : WORLD_POWER_CUT);
    }
}

/* RELOAD [refused [~ "text"]] lines END: the file as it is now. */
void scene_reload(struct scene *scene, struct str text)
{
    struct scene_args args;
    struct str lines = scene_block(scene);
    if (!scene_parse_args(scene, text, &args) || !is_running(scene)) {
        return;
    }
    bool is_alone = str_eq(scene_word(&args, 0), STR("alone"));
    bool must_fail = str_eq(scene_word(&args, 0), STR("refused"));
    scene->reload_text = arena_strf(&scene->arena, "%s%s%.*s", is_alone ? "" : default_config,
            is_alone ? "" : default_listener, STR_ARG(scene_expand(scene, lines)));
    buf_clear(&scene->reply);
    uint16_t status = world_ask(scene->world, "POST", "/v1/reload", "", "", &scene->reply);
    if (status != (must_fail ? 422 : 200)) {
        scene_fail(
                scene, "the reload was answered %u: %.*s", status, STR_ARG(buf_str(&scene->reply)));
    }
    const struct scene_arg *reason = scene_arg(&args, "");
    if (reason && !arg_holds(reason, buf_str(&scene->reply))) {
        scene_fail(
                scene, "expected %.*s, got %.*s", STR_ARG(text), STR_ARG(buf_str(&scene->reply)));
    }
}

/* ---- faults and time ---- */

/* DISK full|ok | sync-fails N | write-fails N [on=history] */
void scene_disk(struct scene *scene, struct str text)
{
    struct scene_args args;
    uint64_t count = 1;
    if (!scene_parse_args(scene, text, &args) || scene_world(scene) == NULL) {
        return;
    }
    bool is_history = str_eq(scene_value(&args, "on"), STR("history"));
    struct sim_disk *disk = is_history ? scene->world->history_disk : scene->world->spool_disk;
    struct str what = scene_word(&args, 0), number = scene_word(&args, 1);
    if (number.len && str_to_u64(number, 1000000, &count) != OK) {
        scene_fail(scene, "\"%.*s\" is no number", STR_ARG(number));
    } else if (str_eq(what, STR("full"))) {
        sim_disk_set_capacity(disk, 1); /* nothing grows */
    } else if (str_eq(what, STR("ok"))) {
        sim_disk_heal(disk);
        sim_disk_set_capacity(disk, UINT64_MAX);
    } else if (str_eq(what, STR("sync-fails"))) {
        sim_disk_fail(disk, SIM_DISK_SYNC, 1, count, E_IO);
    } else if (str_eq(what, STR("write-fails"))) {
        sim_disk_fail(disk, SIM_DISK_WRITE, 1, count, E_IO);
    } else {
        scene_fail(scene, "DISK wants full, ok, sync-fails N or write-fails N");
    }
}

/* NET split=N reset=N stall=N tls-fails=N tls-untrusted=N (per million) delay=MS */
void scene_net(struct scene *scene, struct str text)
{
    struct scene_args args;
    if (!scene_parse_args(scene, text, &args) || scene_world(scene) == NULL) {
        return;
    }
    struct sim_net_faults *faults = sim_net_faults(scene->world->net);
    faults->split = (uint32_t)scene_number(scene, &args, "split", faults->split);
    faults->reset = (uint32_t)scene_number(scene, &args, "reset", faults->reset);
    faults->stall = (uint32_t)scene_number(scene, &args, "stall", faults->stall);
    faults->tls_fails = (uint32_t)scene_number(scene, &args, "tls-fails", faults->tls_fails);
    faults->tls_untrusted =
            (uint32_t)scene_number(scene, &args, "tls-untrusted", faults->tls_untrusted);
    faults->delay_ms_max = scene_number(scene, &args, "delay", faults->delay_ms_max);
}

void scene_time(struct scene *scene, struct str text)
{
    int64_t ms;
    if (scene_ms(scene, text, &ms) && scene_world(scene)) {
        world_run_for(scene->world, (uint64_t)ms);
    }
}

/* CLOCK +1y: the wall clock steps, nothing else does. */
void scene_clock(struct scene *scene, struct str text)
{
    int64_t ms;
    if (scene_ms(scene, text, &ms) && scene_world(scene)) {
        scene->world->events.wall_offset_ms += ms;
    }
}
