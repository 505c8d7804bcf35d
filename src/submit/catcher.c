/* SPDX-License-Identifier: Apache-2.0
 *
 * catcher.c - the sandbox's receiving server: takes all mail and puts each message in a file.
 *
 * Files are for people and tests to read, so nothing is synced. A message is gathered in memory and
 * written when it is whole; a large one goes to its file in pieces, and what breaks off is removed.
 */
#include "core/list.h"
#include "core/str.h"
#include "core/time.h"
#include "submit/submit.h"
#include "submit/wire_priv.h"

enum {
    CATCHER_GATHER_BYTES = 1 << 20,       /* in memory; then the file is begun */
    CATCHER_ENVELOPE_BYTES_MAX = 4 << 20, /* the X-Envelope fields */
    CATCHER_IDLE_MS = 300000,             /* RFC 5321 4.5.3.2.7 */
    CATCHER_NUMBER_MAX = 999999999,
    CATCHER_NAME_CAP = 32,
    CATCHER_CONNECTION_COUNT_MAX = 1000
};

struct catcher {
    struct net *net;
    struct clock *clock;
    const struct log *log;
    struct disk *disk;
    struct net_listener *listener;
    struct smtp_server_conf conf;
    struct wire_room room;
    struct list sessions;
    uint32_t session_count;
    uint32_t last_number;
    struct mono now;
};

struct catch
{
    struct wire wire;
    struct list link;
    struct catcher *catcher;
    struct mono moved_at;
    uint64_t read_bytes, step_count;
    struct buf text;        /* envelope fields and content, not written yet */
    struct disk_file *file; /* NULL: not begun */
    uint64_t offset;
    char name[CATCHER_NAME_CAP];
    bool is_failed; /* the disk: answered at the end */
};

/* ---- files --------------------------------------------------------------------------------- */

static void note_number(void *ctx, const char *name)
{
    struct catcher *catcher = ctx;
    struct str stem = str_from_c(name);
    uint64_t number;
    if (!str_ends_nocase(stem, STR(".eml")) ||
            str_to_u64(str_sub(stem, 0, stem.len - 4), CATCHER_NUMBER_MAX, &number) != OK) {
        return;
    }
    catcher->last_number =
            (uint32_t)number > catcher->last_number ? (uint32_t)number : catcher->last_number;
}

static enum err begin_file(struct catch *catch)
{
    struct catcher *catcher = catch->catcher;
    struct disk *disk = catcher->disk;
    struct why why;
    enum err err = E_EXISTS;
    for (int tries = 0; tries < 100 && err == E_EXISTS; tries++) {
        fmt(catch->name, sizeof catch->name, "%06u.eml", (unsigned)++catcher->last_number);
        err = disk->ops->open(
                disk, catch->name, DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE, &catch->file, &why);
    }
    if (err != OK) {
        log_warn(catcher->log, "catcher", "%s: %s", catch->name, why.text);
        catch->file = NULL;
    }
    return err;
}

/* What is gathered goes to the file. */
static void write_out(struct catch *catch)
{
    struct why why;
    catch->is_failed = catch->is_failed || buf_err(&catch->text) != OK;
    if (catch->is_failed) {
        return;
    }
    if (!catch->file && begin_file(catch) != OK) {
        catch->is_failed = true;
        return;
    }
    struct iovec iov = { catch->text.ptr, catch->text.len };
    enum err err = catch->catcher->disk->ops->write(catch->file, &iov, 1, catch->offset, &why);
    if (err != OK) {
        log_warn(catch->catcher->log, "catcher", "%s: %s", catch->name, why.text);
        catch->is_failed = true;
        return;
    }
    catch->offset += catch->text.len;
    buf_clear(&catch->text);
}

static void forget_message(struct catch *catch)
{
    struct disk *disk = catch->catcher->disk;
    struct why why;
    if (catch->file) {
        disk->ops->close(catch->file);
        catch->file = NULL;
        if (disk->ops->remove(disk, catch->name, &why) != OK) {
            log_warn(catch->catcher->log, "catcher", "%s: %s", catch->name, why.text);
        }
    }
    buf_done(&catch->text);
    catch->offset = 0;
    catch->is_failed = false;
}

