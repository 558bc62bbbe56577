/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/outbound_edit.h"

#include <string.h>

#include "gateway/base/json.h"
#include "gateway/base/member.h"
#include "gateway/config/config.h"
#include "gateway/crossing.h"
#include "gateway/foreign.h"
#include "gateway/resume.h"
#include "gateway/worker_inside.h"

#define VERTEX_VERSION "\"anthropic_version\":\"vertex-2023-10-16\""

enum { EDITS_MAX = 8, ESCAPED_MAX = 6 };

struct edit {
    size_t at, removed;
    struct text inserted;
};

struct edits {
    struct edit list[EDITS_MAX];
    int count;
};

static void add_edit(struct edits *edits, size_t at, size_t removed, struct text inserted)
{
    int i = edits->count++;
    while (i > 0 && edits->list[i - 1].at > at) {
        edits->list[i] = edits->list[i - 1];
        i--;
    }
    edits->list[i] = (struct edit){at, removed, inserted};
}

/* Where the member begins whose value <raw> is: at its name's first quote. A name, be it written
 * with escapes, has no quotes in it. */
static const char *member_begin(struct text raw)
{
    const char *quote = raw.at - 1;
    for (int quotes = 0; quotes < 2; quote--)
        quotes += *quote == '"';
    return quote + 1;
}

/* Claude on Vertex AI: the version stands in the body, and, but to count, the model in the path. */
static void edit_version(const struct exchange *x, struct text body, struct text model,
                         struct edits *edits)
{
    static const struct text member = {VERTEX_VERSION ",", sizeof(VERTEX_VERSION)};
    if (x->call.operation == OPERATION_COUNT || !model.at) {
        add_edit(edits, text_find_byte(body, '{') + 1, 0, member);
        return;
    }
    const char *begin = member_begin(model);
    add_edit(edits, (size_t)(begin - body.at), (size_t)(model.at + model.len - begin),
             TEXT(VERTEX_VERSION));
}

static void edit_model(struct exchange *x, const char *body, struct edits *edits)
{
    if (x->seeking->model.kind != SCAN_STRING)
        return;
    struct text raw = x->seeking->model.raw;
    struct text now = {raw.at + 1, raw.len - 2};
    if (!x->seeking->model.escaped && text_equal(now, x->upstream_model))
        return;
    struct buffer quoted;
    buffer_init(&quoted, ESCAPED_MAX * x->upstream_model.len + 2);
    json_write_string(&quoted, x->upstream_model);
    add_edit(edits, (size_t)(raw.at - body), raw.len,
             arena_copy(&x->seeking->arena, buffer_text(&quoted)));
    buffer_done(&quoted);
}

static bool is_empty_object(struct text object)
{
    for (size_t i = 1; i + 1 < object.len; i++)
        if (!strchr(" \t\r\n", object.at[i]))
            return false;
    return true;
}

/* Ask a stream for its usage where the client did not. */
static void edit_usage(struct exchange *x, struct text body, struct edits *edits)
{
    x->answer.hide_usage = false;
    bool streams = x->call.operation == OPERATION_CHAT || x->call.operation == OPERATION_COMPLETION;
    if (!x->call.stream || !streams || x->call.asked_usage ||
        !x->target->provider->type->stream_options || crossing_at_root(x))
        return;
    x->answer.hide_usage = true;
    const struct scan_value *options = &x->seeking->stream_options,
                            *include = &x->seeking->include_usage;
    size_t at;
    if (options->kind == SCAN_ABSENT) {
        at = text_find_byte(body, '{') + 1;
        add_edit(edits, at, 0, TEXT("\"stream_options\":{\"include_usage\":true},"));
    } else if (options->kind != SCAN_OBJECT) {
        at = (size_t)(options->raw.at - body.at);
        add_edit(edits, at, options->raw.len, TEXT("{\"include_usage\":true}"));
    } else if (include->kind != SCAN_ABSENT) {
        at = (size_t)(include->raw.at - body.at);
        add_edit(edits, at, include->raw.len, TEXT("true"));
    } else {
        at = (size_t)(options->raw.at - body.at) + 1;
        add_edit(edits, at, 0,
                 is_empty_object(options->raw) ? TEXT("\"include_usage\":true")
                                               : TEXT("\"include_usage\":true,"));
    }
}

