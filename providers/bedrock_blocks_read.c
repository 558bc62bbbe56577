/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bedrock.h: the blocks of messages are read. Each is an object with one member, which names its
 * kind.
 */
#include "gateway/base/member.h"
#include "gateway/base/utf8.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"

enum { CITATIONS_MAX = 1024 };

static bool is_object(struct text json)
{
    return json.len && json.at[0] == '{';
}

static bool is_array(struct text json)
{
    return json.len && json.at[0] == '[';
}

/* The inside of the string member <name>. */
static struct text string_in(struct text object, struct text name)
{
    return is_object(object) ? member_string(member_find(object, name)) : (struct text){NULL, 0};
}

/* --------------------------------------------------------------------------------- base64 */

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

/* What base64 says, in the arena; at == NULL when it is none, or no text of UTF-8. */
static struct text decoded(struct arena *arena, struct text inner)
{
    struct text coded = inner_plain(arena, inner);
    while (coded.len && coded.at[coded.len - 1] == '=')
        coded.len--;
    char *room = arena_new(arena, coded.len + 1);
    size_t len = 0;
    unsigned bits = 0, count = 0;
    for (size_t i = 0; i < coded.len; i++) {
        int digit = digit_of(coded.at[i]);
        if (digit < 0)
            return (struct text){NULL, 0};
        bits = (bits << 6 | (unsigned)digit) & 0xFFFF;
        count += 6;
        if (count >= 8) {
            count -= 8;
            room[len++] = (char)(bits >> count);
        }
    }
    for (size_t at = 0; at < len;) {
        size_t bytes = utf8_length(room + at, len - at);
        if (bytes == 0 || room[at] == '\0')
            return (struct text){NULL, 0};
        at += bytes;
    }
    return (struct text){room, len};
}

/* -------------------------------------------------------------------------------- formats */

/* clang-format off */
static const struct {
    struct text format, media_type;
} documents[] = {
    {{"pdf", 3},  {"application/pdf", 15}},
    {{"csv", 3},  {"text/csv", 8}},
    {{"doc", 3},  {"application/msword", 18}},
    {{"docx", 4}, {"application/vnd.openxmlformats-officedocument.wordprocessingml.document", 71}},
    {{"xls", 3},  {"application/vnd.ms-excel", 24}},
    {{"xlsx", 4}, {"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", 65}},
    {{"html", 4}, {"text/html", 9}},
    {{"txt", 3},  {"text/plain", 10}},
    {{"md", 2},   {"text/markdown", 13}},
};
static const struct text images[] = {{"png", 3}, {"jpeg", 4}, {"gif", 3}, {"webp", 4}};
static const struct text videos[] = {{"mkv", 3}, {"mov", 3}, {"mp4", 3}, {"webm", 4}, {"flv", 3},
                                     {"mpeg", 4}, {"mpg", 3}, {"wmv", 3}};
/* clang-format on */

enum { DOCUMENTS = sizeof(documents) / sizeof(documents[0]) };

static struct text among(struct text media_type, struct text kind, const struct text *list,
                         size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (text_starts(media_type, kind) && text_equal(text_from(media_type, kind.len), list[i]))
            return list[i];
    return (struct text){NULL, 0};
}

struct text bedrock_format_of(enum part_kind kind, struct text media_type)
{
    if (!media_type.at)
        return (struct text){NULL, 0};
    if (kind == PART_IMAGE)
        return text_equal(media_type, TEXT("image/jpg"))
                   ? TEXT("jpeg")
                   : among(media_type, TEXT("image/"), images, sizeof(images) / sizeof(images[0]));
    if (kind == PART_VIDEO)
        return text_equal(media_type, TEXT("video/3gpp")) ? TEXT("three_gp")
               : text_equal(media_type, TEXT("video/quicktime"))
                   ? TEXT("mov")
                   : among(media_type, TEXT("video/"), videos, sizeof(videos) / sizeof(videos[0]));
    for (size_t i = 0; i < DOCUMENTS; i++)
        if (text_equal(media_type, documents[i].media_type))
            return documents[i].format;
    return text_starts(media_type, TEXT("text/")) ? TEXT("txt") : (struct text){NULL, 0};
}

struct text bedrock_media_type_of(struct arena *arena, enum part_kind kind, struct text format)
{
    const char *class = kind == PART_IMAGE ? "image" : kind == PART_VIDEO ? "video" : "audio";
    if (kind == PART_VIDEO && text_equal(format, TEXT("three_gp")))
        return TEXT("video/3gpp");
    if (kind != PART_FILE)
        return arena_format(arena, "%s/%.*s", class, TEXT_ARGS(format));
    for (size_t i = 0; i < DOCUMENTS; i++)
        if (text_equal(format, documents[i].format))
            return documents[i].media_type;
    return TEXT("application/octet-stream");
}

