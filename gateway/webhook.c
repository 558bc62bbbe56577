/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/webhook.h"

#include <stdio.h>

#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/base/utf8.h"
#include "gateway/wire/ask.h"

enum {
    CONNECTIONS_MAX = 64, /* of a worker to one place */
    IDLE_MAX = 16,
    IDLE_US = 60000000,
    HEAD_MAX = 16 * 1024,
    BODY_OUT_MAX = 40 * 1024 * 1024, /* as large as a body or a gathered stream may be */
};

struct place {
    struct url url;
    struct upstream_pool *pool; /* NULL: not a webhook, or it cannot be reached */
};

struct webhooks {
    struct loop *loop;
    const struct guard *guard;
    size_t count;
    struct place places[GUARD_RULES_MAX]; /* by the index of the rule */
};

/* One question at a time. */
struct webhook_state {
    struct grave grave;
    struct webhook_call *owner; /* NULL once it was forgotten */
    struct ask ask;
    size_t at; /* the rule that is asked */
    struct guard_texts *texts;
    struct buffer head, question;
};

/* ------------------------------------------------------------------------------- places */

static void open_place(struct place *place, struct upstreams *upstreams,
                       const struct guard_rule *rule)
{
    struct fault fault = {0};
    const char *problem = NULL;
    if (!url_read(rule->url, &place->url, &problem)) {
        log_line(LOG_ERROR, "guard", "%.*s: %s", TEXT_ARGS(rule->name), problem);
        return;
    }
    char *host = memory_string(place->url.host);
    struct upstream_place where = {
        .host = host,
        .port = place->url.port,
        .is_unix = place->url.is_unix,
        .has_tls = place->url.tls,
        .connect_us = rule->timeout_us,
        .idle_us = IDLE_US,
        .max_connections = CONNECTIONS_MAX,
        .max_idle = IDLE_MAX,
    };
    place->pool = upstream_pool_ref(upstreams, &where, &fault);
    if (!place->pool)
        log_line(LOG_ERROR, "guard", "%.*s: %s", TEXT_ARGS(rule->name), fault.text);
    memory_free(host);
}

struct webhooks *webhooks_new(struct loop *loop, struct upstreams *upstreams,
                              const struct guard *guard)
{
    struct webhooks *webhooks = memory_new(sizeof(*webhooks));
    const struct guard_rule *rule;
    webhooks->loop = loop;
    webhooks->guard = guard;
    for (; guard && (rule = guard_rule_at(guard, webhooks->count)); webhooks->count++)
        if (rule->type == GUARD_WEBHOOK)
            open_place(&webhooks->places[webhooks->count], upstreams, rule);
    return webhooks;
}

void webhooks_free(struct webhooks *webhooks)
{
    if (!webhooks)
        return;
    for (size_t i = 0; i < webhooks->count; i++)
        if (webhooks->places[i].pool)
            upstream_pool_unref(webhooks->places[i].pool);
    memory_free(webhooks);
}

uint64_t webhooks_among(const struct webhooks *webhooks, uint64_t rules)
{
    uint64_t among = 0;
    for (size_t i = 0; webhooks && i < webhooks->count; i++)
        if (guard_rule_at(webhooks->guard, i)->type == GUARD_WEBHOOK)
            among |= rules & 1ULL << i;
    return among;
}

/* -------------------------------------------------------------------------- the question */

static void put(struct buffer *out, const char *words)
{
    buffer_append_text(out, text_of(words));
}

static void put_member(struct buffer *out, const char *name, struct text value)
{
    json_write_key(out, text_of(name));
    json_write_string(out, value);
    put(out, ",");
}

static void write_question(const struct webhook_call *call, struct webhook_state *state)
{
    struct buffer *out = &state->question;
    buffer_clear(out);
    put(out, "{");
    put_member(out, "stage", call->form == GUARD_FORM_REQUEST ? TEXT("request") : TEXT("response"));
    put_member(out, "tenant", call->tenant);
    put_member(out, "key", call->key);
    put_member(out, "model", call->model);
    put_member(out, "request_id", call->request_id);
    put(out, "\"texts\":[");
    for (size_t i = 0; i < guard_texts_count(state->texts); i++) {
        put(out, i ? "," : "");
        json_write_string(out, guard_texts_at(state->texts, i));
    }
    put(out, "]}");
}

static void write_head(const struct place *place, struct webhook_state *state)
{
    struct buffer *out = &state->head;
    buffer_clear(out);
    ask_put_head(out, "POST", &place->url, NULL, place->pool);
    buffer_format(out,
                  "Accept: application/json\r\nContent-Type: application/json\r\n"
                  "Content-Length: %zu\r\n\r\n",
                  buffer_length(&state->question));
}

/* --------------------------------------------------------------------------- the verdict */

static void ask_next(struct webhook_state *state);

static const struct guard_rule *rule_of(const struct webhook_state *state)
{
    return guard_rule_at(state->owner->webhooks->guard, state->at);
}

static void say(struct webhook_call *call, struct text message)
{
    size_t len = 0, step;
    while (len < message.len && (step = utf8_length(message.at + len, message.len - len)) &&
           len + step <= WEBHOOK_MESSAGE_MAX && (unsigned char)message.at[len] >= ' ')
        len += step;
    memcpy(call->message, message.at, len);
    call->message[len] = '\0';
}

/* The rule has something against it; a rule that only flags stops nothing. */
static bool object(struct webhook_state *state, struct text message)
{
    struct webhook_call *call = state->owner;
    const struct guard_rule *rule = rule_of(state);
    call->verdict.matched |= 1ULL << state->at;
    if (rule->action == GUARD_FLAG)
        return true;
    call->verdict.blocks = true;
    call->verdict.rule = guard_rule_name(call->webhooks->guard, state->at);
    say(call, message);
    return false;
}

