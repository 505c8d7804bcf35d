/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_address.c - an address's normal form is an address and its own normal form; lists and
 * domain names are read without harm; the three forms of a check agree with each other.
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

/* An envelope's address is one of a header field, but for U-labels that IDNA refuses; a sign-up
 * form's is an envelope's. */
static void check_forms(struct str text)
{
    struct address address;
    struct address_forms forms = address_forms(text);
    ASSERT(!forms.is_smtp || forms.is_header);
    ASSERT(!forms.is_signup || forms.is_smtp);
    ASSERT(forms.is_smtp == (forms.fault == ADDRESS_FAULT_NONE));
    ASSERT(address_fault_words(forms.fault) != NULL);
    if (forms.is_smtp && text.ptr[0] != '-') {
        ASSERT(address_parse(text, &address, NULL) == OK);
        ASSERT(str_eq(address.local, forms.local) && str_eq(address.domain, forms.domain));
    }
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
    check_forms(all);
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
