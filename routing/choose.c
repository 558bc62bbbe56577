/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "routing/route.h"

enum {
    MILLION = 1000000,
    PREFIX_TOKENS = PREFIX_BYTES / 4, /* of the shortest beginning */
    PREFIX_LEAST = 1,                 /* beginnings shorter than this level are not worth a way */
    STICKY_TIMES = 4,                 /* one keeps to a target until it is so many times slower */
    GAP_PART = 256,                   /* of the difference is taken over at each choice */
    WRITES_PART = 256,                /* the same */
    LONG_TIMES = 2,                   /* the mean of the answers that are expected */
    PER_MILLE = 1000,
    GAP_MAX_US = 60000000,
    QUEUE_MORE = 5, /* times the queue counts once more where the policy is the cheapest one */
};

static const int64_t PREFIX_TTL_US = INT64_C(480) * 1000000, STICKY_SLACK_US = 1000000,
                     TOKENS_MAX = INT64_C(1) << 36;

const char *strike_name(enum strike strike)
{
    static const char *const names[STRIKES] = {
        [STRIKE_NONE] = "none",       [STRIKE_OFF] = "off",   [STRIKE_TRIED] = "tried",
        [STRIKE_RULE] = "rule",       [STRIKE_SICK] = "sick", [STRIKE_COOLING] = "cooling",
        [STRIKE_DRY] = "quota spent", [STRIKE_FULL] = "full", [STRIKE_SLOW] = "slow",
        [STRIKE_DEAR] = "dear",       [STRIKE_TAGS] = "tags", [STRIKE_UNABLE] = "unable",
        [STRIKE_LONG] = "too long",
    };
    return names[strike];
}

/* Nobody has learnt anything of it. */
static struct target_figures blank;

static struct target_figures *figures_of(const struct target *target)
{
    return target->figures ? target->figures : &blank;
}

static uint64_t bit(size_t i)
{
    return UINT64_C(1) << i;
}

static int64_t clamp(int64_t tokens)
{
    return tokens < 0 ? 0 : tokens < TOKENS_MAX ? tokens : TOKENS_MAX;
}

static int64_t tokens_of(const struct route_call *call)
{
    return clamp(call->input_tokens) + clamp(call->output_tokens);
}

/* -------------------------------------------------------------------------- what is known */

/* How many bytes of the prompt's beginning each owner has answered lately: the longest that is
 * known. One row of the table for each length. */
struct holders {
    uint32_t owners[AFFINITY_OWNERS];
    unsigned count;
    int64_t tokens;
};

static struct holders find_holders(const struct route *route, const struct route_call *call)
{
    struct holders found = {.count = 0};
    for (int i = PREFIX_LEVELS - 1; route->affinity && i >= 0 && !found.count; i--) {
        if (!call->prefix[i])
            continue;
        found.count = affinity_find(route->affinity, call->prefix[i], call->now_us, PREFIX_TTL_US,
                                    found.owners);
        found.tokens = (int64_t)PREFIX_TOKENS << 2 * i;
    }
    return found;
}

static int64_t cached_by(const struct holders *holders, uint64_t identity, int64_t input)
{
    for (unsigned i = 0; i < holders->count; i++)
        if (holders->owners[i] == affinity_owner(identity))
            return holders->tokens < input ? holders->tokens : input;
    return 0;
}

/* Those that no time cures come first. */
static enum strike strike_of(const struct route *route, size_t i, const struct route_call *call,
                             int64_t tokens)
{
    const struct target *target = &route->targets[i];
    if (target->off)
        return STRIKE_OFF;
    if (call->struck && call->struck[i])
        return (enum strike)call->struck[i];
    if (call->tried & bit(i))
        return STRIKE_TRIED;
    if (call->allowed && !(call->allowed & bit(i)))
        return STRIKE_RULE;
    for (size_t q = 0; q < 2; q++)
        if (target->quotas[q].figures && !quota_look(&target->quotas[q], tokens, call->now_us))
            return STRIKE_FULL;
    return STRIKE_NONE;
}

