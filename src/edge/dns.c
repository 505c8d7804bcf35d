/* SPDX-License-Identifier: Apache-2.0
 *
 * dns.c - the one adapter over libunbound: a caching, validating resolver in a thread of its own.
 *
 * Its pipe is watched by the loop, so answers come on the asking thread. A changed resolv.conf gets
 * a new resolver; the old one is freed when its last question has ended. Each question has our own
 * deadline, for libunbound tries dead servers for minutes.
 */
#include "edge/dns.h"

#include "core/list.h"
#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"
#include "edge/dns_priv.h"
#include "edge/errno_priv.h"
#include "edge/net.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <unbound.h>

enum {
    DNS_CLASS_IN = 1,
    RCODE_NXDOMAIN = 3,
    DNS_PORT = 53,
    SERVER_COUNT_MAX = 16, /* in the configuration or resolv.conf */
    RESOLV_LINE_CAP = 1024,
    TICK_MS_MAX = 1000 /* how exact deadlines are; the timer runs only while questions are open */
};

/* One libunbound context. */
struct resolver {
    struct list link;
    struct real_dns *dns;
    struct ub_ctx *ctx;
    int fd;
    struct list questions; /* oldest first */
    bool is_old;           /* resolv.conf has changed since */
};

struct question {
    struct list link;
    struct resolver *resolver;
    int async_id;
    struct mono deadline;
    enum dns_type type;
    dns_answered *answered;
    void *ctx;
};

/* What tells one resolv.conf from another. */
struct file_mark {
    uint64_t device, inode, size_bytes;
    int64_t changed_ns;
};

struct real_dns {
    struct dns base;
    struct net *net;
    struct dns_real_options options;
    char *servers; /* as configured; NUL-terminated */
    char *anchor_path;
    struct resolver *current;
    struct list resolvers;
    struct file_mark mark;
    struct mono next_check;
    int timer_fd;
    bool is_timer_on;
    uint32_t question_count;
    bool is_busy;   /* within a callback: free nothing that the stack uses */
    bool is_closed; /* by the owner, while busy */
};

static const struct dns_real_options usual = {
    .question_ms_max = DNS_QUESTION_MS_MAX,
    .resolv_check_ms = DNS_RESOLV_CHECK_MS,
    .resolv_path = "/etc/resolv.conf",
    .resolv_port = DNS_PORT,
};

/* ---- libunbound contexts ---- */

/* Zones that libunbound answers by itself (RFC 6303, RFC 6761). A configured server knows better:
 * it may serve a test net or the reverse zones of the site. "onion." stays (RFC 7686). */
static enum err free_local_zones(struct ub_ctx *ctx)
{
    static const char *const zones[] = {
        "test. transparent",
        "invalid. transparent",
        "home.arpa. transparent",
        "127.in-addr.arpa. transparent",
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa. transparent",
    };
    if (ub_ctx_set_option(ctx, "unblock-lan-zones:", "yes") != 0) {
        return E_IO;
    }
    for (size_t i = 0; i < COUNT_OF(zones); i++) {
        if (ub_ctx_set_option(ctx, "local-zone:", zones[i]) != 0) {
            return E_IO;
        }
    }
    return OK;
}

static enum err set_options(struct ub_ctx *ctx)
{
    static const char *const options[][2] = {
        { "outgoing-range:", "256" }, /* the library's own default of 16 is meant for one look-up */
        { "num-queries-per-thread:", "1024" },
        { "msg-cache-size:", "4m" },
        { "rrset-cache-size:", "8m" },
        { "do-not-query-localhost:", "no" },
    };
    ub_ctx_debugout(ctx, NULL); /* or it writes to standard error */
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        if (ub_ctx_set_option(ctx, options[i][0], options[i][1]) != 0) {
            return E_IO;
        }
    }
    return OK;
}

static enum err add_forwarder(struct ub_ctx *ctx, struct ip_port at, struct why *why)
{
    char host[IP_TEXT_CAP], server[IP_TEXT_CAP + 8];
    fmt(server, sizeof server, "%.*s@%u", STR_ARG(ip_format(at.ip, host)), (unsigned)at.port);
    if (ub_ctx_set_fwd(ctx, server) != 0) {
        why_set(why, "resolver: %s was refused by libunbound", server);
        return E_IO;
    }
    return OK;
}

