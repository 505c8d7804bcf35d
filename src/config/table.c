/* SPDX-License-Identifier: Apache-2.0
 *
 * table.c - every section and every setting: type, default, range, help. Data only.
 *
 * Defaults carry their reason in the help line or beside the row.
 */
#include "config/table_priv.h"

#define IN_TOP(field) offsetof(struct config, field)
#define IN_LISTEN(field) offsetof(struct config_listen, field)
#define IN_CREDENTIAL(field) offsetof(struct config_credential, field)
#define IN_DOMAIN(field) offsetof(struct config_domain, field)
#define IN_DKIM(field) offsetof(struct config_dkim_key, field)
#define IN_SERVICE(field) offsetof(struct config_service, field)
#define IN_STREAM(field) offsetof(struct config_stream, field)
#define IN_SOURCE(field) offsetof(struct config_source, field)
#define IN_POOL(field) offsetof(struct config_pool, field)
#define IN_ROUTE(field) offsetof(struct config_route, field)
#define IN_ALERT(field) offsetof(struct config_alert, field)

static_assert(IN_LISTEN(name) == 0 && IN_CREDENTIAL(name) == 0 && IN_DOMAIN(name) == 0 &&
                      IN_DKIM(selector) == 0 && IN_SERVICE(name) == 0 && IN_STREAM(name) == 0 &&
                      IN_SOURCE(name) == 0 && IN_POOL(name) == 0 && IN_ROUTE(domain) == 0 &&
                      IN_ALERT(name) == 0,
        "the title of a section is the first field of its struct");

const struct section_row section_table[SECTION_COUNT] = {
    [SECTION_TOP] = { .name = "", .bytes = sizeof(struct config), .help = "The node as a whole." },
    [SECTION_LISTEN] = { "listen", SECTION_TOP, TITLE_NAME, sizeof(struct config_listen),
            IN_TOP(listen), IN_TOP(listen_count),
            "Where and for whom mail is accepted. The title is a name for logs.",
            "listen \"submission\" {\n"
            "    address = { \"[::]:587\" }\n"
            "    tls = starttls\n"
            "    cert = \"/etc/ssl/mail.pem\"\n"
            "    key = \"/etc/ssl/private/mail.key\"\n"
            "    auth = required\n"
            "}" },
    [SECTION_CREDENTIAL] = { "credential", SECTION_TOP, TITLE_LOGIN,
            sizeof(struct config_credential), IN_TOP(credential), IN_TOP(credential_count),
            "Who may submit. The title is the login name. \"outpost credential add\" writes one "
            "into credentials.d/.",
            "credential \"shop\" {\n"
            "    secret-file = \"shop.secret\"\n"
            "    from = { \"shop.example.com\" }\n"
            "    streams = { \"transactional\" }\n"
            "}" },
    [SECTION_DOMAIN] = { "domain", SECTION_TOP, TITLE_DOMAIN, sizeof(struct config_domain),
            IN_TOP(domain), IN_TOP(domain_count),
            "A domain of ours: mail from it, and from names below it, is signed with its keys.",
            "domain \"shop.example.com\" {\n"
            "    dkim \"s2026a\" { key = \"keys/s2026a.pem\" }\n"
            "}" },
    [SECTION_DKIM] = { "dkim", SECTION_DOMAIN, TITLE_SELECTOR, sizeof(struct config_dkim_key),
            IN_DOMAIN(key), IN_DOMAIN(key_count),
            "A key that signs for the domain around it (RFC 6376). The title is the selector. With "
            "several, each adds a signature.",
            NULL },
    [SECTION_SERVICE] = { "service", SECTION_DOMAIN, TITLE_NAME, sizeof(struct config_service),
            IN_DOMAIN(service), IN_DOMAIN(service_count),
            "Somebody else who sends as the domain around it, so that \"outpost domain check\" "
            "watches their part of its records too.",
            "domain \"shop.example.com\" {\n"
            "    service \"newsletter\" { spf = \"include:_spf.news.example\"  selectors = { "
            "\"k1\" } }\n"
            "}" },
    [SECTION_STREAM] = { "stream", SECTION_TOP, TITLE_NAME, sizeof(struct config_stream),
            IN_TOP(stream), IN_TOP(stream_count),
            "A class of mail with its own policy. \"transactional\" (the default), \"bulk\" and "
            "\"system\" exist without being configured.",
            "stream \"transactional\" { pool = \"main\"  give-up = \"5d\" }" },
    [SECTION_SOURCE] = { "source", SECTION_TOP, TITLE_NAME, sizeof(struct config_source),
            IN_TOP(source), IN_TOP(source_count),
            "An address of this host from which mail is sent.",
            "source \"a\" { address = \"192.0.2.10\"  ehlo = \"a.mail.example.com\" }" },
    [SECTION_POOL] = { "pool", SECTION_TOP, TITLE_NAME, sizeof(struct config_pool), IN_TOP(pool),
            IN_TOP(pool_count), "A weighted set of sources.",
            "pool \"main\" { sources = { \"a:3\", \"b\" } }" },
    [SECTION_ROUTE] = { "route", SECTION_TOP, TITLE_ROUTE, sizeof(struct config_route),
            IN_TOP(route), IN_TOP(route_count),
            "Where mail for a domain goes instead of its MX hosts. The title is the domain, an "
            "address literal, or \"*\" for all that have no route of their own (a smarthost). Only "
            "a route may lead to loopback and private addresses.",
            "route \"partner.example\" { to = { \"10.0.0.7:25\", \"10.0.0.8:25\" }  tls = required "
            "}" },
    [SECTION_ALERT] = { "alert", SECTION_TOP, TITLE_NAME, sizeof(struct config_alert),
            IN_TOP(alert), IN_TOP(alert_count),
            "Whom to tell when a check fails or an address is blocklisted, on a way that does not "
            "depend on the mail that is watched. The title is a name for \"outpost alert\".",
            "alert \"duty\" {\n"
            "    type = webhook\n"
            "    format = slack\n"
            "    url = \"https://hooks.chat.example/services/T0/B0/x\"\n"
            "    repeat = 4h\n"
            "}" },
};

