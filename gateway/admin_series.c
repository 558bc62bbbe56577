/* SPDX-License-Identifier: Apache-2.0 */
/* Series over time, for charts. On the ledger's desk. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/admin_inside.h"
#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "gateway/service_state.h"
#include "gateway/usage_query.h"

enum {
    POINTS_MAX = 5000,
    ROWS_MAX = 200000,
    TOP_DEFAULT = 20,
    TOP_MAX = 100,
    NAME_MAX_BYTES = 600
};

/* ---------------------------------------------------------------------------- metrics */

/* What is shown is sum / count where it is a mean, else the sum. */
struct metric {
    const char *name, *unit;
    bool is_mean;
    void (*read)(const struct usage_row *row, int64_t *sum, int64_t *count);
};

static void read_requests(const struct usage_row *row, int64_t *sum, int64_t *count)
{
    *sum = row->requests;
    *count = 1;
}

static void read_errors(const struct usage_row *row, int64_t *sum, int64_t *count)
{
    *sum = row->errors;
    *count = 1;
}

static int64_t add(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static void read_tokens(const struct usage_row *row, int64_t *sum, int64_t *count)
{
    *sum = add(row->usage.input_tokens, row->usage.output_tokens);
    *count = 1;
}

static void read_input(const struct usage_row *row, int64_t *sum, int64_t *count)
{
    *sum = row->usage.input_tokens;
    *count = 1;
}

static void read_cached(const struct usage_row *row, int64_t *sum, int64_t *count)
{
    *sum = row->usage.cached_tokens;
    *count = 1;
}

static void read_output(const struct usage_row *row, int64_t *sum, int64_t *count)
{
    *sum = row->usage.output_tokens;
    *count = 1;
}

static void read_cost(const struct usage_row *row, int64_t *sum, int64_t *count)
{
    *sum = row->cost_nanos;
    *count = 1;
}

static void read_saved(const struct usage_row *row, int64_t *sum, int64_t *count)
{
    *sum = row->saved_nanos;
    *count = 1;
}

static void read_latency(const struct usage_row *row, int64_t *sum, int64_t *count)
{
    *sum = row->duration_us;
    *count = row->requests;
}

static void read_ttft(const struct usage_row *row, int64_t *sum, int64_t *count)
{
    *sum = row->ttft_us;
    *count = row->ttfts;
}

static void read_overhead(const struct usage_row *row, int64_t *sum, int64_t *count)
{
    *sum = row->overhead_us;
    *count = row->requests;
}

/* clang-format off */
static const struct metric metrics[] = {
    {"requests",      "calls",  false, read_requests},
    {"errors",        "calls",  false, read_errors},
    {"tokens",        "tokens", false, read_tokens},
    {"input_tokens",  "tokens", false, read_input},
    {"cached_tokens", "tokens", false, read_cached},
    {"output_tokens", "tokens", false, read_output},
    {"cost",          "nanos",  false, read_cost},
    {"saved",         "nanos",  false, read_saved},
    {"latency",       "us",     true,  read_latency},
    {"ttft",          "us",     true,  read_ttft},
    {"overhead",      "us",     true,  read_overhead},
};
/* clang-format on */

static const struct metric *find_metric(struct text name)
{
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        if (text_equal(name, text_of(metrics[i].name)))
            return &metrics[i];
    return NULL;
}

/* ---------------------------------------------------------------------------- the question */

struct step {
    enum usage_by by;
    int64_t seconds, up_to; /* taken for stretches of up to so many seconds */
};
static const struct step steps[] = {
    {BY_MINUTE, 60, 6 * 3600}, {BY_HOUR, 3600, 14 * 86400}, {BY_DAY, 86400, INT64_MAX}};

struct series_question {
    const struct metric *metric;
    const struct step *step;
    size_t top;
    char by[32]; /* empty = all together */
    struct usage_query usage;
    struct admin_filter filter;
};

static bool read_metric(struct admin_call *call, struct series_question *question)
{
    char room[ADMIN_VALUE_BYTES];
    struct text value;
    if (!admin_value(call, "metric", room, &value))
        return false;
    question->metric = value.len > 0 ? find_metric(value) : &metrics[0];
    if (question->metric == NULL)
        admin_field_problem(call, 400, "metric",
                            TEXT("metric is one of requests errors tokens input_tokens "
                                 "cached_tokens output_tokens cost saved latency ttft overhead"));
    return question->metric != NULL;
}

static bool read_by(struct admin_call *call, struct series_question *question)
{
    char room[ADMIN_VALUE_BYTES];
    struct text value;
    enum usage_by by;
    if (!admin_value(call, "by", room, &value))
        return false;
    if (value.len > 0 && (!usage_by_find(value, &by) || by >= BY_MINUTE)) {
        admin_field_problem(call, 400, "by",
                            TEXT("by is one of tenant key user model target provider operation "
                                 "status outcome"));
        return false;
    }
    snprintf(question->by, sizeof question->by, "%.*s", TEXT_ARGS(value));
    return true;
}

static bool read_top(struct admin_call *call, struct series_question *question)
{
    char room[ADMIN_VALUE_BYTES];
    struct text value;
    uint64_t top = TOP_DEFAULT;
    if (!admin_value(call, "top", room, &value))
        return false;
    if (value.len > 0 && (!text_number(value, TOP_MAX, &top) || top == 0)) {
        admin_field_problem(call, 400, "top", TEXT("top is a number from 1 to 100"));
        return false;
    }
    question->top = (size_t)top;
    return true;
}

/* Minutes, hours or days: as asked, or as fits the stretch of time. */
static bool read_step(struct admin_call *call, struct series_question *question)
{
    char room[ADMIN_VALUE_BYTES];
    struct text value;
    int64_t seconds = (question->usage.until_us - question->usage.since_us) / 1000000;
    if (!admin_value(call, "step", room, &value))
        return false;
    question->step = NULL;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && question->step == NULL; i++)
        if (value.len > 0 ? text_equal(value, text_of(usage_by_name(steps[i].by)))
                          : seconds <= steps[i].up_to)
            question->step = &steps[i];
    if (question->step == NULL)
        admin_field_problem(call, 400, "step", TEXT("step is minute, hour or day"));
    else if (seconds / question->step->seconds > POINTS_MAX)
        admin_field_problem(call, 400, "step",
                            TEXT("that would be more than 5000 points; take a longer step or less "
                                 "time"));
    else
        return true;
    return false;
}

