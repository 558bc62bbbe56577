/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "gateway/base/log.h"
#include "gateway/cli/convert_inside.h"

/* A text that YAML takes as it is, and no number or truth value. */
static bool is_plain(struct text text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    static const char *const taken[] = {"null", "true", "false", "yes", "no",
                                        "on",   "off",  "y",     "n"};
    if (!text.len || !memchr(safe, text.at[0], 52))
        return false;
    for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++)
        if (text_equal_nocase(text, text_of(taken[i])))
            return false;
    for (size_t i = 0; i < text.len; i++) {
        bool inner_colon = text.at[i] == ':' && i + 1 < text.len;
        if (!inner_colon && !memchr(safe, text.at[i], sizeof(safe) - 1))
            return false;
    }
    return true;
}

static struct text quoted(struct convert *c, struct text text)
{
    if (is_plain(text))
        return arena_copy(c->arena, text);
    char *at = arena_take(c->arena, 6 * text.len + 3);
    at[0] = '"';
    size_t len = log_escape(at + 1, 6 * text.len, text);
    at[len + 1] = '"';
    at[len + 2] = '\0';
    return (struct text){at, len + 2};
}

struct text convert_scalar(struct convert *c, struct text text)
{
    return quoted(c, text);
}

/* With `$` doubled. */
static struct text escaped(struct convert *c, struct text text)
{
    if (text_find_byte(text, '$') == SIZE_MAX)
        return text;
    char *at = arena_take(c->arena, 2 * text.len);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        at[len++] = text.at[i];
        if (text.at[i] == '$')
            at[len++] = '$';
    }
    return (struct text){at, len};
}

struct text convert_quote(struct convert *c, struct text text)
{
    return quoted(c, escaped(c, text));
}

/* The variable that a text of the other file names; empty when it is no reference. */
static struct text referred(const struct convert *c, struct text text)
{
    struct text before = text_of(c->converter->reference), none = {"", 0};
    if (!before.len || !text_starts(text, before))
        return none;
    struct text name = text_from(text, before.len);
    for (size_t i = 0; i < name.len; i++) {
        char lower = (char)(name.at[i] | 0x20), digit = name.at[i];
        if (digit != '_' && !(lower >= 'a' && lower <= 'z') &&
            !(i > 0 && digit >= '0' && digit <= '9'))
            return none;
    }
    return name.len < 120 ? name : none;
}

static struct variable *variable_new(struct convert *c, struct text name)
{
    struct variable *variable = arena_new(c->arena, sizeof(*variable));
    variable->name = arena_copy(c->arena, name);
    *c->variable_end = variable;
    c->variable_end = &variable->next;
    return variable;
}

void convert_note_references(struct convert *c, const struct node *node)
{
    struct text name = node->kind == NODE_SCALAR ? referred(c, node_text(node)) : TEXT("");
    if (name.len && !table_find(&c->variable_names, name))
        convert_take_name(c, &c->variable_names, name, "_");
    for (const struct node *entry = node->first; entry; entry = entry->next)
        convert_note_references(c, entry);
}

/* The variable in place of a secret; equal ones have the same. */
static struct text secret_name(struct convert *c, const struct node *node, const char *wanted,
                               bool is_hash)
{
    struct text value =
        arena_format(c->arena, "%c%.*s", is_hash ? 'h' : 's', TEXT_ARGS(node_text(node)));
    struct variable *variable = table_find(&c->secret_values, value);
    if (!variable) {
        variable = variable_new(c, convert_take_name(c, &c->variable_names, text_of(wanted), "_"));
        variable->is_hash = is_hash;
        variable->place = convert_place(c, node);
        table_set(&c->secret_values, value, variable);
    }
    return variable->name;
}

static struct text variable_text(struct convert *c, struct text name)
{
    return arena_format(c->arena, "${%.*s}", TEXT_ARGS(name));
}

struct text convert_inner(struct convert *c, const struct node *node)
{
    struct text name = referred(c, node_text(node));
    return name.len ? variable_text(c, name) : escaped(c, node_text(node));
}

struct text convert_inner_secret(struct convert *c, const struct node *node, const char *variable)
{
    struct text name = referred(c, node_text(node));
    return variable_text(c, name.len ? name : secret_name(c, node, variable, false));
}

struct text convert_value(struct convert *c, const struct node *node)
{
    return quoted(c, convert_inner(c, node));
}

struct text convert_secret(struct convert *c, const struct node *node, const char *variable)
{
    return quoted(c, convert_inner_secret(c, node, variable));
}

struct text convert_url(struct convert *c, const struct node *node, const char *variable)
{
    struct text none = {"", 0};
    if (!node_is_text(node))
        return none;
    struct text url = node_text(node);
    if (referred(c, url).len)
        return convert_value(c, node);
    if (!text_starts(url, TEXT("http://")) && !text_starts(url, TEXT("https://")))
        return none;
    bool tells = text_find_byte(url, '@') != SIZE_MAX || text_find_byte(url, '?') != SIZE_MAX;
    return tells ? convert_secret(c, node, variable) : convert_value(c, node);
}

void convert_headers(struct convert *c, const struct node *map, struct out *provider,
                     struct text variables)
{
    if (map->kind != NODE_MAP) {
        convert_leave(c, map, "it is no mapping");
        return;
    }
    struct out *headers = convert_section(c, provider, "headers");
    for (const struct node *entry = map->first; entry; entry = entry->next) {
        if (!node_is_text(entry)) {
            convert_leave(c, entry, "it is no text");
            continue;
        }
        struct text base = arena_format(c->arena, "%.*s_%.*s", TEXT_ARGS(variables),
                                        TEXT_ARGS(text_head(node_key(entry), 40)));
        convert_put_name(c, headers, node_key(entry),
                         convert_secret(c, entry, convert_variable(c, base, "HEADER")));
    }
}

struct text convert_hash(struct convert *c, const struct node *node, const char *variable)
{
    struct text name = referred(c, node_text(node));
    const char *wanted = name.len ? convert_variable(c, name, "HASH")
                                  : convert_variable(c, text_of(variable), "HASH");
    return quoted(c, variable_text(c, secret_name(c, node, wanted, true)));
}

const char *convert_variable(struct convert *c, struct text base, const char *suffix)
{
    enum { NAME_BYTES_MAX = 64 };
    struct text name =
        arena_format(c->arena, "%.*s_%s", TEXT_ARGS(text_head(base, NAME_BYTES_MAX)), suffix);
    char *at = (char *)(uintptr_t)name.at;
    for (size_t i = 0; i < name.len; i++) {
        char lower = (char)(at[i] | 0x20);
        if (lower >= 'a' && lower <= 'z')
            at[i] &= ~0x20;
        else if (at[i] < '0' || at[i] > '9' || i == 0)
            at[i] = '_';
    }
    return at;
}

struct text convert_listed(struct convert *c, struct text list, struct text yaml)
{
    if (!list.len)
        return arena_format(c->arena, "[%.*s]", TEXT_ARGS(yaml));
    return arena_format(c->arena, "%.*s, %.*s]", TEXT_ARGS(text_head(list, list.len - 1)),
                        TEXT_ARGS(yaml));
}

bool convert_is_reference(const struct convert *c, struct text text)
{
    return referred(c, text).len > 0;
}
