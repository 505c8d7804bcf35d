/* SPDX-License-Identifier: Apache-2.0
 *
 * config_test.c - the snapshot: defaults, look-ups, references.
 */
#include "core/str.h"
#include "rig.h"

static const char full_path[] = "tests/data/config/good/full.conf";

static struct config *load_good(const char *path)
{
    struct config *config = NULL;
    struct config_report *report = mem_new(sizeof *report);
    struct buf text;
    buf_init(&text, 65536);
    enum err err = config_load(path, &config, report);
    config_report_print(report, &text);
    CHECK(err == OK, "%s: %.*s", path, STR_ARG(buf_str(&text)));
    CHECK_U64(report->fault_count, 0);
    config_report_done(report);
    mem_free(report);
    buf_done(&text);
    return config;
}

TEST(a_host_name_is_enough_and_the_rest_has_defaults)
{
    struct rig rig;
    rig_begin(&rig);
    REQUIRE_OK(rig_parse(&rig, "hostname = Mail.Example.com"));
    const struct config *config = rig.config;
    CHECK_STR(config->hostname, STR("mail.example.com"));
    CHECK_STR(config->data_dir, STR("/var/lib/outpost"));
    CHECK_STR(config->resolver, STR(""));
    CHECK_STR(config->log_to, STR("stdout"));
    CHECK(!config->is_sandbox && config->is_log_postfix && !config->is_log_json);
    CHECK_U64(config->message_bytes_max, 50 << 20);
    CHECK_U64(config->rcpt_count_max, 1000);
    CHECK_U64(config->command_ms_max, 300000);
    CHECK_U64(config->data_rate_min_bytes_per_s, 500);
    CHECK_U64(config->memory_bytes_max, 64 << 20);
    CHECK_U64(config->slot_bytes, 64 << 20);
    CHECK_U64(config->history_bytes_max, UINT64_C(20) << 30);
    CHECK_U64(config->listen_count, 0);
    CHECK_U64(config->stream_count, 3);
    const struct config_stream *stream = config_stream(config, STR("transactional"));
    CHECK(stream == &config->stream[0]);
    CHECK_U64(stream->retry_first_ms, 5 * 60000);
    CHECK_U64(stream->retry_max_ms, 4 * 3600000);
    CHECK_U64(stream->give_up_ms, 5 * 86400000);
    CHECK(!stream->is_signed && !stream->is_in_doubt_held && !stream->is_dsn_off);
    rig_end(&rig);
}

TEST(every_setting_reaches_its_field)
{
    struct config *config = load_good(full_path);
    CHECK_STR(config->resolver, STR("192.0.2.53,[2001:db8::1]:5353"));
    CHECK_STR(config->ca_file, STR("tests/data/config/good/a\\b\"c$d.pem"));
    CHECK_STR(config->log_to, STR("tests/data/config/good/log/mail.log"));
    CHECK(!config->is_log_postfix && config->is_log_json);
    CHECK_U64(config->sandbox_catcher.port, 2526);
    CHECK_U64(config->slot_bytes, 3072 << 10);
    CHECK_U64(config->connection_idle_ms, 250);
    CHECK(config->outbound_tls == CONFIG_DEST_TLS_REQUIRED);
    const struct config_stream *news = config_stream(config, STR("news"));
    CHECK(news && news->is_signed && news->is_in_doubt_held && news->is_dsn_off);
    CHECK_U64(news->give_up_ms, 2 * 86400000);
    const struct config_credential *app = config_credential(config, STR("app@example.com"));
    CHECK(app && app->stream_count == 2 && app->from_count == 0);
    CHECK_STR(app->stream[0], STR("news"));
    CHECK_U64(app->scram_stored_key.len, 32);
    CHECK_U64(app->scram_salt.len, 16);
    CHECK_U64(app->scram_iterations, 5000);
    const struct config_credential *net = config_credential(config, STR("net"));
    CHECK(net && net->password_hash.len == 0);
    CHECK_STR(net->from[1], STR("xn--bcher-kva.example"));
    CHECK_U64(config->source_count, 2);
    CHECK_STR(config->source[0].ehlo, STR("a.mail.example.com"));
    CHECK_STR(config->source[1].ehlo, STR("mail.example.com"));
    CHECK(config->source[1].address.family == IP_NONE);
    const struct config_pool *pool = config_pool(config, STR("main"));
    CHECK(pool && pool->source_count == 2);
    CHECK_U64(pool->source[0], 0);
    CHECK_U64(pool->weight[0], 3);
    CHECK_U64(pool->source[1], 1);
    CHECK_U64(pool->weight[1], 1);
    CHECK(config_pool(config, STR("none")) == NULL);
    config_give(config);
}

