/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli/convert_inside.h"

struct out *out_new(struct convert *c, enum node_kind kind, struct text key)
{
    struct out *out = arena_new(c->arena, sizeof(*out));
    out->kind = kind;
    out->key = key;
    return out;
}

void out_append(struct out *above, struct out *out)
{
    if (above->last)
        above->last->next = out;
    else
        above->first = out;
    above->last = out;
}

struct out *out_find(const struct out *map, struct text key)
{
    struct out *at = map->first;
    while (at && !text_equal(at->key, key))
        at = at->next;
    return at;
}

struct out *out_member(struct convert *c, struct out *map, struct text key, enum node_kind kind)
{
    struct out *found = out_find(map, key);
    if (!found) {
        found = out_new(c, kind, arena_copy(c->arena, key));
        out_append(map, found);
    }
    return found;
}

void *convert_take(struct convert *c, size_t bytes)
{
    return arena_new(c->arena, bytes);
}

struct out *convert_root(struct convert *c)
{
    return c->root;
}

struct out *convert_draft(struct convert *c)
{
    return out_new(c, NODE_MAP, (struct text){"", 0});
}

struct out *convert_section(struct convert *c, struct out *map, const char *path)
{
    struct text rest = text_of(path), step;
    while (rest.len && text_next(&rest, '.', &step))
        map = out_member(c, map, step, NODE_MAP);
    return map;
}

struct out *convert_item(struct convert *c, struct out *map, const char *name)
{
    struct out *item = convert_draft(c);
    out_append(out_member(c, map, text_of(name), NODE_LIST), item);
    return item;
}

void convert_put(struct convert *c, struct out *map, const char *path, struct text yaml)
{
    struct text rest = text_of(path), step;
    text_next(&rest, '.', &step);
    while (rest.len) {
        map = out_member(c, map, step, NODE_MAP);
        text_next(&rest, '.', &step);
    }
    struct out *member = out_member(c, map, step, NODE_SCALAR);
    if (!member->yaml.len)
        member->yaml = yaml;
}

void convert_put_name(struct convert *c, struct out *map, struct text key, struct text yaml)
{
    struct text name = convert_quote(c, key);
    if (!out_find(map, name))
        out_member(c, map, name, NODE_SCALAR)->yaml = yaml;
}

void convert_join(struct out *map, struct out *draft)
{
    if (!draft->first)
        return;
    if (map->last)
        map->last->next = draft->first;
    else
        map->first = draft->first;
    map->last = draft->last;
}

bool convert_has(const struct out *map, const char *name)
{
    return out_find(map, text_of(name)) != NULL;
}

void convert_comment(struct out *map, const char *name, const char *words)
{
    struct out *member = out_find(map, text_of(name));
    if (member)
        member->comment = words;
}

static void write_out(struct buffer *to, const struct out *map, unsigned depth, bool dash)
{
    for (const struct out *at = map->first; at; at = at->next) {
        if (at->kind == NODE_SCALAR ? !at->yaml.len : !at->first)
            continue;
        if (at->comment)
            buffer_format(to, "%*s# %s\n", (int)depth * 2, "", at->comment);
        buffer_format(to, "%*s%s%.*s:", dash ? (int)depth * 2 - 2 : (int)depth * 2, "",
                      dash ? "- " : "", TEXT_ARGS(at->key));
        dash = false;
        if (at->kind == NODE_SCALAR) {
            buffer_format(to, " %.*s\n", TEXT_ARGS(at->yaml));
            continue;
        }
        buffer_append_text(to, TEXT("\n"));
        if (at->kind == NODE_MAP)
            write_out(to, at, depth + 1, false);
        for (const struct out *item = at->first; at->kind == NODE_LIST && item; item = item->next)
            write_out(to, item, depth + 2, true);
    }
}

void out_write(struct buffer *to, const struct out *map)
{
    write_out(to, map, 0, false);
}

/* Each name has the number that is tried next behind it. */
struct text convert_take_name(struct convert *c, struct table *names, struct text name,
                              const char *between)
{
    struct text tried = arena_copy(c->arena, name);
    unsigned *next = table_find(names, name), *own = arena_new(c->arena, sizeof(*own));
    while (table_find(names, tried))
        tried = arena_format(c->arena, "%.*s%s%u", TEXT_ARGS(name), between, (*next)++);
    *own = 2;
    table_set(names, tried, own);
    return tried;
}

/* ------------------------------------------------------------------------- providers, targets */

struct text convert_provider(struct convert *c, struct out *draft, const char *name)
{
    struct buffer said;
    buffer_init(&said, OUT_BYTES_MAX);
    out_write(&said, draft);
    struct text says = arena_copy(c->arena, buffer_text(&said));
    buffer_done(&said);
    struct out *known = table_find(&c->providers, says);
    if (known)
        return known->first->yaml;
    struct text own = convert_take_name(c, &c->provider_names, text_of(name), "-");
    struct out *first = out_new(c, NODE_SCALAR, TEXT("name"));
    first->yaml = convert_quote(c, own);
    first->next = draft->first;
    draft->first = first;
    if (!draft->last)
        draft->last = first;
    out_append(out_member(c, c->root, TEXT("providers"), NODE_LIST), draft);
    table_set(&c->providers, says, draft);
    return first->yaml;
}

void convert_merge(struct convert *c, struct out *into, const struct out *from)
{
    for (const struct out *at = from->first; at; at = at->next) {
        struct out *there = out_member(c, into, at->key, at->kind);
        if (at->kind == NODE_MAP && there->kind == NODE_MAP)
            convert_merge(c, there, at);
        else if (!there->yaml.len)
            there->yaml = at->yaml;
    }
}

void convert_default(struct convert *c, const struct out *defaults)
{
    const struct out *list = out_find(c->root, TEXT("providers"));
    for (struct out *at = list ? list->first : NULL; at; at = at->next)
        convert_merge(c, at, defaults);
}

void convert_add_attempts(struct convert *c, unsigned fallbacks)
{
    enum { DEFAULT = 2, MOST = 10 };
    const struct out *list = out_find(c->root, TEXT("providers"));
    for (struct out *at = list ? list->first : NULL; at; at = at->next) {
        struct out *retry = out_find(at, TEXT("retry"));
        struct out *attempts = retry ? out_find(retry, TEXT("attempts")) : NULL;
        uint64_t number = DEFAULT;
        if (attempts && !text_number(attempts->yaml, MOST, &number))
            continue;
        if (!attempts && fallbacks <= DEFAULT)
            continue;
        number = attempts ? number + fallbacks : fallbacks;
        attempts = out_member(c, convert_section(c, at, "retry"), TEXT("attempts"), NODE_SCALAR);
        attempts->yaml = arena_format(c->arena, "%u", (unsigned)(number < MOST ? number : MOST));
    }
}

void convert_unpriced(struct convert *c)
{
    convert_put(c, c->root, "ledger.unknown_price", TEXT("zero"));
    convert_comment(
        convert_section(c, c->root, "ledger"), "unknown_price",
        "as before: what has no price costs nothing; reject is safer, and turns it off");
}

struct text convert_target_id(struct convert *c, struct text name)
{
    enum { ID_BYTES_MAX = 100 };
    struct text id = convert_take_name(c, &c->target_ids, text_head(name, ID_BYTES_MAX), "-");
    return convert_quote(c, id);
}
