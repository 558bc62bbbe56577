/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/admission.h"

#include <stdio.h>

#include "deploy/models/standing.h"
#include "gateway/base/member.h"
#include "gateway/deploy_page.h"
#include "gateway/lengths.h"
#include "gateway/objects.h"
#include "gateway/owning.h"
#include "gateway/references.h"
#include "gateway/worker_inside.h"
#include "providers/provider.h"

enum {
    MODEL_NAME_MAX = 255, /* as the ledger keeps it: what is cut is another name */
    USER_NAME_MAX = 255,
    CHOICES_MAX = 128,
    TOKENS_MAX = 1000000000,
    LONGS_MAX = 256, /* strings that are not walked through again */
};

/* What policy reads of a body; the order is that of the enum. */
enum want {
    WANT_MODEL,
    WANT_STREAM,
    WANT_STREAM_OPTIONS,
    WANT_INCLUDE_USAGE,
    WANT_MAX_TOKENS,
    WANT_MAX_COMPLETION_TOKENS,
    WANT_MAX_OUTPUT_TOKENS,
    WANT_N,
    WANT_USER,
    WANT_STORE,
    WANT_PREVIOUS,
    WANT_INPUT_FILE,
    WANT_TEMPERATURE,
    WANT_BACKGROUND,
    WANT_BEST_OF,
    WANT_PROMPT,
    WANT_INPUT,
    WANT_MESSAGES,
    WANT_PROMPT_CACHE_KEY,
    WANT_TOOLS,
    WANT_DOCUMENTS,
    WANT_SERVICE, /* the tier of service */
    WANT_SEARCH_OPTIONS,
    WANT_SEARCH_PARAMETERS,
    WANT_PLUGINS,
    WANT_MODELS, /* OpenRouter's other models */
    WANT_ROUTE,
    WANT_PRESET,
    OPENAI_WANTS,
    WANT_LENGTH_HOLDER = OPENAI_WANTS, /* the object that the longest answer is said in */
    WANT_METADATA,
    WANT_SPEED,   /* Anthropic's dearer tier */
    WANT_VERSION, /* of Anthropic's messages, where others carry them */
    WANTS
};

static const struct text openai_wants[OPENAI_WANTS] = {
    [WANT_MODEL] = {"model", 5},
    [WANT_STREAM] = {"stream", 6},
    [WANT_STREAM_OPTIONS] = {"stream_options", 14},
    [WANT_INCLUDE_USAGE] = {"stream_options.include_usage", 28},
    [WANT_MAX_TOKENS] = {"max_tokens", 10},
    [WANT_MAX_COMPLETION_TOKENS] = {"max_completion_tokens", 21},
    [WANT_MAX_OUTPUT_TOKENS] = {"max_output_tokens", 17},
    [WANT_N] = {"n", 1},
    [WANT_USER] = {"user", 4},
    [WANT_STORE] = {"store", 5},
    [WANT_PREVIOUS] = {"previous_response_id", 20},
    [WANT_INPUT_FILE] = {"input_file_id", 13},
    [WANT_TEMPERATURE] = {"temperature", 11},
    [WANT_BACKGROUND] = {"background", 10},
    [WANT_BEST_OF] = {"best_of", 7},
    [WANT_PROMPT] = {"prompt", 6},
    [WANT_INPUT] = {"input", 5},
    [WANT_MESSAGES] = {"messages", 8},
    [WANT_PROMPT_CACHE_KEY] = {"prompt_cache_key", 16},
    [WANT_TOOLS] = {"tools", 5},
    [WANT_DOCUMENTS] = {"documents", 9},
    [WANT_SERVICE] = {"service_tier", 12},
    [WANT_SEARCH_OPTIONS] = {"web_search_options", 18},
    [WANT_SEARCH_PARAMETERS] = {"search_parameters", 17},
    [WANT_PLUGINS] = {"plugins", 7},
    [WANT_MODELS] = {"models", 6},
    [WANT_ROUTE] = {"route", 5},
    [WANT_PRESET] = {"preset", 6},
};

