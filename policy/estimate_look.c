/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <pthread.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "gateway/base/utf8.h"
#include "policy/estimate.h"
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
enum { ROUNDS_MAX = 10 };
/* Tools that the client runs and the provider describes: computer use takes 735 and its prompt
 * about as much again, the editor 700 (docs.claude.com, "Pricing", "Computer use"). */
enum { BUILT_IN_TOKENS_MAX = 2048 };

enum { MESSAGE_TOKENS = 4, SEALED_BYTES_PER_TOKEN = 6, NAME_MAX = 40, NAME_ROOM = NAME_MAX + 4 };

/* ---------------------------------------------------------------------------------- words */

enum { COUNTED_WHOLE = 512, SAMPLES = 8, SAMPLE_BYTES = 64 };

/* Of the inside of a JSON string, or of JSON as it stands. Of a long one samples are counted: it is
 * an estimate, and no prompt shall cost more for it the longer it is. */
static int64_t sixteenths_of(const char *at, const char *end)
{
    int64_t length = end - at;
    if (length <= COUNTED_WHOLE)
        return estimate_words(at, end);
    int64_t sum = 0, step = length / SAMPLES;
    for (int i = 0; i < SAMPLES; i++)
        sum += estimate_words(at + i * step, at + i * step + SAMPLE_BYTES);
    return (int64_t)((__int128)sum * length / (SAMPLES * SAMPLE_BYTES));
}

/* ---------------------------------------------------------------------------------- names */

/* Names that mean something, in keys and in values of "type". */
enum name {
    NAME_OTHER,
    NAME_TYPE,
    NAME_MIME,   /* media_type, mimeType, mime_type, format */
    NAME_DATA,   /* what may be base64 */
    NAME_URL,    /* of a picture or a file; may be a data: URL */
    NAME_OPAQUE, /* the client's own structures below */
    NAME_INPUT,  /* top: what is said; below: arguments of a tool */
    NAME_TEXTS,  /* top: what is said */
    NAME_CONTENTS,
    NAME_TOOLS,
    NAME_SCHEMA, /* top: what the answer shall be like */
    NAME_PROMPT,
    NAME_REFERS,
    NAME_AUDIO,
    NAME_QUIET,   /* not said to the model as such */
    NAME_SEALED,  /* thoughts of earlier turns that are read again: about 6 bytes a token */
    NAME_THOUGHT, /* true: what is in this object was thought in an earlier turn */
    NAME_SERVER_TOOL,
    NAME_MAX_USES,
    NAME_MAX_CALLS,
    NAME_PICTURE, /* key or type */
    NAME_SOUND,
    NAME_FILE,
    NAME_INLINE, /* inlineData */
    NAME_REFERENCE_TYPE,
    NAME_CLIENT_TOOL,
    NAME_BUILT_IN_TOOL,
};

struct named {
    struct text text;
    enum name name;
};

