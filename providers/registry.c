/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <pthread.h>

#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"
#include "providers/cohere.h"
#include "providers/data.h"
#include "providers/gemini.h"
#include "providers/monster.h"
#include "providers/ollama.h"
#include "providers/openai.h"
#include "providers/openai_chat.h"
#include "providers/openai_responses.h"
#include "providers/provider.h"
#include "providers/translator.h"
#include "providers/vectors.h"

/* ------------------------------------------------------------------------------ dialects */

static const struct dialect *const dialects[] = {&dialect_openai,    &dialect_gemini,
                                                 &dialect_anthropic, &dialect_bedrock,
                                                 &dialect_cohere,    &dialect_ollama};

const struct dialect *dialect_find(struct text name)
{
    for (size_t i = 0; i < sizeof(dialects) / sizeof(dialects[0]); i++)
        if (text_equal(dialects[i]->name, name))
            return dialects[i];
    return NULL;
}

/* ---------------------------------------------------------------------------- translators */

/* clang-format off */
static const struct translator *const translators[] = {
    &translator_openai_responses,
    &translator_openai_count,
    &translator_gemini,
    &translator_gemini_count,
    &translator_anthropic,
    &translator_anthropic_count,
    &translator_openai_chat,
    &translator_openai_completion,
    &translator_mistral_chat,
    &translator_ollama_chat,
    &translator_ollama_generate,
    &translator_bedrock,
    &translator_bedrock_invoke,
    &translator_bedrock_count,
    &translator_cohere_chat,
    &translator_monster,
    &translator_monster_endpoint,
    &translator_openai_embedding,
    &translator_gemini_embedding,
    &translator_ollama_embedding,
    &translator_cohere_embedding,
    &translator_openai_ranking,
    &translator_cohere_ranking,
    &translator_nvidia_ranking,
    NULL, /* the end */
};
/* clang-format on */

const struct translator *translator_at(size_t i)
{
    return i < sizeof(translators) / sizeof(translators[0]) ? translators[i] : NULL;
}

/* ------------------------------------------------- provider types: the rows of providers.json */

enum { TYPES_MAX = 128 };

static struct provider_type types[TYPES_MAX];
static size_t type_count;
static pthread_once_t read_once = PTHREAD_ONCE_INIT;

static enum auth_kind auth_of(struct text word)
{
    if (text_equal(word, TEXT("none")))
        return AUTH_NONE;
    if (text_equal(word, TEXT("header")))
        return AUTH_HEADER;
    assert(text_equal(word, TEXT("bearer")));
    return AUTH_BEARER;
}

/* A member of a row and where it goes. */
struct field {
    struct text name;
    size_t offset;
};

#define FIELD(name)                                                      \
    {                                                                    \
        {#name, sizeof(#name) - 1}, offsetof(struct provider_type, name) \
    }

static const struct field text_fields[] = {
    FIELD(name),        FIELD(dialect),           FIELD(base_url),     FIELD(path),
    FIELD(auth_header), FIELD(catalogue),         FIELD(chat_dialect), FIELD(second_dialect),
    FIELD(reasoning),   FIELD(reasoning_history), FIELD(vectors),      FIELD(refuses)};
static const struct field flags[] = {FIELD(needs_key),
                                     FIELD(is_own),
                                     FIELD(is_mock),
                                     FIELD(is_azure),
                                     FIELD(is_vertex),
                                     FIELD(stream_options),
                                     FIELD(no_responses),
                                     FIELD(input_tokens),
                                     FIELD(compacts),
                                     FIELD(searches),
                                     FIELD(openai_fields),
                                     FIELD(conventions),
                                     FIELD(top_k),
                                     FIELD(max_completion_tokens),
                                     FIELD(json_object_only),
                                     FIELD(developer_role),
                                     FIELD(tool_media)};

#define LIMIT(name)                                                        \
    {                                                                      \
        {#name, sizeof(#name) - 1}, offsetof(struct provider_limits, name) \
    }

static const struct field limits[] = {LIMIT(body_bytes), LIMIT(stops), LIMIT(tools),
                                      LIMIT(images),     LIMIT(texts), LIMIT(documents)};

enum { LIMIT_MAX = 1 << 30 };

static bool set_limits(struct provider_limits *to, struct text object)
{
    struct text name, value;
    while (member_next(&object, &name, &value)) {
        int64_t *limit = NULL;
        for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
            if (text_equal(limits[i].name, name))
                limit = (int64_t *)(void *)((char *)to + limits[i].offset);
        if (!limit || !member_count(value, LIMIT_MAX, limit))
            return false;
    }
    return true;
}

static void *place(struct provider_type *type, const struct field *fields, size_t count,
                   struct text name)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(fields[i].name, name))
            return (char *)type + fields[i].offset;
    return NULL;
}

/* The file has no escapes in it. False for a member that is not known. */
static bool set_member(struct provider_type *type, struct text name, struct text value)
{
    struct text *text =
        place(type, text_fields, sizeof(text_fields) / sizeof(text_fields[0]), name);
    bool *flag = place(type, flags, sizeof(flags) / sizeof(flags[0]), name);
    struct text string = member_string(value);
    if (text != NULL)
        *text = string;
    else if (flag != NULL)
        *flag = text_equal(value, TEXT("true"));
    else if (text_equal(name, TEXT("auth")))
        type->auth = auth_of(string);
    else if (text_equal(name, TEXT("limits")))
        return set_limits(&type->limits, value);
    else if (!text_equal(name, TEXT("key_variable")))
        return false;
    else if (string.at != NULL)
        type->key_variable = memory_string(string); /* lives as long as the process */
    return true;
}

size_t provider_rows_read(struct text rows, struct provider_type *to, size_t max)
{
    struct text row, name, value;
    size_t count = 0;
    while (count < max && member_next(&rows, &name, &row)) {
        to[count] = (struct provider_type){.name = TEXT("")};
        while (member_next(&row, &name, &value))
            if (!set_member(&to[count], name, value))
                return 0;
        count++;
    }
    return count;
}

static void read_types(void)
{
    struct text rows = {providers_json, (size_t)(providers_json_end - providers_json)};
    type_count = provider_rows_read(rows, types, TYPES_MAX);
    assert(type_count > 0 && type_count < TYPES_MAX);
}

const struct provider_type *provider_type_at(size_t i)
{
    pthread_once(&read_once, read_types);
    return i < type_count ? &types[i] : NULL;
}

const struct provider_type *provider_type_find(struct text name)
{
    const struct provider_type *type;
    for (size_t i = 0; (type = provider_type_at(i)) != NULL; i++)
        if (text_equal(type->name, name))
            return type;
    return NULL;
}
