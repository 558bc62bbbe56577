/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "gateway/base/memory.h"
#include "routing/simulate_inside.h"

static int by_size(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

/* Of sorted values. */
static double quantile(const double *values, size_t count, double share)
{
    if (!count)
        return 0;
    size_t at = (size_t)ceil(share * (double)count);
    return values[at > 0 ? at - 1 : 0];
}

static double mean(const double *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return count ? sum / (double)count : 0;
}

static double spread_of(const struct simulate_scenario *scenario, const size_t *served)
{
    double sum = 0, squares = 0, count = (double)scenario->target_count;
    for (size_t i = 0; i < scenario->target_count; i++) {
        double load = (double)served[i] / scenario->targets[i].weight;
        sum += load;
        squares += load * load;
    }
    double average = sum / count, variance = squares / count - average * average;
    return average > 0 && variance > 0 ? sqrt(variance) / average : 0;
}

static int64_t cost_of(const struct simulate_scenario *scenario, const struct simulate_call *call)
{
    struct usage usage = {
        .input_tokens = scenario->input_tokens,
        .cached_tokens = call->hit ? scenario->prefix_tokens : 0,
        .output_tokens = call->tokens,
    };
    return price_cost(&scenario->targets[call->target].price, &usage);
}

/* Sums over the calls that count. */
struct sums {
    double *firsts, *totals; /* of those that were answered */
    size_t answered, counted, within, quiet, quiet_within, failed, tries, hits;
    int64_t cost;
};

static void add_up(const struct simulate_scenario *scenario, const struct simulate_call *calls,
                   size_t count, struct sums *sums)
{
    for (size_t i = 0; i < count; i++) {
        const struct simulate_call *call = &calls[i];
        if (!call->counts)
            continue;
        double first = (scenario->whole ? call->ended_at : call->first_at) - call->came_at;
        bool within = !call->failed && first * 1e6 <= (double)scenario->objective_us;
        sums->counted++;
        sums->tries += call->tries;
        sums->failed += call->failed;
        sums->within += within;
        sums->quiet += !call->noisy;
        sums->quiet_within += within && !call->noisy;
        if (call->failed)
            continue;
        sums->hits += call->hit;
        sums->cost += cost_of(scenario, call);
        sums->firsts[sums->answered] = first;
        sums->totals[sums->answered++] = call->ended_at - call->came_at;
    }
    qsort(sums->firsts, sums->answered, sizeof(double), by_size);
    qsort(sums->totals, sums->answered, sizeof(double), by_size);
}

static double judge(const struct simulate_scenario *scenario, const struct simulate_result *result)
{
    switch ((enum judged)scenario->judged) {
    case JUDGED_MISSES:
        return 1 - (scenario->noisy_share > 0 ? result->quiet_within : result->within);
    case JUDGED_FIRST:
        return result->first_mean;
    case JUDGED_FIRST_P99:
        return result->first_p99;
    case JUDGED_TOTAL:
        return result->total_mean;
    case JUDGED_ERRORS:
        return result->errors;
    case JUDGED_BILL:
        return result->cost + (1 - result->within) * (double)scenario->miss_nanos / 1e6;
    }
    return 0;
}

void simulate_measure(const struct simulate_scenario *scenario, const struct simulate_call *calls,
                      size_t count, const size_t *served, struct simulate_result *result)
{
    struct sums sums = {.answered = 0};
    sums.firsts = memory_new((count + 1) * sizeof(double));
    sums.totals = memory_new((count + 1) * sizeof(double));
    add_up(scenario, calls, count, &sums);
    double all = sums.counted ? (double)sums.counted : 1;
    result->calls = sums.counted;
    result->first_mean = mean(sums.firsts, sums.answered);
    result->first_p50 = quantile(sums.firsts, sums.answered, 0.5);
    result->first_p99 = quantile(sums.firsts, sums.answered, 0.99);
    result->first_p999 = quantile(sums.firsts, sums.answered, 0.999);
    result->total_mean = mean(sums.totals, sums.answered);
    result->total_p99 = quantile(sums.totals, sums.answered, 0.99);
    result->within = (double)sums.within / all;
    result->quiet_within = sums.quiet ? (double)sums.quiet_within / (double)sums.quiet : 1;
    result->errors = (double)sums.failed / all;
    result->extra = (double)(sums.tries > sums.counted ? sums.tries - sums.counted : 0) / all;
    result->cost = (double)sums.cost / 1e6 / all;
    result->spread = spread_of(scenario, served);
    result->hits = (double)sums.hits / all;
    result->judged = judge(scenario, result);
    memory_free(sums.firsts);
    memory_free(sums.totals);
}

/* Student's t, two-sided 95 %, for so many degrees of freedom. */
static double student(size_t freedom)
{
    static const double table[] = {0,     12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365,
                                   2.306, 2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
                                   2.120, 2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069,
                                   2.064, 2.060,  2.056, 2.052, 2.048, 2.045, 2.042};
    size_t count = sizeof(table) / sizeof(table[0]);
    return freedom < count ? table[freedom] : 1.96 + 2.5 / (double)freedom;
}

struct simulate_interval simulate_compare(const double *ours, const double *theirs, size_t count)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++)
        sum += ours[i] - theirs[i];
    double average = count ? sum / (double)count : 0;
    for (size_t i = 0; i < count; i++)
        squares += (ours[i] - theirs[i] - average) * (ours[i] - theirs[i] - average);
    if (count < 2)
        return (struct simulate_interval){average, -INFINITY, INFINITY};
    double half = student(count - 1) * sqrt(squares / (double)(count - 1) / (double)count);
    return (struct simulate_interval){average, average - half, average + half};
}
