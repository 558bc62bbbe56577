/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/canonical.h"

#include <stdint.h>
#include <stdlib.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/base/scan_kernel.h"
#include "gateway/base/utf8.h"

/* What stands before a value. Each value ends by itself, so nothing stands between them. */
enum mark {
    MARK_STRING = 's',
    MARK_NUMBER = 'n',
    MARK_TRUE = 't',
    MARK_FALSE = 'f',
    MARK_NULL = 'z',
    MARK_ARRAY = '[',
    MARK_ARRAY_END = ']',
    MARK_OBJECT = '{',
    MARK_OBJECT_END = '}',
    MARK_FOLDED = '#',
};

enum { FEW_MEMBERS = 16, MARK_BYTES = 1, LENGTH_BYTES = 4, NUMBER_TEXT = 32 };

/* A member in the output; offsets, because the output moves when it grows. */
struct member {
    size_t begin; /* of its name, mark and all; its value follows */
    size_t end;
    size_t name_len;
};

struct writer {
    const char *at, *end; /* of a document that is valid */
    struct buffer *out;
    const struct scan_kernel *kernel;
    const struct canonical_omission *omissions;
    size_t omission_count;
    uint32_t omitted;       /* omissions that were seen, whatever their value */
    struct member *members; /* of all objects that are open, those of the innermost last */
    size_t count, capacity, total;
    unsigned depth;
};

static bool write_value(struct writer *w);

static bool put_mark(struct writer *w, enum mark mark)
{
    char byte = (char)mark;
    return buffer_append(w->out, &byte, MARK_BYTES);
}

static char *out_at(const struct writer *w, size_t offset)
{
    return w->out->data + w->out->begin + offset;
}

static void skip_space(struct writer *w)
{
    while (w->at < w->end && (*w->at == ' ' || *w->at == '\n' || *w->at == '\r' || *w->at == '\t'))
        w->at++;
}

/* ----------------------------------------------------------------------------- strings */

/* The character of the \u escape at <at>. A surrogate without its other half stands for itself: it
 * is told apart from all text, which is UTF-8 and has none. */
static unsigned read_code(const char *at, const char *end, size_t *len)
{
    unsigned unit = scan_unit(at + 2);
    *len = 6;
    if (unit < 0xD800 || unit > 0xDBFF || end - at < 12 || at[6] != '\\' || at[7] != 'u')
        return unit;
    unsigned low = scan_unit(at + 8);
    if (low < 0xDC00 || low > 0xDFFF)
        return unit;
    *len = 12;
    return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
}

static unsigned read_escape(const char *at, const char *end, size_t *len)
{
    *len = 2;
    switch (at[1]) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u':
        return read_code(at, end, len);
    default:
        return (unsigned char)at[1];
    }
}

/* Resolve the escapes between <at> and <end>; <to> has room for as many bytes. */
static size_t unescape(const char *at, const char *end, char *to)
{
    char *begin = to;
    while (at < end) {
        const char *slash = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((slash ? slash : end) - at);
        memcpy(to, at, plain);
        to += plain;
        at += plain;
        if (!slash)
            break;
        size_t len;
        to += utf8_write(to, read_escape(at, end, &len));
        at += len;
    }
    return (size_t)(to - begin);
}

/* Mark, length, bytes. *length, when not NULL, gets how many. */
static bool write_string(struct writer *w, size_t *length)
{
    bool has_escape = false;
    const char *inside = w->at + 1;
    const char *close = w->kernel->close_string(inside, w->end, &has_escape);
    size_t len = (size_t)(close - inside);
    char *to = buffer_room(w->out, MARK_BYTES + LENGTH_BYTES + len);
    if (!to)
        return false;
    w->at = close + 1;
    if (has_escape)
        len = unescape(inside, close, to + MARK_BYTES + LENGTH_BYTES);
    else if (len > 0)
        memcpy(to + MARK_BYTES + LENGTH_BYTES, inside, len);
    to[0] = MARK_STRING;
    for (size_t i = 0; i < LENGTH_BYTES; i++)
        to[MARK_BYTES + i] = (char)(len >> (8 * i));
    buffer_grow(w->out, MARK_BYTES + LENGTH_BYTES + len);
    if (length)
        *length = len;
    return true;
}

/* ----------------------------------------------------------------------------- numbers */

/* The digits of a number as they stand, and how many powers of ten its last one stands for. */
struct decimal {
    struct text whole, fraction;
    int64_t exponent;
    bool negative;
};

static struct text read_digits(struct writer *w)
{
    const char *begin = w->at;
    while (w->at < w->end && (unsigned char)(*w->at - '0') < 10)
        w->at++;
    return (struct text){begin, (size_t)(w->at - begin)};
}

static bool next_is(const struct writer *w, char c)
{
    return w->at < w->end && *w->at == c;
}

