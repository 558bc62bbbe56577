/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/health.h"

enum health_word health_look(const struct health_figures *figures, uint64_t now_us)
{
    int64_t until = atomic_load_explicit(&figures->cooling_until_us, memory_order_relaxed);
    return until > (int64_t)now_us ? HEALTH_COOLING : HEALTH_WELL;
}

bool health_take_probe(struct health_figures *figures, const struct breaker_settings *settings,
                       uint64_t now_us)
{
    (void)settings;
    return health_look(figures, now_us) == HEALTH_PROBE;
}

/* How long a Retry-After is believed at most. */
static const int64_t COOLING_MAX_US = INT64_C(600000000);

void health_report(struct health_figures *figures, const struct breaker_settings *settings,
                   enum fault_kind fault, bool probe, int64_t retry_after_us, uint64_t now_us)
{
    (void)settings;
    (void)probe;
    if (fault == FAULT_NONE || retry_after_us <= 0)
        return;
    int64_t wait = retry_after_us < COOLING_MAX_US ? retry_after_us : COOLING_MAX_US;
    atomic_store_explicit(&figures->cooling_until_us, (int64_t)now_us + wait, memory_order_relaxed);
}

enum circuit health_circuit(const struct health_figures *figures)
{
    (void)figures;
    return CIRCUIT_CLOSED;
}
