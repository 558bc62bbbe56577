/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A generateContent call, written: tools, generationConfig, and all around the contents.
 */
#include <stdlib.h>

#include "gateway/base/member.h"
#include "providers/gemini.h"
#include "providers/provider.h"
#include "providers/web_search.h"

enum {
    STOPS_MAX = 5,
    CANDIDATES_MAX = 8,
    LOGPROBS_MAX = 20,
};

static bool is_own(const struct chat *chat)
{
    return chat->from == &translator_gemini;
}

/* ----------------------------------------------------------------------------------- models */

static bool has(struct text model, const char *word)
{
    return text_find(model, text_of(word)) != SIZE_MAX;
}

enum gemini_age gemini_age_of(struct text model)
{
    static const struct text mark = {"gemini-", 7};
    size_t at = text_find(model, mark);
    struct text version = at == SIZE_MAX ? TEXT("") : text_from(model, at + mark.len);
    char major = version.len ? version.at[0] : '\0';
    char minor = version.len > 2 && version.at[1] == '.' ? version.at[2] : '0';
    if (has(model, "-image") || has(model, "-tts") || has(model, "gemma") || major == '1' ||
        text_starts(version, TEXT("pro-vision")) || text_equal(version, TEXT("pro")))
        return GEMINI_PLAIN;
    if (major == '2')
        return minor < '5' ? GEMINI_PLAIN : GEMINI_BUDGETS;
    if (major >= '3' && major <= '9')
        return GEMINI_LEVELS;
    return version.len && has(version, "-latest") ? GEMINI_LEVELS : GEMINI_BUDGETS;
}

/* ------------------------------------------------------------------------------------ tools */

static void put_function(const struct chat *chat, size_t i, struct buffer *out,
                         struct losses *losses)
{
    const struct tool *tool = &chat->tools[i];
    put_comma(out);
    if (is_own(chat)) {
        put_text(out, tool->raw);
        return;
    }
    put_literal(out, "{");
    put_inner(out, "name", tool->name);
    put_inner(out, "description", tool->description);
    if (!json_is_absent(tool->schema))
        put_json(out, gemini_schema_fits(tool->schema) ? "parameters" : "parametersJsonSchema",
                 tool->schema);
    put_literal(out, "}");
    if (tool->strict)
        loss_hint(losses, "tools[%zu].strict", i);
    if (!json_is_absent(tool->cache))
        loss_hint(losses, "tools[%zu].cache_control", i);
}

static size_t count_functions(const struct chat *chat)
{
    size_t count = 0;
    for (size_t i = 0; i < chat->tool_count; i++)
        count += chat->tools[i].kind == TOOL_FUNCTION;
    return count;
}

/* Google searches as often as it likes: a call that says how often is held for no more, and so does
 * not search at all where what is lost is let pass. Nor does it with functions beside. */
static bool put_search(const struct chat *chat, size_t i, struct buffer *out, struct losses *losses)
{
    const struct web_search *search = chat->tools[i].search;
    if (search->most)
        loss_demand(losses, "tools[%zu].max_uses", i);
    else if (web_search_is_bounded(chat, search))
        loss_demand(losses, "max_tool_calls");
    if (search->odd.len)
        loss_demand(losses, "tools[%zu].%.*s", i, TEXT_ARGS(search->odd));
    if (search->allowed.len || search->blocked.len)
        loss_demand(losses, "tools[%zu].filters", i);
    if (search->place.len)
        loss_hint(losses, "tools[%zu].user_location", i);
    if (search->sized)
        loss_hint(losses, "tools[%zu].search_context_size", i);
    if (web_search_is_bounded(chat, search))
        return false;
    put_comma(out);
    put_literal(out, "{\"googleSearch\":{}}");
    return true;
}

