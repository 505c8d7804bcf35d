/* SPDX-License-Identifier: Apache-2.0
 *
 * address_typo.c - which mailbox provider's domain was meant by one that is none.
 *
 * Candidates come from an index of the known domains with up to two letters left out: two names
 * within two edits share such a form, so that a look costs some hundred hashes, however many names
 * there are. What is left is measured by how hands slip. Short names have many right neighbours, so
 * the shorter, the narrower.
 */
#include "core/str.h"
#include "identity/address_priv.h"
#include "mail/domain.h"

/* What a slip costs. A hand that swaps, doubles or hits the next key is likelier than another. */
enum typo_cost {
    COST_SWAP = 6,
    COST_DOUBLE = 6, /* one letter twice, or a double letter once */
    COST_NEAR = 7,   /* the key beside it, or a letter that looks like it */
    COST_DROP = 8,
    COST_NEAR_EXTRA = 9, /* hit with the right one */
    COST_EXTRA = 12,
    COST_OTHER = 13,
    COST_FIRST = 1,    /* more, for the first letter: people look at it */
    COST_TOP_SLIP = 5, /* a top level of data/tld_slips */
    COST_DOT = 6,      /* a missing, doubled or moved dot */
    COST_NEVER = 1000
};
enum {
    WEIGHT_SHORT_MIN = 50,  /* names of up to four letters: the great providers' only */
    WEIGHT_BARE_MIN = 80,   /* "gmail" alone */
    WEIGHT_NARROW_MAX = 39, /* a small provider's: no first letter, no second slip */
    LIMIT_SHORT = 6,
    LIMIT_FOUR = 9,
    LIMIT_FIVE = 10,
    LIMIT_SIX = 12,
    LIMIT_LONG = 16,
    LIMIT_NARROW = 8,
    LIMIT_TOP_TWO = 9, /* of two letters: one slip */
    LIMIT_TOP = 16,
    CANDIDATE_WORDS = TYPO_TARGET_MAX / 64
};

static bool is_near(const struct typo_index *index, char a, char b)
{
    uint8_t x = (uint8_t)a, y = (uint8_t)b;
    return x < 128 && y < 128 && (index->near[x][y / 8] >> (y % 8) & 1) != 0;
}

/* ---- measuring ---- */

struct measure {
    uint16_t cost;
    uint16_t edits;
};

static struct measure cheaper(struct measure a, struct measure b)
{
    return b.cost < a.cost ? b : a;
}

static struct measure and_cost(struct measure before, uint32_t cost, bool is_first)
{
    return (struct measure){ (uint16_t)(before.cost + cost + (is_first ? COST_FIRST : 0)),
        (uint16_t)(before.edits + 1) };
}

/* s.ptr[at] came with a letter beside it that is the same, or next to it on the keys. */
static uint32_t extra_cost(const struct typo_index *index, struct str s, size_t at)
{
    char c = s.ptr[at];
    bool has_before = at > 0, has_after = at + 1 < s.len;
    if ((has_before && s.ptr[at - 1] == c) || (has_after && s.ptr[at + 1] == c)) {
        return COST_DOUBLE;
    }
    if ((has_before && is_near(index, s.ptr[at - 1], c)) ||
            (has_after && is_near(index, s.ptr[at + 1], c))) {
        return COST_NEAR_EXTRA;
    }
    return COST_EXTRA;
}

static uint32_t drop_cost(struct str s, size_t at)
{
    char c = s.ptr[at];
    bool is_double = (at > 0 && s.ptr[at - 1] == c) || (at + 1 < s.len && s.ptr[at + 1] == c);
    return is_double ? COST_DOUBLE : COST_DROP;
}

