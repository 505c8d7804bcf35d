/* SPDX-License-Identifier: Apache-2.0
 *
 * threads_test.c - the node in its real threads, with users that do everything at once.
 * Method: clients submit over several connections while others list, hold, release, trace, audit
 * and reload; then it is stopped, opened again, and counted. Meant to run under a thread sanitizer
 * too.
 */
#include "core/str.h"
#include "tests/test.h"
#include "tests/unit/node/threads_rig.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CLIENT_COUNT = 6,
    MESSAGE_COUNT = 400,
    ASKER_COUNT = 2,
    WAIT_STEP_MS = 20,
    WAIT_MS_MAX = 120000
};

/* OUTPOST_TEST_SLOW=8: an eighth of the work, where each step takes so much longer. */
static uint32_t scaled(uint32_t count)
{
    const char *slow = getenv("OUTPOST_TEST_SLOW");
    uint64_t factor = 1;
    if (slow && (str_to_u64(str_from_c(slow), 1000, &factor) != OK || factor == 0)) {
        factor = 1;
    }
    uint32_t scaled = count / (factor > 4 ? 4 : (uint32_t)factor);
    return scaled ? scaled : 1;
}

/* ---- askers --------------------------------------------------------------------------------- */

struct asker {
    const struct rig *rig;
    _Atomic bool *stop;
    uint32_t number, asked_count;
    char fault[200]; /* the first answer that was none */
};

struct question {
    const char *method, *path, *body;
    int status, or_status;
};
/* Nothing here closes a recipient: what was accepted is still to arrive. */
static const struct question questions[] = {
    { "GET", "/v1/stats", "", 200, 200 },
    { "GET", "/v1/queue?count=50", "", 200, 200 },
    { "POST", "/v1/queue/actions",
            "{\"action\":\"hold\",\"domain\":\"d3.example\",\"reason\":\"test\"}", 200, 200 },
    { "GET", "/v1/messages?tag=c1&count=20", "", 200, 404 },
    { "GET", "/v1/queue?recipient=d3.example&state=held", "", 200, 200 },
    { "POST", "/v1/queue/actions", "{\"action\":\"release\",\"domain\":\"d3.example\"}", 200, 200 },
    { "GET", "/v1/audit", "", 200, 200 },
    { "POST", "/v1/queue/actions", "{\"action\":\"hold\",\"tag\":\"c2\"}", 200, 200 },
    { "GET", "/readyz", "", 200, 503 },
    { "POST", "/v1/reload", "", 200, 200 },
    { "POST", "/v1/queue/actions", "{\"action\":\"release\",\"tag\":\"c2\"}", 200, 200 },
    { "GET", "/v1/config", "", 200, 200 },
    { "GET", "/v1/refusals", "", 200, 200 },
    { "GET", "/v1/sandbox", "", 200, 200 },
    { "GET", "/v1/sandbox/000001.eml", "", 200, 404 },
    { "GET", "/v1/messages?recipient=to1-1-0@d1.example", "", 200, 404 },
    { "GET", "/v1/nothing", "", 404, 404 },
    { "DELETE", "/v1/queue", "", 405, 405 },
    { "POST", "/v1/queue/actions", "{\"action\":\"flush\",\"all\":true}", 200, 200 },
};

static void *ask_all(void *ctx)
{
    struct asker *asker = ctx;
    for (size_t i = asker->number * 7; !atomic_load(asker->stop); i++) {
        const struct question *question = &questions[i % COUNT_OF(questions)];
        int status;
        json_t *reply =
                rig_ask(asker->rig, question->method, question->path, question->body, &status);
        bool is_good = reply && (status == question->status || status == question->or_status);
        if (!is_good && !asker->fault[0]) {
            fmt(asker->fault, sizeof asker->fault, "%s %s: %d %s", question->method, question->path,
                    status, json_string_value(json_object_get(reply, "error")));
        }
        bool is_audit = strcmp(question->path, "/v1/audit") == 0;
        if (is_audit && is_good && !json_is_true(json_object_get(reply, "balanced")) &&
                !asker->fault[0]) {
            char *text = json_dumps(reply, JSON_COMPACT);
            fprintf(stderr, "%s\n", text);
            free(text);
            fmt(asker->fault, sizeof asker->fault,
                    "the books do not balance while the node is busy");
        }
        json_decref(reply);
        asker->asked_count++;
    }
    return NULL;
}

/* ---- helpers -------------------------------------------------------------------------------- */

