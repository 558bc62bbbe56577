/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: what a delta or a message of an answer says.
 *
 * Calls of tools come in pieces by their index; but some servers give no index, some the same to
 * all, some no id, and some send each call whole.
 */
#include "gateway/base/member.h"
#include "providers/openai_chat.h"

enum {
    HELD_MAX = 1024,      /* of arguments that come before their call's name; then it has none */
    NAME_MAX_BYTES = 256, /* of a name that comes in pieces */
};

static void say(struct openai_reader *r, const struct answer_event *event)
{
    if (r->over)
        return;
    r->said++;
    r->sink->take(r->sink, event);
}

/* ---------------------------------------------------------------- parts that are open one by one
 */

static void close_open(struct openai_reader *r, unsigned number)
{
    struct open_choice *choice = &r->choices[number];
    if (!choice->is_open)
        return;
    choice->is_open = false;
    say(r, &(struct answer_event){.kind = ANSWER_PART_END,
                                  .part_kind = choice->open_kind,
                                  .choice = number,
                                  .part = choice->open});
}

static void begin_last_call(struct openai_reader *r, unsigned number);

/* Begin a part; false when there are too many. */
static bool open_part(struct openai_reader *r, unsigned number, struct answer_event *event)
{
    struct open_choice *choice = &r->choices[number];
    close_open(r, number);
    begin_last_call(r, number);
    if (choice->next_part == CHAT_PARTS_MAX)
        return false;
    choice->open = event->part = choice->next_part++;
    choice->open_kind = event->part_kind;
    choice->is_open = true;
    choice->has_signature = choice->has_encrypted = false;
    choice->detail = -1;
    event->kind = ANSWER_PART;
    event->choice = number;
    say(r, event);
    return true;
}

/* A part of <kind> is open, or is now. */
static bool is_open(struct openai_reader *r, unsigned number, enum part_kind kind)
{
    struct open_choice *choice = &r->choices[number];
    if (choice->is_open && choice->open_kind == kind)
        return true;
    return open_part(r, number, &(struct answer_event){.part_kind = kind});
}

static void say_of_open(struct openai_reader *r, unsigned number, enum event_kind kind,
                        struct text inner)
{
    struct open_choice *choice = &r->choices[number];
    say(r, &(struct answer_event){.kind = kind,
                                  .part_kind = choice->open_kind,
                                  .choice = number,
                                  .part = choice->open,
                                  .text = inner});
}

void openai_say_text(struct openai_reader *r, unsigned number, enum part_kind kind,
                     struct text inner)
{
    if (inner.len && is_open(r, number, kind))
        say_of_open(r, number, ANSWER_TEXT, inner);
}

void openai_say_citation(struct openai_reader *r, unsigned number, const struct citation *citation)
{
    if (!is_open(r, number, PART_TEXT))
        return;
    r->choices[number].has_citations = true;
    say(r, &(struct answer_event){.kind = ANSWER_CITATION,
                                  .part_kind = PART_TEXT,
                                  .choice = number,
                                  .part = r->choices[number].open,
                                  .citation = citation});
}

/* ------------------------------------------------------------------------------------ reasoning */

struct detail_words {
    struct text type, text, summary, data, signature, index, id, thinking;
};

static const struct member_slot detail_slots[] = {
    SLOT(detail_words, type),    SLOT(detail_words, text),      SLOT(detail_words, index),
    SLOT(detail_words, summary), SLOT(detail_words, signature), SLOT(detail_words, data),
    SLOT(detail_words, id),      SLOT(detail_words, thinking),
};

/* Is it about the reasoning that is open? */
static bool goes_on(const struct open_choice *choice, const struct detail_words *words,
                    int64_t index)
{
    if (!choice->is_open || choice->open_kind != PART_REASONING)
        return false;
    if (index >= 0 && choice->detail >= 0 && index != choice->detail)
        return false;
    bool proof = member_string(words->signature).len > 0, data = member_string(words->data).len > 0;
    return !(proof && choice->has_signature) && !(data && choice->has_encrypted);
}

