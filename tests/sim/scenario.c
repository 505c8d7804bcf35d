/* SPDX-License-Identifier: Apache-2.0
 *
 * scenario.c - plays scenario files line by line, and counts them.
 *
 * The lines are a table at the end of this file; what a client says, what a receiver does and what is
 * checked have files of their own.
 */
#include "tests/sim/scenario.h"

#include "core/crypto.h"
#include "tests/sim/scenario_priv.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 4 << 20, LOG_BYTES_MAX = 64 << 20, SEED_COUNT_MAX = 1000 };

static const char default_config[] = "hostname = \"mail.sender.example\"\n"
                                     "data-dir = \"/simulated\"\n"
                                     "control = \"/simulated/control.sock\"\n"
                                     "slot-bytes = \"2M\"\n";
static const char default_listener[] =
        "listen \"in\" { address = { \"10.0.0.1:2525\" } networks = { \"10.0.0.0/8\" } }\n";

void scene_fail(struct scene *scene, const char *format, ...)
{
    if (scene->is_failed) {
        return;
    }
    scene->is_failed = true;
    size_t len = fmt(scene->what, sizeof scene->what, "%s:%u: ", scene->file, scene->line_no);
    va_list args;
    va_start(args, format);
    vsnprintf(scene->what + len, sizeof scene->what - len, format, args);
    va_end(args);
}

/* ---- lines ---- */

static bool raw_line(struct scene *scene)
{
    if (!str_cut(&scene->rest, '\n', &scene->line)) {
        return false;
    }
    scene->line_no++;
    return true;
}

bool scene_next_line(struct scene *scene)
{
    while (raw_line(scene)) {
        scene->line = str_trim(scene->line);
        if (scene->line.len && scene->line.ptr[0] != '#') {
            return true;
        }
    }
    return false;
}

struct str scene_block(struct scene *scene)
{
    struct buf text;
    uint32_t begin = scene->line_no;
    buf_init(&text, FILE_BYTES_MAX);
    while (raw_line(scene) && !str_eq(str_trim(scene->line), STR("END"))) {
        buf_add(&text, scene->line);
        buf_add_char(&text, '\n');
    }
    if (!str_eq(str_trim(scene->line), STR("END"))) {
        scene_fail(scene, "the block of line %u has no END", begin);
    }
    struct str copy = arena_str(&scene->arena, buf_str(&text));
    buf_done(&text);
    return copy;
}

/* ---- the world ---- */

static void keep_mail_line(void *ctx, struct str line)
{
    struct scene *scene = ctx;
    buf_add(&scene->mail_log, line);
    buf_add_char(&scene->mail_log, '\n');
    if (scene->is_talking) {
        fprintf(stderr, "%12lld mail: %.*s\n", (long long)scene->world->events.now.ms, STR_ARG(line));
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
    sim_dns_faults(world->dns)->delay_ms_max = 5;
    return world;
}

/* ---- CONFIG, SEEDS ---- */

/* CONFIG lines END: beside the default listener; CONFIG alone lines END: in its place. */
static void play_config(struct scene *scene, struct str text)
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
static void play_key(struct scene *scene, struct str text)
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
static void play_secret(struct scene *scene, struct str text)
{
    struct scene_args args;
    if (scene_parse_args(scene, text, &args)) {
        keep_secret(scene, scene_word(&args, 0), arena_strf(&scene->arena, "%.*s\n", STR_ARG(scene_word(&args, 1))));
    }
}

static void remove_secrets(struct scene *scene)
{
    while (!list_is_empty(&scene->secrets)) {
        struct secret_file *file = CONTAINER_OF(list_take_first(&scene->secrets), struct secret_file, at);
        unlink(file->path);
        mem_free(file);
    }
}

/* SEEDS N: the scenario is played with so many seeds. */
static void play_seeds(struct scene *scene, struct str text)
{
    uint64_t count = 0;
    if (str_to_u64(text, SEED_COUNT_MAX, &count) != OK) {
        scene_fail(scene, "SEEDS wants a number");
    }
    scene->seed_count = (uint32_t)count;
}

/* ---- DNS ---- */

/* DNS name MX 10 host | A ip | AAAA ip | CNAME name. What gets an address gets a receiver. */
static void play_dns(struct scene *scene, struct str text)
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
        record = (struct dns_record){ .type = DNS_MX, .preference = is_good ? (uint16_t)preference : 0 };
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
        scene_fail(scene, "DNS wants NAME MX PREFERENCE HOST, NAME A|AAAA ADDRESS or NAME CNAME NAME");
        return;
    }
    sim_dns_add(scene->world->dns, name, &record);
}

