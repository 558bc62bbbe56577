/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/endpoint.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "gateway/admin.h"
#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "gateway/config/config.h"
#include "gateway/dashboard.h"
#include "gateway/health.h"
#include "gateway/http/path.h"

/* clang-format off */
static const struct endpoint openai_endpoints[] = {
    /* path below /v1                     method          operation                body         page        creates lists  streams */
    {{"/chat/completions", 17},           METHOD_POST,    OPERATION_CHAT,          BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/completions", 12},                METHOD_POST,    OPERATION_COMPLETION,    BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/responses", 10},                  METHOD_POST,    OPERATION_RESPONSE,      BODY_JSON,   PAGE_NONE,   true,  false, false},
    {{"/responses/{id}", 15},             METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false, false},
    {{"/responses/{id}", 15},             METHOD_DELETE,  OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false, false},
    {{"/responses/{id}/cancel", 22},      METHOD_POST,    OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false, false},
    {{"/responses/{id}/input_items", 27}, METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false, false},
    {{"/responses/compact", 18},          METHOD_POST,    OPERATION_RESPONSE,      BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/responses/input_tokens", 23},     METHOD_POST,    OPERATION_COUNT,         BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/embeddings", 11},                 METHOD_POST,    OPERATION_EMBEDDING,     BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/moderations", 12},                METHOD_POST,    OPERATION_MODERATION,    BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/images/generations", 19},         METHOD_POST,    OPERATION_IMAGE,         BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/images/edits", 13},               METHOD_POST,    OPERATION_IMAGE,         BODY_FORM,   PAGE_NONE,   false, false, false},
    {{"/images/variations", 18},          METHOD_POST,    OPERATION_IMAGE,         BODY_FORM,   PAGE_NONE,   false, false, false},
    {{"/audio/speech", 13},               METHOD_POST,    OPERATION_SPEECH,        BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/audio/transcriptions", 21},       METHOD_POST,    OPERATION_TRANSCRIPTION, BODY_FORM,   PAGE_NONE,   false, false, false},
    {{"/audio/translations", 19},         METHOD_POST,    OPERATION_TRANSCRIPTION, BODY_FORM,   PAGE_NONE,   false, false, false},
    {{"/rerank", 7},                      METHOD_POST,    OPERATION_RERANK,        BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/files", 6},                       METHOD_POST,    OPERATION_FILE,          BODY_FORM,   PAGE_NONE,   true,  false, false},
    {{"/files", 6},                       METHOD_GET,     OPERATION_FILE,          BODY_ABSENT, PAGE_NONE,   false, true, false},
    {{"/files/{id}", 11},                 METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false, false},
    {{"/files/{id}", 11},                 METHOD_DELETE,  OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false, false},
    {{"/files/{id}/content", 19},         METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false, false},
    {{"/uploads", 8},                     METHOD_POST,    OPERATION_FILE,          BODY_JSON,   PAGE_NONE,   true,  false, false},
    {{"/uploads/{id}/parts", 19},         METHOD_POST,    OPERATION_OBJECT,        BODY_FORM,   PAGE_NONE,   false, false, false},
    {{"/uploads/{id}/complete", 22},      METHOD_POST,    OPERATION_OBJECT,        BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/uploads/{id}/cancel", 20},        METHOD_POST,    OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false, false},
    {{"/jobs", 5},                        METHOD_POST,    OPERATION_OBJECT,        BODY_JSON,   PAGE_JOB,    false, false, false},
    {{"/jobs", 5},                        METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_JOB,    false, false, false},
    {{"/jobs/webhook_secret", 20},        METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_JOB,    false, false, false},
    {{"/jobs/{id}", 10},                  METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_JOB,    false, false, false},
    {{"/jobs/{id}", 10},                  METHOD_DELETE,  OPERATION_OBJECT,        BODY_ABSENT, PAGE_JOB,    false, false, false},
    {{"/jobs/{id}/logs", 15},             METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_JOB,    false, false, false},
    {{"/batches", 8},                     METHOD_POST,    OPERATION_BATCH,         BODY_JSON,   PAGE_NONE,   true,  false, false},
    {{"/batches", 8},                     METHOD_GET,     OPERATION_BATCH,         BODY_ABSENT, PAGE_NONE,   false, true, false},
    {{"/batches/{id}", 13},               METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false, false},
    {{"/batches/{id}/cancel", 20},        METHOD_POST,    OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false, false},
    {{"/realtime", 9},                    METHOD_GET,     OPERATION_REALTIME,      BODY_ABSENT, PAGE_NONE,   false, false, false},
    {{"/models", 7},                      METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_MODELS, false, false, false},
    {{"/models/{model}", 15},             METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_MODEL,  false, false, false},
};

static const struct endpoint anthropic_endpoints[] = {
    {{"/v1/messages", 12},              METHOD_POST, OPERATION_CHAT,   BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/v1/messages/count_tokens", 25}, METHOD_POST, OPERATION_COUNT,  BODY_JSON,   PAGE_NONE,   false, false, false},
    /* Bare, these two are OpenAI's, which stands behind: then the headers say whose they are. */
    {{"/v1/models", 10},                METHOD_GET,  OPERATION_OBJECT, BODY_ABSENT, PAGE_MODELS, false, false, false},
    {{"/v1/models/{model}", 18},        METHOD_GET,  OPERATION_OBJECT, BODY_ABSENT, PAGE_MODEL,  false, false, false},
};

/* Google's own clients ask below /v1beta, and below /v1 or /v1alpha when they are told to. */
#define GEMINI(version)                                                                                                                                \
    {{version "/models/{model}:generateContent", sizeof(version "/models/{model}:generateContent") - 1},                                               \
                                        METHOD_POST, OPERATION_CHAT,      BODY_JSON,   PAGE_NONE,   false, false, false},                              \
    {{version "/models/{model}:streamGenerateContent", sizeof(version "/models/{model}:streamGenerateContent") - 1},                                   \
                                        METHOD_POST, OPERATION_CHAT,      BODY_JSON,   PAGE_NONE,   false, false, true},                               \
    {{version "/models/{model}:countTokens", sizeof(version "/models/{model}:countTokens") - 1},                                                       \
                                        METHOD_POST, OPERATION_COUNT,     BODY_JSON,   PAGE_NONE,   false, false, false},                              \
    {{version "/models/{model}:embedContent", sizeof(version "/models/{model}:embedContent") - 1},                                                     \
                                        METHOD_POST, OPERATION_EMBEDDING, BODY_JSON,   PAGE_NONE,   false, false, false},                              \
    {{version "/models/{model}:batchEmbedContents", sizeof(version "/models/{model}:batchEmbedContents") - 1},                                         \
                                        METHOD_POST, OPERATION_EMBEDDING, BODY_JSON,   PAGE_NONE,   false, false, false}

static const struct endpoint gemini_endpoints[] = {
    GEMINI("/v1beta"),
    GEMINI("/v1alpha"),
    GEMINI("/v1"),
    {{"/v1beta/models", 14},            METHOD_GET,  OPERATION_OBJECT,    BODY_ABSENT, PAGE_MODELS, false, false, false},
    {{"/v1beta/models/{model}", 22},    METHOD_GET,  OPERATION_OBJECT,    BODY_ABSENT, PAGE_MODEL,  false, false, false},
    {{"/v1alpha/models", 15},           METHOD_GET,  OPERATION_OBJECT,    BODY_ABSENT, PAGE_MODELS, false, false, false},
    {{"/v1alpha/models/{model}", 23},   METHOD_GET,  OPERATION_OBJECT,    BODY_ABSENT, PAGE_MODEL,  false, false, false},
    {{"/v1/models", 10},                METHOD_GET,  OPERATION_OBJECT,    BODY_ABSENT, PAGE_MODELS, false, false, false},
    {{"/v1/models/{model}", 18},        METHOD_GET,  OPERATION_OBJECT,    BODY_ABSENT, PAGE_MODEL,  false, false, false},
};

static const struct endpoint ollama_endpoints[] = {
    {{"/api/chat", 9},                  METHOD_POST, OPERATION_CHAT,       BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/api/generate", 13},             METHOD_POST, OPERATION_COMPLETION, BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/api/embed", 10},                METHOD_POST, OPERATION_EMBEDDING,  BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/api/tags", 9},                  METHOD_GET,  OPERATION_OBJECT,     BODY_ABSENT, PAGE_MODELS, false, false, false},
    {{"/api/show", 9},                  METHOD_POST, OPERATION_OBJECT,     BODY_JSON,   PAGE_SHOW,   false, false, false},
    {{"/api/ps", 7},                    METHOD_GET,  OPERATION_OBJECT,     BODY_ABSENT, PAGE_LOADED, false, false, false},
    {{"/api/version", 12},              METHOD_GET,  OPERATION_OBJECT,     BODY_ABSENT, PAGE_VERSION, false, false, false},
};

static const struct endpoint bedrock_endpoints[] = {
    {{"/model/{model}/converse", 23},        METHOD_POST, OPERATION_CHAT, BODY_JSON, PAGE_NONE, false, false, false},
    {{"/model/{model}/converse-stream", 30}, METHOD_POST, OPERATION_CHAT, BODY_JSON, PAGE_NONE, false, false, true},
    {{"/model/{model}/invoke", 21},          METHOD_POST, OPERATION_CHAT, BODY_JSON, PAGE_NONE, false, false, false},
    {{"/model/{model}/invoke-with-response-stream", 42}, METHOD_POST, OPERATION_CHAT, BODY_JSON, PAGE_NONE, false, false, true},
    {{"/model/{model}/count-tokens", 27},    METHOD_POST, OPERATION_COUNT, BODY_JSON, PAGE_NONE, false, false, false},
};

static const struct endpoint cohere_endpoints[] = {
    {{"/v2/chat", 8},                   METHOD_POST, OPERATION_CHAT,       BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/v2/embed", 9},                  METHOD_POST, OPERATION_EMBEDDING,  BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/v2/rerank", 10},                METHOD_POST, OPERATION_RERANK,     BODY_JSON,   PAGE_NONE,   false, false, false},
};

static const struct endpoint monster_endpoints[] = {
    {{"/v1/generate", 12},                      METHOD_POST, OPERATION_CHAT,   BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/v1/private_deployment/generate", 31},   METHOD_POST, OPERATION_CHAT,   BODY_JSON,   PAGE_NONE,   false, false, false},
    {{"/v1/models/info", 15},                   METHOD_GET,  OPERATION_OBJECT, BODY_ABSENT, PAGE_MODELS, false, false, false},
    {{"/v1/deploy/llm", 14},                    METHOD_POST, OPERATION_OBJECT, BODY_JSON,  PAGE_DEPLOY, false, false, false},
    {{"/v1/deploy/custom_image", 23},           METHOD_POST, OPERATION_OBJECT, BODY_JSON,  PAGE_DEPLOY, false, false, false},
    {{"/v1/deploy/sdxl-dreambooth", 26},        METHOD_POST, OPERATION_OBJECT, BODY_JSON,  PAGE_DEPLOY, false, false, false},
    {{"/v1/deploy/terminate", 20},              METHOD_POST, OPERATION_OBJECT, BODY_JSON,  PAGE_DEPLOY, false, false, false},
    {{"/v1/deploy/list", 15},                   METHOD_GET,  OPERATION_OBJECT, BODY_ABSENT, PAGE_DEPLOY, false, false, false},
    {{"/v1/deploy/status/{id}", 22},            METHOD_GET,  OPERATION_OBJECT, BODY_ABSENT, PAGE_DEPLOY, false, false, false},
    {{"/v1/deploy/logs/{id}", 20},              METHOD_GET,  OPERATION_OBJECT, BODY_ABSENT, PAGE_DEPLOY, false, false, false},
    {{"/models/info", 12},                      METHOD_GET,  OPERATION_OBJECT, BODY_ABSENT, PAGE_MODELS, false, false, false},
    {{"/v1/generate/{model}", 20},              METHOD_POST, OPERATION_OBJECT, BODY_EITHER, PAGE_JOB,    false, false, false},
    {{"/v1/status/{id}", 15},                   METHOD_GET,  OPERATION_OBJECT, BODY_ABSENT, PAGE_JOB,    false, false, false},
    {{"/v1/upload", 10},                        METHOD_GET,  OPERATION_OBJECT, BODY_ABSENT, PAGE_JOB,    false, false, false},
    {{"/v1/upload/{id}", 15},                   METHOD_PUT,  OPERATION_OBJECT, BODY_ANY,    PAGE_FILE,   false, false, false},
    {{"/v1/download/{id}", 17},                 METHOD_GET,  OPERATION_OBJECT, BODY_ABSENT, PAGE_FILE,   false, false, false},
    {{"/v1/finetune/llm", 16},                  METHOD_POST, OPERATION_OBJECT, BODY_JSON,   PAGE_JOB,    false, false, false},
    {{"/v1/finetune/speech2text/whisper", 32},  METHOD_POST, OPERATION_OBJECT, BODY_JSON,   PAGE_JOB,    false, false, false},
    {{"/v1/finetune/text2image/sdxl-dreambooth", 40}, METHOD_POST, OPERATION_OBJECT, BODY_JSON, PAGE_JOB, false, false, false},
    {{"/apis/add-task", 14},                    METHOD_POST, OPERATION_OBJECT, BODY_JSON,   PAGE_JOB,    false, false, false},
    {{"/apis/task-status", 17},                 METHOD_POST, OPERATION_OBJECT, BODY_JSON,   PAGE_JOB,    false, false, false},
};

/* Of a deployment's own endpoint only, in place of the one above. */
static const struct endpoint monster_own = {{"/generate", 9}, METHOD_POST, OPERATION_COMPLETION, BODY_JSON, PAGE_NONE, false, false, false};

static const struct endpoint health_page =  {{"", 0}, METHOD_GET, OPERATION_OBJECT, BODY_ABSENT, PAGE_HEALTH, false, false, false};
static const struct endpoint metrics_page = {{"", 0}, METHOD_GET, OPERATION_OBJECT, BODY_ABSENT, PAGE_METRICS, false, false, false};
static const struct endpoint alive_page =   {{"", 0}, METHOD_HEAD, OPERATION_OBJECT, BODY_ABSENT, PAGE_ALIVE, false, false, false};
static const struct endpoint dashboard_page = {{"", 0}, METHOD_GET, OPERATION_OBJECT, BODY_ABSENT, PAGE_DASHBOARD, false, false, false};
static const struct endpoint admin_page =   {{"", 0}, METHOD_GET, OPERATION_OBJECT, BODY_JSON, PAGE_ADMIN, false, false, false};

enum { ROOTS = 12 };

/*
 * The dialects and where their paths begin; the longest root first, the empty one last. A path that
 * begins with <prefix> is answered in the dialect's own shape, also when it is to say no. The last
 * dialect is taken for every other path.
 */
static const struct family {
    struct text dialect;
    enum shape shape;
    struct text roots[ROOTS];
    const struct endpoint *endpoints;
    size_t count;
    struct text prefixes[ROOTS];
} families[] = {
    {{"anthropic", 9}, SHAPE_ANTHROPIC, {{"/anthropic", 10}, {"", 0}}, anthropic_endpoints, sizeof(anthropic_endpoints) / sizeof(struct endpoint),
     {{"/anthropic/", 11}, {"/v1/messages", 12}}},
    {{"gemini", 6}, SHAPE_GEMINI, {{"/gemini", 7}, {"/genai", 6}, {"", 0}}, gemini_endpoints, sizeof(gemini_endpoints) / sizeof(struct endpoint),
     {{"/gemini/", 8}, {"/genai/", 7}, {"/v1beta/", 8}, {"/v1alpha/", 9}, {"/upload/v1", 10}}},
    {{"ollama", 6}, SHAPE_OLLAMA, {{"", 0}}, ollama_endpoints, sizeof(ollama_endpoints) / sizeof(struct endpoint),
     {{"/api/chat", 9}, {"/api/generate", 13}, {"/api/embed", 10}, {"/api/tags", 9}, {"/api/show", 9}, {"/api/ps", 7}, {"/api/version", 12}, {"/api/pull", 9}}},
    {{"cohere", 6}, SHAPE_COHERE, {{"/cohere", 7}, {"", 0}}, cohere_endpoints, sizeof(cohere_endpoints) / sizeof(struct endpoint),
     {{"/cohere/", 8}, {"/v2/chat", 8}, {"/v2/embed", 9}, {"/v2/rerank", 10}}},
    {{"bedrock", 7}, SHAPE_BEDROCK, {{"", 0}}, bedrock_endpoints, sizeof(bedrock_endpoints) / sizeof(struct endpoint),
     {{"/model/", 7}}},
    {{"monster", 7}, SHAPE_MONSTER, {{"", 0}}, monster_endpoints, sizeof(monster_endpoints) / sizeof(struct endpoint),
     {{"/v1/generate", 12}, {"/v1/status/", 11}, {"/v1/upload", 10}, {"/v1/download/", 13}, {"/v1/deploy/", 11}, {"/v1/finetune/", 13}, {"/v1/private_deployment/", 23}, {"/v1/models/info", 15},
      {"/models/info", 12}, {"/apis/", 6}}},
    {{"openai", 6}, SHAPE_OPENAI, {{"/openai/v1", 10}, {"/openai", 7}, {"/v1", 3}, {"", 0}}, openai_endpoints, sizeof(openai_endpoints) / sizeof(struct endpoint),
     {{"/", 1}}},
};
/* clang-format on */

enum { FAMILIES = sizeof(families) / sizeof(families[0]) };

/* The number of the dialect whose shape errors at <path> have. */
static size_t family_of(struct text path)
{
    for (size_t f = 0; f < FAMILIES; f++)
        for (size_t i = 0; i < ROOTS && families[f].prefixes[i].len; i++)
            if (text_starts(path, families[f].prefixes[i]))
                return f;
    return FAMILIES - 1;
}

/* The path below <root>, or nothing. */
static bool below(struct text path, struct text root, struct text *rest)
{
    *rest = text_from(path, root.len);
    return text_starts(path, root) && rest->len > 1 && rest->at[0] == '/';
}

static struct text next_segment(struct text *path)
{
    struct text rest = text_from(*path, 1);
    size_t slash = text_find_byte(rest, '/');
    struct text segment = text_head(rest, slash);
    *path = text_from(rest, segment.len);
    return segment;
}

/* Is <have> what <want> says? What stands for its placeholder goes to <id>. */
static bool fits_segment(struct text want, struct text have, struct text *id)
{
    size_t close = want.len && want.at[0] == '{' ? text_find_byte(want, '}') : SIZE_MAX;
    if (close == SIZE_MAX)
        return text_equal(want, have);
    struct text behind = text_from(want, close + 1);
    if (!text_ends(have, behind))
        return false;
    *id = text_head(have, have.len - behind.len);
    /* Only a model's name may be written with escapes. */
    bool escapes = text_starts(want, TEXT("{model}"));
    return id->len && path_is_clean((struct text){id->at - 1, id->len + 1}, escapes);
}

/* Does <path> have the form of <pattern>? */
static bool has_form(struct text path, struct text pattern, struct text *id)
{
    *id = (struct text){"", 0};
    /* Most are told apart by what stands in front of the placeholder. */
    size_t open = text_find_byte(pattern, '{');
    if (open == SIZE_MAX)
        return text_equal(path, pattern);
    if (!text_starts(path, text_head(pattern, open)))
        return false;
    while (pattern.len && path.len) {
        struct text want = next_segment(&pattern), have = next_segment(&path);
        if (!fits_segment(want, have, id))
            return false;
    }
    return pattern.len == 0 && path.len == 0;
}

/* An endpoint whose path has the form of a request's, in any method. */
struct place {
    const struct family *family;
    const struct endpoint *endpoint;
    struct text suffix, id;
};

static bool fits(const struct family *family, const struct endpoint *endpoint, struct text path,
                 struct place *place)
{
    for (size_t r = 0; r < ROOTS; r++) {
        struct text root = family->roots[r];
        *place = (struct place){.family = family, .endpoint = endpoint};
        if (below(path, root, &place->suffix) &&
            has_form(place->suffix, endpoint->path, &place->id))
            return true;
        if (!root.len)
            break; /* the last one */
    }
    return false;
}

/* The next one from <at> (at first 0) on, those of the path's own dialect first. */
static bool place_next(struct text path, size_t *at, struct place *place)
{
    size_t first = family_of(path), i = 0;
    for (size_t f = 0; f < FAMILIES; f++) {
        const struct family *family = &families[(first + f) % FAMILIES];
        for (size_t e = 0; e < family->count; e++)
            if (i++ >= *at && fits(family, &family->endpoints[e], path, place)) {
                *at = i;
                return true;
            }
    }
    return false;
}

/* ---------------------------------------------------------------------------- whole paths */

enum { PLACES = 8 };

/* What is found for a path that stands in the tables whole, without a placeholder: nearly all
 * calls have one of them. */
struct known {
    struct text path;
    const struct family *family; /* in whose shape errors are */
    struct place places[PLACES]; /* as place_next() gives them */
    size_t count;
};

static struct table whole_paths;

static void add_whole_path(struct text root, struct text rest)
{
    char *path = memory_format("%.*s%.*s", TEXT_ARGS(root), TEXT_ARGS(rest));
    struct known *known = memory_new(sizeof(*known));
    known->path = text_of(path);
    known->family = &families[family_of(known->path)];
    size_t at = 0;
    while (known->count < PLACES && place_next(known->path, &at, &known->places[known->count]))
        known->count++;
    if (known->count < PLACES && !table_find(&whole_paths, known->path)) {
        table_set(&whole_paths, known->path, known); /* for good */
        return;
    }
    memory_free(known); /* so many places are looked for as for other paths */
    memory_free(path);
}

static void add_whole_paths(void)
{
    table_init(&whole_paths);
    for (size_t f = 0; f < FAMILIES; f++)
        for (size_t e = 0; e < families[f].count; e++)
            for (size_t r = 0; r < ROOTS; r++) {
                struct text rest = families[f].endpoints[e].path;
                if (text_find_byte(rest, '{') == SIZE_MAX)
                    add_whole_path(families[f].roots[r], rest);
                if (!families[f].roots[r].len)
                    break; /* the last one */
            }
}

void endpoint_prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, add_whole_paths);
}

static const struct known *find_known(struct text path)
{
    endpoint_prepare();
    return table_find(&whole_paths, path);
}

static bool next_place(const struct known *known, struct text path, size_t *at, struct place *place)
{
    if (!known)
        return place_next(path, at, place);
    if (*at == known->count)
        return false;
    *place = known->places[(*at)++];
    return true;
}

/* --------------------------------------------------------------------------------- finding */

/* Version 1 of Cohere's API, of which only rerank has a form that is at home here. */
static bool is_cohere_v1(struct text path)
{
    return text_starts(path, TEXT("/cohere/v1/")) || text_equal(path, TEXT("/v1/chat")) ||
           text_equal(path, TEXT("/v1/embed"));
}

static bool find_api(const struct head *head, const struct known *known, struct text path,
                     struct match *match, struct fault *fault)
{
    struct place place;
    size_t at = 0;
    bool is_there = false;
    while (next_place(known, path, &at, &place)) {
        is_there = true;
        const struct endpoint *endpoint = place.endpoint;
        bool head_of_page = head->method == METHOD_HEAD && endpoint->page != PAGE_NONE;
        if (endpoint->method != head->method && !head_of_page)
            continue;
        *match = (struct match){.endpoint = endpoint,
                                .shape = place.family->shape,
                                .dialect = place.family->dialect,
                                .suffix = place.suffix,
                                .id = place.id};
        return true;
    }
    int len = (int)(head->path.len < 100 ? head->path.len : 100);
    if (is_there)
        return fault_set(fault, FAULT_BAD_METHOD, "%s is not allowed for %.*s.",
                         method_name(head->method), len, head->path.at);
    const char *more =
        is_cohere_v1(head->path)
            ? " Of Cohere's API, version 2 is spoken: /v2/chat, /v2/embed, /v2/rerank."
            : "";
    return fault_set(fault, FAULT_UNKNOWN_PATH, "There is nothing at %.*s.%s", len, head->path.at,
                     more);
}

/* Monster's older way, with a framing of its own. */
static bool find_own_generate(const struct head *head, struct text id, struct match *match,
                              struct fault *fault)
{
    *match = (struct match){.endpoint = &monster_own,
                            .shape = SHAPE_MONSTER,
                            .dialect = {"monster", 7},
                            .suffix = monster_own.path,
                            .deployment = id};
    return head->method == METHOD_POST ||
           fault_set(fault, FAULT_BAD_METHOD, "Only POST is allowed here.");
}

/* /d/{id}/…: what can be asked of a deployment's own endpoint: its models, and calls of it. */
static bool find_own(const struct head *head, struct match *match, struct fault *fault)
{
    struct text rest = text_from(head->path, 2), id = next_segment(&rest);
    const struct family *family = &families[family_of(rest)];
    *match = (struct match){.shape = family->shape, .dialect = family->dialect};
    if (!id.len || !rest.len)
        return fault_set(fault, FAULT_UNKNOWN_PATH, "There is nothing at this path.");
    if (text_equal(rest, monster_own.path) || text_equal(rest, TEXT("/v1/generate")))
        return find_own_generate(head, id, match, fault);
    if (!find_api(head, find_known(rest), rest, match, fault))
        return false;
    enum page page = match->endpoint->page;
    bool calls = page == PAGE_NONE && match->endpoint->operation != OPERATION_OBJECT &&
                 match->endpoint->operation != OPERATION_FILE &&
                 match->endpoint->operation != OPERATION_BATCH;
    match->deployment = id;
    return calls || page == PAGE_MODELS ||
           fault_set(fault, FAULT_UNKNOWN_PATH, "There is nothing at this path.");
}

static bool find_page(const struct head *head, const struct endpoint *page, struct match *match)
{
    match->endpoint = page;
    match->suffix = head->path;
    return true;
}

static bool only_get(const struct head *head, struct fault *fault)
{
    return head->method == METHOD_GET || head->method == METHOD_HEAD ||
           fault_set(fault, FAULT_BAD_METHOD, "Only GET is allowed here.");
}

/* May the path hold a segment with escapes in it: a model's name? */
static bool may_escape(struct text path)
{
    return text_find(path, TEXT("/models/")) != SIZE_MAX || text_starts(path, TEXT("/model/")) ||
           text_starts(path, TEXT("/v1/generate/"));
}

/* Base URLs that end in a slash are the usual cause. */
static bool refuse_form(struct text path, struct fault *fault)
{
    if (text_ends(path, TEXT("/")) || text_find(path, TEXT("//")) != SIZE_MAX)
        return fault_set(fault, FAULT_BAD_HTTP,
                         "The path has a '/' too many: is there one at the end of the base URL?");
    return fault_set(fault, FAULT_BAD_HTTP, "The path is not in canonical form.");
}

bool endpoint_find(const struct head *head, unsigned serve, struct text metrics_path,
                   struct match *match, struct fault *fault)
{
    /* Asked for before anything else is, and often. */
    if (serve & SERVE_HEALTH && health_is_path(head->path)) {
        const struct family *of = &families[family_of(head->path)];
        *match = (struct match){.shape = of->shape, .dialect = of->dialect};
        return only_get(head, fault) && find_page(head, &health_page, match);
    }
    const struct known *known = find_known(head->path);
    const struct family *family = known ? known->family : &families[family_of(head->path)];
    *match = (struct match){.shape = family->shape, .dialect = family->dialect};
    bool is_admin = serve & SERVE_ADMIN && admin_is_path(head->path);
    bool is_dashboard = serve & SERVE_UI && dashboard_is_path(head->path);
    if (is_admin || is_dashboard)
        match->shape = SHAPE_PROBLEM;
    /* Names of tenants stand in the paths of the admin API. */
    bool is_root = is_dashboard && text_equal(head->path, TEXT("/ui/")); /* the one that ends so */
    if (!known && !is_root && !path_is_clean(head->path, is_admin || may_escape(head->path)))
        return refuse_form(head->path, fault);
    if (serve & SERVE_METRICS && text_equal(head->path, metrics_path))
        return only_get(head, fault) && find_page(head, &metrics_page, match);
    if (is_admin)
        return find_page(head, &admin_page, match);
    if (is_dashboard)
        return only_get(head, fault) && find_page(head, &dashboard_page, match);
    if (serve & SERVE_API && head->method == METHOD_HEAD && text_equal(head->path, TEXT("/")))
        return find_page(head, &alive_page, match);
    if (serve & SERVE_API && text_starts(head->path, TEXT("/d/")))
        return find_own(head, match, fault);
    if (serve & SERVE_API)
        return find_api(head, known, head->path, match, fault);
    return fault_set(fault, FAULT_UNKNOWN_PATH, "There is nothing at this path on this listener.");
}

void endpoint_methods(struct text path, char out[64])
{
    size_t len = 0, at = 0;
    const struct known *known = find_known(path);
    struct place place;
    out[0] = '\0';
    while (next_place(known, path, &at, &place))
        if (len < 48 && !strstr(out, method_name(place.endpoint->method)))
            len += (size_t)snprintf(out + len, 64 - len, "%s%s", len ? ", " : "",
                                    method_name(place.endpoint->method));
    if (!len)
        snprintf(out, 64, "GET");
}
