/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/hindsight.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/memory.h"

enum { CALLS_MAX = 4 << 20 };

/* A running mean of differences, and how far they are apart (Welford). */
struct spread {
    double mean, squares;
    int64_t count;
};

struct seen {
    char id[HINDSIGHT_NAME_BYTES];
    int64_t recorded, replayed; /* times it was chosen */
    int64_t failed;             /* of <recorded> */
};

struct record {
    uint16_t was, is; /* places among the targets */
};

struct hindsight {
    const struct route_policy *policy;
    int64_t since_us;
    struct text model;
    struct seen targets[HINDSIGHT_TARGETS_MAX];
    size_t target_count;
    struct record *records;
    size_t record_count, room;
    int64_t seen, calls, left_out, other;
    struct spread cost, first, total; /* what is replayed less what was recorded */
    double cost_was, first_was, total_was;
    struct decision decision;     /* of the record that is looked at */
    struct considered considered; /* the same */
};

struct hindsight *hindsight_new(const struct route_policy *policy, int64_t since_us,
                                struct text model)
{
    struct hindsight *hindsight = memory_new(sizeof(*hindsight));
    hindsight->policy = policy;
    hindsight->since_us = since_us;
    hindsight->model = model;
    return hindsight;
}

void hindsight_free(struct hindsight *hindsight)
{
    if (!hindsight)
        return;
    memory_free(hindsight->records);
    memory_free(hindsight);
}

static void add(struct spread *spread, double value)
{
    double off = value - spread->mean;
    spread->count++;
    spread->mean += off / (double)spread->count;
    spread->squares += off * (value - spread->mean);
}

/* Half of the interval that holds the true mean in 95 of 100 cases. */
static double half_interval(const struct spread *spread)
{
    if (spread->count < 2)
        return 0;
    double variance = spread->squares / (double)(spread->count - 1);
    return 1.96 * sqrt(variance / (double)spread->count);
}

/* ------------------------------------------------------------------------------- one call */

bool hindsight_is_out(const struct hindsight *hindsight, bool struck, const struct prediction *p)
{
    const struct route_policy *policy = hindsight->policy;
    bool slow = policy->max_ttft_us > 0 && p->first_p95_us > policy->max_ttft_us;
    bool dear = policy->max_cost_nanos > 0 && p->cost_nanos > policy->max_cost_nanos;
    return struck || slow || dear;
}

/* The same as routing does: the lowest priority that is left, then the policy. */
static size_t pick(const struct route_policy *policy, const struct considered *considered,
                   uint64_t turn)
{
    struct bid bids[ROUTE_TARGETS_MAX];
    size_t places[ROUTE_TARGETS_MAX], count = 0;
    unsigned lowest = UINT32_MAX;
    const char *why;
    for (size_t i = 0; i < considered->count; i++)
        if (!considered->out[i] && considered->targets[i].priority < lowest)
            lowest = considered->targets[i].priority;
    for (size_t i = 0; i < considered->count; i++) {
        const struct target *target = &considered->targets[i];
        if (considered->out[i] || target->priority != lowest)
            continue;
        places[count] = i;
        bids[count++] = (struct bid){
            .prediction = &considered->predictions[i],
            .score = strategy_score(policy, &considered->predictions[i]),
            .weight = target->weight,
            .identity = affinity_hash(target->id, 1),
        };
    }
    if (!count)
        return considered->count;
    struct chance chance = {.random = strategy_mix(turn), .turn = turn};
    return places[strategy_pick(policy, bids, count, &chance, &why)];
}

static size_t place_of(struct hindsight *hindsight, struct text id)
{
    for (size_t i = 0; i < hindsight->target_count; i++)
        if (text_equal(text_of(hindsight->targets[i].id), id))
            return i;
    if (hindsight->target_count == HINDSIGHT_TARGETS_MAX)
        return HINDSIGHT_TARGETS_MAX;
    snprintf(hindsight->targets[hindsight->target_count].id, HINDSIGHT_NAME_BYTES, "%.*s",
             TEXT_ARGS(id));
    return hindsight->target_count++;
}