/* What a dialect calls it; it may have two spellings for one thing. */
struct want_name {
    enum want want;
    struct text name;
};

static const struct want_name anthropic_wants[] = {
    {WANT_MODEL, {"model", 5}},
    {WANT_STREAM, {"stream", 6}},
    {WANT_MAX_TOKENS, {"max_tokens", 10}},
    {WANT_METADATA, {"metadata", 8}},
    {WANT_USER, {"metadata.user_id", 16}},
    {WANT_TEMPERATURE, {"temperature", 11}},
    {WANT_TOOLS, {"tools", 5}},
    {WANT_SERVICE, {"service_tier", 12}},
    {WANT_SPEED, {"speed", 5}},
};

static const struct want_name gemini_wants[] = {
    {WANT_INPUT, {"requests", 8}},
    {WANT_LENGTH_HOLDER, {"generationConfig", 16}},
    {WANT_LENGTH_HOLDER, {"generation_config", 17}},
    {WANT_MAX_TOKENS, {"generationConfig.maxOutputTokens", 32}},
    {WANT_MAX_TOKENS, {"generationConfig.max_output_tokens", 34}},
    {WANT_MAX_TOKENS, {"generation_config.maxOutputTokens", 33}},
    {WANT_MAX_TOKENS, {"generation_config.max_output_tokens", 35}},
    {WANT_N, {"generationConfig.candidateCount", 31}},
    {WANT_N, {"generationConfig.candidate_count", 32}},
    {WANT_N, {"generation_config.candidateCount", 32}},
    {WANT_N, {"generation_config.candidate_count", 33}},
    {WANT_TEMPERATURE, {"generationConfig.temperature", 28}},
    {WANT_TEMPERATURE, {"generation_config.temperature", 29}},
    {WANT_SERVICE, {"serviceTier", 11}},
    {WANT_SERVICE, {"service_tier", 12}},
};

static const struct want_name ollama_wants[] = {
    {WANT_TOOLS, {"tools", 5}},
    {WANT_INPUT, {"input", 5}},
    {WANT_MODEL, {"model", 5}},
    {WANT_STREAM, {"stream", 6}},
    {WANT_LENGTH_HOLDER, {"options", 7}},
    {WANT_MAX_TOKENS, {"options.num_predict", 19}},
    {WANT_TEMPERATURE, {"options.temperature", 19}},
};

static const struct want_name bedrock_wants[] = {
    {WANT_LENGTH_HOLDER, {"inferenceConfig", 15}},
    {WANT_MAX_TOKENS, {"inferenceConfig.maxTokens", 25}},
    {WANT_TEMPERATURE, {"inferenceConfig.temperature", 27}},
    {WANT_SERVICE, {"serviceTier.type", 16}},
};

/* Of InvokeModel: as each maker calls it. AWS refuses what a model does not know. */
static const struct want_name invoke_wants[] = {
    {WANT_VERSION, {"anthropic_version", 17}},
    {WANT_MAX_TOKENS, {"max_tokens", 10}}, /* Anthropic, Mistral, Cohere, AI21 */
    {WANT_METADATA, {"metadata", 8}},
    {WANT_USER, {"metadata.user_id", 16}},
    {WANT_TEMPERATURE, {"temperature", 11}},
    {WANT_MAX_TOKENS, {"max_tokens_to_sample", 20}},  /* Claude as it once was */
    {WANT_MAX_TOKENS, {"max_gen_len", 11}},           /* Llama */
    {WANT_MAX_TOKENS, {"maxTokens", 9}},              /* Jurassic */
    {WANT_MAX_TOKENS, {"max_completion_tokens", 21}}, /* gpt-oss */
    {WANT_LENGTH_HOLDER, {"inferenceConfig", 15}},    /* Nova */
    {WANT_MAX_TOKENS, {"inferenceConfig.maxTokens", 25}},
    {WANT_MAX_TOKENS, {"inferenceConfig.max_new_tokens", 30}},
    {WANT_TEMPERATURE, {"inferenceConfig.temperature", 27}},
    {WANT_LENGTH_HOLDER, {"textGenerationConfig", 20}}, /* Titan */
    {WANT_MAX_TOKENS, {"textGenerationConfig.maxTokenCount", 34}},
    {WANT_TEMPERATURE, {"textGenerationConfig.temperature", 32}},
    {WANT_N, {"n", 1}},
    {WANT_N, {"num_generations", 15}}, /* Cohere */
    {WANT_N, {"numResults", 10}},      /* Jurassic */
    {WANT_SERVICE, {"service_tier", 12}},
    {WANT_SPEED, {"speed", 5}},
};