/* ---- the dialogue -------------------------------------------------------------------------- */

static void add_content(struct catch *catch, struct str bytes)
{
    buf_add(&catch->text, bytes);
    if (buf_err(&catch->text) != OK) {
        catch->is_failed = true;
    } else if (catch->text.len >= CATCHER_GATHER_BYTES) {
        write_out(catch);
    }
    if (catch->is_failed) { /* the end will say so; until then nothing is kept */
        buf_done(&catch->text);
    }
}

static void take_recipient(struct catch *catch, struct str path)
{
    struct smtp_server *server = &catch->wire.server;
    char text[300];
    if (str_starts_nocase(path, STR("reject"))) {
        size_t len = fmt(text, sizeof text,
                "<%.*s>: Recipient address rejected: User unknown (sandbox)", STR_ARG(path));
        smtp_server_reply(server, 550, STR("5.1.1"), str_of(text, len));
        return;
    }
    if (str_starts_nocase(path, STR("defer"))) {
        size_t len = fmt(text, sizeof text, "<%.*s>: Try again later (sandbox)", STR_ARG(path));
        smtp_server_reply(server, 451, STR("4.2.1"), str_of(text, len));
        return;
    }
    buf_addf(&catch->text, "X-Envelope-To: <%.*s>\r\n", STR_ARG(path));
    smtp_server_accept(server, STR(""));
}

static void end_message(struct catch *catch)
{
    struct smtp_server *server = &catch->wire.server;
    write_out(catch);
    if (catch->is_failed) {
        forget_message(catch);
        smtp_server_reply(server, 451, STR("4.3.0"), STR("Error: queue file write error"));
        return;
    }
    catch->catcher->disk->ops->close(catch->file);
    catch->file = NULL;
    struct str id = str_from_c(catch->name);
    smtp_server_accept(server, str_sub(id, 0, id.len - 4));
    forget_message(catch);
}

static void on_event(struct wire *wire, const struct smtp_server_event *event)
{
    struct catch *catch = CONTAINER_OF(wire, struct catch, wire);
    switch (event->kind) {
    case SMTP_SERVER_MAIL:
        forget_message(catch);
        buf_addf(&catch->text, "X-Envelope-From: <%.*s>\r\n", STR_ARG(event->text));
        smtp_server_accept(&wire->server, STR(""));
        break;
    case SMTP_SERVER_RCPT:
        take_recipient(catch, event->text);
        break;
    case SMTP_SERVER_DATA:
        smtp_server_accept(&wire->server, STR(""));
        break;
    case SMTP_SERVER_CHUNK:
        add_content(catch, event->text);
        break;
    case SMTP_SERVER_END:
        end_message(catch);
        break;
    case SMTP_SERVER_HELO:
    case SMTP_SERVER_RESET:
    case SMTP_SERVER_QUIT:
    case SMTP_SERVER_CLOSE:
        forget_message(catch);
        break;
    case SMTP_SERVER_AUTH: /* none of these is offered */
    case SMTP_SERVER_AUTH_STEP:
    case SMTP_SERVER_STARTTLS:
        smtp_server_reply(&wire->server, 502, STR("5.5.1"), STR("Error: not here"));
        break;
    case SMTP_SERVER_NONE:
        break;
    }
}

/* ---- connections --------------------------------------------------------------------------- */

static void catch_end(struct catch *catch)
{
    forget_message(catch);
    wire_close(&catch->wire, catch->wire.is_broken);
    list_del(&catch->link);
    catch->catcher->session_count--;
    mem_free(catch);
}

