/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "gateway/config/document.h"
#include "gateway/config/options.h"
#include "gateway/config/scalar.h"

enum { OPTIONS_MAX = 64 };

/* The outermost option above a value that is not in force. */
struct inert {
    const struct option *option;
    const struct node *node;
    enum option_status status;
    bool said;
};

static const struct inert all_in_force = {.status = IN_FORCE};

/* ------------------------------------------------------------------------ what is not in force */

static void say_inert(struct document *document, struct inert *inert, bool by_default)
{
    if (inert->status == IN_FORCE || inert->said || inert->node->broken)
        return;
    if (by_default)
        return;
    inert->said = true;
    if (inert->status == PROTECTS) {
        char path[256];
        node_path(document, inert->node, path, sizeof(path));
        problem_at_key(document, inert->node,
                       document->allow_inert ? SEVERITY_WARNING : SEVERITY_ERROR,
                       "\"%s\" at %s is not in force in this version and protects something%s",
                       inert->option->name, path,
                       document->allow_inert ? "" : "; use --allow-inert to start without it");
    } else if (document->inert_count < CONFIG_AREAS_MAX) {
        document->inert[document->inert_count++] = inert->node;
    }
}

/* "/models/0/policy" is the option "models.policy". */
static void option_path(const struct document *document, const struct node *node, char *name,
                        size_t room)
{
    char path[256];
    node_path(document, node, path, sizeof(path));
    struct text rest = text_of(path + 1), step;
    size_t len = 0;
    while (text_next(&rest, '/', &step)) {
        uint64_t index;
        if (text_number(step, UINT64_MAX, &index))
            continue;
        len += (size_t)snprintf(name + len, room - len, "%s%.*s", len ? "." : "", TEXT_ARGS(step));
        assert(len < room);
    }
}

/* One warning for each top-level key, which names what is not in force below it. */
static void report_inert(struct document *document)
{
    char names[CONFIG_AREAS_MAX][256];
    bool done[CONFIG_AREAS_MAX] = {false};
    for (size_t i = 0; i < document->inert_count; i++)
        option_path(document, document->inert[i], names[i], sizeof(names[i]));
    for (size_t i = 0; i < document->inert_count; i++) {
        if (done[i])
            continue;
        char list[800];
        size_t area = strcspn(names[i], "."), len = 0;
        bool several = false;
        for (size_t j = i; j < document->inert_count; j++) {
            if (done[j] || strncmp(names[i], names[j], area) != 0 ||
                (names[j][area] != '.' && names[j][area] != '\0'))
                continue;
            for (size_t k = j; k < document->inert_count; k++)
                done[k] |= strcmp(names[k], names[j]) == 0;
            several |= j != i;
            if (len + sizeof(names[j]) + 8 < sizeof(list))
                len += (size_t)snprintf(list + len, sizeof(list) - len, "%s\"%s\"", len ? ", " : "",
                                        names[j]);
        }
        problem_at_key(document, document->inert[i], SEVERITY_WARNING, "%s %s not yet in force",
                       list, several ? "are" : "is");
    }
}

/* ------------------------------------------------------------------------------------- lists */

static bool is_list(struct document *document, struct node *node, const struct option *option)
{
    if (node->kind == NODE_LIST || node->kind == NODE_NULL)
        return true;
    problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" must be a list, such as [a, b]",
                     option->name);
    node->broken = true;
    return false;
}

static size_t count_entries(const struct node *node)
{
    size_t count = 0;
    for (const struct node *entry = node->first; entry; entry = entry->next)
        count++;
    return count;
}

static bool entry_is_text(struct document *document, struct node *entry,
                          const struct option *option)
{
    if (entry->kind == NODE_SCALAR && scalar_is_printable(node_text(entry)))
        return !entry->broken;
    problem_at_value(document, entry, SEVERITY_ERROR, "\"%s\" must hold texts", option->name);
    entry->broken = true;
    return false;
}

static void fill_texts(struct document *document, struct node *node, const struct option *option,
                       char *base)
{
    if (!is_list(document, node, option))
        return;
    struct items items = {NULL, 0};
    struct text *texts =
        arena_new(&document->arena, (count_entries(node) + 1) * sizeof(struct text));
    items.at = texts;
    for (struct node *entry = node->first; entry; entry = entry->next)
        if (entry_is_text(document, entry, option))
            texts[items.count++] = node_text(entry);
    if (option->where)
        *(struct items *)(void *)(base + option->where) = items;
}

static bool is_map(struct document *document, struct node *node, const struct option *option)
{
    if (node->kind == NODE_MAP || node->kind == NODE_NULL)
        return true;
    problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" must be a mapping, such as {a: %s}",
                     option->name, option->type == OPTION_MAPS ? "{b: c}" : "b");
    node->broken = true;
    return false;
}

