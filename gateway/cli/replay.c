/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What another policy would have chosen: the decisions that were kept (decisions.h), or those in an
 * access log, go through the same picker again, with what was predicted then.
 *
 * Both choices are weighed by the predictions, so that the difference of the two is that of the
 * policies and not of the predictions; the faults of a target are those of its calls in the log.
 */
#include <inttypes.h>
#include <math.h>
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
#include "gateway/usage_query.h"
#include "routing/decision.h"
#include "routing/route.h"

enum { LINE_BYTES_MAX = 256 << 10, TARGETS_MAX = 256, NAME_BYTES = 256, RECORDS_MAX = 4 << 20 };

/* A running mean of differences, and how far they are apart (Welford). */
struct spread {
    double mean, squares;
    int64_t count;
};

struct seen {
    char id[NAME_BYTES];
    int64_t recorded, replayed; /* times it was chosen */
    int64_t failed;             /* of <recorded> */
};

struct record {
    uint16_t was, is; /* places among the targets */
};

struct replay_run {
    const struct route_policy *policy;
    char since[CLOCK_STAMP_BYTES]; /* "" = all */
    int64_t since_us;              /* the same; 0 */
    const char *model;
    struct seen targets[TARGETS_MAX];
    size_t target_count;
    struct record *records;
    size_t record_count, room;
    int64_t lines, calls, incomplete, other;
    struct spread cost, first, total; /* what is replayed less what was recorded */
    double cost_was, first_was, total_was;
};

static void add(struct spread *spread, double value)
{
    double off = value - spread->mean;
    spread->count++;
    spread->mean += off / (double)spread->count;
    spread->squares += off * (value - spread->mean);
}

/* Half of the interval that holds the true mean in 95 of 100 cases. */
static double half_interval(const struct spread *spread)
{
    if (spread->count < 2)
        return 0;
    double variance = spread->squares / (double)(spread->count - 1);
    return 1.96 * sqrt(variance / (double)spread->count);
}

/* ------------------------------------------------------------------------------- one line */

struct lined {
    struct target targets[ROUTE_TARGETS_MAX];
    struct prediction predictions[ROUTE_TARGETS_MAX];
    bool out[ROUTE_TARGETS_MAX];
    char names[ROUTE_TARGETS_MAX][NAME_BYTES];
    size_t count;
};

/* A target that was out for it was too slow may not be that for another policy. */
static bool is_out(const struct route_policy *policy, struct text strike,
                   const struct prediction *p)
{
    bool slow = policy->max_ttft_us > 0 && p->first_p95_us > policy->max_ttft_us;
    bool dear = policy->max_cost_nanos > 0 && p->cost_nanos > policy->max_cost_nanos;
    return (strike.len > 0 && !text_equal(strike, TEXT("slow"))) || slow || dear;
}

static void read_candidate(const struct route_policy *policy, struct text one, struct lined *lined)
{
    size_t i = lined->count++;
    char word[NAME_BYTES];
    struct text strike = cli_member_text(one, "strike", word, sizeof word);
    struct prediction *p = &lined->predictions[i];
    *p = (struct prediction){
        .first_us = cli_member_int(one, "first_us"),
        .first_p95_us = cli_member_int(one, "p95_us"),
        .total_us = cli_member_int(one, "total_us"),
        .wait_us = cli_member_int(one, "wait_us"),
        .token_ns = cli_member_int(one, "token_ns"),
        .cost_nanos = cli_member_int(one, "cost_nanos"),
        .known = true,
    };
    lined->targets[i] = (struct target){
        .id = cli_member_text(one, "target", lined->names[i], NAME_BYTES),
        .priority = (unsigned)cli_member_int(one, "priority"),
        .weight = (unsigned)cli_member_int(one, "weight"),
    };
    lined->out[i] = is_out(policy, strike, p);
}

static bool read_decision(const struct route_policy *policy, struct text decision,
                          struct lined *lined)
{
    struct text list = cli_member(decision, "candidates"), name, one;
    lined->count = 0;
    while (list.at && member_next(&list, &name, &one)) {
        if (lined->count == ROUTE_TARGETS_MAX)
            return false;
        read_candidate(policy, one, lined);
    }
    return lined->count > 0 && !cli_member(decision, "left_out").at;
}

/* The same as routing does: the lowest priority that is left, then the policy. */
static size_t pick(const struct route_policy *policy, const struct lined *lined, uint64_t turn)
{
    struct bid bids[ROUTE_TARGETS_MAX];
    size_t places[ROUTE_TARGETS_MAX], count = 0;
    unsigned lowest = UINT32_MAX;
    const char *why;
    for (size_t i = 0; i < lined->count; i++)
        if (!lined->out[i] && lined->targets[i].priority < lowest)
            lowest = lined->targets[i].priority;
    for (size_t i = 0; i < lined->count; i++) {
        const struct target *target = &lined->targets[i];
        if (lined->out[i] || target->priority != lowest)
            continue;
        places[count] = i;
        bids[count++] = (struct bid){
            .prediction = &lined->predictions[i],
            .score = strategy_score(policy, &lined->predictions[i]),
            .weight = target->weight,
            .identity = affinity_hash(target->id, 1),
        };
    }
    if (!count)
        return lined->count;
    struct chance chance = {.random = strategy_mix(turn), .turn = turn};
    return places[strategy_pick(policy, bids, count, &chance, &why)];
}

