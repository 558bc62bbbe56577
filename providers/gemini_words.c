/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the readers and writers of the dialect share: names, parts, usage, finish reasons, errors.
 */
#include "gateway/base/member.h"
#include "providers/gemini.h"

/* No call has more of anything; what claims to is nonsense and not booked. */
static const int64_t COUNT_MAX = INT64_C(1000000000000);

bool gemini_named(struct text name, struct text camel)
{
    size_t at = 0;
    if (text_equal(name, camel))
        return true;
    for (size_t i = 0; i < camel.len; i++) {
        char c = camel.at[i];
        if (c >= 'A' && c <= 'Z') {
            if (at == name.len || name.at[at++] != '_')
                return false;
            c = (char)(c | 0x20);
        }
        if (at == name.len || name.at[at++] != c)
            return false;
    }
    return at == name.len;
}

struct text gemini_find(struct text object, struct text camel)
{
    struct text found = {NULL, 0}, name, value;
    while (member_next(&object, &name, &value))
        if (gemini_named(name, camel))
            found = value;
    return found;
}

bool gemini_next(struct text *rest, struct text *item)
{
    struct text name;
    if (rest->len && rest->at[0] == '{') { /* what is left of an array begins with a comma */
        *item = *rest;
        *rest = text_from(*rest, rest->len);
        return true;
    }
    return member_next(rest, &name, item);
}

void gemini_put_compact(struct buffer *out, struct text json)
{
    const char *at = json.at, *end = json.at + json.len;
    while (at < end) {
        const char *from = at;
        while (at < end && *at != ' ' && *at != '\n' && *at != '\r' && *at != '\t') {
            if (*at == '"')
                at = member_string_end(at, end);
            at += at < end;
        }
        buffer_append(out, from, (size_t)(at - from));
        at += at < end;
    }
}

/* ---------------------------------------------------------------------------------- parts */

static bool is_object(struct text value)
{
    return value.len && value.at[0] == '{';
}

void gemini_part_look(struct text raw, struct gemini_part *part)
{
    struct text rest = raw, name, value;
    *part = (struct gemini_part){.raw = raw};
    while (member_next(&rest, &name, &value)) {
        if (text_equal(name, TEXT("text")))
            part->text = member_string(value);
        else if (text_equal(name, TEXT("thought")))
            part->thought = said_of(value) == SAID_YES;
        else if (gemini_named(name, TEXT("thoughtSignature")))
            part->signature = member_string(value);
        else if (is_object(value) && gemini_named(name, TEXT("functionCall")))
            part->call = value;
        else if (is_object(value) && gemini_named(name, TEXT("functionResponse")))
            part->result = value;
        else if (is_object(value) && gemini_named(name, TEXT("inlineData")))
            part->data = value;
        else if (is_object(value) && gemini_named(name, TEXT("fileData")))
            part->file = value;
        else if (!json_is_absent(value))
            part->more = true;
    }
}

enum part_kind gemini_media_kind(struct text media_type)
{
    if (text_starts_nocase(media_type, TEXT("image")))
        return PART_IMAGE;
    if (text_starts_nocase(media_type, TEXT("audio")))
        return PART_AUDIO;
    return text_starts_nocase(media_type, TEXT("video")) ? PART_VIDEO : PART_FILE;
}

/* ---------------------------------------------------------------------------------- usage */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The tokens of one modality, by its name or number, in an array of {modality, tokenCount}. */
static int64_t of_modality(struct text details, struct text word, struct text number)
{
    struct text name, item;
    int64_t sum = 0, count;
    while (member_next(&details, &name, &item)) {
        struct text modality = member_find(item, TEXT("modality"));
        bool is_it = text_equal(member_string(modality), word) || text_equal(modality, number);
        if (is_it && member_count(gemini_find(item, TEXT("tokenCount")), COUNT_MAX, &count))
            sum = least(sum + count, COUNT_MAX);
    }
    return sum;
}

static int64_t audio_of(struct text details)
{
    return of_modality(details, TEXT("AUDIO"), TEXT("4"));
}

/* What usageMetadata said. */
struct figures {
    int64_t prompt, cached, candidates, thoughts, tools;
    int64_t audio_in, audio_out, images, images_out;
};

static bool read_figure(struct text name, struct text value, struct figures *f)
{
    const struct {
        struct text name;
        int64_t *figure;
    } counts[] = {
        {{"promptTokenCount", 16}, &f->prompt},
        {{"candidatesTokenCount", 20}, &f->candidates},
        {{"thoughtsTokenCount", 18}, &f->thoughts},
        {{"cachedContentTokenCount", 23}, &f->cached},
        {{"toolUsePromptTokenCount", 23}, &f->tools},
    };
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        if (gemini_named(name, counts[i].name))
            return member_count(value, COUNT_MAX, counts[i].figure);
    if (gemini_named(name, TEXT("promptTokensDetails"))) {
        f->audio_in += audio_of(value);
        f->images += of_modality(value, TEXT("IMAGE"), TEXT("2"));
    } else if (gemini_named(name, TEXT("toolUsePromptTokensDetails"))) {
        f->audio_in += audio_of(value);
    } else if (gemini_named(name, TEXT("candidatesTokensDetails"))) {
        f->audio_out = audio_of(value);
        f->images_out = of_modality(value, TEXT("IMAGE"), TEXT("2"));
    }
    return false;
}

