/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/config/document.h"

enum { SECRET_BYTES_MAX = 64 << 10, SCALAR_BYTES_MAX = 1 << 20, INCLUDED_FILES_MAX = 200 };

/* -------------------------------------------------------------------------------- files */

/* Read a regular file of at most <max> bytes; the words of the failure, or NULL. A pipe is fine
 * too (process substitution), a directory or a device that never ends is not. */
static const char *read_file(const char *path, size_t max, struct buffer *out)
{
    buffer_init(out, max);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return strerror(errno);
    const char *problem = NULL;
    for (;;) {
        char piece[16384];
        ssize_t got = read(file, piece, sizeof(piece));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            problem = strerror(errno);
        else if (got > 0 && !buffer_append(out, piece, (size_t)got))
            problem = "it is too large";
        memory_wipe(piece, sizeof(piece));
        if (got <= 0 || problem)
            break;
    }
    close(file);
    if (problem)
        buffer_done(out);
    return problem;
}

/* What was read; an empty file has given the buffer no memory to point to. */
static struct text bytes_of(const struct buffer *buffer)
{
    return buffer_length(buffer) ? buffer_text(buffer) : (struct text){"", 0};
}

static void forget(struct buffer *buffer)
{
    if (buffer->data)
        memory_wipe(buffer->data, buffer->capacity);
    buffer_done(buffer);
}

bool secret_read(struct document *document, const struct node *node, struct text *secret)
{
    struct buffer buffer;
    const char *problem = read_file(node->at, SECRET_BYTES_MAX, &buffer);
    if (problem) {
        problem_at_value(document, node, SEVERITY_ERROR, "cannot read %.*s: %s",
                         TEXT_ARGS(node_shown(node)), problem);
        return false;
    }
    struct text text = bytes_of(&buffer);
    while (text.len && (text.at[text.len - 1] == '\n' || text.at[text.len - 1] == '\r'))
        text.len--;
    *secret = arena_copy(&document->arena, text);
    forget(&buffer);
    return true;
}

/* ------------------------------------------------------------------------- interpolation */

/* Take "NAME:-default}" apart; <rest> begins behind "${" and is left behind the "}". */
struct variable {
    char name[128];
    char operator; /* '-', '?' or 0 */
    struct text word;
};

static bool read_variable(struct text *rest, struct variable *variable)
{
    size_t end = text_find_byte(*rest, '}');
    if (end == SIZE_MAX)
        return false;
    struct text inside = text_head(*rest, end);
    *rest = text_from(*rest, end + 1);
    size_t len = 0;
    while (len < inside.len &&
           (inside.at[len] == '_' || (inside.at[len] >= '0' && len > 0 && inside.at[len] <= '9') ||
            ((inside.at[len] | 0x20) >= 'a' && (inside.at[len] | 0x20) <= 'z')))
        len++;
    if (len == 0 || len >= sizeof(variable->name))
        return false;
    memcpy(variable->name, inside.at, len);
    variable->name[len] = '\0';
    inside = text_from(inside, len);
    variable->operator= '\0';
    variable->word = (struct text){"", 0};
    if (!inside.len)
        return true;
    if (!text_starts(inside, TEXT(":-")) && !text_starts(inside, TEXT(":?")))
        return false;
    variable->operator= inside.at[1];
    variable->word = text_from(inside, 2);
    return true;
}

/* Append what the variable stands for; false when it is missing (reported). */
static bool append_variable(struct document *document, struct node *node,
                            const struct variable *variable, struct buffer *out)
{
    const char *value = getenv(variable->name);
    bool empty = !value || !*value;
    bool missing = variable->operator? empty && variable->operator== '?' : !value;
    if (missing && document->allow_unset)
        return false;
    if (empty && variable->operator== '?') {
        problem_at_value(document, node, SEVERITY_ERROR, "%s: %.*s", variable->name,
                         TEXT_ARGS(variable->word.len ? variable->word : TEXT("is not set")));
        return false;
    }
    if (!value && !variable->operator) {
        problem_at_value(document, node, SEVERITY_ERROR,
                         "the variable %s is not set (write ${%s:-} where it may be missing)",
                         variable->name, variable->name);
        return false;
    }
    struct text text = empty && variable->operator? variable->word : text_of(value);
    return buffer_append_text(out, text);
}