static const struct want_name cohere_wants[] = {
    {WANT_TOOLS, {"tools", 5}},
    {WANT_INPUT, {"texts", 5}},
    {WANT_DOCUMENTS, {"documents", 9}},
    {WANT_MODEL, {"model", 5}},
    {WANT_STREAM, {"stream", 6}},
    {WANT_MAX_TOKENS, {"max_tokens", 10}},
    {WANT_TEMPERATURE, {"temperature", 11}},
};

static const struct want_name monster_wants[] = {
    {WANT_MODEL, {"model", 5}},
    {WANT_STREAM, {"stream", 6}},
    {WANT_MAX_TOKENS, {"max_tokens", 10}},
    {WANT_MAX_TOKENS, {"max_length", 10}},
    {WANT_N, {"n", 1}},
    {WANT_TEMPERATURE, {"temperature", 11}},
    {WANT_TEMPERATURE, {"temp", 4}},
};

#define NAMES(list) list, sizeof(list) / sizeof((list)[0])

/* Of OpenAI's dialect each want has its one name, in the order of the enum. */
static const struct {
    enum shape shape;
    const struct want_name *names;
    size_t count;
} dialect_wants[] = {
    {SHAPE_ANTHROPIC, NAMES(anthropic_wants)}, {SHAPE_GEMINI, NAMES(gemini_wants)},
    {SHAPE_OLLAMA, NAMES(ollama_wants)},       {SHAPE_BEDROCK, NAMES(bedrock_wants)},
    {SHAPE_COHERE, NAMES(cohere_wants)},       {SHAPE_MONSTER, NAMES(monster_wants)},
};

enum { NAMES_MAX = 22 };
_Static_assert(sizeof(invoke_wants) / sizeof(invoke_wants[0]) <= NAMES_MAX, "room for all");

static const struct want_name *wants_of(const struct exchange *x, size_t *count)
{
    *count = 0;
    if (x->invokes) {
        *count = sizeof(invoke_wants) / sizeof(invoke_wants[0]);
        return invoke_wants;
    }
    for (size_t i = 0; i < sizeof(dialect_wants) / sizeof(dialect_wants[0]); i++)
        if (dialect_wants[i].shape == x->match.shape) {
            *count = dialect_wants[i].count;
            return dialect_wants[i].names;
        }
    return NULL;
}

static const char *name_of(const struct exchange *x, enum want want)
{
    size_t count;
    const struct want_name *names = wants_of(x, &count);
    for (size_t i = 0; names && i < count; i++)
        if (names[i].want == want)
            return names[i].name.at;
    return openai_wants[want].at ? openai_wants[want].at : "";
}

static bool bad_field(struct exchange *x, enum want want, const char *words)
{
    const char *name = name_of(x, want);
    fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "'%s' %s", name, words);
    exchange_fault(x)->param = name;
    return false;
}

static bool is_given(const struct scan_value *value)
{
    return value->kind != SCAN_ABSENT && value->kind != SCAN_NULL;
}

/* Is it more than an empty list? */
static bool is_filled(const struct scan_value *value)
{
    struct text list = value->raw, name, item;
    return is_given(value) && !(value->kind == SCAN_ARRAY && !member_next(&list, &name, &item));
}

/* Gemini's tools are looked for in its whole body only. */
static bool may_search(const struct exchange *x, const struct scan_value *values)
{
    return x->match.shape == SHAPE_GEMINI || is_given(&values[WANT_TOOLS]) ||
           is_given(&values[WANT_SEARCH_OPTIONS]) || is_given(&values[WANT_SEARCH_PARAMETERS]) ||
           is_given(&values[WANT_PLUGINS]);
}

