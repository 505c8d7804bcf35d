/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_address.c - `outpost address check`: are these addresses worth sending to?
 *
 * Works in windows of some hundred addresses: read, looked at, their domains asked about all at
 * once, printed in order. So a list of any length takes bounded memory. address_source.c reads it.
 */
#include "cli/cli.h"

#include "cli/address_source_priv.h"
#include "core/map.h"
#include "core/str.h"
#include "edge/clock.h"
#include "edge/disk.h"
#include "history/history.h"
#include "identity/identity.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum {
    WINDOW_COUNT = 512,          /* addresses, and so domains, under way at one time */
    DOMAIN_COUNT_MAX = 8192,     /* remembered; then all are forgotten */
    OUTPUT_BYTES_MAX = 64 << 20, /* of one window: 4096 bytes as \u escapes take 24 KiB */
    PROGRESS_MS = 200
};

static const char help[] =
        "Is an address worth sending to? Its syntax, its domain, typos, what we know of it.\n"
        "\n"
        "  outpost address check user@gmal.com                    asks DNS\n"
        "  outpost address check --offline --file list.txt        one a line; nothing is asked\n"
        "  outpost address check --file - --json < list.txt       a JSON object a line, in order\n"
        "  outpost address check --file list.txt --csv > out.csv\n"
        "  outpost address check --zone example.zone user@example.com     answers from a master "
        "file\n"
        "\n"
        "With --input json (or a file named .jsonl) each line is a JSON string, or an object with "
        "\"address\": so\n"
        "an address may hold any character. smtp, header and signup say whether it may stand in "
        "an envelope, in a\n"
        "header field, and in a careful sign-up form; suggestion is the whole address that was "
        "probably meant.\n"
        "Each domain is asked about once and gets at most 20 seconds; DNS that fails is \"could "
        "not "
        "tell\", never bad.\n"
        "\n"
        "With --probe the mail host is asked too (MAIL and RCPT, never DATA): 20 a minute for a "
        "domain, from --probe-source\n"
        "IP, as --probe-ehlo NAME and --probe-from ADDRESS; --probe-via IP:PORT asks that host "
        "instead. Receivers that\n"
        "punish it are left out. Use it sparingly: it costs reputation.\n"
        "\n"
        "options: --file FILE (\"-\" or nothing: standard input), --input lines|json, --json, "
        "--csv, "
        "--offline, --zone FILE,\n"
        "--resolver IP[:PORT], --history DIR (what became of our own mail; of a node that does not "
        "run).\n"
        "Exit: 0 good or only warnings, 1 a bad one was found, 2 usage, 75 could not tell of "
        "some.\n";

struct address_args {
    const char *file, *input, *zone, *resolver, *history;
    const char *probe_source, *probe_ehlo, *probe_from, *probe_via;
    bool is_json, is_csv, is_offline, is_probe;
    bool is_piped; /* no address was given, and no file */
};

struct known_domain {
    char name[DNS_NAME_CAP];
    struct identity_mail mail;
};
struct slot {
    size_t text_start, text_len; /* in the window's texts */
    bool is_unread;              /* no JSON */
    struct known_domain *domain; /* NULL: not asked */
    struct identity_address address;
};
struct check {
    const struct address_args *args;
    struct address_source *source;
    struct identity_addresses *addresses;
    struct identity_desk *desk;   /* NULL: offline */
    struct history *history;      /* NULL: none */
    struct identity_probe *probe; /* NULL: mail hosts are not asked */
    struct buf texts, output;
    struct slot *slot;
    uint32_t slot_count;
    struct known_domain *domain;
    uint32_t domain_count;
    struct map domain_by_name;
    uint64_t count_by_verdict[IDENTITY_ADDRESS_BAD + 1];
    struct mono begun_at, shown_at;
    bool is_progress_shown;
};

/* ---- domains ---- */

static struct known_domain *domain_find(const struct check *check, struct str name)
{
    uint64_t index;
    for (uint32_t at = 0; map_walk_key(&check->domain_by_name, str_hash(name, 0), &at, &index);) {
        if (str_eq(str_from_c(check->domain[index].name), name)) {
            return &check->domain[index];
        }
    }
    return NULL;
}

static void domain_asked(void *ctx)
{
    (void)ctx; /* identity_desk_run ends when all are */
}

/* The domain, asked about or soon to be; NULL: no memory, so nothing can be told. */
static struct known_domain *domain_ask(struct check *check, struct str name)
{
    struct known_domain *domain = domain_find(check, name);
    if (domain != NULL) {
        return domain;
    }
    ASSERT(check->domain_count < DOMAIN_COUNT_MAX);
    domain = &check->domain[check->domain_count];
    struct identity_engine engine = identity_mail_engine(&domain->mail);
    if (!str_to_c(name, domain->name, sizeof domain->name) ||
            map_add(&check->domain_by_name, str_hash(name, 0), check->domain_count) != OK) {
        return NULL;
    }
    check->domain_count++;
    identity_mail_begin(&domain->mail, name);
    if (identity_ask(identity_desk_asker(check->desk), &engine, 0, domain_asked, NULL, NULL) !=
            OK) {
        identity_mail_give_up(&domain->mail);
    }
    return domain;
}

