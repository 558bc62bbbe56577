/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * target - one model at one provider: what a call is sent to. A door of routing.
 *
 * Declared in the configuration, immutable; the figures learnt about it live in `struct figures`,
 * which outlives reloads (found again by the target's id) and is shared by all workers (relaxed
 * atomics).
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"
#include "providers/call.h"
#include "routing/health.h"
#include "routing/hedge.h"
#include "routing/predict.h"
#include "routing/quota.h"
#include "routing/retry.h"

struct provider_settings; /* gateway/config/config.h: where it is and how it is reached */

/* What other processes say of a target, for people to see (hearsay.h). */
struct heard_figures {
    atomic_int_fast64_t nodes; /* that have told of it within the last seconds */
    atomic_int_fast64_t open;  /* of them, those whose circuit is not closed */
    atomic_int_fast64_t at_us; /* when the latest of them was written; 0 = never */
};

struct target_figures {
    atomic_uint_fast64_t attempts, failures, in_flight;
    /* means of whole calls, per mille; 0 = nothing learnt */
    atomic_int_fast64_t byte_tokens;   /* of input, of one byte of the body */
    atomic_int_fast64_t event_tokens;  /* of one event of a stream */
    atomic_int_fast64_t answer_tokens; /* of an answer in one piece */
    uint64_t identity;                 /* hash of its id, the same in every process */
    atomic_uint_fast64_t turns;        /* choices of the models whose first target this is */
    atomic_int_fast64_t chosen_us;     /* when the last of those was */
    atomic_int_fast64_t gap_ns;        /* between two of them: a mean; 0 = not known */
    atomic_int_fast64_t writes_milli;  /* tokens that each is expected to write: a mean; the same */
    struct predict_figures predict;
    struct health_figures health;
    struct heard_figures heard;
    struct quota_left left;
    struct quota_figures quota;  /* of its own limits */
    struct hedge_budget hedges;  /* of the models whose first target this is */
    struct retry_budget retries; /* of the models whose first target this is */
};

/* How it goes on with an answer that is begun: a last message of the assistant's, */
enum prefill {
    PREFILL_NONE,      /* not at all, or nobody knows */
    PREFILL_ASSISTANT, /* as it is (Anthropic's models before 4.6), */
    PREFILL_PREFIX,    /* marked "prefix": true (Mistral, DeepSeek), */
    PREFILL_CONTINUE,  /* with "continue_final_message": true beside it (vLLM, SGLang) */
};

/* What a call may need and not every model has: bits. */
enum can { CAN_VISION = 1, CAN_TOOLS = 2, CAN_JSON_SCHEMA = 4, CAN_AUDIO = 8, CAN_ALL = 15 };

struct target {
    struct text id;
    struct text model; /* the provider's own name for it */
    const struct provider_settings *provider;
    unsigned weight;   /* share among those of the same priority */
    unsigned priority; /* lower first */
    struct price price;
    enum service_tier service; /* what its account is set up for, where a call does not say */
    bool off; /* e.g. its provider has no key, or its price is unknown and rejected */
    const char *off_because;
    int64_t max_tokens_default; /* params.max_tokens, 0 = none */
    int64_t max_tokens_max;     /* what the model can write at most, 0 = not known */
    int64_t context_tokens;     /* the longest call, 0 = not known */
    unsigned can;               /* enum can; CAN_ALL where nobody says */
    const struct text *tags;    /* its own and its provider's: where it is, what it is for */
    size_t tag_count;
    enum prefill prefill;
    struct text adapter; /* of a deployment: only where this one is loaded; or empty */
    struct target_figures *figures;
    const struct breaker_settings *breaker; /* its provider's; NULL = it has none */
    struct quota quotas[2];                 /* its own, its provider's; figures NULL = none */
};

/* The figures of the target called <id>: the same for the life of the process, made when first
 * asked for. Any thread. */
struct target_figures *target_figures(struct text id);

/* The same of the limits of the provider called <name>. */
struct quota_figures *provider_quota(struct text name);

/* What is known of a call's tokens. */
struct target_call {
    int64_t body_bytes;
    bool stream;
    int64_t events; /* of a stream, with content */
    int64_t input_tokens, output_tokens;
};

/* Learn from a whole call, whose tokens the provider counted. Any thread. */
void target_learn(struct target_figures *figures, const struct target_call *call);
/* Put in what a call that was cut has used, as others let expect; leave as it is what nothing was
 * learnt of. Any thread. */
void target_expect(const struct target_figures *figures, struct target_call *call);
