/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/quantity.h"

struct unit {
    struct text name;
    int64_t factor;
};

enum { MS = 1000, SECOND = 1000 * MS };
static const int64_t MINUTE = 60LL * SECOND, HOUR = 3600LL * SECOND, DAY = 86400LL * SECOND;
static const int64_t NANOS = 1000000000;

/* Digits, then one of the units (the first stands for none). */
static bool read_with_unit(struct text from, const struct unit *units, size_t count,
                           int64_t *result)
{
    size_t digits = 0;
    while (digits < from.len && from.at[digits] >= '0' && from.at[digits] <= '9')
        digits++;
    uint64_t number;
    if (!text_number(text_head(from, digits), INT64_MAX, &number))
        return false;
    struct text unit = text_from(from, digits);
    size_t i = 0;
    int64_t product;
    while (i < count && !text_equal(unit, units[i].name))
        i++;
    if (i == count || __builtin_mul_overflow((int64_t)number, units[i].factor, &product))
        return false;
    *result = product;
    return true;
}

bool duration_read(struct text from, int64_t *us)
{
    const struct unit units[] = {
        {TEXT("us"), 1},   {TEXT("ms"), MS}, {TEXT("s"), SECOND},  {TEXT("m"), MINUTE},
        {TEXT("h"), HOUR}, {TEXT("d"), DAY}, {TEXT("w"), 7 * DAY}, {TEXT("y"), 365 * DAY},
    };
    if (text_equal(from, TEXT("0"))) {
        *us = 0;
        return true;
    }
    return read_with_unit(from, units, sizeof(units) / sizeof(*units), us);
}

bool size_read(struct text from, int64_t *bytes)
{
    static const struct unit units[] = {
        {{"", 0}, 1},
        {{"B", 1}, 1},
        {{"kB", 2}, 1000},
        {{"MB", 2}, 1000 * 1000},
        {{"GB", 2}, 1000 * 1000 * 1000},
        {{"TB", 2}, 1000LL * 1000 * 1000 * 1000},
        {{"KiB", 3}, 1LL << 10},
        {{"MiB", 3}, 1LL << 20},
        {{"GiB", 3}, 1LL << 30},
        {{"TiB", 3}, 1LL << 40},
    };
    return read_with_unit(from, units, sizeof(units) / sizeof(*units), bytes);
}

bool decimal_read(struct text from, int64_t *nanos)
{
    size_t point = text_find_byte(from, '.');
    struct text whole = text_head(from, point);
    struct text part = point == SIZE_MAX ? TEXT("0") : text_from(from, point + 1);
    uint64_t units, fraction;
    if (!text_number(whole, INT64_MAX / (uint64_t)NANOS - 1, &units) || part.len > 9 ||
        !text_number(part, (uint64_t)NANOS, &fraction))
        return false;
    for (size_t i = part.len; i < 9; i++)
        fraction *= 10;
    *nanos = (int64_t)units * NANOS + (int64_t)fraction;
    return true;
}

bool money_read(struct text from, int64_t *nanos)
{
    struct text currency = TEXT(" USD");
    return text_ends(from, currency) &&
           decimal_read(text_head(from, from.len - currency.len), nanos);
}

/* Days since 1970-01-01 of a day of the Gregorian calendar (H. Hinnant, "chrono-compatible
 * low-level date algorithms"). */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool digits_at(struct text from, size_t at, size_t count, int64_t max, int64_t *number)
{
    uint64_t read;
    if (at + count > from.len ||
        !text_number((struct text){from.at + at, count}, (uint64_t)max, &read))
        return false;
    *number = (int64_t)read;
    return true;
}

static bool read_day(struct text from, int64_t *days)
{
    static const int lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t year, month, day;
    if (from.len < 10 || from.at[4] != '-' || from.at[7] != '-' ||
        !digits_at(from, 0, 4, 9999, &year) || !digits_at(from, 5, 2, 12, &month) ||
        !digits_at(from, 8, 2, 31, &day) || year < 1970 || month < 1 || day < 1 ||
        day > lengths[month - 1])
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (month == 2 && day == 29 && !leap)
        return false;
    *days = days_from_civil(year, month, day);
    return true;
}

/* What stands behind the seconds: "", ".5", then "Z" or "+01:00"; the offset in seconds. */
static bool read_zone(struct text zone, int64_t *offset)
{
    *offset = 0;
    if (zone.len > 1 && zone.at[0] == '.') {
        size_t end = 1;
        while (end < zone.len && zone.at[end] >= '0' && zone.at[end] <= '9')
            end++;
        if (end == 1)
            return false;
        zone = text_from(zone, end);
    }
    if (text_equal(zone, TEXT("Z")) || text_equal(zone, TEXT("z")))
        return true;
    int64_t hours, minutes;
    if (zone.len != 6 || (zone.at[0] != '+' && zone.at[0] != '-') || zone.at[3] != ':' ||
        !digits_at(zone, 1, 2, 23, &hours) || !digits_at(zone, 4, 2, 59, &minutes))
        return false;
    *offset = (hours * 3600 + minutes * 60) * (zone.at[0] == '+' ? 1 : -1);
    return true;
}

bool date_read(struct text from, int64_t *wall_us)
{
    int64_t days, hour = 0, minute = 0, second = 0, offset = 0;
    if (!read_day(from, &days))
        return false;
    if (from.len > 10) {
        if (from.len < 20 || (from.at[10] != 'T' && from.at[10] != 't' && from.at[10] != ' ') ||
            from.at[13] != ':' || from.at[16] != ':' || !digits_at(from, 11, 2, 23, &hour) ||
            !digits_at(from, 14, 2, 59, &minute) || !digits_at(from, 17, 2, 60, &second) ||
            !read_zone(text_from(from, 19), &offset))
            return false;
    }
    *wall_us = days * DAY + (hour * 3600 + minute * 60 + second - offset) * SECOND;
    return true;
}
