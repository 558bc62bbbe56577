/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/strategy.h"

#include <assert.h>

enum {
    MILLION = 1000000,
    COST_PPM = 400000, /* as the weights are by default */
    LATENCY_PPM = 400000,
    LOAD_PPM = 200000,
    SLACK_PART = 10,      /* of the time: less is not told apart */
    DOUBT_SAMPLES = 48,   /* more of them do not make a mean better that fades */
    DOUBT_TIMES = 9,      /* in 48ths of what p95 is above the mean, */
    DOUBT_DOUBLING = 3,   /* and so many more where there are twice as many targets */
    NARROW_PART = 30,     /* of the time of a long answer */
    COST_SLACK_PART = 50, /* of the price */
    CROWD_NUMERATOR = 5,  /* whom a prompt is drawn to has at most 5/4 of the others' work */
    CROWD_DENOMINATOR = 4,
    DRAWN = 2,        /* targets that a prompt may be drawn to */
    CROWD_CALLS = 2,  /* and so many calls more */
    GAIN_TIMES = 3,   /* of that, while it has the prompt in its cache */
    EXPLORE_PART = 4, /* of the half-life: figures are old */
    EXPLORE_SOON_PART = 64,
    EXPLORE_COST = 16000,
    LOAD_UNIT = 1 << 20,
    QUEUE_TIMES = 6,           /* who queues makes all wait that come after him, */
    CACHED_QUEUE_TIMES = 2,    /* less so where his prompt is in the cache */
    EXPOSED_NS = 12000000,     /* no more calls wait for one target than come within this time, */
    EXPOSED_GAP_NS = 16000000, /* where calls come so fast that it is a small part of them */
    EXPOSED_MORE = 2,          /* than a quarter more than the others have, */
    EXPOSED_TIMES = 3,         /* unless all others are so many times worse */
    AHEAD_PART = 4,  /* of a score: who is so much ahead is alone, who is so much behind is out */
    QUEUED_PART = 2, /* of the first token's time: a queue at all of them */
    ASIDE_PART = 2,  /* of its time: so much longer a long call may take for others */
};

/* ... but never older than this. */
static const int64_t EXPLORE_AFTER_US = INT64_C(30) * MILLION;
static const int64_t NANOS_MAX = INT64_MAX / 4;

const struct route_policy strategy_balanced = {
    .name = {"balanced", 8},
    .strategy = STRATEGY_SCORE,
    .second_nanos = 2 * MILLION, /* 0.2 cents */
    .cost_ppm = COST_PPM,
    .latency_ppm = LATENCY_PPM,
    .load_ppm = LOAD_PPM,
    .half_life_us = INT64_C(120) * MILLION,
    .explore_ppm = 20000,
    .sticky_ttl_us = INT64_C(600) * MILLION,
    .hedge_after_us = -1,
    .hedge_max_ppm = 20000,
};

