/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: what is written in the same way into streams, bodies and calls.
 */
#include "gateway/base/member.h"
#include "providers/openai_chat.h"

bool openai_is_family(const struct translator *translator)
{
    return translator == &translator_openai_chat || translator == &translator_openai_completion ||
           translator == &translator_mistral_chat;
}

/* ------------------------------------------------------------------------- what bodies have too */

void openai_put_line(struct buffer *out, struct text json)
{
    while (json.len) {
        size_t len = 0;
        while (len < json.len && json.at[len] != '\n' && json.at[len] != '\r')
            len++;
        put_text(out, text_head(json, len));
        if (len < json.len)
            buffer_append(out, " ", 1);
        json = text_from(json, len + 1);
    }
}

void openai_open_string(struct buffer *out, const char *name)
{
    put_comma(out);
    put_literal(out, "\"");
    put_literal(out, name);
    put_literal(out, "\":\"");
}

void openai_put_head(struct buffer *out, const struct answer_way *way, struct arena *arena,
                     const char *object, const struct answer_event *begin)
{
    bool chat = object[0] == 'c';
    if (begin->id.len) {
        put_inner(out, "id", begin->id);
    } else {
        openai_open_string(out, "id");
        put_literal(out, chat ? "chatcmpl-" : "cmpl-");
        put_text(out, way->id);
        put_literal(out, "\"");
    }
    put_inner(out, "object", text_of(object));
    put_number(out, "created", begin->created > 0 ? begin->created : way->now_s);
    put_inner(out, "model", begin->model.len ? begin->model : inner_of(arena, way->model));
}

void openai_put_usage(struct buffer *out, const struct usage *usage)
{
    put_open(out, "usage", '{');
    put_number(out, "prompt_tokens", usage->input_tokens);
    put_number(out, "completion_tokens", usage->output_tokens);
    put_number(out, "total_tokens", usage->input_tokens + usage->output_tokens);
    put_open(out, "prompt_tokens_details", '{');
    put_number(out, "cached_tokens", usage->cached_tokens);
    put_number(out, "audio_tokens", usage->audio_input_tokens);
    if (usage->cache_write_tokens)
        put_number(out, "cache_write_tokens", usage->cache_write_tokens);
    if (usage->image_tokens)
        put_number(out, "image_tokens", usage->image_tokens);
    put_literal(out, "}");
    put_open(out, "completion_tokens_details", '{');
    put_number(out, "reasoning_tokens", usage->reasoning_tokens);
    put_number(out, "audio_tokens", usage->audio_output_tokens);
    put_literal(out, "}}");
}

struct text openai_finish_word(const struct answer_way *way, enum finish finish, struct text reason)
{
    static const struct text words[] = {
        [FINISH_NONE] = {"stop", 4},
        [FINISH_STOP] = {"stop", 4},
        [FINISH_SEQUENCE] = {"stop", 4},
        [FINISH_LENGTH] = {"length", 6},
        [FINISH_CALLS] = {"tool_calls", 10},
        [FINISH_FILTER] = {"content_filter", 14},
        [FINISH_REFUSAL] = {"content_filter", 14},
        [FINISH_PAUSE] = {"stop", 4},
        [FINISH_ERROR] = {"stop", 4},
    };
    /* One of its own words stays what it was. */
    for (size_t i = 0; openai_is_family(way->from) && i < sizeof(words) / sizeof(words[0]); i++)
        if (text_equal(words[i], reason))
            return reason;
    return words[finish];
}

bool openai_wants_functions(const struct answer_way *way)
{
    return way->to->operation == OPERATION_CHAT && way->call.len && way->call.at[0] == '{' &&
           !json_is_absent(member_find(way->call, TEXT("functions"))) &&
           json_is_absent(member_find(way->call, TEXT("tools")));
}

/* The name of a custom tool, or at == NULL: it is of another kind. */
static struct text name_of_custom(struct text tool)
{
    if (!text_equal(member_find(tool, TEXT("type")), TEXT("\"custom\"")))
        return (struct text){NULL, 0};
    struct text inside = member_find(tool, TEXT("custom"));
    return member_string(member_find(json_is_object(inside) ? inside : tool, TEXT("name")));
}

bool openai_is_custom(const struct answer_way *way, struct text name)
{
    struct text none, tool, tools = {NULL, 0};
    if (way->to->operation == OPERATION_CHAT && json_is_object(way->call))
        tools = json_items(member_find(way->call, TEXT("tools")));
    while (member_next(&tools, &none, &tool)) {
        struct text custom = name_of_custom(tool);
        if (custom.at && text_equal(custom, name))
            return true;
    }
    return false;
}

