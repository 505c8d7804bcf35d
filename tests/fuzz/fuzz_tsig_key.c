/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_tsig_key.c - key files as BIND writes them: what is taken has all three parts.
 */
#include "edge/dns_update.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dns_tsig_key key;
    struct why why = { 0 };
    struct str text = { (const char *)data, size };
    if (dns_tsig_key_read(text, &key, &why) == OK) {
        ASSERT(key.name[0] != '\0' && key.algorithm[0] != '\0' && key.secret[0] != '\0');
    } else {
        ASSERT(why.text[0] != '\0');
    }
    return 0;
}
