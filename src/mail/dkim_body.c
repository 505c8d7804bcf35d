/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_body.c - canonical bodies hashed as they pass (RFC 6376 3.4.3 simple, 3.4.4 relaxed).
 *
 * Either form is: the content without the line ends at its very end, and one CRLF (relaxed: none
 * where the content is empty). So line ends are counted and only written before more content.
 * On the hot path of every message: stretches that are canonical as they stand are found 16 bytes
 * at a time and hashed without a copy.
 */
#include "core/str.h"
#include "mail/dkim_priv.h"

enum { VECTOR_BYTES = 16, DENSE_BYTES = 32 };
typedef uint8_t vector __attribute__((vector_size(VECTOR_BYTES)));

enum err dkim_body_begin(struct dkim_body_hash *hash, const struct dkim_body_how *how)
{
    hash->how = how ? *how : (struct dkim_body_how){ .canon = DKIM_RELAXED };
    hash->canon_bytes = hash->held_line_count = 0;
    hash->staged_count = 0;
    hash->is_blank_held = hash->is_cr_held = false;
    return digest_begin(&hash->digest, hash->how.is_sha1);
}

/* Canonical bytes into the digest, as far as l= wants them. */
static void absorb(struct dkim_body_hash *hash, const char *ptr, size_t len)
{
    uint64_t before_bytes = hash->canon_bytes;
    hash->canon_bytes += len;
    if (hash->how.has_limit && hash->canon_bytes > hash->how.limit_bytes) {
        uint64_t limit_bytes = hash->how.limit_bytes;
        len = limit_bytes > before_bytes ? (size_t)(limit_bytes - before_bytes) : 0;
    }
    digest_add(&hash->digest, str_of(ptr, len));
}

static void flush(struct dkim_body_hash *hash)
{
    absorb(hash, hash->staged, hash->staged_count);
    hash->staged_count = 0;
}

static void emit(struct dkim_body_hash *hash, const char *ptr, size_t len)
{
    if (len > sizeof hash->staged - hash->staged_count) {
        flush(hash);
    }
    if (len > sizeof hash->staged / 2) {
        flush(hash);
        absorb(hash, ptr, len);
        return;
    }
    memcpy(hash->staged + hash->staged_count, ptr, len);
    hash->staged_count += len;
}

/* The state of a hash in registers, for the stretches that are looked at byte by byte. */
struct relax {
    struct dkim_body_hash *hash;
    char *out, *end; /* in hash->staged */
    uint64_t line_count;
    bool is_blank, is_cr;
};

static struct relax relax_begin(struct dkim_body_hash *hash)
{
    return (struct relax){ hash, hash->staged + hash->staged_count,
        hash->staged + sizeof hash->staged, hash->held_line_count, hash->is_blank_held,
        hash->is_cr_held };
}

static void relax_end(const struct relax *relax)
{
    struct dkim_body_hash *hash = relax->hash;
    hash->staged_count = (size_t)(relax->out - hash->staged);
    hash->held_line_count = relax->line_count;
    hash->is_blank_held = relax->is_blank;
    hash->is_cr_held = relax->is_cr;
}

static inline void relax_put(struct relax *relax, char c)
{
    if (relax->out == relax->end) {
        absorb(relax->hash, relax->hash->staged, sizeof relax->hash->staged);
        relax->out = relax->hash->staged;
    }
    *relax->out++ = c;
}

static inline void relax_content(struct relax *relax, char c)
{
    for (; relax->line_count > 0; relax->line_count--) {
        relax_put(relax, '\r');
        relax_put(relax, '\n');
    }
    if (relax->is_blank) {
        relax->is_blank = false;
        relax_put(relax, ' ');
    }
    relax_put(relax, c);
}

static inline void relax_byte(struct relax *relax, char c)
{
    if (relax->is_cr) {
        relax->is_cr = false;
        if (c == '\n') {
            relax->line_count++;
            relax->is_blank = false; /* blanks at the end of a line do not count */
            return;
        }
        relax_content(relax, '\r');
    }
    if (c == '\r') {
        relax->is_cr = true;
    } else if (ascii_is_blank(c)) {
        relax->is_blank = true;
    } else {
        relax_content(relax, c);
    }
}

static vector load(const char *ptr)
{
    vector v;
    memcpy(&v, ptr, sizeof v);
    return v;
}

/* How many of 16 bytes, each beside the one before it, come before the first that relaxed changes
 * or may hold back: a tab, a blank behind another, CR behind a blank or behind LF. */
