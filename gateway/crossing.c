/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/crossing.h"

#include "gateway/answer.h"
#include "gateway/base/json.h"
#include "gateway/base/member.h"
#include "gateway/client.h"
#include "gateway/foreign.h"
#include "gateway/guarding.h"
#include "gateway/objects.h"
#include "gateway/sizes.h"
#include "gateway/tiers.h"
#include "gateway/worker_inside.h"
#include "providers/refusal.h"

enum {
    ERROR_BYTES = 8192,                /* of an error's body that are read */
    TRANSLATED_MAX = 64 * 1024 * 1024, /* of one answer, or of what one read makes */
    PATH_MAX_BYTES = 8192,
    GROWTH_MAX = 8, /* a body in other words: escapes within escapes, longer names */
    GROWTH_MIN = 65536,
    NAME_GROWTH_MAX = 6,          /* of a character that is escaped */
    CROSSED_BYTES_MAX = 64 << 20, /* of the body, over all targets that it is written for */
};

/* ------------------------------------------------------------------------------- the call */

static bool cannot(struct exchange *x, const char *words)
{
    return fault_set(exchange_fault(x), FAULT_UNSUPPORTED, "The target %.*s %s.",
                     TEXT_ARGS(x->target->id), words);
}

/* No words lead from what the client says to what the target understands. */
static bool has_no_words(struct exchange *x)
{
    return fault_set(exchange_fault(x), FAULT_UNSUPPORTED,
                     "The target %.*s cannot be asked for this (%s) in the client's dialect: its "
                     "provider is of type %.*s.",
                     TEXT_ARGS(x->target->id), operation_name(x->call.operation),
                     TEXT_ARGS(x->target->provider->type->name));
}

bool crossing_at_root(const struct exchange *x)
{
    const struct provider_type *type = x->target->provider->type;
    return type->second_dialect.len && !text_equal(type->dialect, x->match.dialect);
}

struct text crossing_target_dialect(const struct exchange *x)
{
    const struct provider_type *type = x->target->provider->type;
    return crossing_at_root(x) ? type->second_dialect : type->dialect;
}

const struct dialect *crossing_target_words(const struct exchange *x)
{
    const struct provider_settings *provider = x->target->provider;
    return crossing_at_root(x) ? provider->second_dialect : provider->dialect;
}

/* Rankings of NVIDIA's have words of their own beside OpenAI's dialect. */
static bool ranks_otherwise(const struct exchange *x)
{
    return x->call.operation == OPERATION_RERANK &&
           text_starts(x->target->provider->type->vectors, TEXT("nvidia"));
}

/* Can it be asked in <dialect>, its own, how many tokens a call of another dialect has? */
static bool counts_in(const struct exchange *x, struct text dialect)
{
    if (text_equal(dialect, TEXT("bedrock"))) /* of Claude only */
        return text_find(x->upstream_model, TEXT("claude")) != SIZE_MAX;
    return !text_equal(dialect, TEXT("openai"));
}

/* What the target is asked for in its own dialect: the same, where it has that. <from>: the
 * client's words, or NULL. */
static const struct translator *words_of_target(const struct exchange *x,
                                                const struct translator *from)
{
    struct text dialect = crossing_target_dialect(x);
    enum operation operation = x->call.operation;
    bool talks = operation == OPERATION_CHAT || operation == OPERATION_RESPONSE ||
                 operation == OPERATION_COMPLETION;
    struct text words = x->target->provider->type->chat_dialect;
    if (talks && words.len)
        dialect = words;
    if (ranks_otherwise(x))
        dialect = TEXT("nvidia");
    if (operation == OPERATION_COUNT && !counts_in(x, dialect))
        return NULL;
    const struct translator *bare =
        from && translator_is_bare(from) ? translator_find(dialect, OPERATION_COMPLETION) : NULL;
    return bare ? bare : translator_find(dialect, talks ? OPERATION_CHAT : operation);
}

/* Does the target take what this client says as it is? */
static bool takes_as_it_is(const struct exchange *x)
{
    const struct provider_type *type = x->target->provider->type;
    if (!text_equal(crossing_target_dialect(x), x->match.dialect))
        return false;
    if (x->call.operation == OPERATION_CHAT && (type->chat_dialect.len || x->odd_body))
        return false;
    if ((type->is_vertex && x->call.operation == OPERATION_COMPLETION) || ranks_otherwise(x))
        return false;
    if (x->call.operation == OPERATION_COUNT && x->match.shape == SHAPE_OPENAI)
        return type->input_tokens;
    return !(x->call.operation == OPERATION_RESPONSE && type->no_responses) && !x->array_out;
}