static struct text array_of(const struct scan_value *value)
{
    return value->kind == SCAN_ARRAY ? value->raw : (struct text){"", 0};
}

static bool read_text(struct exchange *x, const struct scan_value *values, enum want want,
                      size_t max, struct text *to)
{
    const struct scan_value *value = &values[want];
    *to = (struct text){"", 0};
    if (!is_given(value))
        return true;
    if (value->kind != SCAN_STRING)
        return bad_field(x, want, "must be a string.");
    if (value->raw.len > 6 * max)
        return bad_field(x, want, "is too long.");
    char *room = arena_take(&x->arena, value->raw.len);
    size_t len = scan_string(value, room);
    if (len == SIZE_MAX)
        return bad_field(x, want, "has characters that are not allowed.");
    if (len > max)
        return bad_field(x, want, "is too long.");
    *to = (struct text){room, len};
    return true;
}

static bool read_bool(struct exchange *x, const struct scan_value *values, enum want want,
                      bool *flag)
{
    if (!is_given(&values[want]))
        return true;
    if (values[want].kind != SCAN_TRUE && values[want].kind != SCAN_FALSE)
        return bad_field(x, want, "must be true or false.");
    *flag = values[want].kind == SCAN_TRUE;
    return true;
}

static bool read_count(struct exchange *x, const struct scan_value *values, enum want want,
                       uint64_t max, int64_t *number)
{
    uint64_t count;
    /* -1 is how llama.cpp's clients say "no limit", and -2 Ollama's "to the end of the context";
     * what else it may mean the provider says. */
    bool endless = text_equal(values[want].raw, TEXT("-1")) ||
                   (x->match.shape == SHAPE_OLLAMA && text_equal(values[want].raw, TEXT("-2")));
    if (!is_given(&values[want]) || endless)
        return true;
    if (values[want].kind != SCAN_NUMBER || !scan_count(&values[want], max, &count))
        return bad_field(x, want, "must be a whole number that is not negative, within reason.");
    *number = (int64_t)count;
    return true;
}

static bool read_lengths(struct exchange *x, const struct scan_value *values)
{
    for (int i = 0; i < MAX_TOKENS_NAMES; i++) {
        enum want want = (enum want)(WANT_MAX_TOKENS + i);
        int64_t length = 0;
        if (!read_count(x, values, want, TOKENS_MAX, &length))
            return false;
        bool says = lengths_says(x->call.operation, (enum length_name)i);
        if (says && length > x->call.max_tokens)
            x->call.max_tokens = length;
        x->seeking->max_tokens[i] = says ? values[want] : (struct scan_value){.kind = SCAN_ABSENT};
    }
    return true;
}

static bool read_limits(struct exchange *x, const struct scan_value *values)
{
    int64_t best_of = 0;
    x->call.choices = 1;
    x->call.max_tokens = 0;
    if (!read_lengths(x, values) || !read_count(x, values, WANT_N, CHOICES_MAX, &x->call.choices) ||
        !read_count(x, values, WANT_BEST_OF, CHOICES_MAX, &best_of))
        return false;
    if (x->call.choices < 1)
        return bad_field(x, WANT_N, "must be at least 1.");
    if (x->call.operation == OPERATION_COMPLETION) {
        if (best_of > x->call.choices)
            x->call.choices = best_of;
        x->call.choices *= lengths_prompts(&values[WANT_PROMPT]);
    }
    return true;
}

/* Thousandths, rounded up; -1 when it is not given, or written in an unusual way. */
static int64_t read_milli(const struct scan_value *value)
{
    struct text raw = value->raw;
    int64_t milli = 0;
    int places = -1;
    if (value->kind != SCAN_NUMBER || raw.len > 16)
        return -1;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.at[i];
        if (c == '.')
            places = 0;
        else if (c < '0' || c > '9')
            return -1;
        else if (places < 3)
            milli = milli * 10 + (c - '0');
        else if (c != '0')
            return milli + 1;
        if (c != '.' && places >= 0 && places < 3)
            places++;
    }
    for (int i = places < 0 ? 0 : places; i < 3; i++)
        milli *= 10;
    return milli;
}

