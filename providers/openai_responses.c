/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/openai_responses.h"

#include "gateway/base/member.h"
#include "providers/anthropic.h"
#include "providers/openai.h"

/* ------------------------------------------------------------------------------- the tools */

struct text responses_flat_name(struct arena *arena, struct text space, struct text name)
{
    const char *between = text_ends(space, TEXT("__")) ? "" : "__";
    return arena_format(arena, "%.*s%s%.*s", TEXT_ARGS(space), between, TEXT_ARGS(name));
}

/* Is <flat> what others call <name> in <space>? */
static bool is_flat_name(struct text flat, struct text space, struct text name)
{
    if (!text_starts(flat, space) || !text_ends(flat, name) || space.len == 0)
        return false;
    size_t between = text_ends(space, TEXT("__")) ? 0 : 2;
    return flat.len == space.len + between + name.len &&
           text_starts(text_from(flat, space.len), text_head(TEXT("__"), between));
}

struct declared {
    struct text type, name, tools;
};

static struct declared declared_of(struct text tool)
{
    struct declared declared = {.type = {NULL, 0}};
    struct text name, value;
    while (member_next(&tool, &name, &value)) {
        if (text_equal(name, TEXT("type")))
            declared.type = member_string(value);
        else if (text_equal(name, TEXT("name")))
            declared.name = member_string(value);
        else if (text_equal(name, TEXT("tools")))
            declared.tools = value;
    }
    return declared;
}

struct declared_tool {
    struct text space, name; /* <space>: at == NULL = none */
    bool is_custom;
};

static void add_declared(struct arena *arena, struct text space, const struct declared *declared,
                         struct declared_tools *tools)
{
    tools->tools =
        arena_grow(arena, tools->tools, tools->count, &tools->room, sizeof(*tools->tools));
    tools->tools[tools->count++] =
        (struct declared_tool){space, declared->name, inner_is(declared->type, "custom")};
}

void responses_add_declared(struct arena *arena, struct text list, struct declared_tools *tools)
{
    struct text none, tool, nowhere = {NULL, 0};
    while (member_next(&list, &none, &tool)) {
        struct declared outer = declared_of(tool);
        bool is_space = inner_is(outer.type, "namespace");
        if (!is_space && outer.name.at)
            add_declared(arena, nowhere, &outer, tools);
        while (is_space && member_next(&outer.tools, &none, &tool)) {
            struct declared inside = declared_of(tool);
            if (outer.name.len)
                add_declared(arena, outer.name, &inside, tools);
        }
    }
}

bool responses_find_tool(const struct declared_tools *tools, struct text name,
                         struct responses_tool *found)
{
    for (size_t i = 0; i < tools->count; i++) {
        const struct declared_tool *tool = &tools->tools[i];
        if (tool->space.at ? !is_flat_name(name, tool->space, tool->name)
                           : !text_equal(tool->name, name))
            continue;
        *found = (struct responses_tool){
            .is_custom = tool->is_custom, .name = tool->name, .space = tool->space};
        return true;
    }
    return false;
}

/* -------------------------------------------------------------------------------- proofs */

/*
 *   sluice:1:anthropic:item:SIGNATURE:ENCRYPTED
 *   sluice:1:gemini:call:SIGNATURE:ENCRYPTED:CALL_ID
 *
 * Both are base64 of one kind or another and have no colon in them; what has cannot be carried.
 */
static const struct text proof_mark = {"sluice:1:", 9};
static const char *const proof_words[] = {
    [PROOF_OF_ITEM] = "item", [PROOF_OF_CALL] = "call", [PROOF_OF_TEXT] = "text"};

static bool has_colon(struct text t)
{
    return t.len > 0 && memchr(t.at, ':', t.len) != NULL;
}

struct text responses_write_proof(struct arena *arena, const struct responses_proof *proof)
{
    if (!proof->from || has_colon(proof->signature) || has_colon(proof->encrypted))
        return (struct text){NULL, 0};
    if (proof->signature.len + proof->encrypted.len == 0)
        return (struct text){NULL, 0};
    struct text head = arena_format(arena, "%.*s%.*s:%s:%.*s:%.*s", TEXT_ARGS(proof_mark),
                                    TEXT_ARGS(proof->from->name), proof_words[proof->of],
                                    TEXT_ARGS(proof->signature), TEXT_ARGS(proof->encrypted));
    if (proof->of != PROOF_OF_CALL)
        return head;
    return arena_format(arena, "%.*s:%.*s", TEXT_ARGS(head), TEXT_ARGS(proof->call_id));
}

static const struct translator *translator_named(struct text name)
{
    const struct translator *one;
    for (size_t i = 0; (one = translator_at(i)) != NULL; i++)
        if (text_equal(one->name, name))
            return one;
    return NULL;
}

/* What stands before the next colon, or all; an empty text is as good as none. */
static struct text next_word(struct text *rest)
{
    size_t colon = text_find_byte(*rest, ':');
    struct text word = text_head(*rest, colon);
    *rest = colon == SIZE_MAX ? text_from(*rest, rest->len) : text_from(*rest, colon + 1);
    return word.len ? word : (struct text){NULL, 0};
}

/* As it is written for Anthropic's clients where this one cannot be. */
static bool read_other_form(struct text inner, struct responses_proof *proof)
{
    struct anthropic_proof other;
    if (!anthropic_read_proof(inner, &other))
        return false;
    bool sealed = other.of == PROOF_ENCRYPTED;
    *proof = (struct responses_proof){.from = other.from, .call_id = other.id};
    proof->of = sealed ? PROOF_OF_ITEM : other.of == PROOF_CALL ? PROOF_OF_CALL : PROOF_OF_TEXT;
    *(sealed ? &proof->encrypted : &proof->signature) = other.proof;
    return true;
}

bool responses_read_proof(struct text encrypted_content, struct responses_proof *proof)
{
    if (!text_starts(encrypted_content, proof_mark))
        return read_other_form(encrypted_content, proof);
    struct text rest = text_from(encrypted_content, proof_mark.len);
    *proof = (struct responses_proof){.from = translator_named(next_word(&rest))};
    struct text of = next_word(&rest);
    if (inner_is(of, "call"))
        proof->of = PROOF_OF_CALL;
    else if (inner_is(of, "text"))
        proof->of = PROOF_OF_TEXT;
    proof->signature = next_word(&rest);
    proof->encrypted = next_word(&rest);
    proof->call_id = rest;
    return true;
}

/* ------------------------------------------------------------------------- the translator */

static void write_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    buffer_append_text(out, TEXT("/responses"));
}

const struct translator translator_openai_responses = {
    .name = {"openai-responses", 16},
    .dialect = {"openai", 6},
    .operation = OPERATION_RESPONSE,
    .read_call = responses_read_call,
    .write_call = responses_write_call,
    .write_path = write_path,
    .headers = {"", 0},
    .framing = FRAMING_SSE,
    .reader_bytes = sizeof(struct responses_reader),
    .read_frame = responses_read_frame,
    .read_body = responses_read_body,
    .read_end = responses_read_end,
    .read_error = openai_read_error,
    .stream_type = {"text/event-stream", 17},
    .writer_bytes = sizeof(struct responses_writer),
    .says_failure = true,
    .write_event = responses_write_event,
    .write_whole = responses_write_whole,
};
