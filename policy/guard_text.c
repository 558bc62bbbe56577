/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where the texts are, in all dialects at once: no name means a text in one of them and
 * something else in another.
 * https://platform.openai.com/docs/api-reference, https://docs.anthropic.com/en/api/messages,
 * https://ai.google.dev/api/generate-content,
 * https://docs.cohere.com/reference/chat,
 * https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
 */

#include "gateway/base/member.h"
#include "gateway/base/scan_kernel.h"
#include "gateway/base/utf8.h"
#include "policy/guard_inside.h"

/* ----------------------------------------------------------------------------------- tables */

enum { PATHS_MAX = 112, NAME_RAW_MAX = 192 };

/* Names with dots between them; '*' is any item of an array, and '**' all that is below. */
struct path {
    const char *names;
    enum text_kind kind;
    bool whole;
};

/* clang-format off */
static const struct path of_requests[] = {
    {"messages.*.content", TEXT_PLAIN, true},
    {"messages.*.content.*", TEXT_PLAIN, true},
    {"messages.*.content.*.text", TEXT_PLAIN, true},
    {"messages.*.content.*.refusal", TEXT_PLAIN, true},
    {"messages.*.content.*.thinking", TEXT_PLAIN, true},
    {"messages.*.content.*.thinking.*.text", TEXT_PLAIN, true},  /* Mistral */
    {"messages.*.content.*.content", TEXT_PLAIN, true},          /* tool_result */
    {"messages.*.content.*.content.*.text", TEXT_PLAIN, true},
    {"messages.*.content.*.content.*.source.data", TEXT_FILE, true},
    {"messages.*.content.*.input.**", TEXT_DEEP, true},          /* tool_use */
    {"messages.*.content.*.source.data", TEXT_FILE, true},       /* document */
    {"messages.*.content.*.source.content", TEXT_PLAIN, true},
    {"messages.*.content.*.source.content.*.text", TEXT_PLAIN, true},
    {"messages.*.content.*.title", TEXT_PLAIN, true},
    {"messages.*.content.*.context", TEXT_PLAIN, true},
    {"messages.*.content.*.toolUse.input.**", TEXT_DEEP, true},  /* Bedrock */
    {"messages.*.content.*.toolResult.content.*.text", TEXT_PLAIN, true},
    {"messages.*.content.*.toolResult.content.*.json.**", TEXT_DEEP, true},
    {"messages.*.content.*.toolResult.content.*.document.source.text", TEXT_PLAIN, true},
    {"messages.*.content.*.toolResult.content.*.document.source.content.*.text", TEXT_PLAIN, true},
    {"messages.*.content.*.toolResult.content.*.searchResult.**", TEXT_DEEP, true},
    {"messages.*.content.*.reasoningContent.reasoningText.text", TEXT_PLAIN, true},
    {"messages.*.content.*.guardContent.text.text", TEXT_PLAIN, true},
    {"messages.*.content.*.citationsContent.**", TEXT_DEEP, true},
    {"messages.*.content.*.searchResult.**", TEXT_DEEP, true},
    {"messages.*.content.*.document.name", TEXT_PLAIN, true},
    {"messages.*.content.*.document.context", TEXT_PLAIN, true},
    {"messages.*.content.*.document.source.text", TEXT_PLAIN, true},
    {"messages.*.content.*.document.source.content.*.text", TEXT_PLAIN, true},
    {"messages.*.reasoning_content", TEXT_PLAIN, true},
    {"messages.*.reasoning", TEXT_PLAIN, true},
    {"messages.*.thinking", TEXT_PLAIN, true},                   /* Ollama */
    {"format.**", TEXT_DEEP, true},
    {"template", TEXT_PLAIN, true},
    {"messages.*.refusal", TEXT_PLAIN, true},
    {"messages.*.name", TEXT_PLAIN, true},
    {"messages.*.tool_calls.*.function.arguments", TEXT_JSON, true},
    {"messages.*.tool_calls.*.custom.input", TEXT_PLAIN, true},
    {"messages.*.function_call.arguments", TEXT_JSON, true},
    {"system", TEXT_PLAIN, true},
    {"system.*.text", TEXT_PLAIN, true},
    {"system.*.guardContent.text.text", TEXT_PLAIN, true},       /* Bedrock */
    {"toolConfig.tools.*.toolSpec.description", TEXT_PLAIN, true},
    {"toolConfig.tools.*.toolSpec.inputSchema.json.**", TEXT_DEEP, true},
    {"promptVariables.**", TEXT_DEEP, true},
    {"outputConfig.textFormat.structure.**", TEXT_DEEP, true},
    {"instructions", TEXT_PLAIN, true},
    {"instructions.*.content", TEXT_PLAIN, true},
    {"instructions.*.content.*.text", TEXT_PLAIN, true},
    {"prompt", TEXT_PLAIN, true},
    {"prompt.*", TEXT_PLAIN, true},
    {"formatted_prompt", TEXT_PLAIN, true},                      /* Monster API */
    {"prompt.variables.**", TEXT_DEEP, true},
    {"suffix", TEXT_PLAIN, true},
    {"prediction.content", TEXT_PLAIN, true},
    {"prediction.content.*.text", TEXT_PLAIN, true},
    {"input", TEXT_PLAIN, true},
    {"input.*", TEXT_PLAIN, true},
    {"input.*.text", TEXT_PLAIN, true},
    {"input.*.content", TEXT_PLAIN, true},
    {"input.*.content.*.text", TEXT_PLAIN, true},
    {"input.*.content.*.refusal", TEXT_PLAIN, true},
    {"input.*.summary.*.text", TEXT_PLAIN, true},
    {"input.*.arguments", TEXT_JSON, true},
    {"input.*.input", TEXT_PLAIN, true},
    {"input.*.output", TEXT_PLAIN, true},
    {"input.*.output.*.text", TEXT_PLAIN, true},
    {"input.*.output.*.logs", TEXT_PLAIN, true},
    {"input.*.code", TEXT_PLAIN, true},
    {"input.*.action.command.*", TEXT_PLAIN, true},
    {"input.text", TEXT_PLAIN, true},
    {"query", TEXT_PLAIN, true},                                 /* rerank */
    {"query.text", TEXT_PLAIN, true},
    {"documents.*", TEXT_PLAIN, true},
    {"documents.*.data.**", TEXT_DEEP, true},                    /* Cohere */
    {"messages.*.tool_plan", TEXT_PLAIN, true},
    {"messages.*.content.*.document.**", TEXT_DEEP, true},
    {"messages.*.citations.**", TEXT_DEEP, true},
    {"response_format.schema.**", TEXT_DEEP, true},
    {"texts.*", TEXT_PLAIN, true},
    {"inputs.*.content.*.text", TEXT_PLAIN, true},
    {"requests.*.content.parts.*.text", TEXT_PLAIN, true},       /* batchEmbedContents */
    {"documents.*.text", TEXT_PLAIN, true},
    {"contents.*.parts.*.text", TEXT_PLAIN, true},
    {"contents.parts.*.text", TEXT_PLAIN, true},
    {"contents.*.parts.*.functionCall.args.**", TEXT_DEEP, true},
    {"contents.*.parts.*.functionResponse.response.**", TEXT_DEEP, true},
    {"contents.*.parts.*.function_call.args.**", TEXT_DEEP, true},
    {"contents.*.parts.*.function_response.response.**", TEXT_DEEP, true},
    {"content.parts.*.text", TEXT_PLAIN, true},                  /* embedContent */
    {"systemInstruction.parts.*.text", TEXT_PLAIN, true},
    {"systemInstruction.parts.text", TEXT_PLAIN, true},
    {"system_instruction.parts.*.text", TEXT_PLAIN, true},
    {"system_instruction.parts.text", TEXT_PLAIN, true},
    {"tools.*.function.description", TEXT_PLAIN, true},
    {"tools.*.function.parameters.**", TEXT_DEEP, true},
    {"tools.*.description", TEXT_PLAIN, true},
    {"tools.*.parameters.**", TEXT_DEEP, true},
    {"tools.*.input_schema.**", TEXT_DEEP, true},
    {"tools.*.functionDeclarations.**", TEXT_DEEP, true},
    {"functions.**", TEXT_DEEP, true},
    {"response_format.json_schema.**", TEXT_DEEP, true},
    {"json_schema.**", TEXT_DEEP, true},                         /* llama.cpp */
    {"text.format.**", TEXT_DEEP, true},
    {NULL, TEXT_PLAIN, false},
};

