/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Random days of a fleet: what comes at random times, and one day after the other from seeds.
 *
 * SLUICE_FLEET_SEEDS says how many, SLUICE_FLEET_SEED which one alone; TRACE shows it.
 */

#include "tests/unit/deploy/models/fleet_world.h"

enum { DAY_EVENTS = 8 };

static struct {
    uint64_t end_us;
    uint64_t next_us[DAY_EVENTS]; /* when each kind of event comes; 0 = it does not */
} day;

/* Of <length_us> from now; the first of <kinds> events come in a minute or less: <within_us>. */
static void day_begin(uint64_t length_us, size_t kinds, uint64_t within_us)
{
    memset(&day, 0, sizeof(day));
    day.end_us = world.now_us + length_us;
    for (size_t i = 0; i < kinds; i++)
        day.next_us[i] = world.now_us + between(0, within_us);
}

/* Is it time for <what>? Comes again in <every_us>, on average. */
static bool comes(size_t what, uint64_t every_us)
{
    if (!day.next_us[what] || day.next_us[what] > world.now_us)
        return false;
    day.next_us[what] = world.now_us + between(1, 2 * every_us);
    return true;
}

static uint64_t day_next(void)
{
    uint64_t next_us = day.end_us;
    for (size_t i = 0; i < DAY_EVENTS; i++)
        sooner(&next_us, day.next_us[i]);
    return next_us;
}

/* <play> as many days as was asked for, or else <usual>; how many that were. */
static uint64_t days_play(uint64_t usual, void (*play)(uint64_t seed))
{
    const char *alone = getenv("SLUICE_FLEET_SEED"), *many = getenv("SLUICE_FLEET_SEEDS");
    uint64_t first = alone ? strtoull(alone, NULL, 10) : 1;
    uint64_t seeds = alone ? 1 : many ? strtoull(many, NULL, 10) : usual;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        snprintf(world_seed, sizeof(world_seed), "%llu", (unsigned long long)seed);
        play(seed);
    }
    return seeds;
}