static bool read_detail(struct openai_reader *r, unsigned number, struct text json)
{
    struct detail_words words = {.type = {NULL, 0}};
    struct open_choice *choice = &r->choices[number];
    int64_t index = -1;
    member_take_all(json, SLOTS(detail_slots), &words);
    member_count(words.index, INT32_MAX, &index);
    if (!goes_on(choice, &words, index)) {
        struct answer_event event = {.part_kind = PART_REASONING, .id = member_string(words.id)};
        if (!open_part(r, number, &event))
            return false;
    }
    if (index >= 0)
        choice->detail = index;
    struct text text = member_string(words.text.at ? words.text : words.summary);
    if (!text.at)
        text = member_string(words.thinking);
    if (text.len)
        say_of_open(r, number, ANSWER_TEXT, text);
    struct text signature = member_string(words.signature), data = member_string(words.data);
    if (signature.len) {
        choice->has_signature = true;
        say_of_open(r, number, ANSWER_SIGNATURE, signature);
    }
    if (data.len) {
        choice->has_encrypted = true;
        say_of_open(r, number, ANSWER_ENCRYPTED, data);
    }
    return text.len > 0;
}

static void read_reasoning(struct openai_reader *r, unsigned number,
                           const struct reasoning_texts *said)
{
    struct text list =
        json_is_array(said->reasoning_details) ? said->reasoning_details : said->thinking_blocks;
    struct text text = member_string(said->reasoning_content), name, item;
    bool told = false, proofs_only = json_is_array(list);
    if (!text.len)
        text = member_string(said->reasoning);
    struct text rest = json_items(list);
    while (proofs_only && member_next(&rest, &name, &item))
        proofs_only = !member_find(item, TEXT("text")).at &&
                      !member_find(item, TEXT("summary")).at &&
                      !member_find(item, TEXT("thinking")).at;
    /* What is proved comes before its proof, where the text stands apart. */
    if (proofs_only)
        openai_say_text(r, number, PART_REASONING, text);
    list = json_items(list);
    while (member_next(&list, &name, &item))
        told |= read_detail(r, number, item);
    if (!told && !proofs_only)
        openai_say_text(r, number, PART_REASONING, text);
}

/* -------------------------------------------------------------------------------------- content */

static void say_raw(struct openai_reader *r, unsigned number, struct text json)
{
    if (!open_part(r, number, &(struct answer_event){.part_kind = PART_RAW}))
        return;
    say(r, &(struct answer_event){.kind = ANSWER_RAW,
                                  .part_kind = PART_RAW,
                                  .choice = number,
                                  .part = r->choices[number].open,
                                  .raw = json});
    close_open(r, number);
}

/* Mistral's and Databricks' lists in the list; LiteLLM's have a string. */
static void read_thinking(struct openai_reader *r, unsigned number, struct text part,
                          const char *member)
{
    struct text list = member_find(part, text_of(member)), name, item;
    if (!json_is_array(list)) {
        read_detail(r, number, part);
        return;
    }
    while (member_next(&list, &name, &item))
        if (json_is_object(item))
            read_detail(r, number, item);
}

static void read_part(struct openai_reader *r, unsigned number, struct text part)
{
    struct text type = member_string(member_find(part, TEXT("type")));
    if (inner_is(type, "text") || inner_is(type, "output_text"))
        openai_say_text(r, number, PART_TEXT, member_string(member_find(part, TEXT("text"))));
    else if (inner_is(type, "refusal"))
        openai_say_text(r, number, PART_REFUSAL, member_string(member_find(part, TEXT("refusal"))));
    else if (inner_is(type, "thinking"))
        read_thinking(r, number, part, "thinking");
    else if (inner_is(type, "reasoning"))
        read_thinking(r, number, part, "summary");
    else if (json_is_object(part))
        say_raw(r, number, part);
}

static void read_content(struct openai_reader *r, unsigned number, struct text content)
{
    struct text name, part, text = member_string(content);
    if (text.at) {
        openai_say_text(r, number, PART_TEXT, text);
    } else if (json_is_object(content)) { /* Cloudflare: the JSON that was asked for, as it is */
        openai_say_text(r, number, PART_TEXT, inner_of_json(&r->base.arena, content));
    } else if (json_is_array(content)) {
        while (member_next(&content, &name, &part))
            read_part(r, number, part);
    }
}

static void read_annotations(struct openai_reader *r, unsigned number, struct text annotations)
{
    struct text name, item;
    annotations = json_items(annotations);
    while (member_next(&annotations, &name, &item)) {
        struct citation citation;
        if (openai_read_citation(item, &citation)) {
            citation.from = r->base.way->from;
            openai_say_citation(r, number, &citation);
        }
    }
}

