/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_credential.c - `outpost credential`: logins are added, listed and revoked.
 *
 * Each that is added is a file of its own in credentials.d/ beside the configuration; what was
 * written by hand is never touched. A secret is shown once; kept are a hash and SCRAM keys.
 */
#include "cli/cli.h"

#include "config/config.h"
#include "core/b64.h"
#include "core/str.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SECRET_CHARS = 32, /* of 5 bits each: 160 bits */
    MEMBER_COUNT_MAX = 100,
    FILE_BYTES_MAX = 65536,
    LIST_TEXT_BYTES_MAX = 1 << 20
};

static const char help[] =
        "Logins of applications.\n"
        "\n"
        "  outpost credential add shop --from shop.example.com --stream transactional\n"
        "  outpost credential add app                  any domain of ours, any stream\n"
        "  outpost credential list\n"
        "  outpost credential revoke shop\n"
        "\n"
        "add makes a secret, shows it once, and keeps only its hash, in credentials.d/NAME.conf "
        "beside\n"
        "the configuration. --from and --stream may be given several times. A running node takes "
        "up\n"
        "changes when it reloads (systemctl reload outpost, or SIGHUP).\n"
        "exit 0 done, 1 not done (it exists, or does not), 75 the file could not be written.\n"
        "options: --config FILE, --json\n";

struct credential_args {
    const char *given, *path, *name;
    bool is_json;
    const char *from[MEMBER_COUNT_MAX];
    uint32_t from_count;
    const char *stream[MEMBER_COUNT_MAX];
    uint32_t stream_count;
    char dir[PATH_MAX];  /* credentials.d */
    char file[PATH_MAX]; /* credentials.d/NAME.conf */
};

/* ---- files ---- */

static bool find_files(struct credential_args *args)
{
    struct str path = str_from_c(args->path);
    size_t slash = str_rindex(path, '/');
    struct str around = slash < path.len ? str_sub(path, 0, slash + 1) : STR("");
    size_t dir_len = fmt(args->dir, sizeof args->dir, "%.*scredentials.d", STR_ARG(around));
    size_t file_len = fmt(
            args->file, sizeof args->file, "%s/%s.conf", args->dir, args->name ? args->name : "");
    if (dir_len + 1 >= sizeof args->dir || file_len + 1 >= sizeof args->file) {
        cli_complain("the path of %s is too long", args->path);
        return false;
    }
    return true;
}

/* Opens credentials.d, made where missing with the owner of the directory around it: the node,
 * which may run as another user, must be able to read it. */
static int open_dir(const struct credential_args *args)
{
    bool is_new = mkdir(args->dir, 0750) == 0;
    int dir = open(args->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        cli_complain("%s: %s", args->dir, strerror(errno));
        return -1;
    }
    struct stat around;
    if (is_new && geteuid() == 0 && fstatat(dir, "..", &around, 0) == 0 &&
            fchown(dir, around.st_uid, around.st_gid) != 0) {
        cli_complain("%s: its owner cannot be set: %s", args->dir, strerror(errno));
    }
    return dir;
}

/* Gives a file written by root to the owner of its directory, readable for the directory's group
 * where that is the node's. */
static bool give_to_node(int dir, int file)
{
    struct stat stat;
    if (geteuid() != 0 || fstat(dir, &stat) != 0) {
        return true;
    }
    bool is_by_group = stat.st_uid == 0 && stat.st_gid != 0;
    return fchown(file, stat.st_uid, stat.st_gid) == 0 &&
           fchmod(file, is_by_group ? 0640 : 0600) == 0;
}

static bool write_whole(int file, struct str text)
{
    while (text.len > 0) {
        ssize_t wrote = write(file, text.ptr, text.len);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            return false;
        }
        text = str_from(text, (size_t)wrote);
    }
    return true;
}

