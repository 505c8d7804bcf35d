/* SPDX-License-Identifier: Apache-2.0
 *
 * serve.c - `outpost serve`: opens what the node stands on, runs it in threads, and takes signals.
 *
 * Everything that can fail is opened on the main thread before a thread starts; then the control
 * socket, then readiness is told. The end goes the other way: no new work, wait for what runs, no
 * more questions, owners in order (runner.c), files.
 */
#include "node/runner_priv.h"
#include "node/serve_priv.h"
#include "node/watcher_priv.h"

#include "core/str.h"
#include "core/time.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    EXIT_GOOD = 0,
    EXIT_WANTING = 1,
    EXIT_USAGE = 2,
    SERVE_STOP_MS_MAX = 10000, /* SIGTERM: sessions finish or get 421 within this */
    SERVE_POLL_MS = 5,
    SERVE_TEXT_BYTES_MAX = 65536
};

struct serve {
    const struct serve_options *options;
    struct config *config; /* as started with */
    struct log_sink *sink;
    struct log log;
    struct disk *spool, *history, *sandbox;
    struct net *net[NODE_LOOP_COUNT_MAX];
    uint32_t net_count;
    struct dns *dns;
    struct node *node;
    struct runner *runner;
    struct control_http *http;
    struct starter *starter;
    struct watcher *watcher;     /* NULL: nothing is watched */
    pthread_mutex_t reload_lock; /* SIGHUP and the control API: one at a time, from reading on */
};

/* ---- configuration ---- */

static enum err load(const struct serve_options *options, struct config **ret_config,
        struct config_report *report)
{
    return options->is_sandbox ? config_load_sandbox(options->config_path, ret_config, report)
                               : config_load(options->config_path, ret_config, report);
}

static enum err take_config(struct serve *serve, struct config *config, struct buf *ret_text)
{
    struct why why = { 0 };
    enum err err = node_can_reload(serve->node, config, ret_text, &why);
    if (err == OK) {
        node_reload(serve->node, config);
        buf_add_c(ret_text, "configuration reloaded\n");
    } else {
        buf_addf(ret_text, "%s\n", why.text);
    }
    return err;
}

static void log_lines(struct serve *serve, enum log_level level, const char *who, struct str text)
{
    struct str line;
    while (str_cut(&text, '\n', &line)) {
        log_line(&serve->log, level, who, "%.*s", STR_ARG(line));
    }
}

/* Any thread. The text is for whoever asked; the log has it too. */
static enum err reload(void *ctx, struct buf *ret_text)
{
    struct serve *serve = ctx;
    struct config *config = NULL;
    struct config_report *report = mem_new(sizeof *report);
    if (report == NULL) {
        buf_add_c(ret_text, "out of memory; the running configuration stays\n");
        return E_NOMEM;
    }
    pthread_mutex_lock(&serve->reload_lock);
    enum err err = load(serve->options, &config, report);
    config_report_print(report, ret_text);
    if (err == OK) {
        err = take_config(serve, config, ret_text);
        config_give(config);
    }
    pthread_mutex_unlock(&serve->reload_lock);
    if (err != OK) {
        buf_add_c(ret_text, "nothing was changed: the running configuration stays\n");
    }
    config_report_done(report);
    mem_free(report);
    log_sink_reopen(serve->sink);
    log_lines(serve, err == OK ? LOG_INFO_ : LOG_ERROR_, "reload", buf_str(ret_text));
    return err;
}

/* ---- setting up ---- */

static enum err make_dir(
        const struct config *config, const char *part, char path[PATH_MAX], struct why *why)
{
    size_t len = fmt(path, PATH_MAX, "%.*s%s", STR_ARG(config->data_dir), part);
    if (len != config->data_dir.len + strlen(part)) {
        why_set(why, "the path of data-dir is too long");
        return E_USAGE;
    }
    if (mkdir(path, 0700) == 0 || errno == EEXIST) {
        return OK;
    }
    const char *advice = errno == ENOENT ? "make the directory above it"
                                         : "set data-dir to a directory that this user may write";
    why_set(why, "%s cannot be made: %s; %s", path, strerror(errno), advice);
    return E_IO;
}

static enum err open_disks(struct serve *serve, struct why *why)
{
    const struct {
        const char *part;
        struct disk **disk;
        bool is_wanted;
    } parts[] = { { "/spool", &serve->spool, true }, { "/history", &serve->history, true },
        { "/sandbox", &serve->sandbox, serve->config->is_sandbox } };
    char path[PATH_MAX];
    enum err err = make_dir(serve->config, "", path, why);
    for (size_t i = 0; err == OK && i < COUNT_OF(parts); i++) {
        if (parts[i].is_wanted) {
            err = make_dir(serve->config, parts[i].part, path, why);
        }
        if (parts[i].is_wanted && err == OK) {
            err = disk_open_real(path, parts[i].disk, why);
        }
    }
    return err;
}

