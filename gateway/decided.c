/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/decided.h"

#include "gateway/base/memory.h"
#include "gateway/decisions.h"
#include "gateway/ruling.h"
#include "routing/decision.h"

/* A record is written some time after its call has ended: longer, where the disk is slow. */
enum { LATE_US = 120000000 };

struct search {
    const struct config *config;
    const struct ledger_row *row;
    struct json_write *json;
    struct decision *decision; /* room for one */
    bool found;
};

static bool is_meant(const struct decision_end *end, const struct ledger_row *row)
{
    return end->wall_us / 1000 == row->started_us / 1000 && end->duration_us == row->duration_us &&
           end->first_us == row->ttft_us && end->status == row->status &&
           end->attempts == (int64_t)row->attempts && end->cost_nanos == row->cost_nanos;
}

static const struct route_policy *policy_of(const struct config *config, struct text name)
{
    for (size_t i = 0; i < config->policy_count; i++)
        if (text_equal(config->policies[i].name, name))
            return &config->policies[i];
    return text_equal(config->default_policy->name, name) ? config->default_policy : NULL;
}

static void write_candidate(const struct decision_candidate *one, const struct route_policy *policy,
                            struct json_write *json)
{
    struct target target = {.id = one->target, .priority = one->priority, .weight = one->weight};
    struct candidate candidate = {
        .target = &target, .strike = one->strike, .prediction = one->prediction};
    if (policy && one->has_prediction)
        candidate.score_nanos = strategy_score(policy, &one->prediction);
    ruling_write_candidate(json, &candidate);
}

static void write_decision(const struct search *search)
{
    const struct decision *decision = search->decision;
    const struct route_policy *policy = policy_of(search->config, decision->policy);
    struct json_write *json = search->json;
    json_open(json, '{');
    json_text_member(json, "model", decision->model);
    json_text_member(json, "policy", decision->policy);
    if (policy)
        json_text_member(json, "strategy", text_of(ruling_strategy_name(policy->strategy)));
    json_name(json, "choice");
    if (decision->chosen < decision->count)
        json_text(json, decision->candidates[decision->chosen].target);
    else
        json_null(json);
    json_name(json, "candidates");
    json_open(json, '[');
    for (size_t i = 0; i < decision->count; i++)
        write_candidate(&decision->candidates[i], policy, json);
    json_close(json, ']');
    json_close(json, '}');
}

static void see(void *with, struct text record)
{
    struct search *search = with;
    if (search->found || !decision_read(record, search->decision) ||
        !is_meant(&search->decision->end, search->row))
        return;
    search->found = true;
    write_decision(search);
}

void decided_write(const char *directory, const struct config *config, const struct ledger_row *row,
                   struct json_write *json)
{
    struct search search = {.config = config, .row = row, .json = json};
    int64_t ended_us = row->started_us + row->duration_us;
    search.decision = memory_new(sizeof(*search.decision));
    decisions_between(directory, ended_us, ended_us + LATE_US, see, &search);
    if (!search.found)
        json_null(json);
    memory_free(search.decision);
}