/* False: it is over. */
static bool fail(struct webhook_state *state, const char *why)
{
    const struct guard_rule *rule = rule_of(state);
    log_line(LOG_WARN, "guard", "%.*s: webhook %.*s: %s", TEXT_ARGS(state->owner->request_id),
             TEXT_ARGS(rule->name), why);
    if (rule->allow_on_error)
        return true;
    state->owner->failed = rule->action != GUARD_FLAG;
    return object(state, TEXT("A check that this call needs could not be made."));
}

static bool redact(struct webhook_state *state, const struct json *list)
{
    size_t count = guard_texts_count(state->texts);
    struct webhook_call *call = state->owner;
    if (json_kind(list) != SCAN_ARRAY || json_count(list) != count)
        return fail(state, "its texts are not as many as those it was asked about");
    struct text *texts = memory_new(count * sizeof(*texts) + 1);
    bool good = true;
    for (size_t i = 0; i < count && good; i++)
        good = json_to_text(json_item(list, i), &texts[i]);
    struct buffer out;
    buffer_init(&out, BODY_OUT_MAX);
    call->verdict.matched |= 1ULL << state->at;
    bool notes = rule_of(state)->action == GUARD_FLAG;
    bool made = good && (notes || guard_texts_replace(state->texts, texts, &out));
    memory_free(texts);
    if (!made || notes) {
        buffer_done(&out);
        return made || fail(state, "its texts cannot stand where the old ones are");
    }
    guard_texts_free(state->texts); /* it borrows from the old body */
    state->texts = NULL;
    buffer_done(&call->out);
    call->out = out;
    call->verdict.changed = true;
    return true;
}

static bool judge(struct webhook_state *state)
{
    struct json_problem problem;
    if (state->ask.status != 200)
        return fail(state, "it did not answer with 200");
    struct json *answer = json_read(buffer_text(&state->ask.answer), &problem);
    struct text action = {"", 0}, message = {"", 0};
    json_to_text(json_member(answer, "action"), &action);
    json_to_text(json_member(answer, "message"), &message);
    bool passes = true;
    if (text_equal(action, TEXT("block")))
        passes = object(state, message);
    else if (text_equal(action, TEXT("redact")))
        passes = redact(state, json_member(answer, "texts"));
    else if (text_equal(action, TEXT("flag")))
        state->owner->verdict.matched |= 1ULL << state->at;
    else if (!text_equal(action, TEXT("allow")))
        passes = fail(state, "its answer is none of allow, block, redact, flag");
    json_free(answer);
    return passes;
}

/* ------------------------------------------------------------------------------ its course */

static void free_state(struct grave *grave)
{
    struct webhook_state *state = LIST_MEMBER(grave, struct webhook_state, grave);
    buffer_done(&state->head);
    buffer_done(&state->question);
    memory_free(state);
}

static void stop(struct webhook_state *state)
{
    ask_done(&state->ask);
    guard_texts_free(state->texts);
    state->texts = NULL;
}

static void finish(struct webhook_state *state)
{
    struct webhook_call *call = state->owner;
    stop(state);
    call->state = NULL;
    loop_bury(state->ask.loop, &state->grave, free_state);
    call->done(call);
}

/* The rule is dealt with: on to the next one, unless this was enough. */
static void go_on(struct webhook_state *state, bool passes)
{
    stop(state);
    state->at++;
    if (passes)
        ask_next(state);
    else
        finish(state);
}

static void on_over(struct ask *ask, const char *problem)
{
    struct webhook_state *state = LIST_MEMBER(ask, struct webhook_state, ask);
    go_on(state, problem ? fail(state, problem) : judge(state));
}

static struct text body_now(const struct webhook_call *call)
{
    return call->verdict.changed ? buffer_text(&call->out) : call->body;
}

static void ask(struct webhook_state *state)
{
    struct webhook_call *call = state->owner;
    const struct place *place = &call->webhooks->places[state->at];
    state->texts = guard_texts_new(call->form, body_now(call));
    if (!state->texts) {
        go_on(state, fail(state, "there is too much text to ask about"));
        return;
    }
    if (!place->pool) {
        go_on(state, fail(state, "it cannot be reached"));
        return;
    }
    if (guard_texts_count(state->texts) == 0) {
        go_on(state, true);
        return;
    }
    write_question(call, state);
    write_head(place, state);
    state->ask.timeout_us = (uint64_t)rule_of(state)->timeout_us;
    ask_begin(&state->ask, place->pool, buffer_text(&state->head), buffer_text(&state->question));
}

static void ask_next(struct webhook_state *state)
{
    const struct webhook_call *call = state->owner;
    while (state->at < call->webhooks->count && !(call->rules >> state->at & 1))
        state->at++;
    if (state->at == call->webhooks->count)
        finish(state);
    else
        ask(state);
}

void webhook_ask(struct webhook_call *call)
{
    struct webhook_state *state = memory_new(sizeof(*state));
    call->rules = webhooks_among(call->webhooks, call->rules);
    call->state = state;
    state->owner = call;
    state->ask = (struct ask){
        .loop = call->webhooks->loop, .answer_max = WEBHOOK_ANSWER_MAX, .on_over = on_over};
    buffer_init(&call->out, BODY_OUT_MAX);
    buffer_init(&state->head, HEAD_MAX);
    buffer_init(&state->question, 8 * GUARD_TEXT_MAX); /* six times the text, all in escapes */
    ask_next(state);
}

void webhook_forget(struct webhook_call *call)
{
    struct webhook_state *state = call->state;
    call->state = NULL;
    if (state) {
        stop(state);
        loop_bury(state->ask.loop, &state->grave, free_state);
    }
    buffer_done(&call->out);
}