/* Under a name that is not read, synced, then linked: never half a file, and none is replaced. */
static bool write_file(const struct credential_args *args, struct str text)
{
    char new_name[64];
    int dir = open_dir(args);
    if (dir < 0) {
        return false;
    }
    fmt(new_name, sizeof new_name, ".new-%d", (int)getpid());
    int file = openat(dir, new_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool is_good = file >= 0 && write_whole(file, text) && give_to_node(dir, file) &&
                   fsync(file) == 0 && linkat(dir, new_name, AT_FDCWD, args->file, 0) == 0 &&
                   fsync(dir) == 0;
    if (!is_good) {
        cli_complain("%s cannot be written: %s", args->file, strerror(errno));
    }
    if (file >= 0) {
        close(file);
        unlinkat(dir, new_name, 0);
    }
    close(dir);
    return is_good;
}

static bool remove_file(const struct credential_args *args)
{
    int dir = open(args->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_good = dir >= 0 && unlink(args->file) == 0 && fsync(dir) == 0;
    if (!is_good) {
        cli_complain("%s cannot be removed: %s", args->file, strerror(errno));
    }
    if (dir >= 0) {
        close(dir);
    }
    return is_good;
}

/* ---- the configuration around it ---- */

/* False: has said what is wrong. */
static bool load(const struct credential_args *args, struct config **ret_config)
{
    struct config_report *report = mem_new(sizeof *report);
    if (!report) {
        return false;
    }
    enum err err = config_load(args->path, ret_config, report);
    if (err != OK) {
        struct buf text;
        buf_init(&text, LIST_TEXT_BYTES_MAX);
        config_report_print(report, &text);
        fprintf(stderr, "%.*s", STR_ARG(buf_str(&text)));
        buf_done(&text);
    }
    config_report_done(report);
    mem_free(report);
    return err == OK;
}

/* ---- add ---- */

/* Without letters and digits that look alike. */
static void make_secret(char ret_secret[SECRET_CHARS + 1])
{
    static const char alphabet[] = "abcdefghijkmnpqrstuvwxyz23456789";
    static_assert(sizeof alphabet == 32 + 1, "5 bits a character");
    uint8_t random[SECRET_CHARS];
    entropy_fill(entropy_real(), random, sizeof random);
    for (size_t i = 0; i < SECRET_CHARS; i++) {
        ret_secret[i] = alphabet[random[i] & 31];
    }
    ret_secret[SECRET_CHARS] = '\0';
    crypto_wipe(random, sizeof random);
}

static void add_bytes(struct buf *text, const char *name, const uint8_t *bytes, size_t len)
{
    buf_addf(text, "    %s = \"", name);
    b64_encode(text, str_of((const char *)bytes, len));
    buf_add_c(text, "\"\n");
}

static void add_members(
        struct buf *text, const char *name, const char *const *members, uint32_t count)
{
    if (count == 0) {
        return;
    }
    buf_addf(text, "    %s = { ", name);
    for (uint32_t i = 0; i < count; i++) {
        buf_addf(text, "%s\"%s\"", i > 0 ? ", " : "", members[i]);
    }
    buf_add_c(text, " }\n");
}

static enum err compose(const struct credential_args *args, struct str secret, struct buf *text)
{
    struct password_scram scram;
    struct buf hash;
    buf_init(&hash, FILE_BYTES_MAX);
    enum err err = password_hash(secret, entropy_real(), &hash);
    if (err == OK) {
        err = password_scram(secret, entropy_real(), &scram);
    }
    if (err == OK) {
        buf_addf(text, "# Written by \"outpost credential add\".\ncredential \"%s\" {\n",
                args->name);
        buf_addf(text, "    password-hash = \"%.*s\"\n", STR_ARG(buf_str(&hash)));
        add_bytes(text, "scram-salt", scram.salt, sizeof scram.salt);
        buf_addf(text, "    scram-iterations = %u\n", scram.iterations);
        add_bytes(text, "scram-stored-key", scram.stored_key, sizeof scram.stored_key);
        add_bytes(text, "scram-server-key", scram.server_key, sizeof scram.server_key);
        add_members(text, "from", args->from, args->from_count);
        add_members(text, "streams", args->stream, args->stream_count);
        buf_add_c(text, "}\n");
        err = buf_err(text);
    }
    buf_done(&hash);
    return err;
}

static void print_added(const struct credential_args *args, const char *secret)
{
    if (args->is_json) {
        json_t *all = json_pack(
                "{s:s, s:s, s:s}", "name", args->name, "secret", secret, "file", args->file);
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(all);
        return;
    }
    printf("login     %s\npassword  %s\n", args->name, secret);
    fprintf(stderr,
            "\nThe password is shown this once; %s keeps its hash.\n"
            "A running node takes it up when it reloads: systemctl reload outpost\n",
            args->file);
}

/* Texts from the command line go into a quoted text. */
static bool are_plain(const char *const *texts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strpbrk(texts[i], "\"\\$\n\r\t")) {
            cli_complain("\"%s\" has characters that no name has", texts[i]);
            return false;
        }
    }
    return true;
}

