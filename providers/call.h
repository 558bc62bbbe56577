/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * call - what a client asks of a model, and what it used, in our own words. A door of providers.
 *
 * Routing and policy read calls; they never see a provider's JSON.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

/* Which of a provider's tiers of service made an answer: what it costs per token depends on it. */
enum service_tier {
    SERVICE_STANDARD,
    SERVICE_PRIORITY, /* dearer: OpenAI's and Gemini's priority, Anthropic's fast mode */
    SERVICE_FLEX,     /* cheaper, and slower */
    SERVICE_BATCH,    /* cheaper, within a day */
    SERVICE_TIERS
};

/* The tier that a provider's word for it names; false: none that is known here ("auto" is one). */
bool service_tier_read(struct text word, enum service_tier *tier);
/* "priority", ...; never NULL. */
const char *service_tier_name(enum service_tier tier);

/* Tokens by kind; each a part of the total as the provider counted it. input_tokens includes the
 * cached and cache-write ones (some providers count a token as both), output_tokens includes the
 * reasoning ones. No part is more than its whole; all are between 0 and 2 * 10^12. */
struct usage {
    int64_t input_tokens;
    int64_t cached_tokens;      /* read from the provider's prompt cache */
    int64_t cache_write_tokens; /* written to it */
    int64_t output_tokens;
    int64_t reasoning_tokens;
    int64_t audio_input_tokens;
    int64_t audio_output_tokens;
    int64_t image_tokens; /* of the input */
    int64_t units;        /* what is priced by the piece: images, rankings, seconds, characters */
    enum service_tier service;
    int64_t cache_write_1h_tokens; /* of cache_write_tokens: what is kept for an hour */
    int64_t image_output_tokens;
    int64_t searches;          /* of the web, by the provider */
    int64_t told_nanos;        /* what the provider says that it costs; 0 = nothing; in no record */
    int64_t surcharge_percent; /* on all tokens, for where they had to be made */
};

/* Add the counts of <more>; the tier and the surcharge stay. */
void usage_add(struct usage *sum, const struct usage *more);

/* What kind of call it is: decides what is read from it and how its answer is watched. */
enum operation {
    OPERATION_CHAT,
    OPERATION_COMPLETION,
    OPERATION_RESPONSE,
    OPERATION_EMBEDDING,
    OPERATION_MODERATION,
    OPERATION_IMAGE,
    OPERATION_SPEECH,
    OPERATION_TRANSCRIPTION,
    OPERATION_RERANK,
    OPERATION_COUNT, /* how many tokens a call would have; nothing is made */
    OPERATION_FILE,
    OPERATION_BATCH,
    OPERATION_REALTIME,
    OPERATION_OBJECT, /* get, list, delete, cancel of something made before */
    OPERATIONS
};

const char *operation_name(enum operation operation);
/* Is such a call booked with tokens and money? Not what makes nothing; and not a session, whose
 * responses are booked one by one. */
bool operation_has_tokens(enum operation operation);

/* A call as far as routing and policy care. All texts live as long as the exchange. */
struct call {
    enum operation operation;
    struct text model; /* as the client asked */
    struct text user;  /* end user named in the request, or empty */
    bool stream;
    bool asked_usage;    /* the client itself asked for the usage chunk */
    int64_t max_tokens;  /* 0 = none given */
    int64_t choices;     /* n, at least 1 */
    int64_t pieces;      /* documents to rank, characters to speak; 0 = not known */
    int64_t spoken;      /* tokens of the speech that is asked for, at most; 0 = not known */
    int64_t input_bytes; /* length of the body */
    /* What it asks for, where it says so; else it is as the provider's account is set up. */
    enum service_tier service;
    bool service_said;
};

/* In another tier of service, nano-dollars per million tokens; all 0 = not known. */
struct service_price {
    int64_t input, cached_input, output;
};