/* ---------------------------------------------------------------------------- all of them */

static size_t place_of(struct replay_run *run, struct text id)
{
    for (size_t i = 0; i < run->target_count; i++)
        if (text_equal(text_of(run->targets[i].id), id))
            return i;
    if (run->target_count == TARGETS_MAX)
        return TARGETS_MAX;
    snprintf(run->targets[run->target_count].id, NAME_BYTES, "%.*s", TEXT_ARGS(id));
    return run->target_count++;
}

static void keep(struct replay_run *run, size_t was, size_t is)
{
    if (run->record_count == run->room) {
        run->room = run->room ? 2 * run->room : 1024;
        run->records = memory_resize(run->records, run->room * sizeof(*run->records));
    }
    run->records[run->record_count++] = (struct record){(uint16_t)was, (uint16_t)is};
    run->other += was != is;
}

static void compare(struct replay_run *run, const struct lined *lined, size_t was, size_t is)
{
    const struct prediction *a = &lined->predictions[was], *b = &lined->predictions[is];
    run->cost_was += (double)a->cost_nanos;
    run->first_was += (double)a->first_us;
    run->total_was += (double)a->total_us;
    add(&run->cost, (double)(b->cost_nanos - a->cost_nanos));
    add(&run->first, (double)(b->first_us - a->first_us));
    add(&run->total, (double)(b->total_us - a->total_us));
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

/* What was considered, and chosen at place <was>; <failed>: that did not answer well. */
static void replay_one(struct replay_run *run, const struct lined *lined, size_t was, bool failed)
{
    size_t is = lined->count, place_was = TARGETS_MAX, place_is = TARGETS_MAX;
    if (was < lined->count && run->record_count < RECORDS_MAX) {
        is = pick(run->policy, lined, (uint64_t)run->lines);
        if (is == lined->count)
            is = was; /* nobody was left: as it was then, the least bad one */
        place_was = place_of(run, lined->targets[was].id);
        place_is = place_of(run, lined->targets[is].id);
    }
    if (place_was == TARGETS_MAX || place_is == TARGETS_MAX) {
        run->incomplete++;
        return;
    }
    run->calls++;
    run->targets[place_was].recorded++;
    run->targets[place_is].replayed++;
    run->targets[place_was].failed += failed;
    keep(run, place_was, place_is);
    compare(run, lined, was, is);
}

static void replay_line(struct replay_run *run, struct text line)
{
    static struct lined lined;
    char room[NAME_BYTES];
    struct text decision = member_find(line, TEXT("decision"));
    size_t was = 0;
    run->lines++;
    if (!decision.at || !is_meant(run, line))
        return;
    struct text choice = cli_member_text(decision, "choice", room, sizeof room);
    if (!read_decision(run->policy, decision, &lined))
        lined.count = 0;
    while (was < lined.count && !text_equal(lined.targets[was].id, choice))
        was++;
    replay_one(run, &lined, was, has_failed(line));
}

/* ------------------------------------------------------------------------- those that were kept */

static void replay_record(void *with, struct text record)
{
    static struct decision decision;
    static struct lined lined;
    struct replay_run *run = with;
    run->lines++;
    if (!decision_read(record, &decision)) {
        run->incomplete++;
        return;
    }
    if (decision.end.wall_us < run->since_us ||
        (run->model && !text_equal(decision.model, text_of(run->model))))
        return;
    lined.count = decision.count;
    for (size_t i = 0; i < decision.count; i++) {
        const struct decision_candidate *one = &decision.candidates[i];
        lined.targets[i] =
            (struct target){.id = one->target, .priority = one->priority, .weight = one->weight};
        lined.predictions[i] = one->prediction;
        struct text strike = text_of(strike_name(one->strike));
        if (one->strike == STRIKE_NONE)
            strike = TEXT("");
        lined.out[i] = is_out(run->policy, strike, &one->prediction);
    }
    replay_one(run, &lined, decision.chosen,
               decision.end.attempts > 1 || decision.end.status >= 500);
}

static int replay_kept(const struct cli *cli, struct replay_run *run)
{
    struct config *config = cli_config_load(cli);
    if (!config)
        return EXIT_FAILED;
    char *directory = memory_format("%s/decisions", config->state);
    bool good = decisions_each(directory, run->since_us, replay_record, run);
    int code = run->calls > 0 ? EXIT_GOOD : EXIT_NOT_FOUND;
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

/* Of a target's calls one in so many fails; of one that was never asked nobody knows, and it is
 * taken for as good as all together. */
static double share_failed(const struct replay_run *run, size_t place)
{
    const struct seen *seen = &run->targets[place];
    int64_t calls = 0, failed = 0;
    if (seen->recorded > 0)
        return (double)seen->failed / (double)seen->recorded;
    for (size_t i = 0; i < run->target_count; i++) {
        calls += run->targets[i].recorded;
        failed += run->targets[i].failed;
    }
    return calls ? (double)failed / (double)calls : 0;
}

static double failures(const struct replay_run *run, struct spread *spread)
{
    double was = 0;
    for (size_t i = 0; i < run->record_count; i++) {
        double before = share_failed(run, run->records[i].was);
        was += before;
        add(spread, share_failed(run, run->records[i].is) - before);
    }
    return run->record_count ? was / (double)run->record_count : 0;
}

struct row {
    const char *title, *name, *unit;
    double was, scale;
    const struct spread *change;
};

static void print_row(const struct row *row)
{
    double half = half_interval(row->change) / row->scale, change = row->change->mean / row->scale;
    double was = row->was / row->scale;
    printf("%-14s %14.6g %14.6g   %+.4g ± %.4g %s\n", row->title, was, was + change, change, half,
           row->unit);
}

static void write_row(const struct row *row)
{
    printf(
        "\"%s\":{\"recorded\":%.9g,\"replayed\":%.9g,\"difference\":%.9g,\"half_interval\":%.9g},",
        row->name, row->was / row->scale, (row->was + row->change->mean) / row->scale,
        row->change->mean / row->scale, half_interval(row->change) / row->scale);
}

static void print_table(const struct replay_run *run, const struct row *rows, size_t count)
{
    printf("%" PRId64 " calls, %" PRId64 " of them to another target", run->calls, run->other);
    if (run->incomplete)
        printf("; %" PRId64 " with an incomplete record left out", run->incomplete);
    printf("\n\n%-14s %14s %14s   %s\n", "PER CALL", "RECORDED", "REPLAYED", "DIFFERENCE (95 %)");
    for (size_t i = 0; i < count; i++)
        print_row(&rows[i]);
    printf("\n%-24s %10s %10s\n", "TARGET", "RECORDED", "REPLAYED");
    for (size_t i = 0; i < run->target_count; i++)
        printf("%-24s %10" PRId64 " %10" PRId64 "\n", run->targets[i].id, run->targets[i].recorded,
               run->targets[i].replayed);
}

static void print_json(const struct replay_run *run, const struct row *rows, size_t count)
{
    struct buffer out;
    struct json_write json = {.out = &out};
    printf("{\"calls\":%" PRId64 ",\"to_another_target\":%" PRId64 ",\"left_out\":%" PRId64 ",",
           run->calls, run->other, run->incomplete);
    for (size_t i = 0; i < count; i++)
        write_row(&rows[i]);
    buffer_init(&out, CLI_ANSWER_BYTES_MAX);
    json_open(&json, '[');
    for (size_t i = 0; i < run->target_count; i++) {
        json_open(&json, '{');
        json_text_member(&json, "target", text_of(run->targets[i].id));
        json_int_member(&json, "recorded", run->targets[i].recorded);
        json_int_member(&json, "replayed", run->targets[i].replayed);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    printf("\"targets\":%.*s}\n", TEXT_ARGS(buffer_text(&out)));
    buffer_done(&out);
}

static void report(const struct replay_run *run, bool as_json)
{
    struct spread failed = {0};
    double share = failures(run, &failed), calls = run->calls > 0 ? (double)run->calls : 1;
    const struct row rows[] = {
        {"cost", "cost_usd", "USD", run->cost_was / calls, 1e9, &run->cost},
        {"first token", "first_ms", "ms", run->first_was / calls, 1000, &run->first},
        {"whole answer", "total_ms", "ms", run->total_was / calls, 1000, &run->total},
        {"failing tries", "failing", "", share, 1, &failed},
    };
    size_t count = sizeof rows / sizeof *rows;
    if (as_json)
        print_json(run, rows, count);
    else
        print_table(run, rows, count);
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
    if (run->calls > 0)
        return EXIT_GOOD;
    complaint_print("there is no decision in these logs%s. They are kept as JSON, with "
                    "telemetry.access_log.decisions: true",
                    run->incomplete ? " that could be replayed" : "");
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
    struct replay_run *run = memory_new(sizeof(*run));
    run->policy = policy_file_policy(file);
    run->model = cli_value(cli, "model");
    int code = !read_since(cli, run) ? EXIT_USAGE
               : cli->argc > 0       ? replay_all(cli, run)
                                     : replay_kept(cli, run);
    if (code == EXIT_GOOD)
        report(run, format && strcmp(format, "json") == 0);
    memory_free(run->records);
    memory_free(run);
    policy_file_free(file);
    return code;
}
