/* SPDX-License-Identifier: Apache-2.0
 *
 * message.c - messages and private keys from files, and text for JSON: what several commands read
 * and write.
 */
#include "cli/cli.h"

#include "core/crypto.h"
#include "core/str.h"
#include "mail/header.h"

#include <stdlib.h>

#include <jansson.h>

enum { MESSAGE_BYTES_MAX = 256 << 20, KEY_FILE_BYTES_MAX = 64 << 10, SHOWN_BYTES_MAX = 4096 };

struct key *cli_load_key(const char *path)
{
    struct buf pem;
    struct key *key = NULL;
    struct why why = { 0 };
    buf_init(&pem, KEY_FILE_BYTES_MAX);
    if (path == NULL) {
        cli_complain("which key? Name its file with --key");
    } else if (cli_read_file(path, KEY_FILE_BYTES_MAX, &pem) &&
               key_from_pem(buf_str(&pem), &key, &why) != OK) {
        cli_complain("%s is no usable private key: %s", path, why.text);
        key = NULL;
    }
    crypto_wipe(pem.ptr, pem.len);
    buf_done(&pem);
    return key;
}

bool cli_read_message(const char *path, struct buf *ret_message)
{
    struct buf raw;
    buf_init(&raw, MESSAGE_BYTES_MAX);
    buf_init(ret_message, 2ull * MESSAGE_BYTES_MAX);
    bool is_read = cli_read_file(path, MESSAGE_BYTES_MAX, &raw);
    if (is_read) {
        lines_to_crlf(buf_str(&raw), ret_message);
    }
    buf_done(&raw);
    return is_read && buf_err(ret_message) == OK;
}

json_t *cli_text_json(struct str s)
{
    char escaped[SHOWN_BYTES_MAX];
    json_t *json = json_stringn(s.len > 0 ? s.ptr : "", s.len);
    if (json == NULL) { /* not UTF-8 */
        s = str_escape(s, escaped, sizeof escaped);
        json = json_stringn(s.ptr, s.len);
    }
    return json;
}

void cli_print_json(json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII);
    printf("%s\n", text ? text : "{}");
    free(text);
    json_decref(json);
}

void cli_print_text(struct str s)
{
    char escaped[SHOWN_BYTES_MAX];
    struct str shown = str_escape(s, escaped, sizeof escaped);
    printf("%.*s", STR_ARG(shown));
}