/* Names of the longest answer, in the order of x->seeking->max_tokens. */
enum length_name { NAME_MAX_TOKENS, NAME_MAX_COMPLETION_TOKENS, NAME_MAX_OUTPUT_TOKENS };
static const struct text length_names[MAX_TOKENS_NAMES] = {
    [NAME_MAX_TOKENS] = {"max_tokens", 10},
    [NAME_MAX_COMPLETION_TOKENS] = {"max_completion_tokens", 21},
    [NAME_MAX_OUTPUT_TOKENS] = {"max_output_tokens", 17},
};

/* The name under which the target takes it. */
static enum length_name name_here(const struct exchange *x)
{
    if (x->call.operation == OPERATION_RESPONSE)
        return NAME_MAX_OUTPUT_TOKENS;
    bool newer =
        x->call.operation == OPERATION_CHAT && x->target->provider->type->max_completion_tokens;
    return newer ? NAME_MAX_COMPLETION_TOKENS : NAME_MAX_TOKENS;
}

/* Who knows the newer name knows the older one, too. */
static bool is_known_here(const struct exchange *x, enum length_name name)
{
    return name == NAME_MAX_TOKENS ? x->call.operation != OPERATION_RESPONSE : name == name_here(x);
}

/* null says nothing, and so do -1 and Ollama's -2, as admission.c reads them. */
static bool is_number(const struct scan_value *value)
{
    return value->kind != SCAN_ABSENT && value->kind != SCAN_NULL &&
           !text_equal(value->raw, TEXT("-1")) && !text_equal(value->raw, TEXT("-2"));
}

/* The first of these names that says how long (or that says nothing), or MAX_TOKENS_NAMES. */
static int find_length(const struct exchange *x, bool given, bool known)
{
    int i = 0;
    while (i < MAX_TOKENS_NAMES && (is_number(&x->seeking->max_tokens[i]) != given ||
                                    x->seeking->max_tokens[i].kind == SCAN_ABSENT ||
                                    is_known_here(x, (enum length_name)i) != known))
        i++;
    return i;
}

static void edit_value(const struct exchange *x, int name, struct text body, struct text number,
                       struct edits *edits)
{
    struct text raw = x->seeking->max_tokens[name].raw;
    add_edit(edits, (size_t)(raw.at - body.at), raw.len, number);
}

/* How the makers of Bedrock's models call it, by what is in the model's name. */
static const struct maker {
    struct text in_name;
    const char *holder, *name;
} makers[] = {
    {{"nova", 4}, "inferenceConfig", "maxTokens"},
    {{"titan", 5}, "textGenerationConfig", "maxTokenCount"},
    {{"llama", 5}, NULL, "max_gen_len"},
    {{"ai21.j2", 7}, NULL, "maxTokens"},
    {{"claude-v2", 9}, NULL, "max_tokens_to_sample"},
    {{"claude-instant", 14}, NULL, "max_tokens_to_sample"},
};

static const struct maker *maker_of(const struct exchange *x)
{
    static const struct maker most = {{"", 0}, NULL, "max_tokens"};
    for (size_t i = 0; x->is_makers && i < sizeof(makers) / sizeof(makers[0]); i++)
        if (text_find(x->upstream_model, makers[i].in_name) != SIZE_MAX)
            return &makers[i];
    return &most;
}

/* The member of the top level that it stands in, or NULL. */
static const char *max_tokens_holder(const struct exchange *x)
{
    if (x->match.shape == SHAPE_GEMINI)
        return "generationConfig";
    if (x->invokes)
        return maker_of(x)->holder;
    if (x->match.shape == SHAPE_BEDROCK)
        return "inferenceConfig";
    return x->match.shape == SHAPE_OLLAMA ? "options" : NULL;
}

/* Its name in the dialects that have one of their own. */
static const char *max_tokens_name(const struct exchange *x)
{
    if (x->match.shape == SHAPE_GEMINI)
        return "maxOutputTokens";
    if (x->invokes)
        return maker_of(x)->name;
    if (x->match.shape == SHAPE_BEDROCK)
        return "maxTokens";
    return x->match.shape == SHAPE_OLLAMA ? "num_predict" : "max_tokens";
}

