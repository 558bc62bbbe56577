/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "routing/rivals_inside.h"
#include "routing/strategy.h"

/* The documented defaults of each. */
static const double C3_ALPHA = 0.9, PREQUAL_QUANTILE = 0.84, PREQUAL_AGE = 1, PREQUAL_DELTA = 1;
enum { PREQUAL_PROBES = 3, PREQUAL_REMOVES = 1, PREQUAL_LEAST = 2, PREQUAL_USES_MAX = 16 };

/* -------------------------------------------------------------------------------------- C3 */

size_t choose_c3(const struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    double scores[RIVAL_TARGETS_MAX];
    for (size_t i = 0; i < rivals->count; i++) {
        const struct rival_target *target = &rivals->targets[i];
        double queue = 1 + (double)target->pending * rivals->replicas + target->queue;
        scores[i] = target->seen ? target->estimate - target->service +
                                       queue * queue * queue * target->service
                                 : 0;
    }
    return rival_least(scores, call->there, random);
}

/* The latest value has most of the weight. */
void end_c3(struct rival_target *target, const struct rival_end *end)
{
    double takes = target->seen ? C3_ALPHA : 1;
    target->estimate += takes * (end->seconds - target->estimate);
    target->service += takes * (end->service - target->service);
    target->queue += takes * (end->queue - target->queue);
}

/* --------------------------------------------------------------------------------- Prequal */

/* What was in flight at the servers that were probed lately: in their order, and sorted. */
static void note_in_flight(struct rival_pool *pool, unsigned in_flight)
{
    unsigned *sorted = pool->sorted, at = 0;
    if (pool->noted == RIVAL_NOTED) {
        while (sorted[at] != pool->notes[pool->next_note])
            at++;
        memmove(sorted + at, sorted + at + 1, sizeof(*sorted) * (RIVAL_NOTED - 1 - at));
        pool->noted--;
    }
    for (at = pool->noted; at > 0 && sorted[at - 1] > in_flight; at--)
        sorted[at] = sorted[at - 1];
    sorted[at] = in_flight;
    pool->noted++;
    pool->notes[pool->next_note] = in_flight;
    pool->next_note = (pool->next_note + 1) % RIVAL_NOTED;
}

static bool is_hot(const struct rival_pool *pool, const struct rival_probe *probe)
{
    unsigned at = pool->noted ? (unsigned)(PREQUAL_QUANTILE * (pool->noted - 1)) : 0;
    return pool->noted && probe->in_flight > pool->sorted[at];
}

static void remove_probe(struct rival_pool *pool, size_t at)
{
    memmove(pool->probes + at, pool->probes + at + 1,
            sizeof(pool->probes[0]) * (pool->count - at - 1));
    pool->count--;
}

/* How many calls a probe may serve, so that the pool neither runs dry nor gets old. Where there are
 * no more servers than places in it the paper's denominator is not above 0: as many as may be. */
static double uses_of(size_t servers)
{
    double fresh = (1 - (double)RIVAL_POOL / (double)servers) * PREQUAL_PROBES - PREQUAL_REMOVES;
    double uses = fresh > 0 ? (1 + PREQUAL_DELTA) / fresh : PREQUAL_USES_MAX;
    return uses < 1 ? 1 : uses > PREQUAL_USES_MAX ? PREQUAL_USES_MAX : uses;
}

/* Of a server the latest one is kept; they are in the order of their coming. */
static void add_probe(struct rivals *rivals, const struct rival_call *call, size_t target,
                      uint64_t *random)
{
    const struct rival_server *server = &call->servers[target];
    struct rival_pool *pool = &rivals->pool;
    double uses = uses_of(rivals->count);
    *random = strategy_mix(*random);
    double rounded = floor(uses + (double)(*random >> 11) / 9007199254740992.0);
    for (size_t i = 0; i < pool->count; i++)
        if (pool->probes[i].target == target)
            remove_probe(pool, i--);
    if (pool->count == RIVAL_POOL)
        remove_probe(pool, 0);
    unsigned in_flight = server->running + server->waiting;
    pool->probes[pool->count++] = (struct rival_probe){.target = target,
                                                       .at = call->now,
                                                       .latency = server->latency,
                                                       .in_flight = in_flight,
                                                       .uses_left = (unsigned)rounded};
    note_in_flight(pool, in_flight);
}

static void drop_old_probes(struct rival_pool *pool, double now, uint64_t there)
{
    for (size_t i = 0; i < pool->count; i++)
        if (now - pool->probes[i].at > PREQUAL_AGE || !(there & rival_bit(pool->probes[i].target)))
            remove_probe(pool, i--);
}

/* Is <a> the better one to ask? A cold one before a hot one; of cold ones by latency, of hot ones
 * by what is in flight. */
static bool is_better(const struct rival_pool *pool, const struct rival_probe *a,
                      const struct rival_probe *b)
{
    bool hot = is_hot(pool, a);
    if (hot != is_hot(pool, b))
        return !hot;
    bool fewer = a->in_flight < b->in_flight, equal = a->in_flight == b->in_flight;
    bool faster = a->latency < b->latency, same = !faster && !(b->latency < a->latency);
    return hot ? fewer || (equal && faster) : faster || (same && fewer);
}

/* By turns the oldest and the worst: the hot one with most in flight, else the slowest. */
static void remove_one(struct rival_pool *pool)
{
    size_t worst = 0;
    if (!pool->count)
        return;
    for (size_t i = 1; pool->worst_next && i < pool->count; i++) {
        const struct rival_probe *a = &pool->probes[i], *b = &pool->probes[worst];
        bool hot = is_hot(pool, a), other = is_hot(pool, b);
        bool more = hot ? a->in_flight > b->in_flight : a->latency > b->latency;
        if (hot != other ? hot : more)
            worst = i;
    }
    remove_probe(pool, worst);
    pool->worst_next = !pool->worst_next;
}

size_t choose_prequal(struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    struct rival_pool *pool = &rivals->pool;
    size_t chosen = rival_any(call->there, random), best = 0;
    drop_old_probes(pool, call->now, call->there);
    if (pool->count >= PREQUAL_LEAST) {
        for (size_t i = 1; i < pool->count; i++)
            if (is_better(pool, &pool->probes[i], &pool->probes[best]))
                best = i;
        chosen = pool->probes[best].target;
        pool->probes[best].in_flight++; /* the call that now goes there */
        if (--pool->probes[best].uses_left == 0)
            remove_probe(pool, best);
    }
    for (int i = 0; i < PREQUAL_REMOVES; i++)
        remove_one(pool);
    uint64_t left = call->there;
    for (int i = 0; i < PREQUAL_PROBES && left; i++) { /* their answers serve the next calls */
        size_t target = rival_any(left, random);
        left &= ~rival_bit(target);
        add_probe(rivals, call, target, random);
    }
    return chosen;
}

/* ------------------------------------------------------------------------------------- JIQ */

/* One that said to us that it is idle; it has to say so again. */
size_t choose_jiq(struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    uint64_t idle = rivals->idle & call->there;
    size_t chosen = rival_any(idle ? idle : call->there, random);
    if (idle)
        rivals->idle &= ~rival_bit(chosen);
    return chosen;
}
