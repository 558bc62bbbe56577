/* SPDX-License-Identifier: Apache-2.0 */
/* How long calls took, by percentiles of the calls themselves: sums have none. On the ledger's
 * desk. */
#include <stdlib.h>

#include "gateway/admin_inside.h"
#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/service_state.h"
#include "gateway/usage_query.h"

enum {
    CALLS_MAX = 20000, /* the last ones */
    PAGES_MAX = 5,     /* of ROWS_LOOK_MAX calls each, of which a filter may leave few */
    CATCH_UP_US = 1000000
};

enum figure { FIGURE_FIRST, FIGURE_ALL, FIGURE_OURS, FIGURES };

struct figures {
    size_t calls; /* that were looked at */
    struct {
        int64_t *us;
        size_t count, room;
    } of[FIGURES];
};

static void add(struct figures *figures, enum figure figure, int64_t us)
{
    size_t count = figures->of[figure].count;
    if (count == figures->of[figure].room) {
        size_t room = count ? 2 * count : 1024;
        figures->of[figure].us = memory_resize(figures->of[figure].us, room * sizeof(int64_t));
        figures->of[figure].room = room;
    }
    figures->of[figure].us[count] = us;
    figures->of[figure].count = count + 1;
}

/* What was cut or refused says nothing of how long an answer takes. */
static void see(void *with, const struct ledger_row *row)
{
    struct figures *figures = with;
    figures->calls++;
    if (row->outcome != LEDGER_COMPLETE)
        return;
    if (row->ttft_us > 0)
        add(figures, FIGURE_FIRST, row->ttft_us);
    add(figures, FIGURE_ALL, row->duration_us);
    add(figures, FIGURE_OURS, row->overhead_us);
}

static int by_size(const void *a, const void *b)
{
    int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
    return (one > other) - (one < other);
}

/* The nearest rank: the least that so many of a hundred are not above. */
static int64_t rank(const int64_t *us, size_t count, size_t percent)
{
    size_t place = (count * percent + 99) / 100;
    return us[place > 0 ? place - 1 : 0];
}

static void write_figure(struct figures *figures, enum figure figure, struct json_write *json)
{
    static const char *const names[FIGURES] = {"ttft_us", "duration_us", "overhead_us"};
    static const struct {
        const char *name;
        size_t percent;
    } ranks[] = {{"p50", 50}, {"p90", 90}, {"p95", 95}, {"p99", 99}, {"max", 100}};
    int64_t *us = figures->of[figure].us;
    size_t count = figures->of[figure].count;
    json_name(json, names[figure]);
    if (count == 0) {
        json_null(json);
        return;
    }
    qsort(us, count, sizeof *us, by_size);
    json_open(json, '{');
    json_int_member(json, "calls", (int64_t)count);
    for (size_t i = 0; i < sizeof ranks / sizeof ranks[0]; i++)
        json_int_member(json, ranks[i].name, rank(us, count, ranks[i].percent));
    json_close(json, '}');
}

static bool read_times(struct admin_call *call, struct rows_question *question)
{
    struct admin_times times;
    struct fault fault;
    int64_t now = clock_wall_us();
    question->until_us = INT64_MAX;
    if (!admin_times_read(call, TEXT("1h"), &times))
        return false;
    if (usage_time_read("since", times.since, now, &question->since_us, &fault) &&
        (times.until.len == 0 ||
         usage_time_read("until", times.until, now, &question->until_us, &fault)))
        return true;
    admin_field_problem(call, 400, fault.param, text_of(fault.text));
    return false;
}

/* Pages until there is no more, or it is enough; false: *fault. */
static bool read_calls(struct rows_question *question, struct rows_place *after,
                       struct figures *figures, bool *is_all, struct fault *fault)
{
    struct rows_place next;
    enum rows_result result;
    unsigned pages = 0;
    do {
        question->max = CALLS_MAX - figures->calls;
        result = rows_read(question, &next, fault);
        if (result == ROWS_MORE) {
            *after = next;
            question->after = after;
        }
    } while (result == ROWS_MORE && figures->calls < CALLS_MAX && ++pages < PAGES_MAX);
    *is_all = result == ROWS_END;
    return result != ROWS_FAILED;
}

void admin_percentiles(struct service *service, struct config *config, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    struct figures figures = {.calls = 0};
    struct admin_filter filter;
    struct rows_place after;
    struct fault fault;
    bool others_away = false, is_all = false;
    struct rows_question question = {.database = service->start->database,
                                     .see = see,
                                     .with = &figures,
                                     .others_away = &others_away};
    (void)config;
    if (!admin_nodes_read(service, call, &question.with_others) || !read_times(call, &question) ||
        !admin_filter_read(call, &filter))
        return;
    question.filter = filter.calls;
    bool is_up_to_date = ledger_catch_up(service->ledger, CATCH_UP_US);
    if (read_calls(&question, &after, &figures, &is_all, &fault)) {
        json_open(&json, '{');
        json_int_member(&json, "calls", (int64_t)figures.calls);
        json_bool_member(&json, "all", is_all);
        for (int i = 0; i < FIGURES; i++)
            write_figure(&figures, (enum figure)i, &json);
        json_bool_member(&json, "up_to_date", is_up_to_date && !others_away);
        json_close(&json, '}');
        admin_done(call, &json);
    } else {
        admin_ledger_problem(call, &fault);
    }
    for (int i = 0; i < FIGURES; i++)
        memory_free(figures.of[i].us);
}
