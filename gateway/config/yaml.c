/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <libfyaml.h>
#include <string.h>

#include "gateway/base/table.h"
#include "gateway/base/utf8.h"
#include "gateway/config/document.h"

/* YAML is read event by event into our own small tree: it is half the time of libfyaml's documents
 * (10,000 keys in 20 ms), and duplicates, depth and aliases are bounded here. */

struct frame {
    struct node *node;
    struct node **tail;   /* where the next entry goes */
    struct node *pending; /* an entry whose key has been read and whose value comes next */
    struct text anchor;
    size_t entries;
};

struct reader {
    struct document *document;
    size_t source;
    struct table anchors;
    struct frame stack[CONFIG_DEPTH_MAX];
    size_t depth;
    struct node *root;
    struct node *spare; /* one that nothing points to any more */
    size_t documents;
    char words[1024]; /* of libfyaml, about the first error */
    bool failed;
};

static void fail(struct reader *reader, unsigned line, unsigned column, const char *text)
{
    if (!reader->failed)
        problem_at(reader->document, reader->source, line, column, text);
    reader->failed = true;
}

static void fail_at(struct reader *reader, const struct node *node, const char *text)
{
    fail(reader, node->line, node->column, text);
}

/* What libfyaml says outside of errors with a place; only the first. */
static void on_words(struct fy_diag *diag, void *user, const char *at, size_t len)
{
    (void)diag;
    struct reader *reader = user;
    if (!reader->words[0])
        snprintf(reader->words, sizeof(reader->words), "%.*s", (int)len, at);
}

/* Is the brace of a "${" at this place? Lines and columns count from 1, columns characters. */
static bool is_variable_at(struct text yaml, int line, int column)
{
    const char *at = yaml.at, *end = yaml.at + yaml.len;
    while (--line > 0 && at)
        if ((at = memchr(at, '\n', (size_t)(end - at))) != NULL)
            at++;
    while (at && at < end && *at != '\n' && --column > 0)
        do
            at++;
        while (at < end && ((unsigned char)*at & 0xC0) == 0x80);
    return at && at < end && at > yaml.at && *at == '{' && at[-1] == '$';
}

/* It has several words for it: "invalid tab as indendation in a mapping", "Indentation used tabs".
 */
static bool is_of_tabs(const char *message)
{
    return strstr(message, " tab ") || strstr(message, " tabs ") ||
           strncmp(message, "tab ", 4) == 0;
}

/* Errors are collected, not printed: printing one with its source line reads beyond the input for
 * some plain scalars of several lines (0.7.12). Words are there for what is not collected. */
static void report_syntax(struct reader *reader, struct fy_diag *diag, struct text yaml)
{
    void *at = NULL;
    const struct fy_diag_error *first = fy_diag_errors_iterate(diag, &at);
    if (first && first->msg && first->line > 0 && is_variable_at(yaml, first->line, first->column))
        fail(reader, (unsigned)first->line, (unsigned)first->column - 1,
             "inside of { } or [ ] a ${VARIABLE} must stand in quotes: \"${VARIABLE}\"");
    else if (first && first->msg && first->line > 0 && first->column > 0 && is_of_tabs(first->msg))
        fail(reader, (unsigned)first->line, (unsigned)first->column,
             "YAML is indented with spaces, not tabs");
    else if (first && first->msg && first->line > 0 && first->column > 0)
        fail(reader, (unsigned)first->line, (unsigned)first->column, first->msg);
    else
        fail(reader, 1, 1, reader->words[0] ? reader->words : "this is no YAML");
}

/* ------------------------------------------------------------------------------- the tree */

/* libfyaml counts from 0, and from behind the quote of a scalar or the star of an alias: <before>
 * is how far to go back. */
static void set_place(struct node *node, struct fy_token *token, int before)
{
    const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
    if (!mark || mark->line < 0)
        return;
    int column = mark->column - before;
    node->line = (uint32_t)mark->line + 1;
    node->column = (uint16_t)(column < 0 ? 1 : column < UINT16_MAX ? column + 1 : UINT16_MAX);
}

static struct text token_text(struct reader *reader, struct fy_token *token)
{
    size_t len = 0;
    if (!token)
        return (struct text){"", 0};
    const char *at = fy_token_get_text(token, &len);
    return arena_copy(&reader->document->arena, (struct text){at, at ? len : 0});
}

static bool is_null(const struct node *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->len != 0 && node->len != 1 && node->len != 4)
        return false;
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (strcmp(node->at, words[i]) == 0)
            return true;
    return false;
}

enum { FEW_ENTRIES = 24 };

static void report_duplicate(struct reader *reader, struct node *entry, const struct node *first)
{
    problem_at_key(reader->document, entry, SEVERITY_ERROR,
                   "duplicate key \"%s\", first in line %u", entry->key, first->key_line);
    entry->broken = true;
}

static const struct node *first_of_name(const struct node *map, const struct node *entry)
{
    const struct node *first = map->first;
    while (!text_equal(node_key(first), node_key(entry)))
        first = first->next;
    return first;
}

