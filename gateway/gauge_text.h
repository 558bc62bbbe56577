/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gauge_text - what a model server says of itself in Prometheus' text format 0.0.4. Pure.
 *
 * vLLM (vllm:num_requests_waiting, _running, kv_cache_usage_perc), llama.cpp
 * (llamacpp:requests_deferred, _processing, kv_cache_usage_ratio), SGLang (sglang:num_queue_reqs,
 * num_running_reqs, token_usage), TGI (tgi_queue_size, tgi_batch_current_size). One with several
 * engines has a line for each: calls are summed, of the caches the fullest counts.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

struct gauges {
    int64_t waiting, running; /* calls; -1 = it does not say */
    int64_t cache_ppm;        /* of the KV cache that is taken; -1 = it does not say */
};

/* False when none of the names is there. Figures are bounded, never negative. */
bool gauge_text_read(struct text text, struct gauges *gauges);
