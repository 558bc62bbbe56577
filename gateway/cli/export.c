/* SPDX-License-Identifier: Apache-2.0 */
/* export: single calls of the ledger, the oldest first, as CSV or as one JSON object a line. */
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/table.h"
#include "gateway/usage_query.h"

enum { CELL_BYTES = 1024, PAGE_ROWS = 500, ROW_BYTES_MAX = 64 << 10 };

/* ---------------------------------------------------------------------------- rows */

struct printing {
    bool is_csv, has_head;
    uint64_t rows;
};

/* The names of the members, or what they hold. */
static void print_members(struct text row, bool names)
{
    char room[CELL_BYTES];
    struct text name, value;
    for (bool is_first = true; member_next(&row, &name, &value); is_first = false) {
        if (!is_first)
            putchar(',');
        if (names)
            table_print_csv_cell(name, stdout);
        else
            table_print_csv_cell(
                member_string(value).at != NULL ? cli_string(value, room, sizeof room) : value,
                stdout);
    }
    fputs("\r\n", stdout);
}

static void print_row(void *with, struct text row)
{
    struct printing *printing = with;
    if (printing->is_csv && !printing->has_head)
        print_members(row, true);
    printing->has_head = true;
    printing->rows++;
    if (printing->is_csv)
        print_members(row, false);
    else
        printf("%.*s\n", TEXT_ARGS(row));
}

/* ---------------------------------------------------------------------------- from the files */

static void print_call(void *with, const struct ledger_row *row)
{
    struct buffer out;
    buffer_init(&out, ROW_BYTES_MAX);
    struct json_write json = {.out = &out};
    call_write_json(row, &json);
    print_row(with, buffer_text(&out));
    buffer_done(&out);
}

/* Nobody runs: what is booked is in the database; what is not waits for the next start. */
static void warn_of_journals(const struct config *config)
{
    glob_t found = {0};
    char *pattern = memory_format("%s/*/*.journal", config->ledger_path);
    if (glob(pattern, 0, NULL, &found) == 0)
        complaint_print(
            "calls in %s are not booked yet and are left out; sluice books them when it "
            "starts",
            config->ledger_path);
    globfree(&found);
    memory_free(pattern);
}

static int read_files(const struct cli *cli, struct rows_question *question)
{
    struct rows_place next, after;
    struct fault fault;
    struct config *config = cli_config_load(cli);
    if (config == NULL)
        return EXIT_FAILED;
    warn_of_journals(config);
    question->database = config->database;
    question->oldest_first = true;
    question->max = PAGE_ROWS;
    enum rows_result result;
    while ((result = rows_read(question, &next, &fault)) == ROWS_MORE) {
        after = next;
        question->after = &after;
    }
    question->after = NULL;
    config_unref(config);
    if (result == ROWS_END)
        return EXIT_GOOD;
    complaint_print("%s", fault.text);
    return EXIT_FAILED;
}

/* ---------------------------------------------------------------------------- the command */

static const char *const filters[] = {"since", "until",  "tenant",   "key",       "user",
                                      "model", "target", "provider", "operation", "status"};

static char *make_path(const struct cli *cli, struct buffer *path)
{
    buffer_append_text(path, TEXT("/admin/v1/requests?order=asc"));
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        const char *value = cli_value(cli, filters[i]);
        if (value == NULL)
            continue;
        buffer_format(path, "&%s=", filters[i]);
        cli_escape(path, text_of(value));
    }
    return buffer_append(path, "", 1) ? path->data + path->begin : NULL;
}

/* What can be asked of the files. */
static bool read_question(const struct cli *cli, struct rows_question *question,
                          struct fault *fault)
{
    const char *since = cli_value(cli, "since"), *until = cli_value(cli, "until");
    int64_t now = clock_wall_us();
    question->until_us = INT64_MAX;
    for (int i = 0; i < FILTER_NAMES; i++) {
        const char *value = cli_value(cli, usage_by_name((enum usage_by)i));
        question->filter.only[i] = text_of(value != NULL ? value : "");
    }
    return (since == NULL ||
            usage_time_read("since", text_of(since), now, &question->since_us, fault)) &&
           (until == NULL ||
            usage_time_read("until", text_of(until), now, &question->until_us, fault));
}

int command_export(struct cli *cli)
{
    const char *format = cli_value(cli, "format");
    struct printing printing = {.is_csv = format == NULL || strcmp(format, "csv") == 0};
    struct rows_question question = {.see = print_call, .with = &printing};
    struct fault fault;
    struct buffer path;
    if (!printing.is_csv && strcmp(format, "jsonl") != 0)
        return cli_misuse(cli, "--format is csv or jsonl, not \"%s\"", format);
    if (!read_question(cli, &question, &fault))
        return cli_misuse(cli, "%s", fault.text);
    if (cli->admin == NULL && cli_value(cli, "status") == NULL && !cli_is_running(cli))
        return read_files(cli, &question);
    buffer_init(&path, CLI_PATH_BYTES_MAX);
    char *asked = make_path(cli, &path);
    int code = asked != NULL ? cli_each(cli, asked, print_row, &printing)
                             : cli_misuse(cli, "the question is too long");
    buffer_done(&path);
    return code;
}
