/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_files.c - the files that commands write for a domain: domains.d/DOMAIN.conf and
 * domains.d/keys/. Each is replaced at once; one caller a domain at a time. What was written by
 * hand is never touched.
 */
#include "core/str.h"
#include "core/time.h"
#include "edge/entropy.h"
#include "identity/setup_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err err_of(int number)
{
    return number == ENOENT                      ? E_NOT_FOUND
           : number == EACCES || number == EPERM ? E_DENIED
           : number == ENOSPC                    ? E_NO_SPACE
           : number == EEXIST                    ? E_EXISTS
                                                 : E_IO;
}

static enum err say(struct why *why, const char *path)
{
    int number = errno;
    why_set(why, "%s: %s", path, strerror(number));
    return err_of(number);
}

/* ---- names ---- */

enum err domain_file_find(
        const char *config_path, struct str domain, struct domain_file *ret_file, struct why *why)
{
    struct str path = str_from_c(config_path);
    size_t slash = str_rindex(path, '/');
    struct str around = slash < path.len ? str_sub(path, 0, slash + 1) : STR("");
    size_t dir = fmt(ret_file->dir, sizeof ret_file->dir, "%.*sdomains.d", STR_ARG(around));
    size_t file = fmt(
            ret_file->path, sizeof ret_file->path, "%s/%.*s.conf", ret_file->dir, STR_ARG(domain));
    ret_file->lock = -1;
    if (dir + 1 >= sizeof ret_file->dir || file + 1 >= sizeof ret_file->path) {
        why_set(why, "the path of the configuration is too long");
        return E_TOO_BIG;
    }
    return OK;
}

/* Made with the owner of the directory around it: the node may run as another user than who calls.
 */
static enum err make_dir(const char *path, struct why *why)
{
    if (mkdir(path, 0750) != 0) {
        return errno == EEXIST ? OK : say(why, path);
    }
    char around[SETUP_PATH_CAP + 4];
    struct stat stat_around;
    fmt(around, sizeof around, "%s/..", path);
    if (geteuid() == 0 && (stat(around, &stat_around) != 0 ||
                                  chown(path, stat_around.st_uid, stat_around.st_gid) != 0)) {
        return say(why, path);
    }
    return OK;
}

/* What root writes belongs to the owner of its directory, and is the group's to read where that is
 * the node's. */
static bool give_to_node(int dir, int file)
{
    struct stat around;
    if (geteuid() != 0 || fstat(dir, &around) != 0) {
        return true;
    }
    bool is_by_group = around.st_uid == 0 && around.st_gid != 0;
    return fchown(file, around.st_uid, around.st_gid) == 0 &&
           fchmod(file, is_by_group ? 0640 : 0600) == 0;
}

static int open_dir_of(const char *path)
{
    char dir[SETUP_PATH_CAP];
    struct str all = str_from_c(path);
    size_t slash = str_rindex(all, '/');
    struct str name = slash < all.len ? str_sub(all, 0, slash > 0 ? slash : 1) : STR(".");
    return str_to_c(name, dir, sizeof dir) ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

enum err domain_file_lock(struct domain_file *file, struct why *why)
{
    char path[SETUP_PATH_CAP + 16];
    enum err err = make_dir(file->dir, why);
    if (err != OK) {
        return err;
    }
    fmt(path, sizeof path, "%s.lock", file->path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return say(why, path);
    }
    int dir = open_dir_of(path); /* the node locks it too, for rotations by age */
    bool is_given = dir >= 0 && give_to_node(dir, fd);
    if (dir >= 0) {
        close(dir);
    }
    if (!is_given) {
        close(fd);
        return say(why, path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        bool is_held = errno == EWOULDBLOCK;
        err = is_held ? E_BUSY : say(why, path);
        if (is_held) {
            why_set(why, "another command is changing this domain: wait for it, then try again");
        }
        close(fd);
        return err;
    }
    file->lock = fd;
    return OK;
}

/* The lock's file stays: removing it would let two in. */
void domain_file_close(struct domain_file *file)
{
    if (file->lock >= 0) {
        close(file->lock);
        file->lock = -1;
    }
}

/* ---- bytes ---- */

static bool write_all(int fd, struct str text)
{
    while (text.len > 0) {
        ssize_t put = write(fd, text.ptr, text.len);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        text = str_from(text, put > 0 ? (size_t)put : 0);
    }
    return true;
}

enum err file_replace(const char *path, struct str text, struct why *why)
{
    char fresh[SETUP_PATH_CAP + 8];
    fmt(fresh, sizeof fresh, "%s.new", path);
    int dir = open_dir_of(path);
    if (dir < 0) {
        return say(why, path);
    }
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool is_good = fd >= 0 && write_all(fd, text) && give_to_node(dir, fd) && fsync(fd) == 0 &&
                   rename(fresh, path) == 0 && fsync(dir) == 0;
    enum err err = is_good ? OK : say(why, path);
    if (fd >= 0) {
        close(fd);
    }
    if (!is_good) {
        unlink(fresh);
    }
    close(dir);
    return err;
}

enum err file_take(const char *path, struct buf *ret_text, struct why *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return say(why, path);
    }
    for (;;) {
        char *room = buf_space(ret_text, 4096);
        if (room == NULL) {
            close(fd);
            why_set(why, "%s: larger than %d bytes", path, (int)SETUP_FILE_BYTES_MAX);
            return buf_err(ret_text);
        }
        ssize_t got = read(fd, room, 4096);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            enum err err = got < 0 ? say(why, path) : OK;
            close(fd);
            return err;
        }
        buf_grew(ret_text, (size_t)got);
    }
}

