/* SPDX-License-Identifier: Apache-2.0
 *
 * address_probe.c - does the mail host take this address? Greeting, EHLO, MAIL, RCPT, and RCPT for
 * a made-up name; then QUIT. Step by step: no host gets a command before it has answered the last.
 *
 * Probing costs reputation where receivers count it, so it is asked for by hand, has a budget, and
 * leaves out those who punish it.
 */
#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"
#include "edge/entropy.h"
#include "edge/net.h"
#include "identity/address_priv.h"
#include "identity/smtp_ask_priv.h"
#include "mail/domain.h"
#include "proto/smtp_reply.h"

#include <sys/uio.h>

enum {
    OUT_CAP = 1200,         /* the longest command, RCPT, has 254 bytes and its words */
    KEPT_COUNT_MAX = 65536, /* answers and domains remembered; then all are forgotten */
    BUDGET_MS = 60000,
    SMTP_PORT = 25
};

enum probe_step { GREETING, EHLO, HELO, MAIL, RCPT, MADE_UP, ENDED };

struct identity_probe {
    struct identity_probe_conf conf;
    char ehlo[DNS_NAME_CAP], sender[ADDRESS_TEXT_CAP];
    struct net *net;
    struct name_set refusers;
    struct map by_address; /* hash of the address → reason */
    struct map by_domain;  /* hash of the domain → minute << 8 | probes in it */
    /* the one under way */
    struct net_conn *conn;
    enum probe_step step;
    struct smtp_reply reply;
    char out[OUT_CAP];
    size_t out_len, out_done;
    struct identity_address *address;
    enum identity_address_reason reason;
};

/* ---- the dialogue ---- */

static void say(struct identity_probe *probe, enum probe_step next, const char *command,
        struct str local, struct str domain)
{
    probe->step = next;
    probe->out_done = 0;
    probe->out_len = fmt(probe->out, sizeof probe->out, "%s%.*s%s%.*s%s\r\n", command,
            STR_ARG(local), local.len > 0 && domain.len > 0 ? "@" : "", STR_ARG(domain),
            next == MAIL || next == RCPT || next == MADE_UP ? ">" : "");
    smtp_reply_begin(&probe->reply, SMTP_REPLY_LINES_MAX);
}

static struct str local_of(const struct identity_address *address)
{
    return str_sub(address->text, 0, str_rindex(address->text, '@'));
}

static void end(struct identity_probe *probe, enum identity_address_reason reason)
{
    probe->reason = reason;
    say(probe, ENDED, "QUIT", STR(""), STR(""));
}

static void note_reply(struct identity_probe *probe)
{
    char text[IDENTITY_ADDRESS_NOTE_CAP];
    struct identity_address *address = probe->address;
    size_t len = fmt(text, sizeof text, "%s said %u %.*s %.*s", address->mail_host,
            (unsigned)probe->reply.code, STR_ARG(smtp_reply_enhanced(&probe->reply)),
            STR_ARG(smtp_reply_text(&probe->reply)));
    struct str safe = str_escape(str_of(text, len), address->note, sizeof address->note - 1);
    address->note[safe.len] = '\0';
}

/* A name that nobody has: 80 bits of chance. */
static void ask_made_up(struct identity_probe *probe)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t chance[16];
    char name[sizeof chance];
    entropy_fill(entropy_real(), chance, sizeof chance);
    for (size_t i = 0; i < sizeof name; i++) {
        name[i] = letters[chance[i] % 32];
    }
    say(probe, MADE_UP, "RCPT TO:<", str_of(name, sizeof name), probe->address->domain);
}

static void on_reply(struct identity_probe *probe)
{
    unsigned class = smtp_reply_class(&probe->reply);
    struct str none = STR("");
    enum probe_step step = probe->step;
    if (step == EHLO && class == 5) { /* RFC 5321 3.2 */
        say(probe, HELO, "HELO ", none, str_from_c(probe->ehlo));
    } else if (step == RCPT && smtp_is_about_mailbox(&probe->reply)) {
        note_reply(probe);
        end(probe, IDENTITY_ADDRESS_REFUSED);
    } else if (step == MADE_UP && class == 5) {
        end(probe, IDENTITY_ADDRESS_ACCEPTED);
    } else if (class != 2) {
        note_reply(probe);
        end(probe, IDENTITY_ADDRESS_UNDECIDED);
    } else if (step == GREETING) {
        say(probe, EHLO, "EHLO ", none, str_from_c(probe->ehlo));
    } else if (step == EHLO || step == HELO) {
        say(probe, MAIL, "MAIL FROM:<", str_from_c(probe->sender), none);
    } else if (step == MAIL) {
        say(probe, RCPT, "RCPT TO:<", local_of(probe->address), probe->address->domain);
    } else if (step == RCPT) {
        ask_made_up(probe);
    } else {
        end(probe, IDENTITY_ADDRESS_CATCH_ALL);
    }
}

