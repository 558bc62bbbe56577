/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/zone_rule.h"

#include "policy/zone.h"

enum { DAY_S = 86400, HOUR_S = 3600 };

/* -------------------------------------------------------------------------------- reading */

static bool take_byte(struct text *rest, char byte)
{
    if (rest->len == 0 || rest->at[0] != byte)
        return false;
    *rest = text_from(*rest, 1);
    return true;
}

static bool take_number(struct text *rest, int64_t least, int64_t most, int64_t *number)
{
    size_t digits = 0;
    *number = 0;
    while (digits < rest->len && digits < 4 && rest->at[digits] >= '0' && rest->at[digits] <= '9')
        *number = *number * 10 + rest->at[digits++] - '0';
    *rest = text_from(*rest, digits);
    return digits > 0 && *number >= least && *number <= most;
}

/* At least three letters, or anything in <>. */
static bool take_name(struct text *rest)
{
    size_t len = 0;
    if (take_byte(rest, '<')) {
        len = text_find_byte(*rest, '>');
        *rest = text_from(*rest, len == SIZE_MAX ? rest->len : len + 1);
        return len != SIZE_MAX && len >= 3;
    }
    while (len < rest->len && ((rest->at[len] >= 'a' && rest->at[len] <= 'z') ||
                               (rest->at[len] >= 'A' && rest->at[len] <= 'Z')))
        len++;
    *rest = text_from(*rest, len);
    return len >= 3;
}

/* [+-]h[h[h]][:mm[:ss]] */
static bool take_time(struct text *rest, int64_t hours_max, int64_t *seconds)
{
    bool negative = take_byte(rest, '-');
    if (!negative)
        take_byte(rest, '+');
    int64_t hours, minutes = 0, rest_s = 0;
    if (!take_number(rest, 0, hours_max, &hours))
        return false;
    if (take_byte(rest, ':') && !take_number(rest, 0, 59, &minutes))
        return false;
    if (take_byte(rest, ':') && !take_number(rest, 0, 59, &rest_s))
        return false;
    *seconds = hours * HOUR_S + minutes * 60 + rest_s;
    if (negative)
        *seconds = -*seconds;
    return true;
}

/* M3.5.0 */
static bool take_weekday(struct text *rest, struct zone_day *day)
{
    int64_t month, week, weekday;
    if (!take_number(rest, 1, 12, &month) || !take_byte(rest, '.') ||
        !take_number(rest, 1, 5, &week) || !take_byte(rest, '.') ||
        !take_number(rest, 0, 6, &weekday))
        return false;
    day->kind = DAY_OF_WEEK;
    day->month = (int)month;
    day->week = (int)week;
    day->day = (int)weekday;
    return true;
}

static bool take_date(struct text *rest, struct zone_day *day)
{
    if (take_byte(rest, 'M'))
        return take_weekday(rest, day);
    bool no_leap = take_byte(rest, 'J');
    int64_t number;
    if (!take_number(rest, no_leap ? 1 : 0, 365, &number))
        return false;
    day->kind = no_leap ? DAY_NO_LEAP : DAY_OF_YEAR;
    day->day = (int)number;
    return true;
}

static bool take_day(struct text *rest, struct zone_day *day)
{
    if (!take_byte(rest, ',') || !take_date(rest, day))
        return false;
    day->second = 2 * HOUR_S;
    return !take_byte(rest, '/') || take_time(rest, 167, &day->second);
}

bool zone_rule_read(struct text text, struct zone_rule *rule)
{
    *rule = (struct zone_rule){0};
    int64_t west;
    if (!take_name(&text) || !take_time(&text, 24, &west))
        return false;
    rule->standard = -west;
    if (text.len == 0)
        return true;
    if (!take_name(&text))
        return false;
    rule->has_summer = true;
    rule->summer = rule->standard + HOUR_S;
    if (text.len > 0 && text.at[0] != ',') {
        if (!take_time(&text, 24, &west))
            return false;
        rule->summer = -west;
    }
    return take_day(&text, &rule->begin) && take_day(&text, &rule->end) && text.len == 0;
}

/* --------------------------------------------------------------------------------- asking */

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int64_t weekday_of(int64_t days)
{
    return ((days + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
}

static int64_t day_in_month(const struct zone_day *day, int64_t year)
{
    int64_t first = days_of(year, day->month, 1);
    int64_t next = day->month == 12 ? days_of(year + 1, 1, 1) : days_of(year, day->month + 1, 1);
    int64_t at = first + (day->day - weekday_of(first) + 7) % 7 + (day->week - 1) * 7;
    return at < next ? at : at - 7;
}

/* The change in that year, seen with the offset before it. */
static int64_t change_in(const struct zone_day *day, int64_t year, int64_t offset)
{
    int64_t days = days_of(year, 1, 1);
    switch (day->kind) {
    case DAY_OF_YEAR:
        days += day->day;
        break;
    case DAY_NO_LEAP:
        days += day->day - 1 + (is_leap(year) && day->day >= 60);
        break;
    case DAY_OF_WEEK:
        days = day_in_month(day, year);
        break;
    }
    return days * DAY_S + day->second - offset;
}

static int64_t year_at(const struct zone_rule *rule, int64_t second)
{
    int64_t local = second + rule->standard, year;
    int month, day;
    days_read(local / DAY_S - (local % DAY_S < 0), &year, &month, &day);
    return year;
}

/* The change at or before <second> that is the last, and the first after it. */
static void changes_around(const struct zone_rule *rule, int64_t second, bool *in_summer,
                           int64_t *next)
{
    int64_t year = year_at(rule, second), last = INT64_MIN;
    *in_summer = false;
    *next = INT64_MAX;
    for (int64_t y = year - 1; y <= year + 1; y++)
        for (int summer = 0; summer <= 1; summer++) {
            int64_t at = summer ? change_in(&rule->begin, y, rule->standard)
                                : change_in(&rule->end, y, rule->summer);
            if (at > second && at < *next)
                *next = at;
            /* Summer all the year ends when it begins: the beginning counts. */
            if (at <= second && at >= last) {
                last = at;
                *in_summer = summer;
            }
        }
}

int64_t zone_rule_offset(const struct zone_rule *rule, int64_t second)
{
    bool in_summer = false;
    int64_t next;
    if (rule->has_summer)
        changes_around(rule, second, &in_summer, &next);
    return in_summer ? rule->summer : rule->standard;
}

int64_t zone_rule_change(const struct zone_rule *rule, int64_t second)
{
    bool in_summer;
    int64_t next = INT64_MAX;
    if (rule->has_summer)
        changes_around(rule, second, &in_summer, &next);
    return next;
}
