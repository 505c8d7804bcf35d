/* SPDX-License-Identifier: Apache-2.0
 *
 * check.c - what settings mean together: what is missing, what contradicts, what is referred to,
 * and the files that settings name.
 *
 * Also fills in defaults that depend on other settings. Goes on after each fault, so that all are
 * found; a setting that was refused by itself counts as set, so that nothing follows from it.
 */
#include "config/load_priv.h"

#include "core/str.h"
#include "core/time.h"
#include "edge/net.h"
#include "mail/domain.h"

#include <unistd.h>

enum {
    DKIM_RSA_BITS_MIN = 1024,     /* RFC 8301 3.2 */
    DKIM_RSA_BITS_ADVISED = 2048, /* RFC 8301 3.2 */
    NETWORK_V4_BITS_MIN = 8,      /* 10.0.0.0/8; wider is an open relay (hostile-input B2) */
    NETWORK_V6_BITS_MIN = 7,      /* fc00::/7 */
    MODE_OTHERS_READ = 0004,
    MODE_OTHERS_WRITE = 0022,
    SANDBOX_SLOT_BYTES = 4 << 20,
    ROTATE_MS_MIN = 7 * 86400 * 1000
};

static struct str object_name(const struct load *load, enum section section, uint32_t index)
{
    struct str title;
    memcpy(&title, load_object(load, section, index), sizeof title);
    return title;
}

#define fault_in(load, section, index, setting, ...)                                               \
    report_fault((load)->report, load_at(load, section, index, setting), __VA_ARGS__)

static bool is_set(
        const struct load *load, enum section section, uint32_t index, const char *setting)
{
    return load_place(load, section, index, setting).line > 0;
}

/* ---- what must be there ---- */

static void check_required(struct load *load)
{
    for (uint32_t row = 0; row < setting_count; row++) {
        const struct setting_row *setting = &setting_table[row];
        bool can_miss = setting->min == 0 || setting->fallback ||
                        (!setting_is_list(setting->type) && setting->type != SETTING_PATH);
        for (uint32_t i = 0; !can_miss && i < load->list[setting->section].count; i++) {
            if (!is_set(load, setting->section, i, setting->name)) {
                fault_in(load, setting->section, i, setting->name, "%s \"%.*s\" has no %s",
                        section_table[setting->section].name,
                        STR_ARG(object_name(load, setting->section, i)), setting->name);
            }
        }
    }
}

/* ---- the node ---- */

static void use_host_name(struct load *load)
{
    char name[256];
    struct str host = STR("");
    if (gethostname(name, sizeof name) == 0) {
        name[sizeof name - 1] = '\0';
        host = str_from_c(name);
    }
    bool is_full = str_index(host, '.') < host.len && !str_ends_nocase(host, STR(".localdomain"));
    if (is_full && domain_is_hostname(host)) {
        struct value_place place = { .arena = load->arena };
        struct why why;
        const struct setting_row *row = &setting_table[setting_find(SECTION_TOP, STR("hostname"))];
        if (value_set(&place, row, &host, 1, load->config, &why) == OK) {
            return;
        }
    }
    fault_in(load, SECTION_TOP, 0, "hostname",
            "hostname is not set, and this host's own name is not fully qualified: write "
            "hostname = \"mail.example.com\"");
}

static void check_top(struct load *load)
{
    struct config *config = load->config;
    bool has_name = is_set(load, SECTION_TOP, 0, "hostname");
    if (!has_name && config->is_sandbox) {
        config->hostname = STR("sandbox.localhost");
    } else if (!has_name && !report_is_bad(load->report)) { /* else it may be misspelt */
        use_host_name(load);
    } else if (config->hostname.len > 0 &&
               str_index(config->hostname, '.') == config->hostname.len) {
        report_warning(load->report, load_at(load, SECTION_TOP, 0, "hostname"),
                "hostname \"%.*s\" is not fully qualified (RFC 5321 4.1.1.1): many servers refuse "
                "it",
                STR_ARG(config->hostname));
    }
    if (config->is_sandbox && !is_set(load, SECTION_TOP, 0, "slot-bytes")) {
        config->slot_bytes = SANDBOX_SLOT_BYTES;
    }
    bool has_net_max = is_set(load, SECTION_TOP, 0, "connection-per-net-max");
    if (!has_net_max && config->connection_per_net_max < config->connection_per_ip_max) {
        config->connection_per_net_max = config->connection_per_ip_max;
    }
    if (config->connection_per_net_max < config->connection_per_ip_max) {
        fault_in(load, SECTION_TOP, 0, "connection-per-net-max",
                "connection-per-net-max is less than connection-per-ip-max");
    }
}

