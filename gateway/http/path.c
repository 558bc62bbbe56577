/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/path.h"

#include "gateway/base/utf8.h"
#include "gateway/http/octets.h"

/* The byte that the escape at <at> stands for, or -1 when it is none. */
static int read_escape(struct text from, size_t at)
{
    if (from.len - at < 3 || from.at[at] != '%' || !octet_is(from.at[at + 1], OCTET_HEX) ||
        !octet_is(from.at[at + 2], OCTET_HEX))
        return -1;
    return (int)(octet_hex(from.at[at + 1]) << 4 | octet_hex(from.at[at + 2]));
}

/* "." or "..", also where the dots are escaped. */
static bool is_dots(struct text segment)
{
    size_t dots = 0, at = 0;
    while (at < segment.len) {
        if (segment.at[at] == '.')
            at++;
        else if (read_escape(segment, at) == '.')
            at += 3;
        else
            return false;
        dots++;
    }
    return dots == 1 || dots == 2;
}

static bool is_clean_segment(struct text segment, bool may_escape)
{
    for (size_t at = 0; at < segment.len; at++) {
        if (octet_is(segment.at[at], OCTET_CLEAN))
            continue;
        int byte = may_escape ? read_escape(segment, at) : -1;
        if (byte < 0x20 || byte == 0x7F)
            return false;
        at += 2;
    }
    return segment.len > 0 && !is_dots(segment);
}

bool path_is_clean(struct text path, bool may_escape)
{
    if (path.len == 0 || path.at[0] != '/')
        return false;
    if (path.len == 1)
        return true;
    for (size_t at = 0; at < path.len;) {
        struct text rest = text_from(path, at + 1);
        struct text segment = text_head(rest, text_find_byte(rest, '/'));
        if (!is_clean_segment(segment, may_escape))
            return false;
        at += 1 + segment.len;
    }
    return true;
}

/* A name that is made of parts, such as "meta/llama-3", is written into the paths of others: none
 * of its parts may climb, now or when a careless reader decodes it once more. */
static bool may_climb(struct text name)
{
    if (text_find_byte(name, '%') != SIZE_MAX || text_find_byte(name, '\\') != SIZE_MAX)
        return true;
    while (name.at) {
        size_t slash = text_find_byte(name, '/');
        struct text part = text_head(name, slash);
        if (part.len == 0 || is_dots(part))
            return true;
        name = slash == SIZE_MAX ? (struct text){NULL, 0} : text_from(name, slash + 1);
    }
    return false;
}

static bool is_plain_utf8(struct text name)
{
    for (size_t at = 0; at < name.len;) {
        unsigned char byte = (unsigned char)name.at[at];
        size_t length = byte < 0x80 ? 1 : utf8_length(name.at + at, name.len - at);
        if (length == 0 || octet_is_control(name.at[at]) || byte == '\t')
            return false;
        at += length;
    }
    return true;
}

bool path_decode(struct text segment, char *out, size_t *len)
{
    size_t count = 0;
    for (size_t at = 0; at < segment.len; at++) {
        char byte = segment.at[at];
        if (byte == '%') {
            int escaped = read_escape(segment, at);
            if (escaped < 0)
                return false;
            byte = (char)escaped;
            at += 2;
        }
        out[count++] = byte;
    }
    struct text name = {out, count};
    if (count == 0 || !is_plain_utf8(name) || may_climb(name))
        return false;
    *len = count;
    return true;
}

/* Does <from>, with its escapes, spell <name>? Whoever reads the query behind us decodes names. */
static bool spells(struct text from, struct text name)
{
    size_t at = 0, i = 0;
    for (; at < from.len && i < name.len; i++) {
        int escaped = read_escape(from, at);
        if ((escaped >= 0 ? (char)escaped : from.at[at]) != name.at[i])
            return false;
        at += escaped >= 0 ? 3 : 1;
    }
    return at == from.len && i == name.len;
}

bool query_find(struct text query, struct text name, struct text *value, bool *repeated)
{
    bool found = false;
    *repeated = false;
    while (query.len > 0) {
        size_t end = text_find_byte(query, '&');
        struct text item = text_head(query, end);
        size_t equals = text_find_byte(item, '=');
        query = text_from(query, end == SIZE_MAX ? end : end + 1);
        if (!spells(text_head(item, equals), name))
            continue;
        *repeated = found;
        if (found)
            return true;
        *value = text_from(item, equals == SIZE_MAX ? equals : equals + 1);
        found = true;
    }
    return found;
}

/* ---- credentials ---- */

enum { KEY_MAX = 8192 };

/* Note one more key; false when it is none, or another than was seen before. */
static bool add_key(struct text key, struct text *seen)
{
    if (key.len == 0 || key.len > KEY_MAX)
        return false;
    for (size_t i = 0; i < key.len; i++)
        if (!octet_is(key.at[i], OCTET_KEY))
            return false;
    if (seen->at && !text_equal(key, *seen))
        return false;
    *seen = key;
    return true;
}

static bool add_bearer(struct text value, struct text *seen)
{
    const struct text scheme = TEXT("bearer ");
    return text_starts_nocase(value, scheme) && add_key(text_from(value, scheme.len), seen);
}

/* The bit of the header that carries a key, or 0. */
static unsigned key_header(struct text name)
{
    switch (name.len) {
    case 7:
        return text_equal_nocase(name, TEXT("api-key")) ? 1 : 0;
    case 9:
        return text_equal_nocase(name, TEXT("x-api-key")) ? 2 : 0;
    case 13:
        return text_equal_nocase(name, TEXT("authorization")) ? 4 : 0;
    case 14:
        return text_equal_nocase(name, TEXT("x-goog-api-key")) ? 8 : 0;
    default:
        return 0;
    }
}

enum credential_result credential_find(const struct head *head, bool query_key, struct text *key)
{
    struct text seen = {NULL, 0}, value;
    unsigned headers = 0;
    bool repeated;
    for (size_t i = 0; i < head->field_count; i++) {
        const struct head_field *field = &head->fields[i];
        unsigned header = key_header(field->name);
        if (header == 0)
            continue;
        if (headers & header)
            return CREDENTIAL_REFUSED;
        headers |= header;
        if (!(header == 4 ? add_bearer(field->value, &seen) : add_key(field->value, &seen)))
            return CREDENTIAL_REFUSED;
    }
    if (query_key && query_find(head->query, TEXT("key"), &value, &repeated) &&
        (repeated || !add_key(value, &seen)))
        return CREDENTIAL_REFUSED;
    *key = seen;
    return seen.at ? CREDENTIAL_FOUND : CREDENTIAL_NONE;
}