static void read_audio(struct openai_reader *r, unsigned number, struct text audio)
{
    struct text id = member_string(member_find(audio, TEXT("id")));
    struct text data = member_string(member_find(audio, TEXT("data")));
    struct text transcript = member_string(member_find(audio, TEXT("transcript")));
    struct open_choice *choice = &r->choices[number];
    if (!id.len && !data.len && !transcript.len)
        return;
    if (!(choice->is_open && choice->open_kind == PART_AUDIO) &&
        !open_part(r, number, &(struct answer_event){.part_kind = PART_AUDIO, .id = id}))
        return;
    if (transcript.len)
        say_of_open(r, number, ANSWER_TEXT, transcript);
    if (data.len)
        say_of_open(r, number, ANSWER_DATA, data);
}

static void read_images(struct openai_reader *r, unsigned number, struct text images)
{
    struct text name, item;
    images = json_items(images);
    while (member_next(&images, &name, &item)) {
        struct part part = {.kind = PART_IMAGE};
        struct text address = member_find(item, TEXT("image_url"));
        struct text url = member_string(address);
        openai_split_url(&part, url.at ? url : member_string(member_find(address, TEXT("url"))));
        if (!part.data.len)
            continue; /* an address: it has no place in our words of an answer */
        struct answer_event event = {.part_kind = PART_IMAGE, .media_type = part.media_type};
        if (!open_part(r, number, &event))
            return;
        say_of_open(r, number, ANSWER_DATA, part.data);
        close_open(r, number);
    }
}

/* --------------------------------------------------------------------------------- calls of tools
 */

struct call_words {
    struct text index, id, function, custom, name, arguments, input, extra_content, google;
    struct text thought_signature;
};

static const struct member_slot call_slots[] = {
    SLOT(call_words, index),         SLOT(call_words, id),
    SLOT(call_words, function),      SLOT(call_words, custom),
    SLOT(call_words, extra_content),
};

static const struct member_slot function_slots[] = {
    SLOT(call_words, name),   SLOT(call_words, arguments),         SLOT(call_words, input),
    SLOT(call_words, google), SLOT(call_words, thought_signature),
};

static void end_call(struct openai_reader *r, unsigned number, struct open_call *call)
{
    if (!call->begun || call->closed)
        return;
    call->closed = true;
    say(r,
        &(struct answer_event){
            .kind = ANSWER_PART_END, .part_kind = PART_CALL, .choice = number, .part = call->part});
}

static struct open_call *add_call(struct openai_reader *r, unsigned number, int64_t index,
                                  struct text id)
{
    struct open_choice *choice = &r->choices[number];
    if (choice->call_count == CHAT_PARTS_MAX)
        return NULL;
    begin_last_call(r, number);
    /* The one before is done when its arguments are; else it may still go on. */
    struct open_call *last = choice->call_count ? &choice->calls[choice->call_count - 1] : NULL;
    if (last && last->whole)
        end_call(r, number, last);
    choice->calls = arena_grow(&r->base.arena, choice->calls, choice->call_count,
                               &choice->call_room, sizeof(*choice->calls));
    struct open_call *call = &choice->calls[choice->call_count++];
    *call = (struct open_call){.index = index, .id = arena_copy(&r->base.arena, id)};
    return call;
}

static struct open_call *find_by(struct open_choice *choice, int64_t index, struct text id)
{
    for (size_t i = choice->call_count; i-- > 0;) {
        struct open_call *call = &choice->calls[i];
        if (index >= 0 ? call->index == index : text_equal(call->id, id))
            return call;
    }
    return NULL;
}

/* Which call a piece is of. */
static struct open_call *call_of(struct openai_reader *r, unsigned number,
                                 const struct call_words *words)
{
    struct open_choice *choice = &r->choices[number];
    struct text id = member_string(words->id), name = member_string(words->name);
    struct text arguments = member_string(words->arguments);
    int64_t index = -1;
    member_count(words->index, INT32_MAX, &index);
    if (r->whole)
        return add_call(r, number, index, id);
    if (index < 0 && !id.len) { /* neither: a name begins one, else it goes on */
        if (name.len || !choice->call_count)
            return add_call(r, number, index, id);
        return &choice->calls[choice->call_count - 1];
    }
    struct open_call *found = find_by(choice, index, id);
    if (!found || found->closed)
        return add_call(r, number, index, id);
    bool other_id = id.len && found->id.len && !text_equal(id, found->id);
    bool is_new = name.len && (other_id || (found->whole && arguments.len));
    return is_new ? add_call(r, number, index, id) : found;
}