/* ---- listeners ---- */

static bool is_loopback_only(const struct config_listen *listen)
{
    for (uint32_t i = 0; i < listen->address_count; i++) {
        if (!ip_is_loopback(listen->address[i].ip)) {
            return false;
        }
    }
    return true;
}

/* One that lets nobody in is a mistake: its clients would learn it, one by one, at RCPT. */
static void check_listen_use(struct load *load, uint32_t index, const struct config_listen *listen)
{
    if (listen->auth != CONFIG_AUTH_NONE || is_set(load, SECTION_LISTEN, index, "networks") ||
            report_is_bad(load->report)) { /* a value that was refused counts for nothing */
        return;
    }
    report_warning(load->report, load_at(load, SECTION_LISTEN, index, "networks"),
            "listen \"%.*s\" lets nobody send: add networks = { \"127.0.0.0/8\" } for clients that "
            "need no login, or tls and auth = required",
            STR_ARG(listen->name));
}

static void check_listen_auth(struct load *load, uint32_t index, struct config_listen *listen)
{
    if (listen->is_auth_in_clear && !is_loopback_only(listen)) {
        fault_in(load, SECTION_LISTEN, index, "auth-in-clear",
                "auth-in-clear is for loopback addresses only: passwords would be read on the way");
    } else if (listen->auth != CONFIG_AUTH_NONE && listen->tls == CONFIG_TLS_NONE &&
               !listen->is_auth_in_clear) {
        fault_in(load, SECTION_LISTEN, index, "auth",
                "auth needs TLS (RFC 4954 4): add tls = starttls with cert and key, or, on "
                "loopback, "
                "auth-in-clear = yes");
    }
    if (!is_set(load, SECTION_LISTEN, index, "tls-required")) {
        listen->is_tls_required = listen->tls == CONFIG_TLS_STARTTLS &&
                                  listen->auth != CONFIG_AUTH_NONE && !listen->is_auth_in_clear;
    } else if (listen->is_tls_required && listen->tls == CONFIG_TLS_NONE) {
        fault_in(load, SECTION_LISTEN, index, "tls-required",
                "tls-required without TLS: add tls = starttls with cert and key");
    }
}

static void check_listen_networks(
        struct load *load, uint32_t index, const struct config_listen *listen)
{
    for (uint32_t i = 0; i < listen->network_count; i++) {
        const struct ip_net *net = &listen->network[i];
        int least = net->ip.family == IP_V4 ? NETWORK_V4_BITS_MIN : NETWORK_V6_BITS_MIN;
        if (net->prefix_bits < least) {
            char text[IP_TEXT_CAP];
            fault_in(load, SECTION_LISTEN, index, "networks",
                    "networks: %.*s/%u would relay for strangers: a prefix of at least %d bits",
                    STR_ARG(ip_format(net->ip, text)), net->prefix_bits, least);
        }
    }
    struct str credential = listen->network_credential;
    if (credential.len > 0 && !load_name_find(load, SECTION_CREDENTIAL, credential)) {
        fault_in(load, SECTION_LISTEN, index, "network-credential",
                "network-credential: there is no credential \"%.*s\"", STR_ARG(credential));
    }
}