uint64_t strategy_mix(uint64_t bits)
{
    bits += UINT64_C(0x9E3779B97F4A7C15);
    bits = (bits ^ bits >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    bits = (bits ^ bits >> 27) * UINT64_C(0x94D049BB133111EB);
    return bits ^ bits >> 31;
}

/* ---------------------------------------------------------------------------------- scores */

int64_t strategy_time(const struct route_policy *policy, const struct prediction *p)
{
    bool whole = policy->strategy != STRATEGY_LATENCY && policy->strategy != STRATEGY_COST;
    switch (policy->signal) {
    case SIGNAL_AUTO:
        return whole ? p->total_us : p->first_us;
    case SIGNAL_TTFT_P50:
        return p->first_us;
    case SIGNAL_TTFT_P95:
        return p->first_p95_us;
    case SIGNAL_TOTAL_P50:
        return p->total_us;
    case SIGNAL_TOTAL_P95:
        return p->total_us + p->first_p95_us - p->first_us;
    case SIGNAL_TOKENS_PER_SECOND: /* of a thousand tokens, and what stands in front of them */
        return p->token_ns + p->wait_us + p->penalty_us;
    }
    return p->first_us;
}

int64_t strategy_score(const struct route_policy *policy, const struct prediction *p)
{
    if (policy->strategy == STRATEGY_COST)
        return p->cost_nanos < NANOS_MAX ? p->cost_nanos : NANOS_MAX;
    bool usual = policy->strategy == STRATEGY_SCORE && policy->signal == SIGNAL_AUTO;
    int64_t time = usual ? p->total_us : strategy_time(policy, p);
    if (policy->strategy != STRATEGY_SCORE)
        return time * 1000;
    int64_t wait = p->wait_us < time ? p->wait_us : time;
    int64_t weighed =
        predict_scaled(time - wait, policy->latency_ppm, LATENCY_PPM) +
        predict_scaled(wait * (p->cached_tokens > 0 ? CACHED_QUEUE_TIMES : QUEUE_TIMES),
                       policy->load_ppm, LOAD_PPM);
    int64_t money = predict_scaled(p->cost_nanos, policy->cost_ppm, COST_PPM);
    int64_t score;
    if (__builtin_add_overflow(money, predict_scaled(weighed, policy->second_nanos, MILLION),
                               &score))
        return NANOS_MAX;
    return score > NANOS_MAX ? NANOS_MAX : score < 0 ? 0 : score;
}

/* Means of few calls that differ much are not known better than this, by how far the twentieth part
 * of the calls is above it, <over>. A mean that takes over one part in 24 is in the end as good as
 * one of 47; the fewer <samples> there were (0 = not said), the worse it is. The best of <count>
 * alike ones is the one that had the most luck: of two the worst is 2.8 standard errors behind it
 * in one of twenty cases, of ten 4.5. Who is left out for that stays idle while the others queue.
 */
static int64_t doubt_of(int64_t over, int64_t samples, size_t count)
{
    static const uint8_t parts[DOUBT_SAMPLES] = {
        48, 7,  10, 12, 14, 16, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27,
        28, 29, 30, 31, 31, 32, 33, 34, 34, 35, 36, 36, 37, 38, 38, 39,
        40, 40, 41, 41, 42, 43, 43, 44, 44, 45, 45, 46, 46, 47, 47, 48,
    };
    int64_t times = DOUBT_TIMES + DOUBT_DOUBLING * (63 - __builtin_clzll(count | 1));
    return over / parts[samples > 0 && samples < DOUBT_SAMPLES ? samples : 0] * times;
}

static int64_t doubt_us(const struct prediction *p, size_t count)
{
    return doubt_of(p->first_p95_us - p->first_us, p->samples, count);
}

/* How much worse than the best one may be without being told apart from it. */
static int64_t slack_of(const struct route_policy *policy, const struct bid *best, size_t count)
{
    const struct prediction *p = best->prediction;
    struct prediction calm = *p;
    calm.cost_nanos = 0;
    calm.total_us -= p->guess_us;
    if (policy->strategy == STRATEGY_COST)
        return p->cost_nanos / COST_SLACK_PART;
    int64_t slack = strategy_score(policy, &calm) / SLACK_PART, doubt = doubt_us(p, count);
    if (doubt <= p->first_us / SLACK_PART) /* as mostly */
        return slack;
    struct prediction part = {.total_us = doubt, .first_us = doubt, .first_p95_us = doubt};
    doubt = strategy_score(policy, &part);
    return slack > doubt ? slack : doubt;
}

/* The same where the answer is long: its tokens come more evenly than the first one. */
static int64_t narrow_slack_of(const struct route_policy *policy, const struct bid *best,
                               size_t count)
{
    struct prediction part = *best->prediction;
    int64_t half = part.first_us / 2, least = part.total_us / NARROW_PART;
    int64_t most = part.total_us / SLACK_PART;
    half = half > least ? half : least;
    part.cost_nanos = 0;
    half = half < most ? half : most;
    int64_t doubt = doubt_us(&part, count);
    part.total_us = half > doubt ? half : doubt;
    part.wait_us = 0;
    return strategy_score(policy, &part);
}

/* ---------------------------------------------------------------------------------- by load */

/* Calls in flight with this one, for its weight; among equals, the work that they are. */
struct load {
    int64_t weight, inside, calls, work;
};

/* Divisions are slow, and the next one has mostly the same weight, and often as many calls: <load>
 * is that of the one before. */
static int64_t load_of(const struct bid *bid, struct load *load)
{
    int64_t weight = bid->weight ? bid->weight : 1, work = bid->prediction->work_tokens;
    int64_t inside = bid->prediction->calls < LOAD_UNIT ? bid->prediction->calls + 1 : LOAD_UNIT;
    if (inside != load->inside || weight != load->weight) {
        *load = (struct load){.weight = weight, .inside = inside};
        load->calls = inside * LOAD_UNIT / weight;
    }
    work = weight == 1 || !work ? work : work / weight;
    return load->calls * LOAD_UNIT + (work < LOAD_UNIT - 1 ? work : LOAD_UNIT - 1);
}

/* The least of those in <set>, from a random one of them on: ties fall anywhere. */
static size_t least(const struct bid *bids, size_t count, uint64_t set, uint64_t random)
{
    size_t best = count;
    int64_t lowest = INT64_MAX;
    uint64_t before = set;
    struct load load = {.weight = 0};
    for (uint64_t skip = random % (uint64_t)__builtin_popcountll(set); skip > 0; skip--)
        before &= before - 1; /* those from there on; then the ones that were skipped */
    for (int round = 0; round < 2; round++)
        for (uint64_t left = round ? set & ~before : before; left; left &= left - 1) {
            size_t i = (size_t)__builtin_ctzll(left);
            int64_t now = load_of(&bids[i], &load);
            if (now < lowest) {
                lowest = now;
                best = i;
            }
        }
    return best;
}

/* log2 of a fraction of 2^64, negated, in 1/65536: of 0 .. 64. Good to a part in a thousand. */
static uint64_t minus_log2(uint64_t bits)
{
    if (!bits)
        return UINT64_C(64) << 16;
    unsigned zeros = (unsigned)__builtin_clzll(bits);
    uint64_t x = (bits << zeros << 1) >> 48; /* the fraction behind the leading 1 */
    /* log2(1 + x) is near x + 0.3437 x (1 - x) */
    uint64_t log = x + ((x * (65536 - x) >> 16) * 22525 >> 16);
    return ((uint64_t)(zeros + 1) << 16) - (log > 65536 ? 65536 : log);
}

/* Rendezvous hashing: each gets a number by its identity and <hash>; the one that is nearest for
 * its weight wins. When one goes, only its own calls move. */
static size_t draw(const struct bid *bids, size_t count, uint64_t set, uint64_t hash)
{
    size_t best = count;
    uint64_t nearest = 0;
    for (size_t i = 0; i < count; i++) {
        if (!(set >> i & 1) || (!bids[i].weight && best < count))
            continue;
        uint64_t weight = bids[i].weight ? bids[i].weight : 1;
        uint64_t way = (minus_log2(strategy_mix(hash ^ bids[i].identity)) << 20) / weight;
        if (best == count || way < nearest) {
            nearest = way;
            best = i;
        }
    }
    return best;
}

static size_t by_weight(const struct bid *bids, size_t count, uint64_t at)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += bids[i].weight;
    uint64_t share = sum ? sum : count;
    at = (uint64_t)((unsigned __int128)at * share >> 64);
    for (size_t i = 0; i < count; i++) {
        uint64_t weight = sum ? bids[i].weight : 1;
        if (at < weight)
            return i;
        at -= weight;
    }
    return 0;
}