TEST(a_listener_knows_its_addresses_and_rules)
{
    struct config *config = load_good(full_path);
    const struct config_listen *local = &config->listen[0], *login = &config->listen[1],
                               *tls = &config->listen[2];
    CHECK_STR(local->name, STR("local"));
    CHECK_U64(local->address_count, 2);
    CHECK_U64(local->address[1].port, 2525);
    CHECK_U64(local->network_count, 2);
    CHECK_U64(local->network[1].prefix_bits, 128);
    CHECK_STR(local->network_credential, STR("net"));
    CHECK(local->is_client_hidden && !local->tls_context && local->auth == CONFIG_AUTH_NONE);
    CHECK(login->is_auth_in_clear && !login->is_tls_required);
    CHECK(login->auth == CONFIG_AUTH_REQUIRED);
    CHECK(tls->tls == CONFIG_TLS_STARTTLS && tls->tls_context && tls->is_tls_required);
    CHECK(tls->cert_count == 2 && tls->key_count == 2);
    config_give(config);
}

TEST(the_design_example_is_good)
{
    config_give(load_good("tests/data/config/good/design.conf"));
    struct config *config = load_good("tests/data/config/good/windows.conf");
    CHECK(config->is_log_json);
    config_give(config);
}

TEST(a_domain_is_found_from_the_names_below_it)
{
    struct rig rig;
    rig_begin(&rig);
    rig_write_key(&rig, "k.pem", 0600, KEY_ED25519, 0);
    REQUIRE_OK(rig_parse(&rig,
            "hostname = m.example\n"
            "domain \"example.com\" { dkim \"s\" { key = \"k.pem\" } }\n"
            "domain \"no-key.example.com\" { }\n"
            "domain \"bare.example\" { }\n"
            "domain \"b.example.com\" { dkim \"t\" { key = \"k.pem\" } dkim \"u\" { key = "
            "\"k.pem\" } }\n"));
    const struct config *config = rig.config;
    CHECK_STR(config_domain_for(config, STR("example.com"))->name, STR("example.com"));
    CHECK_STR(config_domain_for(config, STR("A.Example.COM."))->name, STR("example.com"));
    CHECK_STR(config_domain_for(config, STR("x.b.example.com"))->name, STR("b.example.com"));
    CHECK_U64(config_domain_for(config, STR("b.example.com"))->key_count, 2);
    /* The nearest with a key; without any, the nearest. */
    CHECK_STR(config_domain_for(config, STR("no-key.example.com"))->name, STR("example.com"));
    CHECK_STR(config_domain_for(config, STR("x.bare.example"))->name, STR("bare.example"));
    CHECK(config_domain_for(config, STR("notexample.com")) == NULL);
    CHECK(config_domain_for(config, STR("com")) == NULL);
    CHECK(config_domain_for(config, STR("")) == NULL);
    char long_name[400];
    memset(long_name, 'a', sizeof long_name);
    CHECK(config_domain_for(config, str_of(long_name, sizeof long_name)) == NULL);
    rig_end(&rig);
}

TEST(a_route_is_exact_or_the_star)
{
    struct rig rig;
    rig_begin(&rig);
    REQUIRE_OK(rig_parse(
            &rig, "hostname = m.example\nroute \"Partner.example\" { to = h.example }\n"));
    CHECK_STR(config_route_for(rig.config, STR("PARTNER.example"))->to[0], STR("h.example:25"));
    CHECK(config_route_for(rig.config, STR("x.partner.example")) == NULL);
    REQUIRE_OK(rig_parse(&rig, "hostname = m.example\nroute \"a.example\" { to = h.example }\n"
                               "route \"[IPv6:2001:DB8::1]\" { to = \"2001:db8::2\" }\n"
                               "route \"*\" { to = \"smart.example:587\" }\n"));
    CHECK_STR(config_route_for(rig.config, STR("other.example"))->domain, STR("*"));
    CHECK_STR(config_route_for(rig.config, STR("a.example"))->domain, STR("a.example"));
    CHECK_STR(config_route_for(rig.config, STR("[IPv6:2001:db8::1]"))->to[0],
            STR("[2001:db8::2]:25"));
    rig_end(&rig);
}