static bool is_named(struct document *document, struct node *entry)
{
    if (entry->key_len > 0 && entry->key_len <= SCALAR_NAME_MAX &&
        scalar_is_printable(node_key(entry)))
        return !entry->broken;
    problem_at_key(document, entry, SEVERITY_ERROR, "a name has 1 to %d printable characters",
                   SCALAR_NAME_MAX);
    entry->broken = true;
    return false;
}

static void fill_pairs(struct document *document, struct node *node, const struct option *option,
                       char *base)
{
    if (!is_map(document, node, option))
        return;
    struct items items = {NULL, 0};
    struct pair *pairs =
        arena_new(&document->arena, (count_entries(node) + 1) * sizeof(struct pair));
    items.at = pairs;
    for (struct node *entry = node->first; entry; entry = entry->next)
        if (entry_is_text(document, entry, option))
            pairs[items.count++] = (struct pair){node_key(entry), node_text(entry), entry};
    if (option->where)
        *(struct items *)(void *)(base + option->where) = items;
}

static void fill_words(struct document *document, struct node *node, const struct option *option,
                       char *base)
{
    unsigned bits = 0, place;
    if (!is_list(document, node, option))
        return;
    for (struct node *entry = node->first; entry; entry = entry->next) {
        if (!entry_is_text(document, entry, option))
            continue;
        if (!word_find(option->words, entry->at, entry->len, &place)) {
            scalar_complain_word(document, entry, option);
            continue;
        }
        bits |= 1u << place;
    }
    if (option->where)
        *(unsigned *)(void *)(base + option->where) = bits;
}

/* ---------------------------------------------------------------------------------- defaults */

/* A default as a node of its own: a scalar, or a list of words such as "[api, health]". */
static struct node *default_node(struct document *document, const struct option *option)
{
    struct text text = text_of(option->fallback);
    bool list = text_starts(text, TEXT("["));
    bool map = text_starts(text, TEXT("{"));
    struct node *node = arena_new(&document->arena, sizeof(*node));
    node->kind = list ? NODE_LIST : map ? NODE_MAP : NODE_SCALAR;
    node->at = text.at;
    node->len = (uint32_t)text.len;
    if (!list || text.len <= 2)
        return node;
    struct text rest = {text.at + 1, text.len - 2}, item;
    while (text_next(&rest, ',', &item)) {
        struct node *entry = arena_new(&document->arena, sizeof(*entry));
        entry->kind = NODE_SCALAR;
        entry->at = arena_copy(&document->arena, item).at;
        entry->len = (uint32_t)item.len;
        node_append(node, entry);
    }
    return node;
}

static void fill_scalar_default(struct document *document, const struct option *option, char *base)
{
    struct node node = {
        .kind = NODE_SCALAR,
        .at = option->fallback,
        .len = (uint32_t)strlen(option->fallback),
    };
    struct value value;
    bool read = scalar_read(NULL, &node, option, &value);
    assert(read);
    scalar_keep(document, option, &value, base);
}

static void fill_defaults(struct document *document, const struct option *options, char *base);

static void fill_default(struct document *document, const struct option *option, char *base)
{
    if (option->type == OPTION_SECTION && !option_is_nullable(option))
        return; /* a word stands for it: the reader of the word knows what it means */
    if (option->type == OPTION_SECTION) {
        if (!option->fallback)
            fill_defaults(document, option->inner, option_inside(option, base));
        return;
    }
    if (!option->where || option_is_nullable(option) || option->type == OPTION_LIST ||
        option->type == OPTION_MAPS)
        return;
    if (option->type == OPTION_TEXTS)
        fill_texts(document, default_node(document, option), option, base);
    else if (option->type == OPTION_WORDS)
        fill_words(document, default_node(document, option), option, base);
    else if (option->type != OPTION_PAIRS)
        fill_scalar_default(document, option, base);
}

static void fill_defaults(struct document *document, const struct option *options, char *base)
{
    for (const struct option *option = options; option->name; option++)
        fill_default(document, option, base);
}