static const struct path of_answers[] = {
    {"choices.*.message.content", TEXT_ANSWER, true},
    {"choices.*.message.content.*.text", TEXT_ANSWER, true},
    {"choices.*.message.content.*.thinking.*.text", TEXT_PLAIN, true}, /* Mistral */
    {"choices.*.message.refusal", TEXT_PLAIN, true},
    {"choices.*.message.reasoning_content", TEXT_PLAIN, true},
    {"choices.*.message.reasoning", TEXT_PLAIN, true},
    {"choices.*.message.reasoning_details.*.text", TEXT_PLAIN, true},
    {"choices.*.message.reasoning_details.*.summary", TEXT_PLAIN, true},
    {"choices.*.message.tool_calls.*.function.arguments", TEXT_JSON, true},
    {"choices.*.message.tool_calls.*.custom.input", TEXT_PLAIN, true},
    {"choices.*.message.function_call.arguments", TEXT_JSON, true},
    {"choices.*.message.audio.transcript", TEXT_PLAIN, true},
    {"choices.*.text", TEXT_ANSWER, true},
    {"choices.*.logprobs", TEXT_DROP, true},
    {"output.*.content.*.text", TEXT_ANSWER, true},
    {"output.*.content.*.refusal", TEXT_PLAIN, true},
    {"output.*.content.*.logprobs", TEXT_DROP, true},
    {"output.*.summary.*.text", TEXT_PLAIN, true},
    {"output.*.arguments", TEXT_JSON, true},
    {"output.*.input", TEXT_PLAIN, true},
    {"output.*.output", TEXT_PLAIN, true},
    {"output.*.outputs.*.logs", TEXT_PLAIN, true},
    {"output.*.code", TEXT_PLAIN, true},
    {"output_text", TEXT_PLAIN, true},
    {"output.message.content.*.text", TEXT_ANSWER, true},        /* Bedrock */
    {"output.message.content.*.citationsContent.content.*.text", TEXT_ANSWER, true},
    {"output.message.content.*.citationsContent.citations.**", TEXT_DEEP, true},
    {"output.message.content.*.reasoningContent.reasoningText.text", TEXT_PLAIN, true},
    {"output.message.content.*.toolUse.input.**", TEXT_DEEP, true},
    {"output.message.content.*.toolResult.content.**", TEXT_DEEP, true},
    {"message.content.*.text", TEXT_ANSWER, true},               /* Cohere */
    {"message.content.*.thinking", TEXT_PLAIN, true},
    {"message.content", TEXT_ANSWER, true},                      /* Ollama */
    {"message.thinking", TEXT_PLAIN, true},
    {"response", TEXT_ANSWER, true},
    {"thinking", TEXT_PLAIN, true},
    {"message.tool_plan", TEXT_PLAIN, true},
    {"message.tool_calls.*.function.arguments", TEXT_JSON, true},
    {"message.citations.**", TEXT_DEEP, true},
    {"content.*.text", TEXT_ANSWER, true},
    {"content.*.thinking", TEXT_PLAIN, true},
    {"content.*.input.**", TEXT_DEEP, true},
    {"candidates.*.content.parts.*.text", TEXT_ANSWER, true},
    {"candidates.*.content.parts.*.functionCall.args.**", TEXT_DEEP, true},
    {"candidates.*.logprobsResult", TEXT_DROP, true},
    {"text", TEXT_PLAIN, true},                                  /* of sound */
    {"segments.*.text", TEXT_PLAIN, true},
    {"words.*.word", TEXT_PLAIN, true},
    {"logprobs", TEXT_DROP, true},
    {NULL, TEXT_PLAIN, false},
};

