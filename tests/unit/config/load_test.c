/* SPDX-License-Identifier: Apache-2.0
 *
 * load_test.c - files and what hangs on them: includes, credentials.d, domains.d, keys, secrets.
 */
#include "core/str.h"
#include "rig.h"

#include <sys/stat.h>
#include <unistd.h>

static const char head[] = "hostname = \"mail.example.com\"\n";

TEST(an_include_is_relative_to_the_file_that_names_it)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "part/a.inc", 0600, STR("include(\"b.inc\")\ndata-dir = \"here\"\n"));
    rig_write(&rig, "part/b.inc", 0600, STR("rcpt-count-max = 200\n"));
    REQUIRE_OK(rig_load_text(&rig, "hostname = m.example\ninclude(\"part/a.inc\")\n"));
    CHECK_U64(rig.config->rcpt_count_max, 200);
    CHECK(str_ends_nocase(rig.config->data_dir, STR("/part/here")));
    CHECK(rig.config->data_dir.ptr[0] == '/');
    rig_end(&rig);
}

TEST(a_fault_in_an_included_file_is_named_with_its_file_and_line)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "a.inc", 0600, STR("\n\nrcpt-count-max = 7\n"));
    CHECK_ERR(rig_load_text(&rig, "hostname = m.example\ninclude(\"a.inc\")\n"), E_SYNTAX);
    CHECK_FAULTS(&rig, "a.inc:3: rcpt-count-max: \"7\" is out of range: 100 to 10000\n");
    rig_end(&rig);
}

TEST(a_setting_in_two_files_is_set_twice)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "a.inc", 0600, STR("log-json = yes\n"));
    CHECK_ERR(rig_load_text(&rig, "hostname = m.example\ninclude(\"a.inc\")\nlog-json = no\n"),
            E_SYNTAX);
    CHECK_FAULTS(&rig, "outpost.conf:3: log-json is set twice: first in a.inc, line 1\n");
    rig_end(&rig);
}

TEST(credentials_and_domains_beside_the_file_are_read)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "credentials.d/b.conf", 0600, STR("credential \"b\" { }\n"));
    rig_write(&rig, "credentials.d/a.conf", 0600, STR("credential \"a\" { }\n"));
    rig_write(&rig, "credentials.d/.new-1", 0600, STR("nonsense"));
    rig_write(&rig, "credentials.d/c.conf~", 0600, STR("nonsense"));
    rig_write(&rig, "domains.d/x.conf", 0600,
            STR("domain \"x.example\" { dkim \"s\" { key = \"x.pem\" } }\n"));
    rig_write_key(&rig, "domains.d/x.pem", 0600, KEY_ED25519, 0);
    REQUIRE_OK(rig_load_text(&rig, head));
    CHECK_FAULTS(&rig, "");
    CHECK_U64(rig.config->credential_count, 2);
    CHECK(config_credential(rig.config, STR("a")) != NULL);
    CHECK(config_credential(rig.config, STR("c")) == NULL);
    const struct config_domain *domain = config_domain_for(rig.config, STR("x.example"));
    CHECK(domain && domain->key_count == 1);
    CHECK(key_kind(domain->key[0].key) == KEY_ED25519);
    CHECK_STR(domain->key[0].selector, STR("s"));
    rig_write(&rig, "credentials.d/d.conf", 0600, STR("\ncredential \"a\" { }\n"));
    CHECK_ERR(rig_load(&rig), E_SYNTAX);
    CHECK(str_starts(
            buf_str(&rig.faults), STR("credentials.d/d.conf:2: credential \"a\" is given twice")));
    rig_end(&rig);
}

TEST(text_in_memory_does_not_read_the_directories_beside_it)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "credentials.d/a.conf", 0600, STR("credential \"a\" { }\n"));
    REQUIRE_OK(rig_parse(&rig, head));
    CHECK_U64(rig.config->credential_count, 0);
    rig_end(&rig);
}

TEST(a_file_that_cannot_be_read_is_told_from_a_bad_one)
{
    struct rig rig;
    rig_begin(&rig);
    CHECK_ERR(rig_load(&rig), E_NOT_FOUND);
    CHECK(str_ends_nocase(
            buf_str(&rig.faults), STR("cannot be read: No such file or directory\n")));
    CHECK(mkdir(rig.path, 0700) == 0);
    CHECK_ERR(rig_load(&rig), E_IO);
    CHECK(rmdir(rig.path) == 0);
    CHECK(mkfifo(rig.path, 0600) == 0);
    CHECK_ERR(rig_load(&rig), E_IO); /* and does not wait for a writer */
    rig_end(&rig);
}

