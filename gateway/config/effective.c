/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/effective.h"

#include <stdlib.h>

#include "gateway/base/log.h"

const struct node *effective_node(const struct node *map, const struct option *option)
{
    for (const struct node *entry = map ? map->first : NULL; entry; entry = entry->next)
        if (option_is_named(option, node_key(entry)))
            return entry;
    return NULL;
}

struct items effective_items(const struct effective *of)
{
    if (!of->base || !of->option->where)
        return (struct items){NULL, 0};
    return *(const struct items *)(const void *)(of->base + of->option->where);
}

const char *effective_inside(const struct effective *of)
{
    return of->base ? option_inside(of->option, (char *)(uintptr_t)of->base) : NULL;
}

/* --------------------------------------------------------------------------------------- YAML */

static bool is_plain(struct text text)
{
    static const char *const taken[] = {"null", "~", "true", "false", "yes", "no", "on", "off"};
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "_./+-@";
    if (!text.len || text.at[0] == '-' || text.at[0] == '@')
        return false;
    for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++)
        if (text_equal_nocase(text, text_of(taken[i])))
            return false;
    for (size_t i = 0; i < text.len; i++) {
        bool inner_space = text.at[i] == ' ' && i + 1 < text.len;
        bool inner_colon = text.at[i] == ':' && i + 1 < text.len && text.at[i + 1] != ' ';
        if (!text.at[i] || (!strchr(safe, text.at[i]) && !inner_space && !inner_colon))
            return false;
    }
    return true;
}

void yaml_write(struct buffer *out, struct text text)
{
    if (is_plain(text)) {
        buffer_append_text(out, text);
        return;
    }
    /* The escapes of JSON are escapes of YAML too. */
    char *escaped = memory_new(6 * text.len + 1);
    size_t len = log_escape(escaped, 6 * text.len + 1, text);
    buffer_append_text(out, TEXT("\""));
    buffer_append(out, escaped, len);
    buffer_append_text(out, TEXT("\""));
    memory_free(escaped);
}

/* A secret is shown by the variable or the file that it came from, if that is all there is. What
 * stands behind ":-" may be a secret too. */
static void write_masked(struct buffer *out, const struct node *node)
{
    struct text raw = node->raw ? text_of(node->raw) : (struct text){"", 0};
    size_t close = text_find_byte(raw, '}');
    if (text_starts(raw, TEXT("file "))) {
        yaml_write(out, text_from(raw, 5));
    } else if (text_starts(raw, TEXT("${")) && close == raw.len - 1) {
        buffer_append_text(out, text_head(raw, strcspn(raw.at, ":}")));
        buffer_append_text(out, text_find(raw, TEXT(":-")) == SIZE_MAX ? TEXT("}") : TEXT(":-}"));
    } else {
        buffer_append_text(out, node->len ? TEXT("\"********\"") : TEXT("\"\""));
    }
}

/* All of a URL but what stands between "//" and "@". */
static void write_masked_url(struct buffer *out, struct text url)
{
    char shown[512];
    size_t from = text_find(url, TEXT("//")), to = SIZE_MAX;
    for (size_t i = from; i < url.len; i++)
        if (url.at[i] == '@')
            to = i;
    if (from == SIZE_MAX || to == SIZE_MAX) {
        yaml_write(out, from == SIZE_MAX ? TEXT("********") : url);
        return;
    }
    snprintf(shown, sizeof(shown), "%.*s//********%.*s", (int)from, url.at, (int)(url.len - to),
             url.at + to);
    yaml_write(out, text_of(shown));
}

static void write_node(struct buffer *out, const struct node *node, bool masked)
{
    if (node->kind == NODE_NULL) {
        buffer_append_text(out, TEXT("null"));
        return;
    }
    if (node->kind == NODE_SCALAR) {
        if (masked)
            write_masked(out, node);
        else
            yaml_write(out, node_text(node));
        return;
    }
    buffer_append_text(out, node->kind == NODE_LIST ? TEXT("[") : TEXT("{"));
    for (const struct node *entry = node->first; entry; entry = entry->next) {
        if (entry->key) {
            yaml_write(out, node_key(entry));
            buffer_append_text(out, TEXT(": "));
        }
        write_node(out, entry, masked);
        if (entry->next)
            buffer_append_text(out, TEXT(", "));
    }
    buffer_append_text(out, node->kind == NODE_LIST ? TEXT("]") : TEXT("}"));
}

static void write_default(struct buffer *out, const struct option *option)
{
    struct text text = option->fallback ? text_of(option->fallback) : TEXT("null");
    if (option->type == OPTION_LIST)
        text = TEXT("[]");
    if (option->type == OPTION_MAPS)
        text = TEXT("{}");
    bool is_flow = text_starts(text, TEXT("[")) || text_starts(text, TEXT("{"));
    if (is_flow || option->type == OPTION_BOOL || option_is_nullable(option))
        buffer_append_text(out, text);
    else
        yaml_write(out, text);
}

bool effective_is_worked_out(const struct option *option)
{
    bool has_word = option->type == OPTION_COUNT && option->words;
    return option->where && (option->type == OPTION_PATH || has_word);
}

static bool write_kept(struct buffer *out, const struct effective *of)
{
    const struct option *option = of->option;
    if (!of->base || !effective_is_worked_out(option))
        return false;
    const void *at = of->base + option->where;
    if (option->type == OPTION_PATH && *(const char *const *)at) {
        yaml_write(out, text_of(*(const char *const *)at));
        return true;
    }
    if (option->type == OPTION_COUNT) {
        buffer_format(out, "%u", *(const unsigned *)at);
        return true;
    }
    return false;
}

static void write_value(struct buffer *out, const struct effective *of, bool masked)
{
    if (write_kept(out, of))
        return;
    bool empty = of->node && of->node->kind == NODE_SCALAR && !of->node->len && of->node->raw;
    if (of->node && of->option->type == OPTION_BOOL)
        buffer_append_text(out, node_text(of->node));
    else if (of->node && masked && of->option->is_url && of->node->kind == NODE_SCALAR &&
             !of->node->raw)
        write_masked_url(out, node_text(of->node));
    else if (of->node && (masked || !(empty && option_is_nullable(of->option))))
        write_node(out, of->node, masked);
    else
        write_default(out, of->option);
}

static bool is_masked(const struct effective *of, bool hashes)
{
    return of->option->secret || (of->option->type == OPTION_HASH && !hashes);
}

void effective_write(struct buffer *out, const struct effective *of, bool hashes)
{
    write_value(out, of, is_masked(of, hashes));
}

void effective_write_plain(struct buffer *out, const struct effective *of)
{
    write_value(out, of, false);
}

void effective_write_origin(struct buffer *out, const struct effective *of, bool hashes)
{
    const struct node *node = of->node;
    if (!node) {
        buffer_append_text(out, TEXT("default"));
        return;
    }
    unsigned line = node->line ? node->line : node->key_line;
    buffer_append_text(out, text_of(of->document->sources[node->source].name));
    if (line)
        buffer_format(out, ":%u", line);
    bool secret = is_masked(of, hashes) && node->kind == NODE_SCALAR;
    if (node->raw && !secret && strlen(node->raw) < 200)
        buffer_format(out, " %s", node->raw);
    if (secret)
        buffer_format(out, node->len ? " (set, %u characters)" : " (not set)", node->len);
}
