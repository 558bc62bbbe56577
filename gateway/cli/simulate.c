/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>

#include "gateway/base/buffer.h"
#include "gateway/base/json_write.h"
#include "gateway/base/memory.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/table.h"
#include "gateway/config/scenario.h"

enum { SEEDS = 20, JSON_BYTES_MAX = 1 << 20 };

/* What was asked for, and what came out: results[picker * seeds + seed]. */
struct simulation {
    const struct simulate_scenario *scenario;
    struct simulate_picker pickers[RIVALS]; /* the first one is ours */
    size_t count;
    uint64_t seeds, first_seed;
    struct simulate_result *results;
};

static const struct simulate_result *results_of(const struct simulation *all, size_t picker)
{
    return &all->results[picker * all->seeds];
}

/* The mean over the seeds. */
static struct simulate_result average(const struct simulation *all, size_t picker)
{
    struct simulate_result sum = {0};
    double n = (double)all->seeds;
    for (size_t i = 0; i < all->seeds; i++) {
        const struct simulate_result *one = &results_of(all, picker)[i];
        sum.first_mean += one->first_mean / n;
        sum.first_p50 += one->first_p50 / n;
        sum.first_p99 += one->first_p99 / n;
        sum.first_p999 += one->first_p999 / n;
        sum.total_mean += one->total_mean / n;
        sum.total_p99 += one->total_p99 / n;
        sum.within += one->within / n;
        sum.quiet_within += one->quiet_within / n;
        sum.errors += one->errors / n;
        sum.extra += one->extra / n;
        sum.cost += one->cost / n;
        sum.spread += one->spread / n;
        sum.hits += one->hits / n;
        sum.in_flight += one->in_flight / n;
        sum.judged += one->judged / n;
        sum.calls += one->calls;
    }
    return sum;
}

static struct simulate_interval against(const struct simulation *all, size_t picker)
{
    double ours[SIMULATE_SEEDS_MAX], theirs[SIMULATE_SEEDS_MAX];
    for (size_t i = 0; i < all->seeds; i++) {
        ours[i] = results_of(all, 0)[i].judged;
        theirs[i] = results_of(all, picker)[i].judged;
    }
    return simulate_compare(ours, theirs, all->seeds);
}

/* Is ours better than that? Less is better. */
static const char *verdict(const struct simulate_interval *interval)
{
    return interval->high < 0 ? "better" : interval->low > 0 ? "worse" : "tied";
}

/* ---------------------------------------------------------------------------------- words */

static void number_cell(struct cli_table *table, double value)
{
    char digits[64];
    snprintf(digits, sizeof digits, fabs(value) >= 100 ? "%.1f" : "%.4f", value);
    table_cell(table, text_of(digits));
}

static void percent_cell(struct cli_table *table, double share)
{
    char digits[64];
    snprintf(digits, sizeof digits, "%.3f", share * 100);
    table_cell(table, text_of(digits));
}

static void put_row(struct cli_table *table, const struct simulation *all, size_t picker)
{
    struct simulate_result mean = average(all, picker);
    char words[96] = "";
    table_cell(table, text_of(all->pickers[picker].name));
    number_cell(table, mean.judged);
    percent_cell(table, mean.within);
    number_cell(table, mean.first_p50);
    number_cell(table, mean.first_p99);
    number_cell(table, mean.first_p999);
    number_cell(table, mean.total_mean);
    number_cell(table, mean.cost);
    percent_cell(table, mean.errors);
    percent_cell(table, mean.extra);
    number_cell(table, mean.spread);
    percent_cell(table, mean.hits);
    if (picker > 0) {
        struct simulate_interval interval = against(all, picker);
        snprintf(words, sizeof words, "%s %+.4f [%+.4f, %+.4f]", verdict(&interval), interval.mean,
                 interval.low, interval.high);
    }
    table_cell(table, text_of(words));
}

