/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What deployments have spent, as it is kept over restarts and told to whoever leads next: lines of
 * "<name> <nano-dollars> <when it came to be, in seconds of the wall clock>".
 */
#include "deploy/models/desk_inside.h"
#include "gateway/base/clock.h"

enum { SECOND_US = 1000000 };

void deployments_spent(struct deployments *deployments, struct buffer *lines)
{
    struct deployments *desk = deployments;
    struct fleet_spent one;
    struct fleet_view view;
    uint64_t now = clock_now_us(); /* its loop's belongs to another thread */
    desk_lock(desk);
    for (size_t i = 0; fleet_spent(desk->fleet, i, &one, now); i++) {
        fleet_look_at(desk->fleet, i, &view, now);
        if (one.nanos == 0 && view.spec->max_age_us == 0)
            continue;
        buffer_format(lines, "%.*s %lld %lld\n", TEXT_ARGS(one.name), (long long)one.nanos,
                      (long long)((clock_wall_us() - one.age_us) / SECOND_US));
    }
    desk_unlock(desk);
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
    *spent = (struct fleet_spent){name, (int64_t)nanos, now - (int64_t)since_s * SECOND_US};
    return true;
}

void deployments_recall_spent(struct deployments *deployments, struct text lines)
{
    struct deployments *desk = deployments;
    struct text line;
    struct fleet_spent spent;
    desk_lock(desk);
    while (text_next(&lines, '\n', &line))
        if (read_spent(line, &spent))
            fleet_recall_spent(desk->fleet, &spent, desk_now(desk));
    desk_unlock(desk);
}