/* Prices of a target in nano-dollars per million tokens (0.15 USD per million = 150,000,000), and
 * nano-dollars per request, per unit and per search. */
struct price {
    int64_t input, cached_input, cache_write, cache_write_1h, output, reasoning;
    int64_t audio_input, audio_output, image_input, image_output;
    int64_t request, unit, search;
    /* dearer (or cheaper) above a prompt length; 0 = no tier */
    int64_t tier_above_tokens, tier_input, tier_cached_input, tier_output;
    struct service_price services[SERVICE_TIERS]; /* of SERVICE_STANDARD: all 0 */
    uint32_t version; /* a checksum of the figures above: which price a row was rated with */
    bool known;
    bool standard_only; /* a dearer tier must not be asked for: what it costs is not known */
    bool no_search;     /* nor a search, where a budget would pay for it */
    bool search_once;   /* one search is paid for, however many the call makes */
    bool search_each;   /* and it is paid for of each call */
    bool is_told;       /* its answers say what they cost: that is booked where it is more */
};

/* -------------------------------------------------------------------------------- what it costs */

/* Put the checksum of the figures into <price>. The same on every machine. */
void price_seal(struct price *price);

/*
 * Nano-dollars for <usage>; saturates at INT64_MAX, never negative. Rounds up to a whole nano,
 * once, over the whole call.
 *
 * A kind of token with the figure 0 has no price of its own and costs what its whole costs: cached,
 * cache-write, audio and image input tokens as input, reasoning, audio and image output tokens as
 * output, a search as a unit. What is written for an hour costs twice the input where writing is
 * dearer than input at all, else as what is written. So a figure that nobody gave is never a gift.
 * A negative figure means free of charge.
 *
 * When the prompt is longer than tier_above_tokens, the whole call is rated at the tier's figures;
 * kinds that have none there rise in proportion with input or output. Counts below zero are zero;
 * parts that add up to more than their total are paid as reported.
 *
 * What the answer itself says that it costs is taken where it is more and <is_told>, but of what is
 * free of charge by its price.
 *
 * usage->service has figures of its own, or else the standard ones: all kinds that have none there
 * rise or fall with input and output, above a prompt length, too.
 */
int64_t price_cost(const struct price *price, const struct usage *usage);
/* The same of a prompt of which so many tokens are cached, and an answer: what a call is expected
 * to cost. Quick, for each choice asks it of each target. */
int64_t price_expect(const struct price *price, int64_t input, int64_t cached, int64_t output);

/* Is it known what tokens cost in a tier of service? */
bool price_has_service(const struct price *price, enum service_tier tier);
/* The price in a tier of service: <price> itself, or <room> filled in. */
const struct price *price_of_service(const struct price *price, enum service_tier tier,
                                     struct price *room);

/* The most that a call of at most so many tokens and units can cost in the standard tier: whatever
 * of them turns out to be cached, reasoning, audio or pictures, and on whichever side of a prompt
 * length it ends. Searches come beside it. */
int64_t price_bound(const struct price *price, int64_t input, int64_t output, int64_t units);
/* The same of a call that asks for nothing to be cached for an hour. */
int64_t price_bound_brief(const struct price *price, int64_t input, int64_t output, int64_t units);
/* How many searches of a call are paid for that was seen to make <searches>. price_cost() and
 * price_bound_with() take them as they are given: a usage may be that of many calls. */
static inline int64_t price_searches(const struct price *price, int64_t searches)
{
    if (price->search_each)
        return 1;
    return price->search_once && searches > 1 ? 1 : searches;
}
/* A <bound> in nano-dollars, with the surcharge and the searches of <usage>. */
int64_t price_bound_with(const struct price *price, const struct usage *usage, int64_t bound);

/* Are price_bound(), price_bound_brief() and price_bound_with() of <other> never more than those of
 * <price>, whatever the call? False, too, where that depends on the call. */
bool price_covers(const struct price *price, const struct price *other);