static const char *judged_words(const struct simulate_scenario *scenario)
{
    switch ((enum judged)scenario->judged) {
    case JUDGED_MISSES:
        return scenario->noisy_share > 0 ? "share of the quiet tenants' calls beyond the objective"
                                         : "share of the calls beyond the objective";
    case JUDGED_FIRST:
        return "mean time to the first token, s";
    case JUDGED_FIRST_P99:
        return "p99 of the time to the first token, s";
    case JUDGED_TOTAL:
        return "mean time of the whole answer, s";
    case JUDGED_ERRORS:
        return "share of the calls that failed";
    case JUDGED_BILL:
        return "USD per 1,000 calls, with what misses cost";
    }
    return "";
}

static void print_table(const struct simulation *all)
{
    static const char *const columns[] = {"judged",  "within %", "ttft p50", "p99",
                                          "p99.9",   "total",    "USD/1k",   "errors %",
                                          "extra %", "spread",   "hits %"};
    struct cli_table table;
    const struct simulate_scenario *scenario = all->scenario;
    printf("%.*s: %.*s\n", TEXT_ARGS(scenario->name), TEXT_ARGS(scenario->about));
    printf("judged: %s; %" PRIu64 " seeds from %" PRIu64 "\n", judged_words(scenario), all->seeds,
           all->first_seed);
    table_begin(&table);
    table_column(&table, "picker", false);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        table_column(&table, columns[i], true);
    table_column(&table, "ours against it, 95 %", false);
    for (size_t i = 0; i < all->count; i++)
        put_row(&table, all, i);
    table_print(&table, stdout);
    table_end(&table);
}

/* ----------------------------------------------------------------------------------- JSON */

static void number_member(struct json_write *json, const char *name, double value)
{
    char digits[64];
    json_name(json, name);
    if (!isfinite(value)) {
        json_null(json);
        return;
    }
    snprintf(digits, sizeof digits, "%.9g", value);
    json_raw(json, text_of(digits));
}

static void write_picker(struct json_write *json, const struct simulation *all, size_t picker)
{
    struct simulate_result mean = average(all, picker);
    json_open(json, '{');
    json_text_member(json, "picker", text_of(all->pickers[picker].name));
    json_int_member(json, "calls", (int64_t)mean.calls);
    number_member(json, "judged", mean.judged);
    number_member(json, "within", mean.within);
    number_member(json, "quiet_within", mean.quiet_within);
    number_member(json, "ttft_mean", mean.first_mean);
    number_member(json, "ttft_p50", mean.first_p50);
    number_member(json, "ttft_p99", mean.first_p99);
    number_member(json, "ttft_p999", mean.first_p999);
    number_member(json, "total_mean", mean.total_mean);
    number_member(json, "total_p99", mean.total_p99);
    number_member(json, "usd_per_1000", mean.cost);
    number_member(json, "errors", mean.errors);
    number_member(json, "extra_tries", mean.extra);
    number_member(json, "spread", mean.spread);
    number_member(json, "prefix_hits", mean.hits);
    number_member(json, "in_flight", mean.in_flight);
    if (picker > 0) {
        struct simulate_interval interval = against(all, picker);
        json_text_member(json, "ours", text_of(verdict(&interval)));
        number_member(json, "difference", interval.mean);
        number_member(json, "low", interval.low);
        number_member(json, "high", interval.high);
    }
    json_close(json, '}');
}

static void print_json(const struct simulation *all)
{
    struct buffer out;
    buffer_init(&out, JSON_BYTES_MAX);
    struct json_write json = {.out = &out};
    json_open(&json, '{');
    json_text_member(&json, "scenario", all->scenario->name);
    json_text_member(&json, "about", all->scenario->about);
    json_text_member(&json, "judged", text_of(judged_words(all->scenario)));
    json_int_member(&json, "seeds", (int64_t)all->seeds);
    json_int_member(&json, "first_seed", (int64_t)all->first_seed);
    json_name(&json, "pickers");
    json_open(&json, '[');
    for (size_t i = 0; i < all->count; i++)
        write_picker(&json, all, i);
    json_close(&json, ']');
    json_close(&json, '}');
    struct text all_of_it = buffer_text(&out);
    printf("%.*s\n", TEXT_ARGS(all_of_it));
    buffer_done(&out);
}