static enum strike strike_by_health(const struct target_figures *figures,
                                    const struct route_call *call, int64_t tokens, bool *probe)
{
    static const uint8_t strikes[] = {[HEALTH_WELL] = STRIKE_NONE,
                                      [HEALTH_PROBE] = STRIKE_NONE,
                                      [HEALTH_SICK] = STRIKE_SICK,
                                      [HEALTH_COOLING] = STRIKE_COOLING,
                                      [HEALTH_DRY] = STRIKE_DRY};
    enum health_word word = health_look(&figures->health, call->now_us);
    *probe = word == HEALTH_PROBE;
    if (strikes[word] != STRIKE_NONE)
        return (enum strike)strikes[word];
    return quota_dry_until(&figures->left, tokens, call->now_us) ? STRIKE_DRY : STRIKE_NONE;
}

/* The cheapest one would be asked until its queue is as long as may be. Nothing is gained by that:
 * it serves no more calls than with a short queue, and all that come after wait as long. */
static bool is_slow(const struct route_policy *policy, const struct prediction *prediction)
{
    int64_t queue = policy->strategy == STRATEGY_COST ? QUEUE_MORE * prediction->wait_us : 0;
    return policy->max_ttft_us > 0 && (prediction->known || prediction->calls > 0) &&
           prediction->first_p95_us + queue > policy->max_ttft_us;
}

/* What all predictions for one call have in common. */
struct view {
    const struct route_policy *policy;
    const struct route_call *call;
    struct predict_ask ask;
    struct predict_prior prior;
    struct holders holders;
    int64_t tokens; /* of the call, in all */
};

static void begin_view(const struct route *route, const struct route_policy *policy,
                       const struct route_call *call, struct view *view)
{
    *view = (struct view){.policy = policy, .call = call, .tokens = tokens_of(call)};
    view->ask = (struct predict_ask){
        .now_us = call->now_us,
        .half_life_us = policy->half_life_us,
        .traffic = traffic_of(call->operation, call->input_tokens),
        .input_tokens = call->input_tokens,
        .output_tokens = call->output_tokens,
        /* where price decides a slow one may be the one that is wanted, once it is fast enough */
        .patient = policy->strategy != STRATEGY_COST,
    };
    view->holders = find_holders(route, call);
    for (size_t i = 0; i < route->target_count; i++)
        if (!route->targets[i].off)
            predict_prior_add(&view->prior, &figures_of(&route->targets[i])->predict,
                              view->ask.traffic);
    predict_prior_fill(&view->prior, view->ask.traffic);
    if (policy->strategy == STRATEGY_COST) /* those of unlike prices are not alike */
        view->prior.room_milli = 0;
}

/* In the tier of service that it would be asked in. Not every target is told what the call says:
 * that makes it dearer here, never cheaper. */
static int64_t expect_cost(const struct target *target, const struct route_call *call,
                           int64_t cached)
{
    bool dear = call->service_said && call->service == SERVICE_PRIORITY;
    enum service_tier tier = dear ? SERVICE_PRIORITY : target->service;
    __attribute__((uninitialized)) struct price room;
    const struct price *price = &target->price;
    if (tier != SERVICE_STANDARD)
        price = price_of_service(price, tier, &room);
    return price_expect(price, call->input_tokens, cached, call->output_tokens);
}

/* What it would be like to ask <target>; and, where nothing strikes it yet, what does. */
static bool look_at(struct view *view, const struct target *target, struct candidate *candidate)
{
    const struct target_figures *figures = figures_of(target);
    const struct route_call *call = view->call;
    struct prediction *prediction = &candidate->prediction;
    bool probe = false;
    view->ask.cached_tokens = cached_by(&view->holders, figures->identity, call->input_tokens);
    predict_make(&figures->predict, &view->ask, &view->prior, prediction);
    prediction->cost_nanos = expect_cost(target, call, prediction->cached_tokens);
    candidate->score_nanos = strategy_score(view->policy, prediction);
    if (candidate->strike != STRIKE_NONE)
        return false;
    if (call->max_cost_nanos > 0 && prediction->cost_nanos > call->max_cost_nanos)
        candidate->strike = STRIKE_DEAR;
    else
        candidate->strike = strike_by_health(figures, call, view->tokens, &probe);
    if (candidate->strike == STRIKE_NONE && is_slow(view->policy, prediction))
        candidate->strike = STRIKE_SLOW;
    return probe && candidate->strike == STRIKE_NONE;
}