TEST(a_pathless_name_is_in_the_working_directory)
{
    struct rig rig;
    rig_begin(&rig);
    struct config *config = NULL;
    struct str text = STR("hostname = m.example\ndata-dir = \"x\"\ncontrol = \"./y\"\n");
    REQUIRE_OK(config_parse(text, STR("in-memory.conf"), &config, rig.report));
    CHECK_STR(config->data_dir, STR("x"));
    CHECK_STR(config->control_path, STR("./y"));
    CHECK_STR(config->path, STR("in-memory.conf"));
    config_give(config);
    REQUIRE_OK(config_parse(text, STR("/root.conf"), &config, rig.report));
    CHECK_STR(config->data_dir, STR("/x"));
    CHECK_STR(config->control_path, STR("/y"));
    config_give(config);
    rig_end(&rig);
}

/* ---- keys ---- */

static const char with_key[] = "hostname = \"mail.example.com\"\n"
                               "domain \"example.com\" { dkim \"s\" { key = \"k.pem\" } }\n";

TEST(a_listener_that_lets_nobody_send_is_warned_of_with_the_next_step)
{
    struct rig rig;
    rig_begin(&rig);
    REQUIRE_OK(rig_load_text(&rig,
            "hostname = \"mail.example.com\"\n"
            "listen \"a\" { address = { \"127.0.0.1:2525\" } networks = { \"127.0.0.0/8\" } }\n"
            "listen \"b\" { address = { \"127.0.0.1:2526\" } auth = required auth-in-clear = yes "
            "}\n"
            "listen \"c\" { address = { \"127.0.0.1:2527\" } }\n"));
    CHECK_FAULTS(&rig,
            "outpost.conf:4: warning: listen \"c\" lets nobody send: add networks = { "
            "\"127.0.0.0/8\" } for clients that need no login, or tls and auth = required\n");
    rig_end(&rig);
}

TEST(a_key_is_judged_by_its_strength)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write_key(&rig, "k.pem", 0600, KEY_RSA, 2048);
    REQUIRE_OK(rig_load_text(&rig, with_key));
    CHECK_FAULTS(&rig, "");
    CHECK_U64(key_bits(rig.config->domain[0].key[0].key), 2048);
    rig_write_key(&rig, "k.pem", 0600, KEY_RSA, 1024);
    REQUIRE_OK(rig_load(&rig));
    CHECK_FAULTS(
            &rig, "outpost.conf:2: warning: key: 1024 bits; 2048 are advised (RFC 8301 3.2)\n");
    rig_end(&rig);
}

TEST(a_key_that_others_may_write_is_refused)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write_key(&rig, "k.pem", 0660, KEY_ED25519, 0);
    CHECK_ERR(rig_load_text(&rig, with_key), E_SYNTAX);
    CHECK(str_starts(buf_str(&rig.faults), STR("outpost.conf:2: key: ")));
    CHECK(str_ends_nocase(buf_str(&rig.faults), STR("may be written by others: chmod go-w\n")));
    rig_write_key(&rig, "k.pem", 0644, KEY_ED25519, 0);
    REQUIRE_OK(rig_load(&rig));
    CHECK(str_ends_nocase(buf_str(&rig.faults), STR("may be read by everyone: chmod o-r\n")));
    CHECK(rig.report->fault[0].is_warning);
    rig_end(&rig);
}

TEST(what_is_no_key_is_refused)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "k.pem", 0600,
            STR("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"));
    CHECK_ERR(rig_load_text(&rig, with_key), E_SYNTAX);
    CHECK(str_find(buf_str(&rig.faults), STR("k.pem: ")) < rig.faults.len);
    CHECK_U64(rig.report->fault_count, 1);
    rig_end(&rig);
}

/* ---- secrets ---- */

static const char with_secret[] = "hostname = \"mail.example.com\"\n"
                                  "credential \"shop\" { secret-file = \"shop.secret\" }\n";

TEST(a_secret_file_holds_the_password_or_its_hash)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "shop.secret", 0640, STR("correct horse\r\nsecond line\n"));
    REQUIRE_OK(rig_load_text(&rig, with_secret));
    struct str hash = config_credential(rig.config, STR("shop"))->password_hash;
    CHECK(password_is_hash(hash));
    CHECK(password_verify(STR("correct horse"), hash));
    CHECK(!password_verify(STR("correct"), hash));
    struct buf text;
    buf_init(&text, 4096);
    buf_add(&text, hash);
    rig_write(&rig, "shop.secret", 0600, buf_str(&text));
    REQUIRE_OK(rig_load(&rig));
    CHECK_STR(config_credential(rig.config, STR("shop"))->password_hash, buf_str(&text));
    buf_done(&text);
    rig_end(&rig);
}

TEST(a_secret_that_others_may_read_is_refused)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "shop.secret", 0644, STR("x\n"));
    CHECK_ERR(rig_load_text(&rig, with_secret), E_SYNTAX);
    CHECK(str_ends_nocase(
            buf_str(&rig.faults), STR("may be read or written by others: chmod 640 or less\n")));
    rig_write(&rig, "shop.secret", 0600, STR("\nsecret\n"));
    CHECK_ERR(rig_load(&rig), E_SYNTAX);
    CHECK(str_find(buf_str(&rig.faults), STR("is no password")) < rig.faults.len);
    rig_end(&rig);
}