/* -------------------------------------------------------------------------------- options */

static bool add_rivals(struct simulation *all, const struct cli *cli)
{
    const char *list = cli_value(cli, "against");
    const char *names[RIVALS];
    struct text rest, name;
    for (int i = RIVAL_NONE + 1; i < RIVALS; i++) {
        names[i - 1] = rival_name((enum rival)i);
        if (list == NULL)
            all->pickers[all->count++] =
                (struct simulate_picker){.name = rival_name((enum rival)i), .rival = (enum rival)i};
    }
    rest = text_of(list != NULL ? list : "");
    while (list != NULL && text_next(&rest, ',', &name)) {
        enum rival rival = rival_find(name.at, name.len);
        if (rival == RIVAL_NONE || all->count == RIVALS) {
            const char *near = cli_nearest(name, names, RIVALS - 1);
            cli_misuse(cli, "nobody is called \"%.*s\"%s%s", TEXT_ARGS(text_head(name, 60)),
                       near != NULL ? "; did you mean " : "", near != NULL ? near : "");
            return false;
        }
        all->pickers[all->count++] =
            (struct simulate_picker){.name = rival_name(rival), .rival = rival};
    }
    return true;
}

static bool read_number(const struct cli *cli, const char *name, uint64_t min, uint64_t max,
                        uint64_t *number)
{
    const char *value = cli_value(cli, name);
    if (value == NULL)
        return true;
    if (text_number(text_of(value), max, number) && *number >= min)
        return true;
    cli_misuse(cli, "--%s takes a number from %" PRIu64 " to %" PRIu64, name, min, max);
    return false;
}

static void run_all(struct simulation *all)
{
    for (size_t p = 0; p < all->count; p++)
        for (size_t i = 0; i < all->seeds; i++)
            simulate_run(all->scenario, &all->pickers[p], all->first_seed + i,
                         &all->results[p * all->seeds + i]);
}

static int simulate_file(struct cli *cli, const char *path, struct simulation *all)
{
    const char *name = cli_value(cli, "policy");
    struct scenario *scenario = scenario_load(path, stderr);
    if (scenario == NULL)
        return EXIT_FAILED;
    struct simulate_picker *ours = &all->pickers[0];
    ours->name = name != NULL ? name : "sluice";
    ours->policy =
        name != NULL ? scenario_policy(scenario, text_of(name)) : scenario_default_policy(scenario);
    int code = EXIT_GOOD;
    if (ours->policy == NULL) {
        code = cli_misuse(cli, "%s has no policy \"%s\", and no strategy is called so", path, name);
    } else {
        all->scenario = scenario_is(scenario);
        run_all(all);
        if (cli_has(cli, "json"))
            print_json(all);
        else
            print_table(all);
    }
    scenario_free(scenario);
    return code;
}

int command_simulate(struct cli *cli)
{
    struct simulation all = {.count = 1, .seeds = SEEDS, .first_seed = 1};
    if (cli->argc == 0)
        return cli_misuse(cli, "which scenario? For example bench/scenarios/slow-node.yaml");
    if (!read_number(cli, "seeds", 1, SIMULATE_SEEDS_MAX, &all.seeds) ||
        !read_number(cli, "first-seed", 0, UINT32_MAX, &all.first_seed) || !add_rivals(&all, cli))
        return EXIT_USAGE;
    all.results = memory_new(all.count * all.seeds * sizeof *all.results);
    int code = EXIT_GOOD;
    for (int i = 0; i < cli->argc && code == EXIT_GOOD; i++) {
        if (i > 0 && !cli_has(cli, "json"))
            putchar('\n');
        code = simulate_file(cli, cli->argv[i], &all);
    }
    memory_free(all.results);
    return code;
}