/* Say the longest answer in another dialect than OpenAI's, where the client says none. */
static void insert_max_tokens(struct exchange *x, struct text body, struct text number,
                              struct edits *edits)
{
    const struct scan_value *holder = &x->seeking->length_holder;
    const char *within = max_tokens_holder(x), *name = max_tokens_name(x);
    struct text object = body, member;
    if (within && holder->kind == SCAN_OBJECT)
        object = holder->raw;
    struct text comma = is_empty_object(object) ? TEXT("") : TEXT(",");
    if (within && holder->kind == SCAN_OBJECT)
        member = arena_format(&x->seeking->arena, "\"%s\":%.*s%.*s", name, TEXT_ARGS(number),
                              TEXT_ARGS(comma));
    else if (within)
        member = arena_format(&x->seeking->arena, "\"%s\":{\"%s\":%.*s}%.*s", within, name,
                              TEXT_ARGS(number), TEXT_ARGS(comma));
    else
        member = arena_format(&x->seeking->arena, "\"%s\":%.*s%.*s", name, TEXT_ARGS(number),
                              TEXT_ARGS(comma));
    if (within && holder->kind != SCAN_OBJECT && holder->kind != SCAN_ABSENT) { /* null */
        struct text whole = text_head(member, member.len - comma.len);
        whole = text_from(whole, strlen(within) + 3);
        add_edit(edits, (size_t)(holder->raw.at - body.at), holder->raw.len, whole);
        return;
    }
    size_t at = (size_t)(object.at - body.at) + text_find_byte(object, '{') + 1;
    add_edit(edits, at, 0, member);
}

/* Say <number> in the one name that the target knows: in the place of a null, or of a name that it
 * does not know - which it would not mind, and answer as long as it likes - or as a new member. */
static void put_length(struct exchange *x, struct text body, struct text number,
                       struct edits *edits)
{
    struct text name = length_names[name_here(x)];
    int silent = find_length(x, false, true), unknown = find_length(x, true, false);
    if (silent < MAX_TOKENS_NAMES) { /* a second member of that name beside it would lose */
        edit_value(x, silent, body, number, edits);
    } else if (x->match.shape != SHAPE_OPENAI) {
        insert_max_tokens(x, body, number, edits);
    } else if (unknown < MAX_TOKENS_NAMES) {
        struct text raw = x->seeking->max_tokens[unknown].raw;
        size_t at = (size_t)(member_begin(raw) - body.at),
               end = (size_t)(raw.at + raw.len - body.at);
        add_edit(
            edits, at, end - at,
            arena_format(&x->seeking->arena, "\"%.*s\":%.*s", TEXT_ARGS(name), TEXT_ARGS(number)));
    } else {
        add_edit(
            edits, text_find_byte(body, '{') + 1, 0,
            arena_format(&x->seeking->arena, "\"%.*s\":%.*s,", TEXT_ARGS(name), TEXT_ARGS(number)));
    }
}

/* Not longer than what is held for it: wherever the client says how long, and where it does not. */
static void edit_lowered(struct exchange *x, struct text body, struct edits *edits)
{
    struct text number = arena_format(&x->seeking->arena, "%lld", (long long)x->lowered_tokens);
    bool known = false;
    for (int i = 0; i < MAX_TOKENS_NAMES; i++) {
        if (!is_number(&x->seeking->max_tokens[i]) || !is_known_here(x, (enum length_name)i))
            continue;
        known = true;
        edit_value(x, i, body, number, edits);
    }
    if (!known)
        put_length(x, body, number, edits);
}

/* What this target wants to stand beside an answer that is begun. */
static void edit_prefill(const struct exchange *x, struct text body, struct edits *edits)
{
    if (!x->resume.goes_on || !resume_at(x))
        return;
    size_t blank = resume_blank(x);
    if (blank > 0)
        add_edit(edits, resume_at(x) - 1 - blank, blank, TEXT(""));
    if (x->target->prefill == PREFILL_PREFIX)
        add_edit(edits, resume_at(x), 0, TEXT(",\"prefix\":true"));
    else if (x->target->prefill == PREFILL_CONTINUE)
        add_edit(edits, text_find_byte(body, '{') + 1, 0,
                 TEXT("\"continue_final_message\":true,\"add_generation_prompt\":false,"));
}

/* An adapter that goes by its number, as llama.cpp's do; the others are not applied. A call of the
 * model itself says that none is (those that are not named have no part, and an empty list is as
 * good as none): llama.cpp applies all that it was started with to a call that
 * says nothing, --lora-init-without-apply or not. */
