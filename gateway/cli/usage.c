/* SPDX-License-Identifier: Apache-2.0 */
/* usage and export: from the ledger's files here, or from the gateway that --admin names. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/member.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/table.h"
#include "gateway/cli/words.h"
#include "gateway/usage_query.h"

enum { JSON_BYTES_MAX = 256 << 20, CELL_BYTES = 1024 };

static struct text given(const struct cli *cli, const char *option)
{
    const char *value = cli_value(cli, option);
    return value != NULL ? text_of(value) : (struct text){"", 0};
}

/* ---------------------------------------------------------------------------- rows */

/* A column of figures: for people under a short name, or for CSV only (NULL). */
static const struct {
    const char *member, *column, *shown;
} figures[] = {
    {"requests", "requests", "calls"},
    {"input_tokens", "input_tokens", "input"},
    {"cached_tokens", "cached_tokens", "cached"},
    {"cache_write_tokens", "cache_write_tokens", NULL},
    {"output_tokens", "output_tokens", "output"},
    {"reasoning_tokens", "reasoning_tokens", NULL},
    {"cost_nanos", "cost_usd", "cost USD"},
    {"complete", "complete", NULL},
    {"partial", "partial", "partial"},
    {"refused", "refused", "refused"},
    {"lost", "lost", "lost"},
    {"estimated", "estimated", "est."},
};

enum { FIGURES = sizeof figures / sizeof figures[0] };

static void add_columns(struct cli_table *table, const struct usage_query *query, bool is_csv)
{
    for (size_t i = 0; i < query->by_count; i++)
        table_column(table, usage_by_name(query->by[i]), false);
    for (size_t i = 0; i < FIGURES; i++)
        if (is_csv || figures[i].shown != NULL)
            table_column(table, is_csv ? figures[i].column : figures[i].shown, true);
}

static void add_row(struct cli_table *table, const struct usage_query *query, struct text row,
                    bool is_csv)
{
    char room[CELL_BYTES];
    for (size_t i = 0; i < query->by_count; i++) {
        struct text value = cli_member_text(row, usage_by_name(query->by[i]), room, sizeof room);
        table_cell(table, value.len > 0 || is_csv ? value : TEXT("-"));
    }
    for (size_t i = 0; i < FIGURES; i++) {
        int64_t figure = cli_member_int(row, figures[i].member);
        if (!is_csv && figures[i].shown == NULL)
            continue;
        if (strcmp(figures[i].member, "cost_nanos") == 0) {
            words_money(figure, is_csv, room);
            table_cell(table, text_of(room));
        } else {
            table_int_cell(table, figure);
        }
    }
}

static void print_rows(const struct usage_query *query, struct text rows, bool is_csv)
{
    struct cli_table table;
    struct text ignored, row;
    table_begin(&table);
    add_columns(&table, query, is_csv);
    while (member_next(&rows, &ignored, &row))
        add_row(&table, query, row, is_csv);
    if (is_csv)
        table_print_csv(&table, stdout);
    else if (table.count > 0)
        table_print(&table, stdout);
    else
        fputs("no calls in this time\n", stderr);
    table_end(&table);
}

/* ---------------------------------------------------------------------------- usage */

static int read_files(const struct config *config, const struct usage_query *query,
                      struct buffer *out)
{
    struct fault fault;
    struct usage_report *report = usage_query_run(query, config, &fault);
    if (report == NULL) {
        complaint_print("%s", fault.text);
        return EXIT_FAILED;
    }
    struct json_write json = {.out = out};
    usage_write_json(query, report, &json);
    usage_report_free(report);
    if (!json.is_full)
        return EXIT_GOOD;
    complaint_print("too many rows; ask for a shorter time");
    return EXIT_FAILED;
}

/* Append "&name=value" when the option was given. */
static void put_parameter(struct buffer *path, const struct cli *cli, const char *name)
{
    const char *value = cli_value(cli, name);
    if (value == NULL)
        return;
    bool is_first = text_find_byte(buffer_text(path), '?') == SIZE_MAX;
    buffer_format(path, "%c%s=", is_first ? '?' : '&', name);
    cli_escape(path, text_of(value));
}

static int ask_gateway(const struct cli *cli, struct buffer *out)
{
    struct buffer path;
    buffer_init(&path, CLI_PATH_BYTES_MAX);
    buffer_append_text(&path, TEXT("/admin/v1/usage"));
    put_parameter(&path, cli, "by");
    put_parameter(&path, cli, "since");
    put_parameter(&path, cli, "until");
    put_parameter(&path, cli, "nodes");
    buffer_append(&path, "", 1);
    int code = cli_ask_or_complain(cli, "GET", buffer_text(&path).at, out);
    buffer_done(&path);
    return code;
}

/* What other nodes have told is known to those that run; the files are this node's. */
static int ask_here(const struct cli *cli, const struct usage_query *query, struct buffer *out)
{
    struct config *config = cli_config_load(cli);
    if (config == NULL)
        return EXIT_FAILED;
    bool is_shared = config->store.is_redis && !text_equal(given(cli, "nodes"), TEXT("this"));
    bool is_running = is_shared && cli_is_running(cli);
    if (is_shared && !is_running)
        complaint_print("sluice does not run here: these are the calls of this node only");
    int code = is_running ? ask_gateway(cli, out) : read_files(config, query, out);
    config_unref(config);
    return code;
}

int command_usage(struct cli *cli)
{
    enum cli_format format;
    struct usage_query query;
    struct fault fault;
    struct buffer rows;
    if (!cli_format_find(cli_value(cli, "format"), &format))
        return cli_misuse(cli, "--format is table, json or csv, not \"%s\"",
                          cli_value(cli, "format"));
    if (given(cli, "nodes").len > 0 && !text_equal(given(cli, "nodes"), TEXT("this")) &&
        !text_equal(given(cli, "nodes"), TEXT("all")))
        return cli_misuse(cli, "--nodes is all or this, not \"%s\"", cli_value(cli, "nodes"));
    if (!usage_query_read(given(cli, "by"), given(cli, "since"), given(cli, "until"),
                          clock_wall_us(), &query, &fault))
        return cli_misuse(cli, "%s", fault.text);
    buffer_init(&rows, JSON_BYTES_MAX);
    int code = cli->admin != NULL ? ask_gateway(cli, &rows) : ask_here(cli, &query, &rows);
    if (code == EXIT_GOOD && format == FORMAT_JSON)
        printf("%.*s\n", TEXT_ARGS(buffer_text(&rows)));
    else if (code == EXIT_GOOD)
        print_rows(&query, buffer_text(&rows), format == FORMAT_CSV);
    buffer_done(&rows);
    return code;
}
