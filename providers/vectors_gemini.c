/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings of the gemini dialect: embedContent is asked by clients, batchEmbedContents of all
 * targets. */
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/gemini.h"
#include "providers/vectors.h"

static const struct {
    enum purpose purpose;
    struct text word;
} purposes[] = {
    {PURPOSE_QUERY, {"RETRIEVAL_QUERY", 15}},
    {PURPOSE_DOCUMENT, {"RETRIEVAL_DOCUMENT", 18}},
    {PURPOSE_CLASSIFICATION, {"CLASSIFICATION", 14}},
    {PURPOSE_CLUSTERING, {"CLUSTERING", 10}},
    {PURPOSE_SIMILARITY, {"SEMANTIC_SIMILARITY", 19}},
    {PURPOSE_QUESTION, {"QUESTION_ANSWERING", 18}},
    {PURPOSE_FACT, {"FACT_VERIFICATION", 17}},
    {PURPOSE_CODE, {"CODE_RETRIEVAL_QUERY", 20}},
};

enum { PURPOSES = sizeof(purposes) / sizeof(purposes[0]) };

static void read_purpose(struct vector_reading *r, struct text name, struct text value)
{
    struct text word = member_string(value);
    for (size_t i = 0; i < PURPOSES; i++)
        if (text_equal(word, purposes[i].word)) {
            r->chat->purpose = purposes[i].purpose;
            return;
        }
    if (!text_equal(word, TEXT("TASK_TYPE_UNSPECIFIED")))
        vectors_keep(r, name, value, false);
}

static bool read_content(struct vector_reading *r, struct text content)
{
    struct text parts = gemini_find(content, TEXT("parts")), raw;
    if (!vectors_add(r, "content"))
        return false;
    while (gemini_next(&parts, &raw)) {
        struct gemini_part look;
        gemini_part_look(raw, &look);
        bool image = !look.text.at && look.data.at;
        enum part_kind kind = look.text.at ? PART_TEXT : image ? PART_IMAGE : PART_RAW;
        struct part *part = vectors_part(r, "content.parts", kind);
        if (!part)
            return false;
        part->text = look.text;
        part->raw = raw;
        if (image) {
            part->data = member_string(gemini_find(look.data, TEXT("data")));
            part->media_type = member_string(gemini_find(look.data, TEXT("mimeType")));
        }
    }
    return r->chat->messages[r->chat->message_count - 1].part_count
               ? true
               : vectors_refuse(r, "content", "has no parts");
}

/* All requests of a batch are for the same here. */
static bool read_dimensions(struct vector_reading *r, struct text name, struct text value)
{
    int64_t before = r->chat->dimensions;
    if (!vectors_number(r, "outputDimensionality", value, &r->chat->dimensions))
        return false;
    if (before && before != r->chat->dimensions)
        vectors_keep(r, name, value, true);
    return true;
}

static bool read_one(struct vector_reading *r, struct text request)
{
    struct text name, value;
    size_t before = r->chat->message_count;
    while (member_next(&request, &name, &value)) {
        if (json_is_absent(value) || gemini_named(name, TEXT("model")))
            continue;
        if (gemini_named(name, TEXT("content"))) {
            if (!read_content(r, value))
                return false;
        } else if (gemini_named(name, TEXT("taskType"))) {
            read_purpose(r, name, value);
        } else if (gemini_named(name, TEXT("outputDimensionality"))) {
            if (!read_dimensions(r, name, value))
                return false;
        } else {
            vectors_keep(r, name, value, false);
        }
    }
    return r->chat->message_count > before ? true : vectors_refuse(r, "content", "is missing");
}

static bool read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    struct vector_reading r = {.arena = arena, .chat = chat, .fault = fault};
    struct text requests = gemini_find(source->body, TEXT("requests")), one;
    chat->model = source->model;
    if (!requests.at)
        return read_one(&r, source->body);
    while (gemini_next(&requests, &one))
        if (!read_one(&r, one))
            return false;
    return chat->message_count ? true : vectors_refuse(&r, "requests", "has nothing in it");
}

/* --------------------------------------------------------------------------- a call is written */

