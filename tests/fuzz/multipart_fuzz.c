/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Forms: the same values and the same judgement however the body is cut, and a value is what stands
 * in the body between its bounds. The first line of the input is the Content-Type, its first byte
 * says how the body is cut.
 */

#include <assert.h>
#include <stdlib.h>

#include "gateway/http/multipart.h"

static const struct text wants[] = {{"model", 5}, {"stream", 6}, {"n", 1}};
enum { WANTS = sizeof(wants) / sizeof(wants[0]) };

static bool feed(struct multipart *multipart, struct text type, struct text from, size_t first,
                 size_t step)
{
    size_t at = 0, piece = first;
    if (!multipart_init(multipart, type, wants, WANTS))
        return false;
    do {
        struct fault why;
        if (piece > from.len - at)
            piece = from.len - at;
        char *copy = malloc(piece ? piece : 1);
        if (piece > 0)
            memcpy(copy, from.at + at, piece);
        bool fine = multipart_feed(multipart, (struct text){copy, piece}, &why);
        free(copy);
        if (!fine)
            return false;
        at += piece;
        piece = step;
    } while (at < from.len);
    assert(multipart->seen == from.len);
    return true;
}

static void check_same(const struct multipart *a, const struct multipart *b)
{
    assert(a->ended == b->ended);
    for (size_t i = 0; i < WANTS; i++) {
        assert(a->fields[i].found == b->fields[i].found &&
               a->fields[i].repeated == b->fields[i].repeated);
        assert(a->fields[i].too_long == b->fields[i].too_long &&
               a->fields[i].len == b->fields[i].len);
        assert(a->fields[i].begin == b->fields[i].begin && a->fields[i].end == b->fields[i].end);
        assert(memcmp(a->fields[i].value, b->fields[i].value, a->fields[i].len) == 0);
    }
}

static void check_values(const struct multipart *multipart, struct text from)
{
    for (size_t i = 0; i < WANTS; i++) {
        uint64_t begin = multipart->fields[i].begin, end = multipart->fields[i].end;
        struct text boundary = {multipart->boundary, multipart->boundary_len};
        if (multipart->current == (int)i && begin > 0)
            assert(text_find(text_from(from, (size_t)begin), boundary) == SIZE_MAX);
        if (!multipart->fields[i].found)
            continue;
        assert(begin <= end && end <= from.len && multipart->fields[i].len <= end - begin);
        assert(multipart->fields[i].too_long == (end - begin > MULTIPART_VALUE_BYTES));
        assert(multipart->fields[i].too_long || multipart->fields[i].len == end - begin);
        assert(memcmp(multipart->fields[i].value, from.at + begin, multipart->fields[i].len) == 0);
        /* Behind a value stands its boundary, and none stands in it. */
        struct text value = {from.at + begin, (size_t)(end - begin)};
        assert(text_starts(text_from(from, (size_t)end), boundary));
        assert(text_find(value, boundary) == SIZE_MAX &&
               !text_starts(value, text_from(boundary, 2)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct multipart whole, cut;
    if (size < 1 || size > 20000)
        return 0;
    struct text all = {(const char *)data + 1, size - 1};
    struct text type = text_head(all, text_find_byte(all, '\n')),
                from = text_from(all, type.len + 1);
    bool fine = feed(&whole, type, from, from.len, 1);
    assert(fine == feed(&cut, type, from, 0, 1));
    if (fine)
        check_same(&whole, &cut);
    assert(fine == feed(&cut, type, from, data[0], 11));
    if (!fine)
        return 0;
    check_same(&whole, &cut);
    check_values(&whole, from);
    return 0;
}
