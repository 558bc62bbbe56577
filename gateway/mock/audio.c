/* SPDX-License-Identifier: Apache-2.0 */

/* Speech as a WAV file (RIFF, PCM 16 bit, one channel, 8 kHz), transcriptions of forms. */

#include "gateway/base/hash.h"
#include "gateway/http/multipart.h"
#include "gateway/mock/inside.h"

enum { RATE = 8000, WORD_SAMPLES = RATE / 10, WORDS_MAX = 300, SAMPLE_BYTES = 2, HEAD_BYTES = 44 };

static void put_number(struct buffer *out, uint32_t number, size_t bytes)
{
    char little[4];
    for (size_t i = 0; i < bytes; i++)
        little[i] = (char)(number >> (8 * i) & 0xFF);
    put(out, (struct text){little, bytes});
}

static void put_wav(struct buffer *out, uint32_t samples)
{
    put(out, TEXT("RIFF"));
    put_number(out, HEAD_BYTES - 8 + samples * SAMPLE_BYTES, 4);
    put(out, TEXT("WAVEfmt "));
    put_number(out, 16, 4);
    put_number(out, 1, 2); /* PCM */
    put_number(out, 1, 2);
    put_number(out, RATE, 4);
    put_number(out, RATE * SAMPLE_BYTES, 4);
    put_number(out, SAMPLE_BYTES, 2);
    put_number(out, 16, 2);
    put(out, TEXT("data"));
    put_number(out, samples * SAMPLE_BYTES, 4);
    for (uint32_t i = 0; i < samples; i++) /* a tone of 200 Hz, in squares */
        put_number(out, i / 20 % 2 ? 0x0800 : 0xF800, 2);
}

static bool speech_stream_more(struct caller *caller, struct buffer *out)
{
    static char coded[4096];
    struct plan *plan = &caller->plan;
    struct text rest = text_head(text_from(buffer_text(&plan->text), plan->text_sent), 3000);
    if (rest.len == 0)
        return false;
    size_t len = hash_base64(rest.at, rest.len, coded);
    put(out, TEXT("data: {\"type\":\"speech.audio.delta\",\"audio\":\""));
    put(out, (struct text){coded, len});
    put(out, TEXT("\"}\n\n"));
    plan->text_sent += rest.len;
    plan->tokens++;
    return true;
}

static void speech_stream_end(struct caller *caller, struct buffer *out)
{
    const struct plan *plan = &caller->plan;
    put_format(out,
               "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":%lld,"
               "\"output_tokens\":%lld,\"total_tokens\":%lld}}\n\n",
               (long long)plan->tally.prompt_tokens, (long long)plan->tokens,
               (long long)plan->tally.prompt_tokens + (long long)plan->tokens);
}

void answer_speech(struct caller *caller)
{
    static const struct script stream = {NULL, speech_stream_more, speech_stream_end};
    static const char *const prompts[] = {"input", NULL};
    if (!call_begin(caller, "speech-", prompts))
        return;
    struct plan *plan = &caller->plan;
    int64_t words = plan->tally.prompt_tokens < WORDS_MAX ? plan->tally.prompt_tokens : WORDS_MAX;
    put_wav(&plan->text, (uint32_t)(words + 1) * WORD_SAMPLES);
    plan->stream = text_equal(member_words(asked(caller), "stream_format"), TEXT("sse"));
    plan->tally.stream = plan->stream;
    reply(caller, 200, plan->stream ? "text/event-stream" : "audio/wav");
    if (plan->stream)
        plan->script = &stream;
}

/* -------------------------------------------------------------------------- transcriptions */

static void put_all(struct buffer *out, const struct plan *plan)
{
    char room[PIECE_BYTES];
    for (int64_t i = 0; i < plan->prose.tokens; i++)
        put_escaped(out, prose_piece(&plan->prose, i, room));
}

static bool heard_more(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    if (plan->at >= plan->prose.tokens)
        return false;
    put(out, TEXT("data: {\"type\":\"transcript.text.delta\",\"delta\":\""));
    call_next(caller, out);
    put(out, TEXT("\",\"logprobs\":[]}\n\n"));
    return true;
}

static void heard_end(struct caller *caller, struct buffer *out)
{
    const struct plan *plan = &caller->plan;
    put(out, TEXT("data: {\"type\":\"transcript.text.done\",\"text\":\""));
    put_all(out, plan);
    put_format(out,
               "\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":%lld,\"input_token_details\":{"
               "\"text_tokens\":0,\"audio_tokens\":%lld},\"output_tokens\":%lld,"
               "\"total_tokens\":%lld}}\n\n",
               (long long)plan->tally.prompt_tokens, (long long)plan->tally.prompt_tokens,
               (long long)plan->tokens,
               (long long)plan->tally.prompt_tokens + (long long)plan->tokens);
}

static void put_heard(struct plan *plan, struct text format, long long seconds)
{
    struct buffer *out = &plan->text;
    if (text_equal(format, TEXT("text"))) {
        put_all(out, plan);
        put(out, TEXT("\n"));
        plan->type = "text/plain; charset=utf-8";
        return;
    }
    put(out, TEXT("{"));
    if (text_equal(format, TEXT("verbose_json")))
        put_format(out,
                   "\"task\":\"transcribe\",\"language\":\"english\",\"duration\":%lld.0,"
                   "\"segments\":[],",
                   seconds);
    put(out, TEXT("\"text\":\""));
    put_all(out, plan);
    put_format(out, "\",\"usage\":{\"type\":\"duration\",\"seconds\":%lld}}", seconds);
}

enum { FORM_MODEL, FORM_FORMAT, FORM_STREAM, FORM_FIELDS };

static struct text form_value(const struct multipart *form, int field)
{
    return (struct text){form->fields[field].value, form->fields[field].len};
}

void answer_transcription(struct caller *caller)
{
    static const struct script stream = {NULL, heard_more, heard_end};
    static const struct text fields[FORM_FIELDS] = {
        {"model", 5}, {"response_format", 15}, {"stream", 6}};
    struct multipart form;
    struct fault why;
    struct plan *plan = &caller->plan;
    if (!multipart_init(&form, text_of(caller->request.type), fields, FORM_FIELDS) ||
        !multipart_feed(&form, asked(caller), &why)) {
        refuse(caller, 400, NULL, NULL, "That is no form with a file in it");
        return;
    }
    if (!call_begin_model(caller, "transcript-", form_value(&form, FORM_MODEL)))
        return;
    long long seconds = (long long)(caller->body_bytes / (RATE * SAMPLE_BYTES)) + 1;
    plan->prose.seed = prose_seed(caller->mock->options.seed, TEXT("heard"));
    plan->prose.tokens = plan->wish.tokens > 0 ? plan->wish.tokens : seconds * 2;
    plan->per_event = 1;
    if (plan->prose.tokens > 10000)
        plan->prose.tokens = 10000;
    plan->tally.prompt_tokens = seconds * 10;
    plan->stream = plan->tally.stream = text_equal(form_value(&form, FORM_STREAM), TEXT("true"));
    if (plan->stream) {
        reply(caller, 200, "text/event-stream; charset=utf-8");
        plan->script = &stream;
        return;
    }
    reply(caller, 200, "application/json");
    put_heard(plan, form_value(&form, FORM_FORMAT), seconds);
    plan->tokens = plan->prose.tokens;
}