static void keep(struct hindsight *hindsight, size_t was, size_t is)
{
    if (hindsight->record_count == hindsight->room) {
        hindsight->room = hindsight->room ? 2 * hindsight->room : 1024;
        hindsight->records =
            memory_resize(hindsight->records, hindsight->room * sizeof(*hindsight->records));
    }
    hindsight->records[hindsight->record_count++] = (struct record){(uint16_t)was, (uint16_t)is};
    hindsight->other += was != is;
}

static void compare(struct hindsight *hindsight, const struct considered *considered, size_t was,
                    size_t is)
{
    const struct prediction *a = &considered->predictions[was], *b = &considered->predictions[is];
    hindsight->cost_was += (double)a->cost_nanos;
    hindsight->first_was += (double)a->first_us;
    hindsight->total_was += (double)a->total_us;
    add(&hindsight->cost, (double)(b->cost_nanos - a->cost_nanos));
    add(&hindsight->first, (double)(b->first_us - a->first_us));
    add(&hindsight->total, (double)(b->total_us - a->total_us));
}

void hindsight_see(struct hindsight *hindsight, const struct considered *considered, size_t was,
                   bool failed)
{
    hindsight->seen++;
    size_t is = considered->count, place_was = HINDSIGHT_TARGETS_MAX,
           place_is = HINDSIGHT_TARGETS_MAX;
    if (was < considered->count && hindsight->record_count < CALLS_MAX) {
        is = pick(hindsight->policy, considered, (uint64_t)hindsight->seen);
        if (is == considered->count)
            is = was; /* nobody was left: as it was then, the least bad one */
        place_was = place_of(hindsight, considered->targets[was].id);
        place_is = place_of(hindsight, considered->targets[is].id);
    }
    if (place_was == HINDSIGHT_TARGETS_MAX || place_is == HINDSIGHT_TARGETS_MAX) {
        hindsight->left_out++;
        return;
    }
    hindsight->calls++;
    hindsight->targets[place_was].recorded++;
    hindsight->targets[place_is].replayed++;
    hindsight->targets[place_was].failed += failed;
    keep(hindsight, place_was, place_is);
    compare(hindsight, considered, was, is);
}

void hindsight_see_record(void *with, struct text record)
{
    struct hindsight *hindsight = with;
    struct decision *decision = &hindsight->decision;
    struct considered *considered = &hindsight->considered;
    if (!decision_read(record, decision)) {
        hindsight->left_out++;
        return;
    }
    if (decision->end.wall_us < hindsight->since_us ||
        (hindsight->model.len && !text_equal(decision->model, hindsight->model)))
        return;
    considered->count = decision->count;
    for (size_t i = 0; i < decision->count; i++) {
        const struct decision_candidate *one = &decision->candidates[i];
        bool struck = one->strike != STRIKE_NONE && one->strike != STRIKE_SLOW;
        considered->targets[i] =
            (struct target){.id = one->target, .priority = one->priority, .weight = one->weight};
        considered->predictions[i] = one->prediction;
        considered->out[i] = hindsight_is_out(hindsight, struck, &one->prediction);
    }
    hindsight_see(hindsight, considered, decision->chosen,
                  decision->end.attempts > 1 || decision->end.status >= 500);
}

/* --------------------------------------------------------------------------------- report */

/* Of a target's calls one in so many fails; of one that was never asked nobody knows, and it is
 * taken for as good as all together. */
static double share_failed(const struct hindsight *hindsight, size_t place)
{
    const struct seen *seen = &hindsight->targets[place];
    int64_t calls = 0, failed = 0;
    if (seen->recorded > 0)
        return (double)seen->failed / (double)seen->recorded;
    for (size_t i = 0; i < hindsight->target_count; i++) {
        calls += hindsight->targets[i].recorded;
        failed += hindsight->targets[i].failed;
    }
    return calls ? (double)failed / (double)calls : 0;
}