bool gemini_read_usage(struct text json, struct usage *usage)
{
    struct figures f = {0};
    struct text name, value;
    bool said = false;
    if (!is_object(json))
        return false;
    while (member_next(&json, &name, &value))
        said |= read_figure(name, value, &f);
    if (!said)
        return false;
    /* What tools gave back to the model is billed as input, and is not within the prompt. */
    int64_t input = f.prompt + f.tools, output = f.candidates + f.thoughts;
    *usage = (struct usage){
        .input_tokens = input,
        .cached_tokens = least(f.cached, input),
        .output_tokens = output,
        .reasoning_tokens = f.thoughts,
        .audio_input_tokens = least(f.audio_in, input),
        .audio_output_tokens = least(f.audio_out, output),
        .image_tokens = least(f.images, input),
        .image_output_tokens = least(f.images_out, f.candidates),
        .searches = usage->searches, /* which stand elsewhere */
    };
    return true;
}

int64_t gemini_queries(struct text grounding)
{
    struct text queries = gemini_find(grounding, TEXT("webSearchQueries")), query;
    int64_t count = 0;
    while (gemini_next(&queries, &query))
        count++;
    return count;
}

static void put_audio(struct buffer *out, const char *name, int64_t audio, int64_t all)
{
    if (!audio)
        return;
    put_open(out, name, '[');
    put_open(out, NULL, '{');
    put_inner(out, "modality", TEXT("AUDIO"));
    put_number(out, "tokenCount", audio);
    put_literal(out, "}");
    if (all > audio) {
        put_open(out, NULL, '{');
        put_inner(out, "modality", TEXT("TEXT"));
        put_number(out, "tokenCount", all - audio);
        put_literal(out, "}");
    }
    put_literal(out, "]");
}

void gemini_put_usage(struct buffer *out, const struct usage *usage)
{
    int64_t candidates = usage->output_tokens - usage->reasoning_tokens;
    put_open(out, "usageMetadata", '{');
    put_number(out, "promptTokenCount", usage->input_tokens);
    put_number(out, "candidatesTokenCount", candidates);
    put_number(out, "totalTokenCount", usage->input_tokens + usage->output_tokens);
    if (usage->cached_tokens)
        put_number(out, "cachedContentTokenCount", usage->cached_tokens);
    if (usage->reasoning_tokens)
        put_number(out, "thoughtsTokenCount", usage->reasoning_tokens);
    put_audio(out, "promptTokensDetails", usage->audio_input_tokens, usage->input_tokens);
    put_audio(out, "candidatesTokensDetails", usage->audio_output_tokens, candidates);
    put_literal(out, "}");
}

/* ------------------------------------------------------------------------- finish reasons */

/* The first ones stand at the number that the enum of the Gemini API gives them (Vertex AI counts
 * differently from 6 on: all that is within is of a filter there too). */
/* clang-format off */
static const struct {
    struct text name;
    enum finish finish;
} reasons[] = {
    {{"FINISH_REASON_UNSPECIFIED", 25}, FINISH_NONE},
    {{"STOP", 4},                       FINISH_STOP},
    {{"MAX_TOKENS", 10},                FINISH_LENGTH},
    {{"SAFETY", 6},                     FINISH_FILTER},
    {{"RECITATION", 10},                FINISH_FILTER},
    {{"OTHER", 5},                      FINISH_ERROR},
    {{"LANGUAGE", 8},                   FINISH_FILTER},
    {{"BLOCKLIST", 9},                  FINISH_FILTER},
    {{"PROHIBITED_CONTENT", 18},        FINISH_FILTER},
    {{"SPII", 4},                       FINISH_FILTER},
    {{"MALFORMED_FUNCTION_CALL", 23},   FINISH_ERROR},
    {{"IMAGE_SAFETY", 12},              FINISH_FILTER},
    {{"UNEXPECTED_TOOL_CALL", 20},      FINISH_ERROR},
    /* these have no number that both agree on */
    {{"IMAGE_PROHIBITED_CONTENT", 24},  FINISH_FILTER},
    {{"IMAGE_RECITATION", 16},          FINISH_FILTER},
    {{"MODEL_ARMOR", 11},               FINISH_FILTER},
};
/* clang-format on */

enum { REASONS = sizeof(reasons) / sizeof(reasons[0]), NUMBERED_REASONS = 13 };

