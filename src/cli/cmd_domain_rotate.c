/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_domain_rotate.c - `outpost domain rotate`: a new DKIM key takes the place of the one in use,
 * one stage a call.
 */
#include "cli/cmd_domain_priv.h"

#include "cli/cli.h"
#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"
#include "identity/identity.h"
#include "mail/domain.h"

#include <stdio.h>

#include <jansson.h>

enum { ARENA_BYTES_MAX = 64 << 20 };

static const char help[] =
        "A new DKIM key in place of the one in use, without a message that cannot be verified.\n"
        "\n"
        "  outpost domain rotate shop.example.com             moves on, where that is allowed\n"
        "  outpost domain rotate shop.example.com --status    says where it stands, changes "
        "nothing\n"
        "\n"
        "Stages: publish (a new key is made, its record is to be published; it does not sign yet), "
        "switch (as soon\n"
        "as every name server and the resolver show the record, the new key signs), retire (when "
        "the last message\n"
        "that the old one signed has left the queue, its key is dropped). Call it again at any "
        "time; it says what it\n"
        "waits for. With rotate = \"180d\" in the domain's section the node does all of it by "
        "itself, "
        "from that age on. Where\n"
        "it may not write domains.d, call this from a timer with --scheduled: a rotation then "
        "begins at that age only.\n"
        "options: --resolver IP[:PORT], --zone FILE (DNS as that master file has it), --config "
        "FILE, --json\n"
        "Exit: 0 moved on, or nothing to do; 1 not possible; 75 it waits, or is being changed by "
        "another.\n";

struct rotate_args {
    const char *config, *resolver, *zone;
    bool is_json, is_status, is_scheduled;
};

static const char *words_of(const struct identity_rotation *rotation)
{
    switch (rotation->stage) {
    case IDENTITY_ROTATE_PUBLISH:
        return rotation->has_moved ? "new keys were made; publish their records, then call again"
                                   : "new keys wait for their records; the old ones sign";
    case IDENTITY_ROTATE_RETIRE:
        return rotation->has_moved
                       ? "the new keys sign; keep the old records published until they are retired"
                       : "the new keys sign; the old records must stay";
    case IDENTITY_ROTATE_IDLE:
        return rotation->has_moved ? "done; the old records may be taken out of DNS"
                                   : "no rotation is under way";
    }
    return "";
}

static void print_words(const struct identity_rotation *rotation)
{
    char next[TIME_TEXT_CAP];
    printf("%s: %s\n", identity_rotate_stage_name(rotation->stage), words_of(rotation));
    if (rotation->new_selectors.len > 0) {
        printf("new %.*s\n", STR_ARG(rotation->new_selectors));
    }
    if (rotation->old_selectors.len > 0) {
        printf("old %.*s\n", STR_ARG(rotation->old_selectors));
    }
    if (rotation->waits_for.len > 0) {
        printf("waits for ");
        cli_print_text(rotation->waits_for);
        printf("\n");
    }
    if (rotation->next.ms > 0) {
        time_rfc3339(rotation->next, next);
        printf("next %s\n", next);
    }
    printf("%.*s", STR_ARG(rotation->records));
    if (rotation->has_moved) {
        fprintf(stderr, "let the node take it up: systemctl reload outpost\n");
    }
}

static void print_json(const struct identity_rotation *rotation)
{
    char next[TIME_TEXT_CAP] = "";
    if (rotation->next.ms > 0) {
        time_rfc3339(rotation->next, next);
    }
    cli_print_json(json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:s}", "stage",
            identity_rotate_stage_name(rotation->stage), "moved", rotation->has_moved, "old",
            cli_text_json(rotation->old_selectors), "new", cli_text_json(rotation->new_selectors),
            "waits_for", cli_text_json(rotation->waits_for), "records",
            cli_text_json(rotation->records), "next", next));
}

static int step(const struct rotate_args *args, struct str domain, struct arena *arena)
{
    struct identity_rotation rotation;
    struct why why = { 0 };
    struct identity_rotate_how how = { .config_path = cli_config_path(args->config),
        .domain = domain,
        .now = clock_wall(clock_real()),
        .is_looking = args->is_status,
        .is_scheduled = args->is_scheduled };
    if (how.config_path == NULL) {
        cli_complain("no configuration was found: name one with --config FILE");
        return CLI_WANTING;
    }
    how.outside.zone_path = args->zone;
    how.outside.servers = str_from_c(args->resolver != NULL ? args->resolver : "");
    enum err err = identity_rotate_step(&how, arena, &rotation, &why);
    if (err != OK) {
        cli_complain("%s", why.text[0] != '\0' ? why.text : err_name(err));
        return err == E_NOT_FOUND || err == E_UNSUPPORTED || err == E_SYNTAX ? CLI_WANTING
                                                                             : CLI_TRY_AGAIN;
    }
    args->is_json ? print_json(&rotation) : print_words(&rotation);
    bool is_waiting = !rotation.has_moved && rotation.waits_for.len > 0 && !args->is_status;
    return is_waiting ? CLI_TRY_AGAIN : CLI_GOOD;
}

int domain_rotate(int argc, char **argv)
{
    struct rotate_args args = { 0 };
    const struct cli_option options[] = { { "config", &args.config, NULL },
        { "resolver", &args.resolver, NULL }, { "zone", &args.zone, NULL },
        { "json", NULL, &args.is_json }, { "status", NULL, &args.is_status },
        { "scheduled", NULL, &args.is_scheduled } };
    char room[DOMAIN_CAP];
    struct str domain;
    struct arena arena;
    int count, exit_code;
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &exit_code)) {
        return exit_code;
    }
    if (count != 1) {
        return cli_usage("domain", "rotate takes one domain");
    }
    if (domain_to_ascii(str_from_c(argv[1]), room, &domain) != OK || !domain_is_dns_name(domain)) {
        char safe[300];
        struct str shown = str_escape(str_from_c(argv[1]), safe, sizeof safe);
        return cli_usage("domain", "\"%.*s\" is no domain name", STR_ARG(shown));
    }
    if (!cli_zone_is_good(args.zone)) {
        return CLI_USAGE;
    }
    arena_init(&arena, ARENA_BYTES_MAX);
    exit_code = step(&args, domain, &arena);
    arena_done(&arena);
    return exit_code;
}