/* A few keys are compared one by one, many through a table: a mapping may be as large as a file. */
static void check_duplicates(struct reader *reader, const struct frame *frame)
{
    struct table seen;
    table_init(&seen);
    if (frame->entries > FEW_ENTRIES)
        table_reserve(&seen, frame->entries);
    for (struct node *entry = frame->node->first; entry; entry = entry->next) {
        const struct node *first = frame->entries <= FEW_ENTRIES
                                       ? first_of_name(frame->node, entry)
                                       : table_find(&seen, node_key(entry));
        if (first && first != entry)
            report_duplicate(reader, entry, first);
        else if (frame->entries > FEW_ENTRIES)
            table_set(&seen, node_key(entry), entry);
    }
    table_done(&seen);
}

/* Put a finished value where it belongs. */
static void place(struct reader *reader, struct node *node, struct text anchor)
{
    if (anchor.len)
        table_set(&reader->anchors, anchor, node);
    if (!reader->depth) {
        reader->root = node;
        return;
    }
    struct frame *frame = &reader->stack[reader->depth - 1];
    if (frame->pending) {
        /* The entry was made with its key; the value moves in. */
        struct node *entry = frame->pending, key = *entry;
        *entry = *node;
        entry->next = NULL;
        entry->key = key.key;
        entry->key_len = key.key_len;
        entry->key_line = key.line;
        entry->key_column = key.column;
        if (!entry->line) {
            entry->line = key.line;
            entry->column = key.column;
        }
        frame->pending = NULL;
        if (entry->first && entry->first->above == node)
            for (struct node *below = entry->first; below; below = below->next)
                below->above = entry;
        if (!anchor.len)
            reader->spare = node;
        node = entry;
    }
    node->above = frame->node;
    *frame->tail = node;
    frame->tail = &node->next;
    frame->entries++;
}

static struct node *new_node(struct reader *reader, enum node_kind kind)
{
    if (reader->document->node_count >= CONFIG_NODES_MAX)
        fail(reader, 1, 1, "the configuration has too many values");
    struct node *node = reader->spare;
    if (!node)
        return node_new(reader->document, kind, reader->source);
    node_begin(reader->document, node, kind, reader->source);
    reader->spare = NULL;
    return node;
}

static bool wants_key(const struct reader *reader)
{
    const struct frame *frame = reader->depth ? &reader->stack[reader->depth - 1] : NULL;
    return frame && frame->node->kind == NODE_MAP && !frame->pending;
}

static void on_scalar(struct reader *reader, struct fy_event *event)
{
    struct node *node = new_node(reader, NODE_SCALAR);
    enum fy_scalar_style style = fy_token_scalar_style(event->scalar.value);
    set_place(node, event->scalar.value,
              style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED ? 1 : 0);
    struct text text = token_text(reader, event->scalar.value);
    node->at = text.at;
    node->len = (uint32_t)text.len;
    node->plain = style == FYSS_PLAIN;
    if (memchr(text.at, '\0', text.len)) {
        fail_at(reader, node, "a NUL byte is not allowed");
        return;
    }
    if (event->scalar.tag) {
        fail_at(reader, node, "tags (\"!!…\") are not used here");
        return;
    }
    if (wants_key(reader)) {
        node->key = node->at;
        node->key_len = node->len;
        reader->stack[reader->depth - 1].pending = node;
        return;
    }
    if (style == FYSS_PLAIN && is_null(node))
        node->kind = NODE_NULL;
    place(reader, node, token_text(reader, event->scalar.anchor));
}

static void on_start(struct reader *reader, enum node_kind kind, struct fy_token *token,
                     struct fy_token *anchor)
{
    struct node *node = new_node(reader, kind);
    set_place(node, token, 0);
    if (wants_key(reader)) {
        fail_at(reader, node, "a key must be a word");
        return;
    }
    if (reader->depth == CONFIG_DEPTH_MAX) {
        fail_at(reader, node, "nested too deeply");
        return;
    }
    reader->stack[reader->depth++] = (struct frame){
        .node = node,
        .tail = &node->first,
        .anchor = token_text(reader, anchor),
    };
}

static void on_end(struct reader *reader)
{
    assert(reader->depth > 0);
    struct frame frame = reader->stack[--reader->depth];
    if (frame.node->kind == NODE_MAP)
        check_duplicates(reader, &frame);
    place(reader, frame.node, frame.anchor);
}

/* How much is below <node>; false when it is more than the bounds allow. */
static bool measure(const struct node *node, size_t depth, size_t *count)
{
    if (depth > CONFIG_DEPTH_MAX || ++*count > CONFIG_ALIASED_MAX)
        return false;
    for (const struct node *entry = node->first; entry; entry = entry->next)
        if (!measure(entry, depth + 1, count))
            return false;
    return true;
}

/* An alias becomes a node of its own that shares what is below; counted as if it were copied, so
 * that a few lines cannot stand for billions of values. */