/* The cell for typed[..i], meant[..j] from those before it. */
static struct measure cell(const struct typo_index *index, struct str typed, struct str meant,
        struct measure grid[][TYPO_BYTES_MAX + 3], size_t i, size_t j)
{
    struct measure best = { COST_NEVER, 0 };
    if (i > 0 && j > 0) {
        char a = typed.ptr[i - 1], b = meant.ptr[j - 1];
        uint32_t cost = is_near(index, b, a) ? COST_NEAR : COST_OTHER;
        best = a == b ? grid[i - 1][j - 1] : and_cost(grid[i - 1][j - 1], cost, j == 1);
    }
    if (i > 0) {
        best = cheaper(best, and_cost(grid[i - 1][j], extra_cost(index, typed, i - 1), i == 1));
    }
    if (j > 0) {
        best = cheaper(best, and_cost(grid[i][j - 1], drop_cost(meant, j - 1), j == 1));
    }
    if (i > 1 && j > 1 && typed.ptr[i - 1] == meant.ptr[j - 2] &&
            typed.ptr[i - 2] == meant.ptr[j - 1]) {
        best = cheaper(best, and_cost(grid[i - 2][j - 2], COST_SWAP, false));
    }
    return best;
}

/* Damerau-Levenshtein, each pair of letters swapped once at most, with costs. */
static struct measure measure(const struct typo_index *index, struct str typed, struct str meant)
{
    struct measure grid[TYPO_BYTES_MAX + 3][TYPO_BYTES_MAX + 3];
    if (typed.len > TYPO_BYTES_MAX || meant.len > TYPO_BYTES_MAX ||
            typed.len > meant.len + TYPO_EDITS_MAX || meant.len > typed.len + TYPO_EDITS_MAX) {
        return (struct measure){ COST_NEVER, TYPO_EDITS_MAX + 1 };
    }
    grid[0][0] = (struct measure){ 0, 0 };
    for (size_t i = 0; i <= typed.len; i++) {
        for (size_t j = 0; j <= meant.len; j++) {
            if (i + j > 0) {
                grid[i][j] = cell(index, typed, meant, grid, i, j);
            }
        }
    }
    return grid[typed.len][meant.len];
}

/* ---- judging a candidate ---- */

struct typed {
    struct str domain, head, top;
    bool has_dot;
    bool is_top_real;
    enum typo_trust trust;
};

static uint32_t head_limit(const struct typo_target *target, enum typo_trust trust)
{
    bool is_great = target->weight >= WEIGHT_SHORT_MIN;
    uint32_t wider = trust == TYPO_ABSENT ? 2 : 0;
    if (target->label_len <= 3) {
        return is_great ? LIMIT_SHORT + wider : 0;
    }
    if (target->weight <= WEIGHT_NARROW_MAX) {
        return target->label_len >= 5 ? LIMIT_NARROW + wider : 0;
    }
    if (target->label_len == 4) {
        return is_great ? LIMIT_FOUR + wider : LIMIT_SHORT + wider;
    }
    if (target->label_len == 5 || trust == TYPO_MAILABLE) {
        return LIMIT_FIVE + wider;
    }
    return (target->label_len == 6 ? LIMIT_SIX : LIMIT_LONG) + 2 * wider;
}

/* Does data/tld_slips say that top is a slip of meant? */
static bool is_listed_slip(const struct typo_index *index, struct str top, struct str meant)
{
    uint64_t offset;
    for (uint32_t at = 0; map_walk_key(&index->slip, str_hash(top, 0), &at, &offset);) {
        struct str rest = str_from(index->slip_text, offset);
        if (str_starts(rest, top) && ascii_is_blank(rest.ptr[top.len])) {
            struct str to = str_trim(str_sub(rest, top.len, str_index(rest, '\n') - top.len));
            if (str_eq(to, meant)) {
                return true;
            }
        }
    }
    return false;
}

/* A top level that exists is what was meant, but for the few that are known as slips. */
static uint32_t top_cost(
        const struct typo_index *index, const struct typed *typed, const struct typo_target *target)
{
    if (str_eq(typed->top, target->top)) {
        return 0;
    }
    if (is_listed_slip(index, typed->top, target->top)) {
        bool is_great = target->weight >= WEIGHT_SHORT_MIN;
        return !typed->is_top_real || is_great ? COST_TOP_SLIP : COST_NEVER;
    }
    if (typed->is_top_real) {
        return COST_NEVER;
    }
    struct measure way = measure(index, typed->top, target->top);
    uint32_t limit = target->top.len <= 2 ? LIMIT_TOP_TWO : LIMIT_TOP;
    return way.cost <= limit && way.edits <= TYPO_EDITS_MAX ? way.cost : COST_NEVER;
}

