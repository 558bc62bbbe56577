/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/tiers.h"

#include "gateway/base/log.h"
#include "gateway/base/member.h"
#include "gateway/crossing.h"

static const struct text openai = {"openai", 6}, bedrock = {"bedrock", 7};

static enum service_tier dearer(enum service_tier a, enum service_tier b)
{
    static const int dear[SERVICE_TIERS] = {
        [SERVICE_PRIORITY] = 3, [SERVICE_STANDARD] = 2, [SERVICE_FLEX] = 1};
    return dear[a] >= dear[b] ? a : b;
}

/* Does it get the call's words as they are? */
static bool hears_client(const struct exchange *x, const struct provider_type *type)
{
    struct text own = x->match.dialect.len ? x->match.dialect : openai;
    return text_equal(type->dialect, own) || text_equal(type->second_dialect, own);
}

/* Has it words for this in another dialect than the client's, into which translators put it? */
static bool may_be_told(const struct exchange *x, const struct provider_type *type)
{
    const struct text words[] = {bedrock, openai};
    for (size_t i = 0; i < (x->wants_speed ? 1 : 2); i++)
        if (text_equal(type->dialect, words[i]) || text_equal(type->chat_dialect, words[i]))
            return true;
    return false;
}

/* Before it is asked nobody knows what a translator will write: the dearest of what it may. */
enum service_tier tiers_asked_apart(const struct exchange *x, const struct target *target)
{
    const struct provider_type *type = target->provider->type;
    if (!x->call.service_said)
        return target->service;
    if (hears_client(x, type))
        return x->call.service;
    return may_be_told(x, type) ? dearer(x->call.service, target->service) : target->service;
}

int64_t tiers_bound_apart(const struct exchange *x, const struct target *target, int64_t input,
                          int64_t output, int64_t units)
{
    int64_t standard = tiers_bound_at(x, &target->price, input, output, units);
    struct price room;
    if (tiers_asked(x, target) != SERVICE_PRIORITY)
        return standard;
    int64_t priority = tiers_bound_at(x, price_of_service(&target->price, SERVICE_PRIORITY, &room),
                                      input, output, units);
    return priority > standard ? priority : standard;
}

int64_t tiers_bound_with(const struct exchange *x, const struct target *target, int64_t bound)
{
    struct usage beside = {.searches = price_searches(&target->price, tiers_searches(x)),
                           .surcharge_percent = x->estimate_facts.surcharge_percent};
    return price_bound_with(&target->price, &beside, bound);
}

/* The words that a translator has written for the target, not those of the client. */
void tiers_read_written(struct exchange *x)
{
    struct text body = buffer_text(&x->seeking->translated_body);
    struct text value = member_find(body, TEXT("service_tier"));
    x->service_written = x->call.service_said;
    if (!value.at)
        value = member_find(member_find(body, TEXT("serviceTier")), TEXT("type"));
    if (service_tier_read(member_string(value), &x->service_told))
        return;
    x->service_told =
        SERVICE_PRIORITY; /* a word that nobody here knows may be for something dear */
    x->service_written = value.at && !text_equal(member_string(value), TEXT("auto"));
}

void tiers_note(const struct exchange *x, struct usage *usage)
{
    bool crosses = crossing_is_on(x);
    enum service_tier asked = SERVICE_STANDARD;
    usage->service = SERVICE_STANDARD;
    if (x->target && (usage->searches || usage->input_tokens || usage->output_tokens))
        usage->searches = price_searches(&x->target->price, usage->searches);
    if (x->answer.service_seen && !crosses) {
        usage->service = x->answer.service;
        if (usage->service == SERVICE_PRIORITY && x->target && x->target->price.standard_only)
            log_line(
                LOG_WARN, "price",
                "%s: %.*s has answered in the tier \"priority\", of which no price is known; it "
                "is booked at the plain one (providers[].service_tier, price.priority)",
                x->id, TEXT_ARGS(x->target->id));
        return;
    }
    if (!x->target)
        return;
    if (crosses)
        asked = x->service_written ? x->service_told : x->target->service;
    else
        asked = tiers_asked(x, x->target);
    /* Who passes words on that it does not know serves as ever, at the plain price: what the client
     * says may make a call dearer, cheaper only what the answer says, the account is set up for, or
     * we have asked for in words that are refused by who does not know them. */
    bool cheaper = asked == SERVICE_FLEX && (crosses || !x->call.service_said);
    if (asked == SERVICE_PRIORITY || cheaper)
        usage->service = asked;
}

void tiers_warn_searches(const struct exchange *x, const struct usage *usage)
{
    if (usage->searches > 0 && x->target && x->target->price.no_search)
        log_line(LOG_WARN, "price",
                 "%s: %.*s has searched %lld times, at a price that is not known: nothing is "
                 "booked for that (price.search)",
                 x->id, TEXT_ARGS(x->target->id), (long long)usage->searches);
}