/* Cores that this process may use: a container's share, where it has one. */
static uint32_t core_count(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                            : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (uint32_t)count : 1;
}

static uint32_t default_count(uint32_t wanted, uint32_t max)
{
    uint32_t count = wanted ? wanted : core_count();
    return count < max ? count : max;
}

static enum err open_nets(struct serve *serve, const struct config *config, struct why *why)
{
    serve->net_count = default_count(config->loop_count, NODE_LOOP_COUNT_MAX);
    for (uint32_t i = 0; i < serve->net_count; i++) {
        enum err err = net_open_real(clock_real(), &serve->net[i], why);
        if (err != OK) {
            serve->net_count = i;
            return err;
        }
    }
    char anchor[PATH_MAX];
    bool has_anchor = str_to_c(config->trust_anchor, anchor, sizeof anchor) && anchor[0];
    return dns_open_real(
            serve->net[0], config->resolver, has_anchor ? anchor : NULL, &serve->dns, why);
}

static enum err open_node(struct serve *serve, struct why *why)
{
    struct node_edge edge = {
        .clock = clock_real(),
        .entropy = entropy_real(),
        .spool = serve->spool,
        .history = serve->history,
        .sandbox = serve->sandbox,
        .net = serve->net,
        .is_own_address = net_is_local_address,
        .net_count = serve->net_count,
        .dns = serve->dns,
        .worker_count = default_count(serve->config->worker_count, NODE_WORKER_COUNT_MAX),
        .pid = (uint32_t)getpid(),
        .mail_line = log_sink_mail_line,
        .mail_flush = log_sink_flush,
        .mail_line_ctx = serve->sink,
    };
    return node_open(&edge, serve->config, &serve->log, &serve->node, why);
}

static void not_accepted(void *ctx, struct net_conn *conn)
{
    (void)ctx;
    conn->net->ops->close(conn, true);
}

/* Session loops share each port, and so would a second node with ours: asked for once alone, it is
 * refused where anybody has it. */
static enum err probe_ports(struct serve *serve, struct why *why)
{
    struct net *net = serve->net[0];
    for (uint32_t i = 0; i < serve->config->listen_count; i++) {
        const struct config_listen *listen = &serve->config->listen[i];
        for (uint32_t k = 0; k < listen->address_count; k++) {
            struct net_listener *listener;
            enum err err = net->ops->listen(
                    net, &listen->address[k], false, not_accepted, NULL, &listener, why);
            if (err != OK) {
                return err;
            }
            net->ops->unlisten(listener);
        }
    }
    return OK;
}

/* Mail goes without it, too. In a sandbox nothing leaves for the world, so nothing is watched. */
static void open_watcher(struct serve *serve)
{
    struct why why = { 0 };
    if (serve->config->is_sandbox) {
        return;
    }
    enum err err = watcher_open(serve->node, serve->starter, &serve->watcher, &why);
    if (err == OK) {
        serve->node->watcher = serve->watcher;
    } else {
        log_error(&serve->log, "watch", "nothing is watched: %s",
                why.text[0] ? why.text : err_name(err));
    }
}

static enum err start_watcher(struct serve *serve, struct why *why)
{
    return serve->watcher != NULL ? watcher_start(serve->watcher, why) : OK;
}

static enum err start_all(struct serve *serve, struct why *why)
{
    enum err err = log_sink_start(serve->sink, why);
    if (err == OK) {
        err = open_disks(serve, why);
    }
    if (err == OK) {
        err = open_nets(serve, serve->config, why);
    }
    if (err == OK) {
        err = open_node(serve, why);
    }
    if (err == OK) {
        node_on_reload(serve->node, reload, serve);
        err = probe_ports(serve, why);
    }
    if (err == OK) {
        err = node_listen(serve->node, why);
    }
    if (err == OK) {
        open_watcher(serve);
        err = runner_start(serve->node, serve->net, &serve->runner, why);
    }
    if (err == OK) {
        err = start_watcher(serve, why);
    }
    if (err == OK) {
        err = control_http_open(serve->node, serve->config->control_path, &serve->http, why);
    }
    return err;
}

/* No new sessions and attempts; waits until what runs has ended, or has had its time. */
static void drain(struct serve *serve)
{
    struct mono end = mono_after(clock_mono(clock_real()), SERVE_STOP_MS_MAX);
    node_stop(serve->node);
    watcher_refuse(serve->watcher);
    while (!node_is_stopped(serve->node) && !mono_is_due(end, clock_mono(clock_real()))) {
        usleep(SERVE_POLL_MS * 1000);
    }
}

