/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses.h: a conversation is written as items.
 */
#include "gateway/base/member.h"
#include "providers/openai_responses.h"

/* The call while it is written. */
struct writing {
    struct arena *arena;
    const struct chat *chat;
    struct buffer *out;
    struct losses *losses;
    bool is_own;          /* the client speaks this dialect too */
    bool knows_reasoning; /* the target has its own way of checking what was thought */
    bool takes_proofs;    /* the target is another gateway, or a double of one */
    size_t message;       /* the number of the one that is written */
    struct call_index calls;
    struct tool_index tools;
};

/* ------------------------------------------------------------------------------- content */

static void put_type(struct buffer *out, const char *type)
{
    put_open(out, NULL, '{');
    put_inner(out, "type", text_of(type));
}

/* "name":"data:image/png;base64,..." */
static void put_data_url(struct buffer *out, const char *name, struct text media_type,
                         struct text data)
{
    put_inner(out, name, TEXT(""));
    out->end--; /* the closing quote */
    put_literal(out, "data:");
    put_text(out, media_type);
    put_literal(out, ";base64,");
    put_text(out, data);
    put_literal(out, "\"");
}

static void write_image(struct writing *w, const struct part *part)
{
    put_type(w->out, "input_image");
    if (part->data.at)
        put_data_url(w->out, "image_url",
                     part->media_type.len ? part->media_type : TEXT("image/png"), part->data);
    else if (part->url.at)
        put_inner(w->out, "image_url", part->url);
    else
        put_inner(w->out, "file_id", part->id);
    put_inner(w->out, "detail", part->detail.len ? part->detail : TEXT("auto"));
    put_literal(w->out, "}");
}

static void write_text_part(struct writing *w, struct text text)
{
    put_type(w->out, "input_text");
    put_inner(w->out, "text", text.at ? text : TEXT(""));
    put_literal(w->out, "}");
}

static void write_file(struct writing *w, const struct part *part)
{
    bool has_place = part->data.at || part->url.at || part->id.at;
    if (!has_place) { /* a document that is nothing but text */
        if (part->name.len > 0)
            loss_hint(w->losses, "messages[%zu].filename", w->message);
        write_text_part(w, part->text);
        return;
    }
    if (part->name.len && !part->data.at && !w->is_own) /* a name is said of data only */
        loss_hint(w->losses, "messages[%zu].filename", w->message);
    put_type(w->out, "input_file");
    if (part->data.at) {
        put_inner(w->out, "filename", part->name.len ? part->name : TEXT("file"));
        put_data_url(w->out, "file_data",
                     part->media_type.len ? part->media_type : TEXT("application/pdf"), part->data);
    } else if (part->url.at) {
        put_inner(w->out, "file_url", part->url);
    } else {
        put_inner(w->out, "file_id", part->id);
    }
    put_literal(w->out, "}");
}

static void write_audio(struct writing *w, const struct part *part)
{
    struct text type = part->media_type;
    bool is_audio = text_starts(type, TEXT("audio/"));
    struct text format = is_audio ? text_from(type, 6) : TEXT("wav");
    if (inner_is(format, "mpeg"))
        format = TEXT("mp3");
    put_type(w->out, "input_audio");
    put_open(w->out, "input_audio", '{');
    put_inner(w->out, "data", part->data);
    put_inner(w->out, "format", text_starts(format, TEXT("x-")) ? text_from(format, 2) : format);
    put_literal(w->out, "}}");
}

/* A part of what a client, or a tool, says. */
static void write_input(struct writing *w, const struct part *part)
{
    switch (part->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
    case PART_REASONING:
        write_text_part(w, part->text);
        break;
    case PART_IMAGE:
        write_image(w, part);
        break;
    case PART_FILE:
        write_file(w, part);
        break;
    case PART_AUDIO:
        if (part->data.at)
            write_audio(w, part);
        else
            loss_demand(w->losses, "messages[%zu].audio", w->message);
        break;
    case PART_RAW:
        if (w->is_own) {
            put_comma(w->out);
            put_text(w->out, part->raw);
            break;
        }
        loss_demand(w->losses, "messages[%zu].content", w->message);
        break;
    case PART_VIDEO:
        loss_demand(w->losses, "messages[%zu].video", w->message);
        break;
    case PART_CALL:
    case PART_RESULT:
        break; /* items of their own */
    }
    if (part->cache.at && !w->is_own)
        loss_hint(w->losses, "cache_control");
}

static void write_annotations(struct writing *w, const struct part *part)
{
    put_open(w->out, "annotations", '[');
    for (size_t i = 0; i < part->citation_count; i++)
        response_put_annotation(&part->citations[i], 0, w->out);
    put_literal(w->out, "]");
}