/* Those that a client of Anthropic's names in its headers, which go up as they are to such only. */
static struct text betas_of(struct exchange *x)
{
    static const struct text name = {"anthropic-beta:", 15};
    struct text rest = x->seeking->forward, all = {"", 0};
    while (rest.len) {
        size_t end = text_find(rest, TEXT("\r\n"));
        struct text line = text_head(rest, end);
        if (text_starts_nocase(line, name))
            all = arena_format(&x->seeking->arena, "%.*s%s%.*s", TEXT_ARGS(all), all.len ? "," : "",
                               TEXT_ARGS(text_trim(text_from(line, name.len))));
        rest = text_from(rest, end + 2);
    }
    return all;
}

static bool is_too_long(struct exchange *x)
{
    return fault_set(exchange_fault(x), FAULT_TOO_LARGE,
                     "The call is too long in the words of the target %.*s.",
                     TEXT_ARGS(x->target->id));
}

static struct call_target target_facts(const struct exchange *x)
{
    return (struct call_target){
        .type = x->target->provider->type,
        .model = x->upstream_model,
        .stream = x->call.stream,
        .project = x->target->provider->project,
        .location = x->target->provider->location,
        .max_tokens_default = x->target->max_tokens_default,
        .max_tokens_max = x->target->max_tokens_max,
        .lowered_tokens = x->lowered_tokens,
    };
}

static bool check_losses(struct exchange *x)
{
    struct text demands = x->seeking->translated.demands;
    if (!demands.len || x->target->provider->lenient)
        return true;
    fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
              "The target %.*s cannot do what is asked with: %.*s.", TEXT_ARGS(x->target->id),
              TEXT_ARGS(text_head(demands, 150)));
    struct text first = text_head(demands, text_find_byte(demands, ','));
    exchange_fault(x)->param = arena_copy(&x->arena, first).at;
    return false;
}

/* Are the client's streams cut as its dialect says? */
static bool is_known_stream(const struct exchange *x, const struct translator *words)
{
    bool events = text_starts(translator_stream_type(words), TEXT("text/event-stream"));
    return x->array_out || events == (x->dialect->framing == FRAMING_SSE);
}

/* What an answer is looked into as, whose form in the client's words the guardrails do not know
 * (Monster API's). */
static const struct translator *known_words(enum operation operation)
{
    return translator_find(TEXT("openai"), operation);
}

/* Vertex AI has conversations only; of Claude, the counting of their tokens too. */
static bool vertex_has(const struct exchange *x)
{
    const struct provider_type *type = x->target->provider->type;
    enum operation operation = x->call.operation;
    if (!type->is_vertex || text_equal(type->dialect, TEXT("gemini")))
        return true;
    bool counts = operation == OPERATION_COUNT && text_equal(type->dialect, TEXT("anthropic"));
    return operation == OPERATION_CHAT || operation == OPERATION_RESPONSE ||
           operation == OPERATION_COMPLETION || counts;
}

/* Azure has it below its newer paths only, which have no api-version. */
static bool compacts(const struct provider_settings *provider)
{
    return provider->type->compacts && !(provider->type->is_azure && provider->api_version.len);
}

static const struct fault *keep_fault(struct exchange *x, const struct fault *fault)
{
    struct fault *kept = arena_new(&x->seeking->arena, sizeof(*kept));
    *kept = *fault;
    return kept;
}

bool crossing_read(struct exchange *x, const struct translator *words)
{
    struct fault fault = {0};
    struct text body = buffer_text(&x->body);
    if (x->seeking->chat)
        return true;
    if (!x->seeking->unreadable) {
        x->seeking->chat =
            translate_read(&x->seeking->arena, words, body, x->call.model, x->call.stream, &fault);
        if (!x->seeking->chat)
            x->seeking->unreadable = keep_fault(x, &fault);
    }
    if (!x->seeking->chat)
        *exchange_fault(x) = *x->seeking->unreadable;
    else if (!x->seeking->translated_body.limit)
        buffer_init(&x->seeking->translated_body, GROWTH_MAX * body.len + GROWTH_MIN);
    return x->seeking->chat != NULL;
}

/* May the call be written for this target, too? That takes a while, and the worker has others to
 * serve; a route has up to 64 targets. */