static bool read_question(struct admin_call *call, struct series_question *question)
{
    struct admin_times times;
    struct fault fault;
    if (!read_metric(call, question) || !read_by(call, question) || !read_top(call, question) ||
        !admin_times_read(call, TEXT("24h"), &times) || !admin_filter_read(call, &question->filter))
        return false;
    /* A key's name is its tenant's own. */
    struct text by = strcmp(question->by, "key") == 0 ? TEXT("tenant,key") : text_of(question->by);
    bool is_single = by.len == 0;
    if (!usage_query_read(is_single ? TEXT("operation") : by, times.since, times.until,
                          clock_wall_us(), &question->usage, &fault)) {
        admin_field_problem(call, 400, fault.param, text_of(fault.text));
        return false;
    }
    if (!read_step(call, question))
        return false;
    question->usage.by_count -= is_single;
    question->usage.by[question->usage.by_count++] = question->step->by;
    question->usage.filter = &question->filter.calls;
    question->usage.rows_max = ROWS_MAX;
    return true;
}

/* ---------------------------------------------------------------------------- the answer */

struct point {
    int64_t at_s, sum, count;
};

struct line {
    char *name;
    int64_t sum, count;
    struct point *points;
    size_t points_count, room;
    struct line *shown_as; /* itself, or the line of the others */
};

struct lines {
    struct table by_name;
    struct line **order;
    size_t count;
    struct line others;
};

static struct text name_of_row(const struct series_question *question, const struct usage_row *row,
                               char room[NAME_MAX_BYTES])
{
    size_t names = question->usage.by_count - 1;
    if (names == 0)
        return TEXT("all");
    int len = names == 1 ? snprintf(room, NAME_MAX_BYTES, "%s", row->by[0])
                         : snprintf(room, NAME_MAX_BYTES, "%s/%s", row->by[0], row->by[1]);
    return text_head((struct text){room, (size_t)len}, NAME_MAX_BYTES - 1);
}

static void line_add(struct line *line, const struct metric *metric, const struct usage_row *row)
{
    int64_t sum, count;
    metric->read(row, &sum, &count);
    line->sum = add(line->sum, sum);
    line->count = add(line->count, count);
}

/* Rows come in the order of time. */
static void point_add(struct line *line, const struct metric *metric, const struct usage_row *row,
                      int64_t at_s)
{
    int64_t sum, count;
    metric->read(row, &sum, &count);
    if (line->points_count == 0 || line->points[line->points_count - 1].at_s != at_s) {
        if (line->points_count == line->room) {
            line->room = line->room > 0 ? line->room * 2 : 16;
            line->points = memory_resize(line->points, line->room * sizeof *line->points);
        }
        line->points[line->points_count++] = (struct point){.at_s = at_s};
    }
    struct point *point = &line->points[line->points_count - 1];
    point->sum = add(point->sum, sum);
    point->count = add(point->count, count);
}

static int larger_first(const void *one, const void *two)
{
    const struct line *a = *(struct line *const *)one, *b = *(struct line *const *)two;
    if (a->sum != b->sum)
        return a->sum < b->sum ? 1 : -1;
    return strcmp(a->name, b->name);
}

