/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings of the dialects openai and ollama, which ask for them in much the same way. */
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/ollama.h"
#include "providers/openai.h"
#include "providers/vectors.h"

/* ------------------------------------------------------------------------------ a call is read */

/* Tokens are an array of numbers; several texts of them are an array of such. */
static bool read_input(struct vector_reading *r, struct text input)
{
    struct text rest = input, none, item;
    bool many = input.len && input.at[0] == '[' && member_next(&rest, &none, &item) && item.len &&
                (item.at[0] == '"' || item.at[0] == '[' || item.at[0] == '{');
    if (many)
        return vectors_add_values(r, "input", input);
    if (!input.len || (input.at[0] != '"' && input.at[0] != '['))
        return vectors_refuse(r, "input", "has to be a string or an array");
    return vectors_add_value(r, "input", input);
}

static enum purpose purpose_of(struct text word)
{
    static const struct {
        struct text word;
        enum purpose purpose;
    } words[] = {{{"query", 5}, PURPOSE_QUERY},
                 {{"search_query", 12}, PURPOSE_QUERY},
                 {{"document", 8}, PURPOSE_DOCUMENT},
                 {{"passage", 7}, PURPOSE_DOCUMENT},
                 {{"search_document", 15}, PURPOSE_DOCUMENT},
                 {{"classification", 14}, PURPOSE_CLASSIFICATION},
                 {{"clustering", 10}, PURPOSE_CLUSTERING}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (text_equal(word, words[i].word))
            return words[i].purpose;
    return PURPOSE_UNSAID;
}

static bool read_format(struct vector_reading *r, struct text value)
{
    struct text word = {NULL, 0};
    if (!vectors_string(r, "encoding_format", value, &word))
        return false;
    if (word.at && !text_equal(word, TEXT("float")) && !text_equal(word, TEXT("base64")))
        vectors_keep(r, TEXT("encoding_format"), value, true);
    return true;
}

/* What both have: OpenAI's reference, and what compatible servers added to it. */
static bool read_member(struct vector_reading *r, struct text name, struct text value)
{
    struct chat *chat = r->chat;
    if (text_equal(name, TEXT("model")))
        chat->model = inner_plain(r->arena, member_string(value));
    else if (text_equal(name, TEXT("input")))
        return read_input(r, value);
    else if (text_equal(name, TEXT("dimensions")))
        return vectors_number(r, "dimensions", value, &chat->dimensions);
    else if (text_equal(name, TEXT("user")))
        return vectors_string(r, "user", value, &chat->user);
    else if (text_equal(name, TEXT("encoding_format")))
        return read_format(r, value);
    else if (text_equal(name, TEXT("truncate")) && said_of(value))
        chat->truncate = said_of(value) == SAID_YES ? TEXT("END") : TEXT("NONE");
    else if (text_equal(name, TEXT("truncate")) && member_string(value).at)
        chat->truncate = member_string(value);
    else if (text_equal(name, TEXT("input_type")) && purpose_of(member_string(value)))
        chat->purpose = purpose_of(member_string(value));
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
    return chat->message_count ? true : vectors_refuse(&r, "input", "is missing");
}

/* --------------------------------------------------------------------------- a call is written */

static void put_tokens(struct buffer *out, const struct chat *chat, size_t i,
                       const struct translator *own, struct losses *losses)
{
    const struct part *part = chat->messages[i].part_count ? &chat->messages[i].parts[0] : NULL;
    if (!part || part->kind != PART_RAW || part->from != own) {
        vectors_put_text(out, chat, i, losses);
        return;
    }
    put_comma(out);
    put_text(out, part->raw);
}

static void put_input(struct buffer *out, const struct chat *chat, const struct translator *own,
                      const struct call_target *target, struct losses *losses)
{
    put_inner(out, "model", target->model);
    put_open(out, "input", '[');
    for (size_t i = 0; i < chat->message_count; i++)
        put_tokens(out, chat, i, own, losses);
    put_literal(out, "]");
}

/* What providers of OpenAI's dialect call what the texts are for; of each purpose the first. */
static const struct {
    struct text who; /* a row's <vectors> */
    enum purpose purpose;
    struct text name, word;
} purpose_words[] = {
    {{"voyage", 6}, PURPOSE_QUERY, {"input_type", 10}, {"query", 5}},
    {{"voyage", 6}, PURPOSE_DOCUMENT, {"input_type", 10}, {"document", 8}},
    {{"nvidia", 6}, PURPOSE_QUERY, {"input_type", 10}, {"query", 5}},
    {{"nvidia", 6}, PURPOSE_DOCUMENT, {"input_type", 10}, {"passage", 7}},
    {{"jina", 4}, PURPOSE_QUERY, {"task", 4}, {"retrieval.query", 15}},
    {{"jina", 4}, PURPOSE_DOCUMENT, {"task", 4}, {"retrieval.passage", 17}},
    {{"jina", 4}, PURPOSE_CLASSIFICATION, {"task", 4}, {"classification", 14}},
    {{"jina", 4}, PURPOSE_CLUSTERING, {"task", 4}, {"separation", 10}},
    {{"jina", 4}, PURPOSE_SIMILARITY, {"task", 4}, {"text-matching", 13}},
};

/* Models of NVIDIA's refuse a call that does not say it. */
static void put_purpose(struct buffer *out, const struct chat *chat, struct text who,
                        struct losses *losses)
{
    bool must = text_equal(who, TEXT("nvidia")) && !chat->purpose;
    enum purpose purpose = must ? PURPOSE_DOCUMENT : chat->purpose;
    for (size_t i = 0; i < sizeof(purpose_words) / sizeof(purpose_words[0]); i++)
        if (text_equal(purpose_words[i].who, who) && purpose_words[i].purpose == purpose) {
            put_inner(out, purpose_words[i].name.at, purpose_words[i].word);
            return;
        }
    if (chat->purpose)
        loss_hint(losses, "input_type");
}

/* Whether texts that are too long are cut. */
static void put_truncate(struct buffer *out, const struct chat *chat, struct text who,
                         struct losses *losses)
{
    enum said cuts = inner_is(chat->truncate, "NONE") ? SAID_NO : SAID_YES;
    if (!chat->truncate.at)
        return;
    if (text_equal(who, TEXT("voyage")))
        put_said(out, "truncation", cuts);
    else if (text_equal(who, TEXT("jina")))
        put_said(out, "truncate", cuts);
    else if (text_equal(who, TEXT("nvidia")))
        put_inner(out, "truncate", chat->truncate);
    else
        loss_hint(losses, "truncate");
}

static void write_openai(struct arena *arena, const struct chat *chat,
                         const struct call_target *target, struct buffer *out,
                         struct losses *losses)
{
    struct call_target named = *target;
    named.model = inner_of(arena, target->model);
    put_literal(out, "{");
    struct text who = target->type->vectors;
    if (text_starts(who, TEXT("nvidia")))
        who = TEXT("nvidia");
    put_input(out, chat, &translator_openai_embedding, &named, losses);
    if (chat->dimensions > 0)
        put_number(out, text_equal(who, TEXT("voyage")) ? "output_dimension" : "dimensions",
                   chat->dimensions);
    put_purpose(out, chat, who, losses);
    put_truncate(out, chat, who, losses);
    if (who.len && chat->user.at)
        loss_hint(losses, "user");
    else
        put_inner(out, "user", chat->user);
    vectors_put_own(out, chat, &translator_openai_embedding);
    loss_fields(losses, chat, &translator_openai_embedding);
    put_literal(out, "}");
}

static void write_ollama(struct arena *arena, const struct chat *chat,
                         const struct call_target *target, struct buffer *out,
                         struct losses *losses)
{
    struct call_target named = *target;
    named.model = inner_of(arena, target->model);
    put_literal(out, "{");
    put_input(out, chat, &translator_ollama_embedding, &named, losses);
    if (chat->dimensions > 0)
        put_number(out, "dimensions", chat->dimensions);
    if (chat->purpose)
        loss_hint(losses, "input_type");
    if (chat->truncate.at)
        put_said(out, "truncate", inner_is(chat->truncate, "NONE") ? SAID_NO : SAID_YES);
    if (chat->user.at)
        loss_hint(losses, "user");
    vectors_put_own(out, chat, &translator_ollama_embedding);
    loss_fields(losses, chat, &translator_ollama_embedding);
    put_literal(out, "}");
}

static void write_openai_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/embeddings");
}