/* Their names, as they would be declared; nothing where there are none. */
static struct text keep_customs(struct arena *arena, struct text tools)
{
    struct text none, tool, kept = {NULL, 0};
    size_t count = 0;
    struct buffer out;
    buffer_init(&out, tools.len + sizeof("{\"tools\":[]}"));
    put_literal(&out, "{\"tools\":[");
    while (member_next(&tools, &none, &tool)) {
        struct text custom = name_of_custom(tool);
        if (!custom.at)
            continue;
        count++;
        put_open(&out, NULL, '{');
        put_inner(&out, "type", TEXT("custom"));
        put_inner(&out, "name", custom);
        put_literal(&out, "}");
    }
    put_literal(&out, "]}");
    if (count && !out.overrun)
        kept = arena_copy(arena, buffer_text(&out));
    buffer_done(&out);
    return kept;
}

struct text openai_keep_call(struct arena *arena, struct text call)
{
    struct text rest = call, name, value, tools = {NULL, 0};
    bool has_functions = false;
    if (!json_is_object(call))
        return (struct text){NULL, 0};
    while (member_next(&rest, &name, &value)) {
        if (json_is_absent(value))
            continue;
        if (text_equal(name, TEXT("tools")))
            tools = value;
        has_functions = has_functions || text_equal(name, TEXT("functions"));
    }
    if (!tools.at)
        return has_functions ? TEXT("{\"functions\":[]}") : (struct text){NULL, 0};
    return keep_customs(arena, json_items(tools));
}

int64_t openai_count_characters(struct text inner)
{
    int64_t count = 0;
    for (size_t i = 0; i < inner.len; i++) {
        unsigned char c = (unsigned char)inner.at[i];
        if ((c & 0xC0) == 0x80)
            continue;
        count++;
        if (c != '\\' || i + 1 >= inner.len)
            continue;
        if (inner.at[++i] != 'u')
            continue;
        /* The second half of a pair is no character of its own. */
        bool low = i + 2 < inner.len && (inner.at[i + 1] | 0x20) == 'd' &&
                   ((inner.at[i + 2] >= 'c' && inner.at[i + 2] <= 'f') ||
                    (inner.at[i + 2] >= 'C' && inner.at[i + 2] <= 'F'));
        count -= low;
        i += 4;
    }
    return count;
}

void openai_put_citation(struct buffer *out, const struct citation *citation, int64_t offset)
{
    bool placed = citation->start >= 0 && citation->end >= citation->start;
    put_open(out, NULL, '{');
    put_inner(out, "type", TEXT("url_citation"));
    put_open(out, "url_citation", '{');
    put_inner(out, "url", citation->url.at ? citation->url : TEXT(""));
    put_inner(out, "title", citation->title.at ? citation->title : TEXT(""));
    put_number(out, "start_index", placed ? citation->start + offset : 0);
    put_number(out, "end_index", placed ? citation->end + offset : 0);
    put_inner(out, "content", citation->quote);
    put_literal(out, "}}");
}

/* ------------------------------------------------------------------------------------ reasoning */

/* What OpenRouter calls the form of a provider's proofs. */
static struct text format_of(const struct translator *from)
{
    if (from->operation == OPERATION_RESPONSE)
        return TEXT("openai-responses-v1");
    if (text_equal(from->dialect, TEXT("anthropic")) || text_starts(from->dialect, TEXT("bedrock")))
        return TEXT("anthropic-claude-v1");
    return text_equal(from->dialect, TEXT("gemini")) ? TEXT("google-gemini-v1") : TEXT("unknown");
}

const struct translator *openai_from_format(struct text format)
{
    if (text_starts(format, TEXT("anthropic")))
        return translator_find(TEXT("anthropic"), OPERATION_CHAT);
    if (text_starts(format, TEXT("google")))
        return translator_find(TEXT("gemini"), OPERATION_CHAT);
    return text_starts(format, TEXT("openai")) ? translator_find(TEXT("openai"), OPERATION_RESPONSE)
                                               : NULL;
}

bool openai_has_proofs(const struct translator *from)
{
    return from == &translator_openai_chat || format_of(from).len > sizeof("unknown");
}

static void put_detail(struct buffer *out, const struct translator *from, const char *type,
                       const char *name, struct text inner)
{
    put_open(out, NULL, '{');
    put_inner(out, "type", text_of(type));
    put_inner(out, name, inner);
    put_inner(out, "format", format_of(from));
}

void openai_put_details(struct buffer *out, const struct translator *from, const struct part *part,
                        int64_t index)
{
    struct text id = part->id.len ? part->id : (struct text){NULL, 0};
    bool summary = from->operation == OPERATION_RESPONSE;
    if (part->text.at || part->signature.at) {
        put_detail(out, from, summary ? "reasoning.summary" : "reasoning.text",
                   summary ? "summary" : "text", part->text);
        put_inner(out, "signature", part->signature);
        put_inner(out, "id", part->encrypted.at ? (struct text){NULL, 0} : id);
        put_number(out, "index", index);
        put_literal(out, "}");
    }
    if (!part->encrypted.at)
        return;
    put_detail(out, from, "reasoning.encrypted", "data", part->encrypted);
    put_inner(out, "id", id);
    put_number(out, "index", index);
    put_literal(out, "}");
}