static const struct named keys[] = {
    {TEXT("type"), NAME_TYPE},
    {TEXT("media_type"), NAME_MIME},
    {TEXT("mimeType"), NAME_MIME},
    {TEXT("mime_type"), NAME_MIME},
    {TEXT("format"), NAME_MIME},
    {TEXT("data"), NAME_DATA},
    {TEXT("file_data"), NAME_URL},
    {TEXT("url"), NAME_URL},
    {TEXT("image_url"), NAME_PICTURE},
    {TEXT("input_audio"), NAME_SOUND},
    {TEXT("inlineData"), NAME_INLINE},
    {TEXT("inline_data"), NAME_INLINE},
    {TEXT("args"), NAME_OPAQUE},
    {TEXT("arguments"), NAME_OPAQUE},
    {TEXT("parameters"), NAME_OPAQUE},
    {TEXT("parametersJsonSchema"), NAME_OPAQUE},
    {TEXT("input_schema"), NAME_OPAQUE},
    {TEXT("schema"), NAME_OPAQUE},
    {TEXT("response"), NAME_OPAQUE},
    {TEXT("metadata"), NAME_OPAQUE},
    {TEXT("labels"), NAME_OPAQUE},
    {TEXT("input"), NAME_INPUT},
    {TEXT("messages"), NAME_TEXTS},
    {TEXT("contents"), NAME_CONTENTS},
    {TEXT("system"), NAME_TEXTS},
    {TEXT("instructions"), NAME_TEXTS},
    {TEXT("systemInstruction"), NAME_TEXTS},
    {TEXT("system_instruction"), NAME_TEXTS},
    {TEXT("content"), NAME_TEXTS},
    {TEXT("query"), NAME_TEXTS},
    {TEXT("documents"), NAME_TEXTS},
    {TEXT("requests"), NAME_TEXTS},
    {TEXT("suffix"), NAME_TEXTS},
    {TEXT("prompt"), NAME_PROMPT},
    {TEXT("tools"), NAME_TOOLS},
    {TEXT("functions"), NAME_TOOLS},
    {TEXT("response_format"), NAME_SCHEMA},
    {TEXT("output_config"), NAME_SCHEMA},
    {TEXT("output_format"), NAME_SCHEMA},
    {TEXT("text"), NAME_SCHEMA},
    {TEXT("previous_response_id"), NAME_REFERS},
    {TEXT("conversation"), NAME_REFERS},
    {TEXT("cachedContent"), NAME_REFERS},
    {TEXT("cached_content"), NAME_REFERS},
    {TEXT("file_id"), NAME_REFERS},
    {TEXT("file_url"), NAME_REFERS},
    {TEXT("fileUri"), NAME_REFERS},
    {TEXT("file_uri"), NAME_REFERS},
    {TEXT("vector_store_ids"), NAME_REFERS},
    {TEXT("video_url"), NAME_REFERS},
    {TEXT("container"), NAME_REFERS},
    {TEXT("audio"), NAME_AUDIO},
    {TEXT("role"), NAME_QUIET},
    {TEXT("id"), NAME_QUIET},
    {TEXT("call_id"), NAME_QUIET},
    {TEXT("tool_call_id"), NAME_QUIET},
    {TEXT("tool_use_id"), NAME_QUIET},
    {TEXT("status"), NAME_QUIET},
    {TEXT("signature"), NAME_QUIET},
    {TEXT("thinking"), NAME_QUIET}, /* of earlier turns: mostly left out by the provider */
    {TEXT("reasoning"), NAME_QUIET},
    {TEXT("reasoning_content"), NAME_QUIET},
    {TEXT("reasoning_details"), NAME_QUIET},
    {TEXT("summary"), NAME_QUIET},
    {TEXT("thoughtSignature"), NAME_SEALED},
    {TEXT("thought_signature"), NAME_SEALED},
    {TEXT("encrypted_content"), NAME_SEALED},
    {TEXT("mcp_servers"), NAME_SERVER_TOOL},
    {TEXT("web_search_options"), NAME_SERVER_TOOL},
    {TEXT("search_parameters"), NAME_SERVER_TOOL},
    {TEXT("plugins"), NAME_SERVER_TOOL},
    {TEXT("googleSearch"), NAME_SERVER_TOOL},
    {TEXT("google_search"), NAME_SERVER_TOOL},
    {TEXT("googleSearchRetrieval"), NAME_SERVER_TOOL},
    {TEXT("google_search_retrieval"), NAME_SERVER_TOOL},
    {TEXT("enterpriseWebSearch"), NAME_SERVER_TOOL},
    {TEXT("urlContext"), NAME_SERVER_TOOL},
    {TEXT("url_context"), NAME_SERVER_TOOL},
    {TEXT("codeExecution"), NAME_SERVER_TOOL},
    {TEXT("code_execution"), NAME_SERVER_TOOL},
    {TEXT("googleMaps"), NAME_SERVER_TOOL},
    {TEXT("google_maps"), NAME_SERVER_TOOL},
    {TEXT("fileSearch"), NAME_SERVER_TOOL},
    {TEXT("file_search"), NAME_SERVER_TOOL},
    {TEXT("retrieval"), NAME_SERVER_TOOL},
    {TEXT("thought"), NAME_THOUGHT},
    {TEXT("max_uses"), NAME_MAX_USES},
    {TEXT("max_tool_calls"), NAME_MAX_CALLS},
    {{NULL, 0}, NAME_OTHER},
};

