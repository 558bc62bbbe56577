/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/mock/inside.h"

enum argument { ARGUMENT_NONE, ARGUMENT_TIME, ARGUMENT_COUNT, ARGUMENT_MAY };

struct word {
    struct text word;
    unsigned fault; /* bits to set */
    enum argument argument;
    size_t offset;     /* where the argument goes in struct wish */
    int64_t otherwise; /* the argument when there is none; -1 = there must be one */
    const char *help;
};

#define WORD(word)             \
    {                          \
        word, sizeof(word) - 1 \
    }

/* clang-format off */
static const struct word words[] = {
    {WORD("slow"), 0, ARGUMENT_TIME, offsetof(struct wish, delay_us), 2000000, "first byte after 2 s, or slow-500ms"},
    {WORD("rate"), 0, ARGUMENT_COUNT, offsetof(struct wish, rate), -1, "rate-20: tokens per second"},
    {WORD("tokens"), 0, ARGUMENT_COUNT, offsetof(struct wish, tokens), -1, "tokens-1000: length of the answer"},
    {WORD("big"), 0, ARGUMENT_COUNT, offsetof(struct wish, big_mib), -1, "big-8: an answer of about 8 MiB"},
    {WORD("cached"), 0, ARGUMENT_COUNT, offsetof(struct wish, cached), -1, "cached-100: so many prompt tokens came from the cache"},
    {WORD("reasoning"), 0, ARGUMENT_COUNT, offsetof(struct wish, reasoning), -1, "reasoning-100: so many more tokens were spent on reasoning"},
    {WORD("odds"), 0, ARGUMENT_COUNT, offsetof(struct wish, odds), -1, "odds-30: what else is asked for befalls 30 of 100 calls"},
    {WORD("first"), 0, ARGUMENT_COUNT, offsetof(struct wish, first), -1, "first-2: ... the first 2 calls only"},
    {WORD("flap"), 0, ARGUMENT_TIME, offsetof(struct wish, flap_us), 60000000, "... for 60 s, then for 60 s it does not, or flap-2s"},
    {WORD("late"), MOCK_LATE, ARGUMENT_TIME, offsetof(struct wish, delay_us), 20000000, "head at once, first token after 20 s, or late-500ms"},
    {WORD("context"), MOCK_CONTEXT, ARGUMENT_NONE, 0, 0, "refused: longer than the context"},
    {WORD("filter"), MOCK_FILTER, ARGUMENT_NONE, 0, 0, "refused by a content filter"},
    {WORD("no-prefill"), MOCK_NO_PREFILL, ARGUMENT_NONE, 0, 0, "refuses to go on with an answer that is begun"},
    {WORD("bad-event"), MOCK_BAD_EVENT, ARGUMENT_MAY, offsetof(struct wish, after), 0, "one event that is no JSON after some tokens"},
    {WORD("short"), MOCK_SHORT, ARGUMENT_NONE, 0, 0, "half of what Content-Length says, then the end"},
    {WORD("reset"), MOCK_RESET, ARGUMENT_NONE, 0, 0, "connection reset before the first byte"},
    {WORD("reset-mid"), MOCK_RESET_MID, ARGUMENT_MAY, offsetof(struct wish, after), 0, "reset after some tokens, or reset-mid-10"},
    {WORD("stall"), MOCK_STALL, ARGUMENT_MAY, offsetof(struct wish, after), 0, "silence after some tokens, or stall-10"},
    {WORD("stall-head"), MOCK_STALL_HEAD, ARGUMENT_NONE, 0, 0, "never answers"},
    {WORD("cut"), MOCK_CUT, ARGUMENT_MAY, offsetof(struct wish, after), 0, "ends after some tokens as if it were whole, or cut-10"},
    {WORD("no-done"), MOCK_NO_DONE, ARGUMENT_NONE, 0, 0, "a stream without [DONE]"},
    {WORD("bad-chunk"), MOCK_BAD_CHUNK, ARGUMENT_MAY, offsetof(struct wish, after), 0, "broken chunk framing after some tokens"},
    {WORD("garbage"), MOCK_GARBAGE, ARGUMENT_NONE, 0, 0, "a body that is neither JSON nor events"},
    {WORD("bad-head"), MOCK_BAD_HEAD, ARGUMENT_NONE, 0, 0, "a head that is not HTTP"},
    {WORD("error-mid"), MOCK_ERROR_MID, ARGUMENT_MAY, offsetof(struct wish, after), 0, "an error inside a 200 after some tokens"},
    {WORD("usage-every-chunk"), MOCK_USAGE_EVERY, ARGUMENT_NONE, 0, 0, "usage on every chunk"},
    {WORD("no-usage"), MOCK_NO_USAGE, ARGUMENT_NONE, 0, 0, "no usage at all"},
    {WORD("close"), MOCK_CLOSE, ARGUMENT_NONE, 0, 0, "closes the connection after the answer"},
};
/* clang-format on */