static const struct path of_events[] = {
    {"choices.*.delta.content", TEXT_ANSWER, false},
    {"choices.*.delta.content.*.text", TEXT_ANSWER, false},
    {"choices.*.delta.content.*.thinking.*.text", TEXT_PLAIN, false}, /* Mistral */
    {"choices.*.delta.refusal", TEXT_PLAIN, false},
    {"choices.*.delta.reasoning_content", TEXT_PLAIN, false},
    {"choices.*.delta.reasoning", TEXT_PLAIN, false},
    {"choices.*.delta.reasoning_details.*.text", TEXT_PLAIN, false},
    {"choices.*.delta.reasoning_details.*.summary", TEXT_PLAIN, false},
    {"choices.*.delta.tool_calls.*.function.arguments", TEXT_JSON, false},
    {"choices.*.delta.tool_calls.*.custom.input", TEXT_PLAIN, false},
    {"choices.*.delta.function_call.arguments", TEXT_JSON, false},
    {"choices.*.delta.audio.transcript", TEXT_PLAIN, false},
    {"choices.*.message.content", TEXT_PLAIN, true},
    {"choices.*.text", TEXT_ANSWER, false},
    {"choices.*.finish_reason", TEXT_FINISH, false},
    {"choices.*.logprobs", TEXT_DROP, false},
    {"delta", TEXT_DELTA, false},                                /* responses, sound */
    {"delta.text", TEXT_ANSWER, false},                          /* Anthropic */
    {"delta.thinking", TEXT_PLAIN, false},
    {"delta.partial_json", TEXT_JSON, false},
    {"delta.message.content.text", TEXT_ANSWER, false},          /* Cohere */
    {"delta.message.content.thinking", TEXT_PLAIN, false},
    {"delta.message.tool_plan", TEXT_PLAIN, false},
    {"delta.message.tool_calls.function.arguments", TEXT_JSON, false},
    {"delta.message.citations.**", TEXT_DEEP, true},
    {"delta.finish_reason", TEXT_FINISH, false},
    {"delta.reasoningContent.text", TEXT_PLAIN, false},          /* Bedrock */
    {"delta.toolUse.input", TEXT_JSON, false},
    {"delta.toolResult.**", TEXT_DEEP, true},
    {"delta.citation.**", TEXT_DEEP, true},
    {"stopReason", TEXT_FINISH, false},
    {"message.content", TEXT_ANSWER, false},                     /* Ollama */
    {"message.thinking", TEXT_PLAIN, false},
    {"message.tool_calls.*.function.arguments", TEXT_JSON, true},
    {"response", TEXT_ANSWER, false},
    {"thinking", TEXT_PLAIN, false},
    {"done_reason", TEXT_FINISH, false},
    {"content_block.text", TEXT_ANSWER, false},
    {"content_block.thinking", TEXT_PLAIN, false},
    {"content_block.input.**", TEXT_DEEP, true},
    {"text", TEXT_PLAIN, true},                                  /* …done: the same once more */
    {"refusal", TEXT_PLAIN, true},
    {"arguments", TEXT_JSON, true},
    {"input", TEXT_PLAIN, true},
    {"code", TEXT_PLAIN, true},
    {"logprobs", TEXT_DROP, false},
    {"part.text", TEXT_PLAIN, true},
    {"part.refusal", TEXT_PLAIN, true},
    {"part.logprobs", TEXT_DROP, false},
    {"item.content.*.text", TEXT_PLAIN, true},
    {"item.content.*.refusal", TEXT_PLAIN, true},
    {"item.content.*.logprobs", TEXT_DROP, false},
    {"item.summary.*.text", TEXT_PLAIN, true},
    {"item.arguments", TEXT_JSON, true},
    {"item.input", TEXT_PLAIN, true},
    {"item.output", TEXT_PLAIN, true},
    {"item.code", TEXT_PLAIN, true},
    {"item.outputs.*.logs", TEXT_PLAIN, true},
    {"response.output.*.content.*.text", TEXT_PLAIN, true},
    {"response.output.*.content.*.refusal", TEXT_PLAIN, true},
    {"response.output.*.content.*.logprobs", TEXT_DROP, false},
    {"response.output.*.summary.*.text", TEXT_PLAIN, true},
    {"response.output.*.arguments", TEXT_JSON, true},
    {"response.output.*.input", TEXT_PLAIN, true},
    {"response.output.*.output", TEXT_PLAIN, true},
    {"response.output.*.code", TEXT_PLAIN, true},
    {"response.output.*.outputs.*.logs", TEXT_PLAIN, true},
    {"candidates.*.content.parts.*.text", TEXT_ANSWER, false},
    {"candidates.*.content.parts.*.functionCall.args.**", TEXT_DEEP, true},
    {"candidates.*.finishReason", TEXT_FINISH, false},
    {"candidates.*.logprobsResult", TEXT_DROP, false},
    {NULL, TEXT_PLAIN, false},
};
/* clang-format on */

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
_Static_assert(COUNT(of_requests) <= PATHS_MAX && COUNT(of_answers) <= PATHS_MAX &&
                   COUNT(of_events) <= PATHS_MAX,
               "a table has more paths than a walk can follow");