/* All that is known of each target. */
static void look(const struct route *route, const struct route_policy *policy,
                 const struct route_call *call, struct choice *choice)
{
    __attribute__((uninitialized)) struct view view;
    begin_view(route, policy, call, &view);
    choice->count = route->target_count;
    choice->probes = 0;
    memset(choice->struck, 0, sizeof(choice->struck));
    for (size_t i = 0; i < route->target_count; i++) {
        struct candidate *candidate = &choice->candidates[i];
        candidate->target = &route->targets[i];
        candidate->score_nanos = 0;
        candidate->strike = strike_of(route, i, call, view.tokens);
        view.ask.delay_us = call->delays_us ? call->delays_us[i] : 0;
        if (candidate->strike != STRIKE_NONE && candidate->strike != STRIKE_FULL)
            candidate->prediction = (struct prediction){0};
        else if (look_at(&view, &route->targets[i], candidate))
            choice->probes |= bit(i);
        choice->struck[candidate->strike] |= bit(i);
    }
}

/* ----------------------------------------------------------------------------- who is left */

/* Those of the lowest priority number among <set>; of weight 0 only when there are no others. */
static uint64_t first_rank(const struct route *route, uint64_t set)
{
    uint64_t rank = 0, weighty = 0;
    unsigned priority = 0;
    if (route->sum.even)
        return set;
    for (uint64_t left = set; left; left &= left - 1) {
        const struct target *target = &route->targets[__builtin_ctzll(left)];
        if (rank && target->priority > priority)
            continue;
        if (rank && target->priority < priority)
            rank = weighty = 0;
        priority = target->priority;
        rank |= left & -left;
        weighty |= target->weight ? left & -left : 0;
    }
    return weighty ? weighty : rank;
}

struct bidders {
    struct bid bids[ROUTE_TARGETS_MAX];
    uint8_t places[ROUTE_TARGETS_MAX]; /* among the candidates */
    size_t count;
};

static void gather(const struct choice *choice, uint64_t set, enum traffic traffic,
                   struct bidders *out)
{
    out->count = 0;
    for (uint64_t left = set; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        const struct candidate *candidate = &choice->candidates[i];
        const struct target_figures *figures = figures_of(candidate->target);
        const struct predict_class *class = &figures->predict.classes[traffic];
        out->places[out->count] = (uint8_t)i;
        out->bids[out->count++] = (struct bid){
            .prediction = &candidate->prediction,
            .score = candidate->score_nanos,
            .weight = candidate->target->weight,
            .identity = figures->identity ? figures->identity : strategy_mix(i + 1),
            .better = atomic_load_explicit(&class->better, memory_order_relaxed) != 0,
        };
    }
}

/* Whoever had this one's last call, while it is not far slower than the others. */
static size_t keeps(const struct route *route, const struct route_policy *policy,
                    const struct route_call *call, const struct bidders *bidders)
{
    uint32_t owners[AFFINITY_OWNERS];
    if (!call->sticky || !route->affinity)
        return bidders->count;
    unsigned count =
        affinity_find(route->affinity, call->sticky, call->now_us, policy->sticky_ttl_us, owners);
    int64_t best = INT64_MAX;
    for (size_t i = 0; count && i < bidders->count; i++)
        if (bidders->bids[i].prediction->first_us < best)
            best = bidders->bids[i].prediction->first_us;
    for (unsigned o = 0; o < count; o++)
        for (size_t i = 0; i < bidders->count; i++)
            if (affinity_owner(bidders->bids[i].identity) == owners[o] &&
                bidders->bids[i].prediction->first_us <= best * STICKY_TIMES + STICKY_SLACK_US)
                return i;
    return bidders->count;
}