/* A word that nobody here knows may be for something dear. */
static void note_service(struct exchange *x, struct text word)
{
    /* Or words of a few only, which make nothing cheaper: the account's tier stays. */
    static const struct text unsaid[] = {
        {"auto", 4},           {"unspecified", 11}, {"SERVICE_TIER_UNSPECIFIED", 24},
        {"standard_only", 13}, {"batch", 5},        {"scale", 5},
        {"on_demand", 9}};
    for (size_t i = 0; i < sizeof(unsaid) / sizeof(unsaid[0]); i++)
        if (text_equal_nocase(word, unsaid[i]))
            return;
    if (!service_tier_read(word, &x->call.service))
        x->call.service = SERVICE_PRIORITY;
    x->call.service_said = true;
}

/* The dearest of what is said. */
static void read_service(struct exchange *x, const struct scan_value *values)
{
    const struct scan_value *said = &values[WANT_SERVICE], *speed = &values[WANT_SPEED];
    x->call.service = SERVICE_STANDARD;
    x->call.service_said = x->wants_speed = false;
    if (!operation_has_tokens(x->call.operation))
        return;
    if (said->kind == SCAN_STRING)
        note_service(x, text_head(text_from(said->raw, 1), said->raw.len - 2));
    if (x->seeking->service_given.len && x->call.service != SERVICE_PRIORITY)
        note_service(x, x->seeking->service_given);
    if (speed->kind != SCAN_STRING || x->call.service == SERVICE_PRIORITY)
        return;
    note_service(x, text_head(text_from(speed->raw, 1), speed->raw.len - 2));
    x->wants_speed = true;
}

/* What a conversation calls itself, more surely than the headers do. */
static void read_affinity(struct exchange *x, const struct scan_value *key)
{
    if (key->kind == SCAN_STRING && key->raw.len > 2)
        x->affinity = exchange_affinity(key->raw);
}

/* Of images "background" is something else, and a word. */
static bool read_background(struct exchange *x, const struct scan_value *values)
{
    return x->call.operation != OPERATION_RESPONSE ||
           read_bool(x, values, WANT_BACKGROUND, &x->background);
}

static int64_t pieces_of(enum operation operation, const struct scan_value *values)
{
    if (operation == OPERATION_RERANK)
        return lengths_items(&values[WANT_DOCUMENTS]);
    return operation == OPERATION_SPEECH ? lengths_characters(&values[WANT_INPUT]) : 0;
}

/* Find what is wanted, under the names of the client's dialect. */
static bool scan_wants(const struct exchange *x, struct scan_value *values,
                       struct scan_problem *problem, struct scan_outline *outline)
{
    struct text body = buffer_text(&x->body);
    size_t count;
    const struct want_name *wanted = wants_of(x, &count);
    for (size_t i = OPENAI_WANTS; i < WANTS; i++)
        values[i] = (struct scan_value){.kind = SCAN_ABSENT};
    if (!wanted)
        return scan_request(body, openai_wants, OPENAI_WANTS, values, problem, outline);
    struct text names[NAMES_MAX] = {{NULL, 0}};
    struct scan_value found[NAMES_MAX];
    for (size_t i = 0; i < count; i++)
        names[i] = wanted[i].name;
    if (!scan_request(body, names, count, found, problem, outline))
        return false;
    for (size_t i = 0; i < WANTS; i++)
        values[i] = (struct scan_value){.kind = SCAN_ABSENT};
    for (size_t i = 0; i < count; i++) {
        if (found[i].kind == SCAN_ABSENT)
            continue;
        if (values[wanted[i].want].kind != SCAN_ABSENT) { /* in two spellings */
            problem->name = wanted[i].name.at;
            return false;
        }
        values[wanted[i].want] = found[i];
    }
    return true;
}

