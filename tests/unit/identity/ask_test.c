/* SPDX-License-Identifier: Apache-2.0
 *
 * ask_test.c - engines over a resolver: answers, time limit, late answers, cancelling.
 */
#include "core/buf.h"
#include "core/list.h"
#include "core/str.h"
#include "edge/clock.h"
#include "identity/identity.h"
#include "mail/spf.h"
#include "tests/test.h"

#include <stdlib.h>
#include <unistd.h>

/* A resolver that answers when it is told to, and a clock that is set by hand. */
struct fake {
    struct dns dns;
    struct clock clock;
    struct mono now;
    struct {
        char name[DNS_NAME_CAP];
        enum dns_type type;
        dns_answered *answered;
        void *ctx;
    } open[8];
    uint32_t open_count;
    enum err refuse;
};

static struct mono fake_mono(struct clock *clock)
{
    return CONTAINER_OF(clock, struct fake, clock)->now;
}

static enum err fake_ask(
        struct dns *dns, struct str name, enum dns_type type, dns_answered *answered, void *ctx)
{
    struct fake *fake = CONTAINER_OF(dns, struct fake, dns);
    if (fake->refuse != OK) {
        return fake->refuse;
    }
    CHECK(fake->open_count < COUNT_OF(fake->open));
    CHECK(str_to_c(name, fake->open[fake->open_count].name, DNS_NAME_CAP));
    fake->open[fake->open_count].type = type;
    fake->open[fake->open_count].answered = answered;
    fake->open[fake->open_count++].ctx = ctx;
    return OK;
}

static const struct dns_ops fake_ops = { .ask = fake_ask };

static void fake_init(struct fake *fake)
{
    *fake = (struct fake){ .dns = { &fake_ops }, .clock = { .mono = fake_mono }, .now = { 1000 } };
}

/* Answers the oldest question: text NULL is the status alone. */
static void fake_answer(struct fake *fake, enum dns_status status, const char *text)
{
    struct dns_record record[2] = { { .type = DNS_CNAME, .data = STR("alias.example") },
        { .type = DNS_TXT, .data = str_from_c(text) } };
    struct dns_answer answer = { .status = status, .record = record, .why = "" };
    answer.record_count = text != NULL ? 2 : 0;
    CHECK(fake->open_count > 0, "nothing was asked");
    dns_answered *answered = fake->open[0].answered;
    void *ctx = fake->open[0].ctx;
    fake->open_count--;
    memmove(&fake->open[0], &fake->open[1], fake->open_count * sizeof fake->open[0]);
    answered(ctx, &answer);
}

struct rig {
    struct fake fake;
    struct identity_asker *asker;
    struct spf *spf;
    struct identity_engine engine;
    uint32_t done_count;
};

static void on_done(void *ctx)
{
    ((struct rig *)ctx)->done_count++;
}

static void rig_open(struct rig *rig, const char *mail_from)
{
    *rig = (struct rig){ .done_count = 0 };
    fake_init(&rig->fake);
    struct spf_params params = { .ip = { IP_V4, { 192, 0, 2, 1 } },
        .mail_from = str_from_c(mail_from) };
    REQUIRE_OK(spf_begin(&params, &rig->spf));
    REQUIRE_OK(identity_asker_open(&rig->fake.dns, &rig->fake.clock, &rig->asker));
    rig->engine = (struct identity_engine){ rig->spf, spf_question, spf_answer };
}

static void rig_begin(struct rig *rig, struct identity_ask **ret_ask)
{
    REQUIRE_OK(identity_ask(rig->asker, &rig->engine, 0, on_done, rig, ret_ask));
}

static enum spf_result rig_close(struct rig *rig)
{
    enum spf_result result = spf_verdict(rig->spf)->result;
    identity_asker_close(rig->asker);
    spf_free(rig->spf);
    return result;
}

TEST(an_engine_is_brought_its_answers_and_its_end_is_told_once)
{
    struct rig rig;
    struct identity_ask *ask;
    rig_open(&rig, "u@a.example");
    rig_begin(&rig, &ask);
    CHECK(ask != NULL);
    CHECK(rig.fake.open[0].type == DNS_TXT && strcmp(rig.fake.open[0].name, "a.example") == 0);
    fake_answer(&rig.fake, DNS_FOUND, "v=spf1 redirect=b.example");
    CHECK_U64(rig.done_count, 0);
    fake_answer(&rig.fake, DNS_FOUND, "v=spf1 ip4:192.0.2.0/24 -all");
    CHECK_U64(rig.done_count, 1);
    CHECK_U64(identity_asker_tick(rig.asker).ms, 0);
    CHECK(rig_close(&rig) == SPF_PASS);
}

TEST(an_engine_without_a_question_is_done_at_once)
{
    struct rig rig;
    struct identity_ask *ask;
    rig_open(&rig, "u@localhost");
    rig_begin(&rig, &ask);
    CHECK(ask == NULL && rig.done_count == 1 && rig.fake.open_count == 0);
    CHECK(rig_close(&rig) == SPF_NONE);
}

