/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "gateway/base/memory.h"
#include "routing/simulate_inside.h"

enum { TOKENS_MOST = 1 << 20, NOISY_EVERY = 20, NOISY_FOR = 4 };

static uint64_t draw(uint64_t *state)
{
    return strategy_mix((*state)++);
}

/* From 0 to 1, both left out. */
static double uniform(uint64_t *state)
{
    return ((double)(draw(state) >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(uint64_t *state)
{
    double radius = sqrt(-2 * log(uniform(state)));
    return radius * cos(2 * 3.14159265358979323846 * uniform(state));
}

static int64_t length_of(const struct simulate_answer *answer, uint64_t *state)
{
    double tokens = (double)answer->tokens;
    if (answer->memoryless)
        tokens *= -log(uniform(state));
    else if (answer->tail > 0)
        tokens /= pow(uniform(state), answer->tail);
    else if (answer->spread > 0)
        tokens *= exp(answer->spread * normal(state));
    return tokens < 1 ? 1 : tokens > TOKENS_MOST ? TOKENS_MOST : (int64_t)(tokens + 0.5);
}

/* What the mean of all answers is: what a gateway expects that has seen many. */
static double mean_of(const struct simulate_scenario *scenario)
{
    double sum = 0, shares = 0;
    for (size_t i = 0; i < scenario->answer_count; i++) {
        const struct simulate_answer *answer = &scenario->answers[i];
        double mean = (double)answer->tokens;
        if (answer->tail > 0)
            mean /= 1 - answer->tail;
        else if (!answer->memoryless)
            mean *= exp(answer->spread * answer->spread / 2);
        sum += answer->share * mean;
        shares += answer->share;
    }
    return shares > 0 ? sum / shares : 1;
}

static const struct simulate_answer *answer_of(const struct simulate_scenario *scenario,
                                               uint64_t *state)
{
    double shares = 0, at = uniform(state);
    for (size_t i = 0; i < scenario->answer_count; i++)
        shares += scenario->answers[i].share;
    at *= shares;
    for (size_t i = 0; i + 1 < scenario->answer_count; i++) {
        if (at < scenario->answers[i].share)
            return &scenario->answers[i];
        at -= scenario->answers[i].share;
    }
    return &scenario->answers[scenario->answer_count - 1];
}

/* How much more than usual comes at <at>. */
static double times_at(const struct simulate_scenario *scenario, double at)
{
    double every = (double)scenario->burst_every_us / 1e6,
           lasts = (double)scenario->burst_for_us / 1e6;
    return scenario->burst_times > 1 && every > 0 && fmod(at, every) < lasts ? scenario->burst_times
                                                                             : 1;
}

static void draw_call(const struct simulate_scenario *scenario, uint64_t *state, double at,
                      double mean, struct simulate_call *call)
{
    const struct simulate_answer *answer = answer_of(scenario, state);
    *call = (struct simulate_call){.came_at = at, .tokens = length_of(answer, state)};
    call->luck = normal(state);
    call->fate = uniform(state);
    call->replica = (unsigned)(draw(state) % scenario->replicas);
    uint64_t prefix = draw(state), prompt = draw(state);
    double noise = uniform(state);
    /* The noisy one calls for a fifth of the time only, five times as much then. */
    bool loud = fmod(at, NOISY_EVERY) < NOISY_FOR;
    double share = scenario->noisy_share * NOISY_EVERY / NOISY_FOR;
    call->noisy = loud && noise < (share < 0.9 ? share : 0.9);
    if (call->noisy)
        call->tokens = scenario->noisy_tokens;
    call->expected = scenario->lengths_known ? call->tokens
                     : call->noisy           ? scenario->noisy_tokens
                                             : (int64_t)(mean + 0.5);
    call->has_prefix = scenario->prefixes > 0;
    if (call->has_prefix) {
        call->prefix = (uint32_t)(prefix % scenario->prefixes);
        call->prompt = (uint32_t)(prompt % (scenario->prompts ? scenario->prompts : 1));
    }
    call->counts = at >= (double)scenario->warmup_us / 1e6;
}

struct simulate_call *simulate_draw(const struct simulate_scenario *scenario, uint64_t seed,
                                    size_t *count)
{
    uint64_t state = strategy_mix(seed + 1);
    double until = (double)scenario->seconds_us / 1e6, at = 0, mean = mean_of(scenario);
    double most = scenario->burst_times > 1 ? scenario->burst_times : 1;
    size_t room = 1024;
    struct simulate_call *calls = memory_new(room * sizeof(*calls));
    *count = 0;
    for (;;) { /* Poisson at the highest rate, thinned */
        at += -log(uniform(&state)) / (scenario->rate * most);
        if (at >= until || *count >= SIMULATE_CALLS_MAX)
            return calls;
        if (uniform(&state) * most > times_at(scenario, at))
            continue;
        if (*count == room) {
            room *= 2;
            calls = memory_resize(calls, room * sizeof(*calls));
        }
        draw_call(scenario, &state, at, mean, &calls[(*count)++]);
    }
}
