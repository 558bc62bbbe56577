/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * route - from a model name to the next target to try. A door of routing.
 *
 * Routing decides and remembers; it does no I/O and reads no clock: time and chance are handed in,
 * so that `sluice simulate` and `sluice replay` run the same code. One try is
 *
 *     route_choose()  which target, and why not the others; marks it in flight
 *     route_first()   its first token (or, of an answer in one piece, its first byte) has come
 *     route_end()     exactly once: how it ended
 *
 * Any thread; figures are relaxed atomics, nothing here takes a lock. A choice among 8 targets
 * costs less than a microsecond.
 */

#include "gateway/base/fault.h"
#include "routing/affinity.h"
#include "routing/strategy.h"
#include "routing/target.h"

enum { ROUTE_TARGETS_MAX = 64, PREFIX_BYTES = 1024, PREFIX_LEVELS = 6 };

/* What holds of all targets of a model together, so that a call need not ask each of them. Made by
 * route_seal(); all zero = nobody has looked, and each is asked. */
struct route_sum {
    bool known;
    bool even;       /* all have one priority, and none the weight 0 */
    bool plain;      /* none is asked for a dearer tier of service by a call that says none */
    bool limited;    /* one that is not off has limits of its own */
    bool unsearched; /* of one that is not off it is not known what a search costs */
    bool deployed;   /* one is a deployment; <known>, it is the gateway that says so */
    unsigned can;    /* enum can: what all of them can */
    int64_t context_tokens; /* the shortest window that one has; 0 = none has one */
    int64_t longest_tokens; /* the longest one of those that are not off; 0 = not known of one */
    int64_t added_tokens;   /* the most that one's provider adds to a prompt; the gateway's */
    struct text written;    /* their ids as the gateway writes them down; the gateway's; or empty */
    uint64_t on;            /* bits of those that are not off */
    uint64_t dearest;       /* bits of some of those: no call can be dearer at any other of them */
};

/* A configured model. All of it lives as long as the configuration. */
struct route {
    struct text name;
    struct text *aliases; /* may hold '*' */
    size_t alias_count;
    struct text description;
    struct text *capabilities; /* as they were declared: tools, vision, ... */
    size_t capability_count;
    int64_t context_window; /* 0 = unknown */
    int64_t output_tokens;  /* the longest answer of any of its targets; 0 = unknown of one */
    const struct target *targets;
    size_t target_count;               /* at most ROUTE_TARGETS_MAX */
    const struct route_policy *policy; /* NULL = the one that is built in */
    struct affinity *affinity;         /* who answered what lately; NULL = nobody knows */
    struct route_sum sum;
};

/* Look at all targets once: route->sum. After that they do not change. */
void route_seal(struct route *route);
/* The most that whoever gets a call can read, in tokens: the longest window of its targets, or the
 * model's where that of one is not known; 0 = nobody knows. */
int64_t route_context(const struct route *route);

struct routes;

/* Build the lookup over <list> (borrowed). */
struct routes *routes_new(const struct route *list, size_t count);
void routes_free(struct routes *routes);
/* By name, then by alias, then by the longest matching pattern; NULL when there is none. */
const struct route *routes_find(const struct routes *routes, struct text model);

/* ------------------------------------------------------------------------------- a choice */

/* What is known of a call when its target is chosen. */
struct route_call {
    uint64_t now_us; /* monotonic */
    uint64_t random; /* 64 bits that are as good as random */
    enum operation operation;
    bool stream;
    int64_t input_tokens, output_tokens; /* as expected; output 0 = makes none */
    /* Of the beginning of the prompt, salted with the tenant: prefix[i] covers the first
     * PREFIX_BYTES * 4^i bytes of it; 0 = it is not that long. Whoever answered one of them lately
     * has it in its cache. */
    uint64_t prefix[PREFIX_LEVELS];
    uint64_t sticky;           /* whose calls stay together, salted with the tenant; 0 = nobody's */
    int64_t max_cost_nanos;    /* dearer ones are struck out; 0 = any price */
    enum service_tier service; /* what it asks for, where it says so; else each target's own */
    bool service_said;
    uint64_t allowed;         /* bits of the targets that a rule allows; 0 = all */
    const int64_t *delays_us; /* of each target, before it can begin; NULL = none has one */
    const uint8_t *struck;    /* enum strike of each target: decided already; NULL = none is */
    uint64_t tried;           /* bits of those that are out: they were tried, or cannot do it */
};

