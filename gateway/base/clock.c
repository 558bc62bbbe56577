/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/clock.h"

#include <stdio.h>
#include <time.h>

uint64_t clock_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

int64_t clock_wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

struct timespec clock_until(int64_t us)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += us % 1000000 * 1000;
    at.tv_sec += us / 1000000 + at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

void clock_stamp(int64_t wall_us, char stamp[CLOCK_STAMP_BYTES])
{
    time_t seconds = wall_us / 1000000;
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t len = strftime(stamp, CLOCK_STAMP_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp + len, CLOCK_STAMP_BYTES - len, ".%03dZ", (int)(wall_us / 1000 % 1000));
}
