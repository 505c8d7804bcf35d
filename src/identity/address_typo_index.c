/* SPDX-License-Identifier: Apache-2.0
 *
 * address_typo_index.c - builds the index that address_typo.c looks in, from the lists of data/.
 */
#include "core/str.h"
#include "identity/address_priv.h"
#include "identity/data_priv.h"

static enum err add_variation(void *ctx, uint64_t hash)
{
    struct typo_index *index = ctx;
    uint64_t number;
    for (uint32_t at = 0; map_walk_key(&index->variation, hash, &at, &number);) {
        if (number == index->target_count) {
            return OK; /* "aa" without its first or second letter */
        }
    }
    return map_add(&index->variation, hash, index->target_count);
}

static uint32_t longest_label(struct str head)
{
    struct str label;
    size_t longest = 0;
    while (str_cut(&head, '.', &label)) {
        longest = label.len > longest ? label.len : longest;
    }
    return (uint32_t)longest;
}

static enum err add_target(struct typo_index *index, struct str domain, uint64_t weight)
{
    struct typo_target target = { .domain = domain, .weight = (uint32_t)weight };
    ASSERT(index->target_count < TYPO_TARGET_MAX && domain.len <= TYPO_BYTES_MAX);
    if (name_set_has(&index->right, domain)) {
        return OK; /* on two lines */
    }
    size_t dot = str_rindex(domain, '.');
    target.head = str_sub(domain, 0, dot);
    target.top = str_from(domain, dot + 1);
    target.label_len = longest_label(target.head);
    index->target[index->target_count] = target;
    enum err err = typo_forms(domain, add_variation, index);
    index->target_count++;
    return err == OK ? name_set_add(&index->right, domain) : err;
}

static enum err add_targets(struct typo_index *index)
{
    struct str line, field, rest = identity_data("mailbox_domains");
    enum err err = OK;
    while (err == OK && identity_data_line(&rest, &line)) {
        uint64_t weight = 0;
        bool is_weight =
                identity_data_field(&line, &field) && str_to_u64(field, 100, &weight) == OK;
        ASSERT(is_weight);
        while (err == OK && identity_data_field(&line, &field)) {
            err = add_target(index, field, weight);
        }
    }
    return err;
}

static enum err add_slips(struct typo_index *index)
{
    struct str line, slip, text = identity_data("tld_slips"), rest = text;
    enum err err = OK;
    index->slip_text = text;
    while (err == OK && identity_data_line(&rest, &line)) {
        uint64_t offset = (uint64_t)(line.ptr - text.ptr);
        if (identity_data_field(&line, &slip)) {
            err = map_add(&index->slip, str_hash(slip, 0), offset);
        }
    }
    return err;
}

static void add_keys(struct typo_index *index)
{
    struct str line, key, near, rest = identity_data("keyboard");
    while (identity_data_line(&rest, &line)) {
        if (!identity_data_field(&line, &key) || !identity_data_field(&line, &near)) {
            continue;
        }
        for (size_t i = 0; i < near.len; i++) {
            uint8_t a = (uint8_t)key.ptr[0] & 127, b = (uint8_t)near.ptr[i] & 127;
            index->near[a][b / 8] |= (uint8_t)(1U << (b % 8));
            index->near[b][a / 8] |= (uint8_t)(1U << (a % 8));
        }
    }
}

enum err typo_index_open(struct typo_index *index)
{
    *index = (struct typo_index){ .target = mem_new(TYPO_TARGET_MAX * sizeof *index->target) };
    if (index->target == NULL) {
        return E_NOMEM;
    }
    add_keys(index);
    enum err err = add_slips(index);
    if (err == OK) {
        err = add_targets(index);
    }
    if (err == OK) {
        err = name_set_add_file(&index->right, "known_domains");
    }
    if (err != OK) {
        typo_index_close(index);
    }
    return err;
}

void typo_index_close(struct typo_index *index)
{
    mem_free(index->target);
    map_done(&index->variation);
    map_done(&index->slip);
    name_set_done(&index->right);
    *index = (struct typo_index){ 0 };
}
