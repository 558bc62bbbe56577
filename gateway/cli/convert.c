/* SPDX-License-Identifier: Apache-2.0 */

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/convert_inside.h"

enum {
    FILE_BYTES_MAX = 10 << 20,
    WORDS_BYTES_MAX = 1024,
    PATH_BYTES_MAX = 512,
};

/* ------------------------------------------------------------------------- words */

/* "config.yaml:12: model_list/0/api_base", without what speaks to terminals. */
struct text convert_place(struct convert *c, const struct node *node)
{
    char path[PATH_BYTES_MAX];
    if (!node)
        return arena_format(c->arena, "%s", c->file);
    node_path(c->document, node, path, sizeof(path));
    for (char *at = path; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    return arena_format(c->arena, "%s:%u: %s", c->file, node->key ? node->key_line : node->line,
                        path + 1);
}

__attribute__((format(printf, 4, 0))) static void
add_note(struct convert *c, const struct node *node, bool is_left, const char *words, va_list args)
{
    char room[WORDS_BYTES_MAX];
    vsnprintf(room, sizeof(room), words, args);
    for (char *at = room; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    struct note *note = arena_new(c->arena, sizeof(*note));
    *note = (struct note){.place = convert_place(c, node),
                          .words = arena_copy(c->arena, text_of(room)),
                          .order = c->note_count++,
                          .line = !node       ? 0
                                  : node->key ? node->key_line
                                              : node->line,
                          .is_left = is_left};
    *c->note_end = note;
    c->note_end = &note->next;
}

void convert_leave(struct convert *c, const struct node *node, const char *why, ...)
{
    va_list args;
    va_start(args, why);
    add_note(c, node, true, why, args);
    va_end(args);
}

void convert_tell(struct convert *c, const struct node *node, const char *words, ...)
{
    va_list args;
    va_start(args, words);
    add_note(c, node, false, words, args);
    va_end(args);
}

const char *convert_spoken(const struct convert *c)
{
    return c->converter->spoken;
}

/* ------------------------------------------------------------------------- rows */

static bool same_name(struct text theirs, struct text row, bool loose)
{
    if (!loose)
        return text_equal(theirs, row);
    size_t i = 0, j = 0;
    for (;;) {
        while (i < theirs.len && theirs.at[i] == '_')
            i++;
        while (j < row.len && row.at[j] == '_')
            j++;
        if (i == theirs.len || j == row.len)
            return i == theirs.len && j == row.len;
        char a = theirs.at[i++], b = row.at[j++];
        if ((a >= 'A' && a <= 'Z' ? a | 0x20 : a) != b)
            return false;
    }
}

static struct text listed_texts(struct convert *c, const struct node *node)
{
    struct text list = {"", 0};
    for (const struct node *entry = node->first; entry; entry = entry->next)
        if (node_is_text(entry))
            list = convert_listed(c, list, convert_value(c, entry));
    return list;
}

/* 80_000 is a number in Python's YAML. */
static struct text digits_of(struct convert *c, struct text number)
{
    char *digits = convert_take(c, number.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < number.len; i++)
        if (number.at[i] != '_' || i == 0 || i + 1 == number.len)
            digits[len++] = number.at[i];
    return (struct text){digits, len};
}

/* What the row wants of the value, as YAML; empty when it is none of that. */
static struct text taken(struct convert *c, const struct node *node, const struct convert_row *row,
                         const struct convert_places *places)
{
    struct text none = {"", 0};
    uint64_t number;
    if (row->take == TAKE_TEXTS)
        return node->kind == NODE_LIST ? listed_texts(c, node) : none;
    if (!node_is_text(node))
        return none;
    struct text text = node_text(node);
    if (row->take == TAKE_SECRET)
        return convert_secret(c, node, convert_variable(c, places->variables, row->why));
    if (row->take == TAKE_TEXT || convert_is_reference(c, text))
        return convert_value(c, node);
    if (row->take == TAKE_COUNT)
        return text_number(text = digits_of(c, text), INT32_MAX, &number) ? text : none;
    if (row->take == TAKE_FLAG)
        return text_equal_nocase(text, TEXT("true"))    ? TEXT("true")
               : text_equal_nocase(text, TEXT("false")) ? TEXT("false")
                                                        : none;
    if (row->take == TAKE_EACH || row->take == TAKE_MILLION)
        return convert_shifted(c, text, row->take == TAKE_MILLION ? 6 : 0);
    if (text_ends(text, TEXT("s")) && convert_span(text))
        return text;
    if (text_ends(text, TEXT("ms")))
        return convert_time(c, text_head(text, text.len - 2), 3);
    return convert_time(c, text, row->take == TAKE_SECONDS ? 0 : 3);
}

static void take_row(struct convert *c, const struct node *node, const struct convert_row *row,
                     const struct convert_places *places)
{
    if (row->take == TAKE_OTHERWISE || row->take == TAKE_NOTHING || node->kind == NODE_NULL)
        return;
    if (row->take == TAKE_LEAVE) {
        convert_leave(c, node, "%s", row->why);
        return;
    }
    struct text yaml = taken(c, node, row, places);
    if (yaml.len && places->at[row->place])
        convert_put(c, places->at[row->place], row->ours, yaml);
    else
        convert_leave(c, node, "its value is not one that can be taken over");
}

void convert_rows(struct convert *c, const struct node *map, const struct convert_row *rows,
                  const struct convert_places *places)
{
    if (map && map->kind != NODE_MAP && map->kind != NODE_NULL)
        convert_leave(c, map, "it is no mapping");
    if (!map || map->kind != NODE_MAP)
        return;
    for (const struct node *entry = map->first; entry; entry = entry->next) {
        const struct convert_row *row = rows;
        while (row->theirs && !same_name(node_key(entry), text_of(row->theirs), places->loose))
            row++;
        if (row->theirs)
            take_row(c, entry, row, places);
        else
            convert_leave(c, entry, "not known to this converter");
    }
}

/* ------------------------------------------------------------------------- the command */

static const struct converter *const converters[] = {&convert_litellm, &convert_bifrost,
                                                     &convert_portkey};

static const struct converter *find_converter(const char *name)
{
    for (size_t i = 0; i < sizeof(converters) / sizeof(*converters); i++)
        if (strcmp(converters[i]->name, name) == 0)
            return converters[i];
    return NULL;
}

static int by_line(const void *a, const void *b)
{
    const struct note *x = *(struct note *const *)a, *y = *(struct note *const *)b;
    return x->line != y->line ? (x->line > y->line) - (x->line < y->line)
                              : (x->order > y->order) - (x->order < y->order);
}

static bool is_said(const struct note *a, const struct note *b)
{
    return text_equal(a->place, b->place) && text_equal(a->words, b->words);
}

/* In the order of the file, as it is read beside them; each once. */
static void sort_notes(struct convert *c)
{
    struct note **all = memory_new((c->note_count + 1) * sizeof(*all)), **at = all;
    for (struct note *note = c->notes; note; note = note->next)
        *at++ = note;
    qsort(all, c->note_count, sizeof(*all), by_line);
    c->note_end = &c->notes;
    for (size_t i = 0; i < c->note_count; i++) {
        if (i > 0 && is_said(all[i - 1], all[i]))
            continue;
        *c->note_end = all[i];
        c->note_end = &all[i]->next;
    }
    *c->note_end = NULL;
    memory_free(all);
}

/* The sections in the order of docs/CONFIG.md; empty ones are not written. */
static void lay_out(struct convert *c)
{
    c->root = convert_draft(c);
    convert_put(c, c->root, "version", TEXT("1"));
    static const char *const maps[] = {"server", "store", "ledger"};
    for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++)
        convert_section(c, c->root, maps[i]);
    out_member(c, c->root, TEXT("providers"), NODE_LIST);
    out_member(c, c->root, TEXT("models"), NODE_LIST);
    convert_section(c, c->root, "routing");
    out_member(c, c->root, TEXT("tenants"), NODE_LIST);
    convert_section(c, c->root, "cache");
    convert_section(c, c->root, "telemetry");
}

static void write_file(const struct convert *c, struct buffer *to)
{
    buffer_format(to,
                  "# Written by `sluice config convert %s` from a configuration of %s's.\n"
                  "# Look at what was left out, then: sluice check --strict FILE\n",
                  c->converter->name, c->converter->spoken);
    for (const struct variable *at = c->variables; at; at = at->next)
        buffer_format(to, "# Set %.*s: %s\n", TEXT_ARGS(at->name),
                      at->is_hash ? "what `sluice hash-key` prints for the key that stood there"
                                  : "the secret that stood there");
    bool any = false;
    for (const struct note *at = c->notes; at; at = at->next) {
        if (at->is_left && !any)
            buffer_append_text(to, TEXT("#\n# Left out, and why:\n"));
        any |= at->is_left;
        if (at->is_left)
            buffer_format(to, "#   %.*s: %.*s\n", TEXT_ARGS(at->place), TEXT_ARGS(at->words));
    }
    out_write(to, c->root);
}

/* What is wrong with it that no converter could know, such as two names that are one. */
static unsigned count_errors(struct text yaml)
{
    char path[64];
    int file = memfd_create("sluice.yaml", MFD_CLOEXEC);
    if (file < 0)
        return 0;
    unsigned errors = 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    if (write(file, yaml.at, yaml.len) == (ssize_t)yaml.len) {
        struct config_options options = {.path = path, .allow_unset = true};
        struct config_result result = config_load(&options);
        errors = result.errors;
        if (result.config)
            config_unref(result.config);
    }
    close(file);
    return errors;
}

static void say(const struct convert *c, unsigned errors)
{
    for (const struct note *at = c->notes; at; at = at->next)
        fprintf(stderr, "%.*s: %s%.*s\n", TEXT_ARGS(at->place), at->is_left ? "left out: " : "",
                TEXT_ARGS(at->words));
    for (const struct variable *at = c->variables; at; at = at->next)
        fprintf(stderr, "%.*s: set %.*s to %s\n", TEXT_ARGS(at->place), TEXT_ARGS(at->name),
                at->is_hash ? "what `sluice hash-key` prints for this key"
                            : "the secret that stands here");
    if (errors)
        fprintf(stderr, "%s: the result needs a hand: `sluice check` finds %u error%s in it\n",
                c->file, errors, errors > 1 ? "s" : "");
}

static void convert_init(struct convert *c, struct document *document,
                         const struct converter *converter, const char *file)
{
    *c = (struct convert){.document = document, .arena = &document->arena, .converter = converter};
    char *shown = (char *)(uintptr_t)arena_copy(c->arena, text_of(file)).at;
    for (char *at = shown; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    c->file = shown;
    c->note_end = &c->notes;
    c->variable_end = &c->variables;
    lay_out(c);
}

static void convert_done(struct convert *c)
{
    table_done(&c->variable_names);
    table_done(&c->secret_values);
    table_done(&c->providers);
    table_done(&c->provider_names);
    table_done(&c->target_ids);
}

static int convert_document(struct document *document, const struct converter *converter,
                            const char *file)
{
    struct convert c;
    struct buffer out;
    convert_init(&c, document, converter, file);
    convert_note_references(&c, document->root);
    converter->convert(&c, document->root);
    sort_notes(&c);
    buffer_init(&out, OUT_BYTES_MAX);
    write_file(&c, &out);
    struct text yaml = buffer_text(&out);
    bool written =
        !out.overrun && fwrite(yaml.at, 1, yaml.len, stdout) == yaml.len && fflush(stdout) == 0;
    if (written)
        say(&c, count_errors(yaml));
    else
        complaint_print("cannot write the result");
    buffer_done(&out);
    convert_done(&c);
    return written ? EXIT_GOOD : EXIT_FAILED;
}

int command_config_convert(struct cli *cli)
{
    const struct converter *converter = cli->argc == 2 ? find_converter(cli->argv[0]) : NULL;
    if (!converter)
        return cli_misuse(cli, "convert wants a gateway and a FILE: litellm, bifrost or portkey");
    const char *file = cli_file(cli->argv[1]);
    struct stat status;
    if (stat(file, &status) == 0 && status.st_size > FILE_BYTES_MAX) {
        complaint_print("%s is larger than 10 MiB; that is no configuration", file);
        return EXIT_FAILED;
    }
    struct config_options options = {.path = file};
    struct document *document = document_new(&options);
    document->root = document_read_plain(document, file);
    int code = EXIT_FAILED;
    if (document->root && document->errors == 0)
        code = convert_document(document, converter, file);
    else
        problems_print(document, stderr);
    document_free(document);
    return code;
}
