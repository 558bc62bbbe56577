/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/trial.h"

#include <math.h>

enum { LOG_PARTS = 1024, SURE_ERRORS = 3 };

uint64_t trial_log(int64_t us)
{
    return (uint64_t)(log2((double)us) * LOG_PARTS);
}

void trial_add(struct trial *sum, const struct trial *more)
{
    sum->calls += more->calls;
    sum->failures += more->failures;
    sum->timed += more->timed;
    sum->logs += more->logs;
    sum->squares += more->squares;
}

static double mean_of(const struct trial *trial)
{
    return (double)trial->logs / (double)trial->timed;
}

/* The square of its mean's standard error. */
static double error_of(const struct trial *trial)
{
    double mean = mean_of(trial), count = (double)trial->timed;
    double variance = ((double)trial->squares / count - mean * mean) * count / (count - 1);
    return variance > 0 ? variance / count : 0;
}

int64_t trial_typical_us(const struct trial *trial)
{
    return trial->timed ? (int64_t)exp2(mean_of(trial) / LOG_PARTS) : 0;
}

/* Welch's test of two means, one-sided. */
bool trial_is_later(const struct trial *one, const struct trial *other, unsigned permille)
{
    if (one->timed < TRIAL_TIMED_LEAST || other->timed < TRIAL_TIMED_LEAST || permille == 0 ||
        trial_typical_us(one) < trial_typical_us(other) + TRIAL_LATER_LEAST_US)
        return false;
    double beyond = mean_of(one) - mean_of(other) - log2(permille / 1000.0) * LOG_PARTS;
    double error = sqrt(error_of(one) + error_of(other));
    return beyond > SURE_ERRORS * error;
}