/* Short bodies have no long strings: then nothing is kept. */
static void keep_outline(struct exchange *x, const struct scan_outline *outline)
{
    struct seeking *seeking = x->seeking;
    seeking->names_files = outline->has_name;
    seeking->outline = NULL;
    if (outline->count == 0)
        return;
    struct scan_outline *kept = arena_take(&seeking->arena, sizeof(*kept));
    *kept = *outline;
    kept->longs = arena_take(&seeking->arena, outline->count * sizeof(*kept->longs));
    memcpy(kept->longs, outline->longs, outline->count * sizeof(*kept->longs));
    seeking->outline = kept;
}

bool admission_read(struct exchange *x)
{
    struct scan_value values[WANTS];
    struct scan_problem problem;
    __attribute__((uninitialized)) struct scan_long longs[LONGS_MAX];
    struct scan_outline outline = {.anywhere = references_begin, .longs = longs, .room = LONGS_MAX};
    if (!scan_wants(x, values, &problem, &outline)) {
        if (problem.name && problem.other_case)
            fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                      "'%s' must be written in just these letters.", problem.name);
        else if (problem.name)
            fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "'%s' stands more than once.",
                      problem.name);
        else
            fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                      "The request body is not valid JSON: %s, at byte %zu.", problem.what,
                      problem.at);
        exchange_fault(x)->param = problem.name;
        return false;
    }
    keep_outline(x, &outline);
    bool include = false;
    x->store = true;
    struct text previous, input_file;
    if (x->match.shape == SHAPE_OLLAMA)
        x->call.stream = x->call.operation != OPERATION_EMBEDDING; /* unless it says otherwise */
    if ((!x->model_in_path && !read_text(x, values, WANT_MODEL, MODEL_NAME_MAX, &x->call.model)) ||
        !read_text(x, values, WANT_USER, USER_NAME_MAX, &x->call.user) ||
        !read_text(x, values, WANT_PREVIOUS, OWNER_TEXT_BYTES - 1, &previous) ||
        !read_text(x, values, WANT_INPUT_FILE, OWNER_TEXT_BYTES - 1, &input_file) ||
        !read_bool(x, values, WANT_STREAM, &x->call.stream) ||
        !read_bool(x, values, WANT_STORE, &x->store) || !read_background(x, values) ||
        !read_limits(x, values))
        return false;
    if (values[WANT_STREAM_OPTIONS].kind == SCAN_OBJECT &&
        !read_bool(x, values, WANT_INCLUDE_USAGE, &include))
        return false;
    if (x->call.user.len == 0)
        x->call.user = x->seeking->user_given;
    x->call.asked_usage = include;
    x->temperature_milli = read_milli(&values[WANT_TEMPERATURE]);
    x->seeking->model = values[WANT_MODEL];
    x->seeking->length_holder = values[WANT_LENGTH_HOLDER];
    x->seeking->tools = array_of(&values[WANT_TOOLS]);
    x->seeking->may_search = may_search(x, values);
    x->seeking->names_models = is_filled(&values[WANT_MODELS]) || is_given(&values[WANT_ROUTE]) ||
                               is_given(&values[WANT_PRESET]);
    x->seeking->texts =
        array_of(&values[x->call.operation == OPERATION_RERANK ? WANT_DOCUMENTS : WANT_INPUT]);
    x->call.pieces = pieces_of(x->call.operation, values);
    if (x->call.operation == OPERATION_SPEECH)
        x->call.spoken = lengths_spoken(&values[WANT_INPUT]);
    x->is_makers = x->invokes && !is_given(&values[WANT_VERSION]);
    x->odd_body = x->call.operation == OPERATION_CHAT && is_given(&values[WANT_INPUT]) &&
                  values[WANT_MESSAGES].kind == SCAN_ABSENT;
    read_affinity(x, &values[WANT_PROMPT_CACHE_KEY]);
    read_service(x, values);
    x->seeking->stream_options = values[WANT_STREAM_OPTIONS];
    x->seeking->include_usage = values[WANT_INCLUDE_USAGE];
    x->compacts = text_equal(x->match.endpoint->path, TEXT("/responses/compact"));
    x->store = x->store && !x->compacts;
    if (objects_builds_on(x))
        x->object_id = previous;
    else if (x->call.operation == OPERATION_BATCH)
        x->object_id = input_file;
    return true;
}

