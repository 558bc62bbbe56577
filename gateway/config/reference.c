/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "gateway/base/memory.h"
#include "gateway/config/config.h"
#include "gateway/config/options.h"

enum { TABLES_MAX = 256 };

/* docs/CONFIG.md, from the same rows that the reader uses. */

static const char introduction[] =
    "<!-- Written by `make docs` from gateway/config/options.c. Do not edit. -->\n"
    "# Configuration reference\n"
    "\n"
    "The configuration is one YAML file: `-c FILE`, else `$SLUICE_CONFIG`, else `./sluice.yaml`,\n"
    "else `/etc/sluice/sluice.yaml`. `sluice init` writes one to begin with, `sluice check` finds\n"
    "every problem in it at once, `sluice config show --effective --origin` prints what is in "
    "force\n"
    "and where each value comes from, and `sluice config schema` writes a JSON Schema for "
    "editors.\n"
    "`sluice reload` (or SIGHUP) puts a changed file in force without dropping a stream; a file "
    "with\n"
    "an error changes nothing.\n"
    "\n"
    "## How values are written\n"
    "\n"
    "| kind | examples |\n"
    "|---|---|\n"
    "| duration | `250ms` `30s` `5m` `1h` `7d` `2w` `5y` (365 days) |\n"
    "| size | `64KiB` `4MiB` `1GiB`, also `kB` `MB` `GB`, or plain bytes |\n"
    "| money | `\"12.50 USD\"`; prices are plain numbers of USD per million tokens; both to nine "
    "decimals |\n"
    "| true or false | exactly these; not yes, no, on, off |\n"
    "| date | `\"2027-01-01\"` (its first moment, UTC) or `\"2027-01-01T12:00:00+01:00\"` |\n"
    "| hash | `\"sha256:\"` and 64 hexadecimal digits: `sluice hash-key` makes one |\n"
    "\n"
    "**Variables.** In any value, never in a key: `${VAR}` (an error when it is not set),\n"
    "`${VAR:-default}` and `${VAR:?message}` (also when it is empty); `$$` is a literal `$`. They "
    "are\n"
    "put in after the file has been parsed, so a variable can never change its structure. In a\n"
    "`{flow: mapping}` such a value must stand in quotes.\n"
    "\n"
    "**Secrets.** A key marked *secret* has a twin that names a file: `api_key_file:\n"
    "/run/secrets/openai`. Newlines at the file's end do not count. Secrets are masked wherever "
    "the\n"
    "configuration is printed.\n"
    "\n"
    "**Environment.** `SLUICE_LISTEN` sets the address of the first listener that serves the API "
    "(a\n"
    "port alone means 127.0.0.1), `SLUICE_LOG_LEVEL` sets `telemetry.log.level`. A flag wins over "
    "the\n"
    "environment, the environment over the file, the file over the default.\n"
    "\n"
    "**Included files** are merged in the order of their names: lists add up, mappings merge, and "
    "a\n"
    "value that is set twice is an error. Anchors and aliases work; tags and merge keys do not.\n"
    "\n"
    "**Not yet in force.** Keys of later versions are accepted. *inert* ones do nothing yet and "
    "give\n"
    "a warning when they are set to something else than the default. *protects* marks those on "
    "which\n"
    "somebody may rely, such as limits of a target: setting one is an error, unless the program "
    "is\n"
    "started with `--allow-inert`.\n";

static void print_cell(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            fputc('\\', out);
        fputc(*text, out);
    }
}

static void print_words(FILE *out, const char *words)
{
    struct text rest = text_of(words), item;
    for (bool first = true; text_next(&rest, '|', &item); first = false)
        fprintf(out, "%s`%.*s`", first ? "" : " ", TEXT_ARGS(item));
}

static void print_type(FILE *out, const struct option *option)
{
    if (option->type == OPTION_WORD) {
        print_words(out, option->words);
        return;
    }
    if (option->type == OPTION_WORDS)
        fputs("list of ", out);
    else
        fputs(option_type_words(option->type), out);
    if (option->words) {
        fputs(option->type == OPTION_WORDS ? "" : ", or ", out);
        print_words(out, option->words);
    }
}

static void print_default(FILE *out, const struct option *option)
{
    if (option->required)
        fputs("**required**", out);
    else if (option->type == OPTION_LIST)
        fputs("`[]`", out);
    else if (option->type == OPTION_MAPS)
        fputs("`{}`", out);
    else if (option->fallback)
        fprintf(out, "`%s`", *option->fallback ? option->fallback : "\"\"");
}

static enum option_status print_row(FILE *out, const struct option *option,
                                    enum option_status above)
{
    static const char *const marks[] = {
        [IN_FORCE] = "", [INERT] = "*inert.* ", [PROTECTS] = "*protects.* "};
    enum option_status status = option->status > above ? option->status : above;
    fprintf(out, "| `%s` | ", option->name);
    print_type(out, option);
    fputs(" | ", out);
    print_default(out, option);
    fprintf(out, " | %s%s", marks[status], option->secret ? "*secret.* " : "");
    print_cell(out, option->help);
    fputs(" |\n", out);
    return status;
}

/* Rows that were printed already stand in another place too: limits of keys as of tenants. */
struct printed {
    const struct option *options;
    enum option_status above;
    char path[128];
};

struct pages {
    FILE *out;
    struct printed printed[TABLES_MAX];
    size_t count;
};

static const struct printed *find_printed(const struct pages *pages, const struct option *options,
                                          enum option_status above)
{
    for (size_t i = 0; i < pages->count; i++)
        if (pages->printed[i].options == options && pages->printed[i].above == above)
            return &pages->printed[i];
    return NULL;
}

static void print_table(struct pages *pages, const char *path, const struct option *options,
                        enum option_status above)
{
    FILE *out = pages->out;
    const struct printed *before = find_printed(pages, options, above);
    if (before) {
        fprintf(out, "\n## %s\n\nAs in `%s`.\n", path, before->path);
        return;
    }
    assert(pages->count < TABLES_MAX);
    struct printed *now = &pages->printed[pages->count++];
    *now = (struct printed){.options = options, .above = above};
    snprintf(now->path, sizeof(now->path), "%s", path);
    fprintf(out, "\n## %s\n\n| key | value | default | |\n|---|---|---|---|\n", path);
    for (const struct option *option = options; option->name; option++)
        print_row(out, option, above);
    for (const struct option *option = options; option->name; option++) {
        char below[256];
        if (!option->inner)
            continue;
        snprintf(below, sizeof(below), "%s%s%s%s", strcmp(path, "The file") == 0 ? "" : path,
                 strcmp(path, "The file") == 0 ? "" : ".", option->name,
                 option->type == OPTION_LIST   ? "[]"
                 : option->type == OPTION_MAPS ? ".NAME"
                                               : "");
        print_table(pages, below, option->inner, option->status > above ? option->status : above);
    }
}

void config_reference(FILE *out)
{
    fputs(introduction, out);
    struct pages *pages = memory_new(sizeof(*pages));
    pages->out = out;
    print_table(pages, "The file", config_options, IN_FORCE);
    memory_free(pages);
}
