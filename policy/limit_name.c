/* SPDX-License-Identifier: Apache-2.0 */
/* Names of limits, and the spans of the calendar. */
#include <stdio.h>

#include "policy/zone.h"

#define SECOND_US INT64_C(1000000)
#define DAY_US    (86400 * SECOND_US)

enum { DAY_S = 86400, HOUR_S = 3600 };

/* ---------------------------------------------------------------------------------- names */

struct unit {
    struct text name;
    int64_t us;
    char letter;
};

static const struct unit units[] = {
    {TEXT("day"), DAY_US, 'd'},
    {TEXT("hour"), HOUR_S *SECOND_US, 'h'},
    {TEXT("minute"), 60 * SECOND_US, 'm'},
    {TEXT("second"), SECOND_US, 's'},
};
enum { UNITS = sizeof(units) / sizeof(units[0]) };

static const struct text kinds[LIMIT_KINDS] = {
    [LIMIT_REQUESTS] = TEXT("requests"),           [LIMIT_INPUT_TOKENS] = TEXT("input_tokens"),
    [LIMIT_OUTPUT_TOKENS] = TEXT("output_tokens"), [LIMIT_TOKENS] = TEXT("tokens"),
    [LIMIT_CONCURRENT] = TEXT("concurrent"),       [LIMIT_MONEY] = TEXT("budget"),
};

static bool unit_read(struct text name, struct limit *limit)
{
    for (size_t i = 0; i < UNITS; i++)
        if (text_equal(name, units[i].name)) {
            limit->period = PERIOD_ROLLING;
            limit->window_us = units[i].us;
            return true;
        }
    return false;
}

bool limit_name_read(struct text name, struct limit *limit)
{
    if (text_equal(name, kinds[LIMIT_CONCURRENT])) {
        limit->kind = LIMIT_CONCURRENT;
        limit->period = PERIOD_NONE;
        limit->window_us = 0;
        return true;
    }
    static const enum limit_kind per_window[] = {LIMIT_REQUESTS, LIMIT_INPUT_TOKENS,
                                                 LIMIT_OUTPUT_TOKENS, LIMIT_TOKENS};
    size_t per = text_find(name, TEXT("_per_"));
    if (per == SIZE_MAX)
        return false;
    for (size_t i = 0; i < sizeof(per_window) / sizeof(per_window[0]); i++)
        if (text_equal(text_head(name, per), kinds[per_window[i]])) {
            if (!unit_read(text_from(name, per + 5), limit))
                return false;
            limit->kind = per_window[i];
            return true;
        }
    return false;
}

/* Money has calendar spans by the names of units, so that its windows are written in figures. */
static void window_write(const struct limit *limit, char *out, size_t most)
{
    for (size_t i = 0; i < UNITS; i++)
        if (limit->kind != LIMIT_MONEY && limit->window_us == units[i].us) {
            snprintf(out, most, "%.*s", TEXT_ARGS(units[i].name));
            return;
        }
    for (size_t i = 0; i < UNITS; i++)
        if (limit->window_us >= units[i].us && limit->window_us % units[i].us == 0) {
            snprintf(out, most, "%lld%c", (long long)(limit->window_us / units[i].us),
                     units[i].letter);
            return;
        }
    snprintf(out, most, "%lldus", (long long)limit->window_us);
}

static const char *const spans[] = {
    [PERIOD_NONE] = "",       [PERIOD_ROLLING] = "",  [PERIOD_HOUR] = "hour",
    [PERIOD_DAY] = "day",     [PERIOD_WEEK] = "week", [PERIOD_MONTH] = "month",
    [PERIOD_TOTAL] = "total",
};

