/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/document.h"

#include <stdarg.h>
#include <stdlib.h>

#include "gateway/base/buffer.h"
#include "gateway/base/log.h"

struct node *node_find(const struct node *node, const char *name)
{
    if (!node || node->kind != NODE_MAP)
        return NULL;
    for (struct node *entry = node->first; entry; entry = entry->next)
        if (strcmp(entry->key, name) == 0)
            return entry;
    return NULL;
}

static struct node *find_key(const struct node *node, struct text name)
{
    if (!node || node->kind != NODE_MAP)
        return NULL;
    for (struct node *entry = node->first; entry; entry = entry->next)
        if (text_equal(node_key(entry), name))
            return entry;
    return NULL;
}

struct node *node_at(const struct node *node, const char *path)
{
    struct node *found = NULL;
    struct text rest = text_of(path), name;
    while (text_next(&rest, '.', &name)) {
        found = find_key(node, name);
        node = found;
    }
    return found;
}

const struct node *node_of(const struct node *node, const char *name)
{
    const struct node *value = node_find(node, name);
    return value ? value : node;
}

bool node_is_given(const struct node *node)
{
    return node && node->kind != NODE_NULL && !(node->kind == NODE_SCALAR && !node->len);
}

void node_begin(struct document *document, struct node *node, enum node_kind kind, size_t source)
{
    *node = (struct node){.kind = (uint8_t)kind, .source = (uint16_t)source, .at = ""};
    document->node_count++;
}

struct node *node_new(struct document *document, enum node_kind kind, size_t source)
{
    struct node *node = arena_take(&document->arena, sizeof(*node));
    node_begin(document, node, kind, source);
    return node;
}

void node_append(struct node *parent, struct node *entry)
{
    struct node **to = &parent->first;
    while (*to)
        to = &(*to)->next;
    *to = entry;
    for (; entry; entry = entry->next)
        entry->above = parent;
}

static struct node *add_entry(struct document *document, struct node *map, struct text name,
                              size_t source)
{
    struct node *entry = node_new(document, NODE_MAP, source);
    entry->key = arena_copy(&document->arena, name).at;
    entry->key_len = (uint32_t)name.len;
    node_append(map, entry);
    return entry;
}

struct node *node_set(struct document *document, struct node *map, const char *path,
                      struct text value, size_t source)
{
    struct node *node = map;
    struct text rest = text_of(path), name;
    while (text_next(&rest, '.', &name)) {
        struct node *entry = find_key(node, name);
        if (!entry)
            entry = add_entry(document, node, name, source);
        if (entry->kind == NODE_NULL)
            entry->kind = NODE_MAP;
        node = entry;
    }
    node->kind = NODE_SCALAR;
    node->first = NULL;
    node->at = arena_copy(&document->arena, value).at;
    node->len = (uint32_t)value.len;
    node->raw = NULL;
    node->source = (uint16_t)source;
    node->line = node->key_line = 0;
    return node;
}

/* The last step of the path to <node>: its key, or its place in a list. */
static size_t last_step(const struct node *node, char *step, size_t room)
{
    size_t index = 0;
    int len;
    if (node->key) {
        len = snprintf(step, room, "/%s", node->key);
    } else {
        for (const struct node *entry = node->above->first; entry && entry != node;
             entry = entry->next)
            index++;
        len = snprintf(step, room, "/%zu", index);
    }
    return (size_t)len < room ? (size_t)len : room - 1;
}

void node_path(const struct document *document, const struct node *node, char *path, size_t room)
{
    size_t at = room - 1;
    path[at] = '\0';
    for (; node && node != document->root && node->above; node = node->above) {
        char step[160];
        size_t len = last_step(node, step, sizeof(step));
        if (len > at)
            break;
        at -= len;
        memcpy(path + at, step, len);
    }
    if (path[at])
        memmove(path, path + at, room - at);
    else
        snprintf(path, room, "/");
}