static void load_certs(struct load *load, uint32_t index, struct config_listen *listen)
{
    struct tls_cert *certs = arena_new(&load->scratch, listen->cert_count * sizeof *certs);
    if (!certs) {
        load->is_nomem = true;
        return;
    }
    for (uint32_t i = 0; i < listen->cert_count; i++) {
        certs[i].cert_path = listen->cert_path[i].ptr;
        certs[i].key_path = listen->key_count > 0 ? listen->key_path[i].ptr : certs[i].cert_path;
    }
    struct why why = { { 0 } };
    enum err err = tls_server_open(certs, listen->cert_count, &listen->tls_context, &why);
    if (err == E_NOMEM) {
        load->is_nomem = true;
    } else if (err != OK) {
        fault_in(load, SECTION_LISTEN, index, "cert", "%s", why.text);
    }
}

static void check_listen_tls(struct load *load, uint32_t index, struct config_listen *listen)
{
    if (listen->tls == CONFIG_TLS_NONE) {
        if (listen->cert_count > 0) {
            fault_in(load, SECTION_LISTEN, index, "cert",
                    "cert without TLS: add tls = starttls or tls = implicit");
        }
        return;
    }
    if (!is_set(load, SECTION_LISTEN, index, "cert")) {
        fault_in(load, SECTION_LISTEN, index, "tls", "TLS needs a certificate: add cert and key");
    } else if (listen->key_count > 0 && listen->key_count != listen->cert_count) {
        fault_in(load, SECTION_LISTEN, index, "key", "%u keys for %u certificates: one for each",
                listen->key_count, listen->cert_count);
    } else if (listen->cert_count > 0) {
        load_certs(load, index, listen);
    }
}

/* Each address once, over all listeners. seen maps a hash to listener << 8 | address number. */
static void check_listen_taken(
        struct load *load, uint32_t index, const struct config_listen *listen, struct map *seen)
{
    for (uint32_t i = 0; i < listen->address_count; i++) {
        char text[IP_TEXT_CAP], other_text[IP_TEXT_CAP];
        struct str at = ip_port_format(listen->address[i], text);
        uint64_t hash = str_hash(at, 0), other;
        uint32_t walk = 0;
        while (listen->address[i].port != 0 && map_walk_key(seen, hash, &walk, &other)) {
            const struct config_listen *first =
                    load_object(load, SECTION_LISTEN, (uint32_t)(other >> 8));
            if (str_eq(at, ip_port_format(first->address[other & 0xff], other_text))) {
                fault_in(load, SECTION_LISTEN, index, "address",
                        "address: %.*s is taken by listen \"%.*s\"", STR_ARG(at),
                        STR_ARG(first->name));
            }
        }
        if (map_add(seen, hash, (uint64_t)index << 8 | i) != OK) {
            load->is_nomem = true;
        }
    }
}

static void check_listeners(struct load *load)
{
    struct map seen = { 0 };
    for (uint32_t i = 0; i < load->list[SECTION_LISTEN].count && !load->is_nomem; i++) {
        struct config_listen *listen = load_object(load, SECTION_LISTEN, i);
        check_listen_auth(load, i, listen);
        check_listen_networks(load, i, listen);
        check_listen_tls(load, i, listen);
        check_listen_taken(load, i, listen, &seen);
        check_listen_use(load, i, listen);
    }
    map_done(&seen);
}

/* ---- secrets ---- */

/* The first line of a file that others may not read. False: a fault was reported. */
static bool read_secret(struct load *load, struct place at, const char *setting, struct str path,
        struct str *ret_secret)
{
    struct buf bytes;
    struct why why;
    uint32_t mode;
    enum err err = file_read(path.ptr, CONFIG_KEY_FILE_BYTES_MAX, &bytes, &mode, &why);
    if (err != OK) {
        load->is_nomem = load->is_nomem || err == E_NOMEM;
        report_fault(load->report, at, "%s: %s", setting, why.text);
        return false;
    }
    struct str line = str_trim(str_sub(buf_str(&bytes), 0, str_index(buf_str(&bytes), '\n')));
    bool is_good = false;
    if (mode & (MODE_OTHERS_READ | MODE_OTHERS_WRITE)) {
        report_fault(load->report, at,
                "%s: %.*s may be read or written by others: chmod 640 or less", setting,
                STR_ARG(path));
    } else if (line.len == 0 || line.len > CONFIG_SECRET_BYTES_MAX) {
        report_fault(load->report, at, "%s: the first line of %.*s is no password", setting,
                STR_ARG(path));
    } else {
        *ret_secret = arena_str(load->arena, line);
        is_good = ret_secret->ptr != NULL;
        load->is_nomem = load->is_nomem || !is_good;
    }
    crypto_wipe(bytes.ptr, bytes.len);
    buf_done(&bytes);
    return is_good;
}

