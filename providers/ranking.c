/* SPDX-License-Identifier: Apache-2.0 */
/* Rankings of texts by a question, of the dialects openai (as Jina, Voyage and vLLM have them) and
 * cohere (v2 rerank). */
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/cohere.h"
#include "providers/openai.h"
#include "providers/vectors.h"

/* ------------------------------------------------------------------------------ a call is read */

/* The question comes first, wherever it stands. */
static bool read_texts(struct vector_reading *r, struct text body)
{
    struct text query = member_find(body, TEXT("query"));
    struct text documents = member_find(body, TEXT("documents")), none, item;
    if (!member_string(query).at)
        return vectors_refuse(r, "query", query.at ? "has to be a string" : "is missing");
    if (!documents.len || documents.at[0] != '[')
        return vectors_refuse(r, "documents", documents.at ? "has to be an array" : "is missing");
    if (!vectors_add_value(r, "query", query))
        return false;
    while (member_next(&documents, &none, &item)) {
        struct text text = item.at[0] == '{' ? member_find(item, TEXT("text")) : item;
        if (!vectors_add_value(r, "documents", member_string(text).at ? text : item))
            return false;
    }
    return r->chat->message_count > 1 ? true : vectors_refuse(r, "documents", "has nothing in it");
}

static bool read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    struct vector_reading r = {.arena = arena, .chat = chat, .fault = fault};
    struct text body = source->body, name, value;
    chat->top = -1;
    while (member_next(&body, &name, &value)) {
        if (text_equal(name, TEXT("model")))
            chat->model = inner_plain(arena, member_string(value));
        else if (text_equal(name, TEXT("top_n")) || text_equal(name, TEXT("top_k"))) {
            if (!vectors_number(&r, "top_n", value, &chat->top))
                return false;
        } else if (text_equal(name, TEXT("return_documents")))
            chat->texts_shown = said_of(value);
        else if (text_equal(name, TEXT("user"))) {
            if (!vectors_string(&r, "user", value, &chat->user))
                return false;
        } else if (!text_equal(name, TEXT("query")) && !text_equal(name, TEXT("documents")))
            vectors_keep(&r, name, value, false);
    }
    return read_texts(&r, source->body);
}

/* --------------------------------------------------------------------------- a call is written */

static void put_texts(struct arena *arena, const struct chat *chat,
                      const struct call_target *target, struct buffer *out, struct losses *losses)
{
    bool voyage = text_equal(target->type->vectors, TEXT("voyage"));
    put_literal(out, "{");
    put_inner(out, "model", inner_of(arena, target->model));
    if (chat->message_count) {
        put_literal(out, ",\"query\":");
        vectors_put_text(out, chat, 0, losses);
    }
    vectors_put_texts(out, "documents", chat, 1, losses);
    if (chat->top >= 0)
        put_number(out, voyage ? "top_k" : "top_n", chat->top);
}

static void write_openai(struct arena *arena, const struct chat *chat,
                         const struct call_target *target, struct buffer *out,
                         struct losses *losses)
{
    put_texts(arena, chat, target, out, losses);
    put_said(out, "return_documents", chat->texts_shown);
    if (target->type->vectors.len && chat->user.at)
        loss_hint(losses, "user");
    else
        put_inner(out, "user", chat->user);
    vectors_put_own(out, chat, &translator_openai_ranking);
    put_literal(out, "}");
    loss_fields(losses, chat, &translator_openai_ranking);
}

/* The texts that are wanted back are in the call. */
static void write_cohere(struct arena *arena, const struct chat *chat,
                         const struct call_target *target, struct buffer *out,
                         struct losses *losses)
{
    put_texts(arena, chat, target, out, losses);
    vectors_put_own(out, chat, &translator_cohere_ranking);
    put_literal(out, "}");
    if (chat->user.at)
        loss_hint(losses, "user");
    loss_fields(losses, chat, &translator_cohere_ranking);
}

/* NVIDIA's: {"query":{"text"},"passages":[{"text"}]}. All places come back. */
static void write_nvidia(struct arena *arena, const struct chat *chat,
                         const struct call_target *target, struct buffer *out,
                         struct losses *losses)
{
    put_literal(out, "{");
    put_inner(out, "model", inner_of(arena, target->model));
    put_literal(out, ",\"query\":{\"text\":");
    vectors_put_text(out, chat, 0, losses);
    put_literal(out, "}");
    put_open(out, "passages", '[');
    for (size_t i = 1; i < chat->message_count; i++) {
        put_open(out, NULL, '{');
        put_literal(out, "\"text\":");
        vectors_put_text(out, chat, i, losses);
        put_literal(out, "}");
    }
    put_literal(out, "]}");
    if (chat->user.at)
        loss_hint(losses, "user");
    loss_fields(losses, chat, &translator_nvidia_ranking);
}