static uint64_t longest_prefix(const struct route_call *call)
{
    for (int i = PREFIX_LEVELS - 1; i >= PREFIX_LEAST; i--)
        if (call->prefix[i])
            return call->prefix[i];
    return 0;
}

static int64_t gap_of(const struct route *route)
{
    return atomic_load_explicit(&figures_of(&route->targets[0])->gap_ns, memory_order_relaxed);
}

/* Will it hold its place for far longer than the others of this route? */
static bool is_long(const struct route *route, const struct route_call *call)
{
    int64_t mean =
        atomic_load_explicit(&figures_of(&route->targets[0])->writes_milli, memory_order_relaxed);
    return mean && clamp(call->output_tokens) * PER_MILLE > mean * LONG_TIMES;
}

/* Of those that are all too slow the fastest is asked, not the cheapest: that one would get all the
 * calls that it is too slow for, and become slower by them. Nor is one asked until its queue is as
 * long as another one needs by itself: all that come after would wait for that, too. */
static size_t fastest(const struct route_policy *policy, struct bidders *bidders,
                      const struct chance *chance, const char **why)
{
    struct route_policy time = *policy;
    time.strategy = STRATEGY_LATENCY;
    for (size_t i = 0; i < bidders->count; i++)
        bidders->bids[i].score = strategy_score(&time, bidders->bids[i].prediction) +
                                 QUEUE_MORE * 1000 * bidders->bids[i].prediction->wait_us;
    return strategy_pick(&time, bidders->bids, bidders->count, chance, why);
}

static size_t pick(const struct route *route, const struct route_policy *policy,
                   const struct route_call *call, const struct choice *choice, uint64_t set,
                   const char **why)
{
    __attribute__((uninitialized)) struct bidders bidders;
    gather(choice, set, traffic_of(call->operation, call->input_tokens), &bidders);
    const struct target_figures *first = figures_of(&route->targets[0]);
    struct chance chance = {
        .random = call->random,
        .turn = atomic_load_explicit(&first->turns, memory_order_relaxed),
        .sticky = call->sticky,
        .prefix = longest_prefix(call),
        .gap_ns = gap_of(route),
        .is_long = is_long(route, call),
    };
    size_t at = keeps(route, policy, call, &bidders);
    *why = "sticky";
    chance.all_slow = choice->relaxed == STRIKE_SLOW;
    if (at == bidders.count && policy->strategy == STRATEGY_COST && chance.all_slow)
        at = fastest(policy, &bidders, &chance, why);
    else if (at == bidders.count)
        at = strategy_pick(policy, bidders.bids, bidders.count, &chance, why);
    return bidders.places[at];
}

static bool weighs_time(const struct route_policy *policy)
{
    return policy->strategy == STRATEGY_SCORE || policy->strategy == STRATEGY_COST ||
           policy->strategy == STRATEGY_LATENCY;
}

/* One of those that were too slow, or are not asked for they were slow, may have become faster. */
static size_t explore(const struct route *route, const struct route_policy *policy,
                      const struct route_call *call, const struct choice *choice, uint64_t set,
                      size_t chosen)
{
    __attribute__((uninitialized)) struct bidders bidders;
    uint64_t random = strategy_mix(call->random);
    if (!weighs_time(policy) || (int64_t)(random % MILLION) >= policy->explore_ppm || call->sticky)
        return chosen;
    for (size_t i = 0; i < choice->count; i++) /* that it is dearer will not have changed */
        if (policy->strategy == STRATEGY_COST &&
            choice->candidates[i].score_nanos > choice->candidates[chosen].score_nanos)
            set &= ~bit(i);
    gather(choice, set, traffic_of(call->operation, call->input_tokens), &bidders);
    size_t at = strategy_explore(policy, bidders.bids, bidders.count, gap_of(route));
    return at < bidders.count ? bidders.places[at] : chosen;
}

