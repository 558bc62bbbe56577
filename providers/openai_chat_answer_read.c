/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: an answer is read, chunk by chunk or as a body.
 */
#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/openai.h"
#include "providers/openai_chat.h"

enum { REASON_MAX = 64, OTHERS_MAX = 16 };

/* What stands in a chunk or a body. */
struct chunk_words {
    struct text id, model, created, choices, usage, error, x_groq, base_resp;
    struct text citations, search_results;
};

static const struct member_slot chunk_slots[] = {
    SLOT(chunk_words, id),        SLOT(chunk_words, model),
    SLOT(chunk_words, created),   SLOT(chunk_words, choices),
    SLOT(chunk_words, usage),     SLOT(chunk_words, error),
    SLOT(chunk_words, x_groq),    SLOT(chunk_words, base_resp),
    SLOT(chunk_words, citations), SLOT(chunk_words, search_results),
};

static const struct member_slot choice_slots[] = {
    SLOT(choice_words, index),        SLOT(choice_words, delta),
    SLOT(choice_words, message),      SLOT(choice_words, finish_reason),
    SLOT(choice_words, logprobs),     SLOT(choice_words, text),
    SLOT(choice_words, usage),        SLOT(choice_words, stop_reason),
    SLOT(choice_words, matched_stop),
};

static const struct member_slot delta_slots[] = {
    SLOT(delta_words, content),
    SLOT(delta_words, role),
    SLOT(delta_words, tool_calls),
    SLOT(delta_words, refusal),
    SLOT(delta_words, function_call),
    SLOT(delta_words, annotations),
    SLOT(delta_words, audio),
    SLOT(delta_words, images),
    {{"reasoning_content", 17}, offsetof(struct delta_words, reasons.reasoning_content)},
    {{"reasoning", 9}, offsetof(struct delta_words, reasons.reasoning)},
    {{"reasoning_details", 17}, offsetof(struct delta_words, reasons.reasoning_details)},
    {{"thinking_blocks", 15}, offsetof(struct delta_words, reasons.thinking_blocks)},
};

static void say(struct openai_reader *r, const struct answer_event *event)
{
    if (!r->over)
        r->sink->take(r->sink, event);
}

static void end(struct openai_reader *r)
{
    say(r, &(struct answer_event){.kind = ANSWER_END});
    r->over = true;
}

/* -------------------------------------------------------------------------------- errors in a 200
 */

static void fail(struct openai_reader *r, enum fault_kind kind, struct text inner)
{
    say(r, &(struct answer_event){.kind = ANSWER_FAIL, .fault = kind, .text = inner});
    r->over = true;
}

/* The provider's words: of {"error":{"message"}}, {"error":"..."}, {"message"}. */
static struct text words_of_error(struct text body)
{
    static const struct text names[] = {{"message", 7}, {"detail", 6}, {"status_msg", 10}};
    struct text error = member_find(body, TEXT("error")), words = member_string(error);
    struct text holder = json_is_object(error) ? error : body;
    for (size_t i = 0; !words.len && i < sizeof(names) / sizeof(names[0]); i++)
        words = member_string(member_find(holder, names[i]));
    return words.len ? words : TEXT("The target reports an error.");
}

/* The HTTP status that an error says it would have had. */
static unsigned status_of_error(struct text error)
{
    int64_t status;
    if (member_count(member_find(error, TEXT("code")), 599, &status) && status >= 400)
        return (unsigned)status;
    if (member_count(member_find(error, TEXT("status_code")), 599, &status) && status >= 400)
        return (unsigned)status;
    return text_equal(member_find(error, TEXT("type")), TEXT("\"invalid_request_error\"")) ? 400
                                                                                           : 500;
}

static void fail_by_body(struct openai_reader *r, struct text body)
{
    struct provider_error error;
    openai_read_error(status_of_error(member_find(body, TEXT("error"))), body, &error);
    fail(r, error.kind, words_of_error(body));
}

/* MiniMax: what went wrong stands beside what is not there. */
static bool fail_by_status(struct openai_reader *r, struct text base_resp)
{
    int64_t code = 0;
    if (!base_resp.at ||
        !member_count(member_find(base_resp, TEXT("status_code")), INT32_MAX, &code) || code == 0)
        return false;
    fail(r, code == 1002 ? FAULT_TARGET_BUSY : FAULT_TARGET_ERROR, words_of_error(base_resp));
    return true;
}

/* ---------------------------------------------------------------------------------------- usage */

