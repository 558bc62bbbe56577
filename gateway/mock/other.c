/* SPDX-License-Identifier: Apache-2.0 */

/* Embeddings, moderations, images, rerank, models (OpenAI API reference; rerank as Jina and vLLM
 * have it, with Cohere's billed units). */

#include <math.h>

#include "gateway/base/hash.h"
#include "gateway/mock/inside.h"

/* ------------------------------------------------------------------------------ embeddings */

enum { DIMENSIONS = 1536, DIMENSIONS_MAX = 4096 };

/* A vector of length 1 that depends on <about> only. */
static void make_vector(float *vector, int64_t dimensions, struct text about, uint64_t seed)
{
    uint64_t at = prose_seed(seed, about);
    double sum = 0;
    for (int64_t i = 0; i < dimensions; i++) {
        at = at * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407); /* Knuth's LCG */
        vector[i] = (float)((double)(at >> 11) / (double)(UINT64_C(1) << 52) - 1.0);
        sum += (double)vector[i] * vector[i];
    }
    double scale = sum > 0 ? 1.0 / sqrt(sum) : 0;
    for (int64_t i = 0; i < dimensions; i++)
        vector[i] = (float)(vector[i] * scale);
}

static void put_vector(struct buffer *out, const float *vector, int64_t dimensions, bool base64)
{
    char text[((size_t)DIMENSIONS_MAX * sizeof(float) + 2) / 3 * 4 + 1];
    if (base64) {
        size_t len = hash_base64(vector, (size_t)dimensions * sizeof(float), text);
        put(out, TEXT("\""));
        put(out, (struct text){text, len});
        put(out, TEXT("\""));
        return;
    }
    for (int64_t i = 0; i < dimensions; i++)
        put_format(out, "%c%.8f", i == 0 ? '[' : ',', (double)vector[i]);
    put(out, TEXT("]"));
}

/* The item of the input whose turn it is, off the front of plan.text; one number list or one string
 * is the only item. */
static bool next_input(struct plan *plan, struct text *item)
{
    struct text rest = text_from(buffer_text(&plan->text), plan->text_sent), name;
    if (plan->text_sent == 0) {
        struct text look = rest;
        bool is_list = rest.len > 0 && rest.at[0] == '[' && member_next(&look, &name, item) &&
                       (item->at[0] == '"' || item->at[0] == '[');
        if (!is_list) {
            *item = rest;
            plan->text_sent = rest.len;
            return rest.len > 0;
        }
    }
    struct text before = rest;
    if (!member_next(&rest, &name, item))
        return false;
    plan->text_sent += (size_t)(rest.at - before.at);
    return true;
}

static void embedding_begin(struct caller *caller, struct buffer *out)
{
    (void)caller;
    put(out, TEXT("{\"object\":\"list\",\"data\":["));
}

static bool embedding_more(struct caller *caller, struct buffer *out)
{
    float vector[DIMENSIONS_MAX];
    struct plan *plan = &caller->plan;
    struct text item;
    if (!next_input(plan, &item))
        return false;
    int64_t dimensions = plan->choices;
    make_vector(vector, dimensions, item, caller->mock->options.seed);
    put_format(out,
               "%s{\"object\":\"embedding\",\"index\":%lld,\"embedding\":", plan->at > 0 ? "," : "",
               (long long)plan->at);
    put_vector(out, vector, dimensions, plan->include_usage);
    put(out, TEXT("}"));
    plan->at++;
    return true;
}

static void embedding_end(struct caller *caller, struct buffer *out)
{
    const struct plan *plan = &caller->plan;
    put_format(out, "],\"model\":\"%s\"", plan->tally.model);
    if (!(plan->wish.faults & MOCK_NO_USAGE))
        put_format(out, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}",
                   (long long)plan->tally.prompt_tokens, (long long)plan->tally.prompt_tokens);
    put(out, TEXT("}"));
}

/* Bytes that one number takes, at most, and what stands around the numbers of one item. */
enum { NUMBER_BYTES = 12, ITEM_BYTES = 100 };

static bool is_small(struct plan *plan)
{
    int64_t items = 0;
    struct text item;
    while (next_input(plan, &item))
        items++;
    plan->text_sent = 0;
    return items * (plan->choices * NUMBER_BYTES + ITEM_BYTES) < (int64_t)plan->text.limit / 2;
}

