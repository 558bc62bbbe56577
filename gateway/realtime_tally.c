/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/realtime_tally.h"

#include "gateway/base/member.h"

/* OpenAI counts a token for 100 ms of the user's sound and for 50 ms of its own. In base64 a second
 * of it is 64,000 characters of 24,000 samples of 16 bits, and 10,667 of 8,000 of 8 bits (G.711).
 */
enum {
    PCM_CHARS_IN = 6400,
    PCM_CHARS_OUT = 3200,
    G711_CHARS_IN = 1066,
    G711_CHARS_OUT = 533,
    UNKNOWN_CONTEXT_TOKENS = 128 * 1024,
    INSTRUCTIONS_TOKENS = 256, /* a provider's own */
    BYTES_PER_TOKEN = 4,       /* likely ones */
    CANCEL_BYTES = 256,        /* there is not more to say when a response is to stop */
};

/* What no sum of figures that anybody sends may overflow. */
static const int64_t FIGURE_MAX = INT64_MAX / 1024;

static int64_t sum(int64_t a, int64_t b)
{
    return a > FIGURE_MAX - b ? FIGURE_MAX : a + b;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t greatest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t times(int64_t a, unsigned count)
{
    return count && a > FIGURE_MAX / count ? FIGURE_MAX : a * count;
}

static int64_t parts(int64_t whole, int64_t part)
{
    return (whole + part - 1) / part;
}

void realtime_tally_init(struct realtime_tally *tally, int64_t context_most)
{
    *tally = (struct realtime_tally){.context_most =
                                         context_most ? context_most : UNKNOWN_CONTEXT_TOKENS};
}

/* The type of a message is mostly what it begins with; the last member of that name counts. */
static struct text type_of(struct text message)
{
    return member_string(member_find(message, TEXT("type")));
}

/* How often does it say "type", in whatever case? */
static unsigned count_types(struct text message)
{
    static const struct text name = {"\"type\"", 6};
    unsigned count = 0;
    for (size_t at; (at = text_find_byte(message, '"')) != SIZE_MAX;) {
        message = text_from(message, at);
        count += text_starts_nocase(message, name);
        message = text_from(message, 1);
    }
    return count;
}

/* Is it of that type and nothing else? Where few tokens are counted for it there is no doubt
 * allowed: a reader that takes another one of equal names, or does not mind their case, or
 * unescapes them, must see the same. */
static bool is_surely(struct text message, struct text type)
{
    return text_equal(type_of(message), type) && count_types(message) == 1 &&
           text_find(message, TEXT("\\u")) == SIZE_MAX;
}

static bool has(struct text message, struct text words)
{
    return text_find(message, words) != SIZE_MAX;
}

/* Letters and dots that are escaped may spell anything. */
static bool is_spelled(struct text message)
{
    return has(message, TEXT("\\u006")) || has(message, TEXT("\\u007")) ||
           has(message, TEXT("\\u002e")) || has(message, TEXT("\\u002E"));
}

/* May it ask for a response that reads an `input` of its own, not the conversation? */
static bool has_own_input(struct text message)
{
    return is_spelled(message) ||
           (has(message, TEXT("response.create")) && has(message, TEXT("\"input\"")));
}

/* Has the object these members and no others, each once? <count> is 32 at most. */
static bool has_only(struct text object, const char *const *names, size_t count)
{
    struct text name, value;
    uint32_t seen = 0;
    while (member_next(&object, &name, &value)) {
        size_t i = 0;
        while (i < count && !text_equal(name, text_of(names[i])))
            i++;
        if (i == count || seen >> i & 1)
            return false;
        seen |= UINT32_C(1) << i;
    }
    return true;
}

/* Does it ask for a response that reads as any other does? What it may say is how it is answered.
 */
static bool is_plain_create(struct text message)
{
    static const char *const members[] = {"type", "event_id", "response"};
    static const char *const plain[] = {"modalities", "output_modalities", "max_output_tokens",
                                        "temperature", "metadata"};
    struct text response = member_find(message, TEXT("response"));
    return is_surely(message, TEXT("response.create")) && has_only(message, members, 3) &&
           (!response.len || has_only(response, plain, 5));
}

/* May it change what responses read by more than its own bytes: instructions, tools, a template,
 * how much is left out? */
static bool is_odd(struct text message)
{
    struct text type = type_of(message);
    if (has(message, TEXT("response.create")))
        return !is_plain_create(message);
    return is_spelled(message) || has(message, TEXT("session.update")) ||
           !(text_starts(type, TEXT("conversation.item.")) ||
             text_starts(type, TEXT("input_audio_buffer.")) ||
             text_starts(type, TEXT("output_audio_buffer.")) ||
             text_equal(type, TEXT("response.cancel")));
}

/* At the beginning it says what its session is like: no response has read anything else. */
static void note_odd(struct realtime_tally *tally, struct text message)
{
    bool begins = !tally->has_said && text_equal(type_of(message), TEXT("session.update")) &&
                  !is_spelled(message) && !has(message, TEXT("response.create"));
    tally->has_said = tally->has_said || !begins;
    tally->odd = tally->odd || (!begins && is_odd(message));
}

static void add_said(struct realtime_tally *tally, int64_t bytes)
{
    tally->said_bytes = sum(tally->said_bytes, bytes);
}

static void add_own_input(struct realtime_tally *tally)
{
    tally->own_input += tally->own_input < UINT32_MAX;
}

void realtime_tally_said(struct realtime_tally *tally, struct text message)
{
    int64_t bytes = (int64_t)message.len;
    if (bytes <= CANCEL_BYTES && is_surely(message, TEXT("response.cancel")))
        return;
    if (is_surely(message, TEXT("input_audio_buffer.append"))) {
        tally->said_chars = sum(tally->said_chars, bytes);
        tally->has_said = true;
        return;
    }
    note_odd(tally, message);
    add_said(tally, bytes);
    if (has_own_input(message))
        add_own_input(tally);
}

void realtime_tally_unread(struct realtime_tally *tally, int64_t bytes, bool more)
{
    add_said(tally, bytes);
    tally->has_said = tally->odd = true;
    if (!more)
        add_own_input(tally);
}

/* Where the provider says how sound is written: that which is least for a token, of all it says. */
static void note_format(struct realtime_tally *tally, struct text message)
{
    bool is_pcm = text_find(message, TEXT("pcm16")) != SIZE_MAX ||
                  text_find(message, TEXT("audio/pcm\"")) != SIZE_MAX;
    bool is_g711 = text_find(message, TEXT("g711_")) != SIZE_MAX ||
                   text_find(message, TEXT("audio/pcmu")) != SIZE_MAX ||
                   text_find(message, TEXT("audio/pcma")) != SIZE_MAX;
    if (is_pcm || is_g711)
        tally->is_pcm = !is_g711;
}

static void begin(struct realtime_tally *tally)
{
    tally->open++;
    tally->shrunk = tally->shrunk || tally->fresh;
    tally->fresh = false;
    tally->begun_bytes = sum(tally->begun_bytes, tally->said_bytes);
    tally->begun_chars = sum(tally->begun_chars, tally->said_chars);
    tally->said_bytes = tally->said_chars = 0;
}

static void write_more(struct realtime_tally *tally, struct text type, struct text message)
{
    int64_t length = (int64_t)member_string(member_find(message, TEXT("delta"))).len;
    if (tally->open == 0)
        begin(tally);
    if (text_equal(type, TEXT("response.audio.delta")) ||
        text_equal(type, TEXT("response.output_audio.delta"))) {
        tally->sound_chars = sum(tally->sound_chars, length);
    } else {
        tally->words = sum(tally->words, length);
        tally->events++;
    }
}

enum tally_says realtime_tally_heard(struct realtime_tally *tally, struct text message)
{
    struct text type = type_of(message);
    if (text_starts(type, TEXT("session.")))
        note_format(tally, message);
    if (text_equal(type, TEXT("conversation.item.deleted")))
        tally->shrunk = true;
    if (!text_starts(type, TEXT("response.")))
        return TALLY_NOTHING;
    if (text_equal(type, TEXT("response.done")))
        return TALLY_ENDED;
    if (text_equal(type, TEXT("response.created"))) {
        note_format(tally, message);
        begin(tally);
        tally->fresh = tally->shrunk && tally->open == 1;
        tally->shrunk = tally->shrunk && !tally->fresh;
        return TALLY_MORE;
    }
    if (!text_ends(type, TEXT(".delta")))
        return TALLY_NOTHING;
    write_more(tally, type, message);
    return TALLY_MORE;
}

/* What it wrote is said by <usage> from now on. Where others are open, it is not known which has
 * written what: as much is taken off as it says, not more. */
static void take_off(struct realtime_tally *tally, const struct usage *usage)
{
    int64_t words = usage->output_tokens - usage->audio_output_tokens;
    int64_t chars =
        usage->audio_output_tokens > FIGURE_MAX / PCM_CHARS_OUT
            ? FIGURE_MAX
            : usage->audio_output_tokens * (tally->is_pcm ? PCM_CHARS_OUT : G711_CHARS_OUT);
    tally->words -= least(tally->words, words > 0 ? words : 0);
    tally->events -= least(tally->events, words > 0 ? words : 0);
    tally->sound_chars -= least(tally->sound_chars, chars);
}

/* Responses aside from the conversation leave it as it was. */
static bool is_aside(struct text message)
{
    struct text response = member_find(message, TEXT("response"));
    return text_equal(member_find(response, TEXT("conversation_id")), TEXT("null"));
}

/* An item was deleted before the only response began that has ended with <usage>: did it read all
 * that is left, as the next one will? */
static bool has_read_the_rest(const struct realtime_tally *tally, struct text message,
                              const struct usage *usage)
{
    struct text status =
        member_string(member_find(member_find(message, TEXT("response")), TEXT("status")));
    return tally->fresh && tally->open == 0 && !tally->odd && tally->own_input == 0 &&
           !tally->unsure && usage->input_tokens > 0 && text_equal(status, TEXT("completed"));
}

/* The conversation is taken for what it was at most: a response that read something else, or less
 * of it, says nothing of what the next one reads. Nor has it read what was said before it. It falls
 * only when an item was deleted, and by what is certain. */
void realtime_tally_ended(struct realtime_tally *tally, struct text message,
                          const struct usage *usage)
{
    bool knows = usage && !is_aside(message);
    if (tally->open == 0)
        begin(tally);
    tally->open--;
    if (knows && has_read_the_rest(tally, message, usage))
        tally->context = tally->context_sound = tally->read = 0;
    else
        tally->shrunk = tally->shrunk || tally->fresh;
    tally->fresh = false;
    if (!knows || tally->own_input > 0 || usage->input_tokens < tally->read)
        tally->unsure = true;
    tally->own_input -= tally->own_input > 0;
    if (knows) {
        tally->read = greatest(tally->read, least(usage->input_tokens, tally->context_most));
        int64_t all = sum(usage->input_tokens, usage->output_tokens);
        int64_t sound = sum(usage->audio_input_tokens, usage->audio_output_tokens);
        tally->context = greatest(tally->context, least(all, tally->context_most));
        tally->context_sound = greatest(tally->context_sound, least(sound, tally->context));
    }
    if (tally->open > 0) {
        if (usage)
            take_off(tally, usage);
        return;
    }
    if (tally->unsure) { /* what it read is still there to be read */
        add_said(tally, tally->begun_bytes);
        tally->said_chars = sum(tally->said_chars, tally->begun_chars);
    }
    tally->unsure = false;
    tally->begun_bytes = tally->begun_chars = tally->words = tally->events = tally->sound_chars = 0;
}

/* What <count> responses read: each with <bytes> of text and <chars> of sound beyond the context.
 */
static void add_read(const struct realtime_tally *tally, unsigned count, int64_t bytes,
                     int64_t chars, int64_t per_token, struct usage *usage)
{
    int64_t heard =
        sum(tally->context_sound, parts(chars, tally->is_pcm ? PCM_CHARS_IN : G711_CHARS_IN));
    int64_t sound = least(heard, tally->context_most);
    int64_t known = tally->context || per_token > 1 ? tally->context : INSTRUCTIONS_TOKENS;
    int64_t all = sum(sum(known, parts(bytes, per_token)), heard - tally->context_sound);
    usage->input_tokens = sum(usage->input_tokens, times(least(all, tally->context_most), count));
    usage->audio_input_tokens = sum(usage->audio_input_tokens, times(sound, count));
}

static int64_t sound_written(const struct realtime_tally *tally)
{
    return parts(tally->sound_chars, tally->is_pcm ? PCM_CHARS_OUT : G711_CHARS_OUT);
}

void realtime_tally_most(const struct realtime_tally *tally, bool next, struct usage *usage)
{
    *usage = (struct usage){0};
    add_read(tally, tally->open, tally->begun_bytes, tally->begun_chars, 1, usage);
    if (next)
        add_read(tally, 1, sum(tally->begun_bytes, tally->said_bytes),
                 sum(tally->begun_chars, tally->said_chars), 1, usage);
    usage->audio_output_tokens = sound_written(tally);
    usage->output_tokens = sum(usage->audio_output_tokens, tally->words);
}

void realtime_tally_likely(const struct realtime_tally *tally, struct usage *usage)
{
    *usage = (struct usage){0};
    add_read(tally, tally->open, tally->begun_bytes, tally->begun_chars, BYTES_PER_TOKEN, usage);
    int64_t words = parts(tally->words, BYTES_PER_TOKEN);
    usage->audio_output_tokens = sound_written(tally);
    usage->output_tokens =
        sum(usage->audio_output_tokens, words > tally->events ? words : tally->events);
}
