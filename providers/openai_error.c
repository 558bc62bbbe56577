/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/member.h"
#include "providers/openai.h"

/*
 * The shapes in use, all of them seen in recorded traffic:
 *   {"error":{"message","type","code"}}   OpenAI and most; code may be a number
 *   {"error":"text","code"}               xAI, Ollama, Fireworks
 *   {"message","type","code"}             Cerebras, Mistral, Azure
 *   {"detail":"text"}, {"detail":{…}}     Voyage, DeepInfra, FastAPI servers (also a list)
 *   {"status","title","detail"}           NVIDIA (RFC 9457)
 *   {"errors":[{"message"}]}              Cloudflare
 *   [{"error":{…}}]                       Google, when it streams
 */
struct words {
    struct text message, code;
};

/* The first of <names> that stands in <object> as a string. */
static struct text first_string(struct text object, const struct text *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct text found = member_string(member_find(object, names[i]));
        if (found.len > 0)
            return found;
    }
    return TEXT("");
}

static struct text first_item(struct text list)
{
    struct text name, item = {NULL, 0};
    if (list.len > 0 && list.at[0] == '[' && member_next(&list, &name, &item))
        return item;
    return list;
}

static struct words find_words(struct text body)
{
    static const struct text messages[] = {{"message", 7}, {"error", 5}, {"detail", 6},
                                           {"msg", 3},     {"title", 5}, {"error_code", 10}};
    static const struct text codes[] = {{"code", 4}, {"type", 4}, {"error_code", 10}};
    static const struct text holders[] = {{"error", 5}, {"detail", 6}, {"errors", 6}};
    struct text object = first_item(body);
    for (size_t i = 0; i < sizeof(holders) / sizeof(holders[0]); i++) {
        struct text inner = first_item(member_find(object, holders[i]));
        if (inner.len > 0 && inner.at[0] == '{') {
            object = inner;
            break;
        }
    }
    return (struct words){
        first_string(object, messages, sizeof(messages) / sizeof(messages[0])),
        first_string(object, codes, sizeof(codes) / sizeof(codes[0])),
    };
}

/* Is it our key, our account or our money that the provider does not like? Then another target may
 * do better, and the client is not to blame. */
static bool is_about_us(unsigned status, const struct words *words)
{
    if (status == 401 || status == 402 || status == 403)
        return true;
    return status == 400 && (text_find(words->message, TEXT("Incorrect API key")) != SIZE_MAX ||
                             text_find(words->message, TEXT("API key not valid")) != SIZE_MAX);
}

static enum fault_kind kind_of(unsigned status, const struct words *words)
{
    if (status == 429 || status == 529)
        return FAULT_TARGET_BUSY;
    if (is_about_us(status, words) || status == 408 || status == 409 || status == 425)
        return FAULT_TARGET_ERROR;
    if (text_equal(words->code,
                   TEXT("rate_limit_exceeded"))) /* Groq's 413: too many for a minute */
        return FAULT_TARGET_BUSY;
    if (status >= 400 && status <= 499)
        return FAULT_TARGET_REFUSED;
    if (status >= 500 && status <= 599)
        return FAULT_TARGET_ERROR;
    return FAULT_TARGET_INVALID; /* a redirect, or what is no error at all */
}

enum { RETRY_MAX_MS = 24 * 3600 * 1000 };

/* Digits with a point among them, in thousandths; what is beyond a day of milliseconds is that. */
static size_t take_number(struct text t, int64_t *thousandths)
{
    int64_t whole = 0, part = 0, scale = 1000;
    size_t i = 0;
    for (; i < t.len && t.at[i] >= '0' && t.at[i] <= '9'; i++)
        whole = whole < RETRY_MAX_MS ? whole * 10 + (t.at[i] - '0') : whole;
    size_t digits = i;
    if (digits && i < t.len && t.at[i] == '.')
        for (i++; i < t.len && t.at[i] >= '0' && t.at[i] <= '9'; i++)
            part += (scale /= 10) * (t.at[i] - '0');
    *thousandths = (whole < RETRY_MAX_MS ? whole : RETRY_MAX_MS) * 1000 + part;
    return i;
}

/* "1m2.5s", "350ms": one number with its unit off the front, in milliseconds, rounded up; -1 when
 * there is none. */
static int64_t take_span(struct text *rest)
{
    static const struct {
        struct text name;
        int64_t ms;
    } units[] = {{{"ms", 2}, 1}, {{"s", 1}, 1000}, {{"m", 1}, 60000}, {{"h", 1}, 3600000}};
    int64_t thousandths;
    size_t len = take_number(*rest, &thousandths);
    for (size_t i = 0; len && i < sizeof(units) / sizeof(units[0]); i++) {
        if (!text_starts(text_from(*rest, len), units[i].name))
            continue;
        *rest = text_from(*rest, len + units[i].name.len);
        return (thousandths * units[i].ms + 999) / 1000;
    }
    return -1;
}

/* "... Please try again in 20s." */
static int64_t retry_of(struct text message)
{
    static const struct text words = {"try again in ", 13};
    size_t at = text_find(message, words);
    if (at == SIZE_MAX)
        return 0;
    struct text rest = text_from(message, at + words.len);
    int64_t all = 0, span;
    while (all < RETRY_MAX_MS && (span = take_span(&rest)) >= 0)
        all += span;
    return all < RETRY_MAX_MS ? all : RETRY_MAX_MS;
}

void openai_read_error(unsigned status, struct text body, struct provider_error *error)
{
    struct words words = find_words(body);
    error->kind = kind_of(status, &words);
    error->retry_ms = retry_of(words.message);
    /* When it is about our key, some providers repeat the key in their message. */
    if (is_about_us(status, &words))
        words.message = TEXT("the provider refuses our key or account");
    provider_error_say(error, words.code, words.message);
}
