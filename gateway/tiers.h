/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * tiers - in which of its tiers of service a target is asked, and has answered: what is held for a
 * call, and what it is booked at, follow from that. Inside gateway. Nothing here fails.
 *
 * A call asks for a tier by a member of its body or a header; where it says nothing (or "auto"),
 * the provider's account decides (providers[].service_tier). Its answer says which one it was: that
 * counts, but for answers in another dialect than their provider's, which may say anything. Where
 * it does not say, what was written for the target counts, and that only to make it dearer. A
 * dearer tier may be asked for only where its price is known (ledger.unknown_price).
 */

#include "gateway/exchange.h"

/* As price_bound() of the call: what is not looked at may be cached for an hour. */
static inline int64_t tiers_bound_at(const struct exchange *x, const struct price *price,
                                     int64_t input, int64_t output, int64_t units)
{
    return x->estimated && !x->estimate_facts.keeps_hour
               ? price_bound_brief(price, input, output, units)
               : price_bound(price, input, output, units);
}

/* The same of calls that say something, and of accounts that are set up for another tier. */
enum service_tier tiers_asked_apart(const struct exchange *x, const struct target *target);
int64_t tiers_bound_apart(const struct exchange *x, const struct target *target, int64_t input,
                          int64_t output, int64_t units);

/* Is it asked for the standard tier, as nearly all calls are? */
static inline bool tiers_are_usual(const struct exchange *x, const struct target *target)
{
    return !x->call.service_said && target->service == SERVICE_STANDARD;
}

/* What <target> is asked for, or the dearest of what it may be. */
static inline enum service_tier tiers_asked(const struct exchange *x, const struct target *target)
{
    return tiers_are_usual(x, target) ? SERVICE_STANDARD : tiers_asked_apart(x, target);
}

/* Is the price known of what <target> would be asked for? */
static inline bool tiers_are_priced(const struct exchange *x, const struct target *target)
{
    return !target->price.standard_only || tiers_asked(x, target) != SERVICE_PRIORITY;
}

/* May all of <route> be asked for the standard tier, or a cheaper one? */
static inline bool tiers_are_plain(const struct exchange *x, const struct route *route)
{
    return route->sum.plain && !(x->call.service_said && x->call.service == SERVICE_PRIORITY);
}

/* How often the provider may search for the call, as far as it was looked at. */
static inline int64_t tiers_searches(const struct exchange *x)
{
    int64_t each = x->estimated ? x->estimate_facts.searches : 0;
    return each ? each * (x->call.choices > 1 ? x->call.choices : 1) : 0;
}

/* <bound> with what those searches cost, and with a surcharge. */
int64_t tiers_bound_with(const struct exchange *x, const struct target *target, int64_t bound);

/* As price_bound(), in nano-dollars: in the dearest tier that <target> may answer in, and with what
 * it may search. */
static inline int64_t tiers_bound(const struct exchange *x, const struct target *target,
                                  int64_t input, int64_t output, int64_t units)
{
    int64_t bound = tiers_are_usual(x, target)
                        ? tiers_bound_at(x, &target->price, input, output, units)
                        : tiers_bound_apart(x, target, input, output, units);
    bool more = x->estimated && (x->estimate_facts.searches || target->price.search_each ||
                                 x->estimate_facts.surcharge_percent);
    return more ? tiers_bound_with(x, target, bound) : bound;
}

/* Note what has been written for x->target, whose words are not the client's. */
void tiers_read_written(struct exchange *x);
/* Put into <usage> in which tier x->target has answered; what it has not said is as it was asked.
 * Of its searches those stay that are paid for. */
void tiers_note(const struct exchange *x, struct usage *usage);
/* Say in the log that x->target has searched for the call at a price that nobody knows. */
void tiers_warn_searches(const struct exchange *x, const struct usage *usage);