/* Slips in the name and in the top level are limited apart. */
static uint32_t cost_by_parts(
        const struct typo_index *index, const struct typed *typed, const struct typo_target *target)
{
    uint32_t top = typed->has_dot ? top_cost(index, typed, target) : COST_NEVER;
    if (top >= COST_NEVER) {
        return COST_NEVER;
    }
    struct measure head = measure(index, typed->head, target->head);
    uint32_t limit = head_limit(target, typed->trust);
    if (head.edits > 0 && top > 0 && target->label_len < 5) {
        return COST_NEVER;
    }
    if (typed->is_top_real && head.edits > 1 && top > 0) {
        return COST_NEVER;
    }
    return head.cost <= limit && head.edits <= TYPO_EDITS_MAX ? head.cost + top : COST_NEVER;
}

/* The same letters, in the same order, but for one dot: "gmailcom", "gmailc.om", "gmail,com". */
static uint32_t cost_by_dot(
        const struct typo_index *index, const struct typed *typed, const struct typo_target *target)
{
    size_t i = 0, j = 0;
    bool is_slip = !typed->has_dot || !typed->is_top_real ||
                   is_listed_slip(index, typed->top, target->top) ||
                   str_find(typed->domain, STR("..")) < typed->domain.len;
    while (is_slip && (i < typed->domain.len || j < target->domain.len)) {
        char a = i < typed->domain.len ? typed->domain.ptr[i] : '\0';
        char b = j < target->domain.len ? target->domain.ptr[j] : '\0';
        if (a == '.' || a == ',') {
            i++;
        } else if (b == '.') {
            j++;
        } else if (a == b) {
            i++;
            j++;
        } else {
            return COST_NEVER;
        }
    }
    bool is_one = is_slip && measure(index, typed->domain, target->domain).edits <= 1;
    return is_one ? COST_DOT : COST_NEVER;
}

/* ---- finding candidates ---- */

struct best {
    const struct typo_target *target;
    int64_t score; /* the less, the better */
};

static void judge(const struct typo_index *index, const struct typed *typed, uint32_t number,
        struct best *best)
{
    const struct typo_target *target = &index->target[number];
    uint32_t cost = cost_by_parts(index, typed, target);
    if (cost >= COST_NEVER) {
        cost = cost_by_dot(index, typed, target);
    }
    int64_t score = (int64_t)cost * 10 - target->weight / 4;
    if (cost < COST_NEVER && (best->target == NULL || score < best->score)) {
        *best = (struct best){ target, score };
    }
}

/* Every form of s with up to TYPO_EDITS_MAX letters left out, some of them twice. */
enum err typo_forms(struct str s, typo_form *each, void *ctx)
{
    char form[TYPO_BYTES_MAX];
    enum err err = each(ctx, str_hash(s, 0));
    for (size_t i = 0; i < s.len && err == OK; i++) {
        memcpy(form, s.ptr, i);
        memcpy(form + i, s.ptr + i + 1, s.len - i - 1);
        err = each(ctx, str_hash(str_of(form, s.len - 1), 0));
        for (size_t j = i + 1; j < s.len && err == OK; j++) { /* form without s.ptr[j] too */
            char twice[TYPO_BYTES_MAX];
            memcpy(twice, form, j - 1);
            memcpy(twice + j - 1, s.ptr + j + 1, s.len - j - 1);
            err = each(ctx, str_hash(str_of(twice, s.len - 2), 0));
        }
    }
    return err;
}

struct look {
    const struct typo_index *index;
    const struct typed *typed;
    struct best best;
    uint64_t is_seen[CANDIDATE_WORDS];
};

static enum err look_at(void *ctx, uint64_t hash)
{
    struct look *look = ctx;
    uint64_t number;
    for (uint32_t at = 0; map_walk_key(&look->index->variation, hash, &at, &number);) {
        uint64_t bit = UINT64_C(1) << (number % 64);
        if ((look->is_seen[number / 64] & bit) == 0) {
            look->is_seen[number / 64] |= bit;
            judge(look->index, look->typed, (uint32_t)number, &look->best);
        }
    }
    return OK;
}