/* ------------------------------------------------------------------------------- citations */

struct citation bedrock_read_citation(struct text json)
{
    struct text none, first = {NULL, 0}, quotes = member_find(json, TEXT("sourceContent"));
    struct text web = member_find(json, TEXT("location"));
    web = is_object(web) ? member_find(web, TEXT("web")) : (struct text){NULL, 0};
    if (is_array(quotes))
        member_next(&quotes, &none, &first);
    return (struct citation){.url = string_in(web, TEXT("url")),
                             .title = string_in(json, TEXT("title")),
                             .quote = string_in(first, TEXT("text")),
                             .start = -1,
                             .end = -1,
                             .raw = json,
                             .from = &translator_bedrock};
}

/* The texts of a list of blocks, one behind the other; at == NULL when there are others. */
static struct text joined(struct arena *arena, struct text list, struct text between)
{
    struct text none, json, text = {NULL, 0};
    struct buffer all;
    bool good = is_array(list);
    buffer_init(&all, SIZE_MAX / 2);
    while (good && member_next(&list, &none, &json)) {
        struct text one = string_in(json, TEXT("text"));
        good = one.at != NULL;
        if (good && buffer_length(&all))
            put_text(&all, between);
        if (good)
            put_text(&all, one);
    }
    if (good)
        text = arena_copy(arena, buffer_text(&all));
    buffer_done(&all);
    return text;
}

static const char *read_cited(struct arena *arena, struct text json, struct part *part)
{
    struct text none, one, list = member_find(json, TEXT("citations"));
    size_t room = 0;
    bool cited = is_array(list);
    part->kind = PART_TEXT;
    part->text = joined(arena, member_find(json, TEXT("content")), TEXT(""));
    while (cited && part->citation_count < CITATIONS_MAX && member_next(&list, &none, &one)) {
        if (!is_object(one))
            continue;
        part->citations = arena_grow(arena, part->citations, part->citation_count, &room,
                                     sizeof(struct citation));
        part->citations[part->citation_count++] = bedrock_read_citation(one);
    }
    if (!part->text.at)
        part->text = TEXT("");
    return NULL;
}

/* ---------------------------------------------------------------------------- the blocks */

static const char *read_call(struct arena *arena, struct text json, struct part *part)
{
    struct text type = string_in(json, TEXT("type"));
    (void)arena;
    if (type.len && !inner_is(type, "tool_use")) /* of a tool that the provider runs */
        return NULL;
    part->kind = PART_CALL;
    part->id = string_in(json, TEXT("toolUseId"));
    part->name = string_in(json, TEXT("name"));
    part->arguments = member_find(json, TEXT("input"));
    if (!is_object(part->arguments))
        part->arguments = TEXT("{}");
    if (part->id.at == NULL)
        return "has no toolUseId";
    return part->name.len ? NULL : "has no name";
}

static const char *read_list(struct arena *arena, struct text list, bool nested,
                             struct part **parts, size_t *count, size_t *at);

static const char *read_result(struct arena *arena, struct text json, struct part *part)
{
    struct text type = string_in(json, TEXT("type"));
    size_t at = 0;
    if (type.len && !inner_is(type, "tool_result"))
        return NULL;
    part->kind = PART_RESULT;
    part->id = string_in(json, TEXT("toolUseId"));
    part->is_error = inner_is(string_in(json, TEXT("status")), "error");
    if (part->id.at == NULL)
        return "has no toolUseId";
    struct text content = member_find(json, TEXT("content"));
    if (!is_array(content))
        return json_is_absent(content) ? NULL : "has a content that is no list";
    return read_list(arena, content, true, &part->parts, &part->part_count, &at);
}

/* Images, videos, sound: {"format","source":{"bytes"}}. What lies at AWS is for AWS only. */
static const char *read_media(struct arena *arena, struct text json, struct part *part,
                              enum part_kind kind)
{
    struct text bytes = string_in(member_find(json, TEXT("source")), TEXT("bytes"));
    struct text format = string_in(json, TEXT("format"));
    if (!is_object(member_find(json, TEXT("source"))))
        return "has no source";
    if (!bytes.at || !format.at)
        return NULL;
    part->kind = kind;
    part->data = bytes;
    part->media_type = bedrock_media_type_of(arena, kind, format);
    return NULL;
}

