/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What became of declared revisions, as it is kept over restarts and told to whoever leads next:
 * lines of "<name> <words>" (verdict.h), of those in whose place another revision serves.
 */
#include "deploy/models/desk_inside.h"
#include "deploy/models/verdict.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"

static void put_line(struct deployments *desk, const struct fleet_verdict *verdict,
                     struct buffer *lines)
{
    struct fleet_view view;
    struct buffer words;
    buffer_init(&words, VERDICT_BYTES);
    fleet_look(desk->fleet, verdict->name, &view, clock_now_us()); /* not on the loop's thread */
    if (verdict_write(&words, verdict, view.spec))
        buffer_format(lines, "%.*s %.*s\n", TEXT_ARGS(verdict->name),
                      TEXT_ARGS(buffer_text(&words)));
    else
        log_line(LOG_WARN, "deploy",
                 "%.*s: what serves in the place of what is declared is too large to be kept: it "
                 "does not hold over a restart",
                 TEXT_ARGS(verdict->name));
    buffer_done(&words);
}

void deployments_verdicts(struct deployments *deployments, struct buffer *lines)
{
    struct fleet_verdict verdict;
    desk_lock(deployments);
    for (size_t i = 0; fleet_verdict(deployments->fleet, i, &verdict); i++)
        if (verdict.served)
            put_line(deployments, &verdict, lines);
    desk_unlock(deployments);
}

static void recall(struct deployments *desk, struct text name, struct text words)
{
    struct fleet_verdict verdict = {.name = name};
    struct fleet_view view;
    if (!fleet_look(desk->fleet, name, &view, clock_now_us()))
        return;
    if (words.len == 0 || !verdict_read(words, view.spec, &verdict))
        verdict.declared = view.spec->digest; /* nothing is known of it */
    fleet_recall_verdict(desk->fleet, &verdict, clock_now_us());
    spec_unref(verdict.served);
}

void desk_recall_verdicts(struct deployments *desk, struct text lines)
{
    struct table said;
    struct text line, name;
    struct fleet_verdict one;
    table_init(&said);
    while (text_next(&lines, '\n', &line))
        if (text_next(&line, ' ', &name) && name.len > 0) {
            recall(desk, name, line);
            table_set(&said, name, desk);
        }
    for (size_t i = 0; fleet_verdict(desk->fleet, i, &one); i++)
        if (!table_find(&said, one.name))
            recall(desk, one.name, (struct text){"", 0});
    table_done(&said);
}

void deployments_recall_verdicts(struct deployments *deployments, struct text lines)
{
    desk_lock(deployments);
    desk_recall_verdicts(deployments, lines);
    desk_unlock(deployments);
}
