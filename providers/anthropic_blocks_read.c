/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: blocks are read, those of calls and those of answers.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"

enum { CITATIONS_MAX = 256 };

static bool is_object(struct text json)
{
    return json.len > 0 && json.at[0] == '{';
}

static bool is_array(struct text json)
{
    return json.len > 0 && json.at[0] == '[';
}

/* Has <object> members that are not among these, and are not null? */
static bool says_more(struct text object, const struct text *known, size_t count)
{
    struct text name, value;
    while (member_next(&object, &name, &value)) {
        size_t i = 0;
        while (i < count && !text_equal(known[i], name))
            i++;
        if (i == count && !json_is_absent(value))
            return true;
    }
    return false;
}

/* What says that all is as it is anyway: no citations, a call of the model's own. */
static bool is_as_ever(struct text name, struct text value)
{
    if (text_equal(name, TEXT("citations")))
        return said_of(member_find(value, TEXT("enabled"))) == SAID_NO;
    return text_equal(name, TEXT("caller")) &&
           inner_is(member_string(member_find(value, TEXT("type"))), "direct");
}

/* Others are told what they cannot say; what it has of our own dialect goes back as it came. */
static void keep_raw(struct arena *arena, struct part *part, struct text json,
                     const struct text *known, size_t count)
{
    struct text rest = json, name, value;
    if (!says_more(json, known, count))
        return;
    part->raw = json;
    while (member_next(&rest, &name, &value)) {
        size_t i = 0;
        while (i < count && !text_equal(known[i], name))
            i++;
        if (i == count && json_says_something(value) && !is_as_ever(name, value))
            part->more = more_add(arena, part->more, "", name);
    }
}

/* ------------------------------------------------------------------------------ citations */

static struct citation read_citation(struct text json)
{
    struct citation citation = {.start = -1, .end = -1, .raw = json, .from = &translator_anthropic};
    struct text name, value;
    while (member_next(&json, &name, &value)) {
        struct text inner = member_string(value);
        if (text_equal(name, TEXT("url")) || text_equal(name, TEXT("source")))
            citation.url = inner;
        else if (text_equal(name, TEXT("title")) || text_equal(name, TEXT("document_title")))
            citation.title = inner;
        else if (text_equal(name, TEXT("cited_text")))
            citation.quote = inner;
    }
    return citation;
}

static void read_citations(struct arena *arena, struct text list, struct part *part)
{
    struct text none, json;
    size_t room = 0;
    if (!is_array(list))
        return;
    while (part->citation_count < CITATIONS_MAX && member_next(&list, &none, &json)) {
        if (!is_object(json))
            continue;
        part->citations = arena_grow(arena, part->citations, part->citation_count, &room,
                                     sizeof(struct citation));
        part->citations[part->citation_count++] = read_citation(json);
    }
}

/* ---------------------------------------------------------------------------- the blocks */

static const char *read_text(struct arena *arena, struct text json, struct part *part)
{
    static const struct text known[] = {
        {"type", 4}, {"text", 4}, {"cache_control", 13}, {"citations", 9}};
    part->kind = PART_TEXT;
    part->text = member_string(member_find(json, TEXT("text")));
    read_citations(arena, member_find(json, TEXT("citations")), part);
    keep_raw(arena, part, json, known, sizeof(known) / sizeof(known[0]));
    return part->text.at ? NULL : "has no text";
}

/* What a thinking's signature or a redacted thinking's data says: Claude's proof (into <own>), or
 * what another provider has encrypted. */
static void take_proof(struct part *part, struct text inner, struct text *own)
{
    struct anthropic_proof proof = {.of = PROOF_ENCRYPTED};
    if (!anthropic_read_proof(inner, &proof)) {
        *own = inner;
        return;
    }
    part->from = proof.from;
    part->id = proof.id;
    part->encrypted = proof.proof;
}

static const char *read_thinking(struct arena *arena, struct text json, struct part *part)
{
    (void)arena;
    part->kind = PART_REASONING;
    part->text = member_string(member_find(json, TEXT("thinking")));
    struct text signature = member_string(member_find(json, TEXT("signature")));
    if (signature.len > 0)
        take_proof(part, signature, &part->signature);
    return part->text.at ? NULL : "has no thinking";
}