static enum err add_forwarders(struct ub_ctx *ctx, struct str servers, struct why *why)
{
    struct str part;
    uint32_t count = 0;
    while (str_cut(&servers, ',', &part)) {
        if (++count > SERVER_COUNT_MAX) {
            why_set(why, "resolver: more than %d servers", SERVER_COUNT_MAX);
            return E_TOO_BIG;
        }
        struct ip_port at = { .port = DNS_PORT };
        part = str_trim(part);
        if (ip_port_parse(part, &at) != OK && ip_parse(part, &at.ip) != OK) {
            why_set(why, "resolver: \"%.*s\" is not an address with an optional port",
                    STR_ARG(part));
            return E_SYNTAX;
        }
        enum err err = add_forwarder(ctx, at, why);
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

/* The word behind "nameserver"; false: another line. */
static bool resolv_line(struct str line, struct str *ret_server)
{
    struct str keyword = STR("nameserver");
    struct str rest = str_from(line, keyword.len);
    if (!str_starts(line, keyword) || rest.len == 0 || !ascii_is_blank(rest.ptr[0])) {
        return false;
    }
    rest = str_trim(rest);
    size_t len = 0;
    while (len < rest.len && !ascii_is_blank(rest.ptr[len]) && rest.ptr[len] != '#') {
        len++;
    }
    *ret_server = str_of(rest.ptr, len);
    return true;
}

/* resolv.conf(5). Read here, for libunbound's own reader cuts "fe80::1%eth0" to another address;
 * scoped servers are passed over, since it cannot ask them. */
static enum err add_resolv_conf(
        struct ub_ctx *ctx, const struct dns_real_options *options, struct why *why)
{
    FILE *file = fopen(options->resolv_path, "re");
    if (file == NULL) {
        int number = errno;
        why_set(why, "%s: %s", options->resolv_path, errno_words(number));
        return err_from_errno(number);
    }
    char text[RESOLV_LINE_CAP];
    uint32_t count = 0;
    enum err err = OK;
    while (err == OK && count < SERVER_COUNT_MAX && fgets(text, sizeof text, file) != NULL) {
        struct ip_port at = { .port = options->resolv_port };
        struct str server;
        if (resolv_line(str_from_c(text), &server) && ip_parse(server, &at.ip) == OK) {
            err = add_forwarder(ctx, at, why);
            count++;
        }
    }
    (void)fclose(file);
    if (err == OK &&
            count == 0) { /* "the default is to use the name server on the local machine" */
        struct ip_port local = { { IP_V4, { 127, 0, 0, 1 } }, options->resolv_port };
        err = add_forwarder(ctx, local, why);
    }
    return err;
}

static enum err set_servers(struct ub_ctx *ctx, struct str servers,
        const struct dns_real_options *options, struct why *why)
{
    if (str_eq(servers, STR("recursive"))) {
        return OK;
    }
    enum err err = free_local_zones(ctx);
    if (err != OK) {
        why_set(why, "resolver: libunbound refused its options");
    } else if (servers.len > 0) {
        err = add_forwarders(ctx, servers, why);
    } else {
        err = add_resolv_conf(ctx, options, why);
    }
    return err;
}

static enum err set_anchor(struct ub_ctx *ctx, const char *anchor_path, struct why *why)
{
    if (anchor_path == NULL) {
        return ub_ctx_set_option(ctx, "module-config:", "iterator") == 0 ? OK : E_IO;
    }
    /* libunbound reads the file late and would then only say that it failed. */
    if (access(anchor_path, R_OK) != 0) {
        int number = errno;
        why_set(why, "trust anchor %s: %s", anchor_path, errno_words(number));
        return err_from_errno(number);
    }
    return ub_ctx_add_ta_file(ctx, anchor_path) == 0 ? OK : E_IO;
}

static enum err ctx_open(struct str servers, const char *anchor_path,
        const struct dns_real_options *options, struct ub_ctx **ret_ctx, struct why *why)
{
    struct ub_ctx *ctx = ub_ctx_create();
    if (ctx == NULL) {
        return E_NOMEM;
    }
    enum err err = set_options(ctx);
    if (err != OK) {
        why_set(why, "resolver: libunbound refused its options");
    }
    if (err == OK) {
        err = set_servers(ctx, servers, options, why);
    }
    if (err == OK) {
        err = set_anchor(ctx, anchor_path, why);
    }
    if (err != OK) {
        ub_ctx_delete(ctx);
        return err;
    }
    *ret_ctx = ctx;
    return OK;
}

/* ---- answers ---- */

static const char *rcode_words(int rcode)
{
    static const char *const words[] = { "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP",
        "REFUSED" };
    return rcode >= 0 && (size_t)rcode < COUNT_OF(words) ? words[rcode] : "unknown answer code";
}

/* Counts the records and their bytes; libunbound ends the list by NULL. */
static uint32_t measure(const struct ub_result *result, size_t *ret_bytes)
{
    uint32_t count = 0;
    size_t sum = 0;
    while (result->data != NULL && result->data[count] != NULL && count <= DNS_RECORD_COUNT_MAX) {
        sum += result->len[count] > 0 ? (size_t)result->len[count] : 0;
        count++;
    }
    *ret_bytes = sum;
    return count;
}

static void answer_records(struct dns_room *room, const struct ub_result *result, uint32_t count)
{
    struct str packet = { result->answer_packet,
        result->answer_len > 0 ? (size_t)result->answer_len : 0 };
    if (dns_wire_cname_count(packet) > DNS_CNAME_COUNT_MAX) {
        dns_room_fail(room, DNS_SERVFAIL, "chain of aliases too long");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (result->len[i] >= 0) {
            dns_room_add(room, (enum dns_type)result->qtype,
                    str_of(result->data[i], (size_t)result->len[i]));
        }
    }
}

/* Calls answered with what libunbound found; result may be NULL where err is not 0. */
static void deliver(const struct ub_result *result, int ub_err, dns_answered *answered, void *ctx)
{
    size_t rdata_bytes = 0;
    uint32_t count = result != NULL ? measure(result, &rdata_bytes) : 0;
    struct dns_room room;
    if (dns_room_open(&room, count, rdata_bytes) != OK) {
        /* the answer says so */
    } else if (ub_err != 0 || result == NULL) {
        dns_room_fail(&room, DNS_SERVFAIL, ub_strerror(ub_err));
    } else if (result->bogus) {
        dns_room_fail(&room, DNS_BOGUS,
                result->why_bogus != NULL ? result->why_bogus : "DNSSEC validation failed");
    } else if (result->nxdomain || result->rcode == RCODE_NXDOMAIN) {
        dns_room_fail(&room, DNS_NXDOMAIN, "");
    } else if (result->rcode != 0) {
        dns_room_fail(&room, DNS_SERVFAIL, rcode_words(result->rcode));
    } else if (!result->havedata) {
        dns_room_fail(&room, DNS_NODATA, "");
    } else {
        answer_records(&room, result, count);
    }
    dns_room_end(&room);
    if (result != NULL) {
        room.answer.is_secure = result->secure != 0;
        room.answer.ttl_s = result->ttl > 0 ? (uint32_t)result->ttl : 0;
    }
    answered(ctx, &room.answer);
    dns_room_close(&room);
}

static void question_end(struct question *question)
{
    list_del(&question->link);
    question->resolver->dns->question_count--;
    mem_free(question);
}

/* libunbound's callback, within ub_process. */
static void on_answer(void *ctx, int ub_err, struct ub_result *result)
{
    struct question *question = ctx;
    struct real_dns *dns = question->resolver->dns;
    dns_answered *answered = question->answered;
    void *answered_ctx = question->ctx;
    question_end(question);
    if (!dns->is_closed) {
        deliver(result, ub_err, answered, answered_ctx);
    }
    ub_resolve_free(result);
}

/* ---- resolvers ---- */

static void resolver_free(struct resolver *resolver)
{
    net_unwatch_fd_real(resolver->dns->net, resolver->fd);
    ub_ctx_delete(resolver->ctx);
    while (!list_is_empty(&resolver->questions)) {
        question_end(CONTAINER_OF(resolver->questions.next, struct question, link));
    }
    list_del(&resolver->link);
    mem_free(resolver);
}

static void dns_free(struct real_dns *dns)
{
    while (!list_is_empty(&dns->resolvers)) {
        resolver_free(CONTAINER_OF(dns->resolvers.next, struct resolver, link));
    }
    if (dns->timer_fd >= 0) {
        net_unwatch_fd_real(dns->net, dns->timer_fd);
        close(dns->timer_fd);
    }
    mem_free(dns->servers);
    mem_free(dns->anchor_path);
    mem_free(dns);
}

/* After callbacks: what they closed or outdated goes now. */
static void reap(struct real_dns *dns)
{
    if (dns->is_busy) {
        return;
    }
    if (dns->is_closed) {
        dns_free(dns);
        return;
    }
    for (struct list *at = dns->resolvers.next, *next; at != &dns->resolvers; at = next) {
        struct resolver *resolver = CONTAINER_OF(at, struct resolver, link);
        next = at->next;
        if (resolver->is_old && list_is_empty(&resolver->questions)) {
            resolver_free(resolver);
        }
    }
}

static void on_pipe(void *ctx)
{
    struct resolver *resolver = ctx;
    struct real_dns *dns = resolver->dns;
    dns->is_busy = true;
    (void)ub_process(resolver->ctx); /* a broken pipe: deadlines end the questions */
    dns->is_busy = false;
    reap(dns);
}

static enum err resolver_open(struct real_dns *dns, struct why *why)
{
    struct resolver *resolver = mem_new(sizeof *resolver);
    if (resolver == NULL) {
        return E_NOMEM;
    }
    enum err err = ctx_open(
            str_from_c(dns->servers), dns->anchor_path, &dns->options, &resolver->ctx, why);
    if (err != OK) {
        mem_free(resolver);
        return err;
    }
    (void)ub_ctx_async(resolver->ctx, 1); /* a thread, not a process */
    resolver->dns = dns;
    resolver->fd = ub_fd(resolver->ctx);
    list_init(&resolver->questions);
    err = net_watch_fd_real(dns->net, resolver->fd, on_pipe, resolver);
    if (err != OK) {
        why_set(why, "resolver: cannot watch it");
        ub_ctx_delete(resolver->ctx);
        mem_free(resolver);
        return err;
    }
    list_add_last(&dns->resolvers, &resolver->link);
    if (dns->current != NULL) {
        dns->current->is_old = true;
    }
    dns->current = resolver;
    return OK;
}

/* Zero where the file is not there: that too is a state that can change. */
static struct file_mark mark_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        return (struct file_mark){ 0 };
    }
    return (struct file_mark){ .device = st.st_dev,
        .inode = st.st_ino,
        .size_bytes = (uint64_t)st.st_size,
        .changed_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec };
}