static void write_openai_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/rerank");
}

/* Hosted, each model has a path of its own, with _ for the dots in its name; a server of one's own
 * (NIM) has one model. */
static void write_nvidia_path(const struct call_target *target, struct buffer *out)
{
    if (!text_equal(target->type->vectors, TEXT("nvidia-hosted"))) {
        put_literal(out, "/ranking");
        return;
    }
    put_literal(out, "/retrieval/");
    for (size_t i = 0; i < target->model.len; i++) {
        unsigned char c = (unsigned char)target->model.at[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     c == '-' || c == '_' || c == '/';
        char byte = plain ? (char)c : '_';
        buffer_append(out, &byte, 1);
    }
    put_literal(out, "/reranking");
}

static void write_cohere_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/v2/rerank");
}

/* ------------------------------------------------------------------------------------- answers */

static struct text first_of(struct text object, const char *const *names)
{
    struct text value = {NULL, 0};
    for (; *names && json_is_absent(value); names++)
        value = member_find(object, text_of(*names));
    return value;
}

/* One place, in the words of both. */
static bool say_place(struct answer_sink *sink, unsigned number, struct text item)
{
    static const char *const scores[] = {"relevance_score", "score", "logit", NULL};
    struct text score = first_of(item, scores), document = member_find(item, TEXT("document"));
    int64_t index;
    if (!member_count(member_find(item, TEXT("index")), VECTORS_MAX, &index) || !score.len)
        return false;
    struct buffer made;
    buffer_init(&made, SIZE_MAX / 2);
    put_literal(&made, "{");
    put_number(&made, "index", index);
    put_json(&made, "relevance_score", score);
    if (member_string(document).at) {
        put_open(&made, "document", '{');
        put_json(&made, "text", document);
        put_literal(&made, "}");
    } else if (!json_is_absent(document)) {
        put_json(&made, "document", document);
    }
    put_literal(&made, "}");
    vectors_say(sink, number, buffer_text(&made));
    buffer_done(&made);
    return true;
}

static void say_places(struct answer_sink *sink, struct text body, const struct usage *usage)
{
    static const char *const lists[] = {"results", "data", "rankings", NULL};
    struct text places = body.len && body.at[0] == '[' ? body : first_of(body, lists), none, item;
    unsigned number = 0;
    bool good = places.len && places.at[0] == '[' && scan_is_valid(body);
    if (good)
        vectors_begin(sink, member_string(member_find(body, TEXT("id"))),
                      member_string(member_find(body, TEXT("model"))));
    while (good && number < VECTORS_MAX && member_next(&places, &none, &item))
        good = say_place(sink, number++, item);
    if (good)
        vectors_end(sink, usage);
    else
        vectors_fail(sink, "The target's answer is no ranking.");
}

static void read_openai(void *state, struct text body, struct answer_sink *sink)
{
    struct answer seen = {.operation = OPERATION_RERANK};
    struct text usage = member_find(body, TEXT("usage")), meta = member_find(body, TEXT("meta"));
    (void)state;
    if (usage.len && usage.at[0] == '{')
        openai_read_usage(&seen, usage);
    if (meta.len && meta.at[0] == '{')
        openai_read_meta(&seen, meta);
    say_places(sink, body, seen.usage_seen ? &seen.usage : NULL);
}

static void read_cohere(void *state, struct text body, struct answer_sink *sink)
{
    struct usage usage = {0};
    bool counted = cohere_read_meta(member_find(body, TEXT("meta")), &usage);
    (void)state;
    say_places(sink, body, counted ? &usage : NULL);
}

/* The texts of the call, which are found once for all places. */
struct documents {
    struct text *list;
    size_t count;
};

static struct documents documents_of(struct arena *arena, struct text array)
{
    struct documents found = {.list = NULL};
    size_t room = 0;
    struct text none, item;
    while (found.count < VECTORS_MAX && member_next(&array, &none, &item)) {
        found.list = arena_grow(arena, found.list, found.count, &room, sizeof(*found.list));
        found.list[found.count++] = item;
    }
    return found;
}