static void put_tools(const struct chat *chat, const struct call_target *target, struct buffer *out,
                      struct losses *losses)
{
    bool searches = target->type && target->type->searches;
    size_t begin = buffer_length(out);
    size_t functions = count_functions(chat);
    put_open(out, "tools", '[');
    if (functions) {
        put_open(out, NULL, '{');
        put_open(out, "functionDeclarations", '[');
        for (size_t i = 0; i < chat->tool_count; i++)
            if (chat->tools[i].kind == TOOL_FUNCTION)
                put_function(chat, i, out, losses);
        put_literal(out, "]}");
    }
    bool others = false;
    for (size_t i = 0; i < chat->tool_count; i++) {
        if (chat->tools[i].kind == TOOL_FUNCTION)
            continue;
        if (!is_own(chat) && searches && !functions && chat->tools[i].search) {
            others = put_search(chat, i, out, losses) || others;
            continue;
        }
        if (!is_own(chat)) {
            loss_demand(losses, "tools[%zu].type", i);
            continue;
        }
        put_comma(out);
        put_text(out, chat->tools[i].raw);
        others = true;
    }
    put_literal(out, "]");
    if (!functions && !others)
        gemini_cut_back(out, begin);
}

/* What was kept of the call as a whole, by its name. */
static const struct chat_field *own_field(const struct chat *chat, const char *name)
{
    for (size_t i = 0; is_own(chat) && i < chat->field_count; i++)
        if (inner_is(chat->fields[i].name, name))
            return &chat->fields[i];
    return NULL;
}

static void put_choice(const struct chat *chat, struct buffer *out)
{
    static const char *const modes[] = {
        [CHOICE_AUTO] = "AUTO", [CHOICE_NONE] = "NONE", [CHOICE_ANY] = "ANY", [CHOICE_ONE] = "ANY"};
    if (own_field(chat, "toolConfig") || chat->tool_choice == CHOICE_UNSAID)
        return; /* the field is written with the others */
    if (!is_own(chat) && !chat_has_functions(chat))
        return; /* Gemini refuses it where no function is declared */
    put_open(out, "toolConfig", '{');
    put_open(out, "functionCallingConfig", '{');
    put_inner(out, "mode", text_of(modes[chat->tool_choice]));
    if (chat->tool_choice == CHOICE_ONE) {
        put_open(out, "allowedFunctionNames", '[');
        put_item(out, chat->tool_choice_name);
        put_literal(out, "]");
    }
    put_literal(out, "}}");
}

/* ------------------------------------------------------------------------- generationConfig */

static void put_max_tokens(const struct chat *chat, const struct call_target *target,
                           struct buffer *out, struct losses *losses)
{
    int64_t tokens = chat->max_tokens ? chat->max_tokens : target->max_tokens_default;
    if (target->lowered_tokens)
        tokens = target->lowered_tokens;
    if (target->max_tokens_max && tokens > target->max_tokens_max) {
        tokens = target->max_tokens_max;
        loss_hint(losses, "max_tokens");
    }
    if (tokens)
        put_number(out, "maxOutputTokens", tokens);
}

static void put_stops(const struct chat *chat, struct buffer *out, struct losses *losses)
{
    if (!chat->stop_count)
        return;
    put_open(out, "stopSequences", '[');
    size_t most = is_own(chat) ? CHAT_STOPS_MAX : STOPS_MAX;
    for (size_t i = 0; i < chat->stop_count && i < most; i++)
        put_item(out, chat->stops[i]);
    put_literal(out, "]");
    if (chat->stop_count > most)
        loss_demand(losses, "stop[%d]", (int)STOPS_MAX);
}

/* A number that is too large is lowered, and said so. */
static void put_at_most(struct buffer *out, const char *name, struct text json, double most,
                        struct losses *losses)
{
    char digits[64];
    if (json_is_absent(json) || json.len >= sizeof(digits))
        return;
    memcpy(digits, json.at, json.len);
    digits[json.len] = '\0';
    bool high = strtod(digits, NULL) > most;
    put_json(out, name, high ? text_of(most == 2 ? "2" : "1") : json);
    if (high)
        loss_hint(losses, "%s", most == 1 ? "top_p" : name);
}

