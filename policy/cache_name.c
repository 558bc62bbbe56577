/* SPDX-License-Identifier: Apache-2.0 */

/* What makes two calls the same: everything but what is listed here. */

#include "gateway/base/buffer.h"
#include "gateway/base/scan.h"
#include "policy/cache.h"
#include "policy/cache_inside.h"
#include "policy/canonical.h"

/*
 * By OpenAI's API reference. Left out is only what cannot change the answer, and defaults that are
 * the same at every provider. Not left out, although one might think so:
 *
 * - top_p, the penalties, parallel_tool_calls: their defaults are the model server's to choose
 *   (vLLM takes top_p from the model's generation_config.json, llama.cpp from its command line);
 * - temperature: likewise;
 * - service_tier, store: the answer says, or somebody looks for, what was done;
 * - model: one route may stand for many models;
 * - of the Responses API all but how the answer is sent: the answer repeats what was asked, user
 *   and metadata included.
 */
// clang-format off
static const struct canonical_omission chat_omissions[] = {
    {TEXT("stream"),            TEXT("")},
    {TEXT("stream_options"),    TEXT("")},
    {TEXT("user"),              TEXT("")},
    {TEXT("metadata"),          TEXT("")},
    {TEXT("safety_identifier"), TEXT("")},
    {TEXT("prompt_cache_key"),  TEXT("")},
    {TEXT("n"),                 TEXT("1")},
    {TEXT("logprobs"),          TEXT("false")},
};
static const struct canonical_omission completion_omissions[] = {
    {TEXT("stream"),            TEXT("")},
    {TEXT("stream_options"),    TEXT("")},
    {TEXT("user"),              TEXT("")},
    {TEXT("n"),                 TEXT("1")},
    {TEXT("echo"),              TEXT("false")},
};
static const struct canonical_omission response_omissions[] = {
    {TEXT("stream"),            TEXT("")},
    {TEXT("stream_options"),    TEXT("")},
};
static const struct canonical_omission embedding_omissions[] = {
    {TEXT("user"),              TEXT("")},
    {TEXT("encoding_format"),   TEXT("\"float\"")},
};
static const struct canonical_omission image_omissions[] = {
    {TEXT("user"),              TEXT("")},
    {TEXT("n"),                 TEXT("1")},
};

struct omissions {
    bool is_cached; /* what makes or changes something is not */
    const struct canonical_omission *at;
    size_t count;
};
#define OMIT(table) true, table, sizeof(table) / sizeof(*(table))
static const struct omissions omissions[OPERATIONS] = {
    [OPERATION_CHAT]       = {OMIT(chat_omissions)},
    [OPERATION_COMPLETION] = {OMIT(completion_omissions)},
    [OPERATION_RESPONSE]   = {OMIT(response_omissions)},
    [OPERATION_EMBEDDING]  = {OMIT(embedding_omissions)},
    [OPERATION_MODERATION] = {true, NULL, 0},
    [OPERATION_IMAGE]      = {OMIT(image_omissions)},
    [OPERATION_SPEECH]     = {true, NULL, 0},
    [OPERATION_RERANK]     = {true, NULL, 0},
};
// clang-format on

enum { LENGTH_BYTES = 8, NAME_MAX_BYTES = 4096 };

/* The length in front tells parts from each other. */
static bool put_part(struct buffer *out, struct text part)
{
    unsigned char length[LENGTH_BYTES];
    for (size_t i = 0; i < LENGTH_BYTES; i++)
        length[i] = (unsigned char)((uint64_t)part.len >> (8 * i));
    return buffer_append(out, length, sizeof(length)) && buffer_append_text(out, part);
}

/* A name begins with what its scope is known by, so that a scope can be purged. */
static void sign(const struct buffer *parts, struct text scope, struct digest *name)
{
    *name = hash_sha256(buffer_text(parts));
    struct digest of_scope = hash_sha256(scope);
    memcpy(name->bytes, of_scope.bytes, CACHE_SCOPE_BYTES);
}

/* Does a response go on somewhere: in the background, or as a part of a conversation? Then it is
 * more than its answer. */
static bool goes_on(struct text body)
{
    static const struct text wants[] = {TEXT("background"), TEXT("conversation")};
    struct scan_value values[2];
    struct scan_problem problem;
    return !scan_json(body, wants, 2, values, &problem) || values[0].kind == SCAN_TRUE ||
           values[1].kind > SCAN_NULL;
}

bool cache_name(struct text scope, struct text route, enum operation operation, struct text body,
                struct digest *name)
{
    const struct omissions *omit = &omissions[operation];
    if (!omit->is_cached || body.len > CANONICAL_BODY_MAX || scope.len + route.len > NAME_MAX_BYTES)
        return false;
    if (operation == OPERATION_RESPONSE && goes_on(body))
        return false;
    struct buffer out;
    buffer_init(&out, 4 * body.len + scope.len + route.len + NAME_MAX_BYTES);
    bool is_named = put_part(&out, scope) && put_part(&out, route) &&
                    put_part(&out, text_of(operation_name(operation))) &&
                    canonical_write(body, omit->at, omit->count, &out);
    if (is_named)
        sign(&out, scope, name);
    buffer_done(&out);
    return is_named;
}

bool cache_name_once(struct text tenant, struct text key, struct digest *name)
{
    struct buffer out;
    if (tenant.len + key.len > NAME_MAX_BYTES)
        return false;
    buffer_init(&out, tenant.len + key.len + NAME_MAX_BYTES);
    bool is_named =
        put_part(&out, tenant) && put_part(&out, key) && put_part(&out, TEXT("idempotency-key"));
    if (is_named)
        sign(&out, tenant, name);
    buffer_done(&out);
    return is_named;
}