static void say_usage(struct openai_reader *r, struct text json)
{
    struct answer seen = {.operation = OPERATION_CHAT};
    if (!json_is_object(json))
        return;
    openai_read_usage(&seen, json);
    if (seen.usage_seen || seen.usage.input_tokens > 0)
        say(r, &(struct answer_event){.kind = ANSWER_USAGE, .usage = &seen.usage});
}

/* --------------------------------------------------------------------------------------- finish */

struct finish_word {
    struct text word;
    enum finish finish;
};

/* clang-format off */
static const struct finish_word finish_words[] = {
    {{"stop", 4}, FINISH_STOP},
    {{"length", 6}, FINISH_LENGTH},
    {{"tool_calls", 10}, FINISH_CALLS},
    {{"function_call", 13}, FINISH_CALLS},
    {{"content_filter", 14}, FINISH_FILTER},
    /* what is not in the reference, but was seen */
    {{"eos", 3}, FINISH_STOP},
    {{"end_turn", 8}, FINISH_STOP},
    {{"stop_sequence", 13}, FINISH_SEQUENCE},
    {{"max_tokens", 10}, FINISH_LENGTH},
    {{"model_length", 12}, FINISH_LENGTH},
    {{"tool_use", 8}, FINISH_CALLS},
    {{"refusal", 7}, FINISH_REFUSAL},
    {{"sensitive", 9}, FINISH_FILTER},
    {{"safety", 6}, FINISH_FILTER},
    {{"error", 5}, FINISH_ERROR},
    {{"abort", 5}, FINISH_ERROR},
    {{"network_error", 13}, FINISH_ERROR},
    {{"insufficient_system_resource", 28}, FINISH_ERROR},
};
/* clang-format on */

static enum finish finish_of(const struct open_choice *choice, struct text reason)
{
    enum finish finish = FINISH_STOP;
    for (size_t i = 0; i < sizeof(finish_words) / sizeof(finish_words[0]); i++)
        if (text_equal(finish_words[i].word, reason))
            finish = finish_words[i].finish;
    if (finish == FINISH_STOP && choice->has_calls)
        return FINISH_CALLS; /* where one tool was to be called it says "stop" */
    return finish == FINISH_STOP && choice->has_refusal ? FINISH_REFUSAL : finish;
}

static void say_finish(struct openai_reader *r, unsigned number)
{
    struct open_choice *choice = &r->choices[number];
    if (choice->finished)
        return;
    openai_close_choice(r, number);
    choice->finished = true;
    struct text reason = choice->reason.len ? choice->reason : TEXT("stop");
    enum finish finish = finish_of(choice, reason);
    if (finish == FINISH_STOP && choice->sequence.at)
        finish = FINISH_SEQUENCE;
    say(r, &(struct answer_event){.kind = ANSWER_FINISH,
                                  .choice = number,
                                  .finish = finish,
                                  .text = choice->sequence,
                                  .name = reason});
}

/* Some say a reason behind each call of several: it holds when nothing more comes in the next
 * chunk. */
static void finish_settled(struct openai_reader *r)
{
    for (size_t i = 0; i < r->choice_count; i++)
        if (r->choices[i].reason.len && r->choices[i].reason_chunk != r->chunk)
            say_finish(r, (unsigned)i);
}

/* The answer is over: choices that said no reason have said all. */
static void finish_all(struct openai_reader *r)
{
    for (size_t i = 0; i < r->choice_count; i++)
        if (r->choices[i].seen)
            say_finish(r, (unsigned)i);
}

/* -------------------------------------------------------------------------------------- choices */

static struct open_choice *choice_of(struct openai_reader *r, int64_t number)
{
    if (number >= CHAT_CHOICES_MAX)
        return NULL;
    while (r->choice_count <= (size_t)number) {
        r->choices = arena_grow(&r->base.arena, r->choices, r->choice_count, &r->choice_room,
                                sizeof(*r->choices));
        r->choices[r->choice_count++] = (struct open_choice){.detail = -1};
    }
    r->choices[number].seen = true;
    return &r->choices[number];
}

static void say_logprobs(struct openai_reader *r, unsigned number, struct text logprobs)
{
    struct text content = member_find(logprobs, TEXT("content"));
    if (json_is_array(content) && content.len > 2)
        say(r, &(struct answer_event){.kind = ANSWER_LOGPROBS, .choice = number, .raw = content});
}