TEST(many_names_are_all_found)
{
    struct buf text;
    struct rig rig;
    rig_begin(&rig);
    buf_init(&text, 1 << 20);
    buf_add_c(&text, "hostname = m.example\n");
    for (int i = 0; i < 1000; i++) {
        buf_addf(&text,
                "domain d%d.example { }\ncredential c%d { }\nroute r%d.example { to = h }\n", i, i,
                i);
    }
    buf_add_char(&text, '\0');
    REQUIRE_OK(rig_parse(&rig, text.ptr));
    for (int i = 0; i < 1000; i++) {
        char name[32];
        fmt(name, sizeof name, "d%d.example", i);
        CHECK_STR(config_domain_for(rig.config, str_from_c(name))->name, str_from_c(name));
        fmt(name, sizeof name, "c%d", i);
        CHECK_STR(config_credential(rig.config, str_from_c(name))->name, str_from_c(name));
        fmt(name, sizeof name, "r%d.example", i);
        CHECK_STR(config_route_for(rig.config, str_from_c(name))->domain, str_from_c(name));
    }
    buf_done(&text);
    rig_end(&rig);
}

TEST(a_snapshot_lives_as_long_as_somebody_holds_it)
{
    struct config *config = load_good(full_path);
    CHECK(config_take(config) == config);
    config_give(config);
    CHECK_STR(config->hostname, STR("mail.example.com"));
    config_give(config);
    config_give(NULL);
}

TEST(the_built_in_sandbox_needs_no_file)
{
    struct config *config = NULL;
    struct config_report *report = mem_new(sizeof *report);
    REQUIRE_OK(config_load_sandbox(NULL, &config, report));
    CHECK(config->is_sandbox);
    CHECK_STR(config->hostname, STR("sandbox.localhost"));
    CHECK_STR(config->data_dir, STR("var"));
    CHECK_STR(config->control_path, STR("var/control.sock"));
    CHECK_U64(config->slot_bytes, 4 << 20);
    CHECK_U64(config->listen_count, 1);
    CHECK_U64(config->listen[0].address[0].port, 2525);
    CHECK(ip_is_loopback(config->listen[0].address[0].ip));
    CHECK_U64(config->listen[0].network[0].prefix_bits, 8);
    CHECK(ip_in(config->listen[0].address[0].ip, &config->listen[0].network[0]));
    config_give(config);
    mem_free(report);
}

TEST(a_file_can_be_loaded_as_a_sandbox_and_keeps_what_it_says)
{
    struct rig rig;
    rig_begin(&rig);
    struct config *config = NULL;
    rig_write(&rig, "outpost.conf", 0600,
            STR("hostname = m.example\nsandbox = no\nslot-bytes = 8M\nsource \"s\" { address = "
                "\"192.0.2.99\" }\n"
                "listen \"x\" { address = \"127.0.0.1:2599\" }\n"));
    REQUIRE_OK(config_load_sandbox(rig.path, &config, rig.report));
    CHECK(config->is_sandbox);
    CHECK_U64(config->slot_bytes, 8 << 20);
    CHECK_STR(config->listen[0].name, STR("x"));
    config_give(config);
    CHECK_ERR(rig_load(&rig), E_SYNTAX); /* outside, 192.0.2.99 must be ours */
    CHECK_ERR(config_load_sandbox("/nonexistent/x.conf", &config, rig.report), E_NOT_FOUND);
    rig_end(&rig);
}

TEST(a_name_without_a_dot_is_warned_of)
{
    struct rig rig;
    rig_begin(&rig);
    REQUIRE_OK(rig_parse(&rig, "\nhostname = mail\n"));
    CHECK_FAULTS(&rig,
            "outpost.conf:2: warning: hostname \"mail\" is not fully qualified (RFC 5321 "
            "4.1.1.1): many servers refuse it\n");
    rig_end(&rig);
}

TEST(without_a_name_the_host_is_asked)
{
    struct rig rig;
    rig_begin(&rig);
    enum err err = rig_parse(&rig, "log-json = yes\n");
    if (err == OK) {
        CHECK(str_index(rig.config->hostname, '.') < rig.config->hostname.len);
    } else {
        CHECK(str_starts(buf_str(&rig.faults), STR("outpost.conf: hostname is not set")));
    }
    rig_end(&rig);
}

TEST(more_sessions_an_address_mean_as_many_a_network)
{
    struct config *config = NULL;
    struct config_report report = { 0 };
    REQUIRE_OK(config_parse(STR("hostname = m.example.com\nconnection-per-ip-max = 1000\n"),
            STR("test"), &config, &report));
    CHECK_U64(config->connection_per_net_max, 1000);
    config_give(config);
    config_report_done(&report);
}