static const char *read_redacted(struct arena *arena, struct text json, struct part *part)
{
    (void)arena;
    struct text data = member_string(member_find(json, TEXT("data")));
    part->kind = PART_REASONING;
    take_proof(part, data, &part->encrypted);
    return data.at ? NULL : "has no data";
}

static const char *read_tool_use(struct arena *arena, struct text json, struct part *part)
{
    static const struct text known[] = {
        {"type", 4}, {"id", 2}, {"name", 4}, {"input", 5}, {"cache_control", 13}};
    part->kind = PART_CALL;
    part->id = member_string(member_find(json, TEXT("id")));
    part->name = member_string(member_find(json, TEXT("name")));
    part->arguments = member_find(json, TEXT("input"));
    keep_raw(arena, part, json, known, sizeof(known) / sizeof(known[0]));
    if (!is_object(part->arguments))
        part->arguments = TEXT("{}");
    if (part->id.at == NULL)
        return "has no id";
    return part->name.len ? NULL : "has no name";
}

static const char *read_tool_result(struct arena *arena, struct text json, struct part *part)
{
    static const struct text known[] = {
        {"type", 4}, {"tool_use_id", 11}, {"content", 7}, {"is_error", 8}, {"cache_control", 13}};
    struct text content = member_find(json, TEXT("content")), inner = member_string(content);
    size_t at = 0;
    part->kind = PART_RESULT;
    part->id = member_string(member_find(json, TEXT("tool_use_id")));
    part->is_error = said_of(member_find(json, TEXT("is_error"))) == SAID_YES;
    keep_raw(arena, part, json, known, sizeof(known) / sizeof(known[0]));
    if (part->id.at == NULL)
        return "has no tool_use_id";
    if (is_array(content))
        return anthropic_read_blocks(arena, content, &part->parts, &part->part_count, &at);
    if (inner.at == NULL)
        return json_is_absent(content) ? NULL : "has a content that is no string and no list";
    part->parts = arena_new(arena, sizeof(struct part));
    part->parts[0] = (struct part){.kind = PART_TEXT, .text = inner};
    part->part_count = 1;
    return NULL;
}

/* A source that images and documents both have; false for others. */
static bool read_source(struct text source, struct part *part)
{
    struct text type = member_string(member_find(source, TEXT("type")));
    if (inner_is(type, "base64")) {
        part->media_type = member_string(member_find(source, TEXT("media_type")));
        part->data = member_string(member_find(source, TEXT("data")));
        return part->data.at && part->media_type.at;
    }
    if (inner_is(type, "url"))
        part->url = member_string(member_find(source, TEXT("url")));
    else if (inner_is(type, "file"))
        part->id = member_string(member_find(source, TEXT("file_id")));
    return part->url.at || part->id.at;
}

static const char *read_image(struct arena *arena, struct text json, struct part *part)
{
    static const struct text known[] = {{"type", 4}, {"source", 6}, {"cache_control", 13}};
    part->kind = PART_IMAGE;
    keep_raw(arena, part, json, known, sizeof(known) / sizeof(known[0]));
    return read_source(member_find(json, TEXT("source")), part) ? NULL : "has no source";
}

/* The texts of a list of blocks, an empty line between them; at == NULL when there are others. */
static struct text joined(struct arena *arena, struct text list)
{
    struct text none, json;
    struct buffer all;
    bool good = true;
    buffer_init(&all, list.len * 2 + 16);
    while (good && member_next(&list, &none, &json)) {
        struct text one = member_string(member_find(json, TEXT("text")));
        good = one.at != NULL;
        if (good && buffer_length(&all))
            buffer_append_text(&all, TEXT("\\n\\n"));
        if (good)
            buffer_append_text(&all, one);
    }
    struct text text = {NULL, 0};
    if (good)
        text = arena_copy(arena, buffer_text(&all));
    buffer_done(&all);
    return text;
}

