/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * quota_head - what a provider says is left of its limits, by the head of its answer. Pure.
 *
 * x-ratelimit-{limit,remaining,reset}-{requests,tokens} (OpenAI, Groq, Mistral and others: resets
 * are "1s", "6m0s"), anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,
 * remaining,reset} (RFC 3339). Of several limits on tokens the one of which the least is left.
 */

#include "gateway/http/head.h"
#include "routing/quota.h"

/* Is it worth a look, and the time? False: quota_head_read() is false, too. */
bool quota_head_may_speak(const struct head *head);
/* False when it says nothing. <wall_us>: since 1970. */
bool quota_head_read(const struct head *head, int64_t wall_us, struct quota_seen *seen);
