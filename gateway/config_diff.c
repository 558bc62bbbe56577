/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "gateway/base/table.h"
#include "gateway/config_effective.h"

enum { PATH_BYTES_MAX = 1024, VALUE_BYTES_MAX = 1 << 20 };

struct difference {
    FILE *out;
    const struct document *before, *after;
    unsigned count;
    char path[PATH_BYTES_MAX];
    size_t path_len;
};

/* Where in a configuration: a mapping of both sides, either of which may be missing. */
struct sides {
    const struct node *before, *after;
    const char *before_base, *after_base;
};

static size_t descend(struct difference *difference, const char *name)
{
    size_t was = difference->path_len;
    int len = snprintf(difference->path + was, sizeof(difference->path) - was, "%s%s",
                       was ? "." : "", name);
    difference->path_len = was + (size_t)len < sizeof(difference->path) ? was + (size_t)len : was;
    return was;
}

static void ascend(struct difference *difference, size_t was)
{
    difference->path_len = was;
    difference->path[was] = '\0';
}

static void compare_value(struct difference *difference, const struct effective *before,
                          const struct effective *after)
{
    struct buffer a, b;
    buffer_init(&a, VALUE_BYTES_MAX);
    buffer_init(&b, VALUE_BYTES_MAX);
    effective_write_plain(&a, before);
    effective_write_plain(&b, after);
    if (!text_equal(buffer_text(&a), buffer_text(&b))) {
        difference->count++;
        memory_wipe(a.data, a.capacity);
        memory_wipe(b.data, b.capacity);
        buffer_clear(&a);
        buffer_clear(&b);
        effective_write(&a, before);
        effective_write(&b, after);
        bool hidden = text_equal(buffer_text(&a), buffer_text(&b));
        fprintf(difference->out, "%s: %.*s -> %.*s%s\n", difference->path,
                TEXT_ARGS(buffer_text(&a)), TEXT_ARGS(buffer_text(&b)),
                hidden ? " (another value)" : "");
    }
    buffer_done(&a);
    buffer_done(&b);
}

static void compare_mapping(struct difference *difference, const struct option *options,
                            const struct sides *sides);

/* What an entry of a list is called. */
static struct text name_of(const struct node *entry)
{
    if (entry->key)
        return node_key(entry);
    const struct node *name = node_find(entry, "name");
    if (!name)
        name = node_find(entry, "id");
    return name && name->kind == NODE_SCALAR ? node_text(name) : (struct text){NULL, 0};
}

/* Entries without a name are called by their number. */
static void name_step(char step[160], struct text name, size_t i)
{
    if (name.at)
        snprintf(step, 160, "%.*s", TEXT_ARGS(text_head(name, 159)));
    else
        snprintf(step, 160, "%zu", i);
}

static void say_presence(struct difference *difference, struct text name, size_t i, bool added)
{
    char step[160];
    name_step(step, name, i);
    difference->count++;
    fprintf(difference->out, "%s.%s: %s\n", difference->path, step,
            added ? "(absent) -> (present)" : "(present) -> (absent)");
}

struct place {
    const struct node *node;
    const char *base;
    bool seen;
};

static struct place *places_of(const struct effective *of, struct table *table, size_t *count)
{
    size_t all = 0;
    for (const struct node *entry = of->node ? of->node->first : NULL; entry; entry = entry->next)
        all++;
    struct place *places = memory_new((all + 1) * sizeof(*places));
    struct items items = effective_items(of);
    table_init(table);
    *count = 0;
    for (const struct node *entry = of->node ? of->node->first : NULL; entry; entry = entry->next) {
        size_t i = (*count)++;
        places[i].node = entry;
        places[i].base = i < items.count ? (const char *)items.at + i * of->option->size : NULL;
        struct text name = name_of(entry);
        if (name.at && !table_find(table, name))
            table_set(table, name, &places[i]);
    }
    return places;
}

static void compare_entry(struct difference *difference, const struct option *option,
                          const struct place *before, const struct place *after, size_t i)
{
    char step[160];
    name_step(step, name_of(after->node), i);
    size_t was = descend(difference, step);
    struct sides sides = {before->node, after->node, before->base, after->base};
    compare_mapping(difference, option->inner, &sides);
    ascend(difference, was);
}

static void compare_list(struct difference *difference, const struct effective *before,
                         const struct effective *after)
{
    struct table olds, news;
    size_t old_count, new_count;
    struct place *old = places_of(before, &olds, &old_count);
    struct place *new = places_of(after, &news, &new_count);
    assert(old && new);
    for (size_t i = 0; i < new_count; i++) {
        struct text name = name_of(new[i].node);
        struct place *other = name.at ? table_find(&olds, name) : i < old_count ? &old[i] : NULL;
        if (other && !other->seen) {
            other->seen = true;
            compare_entry(difference, after->option, other, &new[i], i);
        } else {
            say_presence(difference, name, i, true);
        }
    }
    for (size_t i = 0; i < old_count; i++) {
        if (!old[i].seen)
            say_presence(difference, name_of(old[i].node), i, false);
    }
    table_done(&olds);
    table_done(&news);
    memory_free(old);
    memory_free(new);
}

static bool is_mapping(const struct node *node)
{
    return node && node->kind == NODE_MAP;
}

static void compare_option(struct difference *difference, const struct effective *before,
                           const struct effective *after)
{
    const struct option *option = after->option;
    size_t was = descend(difference, option->name);
    if (option->type == OPTION_LIST || option->type == OPTION_MAPS) {
        compare_list(difference, before, after);
    } else if (option->type == OPTION_SECTION &&
               (!option->fallback || (is_mapping(before->node) && is_mapping(after->node)))) {
        struct sides sides = {is_mapping(before->node) ? before->node : NULL,
                              is_mapping(after->node) ? after->node : NULL,
                              effective_inside(before), effective_inside(after)};
        compare_mapping(difference, option->inner, &sides);
    } else {
        compare_value(difference, before, after);
    }
    ascend(difference, was);
}

static void compare_mapping(struct difference *difference, const struct option *options,
                            const struct sides *sides)
{
    for (const struct option *option = options; option->name; option++) {
        struct effective before = {difference->before, option,
                                   effective_node(sides->before, option), sides->before_base};
        struct effective after = {difference->after, option, effective_node(sides->after, option),
                                  sides->after_base};
        if (before.node || after.node || option->type == OPTION_PATH)
            compare_option(difference, &before, &after);
    }
}

unsigned config_diff(const struct config *before, const struct config *after, FILE *out)
{
    struct difference difference = {
        .out = out,
        .before = before->memory,
        .after = after->memory,
    };
    struct sides sides = {difference.before->root, difference.after->root,
                          (const char *)difference.before, (const char *)difference.after};
    compare_mapping(&difference, config_options, &sides);
    return difference.count;
}