static const struct path *const sets[] = {
    [TEXTS_OF_REQUESTS] = of_requests,
    [TEXTS_OF_ANSWERS] = of_answers,
    [TEXTS_OF_EVENTS] = of_events,
};

/* -------------------------------------------------------------------------------- the walk */

/* A path, and what is left of it here. */
struct branch {
    const char *rest;
    const struct path *path;
};

struct branches {
    size_t count;
    struct branch list[PATHS_MAX];
};

/* Which of several texts one is in. */
struct place {
    uint64_t channel;
    unsigned choice, arrays;
};

struct walk {
    bool (*take)(void *with, const struct found *found);
    void *with;
    bool is_event, over;
    struct text type; /* of an event that says so */
};

static uint64_t mix(uint64_t sum, uint64_t number)
{
    sum = (sum ^ number) * 0x9E3779B97F4A7C15;
    return sum ^ sum >> 29;
}

/* In any case: servers written in Go read names like that. */
static bool leads(const char *rest, struct text name, const char **behind)
{
    size_t len = strcspn(rest, ".");
    if (!len || !text_is_name(name, (struct text){rest, len}))
        return false;
    *behind = rest + len + (rest[len] == '.');
    return true;
}

/* The branches that lead on to the member <name>. */
static void choose(const struct branches *from, struct text name, struct branches *to)
{
    char plain[NAME_RAW_MAX];
    to->count = 0;
    if (name.len <= sizeof(plain) && name.len && memchr(name.at, '\\', name.len))
        name = (struct text){plain, text_unescape(name, plain)};
    for (size_t i = 0; i < from->count; i++) {
        const char *behind;
        if (leads(from->list[i].rest, name, &behind))
            to->list[to->count++] = (struct branch){behind, from->list[i].path};
    }
}