static bool wait_for(const struct rig *rig, const char *part, const char *name, int64_t wanted)
{
    for (int waited_ms = 0; waited_ms < WAIT_MS_MAX; waited_ms += WAIT_STEP_MS) {
        if (rig_figure(rig, "/v1/stats", part, name) == wanted) {
            return true;
        }
        usleep(WAIT_STEP_MS * 1000);
    }
    return false;
}

static bool wait_for_some(const struct rig *rig, const char *part, const char *name)
{
    for (int waited_ms = 0; waited_ms < WAIT_MS_MAX; waited_ms += WAIT_STEP_MS) {
        if (rig_figure(rig, "/v1/stats", part, name) > 0) {
            return true;
        }
        usleep(WAIT_STEP_MS * 1000);
    }
    return false;
}

static void act(const struct rig *rig, const char *body)
{
    int status;
    json_t *reply = rig_ask(rig, "POST", "/v1/queue/actions", body, &status);
    CHECK(status == 200, "%s: %d", body, status);
    json_decref(reply);
}

static void check_balance(const struct rig *rig)
{
    int status;
    json_t *reply = rig_ask(rig, "GET", "/v1/audit", "", &status);
    char *text = json_dumps(reply, JSON_COMPACT);
    CHECK(status == 200 && json_is_true(json_object_get(reply, "balanced")), "%s", text);
    free(text);
    json_decref(reply);
}

static uint64_t caught_count(const struct rig *rig)
{
    char path[100];
    uint64_t count = 0;
    fmt(path, sizeof path, "%s/sandbox", rig->dir);
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)) != NULL) {
        count += str_ends_nocase(str_from_c(entry->d_name), STR(".eml"));
    }
    if (dir) {
        closedir(dir);
    }
    return count;
}

/* How many messages the history has under the tag; all of their recipients in the state, if given.
 */
static uint64_t traced(const struct rig *rig, const char *tag, const char *never_state)
{
    char path[100];
    int status;
    size_t i, j;
    json_t *story, *rcpt;
    fmt(path, sizeof path, "/v1/messages?count=1000&tag=%s", tag);
    json_t *reply = rig_ask(rig, "GET", path, "", &status);
    json_array_foreach(reply, i, story)
    {
        json_array_foreach(json_object_get(story, "recipients"), j, rcpt)
        {
            const char *state = json_string_value(json_object_get(rcpt, "state"));
            char *text = json_dumps(story, JSON_COMPACT);
            CHECK(state && (!never_state || strcmp(state, never_state) != 0), "message %zu: %s", i,
                    text);
            free(text);
        }
    }
    uint64_t count = status == 200 ? json_array_size(reply) : 0;
    json_decref(reply);
    return count;
}

static void start_clients(const struct rig *rig, struct rig_client *clients, pthread_t *threads,
        uint32_t message_count, _Atomic bool *stop)
{
    for (uint32_t i = 0; i < CLIENT_COUNT; i++) {
        clients[i] = (struct rig_client){ .rig = rig,
            .number = i,
            .message_count = message_count,
            .has_login = i % 2 == 1,
            .body_bytes = i == 0 ? 100000 : 1500,
            .stop = stop };
        CHECK(pthread_create(&threads[i], NULL, rig_client_run, &clients[i]) == 0);
    }
}