static const char *const tls_words[] = { "none", "starttls", "implicit", NULL };
static const char *const auth_words[] = { "none", "optional", "required", NULL };
static const char *const dest_tls_words[] = { "may", "required", "verified", "off", NULL };
static const char *const alert_words[] = { "webhook", "syslog", "command", "nagios", "mail", NULL };
static const char *const alert_format_words[] = { "json", "pagerduty", "opsgenie", "slack",
    "healthchecks", NULL };
static const char *const severity_words[] = { "warn", "fail", NULL };
static_assert(CONFIG_ALERT_MAIL == 4 && CONFIG_ALERT_HEALTHCHECKS == 4, "in their order");
static_assert(CONFIG_TLS_IMPLICIT == 2 && CONFIG_AUTH_REQUIRED == 2 && CONFIG_DEST_TLS_OFF == 3,
        "words stand in the order of their enum");

#define KB UINT64_C(1024)
#define MB (1024 * KB)
#define GB (1024 * MB)
#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

#define FIELD(s, f) .section = SECTION_##s, .offset = IN_##s(f)
#define LIST(s, f, n) .section = SECTION_##s, .offset = IN_##s(f), .count_offset = IN_##s(n)
#define TEXT_MAX .max = CONFIG_VALUE_BYTES_MAX
#define LIST_MAX .max = CONFIG_LIST_COUNT_MAX