static void write_ollama_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/api/embed");
}

/* ------------------------------------------------------------------------------------- answers */

static void read_openai(void *state, struct text body, struct answer_sink *sink)
{
    struct answer seen = {.operation = OPERATION_EMBEDDING};
    struct text data = member_find(body, TEXT("data")), none, item;
    struct text usage = member_find(body, TEXT("usage"));
    unsigned number = 0;
    (void)state;
    if (!data.len || data.at[0] != '[' || !scan_is_valid(body)) {
        vectors_fail(sink, "The target's answer has no embeddings in it.");
        return;
    }
    vectors_begin(sink, member_string(member_find(body, TEXT("id"))),
                  member_string(member_find(body, TEXT("model"))));
    while (number < VECTORS_MAX && member_next(&data, &none, &item))
        vectors_say(sink, number++, member_find(item, TEXT("embedding")));
    if (usage.len && usage.at[0] == '{')
        openai_read_usage(&seen, usage);
    vectors_end(sink, seen.usage_seen ? &seen.usage : NULL);
}

static void read_ollama(void *state, struct text body, struct answer_sink *sink)
{
    struct usage usage = {0};
    struct text vectors = member_find(body, TEXT("embeddings"));
    (void)state;
    if (!vectors.len || vectors.at[0] != '[' || !scan_is_valid(body)) {
        vectors_fail(sink, "The target's answer has no embeddings in it.");
        return;
    }
    vectors_begin(sink, (struct text){NULL, 0}, member_string(member_find(body, TEXT("model"))));
    vectors_say_array(sink, vectors);
    bool counted = member_count(member_find(body, TEXT("prompt_eval_count")), VECTOR_TOKENS_MAX,
                                &usage.input_tokens);
    vectors_end(sink, counted ? &usage : NULL);
}