/* Zero is what it is anyway; models without penalties refuse even that. */
static void put_penalty(struct buffer *out, const char *name, struct text json)
{
    for (size_t i = 0; i < json.len; i++)
        if (json.at[i] >= '1' && json.at[i] <= '9') {
            put_json(out, name, json);
            return;
        }
}

static void put_seed(const struct chat *chat, struct buffer *out, struct losses *losses)
{
    struct text digits = chat->seed;
    uint64_t seed;
    if (json_is_absent(digits))
        return;
    if (digits.len && digits.at[0] == '-')
        digits = text_from(digits, 1);
    if (text_number(digits, INT32_MAX, &seed))
        put_json(out, "seed", chat->seed);
    else
        loss_hint(losses, "seed");
}

static void put_choices(const struct chat *chat, struct buffer *out, struct losses *losses)
{
    int64_t most = is_own(chat) ? CHAT_CHOICES_MAX : CANDIDATES_MAX;
    if (chat->choices > 1)
        put_number(out, "candidateCount", chat->choices < most ? chat->choices : most);
    if (chat->choices > most)
        loss_demand(losses, "n");
    put_said(out, "responseLogprobs", chat->logprobs);
    if (chat->top_logprobs > LOGPROBS_MAX && !is_own(chat))
        loss_demand(losses, "top_logprobs");
    else if (chat->top_logprobs >= 0 && (chat->logprobs == SAID_YES || is_own(chat)))
        put_number(out, "logprobs", chat->top_logprobs);
}

/* As the client wrote it. */
static void put_own_sampling(const struct chat *chat, struct buffer *out)
{
    put_json(out, "temperature", chat->temperature);
    put_json(out, "topP", chat->top_p);
    put_json(out, "topK", chat->top_k);
    put_json(out, "presencePenalty", chat->presence_penalty);
    put_json(out, "frequencyPenalty", chat->frequency_penalty);
    put_json(out, "seed", chat->seed);
}

static void put_sampling(const struct chat *chat, struct buffer *out, struct losses *losses)
{
    put_at_most(out, "temperature", chat->temperature, 2, losses);
    put_at_most(out, "topP", chat->top_p, 1, losses);
    if (!json_is_absent(chat->top_k))
        put_json(out, "topK", chat->top_k);
    put_penalty(out, "presencePenalty", chat->presence_penalty);
    put_penalty(out, "frequencyPenalty", chat->frequency_penalty);
    put_seed(chat, out, losses);
    if (!json_is_absent(chat->logit_bias))
        loss_hint(losses, "logit_bias");
}

static void put_shape(const struct chat *chat, const struct call_target *target, struct buffer *out,
                      struct losses *losses)
{
    if (chat->shape == SHAPE_TEXT)
        return;
    put_inner(out, "responseMimeType", TEXT("application/json"));
    if (chat->shape == SHAPE_JSON)
        return;
    /* Models before 2.5 order the properties of what is not theirs by the alphabet, so these get
     * their own form as long as it says all. */
    bool plain = !is_own(chat) && gemini_age_of(target->model) == GEMINI_PLAIN &&
                 gemini_schema_fits(chat->schema);
    if (is_own(chat) && chat->schema_raw.at)
        put_json(out, "responseSchema", chat->schema_raw);
    else
        put_json(out, plain ? "responseSchema" : "responseJsonSchema", chat->schema);
    if (chat->schema_name.at)
        loss_hint(losses, "response_format.name");
    if (chat->schema_description.at)
        loss_hint(losses, "response_format.description");
    if (chat->schema_strict == SAID_YES)
        loss_hint(losses, "response_format.strict");
}

static void put_upper(struct buffer *out, struct text json)
{
    for (size_t i = 0; i < json.len; i++) {
        char c = json.at[i];
        if (i == 0 || json.at[i - 1] != '\\') /* escapes keep their letter */
            c = (char)(c >= 'a' && c <= 'z' ? c & ~0x20 : c);
        buffer_append(out, &c, 1);
    }
}

