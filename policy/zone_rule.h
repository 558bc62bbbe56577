/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * zone_rule - "CET-1CEST,M3.5.0,M10.5.0/3": a zone's time for ever after its last written change.
 *
 * Written against: POSIX.1-2017 8.3 (TZ), with hours of -167 to 167 as in RFC 8536 3.3.1.
 */

#include "gateway/base/text.h"

enum zone_day_kind {
    DAY_OF_YEAR, /* 0 to 365 */
    DAY_NO_LEAP, /* 1 to 365; the 29th of February is not counted */
    DAY_OF_WEEK, /* a weekday in a week of a month; week 5 is the last */
};

struct zone_day {
    enum zone_day_kind kind;
    int day; /* of the year, or of the week: 0 = Sunday */
    int week, month;
    int64_t second; /* of that day, on the clock that is to change */
};

struct zone_rule {
    int64_t standard, summer; /* seconds east of UTC */
    bool has_summer;
    struct zone_day begin, end; /* of summer */
};

bool zone_rule_read(struct text text, struct zone_rule *rule);
int64_t zone_rule_offset(const struct zone_rule *rule, int64_t second);
/* When the offset next changes after <second>; INT64_MAX = never. */
int64_t zone_rule_change(const struct zone_rule *rule, int64_t second);