static size_t plain_count(const char *ptr)
{
    vector byte = load(ptr), before = load(ptr - 1);
    vector hit = (vector)(byte == '\t');
    hit |= (vector)(before == ' ') & ((vector)(byte == ' ') | (vector)(byte == '\r'));
    hit |= (vector)(before == '\n') & (vector)(byte == '\r');
    uint64_t half[2];
    memcpy(half, &hit, sizeof half);
    if ((half[0] | half[1]) == 0) {
        return VECTOR_BYTES;
    }
    size_t count = half[0] == 0 ? sizeof half[0] : 0;
    while (hit[count] == 0) {
        count++;
    }
    return count;
}

static bool is_held_byte(char c)
{
    return c == ' ' || c == '\r' || c == '\n';
}

/* Length of a stretch at the front that is canonical as it stands behind content, and ends in
 * content. 0: none found, which does not mean that there is none. */
static size_t plain_len(const char *ptr, size_t len)
{
    size_t at = 1, count = VECTOR_BYTES;
    if (ptr[0] == '\t') {
        return 0;
    }
    while (count == VECTOR_BYTES && len - at >= VECTOR_BYTES) {
        count = plain_count(ptr + at);
        at += count;
    }
    while (at > 0 && is_held_byte(ptr[at - 1])) {
        at--;
    }
    return at;
}

/* At least `count` bytes one by one, and on to the next content; returns how many. */
static size_t relaxed_slowly(struct dkim_body_hash *hash, struct str part, size_t count)
{
    struct relax relax = relax_begin(hash);
    size_t at = 0;
    while (at < part.len && (at < count || relax.line_count || relax.is_blank || relax.is_cr)) {
        relax_byte(&relax, part.ptr[at++]);
    }
    relax_end(&relax);
    return at;
}

static bool is_behind_content(const struct dkim_body_hash *hash)
{
    return hash->canon_bytes + hash->staged_count > 0 && hash->held_line_count == 0 &&
           !hash->is_blank_held && !hash->is_cr_held;
}

static void relaxed_add(struct dkim_body_hash *hash, struct str part)
{
    while (part.len > 0) {
        size_t plain_bytes = 0;
        if (is_behind_content(hash)) {
            plain_bytes = plain_len(part.ptr, part.len);
            emit(hash, part.ptr, plain_bytes);
            part = str_from(part, plain_bytes);
        }
        /* Where stretches are short, looking for them costs more than it saves. */
        bool is_dense = plain_bytes < VECTOR_BYTES / 2;
        part = str_from(part, relaxed_slowly(hash, part, is_dense ? DENSE_BYTES : 1));
    }
}

static void simple_content(struct dkim_body_hash *hash, const char *ptr, size_t len)
{
    for (; hash->held_line_count > 0; hash->held_line_count--) {
        emit(hash, "\r\n", 2);
    }
    emit(hash, ptr, len);
}

static void simple_add(struct dkim_body_hash *hash, struct str part)
{
    if (part.len == 0) {
        return;
    }
    if (hash->is_cr_held) {
        hash->is_cr_held = false;
        if (part.ptr[0] == '\n') {
            hash->held_line_count++;
            part = str_from(part, 1);
        } else {
            simple_content(hash, "\r", 1);
        }
    }
    size_t end = part.len;
    uint64_t line_count = 0;
    if (end > 0 && part.ptr[end - 1] == '\r') {
        hash->is_cr_held = true;
        end--;
    }
    for (; end >= 2 && part.ptr[end - 2] == '\r' && part.ptr[end - 1] == '\n'; end -= 2) {
        line_count++;
    }
    if (end > 0) {
        simple_content(hash, part.ptr, end);
    }
    hash->held_line_count += line_count;
}

void dkim_body_add(struct dkim_body_hash *hash, struct str part)
{
    if (hash->how.canon == DKIM_RELAXED) {
        relaxed_add(hash, part);
    } else {
        simple_add(hash, part);
    }
}

void dkim_body_settle(struct dkim_body_hash *hash)
{
    if (hash->is_cr_held && hash->how.canon == DKIM_RELAXED) {
        struct relax relax = relax_begin(hash);
        relax.is_cr = false;
        relax_content(&relax, '\r');
        relax_end(&relax);
    } else if (hash->is_cr_held) {
        simple_content(hash, "\r", 1);
    }
    /* RFC 6376 3.4.3: an empty body is one CRLF in simple; 3.4.4: nothing in relaxed. */
    if (hash->canon_bytes + hash->staged_count > 0 || hash->how.canon == DKIM_SIMPLE) {
        emit(hash, "\r\n", 2);
    }
    flush(hash);
}

size_t dkim_body_end(struct dkim_body_hash *hash, uint8_t ret_hash[SHA256_BYTES])
{
    dkim_body_settle(hash);
    return digest_end(&hash->digest, ret_hash);
}

void dkim_body_drop(struct dkim_body_hash *hash)
{
    digest_drop(&hash->digest);
}