static bool may_write(struct exchange *x)
{
    size_t bytes = buffer_length(&x->body);
    for (size_t i = 0; i < x->seeking->crossed_count; i++)
        if (x->seeking->crossed[i] == x->target)
            return true;
    bool enough =
        x->seeking->crossed_count == CROSSINGS_MAX ||
        (x->seeking->crossed_count && (x->seeking->crossed_count + 1) * bytes > CROSSED_BYTES_MAX);
    if (!enough) {
        x->seeking->crossed[x->seeking->crossed_count++] = x->target;
        return true;
    }
    if (x->seeking->uncrossed)
        *exchange_fault(x) = *x->seeking->uncrossed;
    return x->seeking->uncrossed ? false : cannot(x, "is one too many to write the call for");
}

/* May it have a name of the model in it? A list of contents, or a whole request to count. */
static bool has_names(struct text name)
{
    return text_equal(name, TEXT("requests")) || text_equal(name, TEXT("generateContentRequest")) ||
           text_equal(name, TEXT("generate_content_request"));
}

/* An object with another name of the model, also in what has_names(). */
static void put_named(struct text object, struct text model, bool is_outer, struct buffer *out)
{
    struct text name, value;
    const char *mark = "{";
    while (member_next(&object, &name, &value)) {
        buffer_append_text(out, text_of(mark));
        buffer_append_text(out, TEXT("\""));
        buffer_append_text(out, name);
        buffer_append_text(out, TEXT("\":"));
        mark = ",";
        struct text none, item;
        const char *between = "";
        if (text_equal(name, TEXT("model"))) {
            buffer_append_text(out, model);
        } else if (is_outer && has_names(name) && value.at[0] == '{') {
            put_named(value, model, false, out);
        } else if (is_outer && has_names(name) && value.at[0] == '[') {
            buffer_append_text(out, TEXT("["));
            for (; member_next(&value, &none, &item); between = ",") {
                buffer_append_text(out, text_of(between));
                if (item.at[0] == '{')
                    put_named(item, model, false, out);
                else
                    buffer_append_text(out, item);
            }
            buffer_append_text(out, TEXT("]"));
        } else {
            buffer_append_text(out, value);
        }
    }
    buffer_append_text(out, mark[0] == '{' ? TEXT("{}") : TEXT("}"));
}

/* The body with the target's name for the model. */
static bool name_body(struct exchange *x)
{
    struct text body = buffer_text(&x->body);
    size_t at = text_find_byte(body, '{');
    bool counts = x->call.operation == OPERATION_COUNT &&
                  (text_find(body, TEXT("generateContentRequest")) != SIZE_MAX ||
                   text_find(body, TEXT("generate_content_request")) != SIZE_MAX);
    if (x->match.shape != SHAPE_GEMINI || (x->call.operation != OPERATION_EMBEDDING && !counts) ||
        at == SIZE_MAX)
        return true;
    struct buffer quoted, named;
    buffer_init(&quoted, NAME_GROWTH_MAX * x->upstream_model.len + sizeof("\"models/\""));
    bool is_bare = !text_starts(x->upstream_model, TEXT("models/"));
    json_write_string(&quoted, arena_format(&x->seeking->arena, "%s%.*s", is_bare ? "models/" : "",
                                            TEXT_ARGS(x->upstream_model)));
    buffer_init(&named, TRANSLATED_MAX);
    put_named(text_from(body, at), buffer_text(&quoted), true, &named);
    bool fits = !named.overrun;
    if (fits)
        x->seeking->named_body = arena_copy(&x->seeking->arena, buffer_text(&named));
    buffer_done(&quoted);
    buffer_done(&named);
    return fits || is_too_long(x);
}

