/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/mock/inside.h"

enum {
    TOKENS_LEAST = 16,      /* of an answer that nothing limits */
    TOKENS_SPREAD = 48,     /* and so many more, by its seed */
    COLLECT_TOKENS = 4096,  /* unstreamed answers up to this have a Content-Length */
    BIG_EVENT_TOKENS = 64,  /* in one event of a big answer */
    TOKENS_OF_MIB = 190000, /* make about a MiB of prose */
    CHOICES_MAX = 128,
};

static const int64_t TOKENS_MAX = 100000000;

/* -------------------------------------------------------------------------- reading members */

int64_t member_number(struct text object, const char *name, int64_t otherwise)
{
    int64_t number;
    return member_count(member_find(object, text_of(name)), TOKENS_MAX, &number) ? number
                                                                                 : otherwise;
}

bool member_true(struct text object, const char *name)
{
    return text_equal(member_find(object, text_of(name)), TEXT("true"));
}

struct text member_words(struct text object, const char *name)
{
    struct text words = member_string(member_find(object, text_of(name)));
    return words.at != NULL ? words : TEXT("");
}

/* ---------------------------------------------------------------------------- begin a call */

/* Is the last message an answer that is begun? */
static bool goes_on(struct text body)
{
    struct text messages = member_find(body, TEXT("messages")), name, item, last = {"", 0};
    while (member_next(&messages, &name, &item))
        last = item;
    return last.len > 0 && text_equal(member_words(last, "role"), TEXT("assistant"));
}

static void refuse_as_wished(struct caller *caller)
{
    const struct wish *wish = &caller->plan.wish;
    const char *code = wish->status == 429   ? "rate_limit_exceeded"
                       : wish->status == 401 ? "invalid_api_key"
                                             : NULL;
    refuse(caller, wish->status, code, NULL, "The mock was asked to refuse");
}

/* Refused for what stands in the request. */
static bool is_refused(struct caller *caller)
{
    unsigned faults = caller->plan.wish.faults;
    if (faults & MOCK_CONTEXT)
        refuse(caller, 400, "context_length_exceeded", "messages",
               "This model's maximum context length is 8 tokens. Please reduce the length of the "
               "messages.");
    else if (faults & MOCK_FILTER)
        refuse(caller, 400, "content_filter", "prompt",
               "The response was filtered due to the prompt triggering the content management "
               "policy.");
    else if (faults & MOCK_NO_PREFILL && goes_on(asked(caller)))
        refuse(caller, 400, NULL, "messages",
               "This model does not support assistant message prefill. The conversation must end "
               "with a user message.");
    else
        return false;
    return true;
}

/* Does what is asked for befall this call, the <number>-th of its model? */
static bool is_befallen(struct caller *caller, uint64_t number)
{
    struct mock *mock = caller->mock;
    const struct wish *wish = &caller->plan.wish;
    if (wish->flap_us > 0) {
        uint64_t now = loop_now_us(mock->loop);
        if (!mock->flap_since_us)
            mock->flap_since_us = now;
        if ((now - mock->flap_since_us) / (uint64_t)wish->flap_us % 2 == 1)
            return false;
    }
    if (wish->first > 0 && number > (uint64_t)wish->first)
        return false;
    return mock->next_id * 37 % 100 < (uint64_t)wish->odds;
}

bool call_begin_model(struct caller *caller, const char *id_prefix, struct text model)
{
    struct plan *plan = &caller->plan;
    if (model.len == 0 || model.len >= sizeof(plan->tally.model)) {
        refuse(caller, 400, "missing_required_parameter", "model", "you must provide a model");
        return false;
    }
    bool is_plain = head_may_write(model) && text_find_byte(model, '"') == SIZE_MAX &&
                    text_find_byte(model, '\\') == SIZE_MAX;
    if (is_plain)
        snprintf(plan->tally.model, sizeof(plan->tally.model), "%.*s", TEXT_ARGS(model));
    if (!is_plain || !wish_read(model, &plan->wish)) {
        refuse(caller, 404, "model_not_found", "model",
               "The mock does not know a word in that model's name");
        return false;
    }
    mock_id(caller->mock, id_prefix, plan->tally.id);
    plan->is_call = true;
    uint64_t number = counters_begin(caller->mock->counters, &plan->tally);
    if (!is_befallen(caller, number)) {
        plan->wish.faults = plan->wish.status = 0;
        if (plan->wish.flap_us > 0 || plan->wish.first > 0)
            plan->wish.delay_us = 0;
    }
    int64_t delay = plan->wish.delay_us > 0 ? plan->wish.delay_us : caller->mock->options.ttft_us;
    if (plan->wish.faults & MOCK_LATE)
        delay = caller->mock->options.ttft_us;
    if (plan->wish.rate == 0)
        plan->wish.rate = caller->mock->options.tokens_per_second;
    plan->begun_us += (uint64_t)delay;
    plan->due_us = plan->begun_us;
    if (plan->wish.status == 0)
        return !is_refused(caller);
    refuse_as_wished(caller);
    return false;
}

