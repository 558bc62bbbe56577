/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings of the cohere dialect: v2 embed. */
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/cohere.h"
#include "providers/vectors.h"

/* The first of a purpose is what is written for it. */
static const struct {
    enum purpose purpose;
    struct text word;
    bool same; /* it says all of the purpose */
} purposes[] = {
    {PURPOSE_QUERY, {"search_query", 12}, true},
    {PURPOSE_DOCUMENT, {"search_document", 15}, true},
    {PURPOSE_CLASSIFICATION, {"classification", 14}, true},
    {PURPOSE_CLUSTERING, {"clustering", 10}, true},
    {PURPOSE_IMAGE, {"image", 5}, true},
    {PURPOSE_SIMILARITY, {"clustering", 10}, false},
    {PURPOSE_QUESTION, {"search_query", 12}, false},
    {PURPOSE_FACT, {"search_query", 12}, false},
    {PURPOSE_CODE, {"search_query", 12}, false},
    {PURPOSE_UNSAID, {"search_document", 15}, true},
};

enum { PURPOSES = sizeof(purposes) / sizeof(purposes[0]) };

/* ------------------------------------------------------------------------------ a call is read */

static bool read_image(struct vector_reading *r, struct text url)
{
    struct part *part = vectors_part(r, "images", PART_IMAGE);
    if (!part)
        return false;
    if (!url.at)
        return vectors_refuse(r, "images", "has to be strings");
    if (!data_url_split(url, &part->media_type, &part->data))
        part->url = url;
    return true;
}

static bool read_images(struct vector_reading *r, struct text images)
{
    struct text none, image;
    while (member_next(&images, &none, &image))
        if (!vectors_add(r, "images") || !read_image(r, member_string(image)))
            return false;
    return true;
}

/* {"content":[{"type":"text","text"},{"type":"image_url","image_url":{"url"}}]} */
static bool read_inputs(struct vector_reading *r, struct text inputs)
{
    struct text none, input, piece;
    while (member_next(&inputs, &none, &input)) {
        struct text content = member_find(input, TEXT("content"));
        if (!vectors_add(r, "inputs"))
            return false;
        while (member_next(&content, &none, &piece)) {
            struct text text = member_string(member_find(piece, TEXT("text")));
            struct text url = member_find(member_find(piece, TEXT("image_url")), TEXT("url"));
            struct part *part = text.at ? vectors_part(r, "inputs", PART_TEXT) : NULL;
            if (part)
                part->text = text;
            else if (text.at || !read_image(r, member_string(url)))
                return false;
        }
    }
    return true;
}

/* Only numbers can be made of other dialects' vectors, and base64 of them. */
static bool read_types(struct vector_reading *r, struct text name, struct text types)
{
    struct text rest = types, none, type;
    while (member_next(&rest, &none, &type))
        if (!text_equal(type, TEXT("\"float\"")) && !text_equal(type, TEXT("\"base64\""))) {
            vectors_keep(r, name, types, true);
            break;
        }
    return true;
}

static bool read_purpose(struct vector_reading *r, struct text value)
{
    struct text word = {NULL, 0};
    if (!vectors_string(r, "input_type", value, &word))
        return false;
    for (size_t i = PURPOSES; i-- > 0;)
        if (purposes[i].same && purposes[i].purpose && text_equal(word, purposes[i].word))
            r->chat->purpose = purposes[i].purpose;
    return !word.at || r->chat->purpose ? true : vectors_refuse(r, "input_type", "is not known");
}

static bool read_member(struct vector_reading *r, struct text name, struct text value)
{
    struct chat *chat = r->chat;
    if (json_is_absent(value))
        return true;
    if (text_equal(name, TEXT("model")))
        chat->model = inner_plain(r->arena, member_string(value));
    else if (text_equal(name, TEXT("texts")))
        return vectors_add_values(r, "texts", value);
    else if (text_equal(name, TEXT("images")))
        return read_images(r, value);
    else if (text_equal(name, TEXT("inputs")))
        return read_inputs(r, value);
    else if (text_equal(name, TEXT("input_type")))
        return read_purpose(r, value);
    else if (text_equal(name, TEXT("embedding_types")))
        return read_types(r, name, value);
    else if (text_equal(name, TEXT("output_dimension")))
        return vectors_number(r, "output_dimension", value, &chat->dimensions);
    else if (text_equal(name, TEXT("truncate")))
        return vectors_string(r, "truncate", value, &chat->truncate);
    else
        vectors_keep(r, name, value, false);
    return true;
}

static bool read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    struct vector_reading r = {.arena = arena, .chat = chat, .fault = fault};
    struct text body = source->body, name, value;
    while (member_next(&body, &name, &value))
        if (!read_member(&r, name, value))
            return false;
    return chat->message_count ? true : vectors_refuse(&r, "texts", "is missing");
}

/* --------------------------------------------------------------------------- a call is written */

static bool only_texts(const struct chat *chat)
{
    for (size_t i = 0; i < chat->message_count; i++)
        for (size_t p = 0; p < chat->messages[i].part_count; p++)
            if (chat->messages[i].parts[p].kind == PART_IMAGE)
                return false;
    return true;
}