void answer_embedding(struct caller *caller)
{
    static const struct script script = {embedding_begin, embedding_more, embedding_end};
    static const char *const prompts[] = {"input", NULL};
    if (!call_begin(caller, "embd-", prompts))
        return;
    struct plan *plan = &caller->plan;
    struct text body = asked(caller), input = member_find(body, TEXT("input"));
    int64_t dimensions = member_number(body, "dimensions", DIMENSIONS);
    if (dimensions < 1 || dimensions > DIMENSIONS_MAX) {
        refuse(caller, 400, NULL, "dimensions", "dimensions is from 1 to 4096");
        return;
    }
    if (input.len > plan->text.limit) {
        refuse(caller, 400, NULL, "input", "the input is too large");
        return;
    }
    put(&plan->text, input);
    plan->choices = dimensions;
    plan->include_usage = text_equal(member_words(body, "encoding_format"), TEXT("base64"));
    reply(caller, 200, "application/json");
    if (is_small(plan))
        call_collect(caller, &script);
    else
        plan->script = &script;
}

/* ------------------------------------------------------------------------------ moderations */

void answer_moderation(struct caller *caller)
{
    static const char *const prompts[] = {"input", NULL};
    static const char *const categories[] = {"harassment", "hate",   "illicit",
                                             "self-harm",  "sexual", "violence"};
    enum { CATEGORIES = sizeof(categories) / sizeof(categories[0]) };
    if (!call_begin(caller, "modr-", prompts))
        return;
    struct plan *plan = &caller->plan;
    struct buffer *out = &plan->text;
    struct text input = member_find(asked(caller), TEXT("input"));
    bool flagged = text_find(input, TEXT("I want to hurt")) != SIZE_MAX;
    put_format(out, "{\"id\":\"%s\",\"model\":\"%s\",\"results\":[{\"flagged\":%s,\"categories\":{",
               plan->tally.id, plan->tally.model, flagged ? "true" : "false");
    for (size_t i = 0; i < CATEGORIES; i++)
        put_format(out, "%s\"%s\":%s", i > 0 ? "," : "", categories[i],
                   flagged && i + 1 == CATEGORIES ? "true" : "false");
    put(out, TEXT("},\"category_scores\":{"));
    for (size_t i = 0; i < CATEGORIES; i++)
        put_format(out, "%s\"%s\":%s", i > 0 ? "," : "", categories[i],
                   flagged && i + 1 == CATEGORIES ? "0.97" : "0.0001");
    put(out, TEXT("}}]}"));
    call_reply(caller);
}

/* ----------------------------------------------------------------------------------- images */

static const char png[] = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mMwTpsJAAICATNo"
                          "ejH4AAAAAElFTkSuQmCC";

enum { IMAGE_TOKENS = 272, IMAGES_MAX = 10 };

static void put_image_usage(struct buffer *out, const struct plan *plan)
{
    long long input = (long long)plan->tally.prompt_tokens, output = IMAGE_TOKENS * plan->choices;
    put_format(out,
               "\"usage\":{\"input_tokens\":%lld,\"input_tokens_details\":{\"image_tokens\":0,"
               "\"text_tokens\":%lld},\"output_tokens\":%lld,\"total_tokens\":%lld}",
               input, input, output, input + output);
}

static bool image_stream_more(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    if (plan->at > 0)
        return false;
    put_format(out,
               "event: image_generation.partial_image\ndata: {\"type\":\"image_generation."
               "partial_image\",\"partial_image_index\":0,\"b64_json\":\"%s\",\"created_at\":%lld}"
               "\n\n",
               png, (long long)plan->created);
    plan->at++;
    plan->tokens = IMAGE_TOKENS;
    return true;
}

static void image_stream_end(struct caller *caller, struct buffer *out)
{
    put_format(out,
               "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\","
               "\"b64_json\":\"%s\",\"created_at\":%lld,\"size\":\"1x1\",\"quality\":\"low\","
               "\"background\":\"opaque\",\"output_format\":\"png\",",
               png, (long long)caller->plan.created);
    put_image_usage(out, &caller->plan);
    put(out, TEXT("}\n\n"));
}

static void image_whole(struct caller *caller, bool by_url)
{
    struct plan *plan = &caller->plan;
    put_format(&plan->text, "{\"created\":%lld,\"data\":[", (long long)plan->created);
    for (int64_t i = 0; i < plan->choices; i++) {
        if (by_url)
            put_format(&plan->text, "%s{\"url\":\"https://images.invalid/%s-%lld.png\"}",
                       i > 0 ? "," : "", plan->tally.id, (long long)i);
        else
            put_format(&plan->text, "%s{\"b64_json\":\"%s\"}", i > 0 ? "," : "", png);
    }
    put(&plan->text, TEXT("],"));
    put_image_usage(&plan->text, plan);
    put(&plan->text, TEXT("}"));
    plan->tokens = IMAGE_TOKENS * plan->choices;
    call_reply(caller);
}