/* One character of a JSON text, to see when its value is whole. */
static void step(struct open_call *call, char c)
{
    if (call->in_string) {
        bool ends = c == '"' && !call->escaped;
        call->escaped = c == '\\' && !call->escaped;
        call->in_string = !ends;
    } else if (c == '"') {
        call->in_string = true;
    } else if (c == '{' || c == '[') {
        call->depth++;
    } else if (c == '}' || c == ']') {
        call->whole = --call->depth == 0;
    }
}

static void follow(struct open_call *call, struct text inner)
{
    for (size_t i = 0; i < inner.len; i++) {
        char c = inner.at[i];
        if (c != '\\') {
            step(call, c);
        } else if (++i < inner.len) {
            /* \n and the like are white space; \u stands in strings only. */
            step(call, inner.at[i] == '"' || inner.at[i] == '\\' ? inner.at[i] : ' ');
            i += inner.at[i] == 'u' ? 4 : 0;
        }
    }
}

static void say_of_call(struct openai_reader *r, unsigned number, const struct open_call *call,
                        enum event_kind kind, struct text inner)
{
    say(r, &(struct answer_event){.kind = kind,
                                  .part_kind = PART_CALL,
                                  .choice = number,
                                  .part = call->part,
                                  .text = inner});
}

static void say_arguments(struct openai_reader *r, unsigned number, struct open_call *call,
                          struct text inner)
{
    if (!inner.len)
        return;
    follow(call, inner);
    say_of_call(r, number, call, ANSWER_ARGUMENTS, inner);
}

/* Say that it begins, and what was told of it before it did. */
static void begin_call(struct openai_reader *r, unsigned number, struct open_call *call)
{
    struct open_choice *choice = &r->choices[number];
    if (choice->next_part == CHAT_PARTS_MAX)
        return;
    close_open(r, number);
    call->begun = choice->has_calls = true;
    call->part = choice->next_part++;
    if (!call->id.len)
        call->id =
            arena_format(&r->base.arena, "call_%.*s_%u", TEXT_ARGS(r->base.way->id), call->part);
    say(r, &(struct answer_event){.kind = ANSWER_PART,
                                  .part_kind = PART_CALL,
                                  .choice = number,
                                  .part = call->part,
                                  .id = call->id,
                                  .name = call->name});
    if (call->signature.len)
        say_of_call(r, number, call, ANSWER_SIGNATURE, call->signature);
    say_arguments(r, number, call, call->held);
}

static void begin_held(struct openai_reader *r, unsigned number, struct open_call *call)
{
    if (!call->begun && (call->name.len || call->held.len))
        begin_call(r, number, call);
}

/* Something else begins: then no more comes of the head of the call before it. */
static void begin_last_call(struct openai_reader *r, unsigned number)
{
    struct open_choice *choice = &r->choices[number];
    if (choice->call_count)
        begin_held(r, number, &choice->calls[choice->call_count - 1]);
}

/* Free text is to all others an argument called input. It comes in pieces too. */
static void say_input(struct openai_reader *r, unsigned number, struct open_call *call,
                      struct text input, bool first)
{
    if (first)
        say_of_call(r, number, call, ANSWER_ARGUMENTS, TEXT("{\\\"input\\\":\\\""));
    if (input.len)
        say_of_call(r, number, call, ANSWER_ARGUMENTS, inner_of(&r->base.arena, input));
}

static struct text joined(struct openai_reader *r, struct text one, struct text more)
{
    return arena_format(&r->base.arena, "%.*s%.*s", TEXT_ARGS(one), TEXT_ARGS(more));
}

/* Its id and its name may come late, and the name in pieces; some servers repeat them. */
static void take_head(struct openai_reader *r, struct open_call *call, struct text id,
                      struct text name)
{
    if (id.len && !call->id.len)
        call->id = arena_copy(&r->base.arena, id);
    bool fits = !call->name.len || call->name.len + name.len <= NAME_MAX_BYTES;
    if (name.len && fits && !text_equal(name, call->name))
        call->name = joined(r, call->name, name);
}

/* Arguments are a JSON text in a string; some send the object itself. With the first of them the
 * name is known to be whole, and the call begins. */
