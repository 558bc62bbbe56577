/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "gateway/base/clock.h"
#include "gateway/cli.h"
#include "gateway/cli_commands.h"
#include "gateway/cli_table.h"
#include "gateway/usage_query.h"

enum { JSON_BYTES_MAX = 256 << 20 };

/* Nano-dollars as dollars, to the nano, for CSV; to what can be read, for people. */
static void dollars(int64_t nanos, bool is_exact, char out[40])
{
    int64_t whole = nanos / 1000000000, rest = nanos % 1000000000;
    if (is_exact)
        snprintf(out, 40, "%" PRId64 ".%09" PRId64, whole, rest);
    else if (nanos >= 100000000000)
        snprintf(out, 40, "%" PRId64 ".%02" PRId64, whole, rest / 10000000);
    else
        snprintf(out, 40, "%" PRId64 ".%06" PRId64, whole, rest / 1000);
}

static void add_columns(struct cli_table *table, const struct usage_query *query)
{
    static const char *const names[] = {
        "requests",      "input_tokens",     "cached_tokens", "cache_write_tokens",
        "output_tokens", "reasoning_tokens", "cost_usd",      "complete",
        "partial",       "refused",          "lost",          "estimated"};
    for (size_t i = 0; i < query->by_count; i++)
        table_column(table, usage_by_name(query->by[i]), false);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        table_column(table, names[i], true);
}

/* The columns of a table for people leave out what is seldom asked. */
static void add_short_columns(struct cli_table *table, const struct usage_query *query)
{
    static const char *const names[] = {"calls",   "input",   "cached", "output", "cost USD",
                                        "partial", "refused", "lost",   "est."};
    for (size_t i = 0; i < query->by_count; i++)
        table_column(table, usage_by_name(query->by[i]), false);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        table_column(table, names[i], true);
}

static void add_row(struct cli_table *table, size_t by_count, const struct usage_row *row,
                    bool is_csv)
{
    char cost[40];
    const struct usage *usage = &row->usage;
    for (size_t i = 0; i < by_count; i++)
        table_cell(table, row->by[i][0] != 0 || is_csv ? text_of(row->by[i]) : TEXT("-"));
    table_int_cell(table, row->requests);
    table_int_cell(table, usage->input_tokens);
    table_int_cell(table, usage->cached_tokens);
    if (is_csv)
        table_int_cell(table, usage->cache_write_tokens);
    table_int_cell(table, usage->output_tokens);
    if (is_csv)
        table_int_cell(table, usage->reasoning_tokens);
    dollars(row->cost_nanos, is_csv, cost);
    table_cell(table, text_of(cost));
    if (is_csv)
        table_int_cell(table, row->complete);
    table_int_cell(table, row->partial);
    table_int_cell(table, row->refused);
    table_int_cell(table, row->lost);
    table_int_cell(table, row->estimated);
}

static int print_json(const struct usage_query *query, const struct usage_report *report)
{
    struct buffer out;
    buffer_init(&out, JSON_BYTES_MAX);
    struct json_write json = {.out = &out};
    usage_write_json(query, report, &json);
    int code = json.is_full ? EXIT_FAILED : EXIT_GOOD;
    if (json.is_full)
        cli_complain("too many rows; ask for a shorter time");
    else
        printf("%.*s\n", TEXT_ARGS(buffer_text(&out)));
    buffer_done(&out);
    return code;
}

static void print_rows(const struct usage_query *query, const struct usage_report *report,
                       bool is_csv)
{
    struct cli_table table;
    table_begin(&table);
    if (is_csv)
        add_columns(&table, query);
    else
        add_short_columns(&table, query);
    for (size_t i = 0; i < report->count; i++)
        add_row(&table, query->by_count, &report->rows[i], is_csv);
    if (is_csv)
        table_print_csv(&table, stdout);
    else if (report->count > 0)
        table_print(&table, stdout);
    else
        fputs("no calls in this time\n", stderr);
    table_end(&table);
}

static struct text given(const struct cli *cli, const char *option)
{
    const char *value = cli_value(cli, option);
    return value != NULL ? text_of(value) : (struct text){"", 0};
}

int command_usage(struct cli *cli)
{
    enum cli_format format;
    struct usage_query query;
    struct fault fault;
    if (!cli_format_find(cli_value(cli, "format"), &format))
        return cli_misuse(cli, "--format is table, json or csv, not \"%s\"",
                          cli_value(cli, "format"));
    if (!usage_query_read(given(cli, "by"), given(cli, "since"), given(cli, "until"),
                          clock_wall_us(), &query, &fault))
        return cli_misuse(cli, "%s", fault.text);
    struct config *config = cli_config_load(cli);
    if (config == NULL)
        return EXIT_FAILED;
    struct usage_report *report = usage_query_run(&query, config, &fault);
    int code = EXIT_GOOD;
    if (report == NULL) {
        cli_complain("%s", fault.text);
        code = EXIT_FAILED;
    } else if (format == FORMAT_JSON) {
        code = print_json(&query, report);
    } else {
        print_rows(&query, report, format == FORMAT_CSV);
    }
    if (report != NULL)
        usage_report_free(report);
    config_unref(config);
    return code;
}
