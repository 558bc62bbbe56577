/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: a whole answer is written; and what streams and whole answers have in common.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"

const char *anthropic_stop_reason(enum finish finish, bool calls)
{
    switch (finish) {
    case FINISH_SEQUENCE:
        return "stop_sequence";
    case FINISH_LENGTH:
        return "max_tokens";
    case FINISH_CALLS:
        return "tool_use";
    case FINISH_FILTER:
    case FINISH_REFUSAL:
        return "refusal";
    case FINISH_PAUSE:
        return "pause_turn";
    case FINISH_ERROR: /* what is there is not all */
        return "max_tokens";
    case FINISH_NONE:
    case FINISH_STOP:
        break;
    }
    return calls ? "tool_use" : "end_turn";
}

void anthropic_put_citation(struct buffer *out, const struct citation *citation)
{
    if (citation->from == &translator_anthropic && citation->raw.at) {
        put_text(out, citation->raw);
        return;
    }
    bool is_web = citation->url.len > 0;
    put_literal(out, "{");
    put_inner(out, "type",
              is_web ? TEXT("web_search_result_location") : TEXT("search_result_location"));
    put_inner(out, "cited_text", citation->quote.at ? citation->quote : TEXT(""));
    if (citation->title.at)
        put_inner(out, "title", citation->title);
    else
        put_json(out, "title", TEXT("null"));
    if (is_web) {
        put_inner(out, "url", citation->url);
        put_inner(out, "encrypted_index", TEXT(""));
    } else {
        put_inner(out, "source", TEXT(""));
        put_number(out, "search_result_index", 0);
        put_number(out, "start_block_index", 0);
        put_number(out, "end_block_index", 0);
    }
    put_literal(out, "}");
}

/* ----------------------------------------------------------------------------- the blocks */

static void open_block(struct buffer *out, const char *type)
{
    put_open(out, NULL, '{');
    put_inner(out, "type", text_of(type));
}

static void put_redacted(struct buffer *out, struct text data)
{
    open_block(out, "redacted_thinking");
    put_inner(out, "data", data);
    put_literal(out, "}");
}

static struct text proof_of(const struct answer_way *way, struct arena *arena,
                            const struct part *part, unsigned of, struct text inner)
{
    struct anthropic_proof proof = {.from = way->from, .id = part->id, .proof = inner};
    proof.of = of;
    return way->from == way->to ? inner : anthropic_write_proof(arena, &proof);
}

static void put_text_block(struct buffer *out, const struct part *part)
{
    if (part->text.len == 0 && part->citation_count == 0)
        return;
    open_block(out, "text");
    put_inner(out, "text", part->text.at ? part->text : TEXT(""));
    if (part->citation_count)
        put_open(out, "citations", '[');
    for (size_t i = 0; i < part->citation_count; i++) {
        put_comma(out);
        anthropic_put_citation(out, &part->citations[i]);
    }
    put_literal(out, part->citation_count ? "]}" : "}");
}

static void put_thinking(const struct answer_way *way, struct arena *arena, struct buffer *out,
                         const struct part *part)
{
    struct text proof = part->signature.at ? part->signature : TEXT("");
    if (part->signature.len == 0 && part->encrypted.len)
        proof = proof_of(way, arena, part, PROOF_ENCRYPTED, part->encrypted);
    if (part->text.len == 0 && part->signature.len == 0) {
        if (proof.len)
            put_redacted(out, proof);
        return;
    }
    open_block(out, "thinking");
    put_inner(out, "thinking", part->text.at ? part->text : TEXT(""));
    put_inner(out, "signature", proof);
    put_literal(out, "}");
}

static void put_tool_use(const struct answer_way *way, struct arena *arena, struct buffer *out,
                         const struct part *part, size_t number)
{
    static const struct text known[] = {{"type", 4}, {"id", 2}, {"name", 4}, {"input", 5}};
    open_block(out, "tool_use");
    put_inner(out, "id",
              part->id.len ? part->id
                           : arena_format(arena, "toolu_%.*s_%zu", TEXT_ARGS(way->id), number));
    put_inner(out, "name", part->name.at ? part->name : TEXT(""));
    put_json(out, "input", part->arguments.len ? part->arguments : TEXT("{}"));
    if (way->from == way->to && part->raw.at)
        anthropic_put_extras(out, part->raw, known, sizeof(known) / sizeof(known[0]));
    put_literal(out, "}");
}

static void put_block(const struct answer_way *way, struct arena *arena, struct buffer *out,
                      const struct part *part, size_t number)
{
    bool is_call = part->kind == PART_CALL;
    switch (part->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
    case PART_AUDIO: /* what was spoken */
        put_text_block(out, part);
        break;
    case PART_REASONING:
        put_thinking(way, arena, out, part);
        return;
    case PART_CALL:
        put_tool_use(way, arena, out, part, number);
        break;
    case PART_RAW:
        if (way->from == way->to) {
            put_comma(out);
            put_text(out, part->raw);
        }
        return;
    case PART_RESULT:
    case PART_IMAGE:
    case PART_VIDEO:
    case PART_FILE:
        return;
    }
    if (part->signature.len && way->from != way->to)
        put_redacted(
            out, proof_of(way, arena, part, is_call ? PROOF_CALL : PROOF_TEXT, part->signature));
}

/* ----------------------------------------------------------------------------- the answer */

static void put_fields(const struct whole_answer *whole, struct buffer *out)
{
    for (size_t i = 0; i < whole->field_count; i++) {
        const struct chat_field *field = &whole->fields[i];
        if (text_equal(field->name, TEXT("usage")) || text_equal(field->name, TEXT("usage_delta")))
            continue;
        anthropic_put_name(out, field->name);
        put_text(out, field->value);
    }
}

static void put_stop(const struct answer_way *way, const struct whole_choice *choice, bool calls,
                     struct buffer *out)
{
    struct text reason = text_of(anthropic_stop_reason(choice->finish, calls));
    put_inner(out, "stop_reason",
              way->from == way->to && choice->reason.len ? choice->reason : reason);
    if (choice->finish == FINISH_SEQUENCE && choice->stop_sequence.at)
        put_inner(out, "stop_sequence", choice->stop_sequence);
    else
        put_json(out, "stop_sequence", TEXT("null"));
}

void anthropic_write_whole(const struct answer_way *way, struct arena *arena,
                           const struct whole_answer *whole, struct buffer *out)
{
    struct whole_choice none = {.finish = FINISH_STOP};
    const struct whole_choice *choice = whole->choice_count ? &whole->choices[0] : &none;
    bool own = way->from == way->to, calls = false;
    put_literal(out, "{");
    put_inner(out, "id",
              whole->id.len ? whole->id : arena_format(arena, "msg_%.*s", TEXT_ARGS(way->id)));
    put_literal(out, ",\"type\":\"message\",\"role\":\"assistant\"");
    put_inner(out, "model", whole->model.len ? whole->model : inner_of(arena, way->model));
    put_open(out, "content", '[');
    for (size_t i = 0; i < choice->part_count; i++) {
        put_block(way, arena, out, &choice->parts[i], i);
        calls = calls || choice->parts[i].kind == PART_CALL;
    }
    put_literal(out, "]");
    put_stop(way, choice, calls, out);
    struct text usage = {NULL, 0}, delta = {NULL, 0};
    if (own) {
        usage = anthropic_field(whole->fields, whole->field_count, TEXT("usage"));
        delta = anthropic_field(whole->fields, whole->field_count, TEXT("usage_delta"));
    }
    anthropic_put_usage(out, &whole->usage, usage, delta);
    if (own)
        put_fields(whole, out);
    put_literal(out, "}");
}
