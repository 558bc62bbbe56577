/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * zone - a time zone of the system's tz database: when it is what time there.
 *
 * Written against: RFC 8536 (TZif, versions 1 to 3), and for the rule behind the last change, POSIX
 * 8.3 TZ with the extensions of RFC 8536 3.3.1. Why not localtime_r(): it knows one zone per
 * process.
 *
 * A zone never changes once it is made; any thread may ask it. NULL is UTC everywhere.
 */

#include "policy/limits.h"

enum {
    ZONE_NAME_MAX = 64,
    ZONE_FILE_MAX = 256 * 1024,
    ZONES_MAX = 1024, /* that a process keeps; there are about 600 */
};

/* A zone of the bytes of a TZif file; NULL when they are none. Free it with zone_free(). */
struct zone *zone_read(struct text bytes);
void zone_free(struct zone *zone);
/* What zone_find() found it by; lives as long as the process. */
struct text zone_name(const struct zone *zone);

/* Seconds east of UTC at that second since 1970. */
int64_t zone_offset(const struct zone *zone, int64_t second);
/* When the offset next changes after <second>; INT64_MAX = never. */
int64_t zone_change(const struct zone *zone, int64_t second);
/* The first second at which it is <local> (seconds since 1970 as a clock on the wall shows them) or
 * later. */
int64_t zone_begin(const struct zone *zone, int64_t local);

/* Days since 1970-01-01 of a date in the Gregorian calendar (month 1..12), and back. */
int64_t days_of(int64_t year, int month, int day);
void days_read(int64_t days, int64_t *year, int *month, int *day);