/* The golden ratio: whatever the weights, turns are spread evenly. */
static size_t in_turn(const struct bid *bids, size_t count, uint64_t turn)
{
    bool equal = true;
    assert(count > 0);
    for (size_t i = 1; i < count; i++)
        equal = equal && bids[i].weight == bids[0].weight;
    return equal ? (size_t)(turn % count)
                 : by_weight(bids, count, turn * UINT64_C(0x9E3779B97F4A7C15));
}

/* --------------------------------------------------------------------------------- the best */

static size_t best_of(const struct bid *bids, size_t count, uint64_t set)
{
    size_t best = count;
    int64_t lowest = INT64_MAX; /* no score is so high */
    for (size_t i = 0; i < count; i++)
        if (bids[i].score < lowest && set >> i & 1) {
            lowest = bids[i].score;
            best = i;
        }
    return best;
}

static uint64_t near(const struct bid *bids, size_t count, uint64_t set, int64_t most)
{
    uint64_t found = 0;
    for (size_t i = 0; i < count; i++)
        found |= (uint64_t)(bids[i].score <= most) << i;
    return found & set;
}

/* Who costs more is dearer than <p>. */
static int64_t dear_of(const struct prediction *p)
{
    int64_t cost = p->cost_nanos < NANOS_MAX ? p->cost_nanos : NANOS_MAX;
    return cost + cost / COST_SLACK_PART;
}

