/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: the parts of a message's content are read, and the forms of reasoning.
 */
#include "gateway/base/member.h"
#include "providers/openai_chat.h"

/* What stands in any of the parts. */
struct part_words {
    struct text type, text, image_url, input_audio, file, video_url, document_url, document_name;
    struct text refusal, thinking, signature, data, summary, annotations, cache_control, closed;
    struct text url, detail, format, file_id, file_data, filename, file_url;
};

static const struct member_slot part_slots[] = {
    SLOT(part_words, type),          SLOT(part_words, text),          SLOT(part_words, image_url),
    SLOT(part_words, input_audio),   SLOT(part_words, file),          SLOT(part_words, video_url),
    SLOT(part_words, document_url),  SLOT(part_words, document_name), SLOT(part_words, refusal),
    SLOT(part_words, thinking),      SLOT(part_words, signature),     SLOT(part_words, data),
    SLOT(part_words, summary),       SLOT(part_words, annotations),   SLOT(part_words, closed),
    SLOT(part_words, cache_control), SLOT(part_words, detail),        SLOT(part_words, format),
    SLOT(part_words, file_id),       SLOT(part_words, file_data),     SLOT(part_words, filename),
    SLOT(part_words, file_url),
};

/* What stands one level below. */
static const struct member_slot inside_slots[] = {
    SLOT(part_words, url),      SLOT(part_words, detail),   SLOT(part_words, format),
    SLOT(part_words, data),     SLOT(part_words, file_id),  SLOT(part_words, file_data),
    SLOT(part_words, filename), SLOT(part_words, file_url),
};

void openai_split_url(struct part *part, struct text url)
{
    if (!data_url_split(url, &part->media_type, &part->data))
        part->url = url;
}

/* --------------------------------------------------------------------------- one of each kind */

typedef bool read_kind(struct message_reading *m, struct part_words *words, struct part *part);

static bool read_text(struct message_reading *m, struct part_words *words, struct part *part)
{
    part->kind = PART_TEXT;
    part->text = member_string(words->text);
    openai_read_annotations(m->call->arena, words->annotations, part);
    return part->text.at ? true
                         : openai_refuse_message(m, "content", "has a text that is no string");
}

static bool read_refusal(struct message_reading *m, struct part_words *words, struct part *part)
{
    part->kind = PART_REFUSAL;
    part->text = member_string(words->refusal);
    return part->text.at ? true
                         : openai_refuse_message(m, "content", "has a refusal that is no string");
}

/* {"url","detail"}, or the address alone. */
static bool read_address(struct message_reading *m, struct part_words *words, struct part *part,
                         struct text value)
{
    struct text url = member_string(value);
    if (json_is_object(value)) {
        member_take_all(value, SLOTS(inside_slots), words);
        url = member_string(words->url);
    }
    part->detail = member_string(words->detail);
    part->id = member_string(words->file_id);
    if (url.at)
        openai_split_url(part, url);
    return url.at || part->id.at
               ? true
               : openai_refuse_message(m, "content", "has an image or file without its address");
}

static bool read_image(struct message_reading *m, struct part_words *words, struct part *part)
{
    part->kind = PART_IMAGE;
    return read_address(m, words, part, words->image_url);
}

static bool read_video(struct message_reading *m, struct part_words *words, struct part *part)
{
    part->kind = PART_VIDEO;
    return read_address(m, words, part, words->video_url);
}

/* Mistral's */
static bool read_document(struct message_reading *m, struct part_words *words, struct part *part)
{
    part->kind = PART_FILE;
    part->name = member_string(words->document_name);
    return read_address(m, words, part, words->document_url);
}

/* {"data","format"}; with Mistral base64 or an address alone. */
static bool read_audio(struct message_reading *m, struct part_words *words, struct part *part)
{
    struct text alone = member_string(words->input_audio);
    part->kind = PART_AUDIO;
    if (alone.at && (text_starts(alone, TEXT("http")) || text_starts(alone, TEXT("data:")))) {
        openai_split_url(part, alone);
        return true;
    }
    if (!alone.at)
        member_take_all(words->input_audio, SLOTS(inside_slots), words);
    part->data = alone.at ? alone : member_string(words->data);
    struct text format = member_string(words->format);
    if (format.len)
        part->media_type =
            arena_format(m->call->arena, "audio/%.*s", TEXT_ARGS(text_head(format, 64)));
    return part->data.at ? true : openai_refuse_message(m, "content", "has audio without its data");
}