/* Whatever start_all came to. */
static void end_all(struct serve *serve)
{
    if (serve->runner) {
        drain(serve);
    }
    control_http_close(serve->http); /* while there is somebody to answer the last questions */
    watcher_stop(serve->watcher);
    runner_end(serve->runner);
    watcher_free(serve->watcher); /* nobody can write to it any more */
    if (serve->dns) {
        serve->dns->ops->close(serve->dns); /* before the router that its answers would go to */
    }
    node_free(serve->node);
    for (uint32_t i = 0; i < serve->net_count; i++) {
        net_free_real(serve->net[i]);
    }
    struct disk *disks[] = { serve->spool, serve->history, serve->sandbox };
    for (size_t i = 0; i < COUNT_OF(disks); i++) {
        if (disks[i]) {
            disks[i]->ops->close_disk(disks[i]);
        }
    }
}

/* ---- running ---- */

static int signals_open(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Blocks until somebody wants the end; SIGHUP reloads. */
static void wait_for_end(struct serve *serve, int signals)
{
    for (;;) {
        struct signalfd_siginfo info;
        ssize_t got = read(signals, &info, sizeof info);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got != (ssize_t)sizeof info || info.ssi_signo != SIGHUP) {
            return;
        }
        struct buf text;
        buf_init(&text, SERVE_TEXT_BYTES_MAX);
        notify_reloading();
        (void)reload(serve, &text); /* has told the log */
        notify_ready();
        buf_done(&text);
    }
}

/* Keys stay out of core files and other processes' reach, nothing we start gains rights, and all
 * descriptors that we may have are there for sessions. */
static void settle_process(void)
{
    struct rlimit files;
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void warn_of_root(const struct serve *serve)
{
    if (geteuid() == 0) {
        log_warn(&serve->log, "node",
                "running as root, which is not needed: use a user of its own, and "
                "CAP_NET_BIND_SERVICE for ports "
                "below 1024 (packaging/outpost.service)");
    }
}

/* Where the log is standard output, standard error suffices. */
static void say_why_not(const struct serve *serve, const char *why)
{
    if (!str_eq(serve->config->log_to, STR("stdout"))) {
        log_error(&serve->log, "node", "not started: %s", why);
    }
    fprintf(stderr, "outpost: %s\n", why);
}

static int run(struct serve *serve, int signals)
{
    struct why why = { 0 };
    enum err err = start_all(serve, &why);
    if (err == OK) {
        notify_ready();
        warn_of_root(serve);
        log_info(&serve->log, "node", "outpost " OUTPOST_VERSION " is ready; control socket %.*s",
                STR_ARG(serve->config->control_path));
        wait_for_end(serve, signals);
        notify_stopping();
        log_info(&serve->log, "node", "stopping");
    } else {
        say_why_not(serve, why.text[0] ? why.text : err_name(err));
    }
    end_all(serve);
    if (err != OK) {
        return EXIT_WANTING;
    }
    log_info(&serve->log, "node", "stopped");
    return EXIT_GOOD;
}

/* Faults and warnings go to standard error. */
static int read_config(struct serve *serve)
{
    struct config_report *report = mem_new(sizeof *report);
    struct buf text;
    if (report == NULL) {
        return EXIT_WANTING;
    }
    enum err err = load(serve->options, &serve->config, report);
    buf_init(&text, SERVE_TEXT_BYTES_MAX);
    config_report_print(report, &text);
    fprintf(stderr, "%.*s", STR_ARG(buf_str(&text)));
    if (err != OK) {
        fprintf(stderr, "outpost: the configuration is not usable; nothing was started\n");
    }
    buf_done(&text);
    config_report_done(report);
    mem_free(report);
    return err == OK ? EXIT_GOOD : EXIT_USAGE;
}

int serve_run(const struct serve_options *options)
{
    struct serve serve = { .options = options };
    struct why why = { 0 };
    settle_process();
    if (starter_open(&serve.starter, &why) != OK) { /* before secrets are read, and threads run */
        fprintf(stderr, "outpost: alert commands cannot be run: %s\n", why.text);
        serve.starter = NULL;
    }
    int code = read_config(&serve);
    if (code != EXIT_GOOD) {
        starter_close(serve.starter);
        return code;
    }
    int signals = signals_open();
    if (signals < 0 || log_sink_open(serve.config, &serve.sink, &why) != OK) {
        fprintf(stderr, "outpost: %s\n", why.text[0] ? why.text : "no descriptor for signals");
        config_give(serve.config);
        starter_close(serve.starter);
        return EXIT_WANTING;
    }
    serve.log = (struct log){ .level_min = LOG_INFO_, .sink = log_sink_line, .ctx = serve.sink };
    pthread_mutex_init(&serve.reload_lock, NULL);
    code = run(&serve, signals);
    log_sink_close(serve.sink);
    pthread_mutex_destroy(&serve.reload_lock);
    config_give(serve.config);
    starter_close(serve.starter);
    close(signals);
    return code;
}
