/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gemini dialect: models.countTokens. The request is a conversation, bare or wrapped in
 * "generateContentRequest"; the answer is {"totalTokens": n}.
 */
#include "providers/count.h"
#include "providers/gemini.h"

static bool read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    struct call_source inside = *source;
    struct text wrapped = gemini_find(source->body, TEXT("generateContentRequest"));
    if (wrapped.len && wrapped.at[0] == '{')
        inside.body = wrapped;
    return gemini_read_call(arena, &inside, chat, fault);
}

static void write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    put_literal(out, "{\"generateContentRequest\":");
    size_t begin = buffer_length(out);
    gemini_write_call(arena, chat, target, out, losses);
    /* Inside of it the model is named once more. */
    struct text name = inner_of(arena, target->model), made = buffer_text(out);
    struct text rest = arena_copy(arena, text_from(made, begin + 1));
    gemini_cut_back(out, begin);
    put_literal(out, "{\"model\":\"models/");
    put_text(out, name);
    put_literal(out, rest.len > 1 ? "\"," : "\"");
    put_text(out, rest);
    put_literal(out, "}");
}

static void write_path(const struct call_target *target, struct buffer *out)
{
    gemini_put_model_path(target, out);
    put_literal(out, ":countTokens");
}

static struct text find_count(struct text body)
{
    return gemini_find(body, TEXT("totalTokens"));
}

static void put_count(struct buffer *out, int64_t tokens)
{
    put_literal(out, "{");
    put_number(out, "totalTokens", tokens);
    put_literal(out, ",\"promptTokensDetails\":[{\"modality\":\"TEXT\"");
    put_number(out, "tokenCount", tokens);
    put_literal(out, "}]}");
}

const struct translator translator_gemini_count = {
    .name = {"gemini-count", 12},
    .dialect = {"gemini", 6},
    .operation = OPERATION_COUNT,
    .read_call = read_call,
    .write_call = write_call,
    .write_path = write_path,
    .find_count = find_count,
    .put_count = put_count,
    COUNT_ANSWERS,
    .read_error = gemini_read_error,
};