/* ---- the connection ---- */

static void finish(struct identity_probe *probe)
{
    if (probe->conn != NULL) {
        probe->net->ops->close(probe->conn, /*is_abort*/ false);
        probe->conn = NULL;
    }
    probe->net->ops->timer(probe->net, (struct mono){ 0 }, NULL, NULL);
    net_stop_real(probe->net);
}

static void fail(struct identity_probe *probe, const char *what)
{
    if (probe->step != ENDED) {
        fmt(probe->address->note, sizeof probe->address->note, "%s: %s", probe->address->mail_host,
                what);
    }
    finish(probe);
}

static void on_timer(void *ctx)
{
    fail(ctx, "no answer in time");
}

/* False: the connection is over. */
static bool write_out(struct identity_probe *probe)
{
    while (probe->out_done < probe->out_len) {
        struct iovec rest = { probe->out + probe->out_done, probe->out_len - probe->out_done };
        size_t wrote = 0;
        enum err err = probe->net->ops->write(probe->conn, &rest, 1, &wrote);
        if (err == E_AGAIN) {
            probe->net->ops->want(probe->conn, NET_WANT_READ | NET_WANT_WRITE);
            return true;
        }
        if (err != OK) {
            fail(probe, "the connection broke");
            return false;
        }
        probe->out_done += wrote;
    }
    if (probe->step == ENDED) { /* who has said QUIT need not hear the answer */
        finish(probe);
        return false;
    }
    probe->net->ops->want(probe->conn, NET_WANT_READ);
    return true;
}

/* False: the connection is over. */
static bool take_bytes(struct identity_probe *probe, struct str bytes)
{
    while (bytes.len > 0) {
        enum smtp_reply_step how;
        bytes = str_from(bytes, smtp_reply_input(&probe->reply, bytes, &how));
        if (how == SMTP_REPLY_BAD) {
            fail(probe, "it does not speak SMTP");
            return false;
        }
        if (how == SMTP_REPLY_DONE) { /* bytes behind it were not asked for: dropped */
            on_reply(probe);
            return write_out(probe);
        }
    }
    return true;
}

static void read_in(struct identity_probe *probe)
{
    char bytes[4096];
    size_t len = 0;
    enum err err = OK;
    while (err == OK) {
        err = probe->net->ops->read(probe->conn, bytes, sizeof bytes, &len);
        if (err == OK && !take_bytes(probe, str_of(bytes, len))) {
            return;
        }
    }
    if (err != E_AGAIN) {
        fail(probe, "it closed the connection");
    }
}

static void on_event(void *ctx, struct net_conn *conn, enum net_event event)
{
    struct identity_probe *probe = ctx;
    switch (event) {
    case NET_CONNECTED:
        probe->net->ops->want(conn, NET_WANT_READ);
        return;
    case NET_READABLE:
        read_in(probe);
        return;
    case NET_WRITABLE:
        (void)write_out(probe);
        return;
    case NET_TLS_DONE:
    case NET_FAILED:
        break;
    }
    fail(probe, "no connection");
}

static void on_wake(void *ctx)
{
    (void)ctx; /* nobody wakes this loop */
}

static void run(struct identity_probe *probe, const struct ip_port *at)
{
    struct why why = { 0 };
    struct net *net = probe->net;
    const struct ip *source = &probe->conf.source;
    probe->step = GREETING;
    probe->reason = IDENTITY_ADDRESS_UNDECIDED;
    probe->out_len = probe->out_done = 0;
    smtp_reply_begin(&probe->reply, SMTP_REPLY_LINES_MAX);
    if (net->ops->connect(net, source, at, on_event, probe, &probe->conn, &why) != OK) {
        fmt(probe->address->note, sizeof probe->address->note, "%.200s", why.text);
        return;
    }
    net->ops->timer(
            net, mono_after(clock_mono(clock_real()), IDENTITY_PROBE_MS_MAX), on_timer, probe);
    net_run_real(net, on_wake, probe);
}