const struct setting_row setting_table[] = {
    /* ---- the node ---- */
    { FIELD(TOP, hostname), .name = "hostname", .type = SETTING_HOST,
            .fallback_say = "this host's name, where it is fully qualified",
            .help = "Our name in the greeting, EHLO, Received and Message-ID. Should resolve to "
                    "this "
                    "host, and its address back to it." },
    { FIELD(TOP, data_dir), .name = "data-dir", .type = SETTING_PATH,
            .fallback = "/var/lib/outpost", TEXT_MAX,
            .help = "Where messages and history are kept: spool/ and history/ below it." },
    { FIELD(TOP, control_path), .name = "control", .type = SETTING_PATH,
            .fallback = "/run/outpost/control.sock", .max = 107, /* sun_path, unix(7) */
            .help = "The UNIX socket on which the running node answers the command line." },
    { FIELD(TOP, resolver), .name = "resolver", .type = SETTING_RESOLVER, .fallback = "system",
            .max = 16,
            .help = "Who answers DNS questions: \"system\" (resolv.conf), \"recursive\" (from the "
                    "root), or addresses of servers." },
    { FIELD(TOP, trust_anchor), .name = "trust-anchor", .type = SETTING_PATH, TEXT_MAX,
            .help = "File with the DNSSEC key of the root, as /usr/share/dns/root.key. Without it "
                    "answers are not validated." },
    { FIELD(TOP, ca_file), .name = "ca-file", .type = SETTING_PATH, TEXT_MAX,
            .fallback_say = "the system's",
            .help = "PEM file of the authorities that we trust when we deliver over TLS." },
    { FIELD(TOP, is_sandbox), .name = "sandbox", .type = SETTING_BOOL, .fallback = "no",
            .help = "Deliver every message to a built-in catcher, nothing to the world." },
    { FIELD(TOP, sandbox_catcher), .name = "sandbox-catcher", .type = SETTING_IP_PORT,
            .fallback = "127.0.0.1:2526", .help = "Where the catcher of the sandbox listens." },
    { FIELD(TOP, loop_count), .name = "loop-count", .type = SETTING_U32, .fallback = "0",
            .fallback_say = "0: one a core, at most 8", .max = 8,
            .help = "Threads for network sessions." },
    { FIELD(TOP, worker_count), .name = "worker-count", .type = SETTING_U32, .fallback = "0",
            .fallback_say = "0: one a core, at most 8", .max = 8,
            .help = "Threads for signatures and password hashes." },

    /* ---- limits of the way in ---- */
    { FIELD(TOP, message_bytes_max), .name = "message-bytes-max", .type = SETTING_BYTES,
            .fallback = "50M", .min = 64 * KB, .max = 256 * MB, /* RFC 5321 4.5.3.1.7: >= 64K */
            .help = "Largest message accepted, announced as SIZE (RFC 1870)." },
    { FIELD(TOP, rcpt_count_max), .name = "rcpt-count-max", .type = SETTING_U32, .fallback = "1000",
            .min = 100, .max = 10000, /* RFC 5321 4.5.3.1.8: >= 100 */
            .help = "Recipients of one message; the next is answered 452 (RFC 5321 4.5.3.1.10)." },
    { FIELD(TOP, connection_count_max), .name = "connection-count-max", .type = SETTING_U32,
            .fallback = "1000", .min = 1, .max = 100000,
            .help = "Sessions at one time, over all listeners; the next is answered 421." },
    { FIELD(TOP, connection_per_ip_max), .name = "connection-per-ip-max", .type = SETTING_U32,
            .fallback = "50", .min = 1, .max = 100000,
            .help = "Sessions at one time from one address (Postfix allows as many)." },
    { FIELD(TOP, connection_per_net_max), .name = "connection-per-net-max", .type = SETTING_U32,
            .fallback = "100", .fallback_say = "100, or connection-per-ip-max where that is more",
            .min = 1, .max = 100000,
            .help = "Sessions at one time from one IPv6 /64, since one host may use all of it." },
    { FIELD(TOP, command_ms_max), .name = "command-time-max", .type = SETTING_MS, .fallback = "5m",
            .min = SECOND, .max = HOUR, /* RFC 5321 4.5.3.2.7 */
            .help = "Time for a client to send one command, whole; then 421 (RFC 5321 "
                    "4.5.3.2.7)." },
    { FIELD(TOP, message_ms_max), .name = "message-time-max", .type = SETTING_MS, .fallback = "30m",
            .min = 10 * SECOND, .max = DAY,
            .help = "Time for a client to send one message's data." },
    { FIELD(TOP, data_rate_min_bytes_per_s), .name = "data-rate-min", .type = SETTING_U32,
            .fallback = "500", .max = 10000000,
            .help = "Bytes a second below which a client that sends data is too slow; 0: any "
                    "rate will do." },
    { FIELD(TOP, memory_bytes_max), .name = "memory-bytes-max", .type = SETTING_BYTES,
            .fallback = "64M", .min = 4 * MB, .max = 64 * GB,
            .help = "Memory for messages on their way; beyond it they are read from the spool "
                    "again, or clients are asked to wait. Messages over 1M on their way out have "
                    "as much again." },

    /* ---- the way out ---- */
    { FIELD(TOP, site_connection_max), .name = "site-connection-max", .type = SETTING_U32,
            .fallback = "20", .min = 1, .max = 1000,
            .help = "Connections at one time to one site from one source (Postfix allows as "
                    "many)." },
    { FIELD(TOP, connection_message_max), .name = "connection-message-max", .type = SETTING_U32,
            .fallback = "1000", .min = 1, .max = 1000000,
            .help = "Messages over one connection, before it is closed." },
    { FIELD(TOP, connection_idle_ms), .name = "connection-idle", .type = SETTING_MS,
            .fallback = "5s", .max = 5 * MINUTE,
            .help = "How long a connection without work stays open for the next message." },
    { FIELD(TOP, transaction_rcpt_max), .name = "transaction-rcpt-max", .type = SETTING_U32,
            .fallback = "100", .min = 1, .max = 1000, /* RFC 5321 4.5.3.1.8 */
            .help = "Recipients in one transaction; every server takes 100 (RFC 5321 4.5.3.1.8)." },
    { FIELD(TOP, outbound_tls), .name = "outbound-tls", .type = SETTING_ENUM, .fallback = "may",
            .words = dest_tls_words,
            .help = "TLS where no route says otherwise. may: if offered (RFC 7435); required: or "
                    "the message waits; verified: with a certificate of that name; off: never." },

    /* ---- spool and history ---- */
    { FIELD(TOP, slot_bytes), .name = "slot-bytes", .type = SETTING_BYTES, .fallback = "64M",
            .fallback_say = "64M; in the sandbox 4M", .min = 2 * MB, .max = 128 * MB,
            .help = "Size of a spool file; counts when the spool is created." },
    { FIELD(TOP, spare_slots), .name = "spare-slots", .type = SETTING_U32, .fallback = "4",
            .max = 1000,
            .help = "Spool files kept ready, so that accepting does not wait for one." },
    { FIELD(TOP, history_days), .name = "history-days", .type = SETTING_U32, .fallback = "30",
            .min = 1, .max = 3660, .help = "How long the story of each message is kept." },
    { FIELD(TOP, history_bytes_max), .name = "history-bytes-max", .type = SETTING_BYTES,
            .fallback = "20G", .min = 16 * MB, .max = 100000 * GB,
            .help = "Disk space for history; the oldest days go first." },

    /* ---- logs ---- */
    { FIELD(TOP, log_to), .name = "log", .type = SETTING_LOG, .fallback = "stdout", TEXT_MAX,
            .help = "Where log lines go: \"stdout\", \"journald\" or a file." },
    { FIELD(TOP, is_log_postfix), .name = "log-postfix", .type = SETTING_BOOL, .fallback = "yes",
            .help = "Lines about messages in the form of Postfix, which many tools read." },
    { FIELD(TOP, is_log_json), .name = "log-json", .type = SETTING_BOOL, .fallback = "no",
            .help = "Lines about messages as JSON." },

    /* ---- watching ---- */
    { FIELD(TOP, checks_ms), .name = "checks-every", .type = SETTING_MS, .fallback = "1h",
            .max = 7 * DAY,
            .help = "How often all checks of \"outpost domain check\" are made by the running "
                    "node, "
                    "for every domain and source; 0s: never. Off in a sandbox." },
    { FIELD(TOP, lists_ms), .name = "lists-every", .type = SETTING_MS, .fallback = "6h",
            .max = 7 * DAY,
            .help = "How often blocklists are asked about every source and domain; 0s: never. "
                    "Lists "
                    "count questions: more often than hourly is not welcome." },
    { FIELD(TOP, alert_fail_count), .name = "alert-after-fails", .type = SETTING_U32,
            .fallback = "2", .min = 1, .max = 100,
            .help = "A check must find the same so often in a row before it counts as a change; it "
                    "is asked again after a minute for that." },
    { FIELD(TOP, alert_error_count), .name = "alert-after-errors", .type = SETTING_U32,
            .fallback = "3", .min = 1, .max = 100,
            .help = "\"Could not tell\" must last so many scheduled runs before it is a change." },
    { FIELD(TOP, alert_group_ms), .name = "alert-group", .type = SETTING_MS, .fallback = "30s",
            .max = HOUR, .help = "Problems that begin within this time are told together." },
    { FIELD(TOP, probe_host), .name = "probe-host", .type = SETTING_STR, .max = 255,
            .fallback_say = "none: not tried",
            .help = "A mail server outside, as \"mx.example.net\" or \"192.0.2.1:25\", to which "
                    "each "
                    "source is connected with the checks: is port 25 open on the way out? Nothing "
                    "is sent." },
    { FIELD(TOP, clock_server), .name = "clock-server", .type = SETTING_STR, .max = 255,
            .fallback_say = "none: not asked",
            .help = "An SNTP server (RFC 4330), as \"ntp.example.net\": how far is our clock "
                    "off?" },
    { FIELD(TOP, rdap_server), .name = "rdap-server", .type = SETTING_STR, .max = 255,
            .fallback_say = "none: not asked",
            .help = "Base of an RDAP service (RFC 9082), as \"https://rdap.example/v1\": when do "
                    "our "
                    "domains expire?" },

    /* ---- listen ---- */
    { LIST(LISTEN, address, address_count), .name = "address", .type = SETTING_AT_LIST, .min = 1,
            .max = 64, .help = "Address and port, as \"192.0.2.1:25\", \"[::]:587\"." },
    { FIELD(LISTEN, tls), .name = "tls", .type = SETTING_ENUM, .fallback = "none",
            .words = tls_words,
            .help = "starttls: a client may change to TLS (RFC 3207); implicit: TLS from the first "
                    "byte (RFC 8314)." },
    { FIELD(LISTEN, is_tls_required), .name = "tls-required", .type = SETTING_BOOL,
            .fallback = "no", .fallback_say = "yes where tls is starttls and auth not none",
            .help = "No mail before STARTTLS." },
    { LIST(LISTEN, cert_path, cert_count), .name = "cert", .type = SETTING_PATH_LIST, .max = 100,
            .help = "PEM files, each a certificate with its chain. The first is the default, "
                    "others "
                    "are chosen by the name that a client asks for (SNI)." },
    { LIST(LISTEN, key_path, key_count), .name = "key", .type = SETTING_PATH_LIST, .max = 100,
            .fallback_say = "in the certificate's file",
            .help = "PEM files with the private keys, in the order of cert." },
    { FIELD(LISTEN, auth), .name = "auth", .type = SETTING_ENUM, .fallback = "none",
            .words = auth_words,
            .help = "required: no mail before a login; optional: clients from networks need "
                    "none." },
    { FIELD(LISTEN, is_auth_in_clear), .name = "auth-in-clear", .type = SETTING_BOOL,
            .fallback = "no",
            .help = "Take passwords without TLS; only for listeners on loopback addresses." },
    { LIST(LISTEN, network, network_count), .name = "networks", .type = SETTING_NET_LIST, LIST_MAX,
            .help = "Clients that may send without a login, as \"10.1.0.0/16\"." },
    { FIELD(LISTEN, network_credential), .name = "network-credential", .type = SETTING_STR,
            .max = CONFIG_LOGIN_BYTES_MAX,
            .help = "The credential whose rules hold for clients from networks." },
    { FIELD(LISTEN, is_client_hidden), .name = "client-hidden", .type = SETTING_BOOL,
            .fallback = "no", .help = "Leave the client's name and address out of Received." },

    /* ---- credential ---- */
    { FIELD(CREDENTIAL, password_hash), .name = "password-hash", .type = SETTING_STR,
            .is_secret = true, .max = 383, /* CRYPT_OUTPUT_SIZE, crypt(3) */
            .help = "yescrypt hash of the password, \"$y$...\" (crypt(5)). Without it or a "
                    "secret-file nobody can log in by this name." },
    { FIELD(CREDENTIAL, secret_path), .name = "secret-file", .type = SETTING_PATH, TEXT_MAX,
            .help = "File whose first line is the password, or its hash; nobody else may read "
                    "it." },
    { FIELD(CREDENTIAL, scram_stored_key), .name = "scram-stored-key", .type = SETTING_B64,
            .is_secret = true, .min = 32, .max = 32, .help = "StoredKey of RFC 5802, base64." },
    { FIELD(CREDENTIAL, scram_server_key), .name = "scram-server-key", .type = SETTING_B64,
            .is_secret = true, .min = 32, .max = 32, .help = "ServerKey of RFC 5802, base64." },
    { FIELD(CREDENTIAL, scram_salt), .name = "scram-salt", .type = SETTING_B64, .is_secret = true,
            .min = 8, .max = 64, .help = "The salt of both keys, base64." },
    { FIELD(CREDENTIAL, scram_iterations), .name = "scram-iterations", .type = SETTING_U32,
            .fallback = "4096", .min = 4096, .max = 10000000, /* RFC 7677 4 */
            .help = "Iterations of both keys (RFC 7677 asks for 4096 or more)." },
    { LIST(CREDENTIAL, from, from_count), .name = "from", .type = SETTING_DOMAIN_LIST, LIST_MAX,
            .fallback_say = "any",
            .help = "Domains that it may use as sender and in From, and names below them." },
    { LIST(CREDENTIAL, stream, stream_count), .name = "streams", .type = SETTING_NAME_LIST,
            .max = 100, .fallback_say = "all; transactional is the default",
            .help = "Streams that it may use; the first is its default." },

    /* ---- domain ---- */
    { FIELD(DOMAIN, bounce), .name = "bounce-domain", .type = SETTING_HOST,
            .fallback_say = "the domain itself",
            .help = "The domain of MAIL FROM of its mail, where SPF is looked for; aligned when it "
                    "is below the domain (RFC 9989 4.4.2)." },
    { FIELD(DOMAIN, rotate_ms), .name = "rotate", .type = SETTING_MS, .fallback = "0s",
            .max = 3650 * DAY,
            .help = "Age, of a week or more, at which a key of the domain is replaced by a new "
                    "one, in the stages of \"outpost domain rotate\": by the node itself where it "
                    "may "
                    "write domains.d, else with --scheduled from a timer; 0s: by hand only." },

    /* ---- dkim ---- */
    { FIELD(DKIM, path), .name = "key", .type = SETTING_PATH, .min = 1, TEXT_MAX,
            .help = "PEM file with the private key, RSA of at least 1024 bits (2048 is usual, RFC "
                    "8301) or Ed25519 (RFC 8463). Nobody else may write it." },
    { FIELD(DKIM, is_inactive), .name = "active", .type = SETTING_BOOL_NOT, .fallback = "yes",
            .help = "Sign with it. A key that is not active is kept for \"outpost domain "
                    "rotate\"." },
    { FIELD(DKIM, since), .name = "since", .type = SETTING_STR, .max = 40,
            .help = "When it began to sign, as \"2026-11-25T00:00:00Z\"; written by \"outpost "
                    "domain\"." },
    { FIELD(DKIM, until), .name = "until", .type = SETTING_STR, .max = 40,
            .help = "When a key that signs no more may go; written by \"outpost domain "
                    "rotate\"." },

    /* ---- service ---- */
    { FIELD(SERVICE, spf), .name = "spf", .type = SETTING_STR, .max = 255,
            .help = "The term that the domain's SPF record must have for it, as "
                    "\"include:_spf.news.example\"." },
    { LIST(SERVICE, selector, selector_count), .name = "selectors", .type = SETTING_NAME_LIST,
            .max = 20, .help = "Selectors of its DKIM keys under the domain." },

    /* ---- stream ---- */
    { FIELD(STREAM, pool), .name = "pool", .type = SETTING_STR, .max = CONFIG_NAME_BYTES_MAX,
            .fallback_say = "the first pool; without pools the system chooses the address",
            .help = "The pool from whose sources its mail is sent." },
    { FIELD(STREAM, is_signed), .name = "sign-required", .type = SETTING_BOOL, .fallback = "no",
            .help = "Refuse mail for whose From domain there is no DKIM key." },
    { FIELD(STREAM, is_in_doubt_held), .name = "hold-in-doubt", .type = SETTING_BOOL,
            .fallback = "no",
            .help = "When a connection breaks between the last byte and the reply, hold the "
                    "message "
                    "for an operator instead of sending it again, perhaps twice (RFC 1047)." },
    { FIELD(STREAM, retry_first_ms), .name = "retry-first", .type = SETTING_MS, .fallback = "5m",
            .min = SECOND, .max = DAY, .help = "Wait before the second attempt; then it doubles." },
    { FIELD(STREAM, retry_max_ms), .name = "retry-max", .type = SETTING_MS, .fallback = "4h",
            .min = SECOND, .max = 7 * DAY, .help = "Longest wait between two attempts." },
    { FIELD(STREAM, give_up_ms), .name = "give-up", .type = SETTING_MS, .fallback = "5d",
            .min = SECOND, .max = 60 * DAY,
            .help = "Age at which a message is returned as not deliverable (RFC 5321 4.5.4.1: 4 to "
                    "5 "
                    "days)." },
    { FIELD(STREAM, is_dsn_off), .name = "dsn", .type = SETTING_BOOL_NOT, .fallback = "yes",
            .help = "Send the sender a report about what could not be delivered (RFC 3464)." },

    /* ---- source ---- */
    { FIELD(SOURCE, address), .name = "address", .type = SETTING_IP,
            .fallback_say = "the system chooses",
            .help = "An address of this host; connections are bound to it." },
    { FIELD(SOURCE, ehlo), .name = "ehlo", .type = SETTING_HOST, .fallback_say = "hostname",
            .help = "Our name in EHLO from this address; should be what its PTR record says." },

    /* ---- pool ---- */
    { LIST(POOL, source_text, source_count), .name = "sources", .type = SETTING_WEIGHT_LIST,
            .min = 1, LIST_MAX,
            .help = "Names of sources; \"a:3\" is used three times as often as \"b\"." },

    /* ---- route ---- */
    { LIST(ROUTE, to, to_count), .name = "to", .type = SETTING_TARGET_LIST, .min = 1, .max = 20,
            .help = "Hosts, as \"relay.example:587\", \"10.0.0.7\", \"[2001:db8::1]:25\"; tried in "
                    "this order. Port 25 where none is given." },
    { FIELD(ROUTE, tls), .name = "tls", .type = SETTING_ENUM, .fallback = "may",
            .fallback_say = "as outbound-tls", .words = dest_tls_words,
            .help = "TLS to these hosts: may, required, verified, off, as in outbound-tls." },
    { FIELD(ROUTE, username), .name = "username", .type = SETTING_STR, .max = 255,
            .help = "Log in there by this name (only under TLS, or on loopback)." },
    { FIELD(ROUTE, password_path), .name = "password-file", .type = SETTING_PATH, TEXT_MAX,
            .help = "File whose first line is the password; nobody else may read it." },

    /* ---- alert ---- */
    { FIELD(ALERT, type), .name = "type", .type = SETTING_ENUM, .fallback = "webhook",
            .words = alert_words,
            .help = "webhook: an HTTP POST; syslog: a line to the system's log; command: a program "
                    "with JSON on its standard input; nagios: a passive result; mail: through "
                    "another server." },
    { FIELD(ALERT, format), .name = "format", .type = SETTING_ENUM, .fallback = "json",
            .words = alert_format_words,
            .help = "Body of a webhook: json (ours), pagerduty (Events API v2), opsgenie (Alert "
                    "API), slack (also Mattermost and alike), healthchecks (pinged after each run, "
                    "too)." },
    { FIELD(ALERT, url), .name = "url", .type = SETTING_STR, .max = 1000,
            .help = "Where to: http or https for a webhook, smtp or smtps for mail, as "
                    "\"smtps://relay.example:465\". May be left out for pagerduty and opsgenie, "
                    "and "
                    "where the address is a secret and stands in key-file." },
    { FIELD(ALERT, key_path), .name = "key-file", .type = SETTING_PATH, TEXT_MAX,
            .help = "File whose first line is the service's secret: routing key (pagerduty), API "
                    "key (opsgenie), bearer token (other webhooks; without url: the address "
                    "itself), password (mail). Nobody else may read it." },
    { FIELD(ALERT, username), .name = "username", .type = SETTING_STR, .max = 255,
            .help = "mail: log in by this name; the password is in key-file." },
    { FIELD(ALERT, command), .name = "command", .type = SETTING_PATH, TEXT_MAX,
            .help = "Path of the program; no shell, no arguments, a fixed environment, 30 s." },
    { FIELD(ALERT, socket), .name = "socket", .type = SETTING_PATH, .fallback = "/dev/log",
            .max = 107, .help = "syslog: the log's socket." },
    { FIELD(ALERT, command_file), .name = "command-file", .type = SETTING_PATH, TEXT_MAX,
            .help = "nagios: the file of external commands (command_file), a pipe." },
    { FIELD(ALERT, nagios_host), .name = "nagios-host", .type = SETTING_STR, .max = 255,
            .fallback_say = "hostname", .help = "nagios: the host's name there." },
    { FIELD(ALERT, nagios_service), .name = "nagios-service", .type = SETTING_STR, .max = 255,
            .fallback = "outpost", .help = "nagios: the service's name there." },
    { FIELD(ALERT, from), .name = "from", .type = SETTING_STR, .max = 320,
            .fallback_say = "outpost@hostname", .help = "mail: the sender." },
    { FIELD(ALERT, to), .name = "to", .type = SETTING_STR, .max = 320,
            .help = "mail: the recipient." },
    { FIELD(ALERT, min_severity), .name = "min-severity", .type = SETTING_ENUM, .fallback = "fail",
            .words = severity_words, .help = "warn: warnings are told too." },
    { FIELD(ALERT, repeat_ms), .name = "repeat", .type = SETTING_MS, .fallback = "4h",
            .max = 30 * DAY,
            .help = "A problem that lasts is told again after this, then after twice as long, at "
                    "most a day; 0s: once only." },
    { FIELD(ALERT, is_resolved_hidden), .name = "resolved", .type = SETTING_BOOL_NOT,
            .fallback = "yes", .help = "Tell the end of a problem too." },
};
const uint32_t setting_count = COUNT_OF(setting_table);
