/* SPDX-License-Identifier: Apache-2.0
 *
 * rig.h - a deliverer on a net in memory, with peers that follow a script, a keeper and a clock.
 *
 * A script is lines: "C: " what the client must say ('*' at the end: anything more), "S: " what the
 * peer answers, "D:" content up to its end (kept in rig.content), "TLS" a handshake that succeeds,
 * "CLOSE", "RESET", "REFUSE" (the connect), "SILENT" (the connect, or nothing more is said),
 * "TLSFAIL". A script that ends with the client still there just waits.
 */
#ifndef OUTPOST_TESTS_DELIVER_RIG_H
#define OUTPOST_TESTS_DELIVER_RIG_H

#include "core/buf.h"
#include "core/list.h"
#include "deliver/deliver.h"
#include "tests/test.h"

enum { RIG_RESULT_COUNT_MAX = 4096, RIG_PEER_COUNT_MAX = 64 };

struct rig_peer {
    const char *address;
    const char *script;
    bool is_used;
    struct rig_conn *conn; /* while it is open */
    struct ip local;
};
enum rig_keeper { RIG_KEEPER_WRITES, RIG_KEEPER_HOLDS, RIG_KEEPER_FAILS };

/* As struct buf, but of the C library's memory: the tests let core's fail. */
struct rig_bytes {
    char *ptr;
    size_t len, cap;
};
static inline struct str rig_str(const struct rig_bytes *bytes)
{
    return str_of(bytes->ptr, bytes->len);
}

struct rig {
    struct net net;
    struct clock clock;
    struct mono now;
    struct mailbox self, keeper, queue;
    struct deliver *deliver;
    struct config *config;
    struct list conns;
    struct rig_peer peer[RIG_PEER_COUNT_MAX];
    uint32_t peer_count;
    struct queue_result **result; /* RIG_RESULT_COUNT_MAX; gone after rig_close */
    uint32_t result_count;
    enum rig_keeper keeper_mode;
    uint32_t attempt_count; /* records the keeper got */
    size_t write_max;       /* bytes a write takes; 0: all. Every second write then gives E_AGAIN */
    bool is_window_shut;    /* writes give E_AGAIN, and no room is told of */
    uint32_t write_count, connect_count;
    struct rig_bytes content; /* what "D:" lines took, stuffed as it came, of all connections */
    struct rig_bytes said;    /* all that clients said but content */
    struct mono next;         /* what the last turn returned */
    bool (*any_peer)(struct rig_conn *conn); /* plays all peers, instead of scripts; false: waits */
    void *any_ctx;
    bool is_own_everything;
    char server_name[256], session_key[256];
    bool verify_required, is_verified;
    uint64_t next_job_id;
};

/* The peer's end of a connection. */
struct rig_conn {
    struct net_conn base;
    struct list item;
    struct rig *rig;
    net_handler *handler;
    void *ctx;
    struct rig_peer *peer;
    const char *at;       /* in the script */
    struct rig_bytes in;  /* from the client */
    struct rig_bytes out; /* to the client */
    uint32_t wants;
    int any_state; /* any_peer's own */
    uint32_t any_job;
    uint32_t any_accepted[8];
    uint32_t any_accepted_count;
    bool is_connecting, is_refused, is_silent, is_closed_by_peer, is_reset, is_told_end;
    bool is_tls_pending, is_tls, is_client_gone;
    bool write_blocks, may_write_once;
};
void rig_bytes_add(struct rig_bytes *bytes, struct str s);
void rig_bytes_drop(struct rig_bytes *bytes, size_t len);

/* config NULL: "hostname" only. */
void rig_open(struct rig *rig, const char *config_text);
void rig_close(struct rig *rig); /* checks that nothing is left */
void rig_peer(struct rig *rig, const char *address, const char *script);
/* Lets things happen until nothing more does. */
void rig_run(struct rig *rig);
void rig_advance(struct rig *rig, uint64_t ms); /* the clock, turn by turn at each deadline */
void rig_open_window(struct rig *rig);          /* for one write on each connection */
void rig_keeper_answer(struct rig *rig);        /* all it holds */

/* A job for the site; recipients separated by blanks; content with CRLF. */
struct rig_job {
    const char *rcpts;
    const char *content;
    const char *signature;
    const char *sender;
    bool is_8bit;
    bool is_backwards; /* recipients from the last to the first */
    uint32_t lane_id;
    uint32_t source; /* UINT32_MAX: none */
};
uint64_t rig_send(struct rig *rig, struct site *site, const struct rig_job *job);
/* "10 mx.example 192.0.2.1 2001:db8::1:25 ..." lines: preference, name, addresses (":port" on IPv4)
 */
struct site *rig_site(const char *hosts);

const struct queue_result *rig_result(const struct rig *rig, uint32_t at);
uint32_t rig_results_of(const struct rig *rig, enum spool_result result); /* recipients */
void rig_check(const struct queue_result *result, enum spool_result expected,
        enum queue_scope scope, uint16_t code, const char *enhanced, const char *file, int line);
#define CHECK_RESULT(result, expected, scope, code, enhanced)                                      \
    rig_check(result, expected, scope, code, enhanced, __FILE__, __LINE__)
bool rig_has(struct str where, const char *what);

#endif