static bool read_file(struct message_reading *m, struct part_words *words, struct part *part)
{
    part->kind = PART_FILE;
    if (words->file.at)
        member_take_all(words->file, SLOTS(inside_slots), words);
    struct text data = member_string(words->file_data), url = member_string(words->file_url);
    part->name = member_string(words->filename);
    part->id = member_string(words->file_id);
    if (data.at && !data_url_split(data, &part->media_type, &part->data)) {
        if (text_starts(data, TEXT("http"))) /* OpenRouter takes addresses here */
            part->url = data;
        else
            part->data = data;
    }
    if (url.at)
        openai_split_url(part, url);
    return part->data.at || part->url.at || part->id.at
               ? true
               : openai_refuse_message(m, "content", "has a file without its data");
}

/* Several texts as one: they come in as many pieces as the client likes. */
struct joined {
    char *at;
    size_t len, room;
};

static void join(struct arena *arena, struct joined *joined, struct text more)
{
    if (!more.len)
        return;
    if (joined->len + more.len > joined->room) {
        size_t room = 2 * (joined->len + more.len);
        char *at = arena_take(arena, room);
        if (joined->len)
            memcpy(at, joined->at, joined->len);
        joined->at = at;
        joined->room = room;
    }
    memcpy(joined->at + joined->len, more.at, more.len);
    joined->len += more.len;
}

static struct text text_of_joined(const struct joined *joined)
{
    return joined->len ? (struct text){joined->at, joined->len} : TEXT("");
}

static struct text join_texts(struct arena *arena, struct text list, struct text member)
{
    struct text name, item;
    struct joined joined = {.len = 0};
    while (list.at && member_next(&list, &name, &item))
        join(arena, &joined, member_string(member_find(item, member)));
    return text_of_joined(&joined);
}

/* Mistral's has a list in it, LiteLLM's a string; Databricks' is a summary. */
static bool read_thinking(struct message_reading *m, struct part_words *words, struct part *part)
{
    struct arena *arena = m->call->arena;
    part->kind = PART_REASONING;
    part->text = member_string(words->thinking);
    if (json_is_array(words->thinking))
        part->text = join_texts(arena, words->thinking, TEXT("text"));
    else if (json_is_array(words->summary))
        part->text = join_texts(arena, words->summary, TEXT("text"));
    part->signature = member_string(words->signature);
    part->encrypted = member_string(words->data);
    return true;
}

struct kind_of_part {
    struct text type;
    read_kind *read;
};

static const struct kind_of_part kinds[] = {
    {{"text", 4}, read_text},
    {{"input_text", 10}, read_text},
    {{"output_text", 11}, read_text},
    {{"image_url", 9}, read_image},
    {{"input_image", 11}, read_image},
    {{"input_audio", 11}, read_audio},
    {{"file", 4}, read_file},
    {{"input_file", 10}, read_file},
    {{"video_url", 9}, read_video},
    {{"document_url", 12}, read_document},
    {{"refusal", 7}, read_refusal},
    {{"thinking", 8}, read_thinking},
    {{"redacted_thinking", 17}, read_thinking},
    {{"reasoning", 9}, read_thinking},
};

static bool read_part(struct message_reading *m, struct text json)
{
    struct part_words words = {.type = {NULL, 0}};
    struct part *part = openai_add_part(m, PART_RAW);
    if (!part)
        return false;
    if (member_string(json).at) { /* a list of texts, which some clients send */
        part->kind = PART_TEXT;
        part->text = member_string(json);
        return true;
    }
    if (!json_is_object(json))
        return openai_refuse_message(m, "content", "has a part that is no object");
    bool knows_all = member_take_all(json, SLOTS(part_slots), &words);
    struct text type = member_string(words.type);
    part->cache = words.cache_control;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (text_equal(kinds[i].type, type) && !kinds[i].read(m, &words, part))
            return false;
    part->from = m->call->chat->from;
    if (part->kind == PART_RAW || !knows_all)
        part->raw = json;
    if (part->kind != PART_RAW && !knows_all)
        part->more = openai_more(m->call->arena, part->more, "", json, SLOTS(part_slots));
    return true;
}

bool openai_read_content(struct message_reading *m, struct text content)
{
    struct text name, item, text = member_string(content);
    if (!content.at)
        return true;
    if (text.at) {
        struct part *part = openai_add_part(m, PART_TEXT);
        if (part)
            part->text = text;
        return part != NULL;
    }
    if (!json_is_array(content))
        return openai_refuse_message(m, "content", "has to be a string or an array");
    while (member_next(&content, &name, &item))
        if (!read_part(m, item))
            return false;
    return true;
}

/* ---------------------------------------------------------------------------------- citations */

struct citation_words {
    struct text type, url_citation, url, title, content, start_index, end_index;
};

static const struct member_slot citation_slots[] = {
    SLOT(citation_words, type),      SLOT(citation_words, url_citation),
    SLOT(citation_words, url),       SLOT(citation_words, title),
    SLOT(citation_words, content),   SLOT(citation_words, start_index),
    SLOT(citation_words, end_index),
};