enum finish gemini_finish(struct text json, struct text *name)
{
    int64_t number;
    *name = member_string(json);
    if (json_is_absent(json))
        return FINISH_NONE;
    if (member_count(json, NUMBERED_REASONS - 1, &number)) {
        *name = reasons[number].name;
        return reasons[number].finish;
    }
    if (name->at == NULL)
        *name = json; /* a number that is not known yet */
    for (size_t i = 0; i < REASONS; i++)
        if (text_equal(reasons[i].name, *name))
            return reasons[i].finish;
    return FINISH_ERROR; /* those that were added over the years have all been of this kind */
}

struct text gemini_finish_name(enum finish finish)
{
    switch (finish) {
    case FINISH_LENGTH:
        return TEXT("MAX_TOKENS");
    case FINISH_FILTER:
    case FINISH_REFUSAL:
        return TEXT("SAFETY");
    case FINISH_ERROR:
        return TEXT("OTHER");
    case FINISH_NONE:
    case FINISH_STOP:
    case FINISH_SEQUENCE:
    case FINISH_CALLS:
    case FINISH_PAUSE:
        return TEXT("STOP");
    }
    return TEXT("STOP");
}

/* --------------------------------------------------------------------------------- errors */

/* Is it our key, our account or where we stand that is not liked? Then another target may do
 * better, and the client is not to blame. */
static bool is_about_us(unsigned status, struct text error)
{
    struct text word = member_string(member_find(error, TEXT("status")));
    struct text details = member_find(error, TEXT("details"));
    return status == 401 || status == 402 || status == 403 ||
           text_equal(word, TEXT("UNAUTHENTICATED")) ||
           text_equal(word, TEXT("PERMISSION_DENIED")) ||
           /* no billing, or a country that is not served */
           text_equal(word, TEXT("FAILED_PRECONDITION")) ||
           text_find(details, TEXT("\"API_KEY_INVALID\"")) != SIZE_MAX;
}

static enum fault_kind kind_of(unsigned status, struct text error)
{
    struct text word = member_string(member_find(error, TEXT("status")));
    if (status == 429 || text_equal(word, TEXT("RESOURCE_EXHAUSTED")))
        return FAULT_TARGET_BUSY;
    if (is_about_us(status, error) || status == 408 || status == 409 || status == 499)
        return FAULT_TARGET_ERROR;
    if (status >= 400 && status <= 498)
        return FAULT_TARGET_REFUSED;
    if (status >= 500 && status <= 599)
        return FAULT_TARGET_ERROR;
    return FAULT_TARGET_INVALID;
}

enum fault_kind gemini_error_kind(struct text error)
{
    int64_t code = 500;
    member_count(member_find(error, TEXT("code")), 599, &code);
    return code >= 400 ? kind_of((unsigned)code, error) : FAULT_TARGET_ERROR;
}

/* "47s" or "0.250s", in milliseconds, rounded up; 0 when it is none. */
static int64_t read_delay(struct text delay)
{
    int64_t seconds = 0, fraction = 0;
    if (!delay.len || delay.at[delay.len - 1] != 's')
        return 0;
    delay.len--;
    size_t dot = text_find_byte(delay, '.');
    if (!member_count(text_head(delay, dot), 86400, &seconds))
        return 0;
    if (dot == SIZE_MAX)
        return seconds * 1000;
    struct text digits = text_head(text_from(delay, dot + 1), 9);
    if (!member_count(digits, INT64_MAX, &fraction))
        return seconds * 1000;
    for (size_t i = digits.len; i < 9; i++)
        fraction *= 10;
    return seconds * 1000 + (fraction + 999999) / 1000000;
}

/* google.rpc.RetryInfo among the details. */
static int64_t retry_of(struct text error)
{
    struct text details = member_find(error, TEXT("details")), name, item;
    while (member_next(&details, &name, &item)) {
        struct text delay = member_string(gemini_find(item, TEXT("retryDelay")));
        if (delay.at)
            return read_delay(delay);
    }
    return 0;
}

void gemini_read_error(unsigned status, struct text body, struct provider_error *error)
{
    struct text first = text_trim(body), name, item;
    if (first.len && first.at[0] == '[' && member_next(&first, &name, &item))
        first = item; /* of a stream without alt=sse */
    struct text about = member_find(first, TEXT("error"));
    struct text code = member_string(member_find(about, TEXT("status")));
    /* When it is about our key, the message may repeat it. */
    struct text message = is_about_us(status, about)
                              ? TEXT("the provider refuses our key or account")
                              : member_string(member_find(about, TEXT("message")));
    if (!message.at)
        message = member_string(about); /* {"error":"..."} of what stands in front of it */
    error->kind = kind_of(status, about);
    error->retry_ms = retry_of(about);
    provider_error_say(error, code, message);
}