static void domains_ask(struct check *check)
{
    if (check->domain_count + WINDOW_COUNT > DOMAIN_COUNT_MAX) {
        map_done(&check->domain_by_name);
        check->domain_by_name = (struct map){ 0 };
        check->domain_count = 0;
    }
    for (uint32_t i = 0; i < check->slot_count; i++) {
        struct slot *slot = &check->slot[i];
        if (identity_address_wants_mail(&slot->address)) {
            slot->domain = domain_ask(check, slot->address.domain);
        }
    }
    identity_desk_run(check->desk);
    for (uint32_t i = 0; i < check->slot_count; i++) {
        struct slot *slot = &check->slot[i];
        if (slot->domain != NULL) {
            identity_address_add_mail(check->addresses, &slot->address, &slot->domain->mail);
            if (check->probe != NULL) {
                identity_probe_ask(check->probe, &slot->address, &slot->domain->mail);
            }
        }
    }
}

/* ---- one window ---- */

static void read_window(struct check *check)
{
    bool is_unread;
    buf_clear(&check->texts);
    check->slot_count = 0;
    while (check->slot_count < WINDOW_COUNT) {
        size_t start = check->texts.len;
        if (!address_source_next(check->source, &check->texts, &is_unread)) {
            return;
        }
        struct slot *slot = &check->slot[check->slot_count++];
        slot->text_start = start;
        slot->text_len = check->texts.len - start;
        slot->is_unread = is_unread;
        slot->domain = NULL;
    }
}

static void look(struct check *check, struct slot *slot)
{
    struct why why;
    struct str text = str_sub(buf_str(&check->texts), slot->text_start, slot->text_len);
    identity_address_look(
            check->addresses, slot->is_unread ? (struct str){ 0 } : text, &slot->address);
    if (slot->is_unread) {
        slot->address.text = text; /* to be shown, though it is not what was asked about */
        slot->address.fault = "is not there: the line is no JSON string, nor an object with a "
                              "string \"address\"";
    }
    if (check->history != NULL &&
            identity_address_add_history(check->history, &slot->address, &why) != OK) {
        cli_complain("the history cannot be read: %s", why.text);
    }
}

static void print_reason(struct buf *output, const struct identity_address *address,
        enum identity_address_reason reason)
{
    buf_addf(output, "         %s: %s", identity_address_reason_name(reason),
            identity_address_reason_words(reason));
    if (reason == IDENTITY_ADDRESS_SYNTAX && address->fault != NULL) {
        buf_addf(output, " (it %s)", address->fault);
    } else if (address->note[0] != '\0' &&
               (reason == IDENTITY_ADDRESS_BOUNCED || reason == IDENTITY_ADDRESS_REFUSED ||
                       reason == IDENTITY_ADDRESS_UNDECIDED)) {
        buf_addf(output, " (%s)", address->note);
    } else if (reason == IDENTITY_ADDRESS_TYPO) {
        buf_addf(output, ": %.*s", STR_ARG(address->suggestion));
    }
    buf_add_char(output, '\n');
}

/* May it go to a terminal: UTF-8 without the control characters of both sets? */
static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.ptr[i], next = i + 1 < s.len ? (uint8_t)s.ptr[i + 1] : 0;
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && next < 0xa0)) {
            return false;
        }
    }
    return str_is_utf8(s);
}

static void print_for_people(struct buf *output, const struct identity_address *address)
{
    static const char *const colour[] = { "\033[32m", "\033[33m", "\033[33m", "\033[31m" };
    enum identity_address_verdict verdict = identity_address_verdict(address);
    char escaped[2048];
    bool is_coloured = cli_is_coloured();
    struct str shown = address->text;
    if (!is_printable(shown)) {
        shown = str_escape(shown, escaped, sizeof escaped);
    }
    buf_addf(output, "%s%-7s%s  %.*s\n", is_coloured ? colour[verdict] : "",
            identity_address_verdict_name(verdict), is_coloured ? "\033[0m" : "",
            STR_ARG(str_sub(shown, 0, sizeof escaped)));
    for (uint32_t i = 0; i < IDENTITY_ADDRESS_REASON_COUNT; i++) {
        if (address->reasons >> i & 1) {
            print_reason(output, address, (enum identity_address_reason)i);
        }
    }
}

