/* SPDX-License-Identifier: Apache-2.0
 *
 * address_names.c - sets of names from data/: domains, local parts.
 */
#include "core/str.h"
#include "identity/address_priv.h"
#include "identity/data_priv.h"

enum { NAME_CAP_FIRST = 256 };

void name_set_done(struct name_set *set)
{
    map_done(&set->by_hash);
    mem_free(set->name);
    *set = (struct name_set){ 0 };
}

enum err name_set_add(struct name_set *set, struct str name)
{
    if (set->count == set->cap) {
        uint32_t cap = set->cap ? set->cap * 2 : NAME_CAP_FIRST;
        struct str *grown = mem_grow(set->name, cap * sizeof *grown);
        if (grown == NULL) {
            return E_NOMEM;
        }
        set->name = grown;
        set->cap = cap;
    }
    set->name[set->count] = name;
    return map_add(&set->by_hash, str_hash(name, 0), set->count++);
}

enum err name_set_add_file(struct name_set *set, const char *data_name)
{
    struct str line, name, rest = identity_data(data_name);
    enum err err = OK;
    while (err == OK && identity_data_line(&rest, &line)) {
        while (err == OK && identity_data_field(&line, &name)) {
            err = name_set_add(set, name);
        }
    }
    return err;
}

bool name_set_has(const struct name_set *set, struct str name)
{
    uint64_t index;
    for (uint32_t at = 0; map_walk_key(&set->by_hash, str_hash(name, 0), &at, &index);) {
        if (str_eq(set->name[index], name)) {
            return true;
        }
    }
    return false;
}

bool name_set_has_within(const struct name_set *set, struct str name)
{
    for (size_t dot = str_index(name, '.'); dot < name.len; dot = str_index(name, '.')) {
        if (name_set_has(set, name)) {
            return true;
        }
        name = str_from(name, dot + 1);
    }
    return false;
}