static void take_arguments(struct openai_reader *r, unsigned number, struct open_call *call,
                           const struct call_words *words)
{
    struct text inner = member_string(words->arguments);
    if (json_is_object(words->arguments))
        inner = inner_of_json(&r->base.arena, words->arguments);
    bool waits = !call->name.len && call->held.len + inner.len <= HELD_MAX;
    if (!call->begun && (r->whole || (inner.len && !waits)))
        begin_call(r, number, call);
    if (call->begun)
        say_arguments(r, number, call, inner);
    else if (inner.len && waits)
        call->held = joined(r, call->held, inner);
}

static void take_signature(struct openai_reader *r, unsigned number, struct open_call *call,
                           struct call_words *words)
{
    if (!json_is_object(words->extra_content))
        return;
    member_take_all(words->extra_content, SLOTS(function_slots), words);
    member_take_all(words->google, SLOTS(function_slots), words);
    struct text signature = member_string(words->thought_signature);
    if (signature.len && call->begun)
        say_of_call(r, number, call, ANSWER_SIGNATURE, signature);
    else if (signature.len)
        call->signature = arena_copy(&r->base.arena, signature);
}

static void read_call(struct openai_reader *r, unsigned number, struct text json)
{
    struct call_words words = {.index = {NULL, 0}};
    member_take_all(json, SLOTS(call_slots), &words);
    bool custom = json_is_object(words.custom) && !json_is_object(words.function);
    struct text said = custom ? words.custom : words.function;
    if (said.at)
        member_take_all(said, SLOTS(function_slots), &words);
    struct open_call *call = call_of(r, number, &words);
    if (!call)
        return;
    bool first = !call->begun;
    if (first)
        take_head(r, call, member_string(words.id), member_string(words.name));
    take_signature(r, number, call, &words);
    call->custom |= custom;
    if (!custom) {
        take_arguments(r, number, call, &words);
        return;
    }
    if (first)
        begin_held(r, number, call);
    if (call->begun)
        say_input(r, number, call, member_string(words.input), first);
}

static void read_calls(struct openai_reader *r, unsigned number, struct text calls)
{
    struct text name, item;
    calls = json_items(calls);
    while (member_next(&calls, &name, &item))
        if (json_is_object(item))
            read_call(r, number, item);
}

/* What a call was before there were tools. */
static void read_function_call(struct openai_reader *r, unsigned number, struct text json)
{
    struct call_words words = {.index = TEXT("0")};
    member_take_all(json, SLOTS(function_slots), &words);
    struct text name = member_string(words.name);
    struct open_choice *choice = &r->choices[number];
    if (!name.len && !choice->call_count)
        return;
    struct open_call *call =
        choice->call_count ? &choice->calls[0] : add_call(r, number, 0, (struct text){"", 0});
    if (!call->begun)
        take_head(r, call, (struct text){NULL, 0}, name);
    take_arguments(r, number, call, &words);
}

/* ---------------------------------------------------------------------------------------- all */

void openai_close_choice(struct openai_reader *r, unsigned number)
{
    struct open_choice *choice = &r->choices[number];
    close_open(r, number);
    for (size_t i = 0; i < choice->call_count; i++) {
        struct open_call *call = &choice->calls[i];
        begin_held(r, number, call);
        if (call->custom && call->begun && !call->closed)
            say_of_call(r, number, call, ANSWER_ARGUMENTS, TEXT("\\\"}"));
        end_call(r, number, call);
    }
}

bool openai_read_delta(struct openai_reader *r, unsigned number, const struct delta_words *words)
{
    struct open_choice *choice = &r->choices[number];
    uint64_t before = r->said;
    read_reasoning(r, number, &words->reasons);
    if (words->content.at)
        read_content(r, number, words->content);
    if (words->annotations.at)
        read_annotations(r, number, words->annotations);
    struct text refusal = member_string(words->refusal);
    choice->has_refusal |= refusal.len > 0;
    openai_say_text(r, number, PART_REFUSAL, refusal);
    if (json_is_object(words->audio))
        read_audio(r, number, words->audio);
    if (words->images.at)
        read_images(r, number, words->images);
    if (words->tool_calls.at)
        read_calls(r, number, words->tool_calls);
    if (json_is_object(words->function_call))
        read_function_call(r, number, words->function_call);
    return r->said != before;
}
