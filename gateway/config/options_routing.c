/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/document.h"
#include "gateway/config/options.h"

#define ROOT(member)   offsetof(struct document, member)
#define POLICY(member) offsetof(struct policy_draft, member)

/* clang-format off */

static const struct option policy_score[] = {
    {.name = "cost", .type = OPTION_SHARE, .where = POLICY(cost), .fallback = "0.4", .help = "Weight of the money."},
    {.name = "latency", .type = OPTION_SHARE, .where = POLICY(latency), .fallback = "0.4", .help = "Weight of the time."},
    {.name = "load", .type = OPTION_SHARE, .where = POLICY(load), .fallback = "0.2", .help = "Weight of the part of the time that is waiting behind other calls."},
    {0},
};

static const struct option policy_sticky[] = {
    {.name = "by", .type = OPTION_WORD, .where = POLICY(sticky_by), .fallback = "none", .words = "none|key|user|conversation", .help = "Whose calls stay together; conversation = prompt-cache hits."},
    {.name = "ttl", .type = OPTION_DURATION, .where = POLICY(policy.sticky_ttl_us), .fallback = "10m", .min = 0, .max = DAYS(2), .help = "For so long after the last one."},
    {0},
};

static const struct option policy_hedge[] = {
    {.name = "after", .type = OPTION_DURATION, .where = POLICY(policy.hedge_after_us), .fallback = "null", .min = 0, .max = SECONDS(3600), .help = "Ask a second target as well, when a stream (or an embedding) has not begun after this: not even the head of an answer came; 0 = later than 95 of 100 first tokens were; null = never."},
    {.name = "max_share", .type = OPTION_SHARE, .where = POLICY(hedge_share), .fallback = "0.02", .help = "Of all calls."},
    {0},
};

const struct option policy_options[] = {
    {.name = "name", .type = OPTION_NAME, .where = POLICY(policy.name), .required = true, .help = "Unique."},
    {.name = "strategy", .type = OPTION_WORD, .where = POLICY(strategy), .fallback = "score", .words = "score|weighted|priority|latency|cost|least_busy|round_robin|sticky", .help = "How a target is chosen among those of the same priority."},
    {.name = "second", .type = OPTION_MONEY, .where = POLICY(policy.second_nanos), .fallback = "0.002 USD", .min = 0, .max = INT64_C(1000000000000), .help = "For score: what an answer that comes a second earlier is worth."},
    {.name = "score", .type = OPTION_SECTION, .inner = policy_score, .help = "For score: relative weights; by default money counts as it is and time at the rate of second."},
    {.name = "latency_signal", .type = OPTION_WORD, .where = POLICY(signal), .fallback = "auto", .words = "auto|ttft_p50|ttft_p95|total_p50|total_p95|tokens_per_second", .help = "What latency means; auto = the whole answer for score, its first token for latency."},
    {.name = "half_life", .type = OPTION_DURATION, .where = POLICY(policy.half_life_us), .fallback = "2m", .min = SECONDS(1), .max = DAYS(1), .help = "Of what was learnt."},
    {.name = "explore", .type = OPTION_SHARE, .where = POLICY(explore), .fallback = "0.02", .help = "Share of the calls that may be spent to keep stale figures fresh."},
    {.name = "sticky", .type = OPTION_SECTION, .inner = policy_sticky, .help = "Stay with one target."},
    {.name = "hedge", .type = OPTION_SECTION, .inner = policy_hedge, .help = "A second try beside the first: who answers first is the one, and both are paid for."},
    {.name = "max_ttft", .type = OPTION_DURATION, .where = POLICY(policy.max_ttft_us), .fallback = "null", .min = 0, .max = SECONDS(3600), .help = "Not a target whose p95 of the time to the first token is longer than that, unless there is no other."},
    {.name = "max_cost", .type = OPTION_MONEY, .where = POLICY(policy.max_cost_nanos), .fallback = "null", .min = 1, .max = INT64_C(1000000000000), .help = "\"0.05 USD\": targets where the call is expected to cost more are left out; of this, a rule's and the caller's own the least counts."},
    {.name = "fallback", .type = OPTION_TEXTS, .where = POLICY(fallback), .fallback = "[]", .help = "At most 64 models or targets to try after these: when all have failed or rest, and for calls that they refuse as too long or by a content filter."},
    {.name = "resume", .type = OPTION_BOOL, .where = POLICY(resume), .fallback = "true", .help = "An answer that broke off may be continued by another target that is known to go on with one (targets: prefill)."},
    {0},
};

const struct option routing_options[] = {
    {.name = "default_policy", .type = OPTION_NAME, .where = ROOT(default_policy), .fallback = "balanced", .help = "For models that name none."},
    {.name = "unknown_model", .type = OPTION_WORD, .where = ROOT(unknown_model), .fallback = "reject", .words = "reject|passthrough",
     .help = "reject = 404; passthrough = \"provider/model\" for tenants whose list allows it."},
    {.name = "policies", .type = OPTION_LIST, .where = ROOT(policies), .inner = policy_options, .size = sizeof(struct policy_draft), .help = "Built in: balanced, which is score with all its defaults."},
    {.name = "rules", .type = OPTION_LIST, .where = ROOT(rules), .inner = rule_options, .size = sizeof(struct rule_draft), .help = "The first match wins; at most 256. See docs/ROUTING.md."},
    {0},
};