/* "gmail": the great providers' names alone. */
static void look_for_bare(struct look *look)
{
    const struct typo_index *index = look->index;
    for (uint32_t i = 0; i < index->target_count && !look->typed->has_dot; i++) {
        const struct typo_target *target = &index->target[i];
        if (target->weight >= WEIGHT_BARE_MIN && str_eq(target->head, look->typed->domain)) {
            look->best = (struct best){ target, 0 };
            return;
        }
    }
}

/* ---- the parts ---- */

static void split(struct str domain, struct str *ret_head, struct str *ret_top)
{
    size_t dot = str_rindex(domain, '.');
    *ret_head = str_sub(domain, 0, dot);
    *ret_top = dot == domain.len ? (struct str){ 0 } : str_from(domain, dot + 1);
}

/* Lower case, without what slipped in behind the last letter. Cut parts keep no case of theirs. */
static struct str tidy(struct str typed, char dst[TYPO_BYTES_MAX + 1])
{
    static const char tail[] = ".,;:>) \t";
    while (typed.len > 0 && memchr(tail, typed.ptr[typed.len - 1], sizeof tail - 1) != NULL) {
        typed.len--;
    }
    if (typed.len > TYPO_BYTES_MAX) {
        return (struct str){ 0 };
    }
    for (size_t i = 0; i < typed.len; i++) {
        dst[i] = ascii_lower(typed.ptr[i]);
    }
    return str_of(dst, typed.len);
}

/* acme.con: nobody's name, but no top level either. */
static bool mend_top(const struct typo_index *index, const struct typed *typed,
        char dst[DNS_NAME_CAP], struct str *ret_meant)
{
    static const char *const tops[] = { ".com", ".net", ".org" };
    size_t len = typed->head.len;
    for (size_t i = 0; i < COUNT_OF(tops) && typed->has_dot && !typed->is_top_real; i++) {
        struct str top = str_from_c(tops[i]);
        if (is_listed_slip(index, typed->top, str_from(top, 1))) {
            memcpy(dst, typed->head.ptr, len); /* within TYPO_BYTES_MAX */
            memcpy(dst + len, top.ptr, top.len);
            *ret_meant = str_of(dst, len + top.len);
            return domain_is_hostname(*ret_meant);
        }
    }
    return false;
}

static const struct typo_target *nearest(const struct typo_index *index, struct str domain,
        enum typo_trust trust, struct typed *typed)
{
    *typed = (struct typed){ .domain = domain, .trust = trust };
    split(domain, &typed->head, &typed->top);
    typed->has_dot = typed->top.len > 0;
    typed->is_top_real = typed->has_dot && domain_has_known_top(typed->top);
    struct look look = { .index = index, .typed = typed };
    (void)typo_forms(domain, look_at, &look);
    if (look.best.target == NULL) {
        look_for_bare(&look);
    }
    return look.best.target;
}

bool typo_find(const struct typo_index *index, struct str raw, enum typo_trust trust,
        char dst[DNS_NAME_CAP], struct str *ret_meant)
{
    char lower[TYPO_BYTES_MAX + 1];
    struct typed typed;
    struct str domain = tidy(raw, lower);
    bool is_tidied = domain.len != raw.len, is_mended = false;
    if (domain.len == 0) {
        return false;
    }
    if (name_set_has_within(&index->right, domain)) {
        memcpy(dst, domain.ptr, domain.len);
        *ret_meant = str_of(dst, domain.len);
        return is_tidied;
    }
    const struct typo_target *target = nearest(index, domain, trust, &typed);
    if (target == NULL) {
        is_mended = mend_top(index, &typed, dst, &domain) && domain.len <= TYPO_BYTES_MAX;
        bool is_right = is_mended && name_set_has_within(&index->right, domain);
        target = is_mended && !is_right ? nearest(index, domain, trust, &typed) : NULL;
    }
    if (target != NULL) {
        memcpy(dst, target->domain.ptr, target->domain.len);
        domain = str_of(dst, target->domain.len);
    }
    *ret_meant = domain;
    return target != NULL || is_mended;
}