enum { WORDS = sizeof(words) / sizeof(words[0]) };

static const int64_t ARGUMENT_MAX = 1000000000;

/* "500ms", "2s". */
static bool read_time(struct text t, int64_t *us)
{
    uint64_t number;
    bool is_ms = text_ends(t, TEXT("ms"));
    if (!is_ms && !text_ends(t, TEXT("s")))
        return false;
    if (!text_number(text_head(t, t.len - (is_ms ? 2 : 1)), 86400000, &number))
        return false;
    *us = (int64_t)number * (is_ms ? 1000 : 1000000);
    return true;
}

static bool read_argument(const struct word *word, struct text argument, int64_t *value)
{
    uint64_t number;
    if (argument.len == 0)
        *value = word->otherwise;
    else if (word->argument == ARGUMENT_TIME)
        return read_time(argument, value);
    else if (word->argument == ARGUMENT_NONE ||
             !text_number(argument, (uint64_t)ARGUMENT_MAX, &number))
        return false;
    else
        *value = (int64_t)number;
    return *value >= 0;
}

static bool read_word(struct text item, struct wish *wish)
{
    for (size_t i = 0; i < WORDS; i++) {
        const struct word *word = &words[i];
        if (!text_starts(item, word->word))
            continue;
        struct text argument = text_from(item, word->word.len);
        if (argument.len == 1 || (argument.len > 0 && argument.at[0] != '-'))
            continue;
        int64_t value;
        if (!read_argument(word, text_from(argument, 1), &value))
            continue; /* perhaps a longer word: stall-head */
        wish->faults |= word->fault;
        if (word->argument != ARGUMENT_NONE)
            *(int64_t *)(void *)((char *)wish + word->offset) = value;
        return true;
    }
    return false;
}

/* "429", "503-retry-after", "429-retry-after-7". */
static bool read_status(struct text item, struct wish *wish)
{
    static const struct text retry = WORD("-retry-after");
    uint64_t status, seconds = 1;
    if (!text_number(text_head(item, 3), 599, &status) || status < 400)
        return false;
    struct text rest = text_from(item, 3);
    if (rest.len > 0) {
        if (!text_starts(rest, retry))
            return false;
        rest = text_from(rest, retry.len);
        if (rest.len > 0 &&
            (rest.at[0] != '-' || !text_number(text_from(rest, 1), 86400, &seconds)))
            return false;
        wish->retry_after = (int64_t)seconds;
    }
    wish->status = (unsigned)status;
    return true;
}

bool wish_read(struct text model, struct wish *wish)
{
    *wish = (struct wish){.odds = 100};
    if (!text_starts(model, TEXT("mock/")))
        return true;
    struct text rest = text_from(model, 5), item;
    if (rest.len == 0)
        return false;
    while (text_next(&rest, '+', &item))
        if (!read_status(item, wish) && !read_word(item, wish))
            return false;
    return true;
}

void mock_words(FILE *out)
{
    fprintf(out, "  %-18s %s\n", "429",
            "refused with that status (400-599); also 429-retry-after-7");
    for (size_t i = 0; i < WORDS; i++)
        fprintf(out, "  %-18s %s\n", words[i].word.at, words[i].help);
}