/* Those of <set> of which so little is known that they may as well be as good as the best one: it
 * would be no wonder if a few calls of that one took as long. */
static uint64_t perhaps_near(const struct route_policy *policy, const struct bid *bids,
                             size_t count, uint64_t set, const struct bid *best)
{
    const struct prediction *p = best->prediction;
    int64_t over = p->first_p95_us - p->first_us;
    int64_t dear = dear_of(p); /* prices are no matter of luck */
    struct prediction part = {.total_us = over, .first_us = over, .first_p95_us = over};
    int64_t wide = -1;
    uint64_t found = 0;
    for (uint64_t left = set; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        int64_t samples = bids[i].prediction->samples;
        if (samples <= 0 || samples >= DOUBT_SAMPLES || bids[i].prediction->cost_nanos > dear)
            continue;
        if (wide < 0)
            wide = strategy_score(policy, &part);
        if (bids[i].score - best->score <= doubt_of(wide, samples, count))
            found |= left & -left;
    }
    return found;
}

/* May one that a prompt is drawn to take it, for all that it has to do? What stands in <set> is not
 * told apart by its time, a queue included: who has the prompt in its cache then gains by it. */
static bool has_room(const struct bid *bids, size_t count, uint64_t set, size_t at)
{
    const struct prediction *p = bids[at].prediction;
    int64_t work = 0, weights = 0;
    for (size_t i = 0; i < count; i++) {
        if (!(set >> i & 1))
            continue;
        work += bids[i].prediction->calls + 1;
        weights += bids[i].weight ? bids[i].weight : 1;
    }
    int64_t weight = bids[at].weight ? bids[at].weight : 1;
    int64_t fair = work * weight * CROWD_NUMERATOR / (weights * CROWD_DENOMINATOR);
    return p->calls + 1 <= (p->cached_tokens > 0 ? fair * GAIN_TIMES : fair) + CROWD_CALLS;
}

/* Of <at>, to which <prefix> is drawn, and the next ones after it among <left>, the one that has
 * read the fewest beginnings: so caches fill evenly, and all replicas still agree on a few. */
static size_t fewest_read(const struct bid *bids, size_t count, uint64_t left, size_t at,
                          uint64_t prefix)
{
    size_t best = at;
    for (int i = 1; i < DRAWN && left; i++) {
        size_t other = draw(bids, count, left, prefix);
        left &= ~(UINT64_C(1) << other);
        if (bids[other].prediction->prefixes < bids[best].prediction->prefixes)
            best = other;
    }
    return best;
}

/* Of those that have it, the one that it is drawn to: so a prompt is not kept by more than need be.
 * Where that one has more to do than another, that other. */
static size_t among_holders(const struct bid *bids, size_t count, uint64_t holders, uint64_t prefix,
                            uint64_t random)
{
    size_t at = draw(bids, count, holders, prefix);
    if (!(holders & (holders - 1)))
        return at;
    size_t idlest = least(bids, count, holders, random);
    int64_t weight = bids[at].weight ? bids[at].weight : 1;
    int64_t other = bids[idlest].weight ? bids[idlest].weight : 1;
    int64_t most = bids[idlest].prediction->calls * CROWD_NUMERATOR / CROWD_DENOMINATOR;
    return bids[at].prediction->calls * other > (most + CROWD_CALLS) * weight ? idlest : at;
}

/* Whoever has the beginning of the prompt in its cache, else whom it is drawn to. */
static size_t by_prefix(const struct bid *bids, size_t count, uint64_t set,
                        const struct chance *chance, const char **why)
{
    uint64_t left = set, holders = 0, prefix = chance->prefix;
    int64_t longest = 1;
    for (size_t i = 0; i < count; i++) {
        int64_t cached = bids[i].prediction->cached_tokens;
        if (!(set >> i & 1) || cached < longest || !has_room(bids, count, set, i))
            continue;
        holders = (cached > longest ? 0 : holders) | UINT64_C(1) << i;
        longest = cached;
    }
    *why = "prefix";
    if (holders)
        return among_holders(bids, count, holders, prefix, chance->random);
    while (left) {
        size_t at = draw(bids, count, left, prefix);
        left &= ~(UINT64_C(1) << at);
        if (!has_room(bids, count, set, at))
            continue;
        return fewest_read(bids, count, left, at, prefix);
    }
    return count;
}