static void read_limits(struct caller *caller, struct text body)
{
    struct plan *plan = &caller->plan;
    plan->stream = plan->tally.stream = member_true(body, "stream");
    plan->choices = member_number(body, "n", 1);
    plan->choices = plan->choices < 1             ? 1
                    : plan->choices > CHOICES_MAX ? CHOICES_MAX
                                                  : plan->choices;
    plan->include_usage = member_true(member_find(body, TEXT("stream_options")), "include_usage") &&
                          !(plan->wish.faults & MOCK_NO_USAGE);
}

bool call_begin(struct caller *caller, const char *id_prefix, const char *const *prompts)
{
    struct plan *plan = &caller->plan;
    struct text body = asked(caller);
    if (body.len == 0 || body.at[0] != '{' || !scan_is_valid(body)) {
        refuse(caller, 400, NULL, NULL, "We could not parse the JSON body of your request.");
        return false;
    }
    if (member_find(body, text_of(prompts[0])).at == NULL) {
        refuse(caller, 400, "missing_required_parameter", prompts[0],
               "Missing required parameter: see param.");
        return false;
    }
    plan->prose.seed = caller->mock->options.seed;
    for (size_t i = 0; prompts[i] != NULL; i++) {
        struct text prompt = member_find(body, text_of(prompts[i]));
        if (prompt.at == NULL)
            continue;
        plan->tally.prompt_tokens += prose_count_json(prompt);
        plan->prose.seed = prose_seed(plan->prose.seed, prompt);
    }
    struct text model = member_words(body, "model");
    if (model.len == 0 && strcmp(id_prefix, "modr-") == 0)
        model = TEXT("omni-moderation-latest"); /* the one call that need not name one */
    bool is_good = call_begin_model(caller, id_prefix, model);
    read_limits(caller, body);
    return is_good;
}

static int64_t first_limit(struct text body)
{
    static const char *const names[] = {"max_completion_tokens", "max_tokens", "max_output_tokens"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int64_t limit = member_number(body, names[i], 0);
        if (limit > 0)
            return limit;
    }
    return INT64_MAX;
}

void call_measure(struct caller *caller)
{
    struct plan *plan = &caller->plan;
    struct prose *prose = &plan->prose;
    plan->per_event = 1;
    if (prose->said.len > 0)
        prose->tokens = prose_tokens_of(prose->said);
    else if (plan->wish.tokens > 0)
        prose->tokens = plan->wish.tokens;
    else if (caller->mock->options.tokens > 0)
        prose->tokens = caller->mock->options.tokens;
    else
        prose->tokens = TOKENS_LEAST + (int64_t)(prose->seed % TOKENS_SPREAD);
    if (plan->wish.big_mib > 0) {
        prose->tokens = plan->wish.big_mib * TOKENS_OF_MIB;
        plan->per_event = BIG_EVENT_TOKENS;
    }
    int64_t limit = first_limit(asked(caller));
    plan->limited = prose->tokens > limit;
    if (plan->limited)
        prose->tokens = limit;
    if (prose->tokens > TOKENS_MAX)
        prose->tokens = TOKENS_MAX;
}

/* -------------------------------------------------------------------------------- answering */

bool call_next(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    if (plan->at >= plan->prose.tokens)
        return false;
    for (int64_t i = 0; i < plan->per_event && plan->at < plan->prose.tokens; i++) {
        char room[PIECE_BYTES];
        put_escaped(out, prose_piece(&plan->prose, plan->at++, room));
        plan->tokens++;
    }
    return true;
}

void call_collect(struct caller *caller, const struct script *script)
{
    struct buffer all;
    buffer_init(&all, caller->plan.text.limit);
    script->begin(caller, &all);
    while (script->more(caller, &all))
        ;
    script->end(caller, &all);
    buffer_done(&caller->plan.text);
    caller->plan.text = all;
    caller->plan.text_sent = 0;
}

void call_speak(struct caller *caller, const struct script *stream, const struct script *whole)
{
    struct plan *plan = &caller->plan;
    int64_t tokens = plan->prose.tokens * plan->choices;
    if (plan->stream) {
        reply(caller, 200, "text/event-stream; charset=utf-8");
        plan->script = stream;
        return;
    }
    reply(caller, 200, "application/json");
    if (plan->wish.rate > 0)
        plan->due_us += (uint64_t)tokens * UINT64_C(1000000) / (uint64_t)plan->wish.rate;
    plan->wish.rate = 0; /* all of it is said at once */
    if (tokens <= COLLECT_TOKENS)
        call_collect(caller, whole);
    else
        plan->script = whole;
}

void call_reply(struct caller *caller)
{
    reply(caller, 200, "application/json");
}

void put_chat_usage(struct buffer *out, const struct plan *plan)
{
    long long output = (long long)plan->tokens + (long long)plan->wish.reasoning;
    long long input = (long long)plan->tally.prompt_tokens;
    int64_t cached = plan->wish.cached < plan->tally.prompt_tokens ? plan->wish.cached
                                                                   : plan->tally.prompt_tokens;
    put_format(out,
               "{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%lld,\"audio_tokens\":0},"
               "\"completion_tokens_details\":{\"reasoning_tokens\":%lld,\"audio_tokens\":0,"
               "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
               input, output, input + output, (long long)cached, (long long)plan->wish.reasoning);
}