/* ------------------------------------------------------------------------------- routes */

static bool may_be_absent(enum operation operation)
{
    switch (operation) {
    case OPERATION_MODERATION:
    case OPERATION_IMAGE:
    case OPERATION_FILE:
    case OPERATION_BATCH:
    case OPERATION_OBJECT:
        return true;
    case OPERATION_CHAT:
    case OPERATION_COMPLETION:
    case OPERATION_RESPONSE:
    case OPERATION_EMBEDDING:
    case OPERATION_SPEECH:
    case OPERATION_TRANSCRIPTION:
    case OPERATION_RERANK:
    case OPERATION_COUNT:
    case OPERATION_REALTIME:
    case OPERATIONS:
        return false;
    }
    return false;
}

/* A call that names no model goes to the first one of the file that its key may call. */
static const struct route *default_route(const struct exchange *x)
{
    const struct config *config = x->snapshot->config;
    for (size_t i = 0; i < config->model_count; i++) {
        const struct route *route = &config->models[i];
        if (!owning_may_call(x->key, route, route->name))
            continue;
        for (size_t t = 0; t < route->target_count; t++)
            if (!route->targets[t].off)
                return route;
    }
    return NULL;
}

/* "provider/model" for a provider of the configuration: a route of one target, made for this call.
 */
static const struct route *passing_route(struct exchange *x)
{
    const struct config *config = x->snapshot->config;
    size_t slash = text_find_byte(x->call.model, '/');
    if (!config->unknown_model_passthrough || slash == SIZE_MAX || slash + 1 == x->call.model.len)
        return NULL;
    struct text name = text_head(x->call.model, slash);
    for (size_t i = 0; i < config->provider_count; i++) {
        const struct provider_settings *provider = &config->providers[i];
        if (!text_equal(provider->name, name) || provider->off)
            continue;
        struct target *target = arena_new(&x->arena, sizeof(*target));
        struct route *route = arena_new(&x->arena, sizeof(*route));
        target->id = x->call.model;
        target->model = text_from(x->call.model, slash + 1);
        target->provider = provider;
        target->figures = arena_new(&x->arena, sizeof(*target->figures));
        target->quotas[1] = provider->rate;
        target->service = provider->service;
        target->off = !config_price(config, provider->type, target->model, &target->price);
        target->off_because = "its price is not known";
        target->can = CAN_ALL;
        target->tags = provider->tags;
        target->tag_count = provider->tag_count;
        *route = (struct route){.name = x->call.model, .targets = target, .target_count = 1};
        return route;
    }
    return NULL;
}

static void name_near(const struct exchange *x, char *out, size_t room)
{
    const struct config *config = x->snapshot->config;
    unsigned best = 4;
    out[0] = '\0';
    for (size_t i = 0; i < config->model_count; i++) {
        struct text name = config->models[i].name;
        unsigned distance = text_distance(name, x->call.model, best);
        if (distance >= best || !owning_may_call(x->key, &config->models[i], name))
            continue;
        best = distance;
        snprintf(out, room, " Did you mean '%.*s'?", (int)(name.len < 64 ? name.len : 64), name.at);
    }
}

static bool unknown_model(struct exchange *x)
{
    char near[100];
    name_near(x, near, sizeof(near));
    int len = (int)(x->call.model.len < 100 ? x->call.model.len : 100);
    fault_set(exchange_fault(x), FAULT_UNKNOWN_MODEL, "The model '%.*s' does not exist.%s", len,
              x->call.model.at, near);
    exchange_fault(x)->param = "model";
    return false;
}

/* A response that builds on another goes to the provider that keeps that one, but to the model that
 * was asked for, which may be another. */
