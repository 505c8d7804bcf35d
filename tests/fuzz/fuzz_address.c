/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_address.c - an address's normal form is an address and its own normal form; lists and
 * domain names are read without harm.
 */
#include "core/str.h"
#include "mail/address.h"
#include "mail/domain.h"

static void check_normal(const struct address *address)
{
    char once[ADDRESS_TEXT_CAP], twice[ADDRESS_TEXT_CAP];
    struct address again;
    struct str normal = address_normal(address, once);
    ASSERT(address_parse(normal, &again, NULL) == OK);
    ASSERT(str_eq(address_normal(&again, twice), normal));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str all = str_of((const char *)data, size), ascii;
    struct address address, list[8];
    char name[DOMAIN_CAP];
    struct arena arena;
    size_t count = 0;
    if (address_parse(all, &address, NULL) == OK) {
        check_normal(&address);
    }
    arena_init(&arena, 1 << 20);
    if (address_list_parse(&arena, all, list, COUNT_OF(list), &count) == OK) {
        for (size_t i = 0; i < count; i++) {
            if (list[i].is_smtp) {
                check_normal(&list[i]);
            }
        }
    }
    arena_done(&arena);
    if (domain_to_ascii(all, name, &ascii) == OK) {
        ASSERT(domain_is_dns_name(ascii));
        (void)domain_organizational(ascii);
    }
    return 0;
}