static void on_alias(struct reader *reader, struct fy_event *event)
{
    struct text name = token_text(reader, event->alias.anchor);
    struct node *node = new_node(reader, NODE_NULL);
    set_place(node, event->alias.anchor, 1);
    const struct node *anchor = table_find(&reader->anchors, name);
    if (!anchor || wants_key(reader)) {
        fail_at(reader, node, anchor ? "a key must be a word" : "there is no such anchor above");
        return;
    }
    if (!measure(anchor, reader->depth, &reader->document->aliased_count)) {
        fail_at(reader, node, "this alias stands for too many values");
        return;
    }
    uint32_t line = node->line;
    uint16_t column = node->column;
    *node = *anchor;
    node->next = NULL;
    node->key = NULL;
    node->line = line ? line : anchor->line;
    node->column = line ? column : anchor->column;
    place(reader, node, (struct text){NULL, 0});
}

static void on_event(struct reader *reader, struct fy_event *event)
{
    switch (event->type) {
    case FYET_DOCUMENT_START:
        if (reader->documents++)
            fail(reader, 1, 1, "more than one YAML document in a file");
        break;
    case FYET_SCALAR:
        on_scalar(reader, event);
        break;
    case FYET_ALIAS:
        on_alias(reader, event);
        break;
    case FYET_MAPPING_START:
        on_start(reader, NODE_MAP, event->mapping_start.mapping_start, event->mapping_start.anchor);
        break;
    case FYET_SEQUENCE_START:
        on_start(reader, NODE_LIST, event->sequence_start.sequence_start,
                 event->sequence_start.anchor);
        break;
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        on_end(reader);
        break;
    case FYET_NONE:
    case FYET_STREAM_START:
    case FYET_STREAM_END:
    case FYET_DOCUMENT_END:
        break;
    }
}

/* Are the eight bytes at <at> from 0x20 to 0x7e? Each term sets the top bit of some byte when one
 * is not: of one above 0x7f, below 0x20, and 0x7f; and of none when all are. */
static bool is_plain_word(const char *at)
{
    const uint64_t each = 0x0101010101010101U, tops = 0x8080808080808080U;
    uint64_t word = text_word(at);
    return ((word | (word - each * ' ') | ((word ^ each * 0x7f) - each)) & tops) == 0;
}

/* libfyaml takes a bad byte for the end of the file: whatever stands behind it, perhaps a limit,
 * would be silently gone. So look first. */
static bool check_bytes(struct reader *reader, struct text yaml)
{
    unsigned line = 1;
    size_t begin = 0;
    for (size_t i = 0; i < yaml.len;) {
        while (yaml.len - i >= 8 && is_plain_word(yaml.at + i))
            i += 8;
        if (i == yaml.len)
            break;
        unsigned char byte = (unsigned char)yaml.at[i];
        size_t len = byte < 0x80 ? 1 : utf8_length(yaml.at + i, yaml.len - i);
        bool allowed = byte >= ' ' ? byte != 0x7f : byte == '\n' || byte == '\t' || byte == '\r';
        if (!len || !allowed) {
            fail(reader, line, (unsigned)(i - begin) + 1,
                 len ? "a control character is not allowed" : "this is not UTF-8");
            return false;
        }
        i += len;
        if (byte == '\n') {
            line++;
            begin = i;
        }
    }
    return true;
}

static void parse(struct reader *reader, struct text yaml)
{
    struct fy_diag_cfg words;
    fy_diag_cfg_default(&words);
    words.fp = NULL;
    words.output_fn = on_words;
    words.user = reader;
    words.colorize = false;
    struct fy_parse_cfg settings = {.diag = fy_diag_create(&words)};
    if (settings.diag)
        fy_diag_set_collect_errors(settings.diag, true);
    struct fy_parser *parser = settings.diag ? fy_parser_create(&settings) : NULL;
    if (!parser || fy_parser_set_string(parser, yaml.at, yaml.len) != 0)
        fail(reader, 1, 1, "the YAML parser cannot start");
    struct fy_event *event;
    while (parser && !reader->failed && (event = fy_parser_parse(parser))) {
        on_event(reader, event);
        fy_parser_event_free(parser, event);
    }
    if (parser && !reader->failed && fy_parser_get_stream_error(parser))
        report_syntax(reader, settings.diag, yaml);
    fy_parser_destroy(parser);
    fy_diag_destroy(settings.diag);
}

struct node *yaml_read(struct document *document, const char *name, struct text yaml)
{
    struct reader *reader = memory_new(sizeof(*reader));
    reader->document = document;
    reader->source = document_source(document, name, false);
    table_init(&reader->anchors);
    if (check_bytes(reader, yaml) && yaml.len)
        parse(reader, yaml);
    struct node *root = reader->root;
    if (!reader->failed && (!root || root->kind == NODE_NULL)) {
        root = node_new(document, NODE_MAP, reader->source);
        root->line = root->column = 1;
    }
    if (!reader->failed && root->kind != NODE_MAP)
        fail_at(reader, root, "the file must be a mapping, such as \"version: 1\"");
    bool failed = reader->failed;
    table_done(&reader->anchors);
    memory_free(reader);
    return failed ? NULL : root;
}