static const struct named types[] = {
    {TEXT("image"), NAME_PICTURE},
    {TEXT("image_url"), NAME_PICTURE},
    {TEXT("input_image"), NAME_PICTURE},
    {TEXT("computer_screenshot"), NAME_PICTURE},
    {TEXT("input_audio"), NAME_SOUND},
    {TEXT("file"), NAME_FILE},
    {TEXT("input_file"), NAME_FILE},
    {TEXT("document"), NAME_FILE},
    {TEXT("document_url"), NAME_FILE},
    {TEXT("video_url"), NAME_REFERENCE_TYPE},
    {TEXT("item_reference"), NAME_REFERENCE_TYPE},
    {TEXT("container_upload"), NAME_REFERENCE_TYPE},
    {TEXT("url"), NAME_URL},
    {TEXT("text"), NAME_TEXTS},
    {TEXT("content"), NAME_TEXTS},
    {TEXT("function"), NAME_CLIENT_TOOL},
    {TEXT("custom"), NAME_CLIENT_TOOL},
    {TEXT("local_shell"), NAME_BUILT_IN_TOOL},
    {TEXT("apply_patch"), NAME_BUILT_IN_TOOL},
    {{NULL, 0}, NAME_OTHER},
};

/* Tools of Anthropic and OpenAI that the client runs carry dates or variants behind these. */
static const struct text built_in_tools[] = {TEXT("bash_"), TEXT("text_editor_"), TEXT("computer"),
                                             TEXT("memory_")};

/* Where a list's names are, by length and ends: chains of places, counted from 1. */
enum { PLACES = 256, NAMES_MAX = 128 };
struct places {
    unsigned char first[PLACES], next[NAMES_MAX + 1];
};
static struct places key_places, type_places;

_Static_assert(sizeof(keys) / sizeof(*keys) <= NAMES_MAX, "");
_Static_assert(sizeof(types) / sizeof(*types) <= NAMES_MAX, "");

static inline size_t place_of(struct text text)
{
    unsigned first = (unsigned char)text.at[0] | 0x20U;
    unsigned last = (unsigned char)text.at[text.len - 1] | 0x20U;
    return (text.len * 37 + first * 5 + last) % PLACES;
}

static void fill_places(struct places *places, const struct named *list, size_t count)
{
    for (size_t i = count - 1; i > 0; i--) { /* the last one ends the list */
        size_t place = place_of(list[i - 1].text);
        places->next[i] = places->first[place];
        places->first[place] = (unsigned char)i;
    }
}

static bool is_wide(struct text text)
{
    unsigned char all = 0;
    for (size_t i = 0; i < text.len && i < NAME_MAX; i++)
        all |= (unsigned char)text.at[i];
    return all >= 0x80;
}

/* Where the long s and the Kelvin sign are s and k. */
static enum name find_wide(const struct named *list, struct text text)
{
    for (; list->text.at; list++)
        if (text_is_name(text, list->text))
            return list->name;
    return NAME_OTHER;
}

/* In any case: servers written in Go read names like that. */
static enum name find_name(const struct places *places, const struct named *list, struct text text)
{
    if (text.len == 0)
        return NAME_OTHER;
    for (size_t i = places->first[place_of(text)]; i > 0; i = places->next[i])
        if (text_equal(list[i - 1].text, text) || text_equal_nocase(list[i - 1].text, text))
            return list[i - 1].name;
    return is_wide(text) ? find_wide(list, text) : NAME_OTHER;
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    return (digit | 0x20) - 'a' + 10;
}

/* A short string without its escapes; who hides a name in escapes means it all the same. What is
 * too long is no name. */
