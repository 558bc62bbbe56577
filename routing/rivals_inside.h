/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* rivals_inside - what the formulas of rivals.h have in common, and where each of them is. */

#include "routing/rivals.h"

/* ------------------------------------------------------------------------------ drawing */

uint64_t rival_bit(size_t i);
/* One of <set>; <*random> moves on. */
size_t rival_any(uint64_t set, uint64_t *random);
/* The one of the least score, any of those that have it. */
size_t rival_least(const double *scores, uint64_t set, uint64_t *random);
/* Two of <set>, the same one twice where there is only one. */
void rival_two(uint64_t set, uint64_t *random, size_t two[2]);
size_t rival_by_weight(const struct rivals *rivals, uint64_t set, uint64_t *random);
/* How many calls of ours each has. */
void rival_pending(const struct rivals *rivals, double *scores);

/* ------------------------------------------------- rivals_latency.c: who was fast lately */

size_t choose_peak(struct rivals *rivals, const struct rival_call *call, uint64_t *random);
size_t choose_kong(struct rivals *rivals, const struct rival_call *call);
size_t choose_agentgateway(const struct rivals *rivals, const struct rival_call *call,
                           uint64_t *random);
size_t choose_litellm(struct rivals *rivals, const struct rival_call *call, uint64_t *random);
/* Those of LiteLLM's that do not cool down; all where all do: better one of them than none. */
uint64_t rival_not_cooling(const struct rivals *rivals, const struct rival_call *call);

void first_tower(struct rival_target *target, double seconds, double now);
void end_peak(struct rival_target *target, const struct rival_end *end);
void end_kong(struct rival_target *target, const struct rival_end *end);
void end_agentgateway(struct rival_target *target, const struct rival_end *end);
void end_litellm(struct rivals *rivals, struct rival_target *target, const struct rival_end *end);

/* --------------------------------------------------- rivals_ask.c: what do servers say? */

size_t choose_c3(const struct rivals *rivals, const struct rival_call *call, uint64_t *random);
size_t choose_prequal(struct rivals *rivals, const struct rival_call *call, uint64_t *random);
size_t choose_jiq(struct rivals *rivals, const struct rival_call *call, uint64_t *random);
void end_c3(struct rival_target *target, const struct rival_end *end);

/* ------------------------------------------------ rivals_prefix.c: who has it in its cache */

size_t choose_smg(struct rivals *rivals, const struct rival_call *call);
size_t choose_chbl(const struct rivals *rivals, const struct rival_call *call, uint64_t *random);