static const char *read_image(struct arena *arena, struct text json, struct part *part)
{
    return read_media(arena, json, part, PART_IMAGE);
}

static const char *read_video(struct arena *arena, struct text json, struct part *part)
{
    return read_media(arena, json, part, PART_VIDEO);
}

static const char *read_audio(struct arena *arena, struct text json, struct part *part)
{
    return read_media(arena, json, part, PART_AUDIO);
}

static bool is_text_type(struct text media_type)
{
    return text_starts(media_type, TEXT("text/"));
}

/* What others cannot say of a document or a result of a search. */
static void note_more(struct arena *arena, struct text json, struct part *part)
{
    struct text citations = member_find(json, TEXT("citations"));
    if (json_says_something(member_find(json, TEXT("context"))))
        part->more = more_add(arena, part->more, "", TEXT("context"));
    if (said_of(member_find(citations, TEXT("enabled"))) == SAID_YES)
        part->more = more_add(arena, part->more, "", TEXT("citations"));
}

static const char *read_document(struct arena *arena, struct text json, struct part *part)
{
    struct text source = member_find(json, TEXT("source"));
    struct text format = string_in(json, TEXT("format"));
    struct text bytes = string_in(source, TEXT("bytes"));
    struct text text = string_in(source, TEXT("text"));
    if (!is_object(source))
        return "has no source";
    part->media_type = bedrock_media_type_of(arena, PART_FILE, format.at ? format : TEXT("txt"));
    if (bytes.at && is_text_type(part->media_type)) {
        struct text plain = decoded(arena, bytes);
        text = plain.at ? inner_of(arena, plain) : text;
    } else if (!text.at && !bytes.at) {
        text = joined(arena, member_find(source, TEXT("content")), TEXT("\\n\\n"));
    }
    if (!text.at && !bytes.at)
        return NULL; /* it lies at AWS */
    part->kind = PART_FILE;
    part->name = string_in(json, TEXT("name"));
    part->text = text;
    part->data = text.at ? (struct text){NULL, 0} : bytes;
    bool more = member_find(json, TEXT("context")).at || member_find(json, TEXT("citations")).at;
    if (!more && bytes.at)
        part->raw = (struct text){NULL, 0};
    note_more(arena, json, part);
    return NULL;
}

static const char *read_search_result(struct arena *arena, struct text json, struct part *part)
{
    part->text = joined(arena, member_find(json, TEXT("content")), TEXT("\\n\\n"));
    if (!part->text.at)
        return "has no content";
    part->kind = PART_FILE;
    part->name = string_in(json, TEXT("title"));
    part->media_type = TEXT("text/plain");
    note_more(arena, json, part);
    if (string_in(json, TEXT("source")).len)
        part->more = more_add(arena, part->more, "", TEXT("source"));
    return NULL;
}

bool bedrock_read_redacted(struct arena *arena, struct text inner, struct part *part)
{
    struct anthropic_proof proof = {.of = PROOF_ENCRYPTED};
    struct text plain = decoded(arena, inner);
    if (!plain.at)
        return false;
    part->encrypted = inner_of(arena, plain);
    if (anthropic_read_proof(part->encrypted, &proof)) {
        part->from = proof.from;
        part->id = proof.id;
        part->encrypted = proof.proof;
    }
    return true;
}

static const char *read_reasoning(struct arena *arena, struct text json, struct part *part)
{
    struct text said = member_find(json, TEXT("reasoningText"));
    struct text redacted = string_in(json, TEXT("redactedContent"));
    if (!is_object(said) && !redacted.at)
        return "has no reasoningText";
    if (!is_object(said) && !bedrock_read_redacted(arena, redacted, part))
        return NULL;
    part->kind = PART_REASONING;
    part->raw = (struct text){NULL, 0};
    part->text = string_in(said, TEXT("text"));
    part->signature = string_in(said, TEXT("signature"));
    return NULL;
}

static const char *read_guarded(struct arena *arena, struct text json, struct part *part)
{
    struct text text = string_in(member_find(json, TEXT("text")), TEXT("text"));
    (void)arena;
    if (!text.at)
        return NULL;
    part->kind = PART_TEXT;
    part->text = text;
    return NULL;
}

/* The block's raw text is kept by all whose reader does not clear it. */
struct block_kind {
    struct text name;
    const char *(*read)(struct arena *arena, struct text json, struct part *part);
    bool keeps; /* there is more to it than our words say */
};