static void edit_lora(struct exchange *x, struct text body, struct edits *edits)
{
    const struct deployment_spec *spec = x->target->provider->spec;
    size_t brace = text_find_byte(body, '{');
    bool has_numbers = spec && spec->engine == ENGINE_LLAMA_CPP && spec->adapter_count > 0;
    if (!has_numbers || brace == SIZE_MAX)
        return;
    const char *comma = is_empty_object(body) ? "" : ",";
    if (waking_lora(x))
        add_edit(edits, brace + 1, 0,
                 arena_format(&x->seeking->arena, "\"lora\":[{\"id\":%u,\"scale\":1.0}]%s",
                              waking_lora(x) - 1, comma));
    else if (!member_find(body, TEXT("lora")).at)
        add_edit(edits, brace + 1, 0,
                 arena_format(&x->seeking->arena, "\"lora\":[{\"id\":0,\"scale\":0.0}]%s", comma));
}

static bool is_given(const struct exchange *x)
{
    return find_length(x, true, true) < MAX_TOKENS_NAMES ||
           find_length(x, true, false) < MAX_TOKENS_NAMES;
}

static void edit_max_tokens(struct exchange *x, struct text body, struct edits *edits)
{
    bool may_say = x->call.operation == OPERATION_CHAT ||
                   x->call.operation == OPERATION_COMPLETION ||
                   (x->call.operation == OPERATION_RESPONSE && !x->compacts);
    if (x->lowered_tokens) {
        edit_lowered(x, body, edits);
    } else if (may_say && !is_given(x) && x->target->max_tokens_default > 0) {
        put_length(
            x, body,
            arena_format(&x->seeking->arena, "%lld", (long long)x->target->max_tokens_default),
            edits);
    } else if (x->estimated && find_length(x, true, true) == MAX_TOKENS_NAMES) {
        int unknown = find_length(x, true, false); /* what is held goes by it */
        if (unknown < MAX_TOKENS_NAMES)
            put_length(x, body, x->seeking->max_tokens[unknown].raw, edits);
    }
}

static int cut_pieces(struct text body, const struct edits *edits, struct iovec *pieces, int count,
                      uint64_t *total)
{
    size_t from = 0;
    *total = body.len;
    for (int i = 0; i < edits->count; i++) {
        const struct edit *e = &edits->list[i];
        if (e->at > from)
            pieces[count++] = (struct iovec){(void *)(uintptr_t)(body.at + from), e->at - from};
        if (e->inserted.len)
            pieces[count++] = (struct iovec){(void *)(uintptr_t)e->inserted.at, e->inserted.len};
        from = e->at + e->removed;
        *total += e->inserted.len;
        *total -= e->removed;
    }
    if (body.len > from)
        pieces[count++] = (struct iovec){(void *)(uintptr_t)(body.at + from), body.len - from};
    return count;
}

static int edit_own(struct exchange *x, bool claude_on_vertex, struct iovec *pieces, int count,
                    uint64_t *total)
{
    struct text body = buffer_text(&x->body);
    struct edits edits = {.count = 0};
    if (x->seeking->named_body.at)
        add_edit(&edits, 0, body.len, x->seeking->named_body);
    if (claude_on_vertex)
        edit_version(x, body, x->seeking->model.raw, &edits);
    if (!claude_on_vertex || x->call.operation == OPERATION_COUNT)
        edit_model(x, body.at, &edits);
    edit_usage(x, body, &edits);
    edit_max_tokens(x, body, &edits);
    edit_prefill(x, body, &edits);
    edit_lora(x, body, &edits);
    return cut_pieces(foreign_without(x, body), &edits, pieces, count, total);
}

static int edit_translated(struct exchange *x, bool claude_on_vertex, struct iovec *pieces,
                           int count, uint64_t *total)
{
    struct text body = buffer_text(&x->seeking->translated_body);
    struct edits edits = {.count = 0};
    if (claude_on_vertex)
        edit_version(x, body, member_find(body, TEXT("model")), &edits);
    edit_lora(x, body, &edits);
    return cut_pieces(body, &edits, pieces, count, total);
}

int outbound_edit(struct exchange *x, bool claude_on_vertex, struct iovec *pieces, int count,
                  uint64_t *total)
{
    return crossing_is_on(x) ? edit_translated(x, claude_on_vertex, pieces, count, total)
                             : edit_own(x, claude_on_vertex, pieces, count, total);
}