void limit_name_write(const struct limit *limit, char out[48])
{
    struct text kind = kinds[limit->kind];
    char window[24];
    switch (limit->period) {
    case PERIOD_NONE:
        snprintf(out, 48, "%.*s", TEXT_ARGS(kind));
        break;
    case PERIOD_ROLLING:
        window_write(limit, window, sizeof(window));
        snprintf(out, 48, "%.*s_per_%s", TEXT_ARGS(kind), window);
        break;
    case PERIOD_TOTAL:
        snprintf(out, 48, "%.*s_total", TEXT_ARGS(kind));
        break;
    case PERIOD_HOUR:
    case PERIOD_DAY:
    case PERIOD_WEEK:
    case PERIOD_MONTH:
        snprintf(out, 48, "%.*s_per_%s%s", TEXT_ARGS(kind),
                 limit->kind == LIMIT_MONEY ? "" : "calendar_", spans[limit->period]);
        break;
    }
}

/* ------------------------------------------------------------------------------- calendar */

/* Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". Years begin in March here. */
int64_t days_of(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void days_read(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t of_era = days - era * 146097;
    int64_t years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * years + years / 4 - years / 100);
    int64_t months = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * months + 2) / 5 + 1);
    *month = (int)(months < 10 ? months + 3 : months - 9);
    *year = years + era * 400 + (*month <= 2);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* The day on which the span begins that <day> is in, and the one on which the next begins. */
static void span_days(enum limit_period period, int64_t day, int64_t *first, int64_t *next)
{
    int64_t year;
    int month, of_month;
    *first = day;
    *next = day + 1;
    if (period == PERIOD_WEEK) {
        *first = day - ((day + 3) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
        *next = *first + 7;
    } else if (period == PERIOD_MONTH) {
        days_read(day, &year, &month, &of_month);
        *first = days_of(year, month, 1);
        *next = month == 12 ? days_of(year + 1, 1, 1) : days_of(year, month + 1, 1);
    }
}

static void day_bounds(enum limit_period period, const struct zone *zone, int64_t second,
                       int64_t *begin, int64_t *end)
{
    int64_t day = floor_div(second + zone_offset(zone, second), DAY_S), first, next;
    span_days(period, day, &first, &next);
    *end = zone_begin(zone, next * DAY_S);
    /* Where clocks are turned back over midnight, the day that began first goes on. */
    if (second >= *end) {
        span_days(period, next, &first, &next);
        *end = zone_begin(zone, next * DAY_S);
    }
    *begin = zone_begin(zone, first * DAY_S);
}

size_t limits_met(const struct limit_list *limits)
{
    size_t general = 0, most = 0;
    for (size_t i = 0; i < limits->count; i++) {
        size_t same = 0;
        general += limits->at[i].model.len == 0;
        for (size_t j = 0; limits->at[i].model.len && j < limits->count; j++)
            same += text_equal(limits->at[j].model, limits->at[i].model);
        most = same > most ? same : most;
    }
    return general + most;
}

bool limit_has_same(const struct limit_list *list, const struct limit *limit)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct limit *other = &list->at[i];
        if (other->kind == limit->kind && other->period == limit->period &&
            (limit->period != PERIOD_ROLLING || other->window_us == limit->window_us) &&
            text_equal(other->model, limit->model))
            return true;
    }
    return false;
}

void period_bounds(enum limit_period period, const struct zone *zone, int64_t wall_us,
                   int64_t *begin_us, int64_t *end_us)
{
    /* Some 30,000 years around 1970: no sum below can overflow. */
    const int64_t most = INT64_C(1000000000000) * SECOND_US;
    int64_t wall = wall_us < -most ? -most : wall_us > most ? most : wall_us;
    int64_t second = floor_div(wall, SECOND_US), begin = 0, end = 0;
    switch (period) {
    case PERIOD_HOUR:
        begin = floor_div(second + zone_offset(zone, second), HOUR_S) * HOUR_S -
                zone_offset(zone, second);
        end = begin + HOUR_S;
        break;
    case PERIOD_DAY:
    case PERIOD_WEEK:
    case PERIOD_MONTH:
        day_bounds(period, zone, second, &begin, &end);
        break;
    case PERIOD_NONE:
    case PERIOD_ROLLING:
    case PERIOD_TOTAL:
        *begin_us = 0;
        *end_us = INT64_MAX;
        return;
    }
    *begin_us = begin * SECOND_US;
    *end_us = end * SECOND_US;
}
