/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses.h: an answer is written as the events of a stream, or whole. Either way its
 * items are put together as it goes by; a stream is told of each step besides.
 */
#include "providers/openai_responses_events.h"

/* ----------------------------------------------------------------------------- the answer */

static void begin(struct responses_writer *w, const struct answer_event *event)
{
    const struct answer_way *way = w->base.way;
    struct arena *arena = &w->base.arena;
    struct text none = {NULL, 0};
    if (w->has_begun)
        return;
    w->has_begun = true;
    w->seed = inner_of(arena, way->id);
    w->id = responses_is_own(w) && event->id.len
                ? responses_keep(w, event->id)
                : arena_format(arena, "resp_%.*s", TEXT_ARGS(w->seed));
    w->model = event->model.len ? responses_keep(w, event->model) : inner_of(arena, way->model);
    if (!w->model.at)
        w->model = TEXT("");
    w->created = event->created ? event->created : way->now_s;
    response_learn(w);
    responses_event_tell_response(w, "response.created", "in_progress", none);
    responses_event_tell_response(w, "response.in_progress", "in_progress", none);
}

static void take_finish(struct responses_writer *w, const struct answer_event *event)
{
    w->finish = event->finish;
    responses_close_all(w);
}

static void take_field(struct responses_writer *w, const struct answer_event *event)
{
    if (!responses_is_own(w))
        return;
    if (inner_is(event->name, "usage"))
        w->usage_raw = responses_keep(w, event->raw);
    else if (w->field_count < CHAT_FIELDS_MAX)
        w->fields[w->field_count++] = (struct chat_field){.name = responses_keep(w, event->name),
                                                          .value = responses_keep(w, event->raw)};
}

static void end(struct responses_writer *w)
{
    struct text none = {NULL, 0};
    const char *status = response_status(w);
    responses_close_all(w);
    if (text_equal(text_of(status), TEXT("completed")))
        responses_event_tell_response(w, "response.completed", status, none);
    else if (text_equal(text_of(status), TEXT("incomplete")))
        responses_event_tell_response(w, "response.incomplete", status, none);
    else
        responses_event_tell_response(w, "response.failed", status, none);
}

/* A stream that fails says so in both ways in which clients look for it. */
static void fail(struct responses_writer *w, const struct answer_event *event)
{
    const struct fault_rule *rule = fault_rule(event->fault);
    struct text code = text_of(rule->code ? rule->code : "server_error");
    struct text message = event->text.at ? event->text : TEXT("");
    struct text error = arena_format(&w->base.arena, "{\"code\":\"%.*s\",\"message\":\"%.*s\"}",
                                     TEXT_ARGS(code), TEXT_ARGS(message));
    if (!w->out)
        return;
    responses_event_open(w, "error");
    put_inner(w->out, "code", code);
    put_inner(w->out, "message", message);
    put_json(w->out, "param", TEXT("null"));
    responses_event_close(w);
    responses_event_tell_response(w, "response.failed", "failed", error);
}

static void take(struct responses_writer *w, const struct answer_event *event)
{
    static const struct answer_event unsaid = {.kind = ANSWER_BEGIN};
    if (event->choice > 0) /* a response has one */
        return;
    if (!w->has_begun)
        begin(w, event->kind == ANSWER_BEGIN ? event : &unsaid);
    switch (event->kind) {
    case ANSWER_BEGIN:
        break;
    case ANSWER_PART:
        responses_part_begin(w, event);
        break;
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_DATA:
    case ANSWER_CITATION:
    case ANSWER_RAW:
    case ANSWER_PART_END:
        responses_part_take(w, event);
        break;
    case ANSWER_LOGPROBS:
        responses_text_logprobs(w, event->raw);
        break;
    case ANSWER_FINISH:
        take_finish(w, event);
        break;
    case ANSWER_USAGE:
        w->usage = *event->usage;
        break;
    case ANSWER_FIELD:
        take_field(w, event);
        break;
    case ANSWER_FAIL:
        fail(w, event);
        break;
    case ANSWER_END:
        end(w);
        break;
    }
}

void responses_write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    struct responses_writer *w = state;
    w->out = out;
    take(w, event);
}

/* ------------------------------------------------------------------------------ all at once */

struct whole_sink {
    struct answer_sink sink;
    struct responses_writer *w;
};

static void take_whole(struct answer_sink *sink, const struct answer_event *event)
{
    take(((struct whole_sink *)sink)->w, event);
}

void responses_write_whole(const struct answer_way *way, struct arena *arena,
                           const struct whole_answer *whole, struct buffer *out)
{
    struct responses_writer *w = arena_new(arena, sizeof(*w));
    struct whole_sink sink = {.sink = {take_whole}, .w = w};
    arena_init(&w->base.arena, 4096);
    w->base.way = way;
    whole_say(whole, &sink.sink);
    response_put(w, response_status(w), (struct text){NULL, 0}, out);
    arena_done(&w->base.arena);
}
