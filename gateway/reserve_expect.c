/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a call has likely used whose tokens nobody told: a stream that was left, an answer without a
 * usage, a try that was given up.
 */
#include "gateway/relay_inner.h"
#include "gateway/reserve.h"
#include "gateway/reserve_inside.h"
#include "gateway/tiers.h"
#include "policy/estimate.h"
#include "providers/provider.h"

enum {
    USUAL_BYTES = 4, /* of a token */
    USUAL_FORM_BYTES = 1024,
    USUAL_ANSWER_TOKENS = 256,
    USUAL_SOUND_BYTES = 800, /* of a token of speech, which is 50 ms: at 128 kbit/s */
};

/* Where nothing was learnt, four bytes are a token. A form is sound or pictures: ten tokens a
 * second at 128 kbit/s, a thousand a megabyte. */
static int64_t usual_tokens(int64_t bytes, bool form)
{
    int64_t of_one = form ? USUAL_FORM_BYTES : USUAL_BYTES;
    return (bytes + of_one - 1) / of_one;
}

/* Speech, which no answer counts but in a stream: by how much came, which only its form can be told
 * from; of what was cut as long as its words are, of which a second has 14 bytes. */
static int64_t speech_tokens(const struct exchange *x, bool cut)
{
    static const struct {
        struct text type;
        int64_t bytes;
    } forms[] = {{{"audio/wav", 9}, 2400}, {{"audio/pcm", 9}, 2400},  {{"audio/flac", 10}, 1200},
                 {{"audio/aac", 9}, 400},  {{"audio/opus", 10}, 200}, {{"audio/ogg", 9}, 200}};
    int64_t of_one = USUAL_SOUND_BYTES, came = (int64_t)(x->bytes_out + x->whole.len);
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if (text_starts_nocase(x->answer_type, forms[i].type))
            of_one = forms[i].bytes;
    int64_t heard = (came + of_one - 1) / of_one, said = x->body_bytes * 3 / 2;
    return cut && said > heard ? said : heard;
}

/* Does the target know how long its answer may be? */
static bool knows_bound(const struct exchange *x)
{
    return x->call.max_tokens > 0 || x->lowered_tokens > 0 || reserve_model_output(x) > 0;
}

/* Those of responses and of Anthropic's messages are seen as they are made; others, and those of an
 * answer that crosses, if at all, by what stands in the last event. */
static bool shows_searches(const struct exchange *x)
{
    if (x->relay != RELAY_EVENTS || !x->target || x->target_words)
        return false;
    const struct dialect *words = relay_dialect(x); /* none where a server's own pass */
    return x->call.operation == OPERATION_RESPONSE ||
           (words && text_equal(words->name, TEXT("anthropic")));
}

static void expect_searches(const struct exchange *x, bool cut, struct usage *usage)
{
    int64_t searches = x->answer.searches;
    if (cut && !searches && !usage->searches && !shows_searches(x))
        searches = tiers_searches(x);
    usage->searches = searches > usage->searches ? searches : usage->searches;
}

void reserve_expect(const struct exchange *x, bool cut, struct usage *usage)
{
    struct usage bound;
    reserve_bound(x, &bound);
    struct target_call call = reserve_call(x);
    call.input_tokens = usual_tokens(call.body_bytes, x->upload);
    call.output_tokens = call.stream ? answer_estimate(&x->answer) : USUAL_ANSWER_TOKENS;
    call = reserve_expected(x, call);
    if (!call.stream && !cut)
        call.output_tokens = usual_tokens((int64_t)(x->bytes_out + x->whole.len), false);
    if (!call.stream && x->call.operation == OPERATION_SPEECH)
        call.output_tokens = speech_tokens(x, cut);
    bool too_long = call.output_tokens > bound.output_tokens;
    if (call.stream)
        too_long = too_long && knows_bound(x) && answer_surely(&x->answer) <= bound.output_tokens;
    int64_t output = too_long ? bound.output_tokens : call.output_tokens;
    usage->audio_output_tokens = x->answer.sound_tokens;
    int64_t pictures = x->answer.pictures * (int64_t)ESTIMATE_PICTURE_TOKENS;
    if (usage->image_output_tokens < pictures)
        usage->image_output_tokens = pictures;
    output += x->answer.sound_tokens + pictures;
    usage->output_tokens = output > usage->output_tokens ? output : usage->output_tokens;
    expect_searches(x, cut, usage);
    if (usage->input_tokens == 0) /* some say this much at their beginning */
        usage->input_tokens = x->estimated ? x->estimate.input_mean : call.input_tokens;
}