static bool read_exponent(struct writer *w, int64_t *exponent)
{
    bool negative = next_is(w, '-');
    if (negative || next_is(w, '+'))
        w->at++;
    struct text digits = read_digits(w);
    while (digits.len > 1 && digits.at[0] == '0')
        digits = text_from(digits, 1);
    uint64_t number;
    if (digits.len > CANONICAL_EXPONENT_DIGITS || !text_number(digits, INT64_MAX, &number))
        return false;
    *exponent = negative ? -(int64_t)number : (int64_t)number;
    return true;
}

static bool read_decimal(struct writer *w, struct decimal *d)
{
    *d = (struct decimal){.fraction = {"", 0}, .negative = next_is(w, '-')};
    if (d->negative)
        w->at++;
    d->whole = read_digits(w);
    if (next_is(w, '.')) {
        w->at++;
        d->fraction = read_digits(w);
    }
    if (!next_is(w, 'e') && !next_is(w, 'E'))
        return true;
    w->at++;
    return read_exponent(w, &d->exponent);
}

/* Zeros at either end say nothing but how large the number is. */
static void trim_decimal(struct decimal *d)
{
    while (d->fraction.len > 0 && d->fraction.at[d->fraction.len - 1] == '0')
        d->fraction.len--;
    d->exponent -= (int64_t)d->fraction.len;
    while (d->whole.len > 0 && d->whole.at[0] == '0')
        d->whole = text_from(d->whole, 1);
    while (d->whole.len == 0 && d->fraction.len > 0 && d->fraction.at[0] == '0')
        d->fraction = text_from(d->fraction, 1);
    while (d->fraction.len == 0 && d->whole.len > 0 && d->whole.at[d->whole.len - 1] == '0') {
        d->whole.len--;
        d->exponent++;
    }
}

/* "n-314e-2;"; zero, of either sign, is "n;". */
static bool write_number(struct writer *w)
{
    struct decimal d;
    if (!read_decimal(w, &d))
        return false;
    trim_decimal(&d);
    if (d.whole.len + d.fraction.len == 0)
        return buffer_append_text(w->out, TEXT("n;"));
    return buffer_append_text(w->out, d.negative ? TEXT("n-") : TEXT("n")) &&
           buffer_append_text(w->out, d.whole) && buffer_append_text(w->out, d.fraction) &&
           (d.exponent == 0 ? buffer_append_text(w->out, TEXT(";"))
                            : buffer_format(w->out, "e%lld;", (long long)d.exponent));
}

/* ----------------------------------------------------------------------------- objects */

static struct text name_of(const char *base, const struct member *member)
{
    return (struct text){base + member->begin + MARK_BYTES + LENGTH_BYTES, member->name_len};
}