bool crossing_prepare(struct exchange *x)
{
    x->target_words = x->client_words = NULL;
    x->service_written = false;
    x->seeking->translated = (struct translated_call){0};
    x->seeking->named_body = (struct text){NULL, 0};
    if (!vertex_has(x))
        return cannot(x, "does not have this");
    if (x->compacts && !compacts(x->target->provider))
        return cannot(x, "cannot compact a conversation: /v1/responses/compact is OpenAI's own");
    if (takes_as_it_is(x)) {
        if (x->is_makers && guarding_watches(x))
            return cannot(x, "is asked in words that the guardrails cannot look into");
        return name_body(x) && sizes_fit(x);
    }
    /* What a response builds on is refused by name where its call is read. */
    bool object = x->object_id.len && !objects_builds_on(x);
    if (x->match.endpoint->body != BODY_JSON || object || x->upload)
        return cannot(x, "does not have this");
    const struct translator *from = translator_find(exchange_dialect(x), x->call.operation);
    const struct translator *to = words_of_target(x, from);
    if (!from || !to)
        return has_no_words(x);
    /* Nothing passes that the guardrails cannot look into. */
    bool looked_into = x->dialect ? !x->call.stream || is_known_stream(x, from)
                                  : known_words(x->call.operation) != NULL;
    if (guarding_watches(x) && !looked_into)
        return cannot(x, "is asked for an answer of a form that the guardrails cannot look into");
    if (!crossing_read(x, from) || !may_write(x))
        return false;
    struct call_target facts = target_facts(x);
    facts.betas = betas_of(x);
    to = translate_nearest(x->seeking->chat, to, x->upstream_model);
    if (!translate_write(&x->seeking->arena, x->seeking->chat, to, &facts,
                         &x->seeking->translated_body, &x->seeking->translated))
        return is_too_long(x);
    foreign_blank_carried(x);
    x->client_words = from;
    x->target_words = to;
    if (x->call.service_said)
        tiers_read_written(x);
    bool good = check_losses(x) && sizes_fit(x);
    if (!good && !x->seeking->uncrossed)
        x->seeking->uncrossed = keep_fault(x, exchange_fault(x));
    return good;
}

/* Embeddings of a dialect that has the model in its paths: like its chat, with another verb. */
static bool put_embedding_path(const struct exchange *x, struct buffer *out)
{
    static const struct text verb = {":generateContent", 16};
    const struct translator *chat = translator_find(exchange_dialect(x), OPERATION_CHAT);
    struct text own = x->match.suffix;
    size_t at = own.len;
    while (at > 0 && own.at[at - 1] != ':')
        at--;
    if (!chat || !at || x->call.operation != OPERATION_EMBEDDING)
        return false;
    struct call_target facts = target_facts(x);
    facts.stream = false;
    struct buffer path;
    buffer_init(&path, PATH_MAX_BYTES);
    translate_path(chat, &facts, &path);
    struct text made = buffer_text(&path);
    if (text_ends(made, verb))
        made.len -= verb.len;
    buffer_append_text(out, made);
    buffer_append_text(out, text_from(own, at - 1));
    out->overrun |= path.overrun;
    buffer_done(&path);
    return true;
}

bool crossing_put_path(const struct exchange *x, struct buffer *out)
{
    if (crossing_is_on(x)) {
        buffer_append_text(out, x->seeking->translated.path);
        return true;
    }
    if (!x->model_in_path)
        return false;
    if (x->call.operation == OPERATION_EMBEDDING)
        return put_embedding_path(x, out);
    const struct translator *own = translator_find(exchange_dialect(x), x->call.operation);
    if (!own)
        return false;
    struct call_target facts = target_facts(x);
    translate_path(own, &facts, out);
    return true;
}

/* AWS says how much was used in the head of an answer that is whole. */
static void put_counts(const struct exchange *x, struct buffer *out)
{
    const struct usage *usage = &x->answer.usage;
    if (x->relay == RELAY_EVENTS)
        buffer_append_text(out, TEXT("x-amzn-bedrock-content-type: application/json\r\n"));
    if (x->relay != RELAY_WHOLE || !x->answer.usage_seen)
        return;
    buffer_format(
        out,
        "x-amzn-bedrock-input-token-count: %lld\r\n"
        "x-amzn-bedrock-output-token-count: %lld\r\n",
        (long long)(usage->input_tokens - usage->cached_tokens - usage->cache_write_tokens),
        (long long)usage->output_tokens);
    if (usage->cached_tokens || usage->cache_write_tokens)
        buffer_format(out,
                      "x-amzn-bedrock-cache-read-input-token-count: %lld\r\n"
                      "x-amzn-bedrock-cache-write-input-token-count: %lld\r\n",
                      (long long)usage->cached_tokens, (long long)usage->cache_write_tokens);
}