static bool mark_eq(struct file_mark a, struct file_mark b)
{
    return a.device == b.device && a.inode == b.inode && a.size_bytes == b.size_bytes &&
           a.changed_ns == b.changed_ns;
}

static void follow_resolv_conf(struct real_dns *dns, struct mono now)
{
    if (dns->servers[0] != '\0' || now.ms < dns->next_check.ms) {
        return;
    }
    dns->next_check = mono_after(now, dns->options.resolv_check_ms);
    struct file_mark mark = mark_of(dns->options.resolv_path);
    if (!mark_eq(mark, dns->mark) && resolver_open(dns, NULL) == OK) {
        dns->mark = mark; /* else the old servers serve on, and the next check tries again */
        reap(dns);
    }
}

/* ---- deadlines ---- */

static void timer_set(struct real_dns *dns, bool is_on)
{
    if (dns->is_timer_on != is_on) {
        uint64_t limit_ms = dns->options.question_ms_max;
        uint64_t period_ms = !is_on ? 0 : limit_ms < TICK_MS_MAX ? limit_ms : TICK_MS_MAX;
        struct timespec period = { .tv_sec = (time_t)(period_ms / 1000),
            .tv_nsec = (long)(period_ms % 1000) * 1000000 };
        struct itimerspec when = { .it_interval = period, .it_value = period };
        ASSERT(timerfd_settime(dns->timer_fd, 0, &when, NULL) == 0);
        dns->is_timer_on = is_on;
    }
}