static bool fit_pinned(struct exchange *x)
{
    const struct target *keeper = x->pinned, *found = NULL;
    if (!keeper)
        return true;
    for (size_t i = 0; i < x->route->target_count; i++) {
        const struct target *target = &x->route->targets[i];
        bool same = text_equal(target->id, keeper->id);
        if (!target->off && target->provider == keeper->provider && (!found || same))
            found = target;
    }
    x->pinned = found;
    if (found)
        return true;
    fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
              "The provider that keeps '%.*s' is none of those that have this model.",
              TEXT_ARGS(text_head(x->object_id, 100)));
    exchange_fault(x)->param = name_of(x, WANT_PREVIOUS);
    return false;
}

/* NAME@REVISION: a deployment, and only replicas of that revision. */
static void find_revision(struct exchange *x)
{
    size_t at = text_find_byte(x->call.model, '@');
    uint64_t revision;
    if (at == SIZE_MAX || !text_number(text_from(x->call.model, at + 1), UINT32_MAX, &revision) ||
        revision == 0)
        return;
    struct text name = text_head(x->call.model, at);
    const struct route *route = routes_find(x->snapshot->config->routes, name);
    if (!route || !text_equal(route->name, name) || route->target_count != 1 ||
        !route->targets[0].provider->slots)
        return;
    struct fleet_view view;
    struct deployments *desk = standing_fleet();
    if (desk && deployments_look(desk, route->targets[0].provider->spec->name, &view) &&
        view.revision != revision && view.stable != revision) {
        x->route = NULL;
        return;
    }
    x->route = route;
    waking_pin(x, (unsigned)revision);
}

/* What a deployment's own endpoint is asked for is asked of it, whatever model the call names; with
 * an adapter that was given as its default. */
static const struct route *own_route(const struct exchange *x)
{
    const struct config *config = x->snapshot->config;
    const struct deployment_spec *spec = deploy_spec(config, x->match.deployment);
    const struct route *found = NULL;
    for (size_t i = 0; spec && i < config->model_count; i++) {
        const struct route *route = &config->models[i];
        const struct target *target = route->target_count ? &route->targets[0] : NULL;
        bool own = target && target->provider->spec == spec && text_equal(route->name, target->id);
        if (own && (!found || text_equal(target->adapter, TEXT("default"))))
            found = route;
    }
    return found;
}

bool admission_find_model(struct exchange *x)
{
    const struct config *config = x->snapshot->config;
    x->route = routes_find(config->routes, x->call.model);
    if (!x->route || !text_equal(x->route->name, x->call.model))
        find_revision(x);
    if (!x->route)
        x->route = passing_route(x);
    if (!x->route || owning_hides(x->key, x->route))
        return unknown_model(x);
    if (!owning_may_call(x->key, x->route, x->call.model)) {
        int len = (int)(x->call.model.len < 100 ? x->call.model.len : 100);
        fault_set(exchange_fault(x), FAULT_MODEL_DENIED, "This key may not call the model '%.*s'.",
                  len, x->call.model.at);
        exchange_fault(x)->param = "model";
        return false;
    }
    return true;
}

bool admission_route(struct exchange *x)
{
    if (x->match.deployment.len) {
        x->route = own_route(x);
        if (!x->route)
            return unknown_model(x);
        x->call.model = x->route->name; /* whatever it says goes no further */
        return true;
    }
    if (x->pinned && x->call.model.len == 0)
        return true;                    /* the object's own target */
    if (!head_may_write(x->call.model)) /* it goes into headers */
        return bad_field(x, WANT_MODEL, "has characters that are not allowed.");
    if (x->call.model.len == 0) {
        if (!may_be_absent(x->call.operation)) {
            fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "You must provide a model parameter.");
            exchange_fault(x)->param = "model";
            return false;
        }
        x->route = default_route(x);
        if (!x->route)
            return fault_set(exchange_fault(x), FAULT_MODEL_DENIED,
                             "This key may not call any model that is there.");
        return true;
    }
    if (!admission_find_model(x))
        return false;
    return !objects_builds_on(x) || fit_pinned(x);
}
