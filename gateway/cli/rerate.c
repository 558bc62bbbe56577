/* SPDX-License-Identifier: Apache-2.0 */
/* usage rerate: what calls would have cost, or are to have cost, at other prices. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/json_write.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/table.h"
#include "gateway/usage_query.h"

enum { JSON_BYTES_MAX = 16 << 20, DOLLARS_BYTES = 40 };

/* The price of the target that answered, else of the model that it has there, else of the one that
 * was asked for. */
static const struct price *price_of(void *with, const struct ledger_row *row)
{
    const struct prices *prices = with;
    const struct text names[] = {row->target, row->upstream_model, row->model};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct price *price = names[i].len > 0 ? prices_find(prices, names[i]) : NULL;
        if (price != NULL)
            return price;
    }
    return NULL;
}

/* ---------------------------------------------------------------------------- words */

static void dollars(int64_t nanos, bool is_difference, char out[DOLLARS_BYTES])
{
    uint64_t rest = nanos < 0 ? -(uint64_t)nanos : (uint64_t)nanos;
    const char *sign = nanos < 0 ? "-" : is_difference && nanos > 0 ? "+" : "";
    snprintf(out, DOLLARS_BYTES, "%s%" PRIu64 ".%09" PRIu64, sign, rest / 1000000000,
             rest % 1000000000);
}

static void add_row(struct cli_table *table, const struct rerated_model *model)
{
    char room[DOLLARS_BYTES];
    table_cell(table, text_of(model->model));
    table_int_cell(table, model->calls);
    table_int_cell(table, model->changed);
    dollars(model->old_nanos, false, room);
    table_cell(table, text_of(room));
    dollars(model->new_nanos, false, room);
    table_cell(table, text_of(room));
    dollars(model->new_nanos - model->old_nanos, true, room);
    table_cell(table, text_of(room));
}

static struct rerated_model total_of(const struct rerate_report *report)
{
    static char name[] = "all";
    struct rerated_model total = {.model = name};
    for (size_t i = 0; i < report->count; i++) {
        total.calls += report->models[i].calls;
        total.changed += report->models[i].changed;
        total.old_nanos += report->models[i].old_nanos;
        total.new_nanos += report->models[i].new_nanos;
    }
    return total;
}

static void print_table(const struct rerate_report *report, bool is_csv)
{
    struct cli_table table;
    struct rerated_model total = total_of(report);
    table_begin(&table);
    table_column(&table, "model", false);
    table_column(&table, "calls", true);
    table_column(&table, "changed", true);
    table_column(&table, is_csv ? "old_usd" : "old USD", true);
    table_column(&table, is_csv ? "new_usd" : "new USD", true);
    table_column(&table, "difference", true);
    for (size_t i = 0; i < report->count; i++)
        add_row(&table, &report->models[i]);
    if (!is_csv && report->count > 1)
        add_row(&table, &total);
    if (is_csv)
        table_print_csv(&table, stdout);
    else if (report->count > 0)
        table_print(&table, stdout);
    table_end(&table);
}

static void print_json(const struct rerate_report *report, bool is_applied)
{
    struct buffer out;
    buffer_init(&out, JSON_BYTES_MAX);
    struct json_write json = {.out = &out};
    json_open(&json, '{');
    json_bool_member(&json, "applied", is_applied);
    json_int_member(&json, "unpriced", report->unpriced);
    json_name(&json, "models");
    json_open(&json, '[');
    for (size_t i = 0; i < report->count; i++) {
        const struct rerated_model *model = &report->models[i];
        json_open(&json, '{');
        json_text_member(&json, "model", text_of(model->model));
        json_int_member(&json, "calls", model->calls);
        json_int_member(&json, "changed", model->changed);
        json_int_member(&json, "old_nanos", model->old_nanos);
        json_int_member(&json, "new_nanos", model->new_nanos);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
    printf("%.*s\n", TEXT_ARGS(buffer_text(&out)));
    buffer_done(&out);
}

static void say_rest(const struct rerate_report *report, const struct rerate_question *question)
{
    char stamp[CLOCK_STAMP_BYTES];
    struct rerated_model total = total_of(report);
    if (report->unpriced > 0)
        complaint_print("%" PRId64 " calls have no price in the file and stay as they are",
                        report->unpriced);
    if (report->kept_us > question->since_us) {
        clock_stamp(report->kept_us, stamp);
        complaint_print("single calls are kept since %.10s; sums from before stay as they are",
                        stamp);
    }
    if (total.calls == 0)
        complaint_print("no call of this time has a price in the file");
    else if (!question->apply)
        complaint_print("nothing was changed; --apply does it");
    else
        complaint_print("%" PRId64
                        " calls were changed. What limits and budgets have counted stays",
                        total.changed);
}

/* ---------------------------------------------------------------------------- the command */

/* What has ended is booked before it is rated; nobody need be there. */
static void catch_up(const struct cli *cli)
{
    struct buffer body;
    struct fault why;
    struct cli_question question = {.method = "GET",
                                    .path = "/admin/v1/requests?limit=1&nodes=this"};
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    cli_ask(cli, &question, &body, &why);
    buffer_done(&body);
}

static int rerate(const struct cli *cli, struct rerate_question *question, enum cli_format format)
{
    struct fault fault;
    struct config *config = cli_config_load(cli);
    if (config == NULL)
        return EXIT_FAILED;
    catch_up(cli);
    question->database = config->database;
    struct rerate_report *report = ledger_rerate(question, &fault);
    config_unref(config);
    if (report == NULL) {
        complaint_print("%s", fault.text);
        return EXIT_FAILED;
    }
    if (format == FORMAT_JSON)
        print_json(report, question->apply);
    else
        print_table(report, format == FORMAT_CSV);
    say_rest(report, question);
    rerate_report_free(report);
    return EXIT_GOOD;
}

int command_usage_rerate(struct cli *cli)
{
    enum cli_format format;
    struct fault fault;
    const char *since = cli_value(cli, "since"), *until = cli_value(cli, "until");
    int64_t now = clock_wall_us();
    struct rerate_question question = {.until_us = now,
                                       .price_of = price_of,
                                       .apply = cli_has(cli, "apply"),
                                       .why = cli_value(cli, "why")};
    if (cli->admin != NULL)
        return cli_misuse(cli,
                          "rating again is done where the ledger's files are, without --admin");
    if (!cli_format_find(cli_value(cli, "format"), &format))
        return cli_misuse(cli, "--format is table, json or csv, not \"%s\"",
                          cli_value(cli, "format"));
    if (cli_value(cli, "prices") == NULL || since == NULL)
        return cli_misuse(cli, "--prices FILE and --since WHEN are needed");
    if (!usage_time_read("since", text_of(since), now, &question.since_us, &fault) ||
        (until != NULL &&
         !usage_time_read("until", text_of(until), now, &question.until_us, &fault)))
        return cli_misuse(cli, "%s", fault.text);
    struct prices *prices = prices_load(cli_value(cli, "prices"), stderr);
    if (prices == NULL)
        return EXIT_FAILED;
    question.with = prices;
    int code = rerate(cli, &question, format);
    prices_free(prices);
    return code;
}