/* Does the file say the same as the default? */
static bool is_default(struct document *document, const struct node *node,
                       const struct option *option)
{
    if (node->kind == NODE_NULL)
        return option_is_nullable(option) || option->type == OPTION_LIST ||
               option->type == OPTION_MAPS || option->type == OPTION_TEXTS ||
               option->type == OPTION_PAIRS;
    if (option->type == OPTION_TEXTS || option->type == OPTION_PAIRS ||
        option->type == OPTION_WORDS || option->type == OPTION_ANY)
        return option->fallback && text_equal(node_flow(document, node), text_of(option->fallback));
    if (!option->fallback || node->kind != NODE_SCALAR)
        return false;
    struct node given = *node, fallback = {.kind = NODE_SCALAR, .at = option->fallback};
    fallback.len = (uint32_t)strlen(option->fallback);
    struct value a, b;
    if (text_equal(node_text(&given), node_text(&fallback)))
        return true;
    if (option_is_nullable(option))
        return node->len == 0 && node->raw;
    return scalar_read(NULL, &given, option, &a) && scalar_read(NULL, &fallback, option, &b) &&
           option->type != OPTION_TEXT && option->type != OPTION_STRING &&
           option->type != OPTION_PATH && option->type != OPTION_NAME && a.number == b.number;
}

/* ------------------------------------------------------------------------------------ walking */

/* Defaults first, for the whole of a structure; then what the file says. So whatever is wrong in a
 * file, what comes after finds values that it can work with, and finds more that is wrong. */
static void fill_mapping(struct document *document, const struct node *node,
                         const struct option *options, char *base, struct inert *above);

/* A list of mappings, or a mapping of them. */
static void fill_list(struct document *document, struct node *node, const struct option *option,
                      char *base, struct inert *inert)
{
    if (option->type == OPTION_MAPS ? !is_map(document, node, option)
                                    : !is_list(document, node, option))
        return;
    size_t count = count_entries(node), at = 0;
    size_t size = option->size ? option->size : sizeof(struct node *);
    char *entries = arena_take(&document->arena, (count + 1) * size);
    char *defaults = entries + count * size; /* worked out once; what it points to is for all */
    memset(defaults, 0, size);
    if (count)
        fill_defaults(document, option->inner, defaults);
    for (struct node *entry = node->first; entry; entry = entry->next) {
        if (entry->kind != NODE_MAP) {
            problem_at_value(document, entry, SEVERITY_ERROR, "\"%s\" must hold mappings",
                             option->name);
            continue;
        }
        if (option->type == OPTION_MAPS && !is_named(document, entry))
            continue;
        say_inert(document, inert, false);
        char *to = entries + at++ * size;
        memcpy(to, defaults, size);
        *(const struct node **)(void *)to = entry;
        fill_mapping(document, entry, option->inner, to, inert);
    }
    if (option->where)
        *(struct items *)(void *)(base + option->where) = (struct items){entries, at};
}

static void fill_section(struct document *document, struct node *node, const struct option *option,
                         char *base, struct inert *inert)
{
    if (node->kind == NODE_NULL)
        return;
    if (option->word_too && node->kind == NODE_SCALAR) {
        if (!word_find(option->words, node->at, node->len, NULL))
            problem_at_value(document, node, SEVERITY_ERROR,
                             "\"%s\" must be a mapping or \"%s\", not \"%.*s\"", option->name,
                             option->words, TEXT_ARGS(node_shown(node)));
        return;
    }
    if (node->kind != NODE_MAP) {
        problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" must be a mapping", option->name);
        node->broken = true;
        return;
    }
    base = option_inside(option, base);
    if (option->where)
        *(const struct node **)(void *)base = node;
    if (option->fallback) { /* null or a word: to be there at all means something */
        say_inert(document, inert, false);
        fill_defaults(document, option->inner, base);
    }
    fill_mapping(document, node, option->inner, base, inert);
}

static void fill_scalar(struct document *document, struct node *node, const struct option *option,
                        char *base)
{
    struct value value;
    if (node->kind == NODE_NULL ||
        (node->kind == NODE_SCALAR && !node->len && node->raw && option_is_nullable(option))) {
        if (option_is_nullable(option) && !option->required)
            return;
        if (!node->broken)
            problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" needs a value%s%s",
                             option->name, option->fallback ? ", or leave it out for " : "",
                             option->fallback ? option->fallback : "");
        node->broken = true;
        return;
    }
    if (node->broken || !scalar_read(document, node, option, &value))
        return;
    if (option->where)
        scalar_keep(document, option, &value, base);
}

static void fill_option(struct document *document, struct node *node, const struct option *option,
                        char *base, struct inert *above)
{
    /* An option that is less in force than what it is in speaks for itself. */
    struct inert own = {.option = option, .node = node, .status = option->status};
    struct inert *inert = option->status > above->status ? &own : above;
    if (option->type == OPTION_SECTION) {
        fill_section(document, node, option, base, inert);
        return;
    }
    if (option->type == OPTION_LIST || option->type == OPTION_MAPS) {
        fill_list(document, node, option, base, inert);
        return;
    }
    if (inert->status != IN_FORCE && !node->broken)
        say_inert(document, inert, is_default(document, node, option));
    if (option->type == OPTION_TEXTS)
        fill_texts(document, node, option, base);
    else if (option->type == OPTION_PAIRS)
        fill_pairs(document, node, option, base);
    else if (option->type == OPTION_WORDS)
        fill_words(document, node, option, base);
    else if (option->type != OPTION_ANY)
        fill_scalar(document, node, option, base);
}