static bool may_add(const struct credential_args *args)
{
    struct config *config = NULL;
    if (!are_plain(&args->name, 1) || !are_plain(args->from, args->from_count) ||
            !are_plain(args->stream, args->stream_count)) {
        return false;
    }
    if (strchr(args->name, '/') || args->name[0] == '.') {
        cli_complain("a login has no slash in it and does not begin with a dot");
        return false;
    }
    if (!load(args, &config)) {
        cli_complain("nothing was added: mend the configuration first");
        return false;
    }
    bool is_there = config_credential(config, str_from_c(args->name)) != NULL;
    config_give(config);
    if (is_there) {
        cli_complain("credential \"%s\" exists: revoke it first", args->name);
    }
    return !is_there;
}

static int add(const struct credential_args *args)
{
    char secret[SECRET_CHARS + 1];
    struct buf text;
    struct config *config = NULL;
    if (!may_add(args)) {
        return CLI_WANTING;
    }
    make_secret(secret);
    buf_init(&text, FILE_BYTES_MAX);
    enum err err = compose(args, str_from_c(secret), &text);
    int exit_code = CLI_GOOD;
    if (err != OK) {
        cli_complain("the secret cannot be hashed: %s", err_name(err));
        exit_code = CLI_TRY_AGAIN;
    } else if (!write_file(args, buf_str(&text))) {
        exit_code = CLI_TRY_AGAIN;
    } else if (!load(args, &config)) {
        cli_complain("nothing was added: the configuration would not be good with it");
        (void)remove_file(args);
        exit_code = CLI_WANTING;
    } else {
        print_added(args, secret);
    }
    config_give(config);
    crypto_wipe(secret, sizeof secret);
    buf_done(&text);
    return exit_code;
}

/* ---- list ---- */

static void join(struct buf *text, const struct str *members, uint32_t count, const char *none)
{
    buf_clear(text);
    for (uint32_t i = 0; i < count; i++) {
        buf_addf(text, "%s%.*s", i > 0 ? ", " : "", STR_ARG(members[i]));
    }
    buf_add_c(text, count == 0 ? none : "");
    buf_add_char(text, '\0');
}

static const char *login_kind(const struct config_credential *credential)
{
    bool has_scram = credential->scram_stored_key.len > 0;
    return credential->password_hash.len == 0 ? "none" : has_scram ? "password, scram" : "password";
}

static void list_table(const struct config *config)
{
    static const char *const headings[] = { "NAME", "LOGIN", "FROM", "STREAMS" };
    struct cli_table table;
    struct buf text;
    buf_init(&text, LIST_TEXT_BYTES_MAX);
    cli_table_begin(&table, COUNT_OF(headings), headings);
    for (uint32_t i = 0; i < config->credential_count; i++) {
        const struct config_credential *credential = &config->credential[i];
        cli_table_cell(&table, credential->name.ptr);
        cli_table_cell(&table, login_kind(credential));
        join(&text, credential->from, credential->from_count, "any");
        cli_table_cell(&table, text.ptr);
        join(&text, credential->stream, credential->stream_count, "all");
        cli_table_cell(&table, text.ptr);
    }
    cli_table_print(&table);
    buf_done(&text);
}

static json_t *json_members(const struct str *members, uint32_t count)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(array, json_stringn(members[i].ptr, members[i].len));
    }
    return array;
}

