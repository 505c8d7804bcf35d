/* SPDX-License-Identifier: Apache-2.0
 *
 * scenario.c - plays scenario files line by line, and counts them.
 *
 * The lines are a table at the end of this file; what a client says, what a receiver does and what
 * is checked have files of their own.
 */
#include "tests/sim/scenario.h"

#include "tests/sim/scenario_priv.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILE_BYTES_MAX = 4 << 20, LOG_BYTES_MAX = 64 << 20, SEED_COUNT_MAX = 1000 };

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

/* SEEDS N: the scenario is played with so many seeds. */
static void play_seeds(struct scene *scene, struct str text)
{
    uint64_t count = 0;
    if (str_to_u64(text, SEED_COUNT_MAX, &count) != OK) {
        scene_fail(scene, "SEEDS wants a number");
    }
    scene->seed_count = (uint32_t)count;
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
} plays[] = { { "C:", play_c }, { "S:", play_s }, { "S+:", play_s_all },
    { "S-TIMES:", play_s_times }, { "C-RAW:", scene_client_says_raw }, { "CONFIG", scene_config },
    { "KEY", scene_key }, { "SECRET", scene_secret }, { "SEEDS", play_seeds }, { "DNS", scene_dns },
    { "DNSFAIL", scene_dnsfail }, { "PEER", scene_peer }, { "START", scene_start },
    { "STOP", scene_stop }, { "CRASH", scene_crash }, { "RELOAD", scene_reload },
    { "SUBMIT", scene_submit }, { "CLIENT", scene_client }, { "HELLO", scene_hello },
    { "ENVELOPE", scene_envelope }, { "TIME", scene_time }, { "CLOCK", scene_clock },
    { "DISK", scene_disk }, { "NET", scene_net }, { "CHECK", scene_check }, { "ACT", scene_act } };

static void play_line(struct scene *scene)
{
    size_t len = 0;
    while (len < scene->line.len && !ascii_is_blank(scene->line.ptr[len])) {
        len++;
    }
    struct str word = str_sub(scene->line, 0, len);
    /* behind C: one blank only: a line may begin with one */
    bool is_said = str_eq(word, STR("C:"));
    struct str text =
            is_said ? str_from(scene->line, len + 1) : str_trim(str_from(scene->line, len));
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
    scene_remove_secrets(scene);
    world_free(scene->world);
    buf_done(&scene->config);
    buf_done(&scene->reply);
    buf_done(&scene->mail_log);
    buf_done(&scene->node_log);
    arena_done(&scene->arena);
}

struct wish {
    bool is_talking, is_traced, is_split;
    uint32_t seed_count; /* at least so many, whatever the file says */
};

/* One seed. False: it failed, and that was said. */
static bool play_once(const char *file, struct str text, uint64_t seed, const struct wish *wish,
        uint32_t *ret_seeds)
{
    struct scene *scene = mem_new(sizeof *scene);
    ASSERT(scene);
    scene_init(scene, file, text, seed);
    scene->is_talking = wish->is_talking;
    scene->is_traced = wish->is_traced;
    scene->is_split = wish->is_split;
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
        wish.is_split |= is_flag(names[i], "--split");
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