static void print(struct check *check, const struct identity_address *address)
{
    check->count_by_verdict[identity_address_verdict(address)]++;
    if (check->args->is_json) {
        identity_address_json(address, &check->output);
        buf_add_char(&check->output, '\n');
    } else if (check->args->is_csv) {
        identity_address_csv(address, &check->output);
    } else {
        print_for_people(&check->output, address);
    }
}

/* False: memory did not suffice for it. */
static bool run_window(struct check *check)
{
    buf_clear(&check->output);
    for (uint32_t i = 0; i < check->slot_count; i++) {
        look(check, &check->slot[i]);
    }
    if (check->desk != NULL) {
        domains_ask(check);
    }
    for (uint32_t i = 0; i < check->slot_count; i++) {
        print(check, &check->slot[i].address);
    }
    fwrite(check->output.ptr, 1, check->output.len, stdout);
    return buf_err(&check->output) == OK && buf_err(&check->texts) == OK;
}

/* ---- all of them ---- */

static uint64_t checked_count(const struct check *check)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < COUNT_OF(check->count_by_verdict); i++) {
        sum += check->count_by_verdict[i];
    }
    return sum;
}

static void show_progress(struct check *check, bool is_last)
{
    struct mono now = clock_mono(clock_real());
    if (!check->args->file || !isatty(STDERR_FILENO) ||
            (!is_last && now.ms - check->shown_at.ms < PROGRESS_MS)) {
        return;
    }
    check->shown_at = now;
    int64_t ms = now.ms - check->begun_at.ms + 1;
    uint64_t count = checked_count(check);
    int32_t percent = address_source_percent(check->source);
    fprintf(stderr, "\r\033[K");
    if (is_last) {
        return;
    }
    if (percent >= 0) {
        char bar[21];
        memset(bar, ' ', sizeof bar - 1);
        memset(bar, '#', (size_t)percent / 5);
        bar[sizeof bar - 1] = '\0';
        fprintf(stderr, "[%s] %3d %%  ", bar, (int)percent);
    }
    fprintf(stderr, "%" PRIu64 " checked, %" PRIu64 "/s", count, count * 1000 / (uint64_t)ms);
    fflush(stderr);
}

static int exit_code(const struct check *check)
{
    if (check->count_by_verdict[IDENTITY_ADDRESS_BAD] > 0) {
        return CLI_WANTING;
    }
    return check->count_by_verdict[IDENTITY_ADDRESS_UNKNOWN] > 0 ? CLI_TRY_AGAIN : CLI_GOOD;
}

static int run(struct check *check)
{
    const uint64_t *count = check->count_by_verdict;
    check->begun_at = clock_mono(clock_real());
    read_window(check);
    if (check->args->is_piped && check->slot_count == 0) {
        return cli_usage("address", "give addresses, or --file FILE");
    }
    if (check->args->is_csv) {
        fputs(identity_address_csv_heading, stdout);
    }
    for (; check->slot_count > 0; read_window(check)) {
        if (!run_window(check)) {
            cli_complain("out of memory: the list is not complete");
            return CLI_TRY_AGAIN;
        }
        show_progress(check, false);
    }
    show_progress(check, true);
    if (check->args->file) {
        fprintf(stderr,
                "%" PRIu64 " checked: %" PRIu64 " good, %" PRIu64 " with a warning, %" PRIu64
                " could not be told, %" PRIu64 " bad\n",
                checked_count(check), count[IDENTITY_ADDRESS_GOOD], count[IDENTITY_ADDRESS_WARN],
                count[IDENTITY_ADDRESS_UNKNOWN], count[IDENTITY_ADDRESS_BAD]);
    }
    if (fflush(stdout) != 0 || ferror(stdout) || address_source_failed(check->source)) {
        cli_complain("not everything could be read or written: the list is not complete");
        return CLI_TRY_AGAIN;
    }
    return exit_code(check);
}

static bool open_history(struct check *check, struct why *why)
{
    struct disk *disk;
    if (check->args->history == NULL) {
        return true;
    }
    if (access(check->args->history, R_OK | X_OK) != 0) { /* it is not to be made */
        why_set(why, "%s: %s", check->args->history, strerror(errno));
        return false;
    }
    return disk_open_real(check->args->history, &disk, why) == OK &&
           history_open(disk, &check->history, why) == OK;
}

static bool open_probe(struct check *check, struct why *why)
{
    const struct address_args *args = check->args;
    char name[HOST_NAME_MAX + 1] = "";
    struct identity_probe_conf conf = { .ehlo = str_from_c(args->probe_ehlo),
        .sender = str_from_c(args->probe_from) };
    if (!args->is_probe) {
        return true;
    }
    if (args->probe_ehlo == NULL && gethostname(name, sizeof name - 1) == 0) {
        conf.ehlo = str_from_c(name);
    }
    if (args->probe_source && ip_parse(str_from_c(args->probe_source), &conf.source) != OK) {
        why_set(why, "--probe-source is an IP address of this host");
        return false;
    }
    if (args->probe_via && ip_port_parse(str_from_c(args->probe_via), &conf.via) != OK) {
        why_set(why, "--probe-via is IP:PORT");
        return false;
    }
    return identity_probe_open(&conf, &check->probe, why) == OK;
}