/* ["text","audio"] in the names that this dialect has for them. */
static void put_modalities(const struct chat *chat, struct buffer *out, struct losses *losses)
{
    static const struct text ours[] = {{"text", 4}, {"image", 5}, {"audio", 5}, {"video", 5}};
    static const char *const theirs[] = {"TEXT", "IMAGE", "AUDIO", "VIDEO"};
    struct text rest = chat->modalities, name, item;
    bool sound = !is_own(chat) && chat_wants(chat->modalities, TEXT("audio"));
    if (json_is_absent(rest))
        return;
    put_open(out, "responseModalities", '[');
    while (member_next(&rest, &name, &item)) {
        size_t i = 0;
        while (i < 4 && !text_equal(member_string(item), ours[i]))
            i++;
        if (sound && i == 0) {
            loss_hint(losses, "modalities"); /* there are no words beside sound */
        } else if (i < 4) {
            put_item(out, text_of(theirs[i]));
        } else if (is_own(chat)) {
            put_comma(out);
            put_upper(out, item);
        } else
            loss_demand(losses, "modalities");
    }
    put_literal(out, "]");
}

/* https://ai.google.dev/gemini-api/docs/speech-generation#voices */
static const char *const voices[] = {
    "Zephyr",    "Puck",         "Charon",     "Kore",       "Fenrir",    "Leda",
    "Orus",      "Aoede",        "Callirrhoe", "Autonoe",    "Enceladus", "Iapetus",
    "Umbriel",   "Algieba",      "Despina",    "Erinome",    "Algenib",   "Rasalgethi",
    "Laomedeia", "Achernar",     "Alnilam",    "Schedar",    "Gacrux",    "Pulcherrima",
    "Achird",    "Vindemiatrix", "Sadachbia",  "Sadaltager", "Sulafat",   "Zubenelgenubi",
};

/* One of its own; at == NULL: there is none of that name. */
static struct text voice_here(const struct chat *chat, struct text name)
{
    for (size_t i = 0; i < sizeof(voices) / sizeof(voices[0]); i++)
        if (text_equal_nocase(name, text_of(voices[i])))
            return text_of(voices[i]);
    return is_own(chat) ? name : (struct text){NULL, 0};
}

/* Other dialects' voices are other voices. Speech is samples without a container. */
static void put_speech(const struct chat *chat, struct buffer *out, struct losses *losses)
{
    struct text format = member_string(member_find(chat->voice, TEXT("format")));
    struct text voice = voice_here(chat, member_string(member_find(chat->voice, TEXT("voice"))));
    if (json_is_absent(chat->voice))
        return;
    if (format.at && !text_equal(format, TEXT("pcm16")))
        loss_demand(losses, "audio.format");
    if (!voice.len) {
        loss_demand(losses, "audio.voice");
        return;
    }
    put_literal(out,
                ",\"speechConfig\":{\"voiceConfig\":{\"prebuiltVoiceConfig\":{\"voiceName\":\"");
    put_text(out, voice);
    put_literal(out, "\"}}}");
}

/* ---------------------------------------------------------------------------- thinkingConfig */

/* Efforts, and what they are worth in tokens: the figures of Google's own OpenAI-compatible
 * endpoint. */
static const struct {
    struct text effort;
    const char *level;
    int64_t tokens;
} efforts[] = {
    {{"none", 4}, "minimal", 0},  {{"minimal", 7}, "minimal", 1024},
    {{"low", 3}, "low", 1024},    {{"medium", 6}, "medium", 8192},
    {{"high", 4}, "high", 24576}, {{"xhigh", 5}, "high", 24576},
    {{"max", 3}, "high", 24576},
};

enum { EFFORTS = sizeof(efforts) / sizeof(efforts[0]), EFFORT_NONE = 0 };