static void use_secret_file(struct load *load, uint32_t index, struct config_credential *credential)
{
    struct place at = load_at(load, SECTION_CREDENTIAL, index, "secret-file");
    struct str secret;
    if (credential->password_hash.len > 0) {
        report_fault(load->report, at, "password-hash and secret-file: one of them");
        return;
    }
    if (!read_secret(load, at, "secret-file", credential->secret_path, &secret)) {
        return;
    }
    if (password_is_hash(secret)) {
        credential->password_hash = secret;
        return;
    }
    struct buf hash;
    buf_init(&hash, CONFIG_VALUE_BYTES_MAX);
    enum err err = password_hash(secret, entropy_real(), &hash);
    crypto_wipe((void *)(uintptr_t)secret.ptr, secret.len); /* the arena's own copy */
    if (err == OK) {
        credential->password_hash = arena_str(load->arena, buf_str(&hash));
    } else if (err != E_NOMEM) {
        report_fault(load->report, at, "secret-file: the password in %.*s cannot be hashed: %s",
                STR_ARG(credential->secret_path), err_name(err));
    }
    load->is_nomem = load->is_nomem || err == E_NOMEM;
    buf_done(&hash);
}

static void check_credentials(struct load *load)
{
    for (uint32_t i = 0; i < load->list[SECTION_CREDENTIAL].count && !load->is_nomem; i++) {
        struct config_credential *credential = load_object(load, SECTION_CREDENTIAL, i);
        if (credential->password_hash.len > 0 && !password_is_hash(credential->password_hash)) {
            fault_in(load, SECTION_CREDENTIAL, i, "password-hash",
                    "password-hash is not a hash, as in \"$y$...\": \"outpost credential add\" "
                    "makes "
                    "one");
        }
        if (credential->secret_path.len > 0) {
            use_secret_file(load, i, credential);
        }
        int scram_count = (credential->scram_stored_key.len > 0) +
                          (credential->scram_server_key.len > 0) + (credential->scram_salt.len > 0);
        if (scram_count != 0 && scram_count != 3) {
            fault_in(load, SECTION_CREDENTIAL, i, "scram-salt",
                    "scram-stored-key, scram-server-key and scram-salt belong together");
        }
        for (uint32_t s = 0; s < credential->stream_count; s++) {
            if (!load_name_find(load, SECTION_STREAM, credential->stream[s])) {
                fault_in(load, SECTION_CREDENTIAL, i, "streams",
                        "streams: there is no stream \"%.*s\"", STR_ARG(credential->stream[s]));
            }
        }
    }
}

/* ---- keys ---- */

static void check_key_strength(struct load *load, uint32_t index, const struct key *key)
{
    if (key_kind(key) != KEY_RSA || key_bits(key) >= DKIM_RSA_BITS_ADVISED) {
        return;
    }
    struct place at = load_at(load, SECTION_DKIM, index, "key");
    if (key_bits(key) < DKIM_RSA_BITS_MIN) {
        report_fault(load->report, at,
                "key: %u bits are too few (RFC 8301 3.2): \"outpost dkim genkey\" makes 2048",
                key_bits(key));
    } else {
        report_warning(
                load->report, at, "key: %u bits; 2048 are advised (RFC 8301 3.2)", key_bits(key));
    }
}

/* A rotation takes its time: records to be published, and messages to leave the queue. */
static void check_domain(struct load *load, uint32_t index)
{
    const struct config_domain *domain = load_object(load, SECTION_DOMAIN, index);
    if (domain->rotate_ms > 0 && domain->rotate_ms < ROTATE_MS_MIN) {
        fault_in(load, SECTION_DOMAIN, index, "rotate",
                "rotate: less than a week; \"180d\" is usual, \"0s\" is by hand only");
    }
}

