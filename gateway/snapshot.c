/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration as one worker uses it: struct snapshot of worker_inside.h. */
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/counter_names.h"
#include "gateway/outbound.h"
#include "gateway/tracing.h"
#include "gateway/webhook.h"
#include "gateway/worker_inside.h"

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
    snapshot->references++;
    return snapshot;
}

void snapshot_unref(struct snapshot *snapshot)
{
    if (--snapshot->references > 0)
        return;
    for (size_t i = 0; i < snapshot->config->provider_count; i++)
        if (snapshot->pools[i])
            upstream_pool_unref(snapshot->pools[i]);
    for (size_t i = 0; i < snapshot->config->provider_count; i++)
        if (snapshot->sign_ins[i])
            sign_in_unref(snapshot->sign_ins[i]);
    memory_free(snapshot->sign_ins);
    memory_free(snapshot->turns);
    memory_free(snapshot->pools);
    counter_names_free(snapshot->counter_names);
    if (snapshot->tokens)
        tokens_free(snapshot->tokens);
    if (snapshot->webhooks)
        webhooks_free(snapshot->webhooks);
    tracing_unref(snapshot->tracing);
    directory_unref(snapshot->directory);
    config_unref(snapshot->config);
    memory_free(snapshot);
}

struct snapshot *snapshot_new(struct worker *worker, struct config *config,
                              struct directory *directory)
{
    struct snapshot *snapshot = memory_new(sizeof(*snapshot));
    snapshot->references = 1;
    snapshot->worker = worker;
    snapshot->config = config_ref(config);
    snapshot->directory = directory_ref(directory);
    snapshot->counter_names = counter_names_new();
    if (config->jwt.enabled)
        snapshot->tokens = tokens_new(&config->jwt.settings);
    if (config->guard)
        snapshot->webhooks = webhooks_new(worker->loop, worker->upstreams, config->guard);
    snapshot->tracing =
        tracing_ref(worker, &config->tracing, worker->now ? worker->now->tracing : NULL);
    if (snapshot->tokens && worker->jwks.keys)
        tokens_set_keys(snapshot->tokens, text_of(worker->jwks.keys));
    snapshot->pools = memory_new(config->provider_count * sizeof(*snapshot->pools));
    snapshot->turns = memory_new(config->provider_count * sizeof(unsigned));
    snapshot->sign_ins = memory_new(config->provider_count * sizeof(struct sign_in *));
    for (size_t i = 0; i < config->provider_count; i++) {
        struct fault fault;
        const struct provider_settings *provider = &config->providers[i];
        snapshot->sign_ins[i] = sign_in_ref(&worker->sign_ins, provider);
        snapshot->pools[i] = outbound_pool(worker->upstreams, provider, config->workers,
                                           worker->options.mock, &fault);
        if (!snapshot->pools[i] && !provider->off && !provider->slots)
            log_line(LOG_ERROR, "upstream", "provider %.*s: %s", TEXT_ARGS(provider->name),
                     fault.text);
    }
    return snapshot;
}