static bool interpolate_into(struct document *document, struct node *node, struct buffer *out)
{
    struct text rest = node_text(node);
    for (;;) {
        size_t dollar = text_find_byte(rest, '$');
        buffer_append_text(out, text_head(rest, dollar));
        if (dollar == SIZE_MAX)
            return true;
        rest = text_from(rest, dollar + 1);
        struct variable variable;
        if (text_starts(rest, TEXT("{"))) {
            rest = text_from(rest, 1);
            if (!read_variable(&rest, &variable)) {
                problem_at_value(document, node, SEVERITY_ERROR,
                                 "\"${\" begins no ${VARIABLE} (a literal $ is written $$)");
                return false;
            }
            if (!append_variable(document, node, &variable, out))
                return false;
        } else {
            rest = text_from(rest, text_starts(rest, TEXT("$")) ? 1 : 0);
            if (!buffer_append_text(out, TEXT("$")))
                return true;
        }
    }
}

static void interpolate_scalar(struct document *document, struct node *node)
{
    if (node->raw || !memchr(node->at, '$', node->len))
        return;
    struct buffer out;
    buffer_init(&out, SCALAR_BYTES_MAX);
    node->broken |= !interpolate_into(document, node, &out);
    struct text text = arena_copy(&document->arena, bytes_of(&out));
    node->raw = node->at;
    node->at = text.at;
    node->len = (uint32_t)text.len;
    forget(&out);
}

static void interpolate(struct document *document, struct node *node)
{
    if (node->kind == NODE_SCALAR)
        interpolate_scalar(document, node);
    for (struct node *entry = node->first; entry; entry = entry->next)
        interpolate(document, entry);
}

/* ------------------------------------------------------------------------------ includes */

static void merge(struct document *document, struct node *into, struct node *from);

static void merge_entry(struct document *document, struct node *into, struct node *entry)
{
    struct node *there = node_find(into, entry->key);
    entry->next = NULL;
    if (!there) {
        node_append(into, entry);
    } else if (there->kind == entry->kind && there->kind == NODE_MAP) {
        merge(document, there, entry);
    } else if (there->kind == entry->kind && there->kind == NODE_LIST) {
        if (entry->first)
            node_append(there, entry->first);
    } else if (strcmp(entry->key, "version") != 0 || strcmp(entry->at, there->at) != 0) {
        problem_at_key(document, entry, SEVERITY_ERROR, "\"%s\" is set already at %s:%u",
                       entry->key, document->sources[there->source].name, there->key_line);
    }
}

static void merge(struct document *document, struct node *into, struct node *from)
{
    struct node *next;
    for (struct node *entry = from->first; entry; entry = next) {
        next = entry->next;
        if (into == document->root && strcmp(entry->key, "include") == 0)
            problem_at_key(document, entry, SEVERITY_ERROR, "an included file may not include");
        else
            merge_entry(document, into, entry);
    }
}

static bool include_file(struct document *document, const struct node *node, const char *path)
{
    struct buffer buffer;
    const char *problem = read_file(path, CONFIG_FILE_BYTES_MAX, &buffer);
    if (problem) {
        problem_at_value(document, node, SEVERITY_ERROR, "cannot read %s: %s", path, problem);
        return false;
    }
    struct node *root = yaml_read(document, path, bytes_of(&buffer));
    forget(&buffer);
    if (root) {
        interpolate(document, root);
        merge(document, document->root, root);
    }
    return root != NULL;
}

/* Names are relative to the folder of the main file. */
static const char *beside(struct document *document, const char *path, struct text name)
{
    const char *slash = strrchr(path, '/');
    if (text_starts(name, TEXT("/")) || !slash)
        return name.at;
    return arena_format(&document->arena, "%.*s/%s", (int)(slash - path), path, name.at).at;
}

static bool include_pattern(struct document *document, const struct node *node, const char *path)
{
    const char *pattern = beside(document, path, node_text(node));
    glob_t found = {0};
    int result = glob(pattern, GLOB_ERR, NULL, &found);
    bool fine = true;
    if (result == GLOB_NOMATCH && !strpbrk(pattern, "*?[")) {
        problem_at_value(document, node, SEVERITY_ERROR, "cannot read %s: %s", pattern,
                         strerror(ENOENT));
        fine = false;
    } else if (result != 0 && result != GLOB_NOMATCH && access(pattern, F_OK) == 0) {
        problem_at_value(document, node, SEVERITY_ERROR, "cannot read the folder of %s", pattern);
        fine = false;
    } else if (found.gl_pathc + document->source_count > INCLUDED_FILES_MAX) {
        problem_at_value(document, node, SEVERITY_ERROR, "more than %d included files",
                         INCLUDED_FILES_MAX);
        fine = false;
    }
    for (size_t i = 0; fine && result == 0 && i < found.gl_pathc; i++)
        fine = include_file(document, node, found.gl_pathv[i]);
    globfree(&found);
    return fine;
}