static void flow(struct buffer *out, const struct node *node)
{
    if (node->key) {
        buffer_append_text(out, node_key(node));
        buffer_append_text(out, TEXT(": "));
    }
    if (node->kind == NODE_NULL)
        buffer_append_text(out, TEXT("null"));
    if (node->kind == NODE_SCALAR)
        buffer_append_text(out, node_text(node));
    if (node->kind == NODE_NULL || node->kind == NODE_SCALAR)
        return;
    buffer_append_text(out, node->kind == NODE_LIST ? TEXT("[") : TEXT("{"));
    for (const struct node *entry = node->first; entry; entry = entry->next) {
        flow(out, entry);
        if (entry->next)
            buffer_append_text(out, TEXT(", "));
    }
    buffer_append_text(out, node->kind == NODE_LIST ? TEXT("]") : TEXT("}"));
}

struct text node_flow(struct document *document, const struct node *node)
{
    struct buffer out;
    struct node value = *node;
    value.key = NULL;
    buffer_init(&out, 4096);
    flow(&out, &value);
    struct text text = arena_copy(&document->arena, buffer_text(&out));
    buffer_done(&out);
    return text;
}

struct text node_shown(const struct node *node)
{
    struct text shown = node->raw ? text_of(node->raw) : node_text(node);
    return text_head(shown, 80);
}

const char *node_place(struct document *document, const struct node *node,
                       const struct node *seen_from)
{
    unsigned line = node->line ? node->line : node->key_line;
    const char *file = document->sources[node->source].name;
    if (node->source == seen_from->source)
        return arena_format(&document->arena, "line %u", line).at;
    return arena_format(&document->arena, "%s:%u", file, line).at;
}

size_t document_source(struct document *document, const char *name, bool is_variable)
{
    for (size_t i = 0; i < document->source_count; i++)
        if (strcmp(document->sources[i].name, name) == 0)
            return i;
    if (document->source_count == CONFIG_SOURCES_MAX)
        return CONFIG_SOURCES_MAX - 1;
    const char *copy = arena_copy(&document->arena, text_of(name)).at;
    document->sources[document->source_count] =
        (struct source){.name = copy, .is_variable = is_variable};
    return document->source_count++;
}

/* ------------------------------------------------------------------------------- problems */

/* What a file says may not steer the terminal that it is printed on: C0 and C1 controls. */
static void hide_controls(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at; at++) {
        if (*at < ' ' || *at == 0x7f)
            *at = '?';
        else if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
            at[0] = at[1] = '?';
    }
}

__attribute__((format(printf, 3, 0))) static struct problem *
add_problem(struct document *document, enum severity severity, const char *format, va_list args)
{
    static _Thread_local struct problem too_many;
    document->errors += severity == SEVERITY_ERROR;
    document->warnings += severity == SEVERITY_WARNING;
    if (document->problem_count == CONFIG_PROBLEMS_MAX)
        return &too_many;
    struct problem *problem = &document->problems[document->problem_count];
    char text[1024];
    vsnprintf(text, sizeof(text), format, args);
    hide_controls(text);
    *problem = (struct problem){
        .severity = severity,
        .text = arena_copy(&document->arena, text_of(text)).at,
        .file = document->source_count ? document->sources[0].name : "",
        .order = (unsigned)document->problem_count++,
    };
    return problem;
}

static void place_problem(struct document *document, struct problem *problem,
                          const struct node *node, bool at_key)
{
    if (!node)
        return;
    problem->node = node;
    problem->file = document->sources[node->source].name;
    at_key = (at_key && node->key_line) || !node->line;
    problem->line = at_key ? node->key_line : node->line;
    problem->column = at_key ? node->key_column : node->column;
}

struct problem *problem_at_key(struct document *document, const struct node *node,
                               enum severity severity, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct problem *problem =
        add_problem(document, made_severity(document, node, severity), format, args);
    va_end(args);
    place_problem(document, problem, node, true);
    return problem;
}

struct problem *problem_at_value(struct document *document, const struct node *node,
                                 enum severity severity, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct problem *problem =
        add_problem(document, made_severity(document, node, severity), format, args);
    va_end(args);
    place_problem(document, problem, node, false);
    return problem;
}