/* clang-format off */
static const struct block_kind block_kinds[] = {
    {{"toolUse", 7},           read_call,          false},
    {{"toolResult", 10},       read_result,        false},
    {{"image", 5},             read_image,         false},
    {{"document", 8},          read_document,      true},
    {{"video", 5},             read_video,         false},
    {{"audio", 5},             read_audio,         false},
    {{"reasoningContent", 16}, read_reasoning,     false},
    {{"guardContent", 12},     read_guarded,       true},
    {{"citationsContent", 16}, read_cited,         true},
    {{"searchResult", 12},     read_search_result, true},
};
/* clang-format on */

/* Some write members that are not there as null. */
static bool first_member(struct text json, struct text *name, struct text *value)
{
    while (member_next(&json, name, value))
        if (!json_is_absent(*value))
            return true;
    return false;
}

const char *bedrock_read_block(struct arena *arena, struct text json, struct part *part)
{
    struct text name, value;
    *part = (struct part){.kind = PART_RAW, .raw = json, .from = &translator_bedrock};
    if (!is_object(json) || !first_member(json, &name, &value))
        return "has to be an object with a member";
    if (text_equal(name, TEXT("text"))) {
        part->kind = PART_TEXT;
        part->text = member_string(value);
        part->raw = (struct text){NULL, 0};
        return part->text.at ? NULL : "has a text that is none";
    }
    if (text_equal(name, TEXT("json"))) { /* of a tool's result */
        part->kind = PART_TEXT;
        part->text = inner_of_json(arena, value);
        return NULL;
    }
    for (size_t i = 0; i < sizeof(block_kinds) / sizeof(block_kinds[0]); i++) {
        if (!text_equal(block_kinds[i].name, name))
            continue;
        if (!is_object(value))
            return "has to be an object";
        const char *wrong = block_kinds[i].read(arena, value, part);
        if (!block_kinds[i].keeps && part->kind != PART_RAW)
            part->raw = (struct text){NULL, 0};
        return wrong;
    }
    return NULL;
}

struct text bedrock_read_cache(struct arena *arena, struct text json)
{
    struct text ttl = string_in(json, TEXT("ttl"));
    return ttl.len ? arena_format(arena, "{\"type\":\"ephemeral\",\"ttl\":\"%.*s\"}",
                                  TEXT_ARGS(text_head(ttl, 16)))
                   : TEXT("{\"type\":\"ephemeral\"}");
}

/* A block that only says what belongs to a part that was read before (anthropic_proof.c); true when
 * it was one. */
static bool take_back_proof(struct arena *arena, struct text json, struct part *parts, size_t count)
{
    struct anthropic_proof proof = {.of = PROOF_ENCRYPTED};
    struct text plain = decoded(
        arena, string_in(member_find(json, TEXT("reasoningContent")), TEXT("redactedContent")));
    if (!plain.at || !anthropic_read_proof(inner_of(arena, plain), &proof))
        return false;
    if (proof.of != PROOF_CALL && proof.of != PROOF_TEXT)
        return proof.from == NULL; /* nobody's here: it is of no use any more */
    enum part_kind kind = proof.of == PROOF_TEXT ? PART_TEXT : PART_CALL;
    struct part *part = part_before(parts, count, kind, proof.id);
    if (part) {
        part->signature = proof.proof;
        part->from = proof.from;
    }
    return true;
}

/* Not into itself: a tool's result in a tool's result is none. */
static const char *read_list(struct arena *arena, struct text list, bool nested,
                             struct part **parts, size_t *count, size_t *at)
{
    struct text none, json;
    size_t room = 0, all = 0;
    *parts = NULL;
    *count = 0;
    for (*at = 0; member_next(&list, &none, &json); ++*at) {
        struct text point = is_object(json) ? member_find(json, TEXT("cachePoint")) : none;
        if (*count == CHAT_PARTS_MAX || all > CHAT_PARTS_IN_ALL)
            return "is one too many";
        if (nested && is_object(json) && member_find(json, TEXT("toolResult")).at)
            return "cannot stand in the result of a tool";
        if (is_object(point) && *count && !(*parts)[*count - 1].cache.at) {
            (*parts)[*count - 1].cache = bedrock_read_cache(arena, point);
            continue;
        }
        if (is_object(json) && *count && take_back_proof(arena, json, *parts, *count))
            continue;
        *parts = arena_grow(arena, *parts, *count, &room, sizeof(struct part));
        const char *wrong = bedrock_read_block(arena, json, &(*parts)[*count]);
        all += 1 + (*parts)[(*count)++].part_count;
        if (wrong)
            return wrong;
    }
    return NULL;
}

const char *bedrock_read_blocks(struct arena *arena, struct text list, struct part **parts,
                                size_t *count, size_t *at)
{
    return read_list(arena, list, false, parts, count, at);
}