/* Models of 3 and later cannot stop to think; the larger ones have two levels only. */
static const char *level_for(size_t i, struct text model)
{
    bool is_pro = has(model, "pro");
    if (is_pro && text_equal(text_of(efforts[i].level), TEXT("minimal")))
        return "low";
    if (has(model, "gemini-3-pro") && text_equal(text_of(efforts[i].level), TEXT("medium")))
        return "high";
    return efforts[i].level;
}

/* The smallest and the largest budget of the models of 2.5. */
static int64_t fit_budget(int64_t tokens, struct text model, struct losses *losses)
{
    bool is_pro = has(model, "-pro");
    int64_t least = is_pro ? 128 : has(model, "-lite") ? 512 : 0, most = is_pro ? 32768 : 24576;
    int64_t fit = tokens == 0 && !is_pro ? 0
                  : tokens < least       ? least
                  : tokens > most        ? most
                                         : tokens;
    if (fit != tokens)
        loss_hint(losses, "reasoning.max_tokens");
    return fit;
}

static bool find_effort(struct text effort, size_t *i)
{
    for (*i = 0; *i < EFFORTS; ++*i)
        if (text_equal(efforts[*i].effort, effort))
            return true;
    return false;
}

/* As the client wrote it. */
static void put_own_effort(const struct chat *chat, struct buffer *out)
{
    if (chat->effort.len)
        put_inner(out, "thinkingLevel", chat->effort);
    if (chat->reasoning_tokens || chat->reasoning == SAID_NO)
        put_number(out, "thinkingBudget", chat->reasoning_tokens);
    else if (chat->reasoning == SAID_YES && !chat->effort.len)
        put_number(out, "thinkingBudget", -1);
}

static void put_level(size_t i, struct text model, struct buffer *out, struct losses *losses)
{
    put_inner(out, "thinkingLevel", text_of(level_for(i, model)));
    if (i == EFFORT_NONE)
        loss_hint(losses, "reasoning");
}

/* A level where the model has them, else a budget; both at once are refused. */
static void put_effort(const struct chat *chat, const struct call_target *target,
                       struct buffer *out, struct losses *losses)
{
    struct text model = target->model;
    size_t i = EFFORT_NONE;
    bool by_effort = chat->reasoning == SAID_NO || (chat->effort.len && !chat->reasoning_tokens);
    if (chat->reasoning != SAID_NO && by_effort && !find_effort(chat->effort, &i))
        loss_hint(losses, "reasoning_effort");
    else if (by_effort && gemini_age_of(model) == GEMINI_LEVELS)
        put_level(i, model, out, losses);
    else if (by_effort)
        put_number(out, "thinkingBudget", fit_budget(efforts[i].tokens, model, losses));
    else if (chat->reasoning_tokens)
        put_number(out, "thinkingBudget", fit_budget(chat->reasoning_tokens, model, losses));
    else if (chat->reasoning == SAID_YES)
        put_number(out, "thinkingBudget", -1);
}

/* Members of <group> that only this dialect knows. */
static void put_own_fields(const struct chat *chat, struct text group, struct buffer *out)
{
    for (size_t i = 0; is_own(chat) && i < chat->field_count; i++) {
        struct text name = chat->fields[i].name;
        if (!text_starts(name, group))
            continue;
        name = text_from(name, group.len);
        if (text_find_byte(name, '.') != SIZE_MAX)
            continue;
        put_item(out, name);
        put_literal(out, ":");
        put_text(out, chat->fields[i].value);
    }
}

static void put_thinking(const struct chat *chat, const struct call_target *target,
                         struct buffer *out, struct losses *losses)
{
    size_t begin = buffer_length(out);
    bool asks = chat->reasoning == SAID_YES || chat->effort.len || chat->reasoning_tokens;
    if (!is_own(chat) && gemini_age_of(target->model) == GEMINI_PLAIN) {
        if (asks)
            loss_hint(losses, "reasoning");
        return;
    }
    put_open(out, "thinkingConfig", '{');
    size_t inside = buffer_length(out);
    if (is_own(chat))
        put_own_effort(chat, out);
    else
        put_effort(chat, target, out, losses);
    put_said(out, "includeThoughts", chat->reasoning_shown);
    put_own_fields(chat, TEXT("generationConfig.thinkingConfig."), out);
    if (buffer_length(out) == inside)
        gemini_cut_back(out, begin);
    else
        put_literal(out, "}");
}

