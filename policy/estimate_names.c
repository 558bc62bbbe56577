/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/estimate_names.h"

#include <pthread.h>

#include "gateway/base/utf8.h"

struct named {
    struct text text;
    enum name name;
};

static const struct named keys[] = {
    {TEXT("type"), NAME_TYPE},
    {TEXT("media_type"), NAME_MIME},
    {TEXT("mimeType"), NAME_MIME},
    {TEXT("mime_type"), NAME_MIME},
    {TEXT("format"), NAME_FORMAT},
    {TEXT("data"), NAME_DATA},
    {TEXT("file_data"), NAME_URL},
    {TEXT("document_url"), NAME_URL},
    {TEXT("url"), NAME_URL},
    {TEXT("image_url"), NAME_PICTURE},
    {TEXT("image"), NAME_IMAGE},
    {TEXT("images"), NAME_IMAGES},
    {TEXT("input_audio"), NAME_SOUND},
    {TEXT("audio_url"), NAME_SOUND},
    {TEXT("inlineData"), NAME_INLINE},
    {TEXT("inline_data"), NAME_INLINE},
    {TEXT("fileData"), NAME_INLINE},
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
    {TEXT("system"), NAME_SYSTEM},
    {TEXT("instructions"), NAME_SYSTEM},
    {TEXT("systemInstruction"), NAME_SYSTEM},
    {TEXT("system_instruction"), NAME_SYSTEM},
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
    {TEXT("role"), NAME_ROLE},
    {TEXT("id"), NAME_QUIET},
    {TEXT("call_id"), NAME_QUIET},
    {TEXT("tool_call_id"), NAME_QUIET},
    {TEXT("tool_use_id"), NAME_QUIET},
    {TEXT("status"), NAME_QUIET},
    {TEXT("signature"), NAME_QUIET},
    {TEXT("thinking"), NAME_THINKING}, /* of earlier turns: mostly left out by the provider */
    {TEXT("reasoning"), NAME_QUIET},
    {TEXT("reasoning_content"), NAME_QUIET},
    {TEXT("reasoning_details"), NAME_QUIET},
    {TEXT("summary"), NAME_QUIET},
    {TEXT("thoughtSignature"), NAME_SEALED},
    {TEXT("thought_signature"), NAME_SEALED},
    {TEXT("encrypted_content"), NAME_SEALED},
    {TEXT("mcp_servers"), NAME_SERVER_TOOL},
    {TEXT("web_search_options"), NAME_SEARCH_TOOL},
    {TEXT("search_parameters"), NAME_SEARCH_TOOL},
    {TEXT("plugins"), NAME_SEARCH_TOOL},
    {TEXT("googleSearch"), NAME_SEARCH_TOOL},
    {TEXT("google_search"), NAME_SEARCH_TOOL},
    {TEXT("googleSearchRetrieval"), NAME_SEARCH_TOOL},
    {TEXT("google_search_retrieval"), NAME_SEARCH_TOOL},
    {TEXT("enterpriseWebSearch"), NAME_SEARCH_TOOL},
    {TEXT("urlContext"), NAME_SERVER_TOOL},
    {TEXT("url_context"), NAME_SERVER_TOOL},
    {TEXT("codeExecution"), NAME_SERVER_TOOL},
    {TEXT("code_execution"), NAME_SERVER_TOOL},
    {TEXT("googleMaps"), NAME_SEARCH_TOOL},
    {TEXT("google_maps"), NAME_SEARCH_TOOL},
    {TEXT("fileSearch"), NAME_SERVER_TOOL},
    {TEXT("file_search"), NAME_SERVER_TOOL},
    {TEXT("retrieval"), NAME_SERVER_TOOL},
    {TEXT("thought"), NAME_THOUGHT},
    {TEXT("tool_choice"), NAME_CHOICE},
    {TEXT("toolConfig"), NAME_CHOICE},
    {TEXT("tool_config"), NAME_CHOICE},
    {TEXT("mode"), NAME_MODE},
    {TEXT("citations"), NAME_CITATIONS},
    {TEXT("functionCall"), NAME_CALL},
    {TEXT("function_call"), NAME_CALL},
    {TEXT("functionResponse"), NAME_CALL},
    {TEXT("function_response"), NAME_CALL},
    {TEXT("functionDeclarations"), NAME_DECLARATIONS},
    {TEXT("function_declarations"), NAME_DECLARATIONS},
    {TEXT("generationConfig"), NAME_GENERATION},
    {TEXT("generation_config"), NAME_GENERATION},
    {TEXT("responseSchema"), NAME_ANSWER_SCHEMA},
    {TEXT("response_schema"), NAME_ANSWER_SCHEMA},
    {TEXT("responseJsonSchema"), NAME_ANSWER_SCHEMA},
    {TEXT("inference_geo"), NAME_REGION},
    {TEXT("context_management"), NAME_MANAGEMENT},
    {TEXT("ttl"), NAME_KEEPS},
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
    {TEXT("audio_url"), NAME_SOUND},
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
    {TEXT("tool_use"), NAME_TURN},
    {TEXT("tool_result"), NAME_TURN},
    {TEXT("function_call"), NAME_TURN},
    {TEXT("function_call_output"), NAME_TURN},
    {TEXT("custom_tool_call"), NAME_TURN},
    {TEXT("custom_tool_call_output"), NAME_TURN},
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
        if (text_same_name(list[i - 1].text, text) || text_equal_nocase(list[i - 1].text, text))
            return list[i - 1].name;
    return is_wide(text) ? find_wide(list, text) : NAME_OTHER;
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    return (digit | 0x20) - 'a' + 10;
}

struct text name_plain(struct text inside, char room[NAME_ROOM])
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

/* By whoever comes first. */
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
    fill_places(&key_places, keys, sizeof(keys) / sizeof(*keys));
    fill_places(&type_places, types, sizeof(types) / sizeof(*types));
}

void names_prepare(void)
{
    pthread_once(&tables_once, fill_tables);
}

enum name key_name(struct text inside)
{
    char room[NAME_ROOM];
    /* What is found as it stands has no escapes; what is not may be written with some. */
    enum name found = find_name(&key_places, keys, inside);
    if (found != NAME_OTHER)
        return found;
    struct text plain = name_plain(inside, room);
    return plain.at == inside.at ? NAME_OTHER : find_name(&key_places, keys, plain);
}

enum name type_name(struct text inside)
{
    char room[NAME_ROOM];
    struct text text = name_plain(inside, room);
    for (size_t i = 0; i < sizeof(built_in_tools) / sizeof(*built_in_tools); i++)
        if (text_starts(text, built_in_tools[i]))
            return NAME_BUILT_IN_TOOL;
    return find_name(&type_places, types, text);
}

bool type_searches(struct text inside)
{
    static const struct text word = {"search", 6};
    char room[NAME_ROOM];
    struct text text = name_plain(inside, room);
    /* Among tools, or in what was uploaded: not in the web. */
    if (text_starts(text, TEXT("tool_search")) || text_starts(text, TEXT("file_search")))
        return false;
    for (size_t i = 0; i + word.len <= text.len && i < NAME_MAX; i++)
        if (text_starts_nocase(text_from(text, i), word))
            return true;
    return false;
}

enum mime mime_of(struct text inside)
{
    char room[NAME_ROOM];
    struct text text = name_plain(text_head(inside, NAME_MAX), room);
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