/* Perplexity's sources stand beside the choices. */
static void say_sources(struct openai_reader *r, unsigned number, const struct chunk_words *chunk)
{
    bool full = json_is_array(chunk->search_results);
    struct text list = full ? chunk->search_results : chunk->citations, name, item;
    if (!json_is_array(list) || r->choices[number].has_citations)
        return;
    while (member_next(&list, &name, &item)) {
        struct citation citation = {.url = member_string(item), .start = -1, .end = -1};
        if (full) {
            citation.url = member_string(member_find(item, TEXT("url")));
            citation.title = member_string(member_find(item, TEXT("title")));
            citation.quote = member_string(member_find(item, TEXT("snippet")));
        }
        if (citation.url.len)
            openai_say_citation(r, number, &citation);
    }
}

/* Where its text stands: in a stream some send the whole message again beside what is new. */
static struct text words_of_choice(const struct openai_reader *r, const struct open_choice *choice,
                                   const struct choice_words *words)
{
    bool has_delta = json_is_object(words->delta), has_message = json_is_object(words->message);
    if (has_message && (r->whole || (!has_delta && choice->next_part == 0)))
        return words->message;
    return has_delta ? words->delta : (struct text){NULL, 0};
}

static void note_reason(struct openai_reader *r, struct open_choice *choice,
                        const struct choice_words *words)
{
    struct text reason = member_string(words->finish_reason);
    struct text sequence = member_string(words->stop_reason);
    if (!sequence.at)
        sequence = member_string(words->matched_stop);
    if (!reason.len || choice->reason.len)
        return;
    choice->reason = arena_copy(&r->base.arena, text_head(reason, REASON_MAX));
    choice->reason_chunk = r->chunk;
    if (sequence.at)
        choice->sequence = arena_copy(&r->base.arena, sequence);
}

static void read_choice(struct openai_reader *r, const struct chunk_words *chunk, struct text json)
{
    struct choice_words words = {.index = {NULL, 0}};
    struct delta_words delta = {.role = {NULL, 0}};
    int64_t number = 0;
    if (!json_is_object(json))
        return;
    member_take_all(json, SLOTS(choice_slots), &words);
    member_count(words.index, INT32_MAX, &number);
    struct open_choice *choice = choice_of(r, number);
    if (!choice || choice->finished)
        return;
    struct text said = words_of_choice(r, choice, &words);
    if (said.at)
        member_take_all(said, SLOTS(delta_slots), &delta);
    if (!said.at || (!delta.content.at && !words.delta.at))
        delta.content = delta.content.at ? delta.content : words.text;
    if (openai_read_delta(r, (unsigned)number, &delta))
        choice->reason = (struct text){NULL, 0};
    if (json_is_object(words.logprobs))
        say_logprobs(r, (unsigned)number, words.logprobs);
    note_reason(r, choice, &words);
    if (choice->reason.len || r->whole)
        say_sources(r, (unsigned)number, chunk);
}

static struct text usage_of_choices(struct text choices)
{
    struct text name, choice;
    if (json_is_array(choices) && member_next(&choices, &name, &choice) && json_is_object(choice))
        return member_find(choice, TEXT("usage"));
    return (struct text){NULL, 0};
}

/* --------------------------------------------------------------------------------- whole chunks */

/* What fills up chunks, and is of no use to anybody. */
static bool is_padding(struct text name)
{
    return text_equal(name, TEXT("object")) || text_equal(name, TEXT("obfuscation")) ||
           text_equal(name, TEXT("p"));
}

/* What only this family knows, once for each value. */
static void say_field(struct openai_reader *r, struct text name, struct text value)
{
    uint64_t hashes[2] = {hash_name(name), hash_name(value)};
    size_t i = 0;
    while (i < r->field_count && r->fields[i][0] != hashes[0])
        i++;
    if (i == CHAT_FIELDS_MAX || (i < r->field_count && r->fields[i][1] == hashes[1]))
        return;
    r->fields[i][0] = hashes[0];
    r->fields[i][1] = hashes[1];
    r->field_count += i == r->field_count;
    say(r, &(struct answer_event){.kind = ANSWER_FIELD, .name = name, .raw = value});
}

/* Some begin with an empty chunk that is about nothing but itself. */
static void begin(struct openai_reader *r, const struct chunk_words *chunk)
{
    struct text id = member_string(chunk->id);
    if (r->begun || (!id.len && chunk->choices.len < 3 && !r->whole))
        return;
    r->begun = true;
    struct answer_event event = {.kind = ANSWER_BEGIN};
    event.id = id.len ? id : (struct text){NULL, 0};
    event.model = member_string(chunk->model);
    if (!event.model.len)
        event.model = (struct text){NULL, 0};
    member_count(chunk->created, INT64_C(1000000000000), &event.created);
    say(r, &event);
}