static void list_json(const struct config *config)
{
    json_t *all = json_array();
    for (uint32_t i = 0; i < config->credential_count; i++) {
        const struct config_credential *credential = &config->credential[i];
        json_array_append_new(
                all, json_pack("{s:s%, s:b, s:b, s:o, s:o}", "name", credential->name.ptr,
                             credential->name.len, "password", credential->password_hash.len > 0,
                             "scram", credential->scram_stored_key.len > 0, "from",
                             json_members(credential->from, credential->from_count), "streams",
                             json_members(credential->stream, credential->stream_count)));
    }
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static int list(const struct credential_args *args)
{
    struct config *config = NULL;
    if (!load(args, &config)) {
        return CLI_WANTING;
    }
    if (args->is_json) {
        list_json(config);
    } else {
        list_table(config);
    }
    config_give(config);
    return CLI_GOOD;
}

/* ---- revoke ---- */

static bool may_revoke(const struct credential_args *args)
{
    struct config *config = NULL;
    struct str name = str_from_c(args->name);
    if (strchr(args->name, '/')) {
        cli_complain("there is no credential \"%s\"", args->name);
        return false;
    }
    if (access(args->file, F_OK) == 0 && !load(args, &config)) {
        return true; /* what is broken elsewhere must not keep a stolen login alive */
    }
    if (!config && !load(args, &config)) {
        return false;
    }
    bool is_known = config_credential(config, name) != NULL;
    bool is_ours = access(args->file, F_OK) == 0;
    if (!is_known && !is_ours) {
        cli_complain("there is no credential \"%s\"", args->name);
    } else if (!is_ours) {
        cli_complain("credential \"%s\" was written by hand: remove it from the configuration",
                args->name);
    }
    for (uint32_t i = 0; is_ours && i < config->listen_count; i++) {
        if (str_eq(config->listen[i].network_credential, name)) {
            cli_complain(
                    "listen \"%.*s\" uses it for its networks: change network-credential first",
                    STR_ARG(config->listen[i].name));
            is_ours = false;
        }
    }
    config_give(config);
    return is_ours;
}

static int revoke_login(const struct credential_args *args)
{
    if (!may_revoke(args)) {
        return CLI_WANTING;
    }
    if (!remove_file(args)) {
        return CLI_TRY_AGAIN;
    }
    if (args->is_json) {
        json_t *all = json_pack("{s:s, s:s}", "revoked", args->name, "file", args->file);
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(all);
    } else {
        printf("revoked %s\n", args->name);
        fprintf(stderr, "A running node takes it up when it reloads: systemctl reload outpost\n");
    }
    return CLI_GOOD;
}

/* ---- arguments ---- */

/* Takes every --NAME VALUE and --NAME=VALUE out of argv. False: too many, or a value is missing. */
static bool take_repeated(
        int *argc, char **argv, const char *name, const char **values, uint32_t *ret_count)
{
    int kept = 1;
    size_t len = strlen(name);
    for (int i = 1; i < *argc; i++) {
        bool is_it =
                strncmp(argv[i], name, len) == 0 && (argv[i][len] == '\0' || argv[i][len] == '=');
        if (!is_it) {
            argv[kept++] = argv[i];
            continue;
        }
        bool is_joined = argv[i][len] == '=';
        if ((!is_joined && i + 1 >= *argc) || *ret_count == MEMBER_COUNT_MAX) {
            return false;
        }
        values[(*ret_count)++] = is_joined ? argv[i] + len + 1 : argv[++i];
    }
    *argc = kept;
    return true;
}

int cmd_credential(int argc, char **argv)
{
    struct credential_args args = { 0 };
    const struct cli_option options[] = {
        { "config", &args.given, NULL },
        { "json", NULL, &args.is_json },
    };
    int count, exit_code;
    if (!take_repeated(&argc, argv, "--from", args.from, &args.from_count) ||
            !take_repeated(&argc, argv, "--stream", args.stream, &args.stream_count)) {
        return cli_usage("credential", "--from and --stream take a name, at most %d times",
                (int)MEMBER_COUNT_MAX);
    }
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &exit_code)) {
        return exit_code;
    }
    const char *verb = count >= 1 ? argv[1] : "";
    bool is_list = strcmp(verb, "list") == 0, is_add = strcmp(verb, "add") == 0;
    if (!is_list && !is_add && strcmp(verb, "revoke") != 0) {
        return cli_usage("credential", "say add, list or revoke");
    }
    if (count != (is_list ? 1 : 2) || (!is_list && argv[2][0] == '\0')) {
        return cli_usage("credential", is_list ? "list takes no name" : "%s takes one name", verb);
    }
    args.name = is_list ? NULL : argv[2];
    args.path = cli_config_path(args.given);
    if (!args.path) {
        return cli_usage("credential",
                "neither /etc/outpost/outpost.conf nor ./outpost.conf is there: --config FILE");
    }
    if (!find_files(&args)) {
        return CLI_USAGE;
    }
    return is_list ? list(&args) : is_add ? add(&args) : revoke_login(&args);
}