/* The circuits of those that would be preferred to <chosen> are looked at again by one call. */
static size_t probe(const struct route_policy *policy, const struct choice *choice, size_t chosen)
{
    const struct candidate *now = &choice->candidates[chosen];
    for (uint64_t left = choice->probes; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        const struct candidate *sick = &choice->candidates[i];
        bool dear = policy->strategy == STRATEGY_COST &&
                    sick->prediction.cost_nanos > now->prediction.cost_nanos;
        if (sick->target->priority <= now->target->priority && !dear)
            return i;
    }
    return chosen;
}

/* Better one that is slow, or was told to rest, than none at all. */
static uint64_t relax(const struct route *route, struct choice *choice)
{
    static const enum strike soft[] = {STRIKE_SLOW, STRIKE_DRY, STRIKE_SICK, STRIKE_COOLING};
    for (size_t i = 0; i < sizeof(soft) / sizeof(soft[0]); i++) {
        uint64_t set = first_rank(route, choice->struck[soft[i]]);
        choice->relaxed = soft[i];
        if (set)
            return set;
    }
    choice->relaxed = STRIKE_NONE;
    return 0;
}

/* The place of the target to try, or choice->count. */
static size_t decide(const struct route *route, const struct route_policy *policy,
                     const struct route_call *call, struct choice *choice)
{
    uint64_t set = first_rank(route, choice->struck[STRIKE_NONE] & ~choice->probes);
    choice->relaxed = STRIKE_NONE;
    if (!set && (set = first_rank(route, choice->probes)) != 0) {
        choice->why = "probe";
        return (size_t)__builtin_ctzll(set);
    }
    if (!set && (set = relax(route, choice)) == 0)
        return choice->count;
    size_t chosen = pick(route, policy, call, choice, set, &choice->why);
    if (choice->relaxed != STRIKE_NONE) {
        choice->why = "nobody else is left";
        return chosen;
    }
    uint64_t slow = choice->struck[STRIKE_SLOW];
    size_t other = probe(policy, choice, chosen);
    if (other != chosen) {
        choice->why = "probe";
        return other;
    }
    other = explore(route, policy, call, choice, first_rank(route, set | slow), chosen);
    if (other != chosen)
        choice->why = "explores";
    return other;
}

/* ---------------------------------------------------------------------------------- tries */

static void note_affinity(const struct route *route, const struct route_call *call,
                          const struct target *target)
{
    uint32_t owner = affinity_owner(figures_of(target)->identity);
    for (size_t i = 0; i < PREFIX_LEVELS; i++)
        if (call->prefix[i])
            affinity_note(route->affinity, call->prefix[i], owner, call->now_us);
    if (call->sticky)
        affinity_note(route->affinity, call->sticky, owner, call->now_us);
}

static bool take_quotas(const struct target *target, const struct route_call *call)
{
    for (size_t q = 0; q < 2; q++) {
        if (!target->quotas[q].figures ||
            quota_take(&target->quotas[q], tokens_of(call), call->now_us))
            continue;
        if (q > 0 && target->quotas[0].figures)
            quota_return(&target->quotas[0], tokens_of(call), call->now_us);
        return false;
    }
    return true;
}

static void begin(const struct target *target, const struct route_policy *policy,
                  const struct route_call *call, const struct prediction *prediction,
                  struct route_try *attempt)
{
    struct predict_ask ask = {
        .now_us = call->now_us,
        .half_life_us = policy->half_life_us,
        .traffic = traffic_of(call->operation, call->input_tokens),
        .input_tokens = call->input_tokens,
        .output_tokens = call->output_tokens,
        .cached_tokens = prediction->cached_tokens,
    };
    *attempt = (struct route_try){.target = target, .tokens = tokens_of(call)};
    attempt->call.begun_us = call->now_us;
    if (!target->figures)
        return;
    atomic_fetch_add_explicit(&target->figures->in_flight, 1, memory_order_relaxed);
    predict_begin(&target->figures->predict, &ask, prediction, call->stream, &attempt->call);
    if (!prediction->cached_tokens && call->prefix[PREFIX_LEAST])
        atomic_fetch_add_explicit(&target->figures->predict.prefixes, 1, memory_order_relaxed);
    quota_spend(&target->figures->left, attempt->tokens);
}