static void check_dkim_time(struct load *load, uint32_t index, const char *setting, struct str time)
{
    struct wall wall;
    if (time.len > 0 && time_parse_rfc3339(time, &wall) != OK) {
        fault_in(load, SECTION_DKIM, index, setting,
                "%s is a time, as in \"2026-11-25T00:00:00Z\" (RFC 3339)", setting);
    }
}

static void check_dkim(struct load *load, uint32_t index)
{
    struct config_dkim_key *dkim = load_object(load, SECTION_DKIM, index);
    check_dkim_time(load, index, "since", dkim->since);
    check_dkim_time(load, index, "until", dkim->until);
    struct buf pem;
    struct why why = { { 0 } };
    uint32_t mode;
    if (dkim->path.len == 0) {
        return; /* said already */
    }
    enum err err = file_read(dkim->path.ptr, CONFIG_KEY_FILE_BYTES_MAX, &pem, &mode, &why);
    if (err != OK) {
        load->is_nomem = load->is_nomem || err == E_NOMEM;
        fault_in(load, SECTION_DKIM, index, "key", "key: %s", why.text);
        return;
    }
    if (mode & MODE_OTHERS_WRITE) {
        fault_in(load, SECTION_DKIM, index, "key", "key: %.*s may be written by others: chmod go-w",
                STR_ARG(dkim->path));
    } else if (mode & MODE_OTHERS_READ) {
        report_warning(load->report, load_at(load, SECTION_DKIM, index, "key"),
                "key: %.*s may be read by everyone: chmod o-r", STR_ARG(dkim->path));
    }
    err = key_from_pem(buf_str(&pem), &dkim->key, &why);
    if (err == OK) {
        check_key_strength(load, index, dkim->key);
    } else if (err == E_NOMEM) {
        load->is_nomem = true;
    } else {
        fault_in(load, SECTION_DKIM, index, "key", "key: %.*s: %s", STR_ARG(dkim->path),
                why.text[0] ? why.text : "no private key in PEM");
    }
    crypto_wipe(pem.ptr, pem.len);
    buf_done(&pem);
}

/* ---- streams, sources, pools ---- */

static void add_streams(struct load *load)
{
    static const char *const names[] = { "transactional", "bulk", "system" };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct name_entry entry = { .section = SECTION_STREAM,
            .parent = UINT32_MAX,
            .title = str_from_c(names[i]),
            .at = { load->config->path, 0 } };
        uint32_t index;
        if (load_name_add(load, &entry, &index)) {
            uint32_t object;
            load_object_add(load, SECTION_STREAM, entry.title, entry.at, &object);
        }
    }
}

static void check_stream(struct load *load, uint32_t index)
{
    const struct config_stream *stream = load_object(load, SECTION_STREAM, index);
    if (stream->pool.len > 0 && !load_name_find(load, SECTION_POOL, stream->pool)) {
        fault_in(load, SECTION_STREAM, index, "pool", "pool: there is no pool \"%.*s\"",
                STR_ARG(stream->pool));
    }
    if (stream->retry_first_ms > stream->retry_max_ms) {
        fault_in(
                load, SECTION_STREAM, index, "retry-first", "retry-first is longer than retry-max");
    }
    if (stream->retry_first_ms > stream->give_up_ms) {
        fault_in(load, SECTION_STREAM, index, "give-up",
                "give-up comes before the second attempt (retry-first)");
    }
}

static void check_source(struct load *load, uint32_t index)
{
    struct config_source *source = load_object(load, SECTION_SOURCE, index);
    if (source->ehlo.len == 0) {
        source->ehlo = load->config->hostname;
    }
    if (source->address.family != IP_NONE && load->is_host_checked && !load->config->is_sandbox &&
            !net_is_local_address(source->address)) {
        char text[IP_TEXT_CAP];
        fault_in(load, SECTION_SOURCE, index, "address",
                "address: %.*s is no address of this host: add it to an interface, or correct it",
                STR_ARG(ip_format(source->address, text)));
    }
}

