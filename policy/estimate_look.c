/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "policy/estimate.h"
#include "policy/estimate_names.h"
#include "policy/estimate_words.h"

/*
 * What a body says that decides on its tokens. One walk over valid JSON with a small stack; strings
 * are looked at where they stand.
 *
 * Whatever is not surely something else is text, and a byte of text is a token at most. A picture
 * is one only where the dialects put pictures: in the arguments of a tool a client may write what
 * looks like one, and the model reads it as text.
 */

/*
 * The most tokens of one picture. OpenAI: 8 tiles in high detail are 85 + 8 * 170 for gpt-4o, but
 * 2,833 + 8 * 5,667 = 48,169 for gpt-4o-mini (platform.openai.com/docs/guides/images-vision).
 * Anthropic: about 1,600, 4,800 in high resolution (docs.claude.com, "Vision"). Gemini: 258 a tile,
 * 2,240 in ultra high resolution (ai.google.dev/gemini-api/docs/tokens, media-resolution). Qwen-VL:
 * 16,384.
 */
enum { PICTURE_TOKENS_MAX = 48200 };
/*
 * Sound: Gemini counts 32 tokens a second, OpenAI 10 (gpt-4o-audio, input), and no codec that they
 * take is understood below 256 bytes a second: 8 bytes of base64 to a token is more than any.
 */
enum { SOUND_BYTES_PER_TOKEN = 8, SOUND_TOKENS_LEAST = 1024 };
/*
 * Anthropic's loop of server tools pauses after 10 rounds (docs.claude.com, "Server tools");
 * each may read the whole context.
 */
enum { ROUNDS_MAX = 10, SEARCHES_MAX = ROUNDS_MAX };
/* Tools that the client runs and the provider describes: computer use takes 735 and its prompt
 * about as much again, the editor 700 (docs.claude.com, "Pricing", "Computer use"). */
enum { BUILT_IN_TOKENS_MAX = 2048 };

/* Anthropic: what has to be made in the US (docs.claude.com, "Pricing", "Data residency"). */
enum { REGION_PERCENT = 10 };

enum { SEALED_BYTES_PER_TOKEN = 6 };
/* A schema has an object in an object in an object; what only asks for JSON has fewer. */
enum { SCHEMA_OBJECTS_LEAST = 3 };
/* Of the messages, those by which a conversation is told from others. */
enum { FIRST_MESSAGES = 2 };

/* ---------------------------------------------------------------------------------- words */

/* ---------------------------------------------------------------------------------- marks */

enum { MARKED_WHOLE = 128, MARKED_ENDS = 32, MARKED_SAMPLES = 4, MARKED_SAMPLE = 16 };

