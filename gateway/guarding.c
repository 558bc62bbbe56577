/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/guarding.h"

#include "gateway/base/log.h"
#include "gateway/worker_inside.h"

enum { CHANGED_MAX = 64 * 1024 * 1024, STREAM_MAX = 16 * 1024 * 1024 };

/* --------------------------------------------------------------------------- which rules */

static uint64_t concerns(const struct exchange *x, enum guard_stage stage)
{
    const struct guard *guard = x->snapshot->config->guard;
    struct text tenants[TENANT_DEPTH_MAX];
    size_t count = 0;
    if (!guard || !x->key)
        return 0;
    for (const struct tenant *at = x->key->tenant; at && count < TENANT_DEPTH_MAX; at = at->parent)
        tenants[count++] = at->name;
    return guard_concerns(guard, stage, tenants, count, x->route ? x->route->name : x->call.model);
}

/* ------------------------------------------------------------------------- what they say */

static void note(struct exchange *x, const struct guard_verdict *verdict, const char *where)
{
    uint64_t fresh = verdict->matched & ~x->guard_matched;
    x->guard_matched |= verdict->matched;
    for (size_t i = 0; fresh; i++, fresh >>= 1)
        if (fresh & 1)
            log_line(LOG_INFO, "guard", "%s: rule %.*s matched its %s", x->id,
                     TEXT_ARGS(guard_rule_at(x->snapshot->config->guard, i)->name), where);
}

static bool block(struct exchange *x, const struct guard_verdict *verdict, const char *where)
{
    return fault_set(&x->fault, FAULT_GUARDED, "The guardrail '%s' stopped this %s.",
                     verdict->rule ? verdict->rule : "", where);
}

bool guarding_request(struct exchange *x, bool *changed)
{
    struct guard_verdict verdict = {0};
    struct buffer out;
    uint64_t rules = concerns(x, GUARD_REQUEST);
    *changed = false;
    if (!rules || x->match.endpoint->body != BODY_JSON)
        return true;
    buffer_init(&out, CHANGED_MAX);
    guard_look(x->snapshot->config->guard, rules, GUARD_REQUEST, buffer_text(&x->body), &verdict,
               &out);
    note(x, &verdict, "request");
    *changed = verdict.changed && !verdict.blocks;
    if (*changed) {
        buffer_done(&x->body);
        x->body = out;
        x->body_bytes = (int64_t)buffer_length(&x->body);
    } else {
        buffer_done(&out);
    }
    return !verdict.blocks || block(x, &verdict, "request");
}

bool guarding_watches(struct exchange *x)
{
    if (!x->guard_known) {
        x->guard_rules = concerns(x, GUARD_RESPONSE);
        x->guard_known = true;
    }
    return x->guard_rules != 0;
}

bool guarding_whole(struct exchange *x)
{
    struct guard_verdict verdict = {0};
    if (!guarding_watches(x))
        return true;
    buffer_init(&x->guarded, STREAM_MAX);
    guard_look(x->snapshot->config->guard, x->guard_rules, GUARD_RESPONSE, x->whole, &verdict,
               &x->guarded);
    note(x, &verdict, "answer");
    if (verdict.blocks)
        return block(x, &verdict, "answer");
    if (verdict.changed) {
        x->whole = buffer_text(&x->guarded);
        x->length_out = (int64_t)x->whole.len;
    }
    return true;
}

static bool end_stream(struct exchange *x, struct guard_verdict *verdict)
{
    bool passes = guard_stream_end(x->guard_stream, verdict, &x->guarded);
    note(x, verdict, "answer");
    return passes || block(x, verdict, "answer");
}

bool guarding_event(struct exchange *x, struct text event, bool last)
{
    struct guard_verdict verdict = {0};
    if (!x->guard_stream) {
        x->guard_stream = guard_stream_new(x->snapshot->config->guard, x->guard_rules);
        buffer_init(&x->guarded, STREAM_MAX);
    }
    bool passes = guard_stream_event(x->guard_stream, event, &verdict, &x->guarded);
    if (passes && last) /* the last event may say all of the text once more */
        return end_stream(x, &verdict);
    note(x, &verdict, "answer");
    return passes || block(x, &verdict, "answer");
}

bool guarding_end(struct exchange *x)
{
    struct guard_verdict verdict = {0};
    return !x->guard_stream || end_stream(x, &verdict);
}

void guarding_forget(struct exchange *x)
{
    if (x->guard_stream)
        guard_stream_free(x->guard_stream);
    x->guard_stream = NULL;
    buffer_done(&x->guarded);
}

void guarding_put_header(const struct exchange *x, struct buffer *out)
{
    if (!x->guard_matched)
        return;
    const char *between = "x-sluice-guardrails: ";
    for (size_t i = 0; i < GUARD_RULES_MAX; i++) {
        if (!(x->guard_matched >> i & 1))
            continue;
        buffer_append_text(out, text_of(between));
        buffer_append_text(out, guard_rule_at(x->snapshot->config->guard, i)->name);
        between = ", ";
    }
    buffer_append_text(out, TEXT("\r\n"));
}