static void put_part(struct buffer *out, const struct part *part, size_t number,
                     struct losses *losses)
{
    bool own = part->kind == PART_RAW && part->from == &translator_gemini_embedding;
    bool image = part->kind == PART_IMAGE && part->data.at;
    if (own) {
        put_comma(out);
        put_text(out, part->raw);
    } else if (part->kind == PART_TEXT || image) {
        put_open(out, NULL, '{');
        if (image) {
            put_open(out, "inlineData", '{');
            put_inner(out, "mimeType", part->media_type.len ? part->media_type : TEXT("image/png"));
            put_inner(out, "data", part->data);
            put_literal(out, "}");
        } else {
            put_inner(out, "text", part->text);
        }
        put_literal(out, "}");
    } else {
        loss_demand(losses, "input[%zu]", number);
    }
}

static void put_request(struct buffer *out, const struct chat *chat, size_t number,
                        struct text model, struct losses *losses)
{
    const struct message *message = &chat->messages[number];
    put_open(out, NULL, '{');
    put_literal(out, "\"model\":\"");
    put_text(out, text_starts(model, TEXT("models/")) ? TEXT("") : TEXT("models/"));
    put_text(out, model);
    put_literal(out, "\",\"content\":{\"parts\":[");
    for (size_t i = 0; i < message->part_count; i++)
        put_part(out, &message->parts[i], number, losses);
    put_literal(out, "]}");
    for (size_t i = 0; i < PURPOSES; i++)
        if (purposes[i].purpose == chat->purpose)
            put_inner(out, "taskType", purposes[i].word);
    if (chat->dimensions > 0)
        put_number(out, "outputDimensionality", chat->dimensions);
    put_literal(out, "}");
}

static void write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    struct text model = inner_of(arena, target->model);
    put_literal(out, "{\"requests\":[");
    for (size_t i = 0; i < chat->message_count; i++)
        put_request(out, chat, i, model, losses);
    put_literal(out, "]}");
    if (chat->truncate.at)
        loss_hint(losses, "truncate");
    if (chat->user.at)
        loss_hint(losses, "user");
    loss_fields(losses, chat, &translator_gemini_embedding);
}

static void write_path(const struct call_target *target, struct buffer *out)
{
    gemini_put_model_path(target, out);
    put_literal(out, ":batchEmbedContents");
}

/* ------------------------------------------------------------------------------------- answers */

static void read_body(void *state, struct text body, struct answer_sink *sink)
{
    struct usage usage = {0};
    struct text one = gemini_find(body, TEXT("embedding"));
    struct text many = gemini_find(body, TEXT("embeddings")), item;
    unsigned number = 0;
    (void)state;
    if ((!one.at && !many.at) || !scan_is_valid(body)) {
        vectors_fail(sink, "The target's answer has no embeddings in it.");
        return;
    }
    vectors_begin(sink, (struct text){NULL, 0}, (struct text){NULL, 0});
    if (!many.at)
        vectors_say(sink, number++, gemini_find(one, TEXT("values")));
    while (number < VECTORS_MAX && many.at && gemini_next(&many, &item))
        vectors_say(sink, number++, gemini_find(item, TEXT("values")));
    bool counted = gemini_read_usage(gemini_find(body, TEXT("usageMetadata")), &usage);
    vectors_end(sink, counted ? &usage : NULL);
}

static void put_values(struct buffer *out, struct text raw)
{
    put_literal(out, "{\"values\":");
    vectors_put_numbers(out, raw);
    put_literal(out, "}");
}

static void write_whole(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out)
{
    const struct whole_choice *choice = vectors_of(whole);
    bool many = gemini_find(way->call, TEXT("requests")).at != NULL;
    (void)arena;
    if (!many) {
        put_literal(out, "{\"embedding\":");
        put_values(out, choice->part_count ? choice->parts[0].raw : TEXT("[]"));
        put_literal(out, "}");
        return;
    }
    put_literal(out, "{\"embeddings\":[");
    for (size_t i = 0; i < choice->part_count; i++) {
        put_comma(out);
        put_values(out, choice->parts[i].raw);
    }
    put_literal(out, "]}");
}

const struct translator translator_gemini_embedding = {
    .name = {"gemini-embedding", 16},
    .dialect = {"gemini", 6},
    .operation = OPERATION_EMBEDDING,
    .read_call = read_call,
    .write_call = write_call,
    .write_path = write_path,
    .read_body = read_body,
    .read_error = gemini_read_error,
    .write_whole = write_whole,
    VECTORS_TRANSLATOR,
};
