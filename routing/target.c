/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/target.h"

#include <pthread.h>

#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "routing/strategy.h"

enum {
    PER_MILLE = 1000,
    EVENTS_LEAST = 4, /* shorter streams say little */
    LEARN_PART = 8,   /* of the difference is taken over at each */
    TOKENS_MAX = 100000000,
};

/* Only loading a configuration comes here, so one lock is enough. Figures are never freed: calls
 * that began under an old configuration still report to them. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct table registry, quotas;

/* FNV-1a: replicas must agree on it. */
static uint64_t identity_of(struct text id)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < id.len; i++)
        hash = (hash ^ (unsigned char)id.at[i]) * UINT64_C(0x100000001b3);
    return strategy_mix(hash);
}

struct target_figures *target_figures(struct text id)
{
    pthread_mutex_lock(&lock);
    struct target_figures *figures = table_find(&registry, id);
    if (!figures) {
        figures = memory_new(sizeof(*figures));
        figures->identity = identity_of(id);
        table_set(&registry, text_of(memory_string(id)), figures);
    }
    pthread_mutex_unlock(&lock);
    return figures;
}

struct quota_figures *provider_quota(struct text name)
{
    pthread_mutex_lock(&lock);
    struct quota_figures *figures = table_find(&quotas, name);
    if (!figures) {
        figures = memory_new(sizeof(*figures));
        table_set(&quotas, text_of(memory_string(name)), figures);
    }
    pthread_mutex_unlock(&lock);
    return figures;
}

/* A lost update of two workers at once does no harm: the next call teaches the same. */
static void learn(atomic_int_fast64_t *mean, int64_t tokens, int64_t of)
{
    if (of <= 0 || tokens <= 0 || tokens > TOKENS_MAX)
        return;
    int64_t now = tokens * PER_MILLE / of,
            before = atomic_load_explicit(mean, memory_order_relaxed);
    int64_t next = before == 0 ? now : before + (now - before) / LEARN_PART;
    atomic_store_explicit(mean, next > 0 ? next : 1, memory_order_relaxed);
}

void target_learn(struct target_figures *figures, const struct target_call *call)
{
    learn(&figures->byte_tokens, call->input_tokens, call->body_bytes);
    if (!call->stream)
        learn(&figures->answer_tokens, call->output_tokens, 1);
    else if (call->events >= EVENTS_LEAST)
        learn(&figures->event_tokens, call->output_tokens, call->events);
}

static int64_t expect(const atomic_int_fast64_t *mean, int64_t of, int64_t otherwise)
{
    int64_t figure = atomic_load_explicit(mean, memory_order_relaxed);
    if (figure == 0 || of < 0 || of > TOKENS_MAX)
        return otherwise;
    int64_t product;
    return __builtin_mul_overflow(figure, of, &product) ? otherwise
                                                        : (product + PER_MILLE / 2) / PER_MILLE;
}

void target_expect(const struct target_figures *figures, struct target_call *call)
{
    call->input_tokens = expect(&figures->byte_tokens, call->body_bytes, call->input_tokens);
    call->output_tokens = call->stream
                              ? expect(&figures->event_tokens, call->events, call->output_tokens)
                              : expect(&figures->answer_tokens, 1, call->output_tokens);
}