static void give(struct walk *walk, enum text_kind kind, const struct path *path, struct text value,
                 const struct place *place)
{
    struct found found = {.kind = kind, .raw = value, .whole = path->whole};
    bool string = value.len >= 2 && value.at[0] == '"';
    if (string && kind != TEXT_DROP) {
        found.raw = (struct text){value.at + 1, value.len - 2};
        found.escaped = found.raw.len && memchr(found.raw.at, '\\', found.raw.len);
    }
    found.choice = place->choice;
    found.channel = mix(place->channel, (uint64_t)(uintptr_t)path);
    walk->over = walk->over || !walk->take(walk->with, &found);
}

/* All strings (the names too: they can hold text as well) and numbers in <value>. */
static void give_all(struct walk *walk, const struct path *path, struct text value,
                     const struct place *place)
{
    const char *at = value.at, *end = value.at + value.len;
    while (at < end && !walk->over) {
        const char *from = at;
        if (*at == '"') {
            at = member_string_end(at, end);
            if (at == end)
                return;
            at++;
            struct text string = {from, (size_t)(at - from)};
            give(walk, TEXT_PLAIN, path, string, place);
        } else if (*at == '-' || (*at >= '0' && *at <= '9')) {
            while (at < end && strchr("0123456789+-.eE", *at) && *at)
                at++;
            struct text number = {from, (size_t)(at - from)};
            give(walk, TEXT_NUMBER, path, number, place);
        } else {
            at++;
        }
    }
}

/* What the piece of text in "delta" is depends on the event's type. */
static void give_delta(struct walk *walk, const struct path *path, struct text value,
                       const struct place *place)
{
    struct place here = *place;
    if (text_find(walk->type, TEXT("audio.delta")) != SIZE_MAX)
        return; /* sound in base64 */
    for (size_t i = 0; i < walk->type.len; i++)
        here.channel = mix(here.channel, (unsigned char)walk->type.at[i]);
    enum text_kind kind = TEXT_PLAIN;
    if (text_find(walk->type, TEXT("arguments")) != SIZE_MAX)
        kind = TEXT_JSON;
    else if (text_find(walk->type, TEXT("output_text")) != SIZE_MAX)
        kind = TEXT_ANSWER;
    give(walk, kind, path, value, &here);
}