TEST(whatever_dns_fails_with_is_never_an_absence)
{
    static const enum dns_status status[] = { DNS_SERVFAIL, DNS_TIMEOUT, DNS_BOGUS };
    for (size_t i = 0; i < COUNT_OF(status); i++) {
        struct rig rig;
        rig_open(&rig, "u@a.example");
        rig_begin(&rig, NULL);
        fake_answer(&rig.fake, status[i], NULL);
        CHECK_U64(rig.done_count, 1);
        CHECK(rig_close(&rig) == SPF_TEMPERROR, "status %u", (unsigned)status[i]);
    }
    static const enum err refuse[] = { E_FULL, E_NOMEM, E_IO, E_SYNTAX };
    for (size_t i = 0; i < COUNT_OF(refuse); i++) {
        struct rig rig;
        rig_open(&rig, "u@a.example");
        rig.fake.refuse = refuse[i];
        rig_begin(&rig, NULL);
        CHECK_U64(rig.done_count, 1);
        CHECK(rig_close(&rig) == (refuse[i] == E_SYNTAX ? SPF_NONE : SPF_TEMPERROR));
    }
}

TEST(an_answer_that_was_cut_is_no_absence_of_what_may_be_cut_off)
{
    struct identity_desk *desk;
    struct why why = { "" };
    struct spf *spf;
    struct buf zone;
    char path[] = "/tmp/outpost-ask-XXXXXX";
    buf_init(&zone, 1 << 20);
    for (uint32_t i = 0; i < DNS_RECORD_COUNT_MAX; i++) {
        buf_addf(&zone, "many.example. TXT \"other %u\"\n", (unsigned)i);
    }
    buf_add_c(&zone, "many.example. TXT \"v=spf1 +all\"\n");
    int fd = mkstemp(path);
    CHECK(write(fd, zone.ptr, zone.len) == (ssize_t)zone.len);
    close(fd);
    REQUIRE_OK(identity_desk_open(path, STR(""), &desk, &why));
    unlink(path);
    struct spf_params params = { .mail_from = STR("a@many.example") };
    REQUIRE_OK(ip_parse(STR("192.0.2.1"), &params.ip));
    REQUIRE_OK(spf_begin(&params, &spf));
    struct identity_engine engine = { spf, spf_question, spf_answer };
    REQUIRE_OK(identity_desk_ask(desk, &engine));
    CHECK_U64(spf_verdict(spf)->result, SPF_TEMPERROR);
    spf_free(spf);
    identity_desk_close(desk);
    buf_done(&zone);
}

TEST(found_without_a_record_of_the_type_is_no_data)
{
    struct rig rig;
    rig_open(&rig, "u@a.example");
    rig_begin(&rig, NULL);
    fake_answer(&rig.fake, DNS_FOUND, NULL);
    CHECK(rig_close(&rig) == SPF_NONE);
}

/* RFC 7208 4.6.4 */
TEST(g1_after_twenty_seconds_it_could_not_be_told_and_a_late_answer_changes_nothing)
{
    struct rig rig;
    rig_open(&rig, "u@a.example");
    rig_begin(&rig, NULL);
    fake_answer(&rig.fake, DNS_FOUND, "v=spf1 a:b.example a:c.example -all");
    CHECK_U64(identity_asker_tick(rig.asker).ms, 1000 + IDENTITY_ASK_MS_MAX);
    rig.fake.now.ms = 1000 + IDENTITY_ASK_MS_MAX - 1;
    CHECK_U64(identity_asker_tick(rig.asker).ms, 1000 + IDENTITY_ASK_MS_MAX);
    CHECK_U64(rig.done_count, 0);
    rig.fake.now.ms++;
    CHECK_U64(identity_asker_tick(rig.asker).ms, 0);
    CHECK_U64(rig.done_count, 1);
    CHECK(spf_verdict(rig.spf)->result == SPF_TEMPERROR);
    fake_answer(&rig.fake, DNS_NXDOMAIN, NULL);
    CHECK_U64(rig.done_count, 1);
    CHECK(rig_close(&rig) == SPF_TEMPERROR);
}

TEST(a_cancelled_engine_is_not_touched_again)
{
    struct rig rig;
    struct identity_ask *ask;
    rig_open(&rig, "u@a.example");
    rig_begin(&rig, &ask);
    identity_ask_cancel(ask);
    identity_ask_cancel(NULL);
    fake_answer(&rig.fake, DNS_NXDOMAIN, NULL);
    rig_begin(&rig, &ask);
    CHECK_U64(rig.done_count, 0);
    (void)rig_close(&rig); /* with a question open */
    CHECK_U64(rig.done_count, 0);
}

TEST(a_desk_asks_a_zone_file_for_several_at_once)
{
    struct identity_desk *desk;
    struct why why;
    struct spf *spf[2];
    struct rig rig = { .done_count = 0 };
    CHECK_ERR(identity_desk_open("tests/data/zone/none.zone", STR(""), &desk, &why), E_NOT_FOUND);
    REQUIRE_OK(identity_desk_open("tests/data/zone/odd.zone", STR(""), &desk, &why));
    for (size_t i = 0; i < COUNT_OF(spf); i++) {
        struct spf_params params = { .ip = { IP_V4, { 192, 0, 2, 1 } },
            .mail_from = i == 0 ? STR("u@joined.odd.example") : STR("u@silent.odd.example") };
        REQUIRE_OK(spf_begin(&params, &spf[i]));
        struct identity_engine engine = { spf[i], spf_question, spf_answer };
        REQUIRE_OK(identity_ask(identity_desk_asker(desk), &engine, 0, on_done, &rig, NULL));
    }
    identity_desk_run(desk);
    CHECK_U64(rig.done_count, 2);
    CHECK(spf_verdict(spf[0])->result == SPF_FAIL);
    CHECK(spf_verdict(spf[1])->result == SPF_TEMPERROR);
    spf_free(spf[0]);
    spf_free(spf[1]);
    identity_desk_close(desk);
}