TEST(a_hash_and_a_secret_file_are_one_too_many)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "s", 0600, STR("x\n"));
    CHECK_ERR(rig_load_text(&rig, "hostname = m.example\ncredential \"a\" { secret-file = \"s\"\n"
                                  "password-hash = \"$y$j9T$R6oNaXpoDFUG/jiQG1N2m1$fonJM691PEDApK"
                                  "CktMn57XNUSNwXK/sDJYx1y.S4OU1\" }\n"),
            E_SYNTAX);
    CHECK_FAULTS(&rig, "outpost.conf:2: password-hash and secret-file: one of them\n");
    rig_end(&rig);
}

TEST(a_password_with_a_nul_is_refused)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "shop.secret", 0600, str_of("a\0b\n", 4));
    CHECK_ERR(rig_load_text(&rig, with_secret), E_SYNTAX);
    CHECK(str_find(buf_str(&rig.faults), STR("cannot be hashed: usage")) < rig.faults.len);
    rig_end(&rig);
}

TEST(the_password_of_a_route_comes_from_its_file)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "pw", 0600, STR("s3cret\n"));
    REQUIRE_OK(rig_load_text(&rig,
            "hostname = m.example\nroute \"*\" { to = relay.example  tls = verified\n"
            "username = me  password-file = \"pw\" }\n"
            "route \"b.example\" { to = \"127.0.0.1:25\" username = me\n"
            "password-file = \"pw\" }\n"));
    CHECK_FAULTS(&rig, ""); /* to loopback also without TLS */
    const struct config_route *route = config_route_for(rig.config, STR("any.example"));
    CHECK_STR(route->username, STR("me"));
    CHECK_STR(route->password, STR("s3cret"));
    rig_end(&rig);
}

/* ---- memory ---- */

TEST(no_memory_at_any_step_is_an_error_and_no_leak)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write(&rig, "credentials.d/a.conf", 0600, STR("credential \"a\" { }\n"));
    rig_write(&rig, "b.inc", 0600, STR("listen \"b\" { address = { \"127.0.0.1:25\" } }\n"));
    rig_write_key(&rig, "k.pem", 0600, KEY_ED25519, 0);
    rig_write(&rig, "outpost.conf", 0600,
            STR("hostname = m.example\ninclude(\"b.inc\")\nresolver = { \"192.0.2.1\" }\n"
                "domain \"example.com\" { dkim \"s\" { key = \"k.pem\" } }\n"
                "source \"a\" { }\npool \"p\" { sources = { \"a\" } }\n"
                "listen \"c\" { address = \"127.0.0.1:26\" tls = starttls\n"
                "cert = \"c.pem\" key = \"c.key\" }\n"
                "route \"[IPv6:::1]\" { to = { a.example, \"10.0.0.1\" } }\nroute \"*\" { to = b "
                "}\n"));
    struct buf pem;
    read_data("tests/data/tls/mx.pem", &pem);
    rig_write(&rig, "c.pem", 0600, buf_str(&pem));
    buf_done(&pem);
    read_data("tests/data/tls/mx.key", &pem);
    rig_write(&rig, "c.key", 0600, buf_str(&pem));
    buf_done(&pem);
    enum err err = E_NOMEM;
    uint64_t step = 1;
    for (; err != OK && step < 5000; step++) {
        struct config *config = NULL;
        mem_fail_at(step);
        err = config_load(rig.path, &config, rig.report);
        mem_fail_at(0);
        CHECK(err == OK || err == E_NOMEM, "step %llu: %s", (unsigned long long)step,
                err_name(err));
        config_give(config);
    }
    CHECK(step > 20 && step < 5000, "%llu steps", (unsigned long long)step);
    rig_end(&rig);
}

TEST(services_stand_within_their_domain_beside_its_keys)
{
    struct config *config = NULL;
    struct config_report *report = mem_new(sizeof *report);
    REQUIRE_OK(config_load("tests/data/config/good/full.conf", &config, report));
    const struct config_domain *domain = config_domain_for(config, STR("example.com"));
    CHECK(domain != NULL);
    CHECK_STR(domain->bounce, STR("bounce.example.com"));
    CHECK_U64(domain->key_count, 0);
    CHECK_U64(domain->service_count, 2);
    CHECK_STR(domain->service[0].name, STR("newsletter"));
    CHECK_STR(domain->service[0].spf, STR("include:_spf.news.example"));
    CHECK_U64(domain->service[0].selector_count, 2);
    CHECK_STR(domain->service[1].selector[0], STR("s1"));
    config_give(config);
    config_report_done(report);
    mem_free(report);
}
