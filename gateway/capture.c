/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/capture.h"

#include "gateway/content.h"
#include "gateway/worker_inside.h"
#include "providers/transcript.h"

enum {
    CONTENT_MAX = 32 * 1024, /* bytes of each text */
    BODY_MAX = 1024 * 1024,  /* a longer call takes too long to read */
    ANSWER_TEXT_MAX = 512 * 1024,
};

struct capture {
    struct trace_content content;
    struct transcript *answer; /* NULL = nothing has come yet, or nobody listens any more */
    bool listened;
};

static bool may_be_kept(const struct exchange *x)
{
    for (const struct tenant *tenant = x->key ? x->key->tenant : NULL; tenant;
         tenant = tenant->parent)
        if (tenant->no_capture)
            return false;
    return true;
}

static bool is_conversation(const struct exchange *x)
{
    enum operation operation = x->call.operation;
    return operation == OPERATION_CHAT || operation == OPERATION_COMPLETION ||
           operation == OPERATION_RESPONSE;
}

static void read_call(struct exchange *x, const struct translator *words)
{
    struct text body = buffer_text(&x->body);
    struct capture *capture = x->capture;
    struct transcript_call made;
    struct fault fault = {0};
    struct arena arena;
    if (!body.len || body.len > BODY_MAX) {
        capture->content.cut = body.len > 0;
        return;
    }
    arena_init(&arena, 4 * 1024);
    const struct chat *chat =
        translate_read(&arena, words, body, x->call.model, x->call.stream, &fault);
    if (chat) {
        transcript_of_call(&arena, chat, CONTENT_MAX, &made);
        capture->content.input = arena_copy(&x->arena, made.messages);
        capture->content.system = arena_copy(&x->arena, made.system);
        capture->content.tools = arena_copy(&x->arena, made.tools);
        capture->content.cut = made.cut;
    } else {
        capture->content.cut = true;
    }
    arena_done(&arena);
}

static bool is_kept(const struct exchange *x)
{
    return x->snapshot->config->capture == CAPTURE_CONTENT && x->worker->content;
}

static bool is_wanted(const struct exchange *x)
{
    return is_kept(x) || (x->trace && x->snapshot->config->tracing.capture_content);
}

void capture_begin(struct exchange *x)
{
    const struct translator *words;
    if (x->capture || !is_wanted(x) || !is_conversation(x) ||
        x->match.endpoint->body != BODY_JSON || !may_be_kept(x))
        return;
    words = translator_find(exchange_dialect(x), x->call.operation);
    if (!words)
        return;
    x->capture = arena_new(&x->arena, sizeof(*x->capture));
    read_call(x, words);
}

static void begin_listening(struct exchange *x, bool stream)
{
    struct capture *capture = x->capture;
    if (capture->listened)
        return;
    capture->listened = true;
    const struct translator *words = translator_find(exchange_dialect(x), x->call.operation);
    if (words && !x->array_out) /* a stream that is one array is neither a stream nor a body */
        capture->answer = transcript_new(words, stream, CONTENT_MAX);
}

void capture_answer(struct exchange *x, struct text piece)
{
    if (x->status / 100 != 2 || x->refused || x->relay == RELAY_TUNNEL)
        return;
    begin_listening(x, x->relay == RELAY_EVENTS);
    transcript_feed(x->capture->answer, piece);
}

/* It is about to be given, whole. Who has left does not hear it, and what guardrails have not
 * decided on, or have stopped, nobody does. */
static bool is_given(const struct exchange *x)
{
    return x->relay == RELAY_WHOLE && !x->facts.client_gone && !x->facts.guard_waits &&
           !x->guard_question && !x->guard_blocked;
}

const struct trace_content *capture_end(struct exchange *x)
{
    struct capture *capture = x->capture;
    struct buffer out;
    bool cut = false;
    if (!capture)
        return NULL;
    if (is_given(x) && !capture->listened)
        capture_answer(x, x->whole);
    if (capture->answer) {
        buffer_init(&out, ANSWER_TEXT_MAX);
        transcript_write(capture->answer, &out, &cut);
        if (!out.overrun)
            capture->content.output = arena_copy(&x->arena, buffer_text(&out));
        capture->content.cut = capture->content.cut || cut || out.overrun;
        buffer_done(&out);
    }
    capture_forget(x);
    return &capture->content;
}

void capture_settle(struct exchange *x, const struct ledger_row *row)
{
    const struct trace_content *said = is_kept(x) ? capture_end(x) : NULL;
    if (!said || (!said->input.len && !said->output.len && !said->cut))
        return;
    struct content_entry entry = {.id = row->id,
                                  .tenant = row->tenant,
                                  .user = row->user,
                                  .started_us = row->started_us,
                                  .input = said->input,
                                  .system = said->system,
                                  .tools = said->tools,
                                  .output = said->output,
                                  .cut = said->cut};
    content_put(x->worker->content, &entry);
}

void capture_forget(struct exchange *x)
{
    if (!x->capture)
        return;
    transcript_free(x->capture->answer);
    x->capture->answer = NULL;
}
