/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/tokenizer.h"

#include "gateway/base/memory.h"
#include "gateway/base/utf8.h"
#include "policy/bpe.h"
#include "policy/estimate_words.h"
#include "policy/guard_inside.h"

/* The first that matches (platform.openai.com/docs/models; tiktoken/model.py). */
/* clang-format off */
static const struct {
    struct text pattern;
    enum tokenizer tokenizer;
} models[] = {
    {TEXT("gpt-4o*"), TOKENIZER_O200K},            {TEXT("gpt-4.1*"), TOKENIZER_O200K},
    {TEXT("gpt-4.5*"), TOKENIZER_O200K},           {TEXT("gpt-5*"), TOKENIZER_O200K},
    {TEXT("gpt-oss*"), TOKENIZER_O200K},           {TEXT("chatgpt-4o*"), TOKENIZER_O200K},
    {TEXT("codex-*"), TOKENIZER_O200K},            {TEXT("o1"), TOKENIZER_O200K},
    {TEXT("o1-*"), TOKENIZER_O200K},               {TEXT("o3"), TOKENIZER_O200K},
    {TEXT("o3-*"), TOKENIZER_O200K},               {TEXT("o4-*"), TOKENIZER_O200K},
    {TEXT("gpt-4"), TOKENIZER_CL100K},             {TEXT("gpt-4-*"), TOKENIZER_CL100K},
    {TEXT("gpt-3.5*"), TOKENIZER_CL100K},          {TEXT("gpt-35*"), TOKENIZER_CL100K},
    {TEXT("text-embedding-3*"), TOKENIZER_CL100K}, {TEXT("text-embedding-ada*"), TOKENIZER_CL100K},
};
/* clang-format on */

enum tokenizer tokenizer_of(struct text model)
{
    const char *slash = memrchr(model.at, '/', model.len);
    struct text name = slash ? text_from(model, (size_t)(slash + 1 - model.at)) : model;
    if (text_starts(name, TEXT("ft:")))
        name = text_from(name, 3);
    for (size_t i = 0; i < sizeof(models) / sizeof(*models); i++)
        if (text_matches(name, models[i].pattern))
            return models[i].tokenizer;
    return TOKENIZER_NONE;
}

/* --------------------------------------------------------------------------------- counting */

enum { PARTS = 32, PART_BYTES = TOKENIZER_EXACT_BYTES / PARTS };

static int64_t count_whole(enum tokenizer tokenizer, struct text text)
{
    if (tokenizer != TOKENIZER_NONE)
        return bpe_count(tokenizer, text);
    return (estimate_words(text.at, text.at + text.len) + 15) / 16;
}

/* A part begins and ends between two characters: move to where one begins, if it is UTF-8. */
static size_t to_character(struct text text, size_t at)
{
    size_t most = at + 3;
    while (at < most && at < text.len && utf8_is_tail((unsigned char)text.at[at]))
        at++;
    return at;
}

int64_t tokens_of_text(enum tokenizer tokenizer, struct text text)
{
    if (text.len <= TOKENIZER_EXACT_BYTES)
        return count_whole(tokenizer, text);
    int64_t tokens = 0, bytes = 0;
    for (size_t i = 0; i < PARTS; i++) {
        size_t begin = to_character(text, text.len / PARTS * i);
        size_t end = to_character(text, begin + PART_BYTES);
        tokens += count_whole(tokenizer, (struct text){text.at + begin, end - begin});
        bytes += (int64_t)(end - begin);
    }
    return (int64_t)((__int128)tokens * (int64_t)text.len / bytes);
}

int64_t tokens_of_string(enum tokenizer tokenizer, struct text inside)
{
    if (!inside.len || !memchr(inside.at, '\\', inside.len))
        return tokens_of_text(tokenizer, inside);
    char *plain = memory_new(inside.len);
    size_t len = text_unescape(inside, plain);
    int64_t tokens = tokens_of_text(tokenizer, (struct text){plain, len});
    memory_free(plain);
    return tokens;
}
