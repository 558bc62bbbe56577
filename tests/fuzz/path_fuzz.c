/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Paths: one that is accepted is its own canonical form, so that the path that was authorised is
 * the path that is routed, by us and by whoever stands behind us; and a decoded name is one that
 * cannot climb. The input is a path, with a query behind the first '?'.
 */

#include <assert.h>
#include <stdlib.h>

#include "gateway/http/path.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode all escapes, as a careless reader would. */
static size_t decode(struct text from, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < from.len; i++) {
        if (from.at[i] == '%' && from.len - i > 2 && hex(from.at[i + 1]) >= 0 &&
            hex(from.at[i + 2]) >= 0) {
            out[len++] = (char)(hex(from.at[i + 1]) * 16 + hex(from.at[i + 2]));
            i += 2;
        } else {
            out[len++] = from.at[i];
        }
    }
    return len;
}

/* Merge slashes, take backslashes for slashes, cut ";…" off segments, drop "." and climb "..": all
 * that any server does to a path. */
static size_t normalise(struct text from, char *out)
{
    size_t len = 0;
    for (size_t at = 0; at < from.len;) {
        size_t end = at, semicolon;
        while (end < from.len && from.at[end] != '/' && from.at[end] != '\\')
            end++;
        struct text segment = {from.at + at, end - at};
        semicolon = text_find_byte(segment, ';');
        segment = text_head(segment, semicolon);
        at = end + 1;
        if (segment.len == 0 || text_equal(segment, TEXT(".")))
            continue;
        if (text_equal(segment, TEXT(".."))) {
            while (len > 0 && out[--len] != '/')
                ;
            continue;
        }
        out[len++] = '/';
        memcpy(out + len, segment.at, segment.len);
        len += segment.len;
    }
    if (len == 0)
        out[len++] = '/';
    return len;
}

static void check_plain(struct text path)
{
    char *decoded = malloc(path.len + 1), *normal = malloc(path.len + 2);
    struct text once = {decoded, decode(path, decoded)};
    assert(text_equal(once, path));
    assert(text_equal((struct text){normal, normalise(once, normal)}, path));
    assert(path_is_clean(path, true));
    free(decoded);
    free(normal);
}

/* With escapes the path is normal as it stands, and no segment is one that climbs when decoded. */
static void check_escaped(struct text path)
{
    char *normal = malloc(path.len + 2);
    assert(text_equal((struct text){normal, normalise(path, normal)}, path));
    free(normal);
    for (struct text rest = text_from(path, 1), segment; rest.len > 0;) {
        segment = text_head(rest, text_find_byte(rest, '/'));
        rest = text_from(rest, segment.len + 1);
        char *name = malloc(segment.len), *plain = malloc(segment.len + 1);
        size_t len = 0, plain_len = decode(segment, plain);
        assert(!text_equal((struct text){plain, plain_len}, TEXT(".")));
        assert(!text_equal((struct text){plain, plain_len}, TEXT("..")));
        if (path_decode(segment, name, &len))
            assert(text_equal((struct text){name, len}, (struct text){plain, plain_len}));
        free(name);
        free(plain);
    }
}

/* A decoded name says the same when it is decoded again, and none of its parts climbs. */
static void check_name(struct text segment)
{
    char *name = malloc(segment.len + 1), *twice = malloc(segment.len + 1);
    size_t len = 0;
    if (path_decode(segment, name, &len)) {
        struct text rest = {twice, decode((struct text){name, len}, twice)}, part;
        assert(text_equal((struct text){name, len}, rest));
        do {
            part = text_head(rest, text_find_byte(rest, '/'));
            rest = text_from(rest, part.len + 1);
            assert(part.len > 0 && !text_equal(part, TEXT(".")) && !text_equal(part, TEXT("..")));
        } while (rest.len > 0);
    }
    free(name);
    free(twice);
}

static void check_query(struct text query)
{
    struct text value;
    bool repeated;
    size_t count = 0;
    bool found = query_find(query, TEXT("key"), &value, &repeated);
    for (struct text rest = query, item; rest.len > 0;) {
        item = text_head(rest, text_find_byte(rest, '&'));
        rest = text_from(rest, item.len + 1);
        struct text name = text_head(item, text_find_byte(item, '='));
        char *plain = malloc(name.len + 1);
        count += text_equal((struct text){plain, decode(name, plain)}, TEXT("key"));
        free(plain);
    }
    assert(found == (count > 0) && repeated == (count > 1));
    assert(!found || (value.at >= query.at && value.at + value.len <= query.at + query.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 8192)
        return 0;
    char *copy = malloc(size ? size : 1);
    if (size > 0)
        memcpy(copy, data, size);
    struct text all = {copy, size}, path = text_head(all, text_find_byte(all, '?'));
    if (path_is_clean(path, false))
        check_plain(path);
    if (path_is_clean(path, true))
        check_escaped(path);
    check_name(path.len > 0 ? text_from(path, 1) : path);
    check_query(text_from(all, path.len + 1));
    free(copy);
    return 0;
}