bool openai_read_citation(struct text annotation, struct citation *citation)
{
    struct citation_words words = {.type = {NULL, 0}};
    member_take_all(annotation, SLOTS(citation_slots), &words);
    if (!text_equal(words.type, TEXT("\"url_citation\"")))
        return false;
    member_take_all(words.url_citation, SLOTS(citation_slots), &words);
    *citation = (struct citation){.url = member_string(words.url),
                                  .title = member_string(words.title),
                                  .quote = member_string(words.content),
                                  .start = -1,
                                  .end = -1,
                                  .raw = annotation};
    int64_t start, end;
    /* Both 0 is how some say that they do not know. */
    if (member_count(words.start_index, INT32_MAX, &start) &&
        member_count(words.end_index, INT32_MAX, &end) && end > 0) {
        citation->start = start;
        citation->end = end;
    }
    return true;
}

void openai_read_annotations(struct arena *arena, struct text annotations, struct part *part)
{
    struct text name, item;
    size_t room = part->citation_count;
    annotations = json_items(annotations);
    while (member_next(&annotations, &name, &item)) {
        struct citation citation;
        if (part->citation_count == CHAT_PARTS_MAX || !openai_read_citation(item, &citation))
            continue;
        part->citations = arena_grow(arena, part->citations, part->citation_count, &room,
                                     sizeof(*part->citations));
        part->citations[part->citation_count++] = citation;
    }
}

/* ---------------------------------------------------------------------------------- reasoning */

struct detail_words {
    struct text type, text, summary, data, signature, index, id, format, thinking;
};

static const struct member_slot detail_slots[] = {
    SLOT(detail_words, type), SLOT(detail_words, text),   SLOT(detail_words, summary),
    SLOT(detail_words, data), SLOT(detail_words, index),  SLOT(detail_words, signature),
    SLOT(detail_words, id),   SLOT(detail_words, format), SLOT(detail_words, thinking),
};

/* Does it say more of the part before? Then it has its index, and what that has not. */
static bool goes_on(const struct part *part, const struct detail_words *words, struct text index)
{
    if (!part)
        return false;
    if (!words->index.at || !index.at)
        return words->signature.at && !words->text.at && !part->signature.len;
    return text_equal(index, words->index) && !(words->data.at && part->encrypted.len) &&
           !(words->signature.at && part->signature.len);
}

static void read_detail(struct arena *arena, const struct detail_words *words, struct part *part,
                        struct joined *joined)
{
    struct text text = member_string(words->text.at ? words->text : words->summary);
    if (!text.at)
        text = member_string(words->thinking);
    join(arena, joined, text);
    if (text.at)
        part->text = text_of_joined(joined);
    struct text signature = member_string(words->signature), data = member_string(words->data);
    if (signature.len)
        part->signature = signature;
    if (data.len)
        part->encrypted = data;
    if (member_string(words->id).len)
        part->id = member_string(words->id);
    if (words->format.at)
        part->from = openai_from_format(member_string(words->format));
}

/* A list of OpenRouter's details or of LiteLLM's blocks. */
static bool read_details(struct message_reading *m, struct text list)
{
    struct text name, item, index = {NULL, 0};
    struct part *part = NULL;
    struct joined joined = {.len = 0};
    list = json_items(list);
    while (member_next(&list, &name, &item)) {
        struct detail_words words = {.type = {NULL, 0}};
        member_take_all(item, SLOTS(detail_slots), &words);
        if (!goes_on(part, &words, index)) {
            part = openai_add_part(m, PART_REASONING);
            if (!part)
                return false;
            joined = (struct joined){.len = 0};
        }
        read_detail(m->call->arena, &words, part, &joined);
        if (words.thinking.at || text_equal(words.type, TEXT("\"redacted_thinking\"")))
            part->from = translator_find(TEXT("anthropic"), OPERATION_CHAT);
        index = words.index;
    }
    return true;
}

/* Where the text stands apart from the signatures, it belongs to the first that has none. */
static bool place_text(struct message_reading *m, size_t first, struct text text)
{
    for (size_t i = first; i < m->count; i++)
        if (m->parts[i].text.len)
            return true;
    for (size_t i = first; i < m->count; i++) {
        if (m->parts[i].encrypted.len && !m->parts[i].signature.len && !m->parts[i].id.len)
            continue;
        m->parts[i].text = text;
        return true;
    }
    struct part *part = openai_add_part(m, PART_REASONING);
    if (part)
        part->text = text;
    return part != NULL;
}

bool openai_read_reasoning(struct message_reading *m, const struct reasoning_texts *said)
{
    size_t first = m->count;
    bool has_details = json_is_array(said->reasoning_details);
    if (!read_details(m, has_details ? said->reasoning_details : said->thinking_blocks))
        return false;
    struct text text = member_string(said->reasoning_content);
    if (!text.len)
        text = member_string(said->reasoning);
    return text.len ? place_text(m, first, text) : true;
}
