/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * trial - what the calls on one revision came to: how many, how many failed, and how long those
 * that did not took to their first byte. Pure.
 *
 * Times are summed up as logarithms (base 2, in 1/1024): they have long tails, and so one call of a
 * minute makes no difference among many of a second, nor does the mixture of short and long prompts
 * beyond what chance allows.
 */

#include <stdbool.h>
#include <stdint.h>

struct trial {
    uint64_t calls, failures;
    uint64_t timed, logs, squares; /* calls with a time; the sums of its logarithm and its square */
};

/* The logarithm as it is summed up; <us> is at least 1. */
uint64_t trial_log(int64_t us);
void trial_add(struct trial *sum, const struct trial *more);
/* The geometric mean; 0 = no call has a time. */
int64_t trial_typical_us(const struct trial *trial);

enum { TRIAL_TIMED_LEAST = 10, TRIAL_LATER_LEAST_US = 20000 };
/* Does <one> take more than <permille>/1000 times as long as <other> does, beyond chance (three
 * standard errors), and at least TRIAL_LATER_LEAST_US longer? With fewer than TRIAL_TIMED_LEAST
 * times of either, nobody can say: no. */
bool trial_is_later(const struct trial *one, const struct trial *other, unsigned permille);