static struct text plain(struct text inside, char room[NAME_ROOM])
{
    if (!inside.len || !memchr(inside.at, '\\', inside.len))
        return inside;
    size_t len = 0;
    for (size_t i = 0; i < inside.len && len < NAME_MAX; i++) {
        if (inside.at[i] != '\\') {
            room[len++] = inside.at[i];
        } else if (i + 5 < inside.len && inside.at[i + 1] == 'u') {
            int code = 0;
            for (size_t k = i + 2; k < i + 6; k++)
                code = code * 16 + hex_digit(inside.at[k]);
            len += utf8_write(room + len, (unsigned)code);
            i += 5;
        } else if (i + 1 < inside.len) {
            room[len++] = inside.at[++i];
        }
    }
    return (struct text){room, len};
}

static enum name key_name(struct text inside)
{
    char room[NAME_ROOM];
    return find_name(&key_places, keys, plain(inside, room));
}

static enum name type_name(struct text inside)
{
    char room[NAME_ROOM];
    struct text text = plain(inside, room);
    for (size_t i = 0; i < sizeof(built_in_tools) / sizeof(*built_in_tools); i++)
        if (text_starts(text, built_in_tools[i]))
            return NAME_BUILT_IN_TOOL;
    return find_name(&type_places, types, text);
}

/* By whoever comes first. */
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
    fill_places(&key_places, keys, sizeof(keys) / sizeof(*keys));
    fill_places(&type_places, types, sizeof(types) / sizeof(*types));
}

/* ----------------------------------------------------------------------------------- walk */

enum area { AREA_NONE, AREA_TEXTS, AREA_TOOLS, AREA_SCHEMA };
enum mime { MIME_NONE, MIME_PICTURE, MIME_SOUND, MIME_TEXT, MIME_OTHER };

/* An object or array that is open. */
struct level {
    bool is_array, opaque, quiet;
    unsigned char area, key; /* of the member that is read: enum name */
    unsigned char holder;    /* key that this object or array stands under */
    unsigned char type, mime;
    bool has_type, has_url, took, server_tool, thought;
    int64_t data_bytes;      /* of "data", "url", "image_url" */
    int64_t data_sixteenths; /* were counted as words until it is known */
    int64_t said;            /* sixteenths of the strings right inside */
    int64_t max_uses;        /* -1 = none given */
};

struct walk {
    struct estimate_facts *facts;
    struct level levels[SCAN_DEPTH_MAX + 1];
    size_t depth;
    const char *top;                         /* where the value of the top-level member begins */
    int64_t sixteenths, described, messages; /* of what is said; of tools and schemas */
    int64_t uses, max_calls; /* of tools that the provider runs; -1 = no bound is given */
    bool runs_tools, runs_unbounded;
};

static enum mime mime_of(struct text inside)
{
    char room[NAME_ROOM];
    struct text text = plain(text_head(inside, NAME_MAX), room);
    static const struct text sounds[] = {TEXT("audio/"), TEXT("wav"),   TEXT("mp3"), TEXT("flac"),
                                         TEXT("opus"),   TEXT("pcm16"), TEXT("aac"), TEXT("ogg"),
                                         TEXT("m4a"),    TEXT("webm")};
    if (text_starts_nocase(text, TEXT("image/")))
        return MIME_PICTURE;
    if (text_starts_nocase(text, TEXT("text/")))
        return MIME_TEXT;
    for (size_t i = 0; i < sizeof(sounds) / sizeof(*sounds); i++)
        if (text_starts_nocase(text, sounds[i]))
            return MIME_SOUND;
    return MIME_OTHER;
}

static void add_picture(struct walk *walk, int64_t bytes)
{
    walk->facts->media_count++;
    walk->facts->media_bytes += bytes;
    walk->facts->media_tokens += PICTURE_TOKENS_MAX;
}

