/* SPDX-License-Identifier: Apache-2.0
 *
 * watch_rules.c - two judgements that need no net: does a refusal speak of what we check, and would
 * a listener relay for strangers?
 */
#include "core/str.h"
#include "identity/data_priv.h"
#include "identity/identity.h"

/* ---- refusals ---- */

static bool has_words(struct str text, struct str words)
{
    for (size_t i = 0; i + words.len <= text.len; i++) {
        bool is_begin =
                i == 0 || !(ascii_is_alpha(text.ptr[i - 1]) || ascii_is_digit(text.ptr[i - 1]));
        if (is_begin && str_eq_nocase(str_sub(text, i, words.len), words)) {
            return true;
        }
    }
    return false;
}

uint32_t identity_refusal_checks(struct str text)
{
    struct str rest = identity_data("refusal_words"), line, set;
    uint32_t sets = 0;
    while (identity_data_line(&rest, &line)) {
        if (identity_data_field(&line, &set) && has_words(text, str_trim(line))) {
            sets |= str_eq(set, STR("lists")) ? (uint32_t)IDENTITY_CHECK_LISTS
                                              : (uint32_t)IDENTITY_CHECK_DOMAINS;
        }
    }
    return sets;
}

/* ---- open relay ---- */

enum {
    RELAY_PROBES_V4 = 1024, /* made-up addresses: one in each quarter of each /8 */
    RELAY_PROBES_V6 = 256,  /* one in each /8 of 2000::/3, and beside it */
    RELAY_V4_BITS_MIN = 16, /* networks of the outside that are wider are worth a question */
    RELAY_V6_BITS_MIN = 32
};

/* As a session's rule (submit): who is in none of the networks must log in. */
static bool may_send(const struct config_listen *listen, struct ip ip)
{
    for (uint32_t i = 0; i < listen->network_count; i++) {
        if (ip_in(ip, &listen->network[i])) {
            return true;
        }
    }
    return false;
}

static struct ip made_up(uint32_t number)
{
    if (number < RELAY_PROBES_V4) {
        return (struct ip){ IP_V4,
            { (uint8_t)(number / 4), (uint8_t)(number % 4 * 64 + 17), 113, 200 } };
    }
    number -= RELAY_PROBES_V4;
    return (struct ip){ IP_V6,
        { (uint8_t)(0x20 + number / 8), (uint8_t)(number % 8 * 32 + 9), 0x12, 0x34, [15] = 0x99 } };
}

static bool is_outside(struct ip ip)
{
    return !ip_is_internal(ip) && (ip.family == IP_V6 || (ip.byte[0] > 0 && ip.byte[0] < 224));
}

static bool is_wide(const struct ip_net *net)
{
    return is_outside(net->ip) &&
           net->prefix_bits < (net->ip.family == IP_V4 ? RELAY_V4_BITS_MIN : RELAY_V6_BITS_MIN);
}

static bool find_stranger(const struct config_listen *listen, struct ip *ret_ip)
{
    for (uint32_t i = 0; i < RELAY_PROBES_V4 + RELAY_PROBES_V6; i++) {
        struct ip ip = made_up(i);
        if (is_outside(ip) && may_send(listen, ip)) {
            *ret_ip = ip;
            return true;
        }
    }
    for (uint32_t i = 0; i < listen->network_count; i++) {
        if (is_wide(&listen->network[i])) {
            *ret_ip = listen->network[i].ip;
            return true;
        }
    }
    return false;
}

void identity_relay_check(
        const struct config_listen *listen, struct arena *arena, struct identity_result *ret_result)
{
    struct ip stranger;
    char text[IP_TEXT_CAP];
    bool is_open = find_stranger(listen, &stranger);
    *ret_result = (struct identity_result){ .id = STR("relay.open"),
        .part = listen->name,
        .status = is_open ? IDENTITY_FAIL : IDENTITY_PASS,
        .title = STR("the listener takes mail from nobody who may not send"),
        .found = STR("made-up addresses of the outside must log in"),
        .expected = STR("made-up addresses of the outside must log in") };
    if (is_open) {
        ret_result->found = arena_strf(arena, "%.*s may send to anybody without a login",
                STR_ARG(ip_format(stranger, text)));
        ret_result->mend = arena_strf(arena,
                "listen \"%.*s\" { networks = { ... } }   # only networks of your own\n",
                STR_ARG(listen->name));
        ret_result->detail = STR("an open relay is found within hours and blocklisted: make the "
                                 "list of networks narrower, or ask for a login");
    }
}