static void check_pool(struct load *load, uint32_t index)
{
    struct config_pool *pool = load_object(load, SECTION_POOL, index);
    uint32_t count = pool->source_count;
    pool->source = arena_new(load->arena, (count + 1) * sizeof *pool->source);
    pool->weight = arena_new(load->arena, (count + 1) * sizeof *pool->weight);
    if (!pool->source || !pool->weight) {
        load->is_nomem = true;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct str text = pool->source_text[i];
        size_t colon = str_index(text, ':');
        struct str name = str_sub(text, 0, colon);
        const struct name_entry *entry = load_name_find(load, SECTION_SOURCE, name);
        uint64_t weight = 1;
        if (colon < text.len && str_to_u64(str_from(text, colon + 1), UINT32_MAX, &weight) != OK) {
            weight = 1; /* value.c has refused such a one */
        }
        if (!entry) {
            fault_in(load, SECTION_POOL, index, "sources", "sources: there is no source \"%.*s\"",
                    STR_ARG(name));
            continue;
        }
        pool->source[i] = entry->object;
        pool->weight[i] = (uint32_t)weight;
    }
}

/* ---- routes ---- */

static bool is_loopback_route(const struct config_route *route)
{
    for (uint32_t i = 0; i < route->to_count; i++) {
        struct ip_port at;
        if (ip_port_parse(route->to[i], &at) != OK || !ip_is_loopback(at.ip)) {
            return false;
        }
    }
    return true;
}

static void check_route(struct load *load, uint32_t index)
{
    struct config_route *route = load_object(load, SECTION_ROUTE, index);
    if (!is_set(load, SECTION_ROUTE, index, "tls")) {
        route->tls = load->config->outbound_tls;
    }
    bool has_name = route->username.len > 0, has_password = route->password_path.len > 0;
    if (has_name != has_password) {
        fault_in(load, SECTION_ROUTE, index, has_name ? "username" : "password-file",
                "username and password-file belong together");
        return;
    }
    if (!has_name) {
        return;
    }
    bool is_safe = route->tls == CONFIG_DEST_TLS_REQUIRED || route->tls == CONFIG_DEST_TLS_VERIFIED;
    if (!is_safe && !is_loopback_route(route)) {
        fault_in(load, SECTION_ROUTE, index, "username",
                "username: a password is sent under TLS only: add tls = verified (or required)");
    }
    struct place at = load_at(load, SECTION_ROUTE, index, "password-file");
    if (!read_secret(load, at, "password-file", route->password_path, &route->password)) {
        route->password = STR("");
    }
}

/* ---- alerts ---- */

static bool alert_has_service(const struct config_alert *alert) /* whose address is known */
{
    return alert->type == CONFIG_ALERT_WEBHOOK &&
           (alert->format == CONFIG_ALERT_PAGERDUTY || alert->format == CONFIG_ALERT_OPSGENIE);
}

/* What the type of an alert cannot do without; NULL: nothing is missing. */
static const char *alert_missing(const struct config_alert *alert)
{
    switch (alert->type) {
    case CONFIG_ALERT_WEBHOOK:
        if (alert_has_service(alert)) {
            return alert->key_path.len == 0 ? "key-file" : NULL;
        }
        return alert->url.len + alert->key_path.len == 0 ? "url" : NULL;
    case CONFIG_ALERT_COMMAND:
        return alert->command.len == 0 ? "command" : NULL;
    case CONFIG_ALERT_NAGIOS:
        return alert->command_file.len == 0 ? "command-file" : NULL;
    case CONFIG_ALERT_MAIL:
        return alert->url.len == 0 ? "url" : alert->to.len == 0 ? "to" : NULL;
    case CONFIG_ALERT_SYSLOG:
        return NULL;
    }
    return NULL;
}