static void add_sound(struct walk *walk, int64_t bytes)
{
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

/* -------------------------------------------------------------------------- ends of objects */

static void end_tool(struct walk *walk, const struct level *level)
{
    walk->facts->has_tools = true;
    if (level->type == NAME_BUILT_IN_TOOL)
        walk->facts->tool_tokens += BUILT_IN_TOKENS_MAX;
    if (!level->server_tool &&
        (!level->has_type || level->type == NAME_CLIENT_TOOL || level->type == NAME_BUILT_IN_TOOL))
        return;
    walk->runs_tools = true;
    if (level->max_uses < 0)
        walk->runs_unbounded = true;
    else
        walk->uses += level->max_uses;
}

/* What a part of a message was, now that all of it was seen; <above> is what it stands in. */
static void end_part(struct walk *walk, struct level *level, struct level *above)
{
    bool has_data = level->data_bytes > 0;
    bool in_source = has_data || level->has_url;
    if (level->took)
        return;
    if (level->holder == NAME_INLINE || level->holder == NAME_SOUND) {
        if (level->holder == NAME_SOUND && level->mime != MIME_SOUND)
            level->mime = MIME_SOUND;
        if (has_data)
            add_by_mime(walk, level);
        above->took = true;
    } else if (level->type == NAME_PICTURE) {
        add_picture(walk, level->data_bytes);
        walk->sixteenths -= level->data_sixteenths;
    } else if (level->type == NAME_FILE && in_source) {
        if (!has_data)
            level->mime = MIME_OTHER;
        add_by_mime(walk, level);
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

static void end_object(struct walk *walk)
{
    struct level *level = &walk->levels[walk->depth];
    struct level *above = &walk->levels[walk->depth - 1];
    if (walk->depth == 3 && walk->levels[1].key == NAME_TOOLS)
        end_tool(walk, level);
    else if (!level->opaque && walk->depth > 1)
        end_part(walk, level, above);
    if (level->thought)
        walk->sixteenths -= level->said;
    if (walk->depth == 3 && level->area == AREA_TEXTS)
        walk->messages++;
}

/* -------------------------------------------------------------------------------- members */

static enum area area_of(enum name key)
{
    switch ((int)key) {
    case NAME_INPUT:
    case NAME_TEXTS:
    case NAME_CONTENTS:
    case NAME_PROMPT:
        return AREA_TEXTS;
    case NAME_TOOLS:
        return AREA_TOOLS;
    case NAME_SCHEMA:
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
    if (walk->depth != 1)
        return;
    level->area = (unsigned char)area_of((enum name)level->key);
    if (level->key == NAME_INPUT || level->key == NAME_PROMPT || level->key == NAME_CONTENTS)
        walk->facts->form = level->key;
}

static void see_something(struct walk *walk, char first)
{
    struct level *level = &walk->levels[walk->depth];
    bool is_structure = first == '{' || first == '[';
    if (level->opaque || level->is_array || first == 'n')
        return;
    if (level->key == NAME_REFERS)
        walk->facts->refers = true;
    if (level->key == NAME_PROMPT && first == '{')
        walk->facts->refers = true;
    if (level->key == NAME_AUDIO && first == '{' && walk->depth > 1)
        walk->facts->refers = true; /* an earlier answer, by its id */
    if (level->key == NAME_THOUGHT && first == 't')
        level->thought = true;
    if (level->key == NAME_SERVER_TOOL && is_structure) {
        if (walk->depth == 1)
            walk->runs_tools = walk->runs_unbounded = true;
        else
            level->server_tool = true;
    }
    if (walk->depth == 1 && level->key == NAME_SERVER_TOOL)
        walk->facts->has_tools = true;
}

static bool is_quiet(enum name key)
{
    return key == NAME_QUIET || key == NAME_TYPE || key == NAME_MIME;
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
        return 2;
    case NAME_BUILT_IN_TOOL:
        return 1;
    default:
        return 0;
    }
}

static void see_string(struct walk *walk, struct text inside)
{
    struct level *level = &walk->levels[walk->depth];
    int64_t said = 0;
    if (level->area == AREA_TEXTS && !level->quiet &&
        (level->is_array || !is_quiet((enum name)level->key)))
        said = !level->is_array && level->key == NAME_SEALED
                   ? (int64_t)inside.len * 16 / SEALED_BYTES_PER_TOKEN
                   : sixteenths_of(inside.at, inside.at + inside.len);
    walk->sixteenths += said;
    level->said += said;
    if (level->is_array || level->opaque)
        return;
    if (level->key == NAME_TYPE) {
        enum name type = type_name(inside);
        if (!level->has_type || weight_of(type) > weight_of((enum name)level->type))
            level->type = (unsigned char)type;
        level->has_type = true;
        if (level->type == NAME_REFERENCE_TYPE)
            walk->facts->refers = true;
    } else if (level->key == NAME_MIME && level->mime == MIME_NONE) {
        level->mime = (unsigned char)mime_of(inside);
    } else if (level->key == NAME_DATA) {
        level->data_bytes += (int64_t)inside.len;
        level->data_sixteenths += said;
    } else if (level->key == NAME_URL || level->key == NAME_PICTURE) {
        see_url(level, inside);
        level->data_sixteenths += said;
        if (level->key == NAME_PICTURE && level->type != NAME_PICTURE)
            level->type = NAME_PICTURE, level->has_type = true;
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

static void open_level(struct walk *walk, bool is_array)
{
    const struct level *above = &walk->levels[walk->depth];
    assert(walk->depth < SCAN_DEPTH_MAX);
    enum name holder = walk->depth ? (enum name)above->key : NAME_OTHER;
    bool opaque =
        holder == NAME_OPAQUE || (holder == NAME_INPUT && walk->depth > 1 && !above->is_array);
    walk->depth++;
    walk->levels[walk->depth] = (struct level){
        .is_array = is_array,
        .holder = (unsigned char)holder,
        .key = (unsigned char)(is_array ? holder : NAME_OTHER),
        .area = above->area,
        .opaque = above->opaque || opaque,
        .quiet = above->quiet || holder == NAME_QUIET,
        .max_uses = -1,
    };
}

/* The words of tools and schemas: their JSON as it stands, which models get in other forms that are
 * about as long. */
static void end_top(struct walk *walk, const char *end)
{
    const struct level *root = &walk->levels[1];
    if (walk->depth != 1 || !walk->top || (root->area != AREA_TOOLS && root->area != AREA_SCHEMA))
        return;
    walk->described += sixteenths_of(walk->top, end);
    walk->top = NULL;
}

static const char *see_value(struct walk *walk, const char *at, const char *end)
{
    if (walk->depth == 1)
        walk->top = at;
    if (walk->depth)
        see_something(walk, *at);
    if (*at == '{' || *at == '[') {
        open_level(walk, *at == '[');
        return at + 1;
    }
    const char *begin = at;
    if (*at == '"') {
        at = member_string_end(at, end);
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
                end_object(walk);
            walk->depth--;
            at++;
            end_top(walk, at);
            wants_key = false;
            if (!walk->depth)
                return;
        } else if (wants_key) {
            const char *close = member_string_end(at, end);
            see_key(walk, (struct text){at + 1, (size_t)(close - at - 1)});
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

void estimate_look(struct text body, struct estimate_facts *facts)
{
    __attribute__((uninitialized)) struct walk walk; /* of its levels only those that are open */
    pthread_once(&tables_once, fill_tables);
    walk.facts = facts;
    walk.depth = 0;
    walk.levels[0] = (struct level){.max_uses = -1};
    walk.top = NULL;
    walk.sixteenths = walk.described = walk.messages = walk.uses = 0;
    walk.max_calls = -1;
    walk.runs_tools = walk.runs_unbounded = false;
    facts->media_count = facts->media_bytes = facts->media_tokens = facts->rounds = 0;
    facts->tool_tokens = facts->form = 0;
    facts->has_tools = facts->refers = false;
    take_walk(&walk, body);
    facts->rounds = rounds_of(&walk);
    if (walk.sixteenths < 0) /* taken back twice: a picture among thoughts */
        walk.sixteenths = 0;
    facts->about_tokens = 1 + walk.messages * MESSAGE_TOKENS + (walk.sixteenths + 8) / 16;
    facts->about_described = (walk.described + 8) / 16;
}