static double failures(const struct hindsight *hindsight, struct spread *spread)
{
    double was = 0;
    for (size_t i = 0; i < hindsight->record_count; i++) {
        double before = share_failed(hindsight, hindsight->records[i].was);
        was += before;
        add(spread, share_failed(hindsight, hindsight->records[i].is) - before);
    }
    return hindsight->record_count ? was / (double)hindsight->record_count : 0;
}

static struct hindsight_figure figure_of(double was, double scale, const struct spread *change)
{
    return (struct hindsight_figure){.recorded = was / scale,
                                     .difference = change->mean / scale,
                                     .half_interval = half_interval(change) / scale};
}

void hindsight_report(const struct hindsight *hindsight, struct hindsight_report *report)
{
    static const struct {
        const char *title, *name, *unit;
    } words[HINDSIGHT_FIGURES] = {{"cost", "cost_usd", "USD"},
                                  {"first token", "first_ms", "ms"},
                                  {"whole answer", "total_ms", "ms"},
                                  {"failing tries", "failing", ""}};
    struct spread failed = {0};
    double share = failures(hindsight, &failed);
    double calls = hindsight->calls > 0 ? (double)hindsight->calls : 1;
    *report = (struct hindsight_report){
        .calls = hindsight->calls,
        .to_another_target = hindsight->other,
        .left_out = hindsight->left_out,
        .figures = {figure_of(hindsight->cost_was / calls, 1e9, &hindsight->cost),
                    figure_of(hindsight->first_was / calls, 1000, &hindsight->first),
                    figure_of(hindsight->total_was / calls, 1000, &hindsight->total),
                    figure_of(share, 1, &failed)}};
    for (size_t i = 0; i < HINDSIGHT_FIGURES; i++) {
        report->figures[i].title = words[i].title;
        report->figures[i].name = words[i].name;
        report->figures[i].unit = words[i].unit;
    }
}

bool hindsight_target(const struct hindsight *hindsight, size_t i, struct hindsight_target *target)
{
    if (i >= hindsight->target_count)
        return false;
    const struct seen *seen = &hindsight->targets[i];
    *target = (struct hindsight_target){text_of(seen->id), seen->recorded, seen->replayed};
    return true;
}

static void write_number(struct json_write *json, const char *name, double value)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.9g", value);
    json_name(json, name);
    json_raw(json, text_of(digits));
}

static void write_figure(struct json_write *json, const struct hindsight_figure *figure)
{
    json_name(json, figure->name);
    json_open(json, '{');
    write_number(json, "recorded", figure->recorded);
    write_number(json, "replayed", figure->recorded + figure->difference);
    write_number(json, "difference", figure->difference);
    write_number(json, "half_interval", figure->half_interval);
    json_close(json, '}');
}

void hindsight_write(const struct hindsight *hindsight, struct json_write *json)
{
    struct hindsight_report report;
    struct hindsight_target target;
    hindsight_report(hindsight, &report);
    json_open(json, '{');
    json_int_member(json, "calls", report.calls);
    json_int_member(json, "to_another_target", report.to_another_target);
    json_int_member(json, "left_out", report.left_out);
    for (size_t i = 0; i < HINDSIGHT_FIGURES; i++)
        write_figure(json, &report.figures[i]);
    json_name(json, "targets");
    json_open(json, '[');
    for (size_t i = 0; hindsight_target(hindsight, i, &target); i++) {
        json_open(json, '{');
        json_text_member(json, "target", target.id);
        json_int_member(json, "recorded", target.recorded);
        json_int_member(json, "replayed", target.replayed);
        json_close(json, '}');
    }
    json_close(json, ']');
    json_close(json, '}');
}
