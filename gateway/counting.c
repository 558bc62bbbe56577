/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/counting.h"

#include "gateway/pages.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"
#include "policy/tokenizer.h"
#include "providers/translate.h"

enum { ANSWER_BYTES = 1024 };

struct count {
    struct text_sink sink;
    enum tokenizer tokenizer;
    int64_t tokens;
};

static void add_text(struct text_sink *sink, struct text inside)
{
    struct count *count = (struct count *)sink;
    count->tokens += tokens_of_string(count->tokenizer, inside);
}

/* The tokenizer of the first target's model: the others' count about the same. */
static enum tokenizer tokenizer_here(const struct exchange *x)
{
    const struct route *route = x->route;
    for (size_t i = 0; route && i < route->target_count; i++)
        if (!route->targets[i].off)
            return tokenizer_of(route->targets[i].model);
    return TOKENIZER_NONE;
}

bool counting_answer(struct exchange *x)
{
    const struct translator *words = translator_find(x->match.dialect, OPERATION_COUNT);
    struct count count = {.sink = {add_text}, .tokenizer = tokenizer_here(x)};
    struct translated_texts texts = {0};
    if (!words)
        return fault_set(&x->fault, FAULT_UNSUPPORTED, "Tokens cannot be counted for this model.");
    if (!translate_texts(&x->arena, words, buffer_text(&x->body), &count.sink, &texts, &x->fault))
        return false;
    int64_t tokens = count.tokens + TOKENIZER_PER_CALL + TOKENIZER_PER_MESSAGE * texts.messages;
    if (count.tokenizer == TOKENIZER_NONE || texts.media > 0)
        tokens = reserve_estimate(x)->input_mean;
    buffer_done(&x->held);
    buffer_init(&x->held, ANSWER_BYTES);
    translate_put_count(words, tokens > 0 ? tokens : 1, &x->held);
    x->fault = (struct fault){0};
    pages_finish(x, TEXT("x-sluice-estimated: true\r\n"));
    return true;
}
