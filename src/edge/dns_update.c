/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_update.c - one UPDATE message by ldns, sent over TCP and its answer checked (RFC 2136, 8945).
 */
#include "edge/dns_update.h"

#include "core/str.h"

#include <ldns/ldns.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { TSIG_FUDGE_S = 300, PACKET_BYTES_MAX = 65535 };

/* ---- the key's file ---- */

/* The next word: a quoted text, a bare word, or one of { } ; */
static bool next_word(struct str *rest, struct str *ret_word)
{
    for (;;) {
        *rest = str_trim(*rest);
        bool is_comment = rest->len > 0 && (rest->ptr[0] == '#' || str_starts(*rest, STR("//")));
        if (!is_comment) {
            break;
        }
        *rest = str_from(*rest, str_index(*rest, '\n'));
    }
    if (rest->len == 0) {
        return false;
    }
    char c = rest->ptr[0];
    size_t len = 1;
    if (c == '"') {
        size_t end = str_index(str_from(*rest, 1), '"');
        *ret_word = str_sub(*rest, 1, end);
        *rest = str_from(*rest, end + 2);
        return true;
    }
    while (c != '{' && c != '}' && c != ';' && len < rest->len &&
            strchr(" \t\r\n{};\"", rest->ptr[len]) == NULL) {
        len++;
    }
    *ret_word = str_sub(*rest, 0, len);
    *rest = str_from(*rest, len);
    return true;
}

enum err dns_tsig_key_read(struct str text, struct dns_tsig_key *ret_key, struct why *why)
{
    struct dns_tsig_key key = { 0 };
    char algorithm[62] = "";
    struct str word, value;
    bool is_good = true;
    while (is_good && next_word(&text, &word)) {
        if (str_eq(word, STR("key"))) {
            is_good = next_word(&text, &value) && str_to_c(value, key.name, sizeof key.name);
        } else if (str_eq(word, STR("algorithm"))) {
            is_good = next_word(&text, &value) && str_to_c(value, algorithm, sizeof algorithm);
        } else if (str_eq(word, STR("secret"))) {
            is_good = next_word(&text, &value) && str_to_c(value, key.secret, sizeof key.secret);
        }
    }
    if (!is_good || key.name[0] == '\0' || algorithm[0] == '\0' || key.secret[0] == '\0') {
        why_set(why, "no TSIG key as in: key \"NAME\" { algorithm hmac-sha256; secret \"...\"; }; "
                     "(tsig-keygen makes one)");
        return E_SYNTAX;
    }
    fmt(key.algorithm, sizeof key.algorithm, "%s.", algorithm);
    *ret_key = key;
    return OK;
}

/* ---- the message ---- */

/* RFC 2136 2.5.2: class ANY, no data, no life: the set of records goes. */
static ldns_rr *deletion_of(const ldns_rr *rr)
{
    ldns_rr *gone = ldns_rr_new();
    if (gone == NULL) {
        return NULL;
    }
    ldns_rr_set_owner(gone, ldns_rdf_clone(ldns_rr_owner(rr)));
    ldns_rr_set_type(gone, ldns_rr_get_type(rr));
    ldns_rr_set_class(gone, LDNS_RR_CLASS_ANY);
    ldns_rr_set_ttl(gone, 0);
    ldns_rr_set_rd_count(gone, 0);
    return gone;
}

static bool has_set(const ldns_rr_list *list, size_t count, const ldns_rr *rr)
{
    for (size_t i = 0; i < count; i++) {
        const ldns_rr *other = ldns_rr_list_rr(list, i);
        if (ldns_rr_get_type(other) == ldns_rr_get_type(rr) &&
                ldns_dname_compare(ldns_rr_owner(other), ldns_rr_owner(rr)) == 0) {
            return true;
        }
    }
    return false;
}

/* Deletions of all sets first, then what they are to hold. */
static enum err build_list(
        const struct dns_update *update, ldns_rr_list *added, ldns_rr_list *all, struct why *why)
{
    for (uint32_t i = 0; i < update->line_count; i++) {
        ldns_rr *rr = NULL;
        if (ldns_rr_new_frm_str(&rr, update->line[i], 0, NULL, NULL) != LDNS_STATUS_OK) {
            why_set(why, "no record that DNS takes: %.200s", update->line[i]);
            return E_SYNTAX;
        }
        if (!ldns_rr_list_push_rr(added, rr)) {
            ldns_rr_free(rr);
            return E_NOMEM;
        }
    }
    for (size_t i = 0; i < ldns_rr_list_rr_count(added); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(added, i);
        if (!has_set(added, i, rr) && !ldns_rr_list_push_rr(all, deletion_of(rr))) {
            return E_NOMEM;
        }
    }
    for (size_t i = 0; i < ldns_rr_list_rr_count(added); i++) {
        if (!ldns_rr_list_push_rr(all, ldns_rr_clone(ldns_rr_list_rr(added, i)))) {
            return E_NOMEM;
        }
    }
    return OK;
}