static bool include_all(struct document *document, const char *path)
{
    const struct node *list = node_find(document->root, "include");
    bool fine = true;
    if (!list || list->kind != NODE_LIST)
        return true;
    for (const struct node *entry = list->first; entry; entry = entry->next)
        if (entry->kind == NODE_SCALAR && !entry->broken)
            fine &= include_pattern(document, entry, path);
    return fine;
}

/* ------------------------------------------------------------------------ the environment */

/* The listener whose address the environment sets: the first that serves applications. */
static struct node *api_listener(const struct document *document)
{
    const struct node *list = node_at(document->root, "server.listeners");
    for (struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        const struct node *serve = node_find(entry, "serve");
        if (!serve)
            return entry;
        for (const struct node *word = serve->first; word; word = word->next)
            if (strcmp(word->at, "api") == 0)
                return entry;
    }
    return NULL;
}

/* Without any listener in the file there is the usual one, for this machine only. */
static void add_listener(struct document *document)
{
    struct node *server = node_find(document->root, "server");
    const struct node *given = node_find(server, "listeners");
    if ((server && server->kind != NODE_MAP && server->kind != NODE_NULL) ||
        (given && (given->first || given->kind == NODE_MAP || given->kind == NODE_SCALAR)))
        return;
    size_t source = document_source(document, "default", true);
    struct node *list = node_set(document, document->root, "server.listeners", TEXT(""), source);
    list->kind = NODE_LIST;
    struct node *listener = node_new(document, NODE_MAP, source);
    node_append(list, listener);
    node_set(document, listener, "name", TEXT("api"), source);
    node_set(document, listener, "address", TEXT("127.0.0.1:8080"), source);
}

/* A port alone means this machine only. */
static void override_address(struct document *document)
{
    const char *value = getenv("SLUICE_LISTEN");
    uint64_t port;
    if (!value || !*value)
        return;
    struct text address = text_of(value);
    if (text_number(address, 65535, &port))
        address = arena_format(&document->arena, "127.0.0.1:%s", value);
    size_t source = document_source(document, "SLUICE_LISTEN", true);
    struct node *listener = api_listener(document);
    if (listener && listener->kind == NODE_MAP)
        node_set(document, listener, "address", address, source);
}

static void override_level(struct document *document)
{
    const char *value = getenv("SLUICE_LOG_LEVEL");
    if (value && *value)
        node_set(document, document->root, "telemetry.log.level", text_of(value),
                 document_source(document, "SLUICE_LOG_LEVEL", true));
}

/* ------------------------------------------------------------------------------- reading */

static bool read_all(struct document *document, const char *name, struct text yaml)
{
    document->root = yaml_read(document, name, yaml);
    document->node = document->root;
    if (!document->root)
        return false;
    interpolate(document, document->root);
    bool fine = include_all(document, name);
    document_add_made(document);
    add_listener(document);
    override_address(document);
    override_level(document);
    document_override_tracing(document);
    return fine;
}

bool document_read_text(struct document *document, const char *name, struct text yaml)
{
    return read_all(document, name, yaml);
}

/* What stands in it; false when it cannot be read (reported). */
static bool read_or_complain(struct document *document, const char *path, struct buffer *buffer)
{
    size_t source = document_source(document, path, false);
    const char *problem = read_file(path, CONFIG_FILE_BYTES_MAX, buffer);
    if (problem)
        problem_at(document, source, 0, 0,
                   arena_format(&document->arena, "cannot be read: %s", problem).at);
    return !problem;
}

struct node *document_read_plain(struct document *document, const char *path)
{
    struct buffer buffer;
    if (!read_or_complain(document, path, &buffer))
        return NULL;
    struct node *root = yaml_read(document, path, bytes_of(&buffer));
    forget(&buffer);
    return root;
}

bool document_read(struct document *document, const char *path)
{
    struct buffer buffer;
    if (!read_or_complain(document, path, &buffer))
        return false;
    bool fine = read_all(document, path, bytes_of(&buffer));
    forget(&buffer);
    return fine;
}
