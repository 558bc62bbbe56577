/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "gateway/base/table.h"
#include "gateway/config/effective.h"

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
        effective_write(&a, before, false);
        effective_write(&b, after, false);
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

/* Is the same written in both? Not where it is written, nor with which quotes. */
static bool is_same(const struct node *a, const struct node *b)
{
    if (a->kind != b->kind || !a->raw != !b->raw || !text_equal(node_text(a), node_text(b)) ||
        !text_equal(node_key(a), node_key(b)))
        return false;
    a = a->first;
    b = b->first;
    for (; a && b && is_same(a, b); b = b->next)
        a = a->next;
    return !a && !b;
}

/* Is there one among <options> whose value may be another although the same is written? */
static bool has_worked_out(const struct option *options)
{
    for (const struct option *option = options; option->name; option++)
        if (effective_is_worked_out(option) || (option->inner && has_worked_out(option->inner)))
            return true;
    return false;
}

struct place {
    const struct node *node;
    const char *base;
    bool seen;
};

static const struct node *first_of(const struct effective *list)
{
    return list->node ? list->node->first : NULL;
}

static struct place *places_of(const struct effective *of, size_t *count)
{
    size_t all = 0;
    for (const struct node *entry = first_of(of); entry; entry = entry->next)
        all++;
    struct place *places = memory_new((all + 1) * sizeof(*places));
    struct items items = effective_items(of);
    *count = 0;
    for (const struct node *entry = first_of(of); entry; entry = entry->next) {
        size_t i = (*count)++;
        places[i].node = entry;
        places[i].base = i < items.count ? (const char *)items.at + i * of->option->size : NULL;
    }
    return places;
}

/* Those from <i> on by their names, the first of each. */
static void name_places(struct table *table, struct place *places, size_t i, size_t count)
{
    table_init(table);
    table_reserve(table, count - i);
    for (; i < count; i++) {
        struct text name = name_of(places[i].node);
        if (name.at && !table_find(table, name))
            table_set(table, name, &places[i]);
    }
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

/* How many entries at the begin are the same. */
static size_t count_same(const struct effective *before, const struct effective *after)
{
    const struct node *old = first_of(before), *new = first_of(after);
    size_t count = 0;
    for (; old && new &&is_same(old, new); old = old->next, new = new->next)
        count++;
    return old || new ? count : SIZE_MAX;
}

/* Of a long list most is as it was: what is written the same in both is not looked into. */
static void compare_list(struct difference *difference, const struct effective *before,
                         const struct effective *after)
{
    bool looks_at_all = has_worked_out(after->option->inner);
    size_t same = looks_at_all ? 0 : count_same(before, after), old_count, new_count;
    if (same == SIZE_MAX)
        return;
    struct table olds;
    struct place *old = places_of(before, &old_count), *new = places_of(after, &new_count);
    assert(old && new);
    name_places(&olds, old, same, old_count);
    for (size_t i = same; i < new_count; i++) {
        struct text name = name_of(new[i].node);
        struct place *other = name.at ? table_find(&olds, name) : i < old_count ? &old[i] : NULL;
        if (other && !other->seen) {
            other->seen = true;
            if (looks_at_all || !is_same(other->node, new[i].node))
                compare_entry(difference, after->option, other, &new[i], i);
        } else {
            say_presence(difference, name, i, true);
        }
    }
    for (size_t i = same; i < old_count; i++) {
        if (!old[i].seen)
            say_presence(difference, name_of(old[i].node), i, false);
    }
    table_done(&olds);
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
