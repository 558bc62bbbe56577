/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/references.h"

#include <string.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "policy/ledger.h"

_Static_assert(REFERENCES_MAX + 1 <= (int)OWNERS_MAX, "they are asked about at once");

enum { NAME_RAW_MAX = 6 * 8 }; /* "file_ids", each character as an escape */

const struct text references_begin = TEXT("file_id");

static struct text plain(struct text raw, char *room)
{
    struct scan_value value = {SCAN_STRING, raw, true};
    size_t len = scan_string(&value, room);
    return (struct text){room, len == SIZE_MAX ? 0 : len};
}

static bool is_reference(struct text raw)
{
    char room[NAME_RAW_MAX + 2];
    if (raw.len > sizeof(room))
        return false;
    struct text name = plain(raw, room);
    return text_equal(name, TEXT("file_id")) || text_equal(name, TEXT("file_ids"));
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

/* What is longer than any name that is noted is nobody's. */
static bool note(struct exchange *x, struct text raw)
{
    if (raw.len > 6 * OWNER_TEXT_BYTES)
        return true;
    struct text name = plain(raw, arena_take(&x->arena, raw.len));
    if (name.len == 0 || name.len >= OWNER_TEXT_BYTES)
        return true;
    if (!x->files)
        x->files = arena_take(&x->arena, REFERENCES_MAX * sizeof(*x->files));
    if (x->file_count == REFERENCES_MAX)
        return fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                         "A call may name %d files; this one names more.", REFERENCES_MAX);
    x->files[x->file_count++] = name;
    return true;
}

/* All strings of the value at <at>: one, or those of a list. */
static bool note_all(struct exchange *x, const char *at, const char *end)
{
    unsigned depth = 0;
    for (; at < end; at++) {
        if (*at == '"') {
            const char *close = member_string_end(at, end);
            if (close == end)
                return true;
            if (!note(x, (struct text){at, (size_t)(close + 1 - at)}))
                return false;
            at = close;
        } else if (*at == '[' || *at == '{') {
            depth++;
        } else if (*at == ']' || *at == '}') {
            depth -= depth > 0;
        }
        if (depth == 0)
            break;
    }
    return true;
}

/* Where the value of the next member that names files begins, from <at> on; NULL behind the last.
 */
static const char *next_reference(const char *at, const char *end)
{
    while ((at = memchr(at, '"', (size_t)(end - at))) != NULL) {
        const char *close = member_string_end(at, end);
        if (close == end)
            break;
        struct text raw = {at, (size_t)(close + 1 - at)};
        at = skip_space(close + 1, end);
        if (at != end && *at == ':' && is_reference(raw))
            return skip_space(at + 1, end);
    }
    return NULL;
}

bool references_any(struct text body)
{
    return next_reference(body.at, body.at + body.len) != NULL;
}

bool references_read(struct exchange *x)
{
    struct text body = buffer_text(&x->body);
    x->file_count = 0;
    if (!x->seeking->names_files)
        return true;
    const char *end = body.at + body.len, *at = body.at;
    while ((at = next_reference(at, end)) != NULL)
        if (!note_all(x, at, end))
            return false;
    return true;
}