void answer_image(struct caller *caller)
{
    static const struct script stream = {NULL, image_stream_more, image_stream_end};
    static const char *const prompts[] = {"prompt", NULL};
    struct plan *plan = &caller->plan;
    bool is_form = text_starts(text_of(caller->request.type), TEXT("multipart/"));
    if (is_form) { /* edits and variations */
        if (!call_begin_model(caller, "img-", TEXT("mock-image")))
            return;
        plan->choices = 1;
    } else if (!call_begin(caller, "img-", prompts)) {
        return;
    }
    if (plan->choices > IMAGES_MAX)
        plan->choices = IMAGES_MAX;
    if (plan->stream) {
        plan->choices = 1;
        reply(caller, 200, "text/event-stream; charset=utf-8");
        plan->script = &stream;
        return;
    }
    image_whole(caller, text_equal(member_words(asked(caller), "response_format"), TEXT("url")));
}

/* ----------------------------------------------------------------------------------- rerank */

enum { DOCUMENTS_MAX = 1000, QUERY_BYTES = 256, DOCUMENT_BYTES = 4096 }; /* that are looked at */

/* How many words of the query stand in the document, in thousandths. */
static int overlap(struct text query, struct text document)
{
    int words = 0, found = 0;
    struct text word;
    while (text_next(&query, ' ', &word)) {
        if (word.len == 0)
            continue;
        words++;
        found += text_find(document, word) != SIZE_MAX;
    }
    return words == 0 ? 0 : found * 900 / words;
}

struct ranked {
    int64_t index;
    int score;
};

static int64_t rank(struct text body, struct ranked *ranked)
{
    struct text documents = member_find(body, TEXT("documents")), name, document;
    struct text query = text_head(member_words(body, "query"), QUERY_BYTES);
    int64_t count = 0;
    while (count < DOCUMENTS_MAX && member_next(&documents, &name, &document)) {
        struct ranked here = {count, 10 + overlap(query, text_head(document, DOCUMENT_BYTES))};
        int64_t at = count++;
        for (; at > 0 && ranked[at - 1].score < here.score; at--)
            ranked[at] = ranked[at - 1];
        ranked[at] = here;
    }
    return count;
}

void answer_rerank(struct caller *caller)
{
    struct ranked ranked[DOCUMENTS_MAX];
    static const char *const prompts[] = {"query", "documents", NULL};
    if (!call_begin(caller, "rerank-", prompts))
        return;
    struct plan *plan = &caller->plan;
    struct buffer *out = &plan->text;
    int64_t count = rank(asked(caller), ranked);
    int64_t top = member_number(asked(caller), "top_n", count);
    put_format(out, "{\"id\":\"%s\",\"model\":\"%s\",\"results\":[", plan->tally.id,
               plan->tally.model);
    for (int64_t i = 0; i < count && i < top; i++)
        put_format(out, "%s{\"index\":%lld,\"relevance_score\":0.%03d}", i > 0 ? "," : "",
                   (long long)ranked[i].index, ranked[i].score);
    put_format(out,
               "],\"usage\":{\"total_tokens\":%lld},\"meta\":{\"billed_units\":{"
               "\"search_units\":1}}}",
               (long long)plan->tally.prompt_tokens);
    call_reply(caller);
}

/* ----------------------------------------------------------------------------------- models */

static const char *const models[] = {"mock", "mock-embedding", "mock-image", "mock-audio"};

static void put_model(struct buffer *out, const char *id)
{
    put_format(out,
               "{\"id\":\"%s\",\"object\":\"model\",\"created\":1735689600,\"owned_by\":\"mock\"}",
               id);
}

void answer_models(struct caller *caller)
{
    struct buffer *out = &caller->plan.text;
    put(out, TEXT("{\"object\":\"list\",\"data\":["));
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        put(out, i > 0 ? TEXT(",") : TEXT(""));
        put_model(out, models[i]);
    }
    put(out, TEXT("]}\n"));
    reply(caller, 200, "application/json");
}

void answer_model(struct caller *caller)
{
    struct text path = text_of(caller->request.path);
    struct text id = text_from(path, text_find(path, TEXT("/models/")) + 8);
    struct wish wish;
    if (!wish_read(id, &wish) || !head_may_write(id) || text_find_byte(id, '"') != SIZE_MAX) {
        refuse(caller, 404, "model_not_found", "model", "The mock does not know that model");
        return;
    }
    put_model(&caller->plan.text, path.at + (id.at - path.at));
    reply(caller, 200, "application/json");
}