static void catch_settle(struct catch *catch)
{
    struct wire *wire = &catch->wire;
    if (wire->step_count != catch->step_count || wire->read_bytes != catch->read_bytes) {
        catch->step_count = wire->step_count;
        catch->read_bytes = wire->read_bytes;
        catch->moved_at = catch->catcher->now;
    }
    if (wire->is_broken || wire->is_over) {
        catch_end(catch);
    }
}

static void on_net(void *ctx, struct net_conn *conn, enum net_event event)
{
    struct catch *catch = ctx;
    (void)conn;
    catch->catcher->now = clock_mono(catch->catcher->clock);
    wire_pump(&catch->wire, event == NET_READABLE);
    catch_settle(catch);
}

static void on_accepted(void *ctx, struct net_conn *conn)
{
    struct catcher *catcher = ctx;
    struct catch *catch =
            catcher->session_count < CATCHER_CONNECTION_COUNT_MAX ? mem_new(sizeof *catch) : NULL;
    if (!catch) {
        conn->net->ops->close(conn, /*is_abort*/ false);
        return;
    }
    catcher->now = clock_mono(catcher->clock);
    catch->catcher = catcher;
    catch->moved_at = catcher->now;
    catch->wire.room = &catcher->room;
    catch->wire.conn = conn;
    catch->wire.event = on_event;
    buf_init(&catch->text, CATCHER_ENVELOPE_BYTES_MAX + CATCHER_GATHER_BYTES + WIRE_SCRATCH_BYTES);
    list_add_last(&catcher->sessions, &catch->link);
    catcher->session_count++;
    conn->net->ops->set_handler(conn, on_net, catch);
    wire_open(&catch->wire, &catcher->conf, /*is_tls*/ false);
    wire_pump(&catch->wire, /*may_read*/ true);
    catch_settle(catch);
}

enum err catcher_new(struct net *net, struct clock *clock, const struct log *log, struct disk *disk,
        const struct ip_port *at, struct catcher **ret_catcher, struct why *why)
{
    struct catcher *catcher = mem_new(sizeof *catcher);
    char *scratch = mem_new(WIRE_SCRATCH_BYTES);
    enum err err = E_NOMEM;
    if (!catcher || !scratch) {
        why_set(why, "out of memory");
        goto fail;
    }
    catcher->net = net;
    catcher->clock = clock;
    catcher->log = log;
    catcher->disk = disk;
    catcher->room = (struct wire_room){ net, scratch };
    catcher->conf = (struct smtp_server_conf){ .hostname = STR("sandbox.localhost"),
        .size_max_bytes = 2 * (uint64_t)SPOOL_CONTENT_BYTES_MAX, /* what we send fits */
        .rcpt_count_max = SPOOL_RCPT_COUNT_MAX };
    list_init(&catcher->sessions);
    err = disk->ops->list(disk, note_number, catcher, why);
    if (err == OK) {
        err = net->ops->listen(
                net, at, /*is_shared_port*/ false, on_accepted, catcher, &catcher->listener, why);
    }
    if (err != OK) {
        goto fail;
    }
    *ret_catcher = catcher;
    return OK;
fail:
    mem_free(scratch);
    mem_free(catcher);
    return err;
}

struct mono catcher_turn(struct catcher *catcher, struct mono now)
{
    struct mono next = { 0 };
    struct list *link = catcher->sessions.next;
    catcher->now = now;
    while (link != &catcher->sessions) {
        struct catch *catch = CONTAINER_OF(link, struct catch, link);
        link = link->next;
        struct mono due = mono_after(catch->moved_at, CATCHER_IDLE_MS);
        if (mono_is_due(due, now)) {
            catch_end(catch);
        } else {
            next = mono_first(next, due);
        }
    }
    return next;
}

void catcher_free(struct catcher *catcher)
{
    if (!catcher) {
        return;
    }
    while (!list_is_empty(&catcher->sessions)) {
        catch_end(CONTAINER_OF(catcher->sessions.next, struct catch, link));
    }
    catcher->net->ops->unlisten(catcher->listener);
    mem_free(catcher->room.scratch);
    mem_free(catcher);
}
