/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: the blocks of a call are written.
 */
#include <stdio.h>

#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "providers/anthropic.h"

/* Where a part stands, for the client. */
static void lose(struct anthropic_writing *w, bool demand, const char *what)
{
    if (demand)
        loss_demand(w->losses, "messages[%zu].content[%zu]%s", w->message, w->part, what);
    else
        loss_hint(w->losses, "messages[%zu].content[%zu]%s", w->message, w->part, what);
}

static void open_block(struct anthropic_writing *w, const char *type)
{
    put_open(w->out, NULL, '{');
    put_inner(w->out, "type", text_of(type));
}

/* What our words do not say of a part of this dialect. */
static void put_more(struct anthropic_writing *w, const struct part *part)
{
    static const struct text known[] = {
        {"type", 4},  {"text", 4},         {"citations", 9}, {"cache_control", 13},
        {"id", 2},    {"name", 4},         {"input", 5},     {"source", 6},
        {"title", 5}, {"tool_use_id", 11}, {"content", 7},   {"is_error", 8},
    };
    if (part->raw.at && part->from == &translator_anthropic)
        anthropic_put_extras(w->out, part->raw, known, sizeof(known) / sizeof(known[0]));
}

static void close_block(struct anthropic_writing *w, const struct part *part)
{
    put_more(w, part);
    put_json(w->out, "cache_control", part->cache);
    put_literal(w->out, "}");
}

/* ----------------------------------------------------------------------------------- texts */

/* Nothing but white space: such blocks are refused. */
static bool is_blank(struct text inner)
{
    for (size_t i = 0; i < inner.len; i++) {
        bool escape = inner.at[i] == '\\' && i + 1 < inner.len;
        if (escape && (inner.at[i + 1] == 'n' || inner.at[i + 1] == 't' || inner.at[i + 1] == 'r'))
            i++;
        else if (inner.at[i] != ' ')
            return false;
    }
    return true;
}

static void put_citations(struct anthropic_writing *w, const struct part *part)
{
    bool any = false;
    for (size_t i = 0; i < part->citation_count; i++) {
        const struct citation *citation = &part->citations[i];
        if (citation->from != &translator_anthropic || !citation->raw.at) {
            lose(w, false, ".citations"); /* Anthropic takes back its own only */
            continue;
        }
        if (!any)
            put_open(w->out, "citations", '[');
        put_comma(w->out);
        put_text(w->out, citation->raw);
        any = true;
    }
    if (any)
        put_literal(w->out, "]");
}

static bool put_text_block(struct anthropic_writing *w, const struct part *part)
{
    struct text text = part->text;
    if (is_blank(text) && !w->own)
        return false;
    if (chat_goes_on_from(w->chat, w->message, w->part) && !w->own)
        text = chat_without_blank_end(text);
    open_block(w, "text");
    put_inner(w->out, "text", text);
    put_citations(w, part);
    close_block(w, part);
    return true;
}

/* ------------------------------------------------------------------------------- reasoning */

bool anthropic_is_ours(const struct part *part)
{
    const struct translator *from = part->from;
    if (part->signature.len == 0 && part->encrypted.len == 0)
        return false;
    if (from == NULL || from == &translator_anthropic)
        return true;
    /* Claude's proofs are good wherever Claude runs, and OpenRouter says whose they are. */
    return text_starts(from->dialect, TEXT("bedrock")) ||
           (text_equal(from->dialect, TEXT("openai")) &&
            text_find(part->raw, TEXT("anthropic-claude")) != SIZE_MAX);
}

static bool put_reasoning(struct anthropic_writing *w, const struct part *part, enum role role)
{
    if (role != ROLE_ASSISTANT || !anthropic_is_ours(part)) {
        lose(w, false, ".reasoning");
        return false;
    }
    if (part->signature.len == 0) {
        open_block(w, "redacted_thinking");
        put_inner(w->out, "data", part->encrypted);
    } else {
        open_block(w, "thinking");
        put_inner(w->out, "thinking", part->text.at ? part->text : TEXT(""));
        put_inner(w->out, "signature", part->signature);
    }
    put_literal(w->out, "}");
    return true;
}

/* ------------------------------------------------------------------------ calls and results */

/* The id of a call as it may stand here; one that nobody gave is made of its number. */
static struct text id_of(struct anthropic_writing *w, struct text id, size_t *nameless)
{
    if (id.len == 0)
        return arena_format(w->arena, "call_%zu", (*nameless)++);
    return chat_plain_id(w->arena, id, SIZE_MAX);
}

static bool put_call(struct anthropic_writing *w, const struct part *part)
{
    bool object = part->arguments.len && part->arguments.at[0] == '{';
    open_block(w, "tool_use");
    put_inner(w->out, "id", id_of(w, part->id, &w->nameless_calls));
    put_inner(w->out, "name", part->name);
    put_json(w->out, "input", object ? part->arguments : TEXT("{}"));
    close_block(w, part);
    return true;
}

static bool put_content(struct anthropic_writing *w, const struct part *part, enum role role);

static bool is_plain(const struct part *part)
{
    return part->kind == PART_TEXT && !part->cache.at && !part->raw.at;
}

static void put_result_content(struct anthropic_writing *w, const struct part *part)
{
    if (part->part_count == 0)
        return;
    if (part->part_count == 1 && is_plain(&part->parts[0])) {
        put_inner(w->out, "content", part->parts[0].text);
        return;
    }
    put_open(w->out, "content", '[');
    for (size_t i = 0; i < part->part_count; i++)
        put_content(w, &part->parts[i], ROLE_TOOL);
    put_literal(w->out, "]");
}