static void strike(struct choice *choice, size_t at, enum strike strike)
{
    choice->struck[choice->candidates[at].strike] &= ~bit(at);
    choice->struck[strike] |= bit(at);
    choice->candidates[at].strike = strike;
}

/* Mark the one that was chosen; false: another thread was faster. */
static bool take(const struct route *route, const struct route_policy *policy,
                 const struct route_call *call, struct choice *choice, size_t at,
                 struct route_try *attempt)
{
    bool is_probe = choice->probes >> at & 1;
    const struct candidate *candidate = &choice->candidates[at];
    const struct target *target = candidate->target;
    if (is_probe && target->breaker &&
        !health_take_probe(&figures_of(target)->health, target->breaker, call->now_us)) {
        strike(choice, at, STRIKE_SICK);
        return false;
    }
    if (!take_quotas(target, call)) {
        strike(choice, at, STRIKE_FULL);
        return false;
    }
    begin(target, policy, call, &candidate->prediction, attempt);
    attempt->route = route;
    attempt->probe = is_probe;
    if (route->affinity)
        note_affinity(route, call, target);
    return true;
}

/* A lost update of two workers at once does no harm. */
static void learn_writes(struct target_figures *first, const struct route_call *call)
{
    int64_t mean = atomic_load_explicit(&first->writes_milli, memory_order_relaxed);
    int64_t tokens = clamp(call->output_tokens) * PER_MILLE;
    mean = mean ? mean + (tokens - mean) / WRITES_PART : tokens;
    atomic_store_explicit(&first->writes_milli, mean > 0 ? mean : 1, memory_order_relaxed);
}