static struct text next_option(void *with, size_t i)
{
    const struct option *option = (const struct option *)with + i;
    return option->name ? text_of(option->name) : (struct text){NULL, 0};
}

/* What people write who come from elsewhere, and which spelling alone does not lead to. */
static struct text meant(struct text word, const struct option *options)
{
    static const struct {
        const char *word, *option;
    } known[] = {{"key", "hash"},
                 {"url", "base_url"},
                 {"endpoint", "base_url"},
                 {"api_base", "base_url"},
                 {"rpm", "requests_per_minute"},
                 {"tpm", "tokens_per_minute"}};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        for (const struct option *option = options; option->name; option++)
            if (text_equal(word, text_of(known[i].word)) &&
                strcmp(option->name, known[i].option) == 0)
                return text_of(option->name);
    return (struct text){NULL, 0};
}

static void report_unknown(struct document *document, const struct node *parent,
                           const struct node *entry, const struct option *options)
{
    char path[256];
    node_path(document, parent, path, sizeof(path));
    struct problem *problem =
        problem_at_key(document, entry, SEVERITY_ERROR, "unknown key \"%.*s\" at %s",
                       TEXT_ARGS(text_head(node_key(entry), 80)), path);
    const void *rows = options;
    struct text near = meant(node_key(entry), options);
    if (!near.at)
        near = nearest(node_key(entry), next_option, (void *)(uintptr_t)rows);
    if (near.at)
        problem->hint = near.at;
}

/* A secret that stands in a file of its own: its text takes the path's place. */
static void read_twin(struct document *document, struct node *entry, const struct option *option,
                      const struct inert *above)
{
    if (entry->kind != NODE_SCALAR || entry->broken || !entry->len) {
        if (entry->kind != NODE_NULL && !entry->broken)
            problem_at_value(document, entry, SEVERITY_ERROR, "\"%s\" must be the path of a file",
                             entry->key);
        entry->broken = true;
        return;
    }
    if (option->status != IN_FORCE || above->status != IN_FORCE)
        return;
    if (document->sources[entry->source].is_made) { /* who asks from outside reads no files here */
        problem_at_key(document, entry, SEVERITY_ERROR, "a file cannot be named here");
        entry->broken = true;
        return;
    }
    struct text secret;
    entry->broken = !secret_read(document, entry, &secret);
    if (entry->broken)
        return;
    entry->raw = arena_format(&document->arena, "file %s", entry->at).at;
    entry->at = secret.at;
    entry->len = (uint32_t)secret.len;
}

static void fill_mapping(struct document *document, const struct node *node,
                         const struct option *options, char *base, struct inert *above)
{
    struct node *given[OPTIONS_MAX] = {NULL};
    for (struct node *entry = node->first; entry; entry = entry->next) {
        bool is_file;
        const struct option *option = option_find(options, entry->key, entry->key_len, &is_file);
        if (!option) {
            if (!entry->broken)
                report_unknown(document, node, entry, options);
            continue;
        }
        if (given[option - options]) {
            if (!entry->broken)
                problem_at_key(document, entry, SEVERITY_ERROR,
                               "\"%s\" and \"%s_file\" say the same thing", option->name,
                               option->name);
            continue;
        }
        if (is_file)
            read_twin(document, entry, option, above);
        given[option - options] = entry;
    }
    for (const struct option *option = options; option->name; option++) {
        struct node *entry = given[option - options];
        assert(option - options < OPTIONS_MAX);
        if (entry) {
            fill_option(document, entry, option, base, above);
        } else if (option->required) {
            char path[256];
            node_path(document, node, path, sizeof(path));
            problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" is missing at %s",
                             option->name, path);
        }
    }
}

void document_fill_mapping(struct document *document, const struct node *node,
                           const struct option *options, void *base)
{
    struct inert above = all_in_force;
    fill_defaults(document, options, base);
    fill_mapping(document, node, options, base, &above);
}

void document_fill(struct document *document)
{
    struct inert above = all_in_force;
    fill_defaults(document, config_options, (char *)document);
    fill_mapping(document, document->root, config_options, (char *)document, &above);
    report_inert(document);
}
