/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "policy/roster_api.h"

/* Pages: first what the file has, then what is stored, each in the order of ids. */

enum { PAGE = 100, PAGE_MAX = 500 };

struct page {
    struct asking *asking;
    struct text after, tenant;
    uint64_t limit, shown;
    char last[DECODED_BYTES];
    bool more, revoked; /* with those that were revoked */
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

struct text decode(struct text raw, bool of_query, char room[DECODED_BYTES])
{
    size_t len = 0;
    for (size_t i = 0; i < raw.len && len < DECODED_BYTES - 1; i++) {
        char c = raw.at[i];
        if (c == '%' && i + 2 < raw.len && hex_digit(raw.at[i + 1]) >= 0 &&
            hex_digit(raw.at[i + 2]) >= 0) {
            c = (char)(hex_digit(raw.at[i + 1]) << 4 | hex_digit(raw.at[i + 2]));
            i += 2;
        } else if (c == '+' && of_query) {
            c = ' ';
        }
        room[len++] = c;
    }
    room[len] = '\0';
    return (struct text){room, len};
}

/* The value of a query's member, in <room>; empty when there is none. */
static struct text query_value(struct text query, const char *name, char room[DECODED_BYTES])
{
    struct text rest = query, item;
    while (text_next(&rest, '&', &item)) {
        size_t equal = text_find_byte(item, '=');
        if (equal != SIZE_MAX && text_equal(text_head(item, equal), text_of(name)))
            return decode(text_from(item, equal + 1), true, room);
    }
    return (struct text){"", 0};
}

static int compare(struct text a, struct text b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.at, b.at, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Of <tenant> only (keys), or of it and what is below it (tenants). */
static bool is_wanted(const struct page *page, struct text owner)
{
    const struct asking *asking = page->asking;
    if (!may_see(asking, owner))
        return false;
    if (page->tenant.len == 0 || asking->kind == RECORD_KEY)
        return page->tenant.len == 0 || text_equal(page->tenant, owner);
    const struct tenant *tenant = directory_find_tenant(asking->view, owner);
    for (; tenant; tenant = tenant->parent)
        if (text_equal(tenant->name, page->tenant))
            return true;
    return false;
}

/* Room for one more? Else the page ends. */
static bool begin_one(struct page *page, struct text id)
{
    if (page->shown == page->limit) {
        page->more = true;
        return false;
    }
    if (page->shown++)
        buffer_append_text(&page->asking->call->out, TEXT(","));
    memcpy(page->last, id.at, id.len);
    page->last[id.len] = '\0';
    return true;
}

/* ------------------------------------------------------------------------------- the file */

struct declared_one {
    struct text id;
    const struct tenant *tenant;
    const struct key *key; /* NULL = the tenant itself */
};

static int by_id(const void *a, const void *b)
{
    return compare(((const struct declared_one *)a)->id, ((const struct declared_one *)b)->id);
}

static size_t gather(const struct page *page, struct declared_one *out, struct arena *arena)
{
    const struct roster_file *file = &page->asking->view->declared->file;
    bool keys = page->asking->kind == RECORD_KEY;
    size_t count = 0, all = keys ? file->key_count : file->tenant_count;
    for (size_t i = 0; i < all; i++) {
        struct declared_one one = {.tenant = keys ? file->keys[i].tenant : &file->tenants[i],
                                   .key = keys ? &file->keys[i] : NULL};
        one.id = keys ? arena_format(arena, "%.*s:%.*s", TEXT_ARGS(one.tenant->name),
                                     TEXT_ARGS(one.key->name))
                      : one.tenant->name;
        if (is_wanted(page, one.tenant->name) &&
            (page->after.len == 0 || compare(one.id, page->after) > 0))
            out[count++] = one;
    }
    qsort(out, count, sizeof(*out), by_id);
    return count;
}

static void list_file(struct page *page)
{
    const struct roster_file *file = &page->asking->view->declared->file;
    struct arena arena;
    struct declared_one *ones =
        memory_new((file->key_count + file->tenant_count + 1) * sizeof(*ones));
    arena_init(&arena, 4096);
    size_t count = gather(page, ones, &arena);
    for (size_t i = 0; i < count && begin_one(page, ones[i].id); i++) {
        if (ones[i].key)
            roster_write_file_key(&page->asking->call->out, page->asking->view, ones[i].key);
        else
            roster_write_file_tenant(&page->asking->call->out, page->asking->view, ones[i].tenant);
    }
    memory_free(ones);
    arena_done(&arena);
}

/* ---------------------------------------------------------------------------------- stored */

/* Does the file have one of its name, which counts then? */
static bool is_aside(const struct directory *view, const struct roster_record *record)
{
    return record->kind == RECORD_TENANT
               ? directory_file_tenant(view, record->name) != NULL
               : directory_file_key(view, record->owner, record->name) != NULL &&
                     record->revoked_us == 0;
}

static void list_stored(struct page *page, struct text after)
{
    const struct asking *asking = page->asking;
    const struct roster_record *record = directory_next(asking->view, asking->kind, after);
    for (; record; record = directory_next(asking->view, asking->kind, record->id)) {
        if (is_aside(asking->view, record) || !is_wanted(page, owner_of(record)) ||
            (record->revoked_us && !page->revoked))
            continue;
        if (!begin_one(page, record->id))
            return;
        roster_write_record(&asking->call->out, asking->view, record, TEXT(""));
    }
}

/* Is the cursor one of the file's? */
static bool is_in_file(const struct page *page)
{
    if (page->asking->kind == RECORD_KEY)
        return text_find_byte(page->after, ':') != SIZE_MAX;
    return directory_file_tenant(page->asking->view, page->after) != NULL;
}

void list(struct asking *asking)
{
    char rooms[4][DECODED_BYTES];
    struct text query = asking->call->query, words = query_value(query, "limit", rooms[0]);
    struct text revoked = query_value(query, "revoked", rooms[3]);
    struct page page = {.asking = asking,
                        .after = query_value(query, "after", rooms[1]),
                        .tenant = query_value(query, "tenant", rooms[2]),
                        .limit = PAGE,
                        .revoked = text_equal(revoked, TEXT("true"))};
    struct buffer *out = &asking->call->out;
    if (words.len && (!text_number(words, PAGE_MAX, &page.limit) || page.limit < 1)) {
        answer(asking, 400, "'limit' is from 1 to %d.", PAGE_MAX);
        return;
    }
    if (revoked.len && !page.revoked && !text_equal(revoked, TEXT("false"))) {
        answer(asking, 400, "'revoked' is true or false.");
        return;
    }
    buffer_append_text(out, TEXT("{\"data\":["));
    bool of_file = page.after.len == 0 || is_in_file(&page);
    if (of_file)
        list_file(&page);
    if (!page.more)
        list_stored(&page, of_file ? TEXT("") : page.after);
    buffer_append_text(out, TEXT("],\"next\":"));
    if (page.more)
        json_write_string(out, text_of(page.last));
    else
        buffer_append_text(out, TEXT("null"));
    buffer_append_text(out, TEXT("}"));
    asking->call->status = 200;
}