/* A part of what the model said. */
static void write_output(struct writing *w, const struct part *part)
{
    if (part->kind == PART_REFUSAL) {
        put_type(w->out, "refusal");
        put_inner(w->out, "refusal", part->text);
    } else {
        put_type(w->out, "output_text");
        put_inner(w->out, "text", part->text.at ? part->text : TEXT(""));
        write_annotations(w, part);
    }
    if (part->cache.at && !w->is_own)
        loss_hint(w->losses, "cache_control");
    put_literal(w->out, "}");
}

/* ------------------------------------------------------------------------- the model's items */

static bool is_said(const struct part *part)
{
    return part->kind == PART_TEXT || part->kind == PART_REFUSAL;
}

/* The texts that stand together are one message; returns how many they were. */
static size_t write_said(struct writing *w, const struct part *parts, size_t count)
{
    size_t used = 0;
    put_type(w->out, "message");
    if (w->is_own) {
        put_inner(w->out, "id", parts[0].id);
        put_inner(w->out, "phase", parts[0].name);
    }
    put_inner(w->out, "role", TEXT("assistant"));
    put_open(w->out, "content", '[');
    while (used < count && is_said(&parts[used]) && text_equal(parts[used].id, parts[0].id))
        write_output(w, &parts[used++]);
    put_literal(w->out, "]}");
    return used;
}

static void write_proof(struct writing *w, const struct responses_proof *proof)
{
    struct text said = responses_write_proof(w->arena, proof);
    if (!w->takes_proofs || !said.at) {
        loss_hint(w->losses, "signature");
        return;
    }
    put_type(w->out, "reasoning");
    put_json(w->out, "summary", TEXT("[]"));
    put_inner(w->out, "encrypted_content", said);
    put_literal(w->out, "}");
}

static void write_call(struct writing *w, const struct part *part)
{
    struct responses_tool tool;
    responses_find_declared(w->chat, &w->tools, part->name, &tool);
    struct text input = member_string(member_find(part->arguments, TEXT("input")));
    if (!tool.is_custom || !input.at)
        input = part->arguments.at ? inner_of_json(w->arena, part->arguments) : TEXT("{}");
    if (part->cache.at && !w->is_own)
        loss_hint(w->losses, "cache_control");
    put_type(w->out, tool.is_custom ? "custom_tool_call" : "function_call");
    put_inner(w->out, "call_id", part->id);
    put_inner(w->out, "name", tool.name);
    put_inner(w->out, "namespace", tool.space);
    put_inner(w->out, tool.is_custom ? "input" : "arguments", input);
    put_literal(w->out, "}");
    struct responses_proof proof = {.from = part->from ? part->from : w->chat->from,
                                    .of = PROOF_OF_CALL,
                                    .call_id = part->id,
                                    .signature = part->signature};
    if (part->signature.len)
        write_proof(w, &proof);
}

static void put_thought(struct writing *w, const char *list, const char *type, struct text text)
{
    put_open(w->out, list, '[');
    if (text.len) {
        put_type(w->out, type);
        put_inner(w->out, "text", text);
        put_literal(w->out, "}");
    }
    put_literal(w->out, "]");
}

/* What this dialect's own models thought goes back as it came. What others did is told to servers
 * that take it for what it is: text; those that check it would refuse the call. */
static void write_reasoning(struct writing *w, const struct part *part)
{
    struct responses_proof proof = {.from = part->from ? part->from : w->chat->from,
                                    .signature = part->signature};
    struct text encrypted = part->encrypted;
    if (w->is_own && part->raw.at) {
        put_comma(w->out);
        put_text(w->out, part->raw);
        return;
    }
    if (part->signature.len && w->takes_proofs) {
        proof.encrypted = encrypted;
        encrypted = responses_write_proof(w->arena, &proof);
    } else if (part->signature.len) {
        loss_hint(w->losses, "signature");
    }
    if (!encrypted.len && w->knows_reasoning) {
        loss_hint(w->losses, "reasoning");
        return;
    }
    put_type(w->out, "reasoning");
    if (encrypted.len) {
        put_thought(w, "summary", "summary_text", part->text);
        put_inner(w->out, "encrypted_content", encrypted);
    } else {
        struct text id = part->id.len ? part->id : arena_format(w->arena, "rs_%zu", w->message);
        put_inner(w->out, "id", id);
        put_json(w->out, "summary", TEXT("[]"));
        put_thought(w, "content", "reasoning_text", part->text);
    }
    put_literal(w->out, "}");
}

static void write_raw(struct writing *w, const struct part *part)
{
    if (!w->is_own) {
        loss_hint(w->losses, "content");
        return;
    }
    bool is_content = inner_is(part->name, "content");
    put_comma(w->out);
    if (is_content)
        put_literal(w->out, "{\"type\":\"message\",\"role\":\"assistant\",\"content\":[");
    put_text(w->out, part->raw);
    if (is_content)
        put_literal(w->out, "]}");
}