static uint64_t mix(uint64_t hash, uint64_t with)
{
    hash = (hash ^ with) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t mix_bytes(uint64_t hash, const char *at, size_t len)
{
    uint64_t word = 0;
    for (; len >= sizeof(word); at += sizeof(word), len -= sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        hash = mix(hash, word);
    }
    word = 0;
    memcpy(&word, at, len);
    return mix(hash, word + len);
}

/* By which the same piece of a body is known again: two that differ and have the same are no harm,
 * and not all of a long one is looked at. */
static uint64_t mark_of(const char *at, const char *end)
{
    size_t length = (size_t)(end - at);
    if (length <= MARKED_WHOLE)
        return mix_bytes(length, at, length);
    uint64_t hash = mix_bytes(length, at, MARKED_ENDS);
    for (size_t i = 0; i < MARKED_SAMPLES; i++)
        hash = mix_bytes(hash, at + i * ((length - MARKED_SAMPLE) / MARKED_SAMPLES), MARKED_SAMPLE);
    return mix_bytes(hash, end - MARKED_ENDS, MARKED_ENDS);
}

/* ----------------------------------------------------------------------------------- walk */

enum area { AREA_NONE, AREA_TEXTS, AREA_TOOLS, AREA_SCHEMA };

/* An object or array that is open. */
struct level {
    bool is_array, opaque, quiet;
    unsigned char area, key; /* of the member that is read: enum name */
    unsigned char holder;    /* key that this object or array stands under */
    unsigned char type, mime;
    bool has_type, has_url, took, server_tool, searches, searches_off, thought, system;
    const char *begin;
    int64_t data_bytes;      /* of "data", "url", "image_url" */
    int64_t data_sixteenths; /* were counted as words until it is known */
    int64_t said;            /* sixteenths of the strings right inside */
    int64_t max_uses;        /* -1 = none given */
};

struct walk {
    struct estimate_facts *facts;
    struct level levels[SCAN_DEPTH_MAX + 1];
    size_t depth;
    const struct scan_outline *outline; /* or NULL */
    unsigned longs;                     /* of its long strings are behind */
    const char *top;                    /* where the value of the top-level member begins */
    const char *schema;                 /* where Gemini's schema of the answer begins */
    int64_t sixteenths, sealed, described, schemas; /* of what is said, and so on */
    int64_t schema_objects;
    int64_t parts;        /* messages that were marked */
    int64_t exact_left;   /* bytes that may still be counted exactly */
    int64_t closely_left; /* bytes that may still be counted as closely as short ones are */
    int64_t counted, counted_sixteenths; /* bytes, and what they came to; later ones weigh more */
    int64_t passed;                      /* bytes since some were counted */
    int64_t uses, max_calls; /* of tools that the provider runs; -1 = no bound is given */
    int64_t searches;        /* the most that they make */
    bool runs_tools, runs_unbounded;
};

enum {
    COUNTED_CLOSELY = 2048, /* bytes of a body: beyond them fewer samples do */
    COUNTED_WHOLE = 512,
    SAMPLES = 8,
    SAMPLE_BYTES = 64,
    BYTES_PER_SAMPLE = 4096, /* beyond those bytes */
};

static int64_t count_samples(struct walk *walk, const char *at, int64_t length, int64_t samples)
{
    int64_t sum = 0, step = length / samples;
    for (int64_t i = 0; i < samples; i++)
        sum += estimate_words(at + i * step, at + i * step + SAMPLE_BYTES);
    walk->counted = walk->counted / 2 + samples * SAMPLE_BYTES; /* the latest say most */
    walk->counted_sixteenths = walk->counted_sixteenths / 2 + sum;
    return (int64_t)((__int128)sum * length / (samples * SAMPLE_BYTES));
}

static int64_t count_closely(struct walk *walk, const char *at, int64_t length)
{
    if (length > COUNTED_WHOLE) {
        walk->closely_left -= SAMPLES * SAMPLE_BYTES;
        return count_samples(walk, at, length, SAMPLES);
    }
    int64_t sum = estimate_words(at, at + length);
    walk->closely_left -= length;
    walk->counted += length;
    walk->counted_sixteenths += sum;
    return sum;
}

/* Now and then a string is looked at; those between are taken to be like them. */
static int64_t count_rarely(struct walk *walk, const char *at, int64_t length)
{
    if (length >= BYTES_PER_SAMPLE) {
        int64_t samples = length / BYTES_PER_SAMPLE;
        return count_samples(walk, at, length, samples < SAMPLES ? samples : SAMPLES);
    }
    walk->passed += length;
    if (walk->passed >= BYTES_PER_SAMPLE && length >= SAMPLE_BYTES) {
        walk->passed = 0;
        count_samples(walk, at, length, 1);
    }
    int64_t sum = walk->counted_sixteenths * length / walk->counted;
    return sum < 16 * length ? sum : 16 * length; /* a token has a byte at least */
}

/* Of the inside of a JSON string, or of JSON as it stands. Of a long one samples are counted, and
 * the fewer the more there is: it is an estimate, and no prompt shall cost more for it the longer
 * it is. */
static int64_t sixteenths_of(struct walk *walk, const char *at, const char *end)
{
    return walk->closely_left > 0 ? count_closely(walk, at, end - at)
                                  : count_rarely(walk, at, end - at);
}

/* Of the inside of a string that is said. */
static int64_t sixteenths_said(struct walk *walk, struct text inside)
{
    if (walk->facts->tokenizer == TOKENIZER_NONE || (int64_t)inside.len > walk->exact_left)
        return sixteenths_of(walk, inside.at, inside.at + inside.len);
    walk->exact_left -= (int64_t)inside.len;
    return 16 * tokens_of_string(walk->facts->tokenizer, inside);
}

static void add_picture(struct walk *walk, int64_t bytes)
{
    walk->facts->pictures++;
    walk->facts->media_count++;
    walk->facts->media_bytes += bytes;
    walk->facts->media_tokens += PICTURE_TOKENS_MAX;
}

static void add_sound(struct walk *walk, int64_t bytes)
{
    walk->facts->sounds++;
    walk->facts->media_count++;
    walk->facts->media_bytes += bytes;
    walk->facts->media_tokens += bytes / SOUND_BYTES_PER_TOKEN + SOUND_TOKENS_LEAST;
}

/* Pages and frames are packed as tightly as anybody likes: all that fits into the context. */
static void add_file(struct walk *walk, int64_t bytes)
{
    walk->facts->media_count++;
    walk->facts->media_bytes += bytes;
    walk->facts->refers = true;
}

static void add_by_mime(struct walk *walk, struct level *level)
{
    if (level->mime == MIME_PICTURE)
        add_picture(walk, level->data_bytes);
    else if (level->mime == MIME_SOUND)
        add_sound(walk, level->data_bytes);
    else if (level->mime == MIME_TEXT)
        return; /* its bytes are its tokens at most */
    else
        add_file(walk, level->data_bytes);
    walk->sixteenths -= level->data_sixteenths;
}

/* What is kept elsewhere may be as long as fits (NAME_REFERS); what it is, is said here. */
static void note_elsewhere(struct walk *walk, const struct level *level)
{
    walk->facts->pictures += level->mime == MIME_PICTURE;
    walk->facts->sounds += level->mime == MIME_SOUND;
}

/* A value that is a data: URL or the address of something. */
static void see_url(struct level *level, struct text inside)
{
    if (text_starts_nocase(inside, TEXT("data:"))) {
        level->mime = (unsigned char)mime_of(text_from(inside, 5));
        level->data_bytes += (int64_t)inside.len;
    } else {
        level->has_url = true;
    }
}

/* Or the address of something, which has a colon near its beginning, or hides it. */
static bool is_base64(struct text inside)
{
    struct text begin = text_head(inside, 64);
    return text_starts_nocase(inside, TEXT("data:")) ||
           (text_find_byte(begin, ':') == SIZE_MAX && !memmem(begin.at, begin.len, "\\u", 2));
}

/* -------------------------------------------------------------------------- ends of objects */

static void end_tool(struct walk *walk, const struct level *level)
{
    walk->facts->has_tools = true;
    walk->facts->tools++;
    if (level->type == NAME_BUILT_IN_TOOL)
        walk->facts->tool_tokens += BUILT_IN_TOKENS_MAX;
    if (level->has_type && level->type != NAME_CLIENT_TOOL)
        walk->facts->kind |= ESTIMATE_TOOLS_DESCRIBED;
    if (!level->server_tool &&
        (!level->has_type || level->type == NAME_CLIENT_TOOL || level->type == NAME_BUILT_IN_TOOL))
        return;
    walk->runs_tools = true;
    if (level->searches)
        walk->searches += level->max_uses < 0 ? SEARCHES_MAX : level->max_uses;
    if (level->max_uses < 0)
        walk->runs_unbounded = true;
    else
        walk->uses += level->max_uses;
}

/* "inlineData", "fileData", "input_audio": a part's only member that matters. */
static void end_inline(struct walk *walk, struct level *level)
{
    bool is_sound = level->holder == NAME_SOUND;
    if (is_sound)
        level->mime = MIME_SOUND;
    if (is_sound && level->has_url)
        walk->facts->refers = true; /* it may be as long as fits */
    else if (level->data_bytes > 0)
        add_by_mime(walk, level);
    else
        note_elsewhere(walk, level);
}

/* What a part of a message was, now that all of it was seen; <above> is what it stands in. */
static void end_part(struct walk *walk, struct level *level, struct level *above)
{
    bool has_data = level->data_bytes > 0;
    bool in_source = has_data || level->has_url;
    if (level->took)
        return;
    if (level->holder == NAME_INLINE || level->holder == NAME_SOUND) {
        end_inline(walk, level);
        above->took = true;
    } else if (level->type == NAME_PICTURE) {
        add_picture(walk, level->data_bytes);
        walk->sixteenths -= level->data_sixteenths;
    } else if (level->type == NAME_FILE && in_source) {
        if (!has_data)
            level->mime = MIME_OTHER;
        add_by_mime(walk, level);
    } else if (level->holder == NAME_URL && !in_source) { /* "file_data" of Gemini's */
        note_elsewhere(walk, level);
    } else if (in_source && !above->is_array) { /* "source", "file", "image_url": of a part */
        above->data_bytes += level->data_bytes;
        above->data_sixteenths += level->data_sixteenths;
        above->has_url |= level->has_url;
        if (level->mime)
            above->mime = level->mime;
        if (level->holder == NAME_PICTURE && above->type != NAME_PICTURE)
            above->type = NAME_PICTURE, above->has_type = true;
    }
}

/* A message: what is said before everything belongs to what calls have in common. */
static void end_message(struct walk *walk, const struct level *level, const char *end)
{
    walk->facts->messages++;
    if (walk->levels[1].key == NAME_SYSTEM)
        return;
    uint64_t mark = walk->parts < FIRST_MESSAGES || level->system ? mark_of(level->begin, end) : 0;
    if (level->system)
        walk->facts->shape += mark;
    if (walk->parts < FIRST_MESSAGES)
        walk->facts->thread = mix(walk->facts->thread, mark);
    walk->parts++;
}

/* <end> is behind it. */
static void end_object(struct walk *walk, const char *end)
{
    struct level *level = &walk->levels[walk->depth];
    struct level *above = &walk->levels[walk->depth - 1];
    if (walk->depth == 3 && walk->levels[1].key == NAME_TOOLS)
        end_tool(walk, level);
    else if (!level->opaque && walk->depth > 1)
        end_part(walk, level, above);
    if (level->thought)
        walk->sixteenths -= level->said;
    if (level->holder == NAME_DECLARATIONS && level->area == AREA_TOOLS && !level->opaque)
        walk->facts->tools++;
    if (walk->depth == 3 && level->area == AREA_TEXTS)
        end_message(walk, level, end);
}

/* -------------------------------------------------------------------------------- members */

static enum area area_of(enum name key)
{
    switch ((int)key) {
    case NAME_INPUT:
    case NAME_TEXTS:
    case NAME_SYSTEM:
    case NAME_CONTENTS:
    case NAME_PROMPT:
        return AREA_TEXTS;
    case NAME_TOOLS:
        return AREA_TOOLS;
    case NAME_SCHEMA:
    case NAME_FORMAT:
        return AREA_SCHEMA;
    default:
        return AREA_NONE;
    }
}

/* A member's value begins; <first> is its first byte. */
static void see_key(struct walk *walk, struct text inside)
{
    struct level *level = &walk->levels[walk->depth];
    level->key = (unsigned char)key_name(inside);
    if (level->key == NAME_IMAGE)
        level->key =
            walk->depth == 3 && walk->levels[1].key == NAME_INPUT ? NAME_PICTURE : NAME_OTHER;
    if (level->key == NAME_FORMAT && walk->depth > 1)
        level->key = NAME_MIME;
    if (walk->depth != 1)
        return;
    level->area = (unsigned char)area_of((enum name)level->key);
    if (level->key == NAME_INPUT || level->key == NAME_PROMPT || level->key == NAME_CONTENTS)
        walk->facts->form = level->key;
}

/* A name in the arguments of a tool is said as well. */
static void see_said_key(struct walk *walk, struct text inside)
{
    const struct level *level = &walk->levels[walk->depth];
    if (level->opaque && level->area == AREA_TEXTS)
        walk->sixteenths += sixteenths_said(walk, inside);
}

/* What is said elsewhere: by name, by id, as an earlier answer. */
static bool is_elsewhere(const struct walk *walk, enum name key, char first)
{
    return key == NAME_REFERS || (key == NAME_PROMPT && first == '{') ||
           (key == NAME_AUDIO && first == '{' && walk->depth > 1);
}

static void see_server_tool(struct walk *walk, struct level *level, char first)
{
    bool is_structure = first == '{' || first == '[';
    if (walk->depth == 1)
        walk->facts->has_tools = true;
    if (is_structure && walk->depth == 1)
        walk->runs_tools = walk->runs_unbounded = true;
    else if (is_structure)
        level->server_tool = true;
    if (is_structure && level->key == NAME_SEARCH_TOOL)
        level->searches = true;
}

static void see_something(struct walk *walk, char first)
{
    struct level *level = &walk->levels[walk->depth];
    if (level->opaque || level->is_array || first == 'n')
        return;
    if (level->key == NAME_CALL && level->area == AREA_TEXTS)
        walk->facts->turns++;
    if (level->key == NAME_CITATIONS)
        walk->facts->kind |= ESTIMATE_CITES;
    if (level->key == NAME_THOUGHT && first == 't')
        level->thought = true;
    if (level->key == NAME_FORMAT && first == '{') /* a schema, however small */
        walk->schema_objects += SCHEMA_OBJECTS_LEAST;
    if (is_elsewhere(walk, (enum name)level->key, first))
        walk->facts->refers = true;
    if (level->key == NAME_SERVER_TOOL || level->key == NAME_SEARCH_TOOL)
        see_server_tool(walk, level, first);
}

static bool is_quiet(enum name key)
{
    return key == NAME_QUIET || key == NAME_TYPE || key == NAME_MIME || key == NAME_ROLE ||
           key == NAME_THINKING;
}

/* Where a type stands twice ("Type" as well), servers differ in which one they take: the one that
 * costs more. */
static int weight_of(enum name type)
{
    switch ((int)type) {
    case NAME_PICTURE:
    case NAME_SOUND:
    case NAME_FILE:
    case NAME_REFERENCE_TYPE:
        return 3;
    case NAME_OTHER: /* of a tool: the provider's own */
    case NAME_TURN:
        return 2;
    case NAME_BUILT_IN_TOOL:
        return 1;
    default:
        return 0;
    }
}

/* A setting that changes what providers put in: must a tool be used, or none; is there thinking. */
static void see_setting(struct walk *walk, struct text inside)
{
    const struct level *level = &walk->levels[walk->depth];
    enum name setting = (enum name)walk->levels[1].key;
    char room[NAME_ROOM];
    struct text said = name_plain(inside, room);
    if (setting == NAME_THINKING && level->key == NAME_TYPE && text_equal(said, TEXT("enabled")))
        walk->facts->kind |= ESTIMATE_THINKS;
    if (setting != NAME_CHOICE ||
        (walk->depth > 1 && level->key != NAME_TYPE && level->key != NAME_MODE))
        return;
    if (text_equal_nocase(said, TEXT("none")))
        walk->facts->kind |= ESTIMATE_TOOLS_OFF;
    else if (!text_equal_nocase(said, TEXT("auto")) && !text_equal_nocase(said, TEXT("validated")))
        walk->facts->kind |= ESTIMATE_TOOLS_FORCED;
}

static void see_type(struct walk *walk, struct text inside)
{
    struct level *level = &walk->levels[walk->depth];
    enum name type = type_name(inside);
    if (!level->has_type || weight_of(type) > weight_of((enum name)level->type))
        level->type = (unsigned char)type;
    level->has_type = true;
    if (level->area == AREA_TOOLS && type_searches(inside))
        level->searches = true;
    if (level->type == NAME_REFERENCE_TYPE)
        walk->facts->refers = true;
    if (walk->levels[1].key == NAME_MANAGEMENT && text_starts(inside, TEXT("compact_")))
        walk->facts->compacts = true;
    if (level->area == AREA_TEXTS && (type == NAME_TURN || type == NAME_CLIENT_TOOL))
        walk->facts->turns++;
    if (level->area == AREA_TEXTS && type == NAME_FILE)
        walk->facts->kind |= ESTIMATE_CITES;
}

static void see_role(struct walk *walk, struct text inside)
{
    struct level *level = &walk->levels[walk->depth];
    if (level->area != AREA_TEXTS || walk->depth != 3)
        return;
    if (text_equal(inside, TEXT("tool")))
        walk->facts->turns++;
    level->system = text_equal(inside, TEXT("system")) || text_equal(inside, TEXT("developer"));
}

/* What is said; what is sealed is counted aside. */
static int64_t see_said(struct walk *walk, struct text inside)
{
    struct level *level = &walk->levels[walk->depth];
    if (level->area != AREA_TEXTS || level->quiet)
        return 0;
    if (!level->is_array && level->key == NAME_SEALED)
        walk->sealed += (int64_t)inside.len * 16 / SEALED_BYTES_PER_TOKEN;
    if (!level->is_array && (level->key == NAME_SEALED || is_quiet((enum name)level->key)))
        return 0;
    int64_t said = sixteenths_said(walk, inside);
    walk->sixteenths += said;
    level->said += said;
    return said;
}

/* How it is to be done: no search, an hour in the cache, in a place that costs more. */
static void see_manner(struct walk *walk, struct level *level, struct text inside)
{
    if (level->key == NAME_KEEPS)
        walk->facts->keeps_hour |= !text_equal(inside, TEXT("5m"));
    else if (level->key == NAME_MODE && walk->levels[1].key == NAME_SEARCH_TOOL)
        level->searches_off = text_equal(inside, TEXT("off"));
    else if (level->key == NAME_REGION && walk->depth == 1)
        walk->facts->surcharge_percent = text_equal(inside, TEXT("us")) ? REGION_PERCENT : 0;
}

/* Ollama's pictures are members of a message, or stand beside the prompt. */
static bool is_listed_picture(const struct walk *walk)
{
    const struct level *level = &walk->levels[walk->depth];
    return level->is_array && level->key == NAME_IMAGES && !level->opaque &&
           (walk->depth == 2 || (walk->depth == 4 && walk->levels[1].key == NAME_TEXTS));
}

static void see_string(struct walk *walk, struct text inside)
{
    struct level *level = &walk->levels[walk->depth];
    int64_t said = see_said(walk, inside);
    if (walk->levels[1].key == NAME_CHOICE || walk->levels[1].key == NAME_THINKING)
        see_setting(walk, inside);
    if (is_listed_picture(walk)) {
        add_picture(walk, (int64_t)inside.len);
        walk->sixteenths -= said;
    }
    if (level->is_array || level->opaque)
        return;
    if (level->key == NAME_TYPE) {
        see_type(walk, inside);
    } else if (level->key == NAME_MODE || level->key == NAME_KEEPS || level->key == NAME_REGION) {
        see_manner(walk, level, inside);
    } else if (level->key == NAME_ROLE) {
        see_role(walk, inside);
    } else if (level->key == NAME_MIME && level->mime == MIME_NONE) {
        level->mime = (unsigned char)mime_of(inside);
    } else if (level->key == NAME_DATA) {
        level->data_bytes += (int64_t)inside.len;
        level->data_sixteenths += said;
        if (level->holder == NAME_SOUND && !is_base64(inside)) /* as Qwen's clients may */
            level->has_url = true;
    } else if (level->key == NAME_URL || level->key == NAME_PICTURE) {
        see_url(level, inside);
        level->data_sixteenths += said;
        if (level->key == NAME_PICTURE && level->type != NAME_PICTURE)
            level->type = NAME_PICTURE, level->has_type = true;
    } else if (level->key == NAME_SOUND && level->area == AREA_TEXTS) {
        walk->facts->refers = true; /* as an address, without an object around it */
    }
}

static void see_number(struct walk *walk, struct text raw)
{
    struct level *level = &walk->levels[walk->depth];
    uint64_t number;
    if (level->is_array || level->opaque || !text_number(raw, INT32_MAX, &number))
        return;
    if (level->key == NAME_MAX_USES && (int64_t)number > level->max_uses)
        level->max_uses = (int64_t)number;
    if (level->key == NAME_MAX_CALLS && walk->depth == 1 && (int64_t)number > walk->max_calls)
        walk->max_calls = (int64_t)number;
}

/* ------------------------------------------------------------------------------ the pass */

static void open_level(struct walk *walk, const char *begin)
{
    bool is_array = *begin == '[';
    const struct level *above = &walk->levels[walk->depth];
    assert(walk->depth < SCAN_DEPTH_MAX);
    enum name holder = walk->depth ? (enum name)above->key : NAME_OTHER;
    bool opaque =
        holder == NAME_OPAQUE || (holder == NAME_INPUT && walk->depth > 1 && !above->is_array);
    walk->depth++;
    walk->levels[walk->depth] = (struct level){
        .is_array = is_array,
        .begin = begin,
        .holder = (unsigned char)holder,
        .key = (unsigned char)(is_array ? holder : NAME_OTHER),
        .area = above->area,
        .opaque = above->opaque || opaque,
        .quiet = above->quiet || holder == NAME_QUIET || holder == NAME_THINKING,
        .max_uses = -1,
    };
    if (above->area == AREA_SCHEMA && !is_array)
        walk->schema_objects++;
}

/* A search tool beside the others: {} searches, an empty list does not, nor does what is "off". */
static void end_search_tool(struct walk *walk, const char *close)
{
    const struct level *level = &walk->levels[2];
    if (walk->depth != 2 || walk->levels[1].key != NAME_SEARCH_TOOL || level->searches_off)
        return;
    const char *at = level->begin + 1;
    while (at < close && (unsigned char)*at <= ' ')
        at++;
    if (!level->is_array || at < close)
        walk->searches += SEARCHES_MAX;
}

/* Is it the same in all calls of an application, more or less? */
static bool is_shape(const struct level *root)
{
    return root->area == AREA_TOOLS || root->area == AREA_SCHEMA || root->key == NAME_SYSTEM ||
           root->key == NAME_CHOICE || root->key == NAME_THINKING;
}

/* A schema in Gemini's settings. */
static void end_inner(struct walk *walk, const char *end)
{
    if (!walk->schema)
        return;
    walk->schemas += sixteenths_of(walk, walk->schema, end);
    walk->schema_objects += SCHEMA_OBJECTS_LEAST;
    walk->facts->shape += mark_of(walk->schema, end);
    walk->schema = NULL;
}

/* The words of tools and schemas: their JSON as it stands, which models get in other forms that are
 * about as long. */
static void end_top(struct walk *walk, const char *end)
{
    const struct level *root = &walk->levels[1];
    if (walk->depth == 2)
        end_inner(walk, end);
    if (walk->depth != 1 || !walk->top)
        return;
    if (root->area == AREA_TOOLS)
        walk->described += sixteenths_of(walk, walk->top, end);
    if (root->area == AREA_SCHEMA)
        walk->schemas += sixteenths_of(walk, walk->top, end);
    if (is_shape(root))
        walk->facts->shape += mix(mark_of(walk->top, end), root->key);
    else if (root->area == AREA_TEXTS && *walk->top == '"')
        walk->facts->thread = mix(walk->facts->thread, mark_of(walk->top, end));
    walk->top = NULL;
}

/* Where the string that begins at <at> is closed. All are asked about, in their order. */
static const char *string_end(struct walk *walk, const char *at, const char *end)
{
    const struct scan_outline *outline = walk->outline;
    if (outline && walk->longs < outline->count) {
        struct scan_long next = outline->longs[walk->longs];
        if (outline->document.at + next.at == at) {
            walk->longs++;
            return at + next.length;
        }
    }
    return member_string_end(at, end);
}

static const char *see_value(struct walk *walk, const char *at, const char *end)
{
    if (walk->depth == 1)
        walk->top = at;
    if (walk->depth == 2 && walk->levels[1].key == NAME_GENERATION &&
        walk->levels[2].key == NAME_ANSWER_SCHEMA && *at == '{')
        walk->schema = at;
    if (walk->depth)
        see_something(walk, *at);
    if (*at == '{' || *at == '[') {
        open_level(walk, at);
        return at + 1;
    }
    const char *begin = at;
    if (*at == '"') {
        at = string_end(walk, at, end);
        see_string(walk, (struct text){begin + 1, (size_t)(at - begin - 1)});
        at += at < end;
    } else {
        while (at < end && *at != ',' && *at != ']' && *at != '}' && (unsigned char)*at > ' ')
            at++;
        see_number(walk, (struct text){begin, (size_t)(at - begin)});
    }
    end_top(walk, at);
    return at;
}

static void take_walk(struct walk *walk, struct text body)
{
    const char *at = body.at, *end = body.at + body.len;
    bool wants_key = false;
    while (at < end) {
        struct level *level = &walk->levels[walk->depth];
        if (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n' || *at == ':') {
            at++;
        } else if (*at == ',') {
            wants_key = !level->is_array;
            at++;
        } else if (*at == '}' || *at == ']') {
            if (*at == '}')
                end_object(walk, at + 1);
            end_search_tool(walk, at);
            walk->depth--;
            at++;
            end_top(walk, at);
            wants_key = false;
            if (!walk->depth)
                return;
        } else if (wants_key) {
            const char *close = string_end(walk, at, end);
            struct text name = {at + 1, (size_t)(close - at - 1)};
            see_key(walk, name);
            see_said_key(walk, name);
            at = close + (close < end);
            wants_key = false;
        } else {
            at = see_value(walk, at, end);
            wants_key = at[-1] == '{' && !walk->levels[walk->depth].is_array && at > body.at;
        }
    }
}

static int64_t rounds_of(const struct walk *walk)
{
    int64_t rounds = ROUNDS_MAX;
    if (!walk->runs_tools)
        return 0;
    if (!walk->runs_unbounded && walk->uses + 1 < rounds)
        rounds = walk->uses + 1;
    if (walk->max_calls >= 0 && walk->max_calls + 1 < rounds)
        rounds = walk->max_calls + 1;
    return rounds;
}

static void begin_facts(struct estimate_facts *facts)
{
    facts->compacts = false;
    facts->media_count = facts->media_bytes = facts->media_tokens = facts->rounds = 0;
    facts->pictures = facts->sounds = 0;
    facts->tool_tokens = facts->messages = facts->turns = facts->tools = 0;
    facts->form = facts->kind = 0;
    facts->shape = facts->thread = 0;
    facts->searches = facts->surcharge_percent = 0;
    facts->has_tools = facts->refers = facts->keeps_hour = false;
}

static int64_t whole_tokens(int64_t sixteenths)
{
    return sixteenths > 0 ? (sixteenths + 8) / 16 : 0;
}

void estimate_look(struct text body, const struct scan_outline *outline,
                   struct estimate_facts *facts)
{
    __attribute__((uninitialized)) struct walk walk; /* of its levels only those that are open */
    names_prepare();
    begin_facts(facts);
    walk.facts = facts;
    /* Of another document, as it was before it was changed, it would say what is not so. */
    walk.outline = outline && outline->document.at == body.at && outline->document.len == body.len
                       ? outline
                       : NULL;
    walk.longs = 0;
    walk.depth = 0;
    walk.levels[0] = (struct level){.max_uses = -1};
    walk.levels[1].key = NAME_OTHER;
    walk.top = walk.schema = NULL;
    walk.sixteenths = walk.sealed = walk.described = walk.schemas = 0;
    walk.schema_objects = walk.parts = walk.uses = walk.searches = 0;
    walk.exact_left = TOKENIZER_EXACT_BYTES;
    walk.closely_left = COUNTED_CLOSELY;
    walk.counted = walk.counted_sixteenths = walk.passed = 0;
    walk.max_calls = -1;
    walk.runs_tools = walk.runs_unbounded = false;
    take_walk(&walk, body);
    facts->rounds = rounds_of(&walk);
    facts->searches =
        walk.max_calls >= 0 && walk.max_calls < walk.searches ? walk.max_calls : walk.searches;
    /* below 0 when taken back twice: a picture among thoughts */
    facts->about_tokens = 1 + whole_tokens(walk.sixteenths);
    facts->about_sealed = whole_tokens(walk.sealed);
    facts->about_described = whole_tokens(walk.described);
    bool has_schema = walk.schema_objects >= SCHEMA_OBJECTS_LEAST;
    facts->about_schema = has_schema ? whole_tokens(walk.schemas) : 0;
    facts->kind |= has_schema ? ESTIMATE_SCHEMA : 0;
    facts->thread = mix(facts->thread, facts->shape);
}
