/* SPDX-License-Identifier: Apache-2.0 */
/* What was considered when a target was chosen, in words: for x-sluice-decision and explain. */
#include "gateway/base/json.h"
#include "gateway/base/json_write.h"
#include "gateway/decisions.h"
#include "gateway/reserve.h"
#include "gateway/ruling.h"
#include "gateway/worker_inside.h"
#include "routing/decision.h"

enum {
    DECISION_MAX = 4096, /* about: no candidate is begun beyond it */
    DECISION_ROOM = 16384,
};

const char *ruling_strategy_name(enum strategy strategy)
{
    static const char *const names[] = {
        [STRATEGY_SCORE] = "score",
        [STRATEGY_WEIGHTED] = "weighted",
        [STRATEGY_PRIORITY] = "priority",
        [STRATEGY_LATENCY] = "latency",
        [STRATEGY_COST] = "cost",
        [STRATEGY_LEAST_BUSY] = "least_busy",
        [STRATEGY_ROUND_ROBIN] = "round_robin",
        [STRATEGY_STICKY] = "sticky",
    };
    return names[strategy];
}

void ruling_write_candidate(struct json_write *json, const struct candidate *candidate)
{
    const struct prediction *prediction = &candidate->prediction;
    bool struck = candidate->strike != STRIKE_NONE;
    json_open(json, '{');
    json_text_member(json, "target", candidate->target->id);
    if (struck)
        json_text_member(json, "strike", text_of(strike_name(candidate->strike)));
    if (prediction->first_us > 0 || !struck) {
        json_int_member(json, "first_us", prediction->first_us);
        json_int_member(json, "p95_us", prediction->first_p95_us);
        json_int_member(json, "total_us", prediction->total_us);
        json_int_member(json, "wait_us", prediction->wait_us);
        json_int_member(json, "token_ns", prediction->token_ns);
        json_int_member(json, "cost_nanos", prediction->cost_nanos);
        json_int_member(json, "cached_tokens", prediction->cached_tokens);
        json_int_member(json, "score_nanos", candidate->score_nanos);
        json_int_member(json, "priority", candidate->target->priority);
        json_int_member(json, "weight", candidate->target->weight);
    }
    json_close(json, '}');
}

void ruling_write_choice(const struct exchange *x, struct json_write *json,
                         const struct choice *choice)
{
    const struct route_policy *policy = ruling_policy(x);
    if (x->ruling.rule)
        json_text_member(json, "rule", x->ruling.rule->name);
    json_text_member(json, "policy", policy->name);
    json_text_member(json, "strategy", text_of(ruling_strategy_name(policy->strategy)));
    if (choice->target)
        json_text_member(json, "choice", choice->target->id);
    json_text_member(json, "why", text_of(choice->why));
    if (choice->relaxed != STRIKE_NONE)
        json_text_member(json, "relaxed", text_of(strike_name(choice->relaxed)));
}

bool ruling_notes(const struct exchange *x)
{
    bool logs = x->snapshot->config->telemetry.decisions && x->attempts == 0;
    return x->ruling.explain || (logs && !x->ruling.first_decision.len);
}

void ruling_note(struct exchange *x, const struct route *route, const struct choice *choice)
{
    struct buffer out;
    struct json_write json = {.out = &out};
    size_t left_out = 0;
    buffer_init(&out, DECISION_ROOM);
    json_open(&json, '{');
    json_text_member(&json, "model", route->name);
    ruling_write_choice(x, &json, choice);
    json_name(&json, "candidates");
    json_open(&json, '[');
    for (size_t i = 0; i < choice->count; i++) {
        if (buffer_length(&out) > DECISION_MAX)
            left_out++;
        else
            ruling_write_candidate(&json, &choice->candidates[i]);
    }
    json_close(&json, ']');
    if (left_out)
        json_int_member(&json, "left_out", (int64_t)left_out);
    json_close(&json, '}');
    if (!json.is_full)
        x->ruling.decision = arena_copy(&x->arena, buffer_text(&out));
    if (!x->ruling.first_decision.len)
        x->ruling.first_decision = x->ruling.decision;
    buffer_done(&out);
}

void ruling_record(struct exchange *x, const struct route *route, const struct choice *choice)
{
    __attribute__((uninitialized)) char bytes[DECISION_BYTES];
    const struct config *config = x->snapshot->config;
    if (!x->worker->decisions || !config->keep_decisions_us || x->ruling.record.len ||
        config->capture == CAPTURE_NOTHING)
        return;
    size_t len = decision_write_choice(choice, route, ruling_policy(x)->name, bytes);
    x->ruling.record = arena_copy(&x->arena, (struct text){bytes, len});
}

void ruling_keep(struct exchange *x, const struct ledger_row *row)
{
    char bytes[DECISION_END_BYTES];
    if (!x->ruling.record.len)
        return;
    struct decision_end end = {.wall_us = row->started_us,
                               .status = row->status,
                               .attempts = row->attempts,
                               .first_us = row->ttft_us,
                               .duration_us = row->duration_us,
                               .cost_nanos = row->cost_nanos};
    size_t len = decision_write_end(&end, bytes);
    decisions_put(x->worker->decisions, (struct text){bytes, len}, x->ruling.record);
}

void ruling_put_headers(struct exchange *x, struct buffer *out)
{
    const struct rule *rule = x->ruling.rule;
    if (!x->ruling.explain)
        return;
    if (rule && head_may_write(rule->name))
        buffer_format(out, "x-sluice-rule: %.*s\r\n", TEXT_ARGS(rule->name));
    if (x->ruling.decision.len && head_may_write(x->ruling.decision))
        buffer_format(out, "x-sluice-decision: %.*s\r\n", TEXT_ARGS(x->ruling.decision));
    reserve_put_explained(x, out);
}