/* What the model made in an earlier turn is shown to it as an image that it is given. */
static void write_shown(struct writing *w, const struct part *part)
{
    if (part->kind == PART_AUDIO && part->data.at == NULL) {
        loss_hint(w->losses, "audio");
        return;
    }
    put_type(w->out, "message");
    put_inner(w->out, "role", TEXT("user"));
    put_open(w->out, "content", '[');
    write_input(w, part);
    put_literal(w->out, "]}");
}

static void write_text_proof(struct writing *w, const struct part *part)
{
    struct responses_proof proof = {.from = part->from ? part->from : w->chat->from,
                                    .of = PROOF_OF_TEXT,
                                    .signature = part->signature};
    if (part->signature.len)
        write_proof(w, &proof);
}

static void write_assistant(struct writing *w, const struct message *message)
{
    for (size_t i = 0; i < message->part_count;) {
        const struct part *part = &message->parts[i];
        if (is_said(part)) {
            i += write_said(w, part, message->part_count - i);
            write_text_proof(w, &message->parts[i - 1]);
            continue;
        }
        i++;
        if (part->kind == PART_REASONING)
            write_reasoning(w, part);
        else if (part->kind == PART_CALL)
            write_call(w, part);
        else if (part->kind == PART_RAW || (w->is_own && part->raw.at))
            write_raw(w, part);
        else if (part->kind != PART_RESULT)
            write_shown(w, part);
    }
}

/* ------------------------------------------------------------------------ the others' items */

static void write_result(struct writing *w, const struct part *part)
{
    const struct part *call = call_index_find(&w->calls, part->id);
    struct responses_tool tool = {.is_custom = false};
    if (call)
        responses_find_declared(w->chat, &w->tools, call->name, &tool);
    put_type(w->out, tool.is_custom ? "custom_tool_call_output" : "function_call_output");
    put_inner(w->out, "call_id", part->id);
    if (part->part_count == 0) {
        put_inner(w->out, "output", part->text.at ? part->text : TEXT(""));
    } else if (part->part_count == 1 && part->parts[0].kind == PART_TEXT) {
        put_inner(w->out, "output", part->parts[0].text);
    } else {
        put_open(w->out, "output", '[');
        for (size_t i = 0; i < part->part_count; i++)
            write_input(w, &part->parts[i]);
        put_literal(w->out, "]");
    }
    put_literal(w->out, "}");
    if (part->is_error)
        loss_hint(w->losses, "is_error");
    if (part->cache.at && !w->is_own)
        loss_hint(w->losses, "cache_control");
}

static bool is_item(const struct part *part, const struct message *message)
{
    return part->kind == PART_RESULT || (part->kind == PART_RAW && message->role == ROLE_TOOL);
}

/* What came of tools first: a client may say something more in the same turn. */
static void write_message(struct writing *w, const struct message *message)
{
    static const char *const roles[] = {[ROLE_SYSTEM] = "system",
                                        [ROLE_DEVELOPER] = "developer",
                                        [ROLE_USER] = "user",
                                        [ROLE_ASSISTANT] = "assistant",
                                        [ROLE_TOOL] = "user"};
    size_t items = 0;
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        items += is_item(part, message);
        if (part->kind == PART_RESULT)
            write_result(w, part);
        else if (is_item(part, message))
            write_raw(w, part);
    }
    if (items == message->part_count && items > 0)
        return;
    put_type(w->out, "message");
    put_inner(w->out, "role", text_of(roles[message->role]));
    put_open(w->out, "content", '[');
    for (size_t i = 0; i < message->part_count; i++)
        if (!is_item(&message->parts[i], message))
            write_input(w, &message->parts[i]);
    put_literal(w->out, "]}");
}

static bool checks_reasoning(const struct provider_type *type)
{
    return type &&
           (text_equal(type->name, TEXT("openai")) || text_equal(type->name, TEXT("azure")));
}

void responses_write_items(struct arena *arena, const struct chat *chat,
                           const struct call_target *target, size_t skip, struct buffer *out,
                           struct losses *losses)
{
    struct writing w = {
        .arena = arena,
        .chat = chat,
        .out = out,
        .losses = losses,
        .is_own = chat->from == &translator_openai_responses,
        .knows_reasoning = checks_reasoning(target->type),
        .takes_proofs = target->type && target->type->is_own,
        .calls = {.chat = chat},
    };
    for (size_t i = skip; i < chat->message_count; i++) {
        const struct message *message = &chat->messages[i];
        w.message = i;
        if (message->name.len)
            loss_hint(losses, "name");
        if (message->role == ROLE_ASSISTANT)
            write_assistant(&w, message);
        else
            write_message(&w, message);
    }
    call_index_done(&w.calls);
    tool_index_done(&w.tools);
}