/* The calls of the turn before: each turn's are looked at once. */
static void find_asked(struct anthropic_writing *w)
{
    const struct message *messages = w->chat->messages;
    table_done(&w->asked);
    w->asked_turn = w->turn;
    w->knows_asked = true;
    for (size_t m = w->turn; m-- > 0;) {
        const struct message *message = &messages[m];
        if (message->role == ROLE_USER || message->role == ROLE_TOOL)
            return;
        for (size_t p = 0; p < message->part_count; p++)
            if (message->parts[p].kind == PART_CALL && message->parts[p].id.len)
                table_set(&w->asked, message->parts[p].id, w);
    }
}

/* Was it asked for in the turn before? Other results are refused: of a call that was left out, for
 * one. */
static bool was_asked_for(struct anthropic_writing *w, const struct part *part)
{
    if (part->id.len && (!w->knows_asked || w->asked_turn != w->turn))
        find_asked(w);
    return part->id.len == 0 || table_find(&w->asked, part->id);
}

static bool put_result(struct anthropic_writing *w, const struct part *part)
{
    if (!w->own && !was_asked_for(w, part)) {
        lose(w, false, "");
        return false;
    }
    open_block(w, "tool_result");
    put_inner(w->out, "tool_use_id", id_of(w, part->id, &w->nameless_results));
    put_result_content(w, part);
    if (part->is_error)
        put_json(w->out, "is_error", TEXT("true"));
    close_block(w, part);
    return true;
}

/* ------------------------------------------------------------------------ images, documents */

/* False when it has no source that can be said here. */
static bool put_source(struct anthropic_writing *w, const struct part *part)
{
    put_open(w->out, "source", '{');
    if (part->data.at) {
        put_inner(w->out, "type", TEXT("base64"));
        put_inner(w->out, "media_type", part->media_type);
        put_inner(w->out, "data", part->data);
    } else if (part->url.at) {
        put_inner(w->out, "type", TEXT("url"));
        put_inner(w->out, "url", part->url);
    } else {
        put_inner(w->out, "type", TEXT("file"));
        put_inner(w->out, "file_id", part->id);
    }
    put_literal(w->out, "}");
    return true;
}

/* Files are known to the provider only to whom they were given. */
static bool is_foreign_file(const struct anthropic_writing *w, const struct part *part)
{
    return !part->data.at && !part->url.at && (!part->id.at || !w->own);
}

static bool put_image(struct anthropic_writing *w, const struct part *part)
{
    static const char *const types[] = {"image/jpeg", "image/png", "image/gif", "image/webp"};
    bool typed = !part->data.at || w->own;
    struct text type = inner_plain(w->arena, part->media_type); /* its slash may be escaped */
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        typed = typed || text_equal(type, text_of(types[i]));
    if (is_foreign_file(w, part) || !typed) {
        lose(w, true, "");
        return false;
    }
    if (part->detail.len && !inner_is(part->detail, "auto"))
        lose(w, false, ".detail");
    open_block(w, "image");
    put_source(w, part);
    close_block(w, part);
    return true;
}

static bool is_pdf(struct anthropic_writing *w, const struct part *part)
{
    return !part->data.at ||
           text_equal(inner_plain(w->arena, part->media_type), TEXT("application/pdf"));
}

static bool put_file(struct anthropic_writing *w, const struct part *part)
{
    if (part->raw.at && part->from == &translator_anthropic) { /* with all that it is made of */
        put_comma(w->out);
        put_text(w->out, part->raw);
        return true;
    }
    bool is_text = part->text.at != NULL;
    if (!is_text && (is_foreign_file(w, part) || (!is_pdf(w, part) && !w->own))) {
        lose(w, true, "");
        return false;
    }
    open_block(w, "document");
    if (is_text) {
        put_open(w->out, "source", '{');
        put_inner(w->out, "type", TEXT("text"));
        put_inner(w->out, "media_type", TEXT("text/plain"));
        put_inner(w->out, "data", part->text);
        put_literal(w->out, "}");
    } else {
        put_source(w, part);
    }
    put_inner(w->out, "title", part->name);
    close_block(w, part);
    return true;
}

/* ---------------------------------------------------------------------------------- all */

static bool put_raw(struct anthropic_writing *w, const struct part *part, enum role role)
{
    if (part->from == &translator_anthropic) {
        put_comma(w->out);
        put_text(w->out, part->raw);
        return true;
    }
    /* What a provider's own tools did before does not change what is asked now. */
    lose(w, role != ROLE_ASSISTANT && role != ROLE_TOOL, "");
    return false;
}

static bool put_content(struct anthropic_writing *w, const struct part *part, enum role role)
{
    if (part->kind != PART_REASONING && part->signature.len > 0 && !w->own)
        lose(w, false, ".signature"); /* Claude signs its thinking only */
    switch (part->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
        return put_text_block(w, part);
    case PART_REASONING:
        return put_reasoning(w, part, role);
    case PART_CALL:
        return put_call(w, part);
    case PART_IMAGE:
        return put_image(w, part);
    case PART_FILE:
        return put_file(w, part);
    case PART_RAW:
        return put_raw(w, part, role);
    case PART_RESULT:
    case PART_AUDIO:
    case PART_VIDEO:
        break;
    }
    lose(w, true, "");
    return false;
}

bool anthropic_put_part(struct anthropic_writing *w, const struct part *part, enum role role)
{
    bool is_systems = role == ROLE_SYSTEM || role == ROLE_DEVELOPER;
    if (part->kind == PART_RESULT)
        return put_result(w, part);
    if (is_systems && part->kind != PART_TEXT && !(part->kind == PART_RAW && w->own)) {
        lose(w, true, "");
        return false;
    }
    return put_content(w, part, role);
}
