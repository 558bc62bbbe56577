/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/effective.h"

/* `sluice config show`: the whole configuration as YAML that could be read again but for masked
 * secrets, each value with its origin as a comment. */

enum { ORIGIN_COLUMN = 56, LINE_BYTES_MAX = 1 << 20 };

struct printer {
    FILE *out;
    const struct document *document;
    bool origin, hashes;
    bool dash; /* the next key is the first one of a list's entry */
};

static void print_line(struct printer *printer, unsigned depth, const char *key,
                       const struct effective *of, bool with_value)
{
    struct buffer line;
    buffer_init(&line, LINE_BYTES_MAX);
    buffer_format(&line, "%*s", (int)(depth * 2), "");
    if (printer->dash) {
        line.end -= 2;
        buffer_append_text(&line, TEXT("- "));
        printer->dash = false;
    }
    buffer_format(&line, "%s:", key);
    if (with_value) {
        buffer_append_text(&line, TEXT(" "));
        effective_write(&line, of, printer->hashes);
    }
    if (printer->origin && with_value) {
        size_t length = buffer_length(&line);
        buffer_format(&line, "%*s# ", length < ORIGIN_COLUMN ? (int)(ORIGIN_COLUMN - length) : 2,
                      "");
        effective_write_origin(&line, of, printer->hashes);
    }
    fwrite(line.data + line.begin, 1, buffer_length(&line), printer->out);
    fputc('\n', printer->out);
    buffer_done(&line);
}

static void print_mapping(struct printer *printer, unsigned depth, const struct option *options,
                          const struct node *map, const char *base);

static void print_name(struct printer *printer, unsigned depth, struct text name)
{
    struct buffer line;
    buffer_init(&line, LINE_BYTES_MAX);
    buffer_format(&line, "%*s", (int)(depth * 2), "");
    yaml_write(&line, name);
    fprintf(printer->out, "%.*s:\n", TEXT_ARGS(buffer_text(&line)));
    buffer_done(&line);
}

static void print_entries(struct printer *printer, unsigned depth, const struct effective *of)
{
    struct items items = effective_items(of);
    size_t i = 0;
    for (const struct node *entry = of->node->first; entry; entry = entry->next, i++) {
        const char *base = i < items.count ? (const char *)items.at + i * of->option->size : NULL;
        if (of->option->type == OPTION_MAPS)
            print_name(printer, depth + 1, node_key(entry));
        printer->dash = of->option->type == OPTION_LIST;
        print_mapping(printer, depth + 2, of->option->inner, entry, base);
    }
}

static void print_option(struct printer *printer, unsigned depth, const struct effective *of)
{
    const struct option *option = of->option;
    const struct node *node = of->node;
    bool given = node && node->kind != NODE_NULL && node->kind != NODE_SCALAR && node->first;
    bool by_default =
        !node && option->type == OPTION_SECTION && !option->fallback && !option->inner[0].required;
    const char *key = node && node->key ? node->key : option->name;
    if ((option->type == OPTION_LIST || option->type == OPTION_MAPS) && given) {
        print_line(printer, depth, key, of, false);
        print_entries(printer, depth, of);
    } else if (option->type == OPTION_SECTION && (given || by_default)) {
        print_line(printer, depth, key, of, false);
        print_mapping(printer, depth + 1, option->inner, given ? node : NULL, effective_inside(of));
    } else {
        print_line(printer, depth, key, of, true);
    }
}

static void print_mapping(struct printer *printer, unsigned depth, const struct option *options,
                          const struct node *map, const char *base)
{
    for (const struct option *option = options; option->name; option++) {
        struct effective of = {printer->document, option, effective_node(map, option), base};
        /* What is not in force and not set would only fill the page. */
        bool quiet = !of.node && option->status != IN_FORCE;
        if (!quiet || printer->dash)
            print_option(printer, depth, &of);
    }
}

void config_show(const struct config *config, FILE *out, unsigned what)
{
    const struct document *document = config->memory;
    struct printer printer = {.out = out,
                              .document = document,
                              .origin = (what & SHOW_ORIGINS) != 0,
                              .hashes = (what & SHOW_HASHES) != 0};
    print_mapping(&printer, 0, config_options, document->root, (const char *)document);
}