void gemini_put_config(const struct chat *chat, const struct call_target *target,
                       struct buffer *out, struct losses *losses)
{
    size_t begin = buffer_length(out);
    put_open(out, "generationConfig", '{');
    size_t inside = buffer_length(out);
    put_max_tokens(chat, target, out, losses);
    put_stops(chat, out, losses);
    if (is_own(chat))
        put_own_sampling(chat, out);
    else
        put_sampling(chat, out, losses);
    put_choices(chat, out, losses);
    put_shape(chat, target, out, losses);
    put_modalities(chat, out, losses);
    put_speech(chat, out, losses);
    put_thinking(chat, target, out, losses);
    put_own_fields(chat, TEXT("generationConfig."), out);
    if (buffer_length(out) == inside)
        gemini_cut_back(out, begin);
    else
        put_literal(out, "}");
}

/* -------------------------------------------------------------------------------------- all */

static void note_hints(const struct chat *chat, struct losses *losses)
{
    if (chat->parallel_calls == SAID_NO)
        loss_hint(losses, "parallel_tool_calls");
    if (chat->user.len)
        loss_hint(losses, "user");
    if (!json_is_absent(chat->metadata) && !is_own(chat))
        loss_hint(losses, "metadata");
    if (chat->service_tier.len)
        loss_hint(losses, "service_tier");
    if (chat->store != SAID_NOTHING)
        loss_hint(losses, "store");
    if (chat->verbosity.len)
        loss_hint(losses, "verbosity");
    loss_fields(losses, chat, &translator_gemini);
}

/* The fields that stand at the top. */
static void put_top_fields(const struct chat *chat, struct buffer *out)
{
    put_own_fields(chat, TEXT(""), out);
    if (is_own(chat) && !json_is_absent(chat->metadata))
        put_json(out, "labels", chat->metadata);
}

void gemini_write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    put_literal(out, "{");
    gemini_put_contents(arena, chat, target, out, losses);
    put_tools(chat, target, out, losses);
    put_choice(chat, out);
    gemini_put_config(chat, target, out, losses);
    put_top_fields(chat, out);
    put_literal(out, "}");
    note_hints(chat, losses);
}

/* ------------------------------------------------------------------------------------- path */

/* A colon or slash would be taken for the path's own. */
static void put_escaped(struct buffer *out, struct text plain)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < plain.len; i++) {
        unsigned char c = (unsigned char)plain.at[i];
        bool good = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                    c == '-' || c == '.' || c == '_' || c == '~' || c == '@';
        char escape[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (good)
            buffer_append(out, &plain.at[i], 1);
        else
            buffer_append(out, escape, sizeof(escape));
    }
}

void gemini_put_model_path(const struct call_target *target, struct buffer *out)
{
    static const struct text prefix = {"models/", 7}, tuned = {"tunedModels/", 12};
    struct text model = target->model;
    if (text_starts(model, prefix))
        model = text_from(model, prefix.len);
    if (target->project.len) {
        put_literal(out, "/v1/projects/");
        put_escaped(out, target->project);
        put_literal(out, "/locations/");
        put_escaped(out, target->location);
        put_literal(out, "/publishers/google/models/");
    } else if (text_starts(model, tuned)) {
        put_literal(out, "/v1beta/tunedModels/");
        model = text_from(model, tuned.len);
    } else {
        put_literal(out, "/v1beta/models/");
    }
    put_escaped(out, model);
}

void gemini_write_path(const struct call_target *target, struct buffer *out)
{
    gemini_put_model_path(target, out);
    put_literal(out, target->stream ? ":streamGenerateContent?alt=sse" : ":generateContent");
}