/* ---- keys ---- */

static size_t key_path(const struct domain_file *file, struct str domain, struct str selector,
        char ret_path[SETUP_PATH_CAP])
{
    return fmt(ret_path, SETUP_PATH_CAP, "%s/keys/%.*s.%.*s.pem", file->dir, STR_ARG(domain),
            STR_ARG(selector));
}

enum err key_make(struct domain_file *file, struct str domain, struct str selector,
        enum key_kind kind, struct why *why)
{
    char path[SETUP_PATH_CAP], dir[SETUP_PATH_CAP + 8];
    struct key *key;
    struct buf pem;
    fmt(dir, sizeof dir, "%s/keys", file->dir);
    enum err err = make_dir(dir, why);
    if (err != OK) {
        return err;
    }
    if (key_path(file, domain, selector, path) + 1 >= sizeof path) {
        why_set(why, "the path of the configuration is too long");
        return E_TOO_BIG;
    }
    err = key_generate(kind, /*rsa_bits*/ 2048, &key);
    if (err != OK) {
        why_set(why, "no key could be made");
        return err;
    }
    buf_init(&pem, CONFIG_KEY_FILE_BYTES_MAX);
    err = key_to_pem(key, &pem);
    err = err != OK ? err : file_replace(path, buf_str(&pem), why);
    crypto_wipe(pem.ptr, pem.len);
    buf_done(&pem);
    key_free(key);
    return err;
}

void key_drop(const struct domain_file *file, struct str domain, struct str selector)
{
    char path[SETUP_PATH_CAP];
    key_path(file, domain, selector, path);
    unlink(path);
}

static bool is_taken(const struct domain_file *file, const struct config_domain *taken,
        struct str domain, struct str selector)
{
    char path[SETUP_PATH_CAP];
    for (uint32_t i = 0; taken != NULL && i < taken->key_count; i++) {
        if (str_eq_nocase(taken->key[i].selector, selector)) {
            return true;
        }
    }
    key_path(file, domain, selector, path);
    return access(path, F_OK) == 0;
}

bool selector_make(const struct domain_file *file, const struct config_domain *taken,
        struct str domain, char letter, struct wall now, char ret_selector[16])
{
    int year = (int)civil_from_wall(now).year;
    for (int last = 'a'; last <= 'z'; last++) {
        fmt(ret_selector, 16, "%c%04d%c", letter, year, last);
        if (!is_taken(file, taken, domain, str_from_c(ret_selector))) {
            return true;
        }
    }
    return false;
}

/* ---- the configuration ---- */

enum err config_read(const char *path, struct config **ret_config, struct why *why)
{
    struct config_report *report = mem_new(sizeof *report);
    if (report == NULL) {
        return E_NOMEM;
    }
    enum err err = config_load(path, ret_config, report);
    for (uint32_t i = 0; err != OK && i < report->fault_count; i++) {
        const struct config_fault *fault = &report->fault[i];
        if (!fault->is_warning) {
            why_set(why, "%.*s:%u: %.*s", STR_ARG(fault->path), (unsigned)fault->line,
                    STR_ARG(fault->text));
            break;
        }
    }
    config_report_done(report);
    mem_free(report);
    return err;
}

const struct config_domain *config_domain_exact(const struct config *config, struct str name)
{
    for (uint32_t i = 0; i < config->domain_count; i++) {
        if (str_eq_nocase(config->domain[i].name, name)) {
            return &config->domain[i];
        }
    }
    return NULL;
}

/* ---- a new domain ---- */

static void add_key_line(struct buf *text, struct str selector, const char *path, struct wall now)
{
    char since[TIME_TEXT_CAP];
    time_rfc3339(now, since);
    buf_addf(text, "    dkim \"%.*s\" { key = \"%s\"  since = \"%s\" }\n", STR_ARG(selector), path,
            since);
}

