/* SPDX-License-Identifier: Apache-2.0 */
/* What another policy would have chosen (hindsight.h), of the decisions that were kept
 * (decisions.h) or of those in an access log. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/json_write.h"
#include "gateway/base/member.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/config/config.h"
#include "gateway/decisions.h"
#include "gateway/hindsight.h"
#include "gateway/usage_query.h"
#include "routing/decision.h"
#include "routing/route.h"

enum { LINE_BYTES_MAX = 256 << 10, NAME_BYTES = HINDSIGHT_NAME_BYTES };

struct replay_run {
    struct hindsight *hindsight;
    char since[CLOCK_STAMP_BYTES]; /* "" = all */
    int64_t since_us;              /* the same; 0 */
    const char *model;
};

/* ------------------------------------------------------------------------------- one line */

struct lined {
    struct considered considered;
    char names[ROUTE_TARGETS_MAX][NAME_BYTES];
};

static void read_candidate(const struct hindsight *hindsight, struct text one, struct lined *lined)
{
    struct considered *considered = &lined->considered;
    size_t i = considered->count++;
    char word[NAME_BYTES];
    struct text strike = cli_member_text(one, "strike", word, sizeof word);
    struct prediction *p = &considered->predictions[i];
    *p = (struct prediction){
        .first_us = cli_member_int(one, "first_us"),
        .first_p95_us = cli_member_int(one, "p95_us"),
        .total_us = cli_member_int(one, "total_us"),
        .wait_us = cli_member_int(one, "wait_us"),
        .token_ns = cli_member_int(one, "token_ns"),
        .cost_nanos = cli_member_int(one, "cost_nanos"),
        .known = true,
    };
    considered->targets[i] = (struct target){
        .id = cli_member_text(one, "target", lined->names[i], NAME_BYTES),
        .priority = (unsigned)cli_member_int(one, "priority"),
        .weight = (unsigned)cli_member_int(one, "weight"),
    };
    bool struck = strike.len > 0 && !text_equal(strike, text_of(strike_name(STRIKE_SLOW)));
    considered->out[i] = hindsight_is_out(hindsight, struck, p);
}

static bool read_decision(const struct hindsight *hindsight, struct text decision,
                          struct lined *lined)
{
    struct text list = cli_member(decision, "candidates"), name, one;
    lined->considered.count = 0;
    while (list.at && member_next(&list, &name, &one)) {
        if (lined->considered.count == ROUTE_TARGETS_MAX)
            return false;
        read_candidate(hindsight, one, lined);
    }
    return lined->considered.count > 0 && !cli_member(decision, "left_out").at;
}

static bool is_meant(const struct replay_run *run, struct text line)
{
    char room[NAME_BYTES];
    struct text stamp = cli_member_text(line, "ts", room, sizeof room);
    if (run->since[0] && (stamp.len < 19 || memcmp(stamp.at, run->since, 19) < 0))
        return false;
    if (!run->model)
        return true;
    return text_equal(cli_member_text(line, "model", room, sizeof room), text_of(run->model));
}

/* Its first choice has failed: another one answered, or nobody. */
static bool has_failed(struct text line)
{
    return cli_member_int(line, "attempts") > 1 || cli_member_int(line, "status") >= 500;
}

static void replay_line(struct replay_run *run, struct text line)
{
    static struct lined lined;
    const struct considered *considered = &lined.considered;
    char room[NAME_BYTES];
    struct text decision = member_find(line, TEXT("decision"));
    size_t was = 0;
    if (!decision.at || !is_meant(run, line))
        return;
    struct text choice = cli_member_text(decision, "choice", room, sizeof room);
    if (!read_decision(run->hindsight, decision, &lined))
        lined.considered.count = 0;
    while (was < considered->count && !text_equal(considered->targets[was].id, choice))
        was++;
    hindsight_see(run->hindsight, considered, was, has_failed(line));
}

static struct hindsight_report report_of(const struct replay_run *run)
{
    struct hindsight_report report;
    hindsight_report(run->hindsight, &report);
    return report;
}

/* ------------------------------------------------------------------------- those that were kept */

static int replay_kept(const struct cli *cli, struct replay_run *run)
{
    struct config *config = cli_config_load(cli);
    if (!config)
        return EXIT_FAILED;
    char *directory = memory_format("%s/decisions", config->state);
    bool good = decisions_each(directory, run->since_us, hindsight_see_record, run->hindsight);
    int code = report_of(run).calls > 0 ? EXIT_GOOD : EXIT_NOT_FOUND;
    if (!good) {
        complaint_print("%s cannot be read", directory);
        code = EXIT_FAILED;
    } else if (code != EXIT_GOOD) {
        complaint_print("no decision of these calls is kept in %s. How long they are says "
                        "store.retention.decisions",
                        directory);
    }
    memory_free(directory);
    config_unref(config);
    return code;
}