static const char *read_document(struct arena *arena, struct text json, struct part *part)
{
    static const struct text known[] = {
        {"type", 4}, {"source", 6}, {"title", 5}, {"cache_control", 13}};
    struct text source = member_find(json, TEXT("source"));
    struct text type = member_string(member_find(source, TEXT("type")));
    struct text content = member_find(source, TEXT("content"));
    part->kind = PART_FILE;
    part->name = member_string(member_find(json, TEXT("title")));
    keep_raw(arena, part, json, known, sizeof(known) / sizeof(known[0]));
    if (inner_is(type, "text")) {
        part->media_type = TEXT("text/plain");
        part->text = member_string(member_find(source, TEXT("data")));
    } else if (inner_is(type, "content")) {
        part->raw = json; /* its parts are told apart when they are cited */
        part->text = is_array(content) ? joined(arena, content) : member_string(content);
        if (part->text.at == NULL && is_array(content))
            part->kind = PART_RAW;
    } else if (!read_source(source, part)) {
        return "has no source";
    }
    return part->text.at || part->data.at || part->url.at || part->id.at || part->raw.at
               ? NULL
               : "has no source";
}

static const char *read_search_result(struct arena *arena, struct text json, struct part *part)
{
    static const struct text known[] = {
        {"type", 4}, {"title", 5}, {"content", 7}, {"cache_control", 13}};
    struct text content = member_find(json, TEXT("content"));
    part->kind = PART_FILE;
    keep_raw(arena, part, json, known, sizeof(known) / sizeof(known[0]));
    part->raw = json;
    part->name = member_string(member_find(json, TEXT("title")));
    part->media_type = TEXT("text/plain");
    part->text = is_array(content) ? joined(arena, content) : (struct text){NULL, 0};
    return part->text.at ? NULL : "has no content";
}

struct block_kind {
    struct text type;
    const char *(*read)(struct arena *arena, struct text json, struct part *part);
};

/* clang-format off */
static const struct block_kind block_kinds[] = {
    {{"text", 4},               read_text},
    {{"tool_use", 8},           read_tool_use},
    {{"tool_result", 11},       read_tool_result},
    {{"thinking", 8},           read_thinking},
    {{"redacted_thinking", 17}, read_redacted},
    {{"image", 5},              read_image},
    {{"document", 8},           read_document},
    {{"search_result", 13},     read_search_result},
};
/* clang-format on */

const char *anthropic_read_block(struct arena *arena, struct text json, struct part *part)
{
    *part = (struct part){.kind = PART_RAW, .from = &translator_anthropic};
    if (!is_object(json))
        return "has to be an object";
    struct text type = member_string(member_find(json, TEXT("type")));
    struct text cache = member_find(json, TEXT("cache_control"));
    if (type.at == NULL)
        return "has no type";
    if (!json_is_absent(cache))
        part->cache = cache;
    for (size_t i = 0; i < sizeof(block_kinds) / sizeof(block_kinds[0]); i++)
        if (text_equal(block_kinds[i].type, type))
            return block_kinds[i].read(arena, json, part);
    part->raw = json;
    return NULL;
}

/* Not into itself: a tool's result in a tool's result is one that no other dialect knows. */
static bool is_result(struct text json)
{
    return inner_is(member_string(member_find(json, TEXT("type"))), "tool_result");
}

const char *anthropic_read_blocks(struct arena *arena, struct text list, struct part **parts,
                                  size_t *count, size_t *at)
{
    struct text none, json;
    size_t room = 0;
    *parts = NULL;
    *count = 0;
    for (*at = 0; member_next(&list, &none, &json); ++*at) {
        if (*count == CHAT_PARTS_MAX)
            return "is one too many";
        if (is_object(json) && is_result(json))
            return "cannot stand in the result of a tool";
        *parts = arena_grow(arena, *parts, *count, &room, sizeof(struct part));
        const char *wrong = anthropic_read_block(arena, json, &(*parts)[(*count)++]);
        if (wrong)
            return wrong;
    }
    return NULL;
}