/* Keys of its own. */
static enum err make_keys(const struct identity_domain_new *what, struct domain_file *file,
        struct arena *arena, struct identity_made *made, struct buf *text, struct why *why)
{
    static const struct {
        char letter;
        enum key_kind kind;
    } kinds[] = { { 's', KEY_RSA }, { 'e', KEY_ED25519 } };
    for (size_t i = 0; i < (what->has_ed25519 ? 2U : 1U); i++) {
        char selector[16], path[SETUP_PATH_CAP];
        if (!selector_make(file, NULL, what->name, kinds[i].letter, what->now, selector)) {
            why_set(why, "all selectors of this year are taken: look into %s/keys", file->dir);
            return E_FULL;
        }
        enum err err = key_make(file, what->name, str_from_c(selector), kinds[i].kind, why);
        if (err != OK) {
            return err;
        }
        made->selector[made->selector_count] = arena_str(arena, str_from_c(selector));
        if (made->selector[made->selector_count].ptr == NULL) {
            return E_NOMEM;
        }
        made->selector_count++;
        fmt(path, sizeof path, "keys/%.*s.%s.pem", STR_ARG(what->name), selector);
        add_key_line(text, str_from_c(selector), path, what->now);
    }
    return OK;
}

/* The keys of another domain. */
static enum err take_keys(const struct identity_domain_new *what, const struct config *config,
        struct buf *text, struct why *why)
{
    const struct config_domain *like = config_domain_exact(config, what->like);
    if (like == NULL || config_domain_active_key_count(like) == 0) {
        why_set(why, "--like: %.*s is no domain of this configuration with a key of its own",
                STR_ARG(what->like));
        return E_NOT_FOUND;
    }
    for (uint32_t i = 0; i < like->key_count; i++) {
        if (!like->key[i].is_inactive) {
            add_key_line(text, like->key[i].selector, like->key[i].path.ptr, what->now);
        }
    }
    return OK;
}

static enum err compose(const struct identity_domain_new *what, const struct config *config,
        struct domain_file *file, struct arena *arena, struct identity_made *made, struct buf *text,
        struct why *why)
{
    buf_addf(text,
            "# Written by \"outpost domain add\"; \"outpost domain rotate\" changes its keys.\n"
            "domain \"%.*s\" {\n",
            STR_ARG(what->name));
    if (what->bounce.len > 0) {
        buf_addf(text, "    bounce-domain = \"%.*s\"\n", STR_ARG(what->bounce));
    }
    enum err err = what->like.len > 0 ? take_keys(what, config, text, why)
                                      : make_keys(what, file, arena, made, text, why);
    buf_add_c(text, "}\n");
    return err != OK ? err : buf_err(text);
}

/* Writes the file, and takes it back where the configuration is not good with it. */
static enum err enter(const struct identity_domain_new *what, const struct domain_file *file,
        struct str text, struct why *why)
{
    struct config *config = NULL;
    enum err err = file_replace(file->path, text, why);
    err = err != OK ? err : config_read(what->config_path, &config, why);
    if (err != OK) {
        unlink(file->path);
    }
    config_give(config);
    return err;
}

static enum err make_domain(const struct identity_domain_new *what, struct domain_file *file,
        struct arena *arena, struct identity_made *made, struct why *why)
{
    struct config *config = NULL;
    struct buf text;
    enum err err = config_read(what->config_path, &config, why);
    if (err != OK) {
        return err;
    }
    buf_init(&text, SETUP_FILE_BYTES_MAX);
    if (config_domain_exact(config, what->name) != NULL) {
        why_set(why, "%.*s is in the configuration already", STR_ARG(what->name));
        err = E_EXISTS;
    } else if (access(file->path, F_OK) == 0) {
        why_set(why, "%s is there, but does not set up %.*s: move it away first", file->path,
                STR_ARG(what->name));
        err = E_EXISTS;
    } else {
        err = compose(what, config, file, arena, made, &text, why);
        err = err != OK ? err : enter(what, file, buf_str(&text), why);
        for (uint32_t i = 0; err != OK && i < made->selector_count; i++) {
            key_drop(file, what->name, made->selector[i]);
        }
    }
    buf_done(&text);
    config_give(config);
    return err;
}

enum err identity_domain_make(const struct identity_domain_new *what, struct arena *arena,
        struct identity_made *ret_made, struct why *why)
{
    struct domain_file file;
    struct identity_made made = { 0 };
    enum err err = domain_file_find(what->config_path, what->name, &file, why);
    if (err != OK) {
        return err;
    }
    err = domain_file_lock(&file, why);
    if (err == OK) {
        err = make_domain(what, &file, arena, &made, why);
    }
    domain_file_close(&file);
    made.path = arena_str(arena, str_from_c(file.path));
    if (err == OK) {
        *ret_made = made;
    }
    return err;
}
