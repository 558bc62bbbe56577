/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/refusal.h"

enum { LOOK_BYTES = 2048, WAIT_MAX_S = 86400 };

struct sign {
    struct text words; /* in small letters */
    enum refusal refusal;
};

#define SIGN(words)                \
    {                              \
        (words), sizeof(words) - 1 \
    }

/* clang-format off */
static const struct sign signs[] = {
    {SIGN("context_length_exceeded"),             REFUSAL_CONTEXT}, /* OpenAI and many others */
    {SIGN("exceed_context_size"),                 REFUSAL_CONTEXT}, /* llama.cpp */
    {SIGN("available context size"),              REFUSAL_CONTEXT},
    {SIGN("maximum context length"),              REFUSAL_CONTEXT}, /* OpenAI, vLLM */
    {SIGN("prompt is too long"),                  REFUSAL_CONTEXT}, /* Anthropic */
    {SIGN("exceed context limit"),                REFUSAL_CONTEXT},
    {SIGN("input is too long"),                   REFUSAL_CONTEXT}, /* Bedrock */
    {SIGN("exceeds the maximum number of tokens"), REFUSAL_CONTEXT}, /* Gemini */
    {SIGN("context window"),                      REFUSAL_CONTEXT},
    {SIGN("too many tokens"),                     REFUSAL_CONTEXT}, /* Cohere, Mistral */
    {SIGN("content_filter"),                      REFUSAL_FILTER}, /* Azure */
    {SIGN("content_policy_violation"),            REFUSAL_FILTER}, /* OpenAI */
    {SIGN("content management policy"),           REFUSAL_FILTER},
    {SIGN("responsibleaipolicyviolation"),        REFUSAL_FILTER},
    {SIGN("content filtering policy"),            REFUSAL_FILTER}, /* Anthropic */
    {SIGN("data_inspection_failed"),              REFUSAL_FILTER}, /* DashScope */
    {SIGN("prohibited_content"),                  REFUSAL_FILTER}, /* Gemini */
    {SIGN("prefill"),                             REFUSAL_PREFILL}, /* Anthropic */
    {SIGN("must end with a user message"),        REFUSAL_PREFILL},
};
/* clang-format on */

static char small(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

/* Where <words> (in small letters) end in <text>, or SIZE_MAX. */
static size_t end_of(struct text text, struct text words)
{
    for (size_t at = 0; at + words.len <= text.len; at++) {
        size_t same = 0;
        while (same < words.len && small(text.at[at + same]) == words.at[same])
            same++;
        if (same == words.len)
            return at + same;
    }
    return SIZE_MAX;
}

enum refusal refusal_read(unsigned status, struct text body)
{
    body = text_head(body, LOOK_BYTES);
    if (status != 400 && status != 413 && status != 422)
        return REFUSAL_OTHER;
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
        if (end_of(body, signs[i].words) != SIZE_MAX)
            return signs[i].refusal;
    return REFUSAL_OTHER;
}

/* Digits, perhaps with a fraction, in thousandths; behind them in *rest. */
static bool read_thousandths(struct text *rest, int64_t *thousandths)
{
    int64_t whole = 0, part = 0, scale = 100;
    size_t at = 0;
    for (; at < rest->len && rest->at[at] >= '0' && rest->at[at] <= '9'; at++)
        if ((whole = whole * 10 + rest->at[at] - '0') > WAIT_MAX_S * 1000)
            return false;
    if (at == 0)
        return false;
    if (at + 1 < rest->len && rest->at[at] == '.' && rest->at[at + 1] >= '0' &&
        rest->at[at + 1] <= '9')
        for (at++; at < rest->len && rest->at[at] >= '0' && rest->at[at] <= '9'; at++, scale /= 10)
            part += (rest->at[at] - '0') * scale;
    *rest = text_from(*rest, at);
    *thousandths = whole * 1000 + part;
    return true;
}

/* "1.2s", "6m0s", "250ms", "6 seconds": what it is in milliseconds. */
static int64_t read_wait(struct text words)
{
    int64_t sum = 0, number;
    while (read_thousandths(&words, &number)) {
        words = text_trim(words);
        if (text_starts(words, TEXT("ms")) || text_starts(words, TEXT("millisecond")))
            return sum + (number + 999) / 1000;
        if (text_starts(words, TEXT("h")))
            sum += number * 3600;
        else if (text_starts(words, TEXT("m")))
            sum += number * 60;
        else if (text_starts(words, TEXT("s")))
            return sum + number;
        else
            return sum ? sum : number; /* no unit: seconds */
        words = text_from(words, 1);
    }
    return sum;
}

int64_t refusal_wait_ms(struct text body)
{
    static const struct text marks[] = {SIGN("try again in "), SIGN("retry after "),
                                        SIGN("retry in ")};
    body = text_head(body, LOOK_BYTES);
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        size_t at = end_of(body, marks[i]);
        int64_t wait = at == SIZE_MAX ? 0 : read_wait(text_from(body, at));
        if (wait > 0)
            return wait < (int64_t)WAIT_MAX_S * 1000 ? wait : (int64_t)WAIT_MAX_S * 1000;
    }
    return 0;
}