/* What stands in a chunk, and what of it only our own family knows. */
struct chunk_reading {
    struct chunk_words words;
    struct chat_field others[OTHERS_MAX];
    size_t other_count;
};

static void take_chunk(const struct openai_reader *r, struct text json, struct chunk_reading *chunk)
{
    struct text name, value;
    while (member_take(&json, SLOTS(chunk_slots), &chunk->words, &name, &value))
        if (name.len && r->tells_other && chunk->other_count < OTHERS_MAX && !is_padding(name))
            chunk->others[chunk->other_count++] = (struct chat_field){.name = name, .value = value};
}

/* A chunk or a body; false when it is neither. */
static bool read_chunk(struct openai_reader *r, struct text json)
{
    struct chunk_reading reading = {.other_count = 0};
    struct text name, choice;
    if (!json_is_object(json))
        return false;
    take_chunk(r, json, &reading);
    struct chunk_words chunk = reading.words;
    if (member_is_something(chunk.error)) {
        fail_by_body(r, json);
        return true;
    }
    if (fail_by_status(r, chunk.base_resp))
        return true;
    if (!json_is_array(chunk.choices) && !chunk.usage.at && !r->begun)
        return false;
    begin(r, &chunk);
    for (size_t i = 0; r->begun && i < reading.other_count; i++)
        say_field(r, reading.others[i].name, reading.others[i].value);
    struct text choices = chunk.choices;
    choices = json_items(choices);
    r->chunk++;
    while (member_next(&choices, &name, &choice))
        read_choice(r, &chunk, choice);
    finish_settled(r);
    if (!json_is_object(chunk.usage) && json_is_object(chunk.x_groq))
        chunk.usage = member_find(chunk.x_groq, TEXT("usage"));
    if (!chunk.usage.at && chunk.choices.len > 2)
        chunk.usage = usage_of_choices(chunk.choices);
    if (r->begun)
        say_usage(r, chunk.usage);
    return true;
}

/* ------------------------------------------------------------------------------------- the door */

static struct openai_reader *reader_of(void *state, struct answer_sink *sink)
{
    struct openai_reader *r = state;
    r->sink = sink;
    r->tells_other = openai_is_family(r->base.way->to);
    return r;
}

void openai_chat_read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    struct openai_reader *r = reader_of(state, sink);
    struct text data = text_trim(frame->data);
    if (r->over)
        return;
    if (text_equal(data, TEXT("[DONE]"))) {
        if (!r->begun) {
            fail(r, FAULT_TARGET_INVALID, TEXT("The target's answer is empty."));
            return;
        }
        choice_of(r, 0);
        finish_all(r);
        end(r);
    } else if (json_is_object(data) && !scan_is_valid(data)) {
        fail(r, FAULT_TARGET_INVALID, TEXT("A chunk of the target's answer is no JSON."));
    } else if (text_equal(frame->name, TEXT("error"))) {
        fail_by_body(r, data);
    } else if (!read_chunk(r, data) && json_is_object(data) &&
               member_find(data, TEXT("detail")).at) {
        fail_by_body(r, data);
    }
}

void openai_chat_read_body(void *state, struct text body, struct answer_sink *sink)
{
    struct openai_reader *r = reader_of(state, sink);
    r->whole = true;
    while (body.len &&
           (body.at[0] == ' ' || body.at[0] == '\n' || body.at[0] == '\r' || body.at[0] == '\t'))
        body = text_from(body, 1); /* some send white space to keep the connection awake */
    if (!scan_is_valid(body)) {
        fail(r, FAULT_TARGET_INVALID, TEXT("The target's answer is no JSON."));
        return;
    }
    if (!read_chunk(r, body) || !r->begun || !r->choice_count) {
        if (!r->over)
            fail(r, FAULT_TARGET_INVALID, TEXT("The target's answer has no choices."));
        return;
    }
    finish_all(r);
    end(r);
}

void openai_chat_read_end(void *state, struct answer_sink *sink)
{
    struct openai_reader *r = reader_of(state, sink);
    bool any = false;
    for (size_t i = 0; i < r->choice_count; i++) {
        struct open_choice *choice = &r->choices[i];
        bool done = choice->finished || choice->reason.len > 0;
        any |= done;
        if (choice->seen && !done)
            return;
    }
    if (!any || r->over)
        return;
    finish_all(r);
    end(r);
}