/* DNSFAIL name servfail|timeout|bogus|nxdomain|nodata|ok */
static void play_dnsfail(struct scene *scene, struct str text)
{
    static const struct {
        const char *name;
        enum dns_status status;
    } ways[] = { { "ok", DNS_FOUND }, { "servfail", DNS_SERVFAIL }, { "timeout", DNS_TIMEOUT }, { "bogus", DNS_BOGUS },
        { "nxdomain", DNS_NXDOMAIN }, { "nodata", DNS_NODATA } };
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

static enum err read_config(struct scene *scene, struct str text, struct config **ret_config, struct buf *ret_text)
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
static void play_start(struct scene *scene, struct str text)
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

static void play_stop(struct scene *scene, struct str text)
{
    (void)text;
    if (is_running(scene)) {
        world_stop(scene->world);
    }
}

/* CRASH kill|power */
static void play_crash(struct scene *scene, struct str text)
{
    bool is_kill = str_eq(text, STR("kill"));
    if (!is_kill && !str_eq(text, STR("power"))) {
        scene_fail(scene, "CRASH wants kill or power");
    } else if (is_running(scene)) {
        world_crash(scene->world, is_kill ? WORLD_KILL : WORLD_POWER_CUT);
    }
}

/* RELOAD [refused [~ "text"]] lines END: the file as it is now. */
static void play_reload(struct scene *scene, struct str text)
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
        scene_fail(scene, "the reload was answered %u: %.*s", status, STR_ARG(buf_str(&scene->reply)));
    }
    const struct scene_arg *reason = scene_arg(&args, "");
    if (reason && !arg_holds(reason, buf_str(&scene->reply))) {
        scene_fail(scene, "expected %.*s, got %.*s", STR_ARG(text), STR_ARG(buf_str(&scene->reply)));
    }
}

/* ---- faults and time ---- */

/* DISK full|ok | sync-fails N | write-fails N [on=history] */
static void play_disk(struct scene *scene, struct str text)
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
static void play_net(struct scene *scene, struct str text)
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
    faults->tls_untrusted = (uint32_t)scene_number(scene, &args, "tls-untrusted", faults->tls_untrusted);
    faults->delay_ms_max = scene_number(scene, &args, "delay", faults->delay_ms_max);
}

static void play_time(struct scene *scene, struct str text)
{
    int64_t ms;
    if (scene_ms(scene, text, &ms) && scene_world(scene)) {
        world_run_for(scene->world, (uint64_t)ms);
    }
}

/* CLOCK +1y: the wall clock steps, nothing else does. */
static void play_clock(struct scene *scene, struct str text)
{
    int64_t ms;
    if (scene_ms(scene, text, &ms) && scene_world(scene)) {
        scene->world->events.wall_offset_ms += ms;
    }
}

/* ---- the table ---- */

static void play_c(struct scene *scene, struct str text)
{
    scene_client_says(scene, text);
}

static void play_s(struct scene *scene, struct str text)
{
    scene_client_hears(scene, text, /*is_whole_reply*/ false);
}

static void play_s_all(struct scene *scene, struct str text)
{
    scene_client_hears(scene, text, /*is_whole_reply*/ true);
}

