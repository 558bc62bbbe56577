/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/tiers.h"

#include "gateway/crossing.h"

/* Is it told what the call says of it? Who does not speak the client's dialect has it in its own
 * words, where it has any for that. */
static bool is_told(const struct exchange *x, const struct provider_type *type)
{
    static const struct text others[] = {{"openai", 6}, {"bedrock", 7}};
    struct text own = x->match.dialect.len ? x->match.dialect : others[0];
    if (text_equal(type->dialect, own) || text_equal(type->second_dialect, own))
        return true;
    for (size_t i = x->wants_speed ? 1 : 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (text_equal(type->dialect, others[i]) || text_equal(type->chat_dialect, others[i]))
            return true;
    return false;
}

enum service_tier tiers_asked_apart(const struct exchange *x, const struct target *target)
{
    bool said = x->call.service_said && is_told(x, target->provider->type);
    return said ? x->call.service : target->service;
}

int64_t tiers_bound_apart(const struct exchange *x, const struct target *target, int64_t input,
                          int64_t output, int64_t units)
{
    int64_t standard = price_bound(&target->price, input, output, units);
    struct price room;
    if (tiers_asked(x, target) != SERVICE_PRIORITY)
        return standard;
    int64_t priority = price_bound(price_of_service(&target->price, SERVICE_PRIORITY, &room), input,
                                   output, units);
    return priority > standard ? priority : standard;
}

void tiers_note(const struct exchange *x, struct usage *usage)
{
    bool crosses = crossing_is_on(x);
    if (x->answer.service_seen && !crosses)
        usage->service = x->answer.service;
    else if (x->target && !(crosses && x->service_left_out))
        usage->service = tiers_asked(x, x->target);
}