/* Nor does one here. */
static void count_turn(struct target_figures *first, uint64_t now_us)
{
    int64_t now = (int64_t)now_us, gap = atomic_load_explicit(&first->gap_ns, memory_order_relaxed);
    int64_t last = atomic_exchange_explicit(&first->chosen_us, now, memory_order_relaxed);
    int64_t since = now > last && last ? now - last : 0;
    if (last) {
        since = (since < GAP_MAX_US ? since : GAP_MAX_US) * 1000;
        gap = gap ? gap + (since - gap) / GAP_PART : since;
        atomic_store_explicit(&first->gap_ns, gap > 0 ? gap : 1, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&first->turns, 1, memory_order_relaxed);
}

static const struct route_policy *or_balanced(const struct route_policy *policy)
{
    return policy ? policy : &strategy_balanced;
}

const struct target *route_choose(const struct route *route, const struct route_policy *policy,
                                  const struct route_call *call, struct route_try *attempt,
                                  struct choice *choice)
{
    static _Thread_local void *own;
    size_t at;
    assert(route->target_count <= ROUTE_TARGETS_MAX);
    if (!choice)
        choice = memory_of_thread(&own, sizeof(*choice));
    policy = or_balanced(policy);
    choice->target = NULL;
    choice->why = "nobody is left";
    choice->relaxed = STRIKE_NONE;
    look(route, policy, call, choice);
    while ((at = decide(route, policy, call, choice)) < choice->count) {
        if (take(route, policy, call, choice, at, attempt)) {
            count_turn(figures_of(&route->targets[0]), call->now_us);
            learn_writes(figures_of(&route->targets[0]), call);
            choice->target = choice->candidates[at].target;
            return choice->target;
        }
        choice->probes &= ~bit(at);
    }
    choice->why = "nobody is left";
    return NULL;
}

void route_consider(const struct route *route, const struct route_policy *policy,
                    const struct route_call *call, struct choice *choice)
{
    policy = or_balanced(policy);
    choice->target = NULL;
    choice->why = "nobody is left";
    look(route, policy, call, choice);
    size_t at = decide(route, policy, call, choice);
    if (at < choice->count)
        choice->target = choice->candidates[at].target;
}

void route_take(const struct target *target, const struct route_call *call,
                struct route_try *attempt)
{
    struct predict_ask ask = {
        .now_us = call->now_us,
        .half_life_us = strategy_balanced.half_life_us,
        .traffic = traffic_of(call->operation, call->input_tokens),
        .input_tokens = call->input_tokens,
        .output_tokens = call->output_tokens,
    };
    struct predict_prior prior = {.count = 0};
    struct prediction prediction = {0};
    predict_prior_fill(&prior, ask.traffic);
    predict_make(&figures_of(target)->predict, &ask, &prior, &prediction);
    for (size_t q = 0; q < 2; q++) /* it must go there: counted, not refused */
        if (target->quotas[q].figures)
            quota_force(&target->quotas[q], tokens_of(call), call->now_us);
    begin(target, &strategy_balanced, call, &prediction, attempt);
}

void route_first(struct route_try *attempt, uint64_t now_us)
{
    if (attempt->target && attempt->target->figures)
        predict_first(&attempt->target->figures->predict, &attempt->call, now_us);
}

/* ------------------------------------------------------------------------------------ ends */

static enum predict_end end_of(const struct route_outcome *outcome)
{
    if (outcome->not_sent)
        return PREDICT_NOTHING;
    if (outcome->fault == FAULT_NONE)
        return PREDICT_WHOLE;
    if (outcome->fault == FAULT_CLIENT_GONE || outcome->fault == FAULT_TOO_LATE)
        return PREDICT_LEFT;
    if (outcome->fault == FAULT_TARGET_SLOW)
        return PREDICT_LATE;
    bool failed = outcome->fault == FAULT_TARGET_BUSY || fault_rule(outcome->fault)->blame_target;
    return failed ? PREDICT_FAILED : PREDICT_NOTHING;
}

static void end_quotas(const struct route_try *attempt, const struct route_outcome *outcome)
{
    for (size_t q = 0; q < 2; q++) {
        const struct quota *quota = &attempt->target->quotas[q];
        if (!quota->figures)
            continue;
        if (outcome->not_sent)
            quota_return(quota, attempt->tokens, attempt->call.begun_us);
        else
            quota_end(quota, attempt->tokens,
                      outcome->fault == FAULT_NONE && outcome->tokens ? outcome->tokens
                                                                      : attempt->tokens,
                      attempt->call.begun_us, outcome->now_us);
    }
}

/* One that keeps below its own limits, but fails far more often than those that are asked the same,
 * is left alone, too. */
static void compare(const struct route_try *ended, uint64_t now_us)
{
    __attribute__((uninitialized)) struct health_figures *all[ROUTE_TARGETS_MAX];
    const struct route *route = ended->route;
    if (!route || route->target_count < 2)
        return;
    for (size_t i = 0; i < route->target_count; i++)
        all[i] = &figures_of(&route->targets[i])->health;
    health_compare(&ended->target->figures->health, all, route->target_count,
                   ended->target->breaker, now_us);
}

void route_end(struct route_try *attempt, const struct route_outcome *reported)
{
    struct route_try ended = *attempt;
    struct route_outcome ours = *reported;
    const struct route_outcome *outcome = &ours;
    ours.not_sent = ours.not_sent || ours.fault == FAULT_OVERLOADED; /* we could not ask it */
    const struct target *target = ended.target;
    *attempt = (struct route_try){0};
    if (!target)
        return;
    end_quotas(&ended, outcome);
    struct target_figures *figures = target->figures;
    if (!figures)
        return;
    predict_end(&figures->predict, &ended.call, end_of(outcome), outcome->output_tokens,
                outcome->now_us);
    atomic_fetch_sub_explicit(&figures->in_flight, 1, memory_order_relaxed);
    if (target->breaker && (!outcome->not_sent || ended.probe))
        health_report(&figures->health, target->breaker,
                      outcome->not_sent ? FAULT_CLIENT_GONE : outcome->fault, ended.probe,
                      outcome->retry_after_us, outcome->now_us);
    if (outcome->not_sent)
        return;
    atomic_fetch_add_explicit(&figures->attempts, 1, memory_order_relaxed);
    if (outcome->fault == FAULT_NONE || !fault_rule(outcome->fault)->blame_target)
        return;
    atomic_fetch_add_explicit(&figures->failures, 1, memory_order_relaxed);
    if (target->breaker)
        compare(&ended, outcome->now_us);
}
