/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * retry_after - how long a provider wants to be left alone, by the head of its answer. Pure.
 *
 * retry-after-ms and Retry-After in seconds or as a date (RFC 9110, 10.2.3); else, of an answer
 * that says "too many", when what is spent comes back: x-ratelimit-reset-requests and -tokens with
 * x-ratelimit-remaining-* of 0 (OpenAI: "1s", "6m0s"), x-ratelimit-reset (seconds, or seconds since
 * 1970), ratelimit-reset, anthropic-ratelimit-*-reset (RFC 3339).
 */

#include <stdint.h>

#include "gateway/http/head.h"

/* In microseconds from <wall_us> (since 1970) on, at most a day; 0 = it does not say. */
int64_t retry_after_us(const struct head *head, int64_t wall_us);

/* What stands in a field that says when a limit is reset: a duration, seconds, or a date. */
int64_t retry_reset_us(struct text value, int64_t wall_us);
