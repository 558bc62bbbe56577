/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses.h: the content parts of messages are read, and where texts were taken from.
 */
#include "gateway/base/member.h"
#include "providers/openai_responses.h"

/* --------------------------------------------------------------------------------- parts */

static void read_image(struct text json, struct part *part)
{
    struct text url = member_string(member_find(json, TEXT("image_url")));
    part->kind = PART_IMAGE;
    part->id = member_string(member_find(json, TEXT("file_id")));
    part->detail = member_string(member_find(json, TEXT("detail")));
    if (url.at == NULL) /* as chat completions have it */
        url = member_string(member_find(member_find(json, TEXT("image_url")), TEXT("url")));
    if (!data_url_split(url, &part->media_type, &part->data))
        part->url = url;
}

static void read_file(struct text json, struct part *part)
{
    struct text data = member_string(member_find(json, TEXT("file_data")));
    part->kind = PART_FILE;
    part->id = member_string(member_find(json, TEXT("file_id")));
    part->name = member_string(member_find(json, TEXT("filename")));
    part->url = member_string(member_find(json, TEXT("file_url")));
    if (!data_url_split(data, &part->media_type, &part->data))
        part->data = data;
}

static void read_audio(struct responses_reading *r, struct text json, struct part *part)
{
    struct text audio = member_find(json, TEXT("input_audio"));
    struct text format = member_string(member_find(audio, TEXT("format")));
    part->kind = PART_AUDIO;
    part->data = member_string(member_find(audio, TEXT("data")));
    if (format.at)
        part->media_type = inner_is(format, "mp3")
                               ? TEXT("audio/mpeg")
                               : arena_format(r->arena, "audio/%.*s", TEXT_ARGS(format));
}

static void read_plain(struct responses_reading *r, struct text json, struct part *part)
{
    part->kind = PART_TEXT;
    part->text = member_string(member_find(json, TEXT("text")));
    if (!json_is_absent(member_find(json, TEXT("prompt_cache_breakpoint"))))
        part->cache = TEXT("{\"type\":\"ephemeral\"}");
    responses_read_annotations(r->arena, member_find(json, TEXT("annotations")), part);
}

static bool has_content(const struct part *part)
{
    switch (part->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
    case PART_REASONING:
        return part->text.at != NULL;
    case PART_IMAGE:
    case PART_FILE:
    case PART_AUDIO:
        return part->url.at || part->data.at || part->id.at;
    case PART_VIDEO:
    case PART_CALL:
    case PART_RESULT:
    case PART_RAW:
        return true;
    }
    return true;
}

bool responses_read_part(struct responses_reading *r, struct text json, struct part *part)
{
    /* Log probabilities are of what was said, and change nothing. */
    static const struct text known[] = {
        {"type", 4},         {"text", 4},     {"annotations", 11},
        {"logprobs", 8},     {"refusal", 7},  {"prompt_cache_breakpoint", 23},
        {"image_url", 9},    {"file_id", 7},  {"detail", 6},
        {"file_data", 9},    {"filename", 8}, {"file_url", 8},
        {"input_audio", 11},
    };
    struct text type = member_string(member_find(json, TEXT("type")));
    if (inner_is(type, "input_text") || inner_is(type, "output_text") || inner_is(type, "text")) {
        read_plain(r, json, part);
    } else if (inner_is(type, "refusal")) {
        part->kind = PART_REFUSAL;
        part->text = member_string(member_find(json, TEXT("refusal")));
    } else if (inner_is(type, "reasoning_text") || inner_is(type, "summary_text")) {
        part->kind = PART_REASONING;
        part->text = member_string(member_find(json, TEXT("text")));
    } else if (inner_is(type, "input_image")) {
        read_image(json, part);
    } else if (inner_is(type, "input_file")) {
        read_file(json, part);
    } else if (inner_is(type, "input_audio")) {
        read_audio(r, json, part);
    } else if (type.at) {
        *part = (struct part){.kind = PART_RAW,
                              .name = TEXT("content"),
                              .raw = json,
                              .from = &translator_openai_responses};
    } else {
        return responses_refuse(r, "has parts without a type", "input[%zu]", r->item);
    }
    if (part->kind != PART_RAW)
        part->more =
            more_of(r->arena, part->more, "", json, known, sizeof(known) / sizeof(known[0]));
    return has_content(part)
               ? true
               : responses_refuse(r, "has a part without content", "input[%zu]", r->item);
}

/* ------------------------------------------------------------------------------ citations */

static int64_t place_of(struct text annotation, struct text name)
{
    int64_t place;
    return member_count(member_find(annotation, name), INT64_C(1000000000000), &place) ? place : -1;
}

struct citation responses_citation(struct text annotation)
{
    struct citation citation = {
        .url = member_string(member_find(annotation, TEXT("url"))),
        .title = member_string(member_find(annotation, TEXT("title"))),
        .start = place_of(annotation, TEXT("start_index")),
        .end = place_of(annotation, TEXT("end_index")),
        .raw = annotation,
        .from = &translator_openai_responses,
    };
    if (citation.title.at == NULL) /* of a file */
        citation.title = member_string(member_find(annotation, TEXT("filename")));
    return citation;
}

void responses_read_annotations(struct arena *arena, struct text list, struct part *part)
{
    struct text none, annotation;
    size_t room = 0;
    if (!list.len || list.at[0] != '[')
        return;
    while (part->citation_count < CHAT_PARTS_MAX && member_next(&list, &none, &annotation)) {
        part->citations = arena_grow(arena, part->citations, part->citation_count, &room,
                                     sizeof(struct citation));
        part->citations[part->citation_count++] = responses_citation(annotation);
    }
}
