/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/guarding.h"

#include "gateway/base/log.h"
#include "gateway/webhook.h"
#include "gateway/worker_inside.h"

enum { CHANGED_MAX = 64 * 1024 * 1024, STREAM_MAX = 48 * 1024 * 1024 };

/* --------------------------------------------------------------------------- which rules */

/* A response that was kept is asked for by its id: its model is one of those whose target it is. */
static bool is_kept_response(const struct exchange *x)
{
    return x->call.operation == OPERATION_OBJECT &&
           text_starts(x->match.endpoint->path, TEXT("/responses/"));
}

static bool may_have_made(const struct route *route, const struct target *target)
{
    for (size_t i = 0; i < route->target_count; i++)
        if (text_equal(route->targets[i].id, target->id))
            return true;
    return false;
}

static uint64_t concerns(const struct exchange *x, enum guard_stage stage)
{
    const struct config *config = x->snapshot->config;
    const struct guard *guard = config->guard;
    struct text tenants[TENANT_DEPTH_MAX];
    size_t count = 0;
    if (!guard || !x->key)
        return 0;
    for (const struct tenant *at = x->key->tenant; at && count < TENANT_DEPTH_MAX; at = at->parent)
        tenants[count++] = at->name;
    uint64_t rules = 0;
    if (!x->route && x->pinned && is_kept_response(x)) {
        for (size_t i = 0; i < config->model_count; i++)
            if (may_have_made(&config->models[i], x->pinned))
                rules |= guard_concerns(guard, stage, tenants, count, config->models[i].name);
        return rules;
    }
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
    return fault_set(exchange_fault(x), FAULT_GUARDED, "The guardrail '%s' stopped this %s.",
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
    if (x->is_makers) /* whatever members the model's maker has thought of */
        return fault_set(exchange_fault(x), FAULT_UNSUPPORTED,
                         "The guardrails cannot look into bodies of this model's own form; ask for "
                         "it with Converse.");
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

/* Sound, pictures and vectors have no text to look at. */
static bool has_text(const struct exchange *x)
{
    enum operation operation = x->call.operation;
    return is_kept_response(x) || operation == OPERATION_CHAT ||
           operation == OPERATION_COMPLETION || operation == OPERATION_RESPONSE ||
           operation == OPERATION_TRANSCRIPTION;
}

bool guarding_watches(struct exchange *x)
{
    if (!x->guard_known) {
        x->guard_rules = has_text(x) ? concerns(x, GUARD_RESPONSE) : 0;
        x->guard_known = true;
    }
    return x->guard_rules != 0;
}

bool guarding_whole(struct exchange *x)
{
    struct guard_verdict verdict = {0};
    if (!guarding_watches(x))
        return true;
    guard_look(x->snapshot->config->guard, x->guard_rules, GUARD_RESPONSE, x->whole, &verdict,
               exchange_buffer(x, &x->guarded, STREAM_MAX));
    note(x, &verdict, "answer");
    if (verdict.blocks)
        return block(x, &verdict, "answer");
    if (verdict.changed) {
        x->whole = buffer_text(x->guarded);
        x->length_out = (int64_t)x->whole.len;
    }
    return true;
}

static bool end_stream(struct exchange *x, struct guard_verdict *verdict)
{
    bool passes = guard_stream_end(x->guard_stream, verdict, x->guarded);
    note(x, verdict, "answer");
    return passes || block(x, verdict, "answer");
}

static enum guard_form stream_form(const struct exchange *x)
{
    if (x->array_out)
        return GUARD_FORM_ITEMS;
    if (x->restating)
        return GUARD_FORM_EVENTS; /* of OpenAI's */
    switch (x->dialect->framing) {
    case FRAMING_LINES:
        return GUARD_FORM_LINES;
    case FRAMING_AWS:
        return GUARD_FORM_FRAMES;
    case FRAMING_SSE:
        break;
    }
    return GUARD_FORM_EVENTS;
}

bool guarding_event(struct exchange *x, struct text event, bool last)
{
    struct guard_verdict verdict = {0};
    if (!x->guard_stream) {
        x->guard_stream =
            guard_stream_new(x->snapshot->config->guard, x->guard_rules, stream_form(x));
        exchange_buffer(x, &x->guarded, STREAM_MAX);
    }
    bool passes = guard_stream_event(x->guard_stream, event, &verdict, x->guarded);
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

/* ------------------------------------------------------------------------------ webhooks */

struct guard_question {
    struct webhook_call call; /* first: its callback gets only this */
    struct exchange *x;
    enum guard_form form;
    bool answered;
};

static void on_answer(struct webhook_call *call)
{
    struct guard_question *question = (struct guard_question *)(void *)call;
    struct exchange *x = question->x;
    question->answered = true;
    note(x, &call->verdict, question->form == GUARD_FORM_REQUEST ? "request" : "answer");
    x->facts.guard_waits = false;
    exchange_run(x);
}

static void ask(struct exchange *x, uint64_t rules, enum guard_form form, struct text body)
{
    struct webhooks *webhooks = x->snapshot->webhooks;
    if (!webhooks || !webhooks_among(webhooks, rules))
        return;
    struct guard_question *question = memory_new(sizeof(*question));
    question->x = x;
    question->form = form;
    question->call = (struct webhook_call){
        .webhooks = webhooks,
        .rules = rules,
        .form = form,
        .body = body,
        .tenant = x->key->tenant->name,
        .key = x->key->name,
        .model = x->route ? x->route->name : x->call.model,
        .request_id = text_of(x->id),
        .done = on_answer,
    };
    x->guard_question = question;
    x->facts.guard_waits = true;
    webhook_ask(&question->call);
}

static void forget_question(struct exchange *x)
{
    if (!x->guard_question)
        return;
    webhook_forget(&x->guard_question->call);
    memory_free(x->guard_question);
    x->guard_question = NULL;
    x->facts.guard_waits = false;
}

void guarding_ask_request(struct exchange *x)
{
    if (x->match.endpoint->body == BODY_JSON && x->snapshot->webhooks)
        ask(x, concerns(x, GUARD_REQUEST), GUARD_FORM_REQUEST, buffer_text(&x->body));
}

void guarding_ask_answer(struct exchange *x)
{
    bool events = x->relay == RELAY_EVENTS;
    struct text passed = x->guarded ? buffer_text(x->guarded) : TEXT("");
    if (guarding_watches(x) && !x->guard_question)
        ask(x, x->guard_rules, events ? stream_form(x) : GUARD_FORM_ANSWER,
            events ? passed : x->whole);
}

/* Put what they have changed in the place of what they were asked about. */
static void take_changed(struct exchange *x, struct buffer *out, enum guard_form form)
{
    if (form != GUARD_FORM_REQUEST && !x->guarded)
        exchange_buffer(x, &x->guarded, STREAM_MAX);
    struct buffer *to = form == GUARD_FORM_REQUEST ? &x->body : x->guarded;
    buffer_done(to);
    *to = *out;
    buffer_init(out, out->limit);
    if (form == GUARD_FORM_REQUEST) {
        x->body_bytes = (int64_t)buffer_length(to);
    } else if (form == GUARD_FORM_ANSWER) {
        x->whole = buffer_text(to);
        x->length_out = (int64_t)x->whole.len;
    }
}

bool guarding_answered(struct exchange *x, bool *changed)
{
    struct guard_question *question = x->guard_question;
    *changed = false;
    if (!question)
        return true;
    struct webhook_call *call = &question->call;
    bool blocks = call->verdict.blocks;
    if (blocks && call->message[0])
        fault_set(exchange_fault(x), FAULT_GUARDED, "%s", call->message);
    else if (blocks)
        block(x, &call->verdict, question->form == GUARD_FORM_REQUEST ? "request" : "answer");
    *changed = call->verdict.changed && !blocks;
    if (*changed)
        take_changed(x, &call->out, question->form);
    forget_question(x);
    return !blocks;
}

void guarding_forget(struct exchange *x)
{
    forget_question(x);
    if (x->guard_stream)
        guard_stream_free(x->guard_stream);
    x->guard_stream = NULL;
    x->guard_begun = x->guard_begun && x->head_sent; /* another target may only go on with it */
    if (x->guarded)
        buffer_done(x->guarded);
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