/* The one at <index>, as an object. */
static void put_document(struct buffer *out, const struct documents *documents, int64_t index)
{
    if ((size_t)index >= documents->count)
        return;
    struct text item = documents->list[index];
    bool bare = item.at[0] != '{';
    put_literal(out, bare ? ",\"document\":{\"text\":" : ",\"document\":");
    put_text(out, item);
    put_literal(out, bare ? "}" : "");
}

/* Not more places than were asked for, of a target that tells all of them. */
static size_t most_places(const struct answer_way *way)
{
    int64_t most = VECTORS_MAX;
    if (!member_count(member_find(way->call, TEXT("top_n")), VECTORS_MAX, &most))
        member_count(member_find(way->call, TEXT("top_k")), VECTORS_MAX, &most);
    return (size_t)most;
}

static void put_places(struct buffer *out, const struct answer_way *way,
                       const struct whole_answer *whole, const struct documents *documents)
{
    const struct whole_choice *choice = vectors_of(whole);
    size_t most = most_places(way);
    put_open(out, "results", '[');
    for (size_t i = 0; i < choice->part_count && i < most; i++) {
        struct text place = choice->parts[i].raw;
        int64_t index = 0;
        member_count(member_find(place, TEXT("index")), VECTORS_MAX, &index);
        put_open(out, NULL, '{');
        put_number(out, "index", index);
        put_json(out, "relevance_score", member_find(place, TEXT("relevance_score")));
        put_document(out, documents, index);
        put_literal(out, "}");
    }
    put_literal(out, "]");
}

static void put_units(struct buffer *out, const struct usage *usage)
{
    put_open(out, "billed_units", '{');
    if (usage->units)
        put_number(out, "search_units", usage->units);
    else
        put_number(out, "input_tokens", usage->input_tokens);
    put_literal(out, "}");
}

static void write_openai_whole(const struct answer_way *way, struct arena *arena,
                               const struct whole_answer *whole, struct buffer *out)
{
    bool shown = said_of(member_find(way->call, TEXT("return_documents"))) == SAID_YES;
    put_literal(out, "{");
    put_inner(out, "id", whole->id.len ? whole->id : inner_of(arena, way->id));
    put_inner(out, "object", TEXT("list"));
    put_inner(out, "model", inner_of(arena, way->model));
    struct documents documents =
        documents_of(arena, shown ? member_find(way->call, TEXT("documents")) : TEXT(""));
    put_places(out, way, whole, &documents);
    put_open(out, "usage", '{');
    put_number(out, "prompt_tokens", whole->usage.input_tokens);
    put_number(out, "total_tokens", whole->usage.input_tokens);
    put_literal(out, "}");
    if (whole->usage.units) {
        put_open(out, "meta", '{');
        put_units(out, &whole->usage);
        put_literal(out, "}");
    }
    put_literal(out, "}");
}

static void write_cohere_whole(const struct answer_way *way, struct arena *arena,
                               const struct whole_answer *whole, struct buffer *out)
{
    put_literal(out, "{");
    put_inner(out, "id", whole->id.len ? whole->id : inner_of(arena, way->id));
    put_places(out, way, whole, &(struct documents){.count = 0});
    put_literal(out, ",\"meta\":{\"api_version\":{\"version\":\"2\"}");
    put_units(out, &whole->usage);
    put_literal(out, "}}");
}

const struct translator translator_openai_ranking = {
    .name = {"openai-ranking", 14},
    .dialect = {"openai", 6},
    .operation = OPERATION_RERANK,
    .read_call = read_call,
    .write_call = write_openai,
    .write_path = write_openai_path,
    .read_body = read_openai,
    .read_error = openai_read_error,
    .write_whole = write_openai_whole,
    VECTORS_TRANSLATOR,
};

/* By targets only: its clients send what OpenAI's do. */
const struct translator translator_nvidia_ranking = {
    .name = {"nvidia-ranking", 14},
    .dialect = {"nvidia", 6},
    .operation = OPERATION_RERANK,
    .read_call = read_call,
    .write_call = write_nvidia,
    .write_path = write_nvidia_path,
    .read_body = read_openai,
    .read_error = openai_read_error,
    .write_whole = write_openai_whole,
    VECTORS_TRANSLATOR,
};

const struct translator translator_cohere_ranking = {
    .name = {"cohere-ranking", 14},
    .dialect = {"cohere", 6},
    .operation = OPERATION_RERANK,
    .read_call = read_call,
    .write_call = write_cohere,
    .write_path = write_cohere_path,
    .read_body = read_cohere,
    .read_error = cohere_read_error,
    .write_whole = write_cohere_whole,
    VECTORS_TRANSLATOR,
};