/* ---- whom to ask ---- */

static bool is_refuser(const struct identity_probe *probe, struct str host)
{
    for (uint32_t i = 0; i < probe->refusers.count; i++) {
        if (str_ends_nocase(host, probe->refusers.name[i])) {
            return true;
        }
    }
    return false;
}

/* Counts one more in for the domain; false: this minute's are used up. */
static bool take_budget(struct identity_probe *probe, struct str domain)
{
    uint64_t hash = str_hash(domain, 0), kept = 0;
    uint64_t minute = (uint64_t)clock_mono(clock_real()).ms / BUDGET_MS;
    (void)map_get(&probe->by_domain, hash, &kept);
    uint64_t count = kept >> 8 == minute ? kept & 255 : 0;
    if (count >= IDENTITY_PROBE_DOMAIN_COUNT_MAX) {
        return false;
    }
    return map_set(&probe->by_domain, hash, minute << 8 | (count + 1)) == OK;
}

static void forget_at_limit(struct map *map)
{
    if (map_count(map) >= KEPT_COUNT_MAX) {
        map_done(map);
        *map = (struct map){ 0 };
    }
}

static enum identity_address_reason ask(struct identity_probe *probe,
        struct identity_address *address, const struct identity_mail *mail)
{
    uint64_t kept, hash = str_hash(address->text, 0);
    struct ip_port at = probe->conf.via;
    if (address->needs_smtputf8 || mail->reason != IDENTITY_ADDRESS_REASON_COUNT ||
            is_refuser(probe, str_from_c(mail->host[mail->host_index]))) {
        return IDENTITY_ADDRESS_LEFT_OUT;
    }
    if (map_get(&probe->by_address, hash, &kept)) {
        return (enum identity_address_reason)kept;
    }
    forget_at_limit(&probe->by_address);
    forget_at_limit(&probe->by_domain);
    if (!take_budget(probe, address->domain)) {
        return IDENTITY_ADDRESS_LEFT_OUT;
    }
    if (at.ip.family == IP_NONE) {
        at = (struct ip_port){ mail->ip, SMTP_PORT };
    }
    probe->address = address;
    run(probe, &at);
    if (map_set(&probe->by_address, hash, probe->reason) != OK) {
        return probe->reason; /* not remembered, so it may be asked again */
    }
    return probe->reason;
}

void identity_probe_ask(struct identity_probe *probe, struct identity_address *address,
        const struct identity_mail *mail)
{
    address_take_fate(address, ask(probe, address, mail));
}

void identity_probe_close(struct identity_probe *probe)
{
    if (probe == NULL) {
        return;
    }
    name_set_done(&probe->refusers);
    map_done(&probe->by_address);
    map_done(&probe->by_domain);
    if (probe->net != NULL) {
        net_free_real(probe->net);
    }
    mem_free(probe);
}

enum err identity_probe_open(
        const struct identity_probe_conf *conf, struct identity_probe **ret_probe, struct why *why)
{
    struct identity_probe *probe = mem_new(sizeof *probe);
    if (probe == NULL) {
        why_set(why, "out of memory");
        return E_NOMEM;
    }
    struct address sender;
    enum err err = E_SYNTAX;
    probe->conf = *conf;
    if (!str_to_c(conf->ehlo, probe->ehlo, sizeof probe->ehlo) || !domain_is_dns_name(conf->ehlo)) {
        why_set(why, "\"%.*s\" is no name for EHLO", STR_ARG(str_sub(conf->ehlo, 0, 100)));
    } else if (!str_to_c(conf->sender, probe->sender, sizeof probe->sender) ||
               (conf->sender.len > 0 && address_parse(conf->sender, &sender, why) != OK)) {
        why_set(why, "\"%.*s\" is no sender's address", STR_ARG(str_sub(conf->sender, 0, 100)));
    } else {
        err = name_set_add_file(&probe->refusers, "probe_refusers");
    }
    if (err == OK) {
        err = net_open_real(clock_real(), &probe->net, why);
    }
    if (err != OK) {
        identity_probe_close(probe);
        return err;
    }
    *ret_probe = probe;
    return OK;
}