static void write_openai_whole(const struct answer_way *way, struct arena *arena,
                               const struct whole_answer *whole, struct buffer *out)
{
    const struct whole_choice *choice = vectors_of(whole);
    struct text format = member_string(member_find(way->call, TEXT("encoding_format")));
    bool base64 = text_equal(format, TEXT("base64"));
    put_literal(out, "{\"object\":\"list\"");
    put_open(out, "data", '[');
    for (size_t i = 0; i < choice->part_count; i++) {
        put_open(out, NULL, '{');
        put_inner(out, "object", TEXT("embedding"));
        put_number(out, "index", (int64_t)i);
        put_literal(out, ",\"embedding\":");
        if (base64)
            vectors_put_base64(out, choice->parts[i].raw);
        else
            vectors_put_numbers(out, choice->parts[i].raw);
        put_literal(out, "}");
    }
    put_literal(out, "]");
    put_inner(out, "model", inner_of(arena, way->model));
    put_open(out, "usage", '{');
    put_number(out, "prompt_tokens", whole->usage.input_tokens);
    put_number(out, "total_tokens", whole->usage.input_tokens);
    put_literal(out, "}}");
}

/* Nobody here knows how long it took: the durations are zero. */
static void write_ollama_whole(const struct answer_way *way, struct arena *arena,
                               const struct whole_answer *whole, struct buffer *out)
{
    put_literal(out, "{");
    put_inner(out, "model", inner_of(arena, way->model));
    put_open(out, "embeddings", '[');
    vectors_put_items(out, whole, false);
    put_literal(out, "]");
    put_number(out, "total_duration", 0);
    put_number(out, "load_duration", 0);
    put_number(out, "prompt_eval_count", whole->usage.input_tokens);
    put_literal(out, "}");
}

const struct translator translator_openai_embedding = {
    .name = {"openai-embedding", 16},
    .dialect = {"openai", 6},
    .operation = OPERATION_EMBEDDING,
    .read_call = read_call,
    .write_call = write_openai,
    .write_path = write_openai_path,
    .read_body = read_openai,
    .read_error = openai_read_error,
    .write_whole = write_openai_whole,
    VECTORS_TRANSLATOR,
};

const struct translator translator_ollama_embedding = {
    .name = {"ollama-embedding", 16},
    .dialect = {"ollama", 6},
    .operation = OPERATION_EMBEDDING,
    .read_call = read_call,
    .write_call = write_ollama,
    .write_path = write_ollama_path,
    .read_body = read_ollama,
    .read_error = ollama_read_error,
    .write_whole = write_ollama_whole,
    VECTORS_TRANSLATOR,
};