/* S-TIMES: 60 250 *: so many lines in a row. */
static void play_s_times(struct scene *scene, struct str text)
{
    uint64_t count = 0;
    size_t at = str_index(text, ' ');
    if (str_to_u64(str_sub(text, 0, at), 100000, &count) != OK) {
        scene_fail(scene, "S-TIMES wants a number and a pattern");
    }
    for (uint64_t i = 0; i < count && !scene->is_failed; i++) {
        scene_client_hears(scene, str_from(text, at + 1), /*is_whole_reply*/ false);
    }
}

static const struct {
    const char *word;
    void (*play)(struct scene *scene, struct str text);
} plays[] = { { "C:", play_c }, { "S:", play_s }, { "S+:", play_s_all }, { "S-TIMES:", play_s_times }, { "C-RAW:", scene_client_says_raw },
    { "CONFIG", play_config }, { "KEY", play_key }, { "SECRET", play_secret }, { "SEEDS", play_seeds }, { "DNS", play_dns }, { "DNSFAIL", play_dnsfail },
    { "PEER", scene_peer }, { "START", play_start }, { "STOP", play_stop }, { "CRASH", play_crash },
    { "RELOAD", play_reload }, { "SUBMIT", scene_submit }, { "CLIENT", scene_client }, { "HELLO", scene_hello },
    { "ENVELOPE", scene_envelope }, { "TIME", play_time },
    { "CLOCK", play_clock }, { "DISK", play_disk }, { "NET", play_net }, { "CHECK", scene_check },
    { "ACT", scene_act } };

static void play_line(struct scene *scene)
{
    size_t len = 0;
    while (len < scene->line.len && !ascii_is_blank(scene->line.ptr[len])) {
        len++;
    }
    struct str word = str_sub(scene->line, 0, len);
    /* behind C: one blank only: a line may begin with one */
    bool is_said = str_eq(word, STR("C:"));
    struct str text = is_said ? str_from(scene->line, len + 1) : str_trim(str_from(scene->line, len));
    for (size_t i = 0; i < COUNT_OF(plays); i++) {
        if (str_eq(word, str_from_c(plays[i].word))) {
            plays[i].play(scene, text);
            return;
        }
    }
    scene_fail(scene, "nobody knows what \"%.*s\" is", STR_ARG(word));
}

static void scene_init(struct scene *scene, const char *file, struct str text, uint64_t seed)
{
    *scene = (struct scene){ .file = file, .rest = text, .seed = seed, .seed_count = 1 };
    arena_init(&scene->arena, SCENE_TEXT_BYTES_MAX * 4ull);
    buf_init(&scene->config, FILE_BYTES_MAX);
    buf_init(&scene->reply, SCENE_TEXT_BYTES_MAX);
    buf_init(&scene->mail_log, LOG_BYTES_MAX);
    buf_init(&scene->node_log, LOG_BYTES_MAX);
    list_init(&scene->hosts);
    list_init(&scene->guests);
    list_init(&scene->secrets);
    list_init(&scene->dialers);
}

static void scene_done(struct scene *scene)
{
    if (scene->world && scene->world->node) {
        world_stop(scene->world); /* while clients and receivers can still be told */
    }
    scene_clients_done(scene);
    scene_peers_done(scene);
    remove_secrets(scene);
    world_free(scene->world);
    buf_done(&scene->config);
    buf_done(&scene->reply);
    buf_done(&scene->mail_log);
    buf_done(&scene->node_log);
    arena_done(&scene->arena);
}

struct wish {
    bool is_talking, is_traced;
    uint32_t seed_count; /* at least so many, whatever the file says */
};