/* One line per name, the largest first. */
static void lines_make(struct lines *lines, const struct series_question *question,
                       const struct usage_report *report)
{
    char room[NAME_MAX_BYTES];
    table_init(&lines->by_name);
    lines->order = memory_new((report->count + 1) * sizeof(struct line *));
    for (size_t i = 0; i < report->count; i++) {
        struct text name = name_of_row(question, &report->rows[i], room);
        struct line *line = table_find(&lines->by_name, name);
        if (line == NULL) {
            line = memory_new(sizeof *line);
            line->name = memory_string(name);
            line->shown_as = line;
            table_set(&lines->by_name, text_of(line->name), line);
            lines->order[lines->count++] = line;
        }
        line_add(line, question->metric, &report->rows[i]);
    }
    qsort(lines->order, lines->count, sizeof *lines->order, larger_first);
    for (size_t i = question->top; i < lines->count; i++)
        lines->order[i]->shown_as = &lines->others;
}

static int64_t time_of(const char *z)
{
    struct tm utc = {0};
    const char *end = strptime(z, strchr(z, 'T') != NULL ? "%Y-%m-%dT%H:%MZ" : "%Y-%m-%d", &utc);
    assert(end != NULL && *end == 0); /* our own writing */
    return (int64_t)timegm(&utc);
}

static void lines_fill(struct lines *lines, const struct series_question *question,
                       const struct usage_report *report)
{
    char room[NAME_MAX_BYTES];
    for (size_t i = 0; i < report->count; i++) {
        const struct usage_row *row = &report->rows[i];
        struct line *line = table_find(&lines->by_name, name_of_row(question, row, room));
        if (line->shown_as == &lines->others)
            line_add(&lines->others, question->metric, row);
        point_add(line->shown_as, question->metric, row,
                  time_of(row->by[question->usage.by_count - 1]));
    }
}

static void lines_free(struct lines *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        memory_free(lines->order[i]->points);
        memory_free(lines->order[i]->name);
        memory_free(lines->order[i]);
    }
    memory_free(lines->others.points);
    memory_free(lines->order);
    table_done(&lines->by_name);
}

static void write_value(const struct metric *metric, int64_t sum, int64_t count,
                        struct json_write *json)
{
    if (metric->is_mean && count == 0)
        json_null(json);
    else
        json_int(json, metric->is_mean ? sum / count : sum);
}

static void write_line(const struct series_question *question, const struct line *line,
                       const char *name, struct json_write *json)
{
    json_open(json, '{');
    json_text_member(json, "name", text_of(name));
    json_name(json, "total");
    write_value(question->metric, line->sum, line->count, json);
    json_name(json, "points");
    json_open(json, '[');
    for (size_t i = 0; i < line->points_count; i++) {
        json_open(json, '[');
        json_int(json, line->points[i].at_s);
        write_value(question->metric, line->points[i].sum, line->points[i].count, json);
        json_close(json, ']');
    }
    json_close(json, ']');
    json_close(json, '}');
}

static void write_answer(const struct series_question *question, const struct lines *lines,
                         struct json_write *json)
{
    json_open(json, '{');
    json_text_member(json, "metric", text_of(question->metric->name));
    json_text_member(json, "unit", text_of(question->metric->unit));
    json_text_member(json, "step", text_of(usage_by_name(question->step->by)));
    json_int_member(json, "step_s", question->step->seconds);
    json_int_member(json, "since", question->usage.since_us / 1000000);
    json_int_member(json, "until", question->usage.until_us / 1000000);
    json_name(json, "by");
    if (question->by[0] != 0)
        json_text(json, text_of(question->by));
    else
        json_null(json);
    json_name(json, "series");
    json_open(json, '[');
    for (size_t i = 0; i < lines->count && i < question->top; i++)
        write_line(question, lines->order[i], lines->order[i]->name, json);
    json_close(json, ']');
    json_name(json, "others"); /* what the series above leave out, together */
    if (lines->count > question->top)
        write_line(question, &lines->others, "", json);
    else
        json_null(json);
    json_close(json, '}');
}

void admin_series(struct service *service, struct config *config, struct admin_call *call)
{
    struct series_question question;
    struct fault fault;
    (void)config;
    if (!read_question(call, &question) ||
        !admin_nodes_read(service, call, &question.usage.with_others))
        return;
    struct usage_report *report = usage_query_run(&question.usage, service->start, &fault);
    if (report == NULL) {
        admin_ledger_problem(call, &fault);
        return;
    }
    struct lines lines = {.count = 0};
    struct json_write json = {.out = &call->out};
    lines_make(&lines, &question, report);
    lines_fill(&lines, &question, report);
    usage_report_free(report);
    write_answer(&question, &lines, &json);
    lines_free(&lines);
    admin_done(call, &json);
}
