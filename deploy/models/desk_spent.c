/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What deployments have spent, as it is kept over restarts and told to whoever leads next: lines of
 * "<name> <nano-dollars> <when it came to be, in seconds of the wall clock> <when this was so, in
 * milliseconds of it, where it was costing something; else 0> <the same since the boot> <which boot
 * that was>". Earlier versions have no fourth, or nothing behind it.
 *
 * How long ago that was is told by the wall clock only where the machine has booted since: it may
 * have been set meanwhile.
 */
#include "deploy/models/desk_inside.h"
#include "deploy/models/launch_mark.h"
#include "gateway/base/clock.h"

enum { SECOND_US = 1000000, MILLI_US = 1000 };

void deployments_spent(struct deployments *deployments, struct buffer *lines)
{
    struct deployments *desk = deployments;
    struct fleet_spent one;
    struct fleet_view view;
    uint64_t now = clock_now_us(); /* its loop's belongs to another thread */
    int64_t wall = clock_wall_us();
    char boot[BOOT_WORD_MAX];
    int64_t since_boot = mark_boot(boot);
    desk_lock(desk);
    for (size_t i = 0; fleet_spent(desk->fleet, i, &one, now); i++) {
        fleet_look_at(desk->fleet, i, &view, now);
        if (one.nanos == 0 && view.spec->max_age_us == 0 && view.nanos_per_hour == 0)
            continue;
        bool costs = view.nanos_per_hour > 0;
        buffer_format(lines, "%.*s %lld %lld %lld %lld %s\n", TEXT_ARGS(one.name),
                      (long long)one.nanos, (long long)((wall - one.age_us) / SECOND_US),
                      costs ? (long long)((wall - one.unseen_us) / MILLI_US) : 0LL,
                      costs ? (long long)((since_boot - one.unseen_us) / MILLI_US) : 0LL, boot);
    }
    desk_unlock(desk);
}

/* What follows the first three: how long ago it was. 0 = it does not say. */
static int64_t read_unseen(struct text line, int64_t now)
{
    struct text word = {"", 0};
    char boot[BOOT_WORD_MAX];
    uint64_t seen_ms = 0, seen_boot_ms = 0;
    int64_t since_boot = mark_boot(boot);
    if (!text_next(&line, ' ', &word) || !text_number(word, INT64_MAX / SECOND_US, &seen_ms))
        return 0;
    if (seen_ms == 0)
        return FLEET_UNSEEN;
    if (text_next(&line, ' ', &word) && text_number(word, INT64_MAX / SECOND_US, &seen_boot_ms) &&
        text_next(&line, ' ', &word) && word.len > 0 && text_equal(word, text_of(boot)))
        return since_boot - (int64_t)seen_boot_ms * MILLI_US;
    return now - (int64_t)seen_ms * MILLI_US;
}

static bool read_spent(struct text line, struct fleet_spent *spent)
{
    uint64_t nanos = 0, since_s = 0;
    struct text name = {"", 0}, word = {"", 0};
    int64_t now = clock_wall_us();
    if (!text_next(&line, ' ', &name) || !text_next(&line, ' ', &word) ||
        !text_number(word, INT64_MAX, &nanos) || !text_next(&line, ' ', &word) ||
        !text_number(word, INT64_MAX / SECOND_US, &since_s))
        return false;
    *spent = (struct fleet_spent){name, (int64_t)nanos, now - (int64_t)since_s * SECOND_US,
                                  read_unseen(line, now)};
    return true;
}

void deployments_recall_spent(struct deployments *deployments, struct text lines)
{
    struct deployments *desk = deployments;
    struct text line;
    struct fleet_spent spent;
    desk_lock(desk);
    while (text_next(&lines, '\n', &line))
        if (read_spent(line, &spent)) {
            if (desk->site.is_shared)
                spent.unseen_us = 0; /* whoever of the others was there has counted */
            fleet_recall_spent(desk->fleet, &spent, desk_now(desk));
        }
    if (!desk->site.is_shared)
        fleet_recalled_all(desk->fleet, desk_now(desk));
    desk_unlock(desk);
}