__attribute__((format(printf, 3, 4))) static struct problem *
add_plain(struct document *document, enum severity severity, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct problem *problem = add_problem(document, severity, format, args);
    va_end(args);
    return problem;
}

struct problem *problem_at(struct document *document, size_t source, unsigned line, unsigned column,
                           const char *text)
{
    bool is_made = document->sources[source].is_made; /* that one is left out (config/made.c) */
    struct problem *problem =
        add_plain(document, is_made ? SEVERITY_WARNING : SEVERITY_ERROR, "%s", text);
    problem->file = document->sources[source].name;
    problem->line = line;
    problem->column = column;
    return problem;
}

static int in_order(const void *left, const void *right)
{
    const struct problem *a = left, *b = right;
    int files = strcmp(a->file, b->file);
    if (files)
        return files;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

static const char *const severities[] = {
    [SEVERITY_ERROR] = "error",
    [SEVERITY_WARNING] = "warning",
};

static void print_text(const struct problem *problem, FILE *out)
{
    fputs(problem->file, out);
    if (problem->line)
        fprintf(out, ":%u:%u", problem->line, problem->column);
    fprintf(out, ": %s: %s", severities[problem->severity], problem->text);
    if (problem->hint)
        fprintf(out, "; did you mean \"%s\"?", problem->hint);
    fputc('\n', out);
}

static void print_member(FILE *out, const char *name, const char *value)
{
    char escaped[6 * 1024];
    size_t len = log_escape(escaped, sizeof(escaped), text_of(value));
    fprintf(out, "\"%s\":\"%.*s\"", name, (int)len, escaped);
}

static void print_json(const struct document *document, const struct problem *problem, FILE *out)
{
    char path[512];
    node_path(document, problem->node, path, sizeof(path));
    fputc('{', out);
    print_member(out, "file", problem->file);
    fprintf(out, ",\"line\":%u,\"column\":%u,", problem->line, problem->column);
    print_member(out, "path", path);
    fputc(',', out);
    print_member(out, "severity", severities[problem->severity]);
    fputc(',', out);
    print_member(out, "message", problem->text);
    if (problem->hint) {
        fputc(',', out);
        print_member(out, "hint", problem->hint);
    }
    fputs("}\n", out);
}

void problems_print(struct document *document, FILE *out)
{
    qsort(document->problems, document->problem_count, sizeof(*document->problems), in_order);
    for (size_t i = 0; i < document->problem_count; i++) {
        if (document->json)
            print_json(document, &document->problems[i], out);
        else
            print_text(&document->problems[i], out);
    }
    size_t all = (size_t)document->errors + document->warnings;
    if (document->problem_count == CONFIG_PROBLEMS_MAX && !document->json)
        fprintf(out, "%s: at least %zu problems, the first %d are shown\n",
                document->sources[0].name, all, CONFIG_PROBLEMS_MAX);
}

void config_say(const struct config_options *options, enum severity severity, const char *text)
{
    const char *file = options->path ? options->path : "the configuration";
    const struct problem problem = {.severity = severity, .file = file, .text = text};
    if (!options->words)
        return;
    if (options->json)
        print_json(NULL, &problem, options->words);
    else
        print_text(&problem, options->words);
}

struct text nearest(struct text word, struct text (*next)(void *with, size_t i), void *with)
{
    unsigned limit = word.len < 4 ? 2 : word.len < 8 ? 3 : 4, best = limit;
    struct text found = {NULL, 0};
    for (size_t i = 0;; i++) {
        struct text name = next(with, i);
        if (!name.at)
            return found;
        unsigned distance = text_distance(word, name, limit);
        /* The case alone, or a word cut short or drawn out, is nearer than a typing error. */
        if (text_equal_nocase(word, name))
            distance = 0;
        else if (distance > 1 && word.len >= 3 && name.len >= 3 &&
                 (text_starts(word, name) || text_starts(name, word)))
            distance = 1;
        if (distance < best) {
            best = distance;
            found = name;
        }
    }
}