/* Why a target is no candidate. In the words of explain: strike_name(). */
enum strike {
    STRIKE_NONE,
    STRIKE_OFF,     /* no key, no known price */
    STRIKE_TRIED,   /* this call has tried it, or it cannot do what is asked */
    STRIKE_RULE,    /* a rule allows others only */
    STRIKE_TAGS,    /* it has not the tags that the rule, or the tenant's residency, wants */
    STRIKE_UNABLE,  /* its model cannot do what is asked */
    STRIKE_LONG,    /* the prompt does not fit into its window */
    STRIKE_SICK,    /* its circuit is open */
    STRIKE_COOLING, /* it asked to be left alone (Retry-After), or its key rests */
    STRIKE_DRY,     /* the provider's quota is about to be spent */
    STRIKE_FULL,    /* its own limits: calls at once, per minute */
    STRIKE_SLOW,    /* slower than the policy's objective */
    STRIKE_DEAR,    /* dearer than this call may be */
    STRIKES
};
const char *strike_name(enum strike strike);

struct candidate {
    const struct target *target;
    enum strike strike;
    struct prediction prediction;
    int64_t score_nanos; /* lower is better: money, and time at its rate */
};

struct choice {
    struct candidate candidates[ROUTE_TARGETS_MAX];
    size_t count;
    uint64_t struck[STRIKES];    /* bits of the candidates that are struck for each reason */
    uint64_t probes;             /* bits of those whose circuit is open, and may be probed */
    const struct target *target; /* NULL = none is left */
    const char *why;             /* "best of two", "sticky", "prefix", "explores", "probe", ... */
    enum strike relaxed;         /* this kind of strike had to be ignored, or nobody was left */
};

/* One try, from its choice to its end. In the exchange; all zero = none. */
struct route_try {
    const struct target *target;
    const struct route *route; /* NULL when it was not chosen */
    struct predict_call call;
    int64_t tokens; /* of the prompt and of the answer, as expected */
    bool probe;     /* the one call that tells whether an open circuit may close */
    bool hedges;    /* beside another one */
};

/*
 * The next target for <call>; in flight from now on, in <attempt>. NULL when none is left.
 * <choice>, if not NULL, gets all that was considered (a decision record, explain).
 */
const struct target *route_choose(const struct route *route, const struct route_policy *policy,
                                  const struct route_call *call, struct route_try *attempt,
                                  struct choice *choice);
/* The same, without marking anything: for explain. */
void route_consider(const struct route *route, const struct route_policy *policy,
                    const struct route_call *call, struct choice *choice);

/* Try <target>, which was not chosen (an object lives there). */
void route_take(const struct target *target, const struct route_call *call,
                struct route_try *attempt);

void route_first(struct route_try *attempt, uint64_t now_us);

struct route_outcome {
    uint64_t now_us;
    enum fault_kind fault;  /* FAULT_NONE for a good answer; FAULT_CLIENT_GONE teaches nothing, and
                               FAULT_OVERLOADED, which is ours, is as not_sent */
    bool not_sent;          /* it was chosen, and then not asked: teaches nothing */
    int64_t output_tokens;  /* of a whole answer; 0 = not known */
    int64_t tokens;         /* of the prompt and the answer; 0 = not known */
    int64_t retry_after_us; /* as the provider said; 0 = it did not */
};
/* Exactly once for each try that was begun; clears <attempt>. */
void route_end(struct route_try *attempt, const struct route_outcome *reported);