static void expire(struct resolver *resolver, struct mono now)
{
    struct real_dns *dns = resolver->dns;
    while (!dns->is_closed && !list_is_empty(&resolver->questions)) {
        struct question *first = CONTAINER_OF(resolver->questions.next, struct question, link);
        if (!mono_is_due(first->deadline, now)) {
            break;
        }
        dns_answered *answered = first->answered;
        void *ctx = first->ctx;
        (void)ub_cancel(resolver->ctx, first->async_id);
        question_end(first);
        answered(ctx, &(struct dns_answer){ .status = DNS_TIMEOUT, .why = "no answer in time" });
    }
}

static void on_tick(void *ctx)
{
    struct real_dns *dns = ctx;
    uint64_t tick_count;
    if (read(dns->timer_fd, &tick_count, sizeof tick_count) < 0) {
        return; /* somebody was quicker: nothing has passed */
    }
    struct mono now = clock_mono(clock_real());
    dns->is_busy = true;
    for (struct list *at = dns->resolvers.next; at != &dns->resolvers; at = at->next) {
        expire(CONTAINER_OF(at, struct resolver, link), now);
    }
    dns->is_busy = false;
    if (!dns->is_closed && dns->question_count == 0) {
        timer_set(dns, false);
    }
    reap(dns);
}

