/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/rule.h"

#include "routing/route.h"

enum { MILLION = 1000000 };

/* ------------------------------------------------------------------------------- conditions */

static bool is_one(const struct rule_condition *condition, struct text text)
{
    for (size_t i = 0; i < condition->value_count; i++)
        if (text_matches(text, condition->values[i]))
            return true;
    return false;
}

/* Who is in a tenant is meant with it. */
static bool is_tenant(const struct rule_condition *condition, const struct rule_call *call)
{
    if (is_one(condition, call->tenant))
        return true;
    for (size_t i = 0; i < call->parent_count; i++)
        if (is_one(condition, call->parents[i]))
            return true;
    return false;
}

static bool has_tag(const struct rule_condition *condition, struct text tags)
{
    struct text tag;
    while (text_next(&tags, ',', &tag)) {
        size_t equals = text_find_byte(tag, '=');
        struct text value = equals == SIZE_MAX ? (struct text){"", 0} : text_from(tag, equals + 1);
        if (text_equal(text_head(tag, equals), condition->name) && is_one(condition, value))
            return true;
    }
    return false;
}

/* A stretch over midnight belongs to the day on which it begins. */
static bool is_time(const struct rule_condition *condition, unsigned minute)
{
    unsigned day = minute / DAY_MINUTES % 7, at = minute % DAY_MINUTES;
    bool over = condition->from >= condition->to, within;
    if (!over)
        within = at >= condition->from && at < condition->to;
    else
        within = at >= condition->from || at < condition->to;
    if (over && at < condition->to && at < condition->from)
        day = (day + 6) % 7;
    return within && (!condition->days || condition->days >> day & 1);
}

static bool holds(const struct rule *rule, const struct rule_condition *condition,
                  const struct rule_call *call)
{
    switch (condition->subject) {
    case RULE_TENANT:
        return is_tenant(condition, call);
    case RULE_KEY:
        return is_one(condition, call->key);
    case RULE_USER:
        return call->user.len && is_one(condition, call->user);
    case RULE_MODEL:
        return is_one(condition, call->model) ||
               (call->route && is_one(condition, call->route->name));
    case RULE_TAG:
        return has_tag(condition, call->tags);
    case RULE_HEADER:
        return call->headers && call->headers[condition->place].at &&
               is_one(condition, call->headers[condition->place]);
    case RULE_INPUT_TOKENS:
        return call->input_tokens >= 0 && call->input_tokens >= condition->least &&
               call->input_tokens <= condition->most;
    case RULE_CAPABILITY:
        return (call->needs & condition->needs) == condition->needs;
    case RULE_TIME:
        return is_time(condition, call->minutes[condition->place]);
    case RULE_SAMPLE:
        return rule_samples(call->sticky[condition->sticky], rule->name, condition->share_ppm);
    }
    return false;
}

/* Has the model one of the rule's targets? */
static bool concerns(const struct rule *rule, const struct route *route)
{
    const struct route *goes_to = rule->model ? rule->model : route;
    for (size_t i = 0; goes_to && i < rule->target_count; i++)
        for (size_t k = 0; k < goes_to->target_count; k++)
            if (&goes_to->targets[k] == rule->targets[i])
                return true;
    return rule->target_count == 0;
}

bool rule_matches(const struct rule *rule, const struct rule_call *call)
{
    for (size_t i = 0; i < rule->condition_count; i++)
        if (!holds(rule, &rule->conditions[i], call))
            return false;
    /* A share of the calls is a trial, and not worth a refusal; what is a must, refuses. */
    return !rule->samples || concerns(rule, call->route);
}

const struct rule *rules_find(const struct rules *rules, const struct rule_call *call)
{
    for (size_t i = 0; i < rules->count; i++)
        if (rule_matches(&rules->list[i], call))
            return &rules->list[i];
    return NULL;
}

/* FNV-1a, the same in every process, so that replicas agree. */
static uint64_t hash_of(struct text text)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.at[i]) * UINT64_C(1099511628211);
    return hash;
}

bool rule_samples(uint64_t hash, struct text salt, unsigned share_ppm)
{
    uint64_t mixed = strategy_mix(hash ^ hash_of(salt));
    return (unsigned)((mixed >> 32) * MILLION >> 32) < share_ppm;
}

/* ------------------------------------------------------------------------------- reading */

static bool read_number(struct text text, int64_t *number)
{
    uint64_t count;
    if (!text_number(text_trim(text), INT64_MAX / 2, &count))
        return false;
    *number = (int64_t)count;
    return true;
}

bool rule_read_tokens(struct text text, int64_t *least, int64_t *most)
{
    text = text_trim(text);
    bool equal = text.len > 1 && text.at[1] == '=';
    size_t dash = text_find_byte(text, '-');
    char sign = text.len ? text.at[0] : 0;
    int64_t number;
    *least = 0;
    *most = INT64_MAX;
    if (dash != SIZE_MAX)
        return read_number(text_head(text, dash), least) &&
               read_number(text_from(text, dash + 1), most) && *least <= *most;
    if (sign != '>' && sign != '<' && sign != '=')
        return read_number(text, least);
    if (!read_number(text_from(text, sign != '=' && equal ? 2 : 1), &number))
        return false;
    if (sign == '>')
        *least = equal ? number : number + 1;
    else if (sign == '<')
        *most = equal ? number : number - 1;
    else
        *least = *most = number;
    return *most >= 0;
}

bool rule_read_clock(struct text text, unsigned *minutes)
{
    size_t colon = text_find_byte(text, ':');
    uint64_t hours, rest;
    if (colon == SIZE_MAX || text.len - colon != 3 || colon < 1 || colon > 2 ||
        !text_number(text_head(text, colon), 24, &hours) ||
        !text_number(text_from(text, colon + 1), 59, &rest) || (hours == 24 && rest > 0))
        return false;
    *minutes = (unsigned)(hours * 60 + rest);
    return true;
}