/* Is the path at its end here, and the value what it is about? */
static void arrive(struct walk *walk, const struct branch *branch, struct text value,
                   const struct place *place)
{
    bool string = value.at[0] == '"', null = value.at[0] == 'n';
    if (strcmp(branch->rest, "**") == 0)
        give_all(walk, branch->path, value, place);
    else if (*branch->rest != '\0')
        return;
    else if (branch->path->kind == TEXT_JSON && !string) /* not as text, but as it is: Ollama */
        give_all(walk, branch->path, value, place);
    else if (branch->path->kind == TEXT_DROP && !null)
        give(walk, TEXT_DROP, branch->path, value, place);
    else if (string && branch->path->kind == TEXT_DELTA)
        give_delta(walk, branch->path, value, place);
    else if (string && branch->path->kind != TEXT_DROP)
        give(walk, branch->path->kind, branch->path, value, place);
}

/* Events say by numbers which text a piece belongs to; the number may stand behind the piece. */
static void read_place(struct walk *walk, struct text object, struct place *place, bool is_item)
{
    static const struct text names[] = {
        {"index", 5},          {"output_index", 12},      {"content_index", 13},
        {"summary_index", 13}, {"contentBlockIndex", 17},
    };
    struct text name, value;
    while (member_next(&object, &name, &value)) {
        uint64_t number;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            if (!text_equal(name, names[i]) || !text_number(value, 1000000, &number))
                continue;
            place->channel = mix(place->channel, number << 3 | i);
            if (is_item && i == 0)
                place->choice = (unsigned)number;
        }
        if (!walk->type.at && text_equal(name, TEXT("type")))
            walk->type = member_string(value);
    }
}

static void walk_value(struct walk *walk, struct text value, const struct branches *branches,
                       struct place place);

static void walk_object(struct walk *walk, struct text object, const struct branches *branches,
                        const struct place *place)
{
    __attribute__((uninitialized)) struct branches on;
    struct text name, value;
    while (!walk->over && member_next(&object, &name, &value)) {
        choose(branches, name, &on);
        if (on.count)
            walk_value(walk, value, &on, *place);
    }
}

static void walk_array(struct walk *walk, struct text array, const struct branches *branches,
                       struct place place)
{
    __attribute__((uninitialized)) struct branches on;
    struct text name, value;
    choose(branches, TEXT("*"), &on);
    place.arrays++;
    for (unsigned i = 0; on.count && !walk->over && member_next(&array, &name, &value); i++) {
        struct place here = place;
        here.choice = place.arrays == 1 ? i : place.choice;
        walk_value(walk, value, &on, here);
    }
}

static void walk_value(struct walk *walk, struct text value, const struct branches *branches,
                       struct place place)
{
    if (value.len == 0)
        return;
    for (size_t i = 0; i < branches->count && !walk->over; i++)
        arrive(walk, &branches->list[i], value, &place);
    if (value.at[0] == '{') {
        if (walk->is_event)
            read_place(walk, value, &place, place.arrays == 1);
        walk_object(walk, value, branches, &place);
    } else if (value.at[0] == '[') {
        walk_array(walk, value, branches, place);
    }
}

static struct text skip_space(struct text json)
{
    while (json.len && strchr(" \t\r\n", json.at[0]))
        json = text_from(json, 1);
    return json;
}

void texts_find(enum text_set set, struct text json,
                bool (*take)(void *with, const struct found *found), void *with)
{
    struct walk walk = {.take = take, .with = with, .is_event = set == TEXTS_OF_EVENTS};
    __attribute__((uninitialized)) struct branches all;
    all.count = 0;
    for (const struct path *path = sets[set]; path->names; path++)
        all.list[all.count++] = (struct branch){path->names, path};
    struct text start = skip_space(json), name, item;
    if (start.len && start.at[0] == '[') /* a list of chunks, or of results */
        while (!walk.over && member_next(&start, &name, &item))
            walk_value(&walk, item, &all, (struct place){0});
    else
        walk_value(&walk, start, &all, (struct place){0});
}