/* ---- the calls ---- */

/* The library's thread begins with the first question: no signal of ours is for it. */
static int ask_async(struct question *question, char *name)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int ub_err = ub_resolve_async(question->resolver->ctx, name, (int)question->type, DNS_CLASS_IN,
            question, on_answer, &question->async_id);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ub_err;
}

static enum err real_ask(
        struct dns *base, struct str name, enum dns_type type, dns_answered *answered, void *ctx)
{
    struct real_dns *dns = CONTAINER_OF(base, struct real_dns, base);
    char c_name[DNS_NAME_CAP];
    if (!dns_question_name(name, c_name)) {
        return E_SYNTAX;
    }
    if (dns->question_count >= DNS_QUESTION_COUNT_MAX) {
        return E_FULL;
    }
    struct question *question = mem_new(sizeof *question);
    if (question == NULL) {
        return E_NOMEM;
    }
    struct mono now = clock_mono(clock_real());
    follow_resolv_conf(dns, now);
    *question = (struct question){ .resolver = dns->current,
        .deadline = mono_after(now, dns->options.question_ms_max),
        .type = type,
        .answered = answered,
        .ctx = ctx };
    list_add_last(&dns->current->questions, &question->link);
    dns->question_count++;
    if (ask_async(question, c_name) != 0) {
        question_end(question);
        return E_IO;
    }
    timer_set(dns, true);
    return OK;
}

static void real_close(struct dns *base)
{
    if (base != NULL) {
        struct real_dns *dns = CONTAINER_OF(base, struct real_dns, base);
        dns->is_closed = true;
        reap(dns);
    }
}

static const struct dns_ops real_ops = { .ask = real_ask, .close = real_close };

/* A NUL-terminated copy; NULL where memory is out. */
static char *copy_c(struct str s)
{
    char *copy = mem_new(s.len + 1);
    if (copy != NULL && s.len > 0) {
        memcpy(copy, s.ptr, s.len);
    }
    return copy;
}

static enum err open_parts(
        struct real_dns *dns, struct str servers, const char *anchor_path, struct why *why)
{
    dns->servers = copy_c(servers);
    dns->anchor_path = anchor_path != NULL ? copy_c(str_from_c(anchor_path)) : NULL;
    if (dns->servers == NULL || (anchor_path != NULL && dns->anchor_path == NULL)) {
        return E_NOMEM;
    }
    dns->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (dns->timer_fd < 0) {
        why_set(why, "resolver: timer: %s", errno_words(errno));
        return E_FULL;
    }
    enum err err = net_watch_fd_real(dns->net, dns->timer_fd, on_tick, dns);
    if (err == OK) {
        dns->mark = mark_of(dns->options.resolv_path);
        err = resolver_open(dns, why);
    }
    return err;
}

enum err dns_open_real_with(struct net *net, struct str servers, const char *anchor_path,
        const struct dns_real_options *options, struct dns **ret_dns, struct why *why)
{
    struct real_dns *dns = mem_new(sizeof *dns);
    if (dns == NULL) {
        return E_NOMEM;
    }
    dns->base.ops = &real_ops;
    dns->net = net;
    dns->options = *options;
    dns->timer_fd = -1;
    list_init(&dns->resolvers);
    enum err err = open_parts(dns, servers, anchor_path, why);
    if (err != OK) {
        dns_free(dns);
        return err;
    }
    *ret_dns = &dns->base;
    return OK;
}

enum err dns_open_real(struct net *net, struct str servers, const char *anchor_path,
        struct dns **ret_dns, struct why *why)
{
    return dns_open_real_with(net, servers, anchor_path, &usual, ret_dns, why);
}

enum err dns_ask_blocking(struct str servers, struct str name, enum dns_type type,
        dns_answered *answered, void *ctx, struct why *why)
{
    char c_name[DNS_NAME_CAP];
    struct ub_ctx *ub = NULL;
    if (!dns_question_name(name, c_name)) {
        why_set(why, "not a name that can be asked for");
        return E_SYNTAX;
    }
    enum err err = ctx_open(servers, NULL, &usual, &ub, why);
    if (err != OK) {
        return err;
    }
    struct ub_result *result = NULL;
    int ub_err = ub_resolve(ub, c_name, (int)type, DNS_CLASS_IN, &result);
    deliver(result, ub_err, answered, ctx);
    ub_resolve_free(result);
    ub_ctx_delete(ub);
    return OK;
}