/* ldns counts the records of the update section where other messages have the authority. */
static ldns_pkt *build_packet(const struct dns_update *update, const ldns_rr_list *all)
{
    ldns_rdf *zone = ldns_dname_new_frm_str(update->zone);
    ldns_pkt *packet =
            zone == NULL ? NULL : ldns_update_pkt_new(zone, LDNS_RR_CLASS_IN, NULL, all, NULL);
    if (packet == NULL) {
        ldns_rdf_deep_free(zone);
        return NULL;
    }
    ldns_pkt_set_random_id(packet);
    return packet;
}

/* ---- sent ---- */

static socklen_t address_of(const struct ip_port *at, struct sockaddr_storage *ret_address)
{
    memset(ret_address, 0, sizeof *ret_address);
    if (at->ip.family == IP_V4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)ret_address;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(at->port);
        memcpy(&v4->sin_addr, at->ip.byte, 4);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret_address;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(at->port);
    memcpy(&v6->sin6_addr, at->ip.byte, 16);
    return sizeof *v6;
}

static enum err judge(const struct dns_update *update, const ldns_pkt *sent, uint8_t *wire,
        size_t len, struct why *why)
{
    ldns_pkt *reply = NULL;
    if (ldns_wire2pkt(&reply, wire, len) != LDNS_STATUS_OK ||
            ldns_pkt_id(reply) != ldns_pkt_id(sent) || !ldns_pkt_qr(reply)) {
        ldns_pkt_free(reply);
        why_set(why, "the server's answer makes no sense");
        return E_IO;
    }
    ldns_pkt_rcode rcode = ldns_pkt_get_rcode(reply);
    const ldns_rdf *mac = ldns_rr_rdf(ldns_pkt_tsig(sent), 3);
    bool is_signed =
            ldns_pkt_tsig(reply) != NULL &&
            ldns_pkt_tsig_verify(reply, wire, len, update->key->name, update->key->secret, mac);
    enum err err = OK;
    if (rcode != LDNS_RCODE_NOERROR) {
        ldns_lookup_table *word = ldns_lookup_by_id(ldns_rcodes, (int)rcode);
        why_set(why, "the server says %s%s", word != NULL ? word->name : "an unknown code",
                rcode == LDNS_RCODE_NOTAUTH ? ": the key is not its own, or the clocks differ"
                                            : "");
        err = E_REFUSED;
    } else if (!is_signed) {
        why_set(why, "the server's answer is not signed with the key");
        err = E_DENIED;
    }
    ldns_pkt_free(reply);
    return err;
}

static enum err exchange(const struct dns_update *update, const ldns_pkt *packet, struct why *why)
{
    struct sockaddr_storage address;
    struct timeval time_max = { .tv_sec = DNS_UPDATE_MS_MAX / 1000 };
    socklen_t address_len = address_of(&update->server, &address);
    uint8_t *wire = NULL;
    size_t len = 0;
    ldns_buffer *buffer = ldns_buffer_new(PACKET_BYTES_MAX);
    if (buffer == NULL || ldns_pkt2buffer_wire(buffer, packet) != LDNS_STATUS_OK) {
        ldns_buffer_free(buffer);
        return E_NOMEM;
    }
    ldns_status status = ldns_tcp_send(&wire, buffer, &address, address_len, time_max, &len);
    ldns_buffer_free(buffer);
    if (status != LDNS_STATUS_OK) {
        why_set(why, "no answer over TCP: %s", ldns_get_errorstr_by_id(status));
        return E_TIMEOUT;
    }
    enum err err = judge(update, packet, wire, len, why);
    LDNS_FREE(wire);
    return err;
}

enum err dns_update_send(const struct dns_update *update, struct why *why)
{
    ldns_rr_list *added = ldns_rr_list_new(), *all = ldns_rr_list_new();
    ldns_pkt *packet = NULL;
    enum err err = added != NULL && all != NULL ? build_list(update, added, all, why) : E_NOMEM;
    if (err == OK) {
        packet = build_packet(update, all);
        err = packet != NULL ? OK : E_NOMEM;
    }
    if (err == OK && ldns_pkt_tsig_sign(packet, update->key->name, update->key->secret,
                             TSIG_FUDGE_S, update->key->algorithm, NULL) != LDNS_STATUS_OK) {
        why_set(why, "the TSIG key does not sign: hmac-sha256, hmac-sha512 or hmac-sha1, and a "
                     "secret in base64");
        err = E_SYNTAX;
    }
    err = err != OK ? err : exchange(update, packet, why);
    ldns_pkt_free(packet);
    ldns_rr_list_deep_free(added);
    ldns_rr_list_deep_free(all);
    return err;
}