static bool open_parts(struct check *check, struct why *why)
{
    const struct address_args *args = check->args;
    buf_init(&check->texts, (size_t)(WINDOW_COUNT + 1) * ADDRESS_SOURCE_BYTES_MAX);
    buf_init(&check->output, OUTPUT_BYTES_MAX);
    check->slot = mem_new(WINDOW_COUNT * sizeof *check->slot);
    check->domain = mem_new(DOMAIN_COUNT_MAX * sizeof *check->domain);
    if (!check->slot || !check->domain || identity_addresses_open(&check->addresses) != OK) {
        why_set(why, "out of memory");
        return false;
    }
    if (!args->is_offline &&
            identity_desk_open(args->zone, str_from_c(args->resolver ? args->resolver : ""),
                    &check->desk, why) != OK) {
        return false;
    }
    return open_history(check, why) && open_probe(check, why);
}

static void close_parts(struct check *check)
{
    identity_probe_close(check->probe);
    history_close(check->history);
    identity_desk_close(check->desk);
    identity_addresses_close(check->addresses);
    map_done(&check->domain_by_name);
    mem_free(check->domain);
    mem_free(check->slot);
    buf_done(&check->output);
    buf_done(&check->texts);
    address_source_close(check->source);
}

/* "-", or nothing where something is piped in: standard input. */
static void take_stdin(struct address_args *args, int *count, char **texts)
{
    bool is_dash = *count == 1 && strcmp(texts[0], "-") == 0;
    args->is_piped = !args->file && *count == 0 && !isatty(STDIN_FILENO);
    if (args->is_piped || (is_dash && !args->file)) {
        args->file = "-";
        *count = 0;
    }
}

static int open_source(const struct address_args *args, int count, char **texts,
        struct address_source **ret_source)
{
    struct str file = str_from_c(args->file), input = str_from_c(args->input);
    bool is_json = str_ends_nocase(file, STR(".jsonl")) || str_ends_nocase(file, STR(".ndjson"));
    if (input.len > 0) {
        is_json = str_eq(input, STR("json"));
        if (!is_json && !str_eq(input, STR("lines"))) {
            return cli_usage("address", "--input is lines or json");
        }
    }
    if ((args->file != NULL) == (count > 0)) {
        return cli_usage("address", "give addresses, or --file FILE");
    }
    if (args->is_json && args->is_csv) {
        return cli_usage("address", "--json or --csv, not both");
    }
    if (args->is_offline && (args->zone || args->resolver || args->is_probe)) {
        return cli_usage(
                "address", "--offline asks nobody: leave out --zone, --resolver and --probe");
    }
    if (!args->is_probe &&
            (args->probe_source || args->probe_ehlo || args->probe_from || args->probe_via)) {
        return cli_usage("address", "--probe-... say how to --probe: add that");
    }
    return address_source_open(args->file, is_json, count, texts, ret_source) ? CLI_GOOD
                                                                              : CLI_USAGE;
}

int cmd_address(int argc, char **argv)
{
    struct address_args args = { 0 };
    int count, code;
    const struct cli_option options[] = { { "file", &args.file, NULL },
        { "input", &args.input, NULL }, { "zone", &args.zone, NULL },
        { "resolver", &args.resolver, NULL }, { "history", &args.history, NULL },
        { "json", NULL, &args.is_json }, { "csv", NULL, &args.is_csv },
        { "offline", NULL, &args.is_offline }, { "probe", NULL, &args.is_probe },
        { "probe-source", &args.probe_source, NULL }, { "probe-ehlo", &args.probe_ehlo, NULL },
        { "probe-from", &args.probe_from, NULL }, { "probe-via", &args.probe_via, NULL } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &code)) {
        return code;
    }
    if (count == 0 || strcmp(argv[1], "check") != 0) {
        return cli_usage("address", "what? check");
    }
    if (!cli_zone_is_good(args.zone)) {
        return CLI_USAGE;
    }
    struct check check = { .args = &args };
    struct why why = { 0 };
    count--;
    take_stdin(&args, &count, argv + 2);
    code = open_source(&args, count, argv + 2, &check.source);
    if (code != CLI_GOOD) {
        return code;
    }
    if (open_parts(&check, &why)) {
        code = run(&check);
    } else {
        cli_complain("%s", why.text);
        code = CLI_TRY_AGAIN;
    }
    close_parts(&check);
    return code;
}