static int compare_names(struct text a, struct text b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.at, b.at, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_members(const void *a, const void *b, void *base)
{
    return compare_names(name_of(base, a), name_of(base, b));
}

/* By name. Most objects have few members, and many have them in order. */
static void sort_members(struct member *members, size_t count, char *base)
{
    if (count > FEW_MEMBERS) {
        qsort_r(members, count, sizeof(*members), compare_members, base);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        struct member one = members[i];
        size_t to = i;
        for (; to > 0 && compare_members(&members[to - 1], &one, base) > 0; to--)
            members[to] = members[to - 1];
        members[to] = one;
    }
}

/* Does a name stand twice among the sorted members? */
static bool has_twins(const struct member *members, size_t count, const char *base)
{
    for (size_t i = 1; i < count; i++)
        if (text_equal(name_of(base, &members[i - 1]), name_of(base, &members[i])))
            return true;
    return false;
}

/* Put the members, which stand from <begin> to the end of the output, in the order they have now.
 * An order that did not change needs no move. */
static void move_members(struct writer *w, const struct member *members, size_t count, size_t begin)
{
    size_t at = begin;
    for (size_t i = 0; i < count && members[i].begin == at; i++)
        at = members[i].end;
    size_t len = buffer_length(w->out) - begin;
    if (at == begin + len)
        return;
    char *copy = memory_resize(NULL, len), *to = out_at(w, begin);
    memcpy(copy, to, len);
    for (size_t i = 0; i < count; i++) {
        size_t bytes = members[i].end - members[i].begin;
        memcpy(to, copy + (members[i].begin - begin), bytes);
        to += bytes;
    }
    memory_free(copy);
}

/* A large object becomes its digest, so that what is around it has little to move. */
static bool fold(struct writer *w, size_t begin)
{
    size_t len = buffer_length(w->out) - begin;
    if (len <= CANONICAL_FOLD_BYTES)
        return true;
    struct digest digest = hash_sha256((struct text){out_at(w, begin), len});
    w->out->end -= len;
    return put_mark(w, MARK_FOLDED) && buffer_append(w->out, digest.bytes, sizeof(digest.bytes));
}

static bool close_object(struct writer *w, size_t begin, size_t first)
{
    struct member *members = w->members + first;
    size_t count = w->count - first;
    if (count > 1) {
        sort_members(members, count, out_at(w, 0));
        if (has_twins(members, count, out_at(w, 0)))
            return false;
        move_members(w, members, count, begin + MARK_BYTES);
    }
    w->count = first;
    return put_mark(w, MARK_OBJECT_END) && fold(w, begin);
}

/* --------------------------------------------------------------------------- omissions */

/* Is what was written from <begin> on the same as <json>, a scalar? */
static bool is_value(const struct writer *w, size_t begin, struct text json)
{
    struct buffer form;
    buffer_init(&form, 4 * json.len + NUMBER_TEXT);
    struct writer one = {.at = json.at, .end = json.at + json.len, .out = &form};
    one.kernel = w->kernel;
    struct text written = {out_at(w, begin), buffer_length(w->out) - begin};
    bool is_same = write_value(&one) && text_equal(buffer_text(&form), written);
    buffer_done(&form);
    return is_same;
}

/* The omission that has the name of <member>, or the count. */
static size_t find_omission(const struct writer *w, const struct member *member)
{
    struct text name = name_of(out_at(w, 0), member);
    size_t i = 0;
    while (i < w->omission_count && !text_equal(w->omissions[i].name, name))
        i++;
    return i;
}

/* The last member, whose name and value are written, is taken back when it is one to omit. False
 * when it is the second of its name: which of them counts is the provider's secret. */
static bool omit(struct writer *w)
{
    const struct member *member = &w->members[w->count - 1];
    size_t i = find_omission(w, member);
    if (i == w->omission_count)
        return true;
    if (w->omitted >> i & 1)
        return false;
    w->omitted |= (uint32_t)1 << i;
    size_t value = member->begin + MARK_BYTES + LENGTH_BYTES + member->name_len;
    if (w->omissions[i].value.len > 0 && !is_value(w, value, w->omissions[i].value))
        return true;
    w->out->end = w->out->begin + member->begin;
    w->count--;
    return true;
}

/* ----------------------------------------------------------------------------- values */

static struct member *add_member(struct writer *w)
{
    if (w->count == w->capacity) {
        w->capacity = w->capacity ? w->capacity * 2 : 4 * FEW_MEMBERS;
        w->members = memory_resize(w->members, w->capacity * sizeof(*w->members));
    }
    w->total++;
    return &w->members[w->count++];
}

static bool write_member(struct writer *w)
{
    struct member member = {.begin = buffer_length(w->out)};
    if (!write_string(w, &member.name_len))
        return false;
    size_t place = w->count;
    *add_member(w) = member;
    skip_space(w);
    w->at++; /* the colon */
    skip_space(w);
    if (!write_value(w))
        return false;
    w->members[place].end = buffer_length(w->out);
    return w->depth > 1 || omit(w);
}

static bool write_object(struct writer *w)
{
    size_t begin = buffer_length(w->out), first = w->count;
    if (!put_mark(w, MARK_OBJECT))
        return false;
    w->depth++;
    w->at++;
    for (skip_space(w); *w->at != '}'; skip_space(w)) {
        if (*w->at == ',') {
            w->at++;
            skip_space(w);
        }
        if (w->total >= CANONICAL_MEMBERS_MAX || w->count - first >= CANONICAL_OBJECT_MEMBERS)
            return false;
        if (!write_member(w))
            return false;
    }
    w->at++;
    w->depth--;
    return close_object(w, begin, first);
}

static bool write_array(struct writer *w)
{
    if (!put_mark(w, MARK_ARRAY))
        return false;
    w->depth++;
    w->at++;
    for (skip_space(w); *w->at != ']'; skip_space(w)) {
        if (*w->at == ',') {
            w->at++;
            skip_space(w);
        }
        if (!write_value(w))
            return false;
    }
    w->at++;
    w->depth--;
    return put_mark(w, MARK_ARRAY_END);
}

static bool write_literal(struct writer *w, size_t len, enum mark mark)
{
    w->at += len;
    return put_mark(w, mark);
}

/* Recursive: the document was found to be at most SCAN_DEPTH_MAX deep. */
static bool write_value(struct writer *w)
{
    switch (*w->at) {
    case '{':
        return write_object(w);
    case '[':
        return write_array(w);
    case '"':
        return write_string(w, NULL);
    case 't':
        return write_literal(w, sizeof("true") - 1, MARK_TRUE);
    case 'f':
        return write_literal(w, sizeof("false") - 1, MARK_FALSE);
    case 'n':
        return write_literal(w, sizeof("null") - 1, MARK_NULL);
    default:
        return write_number(w);
    }
}

bool canonical_write(struct text json, const struct canonical_omission *omissions, size_t count,
                     struct buffer *out)
{
    if (json.len > CANONICAL_BODY_MAX || count > CANONICAL_OMISSIONS_MAX || !scan_is_valid(json))
        return false;
    struct writer w = {.at = json.at, .end = json.at + json.len, .out = out};
    w.kernel = scan_kernel_best();
    w.omissions = omissions;
    w.omission_count = count;
    skip_space(&w);
    bool is_done = *w.at == '{' && write_object(&w);
    memory_free(w.members);
    return is_done;
}