static bool is_url_of(const struct config_alert *alert, struct str url)
{
    bool is_mail = alert->type == CONFIG_ALERT_MAIL;
    struct str plain = is_mail ? STR("smtp://") : STR("http://");
    struct str safe = is_mail ? STR("smtps://") : STR("https://");
    bool is_clean = true;
    for (size_t i = 0; i < url.len; i++) {
        is_clean = is_clean && url.ptr[i] > ' ' && url.ptr[i] < 0x7f;
    }
    size_t scheme = str_starts(url, safe) ? safe.len : plain.len;
    return is_clean && url.len > scheme && (str_starts(url, plain) || str_starts(url, safe));
}

static bool is_one_line(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] == '<' || text.ptr[i] == '>') {
            return false;
        }
    }
    return true;
}

static void check_alert(struct load *load, uint32_t index)
{
    struct config_alert *alert = load_object(load, SECTION_ALERT, index);
    const char *missing = alert_missing(alert);
    bool has_url = alert->type == CONFIG_ALERT_WEBHOOK || alert->type == CONFIG_ALERT_MAIL;
    if (index >= CONFIG_ALERT_COUNT_MAX) {
        fault_in(load, SECTION_ALERT, index, "type", "more than %d alert sections",
                (int)CONFIG_ALERT_COUNT_MAX);
    } else if (missing != NULL && !is_set(load, SECTION_ALERT, index, missing)) {
        fault_in(load, SECTION_ALERT, index, "type", "alert \"%.*s\": %s is missing",
                STR_ARG(alert->name), missing);
    } else if (has_url && alert->url.len > 0 && !is_url_of(alert, alert->url)) {
        fault_in(load, SECTION_ALERT, index, "url", "url: write %s://HOST/...",
                alert->type == CONFIG_ALERT_MAIL ? "smtp" : "https");
    } else if (!is_one_line(alert->from) || !is_one_line(alert->to)) {
        fault_in(
                load, SECTION_ALERT, index, "to", "from, to: an address alone, as ops@example.net");
    } else if (alert->key_path.len > 0) {
        struct place at = load_at(load, SECTION_ALERT, index, "key-file");
        if (!read_secret(load, at, "key-file", alert->key_path, &alert->key)) {
            alert->key = STR("");
        } else if (alert->type == CONFIG_ALERT_WEBHOOK && !alert_has_service(alert) &&
                   alert->url.len == 0 && !is_url_of(alert, alert->key)) {
            report_fault(
                    load->report, at, "key-file: without url it is to hold one, https://HOST/...");
        }
    }
}

/* ---- the sandbox ---- */

/* Something to send through, where nothing is configured. */
static void add_sandbox_listener(struct load *load)
{
    static const struct ip loopback = { IP_V4, { 127, 0, 0, 1 } };
    struct place at = { load->config->path, 0 };
    uint32_t index;
    if (!load->config->is_sandbox || load->list[SECTION_LISTEN].count > 0 ||
            !load_object_add(load, SECTION_LISTEN, STR("sandbox"), at, &index)) {
        return;
    }
    struct config_listen *listen = load_object(load, SECTION_LISTEN, index);
    listen->address = arena_new(load->arena, sizeof *listen->address);
    listen->network = arena_new(load->arena, sizeof *listen->network);
    if (!listen->address || !listen->network) {
        load->is_nomem = true;
        return;
    }
    *listen->address = (struct ip_port){ loopback, 2525 };
    *listen->network = (struct ip_net){ ip_masked(loopback, 8), 8 };
    listen->address_count = listen->network_count = 1;
}

static void check_each(
        struct load *load, enum section section, void (*check)(struct load *load, uint32_t index))
{
    for (uint32_t i = 0; i < load->list[section].count && !load->is_nomem; i++) {
        check(load, i);
    }
}

void check_objects(struct load *load)
{
    check_required(load);
    check_top(load);
    add_streams(load);
    check_listeners(load);
    add_sandbox_listener(load);
    check_credentials(load);
    check_each(load, SECTION_DOMAIN, check_domain);
    check_each(load, SECTION_DKIM, check_dkim);
    check_each(load, SECTION_STREAM, check_stream);
    check_each(load, SECTION_SOURCE, check_source);
    check_each(load, SECTION_POOL, check_pool);
    check_each(load, SECTION_ROUTE, check_route);
    check_each(load, SECTION_ALERT, check_alert);
}