/* One seed. False: it failed, and that was said. */
static bool play_once(const char *file, struct str text, uint64_t seed, const struct wish *wish, uint32_t *ret_seeds)
{
    struct scene *scene = mem_new(sizeof *scene);
    ASSERT(scene);
    scene_init(scene, file, text, seed);
    scene->is_talking = wish->is_talking;
    scene->is_traced = wish->is_traced;
    while (!scene->is_failed && scene_next_line(scene)) {
        play_line(scene);
    }
    if (!scene->is_failed) {
        scene_peers_end(scene);
    }
    *ret_seeds = scene->seed_count > wish->seed_count ? scene->seed_count : wish->seed_count;
    bool is_good = !scene->is_failed;
    if (!is_good) {
        printf("%s", scene->what);
        if (*ret_seeds > 1) {
            printf(" (seed %llu)", (unsigned long long)seed);
        }
        printf("\n");
        fflush(stdout);
    }
    scene_done(scene);
    mem_free(scene);
    return is_good;
}

static bool read_file(const char *path, struct buf *ret_text)
{
    FILE *file = fopen(path, "rbe");
    buf_init(ret_text, FILE_BYTES_MAX);
    if (file == NULL) {
        return false;
    }
    char *space;
    size_t got = 1;
    while (got > 0 && (space = buf_space(ret_text, 65536)) != NULL) {
        got = fread(space, 1, 65536, file);
        buf_grew(ret_text, got);
    }
    bool is_good = ferror(file) == 0 && buf_err(ret_text) == OK;
    fclose(file);
    return is_good;
}

static bool play_file(const char *dir, const char *name, const struct wish *wish)
{
    char path[4096];
    struct buf text;
    uint32_t seeds = 1;
    fmt(path, sizeof path, "%s/%s", dir, name);
    bool is_good = read_file(path, &text);
    if (!is_good) {
        printf("%s:0: cannot be read\n", path);
    }
    for (uint32_t seed = 1; is_good && seed <= seeds; seed++) {
        is_good = play_once(path, buf_str(&text), seed, wish, &seeds);
    }
    buf_done(&text);
    return is_good;
}

/* ---- all of them ---- */

static int is_scenario(const struct dirent *entry)
{
    return str_ends_nocase(str_from_c(entry->d_name), STR(".scn"));
}

static bool is_flag(const char *name, const char *flag)
{
    return strcmp(name, flag) == 0;
}

static bool is_wanted(const char *name, int name_count, char **names)
{
    int wanted = 0;
    for (int i = 0; i < name_count; i++) {
        if (str_starts(str_from_c(names[i]), STR("--"))) {
            continue;
        }
        wanted++;
        if (strstr(name, names[i])) {
            return true;
        }
    }
    return wanted == 0;
}

int scenario_run_all(const char *dir, int name_count, char **names)
{
    struct dirent **entries;
    struct wish wish = { 0 };
    bool is_list = false;
    uint32_t passed = 0, failed = 0;
    for (int i = 0; i < name_count; i++) {
        wish.is_talking |= is_flag(names[i], "--talk");
        wish.is_traced |= is_flag(names[i], "--trace");
        is_list |= is_flag(names[i], "--list");
        uint64_t seeds = 0;
        if (str_starts(str_from_c(names[i]), STR("--seeds=")) &&
                str_to_u64(str_from(str_from_c(names[i]), 8), SEED_COUNT_MAX, &seeds) == OK) {
            wish.seed_count = (uint32_t)seeds;
        }
    }
    int count = scandir(dir, &entries, is_scenario, alphasort);
    for (int i = 0; i < count; i++) {
        if (is_wanted(entries[i]->d_name, name_count, names)) {
            if (is_list) {
                printf("%s\n", entries[i]->d_name);
                fflush(stdout);
            }
            bool is_good = play_file(dir, entries[i]->d_name, &wish);
            passed += is_good;
            failed += !is_good;
        }
        free(entries[i]);
    }
    if (count < 0) {
        printf("%s cannot be read\n", dir);
        failed++;
    } else {
        free(entries);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