static void join_all(pthread_t *threads, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

static void free_clients(struct rig_client *clients)
{
    for (uint32_t i = 0; i < CLIENT_COUNT; i++) {
        mem_free(clients[i].ids);
    }
}

/* ---- the tests ------------------------------------------------------------------------------ */

TEST(a_node_in_threads_does_everything_at_once_and_counts_right)
{
    struct rig rig;
    struct rig_client clients[CLIENT_COUNT];
    struct asker askers[ASKER_COUNT];
    pthread_t client_threads[CLIENT_COUNT], asker_threads[ASKER_COUNT];
    _Atomic bool is_over = false;
    uint64_t rcpts = 0;
    rig_init(&rig);
    rig_start(&rig);
    start_clients(&rig, clients, client_threads, scaled(MESSAGE_COUNT), NULL);
    CHECK(wait_for_some(&rig, "spool", "accepted_messages"));
    CHECK(wait_for_some(&rig, "since_start", "delivered"));
    for (uint32_t i = 0; i < ASKER_COUNT; i++) {
        askers[i] = (struct asker){ .rig = &rig, .stop = &is_over, .number = i };
        CHECK(pthread_create(&asker_threads[i], NULL, ask_all, &askers[i]) == 0);
    }
    join_all(client_threads, CLIENT_COUNT);
    atomic_store(&is_over, true);
    join_all(asker_threads, ASKER_COUNT);
    for (uint32_t i = 0; i < CLIENT_COUNT; i++) {
        CHECK(clients[i].fault == NULL, "client %u: %s", i, clients[i].fault);
        CHECK_U64(clients[i].accepted_msgs + clients[i].refused, scaled(MESSAGE_COUNT));
        CHECK_U64(clients[i].refused, 0);
        rcpts += clients[i].accepted_rcpts;
    }
    for (uint32_t i = 0; i < ASKER_COUNT; i++) {
        CHECK(!askers[i].fault[0] && askers[i].asked_count > 0, "asker %u: %s", i, askers[i].fault);
    }

    /* let go what is held, drop what the catcher puts off, and wait for the rest */
    act(&rig, "{\"action\":\"release\",\"all\":true}");
    CHECK(wait_for(&rig, "queue", "active", 0));
    for (int waited_ms = 0;
            rig_figure(&rig, "/v1/stats", "queue", "messages") != 0 && waited_ms < WAIT_MS_MAX;
            waited_ms += WAIT_STEP_MS) {
        act(&rig, "{\"action\":\"cancel\",\"contains\":\"451\",\"reason\":\"the test ends\"}");
        usleep(WAIT_STEP_MS * 1000);
    }
    CHECK(wait_for(&rig, "queue", "messages", 0));
    CHECK(wait_for(&rig, "history", "caught_up", 1));
    check_balance(&rig);
    CHECK(traced(&rig, "c4", "queued") == clients[4].accepted_msgs);
    uint64_t accepted = (uint64_t)rig_figure(&rig, "/v1/stats", "spool", "accepted_recipients");
    uint64_t bounced = (uint64_t)rig_figure(&rig, "/v1/stats", "since_start", "bounced");
    uint64_t delivered = (uint64_t)rig_figure(&rig, "/v1/stats", "since_start", "delivered");
    uint64_t cancelled = (uint64_t)rig_figure(&rig, "/v1/stats", "since_start", "cancelled");
    CHECK(bounced > 0 && cancelled > 0);
    CHECK(accepted > rcpts, "reports to senders are mail too");
    CHECK_U64(accepted, delivered + bounced + cancelled);
    rig_stop(&rig);
    CHECK(caught_count(&rig) > 0 && caught_count(&rig) <= delivered); /* one file a transaction */

    rig_start(&rig);
    CHECK(wait_for(&rig, "history", "caught_up", 1));
    CHECK_U64(rig_figure(&rig, "/v1/stats", "spool", "accepted_recipients"), accepted);
    CHECK_U64(rig_figure(&rig, "/v1/stats", "queue", "messages"), 0);
    check_balance(&rig);
    rig_stop(&rig);
    free_clients(clients);
    rig_done(&rig);
}

TEST(a_stop_amid_the_work_loses_nothing_and_leaves_nothing_in_doubt)
{
    enum { PATIENCE_MS = 10000, RUN_MS = 300 };
    struct rig rig;
    struct rig_client clients[CLIENT_COUNT];
    pthread_t threads[CLIENT_COUNT];
    uint64_t found = 0, accepted = 0;
    rig_init(&rig);
    rig_start(&rig);
    start_clients(&rig, clients, threads, scaled(MESSAGE_COUNT) * 10, NULL);
    usleep(RUN_MS * 1000);
    uint64_t stop_ms = rig_stop(&rig);
    CHECK(stop_ms < PATIENCE_MS, "it took %llu ms", (unsigned long long)stop_ms);
    join_all(threads, CLIENT_COUNT);

    rig_start(&rig);
    CHECK_U64(rig_figure(&rig, "/v1/stats", "queue", "in_doubt"), 0);
    CHECK(wait_for(&rig, "history", "caught_up", 1));
    for (uint32_t i = 0; i < CLIENT_COUNT; i++) {
        CHECK(clients[i].accepted_msgs > 0 || clients[i].fault, "client %u did nothing", i);
        accepted += clients[i].accepted_msgs;
        for (uint32_t m = 0; m < clients[i].accepted_msgs; m += 10) {
            char path[100];
            int status;
            fmt(path, sizeof path, "/v1/messages/%s", clients[i].ids[m]);
            json_decref(rig_ask(&rig, "GET", path, "", &status));
            CHECK(status == 200, "%s was acknowledged: %d", clients[i].ids[m], status);
            found++;
        }
    }
    CHECK(found > 0);
    CHECK((uint64_t)rig_figure(&rig, "/v1/stats", "spool", "accepted_messages") >= accepted);
    check_balance(&rig);
    rig_stop(&rig);
    free_clients(clients);
    rig_done(&rig);
}