static uint64_t everybody(size_t count)
{
    return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

static size_t pick_best(const struct route_policy *policy, const struct bid *bids, size_t count,
                        uint64_t all, const struct chance *chance, const char **why)
{
    size_t best = best_of(bids, count, all);
    uint64_t set = near(bids, count, all, bids[best].score + slack_of(policy, &bids[best], count));
    uint64_t perhaps = 0;
    if (policy->strategy != STRATEGY_COST && all & ~set)
        set |= perhaps = perhaps_near(policy, bids, count, all & ~set, &bids[best]);
    if (policy->strategy == STRATEGY_COST && set & (set - 1)) { /* time among equals */
        struct route_policy time = *policy;
        struct bid timed[64];
        time.strategy = STRATEGY_SCORE;
        for (size_t i = 0; i < count; i++) {
            timed[i] = bids[i];
            timed[i].score = strategy_score(&time, bids[i].prediction);
        }
        best = best_of(timed, count, set);
        set = near(timed, count, set, timed[best].score + slack_of(&time, &timed[best], count));
    }
    *why = "best";
    if (!(set & (set - 1)))
        return best;
    size_t at = chance->prefix ? by_prefix(bids, count, set, chance, why) : count;
    if (at < count)
        return at;
    *why = "best, least work";
    if (policy->strategy == STRATEGY_SCORE) /* of long answers, less: tokens come more evenly */
        set = perhaps | near(bids, count, set,
                             bids[best].score + narrow_slack_of(policy, &bids[best], count));
    return least(bids, count, set, chance->random);
}

/* For so many first tokens it may be waited at one target: should it stall at this moment, that
 * many calls are stuck there before anybody can know. */
static int64_t exposed_most(const struct bid *bids, size_t count, uint64_t set, int64_t gap_ns)
{
    int64_t waiting = 0, most = EXPOSED_NS / gap_ns;
    for (size_t i = 0; i < count; i++)
        waiting += bids[i].prediction->waiting;
    int64_t fair = waiting * 5 / (4 * (int64_t)__builtin_popcountll(set)) + EXPOSED_MORE;
    return fair > most ? fair : most;
}

/* Those that risk is shared among. Where one is far ahead of all others it is all of them; else the
 * better half, and who is not a quarter worse: among so many it is shared already, and the others,
 * which are worse, would not make it much smaller. */
static uint64_t sharers(const struct bid *bids, size_t count)
{
    int64_t sorted[64];
    assert(count > 1);
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        for (; at > 0 && sorted[at - 1] > bids[i].score; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = bids[i].score;
    }
    int64_t middle = sorted[count / 2];
    if (sorted[1] > sorted[0] + sorted[0] / AHEAD_PART)
        return everybody(count);
    return near(bids, count, everybody(count), middle + middle / AHEAD_PART);
}

/* Instead of <at>, for which too many wait: another one, if one is nearly as good and not dearer.
 * Not one that has failed lately: that is a greater risk than the one that is to be shared. */
static size_t spread_risk(const struct route_policy *policy, const struct bid *bids, size_t count,
                          size_t at, const struct chance *chance, const char **why)
{
    const struct prediction *chosen = bids[at].prediction;
    if (chance->gap_ns <= 0 || chance->gap_ns > EXPOSED_GAP_NS || chosen->cached_tokens)
        return at;
    if (chosen->waiting < exposed_most(bids, count, everybody(count), chance->gap_ns))
        return at;
    uint64_t among = chance->all_slow ? everybody(count) : sharers(bids, count), set = 0;
    int64_t most = exposed_most(bids, count, among, chance->gap_ns), dear = dear_of(chosen);
    if (chosen->waiting < most)
        return at;
    for (size_t i = 0; i < count; i++)
        if (among >> i & 1 && bids[i].prediction->waiting < most &&
            bids[i].prediction->cost_nanos <= dear &&
            bids[i].prediction->penalty_us <= bids[i].prediction->base_us / SLACK_PART &&
            bids[i].score / EXPOSED_TIMES <= bids[at].score)
            set |= UINT64_C(1) << i;
    return set ? pick_best(policy, bids, count, set, chance, why) : at;
}

/* Where all have a queue, a long call instead of <at> takes the longest one that does not make it
 * much longer: what it will hold a place for is waited for by those that come after it, and who is
 * short goes where the queue is short. Alike ones but for their queues; where all calls are alike,
 * too, none of them is long. */
static size_t stand_aside(const struct route_policy *policy, const struct bid *bids, size_t count,
                          size_t at, const struct chance *chance, const char **why)
{
    const struct prediction *chosen = bids[at].prediction;
    if (!chance->is_long || policy->signal != SIGNAL_AUTO || chosen->cached_tokens ||
        chosen->wait_us <= (chosen->base_us - chosen->wait_us) / QUEUED_PART)
        return at;
    int64_t alone = chosen->total_us - chosen->wait_us, longest = chosen->wait_us;
    int64_t dear = dear_of(chosen);
    for (size_t i = 0; i < count; i++) {
        const struct prediction *p = bids[i].prediction;
        if (p->wait_us <= longest || p->cost_nanos > dear ||
            p->total_us > chosen->total_us + chosen->total_us / ASIDE_PART ||
            p->total_us - p->wait_us > alone + alone / SLACK_PART)
            continue;
        longest = p->wait_us;
        at = i;
        *why = "long, longest queue";
    }
    return at;
}

size_t strategy_pick(const struct route_policy *policy, const struct bid *bids, size_t count,
                     const struct chance *chance, const char **why)
{
    size_t at;
    assert(count > 0);
    *why = "only one";
    if (count == 1)
        return 0;
    switch (policy->strategy) {
    case STRATEGY_SCORE:
        at = pick_best(policy, bids, count, everybody(count), chance, why);
        at = spread_risk(policy, bids, count, at, chance, why);
        return stand_aside(policy, bids, count, at, chance, why);
    case STRATEGY_LATENCY:
        at = pick_best(policy, bids, count, everybody(count), chance, why);
        return spread_risk(policy, bids, count, at, chance, why);
    case STRATEGY_COST:
        return pick_best(policy, bids, count, everybody(count), chance, why);
    case STRATEGY_LEAST_BUSY:
        *why = "least busy";
        return least(bids, count, everybody(count), chance->random);
    case STRATEGY_WEIGHTED:
        *why = "by weight";
        return by_weight(bids, count, chance->random);
    case STRATEGY_ROUND_ROBIN:
        *why = "in turn";
        return in_turn(bids, count, chance->turn);
    case STRATEGY_STICKY:
        *why = chance->sticky ? "sticky" : "by weight";
        return chance->sticky ? draw(bids, count, everybody(count), chance->sticky)
                              : by_weight(bids, count, chance->random);
    case STRATEGY_PRIORITY:
        break;
    }
    *why = "first";
    return 0;
}

/* ------------------------------------------------------------------------------ exploration */

/* Looking at <bid> makes one call so much slower than the best one would: it may be done so often
 * that all calls become slower by one part in EXPLORE_COST. */
static int64_t explore_due(const struct bid *bid, const struct bid *best, int64_t gap_ns)
{
    int64_t score = best->prediction->total_us > 0 ? best->prediction->total_us : 1;
    int64_t more = bid->prediction->total_us + bid->prediction->faded_us - score;
    if (more <= 0 || gap_ns <= 0)
        return 0;
    return predict_scaled(predict_scaled(more, EXPLORE_COST, score), gap_ns, 1000);
}

size_t strategy_explore(const struct route_policy *policy, const struct bid *bids, size_t count,
                        int64_t gap_ns)
{
    int64_t after = policy->half_life_us / EXPLORE_PART;
    after = after < EXPLORE_AFTER_US ? after : EXPLORE_AFTER_US;
    size_t oldest = count;
    const struct bid *best = &bids[best_of(bids, count, everybody(count))];
    for (size_t i = 0; i < count; i++) {
        const struct prediction *p = bids[i].prediction;
        int64_t cost = explore_due(&bids[i], best, gap_ns), most = 2 * policy->half_life_us;
        int64_t due = bids[i].better            ? policy->half_life_us / EXPLORE_SOON_PART
                      : cost > most || p->usual ? most
                      : cost > after            ? cost
                                                : after;
        if (p->age_us >= due && !p->calls &&
            (oldest == count || p->age_us > bids[oldest].prediction->age_us))
            oldest = i;
    }
    return oldest;
}