static bool replay_file(struct replay_run *run, const char *path)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    char *line = memory_new(LINE_BYTES_MAX);
    bool good = file != NULL;
    while (good && fgets(line, LINE_BYTES_MAX, file))
        if (line[0] == '{')
            replay_line(run, text_of(line));
    good = good && !ferror(file);
    if (file && file != stdin)
        fclose(file);
    memory_free(line);
    return good;
}

/* --------------------------------------------------------------------------------- report */

static void print_figure(const struct hindsight_figure *figure)
{
    printf("%-14s %14.6g %14.6g   %+.4g ± %.4g %s\n", figure->title, figure->recorded,
           figure->recorded + figure->difference, figure->difference, figure->half_interval,
           figure->unit);
}

static void print_table(const struct replay_run *run)
{
    struct hindsight_report report = report_of(run);
    struct hindsight_target target;
    printf("%" PRId64 " calls, %" PRId64 " of them to another target", report.calls,
           report.to_another_target);
    if (report.left_out)
        printf("; %" PRId64 " with an incomplete record left out", report.left_out);
    printf("\n\n%-14s %14s %14s   %s\n", "PER CALL", "RECORDED", "REPLAYED", "DIFFERENCE (95 %)");
    for (size_t i = 0; i < HINDSIGHT_FIGURES; i++)
        print_figure(&report.figures[i]);
    printf("\n%-24s %10s %10s\n", "TARGET", "RECORDED", "REPLAYED");
    for (size_t i = 0; hindsight_target(run->hindsight, i, &target); i++)
        printf("%-24.*s %10" PRId64 " %10" PRId64 "\n", TEXT_ARGS(target.id), target.recorded,
               target.replayed);
}

static void print_json(const struct replay_run *run)
{
    struct buffer out;
    struct json_write json = {.out = &out};
    buffer_init(&out, CLI_ANSWER_BYTES_MAX);
    hindsight_write(run->hindsight, &json);
    printf("%.*s\n", TEXT_ARGS(buffer_text(&out)));
    buffer_done(&out);
}

/* -------------------------------------------------------------------------------- command */

static bool read_since(const struct cli *cli, struct replay_run *run)
{
    const char *since = cli_value(cli, "since");
    struct fault fault = {0};
    if (!since)
        return true;
    if (!usage_time_read("since", text_of(since), clock_wall_us(), &run->since_us, &fault)) {
        cli_misuse(cli, "%s", fault.text);
        return false;
    }
    clock_stamp(run->since_us, run->since);
    return true;
}

static int replay_all(const struct cli *cli, struct replay_run *run)
{
    for (int i = 0; i < cli->argc; i++)
        if (!replay_file(run, cli->argv[i])) {
            complaint_print("%s cannot be read", cli->argv[i]);
            return EXIT_FAILED;
        }
    struct hindsight_report report = report_of(run);
    if (report.calls > 0)
        return EXIT_GOOD;
    complaint_print("there is no decision in these logs%s. They are kept as JSON, with "
                    "telemetry.access_log.decisions: true",
                    report.left_out ? " that could be replayed" : "");
    return EXIT_NOT_FOUND;
}

int command_replay(struct cli *cli)
{
    const char *path = cli_value(cli, "policy"), *format = cli_value(cli, "format");
    if (!path)
        return cli_misuse(cli, "which policy? Give --policy FILE");
    struct policy_file *file = policy_file_load(path, stderr);
    if (!file)
        return EXIT_FAILED;
    struct replay_run run = {.model = cli_value(cli, "model")};
    int code = EXIT_USAGE;
    if (read_since(cli, &run)) {
        run.hindsight = hindsight_new(policy_file_policy(file), run.since_us,
                                      run.model ? text_of(run.model) : TEXT(""));
        code = cli->argc > 0 ? replay_all(cli, &run) : replay_kept(cli, &run);
    }
    if (code == EXIT_GOOD && format && strcmp(format, "json") == 0)
        print_json(&run);
    else if (code == EXIT_GOOD)
        print_table(&run);
    hindsight_free(run.hindsight);
    policy_file_free(file);
    return code;
}