void crossing_put_header(const struct exchange *x, struct buffer *out)
{
    struct text demands = x->seeking->translated.demands, hints = x->seeking->translated.hints;
    if (crossing_is_on(x) && x->invokes)
        put_counts(x, out);
    if (!crossing_is_on(x) || (!demands.len && !hints.len))
        return;
    buffer_append_text(out, TEXT("x-sluice-dropped: "));
    buffer_append_text(out, demands);
    buffer_append_text(out, demands.len && hints.len ? TEXT(",") : TEXT(""));
    buffer_append_text(out, hints);
    buffer_append_text(out, TEXT("\r\n"));
}

/* ----------------------------------------------------------------------------- the answer */

bool crossing_is_stream(struct text type)
{
    return text_starts_nocase(type, TEXT("text/event-stream")) ||
           text_starts_nocase(type, TEXT("application/x-ndjson")) ||
           text_starts_nocase(type, TEXT("application/stream+json")) ||
           text_starts_nocase(type, TEXT("application/vnd.amazon.eventstream"));
}

static struct answer_way way_of(const struct exchange *x)
{
    return (struct answer_way){
        .from = x->target_words,
        .to = x->client_words,
        .id = text_of(x->id),
        .model = x->call.model,
        .now_s = x->started_wall_us / 1000000,
        .stream_out = x->call.stream,
        .array_out = x->array_out,
        .wants_usage = x->call.asked_usage,
        .call = buffer_text(&x->body),
    };
}

void crossing_begin(struct exchange *x, struct text type)
{
    struct answer_way way = way_of(x);
    way.stream_in = crossing_is_stream(type);
    way.call = translate_keep_call(&x->arena, x->client_words, way.call);
    if (!x->dialect && guarding_watches(x)) {
        struct answer_way known = way;
        way.to = known.from = known_words(x->call.operation);
        known.stream_in = x->call.stream;
        x->restating = translation_new(&known, arena_new(&x->arena, sizeof(x->answer)));
        exchange_buffer(x, &x->restated_out, TRANSLATED_MAX);
    }
    x->translation = translation_new(&way, &x->answer);
    exchange_buffer(x, &x->translated_out, TRANSLATED_MAX);
}

struct text crossing_stream_type(const struct exchange *x)
{
    return x->array_out ? TEXT("application/json") : translator_stream_type(x->client_words);
}

/* What OpenAI's clients look for, whoever says that it is too long. */
static const char *code_of(unsigned status, struct text body)
{
    switch (refusal_read(status, body)) {
    case REFUSAL_CONTEXT:
        return "context_length_exceeded";
    case REFUSAL_FILTER:
        return "content_policy_violation";
    case REFUSAL_PREFILL:
    case REFUSAL_OTHER:
        break;
    }
    return NULL;
}

/* An error without words (a proxy's page) gets some. */
static struct text words_of(struct exchange *x, const struct provider_error *error)
{
    struct text words = provider_error_words(error, &x->arena);
    return words.len ? words
                     : arena_format(&x->arena, "The target answered with status %u.", x->status);
}

void crossing_say_error(struct exchange *x)
{
    struct provider_error error = {.kind = FAULT_TARGET_ERROR};
    struct text body = text_head(x->whole, ERROR_BYTES);
    translate_error(x->target_words, x->status, body, &error);
    answer_note_retry(x, error.retry_ms);
    struct their_error *theirs = arena_new(&x->arena, sizeof(*theirs));
    *theirs = (struct their_error){.words = words_of(x, &error), .code = code_of(x->status, body)};
    x->their_error = theirs;
    fault_set(exchange_fault(x), error.kind, "%s", error.message);
    struct buffer *out = exchange_buffer(x, &x->translated_out, TRANSLATED_MAX);
    answer_error_with(x, x->status, out);
    x->whole = buffer_text(out);
    x->answer_type = TEXT("application/json");
}

struct text crossing_own_stream_type(const struct exchange *x)
{
    const struct translator *own = translator_find(exchange_dialect(x), x->call.operation);
    return own ? translator_stream_type(own) : TEXT("text/event-stream");
}

bool crossing_convert(const struct exchange *x, struct text answer, struct buffer *out)
{
    const struct translator *own = translator_find(exchange_dialect(x), x->call.operation);
    struct answer_way way = way_of(x);
    if (!own)
        return false;
    way.from = way.to = own;
    way.stream_in = !x->call.stream;
    return translate_form(&way, answer, out);
}

void crossing_forget(struct exchange *x)
{
    translation_free(x->translation);
    translation_free(x->restating);
    x->translation = x->restating = NULL;
    if (x->translated_out)
        buffer_done(x->translated_out);
    if (x->restated_out)
        buffer_done(x->restated_out);
}