static void put_piece(struct buffer *out, const struct part *part, size_t number,
                      struct losses *losses)
{
    if (part->kind != PART_TEXT && part->kind != PART_IMAGE) {
        loss_demand(losses, "input[%zu]", number);
        return;
    }
    put_open(out, NULL, '{');
    if (part->kind == PART_TEXT) {
        put_inner(out, "type", TEXT("text"));
        put_inner(out, "text", part->text);
    } else {
        put_literal(out, "\"type\":\"image_url\",\"image_url\":{\"url\":\"");
        put_text(out, part->data.at ? TEXT("data:") : part->url);
        if (part->data.at) {
            put_text(out, part->media_type.len ? part->media_type : TEXT("image/png"));
            put_literal(out, ";base64,");
            put_text(out, part->data);
        }
        put_literal(out, "\"}");
    }
    put_literal(out, "}");
}

static void put_inputs(struct buffer *out, const struct chat *chat, struct losses *losses)
{
    put_open(out, "inputs", '[');
    for (size_t i = 0; i < chat->message_count; i++) {
        put_literal(out, i ? ",{\"content\":[" : "{\"content\":[");
        for (size_t p = 0; p < chat->messages[i].part_count; p++)
            put_piece(out, &chat->messages[i].parts[p], i, losses);
        put_literal(out, "]}");
    }
    put_literal(out, "]");
}

static void write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    size_t i = 0;
    put_literal(out, "{");
    put_inner(out, "model", inner_of(arena, target->model));
    if (only_texts(chat))
        vectors_put_texts(out, "texts", chat, 0, losses);
    else
        put_inputs(out, chat, losses);
    while (i < PURPOSES - 1 && purposes[i].purpose != chat->purpose)
        i++;
    put_inner(out, "input_type", purposes[i].word);
    if (!purposes[i].same)
        loss_hint(losses, "input_type");
    put_literal(out, ",\"embedding_types\":[\"float\"]");
    if (chat->dimensions > 0)
        put_number(out, "output_dimension", chat->dimensions);
    put_inner(out, "truncate", chat->truncate);
    put_literal(out, "}");
    if (chat->user.at)
        loss_hint(losses, "user");
    loss_fields(losses, chat, &translator_cohere_embedding);
}

static void write_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/v2/embed");
}

/* ------------------------------------------------------------------------------------- answers */

static void read_body(void *state, struct text body, struct answer_sink *sink)
{
    struct usage usage = {0};
    struct text vectors = member_find(body, TEXT("embeddings"));
    (void)state;
    if (vectors.len && vectors.at[0] == '{') {
        struct text numbers = member_find(vectors, TEXT("float"));
        vectors = json_is_absent(numbers) ? member_find(vectors, TEXT("base64")) : numbers;
    }
    if (!vectors.len || vectors.at[0] != '[' || !scan_is_valid(body)) {
        vectors_fail(sink, "The target's answer has no embeddings in it.");
        return;
    }
    vectors_begin(sink, member_string(member_find(body, TEXT("id"))), (struct text){NULL, 0});
    vectors_say_array(sink, vectors);
    bool counted = cohere_read_meta(member_find(body, TEXT("meta")), &usage);
    vectors_end(sink, counted ? &usage : NULL);
}

static bool asks_for(const struct answer_way *way, struct text type)
{
    struct text types = member_find(way->call, TEXT("embedding_types")), none, one;
    while (member_next(&types, &none, &one))
        if (text_equal(member_string(one), type))
            return true;
    return false;
}

static void write_whole(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out)
{
    struct text texts = member_find(way->call, TEXT("texts"));
    bool base64 = asks_for(way, TEXT("base64"));
    put_literal(out, "{");
    put_inner(out, "id", whole->id.len ? whole->id : inner_of(arena, way->id));
    put_open(out, "embeddings", '{');
    if (!base64 || asks_for(way, TEXT("float"))) {
        put_open(out, "float", '[');
        vectors_put_items(out, whole, false);
        put_literal(out, "]");
    }
    if (base64) {
        put_open(out, "base64", '[');
        vectors_put_items(out, whole, true);
        put_literal(out, "]");
    }
    put_literal(out, "}");
    put_json(out, "texts", json_is_absent(texts) ? TEXT("[]") : texts);
    put_literal(out, ",\"meta\":{\"api_version\":{\"version\":\"2\"},\"billed_units\":{");
    put_number(out, "input_tokens", whole->usage.input_tokens);
    put_literal(out, "}},\"response_type\":\"embeddings_by_type\"}");
}

const struct translator translator_cohere_embedding = {
    .name = {"cohere-embedding", 16},
    .dialect = {"cohere", 6},
    .operation = OPERATION_EMBEDDING,
    .read_call = read_call,
    .write_call = write_call,
    .write_path = write_path,
    .read_body = read_body,
    .read_error = cohere_read_error,
    .write_whole = write_whole,
    VECTORS_TRANSLATOR,
};
