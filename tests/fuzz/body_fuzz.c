/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bodies: the same pieces joined, the same end and the same refusal however they are cut, and for
 * chunked ones the same judgement as a plain reading of the whole. The first byte of the input says
 * how the body is framed, the second how it is cut.
 */

#include <assert.h>
#include <stdlib.h>

#include "gateway/http/body.h"

struct outcome {
    enum body_result result;
    size_t end; /* of the body in the input, when it has one */
    size_t len;
    char *data;
};

static struct outcome feed(enum body_kind kind, uint64_t length, struct text from, size_t first,
                           size_t step)
{
    struct outcome out = {.result = BODY_WAIT, .data = malloc(from.len + 1)};
    struct body body;
    size_t at = 0, piece = first;
    body_init(&body, kind, length);
    do {
        struct fault why = {.kind = FAULT_NONE};
        struct text bytes, data;
        if (piece > from.len - at)
            piece = from.len - at;
        char *copy = malloc(piece ? piece : 1);
        memcpy(copy, from.at + at, piece);
        bytes = (struct text){copy, piece};
        while ((out.result = body_next(&body, &bytes, &data, &why)) == BODY_DATA) {
            assert(data.len > 0 && out.len + data.len <= from.len);
            memcpy(out.data + out.len, data.at, data.len);
            out.len += data.len;
        }
        assert(out.result != BODY_WAIT || bytes.len == 0);
        assert((out.result == BODY_BAD) == (why.kind == FAULT_BAD_HTTP));
        at += piece - bytes.len;
        out.end = out.result == BODY_END ? at : 0;
        free(copy);
        piece = step;
    } while (out.result == BODY_WAIT && at < from.len);
    assert(body.total == out.len);
    assert(body_may_end_here(&body) == (kind == BODY_TO_CLOSE || out.result == BODY_END));
    return out;
}

static void check_same(const struct outcome *whole, struct outcome other)
{
    assert(whole->result == other.result && whole->end == other.end);
    assert(whole->len == other.len && memcmp(whole->data, other.data, other.len) == 0);
    free(other.data);
}

/* ---- the plain reading ---- */

static bool take_line(struct text *rest, struct text *line)
{
    size_t end = text_find(*rest, TEXT("\r\n"));
    if (end == SIZE_MAX)
        return false;
    *line = text_head(*rest, end);
    *rest = text_from(*rest, end + 2);
    return true;
}

static bool is_size(struct text line, uint64_t *size)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    *size = 0;
    for (size_t i = 0; i < line.len; i++) {
        const char *digit = line.at[i] ? strchr(digits, line.at[i]) : NULL;
        if (!digit)
            return false;
        *size = *size * 16 + (uint64_t)(digit - digits - (digit - digits > 15 ? 6 : 0));
    }
    return line.len > 0 && line.len <= 16 && *size <= (uint64_t)1 << 60;
}

static bool is_trailer(struct text line)
{
    size_t colon = text_find_byte(line, ':');
    if (colon == SIZE_MAX || colon == 0)
        return false;
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.at[i];
        if (i < colon ? c <= 0x20 || c >= 0x7F || strchr("\"(),/:;<=>?@[\\]{}", c)
                      : (c < 0x20 && c != '\t') || c == 0x7F)
            return false;
    }
    return true;
}

/* Is there a whole chunked body in front of <rest>? Its length, or 0. */
static size_t read_plainly(struct text from)
{
    struct text rest = from, line;
    uint64_t size;
    do {
        if (!take_line(&rest, &line) || !is_size(line, &size))
            return 0;
        if (size > 0 && (rest.len < size + 2 || memcmp(rest.at + size, "\r\n", 2) != 0))
            return 0;
        rest = text_from(rest, size > 0 ? size + 2 : 0);
    } while (size > 0);
    while (take_line(&rest, &line)) {
        if (line.len == 0)
            return from.len - rest.len;
        if (!is_trailer(line))
            return 0;
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum body_kind kinds[] = {BODY_CHUNKED, BODY_LENGTH, BODY_TO_CLOSE, BODY_NONE};
    if (size < 2 || size > 20000)
        return 0;
    struct text from = {(const char *)data + 2, size - 2};
    enum body_kind kind = kinds[data[0] & 3];
    uint64_t length = data[0] >> 2;
    struct outcome whole = feed(kind, length, from, from.len, 1);
    check_same(&whole, feed(kind, length, from, 0, 1));
    check_same(&whole, feed(kind, length, from, data[1], 3));
    check_same(&whole, feed(kind, length, from, data[1] & 7, from.len + 1));
    if (kind == BODY_CHUNKED) {
        size_t plainly = read_plainly(from);
        /* We refuse some trailers that the plain reading takes. */
        assert(whole.result != BODY_END || whole.end == plainly);
        if (plainly > 0 && whole.result != BODY_END)
            assert(whole.result == BODY_BAD && text_find_byte(from, ':') != SIZE_MAX);
    }
    free(whole.data);
    return 0;
}
